/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RUN_RUN_RIBBON_H
#define STORAGE_RUN_RUN_RIBBON_H

/*
 * A homogeneous ribbon filter (Dillinger, Walzer, "Ribbon filter: practically smaller than Bloom and
 * Xor", 2021; Dillinger, Hübschle-Schneider, Sanders, Walzer, "Fast succinct retrieval and
 * approximate membership using ribbon", 2022): about three tenths smaller than a Bloom filter that
 * errs as often, and slower to build and to ask.
 *
 * A key is an equation: where it begins, and 128 coefficients, the first of them 1. In each of r
 * columns of bits those that lie there are to have even parity under the coefficients. Equations
 * with zero on their right side can always be solved; the bits that they leave open are filled at
 * random, or all zeros, which knows every key, would be a solution too. A key that is not there
 * satisfies r columns with 1 in 2^r. With 5 % more rows than keys, few other equations follow from those
 * of the keys, so that this is also what is measured.
 *
 *      key ──hash──► part │ start │ coefficients
 *
 *            start ┐
 *      rows  ······1·11·0·1··1·····        r columns, in blocks of 128 rows, one column of a block
 *                  └── 128 wide ──┘        behind the other: most looks end after one or two
 *
 * How often it errs is asked for as bits a key of a Bloom filter that errs as often (simd/bloom.h).
 * So r is not whole: the last blocks of a part have one column more than those before them.
 *
 * A filter of many keys consists of parts, each solved by itself, so that the memory for that is
 * bounded: 17 bytes for each key of one part, of which there are about a million at most.
 *
 * Depends on nothing but base and codec, and could ship alone.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RIBBON_ROWS = 128, /* of a block, and coefficients of an equation */
    RIBBON_COLUMNS_MAX = 32,
    RIBBON_PART_KEYS =
        1 << 20, /* on average, at most, but for more keys than PARTS_MAX such parts have */
    RIBBON_PARTS_MAX = 256,
    RIBBON_SEEDS = 4,
};

/* How a filter is laid out, 20 bytes, and so it is kept on disk. */
struct run_ribbon {
    uint32_t seed;
    uint32_t parts;   /* a power of two */
    uint32_t blocks;  /* of each part */
    uint32_t columns; /* of a block */
    uint32_t wide;    /* so many blocks, the last ones of each part, have one column more */
};

/* Bytes of all parts; 0: no filter looks like that. */
uint64_t run_ribbon_bytes(const struct run_ribbon *ribbon);

/* The layout for so many keys, with which it errs as often as a Bloom filter of bloom_bits a key,
 * 1 to 32. For fewer than a few hundred keys, or with one bit, that is no smaller than the Bloom filter. */
void run_ribbon_shape(uint64_t keys, unsigned bloom_bits, struct run_ribbon *out);

/* Fills run_ribbon_bytes at `bits` for the keys with these hashes, of which it changes the order, and
 * sets the seed. 0, ERROR_MEMORY, or ERROR_TOO_LARGE: with none of RIBBON_SEEDS seeds the hashes
 * spread, as only those of keys do that somebody has chosen for that; solving would take its time. */
int run_ribbon_build(struct run_ribbon *ribbon, uint64_t *hashes, uint64_t count,
                     unsigned char *bits);

/* Whether a key with this hash may be there. */
bool run_ribbon_may_contain(const struct run_ribbon *ribbon, const unsigned char *bits,
                            uint64_t hash);

/* The hash as a seed spreads it; its highest bits say where the equation begins. */
static inline uint64_t run_ribbon_spread(uint64_t hash, uint32_t seed)
{
    hash += seed * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return hash ^ hash >> 32;
}

#endif
