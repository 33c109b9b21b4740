/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Buffers in turn: while one is filled the others are written.
 *
 *   put ──► filling ──full──► in flight ──done──► free ──► filling ..
 *
 * Room is reserved ahead of the pieces, a megabyte at first and ever more: a write that makes a file
 * longer waits for the one before it and for the file system's account, a write inside does not. The
 * last piece is filled up with zeros to whole pages, and the file is cut to its bytes at the end, so
 * until then it is not what it says; who writes files that count has to mark their end, or to flush
 * them before they are named anywhere, or both.
 *
 * Invariants:
 *  1. A buffer that is in flight is not touched.
 *  2. After the first error nothing is written.
 */
#include "io/io_append.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

enum { BUFFERS = 4, RESERVE_BYTES_MIN = 1 << 20, RESERVE_BYTES_MAX = 16 << 20 };

struct buffer {
    struct io_request request;
    struct io_waiter waiter;
    unsigned char *data; /* NULL: not yet */
    bool flies;          /* the request is out, or its result has not been looked at */
};

struct io_appender {
    struct io_file *file;
    struct io_scheduler *scheduler; /* NULL: writes are the caller's own */
    enum io_class class;
    struct buffer buffers[BUFFERS];
    unsigned filling;
    size_t filled;
    uint64_t written;  /* bytes handed over */
    uint64_t reserved; /* end of the room that was reserved */
    int failed;
    char failure[DIAG_MESSAGE_MAX];
};

static int fail(struct io_appender *appender, int rc)
{
    appender->failed = rc;
    snprintf(appender->failure, sizeof appender->failure, "%s", diag_message_for(rc));
    return rc;
}

static int failed_before(const struct io_appender *appender)
{
    return diag_set(appender->failed, "%s", appender->failure);
}

/* Waits until the buffer is free; the result of what was written from it. */
static int buffer_settle(struct io_appender *appender, struct buffer *buffer)
{
    if (!buffer->flies)
        return 0;
    io_waiter_wait(&buffer->waiter);
    buffer->flies = false;
    int64_t result = io_request_result(&buffer->request);
    return result < 0 ? fail(appender, (int)result) : 0;
}

/* What is refused here is refused, or done without, by the write as well. */
static void reserve(struct io_appender *appender, uint64_t end)
{
    uint64_t step = appender->written;
    if (appender->written == 0 || end <= appender->reserved || !appender->file->uncached)
        return;
    step = step < RESERVE_BYTES_MIN ? RESERVE_BYTES_MIN : step;
    step = step > RESERVE_BYTES_MAX ? RESERVE_BYTES_MAX : step;
    if (io_reserve(appender->file, appender->written, step) == 0)
        appender->reserved = appender->written + step;
}

/* Through the page cache, or without a scheduler: by this thread. */
static int write_at_once(struct io_appender *appender, const struct buffer *buffer, size_t size)
{
    int rc =
        io_schedule_write(appender->class, appender->file, buffer->data, size, appender->written);
    if (rc == 0 && !appender->file->uncached)
        rc = io_write_back(appender->file, appender->written, size);
    return rc != 0 ? fail(appender, rc) : 0;
}

static void write_along(struct io_appender *appender, struct buffer *buffer, size_t size)
{
    struct io_request *request = &buffer->request;
    *request = (struct io_request){
        .file = appender->file,
        .class = appender->class,
        .write = true,
        .data = buffer->data,
        .size = size,
        .offset = appender->written,
    };
    buffer->flies = true;
    io_waiter_submit(&buffer->waiter, appender->scheduler, &request, 1);
}

/* Hands over what the buffer has, whole pages, and goes on to the next one. */
static int buffer_write(struct io_appender *appender)
{
    struct buffer *buffer = &appender->buffers[appender->filling];
    size_t size = (appender->filled + IO_ALIGN - 1) & ~(size_t)(IO_ALIGN - 1);
    int rc = 0;
    memset(buffer->data + appender->filled, 0, size - appender->filled);
    reserve(appender, appender->written + size);
    if (appender->scheduler == NULL || !appender->file->uncached)
        rc = write_at_once(appender, buffer, size);
    else
        write_along(appender, buffer, size);
    appender->written += appender->filled;
    appender->filled = 0;
    if (buffer->flies)
        appender->filling = (appender->filling + 1) % BUFFERS;
    return rc;
}

/* A buffer that can be filled. */
static int buffer_prepare(struct io_appender *appender)
{
    struct buffer *buffer = &appender->buffers[appender->filling];
    if (buffer->data == NULL)
        buffer->data = io_buffer_take(appender->scheduler);
    if (buffer->data == NULL)
        return fail(appender,
                    diag_set(ERROR_MEMORY, "no memory to write %s", io_file_path(appender->file)));
    return buffer_settle(appender, buffer);
}

int io_appender_put(struct io_appender *appender, const void *data, size_t size)
{
    const unsigned char *from = data;
    if (appender->failed)
        return failed_before(appender);
    while (size > 0) {
        int rc = appender->filled == 0 ? buffer_prepare(appender) : 0;
        if (rc != 0)
            return rc;
        size_t room = IO_BUFFER_BYTES - appender->filled, n = size < room ? size : room;
        memcpy(appender->buffers[appender->filling].data + appender->filled, from, n);
        appender->filled += n;
        from += n;
        size -= n;
        rc = appender->filled == IO_BUFFER_BYTES ? buffer_write(appender) : 0;
        if (rc != 0)
            return rc;
    }
    return 0;
}

uint64_t io_appender_offset(const struct io_appender *appender)
{
    return appender->written + appender->filled;
}

static int all_settle(struct io_appender *appender)
{
    int rc = 0;
    for (unsigned i = 0; i < BUFFERS; i++) {
        int settled = buffer_settle(appender, &appender->buffers[i]);
        rc = rc != 0 ? rc : settled;
    }
    return rc;
}

int io_appender_finish(struct io_appender *appender)
{
    int rc = appender->failed ? failed_before(appender) : 0;
    if (rc == 0 && appender->filled > 0)
        rc = buffer_write(appender);
    if (rc == 0)
        rc = all_settle(appender);
    if (rc != 0)
        return rc;
    uint64_t bytes = appender->written;
    if (bytes % IO_ALIGN != 0 || appender->reserved > bytes)
        rc = io_truncate(appender->file, bytes);
    if (rc == 0)
        rc = io_sync(appender->file);
    return rc != 0 ? fail(appender, rc) : 0;
}

void io_appender_delete(struct io_appender *appender)
{
    all_settle(appender);
    for (unsigned i = 0; i < BUFFERS; i++)
        if (appender->buffers[i].data != NULL)
            io_buffer_give(appender->scheduler, appender->buffers[i].data);
    io_close(appender->file);
    free(appender);
}

int io_appender_new(struct io *io, const char *path, enum io_class class, struct io_appender **out)
{
    struct io_appender *appender = calloc(1, sizeof *appender);
    if (appender == NULL)
        return diag_set(ERROR_MEMORY, "no memory to write %s", path);
    int rc = io_open(io, path, IO_WRITE | IO_CREATE | IO_EXCLUSIVE | IO_UNCACHED, &appender->file);
    if (rc != 0) {
        free(appender);
        return rc;
    }
    appender->scheduler = appender->file->scheduler;
    appender->class = class;
    *out = appender;
    return 0;
}

void io_appender_class_set(struct io_appender *appender, enum io_class class)
{
    appender->class = class;
}
