/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where random tests begin. The first call decides, under pthread_once, so threads may ask as well.
 */
#include "base/test_seed.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"

static uint64_t seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void seed_choose(void)
{
    const char *text = getenv("PERIGEE_SEED");
    seed = text != NULL ? strtoull(text, NULL, 0) : random_seed();
    printf("PERIGEE_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
}

uint64_t test_seed(void)
{
    pthread_once(&seed_once, seed_choose);
    return seed;
}
