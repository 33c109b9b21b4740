/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The parts of a restore, in order.
 *
 *   1. The description of the backup; for each file it names the folder of the chain that has it,
 *      and whether size and checksum are right.
 *   2. The log: the segments from the one at which the backup's manifest says it goes on, without a
 *      gap, from archive and log folder together (io_readonly). A number that a killed server has
 *      left unused is none. It is read once to find damage, how far it goes, and the largest
 *      timestamp in it.
 *   3. Runs and manifest are copied; a log without records is made that starts above that
 *      timestamp; the database is opened on them, and what the log has above K is replayed on top.
 *   4. A checkpoint.
 *
 * Where to stop. A timestamp is exact: the records up to it. A time is that of the cut of an epoch
 * (invariant 1), which many commits share: blocks cut up to then count, whole. The log is read up to
 * the first block behind, so what is damaged or missing further on does no harm.
 *
 * The segments of the new log are numbered from where the old one's were needed. An archive that
 * has the old ones refuses them (wal_release.c): two histories do not get into one archive.
 */
#include "db/restore.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/checkpoint.h"
#include "db/db_private.h"
#include "io/io_readonly.h"
#include "wal/wal_tools.h"

enum { LOOKS_MAX = 16 /* at folders that change meanwhile */ };

struct restoring {
    const struct restore_options *options;
    struct restore_report *report;
    struct backup backup;
    struct backup chain[RESTORE_CHAIN_MAX]; /* those of the folders that are backups */
    uint64_t done, total;
    const char *doing;

    struct io *segments; /* those that follow one another; NULL: there are none */
    uint64_t *numbers;
    size_t number_count, number_capacity;
    uint64_t first_segment, behind_segment;
    uint64_t gap_from, gap_through; /* segments that are missing before later ones; 0: none */
    bool stopped;                   /* a block behind what was asked for was seen */
    uint64_t last_ts, last_time;    /* of the last block that counts */
    uint64_t clock;

    wal_replay_fn each; /* of the database that is being opened; NULL: only reading */
    void *each_arg;
};

static void progress(void *arg, uint64_t bytes)
{
    struct restoring *restoring = arg;
    const struct db_progress *to = &restoring->options->progress;
    restoring->done += bytes;
    if (to->tell != NULL)
        to->tell(to->arg, restoring->doing, restoring->done, restoring->total);
}

static void progress_begin(struct restoring *restoring, const char *doing)
{
    restoring->doing = doing;
    restoring->done = 0;
    restoring->total = restoring->report->bytes;
}

/* -------------------------------------------------------------------------------------- the chain
 */

static int chain_load(struct restoring *restoring)
{
    const struct restore_options *options = restoring->options;
    ASSERT(options->chain_count > 0 && options->chain_count <= RESTORE_CHAIN_MAX);
    for (unsigned i = 0; i < options->chain_count; i++) {
        const struct restore_folder *folder = &options->chain[i];
        int rc = backup_load(folder->io, i == 0 ? &restoring->backup : &restoring->chain[i]);
        if (rc == ERROR_NOT_FOUND)
            return diag_set(
                rc, "%s is no backup, or one that was not finished: it has no file `backup`",
                folder->name);
        if (rc != 0)
            return diag_add("%s", folder->name);
    }
    return 0;
}

static const struct backup *chain_at(const struct restoring *restoring, unsigned number)
{
    return number == 0 ? &restoring->backup : &restoring->chain[number];
}

/* Which backup of the chain the given one lacks: as far as those that are there can say. */
static int base_missing(const struct restoring *restoring, const struct backup_entry *entry)
{
    for (unsigned i = 0; i < restoring->options->chain_count; i++) {
        const struct backup *backup = chain_at(restoring, i);
        if (strcmp(backup->base_id, entry->in) == 0)
            return diag_set(ERROR_NOT_FOUND,
                            "%s is not here but in the backup %s, which was in %s; say with --base "
                            "where that is",
                            entry->name, entry->in, backup->base_folder);
    }
    return diag_set(ERROR_NOT_FOUND,
                    "%s is not here but in the backup %s; say with --base where that is, and where "
                    "those between are",
                    entry->name, entry->in);
}

static int folder_of(const struct restoring *restoring, const struct backup_entry *entry,
                     const struct restore_folder **out)
{
    for (unsigned i = 0; i < restoring->options->chain_count; i++)
        if (strcmp(chain_at(restoring, i)->id, entry->in) == 0) {
            *out = &restoring->options->chain[i];
            return 0;
        }
    return base_missing(restoring, entry);
}

static int content_compare(const struct backup_entry *entry, const char *folder, uint64_t bytes,
                           uint32_t checksum)
{
    if (bytes != entry->bytes)
        return diag_set(ERROR_CORRUPT,
                        "%s/%s, offset %" PRIu64 ": size: it has %" PRIu64 " bytes, and %" PRIu64
                        " when the backup was made",
                        folder, entry->name, bytes < entry->bytes ? bytes : entry->bytes, bytes,
                        entry->bytes);
    if (checksum != entry->checksum)
        return diag_set(ERROR_CORRUPT,
                        "%s/%s, offset 0: checksum: its content is not what it was when the backup "
                        "was made",
                        folder, entry->name);
    return 0;
}

static int entry_verify(struct restoring *restoring, const struct backup_entry *entry)
{
    const struct restore_folder *folder;
    uint64_t bytes;
    uint32_t checksum;
    int rc = folder_of(restoring, entry, &folder);
    if (rc != 0)
        return rc;
    rc = backup_measure(folder->io, entry->name, &bytes, &checksum, progress, restoring);
    if (rc == ERROR_NOT_FOUND)
        return diag_set(ERROR_CORRUPT, "%s/%s, offset 0: missing: the file is not there",
                        folder->name, entry->name);
    if (rc != 0)
        return diag_add("%s/%s", folder->name, entry->name);
    return content_compare(entry, folder->name, bytes, checksum);
}

static int chain_verify(struct restoring *restoring)
{
    const struct backup *backup = &restoring->backup;
    struct restore_report *report = restoring->report;
    memcpy(report->id, backup->id, sizeof report->id);
    report->k = backup->k;
    report->time_ms = backup->time_ms;
    report->files = backup->count;
    for (size_t i = 0; i < backup->count; i++)
        report->bytes += backup->entries[i].bytes;
    progress_begin(restoring, "verify");
    int rc = entry_verify(restoring, &backup->manifest);
    for (size_t i = 0; rc == 0 && i < backup->count; i++)
        rc = entry_verify(restoring, &backup->entries[i]);
    return rc;
}

/* What the manifest names is what the backup names; and its version is one that can be read. */
static int manifest_verify(struct restoring *restoring)
{
    const struct backup *backup = &restoring->backup;
    struct manifest manifest;
    size_t files = 0;
    manifest_create(&manifest);
    int rc = manifest_load(restoring->options->chain[0].io, &manifest);
    for (unsigned i = 0; rc == 0 && i < manifest.tree_count; i++)
        for (unsigned n = 0; rc == 0 && n < manifest.trees[i].file_count; n++, files++) {
            const struct engine_file *file = &manifest.trees[i].files[n];
            const struct backup_entry *entry = backup_find(backup, file->name);
            if (entry == NULL || entry->bytes != file->bytes)
                rc = diag_set(ERROR_CORRUPT,
                              BACKUP_NAME ", offset 0: its entry of %s is not that "
                                          "of the manifest",
                              file->name);
        }
    if (rc == 0 &&
        (files != backup->count || manifest.clock != backup->k ||
         (manifest.first_segment != backup->first_segment && manifest.first_segment != 0)))
        rc = diag_set(ERROR_CORRUPT, BACKUP_NAME ", offset 0: it does not fit the manifest");
    manifest_destroy(&manifest);
    return rc;
}

/* ---------------------------------------------------------------------------------------- the log
 */

static int number_add(const char *name, uint64_t size, void *arg)
{
    struct restoring *restoring = arg;
    uint64_t number;
    (void)size;
    if (!wal_file_number(name, &number) || number < restoring->first_segment)
        return 0;
    if (restoring->number_count == restoring->number_capacity) {
        size_t capacity = 2 * restoring->number_capacity + 16;
        uint64_t *grown = realloc(restoring->numbers, capacity * sizeof *grown);
        if (grown == NULL)
            return diag_set(ERROR_MEMORY, "no memory to list log segments");
        restoring->numbers = grown;
        restoring->number_capacity = capacity;
    }
    restoring->numbers[restoring->number_count++] = number;
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Segments are copied to the archive and then removed from the log folder, and both are listed one
 * entry after the other: of a server that runs, one listing may have a gap where there is none. */
static int segments_list(struct restoring *restoring, struct io *const *dirs, unsigned count)
{
    int rc = 0;
    restoring->number_count = 0;
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = io_list(dirs[i], number_add, restoring);
    if (restoring->number_count > 0)
        qsort(restoring->numbers, restoring->number_count, sizeof *restoring->numbers, by_number);
    return rc;
}

static bool segment_shows(const char *name, void *arg)
{
    const struct restoring *restoring = arg;
    uint64_t number;
    return wal_file_number(name, &number) && number >= restoring->first_segment &&
           number < restoring->behind_segment;
}

/* How far the segments that are there follow one another, and what is missing behind that. */
static int segments_follow(struct restoring *restoring)
{
    uint64_t last = restoring->first_segment - 1;
    int rc = 0;
    restoring->behind_segment = UINT64_MAX; /* all are shown */
    restoring->gap_from = restoring->gap_through = 0;
    for (size_t i = 0; i < restoring->number_count; i++) {
        uint64_t number = restoring->numbers[i];
        bool follows = number <= last + 1;
        if (!follows && last >= restoring->first_segment)
            rc = wal_file_follows(restoring->segments, number, last, &follows);
        if (!follows) {
            restoring->gap_from = last + 1;
            restoring->gap_through = number - 1;
            break;
        }
        last = number;
    }
    restoring->behind_segment = last + 1;
    return rc;
}

/* Finds the segments from the first that is needed. */
static int segments_find(struct restoring *restoring)
{
    const struct restore_options *options = restoring->options;
    struct io *dirs[2];
    unsigned count = 0;
    int rc = 0;
    if (options->archive != NULL)
        dirs[count++] = options->archive;
    if (options->log != NULL)
        dirs[count++] = options->log;
    restoring->first_segment = restoring->behind_segment = restoring->backup.first_segment;
    rc = segments_list(restoring, dirs, count);
    if (rc != 0 || restoring->number_count == 0)
        return rc;
    rc = io_readonly_new(dirs, count, segment_shows, restoring, &restoring->segments);
    if (rc == 0)
        rc = segments_follow(restoring);
    /* A gap is one when it is seen twice. */
    uint64_t seen = 0;
    for (unsigned looks = 1; rc == 0 && restoring->gap_from != seen && looks < LOOKS_MAX; looks++) {
        seen = restoring->gap_from;
        rc = segments_list(restoring, dirs, count);
        if (rc == 0)
            rc = segments_follow(restoring);
    }
    if (rc == 0 && restoring->behind_segment == restoring->first_segment) {
        io_delete(restoring->segments);
        restoring->segments = NULL;
    }
    return rc;
}

/* The first segment has to be the one that the backup goes on with, and not another database's. */
static int segments_compare(struct restoring *restoring)
{
    uint32_t checksum;
    int rc = wal_file_checksum(restoring->segments, restoring->first_segment, &checksum);
    if (rc == 0 && checksum != restoring->backup.segment_checksum)
        rc = diag_set(ERROR_INVALID,
                      "the archive is that of another database, or of another history of this one: "
                      "its segment %" PRIu64 " is not the one with which this backup goes on",
                      restoring->first_segment);
    return rc;
}

static int on_block(const struct wal_block_info *block, void *arg)
{
    struct restoring *restoring = arg;
    const struct restore_options *options = restoring->options;
    if (options->to_time_ns != 0 && block->time == 0)
        return diag_set(ERROR_INVALID,
                        "log segment %" PRIu64 ", offset %" PRIu64
                        ": the block does not say when it was cut; give a timestamp instead of a "
                        "time",
                        block->segment, block->offset);
    if ((options->to_ts != 0 && block->previous_c >= options->to_ts) ||
        (options->to_time_ns != 0 && block->time > options->to_time_ns)) {
        restoring->stopped = true;
        return ERROR_END;
    }
    if (block->c > restoring->last_ts) {
        restoring->last_ts = block->c;
        restoring->last_time = block->time;
    }
    return 0;
}

static int record_check(const void *body, size_t size)
{
    const char *data = body, *end = data + size;
    struct txn_redo redo;
    int rc;
    while ((rc = txn_redo_next(&data, end, &redo)) == 0)
        ;
    return rc == ERROR_END ? 0 : rc;
}

static int on_record(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct restoring *restoring = arg;
    uint64_t to_ts = restoring->options->to_ts;
    if (ts <= restoring->backup.k || (to_ts != 0 && ts > to_ts))
        return 0;
    restoring->report->records++;
    return restoring->each == NULL ? record_check(body, size)
                                   : restoring->each(ts, body, size, restoring->each_arg);
}

static int on_segment(const struct wal_segment_info *segment, void *arg)
{
    struct restoring *restoring = arg;
    (void)segment;
    restoring->report->segments++;
    return 0;
}

static int segments_read(struct restoring *restoring)
{
    struct wal_read_options reading = {.io = restoring->segments,
                                       .first_segment = restoring->first_segment,
                                       .each = on_record,
                                       .each_block = on_block,
                                       .each_segment = on_segment,
                                       .arg = restoring};
    struct wal_replay_stats stats;
    restoring->report->records = restoring->report->segments = 0;
    int rc = restoring->segments == NULL ? 0 : wal_read(&reading, &stats);
    if (restoring->segments != NULL && stats.clock > restoring->clock)
        restoring->clock = stats.clock;
    return rc == ERROR_END && restoring->stopped ? 0 : rc;
}

/* Whether the log goes as far as was asked for. */
static int reach_check(struct restoring *restoring)
{
    const struct restore_options *options = restoring->options;
    uint64_t k = restoring->backup.k;
    uint64_t reached = restoring->last_ts > k ? restoring->last_ts : k;
    bool enough = restoring->stopped || (options->to_ts != 0 && reached >= options->to_ts);
    if (!enough && restoring->gap_from != 0)
        return diag_set(ERROR_INVALID,
                        "the log has a gap: segments %" PRIu64 " to %" PRIu64
                        " are missing and later ones are there; what can be reached without them "
                        "is timestamp %" PRIu64 " (--to %" PRIu64 ")",
                        restoring->gap_from, restoring->gap_through, reached, reached);
    if (!enough && options->to_ts != 0 && options->archive == NULL && options->log == NULL)
        return diag_set(ERROR_INVALID,
                        "the backup ends at timestamp %" PRIu64
                        "; what came behind it is in the log: say with --archive or --log where "
                        "that is",
                        k);
    if (!enough && options->to_ts != 0)
        return diag_set(ERROR_INVALID,
                        "timestamp %" PRIu64 " is behind the end of what there is, %" PRIu64
                        "; is a part of the log missing? segment %" PRIu64 " would be the next",
                        options->to_ts, reached, restoring->behind_segment);
    struct restore_report *report = restoring->report;
    report->ts = options->to_ts != 0 && options->to_ts < reached ? options->to_ts : reached;
    report->time_ns =
        restoring->last_ts > k ? restoring->last_time : restoring->backup.time_ms * 1000000;
    report->short_of_time = !enough && options->to_time_ns != 0;
    return 0;
}

static int target_time_check(const struct restoring *restoring)
{
    const struct restore_options *options = restoring->options;
    const struct backup *backup = &restoring->backup;
    if (options->to_ts != 0 && options->to_ts < backup->k)
        return diag_set(ERROR_INVALID,
                        "the backup has everything up to timestamp %" PRIu64
                        ", which is later than %" PRIu64 ": take an older backup",
                        backup->k, options->to_ts);
    if (options->to_time_ns != 0 && options->to_time_ns / 1000000 < backup->time_ms)
        return diag_set(ERROR_INVALID, "the backup was made after that time: take an older backup");
    return 0;
}

static int log_verify(struct restoring *restoring)
{
    int rc = target_time_check(restoring);
    if (rc == 0)
        rc = segments_find(restoring);
    if (rc == 0 && restoring->segments != NULL)
        rc = segments_compare(restoring);
    restoring->clock = restoring->backup.k;
    if (rc == 0)
        rc = segments_read(restoring);
    return rc != 0 ? rc : reach_check(restoring);
}

/* ------------------------------------------------------------------------------------- the target
 */

static int any_file(const char *name, uint64_t size, void *arg)
{
    (void)name, (void)size, (void)arg;
    return ERROR_EXISTS;
}

static int entry_copy(struct restoring *restoring, const struct backup_entry *entry)
{
    const struct restore_folder *folder;
    uint64_t bytes;
    uint32_t checksum;
    int rc = folder_of(restoring, entry, &folder);
    if (rc == 0)
        rc = backup_copy(folder->io, restoring->options->target, entry->name, &bytes, &checksum,
                         progress, restoring);
    return rc != 0 ? rc : content_compare(entry, folder->name, bytes, checksum);
}

static int files_copy(struct restoring *restoring)
{
    const struct backup *backup = &restoring->backup;
    int rc = 0;
    progress_begin(restoring, "copy");
    for (size_t i = 0; rc == 0 && i < backup->count; i++)
        rc = entry_copy(restoring, &backup->entries[i]);
    if (rc == 0)
        rc = entry_copy(restoring, &backup->manifest);
    if (rc == 0)
        rc = wal_log_create(restoring->options->target, restoring->first_segment, restoring->clock);
    return rc == 0 ? io_sync_dir(restoring->options->target) : rc;
}

static int on_open(wal_replay_fn each, void *each_arg, void *arg)
{
    struct restoring *restoring = arg;
    restoring->each = each;
    restoring->each_arg = each_arg;
    return segments_read(restoring);
}

static int target_open(struct restoring *restoring)
{
    const struct db_source source = {.replay = on_open, .arg = restoring};
    const struct db_options options = {.io = restoring->options->target,
                                       .clock = restoring->options->clock,
                                       .durability = WAL_DURABILITY_COMMIT,
                                       .worker_max = 1,
                                       .expressions = restoring->options->expressions,
                                       .source = &source};
    struct db_open_stats stats;
    struct db *db;
    int rc = db_open(&options, &stats, &db);
    if (rc != 0)
        return rc;
    rc = db__builds_again(db, restoring->backup.k);
    if (rc == 0)
        rc = db_checkpoint(db);
    if (rc != 0) {
        char message[DIAG_MESSAGE_MAX];
        snprintf(message, sizeof message, "%s", diag_message_for(rc));
        (void)db_close(db);
        return diag_set(rc, "%s", message);
    }
    wal_release_wait(db_wal(db)); /* so that nothing is left over */
    return db_close(db);
}

static int target_make(struct restoring *restoring)
{
    int rc = io_list(restoring->options->target, any_file, NULL);
    if (rc == ERROR_EXISTS)
        return diag_set(rc, "the folder to restore into must be empty: nothing is overwritten");
    if (rc == 0)
        rc = files_copy(restoring);
    return rc != 0 ? rc : target_open(restoring);
}

int db_restore(const struct restore_options *options, struct restore_report *report)
{
    memset(report, 0, sizeof *report);
    struct restoring *restoring = calloc(1, sizeof *restoring);
    if (restoring == NULL)
        return diag_set(ERROR_MEMORY, "no memory to restore a backup");
    restoring->options = options;
    restoring->report = report;
    int rc = chain_load(restoring);
    if (rc == 0)
        rc = chain_verify(restoring);
    if (rc == 0)
        rc = manifest_verify(restoring);
    if (rc == 0)
        rc = log_verify(restoring);
    if (rc == 0 && options->target != NULL)
        rc = target_make(restoring);
    if (restoring->segments != NULL)
        io_delete(restoring->segments);
    backup_destroy(&restoring->backup);
    for (unsigned i = 1; i < options->chain_count; i++)
        backup_destroy(&restoring->chain[i]);
    free(restoring->numbers);
    free(restoring);
    return rc;
}
