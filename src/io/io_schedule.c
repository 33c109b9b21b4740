/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The scheduler: requests come in, threads that wait for them go out.
 *
 *   submit ──► elevator ──next──► flying: the ring's thread, or some threads ──► settle ──► done
 *      └── pass: the caller's own thread, when nobody has to be asked ───────────────┘
 *
 * Who reads one place and would come next anyway reads it himself: he has to wait for it, and two
 * changes of thread would take as long as a fast disk.
 *
 * That is io_uring when the io's files have numbers that the system knows and it can be had, or else
 * threads, which make the calls of the table (io.h)
 * for each request, and for neighbours together where files have such numbers.
 */
#include "io/io_schedule.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "io/io_schedule_internal.h"

enum { MANY = 64 /* ranges of one call that are in flight at once */ };

/* --------------------------------------------------------------------------------------- a life */

/* 0, or a code. */
static int start(struct io_scheduler *scheduler)
{
    bool wanted = scheduler->allow_uring && scheduler->io->vtab->descriptor != NULL;
    int rc = wanted ? io__ring_start(scheduler) : ERROR_UNSUPPORTED;
    if (rc == 0) {
        scheduler->variant = "io_uring";
        return 0;
    }
    if (wanted)
        log_info("io_uring can't be used (%s): files are read and written by threads",
                 diag_message_for(rc));
    scheduler->variant = "threads";
    int error = io__scheduler_threads_start(scheduler);
    return error == 0 ? 0 : diag_set_errno(ERROR_IO, error, "I/O scheduler: pthread_create");
}

static void scheduler_free(struct io_scheduler *scheduler)
{
    pthread_cond_destroy(&scheduler->ended);
    pthread_cond_destroy(&scheduler->work);
    pthread_mutex_destroy(&scheduler->mutex);
    free(scheduler);
}

int io_scheduler_new(struct io *io, const struct io_scheduler_options *options,
                     struct io_scheduler **out)
{
    struct io_scheduler *scheduler = calloc(1, sizeof *scheduler);
    pthread_condattr_t monotonic;
    if (scheduler == NULL)
        return diag_set(ERROR_MEMORY, "no memory for the I/O scheduler");
    ASSERT(io->scheduler == NULL);
    scheduler->io = io;
    scheduler->clock = options->clock == NULL ? clock_system() : options->clock;
    scheduler->allow_uring = options->allow_uring;
    scheduler->threads_wanted = options->threads == 0 ? IO_THREADS : options->threads;
    ASSERT(scheduler->threads_wanted <= IO_THREADS_MAX);
    pthread_mutex_init(&scheduler->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&scheduler->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&scheduler->ended, NULL);
    list_create(&scheduler->flying);
    io_elevator_create(&scheduler->elevator, &options->limits,
                       clock_monotonic_ns(scheduler->clock));
    int rc = start(scheduler);
    if (rc != 0) {
        scheduler_free(scheduler);
        return rc;
    }
    io->scheduler = scheduler;
    *out = scheduler;
    return 0;
}

/* Rouses whoever carries out operations. `sleeps` is what io__ring_sleeps has said under the mutex. */
static void wake(struct io_scheduler *scheduler, bool sleeps)
{
    if (sleeps)
        io__ring_wake(scheduler->ring);
}

/* With the mutex held: something may have become possible. Whether to call wake. */
static bool rouse(struct io_scheduler *scheduler)
{
    if (scheduler->ring != NULL)
        return io__ring_sleeps(scheduler->ring);
    pthread_cond_signal(&scheduler->work);
    return false;
}

void io_scheduler_delete(struct io_scheduler *scheduler)
{
    pthread_mutex_lock(&scheduler->mutex);
    ASSERT(scheduler->elevator.queued == 0 && scheduler->elevator.in_flight == 0 &&
           scheduler->buffers_taken == 0);
    scheduler->stop = true;
    bool sleeps = rouse(scheduler);
    pthread_cond_broadcast(&scheduler->work);
    pthread_mutex_unlock(&scheduler->mutex);
    wake(scheduler, sleeps);
    for (unsigned n = 0; n < scheduler->thread_count; n++)
        pthread_join(scheduler->threads[n], NULL);
    if (scheduler->ring != NULL)
        io__ring_delete(scheduler->ring);
    scheduler->io->scheduler = NULL;
    scheduler_free(scheduler);
}

const char *io_scheduler_variant(const struct io_scheduler *scheduler)
{
    return scheduler->variant;
}

void io_scheduler_limit(struct io_scheduler *scheduler, const struct io_limits *limits)
{
    pthread_mutex_lock(&scheduler->mutex);
    io_elevator_limit(&scheduler->elevator, limits, clock_monotonic_ns(scheduler->clock));
    bool sleeps = rouse(scheduler);
    pthread_cond_broadcast(&scheduler->work);
    pthread_mutex_unlock(&scheduler->mutex);
    wake(scheduler, sleeps);
}

void io_scheduler_limits(struct io_scheduler *scheduler, struct io_limits *out)
{
    pthread_mutex_lock(&scheduler->mutex);
    *out = scheduler->elevator.limits;
    pthread_mutex_unlock(&scheduler->mutex);
}

void io_scheduler_stats(struct io_scheduler *scheduler, enum io_class class,
                        struct io_class_stats *out)
{
    pthread_mutex_lock(&scheduler->mutex);
    *out = scheduler->elevator.stats[class];
    pthread_mutex_unlock(&scheduler->mutex);
}

void io_scheduler_note_write(struct io_scheduler *scheduler, enum io_class class, uint64_t bytes,
                             uint64_t took_ns, bool failed)
{
    pthread_mutex_lock(&scheduler->mutex);
    struct io_class_stats *stats = &scheduler->elevator.stats[class];
    stats->writes++;
    stats->operations++;
    stats->bytes_written += failed ? 0 : bytes;
    stats->failed += failed;
    histogram_add(&stats->wait, 0);
    histogram_add(&stats->latency, took_ns);
    pthread_mutex_unlock(&scheduler->mutex);
}

void io__queue_note(struct io_scheduler *scheduler, const struct io_completion *completions,
                    unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        io_scheduler_note_write(scheduler, IO_LOG, completions[i].bytes, completions[i].took_ns,
                                completions[i].result != 0);
}

/* ------------------------------------------------------------------------------------ operations
 */

bool io__scheduler_next(struct io_scheduler *scheduler, uint64_t now_ns,
                        struct io_operation *operation)
{
    if (!io_elevator_next(&scheduler->elevator, now_ns, operation))
        return false;
    list_add_tail(&scheduler->flying, &operation->link);
    return true;
}

void io__scheduler_settle(struct io_scheduler *scheduler, struct io_operation *operation,
                          uint64_t now_ns)
{
    io_elevator_end(&scheduler->elevator, operation->class);
    for (unsigned i = 0; i < operation->count; i++)
        io_elevator_end_request(&scheduler->elevator, operation->requests[i], now_ns);
}

void io__scheduler_land(struct io_scheduler *scheduler, struct io_operation *operation)
{
    list_remove(&operation->link);
    if (scheduler->closing > 0)
        pthread_cond_broadcast(&scheduler->ended);
}

void io__operation_done(struct io_operation *operation)
{
    for (unsigned i = 0; i < operation->count; i++)
        operation->requests[i]->done(operation->requests[i]);
}

static bool flies(const struct io_scheduler *scheduler, const struct io_file *file)
{
    list_for_each (link, &scheduler->flying)
        if (list_entry(link, struct io_operation, link)->file == file)
            return true;
    return false;
}

/* Ends the requests that have not begun. */
static void cancel(struct io_scheduler *scheduler, const struct io_file *file)
{
    struct list cancelled;
    list_create(&cancelled);
    pthread_mutex_lock(&scheduler->mutex);
    io_elevator_remove(&scheduler->elevator, file, &cancelled);
    uint64_t now_ns = clock_monotonic_ns(scheduler->clock);
    list_for_each (link, &cancelled) {
        struct io_request *request = list_entry(link, struct io_request, arrival);
        request->result = ERROR_CANCELLED;
        request->system_error = ECANCELED;
        io_elevator_end_request(&scheduler->elevator, request, now_ns);
    }
    pthread_mutex_unlock(&scheduler->mutex);
    list_for_each_safe (gone, &cancelled) {
        struct io_request *request = list_entry(gone, struct io_request, arrival);
        list_remove(gone);
        request->done(request);
    }
}

void io__scheduler_forget(struct io_scheduler *scheduler, struct io_file *file)
{
    cancel(scheduler, file);
    pthread_mutex_lock(&scheduler->mutex);
    scheduler->closing++;
    while (flies(scheduler, file)) {
        /* The ring's thread lands what is over when it comes round. */
        if (rouse(scheduler))
            io__ring_wake(scheduler->ring);
        pthread_cond_wait(&scheduler->ended, &scheduler->mutex);
    }
    scheduler->closing--;
    if (scheduler->ring != NULL)
        io__ring_forget(scheduler->ring, file);
    pthread_mutex_unlock(&scheduler->mutex);
}

/* With the mutex held. */
static void add(struct io_scheduler *scheduler, struct io_request *request, uint64_t now_ns)
{
    ASSERT(request->size > 0 && request->class < IO_CLASSES &&
           request->file->scheduler == scheduler);
    io_assert_aligned(request->file, request->data, request->size, request->offset);
    io_elevator_add(&scheduler->elevator, request, now_ns);
}

void io_scheduler_submit(struct io_scheduler *scheduler, struct io_request *const *requests,
                         unsigned count)
{
    pthread_mutex_lock(&scheduler->mutex);
    uint64_t now_ns = clock_monotonic_ns(scheduler->clock);
    for (unsigned i = 0; i < count; i++)
        add(scheduler, requests[i], now_ns);
    bool sleeps = rouse(scheduler);
    if (scheduler->ring == NULL && count > 1)
        pthread_cond_broadcast(&scheduler->work);
    pthread_mutex_unlock(&scheduler->mutex);
    wake(scheduler, sleeps);
}

/* --------------------------------------------------------------------------------------- waiting */

/* When the last has ended the waiter may be gone, with all that it points to, before the call that
 * wakes it: which looks at the address alone. */
static void waiter_done(struct io_request *request)
{
    struct io_waiter *waiter = request->arg;
    _Atomic uint32_t *pending = &waiter->pending;
    if (atomic_fetch_sub(pending, 1) == 1)
        syscall(SYS_futex, pending, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void waiter_expect(struct io_waiter *waiter, struct io_request *request)
{
    request->done = waiter_done;
    request->arg = waiter;
    atomic_fetch_add(&waiter->pending, 1);
}

void io_waiter_submit(struct io_waiter *waiter, struct io_scheduler *scheduler,
                      struct io_request *const *requests, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        waiter_expect(waiter, requests[i]);
    io_scheduler_submit(scheduler, requests, count);
}

void io_waiter_wait(struct io_waiter *waiter)
{
    uint32_t pending;
    while ((pending = atomic_load(&waiter->pending)) > 0)
        syscall(SYS_futex, &waiter->pending, FUTEX_WAIT_PRIVATE, pending, NULL, NULL, 0);
}

int64_t io_request_result(const struct io_request *request)
{
    if (request->result >= 0)
        return request->result;
    return diag_set_errno((int)request->result, request->system_error, "%s %s",
                          request->write ? "write" : "read", io_file_path(request->file));
}

/* Carries out a request that has passed, on this thread. */
static int64_t passed(struct io_scheduler *scheduler, struct io_request *request)
{
    int64_t result = request->write
                         ? io_write(request->file, request->data, request->size, request->offset)
                         : io_read(request->file, request->data, request->size, request->offset);
    request->result = request->write && result == 0 ? (int64_t)request->size : result;
    pthread_mutex_lock(&scheduler->mutex);
    io_elevator_end(&scheduler->elevator, request->class);
    io_elevator_end_request(&scheduler->elevator, request, clock_monotonic_ns(scheduler->clock));
    bool sleeps = scheduler->elevator.queued > 0 && rouse(scheduler);
    pthread_mutex_unlock(&scheduler->mutex);
    wake(scheduler, sleeps);
    return request->result;
}

static int64_t transfer(struct io_request *request)
{
    struct io_scheduler *scheduler = request->file->scheduler;
    struct io_waiter waiter = {0};
    pthread_mutex_lock(&scheduler->mutex);
    uint64_t now_ns = clock_monotonic_ns(scheduler->clock);
    bool passes = io_elevator_pass(&scheduler->elevator, request, now_ns), sleeps = false;
    if (!passes) {
        waiter_expect(&waiter, request);
        add(scheduler, request, now_ns);
        sleeps = rouse(scheduler);
    }
    pthread_mutex_unlock(&scheduler->mutex);
    if (passes)
        return passed(scheduler, request);
    wake(scheduler, sleeps);
    io_waiter_wait(&waiter);
    return io_request_result(request);
}

int64_t io_schedule_read(enum io_class class, struct io_file *file, void *data, size_t size,
                         uint64_t offset)
{
    struct io_request request = {
        .file = file, .class = class, .data = data, .size = size, .offset = offset};
    if (file->scheduler == NULL || size == 0)
        return io_read(file, data, size, offset);
    return transfer(&request);
}

int io_schedule_write(enum io_class class, struct io_file *file, const void *data, size_t size,
                      uint64_t offset)
{
    struct io_request request = {.file = file,
                                 .class = class,
                                 .write = true,
                                 .data = (void *)(uintptr_t)data,
                                 .size = size,
                                 .offset = offset};
    if (file->scheduler == NULL || size == 0)
        return io_write(file, data, size, offset);
    int64_t result = transfer(&request);
    return result < 0 ? (int)result : 0;
}

/* At most MANY, of one scheduler. */
static void read_together(enum io_class class, struct io_scheduler *scheduler,
                          struct io_range *ranges, unsigned count)
{
    struct io_request requests[MANY], *submitted[MANY] = {NULL};
    struct io_waiter waiter = {0};
    for (unsigned i = 0; i < count; i++) {
        const struct io_range *range = &ranges[i];
        requests[i] = (struct io_request){.file = range->file,
                                          .class = class,
                                          .data = range->data,
                                          .size = range->size,
                                          .offset = range->offset};
        submitted[i] = &requests[i];
    }
    io_waiter_submit(&waiter, scheduler, submitted, count);
    io_waiter_wait(&waiter);
    for (unsigned i = 0; i < count; i++)
        ranges[i].result = io_request_result(&requests[i]);
}

/* How many of the ranges go together: the first, and those behind it of the same scheduler. */
static unsigned together(const struct io_range *ranges, unsigned count)
{
    const struct io_scheduler *scheduler = ranges[0].file->scheduler;
    unsigned n = 0;
    while (scheduler != NULL && n < count && n < MANY && ranges[n].size > 0 &&
           ranges[n].file->scheduler == scheduler)
        n++;
    return n;
}

int io_schedule_read_many(enum io_class class, struct io_range *ranges, unsigned count)
{
    int rc = 0;
    for (unsigned at = 0, n; at < count; at += n) {
        n = together(ranges + at, count - at);
        if (n > 1) {
            read_together(class, ranges[at].file->scheduler, ranges + at, n);
        } else {
            struct io_range *range = &ranges[at];
            n = 1;
            range->result =
                io_schedule_read(class, range->file, range->data, range->size, range->offset);
        }
    }
    for (unsigned i = count; i-- > 0;)
        rc = ranges[i].result < 0 ? (int)ranges[i].result : rc;
    return rc;
}

/* --------------------------------------------------------------------------------------- buffers */

/* With the mutex held: the memory for buffers that the ring knows. False: there is none. */
static bool buffers_make(struct io_scheduler *scheduler)
{
    const size_t bytes = (size_t)IO_BUFFERS * IO_BUFFER_BYTES;
    if (scheduler->ring == NULL)
        return false;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    if (!io__ring_know_buffers(scheduler->ring, memory, bytes)) {
        munmap(memory, bytes);
        return false;
    }
    scheduler->buffers = memory;
    return true;
}

static void *buffer_known_take(struct io_scheduler *scheduler)
{
    void *buffer = NULL;
    pthread_mutex_lock(&scheduler->mutex);
    if (scheduler->buffers != NULL || buffers_make(scheduler)) {
        for (unsigned n = 0; n < IO_BUFFERS && buffer == NULL; n++) {
            if (scheduler->buffer_is_taken[n])
                continue;
            scheduler->buffer_is_taken[n] = true;
            scheduler->buffers_taken++;
            buffer = scheduler->buffers + (size_t)n * IO_BUFFER_BYTES;
        }
    }
    pthread_mutex_unlock(&scheduler->mutex);
    return buffer;
}

void *io_buffer_take(struct io_scheduler *scheduler)
{
    void *buffer = scheduler == NULL ? NULL : buffer_known_take(scheduler);
    return buffer != NULL ? buffer : aligned_alloc(IO_ALIGN, IO_BUFFER_BYTES);
}

/* With the mutex held. Whether it is one of those; the memory goes back with the last of them. */
static bool buffer_known_give(struct io_scheduler *scheduler, const unsigned char *buffer)
{
    const size_t bytes = (size_t)IO_BUFFERS * IO_BUFFER_BYTES;
    uintptr_t at = (uintptr_t)buffer - (uintptr_t)scheduler->buffers;
    if (scheduler->buffers == NULL || at >= bytes)
        return false;
    ASSERT(at % IO_BUFFER_BYTES == 0 && scheduler->buffer_is_taken[at / IO_BUFFER_BYTES]);
    scheduler->buffer_is_taken[at / IO_BUFFER_BYTES] = false;
    if (--scheduler->buffers_taken == 0) {
        io__ring_forget_buffers(scheduler->ring);
        munmap(scheduler->buffers, bytes);
        scheduler->buffers = NULL;
    }
    return true;
}

void io_buffer_give(struct io_scheduler *scheduler, void *buffer)
{
    bool known = false;
    if (scheduler != NULL) {
        pthread_mutex_lock(&scheduler->mutex);
        known = buffer_known_give(scheduler, buffer);
        pthread_mutex_unlock(&scheduler->mutex);
    }
    if (!known)
        free(buffer);
}
