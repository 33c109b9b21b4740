/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clocks: the manual one moves only when told, the system's never goes back, seen by any thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <pthread.h>

#include "base/clock.h"

static void a_manual_clock_moves_only_when_told(void **state)
{
    (void)state;
    struct clock_manual manual;
    clock_manual_create(&manual, 1000);
    assert_int_equal(clock_realtime_ms(&manual.base), 1000);
    assert_int_equal(clock_monotonic_ns(&manual.base), 0);
    clock_manual_advance_ms(&manual, 25);
    assert_int_equal(clock_realtime_ms(&manual.base), 1025);
    assert_int_equal(clock_monotonic_ns(&manual.base), 25000000);
    assert_int_equal(clock_realtime_ms(&manual.base), 1025);
}

static void the_system_clock_tells_plausible_times(void **state)
{
    (void)state;
    uint64_t year_2020_ms = 1577836800000u, year_2200_ms = 7258118400000u;
    uint64_t now_ms = clock_realtime_ms(clock_system());
    assert_true(now_ms > year_2020_ms && now_ms < year_2200_ms);
    assert_ptr_equal(clock_system(), clock_system());
}

static void *watch_clock(void *went_back)
{
    struct clock *clock = clock_system();
    uint64_t last_ms = 0, last_ns = 0;
    for (int i = 0; i < 20000; i++) {
        uint64_t ms = clock_realtime_ms(clock), ns = clock_monotonic_ns(clock);
        if (ms < last_ms || ns < last_ns)
            *(int *)went_back = 1;
        last_ms = ms;
        last_ns = ns;
    }
    return NULL;
}

static void the_system_clock_never_goes_back_on_any_thread(void **state)
{
    (void)state;
    pthread_t threads[4];
    int went_back[4] = {0};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, watch_clock, &went_back[i]), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(went_back[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manual_clock_moves_only_when_told),
        cmocka_unit_test(the_system_clock_tells_plausible_times),
        cmocka_unit_test(the_system_clock_never_goes_back_on_any_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
