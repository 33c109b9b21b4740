/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RUN_RUN_FILTER_H
#define STORAGE_RUN_RUN_FILTER_H

/*
 * The filter of a run: which keys it certainly has no version of, in about ten bits a key, or seven,
 * so that most looks for a key that is elsewhere read no block.
 *
 * Section type 2, not required:
 *       0  u32  kind: 1, split block Bloom (simd/bloom.h), or 2, ribbon (run_ribbon.h); a reader
 *               skips one that it does not know: every key may be there then
 *       4  u32  zero
 *       8  u64  keys
 *      16       what the kind has, by XXH3_64bits of the key
 *
 * Of kind 1: blocks of BLOOM_BLOCK_BYTES.
 *
 * Of kind 2:
 *      16  u32  seed
 *      20  u32  parts, a power of two up to RIBBON_PARTS_MAX
 *      24  u32  blocks of each part
 *      28  u32  columns of a block
 *      32  u32  so many blocks, the last ones of each part, have one column more
 *      36  u32  zero
 *      40       columns of RIBBON_ROWS bits: of the first block, of the next one, ..
 *
 * Who asks for a ribbon filter gets a Bloom filter, for that run, where
 *   - the ribbon would not be smaller: for fewer than a few hundred keys;
 *   - there is no memory to solve it (17 bytes for each key of a part, 18 MB for a million);
 *   - the keys were chosen so that their hashes lump, whatever the seed (run_ribbon_build).
 * It errs as often as the ribbon would, so only the size of the file differs.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/run/run.h"
#include "storage/run/run_block.h"
#include "storage/run/run_ribbon.h"

enum { RUN_FILTER_HEADER_BYTES = 16, RUN_FILTER_RIBBON_BYTES = 40 /* before the columns */ };

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

/* The contents of the section, in `out`. A ribbon errs as often as a Bloom filter of so many bits a
 * key. 0 or ERROR_MEMORY. */
int run_filter_end(struct run_filter_builder *builder, enum run_filter_kind kind,
                   unsigned bits_per_key, struct run_memory *out);

/* Of the section's contents, as run_filter_end has made them. */
enum run_filter_kind run_filter_kind_of(const struct run_memory *contents);

/* ---------------------------------------------------------------------------------------- reading
 */

struct run_filter {
    unsigned char *blocks; /* NULL: there is none, and every key may be there */
    size_t count;          /* of a Bloom filter's blocks */
    struct run_ribbon ribbon;
    enum run_filter_kind kind;
    uint64_t keys;
};

/* Copies the contents of a section, which may be any bytes. 0, ERROR_MEMORY, or ERROR_CORRUPT. One of
 * a kind that is not known is none, of RUN_FILTER_UNKNOWN. */
int run_filter_open(struct run_filter *filter, const void *contents, size_t size);

void run_filter_close(struct run_filter *filter);

/* False: no version of the key is in the run. */
bool run_filter_may_contain(const struct run_filter *filter, const void *key, size_t size);

#endif
