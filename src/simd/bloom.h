/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMD_BLOOM_H
#define SIMD_BLOOM_H

/*
 * A split block Bloom filter (Putze, Sanders, Singler, "Cache-, hash- and space-efficient Bloom
 * filters", 2007; the form that Parquet has): a key sets one bit in each of the eight words of one
 * block of 64 bytes, so that a look costs one cache line and no loop.
 *
 *   block   the upper half of the hash, scaled to [0, count)
 *   word i  bit ((lower half × salt i) mod 2^32) >> 26; words are 64 bits, little-endian
 *
 * The bytes are the same on every level: filters are kept on disk. At 10 bits a key about 1 % of
 * the keys that were not added seem to be there, at 16 about 0.1 %. Blocks should begin at
 * multiples of 64 bytes in memory, else a look costs two lines; they need not.
 *
 * Hashes are the caller's: 64 bits, all of them well mixed.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "simd/simd.h"

enum { BLOOM_BLOCK_BYTES = 64 };

/* How many blocks a filter for `keys` keys has; at least one, at most 2^32 - 1. The caller has them
 * as count * BLOOM_BLOCK_BYTES bytes, zero before the first key is added. */
static inline size_t bloom_block_count(uint64_t keys, unsigned bits_per_key)
{
    const uint64_t bits = BLOOM_BLOCK_BYTES * 8, most = UINT32_MAX;

    if (bits_per_key > 0 && keys > most * bits / bits_per_key)
        return most;
    uint64_t count = (keys * bits_per_key + bits - 1) / bits;
    return count > 0 ? count : 1;
}

/* Where the block of a key begins. */
static inline size_t bloom_block_offset(size_t count, uint64_t hash)
{
    return (size_t)(((hash >> 32) * count) >> 32) * BLOOM_BLOCK_BYTES;
}

/* Adds a key. */
static inline void bloom_add(unsigned char *blocks, size_t count, uint64_t hash)
{
    simd_active.bloom_add(blocks + bloom_block_offset(count, hash), (uint32_t)hash);
}

/* False: the key was certainly not added. */
static inline bool bloom_may_contain(const unsigned char *blocks, size_t count, uint64_t hash)
{
    return simd_active.bloom_may_contain(blocks + bloom_block_offset(count, hash), (uint32_t)hash);
}

#endif
