/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequences of random operations and their shrinking: Zeller and Hildebrandt, "Simplifying and
 * Isolating Failure-Inducing Input" (2002), without its complements of small parts: parts of half
 * the length, a quarter, and so on down to single operations are left out as long as the rest still
 * fails, again and again until nothing more can be left out; then single operations are made simpler.
 */
#include "base/model.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

enum { TRIES_MAX = 4000 };

bool model_differs(struct model_report *report, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(report->text, sizeof report->text, format, arguments);
    va_end(arguments);
    return false;
}

/* cmocka catches these, and would go on with the next test in the child. */
static void signals_default(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};
    for (unsigned n = 0; n < sizeof numbers / sizeof *numbers; n++)
        signal(numbers[n], SIG_DFL);
}

/* In a child; what it reports comes back through memory that both see. */
static bool run_apart(const struct model_test *test, const void *ops, size_t count,
                      struct model_report *report)
{
    struct model_report *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(shared != MAP_FAILED);
    shared->text[0] = 0;
    fflush(NULL);
    pid_t child = fork();
    ASSERT(child >= 0);
    if (child == 0) {
        signals_default();
        _exit(test->run(ops, count, shared, test->arg) ? 0 : 1);
    }
    int status = 0;
    pid_t ended = waitpid(child, &status, 0);
    ASSERT(ended == child);
    bool right = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    *report = *shared;
    if (!right && WIFSIGNALED(status))
        model_differs(report, "the process died of signal %d", WTERMSIG(status));
    munmap(shared, sizeof *shared);
    return right;
}

static bool run_once(const struct model_test *test, const void *ops, size_t count,
                     struct model_report *report)
{
    struct model_report now = {{0}};
    bool right =
        test->apart ? run_apart(test, ops, count, &now) : test->run(ops, count, &now, test->arg);
    if (!right)
        *report = now;
    return right;
}

/* Leaves out parts of `size` operations while the rest fails. Returns the new count. */
static size_t leave_out(const struct model_test *test, unsigned char *ops, size_t count,
                        size_t size, unsigned *tries, struct model_report *report)
{
    size_t bytes = test->op_bytes;
    unsigned char *rest = malloc(count * bytes);
    ASSERT(rest != NULL);
    for (size_t at = count; at > 0 && *tries > 0;) {
        size_t part = at < size ? at : size;
        at -= part;
        memcpy(rest, ops, at * bytes);
        memcpy(rest + at * bytes, ops + (at + part) * bytes, (count - at - part) * bytes);
        (*tries)--;
        if (!run_once(test, rest, count - part, report)) {
            count -= part;
            memcpy(ops, rest, count * bytes);
        }
    }
    free(rest);
    return count;
}

static void simplify(const struct model_test *test, unsigned char *ops, size_t count,
                     unsigned *tries, struct model_report *report)
{
    unsigned char *before = malloc(test->op_bytes);
    ASSERT(before != NULL);
    for (size_t n = 0; n < count; n++) {
        unsigned char *op = ops + n * test->op_bytes;
        for (unsigned way = 0; *tries > 0; way++) {
            memcpy(before, op, test->op_bytes);
            if (!test->op_simplify(op, way, test->arg)) {
                memcpy(op, before, test->op_bytes);
                break;
            }
            (*tries)--;
            if (run_once(test, ops, count, report))
                memcpy(op, before, test->op_bytes);
        }
    }
    free(before);
}

size_t model_shrink(const struct model_test *test, void *ops, size_t count,
                    struct model_report *report)
{
    unsigned tries = TRIES_MAX;
    for (size_t before = count + 1; count < before && tries > 0;) {
        before = count;
        for (size_t size = count / 2 > 0 ? count / 2 : 1; size > 0 && tries > 0; size /= 2)
            count = leave_out(test, ops, count, size, &tries, report);
    }
    if (test->op_simplify != NULL)
        simplify(test, ops, count, &tries, report);
    return count;
}

static void failure_print(const struct model_test *test, uint64_t seed, const unsigned char *ops,
                          size_t count, size_t before, const struct model_report *report)
{
    printf("PERIGEE_SEED=%llu: %s\nafter %zu operations (of %zu):\n", (unsigned long long)seed,
           report->text[0] ? report->text : "failed", count, before);
    for (size_t n = 0; n < count; n++) {
        printf("%6zu  ", n);
        test->op_print(stdout, ops + n * test->op_bytes, test->arg);
        printf("\n");
    }
    fflush(stdout);
}

static bool sequence_check(const struct model_test *test, uint64_t seed, unsigned char *ops,
                           size_t ops_max)
{
    struct random random;
    struct model_report report = {{0}};
    random_create(&random, seed);
    size_t count = 1 + (size_t)random_below(&random, ops_max);
    memset(ops, 0, count * test->op_bytes);
    for (size_t n = 0; n < count; n++)
        test->op_choose(&random, ops + n * test->op_bytes, test->arg);
    if (run_once(test, ops, count, &report))
        return true;
    size_t few = model_shrink(test, ops, count, &report);
    failure_print(test, seed, ops, few, count, &report);
    return false;
}

bool model_check(const struct model_test *test, uint64_t seed, unsigned sequences, size_t ops_max)
{
    unsigned char *ops = malloc(ops_max * test->op_bytes);
    ASSERT(ops != NULL);
    bool right = true;
    for (unsigned n = 0; right && n < sequences; n++)
        right = sequence_check(test, seed + n, ops, ops_max);
    free(ops);
    return right;
}
