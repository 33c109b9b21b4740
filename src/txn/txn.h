/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TXN_TXN_H
#define TXN_TXN_H

/*
 * Multi-version transactions over the head: snapshots, versions, conflicts, validation, commit,
 * garbage.
 *
 * A txn_system is shared by all threads of a database; each thread that runs transactions has a
 * txn_worker, which has at most one current transaction. One of txn_begin runs and ends in one call
 * from its thread's point of view. One of txn_open may be parked between statements, so that its
 * worker runs others meanwhile. Pointers to versions and rows are valid until the transaction ends
 * or is parked (a current one holds a reclamation epoch).
 *
 * Levels. TXN_READ_UNCOMMITTED: reads see what others have written and not yet committed.
 * TXN_READ_COMMITTED: each statement reads the latest committed, and writes conflict only with
 * writes that are going on. TXN_SNAPSHOT, also called repeatable read: all reads are at one
 * snapshot, and of those who write one row the first wins. TXN_SERIALIZABLE: in addition every row,
 * absent key and range that was read is validated at the commit timestamp.
 *
 * Waiting. Nothing here puts a thread to sleep for a lock or for a parked transaction. An operation
 * that would have to wait returns ERROR_WAIT, and its lock owner (txn_owner) is queued. The runner
 * rolls back, to where the statement began if the transaction can be parked and else altogether,
 * lets the thread do something else until lock_owner's wake function is called (or calls
 * lock_wait_block), and runs it again, with the same owner, whose locks are kept meanwhile.
 *
 * Timestamps for replies (invariant 9): txn_seen_ts is the largest timestamp of any version that
 * the transaction looked at or wrote; a reply waits until wal_reply_ts reaches it. A read-only
 * transaction at V has looked at nothing above V, and never waits.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "index/tree.h"
#include "mem/arena.h"
#include "mem/heap.h"
#include "record/version.h"
#include "storage/engine.h"
#include "wal/wal.h"

struct txn_system;
struct txn_worker;
struct txn;
struct lock_owner;
struct lock_table;
struct parcel;

enum txn_level { TXN_READ_COMMITTED, TXN_SNAPSHOT, TXN_SERIALIZABLE, TXN_READ_UNCOMMITTED };

/* "serializable", "snapshot", "repeatable read", "read committed", "read uncommitted", in either
 * case, with '-' or '_' for the space as well; false when it is none of them. The name of a level
 * is a static string. */
bool txn_level_parse(const char *name, size_t size, enum txn_level *out);
const char *txn_level_name(enum txn_level level);

enum { HEAD_STRIPES = 8 };

/*
 * Rows that expire: from `expires_ms` of its tuple on (milliseconds since 1970; EXPIRES_NEVER) a row is absent
 * for whoever reads at that time or later (invariant 35). Of a transaction the time is that at which it first
 * looks at such a head since its snapshot was taken, so two looks at one snapshot give the same; who has none
 * asks horizon_ms: what expired up to there nobody sees any more, nor will.
 */
#define EXPIRES_NEVER UINT64_MAX
struct head_expiry {
    uint64_t (*expires_ms)(const struct head_expiry *expiry, const char *tuple);
    uint64_t (*horizon_ms)(const struct head_expiry *expiry);
};

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
    struct head_body *body; /* where rows are that have left; NULL: all are here */
    const struct head_expiry
        *expiry;   /* NULL: rows stay until they are deleted. Set before anybody reads */
    bool tracked;  /* changed rows are listed for checkpoints (txn_changes_take), and tombstones of
                     what a run has stay until one has taken them (invariants 19 and 33) */
    bool unlogged; /* what is written is in no record of the log: it lasts until the end */
    /* Nobody knows which rows it has: nothing is written (txn_doubtful) until that is known. Set in the gate. */
    _Atomic bool doubtful;
    /* All of the above is only read, what follows is written by every commit (28). */
    char apart[CACHE_LINE_SIZE];
    /* How many rows exist and the bytes of their tuples, as changes by commits; the sums count, each
     * worker adds to one of them. */
    struct {
        _Atomic int64_t change, bytes;
        char apart[CACHE_LINE_SIZE - 2 * sizeof(int64_t)];
    } live[HEAD_STRIPES];
};

/*
 * The body of a head whose rows leave it once they are there (txn_body.c). A row that is not in the
 * head is what the newest picture of the body says, at the reader's snapshot (invariants 17 and 18).
 */
struct head_body {
    struct body_view *_Atomic view; /* replaced by txn_body_publish, held by epochs */
    _Atomic uint64_t k;             /* rows up to this timestamp may leave */
};

/*
 * All indexes of a head lie in one body: a byte with the number of the index, and the key behind it.
 * What is under the key of an entry is how many bytes of it are the index's own parts, in big-endian
 * order, four bytes; the rest of the key is the primary key. Of a row that expires eight bytes follow: when.
 */
enum { BODY_KEY_SIZE_MAX = 1024, BODY_ENTRY_SIZE = 4, BODY_ENTRY_SIZE_MAX = 12 };

static inline size_t txn_body_entry_put(char *out, size_t parts_size, uint64_t expires_ms)
{
    for (unsigned i = 0; i < BODY_ENTRY_SIZE; i++)
        out[i] = (char)(parts_size >> 8 * (BODY_ENTRY_SIZE - 1 - i));
    if (expires_ms == EXPIRES_NEVER)
        return BODY_ENTRY_SIZE;
    for (unsigned i = 0; i < 8; i++)
        out[BODY_ENTRY_SIZE + i] = (char)(expires_ms >> 8 * (7 - i));
    return BODY_ENTRY_SIZE_MAX;
}

/* False when it is damaged. */
static inline bool txn_body_entry_get(const char *data, size_t size, size_t *parts_size,
                                      uint64_t *expires_ms)
{
    if (size != BODY_ENTRY_SIZE && size != BODY_ENTRY_SIZE_MAX)
        return false;
    *parts_size = 0;
    *expires_ms = size == BODY_ENTRY_SIZE ? EXPIRES_NEVER : 0;
    for (unsigned i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)data[i];
        if (i < BODY_ENTRY_SIZE)
            *parts_size = *parts_size << 8 | byte;
        else
            *expires_ms = *expires_ms << 8 | byte;
    }
    return true;
}

/* When the row of a tuple expires; whether nobody sees it any more, whoever he is. */
static inline uint64_t txn_expires_ms(const struct head *head, const char *tuple)
{
    return head->expiry == NULL ? EXPIRES_NEVER : head->expiry->expires_ms(head->expiry, tuple);
}

static inline bool txn_expired_for_all(const struct head *head, const char *tuple)
{
    return head->expiry != NULL &&
           head->expiry->expires_ms(head->expiry, tuple) <= head->expiry->horizon_ms(head->expiry);
}

/* Rows that exist, as of the commits that have ended: neither uncommitted ones nor tombstones, which
 * the tree has as well, nor those that have left for the body. Any thread. */
uint64_t txn_head_rows(const struct head *head);

/* Bytes of the tuples of these rows. */
uint64_t txn_head_bytes(const struct head *head);

/*
 * An index to scan: the primary tree of a head, or a secondary one. `matches` is NULL for the
 * primary; for a secondary index it tells whether the version is one that belongs under this
 * entry's key: 1, 0, or an error. Who can't tell keeps the entry, and does not commit on it.
 */
struct txn_index {
    struct tree *tree;
    struct head *head;
    int (*matches)(const struct txn_index *index, const struct entry *entry,
                   const struct version *version);
    void *arg;
    unsigned char number; /* of the index: its place in the head's body; 0 for the primary */
    bool counted;         /* keys are computed by code that nobody can vouch for */
    bool filling; /* entries are being added for versions that were there before it: sweeps fence */
};

struct txn_system_options {
    struct wal *wal;   /* the clock, D and the log */
    struct heap *heap; /* rows and versions; its limit makes txn_put return ERROR_MEMORY */
    struct epoch_domain *epochs; /* reclamation, for at least worker_max slots; like wal and heap it
                                    outlives the system */
    unsigned worker_max;
    unsigned parked_max;      /* transactions of txn_open at a time; 0: 1024 */
    struct clock *clock;      /* for ages; NULL: the system's */
    unsigned escalation_rows; /* row locks of one transaction in one space before it tries to lock
                                 the space instead; 0: 1000 */
};

int txn_system_new(const struct txn_system_options *options, struct txn_system **out);
void txn_system_delete(struct txn_system *system);

/* A worker for the calling thread: opens a log buffer, a heap cache and an epoch slot.
 * ERROR_INVALID when all are taken. */
int txn_worker_open(struct txn_system *system, struct txn_worker **out);
void txn_worker_close(struct txn_worker *worker);

/*
 * Its transactions do not pass the gate, so that they may run while their thread has another one going
 * on, be that the gate's owner: for rows of a head that is never dropped, which nobody else writes.
 * Right after it was opened. Whoever uses it sees to it that it is one thread at a time.
 */
void txn_worker_set_apart(struct txn_worker *worker);

/* What a worker's thread may use of it for trees of its own. */
struct tree_thread *txn_worker_thread(struct txn_worker *worker);
struct txn_system *txn_worker_system(struct txn_worker *worker);

/* Something of the caller's, for those who have only a transaction; NULL until it is set. */
void txn_worker_arg_set(struct txn_worker *worker, void *arg);
void *txn_worker_arg(const struct txn_worker *worker);

/*
 * Called now and then where a transaction of many rows ends, between two of them, on the worker's thread: where it
 * holds what it holds between two statements, and nothing more. NULL: nobody is. It begins no transaction of the
 * worker's.
 */
void txn_worker_pause_set(struct txn_worker *worker, void (*pause)(void *arg), void *arg);
struct wal *txn_system_wal(struct txn_system *system);
struct lock_table *txn_system_locks(struct txn_system *system);

/* Frees what no snapshot needs any more, for at most about `budget` rows. For idle moments and
 * after D has advanced; also done as a side effect of commits. Returns the number of rows still
 * queued. */
size_t txn_collect(struct txn_worker *worker, size_t budget);

/* The worker has had nothing to do for a while: gives back memory that it needs when it is busy. */
void txn_worker_rest(struct txn_worker *worker);

/* Forgets what all workers had queued for a head that is about to go. The worker's running
 * transaction is exclusive. */
void txn_collect_forget(struct txn *txn, const struct head *head);

struct txn_options {
    enum txn_level level;
    bool readonly; /* writes fail with ERROR_READONLY; reads at V */
    bool latest; /* with readonly: read the latest instead of V (a connection whose earlier replies
                    still wait) */
    bool exclusive; /* alone among all transactions that may write: waits for those that run to end;
                       parked ones in its way are rolled back (invariant 24) */
    bool durable;   /* with readonly: read at D whatever the level of durability, for checkpoints;
                       txn_cancel_older leaves it alone */
    bool whole;     /* it has no savepoints: all of it happens or nothing */
    struct lock_owner *owner; /* whose locks and age it has: the caller's, from txn_owner_detach or
                                 lock_owner_new. NULL: the worker's own, which lets go at the end */
    uint64_t session_id;      /* who it is for, for those who look; 0: nobody */
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

/*
 * A transaction that outlives the call that began it. It is the worker's current one until
 * txn_park, and again after txn_resume, on a worker of the same thread. While it is parked it holds
 * no epoch, and whatever it keeps from being freed is what its snapshot needs; it may be rolled
 * back by others: to let an exclusive one pass, or because of a limit (txn_cancel). ERROR_BUSY when
 * parked_max are open.
 *
 * txn_resume returns 0, or ERROR_CANCELLED with the reason in the diagnostics: then the transaction
 * has ended. txn_commit and txn_rollback end it as any other; both demand that it is current.
 */
int txn_open(struct txn_worker *worker, const struct txn_options *options, struct txn **out);
void txn_park(struct txn *txn);
int txn_resume(struct txn *txn);

/* Whether a parked one has been ended by others: then txn_resume does not wait. By its owner. */
bool txn_was_ended(const struct txn *txn);

/* Cancels parked transactions, and marks running ones so that their next operation returns
 * ERROR_CANCELLED: those of a session, or those whose snapshot is older than age_ns. Returns how
 * many. From any thread that has a worker without a current transaction. Does not wait: a parked one that may write is
 * left as it is while somebody owns the gate, and not counted; the next call looks again. */
unsigned txn_cancel_session(struct txn_worker *worker, uint64_t session_id);
unsigned txn_cancel_older(struct txn_worker *worker, uint64_t age_ns);

/* ERROR_BUSY, saying so, for a head that is `doubtful`. */
int txn_doubtful(const struct head *head);

/* Whether who begins to write now has to wait for the owner of the gate, for those who may as well come later. */
bool txn_gate_is_closed(struct txn_system *system);

/* Rolls back every parked transaction that may write, for a reason, a static string that its owner is told: behind it
 * there is none that began before the gate was closed. The worker's running transaction is exclusive. */
void txn_abort_parked(struct txn *txn, const char *reason);

/* The least time at which a transaction that runs, or will, looks for what has expired: what head_expiry.horizon_ms
 * gives. Any thread. */
uint64_t txn_horizon_ms(struct txn_system *system);

/* The oldest snapshot that is held. False when none is. */
struct txn_oldest {
    uint64_t snapshot_ts, session_id, age_ns;
    bool parked, readonly;
};
bool txn_oldest_get(const struct txn_system *system, struct txn_oldest *out);

/* The owner of the transaction's locks; made on the first call. NULL when memory is out. */
struct lock_owner *txn_owner(struct txn *txn);

/* After a transaction of txn_begin without an owner in its options ended with ERROR_WAIT: takes the
 * owner out of the worker's hands, so that the caller may wait and run again with it, and deletes
 * it in the end by lock_owner_delete. NULL when nothing waits. */
struct lock_owner *txn_owner_detach(struct txn_worker *worker);

/* Locks, held until the transaction ends (of an owner in the options: until its locks are released
 * or a savepoint before them is returned to). 0, ERROR_WAIT, ERROR_DEADLOCK, ERROR_CONFLICT (what is
 * to be locked exclusively was changed since the snapshot), ERROR_MEMORY. A key without a row can be
 * locked. Those who write without locks respect these. Not for read-only transactions, which never
 * wait: ERROR_READONLY. */
enum txn_lock { TXN_LOCK_SHARED, TXN_LOCK_EXCLUSIVE };
int txn_lock_row(struct txn *txn, struct head *head, const void *key, size_t key_size,
                 enum txn_lock mode);
int txn_lock_space(struct txn *txn, struct head *head, enum txn_lock mode);

/* Largest timestamp looked at or written by the transaction that ended last on this worker. */
uint64_t txn_worker_seen_ts(const struct txn_worker *worker);

/* Also counts when the transaction goes on: what has been looked at so far. */
uint64_t txn_seen_ts(const struct txn *txn);

/* Something that the transaction has been told rests on what was committed at ts. */
void txn_see(struct txn *txn, uint64_t ts);
uint64_t txn_snapshot_ts(const struct txn *txn);
enum txn_level txn_level(const struct txn *txn);
struct txn_worker *txn_worker_of(struct txn *txn);
bool txn_readonly(const struct txn *txn);

/* Once doomed (by a conflict, invariant 22, by having to wait, by another or by the caller) every
 * operation returns the same code, and so does commit. txn_stopped tells which: 0, ERROR_CONFLICT,
 * ERROR_WAIT (until txn_rollback_to), ERROR_DEADLOCK or ERROR_CANCELLED. */
bool txn_doomed(const struct txn *txn);
int txn_stopped(struct txn *txn);
void txn_doom(struct txn *txn);

/* Memory of the transaction: gone when it ends. */
struct arena *txn_arena(struct txn *txn);

/*
 * Something of the caller's in the transaction's arena: what it remembers of what it has read. NULL at
 * the beginning, and again when the transaction has been parked (rows that were found may go) or has
 * returned to a savepoint (what it remembers may have been written since). Under SNAPSHOT and
 * SERIALIZABLE alone what was read once is what would be read again.
 */
void *txn_notes(const struct txn *txn);
void txn_notes_set(struct txn *txn, void *notes);

/* The transaction that runs on this worker, or NULL. */
struct txn *txn_current(struct txn_worker *worker);

/* How many transactions this worker has begun: tells its present one from earlier ones. */
uint64_t txn_worker_begun(const struct txn_worker *worker);

/* Under read committed, moves the snapshot to now; otherwise does nothing. db and redis call it
 * once a statement. */
void txn_statement(struct txn *txn);

/*
 * A transaction of txn_begin at read committed that has written and tagged nothing goes on at
 * serializable, with a snapshot of now: for a statement that finds out what it has to read. What it
 * has read before counts for nothing. Of any other transaction nothing changes: it is validated
 * already, or its owner has chosen what it may miss.
 */
void txn_strengthen(struct txn *txn);

/* The number of a worker, below worker_max: for what is divided among them. */
unsigned txn_worker_number(const struct txn_worker *worker);

/* The visible version, NULL in *out when there is none or it is a tombstone. Joins the read set
 * under TXN_SERIALIZABLE. Returns 0 or ERROR_CONFLICT. */
int txn_get(struct txn *txn, struct head *head, const void *key, size_t key_size,
            const struct version **out);

/* The same of a row that the caller has come to in the tree of a head, since the transaction began or went
 * on. */
int txn_get_row(struct txn *txn, struct head *head, struct row *row, const struct version **out);

/* The same, but nothing joins the read set: what was seen may be otherwise by the time of the commit.
 * For answers that may be those of a moment ago. */
int txn_peek(struct txn *txn, struct head *head, const void *key, size_t key_size,
             const struct version **out);

/* The same of a row that the caller has come to in the tree of a head that has all its rows, since the
 * transaction began or went on. Nothing to see says nothing of a later row of the key. */
void txn_peek_row(struct txn *txn, const struct head *head, const struct row *row,
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

/* The parcel that a version stands in, or NULL: who reads it in a transaction may take a hold, and then has
 * its bytes for as long as that lasts. */
struct parcel *txn_version_parcel(const struct version *version);

/*
 * As txn_put with `data` NULL, of bytes that need not be copied: the version stands around the data of a
 * parcel that the caller has taken (mem/parcel.h), with `before` bytes in front of it, which are the
 * caller's to fill. That hold is the version's from the call on, also when it fails. _fits: whether
 * `before` is such that it can.
 */
bool txn_parcel_fits(struct parcel *parcel, size_t before);
int txn_put_parcel(struct txn *txn, struct head *head, const void *key, size_t key_size,
                   struct parcel *parcel, size_t before, struct row **row, struct version **out);

/*
 * As txn_put, of a row that has no entries in secondary indexes, and of whose earlier versions the caller
 * keeps no bytes: in a transaction that is `whole`, what it has written by this before is written anew in
 * place where the size is the same. For numbers that count.
 */
int txn_put_over(struct txn *txn, struct head *head, const void *key, size_t key_size,
                 const void *data, uint32_t size);

/*
 * The bytes of what txn_put_over has written by this transaction as the newest of a row, to be read and
 * written anew in place until the next call; NULL when there are none, or the transaction is not `whole`.
 */
char *txn_over_bytes(struct txn *txn, struct head *head, const void *key, size_t key_size,
                     uint32_t *size);

/* Whether what is written from now on serves to free memory: then the heap's limit does not refuse it
 * (a pop writes what is left, a delete what has to be cleared up). */
void txn_spare(struct txn *txn, bool spares);

/* Writes a tombstone, whether or not there is a row. Is not refused for memory. */
int txn_delete(struct txn *txn, struct head *head, const void *key, size_t key_size);

/*
 * Adds an entry of a secondary index, whose row has just been written by txn_put (version first,
 * then the entry, invariant 14). The first parts_size bytes of the key are the index's own parts.
 * Returns 0 or ERROR_MEMORY.
 */
int txn_entry_add(struct txn *txn, struct txn_index *index, const void *key, size_t key_size,
                  size_t parts_size, struct row *row);

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

/*
 * Filling an index while others write (txn_fill.c): all inside of the worker's epoch, and without a
 * transaction. Writers know the index, whose `filling` is set, from before the filling begins.
 *
 * txn_row_each calls fn for each version of the row that carries a tuple, the newest first; nonzero
 * ends and is returned.
 */
enum txn_version_state { TXN_VERSION_OPEN, TXN_VERSION_NEWEST, TXN_VERSION_OLD };
typedef int (*txn_version_fn)(const struct version *version, enum txn_version_state state,
                              void *arg);
int txn_row_each(const struct row *row, txn_version_fn fn, void *arg);

/* Adds the entry of a version that was found in the row, unless it has gone meanwhile. */
int txn_entry_fill(struct txn_worker *worker, struct txn_index *index, const void *key,
                   size_t key_size, size_t parts_size, struct row *row,
                   const struct version *version);

/* Whether another row is under an entry that begins with prefix, at a moment at which `version` was
 * own's newest committed one: _COMMITTED. _OPEN: perhaps, once those that write now are over. */
enum txn_holder { TXN_HOLDER_NONE, TXN_HOLDER_COMMITTED, TXN_HOLDER_OPEN };
enum txn_holder txn_unique_look(struct txn_worker *worker, struct txn_index *index,
                                const void *prefix, size_t prefix_size, const struct row *own,
                                const struct version *version);

/*
 * The same where rows leave the head, of the rows that entries of its body lead to: whether one of them,
 * but for that with the primary key `own` (data NULL: all), is under `prefix`. *holder: its primary key.
 * What it takes is in the arena. Inside of the worker's epoch. 0, or an error of the body.
 *
 * Who has published a picture of the body and then, after txn_fill_fence, looks at the rows of the head
 * meets each version whose writer has looked for others in an older picture.
 */
int txn_body_holder(struct txn_index *index, const struct engine_key *prefix,
                    const struct engine_key *own, struct arena *arena, enum txn_holder *found,
                    struct engine_key *holder);
void txn_fill_fence(struct txn_worker *worker);

/*
 * Foreign keys (invariant 30): whether a row is under an entry that begins with the prefix, in a
 * unique index, and stays there unless its end meets this transaction. Called after what refers to it
 * has been written. Whoever ends a row calls txn_unique_check behind that, with the index and key of
 * what refers, and without an own row. 0; ERROR_NOT_FOUND; ERROR_CONFLICT: it depends on what another
 * transaction does, or has done since the snapshot; ERROR_WAIT.
 */
int txn_reference_check(struct txn *txn, struct txn_index *index, const void *prefix,
                        size_t prefix_size);

/* A point to return to: undoes the writes made since. Reads stay in the read set. */
struct txn_savepoint {
    size_t writes, deferred, locks;
    size_t reads, keyed, parks; /* what a statement at read committed was going to rest on */
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
    const struct item *item;     /* at which txn_cursor_next has stopped: the row's, or its entry */
    struct item *ahead;          /* of the tree, taken from it and not given out, with a walk */
    struct txn_range_read *read; /* what validation needs, NULL when nothing is recorded */
    struct txn_body_walk *walk;  /* of a head whose rows leave it: the same range of the body */
    bool loose;                  /* nothing of it is recorded */
    /* How many items it has passed that are not there for the transaction, since the last row that it
     * gave out; at `passed_max` (0: never) txn_cursor_next says so once and can be asked again. */
    unsigned passed, passed_max;
};

void txn_cursor_open(struct txn_cursor *cursor, struct txn *txn, struct txn_index *index,
                     const struct txn_range *range);

/* The same, but nothing of what it passes joins the read set: what was seen may be otherwise by the
 * time of the commit. For hints, and for answers that may be those of a moment ago. */
void txn_cursor_open_loose(struct txn_cursor *cursor, struct txn *txn, struct txn_index *index,
                           const struct txn_range *range);

/* Right after it was opened, by who will hardly want more than so many rows (tree_cursor_few). */
void txn_cursor_few(struct txn_cursor *cursor, unsigned few);

/* From here on, right after it was opened, the cursor may use again what a row took: row and version are
 * valid until the call behind the next one. So going over more than fits into memory takes a bounded part of
 * it. Where rows stay in the head, by a secondary index, and where the range is validated at commit it is
 * as ever. */
void txn_cursor_brief(struct txn_cursor *cursor);

/* A hint, right after it was opened: at most so many rows are going to be asked for. Where rows leave the head, those that
 * a secondary index leads to are read many at a time; without the hint it begins with few. */
void txn_cursor_expect(struct txn_cursor *cursor, uint64_t rows);

/* The row with these parts of a unique index: as a cursor over the entries that begin with them, or
 * without one where a hash directory has it. 0, ERROR_END and so on. The key stays valid until the
 * transaction ends. */
int txn_unique_get(struct txn *txn, struct txn_index *index, const void *parts, size_t parts_size,
                   struct row **row, const struct version **version);

/* 0 with *row and *version, ERROR_END, ERROR_CONFLICT, ERROR_MEMORY, or ERROR_AGAIN at passed_max. No
 * close is needed. */
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

/*
 * Deferred actions (invariant 10): `data` is copied and goes out after the commit, when V has
 * reached its timestamp, in order of timestamps over all workers, at most once; never after a
 * rollback, also to a savepoint before it, nor when the log failed first. `kind` is the caller's.
 *
 * txn_deferred_run hands over what may go, in order; one thread at a time does it (the others return
 * at once, and what comes meanwhile is done by the one who is at it). Call it when the log has
 * advanced and txn_deferred_pending.
 */
int txn_defer(struct txn *txn, unsigned kind, const void *data, size_t size);

/* The same, but it goes nowhere if *wanted (NULL: always is) is 0 when the commit can be seen. Who
 * counts that up first, and then begins a transaction at the latest, misses nothing: either it sees
 * the commit, or the action goes out. */
int txn_defer_if(struct txn *txn, unsigned kind, const void *data, size_t size,
                 const _Atomic uint32_t *wanted);
typedef void (*txn_deferred_fn)(uint64_t ts, unsigned kind, const void *data, size_t size,
                                void *arg);
bool txn_deferred_pending(const struct txn_system *system);
void txn_deferred_run(struct txn_system *system, txn_deferred_fn fn, void *arg);

/*
 * Rows of tracked heads that commits have changed (invariant 19), each listed once. A checkpoint
 * takes the list, writes for each row the version that was committed at its K, makes it durable,
 * and says so row by row; a row that has changed since is listed again. Until then the row's memory
 * is not freed, nor are versions that a snapshot at K sees. A row that no run has may leave its tree
 * meanwhile, when it was deleted (invariant 33): then it has no version at K, and another row may have
 * its key.
 */
struct txn_change {
    struct head *head;
    struct row *row;
};
struct txn_changes {
    struct txn_change *items; /* not by itself a malloc'ed array: these functions know */
    size_t count, capacity;
};

/* Moves what all workers have listed into *changes, which is empty (zero-initialised) and freed by
 * txn_changes_free. ERROR_MEMORY: nothing was taken. Any thread. */
int txn_changes_take(struct txn_system *system, struct txn_changes *changes);

/* Lists rows again, after a checkpoint that failed or did not have all of them, and what replay has
 * listed. Cannot fail: the array itself goes to the system, and *changes is empty. */
void txn_changes_return(struct txn_system *system, struct txn_changes *changes);
int txn_changes_add(struct txn_changes *changes, struct head *head, struct row *row);
int txn_changes_append(struct txn_changes *to, const struct txn_changes *from);
void txn_changes_free(struct txn_changes *changes);

/* How many rows are listed. */
uint64_t txn_changes_pending(const struct txn_system *system);

/* The version of the row that was committed at or before ts, tombstones included, and its
 * timestamp; NULL when there is none. Inside of the worker's epoch (txn_worker_enter). */
const struct version *txn_row_at(const struct row *row, uint64_t ts, uint64_t *ts_out);

/*
 * A version of the row is about to be written into a run, or has come from one: from now on its
 * tombstones stay until a run has them. While the snapshot at K, where the version is from, is
 * registered. txn_row_in_run tells; of a row that is in no run a tombstone need not be written.
 */
void txn_row_enters_run(struct row *row);
bool txn_row_in_run(const struct row *row);

/* The row is on no list any more, because its head goes. */
void txn_change_forget(struct txn_worker *worker, const struct txn_change *change);

/*
 * Bodies whose rows leave the head.
 *
 * txn_body_publish puts a new picture in place of the one that readers have, which is closed when the
 * last of them has gone; from then on rows of which nobody needs what is older than k leave the head:
 * those that txn_change_done is called for, by txn_collect. The body has all that was committed up to
 * k. NULL for `view`, which is for the end: nobody reads any more.
 *
 * txn_body_snapshots gives what an absorbing or tidying of rows up to k has to keep versions for, in
 * ascending order, valid until the worker's next transaction or collection. Of those who begin later
 * none reads below k. ERROR_MEMORY.
 */
void txn_body_publish(struct tree_thread *thread, struct head_body *body, struct body_view *view,
                      uint64_t k);
int txn_body_snapshots(struct txn_worker *worker, uint64_t k, struct engine_snapshots *out);

/* The row's state up to K is durable in a body. Inside of the worker's epoch. After a checkpoint at
 * K, for each row taken for it, also those for which there was nothing to write. False when the row
 * has changed since: the caller keeps it in *changes for txn_changes_return. */
bool txn_change_done(struct txn_worker *worker, const struct txn_change *change, uint64_t k);

/* Reclamation epochs for a thread that follows rows without a current transaction; short. */
void txn_worker_enter(struct txn_worker *worker);
void txn_worker_leave(struct txn_worker *worker);

/*
 * Rows that are to be what the body says of them, to all who read from now on and to those who read already: they
 * leave the head at once, whatever snapshots are held and whoever has them queued. What is published of the body
 * has each version of theirs that a snapshot sees. `txn` is exclusive, and there are no parked transactions that may write.
 * _expellable, in the gate too: false when something of the row is not committed, or is newer than k, or code that nobody
 * can vouch for computes its entries; *there tells whether the head says anything of the row: only such a one is put out.
 */
bool txn_row_expellable(const struct row *row, uint64_t k, bool *there);
void txn_rows_expel(struct txn *txn, struct head *head, struct row *const *rows, size_t count);

/* Puts the clock forward to ts at least, and a record of nothing into the log, so that the log comes to it too. Once
 * after _reserve, which may wait; nothing of the worker commits in between. ERROR_LOG_FAILED, ERROR_MEMORY. */
int txn_clock_reserve(struct txn_worker *worker);
void txn_clock_raise(struct txn_worker *worker, uint64_t ts);

/* Recovery: puts what a run says into a head, and notes that one has the row (invariant 33). Before
 * the log. No transaction runs. 0 or ERROR_MEMORY. */
int txn_replay_run(struct tree_thread *thread, struct head *head, uint64_t ts, const void *key,
                   size_t key_size, const void *data, uint32_t size);

/* Puts what the log says into a head unless a newer timestamp is there. *out is the row, for
 * txn_changes_add, or NULL when a newer one was there. */
int txn_replay_row(struct tree_thread *thread, struct head *head, uint64_t ts, const void *key,
                   size_t key_size, const void *data, uint32_t size, bool tombstone,
                   struct row **out);

/* After replay: takes rows off the list that the log has made and deleted again, and no run has. */
void txn_replay_settle(struct txn_changes *changes);

/* After that: unlinks the rows that are tombstones, but for listed ones. */
void txn_replay_end(struct tree_thread *thread, struct head *head);

/* Frees a tree of rows with all their versions, or a tree of entries, whose rows are still there.
 * Nobody uses it any more. */
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

/* Why transactions ended without a commit, or lost. */
enum txn_cause {
    TXN_CAUSE_WRITE,     /* the row was written by another, first */
    TXN_CAUSE_READ,      /* what was read has changed: validation */
    TXN_CAUSE_UNIQUE,    /* two raced for a unique key */
    TXN_CAUSE_REFERENCE, /* one wrote what refers to a row, and one took that away */
    TXN_CAUSE_WAIT,      /* had to wait for a lock: rolled back to be run again */
    TXN_CAUSE_DEADLOCK,
    TXN_CAUSE_CANCELLED, /* by a limit, by its session's end, or to let an exclusive one pass */
    TXN_CAUSE_ROLLBACK,  /* by its own will, or an error */
    TXN_CAUSE_MAX
};
const char *txn_cause_name(enum txn_cause cause);

struct txn_stats {
    uint64_t commits, rollbacks, conflicts, retries, gate_entries, rows_queued;
    uint64_t aborts[TXN_CAUSE_MAX];
    uint64_t deferred; /* actions that went out */
    uint64_t open;     /* transactions of txn_open now */
    uint64_t changes;  /* rows listed for the next checkpoint */
};
void txn_stats_get(const struct txn_system *system, struct txn_stats *out);

/* Where conflicts were lost: space and the beginning of the key, as the index has it, the most
 * frequent first; an estimate (Metwally's space saving) when there are many different ones. Returns
 * how many were written to out[0..max). */
enum { TXN_PREFIX_MAX = 16 };
struct txn_conflict {
    uint32_t space_id, prefix_size;
    unsigned char prefix[TXN_PREFIX_MAX];
    uint64_t count;
};
unsigned txn_conflicts_get(struct txn_system *system, struct txn_conflict *out, unsigned max);

#endif
