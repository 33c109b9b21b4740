/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_HOUSEKEEPING_H
#define REDIS_REDIS_HOUSEKEEPING_H

/*
 * What has to be done for the keys without a client asking: deleting those whose time has come, fields
 * of hashes as well, the elements of collections that are no more, and keys as maxmemory-policy says; and
 * counting the members of sorted sets that somebody has asked a rank of (redis_zset_rank.h).
 *
 * One for a process. Any worker may run it between its requests; one at a time does, the others go on
 * at once. A run takes little time, and the next one comes no sooner than three times as much later, so
 * that a quarter of one core is the most that goes into it.
 */
#include "redis/redis.h"

/* Where to go on looking for what is due; size 0: at the beginning. */
struct redis_due_place {
    uint32_t size;
    unsigned char key[260];
};

/* Where volatile-ttl goes on in the order of time of each database (redis_evict.c). */
struct redis_ttl_places {
    _Atomic bool busy; /* somebody copies one of them */
    struct redis_ttl_place {
        struct redis_due_place place;
        uint64_t front_ns; /* monotonic: when somebody looks from the beginning again */
        uint64_t turn;     /* how often somebody has */
    } items[DB_REDIS_ELEMENTS];
};

/*
 * The best of the keys that were looked at for the policies lru and lfu, in order of how much they are
 * to go (redis_evict.c), the best one last; and so that a key of any length fits, only its beginning.
 */
enum { REDIS_CANDIDATES_MAX = 16 };
struct redis_candidate {
    uint64_t score;
    unsigned database;
    uint32_t key_size;
    unsigned char key[244];
};
struct redis_candidates {
    _Atomic bool taken; /* by whoever evicts: others do without */
    unsigned policy, count;
    struct redis_candidate items[REDIS_CANDIDATES_MAX];
};

struct redis_housekeeping {
    const struct redis_config *config;
    const struct redis_interest *interest;
    struct redis_due_place places[DB_REDIS_ELEMENTS + 1]; /* of whoever has taken it */
    size_t count_most;                                    /* the same: members counted at a time */
    CACHE_ALIGNED _Atomic bool taken;
    _Atomic uint64_t not_before_ns;   /* monotonic: the earliest next run */
    _Atomic uint64_t look_at_ns;      /* discarded collections are looked for then at the latest */
    _Atomic bool more;                /* the last run left something undone */
    _Atomic uint64_t expired_keys;    /* deleted because their time had come */
    _Atomic uint64_t expired_late_ms; /* of these, the sum of how late */
    _Atomic uint64_t expired_fields;  /* of hashes, which were still there */
    _Atomic uint64_t elements_freed;  /* of discarded collections */
    _Atomic uint64_t evicted_keys;    /* deleted because memory was short */
    _Atomic uint64_t ranks_counted;   /* members of sorted sets that were counted for ranks */
    _Atomic uint64_t evicting_bytes, evicting_until_ns; /* redis_evict.c */
    _Atomic uint64_t buried_bytes, burying_bytes;       /* the same */
    _Atomic uint64_t unlogged_bytes, flush_ts;          /* the same */
    _Atomic uint64_t pressed_until_ns;                  /* the same */
    _Atomic bool pressed;
    _Atomic bool burial;             /* somebody looks what checkpoints have done */
    uint64_t ticket, begun, burying; /* of whoever has taken that: redis_evict.c */
    _Atomic uint64_t evict_at_ns;    /* monotonic: the earliest next try */
    struct redis_candidates candidates;
    struct redis_ttl_places ttl_places;
};

/* The place of an entry in the order of time: the beginning of its key, which will do. */
void redis_due_place_keep(struct redis_due_place *place, uint64_t expire_ms, const struct row *row);

void redis_housekeeping_create(struct redis_housekeeping *keeping,
                               const struct redis_config *config,
                               const struct redis_interest *interest);

/* Does what is due, for about a millisecond. The worker has no current transaction. Errors are logged;
 * what was not done is tried again. */
void redis_housekeeping_run(struct redis_housekeeping *keeping, struct db_worker *worker);

/* When the next run is due, monotonic; UINT64_MAX: nothing is known to come. */
uint64_t redis_housekeeping_due_ns(const struct redis_housekeeping *keeping, struct db *db);

/* Whether more memory is in use than maxmemory-policy leaves alone. */
bool redis_housekeeping_must_evict(const struct redis_housekeeping *keeping, struct db *db);

/* Deletes keys, so many at most, until that is not so: before a command that may need memory, by any
 * worker without a current transaction. 0 also when there are none that may go. */
int redis_housekeeping_evict(struct redis_housekeeping *keeping, struct db_worker *worker,
                             unsigned keys_max);

/*
 * Whether there is memory for a command that may need some; by any worker without a current
 * transaction. Deletes keys if that must be.
 */
enum redis_room {
    REDIS_ROOM_GRANTED, /* it is not to be refused any more (redis_call.granted) */
    REDIS_ROOM_LATER,   /* all is in use, and some of it is on its way out: ask again in a moment */
    REDIS_ROOM_LIMITED  /* nothing can go, or nothing may: maxmemory decides at each write */
};
enum redis_room redis_housekeeping_room(struct redis_housekeeping *keeping,
                                        struct db_worker *worker);

/* Runs fn in a transaction, once: ERROR_BUSY when somebody is in the way. For this folder. */
int redis__housekeeping_once(struct db_worker *db_worker, int (*fn)(struct txn *txn, void *arg),
                             void *arg);

#endif
