/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Code that is run line by line: lua/box/stepper.lua starts it as a fiber, and C stops that fiber.
 *
 *              go on                    a line that it is to stop at
 *   STOPPED ─────────► running ─────────────────────────────────────► STOPPED ─► the one that waits
 *      ▲                                                                 │        goes on
 *      └──── its transaction was idle for too long: rolled back ─────────┘
 *
 * LuaJIT calls a hook for each line, and lets a hook of C yield. While such a fiber runs, the hook is
 * set and the compiler is off, for compiled code calls none; the traces of the state are thrown away
 * first. There is one hook in a state: it is set for the slice of this fiber only, and the deadline's
 * takes its place when the time is over (watchdog.c), so that a slice ends as any other does.
 *
 * A fiber that stops in a transaction parks it, as one that waits for a lock does (transaction.c), so
 * the worker serves others meanwhile, and whoever has a right to may roll it back. Its transactions
 * are of the kind that can be parked, also those that only read. It does not stop where it can't
 * yield (below a call of C), or where its transaction could not be parked (one that changes the
 * schema, one that is lost).
 *
 * What is looked at there runs in the context of the fiber, on the state of whoever asks, in one
 * protected call that can't wait.
 */
#include "lua/stepper.h"

#include <luajit.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "db/ddl.h"

enum stepper_how { STEP_ON, STEP_LINE, STEP_OVER, STEP_OUT, STEP_END };
enum { POINTS_MAX = 100, PLACES_MAX = 64 };

#define WAITER_MAIN UINT64_MAX /* what runs outside of a fiber */

struct stepper_point {
    char name[NAME_SIZE_MAX + 1];
    int line;
};

struct lua__stepper {
    enum stepper_how how;
    int depth;     /* of its stack when it was told to go on */
    bool stopped;  /* it is at a line */
    bool stopping; /* the hook has yielded */
    bool stepped;  /* where it was told to, not at a breakpoint only */
    bool goes;     /* it has been told to go on */
    bool parked;
    struct lock_owner *owner; /* of the transaction that is parked */
    int line, locals;         /* where it is, and a reference: {n, name, value, ..} there */
    int put_back;             /* a reference: what Lua knows of that transaction */
    uint64_t idle_end_ns;     /* by the runtime's clock; 0: none */
    uint64_t waiter;          /* the fiber that waits until it stops; 0: none; WAITER_MAIN */
    /* Where it has stopped in functions that go on, the outermost first. */
    struct {
        int depth, line;
    } places[PLACES_MAX];
    unsigned place_count;
    unsigned point_count;
    struct stepper_point points[POINTS_MAX];
};

/* ---------------------------------------------------------------------------------------- lines */

/* Whose fibers the hooks of this thread are for. */
static _Thread_local struct lua_runtime *stepping;

static bool may_stop(struct lua_runtime *runtime, lua_State *L)
{
    if (!lua_isyieldable(L) || lua__stop(runtime) != 0)
        return false;
    return runtime->txn == NULL ||
           (runtime->txn_opened && runtime->calling == NULL && !ddl_active(runtime->worker));
}

static bool at_point(const struct lua__stepper *stepper, const char *source, int line)
{
    for (unsigned i = 0; i < stepper->point_count; i++)
        if (stepper->points[i].line == line && strcmp(stepper->points[i].name, source) == 0)
            return true;
    return false;
}

static bool any_at(const struct lua__stepper *stepper, int line)
{
    for (unsigned i = 0; i < stepper->point_count; i++)
        if (stepper->points[i].line == line)
            return true;
    return false;
}

/* LuaJIT calls the hook also when a line goes on after a call: true when that is one that it has
 * stopped at. */
static bool goes_on(struct lua__stepper *stepper, lua_State *L, int line)
{
    lua_Debug ar;
    while (stepper->place_count > 0) {
        int depth = stepper->places[stepper->place_count - 1].depth;
        if (lua_getstack(L, depth, &ar))
            return false; /* a function that it has called */
        if (lua_getstack(L, depth - 1, &ar) &&
            stepper->places[stepper->place_count - 1].line == line)
            return true;
        stepper->place_count--; /* left */
    }
    return false;
}

static int depth_of(lua_State *L)
{
    lua_Debug ar;
    int depth = 0;
    while (lua_getstack(L, depth, &ar))
        depth++;
    return depth;
}

/* goes_on has just taken away what is not below it. */
static void place_add(struct lua__stepper *stepper, lua_State *L, int line)
{
    if (stepper->place_count == PLACES_MAX)
        return;
    stepper->places[stepper->place_count].depth = depth_of(L);
    stepper->places[stepper->place_count++].line = line;
}

/* Whether it is told to stop at the next line of this depth. */
static bool steps(const struct lua__stepper *stepper, lua_State *L)
{
    lua_Debug ar;
    return stepper->how == STEP_LINE ||
           (stepper->how == STEP_OVER && !lua_getstack(L, stepper->depth, &ar)) ||
           (stepper->how == STEP_OUT && !lua_getstack(L, stepper->depth - 1, &ar));
}

/*
 * Leaves the locals of the running function in a table. Once it has yielded, LuaJIT takes it to be
 * at the instruction before: a local that begins at this one would be missing.
 */
static void take_locals(lua_State *L, struct lua__stepper *stepper, lua_Debug *ar)
{
    int count = 0;
    const char *name;
    luaL_checkstack(L, 8, "locals");
    lua_newtable(L);
    for (int n = 1; (name = lua_getlocal(L, ar, n)) != NULL; n++) {
        lua_rawseti(L, -2, count + 2);
        lua_pushstring(L, name);
        lua_rawseti(L, -2, count + 1);
        count += 2;
    }
    lua_pushinteger(L, count);
    lua_setfield(L, -2, "n");
    if (stepper->locals == 0)
        stepper->locals = luaL_ref(L, LUA_REGISTRYINDEX);
    else
        lua_rawseti(L, LUA_REGISTRYINDEX, stepper->locals);
}

static void on_line(lua_State *L, lua_Debug *ar)
{
    struct lua_runtime *runtime = stepping;
    if (runtime == NULL || runtime->fiber == NULL || runtime->fiber->stepper == NULL)
        return; /* another's, that runs in between */
    struct lua__stepper *stepper = runtime->fiber->stepper;
    if (L != runtime->fiber->L)
        return; /* a coroutine of its own */
    bool again = goes_on(stepper, L, ar->currentline);
    bool step = (!again || stepper->how == STEP_OUT) && steps(stepper, L);
    if (!step && (again || !any_at(stepper, ar->currentline)))
        return;
    lua_getinfo(L, "S", ar);
    bool users = ar->source[0] == '=' && ar->source[1] != '[';
    if (!users || !(step || at_point(stepper, ar->source + 1, ar->currentline)) ||
        !may_stop(runtime, L))
        return;
    take_locals(L, stepper, ar);
    if (!again)
        place_add(stepper, L, ar->currentline);
    stepper->line = ar->currentline;
    stepper->stepped = step;
    stepper->stopping = true;
    lua_yield(L, 0);
}

/* At each instruction, so that nothing that catches errors goes on. */
static void on_end(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct lua_runtime *runtime = stepping;
    if (runtime == NULL || runtime->fiber == NULL || runtime->fiber->stepper == NULL)
        return;
    lua_pushliteral(L, "fiber is cancelled");
    lua_error(L);
}

static void hook_set(struct lua_runtime *runtime, const struct lua__stepper *stepper)
{
    struct lua__deadline *deadline = &runtime->deadline;
    bool ends = stepper->how == STEP_END;
    if (stepper->how == STEP_ON && stepper->point_count == 0)
        return;
    luaJIT_setmode(runtime->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    luaJIT_setmode(runtime->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
    stepping = runtime;
    deadline->rest = ends ? on_end : on_line;
    deadline->rest_mask = ends ? LUA_MASKCOUNT : LUA_MASKLINE;
    if (!lua__deadline_passed(deadline))
        lua_sethook(deadline->L, deadline->rest, deadline->rest_mask, 1);
}

static void hook_clear(struct lua_runtime *runtime)
{
    struct lua__deadline *deadline = &runtime->deadline;
    if (deadline->rest == NULL)
        return;
    deadline->rest = NULL;
    stepping = NULL;
    if (!lua__deadline_passed(deadline))
        lua_sethook(deadline->L, NULL, 0, 0);
#if !PERIGEE_LUAJIT_CHECKHOOK
    if (!runtime->options.trusted)
        return; /* it is never on */
#endif
    luaJIT_setmode(runtime->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
}

/* -------------------------------------------------------------------------------- its transaction */

struct put {
    struct lua__stepper *stepper;
    struct lua_runtime *runtime;
};

static int put_away(lua_State *L)
{
    const struct put *put = lua_touserdata(L, 1);
    lua__push_hook(L, put->runtime, "put_transaction_away");
    lua_call(L, 0, 1);
    put->stepper->put_back = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int put_back(lua_State *L)
{
    const struct put *put = lua_touserdata(L, 1);
    int reference = put->stepper->put_back;
    put->stepper->put_back = 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, reference);
    luaL_unref(L, LUA_REGISTRYINDEX, reference);
    lua_call(L, 0, 0);
    return 0;
}

/* Built-in code, which is short: no deadline ends it half way. */
static void call_put(struct lua_runtime *runtime, lua_State *L, struct lua__stepper *stepper,
                     lua_CFunction function)
{
    struct put put = {stepper, runtime};
    uint64_t at_ns = load_relaxed(&runtime->deadline.at_ns);
    int top = lua_gettop(L);
    lua__deadline_disarm(&runtime->deadline);
    lua_cpcall(L, function, &put);
    lua_settop(L, top);
    lua__deadline_arm_at(&runtime->deadline, at_ns);
}

void lua__stepper_borrow(struct lua_runtime *runtime, lua_State *L, struct lua_fiber *fiber)
{
    struct lua__stepper *stepper = fiber->stepper;
    if (stepper->put_back != 0)
        call_put(runtime, L, stepper, put_back);
    if (stepper->parked && runtime->txn != NULL)
        lua__resume_parked(runtime, stepper->owner);
    stepper->parked = false;
    stepper->owner = NULL;
}

/* What was looked at has made it one that can't be parked. */
static void lose(struct lua_runtime *runtime)
{
    int why = runtime->stop;
    lua__rollback(runtime);
    runtime->stop = why == 0 || why == ERROR_WAIT ? ERROR_CANCELLED : why;
}

void lua__stepper_return(struct lua_runtime *runtime, lua_State *L, struct lua_fiber *fiber)
{
    struct lua__stepper *stepper = fiber->stepper;
    if (runtime->txn != NULL && (!runtime->txn_opened || runtime->stop != 0))
        lose(runtime);
    call_put(runtime, L, stepper, put_away);
    if (runtime->txn == NULL)
        return;
    stepper->owner = txn_owner(runtime->txn);
    stepper->parked = true;
    txn_park(runtime->txn);
    runtime->parks++;
    uint64_t idle_ms = runtime->options.transaction_idle_max_ms;
    stepper->idle_end_ns =
        idle_ms == 0 ? 0 : clock_monotonic_ns(runtime->clock) + idle_ms * 1000000;
}

void lua__stepper_enter(struct lua_runtime *runtime, struct lua_fiber *fiber)
{
    struct lua__stepper *stepper = fiber->stepper;
    if (stepper->stopped)
        lua__stepper_borrow(runtime, runtime->L, fiber);
    stepper->stopped = stepper->goes = false;
    if (fiber->cancelled)
        stepper->how = STEP_END;
    runtime->scan.stepped = 1;
    hook_set(runtime, stepper);
}

bool lua__stepper_leave(struct lua_runtime *runtime, struct lua_fiber *fiber, int status)
{
    struct lua__stepper *stepper = fiber->stepper;
    bool stops =
        stepper->stopping && status == LUA_YIELD && !lua__deadline_passed(&runtime->deadline);
    hook_clear(runtime);
    runtime->scan.stepped = 0;
    stepper->stopping = false;
    if (!stops)
        return false;
    stepper->stopped = true;
    lua__stepper_return(runtime, runtime->L, fiber);
    return true;
}

/* ------------------------------------------------------------------------------------- stopped */

static void waiter_wake(struct lua_runtime *runtime, struct lua__stepper *stepper)
{
    uint64_t id = stepper->waiter;
    struct lua_fiber *waiter = id == 0 ? NULL : lua__fiber_find(runtime, id);
    stepper->waiter = 0;
    if (waiter != NULL || id == WAITER_MAIN)
        lua__fiber_ready(runtime, waiter);
}

uint64_t lua__stepper_aside(struct lua_runtime *runtime, struct lua_fiber *fiber)
{
    struct lua__stepper *stepper = fiber->stepper;
    if (!stepper->stopped)
        return 0;
    waiter_wake(runtime, stepper);
    if (!stepper->parked || stepper->idle_end_ns == 0)
        return 0;
    uint64_t now = clock_monotonic_ns(runtime->clock);
    return now < stepper->idle_end_ns ? stepper->idle_end_ns - now : 1;
}

bool lua__stepper_goes(struct lua_runtime *runtime, struct lua_fiber *fiber)
{
    struct lua__stepper *stepper = fiber->stepper;
    if (!stepper->stopped || stepper->goes || fiber->cancelled)
        return true;
    if (!stepper->parked || stepper->idle_end_ns == 0 ||
        clock_monotonic_ns(runtime->clock) < stepper->idle_end_ns)
        return false;
    stepper->parked = false;
    if (lua__resume_parked(runtime, stepper->owner) == 0)
        lua__rollback(runtime);
    runtime->stop = ERROR_CANCELLED;
    stepper->owner = NULL;
    return false;
}

void lua__stepper_delete(struct lua_fiber *fiber)
{
    struct lua__stepper *stepper = fiber->stepper;
    if (stepper == NULL)
        return;
    waiter_wake(fiber->runtime, stepper);
    if (stepper->put_back != 0)
        luaL_unref(fiber->runtime->L, LUA_REGISTRYINDEX, stepper->put_back);
    if (stepper->locals != 0)
        luaL_unref(fiber->runtime->L, LUA_REGISTRYINDEX, stepper->locals);
    fiber->stepper = NULL;
    free(stepper);
}

/* ------------------------------------------------------------------------------------ from Lua */

static struct lua_runtime *check_admin(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    if (!runtime->options.trusted && lua__may_administer(runtime, ACCESS_ALTER) != 0)
        lua__raise(L, runtime, ERROR_ACCESS);
    return runtime;
}

/* The fiber with this number; NULL when it has ended. */
static struct lua_fiber *stepped(lua_State *L, struct lua_runtime *runtime)
{
    struct lua_fiber *fiber = lua__fiber_find(runtime, (uint64_t)luaL_checknumber(L, 1));
    return fiber == NULL || fiber->stepper == NULL ? NULL : fiber;
}

static struct lua_fiber *stopped(lua_State *L, struct lua_runtime *runtime)
{
    struct lua_fiber *fiber = stepped(L, runtime);
    if (fiber == NULL || !fiber->stepper->stopped || fiber->stepper->goes)
        lua__raise(L, runtime, diag_set(ERROR_INVALID, "nothing has stopped here"));
    return fiber;
}

/* step_check(): raises unless the effective user administers. */
static int native_check(lua_State *L)
{
    check_admin(L);
    return 0;
}

/* step_begin(fiber, whether at its first line): one that has not begun. */
static int native_begin(lua_State *L)
{
    struct lua_runtime *runtime = check_admin(L);
    struct lua_fiber *fiber = lua__fiber_find(runtime, (uint64_t)luaL_checknumber(L, 1));
    if (fiber == NULL || fiber->stepper != NULL || fiber->switches != 0)
        return lua__raise(L, runtime, diag_set(ERROR_INVALID, "the fiber has begun"));
    fiber->stepper = calloc(1, sizeof *fiber->stepper);
    if (fiber->stepper == NULL)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    fiber->stepper->how = lua_toboolean(L, 2) ? STEP_LINE : STEP_ON;
    return 0;
}

/* step_points(fiber, {{name, line}, ..}): where it stops, checked by Lua. */
static int native_points(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct lua_fiber *fiber = stepped(L, runtime);
    size_t count = lua_objlen(L, 2);
    if (fiber == NULL)
        return 0;
    if (count > POINTS_MAX)
        return lua__raise(L, runtime,
                          diag_set(ERROR_INVALID, "there are at most %d breakpoints", POINTS_MAX));
    struct lua__stepper *stepper = fiber->stepper;
    stepper->point_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct stepper_point *point = &stepper->points[i];
        lua_rawgeti(L, 2, (int)i + 1);
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        snprintf(point->name, sizeof point->name, "%s", luaL_checkstring(L, -2));
        point->line = (int)luaL_checknumber(L, -1);
        lua_pop(L, 3);
        stepper->point_count++;
    }
    return 0;
}

/* step_go(fiber[, how]): 0 on, 1 to the next line, 2 in this function, 3 out of it; nil: as before, the
 * breakpoint does not count. */
static int native_go(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct lua_fiber *fiber = stopped(L, runtime);
    struct lua__stepper *stepper = fiber->stepper;
    if (!lua_isnoneornil(L, 2)) {
        stepper->how = (enum stepper_how)luaL_checkinteger(L, 2);
        stepper->depth = depth_of(fiber->L);
    }
    stepper->goes = true;
    lua__fiber_ready(runtime, fiber);
    return 0;
}

/* step_state(fiber): 'stopped', and whether by a step; 'running', and the caller is woken when it has
 * stopped; or nil. */
static int native_state(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct lua_fiber *fiber = stepped(L, runtime);
    if (fiber == NULL)
        return 0;
    bool runs = !fiber->stepper->stopped || fiber->stepper->goes;
    if (runs)
        fiber->stepper->waiter = runtime->fiber == NULL ? WAITER_MAIN : runtime->fiber->id;
    lua_pushstring(L, runs ? "running" : "stopped");
    lua_pushboolean(L, fiber->stepper->stepped);
    return 2;
}

/* step_place(fiber): of one that has stopped its coroutine, the line, and the locals of the innermost
 * function: {n, name, value, ..}. */
static int native_place(lua_State *L)
{
    const struct lua_fiber *fiber = stopped(L, lua__runtime(L));
    lua_rawgeti(L, LUA_REGISTRYINDEX, fiber->ref);
    lua_pushinteger(L, fiber->stepper->line);
    lua_rawgeti(L, LUA_REGISTRYINDEX, fiber->stepper->locals);
    return 3;
}

/* step_within(fiber, function, ..): what it returns, in the fiber's context. */
static int native_within(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct lua_fiber *fiber = stopped(L, runtime);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (runtime->txn != NULL || runtime->stop != 0)
        return lua__raise(L, runtime, diag_set(ERROR_INVALID, "not inside of another transaction"));
    if (lua__fiber_within(runtime, L, fiber, lua_gettop(L) - 2) != 0)
        return lua_error(L);
    return lua_gettop(L) - 1;
}

void lua__open_stepper(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"step_check", native_check},   {"step_begin", native_begin},
        {"step_points", native_points}, {"step_go", native_go},
        {"step_state", native_state},   {"step_place", native_place},
        {"step_within", native_within}, {NULL, NULL},
    };
    lua__register(runtime, functions);
}
