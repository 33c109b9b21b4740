/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_IO_DISK_INTERNAL_H
#define TEST_IO_DISK_INTERNAL_H

/*
 * What the files of the test disk share. The state (disk_state.c):
 *
 * A file (inode) has two images, what reading gives and what is durable, and between them a list of
 * changes in the order in which they took effect. A flush marks changes durable; durable changes at
 * the head of the list move into the durable image. At a cut the list is applied to the durable
 * image: durable changes in full, the others in random pieces. A write in flight in a queue is in
 * the list too, and goes to its end when it completes.
 *
 *      durable image | change -  change D  change -  change (in flight) | = what reading gives
 *                    ^ moved when D                                       (without those in flight)
 *
 * Names work likewise: two tables from name to inode, and a list of changes between them.
 *
 * All functions but disk__enter expect the disk's mutex to be held.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/random.h"
#include "io/disk.h"
#include "io/disk_image.h"

enum { NAME_BYTES_MAX = 256 };

struct inode;

/* One change of a file: a write, of zeros if `data` is NULL, or (`truncate`) a new size. */
struct change {
    struct list link;
    bool truncate;
    bool durable;   /* but behind one that is not */
    bool in_flight; /* handed to a queue and not complete */
    bool forsaken;  /* a flush that should have covered it failed */
    unsigned char *data;
    size_t size;
    uint64_t offset; /* or the new size */
};

struct inode {
    struct list link; /* of all inodes, also nameless ones; freed with the disk */
    struct disk_image seen, durable;
    struct list changes;
};

struct name {
    struct list link;
    char name[NAME_BYTES_MAX];
    struct inode *inode;
};

/* An operation on names that is not durable: `from` disappears if it stands for the inode, `to`
 * appears. */
struct name_change {
    struct list link;
    bool durable;                                  /* but behind one that is not */
    bool forsaken;                                 /* a flush that should have covered it failed */
    char from[NAME_BYTES_MAX], to[NAME_BYTES_MAX]; /* "" for none */
    struct inode *inode;
};

struct lock {
    struct list link;
    char name[NAME_BYTES_MAX];
    struct disk_io *owner;
};

struct disk {
    pthread_mutex_t mutex;
    struct random random;
    struct list inodes;
    struct list seen, durable; /* of struct name */
    struct list name_changes;
    struct list locks;
    unsigned io_count;
    unsigned generation; /* the number of cuts */
    bool offer_direct, ignore_flush;
    bool cut; /* the power has failed */
    uint64_t cut_in, fail_in;
    int fail_call; /* of enum disk_call, or -1 for any */
    int fail_error;
    bool fail_on;                   /* also every call behind the one that fail_in counts down to */
    int fail_always[DISK_CALL_MAX]; /* errno values; 0: does not */
    int fate_error;                 /* of the call that is let fail */
    uint64_t capacity;              /* 0: no limit */
    unsigned tear_bytes;
    uint64_t counts[DISK_CALL_MAX];
};

struct disk_io {
    struct io base;
    struct disk *disk;
    unsigned generation;
};

struct disk_file {
    struct io_file base;
    struct disk *disk;
    unsigned generation;
    bool writable;
    struct inode *inode;
    char name[NAME_BYTES_MAX];
};

struct pending {
    struct change *change;
    struct disk_file *file;
    const void *data; /* the caller's, compared at the end */
    bool durable;
    uint64_t cookie;
};

struct disk_queue {
    struct io_queue base;
    struct disk *disk;
    unsigned generation;
    unsigned depth, in_flight;
    struct pending pending[];
};

/* The table of everything the disk's ios, files and queues can do. */
extern const struct io_vtab disk__vtab;

static inline struct disk_io *disk__io(struct io *io)
{
    return (struct disk_io *)(void *)io;
}

static inline struct disk_file *disk__file(struct io_file *file)
{
    return (struct disk_file *)(void *)file;
}

static inline struct disk_queue *disk__queue(struct io_queue *queue)
{
    return (struct disk_queue *)(void *)queue;
}

/* Zeroed memory; never NULL. */
void *disk__allocate(size_t size);

/* A change at the end of the file's list, its data copied; not yet seen by readers. */
struct change *disk__change_new(struct inode *inode, const void *data, size_t size,
                                uint64_t offset);
void disk__change_apply(const struct change *change, struct disk_image *image);

struct inode *disk__inode_new(struct disk *disk);

/* A change of size, seen at once. */
void disk__inode_truncate(struct inode *inode, uint64_t size);

/* Moves durable changes at the head of the list into the durable image. */
void disk__inode_settle(struct inode *inode);

/* A byte that is written and durable at once, whatever is not durable before it. */
void disk__inode_set(struct inode *inode, uint64_t offset, unsigned char byte);

/* A flush of the file. One that failed forsakes what it should have covered. */
void disk__inode_flush(struct disk *disk, struct inode *inode, bool failed);

/* NULL when there is none. */
struct name *disk__name_find(struct list *names, const char *name);

/* Takes away `from` and sets `to` ("" for none), seen at once. */
void disk__name_change(struct disk *disk, const char *from, const char *to, struct inode *inode);
void disk__names_flush(struct disk *disk, bool failed);

/* The name is gone and does not come back by a cut. */
void disk__name_forget(struct disk *disk, const char *name);

/* Gives back the locks of one io, or all if it is NULL. */
void disk__locks_release(struct disk *disk, const struct disk_io *owner);

void disk__state_create(struct disk *disk);
void disk__state_destroy(struct disk *disk);

/* Replaces the state by what survives of it. */
void disk__state_cut(struct disk *disk, struct random *random);

enum disk__fate { FATE_WELL, FATE_FAIL, FATE_CUT };

/* Begins a call: takes the mutex, counts, and decides what becomes of it. After FATE_CUT
 * *interrupted tells whether the power failed in this very call, so that it may leave traces. */
enum disk__fate disk__enter(struct disk *disk, enum disk_call call, unsigned generation,
                            bool *interrupted);
void disk__leave(struct disk *disk);

/* Sets the diagnostics for a call that was not let through and returns the code. */
int disk__failed(enum disk__fate fate, struct disk *disk, const char *call, const char *path);

/* How many of `size` bytes can be written at `offset` before the disk is full. */
size_t disk__room(struct disk *disk, const struct inode *inode, size_t size, uint64_t offset);

/* Sets the diagnostics for a full disk and returns the code. */
int disk__full(const char *call, const char *path);

/* The sizes of all files that have a name. */
uint64_t disk__used(struct disk *disk);

/* For files: 0, or an error when it was opened for reading only. */
int disk__file_check_writable(const struct disk_file *file, const char *call);

/* The queue's part of the table. */
int disk__queue_new(struct io *io, unsigned depth, struct io_queue **out);
void disk__queue_delete(struct io_queue *queue);
int disk__queue_write(struct io_queue *queue, struct io_file *file, const void *data, size_t size,
                      uint64_t offset, bool durable, uint64_t cookie);
int disk__queue_wait(struct io_queue *queue, bool block, struct io_completion *out, unsigned max);

#endif
