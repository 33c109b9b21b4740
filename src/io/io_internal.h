/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_IO_INTERNAL_H
#define IO_IO_INTERNAL_H

/*
 * What the files of src/io share among themselves: the posix file, on which both queues work, and
 * the loops around read and write.
 */
#include "io/io.h"

/* A file of io_posix.c. `path` is for messages and includes the directory. */
struct io__posix_file {
    struct io_file base;
    int fd;
    char path[];
};

static inline struct io__posix_file *io__posix_file(struct io_file *file)
{
    return (struct io__posix_file *)(void *)file;
}

/* Sets the diagnostics to "call path: reason" and returns the code that stands for the errno value.
 */
int io__fail(int error, const char *call, const char *path);

/* Writes all; returns 0 or an errno value (EIO when the system writes nothing and gives no reason).
 */
int io__write_all(int fd, const void *data, size_t size, uint64_t offset);

/* Reads until `size` or the end of the file. Returns the count or a negated errno value. `aligned`:
 * the file may be O_DIRECT, where a count that is no multiple of IO_ALIGN is the end and may not be
 * read past. */
int64_t io__read_all(int fd, void *data, size_t size, uint64_t offset, bool aligned);

/* The two queues over posix files. ERROR_UNSUPPORTED when io_uring can't be had; the caller falls
 * back. `held` is a descriptor that the ring holds up to its end (struct io), or below 0. */
int io__uring_queue_new(unsigned depth, int held, struct io_queue **out);
int io__threads_queue_new(unsigned depth, struct io_queue **out);

/* For tests: treats every later IO_DIRECT as if the file system refused it. */
void io__posix_refuse_direct(struct io *io);

#endif
