/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The course of a transaction: own writes, savepoints, rollback, errors, the placeholder of
 * txn_get_for_update, what replies wait for, and the log's failure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
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

static void a_transaction_sees_its_own_writes(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(fixture_put(&f, txn, "a", "2"), 0);
    assert_int_equal(fixture_put(&f, txn, "b", "3"), 0);
    assert_int_equal(fixture_put(&f, txn, "a", "4"), 0);
    assert_string_equal(fixture_get(&f, txn, "a"), "4");
    assert_string_equal(fixture_scan(&f, txn, &f.primary, NULL, NULL, false, 9), "a b");
    assert_int_equal(fixture_delete(&f, txn, "a"), 0);
    assert_null(fixture_get(&f, txn, "a"));
    assert_string_equal(fixture_scan(&f, txn, &f.primary, NULL, NULL, true, 9), "b");
    assert_int_equal(txn_commit(txn), 0);
    assert_null(fixture_latest(&f, 0, "a"));
    assert_string_equal(fixture_latest(&f, 0, "b"), "3");
}

static void others_see_nothing_of_it_before_the_commit_and_all_after(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "a", "2"), 0);
    assert_int_equal(fixture_put(&f, txn, "b", "2"), 0);
    assert_string_equal(fixture_latest(&f, 1, "a"), "1");
    assert_null(fixture_latest(&f, 1, "b"));
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(fixture_latest(&f, 1, "a"), "2");
    assert_string_equal(fixture_latest(&f, 1, "b"), "2");
}

static void rollback_leaves_nothing(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "x|1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "a", "y|2"), 0);
    assert_int_equal(fixture_put(&f, txn, "b", "z|3"), 0);
    assert_int_equal(fixture_delete(&f, txn, "a"), 0);
    txn_rollback(txn);
    assert_string_equal(fixture_latest(&f, 1, "a"), "x|1");
    assert_null(fixture_latest(&f, 1, "b"));
    assert_int_equal(fixture_chain(&f, "a"), 1);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "b"), -1);
    assert_int_equal(fixture_entries(&f), 1);
}

static void a_savepoint_takes_back_what_came_after_it(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, txn, "a", "x|1"), 0);
    struct txn_savepoint savepoint = txn_savepoint(txn);
    assert_int_equal(fixture_put(&f, txn, "a", "y|2"), 0);
    assert_int_equal(fixture_put(&f, txn, "b", "z|2"), 0);
    txn_rollback_to(txn, savepoint);
    assert_string_equal(fixture_get(&f, txn, "a"), "x|1");
    assert_null(fixture_get(&f, txn, "b"));
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(fixture_latest(&f, 1, "a"), "x|1");
    fixture_settle(&f);
    assert_int_equal(fixture_entries(&f), 1);
}

static struct txn *begin_whole(unsigned worker)
{
    struct txn *txn;
    const struct txn_options options = {.level = TXN_SERIALIZABLE, .whole = true};
    assert_int_equal(txn_begin(f.workers[worker], &options, &txn), 0);
    return txn;
}

static void put_over(struct txn *txn, const char *value)
{
    assert_int_equal(txn_put_over(txn, &f.other, "n", 1, value, (uint32_t)strlen(value)), 0);
}

static const char *number_seen(struct txn *txn)
{
    static char text[16];
    const struct version *version;
    assert_int_equal(txn_get(txn, &f.other, "n", 1, &version), 0);
    if (version == NULL)
        return NULL;
    memcpy(text, version->bytes, version->size);
    text[version->size] = 0;
    return text;
}

static const struct version *number_top(void)
{
    return load_relaxed(&((struct row *)tree_get(f.other.tree, "n", 1))->newest);
}

/* What is at hand to be written in place, "" for nothing. */
static const char *number_at_hand(struct txn *txn)
{
    static char text[16];
    uint32_t size = 0;
    const char *bytes = txn_over_bytes(txn, &f.other, "n", 1, &size);
    if (bytes != NULL)
        memcpy(text, bytes, size);
    text[bytes == NULL ? 0 : size] = 0;
    return text;
}

static void a_whole_transaction_writes_a_number_over_in_place(void **state)
{
    (void)state;
    struct txn *txn = begin_whole(0);
    assert_string_equal(number_at_hand(txn), "");
    put_over(txn, "1");
    const struct version *first = number_top();
    assert_string_equal(number_at_hand(txn), "1");
    put_over(txn, "2");
    assert_ptr_equal(number_top(), first);
    assert_string_equal(number_seen(txn), "2");
    assert_string_equal(number_at_hand(txn), "2");
    put_over(txn, "10"); /* of another size */
    assert_ptr_not_equal(number_top(), first);
    put_over(txn, "11");
    assert_string_equal(number_seen(txn), "11");
    assert_int_equal(txn_commit(txn), 0);
    txn = begin_whole(0);
    const struct version *committed = number_top();
    assert_string_equal(number_seen(txn), "11");
    assert_string_equal(number_at_hand(txn), ""); /* that is committed */
    put_over(txn, "12");
    assert_ptr_not_equal(number_top(), committed);
    put_over(txn, "13");
    struct txn *other = fixture_begin(&f, 1, TXN_READ_UNCOMMITTED);
    assert_string_equal(number_seen(other), "11"); /* its bytes may still change */
    txn_rollback(other);
    txn_rollback(txn);
    txn = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_string_equal(number_seen(txn), "11");
    txn_rollback(txn);
}

static void what_is_not_a_number_of_its_own_is_not_written_over_in_place(void **state)
{
    (void)state;
    struct txn *txn = begin_whole(0);
    assert_int_equal(txn_put(txn, &f.other, "n", 1, "1", 1, NULL, NULL), 0);
    const struct version *plain = number_top();
    assert_string_equal(number_at_hand(txn), "");
    put_over(txn, "2");
    assert_ptr_not_equal(number_top(), plain);
    assert_int_equal(txn_delete(txn, &f.other, "n", 1), 0);
    put_over(txn, "3");
    assert_string_equal(number_seen(txn), "3");
    assert_int_equal(txn_delete(txn, &f.other, "n", 1), 0);
    assert_int_equal(txn_put_over(txn, &f.other, "n", 1, "", 0), 0);
    assert_string_equal(number_seen(txn), "");
    assert_int_equal(txn_commit(txn), 0);
    txn = fixture_begin(&f, 0, TXN_SNAPSHOT); /* that has savepoints */
    put_over(txn, "4");
    assert_string_equal(number_at_hand(txn), "");
    struct txn_savepoint savepoint = txn_savepoint(txn);
    put_over(txn, "5");
    txn_rollback_to(txn, savepoint);
    assert_string_equal(number_seen(txn), "4");
    assert_int_equal(txn_commit(txn), 0);
}

/* Invariant 11: in place is only what is on top already. */
static void a_number_of_another_is_a_conflict_in_a_whole_transaction_as_well(void **state)
{
    (void)state;
    struct txn *first = begin_whole(0), *second = begin_whole(1);
    put_over(first, "1");
    assert_int_equal(txn_put_over(second, &f.other, "n", 1, "2", 1), ERROR_CONFLICT);
    txn_rollback(second);
    put_over(first, "3");
    assert_int_equal(txn_commit(first), 0);
    second = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_string_equal(number_seen(second), "3");
    txn_rollback(second);
}

static void a_row_that_was_come_to_is_read_as_under_its_key(void **state)
{
    (void)state;
    const struct version *version;
    fixture_set(&f, 0, "a", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    struct row *row = (struct row *)tree_get(f.head.tree, "a", 1);
    assert_int_equal(txn_get_row(txn, &f.head, row, &version), 0);
    assert_memory_equal(version->bytes, "1", 1);
    assert_int_equal(fixture_put(&f, txn, "b", "1"), 0);
    fixture_set(&f, 1, "a", "2");
    assert_int_equal(txn_commit(txn), ERROR_CONFLICT); /* it was read */
    txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(fixture_delete(&f, txn, "a"), 0);
    assert_int_equal(txn_get_row(txn, &f.head, row, &version), 0);
    assert_null(version);
    assert_int_equal(txn_commit(txn), 0);
}

static void a_read_only_transaction_cannot_write(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin_readonly(&f, 0, true);
    assert_true(txn_readonly(txn));
    assert_int_equal(fixture_put(&f, txn, "a", "1"), ERROR_READONLY);
    assert_int_equal(fixture_delete(&f, txn, "a"), ERROR_READONLY);
    assert_int_equal(txn_commit(txn), 0);
}

static void a_key_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    static char key[TREE_KEY_SIZE_MAX + 1];
    const struct version *version;
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    assert_int_equal(txn_get_for_update(txn, &f.other, key, sizeof key, &version), ERROR_TOO_LARGE);
    assert_int_equal(txn_put(txn, &f.other, key, sizeof key, "", 0, NULL, NULL), ERROR_TOO_LARGE);
    assert_int_equal(txn_put(txn, &f.other, key, sizeof key - 1, "", 0, NULL, NULL), 0);
    assert_int_equal(txn_put(txn, &f.other, "", 0, "", 0, NULL, NULL), 0);
    assert_int_equal(txn_commit(txn), 0);
}

static void beyond_the_memory_limit_puts_fail_and_deletes_go_on(void **state)
{
    (void)state;
    static char filling[4 * HEAP_ACCOUNT_BYTES];
    fixture_set(&f, 0, "a", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(txn_put(txn, &f.other, "b", 1, filling, sizeof filling, NULL, NULL), 0);
    assert_int_equal(txn_commit(txn), 0);
    heap_limit_set(f.heap, 1);
    txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(fixture_put(&f, txn, "a", "2"), ERROR_MEMORY);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    assert_int_equal(fixture_delete(&f, txn, "a"), 0);
    assert_int_equal(txn_commit(txn), 0);
    heap_limit_set(f.heap, 0);
    assert_null(fixture_latest(&f, 0, "a"));
}

/* Invariant 22. */
static void a_conflict_dooms_the_transaction_whatever_it_does_next(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *loser = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, loser, "b", "1"), 0);
    fixture_set(&f, 1, "a", "2");
    assert_int_equal(fixture_put(&f, loser, "a", "3"), ERROR_CONFLICT);
    assert_true(txn_doomed(loser));
    assert_string_equal(fixture_get(&f, loser, "b"), "CONFLICT");
    assert_int_equal(fixture_put(&f, loser, "c", "3"), ERROR_CONFLICT);
    assert_int_equal(fixture_delete(&f, loser, "c"), ERROR_CONFLICT);
    assert_string_equal(fixture_scan(&f, loser, &f.primary, NULL, NULL, false, 1), "CONFLICT");
    assert_int_equal(txn_commit(loser), ERROR_CONFLICT);
    assert_null(fixture_latest(&f, 0, "b"));
}

/* Invariant 11. */
static void of_two_writers_the_first_wins(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *first = fixture_begin(&f, 0, TXN_SNAPSHOT);
    struct txn *second = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, first, "a", "2"), 0);
    assert_int_equal(fixture_put(&f, second, "a", "3"), ERROR_CONFLICT);
    txn_rollback(second);
    assert_int_equal(txn_commit(first), 0);
    assert_string_equal(fixture_latest(&f, 0, "a"), "2");
}

static void what_was_rolled_back_stands_in_nobodys_way(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *first = fixture_begin(&f, 0, TXN_SNAPSHOT);
    struct txn *second = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, first, "a", "2"), 0);
    txn_rollback(first);
    assert_int_equal(fixture_put(&f, second, "a", "3"), 0);
    assert_int_equal(txn_commit(second), 0);
    assert_string_equal(fixture_latest(&f, 0, "a"), "3");
}

/* Invariant 11: under read committed a writer goes on top of what was committed meanwhile, and
 * reads it after it has tagged the row. */
static void a_row_taken_for_update_is_read_at_the_latest(void **state)
{
    (void)state;
    fixture_set(&f, 0, "n", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    fixture_set(&f, 1, "n", "2");
    assert_string_equal(fixture_get_for_update(&f, txn, "n"), "2");
    struct txn *other = fixture_begin(&f, 1, TXN_READ_COMMITTED);
    assert_string_equal(fixture_get_for_update(&f, other, "n"), "CONFLICT");
    txn_rollback(other);
    assert_int_equal(fixture_put(&f, txn, "n", "3"), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(fixture_latest(&f, 1, "n"), "3");
}

static void readers_look_through_the_placeholder(void **state)
{
    (void)state;
    fixture_set(&f, 0, "n", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    assert_string_equal(fixture_get_for_update(&f, txn, "n"), "1");
    assert_null(fixture_get_for_update(&f, txn, "none"));
    assert_string_equal(fixture_latest(&f, 1, "n"), "1");
    assert_string_equal(fixture_get(&f, txn, "n"), "1");
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(fixture_chain(&f, "n"), 1);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "none"), -1);
}

/* A reader may stand on the placeholder while its transaction goes on: on another row it would be
 * led into that row's chain. */
static void the_placeholder_serves_one_row_even_after_a_rollback_to_a_savepoint(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "of a");
    fixture_set(&f, 0, "b", "of b");
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    struct txn_savepoint savepoint = txn_savepoint(txn);
    assert_string_equal(fixture_get_for_update(&f, txn, "a"), "of a");
    epoch_enter(f.boot.epoch);
    struct row *row = (struct row *)tree_get(f.head.tree, "a", 1);
    const struct version *standing_on = load_acquire(&row->newest);
    assert_int_equal(fixture_put(&f, txn, "a", "changed"), 0);
    txn_rollback_to(txn, savepoint);
    assert_string_equal(fixture_get_for_update(&f, txn, "b"), "of b");
    const struct version *next = load_acquire(&standing_on->older);
    assert_memory_equal(next->bytes, "of a", 4);
    epoch_leave(f.boot.epoch);
    assert_int_equal(fixture_put(&f, txn, "b", "changed"), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(fixture_latest(&f, 1, "b"), "changed");
    assert_string_equal(fixture_latest(&f, 1, "a"), "of a");
}

/* The second row of a transaction under read committed is not tagged, but nothing is lost. */
static void an_update_of_a_second_row_loses_no_other_update(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    fixture_set(&f, 0, "b", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    assert_string_equal(fixture_get_for_update(&f, txn, "a"), "1");
    assert_int_equal(fixture_put(&f, txn, "a", "2"), 0);
    fixture_set(&f, 1, "b", "5");
    assert_string_equal(fixture_get_for_update(&f, txn, "b"), "5");
    fixture_set(&f, 1, "b", "6");
    int rc = fixture_put(&f, txn, "b", "5+1");
    assert_int_equal(rc, 0);
    assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
    assert_string_equal(fixture_latest(&f, 1, "b"), "6");
}

static void an_insert_after_a_look_at_a_second_row_overwrites_no_other_insert(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    assert_null(fixture_get_for_update(&f, txn, "a"));
    assert_int_equal(fixture_put(&f, txn, "a", "1"), 0);
    assert_null(fixture_get_for_update(&f, txn, "b"));
    fixture_set(&f, 1, "b", "other");
    assert_int_equal(fixture_put(&f, txn, "b", "mine"), 0);
    assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
    assert_string_equal(fixture_latest(&f, 1, "b"), "other");
}

static void read_committed_sees_a_newer_commit_in_its_next_statement(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_READ_COMMITTED);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    fixture_set(&f, 1, "a", "2");
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    txn_statement(txn);
    assert_string_equal(fixture_get(&f, txn, "a"), "2");
    txn_rollback(txn);
}

/* Invariant 8: at V it never waits and never shows what a crash could take back. Under interval
 * nobody flushes here, and V is the latest; under commit V is D. */
static void a_read_only_transaction_reads_what_is_durable(void **state)
{
    (void)state;
    uint64_t first = fixture_set(&f, 0, "a", "1");
    assert_int_equal(wal_wait(f.wal, first), 0);
    uint64_t durable = wal_durable_ts(f.wal);
    uint64_t second = fixture_set(&f, 0, "a", "2");
    struct txn *txn = fixture_begin_readonly(&f, 1, false);
    assert_true(txn_snapshot_ts(txn) >= durable);
    const char *expected = txn_snapshot_ts(txn) >= second ? "2" : "1";
    assert_string_equal(fixture_get(&f, txn, "a"), expected);
    assert_true(txn_seen_ts(txn) <= wal_durable_ts(f.wal));
    txn_rollback(txn);
    assert_int_equal(wal_wait(f.wal, second), 0);
    txn = fixture_begin_readonly(&f, 1, false);
    assert_string_equal(fixture_get(&f, txn, "a"), "2");
    txn_rollback(txn);
}

/* Invariant 9. */
static void a_reply_waits_for_all_that_was_looked_at_tombstones_too(void **state)
{
    (void)state;
    uint64_t written = fixture_set(&f, 0, "a", "1");
    struct txn *txn = fixture_begin_readonly(&f, 1, true);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    assert_int_equal(txn_seen_ts(txn), written);
    txn_rollback(txn);
    uint64_t deleted = fixture_set(&f, 0, "a", NULL);
    txn = fixture_begin_readonly(&f, 1, true);
    assert_null(fixture_get(&f, txn, "a"));
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(txn_worker_seen_ts(f.workers[1]), deleted);
    txn = fixture_begin_readonly(&f, 1, true);
    assert_string_equal(fixture_scan(&f, txn, &f.primary, NULL, NULL, false, 9), "");
    assert_int_equal(txn_seen_ts(txn), deleted);
    txn_rollback(txn);
}

static void a_reply_about_a_conflict_waits_for_the_winner(void **state)
{
    (void)state;
    struct txn *loser = fixture_begin(&f, 1, TXN_SNAPSHOT);
    uint64_t winner = fixture_set(&f, 0, "a", "1");
    assert_int_equal(fixture_put(&f, loser, "a", "2"), ERROR_CONFLICT);
    txn_rollback(loser);
    assert_int_equal(txn_worker_seen_ts(f.workers[1]), winner);
}

/* Invariant 21. */
static void a_dependence_on_a_row_that_has_changed_fails_the_commit_at_every_level(void **state)
{
    (void)state;
    static const enum txn_level levels[] = {TXN_READ_COMMITTED, TXN_SNAPSHOT, TXN_SERIALIZABLE};
    fixture_set(&f, 0, "schema", "1");
    for (unsigned i = 0; i < 3; i++) {
        struct txn *txn = fixture_begin(&f, 0, levels[i]);
        struct row *row = (struct row *)tree_get(f.head.tree, "schema", 6);
        const struct version *seen = load_acquire(&row->newest);
        assert_int_equal(txn_depend(txn, &f.head, row, seen), 0);
        assert_int_equal(fixture_put(&f, txn, "data", "1"), 0);
        fixture_set(&f, 1, "schema", "2");
        assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
    }
}

static void count_call(struct txn *txn, void *arg)
{
    assert_non_null(txn);
    ++*(int *)arg;
}

static void what_is_to_run_at_the_commit_runs_once_and_only_then(void **state)
{
    (void)state;
    int calls = 0;
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    txn_on_commit(txn, count_call, &calls);
    assert_int_equal(fixture_put(&f, txn, "a", "1"), 0);
    txn_rollback(txn);
    assert_int_equal(calls, 0);
    txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    txn_on_commit(txn, count_call, &calls);
    assert_int_equal(fixture_put(&f, txn, "a", "1"), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_int_equal(calls, 1);
}

/* Invariant 7. */
static void when_the_log_has_failed_writers_are_refused_and_readers_go_to_d(void **state)
{
    (void)state;
    assert_int_equal(wal_wait(f.wal, fixture_set(&f, 0, "a", "1")), 0);
    struct txn *early = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, early, "b", "1"), 0);
    disk_fail_nth_of(f.disk, DISK_QUEUE_WRITE, 1, EIO);
    uint64_t lost = fixture_set(&f, 0, "a", "2");
    assert_int_equal(wal_wait(f.wal, lost), ERROR_UNKNOWN_OUTCOME);
    struct txn *txn;
    assert_int_equal(txn_begin(f.workers[0], &(struct txn_options){.level = TXN_SNAPSHOT}, &txn),
                     ERROR_LOG_FAILED);
    assert_int_equal(txn_commit(early), ERROR_LOG_FAILED);
    txn = fixture_begin_readonly(&f, 2, false);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    txn_rollback(txn);
}

/* The workers' cells that others read do not share cache lines (invariant 28 has the log's). */
static void all_workers_can_be_open_and_no_more(void **state)
{
    (void)state;
    struct txn_worker *more[FIXTURE_WORKERS_MAX - 3], *beyond;
    for (unsigned i = 0; i < FIXTURE_WORKERS_MAX - 3; i++)
        assert_int_equal(txn_worker_open(f.system, &more[i]), 0);
    assert_int_equal(txn_worker_open(f.system, &beyond), ERROR_INVALID);
    for (unsigned i = 0; i < FIXTURE_WORKERS_MAX - 3; i++)
        txn_worker_close(more[i]);
    assert_int_equal(txn_worker_open(f.system, &beyond), 0);
    txn_worker_close(beyond);
}

/* ------------------------------------------------------------------- between rows of many */

enum { MANY = 3000 };

struct pauses {
    unsigned before, after; /* the commit */
};

/* Another worker writes meanwhile, and sees all of it or nothing. */
static void on_pause(void *arg)
{
    struct pauses *pauses = arg;
    fixture_set(&f, 1, "another", "1");
    bool there = fixture_latest(&f, 1, "k0") != NULL;
    assert_int_equal(there, fixture_latest(&f, 1, "k2999") != NULL);
    *(there ? &pauses->after : &pauses->before) += 1;
}

static struct txn *many_begin(void)
{
    char key[16];
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    for (unsigned n = 0; n < MANY; n++) {
        snprintf(key, sizeof key, "k%u", n);
        assert_null(fixture_get(&f, txn, key));
        assert_int_equal(fixture_put(&f, txn, key, "v"), 0);
    }
    return txn;
}

static void the_end_of_many_rows_lets_the_thread_do_something_else(void **state)
{
    struct pauses pauses = {0};
    (void)state;
    txn_worker_pause_set(f.workers[0], on_pause, &pauses);
    txn_rollback(many_begin());
    assert_true(pauses.before >= 2);
    pauses.before = 0;
    struct txn *txn = many_begin();
    assert_int_equal(pauses.before, 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_true(pauses.before >= 4 * MANY / 1024);
    assert_true(pauses.after >= 2);
    txn_worker_pause_set(f.workers[0], NULL, NULL);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_transaction_sees_its_own_writes),
        WITH_FIXTURE(others_see_nothing_of_it_before_the_commit_and_all_after),
        WITH_FIXTURE(rollback_leaves_nothing),
        WITH_FIXTURE(a_savepoint_takes_back_what_came_after_it),
        WITH_FIXTURE(a_whole_transaction_writes_a_number_over_in_place),
        WITH_FIXTURE(what_is_not_a_number_of_its_own_is_not_written_over_in_place),
        WITH_FIXTURE(a_number_of_another_is_a_conflict_in_a_whole_transaction_as_well),
        WITH_FIXTURE(a_row_that_was_come_to_is_read_as_under_its_key),
        WITH_FIXTURE(a_read_only_transaction_cannot_write),
        WITH_FIXTURE(a_key_beyond_the_limit_is_refused),
        WITH_FIXTURE(beyond_the_memory_limit_puts_fail_and_deletes_go_on),
        WITH_FIXTURE(a_conflict_dooms_the_transaction_whatever_it_does_next),
        WITH_FIXTURE(of_two_writers_the_first_wins),
        WITH_FIXTURE(what_was_rolled_back_stands_in_nobodys_way),
        WITH_FIXTURE(a_row_taken_for_update_is_read_at_the_latest),
        WITH_FIXTURE(readers_look_through_the_placeholder),
        WITH_FIXTURE(the_placeholder_serves_one_row_even_after_a_rollback_to_a_savepoint),
        WITH_FIXTURE(an_update_of_a_second_row_loses_no_other_update),
        WITH_FIXTURE(an_insert_after_a_look_at_a_second_row_overwrites_no_other_insert),
        WITH_FIXTURE(read_committed_sees_a_newer_commit_in_its_next_statement),
        WITH_FIXTURE(a_read_only_transaction_reads_what_is_durable),
        WITH_FIXTURE(a_reply_waits_for_all_that_was_looked_at_tombstones_too),
        WITH_FIXTURE(a_reply_about_a_conflict_waits_for_the_winner),
        WITH_FIXTURE(a_dependence_on_a_row_that_has_changed_fails_the_commit_at_every_level),
        WITH_FIXTURE(what_is_to_run_at_the_commit_runs_once_and_only_then),
        WITH_FIXTURE(when_the_log_has_failed_writers_are_refused_and_readers_go_to_d),
        WITH_FIXTURE(all_workers_can_be_open_and_no_more),
        WITH_FIXTURE(the_end_of_many_rows_lets_the_thread_do_something_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
