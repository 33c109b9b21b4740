/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting, locks and the gate (invariants 23 and 24), and what is listed for checkpoints (19).
 * Workers are driven from one thread: where one would wait for another, a point in its waiting lets
 * the other go on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "mutation/scene.h"
#include "txn/txn_fixture.h"
#include "txn/txn_private.h"

static struct txn_fixture f;

static struct txn *open_on(unsigned worker, enum txn_level level)
{
    struct txn *txn;
    assert_int_equal(txn_open(f.workers[worker], &(struct txn_options){.level = level}, &txn), 0);
    return txn;
}

static struct txn *begin_exclusive(unsigned worker)
{
    struct txn *txn;
    struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = true};
    assert_int_equal(txn_begin(f.workers[worker], &options, &txn), 0);
    return txn;
}

static int lock_row(struct txn *txn, const char *key, enum txn_lock mode)
{
    return txn_lock_row(txn, &f.head, key, strlen(key), mode);
}

static int end(struct txn *txn, int rc)
{
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

/* One that writes and asks for no lock. If it has to wait, it does not come back. */
static int write_without_lock(unsigned worker, const char *key, const char *value)
{
    struct txn *txn = fixture_begin(&f, worker, TXN_READ_COMMITTED);
    int rc = end(txn, fixture_put(&f, txn, key, value));
    lock_owner_delete(txn_owner_detach(f.workers[worker]));
    return rc;
}

/* ------------------------------------------------------------------------------ rule 23: waiting */

/* Takes one from a, which another holds, and gives it to b, and does not look at what the statements
 * return. */
static const char *a_body_that_ignores_that_it_must_wait_does_not_do_half(void)
{
    fixture_open(&f, 3);
    fixture_set(&f, 2, "a", "1");
    fixture_set(&f, 2, "b", "0");
    struct txn *parked = open_on(0, TXN_SERIALIZABLE);
    assert_int_equal(fixture_put(&f, parked, "a", "1"), 0);
    txn_park(parked);
    struct txn *txn = fixture_begin(&f, 1, TXN_SNAPSHOT);
    fixture_put(&f, txn, "b", "1");
    fixture_put(&f, txn, "a", "0");
    txn_commit(txn);
    lock_owner_delete(txn_owner_detach(f.workers[1]));
    assert_int_equal(txn_resume(parked), 0);
    assert_int_equal(txn_commit(parked), 0);
    int sum = atoi(fixture_latest(&f, 2, "a")) + atoi(fixture_latest(&f, 2, "b"));
    SCENE_EXPECT(sum == 1, "half of a transaction was committed");
    fixture_close(&f);
    return NULL;
}

static const char *who_waits_keeps_the_locks_it_has(void)
{
    fixture_open(&f, 3);
    struct txn *parked = open_on(0, TXN_SERIALIZABLE);
    assert_int_equal(fixture_put(&f, parked, "b", "1"), 0);
    txn_park(parked);
    struct txn *txn = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(lock_row(txn, "a", TXN_LOCK_EXCLUSIVE), 0);
    assert_int_equal(fixture_put(&f, txn, "b", "2"), ERROR_WAIT);
    txn_rollback(txn);
    struct lock_owner *owner = txn_owner_detach(f.workers[1]);
    struct txn *late = fixture_begin(&f, 2, TXN_SNAPSHOT);
    int rc = lock_row(late, "a", TXN_LOCK_EXCLUSIVE);
    SCENE_EXPECT(rc == ERROR_WAIT, "a lock is gone whose owner waits for another");
    txn_rollback(late);
    lock_owner_delete(txn_owner_detach(f.workers[2]));
    lock_owner_delete(owner);
    assert_int_equal(txn_resume(parked), 0);
    txn_rollback(parked);
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------- rules 11 and 23: locks */

/* Whether a row that is locked for sharing still is what its owner has read. */
static const char *still(struct txn *txn, const char *key, const char *value)
{
    txn_statement(txn);
    SCENE_EXPECT(strcmp(fixture_get(&f, txn, key), value) == 0, "a row has changed under its lock");
    assert_int_equal(txn_commit(txn), 0);
    fixture_close(&f);
    return NULL;
}

static const char *who_writes_without_locks_respects_a_shared_one(void)
{
    fixture_open(&f, 3);
    fixture_set(&f, 2, "a", "1");
    struct txn *txn = open_on(0, TXN_READ_COMMITTED);
    assert_int_equal(lock_row(txn, "a", TXN_LOCK_SHARED), 0);
    txn_park(txn);
    write_without_lock(1, "a", "2");
    assert_int_equal(txn_resume(txn), 0);
    return still(txn, "a", "1");
}

static const char *who_wrote_before_a_space_was_locked_does_not_commit_below_the_lock(void)
{
    fixture_open(&f, 3);
    fixture_set(&f, 2, "a", "1");
    struct txn *early = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, early, "a", "2"), 0);
    struct txn *txn = open_on(0, TXN_READ_COMMITTED);
    assert_int_equal(txn_lock_space(txn, &f.head, TXN_LOCK_SHARED), 0);
    assert_string_equal(fixture_get(&f, txn, "a"), "1");
    txn_commit(early);
    return still(txn, "a", "1");
}

static const char *a_shared_lock_is_not_given_beside_a_writer(void)
{
    fixture_open(&f, 3);
    fixture_set(&f, 2, "a", "1");
    struct txn *writer = open_on(0, TXN_READ_COMMITTED);
    assert_int_equal(fixture_put(&f, writer, "a", "2"), 0);
    txn_park(writer);
    struct txn *txn = open_on(1, TXN_READ_COMMITTED);
    int rc = lock_row(txn, "a", TXN_LOCK_SHARED);
    if (rc != 0)
        txn_rollback_to(txn, (struct txn_savepoint){0});
    txn_park(txn);
    assert_int_equal(txn_resume(writer), 0);
    assert_int_equal(txn_commit(writer), 0);
    assert_int_equal(txn_resume(txn), 0);
    SCENE_EXPECT(rc == ERROR_WAIT, "a row has changed under its lock");
    assert_int_equal(lock_row(txn, "a", TXN_LOCK_SHARED), 0);
    return still(txn, "a", "2");
}

static uint64_t other_wrote_at;

static void other_writes_a(void)
{
    if (write_without_lock(1, "a", "2") == 0)
        other_wrote_at = txn_worker_seen_ts(f.workers[1]);
}

/* Copies a to b, with a locked for sharing instead of validated. */
static const char *a_lock_lasts_until_its_owner_has_committed(void)
{
    fixture_open(&f, 3);
    fixture_set(&f, 2, "a", "1");
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(lock_row(txn, "a", TXN_LOCK_SHARED), 0);
    assert_int_equal(fixture_put(&f, txn, "b", fixture_get(&f, txn, "a")), 0);
    scene_at(MUTATION_AT_BEFORE_TIMESTAMP, other_writes_a);
    assert_int_equal(txn_commit(txn), 0);
    uint64_t ts = txn_worker_seen_ts(f.workers[0]);
    SCENE_EXPECT(other_wrote_at == 0 || other_wrote_at > ts, "b is a copy of what a was no longer");
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 24 */

static struct txn *in_the_gate;
static int gate_rc;

static void owner_of_the_gate_finishes(void)
{
    gate_rc = end(in_the_gate, fixture_put(&f, in_the_gate, "n", "gate"));
    in_the_gate = NULL;
}

static const char *nobody_disturbs_who_owns_the_gate(void)
{
    fixture_open(&f, 2);
    fixture_set(&f, 1, "n", "0");
    in_the_gate = begin_exclusive(0);
    assert_string_equal(fixture_get(&f, in_the_gate, "n"), "0");
    scene_at(MUTATION_AT_GATE_WAIT, owner_of_the_gate_finishes);
    fixture_set(&f, 1, "n", "new");
    if (in_the_gate != NULL)
        owner_of_the_gate_finishes();
    SCENE_EXPECT(gate_rc == 0, "who owns the gate has lost all the same");
    fixture_close(&f);
    return NULL;
}

static struct txn *running;

static void running_one_finishes(void)
{
    assert_int_equal(txn_commit(running), 0);
    running = NULL;
}

static const char *who_closes_the_gate_waits_for_those_who_run(void)
{
    fixture_open(&f, 2);
    running = fixture_begin(&f, 1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, running, "n", "running"), 0);
    scene_at(MUTATION_AT_GATE_CLOSING, running_one_finishes);
    in_the_gate = begin_exclusive(0);
    owner_of_the_gate_finishes();
    SCENE_EXPECT(gate_rc == 0, "who owns the gate has lost all the same");
    fixture_close(&f);
    return NULL;
}

static unsigned turns;

static void look_for_the_end(void)
{
    if (++turns > 10000)
        scene_found("the gate's owner and who waits at the gate wait for each other");
    scene_at(MUTATION_AT_OWNER_MET, look_for_the_end);
}

static void owner_of_the_gate_meets_the_parked_one(void)
{
    scene_at(MUTATION_AT_OWNER_MET, look_for_the_end);
    owner_of_the_gate_finishes();
}

static const char *who_waits_at_the_gate_can_be_taken_out_of_its_owners_way(void)
{
    fixture_open(&f, 2);
    struct txn *parked = open_on(1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, parked, "n", "parked"), 0);
    txn_park(parked);
    in_the_gate = begin_exclusive(0);
    scene_at(MUTATION_AT_GATE_WAIT, owner_of_the_gate_meets_the_parked_one);
    assert_int_equal(txn_resume(parked), ERROR_CANCELLED);
    assert_int_equal(gate_rc, 0);
    fixture_close(&f);
    return NULL;
}

/* What a change of the schema does, and who ingests rows. */
static void owner_of_the_gate_ends_those_that_are_parked(void)
{
    in_the_gate = begin_exclusive(0);
    txn_abort_parked(in_the_gate, "");
    owner_of_the_gate_finishes();
}

static const char *whoever_parks_is_found_in_the_gate(void)
{
    fixture_open(&f, 2);
    struct txn *parked = open_on(1, TXN_SERIALIZABLE);
    fixture_get(&f, parked, "n");
    scene_at(MUTATION_AT_PARKING, owner_of_the_gate_ends_those_that_are_parked);
    txn_park(parked);
    if (scene_passed() == 0)
        owner_of_the_gate_ends_those_that_are_parked();
    assert_int_equal(gate_rc, 0);
    SCENE_EXPECT(txn_resume(parked) == ERROR_CANCELLED, "one has outlived the gate");
    fixture_close(&f);
    return NULL;
}

static const char *nothing_is_undone_in_the_gate_but_by_its_owner(void)
{
    fixture_open(&f, 3);
    struct txn *parked = open_on(1, TXN_SNAPSHOT);
    assert_int_equal(fixture_put(&f, parked, "n", "parked"), 0);
    txn_park(parked);
    in_the_gate = begin_exclusive(0);
    txn_cancel_session(f.workers[2], 0);
    SCENE_EXPECT(!txn_was_ended(parked), "a row was written to while another owned the gate");
    txn_rollback(in_the_gate);
    assert_int_equal(txn_cancel_session(f.workers[2], 0), 1);
    assert_int_equal(txn_resume(parked), ERROR_CANCELLED);
    fixture_close(&f);
    return NULL;
}

/* Another gets its write in each time that it can. */
static int loses_if_it_can(struct txn *txn, void *arg)
{
    unsigned *runs = arg;
    if (++*runs > 2 * TXN_LOSSES_MAX)
        scene_found("one loses for ever");
    fixture_get(&f, txn, "n");
    if (load_seq_cst(&f.system->gate) == 0)
        fixture_set(&f, 1, "n", "other");
    return fixture_put(&f, txn, "n", "mine");
}

static const char *who_loses_again_and_again_is_let_into_the_gate(void)
{
    unsigned runs = 0;
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    fixture_open(&f, 2);
    assert_int_equal(txn_run(f.workers[0], &options, loses_if_it_can, &runs), 0);
    assert_int_equal(runs, TXN_LOSSES_MAX + 1);
    fixture_close(&f);
    return NULL;
}

static const char *who_has_lost_does_not_lose_to_a_younger_one(void)
{
    fixture_open(&f, 2);
    struct txn *old = fixture_begin(&f, 0, TXN_SNAPSHOT);
    assert_int_equal(lock_row(old, "a", TXN_LOCK_EXCLUSIVE), 0);
    txn_doom(old);
    txn_rollback(old);
    struct txn *young = open_on(1, TXN_SNAPSHOT);
    assert_int_equal(lock_row(young, "b", TXN_LOCK_EXCLUSIVE), 0);
    txn_park(young);
    old = fixture_begin(&f, 0, TXN_SNAPSHOT); /* run again */
    assert_int_equal(lock_row(old, "a", TXN_LOCK_EXCLUSIVE), 0);
    assert_int_equal(lock_row(old, "b", TXN_LOCK_EXCLUSIVE), ERROR_WAIT);
    txn_rollback(old);
    assert_int_equal(txn_resume(young), 0);
    int rc = lock_row(young, "a", TXN_LOCK_EXCLUSIVE);
    SCENE_EXPECT(rc == ERROR_DEADLOCK, "of two that wait for each other the older one loses");
    txn_rollback(young);
    lock_owner_delete(txn_owner_detach(f.workers[0]));
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 19 */

static struct txn_changes listed;

static void take_the_list(void)
{
    assert_int_equal(txn_changes_take(f.system, &listed), 0);
}

static void open_tracked(void)
{
    fixture_open(&f, 3);
    f.head.tracked = true;
}

/* What the checkpoint at k has taken is durable. */
static void checkpoint_done(uint64_t k)
{
    size_t kept = 0;
    txn_worker_enter(f.workers[2]);
    for (size_t n = 0; n < listed.count; n++)
        if (!txn_change_done(f.workers[2], &listed.items[n], k))
            listed.items[kept++] = listed.items[n];
    txn_worker_leave(f.workers[2]);
    listed.count = kept;
    txn_changes_return(f.system, &listed);
}

static const char *a_tombstone_lasts_until_a_run_has_it(void)
{
    open_tracked();
    uint64_t k = fixture_set(&f, 0, "a", "1");
    take_the_list();
    txn_row_enters_run(listed.items[0].row);
    checkpoint_done(k);
    fixture_set(&f, 0, "a", NULL);
    fixture_settle(&f);
    SCENE_EXPECT(fixture_chain(&f, "a") == 1, "no run will have the tombstone of what a run has");
    fixture_close(&f);
    return NULL;
}

static const char *what_changed_above_k_is_in_the_next_run(void)
{
    open_tracked();
    uint64_t k = fixture_set(&f, 0, "a", "1");
    take_the_list();
    fixture_set(&f, 0, "a", "2");
    checkpoint_done(k);
    SCENE_EXPECT(txn_changes_pending(f.system) == 1,
                 "no run will have what was written during a checkpoint");
    fixture_close(&f);
    return NULL;
}

static void garbage_goes(void)
{
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    txn_collect(f.workers[0], SIZE_MAX);
}

static const char *a_row_is_listed_while_a_checkpoint_looks_at_it(void)
{
    open_tracked();
    uint64_t k = fixture_set(&f, 0, "a", "1");
    take_the_list();
    txn_row_enters_run(listed.items[0].row);
    fixture_set(&f, 0, "a", NULL);
    scene_at(MUTATION_AT_CHANGE_LOOK, garbage_goes);
    checkpoint_done(k);
    assert_int_equal(scene_passed(), 1);
    SCENE_EXPECT(fixture_chain(&f, "a") == 1 && txn_changes_pending(f.system) == 1,
                 "a row ends that a run has, and its tombstone is in none");
    fixture_close(&f);
    return NULL;
}

static uint64_t checkpoint_k;

static void checkpoint_begins(void)
{
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    checkpoint_k = wal_durable_ts(f.wal);
    take_the_list();
}

static const char *what_is_durable_is_listed(void)
{
    open_tracked();
    scene_at(MUTATION_AT_WAL_ENDED, checkpoint_begins);
    uint64_t ts = fixture_set(&f, 0, "a", "1");
    SCENE_EXPECT(ts > checkpoint_k || listed.count == 1,
                 "a checkpoint gives up the log of a row that it has not written");
    checkpoint_done(checkpoint_k);
    fixture_close(&f);
    return NULL;
}

/* ------------------------------------------------------------------------------------ rule 33 */

static const char *a_tombstone_lasts_when_the_row_came_from_a_run(void)
{
    open_tracked();
    while (wal_clock(f.wal) < 1)
        wal_clock_next(f.wal);
    assert_int_equal(txn_replay_run(&f.boot, &f.head, 1, "a", 1, "1", 1), 0);
    txn_replay_end(&f.boot, &f.head);
    fixture_set(&f, 0, "a", NULL);
    fixture_settle(&f);
    SCENE_EXPECT(fixture_chain(&f, "a") == 1, "the next start finds the row in the run again");
    fixture_close(&f);
    return NULL;
}

static const char *what_the_list_leads_to_is_there_although_it_has_left_its_tree(void)
{
    enum { ROWS = 900, KEY_BYTES = 1000 }; /* a thread's share of the heap is not exact */
    char key[KEY_BYTES + 1];
    open_tracked();
    for (unsigned n = 0; n < ROWS; n++) {
        snprintf(key, sizeof key, "%0*u", KEY_BYTES, n);
        fixture_set(&f, 0, key, "1");
        fixture_set(&f, 0, key, NULL);
    }
    for (unsigned n = 0; n < 4; n++) /* until all has been freed that can be */
        fixture_settle(&f);
    SCENE_EXPECT(heap_used_bytes(f.heap) > (size_t)ROWS * KEY_BYTES / 2,
                 "the list leads to memory that has been freed");
    take_the_list();
    assert_int_equal(listed.count, ROWS);
    assert_memory_equal(listed.items[ROWS - 1].row->key, key, KEY_BYTES);
    checkpoint_done(wal_clock(f.wal));
    fixture_close(&f);
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct scene scenes[] = {
        SCENE(a_body_that_ignores_that_it_must_wait_does_not_do_half, WAIT_FORGOTTEN),
        SCENE(who_waits_keeps_the_locks_it_has, LOCKS_DROPPED_TO_WAIT),
        SCENE(who_writes_without_locks_respects_a_shared_one, LOCKED_UNSEEN),
        SCENE(who_wrote_before_a_space_was_locked_does_not_commit_below_the_lock,
              SPACE_LOCKED_UNSEEN),
        SCENE(a_shared_lock_is_not_given_beside_a_writer, SHARED_LOCK_BLIND),
        SCENE(a_lock_lasts_until_its_owner_has_committed, LOCKS_RELEASED_EARLY),
        SCENE(nobody_disturbs_who_owns_the_gate, GATE_UNSEEN),
        SCENE(who_closes_the_gate_waits_for_those_who_run, GATE_CLOSED_AT_ONCE),
        SCENE(who_waits_at_the_gate_can_be_taken_out_of_its_owners_way, RESUMED_BEFORE_GATE),
        SCENE(whoever_parks_is_found_in_the_gate, PARKED_BEHIND_GATE),
        SCENE(nothing_is_undone_in_the_gate_but_by_its_owner, CANCELLED_IN_GATE),
        SCENE(who_loses_again_and_again_is_let_into_the_gate, GATE_NEVER),
        SCENE(who_has_lost_does_not_lose_to_a_younger_one, AGE_FORGOTTEN),
        SCENE(a_tombstone_lasts_until_a_run_has_it, TOMBSTONE_ENDS_EARLY),
        SCENE(what_changed_above_k_is_in_the_next_run, NOT_LISTED_AGAIN),
        SCENE(a_row_is_listed_while_a_checkpoint_looks_at_it, UNLISTED_TO_LOOK),
        SCENE(what_is_durable_is_listed, LISTED_LATE),
        SCENE(a_tombstone_lasts_when_the_row_came_from_a_run, LOAD_UNNOTED),
        SCENE(what_the_list_leads_to_is_there_although_it_has_left_its_tree, LISTED_ROW_FREED),
    };
    return scenes_main(argc, argv, scenes, sizeof scenes / sizeof *scenes);
}
