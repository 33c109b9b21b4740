/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scene is played by this program started again with two arguments, "--play" or "--without" and
 * the scene's name, and tells its outcome by its exit code. Whatever else it ends with, by an
 * assertion or a signal, is a failure of the test.
 */
#include "mutation/scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_HOLDS = 0, EXIT_FOUND = 42 };

enum mutation mutation_active;
void (*mutation_point)(enum mutation_at at);

#define RULE(name, rule, text) [MUTATION_##name] = {#name, rule, text},
static const struct {
    const char *name;
    int rule;
    const char *text;
} mutations[MUTATION_MAX] = {MUTATION_LIST(RULE)};

static enum mutation_at step_at;
static void (*step_next)(void);
static unsigned passed;

static void on_point(enum mutation_at at)
{
    if (at != step_at)
        return;
    passed++;
    void (*step)(void) = step_next;
    step_next = NULL;
    if (step != NULL)
        step();
}

void scene_at(enum mutation_at at, void (*step)(void))
{
    step_at = at;
    step_next = step;
    passed = 0;
    mutation_point = on_point;
}

unsigned scene_passed(void)
{
    return passed;
}

void scene_found(const char *what)
{
    printf("    found: %s\n", what);
    fflush(stdout);
    _exit(EXIT_FOUND);
}

static const struct scene *scene_find(const struct scene *scenes, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(scenes[i].name, name) == 0)
            return &scenes[i];
    return NULL;
}

static int play(const struct scene *scene, bool without)
{
    mutation_active = without ? scene->mutation : MUTATION_NONE;
    const char *what = scene->play();
    if (what != NULL)
        scene_found(what);
    return EXIT_HOLDS;
}

/* The exit code; a signal as 128 and its number. */
static int play_apart(const struct scene *scene, const char *how)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execl("/proc/self/exe", "mutation", how, scene->name, (char *)NULL);
        _exit(127);
    }
    int status;
    assert_true(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void scene_test(void **state)
{
    const struct scene *scene = *state;
    printf("    rule %d, without it %s\n", mutations[scene->mutation].rule,
           mutations[scene->mutation].text);
    assert_int_equal(play_apart(scene, "--play"), EXIT_HOLDS);
    assert_int_equal(play_apart(scene, "--without"), EXIT_FOUND);
}

int scenes_main(int argc, char **argv, const struct scene *scenes, size_t count)
{
    if (argc == 3) {
        const struct scene *scene = scene_find(scenes, count, argv[2]);
        return scene == NULL ? 127 : play(scene, strcmp(argv[1], "--without") == 0);
    }
    struct CMUnitTest *tests = calloc(count, sizeof *tests);
    for (size_t i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){.name = scenes[i].name,
                                       .test_func = scene_test,
                                       .initial_state = (void *)(uintptr_t)&scenes[i]};
    int failed = _cmocka_run_group_tests("scenes", tests, count, NULL, NULL);
    free(tests);
    return failed;
}
