/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_BASE_TEST_SEED_H
#define TEST_LIB_BASE_TEST_SEED_H

/*
 * The seed of a random test: PERIGEE_SEED of the environment, else one from the system. It is
 * printed at the first call, so that a failure can be run again.
 */
#include <stdint.h>

uint64_t test_seed(void);

#endif
