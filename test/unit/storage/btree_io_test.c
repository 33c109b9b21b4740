/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How the engine "btree" goes to the disk: pages that are written together, and leaves that are read before a cursor or a course
 * of point reads comes to them, as many as reading is slow. The disk counts what it is asked for, and time is made of that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base/atomic.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "storage/body_rows.h"
#include "storage/btree/btree.h"
#include "storage/btree/btree_internal.h"

enum { ROWS = 8000, CACHE_BYTES = 8 << 20, PAGE_BYTES = 4096, TOGETHER_PAGES = 64 };

static struct body_rows rows;

static int setup(void **state)
{
    (void)state;
    body_rows_open(&rows, &engine_btree, CACHE_BYTES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    body_rows_close(&rows);
    btree__course_clock_set(NULL);
    return 0;
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* --------------------------------------------------------------------------------------- writing */

struct written {
    uint64_t pages, writes;
};

static struct written written(void)
{
    struct engine_stats stats;
    body_stats(rows.body, &stats);
    return (struct written){stats.written / PAGE_BYTES, disk_call_count(rows.disk, DISK_WRITE)};
}

/* What a change writes, beside pages that are where they are for another reason: the root, and the map. */
static void assert_together(unsigned first, unsigned step, unsigned pages_min)
{
    struct written before = written();
    body_rows_add(&rows, first, ROWS, step);
    struct written after = written();
    uint64_t pages = after.pages - before.pages, writes = after.writes - before.writes;
    assert_in_range(pages, pages_min, ROWS);
    assert_in_range(writes, pages / TOGETHER_PAGES, pages / TOGETHER_PAGES + 4);
}

/* New leaves, and those that replace others get the lowest free pages: at first these are at the end of the file. */
static void pages_that_are_neighbours_are_written_by_one_call(void **state)
{
    (void)state;
    assert_together(0, 1, 4 * TOGETHER_PAGES);
    assert_together(0, 50, TOGETHER_PAGES);
}

enum { SCATTERED = 40000, ROUNDS = 60 };

/* Changes one row in so many, again and again, each time in another place; what the last half of them wrote. */
static struct written scatter(struct random *random, unsigned one_in)
{
    struct written before = {0, 0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (round == ROUNDS / 2)
            before = written();
        body_rows_add_some(&rows, random, SCATTERED, one_in);
    }
    struct written after = written();
    return (struct written){after.pages - before.pages, after.writes - before.writes};
}

static uint64_t file_pages(void)
{
    struct engine_stats stats;
    body_stats(rows.body, &stats);
    return stats.bytes / PAGE_BYTES;
}

/* All rows were written a second time, so half of the file is free; changes have been making holes since. */
static void pages_are_taken_from_runs_that_are_free(void **state)
{
    (void)state;
    static const unsigned one_in[] = {200, 50};
    struct random random;
    random_create(&random, test_seed());
    body_rows_add(&rows, 0, SCATTERED, 1);
    body_rows_add(&rows, 0, SCATTERED, 1);
    uint64_t most = file_pages();
    for (unsigned i = 0; i < sizeof one_in / sizeof *one_in; i++) {
        struct written done = scatter(&random, one_in[i]);
        print_message("one row in %u changes: %llu pages by %llu writes, file of %llu pages\n",
                      one_in[i], (unsigned long long)done.pages, (unsigned long long)done.writes,
                      (unsigned long long)file_pages());
        assert_in_range(done.writes, done.pages / TOGETHER_PAGES, done.pages / 3);
        assert_in_range(file_pages(), most / 2, most + 1);
    }
    assert_int_equal(body_verify(rows.body), 0);
}

/* There are none but what the change before has left, here and there: all of these are taken before the file grows. */
static void a_file_without_runs_does_not_grow(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    body_rows_add(&rows, 0, SCATTERED, 1);
    uint64_t least = file_pages();
    struct written done = scatter(&random, 2000);
    print_message("one row in 2000 changes: %llu pages by %llu writes\n",
                  (unsigned long long)done.pages, (unsigned long long)done.writes);
    assert_in_range(file_pages(), least, least + 4 * done.pages / (ROUNDS / 2));
}

/* A view has kept what all rows were while they were written again, twice. Where most of the file is free, the lowest
 * pages are taken, and its end is cut off. */
static void a_file_that_is_mostly_free_becomes_shorter(void **state)
{
    (void)state;
    struct body_view *view;
    struct random random;
    random_create(&random, test_seed());
    body_rows_add(&rows, 0, SCATTERED, 1);
    uint64_t least = file_pages();
    assert_int_equal(body_view_open(rows.body, &view), 0);
    for (unsigned n = 0; n < 2; n++)
        body_rows_add(&rows, 0, SCATTERED, 1);
    body_view_close(view);
    uint64_t most = file_pages();
    assert_in_range(most, 2 * least + least / 2, 4 * least);
    scatter(&random, 20);
    print_message("%llu pages are needed, the file had %llu and has %llu\n",
                  (unsigned long long)least, (unsigned long long)most,
                  (unsigned long long)file_pages());
    assert_in_range(file_pages(), least, most * 3 / 4);
}

/* ---------------------------------------------------------------------------------- reading ahead */

enum { ROW_NS = 1000 }; /* what is done with a row */

static struct {
    struct clock base;
    uint64_t read_ns; /* that the disk takes for a read */
    uint64_t taken;   /* rows */
} slow;

static uint64_t slow_monotonic_ns(struct clock *clock)
{
    (void)clock;
    return body_rows_reads(&rows) * slow.read_ns + slow.taken * ROW_NS;
}

/* Goes over all rows with a disk of that speed; how many leaves are read ahead in the end. */
static unsigned depth_by(uint64_t read_ns, bool backward)
{
    const struct engine_range all = {.backward = backward};
    struct body_cursor *cursor;
    struct engine_row row;
    unsigned count = 0;
    int rc;
    body_rows_cool(&rows);
    slow.base.monotonic_ns = slow_monotonic_ns;
    slow.read_ns = read_ns;
    slow.taken = 0;
    assert_int_equal(body_cursor_open(rows.view, &all, UINT64_MAX, &cursor), 0);
    struct prefetch *prefetch = &btree__cursor_ahead(cursor)->prefetch;
    prefetch->clock = &slow.base;
    for (; (rc = body_cursor_next(cursor, &row)) == 0; count++)
        slow.taken++;
    assert_int_equal(rc, ERROR_END);
    assert_int_equal(count, ROWS);
    assert_true(btree__cursor_ahead(cursor)->leaves > 0);
    unsigned depth = prefetch->depth;
    body_cursor_close(cursor);
    return depth;
}

static void the_slower_the_disk_the_more_leaves_are_read_ahead(void **state)
{
    (void)state;
    body_rows_add(&rows, 0, ROWS, 1);
    for (unsigned backward = 0; backward < 2; backward++) {
        assert_int_equal(depth_by(10, backward), PREFETCH_DEPTH_MIN);
        assert_int_equal(depth_by(10 * 1000 * 1000, backward), PREFETCH_DEPTH_MAX);
    }
}

/* A cursor is about to read the leaf behind the row that it gives next, and others; then a get has to wait for that, and the disk
 * fails. */
static struct {
    struct clock base;
    unsigned row;
    uint64_t misses; /* before */
    bool begun;
    int rc; /* of the get */
    pthread_t thread;
} waiting;

static void *waiting_get(void *arg)
{
    (void)arg;
    waiting.rc = body_rows_get(&rows, waiting.row + 1);
    return NULL;
}

static uint64_t waiting_monotonic_ns(struct clock *clock)
{
    struct cache_stats stats;
    (void)clock;
    cache_stats_get(rows.cache, &stats);
    if (waiting.begun || waiting.row == 0 || stats.misses < waiting.misses + 2)
        return 0;
    waiting.begun = true;
    assert_int_equal(pthread_create(&waiting.thread, NULL, waiting_get, NULL), 0);
    for (unsigned turn = 0; stats.waits == 0; spin_wait(&turn))
        cache_stats_get(rows.cache, &stats);
    disk_fail_nth_of(rows.disk, DISK_READ, 1, EIO);
    return 0;
}

static void who_waits_for_what_is_read_ahead_is_told_what_the_disk_says(void **state)
{
    (void)state;
    const struct engine_range all = {.backward = false};
    struct cache_stats stats;
    struct body_cursor *cursor;
    struct engine_row row;
    body_rows_add(&rows, 0, ROWS, 1);
    body_rows_cool(&rows);
    memset(&waiting, 0, sizeof waiting);
    waiting.base.monotonic_ns = waiting_monotonic_ns;
    assert_int_equal(body_cursor_open(rows.view, &all, UINT64_MAX, &cursor), 0);
    btree__cursor_ahead(cursor)->prefetch.clock = &waiting.base;
    for (; waiting.row < ROWS; waiting.row++) {
        cache_stats_get(rows.cache, &stats);
        waiting.misses = stats.misses;
        assert_int_equal(body_cursor_next(cursor, &row), 0); /* it reads the leaf itself */
    }
    assert_true(waiting.begun);
    body_cursor_close(cursor);
    assert_int_equal(pthread_join(waiting.thread, NULL), 0);
    assert_int_equal(waiting.rc, ERROR_IO);
}

/* ---------------------------------------------------------------------------- courses of point reads */

enum { MANY = 40000, LARGE = 6000, SOME = 50, SLOW_NS = 10 * 1000 * 1000 };

/* So many rows that there are some branches, each with more than a hundred leaves, of a disk of that speed. */
static void points_begin(unsigned count, uint64_t read_ns)
{
    body_rows_add(&rows, 0, count, 1);
    body_rows_cool(&rows);
    slow.base.monotonic_ns = slow_monotonic_ns;
    slow.read_ns = read_ns;
    slow.taken = 0;
    btree__course_clock_set(&slow.base);
}

static const struct btree_file *file(void)
{
    return ((struct btree_view *)rows.view)->generation->file;
}

static const struct prefetch *course(void)
{
    return btree__course_of(file());
}

/* Gets a row; whether it had to wait for the disk. */
static unsigned get_waits(unsigned number)
{
    uint64_t before = body_rows_reads(&rows);
    assert_int_equal(body_rows_get(&rows, number), 0);
    slow.taken++;
    return body_rows_reads(&rows) != before;
}

struct strides {
    unsigned gets, waits;
    uint64_t reads;
};

/* Gets rows of that distance, from either end of `count`. */
static struct strides stride(unsigned count, unsigned step, bool backward)
{
    struct strides done = {0, 0, body_rows_reads(&rows)};
    for (unsigned number = 0; number < count; number += step, done.gets++)
        done.waits += get_waits(backward ? count - 1 - number : number);
    done.reads = body_rows_reads(&rows) - done.reads;
    print_message("every %u. row: %u of %u gets waited, for %llu reads\n", step, done.waits,
                  done.gets, (unsigned long long)done.reads);
    return done;
}

static void assert_course(unsigned count, unsigned step, bool backward,
                          enum prefetch_pattern pattern, uint64_t leaves)
{
    body_rows_cool(&rows);
    struct strides done = stride(count, step, backward);
    assert_int_equal(course()->pattern, pattern);
    assert_int_equal(course()->depth, PREFETCH_DEPTH_MAX);
    assert_in_range(done.waits, 1, leaves / 4);
    assert_in_range(done.reads, leaves, leaves + leaves / 20);
}

static void point_reads_of_one_leaf_after_the_other_wait_seldom(void **state)
{
    (void)state;
    points_begin(MANY, SLOW_NS);
    uint64_t leaves = stride(MANY, 1, false).reads;
    for (unsigned backward = 0; backward < 2; backward++)
        assert_course(MANY, 10, backward, backward ? PREFETCH_BACKWARD : PREFETCH_FORWARD, leaves);
}

/* Each leaf has three rows. */
static void point_reads_of_each_fourth_leaf_wait_seldom(void **state)
{
    (void)state;
    rows.large = true;
    points_begin(LARGE, SLOW_NS);
    for (unsigned backward = 0; backward < 2; backward++)
        assert_course(LARGE, 12, backward, PREFETCH_STRIDED, LARGE / 12);
}

/* Some have twenty rows, some twenty-one: equal distances of rows are none of leaves. */
static void point_reads_at_distances_that_are_nearly_equal_read_little_in_vain(void **state)
{
    (void)state;
    points_begin(MANY, SLOW_NS);
    struct strides done = stride(MANY, 100, false);
    assert_in_range(done.reads, done.gets, done.gets + done.gets * 15 / 100);
    done = stride(MANY, 30, false);
    assert_in_range(done.reads, done.gets * 7 / 10, done.gets + done.gets / 4);
}

static void the_slower_the_disk_the_more_leaves_are_read_ahead_of_point_reads(void **state)
{
    (void)state;
    rows.large = true;
    points_begin(LARGE, 10);
    stride(LARGE, 12, false);
    assert_int_equal(course()->pattern, PREFETCH_STRIDED);
    assert_int_equal(course()->depth, PREFETCH_DEPTH_MIN);
}

/* The same fifty rows, in an order of their own, while others take the cache in between. */
static void point_reads_that_come_again_wait_seldom(void **state)
{
    (void)state;
    unsigned waits[4] = {0}, numbers[SOME];
    struct random random;
    random_create(&random, test_seed());
    for (unsigned n = 0; n < SOME; n++)
        numbers[n] = (unsigned)random_below(&random, MANY);
    points_begin(MANY, SLOW_NS);
    for (unsigned round = 0; round < 4; round++) {
        body_rows_cool(&rows);
        for (unsigned n = 0; n < SOME; n++)
            waits[round] += get_waits(numbers[n]);
    }
    print_message("%u of %u gets waited the first time, then %u, %u and %u\n", waits[0], SOME,
                  waits[1], waits[2], waits[3]);
    assert_int_equal(course()->pattern, PREFETCH_REPEATING);
    assert_in_range(waits[0], SOME - SOME / 5, SOME);
    for (unsigned round = 1; round < 4; round++)
        assert_in_range(waits[round], 1, SOME / 2);
}

/* Nor do they make a thread look at what it finds in the cache. */
static void point_reads_without_a_course_read_nothing_ahead(void **state)
{
    (void)state;
    struct random random;
    points_begin(MANY, SLOW_NS);
    random_create(&random, test_seed());
    for (unsigned n = 0; n < 2000; n++) {
        uint64_t before = body_rows_reads(&rows);
        get_waits((unsigned)random_below(&random, MANY));
        assert_in_range(body_rows_reads(&rows) - before, 0, 3);
    }
    assert_true(course()->asked <= 8);
    for (unsigned round = 0; round < 2; round++)
        stride(MANY / 2, 1, round);
    uint64_t count = course()->count;
    assert_false(btree__course_watched(file()));
    assert_int_equal(stride(MANY / 2, 1, false).waits, 0);
    assert_int_equal(course()->count, count);
}

/* What is read ahead is what the view shows, and not what has taken its place. */
static void a_course_ends_with_the_view(void **state)
{
    (void)state;
    points_begin(MANY, SLOW_NS);
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned n = 0; n < SOME; n++)
            get_waits(n * n * 13 % MANY);
        for (unsigned number = round; number < MANY; number += 100)
            get_waits(number);
        body_rows_add(&rows, round * 100, MANY, 37);
        body_rows_cool(&rows);
    }
    assert_int_equal(body_verify(rows.body), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_that_are_neighbours_are_written_by_one_call),
        TEST(pages_are_taken_from_runs_that_are_free),
        TEST(a_file_without_runs_does_not_grow),
        TEST(a_file_that_is_mostly_free_becomes_shorter),
        TEST(the_slower_the_disk_the_more_leaves_are_read_ahead),
        TEST(who_waits_for_what_is_read_ahead_is_told_what_the_disk_says),
        TEST(point_reads_of_one_leaf_after_the_other_wait_seldom),
        TEST(point_reads_of_each_fourth_leaf_wait_seldom),
        TEST(point_reads_at_distances_that_are_nearly_equal_read_little_in_vain),
        TEST(the_slower_the_disk_the_more_leaves_are_read_ahead_of_point_reads),
        TEST(point_reads_that_come_again_wait_seldom),
        TEST(point_reads_without_a_course_read_nothing_ahead),
        TEST(a_course_ends_with_the_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
