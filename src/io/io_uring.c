/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The queue of asynchronous writes over io_uring (Axboe, "Efficient IO with io_uring", 2019).
 *
 * A write occupies a slot from queue_write until its completion is taken. On a direct file it is
 * one WRITE; otherwise a WRITE linked to an FSYNC of the data, which the kernel starts when the
 * write has succeeded. The submission ring has two entries a slot, so it never overflows.
 *
 * A write that goes to the page cache and need not be durable is done at once by pwrite, because
 * the ring would hand it to a thread of the kernel's: most file systems can't promise that a
 * buffered write does not wait. The copy takes less time than waking that thread.
 *
 *      FREE --queue_write--> WRITING --all written--> done, or FLUSHING --flushed--> done
 *                             |   ^
 *                             +---+ a short or interrupted write: the rest is submitted
 *
 * A short or failed write breaks the link and the kernel cancels the flush, so the flush counts
 * only when the write before it was whole. If the kernel takes part of a submission only, a link
 * may have been cut in two and a flush have overtaken its write: every slot then in flight is
 * flushed once more at its end. A failed flush is not repeated.
 *
 * user_data of an entry is the slot's index times two, plus one for a flush. Nothing here is seen
 * by two threads; what the kernel reads is invisible to ThreadSanitizer.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "io/io_internal.h"

enum { WRITE_BYTES_MAX = 1 << 30, DEPTH_MAX = 4096 };

struct slot {
    bool used;
    bool durable;     /* and not direct: needs a flush */
    bool flush_again; /* the link may have been cut in two */
    unsigned pending; /* entries of the ring whose completion has not come */
    int error;        /* the first errno value, 0 while well */
    bool flushed;     /* a flush has succeeded since the last write */
    int fd;
    const char *data; /* what remains to be written */
    size_t size;
    uint64_t offset;
    uint64_t cookie;
    uint64_t bytes, began_ns; /* of all of it */
};

struct uring_queue {
    struct io_queue base;
    struct io_uring ring;
    unsigned depth;
    unsigned in_flight;
    unsigned prepared; /* entries in the ring that the kernel has not taken */
    unsigned at_once;  /* slots in flight that were written without the ring */
    struct slot slots[];
};

static struct uring_queue *uring_queue(struct io_queue *queue)
{
    return (struct uring_queue *)(void *)queue;
}

/* ---------------------------------------------------------------- submitting */

static struct io_uring_sqe *entry_new(struct uring_queue *queue, struct slot *slot, bool flush)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&queue->ring);
    ASSERT(sqe != NULL); /* two a slot */
    queue->prepared++;
    slot->pending++;
    if (flush)
        io_uring_prep_fsync(sqe, slot->fd, IORING_FSYNC_DATASYNC);
    else
        io_uring_prep_write(sqe, slot->fd, slot->data,
                            slot->size < WRITE_BYTES_MAX ? (unsigned)slot->size : WRITE_BYTES_MAX,
                            slot->offset);
    io_uring_sqe_set_data64(sqe, (uint64_t)(slot - queue->slots) * 2 + flush);
    return sqe;
}

/* The next step of a slot with nothing pending: what remains of the write with its flush, or the
 * flush alone. */
static void slot_prepare(struct uring_queue *queue, struct slot *slot)
{
    slot->flushed = false;
    if (slot->size > 0) {
        struct io_uring_sqe *sqe = entry_new(queue, slot, false);
        if (!slot->durable || slot->size > WRITE_BYTES_MAX)
            return;
        io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
    }
    entry_new(queue, slot, true);
}

/* Hands prepared entries to the kernel and waits for `wait` completions. 0 or an errno value; what
 * the kernel has not taken stays prepared. */
static int submit(struct uring_queue *queue, unsigned wait)
{
    int taken = io_uring_submit_and_wait(&queue->ring, wait);
    if (taken < 0)
        return -taken;
    if ((unsigned)taken < queue->prepared)
        for (unsigned i = 0; i < queue->depth; i++)
            queue->slots[i].flush_again = queue->slots[i].used && queue->slots[i].durable;
    queue->prepared -= (unsigned)taken;
    return 0;
}

/* Errors after which the same call may succeed later: the entries stay prepared. */
static bool passing(int error)
{
    return error == 0 || error == EINTR || error == EAGAIN || error == EBUSY;
}

static void write_done(struct slot *slot, int result)
{
    if (result == -EINTR)
        return;
    if (result <= 0) {
        slot->error = result < 0 ? -result : EIO;
        return;
    }
    slot->data += result;
    slot->size -= (size_t)result;
    slot->offset += (uint64_t)result;
}

/* Whether nothing is left to do: what is, after a short write, goes through the ring. */
static bool write_at_once(struct slot *slot)
{
    size_t size = slot->size < WRITE_BYTES_MAX ? slot->size : WRITE_BYTES_MAX;
    ssize_t written = pwrite(slot->fd, slot->data, size, (off_t)slot->offset);
    write_done(slot, written < 0 ? -errno : (int)written);
    return slot->size == 0 || slot->error != 0;
}

static int uring_queue_write(struct io_queue *base, struct io_file *file, const void *data,
                             size_t size, uint64_t offset, bool durable, uint64_t cookie)
{
    struct uring_queue *queue = uring_queue(base);
    if (queue->in_flight == queue->depth)
        return ERROR_BUSY;
    struct slot *slot = queue->slots;
    while (slot->used)
        slot++;
    *slot = (struct slot){
        .used = true,
        .durable = durable && !file->direct,
        .fd = io__posix_file(file)->fd,
        .data = data,
        .size = size,
        .offset = offset,
        .cookie = cookie,
        .bytes = size,
        .began_ns = clock_monotonic_ns(clock_system()),
    };
    queue->in_flight++;
    if (!durable && !file->direct && write_at_once(slot)) {
        queue->at_once++;
        return 0;
    }
    slot_prepare(queue, slot);
    /* A refusal here is met again, and reported, by queue_wait, which submits what is prepared. */
    submit(queue, 0);
    return 0;
}

/* ---------------------------------------------------------------- completing */

static void flush_done(struct slot *slot, int result)
{
    if (result == 0)
        slot->flushed = slot->size == 0;
    else if (result != -ECANCELED || slot->size == 0)
        slot->error = slot->error ? slot->error : -result;
}

/* Whether the slot has come to its end; if not, its next step has been prepared. */
static bool slot_advance(struct uring_queue *queue, struct slot *slot)
{
    if (slot->error != 0)
        return true;
    if (slot->size == 0 && (!slot->durable || (slot->flushed && !slot->flush_again)))
        return true;
    if (slot->size == 0)
        slot->flush_again = false;
    slot_prepare(queue, slot);
    return false;
}

static void slot_finish(struct uring_queue *queue, struct slot *slot, struct io_completion *out)
{
    out->cookie = slot->cookie;
    out->result = slot->error ? ERROR_IO : 0;
    out->system_error = slot->error;
    out->bytes = slot->bytes;
    out->took_ns = clock_monotonic_ns(clock_system()) - slot->began_ns;
    slot->used = false;
    queue->in_flight--;
}

/* Takes the writes that never were in the ring. */
static unsigned reap_at_once(struct uring_queue *queue, struct io_completion *out, unsigned max)
{
    unsigned n = 0;
    for (struct slot *slot = queue->slots; queue->at_once > 0 && n < max; slot++) {
        if (slot->used && slot->pending == 0) {
            slot_finish(queue, slot, &out[n++]);
            queue->at_once--;
        }
    }
    return n;
}

/* Takes what has completed; returns how many writes were finished. */
static unsigned reap(struct uring_queue *queue, struct io_completion *out, unsigned max)
{
    unsigned n = reap_at_once(queue, out, max);
    struct io_uring_cqe *cqe;
    while (n < max && io_uring_peek_cqe(&queue->ring, &cqe) == 0) {
        uint64_t data = io_uring_cqe_get_data64(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&queue->ring, cqe);
        struct slot *slot = &queue->slots[data / 2];
        ASSERT(data / 2 < queue->depth && slot->used && slot->pending > 0);
        slot->pending--;
        if (data % 2)
            flush_done(slot, result);
        else
            write_done(slot, result);
        if (slot->pending == 0 && slot_advance(queue, slot))
            slot_finish(queue, slot, &out[n++]);
    }
    return n;
}

static int uring_queue_wait(struct io_queue *base, bool block, struct io_completion *out,
                            unsigned max)
{
    struct uring_queue *queue = uring_queue(base);
    for (;;) {
        unsigned n = reap(queue, out, max);
        bool wait = block && n == 0 && queue->in_flight > 0;
        if (queue->prepared == 0 && !wait)
            return (int)n;
        int error = submit(queue, wait);
        if (!passing(error) && n == 0)
            return diag_set_errno(ERROR_IO, error, "io_uring_enter");
        if (!wait)
            return (int)n;
    }
}

/* ---------------------------------------------------------------- beginning and end */

static void uring_queue_delete(struct io_queue *base)
{
    struct uring_queue *queue = uring_queue(base);
    struct io_completion ignored;
    while (queue->in_flight > 0 && uring_queue_wait(base, true, &ignored, 1) >= 0)
        ;
    io_uring_unregister_files(&queue->ring); /* now: the kernel takes its time for the rest */
    io_uring_queue_exit(&queue->ring);
    free(queue);
}

static const struct io_vtab uring_vtab = {
    .queue_delete = uring_queue_delete,
    .queue_write = uring_queue_write,
    .queue_wait = uring_queue_wait,
};

static bool operations_known(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool known = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_WRITE) &&
                 io_uring_opcode_supported(probe, IORING_OP_FSYNC);
    if (probe != NULL)
        io_uring_free_probe(probe);
    return known;
}

/* 0, or a code with diagnostics. */
static int ring_create(struct io_uring *ring, unsigned entries)
{
    memset(ring, 0, sizeof(*ring));
    int error = -io_uring_queue_init(entries, ring, 0);
    if (error != 0)
        return diag_set_errno(ERROR_UNSUPPORTED, error, "io_uring_setup");
    if (operations_known(ring))
        return 0;
    io_uring_queue_exit(ring);
    return diag_set(ERROR_UNSUPPORTED, "io_uring_setup: the kernel's io_uring is too old");
}

int io__uring_queue_new(unsigned depth, int held, struct io_queue **out)
{
    ASSERT(depth <= DEPTH_MAX);
    struct uring_queue *queue = calloc(1, sizeof(*queue) + depth * sizeof(queue->slots[0]));
    if (queue == NULL)
        return diag_set(ERROR_MEMORY, "io_uring: out of memory");
    int result = ring_create(&queue->ring, depth * 2);
    if (result != 0) {
        free(queue);
        return result;
    }
    if (held >= 0 && io_uring_register_files(&queue->ring, &held, 1) != 0)
        log_debug("io_uring: a ring can't hold a file");
    queue->base.vtab = &uring_vtab;
    queue->depth = depth;
    *out = &queue->base;
    return 0;
}

bool io_uring_usable(void)
{
    struct io_uring ring;
    if (ring_create(&ring, 2) != 0)
        return false;
    io_uring_queue_exit(&ring);
    return true;
}
