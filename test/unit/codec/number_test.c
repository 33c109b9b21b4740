/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as text: exact, shortest, in the layout that Redis replies with. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "codec/number.h"

static struct random rng;

static void assert_double_written(double value, const char *expected)
{
    char text[NUMBER_TEXT_MAX + 1];

    text[number_write_double(text, value)] = '\0';
    assert_string_equal(text, expected);
}

static void assert_int_written(int64_t value)
{
    char text[NUMBER_TEXT_MAX + 1], expected[NUMBER_TEXT_MAX];
    int64_t back;
    size_t size = number_write_int(text, value);

    text[size] = '\0';
    snprintf(expected, sizeof(expected), "%" PRId64, value);
    assert_string_equal(text, expected);
    assert_true(number_read_int(text, size, &back));
    assert_true(back == value);
}

static void integers_of_every_width_are_written_and_read_back(void **state)
{
    char text[NUMBER_TEXT_MAX + 1];

    (void)state;
    for (uint64_t power = 1; power < 1000000000000000000ull; power *= 10) {
        assert_int_written((int64_t)power - 1);
        assert_int_written((int64_t)power);
        assert_int_written(-(int64_t)power);
    }
    for (int i = 0; i < 100000; i++)
        assert_int_written((int64_t)(random_next(&rng) >> random_below(&rng, 64)));
    assert_int_written(INT64_MAX);
    assert_int_written(INT64_MIN);
    text[number_write_uint(text, UINT64_MAX)] = '\0';
    assert_string_equal(text, "18446744073709551615");
}

static void text_that_is_no_plain_integer_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      "01",
                                      "-0",
                                      "-01",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "0x1",
                                      "a",
                                      "--1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999"};
    int64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(number_read_int(bad[i], strlen(bad[i]), &value));
}

static void doubles_have_the_form_that_redis_gives_them(void **state)
{
    (void)state;
    assert_double_written(0.0, "0");
    assert_double_written(-0.0, "-0");
    assert_double_written(3.0, "3");
    assert_double_written(-17.5, "-17.5");
    assert_double_written(0.1, "0.1");
    assert_double_written(1.0 / 3, "0.3333333333333333");
    assert_double_written(1e6 + 0.25, "1000000.25");
    assert_double_written(0x1p52, "4503599627370496");
    assert_double_written(1e21, "1e+21");
    assert_double_written(123456789012345680000.0, "123456789012345680000");
    assert_double_written(0.000001, "0.000001");
    assert_double_written(1.5e-10, "1.5e-10");
    assert_double_written(5e-324, "5e-324");
    assert_double_written(1.7976931348623157e308, "1.7976931348623157e+308");
    assert_double_written(INFINITY, "inf");
    assert_double_written(-INFINITY, "-inf");
    assert_double_written(NAN, "nan");
}

static void every_double_is_read_back_as_itself(void **state)
{
    char text[NUMBER_TEXT_MAX + 1];

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = random_next(&rng);
        double value;
        memcpy(&value, &bits, 8);
        if (!isfinite(value))
            continue;
        size_t size = number_write_double(text, value);
        assert_true(size <= NUMBER_TEXT_MAX);
        text[size] = '\0';
        assert_true(strtod(text, NULL) == value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_of_every_width_are_written_and_read_back),
        cmocka_unit_test(text_that_is_no_plain_integer_is_refused),
        cmocka_unit_test(doubles_have_the_form_that_redis_gives_them),
        cmocka_unit_test(every_double_is_read_back_as_itself),
    };

    random_create(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
