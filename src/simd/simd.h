/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIMD_SIMD_H
#define SIMD_SIMD_H

/*
 * Kernels: small loops over bytes of which there is one for each level of instruction set, all with
 * the same results. Users include the header of the kernel that they want (simd/bloom.h, ...),
 * which calls through `simd_active`; this one is for whoever chooses, tests and measures.
 *
 * The choice is made once, before main: the highest level that the processor and the system have,
 * or the one that the environment variable PERIGEE_SIMD names (scalar, sse4.2, avx2, avx512). A name
 * that is none of these, or a level that the machine lacks, ends the program with a sentence:
 * who asks for a level wants to know that it is the one that runs.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ascending: a machine that has one has those before it. SSE4.2 is what the sources are compiled
 * for, so that every machine has it; scalar is the reference, plain C that others are compared
 * with. */
enum simd_level { SIMD_SCALAR, SIMD_SSE42, SIMD_AVX2, SIMD_AVX512, SIMD_LEVEL_COUNT };

/* What a level has no kernel of its own for is that of the level below. */
struct simd_kernels {
    enum simd_level level;
    /* Of a block of 64 bytes: simd/bloom.h. */
    void (*bloom_add)(unsigned char *block, uint32_t hash);
    bool (*bloom_may_contain)(const unsigned char *block, uint32_t hash);
    /* simd/search.h. */
    unsigned (*lower_bound)(const uint64_t *numbers, unsigned count, uint64_t bound);
    /* codec/crc32c.h. */
    uint32_t (*crc32c)(uint32_t crc, const void *data, size_t size);
};

/* The table in force. Set before main, read by every thread, never changed afterwards. It is the
 * table itself and not a pointer to one: a call is one load and one indirect jump. */
extern struct simd_kernels simd_active;

/* The kernels of one level; NULL when this machine does not have it. */
const struct simd_kernels *simd_kernels_of(enum simd_level level);

/* As PERIGEE_SIMD has it; constant. */
const char *simd_level_name(enum simd_level level);

/* The level of that name, or SIMD_LEVEL_COUNT. */
enum simd_level simd_level_of_name(const char *name);

#endif
