/* SPDX-License-Identifier: Apache-2.0 */

/*
 * `perigee wal [cat|blocks|segments|verify] [DIR] [--json] [--from SEGMENT] [--to TS]`: what is in a
 * log, of a data folder or of an archive.
 *
 * cat, also without the word, prints a line of JSON a record:
 *
 *   {"ts":17,"operations":[{"space":512,"incarnation":1,"key":[1],"tuple":[1,"one"]},
 *                          {"space":304,"incarnation":1,"key":["k"],"delete":true}]}
 *
 * blocks and segments print a table, or with --json lines of JSON; verify reads everything and says
 * whether it is whole, or what is damaged, by file, offset and check.
 *
 * Reads only, so it may be used while the folder is served; then it ends with what was written when
 * it got there. Begins where the folder's manifest says; without one, as in an archive, with the
 * oldest segment that is there.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "server/command.h"
#include "server/dump.h"
#include "server/server.h"
#include "storage/manifest.h"
#include "txn/txn.h"
#include "wal/wal.h"

static int operation_append(struct dump *dump, const struct txn_redo *redo)
{
    char head[96];
    snprintf(head, sizeof head, "{\"space\":%u,\"incarnation\":%u,\"key\":", redo->head_id,
             redo->head_incarnation);
    int rc = dump_text(dump, head);
    if (!rc)
        rc = dump_key(dump, redo->key, redo->key_size);
    if (!rc && !redo->data)
        return dump_text(dump, ",\"delete\":true}");
    if (!rc)
        rc = dump_text(dump, ",\"tuple\":");
    if (!rc)
        rc = dump_tuple(dump, redo->data, redo->size);
    return rc ? rc : dump_text(dump, "}");
}

static int on_record(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct dump *dump = arg;
    const char *position = body, *end = position + size, *separator = "";
    char head[64];
    snprintf(head, sizeof head, "{\"ts\":%llu,\"operations\":[", (unsigned long long)ts);
    int rc = dump_text(dump, head);
    struct txn_redo redo;
    while (!rc && (rc = txn_redo_next(&position, end, &redo)) == 0) {
        rc = dump_text(dump, separator);
        if (!rc)
            rc = operation_append(dump, &redo);
        separator = ",";
    }
    if (rc != ERROR_END)
        return rc;
    rc = dump_text(dump, "]}\n");
    return rc ? rc : dump_print(dump);
}

/* ---------------------------------------------------------------------------- blocks, segments */

/* A segment, and what its blocks add up to. */
struct segment_row {
    struct wal_segment_info info;
    uint64_t blocks, records, used, first_c, last_c, first_time, last_time;
};

struct wal_dump {
    struct dump line;
    bool json;
    const char *path;
    struct segment_row *rows;
    size_t count;
};

/* A time as "2025-01-31T12:00:00.123Z", "-" when unknown. */
static const char *time_text(uint64_t ns, char out[32])
{
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm tm;
    char text[24];
    if (ns == 0 || gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        return "-";
    snprintf(out, 32, "%s.%03uZ", text, (unsigned)(ns / 1000000 % 1000));
    return out;
}

static int written(int printed)
{
    return printed < 0 ? diag_set(ERROR_IO, "cannot write to standard output") : 0;
}

static int on_block(const struct wal_block_info *block, void *arg)
{
    const struct wal_dump *all = arg;
    char time[32];
    if (all->json)
        return written(printf("{\"segment\":%" PRIu64 ",\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64
                              ",\"incarnation\":%" PRIu64 ",\"sequence\":%" PRIu64
                              ",\"durable_sequence\":%" PRIu64 ",\"previous_c\":%" PRIu64
                              ",\"c\":%" PRIu64 ",\"time_ns\":%" PRIu64 ",\"chunks\":%" PRIu32
                              ",\"records\":%" PRIu64 ",\"record_bytes\":%" PRIu64 "}\n",
                              block->segment, block->offset, block->bytes, block->incarnation,
                              block->sequence, block->durable_sequence, block->previous_c, block->c,
                              block->time, block->chunks, block->records, block->data_bytes));
    return written(printf("%8" PRIu64 " %10" PRIu64 " %10" PRIu64 " %6" PRIu64 " %10" PRIu64
                          " %12" PRIu64 " %12" PRIu64 " %8" PRIu64 "  %s\n",
                          block->segment, block->offset, block->bytes, block->incarnation,
                          block->sequence, block->previous_c, block->c, block->records,
                          time_text(block->time, time)));
}

static int on_segment(const struct wal_segment_info *segment, void *arg)
{
    struct wal_dump *all = arg;
    struct segment_row *rows = realloc(all->rows, (all->count + 1) * sizeof *rows);
    if (rows == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    all->rows = rows;
    rows[all->count++] = (struct segment_row){.info = *segment};
    return 0;
}

static int count_block(const struct wal_block_info *block, void *arg)
{
    struct wal_dump *all = arg;
    for (size_t n = all->count; n > 0; n--) {
        struct segment_row *row = &all->rows[n - 1];
        if (row->info.number != block->segment)
            continue;
        if (row->blocks++ == 0) {
            row->first_c = block->previous_c + 1;
            row->first_time = block->time;
        }
        row->records += block->records;
        row->used = block->offset + block->bytes;
        row->last_c = block->c;
        row->last_time = block->time;
        break;
    }
    return 0;
}

static int segment_print(const struct wal_dump *all, const struct segment_row *row)
{
    const struct wal_segment_info *info = &row->info;
    char first[32], last[32];
    if (all->json)
        return written(printf("{\"segment\":%" PRIu64 ",\"version\":%" PRIu32 ",\"bytes\":%" PRIu64
                              ",\"used_bytes\":%" PRIu64 ",\"incarnation\":%" PRIu64
                              ",\"index\":%" PRIu64 ",\"blocks\":%" PRIu64 ",\"records\":%" PRIu64
                              ",\"first_ts\":%" PRIu64 ",\"last_ts\":%" PRIu64
                              ",\"first_time_ns\":%" PRIu64 ",\"last_time_ns\":%" PRIu64 "}\n",
                              info->number, info->version, info->bytes, row->used,
                              info->incarnation, info->index, row->blocks, row->records,
                              row->first_c, row->last_c, row->first_time, row->last_time));
    return written(printf("%8" PRIu64 " %10" PRIu64 " %10" PRIu64 " %6" PRIu64 " %8" PRIu64
                          " %10" PRIu64 " %12" PRIu64 " %12" PRIu64 "  %s %s\n",
                          info->number, info->bytes, row->used, info->incarnation, row->blocks,
                          row->records, row->first_c, row->last_c,
                          time_text(row->first_time, first), time_text(row->last_time, last)));
}

/* ------------------------------------------------------------------------------------- the words */

static int on_dump_record(uint64_t ts, const void *body, size_t size, void *arg)
{
    return on_record(ts, body, size, &((struct wal_dump *)arg)->line);
}

static int dump_cat(struct wal_dump *all, struct wal_read_options *reading)
{
    struct wal_replay_stats stats;
    (void)all;
    reading->each = on_dump_record;
    return wal_read(reading, &stats);
}

static int dump_blocks(struct wal_dump *all, struct wal_read_options *reading)
{
    struct wal_replay_stats stats;
    reading->each_block = on_block;
    if (!all->json)
        printf(" segment     offset      bytes  incar   sequence        after           to  records"
               "  cut at\n");
    return wal_read(reading, &stats);
}

/* What is readable before damage is printed too. */
static int dump_segments(struct wal_dump *all, struct wal_read_options *reading)
{
    struct wal_replay_stats stats;
    reading->each_segment = on_segment;
    reading->each_block = count_block;
    int rc = wal_read(reading, &stats), printed = 0;
    if (!all->json)
        printf(" segment      bytes       used  incar   blocks    records     first ts      last ts"
               "  from, to\n");
    for (size_t n = 0; n < all->count && !printed; n++)
        printed = segment_print(all, &all->rows[n]);
    return rc ? rc : printed;
}

static int dump_verify(struct wal_dump *all, struct wal_read_options *reading)
{
    struct wal_replay_stats stats;
    char time[32];
    int rc = wal_read(reading, &stats);
    if (rc)
        return rc;
    if (all->json)
        return written(printf(
            "{\"whole\":true,\"segments\":%" PRIu64 ",\"blocks\":%" PRIu64 ",\"records\":%" PRIu64
            ",\"last_ts\":%" PRIu64 ",\"last_time_ns\":%" PRIu64 "}\n",
            stats.segments, stats.blocks, stats.records, stats.last_ts, stats.last_time));
    return written(printf("%s: whole, %" PRIu64 " segments, %" PRIu64 " blocks, %" PRIu64
                          " records up to timestamp %" PRIu64 ", cut at %s\n",
                          all->path, stats.segments, stats.blocks, stats.records, stats.last_ts,
                          time_text(stats.last_time, time)));
}

static const struct word {
    const char *name;
    int (*run)(struct wal_dump *all, struct wal_read_options *reading);
} WORDS[] = {
    {"cat", dump_cat},
    {"blocks", dump_blocks},
    {"segments", dump_segments},
    {"verify", dump_verify},
};

/* A manifest that can't be read is `perigee check`'s to report. */
static void first_segment_look_up(struct wal_read_options *reading)
{
    struct manifest manifest;
    manifest_create(&manifest);
    if (manifest_load(reading->io, &manifest) == 0 && manifest.first_segment != 0)
        reading->first_segment = manifest.first_segment;
    manifest_destroy(&manifest);
}

static int dump_folder(const struct word *word, struct wal_dump *all,
                       struct wal_read_options *reading)
{
    struct stat status;
    if (stat(all->path, &status) || !S_ISDIR(status.st_mode))
        return diag_set(ERROR_NOT_FOUND, "there is no folder %s", all->path);
    int rc = io_posix_new(all->path, false, &reading->io);
    if (rc)
        return rc;
    reading->arg = all;
    if (reading->first_segment == WAL_FIRST_FOUND)
        first_segment_look_up(reading);
    dump_create(&all->line);
    rc = word->run(all, reading);
    dump_destroy(&all->line);
    free(all->rows);
    io_delete(reading->io);
    if (fflush(stdout) && !rc)
        rc = diag_set(ERROR_IO, "cannot write to standard output");
    return rc;
}

/* Takes "--name N" or "--name=N" at argv[*n]; false when it is something else. */
static bool number_option(int argc, char **argv, int *n, const char *name, uint64_t *out, int *rc)
{
    size_t size = strlen(name);
    const char *text = argv[*n] + size;
    if (strncmp(argv[*n], name, size) != 0 || (*text && *text != '='))
        return false;
    text = *text ? text + 1 : *n + 1 < argc ? argv[++*n] : "";
    char *end;
    *out = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end)
        *rc = diag_set(ERROR_INVALID, "%s takes a number, not '%s'", name, text);
    return true;
}

/* Takes what is this command's own out of the arguments. */
static int arguments_take(int *argc, char **argv, const struct word **word, struct wal_dump *all,
                          struct wal_read_options *reading)
{
    int kept = 0, rc = 0;
    *word = &WORDS[0];
    for (int n = 0; n < *argc && !rc; n++) {
        size_t found = 0;
        while (n == 0 && found < sizeof WORDS / sizeof *WORDS &&
               strcmp(argv[n], WORDS[found].name) != 0)
            found++;
        if (n == 0 && found < sizeof WORDS / sizeof *WORDS)
            *word = &WORDS[found];
        else if (strcmp(argv[n], "--json") == 0)
            all->json = true;
        else if (!number_option(*argc, argv, &n, "--from", &reading->first_segment, &rc) &&
                 !number_option(*argc, argv, &n, "--to", &reading->to_ts, &rc))
            argv[kept++] = argv[n];
    }
    *argc = kept;
    return rc;
}

int command_wal(int argc, char **argv)
{
    struct options options;
    struct wal_dump all = {0};
    struct wal_read_options reading = {.first_segment = WAL_FIRST_FOUND};
    const struct word *word = NULL;
    int rc = options_create(&options);
    if (!rc)
        rc = arguments_take(&argc, argv, &word, &all, &reading);
    if (!rc)
        rc = options_load(&options, &argc, &argv, environ);
    if (!rc && argc > 1)
        rc = diag_set(ERROR_INVALID, "wal takes one folder, not '%s' as well", argv[1]);
    all.path = argc > 0 ? argv[0] : options.dir;
    if (!rc)
        rc = dump_folder(word, &all, &reading);
    options_destroy(&options);
    return rc ? command_failed(rc) : 0;
}
