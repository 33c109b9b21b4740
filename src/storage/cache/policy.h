/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CACHE_POLICY_H
#define STORAGE_CACHE_POLICY_H

/*
 * Replacement: which entry goes when room is needed. A policy serves one shard; all its functions are
 * called under the shard's lock, so that it is written like a textbook says.
 *
 * A miss is, in this order: prepare(frame), which looks the key up in what the policy remembers of
 * former entries (ghosts); evict until there is room; insert(frame). All amounts are bytes of
 * frame->charge: with entries of one size that is counting them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "storage/cache/cache_frame.h"

struct cache_policy_stats {
    uint64_t ghost_hits_recency, ghost_hits_frequency;
    size_t recency_bytes;
    size_t tables_bytes;
};

struct cache_policy;

struct cache_policy_vtab {
    const char *name;
    /* Whether it wants to be told of each hit. If not, frame->referenced is set and that is all. Hits
     * come later than they happen, in batches, and before anything else is asked. */
    bool wants_hits;
    /* A policy for `budget_bytes`. ERROR_MEMORY. */
    int (*new)(size_t budget_bytes, struct cache_policy **out);
    /* Frees it. Frames that it holds are only forgotten. */
    void (*free)(struct cache_policy *policy);
    void (*resize)(struct cache_policy *policy, size_t budget_bytes);
    /* `frame` is one that it holds. */
    void (*hit)(struct cache_policy *policy, struct cache_frame *frame, unsigned flags);
    /* `frame` is going to be inserted. ERROR_MEMORY: it will not be; the policy is as it was. */
    int (*prepare)(struct cache_policy *policy, struct cache_frame *frame, unsigned flags);
    /* Chooses an entry by cache_frame_claim, lets go of it and gives it; NULL: all are pinned. `next`
     * is what room is made for, prepared; NULL when the budget shrinks. */
    struct cache_frame *(*evict)(struct cache_policy *policy, const struct cache_frame *next);
    /* Takes hold of a prepared frame. */
    void (*insert)(struct cache_policy *policy, struct cache_frame *frame);
    /* Lets go of a frame that it holds, and does not remember it. */
    void (*remove)(struct cache_policy *policy, struct cache_frame *frame);
    void (*stats)(const struct cache_policy *policy, struct cache_policy_stats *out);
};

struct cache_policy {
    const struct cache_policy_vtab *vtab;
};

/* All of them, ended by NULL; the names are those of cache.h. */
extern const struct cache_policy_vtab *const cache_policies[];

/* NULL when there is none of that name. */
const struct cache_policy_vtab *cache_policy_find(const char *name);

extern const struct cache_policy_vtab cache_policy_clock, cache_policy_lru, cache_policy_2q,
    cache_policy_lru_k, cache_policy_lirs, cache_policy_arc, cache_policy_arc_scan;

#endif
