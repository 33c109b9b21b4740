/* SPDX-License-Identifier: Apache-2.0 */
/* Whose allocations these are: a depth for each thread. */
#include "base/test_alloc.h"

static _Thread_local unsigned depth;

void test_alloc_begin(void)
{
    depth++;
}

void test_alloc_end(void)
{
    depth--;
}

bool test_alloc_is_own(void)
{
    return depth > 0;
}
