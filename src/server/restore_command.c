/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee restore BACKUP NEWDIR [--base DIR]... [--archive DIR] [--log DIR] [--to MOMENT]`, or
 * with --verify instead of NEWDIR.
 *
 * The new folder appears when it is whole. The backups that this one was made on top of are looked
 * for where they were, unless --base says where they are.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/restore.h"
#include "lua/expression.h"
#include "server/command.h"
#include "server/folder.h"
#include "server/moment.h"
#include "server/progress.h"

struct restore_arguments {
    const char *target, *archive, *log, *to;
    const char *chain[RESTORE_CHAIN_MAX]; /* the backup, then what --base named */
    unsigned chain_count;
    bool verify; /* and nothing is made */
};

struct restore_open {
    struct restore_options options;
    struct restore_folder chain[RESTORE_CHAIN_MAX];
    char *found[RESTORE_CHAIN_MAX]; /* names of those that were looked for */
};

/* ------------------------------------------------------------------------------------- arguments */

static int option_take(struct restore_arguments *arguments, const char *name, const char *value)
{
    const char **to = NULL;
    if (strcmp(name, "--archive") == 0)
        to = &arguments->archive;
    else if (strcmp(name, "--log") == 0)
        to = &arguments->log;
    else if (strcmp(name, "--to") == 0)
        to = &arguments->to;
    else if (strcmp(name, "--base") != 0)
        return diag_set(ERROR_INVALID,
                        "restore has no option '%s'; it has --base, --archive, --log and --to",
                        name);
    if (!value)
        return diag_set(ERROR_INVALID, "%s needs a value behind it", name);
    if (to)
        *to = value;
    else if (arguments->chain_count == RESTORE_CHAIN_MAX)
        return diag_set(ERROR_INVALID, "a chain has at most %d backups", RESTORE_CHAIN_MAX);
    else
        arguments->chain[arguments->chain_count++] = value;
    return 0;
}

static int arguments_take(struct restore_arguments *arguments, int argc, char **argv)
{
    int rc = 0;
    arguments->chain_count = 1;
    for (int n = 0; n < argc && !rc; n++) {
        if (strcmp(argv[n], "--verify") == 0) {
            arguments->verify = true;
        } else if (strncmp(argv[n], "--", 2) == 0) {
            rc = option_take(arguments, argv[n], n + 1 < argc ? argv[n + 1] : NULL);
            n++;
        } else if (!arguments->chain[0]) {
            arguments->chain[0] = argv[n];
        } else if (!arguments->target) {
            arguments->target = argv[n];
        } else {
            rc = diag_set(ERROR_INVALID, "restore takes two folders, not '%s' as well", argv[n]);
        }
    }
    if (!rc && arguments->verify && (arguments->target || !arguments->chain[0]))
        rc = diag_set(ERROR_INVALID, "with --verify one folder is needed, the backup");
    if (!rc && !arguments->verify && !arguments->target)
        rc = diag_set(ERROR_INVALID,
                      "two folders are needed: perigee restore BACKUP NEWDIR [--base DIR]... "
                      "[--archive DIR] [--log DIR] [--to MOMENT]");
    return rc;
}

/* ------------------------------------------------------------------------------------ the folders */

static int chain_add(struct restore_open *open, const char *path)
{
    unsigned n = open->options.chain_count;
    if (n == RESTORE_CHAIN_MAX)
        return diag_set(ERROR_INVALID, "a chain has at most %d backups", RESTORE_CHAIN_MAX);
    open->found[n] = strdup(path);
    if (!open->found[n])
        return diag_set(ERROR_MEMORY, "out of memory");
    open->chain[n].name = open->found[n];
    int rc = folder_open(path, &open->chain[n].io);
    if (!rc)
        open->options.chain_count++;
    return rc;
}

/* The description of one folder of the chain; false when it cannot be read, which the restore
 * itself then says. */
static bool described(const struct restore_open *open, unsigned n, struct backup *backup)
{
    backup_create(backup);
    return backup_load(open->chain[n].io, backup) == 0;
}

static bool chain_has(const struct restore_open *open, const char *id)
{
    bool has = false;
    for (unsigned n = 0; n < open->options.chain_count && !has; n++) {
        struct backup backup;
        has = described(open, n, &backup) && strcmp(backup.id, id) == 0;
        backup_destroy(&backup);
    }
    return has;
}

/* Adds the base of each backup of the chain, where it was when it was used, if it is still there. */
static int chain_follow(struct restore_open *open)
{
    int rc = 0;
    for (unsigned n = 0; n < open->options.chain_count && !rc; n++) {
        struct backup backup;
        bool wanted = described(open, n, &backup) && backup.base_id[0] &&
                      !chain_has(open, backup.base_id) && access(backup.base_folder, R_OK) == 0;
        if (wanted)
            rc = chain_add(open, backup.base_folder);
        backup_destroy(&backup);
    }
    return rc;
}

static int folders_open(const struct restore_arguments *arguments, struct restore_open *open)
{
    int rc = 0;
    open->options.chain = open->chain;
    for (unsigned n = 0; n < arguments->chain_count && !rc; n++)
        rc = chain_add(open, arguments->chain[n]);
    if (!rc)
        rc = chain_follow(open);
    if (!rc && arguments->archive)
        rc = folder_open(arguments->archive, &open->options.archive);
    if (!rc && arguments->log)
        rc = folder_open_locked(arguments->log, &open->options.log);
    return rc;
}

static void folders_close(struct restore_open *open)
{
    for (unsigned n = 0; n < RESTORE_CHAIN_MAX; n++) {
        if (n < open->options.chain_count)
            io_delete(open->chain[n].io);
        free(open->found[n]);
    }
    if (open->options.archive)
        io_delete(open->options.archive);
    if (open->options.log)
        io_delete(open->options.log);
}

static int report_print(const struct restore_arguments *arguments,
                        const struct restore_report *report)
{
    char base[MOMENT_TEXT_MAX + 1], reached[MOMENT_TEXT_MAX + 1];
    moment_format(report->time_ms * 1000000, base);
    moment_format(report->time_ns, reached);
    printf("backup %s: timestamp %" PRIu64 ", %s, %" PRIu64 " files, %" PRIu64 " bytes\n",
           report->id, report->k, base, report->files, report->bytes);
    if (report->segments)
        printf("log: %" PRIu64 " segments, %" PRIu64 " transactions\n", report->segments,
               report->records);
    printf("%s: %s, everything up to timestamp %" PRIu64 ", %s\n",
           arguments->verify ? arguments->chain[0] : arguments->target,
           arguments->verify ? "whole" : "restored", report->ts, reached);
    if (report->short_of_time)
        printf("note: the log ends there, before the time that was asked for\n");
    return fflush(stdout) ? diag_set(ERROR_IO, "cannot write to standard output") : 0;
}

static int restore(const struct restore_arguments *arguments, struct restore_open *open)
{
    struct restore_report report;
    struct restore_options *options = &open->options;
    int rc = folders_open(arguments, open);
    if (!rc && arguments->to)
        rc = moment_parse(arguments->to, &options->to_ts, &options->to_time_ns);
    if (!rc && !arguments->verify)
        rc = folder_begin(arguments->target, &options->target);
    if (rc)
        return rc;
    char message[DIAG_MESSAGE_MAX];
    options->clock = clock_system();
    options->expressions = lua_expressions();
    struct progress progress = {.unit = "B"};
    options->progress = progress_shown(&progress);
    rc = db_restore(options, &report);
    progress_end(&progress);
    snprintf(message, sizeof message, "%s", diag_message_for(rc));
    int finished = options->target ? folder_finish(arguments->target, options->target, rc == 0) : 0;
    if (rc)
        return diag_set(rc, "%s", message);
    return finished ? finished : report_print(arguments, &report);
}

int command_restore(int argc, char **argv)
{
    struct restore_arguments arguments = {.target = NULL};
    log_thread_name("main");
    struct restore_open *open = calloc(1, sizeof *open);
    int rc =
        open ? arguments_take(&arguments, argc, argv) : diag_set(ERROR_MEMORY, "out of memory");
    if (!rc)
        rc = restore(&arguments, open);
    if (open)
        folders_close(open);
    free(open);
    return rc ? command_failed(rc) : 0;
}
