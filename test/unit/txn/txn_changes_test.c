/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changed rows for checkpoints (invariant 19), and deferred actions (invariant 10).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "txn/txn_fixture.h"

static struct txn_fixture f;

static int open(void **state)
{
    (void)state;
    fixture_open(&f, 3);
    f.head.tracked = true;
    return 0;
}

static int close(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

/* ------------------------------------------------------------------------------------- changes */

static size_t take(struct txn_changes *changes)
{
    *changes = (struct txn_changes){NULL, 0, 0};
    assert_int_equal(txn_changes_take(f.system, changes), 0);
    return changes->count;
}

static void done(struct txn_changes *changes, uint64_t k)
{
    txn_worker_enter(f.workers[2]);
    size_t kept = 0;
    for (size_t n = 0; n < changes->count; n++)
        if (!txn_change_done(f.workers[2], &changes->items[n], k))
            changes->items[kept++] = changes->items[n];
    txn_worker_leave(f.workers[2]);
    changes->count = kept;
    txn_changes_return(f.system, changes);
}

static void a_row_is_listed_once_however_often_it_is_written(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    fixture_set(&f, 1, "a", "2");
    fixture_set(&f, 0, "b", "1");
    fixture_set(&f, 1, "a", "3");
    struct txn *lost = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, lost, "c", "1"), 0);
    txn_rollback(lost);
    assert_int_equal(txn_changes_pending(f.system), 2);
    struct txn_changes changes;
    assert_int_equal(take(&changes), 2);
    assert_int_equal(txn_changes_pending(f.system), 0);
    fixture_set(&f, 0, "a", "4"); /* still marked: not listed a second time */
    assert_int_equal(txn_changes_pending(f.system), 0);
    txn_changes_return(f.system, &changes);
    assert_int_equal(txn_changes_pending(f.system), 2);
    assert_int_equal(take(&changes), 2);
    txn_changes_free(&changes);
}

static void a_row_that_changed_above_k_is_listed_again(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    uint64_t k = fixture_set(&f, 0, "b", "1");
    struct txn_changes changes;
    take(&changes);
    fixture_set(&f, 0, "a", "2");
    done(&changes, k);
    assert_int_equal(txn_changes_pending(f.system), 1);
    assert_int_equal(take(&changes), 1);
    assert_memory_equal(changes.items[0].row->key, "a", 1);
    done(&changes, wal_clock(f.wal));
    assert_int_equal(txn_changes_pending(f.system), 0);
    fixture_set(&f, 0, "a", "3");
    assert_int_equal(txn_changes_pending(f.system), 1);
}

static void a_write_that_commits_after_the_checkpoint_looked_lists_itself(void **state)
{
    (void)state;
    uint64_t k = fixture_set(&f, 0, "a", "1");
    struct txn_changes changes;
    take(&changes);
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "a", "2"), 0);
    done(&changes, k);
    assert_int_equal(txn_changes_pending(f.system), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(txn_changes_pending(f.system), 1);
}

/* A checkpoint writes all that is listed. */
static void run_written(void)
{
    struct txn_changes changes;
    take(&changes);
    for (size_t n = 0; n < changes.count; n++)
        txn_row_enters_run(changes.items[n].row);
    done(&changes, wal_clock(f.wal));
}

static void a_tombstone_stays_until_a_checkpoint_has_covered_it(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    run_written();
    uint64_t k = fixture_set(&f, 0, "a", NULL);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
    struct txn_changes changes;
    assert_int_equal(take(&changes), 1);
    txn_worker_enter(f.workers[2]);
    uint64_t ts;
    const struct version *version = txn_row_at(changes.items[0].row, k, &ts);
    assert_true(version != NULL && (version->flags & VERSION_TOMBSTONE));
    assert_int_equal(ts, k);
    txn_worker_leave(f.workers[2]);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
    done(&changes, k);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), -1);
}

static void a_row_that_no_run_has_leaves_its_tree_and_its_memory_stays_with_the_list(void **state)
{
    (void)state;
    struct txn_changes changes;
    size_t before = heap_used_bytes(f.heap);
    fixture_set(&f, 0, "a|", "1");
    uint64_t k = fixture_set(&f, 1, "a|", NULL);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a|"), -1);
    assert_int_equal(take(&changes), 1);
    struct row *row = changes.items[0].row;
    assert_memory_equal(row->key, "a|", 2);
    uint64_t ts;
    txn_worker_enter(f.workers[2]);
    assert_null(txn_row_at(row, k, &ts));
    txn_worker_leave(f.workers[2]);
    fixture_set(&f, 0, "a|", "2"); /* another row, listed by itself */
    assert_int_equal(txn_changes_pending(f.system), 1);
    done(&changes, k);
    assert_int_equal(take(&changes), 1);
    assert_ptr_not_equal(changes.items[0].row, row);
    done(&changes, wal_clock(f.wal));
    fixture_set(&f, 1, "a|", NULL);
    fixture_settle(&f);
    run_written();
    fixture_settle(&f);
    assert_int_equal(heap_used_bytes(f.heap), before);
}

static void a_row_with_a_version_at_k_stays_for_the_snapshot_there(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "at k");
    struct txn *snapshot;
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .durable = true};
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    assert_int_equal(txn_open(f.workers[2], &options, &snapshot), 0);
    uint64_t k = txn_snapshot_ts(snapshot);
    txn_park(snapshot);
    fixture_set(&f, 0, "a", NULL);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 2);
    struct txn_changes changes;
    assert_int_equal(take(&changes), 1);
    txn_row_enters_run(changes.items[0].row);
    assert_int_equal(txn_resume(snapshot), 0);
    assert_int_equal(txn_commit(snapshot), 0);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
    done(&changes, k);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
    run_written();
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), -1);
}

static void the_version_at_k_is_kept_for_a_parked_snapshot_there(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "at k");
    struct txn *snapshot;
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .durable = true};
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    assert_int_equal(txn_open(f.workers[2], &options, &snapshot), 0);
    uint64_t k = txn_snapshot_ts(snapshot);
    assert_int_equal(k, wal_durable_ts(f.wal));
    txn_park(snapshot);
    struct txn_changes changes;
    assert_int_equal(take(&changes), 1);
    for (unsigned i = 0; i < 2000; i++)
        fixture_set(&f, 0, "a", "later");
    fixture_settle(&f);
    txn_worker_enter(f.workers[2]);
    uint64_t ts;
    const struct version *version = txn_row_at(changes.items[0].row, k, &ts);
    assert_int_equal(version->size, 4);
    assert_memory_equal(version->bytes, "at k", 4);
    txn_worker_leave(f.workers[2]);
    assert_int_equal(txn_resume(snapshot), 0);
    assert_int_equal(txn_commit(snapshot), 0);
    done(&changes, k);
    assert_int_equal(txn_changes_pending(f.system), 1);
}

static void rows_of_a_head_that_goes_are_forgotten(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *txn;
    struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = true};
    assert_int_equal(txn_begin(f.workers[0], &options, &txn), 0);
    txn_collect_forget(txn, &f.head);
    txn_rollback(txn);
    assert_int_equal(txn_changes_pending(f.system), 0);
}

/* Keys of 4 to 1900 bytes, so that rows lie near each other and far apart, in either order. */
static size_t key_of(char key[2048], unsigned n)
{
    return (size_t)snprintf(key, 2048, "%0*u", 4 + (int)(n * 271 % 1897), n);
}

static struct head *head_of(unsigned n)
{
    return n * n / 7 % 3 == 0 ? &f.other : &f.head;
}

static void put_in_its_head(unsigned n)
{
    char key[2048];
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(txn_put(txn, head_of(n), key, key_of(key, n), "v", 1, NULL, NULL), 0);
    assert_int_equal(txn_commit(txn), 0);
}

/* Takes all changes and returns them; they are what was written below `count`, in this order, of one
 * head or of all (NULL). */
static void assert_taken(unsigned count, const struct head *head)
{
    char key[2048];
    size_t at = 0;
    struct txn_changes changes;
    take(&changes);
    for (unsigned n = 0; n < count; n++) {
        if (head != NULL && head_of(n) != head)
            continue;
        assert_true(at < changes.count);
        assert_ptr_equal(changes.items[at].head, head_of(n));
        assert_int_equal(changes.items[at].row->key_size, key_of(key, n));
        assert_memory_equal(changes.items[at].row->key, key, changes.items[at].row->key_size);
        at++;
    }
    assert_int_equal(at, changes.count);
    txn_changes_free(&changes);
}

static void what_was_written_to_several_heads_is_taken_as_it_was_listed(void **state)
{
    (void)state;
    f.other.tracked = true;
    for (unsigned n = 0; n < 500; n++)
        put_in_its_head(n);
    assert_taken(500, NULL);
}

static void when_one_of_several_heads_goes_the_rows_of_the_others_stay_listed(void **state)
{
    (void)state;
    f.other.tracked = true;
    for (unsigned n = 0; n < 500; n++)
        put_in_its_head(n);
    struct txn *txn;
    struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = true};
    assert_int_equal(txn_begin(f.workers[0], &options, &txn), 0);
    txn_collect_forget(txn, &f.head);
    txn_rollback(txn);
    for (unsigned n = 500; n < 600; n++)
        if (head_of(n) == &f.other)
            put_in_its_head(n);
    assert_taken(600, &f.other);
}

static void unput_in_its_head(unsigned n)
{
    char key[2048];
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(txn_delete(txn, head_of(n), key, key_of(key, n)), 0);
    assert_int_equal(txn_commit(txn), 0);
}

/* Rows of two heads: of ten in a series seven go. What is left is listed in its order, once, and the
 * list has not more of the others than it may. */
static void what_has_left_is_taken_out_of_the_list_when_it_is_much(void **state)
{
    (void)state;
    enum { ROWS = 12000, LEFT_MAX = 3 * ROWS / 10 * 3 / 2 + 2 * 1024 };
    f.other.tracked = true;
    for (unsigned n = 0; n < ROWS; n++)
        put_in_its_head(n);
    for (unsigned n = 0; n < ROWS; n++)
        if (n % 10 < 7)
            unput_in_its_head(n);
    for (unsigned round = 0; round < ROWS / 50; round++)
        fixture_settle(&f);
    assert_true(txn_changes_pending(f.system) <= LEFT_MAX);
    for (unsigned n = ROWS; n < ROWS + 100; n++) /* beside a pass that may not be over */
        put_in_its_head(n);
    struct txn_changes changes;
    take(&changes);
    char key[2048];
    size_t at = 0;
    for (unsigned n = 0; n < ROWS + 100; n++) {
        if (n < ROWS && n % 10 < 7)
            continue;
        uint64_t ts;
        while (at < changes.count && txn_row_at(changes.items[at].row, UINT64_MAX / 4, &ts) == NULL)
            at++;
        assert_true(at < changes.count);
        assert_ptr_equal(changes.items[at].head, head_of(n));
        assert_int_equal(changes.items[at].row->key_size, key_of(key, n));
        assert_memory_equal(changes.items[at].row->key, key, changes.items[at].row->key_size);
        at++;
    }
    done(&changes, wal_clock(f.wal));
    for (unsigned n = 0; n < ROWS + 100; n++)
        if (n >= ROWS || n % 10 >= 7)
            unput_in_its_head(n);
    fixture_settle(&f);
    run_written();
    fixture_settle(&f);
}

static void a_head_goes_with_rows_that_have_left_its_tree(void **state)
{
    (void)state;
    f.other.tracked = true;
    for (unsigned n = 0; n < 3000; n++) {
        put_in_its_head(n);
        unput_in_its_head(n);
    }
    fixture_settle(&f);
    struct txn *txn;
    struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = true};
    assert_int_equal(txn_begin(f.workers[0], &options, &txn), 0);
    txn_collect_forget(txn, &f.head);
    txn_collect_forget(txn, &f.other);
    txn_rollback(txn);
    assert_int_equal(txn_changes_pending(f.system), 0);
    fixture_settle(&f);
}

/* ------------------------------------------------------------------------------------ deferred */

static char heard[256];

static void hear(uint64_t ts, unsigned kind, const void *data, size_t size, void *arg)
{
    (void)ts;
    (void)arg;
    assert_int_equal(kind, 7);
    strncat(heard, data, size);
}

static const char *run_deferred(void)
{
    heard[0] = 0;
    txn_deferred_run(f.system, hear, NULL);
    return heard;
}

static void defer(struct txn *txn, const char *text)
{
    assert_int_equal(txn_defer(txn, 7, text, strlen(text)), 0);
}

static void settle_log(void)
{
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
}

static void actions_go_out_once_after_the_commit_is_durable_in_order(void **state)
{
    (void)state;
    struct txn *first = fixture_begin(&f, 0, TXN_SNAPSHOT);
    struct txn *second = fixture_begin(&f, 1, TXN_SNAPSHOT);
    defer(first, "3");
    defer(second, "1");
    assert_int_equal(fixture_put(&f, second, "b", "1"), 0);
    defer(second, "2");
    assert_string_equal(run_deferred(), "");
    assert_int_equal(txn_commit(second), 0);
    assert_int_equal(fixture_put(&f, first, "a", "1"), 0);
    assert_int_equal(txn_commit(first), 0);
    assert_true(txn_deferred_pending(f.system));
    settle_log();
    assert_string_equal(run_deferred(), "123");
    assert_string_equal(run_deferred(), "");
    assert_false(txn_deferred_pending(f.system));
}

static void actions_of_what_was_rolled_back_never_go_out(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    defer(txn, "kept");
    struct txn_savepoint savepoint = txn_savepoint(txn);
    defer(txn, "undone");
    txn_rollback_to(txn, savepoint);
    assert_int_equal(txn_commit(txn), 0);
    txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    defer(txn, "lost");
    assert_int_equal(fixture_put(&f, txn, "a", "1"), 0);
    txn_rollback(txn);
    settle_log();
    assert_string_equal(run_deferred(), "kept");
}

static void actions_of_what_lost_a_conflict_never_go_out(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    fixture_get(&f, txn, "a");
    defer(txn, "lost");
    assert_int_equal(fixture_put(&f, txn, "b", "1"), 0);
    fixture_set(&f, 1, "a", "1");
    assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
    settle_log();
    assert_string_equal(run_deferred(), "");
}

static void actions_of_a_transaction_are_bounded_together(void **state)
{
    (void)state;
    static const char data[8 << 20];
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    struct txn_savepoint savepoint = txn_savepoint(txn);
    for (unsigned turn = 0; turn < 2; turn++) {
        for (unsigned n = 0; n < 7; n++)
            assert_int_equal(txn_defer(txn, 7, data, sizeof data), 0);
        assert_int_equal(txn_defer(txn, 7, data, sizeof data), ERROR_TOO_LARGE);
        txn_rollback_to(txn, savepoint);
    }
    defer(txn, "small");
    assert_int_equal(txn_commit(txn), 0);
    settle_log();
    assert_string_equal(run_deferred(), "small");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_row_is_listed_once_however_often_it_is_written),
        TEST(a_row_that_changed_above_k_is_listed_again),
        TEST(a_write_that_commits_after_the_checkpoint_looked_lists_itself),
        TEST(a_tombstone_stays_until_a_checkpoint_has_covered_it),
        TEST(a_row_that_no_run_has_leaves_its_tree_and_its_memory_stays_with_the_list),
        TEST(a_row_with_a_version_at_k_stays_for_the_snapshot_there),
        TEST(the_version_at_k_is_kept_for_a_parked_snapshot_there),
        TEST(rows_of_a_head_that_goes_are_forgotten),
        TEST(what_was_written_to_several_heads_is_taken_as_it_was_listed),
        TEST(when_one_of_several_heads_goes_the_rows_of_the_others_stay_listed),
        TEST(what_has_left_is_taken_out_of_the_list_when_it_is_much),
        TEST(a_head_goes_with_rows_that_have_left_its_tree),
        TEST(actions_go_out_once_after_the_commit_is_durable_in_order),
        TEST(actions_of_what_was_rolled_back_never_go_out),
        TEST(actions_of_what_lost_a_conflict_never_go_out),
        TEST(actions_of_a_transaction_are_bounded_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
