/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A connection's life, its input and its output.
 *
 * Input is parsed in place where it arrived; only an incomplete request, or what back-pressure
 * holds back, is copied. A large argument of an incomplete one goes to memory of its own
 * (session_parcel.c). Up to SESSION_BATCH_MAX requests are parsed before the first is executed.
 * Before AUTH it is one at a time, since AUTH widens the parser's limits.
 *
 * Output is one buffer:
 *
 *   0        out_sent        out_free                         out.size
 *   │ written │ may be written │ waits for the log              │ grows
 *                              └ marks: (end, ts), ascending in both
 *
 * Large values of rows are not copied into it but sent from where they are, at their places in between
 * (session_parcel.c).
 *
 * A reply that rests on nothing the log has not reached, with no mark before it, needs no mark.
 * Marks of one batch are merged: the batch's replies could not have been sent apart anyway. When
 * the log has failed, the replies behind out_free are replaced by errors, as many as there were
 * (invariants 7 and 9).
 */
#include "session/session_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mutation.h"
#include "mem/account.h"

static const char OUTCOME_UNKNOWN[] = "outcome unknown: the log failed before this was durable";

/* ------------------------------------------------------------------------------------- life */

static void about_create(struct session *session, const struct session_peer *peer)
{
    struct session_about *about = &session->about;
    about->id = atomic_fetch_add_explicit(&session->service->next_id, 1, memory_order_relaxed) + 1;
    about->created_ms = clock_realtime_ms(session->service->options.clock);
    about->fd = peer->fd;
    snprintf(about->address, sizeof about->address, "%s", peer->address ? peer->address : "");
    snprintf(about->local_address, sizeof about->local_address, "%s",
             peer->local_address ? peer->local_address : "");
    store_relaxed(&about->active_ms, about->created_ms);
    store_relaxed(&about->resp, RESP2);
    store_relaxed(&about->queued, -1);
}

static struct resp_limits resp_limits_of(const struct service *service)
{
    struct resp_limits limits = resp_limits_default();
    limits.bulk_bytes_max = load_relaxed(&service->config.proto_max_bulk_len);
    if (limits.request_bytes_max < limits.bulk_bytes_max * 2)
        limits.request_bytes_max = limits.bulk_bytes_max * 2;
    return limits;
}

void session__rpc_limit(struct session *session)
{
    size_t max = load_relaxed(&session->service->config.proto_max_bulk_len);
    if (!session->authenticated && max > SESSION_STRANGER_BYTES_MAX)
        max = SESSION_STRANGER_BYTES_MAX;
    rpc_parser_create(&session->rpc, max);
}

int session_new(struct session_worker *worker, const struct session_peer *peer,
                struct session **out)
{
    struct service *service = worker->service;
    unsigned before = atomic_fetch_add_explicit(&service->client_count, 1, memory_order_relaxed);
    if (before >= load_relaxed(&service->settings.clients_max)) {
        atomic_fetch_sub_explicit(&service->client_count, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&service->refused, 1, memory_order_relaxed);
        return diag_set(ERROR_BUSY, "max number of clients reached");
    }
    struct session *session = account_made(ACCOUNT_NETWORK, calloc(1, sizeof *session));
    if (!session) {
        atomic_fetch_sub_explicit(&service->client_count, 1, memory_order_relaxed);
        return diag_set(ERROR_MEMORY, "out of memory");
    }
    session->worker = worker;
    store_relaxed(&session->woken_at, worker);
    session->service = service;
    session->protocol = RESP2;
    session__logout(session);
    session->sink =
        (struct session_sink){{&session__sink_vtab, &session__sink_script_vtab}, session};
    struct resp_limits limits = resp_limits_of(service);
    resp_parser_create(&session->resp, &limits, session->authenticated);
    session__rpc_limit(session);
    mp_buffer_create(&session->in);
    mp_buffer_create(&session->out);
    arena_create(&session->queue_arena, SESSION_BUFFER_KEEP_BYTES);
    arena_create(&session->watch_arena, SESSION_BUFFER_KEEP_BYTES);
    arena_create(&session->kept_arena, 0);
    list_create(&session->ready);
    session__wait_create(&session->wait, session);
    session__stream_create(&session->stream, session, 0);
    list_create(&session->rpc_streams);
    list_create(&session->pendings);
    channels_listener_create(&session->listener);
    store_relaxed(&session->about.redirect, -1);
    mp_buffer_create(&session->push);
    list_create(&session->excess.link);
    session__limits_bound(session);
    about_create(session, peer);
    session->sealed = peer->sealed;
    atomic_fetch_add_explicit(&service->connections, 1, memory_order_relaxed);
    pthread_mutex_lock(&service->mutex);
    list_add_tail(&service->clients, &session->link);
    pthread_mutex_unlock(&service->mutex);
    int rc = session__event(session, TRIGGER_ON_CONNECT);
    session->connected = rc == 0;
    if (rc) {
        session_delete(session);
        return diag_set(ERROR_ACCESS, "%s", "a trigger has refused the connection");
    }
    if (peer->user && *peer->user)
        session__login_certified(session, peer->user);
    *out = session;
    return 0;
}

const char *session_refusal(int code)
{
    return code == ERROR_BUSY     ? "-ERR max number of clients reached\r\n"
           : code == ERROR_ACCESS ? "-NOPERM a trigger has refused the connection\r\n"
                                  : "-ERR out of memory\r\n";
}

/* ----------------------------------------------------------------------------------- memory */

/* What its memory has become, in the sum of its worker's. */
static void bytes_count(struct session *session, uint64_t all)
{
    _Atomic uint64_t *sum = &session->worker->client_bytes;
    uint64_t before = load_relaxed(&session->about.bytes.all);
    store_relaxed(sum, load_relaxed(sum) + all - before);
    store_relaxed(&session->about.bytes.all, all);
    if (all > before && load_relaxed(&session->service->client_limits.memory))
        session__clients_evict(session->worker);
}

static void bytes_forget(struct session *session)
{
    _Atomic uint64_t *sum = &session->worker->client_bytes;
    store_relaxed(sum, load_relaxed(sum) - load_relaxed(&session->about.bytes.all));
}

void session__bytes_note(struct session *session)
{
    struct session_about *about = &session->about;
    uint64_t out_memory = session->out.capacity + session->push.capacity;
    size_t apart = session__parcels_bytes(&session->parcels);
    store_relaxed(&about->bytes.query, session->in.size - session->in_start + apart);
    store_relaxed(&about->bytes.query_free, session->in.capacity - session->in.size);
    store_relaxed(&about->bytes.kept, session->kept_arena.used_bytes);
    store_relaxed(&about->bytes.queued, session__queue_bytes(session));
    store_relaxed(&about->bytes.out, session__output_bytes(session) + session->push.size);
    store_relaxed(&about->bytes.replies, session->mark_count - session->mark_first);
    store_relaxed(&about->bytes.out_memory, out_memory);
    bytes_count(session, sizeof *session + session->in.capacity + apart + out_memory +
                             session->kept_arena.used_bytes + session__queue_bytes(session) +
                             session->watch_arena.used_bytes);
}

/* Gives up what waits, and rolls back what is open. */
static void transactions_end(struct session *session)
{
    session__login_end(session, NULL);
    session__forget_kept(session);
    session__stream_destroy(&session->stream);
    session__pending_end(session);
}

void session_delete(struct session *session)
{
    struct service *service = session->service;
    if (session->connected)
        session__event(session, TRIGGER_ON_DISCONNECT);
    session__monitor_end(session);
    pthread_mutex_lock(&service->mutex);
    list_remove(&session->link);
    pthread_mutex_unlock(&service->mutex);
    atomic_fetch_sub_explicit(&service->client_count, 1, memory_order_relaxed);
    list_remove(&session->ready);
    list_remove(&session->excess.link);
    bytes_forget(session);
    transactions_end(session);
    lua_runtime_session_ended(session->worker->lua, session->about.id);
    session__unsubscribe_all(session);
    session__tracking_end(session, true);
    mp_buffer_destroy(&session->push);
    resp_parser_destroy(&session->resp);
    session__parcels_end(&session->parcels);
    session__multi_end(session);
    mp_buffer_destroy(&session->in);
    mp_buffer_destroy(&session->out);
    session__inserts_end(&session->inserts);
    arena_destroy(&session->queue_arena);
    arena_destroy(&session->watch_arena);
    arena_destroy(&session->kept_arena);
    free(session->marks);
    free(session->about.name);
    free(session->about.library_name);
    free(session->about.library_version);
    free(account_gone(ACCOUNT_NETWORK, session));
}

uint64_t session_id(const struct session *session)
{
    return session->about.id;
}

void session_user_set(struct session *session, void *user)
{
    session->user = user;
}

void *session_user(const struct session *session)
{
    return session->user;
}

/* ------------------------------------------------------------------------- replies that wait */

/* Moves out_free over the marks that the log has reached. */
static void marks_release(struct session *session)
{
    if (session->mark_first == session->mark_count)
        return;
    uint64_t reached = wal_reply_ts(session->service->wal);
    while (session->mark_first < session->mark_count &&
           session->marks[session->mark_first].ts <= reached)
        session->out_free = session->marks[session->mark_first++].end;
    if (session->mark_first == session->mark_count) {
        session->mark_first = session->mark_count = 0;
        session->out_free = session->out.size;
    }
}

static void mark_fail(struct session *session, const struct session_mark *mark)
{
    for (unsigned reply = 0; reply < mark->replies; reply++) {
        if (session->kind == PROTO_RPC)
            rpc_put_error(&session->out, mark->rpc_id, ERROR_UNKNOWN_OUTCOME,
                          error_name(ERROR_UNKNOWN_OUTCOME), OUTCOME_UNKNOWN);
        else
            session__error(session, "UNKNOWN", OUTCOME_UNKNOWN);
    }
}

/* The log has failed: what still waits becomes errors. */
static void marks_fail(struct session *session)
{
    size_t first = session->mark_first, count = session->mark_count;
    session__truncate(session, session->out_free);
    for (size_t n = first; n < count; n++)
        mark_fail(session, &session->marks[n]);
    session->mark_first = session->mark_count = 0;
    session->out_free = session->out.size;
}

static void marks_settle(struct session *session)
{
    bool failed = session->mark_first < session->mark_count && wal_failed(session->service->wal);
    marks_release(session); /* after having asked for failure: then it no longer advances */
    if (failed && session->mark_first < session->mark_count)
        marks_fail(session);
}

static struct session_mark *mark_add(struct session *session)
{
    if (session->mark_count == session->mark_capacity && session->mark_first > 0) {
        session->mark_count -= session->mark_first;
        memmove(session->marks, session->marks + session->mark_first,
                session->mark_count * sizeof *session->marks);
        session->mark_first = 0;
    }
    if (session->mark_count == session->mark_capacity) {
        size_t capacity = session->mark_capacity ? session->mark_capacity * 2 : 16;
        struct session_mark *marks = realloc(session->marks, capacity * sizeof *marks);
        if (!marks)
            return NULL;
        session->marks = marks;
        session->mark_capacity = capacity;
    }
    return &session->marks[session->mark_count++];
}

void session__reply_end(struct session *session, uint64_t ts, uint64_t rpc_id, bool silent)
{
    bool waiting = session->mark_first < session->mark_count;
    if (!waiting &&
        (ts == 0 || ts <= wal_reply_ts(session->service->wal) || MUTATION(REPLY_NOT_HELD))) {
        session->out_free = session->out.size;
        return;
    }
    if (ts > session->waited_ts)
        session->waited_ts = ts;
    if (waiting && session->kind != PROTO_RPC) {
        struct session_mark *last = &session->marks[session->mark_count - 1];
        if (ts <= last->ts || last->batch == session->batch) {
            last->end = session->out.size;
            last->ts = ts > last->ts ? ts : last->ts;
            last->replies += !silent;
            return;
        }
    }
    uint64_t floor = waiting ? session->marks[session->mark_count - 1].ts : 0;
    struct session_mark *mark = mark_add(session);
    if (!mark) { /* a reply that cannot wait cannot be sent */
        session->dead = session->closing = true;
        return;
    }
    *mark = (struct session_mark){session->out.size, ts > floor ? ts : floor, rpc_id,
                                  silent ? 0 : 1, session->batch};
}

bool session__reads_latest(struct session *session)
{
    marks_release(session);
    return (session->mark_first < session->mark_count && !MUTATION(READS_OLD_BEHIND_REPLY)) ||
           session->watch_first != NULL;
}

/* ------------------------------------------------------------------------------------ output */

/* What waits to be sent. */
static size_t out_pending(const struct session *session)
{
    return session__output_bytes(session);
}

static bool out_full(const struct session *session)
{
    return out_pending(session) >= session->service->limits.output_bytes_pause ||
           session->mark_count - session->mark_first >= SESSION_MARKS_MAX;
}

/* Drops the bytes that have been written, when that is cheap. */
static void out_compact(struct session *session)
{
    size_t sent = session->out_sent;
    if (sent == 0 || (sent < session->out.size && sent < session->out.size / 2))
        return;
    if (sent == session->out.size)
        mp_buffer_reset(&session->out, SESSION_BUFFER_KEEP_BYTES);
    else
        memmove(session->out.data, session->out.data + sent, session->out.size - sent),
            session->out.size -= sent;
    session->out_free -= sent;
    session->out_sent = 0;
    session__inserts_shift(&session->inserts, sent);
    for (size_t n = session->mark_first; n < session->mark_count; n++)
        session->marks[n].end -= sent;
}

struct session_output session_output(struct session *session)
{
    if (session->dead)
        return (struct session_output){NULL, 0};
    marks_settle(session);
    if (session->out.failed) {
        session__output_exceeded(session);
        return (struct session_output){NULL, 0};
    }
    const struct session_insert *insert = session__insert_first(&session->inserts);
    if (!insert || insert->at >= session->out_free) /* its reply goes on behind it */
        return (struct session_output){session->out.data + session->out_sent,
                                       session->out_free - session->out_sent};
    if (session->out_sent < insert->at)
        return (struct session_output){session->out.data + session->out_sent,
                                       insert->at - session->out_sent};
    return (struct session_output){insert->data + insert->sent, insert->size - insert->sent};
}

struct session_output session_output_aside(struct session *session)
{
    if (session->entered)
        return (struct session_output){NULL, 0};
    session__push_take(session);
    struct session_output output = session_output(session);
    if (output.size > 0)
        session__ready(session); /* what its being sent lets go on does so there */
    return output;
}

void session_sent(struct session *session, size_t size)
{
    const struct session_insert *insert = session__insert_first(&session->inserts);
    if (insert && insert->at == session->out_sent) {
        session__insert_sent(&session->inserts, size);
    } else {
        ASSERT(size <= session->out_free - session->out_sent);
        session->out_sent += size;
    }
    service__count(&session->worker->stats.output_bytes, size);
    service__count(&session->worker->stats.writes, 1);
    service__count(&session->about.output_bytes, size);
    store_relaxed(&session->about.bytes.out, session__output_bytes(session) + session->push.size);
    if (!list_empty(&session->excess.link))
        session__limits_look(session);
}

bool session_waiting(const struct session *session)
{
    return !session->dead && session->mark_first < session->mark_count;
}

/* What waits keeps the rest of the input from being executed. */
static bool stuck(const struct session *session)
{
    return session->suspended || session__pending_full(session);
}

bool session_wants_read(const struct session *session)
{
    if (session->closing || out_full(session))
        return false;
    if (stuck(session)) /* to see when the peer goes away */
        return session->in.size - session->in_start < SESSION_WAIT_INPUT_BYTES;
    return !session->held;
}

bool session_suspended(const struct session *session)
{
    return session->suspended != NULL || session->pending_count > 0;
}

void session_end(struct session *session)
{
    session->closing = true;
    transactions_end(session);
}

void session_postpone(struct session *session)
{
    if (session->suspended)
        session__wait_postpone(session->suspended);
    session__pending_postpone(session);
}

void session_hurry(struct session *session)
{
    session->hurried = true;
    if (session->suspended)
        session__wait_ready(session->suspended);
    session__pending_hurry(session);
}

bool session_wants_close(const struct session *session)
{
    return session->dead || (session->closing && out_pending(session) == 0);
}

/* ------------------------------------------------------------------------------------- input */

static void protocol_error(struct session *session, const char *message)
{
    session->closing = true;
    session__error(session, "ERR", message);
    session__reply_end(session, 0, 0, false);
}

/* Forgets a request that the RESP parser has begun: it is going to be parsed from its start. */
static void resp_restart(struct session *session)
{
    struct resp_limits limits = resp_limits_of(session->service);
    resp_parser_destroy(&session->resp);
    resp_parser_create(&session->resp, &limits, session->authenticated);
}

/* Executes a batch that has been parsed from data on; how many bytes of it are done with. */
static size_t resp_batch_execute(struct session *session, const struct resp_request *requests,
                                 unsigned count)
{
    size_t done = 0;
    session->batch++;
    session->group_pause -= session->group_pause > 0;
    struct session_prefetch_try prefetch = session__prefetch(session, requests, count);
    for (unsigned n = 0; n < count; n++) {
        if (session->closing || session->suspended || (n > 0 && out_full(session))) {
            resp_restart(session);
            if (n > 0)
                session__parcels_drop(&session->parcels);
            session->held = !session->closing;
            return done;
        }
        const struct session_command *first;
        unsigned together = session__group(session, &requests[n], count - n, &first);
        if (together) {
            for (unsigned k = n; k < n + together; k++)
                done += requests[k].size;
            n += together - 1;
            continue;
        }
        if (requests[n].argc > 0)
            session__execute(session, first, resp_request_argv(&session->resp, &requests[n]),
                             requests[n].argc);
        done += requests[n].size;
    }
    session__prefetch_end(session, prefetch, count);
    resp_parser_recycle(&session->resp);
    if (count > 0) /* what is apart was the first one's: the others came with its end */
        session__parcels_drop(&session->parcels);
    session->held |= session->suspended != NULL;
    return done;
}

/* Executes what is complete in data[0..size); how many bytes are done with. */
static size_t resp_run(struct session *session, const char *data, size_t size)
{
    struct resp_request requests[SESSION_BATCH_MAX];
    size_t done = 0;
    enum resp_parse_result result = RESP_PARSE_DONE;
    while (result == RESP_PARSE_DONE && done < size && !session->closing) {
        if (out_full(session)) {
            session->held = true;
            break;
        }
        unsigned count = 0, batch_max = session->authenticated ? SESSION_BATCH_MAX : 1;
        size_t parsed = done;
        while (count < batch_max && parsed < size) {
            size_t need = 0;
            result =
                resp_parse(&session->resp, data + parsed, size - parsed, &requests[count], &need);
            session->in_need = result == RESP_PARSE_MORE ? need : 0;
            if (result != RESP_PARSE_DONE)
                break;
            parsed += requests[count++].size;
        }
        done += resp_batch_execute(session, requests, count);
        if (session->held)
            break;
        if (result == RESP_PARSE_ERROR && !session->closing)
            protocol_error(session, session->resp.error);
    }
    return done;
}

static size_t rpc_run(struct session *session, const char *data, size_t size)
{
    size_t done = 0;
    session->batch++;
    while (done < size && !session->closing) {
        if (out_full(session) || session__pending_full(session)) {
            session->held = true;
            break;
        }
        struct rpc_request request;
        size_t need = 0;
        enum rpc_parse_result result =
            rpc_parse(&session->rpc, data + done, size - done, &request, &need);
        session->in_need = result == RPC_PARSE_MORE ? need : 0;
        if (result == RPC_PARSE_MORE)
            break;
        if (result == RPC_PARSE_ERROR) {
            session->closing = true;
            rpc_put_error(&session->out, 0, ERROR_PROTOCOL, error_name(ERROR_PROTOCOL),
                          session->rpc.error);
            session__reply_end(session, 0, 0, false);
            break;
        }
        done += request.size;
        session->rest = data + done;
        session->rest_size = size - done;
        session__execute_rpc(session, &request);
        session->rest = NULL;
    }
    return done;
}

static size_t input_run(struct session *session, const char *data, size_t size)
{
    session->held = false;
    session->in_need = 0;
    if (session->kind == PROTO_UNKNOWN && size > 0)
        store_relaxed(&session->about.kind, session->kind = proto_sniff((unsigned char)data[0]));
    if (session->kind == PROTO_RESP)
        return resp_run(session, data, size);
    if (session->kind == PROTO_RPC)
        return rpc_run(session, data, size);
    protocol_error(session,
                   "Protocol error: neither RESP nor MessagePack-RPC begins with this byte");
    return size;
}

/* Executes what has arrived and asks the log to hurry when a reply waits for it. */
static void input_execute(struct session *session)
{
    const char *data = session->in.data + session->in_start;
    session->in_start += input_run(session, data, session->in.size - session->in_start);
    if (session->in_start == session->in.size || session->closing) {
        mp_buffer_reset(&session->in, SESSION_BUFFER_KEEP_BYTES);
        session->in_start = 0;
    }
}

static void settle_after_input(struct session *session)
{
    if (session->waited_ts && session->mark_first < session->mark_count)
        wal_kick_early(session->service->wal);
    session->waited_ts = 0;
    if (session->in.failed)
        session->dead = session->closing = true;
    if (session->out.failed && !session->dead)
        session__output_exceeded(session);
    session__limits_look(session);
    session__bytes_note(session);
}

/* What is over before it costs nothing but two looks at the counter. */
void session__let_in(void *arg)
{
    enum { SHORT_US = 200 };
    struct session_worker *worker = arg;
    uint64_t now = clock_ticks();
    if (worker->let_in_ticks == 0)
        worker->let_in_ticks = now;
    if (!worker->lets_in && (double)(now - worker->let_in_ticks) < SHORT_US * service__ticks_a_us())
        return;
    worker->lets_in = true;
    lua_runtime_let_in(worker->lua);
}

static void leave(struct session *session)
{
    struct session_worker *worker = session->worker;
    if (worker->lets_in)
        lua_runtime_let_in_end(worker->lua);
    worker->lets_in = session->entered = false;
    worker->let_in_ticks = 0;
}

void session_on_bytes(struct session *session, const char *data, size_t size)
{
    struct session_worker *worker = session->worker;
    service__count(&worker->stats.input_bytes, size);
    service__count(&worker->stats.reads, 1);
    service__count(&session->about.input_bytes, size);
    if (session->closing || size == 0)
        return;
    session->entered = true;
    session__now_forget(worker);
    session__limits_bound(session);
    marks_settle(session);
    out_compact(session);
    size_t taken = session__parcel_fill(session, data, size);
    data += taken;
    size -= taken;
    if (size == 0) {
        ;
    } else if (session->in.size == session->in_start && !session->held) {
        size_t done = input_run(session, data, size);
        if (done < size && !session->closing)
            mp_put_raw(&session->in, data + done, size - done);
    } else {
        if (session->in_start > 0 && session->in_start >= session->in.size / 2) {
            memmove(session->in.data, session->in.data + session->in_start,
                    session->in.size - session->in_start);
            session->in.size -= session->in_start;
            session->in_start = 0;
        }
        mp_put_raw(&session->in, data, size);
        if (!session->held && !session->in.failed &&
            session->in.size - session->in_start >= session->in_need)
            input_execute(session);
    }
    session__parcel_begin(session);
    store_relaxed(&session->about.active_ms, session__now_ms(worker));
    settle_after_input(session);
    leave(session);
}

/* Requests that waited and need not any more. */
static bool again(struct session *session)
{
    if (!session->suspended || session->suspended->state != SESSION_WAIT_READY)
        return false;
    session->batch++;
    session__execute_again(session);
    return true;
}

bool session_resume(struct session *session)
{
    if (session->closing)
        return false;
    session->entered = true;
    marks_settle(session);
    out_compact(session);
    session__now_forget(session->worker);
    store_relaxed(&session->about.active_ms, session__now_ms(session->worker)); /* it has read */
    session__limits_bound(session);
    bool done = again(session);
    done |= session__pending_again(session);
    session->unblock = SESSION_UNBLOCK_NONE;
    done |= session__push_take(session);
    if (session->held && !stuck(session) && !session->closing && !out_full(session)) {
        input_execute(session);
        done = true;
    }
    if (done)
        settle_after_input(session);
    else
        session__bytes_note(session);
    leave(session);
    return done;
}
