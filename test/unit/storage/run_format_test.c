/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a run: exactly those that run_format.h and run_block.h describe; what other versions
 * and machines would write is refused in words; and what is wrong under right checksums is found by
 * the check that is for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/crc32c.h"
#include "io/disk.h"
#include "storage/run/run_block.h"
#include "storage/run/run_filter.h"
#include "storage/run/run_format.h"
#include "storage/run_fixture.h"

static struct disk *disk;
static struct io *io;

static int set_up(void **state)
{
    (void)state;
    disk = disk_new(1);
    io = disk_io(disk);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    io_delete(io);
    disk_delete(disk);
    return 0;
}

static uint64_t number(const unsigned char *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = size; i > 0; i--)
        value = value << 8 | bytes[i - 1];
    return value;
}

/* ------------------------------------------------------------------------------------- the layout */

static const struct run_text TWO[] = {{"a", 9, "x"}, {"ab", 5, NULL}};

static unsigned char *two_rows(size_t *size)
{
    const struct run_options options = {.io = io,
                                        .name = "r",
                                        .space_id = 0x201,
                                        .incarnation = 3,
                                        .index_id = 4,
                                        .level = 5,
                                        .sequence = 6,
                                        .up_to_ts = 10};
    assert_int_equal(run_text_write(&options, TWO, 2, NULL), 0);
    return run_file_read(io, "r", size);
}

static void the_bytes_are_those_that_the_headers_describe(void **state)
{
    (void)state;
    static const unsigned char header[] = {
        'P', 'E', 'R', 'I', '-', 'R', 'U', 'N', 1, 0,  0, 0, 0,  0, 0, 0, /* checksum below */
        1,   2,   0,   0,   3,   0,   0,   0,   4, 0,  0, 0, 5,  0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0,
        10,  0,   0,   0,   0,   0,   0,   0,   0, 64, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    static const unsigned char rows[] = {0, 1, 1, 2, 'a', 'x', /* a */
                                         2, 1, 5, 0, 'b',      /* ab, a tombstone */
                                         0, 0, 0, 0, 0,   0,   0, 0, 2, 0, 0, 0, 1, 0, 0, 0};
    static const unsigned char index[] = {0, 2, 5, 17, 'a', 'b', 64, 0, 0, 0, 0, 0, 0, 0, 51, 0, 0,
                                          0, 0, 0, 0,  0,   0,   0,  0, 0, 1, 0, 0, 0, 1, 0,  0, 0};
    size_t size;
    unsigned char *file = two_rows(&size);
    assert_int_equal(size, 64 + 24 + 27 + 24 + 34 + 24 + 115 + 32);
    assert_memory_equal(file, header, 12);
    assert_memory_equal(file + 16, header + 16, 48);
    unsigned char *at = file + 64;
    assert_int_equal(number(at + 4, 2), RUN_FRAME_ROWS);
    assert_int_equal(number(at + 6, 2), 0);
    assert_int_equal(number(at + 8, 8), 27);
    assert_int_equal(number(at + 16, 8), 27);
    assert_memory_equal(at + 24, rows, 27);
    at += 24 + 27;
    assert_int_equal(number(at + 4, 2), RUN_FRAME_SECTION);
    assert_int_equal(number(at + 8, 8), 34);
    assert_memory_equal(at + 24, index, 34);
    at += 24 + 34;
    assert_int_equal(number(at + 4, 2), RUN_FRAME_FOOTER);
    static const uint64_t footer[] = {2, 1, 1, 4, 5, 9, 2, 64 + 51, 1, 2, 1};
    for (size_t i = 0; i < 11; i++)
        assert_int_equal(number(at + 24 + 8 * i, 8), footer[i]);
    assert_int_equal(number(at + 24 + 88, 4), RUN_SECTION_INDEX);
    assert_int_equal(number(at + 24 + 92, 4), RUN_SECTION_REQUIRED);
    assert_int_equal(number(at + 24 + 96, 8), 64 + 51);
    assert_int_equal(number(at + 24 + 104, 8), 24 + 34);
    assert_memory_equal(at + 24 + 112, "aab", 3);
    uint64_t offset = (uint64_t)(at - file);
    at += 24 + 115;
    assert_int_equal(number(at, 8), offset);
    assert_int_equal(number(at + 8, 8), 24 + 115);
    assert_memory_equal(at + 20, "\0\0\0\0PRUN-END", 12);
    free(file);
}

static void the_checksums_cover_what_the_headers_describe(void **state)
{
    (void)state;
    size_t size;
    unsigned char *file = two_rows(&size), zeros[4] = {0};
    uint32_t header = crc32c(crc32c(0, file, 12), zeros, 4);
    header = crc32c(header, file + 16, 48);
    assert_int_equal(number(file + 12, 4), header);
    uint64_t offset = 64;
    uint32_t frame = crc32c(crc32c(0, &offset, 8), &header, 4);
    assert_int_equal(number(file + 64, 4), crc32c(frame, file + 68, 20 + 27));
    const unsigned char *trailer = file + size - 32;
    uint32_t crc = crc32c(crc32c(0, &header, 4), trailer, 16);
    crc = crc32c(crc32c(crc, zeros, 4), trailer + 20, 12);
    assert_int_equal(number(trailer + 16, 4), crc);
    free(file);
}

static void the_same_rows_give_the_same_bytes(void **state)
{
    (void)state;
    size_t size[2];
    unsigned char *first = two_rows(&size[0]);
    assert_int_equal(io_unlink(io, "r"), 0);
    unsigned char *second = two_rows(&size[1]);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(first, second, size[0]);
    free(first);
    free(second);
}

/* ------------------------------------------------------------------------- other versions, machines
 */

/* What a program wrote before keys could borrow. The block has two restart points;
 * two of the rows are tombstones, and two keys have two versions. */
static const unsigned char OLDER[] = {
    0x50, 0x45, 0x52, 0x49, 0x2d, 0x52, 0x55, 0x4e, 1,    0,    0,    0,    0x1e, 0xdc, 0x2d, 0x97,
    0,    2,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,
    0,    0,    0,    0,    0,    0,    0,    0,    0x64, 0,    0,    0,    0,    0,    0,    0,
    0,    0,    1,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,
    0xab, 0x71, 0x19, 0x74, 1,    0,    0,    0,    0xad, 0,    0,    0,    0,    0,    0,    0,
    0xad, 0,    0,    0,    0,    0,    0,    0,    0,    3,    0,    5,    0x61, 0x30, 0x30, 0x3d,
    0x61, 0x30, 0x30, 2,    1,    1,    5,    0x31, 0x3d, 0x61, 0x30, 0x31, 2,    1,    2,    5,
    0x32, 0x3d, 0x61, 0x30, 0x32, 2,    1,    3,    5,    0x33, 0x3d, 0x61, 0x30, 0x33, 3,    0,
    8,    5,    0x3d, 0x61, 0x30, 0x33, 2,    1,    4,    5,    0x34, 0x3d, 0x61, 0x30, 0x34, 2,
    1,    5,    0,    0x35, 2,    1,    6,    5,    0x36, 0x3d, 0x61, 0x30, 0x36, 2,    1,    7,
    5,    0x37, 0x3d, 0x61, 0x30, 0x37, 2,    1,    8,    5,    0x38, 0x3d, 0x61, 0x30, 0x38, 2,
    1,    9,    5,    0x39, 0x3d, 0x61, 0x30, 0x39, 1,    2,    0x0a, 5,    0x31, 0x30, 0x3d, 0x61,
    0x31, 0x30, 3,    0,    0x0f, 5,    0x3d, 0x61, 0x31, 0x30, 2,    1,    0x0b, 5,    0x31, 0x3d,
    0x61, 0x31, 0x31, 2,    1,    0x0c, 0,    0x32, 2,    1,    0x0d, 5,    0x33, 0x3d, 0x61, 0x31,
    0x33, 0,    3,    0x0e, 5,    0x61, 0x31, 0x34, 0x3d, 0x61, 0x31, 0x34, 2,    1,    0x0f, 5,
    0x35, 0x3d, 0x61, 0x31, 0x35, 0,    0,    0,    0,    0x89, 0,    0,    0,    0x12, 0,    0,
    0,    2,    0,    0,    0,    0x0d, 0x31, 0xc8, 0xb8, 2,    0,    0,    0,    0x23, 0,    0,
    0,    0,    0,    0,    0,    0x23, 0,    0,    0,    0,    0,    0,    0,    0,    3,    0x0f,
    0x11, 0x61, 0x31, 0x35, 0x40, 0,    0,    0,    0,    0,    0,    0,    0xc5, 0,    0,    0,
    0,    0,    0,    0,    0,    0,    0,    0,    1,    0,    0,    0,    1,    0,    0,    0,
    0x6f, 0x7c, 0xd9, 0x0d, 3,    0,    0,    0,    0x76, 0,    0,    0,    0,    0,    0,    0,
    0x76, 0,    0,    0,    0,    0,    0,    0,    0x12, 0,    0,    0,    0,    0,    0,    0,
    2,    0,    0,    0,    0,    0,    0,    0,    1,    0,    0,    0,    0,    0,    0,    0,
    0x76, 0,    0,    0,    0,    0,    0,    0,    0x55, 0,    0,    0,    0,    0,    0,    0,
    0x64, 0,    0,    0,    0,    0,    0,    0,    3,    0,    0,    0,    0,    0,    0,    0,
    5,    1,    0,    0,    0,    0,    0,    0,    3,    0,    0,    0,    0,    0,    0,    0,
    3,    0,    0,    0,    0,    0,    0,    0,    1,    0,    0,    0,    0,    0,    0,    0,
    1,    0,    0,    0,    1,    0,    0,    0,    5,    1,    0,    0,    0,    0,    0,    0,
    0x3b, 0,    0,    0,    0,    0,    0,    0,    0x61, 0x30, 0x30, 0x61, 0x31, 0x35, 0x40, 1,
    0,    0,    0,    0,    0,    0,    0x8e, 0,    0,    0,    0,    0,    0,    0,    0xff, 0x31,
    0x3c, 0x5d, 0,    0,    0,    0,    0x50, 0x52, 0x55, 0x4e, 0x2d, 0x45, 0x4e, 0x44};
enum { OLDER_ROWS = 18 };

/* The rows of that file. */
static unsigned older_rows(struct run_text *out, char (*memory)[8])
{
    unsigned count = 0;
    for (unsigned i = 0; i < 16; i++) {
        snprintf(memory[i], sizeof memory[i], "=a%02u", i);
        struct run_text row = {memory[i] + 1, 100 - i, i % 7 == 5 ? NULL : memory[i]};
        out[count++] = row;
        row.ts -= 5;
        if (i % 7 == 3)
            out[count++] = row;
    }
    return count;
}

static void expect_text(const struct engine_row *row, const struct run_text *text)
{
    struct engine_row expected = run_text_row(text);
    assert_int_equal(run_row_compare(row, &expected), 0);
    assert_int_equal(row->size, expected.size);
    assert_int_equal(row->data == NULL, expected.data == NULL);
    if (row->data != NULL)
        assert_memory_equal(row->data, expected.data, row->size);
}

static void expect_texts(const char *name, const struct run_text *texts, unsigned count)
{
    struct run *run;
    struct run_cursor *cursor;
    struct engine_row row;
    assert_int_equal(run_read_all(io, name), 0);
    assert_int_equal(run_open(io, name, &run), 0);
    assert_int_equal(run_cursor_open(run, NULL, &cursor), 0);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(run_cursor_next(cursor, &row), 0);
        expect_text(&row, &texts[i]);
    }
    assert_int_equal(run_cursor_next(cursor, &row), ERROR_END);
    run_cursor_close(cursor);
    run_close(run);
}

static void a_run_in_which_no_key_borrows_is_read_as_ever(void **state)
{
    (void)state;
    struct run_text texts[OLDER_ROWS];
    char memory[16][8];
    assert_int_equal(older_rows(texts, memory), OLDER_ROWS);
    run_file_write(io, "old", OLDER, sizeof OLDER);
    expect_texts("old", texts, OLDER_ROWS);
    const struct run_options options = {.io = io, .name = "new", .space_id = 512, .up_to_ts = 100};
    assert_int_equal(run_text_write(&options, texts, OLDER_ROWS, NULL), 0);
    expect_texts("new", texts, OLDER_ROWS);
}

static void runs_of_both_forms_merge(void **state)
{
    (void)state;
    static const struct run_text newer[] = {{"a03", 120, "=a03"}, {"a07", 119, "=a07"}};
    const struct run_options options = {.io = io, .name = "new", .space_id = 512, .up_to_ts = 120};
    struct run_text texts[OLDER_ROWS];
    char memory[16][8];
    struct run *runs[2];
    struct run_merge *merge;
    struct engine_row row;
    unsigned merged = 0;
    older_rows(texts, memory);
    run_file_write(io, "old", OLDER, sizeof OLDER);
    assert_int_equal(run_text_write(&options, newer, 2, NULL), 0);
    assert_int_equal(run_open(io, "new", &runs[0]), 0);
    assert_int_equal(run_open(io, "old", &runs[1]), 0);
    assert_int_equal(run_merge_new(runs, 2, NULL, false, &merge), 0);
    for (unsigned i = 0; i < OLDER_ROWS; i++) {
        if (merged < 2 && strcmp(texts[i].key, newer[merged].key) == 0) {
            assert_int_equal(run_merge_next(merge, &row), 0);
            expect_text(&row, &newer[merged++]);
        }
        assert_int_equal(run_merge_next(merge, &row), 0);
        expect_text(&row, &texts[i]);
    }
    assert_int_equal(merged, 2);
    assert_int_equal(run_merge_next(merge, &row), ERROR_END);
    run_merge_delete(merge);
    run_close(runs[0]);
    run_close(runs[1]);
}

/* Opens the file with another header, whose checksum is made right. */
static int open_with(unsigned char *file, size_t size, const struct run_header *changed)
{
    struct run_header header = *changed;
    struct run *run;
    header.checksum = 0;
    header.checksum = crc32c(0, &header, sizeof header);
    memcpy(file, &header, sizeof header);
    run_file_write(io, "r", file, size);
    int rc = run_open(io, "r", &run);
    if (rc == 0)
        run_close(run);
    return rc;
}

static void a_newer_format_is_refused_in_words(void **state)
{
    (void)state;
    size_t size;
    unsigned char *file = two_rows(&size);
    struct run_header header;
    memcpy(&header, file, sizeof header);
    header.version = RUN_FORMAT_VERSION + 1;
    assert_int_equal(open_with(file, size, &header), ERROR_VERSION);
    assert_string_equal(diag_message(),
                        "the run r has format version 2, this program knows versions up to 1; use "
                        "the program that wrote it, or a later one");
    header.version = 0;
    assert_int_equal(open_with(file, size, &header), ERROR_CORRUPT);
    assert_string_equal(diag_message(), "r, offset 0: run format version");
    header.version = RUN_FORMAT_VERSION;
    header.flags = 0x80;
    assert_int_equal(open_with(file, size, &header), ERROR_VERSION);
    assert_non_null(strstr(diag_message(), "a feature that this program does not know"));
    free(file);
}

static void another_byte_order_is_refused_in_words(void **state)
{
    (void)state;
    size_t size;
    struct run *run;
    unsigned char *file = two_rows(&size);
    memcpy(file, "NUR-IREP", 8);
    run_file_write(io, "r", file, size);
    assert_int_equal(run_open(io, "r", &run), ERROR_VERSION);
    assert_non_null(strstr(diag_message(), "the run r was written on a machine of the other byte"));
    free(file);
}

static void another_file_is_no_run(void **state)
{
    (void)state;
    struct run *run;
    char text[400];
    memset(text, 'x', sizeof text);
    run_file_write(io, "r", text, sizeof text);
    assert_int_equal(run_open(io, "r", &run), ERROR_CORRUPT);
    assert_string_equal(diag_message(), "r, offset 0: run header magic: this is no run");
    run_file_write(io, "r", text, 0);
    assert_int_equal(run_open(io, "r", &run), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), "shorter than a run's header"));
}

/* ----------------------------------------------------------------------- wrong, but rightly summed
 */

/* What is forged into a run of two blocks, of two rows each. */
enum { FILTER_BYTES = RUN_FILTER_HEADER_BYTES + 64 };
/* One block that knows every key, of three; one that knows none, of four. */
static const unsigned char full_of_three[FILTER_BYTES] = {
    [0] = RUN_FILTER_BLOOM, [8] = 3, [16 ... FILTER_BYTES - 1] = 0xff};
static const unsigned char empty_of_four[FILTER_BYTES] = {[0] = RUN_FILTER_BLOOM, [8] = 4};

struct forgery {
    const char *check;     /* that must find it */
    struct run_text *rows; /* four, instead of the usual ones */
    void (*footer)(struct run_footer *footer, struct run_section *sections);
    void (*block)(unsigned char *contents, size_t size);
    void (*footer_contents)(unsigned char *contents);
    const char *bound;     /* the index's key for the first block */
    uint64_t index_offset; /* added to where the index says the second block is */
    uint64_t index_bytes;  /* added to how long it says that is */
    const char *first_key;
    enum run_frame_kind kind;
    uint16_t flags;
    uint64_t stored_more, bytes_more; /* than there are, say the second block's numbers */
    size_t gap;                       /* bytes between the blocks */
    size_t gap_behind;                /* and behind them */
    bool empty;                       /* a third block, without rows */
    const unsigned char *filter;      /* of FILTER_BYTES, NULL: none */
};

struct forged {
    unsigned char bytes[4096];
    size_t size;
    struct run_header header;
};

static struct run_extent frame_put(struct forged *file, struct run_frame frame, const void *data,
                                   size_t size)
{
    struct run_extent extent = {file->size, RUN_FRAME_BYTES + size};
    unsigned char *at = file->bytes + file->size;
    frame.stored_bytes += size;
    frame.bytes += size;
    memcpy(at, &frame, sizeof frame);
    memcpy(at + sizeof frame, data, size);
    uint32_t crc = crc32c(0, &extent.offset, sizeof extent.offset);
    crc = crc32c(crc, &file->header.checksum, sizeof file->header.checksum);
    crc = crc32c(crc, at + 4, sizeof frame - 4 + size);
    memcpy(at, &crc, sizeof crc);
    file->size += sizeof frame + size;
    return extent;
}

/* A block of two rows, or without rows. */
static struct run_extent block_put(struct forged *file, const struct forgery *forgery,
                                   const struct run_text *rows, bool second)
{
    struct run_block_builder builder = {.up_to_ts = 100};
    struct run_frame frame = {.kind = RUN_FRAME_ROWS};
    for (unsigned i = 0; rows != NULL && i < 2; i++) {
        struct engine_row row = run_text_row(&rows[i]);
        assert_int_equal(run_block_add(&builder, &row), 0);
    }
    assert_int_equal(run_block_end(&builder), 0);
    if (second && forgery->block != NULL)
        forgery->block(builder.bytes.data, builder.bytes.size);
    if (second)
        frame = (struct run_frame){
            .kind = (uint16_t)(forgery->kind ? forgery->kind : RUN_FRAME_ROWS),
            .flags = forgery->flags,
            .stored_bytes = forgery->stored_more,
            .bytes = forgery->bytes_more,
        };
    struct run_extent extent = frame_put(file, frame, builder.bytes.data, builder.bytes.size);
    run_block_builder_destroy(&builder);
    return extent;
}

static struct run_extent index_put(struct forged *file, const struct forgery *forgery,
                                   const struct run_text *rows, const struct run_extent *blocks)
{
    struct run_block_builder builder = {.up_to_ts = 100};
    for (unsigned i = 0; i < 2u + forgery->empty; i++) {
        uint64_t data[2] = {blocks[i].offset, blocks[i].bytes};
        struct run_text last = i < 2 ? rows[2 * i + 1] : (struct run_text){"c", 1, ""};
        if (i == 0 && forgery->bound != NULL)
            last.key = forgery->bound;
        if (i == 1) {
            data[0] += forgery->index_offset;
            data[1] += forgery->index_bytes;
        }
        struct engine_row row = run_text_row(&last);
        row.data = (const char *)data;
        row.size = sizeof data;
        assert_int_equal(run_block_add(&builder, &row), 0);
    }
    assert_int_equal(run_block_end(&builder), 0);
    struct run_extent extent = frame_put(file, (struct run_frame){.kind = RUN_FRAME_SECTION},
                                         builder.bytes.data, builder.bytes.size);
    run_block_builder_destroy(&builder);
    return extent;
}

static void forge(struct forged *file, const struct forgery *forgery)
{
    static const struct run_text usual[] = {
        {"aa", 9, "x"}, {"ab", 8, "x"}, {"ba", 7, NULL}, {"bbb", 6, "x"}};
    const struct run_text *rows = forgery->rows != NULL ? forgery->rows : usual;
    struct run_extent blocks[3];
    memset(file, 0, sizeof *file);
    file->header = (struct run_header){.up_to_ts = 100, .block_bytes = 64};
    run_header_encode(&file->header, file->bytes);
    file->size = RUN_HEADER_BYTES;
    blocks[0] = block_put(file, forgery, rows, false);
    file->size += forgery->gap;
    blocks[1] = block_put(file, forgery, rows + 2, true);
    if (forgery->empty)
        blocks[2] = block_put(file, forgery, NULL, false);
    file->size += forgery->gap_behind;
    struct run_footer footer = {.rows = 4,
                                .tombstones = 1,
                                .blocks = 2u + forgery->empty,
                                .data_bytes = 12,
                                .min_ts = 6,
                                .max_ts = 9,
                                .key_bytes_max = 3,
                                .rows_end = file->size,
                                .first_key_size = 2,
                                .last_key_size = 3,
                                .sections = 1};
    struct run_extent index = index_put(file, forgery, rows, blocks);
    struct run_section section[2] = {
        {RUN_SECTION_INDEX, RUN_SECTION_REQUIRED, index.offset, index.bytes}};
    if (forgery->filter != NULL) {
        struct run_extent filter = frame_put(file, (struct run_frame){.kind = RUN_FRAME_SECTION},
                                             forgery->filter, FILTER_BYTES);
        section[footer.sections++] =
            (struct run_section){RUN_SECTION_FILTER, 0, filter.offset, filter.bytes};
    }
    if (forgery->footer != NULL)
        forgery->footer(&footer, section);
    unsigned char contents[512];
    run_footer_encode(&footer, section, forgery->first_key != NULL ? forgery->first_key : "aa",
                      "bbb", contents);
    if (forgery->footer_contents != NULL)
        forgery->footer_contents(contents);
    struct run_extent place = frame_put(file, (struct run_frame){.kind = RUN_FRAME_FOOTER},
                                        contents, run_footer_bytes(&footer));
    struct run_trailer trailer = {.footer_offset = place.offset, .footer_bytes = place.bytes};
    run_trailer_encode(&trailer, file->header.checksum, file->bytes + file->size);
    file->size += RUN_TRAILER_BYTES;
}

static void rows_less(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->rows--;
}

static void tombstones_more(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->tombstones++;
}

static void bytes_more(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->data_bytes++;
}

static void ts_less(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->min_ts--;
}

static void ts_beyond(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->max_ts = 101;
}

static void key_longer(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->key_bytes_max++;
}

static void key_shorter(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->key_bytes_max = 2;
    footer->last_key_size = 2;
}

static void key_immense(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->key_bytes_max = UINT64_MAX;
}

static void last_key_shorter(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->last_key_size = 2;
}

static void last_key_immense(unsigned char *contents)
{
    memset(contents + 72, 0xff, 8);
}

static void blocks_less(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->blocks--;
}

static void more_tombstones_than_rows(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->tombstones = 5;
}

static void more_blocks_than_rows(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->blocks = 5;
}

static void blocks_without_rows(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->rows = footer->tombstones = 0;
    footer->blocks = 0;
    footer->max_ts = 0; /* and still less than min_ts */
}

static void no_rows(struct run_footer *footer, struct run_section *sections)
{
    (void)sections;
    footer->blocks = 0;
}

static void no_section(struct run_footer *footer, struct run_section *sections)
{
    footer->sections = 0;
    footer->rows_end += sections[0].bytes;
}

static void section_elsewhere(struct run_footer *footer, struct run_section *sections)
{
    (void)footer;
    sections[0].offset++;
}

static void section_too_long(struct run_footer *footer, struct run_section *sections)
{
    (void)footer;
    sections[0].bytes++;
}

static void section_shorter(struct run_footer *footer, struct run_section *sections)
{
    (void)footer;
    sections[0].bytes--;
}

static void section_of_another_type(struct run_footer *footer, struct run_section *sections)
{
    (void)footer;
    sections[0].type = 7;
    sections[0].flags = 0;
}

static void share_too_much(unsigned char *contents, size_t size)
{
    (void)size;
    contents[6] = 3; /* the second row is behind 00 02 5d 00 ba */
}

static void row_too_long(unsigned char *contents, size_t size)
{
    (void)size;
    contents[1] = 100;
}

static void data_too_long(unsigned char *contents, size_t size)
{
    (void)size;
    contents[3] = 100;
}

static void ts_negative(unsigned char *contents, size_t size)
{
    (void)size;
    contents[2] = 101;
}

static void number_without_end(unsigned char *contents, size_t size)
{
    memset(contents, 0xff, size - 12);
}

static void rows_miscounted(unsigned char *contents, size_t size)
{
    contents[size - 8]++;
}

static void restarts_miscounted(unsigned char *contents, size_t size)
{
    contents[size - 4] = 200;
}

static void restart_between_rows(unsigned char *contents, size_t size)
{
    contents[size - 12] = 1;
}

static void restart_beyond(unsigned char *contents, size_t size)
{
    contents[size - 12] = 200;
}

static struct run_text disordered[] = {
    {"aa", 9, "x"}, {"aa", 9, "x"}, {"ba", 7, NULL}, {"bbb", 6, "x"}};
static struct run_text disordered_over_blocks[] = {
    {"aa", 9, "x"}, {"bc", 8, "x"}, {"ba", 7, NULL}, {"bbb", 6, "x"}};

static const struct forgery FORGERIES[] = {
    {.check = "rows out of order", .rows = disordered},
    {.check = "rows out of order", .rows = disordered_over_blocks},
    {.check = "index expects in a later block", .bound = "aa"},
    {.check = "index expects in the block before", .bound = "baa"},
    {.check = "number of rows in the footer", .footer = rows_less},
    {.check = "number of tombstones in the footer", .footer = tombstones_more},
    {.check = "bytes of keys and data in the footer", .footer = bytes_more},
    {.check = "timestamps in the footer", .footer = ts_less},
    {.check = "largest timestamp", .footer = ts_beyond},
    {.check = "longest key in the footer", .footer = key_longer},
    {.check = "key longer than the longest", .footer = key_shorter},
    {.check = "longest key", .footer = key_immense},
    {.check = "last key in the footer", .footer = last_key_shorter},
    {.check = "footer size", .footer_contents = last_key_immense},
    {.check = "first key in the footer", .first_key = "a0"},
    {.check = "number of blocks in the index", .footer = blocks_less},
    {.check = "the footer's numbers contradict each other", .footer = more_tombstones_than_rows},
    {.check = "the footer's numbers contradict each other", .footer = more_blocks_than_rows},
    {.check = "the footer's numbers contradict each other", .footer = blocks_without_rows},
    {.check = "the footer's numbers contradict each other", .footer = no_rows},
    {.check = "not one section that is the index", .footer = no_section},
    {.check = "a section is not where", .footer = section_elsewhere},
    {.check = "a section is not where", .footer = section_too_long},
    {.check = "the sections do not end where the footer begins", .footer = section_shorter},
    {.check = "not one section that is the index", .footer = section_of_another_type},
    {.check = "key shares more than the key before it has", .block = share_too_much},
    {.check = "key beyond its block", .block = row_too_long},
    {.check = "data beyond its block", .block = data_too_long},
    {.check = "timestamp of a row", .block = ts_negative},
    {.check = "numbers of a row", .block = number_without_end},
    {.check = "number of rows in the block", .block = rows_miscounted},
    {.check = "number of restart points", .block = restarts_miscounted},
    {.check = "restart point in the wrong place", .block = restart_between_rows},
    {.check = "restart point in the wrong place", .block = restart_beyond},
    {.check = "the index points beyond the rows", .index_offset = 4000},
    {.check = "the index points beyond the rows", .index_bytes = 1},
    {.check = "no block of the index is here", .index_offset = 1, .index_bytes = (uint64_t)-1},
    {.check = "no block of the index is here", .gap = 3},
    {.check = "block checksum", .index_bytes = (uint64_t)-1},
    {.check = "the rows do not end where the sections begin", .gap_behind = 3},
    {.check = "a block without rows", .empty = true},
    {.check = "number of keys in the filter", .filter = full_of_three},
    {.check = "key that the filter does not know", .filter = empty_of_four},
    {.check = "block size", .stored_more = 1},
    {.check = "block contents size", .bytes_more = 1},
    {.check = "block contents size", .bytes_more = 1 << 30, .flags = RUN_ZSTD},
    {.check = "block kind", .kind = RUN_FRAME_FOOTER},
    {.check = "block flags", .flags = 0x100},
    {.check = "block flags", .flags = RUN_ZSTD | RUN_LZ4},
    {.check = "block flags", .flags = RUN_SNAPPY | RUN_DICTIONARY},
    {.check = "block does not decompress", .flags = RUN_ZSTD},
    {.check = "block does not decompress", .flags = RUN_LZ4},
    {.check = "block does not decompress", .flags = RUN_SNAPPY},
    {.check = "block for a dictionary that is not there", .flags = RUN_ZSTD | RUN_DICTIONARY},
};

static void what_is_wrong_under_right_checksums_is_found(void **state)
{
    (void)state;
    static struct forged file;
    forge(&file, &(struct forgery){0});
    run_file_write(io, "r", file.bytes, file.size);
    assert_int_equal(run_read_all(io, "r"), 0);
    for (size_t i = 0; i < sizeof FORGERIES / sizeof *FORGERIES; i++) {
        forge(&file, &FORGERIES[i]);
        run_file_write(io, "r", file.bytes, file.size);
        diag_clear();
        int rc = run_read_all(io, "r");
        if (rc != ERROR_CORRUPT || strstr(diag_message(), FORGERIES[i].check) == NULL ||
            strncmp(diag_message(), "r, offset ", 10) != 0)
            fail_msg("forgery %zu (%s): %s, %s", i, FORGERIES[i].check, error_name(rc),
                     diag_message());
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_bytes_are_those_that_the_headers_describe),
        TEST(the_checksums_cover_what_the_headers_describe),
        TEST(the_same_rows_give_the_same_bytes),
        TEST(a_run_in_which_no_key_borrows_is_read_as_ever),
        TEST(runs_of_both_forms_merge),
        TEST(a_newer_format_is_refused_in_words),
        TEST(another_byte_order_is_refused_in_words),
        TEST(another_file_is_no_run),
        TEST(what_is_wrong_under_right_checksums_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
