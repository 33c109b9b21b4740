/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Transactions that can be parked between statements, and ending those of others.
 *
 * A parked transaction has a slot of its own, which holds its snapshot; it holds no epoch, and does
 * not count as writing at the gate. What it has written stays on its rows under its tag, and rows
 * with a tag do not end; what it has read it keeps by key and timestamp (txn__reads_park).
 *
 * Whoever brings the slot's phase from parked to claimed has the transaction to himself: he rolls it
 * back with the means of his own worker and says that it has ended. Its owner finds that out when he
 * resumes it. It happens to let an exclusive transaction pass that has met its tag, in the gate to all
 * that may write, and because of limits. The owner's thread meanwhile may hold pointers to the
 * struct, so the struct and its arena go only when he has resumed it.
 *
 * None that may write passes the gate unseen by its owner (invariant 24). Who parks counts as writing until he
 * can be claimed, and who goes on does again before he takes himself back; who ends one because of a
 * limit counts as writing from before he claims it until it is undone, and leaves it while the gate is closed: he
 * comes again. So in the gate one that is open is parked, or has been ended, and nothing is undone but by the gate's owner.
 *
 * Others that meet the tag of a parked transaction wait for its lock owner (txn_lock.c).
 */
#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"
#include "txn/txn_private.h"

int txn_open(struct txn_worker *worker, const struct txn_options *options, struct txn **out)
{
    struct txn_system *system = worker->system;
    struct txn *txn = calloc(1, sizeof *txn);
    if (txn == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a transaction");
    unsigned number;
    int rc = txn__slot_take(system, system->worker_max, system->slot_max, &number);
    if (rc != 0) {
        free(txn);
        return diag_set(rc, "%u interactive transactions are open already",
                        system->slot_max - system->worker_max);
    }
    struct txn_slot *slot = &system->slots[number];
    txn->worker = txn->home = worker;
    txn->slot = slot;
    txn->opened = true;
    arena_create_profiled(&txn->arena, 1 << 12, &worker->open_arenas);
    slot->parked = txn;
    store_relaxed(&slot->began_ns, clock_monotonic_ns(system->clock));
    store_relaxed(&slot->phase, PHASE_RUNNING);
    atomic_fetch_add(&system->open, 1);
    struct txn_options now = *options;
    now.exclusive = false;
    if ((rc = txn__begin_at(worker, txn, slot, &now)) != 0) {
        txn__open_end(txn);
        return rc;
    }
    if (!txn->readonly) {
        struct lock_owner *owner = txn_owner(txn);
        struct lock_name name = lock_name_owner(owner == NULL ? 0 : lock_owner_id(owner));
        rc = owner == NULL ? ERROR_MEMORY : lock_acquire(owner, &name, LOCK_EXCLUSIVE);
        if (rc != 0) {
            txn_rollback(txn);
            return diag_set(rc, "no memory for a transaction");
        }
        txn->descriptor->slot = slot;
        txn->descriptor->owner_id = lock_owner_id(owner);
    }
    *out = txn;
    return 0;
}

void txn__open_end(struct txn *txn)
{
    struct txn_slot *slot = txn->slot;
    struct txn_system *system = txn->worker->system;
    slot->parked = NULL;
    store_relaxed(&slot->phase, PHASE_NONE);
    store_relaxed(&slot->session_id, 0);
    store_release(&slot->used, 0);
    atomic_fetch_sub(&system->open, 1);
    arena_destroy(&txn->arena);
    free(txn);
}

void txn_park(struct txn *txn)
{
    ASSERT(txn->opened && txn->worker->current == txn);
    struct txn_slot *slot = txn->slot;
    txn__unlock_row(txn);
    if (!txn__reads_park(txn))
        txn__conflict(txn, TXN_CAUSE_READ); /* could not be validated any more */
    txn__walks_close(txn);
    txn->notes = NULL;
    if (txn__latest_level(txn) && !txn->readonly)
        txn__snapshot_drop(slot); /* the next statement takes another */
    txn->worker->current = NULL;
    txn->worker->seen_ts = txn->seen_ts;
    epoch_leave(txn->worker->thread.epoch);
    bool writes = !txn->readonly;
    if (writes && MUTATION(PARKED_BEHIND_GATE)) {
        txn__gate_leave_writer(slot);
        MUTATION_POINT(PARKING);
    }
    store_seq_cst(&slot->phase, PHASE_PARKED); /* from here on others may claim it */
    if (writes && !MUTATION(PARKED_BEHIND_GATE))
        txn__gate_leave_writer(slot); /* whoever has closed the gate finds it parked */
}

/* Takes a parked transaction to oneself. */
static bool claim(struct txn_slot *slot, uint32_t phase)
{
    uint32_t parked = PHASE_PARKED;
    return atomic_compare_exchange_strong(&slot->phase, &parked, phase);
}

/* Another has ended it: what is left is memory. */
static int resume_ended(struct txn *txn)
{
    int rc = diag_set(txn->stop, "%s", txn->reason);
    if (txn->owner != NULL)
        txn__locks_end(txn);
    txn__open_end(txn);
    return rc;
}

bool txn_was_ended(const struct txn *txn)
{
    return load_acquire(&txn->slot->phase) == PHASE_ENDED;
}

int txn_resume(struct txn *txn)
{
    struct txn_worker *worker = txn->home;
    struct txn_slot *slot = txn->slot;
    ASSERT(worker->current == NULL);
    if (txn_was_ended(txn))
        return resume_ended(txn);
    /* The gate first: while it waits there it is still parked, and whoever owns the gate and meets
     * what it has written can roll it back. */
    bool writes = load_relaxed(&slot->readonly) == 0;
    if (writes && !MUTATION(RESUMED_BEFORE_GATE))
        txn__gate_enter_writer(worker->system, slot);
    for (unsigned turn = 0; !claim(slot, PHASE_RUNNING); spin_wait(&turn)) {
        if (load_acquire(&slot->phase) != PHASE_ENDED)
            continue; /* who has claimed it ends it, or lets go: it was not the one he had met */
        if (writes)
            txn__gate_leave_writer(slot);
        return resume_ended(txn);
    }
    if (writes && MUTATION(RESUMED_BEFORE_GATE))
        txn__gate_enter_writer(worker->system, slot);
    epoch_enter(worker->thread.epoch);
    worker->current = txn;
    worker->begun++;
    if (txn__latest_level(txn) && !txn->readonly) {
        store_relaxed(&slot->began_ns, clock_monotonic_ns(worker->system->clock));
        txn__snapshot_take(txn);
    }
    return 0;
}

/* The rollback of a claimed transaction by another worker than its own. */
static void abort_claimed(struct txn_worker *worker, struct txn *txn, int code, const char *reason)
{
    struct txn_slot *slot = txn->slot;
    txn->worker = worker;
    epoch_enter(worker->thread.epoch);
    txn__abort_writes(txn);
    epoch_leave(worker->thread.epoch);
    txn__snapshot_drop(slot);
    if (txn->owner != NULL)
        lock_release_all(txn->owner);
    txn__count(&worker->counters->rollbacks);
    txn__count(&worker->counters->aborts[TXN_CAUSE_CANCELLED]);
    txn->worker = txn->home;
    txn->active = false;
    txn->stop = code;
    txn->reason = reason;
    store_release(&slot->phase, PHASE_ENDED);
}

bool txn__claim_and_abort(struct txn_worker *worker, struct txn_slot *slot,
                          const struct txn_descriptor *descriptor, int code, const char *reason)
{
    if (!claim(slot, PHASE_CLAIMED))
        return false;
    if (descriptor != NULL && slot->parked->descriptor != descriptor) {
        store_release(&slot->phase, PHASE_PARKED); /* another one has the slot by now */
        return false;
    }
    abort_claimed(worker, slot->parked, code, reason);
    return true;
}

void txn_abort_parked(struct txn *txn, const char *reason)
{
    ASSERT(txn->exclusive);
    struct txn_system *system = txn->worker->system;
    uint32_t high = load_seq_cst(&system->slot_high);
    for (uint32_t i = system->worker_max; i < high; i++) {
        struct txn_slot *slot = &system->slots[i];
        for (unsigned turn = 0; load_acquire(&slot->phase) == PHASE_CLAIMED; spin_wait(&turn))
            continue; /* by who has met one in this slot that is gone by now, and lets go */
        if (load_acquire(&slot->phase) == PHASE_PARKED && !load_relaxed(&slot->readonly))
            txn__claim_and_abort(txn->worker, slot, NULL, ERROR_CANCELLED, reason);
    }
}

int txn__cancelled(struct txn *txn)
{
    if (load_relaxed(&txn->slot->cancel) != load_relaxed(&txn->slot->begun))
        return 0; /* an earlier one was meant */
    diag_set(ERROR_CANCELLED, "%s",
             "the transaction was cancelled: its snapshot was held for too long");
    return txn__stop(txn, ERROR_CANCELLED, TXN_CAUSE_CANCELLED);
}

/* When the snapshot in the slot was taken, as far as known; 0 for none. Samples those that do not
 * note it. */
static uint64_t began_ns(struct txn_slot *slot, uint64_t now_ns)
{
    if (load_acquire(&slot->snapshot) == SNAPSHOT_NONE)
        return 0; /* parked under read committed it holds none */
    if (load_acquire(&slot->phase) != PHASE_NONE)
        return load_relaxed(&slot->began_ns);
    uint64_t begun = load_relaxed(&slot->begun);
    if (atomic_exchange(&slot->sampled_begun, begun) != begun)
        store_relaxed(&slot->sampled_ns, now_ns);
    return load_relaxed(&slot->sampled_ns);
}

/* False: it is not parked (any more). *same: it was `begun`, and has been ended. */
static bool cancel_parked(struct txn_worker *worker, struct txn_slot *slot, uint64_t begun,
                          const char *reason, bool *same)
{
    if (!claim(slot, PHASE_CLAIMED))
        return false;
    *same = load_acquire(&slot->begun) == begun;
    if (*same)
        abort_claimed(worker, slot->parked, ERROR_CANCELLED, reason);
    else
        store_release(&slot->phase, PHASE_PARKED);
    return true;
}

/* A parked one: of those that may write only where the gate is open. */
static bool may_claim(struct txn_worker *worker, bool writes)
{
    return !writes || MUTATION(CANCELLED_IN_GATE) ||
           txn__gate_try_writer(worker->system, worker->slot);
}

/* `begun` says which of those that have the slot one after the other. At the gate nobody is waited for. */
static bool cancel(struct txn_worker *worker, struct txn_slot *slot, uint64_t begun,
                   const char *reason)
{
    bool same;
    if (load_acquire(&slot->phase) == PHASE_PARKED) {
        bool writes = !load_relaxed(&slot->readonly);
        if (!may_claim(worker, writes))
            return false; /* not now */
        bool was_parked = cancel_parked(worker, slot, begun, reason, &same);
        if (writes && !MUTATION(CANCELLED_IN_GATE))
            txn__gate_leave_writer(worker->slot);
        if (was_parked)
            return same;
    }
    if (load_acquire(&slot->snapshot) == SNAPSHOT_NONE)
        return false;
    store_release(&slot->cancel, begun);
    return true;
}

unsigned txn_cancel_session(struct txn_worker *worker, uint64_t session_id)
{
    ASSERT(worker->current == NULL && !worker->apart);
    struct txn_system *system = worker->system;
    unsigned count = 0;
    uint32_t high = load_seq_cst(&system->slot_high);
    for (uint32_t i = 0; i < high; i++) {
        struct txn_slot *slot = &system->slots[i];
        uint64_t begun = load_acquire(&slot->begun);
        if (load_relaxed(&slot->session_id) == session_id && load_relaxed(&slot->used) != 0)
            count += cancel(worker, slot, begun, "the transaction was cancelled on request");
    }
    return count;
}

unsigned txn_cancel_older(struct txn_worker *worker, uint64_t age_ns)
{
    ASSERT(worker->current == NULL && !worker->apart);
    struct txn_system *system = worker->system;
    uint64_t now_ns = clock_monotonic_ns(system->clock);
    unsigned count = 0;
    uint32_t high = load_seq_cst(&system->slot_high);
    for (uint32_t i = 0; i < high; i++) {
        struct txn_slot *slot = &system->slots[i];
        uint64_t begun = load_acquire(&slot->begun);
        bool limited = load_relaxed(&slot->used) != 0 && !load_relaxed(&slot->keeps);
        uint64_t since_ns = limited ? began_ns(slot, now_ns) : 0;
        if (since_ns != 0 && now_ns > since_ns && now_ns - since_ns > age_ns)
            count += cancel(worker, slot, begun,
                            "the transaction was cancelled: its snapshot was held for too long");
    }
    return count;
}

bool txn_oldest_get(const struct txn_system *system, struct txn_oldest *out)
{
    uint64_t now_ns = clock_monotonic_ns(system->clock);
    uint32_t high = load_seq_cst(&system->slot_high);
    bool found = false;
    for (uint32_t i = 0; i < high; i++) {
        struct txn_slot *slot = &system->slots[i];
        uint64_t snapshot = load_acquire(&slot->snapshot);
        if (snapshot == SNAPSHOT_NONE)
            continue;
        snapshot &= ~SNAPSHOT_STARTING;
        if (found && snapshot >= out->snapshot_ts)
            continue;
        uint64_t since_ns = began_ns(slot, now_ns);
        *out = (struct txn_oldest){
            .snapshot_ts = snapshot,
            .session_id = load_relaxed(&slot->session_id),
            .age_ns = since_ns != 0 && since_ns < now_ns ? now_ns - since_ns : 0,
            .parked = load_relaxed(&slot->phase) == PHASE_PARKED,
            .readonly = load_relaxed(&slot->readonly) != 0,
        };
        found = true;
    }
    return found;
}
