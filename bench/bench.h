/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

/*
 * What the micro-benchmarks share: the clock they measure by, the form in which they print, and a
 * database in a directory of its own.
 *
 * Every figure is CPU time of the measuring thread, not time that passed: other programs on the
 * machine change it less, and what the log's thread does is not in it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"

/* Nanoseconds of CPU that the calling thread has used. */
static inline double bench_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* One line: the name and nanoseconds for each of `count` operations begun at `start_ns`. */
static inline void bench_print(const char *name, double start_ns, uint64_t count)
{
    printf("%-40s %9.1f ns\n", name, (bench_cpu_ns() - start_ns) / (double)count);
    fflush(stdout);
}

/* Ends the program when `rc` is an error. */
static inline void bench_check(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s: %s\n", what, diag_message_for(rc));
    exit(1);
}

/* Makes a directory from a template that ends with XXXXXX, and removes it with what is in it. */
static inline void bench_dir_create(char *dir)
{
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        exit(1);
    }
}

static inline void bench_dir_remove(const char *dir)
{
    char command[1024];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    if (system(command) != 0)
        fprintf(stderr, "%s was not removed\n", dir);
}

/* Keeps the compiler from leaving out work whose result nobody uses. */
static inline void bench_use(const void *pointer)
{
    __asm__ volatile("" : : "r"(pointer) : "memory");
}

#endif
