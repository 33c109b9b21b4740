/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The shared part of transactions: worker slots, snapshots, the exclusive gate, memory of versions
 * and rows.
 *
 * Snapshots (invariant 12). A snapshot is begun by publishing a timestamp that is not above it,
 * marked as starting; a full fence; reading the clock (or V) again; and publishing that. A
 * collector reads the clock, fences, and scans the slots: either it finds the publication, or the
 * snapshot's second reading is not below what the collector read. Between the two stores the slot
 * says *starting*, and everything from its timestamp on is kept, since the final one is not known
 * yet.
 *
 * The gate (invariant 24). A writer sets its slot's `writing`, fences, and looks at the gate; the
 * one who closes the gate sets it, fences, and waits until no other slot is writing. At least one
 * of two sees the other. New writers wait outside while it is closed.
 */
#include "txn/txn_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

struct version txn__version_dead = {.flags = VERSION_TOMBSTONE};

int txn_system_new(const struct txn_system_options *options, struct txn_system **out)
{
    struct txn_system *system = aligned_alloc(CACHE_LINE_SIZE, sizeof *system);
    if (system == NULL)
        return diag_set(ERROR_MEMORY, "no memory for the transaction system");
    memset(system, 0, sizeof *system);
    system->wal = options->wal;
    system->heap = options->heap;
    system->worker_max = options->worker_max;
    system->slots = aligned_alloc(CACHE_LINE_SIZE, options->worker_max * sizeof *system->slots);
    system->counters =
        aligned_alloc(CACHE_LINE_SIZE, options->worker_max * sizeof *system->counters);
    system->workers = calloc(options->worker_max, sizeof(struct txn_worker *));
    system->epochs = options->epochs;
    if (system->slots == NULL || system->counters == NULL || system->workers == NULL) {
        free(system->workers);
        free(system->counters);
        free(system->slots);
        free(system);
        return diag_set(ERROR_MEMORY, "no memory for %u transaction workers", options->worker_max);
    }
    memset(system->slots, 0, options->worker_max * sizeof *system->slots);
    memset(system->counters, 0, options->worker_max * sizeof *system->counters);
    for (unsigned i = 0; i < options->worker_max; i++)
        store_relaxed(&system->slots[i].snapshot, SNAPSHOT_NONE);
    *out = system;
    return 0;
}

void txn_system_delete(struct txn_system *system)
{
    free(system->workers);
    free(system->counters);
    free(system->slots);
    free(system);
}

struct wal *txn_system_wal(struct txn_system *system)
{
    return system->wal;
}

static int slot_take(struct txn_system *system, unsigned *number)
{
    for (unsigned i = 0; i < system->worker_max; i++) {
        uint32_t unused = 0;
        if (atomic_compare_exchange_strong(&system->slots[i].used, &unused, 1)) {
            *number = i;
            return 0;
        }
    }
    return diag_set(ERROR_INVALID, "all %u transaction workers are in use", system->worker_max);
}

int txn_worker_open(struct txn_system *system, struct txn_worker **out)
{
    unsigned number = 0;
    int rc = slot_take(system, &number);
    if (rc != 0)
        return rc;
    struct txn_worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL) {
        rc = diag_set(ERROR_MEMORY, "no memory for a transaction worker");
        goto fail_slot;
    }
    worker->system = system;
    worker->number = number;
    worker->slot = &system->slots[number];
    worker->counters = &system->counters[number];
    worker->txn.worker = worker;
    random_create(&worker->random, random_seed());
    arena_create(&worker->txn.arena, 1 << 20);
    if ((rc = heap_cache_open(system->heap, &worker->thread.heap)) != 0)
        goto fail_arena;
    if ((rc = epoch_slot_open(system->epochs, &worker->thread.epoch)) != 0)
        goto fail_heap;
    if ((rc = wal_buffer_open(system->wal, &worker->log)) != 0)
        goto fail_epoch;
    txn__gate_enter_writer(worker); /* whoever owns the gate may be going over all workers */
    system->workers[number] = worker;
    txn__gate_leave_writer(worker);
    *out = worker;
    return 0;

fail_epoch:
    epoch_slot_close(worker->thread.epoch);
fail_heap:
    heap_cache_close(worker->thread.heap);
fail_arena:
    arena_destroy(&worker->txn.arena);
    free(worker);
fail_slot:
    store_release(&system->slots[number].used, 0);
    return rc;
}

void txn_worker_close(struct txn_worker *worker)
{
    ASSERT(!worker->txn.active);
    txn__gate_enter_writer(worker); /* whoever owns the gate may look into our queue */
    txn__garbage_destroy(worker);
    worker->system->workers[worker->number] = NULL;
    txn__gate_leave_writer(worker);
    wal_buffer_close(worker->log);
    epoch_slot_close(worker->thread.epoch);
    while (worker->free_descriptors != NULL) {
        struct txn_descriptor *descriptor = worker->free_descriptors;
        worker->free_descriptors = descriptor->next_free;
        heap_free(worker->thread.heap, descriptor, sizeof *descriptor);
    }
    heap_cache_close(worker->thread.heap);
    arena_destroy(&worker->txn.arena);
    store_release(&worker->slot->used, 0);
    free(worker);
}

struct tree_thread *txn_worker_thread(struct txn_worker *worker)
{
    return &worker->thread;
}

struct txn_system *txn_worker_system(struct txn_worker *worker)
{
    return worker->system;
}

uint64_t txn_worker_seen_ts(const struct txn_worker *worker)
{
    return worker->seen_ts;
}

void txn__version_free(void *object, void *heap_cache)
{
    struct version *version = object;
    heap_free(heap_cache, version, version_alloc_size(version->size));
}

void txn__row_free(void *object, void *heap_cache)
{
    struct row *row = object;
    heap_free(heap_cache, row, item_alloc_size(row->key_size));
}

void txn__entry_free(void *object, void *heap_cache)
{
    struct entry *entry = object;
    heap_free(heap_cache, entry, item_alloc_size(entry->key_size));
}

void txn__version_retire(struct txn_worker *worker, struct version *version)
{
    epoch_retire(worker->thread.epoch, version, txn__version_free, worker->thread.heap);
}

uint64_t txn__snapshot_take(struct txn_worker *worker, bool at_visible)
{
    struct wal *wal = worker->system->wal;
    _Atomic uint64_t *published = &worker->slot->snapshot;
    uint64_t guess = at_visible ? wal_visible_ts(wal) : wal_clock(wal);
    store_seq_cst(published, guess | SNAPSHOT_STARTING);
    fence_seq_cst(published);
    uint64_t snapshot = at_visible ? wal_visible_ts(wal) : wal_clock(wal);
    store_release(published, snapshot);
    return snapshot;
}

void txn__snapshot_drop(struct txn_worker *worker)
{
    store_release(&worker->slot->snapshot, SNAPSHOT_NONE);
}

void txn__gate_enter_writer(struct txn_worker *worker)
{
    struct txn_slot *slot = worker->slot;
    _Atomic uint32_t *gate = &worker->system->gate;
    unsigned turn = 0;
    for (;;) {
        atomic_exchange(&slot->writing, 1); /* seq_cst: before looking at the gate */
        if (load_seq_cst(gate) == 0)
            return;
        store_release(&slot->writing, 0);
        while (load_acquire(gate) != 0)
            spin_wait(&turn);
    }
}

void txn__gate_leave_writer(struct txn_worker *worker)
{
    store_release(&worker->slot->writing, 0);
}

static void gate_wait_others(struct txn_worker *worker)
{
    struct txn_system *system = worker->system;
    unsigned turn = 0;
    for (unsigned i = 0; i < system->worker_max; i++)
        while (i != worker->number && load_seq_cst(&system->slots[i].writing) != 0)
            spin_wait(&turn);
}

void txn__gate_close(struct txn_worker *worker)
{
    _Atomic uint32_t *gate = &worker->system->gate;
    unsigned turn = 0;
    uint32_t open = 0;
    while (!atomic_compare_exchange_strong(gate, &open, worker->number + 1)) {
        open = 0;
        spin_wait(&turn);
    }
    gate_wait_others(worker);
    store_release(&worker->slot->writing, 1);
    txn__count(&worker->counters->gate_entries);
}

bool txn__gate_upgrade(struct txn_worker *worker)
{
    uint32_t open = 0;
    if (!atomic_compare_exchange_strong(&worker->system->gate, &open, worker->number + 1))
        return false;
    gate_wait_others(worker);
    txn__count(&worker->counters->gate_entries);
    return true;
}

void txn__gate_open(struct txn_worker *worker)
{
    store_release(&worker->slot->writing, 0);
    store_release(&worker->system->gate, 0);
}

void txn_stats_get(const struct txn_system *system, struct txn_stats *out)
{
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < system->worker_max; i++) {
        const struct txn_counters *counters = &system->counters[i];
        out->commits += load_relaxed(&counters->commits);
        out->rollbacks += load_relaxed(&counters->rollbacks);
        out->conflicts += load_relaxed(&counters->conflicts);
        out->retries += load_relaxed(&counters->retries);
        out->gate_entries += load_relaxed(&counters->gate_entries);
        out->rows_queued += load_relaxed(&counters->rows_queued);
    }
}
