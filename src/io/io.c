/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What all implementations of struct io share: flushing the directory, reading a whole file. And
 * those over the operating system: loops that complete partial transfers, and errno values turned
 * into error codes.
 *
 * A transfer is cut into pieces of at most 1 GiB, a multiple of IO_ALIGN: the system itself takes
 * no more than 2 GiB - 4 KiB a call, and io_uring counts in 32 bits.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"
#include "io/io_internal.h"

enum { PIECE_BYTES_MAX = 1 << 30 };

static int code_of(int error)
{
    switch (error) {
    case ENOENT:
        return ERROR_NOT_FOUND;
    case EEXIST:
        return ERROR_EXISTS;
    case ENOMEM:
        return ERROR_MEMORY;
    case EACCES:
    case EPERM:
        return ERROR_ACCESS;
    case EROFS:
        return ERROR_READONLY;
    default:
        return ERROR_IO;
    }
}

int io__fail(int error, const char *call, const char *path)
{
    return diag_set_errno(code_of(error), error, "%s %s", call, path);
}

/* One at a time, so that nobody succeeds between the failure of another and the note of it. */
int io_sync_dir(struct io *io)
{
    unsigned turn = 0;
    int rc;
    while (atomic_exchange(&io->dir_busy, true))
        spin_wait(&turn);
    if (atomic_load(&io->dir_failed))
        rc = diag_set(ERROR_IO, "fsync of the folder has failed before, and nobody knows which "
                                "files have their names: no more are made until the next start");
    else if ((rc = io->vtab->sync_dir(io)) != 0)
        atomic_store(&io->dir_failed, true);
    atomic_store(&io->dir_busy, false);
    return rc;
}

static int load(struct io_file *file, const char *path, uint64_t max, char **data, size_t *size)
{
    int64_t bytes = io_size(file);
    if (bytes < 0)
        return (int)bytes;
    if ((uint64_t)bytes > max)
        return diag_set(ERROR_CORRUPT,
                        "file %s is damaged: it has %" PRId64 " bytes, more than it can have", path,
                        bytes);
    *data = malloc((size_t)bytes + 1);
    if (*data == NULL)
        return diag_set(ERROR_MEMORY, "no memory to read %s", path);
    bytes = io_read(file, *data, (size_t)bytes, 0);
    if (bytes < 0) {
        free(*data);
        return (int)bytes;
    }
    (*data)[bytes] = '\0';
    *size = (size_t)bytes;
    return 0;
}

int io_load(struct io *io, const char *path, uint64_t max, char **data, size_t *size)
{
    struct io_file *file;
    int rc = io_open(io, path, IO_READ, &file);
    if (rc != 0)
        return rc;
    rc = load(file, path, max, data, size);
    io_close(file);
    return rc;
}

static size_t piece(size_t size)
{
    return size < PIECE_BYTES_MAX ? size : PIECE_BYTES_MAX;
}

int io__write_all(int fd, const void *data, size_t size, uint64_t offset)
{
    const char *from = data;
    while (size > 0) {
        ssize_t n = pwrite(fd, from, piece(size), (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        from += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

int64_t io__read_all(int fd, void *data, size_t size, uint64_t offset, bool aligned)
{
    char *to = data;
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(fd, to + done, piece(size - done), (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        done += (size_t)n;
        if (n == 0 || (aligned && n % IO_ALIGN != 0))
            break;
    }
    return (int64_t)done;
}
