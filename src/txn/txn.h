/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TXN_TXN_H
#define TXN_TXN_H

/*
 * Multi-version transactions over the head: snapshots, versions, conflicts, validation, commit,
 * garbage.
 *
 * A txn_system is shared by all threads of a database; each thread that runs transactions has a
 * txn_worker, and runs at most one transaction at a time. A transaction does not yield: it begins,
 * runs and ends in one call from its thread's point of view. Pointers to versions and rows are
 * valid until the transaction ends (it holds a reclamation epoch).
 *
 * Levels. TXN_READ_COMMITTED: each statement reads the latest committed, and writes conflict only
 * with writes that are going on. TXN_SNAPSHOT: all reads are at one snapshot, and of those who
 * write one row the first wins. TXN_SERIALIZABLE: in addition every row, absent key and range that
 * was read is validated at the commit timestamp.
 *
 * Timestamps for replies (invariant 9): txn_seen_ts is the largest timestamp of any version that
 * the transaction looked at or wrote; a reply waits until wal_reply_ts reaches it. A read-only
 * transaction at V has looked at nothing above V, and never waits.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "index/tree.h"
#include "mem/arena.h"
#include "mem/heap.h"
#include "record/version.h"
#include "wal/wal.h"

struct txn_system;
struct txn_worker;
struct txn;

enum txn_level { TXN_READ_COMMITTED, TXN_SNAPSHOT, TXN_SERIALIZABLE };

/*
 * A head: the rows of one space in memory. The tree's items are rows. `id` and `incarnation` name
 * it in the log (invariant 21).
 *
 * version_dropped, when set, is called after a version has been unlinked from a row's chain, by
 * rollback or as garbage: whoever keeps secondary entries removes those that no remaining version
 * of the row needs. The dropped version may be read during the call.
 */
struct head {
    struct tree *tree;
    uint32_t id;
    uint32_t incarnation;
    void (*version_dropped)(struct head *head, struct txn_worker *worker, struct row *row,
                            const struct version *dropped);
    void *arg;
};

/*
 * An index to scan: the primary tree of a head, or a secondary one. `matches` is NULL for the
 * primary; for a secondary index it tells whether the version is one that belongs under this
 * entry's key.
 */
struct txn_index {
    struct tree *tree;
    struct head *head;
    bool (*matches)(const struct txn_index *index, const struct entry *entry,
                    const struct version *version);
    void *arg;
};

struct txn_system_options {
    struct wal *wal;   /* the clock, D and the log */
    struct heap *heap; /* rows and versions; its limit makes txn_put return ERROR_MEMORY */
    struct epoch_domain *epochs; /* reclamation, for at least worker_max slots; like wal and heap it
                                    outlives the system */
    unsigned worker_max;
};

int txn_system_new(const struct txn_system_options *options, struct txn_system **out);
void txn_system_delete(struct txn_system *system);

/* A worker for the calling thread: opens a log buffer, a heap cache and an epoch slot.
 * ERROR_INVALID when all are taken. */
int txn_worker_open(struct txn_system *system, struct txn_worker **out);
void txn_worker_close(struct txn_worker *worker);

/* What a worker's thread may use of it for trees of its own. */
struct tree_thread *txn_worker_thread(struct txn_worker *worker);
struct txn_system *txn_worker_system(struct txn_worker *worker);
struct wal *txn_system_wal(struct txn_system *system);

/* Frees what no snapshot needs any more, for at most about `budget` rows. For idle moments and
 * after D has advanced; also done as a side effect of commits. Returns the number of rows still
 * queued. */
size_t txn_collect(struct txn_worker *worker, size_t budget);

/* Forgets what all workers had queued for a head that is about to go. The worker's running
 * transaction is exclusive. */
void txn_collect_forget(struct txn *txn, const struct head *head);

struct txn_options {
    enum txn_level level;
    bool readonly; /* writes fail with ERROR_READONLY; reads at V */
    bool latest; /* with readonly: read the latest instead of V (a connection whose earlier replies
                    still wait) */
    bool exclusive; /* alone among all transactions that may write: waits for the others to end
                       (invariant 24) */
};

/* Begins the worker's transaction; the worker has none. ERROR_LOG_FAILED for one that may write
 * after the log has failed. */
int txn_begin(struct txn_worker *worker, const struct txn_options *options, struct txn **out);

/*
 * Commits, or rolls back and says why: ERROR_CONFLICT (run it again), ERROR_LOG_FAILED,
 * ERROR_TOO_LARGE. The transaction has ended either way. After success txn_worker_seen_ts(worker)
 * tells what a reply must wait for.
 */
int txn_commit(struct txn *txn);
void txn_rollback(struct txn *txn);

/* Largest timestamp looked at or written by the transaction that ended last on this worker. */
uint64_t txn_worker_seen_ts(const struct txn_worker *worker);

/* Also counts when the transaction goes on: what has been looked at so far. */
uint64_t txn_seen_ts(const struct txn *txn);
uint64_t txn_snapshot_ts(const struct txn *txn);
struct txn_worker *txn_worker_of(struct txn *txn);
bool txn_readonly(const struct txn *txn);

/* Once doomed (by a conflict, invariant 22, or by the caller) every operation returns
 * ERROR_CONFLICT, and commit does, too. */
bool txn_doomed(const struct txn *txn);
void txn_doom(struct txn *txn);

/* Memory of the transaction: gone when it ends. */
struct arena *txn_arena(struct txn *txn);

/* The transaction that runs on this worker, or NULL. */
struct txn *txn_current(struct txn_worker *worker);

/* How many transactions this worker has begun: tells its present one from earlier ones. */
uint64_t txn_worker_begun(const struct txn_worker *worker);

/* Under read committed, moves the snapshot to now; otherwise does nothing. db and redis call it
 * once a statement. */
void txn_statement(struct txn *txn);

/* The visible version, NULL in *out when there is none or it is a tombstone. Joins the read set
 * under TXN_SERIALIZABLE. Returns 0 or ERROR_CONFLICT. */
int txn_get(struct txn *txn, struct head *head, const void *key, size_t key_size,
            const struct version **out);

/*
 * Tags the row for this transaction first and then reads it (invariant 11): for a command that
 * reads and writes one row at TXN_READ_COMMITTED. Others queue for as long as the transaction runs.
 * The first row of a transaction that has not written; txn_put or txn_delete of that key follows,
 * or nothing. Later rows are read at the latest and validated at commit instead, so that nothing is
 * lost either way. *out as for txn_get. At other levels it is the same as txn_get.
 */
int txn_get_for_update(struct txn *txn, struct head *head, const void *key, size_t key_size,
                       const struct version **out);

/*
 * Writes an after-image: a version with these bytes becomes the row's newest, uncommitted. *out,
 * which may be NULL, is the version, whose bytes the caller may still change before the transaction
 * ends or the next statement runs. `data` NULL leaves the bytes to the caller. ERROR_CONFLICT
 * (first updater wins; the transaction is doomed), ERROR_MEMORY (nothing changed), ERROR_READONLY,
 * ERROR_TOO_LARGE.
 */
int txn_put(struct txn *txn, struct head *head, const void *key, size_t key_size, const void *data,
            uint32_t size, struct row **row, struct version **out);

/* Writes a tombstone, whether or not there is a row. Is not refused for memory. */
int txn_delete(struct txn *txn, struct head *head, const void *key, size_t key_size);

/*
 * Adds an entry of a secondary index, whose row has just been written by txn_put (version first,
 * then the entry, invariant 14). Returns 0 or ERROR_MEMORY.
 */
int txn_entry_add(struct txn *txn, struct txn_index *index, const void *key, size_t key_size,
                  struct row *row);

/* After a version of `row` was dropped: unlinks the entry with this key unless a version that is
 * left in the chain matches it. */
void txn_entry_sweep(struct txn_worker *worker, struct txn_index *index, const void *key,
                     size_t key_size, struct row *row);

/*
 * Uniqueness of a secondary key (invariant 15): looks for another row than `own` under an entry
 * that begins with prefix. Called after the own entry has been added. 0: nobody has it.
 * ERROR_DUPLICATE: *holder is the row that does. ERROR_CONFLICT: another transaction is about to,
 * or has since the snapshot.
 */
int txn_unique_check(struct txn *txn, struct txn_index *index, const void *prefix,
                     size_t prefix_size, struct row *own, struct row **holder);

/* A point to return to: undoes the writes made since. Reads stay in the read set. */
struct txn_savepoint {
    size_t writes;
};
struct txn_savepoint txn_savepoint(const struct txn *txn);
void txn_rollback_to(struct txn *txn, struct txn_savepoint savepoint);
bool txn_has_writes(const struct txn *txn);

/* Makes commit fail with ERROR_CONFLICT unless the row's newest committed version is still `seen`,
 * at every level (invariant 21: catalog rows). */
int txn_depend(struct txn *txn, struct head *head, struct row *row, const struct version *seen);

/*
 * A cursor over the visible rows of an index in key order. Index and bounds stay valid while it is
 * used; NULL is unbounded. What it has passed belongs to the read set under
 * TXN_SERIALIZABLE, up to where it stopped. Rows written by this transaction are seen, also those
 * written after the cursor was opened if it has not passed their leaf.
 */
struct txn_range {
    const void *lower, *upper;
    size_t lower_size, upper_size;
    bool lower_inclusive, upper_inclusive;
    bool backward;
};

struct txn_cursor {
    struct txn *txn;
    struct txn_index *index;
    struct txn_range range;
    struct tree_cursor tree;
    struct txn_range_read *read; /* what validation needs, NULL when nothing is recorded */
};

void txn_cursor_open(struct txn_cursor *cursor, struct txn *txn, struct txn_index *index,
                     const struct txn_range *range);

/* 0 with *row and *version, ERROR_END, ERROR_CONFLICT or ERROR_MEMORY. No close is needed. */
int txn_cursor_next(struct txn_cursor *cursor, struct row **row, const struct version **version);

/*
 * Runs fn in a transaction and commits; after a conflict again from the start, with backoff, and
 * after TXN_LOSSES_MAX losses in the exclusive gate, so that it finishes. fn returns 0 to commit;
 * any other code rolls back and is returned (ERROR_CONFLICT: run again).
 */
enum { TXN_LOSSES_MAX = 4 };
typedef int (*txn_fn)(struct txn *txn, void *arg);
int txn_run(struct txn_worker *worker, const struct txn_options *options, txn_fn fn, void *arg);

/* For those that run a body themselves: waits a little after the n-th loss (from 1), and says in
 * *options whether the next run is exclusive. */
void txn_backoff(struct txn_worker *worker, unsigned losses, struct txn_options *options);

/*
 * Runs `fn` when the transaction has committed, before others may begin to write if it is
 * exclusive. One function a transaction; it must not fail. For publishing what the commit has made
 * true.
 */
void txn_on_commit(struct txn *txn, void (*fn)(struct txn *txn, void *arg), void *arg);

/* Recovery: puts what the log says into a head unless a newer timestamp is there. No transaction
 * runs. 0 or ERROR_MEMORY. */
int txn_replay(struct tree_thread *thread, struct head *head, uint64_t ts, const void *key,
               size_t key_size, const void *data, uint32_t size, bool tombstone);

/* After replay: unlinks the rows that are tombstones. */
void txn_replay_end(struct tree_thread *thread, struct head *head);

/* Frees a tree of rows with all their versions, or a tree of entries. Nobody uses it any more. */
void txn_rows_delete(struct tree_thread *thread, struct tree *tree);
void txn_entries_delete(struct tree_thread *thread, struct tree *tree);

/* One operation of a redo record, as read from the body that the log hands over. */
struct txn_redo {
    uint32_t head_id, head_incarnation;
    const unsigned char *key;
    size_t key_size;
    const char *data; /* NULL for a tombstone */
    uint32_t size;
};

/* Reads the next operation at *body and advances it; ERROR_END behind the last, ERROR_CORRUPT. */
int txn_redo_next(const char **body, const char *end, struct txn_redo *out);

struct txn_stats {
    uint64_t commits, rollbacks, conflicts, retries, gate_entries, rows_queued;
};
void txn_stats_get(const struct txn_system *system, struct txn_stats *out);

#endif
