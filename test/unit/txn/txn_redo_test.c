/* SPDX-License-Identifier: Apache-2.0 */
/* Redo records and their replay (invariant 3), as the log hands them back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "txn/txn_fixture.h"

static struct txn_fixture f;

static int open(void **state)
{
    (void)state;
    fixture_open(&f, 2);
    return 0;
}

static int close(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

/* Records as read back, the body copied. */
struct records {
    struct {
        uint64_t ts;
        size_t size;
        char *body;
    } items[64];
    size_t count;
};

static int record_add(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct records *records = arg;
    if (records->count == 64)
        return ERROR_TOO_LARGE;
    char *copy = malloc(size + 1);
    memcpy(copy, body, size);
    records->items[records->count].ts = ts;
    records->items[records->count].size = size;
    records->items[records->count++].body = copy;
    return 0;
}

static void records_read(struct records *records)
{
    struct wal_replay_stats stats;
    records->count = 0;
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    assert_int_equal(
        wal_read(&(struct wal_read_options){.io = f.io, .each = record_add, .arg = records},
                 &stats),
        0);
}

static void records_free(struct records *records)
{
    for (size_t i = 0; i < records->count; i++)
        free(records->items[i].body);
}

/* Operations as "head/incarnation:key=data", a tombstone without "=". */
static const char *record_text(const struct records *records, size_t n)
{
    static char text[1024];
    const char *body = records->items[n].body, *end = body + records->items[n].size;
    struct txn_redo redo;
    size_t size = 0;
    int rc;
    text[0] = '\0';
    while ((rc = txn_redo_next(&body, end, &redo)) == 0)
        size += (size_t)snprintf(
            text + size, sizeof text - size, "%s%u/%u:%.*s%s%.*s", size > 0 ? " " : "",
            redo.head_id, redo.head_incarnation, (int)redo.key_size, (const char *)redo.key,
            redo.data == NULL ? "" : "=", (int)redo.size, redo.data == NULL ? "" : redo.data);
    assert_int_equal(rc, ERROR_END);
    return text;
}

static void a_record_holds_the_outcome_of_each_row_once(void **state)
{
    (void)state;
    f.other.incarnation = 7;
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "a", "1"), 0);
    assert_int_equal(txn_put(txn, &f.other, "o", 1, "", 0, NULL, NULL), 0);
    assert_int_equal(fixture_put(&f, txn, "a", "2"), 0);
    assert_int_equal(fixture_put(&f, txn, "b", "1"), 0);
    assert_int_equal(fixture_delete(&f, txn, "b"), 0);
    struct txn_savepoint savepoint = txn_savepoint(txn);
    assert_int_equal(fixture_put(&f, txn, "a", "3"), 0);
    assert_int_equal(fixture_put(&f, txn, "c", "3"), 0);
    txn_rollback_to(txn, savepoint);
    assert_int_equal(txn_commit(txn), 0);
    uint64_t ts = txn_worker_seen_ts(f.workers[0]);
    struct records records;
    records_read(&records);
    assert_int_equal(records.count, 1);
    assert_int_equal(records.items[0].ts, ts);
    assert_string_equal(record_text(&records, 0), "2/7:o= 1/0:a=2 1/0:b");
    records_free(&records);
}

static void what_lost_or_was_rolled_back_or_only_read_leaves_no_record(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "a", "1"), 0);
    txn_rollback(txn);
    txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_null(fixture_get(&f, txn, "x"));
    assert_int_equal(fixture_put(&f, txn, "a", "1"), 0);
    fixture_set(&f, 1, "x", "1");
    assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
    txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    assert_string_equal(fixture_get_for_update(&f, txn, "x"), "1");
    assert_int_equal(txn_commit(txn), 0);
    struct records records;
    records_read(&records);
    assert_int_equal(records.count, 1);
    assert_string_equal(record_text(&records, 0), "1/0:x=1");
    records_free(&records);
}

static void a_row_taken_for_update_and_written_has_one_record(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    assert_null(fixture_get_for_update(&f, txn, "n"));
    assert_int_equal(fixture_put(&f, txn, "n", "1"), 0);
    assert_int_equal(txn_commit(txn), 0);
    struct records records;
    records_read(&records);
    assert_int_equal(records.count, 1);
    assert_string_equal(record_text(&records, 0), "1/0:n=1");
    records_free(&records);
}

static void record_replay(const struct records *records, size_t n)
{
    const char *body = records->items[n].body, *end = body + records->items[n].size;
    struct txn_redo redo;
    struct row *row;
    while (txn_redo_next(&body, end, &redo) == 0)
        assert_int_equal(txn_replay_row(&f.boot, &f.other, records->items[n].ts, redo.key,
                                        redo.key_size, redo.data, redo.size, redo.data == NULL,
                                        &row),
                         0);
}

/* Replays into the second head, and compares it with the first. */
static void replay_in_any_order_and_repeatedly_gives_the_same_rows(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned i = 0; i < 50; i++) {
        char key[8], value[8];
        struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
        for (unsigned n = 0; n < 3; n++) {
            snprintf(key, sizeof key, "k%u", (unsigned)random_below(&random, 10));
            snprintf(value, sizeof value, "%u", i);
            if (random_below(&random, 3) == 0)
                assert_int_equal(fixture_delete(&f, txn, key), 0);
            else
                assert_int_equal(fixture_put(&f, txn, key, value), 0);
        }
        assert_int_equal(txn_commit(txn), 0);
    }
    struct records records;
    records_read(&records);
    assert_int_equal(records.count, 50);
    for (unsigned i = 0; i < 500; i++)
        record_replay(&records, random_below(&random, 50));
    for (unsigned i = 50; i > 0; i--)
        record_replay(&records, i - 1);
    txn_replay_end(&f.boot, &f.other);
    struct txn *txn = fixture_begin_readonly(&f, 0, true);
    struct txn_index replayed = {.tree = f.other.tree, .head = &f.other};
    assert_string_equal(fixture_scan(&f, txn, &replayed, NULL, NULL, false, 99),
                        fixture_scan(&f, txn, &f.primary, NULL, NULL, false, 99));
    for (unsigned i = 0; i < 10; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%u", i);
        const struct version *expected, *found;
        assert_int_equal(txn_get(txn, &f.head, key, 2, &expected), 0);
        assert_int_equal(txn_get(txn, &f.other, key, 2, &found), 0);
        assert_int_equal(expected == NULL, found == NULL);
        if (found != NULL) {
            assert_int_equal(found->size, expected->size);
            assert_memory_equal(found->bytes, expected->bytes, found->size);
        } else {
            assert_null(tree_get(f.other.tree, key, 2));
        }
    }
    txn_rollback(txn);
    records_free(&records);
}

static void a_damaged_record_is_refused_wherever_it_is_cut(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "key", "value"), 0);
    assert_int_equal(txn_commit(txn), 0);
    struct records records;
    records_read(&records);
    for (size_t size = 1; size < records.items[0].size; size++) {
        char *cut = malloc(size);
        memcpy(cut, records.items[0].body, size);
        const char *body = cut;
        struct txn_redo redo;
        assert_int_equal(txn_redo_next(&body, cut + size, &redo), ERROR_CORRUPT);
        free(cut);
    }
    records_free(&records);
    static const char endless[] = {(char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff,
                                   (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff,
                                   (char)0xff, (char)0xff, 1};
    const char *body = endless;
    struct txn_redo redo;
    assert_int_equal(txn_redo_next(&body, endless + sizeof endless, &redo), ERROR_CORRUPT);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_record_holds_the_outcome_of_each_row_once),
        WITH_FIXTURE(what_lost_or_was_rolled_back_or_only_read_leaves_no_record),
        WITH_FIXTURE(a_row_taken_for_update_and_written_has_one_record),
        WITH_FIXTURE(replay_in_any_order_and_repeatedly_gives_the_same_rows),
        WITH_FIXTURE(a_damaged_record_is_refused_wherever_it_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
