/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Begin, commit, rollback.
 *
 * Commit, in this order:
 *      1. large read sets are validated beforehand, outside of the critical part; beyond READS_MAX
 *         the transaction takes the gate, so that nobody else commits
 *      2. the redo record is built, and room for it in the log is reserved: the last steps that may
 *         wait or fail
 *      3. state = preparing, without a timestamp (before the clock is advanced, so that a reader
 *         never misses it)
 *      4. wal_begin, timestamp T from the clock, state = preparing at T
 *      5. validation at T; when it fails: state = aborted, nothing was logged, undo
 *      6. append to the log buffer; state = committed at T: this one store makes all versions
 *         visible; wal_end
 *      7. stamp the versions, note what has become garbage, retire the descriptor
 * Between 4 and 6 nothing blocks, allocates or can fail but validation (invariant 4).
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
    else if ((descriptor = heap_alloc(worker->thread.heap, sizeof *descriptor)) == NULL)
        return NULL;
    atomic_init(&descriptor->state, STATE_ACTIVE);
    atomic_init(&descriptor->lock.stamp, txn__tag(descriptor));
    atomic_init(&descriptor->lock.older, NULL);
    descriptor->lock.size = 0;
    descriptor->lock.flags = VERSION_LOCK | VERSION_TOMBSTONE;
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
    if (txn->published)
        epoch_retire(txn->worker->thread.epoch, txn->descriptor, descriptor_free, txn->worker);
    else
        descriptor_free(txn->descriptor, txn->worker);
    txn->descriptor = NULL;
}

static void txn_clear(struct txn *txn)
{
    struct arena arena = txn->arena;
    struct txn_worker *worker = txn->worker;
    arena_reset(&arena);
    memset(txn, 0, sizeof *txn);
    txn->arena = arena;
    txn->worker = worker;
}

static void leave_gate(struct txn *txn)
{
    if (txn->readonly)
        return;
    if (txn->exclusive)
        txn__gate_open(txn->worker);
    else
        txn__gate_leave_writer(txn->worker);
}

int txn_begin(struct txn_worker *worker, const struct txn_options *options, struct txn **out)
{
    struct txn *txn = &worker->txn;
    ASSERT(!txn->active);
    if (!options->readonly && wal_failed(worker->system->wal))
        return diag_set(ERROR_LOG_FAILED,
                        "the write-ahead log failed (%s); writes are refused until restart",
                        wal_failure(worker->system->wal));
    if (!options->readonly) {
        if (options->exclusive)
            txn__gate_close(worker);
        else
            txn__gate_enter_writer(worker);
    }
    epoch_enter(worker->thread.epoch);
    txn->level = options->level;
    txn->readonly = options->readonly;
    txn->exclusive = options->exclusive && !options->readonly;
    txn->descriptor = NULL;
    if (!txn->readonly && (txn->descriptor = descriptor_new(worker)) == NULL) {
        epoch_leave(worker->thread.epoch);
        leave_gate(txn);
        return diag_set(ERROR_MEMORY, "no memory for a transaction");
    }
    txn->active = true;
    worker->begun++;
    txn->snapshot = txn__snapshot_take(worker, options->readonly && !options->latest);
    if (txn->descriptor != NULL)
        txn->descriptor->begin_order = txn->snapshot;
    *out = txn;
    return 0;
}

/* The common end: the snapshot, the epoch, the gate, the arena. */
static void txn_end(struct txn *txn)
{
    struct txn_worker *worker = txn->worker;
    worker->seen_ts = txn->seen_ts;
    txn__snapshot_drop(worker);
    leave_gate(txn);
    epoch_leave(worker->thread.epoch);
    txn_clear(txn);
}

/* Undo, for rollback and for a commit that failed; the versions are invisible from the first store
 * on. */
static void abort_writes(struct txn *txn)
{
    if (txn->descriptor == NULL)
        return;
    store_release(&txn->descriptor->state, STATE_ABORTED);
    txn__unlock_row(txn);
    txn__undo(txn, 0);
    descriptor_done(txn);
}

void txn_rollback(struct txn *txn)
{
    ASSERT(txn->active);
    abort_writes(txn);
    txn__count(&txn->worker->counters->rollbacks);
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
    for (size_t i = 0; i < txn->writes.count; i++)
        store_release(&txn->writes.items[i].version->stamp, ts);
}

static void note_garbage(struct txn *txn, uint64_t ts)
{
    for (size_t i = 0; i < txn->writes.count; i++) {
        struct txn_write *write = &txn->writes.items[i];
        if (load_relaxed(&write->version->older) != NULL ||
            (write->version->flags & VERSION_TOMBSTONE))
            txn__garbage_add(txn->worker, write->head, write->row, ts);
    }
}

/* Steps 3 to 6. 0, or ERROR_CONFLICT when validation failed. */
static int commit_at_timestamp(struct txn *txn, const char *redo, size_t redo_size,
                               uint64_t *ts_out)
{
    struct txn_worker *worker = txn->worker;
    struct txn_descriptor *descriptor = txn->descriptor;
    store_seq_cst(&descriptor->state, STATE_PREPARING);
    wal_begin(worker->log);
    uint64_t ts = wal_clock_next(worker->system->wal);
    store_release(&descriptor->state, ts << STATE_TS_SHIFT | STATE_PREPARING);
    bool gate_validated = txn->exclusive && txn__read_count(txn) > READS_MAX;
    if (!gate_validated && !txn__validate(txn, ts)) {
        store_release(&descriptor->state, STATE_ABORTED);
        wal_end(worker->log);
        return txn__conflict(txn);
    }
    wal_append(worker->log, ts, redo, redo_size);
    store_release(&descriptor->state, ts << STATE_TS_SHIFT | STATE_COMMITTED);
    wal_end(worker->log);
    *ts_out = ts;
    return 0;
}

/* Step 1. */
static int validate_beforehand(struct txn *txn)
{
    size_t reads = txn__read_count(txn);
    if (reads <= READS_PREVALIDATE)
        return 0;
    if (reads > READS_MAX && !txn->exclusive) {
        if (!txn__gate_upgrade(txn->worker))
            return txn__conflict(txn);
        txn->exclusive = true;
    }
    return txn__validate(txn, wal_clock(txn->worker->system->wal)) ? 0 : txn__conflict(txn);
}

int txn_commit(struct txn *txn)
{
    ASSERT(txn->active);
    if (txn->doomed)
        return commit_failed(txn, ERROR_CONFLICT);
    txn__unlock_row(txn);
    if (txn->writes.count == 0) {
        abort_writes(txn);
        txn__count(&txn->worker->counters->commits);
        txn_end(txn);
        return 0;
    }
    int rc = validate_beforehand(txn);
    if (rc != 0)
        return commit_failed(txn, rc);
    size_t size = txn__redo_size(txn);
    char *redo = arena_alloc(&txn->arena, size);
    if (redo == NULL)
        return commit_failed(
            txn, diag_set(ERROR_MEMORY, "no memory for a redo record of %zu bytes", size));
    txn__redo_write(txn, redo);
    if ((rc = wal_reserve(txn->worker->log, size)) != 0)
        return commit_failed(txn, rc);
    uint64_t ts = 0;
    if ((rc = commit_at_timestamp(txn, redo, size, &ts)) != 0)
        return commit_failed(txn, rc);
    stamp_versions(txn, ts);
    note_garbage(txn, ts);
    txn__saw(txn, ts);
    if (txn->on_commit != NULL)
        txn->on_commit(txn, txn->on_commit_arg);
    descriptor_done(txn);
    txn__count(&txn->worker->counters->commits);
    struct txn_worker *worker = txn->worker;
    txn_end(txn);
    txn__garbage_after_commit(worker);
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
    return txn->doomed;
}

void txn_doom(struct txn *txn)
{
    txn->doomed = true;
}

struct arena *txn_arena(struct txn *txn)
{
    return &txn->arena;
}

uint64_t txn_worker_begun(const struct txn_worker *worker)
{
    return worker->begun;
}

struct txn *txn_current(struct txn_worker *worker)
{
    return worker->txn.active ? &worker->txn : NULL;
}
