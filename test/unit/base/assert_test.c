/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assertions: one that fails says where and ends the process by SIGABRT, one that holds does
 * nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

/* What the child does that asserts. Never returns. */
static _Noreturn void fail_in_child(int output)
{
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    dup2(output, STDERR_FILENO);
    int two = 2;
    ASSERT(two == 3);
    _exit(0);
}

static void a_failed_assertion_says_where_and_aborts(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        fail_in_child(ends[1]);
    close(ends[1]);
    char text[1024];
    size_t size = 0;
    ssize_t part;
    while (size < sizeof(text) - 1 &&
           (part = read(ends[0], text + size, sizeof(text) - 1 - size)) > 0)
        size += (size_t)part;
    text[size] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "assertion failed: two == 3"));
    assert_non_null(strstr(text, "assert_test.c"));
    assert_non_null(strstr(text, "fail_in_child"));
}

static void an_assertion_that_holds_evaluates_once(void **state)
{
    (void)state;
    int count = 0;
    ASSERT(++count == 1);
    assert_int_equal(count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_assertion_says_where_and_aborts),
        cmocka_unit_test(an_assertion_that_holds_evaluates_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
