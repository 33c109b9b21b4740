/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Ribbon filters: whatever was put in is found, others hardly more often than a Bloom filter of the
 * same accuracy finds them, in fewer bits; and hashes that lie on top of each other cost no more than
 * another seed. Hashes are taken as they are, so keys are random numbers here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "codec/crc32c.h"
#include "simd/bloom.h"
#include "storage/run/run_ribbon.h"

enum { MANY = 200000 };

/* Of exactly the bytes that it needs, so that the sanitizers see what is read beside them. */
static unsigned char *bits_of(const struct run_ribbon *ribbon)
{
    unsigned char *bits = malloc(run_ribbon_bytes(ribbon));
    assert_non_null(bits);
    return bits;
}

static uint64_t *hashes_of(uint64_t count, uint64_t seed)
{
    struct random random;
    uint64_t *hashes = malloc((count + 1) * sizeof *hashes);
    assert_non_null(hashes);
    random_create(&random, seed);
    for (uint64_t i = 0; i < count; i++)
        hashes[i] = random_next(&random);
    return hashes;
}

/* How many of MANY others seem to be there. */
static unsigned false_count(const struct run_ribbon *ribbon, const unsigned char *bits,
                            uint64_t seed)
{
    struct random others;
    unsigned found = 0;
    random_create(&others, seed);
    for (unsigned i = 0; i < MANY; i++)
        found += run_ribbon_may_contain(ribbon, bits, random_next(&others));
    return found;
}

static uint64_t sum_of(const uint64_t *hashes, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++)
        sum += hashes[i];
    return sum;
}

/* Builds one of these, and looks for each of them. */
static unsigned char *built(struct run_ribbon *ribbon, uint64_t *hashes, uint64_t count)
{
    unsigned char *bits = bits_of(ribbon);
    uint64_t sum = sum_of(hashes, count);
    assert_int_equal(run_ribbon_build(ribbon, hashes, count, bits), 0);
    assert_int_equal(sum_of(hashes, count), sum); /* in another order, and no others */
    for (uint64_t i = 0; i < count; i++)
        assert_true(run_ribbon_may_contain(ribbon, bits, hashes[i]));
    return bits;
}

static void what_was_put_in_is_always_found(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0,   1,   2,   3,    60,   61,   62,    127,
                                      128, 129, 500, 1000, 4096, 5000, 20000, 70000};
    struct random random;
    random_create(&random, test_seed());
    for (unsigned round = 0; round < 60; round++) {
        struct run_ribbon ribbon;
        uint64_t count = round < sizeof counts / sizeof *counts ? counts[round]
                                                                : random_below(&random, 3000),
                 *hashes = hashes_of(count, test_seed() + round);
        run_ribbon_shape(count, 1 + (unsigned)random_below(&random, 32), &ribbon);
        free(built(&ribbon, hashes, count));
        free(hashes);
    }
}

/* Parts of any number, too few blocks, no wide ones or nothing else: worse ones, but none that is wrong. */
static void any_layout_finds_what_was_put_in(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (unsigned round = 0; round < 100; round++) {
        struct run_ribbon ribbon = {
            .parts = 1u << random_below(&random, 9),
            .blocks = 1 + (uint32_t)random_below(&random, 40),
            .columns = 1 + (uint32_t)random_below(&random, RIBBON_COLUMNS_MAX - 1),
        };
        uint64_t room = (uint64_t)ribbon.parts * ribbon.blocks * RIBBON_ROWS,
                 count = random_below(&random, (room < 30000 ? room : 30000) * 3 / 4 + 1),
                 *hashes = hashes_of(count, test_seed() + round);
        ribbon.wide = (uint32_t)random_below(&random, ribbon.blocks + 1u);
        free(built(&ribbon, hashes, count));
        free(hashes);
    }
}

static double bloom_share(unsigned bits_per_key, uint64_t *bytes)
{
    struct random keys, others;
    size_t count = bloom_block_count(MANY, bits_per_key);
    unsigned char *blocks = calloc(count, BLOOM_BLOCK_BYTES);
    unsigned found = 0;
    assert_non_null(blocks);
    random_create(&keys, 1);
    random_create(&others, 2);
    for (unsigned i = 0; i < MANY; i++)
        bloom_add(blocks, count, random_next(&keys));
    for (unsigned i = 0; i < MANY; i++)
        found += bloom_may_contain(blocks, count, random_next(&others));
    free(blocks);
    *bytes = count * BLOOM_BLOCK_BYTES;
    return (double)found / MANY;
}

/* The seeds are fixed: the same numbers on every machine. */
static void it_errs_as_often_as_a_bloom_filter_in_fewer_bits(void **state)
{
    (void)state;
    static const unsigned bits[] = {5, 8, 10, 12, 16};
    static const double most[] = {0.56, 0.69, 0.71, 0.70, 0.68}; /* of the Bloom filter's bytes */
    for (size_t n = 0; n < sizeof bits / sizeof *bits; n++) {
        struct run_ribbon ribbon;
        uint64_t bloom_bytes, *hashes = hashes_of(MANY, 1);
        double bloom = bloom_share(bits[n], &bloom_bytes);
        run_ribbon_shape(MANY, bits[n], &ribbon);
        unsigned char *filter = built(&ribbon, hashes, MANY);
        double share = (double)false_count(&ribbon, filter, 2) / MANY,
               size = (double)run_ribbon_bytes(&ribbon) / (double)bloom_bytes;
        printf("%2u bits a key: %.3f %% false, Bloom %.3f %%, %.2f bits\n", bits[n], 100 * share,
               100 * bloom, 8.0 * (double)run_ribbon_bytes(&ribbon) / MANY);
        assert_true(share < bloom * 1.1 + 0.0002 && share > bloom * 0.9 - 0.0002);
        assert_true(size < most[n]);
        free(filter);
        free(hashes);
    }
}

static void a_filter_of_more_keys_has_parts_and_errs_no_more(void **state)
{
    (void)state;
    struct run_ribbon ribbon;
    uint64_t count = RIBBON_PART_KEYS + RIBBON_PART_KEYS / 8, *hashes = hashes_of(count, 3);
    run_ribbon_shape(count, 10, &ribbon);
    assert_int_equal(ribbon.parts, 2);
    unsigned char *bits = built(&ribbon, hashes, count);
    assert_in_range(false_count(&ribbon, bits, 4), MANY * 0.0095, MANY * 0.0115);
    free(bits);
    free(hashes);
}

static void the_layout_follows_from_the_number_of_keys(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 1, 300, 100000, 1 << 20, 3 << 20, 100000000, 4000000000};
    static const uint32_t parts[] = {1, 1, 1, 1, 1, 4, 128, 256};
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++)
        for (unsigned bits = 1; bits <= 40; bits++) {
            struct run_ribbon ribbon;
            run_ribbon_shape(counts[n], bits, &ribbon);
            uint64_t bytes = run_ribbon_bytes(&ribbon), rows = counts[n] + counts[n] / 20;
            assert_int_equal(ribbon.parts, parts[n]);
            assert_true(bytes > 0 && bytes >= rows * ribbon.columns / 8);
            assert_true(bytes <= (rows + 256 * ribbon.parts) * (ribbon.columns + 1) / 8);
        }
}

static void a_layout_that_no_filter_has_is_refused(void **state)
{
    (void)state;
    static const struct run_ribbon wrong[] = {
        {.parts = 0, .blocks = 1, .columns = 1},
        {.parts = 3, .blocks = 1, .columns = 1},
        {.parts = 512, .blocks = 1, .columns = 1},
        {.parts = UINT32_C(1) << 31, .blocks = 1, .columns = 1},
        {.parts = 1, .blocks = 0, .columns = 1},
        {.parts = 1, .blocks = 1, .columns = 0},
        {.parts = 1, .blocks = 1, .columns = 0, .wide = 1},
        {.parts = 1, .blocks = 1, .columns = RIBBON_COLUMNS_MAX},
        {.parts = 1, .blocks = 1, .columns = UINT32_MAX, .wide = 1},
        {.parts = 1, .blocks = 1, .columns = 1, .wide = 2},
        {.parts = 1, .blocks = 5, .columns = 1, .wide = UINT32_MAX},
    };
    const struct run_ribbon largest = {0, 256, UINT32_MAX, RIBBON_COLUMNS_MAX - 1, UINT32_MAX};
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++)
        assert_int_equal(run_ribbon_bytes(&wrong[n]), 0);
    assert_int_equal(run_ribbon_bytes(&(struct run_ribbon){0, 2, 3, 4, 1}), 2 * (3 * 4 + 1) * 16);
    assert_true(run_ribbon_bytes(&largest) == UINT64_C(256) * UINT32_MAX * 32 * 16);
}

/* Hashes that a seed from 0 to seeds - 1 spreads over one `part`-th of their places only. */
static uint64_t *lumping(uint64_t count, unsigned seeds, uint64_t part)
{
    struct random random;
    uint64_t *hashes = malloc(count * sizeof *hashes);
    assert_non_null(hashes);
    random_create(&random, 5);
    for (uint64_t i = 0; i < count;) {
        bool lumps = true;
        hashes[i] = random_next(&random);
        for (uint32_t seed = 0; lumps && seed < seeds; seed++)
            lumps = run_ribbon_spread(hashes[i], seed) < UINT64_MAX / part;
        i += lumps;
    }
    return hashes;
}

static void hashes_that_lump_are_spread_by_another_seed(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct run_ribbon ribbon;
    uint64_t *hashes = lumping(COUNT, 1, 16);
    run_ribbon_shape(COUNT, 10, &ribbon);
    unsigned char *bits = built(&ribbon, hashes, COUNT);
    assert_int_equal(ribbon.seed, 1);
    assert_in_range(false_count(&ribbon, bits, 6), MANY * 0.0095, MANY * 0.0115);
    free(bits);
    free(hashes);
}

static void hashes_that_no_seed_spreads_are_given_up(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct run_ribbon ribbon;
    uint64_t *hashes = lumping(COUNT, RIBBON_SEEDS, 3);
    run_ribbon_shape(COUNT, 10, &ribbon);
    unsigned char *bits = bits_of(&ribbon);
    assert_int_equal(run_ribbon_build(&ribbon, hashes, COUNT, bits), ERROR_TOO_LARGE);
    free(bits);
    free(hashes);
}

static void keys_of_one_hash_take_one_place(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct run_ribbon ribbon;
    uint64_t *hashes = hashes_of(COUNT, 7);
    for (unsigned i = 0; i < COUNT; i++)
        hashes[i] = i % 2 == 0 ? UINT64_MAX : hashes[i / 100];
    run_ribbon_shape(COUNT, 10, &ribbon);
    unsigned char *bits = built(&ribbon, hashes, COUNT);
    assert_int_equal(ribbon.seed, 0);
    free(bits);
    free(hashes);
}

/* What is on disk: who changes how a key becomes an equation makes another kind of filter. */
static void the_bytes_of_a_filter_stay_what_they_are(void **state)
{
    (void)state;
    struct run_ribbon ribbon;
    uint64_t *hashes = hashes_of(1000, 8);
    run_ribbon_shape(1000, 10, &ribbon);
    unsigned char *bits = built(&ribbon, hashes, 1000);
    assert_int_equal(ribbon.blocks, 9);
    assert_int_equal(ribbon.columns, 6);
    assert_int_equal(ribbon.wide, 5);
    assert_int_equal(run_ribbon_bytes(&ribbon), (9 * 6 + 5) * 16);
    assert_int_equal(crc32c(0, bits, run_ribbon_bytes(&ribbon)), 0x9c879d99);
    free(bits);
    free(hashes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_in_is_always_found),
        cmocka_unit_test(any_layout_finds_what_was_put_in),
        cmocka_unit_test(it_errs_as_often_as_a_bloom_filter_in_fewer_bits),
        cmocka_unit_test(a_filter_of_more_keys_has_parts_and_errs_no_more),
        cmocka_unit_test(the_layout_follows_from_the_number_of_keys),
        cmocka_unit_test(a_layout_that_no_filter_has_is_refused),
        cmocka_unit_test(hashes_that_lump_are_spread_by_another_seed),
        cmocka_unit_test(hashes_that_no_seed_spreads_are_given_up),
        cmocka_unit_test(keys_of_one_hash_take_one_place),
        cmocka_unit_test(the_bytes_of_a_filter_stay_what_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
