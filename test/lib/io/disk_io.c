/* SPDX-License-Identifier: Apache-2.0 */

/* The table of the test disk: files and the directory. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "io/disk_internal.h"

/* ---------------------------------------------------------------- files */

/* The inode for an open, made or emptied as the flags say; 0 or a code. */
static int open_inode(struct disk *disk, const char *path, int flags, struct inode **out)
{
    struct name *found = disk__name_find(&disk->seen, path);
    if (found == NULL && !(flags & IO_CREATE))
        return diag_set_errno(ERROR_NOT_FOUND, ENOENT, "open %s", path);
    if (found != NULL && (flags & IO_CREATE) && (flags & IO_EXCLUSIVE))
        return diag_set_errno(ERROR_EXISTS, EEXIST, "open %s", path);
    *out = found ? found->inode : disk__inode_new(disk);
    if (found == NULL)
        disk__name_change(disk, "", path, *out);
    else if (flags & IO_TRUNCATE)
        disk__inode_truncate(*out, 0);
    return 0;
}

static int disk_open(struct io *base, const char *path, int flags, struct io_file **out)
{
    struct disk_io *io = disk__io(base);
    struct disk *disk = io->disk;
    struct inode *inode = NULL;
    bool interrupted;
    ASSERT(strlen(path) < NAME_BYTES_MAX);
    enum disk__fate fate = disk__enter(disk, DISK_OPEN, io->generation, &interrupted);
    int result = 0;
    if (fate == FATE_WELL || interrupted)
        result = open_inode(disk, path, flags, &inode);
    if (fate != FATE_WELL)
        result = disk__failed(fate, disk, "open", path);
    if (result == 0) {
        struct disk_file *file = disk__allocate(sizeof(*file));
        file->base.vtab = &disk__vtab;
        file->base.aligned = (flags & (IO_DIRECT | IO_UNCACHED)) != 0;
        file->base.direct = (flags & IO_DIRECT) && disk->offer_direct;
        file->base.uncached = (flags & IO_UNCACHED) && disk->offer_direct;
        file->disk = disk;
        file->generation = io->generation;
        file->writable = (flags & IO_WRITE) != 0;
        file->inode = inode;
        snprintf(file->name, sizeof(file->name), "%s", path);
        if (flags & IO_DIRECT)
            atomic_store(&base->direct_variant, file->base.direct ? "direct" : "buffered");
        *out = &file->base;
    }
    disk__leave(disk);
    return result;
}

static void disk_close(struct io_file *base)
{
    free(disk__file(base));
}

static int64_t disk_read(struct io_file *base, void *data, size_t size, uint64_t offset)
{
    struct disk_file *file = disk__file(base);
    bool interrupted;
    enum disk__fate fate = disk__enter(file->disk, DISK_READ, file->generation, &interrupted);
    int64_t result = fate == FATE_WELL
                         ? (int64_t)disk_image_read(&file->inode->seen, data, size, offset)
                         : disk__failed(fate, file->disk, "read", file->name);
    disk__leave(file->disk);
    return result;
}

int disk__file_check_writable(const struct disk_file *file, const char *call)
{
    return file->writable ? 0 : diag_set_errno(ERROR_IO, EBADF, "%s %s", call, file->name);
}

static int disk_write(struct io_file *base, const void *data, size_t size, uint64_t offset)
{
    struct disk_file *file = disk__file(base);
    int result = disk__file_check_writable(file, "write");
    if (result != 0)
        return result;
    bool interrupted;
    enum disk__fate fate = disk__enter(file->disk, DISK_WRITE, file->generation, &interrupted);
    size_t room = disk__room(file->disk, file->inode, size, offset);
    if ((fate == FATE_WELL || interrupted) && room > 0) {
        struct change *change = disk__change_new(file->inode, data, room, offset);
        disk__change_apply(change, &file->inode->seen);
        change->durable = base->direct && !interrupted && !file->disk->ignore_flush;
        disk__inode_settle(file->inode);
    }
    if (fate != FATE_WELL)
        result = disk__failed(fate, file->disk, "write", file->name);
    else if (room < size)
        result = disk__full("write", file->name);
    disk__leave(file->disk);
    return result;
}

static int disk_sync(struct io_file *base)
{
    struct disk_file *file = disk__file(base);
    bool interrupted;
    enum disk__fate fate = disk__enter(file->disk, DISK_SYNC, file->generation, &interrupted);
    if (fate != FATE_CUT)
        disk__inode_flush(file->disk, file->inode, fate == FATE_FAIL);
    int result = fate == FATE_WELL ? 0 : disk__failed(fate, file->disk, "fdatasync", file->name);
    disk__leave(file->disk);
    return result;
}

/* Well, it does nothing: the power may be cut behind it as behind a write. */
static int disk_write_back(struct io_file *base, uint64_t offset, size_t size)
{
    struct disk_file *file = disk__file(base);
    bool interrupted;
    (void)offset;
    (void)size;
    enum disk__fate fate = disk__enter(file->disk, DISK_WRITE_BACK, file->generation, &interrupted);
    if (fate == FATE_FAIL)
        disk__inode_flush(file->disk, file->inode, true);
    int result =
        fate == FATE_WELL ? 0 : disk__failed(fate, file->disk, "sync_file_range", file->name);
    disk__leave(file->disk);
    return result;
}

static int64_t disk_size(struct io_file *base)
{
    struct disk_file *file = disk__file(base);
    bool interrupted;
    enum disk__fate fate = disk__enter(file->disk, DISK_SIZE, file->generation, &interrupted);
    int64_t result = fate == FATE_WELL ? (int64_t)file->inode->seen.size
                                       : disk__failed(fate, file->disk, "fstat", file->name);
    disk__leave(file->disk);
    return result;
}

/* Not counted among the calls: it changes nothing, and can't be cut. */
static int disk_named(struct io_file *base)
{
    struct disk_file *file = disk__file(base);
    bool found = false;
    pthread_mutex_lock(&file->disk->mutex);
    list_for_each (link, &file->disk->seen)
        found |= list_entry(link, struct name, link)->inode == file->inode;
    bool here = file->generation == file->disk->generation;
    pthread_mutex_unlock(&file->disk->mutex);
    return found || !here ? 0 : diag_set(ERROR_NOT_FOUND, "%s has been removed", file->name);
}

static int disk_truncate(struct io_file *base, uint64_t size)
{
    struct disk_file *file = disk__file(base);
    int result = disk__file_check_writable(file, "ftruncate");
    if (result != 0)
        return result;
    bool interrupted;
    enum disk__fate fate = disk__enter(file->disk, DISK_TRUNCATE, file->generation, &interrupted);
    bool fits = disk__room(file->disk, file->inode, (size_t)size, 0) == size;
    if ((fate == FATE_WELL || interrupted) && fits)
        disk__inode_truncate(file->inode, size);
    if (fate != FATE_WELL)
        result = disk__failed(fate, file->disk, "ftruncate", file->name);
    else if (!fits)
        result = disk__full("ftruncate", file->name);
    disk__leave(file->disk);
    return result;
}

static int disk_allocate_zeros(struct io_file *base, uint64_t size,
                               const struct io_between *between)
{
    (void)between;
    struct disk_file *file = disk__file(base);
    int result = disk__file_check_writable(file, "allocate");
    if (result != 0)
        return result;
    bool interrupted;
    enum disk__fate fate =
        disk__enter(file->disk, DISK_ALLOCATE_ZEROS, file->generation, &interrupted);
    bool fits = disk__room(file->disk, file->inode, (size_t)size, 0) == size;
    if ((fate == FATE_WELL || interrupted) && fits) {
        disk__inode_truncate(file->inode, 0);
        disk__change_apply(disk__change_new(file->inode, NULL, size, 0), &file->inode->seen);
        disk__inode_flush(file->disk, file->inode, false);
    }
    if (fate != FATE_WELL)
        result = disk__failed(fate, file->disk, "allocate", file->name);
    else if (!fits)
        result = disk__full("allocate", file->name);
    disk__leave(file->disk);
    return result;
}

/* ---------------------------------------------------------------- the directory */

static int disk_rename(struct io *base, const char *from, const char *to)
{
    struct disk_io *io = disk__io(base);
    struct disk *disk = io->disk;
    bool interrupted;
    enum disk__fate fate = disk__enter(disk, DISK_RENAME, io->generation, &interrupted);
    int result = 0;
    struct name *found = disk__name_find(&disk->seen, from);
    if (fate == FATE_WELL && found == NULL)
        result = diag_set_errno(ERROR_NOT_FOUND, ENOENT, "rename %s", from);
    else if ((fate == FATE_WELL || interrupted) && found != NULL && strcmp(from, to) != 0)
        disk__name_change(disk, from, to, found->inode);
    if (fate != FATE_WELL)
        result = disk__failed(fate, disk, "rename", from);
    disk__leave(disk);
    return result;
}

static int disk_unlink(struct io *base, const char *path)
{
    struct disk_io *io = disk__io(base);
    struct disk *disk = io->disk;
    bool interrupted;
    enum disk__fate fate = disk__enter(disk, DISK_UNLINK, io->generation, &interrupted);
    int result = 0;
    struct name *found = disk__name_find(&disk->seen, path);
    if (fate == FATE_WELL && found == NULL)
        result = diag_set_errno(ERROR_NOT_FOUND, ENOENT, "unlink %s", path);
    else if ((fate == FATE_WELL || interrupted) && found != NULL)
        disk__name_change(disk, path, "", found->inode);
    if (fate != FATE_WELL)
        result = disk__failed(fate, disk, "unlink", path);
    disk__leave(disk);
    return result;
}

static int disk_sync_dir(struct io *base)
{
    struct disk_io *io = disk__io(base);
    bool interrupted;
    enum disk__fate fate = disk__enter(io->disk, DISK_SYNC_DIR, io->generation, &interrupted);
    if (fate != FATE_CUT)
        disk__names_flush(io->disk, fate == FATE_FAIL);
    int result = fate == FATE_WELL ? 0 : disk__failed(fate, io->disk, "fsync", ".");
    disk__leave(io->disk);
    return result;
}

struct listed {
    char name[NAME_BYTES_MAX];
    uint64_t size;
};

static size_t list_copy(struct disk *disk, struct listed **out)
{
    size_t count = 0;
    list_for_each (link, &disk->seen)
        count++;
    *out = disk__allocate((count + 1) * sizeof(**out));
    count = 0;
    list_for_each (link, &disk->seen) {
        struct name *name = list_entry(link, struct name, link);
        memcpy((*out)[count].name, name->name, NAME_BYTES_MAX);
        (*out)[count++].size = name->inode->seen.size;
    }
    return count;
}

/* The callback may use the disk, so it runs on a copy. */
static int disk_list(struct io *base, int (*each)(const char *name, uint64_t size, void *arg),
                     void *arg)
{
    struct disk_io *io = disk__io(base);
    struct listed *listed = NULL;
    bool interrupted;
    enum disk__fate fate = disk__enter(io->disk, DISK_LIST, io->generation, &interrupted);
    size_t count = fate == FATE_WELL ? list_copy(io->disk, &listed) : 0;
    int result = fate == FATE_WELL ? 0 : disk__failed(fate, io->disk, "readdir", ".");
    disk__leave(io->disk);
    for (size_t i = 0; i < count && result == 0; i++)
        result = each(listed[i].name, listed[i].size, arg);
    free(listed);
    return result;
}

static int lock_take(struct disk_io *io, const char *path)
{
    list_for_each (link, &io->disk->locks)
        if (strcmp(list_entry(link, struct lock, link)->name, path) == 0)
            return diag_set(ERROR_LOCKED,
                            "%s is locked: the directory is in use by another process", path);
    struct inode *inode;
    int result = open_inode(io->disk, path, IO_WRITE | IO_CREATE, &inode);
    if (result != 0)
        return result;
    struct lock *lock = disk__allocate(sizeof(*lock));
    snprintf(lock->name, sizeof(lock->name), "%s", path);
    lock->owner = io;
    list_add_tail(&io->disk->locks, &lock->link);
    return 0;
}

static uint64_t disk_room(struct io *base)
{
    struct disk *disk = disk__io(base)->disk;
    pthread_mutex_lock(&disk->mutex);
    uint64_t used = disk__used(disk), capacity = disk->capacity;
    pthread_mutex_unlock(&disk->mutex);
    return capacity == 0 ? UINT64_MAX : used < capacity ? capacity - used : 0;
}

static int disk_lock(struct io *base, const char *path)
{
    struct disk_io *io = disk__io(base);
    bool interrupted;
    enum disk__fate fate = disk__enter(io->disk, DISK_LOCK, io->generation, &interrupted);
    int result =
        fate == FATE_WELL ? lock_take(io, path) : disk__failed(fate, io->disk, "flock", path);
    disk__leave(io->disk);
    return result;
}

/* ---------------------------------------------------------------- beginning and end */

static void disk_io_delete(struct io *base)
{
    struct disk_io *io = disk__io(base);
    pthread_mutex_lock(&io->disk->mutex);
    disk__locks_release(io->disk, io);
    io->disk->io_count--;
    pthread_mutex_unlock(&io->disk->mutex);
    free(io);
}

const struct io_vtab disk__vtab = {
    .open = disk_open,
    .close = disk_close,
    .read = disk_read,
    .write = disk_write,
    .sync = disk_sync,
    .size = disk_size,
    .named = disk_named,
    .truncate = disk_truncate,
    .allocate_zeros = disk_allocate_zeros,
    .write_back = disk_write_back,
    .rename = disk_rename,
    .unlink = disk_unlink,
    .sync_dir = disk_sync_dir,
    .list = disk_list,
    .room = disk_room,
    .lock = disk_lock,
    .queue_new = disk__queue_new,
    .queue_delete = disk__queue_delete,
    .queue_write = disk__queue_write,
    .queue_wait = disk__queue_wait,
    .delete = disk_io_delete,
};

struct io *disk_io(struct disk *disk)
{
    struct disk_io *io = disk__allocate(sizeof(*io));
    io->base.vtab = &disk__vtab;
    atomic_init(&io->base.direct_variant, "unknown");
    atomic_init(&io->base.queue_variant, "unknown");
    io->disk = disk;
    pthread_mutex_lock(&disk->mutex);
    io->generation = disk->generation;
    disk->io_count++;
    pthread_mutex_unlock(&disk->mutex);
    return &io->base;
}
