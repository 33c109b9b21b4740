/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Files that are appended to, over the operating system with and without a scheduler, and over the
 * test's disk, which fails and loses its power.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "io/disk.h"
#include "io/io_append.h"
#include "io/io_internal.h"

enum { MANY_BYTES = 5 << 20 };

static char dir[64];
static struct disk *disk;
static struct io *io;
static struct io_scheduler *scheduler;
static unsigned char *bytes, *found;

static int setup(bool on_disk, bool scheduled, bool uring)
{
    struct io_scheduler_options options = {.allow_uring = uring};
    struct random random;
    io_limits_default(&options.limits);
    random_create(&random, 5);
    bytes = malloc(MANY_BYTES);
    found = malloc(MANY_BYTES + 1);
    if (bytes == NULL || found == NULL)
        return 1;
    for (size_t i = 0; i < MANY_BYTES; i++)
        bytes[i] = (unsigned char)random_next(&random);
    disk = NULL;
    scheduler = NULL;
    snprintf(dir, sizeof dir, "./io_append_test.XXXXXX");
    if (on_disk) {
        disk = disk_new(1);
        io = disk_io(disk);
    } else if (mkdtemp(dir) == NULL || io_posix_new(dir, true, &io) != 0) {
        return 1;
    }
    return scheduled ? io_scheduler_new(io, &options, &scheduler) : 0;
}

static int teardown(void **state)
{
    (void)state;
    char path[128];
    if (scheduler != NULL)
        io_scheduler_delete(scheduler);
    io_delete(io);
    free(bytes);
    free(found);
    if (disk != NULL) {
        disk_delete(disk);
        return 0;
    }
    snprintf(path, sizeof path, "%s/file", dir);
    unlink(path);
    return rmdir(dir);
}

static int setup_uring(void **state)
{
    (void)state;
    return setup(false, true, true);
}

static int setup_threads(void **state)
{
    (void)state;
    return setup(false, true, false);
}

static int setup_alone(void **state)
{
    (void)state;
    return setup(false, false, false);
}

static int setup_buffered(void **state)
{
    (void)state;
    int rc = setup(false, true, true);
    if (rc == 0)
        io__posix_refuse_direct(io);
    return rc;
}

static int setup_disk(void **state)
{
    (void)state;
    return setup(true, false, false);
}

static int setup_disk_scheduled(void **state)
{
    (void)state;
    return setup(true, true, false);
}

/* Appends so many bytes in pieces of a size that fits nothing. */
static int append(size_t size, size_t piece, uint64_t *flushes)
{
    struct io_appender *appender;
    int rc = io_appender_new(io, "file", IO_BACKGROUND, &appender);
    if (rc != 0)
        return rc;
    for (size_t at = 0; rc == 0 && at < size; at += piece) {
        assert_int_equal(io_appender_offset(appender), at);
        rc = io_appender_put(appender, bytes + at, size - at < piece ? size - at : piece);
    }
    if (flushes != NULL)
        *flushes = disk_call_count(disk, DISK_SYNC);
    if (rc == 0)
        rc = io_appender_finish(appender);
    else
        assert_int_equal(io_appender_put(appender, bytes, 1), rc);
    if (rc != 0)
        assert_int_equal(io_appender_finish(appender), rc);
    if (rc == 0)
        assert_int_equal(io_appender_offset(appender), size);
    io_appender_delete(appender);
    return rc;
}

static void assert_file_has(size_t size)
{
    struct io_file *file;
    assert_int_equal(io_open(io, "file", IO_READ, &file), 0);
    assert_int_equal(io_size(file), size);
    assert_int_equal(io_read(file, found, MANY_BYTES + 1, 0), size);
    assert_memory_equal(found, bytes, size);
    io_close(file);
}

static void the_file_is_what_was_appended(void **state)
{
    (void)state;
    const size_t sizes[] = {
        0,
        1,
        4095,
        4096,
        4097,
        300000,
        IO_BUFFER_BYTES,
        IO_BUFFER_BYTES + 1,
        1 << 20,
        MANY_BYTES,
        MANY_BYTES - 1,
    };
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(append(sizes[i], sizes[i] < 5000 ? 100 : 77777, NULL), 0);
        assert_file_has(sizes[i]);
        assert_int_equal(io_unlink(io, "file"), 0);
    }
}

static void a_file_that_is_there_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(append(5000, 1000, NULL), 0);
    assert_int_equal(append(10, 10, NULL), ERROR_EXISTS);
    assert_file_has(5000);
}

static void it_is_durable_when_it_has_been_finished(void **state)
{
    (void)state;
    uint64_t flushes;
    for (unsigned offer = 0; offer < 2; offer++) {
        disk_offer_direct(disk, offer == 1);
        assert_int_equal(append(1000001, 65537, &flushes), 0);
        assert_int_equal(disk_call_count(disk, DISK_SYNC), flushes + 1); /* one, at the end */
        assert_int_equal(io_sync_dir(io), 0);
        struct io_scheduler *before = scheduler;
        if (before != NULL)
            io_scheduler_delete(before);
        scheduler = NULL;
        disk_cut(disk, 7 + offer);
        io_delete(io);
        io = disk_io(disk);
        assert_file_has(1000001);
        assert_int_equal(io_unlink(io, "file"), 0);
    }
}

/* Each call in turn: the error comes out, stays, and nothing is left in flight. */
static void an_error_at_any_call_comes_out(void **state)
{
    (void)state;
    unsigned failures = 0;
    for (unsigned offer = 0; offer < 2; offer++) {
        disk_offer_direct(disk, offer == 1);
        for (uint64_t n = 1;; n++) {
            disk_fail_nth(disk, n, EIO);
            int rc = append(1500000, 99999, NULL);
            disk_fail_nth(disk, 0, 0);
            if (rc == 0)
                break;
            assert_int_equal(rc, ERROR_IO);
            assert_true(strlen(diag_message()) > 0);
            failures++;
            if (n > 1) /* the first call makes it */
                assert_int_equal(io_unlink(io, "file"), 0);
        }
        assert_file_has(1500000);
        assert_int_equal(io_unlink(io, "file"), 0);
    }
    assert_true(failures > 10);
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    disk_capacity(disk, 700000);
    assert_int_equal(append(1500000, 99999, NULL), ERROR_IO);
    disk_capacity(disk, 0);
}

static void writes_are_of_their_class(void **state)
{
    (void)state;
    struct io_class_stats stats;
    assert_int_equal(append(1500000, 99999, NULL), 0);
    io_scheduler_stats(scheduler, IO_BACKGROUND, &stats);
    assert_int_equal(stats.writes, 1500000 / IO_BUFFER_BYTES + 1);
    assert_true(stats.bytes_written >= 1500000);
    assert_true(stats.bytes_written < 1500000 + IO_ALIGN);
}

static uint64_t writes_of(enum io_class class)
{
    struct io_class_stats stats;
    io_scheduler_stats(scheduler, class, &stats);
    return stats.writes;
}

static void a_file_that_is_begun_goes_on_in_another_class(void **state)
{
    (void)state;
    struct io_appender *appender;
    assert_int_equal(io_appender_new(io, "file", IO_BACKGROUND, &appender), 0);
    assert_int_equal(io_appender_put(appender, bytes, 2 * (size_t)IO_BUFFER_BYTES + 1), 0);
    io_appender_class_set(appender, IO_CHECKPOINT);
    assert_int_equal(io_appender_put(appender, bytes, 3 * (size_t)IO_BUFFER_BYTES), 0);
    assert_int_equal(io_appender_finish(appender), 0);
    io_appender_delete(appender);
    assert_int_equal(writes_of(IO_BACKGROUND), 2);
    assert_int_equal(writes_of(IO_CHECKPOINT), 4);
}

#define ON(name, how) cmocka_unit_test_setup_teardown(name, setup_##how, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON(the_file_is_what_was_appended, uring),
        ON(the_file_is_what_was_appended, threads),
        ON(the_file_is_what_was_appended, alone),
        ON(the_file_is_what_was_appended, buffered),
        ON(the_file_is_what_was_appended, disk),
        ON(the_file_is_what_was_appended, disk_scheduled),
        ON(a_file_that_is_there_is_left_alone, alone),
        ON(it_is_durable_when_it_has_been_finished, disk),
        ON(it_is_durable_when_it_has_been_finished, disk_scheduled),
        ON(an_error_at_any_call_comes_out, disk),
        ON(an_error_at_any_call_comes_out, disk_scheduled),
        ON(a_full_disk_is_an_error, disk),
        ON(a_full_disk_is_an_error, disk_scheduled),
        ON(writes_are_of_their_class, uring),
        ON(writes_are_of_their_class, threads),
        ON(writes_are_of_their_class, disk_scheduled),
        ON(a_file_that_is_begun_goes_on_in_another_class, uring),
        ON(a_file_that_is_begun_goes_on_in_another_class, disk_scheduled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
