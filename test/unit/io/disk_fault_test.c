/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What can be planted into the test disk: order and sectors that a cut does not respect, bits that
 * flip, files that vanish, calls that fail for good, and a disk that is full.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/test_seed.h"
#include "io/disk.h"

enum { BLOCK = IO_ALIGN, CUTS = 64 };

static unsigned char memory[BLOCK * 4];

static struct io_file *open_file(struct io *io, const char *name, int flags)
{
    struct io_file *file = NULL;
    assert_int_equal(io_open(io, name, flags, &file), 0);
    return file;
}

/* A file of `blocks` blocks of `byte`, with its name, all durable. */
static struct io_file *durable_file(struct io *io, const char *name, unsigned blocks, int byte)
{
    struct io_file *file = open_file(io, name, IO_WRITE | IO_CREATE);
    memset(memory, byte, BLOCK * blocks);
    assert_int_equal(io_write(file, memory, BLOCK * blocks, 0), 0);
    assert_int_equal(io_sync(file), 0);
    assert_int_equal(io_sync_dir(io), 0);
    return file;
}

/* Whether the file begins with `blocks` blocks, each uniform; their bytes are put into `bytes`, -1
 * for one beyond the end. */
static void block_bytes(struct io *io, const char *name, unsigned blocks, int *bytes)
{
    struct io_file *file = open_file(io, name, IO_READ);
    int64_t size = io_read(file, memory, BLOCK * blocks, 0);
    assert_true(size >= 0);
    for (unsigned i = 0; i < blocks; i++) {
        bytes[i] = (int64_t)(i * BLOCK) < size ? memory[i * BLOCK] : -1;
        for (unsigned j = 0; j < BLOCK && bytes[i] >= 0; j++)
            assert_int_equal(memory[i * BLOCK + j], bytes[i]);
    }
    io_close(file);
}

static bool exists(struct io *io, const char *name)
{
    struct io_file *file;
    int result = io_open(io, name, IO_READ, &file);
    if (result == 0)
        io_close(file);
    else
        assert_int_equal(result, ERROR_NOT_FOUND);
    return result == 0;
}

/* Cuts, ends the old io and gives a new one. */
static struct io *cut(struct disk *disk, struct io *old, uint64_t seed)
{
    disk_cut(disk, seed);
    io_delete(old);
    return disk_io(disk);
}

/* Replaces "name" as a careful program does. Returns the first error. */
static int replace(struct io *io, int byte)
{
    struct io_file *file;
    int result = io_open(io, "new", IO_WRITE | IO_CREATE | IO_TRUNCATE, &file);
    if (result != 0)
        return result;
    memset(memory, byte, BLOCK * 4);
    result = io_write(file, memory, BLOCK * 4, 0);
    if (result == 0)
        result = io_sync(file);
    io_close(file);
    if (result == 0)
        result = io_rename(io, "new", "name");
    return result ? result : io_sync_dir(io);
}

/* ---------------------------------------------------------------- order, sectors */

/* Writes two blocks, in this order and without a flush, and cuts. Tells which survived. */
static unsigned two_writes_survive(const char *first, const char *second, uint64_t seed)
{
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    io_close(durable_file(io, "one", 2, 'a'));
    io_close(durable_file(io, "two", 2, 'a'));
    struct io_file *files[2] = {open_file(io, first, IO_WRITE), open_file(io, second, IO_WRITE)};
    memset(memory, 'b', BLOCK);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(io_write(files[i], memory, BLOCK, i * BLOCK), 0);
    for (unsigned i = 0; i < 2; i++)
        io_close(files[i]);
    io = cut(disk, io, seed);
    unsigned survived = 0;
    int bytes[2];
    for (unsigned i = 0; i < 2; i++) {
        block_bytes(io, i == 0 ? first : second, 2, bytes);
        survived |= (unsigned)(bytes[i] == 'b') << i;
    }
    io_delete(io);
    disk_delete(disk);
    return survived;
}

static void a_later_write_may_survive_without_an_earlier_one(void **state)
{
    (void)state;
    unsigned same_file = 0, two_files = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        same_file |= 1u << two_writes_survive("one", "one", seed);
        two_files |= 1u << two_writes_survive("one", "two", seed);
    }
    assert_int_equal(same_file, 15);
    assert_int_equal(two_files, 15);
}

static void a_later_name_may_survive_without_an_earlier_one(void **state)
{
    (void)state;
    unsigned survived = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        io_close(open_file(io, "one", IO_WRITE | IO_CREATE));
        io_close(open_file(io, "two", IO_WRITE | IO_CREATE));
        io = cut(disk, io, seed);
        survived |= 1u << (exists(io, "one") | exists(io, "two") << 1);
        io_delete(io);
        disk_delete(disk);
    }
    assert_int_equal(survived, 15);
}

static void a_disk_that_tears_sectors_keeps_and_loses_each(void **state)
{
    (void)state;
    enum { SECTOR = 512, SECTORS = BLOCK / SECTOR };
    unsigned torn = 0, kept = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(1);
        disk_tear(disk, SECTOR);
        struct io *io = disk_io(disk);
        struct io_file *file = durable_file(io, "file", 1, 'a');
        memset(memory, 'b', BLOCK);
        assert_int_equal(io_write(file, memory, BLOCK, 0), 0);
        io_close(file);
        io = cut(disk, io, seed);
        file = open_file(io, "file", IO_READ);
        assert_int_equal(io_read(file, memory, BLOCK, 0), BLOCK);
        io_close(file);
        unsigned now = 0;
        for (unsigned i = 0; i < BLOCK; i++) {
            assert_true(memory[i] == 'a' || memory[i] == 'b');
            assert_int_equal(memory[i], memory[i / SECTOR * SECTOR]);
            now += i % SECTOR == 0 && memory[i] == 'b';
        }
        torn += now > 0 && now < SECTORS;
        kept += now;
        io_delete(io);
        disk_delete(disk);
    }
    assert_true(torn > CUTS / 2);
    assert_in_range(kept, CUTS * SECTORS / 4, CUTS * SECTORS * 3 / 4);
}

/* ---------------------------------------------------------------- damage */

static unsigned char byte_at(struct io *io, const char *name, uint64_t offset)
{
    unsigned char byte = 0;
    struct io_file *file = open_file(io, name, IO_READ);
    assert_int_equal(io_read(file, &byte, 1, offset), 1);
    io_close(file);
    return byte;
}

static void a_flipped_bit_stays_flipped(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    struct io_file *file = durable_file(io, "file", 2, 'a');
    assert_true(disk_flip(disk, "file", BLOCK + 3, 1));
    assert_int_equal(byte_at(io, "file", BLOCK + 3), 'a' ^ 2);
    assert_int_equal(byte_at(io, "file", BLOCK + 4), 'a');
    io_close(file);
    io = cut(disk, io, 1);
    assert_int_equal(byte_at(io, "file", BLOCK + 3), 'a' ^ 2);
    assert_true(disk_flip(disk, "file", BLOCK + 3, 1));
    assert_int_equal(byte_at(io, "file", BLOCK + 3), 'a');
    assert_false(disk_flip(disk, "file", 2 * BLOCK, 0));
    assert_false(disk_flip(disk, "other", 0, 0));
    io_delete(io);
    disk_delete(disk);
}

static void a_random_flip_is_one_bit_where_it_says(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), offset;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    io_close(durable_file(io, "file", 1, 0));
    io_close(open_file(io, "empty", IO_WRITE | IO_CREATE));
    assert_false(disk_flip_random(disk, "empty", seed, &offset));
    for (unsigned n = 0; n < CUTS; n++) {
        assert_true(disk_flip_random(disk, "file", seed + n, &offset));
        unsigned char byte = byte_at(io, "file", offset);
        assert_int_equal(byte & (byte - 1), 0);
        assert_int_not_equal(byte, 0);
        assert_true(disk_flip_random(disk, "file", seed + n, &offset));
        assert_int_equal(byte_at(io, "file", offset), 0);
    }
    io_delete(io);
    disk_delete(disk);
}

static void a_vanished_file_does_not_come_back(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        struct io_file *file = durable_file(io, "durable", 1, 'a');
        io_close(durable_file(io, "old", 1, 'a'));
        io_close(open_file(io, "new", IO_WRITE | IO_CREATE));
        assert_int_equal(io_rename(io, "old", "renamed"), 0);
        assert_true(disk_vanish(disk, "durable"));
        assert_true(disk_vanish(disk, "new"));
        assert_true(disk_vanish(disk, "renamed"));
        assert_false(disk_vanish(disk, "renamed"));
        assert_int_equal(io_write(file, "x", 1, 0), 0);
        assert_int_equal(io_sync(file), 0);
        io_close(file);
        io = cut(disk, io, seed);
        assert_false(exists(io, "durable") || exists(io, "new") || exists(io, "renamed"));
        io_delete(io);
        disk_delete(disk);
    }
}

/* ---------------------------------------------------------------- failing for good, no room */

static void a_directory_can_be_made_to_fail_its_sync_for_good(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    disk_fail_always(disk, DISK_SYNC_DIR, EIO);
    assert_int_equal(replace(io, 'a'), ERROR_IO);
    assert_non_null(strstr(diag_message(), strerror(EIO)));
    for (int n = 0; n < 2; n++)
        assert_int_equal(replace(io, 'a'), ERROR_IO);
    assert_int_equal(disk_call_count(disk, DISK_RENAME), 3);
    disk_fail_always(disk, DISK_SYNC_DIR, 0);
    io_delete(io);
    io = disk_io(disk);
    assert_int_equal(replace(io, 'a'), 0);
    io_delete(io);
    disk_delete(disk);
}

/* Of every io, so that a thread does not rely on what another was told is lost. */
static void a_directory_whose_sync_failed_once_fails_until_it_is_opened_again(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    disk_fail_nth_of(disk, DISK_SYNC_DIR, 1, EIO);
    assert_int_equal(io_sync_dir(io), ERROR_IO);
    assert_int_equal(io_sync_dir(io), ERROR_IO);
    assert_non_null(strstr(diag_message(), "has failed before"));
    assert_int_equal(disk_call_count(disk, DISK_SYNC_DIR), 1);
    io_delete(io);
    io = disk_io(disk);
    assert_int_equal(io_sync_dir(io), 0);
    io_delete(io);
    disk_delete(disk);
}

static void kinds_of_calls_fail_for_good_each_with_its_error(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    struct io_file *file = durable_file(io, "file", 1, 'a');
    disk_fail_always(disk, DISK_WRITE, ENOSPC);
    disk_fail_always(disk, DISK_SYNC, EIO);
    for (int n = 0; n < 2; n++) {
        assert_int_equal(io_write(file, "x", 1, 0), ERROR_IO);
        assert_non_null(strstr(diag_message(), strerror(ENOSPC)));
        assert_int_equal(io_sync(file), ERROR_IO);
        assert_non_null(strstr(diag_message(), strerror(EIO)));
    }
    assert_int_equal(byte_at(io, "file", 0), 'a');
    disk_cut(disk, 1);
    io_close(file);
    io_delete(io);
    io = disk_io(disk);
    assert_int_equal(replace(io, 'b'), 0);
    io_delete(io);
    disk_delete(disk);
}

static void from_a_call_on_everything_fails_until_disarmed(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    assert_int_equal(replace(io, 'a'), 0);
    disk_fail_from(disk, 3, EIO);
    assert_int_equal(replace(io, 'b'), ERROR_IO);
    assert_int_equal(disk_call_count(disk, DISK_SYNC), 2);
    struct io_file *file;
    for (int n = 0; n < 3; n++)
        assert_int_equal(io_open(io, "name", IO_READ, &file), ERROR_IO);
    disk_fail_from(disk, 0, 0);
    int bytes[4];
    block_bytes(io, "name", 4, bytes);
    assert_int_equal(bytes[0], 'a');
    assert_int_equal(replace(io, 'b'), 0);
    io_delete(io);
    disk_delete(disk);
}

static void a_full_disk_takes_what_fits_and_what_is_there_already(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    struct io_file *file = durable_file(io, "file", 1, 'a');
    struct io_file *other = open_file(io, "other", IO_WRITE | IO_CREATE);
    disk_capacity(disk, BLOCK + 100);
    assert_int_equal(disk_used(disk), BLOCK);
    assert_int_equal(io_write(other, memory, 60, 0), 0);
    assert_int_equal(io_write(other, memory, 60, 60), ERROR_IO);
    assert_non_null(strstr(diag_message(), strerror(ENOSPC)));
    assert_int_equal(io_size(other), 100);
    assert_int_equal(io_allocate_zeros(other, BLOCK, NULL), ERROR_IO);
    assert_int_equal(io_truncate(other, 101), ERROR_IO);
    assert_int_equal(io_write(file, memory, BLOCK, 0), 0);
    assert_int_equal(io_write(file, "x", 1, BLOCK), ERROR_IO);
    assert_int_equal(disk_used(disk), BLOCK + 100);
    assert_int_equal(io_truncate(other, 0), 0);
    assert_int_equal(io_write(file, "x", 1, BLOCK), 0);
    io_close(other);
    assert_int_equal(io_unlink(io, "other"), 0);
    disk_capacity(disk, 0);
    assert_int_equal(io_write(file, memory, BLOCK, BLOCK), 0);
    io_close(file);
    io_delete(io);
    disk_delete(disk);
}

static void a_queue_write_that_does_not_fit_completes_with_an_error(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    struct io_file *file = durable_file(io, "file", 1, 'a');
    struct io_queue *queue;
    struct io_completion done;
    disk_capacity(disk, BLOCK);
    assert_int_equal(io_queue_new(io, 1, &queue), 0);
    assert_int_equal(io_queue_write(queue, file, memory, BLOCK, BLOCK, true, 3), 0);
    assert_int_equal(io_queue_wait(queue, true, &done, 1), 1);
    assert_int_equal(done.result, ERROR_IO);
    assert_int_equal(done.system_error, ENOSPC);
    assert_int_equal(io_size(file), BLOCK);
    assert_int_equal(io_queue_write(queue, file, memory, BLOCK, 0, true, 4), 0);
    assert_int_equal(io_queue_wait(queue, true, &done, 1), 1);
    assert_int_equal(done.result, 0);
    io_queue_delete(queue);
    io_close(file);
    io_delete(io);
    disk_delete(disk);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_later_write_may_survive_without_an_earlier_one),
        cmocka_unit_test(a_later_name_may_survive_without_an_earlier_one),
        cmocka_unit_test(a_disk_that_tears_sectors_keeps_and_loses_each),
        cmocka_unit_test(a_flipped_bit_stays_flipped),
        cmocka_unit_test(a_random_flip_is_one_bit_where_it_says),
        cmocka_unit_test(a_vanished_file_does_not_come_back),
        cmocka_unit_test(a_directory_can_be_made_to_fail_its_sync_for_good),
        cmocka_unit_test(a_directory_whose_sync_failed_once_fails_until_it_is_opened_again),
        cmocka_unit_test(kinds_of_calls_fail_for_good_each_with_its_error),
        cmocka_unit_test(from_a_call_on_everything_fails_until_disarmed),
        cmocka_unit_test(a_full_disk_takes_what_fits_and_what_is_there_already),
        cmocka_unit_test(a_queue_write_that_does_not_fit_completes_with_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
