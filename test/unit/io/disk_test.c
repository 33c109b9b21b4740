/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the test disk promises beyond struct io: what a power cut takes and what it leaves, calls
 * that fail, flushes that lie. A disk that kept too much would make every crash test worthless, so
 * the tests also look for what must be lost for some seed.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "io/disk.h"

enum { BLOCK = IO_ALIGN, CUTS = 64 };

static _Alignas(IO_ALIGN) unsigned char memory[BLOCK * 8];

static struct io_file *open_file(struct io *io, const char *name, int flags)
{
    struct io_file *file = NULL;
    assert_int_equal(io_open(io, name, flags, &file), 0);
    return file;
}

/* A file of `blocks` blocks of `byte`, with its name, all durable. */
static struct io_file *durable_file(struct io *io, const char *name, unsigned blocks, int byte)
{
    struct io_file *file = open_file(io, name, IO_WRITE | IO_CREATE | IO_DIRECT);
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
    struct io_file *file = open_file(io, name, IO_READ | IO_DIRECT);
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

/* ---------------------------------------------------------------- what a cut takes */

static void what_was_flushed_survives_every_cut(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(seed);
        struct io *io = disk_io(disk);
        io_close(durable_file(io, "file", 8, 'd'));
        int bytes[8];
        for (int again = 0; again < 2; again++) {
            io = cut(disk, io, seed);
            block_bytes(io, "file", 8, bytes);
            for (int i = 0; i < 8; i++)
                assert_int_equal(bytes[i], 'd');
        }
        io_delete(io);
        disk_delete(disk);
    }
}

static void an_unflushed_write_survives_in_any_pieces(void **state)
{
    (void)state;
    unsigned kept = 0, torn = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        struct io_file *file = durable_file(io, "file", 4, 'a');
        memset(memory, 'b', BLOCK * 4);
        assert_int_equal(io_write(file, memory, BLOCK * 4, 0), 0);
        io_close(file);
        io = cut(disk, io, seed);
        int bytes[4];
        unsigned now = 0;
        block_bytes(io, "file", 4, bytes);
        for (int i = 0; i < 4; i++) {
            assert_true(bytes[i] == 'a' || bytes[i] == 'b');
            now += bytes[i] == 'b';
        }
        kept += now;
        torn += now > 0 && now < 4;
        io_delete(io);
        disk_delete(disk);
    }
    assert_in_range(kept, CUTS, CUTS * 3);
    assert_true(torn > CUTS / 2);
}

static void a_cut_is_decided_by_its_seed(void **state)
{
    (void)state;
    int first[8], second[8];
    for (int run = 0; run < 2; run++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        struct io_file *file = durable_file(io, "file", 8, 'a');
        memset(memory, 'b', BLOCK * 8);
        assert_int_equal(io_write(file, memory, BLOCK * 8, 0), 0);
        io_close(file);
        io = cut(disk, io, 7);
        block_bytes(io, "file", 8, run ? second : first);
        io_delete(io);
        disk_delete(disk);
    }
    assert_memory_equal(first, second, sizeof(first));
}

static void a_name_is_durable_only_after_sync_dir(void **state)
{
    (void)state;
    unsigned lost = 0, kept = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        struct io_file *file = open_file(io, "new", IO_WRITE | IO_CREATE);
        assert_int_equal(io_write(file, "data", 4, 0), 0);
        assert_int_equal(io_sync(file), 0);
        io_close(file);
        io = cut(disk, io, seed);
        if (exists(io, "new"))
            kept++;
        else
            lost++;
        io_delete(io);
        disk_delete(disk);
    }
    assert_true(kept > 0);
    assert_true(lost > 0);
}

/* The name stands for the old contents or for the new, never for a mixture or nothing. */
static void an_undurable_rename_gives_the_old_file_or_the_new(void **state)
{
    (void)state;
    unsigned old = 0, new = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        io_close(durable_file(io, "name", 4, 'o'));
        io_close(durable_file(io, "temporary", 4, 'n'));
        assert_int_equal(io_rename(io, "temporary", "name"), 0);
        io = cut(disk, io, seed);
        int bytes[4];
        block_bytes(io, "name", 4, bytes);
        for (int i = 1; i < 4; i++)
            assert_int_equal(bytes[i], bytes[0]);
        assert_int_equal(exists(io, "temporary"), bytes[0] == 'o');
        old += bytes[0] == 'o';
        new += bytes[0] == 'n';
        io_delete(io);
        disk_delete(disk);
    }
    assert_true(old > 0 && new > 0);
    assert_int_equal(old + new, CUTS);
}

static void an_undurable_unlink_may_be_undone(void **state)
{
    (void)state;
    unsigned there = 0, gone = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        io_close(durable_file(io, "name", 1, 'x'));
        assert_int_equal(io_unlink(io, "name"), 0);
        if (seed % 2)
            assert_int_equal(io_sync_dir(io), 0);
        io = cut(disk, io, seed);
        if (seed % 2)
            assert_false(exists(io, "name"));
        else if (exists(io, "name"))
            there++;
        else
            gone++;
        io_delete(io);
        disk_delete(disk);
    }
    assert_true(there > 0 && gone > 0);
}

static void an_io_from_before_a_cut_is_dead(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *old = disk_io(disk);
    assert_int_equal(io_lock(old, "lock"), 0);
    struct io_file *file = durable_file(old, "file", 1, 'x');
    struct io_queue *queue;
    assert_int_equal(io_queue_new(old, 2, &queue), 0);
    assert_int_equal(io_queue_write(queue, file, memory, BLOCK, 0, true, 1), 0);
    disk_cut(disk, 1);
    struct io *new = disk_io(disk);
    struct io_completion done;
    struct io_file *other;
    assert_int_equal(io_lock(new, "lock"), 0);
    assert_int_equal(io_queue_wait(queue, true, &done, 1), ERROR_IO);
    assert_int_equal(io_queue_write(queue, file, memory, BLOCK, 0, true, 2), ERROR_IO);
    assert_int_equal(io_write(file, memory, BLOCK, 0), ERROR_IO);
    assert_int_equal(io_read(file, memory, BLOCK, 0), ERROR_IO);
    assert_int_equal(io_sync(file), ERROR_IO);
    assert_int_equal(io_unlink(old, "file"), ERROR_IO);
    assert_int_equal(io_open(old, "file", IO_READ, &other), ERROR_IO);
    io_queue_delete(queue);
    io_close(file);
    io_delete(old);
    assert_true(exists(new, "file"));
    io_delete(new);
    disk_delete(disk);
}

/* ---------------------------------------------------------------- queues and direct files */

/* Writes 'b' over a durable block of 'a' through a queue; returns how many of CUTS cuts kept it. */
static unsigned queued_kept(bool direct, bool durable, bool complete, bool ignore_flush)
{
    unsigned kept = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(seed);
        disk_offer_direct(disk, direct);
        struct io *io = disk_io(disk);
        struct io_file *file = durable_file(io, "file", 1, 'a');
        disk_ignore_flush(disk, ignore_flush);
        struct io_queue *queue;
        struct io_completion done;
        assert_int_equal(io_queue_new(io, 2, &queue), 0);
        memset(memory, 'b', BLOCK);
        assert_int_equal(io_queue_write(queue, file, memory, BLOCK, 0, durable, 5), 0);
        if (complete) {
            assert_int_equal(io_queue_wait(queue, true, &done, 1), 1);
            assert_int_equal(done.cookie, 5);
            assert_int_equal(done.result, 0);
        }
        disk_cut(disk, seed);
        io_queue_delete(queue);
        io_close(file);
        io_delete(io);
        io = disk_io(disk);
        int byte;
        block_bytes(io, "file", 1, &byte);
        kept += byte == 'b';
        io_delete(io);
        disk_delete(disk);
    }
    return kept;
}

static void a_durable_queue_write_is_durable_once_completed(void **state)
{
    (void)state;
    assert_int_equal(queued_kept(false, true, true, false), CUTS);
    assert_int_equal(queued_kept(true, true, true, false), CUTS);
    assert_int_equal(queued_kept(true, false, true, false), CUTS);
}

static void other_queue_writes_may_be_lost(void **state)
{
    (void)state;
    assert_in_range(queued_kept(false, false, true, false), 1, CUTS - 1);
    assert_in_range(queued_kept(false, true, false, false), 1, CUTS - 1);
    assert_in_range(queued_kept(true, true, false, false), 1, CUTS - 1);
}

static void a_lying_disk_makes_nothing_durable(void **state)
{
    (void)state;
    assert_in_range(queued_kept(false, true, true, true), 1, CUTS - 1);
    assert_in_range(queued_kept(true, true, true, true), 1, CUTS - 1);
    unsigned kept = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(1);
        disk_ignore_flush(disk, true);
        struct io *io = disk_io(disk);
        io_close(durable_file(io, "file", 1, 'x'));
        io = cut(disk, io, seed);
        kept += exists(io, "file");
        io_delete(io);
        disk_delete(disk);
    }
    assert_in_range(kept, 1, CUTS - 1);
}

static void a_direct_write_does_not_make_others_durable(void **state)
{
    (void)state;
    unsigned kept = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        struct io_file *buffered = durable_file(io, "file", 2, 'a');
        disk_offer_direct(disk, true);
        struct io_file *direct = open_file(io, "file", IO_WRITE | IO_DIRECT);
        memset(memory, 'b', BLOCK);
        assert_int_equal(io_write(buffered, memory, BLOCK, 0), 0);
        assert_int_equal(io_write(direct, memory, BLOCK, BLOCK), 0);
        io_close(direct);
        io_close(buffered);
        io = cut(disk, io, seed);
        int bytes[2];
        block_bytes(io, "file", 2, bytes);
        assert_int_equal(bytes[1], 'b');
        kept += bytes[0] == 'b';
        io_delete(io);
        disk_delete(disk);
    }
    assert_in_range(kept, 1, CUTS - 1);
}

static void queue_writes_complete_in_an_order_that_the_seed_chooses(void **state)
{
    (void)state;
    unsigned first = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        uint64_t order[2][4];
        for (int run = 0; run < 2; run++) {
            struct disk *disk = disk_new(seed);
            struct io *io = disk_io(disk);
            struct io_file *file = open_file(io, "file", IO_WRITE | IO_CREATE);
            struct io_queue *queue;
            struct io_completion done;
            assert_int_equal(io_queue_new(io, 4, &queue), 0);
            for (unsigned i = 0; i < 4; i++)
                assert_int_equal(io_queue_write(queue, file, "x", 1, i, false, i), 0);
            for (unsigned i = 0; i < 4; i++) {
                assert_int_equal(io_queue_wait(queue, true, &done, 1), 1);
                order[run][i] = done.cookie;
            }
            io_queue_delete(queue);
            io_close(file);
            io_delete(io);
            disk_delete(disk);
        }
        assert_memory_equal(order[0], order[1], sizeof(order[0]));
        first |= 1u << order[0][0];
    }
    assert_int_equal(first, 15);
}

/* ---------------------------------------------------------------- failing calls */

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

static void a_cut_at_any_call_leaves_the_old_file_or_the_new(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    bool was_cut = true;
    for (uint64_t n = 1; was_cut; n++) {
        assert_in_range(n, 1, 6);
        for (uint64_t i = 0; i < CUTS; i++) {
            struct disk *disk = disk_new(seed);
            struct io *io = disk_io(disk);
            io_close(durable_file(io, "name", 4, 'o'));
            disk_cut_after(disk, n);
            int result = replace(io, 'n');
            was_cut = disk_is_cut(disk);
            assert_int_equal(result, was_cut ? ERROR_IO : 0);
            io = cut(disk, io, seed + i);
            int bytes[4];
            block_bytes(io, "name", 4, bytes);
            assert_true(bytes[0] == 'n' || (was_cut && bytes[0] == 'o'));
            for (int j = 1; j < 4; j++)
                assert_int_equal(bytes[j], bytes[0]);
            io_delete(io);
            disk_delete(disk);
        }
    }
}

static void the_nth_call_fails_once_and_changes_nothing(void **state)
{
    (void)state;
    int result = ERROR_IO;
    for (uint64_t n = 1; result != 0; n++) {
        assert_in_range(n, 1, 6);
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        io_close(durable_file(io, "name", 4, 'o'));
        uint64_t before = disk_calls(disk);
        disk_fail_nth(disk, n, ENOSPC);
        result = replace(io, 'n');
        assert_int_equal(disk_calls(disk) - before, result ? n : 5);
        disk_fail_nth(disk, 0, 0);
        if (result != 0) {
            assert_int_equal(result, ERROR_IO);
            assert_non_null(strstr(diag_message(), strerror(ENOSPC)));
        }
        int bytes[4];
        block_bytes(io, "name", 4, bytes);
        assert_int_equal(bytes[0], result == 0 || n == 5 ? 'n' : 'o');
        io_delete(io);
        io = disk_io(disk);
        assert_int_equal(replace(io, 'm'), 0);
        io_delete(io);
        disk_delete(disk);
    }
}

static void one_kind_of_call_can_be_made_to_fail(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    disk_fail_nth_of(disk, DISK_SYNC, 2, EIO);
    assert_int_equal(replace(io, 'a'), 0);
    assert_int_equal(replace(io, 'b'), ERROR_IO);
    assert_int_equal(disk_call_count(disk, DISK_SYNC), 2);
    assert_int_equal(disk_call_count(disk, DISK_RENAME), 1);
    assert_int_equal(replace(io, 'c'), 0);
    io_delete(io);
    disk_delete(disk);
}

static void no_later_flush_makes_good_a_failed_one(void **state)
{
    (void)state;
    unsigned kept = 0;
    for (uint64_t seed = 0; seed < CUTS; seed++) {
        struct disk *disk = disk_new(1);
        struct io *io = disk_io(disk);
        struct io_file *file = durable_file(io, "file", 1, 'a');
        memset(memory, 'b', BLOCK);
        assert_int_equal(io_write(file, memory, BLOCK, 0), 0);
        disk_fail_nth(disk, 1, EIO);
        assert_int_equal(io_sync(file), ERROR_IO);
        assert_int_equal(io_sync(file), 0);
        io_close(file);
        io = cut(disk, io, seed);
        int byte;
        block_bytes(io, "file", 1, &byte);
        kept += byte == 'b';
        io_delete(io);
        disk_delete(disk);
    }
    assert_in_range(kept, 1, CUTS - 1);
}

static void a_failing_queue_wait_is_a_write_that_failed(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    struct io_file *file = durable_file(io, "file", 1, 'a');
    struct io_queue *queue;
    struct io_completion done;
    assert_int_equal(io_queue_new(io, 1, &queue), 0);
    memset(memory, 'b', BLOCK);
    assert_int_equal(io_queue_write(queue, file, memory, BLOCK, 0, true, 3), 0);
    disk_fail_nth(disk, 1, ENOSPC);
    assert_int_equal(io_queue_wait(queue, true, &done, 1), 1);
    assert_int_equal(done.cookie, 3);
    assert_int_equal(done.result, ERROR_IO);
    assert_int_equal(done.system_error, ENOSPC);
    assert_int_equal(io_queue_wait(queue, true, &done, 1), 0);
    io_queue_delete(queue);
    int byte;
    block_bytes(io, "file", 1, &byte);
    assert_int_equal(byte, 'a');
    io_close(file);
    io_delete(io);
    disk_delete(disk);
}

/* ---------------------------------------------------------------- threads */

enum { THREADS = 4, ROUNDS = 200 };

struct worker {
    struct io *io;
    char name[16];
    unsigned acknowledged;
};

/* Overwrites one block with ever higher numbers, durably, until the power fails. */
static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct io_file *file;
    if (io_open(worker->io, worker->name, IO_WRITE, &file) != 0)
        return NULL;
    for (unsigned i = 1; i <= ROUNDS; i++) {
        if (io_write(file, &i, sizeof(i), 0) != 0 || io_sync(file) != 0)
            break;
        worker->acknowledged = i;
    }
    io_close(file);
    return NULL;
}

static void threads_at_once_lose_nothing_that_was_acknowledged(void **state)
{
    (void)state;
    struct random random;
    uint64_t seed = test_seed();
    random_create(&random, seed);
    for (int run = 0; run < 20; run++) {
        struct disk *disk = disk_new(seed);
        struct io *io = disk_io(disk);
        struct worker workers[THREADS];
        pthread_t threads[THREADS];
        for (unsigned i = 0; i < THREADS; i++) {
            workers[i] = (struct worker){.io = io};
            snprintf(workers[i].name, sizeof(workers[i].name), "file-%u", i);
            io_close(durable_file(io, workers[i].name, 1, 0));
        }
        disk_cut_after(disk, 1 + random_below(&random, THREADS * ROUNDS * 2));
        for (unsigned i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, worker_main, &workers[i]), 0);
        for (unsigned i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        io = cut(disk, io, random_next(&random));
        for (unsigned i = 0; i < THREADS; i++) {
            struct io_file *file = open_file(io, workers[i].name, IO_READ);
            unsigned found = 0;
            assert_int_equal(io_read(file, &found, sizeof(found), 0), sizeof(found));
            assert_true(found == workers[i].acknowledged || found == workers[i].acknowledged + 1);
            io_close(file);
        }
        io_delete(io);
        disk_delete(disk);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_flushed_survives_every_cut),
        cmocka_unit_test(an_unflushed_write_survives_in_any_pieces),
        cmocka_unit_test(a_cut_is_decided_by_its_seed),
        cmocka_unit_test(a_name_is_durable_only_after_sync_dir),
        cmocka_unit_test(an_undurable_rename_gives_the_old_file_or_the_new),
        cmocka_unit_test(an_undurable_unlink_may_be_undone),
        cmocka_unit_test(an_io_from_before_a_cut_is_dead),
        cmocka_unit_test(a_durable_queue_write_is_durable_once_completed),
        cmocka_unit_test(other_queue_writes_may_be_lost),
        cmocka_unit_test(a_lying_disk_makes_nothing_durable),
        cmocka_unit_test(a_direct_write_does_not_make_others_durable),
        cmocka_unit_test(queue_writes_complete_in_an_order_that_the_seed_chooses),
        cmocka_unit_test(a_cut_at_any_call_leaves_the_old_file_or_the_new),
        cmocka_unit_test(the_nth_call_fails_once_and_changes_nothing),
        cmocka_unit_test(one_kind_of_call_can_be_made_to_fail),
        cmocka_unit_test(no_later_flush_makes_good_a_failed_one),
        cmocka_unit_test(a_failing_queue_wait_is_a_write_that_failed),
        cmocka_unit_test(threads_at_once_lose_nothing_that_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
