/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arbitrary bytes as a run: reading never fails a check of the sanitizers, whatever it finds; and a
 * run that verification calls whole reads the same forward, backward, by get and through a merge.
 *
 * Bytes alone rarely get past a checksum, so a bit of the first byte asks for the checksums to be
 * made right: of header and trailer, of the frames that the trailer, the footer and the index name.
 * Then whatever else is in them is believed as far as a reader may.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "codec/crc32c.h"
#include "storage/run/run.h"
#include "storage/run/run_block.h"
#include "storage/run/run_format.h"
#include "storage/run/run_salvage.h"

/* How far rows are followed, since an index may name one block any number of times; and how many of
 * them are looked up. */
enum { ROWS_MAX = 3000, GETS_MAX = 50 };

/* A directory with one file, which can only be read. */
struct memory_io {
    struct io base;
    unsigned char *data;
    size_t size;
};

struct memory_file {
    struct io_file base;
    const struct memory_io *io;
};

static int memory_open(struct io *io, const char *path, int flags, struct io_file **out)
{
    struct memory_file *file = calloc(1, sizeof *file);
    ASSERT(flags == IO_READ && strcmp(path, "r") == 0 && file != NULL);
    file->base.vtab = io->vtab;
    file->io = (struct memory_io *)(void *)io;
    *out = &file->base;
    return 0;
}

static void memory_close(struct io_file *file)
{
    free(file);
}

static int64_t memory_read(struct io_file *base, void *data, size_t size, uint64_t offset)
{
    const struct memory_io *io = ((struct memory_file *)(void *)base)->io;
    if (offset >= io->size)
        return 0;
    if (size > io->size - offset)
        size = io->size - offset;
    memcpy(data, io->data + offset, size);
    return (int64_t)size;
}

static int64_t memory_size(struct io_file *base)
{
    return (int64_t)((struct memory_file *)(void *)base)->io->size;
}

static const struct io_vtab memory_vtab = {
    .open = memory_open,
    .close = memory_close,
    .read = memory_read,
    .size = memory_size,
};

/* ---------------------------------------------------------------------------------------- repair
 */

/* Makes a frame right as it stands, but for what would end reading at once. */
static bool repair_frame(struct memory_io *io, const struct run_extent *extent,
                         enum run_frame_kind kind, uint32_t header_checksum)
{
    struct run_frame frame;
    if (extent->offset > io->size || extent->bytes > io->size - extent->offset ||
        extent->bytes < RUN_FRAME_BYTES)
        return false;
    unsigned char *at = io->data + extent->offset;
    memcpy(&frame, at, sizeof frame);
    frame.kind = (uint16_t)kind;
    if (!run_flags_valid(frame.flags))
        frame.flags = 0;
    frame.stored_bytes = extent->bytes - RUN_FRAME_BYTES;
    if (frame.flags == 0)
        frame.bytes = frame.stored_bytes;
    memcpy(at, &frame, sizeof frame);
    run_frame_seal(at, extent->offset, header_checksum);
    return frame.flags == 0;
}

static void repair_blocks(struct memory_io *io, const struct run_extent *index,
                          const struct run_header *header)
{
    unsigned char key[256];
    struct run_block_iter iter;
    if (run_block_open(&iter, io->data + index->offset + RUN_FRAME_BYTES,
                       index->bytes - RUN_FRAME_BYTES, false, header->up_to_ts, key,
                       sizeof key) != 0)
        return;
    for (int rc = run_block_first(&iter); rc == 0; rc = run_block_next(&iter)) {
        struct run_extent extent;
        if (iter.row.data == NULL || iter.row.size != sizeof extent)
            continue;
        memcpy(&extent, iter.row.data, sizeof extent);
        /* Not over the index itself. */
        if (extent.offset < index->offset && extent.bytes <= index->offset - extent.offset)
            repair_frame(io, &extent, RUN_FRAME_ROWS, header->checksum);
    }
}

static void repair_dictionary(struct memory_io *io, const struct run_header *header)
{
    struct run_frame frame;
    if (!(header->flags & RUN_DICTIONARY) || io->size < RUN_HEADER_BYTES + RUN_FRAME_BYTES)
        return;
    memcpy(&frame, io->data + RUN_HEADER_BYTES, sizeof frame);
    const struct run_extent extent = {RUN_HEADER_BYTES,
                                      RUN_FRAME_BYTES + frame.stored_bytes % io->size};
    repair_frame(io, &extent, RUN_FRAME_DICTIONARY, header->checksum);
}

static void repair(struct memory_io *io)
{
    struct run_header header;
    struct run_trailer trailer;
    struct run_footer footer;
    if (io->size < RUN_HEADER_BYTES + RUN_TRAILER_BYTES)
        return;
    memcpy(&header, io->data, sizeof header);
    if (!run_header_flags_valid(header.flags))
        header.flags &= RUN_ZSTD | RUN_BORROWS;
    run_header_encode(&header, io->data);
    repair_dictionary(io, &header);
    unsigned char *end = io->data + io->size - RUN_TRAILER_BYTES;
    memcpy(&trailer, end, sizeof trailer);
    uint64_t behind = io->size - RUN_TRAILER_BYTES;
    trailer.footer_offset %= behind;
    trailer.footer_bytes = behind - trailer.footer_offset;
    run_trailer_encode(&trailer, header.checksum, end);
    const struct run_extent place = {trailer.footer_offset, trailer.footer_bytes};
    if (!repair_frame(io, &place, RUN_FRAME_FOOTER, header.checksum) ||
        place.bytes < RUN_FRAME_BYTES + sizeof footer)
        return;
    const unsigned char *contents = io->data + place.offset + RUN_FRAME_BYTES;
    memcpy(&footer, contents, sizeof footer);
    contents += sizeof footer;
    uint64_t room = (place.bytes - RUN_FRAME_BYTES - sizeof footer) / sizeof(struct run_section);
    for (uint64_t i = 0; i < footer.sections && i < room && i < RUN_SECTIONS_MAX; i++) {
        struct run_section section;
        memcpy(&section, contents + i * sizeof section, sizeof section);
        const struct run_extent extent = {section.offset, section.bytes};
        if (extent.offset > place.offset || extent.bytes > place.offset - extent.offset)
            continue;
        if (repair_frame(io, &extent, RUN_FRAME_SECTION, header.checksum) &&
            section.type == RUN_SECTION_INDEX)
            repair_blocks(io, &extent, &header);
    }
}

/* ---------------------------------------------------------------------------------------- reading
 */

static void allow(int rc)
{
    ASSERT(rc == 0 || rc == ERROR_END || rc == ERROR_NOT_FOUND || rc == ERROR_CORRUPT);
}

/* A sum over rows that does not depend on their order. Reads every byte. */
static uint64_t digest(const struct engine_row *row)
{
    uint32_t crc = crc32c(0, row->key, row->key_size);
    crc = crc32c(crc, &row->ts, sizeof row->ts);
    if (row->data != NULL)
        crc = crc32c(crc ^ 1, row->data, row->size);
    return crc;
}

/* Walks and adds up. */
static uint64_t walk(struct run *run, const struct engine_range *range, bool whole, uint64_t *rows)
{
    struct run_cursor *cursor;
    struct engine_row row, again;
    struct arena arena;
    uint64_t sum = 0;
    *rows = 0;
    int rc = run_cursor_open(run, range, &cursor);
    allow(rc);
    if (rc != 0)
        return 0;
    arena_create(&arena, 1 << 20);
    for (; *rows < ROWS_MAX && (rc = run_cursor_next(cursor, &row)) == 0; ++*rows) {
        sum += digest(&row);
        if (*rows >= GETS_MAX)
            continue;
        int found = run_get(run, row.key, row.key_size, row.ts, &arena, &again);
        allow(found);
        if (found == 0)
            digest(&again);
        if (whole)
            ASSERT(found == 0 && digest(&again) == digest(&row));
        arena_reset(&arena);
    }
    allow(rc);
    if (whole)
        ASSERT(rc == 0 || rc == ERROR_END);
    arena_destroy(&arena);
    run_cursor_close(cursor);
    return sum;
}

static uint64_t merge(struct run *run, uint64_t *rows)
{
    struct run *twice[] = {run, run};
    struct run_merge *merge;
    struct engine_row row;
    uint64_t sum = 0;
    *rows = 0;
    int rc = run_merge_new(twice, 2, NULL, false, &merge);
    allow(rc);
    if (rc != 0)
        return 0;
    for (; *rows < ROWS_MAX && (rc = run_merge_next(merge, &row)) == 0; ++*rows)
        sum += digest(&row);
    allow(rc);
    run_merge_delete(merge);
    return sum;
}

static void read_all(struct run *run)
{
    const struct run_info *info = run_info(run);
    const struct engine_range backward = {.backward = true};
    uint64_t rows[3], sums[3];
    int rc = run_verify(run, NULL, NULL);
    allow(rc);
    bool whole = rc == 0;
    sums[0] = walk(run, NULL, whole, &rows[0]);
    sums[1] = walk(run, &backward, whole, &rows[1]);
    sums[2] = merge(run, &rows[2]);
    if (!whole)
        return;
    uint64_t expected = info->rows < ROWS_MAX ? info->rows : ROWS_MAX;
    for (unsigned i = 0; i < 3; i++) {
        ASSERT(rows[i] == expected);
        ASSERT(expected == ROWS_MAX || sums[i] == sums[0]);
    }
}

/* Bounds that are made of the run's own keys. */
static void read_range(struct run *run, unsigned mode)
{
    const struct run_info *info = run_info(run);
    uint64_t rows;
    struct engine_range range = {.lower_inclusive = (mode & 2) != 0,
                                 .upper_inclusive = (mode & 4) != 0,
                                 .backward = (mode & 8) != 0};
    if (info->rows == 0)
        return;
    range.lower = info->first_key;
    range.lower_size = info->first_key_size;
    range.upper = info->last_key;
    range.upper_size = info->last_key_size / 2;
    walk(run, &range, false, &rows);
}

/* Of a run that is whole all is saved. */
static void salvage(struct io *io, const struct run_info *whole)
{
    struct run_salvage *run;
    struct engine_row row;
    uint64_t rows = 0;
    int rc = run_salvage_open(io, "r", NULL, NULL, &run);
    ASSERT(rc == 0 || rc == ERROR_CORRUPT || rc == ERROR_VERSION);
    if (rc != 0)
        return;
    while ((rc = run_salvage_next(run, &row)) == 0)
        rows++;
    ASSERT(rc == ERROR_END && (whole == NULL || rows == whole->rows));
    run_salvage_close(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory_io io = {.base.vtab = &memory_vtab};
    struct run *run;
    if (size < 1)
        return 0;
    unsigned mode = data[0];
    io.size = size - 1;
    io.data = malloc(size);
    ASSERT(io.data != NULL);
    memcpy(io.data, data + 1, io.size);
    if (mode & 1)
        repair(&io);
    int rc = run_open(&io.base, "r", &run);
    ASSERT(rc == 0 || rc == ERROR_CORRUPT || rc == ERROR_VERSION);
    salvage(&io.base, rc == 0 && run_verify(run, NULL, NULL) == 0 ? run_info(run) : NULL);
    if (rc == 0) {
        read_all(run);
        read_range(run, mode);
        run_close(run);
    }
    free(io.data);
    return 0;
}
