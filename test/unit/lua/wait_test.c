/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that meet locks of others: they end with ERROR_WAIT and are run again, or their thread
 * sleeps; and deadlocks.
 *
 * `holder` keeps locks in an interactive transaction, which is parked; the others meet them.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "lua/lua_session.h"

static struct lua_fixture fixture;
static struct lua_session holder, waiter;

static int set_up(void **state)
{
    (void)state;
    lua_fixture_create(&fixture, false, 0, 0);
    lua_fixture_do(&fixture, "local s = box.schema.space.create('s') s:create_index('pk') "
                             "for n = 1, 4 do s:insert{n, 10} end");
    lua_fixture_do(&fixture, "box.schema.func.create('add', {body = [[function(n, more)\n"
                             "  local s = box.space.s\n"
                             "  local t = s:get(n, {lock = 'exclusive'})\n"
                             "  s:replace{n, t[2] + 1}\n"
                             "  if more then s:get(more, {lock = 'exclusive'}) end\n"
                             "  return t[2] + 1 end]]})\n"
                             "box.schema.func.create('stubborn', {body = [[function(n)\n"
                             "  local s = box.space.s\n"
                             "  local ok, err = pcall(s.get, s, n, {lock = 'exclusive'})\n"
                             "  pcall(s.replace, s, {4, 'went on'})\n"
                             "  return ok end]]})");
    lua_session_open(&holder, &fixture);
    lua_session_open(&waiter, &fixture);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    lua_session_close(&holder);
    lua_session_close(&waiter);
    lua_fixture_destroy(&fixture);
    return 0;
}

#define assert_holder(text, expected) assert_string_equal(lua_session_eval(&holder, text), expected)
#define assert_waiter(text, expected) assert_string_equal(lua_session_eval(&waiter, text), expected)

static void hold(const char *text)
{
    lua_session_begin(&holder, TXN_SERIALIZABLE);
    assert_string_equal(lua_session_eval(&holder, text), "[null]");
}

#define HOLD_1 "box.space.s:get(1, {lock = 'exclusive'}) return nil"
#define HOLD_2 "box.space.s:get(2, {lock = 'exclusive'}) return nil"

/* ------------------------------------------------------------------------ giving the thread back */

static void a_procedure_ends_with_wait_and_is_run_again_with_its_owner(void **state)
{
    (void)state;
    hold(HOLD_1);
    assert_begins(lua_session_call(&waiter, "add", "[1]"), "ERROR_WAIT ");
    assert_int_equal(lock_wait_state(waiter.waiting), LOCK_WAIT_QUEUED);
    assert_holder("box.space.s:replace{1, 20} return nil", "[null]");
    assert_int_equal(lock_wait_state(waiter.waiting), LOCK_WAIT_QUEUED);
    assert_string_equal(lua_session_commit(&holder), "OK");
    assert_int_equal(lock_wait_state(waiter.waiting), LOCK_WAIT_GRANTED);
    assert_string_equal(lua_session_call(&waiter, "add", "[1]"), "[21]");
    assert_holder("box.space.s:get(1)[2], box.stat.locks().held, box.stat.locks().waiting",
                  "[21,0,0]");
}

static void locks_are_kept_while_a_request_waits(void **state)
{
    (void)state;
    hold(HOLD_2);
    assert_begins(lua_session_call(&waiter, "add", "[1, 2]"), "ERROR_WAIT ");
    assert_holder("box.space.s:get(1)[2]", "[10]");
    assert_begins(lua_session_eval(&holder, "box.space.s:get(3, {lock = 'shared'})[2]"), "[10]");
    lua_session_rollback(&holder);
    lua_session_begin(&holder, TXN_SERIALIZABLE);
    assert_begins(lua_session_eval(&holder, HOLD_1), "ERROR_WAIT ");
    assert_string_equal(lua_session_call(&waiter, "add", "[1, 2]"), "[11]");
    assert_int_equal(lock_wait_state(holder.waiting), LOCK_WAIT_GRANTED);
}

/* Else they pass it round for ever: each is run again when it gets the lock, gives it back while it
 * reads, and waits for it again. */
static void what_is_read_before_does_not_give_back_the_lock_that_was_waited_for(void **state)
{
    (void)state;
    static const char text[] = "local s = box.space.s s:get(1) s:count() "
                               "return box.atomic(function() "
                               "local t = s:get(1, {lock = 'exclusive'}) "
                               "s:replace{1, t[2] + 1} return t[2] + 1 end)";
    hold(HOLD_1);
    assert_begins(lua_session_eval(&waiter, text), "ERROR_WAIT ");
    lua_session_rollback(&holder);
    lua_session_begin(&holder, TXN_SERIALIZABLE);
    assert_begins(lua_session_eval(&holder, HOLD_1), "ERROR_WAIT ");
    assert_waiter(text, "[11]");
    assert_int_equal(lock_wait_state(holder.waiting), LOCK_WAIT_GRANTED);
    assert_string_equal(lua_session_eval(&holder, HOLD_1), "[null]");
    lua_session_rollback(&holder);
}

static void what_runs_at_its_end_can_write_although_it_waits(void **state)
{
    (void)state;
    lua_fixture_do(&fixture, "box.schema.func.create('noting', {body = [[function()\n"
                             "  local s = box.space.s\n"
                             "  box.on_rollback(function() s:update(3, {{'+', 2, 1}}) end)\n"
                             "  box.on_rollback(function() s:update(1, {{'+', 2, 1}}) end)\n"
                             "  s:update(2, {{'+', 2, 1}})\n"
                             "  return 'done' end]]})");
    hold("box.space.s:get(1, {lock = 'exclusive'}) box.space.s:get(2, {lock = 'exclusive'}) "
         "return nil");
    assert_begins(lua_session_call(&waiter, "noting", "[]"), "ERROR_WAIT ");
    assert_int_equal(lock_wait_state(waiter.waiting), LOCK_WAIT_QUEUED);
    lua_session_rollback(&holder);
    assert_string_equal(lua_session_call(&waiter, "noting", "[]"), "[\"done\"]");
    assert_holder("box.space.s:get(1)[2], box.space.s:get(2)[2], box.space.s:get(3)[2], "
                  "box.stat.locks().held, box.stat.locks().waiting",
                  "[10,11,11,0,0]");
}

static void what_pcall_catches_does_not_let_a_procedure_go_on(void **state)
{
    (void)state;
    hold(HOLD_1);
    assert_begins(lua_session_call(&waiter, "stubborn", "[1]"), "ERROR_WAIT ");
    lua_session_rollback(&holder);
    assert_holder("box.space.s:get(4)[2]", "[10]");
    assert_string_equal(lua_session_call(&waiter, "stubborn", "[1]"), "[true]");
    assert_holder("box.space.s:get(4)[2]", "[\"went on\"]");
}

static void returning_to_a_savepoint_does_not_either(void **state)
{
    (void)state;
    static const char text[] = "local s, ok, err = box.space.s "
                               "box.atomic(function() local point = box.savepoint() "
                               "ok = pcall(s.get, s, 1, {lock = 'exclusive'}) "
                               "pcall(box.rollback_to_savepoint, point) pcall(s.replace, s, {4, "
                               "'went on'}) end) return ok";
    hold(HOLD_1);
    assert_begins(lua_session_eval(&waiter, text), "ERROR_WAIT ");
    lua_session_rollback(&holder);
    assert_holder("box.space.s:get(4)[2]", "[10]");
    assert_waiter(text, "[true]");
}

static void writers_without_locks_wait_for_them_too(void **state)
{
    (void)state;
    hold(HOLD_1);
    assert_begins(lua_session_eval(&waiter, "box.space.s:update(1, {{'+', 2, 5}})[2]"),
                  "ERROR_WAIT ");
    assert_string_equal(lua_session_commit(&holder), "OK");
    assert_waiter("box.space.s:update(1, {{'+', 2, 5}})[2]", "[15]");
}

static void text_is_run_again_while_it_has_committed_nothing(void **state)
{
    (void)state;
    static const char text[] = "box.space.s:get(2) box.begin() "
                               "local n = box.space.s:get(1, {lock = 'shared'})[2] "
                               "box.commit() return n";
    hold(HOLD_1);
    assert_begins(lua_session_eval(&waiter, text), "ERROR_WAIT ");
    assert_begins(lua_session_eval(&waiter, text), "ERROR_WAIT ");
    lua_session_rollback(&holder);
    assert_waiter(text, "[10]");
}

static void text_that_swallows_its_errors_waits_all_the_same(void **state)
{
    (void)state;
    static const char text[] =
        "local s = box.space.s "
        "local ok = pcall(box.atomic, s.get, s, 1, {lock = 'exclusive'}) "
        "pcall(s.replace, s, {4, 'went on'}) pcall(box.begin) "
        "pcall(box.schema.space.create, 'went_on') pcall(box.notify, 'went', 'on') return ok";
    hold(HOLD_1);
    assert_begins(lua_session_eval(&waiter, text), "ERROR_WAIT ");
    lua_session_rollback(&holder);
    assert_holder("box.space.s:get(4)[2], box.space.went_on == nil", "[10,true]");
    assert_waiter("box.space.s:get(1)[2]", "[10]");
}

static void text_that_has_committed_something_does_not_wait(void **state)
{
    (void)state;
    hold(HOLD_1);
    const char *result = lua_session_eval(
        &waiter, "box.space.s:insert{5, 50} box.atomic(box.space.s.get, box.space.s, 1, "
                 "{lock = 'exclusive'})");
    assert_begins(result, "ERROR_LOCK_TIMEOUT ");
    assert_non_null(strstr(result, "box.atomic"));
    assert_null(waiter.waiting);
    assert_waiter("box.space.s:get(5)[2], box.stat.locks().waiting", "[50,0]");
    result = lua_session_eval(&waiter, "box.space.s:delete(5) "
                                       "local ok, err = pcall(box.space.s.delete, box.space.s, 1) "
                                       "return err.code == box.error.LOCK_TIMEOUT");
    assert_string_equal(result, "[true]");
}

static void a_statement_of_an_interactive_transaction_waits_by_itself(void **state)
{
    (void)state;
    hold(HOLD_1);
    lua_session_begin(&waiter, TXN_READ_COMMITTED);
    assert_waiter("box.space.s:replace{2, 22} return nil", "[null]");
    assert_begins(lua_session_eval(&waiter, "box.space.s:replace{3, 33} " HOLD_1), "ERROR_WAIT ");
    assert_holder("box.space.s:replace{1, 11} return nil", "[null]");
    assert_string_equal(lua_session_commit(&holder), "OK");
    assert_int_equal(lock_wait_state(waiter.waiting), LOCK_WAIT_GRANTED);
    assert_waiter("box.space.s:get(2)[2], box.space.s:get(3)[2]", "[22,10]");
    assert_waiter("box.space.s:replace{3, 33} "
                  "return box.space.s:get(1, {lock = 'exclusive'})[2]",
                  "[11]");
    assert_string_equal(lua_session_commit(&waiter), "OK");
    assert_holder("box.space.s:get(2)[2], box.space.s:get(3)[2]", "[22,33]");
}

static void a_read_only_request_waits_for_nothing(void **state)
{
    (void)state;
    hold("box.space.s:lock('exclusive') box.space.s:replace{1, 11} return nil");
    assert_waiter("box.space.s:get(1)[2], box.space.s:count()", "[10,4]");
    assert_waiter("box.atomic({readonly = true}, function() return box.space.s:get(1)[2] end)",
                  "[10]");
}

static void a_redis_script_waits_as_a_procedure_does(void **state)
{
    (void)state;
    static const char text[] = "redis.call('incr', 'n')";
    lua_session_begin(&holder, TXN_SERIALIZABLE);
    assert_holder(text, "[1]");
    assert_begins(lua_session_eval(&waiter, text), "ERROR_WAIT ");
    assert_begins(lua_session_eval(&waiter, "redis.pcall('incr', 'n')"), "ERROR_WAIT ");
    assert_string_equal(lua_session_commit(&holder), "OK");
    assert_waiter(text, "[2]");
}

/* -------------------------------------------------------------------------- seeing and deadlocks */

static void who_waits_for_whom_is_shown(void **state)
{
    (void)state;
    holder.request.session_id = 5;
    waiter.request.session_id = 6;
    hold(HOLD_1);
    assert_begins(lua_session_call(&waiter, "add", "[1]"), "ERROR_WAIT ");
    assert_holder("local holder, waiting for _, lock in ipairs(box.stat.locks().locks) do "
                  "if lock.kind == 'row' then "
                  "if lock.granted then holder = lock else waiting = lock end end end "
                  "return holder.space, holder.key, holder.mode, holder.session, waiting.session, "
                  "waiting.mode, #waiting.waits_for, waiting.waits_for[1] == holder.owner, "
                  "waiting.waited >= 0",
                  "[\"s\",[1],\"exclusive\",5,6,\"exclusive\",1,true,true]");
    assert_holder("box.stat().locks_waiting", "[1]");
}

static void the_younger_of_a_deadlock_gives_way(void **state)
{
    (void)state;
    hold(HOLD_1);
    lua_session_begin(&waiter, TXN_SERIALIZABLE);
    assert_waiter(HOLD_2, "[null]");
    assert_begins(lua_session_eval(&holder, HOLD_2), "ERROR_WAIT ");
    assert_begins(lua_session_eval(&waiter, HOLD_1), "ERROR_DEADLOCK ");
    assert_null(waiter.txn);
    assert_int_equal(lock_wait_state(holder.waiting), LOCK_WAIT_GRANTED);
    assert_holder(HOLD_2, "[null]");
    assert_holder("box.stat.locks().deadlocks, box.stat.txn().aborts.deadlock", "[1,1]");
}

/* ------------------------------------------------------------------------------ threads that sleep */

enum { SLEEPER_SESSION = 9 };

struct sleeper {
    const char *text; /* or, when it begins with '(', arguments of the procedure add */
    uint64_t lock_timeout_ms;
    pthread_t thread;
    _Atomic bool done;
    char result[512];
};

static void *sleeper_run(void *arg)
{
    struct sleeper *sleeper = arg;
    struct lua_session session = {.request = {.latest = true, .session_id = SLEEPER_SESSION}};
    assert_int_equal(db_worker_open(fixture.db, &session.worker), 0);
    struct lua_runtime_options options = {.worker = session.worker,
                                          .lock_timeout_ms = sleeper->lock_timeout_ms};
    assert_int_equal(lua_runtime_new(&options, &session.runtime), 0);
    mp_buffer_create(&session.result);
    const char *result = sleeper->text[0] == '[' ? lua_session_call(&session, "add", sleeper->text)
                                                 : lua_session_eval(&session, sleeper->text);
    snprintf(sleeper->result, sizeof sleeper->result, "%s", result);
    lua_session_close(&session);
    store_release(&sleeper->done, true);
    return NULL;
}

/* Starts it, and returns when it waits for a lock. */
static void sleeper_start(struct sleeper *sleeper, uint64_t waits)
{
    struct lock_stats stats;
    assert_int_equal(pthread_create(&sleeper->thread, NULL, sleeper_run, sleeper), 0);
    do {
        lock_stats_get(txn_system_locks(db_txn_system(fixture.db)), &stats);
        sched_yield();
    } while (stats.waits < waits);
}

static const char *sleeper_end(struct sleeper *sleeper)
{
    pthread_join(sleeper->thread, NULL);
    return sleeper->result;
}

static void a_thread_sleeps_and_its_procedure_is_run_again(void **state)
{
    (void)state;
    struct sleeper sleeper = {.text = "[1]"};
    hold(HOLD_1);
    sleeper_start(&sleeper, 1);
    assert_holder("box.space.s:replace{1, 20} return nil", "[null]");
    assert_string_equal(lua_session_commit(&holder), "OK");
    assert_string_equal(sleeper_end(&sleeper), "[21]");
}

static void a_thread_sleeps_within_its_own_transaction(void **state)
{
    (void)state;
    struct sleeper sleeper = {
        .text =
            "local runs = 0 return box.atomic({isolation = 'read committed'}, function() "
            "runs = runs + 1 box.space.s:replace{2, 22} "
            "return box.space.s:get(1, {lock = 'exclusive'})[2], box.space.s:get(2)[2], runs end)"};
    hold(HOLD_1);
    sleeper_start(&sleeper, 1);
    assert_holder("box.space.s:replace{1, 20} return nil", "[null]");
    assert_string_equal(lua_session_commit(&holder), "OK");
    assert_string_equal(sleeper_end(&sleeper), "[20,22,1]");
}

static void a_statement_by_itself_sleeps(void **state)
{
    (void)state;
    struct sleeper sleeper = {.text = "box.space.s:insert{6, 60} "
                                      "return box.space.s:update(1, {{'+', 2, 1}})[2]"};
    hold(HOLD_1);
    sleeper_start(&sleeper, 1);
    lua_session_rollback(&holder);
    assert_string_equal(sleeper_end(&sleeper), "[11]");
}

static void sleeping_ends_with_the_lock_timeout(void **state)
{
    (void)state;
    struct sleeper call = {.text = "[1]", .lock_timeout_ms = 1};
    struct sleeper text = {.text = "box.begin() local s = box.space.s "
                                   "local ok, err = pcall(s.get, s, 1, {lock = 'shared'}) "
                                   "s:replace{2, 22} box.commit() "
                                   "return err.code == box.error.LOCK_TIMEOUT",
                           .lock_timeout_ms = 1};
    /* Again when all of its time has passed before it waited. */
    struct sleeper limited = {.text = "local s, ok, err = box.space.s "
                                      "repeat box.begin{timeout = 0.05} "
                                      "ok, err = pcall(s.get, s, 1, {lock = 'shared'}) "
                                      "if err.code == box.error.TIMEOUT then box.rollback() end "
                                      "until err.code ~= box.error.TIMEOUT "
                                      "error(err)"};
    hold(HOLD_1);
    sleeper_start(&call, 1);
    assert_begins(sleeper_end(&call), "ERROR_LOCK_TIMEOUT ");
    sleeper_start(&text, 2);
    assert_string_equal(sleeper_end(&text), "[true]");
    sleeper_start(&limited, 3);
    assert_begins(sleeper_end(&limited), "ERROR_LOCK_TIMEOUT ");
    assert_holder("box.space.s:get(2)[2], box.stat.locks().waiting, box.stat.locks().timeouts",
                  "[10,0,3]");
}

static void the_victim_of_a_deadlock_is_run_again(void **state)
{
    (void)state;
    struct sleeper victim = {.text = "[2, 1]"};
    hold(HOLD_1);
    sleeper_start(&victim, 1);
    while (strncmp(lua_session_eval(&holder, HOLD_2), "ERROR_WAIT ", 11) == 0)
        sched_yield();
    assert_holder("box.space.s:replace{2, 100} return nil", "[null]");
    assert_string_equal(lua_session_commit(&holder), "OK");
    assert_string_equal(sleeper_end(&victim), "[101]");
    assert_holder("box.stat.locks().deadlocks", "[1]");
}

/* Locks row 2, then row 1 against the holder, who wants row 2 then. */
static const char *deadlock_in_atomic(const char *options)
{
    static struct sleeper sleeper;
    static char text[512];
    struct lock_stats stats;
    lock_stats_get(txn_system_locks(db_txn_system(fixture.db)), &stats);
    snprintf(text, sizeof text,
             "local runs = 0 return box.atomic(%s, function() runs = runs + 1 "
             "box.space.s:get(2, {lock = 'exclusive'}) box.space.s:get(1, {lock = 'exclusive'}) "
             "return runs end)",
             options);
    sleeper = (struct sleeper){.text = text};
    hold(HOLD_1);
    sleeper_start(&sleeper, stats.waits + 1);
    while (strncmp(lua_session_eval(&holder, HOLD_2), "ERROR_WAIT ", 11) == 0)
        sched_yield();
    lua_session_rollback(&holder);
    return sleeper_end(&sleeper);
}

static void atomic_runs_again_after_a_deadlock_only_when_asked(void **state)
{
    (void)state;
    assert_begins(deadlock_in_atomic("{retry = 0}"), "ERROR_DEADLOCK ");
    assert_string_equal(deadlock_in_atomic("{retry = 1}"), "[2]");
}

static void what_is_cancelled_while_it_sleeps_does_not_go_on(void **state)
{
    (void)state;
    struct sleeper sleeper = {
        .text = "box.begin() local s = box.space.s s:replace{2, 22} "
                "local first, error_first = pcall(s.get, s, 1, {lock = 'exclusive'}) "
                "local second, error_second = pcall(s.replace, s, {3, 33}) "
                "local last, error_last = pcall(box.commit) "
                "return first, error_first.name, second, error_second.name, last, error_last.name, "
                "box.is_in_txn()"};
    hold(HOLD_1);
    sleeper_start(&sleeper, 1);
    while (!load_acquire(&sleeper.done)) {
        txn_cancel_session(db_worker_txn(waiter.worker), SLEEPER_SESSION);
        sched_yield();
    }
    assert_string_equal(sleeper_end(&sleeper),
                        "[false,\"ERROR_CANCELLED\",false,\"ERROR_CANCELLED\",false,"
                        "\"ERROR_CANCELLED\",false]");
    assert_waiter("box.space.s:get(2)[2], box.space.s:get(3)[2], box.stat.locks().waiting",
                  "[10,10,0]");
}

static void an_iterator_ends_when_its_transaction_has_slept(void **state)
{
    (void)state;
    struct sleeper sleeper = {.text =
                                  "box.begin{isolation = 'read committed'} local s = box.space.s "
                                  "local ok, err = pcall(function() for _ in s:pairs() do "
                                  "s:get(1, {lock = 'exclusive'}) end end) "
                                  "s:replace{1, 100} box.commit() return ok, err.message"};
    hold(HOLD_1);
    sleeper_start(&sleeper, 1);
    lua_session_rollback(&holder);
    assert_begins(sleeper_end(&sleeper), "[false,\"this iterator has ended");
    assert_holder("box.space.s:get(1)[2]", "[100]");
}

enum { MOVERS = 3, MOVES = 200 };

static void *move_often(void *arg)
{
    struct random random;
    struct lua_session session;
    char arguments[32];
    random_create(&random, *(const uint64_t *)arg);
    lua_session_open(&session, &fixture);
    session.request = (struct lua_request){.latest = true};
    for (int i = 0; i < MOVES; i++) {
        unsigned from = 1 + (unsigned)random_below(&random, 4);
        snprintf(arguments, sizeof arguments, "[%u, %u, %u]", from,
                 1 + (from + (unsigned)random_below(&random, 3)) % 4,
                 (unsigned)random_below(&random, 2));
        assert_string_equal(lua_session_call(&session, "move", arguments), "[]");
    }
    lua_session_close(&session);
    return NULL;
}

static void threads_that_lock_in_any_order_all_succeed(void **state)
{
    (void)state;
    pthread_t threads[MOVERS];
    uint64_t seeds[MOVERS], seed = test_seed();
    lua_fixture_do(&fixture, "box.schema.func.create('move', {body = [[function(from, to, locked)\n"
                             "  local s, how = box.space.s, {lock = 'exclusive'}\n"
                             "  local a = s:get(from, locked == 1 and how or nil)[2]\n"
                             "  s:replace{from, a - 1}\n"
                             "  local b = s:get(to, locked == 1 and how or nil)[2]\n"
                             "  s:replace{to, b + 1} end]]})");
    for (int i = 0; i < MOVERS; i++) {
        seeds[i] = seed + (uint64_t)i;
        assert_int_equal(pthread_create(&threads[i], NULL, move_often, &seeds[i]), 0);
    }
    for (int i = 0; i < MOVERS; i++)
        pthread_join(threads[i], NULL);
    assert_holder("local n = 0 for _, t in box.space.s:pairs() do n = n + t[2] end "
                  "return n, box.stat.locks().held, box.stat.locks().waiting",
                  "[40,0,0]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_procedure_ends_with_wait_and_is_run_again_with_its_owner),
        TEST(locks_are_kept_while_a_request_waits),
        TEST(what_is_read_before_does_not_give_back_the_lock_that_was_waited_for),
        TEST(what_runs_at_its_end_can_write_although_it_waits),
        TEST(what_pcall_catches_does_not_let_a_procedure_go_on),
        TEST(returning_to_a_savepoint_does_not_either),
        TEST(writers_without_locks_wait_for_them_too),
        TEST(text_is_run_again_while_it_has_committed_nothing),
        TEST(text_that_swallows_its_errors_waits_all_the_same),
        TEST(text_that_has_committed_something_does_not_wait),
        TEST(a_statement_of_an_interactive_transaction_waits_by_itself),
        TEST(a_read_only_request_waits_for_nothing),
        TEST(a_redis_script_waits_as_a_procedure_does),
        TEST(who_waits_for_whom_is_shown),
        TEST(the_younger_of_a_deadlock_gives_way),
        TEST(a_thread_sleeps_and_its_procedure_is_run_again),
        TEST(a_thread_sleeps_within_its_own_transaction),
        TEST(a_statement_by_itself_sleeps),
        TEST(sleeping_ends_with_the_lock_timeout),
        TEST(the_victim_of_a_deadlock_is_run_again),
        TEST(atomic_runs_again_after_a_deadlock_only_when_asked),
        TEST(what_is_cancelled_while_it_sleeps_does_not_go_on),
        TEST(an_iterator_ends_when_its_transaction_has_slept),
        TEST(threads_that_lock_in_any_order_all_succeed),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
