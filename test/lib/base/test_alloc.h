/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_BASE_TEST_ALLOC_H
#define TEST_LIB_BASE_TEST_ALLOC_H

/*
 * Allocations that belong to a test and not to what it tests: they neither count nor fail where
 * allocations are made to fail (alloc/alloc_fault.h). For the calling thread; calls nest.
 */
#include <stdbool.h>

void test_alloc_begin(void);
void test_alloc_end(void);

/* Whether the calling thread is between the two. */
bool test_alloc_is_own(void);

#endif
