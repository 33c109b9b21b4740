/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a procedure may use: time, memory, rows.
 *
 * Limits of the procedure that a request calls, and of those that it calls, are put into force where
 * the procedure begins and taken back where it ends; an inner one never allows more than is left of
 * an outer one. Whoever goes beyond one has lost the transaction: it is rolled back, whatever pcall
 * has caught, since code that swallows errors is what limits are for. A caller that has none goes on.
 *
 *      time     the state's deadline is moved forward: the watchdog does the rest
 *      memory   the allocator refuses (LuaJIT raises "not enough memory") and sets a hook, so that
 *               the code does not go on after it has caught that; the collector works ahead of the
 *               limit meanwhile, because garbage counts
 *      rows     statements count what they look at and write
 */
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/internal.h"

/* ------------------------------------------------------------------------------------- exceeded */

/* The request is lost with this code, and the message that has been put together. */
static void lose(struct lua_runtime *runtime, int code)
{
    runtime->limit_code = code;
    if (runtime->stop == 0) {
        runtime->stop = code;
        runtime->txn_checks = true;
    }
}

static void on_memory_hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_sethook(L, on_memory_hook, LUA_MASKCOUNT, 1);
    luaL_error(L, "not enough memory");
}

void lua__memory_refused(struct lua_runtime *runtime)
{
    if (runtime->limits.memory_name == NULL || runtime->limit_code != 0)
        return; /* it is the state's own limit that is reached, or it has been said */
    snprintf(runtime->limit_message, sizeof runtime->limit_message,
             "procedure %s: memory limit of %llu bytes exceeded", runtime->limits.memory_name,
             (unsigned long long)runtime->limits.memory);
    lose(runtime, ERROR_MEMORY);
    lua_sethook(runtime->L, on_memory_hook, LUA_MASKCOUNT, 1);
}

int lua__rows_exceeded(struct lua_runtime *runtime)
{
    if (runtime->limit_code == 0) {
        snprintf(runtime->limit_message, sizeof runtime->limit_message,
                 "procedure %s: limit of %llu rows exceeded", runtime->limits.rows_name,
                 (unsigned long long)runtime->limits.rows);
        lose(runtime, ERROR_LIMIT);
    }
    return lua__limit_code(runtime);
}

int lua__limit_code(struct lua_runtime *runtime)
{
    return diag_set(runtime->limit_code, "%s", runtime->limit_message);
}

int lua__timed_out(struct lua_runtime *runtime, const char *where)
{
    if (lua__deadline_killed(&runtime->deadline))
        return diag_set(ERROR_TIMEOUT, "%s", lua__killed_text(runtime));
    if (runtime->limits.time_name == NULL)
        return diag_set(ERROR_TIMEOUT, "%s", where != NULL ? where : "time limit exceeded");
    return diag_set(ERROR_TIMEOUT, "procedure %s: time limit exceeded (%.3g s)%s%s",
                    runtime->limits.time_name, (double)runtime->limits.time_ms / 1000,
                    where != NULL ? ": " : "", where != NULL ? where : "");
}

/* ----------------------------------------------------------------------------------- in force */

/* What LuaJIT begins with. */
enum { GC_PAUSE = 200, GC_STEP = 200, GC_STEP_MAX = 4000 };

/* The collector runs so that what is garbage is found before it alone could be too much. */
static void collect_ahead(struct lua_runtime *runtime, uint64_t bytes)
{
    double ratio = (double)bytes / (double)(runtime->memory_bytes + 1);
    double pause = 100 + 25 * ratio, step = GC_STEP + 400 / ratio;
    lua_gc(runtime->L, LUA_GCSETPAUSE, pause > GC_PAUSE ? GC_PAUSE : (int)pause);
    lua_gc(runtime->L, LUA_GCSETSTEPMUL, step > GC_STEP_MAX ? GC_STEP_MAX : (int)step);
    lua_gc(runtime->L, LUA_GCRESTART, 0);
}

static bool limit_time(struct lua_runtime *runtime, const struct func *func, uint64_t at_ns)
{
    struct lua__limits *limits = &runtime->limits;
    uint64_t before = load_relaxed(&runtime->deadline.at_ns);
    if (lua__deadline_passed(&runtime->deadline) || (before != 0 && before <= at_ns))
        return false;
    lua__deadline_disarm(&runtime->deadline);
    lua__deadline_arm_at(&runtime->deadline, at_ns);
    snprintf(limits->names[0], sizeof limits->names[0], "%s", func->name);
    limits->time_name = limits->names[0];
    limits->time_ms = func->timeout_ms;
    return true;
}

static bool limit_memory(struct lua_runtime *runtime, const struct func *func)
{
    struct lua__limits *limits = &runtime->limits;
    size_t bytes = runtime->memory_bytes + func->memory;
    if (runtime->memory_bytes_max != 0 && bytes >= runtime->memory_bytes_max)
        return false;
    runtime->memory_bytes_max = bytes;
    snprintf(limits->names[1], sizeof limits->names[1], "%s", func->name);
    limits->memory_name = limits->names[1];
    limits->memory = func->memory;
    collect_ahead(runtime, func->memory);
    return true;
}

void lua__limits_enter(struct lua_runtime *runtime, const struct func *func, uint64_t began_ns,
                       struct lua__limits_before *before)
{
    struct lua__limits *limits = &runtime->limits;
    before->limits = *limits;
    before->at_ns = load_relaxed(&runtime->deadline.at_ns);
    before->asleep_ns = runtime->asleep_ns;
    before->memory_bytes_max = runtime->memory_bytes_max;
    before->ingests = runtime->ingests;
    before->rows_left = before->rows_given = runtime->rows_left;
    before->limits_time =
        func->timeout_ms != 0 &&
        limit_time(runtime, func, began_ns + func->timeout_ms * UINT64_C(1000000));
    before->limits_memory = func->memory != 0 && limit_memory(runtime, func);
    before->limits_rows = func->rows_max != 0 && func->rows_max < runtime->rows_left;
    if (before->limits_rows) {
        runtime->rows_left = before->rows_given = func->rows_max;
        snprintf(limits->names[2], sizeof limits->names[2], "%s", func->name);
        limits->rows_name = limits->names[2];
        limits->rows = func->rows_max;
    }
}

static void collect_as_ever(struct lua_runtime *runtime)
{
    lua_gc(runtime->L, LUA_GCSETPAUSE, GC_PAUSE);
    lua_gc(runtime->L, LUA_GCSETSTEPMUL, GC_STEP);
}

/* Which limit of this level has been exceeded: 0, or the code, with its message kept. */
static int exceeded_here(struct lua_runtime *runtime, const struct lua__limits_before *before)
{
    if (before->limits_time && lua__deadline_passed(&runtime->deadline)) {
        lua__timed_out(runtime, NULL);
        snprintf(runtime->limit_message, sizeof runtime->limit_message, "%s", diag_message());
        runtime->limit_code = ERROR_TIMEOUT;
        return ERROR_TIMEOUT;
    }
    if ((runtime->limit_code == ERROR_MEMORY && before->limits_memory) ||
        (runtime->limit_code == ERROR_LIMIT && before->limits_rows))
        return runtime->limit_code;
    return 0;
}

/* The transaction that the caller goes on with is lost; without one, nothing else is. */
static int lose_transaction(struct lua_runtime *runtime, int code)
{
    int result = lua__limit_code(runtime);
    if (runtime->txn != NULL) {
        if (runtime->stop == 0)
            runtime->stop = code;
        runtime->txn_checks = true;
        return result;
    }
    if (runtime->stop == code)
        runtime->stop = 0;
    runtime->limit_code = 0;
    return result;
}

int lua__limits_leave(struct lua_runtime *runtime, const struct lua__limits_before *before)
{
    struct lua__limits *limits = &runtime->limits;
    int code = exceeded_here(runtime, before);
    if (runtime->rows_left != UINT64_MAX)
        runtime->rows_left = before->rows_left - (before->rows_given - runtime->rows_left);
    runtime->memory_bytes_max = before->memory_bytes_max;
    if (before->limits_memory && before->limits.memory_name == NULL)
        collect_as_ever(runtime);
    if (code == ERROR_MEMORY)
        lua_sethook(runtime->L, NULL, 0, 0);
    uint64_t at_ns =
        before->at_ns == 0 ? 0 : before->at_ns + (runtime->asleep_ns - before->asleep_ns);
    if (before->limits_time) {
        lua__deadline_disarm(&runtime->deadline);
        lua__deadline_arm_at(&runtime->deadline, at_ns);
    }
    *limits = before->limits;
    if (code != 0)
        lua__ingests_drop(runtime, before->ingests); /* no Lua code could */
    return code == 0 ? 0 : lose_transaction(runtime, code);
}

void lua__limits_begin(struct lua_runtime *runtime)
{
    runtime->limit_code = 0;
    runtime->rows_left = UINT64_MAX;
    runtime->limits.time_name = runtime->limits.memory_name = runtime->limits.rows_name = NULL;
    runtime->limits.memory_max = runtime->memory_bytes_max;
}

void lua__limits_forget(struct lua_runtime *runtime)
{
    const struct lua__limits *limits = &runtime->limits;
    if (limits->time_name == NULL && limits->memory_name == NULL && limits->rows_name == NULL)
        runtime->limit_code = 0;
}

void lua__limits_end(struct lua_runtime *runtime)
{
    if (runtime->limits.memory_name != NULL) {
        runtime->memory_bytes_max = runtime->limits.memory_max;
        collect_as_ever(runtime);
        if (runtime->limit_code == ERROR_MEMORY)
            lua_sethook(runtime->L, NULL, 0, 0);
    }
    lua__limits_begin(runtime);
}

/* ------------------------------------------------------------------------------- from within Lua */

/* limits_enter(name): what limits_leave is to be called with, or nothing when there are none. */
static int native_limits_enter(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    const struct func *func = catalog_func(db_catalog(runtime->worker), name, size);
    if (func == NULL || !func_is_limited(func))
        return 0;
    struct lua__limits_before *before = lua_newuserdata(L, sizeof *before);
    lua__limits_enter(runtime, func, clock_monotonic_ns(clock_system()), before);
    return 1;
}

/* limits_leave(what limits_enter gave): raises the error of a limit that was exceeded. */
static int native_limits_leave(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    int code = lua__limits_leave(runtime, lua_touserdata(L, 1));
    return code == 0 ? 0 : lua__raise(L, runtime, code);
}

static int call_ended(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    (void)arg;
    lua__push_hook(L, runtime, "transaction_ended");
    lua_pushboolean(L, false);
    lua_call(L, 1, 0);
    return 0;
}

/* The transaction of a procedure whose time was over before Lua could end it. */
static void end_left_open(lua_State *L, struct lua_runtime *runtime)
{
    lua__rollback(runtime);
    lua__let_go(runtime);
    if (runtime->handlers)
        lua__protect_on(runtime, L, call_ended, NULL);
    runtime->handlers = false;
}

/* limited(name, function, ..): what it returns. Of what does not sleep: in C, because beyond a limit
 * on time no Lua code runs that could put things back. */
static int native_limited(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct lua__limits_before before;
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    const struct func *func = catalog_func(db_catalog(runtime->worker), name, size);
    int count = lua_gettop(L) - 2;
    if (func == NULL)
        return lua__raise(L, runtime, diag_set(ERROR_NOT_FOUND, "there is no procedure %s", name));
    lua__push_traced(L, runtime);
    lua_replace(L, 1);
    lua__limits_enter(runtime, func, clock_monotonic_ns(clock_system()), &before);
    bool inside = runtime->txn != NULL;
    int status = lua_pcall(L, count, LUA_MULTRET, 1);
    bool left_open = !inside && runtime->txn != NULL;
    int code = lua__limits_leave(runtime, &before);
    if (left_open) {
        char message[sizeof runtime->limit_message];
        snprintf(message, sizeof message, "%s", runtime->limit_message);
        end_left_open(L, runtime);
        runtime->limit_code = 0;
        diag_set(code, "%s", message);
    }
    if (code != 0)
        return lua__raise(L, runtime, code);
    return status != 0 ? lua_error(L) : lua_gettop(L) - 1;
}

void lua__open_limit(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"limits_enter", native_limits_enter},
        {"limits_leave", native_limits_leave},
        {"limited", native_limited},
        {NULL, NULL},
    };
    lua__limits_begin(runtime);
    lua__register(runtime, functions);
}
