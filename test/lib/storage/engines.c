/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/engines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/engine.h"

static const struct engine_vtab *offered(unsigned n)
{
    const struct engine_vtab *engine;
    for (unsigned i = 0; (engine = engine_at(i)) != NULL; i++)
        if ((engine->flags & (ENGINE_DURABLE | ENGINE_NOT_OFFERED)) == ENGINE_DURABLE && n-- == 0)
            return engine;
    return NULL;
}

const char *engines_name(unsigned n)
{
    const struct engine_vtab *engine = offered(n);
    return engine == NULL ? NULL : engine->name;
}

bool engines_resident(const char *name)
{
    const struct engine_vtab *engine = engine_find(name, strlen(name));
    assert_non_null(engine);
    return (engine->flags & ENGINE_RESIDENT) != 0;
}

bool engines_changes_files(const char *name)
{
    const struct engine_vtab *engine = engine_find(name, strlen(name));
    assert_non_null(engine);
    return (engine->flags & ENGINE_CHANGES_FILES) != 0;
}

enum { NAMES_MAX = 512, NAME_BYTES = 160 };

/* The test with the engine in its name and as its state. */
static struct CMUnitTest test_with(struct CMUnitTest test, const char *engine)
{
    static char names[NAMES_MAX][NAME_BYTES];
    static unsigned used;
    assert_true(used < NAMES_MAX);
    char *name = names[used++];
    snprintf(name, NAME_BYTES, "%s [%s]", test.name, engine);
    test.name = name;
    test.initial_state = (void *)(uintptr_t)engine;
    return test;
}

static bool is_left_out(const char *engine)
{
    const char *only = getenv("TEST_ENGINE");
    return only != NULL && strcmp(only, engine) != 0;
}

unsigned engines_tests(struct CMUnitTest *out, const char *name, CMUnitTestFunction test,
                       CMFixtureFunction setup, CMFixtureFunction teardown)
{
    const struct CMUnitTest one = {
        .name = name, .test_func = test, .setup_func = setup, .teardown_func = teardown};
    const char *engine;
    unsigned count = 0;
    for (unsigned n = 0; n < ENGINES_MAX && (engine = engines_name(n)) != NULL; n++)
        if (!is_left_out(engine))
            out[count++] = test_with(one, engine);
    return count;
}

int engines_run_all(const char *group, const struct CMUnitTest *tests, unsigned count)
{
    struct CMUnitTest *all = calloc((size_t)count * ENGINES_MAX + 1, sizeof *all);
    const char *engine;
    unsigned made = 0;
    assert_non_null(all);
    for (unsigned n = 0; n < ENGINES_MAX && (engine = engines_name(n)) != NULL; n++)
        for (unsigned i = 0; i < count && !is_left_out(engine); i++)
            all[made++] = test_with(tests[i], engine);
    int failed = engines_run(group, all, made);
    free(all);
    return failed;
}

int engines_run(const char *group, const struct CMUnitTest *tests, unsigned count)
{
    return _cmocka_run_group_tests(group, tests, count, NULL, NULL);
}
