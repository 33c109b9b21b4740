/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crash points: the armed one kills, at the pass that was asked for, and nothing else does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crash_point.h"
#include "base/error.h"
#include "base/log.h"

enum { THREADS = 4, PASSES = 10000 };

/* In a process of its own: arms `text`, passes two points `passes` times and ends with `passes`.
 * Returns how it ended, as waitpid tells. */
static int child_run(const char *text, int passes)
{
    pid_t child = fork();
    if (child == 0) {
        log_level_set(LOG_ERROR);
        if (crash_point_arm(text) != 0)
            _exit(255);
        for (int n = 0; n < passes; n++) {
            crash_point("wal.block.flushed");
            crash_point("wal.block.before");
        }
        _exit(passes);
    }
    int status = 0;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void expect_killed(int status)
{
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void expect_lived(int status, int passes)
{
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), passes);
}

static void nothing_happens_while_nothing_is_armed(void **state)
{
    (void)state;
    expect_lived(child_run(NULL, 3), 3);
    expect_lived(child_run("", 3), 3);
    expect_lived(child_run("checkpoint.unlink", 3), 3);
}

static void the_armed_point_kills_at_the_pass_that_was_asked_for(void **state)
{
    (void)state;
    expect_killed(child_run("wal.block.before", 1));
    expect_killed(child_run("wal.block.flushed:1", 1));
    expect_lived(child_run("wal.block.flushed:3", 2), 2);
    expect_killed(child_run("wal.block.flushed:3", 3));
}

static void names_and_passes_that_do_not_exist_are_refused(void **state)
{
    (void)state;
    assert_int_equal(crash_point_arm("wal.block"), ERROR_INVALID);
    assert_int_equal(crash_point_arm("wal.block.before:0"), ERROR_INVALID);
    assert_int_equal(crash_point_arm("wal.block.before:"), ERROR_INVALID);
    assert_int_equal(crash_point_arm("wal.block.before:2x"), ERROR_INVALID);
    assert_false(crash_point_armed_now("wal.block.before"));
}

static void every_listed_name_can_be_armed_and_is_told_once(void **state)
{
    (void)state;
    unsigned count = 0;
    for (const char *name; (name = crash_point_name(count)) != NULL; count++) {
        for (unsigned other = 0; other < count; other++)
            assert_string_not_equal(name, crash_point_name(other));
        assert_int_equal(crash_point_arm(name), 0);
        assert_true(crash_point_armed_now(name));
        assert_false(crash_point_armed_now(name));
    }
    assert_true(count > 0);
    assert_int_equal(crash_point_arm(NULL), 0);
}

static void *pass_often(void *arg)
{
    unsigned *told = arg;
    for (int n = 0; n < PASSES; n++)
        *told += crash_point_armed_now("merge.run.written");
    return NULL;
}

static void one_of_several_threads_is_the_one(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    unsigned told[THREADS] = {0}, sum = 0;
    assert_int_equal(crash_point_arm("merge.run.written:20000"), 0);
    for (int n = 0; n < THREADS; n++)
        assert_int_equal(pthread_create(&threads[n], NULL, pass_often, &told[n]), 0);
    for (int n = 0; n < THREADS; n++) {
        pthread_join(threads[n], NULL);
        sum += told[n];
    }
    assert_int_equal(sum, 1);
    assert_int_equal(crash_point_arm(NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_happens_while_nothing_is_armed),
        cmocka_unit_test(the_armed_point_kills_at_the_pass_that_was_asked_for),
        cmocka_unit_test(names_and_passes_that_do_not_exist_are_refused),
        cmocka_unit_test(every_listed_name_can_be_armed_and_is_told_once),
        cmocka_unit_test(one_of_several_threads_is_the_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
