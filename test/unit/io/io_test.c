/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What every struct io promises: one list of tests, run against the operating system with each kind
 * of file and queue it can fall back to, and against the test disk.
 *
 * Each test gets an empty directory. The seed of the random test is printed, and taken from
 * PERIGEE_SEED.
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
#include "base/test_seed.h"
#include "io/disk.h"
#include "io/io_internal.h"

enum { BLOCK = IO_ALIGN, BLOCKS = 32 };

enum kind { POSIX_URING, POSIX_THREADS, POSIX_BUFFERED, DISK_BUFFERED, DISK_DIRECT };

struct fixture {
    enum kind kind;
    struct io *io;
    struct disk *disk;
    char dir[64];
    unsigned char *memory; /* BLOCKS blocks, aligned */
};

static bool is_disk(const struct fixture *fixture)
{
    return fixture->kind >= DISK_BUFFERED;
}

/* One more io on the same files. */
static struct io *io_again(struct fixture *fixture)
{
    if (is_disk(fixture))
        return disk_io(fixture->disk);
    struct io *io;
    assert_int_equal(io_posix_new(fixture->dir, fixture->kind == POSIX_URING, &io), 0);
    if (fixture->kind == POSIX_BUFFERED)
        io__posix_refuse_direct(io);
    return io;
}

static int fixture_create(void **state, enum kind kind)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    fixture->kind = kind;
    fixture->memory = aligned_alloc(IO_ALIGN, BLOCK * BLOCKS);
    if (is_disk(fixture)) {
        fixture->disk = disk_new(1);
        disk_offer_direct(fixture->disk, kind == DISK_DIRECT);
    } else {
        snprintf(fixture->dir, sizeof(fixture->dir), "./io_test.XXXXXX");
        assert_non_null(mkdtemp(fixture->dir));
    }
    fixture->io = io_again(fixture);
    *state = fixture;
    return 0;
}

static int unlink_each(const char *name, uint64_t size, void *arg)
{
    (void)size;
    return io_unlink(arg, name);
}

static int fixture_delete(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(io_list(fixture->io, unlink_each, fixture->io), 0);
    io_delete(fixture->io);
    if (is_disk(fixture))
        disk_delete(fixture->disk);
    else
        assert_int_equal(rmdir(fixture->dir), 0);
    free(fixture->memory);
    free(fixture);
    return 0;
}

#define SETUP(name, kind)                   \
    static int name(void **state)           \
    {                                       \
        return fixture_create(state, kind); \
    }
SETUP(setup_uring, POSIX_URING)
SETUP(setup_threads, POSIX_THREADS)
SETUP(setup_buffered, POSIX_BUFFERED)
SETUP(setup_disk, DISK_BUFFERED)
SETUP(setup_disk_direct, DISK_DIRECT)

static struct io_file *open_file(struct io *io, const char *name, int flags)
{
    struct io_file *file = NULL;
    assert_int_equal(io_open(io, name, flags, &file), 0);
    return file;
}

/* ---------------------------------------------------------------- files */

static void opening_an_absent_file_without_create_is_not_found(void **state)
{
    struct fixture *fixture = *state;
    struct io_file *file;
    assert_int_equal(io_open(fixture->io, "absent", IO_READ, &file), ERROR_NOT_FOUND);
    assert_non_null(strstr(diag_message(), "absent"));
    assert_non_null(strstr(diag_message(), strerror(ENOENT)));
    assert_int_equal(io_open(fixture->io, "absent", IO_WRITE | IO_DIRECT, &file), ERROR_NOT_FOUND);
}

static void an_exclusive_create_takes_a_name_once(void **state)
{
    struct fixture *fixture = *state;
    struct io_file *file;
    for (int direct = 0; direct <= IO_DIRECT; direct += IO_DIRECT) {
        const char *name = direct ? "one" : "two";
        int flags = IO_WRITE | IO_CREATE | IO_EXCLUSIVE | direct;
        io_close(open_file(fixture->io, name, flags));
        assert_int_equal(io_open(fixture->io, name, flags, &file), ERROR_EXISTS);
    }
}

static void what_was_written_is_read_and_reading_ends_at_the_end(void **state)
{
    struct fixture *fixture = *state;
    char text[16] = {0};
    struct io_file *file = open_file(fixture->io, "file", IO_WRITE | IO_CREATE);
    assert_int_equal(io_size(file), 0);
    assert_int_equal(io_read(file, text, 4, 0), 0);
    assert_int_equal(io_write(file, "perigee", 7, 5), 0);
    assert_int_equal(io_sync(file), 0);
    assert_int_equal(io_size(file), 12);
    assert_int_equal(io_read(file, text, sizeof(text), 0), 12);
    assert_memory_equal(text, "\0\0\0\0\0perigee", 12);
    assert_int_equal(io_read(file, text, 3, 7), 3);
    assert_memory_equal(text, "rig", 3);
    assert_int_equal(io_read(file, text, 3, 12), 0);
    assert_int_equal(io_read(file, text, 3, 100), 0);
    io_close(file);
}

static void a_file_opened_for_reading_refuses_writes(void **state)
{
    struct fixture *fixture = *state;
    io_close(open_file(fixture->io, "file", IO_WRITE | IO_CREATE));
    struct io_file *file = open_file(fixture->io, "file", IO_READ);
    assert_int_equal(io_write(file, "x", 1, 0), ERROR_IO);
    io_close(file);
}

static void truncating_cuts_and_lengthens_with_zeros(void **state)
{
    struct fixture *fixture = *state;
    char text[8];
    struct io_file *file = open_file(fixture->io, "file", IO_WRITE | IO_CREATE);
    assert_int_equal(io_write(file, "abcdef", 6, 0), 0);
    assert_int_equal(io_truncate(file, 2), 0);
    assert_int_equal(io_size(file), 2);
    assert_int_equal(io_truncate(file, 5), 0);
    assert_int_equal(io_read(file, text, 8, 0), 5);
    assert_memory_equal(text, "ab\0\0\0", 5);
    io_close(file);
    io_close(open_file(fixture->io, "file", IO_WRITE | IO_TRUNCATE));
    file = open_file(fixture->io, "file", IO_READ);
    assert_int_equal(io_size(file), 0);
    io_close(file);
}

static void allocated_zeros_replace_what_was_there(void **state)
{
    struct fixture *fixture = *state;
    for (int direct = 0; direct <= IO_DIRECT; direct += IO_DIRECT) {
        struct io_file *file = open_file(fixture->io, "file", IO_WRITE | IO_CREATE | direct);
        memset(fixture->memory, 'x', BLOCK * 8);
        assert_int_equal(io_write(file, fixture->memory, BLOCK * 8, 0), 0);
        assert_int_equal(io_allocate_zeros(file, BLOCK * 5, NULL), 0);
        assert_int_equal(io_size(file), BLOCK * 5);
        assert_int_equal(io_read(file, fixture->memory, BLOCK * 8, 0), BLOCK * 5);
        for (int i = 0; i < BLOCK * 5; i++)
            assert_int_equal(fixture->memory[i], 0);
        io_close(file);
    }
}

static void a_direct_file_says_whether_it_is_and_reads_what_it_wrote(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(fixture->io->direct_variant, "unknown");
    struct io_file *file = open_file(fixture->io, "file", IO_WRITE | IO_CREATE | IO_DIRECT);
    assert_string_equal(fixture->io->direct_variant, io_file_direct(file) ? "direct" : "buffered");
    if (fixture->kind == POSIX_BUFFERED || fixture->kind == DISK_BUFFERED)
        assert_false(io_file_direct(file));
    if (fixture->kind == DISK_DIRECT)
        assert_true(io_file_direct(file));
    memset(fixture->memory, 'd', BLOCK * 2);
    assert_int_equal(io_write(file, fixture->memory, BLOCK * 2, BLOCK), 0);
    memset(fixture->memory, 0, BLOCK * BLOCKS);
    assert_int_equal(io_read(file, fixture->memory, BLOCK * BLOCKS, 0), BLOCK * 3);
    assert_int_equal(fixture->memory[BLOCK - 1], 0);
    assert_int_equal(fixture->memory[BLOCK], 'd');
    assert_int_equal(fixture->memory[BLOCK * 3 - 1], 'd');
    assert_int_equal(io_truncate(file, BLOCK + 10), 0);
    assert_int_equal(io_read(file, fixture->memory, BLOCK * BLOCKS, 0), BLOCK + 10);
    io_close(file);
}

static void writing_back_changes_nothing_that_is_read(void **state)
{
    struct fixture *fixture = *state;
    struct io_file *file = open_file(fixture->io, "file", IO_WRITE | IO_CREATE);
    char text[8] = {0};
    assert_int_equal(io_write(file, "abcdef", 6, 0), 0);
    assert_int_equal(io_write_back(file, 0, 6), 0);
    assert_int_equal(io_write(file, "X", 1, 2), 0);
    assert_int_equal(io_write_back(file, 1, 100), 0);
    assert_int_equal(io_sync(file), 0);
    assert_int_equal(io_read(file, text, 8, 0), 6);
    assert_string_equal(text, "abXdef");
    io_close(file);
}

static void a_file_is_loaded_whole_or_refused_when_too_large(void **state)
{
    struct fixture *fixture = *state;
    struct io_file *file = open_file(fixture->io, "file", IO_WRITE | IO_CREATE);
    char *data;
    size_t size;
    assert_int_equal(io_load(fixture->io, "file", 0, &data, &size), 0);
    assert_int_equal(size, 0);
    assert_string_equal(data, "");
    free(data);
    assert_int_equal(io_write(file, "abcdef", 6, 0), 0);
    io_close(file);
    assert_int_equal(io_load(fixture->io, "file", 6, &data, &size), 0);
    assert_int_equal(size, 6);
    assert_string_equal(data, "abcdef");
    free(data);
    assert_int_equal(io_load(fixture->io, "file", 5, &data, &size), ERROR_CORRUPT);
    assert_non_null(strstr(diag_message(), "file"));
    assert_int_equal(io_load(fixture->io, "absent", 5, &data, &size), ERROR_NOT_FOUND);
}

/* ---------------------------------------------------------------- the directory */

struct listing {
    int count;
    uint64_t bytes;
    char names[64];
};

static int listing_add(const char *name, uint64_t size, void *arg)
{
    struct listing *listing = arg;
    listing->count++;
    listing->bytes += size;
    strncat(listing->names, name, sizeof(listing->names) - strlen(listing->names) - 1);
    return 0;
}

static int stop_with_seven(const char *name, uint64_t size, void *arg)
{
    (void)name, (void)size;
    ++*(int *)arg;
    return 7;
}

static void the_list_has_every_file_with_its_size_and_ends_when_told(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 3; i++) {
        char name[2] = {(char)('a' + i), 0};
        struct io_file *file = open_file(fixture->io, name, IO_WRITE | IO_CREATE);
        assert_int_equal(io_write(file, "xxxx", (size_t)i + 1, 0), 0);
        io_close(file);
    }
    struct listing listing = {0};
    assert_int_equal(io_list(fixture->io, listing_add, &listing), 0);
    assert_int_equal(listing.count, 3);
    assert_int_equal(listing.bytes, 6);
    for (int i = 0; i < 3; i++)
        assert_non_null(strchr(listing.names, 'a' + i));
    int calls = 0;
    assert_int_equal(io_list(fixture->io, stop_with_seven, &calls), 7);
    assert_int_equal(calls, 1);
}

static void a_rename_replaces_and_an_unlinked_file_stays_usable(void **state)
{
    struct fixture *fixture = *state;
    char text[4];
    struct io_file *file = open_file(fixture->io, "new", IO_WRITE | IO_CREATE);
    assert_int_equal(io_write(file, "new", 3, 0), 0);
    struct io_file *old = open_file(fixture->io, "name", IO_WRITE | IO_CREATE);
    assert_int_equal(io_write(old, "old", 3, 0), 0);
    assert_int_equal(io_rename(fixture->io, "new", "name"), 0);
    assert_int_equal(io_sync_dir(fixture->io), 0);
    assert_int_equal(io_rename(fixture->io, "new", "name"), ERROR_NOT_FOUND);
    assert_int_equal(io_read(old, text, 3, 0), 3);
    assert_memory_equal(text, "old", 3);
    io_close(old);
    io_close(file);
    file = open_file(fixture->io, "name", IO_READ);
    assert_int_equal(io_unlink(fixture->io, "name"), 0);
    assert_int_equal(io_unlink(fixture->io, "name"), ERROR_NOT_FOUND);
    assert_int_equal(io_read(file, text, 3, 0), 3);
    assert_memory_equal(text, "new", 3);
    io_close(file);
}

static void a_lock_keeps_others_out_until_its_io_ends(void **state)
{
    struct fixture *fixture = *state;
    struct io *first = io_again(fixture), *second = io_again(fixture);
    assert_int_equal(io_lock(first, "lock"), 0);
    assert_int_equal(io_lock(second, "lock"), ERROR_LOCKED);
    assert_non_null(strstr(diag_message(), "lock"));
    io_delete(first);
    assert_int_equal(io_lock(second, "lock"), 0);
    io_delete(second);
}

/* ---------------------------------------------------------------- queues */

static void a_queue_completes_every_write_once_and_bounds_their_number(void **state)
{
    struct fixture *fixture = *state;
    enum { DEPTH = 4 };
    struct io_queue *queue;
    struct io_completion done[DEPTH];
    assert_int_equal(io_queue_new(fixture->io, DEPTH, &queue), 0);
    if (fixture->kind == POSIX_THREADS)
        assert_string_equal(fixture->io->queue_variant, "threads");
    else if (fixture->kind == POSIX_URING && io_uring_usable())
        assert_string_equal(fixture->io->queue_variant, "io_uring");
    struct io_file *file = open_file(fixture->io, "file", IO_WRITE | IO_CREATE);
    assert_int_equal(io_queue_wait(queue, true, done, DEPTH), 0);
    for (unsigned round = 0; round < 20; round++) {
        unsigned seen = 0;
        for (unsigned i = 0; i < DEPTH; i++) {
            memset(fixture->memory + i * 100, 'a' + (int)i, 100);
            assert_int_equal(io_queue_write(queue, file, fixture->memory + i * 100, 100, i * 100,
                                            round % 2, 1u << i),
                             0);
        }
        assert_int_equal(io_queue_write(queue, file, "x", 1, 0, false, 99), ERROR_BUSY);
        while (seen != (1u << DEPTH) - 1) {
            int n = io_queue_wait(queue, true, done, 1 + round % DEPTH);
            assert_in_range(n, 1, 1 + round % DEPTH);
            for (int i = 0; i < n; i++) {
                assert_int_equal(done[i].result, 0);
                assert_int_equal(done[i].system_error, 0);
                assert_int_equal(seen & done[i].cookie, 0);
                seen |= (unsigned)done[i].cookie;
            }
        }
        assert_int_equal(io_queue_wait(queue, false, done, DEPTH), 0);
    }
    char text[DEPTH * 100 + 1];
    assert_int_equal(io_read(file, text, sizeof(text), 0), DEPTH * 100);
    for (int i = 0; i < DEPTH * 100; i++)
        assert_int_equal(text[i], 'a' + i / 100);
    io_queue_delete(queue);
    io_close(file);
}

static void deleting_a_queue_waits_for_what_is_in_flight(void **state)
{
    struct fixture *fixture = *state;
    struct io_queue *queue;
    assert_int_equal(io_queue_new(fixture->io, 8, &queue), 0);
    struct io_file *file = open_file(fixture->io, "file", IO_WRITE | IO_CREATE);
    memset(fixture->memory, 'q', BLOCK * 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(
            io_queue_write(queue, file, fixture->memory + i * BLOCK, BLOCK, i * BLOCK, true, i), 0);
    io_queue_delete(queue);
    memset(fixture->memory, 0, BLOCK * 8);
    assert_int_equal(io_read(file, fixture->memory, BLOCK * 8, 0), BLOCK * 8);
    for (int i = 0; i < BLOCK * 8; i++)
        assert_int_equal(fixture->memory[i], 'q');
    io_close(file);
}

static void a_failing_write_completes_with_its_error_and_leaves_the_queue_usable(void **state)
{
    struct fixture *fixture = *state;
    struct io_queue *queue;
    struct io_completion done;
    assert_int_equal(io_queue_new(fixture->io, 2, &queue), 0);
    struct io_file *file = open_file(fixture->io, "file", IO_WRITE | IO_CREATE);
    struct io_file *readonly = open_file(fixture->io, "file", IO_READ);
    for (int durable = 0; durable < 2; durable++) {
        int result = io_queue_write(queue, readonly, "bad", 3, 0, durable, 1);
        if (result == 0) {
            assert_int_equal(io_queue_wait(queue, true, &done, 1), 1);
            assert_int_equal(done.cookie, 1);
            assert_int_equal(done.result, ERROR_IO);
            assert_int_equal(done.system_error, EBADF);
        } else {
            assert_int_equal(result, ERROR_IO);
        }
        assert_int_equal(io_queue_write(queue, file, "good", 4, 0, durable, 2), 0);
        assert_int_equal(io_queue_wait(queue, true, &done, 1), 1);
        assert_int_equal(done.cookie, 2);
        assert_int_equal(done.result, 0);
    }
    io_queue_delete(queue);
    io_close(readonly);
    io_close(file);
}

/* Block i of the file is filled with the number of the write that was last on it. */
struct model {
    uint32_t last[BLOCKS];
    bool busy[BLOCKS];
    uint32_t next;
};

static void model_write(struct model *model, struct fixture *fixture, struct io_queue *queue,
                        struct io_file *file, struct random *random)
{
    unsigned block = (unsigned)random_below(random, BLOCKS);
    if (model->busy[block])
        return;
    uint32_t *words = (uint32_t *)(void *)(fixture->memory + (size_t)block * BLOCK);
    for (int i = 0; i < BLOCK / 4; i++)
        words[i] = model->next;
    int result = io_queue_write(queue, file, words, BLOCK, (uint64_t)block * BLOCK,
                                random_below(random, 2), block);
    if (result == ERROR_BUSY)
        return;
    assert_int_equal(result, 0);
    model->last[block] = model->next++;
    model->busy[block] = true;
}

static void model_wait(struct model *model, struct io_queue *queue, struct random *random)
{
    struct io_completion done[5];
    int n =
        io_queue_wait(queue, random_below(random, 2), done, 1 + (unsigned)random_below(random, 5));
    assert_in_range(n, 0, 5);
    for (int i = 0; i < n; i++) {
        assert_int_equal(done[i].result, 0);
        assert_true(model->busy[done[i].cookie]);
        model->busy[done[i].cookie] = false;
    }
}

static void random_direct_writes_leave_the_last_of_each_block(void **state)
{
    struct fixture *fixture = *state;
    struct random random;
    random_create(&random, test_seed());
    struct model model = {.next = 1};
    struct io_queue *queue;
    assert_int_equal(io_queue_new(fixture->io, 7, &queue), 0);
    struct io_file *file = open_file(fixture->io, "file", IO_WRITE | IO_CREATE | IO_DIRECT);
    assert_int_equal(io_allocate_zeros(file, BLOCK * BLOCKS, NULL), 0);
    for (int i = 0; i < 600; i++) {
        model_write(&model, fixture, queue, file, &random);
        if (random_below(&random, 3) == 0)
            model_wait(&model, queue, &random);
    }
    io_queue_delete(queue);
    assert_int_equal(io_read(file, fixture->memory, BLOCK * BLOCKS, 0), BLOCK * BLOCKS);
    for (size_t i = 0; i < BLOCK * BLOCKS / 4; i++)
        assert_int_equal(((uint32_t *)(void *)fixture->memory)[i], model.last[i * 4 / BLOCK]);
    io_close(file);
}

/* ---------------------------------------------------------------- all of them */

#define TEST(function, variant, setup)                                    \
    {                                                                     \
#function " (" variant ")", function, setup, fixture_delete, NULL \
    }
#define TESTS(variant, setup)                                                               \
    TEST(opening_an_absent_file_without_create_is_not_found, variant, setup),               \
        TEST(an_exclusive_create_takes_a_name_once, variant, setup),                        \
        TEST(what_was_written_is_read_and_reading_ends_at_the_end, variant, setup),         \
        TEST(a_file_opened_for_reading_refuses_writes, variant, setup),                     \
        TEST(truncating_cuts_and_lengthens_with_zeros, variant, setup),                     \
        TEST(allocated_zeros_replace_what_was_there, variant, setup),                       \
        TEST(writing_back_changes_nothing_that_is_read, variant, setup),                    \
        TEST(a_file_is_loaded_whole_or_refused_when_too_large, variant, setup),             \
        TEST(a_direct_file_says_whether_it_is_and_reads_what_it_wrote, variant, setup),     \
        TEST(the_list_has_every_file_with_its_size_and_ends_when_told, variant, setup),     \
        TEST(a_rename_replaces_and_an_unlinked_file_stays_usable, variant, setup),          \
        TEST(a_lock_keeps_others_out_until_its_io_ends, variant, setup),                    \
        TEST(a_queue_completes_every_write_once_and_bounds_their_number, variant, setup),   \
        TEST(deleting_a_queue_waits_for_what_is_in_flight, variant, setup),                 \
        TEST(a_failing_write_completes_with_its_error_and_leaves_the_queue_usable, variant, \
             setup),                                                                        \
        TEST(random_direct_writes_leave_the_last_of_each_block, variant, setup)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TESTS("posix, io_uring", setup_uring),
        TESTS("posix, threads", setup_threads),
        TESTS("posix, no direct", setup_buffered),
        TESTS("disk", setup_disk),
        TESTS("disk that takes direct", setup_disk_direct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
