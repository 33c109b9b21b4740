/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_TEST_CLOCK_H
#define SERVER_TEST_CLOCK_H

/*
 * The time of a spec: one clock that the process which runs it and the servers that it starts share
 * through a file. It runs as the system's does until it is stopped, and can be moved on at any
 * moment; everybody sees the same time at once. Neither of its times ever goes back.
 */
#include "base/clock.h"

struct test_time;

struct test_clock {
    struct clock base;
    struct test_time *time; /* shared memory; NULL: not open */
};

/* Makes the file and opens it. ERROR_IO with diagnostics. */
int test_clock_make(struct test_clock *clock, const char *path);

/* Opens what test_clock_make has made. ERROR_IO, or ERROR_INVALID when it is no such file. */
int test_clock_open(struct test_clock *clock, const char *path);

/* Nobody uses the clock any more. Does nothing when it is not open. */
void test_clock_close(struct test_clock *clock);

/* It stands still; it goes on from where it stands. For all who share it. */
void test_clock_stop(struct test_clock *clock);
void test_clock_go(struct test_clock *clock);

/* Both times move on by so much, whether it stands or runs. */
void test_clock_advance(struct test_clock *clock, uint64_t by_ns);

#endif
