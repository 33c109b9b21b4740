/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Operations carried out by a few threads, each of which takes the next one, makes the system calls
 * and ends it.
 *
 * A file without a number that the system knows (a test's disk) is read and written through its own
 * table, request by request.
 */
#include <errno.h>
#include <signal.h>
#include <sys/uio.h>
#include <time.h>

#include "base/error.h"
#include "base/log.h"
#include "io/io_schedule_internal.h"

/* Through the file's table: each request for itself. */
static void transfer_by_table(struct io_operation *operation)
{
    for (unsigned i = 0; i < operation->count; i++) {
        struct io_request *request = operation->requests[i];
        int64_t result =
            request->write ? io_write(request->file, request->data, request->size, request->offset)
                           : io_read(request->file, request->data, request->size, request->offset);
        request->result = request->write && result == 0 ? (int64_t)request->size : result;
        request->system_error = result < 0 ? EIO : 0;
    }
}

static void transfer(struct io_operation *operation)
{
    if (operation->file->vtab->descriptor == NULL) {
        transfer_by_table(operation);
        return;
    }
    int fd = operation->file->vtab->descriptor(operation->file), error = 0;
    size_t done = 0;
    while (done < operation->size && error == 0) {
        unsigned count = io_operation_vectors(operation, done);
        off_t at = (off_t)(operation->offset + done);
        ssize_t n = operation->write ? pwritev(fd, operation->vectors, (int)count, at)
                                     : preadv(fd, operation->vectors, (int)count, at);
        if (n < 0 && errno == EINTR)
            continue;
        error = n < 0 ? errno : 0;
        done += n > 0 ? (size_t)n : 0;
        if (n >= 0 && io__ends(operation, (size_t)n))
            break;
    }
    io_operation_finish(operation, done, error);
}

/* Until something may begin; with the mutex held, which waiting gives up. */
static void sleep_until_due(struct io_scheduler *scheduler, uint64_t now_ns)
{
    uint64_t due_ns = io_elevator_due_ns(&scheduler->elevator);
    if (due_ns == UINT64_MAX) {
        pthread_cond_wait(&scheduler->work, &scheduler->mutex);
        return;
    }
    uint64_t until = clock_monotonic_ns(clock_system()) + (due_ns > now_ns ? due_ns - now_ns : 0);
    const struct timespec at = {.tv_sec = (time_t)(until / 1000000000),
                                .tv_nsec = (long)(until % 1000000000)};
    pthread_cond_timedwait(&scheduler->work, &scheduler->mutex, &at);
}

static void *threads_main(void *arg)
{
    struct io_scheduler *scheduler = arg;
    struct io_operation operation;
    log_thread_name("io");
    pthread_mutex_lock(&scheduler->mutex);
    while (!scheduler->stop) {
        uint64_t now_ns = clock_monotonic_ns(scheduler->clock);
        if (!io__scheduler_next(scheduler, now_ns, &operation)) {
            sleep_until_due(scheduler, now_ns);
            continue;
        }
        pthread_mutex_unlock(&scheduler->mutex);
        transfer(&operation);
        pthread_mutex_lock(&scheduler->mutex);
        io__scheduler_settle(scheduler, &operation, clock_monotonic_ns(scheduler->clock));
        pthread_mutex_unlock(&scheduler->mutex);
        io__operation_done(&operation);
        pthread_mutex_lock(&scheduler->mutex);
        io__scheduler_land(scheduler, &operation);
    }
    pthread_mutex_unlock(&scheduler->mutex);
    return NULL;
}

int io__scheduler_threads_start(struct io_scheduler *scheduler)
{
    sigset_t all, before;
    int error = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (scheduler->thread_count < scheduler->threads_wanted && error == 0) {
        error = pthread_create(&scheduler->threads[scheduler->thread_count], NULL, threads_main,
                               scheduler);
        scheduler->thread_count += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return scheduler->thread_count > 0 ? 0 : error;
}
