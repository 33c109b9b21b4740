/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EVAL: Redis scripts as serializable transactions.
 *
 * Scripts are compiled and kept by lua/box/script.lua, by their source and by the SHA-1 of it. The
 * reply is converted by Redis's rules into runtime->result and leaves for the caller's sink after
 * the commit: a number is truncated to an integer, true is 1, false and nil are null, a table with
 * `err` is an error, with `ok` a status, with `double`, `map`, `set`, `big_number` or
 * `verbatim_string` that of RESP3, any other an array that ends at its first nil. What Redis has
 * not is the nearest that it has: 64-bit integers are integers, decimals, uuids and datetimes their
 * text, tuples arrays.
 *
 * An error that leaves a script is a text of its own (ERROR_SCRIPT), which begins with a prefix and
 * ends with the script's name and line.
 *
 * Unlike Redis, an error that leaves the script takes back what it has written.
 */
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/ext.h"
#include "lua/internal.h"
#include "lua/reply.h"
#include "lua/sha1.h"

/* --------------------------------------------------------------------------------- the reply */

static void encode_reply(lua_State *L, struct lua_runtime *runtime, int index, unsigned depth);

/* As C on this machine makes an integer of a double. */
static void encode_integer(struct mp_buffer *out, double number)
{
    bool fits = number > -9223372036854775808.0 && number < 9223372036854775808.0;
    mp_put_int(out, fits ? (int64_t)number : INT64_MIN);
}

/* Pushes the member `field` of the table at the index; false, and nothing pushed, when it is not of
 * this type. */
static bool push_member(lua_State *L, int index, const char *field, int type)
{
    lua_pushstring(L, field);
    lua_rawget(L, index);
    if (lua_type(L, -1) == type)
        return true;
    lua_pop(L, 1);
    return false;
}

static bool encode_text_field(lua_State *L, struct mp_buffer *out, int index, const char *field,
                              int type)
{
    size_t size;
    if (!push_member(L, index, field, LUA_TSTRING))
        return false;
    const char *text = lua_tolstring(L, -1, &size);
    lua__reply_put_ext(out, type, text, size);
    lua_pop(L, 1);
    return true;
}

static bool encode_verbatim(lua_State *L, struct mp_buffer *out, int index)
{
    char both[3] = {' ', ' ', ' '};
    size_t size, format_size;
    if (!push_member(L, index, "verbatim_string", LUA_TTABLE))
        return false;
    int table = lua_gettop(L);
    bool found = push_member(L, table, "string", LUA_TSTRING) &&
                 push_member(L, table, "format", LUA_TSTRING);
    if (found) {
        const char *text = lua_tolstring(L, table + 1, &size),
                   *format = lua_tolstring(L, table + 2, &format_size);
        memcpy(both, format, format_size < 3 ? format_size : 3);
        lua_pushlstring(L, both, 3);
        lua_pushlstring(L, text, size);
        lua_concat(L, 2);
        text = lua_tolstring(L, -1, &size);
        lua__reply_put_ext(out, LUA__REPLY_VERBATIM, text, size);
    }
    lua_settop(L, table - 1);
    return found;
}

/* A table of keys: with what they stand for, or by themselves. */
static bool encode_keys(lua_State *L, struct lua_runtime *runtime, int index, const char *field,
                        unsigned depth)
{
    bool map = field[0] == 'm';
    uint32_t count = 0;
    if (!push_member(L, index, field, LUA_TTABLE))
        return false;
    luaL_checkstack(L, 6, "nested reply");
    int table = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1))
        count++;
    if (map)
        mp_put_map(&runtime->result, count);
    else
        lua__reply_put_ext(&runtime->result, LUA__REPLY_SET, (const char *)&count, sizeof count);
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
        encode_reply(L, runtime, table + 1, depth + 1);
        if (map)
            encode_reply(L, runtime, table + 2, depth + 1);
    }
    lua_pop(L, 1);
    return true;
}

static void encode_array(lua_State *L, struct lua_runtime *runtime, int index, unsigned depth)
{
    int count = 0;
    lua__encode_check(L, runtime, &runtime->result);
    luaL_checkstack(L, 4, "nested reply");
    for (;; count++) {
        lua_rawgeti(L, index, count + 1);
        bool end = lua_isnil(L, -1);
        lua_pop(L, 1);
        if (end)
            break;
    }
    mp_put_array(&runtime->result, (uint32_t)count);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, index, i);
        encode_reply(L, runtime, lua_gettop(L), depth + 1);
        lua_pop(L, 1);
    }
}

static void encode_packed(struct mp_buffer *out, const char **value);

/* The text of what is known; else the bytes of the extension. */
static void encode_extension(struct mp_buffer *out, const char **value)
{
    char text[EXT_TEXT_MAX];
    uint32_t size;
    int type;
    if (ext_kind(*value) != EXT_UNKNOWN) {
        size = (uint32_t)ext_print(value, text);
        mp_put_str(out, text, size);
        return;
    }
    const char *data = mp_read_ext(value, &type, &size);
    mp_put_str(out, data, size);
}

/* Up to its first nil, as a table. */
static void encode_packed_array(struct mp_buffer *out, const char **value)
{
    uint32_t count = mp_decode_array(value), kept = 0;
    for (const char *at = *value; kept < count && mp_typeof(*at) != MP_NIL; kept++)
        mp_next(&at);
    mp_put_array(out, kept);
    for (uint32_t i = 0; i < kept; i++)
        encode_packed(out, value);
    for (; kept < count; kept++)
        mp_next(value);
}

/* A value of MessagePack, by the same rules. */
static void encode_packed(struct mp_buffer *out, const char **value)
{
    uint32_t size;
    const char *text;
    switch (mp_typeof(**value)) {
    case MP_UINT:
        mp_put_int(out, (int64_t)mp_decode_uint(value));
        return;
    case MP_INT:
        mp_put_int(out, mp_decode_int(value));
        return;
    case MP_FLOAT:
        encode_integer(out, (double)mp_decode_float(value));
        return;
    case MP_DOUBLE:
        encode_integer(out, mp_decode_double(value));
        return;
    case MP_STR:
        text = mp_decode_str(value, &size);
        mp_put_str(out, text, size);
        return;
    case MP_BIN:
        text = mp_decode_bin(value, &size);
        mp_put_str(out, text, size);
        return;
    case MP_ARRAY:
        encode_packed_array(out, value);
        return;
    case MP_MAP:
        mp_put_array(out, 0); /* a table without an array in it */
        mp_next(value);
        return;
    case MP_EXT:
        encode_extension(out, value);
        return;
    case MP_BOOL:
        if (mp_decode_bool(value)) {
            mp_put_int(out, 1);
            return;
        }
        mp_put_nil(out);
        return;
    default:
        mp_next(value);
        mp_put_nil(out);
    }
}

static void encode_object(lua_State *L, struct lua_runtime *runtime, int index)
{
    struct mp_buffer *packed = &runtime->scratch;
    mp_buffer_reset(packed, 65536);
    lua__encode(L, runtime, index, packed, LUA__LENIENT);
    lua__encode_check(L, runtime, packed);
    const char *value = packed->data;
    encode_packed(&runtime->result, &value);
}

static void encode_table(lua_State *L, struct lua_runtime *runtime, int index, unsigned depth)
{
    struct mp_buffer *out = &runtime->result;
    if (encode_text_field(L, out, index, "err", LUA__REPLY_ERROR_TEXT) ||
        encode_text_field(L, out, index, "ok", LUA__REPLY_STATUS))
        return;
    if (push_member(L, index, "double", LUA_TNUMBER)) {
        mp_put_double(out, lua_tonumber(L, -1));
        lua_pop(L, 1);
        return;
    }
    if (encode_keys(L, runtime, index, "map", depth) ||
        encode_keys(L, runtime, index, "set", depth) ||
        encode_text_field(L, out, index, "big_number", LUA__REPLY_BIG_NUMBER) ||
        encode_verbatim(L, out, index))
        return;
    encode_array(L, runtime, index, depth);
}

static void encode_reply(lua_State *L, struct lua_runtime *runtime, int index, unsigned depth)
{
    size_t size;
    const char *text;
    struct mp_buffer *out = &runtime->result;
    if (depth >= MP_DEPTH_MAX)
        luaL_error(L, "reached lua stack limit");
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        encode_integer(out, lua_tonumber(L, index));
        return;
    case LUA_TBOOLEAN:
        if (runtime->script.resp == 3)
            mp_put_bool(out, lua_toboolean(L, index));
        else if (lua_toboolean(L, index))
            mp_put_int(out, 1);
        else
            mp_put_nil(out);
        return;
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &size);
        mp_put_str(out, text, size);
        return;
    case LUA_TTABLE:
        encode_table(L, runtime, index, depth);
        return;
    case LUA_TYPE_CDATA:
        encode_object(L, runtime, index);
        return;
    default:
        mp_put_nil(out);
    }
}

/* {ordered_map = {key, value ..}} or {ordered_set = {value ..}}: of FUNCTION. */
static bool encode_ordered(lua_State *L, struct lua_runtime *runtime, int index, bool map);

static void encode_own(lua_State *L, struct lua_runtime *runtime, int index)
{
    if (lua_type(L, index) != LUA_TTABLE) {
        encode_reply(L, runtime, index, 0);
        return;
    }
    if (encode_ordered(L, runtime, index, true) || encode_ordered(L, runtime, index, false) ||
        encode_text_field(L, &runtime->result, index, "ok", LUA__REPLY_STATUS))
        return;
    int count = (int)lua_objlen(L, index);
    luaL_checkstack(L, 4, "nested reply");
    mp_put_array(&runtime->result, (uint32_t)count);
    for (int n = 1; n <= count; n++) {
        lua_rawgeti(L, index, n);
        encode_own(L, runtime, lua_gettop(L));
        lua_pop(L, 1);
    }
}

static bool encode_ordered(lua_State *L, struct lua_runtime *runtime, int index, bool map)
{
    if (!push_member(L, index, map ? "ordered_map" : "ordered_set", LUA_TTABLE))
        return false;
    int table = lua_gettop(L);
    uint32_t count = (uint32_t)lua_objlen(L, table);
    luaL_checkstack(L, 4, "nested reply");
    if (map)
        mp_put_map(&runtime->result, count / 2);
    else
        lua__reply_put_ext(&runtime->result, LUA__REPLY_SET, (const char *)&count, sizeof count);
    for (uint32_t n = 1; n <= count; n++) {
        lua_rawgeti(L, table, (int)n);
        encode_own(L, runtime, table + 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return true;
}

void lua__reply_encode(lua_State *L, struct lua_runtime *runtime)
{
    mp_buffer_reset(&runtime->result, 65536);
    encode_own(L, runtime, lua_gettop(L));
    lua__encode_check(L, runtime, &runtime->result);
}

/* ----------------------------------------------------------------------------------- its errors */

enum { PLACE_SIZE_MAX = 128, LEVELS_MAX = 100 };

/* The line of the script that was running; -1: none was. */
static int script_line(lua_State *L, const char **source)
{
    lua_Debug ar;
    for (int level = 1; level < LEVELS_MAX && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0 &&
            (strcmp(ar.source, "=user_script") == 0 || strcmp(ar.source, "=user_function") == 0)) {
            *source = ar.source[6] == 's' ? "@user_script" : "@user_function";
            return ar.currentline;
        }
    }
    return -1;
}

/* "PREFIX message" of the error at the index. */
static void script_error_text(lua_State *L, struct lua_runtime *runtime, int index, char *out,
                              size_t room)
{
    runtime->error_code = ERROR_SCRIPT;
    if (lua_type(L, index) != LUA_TTABLE) {
        const char *text = lua_isnil(L, index) ? "nil" : lua_tostring(L, index);
        snprintf(out, room, "ERR %s", text != NULL ? text : luaL_typename(L, index));
        return;
    }
    if (push_member(L, index, "err", LUA_TSTRING) || push_member(L, index, "err", LUA_TNUMBER)) {
        snprintf(out, room, "%s", lua_tostring(L, -1));
        lua_pop(L, 1);
        return;
    }
    int code = ERROR_LUA;
    lua_getfield(L, index, "code");
    if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) < 0)
        code = (int)lua_tonumber(L, -1);
    if (code == ERROR_MEMORY || code == ERROR_TIMEOUT || code == ERROR_WAIT)
        runtime->error_code = code; /* it is more than a text */
    lua_getfield(L, index, "message");
    if (lua_isstring(L, -1))
        snprintf(out, room, "%s%s%s", runtime->error_code == code ? "" : error_prefix(code),
                 runtime->error_code == code ? "" : " ", lua_tostring(L, -1));
    else
        snprintf(out, room, "ERR unknown error");
    lua_pop(L, 2);
}

void lua__script_place(lua_State *L, struct lua_runtime *runtime)
{
    const char *source;
    if (runtime->script.runs)
        runtime->script.line = script_line(L, &source);
}

const char *lua__killed_text(struct lua_runtime *runtime)
{
    const struct lua__script *script = &runtime->script;
    bool function = load_relaxed(&script->kind) == LUA__SCRIPT_FUNCTION;
    int size = snprintf(runtime->message, sizeof runtime->message,
                        "Script killed by user with %s KILL.", function ? "FUNCTION" : "SCRIPT");
    if (script->line > 0)
        snprintf(runtime->message + size, sizeof runtime->message - (size_t)size,
                 " script: %s, on @user_%s:%d.", script->name, function ? "function" : "script",
                 script->line);
    return runtime->message;
}

void lua__script_error(lua_State *L, struct lua_runtime *runtime, int index)
{
    const char *source;
    size_t room = sizeof runtime->message;
    script_error_text(L, runtime, index, runtime->message, room - PLACE_SIZE_MAX);
    if (runtime->error_code != ERROR_SCRIPT)
        return;
    int line = script_line(L, &source);
    size_t size = strlen(runtime->message);
    while (size > 0 && (runtime->message[size - 1] == '\n' || runtime->message[size - 1] == '\r'))
        size--;
    runtime->message[size] = 0;
    if (line > 0)
        snprintf(runtime->message + size, room - size, " script: %s, on %s:%d.",
                 runtime->script.name, source, line);
}

/* ------------------------------------------------------------------------------------ running */

static void push_slices(lua_State *L, struct lua_runtime *runtime, const struct redis_slice *slices,
                        unsigned count)
{
    lua_createtable(L, (int)count, 0);
    for (unsigned i = 0; i < count; i++) {
        lua__push_bytes(L, runtime, slices[i].data, slices[i].size);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

void lua__script_begin(struct lua_runtime *runtime, const char *name, int kind, bool readonly)
{
    struct lua__script *script = &runtime->script;
    script->runs = true;
    script->line = 0;
    script->readonly = readonly;
    script->resp = 2;
    script->database = runtime->request->database;
    size_t size = strnlen(name, sizeof script->name - 1);
    memcpy(script->name, name, size);
    script->name[size] = 0;
    lua__script_json_reset(&runtime->script_json);
    lua__deadline_arm_late(&runtime->deadline);
    store_release(&script->kind, kind);
}

void lua__script_end(struct lua_runtime *runtime)
{
    store_relaxed(&runtime->script.kind, LUA__SCRIPT_NONE);
    runtime->script.runs = runtime->script.readonly = false;
    runtime->script.resp = 2;
}

bool lua_runtime_script_kill(struct lua_runtime *runtime, bool function)
{
    uint64_t at_ns = load_seq_cst(&runtime->deadline.at_ns);
    if (load_acquire(&runtime->script.kind) !=
            (function ? LUA__SCRIPT_FUNCTION : LUA__SCRIPT_EVAL) ||
        at_ns == 0)
        return false;
    return lua__deadline_kill(&runtime->deadline, at_ns); /* unless it has ended since */
}

bool lua_runtime_cancel(struct lua_runtime *runtime)
{
    uint64_t at_ns = load_seq_cst(&runtime->deadline.at_ns);
    /* In this order: handlers that have a limit of their own say that they run before they have it. */
    return at_ns != 0 && !load_seq_cst(&runtime->handling) &&
           lua__deadline_kill(&runtime->deadline, at_ns);
}

static int eval_script(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct lua_redis_eval *eval = arg;
    lua__script_end(runtime); /* of an earlier try */
    lua__push_hook(L, runtime, "script");
    lua_pushlstring(L, eval->script, eval->script_size);
    push_slices(L, runtime, eval->keys, eval->key_count);
    push_slices(L, runtime, eval->args, eval->arg_count);
    lua_pushboolean(L, eval->request.readonly);
    lua_call(L, 4,
             3); /* the script's function, its digest, whether it says that it doesn't write */
    lua__script_begin(runtime, lua_tostring(L, -2), LUA__SCRIPT_EVAL, lua_toboolean(L, -1));
    lua_pop(L, 2);
    lua_call(L, 0, 1);
    mp_buffer_reset(&runtime->result, 65536);
    encode_reply(L, runtime, lua_gettop(L), 0);
    lua__encode_check(L, runtime, &runtime->result);
    return 0;
}

static int call_function(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct lua_redis_eval *eval = arg;
    lua__script_end(runtime);
    lua__push_hook(L, runtime, "function_prepare");
    lua_pushlstring(L, eval->script, eval->script_size);
    lua_pushboolean(L, eval->request.readonly);
    lua_call(L, 2, 3);
    lua__script_begin(runtime, lua_tostring(L, -2), LUA__SCRIPT_FUNCTION, lua_toboolean(L, -1));
    lua_pop(L, 2);
    push_slices(L, runtime, eval->keys, eval->key_count);
    push_slices(L, runtime, eval->args, eval->arg_count);
    lua_call(L, 2, 1);
    mp_buffer_reset(&runtime->result, 65536);
    encode_reply(L, runtime, lua_gettop(L), 0);
    lua__encode_check(L, runtime, &runtime->result);
    return 0;
}

/* It must stay valid until NULL is set. */
static void running_set(struct lua_runtime *runtime, const struct lua_redis_eval *eval)
{
    struct lua__running *running = &runtime->running;
    pthread_mutex_lock(&running->mutex);
    running->eval = eval;
    running->since_ns = eval != NULL ? clock_monotonic_ns(runtime->clock) : 0;
    pthread_mutex_unlock(&running->mutex);
}

unsigned lua_runtime_function_running(struct lua_runtime *runtime, struct mp_buffer *out,
                                      unsigned words_max, uint64_t *ms)
{
    struct lua__running *running = &runtime->running;
    unsigned count = 0;
    pthread_mutex_lock(&running->mutex);
    const struct lua_redis_eval *eval = running->eval;
    if (eval != NULL) {
        *ms = (clock_monotonic_ns(runtime->clock) - running->since_ns) / 1000000;
        mp_put_str(out, eval->script, (uint32_t)eval->script_size);
        for (; count < eval->argc && count < words_max; count++)
            mp_put_str(out, eval->argv[count].data, (uint32_t)eval->argv[count].size);
        count++;
    }
    pthread_mutex_unlock(&running->mutex);
    return count;
}

int lua_runtime_redis_eval(struct lua_runtime *runtime, const struct lua_redis_eval *eval,
                           struct redis_sink *sink, uint64_t *reply_ts)
{
    union {
        const void *from;
        void *to;
    } arg = {.from = eval};
    const struct lua_request *request = &eval->request;
    lua__request_begin(runtime, request);
    struct txn_options options = {.level = lua__level(runtime),
                                  .readonly = request->readonly && !lua__misses_wanted(runtime)};
    int (*body)(lua_State *, struct lua_runtime *, void *) =
        eval->function ? call_function : eval_script;
    if (eval->function)
        running_set(runtime, eval);
    int code = request->txn != NULL ? lua__protect(runtime, body, arg.to)
                                    : lua__transaction(runtime, &options, body, arg.to);
    lua__script_end(runtime);
    if (eval->function)
        running_set(runtime, NULL);
    code = lua__request_end(runtime, code, reply_ts);
    if (code != 0)
        return code;
    const char *reply = runtime->result.data;
    lua__reply_emit(&reply, sink);
    return 0;
}

int lua_runtime_redis_eval_in(struct lua_runtime *runtime, struct txn *txn, uint64_t now_ms,
                              const struct lua_redis_eval *eval, struct redis_sink *sink)
{
    struct lua_redis_eval inside = *eval;
    inside.request = (struct lua_request){.readonly = eval->request.readonly,
                                          .session_id = eval->request.session_id,
                                          .user_id = eval->request.user_id,
                                          .database = eval->request.database,
                                          .now_ms = now_ms,
                                          .undone_by_caller = true,
                                          .txn = txn};
    lua__request_begin(runtime, &inside.request);
    if (eval->function)
        running_set(runtime, &inside);
    int code = lua__protect(runtime, eval->function ? call_function : eval_script, &inside);
    lua__script_end(runtime);
    if (eval->function)
        running_set(runtime, NULL);
    code = lua__request_end(runtime, code, NULL);
    if (code != 0)
        return code;
    const char *reply = runtime->result.data;
    lua__reply_emit(&reply, sink);
    return 0;
}

/* ------------------------------------------------------------------------------------ keeping */

struct script {
    const char *text; /* the source; or, when sought, the digits */
    size_t size;
    const char *found;
    size_t found_size;
};

static int load_script(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct script *script = arg;
    lua__push_hook(L, runtime, "script_load");
    lua_pushlstring(L, script->text, script->size);
    lua_call(L, 1, 0);
    return 0;
}

static int find_script(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    struct script *script = arg;
    lua__push_hook(L, runtime, "script_find");
    lua_pushlstring(L, script->text, script->size);
    lua_call(L, 1, 1);
    if (lua_isstring(L, -1))
        script->found = lua_tolstring(L, -1, &script->found_size); /* kept alive by the cache */
    return 0;
}

static int flush_scripts(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    (void)arg;
    lua__push_hook(L, runtime, "script_flush");
    lua_call(L, 0, 0);
    return 0;
}

int lua_runtime_script_load(struct lua_runtime *runtime, const char *script, size_t size,
                            char sha1[LUA_SHA1_SIZE])
{
    struct script load = {.text = script, .size = size};
    int code = lua__protect(runtime, load_script, &load);
    if (code == 0)
        lua__sha1_hex(script, size, sha1);
    return code;
}

const char *lua_runtime_script_find(struct lua_runtime *runtime, const char sha1[LUA_SHA1_SIZE],
                                    size_t *size)
{
    struct script script = {.text = sha1, .size = strlen(sha1)};
    if (lua__protect(runtime, find_script, &script) != 0 || script.found == NULL)
        return NULL;
    *size = script.found_size;
    return script.found;
}

void lua_runtime_script_flush(struct lua_runtime *runtime)
{
    lua__protect(runtime, flush_scripts, NULL);
}
