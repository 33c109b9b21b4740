/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_DATA_H
#define BENCH_DATA_H

/*
 * Rows for the benchmarks of engines: data of which half is noise, so that it shrinks to about half
 * as db_bench's does, and numbers in an order that looks random.
 */
#include <stdint.h>
#include <string.h>

#include "base/random.h"

enum { DATA_BYTES = 100, DATA_NOISE_BYTES = 1 << 20 };

static char data_noise[DATA_NOISE_BYTES];

/* Before the first data_make. */
static inline void data_noise_make(void)
{
    struct random random;
    random_create(&random, 1);
    for (size_t i = 0; i < sizeof data_noise; i++)
        data_noise[i] = (char)random_below(&random, 256);
}

/* Numbers in random order without one twice: each step can be undone. */
static inline uint64_t data_scatter(uint64_t number)
{
    number ^= number >> 31;
    number *= UINT64_C(0x9e3779b97f4a7c15);
    number ^= number >> 29;
    number *= UINT64_C(0xbf58476d1ce4e5b9);
    return number ^ number >> 32;
}

/* DATA_BYTES, the same for the same number. */
static inline void data_make(uint64_t number, char *out)
{
    memset(out, 'd', DATA_BYTES);
    memcpy(out, data_noise + data_scatter(number) % (sizeof data_noise - DATA_BYTES),
           DATA_BYTES / 2);
}

#endif
