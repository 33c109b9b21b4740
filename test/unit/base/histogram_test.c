/* SPDX-License-Identifier: Apache-2.0 */

/* Buckets lie one behind the other, and percentiles are right within a quarter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/histogram.h"

static void every_bucket_begins_where_the_one_before_it_ends(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket(0), 0);
    for (unsigned bucket = 0; bucket + 1 < HISTOGRAM_BUCKETS; bucket++) {
        uint64_t end = histogram_bucket_end_ns(bucket);
        assert_int_equal(histogram_bucket(end - 1), bucket);
        assert_int_equal(histogram_bucket(end), bucket + 1);
    }
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    assert_true(histogram_bucket_end_ns(HISTOGRAM_BUCKETS - 1) == UINT64_MAX);
}

static void a_quantile_is_at_most_a_quarter_too_long(void **state)
{
    (void)state;
    struct histogram histogram = {0};
    for (uint64_t n = 1; n <= 1000; n++)
        histogram_add(&histogram, n * 10000);
    for (unsigned percent = 1; percent <= 100; percent++) {
        uint64_t exact = percent * 100000, told = histogram_quantile_ns(&histogram, percent / 100.);
        assert_true(told >= exact);
        assert_true(told <= exact + exact / 4 + 1);
    }
    assert_int_equal(histogram.count, 1000);
    assert_int_equal(histogram.max_ns, 10000000);
    assert_int_equal(histogram.total_ns, 5005000000);
}

static void an_empty_histogram_has_no_quantile(void **state)
{
    (void)state;
    const struct histogram histogram = {0};
    assert_int_equal(histogram_quantile_ns(&histogram, 0.99), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bucket_begins_where_the_one_before_it_ends),
        cmocka_unit_test(a_quantile_is_at_most_a_quarter_too_long),
        cmocka_unit_test(an_empty_histogram_has_no_quantile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
