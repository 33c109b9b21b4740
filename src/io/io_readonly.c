/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Files are those of the directories, opened for reading; only opening and listing pass through
 * here.
 */
#include "io/io_readonly.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"

struct readonly_io {
    struct io base;
    struct io *dirs[IO_READONLY_DIRS_MAX];
    unsigned count;
    bool (*shows)(const char *name, void *arg);
    void *arg;
};

static struct readonly_io *readonly_io(struct io *io)
{
    return (struct readonly_io *)(void *)io;
}

static int refuse(const char *call, const char *path)
{
    return diag_set(ERROR_READONLY, "%s %s: the directory is only read", call, path);
}

static bool shown(const struct readonly_io *io, const char *name)
{
    return io->shows == NULL || io->shows(name, io->arg);
}

static int readonly_open(struct io *base, const char *path, int flags, struct io_file **out)
{
    struct readonly_io *io = readonly_io(base);
    if (flags & (IO_WRITE | IO_CREATE | IO_TRUNCATE))
        return refuse("open", path);
    unsigned misses = 0, count = shown(io, path) ? io->count : 0;
    char message[DIAG_MESSAGE_MAX];
    int rc = ERROR_NOT_FOUND, code = diag_code();
    snprintf(message, sizeof message, "%s", diag_message());
    for (; rc == ERROR_NOT_FOUND && misses < count; misses += rc == ERROR_NOT_FOUND)
        rc = io_open(io->dirs[misses], path, IO_READ, out);
    if (rc == 0 && misses > 0)
        diag_set(code, "%s", message); /* that the first directory has none is no error */
    return rc == ERROR_NOT_FOUND ? diag_set(rc, "open %s: there is no such file", path) : rc;
}

static int readonly_rename(struct io *io, const char *from, const char *to)
{
    (void)io, (void)to;
    return refuse("rename", from);
}

static int readonly_unlink(struct io *io, const char *path)
{
    (void)io;
    return refuse("unlink", path);
}

static int readonly_sync_dir(struct io *io)
{
    (void)io;
    return refuse("fsync", ".");
}

static int readonly_lock(struct io *io, const char *path)
{
    (void)io;
    return refuse("lock", path);
}

static int readonly_queue_new(struct io *io, unsigned depth, struct io_queue **out)
{
    (void)io, (void)depth, (void)out;
    return refuse("write", ".");
}

struct listing {
    struct readonly_io *io;
    unsigned dir; /* the one being listed */
    int (*each)(const char *name, uint64_t size, void *arg);
    void *arg;
};

static int entry_visit(const char *name, uint64_t size, void *arg)
{
    const struct listing *listing = arg;
    if (!shown(listing->io, name))
        return 0;
    for (unsigned i = 0; i < listing->dir; i++) {
        struct io_file *file;
        int rc = io_open(listing->io->dirs[i], name, IO_READ, &file);
        if (rc == 0)
            io_close(file);
        if (rc != ERROR_NOT_FOUND)
            return rc;
    }
    return listing->each(name, size, listing->arg);
}

static int readonly_list(struct io *base, int (*each)(const char *name, uint64_t size, void *arg),
                         void *arg)
{
    struct listing listing = {.io = readonly_io(base), .each = each, .arg = arg};
    int rc = 0;
    for (; rc == 0 && listing.dir < listing.io->count; listing.dir++)
        rc = io_list(listing.io->dirs[listing.dir], entry_visit, &listing);
    return rc;
}

static void readonly_delete(struct io *base)
{
    free(readonly_io(base));
}

static const struct io_vtab readonly_vtab = {
    .open = readonly_open,
    .rename = readonly_rename,
    .unlink = readonly_unlink,
    .sync_dir = readonly_sync_dir,
    .list = readonly_list,
    .lock = readonly_lock,
    .queue_new = readonly_queue_new,
    .delete = readonly_delete,
};

int io_readonly_new(struct io *const *dirs, unsigned count,
                    bool (*shows)(const char *name, void *arg), void *arg, struct io **out)
{
    struct readonly_io *io = calloc(1, sizeof *io);
    if (io == NULL)
        return diag_set(ERROR_MEMORY, "out of memory to read a directory");
    ASSERT(count <= IO_READONLY_DIRS_MAX);
    io->base.vtab = &readonly_vtab;
    atomic_init(&io->base.direct_variant, "unknown");
    atomic_init(&io->base.queue_variant, "unknown");
    for (unsigned i = 0; i < count; i++)
        io->dirs[i] = dirs[i];
    io->count = count;
    io->shows = shows;
    io->arg = arg;
    *out = &io->base;
    return 0;
}
