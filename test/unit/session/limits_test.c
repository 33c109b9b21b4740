/* SPDX-License-Identifier: Apache-2.0 */

/* What a connection may leave unread or unfinished, and how long it may be idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/sessions.h"

enum { VALUE_BYTES = 100000 };

static void set_big(void)
{
    static char request[VALUE_BYTES + 64];
    int size = snprintf(request, sizeof request, "*3\r\n$3\r\nset\r\n$3\r\nbig\r\n$%d\r\n%0*d\r\n",
                        VALUE_BYTES, VALUE_BYTES, 0);
    assert_string_equal(session_fixture_bytes(fixture, one, request, (size_t)size), "+OK\r\n");
}

/* Asks for the value so many times, and reads nothing. */
static void get_unread(struct session *session, unsigned times)
{
    for (unsigned n = 0; n < times; n++)
        session_on_bytes(session, "get big\r\n", 9);
}

static void bytes_send(struct session *session, const char *bytes)
{
    session_on_bytes(session, bytes, strlen(bytes));
}

static void limits_are_set_and_told_as_redis_has_them(void **state)
{
    (void)state;
    expect(one,
           "*2\r\n$26\r\nclient-output-buffer-limit\r\n$69\r\nnormal 1073741824 0 0 slave "
           "268435456 67108864 60 pubsub 33554432 0 0\r\n",
           "config get client-output-buffer-limit");
    expect(one, "+OK\r\n", "config set client-output-buffer-limit \"normal 1mb 100k 5\"");
    expect(one, "+OK\r\n", "config set client-output-buffer-limit \"replica 1 2 3 pubsub 0 0 0\"");
    expect_in(one, "normal 1048576 100000 5 slave 1 2 3 pubsub 0 0 0\r\n",
              "config get client-output-buffer-limit");
    expect_in(one, "- Wrong number of arguments in buffer limit configuration.\r\n",
              "config set client-output-buffer-limit \"normal 1mb 2mb\"");
    expect_in(one, "- Invalid client class specified in buffer limit configuration.\r\n",
              "config set client-output-buffer-limit \"master 1mb 2mb 3\"");
    expect_in(one,
              "- Error in hard, soft or soft_seconds setting in buffer limit configuration.\r\n",
              "config set client-output-buffer-limit \"normal 7 0 0 pubsub 1mb 2mb x\"");
    expect_in(one, "normal 1048576 100000 5 slave", "config get client-output-buffer-limit");
    expect(one, "+OK\r\n", "config set client-query-buffer-limit 2mb");
    expect_in(one, "$7\r\n2097152\r\n", "config get client-query-buffer-limit");
    expect_in(one, "- argument must be between 1048576 and",
              "config set client-query-buffer-limit 1");
    expect(one, "+OK\r\n", "config set maxmemory-clients 5%%");
    expect_in(one, "$2\r\n5%\r\n", "config get maxmemory-clients");
    expect_in(one, "- argument must be a memory or percent value\r\n",
              "config set maxmemory-clients 101%%");
    expect(one, "+OK\r\n", "config set maxmemory-clients 10mb");
    expect_in(one, "$8\r\n10485760\r\n", "config get maxmemory-clients");
    expect(one, "+OK\r\n", "config set tcp-keepalive 60");
    expect_in(one, "$2\r\n60\r\n", "config get tcp-keepalive");
}

static void output_beyond_the_hard_limit_ends_a_connection(void **state)
{
    (void)state;
    set_big();
    expect(one, "+OK\r\n", "config set client-output-buffer-limit \"normal 250000 0 0\"");
    get_unread(two, 2);
    assert_false(session_wants_close(two));
    expect_in(one, " omem=200022 ", "client list id 2");
    get_unread(two, 1);
    assert_true(session_wants_close(two));
    expect_in(one, "client_output_buffer_limit_disconnections:1\r\n", "info stats");
}

static void output_may_be_beyond_the_soft_limit_for_its_seconds(void **state)
{
    (void)state;
    struct session *three = session_fixture_connect(fixture, 1);
    set_big();
    expect(one, "+OK\r\n", "config set client-output-buffer-limit \"normal 0 150000 10\"");
    get_unread(two, 2);
    get_unread(three, 2);
    clock_manual_advance_ms(&fixture->clock, 9000);
    session_fixture_run(fixture);
    assert_false(session_wants_close(two));
    session_fixture_take(fixture, three); /* it has read: its time begins anew */
    get_unread(three, 2);
    clock_manual_advance_ms(&fixture->clock, 2000);
    session_fixture_run(fixture);
    assert_true(session_wants_close(two));
    assert_false(session_wants_close(three));
    clock_manual_advance_ms(&fixture->clock, 9000);
    session_fixture_run(fixture);
    assert_true(session_wants_close(three));
    session_delete(three);
}

static void who_listens_has_limits_of_its_own(void **state)
{
    (void)state;
    expect_in(two, "subscribe", "subscribe c");
    expect(one, "+OK\r\n", "config set client-output-buffer-limit \"pubsub 2000 100 5\"");
    char message[1024];
    memset(message, 'm', sizeof message - 1);
    message[sizeof message - 1] = 0;
    expect(one, ":1\r\n", "publish c %s", message);
    session_fixture_run(fixture);
    assert_false(session_wants_close(two));
    expect_in(one, " omem=1056 ", "client list id 2");
    clock_manual_advance_ms(&fixture->clock, 5001);
    session_fixture_run(fixture);
    assert_true(session_wants_close(two));
    struct session *three = session_fixture_connect(fixture, 1);
    expect_in(three, "subscribe", "subscribe c");
    for (unsigned n = 0; n < 2; n++)
        session_fixture_text(fixture, one, "publish c %s", message);
    session_fixture_run(fixture);
    assert_true(session_wants_close(three));
    session_delete(three);
}

static void input_beyond_its_limit_ends_a_connection(void **state)
{
    (void)state;
    static char part[400001];
    memset(part, 'x', sizeof part - 1);
    expect(one, "+OK\r\n", "config set client-query-buffer-limit 1mb");
    bytes_send(two, "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$2000000\r\n");
    bytes_send(two, part);
    bytes_send(two, part);
    expect_in(one, " qbuf=800030 ", "client list id 2");
    assert_false(session_wants_close(two));
    bytes_send(two, part);
    assert_true(session_wants_close(two));
    struct session *three = session_fixture_connect(fixture, 1);
    expect(three, "+OK\r\n", "multi");
    char line[32];
    for (unsigned n = 0; n < 3; n++) {
        snprintf(line, sizeof line, "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$400000\r\n");
        bytes_send(three, line);
        bytes_send(three, part);
        bytes_send(three, "\r\n");
    }
    assert_true(session_wants_close(three));
    session_delete(three);
    expect_in(one, "client_query_buffer_limit_disconnections:2\r\n", "info stats");
}

static void the_largest_clients_go_when_all_have_too_much(void **state)
{
    (void)state;
    struct session *three = session_fixture_connect(fixture, 0);
    struct session *spared = session_fixture_connect(fixture, 0);
    set_big();
    expect(spared, "+OK\r\n", "client no-evict on");
    get_unread(spared, 20);
    get_unread(three, 8);
    expect(one, "+OK\r\n", "config set maxmemory-clients 6mb");
    get_unread(two, 4);
    session_fixture_run(fixture);
    assert_false(session_wants_close(three));
    expect(one, "+OK\r\n", "config set maxmemory-clients 4mb");
    get_unread(two, 8);
    session_fixture_run(fixture);
    assert_true(session_wants_close(three) || session_wants_close(two));
    assert_false(session_wants_close(spared));
    assert_false(session_wants_close(one));
    session_delete(three);
    session_delete(spared);
}

static void a_connection_of_messagepack_rpc_is_idle_like_others(void **state)
{
    (void)state;
    static const char ping[] = "\x94\x00\x01\xa4ping\x90";
    expect(one, "+OK\r\n", "config set timeout 10");
    session_fixture_bytes(fixture, two, ping, sizeof ping - 1);
    clock_manual_advance_ms(&fixture->clock, 9000);
    session_fixture_run(fixture);
    assert_false(session_wants_close(two));
    session_fixture_bytes(fixture, two, ping, sizeof ping - 1);
    expect(one, "+PONG\r\n", "ping");
    clock_manual_advance_ms(&fixture->clock, 9000);
    session_fixture_run(fixture);
    assert_false(session_wants_close(two));
    expect(one, "+PONG\r\n", "ping");
    clock_manual_advance_ms(&fixture->clock, 2000);
    session_fixture_run(fixture);
    assert_true(session_wants_close(two));
    assert_false(session_wants_close(one));
}

static void who_sends_a_large_request_is_not_idle(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "config set timeout 10");
    bytes_send(two, "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$100\r\n");
    for (unsigned n = 0; n < 5; n++) {
        clock_manual_advance_ms(&fixture->clock, 9000);
        expect(one, "+PONG\r\n", "ping");
        bytes_send(two, "xxxxx");
        session_fixture_run(fixture);
        assert_false(session_wants_close(two));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, sessions_setup, sessions_teardown)
    const struct CMUnitTest tests[] = {
        TEST(limits_are_set_and_told_as_redis_has_them),
        TEST(output_beyond_the_hard_limit_ends_a_connection),
        TEST(output_may_be_beyond_the_soft_limit_for_its_seconds),
        TEST(who_listens_has_limits_of_its_own),
        TEST(input_beyond_its_limit_ends_a_connection),
        TEST(the_largest_clients_go_when_all_have_too_much),
        TEST(a_connection_of_messagepack_rpc_is_idle_like_others),
        TEST(who_sends_a_large_request_is_not_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
