/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_STORAGE_ENGINES_H
#define TEST_LIB_STORAGE_ENGINES_H

/*
 * Tests that run once for each engine that a space can have, so that one that comes joins by itself.
 *
 *     struct CMUnitTest tests[ENGINES_MAX + 1];
 *     unsigned count = engines_tests(tests, "rows come back", rows_come_back, NULL, NULL);
 *     return engines_run("spaces", tests, count);
 *
 * A test finds the engine's name in its state. TEST_ENGINE, the name of one, leaves out the others.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

enum { ENGINES_MAX = 8 };

/* The name of the nth engine that a space can have, "memory" first; NULL behind the last. */
const char *engines_name(unsigned n);

/* Whether all rows of its spaces are in memory. */
bool engines_resident(const char *name);

/* Whether its files change, where nobody reads: what a backup has of one is all of it. */
bool engines_changes_files(const char *name);

/* Puts a test for each engine into `out`, which has room for ENGINES_MAX, and returns how many there
 * are. The names live as long as the program. */
unsigned engines_tests(struct CMUnitTest *out, const char *name, CMUnitTestFunction test,
                       CMFixtureFunction setup, CMFixtureFunction teardown);

/* The same for several: all of them for one engine after the other. Returns cmocka's result. */
int engines_run_all(const char *group, const struct CMUnitTest *tests, unsigned count);

/* Runs them; cmocka's result. */
int engines_run(const char *group, const struct CMUnitTest *tests, unsigned count);

#endif
