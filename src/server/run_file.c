/* SPDX-License-Identifier: Apache-2.0 */

/* `perigee FILE.lua` and `perigee test`: the operator's own Lua on a database. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "server/command.h"
#include "server/script.h"
#include "server/server.h"

static int options_begin(struct options *options, int *argc, char ***argv)
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
    int rc = options_begin(&options, &argc, &argv);
    if (!rc && argc == 0)
        rc = diag_set(ERROR_INVALID, "a file is missing: perigee [--OPTION VALUE]... FILE.lua");
    if (!rc && access(argv[0], R_OK))
        rc = diag_set(ERROR_NOT_FOUND, "there is no file %s", argv[0]);
    if (!rc)
        rc = script_open(&options, NULL, NULL, &script);
    int status = 1;
    if (rc)
        command_failed(rc);
    else
        status = script_close(script, script_run_file(script, argv[0], argc - 1, argv + 1));
    options_destroy(&options);
    return status;
}

/* ---------------------------------------------------------------------------------------- tests */

/* busted calls os.exit with what it found; a chunk without a file name makes it do so always. */
static const char BUSTED[] = "require('busted.runner')({standalone = false})";

static void folder_remove(void *arg)
{
    const char *path = arg;
    DIR *folder = opendir(path);
    if (!folder)
        return;
    struct dirent *entry;
    while ((entry = readdir(folder)))
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    rmdir(path);
}

/* A folder of its own for the database, whatever the options say. */
static int folder_make(struct options *options, char *path, size_t size)
{
    const char *parent = getenv("TMPDIR");
    snprintf(path, size, "%s/perigee-test-XXXXXX", parent && *parent ? parent : "/tmp");
    if (!mkdtemp(path))
        return diag_set(ERROR_IO, "cannot make the folder %s", path);
    return options_set(options, "dir", path, OPTIONS_ARGUMENT);
}

int command_test(int argc, char **argv)
{
    struct options options;
    struct script *script;
    char folder[256] = "";
    int rc = options_begin(&options, &argc, &argv);
    if (!rc)
        rc = folder_make(&options, folder, sizeof folder);
    if (!rc)
        rc = script_open(&options, folder_remove, folder, &script);
    int status = 1;
    if (rc)
        command_failed(rc);
    else
        status = script_close(script, script_run_text(script, BUSTED, argc, argv));
    if (rc && *folder)
        folder_remove(folder);
    options_destroy(&options);
    return status;
}
