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
 * piece of 4 KiB (or of a sector, see disk_tear), aligned in the file, is kept or lost; each change
 * of size and of a name is kept or lost. So in effect the disk reorders at will what was not
 * flushed: a later write may survive without an earlier one, of the same file or another, and a
 * name without what it stands for. Only of two changes of the same byte, or name, that both survive
 * the later one counts.
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
    DISK_WRITE_BACK,
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
 * durable from now on. Disarms every failure that was armed. Locks are free again. */
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

/* The nth call from now (n >= 1) and every one behind it fail with `error`. n = 0 disarms. */
void disk_fail_from(struct disk *disk, uint64_t n, int error);

/* From now on every call of this kind fails with `error`, beside whatever else is armed, until it is
 * called with 0: a directory that can't be synced (DISK_SYNC_DIR), a worn-out disk that is still
 * read (DISK_WRITE, DISK_QUEUE_WAIT, DISK_ALLOCATE_ZEROS). */
void disk_fail_always(struct disk *disk, enum disk_call call, int error);

/* The disk is full when its files are `bytes` long in all: a write that would make them longer
 * writes what fits and fails with ENOSPC; an allocation or a lengthening fails and changes nothing.
 * What lies inside a file can always be written. 0: no limit. */
void disk_capacity(struct disk *disk, uint64_t bytes);

/* The sizes of all files that have a name. */
uint64_t disk_used(struct disk *disk);

/* How much of a write the hardware writes at once, from now on: a cut keeps or loses pieces of
 * `bytes` (512 or, as at first, 4096). */
void disk_tear(struct disk *disk, unsigned bytes);

/* Damage that stays: one bit (0 to 7) of the byte at `offset` is the other way round, as if the file
 * had been written and flushed so. False when there is no such file or byte. */
bool disk_flip(struct disk *disk, const char *path, uint64_t offset, unsigned bit);

/* The same at a place that `seed` decides; *offset tells where. False when there is no such file, or
 * nothing in it. */
bool disk_flip_random(struct disk *disk, const char *path, uint64_t seed, uint64_t *offset);

/* A file loses its name for good, as if somebody had removed it. Those who have it open go on. False
 * when there is no such file. */
bool disk_vanish(struct disk *disk, const char *path);

/* How often a call was made, failed ones included; of all kinds together. */
uint64_t disk_call_count(struct disk *disk, enum disk_call call);
uint64_t disk_calls(struct disk *disk);

#endif
