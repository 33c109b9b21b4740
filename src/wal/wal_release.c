/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving segments up: which are needed, archiving what is finished, and making new segments of old
 * ones or removing them.
 *
 *      current ──full, durable──▶ finished ──copied──▶ archived ──wal_release──▶ spare ──▶ current
 *                                                                          └───▶ unlinked
 *
 * wal->files lists the segments that are there. The log writer adds at its end and marks what is
 * finished; one thread, the keeper, archives and removes; it is started when there is something to
 * do. Neither a slow archive nor a slow directory delays a commit: what waits is the disk space.
 *
 * Where the log may begin. Whoever releases segments first records durably which one is the first
 * (wal_options.first_segment). It must be one whose beginning a recovery can tell from damage: the
 * first of an incarnation, whose header says where it starts, or one whose first block is durable,
 * so that its absence is damage. wal_first_needed returns no other, and if need be an older one. So
 * a segment that was passed over, since a block was too large for it, is never the first.
 *
 * Renaming to a spare file and unlinking are not flushed: the numbers of these segments are below
 * the first one that is needed, so a file that comes back after a crash is not read, and the next
 * start removes it. It may come back under its old name when it has a new one as well; then its
 * header says the new number, and it is unlinked as it is, not archived and never written to.
 *
 * Archiving copies up to the end of the last block, to a temporary file that is flushed and
 * renamed, then flushes the directory. A segment that the archive has already is compared by its
 * header: that of another log under the same number is an error, not overwritten. So is one that
 * it has behind a segment that it lacks, unless this log has that one as well: with numbers left
 * unused (wal_file_follows) two logs might otherwise be mixed without ever meeting. What has failed
 * is tried again when the next segment is finished or given up, and every few seconds: a server
 * that has nothing to write catches up as well.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "wal/wal_internal.h"

void wal__files_free(struct wal_file *files)
{
    while (files != NULL) {
        struct wal_file *next = files->next;
        free(files);
        files = next;
    }
}

/* ----------------------------------------------------------------------------------- archiving */

/* Reads and decodes the header of the segment's file in `io`; *says is the number in it. */
static int header_read(struct io *io, uint64_t number, unsigned char *page, uint64_t *size,
                       uint64_t *says)
{
    char name[32];
    struct io_file *file;
    wal__segment_name(number, name);
    int rc = io_open(io, name, IO_READ, &file);
    if (rc != 0)
        return rc;
    int64_t got = io_read(file, page, WAL_ALIGN, 0), bytes = got < 0 ? got : io_size(file);
    io_close(file);
    if (bytes < 0)
        return (int)bytes;
    *size = (uint64_t)bytes;
    struct wal_segment_header header;
    const char *check = "segment header is missing";
    if (got < WAL_ALIGN || wal_segment_header_decode(page, &header, &check) != 0)
        return diag_set(ERROR_CORRUPT, "%s, offset 0: %s", name, check);
    *says = header.number;
    return 0;
}

static int copy_bytes(struct io_file *from, struct io_file *to, uint64_t bytes)
{
    unsigned char *piece = malloc(WAL_COPY_BYTES);
    if (piece == NULL)
        return diag_set(ERROR_MEMORY, "out of memory to archive a log segment");
    int rc = 0;
    for (uint64_t at = 0; rc == 0 && at < bytes;) {
        size_t want = bytes - at < WAL_COPY_BYTES ? bytes - at : WAL_COPY_BYTES;
        int64_t got = io_read(from, piece, want, at);
        if (got < 0)
            rc = (int)got;
        else if ((size_t)got < want)
            rc = diag_set(ERROR_IO, "a log segment is shorter than what was written to it");
        else
            rc = io_write(to, piece, want, at);
        if (rc == 0)
            rc = io_write_back(to, at, want);
        at += want;
    }
    free(piece);
    return rc;
}

static int copy_segment(struct io *io, struct io *archive, uint64_t number, uint64_t bytes)
{
    char name[32], temporary[32];
    struct io_file *from, *to;
    wal__segment_name(number, name);
    wal__segment_temporary(number, temporary);
    int rc = io_open(io, name, IO_READ, &from);
    if (rc != 0)
        return rc;
    rc = io_open(archive, temporary, IO_WRITE | IO_CREATE | IO_TRUNCATE, &to);
    if (rc == 0) {
        rc = copy_bytes(from, to, bytes);
        if (rc == 0)
            rc = io_sync(to);
        io_close(to);
        if (rc == 0)
            rc = io_rename(archive, temporary, name);
        if (rc == 0)
            rc = io_sync_dir(archive);
        else
            (void)io_unlink(archive, temporary);
    }
    io_close(from);
    return rc;
}

struct later {
    uint64_t number, found; /* found: the first one behind number, 0: none */
};

static int later_look(const char *name, uint64_t size, void *arg)
{
    struct later *later = arg;
    uint64_t number;
    (void)size;
    if (wal__segment_parse(name, &number) && number > later->number &&
        (later->found == 0 || number < later->found))
        later->found = number;
    return 0;
}

static int another_log(uint64_t number)
{
    return diag_set(ERROR_EXISTS, "the archive has segment %" PRIu64 " of another log", number);
}

/* The archive lacks the segment: another log may have left its number unused. Then what the archive
 * has behind it is not this log's. */
static int archive_compare(struct io *io, struct io *archive, uint64_t number, unsigned char *pages)
{
    struct later later = {.number = number};
    uint64_t bytes, says;
    int rc = io_list(archive, later_look, &later);
    if (rc != 0 || later.found == 0)
        return rc;
    rc = header_read(io, later.found, pages, &bytes, &says);
    if (rc == 0)
        rc = header_read(archive, later.found, pages + WAL_ALIGN, &bytes, &says);
    if (rc == ERROR_NOT_FOUND || (rc == 0 && memcmp(pages, pages + WAL_ALIGN, WAL_ALIGN) != 0))
        return another_log(later.found);
    return rc;
}

/* Makes sure that the archive has the segment. *gone: the file has become another segment. */
static int archive_segment(struct io *io, struct io *archive, const struct wal_file *file,
                           bool *gone)
{
    unsigned char *pages = malloc(2 * WAL_ALIGN);
    uint64_t bytes, archived, says;
    if (pages == NULL)
        return diag_set(ERROR_MEMORY, "out of memory to archive a log segment");
    int rc = header_read(io, file->number, pages, &bytes, &says);
    *gone = rc == 0 && says != file->number && file->released;
    if (rc == 0 && !*gone) {
        rc = header_read(archive, file->number, pages + WAL_ALIGN, &archived, &says);
        bool same = rc == 0 && memcmp(pages, pages + WAL_ALIGN, WAL_ALIGN) == 0;
        bool lacks = rc == ERROR_NOT_FOUND;
        if (rc == 0 && !same)
            rc = another_log(file->number);
        else if (lacks)
            rc = archive_compare(io, archive, file->number, pages);
        if (rc == 0 && (lacks || archived < file->used))
            rc = copy_segment(io, archive, file->number, file->used);
    }
    free(pages);
    return rc;
}

/* ------------------------------------------------------------------------------------- the keeper
 */

/* Under the mutex. Tells of a failure once, not of each attempt that ends in the same way. */
static void archive_failed(struct wal *wal, uint64_t number, const char *message)
{
    if (strcmp(wal->archive_message, message) != 0)
        log_error("log segment %" PRIu64 " is not archived, and stays until it is: %s", number,
                  message);
    snprintf(wal->archive_message, sizeof(wal->archive_message), "%s", message);
    atomic_fetch_add(&wal->stats.archive_failures, 1);
}

/* Archives the file, with the mutex given up meanwhile. */
static void keep_archive(struct wal *wal, struct wal_file *file)
{
    bool gone = false;
    pthread_mutex_unlock(&wal->mutex);
    int rc = archive_segment(wal->options.io, wal->options.archive, file, &gone);
    pthread_mutex_lock(&wal->mutex);
    if (gone) {
        file->dead = true;
    } else if (rc == 0) {
        file->archived = true;
        if (wal->archive_message[0] != 0)
            log_info("log segments are archived again");
        wal->archive_message[0] = 0;
        atomic_fetch_add(&wal->stats.archived, 1);
    } else {
        archive_failed(wal, file->number, diag_message_for(rc));
    }
}

/* Makes the file a spare one, or removes it, with the mutex given up meanwhile. False when neither
 * works: it stays. */
static bool keep_remove(struct wal *wal, const struct wal_file *file)
{
    char name[32], spare[32];
    bool recycle = !file->dead && file->bytes == wal->options.segment_bytes &&
                   wal->spare_count < WAL_SPARES_MAX && !wal->keeper_stop;
    pthread_mutex_unlock(&wal->mutex);
    wal__segment_name(file->number, name);
    wal__segment_spare(file->number, spare);
    int rc = recycle ? io_rename(wal->options.io, name, spare) : io_remove(wal->options.io, name);
    crash_point("wal.segment.released");
    pthread_mutex_lock(&wal->mutex);
    if (rc != 0)
        return rc == ERROR_NOT_FOUND;
    if (recycle)
        wal->spares[wal->spare_count++] = (struct wal_spare){file->number, file->bytes};
    return true;
}

/* Looks at each file once: archives what is finished, removes what was given up. Behind one that is
 * not finished or fails nothing is archived for now (a segment that was too small for its block is
 * finished before the one that was being written), so that an archive has no gap at any time: it is
 * all that there is when the folder is lost. */
static void keep(struct wal *wal)
{
    bool archive = wal->options.archive != NULL;
    for (struct wal_file **link = &wal->files; *link != NULL && !wal->keeper_stop;) {
        struct wal_file *file = *link;
        if (archive && !file->archived && !file->dead) {
            if (file->finished)
                keep_archive(wal, file);
            archive = file->archived || file->dead;
        }
        bool safe = wal->options.archive == NULL || file->archived || file->dead ||
                    wal->mutations & WAL_MUTATION_NO_ARCHIVE_WAIT;
        if (!file->released || !file->finished || !safe || !keep_remove(wal, file)) {
            link = &file->next;
            continue;
        }
        *link = file->next;
        if (wal->files_end == &file->next)
            wal->files_end = link;
        atomic_fetch_sub(&wal->stats.segments, 1);
        atomic_fetch_sub(&wal->stats.log_bytes, file->bytes);
        atomic_fetch_sub(&wal->stats.used_bytes, file->used);
        atomic_fetch_add(&wal->stats.released, 1);
        free(file);
    }
}

/* Under the mutex: until there is something to do, or the archive may be tried again. */
static void keeper_wait(struct wal *wal)
{
    struct timespec until;
    if (wal->archive_message[0] == 0) {
        pthread_cond_wait(&wal->keep, &wal->mutex);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + wal->options.archive_retry_ms * UINT64_C(1000000);
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    if (pthread_cond_timedwait(&wal->keep, &wal->mutex, &until) == ETIMEDOUT)
        wal->keeper_wanted = true;
}

static void *keeper_main(void *arg)
{
    struct wal *wal = arg;
    log_thread_name("wal-keeper");
    pthread_mutex_lock(&wal->mutex);
    while (!wal->keeper_stop) {
        if (!wal->keeper_wanted) {
            pthread_cond_broadcast(&wal->keep);
            keeper_wait(wal);
            continue;
        }
        wal->keeper_wanted = false;
        wal->keeper_busy = true;
        keep(wal);
        wal->keeper_busy = false;
    }
    pthread_cond_broadcast(&wal->keep);
    pthread_mutex_unlock(&wal->mutex);
    return NULL;
}

/* Under the mutex. */
static int keeper_wake(struct wal *wal)
{
    wal->keeper_wanted = true;
    if (wal->keeper_started) {
        pthread_cond_broadcast(&wal->keep);
        return 0;
    }
    int error = pthread_create(&wal->keeper, NULL, keeper_main, wal);
    if (error != 0)
        return diag_set_errno(ERROR_MEMORY, error,
                              "the thread that keeps log segments does not "
                              "start");
    wal->keeper_started = true;
    return 0;
}

/* ------------------------------------------------------------------------------ the log's own use
 */

int wal__release_start(struct wal *wal, struct wal_end *end)
{
    int rc = 0;
    pthread_mutex_lock(&wal->mutex);
    bool wanted = false;
    wal->files_end = &wal->files;
    wal->files = end->files;
    end->files = NULL;
    for (; *wal->files_end != NULL; wal->files_end = &(*wal->files_end)->next) {
        struct wal_file *file = *wal->files_end;
        atomic_fetch_add(&wal->stats.segments, 1);
        atomic_fetch_add(&wal->stats.log_bytes, file->bytes);
        atomic_fetch_add(&wal->stats.used_bytes, file->used);
        wanted |= file->released || wal->options.archive != NULL;
    }
    if (wanted)
        rc = keeper_wake(wal);
    pthread_mutex_unlock(&wal->mutex);
    return rc;
}

void wal__release_stop(struct wal *wal)
{
    if (wal->keeper_started) {
        pthread_mutex_lock(&wal->mutex);
        wal->keeper_stop = true;
        pthread_cond_broadcast(&wal->keep);
        pthread_mutex_unlock(&wal->mutex);
        pthread_join(wal->keeper, NULL);
    }
    wal__files_free(wal->files);
    wal->files = NULL;
}

void wal__file_add(struct wal *wal, struct wal_file *file)
{
    pthread_mutex_lock(&wal->mutex);
    file->used = WAL_ALIGN;
    *wal->files_end = file;
    wal->files_end = &file->next;
    atomic_fetch_add(&wal->stats.used_bytes, file->used);
    pthread_mutex_unlock(&wal->mutex);
}

void wal__file_finish(struct wal *wal, struct wal_file *file, uint64_t used)
{
    pthread_mutex_lock(&wal->mutex);
    file->used = used;
    file->finished = true;
    if (file->released || wal->options.archive != NULL)
        (void)keeper_wake(wal); /* what can't be started now is at the next segment */
    pthread_mutex_unlock(&wal->mutex);
}

uint64_t wal__spare_take(struct wal *wal, uint64_t *bytes)
{
    uint64_t number = 0;
    pthread_mutex_lock(&wal->mutex);
    for (unsigned i = 0; i < wal->spare_count; i++) {
        struct wal_spare spare = wal->spares[i];
        if (spare.bytes < *bytes)
            continue;
        wal->spares[i] = wal->spares[--wal->spare_count];
        *bytes = spare.bytes;
        number = spare.number;
        break;
    }
    pthread_mutex_unlock(&wal->mutex);
    return number;
}

/* ---------------------------------------------------------------------------------- for the others
 */

static bool may_begin(const struct wal *wal, const struct wal_file *file)
{
    return file->first || load_acquire(&file->durable) || wal->mutations & WAL_MUTATION_FIRST_ANY;
}

/* Two walks: what follows the beginning of a segment is written after all that is in the ones
 * before it, so once a beginning is known durable, the largest C of those before is final. */
uint64_t wal_first_needed(struct wal *wal, uint64_t ts)
{
    const struct wal_file *limit = NULL, *found = NULL;
    pthread_mutex_lock(&wal->mutex);
    for (const struct wal_file *file = wal->files; file != NULL; file = file->next)
        if (!file->released && may_begin(wal, file))
            limit = file;
    for (const struct wal_file *file = wal->files; file != NULL; file = file->next) {
        if (file->released)
            continue;
        if (may_begin(wal, file))
            found = file;
        if (file == limit || load_acquire(&file->c) > ts)
            break;
    }
    ASSERT(found != NULL);
    uint64_t held = wal__follow_hold(wal, found->number);
    const struct wal_file *file = held < found->number ? wal->files : NULL;
    for (; file != NULL && file->number <= held; file = file->next)
        if (!file->released && may_begin(wal, file))
            found = file;
    uint64_t number = found->number;
    pthread_mutex_unlock(&wal->mutex);
    wal__follow_notify(wal);
    return number;
}

uint64_t wal_held_bytes(struct wal *wal, uint64_t ts, uint64_t until_ts)
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&wal->mutex);
    for (const struct wal_file *file = wal->files; file != NULL; file = file->next) {
        uint64_t c = load_acquire(&file->c);
        if (c > until_ts)
            break;
        if (!file->released && c > ts)
            bytes += file->bytes;
    }
    pthread_mutex_unlock(&wal->mutex);
    return bytes;
}

int wal_release(struct wal *wal, uint64_t first_segment)
{
    if (wal_failed(wal))
        return diag_set(ERROR_LOG_FAILED, "no log segment is given up: %s", wal_failure(wal));
    int rc = 0;
    pthread_mutex_lock(&wal->mutex);
    uint64_t last = 0;
    for (struct wal_file *file = wal->files; file != NULL; file = file->next)
        last = file->number;
    if (first_segment > last) {
        rc = diag_set(ERROR_INVALID, "log segment %" PRIu64 " is above the current one, %" PRIu64,
                      first_segment, last);
    } else {
        uint64_t held = wal__follow_hold(wal, first_segment);
        for (struct wal_file *file = wal->files; file != NULL && file->number < held;
             file = file->next) {
            file->released = true;
            if (load_acquire(&file->c) > wal->begin)
                wal->begin = load_acquire(&file->c);
        }
        rc = keeper_wake(wal);
    }
    pthread_mutex_unlock(&wal->mutex);
    wal__follow_notify(wal);
    return rc;
}

void wal_release_wait(struct wal *wal)
{
    pthread_mutex_lock(&wal->mutex);
    while (wal->keeper_started && (wal->keeper_wanted || wal->keeper_busy))
        pthread_cond_wait(&wal->keep, &wal->mutex);
    pthread_mutex_unlock(&wal->mutex);
}

void wal_archive_failure(struct wal *wal, char *out, size_t size)
{
    pthread_mutex_lock(&wal->mutex);
    snprintf(out, size, "%s", wal->archive_message);
    pthread_mutex_unlock(&wal->mutex);
}
