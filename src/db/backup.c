/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A backup: a checkpoint, the files that its manifest names, and their description.
 *
 *      checkpoint ─► manifest held ─► each run linked or copied, then verified ─► manifest ─► backup
 *                    (no file goes)   or found in the base                        (flushed) (renamed)
 *
 * Runs never change, so a second name is as good as a copy where both directories are on one file
 * system; files of engines that change theirs are copied, and hold still for that where they are read; after a copy the two are compared by checksum. What the base has counts as the same file
 * only if name, size and checksum are: after a restore numbers of files can be given a second time.
 * So an incremental backup reads all runs, too, and finds those that have been damaged.
 *
 * The time noted is taken after the checkpoint: whoever restores to a time before it would get
 * commits behind that time, and is refused.
 */
#include "db/backup.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "codec/crc32c.h"
#include "db/checkpoint_private.h"
#include "storage/run/run.h"
#include "wal/wal_tools.h"

struct backing {
    struct db *db;
    const struct backup_options *options;
    struct backup_result *result;
    struct manifest manifest;
    struct backup backup, base;
    uint64_t done, total; /* bytes */
};

static int any_file(const char *name, uint64_t size, void *arg)
{
    (void)name, (void)size, (void)arg;
    return ERROR_EXISTS;
}

static int target_check(struct io *target)
{
    int rc = io_list(target, any_file, NULL);
    return rc == ERROR_EXISTS
               ? diag_set(rc, "the folder for a backup must be empty: nothing is overwritten")
               : rc;
}

static void progress(void *arg, uint64_t bytes)
{
    struct backing *backing = arg;
    const struct db_progress *to = &backing->options->progress;
    backing->done += bytes;
    if (to->tell != NULL)
        to->tell(to->arg, "backup", backing->done, backing->total);
}

/* Names it, and notes which segment of the log goes on from here, as long as that is there. ERROR_AGAIN: some tree is
 * ahead of what it says of the others. */
static int log_look(const struct manifest *manifest, void *arg)
{
    struct backing *backing = arg;
    struct backup *backup = &backing->backup;
    if (manifest_is_ahead(manifest))
        return ERROR_AGAIN;
    /* 0: of the log nothing has ever been given up. */
    backup->first_segment = manifest->first_segment == 0 ? 1 : manifest->first_segment;
    backup->k = manifest->clock;
    return wal_file_checksum(backing->db->io, backup->first_segment, &backup->segment_checksum);
}

static void id_make(char *out)
{
    snprintf(out, BACKUP_ID_SIZE + 1, "%016" PRIx64 "%016" PRIx64, random_seed(), random_seed());
}

/* A manifest that has ingested rows, which are ahead of the others, says nothing of one moment: the next one does. */
static int manifest_take(struct backing *backing)
{
    int rc;
    do {
        rc = db_checkpoint(backing->db);
        if (rc != 0)
            return rc;
        backing->backup.time_ms = clock_realtime_ms(backing->db->clock) + 1;
        rc = db__files_hold(backing->db, &backing->manifest, log_look, backing);
    } while (rc == ERROR_AGAIN);
    return rc;
}

/* ------------------------------------------------------------------------------------------- runs
 */

/* Reads the run in the target to its end. */
static int run_check(struct io *io, const char *name)
{
    struct run *run;
    int rc = run_open(io, name, &run);
    if (rc != 0)
        return rc;
    rc = run_verify(run, NULL, NULL);
    run_close(run);
    return rc;
}

/* A file that changes meanwhile is longer, perhaps, than what is wanted of it. */
static int copy_cut(struct io *io, const char *name, uint64_t bytes, uint32_t *checksum)
{
    struct io_file *file;
    int rc = io_open(io, name, IO_WRITE, &file);
    if (rc != 0)
        return rc;
    rc = io_truncate(file, bytes);
    if (rc == 0)
        rc = io_sync(file);
    io_close(file);
    return rc != 0 ? rc : backup_measure(io, name, &bytes, checksum, NULL, NULL);
}

static bool changes_files(const struct manifest_tree *tree)
{
    const struct engine_vtab *engine = engine_find(tree->engine, strlen(tree->engine));
    return engine != NULL && (engine->flags & ENGINE_CHANGES_FILES) != 0;
}

/* What the file has at the root that the manifest names stays while the files are held. */
static int changing_check(struct io *io, const struct manifest_tree *tree)
{
    _Atomic uint64_t next_file = 1;
    struct engine_options options = {.io = io,
                                     .space_id = tree->space_id,
                                     .incarnation = tree->incarnation,
                                     .files = tree->files,
                                     .file_count = tree->file_count,
                                     .next_file = &next_file};
    return engine_verify_files(engine_find(tree->engine, strlen(tree->engine)), &options);
}

static int run_store(struct backing *backing, const struct manifest_tree *tree,
                     const struct engine_file *file, struct backup_entry *entry)
{
    struct io *from = backing->db->io, *to = backing->options->target;
    bool changes = changes_files(tree);
    uint32_t copied = 0;
    uint64_t bytes;
    int rc = changes ? ERROR_UNSUPPORTED : io_link(from, entry->name, to, entry->name);
    bool linked = rc == 0;
    if (rc == ERROR_UNSUPPORTED)
        rc = backup_copy(from, to, entry->name, &bytes, &copied, NULL, NULL);
    if (rc == 0 && changes)
        rc = copy_cut(to, entry->name, file->bytes, &copied);
    if (rc != 0)
        return rc;
    strcpy(entry->in, backing->backup.id);
    backing->result->stored_files++;
    backing->result->linked_files += linked;
    rc = changes ? changing_check(to, tree) : run_check(to, entry->name);
    if (rc == 0)
        rc = backup_measure(to, entry->name, &entry->bytes, &entry->checksum, progress, backing);
    if (rc == 0 && !linked && copied != entry->checksum)
        rc = diag_set(ERROR_CORRUPT, "%s, offset 0: the copy differs from what was copied",
                      entry->name);
    backing->result->stored_bytes += entry->bytes;
    return rc;
}

/* What the base knows under that name; NULL if it is another file. */
static int base_look(struct backing *backing, const struct engine_file *file,
                     const struct backup_entry **out)
{
    const struct backup_entry *entry = backup_find(&backing->base, file->name);
    uint64_t bytes;
    uint32_t checksum;
    *out = NULL;
    if (entry == NULL || entry->bytes != file->bytes)
        return 0;
    int rc = backup_measure(backing->db->io, file->name, &bytes, &checksum, progress, backing);
    if (rc == 0 && bytes == entry->bytes && checksum == entry->checksum)
        *out = entry;
    return rc;
}

static int file_take(struct backing *backing, const struct manifest_tree *tree,
                     const struct engine_file *file)
{
    struct backup_entry entry = {.bytes = file->bytes};
    const struct backup_entry *known;
    strcpy(entry.name, file->name);
    if (backing->options->stop != NULL && atomic_load(backing->options->stop))
        return diag_set(ERROR_CANCELLED, "the backup was stopped");
    int rc = base_look(backing, file, &known);
    if (rc == 0 && known != NULL)
        entry = *known;
    else if (rc == 0)
        rc = run_store(backing, tree, file, &entry);
    if (rc == 0)
        rc = backup_add(&backing->backup, &entry);
    backing->result->files++;
    backing->result->bytes += entry.bytes;
    return rc;
}

static int files_take(struct backing *backing)
{
    const struct manifest *manifest = &backing->manifest;
    for (unsigned i = 0; i < manifest->tree_count; i++)
        for (unsigned n = 0; n < manifest->trees[i].file_count; n++)
            backing->total += manifest->trees[i].files[n].bytes;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < manifest->tree_count; i++)
        for (unsigned n = 0; rc == 0 && n < manifest->trees[i].file_count; n++)
            rc = file_take(backing, &manifest->trees[i], &manifest->trees[i].files[n]);
    return rc;
}

/* ---------------------------------------------------------------------------------- its own files
 */

static int manifest_write(struct backing *backing)
{
    struct backup_entry *entry = &backing->backup.manifest;
    struct io_file *file;
    char *data;
    size_t size;
    int rc = manifest_encode(&backing->manifest, &data, &size);
    if (rc != 0)
        return rc;
    rc = io_open(backing->options->target, MANIFEST_NAME, IO_WRITE | IO_CREATE | IO_EXCLUSIVE,
                 &file);
    if (rc == 0) {
        rc = io_write(file, data, size, 0);
        if (rc == 0)
            rc = io_sync(file);
        io_close(file);
    }
    strcpy(entry->name, MANIFEST_NAME);
    strcpy(entry->in, backing->backup.id);
    entry->bytes = size;
    entry->checksum = crc32c(0, data, size);
    free(data);
    return rc;
}

static int base_load(struct backing *backing)
{
    const struct backup_options *options = backing->options;
    if (options->base == NULL)
        return 0;
    int rc = backup_load(options->base, &backing->base);
    if (rc == ERROR_NOT_FOUND)
        return diag_set(rc, "%s is no backup, or an unfinished one: it has no file `backup`",
                        options->base_folder);
    if (rc != 0)
        return diag_add("the backup in %s", options->base_folder);
    strcpy(backing->backup.base_id, backing->base.id);
    snprintf(backing->backup.base_folder, sizeof backing->backup.base_folder, "%s",
             options->base_folder);
    return 0;
}

/* After a failure: what was begun goes, so that the same command can be given again. */
static void target_clear(struct backing *backing)
{
    struct io *target = backing->options->target;
    const struct manifest *manifest = &backing->manifest;
    (void)io_unlink(target, BACKUP_NAME);
    (void)io_unlink(target, BACKUP_NAME_NEW);
    (void)io_unlink(target, MANIFEST_NAME);
    for (unsigned i = 0; i < manifest->tree_count; i++)
        for (unsigned n = 0; n < manifest->trees[i].file_count; n++)
            (void)io_unlink(target, manifest->trees[i].files[n].name);
}

static int held_store(struct backing *backing)
{
    int rc = files_take(backing);
    if (rc == 0)
        rc = manifest_write(backing);
    if (rc == 0)
        rc = backup_store(backing->options->target, &backing->backup);
    db__files_release(backing->db);
    if (rc == 0)
        return 0;
    char message[DIAG_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", diag_message_for(rc));
    target_clear(backing);
    return diag_set(rc, "%s", message);
}

int db_backup(struct db *db, const struct backup_options *options, struct backup_result *result)
{
    struct backing backing = {.db = db, .options = options, .result = result};
    memset(result, 0, sizeof *result);
    manifest_create(&backing.manifest);
    backup_create(&backing.backup);
    backup_create(&backing.base);
    id_make(backing.backup.id);
    int rc = target_check(options->target);
    if (rc == 0)
        rc = base_load(&backing);
    if (rc == 0)
        rc = manifest_take(&backing);
    if (rc == 0)
        rc = held_store(&backing);
    memcpy(result->id, backing.backup.id, sizeof result->id);
    result->k = backing.backup.k;
    result->time_ms = backing.backup.time_ms;
    manifest_destroy(&backing.manifest);
    backup_destroy(&backing.backup);
    backup_destroy(&backing.base);
    return rc;
}
