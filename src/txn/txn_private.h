/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TXN_TXN_PRIVATE_H
#define TXN_TXN_PRIVATE_H

/*
 * What the files of txn share among themselves. See README.md for the picture and txn.h for the
 * contract.
 */
#include <pthread.h>

#include "base/assert.h"
#include "base/mutation.h"
#include "base/random.h"
#include "txn/lock.h"
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

/* How often a writer looks again for a running owner to end before it gives up and is run again. */
enum { OWNER_WAIT_TURNS = 256 };

/*
 * Further flags of a version. VERSION_LOCK: it tags a row and carries nothing: readers go on to the
 * older version (invariant 11). VERSION_OPEN: its bytes are still being written by the transaction,
 * so nobody else looks at them before it has committed. VERSION_PARCEL: it stands in a parcel
 * (mem/parcel.h), of which it has a hold; the word in front of it says which.
 */
enum { VERSION_LOCK = 2, VERSION_OPEN = 4, VERSION_PARCEL = 8 };

/* Further states of a row. ROW_CHANGED: listed for the next checkpoint, or being written by one: its
 * memory stays. ROW_HELD: stands in the list of some worker's rows that wait for a snapshot to go.
 * ROW_IN_RUN: a run may have a version of it, so that it does not end while it is listed (invariant
 * 33). Never cleared. ROW_AGAIN: a commit has written it since a checkpoint has looked last. */
enum { ROW_CHANGED = 8, ROW_HELD = 16, ROW_IN_RUN = 32, ROW_AGAIN = 64 };

/* Whether a tombstone of the row is still needed for a run. */
static inline bool txn__awaits_run(uint32_t state)
{
    return (state & ROW_CHANGED) && (state & ROW_IN_RUN);
}

/* A tag points to one of these. Retired through epochs, since readers may hold the tag longer than
 * the transaction runs. */
struct txn_descriptor {
    _Atomic uint64_t state;
    uint64_t begin_order;  /* of two that race for a unique key the later one yields */
    struct txn_slot *slot; /* of a transaction that can be parked; else NULL */
    uint64_t owner_id;     /* of the lock owner of such a one: who meets its tag waits for that */
    struct txn_descriptor *next_free;
    struct version lock; /* the placeholder of txn_get_for_update */
};

/*
 * What other threads see of a worker. `snapshot` is SNAPSHOT_NONE, or a timestamp at most as large
 * as the one read at; with SNAPSHOT_STARTING set, every timestamp from there on counts as needed:
 * while it is taken, and while a commit validates.
 * `writing` is 1 while a transaction that may write runs.
 */
#define SNAPSHOT_NONE     UINT64_MAX
#define SNAPSHOT_STARTING (UINT64_C(1) << 62)

struct txn;
struct txn_slot {
    CACHE_ALIGNED _Atomic uint64_t snapshot;
    _Atomic uint32_t used;
    _Atomic uint32_t phase; /* enum txn_phase, of a transaction of txn_open */
    _Atomic uint16_t readonly;
    _Atomic uint16_t keeps;  /* a checkpoint's or a backup's snapshot, which no limit cancels */
    _Atomic uint64_t begun;  /* counts the transactions that had the slot */
    _Atomic uint64_t cancel; /* `begun` of the one that others want to end: the slot may have
                                another by then */
    _Atomic uint64_t session_id;
    _Atomic uint64_t began_ns; /* its snapshot, after txn_open; of others as sampled_begun says */
    struct txn *parked;        /* whose slot it is; for who has claimed it */
    CACHE_ALIGNED _Atomic uint32_t writing;
    /* Samples of those who ask for ages: `begun` when they first saw it, and when that was. */
    _Atomic uint64_t sampled_begun, sampled_ns;
    /* The time at which rows have expired for it: SLOT_NOW_NONE until it looks at such rows, SLOT_NOW_TAKEN
       while it reads the clock. */
    _Atomic uint64_t now_ms;
};
enum { SLOT_NOW_NONE, SLOT_NOW_TAKEN, SLOT_NOW_MIN };

/*
 * Phases of a transaction of txn_open. Whoever brings it from parked to another phase by
 * compare-and-swap has it to himself: its own thread to run it, another to roll it back.
 *
 *      running <──> parked ──> claimed ──> ended
 */
enum txn_phase { PHASE_NONE, PHASE_RUNNING, PHASE_PARKED, PHASE_CLAIMED, PHASE_ENDED };

_Static_assert(sizeof(struct txn_slot) == 2 * CACHE_LINE_SIZE, "no slot shares a line (28)");

/* Conflicts by place: Metwally's space saving with so many places. */
enum { CONFLICT_PLACES = 64 };
struct conflict_table {
    pthread_mutex_t mutex; /* the owner's and that of who asks; a conflict is a slow path */
    unsigned count;
    struct txn_conflict places[CONFLICT_PLACES];
};

/* Striped statistics, written by the worker, read by anyone. */
struct txn_counters {
    CACHE_ALIGNED _Atomic uint64_t commits;
    _Atomic uint64_t rollbacks, conflicts, retries, gate_entries, rows_queued;
    _Atomic uint64_t aborts[TXN_CAUSE_MAX];
};

/* Rows that a worker's commits have changed. The owner adds, a checkpoint takes. Packed as words, since
 * rows of a head come in series: a head, and the rows of it that follow. */
struct change_end {
    size_t at;               /* behind the word */
    uintptr_t last;          /* the pointer that it says, at first 0 */
    const struct head *head; /* whose rows come here; NULL at the beginning */
};
struct change_words {
    unsigned char *bytes;
    size_t capacity;
    struct change_end end;        /* where the next word is put */
    struct change_end kept, read; /* while rows that have ended are taken out; else both at 0 */
};
struct change_list {
    CACHE_ALIGNED _Atomic uint32_t latch;
    struct change_words words; /* with room for `reserved` rows more, from the reservation on */
    size_t rows;               /* of the words those that are rows */
    size_t reserved;
    uint64_t sweep_from; /* how many rows have to have ended for the next pass */
};

/* A deferred action. Those of one worker are queued in order of their timestamps. */
struct deferred {
    struct deferred *next;
    uint64_t ts;
    unsigned kind;
    size_t size;
    const _Atomic uint32_t *wanted; /* 0 there: it goes nowhere; NULL: it always does */
    char data[];
};

/* Of a worker: actions of committed transactions. The owner adds at the end, between wal_begin and
 * wal_end; who runs them takes from the beginning. */
struct deferred_queue {
    CACHE_ALIGNED pthread_mutex_t mutex;
    struct deferred *first, **last;
};

/* A space's locks are looked at by writers that hold none: by the hash of the space's name. */
enum { LOCK_FLAGS = 64 };

struct txn_system {
    struct wal *wal;
    struct heap *heap;
    struct epoch_domain *epochs;
    struct clock *clock;
    struct lock_table *locks;
    unsigned worker_max;
    unsigned slot_max; /* worker_max, and behind them those of parked transactions */
    struct txn_slot *slots;
    struct txn_counters *counters;
    struct conflict_table *conflicts; /* one a worker, as the following */
    struct change_list *changes;
    struct changes_block *returned; /* by txn_changes_return; under the latch of the first list */
    _Atomic uint64_t changes_ended; /* rows that have left their tree and that some list has */
    struct deferred_queue *deferred;
    struct txn_worker **workers; /* by number; NULL where none is open. Changed by writers, read by
                                    the owner of the gate. */
    /* The exclusive gate: 0 open, else 1 + the number of the worker that owns it (invariant 24). */
    CACHE_ALIGNED _Atomic uint32_t gate;
    /* Slots from here on have never been used: who scans stops there. */
    CACHE_ALIGNED _Atomic uint32_t slot_high;
    _Atomic uint32_t open; /* transactions of txn_open */
    /* How many rows are locked for sharing, or spaces for sharing or exclusively: writers that hold
     * no locks look here after each write, and at space_locked when they commit. */
    CACHE_ALIGNED _Atomic uint32_t locked[LOCK_FLAGS];
    _Atomic uint32_t space_locked[LOCK_FLAGS];
    _Atomic uint32_t spaces_locked; /* the sum of these */
    pthread_mutex_t lock_mutex;     /* guards what follows; innermost */
    uint64_t *locked_spaces;        /* names of spaces that are locked as a whole */
    size_t locked_count, locked_capacity;
    /* Deferred actions: how many wait; who runs them. */
    CACHE_ALIGNED _Atomic uint64_t deferred_count;
    _Atomic uint64_t deferred_done;
    pthread_mutex_t deferred_mutex;
};

struct txn_write {
    struct head *head;
    struct row *row;
    struct version *version; /* own, uncommitted */
    bool covered;            /* by a lock of the transaction's in the lock table */
    signed char rows;        /* how many more rows there are with it: -1, 0, 1. Set at the commit */
    int64_t bytes;           /* likewise, of tuples */
};

/* What was read of a row. */
struct txn_read {
    struct head *head;
    struct row *row;
    uint64_t ts; /* of the version that was visible; 0: none was, or a tombstone */
};

/* The same by key: of a key without a row, or of a row that may be freed while the transaction is
 * parked. */
struct txn_keyed {
    struct head *head;
    const void *key;
    size_t key_size;
    uint64_t ts; /* 0: none was visible */
};

/* A row that was found under its key: commands look at a row before they write it, and those of a
 * pipeline meet the same ones. A row that is not dead is the one in the tree (invariant 14), so the tree
 * need not be asked again. By the hash of the key, the last one of each. Held by the epoch, so they count
 * until the transaction ends or is parked: `begun` is the worker's then. */
struct txn_found {
    uint64_t begun;
    const struct head *head;
    struct row *row;
};
enum { TXN_FOUND_BITS = 6, TXN_FOUND = 1 << TXN_FOUND_BITS };

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
    bool leaves_lost; /* they may have been freed while the transaction was parked */
    bool parked;      /* the bounds are copies of our own */
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
    struct txn_worker *home; /* of one that can be parked: the same, but while another rolls it back
                              */
    struct txn_slot *slot;   /* the worker's, or one of its own */
    struct txn_descriptor *descriptor;
    enum txn_level level;
    int stop; /* what every operation returns: 0, ERROR_CONFLICT, ERROR_WAIT, ERROR_DEADLOCK,
                 ERROR_CANCELLED */
    bool active, readonly, exclusive;
    bool spares;                 /* txn_spare */
    bool whole;                  /* without savepoints */
    bool opened;                 /* by txn_open */
    bool at_visible, at_durable; /* where its snapshot was taken */
    bool published;              /* others may have seen a tag of this transaction */
    bool looked;                 /* it has read something, if only that there is nothing */
    bool waiting;                /* its owner is queued: it keeps its locks when it ends */
    enum txn_cause cause;        /* why it is doomed */
    uint64_t snapshot;
    uint64_t now_ms; /* 0: not yet taken since the snapshot was */
    uint64_t seen_ts;
    struct arena arena;
    TXN_VECTOR(struct txn_write) writes;
    size_t lock_writes; /* of them, versions that only lock */
    TXN_VECTOR(struct txn_read) reads;
    TXN_VECTOR(struct txn_read) depends;
    TXN_VECTOR(struct txn_keyed) keyed;
    size_t parks;                           /* how often reads have become keyed */
    TXN_VECTOR(struct deferred *) deferred; /* malloc'ed: they outlive it */
    size_t deferred_bytes;
    struct txn_range_read *ranges;
    struct txn_body_walk *walks; /* cursors of bodies that are open */
    void (*on_commit)(struct txn *txn, void *arg);
    void *on_commit_arg;
    struct row *locked_row; /* tagged by the placeholder */
    bool
        lock_used; /* readers may still stand on the placeholder: it serves one row a transaction */
    struct head *locked_head;
    struct lock_owner *owner; /* NULL: none was needed yet */
    bool owner_given;         /* by the caller, who lets go of its locks */
    uint64_t session_id;
    const char *reason; /* why another has cancelled it: a static string */
    void *notes;        /* of the caller's: txn_notes */
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

/* What counts as a snapshot when garbage is looked for (txn_garbage.c). */
struct garbage_points {
    uint64_t now; /* what begins later is at least this; lowered by snapshots that are starting */
    uint64_t durable; /* D */
    uint64_t cut;     /* C of the last cut */
    uint64_t horizon; /* the smallest of all */
    unsigned count, capacity;
    uint64_t *snapshots; /* ascending */
};

/* What a worker's walks, or its gets of many keys, have learned of reading ahead (txn_ahead.c). */
struct txn_ahead_luck {
    unsigned useless, turn;
};

struct txn_worker {
    struct txn_system *system;
    unsigned number;
    struct txn_slot *slot;
    bool apart; /* its transactions do not pass the gate (txn_worker_set_apart) */
    struct txn_counters *counters;
    struct wal_buffer *log;
    struct tree_thread thread;
    struct txn *current; /* &txn, or one of txn_open; NULL */
    struct txn txn;
    void *arg;                /* of whoever has the worker */
    void (*pause)(void *arg); /* txn_worker_pause_set */
    void *pause_arg;
    size_t passed;                /* rows that ends of transactions have gone over */
    struct lock_owner *owner;     /* for transactions that bring none; NULL until one needs it */
    struct garbage_queue garbage; /* rows that have changed */
    struct garbage_queue held;    /* rows that are as short as some snapshot allows */
    struct garbage_points points;
    struct txn_descriptor *free_descriptors;
    uint64_t seen_ts;
    uint64_t begun; /* transactions so far; of those that were parked each time they went on, too */
    struct txn_found found[TXN_FOUND];
    unsigned commits_since_collect;
    size_t writes_since_collect;
    struct random random;
    struct arena_profile arenas, open_arenas; /* of its own transaction; of those of txn_open */
    struct txn_ahead_luck ahead_walks, ahead_gets;
};

static inline uint64_t txn__tag(struct txn_descriptor *descriptor)
{
    return (uint64_t)(uintptr_t)descriptor | STAMP_TAG;
}

static inline struct txn_descriptor *txn__tag_owner(uint64_t stamp)
{
    return (struct txn_descriptor *)(uintptr_t)(stamp & ~STAMP_TAG);
}

/* One more row is about to be gone over at the end of a transaction, which nobody waits for by spinning (invariant
 * 4). */
static inline void txn__passed(struct txn *txn)
{
    enum { PASSED_PAUSE = 1024 };
    struct txn_worker *worker = txn->worker;
    if (++worker->passed % PASSED_PAUSE == 0 && worker->pause != NULL &&
        (load_relaxed(&txn->descriptor->state) & STATE_MASK) != STATE_PREPARING)
        worker->pause(worker->pause_arg);
}

/* Takes over what others want the transaction to end with; returns it. */
int txn__cancelled(struct txn *txn);

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
    return version != NULL && !(version_flags(version) & VERSION_TOMBSTONE);
}

/* The transaction's time, milliseconds since 1970. */
uint64_t txn__now_ms(struct txn *txn);

/* Whether a version that exists is of a row that has expired for the transaction. */
static inline bool txn__expired(struct txn *txn, const struct head *head,
                                const struct version *version)
{
    return head->expiry != NULL &&
           head->expiry->expires_ms(head->expiry, version->bytes) <= txn__now_ms(txn);
}

/* What a look has found, unless that has expired. */
static inline int txn__found(struct txn *txn, const struct head *head, const struct version **out,
                             int rc)
{
    if (rc == 0 && *out != NULL && txn__expired(txn, head, *out))
        *out = NULL;
    return rc;
}

/* Levels at which a statement reads the latest committed, and writes are not checked against a
 * snapshot. */
static inline bool txn__latest_level(const struct txn *txn)
{
    return txn->level == TXN_READ_COMMITTED || txn->level == TXN_READ_UNCOMMITTED;
}

/* What an operation returns before it does anything: 0, or why the transaction can't go on. */
static inline int txn__stopped(struct txn *txn)
{
    return txn->stop != 0 || load_relaxed(&txn->slot->cancel) == 0 ? txn->stop
                                                                   : txn__cancelled(txn);
}

/* As txn_get under read committed, but the row, or its absence, is validated at commit: what is
 * written on top of it was computed from the latest. */
int txn__get_validated(struct txn *txn, struct head *head, const void *key, size_t key_size,
                       const struct version **out);

/* The row in the tree that has this key, NULL when there is none. One that is being unlinked may be
 * given: it is dead. */
struct row *txn__row_find(struct txn *txn, struct head *head, const void *key, size_t key_size);

/* The same if the transaction has found it before, and has it at hand; else NULL. */
struct row *txn__row_found_before(struct txn *txn, const struct head *head, const void *key,
                                  size_t key_size);

/* Takes note of a row that was found or made. */
void txn__row_found(struct txn *txn, struct head *head, struct row *row);

/* Whether the last that was looked for and not found is this key. It may have come since. */
bool txn__was_absent(const struct txn *txn, const struct head *head, const void *key,
                     size_t key_size);

/* Records what a serializable transaction has read: the timestamp of the version that exists, or 0.
 * 0 or ERROR_MEMORY. */
int txn__read_row(struct txn *txn, struct head *head, struct row *row, uint64_t ts);

/* The version of a row that the transaction sees at its snapshot, tombstones included; what others
 * have not committed under TXN_READ_UNCOMMITTED. *stamp as for txn__visible. */
const struct version *txn__see(const struct txn *txn, const struct row *row, uint64_t ts,
                               uint64_t *stamp);

/*
 * What is recorded of a version that was seen, or not seen: of a head that has all rows its timestamp
 * if the row exists, else 0. A row that is in its body may come back as a tombstone: there tombstones
 * have their timestamps, and 0 says that the head has nothing.
 */
static inline uint64_t txn__noted(const struct head *head, const struct version *version,
                                  uint64_t stamp)
{
    if (head->body != NULL)
        return version == NULL || version == &txn__version_dead ? 0 : stamp;
    return txn__exists(version) ? stamp : 0;
}

/* Whether the head has nothing to say about a row, so that its body is asked. */
static inline bool txn__silent(const struct head *head, const struct version *version)
{
    return head->body != NULL && (version == NULL || version == &txn__version_dead);
}

/* What the body of a head has of a primary key at ts: a version in the transaction's arena, or NULL.
 * After the head was looked at (invariant 17). Errors are those of the body. */
int txn__body_get(struct txn *txn, const struct head *head, const void *key, size_t key_size,
                  uint64_t ts, const struct version **out);

/*
 * The items of an index in a body in a range, for a cursor that merges them with those of the head. _peek gives the
 * next one, NULL behind the last, as the picture that is newest now says; _pass takes a position from
 * which it goes on: the key, which stays valid, and whatever comes before it are done.
 */
int txn__walk_open(struct txn *txn, const struct txn_index *index, const struct txn_range *range,
                   uint64_t ts, struct txn_body_walk **out);
int txn__walk_peek(struct txn_body_walk *walk, const struct engine_row **out);
void txn__walk_pass(struct txn_body_walk *walk, const void *key, size_t key_size);
int txn__walk_order(const struct txn_body_walk *walk, const struct item *item,
                    const struct engine_row *row);
void txn__walks_close(struct txn *txn);

void txn__walk_close(struct txn_body_walk *walk);

/* Where what a body gives to this walk is copied to: the transaction's arena; or, after _brief, one of two
 * that are used in turn, so that what the one before was given stays. */
struct arena *txn__walk_arena(struct txn_body_walk *walk);
void txn__walk_brief(struct txn_body_walk *walk);

/* Of a walk over a secondary index: its entries are read some at a time, so that the rows that they lead to are
 * read from the body at once (txn_ahead.c). NULL: no memory, and it goes without. */
struct txn_ahead *txn__walk_ahead(struct txn_body_walk *walk, struct head *head);

/* What is done with what has been made by txn__ahead_new, NULL without memory: so many rows are wanted; the
 * cursor of the body is another one from now on; the next entry, in place of body_cursor_next; its end,
 * which frees. */
struct txn_ahead *txn__ahead_new(struct txn *txn, struct head *head);
void txn__ahead_expect(struct txn_ahead *ahead, uint64_t rows);
void txn__ahead_forget(struct txn_ahead *ahead);
int txn__ahead_next(struct txn_ahead *ahead, struct body_cursor *cursor, struct engine_row *out);
void txn__ahead_delete(struct txn_ahead *ahead);

/* How much of an entry's key, of `key_size` bytes without the number of the index, are the index's own parts, from
 * what the body has under it. False: it is damaged. */
bool txn__body_parts(const char *data, size_t size, size_t key_size, size_t *out);

/* What a body has given, in an arena: a version; a row that stands for one that is not in the head; an
 * entry of a secondary index, ERROR_CORRUPT when it is none. Errors with diagnostics. */
int txn__body_version(struct arena *arena, const struct engine_row *row,
                      const struct version **out);
int txn__body_row(struct arena *arena, const void *key, size_t key_size, struct row **out);
int txn__body_entry(struct arena *arena, const struct engine_row *row, struct entry **out);

/* Whether the body's version of a row, at ts, belongs under the entry; *version is it, or NULL. */
int txn__body_belongs(struct txn *txn, const struct txn_index *index, const struct entry *entry,
                      uint64_t ts, const struct version **version);

/* Whether a version belongs under an entry that a body has, perhaps of an earlier time: 1, 0, or an
 * error of the index. */
int txn__entry_belongs(const struct txn_index *index, const struct entry *entry,
                       const struct version *version);

/* Records the reading of a key by itself. */
int txn__read_key(struct txn *txn, struct head *head, const void *key, size_t key_size);

/* Copies a bound into the transaction's arena; false when memory is out. */
bool txn__bound_keep(struct txn *txn, const void **key, size_t size);

/* Turns what was read into something that survives without an epoch. False when memory is out. */
bool txn__reads_park(struct txn *txn);

/* Whether all that was read is the same at timestamp ts: 0, or ERROR_CONFLICT. */
int txn__validate(struct txn *txn, uint64_t ts);
bool txn__range_unchanged(struct txn *txn, struct txn_range_read *range, uint64_t ts);
size_t txn__read_count(const struct txn *txn);

/* Puts what a transaction has learned of timestamps forward (invariant 9). */
static inline void txn__saw(struct txn *txn, uint64_t ts)
{
    if (ts > txn->seen_ts)
        txn->seen_ts = ts;
}

/* Marks the transaction as lost and returns ERROR_CONFLICT. The second counts the place. */
int txn__conflict(struct txn *txn, enum txn_cause cause);
int txn__conflict_at(struct txn *txn, enum txn_cause cause, const struct head *head,
                     const void *key, size_t key_size);

/* Stops the transaction: ERROR_WAIT or ERROR_DEADLOCK from the lock table. */
int txn__stop(struct txn *txn, int code, enum txn_cause cause);

/* Removes the versions of writes[from..]; the transaction's state is not touched. */
void txn__undo(struct txn *txn, size_t from);

/* A version with the transaction's tag; NULL when memory is out. The second puts it on top of the
 * row of this key, or frees it. */
struct version *txn__version_new(struct txn *txn, uint32_t size, uint32_t flags);
int txn__write_version(struct txn *txn, struct head *head, const void *key, size_t key_size,
                       struct version *version, struct row **row_out);

/* Takes the versions that only lock off their rows: before the commit those on top of which there
 * is another of the transaction (`covered`), and after it the rest. */
void txn__unlock_versions(struct txn *txn, bool covered);

/* txn_lock.c. The owner that the transaction met at `row` can be parked: queues behind it, and
 * returns ERROR_WAIT, ERROR_DEADLOCK or, when it has ended meanwhile, ERROR_AGAIN. */
int txn__wait_for(struct txn *txn, struct head *head, const void *key, size_t key_size,
                  struct txn_descriptor *owner);

/* After a write, when somebody has locked something in the space: as txn_lock_row, but without a tag.
 * `space_only`: the intention alone. */
int txn__lock_cover(struct txn *txn, struct head *head, const void *key, size_t key_size,
                    bool space_only);
static inline unsigned txn__lock_flag(const struct head *head)
{
    return (head->id * 31 + head->incarnation) % LOCK_FLAGS;
}
/* Whether a space that was written without looking is locked by now. Between wal_begin and wal_end.
 */
bool txn__space_locked(const struct txn *txn);
int txn__locks_create(struct txn_system *system, unsigned escalation_rows);
/* The end of a transaction: lets go of locks, unless its owner waits, or is the caller's. */
void txn__locks_end(struct txn *txn);

/* txn_park.c: rolls back a parked transaction in the way of an exclusive one, or of a limit. False
 * when it is not parked (any more). */
bool txn__claim_and_abort(struct txn_worker *worker, struct txn_slot *slot,
                          const struct txn_descriptor *descriptor, int code, const char *reason);
int txn__slot_take(struct txn_system *system, unsigned from, unsigned until, unsigned *number);

/* txn_commit.c */
void txn__abort_writes(struct txn *txn);
int txn__begin_at(struct txn_worker *worker, struct txn *txn, struct txn_slot *slot,
                  const struct txn_options *options);
void txn__clear(struct txn *txn);
/* txn_park.c: the end of a transaction of txn_open. */
void txn__open_end(struct txn *txn);

/* txn_changes.c. `reserve` before the commit, so that listing can't fail. */
bool txn__changes_reserve(struct txn_worker *worker, size_t count);
void txn__changes_list(struct txn_worker *worker, const struct txn_write *writes, size_t count);
void txn__changes_forget(struct txn_worker *worker, const struct head *head);
void txn__changes_destroy(struct txn_system *system);

/* Takes rows that have ended out of the worker's list, a few at a time, when there are many. */
void txn__changes_sweep(struct txn_worker *worker);
void txn__changes_adopt(struct txn_worker *worker, struct head *head, struct row *row);

/* txn_deferred.c */
void txn__deferred_commit(struct txn *txn, uint64_t ts);
void txn__deferred_drop(struct txn *txn, size_t from);
void txn__deferred_destroy(struct txn_system *system);

/* Takes the placeholder off the row that txn_get_for_update tagged, if it still stands there. */
void txn__unlock_row(struct txn *txn);

/* Counts rows that have come or gone (txn_head_rows). */
static inline void txn__rows_count(struct head *head, unsigned stripe, int64_t change,
                                   int64_t bytes)
{
    if (change != 0)
        atomic_fetch_add_explicit(&head->live[stripe % HEAD_STRIPES].change, change,
                                  memory_order_relaxed);
    if (bytes != 0)
        atomic_fetch_add_explicit(&head->live[stripe % HEAD_STRIPES].bytes, bytes,
                                  memory_order_relaxed);
}

/* Notes that a row may have something to free once timestamp ts is in no snapshot's future. */
void txn__garbage_add(struct txn_worker *worker, struct head *head, struct row *row, uint64_t ts);
void txn__garbage_after_commit(struct txn_worker *worker, size_t writes);
void txn__garbage_destroy(struct txn_worker *worker);

/* A row that nobody can find any more, and no list has. */
void txn__row_retire(struct tree_thread *thread, const struct head *head, struct row *row);

void txn__version_free(void *version, void *heap_cache);

/* Memory for one of `size` bytes, of which the caller sets all but the flags that go to *flags; NULL. A
 * large one stands in a parcel, so that replies can be sent from where it is. */
struct version *txn__version_alloc(struct heap_cache *heap, uint32_t size, uint32_t *flags);
void txn__row_free(void *row, void *heap_cache);
void txn__entry_free(void *entry, void *heap_cache);
void txn__version_retire(struct txn_worker *worker, struct version *version);

/* Snapshots: publish, fence, read again; at the clock, at V or at D as the transaction says. */
void txn__snapshot_take(struct txn *txn);
void txn__snapshot_drop(struct txn_slot *slot);

/* The gate (invariant 24), for a transaction that has this slot. enter_writer waits while somebody
 * else owns it. */
void txn__gate_enter_writer(struct txn_system *system, struct txn_slot *slot);
void txn__gate_leave_writer(struct txn_slot *slot);
/* As enter_writer, but false instead of waiting. */
bool txn__gate_try_writer(struct txn_system *system, struct txn_slot *slot);
void txn__gate_close(struct txn_worker *worker, struct txn_slot *slot);
void txn__gate_open(struct txn_system *system, struct txn_slot *slot);
/* A running writer takes the gate for its commit: false when another owns or wants it. */
bool txn__gate_upgrade(struct txn_worker *worker, struct txn_slot *slot);

#endif
