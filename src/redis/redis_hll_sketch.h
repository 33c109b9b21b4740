/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_HLL_SKETCH_H
#define REDIS_REDIS_HLL_SKETCH_H

/*
 * A HyperLogLog as Redis lays it out, so that its strings and these are the same bytes:
 *
 *   "HYLL" | encoding (0 dense, 1 sparse) | 3 bytes, 0 | cardinality, 8 bytes little endian; bit 63:
 *   not known
 *
 *   dense    16384 registers of 6 bits, the first in the low bits of the first byte
 *   sparse   opcodes that cover all registers in order:
 *              00nnnnnn            n + 1 registers of 0
 *              01nnnnnn nnnnnnnn   n + 1 registers of 0
 *              1vvvvvnn            n + 1 registers of v + 1
 *
 * Functions work on bytes of the caller's, with room for a dense sketch and for HLL_GROWTH_MAX bytes
 * more than it has with each register that is raised.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HLL_REGISTERS = 16384,
    HLL_HEADER_SIZE = 16,
    HLL_DENSE_SIZE = HLL_HEADER_SIZE + HLL_REGISTERS * 6 / 8,
    HLL_GROWTH_MAX = 4 /* bytes that raising one register adds */
};

struct hll {
    unsigned char *bytes;
    size_t size;
    size_t sparse_max; /* a sparse one that is to have more bytes becomes dense */
};

/* Whether bytes begin as a sketch does, and a dense one is as long as it must be. */
bool hll_check(const void *bytes, size_t size);

bool hll_is_dense(const void *bytes);

/* An empty sketch, sparse. */
void hll_create(struct hll *hll);

/* Makes it dense. False when the opcodes are damaged: then it is as it was. */
bool hll_to_dense(struct hll *hll);

/* Adds an element, or raises a register: 1 when that changed it, 0 when not, -1 when it is damaged. */
int hll_add(struct hll *hll, const void *element, size_t size);
int hll_raise(struct hll *hll, unsigned index, unsigned value);

/* The cardinality kept in it is no longer right. */
void hll_forget_count(struct hll *hll);

/* Raises `registers`, one byte each, to those of a sketch. False when it is damaged. */
bool hll_merge(const void *bytes, size_t size, unsigned char registers[HLL_REGISTERS]);

/* The estimate of the number of elements that registers have seen. */
uint64_t hll_count(const unsigned char registers[HLL_REGISTERS]);

/* The next opcode at *at: `value` for `run` registers. False at the end, and when it is cut off. */
bool hll_opcode_next(const unsigned char **at, const unsigned char *end, unsigned *value,
                     unsigned *run);

#endif
