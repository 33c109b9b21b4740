/* SPDX-License-Identifier: Apache-2.0 */
/* What runs when transactions have ended that the server ends: of procedures, scripts and text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/lua_session.h"

static struct lua_fixture fixture;
static struct lua_session rival;
static int disturbances;

/* Changes row 1 behind the back of whoever asks for box.info, as often as it is told to. */
static uint32_t disturb(void *arg, struct mp_buffer *out)
{
    (void)arg;
    (void)out;
    if (disturbances > 0) {
        disturbances--;
        assert_string_equal(
            lua_session_eval(&rival, "box.space.s:update(1, {{'+', 2, 100}})[2] > 0"), "[true]");
    }
    return 0;
}

/* Of the runtime that the tests call; who disturbs, and who looks, has no limit. */
static void limit_time(uint64_t time_max_ms)
{
    lua_runtime_delete(fixture.runtime);
    struct lua_runtime_options options = {.worker = fixture.worker,
                                          .watchdog = fixture.watchdog,
                                          .time_max_ms = time_max_ms,
                                          .callbacks = {.info = disturb}};
    assert_int_equal(lua_runtime_new(&options, &fixture.runtime), 0);
}

static int set_up(void **state)
{
    (void)state;
    lua_fixture_create(&fixture, false, 0, 0);
    limit_time(0);
    lua_fixture_do(&fixture, "box.schema.space.create('s'):create_index('pk') "
                             "box.schema.space.create('log'):create_index('pk') "
                             "box.space.s:insert{1, 10}");
    lua_fixture_do(
        &fixture,
        "box.schema.func.create('work', {body = [[function(fail)\n"
        "  local function note(text) box.space.log:insert{box.space.log:count(), text} end\n"
        "  box.on_commit(function() note('commit') end)\n"
        "  box.on_rollback(function() note('rollback') end)\n"
        "  box.on_commit(function() note('second') end)\n"
        "  local n = box.space.s:get(1)[2]\n"
        "  local _ = box.info.x\n"
        "  box.space.s:replace{1, n + 1}\n"
        "  if fail == 'error' then error('no') end\n"
        "  while fail == 'time' do end\n"
        "  return n + 1 end]]})");
    lua_session_open(&rival, &fixture);
    disturbances = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lua_session_close(&rival);
    lua_fixture_destroy(&fixture);
    return 0;
}

#define LOG \
    "local t = {} for _, row in box.space.log:pairs() do t[#t + 1] = row[2] end return unpack(t)"

static void functions_for_the_end_of_a_call_run_after_its_commit(void **state)
{
    (void)state;
    assert_call(&fixture, "work", "[]", "[11]");
    assert_eval(&fixture, LOG, "[\"commit\",\"second\"]");
}

static void they_run_after_its_rollback_and_leave_its_error_alone(void **state)
{
    (void)state;
    assert_call(&fixture, "work", "[\"error\"]", "ERROR_LUA work:9: no");
    assert_eval(&fixture, LOG, "[\"rollback\"]");
    assert_eval(&fixture, "box.space.s:get(1)[2]", "[10]");
}

static void a_call_that_loses_runs_them_before_it_is_run_again(void **state)
{
    (void)state;
    disturbances = 2;
    assert_call(&fixture, "work", "[]", "[211]");
    assert_eval(&fixture, LOG, "[\"rollback\",\"rollback\",\"commit\",\"second\"]");
}

/* Of a limit that counts time, not work, a busy machine may leave nothing to the call, or to what runs
 * after it: until both have had some. */
static void they_run_when_the_time_of_the_call_was_over(void **state)
{
    (void)state;
    uint64_t until_ns = clock_monotonic_ns(clock_system()) + UINT64_C(60000000000);
    const char *log;
    limit_time(200);
    do {
        assert_string_equal(lua_session_eval(&rival, "for _, t in box.space.log:pairs() do "
                                                     "box.space.log:delete(t[1]) end return nil"),
                            "[null]");
        assert_begins(lua_fixture_call(&fixture, "work", "[\"time\"]"), "ERROR_TIMEOUT ");
        log = lua_session_eval(&rival, LOG);
    } while (strcmp(log, "[\"rollback\"]") != 0 && clock_monotonic_ns(clock_system()) < until_ns);
    assert_string_equal(log, "[\"rollback\"]");
}

/* The limit comes while hooks are called for lines: what it sets is not lost in what they set. On a busy machine it may
 * come before the code has had its first turn: then that is there still, and has to go. */
static void the_time_of_code_that_runs_line_by_line_is_over_each_time(void **state)
{
    (void)state;
    uint64_t since_ns = clock_monotonic_ns(clock_system());
    limit_time(20);
    for (int i = 0; i < 100;) {
        const char *ended = lua_fixture_eval(&fixture, "return box.debug.start([[local n = 0\n"
                                                       "while true do pcall(function()\n"
                                                       "while true do\n"
                                                       "n = n + 1\n"
                                                       "end end) end]],\n"
                                                       "{breakpoints = {{'eval', 9}}})");
        uint64_t now_ns = clock_monotonic_ns(clock_system());
        if (strstr(ended, "time limit exceeded") != NULL) {
            since_ns = now_ns;
            i++;
        } else if (strstr(ended, "something runs here already") != NULL &&
                   now_ns - since_ns < UINT64_C(60000000000)) {
            lua_fixture_eval(&fixture, "box.debug.quit()");
        } else {
            fail_msg("%s", ended);
        }
    }
}

static void text_that_leaves_its_transaction_open_runs_them(void **state)
{
    (void)state;
    assert_begins(lua_fixture_eval(&fixture,
                                   "box.begin() ended = nil "
                                   "box.on_rollback(function() ended = 'rolled back' end)"),
                  "ERROR_INVALID ");
    assert_eval(&fixture, "ended", "[\"rolled back\"]");
    assert_begins(lua_fixture_eval(&fixture,
                                   "box.begin() ended = nil "
                                   "box.on_rollback(function() ended = true end) error('no')"),
                  "ERROR_LUA eval:1: no");
    assert_eval(&fixture, "ended", "[true]");
    assert_eval(&fixture, "box.begin() box.commit() return ended", "[true]");
}

static void what_they_leave_open_is_rolled_back(void **state)
{
    (void)state;
    lua_fixture_do(&fixture,
                   "box.schema.func.create('careless', {body = [[function()\n"
                   "  box.on_commit(function() box.begin() box.space.s:insert{2, 2} end)\n"
                   "  return 1 end]]})");
    assert_call(&fixture, "careless", "[]", "[1]");
    assert_eval(&fixture, "box.is_in_txn(), box.space.s:get(2)", "[false,null]");
}

/* Of a reply only integers are noted. */
static int64_t replied;
static void reply_integer(struct redis_sink *sink, int64_t value)
{
    (void)sink;
    replied = value;
}

static void the_reply_of_a_script_is_not_touched_by_them(void **state)
{
    (void)state;
    static const struct redis_sink_vtab vtab = {.integer = reply_integer};
    struct redis_sink sink = {.vtab = &vtab};
    static const char script[] = "box.on_commit(function() redis.call('incrby', 'n', 100) end) "
                                 "return redis.call('incr', 'n')";
    struct lua_redis_eval eval = {.script = script, .script_size = sizeof script - 1};
    replied = 0;
    assert_int_equal(lua_runtime_redis_eval(fixture.runtime, &eval, &sink, &fixture.reply_ts), 0);
    assert_int_equal(replied, 1);
    assert_eval(&fixture, "redis.call('get', 'n')", "[\"101\"]");
}

/* In a request, and in a fiber that it has begun. */
static void rows_that_are_ingested_beyond_the_time_leave_the_space_free(void **state)
{
    (void)state;
    static const char in_a_fiber[] =
        "local fiber = require('fiber') local f = fiber.create(function() "
        "box.space.rows:ingest(function() while true do end end) end) return f:status()";
    static const char *const texts[] = {
        "box.space.rows:ingest(function() while true do end end)",
        in_a_fiber,
        "pcall(function() box.space.rows:ingest(function() while true do end end) end)",
    };
    lua_fixture_do_patiently(
        &fixture, "box.schema.space.create('rows', {engine = 'lsm'}):create_index('pk')");
    limit_time(50);
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        lua_fixture_eval(&fixture, texts[i]);
        lua_fixture_do_patiently(&fixture, "assert(box.space.rows:ingest{{1}, {2}} == 2)");
    }
    lua_fixture_do_patiently(&fixture, "box.space.rows:drop()");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(functions_for_the_end_of_a_call_run_after_its_commit),
        TEST(they_run_after_its_rollback_and_leave_its_error_alone),
        TEST(a_call_that_loses_runs_them_before_it_is_run_again),
        TEST(they_run_when_the_time_of_the_call_was_over),
        TEST(the_time_of_code_that_runs_line_by_line_is_over_each_time),
        TEST(text_that_leaves_its_transaction_open_runs_them),
        TEST(what_they_leave_open_is_rolled_back),
        TEST(the_reply_of_a_script_is_not_touched_by_them),
        TEST(rows_that_are_ingested_beyond_the_time_leave_the_space_free),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
