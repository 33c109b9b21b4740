/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Garbage: versions that no snapshot needs, entries that lead to none, rows that have ended.
 *
 * A version with timestamp a, whose successor has b, is what the snapshots in [a, b) see. Snapshots
 * are (invariant 12) those registered in the worker slots, D, each cut that may still become D, and
 * all that begin from now on. So with `now` read from the clock, then a fence, then "no cut is
 * being taken" and the last cut's C, then D, then the slots, a version may go when b <= now and
 *   - it lies outside of [D, last cut]: b <= D, or a > last cut, and
 *   - no registered snapshot is in [a, b), nor may one that is just starting be.
 * The newest committed version of a row always stays (txn_write.c relies on it).
 *
 * A row stands in at most one worker's queue: whoever sets ROW_QUEUED owns its place, and only that
 * worker ends the row. It is looked at when every snapshot has passed the timestamp it was queued
 * for. A row that is updated very often is also shortened in between, above the last cut, where its
 * writers would otherwise pile up versions for as long as a flush takes. ROW_PRUNING keeps two from
 * shortening the same chain.
 */
#include "txn/txn_private.h"

#include <stdlib.h>

#include "base/error.h"

enum { COLLECT_EVERY = 32, COLLECT_BUDGET = 96, HOT_EVERY = 16, SNAPSHOTS_MAX = 256 };

struct points {
    uint64_t now; /* what begins later is at least this; lowered by snapshots that are starting */
    uint64_t durable; /* D */
    uint64_t cut;     /* C of the last cut */
    uint64_t horizon; /* the smallest of all */
    unsigned count;
    uint64_t snapshots[SNAPSHOTS_MAX];
};

/* False while a cut is being taken, or there are too many snapshots to list. */
static bool points_take(struct txn_worker *worker, struct points *points)
{
    struct txn_system *system = worker->system;
    points->now = wal_clock(system->wal);
    points->count = 0;
    fence_seq_cst(&worker->slot->snapshot);
    if (!wal_cut_state(system->wal, &points->cut))
        return false;
    points->durable = wal_durable_ts(system->wal);
    uint64_t lowest = points->durable;
    for (unsigned i = 0; i < system->worker_max; i++) {
        uint64_t snapshot = load_seq_cst(&system->slots[i].snapshot);
        if (snapshot == SNAPSHOT_NONE)
            continue;
        if (snapshot & SNAPSHOT_STARTING) {
            snapshot &= ~SNAPSHOT_STARTING;
            if (snapshot < points->now)
                points->now = snapshot;
        } else {
            if (points->count == SNAPSHOTS_MAX)
                return false;
            points->snapshots[points->count++] = snapshot;
        }
        if (snapshot < lowest)
            lowest = snapshot;
    }
    points->horizon = lowest < points->now ? lowest : points->now;
    return true;
}

static bool needed(const struct points *points, uint64_t ts, uint64_t successor_ts)
{
    if (successor_ts > points->now)
        return true;
    if (successor_ts > points->durable && ts <= points->cut)
        return true;
    for (unsigned i = 0; i < points->count; i++)
        if (ts <= points->snapshots[i] && points->snapshots[i] < successor_ts)
            return true;
    return false;
}

/* The commit timestamp, or 0 for a version that is not committed. */
static uint64_t committed_ts(const struct version *version)
{
    uint64_t stamp = load_acquire(&version->stamp);
    if (!(stamp & STAMP_TAG))
        return stamp;
    uint64_t state = load_acquire(&txn__tag_owner(stamp)->state);
    return (state & STATE_MASK) == STATE_COMMITTED && !(version->flags & VERSION_LOCK)
               ? state >> STATE_TS_SHIFT
               : 0;
}

static struct version *newest_committed(struct row *row, uint64_t *ts)
{
    struct version *version = load_acquire(&row->newest);
    while (version != NULL && version != &txn__version_dead && (*ts = committed_ts(version)) == 0)
        version = load_acquire(&version->older);
    return version == &txn__version_dead ? NULL : version;
}

static void version_drop(struct txn_worker *worker, struct head *head, struct row *row,
                         struct version *version)
{
    if (head->version_dropped != NULL)
        head->version_dropped(head, worker, row, version);
    txn__version_retire(worker, version);
}

/* Unlinks what is not needed. `only_above_cut`: stops at the last cut, for a row that is being
 * updated all the time. */
static void chain_prune(struct txn_worker *worker, struct head *head, struct row *row,
                        const struct points *points, bool only_above_cut)
{
    if (atomic_fetch_or_explicit(&row->state, ROW_PRUNING, memory_order_acquire) & ROW_PRUNING)
        return;
    uint64_t successor_ts = 0;
    struct version *successor = newest_committed(row, &successor_ts);
    while (successor != NULL) {
        struct version *version = load_acquire(&successor->older);
        if (version == NULL)
            break;
        uint64_t ts = committed_ts(version);
        if (ts == 0 || (only_above_cut && ts <= points->cut))
            break;
        if (needed(points, ts, successor_ts)) {
            successor = version;
            successor_ts = ts;
        } else {
            store_release(&successor->older, load_relaxed(&version->older));
            version_drop(worker, head, row, version);
        }
    }
    atomic_fetch_and_explicit(&row->state, ~(uint32_t)ROW_PRUNING, memory_order_release);
}

static bool queue_push(struct garbage_queue *queue, struct garbage_entry entry)
{
    if (queue->count == queue->capacity) {
        size_t capacity = queue->capacity == 0 ? 1024 : 2 * queue->capacity;
        struct garbage_entry *entries = malloc(capacity * sizeof *entries);
        if (entries == NULL)
            return false;
        for (size_t i = 0; i < queue->count; i++)
            entries[i] = queue->entries[(queue->head + i) & (queue->capacity - 1)];
        free(queue->entries);
        *queue = (struct garbage_queue){entries, 0, queue->count, capacity};
    }
    queue->entries[(queue->head + queue->count++) & (queue->capacity - 1)] = entry;
    return true;
}

/* Puts a row whose ROW_QUEUED the worker owns into its queue. When memory is out the row is left to
 * its next writer. */
static void row_requeue(struct txn_worker *worker, struct head *head, struct row *row, uint64_t ts)
{
    if (!queue_push(&worker->garbage, (struct garbage_entry){head, row, ts}))
        atomic_fetch_and(&row->state, ~(uint32_t)ROW_QUEUED);
}

void txn__garbage_add(struct txn_worker *worker, struct head *head, struct row *row, uint64_t ts)
{
    if (!(atomic_fetch_or(&row->state, ROW_QUEUED) & ROW_QUEUED)) {
        row_requeue(worker, head, row, ts);
        return;
    }
    struct points points;
    if (random_below(&worker->random, HOT_EVERY) == 0 && points_take(worker, &points))
        chain_prune(worker, head, row, &points, true);
}

struct row_end {
    struct version *last; /* what was on top when the row was found to have ended */
};

/* Under the latch of the leaf (invariant 14). Called once; a row for which it says true is
 * unlinked. */
static bool row_end(struct item *item, void *arg)
{
    struct row_end *end = arg;
    struct version *expected = end->last;
    return atomic_compare_exchange_strong(&((struct row *)item)->newest, &expected,
                                          &txn__version_dead);
}

/*
 * A row of a space with secondary indexes is freed only after two rounds of reclamation. Whoever
 * unlinks a version removes the entries that led to it right afterwards, so at the end of the row
 * an entry may still lead to it, until that thread has left its epoch. Until then readers find the
 * row, among them such as came in after it was retired: the second round waits for these.
 */
static void row_retire_again(void *row, void *arg)
{
    struct tree_thread *thread = arg;
    epoch_retire(thread->epoch, row, txn__row_free, thread->heap);
}

static void row_retire(struct txn_worker *worker, const struct head *head, struct row *row)
{
    struct tree_thread *thread = &worker->thread;
    if (head->version_dropped != NULL)
        epoch_retire(thread->epoch, row, row_retire_again, thread);
    else
        epoch_retire(thread->epoch, row, txn__row_free, thread->heap);
}

/* True when the row has ended and is gone. */
static bool row_try_end(struct txn_worker *worker, struct head *head, struct row *row,
                        const struct points *points)
{
    struct row_end end = {load_acquire(&row->newest)};
    if (end.last != NULL) {
        uint64_t ts = committed_ts(end.last);
        bool ended = ts != 0 && (end.last->flags & VERSION_TOMBSTONE) && ts <= points->horizon &&
                     load_acquire(&end.last->older) == NULL;
        if (!ended)
            return false;
    }
    if (!tree_remove(head->tree, &worker->thread, (struct item *)row, row_end, &end))
        return false;
    if (end.last != NULL)
        version_drop(worker, head, row, end.last);
    row_retire(worker, head, row);
    return true;
}

/* Whether something of the row will have to be freed later; *ts is then what snapshots have to
 * pass. */
static bool row_has_garbage(struct row *row, uint64_t *ts)
{
    *ts = 0;
    struct version *top = load_acquire(&row->newest);
    if (top == NULL)
        return true;
    if (top == &txn__version_dead)
        return false;
    struct version *version = newest_committed(row, ts);
    return version != NULL &&
           (load_acquire(&version->older) != NULL || (version->flags & VERSION_TOMBSTONE));
}

static void row_collect(struct txn_worker *worker, struct garbage_entry *entry,
                        const struct points *points)
{
    struct row *row = entry->row;
    chain_prune(worker, entry->head, row, points, false);
    if (row_try_end(worker, entry->head, row, points))
        return;
    uint64_t ts;
    if (row_has_garbage(row, &ts)) {
        row_requeue(worker, entry->head, row, ts);
        return;
    }
    /* A commit that came in between has seen the row queued and left it to us: look again after
     * giving up the place. */
    atomic_fetch_and(&row->state, ~(uint32_t)ROW_QUEUED);
    if (row_has_garbage(row, &ts))
        txn__garbage_add(worker, entry->head, row, ts);
}

static void collect(struct txn_worker *worker, size_t budget)
{
    struct garbage_queue *queue = &worker->garbage;
    struct points points;
    if (queue->count == 0 || !points_take(worker, &points))
        return;
    epoch_enter(worker->thread.epoch);
    size_t seen = queue->count;
    while (budget-- > 0 && seen-- > 0 && queue->count > 0) {
        struct garbage_entry entry = queue->entries[queue->head];
        if (entry.ts > points.horizon)
            break;
        queue->head = (queue->head + 1) & (queue->capacity - 1);
        queue->count--;
        row_collect(worker, &entry, &points);
    }
    epoch_leave(worker->thread.epoch);
}

size_t txn_collect(struct txn_worker *worker, size_t budget)
{
    struct txn_slot *slot = worker->slot;
    if (!worker->txn.active) {
        /* The owner of the gate may be looking at our queue: then later. */
        atomic_exchange(&slot->writing, 1);
        if (load_seq_cst(&worker->system->gate) == 0) {
            collect(worker, budget);
            store_relaxed(&worker->counters->rows_queued, worker->garbage.count);
        }
        store_release(&slot->writing, 0);
    }
    epoch_collect(worker->thread.epoch);
    return load_relaxed(&worker->counters->rows_queued);
}

void txn__garbage_after_commit(struct txn_worker *worker)
{
    if (++worker->commits_since_collect < COLLECT_EVERY)
        return;
    worker->commits_since_collect = 0;
    txn_collect(worker, COLLECT_BUDGET);
}

static void queue_forget(struct garbage_queue *queue, const struct head *head)
{
    size_t kept = 0;
    for (size_t i = 0; i < queue->count; i++) {
        struct garbage_entry entry = queue->entries[(queue->head + i) & (queue->capacity - 1)];
        if (entry.head != head)
            queue->entries[(queue->head + kept++) & (queue->capacity - 1)] = entry;
    }
    queue->count = kept;
}

void txn_collect_forget(struct txn *txn, const struct head *head)
{
    ASSERT(txn->exclusive);
    struct txn_system *system = txn->worker->system;
    for (unsigned i = 0; i < system->worker_max; i++)
        if (system->workers[i] != NULL)
            queue_forget(&system->workers[i]->garbage, head);
}

void txn__garbage_destroy(struct txn_worker *worker)
{
    struct garbage_queue *queue = &worker->garbage;
    for (size_t i = 0; i < queue->count; i++) {
        struct garbage_entry *entry = &queue->entries[(queue->head + i) & (queue->capacity - 1)];
        atomic_fetch_and(&entry->row->state, ~(uint32_t)ROW_QUEUED);
    }
    free(queue->entries);
    *queue = (struct garbage_queue){NULL, 0, 0, 0};
}
