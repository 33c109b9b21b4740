/* SPDX-License-Identifier: Apache-2.0 */
/* Datetimes: as the C library reads and writes them, where it can; and arithmetic on calendars. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "codec/datetime.h"
#include "codec/mp.h"

static struct random rng;

static struct datetime random_datetime(void)
{
    /* the years 1 to 9999, or all that there are */
    int64_t from = -INT64_C(62135596800), to = INT64_C(253402300799);
    if (random_below(&rng, 4) == 0) {
        from = DATETIME_SECONDS_MIN + 86400;
        to = DATETIME_SECONDS_MAX - 86400;
    }
    return (struct datetime){
        .seconds = from + (int64_t)random_below(&rng, (uint64_t)(to - from)),
        .nsec = (int32_t)(random_below(&rng, 2) ? random_below(&rng, 1000000000) : 0),
        .tzoffset = (int16_t)(random_below(&rng, 2) ? (int)random_below(&rng, 1561) - 720 : 0)};
}

static const char *printed(const struct datetime *value)
{
    static char texts[4][DATETIME_TEXT_MAX + 1];
    static unsigned next;
    char *text = texts[next++ % 4];
    assert_true(datetime_is_valid(value));
    text[datetime_print(value, text)] = '\0';
    return text;
}

static struct datetime parsed(const char *text)
{
    struct datetime value;
    assert_int_equal(datetime_parse(&value, text, strlen(text), 0, false), 0);
    return value;
}

static void fields_and_formats_are_those_of_the_c_library(void **state)
{
    static const char formats[] =
        "%a %A %b %B %C %d %D %e %F %g %G %h %H %I %j %k %l %m %M %n %p %r %R "
        "%S %t %T %u %U %V %w %W %x %X %y %Y %c %%";

    (void)state;
    for (int i = 0; i < 30000; i++) {
        struct datetime value = random_datetime();
        struct datetime_fields fields;
        time_t local = value.seconds + value.tzoffset * 60;
        struct tm expected;
        char text[512], other[512];
        size_t size;

        assert_non_null(gmtime_r(&local, &expected));
        datetime_split(&value, &fields);
        assert_int_equal(fields.year, expected.tm_year + INT64_C(1900));
        assert_int_equal(fields.month, expected.tm_mon + 1);
        assert_int_equal(fields.day, expected.tm_mday);
        assert_int_equal(fields.hour, expected.tm_hour);
        assert_int_equal(fields.min, expected.tm_min);
        assert_int_equal(fields.sec, expected.tm_sec);
        assert_int_equal(fields.wday, expected.tm_wday + 1);
        assert_int_equal(fields.yday, expected.tm_yday + 1);
        struct datetime back;
        assert_int_equal(datetime_join(&back, &fields, value.tzoffset), 0);
        assert_memory_equal(&back, &value, sizeof(value));
        if (fields.year < 1000 || fields.year > 9998)
            continue;
        assert_int_equal(
            datetime_format(&value, formats, sizeof(formats) - 1, text, sizeof(text), &size), 0);
        text[size] = '\0';
        assert_int_not_equal(strftime(other, sizeof(other), formats, &expected), 0);
        assert_string_equal(text, other);
    }
}

static void what_is_printed_is_parsed_to_the_same(void **state)
{
    (void)state;
    for (int i = 0; i < 30000; i++) {
        struct datetime value = random_datetime(), again;
        const char *text = printed(&value);
        size_t used;

        assert_int_equal(datetime_parse(&again, text, strlen(text), 0, false), 0);
        assert_memory_equal(&again, &value, sizeof(value));
        struct datetime_fields fields;
        datetime_split(&value, &fields);
        if (fields.year >= 0 && fields.year <= 9999 && value.nsec != 0) {
            assert_int_equal(datetime_scan(&again, text, strlen(text), "%FT%T.%f%z", 10, 0, &used),
                             0);
            assert_int_equal(used, strlen(text));
            assert_memory_equal(&again, &value, sizeof(value));
        }
        char bytes[DATETIME_MP_MAX];
        const char *at = bytes, *end = datetime_pack(bytes, &value);
        uint32_t size;
        int type;
        assert_true(mp_check_limited(&at, end) && at == end);
        at = bytes;
        const char *payload = mp_read_ext(&at, &type, &size);
        assert_true(datetime_unpack(&again, payload, size));
        assert_memory_equal(&again, &value, sizeof(value));
    }
}

static void texts_of_iso_8601_are_understood(void **state)
{
    static const char *const pairs[][2] = {
        {"1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"},
        {"2017-12-27T18:45:32.999999-05:00", "2017-12-27T18:45:32.999999-0500"},
        {"1970-01-01T03:00:00.125000000+0300", "1970-01-01T03:00:00.125+0300"},
        {"2020-02-29", "2020-02-29T00:00:00Z"},
        {"20200229", "2020-02-29T00:00:00Z"},
        {"20200229T2359", "2020-02-29T23:59:00Z"},
        {"20200229T235958,5Z", "2020-02-29T23:59:58.500Z"},
        {"2020-02-29 23", "2020-02-29T23:00:00Z"},
        {"2020-02-29t23:01 +01", "2020-02-29T23:01:00+0100"},
        {"-0001-01-01", "-0001-01-01T00:00:00Z"},
        {"12345-01-01", "12345-01-01T00:00:00Z"},
        {"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"},
        {"2020-01-01T00:00:00.1234567899Z", "2020-01-01T00:00:00.123456789Z"}};
    static const char *const wrong[] = {"",
                                        "2020",
                                        "2020-1-1",
                                        "2020-13-01",
                                        "2021-02-29",
                                        "2020-00-01",
                                        "2020-01-00",
                                        "2020-01-01T",
                                        "2020-01-01T24:00:00",
                                        "2020-01-01T00:60:00",
                                        "2020-01-01T00:00:61",
                                        "2020-01-01T00:00:00+15:00",
                                        "2020-01-01T00:00:00x",
                                        "2020-01-01T00:00:00Z ",
                                        "9999999-01-01",
                                        "2020-01-01T00:00:00.Z",
                                        "2020-01-01T00:00:00+1",
                                        "2020-01-01x00:00:00"};

    (void)state;
    for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        struct datetime value = parsed(pairs[i][0]);
        assert_string_equal(printed(&value), pairs[i][1]);
    }
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct datetime value;
        assert_int_equal(datetime_parse(&value, wrong[i], strlen(wrong[i]), 0, false),
                         ERROR_INVALID);
    }
    struct datetime value;
    assert_int_equal(datetime_parse(&value, "2020-02-29", 10, 0, true), ERROR_INVALID);
    assert_int_equal(datetime_parse(&value, "2020-02-29T10:00:00", 19, 0, true), ERROR_INVALID);
    assert_int_equal(datetime_parse(&value, "2020-02-29T10:00:00.5Z", 22, 0, true), 0);
    assert_int_equal(datetime_parse(&value, "2020-02-29T10:00:00", 19, 180, false), 0);
    assert_string_equal(printed(&value), "2020-02-29T10:00:00+0300");
}

static void formats_are_read(void **state)
{
    static const char *const cases[][3] = {
        {"Thu Jan  1 03:00:00 1970", "%c", "1970-01-01T03:00:00Z"},
        {"12/31/2020", "%m/%d/%Y", "2020-12-31T00:00:00Z"},
        {"12/31/68", "%m/%d/%y", "2068-12-31T00:00:00Z"},
        {"12/31/69", "%D", "1969-12-31T00:00:00Z"},
        {"2020 366", "%Y %j", "2020-12-31T00:00:00Z"},
        {"1 December 1999 11:30 pm", "%d %B %Y %I:%M %p", "1999-12-01T23:30:00Z"},
        {"12:00 AM", "%I:%M %p", "1970-01-01T00:00:00Z"},
        {"86400.25", "%s.%f", "1970-01-02T00:00:00.250Z"},
        {"10:00 UTC", "%R %Z", "1970-01-01T10:00:00Z"},
        {"100%", "%j%%", "1970-04-10T00:00:00Z"}};
    static const char *const wrong[][2] = {
        {"x", "%Y"},   {"2021 366", "%Y %j"}, {"13:00 AM", "%I:%M %p"},
        {"Foo", "%b"}, {"25", "%H"},          {"", "%d"}};
    struct datetime value;
    size_t used;

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(datetime_scan(&value, cases[i][0], strlen(cases[i][0]), cases[i][1],
                                       strlen(cases[i][1]), 0, &used),
                         0);
        assert_int_equal(used, strlen(cases[i][0]));
        assert_string_equal(printed(&value), cases[i][2]);
    }
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(datetime_scan(&value, wrong[i][0], strlen(wrong[i][0]), wrong[i][1],
                                       strlen(wrong[i][1]), 0, &used),
                         ERROR_INVALID);
    assert_int_equal(datetime_scan(&value, "1", 1, "%Q", 2, 0, &used), ERROR_UNSUPPORTED);
    assert_int_equal(datetime_scan(&value, "1", 1, "%", 1, 0, &used), ERROR_UNSUPPORTED);
    char text[8];
    assert_int_equal(datetime_format(&value, "%Q", 2, text, 8, &used), ERROR_UNSUPPORTED);
    assert_int_equal(datetime_format(&value, "%F", 2, text, 8, &used), ERROR_TOO_LARGE);
}

static const char *after(const char *text, struct interval interval, int sign)
{
    struct datetime value = parsed(text);
    assert_int_equal(datetime_add(&value, &value, &interval, sign), 0);
    return printed(&value);
}

static void months_are_added_with_each_adjustment(void **state)
{
    const struct interval none = {{[INTERVAL_MONTH] = 1}, INTERVAL_NONE};
    const struct interval last = {{[INTERVAL_MONTH] = 1}, INTERVAL_LAST};
    const struct interval excess = {{[INTERVAL_MONTH] = 1}, INTERVAL_EXCESS};
    const struct interval years = {{[INTERVAL_YEAR] = 1}, INTERVAL_NONE};

    (void)state;
    assert_string_equal(after("2020-02-29", none, 1), "2020-03-29T00:00:00Z");
    assert_string_equal(after("2020-02-29", last, 1), "2020-03-31T00:00:00Z");
    assert_string_equal(after("2020-02-28", last, 1), "2020-03-28T00:00:00Z");
    assert_string_equal(after("2020-01-31", excess, 1), "2020-03-02T00:00:00Z");
    assert_string_equal(after("2020-01-31", none, 1), "2020-02-29T00:00:00Z");
    assert_string_equal(after("2020-01-31", none, -1), "2019-12-31T00:00:00Z");
    assert_string_equal(after("2020-03-31", none, -1), "2020-02-29T00:00:00Z");
    assert_string_equal(after("2020-02-29", years, 1), "2021-02-28T00:00:00Z");
    assert_string_equal(after("0001-01-31", none, -1), "0000-12-31T00:00:00Z");
    /* in the calendar at the offset: there it is the 31st already */
    assert_string_equal(after("2020-01-31T01:00:00+0300", none, 1), "2020-02-29T01:00:00+0300");
    struct datetime value = parsed("5879611-07-11");
    assert_int_equal(datetime_add(&value, &value, &years, 1), ERROR_TOO_LARGE);
}

static void a_difference_leads_from_one_to_the_other(void **state)
{
    (void)state;
    for (int i = 0; i < 30000; i++) {
        struct datetime a = random_datetime(), b = random_datetime(), sum;
        struct interval difference;

        datetime_subtract(&difference, &a, &b);
        assert_true(interval_is_valid(&difference));
        assert_int_equal(datetime_add(&sum, &b, &difference, 1), 0);
        assert_int_equal(datetime_compare(&sum, &a), 0);
        char bytes[INTERVAL_MP_MAX], text[INTERVAL_TEXT_MAX];
        const char *at = bytes, *end = interval_pack(bytes, &difference);
        struct interval again;
        uint32_t size;
        int type;
        assert_true(mp_check_limited(&at, end) && at == end);
        at = bytes;
        const char *payload = mp_read_ext(&at, &type, &size);
        assert_true(interval_unpack(&again, payload, size));
        assert_memory_equal(&again, &difference, sizeof(again));
        assert_true(interval_print(&difference, text) <= sizeof(text));
    }
}

static void intervals_are_written_as_their_parts(void **state)
{
    static const struct {
        struct interval interval;
        const char *text;
    } cases[] = {
        {{{0}, 0}, "0 seconds"},
        {{{[INTERVAL_YEAR] = 1, [INTERVAL_MONTH] = 6}, 1}, "+1 years, +6 months"},
        {{{[INTERVAL_DAY] = -1}, 1}, "-1 days"},
        {{{[INTERVAL_SEC] = 1, [INTERVAL_NSEC] = -500000000}, 1}, "+0.500000000 seconds"},
        {{{[INTERVAL_SEC] = -1, [INTERVAL_NSEC] = 500000000}, 1}, "-0.500000000 seconds"},
        {{{[INTERVAL_SEC] = -1, [INTERVAL_NSEC] = -5}, 1}, "-1.000000005 seconds"},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[INTERVAL_TEXT_MAX + 1];
        text[interval_print(&cases[i].interval, text)] = '\0';
        assert_string_equal(text, cases[i].text);
    }
    /* year 1, month -1, adjust none: as Tarantool writes it */
    char bytes[INTERVAL_MP_MAX];
    struct interval interval = {{[INTERVAL_YEAR] = 1, [INTERVAL_MONTH] = -1}, INTERVAL_NONE};
    assert_int_equal(interval_pack(bytes, &interval) - bytes, 10);
    assert_memory_equal(bytes, "\xc7\x07\x06\x03\x00\x01\x01\xff\x08\x01", 10);
    interval.field[INTERVAL_NSEC] = INT32_MAX;
    struct interval sum;
    assert_int_equal(interval_add(&sum, &interval, &interval, 1), 0);
    assert_int_equal(sum.field[INTERVAL_SEC], 4);
    interval.field[INTERVAL_YEAR] = 11759221;
    assert_int_equal(interval_add(&sum, &interval, &interval, 1), ERROR_TOO_LARGE);
}

static void malformed_bytes_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } intervals[] = {{"", 0},
                     {"\x01", 1},
                     {"\x01\x00", 2},
                     {"\x01\x09\x01", 3},
                     {"\x00\x00", 2},
                     {"\x01\x08\x03", 3},
                     {"\x01\xff\x01", 3},
                     {"\x01\x00\xce\x7f\xff\xff\xff", 7},
                     {"\x01\x00\xc0", 3}};
    struct interval interval;
    struct datetime value;
    char bytes[16] = {0};

    (void)state;
    for (unsigned i = 0; i < sizeof(intervals) / sizeof(intervals[0]); i++)
        assert_false(interval_unpack(&interval, intervals[i].bytes, intervals[i].size));
    assert_true(datetime_unpack(&value, bytes, 16));
    assert_false(datetime_unpack(&value, bytes, 12));
    bytes[11] = 0x7f; /* too many nanoseconds */
    assert_false(datetime_unpack(&value, bytes, 16));
    bytes[11] = 0;
    bytes[13] = 0x7f; /* too far from UTC */
    assert_false(datetime_unpack(&value, bytes, 16));
    bytes[13] = 0;
    bytes[7] = 0x7f; /* too far in the future */
    assert_false(datetime_unpack(&value, bytes, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_and_formats_are_those_of_the_c_library),
        cmocka_unit_test(what_is_printed_is_parsed_to_the_same),
        cmocka_unit_test(texts_of_iso_8601_are_understood),
        cmocka_unit_test(formats_are_read),
        cmocka_unit_test(months_are_added_with_each_adjustment),
        cmocka_unit_test(a_difference_leads_from_one_to_the_other),
        cmocka_unit_test(intervals_are_written_as_their_parts),
        cmocka_unit_test(malformed_bytes_are_refused),
    };

    random_create(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
