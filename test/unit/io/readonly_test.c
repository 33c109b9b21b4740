/* SPDX-License-Identifier: Apache-2.0 */

/* Several directories as one that is only read; and a second name for a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "io/disk.h"
#include "io/io_readonly.h"

static void file_make(struct io *io, const char *name, const char *text)
{
    struct io_file *file;
    assert_int_equal(io_open(io, name, IO_WRITE | IO_CREATE, &file), 0);
    assert_int_equal(io_write(file, text, strlen(text), 0), 0);
    io_close(file);
}

static int file_read(struct io *io, const char *name, char out[16])
{
    struct io_file *file;
    int rc = io_open(io, name, IO_READ, &file);
    if (rc != 0)
        return rc;
    int64_t got = io_read(file, out, 15, 0);
    assert_true(got >= 0);
    out[got] = '\0';
    io_close(file);
    return 0;
}

static int name_append(const char *name, uint64_t size, void *arg)
{
    (void)size;
    strcat(arg, name);
    return 0;
}

static bool not_hidden(const char *name, void *arg)
{
    (void)arg;
    return name[0] != 'h';
}

struct two {
    struct disk *disks[2];
    struct io *ios[2], *both;
};

static void two_make(struct two *two)
{
    for (unsigned i = 0; i < 2; i++) {
        two->disks[i] = disk_new(i);
        two->ios[i] = disk_io(two->disks[i]);
    }
    file_make(two->ios[0], "a", "first a");
    file_make(two->ios[1], "a", "second a");
    file_make(two->ios[1], "b", "second b");
    file_make(two->ios[1], "h", "hidden");
    assert_int_equal(io_readonly_new(two->ios, 2, not_hidden, NULL, &two->both), 0);
}

static void two_end(struct two *two)
{
    io_delete(two->both);
    for (unsigned i = 0; i < 2; i++) {
        io_delete(two->ios[i]);
        disk_delete(two->disks[i]);
    }
}

static void a_name_is_that_of_the_first_directory_that_has_it(void **state)
{
    (void)state;
    struct two two;
    char text[16], names[64] = "";
    two_make(&two);
    assert_int_equal(file_read(two.both, "a", text), 0);
    assert_string_equal(text, "first a");
    assert_int_equal(file_read(two.both, "b", text), 0);
    assert_string_equal(text, "second b");
    assert_int_equal(file_read(two.both, "c", text), ERROR_NOT_FOUND);
    assert_int_equal(io_list(two.both, name_append, names), 0);
    assert_string_equal(names, "ab");
    two_end(&two);
}

static void what_is_not_shown_is_not_there(void **state)
{
    (void)state;
    struct two two;
    char text[16];
    two_make(&two);
    assert_int_equal(file_read(two.both, "h", text), ERROR_NOT_FOUND);
    two_end(&two);
}

static void nothing_can_be_changed(void **state)
{
    (void)state;
    struct two two;
    struct io_file *file;
    struct io_queue *queue;
    two_make(&two);
    uint64_t writes = disk_call_count(two.disks[0], DISK_WRITE);
    assert_int_equal(io_open(two.both, "a", IO_WRITE, &file), ERROR_READONLY);
    assert_int_equal(io_open(two.both, "n", IO_WRITE | IO_CREATE, &file), ERROR_READONLY);
    assert_int_equal(io_open(two.both, "a", IO_TRUNCATE, &file), ERROR_READONLY);
    assert_int_equal(io_rename(two.both, "a", "n"), ERROR_READONLY);
    assert_int_equal(io_unlink(two.both, "a"), ERROR_READONLY);
    assert_int_equal(io_sync_dir(two.both), ERROR_READONLY);
    assert_int_equal(io_lock(two.both, "lock"), ERROR_READONLY);
    assert_int_equal(io_queue_new(two.both, 1, &queue), ERROR_READONLY);
    assert_int_equal(disk_call_count(two.disks[0], DISK_WRITE), writes);
    two_end(&two);
}

static void looking_in_several_directories_leaves_the_diagnostics_as_they_were(void **state)
{
    (void)state;
    struct two two;
    char text[16];
    two_make(&two);
    diag_set(ERROR_CORRUPT, "of before");
    assert_int_equal(file_read(two.both, "b", text), 0);
    assert_string_equal(diag_message_for(ERROR_CORRUPT), "of before");
    two_end(&two);
}

static void a_second_name_has_the_same_bytes_also_after_the_first_is_gone(void **state)
{
    (void)state;
    char path[2][64], text[16];
    struct io *ios[2];
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "/tmp/perigee-link-XXXXXX");
        assert_non_null(mkdtemp(path[i]));
        assert_int_equal(io_posix_new(path[i], false, &ios[i]), 0);
    }
    file_make(ios[0], "a", "bytes");
    assert_int_equal(io_link(ios[0], "a", ios[1], "b"), 0);
    assert_int_equal(io_link(ios[0], "a", ios[1], "b"), ERROR_EXISTS);
    assert_int_equal(io_link(ios[0], "none", ios[1], "c"), ERROR_NOT_FOUND);
    assert_int_equal(io_unlink(ios[0], "a"), 0);
    assert_int_equal(file_read(ios[1], "b", text), 0);
    assert_string_equal(text, "bytes");
    assert_int_equal(io_unlink(ios[1], "b"), 0);
    for (unsigned i = 0; i < 2; i++) {
        io_delete(ios[i]);
        rmdir(path[i]);
    }
}

static void where_there_are_no_second_names_the_caller_is_told(void **state)
{
    (void)state;
    struct two two;
    two_make(&two);
    assert_int_equal(io_link(two.ios[0], "a", two.ios[1], "n"), ERROR_UNSUPPORTED);
    assert_int_equal(io_link(two.both, "a", two.ios[1], "n"), ERROR_UNSUPPORTED);
    two_end(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_that_of_the_first_directory_that_has_it),
        cmocka_unit_test(what_is_not_shown_is_not_there),
        cmocka_unit_test(nothing_can_be_changed),
        cmocka_unit_test(looking_in_several_directories_leaves_the_diagnostics_as_they_were),
        cmocka_unit_test(a_second_name_has_the_same_bytes_also_after_the_first_is_gone),
        cmocka_unit_test(where_there_are_no_second_names_the_caller_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
