/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The queue of the test disk. Nothing happens in the background: a write in flight takes effect,
 * and becomes durable, when queue_wait or queue_delete completes it, in an order that the disk's
 * seed decides.
 */
#include <errno.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/error.h"
#include "io/disk_internal.h"

int disk__queue_new(struct io *base, unsigned depth, struct io_queue **out)
{
    struct disk_io *io = disk__io(base);
    bool interrupted;
    enum disk__fate fate = disk__enter(io->disk, DISK_QUEUE_NEW, io->generation, &interrupted);
    int result = fate == FATE_WELL ? 0 : disk__failed(fate, io->disk, "queue", ".");
    if (result == 0) {
        struct disk_queue *queue =
            disk__allocate(sizeof(*queue) + depth * sizeof(queue->pending[0]));
        queue->base.vtab = &disk__vtab;
        queue->disk = io->disk;
        queue->generation = io->generation;
        queue->depth = depth;
        atomic_store(&base->queue_variant, "simulated");
        *out = &queue->base;
    }
    disk__leave(io->disk);
    return result;
}

int disk__queue_write(struct io_queue *base, struct io_file *file_base, const void *data,
                      size_t size, uint64_t offset, bool durable, uint64_t cookie)
{
    struct disk_queue *queue = disk__queue(base);
    struct disk_file *file = disk__file(file_base);
    struct disk *disk = queue->disk;
    if (queue->in_flight == queue->depth)
        return ERROR_BUSY;
    bool interrupted;
    enum disk__fate fate = disk__enter(disk, DISK_QUEUE_WRITE, queue->generation, &interrupted);
    int result = fate == FATE_WELL ? 0 : disk__failed(fate, disk, "write", file->name);
    if ((fate == FATE_WELL || interrupted) && file->writable) {
        struct change *change = disk__change_new(file->inode, data, size, offset);
        change->in_flight = true;
        if (fate == FATE_WELL)
            queue->pending[queue->in_flight++] =
                (struct pending){change, file, data, durable, cookie};
    } else if (fate == FATE_WELL) {
        result = disk__file_check_writable(file, "write");
    }
    disk__leave(disk);
    return result;
}

/* Completes one write: with success it takes effect now, after all that took effect before. */
static void pending_complete(struct disk *disk, struct pending *pending, int error)
{
    struct change *change = pending->change;
    struct inode *inode = pending->file->inode;
    ASSERT(memcmp(change->data, pending->data, change->size) == 0); /* changed while in flight */
    change->in_flight = false;
    change->forsaken = error != 0;
    list_remove(&change->link);
    list_add_tail(&inode->changes, &change->link);
    bool flushes = pending->durable && !pending->file->base.direct;
    if (error != 0) {
        if (flushes)
            disk__inode_flush(disk, inode, true);
        return;
    }
    disk__change_apply(change, &inode->seen);
    if (pending->file->base.direct) {
        change->durable = !disk->ignore_flush;
        disk__inode_settle(inode);
    } else if (flushes) {
        disk__inode_flush(disk, inode, false);
    }
}

static void complete_one(struct disk_queue *queue, int error, struct io_completion *out)
{
    unsigned i = (unsigned)random_below(&queue->disk->random, queue->in_flight);
    struct pending *pending = &queue->pending[i];
    struct change *change = pending->change;
    size_t size = change->size;
    if (error == 0 && disk__room(queue->disk, pending->file->inode, size, change->offset) < size)
        error = ENOSPC;
    pending_complete(queue->disk, pending, error);
    out->cookie = pending->cookie;
    out->result = error ? ERROR_IO : 0;
    out->system_error = error;
    out->bytes = size;
    out->took_ns = 0;
    queue->pending[i] = queue->pending[--queue->in_flight];
}

/* A random number of the writes in flight completes, in random order; at least one if the caller
 * blocks. */
int disk__queue_wait(struct io_queue *base, bool block, struct io_completion *out, unsigned max)
{
    struct disk_queue *queue = disk__queue(base);
    struct disk *disk = queue->disk;
    bool interrupted;
    enum disk__fate fate = disk__enter(disk, DISK_QUEUE_WAIT, queue->generation, &interrupted);
    int result = 0;
    if (fate == FATE_CUT || (fate == FATE_FAIL && queue->in_flight == 0)) {
        result = disk__failed(fate, disk, "queue", ".");
    } else if (fate == FATE_FAIL) {
        complete_one(queue, disk->fate_error, &out[result++]);
    } else if (queue->in_flight > 0) {
        unsigned most = queue->in_flight < max ? queue->in_flight : max;
        unsigned count = (unsigned)random_below(&disk->random, most + 1);
        if (count == 0 && block)
            count = 1;
        while ((unsigned)result < count)
            complete_one(queue, 0, &out[result++]);
    }
    disk__leave(disk);
    return result;
}

void disk__queue_delete(struct io_queue *base)
{
    struct disk_queue *queue = disk__queue(base);
    struct disk *disk = queue->disk;
    struct io_completion ignored;
    pthread_mutex_lock(&disk->mutex);
    if (!disk->cut && queue->generation == disk->generation)
        while (queue->in_flight > 0)
            complete_one(queue, 0, &ignored);
    pthread_mutex_unlock(&disk->mutex);
    free(queue);
}
