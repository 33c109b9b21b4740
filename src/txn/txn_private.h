/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TXN_TXN_PRIVATE_H
#define TXN_TXN_PRIVATE_H

/*
 * What the files of txn share among themselves. See README.md for the picture and txn.h for the
 * contract.
 */
#include "base/assert.h"
#include "base/random.h"
#include "txn/txn.h"

/*
 * The state of a transaction in one word, which decides the visibility of all its versions: low two
 * bits the state, the rest the commit timestamp. Preparing with timestamp 0 means: about to take
 * one. Preparing is stored before the clock is advanced, so whoever has read the clock at S and
 * then finds a transaction active knows that its timestamp will be above S.
 */
enum {
    STATE_ACTIVE = 0,
    STATE_PREPARING = 1,
    STATE_COMMITTED = 2,
    STATE_ABORTED = 3,
    STATE_MASK = 3,
    STATE_TS_SHIFT = 2
};

/* VERSION_LOCK: a placeholder that tags a row and carries nothing: readers go on to the older
 * version (invariant 11). */
enum { VERSION_LOCK = 2 };

/* A tag points to one of these. Retired through epochs, since readers may hold the tag longer than
 * the transaction runs. */
struct txn_descriptor {
    _Atomic uint64_t state;
    uint64_t begin_order; /* of two that race for a unique key the later one yields */
    struct txn_descriptor *next_free;
    struct version lock; /* the placeholder of txn_get_for_update */
};

/*
 * What other threads see of a worker. `snapshot` is SNAPSHOT_NONE, or a timestamp at most as large
 * as the one read at; with SNAPSHOT_STARTING set, every timestamp from there on counts as needed.
 * `writing` is 1 while a transaction that may write runs.
 */
#define SNAPSHOT_NONE     UINT64_MAX
#define SNAPSHOT_STARTING (UINT64_C(1) << 62)

struct txn_slot {
    CACHE_ALIGNED _Atomic uint64_t snapshot;
    _Atomic uint32_t used;
    CACHE_ALIGNED _Atomic uint32_t writing;
};

_Static_assert(sizeof(struct txn_slot) == 2 * CACHE_LINE_SIZE, "no slot shares a line (28)");

/* Striped statistics, written by the worker, read by anyone. */
struct txn_counters {
    CACHE_ALIGNED _Atomic uint64_t commits;
    _Atomic uint64_t rollbacks, conflicts, retries, gate_entries, rows_queued;
};

struct txn_system {
    struct wal *wal;
    struct heap *heap;
    struct epoch_domain *epochs;
    unsigned worker_max;
    struct txn_slot *slots;
    struct txn_counters *counters;
    struct txn_worker **workers; /* by number; NULL where none is open. Changed by writers, read by
                                    the owner of the gate. */
    /* The exclusive gate: 0 open, else 1 + the number of the worker that owns it (invariant 24). */
    CACHE_ALIGNED _Atomic uint32_t gate;
};

struct txn_write {
    struct head *head;
    struct row *row;
    struct version *version; /* own, uncommitted */
};

struct txn_read {
    struct head *head;
    struct row *row;
    const struct version *version; /* seen at the snapshot; NULL: none visible */
};

struct txn_absent {
    struct head *head;
    const void *key;
    size_t key_size;
};

struct txn_leaf_read {
    const struct tree_leaf *leaf;
    uint64_t version;
    struct txn_leaf_read *next;
};

/* A scanned range: its leaves, and a sum over the visible rows that does not count own writes. The
 * index and the bounds are copies: validation comes when the caller's may be gone. */
struct txn_range_read {
    struct txn_range_read *next;
    struct txn_index index;
    struct txn_range range; /* the bound on the far side is moved to where the cursor stopped */
    struct txn_leaf_read *leaves;
    uint64_t visible_sum;
    uint64_t visible_count;
};

/* A vector in the transaction's arena. */
#define TXN_VECTOR(type)        \
    struct {                    \
        type *items;            \
        size_t count, capacity; \
    }

struct txn {
    struct txn_worker *worker;
    struct txn_descriptor *descriptor;
    enum txn_level level;
    bool active, readonly, exclusive, doomed;
    bool published; /* others may have seen a tag of this transaction */
    uint64_t snapshot;
    uint64_t seen_ts;
    struct arena arena;
    TXN_VECTOR(struct txn_write) writes;
    TXN_VECTOR(struct txn_read) reads;
    TXN_VECTOR(struct txn_read) depends;
    TXN_VECTOR(struct txn_absent) absents;
    struct txn_range_read *ranges;
    void (*on_commit)(struct txn *txn, void *arg);
    void *on_commit_arg;
    struct row *locked_row; /* tagged by the placeholder */
    bool
        lock_used; /* readers may still stand on the placeholder: it serves one row a transaction */
    struct head *locked_head;
};

struct garbage_entry {
    struct head *head;
    struct row *row;
    uint64_t ts;
};

/* Rows that have something to free, oldest first; a ring that grows. */
struct garbage_queue {
    struct garbage_entry *entries;
    size_t head, count, capacity;
};

struct txn_worker {
    struct txn_system *system;
    unsigned number;
    struct txn_slot *slot;
    struct txn_counters *counters;
    struct wal_buffer *log;
    struct tree_thread thread;
    struct txn txn;
    struct garbage_queue garbage;
    struct txn_descriptor *free_descriptors;
    uint64_t seen_ts;
    uint64_t begun; /* transactions so far */
    unsigned commits_since_collect;
    struct random random;
};

static inline uint64_t txn__tag(struct txn_descriptor *descriptor)
{
    return (uint64_t)(uintptr_t)descriptor | STAMP_TAG;
}

static inline struct txn_descriptor *txn__tag_owner(uint64_t stamp)
{
    return (struct txn_descriptor *)(uintptr_t)(stamp & ~STAMP_TAG);
}

static inline void txn__count(_Atomic uint64_t *counter)
{
    store_relaxed(counter, load_relaxed(counter) + 1);
}

/* The end of a row: a version that nobody can put another on top of (invariant 14). Static, shared.
 */
extern struct version txn__version_dead;

/* Makes room for one more in a vector; false when memory is out. */
bool txn__vector_grow(struct txn *txn, void **items, size_t *capacity, size_t item_size);

#define txn__vector_add(txn, vector, ...)                                     \
    (((vector)->count < (vector)->capacity ||                                 \
      txn__vector_grow((txn), (void **)&(vector)->items, &(vector)->capacity, \
                       sizeof *(vector)->items))                              \
         ? ((vector)->items[(vector)->count++] = __VA_ARGS__, true)           \
         : false)

/*
 * The version of a chain that is visible at `ts`, tombstones included, NULL when there is none.
 * Versions tagged by `own` are taken when `with_own`, otherwise passed over. Waits for a preparing
 * writer with a timestamp up to ts. *stamp_out, if not NULL: its commit timestamp, 0 for an own
 * one.
 */
const struct version *txn__visible(const struct row *row, uint64_t ts,
                                   const struct txn_descriptor *own, bool with_own,
                                   uint64_t *stamp_out);

/* The same over a chain that begins at `version`. */
const struct version *txn__visible_from(const struct version *version, uint64_t ts,
                                        const struct txn_descriptor *own, bool with_own,
                                        uint64_t *stamp_out);

/* Waits until a preparing transaction's outcome or timestamp is known and returns its state word:
 * never preparing with a timestamp up to `ts`, nor without one. */
uint64_t txn__settled_state(const struct txn_descriptor *descriptor, uint64_t ts);

/* True when the bytes of the version are a row that exists. */
static inline bool txn__exists(const struct version *version)
{
    return version != NULL && !(version->flags & VERSION_TOMBSTONE);
}

/* As txn_get under read committed, but the row, or its absence, is validated at commit: what is
 * written on top of it was computed from the latest. */
int txn__get_validated(struct txn *txn, struct head *head, const void *key, size_t key_size,
                       const struct version **out);

/* Records what a serializable transaction has read. 0 or ERROR_MEMORY. */
int txn__read_row(struct txn *txn, struct head *head, struct row *row, const struct version *seen);

/* Whether all that was read is the same at timestamp ts. */
bool txn__validate(struct txn *txn, uint64_t ts);
bool txn__range_unchanged(struct txn *txn, struct txn_range_read *range, uint64_t ts);
size_t txn__read_count(const struct txn *txn);

/* Puts what a transaction has learned of timestamps forward (invariant 9). */
static inline void txn__saw(struct txn *txn, uint64_t ts)
{
    if (ts > txn->seen_ts)
        txn->seen_ts = ts;
}

/* Marks the transaction as lost and returns ERROR_CONFLICT. */
int txn__conflict(struct txn *txn);

/* Removes the versions of writes[from..]; the transaction's state is not touched. */
void txn__undo(struct txn *txn, size_t from);

/* Takes the placeholder off the row that txn_get_for_update tagged, if it still stands there. */
void txn__unlock_row(struct txn *txn);

/* Notes that a row may have something to free once timestamp ts is in no snapshot's future. */
void txn__garbage_add(struct txn_worker *worker, struct head *head, struct row *row, uint64_t ts);
void txn__garbage_after_commit(struct txn_worker *worker);
void txn__garbage_destroy(struct txn_worker *worker);

void txn__version_free(void *version, void *heap_cache);
void txn__row_free(void *row, void *heap_cache);
void txn__entry_free(void *entry, void *heap_cache);
void txn__version_retire(struct txn_worker *worker, struct version *version);

/* Snapshots: publish, fence, read again. `at_visible`: at V instead of the clock. Returns the
 * timestamp to read at. */
uint64_t txn__snapshot_take(struct txn_worker *worker, bool at_visible);
void txn__snapshot_drop(struct txn_worker *worker);

/* The gate (invariant 24). enter_writer waits while somebody else owns it. */
void txn__gate_enter_writer(struct txn_worker *worker);
void txn__gate_leave_writer(struct txn_worker *worker);
void txn__gate_close(struct txn_worker *worker);
void txn__gate_open(struct txn_worker *worker);
/* A running writer takes the gate for its commit: false when another owns or wants it. */
bool txn__gate_upgrade(struct txn_worker *worker);

#endif
