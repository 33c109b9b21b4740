/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast may be written: when a checkpoint is asked for, how writers are slowed while one runs and by the debt of
 * compaction, and that a simulated writer who is faster than checkpoints are neither stops nor fills memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "db/throttle.h"

#define MS UINT64_C(1000000)
#define MB (UINT64_C(1) << 20)

static struct throttle throttle;

static int setup(void **state)
{
    (void)state;
    throttle_create(&throttle);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    throttle_destroy(&throttle);
    return 0;
}

static struct throttle_memory memory(uint64_t ms, uint64_t used)
{
    return (struct throttle_memory){.now_ns = ms * MS, .used = used, .limit = 100 * MB};
}

static struct throttle_view seen(void)
{
    struct throttle_view view;
    throttle_view(&throttle, &view);
    return view;
}

/* One of 10000 rows and 40 MB: 10 ms, 70 ms and 20 ms of the phases, from `ms` on. */
static void flush(uint64_t ms)
{
    struct throttle_memory at = memory(ms, 40 * MB);
    throttle_begin(&throttle, &at, 10000, 40 * MB);
    at = memory(ms + 10, 40 * MB);
    throttle_written(&throttle, &at, 1, 10000);
    at = memory(ms + 80, 40 * MB);
    throttle_free(&throttle, &at);
    at = memory(ms + 100, 0);
    throttle_end(&throttle, &at, true);
}

static void nobody_waits_without_a_checkpoint_and_without_debt(void **state)
{
    (void)state;
    assert_true(throttle_is_easy(&throttle, 99 * MB));
    assert_int_equal(throttle_delay_ns(&throttle, 0, 99 * MB), 0);
    flush(1000);
    assert_true(throttle_is_easy(&throttle, 99 * MB));
    assert_int_equal(seen().flush_rate, 400 * MB);
    assert_int_equal(seen().rate, 0);
}

static void writers_share_what_is_left_until_memory_is_freed(void **state)
{
    (void)state;
    flush(1000);
    struct throttle_memory at = memory(2000, 42 * MB);
    throttle_begin(&throttle, &at, 10000, 40 * MB);
    assert_false(throttle_is_easy(&throttle, 0));
    assert_in_range(seen().rate, 499 * MB, 501 * MB); /* 50 MB in a tenth of a second */
    assert_int_equal(throttle_delay_ns(&throttle, 2000 * MS, 42 * MB), 0);
    /* 5 MB above the line, which rises by half a megabyte in a millisecond */
    assert_in_range(throttle_delay_ns(&throttle, 2000 * MS, 47 * MB), 9 * MS, 11 * MS);
    assert_int_equal(throttle_delay_ns(&throttle, 2010 * MS, 47 * MB), 0);
    /* as much as that is too much for one wait */
    assert_int_equal(throttle_delay_ns(&throttle, 2010 * MS, 90 * MB), THROTTLE_DELAY_MS_MAX * MS);
    assert_int_equal(seen().slowed, 2);
    assert_int_equal(seen().longest_ns, THROTTLE_DELAY_MS_MAX * MS);
}

static void writers_slow_down_while_a_checkpoint_is_not_seen(void **state)
{
    (void)state;
    flush(1000);
    struct throttle_memory at = memory(2000, 42 * MB);
    throttle_begin(&throttle, &at, 10000, 40 * MB);
    at = memory(2010, 42 * MB);
    throttle_written(&throttle, &at, 1, 10000);
    uint64_t before = seen().rate;
    for (uint64_t ms = 2020; ms < 2200; ms += 10)
        throttle_delay_ns(&throttle, ms * MS, (42 + (ms - 2010) / 5) * MB);
    assert_true(seen().rate < before / 2);
}

static void what_was_not_used_is_not_saved_up(void **state)
{
    (void)state;
    flush(1000);
    struct throttle_memory at = memory(2000, 42 * MB);
    throttle_begin(&throttle, &at, 10000, 40 * MB);
    assert_int_equal(throttle_delay_ns(&throttle, 2050 * MS, 42 * MB), 0); /* nobody wrote */
    assert_int_not_equal(throttle_delay_ns(&throttle, 2050 * MS, 47 * MB), 0);
    assert_int_equal(throttle_delay_ns(&throttle, 2070 * MS, 30 * MB), 0); /* some has been freed */
    assert_int_not_equal(throttle_delay_ns(&throttle, 2070 * MS, 35 * MB), 0);
}

static void a_checkpoint_that_is_slower_than_the_last_slows_writers_more(void **state)
{
    (void)state;
    flush(1000);
    struct throttle_memory at = memory(2000, 42 * MB);
    throttle_begin(&throttle, &at, 10000, 40 * MB);
    at = memory(2010, 42 * MB);
    throttle_written(&throttle, &at, 1, 10000);
    uint64_t before = seen().rate;
    at = memory(2110, 67 * MB); /* half of it in 100 ms instead of 35 */
    throttle_written(&throttle, &at, 5000, 10000);
    assert_true(seen().rate < before);
    at = memory(2110, 92 * MB); /* nothing is left */
    throttle_written(&throttle, &at, 5001, 10000);
    assert_int_equal(seen().rate, 400 * MB / 32); /* never nothing */
}

static void a_failed_checkpoint_measures_nothing_and_slows_nobody(void **state)
{
    (void)state;
    struct throttle_memory at = memory(1000, 90 * MB);
    throttle_begin(&throttle, &at, 10000, 40 * MB);
    at = memory(1100, 90 * MB);
    throttle_end(&throttle, &at, false);
    assert_true(throttle_is_easy(&throttle, 99 * MB));
    assert_int_equal(seen().flush_rate, 0);
    throttle_easy_set(&throttle, 40 * MB);
    assert_false(throttle_looks(&throttle, 1110 * MS, 90 * MB)); /* nor is it tried again at once */
    assert_true(throttle_looks(&throttle, 2100 * MS, 90 * MB));
}

/* What it takes is not the rows' share, and would slow those who write before the next large one has ended. */
static void a_small_checkpoint_measures_nothing(void **state)
{
    (void)state;
    flush(1000);
    for (uint64_t ms = 2000; ms < 12000; ms += 1000) {
        struct throttle_memory at = memory(ms, 1 * MB);
        throttle_begin(&throttle, &at, 10, 10000);
        at = memory(ms + 20, 1 * MB);
        throttle_written(&throttle, &at, 10, 10);
        at = memory(ms + 40, 1 * MB);
        throttle_free(&throttle, &at);
        at = memory(ms + 60, 1 * MB);
        throttle_end(&throttle, &at, true);
    }
    assert_int_equal(seen().flush_rate, 400 * MB);
    struct throttle_memory at = memory(20000, 42 * MB);
    throttle_begin(&throttle, &at, 10000, 40 * MB);
    assert_in_range(seen().rate, 499 * MB, 501 * MB); /* as after the large one */
}

static void debt_slows_from_one_half_on(void **state)
{
    (void)state;
    flush(1000);
    struct throttle_memory at = memory(2000, 10 * MB);
    throttle_debt_set(&throttle, &at, 0.5);
    assert_true(throttle_is_easy(&throttle, 10 * MB));
    throttle_debt_set(&throttle, &at, 0.75);
    assert_int_equal(seen().rate, 200 * MB);
    assert_in_range(throttle_delay_ns(&throttle, 2000 * MS, 12 * MB), 9 * MS, 11 * MS);
    throttle_debt_set(&throttle, &at, 3);
    assert_int_equal(seen().rate, 400 * MB / 32);
    throttle_debt_set(&throttle, &at, 0);
    assert_true(throttle_is_easy(&throttle, 10 * MB));
}

static void a_checkpoint_is_asked_for_when_writers_would_overtake_it(void **state)
{
    (void)state;
    flush(1000);
    throttle_easy_set(&throttle, 40 * MB);
    assert_false(throttle_looks(&throttle, 2000 * MS, 40 * MB - 1));
    assert_true(throttle_looks(&throttle, 2000 * MS, 40 * MB));
    assert_false(throttle_looks(&throttle, 2001 * MS, 40 * MB)); /* one looks, now and then */
    struct throttle_memory at = memory(2000, 40 * MB);
    assert_false(throttle_due(&throttle, &at, 10000, 40 * MB)); /* how fast it grows is not known */
    at = memory(2010, 41 * MB);
    assert_false(throttle_due(&throttle, &at, 10000, 41 * MB)); /* 10 MB until one had ended */
    at = memory(2020, 47 * MB);
    assert_false(throttle_due(&throttle, &at, 10000, 20 * MB)); /* most of it would stay */
    at = memory(2030, 54 * MB);
    assert_true(throttle_due(&throttle, &at, 10000, 54 * MB)); /* 70 MB */
    assert_int_not_equal(seen().rate, 0);
    at = memory(2040, 61 * MB);
    assert_false(throttle_due(&throttle, &at, 10000, 61 * MB)); /* one has been asked for */
}

/*
 * A writer that could write ten times as fast as checkpoints are, beside checkpoints whose speed changes, in simulated
 * time, a step a tenth of a millisecond long.
 */
static void a_writer_that_is_too_fast_is_slowed_and_never_stopped(void **state)
{
    (void)state;
    enum { ROW = 300, STEP_US = 100, ROWS_A_STEP = 1000, STEPS = 600000 };
    uint64_t limit = 100 * MB, fresh = 0, flushing = 0, done = 0, waits_ns = 0, most = 0,
             written = 0;
    unsigned seed = 4711, begins_in = 0;
    bool asked = false, runs = false;
    throttle_easy_set(&throttle, limit / 100 * THROTTLE_LOOK_PERCENT);
    for (uint64_t step = 1; step < STEPS; step++) {
        uint64_t now_ns = step * STEP_US * 1000;
        for (unsigned i = 0; i < ROWS_A_STEP && waits_ns <= now_ns; i++) {
            uint64_t used = fresh + flushing;
            struct throttle_memory at = {now_ns, used, limit, false};
            if (!asked && throttle_looks(&throttle, now_ns, used) &&
                throttle_due(&throttle, &at, fresh / ROW, fresh)) {
                asked = true;
                begins_in = rand_r(&seed) % 300; /* until its thread has the processor */
            }
            uint64_t delay_ns = throttle_delay_ns(&throttle, now_ns, used);
            assert_in_range(delay_ns, 0, THROTTLE_DELAY_MS_MAX * MS);
            waits_ns = delay_ns > 0 ? now_ns + delay_ns : 0;
            fresh += delay_ns == 0 ? ROW : 0;
            written += delay_ns == 0;
        }
        most = fresh + flushing > most ? fresh + flushing : most;
        struct throttle_memory at = {now_ns, fresh + flushing, limit, false};
        if (asked && !runs && begins_in-- == 0) {
            throttle_begin(&throttle, &at, fresh / ROW, fresh);
            flushing = fresh;
            fresh = done = 0;
            runs = true;
        } else if (runs) {
            done += (50 + rand_r(&seed) % 100) * ROW; /* about 300 MB a second */
            if (done < flushing)
                throttle_written(&throttle, &at, done / ROW, flushing / ROW);
            if (done >= flushing) {
                throttle_free(&throttle, &at);
                at.used = fresh;
                flushing = 0;
                throttle_end(&throttle, &at, true);
                asked = runs = false;
            }
        }
    }
    if (most > limit / 100 * 95)
        printf("as much as %.1f%% of the limit was used\n", 100.0 * (double)most / (double)limit);
    assert_true(most <= limit / 100 * 95);
    /* A hundred rows a step are flushed on average: most of what can be written is. */
    assert_true(written > UINT64_C(60) * STEPS);
}

static struct throttle_memory evicting(uint64_t ms, uint64_t used)
{
    struct throttle_memory at = memory(ms, used);
    at.evicts = true;
    return at;
}

static void where_keys_are_evicted_each_checkpoint_has_half_as_much_to_do(void **state)
{
    (void)state;
    flush(1000);
    struct throttle_memory at = evicting(2000, 50 * MB);
    assert_false(throttle_due(&throttle, &at, 10000, 50 * MB)); /* how fast it grows is not known */
    at = evicting(3000, 55 * MB); /* one may have been running meanwhile */
    assert_false(throttle_due(&throttle, &at, 10000, 55 * MB)); /* 5 MB a second: there is time */
    at = evicting(3100, 75 * MB);
    assert_false(throttle_due(&throttle, &at, 10000, 6 * MB)); /* not worth one */
    at = evicting(3110, 76 * MB);
    assert_true(throttle_due(&throttle, &at, 10000, 40 * MB)); /* 96 MB in twice its time */
    assert_in_range(seen().rate, 199 * MB, 201 * MB);          /* 20 MB in a tenth of a second */
    at = evicting(3200, 98 * MB);                              /* it took longer than was thought */
    throttle_written(&throttle, &at, 5000, 10000);
    assert_in_range(seen().rate, 1, 20 * MB);
    at = evicting(3300, 90 * MB);
    throttle_end(&throttle, &at, true);
    assert_true(throttle_is_easy(&throttle, 90 * MB));
    at = evicting(4000, 10 * MB);
    throttle_begin(&throttle, &at, 10000, 10 * MB);
    assert_true(seen().rate > 200 * MB); /* half of what is left, as long as that is more */
}

/* When as much goes as comes, what is in use does not grow: what has changed tells what comes. */
static void where_keys_are_evicted_what_is_written_slowly_is_nothing_to_hurry_for(void **state)
{
    (void)state;
    flush(1000);
    struct throttle_memory at = evicting(2000, 93 * MB);
    throttle_due(&throttle, &at, 10000, 1 * MB);
    at = evicting(3000, 93 * MB);
    assert_false(throttle_due(&throttle, &at, 70000, 7 * MB)); /* 3 MB a second, within 0.7 s */
    at = evicting(4000, 93 * MB);
    assert_false(throttle_due(&throttle, &at, 60000, 6 * MB)); /* a checkpoint had them */
    at = evicting(4100, 93 * MB);
    at.limit = 92 * MB; /* it has been lowered, perhaps */
    assert_false(throttle_due(&throttle, &at, 120000, 12 * MB));
    at = evicting(4200, 93 * MB);
    assert_true(throttle_due(&throttle, &at, 180000, 18 * MB)); /* 30 MB a second, within 1.8 s */
}

/*
 * A writer that could write ten times as fast as checkpoints are fills memory where keys are evicted, and goes on: what goes is free
 * at once, but for what is left of its row, or else when the checkpoint that runs has ended.
 */
static void a_writer_that_has_keys_evicted_is_never_stopped(void **state)
{
    (void)state;
    enum { ROW = 200, STUB = 80, STEP_US = 100, ROWS_A_STEP = 300, STEPS = 600000 };
    uint64_t limit = 1000 * MB, used = 0, changes = 0, flushing = 0, done = 0, pinned = 0,
             stubs = 0, burying = 0, waits_ns = 0, most = 0, written = 0;
    unsigned seed = 4712, begins_in = 0;
    bool asked = false, runs = false;
    for (uint64_t step = 1; step < STEPS; step++) {
        uint64_t now_ns = step * STEP_US * 1000;
        for (unsigned i = 0; i < ROWS_A_STEP && waits_ns <= now_ns; i++) {
            uint64_t delay_ns = throttle_delay_ns(&throttle, now_ns, used);
            waits_ns = delay_ns > 0 ? now_ns + delay_ns : 0;
            if (delay_ns > 0)
                break;
            used += ROW;
            changes++;
            written++;
            while (used - pinned - stubs - burying > limit / 16 * 15) {
                uint64_t value = ROW - STUB;
                pinned += runs ? value : 0;
                used -= runs ? 0 : value;
                stubs += STUB;
                changes++;
            }
        }
        most = used > most ? used : most;
        struct throttle_memory at = {now_ns, used, limit, true};
        if (!asked && step % 1000 == 0 && used > limit / 4 &&
            throttle_due(&throttle, &at, changes, changes * ROW)) {
            asked = true;
            begins_in = rand_r(&seed) % 300; /* until its thread has the processor */
        }
        if (asked && !runs && begins_in-- == 0) {
            throttle_begin(&throttle, &at, changes, changes * ROW);
            flushing = changes;
            burying = stubs;
            changes = done = stubs = 0;
            runs = true;
        } else if (runs) {
            done += 15 + rand_r(&seed) % 30;
            if (done < flushing) {
                throttle_written(&throttle, &at, done, flushing);
            } else {
                throttle_free(&throttle, &at);
                used -= pinned + burying;
                pinned = burying = 0;
                at.used = used;
                throttle_end(&throttle, &at, true);
                asked = runs = false;
            }
        }
    }
    if (most > limit)
        printf("as much as %.1f%% of the limit was used\n", 100.0 * (double)most / (double)limit);
    assert_true(most <= limit);
    /* Thirty rows a step are written by checkpoints, and each new one has another go: a third of that is. */
    assert_true(written > UINT64_C(10) * STEPS);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nobody_waits_without_a_checkpoint_and_without_debt),
        TEST(writers_share_what_is_left_until_memory_is_freed),
        TEST(writers_slow_down_while_a_checkpoint_is_not_seen),
        TEST(what_was_not_used_is_not_saved_up),
        TEST(a_checkpoint_that_is_slower_than_the_last_slows_writers_more),
        TEST(a_failed_checkpoint_measures_nothing_and_slows_nobody),
        TEST(a_small_checkpoint_measures_nothing),
        TEST(debt_slows_from_one_half_on),
        TEST(a_checkpoint_is_asked_for_when_writers_would_overtake_it),
        TEST(a_writer_that_is_too_fast_is_slowed_and_never_stopped),
        TEST(where_keys_are_evicted_each_checkpoint_has_half_as_much_to_do),
        TEST(where_keys_are_evicted_what_is_written_slowly_is_nothing_to_hurry_for),
        TEST(a_writer_that_has_keys_evicted_is_never_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
