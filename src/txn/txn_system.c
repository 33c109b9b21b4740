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
 * Time (invariant 35). The same with the time at which rows have expired for a transaction: it says that it is
 * about to read the clock, fences, reads it and says what it has read; who asks for the least time that counts
 * reads the clock, fences, and scans.
 *
 * The gate (invariant 24). A writer sets its slot's `writing`, fences, and looks at the gate; the
 * one who closes the gate sets it, fences, and waits until no other slot is writing. At least one
 * of two sees the other. New writers wait outside while it is closed. A parked transaction is not
 * writing: when it is resumed it enters like a new one, and if what it has written is in the way of
 * the gate's owner, it is rolled back (txn_park.c).
 */
#include "txn/txn_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

struct version txn__version_dead = {.flags = VERSION_TOMBSTONE};

enum { PARKED_MAX_DEFAULT = 1024 };

static void *zeroed(size_t count, size_t size)
{
    size_t bytes = (count * size + CACHE_LINE_SIZE - 1) / CACHE_LINE_SIZE * CACHE_LINE_SIZE;
    void *memory = aligned_alloc(CACHE_LINE_SIZE, bytes);
    return memory == NULL ? NULL : memset(memory, 0, bytes);
}

static void system_free(struct txn_system *system)
{
    pthread_mutex_destroy(&system->deferred_mutex);
    free(system->deferred);
    free(system->changes);
    free(system->conflicts);
    free(system->workers);
    free(system->counters);
    free(system->slots);
    free(system);
}

int txn_system_new(const struct txn_system_options *options, struct txn_system **out)
{
    struct txn_system *system = zeroed(1, sizeof *system);
    if (system == NULL)
        return diag_set(ERROR_MEMORY, "no memory for the transaction system");
    unsigned workers = options->worker_max;
    system->wal = options->wal;
    system->heap = options->heap;
    system->epochs = options->epochs;
    system->clock = options->clock != NULL ? options->clock : clock_system();
    system->worker_max = workers;
    system->slot_max =
        workers + (options->parked_max != 0 ? options->parked_max : PARKED_MAX_DEFAULT);
    system->slots = zeroed(system->slot_max, sizeof *system->slots);
    system->counters = zeroed(workers, sizeof *system->counters);
    system->conflicts = zeroed(workers, sizeof *system->conflicts);
    system->changes = zeroed(workers, sizeof *system->changes);
    system->deferred = zeroed(workers, sizeof *system->deferred);
    system->workers = zeroed(workers, sizeof(struct txn_worker *));
    pthread_mutex_init(&system->deferred_mutex, NULL);
    if (system->slots == NULL || system->counters == NULL || system->conflicts == NULL ||
        system->changes == NULL || system->deferred == NULL || system->workers == NULL ||
        txn__locks_create(system, options->escalation_rows) != 0) {
        system_free(system);
        return diag_set(ERROR_MEMORY, "no memory for %u transaction workers", workers);
    }
    for (unsigned i = 0; i < system->slot_max; i++)
        store_relaxed(&system->slots[i].snapshot, SNAPSHOT_NONE);
    for (unsigned i = 0; i < workers; i++) {
        pthread_mutex_init(&system->conflicts[i].mutex, NULL);
        pthread_mutex_init(&system->deferred[i].mutex, NULL);
        system->deferred[i].last = &system->deferred[i].first;
    }
    *out = system;
    return 0;
}

void txn_system_delete(struct txn_system *system)
{
    txn__deferred_destroy(system);
    txn__changes_destroy(system);
    for (unsigned i = 0; i < system->worker_max; i++) {
        pthread_mutex_destroy(&system->conflicts[i].mutex);
        pthread_mutex_destroy(&system->deferred[i].mutex);
    }
    lock_table_delete(system->locks);
    pthread_mutex_destroy(&system->lock_mutex);
    free(system->locked_spaces);
    system_free(system);
}

struct wal *txn_system_wal(struct txn_system *system)
{
    return system->wal;
}

struct lock_table *txn_system_locks(struct txn_system *system)
{
    return system->locks;
}

static void slot_high_raise(struct txn_system *system, uint32_t until)
{
    uint32_t high = load_relaxed(&system->slot_high);
    while (high < until && !atomic_compare_exchange_weak(&system->slot_high, &high, until))
        ;
}

/* Those who scan the slots read slot_high after their fence: raised before the slot is used. */
int txn__slot_take(struct txn_system *system, unsigned from, unsigned until, unsigned *number)
{
    for (unsigned i = from; i < until; i++) {
        uint32_t unused = 0;
        if (load_relaxed(&system->slots[i].used) == 0 &&
            atomic_compare_exchange_strong(&system->slots[i].used, &unused, 1)) {
            slot_high_raise(system, i + 1);
            *number = i;
            return 0;
        }
    }
    return ERROR_BUSY;
}

int txn_worker_open(struct txn_system *system, struct txn_worker **out)
{
    unsigned number = 0;
    int rc = txn__slot_take(system, 0, system->worker_max, &number);
    if (rc != 0)
        return diag_set(ERROR_INVALID, "all %u transaction workers are in use", system->worker_max);
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
    worker->txn.slot = worker->slot;
    random_create(&worker->random, random_seed());
    arena_create_profiled(&worker->txn.arena, 1 << 20, &worker->arenas);
    if ((rc = heap_cache_open(system->heap, &worker->thread.heap)) != 0)
        goto fail_arena;
    if ((rc = epoch_slot_open(system->epochs, &worker->thread.epoch)) != 0)
        goto fail_heap;
    if ((rc = wal_buffer_open(system->wal, &worker->log)) != 0)
        goto fail_epoch;
    txn__gate_enter_writer(system, worker->slot); /* whoever owns the gate may be going over all
                                                     workers */
    system->workers[number] = worker;
    txn__gate_leave_writer(worker->slot);
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

void txn_worker_set_apart(struct txn_worker *worker)
{
    ASSERT(worker->current == NULL && worker->begun == 0);
    worker->apart = true;
}

void txn_worker_pause_set(struct txn_worker *worker, void (*pause)(void *arg), void *arg)
{
    worker->pause = pause;
    worker->pause_arg = arg;
}

void txn_worker_close(struct txn_worker *worker)
{
    ASSERT(worker->current == NULL);
    struct txn_system *system = worker->system;
    txn__gate_enter_writer(system,
                           worker->slot); /* whoever owns the gate may look into our queue */
    txn__garbage_destroy(worker);
    system->workers[worker->number] = NULL;
    txn__gate_leave_writer(worker->slot);
    lock_owner_delete(worker->owner);
    wal_buffer_close(worker->log);
    epoch_slot_close(worker->thread.epoch);
    while (worker->free_descriptors != NULL) {
        struct txn_descriptor *descriptor = worker->free_descriptors;
        worker->free_descriptors = descriptor->next_free;
        heap_free_as(worker->thread.heap, descriptor, sizeof *descriptor, HEAP_DESCRIPTOR);
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

unsigned txn_worker_number(const struct txn_worker *worker)
{
    return worker->number;
}

void txn_worker_arg_set(struct txn_worker *worker, void *arg)
{
    worker->arg = arg;
}

void *txn_worker_arg(const struct txn_worker *worker)
{
    return worker->arg;
}

struct txn_system *txn_worker_system(struct txn_worker *worker)
{
    return worker->system;
}

uint64_t txn_worker_seen_ts(const struct txn_worker *worker)
{
    return worker->seen_ts;
}

void txn__row_free(void *object, void *heap_cache)
{
    struct row *row = object;
    heap_free_as(heap_cache, row, item_alloc_size(row->key_size), HEAP_ROW);
}

void txn__entry_free(void *object, void *heap_cache)
{
    struct entry *entry = object;
    heap_free_as(heap_cache, entry, item_alloc_size(entry->key_size), HEAP_ENTRY);
}

void txn__version_retire(struct txn_worker *worker, struct version *version)
{
    epoch_retire(worker->thread.epoch, version, txn__version_free, worker->thread.heap);
}

static uint64_t snapshot_source(const struct txn *txn)
{
    const struct wal *wal = txn->worker->system->wal;
    if (txn->at_durable)
        return wal_durable_ts(wal);
    return txn->at_visible && !MUTATION(READ_AT_CLOCK) ? wal_visible_ts(wal) : wal_clock(wal);
}

static void now_drop(struct txn_slot *slot)
{
    if (load_relaxed(&slot->now_ms) != SLOT_NOW_NONE)
        store_release(&slot->now_ms, SLOT_NOW_NONE);
}

void txn__snapshot_take(struct txn *txn)
{
    _Atomic uint64_t *published = &txn->slot->snapshot;
    txn->now_ms = 0;
    now_drop(txn->slot);
    store_seq_cst(published, snapshot_source(txn) | SNAPSHOT_STARTING);
    fence_seq_cst(published);
    txn->snapshot = snapshot_source(txn);
    MUTATION_POINT(SNAPSHOT_READ);
    store_release(published, txn->snapshot);
}

void txn__snapshot_drop(struct txn_slot *slot)
{
    now_drop(slot);
    store_release(&slot->snapshot, SNAPSHOT_NONE);
}

/* Behind the snapshot: whoever has written what that shows had an earlier time, or the same (35). */
uint64_t txn__now_ms(struct txn *txn)
{
    _Atomic uint64_t *published = &txn->slot->now_ms;
    if (txn->now_ms != 0)
        return txn->now_ms;
    store_seq_cst(published, SLOT_NOW_TAKEN);
    fence_seq_cst(published);
    uint64_t now_ms = clock_realtime_ms(txn->worker->system->clock);
    txn->now_ms = now_ms < SLOT_NOW_MIN ? SLOT_NOW_MIN : now_ms;
    store_release(published, txn->now_ms);
    return txn->now_ms;
}

/* Either the look at a slot finds that its time is being taken, or that is taken from a clock that has been
 * read here before. */
uint64_t txn_horizon_ms(struct txn_system *system)
{
    uint64_t horizon_ms = clock_realtime_ms(system->clock), now_ms;
    unsigned turn = 0;
    fence_seq_cst(&system->slot_high);
    uint32_t high = load_seq_cst(&system->slot_high);
    for (uint32_t i = 0; i < high && !MUTATION(TIME_UNTOLD); i++) {
        while ((now_ms = load_seq_cst(&system->slots[i].now_ms)) == SLOT_NOW_TAKEN)
            spin_wait(&turn);
        if (now_ms != SLOT_NOW_NONE && now_ms < horizon_ms)
            horizon_ms = now_ms;
    }
    return horizon_ms;
}

int txn_clock_reserve(struct txn_worker *worker)
{
    return wal_reserve(worker->log, 0);
}

void txn_clock_raise(struct txn_worker *worker, uint64_t ts)
{
    struct wal *wal = worker->system->wal;
    wal_clock_raise(wal, ts);
    wal_begin(worker->log);
    wal_append(worker->log, wal_clock_next(wal), "", 0);
    wal_end(worker->log);
}

bool txn__gate_try_writer(struct txn_system *system, struct txn_slot *slot)
{
    atomic_exchange(&slot->writing, 1); /* seq_cst: before looking at the gate */
    if (load_seq_cst(&system->gate) == 0 || MUTATION(GATE_UNSEEN))
        return true;
    store_release(&slot->writing, 0);
    return false;
}

bool txn_gate_is_closed(struct txn_system *system)
{
    return load_relaxed(&system->gate) != 0;
}

void txn__gate_enter_writer(struct txn_system *system, struct txn_slot *slot)
{
    unsigned turn = 0;
    while (!txn__gate_try_writer(system, slot))
        while (load_acquire(&system->gate) != 0) {
            MUTATION_POINT(GATE_WAIT);
            spin_wait(&turn);
        }
}

void txn__gate_leave_writer(struct txn_slot *slot)
{
    store_release(&slot->writing, 0);
}

static void gate_wait_others(struct txn_system *system, const struct txn_slot *own)
{
    unsigned turn = 0;
    uint32_t high = load_seq_cst(&system->slot_high);
    for (uint32_t i = 0; i < high; i++)
        while (&system->slots[i] != own && load_seq_cst(&system->slots[i].writing) != 0 &&
               !MUTATION(GATE_CLOSED_AT_ONCE)) {
            MUTATION_POINT(GATE_CLOSING);
            spin_wait(&turn);
        }
}

void txn__gate_close(struct txn_worker *worker, struct txn_slot *slot)
{
    struct txn_system *system = worker->system;
    unsigned turn = 0;
    uint32_t open = 0;
    while (!atomic_compare_exchange_strong(&system->gate, &open, worker->number + 1)) {
        open = 0;
        spin_wait(&turn);
    }
    gate_wait_others(system, slot);
    store_release(&slot->writing, 1);
    txn__count(&worker->counters->gate_entries);
}

bool txn__gate_upgrade(struct txn_worker *worker, struct txn_slot *slot)
{
    uint32_t open = 0;
    if (!atomic_compare_exchange_strong(&worker->system->gate, &open, worker->number + 1))
        return false;
    gate_wait_others(worker->system, slot);
    txn__count(&worker->counters->gate_entries);
    return true;
}

void txn__gate_open(struct txn_system *system, struct txn_slot *slot)
{
    store_release(&slot->writing, 0);
    store_release(&system->gate, 0);
}
