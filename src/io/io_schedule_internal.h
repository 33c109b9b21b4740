/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_IO_SCHEDULE_INTERNAL_H
#define IO_IO_SCHEDULE_INTERNAL_H

/*
 * What the files of the scheduler share: its state, and the two ways in which operations are
 * carried out.
 *
 * One mutex guards all of it, over no system call that waits. `flying` are the operations that a
 * way has taken from the elevator; each way has a pool of its own for them.
 */
#include <pthread.h>

#include "base/clock.h"
#include "io/io_elevator.h"
#include "io/io_internal.h"

enum { IO_BUFFERS = 8, IO_THREADS = 4, IO_THREADS_MAX = 64, IO_OPERATIONS_MAX = IO_DEPTH_MAX };

struct io__ring;

struct io_scheduler {
    struct io *io;
    struct clock *clock;
    bool allow_uring;
    unsigned threads_wanted;
    const char *variant;
    pthread_mutex_t mutex;
    pthread_cond_t work;  /* for threads: there may be something to do */
    pthread_cond_t ended; /* an operation has ended that somebody waits for */
    unsigned closing;     /* who waits for that */
    struct io_elevator elevator;
    struct list flying;
    bool stop;
    struct io__ring *ring; /* NULL: threads */
    unsigned thread_count;
    pthread_t threads[IO_THREADS_MAX];
    /* Buffers that the ring knows, as one piece of memory; NULL: nobody has one now. */
    unsigned char *buffers;
    unsigned buffers_taken;
    bool buffer_is_taken[IO_BUFFERS];
    bool buffers_known; /* to the ring */
};

/* ------------------------------------------------------------- io_schedule.c, for the two ways */

/* With the mutex held: the operation is over, its requests have their results. Then they are told so,
 * and then it lands. */
void io__scheduler_settle(struct io_scheduler *scheduler, struct io_operation *operation,
                          uint64_t now_ns);

/* With the mutex held: it no longer flies. Whoever closes the file waits for this. */
void io__scheduler_land(struct io_scheduler *scheduler, struct io_operation *operation);

/* Without: tells those who wait. */
void io__operation_done(struct io_operation *operation);

/* With the mutex held: takes the next operation and puts it among those that fly. */
bool io__scheduler_next(struct io_scheduler *scheduler, uint64_t now_ns,
                        struct io_operation *operation);

/* Whether a transfer of a file that may be direct ends with this count: there is no more to read. */
static inline bool io__ends(const struct io_operation *operation, size_t count)
{
    return count == 0 || (operation->file->aligned && count % IO_ALIGN != 0);
}

/* ---------------------------------------------------------------------- io_schedule_threads.c */

/* Before others know the scheduler. 0, or an errno value when there is not one thread. */
int io__scheduler_threads_start(struct io_scheduler *scheduler);

/* ------------------------------------------------------------------------ io_schedule_uring.c */

/* Before others know the scheduler. ERROR_UNSUPPORTED with diagnostics, ERROR_MEMORY. */
int io__ring_start(struct io_scheduler *scheduler);
/* With the mutex held, as are the next three. Whether the ring's thread sleeps: the caller then has to call io__ring_wake, without the mutex. */
bool io__ring_sleeps(struct io__ring *ring);
/* The file is closed. */
void io__ring_forget(struct io__ring *ring, struct io_file *file);
bool io__ring_know_buffers(struct io__ring *ring, void *memory, size_t bytes);
void io__ring_forget_buffers(struct io__ring *ring);
void io__ring_wake(struct io__ring *ring);
/* Its thread has ended. */
void io__ring_delete(struct io__ring *ring);

#endif
