/* SPDX-License-Identifier: Apache-2.0 */

/* The process of one spec file: a fresh database, its clock, and busted. See test_run.h. */
#include "server/test_run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "server/command.h"
#include "server/script.h"

static const char RUN[] = "require('testing.run')()";

/* The folder is the runner's, and new. Whatever the options say, the database lies in it. */
static int database_place(struct test_run *run, struct options *options)
{
    char path[512];
    snprintf(path, sizeof path, "%s/clock", run->folder);
    int rc = test_clock_make(&run->clock, path);
    snprintf(path, sizeof path, "%s/data", run->folder);
    return rc ? rc : options_set(options, "dir", path, OPTIONS_ARGUMENT);
}

int test_run(int argc, char **argv)
{
    enum { FOLDER, COUNTS, CLOCK, OWN };
    struct options options;
    struct script *script;
    if (argc < OWN)
        return command_failed(diag_set(ERROR_INVALID, "--run is for `perigee test` itself"));
    struct test_run *run = calloc(1, sizeof *run);
    if (!run)
        return command_failed(diag_set(ERROR_MEMORY, "out of memory"));
    run->folder = argv[FOLDER];
    run->counts = atoi(argv[COUNTS]);
    bool stands = strcmp(argv[CLOCK], "manual") == 0;
    ssize_t size = readlink("/proc/self/exe", run->executable, sizeof run->executable - 1);
    run->executable[size > 0 ? size : 0] = 0;
    argc -= OWN;
    argv += OWN;
    int rc = script_options(&options, &argc, &argv), status = 1;
    if (!rc)
        rc = database_place(run, &options);
    if (!rc && stands)
        test_clock_stop(&run->clock);
    if (!rc)
        rc = script_open(&options, &run->clock.base, &script);
    if (rc) {
        command_failed(rc);
    } else {
        test_native_open(script_state(script), run);
        status = script_close(script, script_run_text(script, RUN, argc, argv));
    }
    options_destroy(&options);
    test_clock_close(&run->clock);
    free(run);
    return status;
}
