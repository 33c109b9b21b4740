/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Interactive transactions over RESP: BEGIN and what belongs to it, requests that wait for others,
 * limits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "session/sessions.h"
#include "txn/lock.h"

static struct session *three;

static int setup(void **state)
{
    (void)state;
    sessions_start(NULL, (struct service_limits){.lock_timeout_ms = 10000,
                                                 .transaction_idle_max_ms = 60000,
                                                 .transaction_time_max_ms = 300000,
                                                 .snapshot_age_max_ms = 600000});
    three = session_fixture_connect(fixture, 0);
    return 0;
}

static int teardown(void **state)
{
    session_delete(three);
    return sessions_teardown(state);
}

/* Expects a reply that begins so. */
#define expect_error(session, start, ...)                                      \
    do {                                                                       \
        const char *got = session_fixture_text(fixture, session, __VA_ARGS__); \
        if (strncmp(got, start, strlen(start)) != 0)                           \
            fail_msg("\"%s\" instead of \"%s..\"", got, start);                \
    } while (0)

static void advance_ms(uint64_t ms)
{
    clock_manual_advance_ms(&fixture->clock, ms);
    session_fixture_run(fixture);
}

static struct lock_stats locks(void)
{
    struct lock_stats stats;
    lock_stats_get(txn_system_locks(db_txn_system(fixture->db)), &stats);
    return stats;
}

/* ------------------------------------------------------------------------------- begin to end */

static void what_a_transaction_writes_is_its_own_until_it_commits(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "set a 0");
    expect(one, "+OK\r\n+OK\r\n$1\r\n1\r\n", "begin\r\nset a 1\r\nget a");
    expect(two, "$1\r\n0\r\n", "get a");
    expect(one, "+OK\r\n", "commit");
    expect(two, "$1\r\n1\r\n", "get a");
    expect_error(one, "-ERR no transaction is open", "commit");
}

static void a_rollback_leaves_nothing(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "begin");
    expect(one, "+OK\r\n:1\r\n", "set a 1\r\nincr b");
    expect(one, "+OK\r\n$-1\r\n", "rollback\r\nget a");
    expect_error(one, "-ERR no transaction is open", "rollback");
    assert_int_equal(locks().owners, 0);
}

static void reads_of_a_transaction_are_of_one_snapshot(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "set a 1");
    expect(one, "+OK\r\n$1\r\n1\r\n", "begin snapshot\r\nget a");
    expect(two, "+OK\r\n", "set a 2");
    expect(one, "$1\r\n1\r\n+OK\r\n$1\r\n2\r\n", "get a\r\ncommit\r\nget a");
    expect(one, "+OK\r\n$1\r\n2\r\n", "begin read committed\r\nget a");
    expect(two, "+OK\r\n", "set a 3");
    expect(one, "$1\r\n3\r\n+OK\r\n", "get a\r\ncommit");
}

static void begin_takes_a_level_and_an_access(void **state)
{
    (void)state;
    static const char *const GOOD[] = {
        "begin read uncommitted",
        "begin read committed",
        "begin REPEATABLE READ",
        "begin isolation level snapshot",
        "begin serializable read write",
        "begin read only",
        "begin read only serializable",
        "begin read committed read only",
        "begin read-committed",
        "start transaction",
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"};
    for (size_t n = 0; n < sizeof GOOD / sizeof *GOOD; n++)
        expect(one, "+OK\r\n+OK\r\n", "%s\r\nrollback", GOOD[n]);
    expect_error(one, "-ERR syntax error at 'nonsense'", "begin nonsense");
    expect_error(one, "-ERR syntax error at 'snapshot'", "begin serializable snapshot");
    expect_error(one, "-ERR READ UNCOMMITTED", "begin isolation level");
    expect_error(one, "-ERR syntax error at 'work'", "start work");
    expect_error(one, "-ERR no transaction is open", "rollback");
}

static void a_read_only_transaction_refuses_writes_and_goes_on(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "set a 1\r\nbegin read only");
    expect_error(one, "-READONLY", "set a 2");
    expect(one, "$1\r\n1\r\n+OK\r\n", "get a\r\ncommit");
}

static void a_statement_that_fails_undoes_only_itself(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset word text");
    expect_error(one, "-ERR value is not an integer", "incr word");
    expect_error(one, "-ERR", "eval \"redis.call('set', 'x', 1) error('no')\" 0");
    expect(one, "$-1\r\n$4\r\ntext\r\n+OK\r\n", "get x\r\nget word\r\ncommit");
    expect(two, "$4\r\ntext\r\n", "get word");
}

static void savepoints_are_returned_to_by_name(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n+OK\r\n", "begin\r\nset a 1\r\nsavepoint first");
    expect(one, "+OK\r\n+OK\r\n+OK\r\n", "set a 2\r\nsavepoint second\r\nset a 3");
    expect(one, "+OK\r\n$1\r\n2\r\n", "rollback to second\r\nget a");
    expect(one, "+OK\r\n$1\r\n2\r\n", "rollback to savepoint SECOND\r\nget a");
    expect(one, "+OK\r\n$1\r\n1\r\n", "rollback to first\r\nget a");
    expect_error(one, "-ERR there is no savepoint 'second'", "rollback to second");
    expect(one, "+OK\r\n", "release savepoint first");
    expect_error(one, "-ERR there is no savepoint 'first'", "rollback to first");
    expect_error(one, "-ERR a savepoint's name is missing", "rollback to");
    expect_error(one, "-ERR syntax error at 'b'", "rollback to savepoint a b");
    expect(one, "+OK\r\n$1\r\n1\r\n", "commit\r\nget a");
    expect_error(one, "-ERR no transaction is open", "savepoint first");
}

static void scripts_procedures_and_text_run_in_the_transaction(void **state)
{
    (void)state;
    expect(one, "$-1\r\n",
           "lua \"box.schema.func.create('put', {body = [[function(k, v) "
           "redis.call('set', k, v) return 'done' end]]})\"");
    expect(one, "+OK\r\n", "begin");
    expect(one, "+OK\r\n", "eval \"return redis.call('set', KEYS[1], 'script')\" 1 a");
    expect(one, "$4\r\ndone\r\n", "call put b procedure");
    expect(one, "+OK\r\n", "eval \"return redis.call('set', 'c', 'text')\" 0");
    expect(two, "*3\r\n$-1\r\n$-1\r\n$-1\r\n", "mget a b c");
    expect(one, "+OK\r\n", "commit");
    expect(two, "*3\r\n$6\r\nscript\r\n$9\r\nprocedure\r\n$4\r\ntext\r\n", "mget a b c");
}

static void multi_and_begin_do_not_mix(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "begin");
    expect_error(one, "-ERR multi is not allowed", "multi");
    expect_error(one, "-ERR watch is not allowed", "watch a");
    expect_error(one, "-ERR BEGIN calls can not be nested", "begin");
    expect(one, "+OK\r\n+OK\r\n", "rollback\r\nmulti");
    expect_error(one, "-ERR Command not allowed inside a transaction", "begin");
    expect_error(one, "-EXECABORT", "exec");
    expect(one, "+OK\r\n", "watch a");
    expect_error(one, "-ERR BEGIN after WATCH", "begin");
    expect(one, "+OK\r\n+OK\r\n+OK\r\n", "unwatch\r\nbegin\r\nrollback");
}

static void the_session_s_level_is_the_default_of_begin(void **state)
{
    (void)state;
    expect(one, "$12\r\nserializable\r\n", "isolation");
    expect(one, "+OK\r\n$14\r\nread committed\r\n", "isolation read committed\r\nisolation");
    expect(two, "+OK\r\n", "set a 1");
    expect(one, "+OK\r\n$1\r\n1\r\n", "begin\r\nget a");
    expect(two, "+OK\r\n", "set a 2");
    expect(one, "$1\r\n2\r\n+OK\r\n", "get a\r\ncommit");
    expect(one, "+OK\r\n$12\r\nserializable\r\n", "isolation default\r\nisolation");
    expect_error(one, "-ERR syntax error at 'no'", "isolation no");
    expect_error(one, "-ERR syntax error at 'x'", "isolation snapshot x");
    expect(one, "$12\r\nserializable\r\n", "isolation");
}

static void the_session_s_level_is_that_of_what_declares_none(void **state)
{
    (void)state;
    session_fixture_text(fixture, one, "lua \"box.schema.space.create('s'):create_index('p')\"");
    session_fixture_text(fixture, one,
                         "lua \"box.schema.func.create('look', {body = [[function() "
                         "local t = box.space.s:get(1) return t and t[2] end]]})\"");
    session_fixture_text(fixture, one,
                         "lua \"box.schema.func.create('see', {isolation = 'snapshot', body = "
                         "[[function() local t = box.space.s:get(1) return t and t[2] end]]})\"");
    expect(one, "+OK\r\n$-1\r\n", "begin\r\nlua \"local _ = box.space.s:insert{1, 1}\"");
    expect(two, "$-1\r\n", "call look");
    expect(two, "+OK\r\n:1\r\n", "isolation read uncommitted\r\ncall look");
    expect(two, "$-1\r\n", "call see");
    expect(two, "+OK\r\n:1\r\n+OK\r\n", "begin\r\ncall look\r\ncommit");
    expect(two, "+OK\r\n$-1\r\n", "isolation default\r\ncall look");
    expect(one, "+OK\r\n", "rollback");
}

static void reset_and_the_end_of_a_connection_roll_back(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n+RESET\r\n$-1\r\n", "begin\r\nset a 1\r\nreset\r\nget a");
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    session_delete(one);
    one = session_fixture_connect(fixture, 0);
    expect(two, "+OK\r\n", "set a 2");
    assert_int_equal(locks().owners, 0);
}

/* -------------------------------------------------------------------------------------- losing */

static void a_lost_transaction_is_answered_by_its_reason_until_it_is_ended(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n$1\r\n0\r\n", "set a 0\r\nbegin\r\nget a");
    expect(two, "+OK\r\n", "set a 1");
    expect_error(one, "-CONFLICT ", "set a 2");
    assert_non_null(strstr(fixture->reply, "the transaction was rolled back; send ROLLBACK"));
    expect_error(one, "-CONFLICT ", "get a");
    expect_error(one, "-CONFLICT ", "ping");
    expect_error(one, "-CONFLICT ", "savepoint x");
    expect_error(one, "-CONFLICT ", "begin");
    expect(one, "+OK\r\n$1\r\n1\r\n", "rollback\r\nget a");
}

static void the_commit_of_a_lost_transaction_says_so_and_ends_it(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n$1\r\n0\r\n", "set a 0\r\nbegin\r\nget a");
    expect(two, "+OK\r\n", "set a 1");
    expect(one, "+OK\r\n", "set b 2"); /* that `a` has changed is found by the validation */
    expect_error(one, "-CONFLICT ", "commit");
    expect(one, "*2\r\n$1\r\n1\r\n$-1\r\n", "mget a b");
    expect(one, "+OK\r\n$1\r\n1\r\n", "begin\r\nget a");
    expect(two, "+OK\r\n", "set a 2");
    expect_error(one, "-CONFLICT ", "set a 3");
    expect_error(one, "-CONFLICT ", "commit");
    expect(one, "$1\r\n2\r\n", "get a");
}

/* ------------------------------------------------------------------------------------- waiting */

static void a_write_waits_for_the_end_of_the_transaction_that_holds_the_row(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "", "append a 2");
    assert_true(session_suspended(two));
    expect(one, "+OK\r\n", "commit");
    expect_take(two, ":2\r\n");
    assert_false(session_suspended(two));
    expect(two, "$2\r\n12\r\n", "get a");
}

static void what_follows_a_request_that_waits_is_done_after_it(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "+PONG\r\n", "ping\r\nincr a\r\nincr a\r\nget a\r\necho moon");
    expect(three, "$-1\r\n+OK\r\n", "get a\r\nset b 1"); /* others of its worker go on */
    expect(one, "+OK\r\n", "rollback");
    expect_take(two, ":1\r\n:2\r\n$1\r\n2\r\n$4\r\nmoon\r\n");
}

static void a_reader_does_not_wait(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n+OK\r\n", "set a 1\r\nbegin\r\nset a 2");
    expect(two, "$1\r\n1\r\n", "get a");
    expect(two, "+OK\r\n$1\r\n1\r\n+OK\r\n", "begin read only\r\nget a\r\ncommit");
    expect(one, "+OK\r\n", "rollback");
}

static void exec_scripts_and_procedures_wait_as_well(void **state)
{
    (void)state;
    expect(one, "$-1\r\n",
           "lua \"box.schema.func.create('add', {body = [[function(k) "
           "return redis.call('incr', k) end]]})\"");
    expect(one, "+OK\r\n:1\r\n", "begin\r\nincr a");
    expect(two, "+OK\r\n+QUEUED\r\n+QUEUED\r\n", "multi\r\nincr b\r\nincr a\r\nexec");
    expect(three, "", "eval \"return redis.call('incr', 'a')\" 0");
    expect(one, "+OK\r\n", "commit");
    expect_take(two, "*2\r\n:1\r\n:2\r\n");
    expect_take(three, ":3\r\n");
    expect(one, "+OK\r\n:4\r\n", "begin\r\nincr a");
    expect(two, "", "call add a");
    expect(three, "", "lua \"return redis.call('incr', 'a')\"");
    expect(one, "+OK\r\n", "rollback");
    expect_take(two, ":4\r\n");
    expect_take(three, ":5\r\n");
}

static void a_statement_of_a_transaction_waits_too(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin read committed\r\nset a 1");
    expect(two, "+OK\r\n+OK\r\n", "begin read committed\r\nset b 1\r\nset a 2\r\nget b");
    expect(one, "+OK\r\n", "commit");
    expect_take(two, "+OK\r\n$1\r\n1\r\n");
    expect(two, "+OK\r\n*2\r\n$1\r\n2\r\n$1\r\n1\r\n", "commit\r\nmget a b");
}

static void after_the_lock_timeout_the_request_fails(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "", "set a 2\r\nping");
    advance_ms(9999);
    expect_take(two, "");
    advance_ms(1);
    const char *reply = session_fixture_take(fixture, two);
    assert_memory_equal(reply, "-LOCKTIMEOUT ", 13);
    assert_non_null(strstr(reply, "(lock_timeout)\r\n+PONG\r\n"));
    assert_int_equal(locks().timeouts, 1);
    assert_int_equal(locks().waiting, 0);
    expect(one, "+OK\r\n", "commit");
    expect(two, "$1\r\n1\r\n", "get a");
}

static void a_session_says_how_long_it_waits(void **state)
{
    (void)state;
    expect(two, ":10000\r\n+OK\r\n:50\r\n", "locktimeout\r\nlocktimeout 50\r\nlocktimeout");
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "", "set a 2");
    advance_ms(51);
    assert_memory_equal(session_fixture_take(fixture, two), "-LOCKTIMEOUT ", 13);
    expect(two, "+OK\r\n:10000\r\n", "locktimeout default\r\nlocktimeout");
    expect_error(two, "-ERR value is not an integer", "locktimeout never");
    expect(one, "+OK\r\n", "commit");
}

static void a_statement_that_has_waited_too_long_leaves_its_transaction_open(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "+OK\r\n+OK\r\n", "begin\r\nset b 1\r\nset a 2");
    advance_ms(10000);
    assert_memory_equal(session_fixture_take(fixture, two), "-LOCKTIMEOUT ", 13);
    expect(two, "$1\r\n1\r\n+OK\r\n", "get b\r\ncommit");
    expect(one, "+OK\r\n", "commit");
}

static void locks_of_a_statement_that_has_waited_too_long_go(void **state)
{
    (void)state;
    session_fixture_text(fixture, one, "lua \"box.schema.space.create('s'):create_index('p')\"");
    session_fixture_text(fixture, one, "lua \"for n = 1, 3 do box.space.s:insert{n, 0} end\"");
    session_fixture_text(fixture, one, "begin\r\nlua \"box.space.s:replace{2, 1}\"");
    expect(two, "+OK\r\n$-1\r\n",
           "begin\r\nlua \"local _ = box.space.s:get(3, {lock = 'exclusive'})\"");
    expect(two, "",
           "lua \"local _ = box.space.s:get(1, {lock = 'exclusive'}), "
           "box.space.s:get(2, {lock = 'exclusive'})\"");
    expect(three, "+OK\r\n", "begin\r\nlua \"local _ = box.space.s:get(1, {lock = 'exclusive'})\"");
    advance_ms(10000);
    assert_memory_equal(session_fixture_take(fixture, two), "-LOCKTIMEOUT ", 13);
    session_fixture_take(fixture, three); /* it had the same limit, at the same time */
    expect(three, "$-1\r\n", "lua \"local _ = box.space.s:get(1, {lock = 'exclusive'})\"");
    expect(three, "", "lua \"local _ = box.space.s:replace{3, 1}\"");
    expect(two, "+OK\r\n", "commit");
    expect_take(three, "$-1\r\n");
    expect(one, "+OK\r\n", "commit");
}

static void the_younger_of_two_that_wait_for_each_other_loses(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "+OK\r\n+OK\r\n", "begin\r\nset b 2");
    expect(one, "", "set b 1");
    expect_error(two, "-DEADLOCK ", "set a 2");
    expect_take(one, "+OK\r\n");
    expect_error(two, "-DEADLOCK ", "get a");
    expect(one, "+OK\r\n", "commit");
    expect(two, "+OK\r\n*2\r\n$1\r\n1\r\n$1\r\n1\r\n", "rollback\r\nmget a b");
    assert_int_equal(locks().deadlocks, 1);
}

static void the_younger_loses_also_when_it_waits_already(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "+OK\r\n+OK\r\n", "begin\r\nset b 2\r\nset a 2");
    expect(one, "+OK\r\n", "set b 1");
    assert_memory_equal(session_fixture_take(fixture, two), "-DEADLOCK ", 10);
    expect_error(two, "-DEADLOCK ", "commit");
    expect(one, "+OK\r\n", "commit");
}

static void who_has_lost_is_older_than_others_the_next_time(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "+OK\r\n+OK\r\n", "begin\r\nset b 2");
    expect(one, "", "set b 1");
    expect_error(two, "-DEADLOCK ", "set a 2");
    expect_take(one, "+OK\r\n");
    expect(one, "+OK\r\n", "commit");
    expect(two, "+OK\r\n", "rollback");
    /* Now it is the other one that is younger, though it begins first. */
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "+OK\r\n+OK\r\n", "begin\r\nset b 2");
    expect(two, "", "set a 2");
    expect_error(one, "-DEADLOCK ", "set b 1");
    expect_take(two, "+OK\r\n");
    expect(two, "+OK\r\n", "commit");
    expect(one, "+OK\r\n", "rollback");
}

static void who_goes_away_while_waiting_leaves_the_queue(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "", "set a 2");
    expect(three, "", "set a 3");
    assert_true(locks().waiting > 0);
    session_delete(two);
    two = session_fixture_connect(fixture, 1);
    expect(one, "+OK\r\n", "commit");
    expect_take(three, "+OK\r\n");
    expect(two, "$1\r\n3\r\n", "get a");
    assert_int_equal(locks().waiting, 0);
    assert_int_equal(locks().owners, 0);
}

static void nobody_waits_when_the_connection_is_being_closed(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "", "set a 2\r\nset a 3\r\nping");
    session_hurry(two);
    const char *reply = session_fixture_take(fixture, two);
    assert_memory_equal(reply, "-ERR cancelled while waiting", 28);
    assert_non_null(strstr(reply, "+PONG\r\n"));
    assert_int_equal(locks().waiting, 0);
    expect(one, "+OK\r\n", "commit");
}

static void postpone(struct session *session, void *arg)
{
    (void)arg;
    session_postpone(session);
}

#define LOCK_ALONE \
    "lua \"box.atomic(function() local _ = box.space.s:get(1, {lock = 'exclusive'}) end)\""

static void who_cannot_go_on_keeps_no_locks(void **state)
{
    (void)state;
    session_fixture_text(fixture, one, "lua \"box.schema.space.create('s'):create_index('p')\"");
    expect(one, "+OK\r\n$-1\r\n",
           "begin\r\nlua \"local _ = box.space.s:get(1, {lock = 'exclusive'})\"");
    expect(two, "", LOCK_ALONE);
    session_on_bytes(one, "commit\r\n", 8);
    session_worker_run(fixture->workers[1], postpone, NULL);
    assert_int_equal(locks().held, 0);
    expect(three, "$-1\r\n", LOCK_ALONE);
    expect_take(one, "+OK\r\n");
    expect_take(two, "$-1\r\n");
}

static void many_wait_and_each_has_its_turn(void **state)
{
    (void)state;
    enum { SESSIONS = 20 };
    struct session *sessions[SESSIONS];
    expect(one, "+OK\r\n:1\r\n", "begin\r\nincr a");
    for (unsigned n = 0; n < SESSIONS; n++) {
        sessions[n] = session_fixture_connect(fixture, n % SESSION_FIXTURE_WORKERS);
        expect(sessions[n], "", "incr a");
    }
    expect(one, "+OK\r\n", "commit");
    for (unsigned n = 0; n < SESSIONS; n++)
        assert_int_equal(session_fixture_take(fixture, sessions[n])[0], ':');
    expect(one, "$2\r\n21\r\n", "get a");
    for (unsigned n = 0; n < SESSIONS; n++)
        session_delete(sessions[n]);
}

static void a_reply_that_is_not_wanted_is_not_sent_after_waiting_either(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "", "client reply skip\r\nset a 2\r\nping");
    expect(one, "+OK\r\n", "commit");
    expect_take(two, "+PONG\r\n");
    expect(two, "$1\r\n2\r\n", "get a");
}

static void who_is_in_a_transaction_or_waits_is_shown(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n$1\r\n0\r\n", "set b 0\r\nbegin\r\nget b");
    expect(one, "+OK\r\n", "set a 1");
    expect(two, "", "set a 2");
    session_fixture_text(fixture, three, "client list id 1");
    assert_non_null(strstr(fixture->reply, " flags=N "));
    assert_non_null(strstr(fixture->reply, " txn=open\n"));
    session_fixture_text(fixture, three, "client list id 2");
    assert_non_null(strstr(fixture->reply, " flags=b "));
    session_fixture_text(fixture, three, "info");
    assert_non_null(strstr(fixture->reply, "\r\n# Transactions\r\n"));
    assert_non_null(strstr(fixture->reply, "\r\nblocked_clients:1\r\n"));
    assert_non_null(strstr(fixture->reply, "\r\ntxn_open:1\r\n"));
    assert_non_null(strstr(fixture->reply, "\r\nlocks_waiting:1\r\n"));
    expect(three, "+OK\r\n", "set b 1");
    expect_error(one, "-CONFLICT ", "commit");
    expect_take(two, "+OK\r\n");
    session_fixture_text(fixture, three, "info");
    assert_non_null(strstr(fixture->reply, "\r\nblocked_clients:0\r\n"));
    assert_non_null(strstr(fixture->reply, "\r\ntxn_aborts_read:1\r\n"));
    expect(one, "+OK\r\n$1\r\n1\r\n", "begin\r\nget b");
    expect(two, "+OK\r\n", "set b 2");
    expect_error(one, "-CONFLICT ", "set b 3");
    session_fixture_text(fixture, three, "client list id 1");
    assert_non_null(strstr(fixture->reply, " txn=failed\n"));
    expect(one, "+OK\r\n", "rollback");
    session_fixture_text(fixture, three, "client list id 1");
    assert_non_null(strstr(fixture->reply, " txn=none\n"));
}

/* ---------------------------------------------------------------------------------- durability */

static void a_commit_that_the_log_lost_is_not_acknowledged(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    disk_cut_after(fixture->disk, 1);
    expect_error(one, "-UNKNOWN ", "commit");
    expect(one, "$-1\r\n", "get a");
    expect_error(one, "-MISCONF ", "begin");
    expect(one, "+OK\r\n$-1\r\n+OK\r\n", "begin read only\r\nget a\r\ncommit");
}

static void what_a_statement_shows_is_durable(void **state)
{
    (void)state;
    expect(two, "+OK\r\n$-1\r\n", "begin read committed\r\nget a");
    disk_cut_after(fixture->disk, 1);
    session_on_bytes(one, "set a 1\r\n", 9);
    session_on_bytes(two, "get a\r\n", 7);
    assert_null(strstr(session_fixture_take(fixture, two), "$1\r\n1\r\n"));
    assert_memory_equal(session_fixture_take(fixture, one), "-UNKNOWN ", 9);
}

/* -------------------------------------------------------------------------------------- limits */

static void a_transaction_that_is_idle_for_too_long_is_rolled_back(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "+OK\r\n", "locktimeout 0"); /* it waits as long as it takes */
    expect(two, "", "set a 2");
    advance_ms(59999);
    expect_take(two, "");
    advance_ms(1);
    expect_take(two, "+OK\r\n");
    expect_error(one,
                 "-ERR the transaction was idle for more than 60000 ms "
                 "(transaction_idle_max); the transaction was rolled back",
                 "get a");
    expect(one, "+OK\r\n$1\r\n2\r\n", "rollback\r\nget a");
}

static void who_listens_and_has_lost_its_transaction_can_end_it(void **state)
{
    (void)state;
    static const char REASON[] = "-ERR the transaction was idle for more than 60000 ms "
                                 "(transaction_idle_max); the transaction was rolled back";
    expect(one, "+OK\r\n+OK\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
           "begin\r\nset a 1\r\nsubscribe c");
    advance_ms(60000);
    expect_take(one, "");
    expect_error(one, REASON, "psubscribe d");
    expect(one, "*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:1\r\n", "punsubscribe");
    expect(one, "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n", "unsubscribe");
    expect_error(one, REASON, "get a");
    expect(one, "+OK\r\n$-1\r\n", "rollback\r\nget a");
}

static void a_transaction_that_is_open_for_too_long_is_rolled_back(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    for (unsigned n = 0; n < 5; n++) {
        advance_ms(59000);
        expect(one, "$1\r\n1\r\n", "get a");
    }
    advance_ms(5000);
    expect_error(one, "-ERR the transaction was open for more than 300000 ms", "get a");
    expect(one, "+OK\r\n$-1\r\n", "rollback\r\nget a");
}

static void a_statement_that_waits_is_given_up_with_its_transaction(void **state)
{
    (void)state;
    expect(two, "+OK\r\n+OK\r\n+OK\r\n", "locktimeout 0\r\nbegin\r\nset b 1");
    expect(one, "+OK\r\n", "begin");
    for (unsigned n = 0; n < 5; n++) {
        advance_ms(59000);
        expect(one, "+OK\r\n", "set a 1");
        if (n == 0)
            expect(two, "", "set a 2\r\nping");
    }
    advance_ms(5000);
    const char *reply = session_fixture_take(fixture, two);
    assert_memory_equal(reply, "-ERR the transaction was open for more than 300000 ms", 53);
    expect_error(two, "-ERR the transaction was open", "get b");
}

static void a_statement_that_waits_is_told_when_its_transaction_was_ended_by_others(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "+OK\r\n+OK\r\n", "begin\r\nset b 1\r\nset a 2");
    expect_error(three, "", "lua \"box.schema.space.create('s')\"");
    advance_ms(100);
    assert_memory_equal(session_fixture_take(fixture, two),
                        "-ERR the transaction was rolled back: the schema", 48);
    expect_error(two, "-ERR the transaction was rolled back: the schema", "get a");
    expect_error(one, "-ERR the transaction was rolled back: the schema", "commit");
    expect(two, "+OK\r\n*2\r\n$-1\r\n$-1\r\n", "rollback\r\nmget a b");
}

static void a_snapshot_that_is_too_old_is_given_up(void **state)
{
    teardown(state);
    fixture = session_fixture_new(NULL, (struct service_limits){.snapshot_age_max_ms = 1000});
    one = session_fixture_connect(fixture, 0);
    two = session_fixture_connect(fixture, 1);
    three = session_fixture_connect(fixture, 0);
    advance_ms(1);
    expect(one, "+OK\r\n+OK\r\n$1\r\n1\r\n", "set a 1\r\nbegin snapshot read only\r\nget a");
    advance_ms(1000);
    expect(one, "$1\r\n1\r\n", "get a");
    advance_ms(200);
    expect_error(
        one, "-ERR the transaction's snapshot was held for more than 1000 ms (snapshot_age_max)",
        "get a");
    expect(one, "+OK\r\n", "rollback");
    expect(one, "+OK\r\n+OK\r\n", "begin read committed\r\nset a 2"); /* holds none */
    advance_ms(1200);
    expect(one, "$1\r\n2\r\n", "get a");
    advance_ms(1200);
    expect(one, "+OK\r\n$1\r\n2\r\n", "commit\r\nget a");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_a_transaction_writes_is_its_own_until_it_commits),
        TEST(a_rollback_leaves_nothing),
        TEST(reads_of_a_transaction_are_of_one_snapshot),
        TEST(begin_takes_a_level_and_an_access),
        TEST(a_read_only_transaction_refuses_writes_and_goes_on),
        TEST(a_statement_that_fails_undoes_only_itself),
        TEST(savepoints_are_returned_to_by_name),
        TEST(scripts_procedures_and_text_run_in_the_transaction),
        TEST(multi_and_begin_do_not_mix),
        TEST(the_session_s_level_is_the_default_of_begin),
        TEST(the_session_s_level_is_that_of_what_declares_none),
        TEST(reset_and_the_end_of_a_connection_roll_back),
        TEST(a_lost_transaction_is_answered_by_its_reason_until_it_is_ended),
        TEST(the_commit_of_a_lost_transaction_says_so_and_ends_it),
        TEST(a_write_waits_for_the_end_of_the_transaction_that_holds_the_row),
        TEST(what_follows_a_request_that_waits_is_done_after_it),
        TEST(a_reader_does_not_wait),
        TEST(exec_scripts_and_procedures_wait_as_well),
        TEST(a_statement_of_a_transaction_waits_too),
        TEST(after_the_lock_timeout_the_request_fails),
        TEST(a_session_says_how_long_it_waits),
        TEST(a_statement_that_has_waited_too_long_leaves_its_transaction_open),
        TEST(locks_of_a_statement_that_has_waited_too_long_go),
        TEST(the_younger_of_two_that_wait_for_each_other_loses),
        TEST(the_younger_loses_also_when_it_waits_already),
        TEST(who_has_lost_is_older_than_others_the_next_time),
        TEST(who_goes_away_while_waiting_leaves_the_queue),
        TEST(nobody_waits_when_the_connection_is_being_closed),
        TEST(who_cannot_go_on_keeps_no_locks),
        TEST(many_wait_and_each_has_its_turn),
        TEST(a_reply_that_is_not_wanted_is_not_sent_after_waiting_either),
        TEST(who_is_in_a_transaction_or_waits_is_shown),
        TEST(a_commit_that_the_log_lost_is_not_acknowledged),
        TEST(what_a_statement_shows_is_durable),
        TEST(a_transaction_that_is_idle_for_too_long_is_rolled_back),
        TEST(who_listens_and_has_lost_its_transaction_can_end_it),
        TEST(a_transaction_that_is_open_for_too_long_is_rolled_back),
        TEST(a_statement_that_waits_is_given_up_with_its_transaction),
        TEST(a_statement_that_waits_is_told_when_its_transaction_was_ended_by_others),
        TEST(a_snapshot_that_is_too_old_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
