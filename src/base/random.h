/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

/*
 * A small fast generator (xoshiro256**, Blackman and Vigna 2018, seeded by splitmix64), for jitter,
 * tests and benchmarks. Not for secrets. One object a thread.
 */
#include <stdint.h>

struct random {
    uint64_t state[4];
};

/* The same seed gives the same numbers on every machine. */
void random_create(struct random *random, uint64_t seed);

/* Uniform over all 64-bit numbers. */
uint64_t random_next(struct random *random);

/* Uniform in [0, bound); bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);

/* A seed from the system. */
uint64_t random_seed(void);

#endif
