/* SPDX-License-Identifier: Apache-2.0 */
/* What one client's code does to the process, or to the code of others: nothing. */
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
    lua_fixture_create(&fixture, false, 0, MEMORY_BYTES_MAX);
    *state = &fixture;
    return 0;
}

static int set_up_with_time_limit(void **state)
{
    static struct lua_fixture fixture;
    lua_fixture_create(&fixture, false, TIME_MAX_MS, MEMORY_BYTES_MAX);
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

static void what_all_text_shares_can_not_be_changed(void **state)
{
    static const char *const changes[] = {
        "box = nil",
        "pcall = nil",
        "function tostring() return 'evil' end",
        "_G = {}",
        "_G.print = error",
        "rawset(_G, 'pcall', 1)",
        "setmetatable(_G, {})",
        "string = {}",
        "string.format = print",
        "math.huge = 1",
        "rawset(table, 'insert', print)",
        "table.insert(box.space, 280, {})",
        "table.insert(string, 1)",
        "table.sort(box.space)",
        "load('pcall = nil')()",
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        assert_error(*state, changes[i], "ERROR_LUA ");
    assert_eval(
        *state,
        "type(box), type(pcall), tostring(1), string.format('%d', 2), box.space[1], string[1]",
        "[\"table\",\"function\",\"1\",\"2\",null,null]");
}

static void globals_of_typed_text_stay(void **state)
{
    lua_fixture_do(*state, "x = 1 function y() return x + 1 end");
    assert_eval(*state, "x, y(), _G.x", "[1,2,1]");
    lua_fixture_do(*state, "load('x = 5')() loadstring('z = 6')() x = x + 1");
    assert_eval(*state, "x, z, y(), load('return x')()", "[6,6,7,6]");
}

static void descriptions_of_indexes_are_copies(void **state)
{
    lua_fixture_do(*state, "box.schema.space.create('s'):create_index('pk')");
    lua_fixture_do(*state, "box.space.s.index.pk.parts[1].type = 'evil'");
    assert_eval(*state, "box.space.s.index.pk.parts[1].type", "[\"unsigned\"]");
}

static void a_seed_counts_for_one_request_only(void **state)
{
    struct lua_fixture *f = *state;
    char first[64];
    lua_fixture_do(f, "math.randomseed(1)");
    snprintf(first, sizeof first, "%s", lua_fixture_eval(f, "math.random(2^31)"));
    lua_fixture_do(f, "math.randomseed(1)");
    assert_string_not_equal(lua_fixture_eval(f, "math.random(2^31)"), first);
    assert_eval(f,
                "math.randomseed(1) local n = math.random(2^31) math.randomseed(1) "
                "return n == math.random(2^31)",
                "[true]");
}

static void coroutines_within_coroutines_end_before_the_stack_does(void **state)
{
    assert_eval(*state, "local function f() return coroutine.wrap(f)() end return pcall(f)",
                "[false,\"C stack overflow\"]");
    assert_eval(*state,
                "local function f() local ok, message = coroutine.resume(coroutine.create(f)) "
                "return message end return f()",
                "[\"C stack overflow\"]");
    assert_error(*state,
                 "local function f() table.sort({2, 1}, function() coroutine.wrap(f)() "
                 "return false end) end f()",
                 "ERROR_LUA ");
    assert_eval(*state,
                "local function f(n) return n == 0 and 'end' or coroutine.wrap(f)(n - 1) end "
                "return f(100)",
                "[\"end\"]");
}

static void coroutines_work_as_they_do_elsewhere(void **state)
{
    assert_eval(*state,
                "local next_one = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) "
                "return b * 2, nil end) return next_one(1), select('#', next_one(5))",
                "[2,2]");
    assert_eval(*state, "pcall(coroutine.wrap(function() error({code = 3}) end))",
                "[false,{\"code\":3}]");
    assert_eval(*state, "pcall(coroutine.wrap, 5)",
                "[false,\"bad argument #1 to 'wrap' "
                "(function expected, got number)\"]");
    assert_eval(*state, "coroutine.resume(coroutine.create(function(...) return ... end), 1, 2)",
                "[true,1,2]");
}

static void sorting_and_inserting_work_as_they_do_elsewhere(void **state)
{
    assert_eval(*state,
                "local t = {3, 1, 2} table.sort(t) table.insert(t, 4) table.insert(t, 1, 0) "
                "table.insert(t, 3, 1.5) return t",
                "[[0,1,1.5,2,3,4]]");
    assert_eval(*state,
                "local t = {1, 3, 2} table.sort(t, function(a, b) return a > b end) return t",
                "[[3,2,1]]");
    assert_error(*state, "table.insert({}, 0, 1)", "ERROR_LUA ");
    assert_error(*state, "table.insert({1}, -2147483648, 1)", "ERROR_LUA ");
    assert_error(*state, "table.sort({2, 1}, 5)", "ERROR_LUA ");
}

static void a_value_that_contains_itself_often_takes_no_more_than_the_limit(void **state)
{
    static const char laughs[] = "local t = {('x'):rep(1e5)} for i = 1, 40 do t = {t, t} end ";
    static const char *const uses[] = {
        "return t",
        "return require('json').encode(t)",
        "return require('msgpack').encode(t)",
        "return box.tuple.new(t)",
        "box.space._space:insert(t)",
    };
    char text[256];
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        snprintf(text, sizeof text, "%s%s", laughs, uses[i]);
        assert_error(*state, text, "ERROR_MEMORY ");
    }
}

static void json_takes_no_more_than_the_limit(void **state)
{
    assert_error(*state, "require('json').decode('[' .. ('[],'):rep(2e6) .. '1]')",
                 "ERROR_MEMORY ");
    assert_eval(*state, "#require('json').decode('[' .. ('[],'):rep(1e4) .. '1]')", "[10001]");
}

static void rows_of_loops_that_were_left_are_memory_of_the_state(void **state)
{
    lua_fixture_do(*state, "box.schema.space.create('s'):create_index('pk') "
                           "for i = 1, 100 do box.space.s:insert{i, ('x'):rep(10000)} end");
    assert_eval(*state,
                "local n = 0 for i = 1, 500 do for _, t in box.space.s:pairs() do n = n + t[1] "
                "break end end return n",
                "[500]");
    assert_error(*state, "local kept = {} for i = 1, 500 do kept[i] = {box.space.s:pairs()} end",
                 "ERROR_BUSY ");
    assert_error(*state,
                 "box.begin() local kept = {} for i = 1, 500 do kept[i] = box.space.s:select() end",
                 "ERROR_MEMORY ");
}

static void garbage_of_one_request_is_not_what_the_next_fails_for(void **state)
{
    for (int i = 0; i < 20; i++)
        assert_eval(*state, "#('x'):rep(15e6)", "[15000000]");
}

static void dropped_procedures_are_forgotten(void **state)
{
    static const char text[] =
        "for i = 1, 1000 do c = (c or 0) + 1 local n = 'f' .. c "
        "box.schema.func.create(n, {body = 'function() local t = {' .. ('1,'):rep(1000) .. '} "
        "return #t end'}) box.func[n]() box.schema.func.drop(n) end return 1";
    for (int i = 0; i < 4; i++)
        assert_eval(*state, text, "[1]");
    assert_eval(*state, "box.info().lua.memory < 32 * 1024 * 1024", "[true]");
}

static void single_calls_end(void **state)
{
    static const char *const calls[] = {
        "('a'):rep(1e6):find('[' .. ('b'):rep(1e6) .. ']')",
        "('a'):rep(1e6):find('%f[' .. ('b'):rep(1e6) .. ']')",
        "('a'):rep(1e7):find('(.-)%1x')",
        "local t = {} for i = 1, 60 do t = {t, t} end return t",
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        assert_error(*state, calls[i], "ERROR_TIMEOUT ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(what_all_text_shares_can_not_be_changed),
        TEST(globals_of_typed_text_stay),
        TEST(descriptions_of_indexes_are_copies),
        TEST(a_seed_counts_for_one_request_only),
        TEST(coroutines_within_coroutines_end_before_the_stack_does),
        TEST(coroutines_work_as_they_do_elsewhere),
        TEST(sorting_and_inserting_work_as_they_do_elsewhere),
        TEST(a_value_that_contains_itself_often_takes_no_more_than_the_limit),
        TEST(json_takes_no_more_than_the_limit),
        TEST(rows_of_loops_that_were_left_are_memory_of_the_state),
        TEST(dropped_procedures_are_forgotten),
        TEST(garbage_of_one_request_is_not_what_the_next_fails_for),
        cmocka_unit_test_setup_teardown(single_calls_end, set_up_with_time_limit, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
