/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_REDIS_TEST_H
#define TEST_LIB_REDIS_TEST_H

/* The database of a program that tests commands, for each test anew; the names are short since each
 * line of a test has them. */
#include "redis/redis_fixture.h"

extern struct redis_fixture *fixture;

int redis_setup(void **state);
int redis_teardown(void **state);

#define expect(reply, ...) assert_string_equal(redis_fixture_run(fixture, __VA_ARGS__), reply)

#endif
