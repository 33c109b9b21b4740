/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Going over many rows of a body, beside those who look for single ones: what these have brought into the cache stays
 * there, and where rows come in order they are read many at a time.
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
#include "storage/lsm/lsm.h"

/* All rows take more than the cache has room for, and those that are hot, each of a block of its own, less. */
enum { ROWS = 20000, HOT = 40, CACHE_BYTES = 5 << 19 };

static uint64_t looks(struct body_rows *rows)
{
    uint64_t before = body_rows_reads(rows);
    for (unsigned number = 0; number < ROWS; number += HOT)
        assert_int_equal(body_rows_get(rows, number), 0);
    return body_rows_reads(rows) - before;
}

static uint64_t go_over_all(struct body_rows *rows, bool backward)
{
    const struct engine_range all = {.backward = backward};
    uint64_t before = body_rows_reads(rows);
    struct body_cursor *cursor;
    struct engine_row row;
    unsigned count = 0;
    assert_int_equal(body_cursor_open(rows->view, &all, UINT64_MAX, &cursor), 0);
    while (body_cursor_next(cursor, &row) == 0)
        count++;
    assert_int_equal(count, ROWS);
    body_cursor_close(cursor);
    return body_rows_reads(rows) - before;
}

static void a_walk_over_all_leaves_in_the_cache_what_was_looked_for_once(void **state)
{
    static const struct engine_vtab *const engines[] = {&engine_lsm, &engine_btree};
    (void)state;
    for (unsigned e = 0; e < sizeof engines / sizeof *engines; e++) {
        struct body_rows rows;
        body_rows_open(&rows, engines[e], CACHE_BYTES);
        body_rows_add(&rows, 0, ROWS, 1);
        for (unsigned backward = 0; backward < 2; backward++) {
            body_rows_cool(&rows);
            assert_true(looks(&rows) >= ROWS / HOT);
            assert_int_equal(looks(&rows), 0);
            assert_true(go_over_all(&rows, backward) > 0);
            assert_int_equal(looks(&rows), 0);
        }
        body_rows_close(&rows);
    }
}

/* Of a run the first blocks are read one by one, since most ranges are short; then 32 KiB, and up to 256 at a time. */
static void a_walk_over_a_run_reads_many_blocks_at_a_time(void **state)
{
    enum { BLOCKS_SINGLE = 16, READ_BYTES_MAX = 256 << 10, GROWING = 4 };
    struct body_rows rows;
    struct engine_stats stats;
    (void)state;
    body_rows_open(&rows, &engine_lsm, CACHE_BYTES);
    body_rows_add(&rows, 0, ROWS, 1);
    body_stats(rows.body, &stats);
    assert_int_equal(stats.files, 1);
    for (unsigned backward = 0; backward < 2; backward++) {
        body_rows_cool(&rows);
        assert_in_range(go_over_all(&rows, backward), stats.bytes / READ_BYTES_MAX,
                        BLOCKS_SINGLE + GROWING + stats.bytes / READ_BYTES_MAX);
    }
    body_rows_close(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_walk_over_all_leaves_in_the_cache_what_was_looked_for_once),
        cmocka_unit_test(a_walk_over_a_run_reads_many_blocks_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
