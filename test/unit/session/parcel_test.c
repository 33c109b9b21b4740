/* SPDX-License-Identifier: Apache-2.0 */

/* Large arguments, which are received apart and become rows: in pieces of any size, beside others, given up,
 * beyond limits, run again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "codec/mp.h"
#include "mem/account.h"
#include "mem/parcel.h"
#include "session/session_internal.h"
#include "session/sessions.h"

static struct random rng;
static struct mp_buffer request;

static int setup(void **state)
{
    mp_buffer_create(&request);
    return sessions_setup(state);
}

static int teardown(void **state)
{
    mp_buffer_destroy(&request);
    return sessions_teardown(state);
}

/* ------------------------------------------------------------------------------------- requests */

static void text_add(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void text_add(const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    mp_put_raw(&request, text, (size_t)size);
}

static void word_add(const char *word)
{
    text_add("$%zu\r\n%s\r\n", strlen(word), word);
}

static char byte_of(unsigned seed, size_t at)
{
    return (char)(seed + at + (at >> 8) + (at >> 16));
}

static void bytes_add(unsigned seed, size_t size)
{
    char *to = mp_buffer_reserve(&request, size);
    assert_non_null(to);
    for (size_t at = 0; at < size; at++)
        to[at] = byte_of(seed, at);
    request.size += size;
}

static void value_add(unsigned seed, size_t size)
{
    text_add("$%zu\r\n", size);
    bytes_add(seed, size);
    text_add("\r\n");
}

static void set_add(const char *key, unsigned seed, size_t size)
{
    text_add("*3\r\n");
    word_add("set");
    word_add(key);
    value_add(seed, size);
}

/* A piece of the request, from memory that ends where it ends, or from where the session wants it. */
static void piece_send(struct session *session, const char *data, size_t size)
{
    size_t room = 0;
    char *to = random_next(&rng) % 2 ? session_input_room(session, &room) : NULL;
    if (to && room >= size) {
        memcpy(to, data, size);
        session_on_bytes(session, to, size);
        return;
    }
    char *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, data, size);
    session_on_bytes(session, copy, size);
    free(copy);
}

/* Sends bytes [from, to) of the request in pieces of at most so many bytes; a bound of 0: all at once. */
static void part_send(struct session *session, size_t from, size_t to, size_t piece_max)
{
    while (from < to) {
        size_t size = piece_max ? 1 + random_next(&rng) % piece_max : to - from;
        size = size < to - from ? size : to - from;
        piece_send(session, request.data + from, size);
        from += size;
    }
}

static const char *send_all(struct session *session, size_t piece_max)
{
    part_send(session, 0, request.size, piece_max);
    mp_buffer_reset(&request, SIZE_MAX);
    return session_fixture_take(fixture, session);
}

static void expect_stored(struct session *session, const char *key, unsigned seed, size_t size)
{
    char head[32];
    int head_size = snprintf(head, sizeof head, "$%zu\r\n", size);
    const char *reply = session_fixture_text(fixture, session, "get %s", key);
    assert_int_equal(fixture->reply_size, (size_t)head_size + size + 2);
    assert_memory_equal(reply, head, (size_t)head_size);
    for (size_t at = 0; at < size; at++)
        if (reply[(size_t)head_size + at] != byte_of(seed, at))
            fail_msg("byte %zu of %s is another", at, key);
}

/* ---------------------------------------------------------------------------------------- tests */

static void values_around_the_threshold_come_in_pieces_of_any_size(void **state)
{
    static const size_t sizes[] = {PARCEL_BYTES_MIN - 1, PARCEL_BYTES_MIN, PARCEL_BYTES_MIN + 1,
                                   700001, 3u << 20};
    static const size_t pieces[] = {0, 1000, 70000, 400000, 5000000};
    (void)state;
    unsigned seed = 0;
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++)
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++, seed++) {
            set_add("k", seed, sizes[n]);
            assert_string_equal(send_all(one, pieces[p]), "+OK\r\n");
            expect_stored(two, "k", seed, sizes[n]);
        }
}

static void one_may_come_byte_by_byte(void **state)
{
    (void)state;
    text_add("*5\r\n");
    word_add("set");
    word_add("k");
    value_add(7, PARCEL_BYTES_MIN + 3);
    word_add("px");
    word_add("100000");
    assert_string_equal(send_all(one, 1), "+OK\r\n");
    expect_stored(two, "k", 7, PARCEL_BYTES_MIN + 3);
    expect(two, ":100000\r\n", "pttl k");
}

static void a_request_may_have_many_of_them(void **state)
{
    enum { COUNT = 20 }; /* more than are received apart */
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        text_add("*%d\r\n", 1 + 2 * COUNT);
        word_add("mset");
        for (unsigned n = 0; n < COUNT; n++) {
            char key[16];
            snprintf(key, sizeof key, "k%u", n);
            word_add(key);
            value_add(n + round, n % 5 == 0 ? 10 : PARCEL_BYTES_MIN + n);
        }
        assert_string_equal(send_all(one, round == 0 ? 0 : 100000), "+OK\r\n");
        for (unsigned n = 0; n < COUNT; n++) {
            char key[16];
            snprintf(key, sizeof key, "k%u", n);
            expect_stored(two, key, n + round, n % 5 == 0 ? 10 : PARCEL_BYTES_MIN + n);
        }
    }
}

static void what_is_around_one_in_a_pipeline_is_answered_in_order(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        text_add("*1\r\n$4\r\nping\r\n");
        set_add("a", round, 300000);
        text_add("incr n\r\n");
        set_add("b", round + 1, PARCEL_BYTES_MIN);
        text_add("strlen a\r\nstrlen b\r\n");
        char expected[128];
        snprintf(expected, sizeof expected, "+PONG\r\n+OK\r\n:%u\r\n+OK\r\n:300000\r\n:%d\r\n",
                 round + 1, PARCEL_BYTES_MIN);
        assert_string_equal(send_all(one, round == 0 ? 0 : 1 + random_next(&rng) % 400000),
                            expected);
    }
}

static void behind_replies_that_are_not_read_it_comes_whole(void **state)
{
    (void)state;
    set_add("a", 1, 1 << 20);
    assert_string_equal(send_all(one, 0), "+OK\r\n");
    for (unsigned n = 0; n < 8; n++)
        text_add("get a\r\n");
    set_add("b", 2, 600000);
    part_send(one, 0, request.size, 50000);
    mp_buffer_reset(&request, SIZE_MAX);
    const char *replies = session_fixture_take(fixture, one);
    assert_string_equal(replies + fixture->reply_size - 5, "+OK\r\n");
    expect_stored(two, "b", 2, 600000);
}

static void of_a_client_that_goes_midway_nothing_stays(void **state)
{
    (void)state;
    uint64_t before = account_bytes(ACCOUNT_BUFFER);
    for (unsigned round = 0; round < 10; round++) {
        struct session *third = session_fixture_connect(fixture, 1);
        text_add("*5\r\n");
        word_add("mset");
        word_add("k");
        value_add(1, 300000);
        word_add("l");
        value_add(2, 5 << 20);
        part_send(third, 0, request.size - 1 - random_next(&rng) % (4u << 20), 100000);
        mp_buffer_reset(&request, SIZE_MAX);
        session_delete(third);
    }
    assert_int_equal(account_bytes(ACCOUNT_BUFFER), before + request.capacity);
    expect(one, ":0\r\n", "exists k l");
}

static void it_counts_as_input_and_ends_at_the_limit(void **state)
{
    (void)state;
    set_add("k", 1, 3000000);
    part_send(two, 0, 900000, 100000);
    const char *list = session_fixture_text(fixture, one, "client list id 2");
    const char *qbuf = strstr(list, " qbuf=");
    assert_non_null(qbuf);
    assert_int_equal(atol(qbuf + 6), 900000);
    expect(one, "+OK\r\n", "config set client-query-buffer-limit 1mb");
    part_send(two, 900000, 1000000, 100000);
    assert_false(session_wants_close(two));
    part_send(two, 1000000, 1100000, 100000);
    assert_true(session_wants_close(two));
    expect_in(one, "client_query_buffer_limit_disconnections:1\r\n", "info stats");
    expect(one, ":0\r\n", "exists k");
}

static void one_beyond_proto_max_bulk_len_is_refused_before_it_comes(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "config set proto-max-bulk-len 1mb");
    struct session *third = session_fixture_connect(fixture, 1);
    set_add("k", 1, 1 << 20);
    assert_string_equal(send_all(third, 100000), "+OK\r\n");
    assert_string_equal(
        session_fixture_text(fixture, third, "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$1048577"),
        "-ERR Protocol error: invalid bulk length\r\n");
    session_delete(third);
    expect_stored(two, "k", 1, 1 << 20);
}

static void without_its_end_of_line_it_is_an_error_of_the_protocol(void **state)
{
    (void)state;
    set_add("k", 1, 300000);
    request.data[request.size - 2] = 'x';
    assert_string_equal(send_all(one, 50000),
                        "-ERR Protocol error: expected CRLF after a bulk string\r\n");
    expect(two, ":0\r\n", "exists k");
}

static void a_rollback_takes_it_back_and_memory_with_it(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        expect(one, "+OK\r\n", "begin");
        set_add("k", round, 2500000);
        assert_string_equal(send_all(one, 300000), "+OK\r\n");
        expect_stored(one, "k", round, 2500000);
        set_add("k", round + 1, 2500001);
        assert_string_equal(send_all(one, 300000), "+OK\r\n");
        expect(one, "+OK\r\n", round == 2 ? "commit" : "rollback");
        expect(two, round == 2 ? ":1\r\n" : ":0\r\n", "exists k");
    }
    expect_stored(two, "k", 3, 2500001);
}

static void one_that_waits_for_a_lock_is_written_when_it_has_it(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "begin");
    expect(one, "+OK\r\n", "set k 1");
    set_add("k", 5, 400000);
    text_add("ping\r\n");
    assert_string_equal(send_all(two, 70000), "");
    expect(one, "+OK\r\n", "commit");
    session_fixture_run(fixture);
    expect_take(two, "+OK\r\n+PONG\r\n");
    expect_stored(one, "k", 5, 400000);
}

static void multi_queues_it_and_commands_change_what_it_became(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "multi");
    set_add("k", 5, 400000);
    assert_string_equal(send_all(one, 70000), "+QUEUED\r\n");
    expect(one, "*1\r\n+OK\r\n", "exec");
    expect_stored(two, "k", 5, 400000);
    set_add("k", 6, 500000);
    assert_string_equal(send_all(one, 70000), "+OK\r\n");
    expect(two, ":500003\r\n", "append k xyz");
    expect(two, "$3\r\nxyz\r\n", "getrange k -3 -1");
    expect(two, "+OK\r\n", "rename k l");
    expect(two, ":0\r\n", "setbit l 0 1");
    expect(two, "+OK\r\n", "set l 1");
    expect(two, "$1\r\n1\r\n", "get l");
    text_add("*3\r\n");
    word_add("getset");
    word_add("l");
    value_add(9, 300000);
    assert_string_equal(send_all(two, 0), "$1\r\n1\r\n");
    expect_stored(one, "l", 9, 300000);
    expect(one, ":1\r\n", "del l");
}

static void values_of_lists_and_hashes_may_be_large(void **state)
{
    (void)state;
    text_add("*4\r\n");
    word_add("hset");
    word_add("h");
    word_add("f");
    value_add(1, 300000);
    assert_string_equal(send_all(one, 70000), ":1\r\n");
    expect(two, ":300000\r\n", "hstrlen h f");
    text_add("*3\r\n");
    word_add("rpush");
    word_add("l");
    value_add(1, 300000);
    assert_string_equal(send_all(one, 70000), ":1\r\n");
    expect(two, ":1\r\n", "llen l");
}

/* ------------------------------------------------------------------------------------- replies */

/* Takes what the session sends in pieces of random size, as a socket does that takes a part; what waits for
 * the log goes in halves. */
static void take_in_parts(struct session *session, struct mp_buffer *got)
{
    struct session_output output;
    while ((output = session_output(session)).size > 0) {
        size_t size = 1 + random_next(&rng) % (random_next(&rng) % 2 ? 100 : 500000);
        size = size < output.size ? size : output.size;
        mp_put_raw(got, output.data, size);
        session_sent(session, size);
    }
    const char *rest = session_fixture_take(fixture, session);
    mp_put_raw(got, rest, fixture->reply_size);
}

static void reply_add(unsigned seed, size_t size)
{
    value_add(seed, size); /* a bulk string looks the same in both directions */
}

static void set(const char *key, unsigned seed, size_t size)
{
    set_add(key, seed, size);
    assert_string_equal(send_all(one, 0), "+OK\r\n");
}

/* What the session sends is the request buffer's content. */
static void expect_sent(struct session *session)
{
    struct mp_buffer got;
    mp_buffer_create(&got);
    take_in_parts(session, &got);
    assert_int_equal(got.size, request.size);
    assert_memory_equal(got.data, request.data, got.size);
    mp_buffer_destroy(&got);
    mp_buffer_reset(&request, SIZE_MAX);
}

static void text_give(struct session *session, const char *text)
{
    session_on_bytes(session, text, strlen(text));
}

static void large_values_stand_at_their_places_among_other_replies(void **state)
{
    (void)state;
    set("a", 1, 300000);
    set("b", 2, PARCEL_BYTES_MIN);
    set("c", 3, PARCEL_BYTES_MIN - 1);
    for (unsigned round = 0; round < 20; round++) {
        text_give(two, "ping\r\nget a\r\nget b\r\nget c\r\nget a\r\nstrlen a\r\n");
        text_give(two, "multi\r\nget b\r\nget nothing\r\nget a\r\nexec\r\nget b\r\n");
        text_add("+PONG\r\n");
        reply_add(1, 300000);
        reply_add(2, PARCEL_BYTES_MIN);
        reply_add(3, PARCEL_BYTES_MIN - 1);
        reply_add(1, 300000);
        text_add(":300000\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n");
        reply_add(2, PARCEL_BYTES_MIN);
        text_add("$-1\r\n");
        reply_add(1, 300000);
        reply_add(2, PARCEL_BYTES_MIN);
        expect_sent(two);
    }
}

static void what_was_read_is_sent_whatever_becomes_of_the_row(void **state)
{
    (void)state;
    set("a", 1, 3000000);
    uint64_t before = account_bytes(ACCOUNT_BUFFER);
    text_give(two, "get a\r\nget a\r\n");
    assert_true(account_bytes(ACCOUNT_BUFFER) < before + 100000); /* it is not copied */
    expect_in(one, " omem=6000024 ", "client list id 2");
    set("a", 2, 3000000);
    expect(one, ":1\r\n", "del a");
    for (unsigned n = 0; n < 300; n++) /* so that what nobody needs is collected */
        expect(one, "+OK\r\n", "set x %u", n);
    session_fixture_run(fixture);
    reply_add(1, 3000000);
    reply_add(1, 3000000);
    expect_sent(two);
}

/* What GET sends now; the session's own bytes when it has been copied. */
static const char *first_sent_apart(struct session *session)
{
    const struct session_insert *insert = session__insert_first(&session->inserts);
    assert_non_null(insert);
    return insert->data;
}

static void what_multi_queues_becomes_the_row_where_it_is(void **state)
{
    (void)state;
    expect(one, "+OK\r\n", "multi");
    set_add("k", 5, 400000);
    assert_string_equal(send_all(one, 70000), "+QUEUED\r\n");
    const char *data = one->queue_last->argv[2].data;
    assert_true(one->queue_arena.used_bytes < 400000);
    expect_in(two, " multi-mem=400", "client list id 1");
    expect(one, "*1\r\n+OK\r\n", "exec");
    text_give(one, "get k\r\n");
    assert_ptr_equal(first_sent_apart(one), data);
    reply_add(5, 400000);
    expect_sent(one);
}

static void of_what_multi_has_queued_nothing_stays(void **state)
{
    static const char *const ends[] = {"discard", "reset", NULL};
    (void)state;
    for (unsigned n = 0; n < 3; n++) {
        uint64_t before = account_bytes(ACCOUNT_BUFFER);
        struct session *third = session_fixture_connect(fixture, 1);
        expect(third, "+OK\r\n", "multi");
        for (unsigned k = 0; k < 3; k++) {
            set_add("k", 5, 5000000);
            assert_string_equal(send_all(third, 200000), "+QUEUED\r\n");
        }
        assert_true(account_bytes(ACCOUNT_BUFFER) >= before + 15000000);
        if (ends[n])
            session_fixture_text(fixture, third, "%s", ends[n]);
        if (ends[n])
            assert_true(account_bytes(ACCOUNT_BUFFER) < before + request.capacity + 1000000);
        session_delete(third);
        assert_true(account_bytes(ACCOUNT_BUFFER) < before + request.capacity + 1000000);
    }
    expect(one, ":0\r\n", "exists k");
}

static void what_watched_keys_drop_is_not_written(void **state)
{
    (void)state;
    set("other", 1, 10);
    expect(one, "+OK\r\n", "watch other");
    expect(one, "+OK\r\n", "multi");
    set_add("k", 5, 400000);
    assert_string_equal(send_all(one, 70000), "+QUEUED\r\n");
    set_add("k", 6, 500000);
    assert_string_equal(send_all(one, 70000), "+QUEUED\r\n");
    expect(two, "+OK\r\n", "set other x");
    expect(one, "*-1\r\n", "exec");
    expect(two, ":0\r\n", "exists k");
    expect(one, "+OK\r\n", "multi");
    set_add("k", 6, 500000);
    assert_string_equal(send_all(one, 70000), "+QUEUED\r\n");
    expect(one, "*1\r\n+OK\r\n", "exec");
    expect_stored(two, "k", 6, 500000);
}

static void commands_that_give_the_old_value_give_it_whole(void **state)
{
    (void)state;
    set("a", 1, 300000);
    text_give(two, "getset a 1\r\nget a\r\n");
    reply_add(1, 300000);
    text_add("$1\r\n1\r\n");
    expect_sent(two);
    set("a", 2, 300001);
    text_give(two, "set a 1 get\r\n");
    reply_add(2, 300001);
    expect_sent(two);
    set("a", 3, 300002);
    text_give(two, "getex a ex 100\r\ngetdel a\r\nget a\r\n");
    reply_add(3, 300002);
    reply_add(3, 300002);
    text_add("$-1\r\n");
    expect_sent(two);
    text_give(two, "begin\r\nset a 1\r\n");
    text_add("+OK\r\n+OK\r\n");
    expect_sent(two);
    set_add("a", 4, 300003);
    part_send(two, 0, request.size, 0);
    mp_buffer_reset(&request, SIZE_MAX);
    text_give(two, "append a x\r\ngetrange a 0 1\r\nget a\r\nrollback\r\n");
    text_add("+OK\r\n:300004\r\n$2\r\n%c%c\r\n$300004\r\n", byte_of(4, 0), byte_of(4, 1));
    bytes_add(4, 300003);
    text_add("x\r\n+OK\r\n");
    expect_sent(two);
}

static void a_reply_that_is_not_wanted_or_is_given_up_leaves_nothing(void **state)
{
    (void)state;
    set("a", 1, 300000);
    text_give(two, "client reply skip\r\nget a\r\nping\r\n");
    text_add("+PONG\r\n");
    expect_sent(two);
    text_give(two, "multi atomic\r\nget a\r\nincr a\r\nexec\r\nping\r\n");
    const char *got = session_fixture_take(fixture, two);
    assert_true(fixture->reply_size < 400);
    assert_non_null(strstr(got, "not an integer"));
    assert_string_equal(got + fixture->reply_size - 7, "+PONG\r\n");
    struct session *third = session_fixture_connect(fixture, 1);
    text_give(third, "get a\r\nget a\r\n");
    struct session_output output = session_output(third);
    assert_true(output.size > 0);
    session_sent(third, output.size);
    output = session_output(third);
    session_sent(third, output.size / 2);
    session_delete(third);
}

static void unread_ones_count_as_output(void **state)
{
    (void)state;
    set("a", 1, 1 << 20);
    expect(one, "+OK\r\n", "config set client-output-buffer-limit \"normal 3mb 0 0\"");
    text_give(two, "get a\r\nget a\r\n");
    assert_false(session_wants_close(two));
    text_give(two, "get a\r\n");
    assert_true(session_wants_close(two));
    expect_in(one, "client_output_buffer_limit_disconnections:1\r\n", "info stats");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(values_around_the_threshold_come_in_pieces_of_any_size),
        TEST(one_may_come_byte_by_byte),
        TEST(a_request_may_have_many_of_them),
        TEST(what_is_around_one_in_a_pipeline_is_answered_in_order),
        TEST(behind_replies_that_are_not_read_it_comes_whole),
        TEST(of_a_client_that_goes_midway_nothing_stays),
        TEST(it_counts_as_input_and_ends_at_the_limit),
        TEST(one_beyond_proto_max_bulk_len_is_refused_before_it_comes),
        TEST(without_its_end_of_line_it_is_an_error_of_the_protocol),
        TEST(a_rollback_takes_it_back_and_memory_with_it),
        TEST(one_that_waits_for_a_lock_is_written_when_it_has_it),
        TEST(multi_queues_it_and_commands_change_what_it_became),
        TEST(values_of_lists_and_hashes_may_be_large),
        TEST(large_values_stand_at_their_places_among_other_replies),
        TEST(what_was_read_is_sent_whatever_becomes_of_the_row),
        TEST(what_multi_queues_becomes_the_row_where_it_is),
        TEST(of_what_multi_has_queued_nothing_stays),
        TEST(what_watched_keys_drop_is_not_written),
        TEST(commands_that_give_the_old_value_give_it_whole),
        TEST(a_reply_that_is_not_wanted_or_is_given_up_leaves_nothing),
        TEST(unread_ones_count_as_output),
    };
    random_create(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
