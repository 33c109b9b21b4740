/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is whole of a damaged log.
 *
 *      segments ──every page is tried──► blocks ──sorted──► the sequence of each incarnation, whose
 *                                                           gaps are what is lost ──► records
 *
 * A block is found by its magic and believed by its checksum, which is seeded with the salt of its
 * incarnation. A segment whose header is damaged has its blocks tried with the salts of all others.
 *
 * Where an incarnation ends. The header of every segment of the next one says it. Of the last one
 * nobody does: there the sequence goes on as long as it is unbroken, and a gap is a loss only if
 * some block knows a later one, or this one, durable (invariant 2); otherwise it is the end, and
 * whole blocks behind it are dead.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "wal/wal_internal.h"
#include "wal/wal_tools.h"

enum { WINDOW_BYTES = 256 * WAL_ALIGN };

static const char MISSING[] = "blocks are missing", UNREADABLE[] = "it cannot be read";

struct file {
    uint64_t number, size;
    struct wal_segment_header header;
    const char *check; /* what is wrong with the header; NULL: nothing */
};

struct block {
    size_t file;
    uint64_t offset, bytes;
    uint64_t incarnation, sequence, durable_sequence;
    uint64_t previous_c, c, records;
    const char *check; /* what is wrong with its body; NULL: nothing */
};

struct salvage {
    const struct wal_salvage_options *options;
    struct wal_salvage_stats *stats;
    struct file *files;
    size_t file_count, file_capacity;
    struct block *blocks;
    size_t block_count, block_capacity;
    unsigned char *window, *memory;
    size_t memory_bytes;
    struct wal_unpacked unpacked;
    const void *records;
    bool stopped; /* behind a gap, and not to go on */
};

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory to read a damaged log");
}

static int grow(void **items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return 0;
    size_t wanted = 2 * *capacity + 16;
    void *grown = realloc(*items, wanted * size);
    if (grown == NULL)
        return no_memory();
    *items = grown;
    *capacity = wanted;
    return 0;
}

static void tell(struct salvage *salvage, struct wal_loss loss)
{
    salvage->stats->losses++;
    if (salvage->options->lost != NULL)
        salvage->options->lost(&loss, salvage->options->arg);
}

/* -------------------------------------------------------------------------------- the segments */

static int file_add(const char *name, uint64_t size, void *arg)
{
    struct salvage *salvage = arg;
    uint64_t number, first = salvage->options->first_segment;
    if (!wal_file_number(name, &number) || (first != WAL_FIRST_FOUND && number < first))
        return 0;
    int rc = grow((void **)&salvage->files, salvage->file_count, &salvage->file_capacity,
                  sizeof *salvage->files);
    if (rc == 0)
        salvage->files[salvage->file_count++] = (struct file){.number = number, .size = size};
    return rc;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct file *)a)->number, y = ((const struct file *)b)->number;
    return x < y ? -1 : x > y;
}

static int file_open(const struct salvage *salvage, size_t index, struct io_file **out)
{
    char name[WAL_FILE_NAME_BYTES];
    wal_file_name(salvage->files[index].number, name);
    return io_open(salvage->options->io, name, IO_READ, out);
}

/* Reads the header. One that is damaged is noted, one of another version is refused. */
static int header_load(struct salvage *salvage, size_t index, struct io_file *io_file)
{
    struct file *file = &salvage->files[index];
    int64_t got = io_read(io_file, salvage->window, WAL_ALIGN, 0);
    if (got == ERROR_MEMORY)
        return (int)got;
    file->check = got < 0 ? UNREADABLE : "segment header is missing";
    int rc = got < WAL_ALIGN
                 ? ERROR_CORRUPT
                 : wal_segment_header_decode(salvage->window, &file->header, &file->check);
    if (rc == ERROR_VERSION)
        return diag_set(rc,
                        "log segment %" PRIu64 " was written by a newer version, or on a "
                        "machine with another order of bytes",
                        file->number);
    if (rc == 0 && file->header.number != file->number)
        file->check = "segment number differs from the file's name";
    else if (rc == 0)
        file->check = NULL;
    if (file->check == NULL && file->header.clock > salvage->stats->clock)
        salvage->stats->clock = file->header.clock;
    return 0;
}

static int headers_load(struct salvage *salvage)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < salvage->file_count; i++) {
        struct io_file *file;
        rc = file_open(salvage, i, &file);
        if (rc != 0)
            break;
        rc = header_load(salvage, i, file);
        io_close(file);
        if (rc == 0 && salvage->files[i].check != NULL)
            tell(salvage, (struct wal_loss){.segment = salvage->files[i].number,
                                            .check = salvage->files[i].check});
    }
    return rc;
}

/* ---------------------------------------------------------------------------------- the blocks */

static int memory_read(struct salvage *salvage, struct io_file *file, uint64_t offset,
                       uint64_t bytes, bool *whole, bool *unreadable)
{
    if (salvage->memory_bytes < bytes) {
        free(salvage->memory);
        salvage->memory_bytes = 0;
        salvage->memory = malloc(bytes);
        if (salvage->memory == NULL)
            return no_memory();
        salvage->memory_bytes = bytes;
    }
    int64_t got = io_read(file, salvage->memory, bytes, offset);
    *whole = got >= 0 && (uint64_t)got == bytes;
    *unreadable = got < 0;
    return got == ERROR_MEMORY ? (int)got : 0;
}

/* Whether the headers in memory are right with the salt of some segment of their incarnation; of
 * the block's own segment, if that has one. */
static bool headers_right(const struct salvage *salvage, size_t index,
                          const struct wal_block_header *header)
{
    const struct file *own = &salvage->files[index];
    if (header->segment != 0 && header->segment != own->number)
        return false;
    if (own->check == NULL)
        return header->incarnation == own->header.incarnation &&
               wal_block_header_verify(salvage->memory, own->header.salt);
    for (size_t i = 0; i < salvage->file_count; i++) {
        const struct file *file = &salvage->files[i];
        if (file->check == NULL && file->header.incarnation == header->incarnation &&
            wal_block_header_verify(salvage->memory, file->header.salt))
            return true;
    }
    return false;
}

/* Reads the block at a place that begins with the magic, if it is one, and adds it. *bytes: how far
 * to go on. */
static int block_try(struct salvage *salvage, size_t index, struct io_file *io_file,
                     uint64_t offset, const void *page, uint64_t *bytes)
{
    struct wal_block_header header;
    uint64_t size = salvage->files[index].size;
    bool whole, unreadable;
    *bytes = WAL_ALIGN;
    if (offset > size || !wal_block_header_peek(page, size - offset, &header))
        return 0;
    int rc = memory_read(salvage, io_file, offset, header.block_bytes, &whole, &unreadable);
    if (rc == 0 && unreadable)
        tell(salvage, (struct wal_loss){.segment = salvage->files[index].number,
                                        .offset = offset,
                                        .check = UNREADABLE});
    if (rc != 0 || !whole || !headers_right(salvage, index, &header))
        return rc;
    struct block block = {.file = index,
                          .offset = offset,
                          .bytes = header.block_bytes,
                          .incarnation = header.incarnation,
                          .sequence = header.sequence,
                          .durable_sequence = header.durable_sequence,
                          .previous_c = header.previous_c,
                          .c = header.c,
                          .records = header.records};
    rc = wal_block_body_check(salvage->memory, &salvage->unpacked, &salvage->records, &block.check);
    if (rc == 0)
        rc = grow((void **)&salvage->blocks, salvage->block_count, &salvage->block_capacity,
                  sizeof *salvage->blocks);
    if (rc != 0)
        return rc == ERROR_MEMORY ? no_memory() : rc;
    salvage->blocks[salvage->block_count++] = block;
    if (block.c > salvage->stats->clock)
        salvage->stats->clock = block.c;
    *bytes = block.check == NULL ? block.bytes : WAL_ALIGN;
    return 0;
}

/* Reads a window, or only its first page if not all of it can be read. */
static int64_t window_read(struct salvage *salvage, struct io_file *file, uint64_t at)
{
    int64_t got = io_read(file, salvage->window, WINDOW_BYTES, at);
    return got < 0 ? io_read(file, salvage->window, WAL_ALIGN, at) : got;
}

static int file_scan(struct salvage *salvage, size_t index)
{
    static const uint64_t magic = WAL_BLOCK_MAGIC;
    struct io_file *file;
    int rc = file_open(salvage, index, &file);
    if (rc != 0)
        return rc;
    bool told = false; /* of the part that cannot be read */
    for (uint64_t at = WAL_ALIGN; rc == 0 && at < salvage->files[index].size;) {
        int64_t got = window_read(salvage, file, at);
        uint64_t passed = 0, step = WAL_ALIGN;
        if (got < 0 && !told)
            tell(salvage, (struct wal_loss){.segment = salvage->files[index].number,
                                            .offset = at,
                                            .check = UNREADABLE});
        told = got < 0;
        if (got < WAL_ALIGN) /* the end, or a page that cannot be read */
            got = passed = WAL_ALIGN;
        for (; rc == 0 && passed + WAL_ALIGN <= (uint64_t)got; passed += step) {
            const unsigned char *page = salvage->window + passed;
            step = WAL_ALIGN;
            if (memcmp(page, &magic, sizeof magic) == 0)
                rc = block_try(salvage, index, file, at + passed, page, &step);
        }
        at += passed;
    }
    io_close(file);
    return rc;
}

/* A whole one before a torn one of the same number. */
static int by_sequence(const void *a, const void *b)
{
    const struct block *x = a, *y = b;
    if (x->incarnation != y->incarnation)
        return x->incarnation < y->incarnation ? -1 : 1;
    if (x->sequence != y->sequence)
        return x->sequence < y->sequence ? -1 : 1;
    return (x->check != NULL) - (y->check != NULL);
}

/* --------------------------------------------------------------------------------- the sequence */

static int block_use(struct salvage *salvage, const struct block *block)
{
    struct wal_salvage_stats *stats = salvage->stats;
    if (salvage->stopped && !salvage->options->past_gaps) {
        if (stats->blocks_left++ == 0)
            stats->left_after_ts = block->previous_c;
        stats->records_left += block->records;
        stats->left_through_ts = block->c;
        return 0;
    }
    stats->blocks++;
    stats->records += block->records;
    stats->last_ts = block->c > stats->last_ts ? block->c : stats->last_ts;
    if (salvage->options->each == NULL)
        return 0;
    struct io_file *file;
    bool whole = false, unreadable;
    const char *check = "block has changed";
    int rc = file_open(salvage, block->file, &file);
    if (rc != 0)
        return rc;
    rc = memory_read(salvage, file, block->offset, block->bytes, &whole, &unreadable);
    io_close(file);
    if (rc == 0 && whole)
        rc = wal_block_body_check(salvage->memory, &salvage->unpacked, &salvage->records, &check);
    if (rc == 0 && check != NULL)
        return diag_set(ERROR_IO, "log segment %" PRIu64 ", offset %" PRIu64 ": %s",
                        salvage->files[block->file].number, block->offset, check);
    return rc != 0 ? no_memory()
                   : wal_block_each(salvage->memory, salvage->records, salvage->options->each,
                                    salvage->options->arg);
}

/* How an incarnation goes: its blocks, and what is known of its end. */
struct course {
    size_t first, behind; /* of the blocks */
    uint64_t incarnation;
    bool end_known;
    uint64_t end_sequence, end_segment, end_offset;
    uint64_t durable; /* the largest sequence that some block knows durable */
    bool begins;      /* its first segment is there, so its blocks begin with 1 */
};

/* Whether the header says where the incarnation before ended, as who replays a log takes it (wal_replay.c). */
static bool tells_end(const struct wal_segment_header *header)
{
    return header->end_sequence != UINT64_MAX;
}

static struct course course_of(const struct salvage *salvage, size_t first)
{
    struct course course = {.first = first, .behind = first};
    course.incarnation = salvage->blocks[first].incarnation;
    while (course.behind < salvage->block_count &&
           salvage->blocks[course.behind].incarnation == course.incarnation) {
        const struct block *block = &salvage->blocks[course.behind++];
        if (block->durable_sequence > course.durable)
            course.durable = block->durable_sequence;
    }
    for (size_t i = 0; i < salvage->file_count; i++) {
        const struct wal_segment_header *header = &salvage->files[i].header;
        if (salvage->files[i].check != NULL)
            continue;
        course.begins |= header->incarnation == course.incarnation && header->index == 0;
        if (header->previous_incarnation == course.incarnation && tells_end(header)) {
            course.end_known = true;
            course.end_sequence = header->end_sequence;
            course.end_segment = header->end_segment;
            course.end_offset = header->end_offset;
        }
    }
    return course;
}

/* Says what is lost between two blocks, of which either may be NULL. A block of which only the
 * headers are right says more. */
static void gap_tell(struct salvage *salvage, const struct course *course,
                     const struct block *before, const struct block *after, uint64_t missing,
                     const struct block *torn)
{
    struct wal_loss loss = {.incarnation = course->incarnation,
                            .blocks = missing,
                            .check = MISSING,
                            .after_ts = before == NULL ? 0 : before->c,
                            .through_ts = after == NULL ? 0 : after->previous_c};
    if (before != NULL) {
        loss.segment = salvage->files[before->file].number;
        loss.offset = before->offset + before->bytes;
    } else if (after != NULL) {
        loss.segment = salvage->files[after->file].number;
        loss.offset = WAL_ALIGN;
    }
    if (torn != NULL) {
        loss.segment = salvage->files[torn->file].number;
        loss.offset = torn->offset;
        loss.check = torn->check;
        loss.after_ts = torn->previous_c;
        if (after == NULL)
            loss.through_ts = torn->c;
    }
    tell(salvage, loss);
    salvage->stopped = true;
}

static int course_follow(struct salvage *salvage, const struct course *course)
{
    const struct block *before = NULL, *torn = NULL;
    uint64_t expected = course->begins ? 1 : 0; /* 0: any */
    int rc = 0;
    for (size_t i = course->first; rc == 0 && i < course->behind; i++) {
        const struct block *block = &salvage->blocks[i];
        if (course->end_known && block->sequence > course->end_sequence)
            break;
        if (block->sequence < expected)
            continue; /* it was written twice */
        if (block->check != NULL) {
            torn = torn == NULL ? block : torn;
            continue;
        }
        if (expected != 0 && block->sequence > expected) {
            if (!course->end_known && course->durable < expected)
                return 0; /* the end, and what is behind it is dead */
            gap_tell(salvage, course, before, block, block->sequence - expected, torn);
        }
        torn = NULL;
        rc = block_use(salvage, block);
        before = block;
        expected = block->sequence + 1;
    }
    uint64_t last = expected == 0 ? 0 : expected - 1;
    uint64_t must = course->end_known ? course->end_sequence : course->durable;
    if (rc == 0 && must > last)
        gap_tell(salvage, course, before, NULL, must - last, torn);
    return rc;
}

/* An incarnation that some header knows, that has blocks, and of which none is there. */
static void absent_tell(struct salvage *salvage)
{
    for (size_t i = 0; i < salvage->file_count; i++) {
        const struct wal_segment_header *header = &salvage->files[i].header;
        bool present = false, older = false;
        if (salvage->files[i].check != NULL || header->previous_incarnation == 0 ||
            header->index != 0 || header->end_sequence == 0 || !tells_end(header))
            continue;
        for (size_t n = 0; n < salvage->block_count; n++)
            present |= salvage->blocks[n].incarnation == header->previous_incarnation;
        uint64_t first = salvage->options->first_segment;
        older = first == WAL_FIRST_FOUND ? i == 0 : header->end_segment < first;
        if (!present && !older) {
            tell(salvage, (struct wal_loss){.segment = header->end_segment,
                                            .offset = 0,
                                            .check = MISSING,
                                            .incarnation = header->previous_incarnation,
                                            .blocks = 0,
                                            .through_ts = header->clock});
            salvage->stopped = true;
        }
    }
}

/* The log begins with a segment that is not there, or whose first block is not. */
static void beginning_check(struct salvage *salvage)
{
    uint64_t first = salvage->options->first_segment;
    if (first == 0 || first == WAL_FIRST_FOUND)
        return;
    if (salvage->file_count == 0 || salvage->files[0].number != first) {
        tell(salvage, (struct wal_loss){.segment = first, .check = "the file is missing"});
        salvage->stopped = true;
        return;
    }
    const struct file *file = &salvage->files[0];
    for (size_t i = 0; i < salvage->block_count; i++)
        if (salvage->blocks[i].file == 0 && salvage->blocks[i].offset == WAL_ALIGN &&
            salvage->blocks[i].check == NULL)
            return;
    if (file->check == NULL && file->header.index == 0)
        return; /* its sequence begins with 1, which says it */
    tell(salvage, (struct wal_loss){.segment = first, .offset = WAL_ALIGN, .check = MISSING});
    salvage->stopped = true;
}

int wal_salvage(const struct wal_salvage_options *options, struct wal_salvage_stats *stats)
{
    struct salvage salvage = {.options = options, .stats = stats};
    memset(stats, 0, sizeof *stats);
    salvage.window = malloc(WINDOW_BYTES);
    int rc = salvage.window == NULL ? no_memory() : io_list(options->io, file_add, &salvage);
    if (rc == 0 && salvage.file_count > 0)
        qsort(salvage.files, salvage.file_count, sizeof *salvage.files, by_number);
    if (rc == 0)
        rc = headers_load(&salvage);
    for (size_t i = 0; rc == 0 && i < salvage.file_count; i++)
        rc = file_scan(&salvage, i);
    if (rc == 0 && salvage.block_count > 0)
        qsort(salvage.blocks, salvage.block_count, sizeof *salvage.blocks, by_sequence);
    if (rc == 0) {
        beginning_check(&salvage);
        absent_tell(&salvage);
    }
    for (size_t i = 0; rc == 0 && i < salvage.block_count;) {
        struct course course = course_of(&salvage, i);
        rc = course_follow(&salvage, &course);
        i = course.behind;
    }
    stats->segments = salvage.file_count;
    free(salvage.files);
    free(salvage.blocks);
    free(salvage.window);
    free(salvage.memory);
    wal_unpacked_destroy(&salvage.unpacked);
    return rc;
}
