/* SPDX-License-Identifier: Apache-2.0 */

/* Read-ahead, driven by rows of pages and a clock that moves when told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "storage/cache/prefetch.h"

enum { END = 1 << 20 };

struct scene {
    struct clock_manual clock;
    struct prefetch prefetch;
    uint64_t ahead[PREFETCH_DEPTH_MAX];
};

static void scene_create(struct scene *scene, uint64_t pages_end)
{
    clock_manual_create(&scene->clock, 0);
    prefetch_create(&scene->prefetch, &scene->clock.base, pages_end);
}

static unsigned want(struct scene *scene, uint64_t page)
{
    return prefetch_access(&scene->prefetch, page, 0, scene->ahead);
}

/* The cursor takes `interval_ns` for each page, and a read `latency_ns`, from now on. */
static void speed_set(struct scene *scene, uint64_t interval_ns, uint64_t latency_ns)
{
    for (int i = 0; i < 200; i++)
        prefetch_arrived(&scene->prefetch, latency_ns);
    for (int i = 0; i < 400; i++) {
        scene->clock.now_ns += interval_ns;
        want(scene, 500000 + (uint64_t)i % 2 * 7);
    }
}

/* Wants pages from `first` on by `stride`; each one behind the third must have been asked for, once,
 * and nothing else be. */
static void follow(struct scene *scene, uint64_t first, int64_t stride, unsigned count)
{
    uint64_t next = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t page = first + (uint64_t)((int64_t)i * stride);
        if (i > 2)
            assert_true(stride > 0 ? page < next : page > next);
        unsigned asked = want(scene, page);
        if (i < 2)
            assert_int_equal(asked, 0);
        if (i == 2) {
            assert_true(asked > 0);
            next = page + (uint64_t)stride;
        }
        for (unsigned n = 0; n < asked; n++, next += (uint64_t)stride)
            assert_int_equal(scene->ahead[n], next);
    }
}

static void pages_one_after_the_other_are_recognised_at_the_third(void **state)
{
    (void)state;
    struct scene scene;
    scene_create(&scene, END);
    follow(&scene, 1000, 1, 200);
    assert_int_equal(scene.prefetch.pattern, PREFETCH_FORWARD);
    assert_int_equal(scene.prefetch.used, 197);
    assert_int_equal(scene.prefetch.wasted, 0);
}

static void backward_and_strides_are_recognised_too(void **state)
{
    (void)state;
    struct scene scene;
    const int64_t strides[] = {-1, 7, -3, 1000};
    const enum prefetch_pattern patterns[] = {PREFETCH_BACKWARD, PREFETCH_STRIDED, PREFETCH_STRIDED,
                                              PREFETCH_STRIDED};
    for (unsigned i = 0; i < 4; i++) {
        scene_create(&scene, END);
        follow(&scene, 100000, strides[i], 100);
        assert_int_equal(scene.prefetch.pattern, patterns[i]);
        assert_int_equal(scene.prefetch.used, 97);
    }
}

static void nothing_is_asked_for_beyond_the_pages_that_there_are(void **state)
{
    (void)state;
    struct scene scene;
    scene_create(&scene, 100);
    unsigned asked = 0;
    for (uint64_t page = 50; page < 100; page++) {
        unsigned count = want(&scene, page);
        for (unsigned n = 0; n < count; n++)
            assert_true(scene.ahead[n] < 100);
        asked += count;
    }
    assert_int_equal(asked, 47);
    scene_create(&scene, 100);
    asked = 0;
    for (uint64_t page = 30; page-- > 0;) {
        unsigned count = want(&scene, page);
        for (unsigned n = 0; n < count; n++)
            assert_true(scene.ahead[n] < 30);
        asked += count;
    }
    assert_int_equal(asked, 27);
    scene_create(&scene, 10);
    for (uint64_t page = 5; page < 10; page++)
        want(&scene, page);
    prefetch_pages_end_set(&scene.prefetch, 20);
    scene.clock.now_ns += 5;
    assert_int_equal(want(&scene, 10), 2);
}

static void a_row_that_comes_again_is_recognised_and_followed_round_its_end(void **state)
{
    (void)state;
    struct scene scene;
    const uint64_t row[] = {17, 400, 3, 99, 250, 1000, 42};
    enum { ROW = 7 };
    scene_create(&scene, END);
    for (unsigned i = 0; i < 2 * ROW; i++) {
        unsigned asked = want(&scene, row[i % ROW]);
        if (i < ROW + 3)
            assert_int_equal(asked, 0);
    }
    assert_int_equal(scene.prefetch.pattern, PREFETCH_REPEATING);
    uint64_t used = scene.prefetch.used;
    for (unsigned i = 0; i < 50 * ROW; i++) {
        unsigned asked = want(&scene, row[i % ROW]);
        for (unsigned n = 0; n < asked; n++) {
            unsigned at = (i + scene.prefetch.ahead - asked + 1 + n) % ROW;
            assert_int_equal(scene.ahead[n], row[at]);
        }
    }
    assert_int_equal(scene.prefetch.used - used, 50 * ROW);
    assert_int_equal(scene.prefetch.wasted, 0);
}

static void a_loop_over_neighbours_is_followed_round_its_end(void **state)
{
    (void)state;
    struct scene scene;
    scene_create(&scene, END);
    speed_set(&scene, 100, 1000);
    for (unsigned i = 0; i < 200; i++)
        want(&scene, 10 + i % 40);
    assert_int_equal(scene.prefetch.pattern, PREFETCH_REPEATING);
    uint64_t used = scene.prefetch.used;
    for (unsigned i = 200; i < 1000; i++)
        want(&scene, 10 + i % 40);
    assert_int_equal(scene.prefetch.used - used, 800);
}

static void pages_at_random_are_not_read_ahead(void **state)
{
    (void)state;
    struct scene scene;
    struct random random;
    scene_create(&scene, END);
    random_create(&random, test_seed());
    for (int i = 0; i < 20000; i++)
        want(&scene, random_below(&random, END));
    /* that three of them lie at equal distances happens, about once in END / 2 */
    assert_true(scene.prefetch.asked <= 20);
}

static void pages_off_the_course_do_not_end_it(void **state)
{
    (void)state;
    struct scene scene;
    scene_create(&scene, END);
    follow(&scene, 1000, 1, 50);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(want(&scene, 77), 0);
        if (i % 2 == 0)
            assert_int_equal(want(&scene, 5000 + i * i), 0);
        want(&scene, 1050 + i);
        assert_int_equal(scene.prefetch.pattern, PREFETCH_FORWARD);
    }
    assert_int_equal(scene.prefetch.wasted, 0);
    assert_int_equal(scene.prefetch.used, 67);
}

static void a_course_that_is_left_ends_and_a_new_one_begins_with_the_least(void **state)
{
    (void)state;
    struct scene scene;
    scene_create(&scene, END);
    speed_set(&scene, 100, 10000);
    follow(&scene, 1000, 1, 200);
    unsigned ahead = scene.prefetch.ahead;
    uint64_t wasted = scene.prefetch.wasted;
    assert_true(ahead > PREFETCH_DEPTH_MAX / 2);
    want(&scene, 70000);
    want(&scene, 3);
    want(&scene, 90000);
    assert_int_equal(scene.prefetch.pattern, PREFETCH_NONE);
    assert_int_equal(scene.prefetch.wasted - wasted, ahead);
    want(&scene, 20000);
    want(&scene, 19999);
    assert_int_equal(want(&scene, 19998), PREFETCH_DEPTH_MIN);
    assert_int_equal(scene.prefetch.pattern, PREFETCH_BACKWARD);
}

static void some_pages_may_be_left_out(void **state)
{
    (void)state;
    struct scene scene;
    struct random random;
    scene_create(&scene, END);
    speed_set(&scene, 100, 1000);
    random_create(&random, test_seed());
    follow(&scene, 1000, 1, 40);
    uint64_t page = 1039;
    for (unsigned i = 0; i < 300; i++) {
        page += 1 + (random_below(&random, 6) == 0);
        want(&scene, page);
    }
    /* most were there, or a stride was seen where several were left out in turn */
    assert_true(scene.prefetch.used > 200);
}

static void the_same_page_again_means_nothing(void **state)
{
    (void)state;
    struct scene scene;
    scene_create(&scene, END);
    for (uint64_t page = 10; page < 60; page++) {
        want(&scene, page);
        for (int row = 0; row < 20; row++)
            assert_int_equal(want(&scene, page), 0);
    }
    assert_int_equal(scene.prefetch.pattern, PREFETCH_FORWARD);
    assert_int_equal(scene.prefetch.used, 47);
}

static void the_depth_follows_from_latency_and_stays_between_two_and_thirty_two(void **state)
{
    (void)state;
    const struct {
        uint64_t interval_ns, latency_ns;
        unsigned least, most;
    } cases[] = {{1000, 100, 2, 2},         {1000, 1000, 2, 4},    {1000, 4500, 8, 12},
                 {1000, 10500, 20, 24},     {1000, 14900, 28, 32}, {1000, 100000, 32, 32},
                 {1000, 100000000, 32, 32}, {1, 100000, 32, 32}};
    struct scene scene;
    scene_create(&scene, END);
    assert_int_equal(prefetch_depth(&scene.prefetch), PREFETCH_DEPTH_MIN);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            speed_set(&scene, cases[i].interval_ns, cases[i].latency_ns);
            assert_in_range(prefetch_depth(&scene.prefetch), cases[i].least, cases[i].most);
        }
    }
}

static void the_depth_grows_from_two_to_what_is_needed_and_falls_again(void **state)
{
    (void)state;
    struct scene scene;
    unsigned largest = 0;
    scene_create(&scene, END);
    speed_set(&scene, 1000, 50000);
    for (uint64_t page = 0; page < 200; page++) {
        scene.clock.now_ns += 1000;
        unsigned asked = want(&scene, page);
        if (page == 2)
            assert_int_equal(asked, PREFETCH_DEPTH_MIN);
        assert_true(scene.prefetch.ahead <= PREFETCH_DEPTH_MAX);
        largest = scene.prefetch.ahead > largest ? scene.prefetch.ahead : largest;
    }
    assert_int_equal(largest, PREFETCH_DEPTH_MAX);
    for (uint64_t page = 200; page < 1200; page++) {
        scene.clock.now_ns += 100000;
        want(&scene, page);
        prefetch_arrived(&scene.prefetch, 5000);
    }
    assert_true(scene.prefetch.ahead <= PREFETCH_DEPTH_MIN);
    assert_int_equal(prefetch_depth(&scene.prefetch), PREFETCH_DEPTH_MIN);
}

/* A cursor over pages that take `latency` to read, all reads at once. Returns for how many of the last
 * thousand pages it waited. */
static unsigned waits_of(uint64_t interval_ns, uint64_t latency_ns)
{
    enum { PAGES = 3000 };
    static uint64_t ready[PAGES + PREFETCH_DEPTH_MAX + 1];
    struct scene scene;
    unsigned waits = 0;
    uint64_t waited = 0;
    memset(ready, 0, sizeof ready);
    scene_create(&scene, END);
    for (uint64_t page = 0; page < PAGES; page++) {
        unsigned asked = prefetch_access(&scene.prefetch, page, waited, scene.ahead);
        waited = 0;
        for (unsigned n = 0; n < asked; n++) {
            ready[scene.ahead[n]] = scene.clock.now_ns + latency_ns;
            prefetch_arrived(&scene.prefetch, latency_ns);
        }
        if (ready[page] == 0)
            ready[page] = scene.clock.now_ns + latency_ns;
        if (ready[page] > scene.clock.now_ns) {
            waited = ready[page] - scene.clock.now_ns;
            scene.clock.now_ns = ready[page];
            waits += page >= PAGES - 1000;
        }
        scene.clock.now_ns += interval_ns;
    }
    return waits;
}

static void a_cursor_waits_no_more_once_the_depth_is_what_latency_demands(void **state)
{
    (void)state;
    assert_int_equal(waits_of(1000, 300), 0);
    assert_int_equal(waits_of(1000, 1000), 0);
    assert_int_equal(waits_of(1000, 5000), 0);
    assert_int_equal(waits_of(1000, 12000), 0);
    assert_int_equal(waits_of(20000, 80000), 0);
    /* a disk that is slower than the largest depth makes up for */
    assert_true(waits_of(1000, 100000) > 0);
}

/* Each page of a stride that has begun is given once, but for those that were not read. */
static void what_was_not_read_or_has_gone_is_asked_for_again(void **state)
{
    (void)state;
    struct scene scene;
    scene_create(&scene, END);
    for (uint64_t page = 100; page < 107; page += 3)
        assert_int_equal(want(&scene, page), page < 106 ? 0 : PREFETCH_DEPTH_MIN);
    prefetch_unasked(&scene.prefetch, PREFETCH_DEPTH_MIN);
    assert_int_equal(scene.prefetch.asked, 0);
    assert_true(want(&scene, 109) > 0);
    assert_int_equal(scene.ahead[0], 112);
    assert_int_equal(scene.prefetch.wasted, 0);
    unsigned ahead = scene.prefetch.ahead;
    prefetch_lost(&scene.prefetch);
    assert_int_equal(scene.prefetch.wasted, ahead);
    assert_true(want(&scene, 112) > 0);
    assert_int_equal(scene.ahead[0], 115);
    assert_int_equal(scene.prefetch.pattern, PREFETCH_STRIDED);
}

static void a_stride_stays_within_its_bounds(void **state)
{
    (void)state;
    for (int backward = 0; backward < 2; backward++) {
        struct scene scene;
        scene_create(&scene, END);
        speed_set(&scene, 1000, 100 * 1000);
        prefetch_stride_within(&scene.prefetch, 1000, 1100);
        unsigned given = 0;
        for (uint64_t n = 0; n < 25; n++) {
            unsigned count = want(&scene, backward ? 1099 - 4 * n : 1000 + 4 * n);
            for (unsigned i = 0; i < count; i++)
                assert_in_range(scene.ahead[i], 1000, 1099);
            given += count;
        }
        assert_int_equal(given, 25 - 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_one_after_the_other_are_recognised_at_the_third),
        cmocka_unit_test(backward_and_strides_are_recognised_too),
        cmocka_unit_test(nothing_is_asked_for_beyond_the_pages_that_there_are),
        cmocka_unit_test(a_row_that_comes_again_is_recognised_and_followed_round_its_end),
        cmocka_unit_test(a_loop_over_neighbours_is_followed_round_its_end),
        cmocka_unit_test(pages_at_random_are_not_read_ahead),
        cmocka_unit_test(pages_off_the_course_do_not_end_it),
        cmocka_unit_test(a_course_that_is_left_ends_and_a_new_one_begins_with_the_least),
        cmocka_unit_test(some_pages_may_be_left_out),
        cmocka_unit_test(the_same_page_again_means_nothing),
        cmocka_unit_test(the_depth_follows_from_latency_and_stays_between_two_and_thirty_two),
        cmocka_unit_test(the_depth_grows_from_two_to_what_is_needed_and_falls_again),
        cmocka_unit_test(a_cursor_waits_no_more_once_the_depth_is_what_latency_demands),
        cmocka_unit_test(what_was_not_read_or_has_gone_is_asked_for_again),
        cmocka_unit_test(a_stride_stays_within_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
