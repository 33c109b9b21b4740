/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CACHE_CACHE_SHARD_H
#define STORAGE_CACHE_CACHE_SHARD_H

/*
 * One shard of a cache: a page table, its descriptors, a policy, and the latch that all but a hit
 * takes; private to this folder. Functions called `_locked` want the latch held.
 *
 * Hits are told to the policy later and many at once (X. Ding, S. Jiang, X. Zhang, BP-Wrapper: a
 * system framework making any replacement algorithms (almost) lock contention free, ICDE 2009): each
 * is written into a ring of its thread's stripe, and whoever fills the ring, or changes anything
 * under the latch, hands all of it over. With one thread nothing is lost and the order is that of
 * the hits; if the latch is busy when a ring is full, its oldest hits are forgotten.
 *
 * A shard is quiet when nothing has come in for as many hits as it has entries (and QUIET_HITS). What
 * the policy would do is far away then, and it is told of one hit on each entry for QUIET_PERIOD times
 * as many hits as there are entries; then a new period begins. What comes in ends it.
 */
#include <pthread.h>

#include "storage/cache/cache.h"
#include "storage/cache/cache_frame.h"
#include "storage/cache/cache_table.h"
#include "storage/cache/policy.h"

enum { HIT_STRIPES = 4, HITS_MAX = 32, QUIET_HITS = 1024, QUIET_PERIOD = 8 };

struct cache_hits {
    CACHE_ALIGNED _Atomic uint64_t count;
    uint64_t drained;                 /* under the latch */
    _Atomic uintptr_t ring[HITS_MAX]; /* a frame, plus CACHE_SCAN; 0: taken out */
};

struct cache_shard {
    /* What a hit reads. */
    CACHE_ALIGNED struct cache_table table;
    _Atomic bool wants_hits;
    _Atomic uint32_t quiet; /* the period, or 0 */

    CACHE_ALIGNED pthread_mutex_t latch;
    pthread_cond_t filled;
    struct cache_policy *policy;
    struct list slabs, free;
    uint64_t slabs_count;
    size_t budget_bytes, used_bytes;
    uint64_t entries;
    uint64_t hits_alone; /* since something came in or a period began */
    uint32_t periods;
    struct cache_stats stats; /* the counters of it, but for hits without the latch */

    struct cache_hits hits[HIT_STRIPES];
};

/* ERROR_MEMORY. `shard` is aligned to a cache line. */
int cache_shard_create(struct cache_shard *shard, size_t budget_bytes,
                       const struct cache_policy_vtab *vtab);
void cache_shard_destroy(struct cache_shard *shard);

/* Counts a hit on a frame that the caller has pinned, without the latch. */
void cache_shard_hit(struct cache_shard *shard, struct cache_frame *frame, unsigned flags);

/* Hands all hits over to the policy. */
void cache_shard_drain_locked(struct cache_shard *shard);

/* A new frame for the key, which nobody has: hidden, in the table, being filled, pinned once.
 * ERROR_MEMORY. */
int cache_shard_start_locked(struct cache_shard *shard, uint64_t file, uint64_t offset,
                             uint64_t hash, unsigned flags, struct cache_frame **out);

/* Ends what _start_ began, with room that it owns from now on, or with an error (room NULL). The pin
 * stays. The caller wakes those who wait. */
void cache_shard_finish_locked(struct cache_shard *shard, struct cache_frame *frame, void *room,
                               size_t size, int error);

/* Takes an entry out of table and policy; it is freed now or by its last pin. */
void cache_shard_forget_locked(struct cache_shard *shard, struct cache_frame *frame);
void cache_shard_forget_file_locked(struct cache_shard *shard, uint64_t file);

/* Evicts until `charge` more fits, or all is pinned. */
void cache_shard_room_locked(struct cache_shard *shard, size_t charge,
                             const struct cache_frame *next);

void cache_shard_resize_locked(struct cache_shard *shard, size_t budget_bytes);

/* `policy` takes the place of the present one, which is deleted. */
void cache_shard_policy_locked(struct cache_shard *shard, struct cache_policy *policy);

/* Adds this shard's figures. */
void cache_shard_stats_locked(struct cache_shard *shard, struct cache_stats *sum);

/* Takes one pin away; frees an orphan with its last. Without the latch. */
void cache_frame_unpin(struct cache_frame *frame);

#endif
