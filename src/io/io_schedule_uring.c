/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Operations carried out by io_uring: one ring, and one thread that feeds and empties it.
 *
 *   loop: land, settle what has ended, take what may begin ──► submit ──► tell who waits ──► sleep
 *                                                                      until something ends,
 *                                                                      is due, or io__ring_wake
 *
 * Operations are taken from the elevator until it gives none, and go to the kernel by one call. The
 * ring holds a poll of an eventfd as well, which is how others wake the thread: only when it sleeps.
 *
 * What the kernel knows already it need not look up and pin for each operation: files take a place
 * in its table with their first operation (registered files), and the memory of io_buffer_take is
 * known to it as long as somebody has some (registered buffers). Both are done without only where
 * the kernel can do so while operations are in flight (5.13), and what it refuses, for want of
 * locked memory or places, goes the plain way.
 *
 * A transfer that was cut short is continued behind where it was. user_data of an entry is its
 * operation, or the ring itself for the eventfd. What the kernel reads and writes is invisible to
 * ThreadSanitizer.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "io/io_schedule_internal.h"

enum {
    FILES_MAX = 256,              /* in the kernel's table; place 0 is for what the io holds */
    TRANSFER_BYTES_MAX = 1 << 30, /* the kernel counts in 32 bits */
    NAP_US = 1000
};

struct io__ring {
    struct io_scheduler *scheduler;
    struct io_uring uring;
    int event;
    bool watches; /* the eventfd: a poll of it is in the ring */
    bool knows_files;
    /* Guarded by the scheduler's mutex. */
    bool sleeps;
    bool place_is_taken[FILES_MAX];
    const unsigned char *buffers; /* NULL: none are known */
    size_t buffers_bytes;
    /* The thread's: operations that are free, that are over, that go on behind where they were cut,
     * whose requests have been told. */
    struct list free;
    struct io_operation *over[IO_OPERATIONS_MAX];
    struct io_operation *again[IO_OPERATIONS_MAX], *told[IO_OPERATIONS_MAX];
    unsigned again_count, told_count;
    unsigned made; /* operations that were ever used: memory that was not takes no room */
    struct io_operation operations[IO_OPERATIONS_MAX];
};

/* ------------------------------------------------------------------------- what the kernel knows */

/* With the mutex held: gives the file a place if it can have one. */
static void file_place(struct io__ring *ring, struct io_file *file)
{
    int fd = file->vtab->descriptor(file), place = 1;
    file->slot = -1;
    while (place < FILES_MAX && ring->place_is_taken[place])
        place++;
    if (!ring->knows_files || place == FILES_MAX ||
        io_uring_register_files_update(&ring->uring, (unsigned)place, &fd, 1) != 1)
        return;
    ring->place_is_taken[place] = true;
    file->slot = place;
}

void io__ring_forget(struct io__ring *ring, struct io_file *file)
{
    int none = -1;
    if (file->slot <= 0)
        return;
    /* Without this it would stay open in the kernel. It frees a place, and that does not fail. */
    int changed = io_uring_register_files_update(&ring->uring, (unsigned)file->slot, &none, 1);
    ASSERT(changed == 1);
    ring->place_is_taken[file->slot] = false;
    file->slot = 0;
}

bool io__ring_know_buffers(struct io__ring *ring, void *memory, size_t bytes)
{
    struct iovec all = {memory, bytes};
    if (!(ring->uring.features & IORING_FEAT_RSRC_TAGS) ||
        io_uring_register_buffers(&ring->uring, &all, 1) != 0)
        return false;
    ring->buffers = memory;
    ring->buffers_bytes = bytes;
    return true;
}

void io__ring_forget_buffers(struct io__ring *ring)
{
    io_uring_unregister_buffers(&ring->uring);
    ring->buffers = NULL;
}

static bool is_known(const struct io__ring *ring, const void *data, size_t size)
{
    uintptr_t at = (uintptr_t)data - (uintptr_t)ring->buffers;
    return ring->buffers != NULL && at < ring->buffers_bytes && size <= ring->buffers_bytes - at;
}

/* ------------------------------------------------------------------------------------ submitting */

static struct io_uring_sqe *entry_new(struct io__ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    ASSERT(sqe != NULL); /* one an operation, and one */
    return sqe;
}

/* Polls, since a read might write to memory that is gone when the ring is. */
static void event_watch(struct io__ring *ring)
{
    struct io_uring_sqe *sqe = entry_new(ring);
    io_uring_prep_poll_add(sqe, ring->event, POLLIN);
    io_uring_sqe_set_data(sqe, ring);
    ring->watches = true;
}

/* Puts what remains of the operation into the ring. */
static void operation_prepare(struct io__ring *ring, struct io_operation *operation)
{
    struct io_uring_sqe *sqe = entry_new(ring);
    unsigned count = io_operation_vectors(operation, operation->done);
    const struct iovec *first = operation->vectors;
    uint64_t at = operation->offset + operation->done;
    unsigned size =
        first->iov_len < TRANSFER_BYTES_MAX ? (unsigned)first->iov_len : TRANSFER_BYTES_MAX;
    bool placed = operation->file->slot > 0;
    int fd = placed ? operation->file->slot : operation->file->vtab->descriptor(operation->file);
    if (count > 1 && operation->write)
        io_uring_prep_writev(sqe, fd, first, count, at);
    else if (count > 1)
        io_uring_prep_readv(sqe, fd, first, count, at);
    else if (is_known(ring, first->iov_base, first->iov_len) && operation->write)
        io_uring_prep_write_fixed(sqe, fd, first->iov_base, size, at, 0);
    else if (is_known(ring, first->iov_base, first->iov_len))
        io_uring_prep_read_fixed(sqe, fd, first->iov_base, size, at, 0);
    else if (operation->write)
        io_uring_prep_write(sqe, fd, first->iov_base, size, at);
    else
        io_uring_prep_read(sqe, fd, first->iov_base, size, at);
    if (placed)
        sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data(sqe, operation);
}

/* An operation that is free, or NULL. */
static struct io_operation *operation_take(struct io__ring *ring)
{
    struct list *link = list_first(&ring->free);
    if (link != NULL) {
        list_remove(link);
        return list_entry(link, struct io_operation, link);
    }
    return ring->made < IO_OPERATIONS_MAX ? &ring->operations[ring->made++] : NULL;
}

/* With the mutex held: all that may begin or go on now goes into the ring. */
static void begin_all(struct io__ring *ring, uint64_t now_ns)
{
    while (ring->again_count > 0)
        operation_prepare(ring, ring->again[--ring->again_count]);
    struct io_operation *operation;
    while ((operation = operation_take(ring)) != NULL) {
        if (!io__scheduler_next(ring->scheduler, now_ns, operation)) {
            list_add_head(&ring->free, &operation->link);
            return;
        }
        if (operation->file->slot == 0)
            file_place(ring, operation->file);
        operation_prepare(ring, operation);
    }
}

/* ------------------------------------------------------------------------------------ completing */

/* Whether the operation has come to its end. */
static bool operation_advance(struct io_operation *operation, int result)
{
    int error = result < 0 && result != -EINTR && result != -EAGAIN ? -result : 0;
    operation->done += result > 0 ? (size_t)result : 0;
    if (error != 0 || operation->done == operation->size ||
        (result >= 0 && io__ends(operation, (size_t)result))) {
        io_operation_finish(operation, operation->done, error);
        return true;
    }
    return false;
}

static void event_take(struct io__ring *ring)
{
    eventfd_t value;
    eventfd_read(ring->event, &value);
    ring->watches = false;
}

/* Takes what has completed; returns how many operations are over. */
static unsigned reap(struct io__ring *ring, struct io_operation **over)
{
    struct io_uring_cqe *cqe;
    unsigned count = 0;
    while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
        void *data = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&ring->uring, cqe);
        if (data == ring)
            event_take(ring);
        else if (operation_advance(data, result))
            over[count++] = data;
        else
            ring->again[ring->again_count++] = data;
    }
    return count;
}

/* ------------------------------------------------------------------------------------ the thread */

/* Submits, and waits until something completes or is due. A call that the kernel refuses is made
 * again after a while: what is prepared stays so. */
static void submit_and_wait(struct io__ring *ring, uint64_t due_ns, uint64_t now_ns)
{
    struct io_uring_cqe *cqe;
    uint64_t wait = due_ns > now_ns ? due_ns - now_ns : 0;
    struct __kernel_timespec at = {.tv_sec = (int64_t)(wait / 1000000000),
                                   .tv_nsec = (int64_t)(wait % 1000000000)};
    int rc = io_uring_submit_and_wait_timeout(&ring->uring, &cqe, 1,
                                              due_ns == UINT64_MAX ? NULL : &at, NULL);
    if (rc < 0 && rc != -ETIME && rc != -EINTR)
        usleep(NAP_US);
}

/* With the mutex held: those of the round before have been told, and are free. */
static void land_all(struct io__ring *ring)
{
    while (ring->told_count > 0) {
        struct io_operation *operation = ring->told[--ring->told_count];
        io__scheduler_land(ring->scheduler, operation);
        list_add_tail(&ring->free, &operation->link);
    }
}

static void *ring_main(void *arg)
{
    struct io__ring *ring = arg;
    struct io_scheduler *scheduler = ring->scheduler;
    log_thread_name("io");
    for (bool stop = false; !stop;) {
        unsigned ended = reap(ring, ring->over);
        pthread_mutex_lock(&scheduler->mutex);
        uint64_t now_ns = clock_monotonic_ns(scheduler->clock);
        land_all(ring);
        for (unsigned i = 0; i < ended; i++)
            io__scheduler_settle(scheduler, ring->over[i], now_ns);
        begin_all(ring, now_ns);
        uint64_t due_ns = io_elevator_due_ns(&scheduler->elevator);
        stop = scheduler->stop;
        ring->sleeps = true;
        pthread_mutex_unlock(&scheduler->mutex);
        if (!ring->watches)
            event_watch(ring);
        if (ended > 0)
            io_uring_submit(&ring->uring);
        for (unsigned i = 0; i < ended; i++) {
            io__operation_done(ring->over[i]);
            ring->told[ring->told_count++] = ring->over[i];
        }
        if (!stop)
            submit_and_wait(ring, due_ns, now_ns);
    }
    return NULL;
}

bool io__ring_sleeps(struct io__ring *ring)
{
    bool sleeps = ring->sleeps;
    ring->sleeps = false;
    return sleeps;
}

void io__ring_wake(struct io__ring *ring)
{
    eventfd_write(ring->event, 1);
}

/* ------------------------------------------------------------------------------ beginning and end
 */

/* 0, or a code with diagnostics. */
static int uring_create(struct io_uring *uring)
{
    enum { ENTRIES = 2 * IO_OPERATIONS_MAX };
    int error = -io_uring_queue_init(ENTRIES, uring, 0);
    if (error != 0)
        return diag_set_errno(ERROR_UNSUPPORTED, error, "io_uring_setup");
    if (uring->features & IORING_FEAT_EXT_ARG) /* 5.11: also has all the operations */
        return 0;
    io_uring_queue_exit(uring);
    return diag_set(ERROR_UNSUPPORTED, "io_uring_setup: the kernel's io_uring is too old");
}

static int thread_start(struct io_scheduler *scheduler)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&scheduler->threads[0], NULL, ring_main, scheduler->ring);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    scheduler->thread_count = error == 0;
    return error;
}

void io__ring_delete(struct io__ring *ring)
{
    io_uring_unregister_files(&ring->uring); /* now: the kernel takes its time for the rest */
    io_uring_queue_exit(&ring->uring);
    close(ring->event);
    free(ring);
}

int io__ring_start(struct io_scheduler *scheduler)
{
    struct io__ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return diag_set(ERROR_MEMORY, "io_uring: out of memory");
    int rc = uring_create(&ring->uring);
    if (rc != 0) {
        free(ring);
        return rc;
    }
    ring->scheduler = scheduler;
    ring->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ring->knows_files = (ring->uring.features & IORING_FEAT_RSRC_TAGS) &&
                        io_uring_register_files_sparse(&ring->uring, FILES_MAX) == 0;
    int held = scheduler->io->held - 1;
    if (held >= 0 &&
        (!ring->knows_files || io_uring_register_files_update(&ring->uring, 0, &held, 1) != 1))
        log_debug("io_uring: a ring can't hold a file");
    list_create(&ring->free);
    scheduler->ring = ring;
    int error = ring->event < 0 ? errno : thread_start(scheduler);
    if (error == 0)
        return 0;
    scheduler->ring = NULL;
    io__ring_delete(ring);
    return diag_set_errno(ERROR_UNSUPPORTED, error, "io_uring: its thread");
}
