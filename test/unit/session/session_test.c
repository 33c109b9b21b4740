/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A connection's input and output: pieces, pipelines, back-pressure, limits, protocol errors, and
 * replies that wait for the log.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "session/sessions.h"

static void a_pipeline_is_answered_in_order(void **state)
{
    (void)state;
    expect(one, "+OK\r\n$1\r\n1\r\n:2\r\n$1\r\n2\r\n+PONG\r\n",
           "set a 1\r\nget a\r\nincr a\r\nget a\r\nping");
    expect(two, "$1\r\n2\r\n", "get a");
}

static void an_empty_request_is_not_answered(void **state)
{
    (void)state;
    expect(one, "+PONG\r\n", "\r\n\r\n*0\r\nping");
}

/* Requests of every shape with what they are answered by, as one text each. */
static void conversation(char **request, char **reply, struct random *random)
{
    size_t request_size, reply_size;
    FILE *in = open_memstream(request, &request_size), *out = open_memstream(reply, &reply_size);
    for (unsigned n = 0; n < 300; n++) {
        unsigned size = (unsigned)random_below(random, n % 50 ? 20 : 20000);
        char *value = malloc(size + 1);
        memset(value, 'a' + (int)(n % 26), size);
        value[size] = 0;
        switch (random_below(random, 3)) {
        case 0:
            fprintf(in, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%u\r\n%s\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
                    size, value);
            fprintf(out, "+OK\r\n$%u\r\n%s\r\n", size, value);
            break;
        case 1:
            fprintf(in, "*2\r\n$4\r\necho\r\n$%u\r\n%s\r\n", size, value);
            fprintf(out, "$%u\r\n%s\r\n", size, value);
            break;
        default:
            fprintf(in, "ping hello\r\n");
            fprintf(out, "$5\r\nhello\r\n");
        }
        free(value);
    }
    fclose(in);
    fclose(out);
}

static void requests_may_arrive_in_any_pieces(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned round = 0; round < 20; round++) {
        char *request, *reply, *got;
        size_t got_size, at = 0;
        conversation(&request, &reply, &random);
        FILE *all = open_memstream(&got, &got_size);
        size_t size = strlen(request), piece_max = round % 4 == 0   ? 3
                                                   : round % 4 == 1 ? 100
                                                                    : 50000;
        while (at < size) {
            size_t piece = 1 + random_below(&random, piece_max);
            piece = piece < size - at ? piece : size - at;
            fputs(session_fixture_bytes(fixture, one, request + at, piece), all);
            at += piece;
        }
        fclose(all);
        assert_string_equal(got, reply);
        free(request);
        free(reply);
        free(got);
    }
}

static void a_pipeline_over_many_keys_is_answered_key_by_key(void **state)
{
    (void)state;
    enum { KEYS = 3000, PIPELINE = 40 };
    struct random random;
    random_create(&random, test_seed());
    for (unsigned key = 0; key < KEYS; key++)
        session_fixture_text(fixture, one, "set key:%u %u", key, key);
    for (unsigned round = 0; round < 200; round++) {
        char request[PIPELINE * 32], reply[PIPELINE * 32];
        size_t asked = 0, answered = 0;
        for (unsigned n = 0; n < PIPELINE; n++) {
            unsigned key = (unsigned)random_below(&random, KEYS + 100);
            char value[16];
            int size = sprintf(value, "%u", key);
            asked +=
                (size_t)sprintf(request + asked, n % 7 ? "get key:%u\r\n" : "echo %u\r\n", key);
            answered += (size_t)sprintf(
                reply + answered, n % 7 && key >= KEYS ? "$-1\r\n" : "$%d\r\n%s\r\n", size, value);
        }
        assert_string_equal(session_fixture_bytes(fixture, one, request, asked), reply);
    }
}

static void memory_that_is_used_up_stops_writes_only(void **state)
{
    (void)state;
    expect(one, "+OK\r\n+OK\r\n", "set a 1\r\nset b 1");
    char value[4000]; /* enough of them to be accounted for */
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    for (unsigned n = 0; n < 100; n++)
        expect(one, "+OK\r\n", "set big:%u %s", n, value);
    heap_limit_set(db_heap(fixture->db), 1);
    expect(one, "-OOM command not allowed when used memory > 'maxmemory'.\r\n", "set a 2");
    expect(one, "-OOM command not allowed when used memory > 'maxmemory'.\r\n", "incr a");
    expect(one,
           "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n-OOM command not allowed when used memory > "
           "'maxmemory'.\r\n$1\r\n1\r\n",
           "multi\r\nset a 2\r\nget a\r\nexec");
    expect(one, "$1\r\n1\r\n", "get a");
    expect(one, ":1\r\n", "del b");
    heap_limit_set(db_heap(fixture->db), 0);
    expect(one, ":2\r\n", "incr a");
}

static void a_connection_that_does_not_read_is_not_read_from(void **state)
{
    (void)state;
    session_delete(one);
    session_delete(two);
    session_fixture_delete(fixture);
    sessions_start(NULL, (struct service_limits){.output_bytes_pause = 1000});
    enum { ECHOES = 1000 };
    size_t size = 0;
    char *requests = malloc(ECHOES * 40);
    for (unsigned n = 0; n < ECHOES; n++)
        size += (size_t)sprintf(requests + size, "echo %08u\r\n", n);
    session_on_bytes(one, requests, size);
    assert_false(session_wants_read(one));
    assert_true(session_output(one).size < 1100); /* the rest is held back */
    const char *reply = session_fixture_take(fixture, one);
    assert_int_equal(fixture->reply_size, ECHOES * 14);
    for (unsigned n = 0; n < ECHOES; n++)
        assert_int_equal(strtoul(reply + n * 14 + 4, NULL, 10), n);
    assert_true(session_wants_read(one));
    free(requests);
}

static void output_beyond_its_limit_ends_the_connection(void **state)
{
    (void)state;
    session_delete(one);
    session_delete(two);
    session_fixture_delete(fixture);
    sessions_start(NULL, (struct service_limits){.output_bytes_max = 5000});
    char value[4000];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    expect(one, "+OK\r\n", "set a %s", value);
    const char gets[] = "get a\r\nget a\r\n";
    session_on_bytes(one, gets, sizeof gets - 1);
    assert_true(session_wants_close(one));
    assert_int_equal(session_output(one).size, 0);
}

static void malformed_input_is_answered_by_an_error_and_the_end(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"*1\r\nx", "-ERR Protocol error: expected '$', got 'x'\r\n"},
        {"*a\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
        {"*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
        {"POST / HTTP/1.1\r\n", "-ERR Protocol error: this is a request of HTTP\r\n"},
        {"Host: localhost:6379\r\nset a 1\r\n",
         "-ERR Protocol error: this is a request of HTTP\r\n"},
        {"ping\r\nset a \"1\r\n", "+PONG\r\n-ERR Protocol error: unbalanced quotes in request\r\n"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct session *bad = session_fixture_connect(fixture, 0);
        assert_string_equal(session_fixture_bytes(fixture, bad, cases[n][0], strlen(cases[n][0])),
                            cases[n][1]);
        assert_true(session_wants_close(bad));
        assert_string_equal(session_fixture_text(fixture, bad, "ping"), "");
        session_delete(bad);
    }
    struct session *bad = session_fixture_connect(fixture, 0);
    assert_non_null(
        strstr(session_fixture_bytes(fixture, bad, "\x81\x00", 2), "-ERR Protocol error"));
    assert_true(session_wants_close(bad));
    session_delete(bad);
}

static void a_request_beyond_its_limit_is_refused(void **state)
{
    (void)state;
    session_delete(one);
    session_delete(two);
    session_fixture_delete(fixture);
    sessions_start(NULL, (struct service_limits){.request_bytes_max = 1000});
    expect(one, "-ERR Protocol error: invalid bulk length\r\n", "*2\r\n$4\r\necho\r\n$1001");
    assert_true(session_wants_close(one));
}

static void what_is_queued_and_watched_is_bounded(void **state)
{
    (void)state;
    session_delete(one);
    session_delete(two);
    session_fixture_delete(fixture);
    sessions_start(NULL, (struct service_limits){.request_bytes_max = 100});
    expect(one, "+OK\r\n", "multi");
    unsigned queued = 0;
    while (strcmp(session_fixture_text(fixture, one, "ping"), "+QUEUED\r\n") == 0)
        assert_true(++queued < 100);
    assert_string_equal(fixture->reply, "-OOM too much is queued in this transaction\r\n");
    expect(one, "-EXECABORT Transaction discarded because of previous errors.\r\n", "exec");
    unsigned watched = 0;
    while (strcmp(session_fixture_text(fixture, two, "watch a"), "+OK\r\n") == 0)
        assert_true(++watched < 100);
    assert_string_equal(fixture->reply, "-OOM too much is watched by this connection\r\n");
    expect(two, "+OK\r\n+OK\r\n", "unwatch\r\nwatch a");
}

static void quit_answers_and_ends_the_connection(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "quit\r\nset a 1");
    assert_true(session_wants_close(one));
    assert_false(session_wants_read(one));
    expect(two, "$-1\r\n", "get a");
}

static void more_clients_than_allowed_are_refused(void **state)
{
    (void)state;
    session_delete(one);
    session_delete(two);
    session_fixture_delete(fixture);
    sessions_start(NULL, (struct service_limits){.clients_max = 2});
    struct session_peer peer = {.fd = -1};
    struct session *third;
    assert_int_equal(session_new(fixture->workers[0], &peer, &third), ERROR_BUSY);
    assert_string_equal(session_refusal(ERROR_BUSY), "-ERR max number of clients reached\r\n");
    session_delete(two);
    assert_int_equal(service_client_count(fixture->service), 1);
    two = session_fixture_connect(fixture, 1);
}

static void an_acknowledged_write_is_durable(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 50; n++) {
        session_fixture_text(fixture, one, "set k%u v", n);
        assert_true(wal_durable_ts(db_wal(fixture->db)) >= wal_clock(db_wal(fixture->db)));
    }
}

static void a_write_that_the_log_lost_is_not_acknowledged_nor_shown(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "set a before");
    disk_cut_after(fixture->disk, 1);
    expect(one, "-UNKNOWN outcome unknown: the log failed before this was durable\r\n",
           "set a after");
    assert_true(wal_failed(db_wal(fixture->db)));
    expect(two, "$6\r\nbefore\r\n", "get a");
    expect(one, "$6\r\nbefore\r\n", "get a");
    assert_int_equal(strncmp(session_fixture_text(fixture, one, "set a again"), "-MISCONF ", 9), 0);
    assert_int_equal(
        strncmp(session_fixture_text(fixture, two, "multi\r\nset a again\r\nexec") + 5 + 9,
                "-MISCONF ", 9),
        0);
    expect(two, "+PONG\r\n", "ping");
}

static void replies_behind_a_lost_write_are_as_many_as_requests(void **state)
{
    (void)state;
    disk_cut_after(fixture->disk, 1);
    const char *reply = session_fixture_text(fixture, one, "ping\r\nset a 1\r\nget a\r\nincr a");
    unsigned lines = 0, unknown = 0;
    for (const char *at = reply; *at; at = strstr(at, "\r\n") + 2) {
        lines++;
        unknown += strncmp(at, "-UNKNOWN ", 9) == 0;
    }
    assert_int_equal(lines, 4);
    assert_int_equal(strncmp(reply, "+PONG\r\n-UNKNOWN ", 16), 0);
    assert_int_equal(unknown, 3);
}

int main(void)
{
#define WITH_SESSIONS(test) cmocka_unit_test_setup_teardown(test, sessions_setup, sessions_teardown)
    const struct CMUnitTest tests[] = {
        WITH_SESSIONS(a_pipeline_is_answered_in_order),
        WITH_SESSIONS(an_empty_request_is_not_answered),
        WITH_SESSIONS(requests_may_arrive_in_any_pieces),
        WITH_SESSIONS(a_pipeline_over_many_keys_is_answered_key_by_key),
        WITH_SESSIONS(memory_that_is_used_up_stops_writes_only),
        WITH_SESSIONS(a_connection_that_does_not_read_is_not_read_from),
        WITH_SESSIONS(output_beyond_its_limit_ends_the_connection),
        WITH_SESSIONS(malformed_input_is_answered_by_an_error_and_the_end),
        WITH_SESSIONS(a_request_beyond_its_limit_is_refused),
        WITH_SESSIONS(what_is_queued_and_watched_is_bounded),
        WITH_SESSIONS(quit_answers_and_ends_the_connection),
        WITH_SESSIONS(more_clients_than_allowed_are_refused),
        WITH_SESSIONS(an_acknowledged_write_is_durable),
        WITH_SESSIONS(a_write_that_the_log_lost_is_not_acknowledged_nor_shown),
        WITH_SESSIONS(replies_behind_a_lost_write_are_as_many_as_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
