/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of src/simd: on every level that the machine has, the answer is that of the scalar
 * reference. The first byte chooses the kernel, the rest is what it works on, in memory that begins
 * and ends where the bytes do. Numbers are searched both as they come, where only the bound of the
 * answer is promised, and in order.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "simd/bloom.h"
#include "simd/search.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *copy_of(const void *data, size_t size)
{
    void *copy = malloc(size);
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    return copy;
}

static void check_crc(const struct simd_kernels *kernels, const uint8_t *data, size_t size)
{
    const struct simd_kernels *scalar = simd_kernels_of(SIMD_SCALAR);
    size_t half = size / 2;
    uint32_t sum = kernels->crc32c(0, data, size);

    ASSERT(sum == scalar->crc32c(0, data, size));
    ASSERT(sum == kernels->crc32c(kernels->crc32c(0, data, half), data + half, size - half));
}

/* A hash, a block, and more hashes that are added to it. */
static void check_bloom(const struct simd_kernels *kernels, const uint8_t *data, size_t size)
{
    const struct simd_kernels *scalar = simd_kernels_of(SIMD_SCALAR);
    uint32_t hash;

    if (size < sizeof(hash) + BLOOM_BLOCK_BYTES)
        return;
    const uint8_t *at = data + sizeof(hash), *end = data + size;
    unsigned char *block = copy_of(at, BLOOM_BLOCK_BYTES);
    unsigned char *expected = copy_of(at, BLOOM_BLOCK_BYTES);
    memcpy(&hash, data, sizeof(hash));
    ASSERT(kernels->bloom_may_contain(block, hash) == scalar->bloom_may_contain(block, hash));
    for (at += BLOOM_BLOCK_BYTES; (size_t)(end - at) >= sizeof(hash); at += sizeof(hash)) {
        memcpy(&hash, at, sizeof(hash));
        kernels->bloom_add(block, hash);
        scalar->bloom_add(expected, hash);
        ASSERT(memcmp(block, expected, BLOOM_BLOCK_BYTES) == 0);
        ASSERT(kernels->bloom_may_contain(block, hash));
    }
    free(block);
    free(expected);
}

static int number_compare(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

/* A bound, and numbers. */
static void check_search(const struct simd_kernels *kernels, const uint8_t *data, size_t size)
{
    const struct simd_kernels *scalar = simd_kernels_of(SIMD_SCALAR);
    uint64_t bound;

    if (size < sizeof(bound))
        return;
    unsigned count = (unsigned)(size / sizeof(bound) - 1), below = 0;
    memcpy(&bound, data, sizeof(bound));
    uint64_t *numbers = copy_of(data + sizeof(bound), count * sizeof(bound));
    ASSERT(kernels->lower_bound(numbers, count, bound) <= count);
    qsort(numbers, count, sizeof(numbers[0]), number_compare);
    while (below < count && numbers[below] < bound)
        below++;
    ASSERT(scalar->lower_bound(numbers, count, bound) == below);
    ASSERT(kernels->lower_bound(numbers, count, bound) == below);
    free(numbers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(const struct simd_kernels *, const uint8_t *,
                                  size_t) = {check_crc, check_bloom, check_search};

    if (size == 0)
        return 0;
    for (enum simd_level level = 0; level < SIMD_LEVEL_COUNT; level++) {
        const struct simd_kernels *kernels = simd_kernels_of(level);
        if (kernels != NULL)
            checks[data[0] % 3](kernels, data + 1, size - 1);
    }
    return 0;
}
