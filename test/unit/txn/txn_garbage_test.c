/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may go and what must stay (invariants 12, 13 and 14): versions that snapshots, D or a cut
 * that is not yet published need, and rows that end.
 */
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
    fixture_open(&f, 4);
    return 0;
}

static int open_without_flush(void **state)
{
    (void)state;
    fixture_open_level(&f, 4, WAL_DURABILITY_INTERVAL);
    return 0;
}

static int close(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

static void collect(void)
{
    for (unsigned i = 0; i < f.worker_count; i++)
        txn_collect(f.workers[i], SIZE_MAX);
}

/*
 * Writes until the writers have shortened the row. While a cut is being taken all above it stays,
 * and the log's thread may be put aside just then: so there is no number of writes by which the row
 * must be short, only that it becomes so.
 */
static void write_until_the_row_is_short(const char *value)
{
    unsigned written = 0;
    do {
        fixture_set(&f, 0, "a", value);
    } while (++written < 400 || (fixture_chain(&f, "a") >= 100 && written < 1000 * 1000));
    assert_true(fixture_chain(&f, "a") < 100);
}

static void old_versions_go_when_nobody_needs_them(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        fixture_set(&f, 0, "a", "v");
    assert_true(fixture_chain(&f, "a") > 1);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
}

static void each_snapshot_keeps_its_version_and_none_between(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *first = fixture_begin_readonly(&f, 1, true);
    fixture_set(&f, 0, "a", "2");
    fixture_set(&f, 0, "a", "3");
    struct txn *second = fixture_begin_readonly(&f, 2, true);
    fixture_set(&f, 0, "a", "4");
    fixture_set(&f, 0, "a", "5");
    /* The row waits in its queue for the snapshots to pass; meanwhile its writers shorten it. */
    write_until_the_row_is_short("6");
    assert_string_equal(fixture_get(&f, first, "a"), "1");
    assert_string_equal(fixture_get(&f, second, "a"), "3");
    txn_rollback(first);
    fixture_settle(&f);
    assert_string_equal(fixture_get(&f, second, "a"), "3");
    txn_rollback(second);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
    assert_string_equal(fixture_latest(&f, 0, "a"), "6");
}

/* What is visible at a timestamp, asked of the chain itself. */
static bool visible_at(const char *key, uint64_t ts, const char *value)
{
    epoch_enter(f.boot.epoch);
    struct row *row = (struct row *)tree_get(f.head.tree, key, strlen(key));
    const struct version *version = row == NULL ? NULL : load_acquire(&row->newest);
    while (version != NULL && load_acquire(&version->stamp) > ts)
        version = load_acquire(&version->older);
    bool same = version != NULL && version->size == strlen(value) &&
                memcmp(version->bytes, value, version->size) == 0;
    epoch_leave(f.boot.epoch);
    return same;
}

/* Invariant 12. Written, so the cut has passed it, but not flushed: D may still become that cut. */
static void d_and_the_cuts_that_may_become_d_count_as_snapshots(void **state)
{
    (void)state;
    uint64_t first = fixture_set(&f, 0, "a", "1");
    assert_int_equal(wal_wait_durable(f.wal, first), 0);
    uint64_t durable = wal_durable_ts(f.wal);
    fixture_set(&f, 0, "a", "2");
    uint64_t third = fixture_set(&f, 0, "a", "3");
    assert_int_equal(wal_wait(f.wal, third), 0);
    assert_int_equal(wal_durable_ts(f.wal), durable);
    uint64_t cut;
    assert_true(wal_cut_state(f.wal, &cut));
    assert_true(cut >= third);
    write_until_the_row_is_short("4");
    collect();
    assert_true(visible_at("a", durable, "1"));
    assert_true(visible_at("a", cut, "3"));
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
}

/* The row's turn in its queue has come for an old version; those after it are not all free to go.
 */
static void what_d_or_a_cut_needs_stays_when_the_row_is_shortened(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    assert_int_equal(wal_wait_durable(f.wal, fixture_set(&f, 0, "a", "2")), 0);
    uint64_t durable = wal_durable_ts(f.wal), cut;
    fixture_set(&f, 0, "a", "3");
    assert_int_equal(wal_wait(f.wal, fixture_set(&f, 0, "a", "4")), 0);
    assert_true(wal_cut_state(f.wal, &cut));
    fixture_set(&f, 0, "a", "5");
    collect();
    assert_int_equal(wal_durable_ts(f.wal), durable);
    assert_true(visible_at("a", durable, "2"));
    assert_true(visible_at("a", cut, "4"));
    assert_int_equal(fixture_chain(&f, "a"), 4); /* the first has gone */
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
}

static void a_deleted_row_ends_when_d_and_all_snapshots_have_passed(void **state)
{
    (void)state;
    uint64_t first = fixture_set(&f, 0, "a", "1");
    assert_int_equal(wal_wait_durable(f.wal, first), 0);
    struct txn *reader = fixture_begin_readonly(&f, 1, true);
    uint64_t end = fixture_set(&f, 0, "a", NULL);
    collect();
    assert_true(fixture_chain(&f, "a") >= 1);
    assert_int_equal(wal_wait_durable(f.wal, end), 0);
    collect();
    assert_string_equal(fixture_get(&f, reader, "a"), "1");
    txn_rollback(reader);
    collect();
    assert_int_equal(fixture_chain(&f, "a"), -1);
    assert_null(fixture_latest(&f, 1, "a"));
}

static void a_deleted_row_does_not_end_before_it_is_durable(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    assert_int_equal(wal_wait(f.wal, fixture_set(&f, 0, "a", NULL)), 0);
    collect();
    assert_true(fixture_chain(&f, "a") >= 1);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), -1);
}

/* Invariant 14: a writer that has found the row gets its version on top, or searches again. */
static void a_row_that_is_written_again_does_not_end(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    uint64_t end = fixture_set(&f, 0, "a", NULL);
    assert_int_equal(wal_wait_durable(f.wal, end), 0);
    struct txn *writer = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, writer, "a", "2"), 0);
    collect();
    assert_int_equal(txn_commit(writer), 0);
    assert_string_equal(fixture_latest(&f, 0, "a"), "2");
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
}

static void a_writer_that_holds_a_dead_row_searches_again(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    fixture_set(&f, 0, "a", NULL);
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    struct txn *writer = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    struct row *before = (struct row *)tree_get(f.head.tree, "a", 1);
    fixture_settle(&f);
    /* The dead row is kept by the writer's epoch, and says that it is dead. */
    assert_true(load_acquire(&before->newest)->flags & VERSION_TOMBSTONE);
    assert_int_equal(load_acquire(&load_acquire(&before->newest)->stamp), 0);
    assert_int_equal(fixture_put(&f, writer, "a", "2"), 0);
    assert_int_equal(txn_commit(writer), 0);
    assert_ptr_not_equal(tree_get(f.head.tree, "a", 1), before);
    assert_string_equal(fixture_latest(&f, 0, "a"), "2");
}

static void a_row_that_was_found_and_has_ended_is_looked_for_again(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    fixture_set(&f, 0, "a", NULL);
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    struct txn *writer = fixture_begin(&f, 1, TXN_READ_COMMITTED);
    assert_null(fixture_get(&f, writer, "a"));
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), -1);
    fixture_set(&f, 0, "a", "2");
    struct row *after = (struct row *)tree_get(f.head.tree, "a", 1);
    txn_statement(writer);
    assert_string_equal(fixture_get(&f, writer, "a"), "2");
    assert_int_equal(fixture_put(&f, writer, "a", "3"), 0);
    assert_int_equal(txn_commit(writer), 0);
    assert_ptr_equal(tree_get(f.head.tree, "a", 1), after);
    assert_string_equal(fixture_latest(&f, 0, "a"), "3");
}

/* What was absent when it was looked for, and has come since, is not made a second time. */
static void a_row_that_came_after_it_was_looked_for_is_not_made_again(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        const char *key = round == 0 ? "a" : "b";
        struct txn *writer = fixture_begin(&f, 1, TXN_SERIALIZABLE);
        assert_null(fixture_get(&f, writer, key));
        if (round == 0)
            fixture_set(&f, 0, key, "1");
        int rc = fixture_put(&f, writer, key, "2");
        assert_int_equal(rc, round == 0 ? ERROR_CONFLICT : 0);
        if (rc == 0)
            assert_int_equal(txn_commit(writer), 0);
        else
            txn_rollback(writer);
        assert_string_equal(fixture_latest(&f, 0, key), round == 0 ? "1" : "2");
    }
}

static void a_cursor_says_once_that_it_has_passed_many_deleted_rows(void **state)
{
    (void)state;
    for (char letter = 'a'; letter <= 'k'; letter++) {
        fixture_set(&f, 0, (char[]){letter, '\0'}, "1");
        if (letter < 'k')
            fixture_set(&f, 0, (char[]){letter, '\0'}, NULL);
    }
    struct txn *txn = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    txn_cursor_open(&cursor, txn, &f.primary, &(struct txn_range){.lower = NULL});
    cursor.passed_max = 4;
    assert_int_equal(txn_cursor_next(&cursor, &row, &version), ERROR_AGAIN);
    assert_int_equal(cursor.passed, 4);
    assert_int_equal(txn_cursor_next(&cursor, &row, &version), 0);
    assert_memory_equal(row->key, "k", 1);
    assert_int_equal(cursor.passed, 10);
    assert_int_equal(txn_cursor_next(&cursor, &row, &version), ERROR_END);
    assert_int_equal(cursor.passed, 0);
    txn_rollback(txn);
}

static void rows_of_writers_that_rolled_back_are_freed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        struct txn *txn = fixture_begin(&f, i % 2, TXN_SNAPSHOT);
        assert_int_equal(fixture_put(&f, txn, "a", "x|1"), 0);
        txn_rollback(txn);
    }
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), -1);
    assert_int_equal(fixture_entries(&f), 0);
    assert_int_equal(tree_count(f.head.tree), 0);
}

/*
 * Between unlinking a version and removing the entry that led to it another worker may end the row,
 * and a reader that comes in only then still finds it by the entry: for it, too, the row must last.
 */
static void (*drop)(struct head *head, struct txn_worker *worker, struct row *row,
                    const struct version *dropped);
static struct txn *late_reader;
static struct row *found_late;

static void drop_after_the_row_has_ended(struct head *head, struct txn_worker *worker,
                                         struct row *row, const struct version *dropped)
{
    if (!(dropped->flags & VERSION_TOMBSTONE)) {
        txn_collect(f.workers[1], SIZE_MAX);
        assert_int_equal(fixture_chain(&f, "a"), -1);
        late_reader = fixture_begin_readonly(&f, 2, true);
        struct entry *entry = (struct entry *)tree_get(f.secondary.tree, "x\0a", 3);
        assert_non_null(entry);
        found_late = load_acquire(&entry->row);
        assert_string_equal(fixture_scan(&f, late_reader, &f.secondary, NULL, NULL, false, 9), "");
    }
    drop(head, worker, row, dropped);
}

static void a_row_that_an_entry_still_leads_to_is_not_freed(void **state)
{
    (void)state;
    drop = f.head.version_dropped;
    assert_int_equal(wal_wait_durable(f.wal, fixture_set(&f, 1, "a", NULL)), 0);
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "a", "x|1"), 0);
    f.head.version_dropped = drop_after_the_row_has_ended;
    txn_rollback(txn);
    f.head.version_dropped = drop;
    assert_int_equal(fixture_entries(&f), 0);
    struct epoch_slot *slot = txn_worker_thread(f.workers[1])->epoch;
    for (unsigned i = 0; i < 6; i++)
        epoch_collect(slot);
    assert_true(epoch_limbo_count(slot) > 0);
    assert_memory_equal(found_late->key, "a", 1);
    txn_rollback(late_reader);
    for (unsigned i = 0; i < 6; i++)
        epoch_collect(slot);
    assert_int_equal(epoch_limbo_count(slot), 0);
}

/* Pruning beside an uncommitted version leaves what its undo goes back to. */
static void undo_after_pruning_restores_the_newest_committed(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    fixture_set(&f, 0, "a", "2");
    struct txn *txn = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "a", "3"), 0);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 2);
    txn_rollback(txn);
    assert_string_equal(fixture_latest(&f, 0, "a"), "2");
}

static void a_head_that_goes_is_forgotten_by_all_queues(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    fixture_set(&f, 0, "a", "2");
    fixture_set(&f, 1, "b", "1");
    fixture_set(&f, 1, "b", NULL);
    struct txn *txn;
    assert_int_equal(txn_begin(f.workers[2],
                               &(struct txn_options){.level = TXN_SNAPSHOT, .exclusive = true},
                               &txn),
                     0);
    txn_collect_forget(txn, &f.head);
    assert_int_equal(txn_commit(txn), 0);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 2);
    assert_int_equal(txn_collect(f.workers[0], SIZE_MAX), 0);
    assert_int_equal(txn_collect(f.workers[1], SIZE_MAX), 0);
}

static void statistics_count_what_happened(void **state)
{
    (void)state;
    struct txn_stats stats;
    fixture_set(&f, 0, "a", "1");
    fixture_set(&f, 1, "a", "2");
    struct txn *txn = fixture_begin(&f, 2, TXN_SNAPSHOT);
    fixture_set(&f, 1, "a", "3");
    assert_int_equal(fixture_put(&f, txn, "a", "4"), ERROR_CONFLICT);
    txn_rollback(txn);
    txn_stats_get(f.system, &stats);
    assert_int_equal(stats.commits, 3);
    assert_int_equal(stats.rollbacks, 1);
    assert_int_equal(stats.conflicts, 1);
    fixture_settle(&f);
    txn_stats_get(f.system, &stats);
    assert_int_equal(stats.rows_queued, 0);
}

/* Makes rows in one commit and deletes them in the next. */
static void come_and_go(unsigned round)
{
    enum { ROWS = 16 };
    for (unsigned deletes = 0; deletes < 2; deletes++) {
        struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
        for (unsigned n = 0; n < ROWS; n++) {
            const unsigned key[] = {round, n};
            assert_int_equal(deletes ? txn_delete(txn, &f.other, key, sizeof key)
                                     : txn_put(txn, &f.other, key, sizeof key, "v", 1, NULL, NULL),
                             0);
        }
        assert_int_equal(txn_commit(txn), 0);
    }
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
}

/* While a cut is being taken nothing is collected: so the rows that are left become few, sooner or later. */
static void commits_of_many_writes_leave_no_more_behind_than_those_of_one(void **state)
{
    (void)state;
    unsigned round = 0;
    do {
        come_and_go(round);
    } while (++round < 400 || (tree_count(f.other.tree) >= 1000 && round < 100 * 1000));
    assert_true(tree_count(f.other.tree) < 1000);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(old_versions_go_when_nobody_needs_them),
        WITH_FIXTURE(each_snapshot_keeps_its_version_and_none_between),
        cmocka_unit_test_setup_teardown(d_and_the_cuts_that_may_become_d_count_as_snapshots,
                                        open_without_flush, close),
        cmocka_unit_test_setup_teardown(what_d_or_a_cut_needs_stays_when_the_row_is_shortened,
                                        open_without_flush, close),
        WITH_FIXTURE(a_deleted_row_ends_when_d_and_all_snapshots_have_passed),
        cmocka_unit_test_setup_teardown(a_deleted_row_does_not_end_before_it_is_durable,
                                        open_without_flush, close),
        WITH_FIXTURE(a_row_that_is_written_again_does_not_end),
        WITH_FIXTURE(a_writer_that_holds_a_dead_row_searches_again),
        WITH_FIXTURE(a_row_that_was_found_and_has_ended_is_looked_for_again),
        WITH_FIXTURE(a_row_that_came_after_it_was_looked_for_is_not_made_again),
        WITH_FIXTURE(a_cursor_says_once_that_it_has_passed_many_deleted_rows),
        WITH_FIXTURE(rows_of_writers_that_rolled_back_are_freed),
        WITH_FIXTURE(a_row_that_an_entry_still_leads_to_is_not_freed),
        WITH_FIXTURE(undo_after_pruning_restores_the_newest_committed),
        WITH_FIXTURE(a_head_that_goes_is_forgotten_by_all_queues),
        WITH_FIXTURE(commits_of_many_writes_leave_no_more_behind_than_those_of_one),
        WITH_FIXTURE(statistics_count_what_happened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
