/* SPDX-License-Identifier: Apache-2.0 */

/* See session_running.h. */
#include "session/session_running.h"

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include "session/session_internal.h"

enum { RUNNING_IDLE, RUNNING, RUNNING_HELD };
enum { PEEK_BYTES = 16384, REST_BYTES = 65536 };

bool session__running_enter(struct session *session, bool named, uint64_t id)
{
    struct session_running *running = &session->worker->running;
    if (load_relaxed(&running->state) != RUNNING_IDLE)
        return false;
    running->session = session;
    running->fd = named ? session->about.fd : -1;
    running->sealed = session->sealed;
    running->id = id;
    running->rest = session->rest ? session->rest : session->in.data + session->in_start;
    running->rest_size = session->rest ? session->rest_size : session->in.size - session->in_start;
    running->cancelled = false;
    store_release(&running->state, RUNNING);
    return true;
}

bool session__running_leave(struct session *session)
{
    struct session_running *running = &session->worker->running;
    uint32_t state = RUNNING;
    while (!atomic_compare_exchange_weak_explicit(&running->state, &state, RUNNING_IDLE,
                                                  memory_order_acq_rel, memory_order_acquire)) {
        if (state == RUNNING_HELD)
            sched_yield(); /* for as long as a look into a socket takes */
        state = RUNNING;
    }
    return running->cancelled;
}

static bool hold(struct session_running *running)
{
    uint32_t state = RUNNING;
    return load_relaxed(&running->state) == RUNNING &&
           atomic_compare_exchange_strong_explicit(&running->state, &state, RUNNING_HELD,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

static void let_go(struct session_running *running)
{
    store_release(&running->state, RUNNING);
}

/* Whether it is `cancel` with this id. */
static bool cancels(const struct rpc_request *request, uint64_t id)
{
    static const char method[] = "cancel";
    const char *params = request->params;
    uint64_t named;
    return request->method_size == sizeof method - 1 &&
           memcmp(request->method, method, sizeof method - 1) == 0 &&
           mp_typeof(*params) == MP_ARRAY && mp_decode_array(&params) == 1 &&
           mp_typeof(*params) == MP_UINT && (named = mp_decode_uint(&params)) == id;
}

/* Whether whole messages at the start of the bytes have one for it. *at: where they end. */
static bool cancel_among(const char *bytes, size_t size, uint64_t id, size_t *at)
{
    struct rpc_parser parser;
    struct rpc_request request;
    size_t need;
    rpc_parser_create(&parser, 0);
    for (*at = 0; *at < size; *at += request.size) {
        if (rpc_parse(&parser, bytes + *at, size - *at, &request, &need) != RPC_PARSE_DONE)
            return false;
        if (cancels(&request, id))
            return true;
    }
    return false;
}

/* What comes behind what has been read: of the socket, or what the caller has decrypted. */
static size_t next_bytes(const struct session_running *running, struct session_output ahead,
                         char *out, size_t room)
{
    if (running->sealed) {
        size_t size = ahead.size < room ? ahead.size : room;
        if (size > 0)
            memcpy(out, ahead.data, size);
        return size;
    }
    ssize_t size = recv(running->fd, out, room, MSG_PEEK | MSG_DONTWAIT);
    return size > 0 ? (size_t)size : 0;
}

/* In what has been read, and in what comes behind that, of which the first message may have been read in part. */
static bool cancel_there(const struct session_running *running, struct session_output ahead)
{
    char bytes[PEEK_BYTES];
    size_t at;
    size_t rest_size = running->rest_size < REST_BYTES ? running->rest_size : REST_BYTES;
    if (cancel_among(running->rest, rest_size, running->id, &at))
        return true;
    size_t part = running->rest_size - at;
    if (part > PEEK_BYTES / 2)
        return false;
    if (part > 0)
        memcpy(bytes, running->rest + at, part);
    size_t size = next_bytes(running, ahead, bytes + part, sizeof bytes - part);
    return size > 0 && cancel_among(bytes, part + size, running->id, &at);
}

static bool client_gone(const struct session_running *running)
{
    struct pollfd polled = {.fd = running->fd, .events = POLLRDHUP};
    return poll(&polled, 1, 0) > 0 && polled.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

static void worker_look(struct session_worker *worker)
{
    struct session_running *running = &worker->running;
    if (!hold(running))
        return;
    if (running->fd >= 0 &&
        (running->sealed ? client_gone(running)
                         : cancel_there(running, (struct session_output){NULL, 0})))
        running->cancelled |= lua_runtime_cancel(worker->lua);
    let_go(running);
}

struct session *session_running_sealed(struct session_worker *worker)
{
    const struct session_running *running = &worker->running;
    bool runs = load_relaxed(&running->state) != RUNNING_IDLE;
    return runs && running->sealed && running->fd >= 0 ? running->session : NULL;
}

void session_running_look(struct session_worker *worker, struct session_output ahead)
{
    struct session_running *running = &worker->running;
    if (!hold(running)) /* it is looked at: another time */
        return;
    if (cancel_there(running, ahead))
        running->cancelled |= lua_runtime_cancel(worker->lua);
    let_go(running);
}

void session__cancelled_add(struct session *session, uint64_t id)
{
    uint64_t *ids = session->cancelled;
    if (session->cancelled_count == SESSION_CANCELLED_MAX)
        memmove(ids, ids + 1, --session->cancelled_count * sizeof *ids);
    ids[session->cancelled_count++] = id;
}

bool session__cancelled_take(struct session *session, uint64_t id)
{
    uint64_t *ids = session->cancelled;
    for (unsigned n = 0; n < session->cancelled_count; n++) {
        if (ids[n] != id)
            continue;
        memmove(ids + n, ids + n + 1, (--session->cancelled_count - n) * sizeof *ids);
        return true;
    }
    return false;
}

void session__running_look(void *arg)
{
    struct service *service = arg;
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count; n++)
        if (service->workers[n])
            worker_look(service->workers[n]);
    pthread_mutex_unlock(&service->mutex);
}
