/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_HOUSEKEEPING_H
#define REDIS_REDIS_HOUSEKEEPING_H

/*
 * What has to be done for the keys without a client asking: deleting those whose time has come, fields
 * of hashes as well, and the elements of collections that are no more.
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

struct redis_housekeeping {
    const struct redis_config *config;
    const struct redis_interest *interest;
    struct redis_due_place places[DB_REDIS_ELEMENTS + 1]; /* of whoever has taken it */
    CACHE_ALIGNED _Atomic bool taken;
    _Atomic uint64_t not_before_ns;   /* monotonic: the earliest next run */
    _Atomic uint64_t look_at_ns;      /* discarded collections are looked for then at the latest */
    _Atomic bool more;                /* the last run left something undone */
    _Atomic uint64_t expired_keys;    /* deleted because their time had come */
    _Atomic uint64_t expired_late_ms; /* of these, the sum of how late */
    _Atomic uint64_t expired_fields;  /* of hashes, which were still there */
    _Atomic uint64_t elements_freed;  /* of discarded collections */
};

void redis_housekeeping_create(struct redis_housekeeping *keeping,
                               const struct redis_config *config,
                               const struct redis_interest *interest);

/* Does what is due, for about a millisecond. The worker has no current transaction. Errors are logged;
 * what was not done is tried again. */
void redis_housekeeping_run(struct redis_housekeeping *keeping, struct db_worker *worker);

/* When the next run is due, monotonic; UINT64_MAX: nothing is known to come. */
uint64_t redis_housekeeping_due_ns(const struct redis_housekeeping *keeping, struct db *db);

#endif
