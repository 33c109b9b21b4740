/* SPDX-License-Identifier: Apache-2.0 */

/* Moments as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "server/moment.h"

static const uint64_t NS = 1000000000, NOON = UINT64_C(1795262400); /* 2026-11-21T12:00:00Z */

static void assert_time(const char *text, uint64_t time_ns)
{
    uint64_t ts, found;
    if (moment_parse(text, &ts, &found) != 0)
        fail_msg("%s: %s", text, diag_message());
    assert_int_equal(ts, 0);
    assert_int_equal(found, time_ns);
}

static void times_are_utc_unless_they_say_an_offset(void **state)
{
    (void)state;
    assert_time("2026-11-21T12:00:00Z", NOON * NS);
    assert_time("2026-11-21 12:00", NOON * NS);
    assert_time("2026-11-21T12:00:00.25Z", NOON * NS + NS / 4);
    assert_time("2026-11-21T14:30:00+02:30", NOON * NS);
    assert_time("2026-11-21T07:00-0500", NOON * NS);
    assert_time("1970-01-01T00:00:01Z", NS);
}

static void seconds_have_a_sign_before_them(void **state)
{
    (void)state;
    assert_time("@1795262400", NOON * NS);
    assert_time("@1795262400.5", NOON * NS + NS / 2);
}

static void a_bare_number_is_a_timestamp(void **state)
{
    (void)state;
    uint64_t ts, time_ns;
    assert_int_equal(moment_parse("48213", &ts, &time_ns), 0);
    assert_int_equal(ts, 48213);
    assert_int_equal(time_ns, 0);
}

static void all_else_is_refused_in_words(void **state)
{
    static const char *const WRONG[] = {"",
                                        "yesterday",
                                        "0",
                                        "-5",
                                        "12x",
                                        "@",
                                        "@x",
                                        "@5x",
                                        "2026-11-21",
                                        "2026-13-21T12:00Z",
                                        "2026-11-21T25:00Z",
                                        "2026-11-21T12:00:00+25:00",
                                        "2026-11-21T12:00:00Zulu",
                                        "1969-01-01T00:00:00Z",
                                        "99999999999999999999999"};
    (void)state;
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        uint64_t ts, time_ns;
        if (moment_parse(WRONG[i], &ts, &time_ns) != ERROR_INVALID)
            fail_msg("'%s' was taken", WRONG[i]);
        assert_non_null(strstr(diag_message(), "is no moment"));
    }
}

static void what_is_printed_can_be_read(void **state)
{
    (void)state;
    char text[MOMENT_TEXT_MAX + 1];
    moment_format(NOON * NS + 123 * (NS / 1000), text);
    assert_string_equal(text, "2026-11-21T12:00:00.123Z");
    assert_time(text, NOON * NS + 123 * (NS / 1000));
    moment_format(0, text);
    assert_string_equal(text, "an unknown time");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_utc_unless_they_say_an_offset),
        cmocka_unit_test(seconds_have_a_sign_before_them),
        cmocka_unit_test(a_bare_number_is_a_timestamp),
        cmocka_unit_test(all_else_is_refused_in_words),
        cmocka_unit_test(what_is_printed_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
