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

#include <stdlib.h>

enum { OPTIONS_EXTENSION = 1 };

static const char PONG[] = "\xa4pong", TRUE[] = "\xc3", FALSE[] = "\xc2";

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

int session__rpc_lua(struct session *session, struct rpc_call *call, struct session_lua_run *run)
{
    struct session_stream *stream = call->stream;
    struct txn_savepoint savepoint;
    run->tells = !call->request->notification;
    run->tells_id = call->request->id;
    if (load_relaxed(&session->service->loading))
        return diag_set(ERROR_BUSY, "Perigee is loading the dataset in memory");
    int rc = call->stream_given ? session__stream_enter(stream, &savepoint) : 0;
    if (rc)
        return rc;
    rc = session__lua_run(session, call->stream_given ? stream : NULL,
                          call->stream_given ? NULL : call->wait, run, &call->reply_ts);
    if (rc) {
        call->trace = lua_runtime_frames(session->worker->lua, &call->trace_size);
        call->details = lua_runtime_details(session->worker->lua, &call->details_size);
    }
    return call->stream_given ? session__stream_leave(stream, &savepoint, rc, &call->reply_ts) : rc;
}

static int run_lua(struct session *session, struct rpc_call *call, struct session_lua_run *run)
{
    run->args = rest_array(session->worker, call);
    return run->args ? session__rpc_lua(session, call, run)
                     : diag_set(ERROR_MEMORY, "out of memory");
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

/* [id]: whether that request waited, and is ending now. */
static int method_cancel(struct session *session, struct rpc_call *call)
{
    uint64_t id;
    if (call->arg_count != 1 || !mp_read_uint(&call->args, &id))
        return diag_set(ERROR_INVALID, "cancel takes the id of a request");
    call->value = session__pending_cancel(session, id) ? TRUE : FALSE;
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

static const struct rpc_method METHODS[] = {
    {"auth", RPC_BEFORE_AUTH, method_auth, 0, "user:string? password:string", "boolean",
     "Says who the connection speaks for."},
    {"begin", RPC_MAKES_STREAM, method_begin, 0, "options:map?", "boolean",
     "Opens the interactive transaction of a stream; options: isolation, readonly."},
    {"box.alter_index", RPC_RETURNS | RPC_FOR_ALL | RPC_NO_STREAM, session__rpc_alter,
     RPC_INDEX_ALTER, "space:string index:string options:map", "boolean",
     "Changes the name or options of an index."},
    {"box.alter_space", RPC_RETURNS | RPC_FOR_ALL | RPC_NO_STREAM, session__rpc_alter,
     RPC_SPACE_ALTER, "space:string options:map", "boolean",
     "Changes the name, format or options of a space."},
    {"box.count", RPC_RETURNS | RPC_FOR_ALL, session__rpc_statement, SPACE_COUNT,
     "space:string key:any? options:map?", "unsigned",
     "Counts the tuples of a space or of a key; options: index, iterator."},
    {"box.create_index", RPC_RETURNS | RPC_FOR_ALL | RPC_NO_STREAM, session__rpc_alter,
     RPC_INDEX_CREATE, "space:string index:string options:map?", "unsigned",
     "Creates an index of a space: its id."},
    {"box.create_space", RPC_RETURNS | RPC_FOR_ALL | RPC_NO_STREAM, session__rpc_alter,
     RPC_SPACE_CREATE, "space:string options:map?", "unsigned", "Creates a space: its id."},
    {"box.delete", RPC_RETURNS | RPC_FOR_ALL, session__rpc_statement, SPACE_DELETE,
     "space:string key:any options:map?", "array?", "Deletes a tuple by its key; options: index."},
    {"box.drop_index", RPC_RETURNS | RPC_FOR_ALL | RPC_NO_STREAM, session__rpc_alter,
     RPC_INDEX_DROP, "space:string index:string", "boolean", "Deletes an index of a space."},
    {"box.drop_space", RPC_RETURNS | RPC_FOR_ALL | RPC_NO_STREAM, session__rpc_alter,
     RPC_SPACE_DROP, "space:string", "boolean", "Deletes a space and its tuples."},
    {"box.get", RPC_RETURNS | RPC_FOR_ALL, session__rpc_statement, SPACE_GET,
     "space:string key:any options:map?", "array?", "A tuple by its key; options: index."},
    {"box.get_many", RPC_RETURNS | RPC_FOR_ALL, session__rpc_statement, SPACE_MGET,
     "space:string keys:array options:map?", "array",
     "For each key its tuple, or nil; options: index."},
    {"box.insert", RPC_RETURNS | RPC_FOR_ALL, session__rpc_statement, SPACE_INSERT,
     "space:string tuple:array", "array", "Inserts a tuple whose key is not taken."},
    {"box.replace", RPC_RETURNS | RPC_FOR_ALL, session__rpc_statement, SPACE_REPLACE,
     "space:string tuple:array", "array",
     "Inserts a tuple, or puts it in the place of the one with its key."},
    {"box.select", RPC_RETURNS | RPC_FOR_ALL, session__rpc_statement, SPACE_SELECT,
     "space:string key:any options:map?", "array",
     "The tuples of a key, or a range; options: index, iterator, limit, offset, after."},
    {"box.space", RPC_RETURNS | RPC_FOR_ALL, session__rpc_alter, RPC_SPACE_INFO, "space:string",
     "map", "What a space and its indexes are."},
    {"box.spaces", RPC_RETURNS | RPC_FOR_ALL, session__rpc_alter, RPC_SPACE_LIST, "", "array",
     "The names of the spaces that may be read."},
    {"box.truncate_space", RPC_RETURNS | RPC_FOR_ALL | RPC_NO_STREAM, session__rpc_alter,
     RPC_SPACE_TRUNCATE, "space:string", "boolean", "Deletes all tuples of a space."},
    {"box.update", RPC_RETURNS | RPC_FOR_ALL, session__rpc_statement, SPACE_UPDATE,
     "space:string key:any operations:array options:map?", "array?",
     "Changes fields of a tuple by operations; options: index."},
    {"box.upsert", RPC_RETURNS | RPC_FOR_ALL, session__rpc_statement, SPACE_UPSERT,
     "space:string tuple:array operations:array", "nil",
     "Inserts a tuple, or changes the one with its key by operations."},
    {"call", RPC_RETURNS | RPC_FOR_ALL, method_call, 0, "procedure:string argument:any*", "any",
     "Calls a stored procedure."},
    {"cancel", RPC_RETURNS | RPC_FOR_ALL, method_cancel, 0, "id:unsigned", "boolean",
     "Ends a request of this connection where it waits or sleeps."},
    {"commit", RPC_WANTS_STREAM, method_commit, 0, "", "boolean",
     "Commits the interactive transaction of a stream."},
    {"eval", RPC_RETURNS | RPC_FOR_ALL, method_eval, 0, "text:string argument:any*", "any",
     "Runs Lua text."},
    {"isolation", 0, method_isolation, 0, "level:string?", "boolean",
     "Sets the isolation level of what names none."},
    {"lock_timeout", 0, method_lock_timeout, 0, "milliseconds:unsigned?", "boolean",
     "Sets how long requests of this connection wait for others."},
    {"ping", RPC_RETURNS | RPC_FOR_ALL, method_ping, 0, "", "string", "Answers pong."},
    {"psubscribe", 0, session__rpc_psubscribe, 0, "pattern:string*", "boolean",
     "Listens to channels that match a pattern."},
    {"publish", RPC_RETURNS, session__rpc_publish, 0, "channel:string payload:any", "unsigned",
     "Sends a message: how many receive it."},
    {"punsubscribe", 0, session__rpc_punsubscribe, 0, "pattern:string*", "boolean",
     "Stops listening to patterns."},
    {"release", RPC_WANTS_STREAM, method_release, 0, "savepoint:string", "boolean",
     "Forgets a savepoint and those after it."},
    {"rollback", RPC_WANTS_STREAM, method_rollback, 0, "savepoint:string?", "boolean",
     "Rolls back the interactive transaction, or what came after a savepoint."},
    {"savepoint", RPC_WANTS_STREAM, method_savepoint, 0, "savepoint:string", "boolean",
     "Names a point to roll back to."},
    {"schema", RPC_RETURNS | RPC_FOR_ALL, session__rpc_schema, 0, "", "map",
     "All methods, and the procedures that may be called."},
    {"subscribe", 0, session__rpc_subscribe, 0, "channel:string*", "boolean",
     "Listens to channels."},
    {"unsubscribe", 0, session__rpc_unsubscribe, 0, "channel:string*", "boolean",
     "Stops listening to channels."},
};
static const struct rpc_method PROCEDURE = {
    .name = "", .flags = RPC_RETURNS | RPC_FOR_ALL, .run = procedure};

const struct rpc_method *session__rpc_method(unsigned n)
{
    return n < sizeof METHODS / sizeof *METHODS ? &METHODS[n] : NULL;
}

static int by_name(const void *key, const void *method)
{
    const struct rpc_request *request = key;
    const char *name = ((const struct rpc_method *)method)->name;
    size_t size = strlen(name), least = size < request->method_size ? size : request->method_size;
    int order = memcmp(request->method, name, least);
    return order ? order : request->method_size < size ? -1 : request->method_size > size;
}

static const struct rpc_method *method_of(const struct rpc_request *request)
{
    const struct rpc_method *method =
        bsearch(request, METHODS, sizeof METHODS / sizeof *METHODS, sizeof *METHODS, by_name);
    return method ? method : &PROCEDURE;
}

int session__rpc_run(struct session *session, struct rpc_call *call)
{
    const struct rpc_method *method = call->method = method_of(call->request);
    store_relaxed(&session->about.command, method == &PROCEDURE ? "call" : method->name);
    int rc = method->flags & RPC_BEFORE_AUTH
                 ? 0
                 : session__check(session, !(method->flags & RPC_FOR_ALL));
    if (rc)
        return rc;
    if (!call->stream_given && (method->flags & (RPC_WANTS_STREAM | RPC_MAKES_STREAM)))
        return diag_set(ERROR_INVALID,
                        "%s needs a stream: the option {stream = n} at the head of the params",
                        method->name);
    if (call->stream_given && !call->stream && !(method->flags & RPC_MAKES_STREAM))
        return diag_set(ERROR_INVALID, "no transaction is open in this stream: begin opens one");
    if (call->stream_given && (method->flags & RPC_NO_STREAM))
        return diag_set(ERROR_INVALID,
                        "%s is not allowed in a stream: it is a transaction by itself",
                        method->name);
    if (!(method->flags & RPC_RETURNS))
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
    session__push_take(session); /* its progress comes before its response */
    if (request->notification) {
        session__reply_end(session, call->reply_ts, 0, true);
        return;
    }
    if (rc) {
        rpc_put_error_more(&session->out, request->id,
                           &(struct rpc_error){.code = rc,
                                               .name = error_name(rc),
                                               .message = diag_message_for(rc),
                                               .trace = call->trace,
                                               .trace_size = call->trace_size,
                                               .details = call->details,
                                               .details_size = call->details_size});
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
