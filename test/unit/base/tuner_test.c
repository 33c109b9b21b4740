/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tuner: knobs follow given readings between their limits, come to rest, are counted with their reason,
 * and stay where they are when it is off. A model whose latency depends on the knob shows that it finds its
 * band.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/tuner.h"

static const uint64_t S = 1000000000;

/* What is measured is what the test says. */
struct bench {
    double value;
    bool quiet;
    uint64_t set; /* the last one; 0: none */
    unsigned looks;
};

static bool measure(void *arg, struct tuner_reading *out)
{
    struct bench *bench = arg;
    bench->looks++;
    *out = (struct tuner_reading){.what = "a step takes",
                                  .unit = "ms",
                                  .value = bench->value,
                                  .low = 2,
                                  .high = 10,
                                  .above = -1,
                                  .below = 1};
    return !bench->quiet;
}

static void set(void *arg, uint64_t value)
{
    ((struct bench *)arg)->set = value;
}

static struct tuner_knob knob_of(struct bench *bench, uint64_t step)
{
    return (struct tuner_knob){.name = "step",
                               .unit = "bytes",
                               .min = 10,
                               .max = 100,
                               .step = step,
                               .value = 40,
                               .measure = measure,
                               .set = set,
                               .arg = bench};
}

static void a_knob_moves_when_the_reading_has_been_outside_long_enough(void **state)
{
    (void)state;
    struct tuner tuner;
    struct bench bench = {.value = 1};
    struct tuner_knob knob = knob_of(&bench, 15);
    tuner_create(&tuner, true);
    tuner_join(&tuner, &knob);
    for (unsigned s = 1; s < TUNER_PATIENCE; s++)
        tuner_tick(&tuner, s * S);
    assert_int_equal(bench.set, 0);
    tuner_tick(&tuner, TUNER_PATIENCE * S);
    assert_int_equal(bench.set, 55);
    assert_int_equal(knob.value, 55);
    assert_int_equal(knob.ups, 1);
    assert_string_equal(knob.reason, "a step takes 1 ms, below 2");
    for (unsigned s = 4; s < 60; s++)
        tuner_tick(&tuner, s * S);
    assert_int_equal(knob.value, 100); /* and no further */
    assert_int_equal(knob.ups, 4);
    assert_int_equal(knob.downs, 0);
    tuner_leave(&tuner, &knob);
    tuner_destroy(&tuner);
}

static void it_looks_once_a_second_and_not_at_all_when_it_is_off(void **state)
{
    (void)state;
    struct tuner tuner;
    struct bench bench = {.value = 50};
    struct tuner_knob knob = knob_of(&bench, 15);
    tuner_create(&tuner, false);
    tuner_join(&tuner, &knob);
    for (unsigned s = 1; s < 20; s++)
        tuner_tick(&tuner, s * S);
    assert_int_equal(bench.looks, 0);
    assert_int_equal(knob.value, 40);
    tuner_switch(&tuner, true);
    for (unsigned ms = 0; ms < 3000; ms++)
        tuner_tick(&tuner, 100 * S + ms * (S / 1000));
    assert_int_equal(bench.looks, 3);
    assert_int_equal(knob.value, 25);
    assert_int_equal(knob.downs, 1);
    tuner_switch(&tuner, false);
    for (unsigned s = 200; s < 300; s++)
        tuner_tick(&tuner, s * S);
    assert_int_equal(knob.value, 25);
    tuner_leave(&tuner, &knob);
    tuner_destroy(&tuner);
}

static int decide(struct tuner_knob *knob, double value)
{
    struct bench bench = {.value = value};
    struct tuner_reading reading;
    measure(&bench, &reading);
    return tuner_decide(knob, &reading);
}

static void a_knob_outside_of_its_limits_is_brought_within_when_it_is_on(void **state)
{
    (void)state;
    struct tuner tuner;
    struct bench bench = {.quiet = true};
    struct tuner_knob knob = knob_of(&bench, 15);
    tuner_create(&tuner, false);
    tuner_join(&tuner, &knob);
    assert_true(tuner_limit(&tuner, "step", 50, 60));
    assert_false(tuner_limit(&tuner, "stride", 50, 60));
    tuner_tick(&tuner, 1 * S);
    assert_int_equal(bench.set, 0);
    tuner_switch(&tuner, true);
    tuner_tick(&tuner, 2 * S);
    assert_int_equal(bench.set, 50);
    assert_int_equal(knob.ups, 1);
    assert_string_equal(knob.reason, "its limits are 50 and 60");
    tuner_limit(&tuner, "step", 10, 20);
    tuner_tick(&tuner, 3 * S);
    assert_int_equal(bench.set, 20);
    assert_int_equal(knob.downs, 1);
    bench.set = 0;
    tuner_tick(&tuner, 4 * S);
    assert_int_equal(bench.set, 0);
    tuner_leave(&tuner, &knob);
    tuner_destroy(&tuner);
}

/* A knob may go by one thing now and by another the next time. */
static void readings_that_call_for_different_ways_are_not_counted_together(void **state)
{
    (void)state;
    struct bench bench = {.value = 0};
    struct tuner_knob knob = knob_of(&bench, 15);
    const struct tuner_reading
        up = {.what = "debt", .unit = "%", .value = 9, .high = 5, .above = 1},
        down = {.what = "time", .unit = "s", .value = 9, .high = 5, .above = -1};
    knob.patience = TUNER_PATIENCE;
    for (unsigned n = 1; n < TUNER_PATIENCE; n++)
        assert_int_equal(tuner_decide(&knob, &up), 0);
    for (unsigned n = 1; n < TUNER_PATIENCE; n++)
        assert_int_equal(tuner_decide(&knob, &down), 0);
    assert_int_equal(tuner_decide(&knob, &down), -1);
}

static void single_readings_and_such_within_the_band_change_nothing(void **state)
{
    (void)state;
    struct bench bench = {.value = 1};
    struct tuner_knob knob = knob_of(&bench, 1);
    knob.patience = TUNER_PATIENCE;
    for (unsigned n = 0; n < 100; n++) {
        assert_int_equal(decide(&knob, 99), 0);
        assert_int_equal(decide(&knob, 99), 0);
        assert_int_equal(decide(&knob, n % 2 ? 5 : 0.1), 0);
        assert_int_equal(decide(&knob, 2), 0);
        assert_int_equal(decide(&knob, 10), 0);
    }
    assert_int_equal(knob.value, 40);
}

static void without_a_step_it_doubles_and_halves(void **state)
{
    (void)state;
    struct bench bench = {.value = 1};
    struct tuner_knob knob = knob_of(&bench, 0);
    knob.patience = TUNER_PATIENCE;
    for (unsigned n = 0; n < TUNER_PATIENCE; n++)
        decide(&knob, 0.5);
    assert_int_equal(knob.value, 80);
    for (unsigned n = 0; n < 2 * TUNER_PATIENCE; n++)
        decide(&knob, 50);
    assert_int_equal(knob.value, 40);
    for (unsigned n = 0; n < 100; n++)
        decide(&knob, 50);
    assert_int_equal(knob.value, 10);
}

/* It goes on in the same way at once, and back more and more slowly. */
static void one_that_swings_comes_to_rest(void **state)
{
    (void)state;
    struct bench bench = {.value = 1};
    struct tuner_knob knob = knob_of(&bench, 10);
    knob.patience = TUNER_PATIENCE;
    unsigned looks[12], count = 0;
    for (unsigned n = 1; count < 6; n++) /* it overshoots with each step */
        if (decide(&knob, knob.value > 40 ? 50 : 0.5) != 0) {
            looks[count++] = n;
            n = 0;
        }
    assert_int_equal(looks[0], TUNER_PATIENCE);
    for (unsigned n = 1; n < 5; n++)
        assert_int_equal(looks[n], TUNER_PATIENCE << n);
    for (unsigned n = 0; n < 2 * TUNER_PATIENCE_MAX; n++)
        decide(&knob, 5);
    assert_int_equal(knob.patience, TUNER_PATIENCE);
}

/* What is measured depends on the knob: twice the step takes twice the time. */
static void it_finds_the_band_from_both_ends_and_stays(void **state)
{
    (void)state;
    for (uint64_t from = 10; from <= 100; from += 90) {
        struct bench bench = {.value = 0};
        struct tuner_knob knob = knob_of(&bench, 5);
        knob.patience = TUNER_PATIENCE;
        knob.value = from;
        uint64_t settled = 0;
        for (unsigned n = 0; n < 1000; n++) {
            decide(&knob, (double)knob.value / 8 - 1); /* 2 to 10 ms: 24 to 88 */
            if (n == 500)
                settled = knob.value;
        }
        assert_true(settled >= 24 && settled <= 88);
        assert_int_equal(knob.value, settled);
    }
}

static void without_a_measurement_a_knob_stays(void **state)
{
    (void)state;
    struct tuner tuner;
    struct bench bench = {.value = 50, .quiet = true};
    struct tuner_knob knob = knob_of(&bench, 15);
    tuner_create(&tuner, true);
    tuner_join(&tuner, &knob);
    for (unsigned s = 1; s < 20; s++)
        tuner_tick(&tuner, s * S);
    assert_int_equal(bench.looks, 19);
    assert_int_equal(bench.set, 0);
    tuner_leave(&tuner, &knob);
    tuner_destroy(&tuner);
}

int main(void)
{
    log_level_set(LOG_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_knob_moves_when_the_reading_has_been_outside_long_enough),
        cmocka_unit_test(it_looks_once_a_second_and_not_at_all_when_it_is_off),
        cmocka_unit_test(a_knob_outside_of_its_limits_is_brought_within_when_it_is_on),
        cmocka_unit_test(readings_that_call_for_different_ways_are_not_counted_together),
        cmocka_unit_test(single_readings_and_such_within_the_band_change_nothing),
        cmocka_unit_test(without_a_step_it_doubles_and_halves),
        cmocka_unit_test(one_that_swings_comes_to_rest),
        cmocka_unit_test(it_finds_the_band_from_both_ends_and_stays),
        cmocka_unit_test(without_a_measurement_a_knob_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
