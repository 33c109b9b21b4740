/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MessagePack-RPC: what can be called. The methods tell of themselves, by the strings of their table;
 * Lua tells of the procedures.
 *
 *     {methods = [{name, params = [{name, type, optional, repeated}], returns, stream, summary}],
 *      procedures = [{name, params, returns, summary, readonly, transaction}],
 *      errors = {ERROR_MEMORY = -1, ..}}
 */
#include "session/session_rpc.h"

static void put_text(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

static unsigned words_count(const char *text)
{
    unsigned count = *text != 0;
    for (; *text; text++)
        count += *text == ' ';
    return count;
}

/* One word of rpc_method.params, "key:any?"; returns what is behind it. */
static const char *put_param(struct mp_buffer *out, const char *word)
{
    size_t name = strcspn(word, ":"), type = strcspn(word + name + 1, "?* ");
    char last = word[name + 1 + type];
    mp_put_map(out, 2 + (last == '?' || last == '*'));
    put_text(out, "name");
    mp_put_str(out, word, name);
    put_text(out, "type");
    mp_put_str(out, word + name + 1, type);
    if (last == '?' || last == '*') {
        put_text(out, last == '?' ? "optional" : "repeated");
        mp_put_bool(out, true);
    }
    word += strcspn(word, " ");
    return *word ? word + 1 : word;
}

static void put_method(struct mp_buffer *out, const struct rpc_method *method)
{
    const char *stream = method->flags & (RPC_WANTS_STREAM | RPC_MAKES_STREAM) ? "required"
                         : method->flags & RPC_NO_STREAM                       ? "refused"
                                                                               : "allowed";
    mp_put_map(out, 5);
    put_text(out, "name");
    put_text(out, method->name);
    put_text(out, "params");
    mp_put_array(out, words_count(method->params));
    for (const char *word = method->params; *word;)
        word = put_param(out, word);
    put_text(out, "returns");
    put_text(out, method->returns);
    put_text(out, "stream");
    put_text(out, stream);
    put_text(out, "summary");
    put_text(out, method->summary);
}

static void put_methods(struct mp_buffer *out)
{
    unsigned count = 0;
    while (session__rpc_method(count))
        count++;
    put_text(out, "methods");
    mp_put_array(out, count);
    for (unsigned n = 0; n < count; n++)
        put_method(out, session__rpc_method(n));
}

static void put_errors(struct mp_buffer *out)
{
    int last = 0;
    while (strcmp(error_name(last - 1), "ERROR_?") != 0)
        last--;
    put_text(out, "errors");
    mp_put_map(out, (uint32_t)-last);
    for (int code = -1; code >= last; code--) {
        put_text(out, error_name(code));
        mp_put_int(out, code);
    }
}

int session__rpc_schema(struct session *session, struct rpc_call *call)
{
    struct session_worker *worker = session->worker;
    struct mp_buffer *out = &worker->args;
    mp_buffer_reset(out, SESSION_BUFFER_KEEP_BYTES);
    mp_put_array(out, 1);
    put_text(out, "callable");
    struct session_lua_run run = {.schema = true, .args = out->data, .readonly = true};
    int rc = out->failed ? diag_set(ERROR_MEMORY, "out of memory")
                         : session__rpc_lua(session, call, &run);
    if (rc)
        return rc;
    const char *procedures = session__results_value(worker->result.data), *end = procedures;
    mp_next(&end);
    mp_buffer_reset(out, SESSION_BUFFER_KEEP_BYTES);
    mp_put_map(out, 3);
    put_methods(out);
    put_text(out, "procedures");
    mp_put_raw(out, procedures, (size_t)(end - procedures));
    put_errors(out);
    call->value = out->data;
    return out->failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}
