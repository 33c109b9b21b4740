/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Workers and connections over a real database on the test disk: how connections spread, replies
 * that wait for the log, a log that fails, stopping.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "net/net_fixture.h"

enum { WORKERS = NET_FIXTURE_WORKERS };

static void connections_spread_evenly_over_the_workers(void **state)
{
    (void)state;
    int fds[10 * WORKERS];
    for (unsigned n = 0; n < 10 * WORKERS; n++) {
        fds[n] = client_open();
        client_ask(fds[n], "PING\r\n", "+PONG\r\n");
    }
    for (unsigned n = 0; n < WORKERS; n++)
        assert_int_equal(net_worker_connections(net_fixture.net, n), 10);
    for (unsigned n = 0; n < 10 * WORKERS; n++)
        close(fds[n]);
}

static void a_worker_that_sleeps_is_woken_when_its_replies_may_go(void **state)
{
    (void)state;
    int fds[WORKERS];
    for (unsigned n = 0; n < WORKERS; n++)
        fds[n] = client_open();
    for (unsigned round = 0; round < 300; round++) {
        for (unsigned n = 0; n < WORKERS; n++)
            client_send(fds[n], "INCR count\r\n");
        for (unsigned n = 0; n < WORKERS; n++) {
            char byte = 0;
            while (byte != '\n')
                assert_int_equal(recv(fds[n], &byte, 1, 0), 1);
        }
    }
    client_ask(fds[0], "GET count\r\n", "$3\r\n900\r\n");
    for (unsigned n = 0; n < WORKERS; n++)
        close(fds[n]);
}

static void replies_that_wait_when_the_log_fails_say_that_the_outcome_is_unknown(void **state)
{
    (void)state;
    int fd = client_open();
    client_ask(fd, "SET k durable\r\n", "+OK\r\n");
    disk_cut_after(net_fixture.disk, 1);
    client_ask(fd, "SET k lost\r\n", "-UNKNOWN ");
    char byte = 0;
    while (byte != '\n')
        assert_int_equal(recv(fd, &byte, 1, 0), 1);
    client_ask(fd, "SET k refused\r\n", "-MISCONF ");
    while (byte = 0, recv(fd, &byte, 1, 0) == 1 && byte != '\n') {
    }
    client_ask(fd, "GET k\r\n", "$7\r\ndurable\r\n");
    close(fd);
}

static void an_orderly_stop_answers_what_was_sent_before(void **state)
{
    (void)state;
    int fd = client_open();
    client_ask(fd, "PING\r\n", "+PONG\r\n");
    for (unsigned n = 0; n < 50; n++)
        client_send(fd, "SET k v\r\n");
    client_settle(fd);
    net_stop(net_fixture.net, false);
    for (unsigned n = 0; n < 50; n++)
        client_expect(fd, "+OK\r\n");
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    net_join(net_fixture.net);
    close(fd);
}

static void a_taken_port_and_an_open_address_are_refused(void **state)
{
    (void)state;
    struct net *other;
    struct net_options options = {.listen = net_listen_address(net_fixture.net), .worker_count = 1};
    assert_int_equal(net_new(&options, &other), ERROR_LOCKED);
    assert_non_null(strstr(diag_message(), "--listen"));
    options.listen = "0.0.0.0:0";
    assert_int_equal(net_new(&options, &other), ERROR_ACCESS);
    assert_non_null(strstr(diag_message(), "--password"));
    options.password = true;
    assert_int_equal(net_new(&options, &other), 0);
    net_delete(other);
}

static void a_start_that_fails_leaves_nothing_running(void **state)
{
    (void)state;
    struct net *other;
    const struct net_options options = {.listen = "127.0.0.1:0", .worker_count = 2};
    assert_int_equal(net_new(&options, &other), 0);
    assert_int_equal(net_start(other, net_fixture.service),
                     ERROR_INVALID); /* its workers are all taken */
    net_delete(other);
}

/* A number that a connection has in CLIENT LIST. */
static unsigned long client_number(int asker, const char *id, const char *name)
{
    char request[64], list[2048], what[32];
    size_t size = 0;
    snprintf(request, sizeof request, "CLIENT LIST ID %s\r\n", id);
    client_send(asker, request);
    do { /* a bulk string whose text ends with a line */
        ssize_t got = recv(asker, list + size, sizeof list - 1 - size, 0);
        assert_true(got > 0);
        size += (size_t)got;
        list[size] = 0;
    } while (!strstr(list, "\n\r\n"));
    snprintf(what, sizeof what, " %s=", name);
    assert_non_null(strstr(list, what));
    return strtoul(strstr(list, what) + strlen(what), NULL, 10);
}

static void client_id(int fd, char out[32])
{
    size_t size = 0;
    client_send(fd, "CLIENT ID\r\n");
    do {
        assert_int_equal(recv(fd, out + size, 1, 0), 1);
    } while (out[size++] != '\n');
    out[size - 2] = 0;
    memmove(out, out + 1, size - 2); /* behind the colon */
}

static void tcp_asks_silent_peers_for_a_sign_of_life(void **state)
{
    (void)state;
    static const char *const seconds[] = {"300", "7", "0"};
    int asker = client_open();
    for (unsigned n = 0; n < 3; n++) {
        char request[64], id[32];
        snprintf(request, sizeof request, "CONFIG SET tcp-keepalive %s\r\n", seconds[n]);
        client_ask(asker, request, "+OK\r\n");
        int fd = client_open(), value;
        socklen_t size = sizeof value;
        client_id(fd, id);
        int its = (int)client_number(asker, id, "fd"); /* the server is of this process */
        assert_int_equal(getsockopt(its, SOL_SOCKET, SO_KEEPALIVE, &value, &size), 0);
        assert_int_equal(value != 0, n < 2);
        assert_int_equal(getsockopt(its, IPPROTO_TCP, TCP_KEEPIDLE, &value, &size), 0);
        if (n < 2)
            assert_int_equal(value, (int)strtol(seconds[n], NULL, 10));
        close(fd);
    }
    close(asker);
}

enum { PAUSE_BYTES = 64 << 20, VALUE_BYTES = 4000, PIPELINE = 100000 };

/* Every other command of the pipeline asks for the value, the others say which they are. */
static size_t pipeline_write(char *out)
{
    size_t size = 0;
    for (unsigned n = 0; n < PIPELINE; n++)
        size += (size_t)(n % 2 ? sprintf(out + size, "GET v\r\n")
                               : sprintf(out + size, "ECHO %06u\r\n", n));
    return size;
}

static void replies_expect(int fd, char *got, const char *value)
{
    char expected[64];
    for (unsigned n = 0; n < PIPELINE; n += 2) {
        size_t head =
            (size_t)snprintf(expected, sizeof expected, "$6\r\n%06u\r\n$%d\r\n", n, VALUE_BYTES);
        size_t size = head + VALUE_BYTES + 2;
        assert_int_equal(client_receive(fd, got, size), size);
        assert_memory_equal(got, expected, head);
        assert_memory_equal(got + head, value, VALUE_BYTES);
    }
}

/* 200 MB of replies to a client that does not read until the server has stopped to read from it. */
static void a_slow_reader_costs_bounded_memory_and_gets_its_replies_in_order(void **state)
{
    (void)state;
    int slow = client_open(), asker = client_open();
    char id[32], *value = malloc(VALUE_BYTES + 1), *requests = malloc(PIPELINE * 16);
    char *got = malloc(VALUE_BYTES + 64), head[64];
    memset(value, 'v', VALUE_BYTES);
    value[VALUE_BYTES] = 0;
    snprintf(head, sizeof head, "*3\r\n$3\r\nSET\r\n$1\r\nv\r\n$%d\r\n", VALUE_BYTES);
    client_send(asker, head);
    client_send(asker, value);
    client_ask(asker, "\r\n", "+OK\r\n");
    client_id(slow, id);
    size_t size = pipeline_write(requests), sent = 0;
    ssize_t part =
        0; /* until there is output that the socket does not take, and no more input is taken */
    while (client_number(asker, id, "obl") == 0 || (part > 0 && sent < size)) {
        part = send(slow, requests + sent, size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += part > 0 ? (size_t)part : 0;
    }
    assert_true(client_number(asker, id, "obl") < PAUSE_BYTES + (1 << 20));
    assert_true(client_number(asker, id, "tot-mem") < 3ul * PAUSE_BYTES);
    client_ask(asker, "PING\r\n", "+PONG\r\n");
    pid_t child = fork(); /* sends the rest, while this one reads */
    assert_true(child >= 0);
    if (child == 0) {
        while (sent < size) {
            part = send(slow, requests + sent, size - sent, MSG_NOSIGNAL);
            if (part <= 0)
                _exit(1);
            sent += (size_t)part;
        }
        _exit(0);
    }
    replies_expect(slow, got, value);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    while (client_number(asker, id, "tot-mem") > 1 << 20)
        sched_yield();
    close(slow);
    close(asker);
    free(got);
    free(requests);
    free(value);
}

/* SET, SET again, GET of values that arrive over a socket, in which the session has most of each read put
 * where it wants it; one of whose bytes some never come; and one that is read when another is in its
 * place. */
static void large_values_come_and_go(void **state)
{
    enum { LARGE_BYTES = 9 << 20 };
    (void)state;
    int fd = client_open(), gone = client_open(), slow = client_open();
    char head[64], *value = malloc(LARGE_BYTES + 1), *got = malloc(LARGE_BYTES + 64);
    char *last = malloc(LARGE_BYTES + 1), *given;
    size_t bytes = 0, last_bytes;
    for (unsigned round = 0; round < 3; round++) {
        given = last;
        last = value;
        value = given;
        last_bytes = bytes;
        bytes = LARGE_BYTES - round * 1234567;
        for (size_t at = 0; at < bytes; at++)
            value[at] = (char)('!' + (at + (at >> 12) + round) % 90);
        value[bytes] = 0;
        if (round > 0) { /* it has been asked for, and its reply has begun */
            snprintf(head, sizeof head, "$%zu\r\n", last_bytes);
            client_ask(slow, "GET v\r\n", head);
        }
        snprintf(head, sizeof head, "*3\r\n$3\r\nSET\r\n$1\r\nv\r\n$%zu\r\n", bytes);
        client_send(fd, head);
        client_send(fd, value);
        client_ask(fd, "\r\n", "+OK\r\n");
        client_send(gone, head);
        client_send(gone, value + 2000000);
        snprintf(head, sizeof head, "$%zu\r\n", bytes);
        client_ask(fd, "GET v\r\n", head);
        assert_int_equal(client_receive(fd, got, bytes + 2), bytes + 2);
        assert_memory_equal(got, value, bytes);
        if (round > 0) {
            assert_int_equal(client_receive(slow, got, last_bytes + 2), last_bytes + 2);
            assert_memory_equal(got, last, last_bytes);
        }
        close(gone);
        gone = client_open();
    }
    close(slow);
    close(gone);
    close(fd);
    free(got);
    free(last);
    free(value);
}

#define with_net(test) \
    cmocka_unit_test_setup_teardown(test, net_fixture_setup, net_fixture_teardown)

static void a_worker_that_has_had_no_turn_since_it_was_asked_is_told(void **state)
{
    (void)state;
    struct net *idle;
    const struct net_options listen = {.listen = "127.0.0.1:0", .worker_count = 2};
    assert_int_equal(net_new(&listen, &idle), 0);
    assert_true(net_is_alive(idle)); /* nobody has been asked yet */
    assert_false(net_is_alive(idle));
    assert_false(net_is_alive(idle));
    net_delete(idle);
    for (unsigned times = 0; times < 3; times++)
        while (!net_is_alive(net_fixture.net)) /* those that run answer */
            sched_yield();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_net(a_worker_that_has_had_no_turn_since_it_was_asked_is_told),
        with_net(tcp_asks_silent_peers_for_a_sign_of_life),
        with_net(a_slow_reader_costs_bounded_memory_and_gets_its_replies_in_order),
        with_net(large_values_come_and_go),
        with_net(connections_spread_evenly_over_the_workers),
        with_net(a_worker_that_sleeps_is_woken_when_its_replies_may_go),
        with_net(replies_that_wait_when_the_log_fails_say_that_the_outcome_is_unknown),
        with_net(an_orderly_stop_answers_what_was_sent_before),
        with_net(a_taken_port_and_an_open_address_are_refused),
        with_net(a_start_that_fails_leaves_nothing_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
