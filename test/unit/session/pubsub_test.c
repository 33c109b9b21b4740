/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Channels: who gets what, when, and in which order; and what is not sent before it is durable.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "session/sessions.h"

static struct session *three;

static int setup(void **state)
{
    (void)state;
    sessions_start(NULL, (struct service_limits){.subscriber_bytes_max = 100000});
    three = session_fixture_connect(fixture, 2);
    return 0;
}

static int teardown(void **state)
{
    session_delete(three);
    return sessions_teardown(state);
}

#define MESSAGE(channel, payload) "*3\r\n$7\r\nmessage\r\n" channel payload

static void channels_are_listened_to_within_a_transaction(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n",
           "multi\r\nsubscribe a b\r\nset k v\r\nssubscribe s\r\nunsubscribe a");
    expect(
        one,
        "*4\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"
        "+OK\r\n-ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client\r\n"
        "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n",
        "exec");
    expect(two, ":0\r\n:1\r\n", "publish a x\r\npublish b x");
    expect_take(one, MESSAGE("$1\r\nb\r\n", "$1\r\nx\r\n"));
}

static void an_exec_that_is_undone_leaves_what_is_listened_to(void **state)
{
    (void)state;
    session_fixture_text(fixture, one, "hello 3\r\nsubscribe a\r\npsubscribe p*");
    expect(one, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n",
           "multi atomic\r\nset k v\r\nunsubscribe\r\npunsubscribe\r\nsubscribe b\r\nincr k");
    expect(one,
           "-EXECABORT Transaction undone because command 5 'incr' failed: ERR value is not an "
           "integer or out of range\r\n",
           "exec");
    expect(two, ":1\r\n:1\r\n:0\r\n", "publish a x\r\npublish px x\r\npublish b x");
    expect_take(one, ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
                     ">4\r\n$8\r\npmessage\r\n$2\r\np*\r\n$2\r\npx\r\n$1\r\nx\r\n");
}

static void a_transaction_that_reads_tells_what_it_missed(void **state)
{
    (void)state;
    expect(two, "+OK\r\n", "config set notify-keyspace-events KEm");
    session_fixture_text(fixture, one, "subscribe __keyevent@0__:keymiss");
    expect(two, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$-1\r\n$-1\r\n",
           "multi\r\nget k\r\nhget l f\r\nexec");
    expect_take(one, MESSAGE("$22\r\n__keyevent@0__:keymiss\r\n", "$1\r\nk\r\n")
                         MESSAGE("$22\r\n__keyevent@0__:keymiss\r\n", "$1\r\nl\r\n"));
    expect(two, "$-1\r\n", "eval_ro \"return redis.call('get', 'm')\" 0");
    expect_take(one, MESSAGE("$22\r\n__keyevent@0__:keymiss\r\n", "$1\r\nm\r\n"));
    assert_non_null(
        strstr(session_fixture_text(fixture, two, "eval_ro \"return box.space._func:insert{1}\" 0"),
               "this request may not write"));
    expect(two, "+OK\r\n", "config set notify-keyspace-events \"\"");
}

static void a_message_reaches_those_who_listen(void **state)
{
    (void)state;
    expect(one, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n", "subscribe news");
    expect(two, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n", "subscribe news");
    expect(three, ":2\r\n:0\r\n", "publish news hello\r\npublish other hello");
    expect_take(one, MESSAGE("$4\r\nnews\r\n", "$5\r\nhello\r\n"));
    expect_take(two, MESSAGE("$4\r\nnews\r\n", "$5\r\nhello\r\n"));
    expect_take(one, "");
}

static void patterns_get_what_matches_with_their_name(void **state)
{
    (void)state;
    expect(one,
           "*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:1\r\n"
           "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:2\r\n",
           "psubscribe n*\r\nsubscribe news");
    expect(two, ":2\r\n:1\r\n:0\r\n", "publish news a\r\npublish new b\r\npublish old c");
    expect_take(one, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\na\r\n"
                     "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$1\r\na\r\n"
                     "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$3\r\nnew\r\n$1\r\nb\r\n");
}

static void who_has_stopped_listening_gets_nothing(void **state)
{
    (void)state;
    expect(one,
           "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n",
           "subscribe a b");
    expect(one, "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n", "unsubscribe a");
    expect(two, ":0\r\n:1\r\n", "publish a 1\r\npublish b 2");
    expect_take(one, MESSAGE("$1\r\nb\r\n", "$1\r\n2\r\n"));
    expect(one, "*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n", "unsubscribe");
    expect(one, "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", "unsubscribe");
    expect(one, "*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n", "punsubscribe");
    expect(one, "+PONG\r\n", "ping");
}

static void while_it_listens_resp2_allows_little_and_resp3_all(void **state)
{
    (void)state;
    expect(one, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", "subscribe a");
    expect(one,
           "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
           "are allowed in this context\r\n",
           "get k");
    expect(one, "*2\r\n$4\r\npong\r\n$0\r\n\r\n*2\r\n$4\r\npong\r\n$2\r\nhi\r\n",
           "ping\r\nping hi");
    expect(one, "+RESET\r\n$-1\r\n", "reset\r\nget k");
    session_fixture_text(fixture, one, "hello 3");
    expect(one, ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n_\r\n", "subscribe a\r\nget k");
    expect(two, ":1\r\n", "publish a x");
    expect_take(one, ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
    expect(one, "+PONG\r\n", "ping");
}

static void what_is_published_in_a_transaction_goes_out_with_its_commit(void **state)
{
    (void)state;
    expect(one, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", "subscribe a");
    expect(two, "+OK\r\n:1\r\n+OK\r\n", "begin\r\npublish a 1\r\nsavepoint s");
    expect(two, ":1\r\n+OK\r\n", "publish a 2\r\nrollback to s");
    expect_take(one, "");
    expect(three, ":1\r\n", "publish a 3");
    expect_take(one, MESSAGE("$1\r\na\r\n", "$1\r\n3\r\n"));
    expect(two, "+OK\r\n", "commit");
    expect_take(one, MESSAGE("$1\r\na\r\n", "$1\r\n1\r\n"));
    expect(two, "+OK\r\n:1\r\n+OK\r\n", "begin\r\npublish a 4\r\nrollback");
    expect(two, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+OK\r\n",
           "multi\r\npublish a 5\r\nset k 1\r\ndiscard");
    expect(two, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n+OK\r\n",
           "multi\r\npublish a 6\r\nset k 1\r\nexec");
    expect(two, ":1\r\n", "eval \"return redis.call('publish', 'a', 7)\" 0");
    session_fixture_text(fixture, two, "eval \"redis.call('publish', 'a', 8) error('no')\" 0");
    expect(two, "$-1\r\n", "lua \"box.notify('a', {x = 9})\"");
    expect_take(one, MESSAGE("$1\r\na\r\n", "$1\r\n6\r\n") MESSAGE("$1\r\na\r\n", "$1\r\n7\r\n")
                         MESSAGE("$1\r\na\r\n", "$7\r\n{\"x\":9}\r\n"));
}

/* Bytes of a session that may be sent now, without waiting for the log. */
static size_t ready_bytes(struct session *session)
{
    return session_output(session).size;
}

static void a_message_that_never_became_durable_is_never_sent(void **state)
{
    (void)state;
    expect(one, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", "subscribe a");
    expect(two, "+OK\r\n", "set k 1");
    disk_cut_after(fixture->disk, 1);
    session_fixture_text(fixture, two, "multi\r\npublish a x\r\nset k 2\r\nexec");
    assert_non_null(strstr(fixture->reply, "-UNKNOWN "));
    session_fixture_text(fixture, two, "publish a y");
    assert_memory_equal(fixture->reply, "-MISCONF ", 9);
    session_fixture_run(fixture);
    assert_int_equal(ready_bytes(one), 0);
}

static void channels_and_their_listeners_are_counted(void **state)
{
    (void)state;
    session_fixture_text(fixture, one, "subscribe a b");
    session_fixture_text(fixture, two, "subscribe b bb");
    session_fixture_text(fixture, two, "psubscribe x* y*");
    session_fixture_text(fixture, one, "psubscribe x*");
    expect(three, "*3\r\n$1\r\na\r\n$1\r\nb\r\n$2\r\nbb\r\n", "pubsub channels");
    expect(three, "*2\r\n$1\r\nb\r\n$2\r\nbb\r\n", "pubsub channels b*");
    expect(three, "*6\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:2\r\n$1\r\nc\r\n:0\r\n",
           "pubsub numsub a b c");
    expect(three, "*0\r\n:2\r\n", "pubsub numsub\r\npubsub numpat");
    session_fixture_text(fixture, three, "client list type pubsub");
    assert_non_null(strstr(fixture->reply, "id=1 "));
    assert_non_null(strstr(fixture->reply, " flags=P db=0 sub=2 psub=2 "));
    assert_null(strstr(fixture->reply, "id=3 "));
    session_fixture_text(fixture, three, "client list type normal");
    assert_null(strstr(fixture->reply, "id=2 "));
    assert_non_null(strstr(fixture->reply, "id=3 "));
    session_delete(one);
    one = session_fixture_connect(fixture, 0);
    expect(three, "*2\r\n$1\r\nb\r\n:1\r\n:2\r\n", "pubsub numsub b\r\npubsub numpat");
}

static void shard_channels_are_a_world_of_their_own(void **state)
{
    (void)state;
    expect(one,
           "*3\r\n$10\r\nssubscribe\r\n$1\r\na\r\n:1\r\n"
           "*3\r\n$10\r\nssubscribe\r\n$1\r\nb\r\n:2\r\n",
           "ssubscribe a b");
    expect(one,
           "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
           "*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:2\r\n",
           "subscribe a\r\npsubscribe *");
    expect(two, ":1\r\n:0\r\n:2\r\n", "spublish a 1\r\nspublish c 1\r\npublish a 2");
    expect_take(one, "*3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$1\r\n1\r\n"
                     "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n2\r\n"
                     "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$1\r\n2\r\n");
    expect(two, "*2\r\n$1\r\na\r\n$1\r\nb\r\n*1\r\n$1\r\nb\r\n",
           "pubsub shardchannels\r\npubsub shardchannels b*");
    expect(two, "*4\r\n$1\r\na\r\n:1\r\n$1\r\nc\r\n:0\r\n", "pubsub shardnumsub a c");
    expect(two,
           "-ERR unknown subcommand or wrong number of arguments for 'shardchannels'. Try PUBSUB "
           "HELP.\r\n",
           "pubsub shardchannels a b");
    session_fixture_text(fixture, two, "client list type pubsub");
    assert_non_null(strstr(fixture->reply, " sub=1 psub=1 ssub=2 "));
    session_fixture_text(fixture, two, "hello 3");
    expect(two, ">3\r\n$10\r\nssubscribe\r\n$1\r\nz\r\n:1\r\n+PONG\r\n", "ssubscribe z\r\nping");
    expect(one, "*3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:1\r\n", "sunsubscribe a");
    expect(one,
           "*3\r\n$12\r\nsunsubscribe\r\n$1\r\nb\r\n:0\r\n"
           "*3\r\n$12\r\nsunsubscribe\r\n$-1\r\n:0\r\n",
           "sunsubscribe\r\nsunsubscribe");
    expect(three, ":0\r\n", "spublish b 1");
}

static void everybody_gets_messages_in_one_order(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    session_fixture_text(fixture, one, "subscribe c");
    session_fixture_text(fixture, two, "psubscribe c");
    struct session *writers[SESSION_FIXTURE_WORKERS];
    for (unsigned n = 0; n < SESSION_FIXTURE_WORKERS; n++)
        writers[n] = session_fixture_connect(fixture, n);
    char expected[64 * 200], *end = expected;
    for (unsigned n = 0; n < 200; n++) {
        struct session *writer = writers[random_below(&random, SESSION_FIXTURE_WORKERS)];
        char line[64];
        int size = snprintf(line, sizeof line, "publish c %03u\r\n", n);
        session_on_bytes(writer, line, (size_t)size);
        end += sprintf(end, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\n%03u\r\n", n);
        if (random_below(&random, 10) == 0)
            session_fixture_take(fixture, writer);
    }
    for (unsigned n = 0; n < SESSION_FIXTURE_WORKERS; n++)
        session_fixture_take(fixture, writers[n]);
    expect_take(one, expected);
    const char *got = session_fixture_take(fixture, two);
    for (unsigned n = 0; n < 200; n++) {
        char line[80];
        snprintf(line, sizeof line, "*4\r\n$8\r\npmessage\r\n$1\r\nc\r\n$1\r\nc\r\n$3\r\n%03u\r\n",
                 n);
        assert_memory_equal(got, line, strlen(line));
        got += strlen(line);
    }
    for (unsigned n = 0; n < SESSION_FIXTURE_WORKERS; n++)
        session_delete(writers[n]);
}

static void who_does_not_take_messages_is_cut_off(void **state)
{
    (void)state;
    char payload[5001];
    memset(payload, 'x', sizeof payload - 1);
    payload[sizeof payload - 1] = 0;
    session_fixture_text(fixture, one, "subscribe a");
    session_fixture_text(fixture, two, "subscribe a");
    for (unsigned n = 0; n < 18; n++) {
        expect(three, ":2\r\n", "publish a %s", payload);
        session_fixture_take(fixture, two);
    }
    assert_false(session_wants_close(one));
    for (unsigned n = 0; n < 4; n++) {
        session_fixture_text(fixture, three, "publish a %s", payload);
        session_fixture_take(fixture, two);
    }
    assert_true(session_wants_close(one));
    assert_int_equal(ready_bytes(one), 0);
    assert_false(session_wants_close(two));
}

static void a_client_of_rpc_gets_notifications(void **state)
{
    (void)state;
    /* [0, 1, "subscribe", ["a"]], [0, 2, "psubscribe", ["a*"]] */
    const char *reply = session_fixture_bytes(fixture, one,
                                              "\x94\x00\x01\xa9subscribe\x91\xa1"
                                              "a\x94\x00\x02\xaapsubscribe\x91\xa2"
                                              "a*",
                                              16 + 18);
    assert_int_equal(fixture->reply_size, 10);
    assert_memory_equal(reply, "\x94\x01\x01\xc0\xc3\x94\x01\x02\xc0\xc3", 10);
    expect(two, "$-1\r\n", "lua \"box.notify('a', {1, 'x'})\"");
    reply = session_fixture_take(fixture, one);
    static const char WANTED[] = "\x93\x02\xa7message\x92\xa1"
                                 "a\x92\x01\xa1x"
                                 "\x93\x02\xa8pmessage\x93\xa2"
                                 "a*\xa1"
                                 "a\x92\x01\xa1x";
    assert_int_equal(fixture->reply_size, sizeof WANTED - 1);
    assert_memory_equal(reply, WANTED, sizeof WANTED - 1);
    /* [0, 3, "unsubscribe", []], [0, 4, "punsubscribe", ["a*"]], [0, 5, "publish", ["a", 1]] */
    session_fixture_bytes(fixture, one, "\x94\x00\x03\xabunsubscribe\x90", 16);
    session_fixture_bytes(fixture, one,
                          "\x94\x00\x04\xacpunsubscribe\x91\xa2"
                          "a*",
                          20);
    expect(two, ":0\r\n", "publish a x");
    expect_take(one, "");
    expect(two, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", "subscribe a");
    reply = session_fixture_bytes(fixture, one,
                                  "\x94\x00\x05\xa7publish\x92\xa1"
                                  "a\xa1x",
                                  16);
    assert_memory_equal(reply, "\x94\x01\x05\xc0\x01", 5);
    expect_take(two, MESSAGE("$1\r\na\r\n", "$1\r\nx\r\n"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_message_reaches_those_who_listen),
        TEST(channels_are_listened_to_within_a_transaction),
        TEST(an_exec_that_is_undone_leaves_what_is_listened_to),
        TEST(a_transaction_that_reads_tells_what_it_missed),
        TEST(patterns_get_what_matches_with_their_name),
        TEST(who_has_stopped_listening_gets_nothing),
        TEST(while_it_listens_resp2_allows_little_and_resp3_all),
        TEST(what_is_published_in_a_transaction_goes_out_with_its_commit),
        TEST(a_message_that_never_became_durable_is_never_sent),
        TEST(channels_and_their_listeners_are_counted),
        TEST(shard_channels_are_a_world_of_their_own),
        TEST(everybody_gets_messages_in_one_order),
        TEST(who_does_not_take_messages_is_cut_off),
        TEST(a_client_of_rpc_gets_notifications),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
