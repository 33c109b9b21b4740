/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_IO_DISK_H
#define TEST_IO_DISK_H

/*
 * A disk in memory for tests: a struct io that promises no more than a real disk and file system
 * do, and keeps none of what it has not promised when the power is cut.
 *
 * Durable is only what a completed flush covered: io_sync, io_allocate_zeros, a durable write of a
 * queue once its completion was taken, a completed write on a direct file (itself only), and for
 * names (create, rename, unlink) io_sync_dir. All else survives a cut at random: of each write each
 * piece of 4 KiB, aligned in the file, is kept or lost; each change of size and of a name is kept
 * or lost.
 *
 * A failed flush is never made good: what it should have covered stays at the mercy of the next
 * cut, whatever later flush succeeds. Data handed to a queue is compared at its completion with
 * what it was when handed over, and a difference fails an assertion.
 *
 * Everything is decided by the seeds, so a test that calls in the same order gets the same result.
 * All functions may be called from several threads at once. Running out of memory fails an
 * assertion.
 *
 * The usual loop:
 *
 *      for (n = 1;; n++) {
 *          struct disk *disk = disk_new(seed);
 *          disk_cut_after(disk, n);
 *          struct io *io = disk_io(disk);      ... run the workload, stop at the first error ...
 *          io_delete(io);
 *          bool was_cut = disk_is_cut(disk);
 *          disk_cut(disk, seed + n);
 *          io = disk_io(disk);                 ... recover, check what was acknowledged ...
 *          io_delete(io); disk_delete(disk);
 *          if (!was_cut) break;
 *      }
 */
#include <stdbool.h>
#include <stdint.h>

#include "io/io.h"

struct disk;

/* Calls that are counted, and can be cut or made to fail. Those that can't fail (close, delete) are
 * not. */
enum disk_call {
    DISK_OPEN,
    DISK_READ,
    DISK_WRITE,
    DISK_SYNC,
    DISK_SIZE,
    DISK_TRUNCATE,
    DISK_ALLOCATE_ZEROS,
    DISK_RENAME,
    DISK_UNLINK,
    DISK_SYNC_DIR,
    DISK_LIST,
    DISK_LOCK,
    DISK_QUEUE_NEW,
    DISK_QUEUE_WRITE,
    DISK_QUEUE_WAIT,
    DISK_CALL_MAX
};

/* An empty disk. `seed` decides in which order queue writes complete. */
struct disk *disk_new(uint64_t seed);

/* Every io must have been deleted. */
void disk_delete(struct disk *disk);

/* A struct io on the disk as it is now, to be ended by io_delete. Several at once see the same
 * files (and lock each other out). After disk_cut the earlier ones, their files and queues are
 * dead: they can only be closed and deleted, in any order, and every call gives ERROR_IO. */
struct io *disk_io(struct disk *disk);

/* Whether IO_DIRECT is taken (file->direct) on files opened from now on; false at first. */
void disk_offer_direct(struct disk *disk, bool offer);

/* From now on flushes of every kind are reported as done and make nothing durable. */
void disk_ignore_flush(struct disk *disk, bool ignore);

/* Cuts the power and brings it back: what was not durable is kept or lost, by `seed`, and is
 * durable from now on. Disarms what was armed. Locks are free again. */
void disk_cut(struct disk *disk, uint64_t seed);

/* Lets the power fail in the nth call from now (n >= 1): that call returns ERROR_IO, what it should
 * have changed may or may not survive, and every call after it returns ERROR_IO and changes
 * nothing, until disk_cut. n = 0 disarms. */
void disk_cut_after(struct disk *disk, uint64_t n);

/* Whether the power has failed and disk_cut was not called since. */
bool disk_is_cut(struct disk *disk);

/* Makes the nth call from now (n >= 1) fail once with the code that belongs to errno value `error`,
 * changing nothing. If it is a queue_wait with something in flight, one write completes with that
 * error instead, its data written in part or not at all. n = 0 disarms. */
void disk_fail_nth(struct disk *disk, uint64_t n, int error);

/* The same, counting only calls of one kind. */
void disk_fail_nth_of(struct disk *disk, enum disk_call call, uint64_t n, int error);

/* How often a call was made, failed ones included; of all kinds together. */
uint64_t disk_call_count(struct disk *disk, enum disk_call call);
uint64_t disk_calls(struct disk *disk);

#endif
