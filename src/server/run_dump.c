/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee run cat|verify|stats FILE`: what is in a run, whether it is whole, and what it says about
 * itself.
 *
 * cat prints one line of JSON a version of a row, in the run's order:
 *
 *   {"key":[1],"ts":17,"tuple":[1,"one"]}
 *   {"key":["k"],"ts":18,"delete":true}
 *
 * Reads only, so it may be used while the folder is served. A file is opened by the path that was
 * given, so that messages name it as the user did.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "server/command.h"
#include "server/dump.h"
#include "server/progress.h"
#include "storage/run/run.h"
#include "storage/run/run_format.h"

static int flushed(int rc)
{
    if (fflush(stdout) && !rc)
        rc = diag_set(ERROR_IO, "cannot write to standard output");
    return rc;
}

/* Opens the run at a path and hands it to `use`. */
static int with_run(const char *path, int (*use)(struct run *run, void *arg), void *arg)
{
    struct stat status;
    struct io *io;
    struct run *run;
    int rc = io_posix_new(".", false, &io);
    if (rc)
        return rc;
    if (stat(path, &status) || !S_ISREG(status.st_mode))
        rc = diag_set(ERROR_NOT_FOUND, "there is no file %s", path);
    else
        rc = run_open(io, path, &run);
    if (!rc) {
        rc = use(run, arg);
        run_close(run);
    }
    io_delete(io);
    return flushed(rc);
}

/* ------------------------------------------------------------------------------------------- cat */

static int row_print(struct dump *dump, const struct engine_row *row)
{
    char ts[40];
    snprintf(ts, sizeof ts, ",\"ts\":%" PRIu64, row->ts);
    int rc = dump_text(dump, "{\"key\":");
    if (!rc)
        rc = dump_key(dump, row->key, row->key_size);
    if (!rc)
        rc = dump_text(dump, ts);
    if (!rc)
        rc = dump_text(dump, row->data ? ",\"tuple\":" : ",\"delete\":true");
    if (!rc && row->data)
        rc = dump_tuple(dump, row->data, row->size);
    if (!rc)
        rc = dump_text(dump, "}\n");
    return rc ? rc : dump_print(dump);
}

static int cat(struct run *run, void *arg)
{
    const uint64_t *limit = arg;
    struct run_cursor *cursor;
    struct engine_row row;
    struct dump dump;
    int rc = run_cursor_open(run, NULL, &cursor);
    if (rc)
        return rc;
    dump_create(&dump);
    for (uint64_t n = 0; n < *limit && !rc; n++) {
        rc = run_cursor_next(cursor, &row);
        if (!rc)
            rc = row_print(&dump, &row);
    }
    dump_destroy(&dump);
    run_cursor_close(cursor);
    return rc == ERROR_END ? 0 : rc;
}

static int limit_parse(const char *text, uint64_t *out)
{
    char *end;
    *out = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end)
        return diag_set(ERROR_INVALID, "--limit takes a number of rows, not '%s'", text);
    return 0;
}

/* The file and the limit from the arguments. */
static int cat_parse(int argc, char **argv, const char **path, uint64_t *limit)
{
    for (int n = 0; n < argc; n++) {
        int rc = 0;
        if (strncmp(argv[n], "--limit=", 8) == 0)
            rc = limit_parse(argv[n] + 8, limit);
        else if (strcmp(argv[n], "--limit") == 0)
            rc = limit_parse(n + 1 < argc ? argv[++n] : "", limit);
        else if (*path || strncmp(argv[n], "--", 2) == 0)
            rc = diag_set(ERROR_INVALID, "run cat takes one file and --limit, not '%s' as well",
                          argv[n]);
        else
            *path = argv[n];
        if (rc)
            return rc;
    }
    if (!*path)
        return diag_set(ERROR_INVALID, "a file is missing: perigee run cat FILE [--limit ROWS]");
    return 0;
}

static int run_cat(int argc, char **argv)
{
    const char *path = NULL;
    uint64_t limit = UINT64_MAX;
    int rc = cat_parse(argc, argv, &path, &limit);
    if (!rc)
        rc = with_run(path, cat, &limit);
    return rc ? command_failed(rc) : 0;
}

/* ---------------------------------------------------------------------------------------- verify */

struct verifying {
    struct progress progress;
    const char *name;
};

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct verifying *verifying = arg;
    progress_tell(&verifying->progress, verifying->name, done, total);
}

static int verify(struct run *run, void *arg)
{
    struct verifying verifying = {.progress.unit = "B", .name = run_name(run)};
    (void)arg;
    int rc = run_verify(run, on_progress, &verifying);
    progress_end(&verifying.progress);
    if (!rc)
        printf("%s: whole, %" PRIu64 " rows\n", run_name(run), run_info(run)->rows);
    return rc;
}

/* Goes on after a file that is damaged: each is named. */
static int run_verify_files(int argc, char **argv)
{
    int status = 0;
    if (argc == 0)
        return command_failed(
            diag_set(ERROR_INVALID, "a file is missing: perigee run verify FILE..."));
    for (int n = 0; n < argc; n++) {
        int rc = with_run(argv[n], verify, NULL);
        if (rc)
            status = command_failed(rc);
    }
    return status;
}

/* ----------------------------------------------------------------------------------------- stats */

static int key_line(struct dump *dump, const char *name, const unsigned char *key, size_t size)
{
    int rc = dump_text(dump, name);
    if (!rc && key)
        rc = dump_key(dump, key, size);
    else if (!rc)
        rc = dump_text(dump, "null");
    return rc;
}

static void number_line(const char *name, uint64_t value)
{
    printf("  \"%s\": %" PRIu64 ",\n", name, value);
}

static const char *filter_name(enum run_filter_kind kind)
{
    switch (kind) {
    case RUN_FILTER_NONE:
        return "none";
    case RUN_FILTER_BLOOM:
        return "bloom";
    case RUN_FILTER_RIBBON:
        return "ribbon";
    default:
        return "unknown";
    }
}

static int stats(struct run *run, void *arg)
{
    (void)arg;
    const struct run_info *info = run_info(run);
    struct dump dump;
    printf("{\n");
    number_line("format_version", RUN_FORMAT_VERSION);
    number_line("space", info->space_id);
    number_line("incarnation", info->incarnation);
    number_line("index", info->index_id);
    number_line("level", info->level);
    number_line("sequence", info->sequence);
    number_line("up_to_ts", info->up_to_ts);
    number_line("rows", info->rows);
    number_line("tombstones", info->tombstones);
    number_line("min_ts", info->min_ts);
    number_line("max_ts", info->max_ts);
    number_line("blocks", info->blocks);
    number_line("data_bytes", info->data_bytes);
    number_line("file_bytes", info->file_bytes);
    number_line("key_bytes_max", info->key_bytes_max);
    printf("  \"compression\": \"%s\",\n", compress_method_name(info->compression));
    number_line("dictionary_bytes", info->dictionary_bytes);
    printf("  \"filter\": \"%s\",\n", filter_name(info->filter));
    number_line("filter_bytes", info->filter_bytes);
    dump_create(&dump);
    int rc = key_line(&dump, "  \"first_key\": ", info->first_key, info->first_key_size);
    if (!rc)
        rc = key_line(&dump, ",\n  \"last_key\": ", info->last_key, info->last_key_size);
    if (!rc)
        rc = dump_text(&dump, "\n}\n");
    if (!rc)
        rc = dump_print(&dump);
    dump_destroy(&dump);
    return rc;
}

static int run_stats(int argc, char **argv)
{
    int rc = argc == 1 ? with_run(argv[0], stats, NULL)
                       : diag_set(ERROR_INVALID, "one file is needed: perigee run stats FILE");
    return rc ? command_failed(rc) : 0;
}

int command_run(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } words[] = {{"cat", run_cat}, {"verify", run_verify_files}, {"stats", run_stats}};
    for (size_t n = 0; argc > 0 && n < sizeof words / sizeof *words; n++)
        if (strcmp(argv[0], words[n].name) == 0)
            return words[n].run(argc - 1, argv + 1);
    return command_failed(diag_set(ERROR_INVALID,
                                   "one of these is needed: perigee run cat FILE [--limit ROWS], "
                                   "perigee run verify FILE..., perigee run stats FILE"));
}
