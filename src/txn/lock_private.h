/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TXN_LOCK_PRIVATE_H
#define TXN_LOCK_PRIVATE_H

/*
 * What the files of the lock manager share. The story is at the top of lock.c.
 *
 * Which thread may touch what:
 *
 *     lock, its lists and counts                       under the mutex of its shard
 *     hold: granted, wanted, since_ns, links, lock     under the mutex of its shard
 *     hold: mode, space, rows ..., stuck               the owner's thread
 *     owner: state                                     written under the mutex of wait_hash's shard
 *     owner: wait_hold, acquiring, blocked             under that mutex
 *     owner: search ..., deadlock                      under the mutexes of all shards
 *     owner: the rest                                  the owner's thread
 *
 * What a lock is called never changes, so an owner that holds it reads its name without the mutex.
 */
#include <pthread.h>

#include "base/atomic.h"
#include "base/list.h"
#include "txn/lock.h"

enum {
    LOCK_MODES = LOCK_EXCLUSIVE + 1,
    LOCK_KEY_INLINE = 64,    /* longer keys have memory of their own */
    LOCK_OWNER_MAP_MIN = 16, /* places in the owner itself; powers of two */
    LOCK_OWNER_LOG_MIN = 16,
    LOCK_OWNER_KEEP_MAX = 1024, /* larger ones are given back with the last lock */
    LOCK_DEADLOCK_TEXT_MAX = 400,
};

/* A name that somebody holds or waits for. Exists as long as there is one. */
struct lock {
    struct lock *next; /* in its bucket */
    uint64_t hash, space;
    const unsigned char *key; /* key_inline, or from the system */
    uint32_t key_size;
    unsigned char kind;
    unsigned char told; /* the mode last passed to a callback */
    uint32_t granted_count[LOCK_MODES], waiting_count[LOCK_MODES];
    struct list granted; /* by hold.granted_link, in no order */
    struct list queue;   /* by hold.queue_link: upgrades, then the others, each by arrival */
    uint64_t search;     /* the search that has looked at all holders */
    unsigned char key_inline[LOCK_KEY_INLINE];
};

/* One owner's part in a lock. While it waits for an upgrade it is in both lists. */
struct lock_hold {
    struct lock *lock; /* NULL: granted, but nothing to hold (LOCK_OWNER) */
    struct lock_owner *owner;
    struct list granted_link, queue_link;
    uint64_t hash;
    uint64_t since_ns;
    unsigned char granted;       /* LOCK_NONE while only waiting */
    unsigned char wanted;        /* LOCK_NONE when not waiting */
    unsigned char mode;          /* what `granted` was when the owner looked last */
    bool stuck;                  /* within lock_release_to: stays as strong as it is */
    struct lock_hold *space;     /* of a row: its space */
    size_t rows, rows_exclusive; /* of a space: the owner's row locks in it */
    size_t escalate_at;          /* so many rows, and it tries the whole space */
};

/* The owner's history: what its marks are positions of. */
struct lock_log_entry {
    struct lock_hold *hold; /* NULL: has been given back by an escalation */
    size_t floor;           /* of an escalation: position of the first row that it took over */
    unsigned char before;   /* the mode before; LOCK_NONE: it was taken here */
    bool escalation;
};

struct lock_owner {
    uint64_t id;
    struct lock_table *table;
    _Atomic uint64_t session_id;
    void (*wake)(void *arg);
    void *wake_arg;

    _Atomic int state;     /* enum lock_wait */
    _Atomic uint64_t busy; /* locks held, and one more while state is not LOCK_WAIT_NONE */
    uint64_t wait_hash;    /* of what it waited for last: says whose mutex */
    struct lock_hold *wait_hold;
    bool acquiring; /* within lock_acquire: it will see for itself, so it is not woken */
    bool blocked;   /* within lock_wait_block */
    pthread_cond_t ended;

    /* Its holds by hash: open addressing, linear probing, at most half full. */
    struct lock_hold **map;
    size_t map_size, count;
    struct lock_log_entry *log;
    size_t log_size, log_count;

    uint64_t search; /* the search that has reached it */
    struct lock_owner *search_next, *search_parent, *cycle_next;
    char deadlock[LOCK_DEADLOCK_TEXT_MAX];

    struct lock_hold *map_inline[LOCK_OWNER_MAP_MIN];
    struct lock_log_entry log_inline[LOCK_OWNER_LOG_MIN];
};

struct lock_pool {
    void *free;
    struct lock_pool_chunk *chunks;
    size_t size; /* of an object */
};

struct lock_shard {
    CACHE_ALIGNED pthread_mutex_t mutex;
    struct lock **buckets;
    size_t bucket_mask, count;
    struct lock_pool locks, holds;
    size_t quota; /* holds it may still make before it asks the table */
    uint64_t held, waiting, waits, deadlocks, timeouts, escalations;
};

struct lock_table {
    struct lock_table_options options;
    size_t escalation_rows; /* SIZE_MAX: never */
    struct clock *clock;
    uint64_t seed;
    size_t quota_batch;
    uint64_t search; /* number of the last search; under all mutexes */
    CACHE_ALIGNED _Atomic uint64_t last_id;
    _Atomic uint64_t owners;
    _Atomic uint64_t quota; /* holds that no shard has asked for */
    struct lock_shard shards[LOCK_SHARDS];
};

/* lock_table.c */

uint64_t lock__name_hash(const struct lock_table *table, const struct lock_name *name);
bool lock__name_is(const struct lock *lock, const struct lock_name *name);

static inline struct lock_shard *lock__shard(struct lock_table *table, uint64_t hash)
{
    return &table->shards[hash >> 59];
}

_Static_assert(LOCK_SHARDS == 1 << (64 - 59), "the upper bits of a hash name a shard");

void lock__shard_enter(struct lock_shard *shard);
void lock__shard_leave(struct lock_shard *shard);
void lock__all_enter(struct lock_table *table);
void lock__all_leave(struct lock_table *table);

/* Under the shard's mutex. The lock of this name, or NULL; the same, made if there is none, NULL
 * when memory is out. */
struct lock *lock__find(struct lock_shard *shard, const struct lock_name *name, uint64_t hash);
struct lock *lock__get(struct lock_shard *shard, const struct lock_name *name, uint64_t hash);

/* Ends an operation on the lock: tells the callbacks what has changed, and frees it when nobody
 * holds it or waits. */
void lock__put(struct lock_table *table, struct lock *lock);

/* A hold that is in no list yet; NULL when memory or the table's number is exhausted. */
struct lock_hold *lock__hold_new(struct lock_owner *owner, struct lock *lock);
void lock__hold_delete(struct lock_owner *owner, struct lock_hold *hold);

/* lock_queue.c, under the shard's mutex */

/* The modes, as bits, that conflict with `mode`. */
unsigned lock__conflicts(enum lock_mode mode);

/* Whether `mode` could be granted now: `hold` is the owner's, or NULL when it holds nothing. */
bool lock__grantable(const struct lock *lock, const struct lock_hold *hold, enum lock_mode mode);

/* Sets what is granted, LOCK_NONE for nothing, and grants to others what this allows. */
void lock__granted_set(struct lock_table *table, struct lock_hold *hold, enum lock_mode mode);

/* Queues a hold for `mode`, and sets the owner's state. */
void lock__enqueue(struct lock_table *table, struct lock_hold *hold, enum lock_mode mode);

/* Takes the owner, whose state is LOCK_WAIT_QUEUED, out of its queue, frees its hold if it holds
 * nothing, sets the state, and grants to others what this allows. */
void lock__wait_end(struct lock_owner *owner, enum lock_wait state);

/* Whether somebody this hold waits for is waiting himself: only then can there be a cycle. */
bool lock__blocked_by_waiting(const struct lock_hold *hold);

/* Calls `each` for every hold that this waiting one waits for, until it returns true, which is
 * returned: those that are granted; those that wait in front of it, from the nearest up to the
 * first that waits for LOCK_EXCLUSIVE, which waits for all the others. */
typedef bool (*lock__blocker_fn)(const struct lock_hold *blocker, void *arg);
bool lock__each_blocking_holder(const struct lock_hold *hold, lock__blocker_fn each, void *arg);
bool lock__each_blocking_waiter(const struct lock_hold *hold, lock__blocker_fn each, void *arg);

/* lock_owner.c, on the owner's thread */

/* Takes over what has been granted meanwhile. Returns the state as it was. */
enum lock_wait lock__owner_settle(struct lock_owner *owner);

/* The owner's hold of this name, or NULL. */
struct lock_hold *lock__owner_find(const struct lock_owner *owner, const struct lock_name *name,
                                   uint64_t hash);

/* Room for one more hold and two more entries, which lock__owner_took then has. 0 or
 * ERROR_MEMORY. */
int lock__owner_reserve(struct lock_owner *owner);

/* Enters into map and history that a hold has been granted, for the first time or more. */
void lock__owner_took(struct lock_owner *owner, struct lock_hold *hold);

/* Gives the rows of a space back, which the owner now has as a whole, and notes that it was
 * `before`. */
void lock__owner_fold(struct lock_owner *owner, struct lock_hold *space, enum lock_mode before);

void lock__owner_busy_set(struct lock_owner *owner);

/* lock_deadlock.c, under the mutexes of all shards */

/* Ends the waits of as many owners as are needed for no cycle to go through this one. */
void lock__deadlock_resolve(struct lock_owner *owner);

#endif
