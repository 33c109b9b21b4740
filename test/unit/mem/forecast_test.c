/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forecast: a straight line is found and continued, what is old is forgotten, and advice follows
 * the time that is left. Times are said, not taken.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>
#include <string.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "mem/forecast.h"

static const uint64_t S = 1000000000, MB = 1 << 20;

/* So many samples by the second from `from` on, with so many bytes more each. */
static uint64_t grow(struct forecast *forecast, uint64_t from_s, unsigned count, uint64_t bytes,
                     int64_t step)
{
    for (unsigned i = 0; i < count; i++)
        forecast_add(forecast, (from_s + i) * S, bytes + (uint64_t)(i * step));
    return bytes + (uint64_t)((count - 1) * step);
}

static struct forecast_view view(const struct forecast *forecast, uint64_t bytes, uint64_t limit)
{
    struct forecast_view out;
    forecast_view(forecast, bytes, limit, &out);
    return out;
}

static void a_steady_growth_is_continued(void **state)
{
    (void)state;
    struct forecast forecast = {.count = 0};
    uint64_t now = grow(&forecast, 1000, 60, 100 * MB, (int64_t)MB);
    struct forecast_view seen = view(&forecast, now, now + 90 * MB);
    assert_int_equal(seen.samples, 60);
    assert_true(fabs(seen.trend - (double)MB) < 1);
    assert_true(seen.fit > 0.999);
    for (unsigned n = 0; n < FORECAST_AHEAD; n++)
        assert_true(fabs((double)seen.ahead[n] - (double)(now + forecast_ahead_s[n] * MB)) < 1000);
    assert_true(fabs(seen.limit_s - 90) < 0.01);
}

static void advice_follows_the_time_that_is_left(void **state)
{
    (void)state;
    struct forecast forecast = {.count = 0};
    uint64_t now = grow(&forecast, 1, 30, 100 * MB, (int64_t)MB);
    assert_int_equal(view(&forecast, now, 0).advice, FORECAST_CALM); /* no limit */
    assert_true(view(&forecast, now, 0).limit_s < 0);
    assert_int_equal(view(&forecast, now, now + 121 * MB).advice, FORECAST_CALM);
    assert_int_equal(view(&forecast, now, now + 119 * MB).advice, FORECAST_WATCH);
    assert_int_equal(view(&forecast, now, now + 59 * MB).advice, FORECAST_SOON);
    assert_int_equal(view(&forecast, now, now + 29 * MB).advice, FORECAST_NOW);
    assert_int_equal(view(&forecast, now, now).advice, FORECAST_OVER);
    for (int advice = FORECAST_UNKNOWN; advice <= FORECAST_OVER; advice++)
        assert_true(strlen(forecast_advice_text(advice)) > 10);
}

static void with_few_samples_there_is_no_trend(void **state)
{
    (void)state;
    struct forecast forecast = {.count = 0};
    struct forecast_view none = view(&forecast, 5 * MB, 10 * MB);
    assert_int_equal(none.advice, FORECAST_UNKNOWN);
    assert_int_equal(none.ahead[2], 5 * MB);
    grow(&forecast, 1, FORECAST_SAMPLES_MIN - 1, MB, (int64_t)MB);
    assert_int_equal(view(&forecast, 5 * MB, 6 * MB).advice, FORECAST_UNKNOWN);
    assert_true(view(&forecast, 5 * MB, 6 * MB).trend == 0);
    assert_int_equal(view(&forecast, 7 * MB, 6 * MB).advice, FORECAST_OVER);
}

static void shrinking_leads_to_no_limit_and_not_below_nothing(void **state)
{
    (void)state;
    struct forecast forecast = {.count = 0};
    uint64_t now = grow(&forecast, 1, 50, 60 * MB, -(int64_t)MB);
    struct forecast_view seen = view(&forecast, now, 100 * MB);
    assert_true(seen.trend < 0 && seen.limit_s < 0);
    assert_int_equal(seen.advice, FORECAST_CALM);
    assert_int_equal(seen.ahead[0], 0);
}

static void what_is_older_than_two_minutes_is_forgotten(void **state)
{
    (void)state;
    struct forecast forecast = {.count = 0};
    grow(&forecast, 1, 200, 100 * MB, 10 * (int64_t)MB);
    uint64_t now = grow(&forecast, 201, 121, 50 * MB, 0);
    struct forecast_view seen = view(&forecast, now, 1000 * MB);
    assert_int_equal(seen.samples, FORECAST_SAMPLES_MAX);
    assert_true(fabs(seen.trend) < 1);
    forecast_add(&forecast, 10000 * S, MB); /* after a long rest */
    assert_int_equal(view(&forecast, MB, 0).samples, 1);
}

static void more_than_one_a_second_and_time_that_goes_back_count_once(void **state)
{
    (void)state;
    struct forecast forecast = {.count = 0};
    for (unsigned i = 0; i < 100; i++)
        forecast_add(&forecast, 10 * S + i * (S / 10), i * MB);
    assert_int_equal(view(&forecast, 0, 0).samples, 10);
    forecast_add(&forecast, 5 * S, 7);
    assert_int_equal(view(&forecast, 0, 0).samples, 10);
}

static void noise_does_not_hide_the_trend(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    struct forecast forecast = {.count = 0};
    for (unsigned i = 0; i < 120; i++)
        forecast_add(&forecast, (1 + i) * S, 100 * MB + i * MB + random_below(&random, 4 * MB));
    struct forecast_view seen = view(&forecast, 220 * MB, 0);
    /* The worst that noise of four can do to a line through 120 points is far below this. */
    assert_true(seen.trend > 0.9 * (double)MB && seen.trend < 1.1 * (double)MB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_growth_is_continued),
        cmocka_unit_test(advice_follows_the_time_that_is_left),
        cmocka_unit_test(with_few_samples_there_is_no_trend),
        cmocka_unit_test(shrinking_leads_to_no_limit_and_not_below_nothing),
        cmocka_unit_test(what_is_older_than_two_minutes_is_forgotten),
        cmocka_unit_test(more_than_one_a_second_and_time_that_goes_back_count_once),
        cmocka_unit_test(noise_does_not_hide_the_trend),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
