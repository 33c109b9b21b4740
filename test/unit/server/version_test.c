/* SPDX-License-Identifier: Apache-2.0 */
/* `perigee version`, of the real executable, names what is in use on this machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "simd/simd.h"

static void version_of(const char *level, char *text, size_t size)
{
    char command[1024];

    assert_non_null(getenv("TEST_PERIGEE"));
    snprintf(command, sizeof(command), "PERIGEE_DIR=/nowhere PERIGEE_SIMD=%s '%s' version", level,
             getenv("TEST_PERIGEE"));
    FILE *out = popen(command, "r");
    assert_non_null(out);
    size_t length = fread(text, 1, size - 1, out);
    text[length] = '\0';
    assert_int_equal(pclose(out), 0);
}

static void the_level_of_kernels_is_the_one_asked_for(void **state)
{
    char text[1024], line[64];

    (void)state;
    for (enum simd_level level = 0; level < SIMD_LEVEL_COUNT; level++) {
        if (simd_kernels_of(level) == NULL)
            continue;
        version_of(simd_level_name(level), text, sizeof(text));
        snprintf(line, sizeof(line), "kernels  %s\n", simd_level_name(level));
        assert_non_null(strstr(text, line));
    }
}

static void a_folder_that_is_not_there_is_said_to_be_unknown(void **state)
{
    char text[1024];

    (void)state;
    version_of("", text, sizeof(text));
    assert_non_null(strstr(text, "files    not known before the folder of the database exists\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_level_of_kernels_is_the_one_asked_for),
        cmocka_unit_test(a_folder_that_is_not_there_is_said_to_be_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
