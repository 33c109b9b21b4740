/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loops of statements in the code of clients are compiled as those of the operator's files are
 * (test/lua/trace_spec.lua): once LuaJIT has found its traces it makes no more, and gives none up.
 * On the packaged LuaJIT such code is interpreted, so that it can be stopped, and nothing is
 * compiled at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lua.h>

#include "lua/lua_fixture.h"

enum { ROUNDS_MAX = 40 };

struct seen {
    unsigned traces, aborts;
};

/* What jit.attach calls: what, the trace's number, .. */
static int on_trace(lua_State *L)
{
    struct seen *seen = lua_touserdata(L, lua_upvalueindex(1));
    const char *what = lua_tostring(L, 1);
    if (what != NULL && strcmp(what, "abort") == 0)
        seen->aborts++;
    if (what != NULL && strcmp(what, "stop") == 0)
        seen->traces++;
    return 0;
}

/* Calls jit.attach(on_trace, "trace"), and without the event when it is over. */
static void watch(lua_State *L, struct seen *seen, bool on)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    lua_getfield(L, -1, "jit");
    lua_getfield(L, -1, "attach");
    if (on) {
        lua_pushlightuserdata(L, seen);
        lua_pushcclosure(L, on_trace, 1);
        lua_pushvalue(L, -1);
        lua_setfield(L, LUA_REGISTRYINDEX, "test.on_trace");
        lua_pushliteral(L, "trace");
    } else {
        lua_getfield(L, LUA_REGISTRYINDEX, "test.on_trace");
    }
    lua_call(L, on ? 2 : 1, 0);
    lua_pop(L, 2);
}

/* Runs the loop until the compiler has had nothing to do for a round. */
static void assert_compiles(struct lua_fixture *f, const char *body)
{
    lua_State *L = lua_runtime_state(f->runtime);
    struct seen now = {0};
    unsigned traces = 0;
    bool quiet = false;
    char text[1024];
    snprintf(text, sizeof text,
             "function loop() local s = box.space.s %s end "
             "function rounds() for _ = 1, 10 do loop() end end "
             "function both() rounds() box.atomic(rounds) end",
             body);
    lua_fixture_do(f, text);
    for (int round = 0; round < ROUNDS_MAX && !quiet; round++) {
        now = (struct seen){0};
        watch(L, &now, true);
        lua_fixture_do(f, "both()");
        watch(L, &now, false);
        traces += now.traces;
        quiet = now.traces == 0 && now.aborts == 0;
    }
    assert_true(quiet);
    if (strstr(lua_runtime_variant(), "CHECKHOOK") != NULL)
        assert_true(traces > 0);
    else
        assert_int_equal(0, traces);
}

static int set_up(void **state)
{
    static struct lua_fixture fixture;
    lua_fixture_create(&fixture, false, 0, 0);
    lua_fixture_do(&fixture,
                   "local s = box.schema.space.create('s', {format = {{'id', 'unsigned'}, "
                   "{'n', 'number'}}}) s:create_index('pk') "
                   "for n = 1, 1000 do s:insert{n, 0} end");
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    lua_fixture_destroy(*state);
    return 0;
}

static void loops_of_gets_are_compiled(void **state)
{
    assert_compiles(*state, "local sum = 0 for n = 1, 1000 do sum = sum + s:get(n).n end");
}

static void loops_of_replaces_are_compiled(void **state)
{
    assert_compiles(*state, "for n = 1, 1000 do s:replace({n, n}) end");
}

static void loops_of_updates_are_compiled(void **state)
{
    assert_compiles(*state, "for n = 1, 1000 do s:update(n, {{'+', 'n', 1}}) end");
}

static void loops_over_ranges_are_compiled(void **state)
{
    assert_compiles(*state,
                    "local sum = 0 for _ = 1, 3 do for _, t in s:pairs(5, {iterator = 'GE'}) "
                    "do sum = sum + t.n end end");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(loops_of_gets_are_compiled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(loops_of_replaces_are_compiled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(loops_of_updates_are_compiled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(loops_over_ranges_are_compiled, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
