/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to runs when the disk or memory fails: each call, and each allocation, of the writer
 * and of the readers in turn, the power cut at each call, and every bit of a file changed. Nothing
 * may pass for a run that is not one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/alloc_fault.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/test_seed.h"
#include "io/disk.h"
#include "storage/run/run_filter.h"
#include "storage/run_fixture.h"

enum { LARGE_ROWS = 24, LARGE_BYTES = 1 << 20 };

/* A run of several buffers, flushed more than once; or a small one of many blocks. */
static int write_run(struct io *io, bool large, unsigned way)
{
    static char data[LARGE_BYTES];
    struct run_options options = {.io = io,
                                  .name = "r",
                                  .up_to_ts = 100,
                                  .block_bytes = RUN_BLOCK_BYTES_MIN,
                                  .filter_bits = way * 5};
    run_options_way(&options, way);
    struct run_writer *writer;
    memset(data, 'x', sizeof data);
    int rc = run_writer_new(&options, &writer);
    if (rc != 0)
        return rc;
    for (unsigned i = 0; rc == 0 && i < (large ? LARGE_ROWS : 30); i++) {
        unsigned char key[4] = {'k', 'e', (unsigned char)('a' + i / 3)};
        struct engine_row row = {key, 3, 100 - i, i % 4 == 3 ? NULL : data,
                                 i % 4 == 3 ? 0
                                 : large    ? sizeof data
                                            : i};
        rc = run_writer_add(writer, &row);
    }
    if (rc == 0)
        rc = run_writer_section(writer, 1000, false, data, 100);
    return run_writer_finish(writer, NULL);
}

static bool exists(struct io *io)
{
    struct io_file *file;
    if (io_open(io, "r", IO_READ, &file) != 0)
        return false;
    io_close(file);
    return true;
}

static void a_writer_whose_nth_call_fails_says_so_and_leaves_no_file(void **state)
{
    (void)state;
    static const int errors[] = {ENOSPC, EIO};
    for (unsigned kind = 0; kind < 2; kind++) {
        unsigned n = 1;
        for (;; n++) {
            struct disk *disk = disk_new(1);
            struct io *io = disk_io(disk);
            disk_fail_nth(disk, n, errors[kind]);
            diag_clear();
            int rc = write_run(io, true, 0);
            disk_fail_nth(disk, 0, 0);
            if (rc != 0) {
                assert_int_equal(rc, ERROR_IO);
                assert_int_equal(diag_code(), ERROR_IO);
                assert_non_null(strstr(diag_message(), strerror(errors[kind])));
                assert_false(exists(io));
            } else {
                assert_int_equal(run_read_all(io, "r"), 0);
            }
            io_delete(io);
            disk_delete(disk);
            if (rc == 0)
                break;
        }
        assert_true(n > 15); /* an open, buffers and flushes among them */
    }
}

static void a_run_that_was_acknowledged_survives_a_power_cut_and_no_other_passes_for_one(
    void **state)
{
    (void)state;
    bool was_cut = true;
    for (unsigned n = 1; was_cut; n++) {
        struct disk *disk = disk_new(test_seed());
        struct io *io = disk_io(disk);
        disk_cut_after(disk, n);
        int rc = write_run(io, n % 2 == 0, false);
        if (rc == 0)
            rc = io_sync_dir(io);
        io_delete(io);
        was_cut = disk_is_cut(disk);
        disk_cut(disk, test_seed() + n);
        io = disk_io(disk);
        int found = run_read_all(io, "r");
        if (rc == 0)
            assert_int_equal(found, 0);
        else if (found != 0 && found != ERROR_NOT_FOUND)
            assert_int_equal(found, ERROR_CORRUPT);
        io_delete(io);
        disk_delete(disk);
    }
}

/* All that reads, merges included. */
static int read_everything(struct io *io)
{
    struct run *run;
    struct run_merge *merge;
    struct engine_row row;
    int rc = run_read_all(io, "r");
    if (rc == 0)
        rc = run_open(io, "r", &run);
    if (rc != 0)
        return rc;
    rc = run_merge_new(&run, 1, NULL, true, &merge);
    if (rc == 0) {
        while ((rc = run_merge_next(merge, &row)) == 0)
            ;
        if (rc != ERROR_END)
            assert_int_equal(run_merge_next(merge, &row), rc);
        run_merge_delete(merge);
    }
    run_close(run);
    return rc == ERROR_END ? 0 : rc;
}

static void a_reader_whose_nth_call_fails_says_so(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    assert_int_equal(write_run(io, false, 1), 0);
    int rc = ERROR_IO;
    unsigned n = 1;
    for (; rc != 0; n++) {
        disk_fail_nth(disk, n, EIO);
        diag_clear();
        rc = read_everything(io);
        if (rc == 0)
            break;
        assert_int_equal(rc, ERROR_IO);
        assert_int_equal(diag_code(), ERROR_IO);
    }
    assert_true(n > 20);
    io_delete(io);
    disk_delete(disk);
}

static void fail_each_allocation(bool large)
{
    bool more = true;
    uint64_t n = 1;
    for (; more; n++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        diag_clear();
        alloc_fail_nth(n);
        int written = write_run(io, large, true);
        int read = written == 0 ? read_everything(io) : 0;
        more = alloc_fail_end();
        int rc = written != 0 ? written : read;
        assert_int_equal(rc, more ? ERROR_MEMORY : 0);
        if (more)
            assert_int_equal(diag_code(), ERROR_MEMORY);
        assert_int_equal(exists(io), written == 0);
        if (written == 0)
            assert_int_equal(read_everything(io), 0);
        io_delete(io);
        disk_delete(disk);
    }
    assert_true(n > 20);
}

static void an_allocation_that_fails_is_told_and_does_no_harm(void **state)
{
    (void)state;
    fail_each_allocation(false);
    fail_each_allocation(true);
}

/* The section of a thousand keys, of which hashes are kept already. */
static enum run_filter_kind filter_made(struct run_filter_builder *builder)
{
    struct run_memory contents = {0};
    struct run_filter filter;
    enum run_filter_kind kind = RUN_FILTER_NONE;
    if (run_filter_end(builder, RUN_FILTER_RIBBON, 10, &contents) == 0)
        kind = run_filter_kind_of(&contents);
    if (kind != RUN_FILTER_NONE && run_filter_open(&filter, contents.data, contents.size) == 0) {
        for (unsigned i = 0; i < 1000; i++)
            assert_true(run_filter_may_contain(&filter, &i, sizeof i));
        run_filter_close(&filter);
    }
    run_memory_destroy(&contents);
    return kind;
}

static void a_ribbon_filter_without_memory_to_solve_it_gives_way_to_a_bloom_filter(void **state)
{
    (void)state;
    struct run_filter_builder builder = {0};
    unsigned blooms = 0, none = 0;
    bool more = true;
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(run_filter_add(&builder, &i, sizeof i), 0);
    for (uint64_t n = 1; more; n++) {
        alloc_fail_nth(n);
        enum run_filter_kind kind = filter_made(&builder);
        more = alloc_fail_end();
        blooms += kind == RUN_FILTER_BLOOM;
        none += kind == RUN_FILTER_NONE;
        assert_true(more || kind == RUN_FILTER_RIBBON);
    }
    assert_int_equal(blooms, 2); /* neither for what is written nor for solving */
    assert_int_equal(none, 0);
    alloc_fail_from(1);
    assert_int_equal(filter_made(&builder), RUN_FILTER_NONE); /* nor for a Bloom filter */
    assert_true(alloc_fail_end());
    run_filter_builder_destroy(&builder);
}

static void assert_damage_is_named(struct io *io, const char *what, size_t at)
{
    diag_clear();
    int rc = run_read_all(io, "r");
    if (rc != ERROR_CORRUPT || strncmp(diag_message(), "r, offset ", 10) != 0)
        fail_msg("%s at %zu: %s, %s", what, at, error_name(rc), diag_message());
}

static void a_changed_bit_is_noticed_wherever_it_is(void **state)
{
    (void)state;
    for (unsigned way = 0; way < RUN_WAYS; way++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        size_t size;
        assert_int_equal(write_run(io, false, way), 0);
        unsigned char *bytes = run_file_read(io, "r", &size);
        assert_in_range(size, 500, 3000);
        for (size_t bit = 0; bit < 8 * size; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            run_file_write(io, "r", bytes, size);
            assert_damage_is_named(io, "changed bit", bit);
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        free(bytes);
        io_delete(io);
        disk_delete(disk);
    }
}

static void a_file_cut_or_lengthened_anywhere_is_damaged(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    size_t size;
    assert_int_equal(write_run(io, false, 0), 0);
    unsigned char *bytes = run_file_read(io, "r", &size);
    for (size_t left = 0; left < size; left++) {
        run_file_write(io, "r", bytes, left);
        assert_damage_is_named(io, "cut", left);
        assert_true(strstr(diag_message(), "has been cut") != NULL ||
                    strstr(diag_message(), "shorter than") != NULL);
    }
    unsigned char *longer = calloc(1, 2 * size);
    assert_non_null(longer);
    memcpy(longer, bytes, size);
    for (size_t more = 1; more < size; more += 7) {
        run_file_write(io, "r", longer, size + more);
        assert_damage_is_named(io, "lengthened", more);
    }
    memcpy(longer + size, bytes, size); /* the same run twice */
    run_file_write(io, "r", longer, 2 * size);
    assert_damage_is_named(io, "twice", 0);
    free(longer);
    free(bytes);
    io_delete(io);
    disk_delete(disk);
}

/* Three blocks of the same size. */
static unsigned char *equal_blocks(struct io *io, uint32_t space_id, char data, size_t *size)
{
    const struct run_options options = {.io = io,
                                        .name = "r",
                                        .space_id = space_id,
                                        .up_to_ts = 1,
                                        .block_bytes = RUN_BLOCK_BYTES_MIN};
    struct run_writer *writer;
    char text[100];
    memset(text, data, sizeof text);
    assert_int_equal(run_writer_new(&options, &writer), 0);
    for (unsigned char n = 0; n < 3; n++)
        assert_int_equal(run_writer_add(writer, &(struct engine_row){&n, 1, 1, text, sizeof text}),
                         0);
    assert_int_equal(run_writer_finish(writer, NULL), 0);
    return run_file_read(io, "r", size);
}

static void a_block_of_another_place_or_another_run_is_noticed(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    size_t size, other_size, block = 24 + 105 + 16;
    unsigned char *bytes = equal_blocks(io, 1, 'x', &size);
    unsigned char *damaged = malloc(size);
    assert_non_null(damaged);
    memcpy(damaged, bytes, size);
    memcpy(damaged + 64 + block, bytes + 64, block);
    run_file_write(io, "r", damaged, size);
    assert_damage_is_named(io, "block of another place", 64 + block);
    assert_non_null(strstr(diag_message(), "offset 209: block checksum"));

    assert_int_equal(io_unlink(io, "r"), 0);
    unsigned char *other = equal_blocks(io, 2, 'y', &other_size);
    assert_int_equal(other_size, size);
    memcpy(damaged, bytes, size);
    memcpy(damaged + 64, other + 64, block);
    run_file_write(io, "r", damaged, size);
    assert_damage_is_named(io, "block of another run", 64);
    assert_non_null(strstr(diag_message(), "offset 64: block checksum"));
    free(other);
    free(damaged);
    free(bytes);
    io_delete(io);
    disk_delete(disk);
}

static void a_large_run_goes_to_the_disk_while_it_is_written_and_is_flushed_once(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    assert_int_equal(write_run(io, true, 0), 0);
    assert_true(disk_call_count(disk, DISK_WRITE_BACK) >= 4);
    assert_int_equal(disk_call_count(disk, DISK_SYNC), 1);
    io_delete(io);
    disk_delete(disk);
}

static void a_file_that_shrinks_while_it_is_open_is_damaged(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    struct run *run;
    struct run_cursor *cursor;
    struct engine_row row;
    struct io_file *file;
    assert_int_equal(write_run(io, false, 0), 0);
    assert_int_equal(run_open(io, "r", &run), 0);
    assert_int_equal(run_cursor_open(run, NULL, &cursor), 0);
    assert_int_equal(io_open(io, "r", IO_WRITE, &file), 0);
    assert_int_equal(io_truncate(file, 100), 0);
    io_close(file);
    int rc;
    while ((rc = run_cursor_next(cursor, &row)) == 0)
        ;
    assert_int_equal(rc, ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), "the file ends too early"));
    assert_int_equal(run_cursor_next(cursor, &row), ERROR_CORRUPT);
    run_cursor_close(cursor);
    run_close(run);
    io_delete(io);
    disk_delete(disk);
}

static void damage_that_comes_after_opening_is_noticed(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    size_t size;
    assert_int_equal(write_run(io, false, 0), 0);
    unsigned char *bytes = run_file_read(io, "r", &size);
    for (size_t at = 0; at < size; at++) {
        struct run *run;
        run_file_write(io, "r", bytes, size);
        assert_int_equal(run_open(io, "r", &run), 0);
        bytes[at] ^= 1;
        run_file_write(io, "r", bytes, size);
        bytes[at] ^= 1;
        assert_int_equal(run_verify(run, NULL, NULL), ERROR_CORRUPT);
        run_close(run);
    }
    free(bytes);
    io_delete(io);
    disk_delete(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_writer_whose_nth_call_fails_says_so_and_leaves_no_file),
        cmocka_unit_test(
            a_run_that_was_acknowledged_survives_a_power_cut_and_no_other_passes_for_one),
        cmocka_unit_test(a_reader_whose_nth_call_fails_says_so),
        cmocka_unit_test(an_allocation_that_fails_is_told_and_does_no_harm),
        cmocka_unit_test(a_ribbon_filter_without_memory_to_solve_it_gives_way_to_a_bloom_filter),
        cmocka_unit_test(a_changed_bit_is_noticed_wherever_it_is),
        cmocka_unit_test(a_file_cut_or_lengthened_anywhere_is_damaged),
        cmocka_unit_test(a_block_of_another_place_or_another_run_is_noticed),
        cmocka_unit_test(a_large_run_goes_to_the_disk_while_it_is_written_and_is_flushed_once),
        cmocka_unit_test(a_file_that_shrinks_while_it_is_open_is_damaged),
        cmocka_unit_test(damage_that_comes_after_opening_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
