/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Garbage: versions that no snapshot needs, entries that lead to none, rows that have ended.
 *
 * A version with timestamp a, whose successor has b, is what the snapshots in [a, b) see. Snapshots
 * are (invariant 12) those registered in the worker slots, D, each cut that may still become D, and
 * all that begin from now on. So with `now` read from the clock, then a fence, then "no cut is
 * being taken" and the last cut's C, then D, then the slots, a version may go when b <= now and
 *   - it lies outside of [D, last cut]: b <= D, or a > last cut, and
 *   - no registered snapshot is in [a, b), nor may one that is just starting be, nor the timestamp of
 *     a commit that is validating, whose slot says *starting* as well (txn_commit.c).
 * The newest committed version of a row always stays (txn_write.c relies on it).
 *
 * Two queues. A commit puts the row into its worker's queue of changed rows, once: whoever sets
 * ROW_QUEUED owns its place, and only he ends the row. It is looked at when every snapshot has
 * passed the timestamp it was queued for; or, when some snapshot is held for long, a little later:
 * then it is shortened to what the snapshots need, and goes to the queue of held rows, where ROW_HELD
 * stands for its place, until the snapshot has gone; and the next commit may queue it again. So a
 * snapshot that is held for a minute costs memory for what it must keep, and each commit one look. A
 * row does not end while it is held by another; of the two owners of places, who gives up his place
 * last looks after the row: both are bits of one word.
 *
 * A row that is updated very often is also shortened in between, above the last cut, where its
 * writers would otherwise pile up versions for as long as a flush takes. ROW_PRUNING keeps two from
 * shortening the same chain. A tombstone that a checkpoint has to cover (ROW_CHANGED and ROW_IN_RUN,
 * invariant 19) leaves the queue; txn_change_done puts it there again. One of a row that no run has
 * stays in the queue, and the row ends like any other (invariant 33, txn_changes.c).
 *
 * Where rows leave the head for a body, one that the body has is garbage like a tombstone: it goes
 * when every snapshot has passed its newest version. Who reads later finds it in the body, and who
 * writes it has a snapshot above it (invariant 18).
 */
#include "txn/txn_private.h"

#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"

enum {
    COLLECT_EVERY = 32,   /* commits, */
    COLLECT_WRITES = 256, /* or so many writes of theirs */
    COLLECT_BUDGET = 96,  /* rows that are looked at then, at least */
    COLLECT_A_WRITE = 3,  /* for each write: more than come */
    COLLECT_BUDGET_MAX = 1 << 10,
    HOT_EVERY = 16,
    HELD_AFTER = 1024 /* timestamps that a row waits for a snapshot to go before it is shortened */
};

static void snapshots_sort(uint64_t *snapshots, unsigned count)
{
    for (unsigned i = 1; i < count; i++) {
        uint64_t snapshot = snapshots[i];
        unsigned place = i;
        for (; place > 0 && snapshots[place - 1] > snapshot; place--)
            snapshots[place] = snapshots[place - 1];
        snapshots[place] = snapshot;
    }
}

static bool snapshots_reserve(struct garbage_points *points, unsigned count)
{
    if (points->capacity >= count)
        return true;
    uint64_t *grown = realloc(points->snapshots, 2 * count * sizeof *grown);
    if (grown == NULL)
        return false;
    points->snapshots = grown;
    points->capacity = 2 * count;
    return true;
}

/* False while a cut is being taken. */
static bool points_take(struct txn_worker *worker)
{
    struct txn_system *system = worker->system;
    struct garbage_points *points = &worker->points;
    points->now = wal_clock(system->wal);
    points->count = 0;
    fence_seq_cst(&worker->slot->snapshot);
    uint32_t high = load_seq_cst(&system->slot_high);
    if (!wal_cut_state(system->wal, &points->cut) || !snapshots_reserve(points, high))
        return false;
    points->durable = wal_durable_ts(system->wal);
    uint64_t lowest = points->durable;
    for (uint32_t i = 0; i < high; i++) {
        uint64_t snapshot = load_seq_cst(&system->slots[i].snapshot);
        if (snapshot == SNAPSHOT_NONE || MUTATION(PRUNE_IGNORES_SNAPSHOT) ||
            ((snapshot & SNAPSHOT_STARTING) && MUTATION(PRUNE_IGNORES_STARTING)))
            continue;
        if (snapshot & SNAPSHOT_STARTING) {
            snapshot &= ~SNAPSHOT_STARTING;
            if (snapshot < points->now)
                points->now = snapshot;
        } else {
            points->snapshots[points->count++] = snapshot;
        }
        if (snapshot < lowest)
            lowest = snapshot;
    }
    snapshots_sort(points->snapshots, points->count);
    points->horizon = lowest < points->now ? lowest : points->now;
    return true;
}

/* One that is being taken, or a commit that validates, may need what is below k for a few instructions
 * more. */
int txn_body_snapshots(struct txn_worker *worker, uint64_t k, struct engine_snapshots *out)
{
    if (!snapshots_reserve(&worker->points, worker->system->slot_max))
        return diag_set(ERROR_MEMORY, "no memory for a list of snapshots");
    for (unsigned turn = 0; !points_take(worker) || worker->points.now < k;)
        spin_wait(&turn);
    *out = (struct engine_snapshots){worker->points.snapshots, worker->points.count};
    return 0;
}

/* The first snapshot that is not below ts. */
static unsigned snapshot_find(const struct garbage_points *points, uint64_t ts)
{
    unsigned low = 0, high = points->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (points->snapshots[middle] < ts)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool needed(const struct garbage_points *points, uint64_t ts, uint64_t successor_ts)
{
    if (successor_ts > points->now)
        return true;
    if (successor_ts > (MUTATION(PRUNE_IGNORES_D) ? points->cut : points->durable) &&
        ts <= (MUTATION(PRUNE_IGNORES_CUT) ? points->durable : points->cut))
        return true;
    unsigned n = snapshot_find(points, ts);
    return n < points->count && points->snapshots[n] < successor_ts;
}

/* The commit timestamp, or 0 for a version that is not committed. */
static uint64_t committed_ts(const struct version *version)
{
    uint64_t stamp = load_acquire(&version->stamp);
    if (!(stamp & STAMP_TAG))
        return stamp;
    uint64_t state = load_acquire(&txn__tag_owner(stamp)->state);
    return (state & STATE_MASK) == STATE_COMMITTED && !(version_flags(version) & VERSION_LOCK)
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
                        const struct garbage_points *points, bool only_above_cut)
{
    if ((atomic_fetch_or_explicit(&row->state, ROW_PRUNING, memory_order_acquire) & ROW_PRUNING) &&
        !MUTATION(CHAIN_PRUNED_TWICE))
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
            MUTATION_POINT(CHAIN_FOLLOWED);
            store_release(&successor->older, load_relaxed(&version->older));
            version_drop(worker, head, row, version);
        }
    }
    atomic_fetch_and_explicit(&row->state, ~(uint32_t)ROW_PRUNING, memory_order_release);
}

static bool row_has_garbage(const struct head *head, struct row *row, uint64_t *ts);

/* Whether readers find this version in the body, so that its row can leave the head (invariants 17
 * and 18). */
static bool in_body(const struct head *head, uint64_t ts)
{
    return head->body != NULL && (ts <= load_acquire(&head->body->k) || MUTATION(LEFT_UNPUBLISHED));
}

/* A tombstone of a head that has all its rows is the end of the row. */
static bool ends_here(const struct head *head, const struct version *version)
{
    return head->body == NULL && (version_flags(version) & VERSION_TOMBSTONE) != 0;
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
    if (random_below(&worker->random, HOT_EVERY) == 0 && points_take(worker))
        chain_prune(worker, head, row, &worker->points, true);
}

void txn__changes_adopt(struct txn_worker *worker, struct head *head, struct row *row)
{
    uint64_t ts;
    if (row_has_garbage(head, row, &ts))
        txn__garbage_add(worker, head, row, ts);
}

struct row_end {
    struct version *last; /* what was on top when the row was found to have ended */
};

/* Under the latch of the leaf (invariant 14). Called once; a row for which it says true is
 * unlinked. */
static bool row_end(struct item *item, void *arg)
{
    struct row_end *end = arg;
    struct version *expected =
        MUTATION(ROW_END_UNEXAMINED) ? load_acquire(&((struct row *)item)->newest) : end->last;
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

void txn__row_retire(struct tree_thread *thread, const struct head *head, struct row *row)
{
    if (head->version_dropped != NULL && !MUTATION(ROW_FREED_EARLY))
        epoch_retire(thread->epoch, row, row_retire_again, thread);
    else
        epoch_retire(thread->epoch, row, txn__row_free, thread->heap);
}

/* Two look after the memory of a row that is listed: who gives it up last frees it. The bits are of
 * one word, so one of the two finds the other's (txn_changes.c). */
static void row_let_go(struct txn_worker *worker, const struct head *head, struct row *row)
{
    /* Counted first: the list may take it back at once. */
    atomic_fetch_add_explicit(&worker->system->changes_ended, 1, memory_order_relaxed);
    if ((atomic_fetch_or(&row->state, ROW_DEAD) & ROW_CHANGED) && !MUTATION(LISTED_ROW_FREED))
        return;
    atomic_fetch_sub_explicit(&worker->system->changes_ended, 1, memory_order_relaxed);
    txn__row_retire(&worker->thread, head, row);
}

/* True when the row has ended and is gone. */
static bool row_try_end(struct txn_worker *worker, struct head *head, struct row *row,
                        const struct garbage_points *points)
{
    struct row_end end = {load_acquire(&row->newest)};
    uint32_t state = load_seq_cst(&row->state);
    if ((state & (ROW_HELD | ROW_ENTRIES_MASK)) ||
        (txn__awaits_run(state) && !MUTATION(TOMBSTONE_ENDS_EARLY)))
        return false;
    if (end.last != NULL) {
        uint64_t ts = committed_ts(end.last);
        bool ended = ts != 0 && (in_body(head, ts) || ends_here(head, end.last)) &&
                     (ts <= points->horizon || (head->body != NULL && MUTATION(LEFT_EARLY))) &&
                     load_acquire(&end.last->older) == NULL;
        if (!ended)
            return false;
    }
    MUTATION_POINT(ROW_ENDING);
    if (!tree_remove(head->tree, &worker->thread, (struct item *)row, row_end, &end))
        return false;
    if (end.last != NULL) {
        if (txn__exists(end.last)) /* it is in the body from now on */
            txn__rows_count(head, worker->number, -1, -(int64_t)end.last->size);
        version_drop(worker, head, row, end.last);
    }
    row_let_go(worker, head, row);
    return true;
}

/* Whether something of the row will have to be freed later; *ts is then what snapshots have to
 * pass. */
static bool row_has_garbage(const struct head *head, struct row *row, uint64_t *ts)
{
    *ts = 0;
    struct version *top = load_acquire(&row->newest);
    if (top == NULL)
        return true;
    if (top == &txn__version_dead)
        return false;
    struct version *version = newest_committed(row, ts);
    return version != NULL && (load_acquire(&version->older) != NULL || in_body(head, *ts) ||
                               (version_flags(version) & VERSION_TOMBSTONE));
}

/* Whether the queue is the place for the row, or somebody else looks after what it has. */
static bool row_is_left(const struct row *row)
{
    uint32_t state = load_seq_cst(&row->state);
    if (state & ROW_HELD)
        return true;
    struct version *top = load_acquire(&row->newest);
    return txn__awaits_run(state) && top != NULL && load_acquire(&top->older) == NULL;
}

/* Gives up the place in the queue of changed rows. A commit that came in between has seen the row
 * queued and left it to us: look again. `held_ts`: what the row is held for. */
static void row_leave(struct txn_worker *worker, struct head *head, struct row *row,
                      uint64_t held_ts)
{
    uint64_t ts;
    atomic_fetch_and(&row->state, ~(uint32_t)ROW_QUEUED);
    if (row_has_garbage(head, row, &ts) && ts != held_ts && !row_is_left(row))
        txn__garbage_add(worker, head, row, ts);
}

/* Puts the row among those that wait for a snapshot. */
static void row_hold(struct txn_worker *worker, struct head *head, struct row *row, uint64_t ts)
{
    if (!(atomic_fetch_or(&row->state, ROW_HELD) & ROW_HELD) &&
        !queue_push(&worker->held, (struct garbage_entry){head, row, ts}))
        atomic_fetch_and(&row->state, ~(uint32_t)ROW_HELD); /* left to its next writer */
    row_leave(worker, head, row, ts);
}

/* Looks at a row whose ROW_QUEUED the worker owns. */
static void row_collect(struct txn_worker *worker, struct head *head, struct row *row)
{
    const struct garbage_points *points = &worker->points;
    uint64_t ts;
    chain_prune(worker, head, row, points, false);
    if (row_try_end(worker, head, row, points))
        return;
    if (!row_has_garbage(head, row, &ts) || row_is_left(row))
        row_leave(worker, head, row, 0);
    else if (ts > points->durable || ts <= points->horizon)
        row_requeue(worker, head, row, ts);
    else
        row_hold(worker, head, row, ts);
}

static struct garbage_entry queue_pop(struct garbage_queue *queue)
{
    struct garbage_entry entry = queue->entries[queue->head];
    queue->head = (queue->head + 1) & (queue->capacity - 1);
    queue->count--;
    return entry;
}

/* A held row whose snapshot has gone. */
static void row_release(struct txn_worker *worker, struct garbage_entry entry)
{
    struct row *row = entry.row;
    uint32_t queued = atomic_fetch_or(&row->state, ROW_QUEUED) & ROW_QUEUED;
    uint32_t before = atomic_fetch_and(&row->state, ~(uint32_t)ROW_HELD);
    if (queued && !(before & ROW_QUEUED)) /* its owner has left it to us in between */
        queued = atomic_fetch_or(&row->state, ROW_QUEUED) & ROW_QUEUED;
    if (!queued)
        row_collect(worker, entry.head, row);
}

static void collect_held(struct txn_worker *worker, size_t budget)
{
    struct garbage_queue *queue = &worker->held;
    while (budget-- > 0 && queue->count > 0 &&
           queue->entries[queue->head].ts <= worker->points.horizon)
        row_release(worker, queue_pop(queue));
}

static struct row *queue_row(const struct garbage_queue *queue, size_t ahead)
{
    return queue->entries[(queue->head + ahead) & (queue->capacity - 1)].row;
}

/* Has what will be looked at soon fetched, in the order in which one leads to the other: it was written
 * a while ago. Inside of the epoch. */
static void queue_fetch(const struct garbage_queue *queue)
{
    enum { ROW = 12, NEWEST = 8, OLDER = 4 }; /* so many places ahead */
    if (queue->count > ROW)
        __builtin_prefetch(queue_row(queue, ROW));
    if (queue->count > NEWEST)
        __builtin_prefetch(load_relaxed(&queue_row(queue, NEWEST)->newest));
    if (queue->count > OLDER) {
        const struct version *newest = load_acquire(&queue_row(queue, OLDER)->newest);
        if (newest != NULL)
            __builtin_prefetch(load_relaxed(&newest->older));
    }
}

static void collect_changed(struct txn_worker *worker, size_t budget)
{
    struct garbage_queue *queue = &worker->garbage;
    const struct garbage_points *points = &worker->points;
    for (size_t seen = queue->count; budget-- > 0 && seen > 0 && queue->count > 0; seen--) {
        uint64_t ts = queue->entries[queue->head].ts;
        bool late = ts <= points->durable && points->now - ts > HELD_AFTER;
        if (ts > points->horizon && !late && !MUTATION(LEFT_EARLY))
            break;
        queue_fetch(queue);
        struct garbage_entry entry = queue_pop(queue);
        row_collect(worker, entry.head, entry.row);
    }
}

static void collect(struct txn_worker *worker, size_t budget)
{
    if ((worker->garbage.count == 0 && worker->held.count == 0) || !points_take(worker))
        return;
    epoch_enter(worker->thread.epoch);
    collect_held(worker, budget);
    collect_changed(worker, budget);
    epoch_leave(worker->thread.epoch);
}

size_t txn_collect(struct txn_worker *worker, size_t budget)
{
    struct txn_slot *slot = worker->slot;
    if (worker->current == NULL) {
        /* The owner of the gate may be looking at our queue: then later. */
        atomic_exchange(&slot->writing, 1);
        if (load_seq_cst(&worker->system->gate) == 0) {
            collect(worker, budget);
            txn__changes_sweep(worker);
            store_relaxed(&worker->counters->rows_queued,
                          worker->garbage.count + worker->held.count);
        }
        store_release(&slot->writing, 0);
    }
    epoch_collect(worker->thread.epoch);
    return load_relaxed(&worker->counters->rows_queued);
}

void txn_worker_rest(struct txn_worker *worker)
{
    wal_buffer_trim(worker->log);
}

/* So many rows at a time as have been written, a few times over: a commit may have many writes, and rows
 * that wait longer than they must are in the way of those who read. */
void txn__garbage_after_commit(struct txn_worker *worker, size_t writes)
{
    worker->writes_since_collect += writes;
    if (++worker->commits_since_collect < COLLECT_EVERY &&
        worker->writes_since_collect < COLLECT_WRITES)
        return;
    size_t budget = COLLECT_A_WRITE * worker->writes_since_collect;
    worker->commits_since_collect = 0;
    worker->writes_since_collect = 0;
    txn_collect(worker, budget < COLLECT_BUDGET       ? COLLECT_BUDGET
                        : budget < COLLECT_BUDGET_MAX ? budget
                                                      : COLLECT_BUDGET_MAX);
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
        if (system->workers[i] != NULL && !system->workers[i]->apart) { /* it may run now; no row of
                                                                           its head goes */
            queue_forget(&system->workers[i]->garbage, head);
            queue_forget(&system->workers[i]->held, head);
        }
    txn__changes_forget(txn->worker, head);
}

/* --------------------------------------------------------------------------- rows that are put out */

bool txn_row_expellable(const struct row *row, uint64_t k, bool *there)
{
    const struct version *newest = load_acquire(&row->newest);
    *there = newest != NULL && newest != &txn__version_dead;
    if (!*there)
        return true;
    uint64_t ts = committed_ts(newest);
    return ts != 0 && ts <= k && !(load_relaxed(&row->state) & ROW_ENTRIES_MASK);
}

/* What the body has of it counts from now on, whoever reads. */
static void row_expel(struct txn_worker *worker, struct head *head, struct row *row)
{
    struct row_end end = {load_acquire(&row->newest)};
    bool removed = tree_remove(head->tree, &worker->thread, (struct item *)row, row_end, &end);
    ASSERT(removed);
    if (removed && txn__exists(end.last))
        txn__rows_count(head, worker->number, -1, -(int64_t)end.last->size);
    for (struct version *version = end.last, *older; version != NULL; version = older) {
        older = load_acquire(&version->older);
        version_drop(worker, head, row, version);
    }
}

static void queue_forget_dead(struct garbage_queue *queue, const struct head *head)
{
    size_t kept = 0;
    for (size_t i = 0; i < queue->count; i++) {
        struct garbage_entry entry = queue->entries[(queue->head + i) & (queue->capacity - 1)];
        if (entry.head != head || load_relaxed(&entry.row->newest) != &txn__version_dead)
            queue->entries[(queue->head + kept++) & (queue->capacity - 1)] = entry;
    }
    queue->count = kept;
}

void txn_rows_expel(struct txn *txn, struct head *head, struct row *const *rows, size_t count)
{
    ASSERT(txn->exclusive && head->body != NULL);
    struct txn_worker *worker = txn->worker;
    struct txn_system *system = worker->system;
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++)
        row_expel(worker, head, rows[i]);
    for (unsigned i = 0; i < system->worker_max; i++)
        if (system->workers[i] != NULL && !system->workers[i]->apart) {
            queue_forget_dead(&system->workers[i]->garbage, head);
            queue_forget_dead(&system->workers[i]->held, head);
        }
    for (size_t i = 0; i < count; i++)
        row_let_go(worker, head, rows[i]);
}

static void queue_destroy(struct garbage_queue *queue, uint32_t place)
{
    for (size_t i = 0; i < queue->count; i++) {
        struct garbage_entry *entry = &queue->entries[(queue->head + i) & (queue->capacity - 1)];
        atomic_fetch_and(&entry->row->state, ~place);
    }
    free(queue->entries);
    *queue = (struct garbage_queue){NULL, 0, 0, 0};
}

void txn__garbage_destroy(struct txn_worker *worker)
{
    queue_destroy(&worker->garbage, ROW_QUEUED);
    queue_destroy(&worker->held, ROW_HELD);
    free(worker->points.snapshots);
    worker->points = (struct garbage_points){.snapshots = NULL};
}
