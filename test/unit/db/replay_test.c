/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log replayed by several threads gives what one gives: with the log of a database that is
 * opened again and again, and with its records handed over in any order and more than once
 * (invariant 3).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "codec/crc32c.h"
#include "db/db_fixture.h"
#include "db/db_private.h"
#include "db/db_replay.h"

enum { STEPS = 600, KEYS = 80 };

static struct db_fixture f;
static struct random rng;

static int open(void **state)
{
    (void)state;
    const char *text = getenv("PERIGEE_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : random_seed();
    print_message("PERIGEE_SEED=%" PRIu64 "\n", seed);
    random_create(&rng, seed);
    db_fixture_open(&f);
    return 0;
}

static int close(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

/* Everything that is in the heads, in a number that depends on each byte and timestamp. */
struct picture {
    uint64_t stores, rows, entries, tombstones;
    uint32_t sum;
};

static void picture_tree(struct picture *picture, struct tree *tree, bool rows)
{
    struct tree_cursor cursor;
    struct item *item;
    tree_cursor_create(&cursor, tree, NULL, 0, true, false);
    while ((item = tree_cursor_next(&cursor, NULL)) != NULL) {
        picture->sum = crc32c(picture->sum, item->key, item->key_size);
        picture->entries++;
        if (!rows)
            continue;
        const struct version *version = load_acquire(&((struct row *)item)->newest);
        uint64_t stamp = load_relaxed(&version->stamp);
        picture->rows++;
        picture->tombstones += version->flags & VERSION_TOMBSTONE;
        picture->sum = crc32c(picture->sum, &stamp, sizeof stamp);
        picture->sum = crc32c(picture->sum, version->bytes, version->size);
    }
}

static struct picture picture_of(struct db *db)
{
    struct picture picture = {0};
    epoch_enter(db->boot.epoch);
    for (unsigned i = 0; i < STORE_BUCKETS; i++)
        for (struct store *store = db->stores[i]; store != NULL; store = store->next) {
            struct picture one = {.sum = store->head.id ^ store->head.incarnation << 20};
            picture_tree(&one, store->head.tree, true);
            for (unsigned n = 1; n < INDEX_MAX; n++)
                if (store->trees[n] != NULL)
                    picture_tree(&one, store->trees[n], false);
            picture.stores++;
            picture.rows += one.rows;
            picture.entries += one.entries;
            picture.tombstones += one.tombstones;
            picture.sum += one.sum; /* stores are in no order */
        }
    epoch_leave(db->boot.epoch);
    return picture;
}

static void assert_same(const struct picture *a, const struct picture *b)
{
    assert_int_equal(a->stores, b->stores);
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->tombstones, b->tombstones);
    assert_int_equal(a->entries, b->entries);
    assert_int_equal(a->sum, b->sum);
}

static void make_spaces(void)
{
    for (int n = 0; n < 3; n++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", n);
        assert_int_equal(make_space(&f, name, NULL), 0);
        assert_int_equal(make_index(&f, name, "pk", NULL), 0);
        if (n > 0)
            assert_int_equal(
                make_index(
                    &f, name, "by",
                    "{\"parts\": [{\"field\": 2, \"type\": \"string\"}], \"unique\": false}"),
                0);
    }
}

static void step(void)
{
    char space[16], tuple[1200], key[32], text[1000];
    unsigned worker = (unsigned)random_below(&rng, DB_FIXTURE_WORKERS);
    struct txn *txn = begin(&f, worker, TXN_SNAPSHOT);
    for (uint64_t n = 1 + random_below(&rng, 5); n > 0; n--) {
        uint64_t id = random_below(&rng, KEYS);
        size_t size = random_below(&rng, 10) == 0 ? sizeof text - 1 : random_below(&rng, 20);
        memset(text, 'a' + (int)random_below(&rng, 26), size);
        text[size] = 0;
        snprintf(space, sizeof space, "s%u", (unsigned)random_below(&rng, 3));
        snprintf(tuple, sizeof tuple, "[%" PRIu64 ", \"%s\"]", id, text);
        snprintf(key, sizeof key, "[%" PRIu64 "]", id);
        int rc = random_below(&rng, 4) == 0 ? delete_by(&f, txn, space, "pk", key)
                                            : replace(&f, txn, space, tuple);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(txn_commit(txn), 0);
}

static void fill(void)
{
    make_spaces();
    for (int n = 0; n < STEPS; n++) {
        step();
        if (n == STEPS / 3)
            assert_int_equal(truncate_space(&f, "s1"), 0);
        if (n == STEPS / 2) {
            assert_int_equal(drop_space(&f, "s2"), 0);
            assert_int_equal(make_space(&f, "s2", NULL), 0);
            assert_int_equal(make_index(&f, "s2", "pk", NULL), 0);
        }
    }
}

static void several_threads_replay_what_one_does(void **state)
{
    (void)state;
    fill();
    f.replay_threads = 1;
    db_fixture_reopen(&f);
    struct picture expected = picture_of(f.db);
    uint64_t rows = f.stats.rows;
    assert_true(expected.rows > KEYS && rows > STEPS);
    assert_true(expected.entries > expected.rows);
    for (f.replay_threads = 2; f.replay_threads <= 8; f.replay_threads++) {
        db_fixture_reopen(&f);
        struct picture found = picture_of(f.db);
        assert_same(&found, &expected);
        assert_int_equal(f.stats.rows, rows);
    }
    f.replay_threads = 0;
    db_fixture_reopen(&f);
    struct picture found = picture_of(f.db);
    assert_same(&found, &expected);
}

static void a_row_larger_than_a_batch_is_replayed(void **state)
{
    (void)state;
    enum { LARGE = 700000 };
    char *tuple = malloc(LARGE + 64);
    assert_non_null(tuple);
    make_spaces();
    for (unsigned id = 1; id <= 6; id++) {
        char *out = tuple;
        *out++ = (char)0x92;
        *out++ = (char)id;
        *out++ = (char)0xdb;
        for (int shift = 24; shift >= 0; shift -= 8)
            *out++ = (char)(LARGE >> shift);
        memset(out, 'a' + (int)id, LARGE);
        struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
        struct tuple_ref done;
        assert_int_equal(space_replace(txn, space_of(&f, txn, "s0"), tuple,
                                       (size_t)(out - tuple) + LARGE, &done, NULL),
                         0);
        assert_int_equal(replace(&f, txn, "s0", "[100, \"small\"]"), 0);
        assert_int_equal(txn_commit(txn), 0);
    }
    free(tuple);
    f.replay_threads = 1;
    db_fixture_reopen(&f);
    struct picture expected = picture_of(f.db);
    f.replay_threads = 4;
    db_fixture_reopen(&f);
    struct picture found = picture_of(f.db);
    assert_same(&found, &expected);
}

/* ------------------------------------------------------------------------ records in any order */

struct record {
    uint64_t ts;
    size_t size;
    char *body;
};

struct records {
    struct record *items;
    size_t count;
};

static int record_keep(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct records *records = arg;
    records->items = realloc(records->items, (records->count + 1) * sizeof *records->items);
    assert_non_null(records->items);
    struct record *record = &records->items[records->count++];
    *record = (struct record){ts, size, malloc(size + 1)};
    assert_non_null(record->body);
    memcpy(record->body, body, size);
    return 0;
}

static void records_free(struct records *records)
{
    for (size_t i = 0; i < records->count; i++)
        free(records->items[i].body);
    free(records->items);
}

static void records_shuffle(struct records *records)
{
    for (size_t i = records->count; i > 1; i--) {
        size_t other = random_below(&rng, i);
        struct record item = records->items[i - 1];
        records->items[i - 1] = records->items[other];
        records->items[other] = item;
    }
}

/* Hands the records to an empty database, every third one twice. */
static struct picture picture_after(const struct records *records, unsigned threads)
{
    struct db_fixture empty;
    struct replay *replay;
    struct txn_changes changes = {0};
    uint64_t rows = 0;
    db_fixture_open(&empty);
    assert_int_equal(db__replay_new(empty.db, threads, &replay), 0);
    for (size_t i = 0; i < records->count; i++)
        for (size_t n = 0; n < 1 + (i % 3 == 0); n++)
            assert_int_equal(db__replay_record(records->items[i].ts, records->items[i].body,
                                               records->items[i].size, replay),
                             0);
    assert_int_equal(db__replay_end(replay, &changes, &rows), 0);
    struct picture picture = picture_of(empty.db);
    assert_true(changes.count > KEYS && rows >= records->count);
    txn_changes_free(&changes);
    db_fixture_close(&empty);
    return picture;
}

static void order_and_repetition_make_no_difference(void **state)
{
    (void)state;
    struct records records = {0};
    struct wal_replay_stats stats;
    fill();
    db_fixture_stop(&f);
    struct io *io = disk_io(f.disk);
    const struct wal_read_options reading = {.io = io, .each = record_keep, .arg = &records};
    assert_int_equal(wal_read(&reading, &stats), 0);
    io_delete(io);
    struct picture expected = picture_after(&records, 1);
    assert_true(expected.tombstones > 0);
    for (unsigned threads = 1; threads <= 8; threads++) {
        records_shuffle(&records);
        struct picture found = picture_after(&records, threads);
        assert_same(&found, &expected);
    }
    records_free(&records);
    assert_int_equal(db_fixture_start(&f, false), 0);
}

static void a_record_that_makes_no_sense_ends_it_with_its_error(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 4; threads++) {
        struct replay *replay;
        struct txn_changes changes = {0};
        uint64_t rows = 0;
        assert_int_equal(db__replay_new(f.db, threads, &replay), 0);
        assert_int_equal(db__replay_record(1, "\x80\x04\x01\x02\x03k1\x92\x01", 9, replay), 0);
        assert_int_equal(db__replay_record(2, "\x80\x04\x01\x7f\x03k1", 7, replay), ERROR_CORRUPT);
        assert_int_equal(db__replay_end(replay, &changes, &rows), 0);
        assert_int_equal(rows, 1);
        txn_changes_free(&changes);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open, close)
    const struct CMUnitTest tests[] = {
        TEST(several_threads_replay_what_one_does),
        TEST(a_row_larger_than_a_batch_is_replayed),
        TEST(order_and_repetition_make_no_difference),
        TEST(a_record_that_makes_no_sense_ends_it_with_its_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
