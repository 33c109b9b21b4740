/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that leave the head for a body (invariants 17 and 18): who reads finds what he would have
 * found if they had stayed, and who writes meets the same conflicts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "txn/body_fixture.h"

enum { CHECKPOINTS = 7, KEYS = 24, STEPS = 6000 };

static struct txn_fixture f;
static struct body_fixture body;

static int open(void **state)
{
    (void)state;
    fixture_open(&f, CHECKPOINTS + 1);
    body_fixture_open(&body, &f, CHECKPOINTS);
    return 0;
}

static int close(void **state)
{
    (void)state;
    for (unsigned i = 0; i < f.worker_count; i++)
        if (txn_current(f.workers[i]) != NULL)
            txn_rollback(txn_current(f.workers[i]));
    body_fixture_close(&body);
    fixture_close(&f);
    return 0;
}

static int put(struct txn *txn, const char *key, const char *value)
{
    return value == NULL ? txn_delete(txn, &f.other, key, strlen(key))
                         : txn_put(txn, &f.other, key, strlen(key), value, (uint32_t)strlen(value),
                                   NULL, NULL);
}

static void set(unsigned worker, const char *key, const char *value)
{
    struct txn *txn = fixture_begin(&f, worker, TXN_SERIALIZABLE);
    assert_int_equal(put(txn, key, value), 0);
    assert_int_equal(txn_commit(txn), 0);
}

static const char *text_of(int rc, const struct version *version)
{
    static char texts[4][64];
    static unsigned next;
    if (rc != 0)
        return "CONFLICT";
    if (version == NULL)
        return NULL;
    char *text = texts[next++ % 4];
    snprintf(text, sizeof texts[0], "%.*s", (int)version->size, version->bytes);
    return text;
}

static const char *get(struct txn *txn, const char *key)
{
    const struct version *version;
    int rc = txn_get(txn, &f.other, key, strlen(key), &version);
    return text_of(rc, version);
}

static const char *scan(struct txn *txn, const char *lower, const char *upper, bool backward)
{
    return fixture_scan(&f, txn, &body.index, lower, upper, backward, 1000);
}

static void expect(struct txn *txn, const char *key, const char *value)
{
    const char *found = get(txn, key);
    if (value == NULL)
        assert_null(found);
    else
        assert_string_equal(found == NULL ? "nothing" : found, value);
}

static void a_row_leaves_after_a_checkpoint_and_is_read_from_the_body(void **state)
{
    (void)state;
    set(0, "a", "1");
    set(0, "b", "2");
    assert_int_equal(body_fixture_resident(&body), 2);
    body_fixture_checkpoint(&body);
    assert_int_equal(body_fixture_resident(&body), 0);
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    expect(txn, "a", "1");
    expect(txn, "b", "2");
    expect(txn, "c", NULL);
    assert_string_equal(scan(txn, NULL, NULL, false), "a b");
    assert_string_equal(scan(txn, NULL, NULL, true), "b a");
    assert_int_equal(txn_commit(txn), 0);
}

static void a_deleted_row_leaves_and_stays_deleted(void **state)
{
    (void)state;
    set(0, "a", "1");
    body_fixture_checkpoint(&body);
    set(0, "a", NULL);
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    expect(txn, "a", NULL);
    assert_string_equal(scan(txn, NULL, NULL, false), "");
    txn_rollback(txn);
    body_fixture_checkpoint(&body);
    assert_int_equal(body_fixture_resident(&body), 0);
    txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    expect(txn, "a", NULL);
    txn_rollback(txn);
}

static void what_a_cursor_gives_is_merged_in_both_directions(void **state)
{
    (void)state;
    const char *old[] = {"a", "c", "e", "g"}, *new[] = {"b", "d", "f"};
    for (unsigned i = 0; i < 4; i++)
        set(0, old[i], "old");
    body_fixture_checkpoint(&body);
    for (unsigned i = 0; i < 3; i++)
        set(0, new[i], "new");
    set(0, "c", "newer");
    set(0, "e", NULL);
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(put(txn, "cc", "own"), 0);
    assert_int_equal(put(txn, "g", NULL), 0);
    assert_string_equal(scan(txn, NULL, NULL, false), "a b c cc d f");
    assert_string_equal(scan(txn, NULL, NULL, true), "f d cc c b a");
    assert_string_equal(scan(txn, "b", "d", false), "b c cc d");
    assert_string_equal(scan(txn, "b", "d", true), "d cc c b");
    expect(txn, "c", "newer");
    expect(txn, "g", NULL);
    assert_int_equal(txn_commit(txn), 0);
}

static void an_old_snapshot_reads_below_what_was_written_since(void **state)
{
    (void)state;
    set(0, "a", "1");
    body_fixture_checkpoint(&body);
    struct txn *old = fixture_begin(&f, 1, TXN_SNAPSHOT);
    set(0, "a", "2"); /* the head has nothing below it */
    expect(old, "a", "1");
    assert_string_equal(scan(old, NULL, NULL, false), "a");
    body_fixture_checkpoint(&body);
    assert_int_equal(body_fixture_resident(&body), 1); /* newer than a snapshot */
    set(0, "a", "3");
    body_fixture_checkpoint(&body);
    expect(old, "a", "1");
    struct txn *now = fixture_begin(&f, 2, TXN_SNAPSHOT);
    expect(now, "a", "3");
    txn_rollback(now);
    txn_rollback(old);
    body_fixture_checkpoint(&body);
    for (unsigned i = 0; i < f.worker_count; i++)
        txn_collect(f.workers[i], SIZE_MAX);
    assert_int_equal(body_fixture_resident(&body), 0);
}

static void the_first_updater_wins_whatever_has_left(void **state)
{
    (void)state;
    set(0, "a", "1");
    body_fixture_checkpoint(&body);
    struct txn *late = fixture_begin(&f, 1, TXN_SNAPSHOT);
    set(0, "a", "2");
    body_fixture_checkpoint(&body);
    assert_int_equal(put(late, "a", "lost"), ERROR_CONFLICT);
    txn_rollback(late);
    struct txn *first = fixture_begin(&f, 1, TXN_SNAPSHOT);
    struct txn *second = fixture_begin(&f, 2, TXN_SNAPSHOT);
    assert_int_equal(put(first, "a", "3"), 0);
    assert_int_equal(put(second, "a", "4"), ERROR_CONFLICT);
    txn_rollback(second);
    assert_int_equal(txn_commit(first), 0);
}

static void what_was_read_from_the_body_is_validated(void **state)
{
    (void)state;
    set(0, "a", "1");
    set(0, "b", "1");
    body_fixture_checkpoint(&body);
    struct txn *reader = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    expect(reader, "a", "1");
    assert_int_equal(put(reader, "b", "2"), 0);
    set(0, "a", "2");
    body_fixture_checkpoint(&body);
    assert_int_equal(txn_commit(reader), ERROR_CONFLICT);
    reader = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    expect(reader, "c", NULL);
    assert_int_equal(put(reader, "b", "2"), 0);
    set(0, "c", "1");
    assert_int_equal(txn_commit(reader), ERROR_CONFLICT);
}

static void a_row_that_came_into_a_range_is_a_conflict_and_one_that_left_is_none(void **state)
{
    (void)state;
    set(0, "a", "1");
    set(0, "c", "1");
    struct txn *scanner = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    assert_string_equal(scan(scanner, "a", "c", false), "a c");
    assert_int_equal(put(scanner, "x", "1"), 0);
    body_fixture_checkpoint(&body); /* both leave: they are as old as the snapshot */
    assert_int_equal(body_fixture_resident(&body), 1);
    assert_int_equal(txn_commit(scanner), 0);
    scanner = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    assert_string_equal(scan(scanner, "a", "c", false), "a c");
    assert_int_equal(put(scanner, "x", "2"), 0);
    set(0, "b", "1");
    assert_int_equal(txn_commit(scanner), ERROR_CONFLICT);
    scanner = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    assert_string_equal(scan(scanner, "a", "c", false), "a b c");
    assert_int_equal(put(scanner, "x", "2"), 0);
    set(0, "d", "1");
    assert_int_equal(txn_commit(scanner), 0);
}

static void a_row_is_taken_for_an_update_from_the_body(void **state)
{
    (void)state;
    const struct version *version;
    set(0, "n", "1");
    body_fixture_checkpoint(&body);
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    assert_int_equal(txn_get_for_update(txn, &f.other, "n", 1, &version), 0);
    assert_string_equal(text_of(0, version), "1");
    assert_int_equal(put(txn, "n", "2"), 0);
    assert_int_equal(txn_commit(txn), 0);
    txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    assert_int_equal(txn_get_for_update(txn, &f.other, "n", 1, &version), 0);
    assert_string_equal(text_of(0, version), "2");
    assert_int_equal(txn_get_for_update(txn, &f.other, "m", 1, &version), 0);
    assert_null(version);
    txn_rollback(txn);
}

static void a_cursor_finds_what_leaves_while_it_walks(void **state)
{
    (void)state;
    char key[8];
    for (unsigned i = 0; i < 400; i++) {
        snprintf(key, sizeof key, "%03u", i);
        set(0, key, "1");
    }
    for (unsigned backward = 0; backward < 2; backward++) {
        struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
        struct txn_range range = {.backward = backward};
        struct txn_cursor cursor;
        struct row *row;
        const struct version *version;
        unsigned count = 0;
        int rc;
        txn_cursor_open(&cursor, txn, &body.index, &range);
        while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0) {
            unsigned number = backward ? 399 - count : count;
            snprintf(key, sizeof key, "%03u", number);
            assert_memory_equal(row->key, key, 3);
            if (count++ == 100)
                body_fixture_checkpoint(&body);
        }
        assert_int_equal(rc, ERROR_END);
        assert_int_equal(count, 400);
        txn_rollback(txn);
        for (unsigned i = 0; i < 400; i += 3) {
            snprintf(key, sizeof key, "%03u", i);
            set(0, key, "2");
        }
    }
}

/* Rows of a few hundred bytes, of which every other one leaves. */
static void mixed_rows(unsigned count)
{
    char key[16], value[400];
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = 0;
    for (unsigned i = 0; i < 2 * count; i++) {
        if (i == count)
            body_fixture_checkpoint(&body);
        if ((i < count) == (i % 2 == 0))
            continue;
        snprintf(key, sizeof key, "%04u", i % count);
        set(0, key, value);
    }
}

static void is_row(const struct row *row, const struct version *version, unsigned number)
{
    char key[16];
    snprintf(key, sizeof key, "%04u", number);
    assert_memory_equal(row->key, key, 4);
    assert_int_equal(version->size, 399);
    assert_int_equal(version->bytes[0], 'v');
    assert_int_equal(version->bytes[398], 'v');
}

static void a_walk_whose_rows_need_not_stay_takes_little_memory(void **state)
{
    (void)state;
    enum { ROWS = 2000, BYTES_MAX = 64 << 10 };
    for (unsigned backward = 0; backward < 2; backward++) {
        mixed_rows(ROWS);
        struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
        struct txn_range range = {.backward = backward};
        struct txn_cursor cursor;
        struct row *row, *before = NULL;
        const struct version *version, *version_before = NULL;
        unsigned count = 0;
        int rc;
        txn_cursor_open(&cursor, txn, &body.index, &range);
        txn_cursor_brief(&cursor);
        for (; (rc = txn_cursor_next(&cursor, &row, &version)) == 0; count++) {
            is_row(row, version, backward ? ROWS - 1 - count : count);
            if (before != NULL) /* is still there */
                is_row(before, version_before, backward ? ROWS - count : count - 1);
            before = row;
            version_before = version;
            if (count == ROWS / 2)
                body_fixture_checkpoint(&body);
        }
        assert_int_equal(rc, ERROR_END);
        assert_int_equal(count, ROWS);
        assert_true(txn_arena(txn)->used_bytes < BYTES_MAX);
        txn_rollback(txn);
    }
}

static void a_walk_that_is_validated_keeps_its_rows(void **state)
{
    (void)state;
    set(0, "a", "1");
    set(0, "c", "2");
    body_fixture_checkpoint(&body);
    for (unsigned beyond = 0; beyond < 2; beyond++) {
        struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
        struct txn_range range = {.lower = NULL};
        struct txn_cursor cursor;
        struct row *row;
        const struct version *version;
        txn_cursor_open(&cursor, txn, &body.index, &range);
        txn_cursor_brief(&cursor);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(txn_cursor_next(&cursor, &row, &version), 0);
        assert_int_equal(put(txn, "z", "3"), 0);
        set(1, beyond ? "d" : "b", "4");
        assert_int_equal(txn_commit(txn), beyond ? 0 : ERROR_CONFLICT);
        set(1, "b", NULL);
    }
}

/* ------------------------------------------------------------------------ beside a head that keeps all */

static struct random source;

/* What both heads say of a key, which is to be the same. */
static void compare_get(struct txn *txn, const char *key, bool for_update)
{
    const struct version *kept, *left;
    int kept_rc, left_rc;
    if (for_update) {
        kept_rc = txn_get_for_update(txn, &f.head, key, strlen(key), &kept);
        left_rc = txn_get_for_update(txn, &f.other, key, strlen(key), &left);
    } else {
        kept_rc = txn_get(txn, &f.head, key, strlen(key), &kept);
        left_rc = txn_get(txn, &f.other, key, strlen(key), &left);
    }
    assert_int_equal(kept_rc == 0 && left_rc != 0, 0);
    if (kept_rc != 0 || left_rc != 0)
        return;
    const char *text = text_of(0, kept);
    const char *other = text_of(0, left);
    assert_string_equal(text == NULL ? "nothing" : text, other == NULL ? "nothing" : other);
}

static void compare_scan(struct txn *txn)
{
    char bounds[2][4];
    for (unsigned i = 0; i < 2; i++)
        snprintf(bounds[i], sizeof bounds[i], "k%02u", (unsigned)random_below(&source, KEYS));
    bool backward = random_below(&source, 2) != 0;
    unsigned limit = 1 + (unsigned)random_below(&source, KEYS);
    const char *kept = fixture_scan(&f, txn, &f.primary, bounds[0], bounds[1], backward, limit);
    const char *left = fixture_scan(&f, txn, &body.index, bounds[0], bounds[1], backward, limit);
    if (strcmp(kept, "CONFLICT") != 0 && strcmp(left, "CONFLICT") != 0)
        assert_string_equal(kept, left);
}

/* The same write to both. */
static void write_both(struct txn *txn, const char *key, unsigned number)
{
    char value[16];
    snprintf(value, sizeof value, "%u", number);
    bool deletes = random_below(&source, 4) == 0;
    int rc = deletes ? txn_delete(txn, &f.head, key, strlen(key))
                     : txn_put(txn, &f.head, key, strlen(key), value, (uint32_t)strlen(value), NULL,
                               NULL);
    int other = put(txn, key, deletes ? NULL : value);
    assert_int_equal(rc, other); /* the second of a doomed transaction says the same */
}

static void step(unsigned worker, unsigned number)
{
    static const enum txn_level levels[] = {TXN_READ_COMMITTED, TXN_SNAPSHOT, TXN_SERIALIZABLE};
    struct txn *txn = txn_current(f.workers[worker]);
    char key[4];
    snprintf(key, sizeof key, "k%02u", (unsigned)random_below(&source, KEYS));
    if (txn == NULL) {
        if (random_below(&source, 5) == 0)
            fixture_begin_readonly(&f, worker, random_below(&source, 2) != 0);
        else
            fixture_begin(&f, worker, levels[random_below(&source, 3)]);
        return;
    }
    switch (random_below(&source, 10)) {
    case 0:
        txn_rollback(txn);
        break;
    case 1:
    case 2:
        (void)txn_commit(txn);
        break;
    case 3:
    case 4:
    case 5:
        if (!txn_readonly(txn))
            write_both(txn, key, number);
        break;
    case 6:
        if (!txn_readonly(txn))
            compare_get(txn, key, true);
        break;
    case 7:
        compare_scan(txn);
        break;
    default:
        compare_get(txn, key, false);
    }
}

static void both_heads_say_the_same_at_each_step(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    random_create(&source, seed);
    for (unsigned i = 0; i < STEPS; i++) {
        step((unsigned)random_below(&source, CHECKPOINTS), i);
        if (random_below(&source, 20) == 0)
            body_fixture_checkpoint(&body);
        if (random_below(&source, 30) == 0)
            txn_collect(f.workers[CHECKPOINTS], SIZE_MAX);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_row_leaves_after_a_checkpoint_and_is_read_from_the_body),
        TEST(a_deleted_row_leaves_and_stays_deleted),
        TEST(what_a_cursor_gives_is_merged_in_both_directions),
        TEST(an_old_snapshot_reads_below_what_was_written_since),
        TEST(the_first_updater_wins_whatever_has_left),
        TEST(what_was_read_from_the_body_is_validated),
        TEST(a_row_that_came_into_a_range_is_a_conflict_and_one_that_left_is_none),
        TEST(a_row_is_taken_for_an_update_from_the_body),
        TEST(a_cursor_finds_what_leaves_while_it_walks),
        TEST(a_walk_whose_rows_need_not_stay_takes_little_memory),
        TEST(a_walk_that_is_validated_keeps_its_rows),
        TEST(both_heads_say_the_same_at_each_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
