/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Lua code that is interrupted for others does not notice it: whatever it does, compiled or not, in
 * coroutines, with errors, near its limits, its results are the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/atomic.h"
#include "lua/lua_fixture.h"
#include "lua/watchdog.h"

enum { SERVED = 60 };

static struct lua_fixture fixture;
static pthread_t thread;
static _Atomic bool waiting;
static unsigned served;

static bool others_wait(void *arg)
{
    (void)arg;
    return load_relaxed(&waiting);
}

static void others_serve(void *arg)
{
    assert_ptr_equal(arg, &fixture);
    assert_true(pthread_equal(pthread_self(), thread));
    served++;
}

static void create(uint64_t time_max_ms)
{
    lua_fixture_create(&fixture, false, time_max_ms, 0);
    const struct lua_others others = {.wait = others_wait, .serve = others_serve, .arg = &fixture};
    thread = pthread_self();
    served = 0;
    store_relaxed(&waiting, true);
    lua_runtime_others_set(fixture.runtime, &others);
}

static int teardown(void **state)
{
    (void)state;
    lua_fixture_destroy(&fixture);
    return 0;
}

static const char *const WORK[] = {
    "local n = 0 for i = 1, 3000000 do n = (n * 31 + i) % 1000003 end return n",
    "local t, n = {}, 0 for i = 1, 20000 do t[i] = (i * 7919) % 10007 end table.sort(t) "
    "for i, v in ipairs(t) do n = (n + i * v) % 1000003 end return n",
    "local n = 0 for i = 1, 30000 do local s = ('%d:%s'):format(i, ('x'):rep(i % 13)) "
    "n = (n + #s:gsub('x', 'yy')) % 1000003 end return n",
    "local make = function(k) return coroutine.wrap(function() for i = 1, k do coroutine.yield(i) "
    "end end) end "
    "local n = 0 for k = 1, 3000 do for i in make(k % 17) do n = (n + i) % 1000003 end end return "
    "n",
    "local n = 0 for i = 1, 60000 do local ok, e = pcall(function() if i % 3 == 0 then error({i}) "
    "end "
    "return i end) n = (n + (ok and e or e[1] * 2)) % 1000003 end return n",
    "local f f = function(k) if k < 2 then return k end return f(k - 1) + f(k - 2) end return "
    "f(24)",
    "local s = box.space.rows local n = 0 for i = 1, 3000 do s:replace({i, i * 3}) end "
    "for _, t in s:pairs() do n = n + t[2] end return n"};
enum { WORKS = sizeof WORK / sizeof *WORK };

static void results_are_the_same(void **state)
{
    char expected[WORKS][64];
    (void)state;
    create(600000);
    lua_fixture_do(&fixture, "box.schema.space.create('rows'):create_index('pk')");
    store_relaxed(&waiting, false);
    for (unsigned n = 0; n < WORKS; n++) {
        const char *got = lua_fixture_eval(&fixture, WORK[n]);
        assert_int_equal(got[0], '[');
        assert_true(strlen(got) < sizeof expected[n]);
        strcpy(expected[n], got);
    }
    store_relaxed(&waiting, true);
    for (unsigned n = 0; n < WORKS; n++) {
        unsigned before = served;
        while (served - before < SERVED)
            assert_eval(&fixture, WORK[n], expected[n]);
    }
}

static void who_is_interrupted_is_still_stopped_in_time(void **state)
{
    (void)state;
    create(300);
    unsigned before = served;
    while (served == before)
        assert_begins_at_last(lua_fixture_eval(&fixture, "while true do end"), "ERROR_TIMEOUT ");
    assert_begins_at_last(
        lua_fixture_eval(&fixture, "while true do pcall(function() while true do end end) end"),
        "ERROR_TIMEOUT ");
    store_relaxed(&waiting, false); /* what is short has its time */
    assert_begins_at_last(lua_fixture_eval(&fixture, "return 1"), "[1]");
}

static void who_is_interrupted_keeps_to_its_memory(void **state)
{
    (void)state;
    create(600000);
    lua_fixture_do(
        &fixture,
        "box.schema.func.create('hungry', {memory = 4 * 1024 * 1024, body = [[ local t = {} "
        "while true do pcall(function() t[#t + 1] = ('x'):rep(1000) .. #t end) end ]]})");
    for (unsigned n = 0; n < 20; n++)
        assert_begins(lua_fixture_eval(&fixture, "return box.func.hungry()"), "ERROR_MEMORY ");
}

/* One call of C each, which without its end lets nobody in but by itself. */
static void others_cancel(void *arg)
{
    others_serve(arg);
    if (served % SERVED == 0)
        assert_true(lua_runtime_cancel(fixture.runtime));
}

static void functions_of_c_let_others_in_between_their_steps(void **state)
{
    (void)state;
    static const char *const endless[] = {
        "return (('a'):rep(100000)):find(('.-'):rep(40) .. 'b')",
        "return require('digest').pbkdf2('x', 'y', 1e9)",
    };
    create(600000);
    const struct lua_others others = {.wait = others_wait, .serve = others_cancel, .arg = &fixture};
    lua_runtime_others_set(fixture.runtime, &others);
    for (unsigned n = 0; n < sizeof endless / sizeof *endless; n++) {
        served = 0;
        assert_begins_at_last(lua_fixture_eval(&fixture, endless[n]), "ERROR_TIMEOUT ");
        assert_int_equal(served, SERVED);
    }
}

/* So often in one run, which is more than code around the calls in it could be interrupted. */
static void assert_lets_in_times(unsigned times, const char *code, const char *reply)
{
    enum { TRIES = 200 };
    served = 0;
    for (unsigned n = 0; n < TRIES && served < times; n++) {
        served = 0;
        assert_begins(lua_fixture_eval(&fixture, code), reply);
    }
    assert_true(served >= times);
}

static void assert_lets_in(const char *code, const char *reply)
{
    assert_lets_in_times(6, code, reply);
}

/* One call that is short, in which there is time for a few looks: before and behind it there is one each. */
static void assert_call_lets_in(const char *code, const char *reply)
{
    assert_lets_in_times(3, code, reply);
}

static void commands_of_redis_let_others_in_between_elements(void **state)
{
    (void)state;
    create(600000);
    store_relaxed(&waiting, false);
    lua_fixture_do(&fixture, "for i = 1, 200000, 1000 do local t = {} "
                             "for j = i, i + 999 do t[#t + 1] = j * 7919 % 200003 end "
                             "redis.call('SADD', 'set', unpack(t)) "
                             "redis.call('RPUSH', 'list', unpack(t)) end");
    store_relaxed(&waiting, true);
    assert_lets_in("return redis.call('SUNIONSTORE', 'other', 'set')", "[");
    assert_lets_in("return #redis.call('SORT', 'list', 'LIMIT', 0, 10)", "[10]");
}

/* Strings, so that little else goes on; the second is no JSON at its end, and nothing is made of it. */
static void json_lets_others_in_between_values_and_within_strings(void **state)
{
    (void)state;
    create(600000);
    lua_fixture_do(&fixture, "bytes, digits = ('\\1'):rep(4e6), '[' .. ('123456,'):rep(4e5)");
    assert_lets_in("return #require('json').encode(bytes)", "[24000002]");
    assert_lets_in("return pcall(require('json').decode, digits)", "[false,");
    assert_lets_in("return #require('json').encode(bytes:sub(1, 2e6), {pretty = true})",
                   "[12000002]");
}

/* The rest of them is short: '..', a length, one byte. */
static void long_strings_let_others_in_between_stretches(void **state)
{
    (void)state;
    create(600000);
    lua_fixture_do(&fixture,
                   "text, words = ('ab'):rep(1e7), {} for i = 1, 1e6 do words[i] = 'word' end");
    assert_lets_in("return #text:upper():reverse():lower()", "[20000000]");
    assert_lets_in("return #('abc'):rep(4e7)", "[120000000]");
    assert_call_lets_in("return #table.concat(words, ', ')", "[5999998]");
    lua_fixture_do(&fixture, "text, words = 'local a = 1 ' .. ('a = a + 1 '):rep(4e5), nil");
    assert_call_lets_in("return type(load(text))", "[\"function\"]");
}

/* The first value is refused, when all keys have been gone over to know that it is an array. */
static void who_looks_for_arrays_lets_others_in_between_keys(void **state)
{
    (void)state;
    create(600000);
    lua_fixture_do(&fixture, "keys = {print} for i = 2, 4e6 do keys[i] = i end");
    assert_call_lets_in("return (pcall(require('json').encode, keys))", "[false]");
    assert_call_lets_in("return (pcall(require('msgpack').encode, keys))", "[false]");
}

/* It ends before its last element: that is found, and nothing is made of it. */
static void messagepack_is_checked_with_others_let_in(void **state)
{
    (void)state;
    create(600000);
    lua_fixture_do(&fixture, "array = '\\221\\2\\0\\0\\0' .. ('\\1'):rep(2 ^ 25 - 1)");
    assert_call_lets_in("return (pcall(require('msgpack').decode, array))", "[false]");
}

/* Statements that no Lua code runs around, again and again. */
static void statements_let_others_in_between_rows(void **state)
{
    static const char all[] = {'\x90'};
    struct mp_buffer result;
    uint64_t reply_ts;
    (void)state;
    create(600000);
    store_relaxed(&waiting, false);
    lua_fixture_do(&fixture, "local s = box.schema.space.create('rows') s:create_index('pk') "
                             "for i = 1, 20000 do s:insert({i}) end");
    const struct lua_space_call calls[] = {
        {.operation = LUA_SPACE_COUNT, .space = "rows", .space_size = 4, .iterator = -1},
        {.operation = LUA_SPACE_SELECT,
         .space = "rows",
         .space_size = 4,
         .subject = all,
         .subject_size = sizeof all,
         .iterator = -1,
         .limit = UINT64_MAX},
    };
    store_relaxed(&waiting, true);
    mp_buffer_create(&result);
    for (unsigned n = 0; n < sizeof calls / sizeof *calls; n++)
        for (served = 0; served < SERVED;) {
            const struct lua_request request = {.latest = true};
            mp_buffer_reset(&result, 1 << 20);
            assert_int_equal(
                lua_runtime_space(fixture.runtime, &request, &calls[n], &result, &reply_ts), 0);
        }
    mp_buffer_destroy(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(results_are_the_same, teardown),
        cmocka_unit_test_teardown(who_is_interrupted_is_still_stopped_in_time, teardown),
        cmocka_unit_test_teardown(who_is_interrupted_keeps_to_its_memory, teardown),
        cmocka_unit_test_teardown(functions_of_c_let_others_in_between_their_steps, teardown),
        cmocka_unit_test_teardown(commands_of_redis_let_others_in_between_elements, teardown),
        cmocka_unit_test_teardown(json_lets_others_in_between_values_and_within_strings, teardown),
        cmocka_unit_test_teardown(long_strings_let_others_in_between_stretches, teardown),
        cmocka_unit_test_teardown(who_looks_for_arrays_lets_others_in_between_keys, teardown),
        cmocka_unit_test_teardown(messagepack_is_checked_with_others_let_in, teardown),
        cmocka_unit_test_teardown(statements_let_others_in_between_rows, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
