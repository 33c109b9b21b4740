/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The queue of asynchronous writes for systems without io_uring: a few threads, each of which takes
 * the oldest waiting write, writes it, flushes the file if the write is to be durable, and puts it
 * among the finished.
 *
 * A slot is in exactly one of three lists: free, waiting (in the order of queue_write) or finished,
 * or held by the thread that writes it. One mutex guards the lists; system calls happen outside of
 * it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/list.h"
#include "base/log.h"
#include "io/io_internal.h"

enum { THREADS_MAX = 4 };

struct slot {
    struct list link;
    int fd;
    bool flush;
    const void *data;
    size_t size;
    uint64_t offset;
    uint64_t cookie;
    uint64_t began_ns, took_ns;
    int error;
};

struct threads_queue {
    struct io_queue base;
    pthread_mutex_t mutex;
    pthread_cond_t work; /* something waits, or the end has come */
    pthread_cond_t done; /* something is finished */
    struct list free, waiting, finished;
    unsigned in_flight; /* not free */
    bool stop;
    unsigned thread_count;
    pthread_t threads[THREADS_MAX];
    struct slot slots[];
};

static struct threads_queue *threads_queue(struct io_queue *queue)
{
    return (struct threads_queue *)(void *)queue;
}

static struct slot *slot_take(struct list *from)
{
    struct slot *slot = list_entry(from->next, struct slot, link);
    list_remove(&slot->link);
    return slot;
}

static void slot_run(struct slot *slot)
{
    slot->error = io__write_all(slot->fd, slot->data, slot->size, slot->offset);
    if (slot->error == 0 && slot->flush && fdatasync(slot->fd) < 0)
        slot->error = errno;
    slot->took_ns = clock_monotonic_ns(clock_system()) - slot->began_ns;
}

static void *threads_main(void *arg)
{
    struct threads_queue *queue = arg;
    log_thread_name("io-write");
    pthread_mutex_lock(&queue->mutex);
    for (;;) {
        while (list_empty(&queue->waiting) && !queue->stop)
            pthread_cond_wait(&queue->work, &queue->mutex);
        if (list_empty(&queue->waiting))
            break;
        struct slot *slot = slot_take(&queue->waiting);
        pthread_mutex_unlock(&queue->mutex);
        slot_run(slot);
        pthread_mutex_lock(&queue->mutex);
        list_add_tail(&queue->finished, &slot->link);
        pthread_cond_signal(&queue->done);
    }
    pthread_mutex_unlock(&queue->mutex);
    return NULL;
}

static int threads_queue_write(struct io_queue *base, struct io_file *file, const void *data,
                               size_t size, uint64_t offset, bool durable, uint64_t cookie)
{
    struct threads_queue *queue = threads_queue(base);
    pthread_mutex_lock(&queue->mutex);
    bool full = list_empty(&queue->free);
    if (!full) {
        struct slot *slot = slot_take(&queue->free);
        slot->fd = io__posix_file(file)->fd;
        slot->flush = durable && !file->direct;
        slot->data = data;
        slot->size = size;
        slot->offset = offset;
        slot->cookie = cookie;
        slot->began_ns = clock_monotonic_ns(clock_system());
        queue->in_flight++;
        list_add_tail(&queue->waiting, &slot->link);
        pthread_cond_signal(&queue->work);
    }
    pthread_mutex_unlock(&queue->mutex);
    return full ? ERROR_BUSY : 0;
}

static int threads_queue_wait(struct io_queue *base, bool block, struct io_completion *out,
                              unsigned max)
{
    struct threads_queue *queue = threads_queue(base);
    unsigned n = 0;
    pthread_mutex_lock(&queue->mutex);
    while (block && queue->in_flight > 0 && list_empty(&queue->finished))
        pthread_cond_wait(&queue->done, &queue->mutex);
    while (n < max && !list_empty(&queue->finished)) {
        struct slot *slot = slot_take(&queue->finished);
        out[n].cookie = slot->cookie;
        out[n].result = slot->error ? ERROR_IO : 0;
        out[n].system_error = slot->error;
        out[n].bytes = slot->size;
        out[n].took_ns = slot->took_ns;
        n++;
        queue->in_flight--;
        list_add_tail(&queue->free, &slot->link);
    }
    pthread_mutex_unlock(&queue->mutex);
    return (int)n;
}

/* The threads end when nothing waits any more. */
static void threads_queue_delete(struct io_queue *base)
{
    struct threads_queue *queue = threads_queue(base);
    pthread_mutex_lock(&queue->mutex);
    queue->stop = true;
    pthread_cond_broadcast(&queue->work);
    pthread_mutex_unlock(&queue->mutex);
    for (unsigned i = 0; i < queue->thread_count; i++)
        pthread_join(queue->threads[i], NULL);
    pthread_cond_destroy(&queue->done);
    pthread_cond_destroy(&queue->work);
    pthread_mutex_destroy(&queue->mutex);
    free(queue);
}

/* Starts up to `want` threads, which leave signals to others; fewer will do. Returns 0 or the errno
 * value. */
static int threads_start(struct threads_queue *queue, unsigned want)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    while (queue->thread_count < want && error == 0) {
        error = pthread_create(&queue->threads[queue->thread_count], NULL, threads_main, queue);
        queue->thread_count += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return queue->thread_count > 0 ? 0 : error;
}

static const struct io_vtab threads_vtab = {
    .queue_delete = threads_queue_delete,
    .queue_write = threads_queue_write,
    .queue_wait = threads_queue_wait,
};

int io__threads_queue_new(unsigned depth, struct io_queue **out)
{
    struct threads_queue *queue = calloc(1, sizeof(*queue) + depth * sizeof(queue->slots[0]));
    if (queue == NULL)
        return diag_set(ERROR_MEMORY, "write queue: out of memory");
    queue->base.vtab = &threads_vtab;
    pthread_mutex_init(&queue->mutex, NULL);
    pthread_cond_init(&queue->work, NULL);
    pthread_cond_init(&queue->done, NULL);
    list_create(&queue->free);
    list_create(&queue->waiting);
    list_create(&queue->finished);
    for (unsigned i = 0; i < depth; i++)
        list_add_tail(&queue->free, &queue->slots[i].link);
    int error = threads_start(queue, depth < THREADS_MAX ? depth : THREADS_MAX);
    if (error != 0) {
        threads_queue_delete(&queue->base);
        return diag_set_errno(ERROR_IO, error, "write queue: pthread_create");
    }
    *out = &queue->base;
    return 0;
}
