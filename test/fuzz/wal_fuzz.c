/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arbitrary bytes as the segment files of a log: reading never fails a check of the sanitizers, and
 * hands over no record that was not valid.
 *
 * The first byte chooses how the rest becomes files. Bytes alone rarely get past a checksum, so a
 * bit of it asks for the checksums to be made right: then whatever else is in the headers and
 * records is believed as far as a reader may.
 *      bits 0-1   how many segments the rest is cut into, less one
 *      bit 2      segment headers get magic, version, number and checksum
 *      bit 3      and what looks like a block header, on every page, is sealed
 *      bit 4      the log begins with what is there
 *      bit 5      and compressed chunks get their checksum
 *      bit 6      what is saved of a damaged log goes on behind lost blocks
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "codec/crc32c.h"
#include "wal/wal_internal.h"
#include "wal/wal_tools.h"

enum { SEGMENTS_MAX = 4, SALT = 1 };

/* A directory that can only be read, of files in memory. */
struct memory_io {
    struct io base;
    struct {
        unsigned char *data;
        size_t size;
    } segments[SEGMENTS_MAX];
    size_t count;
};

struct memory_file {
    struct io_file base;
    const unsigned char *data;
    size_t size;
};

static int memory_open(struct io *io, const char *path, int flags, struct io_file **out)
{
    struct memory_io *memory = (struct memory_io *)(void *)io;
    uint64_t number;
    ASSERT(flags == IO_READ && wal__segment_parse(path, &number) && number >= 1 &&
           number <= memory->count);
    struct memory_file *file = calloc(1, sizeof(*file));
    ASSERT(file != NULL);
    file->base.vtab = io->vtab;
    file->data = memory->segments[number - 1].data;
    file->size = memory->segments[number - 1].size;
    *out = &file->base;
    return 0;
}

static void memory_close(struct io_file *file)
{
    free(file);
}

static int64_t memory_read(struct io_file *base, void *data, size_t size, uint64_t offset)
{
    struct memory_file *file = (struct memory_file *)(void *)base;
    if (offset >= file->size)
        return 0;
    if (size > file->size - offset)
        size = file->size - offset;
    memcpy(data, file->data + offset, size);
    return (int64_t)size;
}

static int memory_list(struct io *io, int (*each)(const char *name, uint64_t size, void *arg),
                       void *arg)
{
    struct memory_io *memory = (struct memory_io *)(void *)io;
    for (size_t i = 0; i < memory->count; i++) {
        char name[32];
        wal__segment_name(i + 1, name);
        int rc = each(name, memory->segments[i].size, arg);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static const struct io_vtab memory_vtab = {
    .open = memory_open,
    .close = memory_close,
    .read = memory_read,
    .list = memory_list,
};

/* Makes the header right as it stands, except for a few fields without which nothing further would
 * be looked at. */
static void repair_segment_header(unsigned char *page, uint64_t number)
{
    struct wal_segment_header header;
    memcpy(&header, page, sizeof(header));
    header.number = number;
    header.salt = SALT;
    header.zero = 0;
    wal_segment_header_encode(&header, page);
}

/* The chunks of a block of `block_bytes` bytes, as far as they lie in it. */
static void repair_chunks(unsigned char *block, const struct wal_block_header *header)
{
    uint64_t at = wal_block_header_bytes(header->chunks);
    for (uint32_t i = 0; i < header->chunks; i++) {
        struct wal_chunk_header chunk;
        unsigned char *bytes = block + wal_block_header_bytes(i);
        memcpy(&chunk, bytes, sizeof(chunk));
        if (chunk.bytes > header->block_bytes - at)
            return;
        if (chunk.flags & WAL_CHUNK_COMPRESSED)
            chunk.stored_checksum = crc32c(0, block + at, chunk.bytes);
        memcpy(bytes, &chunk, sizeof(chunk));
        at += chunk.bytes;
    }
}

/* `previous` is the checksum of the header before, of a segment or of a block, over all segments.
 */
static void repair_blocks(unsigned char *data, size_t size, bool chunks, uint32_t *previous)
{
    struct wal_segment_header segment;
    memcpy(&segment, data, sizeof(segment));
    if (segment.index == 0)
        *previous = segment.checksum;
    for (size_t at = WAL_ALIGN; at + WAL_ALIGN <= size; at += WAL_ALIGN) {
        struct wal_block_header header;
        if (!wal_block_header_peek(data + at, size - at, &header))
            continue;
        header.previous_checksum = *previous;
        memcpy(data + at, &header, sizeof(header));
        if (chunks)
            repair_chunks(data + at, &header);
        wal_block_header_seal(data + at, SALT);
        memcpy(&header, data + at, sizeof(header));
        *previous = header.checksum;
    }
}

/* A record that is handed over lies whole in a segment, and its checksum holds. */
static int check_record(uint64_t ts, const void *body, size_t size, void *arg)
{
    uint32_t checksum;
    (void)arg;
    ASSERT(size <= UINT32_MAX);
    memcpy(&checksum, (const char *)body - WAL_RECORD_HEADER_SIZE + 4, sizeof(checksum));
    ASSERT(checksum == wal_record_checksum(ts, body, (uint32_t)size));
    return 0;
}

/* Of a log that is whole (`whole`: how it was read) all is saved. */
static void salvage(struct io *io, uint64_t first_segment, bool past_gaps,
                    const struct wal_replay_stats *whole)
{
    struct wal_salvage_stats stats;
    const struct wal_salvage_options options = {
        .io = io, .first_segment = first_segment, .past_gaps = past_gaps, .each = check_record};
    int rc = wal_salvage(&options, &stats);
    ASSERT(rc == 0 || rc == ERROR_VERSION || rc == ERROR_MEMORY);
    /* A log that merely begins with what is there may have lost its beginning. */
    if (whole != NULL && rc == 0 && first_segment == 0)
        ASSERT(stats.losses == 0 && stats.records >= whole->records);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct memory_io memory = {.base.vtab = &memory_vtab};
    unsigned mode = *data++;
    size--;
    memory.count = (mode & 3) + 1u;
    size_t each = size / memory.count;
    uint32_t previous = 0;
    for (size_t i = 0; i < memory.count; i++) {
        size_t bytes = i + 1 < memory.count ? each : size - i * each;
        memory.segments[i].data = malloc(bytes + 1);
        ASSERT(memory.segments[i].data != NULL);
        memcpy(memory.segments[i].data, data + i * each, bytes);
        memory.segments[i].size = bytes;
        if (mode & 4 && bytes >= WAL_ALIGN)
            repair_segment_header(memory.segments[i].data, i + 1);
        if (mode & 8 && bytes >= WAL_ALIGN)
            repair_blocks(memory.segments[i].data, bytes, mode & 32, &previous);
    }
    struct wal_replay_stats stats;
    const struct wal_read_options options = {
        .io = &memory.base, .first_segment = mode & 16 ? WAL_FIRST_FOUND : 0, .each = check_record};
    int rc = wal_read(&options, &stats);
    ASSERT(rc == 0 || rc == ERROR_CORRUPT || rc == ERROR_VERSION || rc == ERROR_MEMORY);
    salvage(&memory.base, options.first_segment, mode & 64, rc == 0 ? &stats : NULL);
    for (size_t i = 0; i < memory.count; i++)
        free(memory.segments[i].data);
    return 0;
}
