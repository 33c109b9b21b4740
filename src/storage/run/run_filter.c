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

/* Behind it, of a ribbon. */
struct ribbon_header {
    struct run_ribbon ribbon;
    uint32_t zero;
};

STATIC_ASSERT(sizeof(struct header) + sizeof(struct ribbon_header) == RUN_FILTER_RIBBON_BYTES);

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

static uint64_t key_count(const struct run_filter_builder *builder)
{
    return builder->hashes.size / sizeof(uint64_t);
}

/* False: a Bloom filter is to take its place, for one of the reasons in run_filter.h. */
static bool ribbon_end(struct run_filter_builder *builder, unsigned bits_per_key,
                       struct run_memory *out)
{
    const struct header header = {.kind = RUN_FILTER_RIBBON, .keys = key_count(builder)};
    struct ribbon_header layout = {0};
    run_ribbon_shape(header.keys, bits_per_key, &layout.ribbon);
    size_t size = RUN_FILTER_RIBBON_BYTES + run_ribbon_bytes(&layout.ribbon);
    if (size >= sizeof header +
                    bloom_block_count(header.keys, bits_per_key) * (size_t)BLOOM_BLOCK_BYTES ||
        run_memory_reserve(out, size) != 0 ||
        run_ribbon_build(&layout.ribbon, (uint64_t *)(void *)builder->hashes.data, header.keys,
                         out->data + RUN_FILTER_RIBBON_BYTES) != 0)
        return false;
    memcpy(out->data, &header, sizeof header);
    memcpy(out->data + sizeof header, &layout, sizeof layout);
    out->size = size;
    return true;
}

static int bloom_end(const struct run_filter_builder *builder, unsigned bits_per_key,
                     struct run_memory *out)
{
    const struct run_memory *hashes = &builder->hashes;
    const struct header header = {.kind = RUN_FILTER_BLOOM, .keys = key_count(builder)};
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

int run_filter_end(struct run_filter_builder *builder, enum run_filter_kind kind,
                   unsigned bits_per_key, struct run_memory *out)
{
    return kind == RUN_FILTER_RIBBON && ribbon_end(builder, bits_per_key, out)
               ? 0
               : bloom_end(builder, bits_per_key, out);
}

enum run_filter_kind run_filter_kind_of(const struct run_memory *contents)
{
    struct header header;
    memcpy(&header, contents->data, sizeof header);
    return (enum run_filter_kind)header.kind;
}

/* ---------------------------------------------------------------------------------------- reading
 */

/* The blocks that are behind so many bytes of the contents. */
static int blocks_copy(struct run_filter *filter, const void *contents, size_t size, size_t from)
{
    size_t bytes = size - from;
    /* Whole lines of the caches, for Bloom. */
    filter->blocks = aligned_alloc(BLOOM_BLOCK_BYTES, (bytes + BLOOM_BLOCK_BYTES - 1) /
                                                          BLOOM_BLOCK_BYTES * BLOOM_BLOCK_BYTES);
    if (filter->blocks == NULL)
        return ERROR_MEMORY;
    memcpy(filter->blocks, (const char *)contents + from, bytes);
    return 0;
}

static int bloom_open(struct run_filter *filter, const void *contents, size_t size)
{
    size_t bytes = size - sizeof(struct header);
    if (bytes == 0 || bytes % BLOOM_BLOCK_BYTES != 0 || bytes / BLOOM_BLOCK_BYTES > UINT32_MAX)
        return ERROR_CORRUPT;
    filter->count = bytes / BLOOM_BLOCK_BYTES;
    return blocks_copy(filter, contents, size, sizeof(struct header));
}

static int ribbon_open(struct run_filter *filter, const void *contents, size_t size)
{
    struct ribbon_header layout;
    if (size < RUN_FILTER_RIBBON_BYTES)
        return ERROR_CORRUPT;
    memcpy(&layout, (const char *)contents + sizeof(struct header), sizeof layout);
    uint64_t bytes = run_ribbon_bytes(&layout.ribbon);
    if (bytes == 0 || bytes != size - RUN_FILTER_RIBBON_BYTES)
        return ERROR_CORRUPT;
    filter->ribbon = layout.ribbon;
    return blocks_copy(filter, contents, size, RUN_FILTER_RIBBON_BYTES);
}

int run_filter_open(struct run_filter *filter, const void *contents, size_t size)
{
    struct header header;
    *filter = (struct run_filter){0};
    if (size < sizeof header)
        return ERROR_CORRUPT;
    memcpy(&header, contents, sizeof header);
    filter->keys = header.keys;
    switch (header.kind) {
    case RUN_FILTER_BLOOM:
        filter->kind = RUN_FILTER_BLOOM;
        return bloom_open(filter, contents, size);
    case RUN_FILTER_RIBBON:
        filter->kind = RUN_FILTER_RIBBON;
        return ribbon_open(filter, contents, size);
    default:
        filter->kind = RUN_FILTER_UNKNOWN;
        return 0;
    }
}

void run_filter_close(struct run_filter *filter)
{
    free(filter->blocks);
    *filter = (struct run_filter){0};
}

bool run_filter_may_contain(const struct run_filter *filter, const void *key, size_t size)
{
    if (filter->blocks == NULL)
        return true;
    uint64_t hash = hash_of(key, size);
    return filter->kind == RUN_FILTER_RIBBON
               ? run_ribbon_may_contain(&filter->ribbon, filter->blocks, hash)
               : bloom_may_contain(filter->blocks, filter->count, hash);
}
