/* SPDX-License-Identifier: Apache-2.0 */

/* `perigee FILE.lua`: the operator's own Lua on a database. */
#include <stdio.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "server/command.h"
#include "server/script.h"
#include "server/server.h"

int script_options(struct options *options, int *argc, char ***argv)
{
    log_thread_name("main");
    server_signals_block();
    int rc = options_create(options);
    if (!rc)
        rc = options_load(options, argc, argv, environ);
    if (!rc)
        log_level_set((enum log_level)options->log_level);
    return rc;
}

int command_file(int argc, char **argv)
{
    struct options options;
    struct script *script;
    int rc = script_options(&options, &argc, &argv);
    if (!rc && argc == 0)
        rc = diag_set(ERROR_INVALID, "a file is missing: perigee [--OPTION VALUE]... FILE.lua");
    if (!rc && access(argv[0], R_OK))
        rc = diag_set(ERROR_NOT_FOUND, "there is no file %s", argv[0]);
    if (!rc)
        rc = script_open(&options, NULL, &script);
    int status = 1;
    if (rc)
        command_failed(rc);
    else
        status = script_close(script, script_run_file(script, argv[0], argc - 1, argv + 1));
    options_destroy(&options);
    return status;
}
