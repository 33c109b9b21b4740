/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a run: rows collect in a block, and blocks are appended to a file.
 *
 *   add ──► block builder ──full──► frame ──► io_appender: large pieces, past the page cache
 *                              └──► index builder
 *
 * A block ends when it has reached its size and the next row is known, because the index's key for
 * it is the shortest that lies between its last key and that row's.
 *
 * The file is flushed once, at its end, when the disk has all of it already: all at one stretch
 * would keep the disk from those who wait for the log, and a flush of each piece would have the file
 * system write about the file each time.
 *
 * The first error stays: what follows it fails with the same code and message, and the file is
 * unlinked at the end. A flush that failed is not tried again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "codec/compress.h"
#include "io/io_append.h"
#include "storage/run/run.h"
#include "storage/run/run_block.h"
#include "storage/run/run_filter.h"
#include "storage/run/run_format.h"

struct run_writer {
    struct io *io;
    struct io_appender *file;
    struct run_header header;
    struct run_footer footer;
    struct run_section sections[RUN_SECTIONS_MAX];
    struct run_block_builder rows, index;
    uint64_t last_ts;                       /* of the row that was added last */
    struct run_memory packed;               /* what a block becomes by compression */
    struct compress_dictionary *dictionary; /* NULL: none */
    struct run_memory first_key;
    unsigned filter_bits;             /* a key; 0: no filter */
    enum run_filter_kind filter_kind; /* that is asked for; then that it is */
    struct run_filter_builder filter;
    uint64_t dictionary_bytes, filter_bytes;
    bool rows_ended;
    int failed;
    char failure[DIAG_MESSAGE_MAX];
    char name[];
};

static int fail(struct run_writer *writer, int rc)
{
    writer->failed = rc;
    snprintf(writer->failure, sizeof writer->failure, "%s", diag_message_for(rc));
    return rc;
}

static int no_memory(struct run_writer *writer)
{
    return fail(writer, diag_set(ERROR_MEMORY, "no memory to write the run %s", writer->name));
}

/* The first error again. */
static int failed_before(const struct run_writer *writer)
{
    return diag_set(writer->failed, "%s", writer->failure);
}

/* ---------------------------------------------------------------------------------------- the file
 */

/* Appends to the file. */
static int put(struct run_writer *writer, const void *data, size_t size)
{
    int rc = io_appender_put(writer->file, data, size);
    return rc != 0 ? fail(writer, rc) : 0;
}

static uint64_t offset_of_next(const struct run_writer *writer)
{
    return io_appender_offset(writer->file);
}

/* Contents ready to be a frame: the first RUN_FRAME_BYTES of `memory` are for its header. */
static int frame_put(struct run_writer *writer, unsigned char *memory,
                     const struct run_frame *frame, struct run_extent *out)
{
    *out = (struct run_extent){offset_of_next(writer), RUN_FRAME_BYTES + frame->stored_bytes};
    memcpy(memory, frame, sizeof *frame);
    run_frame_seal(memory, out->offset, writer->header.checksum);
    return put(writer, memory, out->bytes);
}

/* Appends a frame with these contents, compressed as the flags say if that makes it smaller. */
static int contents_put(struct run_writer *writer, enum run_frame_kind kind, uint32_t flags,
                        const void *data, size_t size, struct run_extent *out)
{
    struct run_frame frame = {.kind = (uint16_t)kind, .bytes = size, .stored_bytes = size};
    if (run_memory_reserve(&writer->packed, RUN_FRAME_BYTES + size) != 0)
        return no_memory(writer);
    unsigned char *packed = writer->packed.data + RUN_FRAME_BYTES;
    if (flags != 0 && size > 0 && size <= RUN_COMPRESS_BYTES_MAX) {
        int64_t bytes = compress_block(run_flags_method(flags),
                                       flags & RUN_DICTIONARY ? writer->dictionary : NULL, packed,
                                       size - 1, data, size);
        if (bytes < 0)
            return no_memory(writer);
        if (bytes > 0) {
            frame.flags = (uint16_t)flags;
            frame.stored_bytes = (uint64_t)bytes;
        }
    }
    if (frame.flags == 0 && size > 0)
        memcpy(packed, data, size);
    return frame_put(writer, writer->packed.data, &frame, out);
}

/* What is not rows has little in common with them. */
static uint32_t flags_without_dictionary(const struct run_writer *writer)
{
    return writer->header.flags & ~(uint32_t)(RUN_DICTIONARY | RUN_BORROWS);
}

/* ------------------------------------------------------------------------------------------ blocks
 */

/* The shortest key that is not below `last`, the block's last key, and below `next`; in the memory
 * of `last`, which it may change. When both are one key, that one. */
static size_t separate(unsigned char *last, size_t last_size, const struct engine_row *next)
{
    size_t at = 0;
    if (next == NULL)
        return last_size;
    while (at < last_size && at < next->key_size && last[at] == next->key[at])
        at++;
    if (at + 1 >= last_size || at >= next->key_size || last[at] + 1 >= next->key[at])
        return last_size;
    last[at]++;
    return at + 1;
}

/* Ends the present block; `next` is the row that begins the one after it, or NULL. */
static int block_flush(struct run_writer *writer, const struct engine_row *next)
{
    struct run_block_builder *rows = &writer->rows;
    struct run_extent extent;
    if (rows->rows == 0)
        return 0;
    if (run_block_end(rows) != 0)
        return no_memory(writer);
    int rc = contents_put(writer, RUN_FRAME_ROWS, writer->header.flags & ~(uint32_t)RUN_BORROWS,
                          rows->bytes.data, rows->bytes.size, &extent);
    if (rc != 0)
        return rc;
    const uint64_t data[2] = {extent.offset, extent.bytes};
    /* Between two blocks nobody needs the last key but in the footer, which comes after the last
     * block, and for that one nothing is changed. */
    struct engine_row entry = {
        .key = rows->last_key.data,
        .key_size = separate(rows->last_key.data, rows->last_key.size, next),
        .ts = writer->last_ts,
        .data = (const char *)data,
        .size = sizeof data,
    };
    if (run_block_add(&writer->index, &entry) != 0)
        return no_memory(writer);
    writer->footer.blocks++;
    run_block_reset(rows);
    return 0;
}

/* -------------------------------------------------------------------------------------- the caller
 */

static enum io_class class_of(bool background)
{
    return background ? IO_BACKGROUND : IO_CHECKPOINT;
}

void run_writer_background(struct run_writer *writer, bool background)
{
    io_appender_class_set(writer->file, class_of(background));
}

static int file_begin(struct run_writer *writer, bool background)
{
    unsigned char bytes[RUN_HEADER_BYTES];
    int rc = io_appender_new(writer->io, writer->name, class_of(background), &writer->file);
    if (rc != 0)
        return rc;
    run_header_encode(&writer->header, bytes);
    return put(writer, bytes, sizeof bytes);
}

static int dictionary_make(struct run_writer *writer, const struct run_options *options)
{
    int rc = ERROR_CORRUPT;
    if (options->dictionary_size == 0)
        return 0;
    writer->header.flags |= RUN_DICTIONARY;
    if (options->compression == COMPRESS_ZSTD &&
        options->dictionary_size <= RUN_DICTIONARY_BYTES_MAX)
        rc = compress_dictionary_new(options->dictionary, options->dictionary_size,
                                     &writer->dictionary);
    if (rc == ERROR_CORRUPT)
        return diag_set(ERROR_INVALID,
                        "the run %s cannot have this dictionary: it has to be one that zstd has "
                        "trained, of at most %d bytes, for compression by zstd",
                        options->name, RUN_DICTIONARY_BYTES_MAX);
    return rc != 0 ? no_memory(writer) : 0;
}

static int dictionary_put(struct run_writer *writer, const struct run_options *options)
{
    struct run_extent extent;
    if (writer->dictionary == NULL)
        return 0;
    writer->dictionary_bytes = options->dictionary_size;
    return contents_put(writer, RUN_FRAME_DICTIONARY, 0, options->dictionary,
                        options->dictionary_size, &extent);
}

static void writer_free(struct run_writer *writer)
{
    if (writer->file != NULL)
        io_appender_delete(writer->file);
    run_block_builder_destroy(&writer->rows);
    run_block_builder_destroy(&writer->index);
    run_memory_destroy(&writer->packed);
    run_memory_destroy(&writer->first_key);
    run_filter_builder_destroy(&writer->filter);
    compress_dictionary_delete(writer->dictionary);
    free(writer);
}

int run_writer_new(const struct run_options *options, struct run_writer **out)
{
    size_t block_bytes = options->block_bytes == 0 ? RUN_BLOCK_BYTES : options->block_bytes;
    ASSERT(block_bytes >= RUN_BLOCK_BYTES_MIN && block_bytes <= RUN_BLOCK_BYTES_MAX);
    struct run_writer *writer = calloc(1, sizeof *writer + strlen(options->name) + 1);
    if (writer == NULL)
        return diag_set(ERROR_MEMORY, "no memory to write the run %s", options->name);
    memcpy(writer->name, options->name, strlen(options->name) + 1);
    writer->io = options->io;
    writer->filter_bits = options->filter_bits;
    writer->filter_kind = options->filter_bits == 0 ? RUN_FILTER_NONE : options->filter;
    writer->header = (struct run_header){
        .space_id = options->space_id,
        .incarnation = options->incarnation,
        .index_id = options->index_id,
        .level = options->level,
        .sequence = options->sequence,
        .up_to_ts = options->up_to_ts,
        .block_bytes = (uint32_t)block_bytes,
        .flags = run_flags_of(options->compression) | RUN_BORROWS,
    };
    writer->rows.borrows = true;
    writer->rows.up_to_ts = writer->index.up_to_ts = options->up_to_ts;
    int rc = dictionary_make(writer, options);
    if (rc == 0)
        rc = file_begin(writer, options->background);
    if (rc == 0)
        rc = dictionary_put(writer, options);
    if (rc != 0) {
        if (writer->file != NULL)
            io_unlink(writer->io, writer->name);
        writer_free(writer);
        return rc;
    }
    *out = writer;
    return 0;
}

static int row_check(struct run_writer *writer, const struct engine_row *row)
{
    if (writer->rows_ended)
        return fail(writer, diag_set(ERROR_INVALID, "a row of the run %s comes after a section",
                                     writer->name));
    if (row->ts > writer->header.up_to_ts)
        return fail(writer,
                    diag_set(ERROR_INVALID,
                             "a row of timestamp %" PRIu64 " does not belong to the run %s, which "
                             "goes up to %" PRIu64,
                             row->ts, writer->name, writer->header.up_to_ts));
    const struct engine_row last = {.key = writer->rows.last_key.data,
                                    .key_size = writer->rows.last_key.size,
                                    .ts = writer->last_ts};
    if (writer->footer.rows > 0 && run_row_compare(&last, row) >= 0)
        return fail(writer, diag_set(ERROR_INVALID, "row %" PRIu64 " of the run %s is out of order",
                                     writer->footer.rows + 1, writer->name));
    return 0;
}

static int first_row(struct run_writer *writer, const struct engine_row *row)
{
    struct run_memory *key = &writer->first_key;
    if (run_memory_reserve(key, row->key_size + 1) != 0)
        return no_memory(writer);
    if (row->key_size > 0)
        memcpy(key->data, row->key, row->key_size);
    key->size = row->key_size;
    writer->footer.min_ts = row->ts;
    return 0;
}

static void count(struct run_writer *writer, const struct engine_row *row)
{
    struct run_footer *footer = &writer->footer;
    footer->rows++;
    footer->tombstones += row->data == NULL;
    footer->data_bytes += row->key_size + (row->data == NULL ? 0 : row->size);
    if (row->ts < footer->min_ts)
        footer->min_ts = row->ts;
    if (row->ts > footer->max_ts)
        footer->max_ts = row->ts;
    if (row->key_size > footer->key_bytes_max)
        footer->key_bytes_max = row->key_size;
    writer->last_ts = row->ts;
}

/* The versions of a key come one behind the other. */
static int filter_add(struct run_writer *writer, const struct engine_row *row)
{
    const struct run_memory *last = &writer->rows.last_key;
    if (writer->filter_bits == 0 ||
        (writer->footer.rows > 0 &&
         run_key_compare(last->data, last->size, row->key, row->key_size) == 0))
        return 0;
    return run_filter_add(&writer->filter, row->key, row->key_size) != 0 ? no_memory(writer) : 0;
}

int run_writer_add(struct run_writer *writer, const struct engine_row *row)
{
    if (writer->failed)
        return failed_before(writer);
    int rc = row_check(writer, row);
    if (rc == 0)
        rc = filter_add(writer, row);
    if (rc == 0 && writer->footer.rows == 0)
        rc = first_row(writer, row);
    if (rc == 0 && writer->rows.bytes.size >= writer->header.block_bytes)
        rc = block_flush(writer, row);
    if (rc != 0)
        return rc;
    if (run_block_add(&writer->rows, row) != 0)
        return no_memory(writer);
    count(writer, row);
    return 0;
}

static int section_put(struct run_writer *writer, uint32_t type, uint32_t flags, const void *data,
                       size_t size)
{
    struct run_extent extent;
    /* The bits of a filter are as good as random. */
    uint32_t compression = type == RUN_SECTION_FILTER ? 0 : flags_without_dictionary(writer);
    int rc = contents_put(writer, RUN_FRAME_SECTION, compression, data, size, &extent);
    if (rc == 0)
        writer->sections[writer->footer.sections++] =
            (struct run_section){type, flags, extent.offset, extent.bytes};
    return rc;
}

static int rows_end(struct run_writer *writer)
{
    if (writer->rows_ended)
        return 0;
    int rc = block_flush(writer, NULL);
    writer->rows_ended = true;
    writer->footer.rows_end = offset_of_next(writer);
    return rc;
}

int run_writer_section(struct run_writer *writer, uint32_t type, bool required, const void *data,
                       size_t size)
{
    ASSERT(type > RUN_SECTION_FILTER && writer->footer.sections < RUN_SECTIONS_MAX - 2);
    if (writer->failed)
        return failed_before(writer);
    int rc = rows_end(writer);
    return rc != 0 ? rc
                   : section_put(writer, type, required ? RUN_SECTION_REQUIRED : 0, data, size);
}

uint64_t run_writer_bytes(const struct run_writer *writer)
{
    return offset_of_next(writer) + writer->rows.bytes.size;
}

static int filter_put(struct run_writer *writer)
{
    struct run_memory contents = {0};
    if (writer->filter_bits == 0)
        return 0;
    int rc = run_filter_end(&writer->filter, writer->filter_kind, writer->filter_bits, &contents);
    if (rc == 0) {
        writer->filter_bytes = contents.size;
        writer->filter_kind = run_filter_kind_of(&contents);
        rc = section_put(writer, RUN_SECTION_FILTER, 0, contents.data, contents.size);
    } else {
        rc = no_memory(writer);
    }
    run_memory_destroy(&contents);
    return rc;
}

static int footer_put(struct run_writer *writer, struct run_trailer *trailer)
{
    struct run_footer *footer = &writer->footer;
    footer->first_key_size = writer->first_key.size;
    footer->last_key_size = writer->rows.last_key.size;
    size_t size = run_footer_bytes(footer);
    unsigned char *contents = malloc(size);
    if (contents == NULL)
        return no_memory(writer);
    struct run_extent extent = {0, 0};
    run_footer_encode(footer, writer->sections, writer->first_key.data, writer->rows.last_key.data,
                      contents);
    int rc = contents_put(writer, RUN_FRAME_FOOTER, flags_without_dictionary(writer), contents,
                          size, &extent);
    free(contents);
    trailer->footer_offset = extent.offset;
    trailer->footer_bytes = extent.bytes;
    return rc;
}

static int file_end(struct run_writer *writer)
{
    struct run_trailer trailer = {0};
    unsigned char bytes[RUN_TRAILER_BYTES];
    int rc = rows_end(writer);
    if (rc == 0)
        rc = filter_put(writer);
    if (rc == 0 && run_block_end(&writer->index) != 0)
        rc = no_memory(writer);
    if (rc == 0)
        rc = section_put(writer, RUN_SECTION_INDEX, RUN_SECTION_REQUIRED, writer->index.bytes.data,
                         writer->index.bytes.size);
    if (rc == 0)
        rc = footer_put(writer, &trailer);
    if (rc != 0)
        return rc;
    run_trailer_encode(&trailer, writer->header.checksum, bytes);
    rc = put(writer, bytes, sizeof bytes);
    if (rc != 0)
        return rc;
    rc = io_appender_finish(writer->file);
    return rc != 0 ? fail(writer, rc) : 0;
}

static void info_fill(const struct run_writer *writer, struct run_info *info)
{
    const struct run_header *header = &writer->header;
    const struct run_footer *footer = &writer->footer;
    *info = (struct run_info){
        .space_id = header->space_id,
        .incarnation = header->incarnation,
        .index_id = header->index_id,
        .level = header->level,
        .sequence = header->sequence,
        .up_to_ts = header->up_to_ts,
        .rows = footer->rows,
        .tombstones = footer->tombstones,
        .blocks = footer->blocks,
        .data_bytes = footer->data_bytes,
        .file_bytes = offset_of_next(writer),
        .min_ts = footer->min_ts,
        .max_ts = footer->max_ts,
        .key_bytes_max = footer->key_bytes_max,
        .compression = run_flags_method(header->flags),
        .dictionary_bytes = writer->dictionary_bytes,
        .filter_bytes = writer->filter_bytes,
        .filter = writer->filter_kind,
        .first_key_size = footer->first_key_size,
        .last_key_size = footer->last_key_size,
    };
}

int run_writer_finish(struct run_writer *writer, struct run_info *info)
{
    int rc = writer->failed ? writer->failed : file_end(writer);
    if (rc != 0) {
        char message[DIAG_MESSAGE_MAX];
        memcpy(message, writer->failure, sizeof message);
        run_writer_delete(writer);
        return diag_set(rc, "%s", message);
    }
    if (info != NULL)
        info_fill(writer, info);
    writer_free(writer);
    return 0;
}

void run_writer_delete(struct run_writer *writer)
{
    /* What can't be unlinked is named by no manifest, and goes at the next start. */
    io_unlink(writer->io, writer->name);
    writer_free(writer);
}
