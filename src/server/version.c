/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee version`: which of the things that can fall back is in use here; `perigee options`: the
 * document of all options.
 */
#include <stdio.h>

#include "base/error.h"
#include "io/io.h"
#include "lua/runtime.h"
#include "server/command.h"
#include "server/server.h"

int command_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("perigee %s\n", PERIGEE_VERSION);
    printf("lua      %s\n", lua_runtime_variant());
    printf("io       %s\n", io_uring_usable() ? "io_uring" : "threads (io_uring is not usable)");
    return 0;
}

int command_options(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    options_print_markdown(stdout);
    return 0;
}
