/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order of looking: manifest, names in the directory, runs, log; and if all that is right, a
 * start on trial: the database is opened on the directory, which it may only read, with its log in
 * another place. So what the checks do not know of is found as well.
 *
 * Of a run that is damaged every block is looked at (run_salvage), so that each damaged place is
 * named and not only the first. In the log the first place is where recovery would end.
 */
#include "db/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"
#include "io/io_readonly.h"
#include "storage/manifest.h"
#include "storage/memory/memory.h"
#include "storage/run/run.h"
#include "storage/run/run_salvage.h"
#include "wal/wal_tools.h"

struct checking {
    const struct check_options *options;
    struct check_report *report;
    struct io *io; /* read only */
    struct manifest manifest;
    bool has_manifest, has_log, has_runs;
    uint64_t done, total, run_done;
    const char *run; /* the one being looked at */
    uint64_t told_offset;
    struct wal_block_info block; /* of the log, the last one read */
};

static void tell(struct checking *checking, struct check_finding finding)
{
    if (finding.damage)
        checking->report->damages++;
    else
        checking->report->notes++;
    if (checking->options->found != NULL)
        checking->options->found(&finding, checking->options->arg);
}

static void progress(struct checking *checking, uint64_t bytes)
{
    const struct db_progress *to = &checking->options->progress;
    checking->done += bytes;
    if (to->tell != NULL)
        to->tell(to->arg, "check", checking->done, checking->total);
}

/*
 * The message of a reader, which names file, offset and check, as a finding: "NAME, offset N:
 * WORDS". Where it says neither, it is about the whole of `file`.
 */
static void tell_message(struct checking *checking, const char *file, const char *check, int code)
{
    char message[DIAG_MESSAGE_MAX];
    struct check_finding finding = {
        .damage = true, .file = file, .offset = CHECK_NO_OFFSET, .check = check, .words = message};
    snprintf(message, sizeof message, "%s", diag_message_for(code));
    char *place = strstr(message, "offset "), *end;
    if (place != NULL) {
        finding.offset = strtoull(place + strlen("offset "), &end, 10);
        finding.words = strncmp(end, ": ", 2) == 0 ? end + 2 : end;
        char *comma = strstr(message, ", offset ");
        if (comma != NULL)
            *comma = '\0';
        if (comma != NULL && file == NULL)
            finding.file = message;
    }
    if (finding.file == NULL)
        finding.file = "the log";
    checking->told_offset = finding.offset;
    tell(checking, finding);
}

/* Codes that say something about the file; others end the check. */
static bool is_finding(int rc)
{
    return rc == ERROR_CORRUPT || rc == ERROR_NOT_FOUND || rc == ERROR_IO || rc == ERROR_ACCESS;
}

/* ----------------------------------------------------------------------------------- the manifest
 */

static int manifest_check(struct checking *checking)
{
    int rc = manifest_load(checking->io, &checking->manifest);
    checking->has_manifest = rc == 0;
    if (rc == ERROR_NOT_FOUND)
        return 0;
    if (is_finding(rc)) {
        tell_message(checking, MANIFEST_NAME, "manifest", rc);
        return 0;
    }
    checking->report->k = checking->manifest.clock;
    checking->report->first_segment = checking->manifest.first_segment;
    return rc;
}

static bool ends_in(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);
    return size > end_size && strcmp(name + size - end_size, end) == 0;
}

static bool is_own(const char *name)
{
    return strcmp(name, "lock") == 0 || strcmp(name, "address") == 0 ||
           strcmp(name, "admin.key") == 0 || strcmp(name, MANIFEST_NAME) == 0;
}

static int name_check(const char *name, uint64_t size, void *arg)
{
    struct checking *checking = arg;
    struct check_finding note = {.file = name, .offset = CHECK_NO_OFFSET, .check = "left over"};
    uint64_t number;
    (void)size;
    if (wal_file_number(name, &number)) {
        checking->has_log = true;
        if (checking->has_manifest && number < checking->manifest.first_segment)
            note.words = "the log begins behind it; the next start removes it";
    } else if (ends_in(name, ".run") || ends_in(name, ".btree")) {
        checking->has_runs = true;
        if (checking->has_manifest && !manifest_names(&checking->manifest, name))
            note.words = "the manifest does not name it; the next start removes it";
    } else if (wal_file_temporary(name) || strcmp(name, MANIFEST_NAME_NEW) == 0 ||
               strcmp(name, "address.new") == 0 || strcmp(name, "admin.key.new") == 0) {
        note.words = "it was being made when the server ended; the next start removes it";
    } else if (!is_own(name)) {
        note.check = "unknown";
        note.words = "it is not the database's";
    }
    if (note.words != NULL)
        tell(checking, note);
    return 0;
}

static int names_check(struct checking *checking)
{
    int rc = io_list(checking->io, name_check, checking);
    if (rc != 0)
        return rc;
    bool damaged = checking->report->damages > 0;
    if (!checking->has_manifest && !checking->has_log && !checking->has_runs && !damaged)
        return diag_set(ERROR_NOT_FOUND, "there is no database: neither a manifest nor a log");
    if (!checking->has_manifest && checking->has_runs && !damaged)
        tell(checking,
             (struct check_finding){.file = MANIFEST_NAME,
                                    .offset = CHECK_NO_OFFSET,
                                    .check = "left over",
                                    .words = "there is none, so the runs do not count and "
                                             "the next start removes them"});
    return 0;
}

/* --------------------------------------------------------------------------------------- the runs
 */

static bool is_tuple(const char *data, size_t size)
{
    const char *end = data;
    return size > 0 && mp_typeof(*data) == MP_ARRAY && mp_check_limited(&end, data + size) &&
           end == data + size;
}

static void tell_run(struct checking *checking, const char *check, const char *words)
{
    tell(checking,
         (struct check_finding){
             .damage = true, .file = checking->run, .offset = 0, .check = check, .words = words});
}

/* What the run says about itself against what the manifest says. */
static void run_compare(struct checking *checking, const struct run_info *info,
                        const struct manifest_tree *tree, const struct engine_file *file)
{
    if (info->space_id != tree->space_id || info->incarnation != tree->incarnation ||
        info->index_id != tree->index_id)
        tell_run(checking, "header", "it is of another space than the manifest says");
    else if (!memory_run_has_name(info, file->name))
        tell_run(checking, "header", "it is another run than its name says");
    if (info->rows != file->rows || info->tombstones != file->tombstones)
        tell_run(checking, "footer", "it has another number of rows than the manifest says");
    if (info->max_ts > tree->k)
        tell_run(checking, "footer", "it has rows that are newer than the manifest's timestamp");
}

/* Where rows leave the head, a body has entries of secondary indexes as well. */
static bool is_entry(const struct manifest_tree *tree, const struct engine_row *row)
{
    const struct engine_vtab *engine = engine_find(tree->engine, strlen(tree->engine));
    return engine != NULL && !(engine->flags & ENGINE_RESIDENT) && row->key_size > 0 &&
           row->key[0] != 0;
}

static int run_rows_check(struct checking *checking, const struct manifest_tree *tree,
                          struct run *run)
{
    struct run_cursor *cursor;
    struct engine_row row;
    uint64_t bad = 0;
    int rc = run_cursor_open(run, NULL, &cursor);
    if (rc != 0)
        return rc;
    while ((rc = run_cursor_next(cursor, &row)) == 0)
        bad += row.data != NULL && !is_entry(tree, &row) && !is_tuple(row.data, row.size);
    run_cursor_close(cursor);
    if (bad > 0) {
        char words[80];
        snprintf(words, sizeof words, "%" PRIu64 " rows are no MessagePack arrays", bad);
        tell_run(checking, "rows", words);
    }
    return rc == ERROR_END ? 0 : rc;
}

static void on_run_progress(void *arg, uint64_t done, uint64_t total)
{
    struct checking *checking = arg;
    (void)total;
    progress(checking, done - checking->run_done);
    checking->run_done = done;
}

static void on_gap(const struct run_gap *gap, void *arg)
{
    struct checking *checking = arg;
    if (gap->offset != checking->told_offset)
        tell(checking, (struct check_finding){.damage = true,
                                              .file = checking->run,
                                              .offset = gap->offset,
                                              .check = "block",
                                              .words = gap->check});
}

/* Names the other damaged places of a run. */
static int run_search(struct checking *checking)
{
    struct run_salvage *salvage;
    struct engine_row row;
    int rc = run_salvage_open(checking->io, checking->run, on_gap, checking, &salvage);
    if (rc != 0)
        return is_finding(rc) ? 0 : rc;
    while ((rc = run_salvage_next(salvage, &row)) == 0)
        ;
    run_salvage_close(salvage);
    return rc == ERROR_END ? 0 : rc;
}

static int run_check(struct checking *checking, const struct manifest_tree *tree,
                     const struct engine_file *file)
{
    struct run *run;
    checking->run = file->name;
    checking->run_done = 0;
    int rc = run_open(checking->io, file->name, &run);
    if (rc == ERROR_NOT_FOUND) {
        tell_run(checking, "missing", "the manifest names it, and it is not there");
        return 0;
    }
    if (rc == 0) {
        run_compare(checking, run_info(run), tree, file);
        rc = run_verify(run, on_run_progress, checking);
        if (rc == 0)
            rc = run_rows_check(checking, tree, run);
        checking->report->runs += rc == 0;
        checking->report->rows += rc == 0 ? run_info(run)->rows : 0;
        run_close(run);
    }
    if (!is_finding(rc))
        return rc;
    tell_message(checking, file->name, "run", rc);
    return run_search(checking);
}

static int tree_rows_check(struct checking *checking, const struct manifest_tree *tree,
                           struct body *body)
{
    struct body_view *view;
    struct body_cursor *cursor;
    struct engine_row row;
    uint64_t bad = 0;
    int rc = body_view_open(body, &view);
    if (rc != 0)
        return rc;
    rc = body_cursor_open(view, &(struct engine_range){.lower = NULL}, UINT64_MAX, &cursor);
    if (rc == 0) {
        while ((rc = body_cursor_next(cursor, &row)) == 0)
            bad += !is_entry(tree, &row) && !is_tuple(row.data, row.size);
        body_cursor_close(cursor);
    }
    body_view_close(view);
    if (bad > 0) {
        char words[80];
        snprintf(words, sizeof words, "%" PRIu64 " rows are no MessagePack arrays", bad);
        tell_run(checking, "rows", words);
    }
    return rc == ERROR_END ? 0 : rc;
}

/* A body whose files only its engine can read. */
static int tree_check(struct checking *checking, const struct engine_vtab *engine,
                      const struct manifest_tree *tree)
{
    _Atomic uint64_t next_file = 1;
    struct engine_options options = {.io = checking->io,
                                     .space_id = tree->space_id,
                                     .incarnation = tree->incarnation,
                                     .files = tree->files,
                                     .file_count = tree->file_count,
                                     .next_file = &next_file};
    struct engine_stats stats = {.rows = 0};
    struct body *body;
    if (tree->file_count == 0)
        return 0;
    checking->run = tree->files[0].name;
    int rc = body_open(engine, &options, &body);
    if (rc == 0) {
        rc = body_verify(body);
        if (rc == 0)
            rc = tree_rows_check(checking, tree, body);
        body_stats(body, &stats);
        body_close(body);
    }
    progress(checking, tree->files[0].bytes);
    checking->report->runs += rc == 0;
    checking->report->rows += rc == 0 ? stats.rows : 0;
    if (!is_finding(rc))
        return rc;
    tell_message(checking, tree->files[0].name, "tree", rc);
    return 0;
}

static int runs_check(struct checking *checking)
{
    const struct manifest *manifest = &checking->manifest;
    int rc = 0;
    for (unsigned i = 0; i < manifest->tree_count; i++)
        for (unsigned n = 0; n < manifest->trees[i].file_count; n++)
            checking->total += manifest->trees[i].files[n].bytes;
    for (unsigned i = 0; rc == 0 && i < manifest->tree_count; i++) {
        const struct manifest_tree *tree = &manifest->trees[i];
        const struct engine_vtab *engine = engine_find(tree->engine, strlen(tree->engine));
        if (engine != NULL && (engine->flags & ENGINE_CHANGES_FILES))
            rc = tree_check(checking, engine, tree);
        else
            for (unsigned n = 0; rc == 0 && n < tree->file_count; n++)
                rc = run_check(checking, tree, &tree->files[n]);
    }
    return rc;
}

/* ---------------------------------------------------------------------------------------- the log
 */

static int on_block(const struct wal_block_info *block, void *arg)
{
    struct checking *checking = arg;
    checking->block = *block;
    return 0;
}

static void tell_record(struct checking *checking, uint64_t ts, const char *words)
{
    char name[WAL_FILE_NAME_BYTES], text[128];
    wal_file_name(checking->block.segment, name);
    snprintf(text, sizeof text, "the transaction of timestamp %" PRIu64 " %s", ts, words);
    tell(checking, (struct check_finding){.damage = true,
                                          .file = name,
                                          .offset = checking->block.offset,
                                          .check = "record",
                                          .words = text});
}

static int on_record(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct checking *checking = arg;
    const char *data = body, *end = data + size;
    struct txn_redo redo;
    int rc;
    while ((rc = txn_redo_next(&data, end, &redo)) == 0)
        if (redo.data != NULL && !is_tuple(redo.data, redo.size)) {
            tell_record(checking, ts, "has a row that is no MessagePack array");
            return 0;
        }
    if (rc != ERROR_END)
        tell_record(checking, ts, "cannot be read");
    return 0;
}

static int log_check(struct checking *checking)
{
    /* Without a manifest that can be read nobody knows where the log begins. */
    bool unknown = !checking->has_manifest && checking->report->damages > 0;
    struct wal_read_options reading = {.io = checking->io,
                                       .first_segment = unknown ? WAL_FIRST_FOUND
                                                                : checking->manifest.first_segment,
                                       .each = on_record,
                                       .each_block = on_block,
                                       .arg = checking};
    struct wal_replay_stats stats;
    struct check_report *report = checking->report;
    int rc = wal_read(&reading, &stats);
    report->segments = stats.segments;
    report->blocks = stats.blocks;
    report->records = stats.records;
    report->last_ts = stats.last_ts;
    report->last_time_ns = stats.last_time;
    if (is_finding(rc)) {
        tell_message(checking, NULL, "log", rc);
        return 0;
    }
    if (rc == 0 && checking->has_manifest && stats.clock < checking->manifest.clock) {
        char words[160];
        snprintf(words, sizeof words,
                 "the log ends at timestamp %" PRIu64 ", but %" PRIu64
                 " was durable when the manifest was written: segments are missing",
                 stats.clock, checking->manifest.clock);
        tell(checking, (struct check_finding){.damage = true,
                                              .file = MANIFEST_NAME,
                                              .offset = CHECK_NO_OFFSET,
                                              .check = "log",
                                              .words = words});
    }
    if (rc == 0 && report->last_ts < checking->manifest.clock)
        report->last_ts = checking->manifest.clock;
    return rc;
}

/* ------------------------------------------------------------------------------- a start on trial
 */

static int on_start(wal_replay_fn each, void *each_arg, void *arg)
{
    struct checking *checking = arg;
    struct wal_read_options reading = {.io = checking->io,
                                       .first_segment = checking->manifest.first_segment,
                                       .each = each,
                                       .arg = each_arg};
    struct wal_replay_stats stats;
    return wal_read(&reading, &stats);
}

static int start_check(struct checking *checking)
{
    const struct check_options *options = checking->options;
    const struct db_source source = {.replay = on_start, .arg = checking, .log = options->scratch};
    const struct db_options opening = {.io = checking->io,
                                       .clock = options->clock,
                                       .durability = WAL_DURABILITY_COMMIT,
                                       .worker_max = 1,
                                       .expressions = options->expressions,
                                       .source = &source};
    struct db_open_stats stats;
    struct db *db;
    uint64_t clock = checking->report->last_ts > checking->manifest.clock
                         ? checking->report->last_ts
                         : checking->manifest.clock;
    if (options->scratch == NULL || checking->report->damages > 0)
        return 0;
    int rc = wal_log_create(options->scratch, 1, clock);
    if (rc != 0)
        return rc;
    rc = db_open(&opening, &stats, &db);
    if (rc == 0) {
        checking->report->started = true;
        checking->report->spaces = stats.spaces;
        return db_close(db);
    }
    if (rc != ERROR_CORRUPT && rc != ERROR_INVALID && rc != ERROR_SCHEMA)
        return rc;
    tell(checking, (struct check_finding){.damage = true,
                                          .file = "the catalog",
                                          .offset = CHECK_NO_OFFSET,
                                          .check = "start",
                                          .words = diag_message_for(rc)});
    return 0;
}

int db_check(const struct check_options *options, struct check_report *report)
{
    struct checking checking = {.options = options, .report = report};
    struct io *dirs[] = {options->io};
    memset(report, 0, sizeof *report);
    manifest_create(&checking.manifest);
    int rc = io_readonly_new(dirs, 1, NULL, NULL, &checking.io);
    if (rc != 0)
        return rc;
    rc = manifest_check(&checking);
    if (rc == 0)
        rc = names_check(&checking);
    if (rc == 0)
        rc = runs_check(&checking);
    if (rc == 0)
        rc = log_check(&checking);
    if (rc == 0)
        rc = start_check(&checking);
    manifest_destroy(&checking.manifest);
    io_delete(checking.io);
    return rc;
}
