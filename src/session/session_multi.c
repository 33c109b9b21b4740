/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MULTI, EXEC, DISCARD, WATCH, UNWATCH.
 *
 * MULTI queues copies of requests; EXEC runs them in one serializable transaction, again from the
 * start after a conflict, with one `now`. A command that fails undoes only itself, by a savepoint,
 * as in Redis; after MULTI ATOMIC it undoes all of them. Nothing is written to the output that a lost
 * try leaves behind.
 *
 * WATCH notes the snapshot at which a key was looked at. EXEC looks at the watched keys first, in
 * order of their snapshots, inside its transaction: what a transaction has looked at has a largest
 * timestamp (txn_seen_ts, tombstones count), so after the keys of each snapshot that may not exceed
 * it. Since they are in the read set, none can change between this check and the commit (invariant
 * 9).
 */
#include "session/session_internal.h"

#include "base/mutation.h"
#include "db/ddl.h"
#include "mem/parcel.h"
#include "redis/redis_spread.h"

/* ------------------------------------------------------------------------------------ the queue */

/* Gives back what is held of queued commands. */
static void queue_drop(struct session *session)
{
    for (struct session_queued *queued = session->queue_first; queued; queued = queued->next)
        for (unsigned n = 0; n < queued->parcel_count; n++)
            parcel_drop(queued->parcels[n]);
    session->parcels.queued_bytes = 0;
}

void session__multi_end(struct session *session)
{
    queue_drop(session);
    session->multi = session->multi_failed = session->multi_atomic = false;
    session->queue_first = session->queue_last = NULL;
    session->queue_count = 0;
    arena_reset(&session->queue_arena);
    store_relaxed(&session->about.queued, -1);
}

/* MULTI [ATOMIC] */
int session__multi(struct session *session, struct session_request *request)
{
    const struct redis_slice *word = &request->argv[1];
    if (request->argc > 2 ||
        (request->argc == 2 && (word->size != 6 || strncasecmp(word->data, "atomic", 6) != 0))) {
        session->multi_failed |= session->multi;
        return diag_set(ERROR_INVALID, "wrong number of arguments for 'multi' command");
    }
    if (session->multi)
        return session__error(session, "ERR", "MULTI calls can not be nested");
    session->multi = true;
    session->multi_atomic = request->argc == 2;
    store_relaxed(&session->about.queued, 0);
    resp_put_ok(&session->out);
    return 0;
}

/* What a connection may queue, or watch: as much as two requests of the largest size. */
static size_t queue_bytes_max(const struct session *session)
{
    return 2 * session->service->limits.request_bytes_max;
}

size_t session__queue_bytes(const struct session *session)
{
    return session->queue_arena.used_bytes + session->parcels.queued_bytes;
}

/* The argument for EXEC: copied, or where it is when that is a parcel. False: out of memory. */
static bool argument_queue(struct session *session, struct session_queued *queued, unsigned n,
                           struct redis_slice argument)
{
    struct parcel *parcel = session__parcel_of(&session->parcels, argument.data, argument.size);
    queued->argv[n] = argument;
    if (parcel) {
        parcel_hold(parcel);
        queued->parcels[queued->parcel_count++] = parcel;
        session->parcels.queued_bytes += argument.size;
        return true;
    }
    queued->argv[n].data = arena_copy(&session->queue_arena, argument.data, argument.size);
    return queued->argv[n].data != NULL;
}

/* At the end of the queue; NULL: out of memory. */
static struct session_queued *queue_add(struct session *session, unsigned argc)
{
    struct arena *arena = &session->queue_arena;
    struct session_queued *queued =
        arena_alloc(arena, sizeof *queued + argc * sizeof *queued->argv);
    struct parcel **parcels = NULL;
    if (session->parcels.count > 0)
        parcels = arena_alloc(arena, session->parcels.count * sizeof *parcels);
    if (!queued || (session->parcels.count > 0 && !parcels))
        return NULL;
    *queued = (struct session_queued){.argc = argc, .parcels = parcels};
    if (session->queue_last)
        session->queue_last->next = queued;
    else
        session->queue_first = queued;
    session->queue_last = queued;
    return queued;
}

int session__multi_queue(struct session *session, const struct session_command *command,
                         const struct redis_slice *argv, unsigned argc)
{
    if (session__queue_bytes(session) > queue_bytes_max(session)) {
        session->multi_failed = true;
        return diag_set(ERROR_MEMORY, "too much is queued in this transaction");
    }
    struct session_queued *queued = queue_add(session, argc);
    bool all = queued != NULL;
    if (queued)
        queued->command = command;
    for (unsigned n = 0; n < argc && all; n++)
        all = argument_queue(session, queued, n, argv[n]);
    if (!all) { /* nothing of the queue is going to be run */
        session->multi_failed = true;
        return diag_set(ERROR_MEMORY, "out of memory");
    }
    store_relaxed(&session->about.queued, (int)++session->queue_count);
    return 0;
}

int session__discard(struct session *session, struct session_request *request)
{
    (void)request;
    if (!session->multi)
        return session__error(session, "ERR", "DISCARD without MULTI");
    session__multi_end(session);
    session__watch_end(session);
    resp_put_ok(&session->out);
    return 0;
}

/* ---------------------------------------------------------------------------------------- WATCH */

void session__watch_end(struct session *session)
{
    session->watch_first = session->watch_last = NULL;
    arena_reset(&session->watch_arena);
    store_relaxed(&session->about.watched, 0);
}

int session__unwatch(struct session *session, struct session_request *request)
{
    (void)request;
    session__watch_end(session);
    resp_put_ok(&session->out);
    return 0;
}

/* Looks at one key through a call that has it as argv[1]. */
static int watch_look(struct session *session, struct txn *txn, uint64_t now_ms, unsigned database,
                      const struct redis_slice *name, struct redis_value *value)
{
    const struct redis_slice argv[2] = {{"watch", 5}, *name};
    struct redis_key key;
    struct redis_call call = {.worker = session->worker->db,
                              .txn = txn,
                              .argv = argv,
                              .argc = 2,
                              .now_ms = now_ms,
                              .config = &session->service->config,
                              .database = database,
                              .no_touch = true};
    int rc = redis_value_get(&call, 1, &key, value);
    return rc || !value->spread ? rc : redis_spread_look(&call, value);
}

static int watch_add(struct session *session, struct txn *txn, uint64_t now_ms,
                     const struct redis_slice *name)
{
    struct redis_value value;
    if (session->watch_arena.used_bytes > queue_bytes_max(session))
        return diag_set(ERROR_MEMORY, "too much is watched by this connection");
    int rc = watch_look(session, txn, now_ms, session->database, name, &value);
    if (rc)
        return rc;
    struct session_watch *watch = arena_alloc(&session->watch_arena, sizeof *watch);
    char *copy = arena_copy(&session->watch_arena, name->data, name->size);
    if (!watch || !copy)
        return diag_set(ERROR_MEMORY, "out of memory");
    *watch = (struct session_watch){.snapshot_ts = txn_snapshot_ts(txn),
                                    .expire_ms = value.expire_ms,
                                    .there = value.type != REDIS_TYPE_NONE,
                                    .name = {copy, name->size},
                                    .database = session->database};
    if (session->watch_last)
        session->watch_last->next = watch;
    else
        session->watch_first = watch;
    session->watch_last = watch;
    store_relaxed(&session->about.watched, load_relaxed(&session->about.watched) + 1);
    return 0;
}

int session__watch(struct session *session, struct session_request *request)
{
    if (session->multi)
        return session__error(session, "ERR", "WATCH inside MULTI is not allowed");
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    struct txn *txn;
    int rc = txn_begin(session->worker->txn, &options, &txn);
    if (rc)
        return rc;
    uint64_t now_ms = session__now_ms(session->worker);
    for (unsigned n = 1; n < request->argc && !rc; n++)
        rc = watch_add(session, txn, now_ms, &request->argv[n]);
    request->reply_ts = txn_seen_ts(txn);
    txn_rollback(txn);
    if (rc)
        return rc;
    resp_put_ok(&session->out);
    return 0;
}

/* *changed: a watched key is not what it was. 0 or an error. */
static int watch_check(struct session *session, struct txn *txn, uint64_t now_ms, bool *changed)
{
    *changed = false;
    for (const struct session_watch *watch = session->watch_first; watch; watch = watch->next) {
        struct redis_value value;
        int rc = watch_look(session, txn, now_ms, watch->database, &watch->name, &value);
        if (rc)
            return rc;
        bool newer = txn_seen_ts(txn) > watch->snapshot_ts;
        newer |= watch->there && value.type == REDIS_TYPE_NONE; /* and its row may have gone */
        *changed |=
            (newer && !MUTATION(WATCH_UNSEEN)) || (watch->expire_ms && watch->expire_ms <= now_ms);
    }
    return 0;
}

/* ----------------------------------------------------------------------------------------- EXEC */

static int queued_run_redis(struct session *session, const struct session_queued *queued,
                            const struct session_request *request)
{
    struct redis_call call = session__redis_call(session, request);
    call.parcels = queued->parcels;
    call.parcel_count = queued->parcel_count;
    call.granted = request->granted;
    txn_statement(request->txn);
    return redis_command_run(request->command->redis, &call);
}

/* After MULTI ATOMIC: the reply from `start` on says that everything is undone for, as the message of
 * ERROR_INVALID. */
static int undone(struct session *session, const struct session_queued *failed, size_t start)
{
    unsigned number = 1;
    const char *line = session->out.data + start + 1;
    size_t size = session->out.size - start - 1;
    const char *end = memchr(line, '\r', size);
    for (const struct session_queued *queued = session->queue_first; queued != failed;
         queued = queued->next)
        number++;
    return diag_set(ERROR_SCRIPT,
                    "EXECABORT Transaction undone because command %u '%s' failed: %.*s", number,
                    failed->command->name, (int)(end ? (size_t)(end - line) : size), line);
}

/* Runs one queued command in EXEC's transaction and writes one reply. 0, or what ends the whole
 * transaction: a conflict, waiting, time that is over, memory that is out; any error after MULTI
 * ATOMIC. */
static int queued_run(struct session *session, const struct session_queued *queued,
                      const struct session_request *exec)
{
    struct session_request request = {.command = queued->command,
                                      .argv = queued->argv,
                                      .argc = queued->argc,
                                      .txn = exec->txn,
                                      .now_ms = exec->now_ms,
                                      .granted = exec->granted};
    struct session_command_stats *stats =
        &session->worker->stats.by_command[queued->command->number];
    struct txn_savepoint savepoint = txn_savepoint(exec->txn);
    size_t start = session->out.size;
    uint64_t ticks = clock_ticks();
    diag_clear();
    if (!session__permits(session, queued->command, queued->argv, queued->argc)) { /* any more */
        service__count(&stats->rejected, 1);
        return session->multi_atomic ? undone(session, queued, start) : 0;
    }
    if (session->tracker)
        session__tracking_before(session, queued->command, queued->argv, queued->argc,
                                 txn_snapshot_ts(exec->txn));
    int rc = queued->command->redis ? queued_run_redis(session, queued, &request)
                                    : queued->command->run(session, &request);
    session__executed(session, &request, 0, clock_ticks() - ticks);
    if (rc == ERROR_WAIT || rc == ERROR_DEADLOCK || rc == ERROR_CANCELLED)
        return rc;
    if (rc == ERROR_CONFLICT || txn_doomed(exec->txn))
        return ERROR_CONFLICT;
    if (rc == ERROR_TIMEOUT || session->out.failed) /* what is left would take as long, as much */
        return rc < 0 ? rc : diag_set(ERROR_MEMORY, "the replies take too much memory");
    if (rc)
        service__count(&stats->failed, 1);
    if (rc < 0) {
        if (ddl_active(session->worker->db))
            ddl_rollback_to(session->worker->db, savepoint);
        else
            txn_rollback_to(exec->txn, savepoint);
        session__truncate(session, start);
        session__error_code(session, rc);
    }
    if (session->multi_atomic && session->out.size > start && session->out.data[start] == '-')
        return undone(session, queued, start);
    return 0;
}

/* Whether nothing of what is queued can write and nothing is watched: then EXEC is a read-only
 * transaction, which waits for nothing. */
static bool queue_readonly(const struct session *session)
{
    if (session->watch_first)
        return false;
    for (const struct session_queued *queued = session->queue_first; queued; queued = queued->next)
        if (queued->command->redis ? !(queued->command->redis->flags & REDIS_READONLY)
                                   : queued->command->flags & SESSION_SCRIPT)
            return false;
    return true;
}

/* Whether one of the queued commands has the flag. */
static bool queue_has(const struct session *session, unsigned flag)
{
    const struct session_queued *queued = session->queue_first;
    while (queued && !(queued->command->flags & flag))
        queued = queued->next;
    return queued != NULL;
}

/* Which kind of transaction it is, is known by whether one that alters is active. */
static int exec_begin(struct session *session, const struct txn_options *options, struct txn **txn)
{
    return queue_has(session, SESSION_ALTERS) ? ddl_begin(session->worker->db, options, txn)
                                              : txn_begin(session->worker->txn, options, txn);
}

static int exec_commit(struct session *session, struct txn *txn)
{
    struct db_worker *worker = session->worker->db;
    return ddl_active(worker) ? ddl_commit(worker) : txn_commit(txn);
}

static void exec_rollback(struct session *session, struct txn *txn)
{
    if (ddl_active(session->worker->db))
        ddl_rollback(session->worker->db);
    else
        txn_rollback(txn);
}

/* One try, with the protocol that was spoken when it began. *changed: a watched key has changed,
 * and nothing was run. */
static int exec_try(struct session *session, struct session_request *request,
                    const struct txn_options *options, bool *changed)
{
    struct txn_worker *worker = session->worker->txn;
    session__now_forget(session->worker);
    request->now_ms = session__now_ms(session->worker);
    *changed = false;
    unsigned database = session->database; /* a queued SELECT changes it */
    struct session_subscriptions *subscriptions = NULL;
    int rc = queue_has(session, SESSION_LISTENING)
                 ? session__subscriptions_keep(session, &subscriptions)
                 : 0;
    if (!rc)
        rc = exec_begin(session, options, &request->txn);
    if (rc)
        return rc;
    rc = watch_check(session, request->txn, request->now_ms, changed);
    if (!rc && !*changed) {
        resp_put_array(&session->out, session->queue_count);
        for (const struct session_queued *queued = session->queue_first; queued && !rc;
             queued = queued->next)
            rc = queued_run(session, queued, request);
    }
    if (!rc && !*changed) {
        rc = exec_commit(session, request->txn);
        request->reply_ts = txn_worker_seen_ts(worker);
        if (rc)
            session__subscriptions_return(session, subscriptions);
    } else {
        request->reply_ts = txn_seen_ts(request->txn);
        session->database = database;
        session__subscriptions_return(session, subscriptions);
        exec_rollback(session, request->txn);
    }
    request->txn = NULL;
    return rc;
}

/* At the session's level; but what is watched is safe until the commit in the read set only. */
static struct txn_options exec_options(struct session *session)
{
    struct txn_options options = {.level = session__level(session),
                                  .owner = session->wait.owner,
                                  .session_id = session->about.id};
    if (session->watch_first)
        options.level = TXN_SERIALIZABLE;
    if (queue_readonly(session)) {
        options.readonly = !session__misses_wanted(session);
        options.latest = session__reads_latest(session);
    }
    return options;
}

static int exec_run(struct session *session, struct session_request *request)
{
    struct txn_options options = exec_options(session);
    size_t start = session->out.size;
    unsigned losses = 0;
    if (!options.readonly && session__room(session, &request->granted))
        return ERROR_WAIT;
    for (;;) {
        bool changed;
        int rc = exec_try(session, request, &options, &changed);
        if (rc == 0 && changed)
            resp_put_null_array(&session->out, session->protocol);
        if (rc == 0)
            return 0;
        rc = session__retry(session, rc, &losses, &options);
        if (rc)
            return rc;
        session__truncate(session, start);
    }
}

int session__exec_refused(struct session *session)
{
    session__multi_end(session);
    session__watch_end(session);
    return session__errorf(session, "EXECABORT", "Transaction discarded because of: %s",
                           diag_message_for(ERROR_INVALID));
}

int session__exec(struct session *session, struct session_request *request)
{
    if (!session->multi)
        return session__error(session, "ERR", "EXEC without MULTI");
    int rc;
    if (session->multi_failed)
        rc = session__error(session, "EXECABORT",
                            "Transaction discarded because of previous errors.");
    else
        rc = exec_run(session, request);
    if (rc == ERROR_WAIT)
        return rc;
    session__multi_end(session);
    session__watch_end(session);
    session__now_forget(session->worker);
    return rc;
}
