/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_TEST_RUN_H
#define SERVER_TEST_RUN_H

/*
 * What the files of `perigee test` share: test_command.c finds the specs and starts a process for
 * each, test_run.c is that process, test_native.c what lua/testing.lua stands on.
 */
#include <lua.h>

#include "server/test_clock.h"

/* In the process of one spec file. */
struct test_run {
    const char *folder; /* its own, which goes with what is in it when the process has ended */
    int counts;         /* a file for `successes failures errors pending`, or -1 */
    struct test_clock clock;
    char executable[512];
};

/* `perigee test --run FOLDER COUNTS CLOCK [--OPTION VALUE]... FILE [busted's arguments]`. */
int test_run(int argc, char **argv);

/* Puts testing.native among the modules that `require` finds. `run` outlives the state. */
void test_native_open(lua_State *L, struct test_run *run);

/* A program of which standard output is `out` and the errors `errors` (-1: those of this process). The
 * variables are added to the environment; both arrays end with NULL. It is killed when this process
 * ends. Its pid, or -1 with errno. */
int test_spawn(char *const *argv, char *const *variables, int out, int errors);

/* Removes the folder and all that is in it, as far as that can be. */
void test_folder_remove(const char *path);

#endif
