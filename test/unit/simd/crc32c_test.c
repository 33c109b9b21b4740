/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C on every level of the machine: published values, and a computation bit by bit, over all
 * lengths around those at which the way of computing changes, aligned or not. (codec/crc32c.h is
 * tested as users call it in test/unit/codec.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "simd/simd.h"

enum { BYTES = 3000, LENGTHS_ALL = 600 };

static uint32_t bitwise(uint32_t crc, const unsigned char *data, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

static void check_levels(uint32_t crc, const void *data, size_t size, uint32_t expected)
{
    for (enum simd_level level = 0; level < SIMD_LEVEL_COUNT; level++) {
        const struct simd_kernels *kernels = simd_kernels_of(level);
        if (kernels != NULL)
            assert_int_equal(kernels->crc32c(crc, data, size), expected);
    }
}

static void published_values_come_out_on_every_level(void **state)
{
    unsigned char zeros[32] = {0};

    (void)state;
    check_levels(0, "123456789", 9, 0xe3069283);
    check_levels(0, zeros, 32, 0x8a9136aa); /* RFC 3720, B.4 */
    check_levels(0, zeros, 0, 0);
}

static void every_level_agrees_with_the_definition(void **state)
{
    struct random random;
    unsigned char data[BYTES];

    (void)state;
    random_create(&random, test_seed());
    for (size_t i = 0; i < BYTES; i++)
        data[i] = (unsigned char)random_next(&random);
    for (size_t size = 0; size < LENGTHS_ALL; size++) {
        size_t from = random_below(&random, 64);
        uint32_t crc = (uint32_t)random_next(&random);
        /* A copy that ends where its memory ends, for the sanitizers. */
        unsigned char *copy = malloc(size + 1);
        assert_non_null(copy);
        for (size_t i = 0; i < size; i++)
            copy[1 + i] = data[from + i];
        check_levels(crc, copy + 1, size, bitwise(crc, copy + 1, size));
        free(copy);
    }
    for (int round = 0; round < 300; round++) {
        size_t from = random_below(&random, BYTES), size = random_below(&random, BYTES - from);
        uint32_t crc = (uint32_t)random_next(&random);
        check_levels(crc, data + from, size, bitwise(crc, data + from, size));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values_come_out_on_every_level),
        cmocka_unit_test(every_level_agrees_with_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
