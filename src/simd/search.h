/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMD_SEARCH_H
#define SIMD_SEARCH_H

/*
 * Searching a short ascending array of numbers, such as the hints of a tree's node.
 *
 * For some dozens of numbers a binary search is not the fastest: each step waits for the load
 * before it, and where a step is a branch it is predicted wrongly half of the time. Counting how
 * many numbers are below needs no step to wait for another, nor a branch, and its cache misses
 * overlap.
 */
#include <stdint.h>

#include "simd/simd.h"

/*
 * The first position in an ascending array of `count` numbers whose number is not below `bound`, or
 * `count`.
 *
 * The array may be changed by others meanwhile, number by number, and then need not be ascending:
 * the answer means nothing, but is at most `count`, and nothing beyond is read.
 */
static inline unsigned search_lower_bound(const uint64_t *numbers, unsigned count, uint64_t bound)
{
    return simd_active.lower_bound(numbers, count, bound);
}

#endif
