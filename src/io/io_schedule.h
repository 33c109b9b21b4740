/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_IO_SCHEDULE_H
#define IO_IO_SCHEDULE_H

/*
 * The I/O scheduler: reads and writes of files in four classes of decreasing priority.
 *
 *    log  checkpoint  user  background      each class: its own queue, a depth, a bandwidth
 *      \      |        |      /
 *       which is next (io_elevator.h)       priority, the overdue, by position, neighbours merged
 *              |
 *      io_uring, or threads
 *
 * One scheduler belongs to one io (io_scheduler_new) and works for its files. A file whose io has
 * none is read and written by the caller's own thread, at once, through the table of system calls
 * (io.h): so do tests, whose failing disk then sees the calls in the order in which they are made,
 * and with a scheduler it sees them all the same.
 *
 * Order: none between requests. Whoever needs one before another waits for it; a read and a write
 * of the same bytes at once, or two writes, give either. Nothing here makes anything durable:
 * io_sync does, for writes that have completed.
 *
 * Functions return 0 (or a count) or a negative code with diagnostics. All may be called from any
 * thread.
 */
#include <stdint.h>

#include "base/histogram.h"
#include "base/list.h"
#include "io/io.h"

struct clock;
struct io_scheduler;

/* From the most urgent one. A log that has a queue of its own (io_queue_new) is only counted as IO_LOG: its writes
 * don't queue here, and the limits of the class bind those alone that are submitted with it. */
enum io_class { IO_LOG, IO_CHECKPOINT, IO_USER, IO_BACKGROUND, IO_CLASSES };

/* "log", "checkpoint", "user", "background". */
const char *io_class_name(enum io_class class);

/* ---------------------------------------------------------------------------------------- limits
 */

struct io_class_limits {
    unsigned depth;            /* operations in flight at most, > 0 */
    uint64_t bytes_per_second; /* 0: no limit */
    /* Whoever has waited so long is overdue and comes before more urgent classes, though not before
     * all of them: one operation in IO_OVERDUE_EVERY. Depth and bandwidth hold for him as well. */
    uint64_t overdue_ns;
};

struct io_limits {
    unsigned depth;     /* operations in flight of all classes, > 0, at most IO_DEPTH_MAX */
    size_t merge_bytes; /* neighbours become one operation of at most so many */
    struct io_class_limits classes[IO_CLASSES];
};

enum { IO_DEPTH_MAX = 256 };

/* 64 in flight, of which the log may have 32, checkpoints 8, users 48 and the background 4; no
 * limits of bandwidth. */
void io_limits_default(struct io_limits *limits);

/* -------------------------------------------------------------------------------------- requests
 */

/*
 * One read or write. The submitter fills in the first part; memory and request stay as they are
 * until `done` is called, once, by a thread of the scheduler's that waits for it: it may submit
 * others and must not block. Where it is called the request is the submitter's again.
 */
struct io_request {
    struct io_file *file;
    enum io_class class;
    bool write;
    void *data; /* of a write: only read */
    size_t size;
    uint64_t offset;
    void (*done)(struct io_request *request);
    void *arg;

    /* At the end: the bytes (of a read fewer than asked only at the end of the file; of a write
     * all), or ERROR_IO or ERROR_CANCELLED (the file was closed before it began), with the errno value behind it. */
    int64_t result;
    int system_error;

    /* The scheduler's. */
    struct list arrival, place;
    uint64_t queued_ns;
};

/* What was counted for a class. */
struct io_class_stats {
    uint64_t reads, writes; /* requests that have ended */
    uint64_t bytes_read, bytes_written;
    uint64_t failed;     /* requests that ended with an error */
    uint64_t operations; /* what the disk was asked for */
    uint64_t merged;     /* requests that went along with another */
    uint64_t passed;     /* requests that did not queue */
    uint64_t overdue;    /* operations that came before more urgent ones */
    uint64_t throttled;  /* times that the class waited for its bandwidth */
    unsigned queued, in_flight, queued_max;
    struct histogram wait;    /* from the submission to its beginning */
    struct histogram latency; /* from the submission to its end */
};

/* ------------------------------------------------------------------------- a scheduler's life */

struct io_scheduler_options {
    struct io_limits limits;
    bool allow_uring;    /* false forces threads */
    unsigned threads;    /* where io_uring can't be used; 0: 4 */
    struct clock *clock; /* NULL: the system's */
};

/* Makes a scheduler for the files that are opened through `io`, and for its queues, from now on; an
 * io has one at most. The caller owns *out. ERROR_MEMORY; ERROR_IO when the
 * system gives it no thread. */
int io_scheduler_new(struct io *io, const struct io_scheduler_options *options,
                     struct io_scheduler **out);

/* Its files and queues have been closed, and with them what was not in flight was cancelled. Before
 * io_delete. */
void io_scheduler_delete(struct io_scheduler *scheduler);

/* "io_uring" or "threads". Static string. */
const char *io_scheduler_variant(const struct io_scheduler *scheduler);

void io_scheduler_limit(struct io_scheduler *scheduler, const struct io_limits *limits);
void io_scheduler_limits(struct io_scheduler *scheduler, struct io_limits *out);
void io_scheduler_stats(struct io_scheduler *scheduler, enum io_class class,
                        struct io_class_stats *out);

/* Submits requests for files of the scheduler's io, all at once. They may have ended before this
 * returns. */
void io_scheduler_submit(struct io_scheduler *scheduler, struct io_request *const *requests,
                         unsigned count);

/* What others have written by themselves (a queue of io.h), so that it shows among the rest. */
void io_scheduler_note_write(struct io_scheduler *scheduler, enum io_class class, uint64_t bytes,
                             uint64_t took_ns, bool failed);

/* --------------------------------------------------------------------------- calls that wait */

/* Requests that one thread waits for; zero-initialised there is none. `done` and `arg` of the
 * requests are its. */
struct io_waiter {
    _Atomic uint32_t pending;
};
void io_waiter_submit(struct io_waiter *waiter, struct io_scheduler *scheduler,
                      struct io_request *const *requests, unsigned count);

/* Until all that was submitted has ended. */
void io_waiter_wait(struct io_waiter *waiter);

/* The result of a request that has ended, with diagnostics when it is an error. */
int64_t io_request_result(const struct io_request *request);

/* As io_read and io_write, after those who come before. A read that would be the next one is made
 * by the calling thread itself. */
int64_t io_schedule_read(enum io_class class, struct io_file *file, void *data, size_t size,
                         uint64_t offset);
int io_schedule_write(enum io_class class, struct io_file *file, const void *data, size_t size,
                      uint64_t offset);

/* A place in a file, and what became of reading it: the count, or a negative code. */
struct io_range {
    struct io_file *file;
    void *data;
    size_t size;
    uint64_t offset;
    int64_t result;
};

/* Reads several ranges at once, in the order that suits the disk. 0, or the code of the first of
 * them that failed, in the order of the array. */
int io_schedule_read_many(enum io_class class, struct io_range *ranges, unsigned count);

/* ------------------------------------------------------------------------------------- buffers */

enum { IO_BUFFER_BYTES = 256 << 10 };

/* Aligned memory of IO_BUFFER_BYTES for direct reads and writes, from a few that the kernel knows
 * already (registered buffers) as long as there are some of those. The caller gives it back; NULL:
 * no memory. `scheduler` may be NULL. */
void *io_buffer_take(struct io_scheduler *scheduler);
void io_buffer_give(struct io_scheduler *scheduler, void *buffer);

#endif
