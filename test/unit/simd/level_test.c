/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The choice of a level: of the best that the machine has, or of the one that PERIGEE_SIMD names.
 * What is chosen under a name is looked at in processes of their own: this program again, with an
 * argument, which prints the level in force.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "simd/simd.h"

/* Starts this program with PERIGEE_SIMD set to `name`; gives what it prints, and its status. */
static int level_under(const char *name, char *text, size_t size)
{
    int ends[2], status;

    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        setenv("PERIGEE_SIMD", name, 1);
        execl("/proc/self/exe", "level_test", "level", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *out = fdopen(ends[0], "r");
    assert_non_null(out);
    size_t length = fread(text, 1, size - 1, out);
    text[length] = '\0';
    fclose(out);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static enum simd_level best(void)
{
    enum simd_level level = SIMD_LEVEL_COUNT - 1;
    while (simd_kernels_of(level) == NULL)
        level--;
    return level;
}

static void a_machine_that_has_a_level_has_those_below(void **state)
{
    (void)state;
    assert_true(best() >= SIMD_SSE42);
    for (enum simd_level level = 0; level <= best(); level++) {
        assert_non_null(simd_kernels_of(level));
        assert_int_equal(simd_kernels_of(level)->level, level);
    }
}

static void a_level_that_is_named_is_the_one_that_runs(void **state)
{
    char text[256];

    (void)state;
    for (enum simd_level level = 0; level <= best(); level++) {
        assert_int_equal(level_under(simd_level_name(level), text, sizeof(text)), 0);
        assert_string_equal(text, simd_level_name(level));
    }
    assert_int_equal(level_under("", text, sizeof(text)), 0);
    assert_string_equal(text, simd_level_name(best()));
}

static void a_level_that_cannot_be_had_ends_the_program(void **state)
{
    char text[256];

    (void)state;
    assert_int_equal(level_under("avx3", text, sizeof(text)), 2);
    assert_string_equal(text, "PERIGEE_SIMD is 'avx3': one of scalar, sse4.2, avx2 and avx512\n");
    for (enum simd_level level = best() + 1; level < SIMD_LEVEL_COUNT; level++) {
        assert_int_equal(level_under(simd_level_name(level), text, sizeof(text)), 2);
        assert_non_null(strstr(text, "this machine does not have it"));
    }
}

static void names_lead_back_to_their_levels(void **state)
{
    (void)state;
    for (enum simd_level level = 0; level < SIMD_LEVEL_COUNT; level++)
        assert_int_equal(simd_level_of_name(simd_level_name(level)), level);
    assert_int_equal(simd_level_of_name("none"), SIMD_LEVEL_COUNT);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_that_has_a_level_has_those_below),
        cmocka_unit_test(a_level_that_is_named_is_the_one_that_runs),
        cmocka_unit_test(a_level_that_cannot_be_had_ends_the_program),
        cmocka_unit_test(names_lead_back_to_their_levels),
    };
    (void)argv;
    if (argc > 1) {
        printf("%s", simd_level_name(simd_active.level));
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
