/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments: the files of the log, wal-<sixteen digits>.log, numbered upwards for ever.
 *
 * A segment is made whole before it has its name: a temporary file is filled with zeros, gets its
 * header, is flushed, renamed, and the directory flushed. So a file with a segment's name has a
 * valid header, whatever was interrupted, and writing a block into it changes no metadata: one
 * direct write makes it durable. Where blocks go to the page cache, a hole of the size does instead
 * of the zeros: the flush that comes later writes metadata anyway, and every byte once. What an
 * interrupted start leaves is a temporary file, and the next start removes it.
 *
 * Or it is made of a segment that was given up (wal_release.c): renamed to a temporary file, given
 * its new header, flushed, renamed. What an interruption leaves is a temporary file as before, and
 * nothing is written with zeros: behind its own blocks there are those of the older segment. They
 * don't count, since they say another segment's number and, being older than all that is in the
 * log, too low a sequence; those of another incarnation have another salt besides.
 *
 * The next segment is prepared by a thread of its own while the current one fills. It does so in
 * pieces, with pauses that leave most of the disk's time to the log itself (zeros_pause): written at
 * one stretch, 64 MiB of zeros kept commits waiting for as long as the disk takes them. The first of an
 * incarnation is small, so that starting is quick, and each is twice the size of the one before up
 * to segment_bytes. A block larger than the one that has been prepared goes into the one after it,
 * which is made large enough; the reader finds the smaller one empty.
 *
 * Every segment header says where the previous incarnation ended (invariant 2). The first segment
 * is durable before anything else happens, and only then are the dead blocks behind that end cut
 * off and dead segments removed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "wal/wal_internal.h"

#define NAME_DIGITS 16
#define NAME_PREFIX "wal-"

static void name_with(uint64_t number, const char *suffix, char out[32])
{
    snprintf(out, 32, NAME_PREFIX "%0*" PRIu64 "%s", NAME_DIGITS,
             number % UINT64_C(10000000000000000), suffix);
}

void wal__segment_name(uint64_t number, char out[32])
{
    name_with(number, ".log", out);
}

void wal__segment_temporary(uint64_t number, char out[32])
{
    name_with(number, ".tmp", out);
}

void wal__segment_spare(uint64_t number, char out[32])
{
    name_with(number, ".spare", out);
}

static bool parse_with(const char *name, const char *suffix, uint64_t *number)
{
    if (strlen(name) != strlen(NAME_PREFIX) + NAME_DIGITS + strlen(suffix) ||
        strncmp(name, NAME_PREFIX, strlen(NAME_PREFIX)) != 0)
        return false;
    *number = 0;
    const char *digits = name + strlen(NAME_PREFIX);
    for (int i = 0; i < NAME_DIGITS; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        *number = *number * 10 + (uint64_t)(digits[i] - '0');
    }
    return strcmp(digits + NAME_DIGITS, suffix) == 0;
}

bool wal__segment_parse(const char *name, uint64_t *number)
{
    return parse_with(name, ".log", number);
}

/* ------------------------------------------------------------------------------------ cleaning */

/* Numbers of the files with one suffix, collected first because a directory is not changed while it
 * is listed. */
struct numbers {
    const char *suffix;
    uint64_t *items;
    size_t count, capacity;
};

static int collect_number(const char *name, uint64_t size, void *arg)
{
    struct numbers *numbers = arg;
    uint64_t number;
    (void)size;
    if (!parse_with(name, numbers->suffix, &number))
        return 0;
    if (numbers->count == numbers->capacity) {
        size_t capacity = numbers->capacity * 2 + 16;
        uint64_t *items = realloc(numbers->items, capacity * sizeof(*items));
        if (items == NULL)
            return diag_set(ERROR_MEMORY, "out of memory while listing log segments");
        numbers->items = items;
        numbers->capacity = capacity;
    }
    numbers->items[numbers->count++] = number;
    return 0;
}

/* Removes the files with `suffix` and a number in (above, below). */
static int unlink_between(struct io *io, const char *suffix, uint64_t above, uint64_t below)
{
    struct numbers numbers = {.suffix = suffix};
    int rc = io_list(io, collect_number, &numbers);
    for (size_t i = 0; rc == 0 && i < numbers.count; i++) {
        char name[32];
        name_with(numbers.items[i], suffix, name);
        if (numbers.items[i] > above && numbers.items[i] < below)
            rc = io_unlink(io, name);
    }
    free(numbers.items);
    return rc;
}

int wal__segment_clean_temporary(struct io *io)
{
    int rc = unlink_between(io, ".tmp", 0, UINT64_MAX);
    return rc != 0 ? rc : unlink_between(io, ".spare", 0, UINT64_MAX);
}

int wal__segment_clean_dead(struct wal *wal, const struct wal_end *end)
{
    if (end->incarnation == 0 || wal->mutations & WAL_MUTATION_NO_END)
        return 0;
    int rc = unlink_between(wal->options.io, ".log", end->segment, wal->current->number);
    if (rc != 0)
        return rc;
    char name[32];
    struct io_file *file;
    wal__segment_name(end->segment, name);
    rc = io_open(wal->options.io, name, IO_WRITE, &file);
    if (rc != 0)
        return rc;
    int64_t size = io_size(file);
    if (size < 0)
        rc = (int)size;
    else if ((uint64_t)size > end->offset)
        rc = io_truncate(file, end->offset);
    io_close(file);
    return rc;
}

/* -------------------------------------------------------------------------------------- making */

static bool writes_durably(const struct wal *wal)
{
    return wal->options.durability == WAL_DURABILITY_COMMIT && !wal->options.skip_flush;
}

static uint64_t now_ns(void)
{
    return clock_monotonic_ns(clock_system());
}

/* Zeros on their way to a new segment. */
struct zeros {
    struct wal *wal;
    uint64_t bytes;
    uint64_t piece_ns; /* when the piece was begun */
};

/* Whether the log, at the rate at which it has grown since the segment was asked for, leaves time:
 * twice as much as is needed. Under the mutex. */
static bool time_left(const struct zeros *zeros, uint64_t done)
{
    const struct wal *wal = zeros->wal;
    if (wal->prepare_hurry || wal->prepare_stop || wal->prepare_ahead == 0)
        return false;
    double used = (double)(atomic_load(&wal->stats.bytes) - wal->prepare_from_bytes);
    return used / (double)wal->prepare_ahead < (double)done / (double)zeros->bytes / 2;
}

/* After each piece: leaves the disk to others for three times as long as the piece has kept it. */
static void zeros_pause(void *arg, uint64_t done)
{
    struct zeros *zeros = arg;
    struct wal *wal = zeros->wal;
    uint64_t now = now_ns(), pause = WAL_ZEROS_PAUSES * (now - zeros->piece_ns);
    uint64_t until = now + (pause < WAL_ZEROS_PAUSE_NS_MAX ? pause : WAL_ZEROS_PAUSE_NS_MAX);
    const struct timespec deadline = {.tv_sec = (time_t)(until / 1000000000),
                                      .tv_nsec = (long)(until % 1000000000)};
    pthread_mutex_lock(&wal->mutex);
    while (now < until && time_left(zeros, done)) {
        pthread_cond_timedwait(&wal->prepare, &wal->mutex, &deadline);
        now = now_ns();
    }
    pthread_mutex_unlock(&wal->mutex);
    zeros->piece_ns = now_ns();
}

/* Makes the file what `header` says, durably. A recycled one keeps the blocks it has: they are of
 * other segments. */
static int fill(struct wal *wal, struct io_file *file, uint64_t bytes, bool recycled,
                struct wal_segment_header *header)
{
    struct zeros zeros = {.wal = wal, .bytes = bytes, .piece_ns = now_ns()};
    const struct io_between pause = {zeros_pause, &zeros};
    void *page = aligned_alloc(IO_ALIGN, WAL_ALIGN);
    if (page == NULL)
        return diag_set(ERROR_MEMORY, "out of memory for a log segment");
    int rc = 0;
    if (!recycled)
        rc =
            writes_durably(wal) ? io_allocate_zeros(file, bytes, &pause) : io_truncate(file, bytes);
    wal_segment_header_encode(header, page);
    if (rc == 0)
        rc = io_write(file, page, WAL_ALIGN, 0);
    if (rc == 0)
        rc = io_sync(file);
    free(page);
    return rc;
}

/* The file under its temporary name, from a spare one or new; *bytes becomes its size. */
static int temporary_make(struct wal *wal, struct wal_segment_header *header, uint64_t *bytes)
{
    struct io *io = wal->options.io;
    char temporary[32], spare_name[32];
    struct io_file *file;
    int rc = 0, flags = IO_WRITE;
    uint64_t spare = wal__spare_take(wal, bytes);
    if (wal->mutations & WAL_MUTATION_RECYCLE_NAMED && spare != 0)
        wal__segment_name(header->number, temporary);
    else
        wal__segment_temporary(header->number, temporary);
    if (spare != 0) {
        wal__segment_spare(spare, spare_name);
        rc = io_rename(io, spare_name, temporary);
        crash_point("wal.segment.recycled");
    } else {
        flags |= IO_CREATE | IO_TRUNCATE;
    }
    if (rc == 0)
        rc = io_open(io, temporary, flags, &file);
    if (rc != 0)
        return rc;
    rc = fill(wal, file, *bytes, spare != 0, header);
    io_close(file);
    if (rc == 0 && spare != 0)
        atomic_fetch_add(&wal->stats.recycled, 1);
    return rc;
}

/* Gives the temporary file its name, durably, and opens it. */
static int temporary_name(struct wal *wal, uint64_t number, struct io_file **out)
{
    struct io *io = wal->options.io;
    char temporary[32], name[32];
    int rc = 0;
    wal__segment_temporary(number, temporary);
    wal__segment_name(number, name);
    if (!(wal->mutations & WAL_MUTATION_RECYCLE_NAMED))
        rc = io_rename(io, temporary, name);
    else if ((rc = io_rename(io, temporary, name)) == ERROR_NOT_FOUND)
        rc = 0;
    if (rc == 0)
        rc = io_sync_dir(io);
    if (rc == 0)
        rc = io_open(io, name, IO_WRITE | (writes_durably(wal) ? IO_DIRECT : 0), out);
    return rc;
}

/* Makes the segment of `header`, at least `bytes` large, durable with its name, and opens it. */
static int segment_new(struct wal *wal, struct wal_segment_header *header, uint64_t bytes,
                       struct wal_segment **out)
{
    struct wal_segment *segment = calloc(1, sizeof(*segment));
    struct wal_file *entry = calloc(1, sizeof(*entry));
    int rc = 0;
    if (segment == NULL || entry == NULL)
        rc = diag_set(ERROR_MEMORY, "out of memory for a log segment");
    if (rc == 0)
        rc = temporary_make(wal, header, &bytes);
    if (rc == 0)
        rc = temporary_name(wal, header->number, &segment->file);
    if (rc != 0) {
        free(entry);
        free(segment);
        return rc;
    }
    segment->entry = entry;
    segment->number = entry->number = header->number;
    segment->bytes = entry->bytes = bytes;
    segment->used = WAL_ALIGN;
    segment->checksum = header->checksum;
    entry->first = header->index == 0;
    atomic_fetch_add(&wal->stats.segments, 1);
    atomic_fetch_add(&wal->stats.log_bytes, bytes);
    *out = segment;
    return 0;
}

static void segment_delete(struct wal_segment *segment)
{
    io_close(segment->file);
    free(segment);
}

/* Makes the next segment in turn. Called by one thread at a time. */
static int make_next(struct wal *wal, uint64_t bytes_min, struct wal_segment **out)
{
    uint64_t bytes = wal->segment_next_bytes > bytes_min ? wal->segment_next_bytes : bytes_min;
    int rc = segment_new(wal, &wal->segment_header, bytes, out);
    if (rc != 0)
        return rc;
    wal->segment_header.number++;
    wal->segment_header.index++;
    wal->segment_next_bytes *= 2;
    if (wal->segment_next_bytes > wal->options.segment_bytes)
        wal->segment_next_bytes = wal->options.segment_bytes;
    return 0;
}

static void *preparer_main(void *arg)
{
    struct wal *wal = arg;
    log_thread_name("wal-prepare");
    pthread_mutex_lock(&wal->mutex);
    while (!wal->prepare_stop) {
        if (wal->prepare_bytes_min == 0) {
            pthread_cond_wait(&wal->prepare, &wal->mutex);
            continue;
        }
        uint64_t bytes_min = wal->prepare_bytes_min;
        struct wal_segment *segment = NULL;
        pthread_mutex_unlock(&wal->mutex);
        int rc = make_next(wal, bytes_min, &segment);
        pthread_mutex_lock(&wal->mutex);
        wal->prepare_bytes_min = 0;
        wal->prepared = segment;
        wal->prepare_result = rc;
        if (rc != 0)
            snprintf(wal->prepare_message, sizeof(wal->prepare_message), "%s",
                     diag_message_for(rc));
        pthread_cond_broadcast(&wal->prepare);
    }
    pthread_mutex_unlock(&wal->mutex);
    return NULL;
}

static void segment_append(struct wal *wal, struct wal_segment *segment)
{
    struct wal_segment **last = &wal->segments;
    while (*last != NULL)
        last = &(*last)->next;
    *last = segment;
    wal->current = segment;
    wal__file_add(wal, segment->entry);
}

int wal__segment_start(struct wal *wal, const struct wal_end *end)
{
    wal->segment_next_bytes = WAL_SEGMENT_BYTES_FIRST;
    if (wal->segment_next_bytes > wal->options.segment_bytes)
        wal->segment_next_bytes = wal->options.segment_bytes;
    wal->segment_header = (struct wal_segment_header){
        .number = end->segment_max + 1,
        .incarnation = wal->incarnation,
        .salt = wal->salt,
        .previous_incarnation = end->incarnation,
        .end_sequence = wal->mutations & WAL_MUTATION_NO_END ? UINT64_MAX : end->sequence,
        .end_segment = end->segment,
        .end_offset = end->offset,
        .end_checksum = end->checksum,
        .clock = load_relaxed(&wal->clock),
    };
    struct wal_segment *first;
    int rc = make_next(wal, 2 * WAL_ALIGN, &first);
    if (rc != 0)
        return rc;
    segment_append(wal, first);
    wal->previous_checksum = first->checksum;
    wal->prepare_bytes_min = 2 * WAL_ALIGN;
    wal->prepare_ahead = first->bytes;
    int error = pthread_create(&wal->preparer, NULL, preparer_main, wal);
    if (error != 0)
        return diag_set_errno(ERROR_MEMORY, error, "the log's second thread does not start");
    wal->preparer_started = true;
    return 0;
}

void wal__segment_stop(struct wal *wal)
{
    if (wal->preparer_started) {
        pthread_mutex_lock(&wal->mutex);
        wal->prepare_stop = true;
        pthread_cond_broadcast(&wal->prepare);
        pthread_mutex_unlock(&wal->mutex);
        pthread_join(wal->preparer, NULL);
    }
    if (wal->prepared != NULL) {
        /* Nothing depends on it: the next start would remove it. */
        char name[32];
        wal__segment_name(wal->prepared->number, name);
        free(wal->prepared->entry);
        segment_delete(wal->prepared);
        (void)io_unlink(wal->options.io, name);
    }
    while (wal->segments != NULL) {
        struct wal_segment *segment = wal->segments;
        wal->segments = segment->next;
        segment_delete(segment);
    }
}

/* Takes the prepared segment and asks for the one after it, made for a block of `bytes` if this one
 * is too small for it. */
static int roll(struct wal *wal, uint64_t bytes)
{
    pthread_mutex_lock(&wal->mutex);
    while (wal->prepared == NULL && wal->prepare_result == 0) {
        if (!wal->prepare_hurry) {
            wal->prepare_hurry = true;
            pthread_cond_broadcast(&wal->prepare);
        }
        pthread_cond_wait(&wal->prepare, &wal->mutex);
    }
    struct wal_segment *segment = wal->prepared;
    wal->prepare_hurry = false;
    if (segment != NULL) {
        wal->prepared = NULL;
        wal->prepare_ahead = segment->bytes;
        wal->prepare_from_bytes = atomic_load(&wal->stats.bytes);
        wal->prepare_bytes_min =
            WAL_ALIGN + (segment->bytes - WAL_ALIGN < bytes ? bytes : WAL_ALIGN);
        pthread_cond_broadcast(&wal->prepare);
    }
    pthread_mutex_unlock(&wal->mutex);
    if (segment == NULL)
        return diag_set(wal->prepare_result, "no new log segment: %s", wal->prepare_message);
    segment_append(wal, segment);
    return 0;
}

int wal__segment_reserve(struct wal *wal, uint64_t bytes)
{
    int rc = 0;
    while (rc == 0 && wal->current->bytes - wal->current->used < bytes)
        rc = roll(wal, bytes);
    return rc;
}

void wal__segment_retire(struct wal *wal)
{
    for (struct wal_segment **link = &wal->segments; *link != NULL;) {
        struct wal_segment *segment = *link;
        if (segment->first_sequence != 0 && segment->first_sequence <= wal->durable_sequence)
            store_release(&segment->entry->durable, true);
        if (segment != wal->current && segment->pending == 0 && !segment->dirty) {
            *link = segment->next;
            wal__file_finish(wal, segment->entry, segment->used);
            segment_delete(segment);
        } else {
            link = &segment->next;
        }
    }
}
