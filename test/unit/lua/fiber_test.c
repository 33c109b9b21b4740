/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fibers: text that waits on a thread of its own, requests that sleep while others run, fibers in the
 * background, what they wait for each other by, locks, limits and their end.
 *
 * The thread of `fixture` has nothing else to do, so its text waits in place. `client` is a runtime
 * of a worker: its requests end with ERROR_WAIT and go on in lua_runtime_run.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "lua/lua_session.h"

static struct lua_fixture fixture;
static struct lua_session holder;

static int set_up(void **state)
{
    (void)state;
    lua_fixture_create(&fixture, false, 0, 0);
    lua_fixture_do(&fixture, "fiber = require('fiber')");
    lua_fixture_do(&fixture, "local s = box.schema.space.create('s') s:create_index('pk') "
                             "for n = 1, 4 do s:insert{n, 10} end");
    lua_session_open(&holder, &fixture);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lua_session_close(&holder);
    lua_fixture_destroy(&fixture);
    return 0;
}

/* ------------------------------------------------------------------------------- requests */

struct request {
    struct lua_fiber *fiber;
    struct lock_owner *owner;
    struct mp_buffer result;
    uint64_t reply_ts;
    unsigned woken;
    char text[4096];
};

static void on_wake(void *arg)
{
    ((struct request *)arg)->woken++;
}

/* Evaluates text as a worker does: its result, or "ERROR_WAIT .." when it sleeps. */
static const char *begin(struct request *request, const char *text)
{
    *request = (struct request){.woken = 0};
    mp_buffer_create(&request->result);
    struct lua_request how = {
        .latest = true, .may_wait = true, .waiting = &request->owner, .fiber = &request->fiber};
    int code = lua_runtime_eval(fixture.runtime, &how, text, strlen(text), NULL, &request->result,
                                &request->reply_ts);
    if (request->fiber != NULL)
        lua_fiber_wake_set(request->fiber, on_wake, request);
    return lua_fixture_show(&request->result, code, request->text, sizeof request->text);
}

static const char *take(struct request *request)
{
    int code = lua_fiber_take(request->fiber, &request->result, &request->reply_ts);
    return lua_fixture_show(&request->result, code, request->text, sizeof request->text);
}

static void end(struct request *request)
{
    lock_owner_delete(request->owner);
    mp_buffer_destroy(&request->result);
}

/* Gives the fibers their turns until the request has ended. */
static const char *finish(struct request *request)
{
    while (request->woken == 0)
        lua_runtime_run(fixture.runtime);
    return take(request);
}

static void a_request_that_sleeps_lets_others_run_and_goes_on(void **state)
{
    (void)state;
    struct request first, second;
    assert_begins(begin(&first, "local n = ... fiber.yield() went_on = true return 'first'"),
                  "ERROR_WAIT ");
    assert_non_null(first.fiber);
    assert_string_equal(begin(&second, "went_on == nil"), "[true]");
    assert_null(second.fiber);
    assert_begins(take(&first), "ERROR_WAIT ");
    assert_string_equal(finish(&first), "[\"first\"]");
    assert_int_equal(first.woken, 1);
    assert_eval(&fixture, "went_on", "[true]");
    end(&first);
    end(&second);
}

static void a_procedure_that_is_no_transaction_sleeps(void **state)
{
    (void)state;
    struct request request = {.woken = 0};
    lua_fixture_do(&fixture,
                   "box.schema.func.create('slow', {transaction = false, body = [[function(n)\n"
                   "  local fiber = require('fiber')\n"
                   "  fiber.sleep(0.001)\n"
                   "  box.space.s:update(1, {{'+', 2, n}})\n"
                   "  if n == 0 then error('nothing to add') end\n"
                   "  return box.space.s:get(1)[2] end]]})");
    const char one[] = {(char)0x91, 5}, zero[] = {(char)0x91, 0};
    const char *const args[] = {one, zero};
    const char *const expected[] = {"[15]", "ERROR_LUA slow:5: nothing to add"};
    for (int i = 0; i < 2; i++) {
        request = (struct request){.woken = 0};
        mp_buffer_create(&request.result);
        struct lua_request how = {
            .latest = true, .may_wait = true, .waiting = &request.owner, .fiber = &request.fiber};
        assert_int_equal(lua_runtime_call(fixture.runtime, &how, "slow", 4, args[i],
                                          &request.result, &request.reply_ts),
                         ERROR_WAIT);
        lua_fiber_wake_set(request.fiber, on_wake, &request);
        assert_string_equal(finish(&request), expected[i]);
        assert_true(request.reply_ts > 0);
        end(&request);
    }
}

static void errors_and_results_after_a_sleep_are_those_of_the_request(void **state)
{
    (void)state;
    struct request request;
    assert_begins(begin(&request, "fiber.yield() error('later')"), "ERROR_WAIT ");
    assert_string_equal(finish(&request), "ERROR_LUA eval:1: later");
    end(&request);
    assert_begins(begin(&request, "fiber.yield() box.space.s:insert{1, 1}"), "ERROR_WAIT ");
    assert_begins(finish(&request), "ERROR_DUPLICATE ");
    end(&request);
    assert_begins(begin(&request, "fiber.yield() box.begin()"), "ERROR_WAIT ");
    assert_begins(finish(&request), "ERROR_INVALID ");
    end(&request);
    assert_begins(begin(&request, "pcall(fiber.yield) return 1, 'a', fiber.self():id() > 100"),
                  "ERROR_WAIT ");
    assert_string_equal(finish(&request), "[1,\"a\",true]");
    end(&request);
}

static void a_request_that_nobody_asks_for_any_more_is_cancelled(void **state)
{
    (void)state;
    struct request request;
    assert_begins(begin(&request, "ok, err = pcall(fiber.sleep, 1000) "
                                  "again = pcall(fiber.yield)"),
                  "ERROR_WAIT ");
    lua_fiber_abandon(request.fiber);
    while (lua_runtime_has_fibers(fixture.runtime))
        lua_runtime_run(fixture.runtime);
    assert_int_equal(request.woken, 0);
    assert_eval(&fixture, "ok, tostring(err), again", "[false,\"fiber is cancelled\",false]");
    end(&request);
}

static void each_request_has_its_own_state_while_they_take_turns(void **state)
{
    (void)state;
    struct request first, second;
    assert_begins(begin(&first, "box.space.s:replace{1, 11} fiber.yield() "
                                "box.begin() box.space.s:update(1, {{'+', 2, 1}}) box.commit() "
                                "fiber.yield() return box.space.s:get(1)[2]"),
                  "ERROR_WAIT ");
    assert_begins(begin(&second, "fiber.yield() box.atomic(function() "
                                 "box.space.s:update(2, {{'+', 2, 5}}) end) fiber.yield() "
                                 "return box.is_in_txn(), box.space.s:get(2)[2]"),
                  "ERROR_WAIT ");
    assert_string_equal(finish(&first), "[12]");
    assert_string_equal(finish(&second), "[false,15]");
    assert_true(first.reply_ts > 0);
    assert_true(second.reply_ts > 0);
    end(&first);
    end(&second);
}

/* ---------------------------------------------------------------------------- transactions */

#define NO_YIELD "eval:1: a transaction does not yield: commit before fiber.sleep"

static void a_transaction_does_not_yield_and_stays_as_it_is(void **state)
{
    (void)state;
    struct request request;
    assert_begins(begin(&request, "box.begin() box.space.s:replace{1, 1} fiber.sleep(1)"),
                  "ERROR_INVALID " NO_YIELD);
    end(&request);
    assert_string_equal(begin(&request,
                              "box.begin() box.space.s:replace{1, 77} "
                              "local ok, err = pcall(fiber.yield) "
                              "local c = fiber.cond() local ok2 = pcall(c.wait, c, 1) "
                              "local ch = fiber.channel() local ok3 = pcall(ch.put, ch, 1) "
                              "box.commit() return ok, err.code, ok2, ok3, box.space.s:get(1)[2]"),
                        "[false,-4,false,false,77]");
    end(&request);
    assert_begins(begin(&request, "box.atomic(fiber.sleep, 1)"), "ERROR_INVALID " NO_YIELD);
    end(&request);
    lua_fixture_do(&fixture, "box.schema.func.create('sleeper', {body = [[function()\n"
                             "  require('fiber').sleep(0) end]]})");
    const char *const expected = "ERROR_INVALID sleeper:2: a transaction does not yield";
    assert_begins(lua_fixture_call(&fixture, "sleeper", "[]"), expected);
    assert_begins(begin(&request, "box.func.sleeper()"), expected);
    end(&request);
}

static void a_fiber_made_in_a_transaction_begins_when_that_has_ended(void **state)
{
    (void)state;
    assert_eval(
        &fixture,
        "box.begin() box.space.s:replace{1, 5} "
        "local ch = fiber.channel(1) "
        "fiber.create(function() ch:put(box.is_in_txn() and -1 or box.space.s:get(2)[2]) end) "
        "local before = ch:count() box.commit() return before, ch:get()",
        "[0,10]");
}

static void c_code_between_a_fiber_and_its_wait_is_an_error(void **state)
{
    (void)state;
    struct request request;
    assert_begins(begin(&request, "local order = {__lt = function() fiber.yield() end} "
                                  "table.sort({setmetatable({}, order), setmetatable({}, order)})"),
                  "ERROR_INVALID eval:1: a function that C has called");
    end(&request);
}

/* ------------------------------------------------------------------------------ the module */

static void a_new_fiber_runs_at_once_until_it_waits(void **state)
{
    (void)state;
    assert_eval(&fixture,
                "local log = {} "
                "local f = fiber.create(function(a) log[#log + 1] = a fiber.yield() "
                "  log[#log + 1] = 'c' end, 'a') "
                "log[#log + 1] = 'b' local g = fiber.new(function() log[#log + 1] = 'd' end) "
                "log[#log + 1] = f:status() fiber.yield() fiber.yield() "
                "return table.concat(log, ' '), f:status(), g:status()",
                "[\"a b suspended c d\",\"dead\",\"dead\"]");
}

static void a_joined_fiber_gives_its_results_or_its_error(void **state)
{
    (void)state;
    assert_eval(&fixture,
                "local f = fiber.new(function(...) fiber.sleep(0.001) return ... end, 1, nil, 3) "
                "f:set_joinable(true) return select('#', f:join()), pcall(f.join, f)",
                "[4,false,\"the fiber is not joinable\"]");
    assert_eval(&fixture, "local f = fiber.new(error, 'no') f:set_joinable(true) return f:join()",
                "[false,\"no\"]");
    assert_eval(&fixture,
                "local f = fiber.new(fiber.sleep, 1000) f:set_joinable(true) "
                "local ok, err = f:join(0.001) f:cancel() local ok2, err2 = f:join() "
                "return ok, tostring(err), ok2, tostring(err2)",
                "[false,\"timed out\",false,\"fiber is cancelled\"]");
}

static void a_condition_wakes_one_or_all_or_gives_up(void **state)
{
    (void)state;
    assert_eval(&fixture,
                "local c, log = fiber.cond(), {} "
                "for n = 1, 3 do fiber.create(function() c:wait() log[#log + 1] = n end) end "
                "c:signal() fiber.yield() fiber.yield() local one = #log "
                "c:broadcast() fiber.yield() fiber.yield() "
                "return one, table.concat(log, ','), c:wait(0.001)",
                "[1,\"1,2,3\",false]");
}

static void a_channel_hands_values_over_in_order(void **state)
{
    (void)state;
    assert_eval(&fixture,
                "local ch, got = fiber.channel(), {} "
                "fiber.create(function() for n = 1, 5 do ch:put(n) end ch:close() end) "
                "while true do local v = ch:get() if not v then break end got[#got + 1] = v end "
                "return table.concat(got, ','), ch:is_closed(), ch:put(1)",
                "[\"1,2,3,4,5\",true,false]");
    assert_eval(
        &fixture,
        "local ch = fiber.channel(2) local r = {ch:is_empty(), ch:put('a'), ch:put('b'), "
        "ch:is_full(), ch:put('c', 0), ch:count(), ch:get(), ch:get(), ch:get(0.001) == nil, "
        "ch:has_readers(), ch:has_writers()} return r",
        "[[true,true,true,true,false,2,\"a\",\"b\",true,false,false]]");
    assert_eval(&fixture,
                "local ch = fiber.channel(1) ch:put(1) "
                "local f = fiber.create(function() return ch:put(2) end) "
                "local waits = ch:has_writers() local first = ch:get() "
                "return waits, first, ch:get(), ch:has_writers()",
                "[true,1,2,false]");
}

static void a_fiber_has_a_name_a_number_and_storage_of_its_own(void **state)
{
    (void)state;
    assert_eval(&fixture,
                "local seen local f = fiber.create(function() fiber.name('worker') "
                "fiber.self().storage.x = 1 fiber.sleep(1000) end) "
                "seen = {f:name(), f.storage.x, fiber.find(f:id()) == f, "
                "fiber.info()[f:id()].name, fiber.info()[f:id()].status} f:wakeup() fiber.yield() "
                "fiber.yield() return seen, f:status(), pcall(rawset, f, 'x', 1)",
                "[[\"worker\",1,true,\"worker\",\"suspended\"],\"dead\",false,"
                "\"this object is read-only\"]");
}

static void coroutines_inside_of_a_fiber_wait_with_it(void **state)
{
    (void)state;
    struct request request;
    assert_begins(begin(&request,
                        "local co = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) "
                        "fiber.sleep(0.001) coroutine.yield(b * 2) end) "
                        "return co(1), co(10), coroutine.running() == nil"),
                  "ERROR_WAIT ");
    assert_string_equal(finish(&request), "[2,20,true]");
    end(&request);
    assert_begins(begin(&request, "co = coroutine.create(fiber.sleep) "
                                  "return coroutine.resume(co, 0.001)"),
                  "ERROR_WAIT ");
    assert_eval(&fixture, "coroutine.resume(co)",
                "[false,\"cannot resume a coroutine that waits in a fiber\"]");
    assert_string_equal(finish(&request), "[true]");
    end(&request);
    assert_begins(begin(&request, "coroutine.yield(1)"), "ERROR_LUA attempt to yield");
    end(&request);
}

/* ------------------------------------------------------------------------------- background */

static void a_fiber_lives_on_after_its_request(void **state)
{
    (void)state;
    struct request request;
    assert_string_equal(begin(&request,
                              "done = nil fiber.create(function() fiber.yield() "
                              "box.space.s:update(3, {{'+', 2, 1}}) "
                              "box.atomic(function() box.space.s:update(4, {{'+', 2, 1}}) "
                              "end) done = true end) return 1"),
                        "[1]");
    end(&request);
    while (lua_runtime_has_fibers(fixture.runtime))
        lua_runtime_run(fixture.runtime);
    assert_eval(&fixture, "done, box.space.s:get(3)[2], box.space.s:get(4)[2]", "[true,11,11]");
}

static void a_worker_begins_with_fibers_of_its_own(void **state)
{
    (void)state;
    const char text[] = "require('fiber').yield() box.space.s:update(4, {{'=', 2, 'begun'}})",
               wrong[] = "end";
    assert_int_equal(lua_runtime_background(fixture.runtime, text, sizeof text - 1, ACCESS_ADMIN),
                     0);
    assert_int_equal(lua_runtime_background(fixture.runtime, wrong, sizeof wrong - 1, ACCESS_ADMIN),
                     ERROR_LUA);
    while (lua_runtime_has_fibers(fixture.runtime))
        lua_runtime_run(fixture.runtime);
    assert_eval(&fixture, "box.space.s:get(4)[2]", "[\"begun\"]");
}

static void an_error_in_the_background_harms_nobody(void **state)
{
    (void)state;
    assert_eval(
        &fixture,
        "local f = fiber.create(function() fiber.yield() box.begin() "
        "box.space.s:replace{1, 99} error('lost') end) "
        "fiber.yield() fiber.yield() return f:status(), box.space.s:get(1)[2], box.is_in_txn()",
        "[\"dead\",10,false]");
}

static void a_runtime_that_ends_cancels_its_fibers(void **state)
{
    (void)state;
    struct request request;
    assert_string_equal(begin(&request,
                              "for n = 1, 3 do fiber.create(function() "
                              "pcall(fiber.sleep, 1000) box.space.s:update(n, {{'=', 2, 'ended'}}) "
                              "end) end fiber.create(function() "
                              "while true do pcall(fiber.sleep, 1000) end end) return 1"),
                        "[1]");
    end(&request);
    lua_session_close(&holder);
    lua_fixture_restart(&fixture);
    lua_session_open(&holder, &fixture);
    assert_eval(&fixture, "box.space.s:get(1)[2], box.space.s:get(2)[2], box.space.s:get(3)[2]",
                "[\"ended\",\"ended\",\"ended\"]");
}

/* ------------------------------------------------------------------------------------ locks */

static void hold(const char *text)
{
    lua_session_begin(&holder, TXN_SERIALIZABLE);
    assert_string_equal(lua_session_eval(&holder, text), "[null]");
}

static void run_some(void)
{
    for (int n = 0; n < 10; n++)
        lua_runtime_run(fixture.runtime);
}

static void a_fiber_waits_for_a_lock_and_its_worker_does_not(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "fiber.yield() box.space.s:update(1, {{'+', 2, 1}}) return box.space.s:get(1)[2]",
        "fiber.yield() box.begin({isolation = 'read-committed'}) box.space.s:update(2, {{'+', 2, "
        "1}})"
        " box.space.s:get(1, {lock = 'exclusive'}) box.space.s:update(1, {{'+', 2, 1}}) "
        "local t = box.space.s:get(1)[2] box.commit() return t",
        "fiber.yield() return box.atomic({retry = 3}, function() "
        "box.space.s:get(1, {lock = 'exclusive'}) "
        "return box.space.s:update(1, {{'+', 2, 1}})[2] end)",
        ("fiber.yield() box.begin({isolation = 'read-committed'}) "
         "local t = box.space.s:select(1, {lock = 'exclusive'}) box.commit() return t[1][2] + #t"),
    };
    for (size_t n = 0; n < sizeof texts / sizeof *texts; n++) {
        struct request request, other;
        hold("box.space.s:get(1, {lock = 'exclusive'}) box.space.s:replace{1, 20} return nil");
        assert_begins(begin(&request, texts[n]), "ERROR_WAIT ");
        run_some();
        assert_int_equal(request.woken, 0);
        assert_string_equal(
            begin(&other, "box.is_in_txn(), box.space.s:get(3)[2], "
                          "box.atomic(function() box.on_commit(function() end) return 7 end)"),
            "[false,10,7]");
        end(&other);
        assert_string_equal(lua_session_commit(&holder), "OK");
        assert_string_equal(finish(&request), "[21]");
        end(&request);
    }
    assert_eval(&fixture, "box.stat.locks().held, box.stat.locks().waiting", "[0,0]");
}

struct other {
    pthread_t thread;
    _Atomic int holds, go;
};

/* Another worker: takes the locks, and commits when it is told to. */
static void *hold_and_commit(void *arg)
{
    struct other *other = arg;
    struct lua_session session;
    lua_session_open(&session, &fixture);
    lua_session_begin(&session, TXN_SERIALIZABLE);
    lua_session_eval(&session, "box.space.s:get(1, {lock = 'exclusive'}) "
                               "box.space.s:get(2, {lock = 'exclusive'}) return nil");
    atomic_store(&other->holds, 1);
    while (!atomic_load(&other->go))
        sched_yield();
    lua_session_commit(&session);
    lua_session_close(&session);
    return NULL;
}

static void another_thread_wakes_the_loop_of_a_fiber(void **state)
{
    (void)state;
    struct other other = {.holds = 0};
    struct request first, second;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(lua_runtime_loop_set(fixture.runtime, &loop), 0);
    assert_int_equal(pthread_create(&other.thread, NULL, hold_and_commit, &other), 0);
    while (!atomic_load(&other.holds))
        sched_yield();
    begin(&first, "fiber.yield() box.space.s:update(1, {{'+', 2, 1}}) return 'first'");
    begin(&second, "fiber.yield() box.atomic({retry = 9}, function() "
                   "box.space.s:get(2, {lock = 'exclusive'}) "
                   "box.space.s:update(2, {{'+', 2, 1}}) end) return 'second'");
    run_some();
    atomic_store(&other.go, 1);
    while (first.woken + second.woken < 2) {
        uv_run(&loop, UV_RUN_ONCE);
        lua_runtime_run(fixture.runtime);
    }
    assert_string_equal(take(&first), "[\"first\"]");
    assert_string_equal(take(&second), "[\"second\"]");
    pthread_join(other.thread, NULL);
    end(&first);
    end(&second);
    lua_session_close(&holder);
    lua_fixture_restart(&fixture); /* the runtime goes, and then its loop */
    lua_session_open(&holder, &fixture);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_redis_command_waits_for_a_lock_in_a_fiber(void **state)
{
    (void)state;
    struct request request;
    lua_fixture_do(&fixture, "redis.call('set', 'k', 1)");
    hold("redis.call('incr', 'k') return nil");
    assert_begins(begin(&request, "fiber.yield() return redis.call('incr', 'k')"), "ERROR_WAIT ");
    run_some();
    assert_int_equal(request.woken, 0);
    assert_string_equal(lua_session_commit(&holder), "OK");
    assert_string_equal(finish(&request), "[3]");
    end(&request);
}

static void a_cancelled_fiber_waits_for_no_lock(void **state)
{
    (void)state;
    struct request request;
    hold("box.space.s:get(1, {lock = 'exclusive'}) return nil");
    assert_begins(begin(&request, "fiber.yield() ok, err = pcall(box.atomic, function() "
                                  "box.space.s:replace{2, 2} box.space.s:replace{1, 1} end)"),
                  "ERROR_WAIT ");
    run_some();
    lua_fiber_abandon(request.fiber);
    while (lua_runtime_has_fibers(fixture.runtime))
        lua_runtime_run(fixture.runtime);
    assert_eval(&fixture, "ok, tostring(err), box.space.s:get(2)[2], box.stat.locks().waiting",
                "[false,\"fiber is cancelled\",10,0]");
    end(&request);
    lua_session_rollback(&holder);
}

/* ----------------------------------------------------------------------------------- limits */

static void there_are_only_so_many_fibers(void **state)
{
    (void)state;
    assert_eval(
        &fixture,
        "local n, ok, err = 0 repeat ok, err = pcall(fiber.new, fiber.sleep, 0) "
        "n = n + 1 until not ok or n > 20000 "
        "local count, text = n, tostring(err) while next(fiber.info()) do fiber.yield() end "
        "return count, text, (pcall(fiber.create, fiber.yield))",
        "[10001,\"too many fibers: a worker has at most 10000\",true]");
}

static int set_up_limited(void **state)
{
    (void)state;
    lua_fixture_create(&fixture, false, 50, 0);
    assert_begins_at_last(lua_fixture_eval(&fixture, "fiber = require('fiber')"), "[]");
    return 0;
}

static int tear_down_limited(void **state)
{
    (void)state;
    lua_fixture_destroy(&fixture);
    return 0;
}

/* What comes of text that does not sleep. */
static const char *awake(const char *text)
{
    static struct request request;
    const char *result = begin(&request, text);
    assert_null(request.fiber);
    end(&request);
    return result;
}

/* What comes of text that sleeps, unless its time is over before that. */
static const char *slept(const char *text)
{
    static struct request request;
    const char *result = begin(&request, text);
    if (request.fiber != NULL)
        result = finish(&request);
    else
        assert_begins(result, "ERROR_TIMEOUT ");
    end(&request);
    return result;
}

static void running_counts_and_sleeping_does_not(void **state)
{
    (void)state;
    assert_begins_at_last(slept("for n = 1, 4 do fiber.sleep(0.03) end return 'rested'"),
                          "[\"rested\"]");
    assert_begins(slept("while true do pcall(fiber.yield) end"), "ERROR_TIMEOUT ");
    assert_begins(slept("fiber.yield() while true do pcall(function() while true do end end) end"),
                  "ERROR_TIMEOUT ");
    assert_begins_at_last(lua_fixture_eval(&fixture, "1"), "[1]");
}

static void a_runaway_in_the_background_is_stopped(void **state)
{
    (void)state;
    assert_begins_at_last(awake("f = fiber.new(function() while true do end end) return 1"), "[1]");
    while (lua_runtime_has_fibers(fixture.runtime))
        lua_runtime_run(fixture.runtime);
    assert_begins_at_last(lua_fixture_eval(&fixture, "f:status()"), "[\"dead\"]");
    assert_begins(awake("while true do fiber.create(function() while true do end end) end"),
                  "ERROR_TIMEOUT ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name)         cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_LIMITED(name) cmocka_unit_test_setup_teardown(name, set_up_limited, tear_down_limited)
        TEST(a_request_that_sleeps_lets_others_run_and_goes_on),
        TEST(a_procedure_that_is_no_transaction_sleeps),
        TEST(errors_and_results_after_a_sleep_are_those_of_the_request),
        TEST(a_request_that_nobody_asks_for_any_more_is_cancelled),
        TEST(each_request_has_its_own_state_while_they_take_turns),
        TEST(a_transaction_does_not_yield_and_stays_as_it_is),
        TEST(a_fiber_made_in_a_transaction_begins_when_that_has_ended),
        TEST(c_code_between_a_fiber_and_its_wait_is_an_error),
        TEST(a_new_fiber_runs_at_once_until_it_waits),
        TEST(a_joined_fiber_gives_its_results_or_its_error),
        TEST(a_condition_wakes_one_or_all_or_gives_up),
        TEST(a_channel_hands_values_over_in_order),
        TEST(a_fiber_has_a_name_a_number_and_storage_of_its_own),
        TEST(coroutines_inside_of_a_fiber_wait_with_it),
        TEST(a_fiber_lives_on_after_its_request),
        TEST(a_worker_begins_with_fibers_of_its_own),
        TEST(an_error_in_the_background_harms_nobody),
        TEST(a_runtime_that_ends_cancels_its_fibers),
        TEST(a_fiber_waits_for_a_lock_and_its_worker_does_not),
        TEST(another_thread_wakes_the_loop_of_a_fiber),
        TEST(a_redis_command_waits_for_a_lock_in_a_fiber),
        TEST(a_cancelled_fiber_waits_for_no_lock),
        TEST(there_are_only_so_many_fibers),
        TEST_LIMITED(running_counts_and_sleeping_does_not),
        TEST_LIMITED(a_runaway_in_the_background_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
