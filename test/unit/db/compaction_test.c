/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Compaction by threads of its own: what is urgent comes first, a checkpoint does not wait for it, and
 * writers are slowed by what it is behind, and closing, dropping, failing disks and power cuts end it without a trace. A test holds the threads
 * before their steps, so it decides what happens meanwhile.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "base/test_seed.h"
#include "db/checkpoint_fixture.h"
#include "db/checkpoint_private.h"
#include "db/compaction.h"
#include "db/memory.h"
#include "storage/lsm/lsm.h"

enum { L0_FILES = 4, STEPS = 64 };

/* ------------------------------------------------------------------------------------------ the hook */

/* What the threads do: before each step they say of which space it is, and wait while they are held. */
static struct {
    _Atomic bool held;
    _Atomic unsigned entered; /* steps */
    _Atomic uint32_t spaces[STEPS];
} steps;

static void step_hook(uint32_t space_id)
{
    unsigned at = atomic_load(&steps.entered);
    if (at < STEPS)
        atomic_store(&steps.spaces[at], space_id);
    atomic_fetch_add(&steps.entered, 1);
    while (atomic_load(&steps.held) && !load_relaxed(&f.db->checkpoint->stop))
        sched_yield();
}

static void steps_hold(void)
{
    atomic_store(&steps.entered, 0);
    atomic_store(&steps.held, true);
    store_release(&f.db->checkpoint->before_step, step_hook);
}

static void steps_let_go(void)
{
    atomic_store(&steps.held, false);
}

static void step_wait(void)
{
    while (atomic_load(&steps.entered) == 0)
        sched_yield();
}

/* ------------------------------------------------------------------------------------------- fixture */

static int setup(void **state)
{
    static char engine[] = "lsm";
    *state = engine;
    atomic_store(&steps.held, false);
    return checkpoint_setup(state);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, checkpoint_teardown)

static void space_make(const char *name)
{
    assert_int_equal(make_space(&f, name, "{}"), 0);
    assert_int_equal(make_index(&f, name, "pk", "{}"), 0);
}

static void put(const char *space, unsigned key, unsigned value)
{
    char text[64];
    snprintf(text, sizeof text, "[%u, %u]", key, value);
    assert_int_equal(replace(&f, NULL, space, text), 0);
}

/* So many sequences of a row each. */
static void sequences(const char *space, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        put(space, i % 3, i + 1);
        checkpoint();
    }
}

static struct body *body_of(const char *space)
{
    return ((struct store *)space_of(&f, NULL, space)->head->arg)->body;
}

static struct lsm_stats stats_of(const char *space)
{
    struct lsm_stats out;
    lsm_stats_get(body_of(space), &out);
    return out;
}

/* Files on the disk that nobody has named. */
static int run_count(const char *name, uint64_t size, void *arg)
{
    (void)size;
    *(unsigned *)arg += is_run(name);
    return 0;
}

/* While nothing is done. */
static void assert_no_file_is_left_over(struct io *io)
{
    unsigned there = 0, named = 0;
    struct manifest manifest;
    assert_int_equal(io_list(io, run_count, &there), 0);
    manifest_create(&manifest);
    int rc = manifest_load(io, &manifest);
    assert_true(rc == 0 || rc == ERROR_NOT_FOUND);
    for (unsigned i = 0; i < manifest.tree_count; i++)
        named += manifest.trees[i].file_count;
    manifest_destroy(&manifest);
    assert_int_equal(there, named);
}

/* --------------------------------------------------------------------------------------------- tests */

static void a_checkpoint_does_not_wait_for_a_compaction(void **state)
{
    (void)state;
    schema_make();
    steps_hold();
    sequences("s", L0_FILES);
    step_wait();
    for (unsigned i = 0; i < 3; i++) { /* the thread stands before its first step */
        set(9, 100 + i);
        checkpoint();
    }
    assert_int_equal(stats_of("s").compactions, 0);
    assert_int_equal(stats_of("s").sequences, L0_FILES + 3);
    steps_let_go();
    db__checkpoint_wait_idle(f.db);
    assert_true(stats_of("s").compactions > 0);
    assert_int_equal(stats_of("s").sequences, 1 + 3);
    assert_int_equal(value_of(9), 102);
    assert_int_equal(value_of(0), 4);
    assert_true(stats().merges > 0);
    assert_no_file_is_left_over(f.io);
}

static void what_is_behind_comes_before_what_only_profits(void **state)
{
    (void)state;
    schema_make();
    space_make("behind");
    space_make("third");
    steps_hold();
    sequences("s", L0_FILES); /* the one thread stands before this */
    step_wait();
    sequences("third", L0_FILES);
    sequences("behind", 3 * L0_FILES);
    assert_int_equal(stats_of("third").urgency, ENGINE_NORMAL);
    assert_int_equal(stats_of("behind").urgency, ENGINE_HIGH);
    /* Each has its job, and the thread's poll has ranked them. */
    struct checkpoint *checkpoint = f.db->checkpoint;
    for (bool ranked = false; !ranked;) {
        pthread_mutex_lock(&checkpoint->mutex);
        for (unsigned i = 0; i < CHECKPOINT_JOBS; i++)
            ranked |= checkpoint->jobs[i].urgency == ENGINE_HIGH;
        ranked &= checkpoint->jobs_open == 3;
        pthread_mutex_unlock(&checkpoint->mutex);
        sched_yield();
    }
    steps_let_go();
    db__checkpoint_wait_idle(f.db);
    unsigned behind = 0, third = 0, count = atomic_load(&steps.entered);
    uint32_t behind_id = space_of(&f, NULL, "behind")->id,
             third_id = space_of(&f, NULL, "third")->id;
    for (unsigned i = 0; i < count && i < STEPS; i++) {
        if (atomic_load(&steps.spaces[i]) == behind_id && behind == 0)
            behind = i + 1;
        if (atomic_load(&steps.spaces[i]) == third_id && third == 0)
            third = i + 1;
    }
    assert_true(behind > 0 && third > behind);
}

static void a_nearly_full_disk_makes_compaction_critical(void **state)
{
    (void)state;
    schema_make();
    steps_hold();
    sequences("s", L0_FILES);
    assert_int_equal(stats_of("s").urgency, ENGINE_NORMAL);
    atomic_store(&hook.room, 1); /* a byte */
    assert_int_equal(stats_of("s").urgency, ENGINE_CRITICAL);
    struct checkpoint *checkpoint = f.db->checkpoint;
    for (bool critical = false; !critical; sched_yield()) { /* its job hears of it */
        pthread_mutex_lock(&checkpoint->mutex);
        for (unsigned i = 0; i < CHECKPOINT_JOBS; i++)
            critical |= checkpoint->jobs[i].urgency == ENGINE_CRITICAL;
        pthread_mutex_unlock(&checkpoint->mutex);
    }
    atomic_store(&hook.room, 0);
    steps_let_go();
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats_of("s").urgency, ENGINE_IDLE);
}

static struct io_class_stats done_as(enum io_class class)
{
    struct io_class_stats stats;
    io_scheduler_stats(hook.scheduler, class, &stats);
    return stats;
}

static void what_is_critical_reads_and_writes_as_a_checkpoint_does(void **state)
{
    (void)state;
    hook.schedules = true;
    db_fixture_reopen(&f);
    schema_make();
    sequences("s", L0_FILES);
    db__checkpoint_wait_idle(f.db);
    struct io_class_stats background = done_as(IO_BACKGROUND);
    uint64_t before = stats_of("s").compactions;
    assert_true(before > 0 && background.writes > 0 && background.reads > 0);
    steps_hold();
    atomic_store(&hook.room, 1); /* from before it begins */
    sequences("s", L0_FILES);
    step_wait();
    struct io_class_stats checkpoints = done_as(IO_CHECKPOINT);
    steps_let_go();
    db__checkpoint_wait_idle(f.db);
    assert_true(stats_of("s").compactions > before);
    assert_int_equal(done_as(IO_BACKGROUND).writes, background.writes);
    assert_int_equal(done_as(IO_BACKGROUND).reads, background.reads);
    assert_true(done_as(IO_CHECKPOINT).writes > checkpoints.writes);
    assert_true(done_as(IO_CHECKPOINT).reads > checkpoints.reads);
}

/* The state of the one job once it has written something; CHECKPOINT_JOB_NONE: there was none. */
static unsigned state_of_job_that_has_written(void)
{
    struct checkpoint *checkpoint = f.db->checkpoint;
    for (;; sched_yield()) {
        unsigned state = CHECKPOINT_JOB_NONE;
        pthread_mutex_lock(&checkpoint->mutex);
        for (unsigned i = 0; i < CHECKPOINT_JOBS; i++)
            if (checkpoint->jobs[i].store != NULL && checkpoint->jobs[i].written > 0)
                state = checkpoint->jobs[i].state;
        pthread_mutex_unlock(&checkpoint->mutex);
        if (state != CHECKPOINT_JOB_NONE || stats_of("s").compactions > 0)
            return state;
    }
}

/* Three hours pass from each look at it to the next, so that no rate is felt; once it stands, any is. */
static struct {
    struct clock base;
    _Atomic uint64_t now_ns;
    _Atomic bool stands;
} leaping;

static uint64_t leaping_monotonic_ns(struct clock *clock)
{
    (void)clock;
    uint64_t by_ns = atomic_load(&leaping.stands) ? 0 : UINT64_C(10000) * 1000000000;
    return atomic_fetch_add(&leaping.now_ns, by_ns) + by_ns;
}

static uint64_t leaping_realtime_ms(struct clock *clock)
{
    (void)clock;
    return 1000;
}

static void what_is_critical_knows_no_rate(void **state)
{
    (void)state;
    leaping.base = (struct clock){leaping_monotonic_ns, leaping_realtime_ms};
    atomic_store(&leaping.stands, false);
    f.clock = &leaping.base;
    f.checkpoint.rate = 1000;
    db_fixture_reopen(&f);
    schema_make();
    steps_hold();
    sequences("s", L0_FILES);
    step_wait();
    atomic_store(&leaping.stands, true);
    pthread_mutex_lock(&f.db->checkpoint->mutex);
    f.db->checkpoint->jobs_ns = clock_monotonic_ns(f.clock); /* as if it began now */
    pthread_mutex_unlock(&f.db->checkpoint->mutex);
    steps_let_go();
    assert_int_equal(state_of_job_that_has_written(), CHECKPOINT_JOB_RUNS); /* it waits */
    atomic_store(&hook.room, 1);
    db__checkpoint_wait_idle(f.db);
    assert_true(stats_of("s").compactions > 0);
    db_fixture_stop(&f);
    f.clock = NULL;
    f.checkpoint.rate = 0;
    assert_int_equal(db_fixture_start(&f, false), 0);
}

static struct throttle_view throttled(void)
{
    struct throttle_view view;
    db_throttle_view(f.db, &view);
    return view;
}

static void writers_are_slowed_by_what_compaction_is_behind(void **state)
{
    (void)state;
    struct clock_manual clock;
    struct engine_stats body = {0};
    clock_manual_create(&clock, 1000);
    f.clock = &clock.base;
    db_fixture_reopen(&f);
    schema_make();
    steps_hold();
    for (unsigned i = 1; body.debt <= 0.75; i++) {
        put("s", i % 3, i);
        checkpoint();
        body_stats(body_of("s"), &body);
        assert_true(throttled().debt == body.debt);
        assert_int_equal(throttled().rate > 0, body.debt > 0.5);
    }
    big_rows(NULL, 100, 100); /* in no time, by this clock */
    assert_int_equal(db_memory_slow_ns(f.db), THROTTLE_DELAY_MS_MAX * 1000000);
    assert_int_equal(throttled().slowed, 1);
    steps_let_go();
    while (throttled().debt > 0.5)
        sched_yield();
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(throttled().rate, 0);
    assert_int_equal(db_memory_slow_ns(f.db), 0);
    db_fixture_stop(&f);
    f.clock = NULL;
    assert_int_equal(db_fixture_start(&f, false), 0);
}

/* What the throttle was like when the first file was made, and when the manifest got its name. A file of rows that stay
 * is made before any row is read, one of those that leave behind the first ones; which comes first is up to where heads are. */
static struct {
    uint64_t rate;
    bool leaves;
    enum throttle_phase phases[2];
} course;

static enum throttle_phase phase_now(void)
{
    struct throttle *throttle = &f.db->memory.throttle;
    pthread_mutex_lock(&throttle->mutex);
    enum throttle_phase phase = throttle->phase;
    pthread_mutex_unlock(&throttle->mutex);
    return phase;
}

static int course_look(enum hook_call call, const char *path)
{
    if (call == HOOK_OPEN && is_run(path) && hook.calls++ == 0) {
        course.rate = throttled().rate;
        course.phases[0] = phase_now();
        course.leaves = strncmp(path, "512-", 4) == 0;
    }
    if (call == HOOK_RENAME)
        course.phases[1] = phase_now();
    return 0;
}

static void writers_are_slowed_by_what_a_checkpoint_still_takes(void **state)
{
    (void)state;
    schema_make();
    db_memory_max_set(f.db, UINT64_C(1) << 30);
    big_rows(NULL, 0, 100);
    assert_int_equal(throttled().rate, 0);
    hook_set(course_look);
    checkpoint();
    hook_set(NULL);
    assert_true(course.rate > 0);
    assert_int_equal(course.phases[0], course.leaves ? THROTTLE_WRITE : THROTTLE_PREPARE);
    assert_int_equal(course.phases[1], THROTTLE_WRITE);
    assert_int_equal(phase_now(), THROTTLE_FREE);
    assert_int_equal(throttled().rate, 0); /* it has ended */
}

static void closing_gives_up_a_compaction_and_leaves_none_of_its_files(void **state)
{
    (void)state;
    schema_make();
    steps_hold();
    sequences("s", L0_FILES);
    step_wait();
    durable();
    db_fixture_stop(&f);
    struct io *io = disk_io(f.disk);
    assert_no_file_is_left_over(io);
    io_delete(io);
    assert_int_equal(db_fixture_start(&f, false), 0);
    db__checkpoint_wait_idle(f.db); /* and it is begun anew */
    assert_int_equal(stats_of("s").sequences, 1);
    assert_int_equal(value_of(0), 4);
}

static void a_space_that_is_dropped_ends_its_compaction(void **state)
{
    (void)state;
    schema_make();
    steps_hold();
    sequences("s", L0_FILES);
    step_wait();
    assert_int_equal(drop_space(&f, "s"), 0);
    checkpoint();
    steps_let_go();
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats().merges, 0);
    assert_int_equal(stats().merges_failed, 0);
    db_fixture_stop(&f);
    struct io *io = disk_io(f.disk);
    assert_no_file_is_left_over(io);
    io_delete(io);
    assert_int_equal(db_fixture_start(&f, false), 0);
}

static void one_that_is_asked_for_shows_how_far_it_is_and_its_end(void **state)
{
    (void)state;
    struct db_compaction now;
    uint64_t failures;
    space_make("s");
    sequences("s", 2);
    uint32_t id = space_of(&f, NULL, "s")->id;
    steps_hold();
    assert_int_equal(db_compaction_begin(f.workers[0], id, &failures), 0);
    step_wait();
    assert_true(db_compaction_get(space_of(&f, NULL, "s"), &now));
    assert_true(now.wanted);
    assert_int_equal(now.running, 1);
    assert_int_equal(now.written, 0);
    assert_int_equal(db_compaction_ended(f.workers[0], id, failures), ERROR_WAIT);
    steps_let_go();
    while (db_compaction_ended(f.workers[0], id, failures) == ERROR_WAIT)
        sched_yield();
    assert_int_equal(db_compaction_ended(f.workers[0], id, failures), 0);
    db__checkpoint_wait_idle(f.db);
    assert_true(db_compaction_get(space_of(&f, NULL, "s"), &now));
    assert_int_equal(now.running, 0);
    assert_int_equal(now.files.sequences, 1);
    assert_int_equal(db_compaction_begin(f.workers[0], SPACE_ID_SPACE, &failures),
                     ERROR_UNSUPPORTED);
    assert_int_equal(db_compaction_begin(f.workers[0], 99999, &failures), ERROR_NOT_FOUND);
}

static struct {
    struct body *body;
    bool wanted; /* when the manifest was to get its name */
} asked;

static int manifest_refused(enum hook_call call, const char *path)
{
    if (call != HOOK_RENAME)
        return 0;
    asked.wanted = lsm_compact_wanted(asked.body);
    return diag_set(ERROR_IO, "no name for %s, by the test", path);
}

/* Until then the files are the old ones for whoever reads, and after a restart. */
static void one_that_is_asked_for_has_ended_when_a_manifest_says_so(void **state)
{
    (void)state;
    struct clock_manual clock;
    uint64_t failures;
    int rc;
    clock_manual_create(&clock, 1000);
    f.clock = &clock.base;
    db_fixture_reopen(&f);
    space_make("s");
    sequences("s", 2);
    uint32_t id = space_of(&f, NULL, "s")->id;
    asked.body = body_of("s");
    asked.wanted = false;
    hook_set(manifest_refused);
    assert_int_equal(db_compaction_begin(f.workers[0], id, &failures), 0);
    while ((rc = db_compaction_ended(f.workers[0], id, failures)) == ERROR_WAIT)
        sched_yield();
    assert_int_equal(rc, ERROR_IO);
    assert_true(asked.wanted);
    assert_int_equal(stats_of("s").sequences, 2);
    hook_set(NULL);
    db__checkpoint_wait_idle(f.db);
    clock_manual_advance_ms(&clock, 61000);
    while ((rc = db_compaction_ended(f.workers[0], id, failures + 1)) == ERROR_WAIT)
        sched_yield();
    assert_int_equal(rc, 0);
    assert_int_equal(stats_of("s").sequences, 1);
    db_fixture_stop(&f);
    f.clock = NULL;
    assert_int_equal(db_fixture_start(&f, false), 0);
}

static void a_compaction_that_fails_is_tried_again_and_loses_nothing(void **state)
{
    (void)state;
    struct clock_manual clock;
    clock_manual_create(&clock, 1000);
    f.clock = &clock.base;
    db_fixture_reopen(&f);
    schema_make();
    steps_hold();
    sequences("s", L0_FILES);
    step_wait();
    hook_set(hook_no_space);
    steps_let_go();
    while (stats().merges_failed == 0)
        sched_yield();
    hook_set(NULL);
    log_level_set(LOG_ERROR);
    db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats_of("s").sequences, L0_FILES);
    assert_int_equal(value_of(0), 4);
    assert_no_file_is_left_over(f.io);
    clock_manual_advance_ms(&clock, 61000);
    while (stats_of("s").compactions == 0)
        db__checkpoint_wait_idle(f.db);
    assert_int_equal(stats_of("s").sequences, 1);
    assert_int_equal(value_of(0), 4);
    db_fixture_stop(&f);
    f.clock = NULL;
    assert_int_equal(db_fixture_start(&f, false), 0);
}

/* While the threads work; a failure may come to the log, to a checkpoint, to a compaction. */
static void the_power_may_fail_in_the_middle_of_it(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    f.checkpoint.threads = 2;
    for (uint64_t n = 0; n < 12; n++) {
        db_fixture_close(&f);
        db_fixture_open(&f);
        schema_make();
        space_make("other");
        durable();
        unsigned acknowledged = 0;
        disk_cut_after(f.disk, 60 + (seed + 37 * n) % 400);
        for (unsigned i = 1; i <= 40 && !disk_is_cut(f.disk); i++) {
            char text[64];
            snprintf(text, sizeof text, "[7, %u]", i);
            if (replace(&f, NULL, "s", text) != 0 || replace(&f, NULL, "other", text) != 0 ||
                wal_wait(db_wal(f.db), txn_worker_seen_ts(db_worker_txn(f.workers[0]))) != 0)
                break;
            acknowledged = i;
            if (db_checkpoint(f.db) != 0)
                break;
        }
        disk_cut(f.disk, seed + n);
        db_fixture_stop(&f);
        assert_int_equal(db_fixture_start(&f, false), 0);
        assert_true(value_of(7) >= acknowledged);
        db__checkpoint_wait_idle(f.db);
        assert_no_file_is_left_over(f.io);
        assert_true(value_of(7) >= acknowledged);
    }
    log_level_set(LOG_ERROR);
    f.checkpoint.threads = 0;
}

static void several_threads_compact_several_spaces_while_rows_are_written(void **state)
{
    (void)state;
    f.checkpoint.threads = 3;
    db_fixture_reopen(&f);
    schema_make();
    static const char *const names[] = {"s", "b", "c"};
    space_make("b");
    space_make("c");
    for (unsigned round = 1; round <= 25; round++) {
        for (unsigned i = 0; i < 3; i++)
            for (unsigned key = 0; key < 20; key++)
                put(names[i], key, round * 100 + key);
        checkpoint();
    }
    db__checkpoint_wait_idle(f.db);
    for (unsigned i = 0; i < 3; i++) {
        struct lsm_stats lsm = stats_of(names[i]);
        assert_true(lsm.compactions > 0 && lsm.sequences < 2 * L0_FILES);
        for (unsigned key = 0; key < 20; key++) {
            char text[64], expected[64];
            snprintf(text, sizeof text, "[%u]", key);
            snprintf(expected, sizeof expected, "[%u,%u]", key, 2500 + key);
            assert_string_equal(get_by(&f, NULL, names[i], "pk", text), expected);
        }
    }
    assert_no_file_is_left_over(f.io);
    f.checkpoint.threads = 0;
}

int main(void)
{
    log_level_set(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        TEST(a_checkpoint_does_not_wait_for_a_compaction),
        TEST(what_is_behind_comes_before_what_only_profits),
        TEST(a_nearly_full_disk_makes_compaction_critical),
        TEST(what_is_critical_reads_and_writes_as_a_checkpoint_does),
        TEST(what_is_critical_knows_no_rate),
        TEST(writers_are_slowed_by_what_compaction_is_behind),
        TEST(writers_are_slowed_by_what_a_checkpoint_still_takes),
        TEST(closing_gives_up_a_compaction_and_leaves_none_of_its_files),
        TEST(a_space_that_is_dropped_ends_its_compaction),
        TEST(one_that_is_asked_for_shows_how_far_it_is_and_its_end),
        TEST(one_that_is_asked_for_has_ended_when_a_manifest_says_so),
        TEST(a_compaction_that_fails_is_tried_again_and_loses_nothing),
        TEST(the_power_may_fail_in_the_middle_of_it),
        TEST(several_threads_compact_several_spaces_while_rows_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
