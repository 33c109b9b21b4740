/* SPDX-License-Identifier: Apache-2.0 */
/* Time zones: what the C library shows by the same files, over all of them; and damaged files. */
#include <pthread.h>
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
#include "codec/zone_names.h"

static struct random rng;

static struct datetime parsed(const char *text)
{
    struct datetime value;
    assert_int_equal(datetime_parse(&value, text, strlen(text), 0, false), 0);
    return value;
}

static const char *printed(const struct datetime *value)
{
    static char text[DATETIME_TEXT_MAX + 1];
    text[datetime_print(value, text)] = '\0';
    return text;
}

static void offsets_are_those_of_the_c_library(void **state)
{
    (void)state;
    for (int i = 0; i < zone_names_count(); i++) {
        const struct zone *zone = zone_of(ZONE_NUMBER_FIRST + i);
        assert_non_null(zone);
        setenv("TZ", zone_name(ZONE_NUMBER_FIRST + i), 1);
        tzset();
        for (int n = 0; n < 200; n++) {
            /* the years 1800 to 2500: before the first change, among them, by the rule */
            time_t at = INT64_C(-5364662400) + (time_t)random_below(&rng, UINT64_C(22090000000));
            struct tm expected;
            assert_non_null(localtime_r(&at, &expected));
            struct zone_time found = zone_at(zone, at);
            int minutes = (int)(expected.tm_gmtoff / 60);
            if (minutes < DATETIME_OFFSET_MIN || minutes > DATETIME_OFFSET_MAX)
                continue; /* local mean time near the line where dates change */
            if (found.tzoffset != minutes || found.is_summer != (expected.tm_isdst > 0))
                fail_msg("%s at %lld: %d minutes, not %d", zone_name(ZONE_NUMBER_FIRST + i),
                         (long long)at, found.tzoffset, minutes);
            int64_t local = at + minutes * 60;
            assert_int_equal(zone_instant(zone, local, minutes), at);
            assert_true(zone_instant(zone, local, INT16_MAX) <= at);
        }
    }
    unsetenv("TZ");
    tzset();
}

static void an_hour_that_is_twice_is_the_first_and_one_that_is_not_is_later(void **state)
{
    (void)state;
    struct datetime value = parsed("2021-10-31T02:30:00 Europe/Berlin");
    assert_int_equal(value.tzoffset, 120);
    assert_true(datetime_is_summer(&value));
    value.seconds += 3600; /* the second: its name would lead to the first */
    assert_int_equal(datetime_move(&value, datetime_zone_of(&value)), 0);
    assert_string_equal(printed(&value), "2021-10-31T02:30:00+0100");
    value = parsed("2021-03-28T02:30:00 Europe/Berlin");
    assert_string_equal(printed(&value), "2021-03-28T03:30:00 Europe/Berlin");
    /* the rule at the file's end */
    value = parsed("2500-07-01 00:00:00 Europe/Berlin");
    assert_int_equal(value.tzoffset, 120);
    value = parsed("2500-01-01 00:00:00 America/New_York");
    assert_int_equal(value.tzoffset, -300);
    value = parsed("5879611-07-10T00:00:00 Australia/Sydney");
    assert_int_equal(value.tzoffset, 600);
}

static void days_are_of_the_calendar_and_hours_pass(void **state)
{
    const struct interval day = {{[INTERVAL_DAY] = 1}, INTERVAL_NONE};
    const struct interval hours = {{[INTERVAL_HOUR] = 24}, INTERVAL_NONE};
    const struct interval both = {{[INTERVAL_MONTH] = 1, [INTERVAL_HOUR] = 3}, INTERVAL_LAST};
    struct datetime start = parsed("2021-10-30T12:00:00 Europe/Berlin"), value;

    (void)state;
    assert_int_equal(datetime_add(&value, &start, &day, 1), 0);
    assert_string_equal(printed(&value), "2021-10-31T12:00:00 Europe/Berlin");
    assert_int_equal(value.seconds - start.seconds, 25 * 3600);
    assert_int_equal(datetime_add(&value, &start, &hours, 1), 0);
    assert_string_equal(printed(&value), "2021-10-31T11:00:00 Europe/Berlin");
    start = parsed("2021-02-28T00:30:00 Europe/Berlin");
    assert_int_equal(datetime_add(&value, &start, &both, 1), 0);
    assert_string_equal(printed(&value), "2021-03-31T03:30:00 Europe/Berlin");
    assert_int_equal(value.tzoffset, 120);
    assert_int_equal(datetime_add(&value, &value, &both, -1), 0);
    assert_string_equal(printed(&value), "2021-02-28T00:30:00 Europe/Berlin");
}

static void a_difference_in_a_zone_leads_from_one_to_the_other(void **state)
{
    (void)state;
    for (int i = 0; i < 30000; i++) {
        struct datetime pair[2], sum, again;
        struct interval difference;
        for (int n = 0; n < 2; n++) {
            pair[n] = (struct datetime){.seconds = INT64_C(-2208988800) +
                                                   (int64_t)random_below(&rng, 8000000000)};
            int zone = ZONE_NUMBER_FIRST + (int)random_below(&rng, (uint64_t)zone_names_count());
            assert_int_equal(datetime_move(&pair[n], DATETIME_NAMED + zone), 0);
            const char *text = printed(&pair[n]);
            assert_int_equal(datetime_parse(&again, text, strlen(text), 0, false), 0);
            assert_int_equal(datetime_compare(&again, &pair[n]), 0);
            assert_int_equal(again.tzoffset, pair[n].tzoffset);
        }
        datetime_subtract(&difference, &pair[0], &pair[1]);
        assert_true(interval_is_valid(&difference));
        assert_int_equal(datetime_add(&sum, &pair[1], &difference, 1), 0);
        assert_int_equal(datetime_compare(&sum, &pair[0]), 0);
    }
}

/* Where the days alone would lead beyond all of time. */
static void a_difference_in_a_zone_has_no_edges(void **state)
{
    (void)state;
    for (int i = 0; i < 30000; i++) {
        struct datetime pair[2], sum;
        struct interval difference;
        for (int n = 0; n < 2; n++) {
            int64_t days = (int64_t)random_below(&rng, 3 * 86400);
            int zone = ZONE_NUMBER_FIRST + (int)random_below(&rng, (uint64_t)zone_names_count());
            pair[n] = (struct datetime){.seconds = random_below(&rng, 2) == 0
                                                       ? DATETIME_SECONDS_MIN + days
                                                       : DATETIME_SECONDS_MAX - days};
            assert_int_equal(datetime_move(&pair[n], DATETIME_NAMED + zone), 0);
        }
        datetime_subtract(&difference, &pair[0], &pair[1]);
        assert_int_equal(datetime_add(&sum, &pair[1], &difference, 1), 0);
        assert_int_equal(datetime_compare(&sum, &pair[0]), 0);
    }
}

static void names_lead_to_no_other_file(void **state)
{
    static const char *const wrong[] = {"../../../etc/passwd",
                                        "Europe/../Europe/Moscow",
                                        "/usr/share/zoneinfo/Europe/Moscow",
                                        "Europe/Moscow/",
                                        "europe/moscow",
                                        "posix/Europe/Moscow",
                                        "Europe",
                                        "tzdata.zi",
                                        ""};
    struct datetime value = {.seconds = 1, .tzoffset = 60, .tzindex = 947};
    int zone;

    (void)state;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(datetime_zone(wrong[i], strlen(wrong[i]), &zone));
    assert_true(datetime_zone("Europe/Moscow", 13, &zone));
    assert_int_equal(datetime_move(&value, zone), 0);
    assert_int_equal(value.tzoffset, 180);
    assert_int_equal(datetime_move(&value, DATETIME_NAMED + 947), ERROR_NOT_FOUND);
    /* somebody else's number stays, and the offset is what counts */
    value.tzindex = 947;
    assert_string_equal(printed(&value), "1970-01-01T03:00:01+0300");
    assert_int_equal(datetime_zone_of(&value), 180);
    for (int i = 0; i < zone_names_count(); i++) {
        const char *name = zone_name(ZONE_NUMBER_FIRST + i);
        assert_int_equal(zone_number(name, strlen(name)), ZONE_NUMBER_FIRST + i);
    }
    /* stored numbers: these may never change */
    assert_int_equal(zone_number("Africa/Abidjan", 14), 2001);
    assert_int_equal(zone_number("Zulu", 4), ZONE_NUMBER_FIRST + zone_names_count() - 1);
}

static void *ask_all(void *out)
{
    long sum = 0;
    for (int i = 0; i < zone_names_count(); i++)
        sum += zone_at(zone_of(ZONE_NUMBER_FIRST + i), 1600000000).tzoffset;
    *(long *)out = sum;
    return NULL;
}

static void threads_read_rules_at_the_same_time(void **state)
{
    pthread_t threads[4];
    long sums[4];
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_all, &sums[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(sums[i], sums[0]);
    }
}

static size_t read_berlin(char *data)
{
    FILE *file = fopen("/usr/share/zoneinfo/Europe/Berlin", "rb");
    assert_non_null(file);
    size_t size = fread(data, 1, ZONE_FILE_MAX, file);
    fclose(file);
    return size;
}

static void damaged_files_are_refused_or_answer(void **state)
{
    static char data[ZONE_FILE_MAX];
    size_t size = read_berlin(data);
    struct zone *zone;

    (void)state;
    assert_int_equal(zone_new(&zone, data, size), 0);
    assert_int_equal(zone_at(zone, 1600000000).tzoffset, 120);
    zone_delete(zone);
    for (size_t cut = 0; cut < size; cut++) {
        char *copy = malloc(cut + 1); /* the sanitizer sees what is read beyond */
        memcpy(copy, data, cut);
        assert_int_equal(zone_new(&zone, copy, cut), ERROR_INVALID);
        free(copy);
    }
    for (int i = 0; i < 20000; i++) {
        char *copy = malloc(size);
        memcpy(copy, data, size);
        for (int n = 0; n < 3; n++)
            copy[random_below(&rng, size)] = (char)random_below(&rng, 256);
        if (zone_new(&zone, copy, size) == 0) {
            zone_at(zone, (int64_t)random_below(&rng, UINT64_C(1) << 40));
            zone_delete(zone);
        }
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_read_rules_at_the_same_time),
        cmocka_unit_test(offsets_are_those_of_the_c_library),
        cmocka_unit_test(an_hour_that_is_twice_is_the_first_and_one_that_is_not_is_later),
        cmocka_unit_test(days_are_of_the_calendar_and_hours_pass),
        cmocka_unit_test(a_difference_in_a_zone_leads_from_one_to_the_other),
        cmocka_unit_test(a_difference_in_a_zone_has_no_edges),
        cmocka_unit_test(names_lead_to_no_other_file),
        cmocka_unit_test(damaged_files_are_refused_or_answer),
    };
    random_create(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
