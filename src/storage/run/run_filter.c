/* SPDX-License-Identifier: Apache-2.0 */
/* Building and asking a run's filter. The layout is in run_filter.h. */
#include "storage/run/run_filter.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/error.h"
#include "simd/bloom.h"

struct header {
    uint32_t kind, zero;
    uint64_t keys;
};

STATIC_ASSERT(sizeof(struct header) == RUN_FILTER_HEADER_BYTES);

static uint64_t hash_of(const void *key, size_t size)
{
    return XXH3_64bits(key, size);
}

/* ---------------------------------------------------------------------------------------- building
 */

void run_filter_builder_destroy(struct run_filter_builder *builder)
{
    run_memory_destroy(&builder->hashes);
}

int run_filter_add(struct run_filter_builder *builder, const void *key, size_t size)
{
    struct run_memory *hashes = &builder->hashes;
    uint64_t hash = hash_of(key, size);
    int rc = run_memory_reserve(hashes, hashes->size + sizeof hash);
    if (rc != 0)
        return rc;
    memcpy(hashes->data + hashes->size, &hash, sizeof hash);
    hashes->size += sizeof hash;
    return 0;
}

int run_filter_end(const struct run_filter_builder *builder, unsigned bits_per_key,
                   struct run_memory *out)
{
    const struct run_memory *hashes = &builder->hashes;
    const struct header header = {.kind = RUN_FILTER_BLOOM,
                                  .keys = hashes->size / sizeof(uint64_t)};
    size_t count = bloom_block_count(header.keys, bits_per_key);
    size_t size = sizeof header + count * BLOOM_BLOCK_BYTES;
    int rc = run_memory_reserve(out, size);
    if (rc != 0)
        return rc;
    memset(out->data, 0, size);
    memcpy(out->data, &header, sizeof header);
    for (size_t at = 0; at < hashes->size; at += sizeof(uint64_t)) {
        uint64_t hash;
        memcpy(&hash, hashes->data + at, sizeof hash);
        bloom_add(out->data + sizeof header, count, hash);
    }
    out->size = size;
    return 0;
}

/* ---------------------------------------------------------------------------------------- reading
 */

int run_filter_open(struct run_filter *filter, const void *contents, size_t size)
{
    struct header header;
    *filter = (struct run_filter){0};
    if (size < sizeof header)
        return ERROR_CORRUPT;
    memcpy(&header, contents, sizeof header);
    if (header.kind != RUN_FILTER_BLOOM)
        return 0;
    size_t bytes = size - sizeof header;
    if (bytes == 0 || bytes % BLOOM_BLOCK_BYTES != 0 || bytes / BLOOM_BLOCK_BYTES > UINT32_MAX)
        return ERROR_CORRUPT;
    filter->blocks = aligned_alloc(BLOOM_BLOCK_BYTES, bytes);
    if (filter->blocks == NULL)
        return ERROR_MEMORY;
    memcpy(filter->blocks, (const char *)contents + sizeof header, bytes);
    filter->count = bytes / BLOOM_BLOCK_BYTES;
    filter->keys = header.keys;
    return 0;
}

void run_filter_close(struct run_filter *filter)
{
    free(filter->blocks);
    *filter = (struct run_filter){0};
}

bool run_filter_may_contain(const struct run_filter *filter, const void *key, size_t size)
{
    return filter->blocks == NULL ||
           bloom_may_contain(filter->blocks, filter->count, hash_of(key, size));
}
