/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands of the server: what one connection does to others (CLIENT KILL, PAUSE, UNBLOCK), settings,
 * and what monitoring reads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/session_fixture.h"
#include "session/session_internal.h"

static struct session_fixture *fixture;
static struct session *one, *two, *three;

static int setup(void **state)
{
    (void)state;
    fixture = session_fixture_new(NULL, (struct service_limits){0});
    one = session_fixture_connect(fixture, 0);
    two = session_fixture_connect(fixture, 1);
    three = session_fixture_connect(fixture, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    session_delete(one);
    session_delete(two);
    session_delete(three);
    session_fixture_delete(fixture);
    return 0;
}

#define expect(session, reply, ...) \
    assert_string_equal(session_fixture_text(fixture, session, __VA_ARGS__), reply)
#define expect_in(session, part, ...) \
    assert_non_null(strstr(session_fixture_text(fixture, session, __VA_ARGS__), part))
#define expect_not_in(session, part, ...) \
    assert_null(strstr(session_fixture_text(fixture, session, __VA_ARGS__), part))
#define expect_later(session, reply) \
    assert_string_equal(session_fixture_take(fixture, session), reply)

/* ------------------------------------------------------------------------------ other connections */

static void a_connection_is_killed_by_its_id(void **state)
{
    (void)state;
    expect(one, ":1\r\n", "client kill id 2");
    session_fixture_run(fixture);
    assert_true(session_wants_close(two));
    assert_false(session_wants_close(three));
    expect(one, ":0\r\n", "client kill id 99");
}

static void killing_by_address_takes_the_caller_along_once_it_has_its_reply(void **state)
{
    (void)state;
    expect(one, "-ERR No such client\r\n", "client kill 1.2.3.4:5");
    expect(one, "+OK\r\n", "client kill 127.0.0.1:50000");
    session_fixture_run(fixture);
    assert_true(session_wants_close(one));
    assert_true(session_wants_close(two));
    assert_true(session_wants_close(three));
}

static void filters_of_kill_are_joined(void **state)
{
    (void)state;
    expect(one, ":0\r\n", "client kill type pubsub");
    expect(one, ":0\r\n", "client kill type normal user default addr 1.1.1.1:1");
    expect(one, ":0\r\n", "client kill type master laddr 127.0.0.1:6379");
    expect_in(two, "subscribe", "subscribe c");
    expect(one, ":1\r\n", "client kill type pubsub skipme no laddr 127.0.0.1:6379");
    session_fixture_run(fixture);
    assert_true(session_wants_close(two));
    expect(one, ":2\r\n", "client kill skipme yes user default");
}

static void mistakes_in_kill_are_told(void **state)
{
    (void)state;
    expect(one, "-ERR client-id should be greater than 0\r\n", "client kill id 0");
    expect(one, "-ERR client-id should be greater than 0\r\n", "client kill id x");
    expect(one, "-ERR Unknown client type 'x'\r\n", "client kill type x");
    expect(one, "-ERR No such user 'x'\r\n", "client kill user x");
    expect(one, "-ERR syntax error\r\n", "client kill skipme maybe");
    expect(one, "-ERR syntax error\r\n", "client kill id 1 addr");
    expect(one, "-ERR syntax error\r\n", "client kill nosuch 1");
}

static void a_pause_holds_all_commands_until_its_end(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "client pause 1000");
    expect(two, "", "get a");
    expect(two, "", "ping");
    clock_manual_advance_ms(&fixture->clock, 999);
    expect_later(two, "");
    clock_manual_advance_ms(&fixture->clock, 2);
    expect_later(two, "$-1\r\n+PONG\r\n");
    expect(one, "+PONG\r\n", "ping");
}

static void a_pause_of_writes_lets_reads_through_and_can_be_lifted(void **state)
{
    (void)state;
    expect(two, "+OK\r\n+QUEUED\r\n", "multi\r\nset a 1");
    expect(one, "+OK\r\n", "client pause 100000 write");
    expect(one, "$-1\r\n", "get a");
    expect(two, "", "exec");
    expect(three, "", "eval \"return redis.call('set', 'b', '2')\" 0");
    expect(one, "$-1\r\n", "get a");
    expect_in(one, "flags=x ", "client list id 2");
    expect(one, ":0\r\n", "client unblock 2");
    expect(one, "+OK\r\n", "client unpause");
    expect_later(two, "*1\r\n+OK\r\n");
    expect_later(three, "+OK\r\n");
}

static void longer_and_wider_pauses_win(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "client pause 1000 all");
    expect(two, "", "client pause 5 write");
    expect(one, "+OK\r\n", "client unpause");
    expect_later(two, "+OK\r\n");
    clock_manual_advance_ms(&fixture->clock, 6);
    expect(one, "+OK\r\n", "set a 1");
    expect(one, "-ERR timeout is negative\r\n", "client pause -1");
    expect(one, "-ERR timeout is not an integer or out of range\r\n", "client pause x");
    expect(one, "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n", "client pause 1 x");
    expect(one, "-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n", "client pause x x");
}

static void a_paused_request_of_a_connection_that_ends_is_given_up(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "client pause 1000");
    expect(two, "", "set a 1");
    expect(one, "+OK\r\n", "client unpause");
    expect_later(two, "+OK\r\n");
    expect(one, "+OK\r\n", "client pause 1000 write");
    expect(two, "", "set a 2");
    session_end(two);
    expect(one, "$1\r\n1\r\n", "get a");
}

static void who_waits_for_a_lock_can_be_unblocked(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "begin\r\nset a 1");
    expect(two, "", "set a 2");
    expect(three, "", "set a 3");
    expect_in(one, "flags=b ", "client list id 2");
    expect(one, ":1\r\n", "client unblock 2 error");
    expect_later(two, "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    expect(one, ":1\r\n", "client unblock 3 timeout");
    expect_in(three, "LOCKTIMEOUT", "ping");
    expect(one, ":0\r\n", "client unblock 3");
    expect(one, "+OK\r\n", "commit");
    expect(two, "$1\r\n1\r\n", "get a");
    expect(one, "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR\r\n", "client unblock 3 x");
    expect(one, "-ERR value is not an integer or out of range\r\n", "client unblock x");
}

static void what_a_connection_says_of_itself_is_listed(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "client no-evict on");
    expect(one, "+OK\r\n", "client no-touch on");
    expect_in(two, "flags=eT ", "client list id 1");
    expect(one, "+OK\r\n", "client no-evict off");
    expect(one, "-ERR syntax error\r\n", "client no-touch maybe");
    expect_in(two, "flags=T ", "client list id 1");
    expect(one, ":-1\r\n", "client getredir");
    expect(
        one,
        "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n*0\r\n",
        "client trackinginfo");
    expect(one, "-ERR lib-name cannot contain spaces, newlines or special characters.\r\n",
           "client setinfo lib-name \"a b\"");
    expect_in(one, "+CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n",
              "client help");
}

int main(void)
{
#define WITH_SESSIONS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_SESSIONS(a_connection_is_killed_by_its_id),
        WITH_SESSIONS(killing_by_address_takes_the_caller_along_once_it_has_its_reply),
        WITH_SESSIONS(filters_of_kill_are_joined),
        WITH_SESSIONS(mistakes_in_kill_are_told),
        WITH_SESSIONS(a_pause_holds_all_commands_until_its_end),
        WITH_SESSIONS(a_pause_of_writes_lets_reads_through_and_can_be_lifted),
        WITH_SESSIONS(longer_and_wider_pauses_win),
        WITH_SESSIONS(a_paused_request_of_a_connection_that_ends_is_given_up),
        WITH_SESSIONS(who_waits_for_a_lock_can_be_unblocked),
        WITH_SESSIONS(what_a_connection_says_of_itself_is_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
