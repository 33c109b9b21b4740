/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_ACCESS_H
#define REDIS_REDIS_ACCESS_H

/*
 * When and how often a key is used, in the 26 bits of note that a version has (record/version.h): so
 * it costs no memory, and a read that notes it writes no row and nothing into the log.
 *
 * The two highest bits tell which of the two it is, by maxmemory-policy; the rest is as in Redis:
 *   used      24 bits: when, in seconds since 1970, as many of them as fit (194 days)
 *   counted   16 bits: when the count was last lowered, in minutes since 1970, as many as fit
 *              8 bits: the count, logarithmic (Morris, "Counting large numbers of events in small
 *             registers", 1978, as Redis does it: from n on the next use counts with a probability of
 *             1 / ((n - 5) * lfu-log-factor + 1), and lfu-decay-time minutes take 1 away)
 * A version that was loaded at the start has no note: it counts as used when the process was started.
 */
#include <stdbool.h>
#include <stdint.h>

#include "redis/redis_config.h"

/* The count of a new key, with which it is not at once the one that is used least. */
enum { REDIS_ACCESS_COUNT_NEW = 5, REDIS_ACCESS_COUNT_MAX = 255 };

/* Whether a policy goes by the count; the others go by the time, or want neither. */
static inline bool redis_policy_is_lfu(unsigned policy)
{
    return policy == REDIS_POLICY_VOLATILE_LFU || policy == REDIS_POLICY_ALLKEYS_LFU;
}

static inline bool redis_policy_is_lru(unsigned policy)
{
    return policy == REDIS_POLICY_VOLATILE_LRU || policy == REDIS_POLICY_ALLKEYS_LRU;
}

/* What the policy wants to have noted, at a time. A note is never 0. */
uint32_t redis_access_new(const struct redis_config *config, uint64_t now_ms);

/* The note of a key that has this one and is used. `random` is drawn anew each time. The same while
 * the time goes by less than a second, or the use does not count. */
uint32_t redis_access_used(const struct redis_config *config, uint32_t note, uint64_t now_ms,
                           uint64_t random);

/* The note of a key that was last used so many seconds ago, or has this count: NULL-like 0 when the
 * policy wants the other. */
uint32_t redis_access_idle_for(const struct redis_config *config, uint64_t seconds,
                               uint64_t now_ms);
uint32_t redis_access_counted(const struct redis_config *config, unsigned count, uint64_t now_ms);

/* How long ago it was used, in seconds. Of a note by count: since that was lowered, about. */
uint64_t redis_access_idle_s(const struct redis_config *config, uint32_t note, uint64_t now_ms);

/* Its count by now. Of a note by time: as if it had been new then. */
unsigned redis_access_count(const struct redis_config *config, uint32_t note, uint64_t now_ms);

#endif
