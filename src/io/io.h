/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_IO_H
#define IO_IO_H

/*
 * The table of system calls: all that touches files goes through a struct io, so that tests can put
 * a disk in memory in its place which forgets what no completed flush covered, is cut at any call,
 * and fails the nth one (test/lib/io).
 *
 * Functions return 0 (or a count) or a negative error code with diagnostics that name the call, the
 * path and the system's reason. Paths are names in the directory that the io was opened on.
 * Retrying interrupted calls and completing partial reads happens inside; a short write is
 * completed or reported as ERROR_IO. A failed flush is never retried by anybody: after it nobody
 * knows what is on the disk.
 *
 * An io and its files may be used by several threads at once; a queue by one thread at a time.
 * Files and queues are closed before their io is deleted, and a file only when no queue has a write
 * of it in flight.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/error.h"

struct io;
struct io_file;
struct io_queue;
struct io_scheduler;

enum io_open_flags {
    IO_READ = 0, /* reading is always possible */
    IO_WRITE = 1,
    IO_CREATE = 2,    /* make it if absent; the name is durable after io_sync_dir */
    IO_EXCLUSIVE = 4, /* with IO_CREATE: ERROR_EXISTS if present */
    /* Bypass the page cache and make each completed write durable, where the file system takes it;
     * io_file_direct tells. Offsets, sizes and memory of reads and writes on such a file are
     * multiples of IO_ALIGN, whatever the request became: this is asserted. */
    IO_DIRECT = 8,
    IO_TRUNCATE = 16,
    /* Bypass the page cache where the file system takes that (file->uncached tells), with the same
     * alignment; writes become durable by io_sync as ever. Not with IO_DIRECT. */
    IO_UNCACHED = 32
};

enum { IO_ALIGN = 4096 };

/* A finished asynchronous write. `result` is 0 or a negative code; `system_error` the errno value
 * behind it. */
struct io_completion {
    uint64_t cookie;
    int result;
    int system_error;
    uint64_t bytes, took_ns; /* of the write; 0: not measured */
};

/* What a long call does after each of its pieces: `call` may wait, so that others get at the disk. */
struct io_between {
    void (*call)(void *arg, uint64_t done); /* so many bytes in all */
    void *arg;
};

/* What an implementation fills in; the wrappers below say what each does. A file's or queue's table
 * may hold its own functions only. */
struct io_vtab {
    int (*open)(struct io *io, const char *path, int flags, struct io_file **out);
    void (*close)(struct io_file *file);
    int64_t (*read)(struct io_file *file, void *data, size_t size, uint64_t offset);
    int (*write)(struct io_file *file, const void *data, size_t size, uint64_t offset);
    int (*sync)(struct io_file *file);
    int64_t (*size)(struct io_file *file);
    int (*named)(struct io_file *file);
    int (*truncate)(struct io_file *file, uint64_t size);
    int (*allocate_zeros)(struct io_file *file, uint64_t size, const struct io_between *between);
    int (*rename)(struct io *io, const char *from, const char *to);
    int (*unlink)(struct io *io, const char *path);
    int (*sync_dir)(struct io *io);
    int (*list)(struct io *io, int (*each)(const char *name, uint64_t size, void *arg), void *arg);
    int (*lock)(struct io *io, const char *path);
    /* Optional: the number by which the system knows the file, and what messages call it. */
    int (*descriptor)(const struct io_file *file);
    const char *(*path)(const struct io_file *file);
    /* Optional, these two. */
    int (*reserve)(struct io_file *file, uint64_t offset, uint64_t size);
    int (*write_back)(struct io_file *file, uint64_t offset, size_t size);
    int (*remove)(struct io *io, const char *path);
    uint64_t (*room)(struct io *io); /* optional */
    /* Optional. Both are of this table. */
    int (*link)(struct io *from, const char *path, struct io *to, const char *as);
    int (*queue_new)(struct io *io, unsigned depth, struct io_queue **out);
    void (*queue_delete)(struct io_queue *queue);
    int (*queue_write)(struct io_queue *queue, struct io_file *file, const void *data, size_t size,
                       uint64_t offset, bool durable, uint64_t cookie);
    int (*queue_wait)(struct io_queue *queue, bool block, struct io_completion *out, unsigned max);
    void (*delete)(struct io *io);
};

/* The variants in use have names for people: static strings, "unknown" until one was chosen,
 * readable from any thread. */
struct io {
    const struct io_vtab *vtab;
    /* "direct" or "buffered": what the last IO_DIRECT became. */
    _Atomic(const char *) direct_variant;
    /* "io_uring" or "threads": what the last queue is made of. */
    _Atomic(const char *) queue_variant;
    _Atomic bool dir_busy, dir_failed; /* of io_sync_dir; false at first */
    /* Set by io_lock, plus 1: a descriptor that each ring holds until nothing is in flight in it; 0: none. */
    int held;
    struct io_scheduler *scheduler; /* io_schedule.h; NULL at first */
};

struct io_file {
    const struct io_vtab *vtab;
    bool direct;   /* writes bypass the cache and are durable on completion */
    bool aligned;  /* opened with IO_DIRECT or IO_UNCACHED: the caller promised aligned accesses */
    bool uncached; /* writes bypass the cache and are not durable on completion */
    /* The io's when the file was opened, set by io_open as is what follows. */
    struct io_scheduler *scheduler;
    int slot; /* the scheduler's: among the files that its ring knows; 0: not yet, -1: not */
};

struct io_queue {
    const struct io_vtab *vtab;
    struct io_scheduler *scheduler; /* set by io_queue_new */
};

/* The real one, on directory `dir`, made with mode 0700 if absent (parents must exist).
 * `allow_uring` false forces the threads. The caller owns *out and ends it with io_delete. */
int io_posix_new(const char *dir, bool allow_uring, struct io **out);

/* True when the system lets this process use io_uring. Tries it out on each call. */
bool io_uring_usable(void);

/* Gives locks back and frees. Files and queues must have been closed. */
static inline void io_delete(struct io *io)
{
    io->vtab->delete (io);
}

/* The caller owns *out and closes it. ERROR_NOT_FOUND when absent and not to be made. */
static inline int io_open(struct io *io, const char *path, int flags, struct io_file **out)
{
    int rc = io->vtab->open(io, path, flags, out);
    if (rc == 0) {
        (*out)->scheduler = io->scheduler;
        (*out)->slot = 0;
    }
    return rc;
}

/* Cancels what the scheduler has not begun of it, and waits for what it has. */
void io__scheduler_forget(struct io_scheduler *scheduler, struct io_file *file);

/* Frees; makes nothing durable. */
static inline void io_close(struct io_file *file)
{
    if (file->scheduler != NULL)
        io__scheduler_forget(file->scheduler, file);
    file->vtab->close(file);
}

/* What messages call the file. */
static inline const char *io_file_path(const struct io_file *file)
{
    return file->vtab->path == NULL ? "a file" : file->vtab->path(file);
}

/* True when a completed write of this file is durable without io_sync. */
static inline bool io_file_direct(const struct io_file *file)
{
    return file->direct;
}

/* Asserts what whoever opens a file with IO_DIRECT has promised. */
static inline void io_assert_aligned(const struct io_file *file, const void *data, size_t size,
                                     uint64_t offset)
{
    ASSERT(!file->aligned || (((uintptr_t)data | size | offset) & (IO_ALIGN - 1)) == 0);
}

/* Bytes read: fewer than asked only at the end of the file. */
static inline int64_t io_read(struct io_file *file, void *data, size_t size, uint64_t offset)
{
    io_assert_aligned(file, data, size, offset);
    return file->vtab->read(file, data, size, offset);
}

/* All of it, or an error. Durable only after io_sync (or on a direct file). */
static inline int io_write(struct io_file *file, const void *data, size_t size, uint64_t offset)
{
    io_assert_aligned(file, data, size, offset);
    return file->vtab->write(file, data, size, offset);
}

/* Makes durable every write and change of size that was complete before the call (fdatasync). */
static inline int io_sync(struct io_file *file)
{
    return file->vtab->sync(file);
}

/* Bytes in the file. */
static inline int64_t io_size(struct io_file *file)
{
    return file->vtab->size(file);
}

/* 0, or ERROR_NOT_FOUND when the file has no name any more: somebody has removed it, and what is
 * written to it is lost when it is closed. */
static inline int io_named(struct io_file *file)
{
    return file->vtab->named(file);
}

/* Cuts or lengthens (with a hole) to `size` bytes; durable after io_sync. */
static inline int io_truncate(struct io_file *file, uint64_t size)
{
    return file->vtab->truncate(file, size);
}

/* Makes the file `size` bytes long (a multiple of IO_ALIGN), all of them written zeros (not holes),
 * and durable: later writes inside change no metadata. What was in it is lost. The name needs
 * io_sync_dir as ever. They go to the disk in pieces; `between` (may be NULL) is called after each,
 * or never. */
static inline int io_allocate_zeros(struct io_file *file, uint64_t size,
                                    const struct io_between *between)
{
    ASSERT(size % IO_ALIGN == 0);
    return file->vtab->allocate_zeros(file, size, between);
}

/* Takes room for [offset, offset + size) and makes the file as long, with zeros where nothing was
 * written; nothing is durable. ERROR_UNSUPPORTED where that is not possible. */
static inline int io_reserve(struct io_file *file, uint64_t offset, uint64_t size)
{
    return file->vtab->reserve == NULL ? ERROR_UNSUPPORTED
                                       : file->vtab->reserve(file, offset, size);
}

/* Waits until the disk has what was written to [offset, offset + size), which makes nothing durable:
 * the flush that does then has little left to do, and does not keep the disk from others at one
 * stretch. Does nothing where that is not possible. After a failure the file is as after a failed
 * flush. */
static inline int io_write_back(struct io_file *file, uint64_t offset, size_t size)
{
    return file->vtab->write_back == NULL ? 0 : file->vtab->write_back(file, offset, size);
}

/* Atomic replacement; durable after io_sync_dir. ERROR_NOT_FOUND. */
static inline int io_rename(struct io *io, const char *from, const char *to)
{
    return io->vtab->rename(io, from, to);
}

/* ERROR_NOT_FOUND when absent. Open files stay usable. Durable after io_sync_dir. */
static inline int io_unlink(struct io *io, const char *path)
{
    return io->vtab->unlink(io, path);
}

/* As io_unlink, for large files: what they took is given back in pieces, with pauses, where nobody
 * else has the file open or under another name; a disk that is told of much free room at once
 * (discard) keeps others waiting. Takes up to a second or so. */
static inline int io_remove(struct io *io, const char *path)
{
    return io->vtab->remove == NULL ? io_unlink(io, path) : io->vtab->remove(io, path);
}

/* The bytes that files of the directory may still grow by, as the file system sees it now; UINT64_MAX
 * where nobody knows. */
static inline uint64_t io_room(struct io *io)
{
    return io->vtab->room == NULL ? UINT64_MAX : io->vtab->room(io);
}

/* Gives a file a second name, in another directory: what is written to one is in the other. The
 * name is durable after io_sync_dir of `to`. ERROR_UNSUPPORTED where that is not possible (another
 * file system, another implementation); ERROR_EXISTS, ERROR_NOT_FOUND. */
static inline int io_link(struct io *from, const char *path, struct io *to, const char *as)
{
    return from->vtab == to->vtab && from->vtab->link != NULL ? from->vtab->link(from, path, to, as)
                                                              : ERROR_UNSUPPORTED;
}

/* Makes names durable: those made, replaced and removed before the call. When it has failed once it
 * fails for ever, for every thread: the system tells one of them that names may be lost, and what
 * another then asks for would succeed and say nothing of its own. */
int io_sync_dir(struct io *io);

/* Calls `each` for every regular file, in no order. A nonzero result ends the walk and is returned.
 * `each` may unlink the file it is given. */
static inline int io_list(struct io *io, int (*each)(const char *name, uint64_t size, void *arg),
                          void *arg)
{
    return io->vtab->list(io, each, arg);
}

/* Reads a whole file of at most `max` bytes. *data, with a zero byte behind it that does not count,
 * is the caller's to free. ERROR_NOT_FOUND; ERROR_CORRUPT when it is larger; ERROR_MEMORY. */
int io_load(struct io *io, const char *path, uint64_t max, char **data, size_t *size);

/* Takes an exclusive lock on the file `path`, made if absent, until io_delete or the end of the
 * process. ERROR_LOCKED when another io, of this process or another, has it. Behind a process that was
 * killed it waits for the reads and writes that the system still has of it. Before queues and a
 * scheduler are made. */
static inline int io_lock(struct io *io, const char *path)
{
    return io->vtab->lock(io, path);
}

/*
 * A queue of asynchronous writes: at most `depth` in flight, counted until their completion is
 * taken. They may complete in any order. With `durable` the completion comes after the data is on
 * stable storage (a direct file: the write itself; otherwise a flush of the file behind it). Data
 * and file must stay as they are until then. The caller owns *out.
 */
static inline int io_queue_new(struct io *io, unsigned depth, struct io_queue **out)
{
    int rc = io->vtab->queue_new(io, depth, out);
    if (rc == 0)
        (*out)->scheduler = io->scheduler;
    return rc;
}

/* Waits for what is in flight, drops completions that were not taken, and frees. */
static inline void io_queue_delete(struct io_queue *queue)
{
    queue->vtab->queue_delete(queue);
}

/* 0, or ERROR_BUSY when `depth` are in flight, or a failure, after which this write is not in
 * flight. */
static inline int io_queue_write(struct io_queue *queue, struct io_file *file, const void *data,
                                 size_t size, uint64_t offset, bool durable, uint64_t cookie)
{
    io_assert_aligned(file, data, size, offset);
    ASSERT(size > 0);
    return queue->vtab->queue_write(queue, file, data, size, offset, durable, cookie);
}

/* Lets the scheduler count what a queue has written. */
void io__queue_note(struct io_scheduler *scheduler, const struct io_completion *completions,
                    unsigned count);

/* Completions taken, at most `max` (> 0); with `block` at least one if any is in flight. Negative:
 * the queue itself is broken, what is in flight has an unknown outcome and may never complete;
 * delete it. */
static inline int io_queue_wait(struct io_queue *queue, bool block, struct io_completion *out,
                                unsigned max)
{
    ASSERT(max > 0);
    int count = queue->vtab->queue_wait(queue, block, out, max);
    if (count > 0 && queue->scheduler != NULL)
        io__queue_note(queue->scheduler, out, (unsigned)count);
    return count;
}

#endif
