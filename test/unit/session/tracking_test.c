/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CLIENT TRACKING: who is told of which keys, and that nobody keeps an old copy without being told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/sessions.h"

static struct session *three;

static int setup(void **state)
{
    (void)state;
    sessions_start(NULL, (struct service_limits){.subscriber_bytes_max = 100000});
    three = session_fixture_connect(fixture, 2);
    session_fixture_text(fixture, one, "hello 3");
    return 0;
}

static int teardown(void **state)
{
    session_delete(three);
    return sessions_teardown(state);
}

#define INVALIDATE(key) ">2\r\n$10\r\ninvalidate\r\n*1\r\n" key "\r\n"
#define ALL             ">2\r\n$10\r\ninvalidate\r\n_\r\n"

static void who_has_read_a_key_is_told_once_that_it_changed(void **state)
{
    (void)state;
    expect(two, "+OK\r\n", "set k 1");
    expect(one, "+OK\r\n$1\r\n1\r\n_\r\n", "client tracking on\r\nget k\r\nget other");
    expect(two, "+OK\r\n+OK\r\n", "set k 2\r\nset k 3");
    expect_take(one, INVALIDATE("$1\r\nk"));
    expect(two, "+OK\r\n:1\r\n", "set other 1\r\ndel k");
    expect_take(one, INVALIDATE("$5\r\nother"));
    expect(one, "*2\r\n_\r\n$1\r\n1\r\n", "mget k other");
    expect(two, ":1\r\n", "incr k");
    expect_take(one, INVALIDATE("$1\r\nk"));
    expect(one, "+OK\r\n", "client tracking off");
    expect(two, "+OK\r\n", "set other 2");
    expect_take(one, "");
}

static void changes_are_told_after_their_commit_and_not_without_it(void **state)
{
    (void)state;
    expect(one, "+OK\r\n_\r\n", "client tracking on\r\nget k");
    expect(two, "+OK\r\n+OK\r\n", "begin\r\nset k 1");
    expect_take(one, "");
    expect(two, "+OK\r\n", "rollback");
    expect_take(one, "");
    expect(two, "+OK\r\n+OK\r\n+OK\r\n", "begin\r\nset k 1\r\ncommit");
    expect_take(one, INVALIDATE("$1\r\nk"));
    expect(one, "$1\r\n1\r\n", "get k");
    session_fixture_text(fixture, two, "eval \"redis.call('set', 'k', 2)\" 0");
    expect_take(one, INVALIDATE("$1\r\nk"));
}

static void a_flush_tells_to_forget_all(void **state)
{
    (void)state;
    expect(one, "+OK\r\n_\r\n", "client tracking on\r\nget k");
    expect(two, "+OK\r\n", "flushall");
    expect_take(one, ALL);
    expect(two, "+OK\r\n", "set k 1");
    expect_take(one, "");
}

static void a_transaction_that_reads_what_is_old_is_told(void **state)
{
    (void)state;
    expect(two, "+OK\r\n", "set k 1");
    expect(one, "+OK\r\n+OK\r\n_\r\n", "client tracking on\r\nbegin\r\nget other");
    expect(two, "+OK\r\n", "set k 2");
    expect_take(one, "");
    expect(one, "$1\r\n1\r\n" INVALIDATE("$1\r\nk"), "get k");
    expect(one, "+OK\r\n$1\r\n2\r\n", "commit\r\nget k");
    expect_take(one, "");
}

static void opting_in_and_out_is_of_one_request(void **state)
{
    (void)state;
    expect(one, "+OK\r\n_\r\n+OK\r\n_\r\n_\r\n",
           "client tracking on optin\r\nget a\r\nclient caching yes\r\nget b\r\nget c");
    expect(two, "+OK\r\n", "mset a 1 b 1 c 1");
    expect_take(one, INVALIDATE("$1\r\nb"));
    expect(one,
           "-ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and "
           "then re-enabling it with a different mode.\r\n"
           "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.\r\n",
           "client tracking on optout\r\nclient caching no");
    expect(one, "+OK\r\n+OK\r\n+OK\r\n$1\r\n1\r\n$1\r\n1\r\n",
           "client tracking off\r\nclient tracking on optout\r\nclient caching no\r\nget a\r\n"
           "get b");
    expect(two, "+OK\r\n", "mset a 2 b 2");
    expect_take(one, INVALIDATE("$1\r\nb"));
    expect(one, "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n2\r\n",
           "client tracking off\r\nclient tracking on optin\r\nclient caching yes\r\nmulti\r\n"
           "get a\r\nexec");
    expect(two, "+OK\r\n", "mset a 3 b 3");
    expect_take(one, INVALIDATE("$1\r\na"));
}

static void own_changes_are_told_unless_it_does_not_want_them(void **state)
{
    (void)state;
    expect(one, "+OK\r\n_\r\n+OK\r\n" INVALIDATE("$1\r\nk"),
           "client tracking on\r\nget k\r\nset k 1");
    expect(one, "+OK\r\n$1\r\n1\r\n+OK\r\n", "client tracking on noloop\r\nget k\r\nset k 1");
    expect_take(one, "");
    expect(one, "+OK\r\n+OK\r\n+OK\r\n",
           "client tracking off\r\nclient tracking on bcast noloop\r\nset k 2");
    expect_take(one, "");
    expect(two, "+OK\r\n", "set k 3");
    expect_take(one, INVALIDATE("$1\r\nk"));
}

static void broadcasts_are_of_prefixes(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "client tracking on bcast prefix user: prefix job:");
    expect(two, "+OK\r\n", "mset user:1 a other b job:2 c");
    expect_take(one, INVALIDATE("$6\r\nuser:1") INVALIDATE("$5\r\njob:2"));
    expect(one,
           "-ERR Prefix 'user:x' overlaps with an existing prefix 'user:'. Prefixes for a single "
           "client must not overlap.\r\n"
           "-ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single "
           "client must not overlap.\r\n"
           "-ERR PREFIX option requires BCAST mode to be enabled\r\n",
           "client tracking on bcast prefix user:x\r\nclient tracking on bcast prefix a prefix ab"
           "\r\nclient tracking on prefix a");
    expect(one,
           "%3\r\n$5\r\nflags\r\n~2\r\n$2\r\non\r\n$5\r\nbcast\r\n$8\r\nredirect\r\n:0\r\n"
           "$8\r\nprefixes\r\n*2\r\n$5\r\nuser:\r\n$4\r\njob:\r\n",
           "client trackinginfo");
    expect(one, "+OK\r\n+OK\r\n", "client tracking off\r\nclient tracking on bcast");
    expect(two, "+OK\r\n", "set any 1");
    expect_take(one, INVALIDATE("$3\r\nany"));
}

static void messages_of_one_go_to_another_that_speaks_resp2(void **state)
{
    (void)state;
    expect(two, "*3\r\n$9\r\nsubscribe\r\n$20\r\n__redis__:invalidate\r\n:1\r\n",
           "subscribe __redis__:invalidate");
    expect(three, "+OK\r\n:2\r\n$-1\r\n",
           "client tracking on redirect 2\r\nclient getredir\r\nget k");
    expect(one, "+OK\r\n", "set k 1");
    expect_take(two, "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n");
    expect(one, "+OK\r\n", "flushdb");
    expect_take(two, "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n$-1\r\n");
    expect(one,
           "-ERR The client ID you want redirect to does not exist\r\n"
           "-ERR A client can only redirect to a single other client\r\n",
           "client tracking on redirect 77\r\nclient tracking on redirect 2 redirect 2");
}

static void who_redirects_to_one_that_has_gone_is_told(void **state)
{
    (void)state;
    expect(one, "+OK\r\n_\r\n", "client tracking on redirect 2\r\nget k");
    session_delete(two);
    two = session_fixture_connect(fixture, 1);
    expect(three, "+OK\r\n", "set k 1");
    expect_take(one, ">2\r\n$21\r\ntracking-redir-broken\r\n:2\r\n");
    expect(one,
           "%3\r\n$5\r\nflags\r\n~2\r\n$2\r\non\r\n$15\r\nbroken_redirect\r\n$8\r\nredirect\r\n"
           ":2\r\n$8\r\nprefixes\r\n*0\r\n",
           "client trackinginfo");
}

static void the_table_has_a_bound_and_who_leaves_it_is_told(void **state)
{
    (void)state;
    char command[32];
    expect(two, "+OK\r\n", "config set tracking-table-max-keys 10");
    expect(one, "+OK\r\n", "client tracking on");
    for (unsigned n = 0; n < 30; n++) {
        snprintf(command, sizeof command, "get key%u", n);
        session_fixture_text(fixture, one, "%s", command);
    }
    session_fixture_text(fixture, two, "info stats");
    assert_non_null(strstr(fixture->reply, "tracking_total_keys:10\r\n"));
    session_fixture_text(fixture, two, "info clients");
    assert_non_null(strstr(fixture->reply, "tracking_clients:1\r\n"));
    session_fixture_text(fixture, two, "client list");
    assert_non_null(strstr(fixture->reply, " flags=t "));
}

static void what_scripts_read_is_remembered(void **state)
{
    (void)state;
    expect(one, "+OK\r\n_\r\n", "client tracking on\r\neval \"return redis.call('get', 'k')\" 0");
    expect(two, "+OK\r\n", "set k 1");
    expect_take(one, INVALIDATE("$1\r\nk"));
}

static void nobody_is_left_in_the_tables(void **state)
{
    (void)state;
    expect(one, "+OK\r\n_\r\n", "client tracking on\r\nget k");
    expect(one, "+RESET\r\n", "reset");
    session_fixture_text(fixture, two, "info stats");
    assert_non_null(strstr(fixture->reply, "tracking_total_keys:0\r\n"));
    expect(two,
           "*6\r\n$5\r\nflags\r\n*1\r\n$3\r\noff\r\n$8\r\nredirect\r\n:-1\r\n$8\r\nprefixes\r\n"
           "*0\r\n:-1\r\n",
           "client trackinginfo\r\nclient getredir");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_has_read_a_key_is_told_once_that_it_changed),
        TEST(changes_are_told_after_their_commit_and_not_without_it),
        TEST(a_flush_tells_to_forget_all),
        TEST(a_transaction_that_reads_what_is_old_is_told),
        TEST(opting_in_and_out_is_of_one_request),
        TEST(own_changes_are_told_unless_it_does_not_want_them),
        TEST(broadcasts_are_of_prefixes),
        TEST(messages_of_one_go_to_another_that_speaks_resp2),
        TEST(who_redirects_to_one_that_has_gone_is_told),
        TEST(the_table_has_a_bound_and_who_leaves_it_is_told),
        TEST(what_scripts_read_is_remembered),
        TEST(nobody_is_left_in_the_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
