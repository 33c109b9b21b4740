/* SPDX-License-Identifier: Apache-2.0 */

/* HyperLogLog sketches: sparse beside dense, estimates, and bytes that are damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "redis/redis_hll_sketch.h"
#include "redis/redis_test.h"

enum { RAISES_MAX = 20000, ROOM = HLL_DENSE_SIZE + RAISES_MAX * HLL_GROWTH_MAX };

static struct hll sketch_new(size_t sparse_max)
{
    struct hll hll = {.bytes = malloc(ROOM), .sparse_max = sparse_max};
    assert_non_null(hll.bytes);
    hll_create(&hll);
    return hll;
}

static void registers_of(const struct hll *hll, unsigned char registers[HLL_REGISTERS])
{
    memset(registers, 0, HLL_REGISTERS);
    assert_true(hll_merge(hll->bytes, hll->size, registers));
}

static void sparse_and_dense_sketches_hold_the_same_registers(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    struct hll sparse = sketch_new(SIZE_MAX), dense = sketch_new(0);
    unsigned char left[HLL_REGISTERS], right[HLL_REGISTERS], model[HLL_REGISTERS] = {0};
    assert_true(hll_to_dense(&dense));
    for (int n = 0; n < 3000; n++) {
        /* near each other, so that runs are split, grow and are joined */
        unsigned index = (unsigned)random_below(&random, n % 2 ? 40 : HLL_REGISTERS);
        unsigned value = 1 + (unsigned)random_below(&random, 4);
        bool raised = value > model[index];
        assert_int_equal(hll_raise(&sparse, index, value), raised);
        assert_int_equal(hll_raise(&dense, index, value), raised);
        if (raised)
            model[index] = (unsigned char)value;
        assert_true(hll_check(sparse.bytes, sparse.size));
    }
    registers_of(&sparse, left);
    registers_of(&dense, right);
    assert_memory_equal(left, model, sizeof model);
    assert_memory_equal(right, model, sizeof model);
    assert_false(hll_is_dense(sparse.bytes));
    assert_true(hll_to_dense(&sparse));
    assert_memory_equal(sparse.bytes + HLL_HEADER_SIZE, dense.bytes + HLL_HEADER_SIZE,
                        HLL_DENSE_SIZE - HLL_HEADER_SIZE);
    free(sparse.bytes);
    free(dense.bytes);
}

static void a_sparse_sketch_becomes_dense_when_it_is_too_large_or_a_value_is(void **state)
{
    (void)state;
    struct hll hll = sketch_new(100);
    for (unsigned n = 0; !hll_is_dense(hll.bytes); n += 2) {
        assert_true(hll.size <= 100);
        assert_int_equal(hll_raise(&hll, n, 1 + n % 32), 1);
    }
    assert_int_equal(hll.size, HLL_DENSE_SIZE);
    hll_create(&hll);
    assert_int_equal(hll_raise(&hll, 7, 32), 1);
    assert_false(hll_is_dense(hll.bytes));
    assert_int_equal(hll_raise(&hll, 7, 33), 1);
    assert_true(hll_is_dense(hll.bytes));
    free(hll.bytes);
}

static void an_estimate_is_near_the_number_of_elements(void **state)
{
    (void)state;
    struct hll hll = sketch_new(3000);
    unsigned char registers[HLL_REGISTERS];
    uint64_t added = 0;
    registers_of(&hll, registers);
    assert_int_equal(hll_count(registers), 0);
    for (uint64_t goal = 1; goal <= 1000000; goal *= 10) {
        for (; added < goal; added++)
            assert_true(hll_add(&hll, &added, sizeof added) >= 0);
        registers_of(&hll, registers);
        double ratio = (double)hll_count(registers) / (double)goal;
        assert_true(ratio > 0.97 && ratio < 1.03); /* four times the standard error */
    }
    free(hll.bytes);
}

static void damaged_opcodes_are_found_and_not_followed_too_far(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (int n = 0; n < 20000; n++) {
        size_t size = HLL_HEADER_SIZE + random_below(&random, 40);
        struct hll hll = {.bytes = malloc(HLL_DENSE_SIZE + size + HLL_GROWTH_MAX),
                          .size = size,
                          .sparse_max = 3000};
        unsigned char *exact = malloc(size), registers[HLL_REGISTERS] = {0};
        assert_non_null(hll.bytes);
        assert_non_null(exact);
        hll_create(&hll);
        hll.size = size;
        for (size_t at = HLL_HEADER_SIZE; at < size; at++)
            hll.bytes[at] = (unsigned char)random_below(&random, 256);
        memcpy(exact, hll.bytes, size);
        bool whole = hll_merge(exact, size, registers);
        int added = hll_raise(&hll, (unsigned)random_below(&random, HLL_REGISTERS), 40);
        assert_true(whole ? added >= 0 : added <= 0);
        free(exact);
        free(hll.bytes);
    }
}

static void elements_are_added_counted_and_merged(void **state)
{
    (void)state;
    expect("1", "pfadd a");
    expect("0", "pfadd a");
    expect("1", "pfadd a x y z");
    expect("0", "pfadd a x");
    expect("3", "pfcount a");
    expect("1", "pfadd b x w");
    expect("4", "pfcount a b none");
    expect("OK", "pfmerge c a b");
    expect("4", "pfcount c");
    expect("sparse", "pfdebug encoding c");
    expect("1", "pfdebug todense c");
    expect("0", "pfdebug todense c");
    expect("dense", "pfdebug encoding c");
    expect("4", "pfcount c");
    expect("OK", "pfmerge a c");
    expect("dense", "pfdebug encoding a");
    expect("0", "pfcount none");
}

static void strings_that_are_no_sketch_are_refused(void **state)
{
    (void)state;
    expect("OK", "set s text");
    expect("!WRONGTYPE Key is not a valid HyperLogLog string value.", "pfadd s x");
    expect("!WRONGTYPE Key is not a valid HyperLogLog string value.", "pfcount s");
    expect("!WRONGTYPE Key is not a valid HyperLogLog string value.", "pfmerge a s");
    expect("OK", "set s HYLL");
    expect("!WRONGTYPE Key is not a valid HyperLogLog string value.", "pfcount s");
    expect("1", "pfadd a x");
    expect("1", "pfdebug todense a");
    expect("12305", "append a Q");
    expect("!WRONGTYPE Key is not a valid HyperLogLog string value.", "pfcount a");
    expect("!ERR The specified key does not exist", "pfdebug encoding none");
    expect("1", "pfadd b x");
    expect("!ERR Unknown PFDEBUG subcommand 'nosuch'", "pfdebug nosuch b");
    expect("OK", "pfselftest");
}

#define WITH_DB(test) cmocka_unit_test_setup_teardown(test, redis_setup, redis_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sparse_and_dense_sketches_hold_the_same_registers),
        cmocka_unit_test(a_sparse_sketch_becomes_dense_when_it_is_too_large_or_a_value_is),
        cmocka_unit_test(an_estimate_is_near_the_number_of_elements),
        cmocka_unit_test(damaged_opcodes_are_found_and_not_followed_too_far),
        WITH_DB(elements_are_added_counted_and_merged),
        WITH_DB(strings_that_are_no_sketch_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
