/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee version`: which of the things that differ between machines is in use here; `perigee
 * options`: the document of all options.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "io/io.h"
#include "lua/runtime.h"
#include "server/command.h"
#include "server/server.h"
#include "simd/simd.h"

/* Whether files in the folder of the database would bypass the page cache; tried out with one. */
static const char *files_variant(void)
{
    static const char PROBE[] = "direct.probe";
    const char *variant = "not known before the folder of the database exists";
    struct options options;
    struct io *io;
    struct io_file *file;
    int argc = 0;
    char **argv = NULL;
    if (options_create(&options) || options_load(&options, &argc, &argv, environ) ||
        access(options.dir, W_OK) || io_posix_new(options.dir, false, &io))
        goto out;
    if (!io_open(io, PROBE, IO_WRITE | IO_CREATE | IO_DIRECT, &file)) {
        variant = io_file_direct(file) ? "direct I/O" : "buffered (direct I/O is not to be had)";
        io_close(file);
        io_unlink(io, PROBE);
    }
    io_delete(io);
out:
    options_destroy(&options);
    return variant;
}

int command_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("perigee %s\n", PERIGEE_VERSION);
    printf("lua      %s\n", lua_runtime_variant());
    printf("io       %s\n", io_uring_usable() ? "io_uring" : "threads (io_uring is not usable)");
    printf("files    %s\n", files_variant());
    printf("kernels  %s\n", simd_level_name(simd_active.level));
    return 0;
}

int command_options(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    options_print_markdown(stdout);
    return 0;
}
