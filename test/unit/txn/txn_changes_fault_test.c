/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that have changed, and no memory: whatever a checkpoint has begun, each row is listed in the
 * end (invariant 19), and nobody waits for memory meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>

#include "alloc/alloc_fault.h"
#include "base/error.h"
#include "txn/txn_fixture.h"

enum { ROWS = 600, WRITERS = 2 };

static struct txn_fixture f;

static int setup(void **state)
{
    (void)state;
    fixture_open(&f, 3);
    f.head.tracked = true;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

/* The log's threads have no memory to ask for any more: what fails is this thread's. */
static void log_settle(void)
{
    struct wal_stats stats;
    assert_int_equal(wal_wait_durable(f.wal, wal_clock(f.wal)), 0);
    do {
        sched_yield(); /* until the next segment is there */
        wal_stats_get(f.wal, &stats);
    } while (stats.segments < 2);
}

static uint64_t rows_write(const char *value)
{
    uint64_t ts = 0;
    for (unsigned n = 0; n < ROWS; n++) {
        char key[16];
        snprintf(key, sizeof key, "%u", n);
        ts = fixture_set(&f, n % WRITERS, key, value);
    }
    log_settle();
    return ts;
}

static void what_cannot_be_taken_stays_listed(void **state)
{
    (void)state;
    rows_write("1");
    struct txn_changes changes = {NULL, 0, 0};
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        alloc_fail_from(n);
        int rc = txn_changes_take(f.system, &changes);
        failed = alloc_fail_end();
        assert_int_equal(rc, failed ? ERROR_MEMORY : 0);
        assert_int_equal(changes.count, failed ? 0 : ROWS);
        assert_int_equal(txn_changes_pending(f.system), failed ? ROWS : 0);
    }
    txn_changes_return(f.system, &changes);
}

static void what_was_taken_is_returned_without_memory_and_taken_again(void **state)
{
    (void)state;
    rows_write("1");
    struct txn_changes changes = {NULL, 0, 0};
    for (int round = 0; round < 3; round++) {
        assert_int_equal(txn_changes_take(f.system, &changes), 0);
        assert_int_equal(changes.count, ROWS);
        alloc_fail_from(1);
        txn_changes_return(f.system, &changes);
        assert_false(alloc_fail_end());
        assert_null(changes.items);
        assert_int_equal(txn_changes_pending(f.system), ROWS);
    }
}

static void rows_that_changed_since_are_listed_again_without_memory(void **state)
{
    (void)state;
    uint64_t k = rows_write("1");
    struct txn_changes changes = {NULL, 0, 0};
    assert_int_equal(txn_changes_take(f.system, &changes), 0);
    rows_write("2");
    alloc_fail_from(1);
    size_t kept = 0;
    txn_worker_enter(f.workers[2]);
    for (size_t n = 0; n < changes.count; n++)
        if (!txn_change_done(f.workers[2], &changes.items[n], k))
            changes.items[kept++] = changes.items[n];
    txn_worker_leave(f.workers[2]);
    changes.count = kept;
    txn_changes_return(f.system, &changes);
    assert_false(alloc_fail_end());
    assert_int_equal(txn_changes_pending(f.system), ROWS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_cannot_be_taken_stays_listed),
        TEST(what_was_taken_is_returned_without_memory_and_taken_again),
        TEST(rows_that_changed_since_are_listed_again_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
