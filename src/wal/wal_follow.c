/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following the log: reading the blocks that have become durable while others are written.
 *
 *      wal->files   [7: c 40] ─▶ [8: c 95] ─▶ [9: c 130, current]
 *                                  ▲ pin
 *      follower     position 60, in segment 8, at the offset behind the block with C = 60
 *
 * Whether there is something to read is asked of memory alone: the log writer publishes C of the last
 * durable block. When that is above the follower's, the next block is in the first segment whose
 * largest C is, for C ascends from block to block and from segment to segment; and since it is
 * durable it must be there, whole: nothing is guessed from what is found on disk, and a bad block is
 * damage. Blocks behind the durable ones are not looked at.
 *
 * A block has the records of each worker in order; the follower sorts all of a block by timestamp,
 * keeping those that share one as they are. C bounds all of a block from above and the next block's
 * from below, so everything comes in the order of the commits.
 *
 * The pin. A follower names the segment that it reads; wal_first_needed and wal_release leave that
 * one and those behind it (wal_release.c), so it may use the entry in wal->files, whose largest C
 * moves it on. What it keeps is bounded: beyond follow_bytes_max it is cut off, and finds that out
 * before it trusts anything that it has read, because the file may have become another segment by
 * then.
 *
 * Where it begins within a segment is found by going from header to header, a few at a time.
 *
 * Waking. The follower says that it is armed, then looks at the durable block again; the log writer
 * publishes the block, then looks whether anybody is armed. follow_mutex is held while somebody is
 * woken, so that closing waits for that; it comes before wal->mutex.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "wal/wal_internal.h"

struct wal_follower {
    struct wal *wal;
    struct wal_follower *next; /* in wal->followers */
    uint64_t pin;              /* number of the segment; under wal->mutex */
    bool cut;                  /* likewise */

    /* Of waking: under follow_mutex, but for who arms itself. */
    _Atomic bool armed;
    _Atomic uint64_t awaited; /* a durable block above this */
    void (*wake)(void *arg);
    void *wake_arg;

    struct wal_block_reader reader;
    struct wal_found segment; /* number 0: none has been opened */
    uint64_t offset;          /* of the next block in it */
    struct wal_chain chain;
    uint64_t from_ts; /* what is up to this is passed over */
    uint64_t c;       /* everything up to this has been read */

    struct wal_follow_record *records; /* of the block read last, in order */
    size_t record_count, record_capacity, record_next;
};

/* ------------------------------------------------------------------------------- open and close */

static int gone(uint64_t position, uint64_t begin)
{
    return diag_set(ERROR_NOT_FOUND,
                    "changes since %" PRIu64 " are no longer in the log, which begins at %" PRIu64,
                    position, begin);
}

/* Under the mutex: pins the first segment that has something for it, or the current one. */
static void pin_first(struct wal_follower *follower)
{
    for (const struct wal_file *file = follower->wal->files; file != NULL; file = file->next) {
        if (file->released)
            continue;
        follower->pin = file->number;
        if (load_acquire(&file->c) > follower->c)
            break;
    }
}

int wal_follow_open(struct wal *wal, uint64_t from_ts, struct wal_follower **out)
{
    if (from_ts > wal_clock(wal))
        return diag_set(ERROR_INVALID,
                        "position %" PRIu64 " is ahead of the log, which is at %" PRIu64, from_ts,
                        wal_clock(wal));
    struct wal_follower *follower = calloc(1, sizeof *follower);
    if (follower == NULL)
        return diag_set(ERROR_MEMORY, "out of memory to follow the log");
    follower->wal = wal;
    follower->from_ts = follower->c = from_ts;
    follower->reader.io = wal->options.io;
    pthread_mutex_lock(&wal->follow_mutex);
    pthread_mutex_lock(&wal->mutex);
    uint64_t begin = wal->begin;
    if (from_ts >= begin) {
        pin_first(follower);
        follower->next = wal->followers;
        wal->followers = follower;
    }
    pthread_mutex_unlock(&wal->mutex);
    pthread_mutex_unlock(&wal->follow_mutex);
    if (from_ts < begin) {
        free(follower);
        return gone(from_ts, begin);
    }
    *out = follower;
    return 0;
}

void wal_follow_close(struct wal_follower *follower)
{
    struct wal *wal = follower->wal;
    wal_follow_disarm(follower);
    pthread_mutex_lock(&wal->follow_mutex);
    pthread_mutex_lock(&wal->mutex);
    struct wal_follower **link = &wal->followers;
    while (*link != follower)
        link = &(*link)->next;
    *link = follower->next;
    pthread_mutex_unlock(&wal->mutex);
    pthread_mutex_unlock(&wal->follow_mutex);
    wal__block_reader_destroy(&follower->reader);
    free(follower->records);
    free(follower);
}

uint64_t wal_follow_end(const struct wal *wal)
{
    return load_seq_cst(&wal->durable_block);
}

uint64_t wal_follow_bytes_max(const struct wal *wal)
{
    return wal->options.follow_bytes_max;
}

uint64_t wal_follow_begin(struct wal *wal)
{
    pthread_mutex_lock(&wal->mutex);
    uint64_t begin = wal->begin;
    pthread_mutex_unlock(&wal->mutex);
    return begin;
}

uint64_t wal_follow_position(const struct wal_follower *follower)
{
    if (follower->record_next == follower->record_count)
        return follower->c;
    uint64_t before = follower->records[follower->record_next].ts - 1;
    return before > follower->from_ts ? before : follower->from_ts;
}

/* ------------------------------------------------------------------------------------- holding */

uint64_t wal__follow_hold(struct wal *wal, uint64_t number)
{
    uint64_t held = number;
    for (struct wal_follower *follower = wal->followers; follower != NULL;
         follower = follower->next) {
        uint64_t bytes = 0;
        if (follower->cut || follower->pin >= number)
            continue;
        for (const struct wal_file *file = wal->files; file != NULL && file->number < number;
             file = file->next)
            bytes += file->number >= follower->pin ? file->bytes : 0;
        follower->cut = bytes > wal->options.follow_bytes_max;
        if (follower->cut)
            atomic_fetch_add(&wal->stats.followers_cut, 1);
        else if (follower->pin < held)
            held = follower->pin;
    }
    return held;
}

/* ------------------------------------------------------------------------------------- reading */

static int cut_off(const struct wal_follower *follower)
{
    struct wal *wal = follower->wal;
    pthread_mutex_lock(&wal->mutex);
    bool cut = follower->cut;
    uint64_t begin = wal->begin;
    pthread_mutex_unlock(&wal->mutex);
    return cut ? gone(wal_follow_position(follower), begin) : 0;
}

/* The segment that has the next block: moves the pin there. *number 0: it was cut off. */
static void segment_find(struct wal_follower *follower, uint64_t *number, uint64_t *bytes)
{
    struct wal *wal = follower->wal;
    *number = 0;
    pthread_mutex_lock(&wal->mutex);
    if (!follower->cut) {
        const struct wal_file *file = wal->files;
        while (file->number < follower->pin || load_acquire(&file->c) <= follower->c)
            file = file->next;
        follower->pin = *number = file->number;
        *bytes = file->bytes;
    }
    pthread_mutex_unlock(&wal->mutex);
}

static int damaged(const struct wal_follower *follower, uint64_t offset, const char *check)
{
    char name[32];
    int rc = cut_off(follower);
    if (rc != 0)
        return rc;
    wal__segment_name(follower->segment.number, name);
    return diag_set(ERROR_CORRUPT, "%s, offset %" PRIu64 ": %s", name, offset, check);
}

/* What went wrong with a file that may not be the follower's any more. */
static int failed(const struct wal_follower *follower, int rc)
{
    if (rc != ERROR_NOT_FOUND && rc != ERROR_IO)
        return rc;
    int cut = cut_off(follower);
    return cut != 0 ? cut : rc;
}

static int segment_enter(struct wal_follower *follower, uint64_t number, uint64_t bytes)
{
    struct wal_found *segment = &follower->segment;
    uint64_t incarnation = segment->number == 0 ? 0 : segment->header.incarnation;
    bool whole = false;
    *segment = (struct wal_found){.number = number, .size = bytes};
    int rc = wal__block_bytes(&follower->reader, segment, 0, WAL_ALIGN, &whole);
    const char *check = "segment header is missing";
    if (rc == 0 && (!whole || wal_segment_header_decode(follower->reader.memory, &segment->header,
                                                        &check) != 0))
        rc = damaged(follower, 0, check);
    else if (rc == 0 && segment->header.number != number)
        rc = damaged(follower, 0, "segment number differs from the file's name");
    if (rc != 0) {
        *segment = (struct wal_found){0};
        return failed(follower, rc);
    }
    follower->offset = WAL_ALIGN;
    if (segment->header.incarnation != incarnation)
        follower->chain = wal__chain_start(&segment->header);
    return 0;
}

/* Passes over blocks that have nothing for it. 0 when the next one has. */
static int blocks_skip(struct wal_follower *follower)
{
    for (unsigned hops = 0;; hops++) {
        struct wal_block_header header;
        enum wal_block_state state;
        const char *check;
        int rc = wal__block_header(&follower->reader, &follower->segment, follower->offset, &header,
                                   &state, &check);
        if (rc != 0)
            return failed(follower, rc);
        if (state != WAL_BLOCK_VALID)
            return damaged(follower, follower->offset, check);
        if (header.c > follower->c)
            return 0;
        if (hops == WAL_FOLLOW_HOPS)
            return ERROR_BUSY;
        follower->chain = wal__chain_behind(&header);
        follower->offset += header.block_bytes;
    }
}

static int record_add(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct wal_follower *follower = arg;
    if (ts <= follower->from_ts)
        return 0;
    if (follower->record_count == follower->record_capacity) {
        size_t capacity = follower->record_capacity * 2 + 64;
        struct wal_follow_record *records = realloc(follower->records, capacity * sizeof *records);
        if (records == NULL)
            return diag_set(ERROR_MEMORY, "out of memory to follow the log");
        follower->records = records;
        follower->record_capacity = capacity;
    }
    follower->records[follower->record_count++] = (struct wal_follow_record){ts, body, size};
    return 0;
}

/* Those of one timestamp are one worker's, and stand in memory in their order. */
static int by_ts(const void *a, const void *b)
{
    const struct wal_follow_record *x = a, *y = b;
    if (x->ts != y->ts)
        return x->ts < y->ts ? -1 : 1;
    return x->body < y->body ? -1 : x->body > y->body;
}

/* Reads the next durable block: there is one. */
static int block_next(struct wal_follower *follower)
{
    struct wal_block_header header;
    enum wal_block_state state;
    const char *check;
    uint64_t number, bytes;
    segment_find(follower, &number, &bytes);
    if (number == 0)
        return cut_off(follower);
    int rc = number == follower->segment.number ? 0 : segment_enter(follower, number, bytes);
    if (rc == 0)
        rc = blocks_skip(follower);
    if (rc != 0)
        return rc;
    rc = wal__block_read(&follower->reader, &follower->chain, &follower->segment, follower->offset,
                         &header, &state, &check);
    if (rc != 0)
        return failed(follower, rc);
    if (state != WAL_BLOCK_VALID)
        return damaged(follower, follower->offset, check);
    follower->record_count = follower->record_next = 0;
    rc = wal_block_each(follower->reader.memory, follower->reader.records, record_add, follower);
    if (rc != 0) {
        follower->record_count = 0;
        return rc;
    }
    if (follower->record_count > 1)
        qsort(follower->records, follower->record_count, sizeof *follower->records, by_ts);
    follower->chain = wal__chain_behind(&header);
    follower->offset += header.block_bytes;
    follower->c = header.c;
    return 0;
}

int wal_follow_next(struct wal_follower *follower, struct wal_follow_record *out)
{
    while (follower->record_next == follower->record_count) {
        if (load_seq_cst(&follower->wal->durable_block) <= follower->c) {
            int cut = cut_off(follower);
            return cut != 0 ? cut : ERROR_AGAIN;
        }
        int rc = block_next(follower);
        if (rc != 0)
            return rc;
    }
    *out = follower->records[follower->record_next++];
    return 0;
}

/* -------------------------------------------------------------------------------------- waking */

bool wal_follow_arm(struct wal_follower *follower, void (*wake)(void *arg), void *arg)
{
    struct wal *wal = follower->wal;
    if (follower->record_next < follower->record_count)
        return false;
    if (load_seq_cst(&follower->armed))
        return true;
    pthread_mutex_lock(&wal->follow_mutex); /* who has woken it before may still be about it */
    follower->wake = wake;
    follower->wake_arg = arg;
    pthread_mutex_unlock(&wal->follow_mutex);
    store_seq_cst(&follower->awaited, follower->c);
    atomic_fetch_add(&wal->follow_armed, 1);
    store_seq_cst(&follower->armed, true);
    if (load_seq_cst(&wal->durable_block) <= follower->c && cut_off(follower) == 0)
        return true;
    wal_follow_disarm(follower);
    return false;
}

void wal_follow_disarm(struct wal_follower *follower)
{
    struct wal *wal = follower->wal;
    pthread_mutex_lock(&wal->follow_mutex);
    if (atomic_exchange(&follower->armed, false))
        atomic_fetch_sub(&wal->follow_armed, 1);
    pthread_mutex_unlock(&wal->follow_mutex);
}

static bool is_cut(struct wal *wal, const struct wal_follower *follower)
{
    pthread_mutex_lock(&wal->mutex);
    bool cut = follower->cut;
    pthread_mutex_unlock(&wal->mutex);
    return cut;
}

void wal__follow_notify(struct wal *wal)
{
    if (load_seq_cst(&wal->follow_armed) == 0)
        return;
    pthread_mutex_lock(&wal->follow_mutex);
    uint64_t c = load_seq_cst(&wal->durable_block);
    for (struct wal_follower *follower = wal->followers; follower != NULL;
         follower = follower->next) {
        if (!load_seq_cst(&follower->armed))
            continue;
        if (c <= load_seq_cst(&follower->awaited) && !is_cut(wal, follower))
            continue;
        if (atomic_exchange(&follower->armed, false)) {
            atomic_fetch_sub(&wal->follow_armed, 1);
            follower->wake(follower->wake_arg);
        }
    }
    pthread_mutex_unlock(&wal->follow_mutex);
}
