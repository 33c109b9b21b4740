/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CACHE_CACHE_FRAME_H
#define STORAGE_CACHE_CACHE_FRAME_H

/*
 * The descriptor of one entry, shared by the cache and its policies; private to this folder.
 *
 * Descriptors are taken from slabs that stay until the cache is deleted, so that a reader may look at
 * one that it found in the table without any lock: it pins first, and then looks whether this is
 * still the entry that it wants. The word `state` is the number of pins with two bits above:
 *
 *      pins  FRAME_HIDDEN  FRAME_ORPHAN
 *       n         -             -        in table and policy; whoever finds it may pin it
 *       0        set            -        free, or claimed by an eviction, under the shard's lock
 *       n        set            -        being filled by one, waited for by n - 1
 *       n        set           set       in no table any more; goes with its last pin
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/list.h"

#define FRAME_HIDDEN 0x80000000u
#define FRAME_ORPHAN 0x40000000u
#define FRAME_PINS   0x3fffffffu

struct cache_shard;

/* What stands in a list of a policy: an entry, or the memory of one (ghost.h). */
struct cache_node {
    struct list link;
    bool is_ghost;
    uint8_t where;   /* the policy's */
    uint8_t flags;   /* the policy's */
    uint32_t charge; /* bytes of the budget */
};

struct cache_frame {
    /* What a hit touches. */
    CACHE_ALIGNED _Atomic uint32_t state;
    uint32_t size;
    _Atomic uint64_t file, offset;
    void *data; /* with an error: its message, or NULL */
    uint64_t hash;
    struct cache_shard *shard;
    _Atomic bool referenced; /* since the policy last took it back */
    bool scanned;            /* being filled for a scan */
    bool filling;            /* under the shard's lock */
    int error;               /* of the fill that has ended */
    _Atomic uint32_t told;   /* the quiet period in which the policy was told of a hit */

    /* The policy's, under the shard's lock. */
    CACHE_ALIGNED struct cache_node node;
    union {
        struct list second;
        uint64_t stamps[4];
    };
    size_t place;
};

/* Takes an entry that nobody has pinned away from readers: true once it cannot be pinned any more. */
static inline bool cache_frame_claim(struct cache_frame *frame)
{
    uint32_t none = 0;
    return atomic_compare_exchange_strong_explicit(&frame->state, &none, FRAME_HIDDEN,
                                                   memory_order_acquire, memory_order_relaxed);
}

/* Pins an entry that may be found; false when it is hidden. */
static inline bool cache_frame_pin(struct cache_frame *frame)
{
    uint32_t state = load_relaxed(&frame->state);
    do {
        if (state & FRAME_HIDDEN)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&frame->state, &state, state + 1,
                                                    memory_order_acquire, memory_order_relaxed));
    return true;
}

static inline struct cache_frame *cache_frame_of_node(struct list *link)
{
    return list_entry(link, struct cache_frame, node.link);
}

#endif
