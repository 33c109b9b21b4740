/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anomalies, each at the level that allows it and at the one that does not: what serializable
 * transactions validate at their commit (invariant 16).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "txn/txn_fixture.h"
#include "txn/txn_private.h"

static struct txn_fixture f;

static int open(void **state)
{
    (void)state;
    fixture_open(&f, 3);
    return 0;
}

static int close(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

/* Commits a transaction that also wrote something of its own, since one that only read is always
 * right. */
static int commit_writing(struct txn *txn)
{
    int rc = fixture_put(&f, txn, "~result", "1");
    if (rc != 0) {
        txn_rollback(txn);
        return rc;
    }
    return txn_commit(txn);
}

static void a_snapshot_does_not_move(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    fixture_set(&f, 1, "a", "2");
    fixture_set(&f, 1, "b", "2");
    fixture_set(&f, 1, "a", NULL);
    fixture_settle(&f);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    assert_null(fixture_get(&f, txn, "b"));
    assert_string_equal(fixture_scan(&f, txn, &f.primary, NULL, NULL, false, 9), "a");
    txn_rollback(txn);
}

static void lost_update(enum txn_level level)
{
    fixture_set(&f, 0, "n", "1");
    struct txn *a = fixture_begin(&f, 0, level), *b = fixture_begin(&f, 1, level);
    assert_string_equal(fixture_get(&f, a, "n"), "1");
    assert_string_equal(fixture_get(&f, b, "n"), "1");
    assert_int_equal(fixture_put(&f, a, "n", "2"), 0);
    assert_int_equal(txn_commit(a), 0);
    assert_int_equal(fixture_put(&f, b, "n", "2"), ERROR_CONFLICT);
    txn_rollback(b);
}

static void no_update_is_lost_at_either_level(void **state)
{
    (void)state;
    lost_update(TXN_SNAPSHOT);
    lost_update(TXN_SERIALIZABLE);
}

/* Returns how many of the two committed. */
static int write_skew(enum txn_level level)
{
    fixture_set(&f, 2, "x", "1");
    fixture_set(&f, 2, "y", "1");
    struct txn *a = fixture_begin(&f, 0, level), *b = fixture_begin(&f, 1, level);
    assert_string_equal(fixture_get(&f, a, "y"), "1");
    assert_string_equal(fixture_get(&f, b, "x"), "1");
    assert_int_equal(fixture_put(&f, a, "x", "0"), 0);
    assert_int_equal(fixture_put(&f, b, "y", "0"), 0);
    return (txn_commit(a) == 0) + (txn_commit(b) == 0);
}

static void write_skew_is_possible_at_snapshot_and_not_at_serializable(void **state)
{
    (void)state;
    assert_int_equal(write_skew(TXN_SNAPSHOT), 2);
    assert_int_equal(write_skew(TXN_SERIALIZABLE), 1);
}

/* Fekete, O'Neil, O'Neil 2004: the reader saw the deposit and not the withdrawal, which then
 * commits with a penalty that the reader's picture excludes. */
static void a_read_only_transaction_sees_no_anomaly(void **state)
{
    (void)state;
    fixture_set(&f, 2, "checking", "0");
    fixture_set(&f, 2, "savings", "0");
    struct txn *withdrawal = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_string_equal(fixture_get(&f, withdrawal, "checking"), "0");
    assert_string_equal(fixture_get(&f, withdrawal, "savings"), "0");
    fixture_set(&f, 1, "savings", "20");
    struct txn *report = fixture_begin_readonly(&f, 2, true);
    assert_string_equal(fixture_get(&f, report, "checking"), "0");
    assert_string_equal(fixture_get(&f, report, "savings"), "20");
    assert_int_equal(txn_commit(report), 0);
    assert_int_equal(fixture_put(&f, withdrawal, "checking", "-11"), 0);
    assert_int_equal(txn_commit(withdrawal), ERROR_CONFLICT);
}

static void an_absent_key_that_appears_is_a_conflict(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_null(fixture_get(&f, txn, "a"));
    fixture_set(&f, 1, "a", "1");
    assert_int_equal(commit_writing(txn), ERROR_CONFLICT);
}

static void an_absent_key_that_comes_and_goes_is_none(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_null(fixture_get(&f, txn, "a"));
    fixture_set(&f, 1, "a", "1");
    fixture_set(&f, 1, "a", NULL);
    assert_int_equal(commit_writing(txn), 0);
}

static void a_row_read_that_is_deleted_is_a_conflict(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    fixture_set(&f, 1, "a", NULL);
    assert_int_equal(commit_writing(txn), ERROR_CONFLICT);
}

/* A row read as a tombstone, whose anchor ends and gives way to another one before validation. D
 * and the snapshot have passed the tombstone, so the row can end while the snapshot is held. */
static void tombstone_replaced(void (*look)(struct txn *txn))
{
    fixture_set(&f, 1, "k", "1");
    fixture_set(&f, 1, "k", NULL);
    struct row *before = (struct row *)tree_get(f.head.tree, "k", 1);
    assert_non_null(before);
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    look(txn);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "k"), -1);
    fixture_set(&f, 1, "k", "2");
    assert_ptr_not_equal(tree_get(f.head.tree, "k", 1), before);
    assert_int_equal(commit_writing(txn), ERROR_CONFLICT);
}

static void look_by_key(struct txn *txn)
{
    assert_null(fixture_get(&f, txn, "k"));
}

static void look_by_scan(struct txn *txn)
{
    assert_string_equal(fixture_scan(&f, txn, &f.primary, "a", "z", false, 9), "");
}

static void a_tombstone_whose_row_ends_and_is_made_anew_is_a_conflict(void **state)
{
    (void)state;
    tombstone_replaced(look_by_key);
    tombstone_replaced(look_by_scan);
}

static void a_tombstone_whose_row_ends_is_none(void **state)
{
    (void)state;
    fixture_set(&f, 1, "k", "1");
    fixture_set(&f, 1, "k", NULL);
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_null(fixture_get(&f, txn, "k"));
    assert_string_equal(fixture_scan(&f, txn, &f.primary, "a", "z", false, 9), "");
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "k"), -1);
    assert_int_equal(commit_writing(txn), 0);
}

struct phantom {
    bool backward;
    unsigned limit;
    const char *lower, *upper, *seen; /* of b d f h */
    const char *key, *value;          /* what another transaction then writes; NULL deletes */
    bool conflict;
};

static void phantoms_in_ranges_are_conflicts_up_to_where_the_cursor_stopped(void **state)
{
    (void)state;
    static const struct phantom cases[] = {
        {false, 9, NULL, NULL, "b d f h", "c", "1", true},
        {false, 9, NULL, NULL, "b d f h", "a", "1", true},
        {false, 9, NULL, NULL, "b d f h", "i", "1", true},
        {false, 9, NULL, NULL, "b d f h", "d", "2", true},
        {false, 9, NULL, NULL, "b d f h", "d", NULL, true},
        {false, 9, "c", "g", "d f", "c", "1", true},
        {false, 9, "c", "g", "d f", "g", "1", true},
        {false, 9, "c", "g", "d f", "a", "1", false},
        {false, 9, "c", "g", "d f", "g1", "1", false},
        {false, 9, "c", "g", "d f", "b", "2", false},
        {false, 9, "c", "g", "d f", "h", NULL, false},
        {false, 2, NULL, NULL, "b d", "c", "1", true},
        {false, 2, NULL, NULL, "b d", "a", "1", true},
        {false, 2, NULL, NULL, "b d", "d", NULL, true},
        {false, 2, NULL, NULL, "b d", "e", "1", false},
        {false, 2, NULL, NULL, "b d", "f", NULL, false},
        {true, 9, NULL, NULL, "h f d b", "c", "1", true},
        {true, 9, NULL, NULL, "h f d b", "i", "1", true},
        {true, 9, NULL, NULL, "h f d b", "a", "1", true},
        {true, 2, NULL, NULL, "h f", "i", "1", true},
        {true, 2, NULL, NULL, "h f", "g", "1", true},
        {true, 2, NULL, NULL, "h f", "e", "1", false},
        {true, 2, NULL, NULL, "h f", "d", NULL, false},
        {true, 2, NULL, "g", "f d", "g", "1", true},
        {true, 2, NULL, "g", "f d", "h", NULL, false},
        {false, 9, "i", "z", "", "k", "1", true},
        {false, 9, "i", "z", "", "zz", "1", false},
    };
    enum { CASES = sizeof cases / sizeof *cases, FEW = 4 };
    for (unsigned i = 0; i < CASES * FEW; i++) {
        const struct phantom *phantom = &cases[i % CASES];
        f.few = i / CASES; /* a leaf at once, or in two portions */
        for (const char *key = "bdfh"; *key != '\0'; key++)
            fixture_set(&f, 2, (char[]){*key, '\0'}, "1");
        struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
        assert_string_equal(fixture_scan(&f, txn, &f.primary, phantom->lower, phantom->upper,
                                         phantom->backward, phantom->limit),
                            phantom->seen);
        fixture_set(&f, 1, phantom->key, phantom->value);
        struct row *row;
        int rc = txn_put(txn, &f.other, "result", 6, "1", 1, &row, NULL);
        rc = rc != 0 ? rc : txn_commit(txn);
        if (rc != (phantom->conflict ? ERROR_CONFLICT : 0))
            fail_msg("case %u by %u: %d", i % CASES, f.few, rc);
        for (const char *key = "acegi"; *key != '\0'; key++)
            fixture_set(&f, 2, (char[]){*key, '\0'}, NULL);
        fixture_set(&f, 2, "g1", NULL);
        fixture_set(&f, 2, "k", NULL);
        fixture_set(&f, 2, "zz", NULL);
        fixture_settle(&f);
    }
}

/* The entry of a row that comes under the key only later may be there from earlier on. */
static void phantoms_in_a_secondary_index_are_conflicts_too(void **state)
{
    (void)state;
    fixture_set(&f, 2, "p", "x|1");
    fixture_set(&f, 2, "q", "y|1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_string_equal(fixture_scan(&f, txn, &f.secondary, "x", "x~", false, 9), "p");
    fixture_set(&f, 1, "q", "x2|1");
    assert_int_equal(commit_writing(txn), ERROR_CONFLICT);

    txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_string_equal(fixture_scan(&f, txn, &f.secondary, "y", "y~", false, 9), "");
    fixture_set(&f, 1, "q", "y|2");
    assert_int_equal(commit_writing(txn), ERROR_CONFLICT);

    txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_string_equal(fixture_scan(&f, txn, &f.secondary, "y", "y~", false, 9), "q");
    fixture_set(&f, 1, "p", "z|2");
    assert_int_equal(commit_writing(txn), 0);
}

/* What a range scanned with an index and bounds that are gone afterwards makes of another's write.
 */
static int write_beside_range(const char *key)
{
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    char lower[] = "a", upper[] = "c";
    struct txn_index index = f.primary;
    assert_string_equal(fixture_scan(&f, txn, &index, lower, upper, false, 9), "b");
    memset(&index, 0xff, sizeof index);
    lower[0] = upper[0] = 'x';
    fixture_set(&f, 1, key, "1");
    return commit_writing(txn);
}

static void a_range_is_validated_after_its_bounds_have_gone(void **state)
{
    (void)state;
    fixture_set(&f, 2, "b", "1");
    assert_int_equal(write_beside_range("z"), 0);
    assert_int_equal(write_beside_range("bb"), ERROR_CONFLICT);
}

static void own_writes_in_a_scanned_range_are_no_conflict(void **state)
{
    (void)state;
    fixture_set(&f, 2, "b", "1");
    fixture_set(&f, 2, "c", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_string_equal(fixture_scan(&f, txn, &f.primary, "a", "z", false, 9), "b c");
    assert_int_equal(fixture_put(&f, txn, "bb", "1"), 0);
    assert_int_equal(fixture_put(&f, txn, "b", "2"), 0);
    assert_int_equal(fixture_delete(&f, txn, "c"), 0);
    assert_string_equal(fixture_scan(&f, txn, &f.primary, "a", "z", false, 9), "b bb");
    assert_int_equal(txn_commit(txn), 0);
}

static void looking_at_what_it_has_written_is_not_remembered(void **state)
{
    (void)state;
    static const enum txn_level LEVELS[] = {TXN_SERIALIZABLE, TXN_READ_COMMITTED};
    fixture_set(&f, 2, "a", "0");
    for (unsigned n = 0; n < 2; n++) {
        struct txn *txn = fixture_begin(&f, 0, LEVELS[n]);
        assert_string_equal(fixture_get_for_update(&f, txn, "a"), "0");
        assert_int_equal(fixture_put(&f, txn, "a", "1"), 0);
        assert_string_equal(fixture_get_for_update(&f, txn, "a"), "1");
        size_t count = txn__read_count(txn);
        for (unsigned i = 0; i < 100; i++) {
            assert_int_equal(fixture_put(&f, txn, "a", i % 2 ? "2" : "3"), 0);
            assert_string_equal(fixture_get_for_update(&f, txn, "a"), i % 2 ? "2" : "3");
            assert_string_equal(fixture_get(&f, txn, "a"), i % 2 ? "2" : "3");
        }
        assert_int_equal(fixture_delete(&f, txn, "a"), 0);
        assert_null(fixture_get(&f, txn, "a"));
        assert_int_equal(txn__read_count(txn), count);
        txn_rollback(txn);
    }
}

static void what_was_read_before_a_write_that_is_undone_is_validated(void **state)
{
    (void)state;
    fixture_set(&f, 2, "a", "0");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    struct txn_savepoint savepoint = txn_savepoint(txn);
    assert_string_equal(fixture_get(&f, txn, "a"), "0");
    assert_int_equal(fixture_put(&f, txn, "a", "1"), 0);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    txn_rollback_to(txn, savepoint);
    fixture_set(&f, 1, "a", "2");
    assert_int_equal(commit_writing(txn), ERROR_CONFLICT);
}

static void an_uncommitted_insert_before_the_scan_that_commits_after_it_is_a_conflict(void **state)
{
    (void)state;
    struct txn *other = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    assert_int_equal(fixture_put(&f, other, "b", "1"), 0);
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_string_equal(fixture_scan(&f, txn, &f.primary, "a", "c", false, 9), "");
    assert_null(fixture_get(&f, txn, "b"));
    assert_int_equal(txn_commit(other), 0);
    assert_int_equal(commit_writing(txn), ERROR_CONFLICT);
}

static void another_transaction_in_the_same_leaf_is_no_conflict(void **state)
{
    (void)state;
    fixture_set(&f, 2, "b", "1");
    fixture_set(&f, 2, "m", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_string_equal(fixture_scan(&f, txn, &f.primary, "a", "c", false, 9), "b");
    assert_null(fixture_get(&f, txn, "bx"));
    fixture_set(&f, 1, "n", "1");
    fixture_set(&f, 1, "m", NULL);
    assert_int_equal(commit_writing(txn), 0);
}

/* Two procedures on different keys of one leaf, which step by step do what they like: reads of
 * keys and ranges, updates, inserts and deletes, all among their own keys. */
static void different_keys_of_one_leaf_disturb_each_other_less_than_once_in_a_thousand(void **state)
{
    (void)state;
    enum { RUNS = 4000 };
    struct random random;
    random_create(&random, test_seed());
    unsigned conflicts = 0;
    for (unsigned run = 0; run < RUNS; run++) {
        struct txn *txns[2];
        int rc[2] = {0, 0};
        for (unsigned i = 0; i < 2; i++)
            txns[i] = fixture_begin(&f, i, TXN_SERIALIZABLE);
        for (unsigned step = 0; step < 12; step++) {
            unsigned i = (unsigned)random_below(&random, 2);
            char key[8], until[8];
            snprintf(key, sizeof key, "%c%u", i == 0 ? 'a' : 'b',
                     (unsigned)random_below(&random, 9));
            snprintf(until, sizeof until, "%c9", key[0]);
            if (rc[i] != 0)
                continue;
            switch (random_below(&random, 4)) {
            case 0:
                fixture_get(&f, txns[i], key);
                break;
            case 1:
                fixture_scan(&f, txns[i], &f.primary, key, until, false,
                             1 + (unsigned)random_below(&random, 5));
                break;
            case 2:
                rc[i] = fixture_delete(&f, txns[i], key);
                break;
            default:
                rc[i] = fixture_put(&f, txns[i], key, "v");
                break;
            }
        }
        for (unsigned i = 0; i < 2; i++)
            conflicts += txn_commit(txns[i]) != 0;
    }
    printf("%u conflicts in %u transactions on different keys of one leaf\n", conflicts, 2 * RUNS);
    assert_true(conflicts * 1000 < 2 * RUNS);
}

/* Beyond a bound the commit goes through the gate (invariant 4). */
static void a_large_read_set_is_validated_as_well(void **state)
{
    (void)state;
    enum { ROWS = 9000 };
    char key[16];
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned i = 0; i < ROWS; i++) {
        int size = snprintf(key, sizeof key, "%05u", i);
        assert_int_equal(txn_put(txn, &f.head, key, (size_t)size, "v", 1, NULL, NULL), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    struct txn_stats before, after;
    for (unsigned conflict = 0; conflict < 2; conflict++) {
        txn_stats_get(f.system, &before);
        txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
        fixture_scan(&f, txn, &f.primary, NULL, NULL, false, 10);
        struct txn_cursor cursor;
        struct row *row;
        const struct version *version;
        txn_cursor_open(&cursor, txn, &f.primary, &(struct txn_range){0});
        while (txn_cursor_next(&cursor, &row, &version) == 0) {
        }
        if (conflict)
            fixture_set(&f, 1, "00500", "new");
        assert_int_equal(commit_writing(txn), conflict ? ERROR_CONFLICT : 0);
        txn_stats_get(f.system, &after);
        assert_true(after.gate_entries > before.gate_entries);
        fixture_set(&f, 1, "~result", NULL);
    }
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_snapshot_does_not_move),
        WITH_FIXTURE(no_update_is_lost_at_either_level),
        WITH_FIXTURE(write_skew_is_possible_at_snapshot_and_not_at_serializable),
        WITH_FIXTURE(a_read_only_transaction_sees_no_anomaly),
        WITH_FIXTURE(an_absent_key_that_appears_is_a_conflict),
        WITH_FIXTURE(an_absent_key_that_comes_and_goes_is_none),
        WITH_FIXTURE(a_row_read_that_is_deleted_is_a_conflict),
        WITH_FIXTURE(a_tombstone_whose_row_ends_and_is_made_anew_is_a_conflict),
        WITH_FIXTURE(a_tombstone_whose_row_ends_is_none),
        WITH_FIXTURE(phantoms_in_ranges_are_conflicts_up_to_where_the_cursor_stopped),
        WITH_FIXTURE(phantoms_in_a_secondary_index_are_conflicts_too),
        WITH_FIXTURE(a_range_is_validated_after_its_bounds_have_gone),
        WITH_FIXTURE(own_writes_in_a_scanned_range_are_no_conflict),
        WITH_FIXTURE(looking_at_what_it_has_written_is_not_remembered),
        WITH_FIXTURE(what_was_read_before_a_write_that_is_undone_is_validated),
        WITH_FIXTURE(an_uncommitted_insert_before_the_scan_that_commits_after_it_is_a_conflict),
        WITH_FIXTURE(another_transaction_in_the_same_leaf_is_no_conflict),
        WITH_FIXTURE(different_keys_of_one_leaf_disturb_each_other_less_than_once_in_a_thousand),
        WITH_FIXTURE(a_large_read_set_is_validated_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
