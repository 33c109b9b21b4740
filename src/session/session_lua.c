/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Lua from the outside: scripts (EVAL, EVALSHA, SCRIPT), stored procedures (CALL) and text (LUA).
 *
 * A runtime keeps compiled scripts for its own thread. Their sources are kept once for all workers
 * in the service, by SHA-1, so that a script that one worker has seen is known to every connection.
 * A worker computes the digest of a script it has just been given only the first time: it remembers
 * a fingerprint of each.
 */
#include "session/session_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "redis/redis_value.h"

static const char NO_NUMBER[] = "value is not an integer or out of range";
static const char NO_SCRIPT[] = "No matching script. Please use EVAL.";

/* ------------------------------------------------------------------------------- what is shared */

static struct service_script *script_find(struct service *service, const char *sha1)
{
    for (unsigned n = 0; n < service->script_count; n++)
        if (strncasecmp(service->scripts[n].sha1, sha1, LUA_SHA1_SIZE - 1) == 0)
            return &service->scripts[n];
    return NULL;
}

static void script_drop(struct service *service, struct service_script *script)
{
    service->script_bytes -= script->size;
    free(script->source);
    *script = (struct service_script){.size = 0};
}

/* The oldest go until the sources are not too large together. */
static void scripts_bound(struct service *service)
{
    for (unsigned n = service->script_next; service->script_bytes > SERVICE_SCRIPT_BYTES_MAX; n++)
        script_drop(service, &service->scripts[n % SERVICE_SCRIPTS_MAX]);
}

void service__script_put(struct service *service, const char sha1[LUA_SHA1_SIZE],
                         const char *source, size_t size)
{
    char *copy = malloc(size ? size : 1);
    if (!copy)
        return; /* then other workers ask for the source again */
    memcpy(copy, source, size);
    pthread_mutex_lock(&service->mutex);
    if (!script_find(service, sha1)) {
        struct service_script *script = &service->scripts[service->script_next];
        service->script_next = (service->script_next + 1) % SERVICE_SCRIPTS_MAX;
        if (service->script_count < SERVICE_SCRIPTS_MAX)
            service->script_count++;
        script_drop(service, script);
        *script = (struct service_script){.size = size, .source = copy};
        memcpy(script->sha1, sha1, LUA_SHA1_SIZE);
        copy = NULL;
        service->script_bytes += size;
        scripts_bound(service);
    }
    pthread_mutex_unlock(&service->mutex);
    free(copy);
}

bool service__script_get(struct service *service, const char *sha1, struct mp_buffer *out)
{
    pthread_mutex_lock(&service->mutex);
    const struct service_script *script = script_find(service, sha1);
    if (script && out)
        mp_put_raw(out, script->source, script->size);
    pthread_mutex_unlock(&service->mutex);
    return script != NULL;
}

void service__scripts_flush(struct service *service)
{
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->script_count; n++)
        free(service->scripts[n].source);
    memset(service->scripts, 0, SERVICE_SCRIPTS_MAX * sizeof *service->scripts);
    service->script_count = service->script_next = 0;
    service->script_bytes = 0;
    store_relaxed(&service->script_generation, load_relaxed(&service->script_generation) + 1);
    pthread_mutex_unlock(&service->mutex);
}

/* FNV-1a over words: never 0. */
static uint64_t fingerprint(const char *data, size_t size)
{
    uint64_t hash = 14695981039346656037u ^ size;
    for (; size >= 8; data += 8, size -= 8) {
        uint64_t eight;
        memcpy(&eight, data, 8);
        hash = (hash ^ eight) * 1099511628211u;
        hash ^= hash >> 32;
    }
    for (; size > 0; data++, size--)
        hash = (hash ^ (unsigned char)*data) * 1099511628211u;
    return hash | 1;
}

/* Forgets what the worker has of scripts when they have been flushed, by whichever worker. */
static void scripts_sync(struct session_worker *worker)
{
    uint64_t generation = load_relaxed(&worker->service->script_generation);
    if (worker->scripts_generation == generation)
        return;
    memset(worker->scripts_seen, 0, sizeof worker->scripts_seen);
    lua_runtime_script_flush(worker->lua);
    worker->scripts_generation = generation;
}

/* Makes sure that EVALSHA finds a script that has been given to EVAL. */
static void script_remember(struct session_worker *worker, const char *source, size_t size)
{
    char sha1[LUA_SHA1_SIZE];
    uint64_t print = fingerprint(source, size),
             *seen = &worker->scripts_seen[print / 2 % SERVICE_SCRIPTS_MAX];
    if (*seen == print || lua_runtime_script_load(worker->lua, source, size, sha1))
        return;
    service__script_put(worker->service, sha1, source, size);
    *seen = print;
}

/* -------------------------------------------------------------------------------------- running */

static int lua_run_it(struct session_worker *worker, const struct lua_request *how,
                      const struct session_lua_run *run, uint64_t *reply_ts)
{
    if (run->eval) {
        run->eval->request = *how;
        return lua_runtime_redis_eval(worker->lua, run->eval, run->sink, reply_ts);
    }
    mp_buffer_reset(&worker->result, SESSION_BUFFER_KEEP_BYTES);
    if (run->space)
        return lua_runtime_space(worker->lua, how, run->space, &worker->result, reply_ts);
    if (run->schema)
        return lua_runtime_schema(worker->lua, how, run->args, &worker->result, reply_ts);
    return (run->text ? lua_runtime_eval : lua_runtime_call)(
        worker->lua, how, run->name, run->name_size, run->args, &worker->result, reply_ts);
}

/* What has become of a request that was to be ended where it ran. */
static int cancelled(struct session *session, uint64_t rpc_id, int rc)
{
    if (rc != ERROR_TIMEOUT) /* it has come to its end by itself, or waits */
        return rc;
    session__cancelled_add(session, rpc_id);
    return diag_set(ERROR_CANCELLED, "cancelled while it was running: by the client");
}

/* The same as what others may look at, and end. */
static int lua_run(struct session *session, const struct lua_request *how,
                   const struct session_lua_run *run, uint64_t *reply_ts)
{
    bool entered = session__running_enter(session, run->tells, run->tells_id);
    int rc = lua_run_it(session->worker, how, run, reply_ts);
    return entered && session__running_leave(session) ? cancelled(session, run->tells_id, rc) : rc;
}

/* A request that has slept: its result, if it has ended. */
static int lua_take(struct session_worker *worker, struct session_wait *wait, uint64_t *reply_ts)
{
    struct lua_fiber *fiber = wait->fiber;
    if (wait->session->hurried || wait->cancelled)
        return session__wait_sleep(wait, fiber);
    mp_buffer_reset(&worker->result, SESSION_BUFFER_KEEP_BYTES);
    int rc = lua_fiber_take(fiber, &worker->result, reply_ts);
    if (rc == ERROR_WAIT)
        return session__wait_sleep(wait, fiber);
    wait->fiber = NULL;
    return wait->stopped ? cancelled(wait->session, wait->rpc_id, rc) : rc;
}

int session__lua_run(struct session *session, struct session_stream *stream,
                     struct session_wait *wait, const struct session_lua_run *run,
                     uint64_t *reply_ts)
{
    struct session_worker *worker = session->worker;
    if (!stream && wait->fiber)
        return lua_take(worker, wait, reply_ts);
    bool granted = false;
    if (!stream && !run->readonly && wait == &session->wait && session__room(session, &granted))
        return ERROR_WAIT;
    if (!stream && !run->readonly && wait != &session->wait && session__slow(session, wait))
        return ERROR_WAIT;
    for (;;) {
        struct lock_owner *waiting = NULL;
        struct lua_fiber *fiber = NULL;
        struct lua_request how = {.latest = session__reads_latest(session),
                                  .readonly = run->readonly,
                                  .level_given = session->level_given,
                                  .level = session->level,
                                  .txn = stream ? stream->txn : NULL,
                                  .may_wait = true,
                                  .owner = stream ? NULL : wait->owner,
                                  .waiting = &waiting,
                                  .fiber = &fiber,
                                  .session_id = session->about.id,
                                  .user_id = session->user_id,
                                  .database = session->database,
                                  .no_touch = load_relaxed(&session->about.no_touch),
                                  .progress = run->tells ? session__rpc_progress : NULL,
                                  .progress_arg = session,
                                  .progress_id = run->tells_id,
                                  .granted = granted};
        int rc = lua_run(session, &how, run, reply_ts);
        session__now_forget(worker);
        if (!rc && !run->eval && worker->result.failed)
            rc = diag_set(ERROR_MEMORY, "out of memory");
        if (rc == ERROR_WAIT && fiber) {
            wait->named = run->tells;
            wait->rpc_id = run->tells_id;
            wait->stopped = false;
            return session__wait_sleep(wait, fiber);
        }
        if (rc == ERROR_WAIT && !stream)
            rc = session__wait_begin(wait, waiting);
        else
            return rc;
        if (rc)
            return rc;
    }
}

/* ----------------------------------------------------------------------------------------- EVAL */

int session__numkeys_parse(const struct session_request *request, const char *no_number,
                           unsigned *keys)
{
    int64_t count;
    if (!redis_integer_parse(request->argv[2].data, request->argv[2].size, &count))
        return diag_set(ERROR_INVALID, "%s", no_number);
    if (count > (int64_t)request->argc - 3)
        return diag_set(ERROR_INVALID, "Number of keys can't be greater than number of args");
    if (count < 0)
        return diag_set(ERROR_INVALID, "Number of keys can't be negative");
    *keys = (unsigned)count;
    return 0;
}

int session__script_run(struct session *session, struct session_request *request,
                        const struct redis_slice *source, bool function, bool readonly)
{
    unsigned keys = 0;
    int rc = session__numkeys_parse(request, function ? "Bad number of keys provided" : NO_NUMBER,
                                    &keys);
    if (rc)
        return rc;
    struct lua_redis_eval eval = {
        .script = source->data,
        .script_size = source->size,
        .function = function,
        .keys = request->argv + 3,
        .key_count = keys,
        .args = request->argv + 3 + keys,
        .arg_count = request->argc - 3 - keys,
        .argv = request->argv,
        .argc = request->argc,
    };
    struct session_worker *worker = session->worker;
    if (request->txn && !request->stream) {
        eval.request.readonly = readonly;
        eval.request.session_id = session->about.id;
        eval.request.user_id = session->user_id;
        eval.request.database = session->database;
        eval.request.no_touch = load_relaxed(&session->about.no_touch);
        eval.request.granted = request->granted;
        return lua_runtime_redis_eval_in(worker->lua, request->txn, request->now_ms, &eval,
                                         &session->sink.base);
    }
    struct session_lua_run run = {.eval = &eval, .sink = &session->sink.base, .readonly = readonly};
    return session__lua_run(session, request->stream, &session->wait, &run, &request->reply_ts);
}

#define NOT_DEBUGGED                                                                           \
    "scripts are not debugged in Redis's protocol: perigee console runs procedures and other " \
    "Lua line by line, with \\break and \\step"

/* Of redis-cli's debugger the whole session, which ends at once: that one does not look at what SCRIPT DEBUG
 * was answered. Were the script run it would write, and who debugs thinks that nothing stays. */
static int debugging_end(struct session *session)
{
    resp_put_array(&session->out, 1);
    resp_put_status(&session->out, "<endsession>");
    session->closing = true;
    return session__error(session, "ERR", NOT_DEBUGGED);
}

static int eval(struct session *session, struct session_request *request, bool readonly)
{
    const struct redis_slice *source = &request->argv[1];
    if (session->debugging && !request->txn)
        return debugging_end(session);
    scripts_sync(session->worker);
    int rc = session__script_run(session, request, source, false, readonly);
    if (rc == 0)
        script_remember(session->worker, source->data, source->size);
    return rc;
}

int session__eval(struct session *session, struct session_request *request)
{
    return eval(session, request, false);
}

int session__eval_ro(struct session *session, struct session_request *request)
{
    return eval(session, request, true);
}

/* The source for a digest: from the runtime, or from the service into the worker's scratch. */
static const char *script_source(struct session_worker *worker, const char *sha1, size_t *size)
{
    scripts_sync(worker);
    const char *source = lua_runtime_script_find(worker->lua, sha1, size);
    mp_buffer_reset(&worker->args, SESSION_BUFFER_KEEP_BYTES);
    if (source)
        mp_put_raw(&worker->args, source, *size);
    else if (!service__script_get(worker->service, sha1, &worker->args))
        return NULL;
    *size = worker->args.size;
    return worker->args.failed ? NULL : worker->args.data;
}

static int evalsha(struct session *session, struct session_request *request, bool readonly)
{
    char sha1[LUA_SHA1_SIZE] = {0};
    size_t size;
    unsigned keys;
    if (session->debugging && !request->txn)
        return debugging_end(session);
    if (request->argv[1].size != LUA_SHA1_SIZE - 1)
        return session__error(session, "NOSCRIPT", NO_SCRIPT);
    int rc = session__numkeys_parse(request, NO_NUMBER, &keys);
    if (rc)
        return rc;
    memcpy(sha1, request->argv[1].data, LUA_SHA1_SIZE - 1);
    const char *source = script_source(session->worker, sha1, &size);
    if (!source)
        return session__error(session, "NOSCRIPT", NO_SCRIPT);
    return session__script_run(session, request, &(struct redis_slice){source, size}, false,
                               readonly);
}

int session__evalsha(struct session *session, struct session_request *request)
{
    return evalsha(session, request, false);
}

int session__evalsha_ro(struct session *session, struct session_request *request)
{
    return evalsha(session, request, true);
}

/* --------------------------------------------------------------------------------------- SCRIPT */

static int script_load(struct session *session, struct session_request *request)
{
    char sha1[LUA_SHA1_SIZE];
    const struct redis_slice *source = &request->argv[2];
    scripts_sync(session->worker);
    int rc = lua_runtime_script_load(session->worker->lua, source->data, source->size, sha1);
    if (rc)
        return rc;
    service__script_put(session->service, sha1, source->data, source->size);
    resp_put_bulk(&session->out, sha1, LUA_SHA1_SIZE - 1);
    return 0;
}

static int script_exists(struct session *session, struct session_request *request)
{
    resp_put_array(&session->out, request->argc - 2);
    for (unsigned n = 2; n < request->argc; n++) {
        char sha1[LUA_SHA1_SIZE] = {0};
        bool found = request->argv[n].size == LUA_SHA1_SIZE - 1;
        if (found) {
            memcpy(sha1, request->argv[n].data, LUA_SHA1_SIZE - 1);
            found = service__script_get(session->service, sha1, NULL);
        }
        resp_put_integer(&session->out, found);
    }
    return 0;
}

static int script_flush(struct session *session, struct session_request *request)
{
    const struct redis_slice *mode = &request->argv[2];
    if (request->argc > 3 ||
        (request->argc == 3 && !(mode->size == 4 && !strncasecmp(mode->data, "sync", 4)) &&
         !(mode->size == 5 && !strncasecmp(mode->data, "async", 5))))
        return diag_set(ERROR_INVALID, "SCRIPT FLUSH only support SYNC|ASYNC option");
    service__scripts_flush(session->service);
    scripts_sync(session->worker);
    resp_put_ok(&session->out);
    return 0;
}

/* SCRIPT DEBUG: there is no debugger that speaks Redis's protocol. */
static int script_debug(struct session *session, struct session_request *request)
{
    const struct redis_slice *mode = &request->argv[2];
    if (request->txn)
        return diag_set(ERROR_INVALID, "SCRIPT DEBUG must be called outside a pipeline");
    if ((mode->size == 3 && !strncasecmp(mode->data, "yes", 3)) ||
        (mode->size == 4 && !strncasecmp(mode->data, "sync", 4))) {
        session->debugging = true;
        return diag_set(ERROR_UNSUPPORTED, NOT_DEBUGGED);
    }
    if (mode->size != 2 || strncasecmp(mode->data, "no", 2) != 0)
        return diag_set(ERROR_INVALID, "Use SCRIPT DEBUG YES/SYNC/NO");
    session->debugging = false;
    resp_put_ok(&session->out);
    return 0;
}

static int script_help(struct session *session, struct session_request *request)
{
    static const char *const lines[] = {
        "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DEBUG (YES|SYNC|NO)",
        "    Set the debug mode for subsequent scripts executed.",
        "EXISTS <sha1> [<sha1> ...]",
        "    Return information about the existence of the scripts in the script cache.",
        "FLUSH [ASYNC|SYNC]",
        "    Flush the Lua scripts cache. Very dangerous on replicas.",
        "    When called without the optional mode argument, the behavior is determined by the",
        "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
        "    * ASYNC: Asynchronously flush the scripts cache.",
        "    * SYNC: Synchronously flush the scripts cache.",
        "KILL",
        "    Kill the currently executing Lua script.",
        "LOAD <script>",
        "    Load a script into the scripts cache without executing it.",
        "HELP",
        "    Prints this help.",
        NULL};
    (void)request;
    session__put_lines(session, lines);
    return 0;
}

void session__put_lines(struct session *session, const char *const *lines)
{
    size_t count = 0;
    while (lines[count])
        count++;
    resp_put_array(&session->out, count);
    for (size_t n = 0; n < count; n++)
        resp_put_status(&session->out, lines[n]);
}

int session__scripts_kill(struct session *session, bool functions)
{
    struct service *service = session->service;
    bool killed = false;
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count; n++)
        killed |= service->workers[n] && service->workers[n] != session->worker &&
                  lua_runtime_script_kill(service->workers[n]->lua, functions);
    pthread_mutex_unlock(&service->mutex);
    if (!killed)
        return session__error(session, "NOTBUSY", "No scripts in execution right now.");
    resp_put_ok(&session->out);
    return 0;
}

static int script_kill(struct session *session, struct session_request *request)
{
    (void)request;
    return session__scripts_kill(session, false);
}

#define ROW(name, arity, summary, since, run)                                                   \
    {                                                                                           \
        name, arity, SESSION_NOSCRIPT, 0, 0, 0, summary, since, "scripting", run, NULL, NULL, 0 \
    }
const struct session_command session__script_commands[] = {
    ROW("script|debug", 3, "Sets the debug mode of server-side Lua scripts.", "3.2.0",
        script_debug),
    ROW("script|exists", -3,
        "Determines whether server-side Lua scripts exist in the script cache.", "2.6.0",
        script_exists),
    ROW("script|flush", -2, "Removes all server-side Lua scripts from the script cache.", "2.6.0",
        script_flush),
    ROW("script|help", 2, "Returns helpful text about the different subcommands.", "5.0.0",
        script_help),
    ROW("script|kill", 2, "Terminates a server-side Lua script during execution.", "2.6.0",
        script_kill),
    ROW("script|load", 3, "Loads a server-side Lua script to the script cache.", "2.6.0",
        script_load),
    {0},
};

/* --------------------------------------------------------------------------------- CALL and LUA */

/* argv[first..] as a MessagePack array of strings in the worker's scratch; NULL when memory is out.
 */
static const char *args_pack(struct session_worker *worker, const struct session_request *request,
                             unsigned first)
{
    mp_buffer_reset(&worker->args, SESSION_BUFFER_KEEP_BYTES);
    mp_put_array(&worker->args, request->argc - first);
    for (unsigned n = first; n < request->argc; n++)
        mp_put_str(&worker->args, request->argv[n].data, request->argv[n].size);
    return worker->args.failed ? NULL : worker->args.data;
}

/* The same as values, if the connection has chosen a format for them. */
static int args_take(struct session *session, const struct session_request *request, unsigned first,
                     const char **out)
{
    struct session_worker *worker = session->worker;
    if (session->format == WIRE_NATIVE) {
        *out = args_pack(worker, request, first);
        return 0;
    }
    mp_buffer_reset(&worker->args, SESSION_BUFFER_KEEP_BYTES);
    mp_put_array(&worker->args, request->argc - first);
    int rc = 0;
    for (unsigned n = first; n < request->argc && !rc; n++) {
        char what[32];
        snprintf(what, sizeof what, "argument %u", n);
        worker->taken.size = 0;
        rc = wire_take_value(session->format, &request->argv[n], what, &worker->taken);
        if (!rc)
            mp_put_raw(&worker->args, worker->taken.data, worker->taken.size);
    }
    *out = worker->args.failed ? NULL : worker->args.data;
    return rc;
}

/* As a part of EXEC's transaction, which EXEC runs again when that is lost. */
static int run_in(struct session *session, const struct session_request *request,
                  const struct session_lua_run *run)
{
    struct session_worker *worker = session->worker;
    struct lock_owner *waiting = NULL;
    struct lua_request how = {.readonly = run->readonly,
                              .txn = request->txn,
                              .now_ms = request->now_ms,
                              .undone_by_caller = true,
                              .may_wait = true,
                              .waiting = &waiting,
                              .session_id = session->about.id,
                              .user_id = session->user_id,
                              .database = session->database,
                              .no_touch = load_relaxed(&session->about.no_touch),
                              .granted = request->granted};
    uint64_t reply_ts;
    int rc = lua_run(session, &how, run, &reply_ts);
    return !rc && worker->result.failed ? diag_set(ERROR_MEMORY, "out of memory") : rc;
}

/* Its results are left in the worker's `result`. */
static int run_only(struct session *session, struct session_request *request,
                    const struct session_lua_run *run)
{
    if (!run->args && !run->space)
        return diag_set(ERROR_MEMORY, "out of memory");
    return request->txn && !request->stream
               ? run_in(session, request, run)
               : session__lua_run(session, request->stream, &session->wait, run,
                                  &request->reply_ts);
}

int session__run_packed(struct session *session, struct session_request *request,
                        const struct session_lua_run *run)
{
    int rc = run_only(session, request, run);
    if (rc)
        return rc;
    const char *value = session__results_value(session->worker->result.data);
    session__put_value(session, &value);
    return 0;
}

int session__run_formatted(struct session *session, struct session_request *request,
                           const struct session_lua_run *run)
{
    int rc = run_only(session, request, run);
    return rc ? rc
              : session__put_result(session, session__results_value(session->worker->result.data));
}

/* argv[1] is the procedure's name, or text. */
static int run_and_reply(struct session *session, struct session_request *request, bool text)
{
    struct redis_slice name;
    struct session_lua_run run = {.text = text};
    int rc = wire_take_text(session->format, &request->argv[1],
                            text ? "the text" : "the procedure's name", &name);
    if (!rc)
        rc = args_take(session, request, 2, &run.args);
    if (rc)
        return rc;
    run.name = name.data;
    run.name_size = name.size;
    return session__run_formatted(session, request, &run);
}

int session__call(struct session *session, struct session_request *request)
{
    return run_and_reply(session, request, false);
}

int session__lua(struct session *session, struct session_request *request)
{
    return run_and_reply(session, request, true);
}

int session__procedure_run(struct session *session, struct session_request *request,
                           const char *procedure, unsigned first)
{
    struct session_lua_run run = {.name = procedure,
                                  .name_size = strlen(procedure),
                                  .args = args_pack(session->worker, request, first)};
    return session__run_packed(session, request, &run);
}

static struct session_worker *worker_of(struct service *service, const struct db_worker *db)
{
    struct session_worker *found = NULL;
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count && !found; n++)
        if (service->workers[n] && service->workers[n]->db == db)
            found = service->workers[n];
    pthread_mutex_unlock(&service->mutex);
    return found;
}

int session__script_permits(struct service *service, struct db_worker *db, uint32_t user_id,
                            const char *name, const struct redis_slice *argv, unsigned argc)
{
    const char *text;
    uint32_t size;
    struct redis_slice wrong = {NULL, 0};
    const struct access *access = access_of(db);
    const struct access_user *user = access ? access_user_by_id(access, user_id) : NULL;
    if (!access)
        return diag_code();
    struct session_worker *worker =
        user && acl_text_of(user, &text, &size) ? worker_of(service, db) : NULL;
    const struct acl *acl = worker ? session__acl_of(worker, user_id) : NULL;
    const struct session_command *row =
        acl ? service__command_named(service, name, strlen(name)) : NULL;
    if (!acl || !row)
        return 0;
    enum acl_verdict verdict = acl_check(acl, row, service->specs[row->number], argv, argc, &wrong);
    if (verdict == ACL_ALLOWED)
        return 1;
    return session__acl_denied(NULL, service, user_id == ACCESS_GUEST ? "default" : user->name,
                               verdict, row->name, &wrong, "lua");
}

int session__lua_before(void *arg, struct db_worker *worker, uint64_t session_id, uint32_t user_id,
                        const struct redis_command *command, const struct redis_slice *argv,
                        unsigned argc, uint64_t snapshot_ts)
{
    struct service *service = arg;
    int allowed = session__script_permits(service, worker, user_id, command->name, argv, argc);
    if (allowed < 0)
        return allowed;
    if (load_relaxed(&service->interest.tracking) && (command->flags & REDIS_READONLY))
        session__tracking_script(service, session_id, command, argv, argc, snapshot_ts);
    return allowed;
}

bool session__lua_command_taken(void *arg, const char *name, size_t size)
{
    return service__command_find(arg, name, size) != NULL;
}

/* ---------------------------------------------------------------- what box.info and box.cfg say */

static void put_text(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

uint32_t session__lua_info(void *arg, struct mp_buffer *out)
{
    struct service *service = arg;
    put_text(out, "version");
    put_text(out, service->options.version);
    put_text(out, "status");
    put_text(out, wal_failed(service->wal)          ? "readonly"
                  : load_relaxed(&service->loading) ? "loading"
                                                    : "running");
    put_text(out, "uptime");
    mp_put_uint(out, (clock_monotonic_ns(service->options.clock) - service->start_ns) / 1000000000);
    put_text(out, "port");
    mp_put_uint(out, load_relaxed(&service->port));
    put_text(out, "pid");
    mp_put_uint(out, (uint64_t)getpid());
    put_text(out, "run_id");
    put_text(out, service->run_id);
    return 6;
}

uint32_t session__lua_options(void *arg, struct mp_buffer *out)
{
    struct service *service = arg;
    for (size_t n = 0; n < service->options.setting_count; n++) {
        put_text(out, service->options.settings[n].name);
        put_text(out, service->options.settings[n].value);
    }
    return (uint32_t)service->options.setting_count;
}

bool session__lua_session(void *arg, uint64_t session_id, struct lua_peer *out)
{
    static const char *const types[] = {
        [PROTO_UNKNOWN] = "unknown", [PROTO_RESP] = "redis", [PROTO_RPC] = "binary"};
    struct service *service = arg;
    bool found = false;
    pthread_mutex_lock(&service->mutex);
    list_for_each (link, &service->clients) {
        const struct session *session = list_entry(link, struct session, link);
        if (session->about.id != session_id)
            continue;
        snprintf(out->address, sizeof out->address, "%s", session->about.address);
        out->type = types[load_relaxed(&session->about.kind)];
        out->fd = session->about.fd;
        found = true;
        break;
    }
    pthread_mutex_unlock(&service->mutex);
    return found;
}

void session__lua_session_kept(void *arg, uint64_t session_id)
{
    struct service *service = arg;
    pthread_mutex_lock(&service->mutex);
    list_for_each (link, &service->clients) {
        struct session *session = list_entry(link, struct session, link);
        if (session->about.id == session_id)
            store_relaxed(&session->kept_in_lua, true);
    }
    pthread_mutex_unlock(&service->mutex);
}
