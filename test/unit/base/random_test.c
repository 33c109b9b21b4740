/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generator: known numbers, bounds, and an even spread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"

/* From the authors' reference code, state 1, 2, 3, 4. */
static void the_numbers_are_those_of_the_reference(void **state)
{
    (void)state;
    struct random random = {{1, 2, 3, 4}};
    const uint64_t expected[] = {11520u, 0u, 1509978240u, 1215971899390074240u};
    for (int i = 0; i < 4; i++)
        assert_true(random_next(&random) == expected[i]);
}

static void the_same_seed_gives_the_same_numbers(void **state)
{
    (void)state;
    struct random one, same, other;
    random_create(&one, 7);
    random_create(&same, 7);
    random_create(&other, 8);
    int differ = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t number = random_next(&one);
        assert_true(number == random_next(&same));
        differ += number != random_next(&other);
    }
    assert_true(differ > 90);
}

static void numbers_stay_below_the_bound_and_reach_all_of_it(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    for (uint64_t bound = 1; bound < 20; bound++) {
        unsigned seen = 0;
        for (int i = 0; i < 2000; i++) {
            uint64_t number = random_below(&random, bound);
            assert_true(number < bound);
            seen |= 1u << number;
        }
        assert_int_equal(seen, (1u << bound) - 1);
    }
    for (int i = 0; i < 1000; i++)
        assert_true(random_below(&random, UINT64_MAX) < UINT64_MAX);
}

static void numbers_are_spread_evenly(void **state)
{
    (void)state;
    enum { BUCKETS = 10, DRAWS = 100000 };
    struct random random;
    random_create(&random, 20240101);
    int buckets[BUCKETS] = {0};
    for (int i = 0; i < DRAWS; i++)
        buckets[random_below(&random, BUCKETS)]++;
    for (int i = 0; i < BUCKETS; i++)
        assert_in_range(buckets[i], DRAWS / BUCKETS * 95 / 100, DRAWS / BUCKETS * 105 / 100);
}

/* Of a bound of three quarters of all numbers, plain multiplication would give every third twice.
 */
static void numbers_are_spread_evenly_below_a_large_bound(void **state)
{
    (void)state;
    enum { DRAWS = 30000 };
    struct random random;
    random_create(&random, 20240101);
    int remainders[3] = {0};
    for (int i = 0; i < DRAWS; i++)
        remainders[random_below(&random, (uint64_t)3 << 62) % 3]++;
    for (int i = 0; i < 3; i++)
        assert_in_range(remainders[i], DRAWS * 30 / 100, DRAWS * 37 / 100);
}

static void seeds_of_the_system_differ(void **state)
{
    (void)state;
    assert_true(random_seed() != random_seed());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_numbers_are_those_of_the_reference),
        cmocka_unit_test(the_same_seed_gives_the_same_numbers),
        cmocka_unit_test(numbers_stay_below_the_bound_and_reach_all_of_it),
        cmocka_unit_test(numbers_are_spread_evenly),
        cmocka_unit_test(numbers_are_spread_evenly_below_a_large_bound),
        cmocka_unit_test(seeds_of_the_system_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
