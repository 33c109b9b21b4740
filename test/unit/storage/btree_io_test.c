/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How the engine "btree" goes to the disk: pages that are written together, and leaves that are read before a cursor comes to
 * them, as many as reading is slow. The disk counts what it is asked for, and time is made of that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_that_are_neighbours_are_written_by_one_call),
        TEST(the_slower_the_disk_the_more_leaves_are_read_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
