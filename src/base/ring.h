/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RING_H
#define BASE_RING_H

/*
 * A bounded queue of pointers for any number of producers and consumers that never wait for each
 * other: a full ring refuses, an empty one gives nothing, and whoever calls decides what to do
 * then. What one producer puts in comes out in its order.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"

struct ring_cell;

struct ring {
    struct ring_cell *cells;
    uint64_t mask;
    CACHE_ALIGNED _Atomic uint64_t tail; /* next position to put */
    CACHE_ALIGNED _Atomic uint64_t head; /* next position to take */
};

/* A ring with room for `capacity` pointers, a power of two of at least 2. Returns 0 or
 * ERROR_MEMORY. */
int ring_create(struct ring *ring, size_t capacity);

/* Frees the ring's cells, not what the pointers left in it point to. No other thread may use it any
 * more. */
void ring_destroy(struct ring *ring);

/* Puts `item` at the end; false when the ring is full. What the caller wrote before is seen by the
 * taker. */
bool ring_put(struct ring *ring, void *item);

/* Takes the oldest item; false when the ring is empty, or while the oldest is still being put. */
bool ring_take(struct ring *ring, void **item);

#endif
