/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: standard error is exchanged for a file, and the lines are read back from it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

enum { CAPTURE_MAX = 1 << 20 };

static char captured[CAPTURE_MAX];

/* Runs fn with standard error going to a file, and puts what arrived into `captured`. */
static void capture(void (*fn)(void))
{
    FILE *file = tmpfile();
    assert_non_null(file);
    int kept = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    fn();
    dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(file);
    size_t size = fread(captured, 1, sizeof(captured) - 1, file);
    captured[size] = '\0';
    fclose(file);
}

static int quiet(void **state)
{
    (void)state;
    log_level_set(LOG_INFO);
    return 0;
}

static void write_one_of_each(void)
{
    log_error("e%d", 1);
    log_warn("w%d", 2);
    log_info("i%d", 3);
    log_debug("d%d", 4);
}

static void lines_above_the_level_are_dropped(void **state)
{
    (void)state;
    capture(write_one_of_each);
    assert_non_null(strstr(captured, "e1\n"));
    assert_non_null(strstr(captured, "i3\n"));
    assert_null(strstr(captured, "d4"));
    log_level_set(LOG_ERROR);
    assert_int_equal(log_level_get(), LOG_ERROR);
    capture(write_one_of_each);
    assert_non_null(strstr(captured, "e1\n"));
    assert_null(strstr(captured, "w2"));
}

static void write_named(void)
{
    log_thread_name("worker-1");
    log_warn("hello");
}

static void a_line_has_time_level_and_thread(void **state)
{
    (void)state;
    capture(write_named);
    int year, month, day, hour, minute, second, ms, end = 0;
    int fields = sscanf(captured, "%d-%d-%dT%d:%d:%d.%dZ warn  worker-1: hello%n", &year, &month,
                        &day, &hour, &minute, &second, &ms, &end);
    assert_int_equal(fields, 7);
    assert_string_equal(captured + end, "\n");
}

static void write_nasty(void)
{
    log_info("one\ntwo\tthree\x7f");
}

static void a_line_stays_one_line_whatever_it_says(void **state)
{
    (void)state;
    capture(write_nasty);
    assert_non_null(strstr(captured, ": one?two?three?\n"));
    assert_ptr_equal(strchr(captured, '\n'), captured + strlen(captured) - 1);
}

static void write_long(void)
{
    char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_info("%s", text);
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    (void)state;
    capture(write_long);
    assert_int_equal(strlen(captured), 1024);
    assert_int_equal(captured[1023], '\n');
}

static void *write_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 500; i++)
        log_info("a line of some length, number %04d.", i);
    return NULL;
}

static void write_from_threads(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    capture(write_from_threads);
    int lines = 0;
    char *rest = NULL;
    for (char *line = strtok_r(captured, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest), lines++) {
        const char *text = strstr(line, "a line of some length, number ");
        assert_non_null(text);
        assert_int_equal(line[strlen(line) - 1], '.');
        assert_null(strstr(text + 1, "a line"));
    }
    assert_int_equal(lines, 4 * 500);
}

static void levels_have_names(void **state)
{
    (void)state;
    assert_int_equal(log_level_parse("error"), LOG_ERROR);
    assert_int_equal(log_level_parse("warn"), LOG_WARN);
    assert_int_equal(log_level_parse("info"), LOG_INFO);
    assert_int_equal(log_level_parse("debug"), LOG_DEBUG);
    assert_int_equal(log_level_parse("loud"), -1);
    assert_int_equal(log_level_parse(""), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lines_above_the_level_are_dropped, quiet),
        cmocka_unit_test_setup(a_line_has_time_level_and_thread, quiet),
        cmocka_unit_test_setup(a_line_stays_one_line_whatever_it_says, quiet),
        cmocka_unit_test_setup(a_long_line_is_cut_and_still_ends, quiet),
        cmocka_unit_test_setup(lines_of_several_threads_do_not_mix, quiet),
        cmocka_unit_test_setup(levels_have_names, quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
