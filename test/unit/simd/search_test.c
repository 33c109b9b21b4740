/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Searching in numbers on every level of the machine: against a count one by one, at the edge of
 * readable memory, and under hands that change the numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "simd/search.h"

enum { COUNT_MAX = 200 };

static const uint64_t edges[] = {
    0, 1, INT64_MAX, (uint64_t)INT64_MAX + 1, (uint64_t)INT64_MAX + 2, UINT64_MAX - 1, UINT64_MAX};

static uint64_t number_choose(struct random *random)
{
    switch (random_below(random, 3)) {
    case 0:
        return edges[random_below(random, sizeof(edges) / sizeof(edges[0]))];
    case 1:
        return random_below(random, 10);
    default:
        return random_next(random);
    }
}

static int compare(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static unsigned expected(const uint64_t *numbers, unsigned count, uint64_t bound)
{
    unsigned below = 0;
    while (below < count && numbers[below] < bound)
        below++;
    return below;
}

static void check_levels(const uint64_t *numbers, unsigned count, uint64_t bound)
{
    unsigned answer = expected(numbers, count, bound);

    for (enum simd_level level = 0; level < SIMD_LEVEL_COUNT; level++) {
        const struct simd_kernels *kernels = simd_kernels_of(level);
        if (kernels != NULL)
            assert_int_equal(kernels->lower_bound(numbers, count, bound), answer);
    }
    assert_int_equal(search_lower_bound(numbers, count, bound), answer);
}

/* Room for numbers that ends where the memory ends. */
struct room {
    char *pages;
    size_t size;
    uint64_t *end;
};

static struct room room_make(void)
{
    struct room room;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    room.size = 2 * page;
    room.pages = mmap(NULL, room.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(room.pages != MAP_FAILED);
    assert_int_equal(mprotect(room.pages + page, page, PROT_NONE), 0);
    room.end = (uint64_t *)(room.pages + page);
    return room;
}

static void every_level_finds_the_first_number_that_is_not_below(void **state)
{
    struct random random;
    struct room room = room_make();

    (void)state;
    random_create(&random, test_seed());
    for (unsigned count = 0; count <= COUNT_MAX; count++) {
        uint64_t *numbers = room.end - count;
        for (int round = 0; round < 20; round++) {
            for (unsigned i = 0; i < count; i++)
                numbers[i] = number_choose(&random);
            qsort(numbers, count, sizeof(numbers[0]), compare);
            for (unsigned i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
                check_levels(numbers, count, edges[i]);
            for (unsigned i = 0; i < count; i++)
                check_levels(numbers, count, numbers[i]);
            check_levels(numbers, count, number_choose(&random));
        }
    }
    munmap(room.pages, room.size);
}

static void numbers_without_order_give_an_answer_within_the_array(void **state)
{
    struct random random;
    struct room room = room_make();

    (void)state;
    random_create(&random, test_seed());
    for (int round = 0; round < 5000; round++) {
        unsigned count = (unsigned)random_below(&random, COUNT_MAX + 1);
        uint64_t *numbers = room.end - count, bound = number_choose(&random);
        for (unsigned i = 0; i < count; i++)
            numbers[i] = number_choose(&random);
        for (enum simd_level level = 0; level < SIMD_LEVEL_COUNT; level++) {
            const struct simd_kernels *kernels = simd_kernels_of(level);
            if (kernels != NULL)
                assert_true(kernels->lower_bound(numbers, count, bound) <= count);
        }
    }
    munmap(room.pages, room.size);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_finds_the_first_number_that_is_not_below),
        cmocka_unit_test(numbers_without_order_give_an_answer_within_the_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
