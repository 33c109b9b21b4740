/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions that are parked between statements, locks as transactions see them, and who ends
 * whom (invariants 11, 22, 24). Workers are driven from one thread where it is not said otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "txn/lock.h"
#include "txn/txn_fixture.h"
#include "txn/txn_private.h"

static struct txn_fixture f;

static int open(void **state)
{
    (void)state;
    fixture_open(&f, 4);
    return 0;
}

static int close(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

static struct txn *open_at(unsigned worker, enum txn_level level, bool readonly)
{
    struct txn *txn;
    struct txn_options options = {
        .level = level, .readonly = readonly, .latest = true, .session_id = 100 + worker};
    assert_int_equal(txn_open(f.workers[worker], &options, &txn), 0);
    return txn;
}

static int lock_row(struct txn *txn, const char *key, enum txn_lock mode)
{
    return txn_lock_row(txn, &f.head, key, strlen(key), mode);
}

/* Runs a write as a request does: after ERROR_WAIT the caller has the owner. */
static int try_set(unsigned worker, const char *key, const char *value, enum txn_level level,
                   struct lock_owner *owner)
{
    struct txn *txn;
    struct txn_options options = {.level = level, .owner = owner};
    assert_int_equal(txn_begin(f.workers[worker], &options, &txn), 0);
    int rc = fixture_put(&f, txn, key, value);
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

static void a_worker_runs_others_while_one_is_parked(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *parked = open_at(0, TXN_SERIALIZABLE, false);
    assert_string_equal(fixture_get(&f, parked, "a"), "1");
    assert_int_equal(fixture_put(&f, parked, "b", "2"), 0);
    txn_park(parked);
    assert_null(txn_current(f.workers[0]));
    fixture_set(&f, 0, "c", "3");
    assert_null(fixture_latest(&f, 1, "b"));
    assert_int_equal(txn_resume(parked), 0);
    assert_string_equal(fixture_get(&f, parked, "b"), "2");
    assert_int_equal(txn_commit(parked), 0);
    assert_string_equal(fixture_latest(&f, 1, "b"), "2");
}

static void what_was_read_before_parking_is_validated(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    for (unsigned round = 0; round < 4; round++) {
        struct txn *txn = open_at(0, TXN_SERIALIZABLE, false);
        if (round == 0)
            fixture_get(&f, txn, "a");
        else if (round == 1)
            fixture_get(&f, txn, "absent");
        else
            fixture_scan(&f, txn, &f.primary, "a", "b", false, 10);
        assert_int_equal(fixture_put(&f, txn, "z", "z"), 0);
        txn_park(txn);
        if (round == 0)
            fixture_set(&f, 1, "a", "2");
        else if (round == 1)
            fixture_set(&f, 1, "absent", "2");
        else if (round == 2)
            fixture_set(&f, 1, "aa", "2");
        fixture_settle(&f);
        assert_int_equal(txn_resume(txn), 0);
        assert_int_equal(txn_commit(txn), round == 3 ? 0 : ERROR_CONFLICT);
    }
}

static void a_row_found_before_parking_is_looked_for_anew(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    fixture_set(&f, 1, "a", NULL);
    struct txn *txn = open_at(0, TXN_READ_COMMITTED, false);
    assert_null(fixture_get(&f, txn, "a"));
    txn_park(txn);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), -1);
    fixture_set(&f, 1, "a", "2");
    assert_int_equal(txn_resume(txn), 0);
    assert_string_equal(fixture_get(&f, txn, "a"), "2");
    assert_int_equal(fixture_put(&f, txn, "a", "3"), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(fixture_latest(&f, 1, "a"), "3");
}

static void ranges_are_copied_once_however_often_it_is_parked(void **state)
{
    (void)state;
    fixture_set(&f, 1, "b", "1");
    struct txn *txn = open_at(0, TXN_SERIALIZABLE, false);
    size_t used_bytes = 0;
    for (unsigned n = 0; n < 100; n++) {
        if (n < 2)
            assert_string_equal(fixture_scan(&f, txn, &f.primary, "a", "c", false, 9), "b");
        txn_park(txn);
        assert_int_equal(txn_resume(txn), 0);
        if (n == 1)
            used_bytes = txn_arena(txn)->used_bytes;
    }
    assert_int_equal(txn_arena(txn)->used_bytes, used_bytes);
    fixture_set(&f, 1, "bb", "1");
    assert_int_equal(fixture_put(&f, txn, "z", "1"), 0);
    assert_int_equal(txn_commit(txn), ERROR_CONFLICT);
}

static void a_row_that_ends_while_a_reader_of_it_is_parked_may_go(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    fixture_set(&f, 1, "a", NULL);
    struct txn *txn = open_at(0, TXN_SERIALIZABLE, false);
    assert_null(fixture_get(&f, txn, "a"));
    assert_int_equal(fixture_put(&f, txn, "b", "1"), 0);
    txn_park(txn);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), -1);
    assert_int_equal(txn_resume(txn), 0);
    assert_int_equal(txn_commit(txn), 0);
}

static void read_committed_sees_what_is_committed_between_its_statements(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    struct txn *txn = open_at(0, TXN_READ_COMMITTED, false);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    txn_park(txn);
    fixture_set(&f, 1, "a", "2");
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1); /* nothing is kept for it */
    assert_int_equal(txn_resume(txn), 0);
    txn_statement(txn);
    assert_string_equal(fixture_get(&f, txn, "a"), "2");
    txn_rollback(txn);
}

static void read_uncommitted_sees_what_others_have_not_committed(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    struct txn *writer = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    assert_int_equal(fixture_put(&f, writer, "a", "2"), 0);
    assert_int_equal(fixture_put(&f, writer, "new", "3"), 0);
    struct txn *dirty = fixture_begin(&f, 0, TXN_READ_UNCOMMITTED);
    assert_string_equal(fixture_get(&f, dirty, "a"), "2");
    assert_string_equal(fixture_get(&f, dirty, "new"), "3");
    assert_string_equal(fixture_scan(&f, dirty, &f.primary, NULL, NULL, false, 9), "a new");
    struct txn *clean = fixture_begin(&f, 2, TXN_READ_COMMITTED);
    assert_string_equal(fixture_get(&f, clean, "a"), "1");
    txn_rollback(writer);
    assert_string_equal(fixture_get(&f, dirty, "a"), "1");
    txn_rollback(clean);
    txn_rollback(dirty);
}

static void what_read_uncommitted_reads_to_write_on_top_is_committed(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    struct txn *writer = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    assert_int_equal(fixture_put(&f, writer, "a", "2"), 0);
    struct txn *dirty = fixture_begin(&f, 0, TXN_READ_UNCOMMITTED);
    assert_int_equal(fixture_put(&f, dirty, "b", "1"), 0);
    assert_string_equal(fixture_get(&f, dirty, "a"), "2");
    assert_string_equal(fixture_get_for_update(&f, dirty, "a"), "1");
    txn_rollback(writer);
    assert_int_equal(fixture_put(&f, dirty, "a", "3"), 0);
    assert_int_equal(txn_commit(dirty), 0);
}

static void a_snapshot_that_has_found_nothing_does_not_move_with_a_lock(void **state)
{
    (void)state;
    for (unsigned by_range = 0; by_range < 2; by_range++) {
        struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
        const char *key = by_range ? "b" : "a";
        if (by_range)
            assert_string_equal(fixture_scan(&f, txn, &f.primary, "b", "c", false, 9), "");
        else
            assert_null(fixture_get(&f, txn, key));
        fixture_set(&f, 1, key, "1");
        assert_int_equal(lock_row(txn, "z", TXN_LOCK_EXCLUSIVE), 0);
        assert_null(fixture_get(&f, txn, key));
        txn_rollback(txn);
    }
}

static void bytes_that_are_still_being_written_are_not_shown_to_read_uncommitted(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    struct txn *writer = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    struct version *version;
    assert_int_equal(txn_put(writer, &f.head, "a", 1, NULL, 100, NULL, &version), 0);
    struct txn *dirty = fixture_begin(&f, 0, TXN_READ_UNCOMMITTED);
    assert_string_equal(fixture_get(&f, dirty, "a"), "1");
    txn_rollback(dirty);
    txn_rollback(writer);
}

static void who_meets_the_write_of_a_parked_one_waits_for_it(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    const enum txn_level levels[] = {TXN_READ_COMMITTED, TXN_SERIALIZABLE};
    for (unsigned n = 0; n < 2; n++) {
        struct txn *parked = open_at(0, TXN_SERIALIZABLE, false);
        assert_int_equal(fixture_put(&f, parked, "a", "2"), 0);
        txn_park(parked);
        assert_int_equal(try_set(1, "a", "3", levels[n], NULL), ERROR_WAIT);
        struct lock_owner *owner = txn_owner_detach(f.workers[1]);
        assert_non_null(owner);
        assert_int_equal(lock_wait_state(owner), LOCK_WAIT_QUEUED);
        assert_int_equal(txn_resume(parked), 0);
        assert_int_equal(txn_commit(parked), 0);
        assert_int_equal(lock_wait_state(owner), LOCK_WAIT_GRANTED);
        assert_int_equal(try_set(1, "a", "3", levels[n], owner), 0);
        lock_owner_delete(owner);
        assert_string_equal(fixture_latest(&f, 2, "a"), "3");
    }
}

/* Its statement has read the row before it had to wait; what it reads afterwards is what counts. */
static void who_has_waited_at_read_committed_loses_nothing_by_it(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    struct txn *holder = open_at(0, TXN_READ_COMMITTED, false);
    assert_int_equal(fixture_put(&f, holder, "a", "2"), 0);
    txn_park(holder);
    struct txn *waiter = open_at(1, TXN_READ_COMMITTED, false);
    assert_int_equal(fixture_put(&f, waiter, "b", "1"), 0);
    const struct version *seen;
    struct txn_savepoint before = txn_savepoint(waiter);
    assert_int_equal(txn_get_for_update(waiter, &f.head, "a", 1, &seen), 0);
    assert_int_equal(fixture_put(&f, waiter, "a", "3"), ERROR_WAIT);
    txn_rollback_to(waiter, before);
    txn_park(waiter);
    assert_int_equal(txn_resume(holder), 0);
    assert_int_equal(txn_commit(holder), 0);
    assert_int_equal(txn_resume(waiter), 0);
    txn_statement(waiter);
    assert_int_equal(txn_get_for_update(waiter, &f.head, "a", 1, &seen), 0);
    assert_memory_equal(seen->bytes, "2", 1);
    assert_int_equal(fixture_put(&f, waiter, "a", "3"), 0);
    assert_int_equal(txn_commit(waiter), 0);
    assert_string_equal(fixture_latest(&f, 2, "a"), "3");
}

static void the_row_is_granted_in_the_order_of_those_who_wait(void **state)
{
    (void)state;
    struct txn *parked = open_at(0, TXN_SERIALIZABLE, false);
    assert_int_equal(fixture_put(&f, parked, "a", "1"), 0);
    txn_park(parked);
    struct lock_owner *owners[3];
    for (unsigned n = 1; n <= 3; n++) {
        assert_int_equal(try_set(n, "a", "x", TXN_READ_COMMITTED, NULL), ERROR_WAIT);
        owners[n - 1] = txn_owner_detach(f.workers[n]);
    }
    assert_int_equal(txn_resume(parked), 0);
    txn_rollback(parked);
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(lock_wait_state(owners[n]), LOCK_WAIT_GRANTED);
        if (n < 2)
            assert_int_equal(lock_wait_state(owners[n + 1]), LOCK_WAIT_QUEUED);
        assert_int_equal(try_set(n + 1, "a", "x", TXN_READ_COMMITTED, owners[n]), 0);
        lock_owner_delete(owners[n]);
    }
}

static void an_exclusive_one_ends_a_parked_one_that_is_in_its_way_and_no_other(void **state)
{
    (void)state;
    struct txn *in_the_way = open_at(0, TXN_SERIALIZABLE, false);
    assert_int_equal(fixture_put(&f, in_the_way, "a", "1"), 0);
    txn_park(in_the_way);
    struct txn *elsewhere = open_at(1, TXN_SERIALIZABLE, false);
    assert_int_equal(fixture_put(&f, elsewhere, "b", "1"), 0);
    txn_park(elsewhere);
    struct txn *exclusive;
    struct txn_options options = {.level = TXN_SERIALIZABLE, .exclusive = true};
    assert_int_equal(txn_begin(f.workers[2], &options, &exclusive), 0);
    assert_int_equal(fixture_put(&f, exclusive, "a", "2"), 0);
    assert_int_equal(txn_commit(exclusive), 0);
    assert_int_equal(txn_resume(in_the_way), ERROR_CANCELLED);
    assert_non_null(strstr(diag_message_for(ERROR_CANCELLED), "to let one pass"));
    assert_int_equal(txn_resume(elsewhere), 0);
    assert_int_equal(txn_commit(elsewhere), 0);
    assert_string_equal(fixture_latest(&f, 3, "a"), "2");
    assert_string_equal(fixture_latest(&f, 3, "b"), "1");
}

static void *resume_main(void *arg)
{
    /* Waits at the gate; if it did not count as parked there, nobody could ever go on. */
    return (void *)(intptr_t)txn_resume(arg);
}

static void one_that_waits_at_the_gate_to_go_on_can_still_be_ended_by_its_owner(void **state)
{
    (void)state;
    struct txn *parked = open_at(0, TXN_SERIALIZABLE, false);
    assert_int_equal(fixture_put(&f, parked, "a", "1"), 0);
    txn_park(parked);
    struct txn *exclusive;
    struct txn_options options = {.level = TXN_SERIALIZABLE, .exclusive = true};
    assert_int_equal(txn_begin(f.workers[2], &options, &exclusive), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, resume_main, parked), 0);
    for (unsigned turns = 0; turns < 2000; turns++)
        sched_yield(); /* turns in which it may reach the gate */
    assert_int_equal(fixture_put(&f, exclusive, "a", "2"), 0);
    assert_int_equal(txn_commit(exclusive), 0);
    void *result;
    pthread_join(thread, &result);
    assert_int_equal((int)(intptr_t)result, ERROR_CANCELLED);
    assert_string_equal(fixture_latest(&f, 1, "a"), "2");
}

static void a_session_is_cancelled_parked_or_running(void **state)
{
    (void)state;
    struct txn *parked = open_at(0, TXN_SERIALIZABLE, false);
    assert_int_equal(fixture_put(&f, parked, "a", "1"), 0);
    txn_park(parked);
    struct txn *running = open_at(1, TXN_SNAPSHOT, true);
    assert_int_equal(txn_cancel_session(f.workers[2], 100), 1);
    assert_int_equal(txn_cancel_session(f.workers[2], 101), 1);
    assert_int_equal(txn_resume(parked), ERROR_CANCELLED);
    const struct version *version;
    assert_int_equal(txn_get(running, &f.head, "a", 1, &version), ERROR_CANCELLED);
    txn_rollback(running);
    assert_null(fixture_latest(&f, 2, "a"));
}

/* A worker's loop would stand still for as long as the gate is closed. */
static void who_cancels_does_not_wait_at_the_gate(void **state)
{
    (void)state;
    struct txn *exclusive;
    const struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = true};
    struct txn *writer = open_at(0, TXN_SNAPSHOT, false);
    assert_int_equal(fixture_put(&f, writer, "a", "1"), 0);
    txn_park(writer);
    struct txn *reader = open_at(0, TXN_SNAPSHOT, true);
    txn_park(reader);
    assert_int_equal(txn_begin(f.workers[1], &options, &exclusive), 0);
    assert_int_equal(txn_cancel_session(f.workers[2], 100), 1);
    assert_true(txn_was_ended(reader));
    assert_false(txn_was_ended(writer));
    assert_int_equal(txn_resume(reader), ERROR_CANCELLED);
    assert_int_equal(txn_cancel_session(f.workers[2], 100), 0);
    txn_rollback(exclusive);
    assert_int_equal(txn_cancel_session(f.workers[2], 100), 1);
    assert_int_equal(txn_begin(f.workers[1], &options, &exclusive), 0);
    assert_true(txn_was_ended(writer));
    assert_int_equal(txn_resume(writer), ERROR_CANCELLED); /* nor who is told */
    txn_rollback(exclusive);
    assert_null(fixture_latest(&f, 2, "a"));
}

static void the_oldest_snapshot_has_a_name_and_old_ones_can_be_cancelled(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *old = open_at(0, TXN_SNAPSHOT, true);
    txn_park(old);
    fixture_set(&f, 1, "a", "2");
    struct txn *young = open_at(1, TXN_SNAPSHOT, true);
    txn_park(young);
    struct txn_oldest oldest;
    assert_true(txn_oldest_get(f.system, &oldest));
    assert_int_equal(oldest.session_id, 100);
    assert_true(oldest.parked && oldest.readonly);
    assert_int_equal(txn_cancel_older(f.workers[2], UINT64_C(3600000000000)), 0);
    assert_int_equal(txn_cancel_older(f.workers[2], 0), 2);
    assert_int_equal(txn_resume(old), ERROR_CANCELLED);
    assert_int_equal(txn_resume(young), ERROR_CANCELLED);
}

static void a_cancellation_that_comes_too_late_does_not_meet_the_next_one(void **state)
{
    (void)state;
    fixture_set(&f, 0, "a", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    uint64_t begun = load_relaxed(&txn->slot->begun);
    store_release(&txn->slot->cancel, begun - 1);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    store_release(&txn->slot->cancel, begun);
    const struct version *version;
    assert_int_equal(txn_get(txn, &f.head, "a", 1, &version), ERROR_CANCELLED);
    txn_rollback(txn);
    txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    txn_rollback(txn);
}

static void between_statements_of_read_committed_no_snapshot_grows_old(void **state)
{
    (void)state;
    struct txn *txn = open_at(0, TXN_READ_COMMITTED, false);
    struct txn_oldest oldest;
    assert_int_equal(fixture_put(&f, txn, "a", "1"), 0);
    txn_park(txn);
    assert_false(txn_oldest_get(f.system, &oldest));
    assert_int_equal(txn_cancel_older(f.workers[2], 0), 0);
    assert_int_equal(txn_resume(txn), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(fixture_latest(&f, 2, "a"), "1");
}

/* What it has yet to write would be gone. */
static void the_snapshot_of_a_checkpoint_is_not_cancelled_for_its_age(void **state)
{
    (void)state;
    struct txn *txn;
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .durable = true};
    assert_int_equal(txn_open(f.workers[0], &options, &txn), 0);
    txn_park(txn);
    assert_int_equal(txn_cancel_older(f.workers[1], 0), 0);
    assert_int_equal(txn_resume(txn), 0);
    assert_int_equal(txn_commit(txn), 0);
}

static void a_parked_snapshot_keeps_what_it_sees_and_no_more(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "first");
    struct txn *reader = open_at(0, TXN_SNAPSHOT, true);
    txn_park(reader);
    for (unsigned i = 0; i < 5000; i++)
        fixture_set(&f, 1, "a", "next");
    fixture_settle(&f);
    assert_in_range(fixture_chain(&f, "a"), 2, 4);
    assert_int_equal(txn_resume(reader), 0);
    assert_string_equal(fixture_get(&f, reader, "a"), "first");
    txn_rollback(reader);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
}

static void an_exclusive_lock_keeps_writers_out_that_do_not_lock(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    struct txn *txn = open_at(0, TXN_SERIALIZABLE, false);
    assert_int_equal(lock_row(txn, "a", TXN_LOCK_EXCLUSIVE), 0);
    assert_int_equal(lock_row(txn, "none", TXN_LOCK_EXCLUSIVE), 0);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    txn_park(txn);
    assert_int_equal(try_set(1, "a", "2", TXN_READ_COMMITTED, NULL), ERROR_WAIT);
    struct lock_owner *first = txn_owner_detach(f.workers[1]);
    assert_int_equal(try_set(2, "none", "2", TXN_READ_COMMITTED, NULL), ERROR_WAIT);
    struct lock_owner *second = txn_owner_detach(f.workers[2]);
    assert_string_equal(fixture_latest(&f, 3, "a"), "1"); /* readers go on */
    assert_int_equal(txn_resume(txn), 0);
    assert_int_equal(fixture_put(&f, txn, "a", "3"), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(fixture_latest(&f, 3, "a"), "3");
    assert_int_equal(fixture_chain(&f, "none"), 0);
    assert_int_equal(try_set(1, "a", "2", TXN_READ_COMMITTED, first), 0);
    assert_int_equal(try_set(2, "none", "2", TXN_READ_COMMITTED, second), 0);
    lock_owner_delete(first);
    lock_owner_delete(second);
}

static void a_lock_that_was_only_held_leaves_no_trace(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(lock_row(txn, "a", TXN_LOCK_EXCLUSIVE), 0);
    assert_int_equal(lock_row(txn, "b", TXN_LOCK_EXCLUSIVE), 0);
    struct txn_savepoint savepoint = txn_savepoint(txn);
    assert_int_equal(lock_row(txn, "c", TXN_LOCK_EXCLUSIVE), 0);
    assert_int_equal(fixture_put(&f, txn, "b", "2"), 0);
    txn_rollback_to(txn, savepoint);
    assert_int_equal(fixture_put(&f, txn, "d", "4"), 0);
    assert_int_equal(txn_commit(txn), 0);
    fixture_settle(&f);
    assert_int_equal(fixture_chain(&f, "a"), 1);
    assert_int_equal(fixture_chain(&f, "b"), -1);
    assert_int_equal(fixture_chain(&f, "c"), -1);
    struct lock_stats stats;
    lock_stats_get(txn_system_locks(f.system), &stats);
    assert_int_equal(stats.held, 0);
}

static void shared_locks_go_together_and_keep_writers_out(void **state)
{
    (void)state;
    fixture_set(&f, 1, "a", "1");
    struct txn *one = open_at(0, TXN_SERIALIZABLE, false);
    assert_int_equal(lock_row(one, "a", TXN_LOCK_SHARED), 0);
    txn_park(one);
    struct txn *two = open_at(1, TXN_SERIALIZABLE, false);
    assert_int_equal(lock_row(two, "a", TXN_LOCK_SHARED), 0);
    txn_park(two);
    assert_int_equal(try_set(2, "a", "2", TXN_SERIALIZABLE, NULL), ERROR_WAIT);
    struct lock_owner *owner = txn_owner_detach(f.workers[2]);
    assert_int_equal(try_set(3, "b", "2", TXN_SERIALIZABLE, NULL), 0); /* another row */
    assert_int_equal(txn_resume(one), 0);
    assert_int_equal(txn_commit(one), 0);
    assert_int_equal(lock_wait_state(owner), LOCK_WAIT_QUEUED);
    assert_int_equal(txn_resume(two), 0);
    assert_int_equal(txn_commit(two), 0);
    assert_int_equal(lock_wait_state(owner), LOCK_WAIT_GRANTED);
    assert_int_equal(try_set(2, "a", "2", TXN_SERIALIZABLE, owner), 0);
    lock_owner_delete(owner);
}

static void a_shared_lock_waits_for_a_writer_that_was_there_before(void **state)
{
    (void)state;
    struct txn *writer = open_at(0, TXN_SERIALIZABLE, false);
    assert_int_equal(fixture_put(&f, writer, "a", "1"), 0);
    txn_park(writer);
    struct txn *reader = open_at(1, TXN_SERIALIZABLE, false);
    assert_int_equal(lock_row(reader, "a", TXN_LOCK_SHARED), ERROR_WAIT);
    txn_rollback_to(reader, (struct txn_savepoint){0});
    txn_park(reader);
    assert_int_equal(txn_resume(writer), 0);
    assert_int_equal(txn_commit(writer), 0);
    assert_int_equal(txn_resume(reader), 0);
    assert_int_equal(lock_row(reader, "a", TXN_LOCK_SHARED), 0);
    assert_string_equal(fixture_get(&f, reader, "a"), "1");
    assert_int_equal(txn_commit(reader), 0);
}

static void a_locked_space_keeps_out_those_who_write_without_locks(void **state)
{
    (void)state;
    struct txn *early = fixture_begin(&f, 1, TXN_SERIALIZABLE);
    assert_int_equal(fixture_put(&f, early, "early", "1"), 0);
    struct txn *own = open_at(0, TXN_SERIALIZABLE, false);
    assert_int_equal(fixture_put(&f, own, "own", "1"), 0);
    assert_int_equal(txn_lock_space(own, &f.head, TXN_LOCK_EXCLUSIVE), 0);
    assert_int_equal(txn_commit(early), ERROR_CONFLICT);
    txn_park(own);
    assert_int_equal(try_set(1, "late", "1", TXN_READ_COMMITTED, NULL), ERROR_WAIT);
    struct lock_owner *owner = txn_owner_detach(f.workers[1]);
    struct txn *other = fixture_begin(&f, 2, TXN_SERIALIZABLE);
    assert_int_equal(txn_put(other, &f.other, "x", 1, "1", 1, NULL, NULL), 0);
    assert_int_equal(txn_commit(other), 0);
    assert_int_equal(txn_resume(own), 0);
    assert_int_equal(txn_commit(own), 0);
    assert_int_equal(try_set(1, "late", "1", TXN_READ_COMMITTED, owner), 0);
    lock_owner_delete(owner);
    assert_null(fixture_latest(&f, 3, "early"));
    assert_string_equal(fixture_latest(&f, 3, "own"), "1");
}

static void who_locks_a_space_and_wrote_before_may_commit(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(fixture_put(&f, txn, "a", "1"), 0);
    assert_int_equal(txn_lock_space(txn, &f.head, TXN_LOCK_EXCLUSIVE), 0);
    assert_int_equal(txn_commit(txn), 0);
    assert_string_equal(fixture_latest(&f, 1, "a"), "1");
}

static void of_two_that_wait_for_each_other_the_younger_is_told(void **state)
{
    (void)state;
    struct txn *old = open_at(0, TXN_SERIALIZABLE, false);
    struct txn_savepoint old_start = txn_savepoint(old);
    assert_int_equal(lock_row(old, "a", TXN_LOCK_EXCLUSIVE), 0);
    struct txn_savepoint statement = txn_savepoint(old);
    txn_park(old);
    struct txn *young = open_at(1, TXN_SERIALIZABLE, false);
    assert_int_equal(lock_row(young, "b", TXN_LOCK_EXCLUSIVE), 0);
    txn_park(young);
    assert_int_equal(txn_resume(old), 0);
    assert_int_equal(lock_row(old, "b", TXN_LOCK_EXCLUSIVE), ERROR_WAIT);
    txn_rollback_to(old, statement);
    txn_park(old);
    assert_int_equal(txn_resume(young), 0);
    assert_int_equal(lock_row(young, "a", TXN_LOCK_EXCLUSIVE), ERROR_DEADLOCK);
    const struct version *version;
    assert_int_equal(txn_get(young, &f.head, "a", 1, &version), ERROR_DEADLOCK);
    txn_rollback(young);
    assert_int_equal(txn_resume(old), 0);
    assert_int_equal(lock_row(old, "b", TXN_LOCK_EXCLUSIVE), 0);
    txn_rollback_to(old, old_start);
    txn_rollback(old);
}

static void who_is_run_again_keeps_his_age_and_who_has_ended_does_not(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(lock_row(txn, "a", TXN_LOCK_EXCLUSIVE), 0);
    uint64_t first = lock_owner_id(txn_owner(txn));
    txn_doom(txn);
    txn_rollback(txn);
    struct txn *other = open_at(1, TXN_SNAPSHOT, false);
    uint64_t other_id = lock_owner_id(txn_owner(other));
    txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(lock_row(txn, "a", TXN_LOCK_EXCLUSIVE), 0);
    assert_int_equal(lock_owner_id(txn_owner(txn)), first);
    assert_int_equal(txn_commit(txn), 0);
    txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(lock_row(txn, "a", TXN_LOCK_EXCLUSIVE), 0);
    assert_true(lock_owner_id(txn_owner(txn)) > other_id);
    txn_rollback(txn);
    txn_rollback(other);
}

static void a_read_only_transaction_takes_no_locks(void **state)
{
    (void)state;
    struct txn *txn = fixture_begin_readonly(&f, 0, false);
    assert_int_equal(lock_row(txn, "a", TXN_LOCK_EXCLUSIVE), ERROR_READONLY);
    assert_int_equal(txn_lock_space(txn, &f.head, TXN_LOCK_SHARED), ERROR_READONLY);
    txn_rollback(txn);
}

static void causes_and_places_of_what_was_lost_are_counted(void **state)
{
    (void)state;
    fixture_set(&f, 0, "hot", "1");
    for (unsigned i = 0; i < 3; i++) {
        struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
        fixture_set(&f, 1, "hot", "2");
        assert_int_equal(fixture_put(&f, txn, "hot", "3"), ERROR_CONFLICT);
        txn_rollback(txn);
    }
    struct txn_stats stats;
    txn_stats_get(f.system, &stats);
    assert_int_equal(stats.aborts[TXN_CAUSE_WRITE], 3);
    struct txn_conflict places[4];
    assert_int_equal(txn_conflicts_get(f.system, places, 4), 1);
    assert_int_equal(places[0].space_id, 1);
    assert_int_equal(places[0].count, 3);
    assert_int_equal(places[0].prefix_size, 3);
    assert_memory_equal(places[0].prefix, "hot", 3);
}

static void levels_have_names(void **state)
{
    (void)state;
    enum txn_level level;
    assert_true(txn_level_parse("REPEATABLE READ", 15, &level) && level == TXN_SNAPSHOT);
    assert_true(txn_level_parse("read-uncommitted", 16, &level) && level == TXN_READ_UNCOMMITTED);
    assert_true(txn_level_parse("read_committed", 14, &level) && level == TXN_READ_COMMITTED);
    assert_true(txn_level_parse("Serializable", 12, &level) && level == TXN_SERIALIZABLE);
    assert_false(txn_level_parse("serializabl", 11, &level));
    assert_false(txn_level_parse("snapshots", 9, &level));
    assert_string_equal(txn_level_name(TXN_READ_COMMITTED), "read committed");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_worker_runs_others_while_one_is_parked),
        TEST(what_was_read_before_parking_is_validated),
        TEST(a_row_found_before_parking_is_looked_for_anew),
        TEST(ranges_are_copied_once_however_often_it_is_parked),
        TEST(a_row_that_ends_while_a_reader_of_it_is_parked_may_go),
        TEST(read_committed_sees_what_is_committed_between_its_statements),
        TEST(read_uncommitted_sees_what_others_have_not_committed),
        TEST(what_read_uncommitted_reads_to_write_on_top_is_committed),
        TEST(a_snapshot_that_has_found_nothing_does_not_move_with_a_lock),
        TEST(bytes_that_are_still_being_written_are_not_shown_to_read_uncommitted),
        TEST(who_meets_the_write_of_a_parked_one_waits_for_it),
        TEST(who_has_waited_at_read_committed_loses_nothing_by_it),
        TEST(the_row_is_granted_in_the_order_of_those_who_wait),
        TEST(an_exclusive_one_ends_a_parked_one_that_is_in_its_way_and_no_other),
        TEST(one_that_waits_at_the_gate_to_go_on_can_still_be_ended_by_its_owner),
        TEST(a_session_is_cancelled_parked_or_running),
        TEST(who_cancels_does_not_wait_at_the_gate),
        TEST(the_oldest_snapshot_has_a_name_and_old_ones_can_be_cancelled),
        TEST(a_cancellation_that_comes_too_late_does_not_meet_the_next_one),
        TEST(between_statements_of_read_committed_no_snapshot_grows_old),
        TEST(the_snapshot_of_a_checkpoint_is_not_cancelled_for_its_age),
        TEST(a_parked_snapshot_keeps_what_it_sees_and_no_more),
        TEST(an_exclusive_lock_keeps_writers_out_that_do_not_lock),
        TEST(a_lock_that_was_only_held_leaves_no_trace),
        TEST(shared_locks_go_together_and_keep_writers_out),
        TEST(a_shared_lock_waits_for_a_writer_that_was_there_before),
        TEST(a_locked_space_keeps_out_those_who_write_without_locks),
        TEST(who_locks_a_space_and_wrote_before_may_commit),
        TEST(of_two_that_wait_for_each_other_the_younger_is_told),
        TEST(who_is_run_again_keeps_his_age_and_who_has_ended_does_not),
        TEST(a_read_only_transaction_takes_no_locks),
        TEST(causes_and_places_of_what_was_lost_are_counted),
        TEST(levels_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
