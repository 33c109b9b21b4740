/* SPDX-License-Identifier: Apache-2.0 */
/* The line that shows how far something long has come (server/progress.h). That it is on terminals only is in
 * test/lua-client/progress_spec.lua. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "server/progress.h"

static const uint64_t SECOND_NS = 1000 * 1000 * 1000;

static void assert_line(const char *unit, const char *what, uint64_t done, uint64_t total,
                        uint64_t ns, const char *expected)
{
    struct progress progress = {.unit = unit};
    char line[PROGRESS_LINE_MAX];
    snprintf(progress.what, sizeof progress.what, "%s", what);
    progress_line(line, &progress, done, total, ns);
    assert_string_equal(line, expected);
}

static void part_rate_and_time_left(void **state)
{
    (void)state;
    assert_line("B", "backup", 45000000, 100000000, SECOND_NS / 2,
                "backup   45% [#########...........]  90.0 MB/s  1 s left");
    assert_line("B", "log", 1, 1000, SECOND_NS,
                "log    0% [....................]  1.0 B/s  16:39 left");
    assert_line("B", "log", 10, 100000, SECOND_NS,
                "log    0% [....................]  10.0 B/s  2:46:39 left");
    assert_line("B", "log", 3000000000, 4000000000, SECOND_NS,
                "log   75% [###############.....]  3.0 GB/s  0 s left");
    assert_line("parts", "repair", 3, 4, 2 * SECOND_NS,
                "repair   75% [###############.....]  1.5 parts/s  1 s left");
}

static void at_either_end(void **state)
{
    (void)state;
    assert_line("B", "backup", 0, 5, 0, "backup    0% [....................]  0.0 B/s");
    assert_line("B", "backup", 5, 5, SECOND_NS, "backup  100% [####################]  5.0 B/s");
    assert_line("B", "backup", 7, 5, SECOND_NS, "backup  100% [####################]  7.0 B/s");
}

static void the_longest_of_all_has_room(void **state)
{
    struct progress progress = {.unit = "parts"};
    char line[PROGRESS_LINE_MAX];
    (void)state;
    memset(progress.what, 'w', sizeof progress.what - 1);
    progress_line(line, &progress, UINT64_MAX - 1, UINT64_MAX, 1);
    assert_true(strlen(line) < PROGRESS_LINE_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(part_rate_and_time_left),
        cmocka_unit_test(at_either_end),
        cmocka_unit_test(the_longest_of_all_has_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
