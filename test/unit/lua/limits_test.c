/* SPDX-License-Identifier: Apache-2.0 */
/* Code that would never end, or take all memory, ends; its work is undone; the runtime goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lua/lua_fixture.h"

enum { TIME_MAX_MS = 60, MEMORY_BYTES_MAX = 48 * 1024 * 1024 };

static int set_up(void **state)
{
    static struct lua_fixture fixture;
    lua_fixture_create(&fixture, false, TIME_MAX_MS, MEMORY_BYTES_MAX);
    *state = &fixture;
    return 0;
}

static int set_up_without_time_limit(void **state)
{
    static struct lua_fixture fixture;
    lua_fixture_create(&fixture, false, 0, MEMORY_BYTES_MAX);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    lua_fixture_destroy(*state);
    return 0;
}

static void assert_error(struct lua_fixture *f, const char *text, const char *name)
{
    const char *result = lua_fixture_eval(f, text);
    if (strncmp(result, name, strlen(name)) != 0)
        fail_msg("%s\n  gave %s", text, result);
    assert_begins_at_last(lua_fixture_eval(f, "1"), "[1]");
}

static void endless_loops_end(void **state)
{
    static const char *const loops[] = {
        "while true do end",
        "local n = 0 while true do n = n + 1 end",
        "while true do pcall(function() while true do end end) end",
        "while true do xpcall(function() while true do end end, function() while true do end end) "
        "end",
        "while true do pcall(pcall, function() pcall(error) while true do end end) end",
        "coroutine.wrap(function() while true do end end)()",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "local t = {} for i = 1, 100 do t['k' .. i] = i end while true do for k in pairs(t) do end "
        "end",
        "local function f() return f() end f()",
        "while true do local s = ('x'):rep(100) end",
        "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) "
        "while true do pcall(function() return t[1] end) end",
        "table.sort({1, 2, 3, 4}, function() while true do end end)",
        "('x'):gsub('x', function() while true do end end)",
        "while true do box.is_in_txn() end",
        "while true do pcall(box.atomic, function() while true do end end) end",
        "load('while true do end')()",
    };
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
        assert_error(*state, loops[i], "ERROR_TIMEOUT ");
}

static void patterns_that_take_exponential_time_end(void **state)
{
    assert_error(*state, "return ('a'):rep(10000):find(('.-'):rep(40) .. 'b')", "ERROR_TIMEOUT ");
    assert_error(*state, "return ('a'):rep(10000):gsub(('a*'):rep(40) .. 'b', '')",
                 "ERROR_TIMEOUT ");
    assert_error(*state, "return pcall(string.match, ('a'):rep(10000), ('.-'):rep(40) .. 'b')",
                 "ERROR_TIMEOUT ");
    assert_error(*state,
                 "while true do pcall(string.match, ('a'):rep(10000), ('.-'):rep(40) .. 'b') end",
                 "ERROR_TIMEOUT ");
}

static void sorting_ends_while_it_compares(void **state)
{
    struct lua_fixture *f = *state;
    assert_begins_at_last(lua_fixture_eval(f, "t = {}"), "[]");
    do
        assert_begins_at_last(
            lua_fixture_eval(f, "for i = #t + 1, #t + 10000 do t[i] = math.random() end "
                                "return #t >= 500000"),
            "[");
    while (strcmp(f->text, "[true]") != 0);
    assert_begins_at_last(lua_fixture_eval(f, "table.sort(t)"), "ERROR_TIMEOUT [box.sort]:");
    assert_begins_at_last(
        lua_fixture_eval(f, "local t = {} for i = 1, 2000 do t[i] = 2001 - i end table.sort(t) "
                            "return t[1], t[1000], t[2000]"),
        "[1,1000,2000]");
}

static void what_timed_out_is_rolled_back(void **state)
{
    struct lua_fixture *f = *state;
    lua_fixture_do_patiently(f, "box.schema.space.create('s'):create_index('pk') "
                                "box.schema.func.create('slow', {body = [[function()\n"
                                "  box.space.s:insert{1}\n  while true do end\nend]]})");
    assert_begins_at_last(lua_fixture_call(f, "slow", "[]"),
                          "ERROR_TIMEOUT slow:3: time limit exceeded");
    assert_begins_at_last(lua_fixture_eval(f, "box.space.s:count()"), "[0]");
    lua_fixture_do_patiently(f, "box.space.s:insert{1}");
    assert_error(f, "box.begin() box.space.s:delete(1) while true do end", "ERROR_TIMEOUT ");
    assert_begins_at_last(lua_fixture_eval(f, "box.space.s:count()"), "[1]");
}

static void memory_is_bounded(void **state)
{
    struct lua_fixture *f = *state;
    assert_error(f, "local t = {} while true do t[#t + 1] = {} end", "ERROR_MEMORY ");
    assert_error(f, "return ('x'):rep(2e9)", "ERROR_MEMORY ");
    assert_error(f, "local s = 'x' while true do s = s .. s end", "ERROR_MEMORY ");
    assert_error(f,
                 "local s = ('x'):rep(1e6) local t = {} for i = 1, 1000 do t[i] = s end "
                 "return table.concat(t)",
                 "ERROR_MEMORY ");
    assert_error(f,
                 "local s = ('x'):rep(1e6) local t = {} for i = 1, 1000 do t[i] = s end return t",
                 "ERROR_MEMORY ");
    assert_true(lua_runtime_memory(f->runtime) <= MEMORY_BYTES_MAX);
}

static void a_deep_recursion_ends_with_an_error(void **state)
{
    assert_error(*state, "local function f() return 1 + f() end return f()", "ERROR_LUA ");
    assert_error(*state, "local t = {} t.t = t return t", "ERROR_LUA ");
    assert_error(*state, "return string.find(('('):rep(5000), ('(('):rep(100))", "ERROR_LUA ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(endless_loops_end),
        TEST(patterns_that_take_exponential_time_end),
        TEST(sorting_ends_while_it_compares),
        TEST(what_timed_out_is_rolled_back),
        cmocka_unit_test_setup_teardown(memory_is_bounded, set_up_without_time_limit, tear_down),
        cmocka_unit_test_setup_teardown(a_deep_recursion_ends_with_an_error,
                                        set_up_without_time_limit, tear_down),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
