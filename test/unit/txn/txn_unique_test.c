/* SPDX-License-Identifier: Apache-2.0 */
/* Unique secondary keys (invariant 15) and the life of entries (invariant 14). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/error.h"
#include "txn/txn_fixture.h"

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

/* What one transaction gets that puts key = value. */
static int try_put(enum txn_level level, const char *key, const char *value)
{
    struct txn *txn = fixture_begin(&f, 0, level);
    int rc = fixture_put(&f, txn, key, value);
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

static void a_committed_holder_is_a_duplicate(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "x|1");
    assert_int_equal(try_put(TXN_SNAPSHOT, "b", "x|2"), ERROR_DUPLICATE);
    assert_int_equal(try_put(TXN_SERIALIZABLE, "b", "x|2"), ERROR_DUPLICATE);
    assert_int_equal(try_put(TXN_READ_COMMITTED, "b", "x|2"), ERROR_DUPLICATE);
    assert_null(fixture_latest(&f, 0, "b"));
    assert_int_equal(fixture_entries(&f), 1);
    assert_int_equal(try_put(TXN_SNAPSHOT, "a", "x|3"), 0);
    assert_int_equal(try_put(TXN_SNAPSHOT, "b", "x2|2"), 0);
}

static void a_duplicate_does_not_doom(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "x|1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(fixture_put(&f, txn, "b", "x|2"), ERROR_DUPLICATE);
    assert_false(txn_doomed(txn));
    assert_int_equal(fixture_put(&f, txn, "b", "y|2"), 0);
    assert_int_equal(txn_commit(txn), 0);
}

static void a_key_that_was_given_up_is_free(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "x|1");
    fixture_set(&f, 0, "a", "y|1");
    assert_int_equal(try_put(TXN_SNAPSHOT, "b", "x|2"), 0);
    fixture_set(&f, 0, "b", NULL);
    assert_int_equal(try_put(TXN_SNAPSHOT, "c", "x|2"), 0);
}

static void a_key_can_move_between_rows_in_one_transaction(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "x|1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "b", "x|2"), ERROR_DUPLICATE);
    assert_int_equal(fixture_delete(&f, txn, "a"), 0);
    assert_int_equal(fixture_put(&f, txn, "b", "x|2"), 0);
    assert_int_equal(fixture_put(&f, txn, "c", "x|3"), ERROR_DUPLICATE);
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(fixture_latest(&f, 0, "b"), "x|2");
}

static void anothers_uncommitted_holder_is_a_conflict(void **state)
{
    (void)state;
    struct txn *other = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, other, "a", "x|1"), 0);
    assert_int_equal(try_put(TXN_SNAPSHOT, "b", "x|2"), ERROR_CONFLICT);
    assert_int_equal(try_put(TXN_READ_COMMITTED, "b", "x|2"), ERROR_CONFLICT);
    txn_rollback(other);
    assert_int_equal(try_put(TXN_SNAPSHOT, "b", "x|2"), 0);
}

/* Whether the key becomes free is not known yet. */
static void a_holder_that_another_is_about_to_take_away_is_a_conflict(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "x|1");
    struct txn *other = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_delete(&f, other, "a"), 0);
    assert_int_equal(try_put(TXN_SNAPSHOT, "b", "x|2"), ERROR_CONFLICT);
    txn_rollback(other);
    assert_int_equal(try_put(TXN_SNAPSHOT, "b", "x|2"), ERROR_DUPLICATE);
    other = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, other, "a", "y|1"), 0);
    assert_int_equal(try_put(TXN_SNAPSHOT, "b", "x|2"), ERROR_CONFLICT);
    assert_int_equal(txn_commit(other), 0);
    assert_int_equal(try_put(TXN_SNAPSHOT, "b", "x|2"), 0);
}

/* The topmost version of the other does not hold the key, but a savepoint leads back to one that
 * does. */
static void a_holder_below_the_others_savepoint_is_a_conflict(void **state)
{
    (void)state;
    struct txn *other = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, other, "a", "x|1"), 0);
    struct txn_savepoint savepoint = txn_savepoint(other);
    assert_int_equal(fixture_put(&f, other, "a", "y|1"), 0);
    assert_int_equal(try_put(TXN_SNAPSHOT, "b", "x|2"), ERROR_CONFLICT);
    txn_rollback_to(other, savepoint);
    assert_int_equal(txn_commit(other), 0);
    assert_string_equal(fixture_latest(&f, 0, "a"), "x|1");
    assert_null(fixture_latest(&f, 0, "b"));
}

static void a_holder_newer_than_the_snapshot_is_a_conflict(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    uint64_t winner = fixture_set(&f, 1, "a", "x|1");
    assert_int_equal(fixture_put(&f, txn, "b", "x|2"), ERROR_CONFLICT);
    assert_true(txn_doomed(txn));
    txn_rollback(txn);
    assert_int_equal(txn_worker_seen_ts(f.workers[0]), winner);
    txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    fixture_set(&f, 1, "c", "z|1");
    assert_int_equal(fixture_put(&f, txn, "b", "z|2"), ERROR_DUPLICATE);
    txn_rollback(txn);
}

/* Both have written before either looks: the younger yields, the older then has the key. */
static void of_two_that_race_the_younger_yields(void **state)
{
    (void)state;
    struct txn *older = fixture_begin(&f, 0, TXN_SNAPSHOT);
    fixture_set(&f, 2, "tick", "1");
    struct txn *younger = fixture_begin(&f, 1, TXN_SNAPSHOT);
    struct row *rows[2], *holder;
    assert_int_equal(txn_put(older, &f.head, "a", 1, "x|1", 3, &rows[0], NULL), 0);
    assert_int_equal(txn_put(younger, &f.head, "b", 1, "x|2", 3, &rows[1], NULL), 0);
    assert_int_equal(txn_entry_add(older, &f.secondary, "x\0a", 3, 2, rows[0]), 0);
    assert_int_equal(txn_entry_add(younger, &f.secondary, "x\0b", 3, 2, rows[1]), 0);
    assert_int_equal(txn_unique_check(younger, &f.secondary, "x", 2, rows[1], &holder),
                     ERROR_CONFLICT);
    txn_rollback(younger);
    assert_int_equal(txn_unique_check(older, &f.secondary, "x", 2, rows[0], &holder), 0);
    assert_int_equal(txn_commit(older), 0);
    assert_string_equal(fixture_latest(&f, 2, "a"), "x|1");
}

static void a_duplicate_names_its_holder(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "x|1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    struct row *row, *holder;
    assert_int_equal(txn_put(txn, &f.head, "b", 1, "x|2", 3, &row, NULL), 0);
    assert_int_equal(txn_entry_add(txn, &f.secondary, "x\0b", 3, 2, row), 0);
    assert_int_equal(txn_unique_check(txn, &f.secondary, "x", 2, row, &holder), ERROR_DUPLICATE);
    assert_ptr_equal(holder, tree_get(f.head.tree, "a", 1));
    txn_rollback(txn);
}

/* The refusal rests on the holder: when it goes before the commit, another order would have had
 * another outcome. */
static void a_duplicate_is_validated_at_serializable(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "x|1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(fixture_put(&f, txn, "b", "x|2"), ERROR_DUPLICATE);
    assert_int_equal(fixture_put(&f, txn, "refused", "1"), 0);
    fixture_set(&f, 1, "a", NULL);
    assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
}

static void an_old_snapshot_still_finds_the_row_under_its_old_key(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "x|1");
    struct txn *old = fixture_begin_readonly(&f, 1, true);
    fixture_set(&f, 0, "a", "y|1");
    fixture_settle(&f);
    assert_string_equal(fixture_scan(&f, old, &f.secondary, NULL, NULL, false, 9), "a");
    assert_string_equal(fixture_scan(&f, old, &f.secondary, "y", NULL, false, 9), "");
    txn_rollback(old);
    fixture_settle(&f);
    assert_int_equal(fixture_entries(&f), 1);
    struct txn *now = fixture_begin_readonly(&f, 1, true);
    assert_string_equal(fixture_scan(&f, now, &f.secondary, "x", "x~", false, 9), "");
    assert_string_equal(fixture_scan(&f, now, &f.secondary, "y", "y~", false, 9), "a");
    txn_rollback(now);
}

static void an_entry_stays_as_long_as_one_version_needs_it(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "x|1");
    fixture_set(&f, 0, "a", "y|1");
    fixture_set(&f, 0, "a", "x|2");
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
    assert_int_equal(fixture_entries(&f), 1);
    struct txn *txn = fixture_begin_readonly(&f, 1, true);
    assert_string_equal(fixture_scan(&f, txn, &f.secondary, "x", "x~", false, 9), "a");
    txn_rollback(txn);
    struct txn *undone = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, undone, "a", "x|3"), 0);
    assert_int_equal(fixture_put(&f, undone, "a", "z|3"), 0);
    txn_rollback(undone);
    assert_int_equal(fixture_entries(&f), 1);
}

static void entries_go_with_their_row(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "x|1");
    fixture_set(&f, 0, "a", "y|1");
    fixture_set(&f, 0, "a", NULL);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), -1);
    assert_int_equal(fixture_entries(&f), 0);
    fixture_set(&f, 0, "a", "x|2");
    struct txn *txn = fixture_begin_readonly(&f, 1, true);
    assert_string_equal(fixture_scan(&f, txn, &f.secondary, NULL, NULL, false, 9), "a");
    txn_rollback(txn);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_committed_holder_is_a_duplicate),
        WITH_FIXTURE(a_duplicate_does_not_doom),
        WITH_FIXTURE(a_key_that_was_given_up_is_free),
        WITH_FIXTURE(a_key_can_move_between_rows_in_one_transaction),
        WITH_FIXTURE(anothers_uncommitted_holder_is_a_conflict),
        WITH_FIXTURE(a_holder_that_another_is_about_to_take_away_is_a_conflict),
        WITH_FIXTURE(a_holder_below_the_others_savepoint_is_a_conflict),
        WITH_FIXTURE(a_holder_newer_than_the_snapshot_is_a_conflict),
        WITH_FIXTURE(of_two_that_race_the_younger_yields),
        WITH_FIXTURE(a_duplicate_names_its_holder),
        WITH_FIXTURE(a_duplicate_is_validated_at_serializable),
        WITH_FIXTURE(an_old_snapshot_still_finds_the_row_under_its_old_key),
        WITH_FIXTURE(an_entry_stays_as_long_as_one_version_needs_it),
        WITH_FIXTURE(entries_go_with_their_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
