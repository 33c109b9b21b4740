/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee check [DIR] [--json] [--repair NEWDIR [--past-gaps]]`.
 *
 * Prints a line for each finding, "file: offset N: check: words", then one that sums up. Exit status:
 * 0 all is well (or repaired without a loss), 1 there is damage, 2 it could not be looked at.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "codec/json.h"
#include "codec/mp.h"
#include "db/check.h"
#include "db/repair.h"
#include "lua/expression.h"
#include "server/command.h"
#include "server/dump.h"
#include "server/folder.h"
#include "server/moment.h"
#include "server/options.h"
#include "server/progress.h"

enum { STATUS_CLEAN, STATUS_DAMAGED, STATUS_FAILED };

struct check_arguments {
    struct options options;
    const char *dir, *target;
    bool json, repair, past_gaps;
    struct dump dump; /* of keys */
    struct progress progress;
};

/* ------------------------------------------------------------------------------------------- JSON
 */

/* A line of JSON is made as MessagePack, which has the strings escaped. */
static void text_put(struct mp_buffer *out, const char *name, const char *value)
{
    mp_put_str(out, name, strlen(name));
    mp_put_str(out, value, strlen(value));
}

static void number_put(struct mp_buffer *out, const char *name, uint64_t value)
{
    mp_put_str(out, name, strlen(name));
    if (value == UINT64_MAX)
        mp_put_nil(out);
    else
        mp_put_uint(out, value);
}

static void line_print(struct mp_buffer *out)
{
    struct json_buffer line;
    const char *value = out->data;
    json_buffer_create(&line);
    if (!out->failed && json_from_msgpack(&line, &value) == 0)
        printf("%.*s\n", (int)line.size, line.data);
    json_buffer_destroy(&line);
    mp_buffer_destroy(out);
}

/* ---------------------------------------------------------------------------------------- checking
 */

static void on_finding(const struct check_finding *finding, void *arg)
{
    struct check_arguments *arguments = arg;
    progress_end(&arguments->progress);
    if (arguments->json) {
        struct mp_buffer out;
        mp_buffer_create(&out);
        mp_put_map(&out, 5);
        text_put(&out, "file", finding->file);
        number_put(&out, "offset", finding->offset);
        text_put(&out, "check", finding->check);
        text_put(&out, "words", finding->words);
        text_put(&out, "kind", finding->damage ? "damage" : "note");
        line_print(&out);
        return;
    }
    printf("%s%s: ", finding->damage ? "" : "note: ", finding->file);
    if (finding->offset != CHECK_NO_OFFSET)
        printf("offset %" PRIu64 ": ", finding->offset);
    printf("%s: %s\n", finding->check, finding->words);
}

static void report_print(const struct check_arguments *arguments, const struct check_report *report)
{
    char time[MOMENT_TEXT_MAX + 3] = ", ";
    moment_format(report->last_time_ns, time + 2);
    if (arguments->json) {
        printf("{\"damages\":%" PRIu64 ",\"notes\":%" PRIu64 ",\"runs\":%" PRIu64
               ",\"rows\":%" PRIu64 ",\"segments\":%" PRIu64 ",\"blocks\":%" PRIu64
               ",\"records\":%" PRIu64 ",\"last_ts\":%" PRIu64 ",\"starts\":%s}\n",
               report->damages, report->notes, report->runs, report->rows, report->segments,
               report->blocks, report->records, report->last_ts,
               report->started ? "true" : "false");
        return;
    }
    printf("%s: %s: %" PRIu64 " runs with %" PRIu64 " rows; log from segment %" PRIu64 ": %" PRIu64
           " blocks, %" PRIu64 " transactions, up to timestamp %" PRIu64 "%s\n",
           arguments->dir, report->damages ? "damaged" : "whole", report->runs, report->rows,
           report->first_segment, report->blocks, report->records, report->last_ts,
           report->last_time_ns ? time : "");
    if (report->damages)
        printf("perigee check %s --repair NEWDIR saves what can be saved\n", arguments->dir);
}

static int check(struct check_arguments *arguments, struct io *io, int *status)
{
    struct check_options options = {.io = io,
                                    .clock = clock_system(),
                                    .expressions = lua_expressions(),
                                    .found = on_finding,
                                    .arg = arguments};
    struct check_report report;
    char scratch[512];
    int rc = folder_make_temporary(scratch, sizeof scratch, &options.scratch);
    if (rc)
        return rc;
    arguments->progress = (struct progress){.unit = "B"};
    options.progress = progress_shown(&arguments->progress);
    rc = db_check(&options, &report);
    progress_end(&arguments->progress);
    io_delete(options.scratch);
    folder_remove(scratch);
    if (rc)
        return rc;
    report_print(arguments, &report);
    *status = report.damages ? STATUS_DAMAGED : STATUS_CLEAN;
    return 0;
}

/* --------------------------------------------------------------------------------------- repairing
 */

/* A key as JSON, or a word for the end of the run. */
static const char *key_text(struct check_arguments *arguments, const unsigned char *key,
                            size_t size, const char *none)
{
    struct dump *dump = &arguments->dump;
    dump->line.size = 0;
    if (!key || dump_key(dump, key, size) || dump_text(dump, "") || json_append(&dump->line, "", 1))
        return none;
    return dump->line.data;
}

static void loss_print_run(struct check_arguments *arguments, const struct repair_loss *loss)
{
    printf("; rows of space %" PRIu32 " (incarnation %" PRIu32 ")", loss->space_id,
           loss->incarnation);
    if (loss->rows != 0 && loss->rows != UINT64_MAX) {
        printf(": %" PRIu64 " lost\n", loss->rows);
        return;
    }
    printf(" from %s", key_text(arguments, loss->after, loss->after_size, "its first"));
    printf(" to %s\n", key_text(arguments, loss->before, loss->before_size, "its last"));
}

static void loss_print_log(const struct repair_loss *loss)
{
    if (loss->blocks)
        printf("; %" PRIu64 " blocks", loss->blocks);
    if (loss->after_ts || loss->through_ts)
        printf("; transactions behind timestamp %" PRIu64, loss->after_ts);
    if (loss->through_ts)
        printf(" up to %" PRIu64, loss->through_ts);
    putchar('\n');
}

static void on_loss(const struct repair_loss *loss, void *arg)
{
    struct check_arguments *arguments = arg;
    progress_end(&arguments->progress);
    if (!arguments->json) {
        printf("lost: %s: offset %" PRIu64 ": %s", loss->file, loss->offset, loss->check);
        if (loss->run)
            loss_print_run(arguments, loss);
        else
            loss_print_log(loss);
        return;
    }
    struct mp_buffer out;
    mp_buffer_create(&out);
    mp_put_map(&out, 12);
    text_put(&out, "lost", loss->file);
    number_put(&out, "offset", loss->offset);
    number_put(&out, "bytes", loss->bytes);
    text_put(&out, "check", loss->check);
    number_put(&out, "space", loss->run ? loss->space_id : UINT64_MAX);
    number_put(&out, "incarnation", loss->run ? loss->incarnation : UINT64_MAX);
    text_put(&out, "from_key", key_text(arguments, loss->after, loss->after_size, ""));
    text_put(&out, "to_key", key_text(arguments, loss->before, loss->before_size, ""));
    number_put(&out, "rows", loss->run ? loss->rows : UINT64_MAX);
    number_put(&out, "blocks", loss->blocks);
    number_put(&out, "after_ts", loss->after_ts);
    number_put(&out, "through_ts", loss->through_ts);
    line_print(&out);
}

static void repair_notes_print(const struct check_arguments *arguments,
                               const struct repair_report *report)
{
    if (report->blocks_left)
        printf("note: behind what is lost the log has %" PRIu64 " whole blocks with %" PRIu64
               " transactions, behind timestamp %" PRIu64 " up to %" PRIu64
               ". They may rest on lost ones and were not taken; --past-gaps takes them\n",
               report->blocks_left, report->records_left, report->left_after_ts,
               report->left_through_ts);
    if (report->manifest_lost)
        printf(
            "note: without a manifest all runs were taken that were there, so rows that had been "
            "deleted may be back\n");
    if (report->losses && report->rows_undefined)
        printf(
            "note: %" PRIu64 " versions of rows are in spaces of which no definition, or none of "
            "a primary index, was found: "
            "dropped ones, or such whose definition is lost. `perigee run cat` and `perigee wal` "
            "on %s show them\n",
            report->rows_undefined, arguments->dir);
    if (report->indexes_dropped)
        printf("note: %" PRIu64
               " indexes were passed over, since the definition of their space, or "
               "of its primary index, is lost\n",
               report->indexes_dropped);
}

static void repair_print(const struct check_arguments *arguments,
                         const struct repair_report *report)
{
    if (arguments->json) {
        printf("{\"losses\":%" PRIu64 ",\"rows\":%" PRIu64 ",\"spaces\":%" PRIu32
               ",\"records\":%" PRIu64 ",\"last_ts\":%" PRIu64 ",\"blocks_left\":%" PRIu64
               ",\"records_left\":%" PRIu64 ",\"rows_undefined\":%" PRIu64
               ",\"indexes_dropped\":%" PRIu64 ",\"manifest_lost\":%s}\n",
               report->losses, report->rows, report->spaces, report->records, report->ts,
               report->blocks_left, report->records_left, report->rows_undefined,
               report->indexes_dropped, report->manifest_lost ? "true" : "false");
        return;
    }
    repair_notes_print(arguments, report);
    printf("%s: %" PRIu64 " rows in %" PRIu32 " spaces, the newest of timestamp %" PRIu64 "; %s\n",
           arguments->target, report->rows, report->spaces, report->ts,
           report->losses ? "what is lost stands above" : "nothing is lost");
}

static int repair(struct check_arguments *arguments, struct io *io, int *status)
{
    arguments->progress = (struct progress){.unit = "parts"};
    struct repair_options options = {.io = io,
                                     .past_gaps = arguments->past_gaps,
                                     .clock = clock_system(),
                                     .expressions = lua_expressions(),
                                     .lost = on_loss,
                                     .arg = arguments,
                                     .progress = progress_shown(&arguments->progress)};
    struct repair_report report;
    char message[DIAG_MESSAGE_MAX];
    int rc = folder_begin(arguments->target, &options.target);
    if (rc)
        return rc;
    dump_create(&arguments->dump);
    rc = db_repair(&options, &report);
    progress_end(&arguments->progress);
    snprintf(message, sizeof message, "%s", diag_message_for(rc));
    int finished = folder_finish(arguments->target, options.target, rc == 0);
    dump_destroy(&arguments->dump);
    if (rc)
        return diag_set(rc, "%s", message);
    if (finished)
        return finished;
    repair_print(arguments, &report);
    *status = report.losses ? STATUS_DAMAGED : STATUS_CLEAN;
    return 0;
}

/* ------------------------------------------------------------------------------------- arguments
 */

static int arguments_take(struct check_arguments *arguments, int argc, char **argv)
{
    int kept = 0;
    for (int n = 0; n < argc; n++) {
        if (strcmp(argv[n], "--json") == 0)
            arguments->json = true;
        else if (strcmp(argv[n], "--past-gaps") == 0)
            arguments->past_gaps = true;
        else if (strcmp(argv[n], "--repair") == 0) {
            arguments->repair = true;
            arguments->target = n + 1 < argc ? argv[++n] : NULL;
        } else
            argv[kept++] = argv[n];
    }
    if (arguments->repair && (!arguments->target || strncmp(arguments->target, "--", 2) == 0))
        return diag_set(ERROR_INVALID, "--repair needs the name of a new folder behind it");
    if (arguments->past_gaps && !arguments->repair)
        return diag_set(ERROR_INVALID, "--past-gaps says how --repair is done");
    int rc = options_load(&arguments->options, &kept, &argv, environ);
    if (!rc && kept > 1)
        rc = diag_set(ERROR_INVALID, "check takes one folder, not '%s' as well", argv[1]);
    arguments->dir = kept > 0 ? argv[0] : arguments->options.dir;
    return rc;
}

int command_check(int argc, char **argv)
{
    struct check_arguments arguments = {.dir = NULL};
    int status = STATUS_FAILED;
    struct io *io = NULL;
    log_thread_name("main");
    log_level_set(LOG_ERROR);
    int rc = options_create(&arguments.options);
    if (!rc)
        rc = arguments_take(&arguments, argc, argv);
    if (!rc)
        rc = folder_open_locked(arguments.dir, &io);
    if (!rc && !arguments.repair)
        rc = folder_refuse_backup(arguments.dir, io);
    if (!rc)
        rc = arguments.repair ? repair(&arguments, io, &status) : check(&arguments, io, &status);
    if (!rc && fflush(stdout))
        rc = diag_set(ERROR_IO, "cannot write to standard output");
    if (rc)
        command_failed(rc);
    if (io)
        io_delete(io);
    options_destroy(&arguments.options);
    return rc ? STATUS_FAILED : status;
}
