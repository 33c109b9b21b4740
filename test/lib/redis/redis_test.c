/* SPDX-License-Identifier: Apache-2.0 */

/* See redis_test.h. */
#include "redis/redis_test.h"

struct redis_fixture *fixture;

int redis_setup(void **state)
{
    (void)state;
    fixture = redis_fixture_new();
    return 0;
}

int redis_teardown(void **state)
{
    (void)state;
    redis_fixture_delete(fixture);
    return 0;
}
