/* SPDX-License-Identifier: Apache-2.0 */

/* The clock that a spec shares with its servers: two that have opened the same file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "server/test_clock.h"

#define HOUR_NS UINT64_C(3600000000000)

static char path[64];

static int make_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/perigee-clock-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    return unlink(path);
}

static int remove_path(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static uint64_t ns(struct test_clock *clock)
{
    return clock_monotonic_ns(&clock->base);
}

static void it_runs_with_the_systems_until_it_is_stopped(void **state)
{
    (void)state;
    struct test_clock clock;
    assert_int_equal(test_clock_make(&clock, path), 0);
    uint64_t system = clock_monotonic_ns(clock_system());
    assert_true(ns(&clock) >= system);
    uint64_t told = ns(&clock);
    assert_true(told <= clock_monotonic_ns(clock_system()));
    test_clock_stop(&clock);
    uint64_t stopped = ns(&clock), stopped_ms = clock_realtime_ms(&clock.base);
    while (clock_monotonic_ns(clock_system()) < stopped + 2000000)
        ;
    assert_int_equal(ns(&clock), stopped);
    assert_int_equal(clock_realtime_ms(&clock.base), stopped_ms);
    test_clock_close(&clock);
}

static void all_who_share_it_see_one_time(void **state)
{
    (void)state;
    struct test_clock one, other;
    assert_int_equal(test_clock_make(&one, path), 0);
    assert_int_equal(test_clock_open(&other, path), 0);
    test_clock_stop(&one);
    assert_int_equal(ns(&one), ns(&other));
    uint64_t before = ns(&one), before_ms = clock_realtime_ms(&one.base);
    test_clock_advance(&other, HOUR_NS);
    assert_int_equal(ns(&one), before + HOUR_NS);
    assert_int_equal(clock_realtime_ms(&one.base), before_ms + 3600000);
    assert_int_equal(clock_realtime_ms(&other.base), before_ms + 3600000);
    test_clock_close(&one);
    test_clock_close(&other);
}

static void it_never_goes_back(void **state)
{
    (void)state;
    struct test_clock clock;
    assert_int_equal(test_clock_make(&clock, path), 0);
    uint64_t last = ns(&clock), last_ms = clock_realtime_ms(&clock.base);
    for (int round = 0; round < 100; round++) {
        switch (round % 5) {
        case 0:
            test_clock_stop(&clock);
            break;
        case 1:
        case 3:
            test_clock_advance(&clock, HOUR_NS);
            assert_true(ns(&clock) >= last + HOUR_NS);
            break;
        case 2:
            test_clock_go(&clock);
            break;
        default:
            test_clock_go(&clock); /* once more does nothing */
        }
        assert_true(ns(&clock) >= last);
        last = ns(&clock);
        assert_true(clock_realtime_ms(&clock.base) >= last_ms);
        last_ms = clock_realtime_ms(&clock.base);
    }
    test_clock_close(&clock);
}

static void what_is_no_clock_is_refused(void **state)
{
    (void)state;
    struct test_clock clock;
    assert_int_equal(test_clock_open(&clock, path), ERROR_IO);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("something else", file);
    fclose(file);
    assert_int_equal(test_clock_open(&clock, path), ERROR_INVALID);
    assert_non_null(strstr(diag_message(), "is no clock of a test"));
    file = fopen(path, "w");
    assert_non_null(file);
    for (int n = 0; n < 48; n++)
        fputc('x', file);
    fclose(file);
    assert_int_equal(test_clock_open(&clock, path), ERROR_INVALID);
    assert_null(clock.time);
    assert_int_equal(test_clock_make(&clock, path), ERROR_IO); /* it exists */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_runs_with_the_systems_until_it_is_stopped, make_path,
                                        remove_path),
        cmocka_unit_test_setup_teardown(all_who_share_it_see_one_time, make_path, remove_path),
        cmocka_unit_test_setup_teardown(it_never_goes_back, make_path, remove_path),
        cmocka_unit_test_setup_teardown(what_is_no_clock_is_refused, make_path, remove_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
