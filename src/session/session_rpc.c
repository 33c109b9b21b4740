/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MessagePack-RPC: methods `call`, `eval`, `ping` and `auth`; any other name is that of a stored
 * procedure.
 *
 * A notification is executed and answered by nothing, not even when it fails.
 */
#include "session/session_internal.h"

/* What a method gave: an error code with diagnostics, or a value. */
struct rpc_answer {
    const char *value; /* MessagePack; NULL: the worker's `result` holds what Lua returned */
    uint64_t reply_ts;
};

static const char PONG[] = "\xa4pong", TRUE[] = "\xc3";

static bool method_is(const struct rpc_request *request, const char *name)
{
    return request->method_size == strlen(name) &&
           memcmp(request->method, name, request->method_size) == 0;
}

/* Takes the string at the head of the params: its bytes, and the params behind it as an array of
 * their own in the worker's scratch. */
static int head_take(struct session_worker *worker, const struct rpc_request *request,
                     const char *what, struct redis_slice *head)
{
    const char *at = request->params;
    uint32_t count = mp_decode_array(&at), size;
    if (count == 0 || (mp_typeof(*at) != MP_STR && mp_typeof(*at) != MP_BIN))
        return diag_set(ERROR_INVALID, "%s must be a string at the head of the params", what);
    head->data = mp_typeof(*at) == MP_STR ? mp_decode_str(&at, &size) : mp_decode_bin(&at, &size);
    head->size = size;
    mp_put_array(&worker->args, count - 1);
    mp_put_raw(&worker->args, at, (size_t)(request->params + request->params_size - at));
    return worker->args.failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

static int rpc_auth(struct session *session, const struct rpc_request *request)
{
    const char *at = request->params, *user = NULL, *password;
    uint32_t count = mp_decode_array(&at), user_size = 0, size;
    bool strings = count == 1 || count == 2;
    const char *end = request->params + request->params_size;
    for (const char *arg = at; strings && arg < end; mp_next(&arg))
        strings = mp_typeof(*arg) == MP_STR;
    if (!strings)
        return diag_set(ERROR_INVALID, "auth takes [password] or [user, password]");
    if (count == 2)
        user = mp_decode_str(&at, &user_size);
    password = mp_decode_str(&at, &size);
    if (!session__authenticate(session, user, user_size, password, size))
        return diag_set(ERROR_ACCESS, "invalid username-password pair or user is disabled.");
    return 0;
}

static int rpc_run_lua(struct session *session, const struct rpc_request *request,
                       struct rpc_answer *answer)
{
    struct session_worker *worker = session->worker;
    struct lua_request how = {.latest = session__reads_latest(session)};
    struct redis_slice head = {request->method, request->method_size};
    const char *args = request->params;
    bool call = method_is(request, "call"), eval = method_is(request, "eval");
    mp_buffer_reset(&worker->args, SESSION_BUFFER_KEEP_BYTES);
    mp_buffer_reset(&worker->result, SESSION_BUFFER_KEEP_BYTES);
    if (load_relaxed(&session->service->loading))
        return diag_set(ERROR_BUSY, "Perigee is loading the dataset in memory");
    if (call || eval) {
        int rc = head_take(worker, request, call ? "the procedure's name" : "the text", &head);
        if (rc)
            return rc;
        args = worker->args.data;
    }
    int rc = eval ? lua_runtime_eval(worker->lua, &how, head.data, head.size, args, &worker->result,
                                     &answer->reply_ts)
                  : lua_runtime_call(worker->lua, &how, head.data, head.size, args, &worker->result,
                                     &answer->reply_ts);
    session__now_forget(worker);
    if (!rc && worker->result.failed)
        rc = diag_set(ERROR_MEMORY, "out of memory");
    if (rc == ERROR_NOT_FOUND && !call && !eval)
        rc = diag_set(ERROR_NOT_FOUND, "unknown method '%.*s'",
                      (int)(head.size < 128 ? head.size : 128), head.data);
    return rc;
}

static int rpc_method_run(struct session *session, const struct rpc_request *request,
                          struct rpc_answer *answer)
{
    if (method_is(request, "auth")) {
        answer->value = TRUE;
        return rpc_auth(session, request);
    }
    if (!session->authenticated)
        return diag_set(ERROR_AUTH, "Authentication required.");
    if (method_is(request, "ping")) {
        answer->value = PONG;
        return 0;
    }
    return rpc_run_lua(session, request, answer);
}

void session__execute_rpc(struct session *session, const struct rpc_request *request)
{
    struct rpc_answer answer = {0};
    diag_clear();
    store_relaxed(&session->about.active_ms, session__now_ms(session->worker));
    int rc = rpc_method_run(session, request, &answer);
    service__count(&session->worker->stats.commands, 1);
    if (rc)
        service__count(
            &session->worker->stats
                 .errors[service__error_slot(error_prefix(rc), strlen(error_prefix(rc)))],
            1);
    if (request->notification) {
        session__reply_end(session, answer.reply_ts, 0, true);
        return;
    }
    if (rc) {
        rpc_put_error(&session->out, request->id, rc, error_name(rc), diag_message_for(rc));
    } else {
        const char *value =
            answer.value ? answer.value : session__results_value(session->worker->result.data);
        const char *end = value;
        mp_next(&end);
        rpc_put_result_begin(&session->out, request->id);
        mp_put_raw(&session->out, value, (size_t)(end - value));
    }
    session__reply_end(session, answer.reply_ts, request->id, false);
}
