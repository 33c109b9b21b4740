/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edge between C and Lua: protected calls, errors turned into codes and diagnostics, requests,
 * and transactions that are run again.
 *
 * What counts when code has failed, in this order: its time was over (ERROR_TIMEOUT, whatever error
 * came out); its transaction must wait, is a deadlock's victim or cancelled; it is doomed by a
 * conflict (whatever pcall caught, invariant 22); memory was out; the code that the error carries;
 * else ERROR_LUA. However a request ends, no transaction is left open, no hook is set, and the stack
 * is as it was.
 */
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/internal.h"
#include "lua/reply.h"

enum { DETAILS_BYTES_MAX = 65536 };

/* ------------------------------------------------------------------------------------ errors */

/* The code that has this prefix, but for ERR, which many have; 0 when none does. */
static int code_of_prefix(const char *prefix, size_t size)
{
    for (int code = -1; strcmp(error_name(code), "ERROR_?") != 0; code--) {
        const char *text = error_prefix(code);
        if (strlen(text) == size && memcmp(text, prefix, size) == 0)
            return strcmp(text, "ERR") == 0 ? ERROR_LUA : code;
    }
    return 0;
}

/* A Redis error, {err = "PREFIX message"}: a prefix of ours becomes the code and is left out. */
static bool read_redis_error(lua_State *L, struct lua_runtime *runtime, int index)
{
    size_t size;
    lua_getfield(L, index, "err");
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &size) : NULL;
    if (text != NULL) {
        size_t prefix = lua__reply_prefix(text, size);
        int code = prefix > 0 ? code_of_prefix(text, prefix) : 0;
        if (code != 0)
            runtime->error_code = code;
        snprintf(runtime->message, sizeof runtime->message, "%s",
                 code != 0 ? text + prefix + 1 : text);
    }
    lua_pop(L, 1);
    return text != NULL;
}

/* Copies the text of the error at index: a string, a table with `message` and perhaps `where`, or
 * something with __tostring. */
static void read_error(lua_State *L, struct lua_runtime *runtime, int index)
{
    char *out = runtime->message;
    size_t room = sizeof runtime->message;
    runtime->error_code = ERROR_LUA;
    if (lua_type(L, index) == LUA_TTABLE) {
        lua_getfield(L, index, "code");
        if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) < 0)
            runtime->error_code = (int)lua_tonumber(L, -1);
        lua_getfield(L, index, "where");
        lua_getfield(L, index, "message");
        const char *where = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (lua_isstring(L, -1)) {
            snprintf(out, room, "%s%s", where, lua_tostring(L, -1));
            runtime->unplaced = where[0] == 0;
            lua_pop(L, 3);
            return;
        }
        lua_pop(L, 3);
        if (read_redis_error(L, runtime, index))
            return;
    }
    if (luaL_callmeta(L, index, "__tostring") && lua_isstring(L, -1))
        snprintf(out, room, "%s", lua_tostring(L, -1));
    else if (lua_isstring(L, index))
        snprintf(out, room, "%s", lua_tostring(L, index));
    else
        snprintf(out, room, "error object is a %s", luaL_typename(L, index));
}

static void note_details(lua_State *L, struct lua_runtime *runtime, int index);

/* The message handler: takes code and text where the error was raised, with the stack still there.
 */
static int on_error(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    if (lua__deadline_passed(&runtime->deadline) && lua_isstring(L, 1)) {
        snprintf(runtime->message, sizeof runtime->message, "%s", lua_tostring(L, 1));
        lua__script_place(L, runtime);
        return 1;
    }
    lua_settop(L, 1);
    lua__note_frames(L, runtime, 1);
    note_details(L, runtime, 1);
    if (runtime->script.runs && runtime->trigger_depth == 0)
        lua__script_error(L, runtime, 1);
    else
        read_error(L, runtime, 1);
    if (runtime->tracing) {
        luaL_traceback(L, L, runtime->message, 1);
        snprintf(runtime->trace, sizeof runtime->trace, "%s", lua_tostring(L, -1));
    }
    lua_settop(L, 1);
    return 1;
}

static int encode_details(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    lua_pushlightuserdata(L, arg);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua__encode(L, runtime, 1, &runtime->details, LUA__LENIENT);
    return 0;
}

/* Keeps the field `details` of the error at index, a table, for those who answer the request. An error
 * meanwhile, or too much, and there are none. */
static void note_details(lua_State *L, struct lua_runtime *runtime, int index)
{
    static char key;
    if (lua_type(L, index) != LUA_TTABLE)
        return;
    lua_getfield(L, index, "details");
    if (lua_type(L, -1) == LUA_TTABLE) {
        lua_pushlightuserdata(L, &key);
        lua_insert(L, -2);
        lua_rawset(L, LUA_REGISTRYINDEX);
        mp_buffer_reset(&runtime->details, 4096);
        if (lua__protect_on(runtime, L, encode_details, &key) != 0 ||
            runtime->details.size > DETAILS_BYTES_MAX)
            runtime->details.size = 0;
        lua_pushlightuserdata(L, &key);
        lua_pushnil(L);
        lua_rawset(L, LUA_REGISTRYINDEX);
    } else {
        lua_pop(L, 1);
    }
}

const char *lua_runtime_details(const struct lua_runtime *runtime, size_t *size)
{
    const struct mp_buffer *details = &runtime->details;
    const char *at = details->data;
    *size = details->failed || details->size == 0 ||
                    !mp_check_limited(&at, details->data + details->size)
                ? 0
                : details->size;
    return *size == 0 ? NULL : details->data;
}

struct protected_call {
    struct lua_runtime *runtime;
    int (*body)(lua_State *L, struct lua_runtime *runtime, void *arg);
    void *arg;
    int code, status;
};

static int call_body(lua_State *L)
{
    struct protected_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    call->code = call->body(L, call->runtime, call->arg);
    return 0;
}

static int call_with_handler(lua_State *L)
{
    struct protected_call *call = lua_touserdata(L, 1);
    lua_pushlightuserdata(L, call->runtime);
    lua_pushcclosure(L, on_error, 1);
    lua_pushcfunction(L, call_body);
    lua_pushlightuserdata(L, call);
    call->status = lua_pcall(L, 1, 0, -3);
    return 0;
}

/* Codes with which a transaction is run again or parked: somebody raised it, and the transaction,
 * which would have said so, knows nothing of it. */
static bool made_up(int code)
{
    return code == ERROR_CONFLICT || code == ERROR_WAIT || code == ERROR_DEADLOCK;
}

static int failure_code(struct lua_runtime *runtime, int status)
{
    if (lua__deadline_passed(&runtime->deadline)) {
        const char *message = runtime->message;
        bool said = strstr(message, "time limit exceeded") != NULL;
        return lua__timed_out(runtime, said ? message : NULL);
    }
    int stop = lua__stop(runtime);
    if (stop == ERROR_CONFLICT || (stop != 0 && runtime->error_code != stop))
        return lua__stopped(runtime);
    if (stop != 0)
        return diag_set(stop, "%s", runtime->message);
    if (status == LUA_ERRMEM || strstr(runtime->message, "not enough memory") != NULL)
        return diag_set(ERROR_MEMORY, "%s",
                        runtime->message[0] == 0 ? "not enough memory" : runtime->message);
    if (status == LUA_ERRERR && runtime->message[0] == 0)
        return diag_set(ERROR_LUA, "error in error handling");
    if (runtime->error_code == ERROR_WAIT || (runtime->txn != NULL && made_up(runtime->error_code)))
        runtime->error_code = ERROR_LUA;
    return diag_set(runtime->error_code, "%s", runtime->message);
}

enum { COLLECTIONS_AFTER_MEMORY = 6 };

static int collect(lua_State *L)
{
    /* Each collection halves LuaJIT's string buffer, which may be as large as what did not fit. */
    for (int i = 0; i < COLLECTIONS_AFTER_MEMORY; i++)
        lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

/* After memory was out: frees what is garbage, without a limit, for collecting may allocate a
 * little. */
static void make_room(struct lua_runtime *runtime)
{
    size_t limit = runtime->memory_bytes_max;
    int top = lua_gettop(runtime->L);
    runtime->memory_bytes_max = 0;
    lua_cpcall(runtime->L, collect, NULL);
    lua_settop(runtime->L, top);
    runtime->memory_bytes_max = limit;
}

/* LuaJIT collects when a step of its own is due, not when memory is out: garbage of one request
 * must not be what the next one fails for. */
static void leave_room(struct lua_runtime *runtime)
{
    size_t limit = runtime->memory_bytes_max;
    if (limit == 0 || runtime->memory_bytes < limit / 2 ||
        runtime->memory_bytes < runtime->memory_bytes_kept + limit / 8)
        return;
    make_room(runtime);
    runtime->memory_bytes_kept = runtime->memory_bytes;
}

int lua__protect_on(struct lua_runtime *runtime, lua_State *L,
                    int (*body)(lua_State *L, struct lua_runtime *runtime, void *arg), void *arg)
{
    struct protected_call call = {.runtime = runtime, .body = body, .arg = arg};
    int top = lua_gettop(L);
    runtime->error_code = ERROR_LUA;
    runtime->unplaced = false;
    runtime->message[0] = 0;
    int status = lua_cpcall(L, call_with_handler, &call);
    if (status == 0)
        status = call.status;
    lua_settop(L, top);
    return status == 0 ? call.code : failure_code(runtime, status);
}

int lua__protect(struct lua_runtime *runtime,
                 int (*body)(lua_State *L, struct lua_runtime *runtime, void *arg), void *arg)
{
    lua_State *L = runtime->L;
    struct protected_call call = {.runtime = runtime, .body = body, .arg = arg};
    int top = lua_gettop(L);
    runtime->stack_base = __builtin_frame_address(0);
    runtime->error_code = ERROR_LUA;
    runtime->unplaced = false;
    runtime->message[0] = 0;
    int status = lua_cpcall(L, call_with_handler, &call);
    if (status == 0)
        status = call.status;
    lua_settop(L, top);
    int code = call.code;
    if (status != 0)
        code = failure_code(runtime, status);
    if (code == ERROR_MEMORY)
        make_room(runtime);
    return code;
}

struct dead {
    lua_State *co;
    int status;
};

static int read_dead(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    struct dead *dead = arg;
    lua_pushvalue(dead->co, -1);
    lua_xmove(dead->co, L, 1);
    if (lua__deadline_passed(&runtime->deadline) && lua_isstring(L, 1)) {
        snprintf(runtime->message, sizeof runtime->message, "%s", lua_tostring(L, 1));
        return 0;
    }
    lua__note_dead(L, runtime, 1, dead->co);
    note_details(L, runtime, 1);
    read_error(L, runtime, 1);
    if (runtime->tracing) {
        luaL_traceback(L, dead->co, runtime->message, 0);
        snprintf(runtime->trace, sizeof runtime->trace, "%s", lua_tostring(L, -1));
    }
    return 0;
}

int lua__fiber_error(struct lua_runtime *runtime, lua_State *co, int status)
{
    struct dead dead = {.co = co, .status = status};
    if (lua__protect(runtime, read_dead, &dead) != 0)
        return failure_code(runtime, LUA_ERRERR);
    return failure_code(runtime, status);
}

/* ---------------------------------------------------------------------------------- requests */

/* What holds while none runs. */
static const struct lua_request no_request = {.txn = NULL};

void lua__request_none(struct lua_runtime *runtime)
{
    runtime->request = &no_request;
}

void lua__request_begin(struct lua_runtime *runtime, const struct lua_request *request)
{
    runtime->request = request;
    runtime->database = request->database;
    lua__user_begin(runtime, request);
    runtime->owner = request->owner;
    runtime->seen_ts = 0;
    runtime->trace[0] = 0;
    lua__forget_frames(runtime);
    runtime->details.size = 0;
    runtime->last_error = 0; /* one of somebody else's is in his context */
    runtime->committed = false;
    runtime->script.resp = 2;
    if (request->txn != NULL) {
        runtime->txn = request->txn;
        runtime->txn_sequence = ++runtime->txn_sequence_last;
        runtime->txn_fixed = true;
        runtime->txn_checks = request->readonly;
        runtime->start = txn_savepoint(request->txn);
        runtime->undoes = !request->undone_by_caller;
        runtime->now_ms =
            request->now_ms != 0 ? request->now_ms : clock_realtime_ms(runtime->clock);
    }
    lua__deadline_arm(&runtime->deadline, runtime->options.time_max_ms);
}

static int reseed(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    (void)arg;
    lua__push_hook(L, runtime, "reseed");
    lua_call(L, 0, 0);
    return 0;
}

/* Leaves the transaction that the request was a part of to who has it. */
static int leave(struct lua_runtime *runtime, int code)
{
    struct txn *txn = runtime->txn;
    int stop = lua__stop(runtime);
    if (stop != 0 && code != stop)
        code = lua__stopped(runtime);
    bool lost = code == ERROR_CONFLICT || code == ERROR_DEADLOCK || code == ERROR_CANCELLED;
    if (code != 0 && runtime->undoes && !lost)
        txn_rollback_to(txn, runtime->start);
    if (txn_seen_ts(txn) > runtime->seen_ts)
        runtime->seen_ts = txn_seen_ts(txn);
    runtime->txn = NULL;
    runtime->txn_sequence = ++runtime->txn_sequence_last;
    runtime->txn_checks = false;
    runtime->stop = 0;
    return code;
}

/* Ends what the request has begun and not ended. */
static int end_open(struct lua_runtime *runtime, int code)
{
    bool open = runtime->txn != NULL || (runtime->stop != 0 && !runtime->waits);
    if (runtime->limit_code != 0 && code != ERROR_TIMEOUT)
        code = lua__limit_code(runtime);
    bool queued = runtime->txn != NULL && lua__stop(runtime) == ERROR_WAIT;
    lua__rollback(runtime);
    if (queued && code != ERROR_TIMEOUT)
        code = lua__wait(runtime);
    if (code == 0 && open)
        return diag_set(ERROR_INVALID,
                        "the transaction that was begun has not been ended; it is rolled back");
    return code;
}

/* Gives the owner that waits to the caller, or what it has got back to others. */
static int end_waiting(struct lua_runtime *runtime, int code)
{
    struct lock_owner *owner = runtime->owner;
    if (runtime->waits && code != ERROR_TIMEOUT) {
        *runtime->request->waiting = owner;
        code = diag_set(ERROR_WAIT, "%s", error_text(ERROR_WAIT));
    } else if (owner != NULL) {
        lock_release_all(owner);
        if (owner != runtime->request->owner)
            lock_owner_delete(owner);
    }
    runtime->owner = NULL;
    runtime->waits = false;
    runtime->stop = 0;
    return code;
}

int lua__request_end(struct lua_runtime *runtime, int code, uint64_t *reply_ts)
{
    bool exceeded = runtime->limit_code != 0;
    runtime->txn_fixed = false;
    if (runtime->request->txn != NULL)
        code = leave(runtime, code);
    else if (runtime->txn != NULL || runtime->stop != 0)
        code = end_open(runtime, code);
    if (exceeded && code == 0)
        code = lua__limit_code(runtime);
    lua__limits_end(runtime);
    if (runtime->job != NULL)
        lua__job_drop(runtime);
    if (runtime->ingests != NULL)
        lua__ingests_drop(runtime, NULL);
    if (runtime->handlers)
        lua__run_handlers(runtime);
    if (runtime->walks != NULL)
        lua__walks_end(runtime);
    if (runtime->owner != NULL)
        code = end_waiting(runtime, code);
    runtime->request = &no_request;
    lua__deadline_disarm(&runtime->deadline);
    lua__forget_error(runtime);
    if (runtime->seeded)
        runtime->seeded = lua__protect(runtime, reseed, NULL) != 0;
    leave_room(runtime);
    if (reply_ts != NULL)
        *reply_ts = runtime->seen_ts;
    return code;
}

static int call_handlers(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    lua__push_hook(L, runtime, "transaction_ended");
    lua_pushboolean(L, *(const bool *)arg);
    lua_call(L, 1, 0);
    return 0;
}

void lua__run_handlers(struct lua_runtime *runtime)
{
    char message[DIAG_MESSAGE_MAX];
    bool committed = runtime->txn_committed;
    int code = diag_code();
    bool unplaced = runtime->unplaced;
    snprintf(message, sizeof message, "%s", diag_message());
    lua__limits_end(runtime);
    store_seq_cst(&runtime->handling, true);
    if (lua__deadline_passed(&runtime->deadline)) { /* they get the same time once more */
        lua__deadline_disarm(&runtime->deadline);
        lua__deadline_arm(&runtime->deadline, runtime->options.time_max_ms);
    }
    struct lock_owner *owner = runtime->owner;
    bool waits = runtime->waits, before = runtime->committed || committed;
    int stop = runtime->stop;
    runtime->committed = before;
    if (waits) { /* the request is going to wait, with its owner; they have none of it, and can't */
        runtime->owner = NULL;
        runtime->waits = false;
        runtime->stop = 0;
        runtime->committed = true;
    }
    lua__protect(runtime, call_handlers, &committed);
    lua__rollback(runtime); /* what they have left open */
    if (waits) {
        lock_owner_delete(runtime->owner);
        runtime->owner = owner;
        runtime->waits = true;
        runtime->stop = stop;
        runtime->committed = before;
    }
    store_seq_cst(&runtime->handling, false);
    runtime->handlers = false;
    runtime->unplaced = unplaced;
    diag_set(code, "%s", message);
}

struct begun {
    int (*body)(lua_State *L, struct lua_runtime *runtime, void *arg);
    void *arg;
};

/* The triggers of its beginning are a part of the transaction. */
static int run_begun(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct begun *begun = arg;
    lua__push_hook(L, runtime, "transaction_begun");
    lua_call(L, 0, 0);
    return begun->body(L, runtime, begun->arg);
}

static int run_once(struct lua_runtime *runtime, struct txn_options *options,
                    int (*body)(lua_State *L, struct lua_runtime *runtime, void *arg), void *arg)
{
    options->latest = lua__latest(runtime);
    runtime->database = runtime->request->database;
    int code = lua__begin(runtime, options);
    if (code != 0)
        return code;
    runtime->txn_fixed = true;
    if (runtime->request->readonly && !options->readonly) /* lua__misses_wanted */
        runtime->txn_checks = true;
    struct begun begun = {body, arg};
    if (lua__begin_events(runtime))
        code = lua__protect(runtime, run_begun, &begun);
    else
        code = lua__protect(runtime, body, arg);
    runtime->txn_fixed = false;
    if (code == 0 && lua__expired(runtime))
        code = ERROR_TIMEOUT;
    if (code == 0 && runtime->stop == 0)
        return lua__commit(runtime);
    int stop = lua__stop(runtime);
    if (stop != 0 && code != ERROR_TIMEOUT && code != stop)
        code = lua__stopped(runtime);
    lua__rollback(runtime);
    return code;
}

int lua__transaction(struct lua_runtime *runtime, const struct txn_options *options,
                     int (*body)(lua_State *L, struct lua_runtime *runtime, void *arg), void *arg)
{
    struct txn_options again = *options;
    for (unsigned losses = 0;;) {
        int code = run_once(runtime, &again, body, arg);
        int end = code == 0 ? 0 : lua__lost(runtime, code, &losses, &again);
        if (runtime->handlers)
            lua__run_handlers(runtime);
        if (code == 0 || end != 0)
            return end;
    }
}
