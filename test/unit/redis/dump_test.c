/* SPDX-License-Identifier: Apache-2.0 */

/* The payloads of DUMP: each type read back, what Redis writes, what is broken; errors of RESTORE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "redis/redis_dump.h"
#include "redis/redis_fixture.h"
#include "redis/redis_value.h"

enum { END_SIZE = 10 };

struct fixture {
    struct arena arena;
    struct mp_buffer out;
};
static struct fixture fixture;

static int setup(void **state)
{
    (void)state;
    arena_create(&fixture.arena, 65536);
    mp_buffer_create(&fixture.out);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_destroy(&fixture.arena);
    mp_buffer_destroy(&fixture.out);
    return 0;
}

/* Reads these bytes with a footer behind them. */
static int read_bytes(const char *bytes, size_t size, struct redis_dump_value *value)
{
    mp_buffer_reset(&fixture.out, 65536);
    mp_put_raw(&fixture.out, bytes, size);
    redis_dump_put_end(&fixture.out, REDIS_DUMP_VERSION);
    assert_int_equal(redis_dump_check(fixture.out.data, fixture.out.size), 0);
    return redis_dump_read(&fixture.arena, fixture.out.data, fixture.out.size, value);
}
#define read_literal(literal, value) read_bytes(literal, sizeof(literal) - 1, value)

static void expect_item(const struct redis_dump_value *value, size_t n, const char *text)
{
    assert_true(n < value->count);
    assert_int_equal(value->items[n].size, strlen(text));
    assert_memory_equal(value->items[n].data, text, strlen(text));
}

static void the_checksum_is_the_one_of_redis(void **state)
{
    (void)state;
    /* the check value of the algorithm */
    assert_true(redis_crc64("123456789", 9) == 0xe9c6d914c4b8d9cau);
    assert_int_equal(redis_dump_check("", 0), ERROR_INVALID);
    assert_int_equal(redis_dump_check("\0\0\0\0\0\0\0\0\0\0", 10), ERROR_INVALID);
    assert_string_equal(diag_message(), "DUMP payload version or checksum are wrong");
    mp_buffer_reset(&fixture.out, 65536);
    redis_dump_put_type(&fixture.out, REDIS_DUMP_STRING);
    redis_dump_put_string(&fixture.out, "x", 1);
    redis_dump_put_end(&fixture.out, REDIS_DUMP_VERSION_MAX + 1);
    assert_int_equal(redis_dump_check(fixture.out.data, fixture.out.size), ERROR_INVALID);
}

static void strings_are_plain_integers_or_compressed(void **state)
{
    (void)state;
    struct redis_dump_value value;
    assert_int_equal(read_literal("\0\3abc", &value), 0);
    assert_int_equal(value.type, REDIS_TYPE_STRING);
    expect_item(&value, 0, "abc");
    assert_int_equal(read_literal("\0\xc0\xfe", &value), 0);
    expect_item(&value, 0, "-2");
    assert_int_equal(read_literal("\0\xc1\x39\x30", &value), 0);
    expect_item(&value, 0, "12345");
    assert_int_equal(read_literal("\0\xc2\0\0\0\x80", &value), 0);
    expect_item(&value, 0, "-2147483648");
    /* "ab", then eight bytes from two before */
    assert_int_equal(read_literal("\0\xc3\5\x0a\1ab\xc0\1", &value), 0);
    expect_item(&value, 0, "ababababab");
    /* farther back than there is anything; one byte too many; one too few */
    assert_int_equal(read_literal("\0\xc3\5\x0a\1ab\xc0\2", &value), ERROR_INVALID);
    assert_int_equal(read_literal("\0\xc3\5\x09\1ab\xc0\1", &value), ERROR_INVALID);
    assert_int_equal(read_literal("\0\xc3\5\x0b\1ab\xc0\1", &value), ERROR_INVALID);
    assert_string_equal(diag_message(), "Bad data format");
}

static void listpacks_and_sets_of_integers_are_read(void **state)
{
    (void)state;
    struct redis_dump_value value;
    static const char QUICKLIST[] = "\x12\2\2\x17\x17\0\0\0\5\0\x05\1\x81x\2\xdf\xff\2\xf1\0\x80\3"
                                    "\xe0\1y\3\xff\1\5plain";
    assert_int_equal(read_bytes(QUICKLIST, sizeof QUICKLIST - 1, &value), 0);
    assert_int_equal(value.type, REDIS_TYPE_LIST);
    assert_int_equal(value.count, 6);
    expect_item(&value, 0, "5");
    expect_item(&value, 1, "x");
    expect_item(&value, 2, "-1");
    expect_item(&value, 3, "-32768");
    expect_item(&value, 4, "y");
    expect_item(&value, 5, "plain");
    assert_int_equal(read_literal("\x0b\x0c\2\0\0\0\2\0\0\0\xff\xff\7\0", &value), 0);
    assert_int_equal(value.type, REDIS_TYPE_SET);
    expect_item(&value, 0, "-1");
    expect_item(&value, 1, "7");
    assert_int_equal(read_literal("\x0b\x0c\2\0\0\0\3\0\0\0\xff\xff\7\0", &value), ERROR_INVALID);
    /* a listpack that says that it has two */
    assert_int_equal(read_literal("\x14\x09\x09\0\0\0\1\0\5\1\xff", &value), 0);
    assert_int_equal(read_literal("\x14\x09\x09\0\0\0\2\0\5\1\xff", &value), ERROR_INVALID);
}

static void collections_without_elements_and_scores_that_are_none_are_refused(void **state)
{
    (void)state;
    struct redis_dump_value value;
    assert_int_equal(read_literal("\1\0", &value), ERROR_INVALID);
    assert_int_equal(read_literal("\5\1\1m\0\0\0\0\0\0\xf8\x7f", &value), ERROR_INVALID);
    assert_int_equal(read_literal("\x0f\0", &value), ERROR_UNSUPPORTED);
    assert_string_equal(diag_message(), "Bad data format: values of type 15 are not read here");
}

/* A value of any type that has been written, at random. */
static size_t value_write(struct random *random, enum redis_dump_type type)
{
    size_t count = type == REDIS_DUMP_STRING ? 1 : 1 + random_below(random, 40);
    char text[300];
    mp_buffer_reset(&fixture.out, 65536);
    redis_dump_put_type(&fixture.out, type);
    if (type == REDIS_DUMP_HASH_EXPIRING)
        redis_dump_put_number(&fixture.out, 1000, 8);
    if (type != REDIS_DUMP_STRING)
        redis_dump_put_length(&fixture.out, count);
    for (size_t n = 0; n < count; n++) {
        size_t size = random_below(random, sizeof text);
        memset(text, 'a' + (int)(n % 26), size);
        if (type == REDIS_DUMP_HASH_EXPIRING)
            redis_dump_put_length(&fixture.out, n);
        redis_dump_put_string(&fixture.out, text, size);
        if (type == REDIS_DUMP_HASH || type == REDIS_DUMP_HASH_EXPIRING)
            redis_dump_put_string(&fixture.out, text, size / 2);
        if (type == REDIS_DUMP_ZSET)
            redis_dump_put_double(&fixture.out, (double)n / 4);
    }
    redis_dump_put_end(&fixture.out, REDIS_DUMP_VERSION_EXPIRING);
    return type == REDIS_DUMP_HASH || type == REDIS_DUMP_HASH_EXPIRING ? 2 * count : count;
}

static void what_is_written_is_read_and_nothing_of_it_can_be_missing(void **state)
{
    (void)state;
    static const enum redis_dump_type TYPES[] = {REDIS_DUMP_STRING, REDIS_DUMP_LIST,
                                                 REDIS_DUMP_SET,    REDIS_DUMP_HASH,
                                                 REDIS_DUMP_ZSET,   REDIS_DUMP_HASH_EXPIRING};
    struct random random;
    random_create(&random, test_seed());
    for (unsigned n = 0; n < 60; n++) {
        enum redis_dump_type type = TYPES[n % (sizeof TYPES / sizeof *TYPES)];
        struct redis_dump_value value;
        size_t count = value_write(&random, type);
        arena_reset(&fixture.arena);
        assert_int_equal(redis_dump_check(fixture.out.data, fixture.out.size), 0);
        assert_int_equal(
            redis_dump_read(&fixture.arena, fixture.out.data, fixture.out.size, &value), 0);
        assert_int_equal(value.count, count);
        if (type == REDIS_DUMP_HASH_EXPIRING)
            assert_true(value.expiries[0] == 0 && (count < 4 || value.expiries[2] == 1000));
        if (type == REDIS_DUMP_ZSET)
            assert_true(value.scores[count - 1] == (double)(count - 1) / 4);
        for (size_t size = 0; size < fixture.out.size; size += 1 + random_below(&random, 20)) {
            /* bytes of their own, so that a tool sees what reads beyond them */
            char *part = malloc(size + 1);
            memcpy(part, fixture.out.data, size);
            assert_true(redis_dump_read(&fixture.arena, part, size, &value) < 0);
            free(part);
        }
    }
}

enum { ENTRIES = 250 };

static void put_id(uint64_t ms, uint64_t seq)
{
    redis_dump_put_length(&fixture.out, ms);
    redis_dump_put_length(&fixture.out, seq);
}

/* Entries 1000-0, 1001-0 .., every seventh with other fields than the rest; a group in which the
 * first two are pending, one of them with each of two consumers. `later`: the second's id is that
 * of another. */
static void stream_write(bool active, unsigned later)
{
    struct mp_buffer entries;
    struct redis_dump_nodes nodes;
    mp_buffer_reset(&fixture.out, 65536);
    redis_dump_put_type(&fixture.out, active ? REDIS_DUMP_STREAM_ACTIVE : REDIS_DUMP_STREAM);
    mp_buffer_create(&entries);
    redis_dump_nodes_create(&nodes, &entries);
    for (unsigned n = 0; n < ENTRIES; n++) {
        const char *value = n % 7 ? "\x94\xa1"
                                    "a\xa1"
                                    "x\xa1"
                                    "b\xa1"
                                    "y"
                                  : "\x92\xa1"
                                    "c\xa2zz";
        redis_dump_nodes_put(&nodes, (struct stream_id){1000 + n, 0},
                             (struct redis_slice){value, strlen(value)});
    }
    redis_dump_nodes_end(&nodes);
    assert_int_equal(nodes.nodes, (ENTRIES + 99) / 100);
    redis_dump_put_length(&fixture.out, nodes.nodes);
    mp_put_raw(&fixture.out, entries.data, entries.size);
    mp_buffer_destroy(&entries);
    redis_dump_put_length(&fixture.out, ENTRIES);
    put_id(1000 + ENTRIES, 1);
    put_id(1000, 0);
    put_id(999, 3);
    redis_dump_put_length(&fixture.out, ENTRIES + 1);
    redis_dump_put_length(&fixture.out, 1);
    redis_dump_put_string(&fixture.out, "group", 5);
    put_id(1001, 0);
    redis_dump_put_length(&fixture.out, UINT64_MAX); /* how many it has read is not known */
    redis_dump_put_length(&fixture.out, 2);
    for (unsigned n = 0; n < 2; n++) {
        char id[STREAM_ID_SIZE];
        redis__stream_id_encode(id, (struct stream_id){1000 + n, 0});
        mp_put_raw(&fixture.out, id, sizeof id);
        redis_dump_put_number(&fixture.out, 70 + n, 8);
        redis_dump_put_length(&fixture.out, 4 + n);
    }
    redis_dump_put_length(&fixture.out, 2);
    for (unsigned n = 0; n < 2; n++) {
        char id[STREAM_ID_SIZE];
        redis_dump_put_string(&fixture.out, n ? "bob" : "ann", 3);
        redis_dump_put_number(&fixture.out, 80 + n, 8);
        if (active)
            redis_dump_put_number(&fixture.out, n ? UINT64_MAX : 90, 8);
        redis_dump_put_length(&fixture.out, 1);
        redis__stream_id_encode(id, (struct stream_id){n ? 1000 + later : 1000, 0});
        mp_put_raw(&fixture.out, id, sizeof id);
    }
    redis_dump_put_end(&fixture.out, REDIS_DUMP_VERSION);
}

static int stream_read(struct redis_dump_value *value)
{
    return redis_dump_read(&fixture.arena, fixture.out.data, fixture.out.size, value);
}

static void streams_are_read_as_they_were_written(void **state)
{
    (void)state;
    for (unsigned active = 0; active < 2; active++) {
        struct redis_dump_value value;
        stream_write(active, 1);
        assert_int_equal(stream_read(&value), 0);
        assert_int_equal(value.type, REDIS_TYPE_STREAM);
        const struct redis_dump_stream *stream = value.stream;
        assert_int_equal(stream->length, ENTRIES);
        assert_int_equal(stream->added, ENTRIES + 1);
        assert_true(stream->last.ms == 1000 + ENTRIES && stream->last.seq == 1);
        assert_true(stream->deleted.ms == 999 && stream->deleted.seq == 3);
        for (unsigned n = 0, item = 0; n < ENTRIES; item += stream->entries[n++].count) {
            assert_int_equal(stream->entries[n].id.ms, 1000 + n);
            assert_int_equal(stream->entries[n].count, n % 7 ? 4 : 2);
            expect_item(&value, item, n % 7 ? "a" : "c");
            expect_item(&value, item + 1, n % 7 ? "x" : "zz");
        }
        assert_int_equal(stream->groups_count, 1);
        const struct redis_dump_group *group = stream->groups;
        assert_true(group->group.read == -1 && group->group.last.ms == 1001);
        assert_true(group->group.pending == 2 && group->group.consumers == 2);
        assert_true(group->pending[1].consumer == 1 && group->pending[1].count == 5);
        assert_true(group->pending[1].time_ms == 71 && group->consumers[1].seen_ms == 81);
        assert_int_equal(group->consumers[0].active_ms, active ? 90 : 80);
        assert_int_equal(group->consumers[1].active_ms, active ? 0 : 81);
        assert_memory_equal(group->consumers[1].name.data, "bob", 3);
    }
}

static void a_stream_whose_parts_do_not_fit_is_refused(void **state)
{
    (void)state;
    struct redis_dump_value value;
    struct random random;
    stream_write(false, 0); /* one entry is pending with two, another with nobody */
    assert_int_equal(stream_read(&value), ERROR_INVALID);
    stream_write(false, 2); /* one that is not pending */
    assert_int_equal(stream_read(&value), ERROR_INVALID);
    stream_write(false, 1);
    for (size_t size = 0; size < fixture.out.size; size += 1 + fixture.out.size / 500) {
        char *part = malloc(size + 1);
        memcpy(part, fixture.out.data, size);
        assert_true(redis_dump_read(&fixture.arena, part, size, &value) < 0);
        free(part);
    }
    random_create(&random, test_seed());
    for (unsigned n = 0; n < 500; n++) { /* whatever it makes of it, it stays within the bytes */
        char *part = malloc(fixture.out.size);
        memcpy(part, fixture.out.data, fixture.out.size);
        for (unsigned left = 1 + random_below(&random, 3); left > 0; left--)
            part[1 + random_below(&random, (uint32_t)fixture.out.size - 1)] ^=
                (char)(1 << random_below(&random, 8));
        arena_reset(&fixture.arena);
        int rc = redis_dump_read(&fixture.arena, part, fixture.out.size, &value);
        assert_true(rc == 0 || rc == ERROR_INVALID);
        free(part);
    }
}

static void restore_looks_at_its_arguments_in_the_order_of_redis(void **state)
{
    (void)state;
    struct redis_fixture *redis = redis_fixture_new();
#define expect(reply, ...) assert_string_equal(redis_fixture_run(redis, __VA_ARGS__), reply)
    expect("nil", "dump nothing");
    expect("OK", "set k v");
    expect("!ERR syntax error", "restore k x y foo");
    expect("!ERR syntax error", "restore k x y freq 1 idletime 1");
    expect("!ERR Invalid IDLETIME value, must be >= 0", "restore k x y idletime -1");
    expect("!ERR Invalid FREQ value, must be >= 0 and <= 255", "restore k x y freq 256");
    expect("!BUSYKEY Target key name already exists.", "restore k x y");
    expect("!ERR value is not an integer or out of range", "restore k x y replace");
    expect("!ERR Invalid TTL value, must be >= 0", "restore k -1 y replace");
    expect("!ERR DUMP payload version or checksum are wrong", "restore k 1 y replace");
    expect("\"v\"", "get k");
#undef expect
    redis_fixture_delete(redis);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_checksum_is_the_one_of_redis, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_are_plain_integers_or_compressed, setup, teardown),
        cmocka_unit_test_setup_teardown(listpacks_and_sets_of_integers_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(
            collections_without_elements_and_scores_that_are_none_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_written_is_read_and_nothing_of_it_can_be_missing,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(streams_are_read_as_they_were_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_whose_parts_do_not_fit_is_refused, setup,
                                        teardown),
        cmocka_unit_test(restore_looks_at_its_arguments_in_the_order_of_redis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
