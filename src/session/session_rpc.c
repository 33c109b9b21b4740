/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MessagePack-RPC: the methods, each a function in one table; any other name is that of a stored
 * procedure.
 *
 * Options may stand at the head of the params, an extension of type 1 that holds a map:
 * {stream = n} runs the request in the interactive transaction of that stream.
 *
 * A notification is executed and answered by nothing, not even when it fails.
 */
#include "session/session_rpc.h"

enum { OPTIONS_EXTENSION = 1 };

static const char PONG[] = "\xa4pong", TRUE[] = "\xc3";

/* ------------------------------------------------------------------------------------- options */

static bool text_is(const char *text, uint32_t size, const char *wanted)
{
    return size == strlen(wanted) && memcmp(text, wanted, size) == 0;
}

/* Takes a key of a map that is a string; false when it is none. */
static bool key_take(const char **at, const char **key, uint32_t *size)
{
    if (mp_typeof(**at) != MP_STR)
        return false;
    *key = mp_decode_str(at, size);
    return true;
}

static int options_read(struct rpc_call *call, const char *at, const char *end)
{
    const char *check = at, *key;
    uint32_t size;
    if (!mp_check_limited(&check, end) || check != end || mp_typeof(*at) != MP_MAP)
        return diag_set(ERROR_INVALID, "the options at the head of the params are not a map");
    for (uint32_t left = mp_decode_map(&at); left > 0; left--) {
        if (!key_take(&at, &key, &size) || !text_is(key, size, "stream"))
            return diag_set(ERROR_INVALID, "the only option of a request is 'stream'");
        if (!mp_read_uint(&at, &call->stream_id))
            return diag_set(ERROR_INVALID, "the option 'stream' is an unsigned integer");
        call->stream_given = true;
    }
    return 0;
}

int session__rpc_open(struct session *session, const struct rpc_request *request,
                      struct rpc_call *call)
{
    (void)session;
    const char *at = request->params;
    *call = (struct rpc_call){.request = request,
                              .arg_count = mp_decode_array(&at),
                              .args_end = request->params + request->params_size};
    call->args = at;
    if (call->arg_count == 0 || mp_typeof(*at) != MP_EXT)
        return 0;
    const char *behind = at;
    mp_next(&behind);
    unsigned char first = (unsigned char)*at;
    at += first == 0xc7 ? 2 : first == 0xc8 ? 3 : first == 0xc9 ? 5 : 1; /* to the type */
    if (*at != OPTIONS_EXTENSION)
        return 0;
    call->args = behind;
    call->arg_count--;
    return options_read(call, at + 1, behind);
}

/* ------------------------------------------------------------------------------------ arguments */

bool session__rpc_take_text(struct rpc_call *call, struct redis_slice *out)
{
    uint32_t size;
    if (call->arg_count == 0 ||
        (mp_typeof(*call->args) != MP_STR && mp_typeof(*call->args) != MP_BIN))
        return false;
    out->data = mp_typeof(*call->args) == MP_STR ? mp_decode_str(&call->args, &size)
                                                 : mp_decode_bin(&call->args, &size);
    out->size = size;
    call->arg_count--;
    return true;
}

/* What is left of the arguments as an array of their own; NULL when memory is out. */
static const char *rest_array(struct session_worker *worker, const struct rpc_call *call)
{
    mp_buffer_reset(&worker->args, SESSION_BUFFER_KEEP_BYTES);
    mp_put_array(&worker->args, call->arg_count);
    mp_put_raw(&worker->args, call->args, (size_t)(call->args_end - call->args));
    return worker->args.failed ? NULL : worker->args.data;
}

/* ---------------------------------------------------------------------------------- Lua's methods */

static int run_lua(struct session *session, struct rpc_call *call, struct session_lua_run *run)
{
    struct session_stream *stream = call->stream;
    struct txn_savepoint savepoint;
    run->args = rest_array(session->worker, call);
    if (!run->args)
        return diag_set(ERROR_MEMORY, "out of memory");
    if (load_relaxed(&session->service->loading))
        return diag_set(ERROR_BUSY, "Perigee is loading the dataset in memory");
    int rc = call->stream_given ? session__stream_enter(stream, &savepoint) : 0;
    if (rc)
        return rc;
    rc = session__lua_run(session, call->stream_given ? stream : NULL,
                          call->stream_given ? NULL : call->wait, run, &call->reply_ts);
    if (rc)
        call->trace = lua_runtime_frames(session->worker->lua, &call->trace_size);
    return call->stream_given ? session__stream_leave(stream, &savepoint, rc, &call->reply_ts) : rc;
}

static int method_call(struct session *session, struct rpc_call *call)
{
    struct redis_slice head;
    if (!session__rpc_take_text(call, &head))
        return diag_set(ERROR_INVALID,
                        "the procedure's name must be a string at the head of the params");
    struct session_lua_run run = {.name = head.data, .name_size = head.size};
    return run_lua(session, call, &run);
}

static int method_eval(struct session *session, struct rpc_call *call)
{
    struct redis_slice head;
    if (!session__rpc_take_text(call, &head))
        return diag_set(ERROR_INVALID, "the text must be a string at the head of the params");
    struct session_lua_run run = {.name = head.data, .name_size = head.size, .text = true};
    return run_lua(session, call, &run);
}

static int procedure(struct session *session, struct rpc_call *call)
{
    const struct rpc_request *request = call->request;
    struct session_lua_run run = {.name = request->method, .name_size = request->method_size};
    int rc = run_lua(session, call, &run);
    if (rc == ERROR_NOT_FOUND)
        rc = diag_set(ERROR_NOT_FOUND, "unknown method '%.*s'",
                      (int)(request->method_size < 128 ? request->method_size : 128),
                      request->method);
    return rc;
}

/* -------------------------------------------------------------------- interactive transactions */

/* {isolation = level, readonly = boolean}, either or none. */
static int begin_options(struct rpc_call *call, struct session_stream_options *options)
{
    const char *at = call->args, *key, *name;
    uint32_t size;
    if (call->arg_count == 0)
        return 0;
    if (call->arg_count > 1 || mp_typeof(*at) != MP_MAP)
        return diag_set(ERROR_INVALID, "begin takes one map: {isolation =, readonly =}");
    for (uint32_t left = mp_decode_map(&at); left > 0; left--) {
        if (!key_take(&at, &key, &size))
            return diag_set(ERROR_INVALID, "an option of begin is not a string");
        if (text_is(key, size, "isolation") && mp_typeof(*at) == MP_STR) {
            name = mp_decode_str(&at, &size);
            if (!txn_level_parse(name, size, &options->level))
                return diag_set(ERROR_INVALID, "there is no isolation level '%.*s'",
                                (int)(size < 64 ? size : 64), name);
        } else if (text_is(key, size, "readonly") && mp_typeof(*at) == MP_BOOL) {
            options->readonly = mp_decode_bool(&at);
        } else {
            return diag_set(ERROR_INVALID,
                            "begin's options are isolation, a string, and readonly, a boolean");
        }
    }
    return 0;
}

static int method_begin(struct session *session, struct rpc_call *call)
{
    struct session_stream_options options = {.level = session__level(session)};
    int rc = begin_options(call, &options);
    if (load_relaxed(&session->service->loading))
        rc = diag_set(ERROR_BUSY, "Perigee is loading the dataset in memory");
    if (!rc)
        rc = session__rpc_stream_make(session, call);
    if (rc)
        return rc;
    if (call->stream->failed)
        return session__stream_failure(call->stream);
    if (call->stream->txn)
        return diag_set(ERROR_INVALID,
                        "a transaction is open in this stream already: use savepoint");
    return session__stream_begin(call->stream, &options);
}

static int method_commit(struct session *session, struct rpc_call *call)
{
    (void)session;
    return session__stream_commit(call->stream, &call->reply_ts);
}

static int wants_name(const char *method)
{
    return diag_set(ERROR_INVALID, "%s takes a savepoint's name", method);
}

/* [] or [savepoint] */
static int method_rollback(struct session *session, struct rpc_call *call)
{
    (void)session;
    struct redis_slice name;
    if (call->arg_count == 0)
        return session__stream_rollback(call->stream, &call->reply_ts);
    if (!session__rpc_take_text(call, &name) || call->arg_count > 0)
        return wants_name("rollback");
    return session__stream_rollback_to(call->stream, name.data, name.size, &call->reply_ts);
}

static int method_savepoint(struct session *session, struct rpc_call *call)
{
    (void)session;
    struct redis_slice name;
    if (!session__rpc_take_text(call, &name) || call->arg_count > 0)
        return wants_name("savepoint");
    return session__stream_savepoint(call->stream, name.data, name.size, &call->reply_ts);
}

static int method_release(struct session *session, struct rpc_call *call)
{
    (void)session;
    struct redis_slice name;
    if (!session__rpc_take_text(call, &name) || call->arg_count > 0)
        return wants_name("release");
    return session__stream_release(call->stream, name.data, name.size, &call->reply_ts);
}

/* [level], or [] for the default. */
static int method_isolation(struct session *session, struct rpc_call *call)
{
    struct redis_slice name;
    enum txn_level level = TXN_SERIALIZABLE;
    bool given = call->arg_count > 0;
    if (given && (!session__rpc_take_text(call, &name) || call->arg_count > 0 ||
                  !txn_level_parse(name.data, name.size, &level)))
        return diag_set(ERROR_INVALID, "isolation takes the name of a level");
    session->level = level;
    session->level_given = given;
    return 0;
}

/* [milliseconds], or [] for the default. */
static int method_lock_timeout(struct session *session, struct rpc_call *call)
{
    uint64_t ms = 0;
    bool given = call->arg_count > 0;
    if (given && (call->arg_count > 1 || !mp_read_uint(&call->args, &ms) || ms > UINT32_MAX))
        return diag_set(ERROR_INVALID, "lock_timeout takes milliseconds");
    session->lock_timeout_ms = (unsigned)ms;
    session->lock_timeout_given = given;
    return 0;
}

/* ----------------------------------------------------------------------------------- the others */

static int method_ping(struct session *session, struct rpc_call *call)
{
    (void)session;
    call->value = PONG;
    return 0;
}

/* [password] or [user, password] */
static int method_auth(struct session *session, struct rpc_call *call)
{
    struct redis_slice first, second;
    bool two = call->arg_count == 2;
    if (!session__rpc_take_text(call, &first) || (two && !session__rpc_take_text(call, &second)) ||
        call->arg_count > 0)
        return diag_set(ERROR_INVALID, "auth takes [password] or [user, password]");
    return two ? session__login(session, call->wait, &first, &second)
               : session__login(session, call->wait, NULL, &first);
}

/* ------------------------------------------------------------------------------------- dispatch */

enum method_flags {
    BEFORE_AUTH = 1,
    WANTS_STREAM = 2, /* one that has been begun */
    MAKES_STREAM = 4,
    RETURNS = 8, /* something of its own; others return true */
    FOR_ALL = 16 /* who may is asked in Lua, or need not be */
};

struct method {
    const char *name;
    unsigned flags;
    int (*run)(struct session *session, struct rpc_call *call);
};

static const struct method METHODS[] = {
    {"auth", BEFORE_AUTH, method_auth},
    {"begin", MAKES_STREAM, method_begin},
    {"call", RETURNS | FOR_ALL, method_call},
    {"commit", WANTS_STREAM, method_commit},
    {"eval", RETURNS | FOR_ALL, method_eval},
    {"isolation", 0, method_isolation},
    {"lock_timeout", 0, method_lock_timeout},
    {"ping", RETURNS | FOR_ALL, method_ping},
    {"psubscribe", 0, session__rpc_psubscribe},
    {"publish", RETURNS, session__rpc_publish},
    {"punsubscribe", 0, session__rpc_punsubscribe},
    {"release", WANTS_STREAM, method_release},
    {"rollback", WANTS_STREAM, method_rollback},
    {"savepoint", WANTS_STREAM, method_savepoint},
    {"subscribe", 0, session__rpc_subscribe},
    {"unsubscribe", 0, session__rpc_unsubscribe},
};
static const struct method PROCEDURE = {"", RETURNS | FOR_ALL, procedure};

static const struct method *method_of(const struct rpc_request *request)
{
    for (size_t n = 0; n < sizeof METHODS / sizeof *METHODS; n++)
        if (text_is(request->method, (uint32_t)request->method_size, METHODS[n].name))
            return &METHODS[n];
    return &PROCEDURE;
}

int session__rpc_run(struct session *session, struct rpc_call *call)
{
    const struct method *method = method_of(call->request);
    int rc = method->flags & BEFORE_AUTH ? 0 : session__check(session, !(method->flags & FOR_ALL));
    if (rc)
        return rc;
    if (!call->stream_given && (method->flags & (WANTS_STREAM | MAKES_STREAM)))
        return diag_set(ERROR_INVALID,
                        "%s needs a stream: the option {stream = n} at the head of the params",
                        method->name);
    if (call->stream_given && !call->stream && !(method->flags & MAKES_STREAM))
        return diag_set(ERROR_INVALID, "no transaction is open in this stream: begin opens one");
    if (!(method->flags & RETURNS))
        call->value = TRUE;
    return method->run(session, call);
}

static void error_count(struct session *session, int rc)
{
    const char *prefix = error_prefix(rc);
    service__count(&session->worker->stats.errors[service__error_slot(prefix, strlen(prefix))], 1);
}

void session__rpc_answer(struct session *session, const struct rpc_call *call, int rc)
{
    const struct rpc_request *request = call->request;
    service__count(&session->worker->stats.commands, 1);
    if (rc)
        error_count(session, rc);
    if (request->notification) {
        session__reply_end(session, call->reply_ts, 0, true);
        return;
    }
    if (rc) {
        rpc_put_error_at(&session->out, request->id, rc, error_name(rc), diag_message_for(rc),
                         call->trace, call->trace_size);
    } else {
        const char *value =
            call->value ? call->value : session__results_value(session->worker->result.data);
        const char *end = value;
        mp_next(&end);
        rpc_put_result_begin(&session->out, request->id);
        mp_put_raw(&session->out, value, (size_t)(end - value));
    }
    session__reply_end(session, call->reply_ts, request->id, false);
}
