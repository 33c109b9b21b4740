/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee backup TARGET [--base PREVIOUS] [--connect ADDRESS [--tls ..] | --dir DIR]`.
 *
 * A folder that a server has in use is backed up by that server, which is asked to (BACKUP TO): the
 * folders are then named relative to its option backup_dir. One that is not in use is opened here.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "server/ask.h"
#include "server/backup_job.h"
#include "server/client_command.h"
#include "server/command.h"
#include "server/folder.h"
#include "server/moment.h"
#include "server/progress.h"
#include "server/server.h"

enum { POLL_MS = 100, ADDRESS_BYTES_MAX = 255 };

struct backup_arguments {
    struct options options;
    const char *target, *base;
    struct client_arguments server; /* without an address: the one that has the folder */
};

static int result_print(const struct backup_result *result, const char *folder)
{
    char time[MOMENT_TEXT_MAX + 1];
    moment_format(result->time_ms * 1000000, time);
    printf("%s: backup %s, everything up to timestamp %" PRIu64 ", %s\n"
           "%" PRIu64 " files, %" PRIu64 " bytes; of these stored here: %" PRIu64 " files, %" PRIu64
           " bytes\n",
           folder, result->id, result->k, time, result->files, result->bytes, result->stored_files,
           result->stored_bytes);
    return fflush(stdout) ? diag_set(ERROR_IO, "cannot write to standard output") : 0;
}

/* ---------------------------------------------------------------------------------- of a server */

static int asked_wait(struct ask *ask, struct progress *progress, struct backup_result *result)
{
    for (;;) {
        int rc = ask_command(ask, 2, (const char *const[]){"BACKUP", "STATUS"});
        if (rc)
            return rc;
        const char *state = ask_member(ask, "state");
        if (strcmp(state, "failed") == 0)
            return diag_set(ERROR_IO, "the server's backup failed: %s", ask_member(ask, "failure"));
        if (strcmp(state, "done") == 0)
            break;
        if (strcmp(state, "running") != 0)
            return diag_set(ERROR_IO, "the server knows nothing of its backup any more");
        progress_tell(progress, "backup", ask_number(ask, "done_bytes"),
                      ask_number(ask, "total_bytes"));
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
    *result = (struct backup_result){.k = ask_number(ask, "ts"),
                                     .time_ms = ask_number(ask, "time_ms"),
                                     .files = ask_number(ask, "files"),
                                     .bytes = ask_number(ask, "bytes"),
                                     .stored_files = ask_number(ask, "stored_files"),
                                     .stored_bytes = ask_number(ask, "stored_bytes")};
    snprintf(result->id, sizeof result->id, "%s", ask_member(ask, "id"));
    return 0;
}

static int backup_asked(const struct backup_arguments *arguments)
{
    const char *argv[5] = {"BACKUP", "TO", arguments->target, "BASE", arguments->base};
    struct progress progress = {.unit = "B"};
    struct backup_result result;
    struct ask *ask;
    char folder[1024];
    int rc =
        ask_open(&arguments->server, arguments->options.dir, arguments->options.password, &ask);
    if (rc)
        return rc;
    rc = ask_command(ask, arguments->base ? 5 : 3, argv);
    if (!rc)
        rc = asked_wait(ask, &progress, &result);
    progress_end(&progress);
    if (!rc) {
        snprintf(folder, sizeof folder, "%s", ask_member(ask, "folder"));
        rc = result_print(&result, folder);
    }
    ask_close(ask);
    return rc;
}

/* ------------------------------------------------------------------------------------ of a folder */

static int backup_here(const struct backup_arguments *arguments)
{
    struct progress progress = {.unit = "B"};
    const struct db_progress shown = progress_shown(&progress);
    struct backup_result result;
    struct server *server;
    int rc = server_open(&arguments->options, NULL, false, &server);
    if (rc)
        return rc;
    char message[DIAG_MESSAGE_MAX];
    rc =
        backup_folder(server_db(server), arguments->target, arguments->base, &shown, NULL, &result);
    progress_end(&progress);
    snprintf(message, sizeof message, "%s", diag_message_for(rc));
    int closed = server_close(server);
    if (rc)
        return diag_set(rc, "%s", message);
    return closed ? closed : result_print(&result, arguments->target);
}

/* Where the server of the folder is; false when there is none. */
static bool server_find(const char *dir, char address[ADDRESS_BYTES_MAX + 1])
{
    struct io *io;
    char path[4096];
    int rc = folder_open_locked(dir, &io);
    if (!rc)
        io_delete(io);
    if (rc != ERROR_LOCKED)
        return false;
    snprintf(path, sizeof path, "%s/address", dir);
    FILE *file = fopen(path, "re");
    bool found = file && fgets(address, ADDRESS_BYTES_MAX + 1, file);
    if (file)
        fclose(file);
    if (found)
        address[strcspn(address, "\n")] = 0;
    return found;
}

/* ------------------------------------------------------------------------------------- arguments */

static bool own_option(struct backup_arguments *arguments, const char *name, const char *value)
{
    if (strcmp(name, "--base") == 0)
        arguments->base = value;
    else if (strcmp(name, "--connect") == 0)
        arguments->server.address = value;
    else
        return false;
    return true;
}

/* Takes what is this command's own; the rest are options of the database. */
static int arguments_take(struct backup_arguments *arguments, int argc, char **argv)
{
    int kept = 0, rc = client_arguments_take(&arguments->server, &argc, argv, "");
    if (rc)
        return rc;
    for (int n = 0; n < argc; n++) {
        bool option = strncmp(argv[n], "--", 2) == 0;
        if (option && n + 1 < argc && own_option(arguments, argv[n], argv[n + 1])) {
            n++;
        } else if (option) {
            argv[kept++] = argv[n];
            if (!strchr(argv[n], '=') && n + 1 < argc)
                argv[kept++] = argv[++n];
        } else if (arguments->target) {
            return diag_set(ERROR_INVALID, "backup takes one folder, not '%s' as well", argv[n]);
        } else {
            arguments->target = argv[n];
        }
    }
    if (!arguments->target)
        return diag_set(ERROR_INVALID, "a folder is missing: perigee backup TARGET [--base "
                                       "PREVIOUS] [--connect ADDRESS [--tls] | --dir DIR]");
    return options_load(&arguments->options, &kept, &argv, environ);
}

int command_backup(int argc, char **argv)
{
    struct backup_arguments arguments = {.target = NULL};
    char address[ADDRESS_BYTES_MAX + 1];
    struct io *io;
    log_thread_name("main");
    int rc = options_create(&arguments.options);
    if (!rc)
        rc = arguments_take(&arguments, argc, argv);
    if (!rc)
        log_level_set((enum log_level)arguments.options.log_level);
    bool found = !rc && !arguments.server.address && server_find(arguments.options.dir, address);
    if (found)
        arguments.server.address = address;
    if (!rc && arguments.server.address)
        rc = backup_asked(&arguments);
    else if (!rc && (rc = folder_open(arguments.options.dir, &io)) == 0) {
        io_delete(io); /* it is there: none is made in order to be backed up */
        rc = backup_here(&arguments);
    }
    options_destroy(&arguments.options);
    return rc ? command_failed(rc) : 0;
}
