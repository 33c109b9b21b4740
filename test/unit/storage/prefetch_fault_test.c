/* SPDX-License-Identifier: Apache-2.0 */

/* Rows asked for together while allocations fail: gets find them afterwards, and nothing stays pinned or half filled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "alloc/alloc_fault.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/body_rows.h"
#include "storage/btree/btree.h"
#include "storage/lsm/lsm.h"

enum { ROWS = 400, KEYS = 30 };

static void run(const struct engine_vtab *engine, void (*arm)(uint64_t n))
{
    struct body_rows rows;
    unsigned numbers[KEYS], reads;
    bool more = true;
    body_rows_open(&rows, engine, 8 << 20);
    body_rows_add(&rows, 0, ROWS, 2);
    body_rows_add(&rows, 1, ROWS, 2);
    for (unsigned i = 0; i < KEYS; i++)
        numbers[i] = i * 13;
    for (uint64_t n = 1; more; n++) {
        const struct engine_range all = {.backward = n % 2 == 0};
        struct body_cursor *cursor;
        struct cache_stats stats;
        body_rows_cool(&rows);
        arm(n);
        body_rows_prefetch(&rows, numbers, KEYS, &reads);
        int code = diag_code();
        int rc = body_cursor_open(rows.view, &all, UINT64_MAX, &cursor);
        more = alloc_fail_end();
        assert_int_equal(code, 0);
        assert_true(rc == 0 || rc == ERROR_MEMORY);
        if (rc == 0)
            body_cursor_close(cursor);
        diag_clear();
        for (unsigned i = 0; i < KEYS; i++)
            assert_int_equal(body_rows_get(&rows, numbers[i]), 0);
        cache_stats_get(rows.cache, &stats);
        assert_int_equal(stats.pinned, 0);
    }
    body_rows_close(&rows);
}

static void an_allocation_that_fails_leaves_it_to_who_wants_the_row(void **state)
{
    (void)state;
    run(&engine_lsm, alloc_fail_nth);
    run(&engine_btree, alloc_fail_nth);
}

static void so_does_memory_that_runs_out(void **state)
{
    (void)state;
    run(&engine_lsm, alloc_fail_from);
    run(&engine_btree, alloc_fail_from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_allocation_that_fails_leaves_it_to_who_wants_the_row),
        cmocka_unit_test(so_does_memory_that_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
