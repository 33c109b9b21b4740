/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands of a pipeline that share a transaction: when they do, and that nobody can tell but by
 * counting transactions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "session/sessions.h"
#include "txn/txn.h"

/* On a busy machine, too, a group has time enough. */
static int setup(void **state)
{
    (void)state;
    sessions_start(NULL, (struct service_limits){.group_us_max = UINT32_MAX});
    return 0;
}

/* How many transactions have been committed by then. */
static uint64_t commits(void)
{
    struct txn_stats stats;
    txn_stats_get(db_txn_system(fixture->db), &stats);
    return stats.commits;
}

/* The line is answered by the reply, in so many transactions that are committed. */
#define expect_in_commits(count, session, reply, line) \
    do {                                               \
        uint64_t before = commits();                   \
        expect(session, reply, "%s", line);            \
        assert_int_equal(commits() - before, (count)); \
    } while (0)

static void short_writes_of_one_key_beside_each_other_are_one_transaction(void **state)
{
    (void)state;
    expect_in_commits(1, one, "+OK\r\n:2\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
                      "set a 1\r\nincr a\r\nlpush l x\r\nsadd s x\r\nhset h f v\r\nzadd z 1 m");
    expect_in_commits(1, two, "$1\r\n2\r\n", "get a");
    expect_in_commits(1, one, "$1\r\nx\r\n$1\r\nx\r\n:1\r\n:0\r\n",
                      "lpop l\r\nspop s\r\ndel a\r\ndel a");
    expect(two, ":0\r\n", "exists a l s");
}

static void what_reads_or_has_several_keys_stands_between_groups(void **state)
{
    (void)state;
    expect_in_commits(4, one, ":1\r\n:2\r\n$1\r\n2\r\n:3\r\n:4\r\n+OK\r\n",
                      "incr a\r\nincr a\r\nget a\r\nincr a\r\nincr a\r\nmset a 1 b 2");
    expect_in_commits(2, one, ":2\r\n:0\r\n", "del a b\r\ndel a");
    expect_in_commits(2, one, "-ERR wrong number of arguments for 'incr' command\r\n:1\r\n:1\r\n",
                      "incr\r\nincr a\r\ndel a b");
    expect_in_commits(2, one, ":1\r\n:0\r\n", "incr a\r\npublish a b");
}

static void a_command_that_fails_undoes_itself_alone(void **state)
{
    (void)state;
    expect(one,
           "+OK\r\n:1\r\n-ERR value is not an integer or out of range\r\n"
           "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n:2\r\n+OK\r\n",
           "set s x\r\nincr n\r\nincr s\r\nlpush s y\r\nincr n\r\nset t y");
    expect(two, "*3\r\n$1\r\nx\r\n$1\r\n2\r\n$1\r\ny\r\n", "mget s n t");
    expect_in(two, "cmdstat_incr:calls=3,", "info commandstats");
    expect_in(two, ",rejected_calls=0,failed_calls=1\r\n", "info commandstats");
    expect_in(two, "errorstat_ERR:count=1\r\nerrorstat_WRONGTYPE:count=1\r\n", "info errorstats");
}

static void after_one_was_lost_a_connection_does_without_groups_for_a_while(void **state)
{
    (void)state;
    expect(one, "+OK\r\n-ERR value is not an integer or out of range\r\n", "set s x\r\nincr s");
    expect_in_commits(2, one, ":1\r\n:2\r\n", "incr n\r\nincr n");
    expect_in_commits(1, two, ":3\r\n:4\r\n", "incr n\r\nincr n");
    for (unsigned n = 0; n < 20; n++)
        expect(one, "+PONG\r\n", "ping");
    expect_in_commits(1, one, ":5\r\n:6\r\n", "incr n\r\nincr n");
}

static void a_group_that_would_have_to_wait_leaves_it_to_the_one_request(void **state)
{
    (void)state;
    expect(two, "+OK\r\n:1\r\n", "begin\r\nincr k");
    expect(one, "+OK\r\n", "set a 1\r\nincr k\r\nset b 1");
    expect(two, "+OK\r\n", "commit");
    session_fixture_run(fixture);
    expect_take(one, ":2\r\n+OK\r\n");
    expect(two, "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n1\r\n", "mget a k b");
}

static void who_watches_a_key_sees_a_group(void **state)
{
    (void)state;
    expect(two, "+OK\r\n+OK\r\n+QUEUED\r\n", "watch k\r\nmulti\r\nset k mine");
    expect_in_commits(1, one, "+OK\r\n+OK\r\n", "set other 1\r\nset k theirs");
    expect(two, "*-1\r\n$6\r\ntheirs\r\n", "exec\r\nget k");
}

static void events_come_after_the_commit_in_the_order_of_the_commands(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "config set notify-keyspace-events KA");
    session_fixture_text(fixture, two, "hello 3\r\npsubscribe *");
    expect_in_commits(1, one, ":1\r\n+OK\r\n:1\r\n", "incr a\r\nset b x\r\ndel a");
    session_fixture_run(fixture);
    const char *told = session_fixture_take(fixture, two);
    const char *first = strstr(told, "incrby"), *second = strstr(told, "$3\r\nset");
    assert_true(first && second && strstr(told, "$3\r\ndel"));
    assert_true(first < second && second < strstr(told, "$3\r\ndel"));
}

static void who_tracks_a_key_is_told_of_each_change(void **state)
{
    (void)state;
    session_fixture_text(fixture, two, "hello 3\r\nclient tracking on\r\nget a\r\nget b");
    expect_in_commits(1, one, "+OK\r\n+OK\r\n", "set b 1\r\nset a 1");
    expect_take(two, ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nb\r\n"
                     ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n");
}

static void who_waits_for_a_list_gets_what_a_group_pushes(void **state)
{
    (void)state;
    expect(two, "", "blpop l 0");
    expect_in_commits(2, one, "+OK\r\n:1\r\n", "set a 1\r\nrpush l x"); /* theirs, too */
    session_fixture_run(fixture);
    expect_take(two, "*2\r\n$1\r\nl\r\n$1\r\nx\r\n");
}

static void slow_log_and_statistics_are_of_single_commands(void **state)
{
    (void)state;
    expect(two, "+OK\r\n", "config set slowlog-log-slower-than 0");
    expect(two, "+OK\r\n+OK\r\n", "config resetstat\r\nslowlog reset");
    expect_in_commits(1, one, ":1\r\n:2\r\n:1\r\n", "incr a\r\nincr a\r\nsadd s x");
    expect_in(two, "*2\r\n$4\r\nincr\r\n$1\r\na\r\n", "slowlog get");
    expect_in(two, "*3\r\n$4\r\nsadd\r\n$1\r\ns\r\n$1\r\nx\r\n", "slowlog get");
    expect_in(two, "cmdstat_incr:calls=2,", "info commandstats");
    expect_in(two, "cmdstat_sadd:calls=1,", "info commandstats");
}

static void who_monitors_sees_the_commands_one_by_one(void **state)
{
    (void)state;
    expect(two, "+OK\r\n", "monitor");
    expect_in_commits(2, one, ":1\r\n:2\r\n", "incr a\r\nincr a");
    session_fixture_run(fixture);
    const char *lines = session_fixture_take(fixture, two);
    const char *first = strstr(lines, "\"incr\" \"a\"\r\n");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "\"incr\" \"a\"\r\n"));
}

static void a_connection_that_is_particular_has_no_groups(void **state)
{
    (void)state;
    expect_in_commits(2, one, "", "client reply off\r\nincr a\r\nincr a");
    expect(one, "+OK\r\n", "client reply on");
    expect(one, "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:3\r\n:4\r\n",
           "client tracking off\r\nmulti\r\nincr a\r\nincr a\r\nexec");
    expect_in_commits(0, one, "+OK\r\n:5\r\n:6\r\n", "begin\r\nincr a\r\nincr a");
    expect(one, "+OK\r\n", "commit");
    expect_in_commits(1, one, ":7\r\n:8\r\n", "incr a\r\nincr a");
}

static void whose_rules_have_to_be_asked_has_no_groups(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "acl setuser eve on nopass ~mine* +@all");
    expect(two, "+OK\r\n", "auth eve x");
    expect_in(two, ":1\r\n-NOPERM", "incr mine\r\nincr yours\r\nincr mine");
    expect(one, "*2\r\n$1\r\n2\r\n$-1\r\n", "mget mine yours");
}

static void large_requests_are_executed_by_themselves(void **state)
{
    (void)state;
    char line[4096];
    memset(line, 'x', sizeof line);
    int size = snprintf(line, 32, "set a 1\r\nset b ");
    line[size] = 'x';
    snprintf(line + 3000, sizeof line - 3000, "\r\nset c 1");
    expect_in_commits(3, one, "+OK\r\n+OK\r\n+OK\r\n", line);
}

/* Rows and elements are enough for a batch to fetch what its requests name (session_prefetch.c). */
static void batches_on_large_collections_do_what_their_requests_say(void **state)
{
    (void)state;
    enum { EACH = 16, BATCHES = 40 };
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned n = 0; n < EACH * BATCHES; n += EACH) {
            char line[EACH * 100], reply[EACH * 16] = "";
            size_t size = 0;
            for (unsigned m = n; m < n + EACH; m++) {
                size += (size_t)snprintf(line + size, sizeof line - size,
                                         "%szadd z %u m%u\r\nhset h f%u %u\r\nsadd s e%u",
                                         m > n ? "\r\n" : "", m + round, m, m, m + round, m);
                strcat(reply, round ? ":0\r\n:0\r\n:0\r\n" : ":1\r\n:1\r\n:1\r\n");
            }
            expect(one, reply, "%s", line);
        }
        expect(two, ":640\r\n:640\r\n:640\r\n", "zcard z\r\nhlen h\r\nscard s");
        expect(two, ":640\r\n", "zcount z %u %u", round, EACH * BATCHES - 1 + round);
        expect(two, ":7\r\n", "zrank z m7");
    }
    expect(one, ":1\r\n:1\r\n:1\r\n:0\r\n", "zrem z m5\r\nhdel h f5\r\nsrem s e5\r\nzrem z m5");
    expect(two, ":639\r\n:639\r\n:639\r\n", "zcard z\r\nhlen h\r\nscard s");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, sessions_teardown)
    const struct CMUnitTest tests[] = {
        TEST(short_writes_of_one_key_beside_each_other_are_one_transaction),
        TEST(what_reads_or_has_several_keys_stands_between_groups),
        TEST(a_command_that_fails_undoes_itself_alone),
        TEST(after_one_was_lost_a_connection_does_without_groups_for_a_while),
        TEST(a_group_that_would_have_to_wait_leaves_it_to_the_one_request),
        TEST(who_watches_a_key_sees_a_group),
        TEST(events_come_after_the_commit_in_the_order_of_the_commands),
        TEST(who_tracks_a_key_is_told_of_each_change),
        TEST(who_waits_for_a_list_gets_what_a_group_pushes),
        TEST(slow_log_and_statistics_are_of_single_commands),
        TEST(who_monitors_sees_the_commands_one_by_one),
        TEST(a_connection_that_is_particular_has_no_groups),
        TEST(whose_rules_have_to_be_asked_has_no_groups),
        TEST(large_requests_are_executed_by_themselves),
        TEST(batches_on_large_collections_do_what_their_requests_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
