/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bloom filters: every level of the machine against the definition in simd/bloom.h, and what the
 * filter promises.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "simd/bloom.h"

enum { KEYS = 200000 };

/* Bit `bit` of a block as the definition has it: bit 0 is the lowest of the first byte. */
static bool bit_is_set(const unsigned char *block, unsigned bit)
{
    return block[bit / 8] >> bit % 8 & 1;
}

/* The bits of a hash, written down once more from the definition. */
static void bits_of(uint32_t hash, unsigned bits[8])
{
    static const uint64_t salts[8] = {0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d,
                                      0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31};
    for (unsigned i = 0; i < 8; i++)
        bits[i] = i * 64 + (unsigned)((salts[i] * hash & 0xffffffff) / (1u << 26));
}

static uint32_t hash_choose(struct random *random)
{
    static const uint32_t edges[] = {0, 1, 2, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    if (random_below(random, 8) == 0)
        return edges[random_below(random, sizeof(edges) / sizeof(edges[0]))];
    return (uint32_t)random_next(random);
}

static void a_key_sets_the_bits_of_the_definition_on_every_level(void **state)
{
    struct random random;

    (void)state;
    random_create(&random, test_seed());
    for (int round = 0; round < 2000; round++) {
        uint32_t hash = hash_choose(&random);
        unsigned bits[8];
        bits_of(hash, bits);
        for (enum simd_level level = 0; level < SIMD_LEVEL_COUNT; level++) {
            const struct simd_kernels *kernels = simd_kernels_of(level);
            if (kernels == NULL)
                continue;
            /* Not aligned, between bytes that must stay. */
            unsigned char around[1 + BLOOM_BLOCK_BYTES + 1] = {0};
            kernels->bloom_add(around + 1, hash);
            unsigned set = 0;
            for (unsigned i = 0; i < sizeof(around) * 8; i++)
                set += bit_is_set(around, i);
            assert_int_equal(set, 8);
            for (int i = 0; i < 8; i++)
                assert_true(bit_is_set(around + 1, bits[i]));
        }
    }
}

static void a_key_is_found_exactly_when_all_its_bits_are_set_on_every_level(void **state)
{
    struct random random;

    (void)state;
    random_create(&random, test_seed());
    for (int round = 0; round < 20000; round++) {
        unsigned char block[BLOOM_BLOCK_BYTES];
        unsigned bits[8];
        uint32_t hash = hash_choose(&random);
        bits_of(hash, bits);
        /* All bits are set but for a few, which are among the key's or not. */
        memset(block, 0xff, sizeof(block));
        for (uint64_t n = random_below(&random, 3); n > 0; n--) {
            unsigned bit = random_below(&random, 2) == 0 ? bits[random_below(&random, 8)]
                                                         : (unsigned)random_below(&random, 512);
            block[bit / 8] &= (unsigned char)~(1u << bit % 8);
        }
        bool expected = true;
        for (int i = 0; i < 8; i++)
            expected = expected && bit_is_set(block, bits[i]);
        for (enum simd_level level = 0; level < SIMD_LEVEL_COUNT; level++) {
            const struct simd_kernels *kernels = simd_kernels_of(level);
            if (kernels != NULL)
                assert_int_equal(kernels->bloom_may_contain(block, hash), expected);
        }
    }
}

static unsigned char *filter_of(uint64_t keys, unsigned bits_per_key, uint64_t seed, size_t *count)
{
    struct random random;

    *count = bloom_block_count(keys, bits_per_key);
    unsigned char *blocks = calloc(*count, BLOOM_BLOCK_BYTES);
    assert_non_null(blocks);
    random_create(&random, seed);
    for (uint64_t i = 0; i < keys; i++)
        bloom_add(blocks, *count, random_next(&random));
    return blocks;
}

static void what_was_added_is_always_found(void **state)
{
    static const uint64_t sizes[] = {1, 2, 51, 52, 1000, KEYS};
    uint64_t seed = test_seed();

    (void)state;
    for (size_t n = 0; n < sizeof(sizes) / sizeof(sizes[0]); n++) {
        size_t count;
        struct random again;
        unsigned char *blocks = filter_of(sizes[n], 10, seed, &count);
        random_create(&again, seed);
        for (uint64_t i = 0; i < sizes[n]; i++)
            assert_true(bloom_may_contain(blocks, count, random_next(&again)));
        free(blocks);
    }
}

/* The share of keys never added that seem to be there; the same on every machine. */
static double false_share(unsigned bits_per_key)
{
    size_t count;
    struct random others;
    unsigned char *blocks = filter_of(KEYS, bits_per_key, 1, &count);
    unsigned found = 0;

    random_create(&others, 2);
    for (int i = 0; i < KEYS; i++)
        found += bloom_may_contain(blocks, count, random_next(&others));
    free(blocks);
    printf("%u bits a key: %.3f %% false\n", bits_per_key, 100.0 * found / KEYS);
    return (double)found / KEYS;
}

static void few_keys_that_were_not_added_seem_to_be_there(void **state)
{
    (void)state;
    assert_true(false_share(10) < 0.015);
    assert_true(false_share(16) < 0.003);
}

static void a_filter_has_a_block_for_512_bits_and_one_at_least(void **state)
{
    (void)state;
    assert_int_equal(bloom_block_count(0, 10), 1);
    assert_int_equal(bloom_block_count(51, 10), 1);
    assert_int_equal(bloom_block_count(52, 10), 2);
    assert_int_equal(bloom_block_count(512, 10), 10);
    assert_int_equal(bloom_block_count(513, 10), 11);
    assert_int_equal(bloom_block_count(UINT64_MAX, 10), UINT32_MAX);
    assert_int_equal(bloom_block_count(100, 0), 1);
}

static void every_block_is_used_and_none_beyond(void **state)
{
    struct random random;
    bool used[7] = {false};

    (void)state;
    random_create(&random, test_seed());
    assert_int_equal(bloom_block_offset(7, 0), 0);
    assert_int_equal(bloom_block_offset(7, UINT64_MAX), 6 * BLOOM_BLOCK_BYTES);
    assert_int_equal(bloom_block_offset(UINT32_MAX, UINT64_MAX),
                     (uint64_t)(UINT32_MAX - 1) * BLOOM_BLOCK_BYTES);
    for (int i = 0; i < 1000; i++) {
        size_t offset = bloom_block_offset(7, random_next(&random));
        assert_true(offset % BLOOM_BLOCK_BYTES == 0 && offset / BLOOM_BLOCK_BYTES < 7);
        used[offset / BLOOM_BLOCK_BYTES] = true;
    }
    for (int i = 0; i < 7; i++)
        assert_true(used[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_sets_the_bits_of_the_definition_on_every_level),
        cmocka_unit_test(a_key_is_found_exactly_when_all_its_bits_are_set_on_every_level),
        cmocka_unit_test(what_was_added_is_always_found),
        cmocka_unit_test(few_keys_that_were_not_added_seem_to_be_there),
        cmocka_unit_test(a_filter_has_a_block_for_512_bits_and_one_at_least),
        cmocka_unit_test(every_block_is_used_and_none_beyond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
