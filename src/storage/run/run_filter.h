/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RUN_RUN_FILTER_H
#define STORAGE_RUN_RUN_FILTER_H

/*
 * The filter of a run: which keys it certainly has no version of, in about ten bits a key, so that
 * most looks for a key that is elsewhere read no block.
 *
 * Section type 2, not required:
 *       0  u32  kind: 1, split block Bloom (simd/bloom.h); a reader skips one that it does not know
 *       4  u32  zero
 *       8  u64  keys
 *      16       blocks of BLOOM_BLOCK_BYTES, by XXH3_64bits of the key
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/run/run_block.h"

enum { RUN_FILTER_BLOOM = 1, RUN_FILTER_HEADER_BYTES = 16 };

/* ---------------------------------------------------------------------------------------- building
 */

/* Zero-initialised it is empty. Keeps eight bytes a key, since how large the filter has to be is
 * known at the end. */
struct run_filter_builder {
    struct run_memory hashes;
};

void run_filter_builder_destroy(struct run_filter_builder *builder);

/* Each key once. 0 or ERROR_MEMORY. */
int run_filter_add(struct run_filter_builder *builder, const void *key, size_t size);

/* The contents of the section, in `out`. 0 or ERROR_MEMORY. */
int run_filter_end(const struct run_filter_builder *builder, unsigned bits_per_key,
                   struct run_memory *out);

/* ---------------------------------------------------------------------------------------- reading
 */

struct run_filter {
    unsigned char *blocks; /* NULL: there is none, and every key may be there */
    size_t count;
    uint64_t keys;
};

/* Copies the contents of a section, which may be any bytes. 0, ERROR_MEMORY, or ERROR_CORRUPT. */
int run_filter_open(struct run_filter *filter, const void *contents, size_t size);

void run_filter_close(struct run_filter *filter);

/* False: no version of the key is in the run. */
bool run_filter_may_contain(const struct run_filter *filter, const void *key, size_t size);

#endif
