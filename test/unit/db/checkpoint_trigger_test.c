/* SPDX-License-Identifier: Apache-2.0 */

/* Checkpoints that come by themselves: after so much log, after so much time, when memory is used up,
 * and again after a failure. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/checkpoint_fixture.h"
#include "db/checkpoint_private.h"
#include "db/memory.h"

static void a_checkpoint_comes_when_the_log_has_grown(void **state)
{
    (void)state;
    f.checkpoint.log_bytes = 1 << 20;
    db_fixture_reopen(&f);
    schema_make();
    set(1, 1);
    durable();
    for (unsigned i = 0; i < 3; i++)
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 0);
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    big_rows(txn, 100, 50);
    assert_int_equal(txn_commit(txn), 0);
    durable();
    while (stats().count == 0)
        db__checkpoint_wait_idle(f.db);
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 1);
    cut(1);
    assert_int_equal(f.stats.rows, 0);
    while (stats().count == 0) /* what is left of the log can go now, and nothing is written */
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().rows, 0);
}

/* What was replayed counts as well: else a database that often starts would never cut its log. */
static void the_log_of_the_lives_before_counts(void **state)
{
    (void)state;
    schema_make();
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    big_rows(txn, 100, 50);
    assert_int_equal(txn_commit(txn), 0);
    f.checkpoint.log_bytes = 1 << 20;
    db_fixture_reopen(&f);
    while (stats().count == 0)
        db__checkpoint_wait_idle(f.db);
    assert_true(stats().rows >= 50);
}

static void a_checkpoint_comes_when_time_has_passed_and_something_has_changed(void **state)
{
    (void)state;
    struct clock_manual clock;
    clock_manual_create(&clock, 1000);
    f.clock = &clock.base;
    f.checkpoint.interval_ms = 60000;
    db_fixture_reopen(&f);
    schema_make();
    clock_manual_advance_ms(&clock, 59999);
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 0);
    clock_manual_advance_ms(&clock, 1);
    while (stats().count == 0)
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().time_ms, 61000);
    clock_manual_advance_ms(&clock, 60000);
    while (stats().skipped == 0)
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 1);
    db_fixture_stop(&f);
    f.clock = NULL; /* this one is gone at teardown */
    assert_int_equal(db_fixture_start(&f, false), 0);
}

static void *checkpoint_main(void *arg)
{
    *(int *)arg = db_checkpoint(f.db);
    return NULL;
}

/* A change of the schema tells the checkpoint's thread of what it has dropped while it has the gate. */
static void whether_one_is_needed_is_not_decided_with_the_mutex_held(void **state)
{
    (void)state;
    pthread_t thread;
    int rc = -1;
    schema_make();
    assert_int_equal(db_checkpoint(f.db), 0);
    struct txn_options exclusive = {.level = TXN_SERIALIZABLE, .exclusive = true};
    struct txn *txn;
    assert_int_equal(txn_begin(db_worker_txn(f.workers[0]), &exclusive, &txn), 0);
    assert_int_equal(pthread_create(&thread, NULL, checkpoint_main, &rc), 0);
    while (!stats().running) /* it waits for the gate then, or is about to */
        sched_yield();
    db__checkpoint_dropped(f.db);
    txn_rollback(txn);
    pthread_join(thread, NULL);
    assert_int_equal(rc, 0);
    assert_int_equal(stats().skipped, 1);
}

static void points_of_time_and_changes_take_the_place_of_the_interval(void **state)
{
    (void)state;
    struct clock_manual clock;
    struct db_save_point points[DB_SAVE_POINTS_MAX];
    clock_manual_create(&clock, 1000);
    f.clock = &clock.base;
    f.checkpoint.interval_ms = 60000;
    db_fixture_reopen(&f);
    assert_int_equal(db_checkpoint_points_get(f.db, points), 1);
    assert_int_equal(points[0].seconds, 60);
    assert_int_equal(points[0].changes, 1);
    db_checkpoint_points_set(f.db, NULL, 0);
    assert_int_equal(db_checkpoint_points_get(f.db, points), 0);
    schema_make();
    clock_manual_advance_ms(&clock, 1000 * 1000);
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 0); /* never */
    uint64_t changes = stats().changes;
    db_checkpoint_points_set(f.db, (struct db_save_point[]){{2000, 1}, {1500, changes + 1}}, 2);
    clock_manual_advance_ms(&clock, 999 * 1000);
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 0);
    clock_manual_advance_ms(&clock, 1000);
    while (stats().count == 0)
        db__checkpoint_wait_idle(f.db);
    db_checkpoint_points_set(f.db, (struct db_save_point[]){{10, 1000000}}, 1);
    clock_manual_advance_ms(&clock, 1000 * 1000);
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 1);
    db_fixture_stop(&f);
    f.clock = NULL; /* this one is gone at teardown */
    assert_int_equal(db_fixture_start(&f, false), 0);
}

static void a_checkpoint_comes_when_memory_is_used_up_by_deleted_rows(void **state)
{
    (void)state;
    struct heap *heap = db_heap(f.db);
    schema_make();
    for (unsigned round = 0; round < 2; round++) {
        struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
        for (unsigned key = 0; key < 20000; key++) {
            char text[64];
            snprintf(text, sizeof text, round == 0 ? "[%u, 1]" : "[%u]", key);
            assert_int_equal(
                round == 0 ? replace(&f, txn, "s", text) : delete_by(&f, txn, "s", "pk", text), 0);
        }
        assert_int_equal(txn_commit(txn), 0);
        durable();
        for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++)
            txn_collect(db_worker_txn(f.workers[i]), SIZE_MAX);
    }
    assert_int_equal(stats().count, 0);
    struct txn *reader = begin_readonly(&f, 1); /* for whom what goes meanwhile stays in memory */
    heap_limit_set(heap, heap_used_bytes(heap) / 2);
    assert_int_equal(insert(&f, NULL, "s", "[1, 1]"), ERROR_MEMORY);
    txn_rollback(reader);
    while (heap_over_limit(heap)) {
        db__checkpoint_wait_idle(f.db);
        for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++)
            txn_collect(db_worker_txn(f.workers[i]), SIZE_MAX);
    }
    assert_true(stats().count > 0);
    assert_int_equal(insert(&f, NULL, "s", "[1, 1]"), 0);
}

/* At four fifths of the limit, when enough of what is in use is rows that were deleted. */
static void a_checkpoint_comes_when_memory_is_going_to_be_used_up_by_deleted_rows(void **state)
{
    (void)state;
    struct heap *heap = db_heap(f.db);
    schema_make();
    for (unsigned round = 0; round < 2; round++) {
        struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
        for (unsigned key = 0; key < 20000; key++) {
            char text[64];
            snprintf(text, sizeof text, round == 0 ? "[%u, 1]" : "[%u]", key);
            assert_int_equal(
                round == 0 ? replace(&f, txn, "s", text) : delete_by(&f, txn, "s", "pk", text), 0);
        }
        assert_int_equal(txn_commit(txn), 0);
        durable();
        for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++)
            txn_collect(db_worker_txn(f.workers[i]), SIZE_MAX);
        if (round == 0) /* of rows that no checkpoint has seen nothing is left */
            assert_int_equal(db_checkpoint(f.db), 0);
    }
    uint64_t made = stats().count;
    size_t before; /* it falls by itself at first, as old versions go */
    do {
        before = heap_used_bytes(heap);
        db_memory_max_set(f.db, before + before / 8);
        db__checkpoint_wait_idle(f.db);
    } while (stats().count == made);
    while (heap_used_bytes(heap) > before - 20000 * 32) {
        db__checkpoint_wait_idle(f.db);
        for (unsigned i = 0; i < DB_FIXTURE_WORKERS; i++)
            txn_collect(db_worker_txn(f.workers[i]), SIZE_MAX);
    }
    struct budget_view view;
    db_memory_view(f.db, &view);
    assert_true(view.flushes > 0);
    /* Rows that came fast before may make the next stage early: then it is the first. */
    assert_true(view.entered[BUDGET_FLUSH] + view.early > 0);
    assert_int_equal(view.entered[BUDGET_FULL], 0);
}

static void rows_that_only_came_are_no_reason_for_a_checkpoint(void **state)
{
    (void)state;
    struct heap *heap = db_heap(f.db);
    schema_make();
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    big_rows(txn, 100, 50);
    assert_int_equal(txn_commit(txn), 0);
    durable();
    db_memory_max_set(f.db, heap_used_bytes(heap) + heap_used_bytes(heap) / 8);
    struct budget_view view;
    do {
        db__checkpoint_wait_idle(f.db);
        db_memory_view(f.db, &view);
    } while (view.stage == BUDGET_EASY);
    for (unsigned i = 0; i < 5; i++)
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().count, 0);
}

static void one_that_fails_is_tried_again_after_a_while(void **state)
{
    (void)state;
    struct clock_manual clock;
    clock_manual_create(&clock, 1000);
    f.clock = &clock.base;
    db_fixture_reopen(&f);
    schema_make();
    hook_set(hook_no_space);
    assert_int_equal(db_checkpoint(f.db), ERROR_IO);
    for (unsigned i = 0; i < 3; i++)
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().failed, 1);
    for (unsigned i = 2; i <= 4; i++) {
        clock_manual_advance_ms(&clock, 60000);
        while (stats().failed < i)
            db__checkpoint_wait_idle(f.db);
    }
    hook_set(NULL);
    clock_manual_advance_ms(&clock, 60000);
    while (stats().count == 0)
        db__checkpoint_wait_idle(f.db);
    db_fixture_stop(&f);
    f.clock = NULL;
    assert_int_equal(db_fixture_start(&f, false), 0);
}

static void closing_ends_a_checkpoint_that_waits_for_its_pace(void **state)
{
    (void)state;
    f.checkpoint.rate = 1; /* a byte a second */
    db_fixture_reopen(&f);
    schema_make();
    struct txn *txn = begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned key = 0; key < 1000; key++) {
        char text[64];
        snprintf(text, sizeof text, "[%u, 1]", key);
        assert_int_equal(replace(&f, txn, "s", text), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    db_checkpoint_request(f.db);
    while (!stats().running)
        sched_yield();
    durable();
    f.checkpoint.rate = 0;
    db_fixture_reopen(&f);
    assert_int_equal(space_len(space_of(&f, NULL, "s")), 1000);
    checkpoint();
}

int main(void)
{
    log_level_set(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        WITH_CHECKPOINT_FIXTURE(a_checkpoint_comes_when_the_log_has_grown),
        WITH_CHECKPOINT_FIXTURE(the_log_of_the_lives_before_counts),
        WITH_CHECKPOINT_FIXTURE(a_checkpoint_comes_when_time_has_passed_and_something_has_changed),
        WITH_CHECKPOINT_FIXTURE(whether_one_is_needed_is_not_decided_with_the_mutex_held),
        WITH_CHECKPOINT_FIXTURE(points_of_time_and_changes_take_the_place_of_the_interval),
        WITH_CHECKPOINT_FIXTURE(a_checkpoint_comes_when_memory_is_used_up_by_deleted_rows),
        WITH_CHECKPOINT_FIXTURE(
            a_checkpoint_comes_when_memory_is_going_to_be_used_up_by_deleted_rows),
        WITH_CHECKPOINT_FIXTURE(rows_that_only_came_are_no_reason_for_a_checkpoint),
        WITH_CHECKPOINT_FIXTURE(one_that_fails_is_tried_again_after_a_while),
        WITH_CHECKPOINT_FIXTURE(closing_ends_a_checkpoint_that_waits_for_its_pace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
