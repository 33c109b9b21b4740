/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From a request to its reply: look the command up, check it in Redis's order (known, arguments,
 * identity, MULTI, loading), run it, and note what its reply rests on.
 *
 * A data command is one transaction. One on one row runs at read committed, others serializable
 * (invariant 25); a read-only one reads at V and waits for nothing, or the latest while an earlier
 * reply of the connection waits (invariants 8 and 9). After a conflict it runs again from its start
 * with the output of the lost try thrown away, and in the gate after a few losses. In an interactive
 * transaction it is a statement of that instead.
 *
 * A request that has to wait for somebody (ERROR_WAIT) leaves nothing in the output; it is copied
 * and kept, and the session executes nothing else until it has been run again to its end.
 */
#include "session/session_internal.h"

#include <stdio.h>

#include "redis/redis_block.h"
#include "redis/redis_spec.h"
#include "session/session_migrate.h"
#include "txn/lock.h"

/* ------------------------------------------------------------------------------------- errors */

int session__error(struct session *session, const char *prefix, const char *message)
{
    service__count(&session->worker->stats.errors[service__error_slot(prefix, strlen(prefix))], 1);
    resp_put_error(&session->out, prefix, message);
    return SESSION_REPLIED_ERROR;
}

int session__errorf(struct session *session, const char *prefix, const char *format, ...)
{
    char message[DIAG_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return session__error(session, prefix, message);
}

int session__error_text(struct session *session, const char *text)
{
    char prefix[32];
    size_t size = strcspn(text, " ");
    if (size >= sizeof prefix || text[size] == 0)
        return session__error(session, "", text);
    memcpy(prefix, text, size);
    prefix[size] = 0;
    return session__error(session, prefix, text + size + 1);
}

int session__error_code(struct session *session, int code)
{
    if (code == ERROR_SCRIPT)
        return session__error_text(session, diag_message_for(code));
    return session__error(session, error_prefix(code), diag_message_for(code));
}

uint64_t session__now_ms(struct session_worker *worker)
{
    if (worker->now_left == 0) {
        worker->now_ms = clock_realtime_ms(worker->service->options.clock);
        worker->now_left = SESSION_CLOCK_COMMANDS;
    }
    worker->now_left--;
    return worker->now_ms;
}

/* ------------------------------------------------------------------------------------ resolving */

static int clamp(size_t size, int max)
{
    return size < (size_t)max ? (int)size : max;
}

static int unknown_command(const struct redis_slice *argv, unsigned argc)
{
    char args[256];
    size_t size = 0;
    args[0] = 0;
    for (unsigned n = 1; n < argc && size < 128; n++) {
        int room = 128 - (int)size;
        size += (size_t)snprintf(args + size, sizeof args - size, "'%.*s' ",
                                 clamp(argv[n].size, room), argv[n].data);
    }
    return diag_set(ERROR_INVALID, "unknown command '%.*s', with args beginning with: %s",
                    clamp(argv[0].size, 128), argv[0].data, args);
}

/*
 * The words that begin a request's line and a header of HTTP: a page in somebody's browser can send
 * such a request to a port of this machine, with commands in its body.
 */
static bool is_http(const struct redis_slice *name)
{
    return (name->size == 4 && strncasecmp(name->data, "post", 4) == 0) ||
           (name->size == 5 && strncasecmp(name->data, "host:", 5) == 0);
}

static int unknown_subcommand(const struct session_command *command, const struct redis_slice *name)
{
    char upper[32];
    size_t n = 0;
    for (; command->name[n] && n < sizeof upper - 1; n++)
        upper[n] = (char)(command->name[n] >= 'a' && command->name[n] <= 'z' ? command->name[n] - 32
                                                                             : command->name[n]);
    upper[n] = 0;
    return diag_set(ERROR_INVALID, "unknown subcommand '%.*s'. Try %s HELP.",
                    clamp(name->size, 128), name->data, upper);
}

bool session__arity_fits(const struct session_command *command, unsigned argc)
{
    int arity = command->arity;
    return arity > 0 ? argc == (unsigned)arity : argc >= (unsigned)-arity;
}

static const struct session_command *subcommand_find(const struct session_command *command,
                                                     const struct redis_slice *name)
{
    size_t skip = strlen(command->name) + 1; /* "client|" */
    for (const struct session_command *sub = command->subcommands; sub->name; sub++)
        if (strlen(sub->name + skip) == name->size &&
            strncasecmp(sub->name + skip, name->data, name->size) == 0)
            return sub;
    return NULL;
}

bool session__part_is_unknown(const struct session_command *command, const struct redis_slice *argv,
                              unsigned argc)
{
    if (argc < 2)
        return false;
    if (command->redis && (command->redis->flags & REDIS_CONTAINER))
        return !redis_subcommand_find(argv);
    return command->subcommands && !subcommand_find(command, &argv[1]);
}

static const struct session_command *resolve(const struct session_command *command,
                                             const struct redis_slice *argv, unsigned argc)
{
    if (command->subcommands && argc > 1) {
        const struct session_command *sub = subcommand_find(command, &argv[1]);
        if (!sub) {
            unknown_subcommand(command, &argv[1]);
            return NULL;
        }
        command = sub;
    }
    if (!session__arity_fits(command, argc)) {
        diag_set(ERROR_INVALID, "wrong number of arguments for '%s' command", command->name);
        return NULL;
    }
    if (command->redis && (command->redis->flags & REDIS_CONTAINER) &&
        redis_subcommand_check(argv, argc))
        return NULL;
    return command;
}

const struct session_command *session__resolve(struct session *session,
                                               const struct redis_slice *argv, unsigned argc)
{
    const struct session_command *command =
        service__command_find(session->service, argv[0].data, argv[0].size);
    if (!command)
        command = session__module_command(session->worker, argv[0].data, argv[0].size);
    if (!command) {
        unknown_command(argv, argc);
        return NULL;
    }
    return resolve(command, argv, argc);
}

/* -------------------------------------------------------------------------------- data commands */

bool session__misses_wanted(const struct session *session)
{
    return load_relaxed(&session->service->config.notify_flags) & REDIS_NOTIFY_KEY_MISS;
}

static struct txn_options redis_options(struct session *session,
                                        const struct redis_command *command, unsigned argc)
{
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    if (command->flags & REDIS_READONLY) {
        options.level = TXN_SNAPSHOT; /* of a read-only transaction any snapshot is serializable */
        options.readonly = !session__misses_wanted(session);
        options.latest = session__reads_latest(session);
    } else if (redis_command_one_row(command, argc)) {
        options.level = TXN_READ_COMMITTED;
    }
    options.exclusive = (command->flags & REDIS_GATE) != 0;
    return options;
}

struct redis_call session__redis_call(struct session *session,
                                      const struct session_request *request)
{
    return (struct redis_call){.worker = session->worker->db,
                               .lookups = &session->worker->stats.lookups,
                               .txn = request->txn,
                               .argv = request->argv,
                               .argc = request->argc,
                               .now_ms = request->now_ms,
                               .sink = &session->sink.base,
                               .scans = session->service->scans,
                               .audience = &session->service->audience,
                               .config = &session->service->config,
                               .database = session->database,
                               .protocol = session->protocol,
                               .interest = &session->service->interest,
                               .client_id = session->about.id,
                               .parcels = session->parcels.whole,
                               .parcel_count = session->parcels.count,
                               .pause = session__let_in,
                               .pause_arg = session->worker,
                               .no_touch = load_relaxed(&session->about.no_touch)};
}

/* Runs and ends one try; *ts is what it has looked at. */
static int redis_try(struct session *session, const struct session_request *request,
                     const struct txn_options *options, struct redis_block *block, bool granted,
                     uint64_t *ts)
{
    struct session_worker *worker = session->worker;
    struct redis_call call = session__redis_call(session, request);
    call.block = block;
    if (block) /* it is among those who wait already, and might be woken there */
        call.pause = NULL;
    call.granted = granted;
    int rc = txn_begin(worker->txn, options, &call.txn);
    if (rc)
        return rc;
    rc = redis_command_run(request->command->redis, &call);
    if (!rc) {
        rc = txn_commit(call.txn);
        *ts = txn_worker_seen_ts(worker->txn);
        return rc;
    }
    *ts = txn_seen_ts(call.txn);
    txn_rollback(call.txn);
    return rc;
}

int session__retry(struct session *session, int rc, unsigned *losses, struct txn_options *options)
{
    struct session_worker *worker = session->worker;
    struct session_wait *wait = &session->wait;
    if (rc == ERROR_WAIT) {
        struct lock_owner *owner = wait->owner ? NULL : txn_owner_detach(worker->txn);
        rc = session__wait_begin(wait, owner);
    } else if (rc == ERROR_CONFLICT || rc == ERROR_DEADLOCK) {
        if (rc == ERROR_DEADLOCK && wait->owner)
            lock_release_all(wait->owner);
        txn_backoff(worker->txn, ++*losses, options);
        rc = 0;
    }
    options->owner = wait->owner;
    session__now_forget(worker);
    return rc;
}

int session__run_redis(struct session *session, struct session_request *request)
{
    struct txn_options options = redis_options(session, request->command->redis, request->argc);
    size_t start = session->out.size;
    unsigned losses = 0;
    options.owner = session->wait.owner;
    bool may_wait = request->command->redis->flags & REDIS_BLOCKING;
    struct redis_block block = {.count = 0};
    bool granted = false;
    if ((request->command->redis->flags & REDIS_DENY_OOM) && session__room(session, &granted))
        return ERROR_WAIT;
    for (;;) {
        int rc = may_wait ? session__block_begin(&session->wait, &block) : 0;
        options.latest |= block.again && options.readonly;
        if (!rc)
            rc = redis_try(session, request, &options, may_wait ? &block : NULL, granted,
                           &request->reply_ts);
        if (rc == 0 || rc == SESSION_REPLIED_ERROR)
            return rc;
        if (rc == ERROR_WAIT && block.count)
            rc = session__block_wait(&session->wait, &block, session->database);
        else
            rc = session__retry(session, rc, &losses, &options);
        if (rc)
            return rc;
        session__truncate(session, start);
        request->now_ms = session__now_ms(session->worker);
    }
}

/* ---------------------------------------------------------------------------------- one request */

/* As a statement of the connection's interactive transaction. */
static int run_statement(struct session *session, struct session_request *request)
{
    struct session_stream *stream = &session->stream;
    struct txn_savepoint savepoint;
    int rc = session__stream_enter(stream, &savepoint);
    if (rc)
        return rc;
    request->stream = stream;
    request->txn = stream->txn;
    if (request->command->redis) {
        struct redis_call call = session__redis_call(session, request);
        txn_statement(stream->txn);
        rc = redis_command_run(request->command->redis, &call);
    } else {
        rc = request->command->run(session, request);
    }
    return session__stream_leave(stream, &savepoint, rc, &request->reply_ts);
}

static int run(struct session *session, struct session_request *request)
{
    const struct session_command *command = request->command;
    if (session->stream.txn && (command->redis || (command->flags & SESSION_STATEMENT)))
        return run_statement(session, request);
    if (command->redis && (command->redis->flags & REDIS_REMOTE))
        return session__migrate(session, request);
    return command->redis ? session__run_redis(session, request) : command->run(session, request);
}

static bool needs_data(const struct session_command *command)
{
    return command->redis || (command->flags & SESSION_DATA);
}

/* What stands against running a command that has been found, in Redis's order: replies, and true.
 */
static bool refused(struct session *session, const struct session_command *command,
                    const struct redis_slice *argv, unsigned argc)
{
    if (!session__permits(session, command, argv, argc))
        return true;
    if (session->multi && (command->flags & SESSION_NO_MULTI))
        session__error(session, "ERR", "Command not allowed inside a transaction");
    else if (session__listening(session) && !(command->flags & SESSION_LISTENING))
        session__errorf(
            session, "ERR",
            "Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
            "RESET are allowed in this context",
            command->name);
    else if (session->stream.failed && !(command->flags & SESSION_ENDS_TXN))
        session__error_code(session, session__stream_failure(&session->stream));
    else if (session->stream.txn && (command->flags & SESSION_NO_TXN))
        session__errorf(session, "ERR", "%s is not allowed in a transaction of BEGIN",
                        command->name);
    else if (needs_data(command) && load_relaxed(&session->service->loading))
        session__error(session, "LOADING", "Perigee is loading the dataset in memory");
    else
        return false;
    return true;
}

static inline void histogram_count(struct session_command_stats *stats, uint64_t ticks)
{
    struct session_histogram *histogram = load_relaxed(&stats->histogram);
    if (!histogram && !(histogram = session__histogram_new(stats)))
        return;
    unsigned high = 63 - (unsigned)__builtin_clzll(ticks | 1 << SESSION_HISTOGRAM_SHIFT);
    unsigned bucket = (high - SESSION_HISTOGRAM_SHIFT) * 4 + (unsigned)(ticks >> (high - 2) & 3);
    if (bucket >= SESSION_HISTOGRAM_BUCKETS)
        bucket = SESSION_HISTOGRAM_BUCKETS - 1;
    service__count(&histogram->counts[bucket], 1);
}

/* It took as long as the slow log, or latency monitoring, asks for; or somebody monitors. */
static __attribute__((noinline)) void slow(struct session *session,
                                           const struct session_request *request, uint64_t ticks)
{
    struct service *service = session->service;
    const struct redis_spec *spec = session__spec(session, request->command);
    int64_t slower_us = load_relaxed(&service->settings.slowlog_slower_us);
    uint64_t us = (uint64_t)((double)ticks / service__ticks_a_us());
    uint64_t threshold_ms = load_relaxed(&service->settings.latency_threshold_ms);
    if (slower_us >= 0 && us >= (uint64_t)slower_us && !(spec && (spec->flags & SPEC_SKIP_SLOWLOG)))
        session__slowlog_add(session, request, us);
    if (load_relaxed(&service->attention) & SERVICE_MONITORED)
        session__monitor_feed(session, request);
    if (threshold_ms && us / 1000 >= threshold_ms)
        session__latency_add(service, spec && (spec->flags & SPEC_FAST), us / 1000);
}

static inline void executed(struct session *session, const struct session_request *request, int rc,
                            uint64_t ticks)
{
    struct session_worker *worker = session->worker;
    struct session_command_stats *stats = &worker->stats.by_command[request->command->number];
    if (rc)
        service__count(&stats->failed, 1);
    service__count(&stats->calls, 1);
    service__count(&stats->ticks, ticks);
    if (load_relaxed(&session->service->latency_tracking))
        histogram_count(stats, ticks);
    if (ticks >= load_relaxed(&session->service->slow_ticks))
        slow(session, request, ticks);
}

void session__executed(struct session *session, const struct session_request *request, int rc,
                       uint64_t ticks)
{
    executed(session, request, rc, ticks);
}

static void command_run(struct session *session, struct session_request *request)
{
    size_t start = session->out.size;
    uint64_t ticks = clock_ticks();
    if (session->tracker)
        session__tracking_before(session, request->command, request->argv, request->argc,
                                 session->stream.txn ? txn_snapshot_ts(session->stream.txn)
                                                     : UINT64_MAX);
    int rc = run(session, request);
    if (rc == ERROR_WAIT) {
        session__truncate(session, start);
        session->suspended = request->stream ? &session->stream.wait : &session->wait;
        return;
    }
    if (rc < 0) {
        session__truncate(session, start);
        session__error_code(session, rc);
    }
    if (session->wait.owner || session->wait.block)
        session__wait_end(&session->wait);
    executed(session, request, rc, clock_ticks() - ticks);
}

/* CLIENT REPLY OFF and SKIP: the reply is made and thrown away. */
static bool reply_wanted(struct session *session)
{
    if (session->reply_mode == REPLY_ON)
        return true;
    if (session->reply_mode == REPLY_SKIP)
        session->reply_mode = REPLY_ON;
    else if (session->reply_mode == REPLY_SKIP_NEXT)
        session->reply_mode = REPLY_SKIP;
    return false;
}

/* Keeps a request that waits. False when there is no memory for it: then it has been answered. */
static bool keep(struct session *session, const struct redis_slice *argv, size_t argc)
{
    struct arena *arena = &session->kept_arena;
    if (argv == session->kept_argv) {
        store_relaxed(&session->about.waits, !session->paused);
        return true;
    }
    struct redis_slice *copy = arena_alloc(arena, argc * sizeof *copy);
    for (size_t n = 0; copy && n < argc; n++) {
        copy[n] = (struct redis_slice){arena_copy(arena, argv[n].data, argv[n].size), argv[n].size};
        if (!copy[n].data)
            copy = NULL;
    }
    session->kept_argv = copy;
    session->kept_argc = (unsigned)argc;
    store_relaxed(&session->about.waits, copy != NULL && !session->paused);
    if (copy)
        return true;
    session__forget_kept(session);
    session__error_code(session, diag_set(ERROR_MEMORY, "out of memory"));
    return false;
}

void session__forget_kept(struct session *session)
{
    session__login_end(session, &session->wait);
    session__migrate_end(session);
    if (session->suspended)
        session__wait_end(session->suspended);
    session->suspended = NULL;
    session->paused = false;
    session->unblock = SESSION_UNBLOCK_NONE;
    session->sleep_until_ns = session->aof_ts = 0;
    session->kept_argv = NULL;
    arena_reset(&session->kept_arena);
    store_relaxed(&session->about.waits, false);
}

void session__execute_again(struct session *session)
{
    struct session_wait *wait = session->suspended;
    session->suspended = NULL;
    if (session->paused)
        session__wait_end(wait); /* the pause; what it waits for from here on is something else */
    session->paused = false;
    session__execute(session, NULL, session->kept_argv, session->kept_argc);
    if (session->suspended)
        return;
    session->suspended = wait;
    session__forget_kept(session);
}

static bool paused(struct session *session, const struct session_command *command)
{
    return (load_relaxed(&session->service->attention) & SERVICE_PAUSED) &&
           session__pause_holds(session, command);
}

void session__execute(struct session *session, const struct session_command *found,
                      const struct redis_slice *argv, size_t argc)
{
    struct session_request request = {
        .argv = argv, .argc = (unsigned)argc, .now_ms = session__now_ms(session->worker)};
    size_t start = session->out.size;
    diag_clear();
    request.command =
        found ? resolve(found, argv, request.argc) : session__resolve(session, argv, request.argc);
    const struct session_command *command = request.command;
    if (!command && is_http(&argv[0])) {
        session->closing = true;
        session__error(session, "ERR", "Protocol error: this is a request of HTTP");
    } else if (!command && argv[0].size == 4 && strncasecmp(argv[0].data, "exec", 4) == 0) {
        session__exec_refused(session);
    } else if (!command) {
        session->multi_failed |= session->multi;
        session__error_code(session, ERROR_INVALID);
    } else if (refused(session, command, argv, request.argc)) {
        session->multi_failed |= session->multi;
        service__count(&session->worker->stats.by_command[command->number].rejected, 1);
    } else if (paused(session, command)) {
        if (keep(session, argv, argc))
            return;
    } else {
        store_relaxed(&session->about.command, command->name);
        if (session->multi && !(command->flags & SESSION_AT_ONCE)) {
            if (session__multi_queue(session, command, argv, request.argc) == 0)
                resp_put_queued(&session->out);
            else
                session__error_code(session, ERROR_MEMORY);
        } else {
            command_run(session, &request);
            if (session->tracker && !session->multi && strncmp(command->name, "client|", 7) != 0)
                session__tracking_after(session);
            if (session->suspended && keep(session, argv, argc))
                return;
        }
    }
    service__count(&session->worker->stats.commands, 1);
    store_relaxed(&session->about.active_ms, request.now_ms);
    bool silent = !reply_wanted(session);
    if (silent)
        session__truncate(session, start);
    session__reply_end(session, request.reply_ts, 0, silent || session->out.size == start);
}
