/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Begin, commit, rollback.
 *
 * Commit, in this order:
 *      1. large read sets are validated beforehand, outside of the critical part; beyond READS_MAX
 *         the transaction takes the gate, so that nobody else commits
 *      2. room for the redo record in the log is reserved, and it is built: the last steps that may
 *         wait or fail
 *      3. state = preparing, without a timestamp (before the clock is advanced, so that a reader
 *         never misses it)
 *      4. everything from the snapshot on counts as needed until 5 is over; wal_begin, timestamp T
 *         from the clock, state = preparing at T
 *      5. validation at T; when it fails: state = aborted, nothing was logged, undo
 *      6. append to the log buffer; state = committed at T: this one store makes all versions
 *         visible; list the rows for the next checkpoint and queue the deferred actions, so that
 *         whoever knows the cut knows of these; wal_end
 *      7. stamp the versions, note what has become garbage, retire the descriptor
 * Between 4 and 6 nothing blocks, allocates or can fail but validation (invariant 4).
 *
 * Before 3 and in 7 a transaction of many rows lets the thread do something else between two of them
 * (txn_worker_pause_set).
 *
 * A transaction that wrote nothing is done: what it read was consistent at its snapshot. Under read
 * committed only what was read for an update is validated, and the catalog.
 */
#include "txn/txn_private.h"
#include "txn/txn_redo.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

enum {
    READS_PREVALIDATE =
        256, /* from here on the read set is validated once before the timestamp is taken */
    READS_MAX = 16384, /* beyond, commit goes through the gate */
    ARENA_KEEP_BYTES = 1 << 20
};

static struct txn_descriptor *descriptor_new(struct txn_worker *worker)
{
    struct txn_descriptor *descriptor = worker->free_descriptors;
    if (descriptor != NULL)
        worker->free_descriptors = descriptor->next_free;
    else if ((descriptor =
                  heap_alloc_as(worker->thread.heap, sizeof *descriptor, HEAP_DESCRIPTOR)) == NULL)
        return NULL;
    atomic_init(&descriptor->state, STATE_ACTIVE);
    atomic_init(&descriptor->lock.stamp, txn__tag(descriptor));
    atomic_init(&descriptor->lock.older, NULL);
    descriptor->lock.size = 0;
    atomic_init(&descriptor->lock.flags, VERSION_LOCK | VERSION_TOMBSTONE);
    descriptor->slot = NULL;
    descriptor->owner_id = 0;
    descriptor->next_free = NULL;
    return descriptor;
}

/* Back to the worker that used it: free functions run on the thread that retired. */
static void descriptor_free(void *object, void *arg)
{
    struct txn_worker *worker = arg;
    struct txn_descriptor *descriptor = object;
    descriptor->next_free = worker->free_descriptors;
    worker->free_descriptors = descriptor;
}

/* A tag of it may have been seen by others only if it wrote; otherwise it can be used again at
 * once. */
static void descriptor_done(struct txn *txn)
{
    if (txn->published && !MUTATION(DESCRIPTOR_WITHOUT_EPOCH))
        epoch_retire(txn->worker->thread.epoch, txn->descriptor, descriptor_free, txn->worker);
    else
        descriptor_free(txn->descriptor, txn->worker);
    txn->descriptor = NULL;
}

/* All but arena, worker and slot. */
void txn__clear(struct txn *txn)
{
    struct arena arena = txn->arena;
    struct txn_worker *worker = txn->worker;
    struct txn_slot *slot = txn->slot;
    arena_reset(&arena);
    memset(txn, 0, sizeof *txn);
    txn->arena = arena;
    txn->worker = worker;
    txn->slot = slot;
}

static void leave_gate(struct txn *txn)
{
    if (txn->readonly || txn->worker->apart)
        return;
    if (txn->exclusive)
        txn__gate_open(txn->worker->system, txn->slot);
    else
        txn__gate_leave_writer(txn->slot);
}

static void enter_gate(struct txn *txn, bool exclusive)
{
    if (txn->worker->apart)
        return;
    txn->exclusive = exclusive && !txn->readonly;
    if (txn->exclusive)
        txn__gate_close(txn->worker, txn->slot);
    else if (!txn->readonly)
        txn__gate_enter_writer(txn->worker->system, txn->slot);
}

int txn__begin_at(struct txn_worker *worker, struct txn *txn, struct txn_slot *slot,
                  const struct txn_options *options)
{
    ASSERT(worker->current == NULL);
    if (!options->readonly && wal_failed(worker->system->wal))
        return diag_set(ERROR_LOG_FAILED,
                        "the write-ahead log failed (%s); writes are refused until restart",
                        wal_failure(worker->system->wal));
    txn->level = options->level;
    txn->readonly = options->readonly;
    txn->spares = false;
    txn->whole = options->whole;
    txn->at_durable = options->readonly && options->durable;
    txn->at_visible = options->readonly && !options->latest;
    txn->owner = options->owner;
    txn->owner_given = options->owner != NULL;
    if (!txn->owner_given && !txn->opened)
        txn->owner = worker->owner; /* of one that lost, or waited, and is run again */
    txn->session_id = options->session_id;
    enter_gate(txn, options->exclusive);
    epoch_enter(worker->thread.epoch);
    if (!txn->readonly && (txn->descriptor = descriptor_new(worker)) == NULL) {
        epoch_leave(worker->thread.epoch);
        leave_gate(txn);
        return diag_set(ERROR_MEMORY, "no memory for a transaction");
    }
    txn->active = true;
    worker->current = txn;
    worker->begun++;
    store_relaxed(&slot->cancel, 0);
    store_relaxed(&slot->session_id, options->session_id);
    store_relaxed(&slot->readonly, options->readonly);
    store_relaxed(&slot->keeps, txn->at_durable);
    store_release(&slot->begun, load_relaxed(&slot->begun) + 1);
    txn__snapshot_take(txn);
    if (txn->descriptor != NULL)
        txn->descriptor->begin_order = txn->snapshot;
    return 0;
}

int txn_begin(struct txn_worker *worker, const struct txn_options *options, struct txn **out)
{
    int rc = txn__begin_at(worker, &worker->txn, worker->slot, options);
    if (rc != 0)
        txn__clear(&worker->txn);
    else
        *out = &worker->txn;
    return rc;
}

/* The common end: the snapshot, the epoch, the gate, the arena. */
static void txn_end(struct txn *txn)
{
    struct txn_worker *worker = txn->worker;
    worker->seen_ts = txn->seen_ts;
    worker->current = NULL;
    txn__snapshot_drop(txn->slot);
    leave_gate(txn);
    txn__walks_close(txn);
    epoch_leave(worker->thread.epoch);
    if (txn->owner != NULL)
        txn__locks_end(txn);
    if (txn->opened)
        txn__open_end(txn);
    else
        txn__clear(txn);
}

/* Undo, for rollback and for a commit that failed; the versions are invisible from the first store
 * on. */
void txn__abort_writes(struct txn *txn)
{
    if (MUTATION(DEFERRED_AFTER_ROLLBACK))
        txn__deferred_commit(txn, wal_clock(txn->worker->system->wal));
    txn__deferred_drop(txn, 0);
    if (txn->descriptor == NULL)
        return;
    store_release(&txn->descriptor->state, STATE_ABORTED);
    txn__unlock_row(txn);
    txn__undo(txn, 0);
    descriptor_done(txn);
}

void txn_rollback(struct txn *txn)
{
    ASSERT(txn->active && txn->worker->current == txn);
    struct txn_counters *counters = txn->worker->counters;
    txn__abort_writes(txn);
    txn__count(&counters->rollbacks);
    txn__count(&counters->aborts[txn->stop == 0 ? TXN_CAUSE_ROLLBACK : txn->cause]);
    txn_end(txn);
}

static int commit_failed(struct txn *txn, int code)
{
    txn_rollback(txn);
    return code;
}

/* After the one store that commits: puts the timestamp in place of the tag. Cannot fail. */
static void stamp_versions(struct txn *txn, uint64_t ts)
{
    for (size_t i = 0; i < txn->writes.count; i++) {
        struct txn_write *write = &txn->writes.items[i];
        txn__passed(txn);
        if (version_flags(write->version) & VERSION_LOCK)
            continue;
        store_release(&write->version->stamp, ts);
        txn__rows_count(write->head, txn->worker->number, write->rows, write->bytes);
    }
}

static void note_garbage(struct txn *txn, uint64_t ts)
{
    for (size_t i = 0; i < txn->writes.count; i++) {
        struct txn_write *write = &txn->writes.items[i];
        txn__passed(txn);
        if (!(version_flags(write->version) & VERSION_LOCK) &&
            (load_relaxed(&write->version->older) != NULL ||
             (version_flags(write->version) & VERSION_TOMBSTONE)))
            txn__garbage_add(txn->worker, write->head, write->row, ts);
    }
}

/*
 * Validation looks at the commit timestamp T, which no slot shows: a version that was committed after
 * the snapshot and below T might be written over above T, and go, before validation comes to it
 * (invariant 12). So from before T is taken until validation is over the slot says that everything
 * from the snapshot on is needed. A collector that has read T or more from the clock finds that.
 */
static void validation_announce(struct txn *txn, bool begins)
{
    if (txn__read_count(txn) > 0 && !MUTATION(VALIDATION_UNANNOUNCED))
        store_release(&txn->slot->snapshot,
                      begins ? txn->snapshot | SNAPSHOT_STARTING : txn->snapshot);
}

/* Steps 3 to 6. 0, or ERROR_CONFLICT when validation failed. */
static int commit_at_timestamp(struct txn *txn, const char *redo, size_t redo_size,
                               uint64_t *ts_out)
{
    struct txn_worker *worker = txn->worker;
    struct txn_descriptor *descriptor = txn->descriptor;
    MUTATION_POINT(BEFORE_TIMESTAMP);
    store_seq_cst(&descriptor->state, STATE_PREPARING);
    validation_announce(txn, true);
    wal_begin(worker->log);
    uint64_t ts = wal_clock_next(worker->system->wal);
    store_release(&descriptor->state, ts << STATE_TS_SHIFT | STATE_PREPARING);
    bool gate_validated =
        (txn->exclusive && txn__read_count(txn) > READS_MAX) || MUTATION(VALIDATED_EARLY);
    MUTATION_POINT(TIMESTAMP_TAKEN);
    int rc = gate_validated ? 0 : txn__validate(txn, ts);
    validation_announce(txn, false);
    if (rc == 0 && load_seq_cst(&worker->system->spaces_locked) != 0 &&
        !MUTATION(SPACE_LOCKED_UNSEEN) && txn__space_locked(txn))
        rc = txn__conflict(txn, TXN_CAUSE_WAIT);
    if (rc != 0) {
        store_release(&descriptor->state, STATE_ABORTED);
        wal_end(worker->log);
        return rc;
    }
    if (MUTATION(RESERVED_LATE))
        wal_reserve(worker->log, redo_size);
    wal_append(worker->log, ts, redo, redo_size);
    store_release(&descriptor->state, ts << STATE_TS_SHIFT | STATE_COMMITTED);
    if (!MUTATION(LISTED_LATE))
        txn__changes_list(worker, txn->writes.items, txn->writes.count);
    if (txn->deferred.count > 0 && !MUTATION(DEFERRED_LATE))
        txn__deferred_commit(txn, ts);
    wal_end(worker->log);
    MUTATION_POINT(WAL_ENDED);
    if (MUTATION(LISTED_LATE))
        txn__changes_list(worker, txn->writes.items, txn->writes.count);
    if (MUTATION(DEFERRED_LATE))
        txn__deferred_commit(txn, ts);
    *ts_out = ts;
    return 0;
}

/* Step 1. */
static int validate_beforehand(struct txn *txn)
{
    size_t reads = txn__read_count(txn);
    if (reads <= READS_PREVALIDATE && !MUTATION(VALIDATED_EARLY))
        return 0;
    if (reads > READS_MAX && !txn->exclusive) {
        if (!txn__gate_upgrade(txn->worker, txn->slot))
            return txn__conflict(txn, TXN_CAUSE_READ);
        txn->exclusive = true;
    }
    return txn__validate(txn, wal_clock(txn->worker->system->wal));
}

/* A transaction that only queued actions has a timestamp as well, and nothing in the log. */
static int commit_deferred_only(struct txn *txn)
{
    struct txn_worker *worker = txn->worker;
    wal_begin(worker->log);
    uint64_t ts = wal_clock_next(worker->system->wal);
    txn__deferred_commit(txn, ts);
    wal_end(worker->log);
    txn__saw(txn, ts);
    return 0;
}

/* Nothing was written: what it read was consistent at its snapshot. */
static int commit_nothing(struct txn *txn)
{
    if (txn->deferred.count > 0)
        commit_deferred_only(txn);
    txn__abort_writes(txn);
    txn__count(&txn->worker->counters->commits);
    txn_end(txn);
    return 0;
}

/* Whether each version makes a row exist, or not exist any more. What is under an uncommitted version
 * stays: another of ours, or the newest committed one. */
static void note_rows(struct txn *txn)
{
    for (size_t i = 0; i < txn->writes.count; i++) {
        struct txn_write *write = &txn->writes.items[i];
        txn__passed(txn);
        if (version_flags(write->version) & VERSION_LOCK)
            continue;
        const struct version *under = load_acquire(&write->version->older);
        while (under != NULL && (version_flags(under) & VERSION_LOCK))
            under = load_acquire(&under->older);
        write->rows = (signed char)(txn__exists(write->version) - txn__exists(under));
        write->bytes = (int64_t)(txn__exists(write->version) ? write->version->size : 0) -
                       (int64_t)(txn__exists(under) ? under->size : 0);
    }
}

/* Step 2. */
static int commit_prepare(struct txn *txn, char **redo, size_t *size)
{
    if (!txn__changes_reserve(txn->worker, txn->writes.count))
        return diag_set(ERROR_MEMORY, "no memory to list %zu changed rows", txn->writes.count);
    note_rows(txn);
    *size = txn__redo_size(txn);
    int rc = MUTATION(RESERVED_LATE) ? 0 : wal_reserve(txn->worker->log, *size);
    if (rc != 0)
        return rc;
    *redo = MUTATION(RESERVED_LATE) ? NULL : wal_reserved_body(txn->worker->log);
    if (*redo == NULL)
        *redo = arena_alloc(&txn->arena, *size);
    if (*redo == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a redo record of %zu bytes", *size);
    txn__redo_write(txn, *redo);
    return 0;
}

int txn_commit(struct txn *txn)
{
    ASSERT(txn->active && txn->worker->current == txn);
    int rc = txn__stopped(txn);
    if (rc != 0 && !(rc == ERROR_WAIT && MUTATION(WAIT_FORGOTTEN)))
        return commit_failed(txn, rc);
    if (txn->owner != NULL && MUTATION(LOCKS_RELEASED_EARLY))
        lock_release_all(txn->owner);
    txn__unlock_row(txn);
    if (!txn_has_writes(txn))
        return commit_nothing(txn);
    if (txn->lock_writes > 0)
        txn__unlock_versions(txn, true);
    uint64_t ts = 0;
    char *redo = NULL;
    size_t size = 0;
    if ((rc = validate_beforehand(txn)) != 0 || (rc = commit_prepare(txn, &redo, &size)) != 0 ||
        (rc = commit_at_timestamp(txn, redo, size, &ts)) != 0)
        return commit_failed(txn, rc);
    stamp_versions(txn, ts);
    note_garbage(txn, ts);
    if (txn->lock_writes > 0)
        txn__unlock_versions(txn, false);
    txn__saw(txn, ts);
    if (txn->on_commit != NULL)
        txn->on_commit(txn, txn->on_commit_arg);
    descriptor_done(txn);
    txn__count(&txn->worker->counters->commits);
    struct txn_worker *worker = txn->worker;
    size_t writes = txn->writes.count;
    txn_end(txn);
    txn__garbage_after_commit(worker, writes);
    return 0;
}

void txn_on_commit(struct txn *txn, void (*fn)(struct txn *txn, void *arg), void *arg)
{
    ASSERT(txn->on_commit == NULL);
    txn->on_commit = fn;
    txn->on_commit_arg = arg;
}

uint64_t txn_seen_ts(const struct txn *txn)
{
    return txn->seen_ts;
}

void txn_see(struct txn *txn, uint64_t ts)
{
    txn__saw(txn, ts);
}

enum txn_level txn_level(const struct txn *txn)
{
    return txn->level;
}

uint64_t txn_snapshot_ts(const struct txn *txn)
{
    return txn->snapshot;
}

struct txn_worker *txn_worker_of(struct txn *txn)
{
    return txn->worker;
}

bool txn_readonly(const struct txn *txn)
{
    return txn->readonly;
}

bool txn_doomed(const struct txn *txn)
{
    return txn->stop != 0;
}

int txn_stopped(struct txn *txn)
{
    return txn__stopped(txn);
}

void txn_doom(struct txn *txn)
{
    txn__stop(txn, ERROR_CONFLICT, TXN_CAUSE_WRITE);
}

struct arena *txn_arena(struct txn *txn)
{
    return &txn->arena;
}

void *txn_notes(const struct txn *txn)
{
    return txn->notes;
}

void txn_notes_set(struct txn *txn, void *notes)
{
    txn->notes = notes;
}

uint64_t txn_worker_begun(const struct txn_worker *worker)
{
    return worker->begun;
}

struct txn *txn_current(struct txn_worker *worker)
{
    return worker->current;
}
