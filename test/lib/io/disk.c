/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The test disk; disk.h says what it promises.
 *
 * A file (inode) has two images, what reading gives and what is durable, and between them a list of
 * changes in the order in which they took effect. A flush marks the changes of the list durable;
 * durable changes at the head of the list move into the durable image. At a cut the list is applied
 * to the durable image: durable changes in full, the others in random pieces. A write in flight in
 * a queue is in the list too, and goes to its end when it completes.
 *
 *      durable image | change D  change -  change D  change (in flight) | = what reading gives
 *                    ^ moved when D                                       (without those in flight)
 *
 * Names work likewise: two tables from name to inode, and a list of operations between them.
 *
 * Each counted call asks disk_enter for its fate: it is let through, it fails, or the power fails
 * in it. In the last case it does its work as far as what is not durable is concerned, and then
 * reports an error. One mutex guards everything.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/list.h"
#include "base/random.h"
#include "io/disk.h"
#include "io/disk_image.h"

enum { NAME_BYTES_MAX = 256 };

struct inode;

/* One change of a file: a write, of zeros if `data` is NULL, or (`truncate`) a new size. */
struct change {
    struct list link;
    bool truncate;
    bool durable;
    bool in_flight; /* handed to a queue and not complete */
    bool forsaken;  /* a flush that should have covered it failed */
    unsigned char *data;
    size_t size;
    uint64_t offset; /* or the new size */
};

struct inode {
    struct list link; /* of all inodes, also nameless ones; freed with the disk */
    struct disk_image seen, durable;
    struct list changes;
};

struct name {
    struct list link;
    char name[NAME_BYTES_MAX];
    struct inode *inode;
};

/* An operation on names that is not durable: `from` disappears if it stands for the inode, `to`
 * appears. */
struct name_change {
    struct list link;
    bool durable;                                  /* but behind one that is not */
    bool forsaken;                                 /* a flush that should have covered it failed */
    char from[NAME_BYTES_MAX], to[NAME_BYTES_MAX]; /* "" for none */
    struct inode *inode;
};

struct lock {
    struct list link;
    char name[NAME_BYTES_MAX];
    struct disk_io *owner;
};

struct disk {
    pthread_mutex_t mutex;
    struct random random;
    struct list inodes;
    struct list seen, durable; /* of struct name */
    struct list name_changes;
    struct list locks;
    unsigned io_count;
    unsigned generation; /* the number of cuts */
    bool offer_direct, ignore_flush;
    bool cut; /* the power has failed */
    uint64_t cut_in, fail_in;
    int fail_call; /* of enum disk_call, or -1 for any */
    int fail_error;
    uint64_t counts[DISK_CALL_MAX];
};

struct disk_io {
    struct io base;
    struct disk *disk;
    unsigned generation;
};

struct disk_file {
    struct io_file base;
    struct disk *disk;
    unsigned generation;
    bool writable;
    struct inode *inode;
    char name[NAME_BYTES_MAX];
};

struct pending {
    struct change *change;
    struct disk_file *file;
    const void *data; /* the caller's, compared at the end */
    bool durable;
    uint64_t cookie;
};

struct disk_queue {
    struct io_queue base;
    struct disk *disk;
    unsigned generation;
    unsigned depth, in_flight;
    struct pending pending[];
};

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    ASSERT(memory != NULL);
    return memory;
}

static bool coin(struct random *random)
{
    return random_below(random, 2) == 0;
}

/* ---------------------------------------------------------------- changes of files */

static void change_delete(struct change *change)
{
    list_remove(&change->link);
    free(change->data);
    free(change);
}

static struct change *change_new(struct inode *inode, const void *data, size_t size,
                                 uint64_t offset)
{
    struct change *change = allocate(sizeof(*change));
    change->size = size;
    change->offset = offset;
    if (data != NULL) {
        change->data = allocate(size + 1);
        memcpy(change->data, data, size);
    }
    list_add_tail(&inode->changes, &change->link);
    return change;
}

static void change_apply(const struct change *change, struct disk_image *image)
{
    if (change->truncate)
        disk_image_truncate(image, change->offset);
    else
        disk_image_write(image, change->data, change->size, change->offset);
}

/* What a cut leaves of a change that was not durable. */
static void change_apply_torn(const struct change *change, struct disk_image *image,
                              struct random *random)
{
    if (change->truncate) {
        if (coin(random))
            change_apply(change, image);
        return;
    }
    for (size_t at = 0; at < change->size;) {
        size_t room = DISK_PAGE_BYTES - (change->offset + at) % DISK_PAGE_BYTES;
        size_t n = room < change->size - at ? room : change->size - at;
        if (coin(random))
            disk_image_write(image, change->data ? change->data + at : NULL, n,
                             change->offset + at);
        at += n;
    }
}

/* Moves durable changes at the head of the list into the durable image. */
static void inode_settle(struct inode *inode)
{
    while (!list_empty(&inode->changes)) {
        struct change *change = list_entry(inode->changes.next, struct change, link);
        if (!change->durable)
            return;
        change_apply(change, &inode->durable);
        change_delete(change);
    }
}

/* A flush of the file. One that fails (`error`) forsakes what it should have covered. */
static void inode_flush(struct disk *disk, struct inode *inode, bool failed)
{
    if (disk->ignore_flush || disk->cut)
        return;
    list_for_each (link, &inode->changes) {
        struct change *change = list_entry(link, struct change, link);
        if (change->in_flight || change->durable)
            continue;
        if (failed)
            change->forsaken = true;
        else
            change->durable = !change->forsaken;
    }
    inode_settle(inode);
}

static struct inode *inode_new(struct disk *disk)
{
    struct inode *inode = allocate(sizeof(*inode));
    list_create(&inode->changes);
    list_add_tail(&disk->inodes, &inode->link);
    return inode;
}

/* Frees the contents; the inode itself stays for those who point to it. */
static void inode_clear(struct inode *inode)
{
    while (!list_empty(&inode->changes))
        change_delete(list_entry(inode->changes.next, struct change, link));
    disk_image_clear(&inode->seen);
    disk_image_clear(&inode->durable);
}

/* What is left of an inode after a cut, as a new inode. */
static struct inode *inode_survivor(struct disk *disk, struct inode *inode, struct random *random)
{
    struct inode *survivor = inode_new(disk);
    disk_image_copy(&survivor->durable, &inode->durable);
    list_for_each (link, &inode->changes) {
        struct change *change = list_entry(link, struct change, link);
        if (change->durable)
            change_apply(change, &survivor->durable);
        else
            change_apply_torn(change, &survivor->durable, random);
    }
    disk_image_copy(&survivor->seen, &survivor->durable);
    return survivor;
}

/* ---------------------------------------------------------------- names */

static struct name *name_find(struct list *names, const char *name)
{
    list_for_each (link, names) {
        struct name *found = list_entry(link, struct name, link);
        if (strcmp(found->name, name) == 0)
            return found;
    }
    return NULL;
}

static void name_set(struct list *names, const char *name, struct inode *inode)
{
    struct name *found = name_find(names, name);
    if (found == NULL) {
        found = allocate(sizeof(*found));
        snprintf(found->name, sizeof(found->name), "%s", name);
        list_add_tail(names, &found->link);
    }
    found->inode = inode;
}

static void name_remove(struct list *names, const char *name, struct inode *inode)
{
    struct name *found = name_find(names, name);
    if (found == NULL || found->inode != inode)
        return;
    list_remove(&found->link);
    free(found);
}

static void names_clear(struct list *names)
{
    list_for_each_safe (link, names)
        free(list_entry(link, struct name, link));
    list_create(names);
}

static void name_change_apply(const struct name_change *change, struct list *names)
{
    if (change->from[0] != 0)
        name_remove(names, change->from, change->inode);
    if (change->to[0] != 0)
        name_set(names, change->to, change->inode);
}

/* Changes what is seen and remembers the change until sync_dir. */
static void name_change(struct disk *disk, const char *from, const char *to, struct inode *inode)
{
    struct name_change *change = allocate(sizeof(*change));
    snprintf(change->from, sizeof(change->from), "%s", from);
    snprintf(change->to, sizeof(change->to), "%s", to);
    change->inode = inode;
    list_add_tail(&disk->name_changes, &change->link);
    name_change_apply(change, &disk->seen);
}

static void name_change_delete(struct name_change *change)
{
    list_remove(&change->link);
    free(change);
}

/* Applies durable changes at the head of the list to the durable table. */
static void names_settle(struct disk *disk)
{
    while (!list_empty(&disk->name_changes)) {
        struct name_change *change = list_entry(disk->name_changes.next, struct name_change, link);
        if (!change->durable)
            return;
        name_change_apply(change, &disk->durable);
        name_change_delete(change);
    }
}

static void names_flush(struct disk *disk, bool failed)
{
    if (disk->ignore_flush || disk->cut)
        return;
    list_for_each (link, &disk->name_changes) {
        struct name_change *change = list_entry(link, struct name_change, link);
        if (failed && !change->durable)
            change->forsaken = true;
        else if (!change->forsaken)
            change->durable = true;
    }
    names_settle(disk);
}

/* ---------------------------------------------------------------- the fate of a call */

enum fate { FATE_WELL, FATE_FAIL, FATE_CUT };

static int code_of(int error)
{
    return error == ENOMEM ? ERROR_MEMORY : error == ENOENT ? ERROR_NOT_FOUND : ERROR_IO;
}

static int failed(enum fate fate, struct disk *disk, const char *call, const char *path)
{
    if (fate == FATE_CUT)
        return diag_set(ERROR_IO, "%s %s: the power is cut", call, path);
    return diag_set_errno(code_of(disk->fail_error), disk->fail_error, "%s %s", call, path);
}

/* Takes the mutex, counts, and decides. `dead`: the call is one of an io from before a cut. After
 * FATE_CUT *interrupted tells whether the power failed in this very call, so that it may still
 * leave traces. */
static enum fate disk_enter(struct disk *disk, enum disk_call call, unsigned generation,
                            bool *interrupted)
{
    pthread_mutex_lock(&disk->mutex);
    *interrupted = false;
    disk->counts[call]++;
    if (disk->cut || generation != disk->generation)
        return FATE_CUT;
    if (disk->cut_in > 0 && --disk->cut_in == 0) {
        disk->cut = true;
        *interrupted = true;
        return FATE_CUT;
    }
    if (disk->fail_in > 0 && (disk->fail_call < 0 || disk->fail_call == (int)call) &&
        --disk->fail_in == 0)
        return FATE_FAIL;
    return FATE_WELL;
}

static void disk_leave(struct disk *disk)
{
    pthread_mutex_unlock(&disk->mutex);
}

/* ---------------------------------------------------------------- struct io: files */

static struct disk_io *disk_io_of(struct io *io)
{
    return (struct disk_io *)(void *)io;
}

static struct disk_file *disk_file_of(struct io_file *file)
{
    return (struct disk_file *)(void *)file;
}

static struct disk_queue *disk_queue_of(struct io_queue *queue)
{
    return (struct disk_queue *)(void *)queue;
}

static const struct io_vtab disk_vtab;

static void inode_truncate(struct inode *inode, uint64_t size)
{
    struct change *change = change_new(inode, NULL, 0, size);
    change->truncate = true;
    change_apply(change, &inode->seen);
}

/* The inode for an open, made or emptied as the flags say; 0 or a code. */
static int open_inode(struct disk *disk, const char *path, int flags, struct inode **out)
{
    struct name *found = name_find(&disk->seen, path);
    if (found == NULL && !(flags & IO_CREATE))
        return diag_set_errno(ERROR_NOT_FOUND, ENOENT, "open %s", path);
    if (found != NULL && (flags & IO_CREATE) && (flags & IO_EXCLUSIVE))
        return diag_set_errno(ERROR_EXISTS, EEXIST, "open %s", path);
    *out = found ? found->inode : inode_new(disk);
    if (found == NULL)
        name_change(disk, "", path, *out);
    else if (flags & IO_TRUNCATE)
        inode_truncate(*out, 0);
    return 0;
}

static int disk_open(struct io *base, const char *path, int flags, struct io_file **out)
{
    struct disk_io *io = disk_io_of(base);
    struct disk *disk = io->disk;
    struct inode *inode = NULL;
    bool interrupted;
    ASSERT(strlen(path) < NAME_BYTES_MAX);
    enum fate fate = disk_enter(disk, DISK_OPEN, io->generation, &interrupted);
    int result = 0;
    if (fate == FATE_WELL || interrupted)
        result = open_inode(disk, path, flags, &inode);
    if (fate != FATE_WELL)
        result = failed(fate, disk, "open", path);
    if (result == 0) {
        struct disk_file *file = allocate(sizeof(*file));
        file->base.vtab = &disk_vtab;
        file->base.aligned = (flags & IO_DIRECT) != 0;
        file->base.direct = file->base.aligned && disk->offer_direct;
        file->disk = disk;
        file->generation = io->generation;
        file->writable = (flags & IO_WRITE) != 0;
        file->inode = inode;
        snprintf(file->name, sizeof(file->name), "%s", path);
        if (file->base.aligned)
            atomic_store(&base->direct_variant, file->base.direct ? "direct" : "buffered");
        *out = &file->base;
    }
    disk_leave(disk);
    return result;
}

static void disk_close(struct io_file *base)
{
    free(disk_file_of(base));
}

static int64_t disk_read(struct io_file *base, void *data, size_t size, uint64_t offset)
{
    struct disk_file *file = disk_file_of(base);
    bool interrupted;
    enum fate fate = disk_enter(file->disk, DISK_READ, file->generation, &interrupted);
    int64_t result = fate == FATE_WELL
                         ? (int64_t)disk_image_read(&file->inode->seen, data, size, offset)
                         : failed(fate, file->disk, "read", file->name);
    disk_leave(file->disk);
    return result;
}

static int check_writable(const struct disk_file *file, const char *call)
{
    return file->writable ? 0 : diag_set_errno(ERROR_IO, EBADF, "%s %s", call, file->name);
}

static int disk_write(struct io_file *base, const void *data, size_t size, uint64_t offset)
{
    struct disk_file *file = disk_file_of(base);
    int result = check_writable(file, "write");
    if (result != 0)
        return result;
    bool interrupted;
    enum fate fate = disk_enter(file->disk, DISK_WRITE, file->generation, &interrupted);
    if (fate == FATE_WELL || interrupted) {
        struct change *change = change_new(file->inode, data, size, offset);
        change_apply(change, &file->inode->seen);
        change->durable = base->direct && !interrupted && !file->disk->ignore_flush;
        inode_settle(file->inode);
    }
    if (fate != FATE_WELL)
        result = failed(fate, file->disk, "write", file->name);
    disk_leave(file->disk);
    return result;
}

static int disk_sync(struct io_file *base)
{
    struct disk_file *file = disk_file_of(base);
    bool interrupted;
    enum fate fate = disk_enter(file->disk, DISK_SYNC, file->generation, &interrupted);
    if (fate != FATE_CUT)
        inode_flush(file->disk, file->inode, fate == FATE_FAIL);
    int result = fate == FATE_WELL ? 0 : failed(fate, file->disk, "fdatasync", file->name);
    disk_leave(file->disk);
    return result;
}

static int64_t disk_size(struct io_file *base)
{
    struct disk_file *file = disk_file_of(base);
    bool interrupted;
    enum fate fate = disk_enter(file->disk, DISK_SIZE, file->generation, &interrupted);
    int64_t result = fate == FATE_WELL ? (int64_t)file->inode->seen.size
                                       : failed(fate, file->disk, "fstat", file->name);
    disk_leave(file->disk);
    return result;
}

static int disk_truncate(struct io_file *base, uint64_t size)
{
    struct disk_file *file = disk_file_of(base);
    int result = check_writable(file, "ftruncate");
    if (result != 0)
        return result;
    bool interrupted;
    enum fate fate = disk_enter(file->disk, DISK_TRUNCATE, file->generation, &interrupted);
    if (fate == FATE_WELL || interrupted)
        inode_truncate(file->inode, size);
    if (fate != FATE_WELL)
        result = failed(fate, file->disk, "ftruncate", file->name);
    disk_leave(file->disk);
    return result;
}

static int disk_allocate_zeros(struct io_file *base, uint64_t size)
{
    struct disk_file *file = disk_file_of(base);
    int result = check_writable(file, "allocate");
    if (result != 0)
        return result;
    bool interrupted;
    enum fate fate = disk_enter(file->disk, DISK_ALLOCATE_ZEROS, file->generation, &interrupted);
    if (fate == FATE_WELL || interrupted) {
        inode_truncate(file->inode, 0);
        change_apply(change_new(file->inode, NULL, size, 0), &file->inode->seen);
        inode_flush(file->disk, file->inode, false);
    }
    if (fate != FATE_WELL)
        result = failed(fate, file->disk, "allocate", file->name);
    disk_leave(file->disk);
    return result;
}

/* ---------------------------------------------------------------- struct io: the directory */

static int disk_rename(struct io *base, const char *from, const char *to)
{
    struct disk_io *io = disk_io_of(base);
    struct disk *disk = io->disk;
    bool interrupted;
    enum fate fate = disk_enter(disk, DISK_RENAME, io->generation, &interrupted);
    int result = 0;
    struct name *found = name_find(&disk->seen, from);
    if (fate == FATE_WELL && found == NULL)
        result = diag_set_errno(ERROR_NOT_FOUND, ENOENT, "rename %s", from);
    else if ((fate == FATE_WELL || interrupted) && found != NULL && strcmp(from, to) != 0)
        name_change(disk, from, to, found->inode);
    if (fate != FATE_WELL)
        result = failed(fate, disk, "rename", from);
    disk_leave(disk);
    return result;
}

static int disk_unlink(struct io *base, const char *path)
{
    struct disk_io *io = disk_io_of(base);
    struct disk *disk = io->disk;
    bool interrupted;
    enum fate fate = disk_enter(disk, DISK_UNLINK, io->generation, &interrupted);
    int result = 0;
    struct name *found = name_find(&disk->seen, path);
    if (fate == FATE_WELL && found == NULL)
        result = diag_set_errno(ERROR_NOT_FOUND, ENOENT, "unlink %s", path);
    else if ((fate == FATE_WELL || interrupted) && found != NULL)
        name_change(disk, path, "", found->inode);
    if (fate != FATE_WELL)
        result = failed(fate, disk, "unlink", path);
    disk_leave(disk);
    return result;
}

static int disk_sync_dir(struct io *base)
{
    struct disk_io *io = disk_io_of(base);
    bool interrupted;
    enum fate fate = disk_enter(io->disk, DISK_SYNC_DIR, io->generation, &interrupted);
    if (fate != FATE_CUT)
        names_flush(io->disk, fate == FATE_FAIL);
    int result = fate == FATE_WELL ? 0 : failed(fate, io->disk, "fsync", ".");
    disk_leave(io->disk);
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
    *out = allocate((count + 1) * sizeof(**out));
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
    struct disk_io *io = disk_io_of(base);
    struct listed *listed = NULL;
    bool interrupted;
    enum fate fate = disk_enter(io->disk, DISK_LIST, io->generation, &interrupted);
    size_t count = fate == FATE_WELL ? list_copy(io->disk, &listed) : 0;
    int result = fate == FATE_WELL ? 0 : failed(fate, io->disk, "readdir", ".");
    disk_leave(io->disk);
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
    struct lock *lock = allocate(sizeof(*lock));
    snprintf(lock->name, sizeof(lock->name), "%s", path);
    lock->owner = io;
    list_add_tail(&io->disk->locks, &lock->link);
    return 0;
}

static int disk_lock(struct io *base, const char *path)
{
    struct disk_io *io = disk_io_of(base);
    bool interrupted;
    enum fate fate = disk_enter(io->disk, DISK_LOCK, io->generation, &interrupted);
    int result = fate == FATE_WELL ? lock_take(io, path) : failed(fate, io->disk, "flock", path);
    disk_leave(io->disk);
    return result;
}

/* Gives back the locks of one io, or all if it is NULL. */
static void locks_release(struct disk *disk, const struct disk_io *owner)
{
    list_for_each_safe (link, &disk->locks) {
        struct lock *lock = list_entry(link, struct lock, link);
        if (owner != NULL && lock->owner != owner)
            continue;
        list_remove(&lock->link);
        free(lock);
    }
}

/* ---------------------------------------------------------------- struct io: queues */

static int disk_queue_new(struct io *base, unsigned depth, struct io_queue **out)
{
    struct disk_io *io = disk_io_of(base);
    bool interrupted;
    enum fate fate = disk_enter(io->disk, DISK_QUEUE_NEW, io->generation, &interrupted);
    int result = fate == FATE_WELL ? 0 : failed(fate, io->disk, "queue", ".");
    if (result == 0) {
        struct disk_queue *queue = allocate(sizeof(*queue) + depth * sizeof(queue->pending[0]));
        queue->base.vtab = &disk_vtab;
        queue->disk = io->disk;
        queue->generation = io->generation;
        queue->depth = depth;
        atomic_store(&base->queue_variant, "simulated");
        *out = &queue->base;
    }
    disk_leave(io->disk);
    return result;
}

static int disk_queue_write(struct io_queue *base, struct io_file *file_base, const void *data,
                            size_t size, uint64_t offset, bool durable, uint64_t cookie)
{
    struct disk_queue *queue = disk_queue_of(base);
    struct disk_file *file = disk_file_of(file_base);
    struct disk *disk = queue->disk;
    if (queue->in_flight == queue->depth)
        return ERROR_BUSY;
    bool interrupted;
    enum fate fate = disk_enter(disk, DISK_QUEUE_WRITE, queue->generation, &interrupted);
    int result = fate == FATE_WELL ? 0 : failed(fate, disk, "write", file->name);
    if ((fate == FATE_WELL || interrupted) && file->writable) {
        struct change *change = change_new(file->inode, data, size, offset);
        change->in_flight = true;
        if (fate == FATE_WELL)
            queue->pending[queue->in_flight++] =
                (struct pending){change, file, data, durable, cookie};
    } else if (fate == FATE_WELL) {
        result = check_writable(file, "write");
    }
    disk_leave(disk);
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
            inode_flush(disk, inode, true);
        return;
    }
    change_apply(change, &inode->seen);
    if (pending->file->base.direct) {
        change->durable = !disk->ignore_flush;
        inode_settle(inode);
    } else if (flushes) {
        inode_flush(disk, inode, false);
    }
}

static void complete_one(struct disk_queue *queue, int error, struct io_completion *out)
{
    unsigned i = (unsigned)random_below(&queue->disk->random, queue->in_flight);
    struct pending *pending = &queue->pending[i];
    pending_complete(queue->disk, pending, error);
    out->cookie = pending->cookie;
    out->result = error ? ERROR_IO : 0;
    out->system_error = error;
    queue->pending[i] = queue->pending[--queue->in_flight];
}

/* A random number of the writes in flight completes, in random order; at least one if the caller
 * blocks. */
static int disk_queue_wait(struct io_queue *base, bool block, struct io_completion *out,
                           unsigned max)
{
    struct disk_queue *queue = disk_queue_of(base);
    struct disk *disk = queue->disk;
    bool interrupted;
    enum fate fate = disk_enter(disk, DISK_QUEUE_WAIT, queue->generation, &interrupted);
    int result = 0;
    if (fate == FATE_CUT || (fate == FATE_FAIL && queue->in_flight == 0)) {
        result = failed(fate, disk, "queue", ".");
    } else if (fate == FATE_FAIL) {
        complete_one(queue, disk->fail_error, &out[result++]);
    } else if (queue->in_flight > 0) {
        unsigned most = queue->in_flight < max ? queue->in_flight : max;
        unsigned count = (unsigned)random_below(&disk->random, most + 1);
        if (count == 0 && block)
            count = 1;
        while ((unsigned)result < count)
            complete_one(queue, 0, &out[result++]);
    }
    disk_leave(disk);
    return result;
}

static void disk_queue_delete(struct io_queue *base)
{
    struct disk_queue *queue = disk_queue_of(base);
    struct disk *disk = queue->disk;
    struct io_completion ignored;
    pthread_mutex_lock(&disk->mutex);
    if (!disk->cut && queue->generation == disk->generation)
        while (queue->in_flight > 0)
            complete_one(queue, 0, &ignored);
    pthread_mutex_unlock(&disk->mutex);
    free(queue);
}

/* ---------------------------------------------------------------- the disk */

static void disk_io_delete(struct io *base)
{
    struct disk_io *io = disk_io_of(base);
    pthread_mutex_lock(&io->disk->mutex);
    locks_release(io->disk, io);
    io->disk->io_count--;
    pthread_mutex_unlock(&io->disk->mutex);
    free(io);
}

static const struct io_vtab disk_vtab = {
    .open = disk_open,
    .close = disk_close,
    .read = disk_read,
    .write = disk_write,
    .sync = disk_sync,
    .size = disk_size,
    .truncate = disk_truncate,
    .allocate_zeros = disk_allocate_zeros,
    .rename = disk_rename,
    .unlink = disk_unlink,
    .sync_dir = disk_sync_dir,
    .list = disk_list,
    .lock = disk_lock,
    .queue_new = disk_queue_new,
    .queue_delete = disk_queue_delete,
    .queue_write = disk_queue_write,
    .queue_wait = disk_queue_wait,
    .delete = disk_io_delete,
};

struct disk *disk_new(uint64_t seed)
{
    struct disk *disk = allocate(sizeof(*disk));
    pthread_mutex_init(&disk->mutex, NULL);
    random_create(&disk->random, seed);
    list_create(&disk->inodes);
    list_create(&disk->seen);
    list_create(&disk->durable);
    list_create(&disk->name_changes);
    list_create(&disk->locks);
    return disk;
}

static void name_changes_clear(struct disk *disk)
{
    while (!list_empty(&disk->name_changes))
        name_change_delete(list_entry(disk->name_changes.next, struct name_change, link));
}

void disk_delete(struct disk *disk)
{
    ASSERT(disk->io_count == 0);
    names_clear(&disk->seen);
    names_clear(&disk->durable);
    name_changes_clear(disk);
    list_for_each_safe (link, &disk->inodes) {
        struct inode *inode = list_entry(link, struct inode, link);
        inode_clear(inode);
        free(inode);
    }
    pthread_mutex_destroy(&disk->mutex);
    free(disk);
}

struct io *disk_io(struct disk *disk)
{
    struct disk_io *io = allocate(sizeof(*io));
    io->base.vtab = &disk_vtab;
    atomic_init(&io->base.direct_variant, "unknown");
    atomic_init(&io->base.queue_variant, "unknown");
    io->disk = disk;
    pthread_mutex_lock(&disk->mutex);
    io->generation = disk->generation;
    disk->io_count++;
    pthread_mutex_unlock(&disk->mutex);
    return &io->base;
}

/* Replaces each inode that has a durable name by what survives of it, and empties the rest. */
static void cut_inodes(struct disk *disk, struct random *random)
{
    struct list *last = disk->inodes.prev;
    struct list *link = &disk->inodes;
    while (link != last) {
        link = link->next;
        struct inode *inode = list_entry(link, struct inode, link);
        struct inode *survivor = NULL;
        list_for_each (name_link, &disk->durable) {
            struct name *name = list_entry(name_link, struct name, link);
            if (name->inode != inode)
                continue;
            if (survivor == NULL)
                survivor = inode_survivor(disk, inode, random);
            name->inode = survivor;
        }
        inode_clear(inode);
    }
}

void disk_cut(struct disk *disk, uint64_t seed)
{
    struct random random;
    random_create(&random, seed);
    pthread_mutex_lock(&disk->mutex);
    list_for_each (link, &disk->name_changes)
        if (coin(&random))
            name_change_apply(list_entry(link, struct name_change, link), &disk->durable);
    name_changes_clear(disk);
    cut_inodes(disk, &random);
    names_clear(&disk->seen);
    list_for_each (link, &disk->durable) {
        struct name *name = list_entry(link, struct name, link);
        name_set(&disk->seen, name->name, name->inode);
    }
    locks_release(disk, NULL);
    disk->generation++;
    disk->cut = false;
    disk->cut_in = disk->fail_in = 0;
    pthread_mutex_unlock(&disk->mutex);
}

/* ---------------------------------------------------------------- switches */

void disk_offer_direct(struct disk *disk, bool offer)
{
    pthread_mutex_lock(&disk->mutex);
    disk->offer_direct = offer;
    pthread_mutex_unlock(&disk->mutex);
}

void disk_ignore_flush(struct disk *disk, bool ignore)
{
    pthread_mutex_lock(&disk->mutex);
    disk->ignore_flush = ignore;
    pthread_mutex_unlock(&disk->mutex);
}

void disk_cut_after(struct disk *disk, uint64_t n)
{
    pthread_mutex_lock(&disk->mutex);
    disk->cut_in = n;
    pthread_mutex_unlock(&disk->mutex);
}

bool disk_is_cut(struct disk *disk)
{
    pthread_mutex_lock(&disk->mutex);
    bool cut = disk->cut;
    pthread_mutex_unlock(&disk->mutex);
    return cut;
}

static void fail_arm(struct disk *disk, int call, uint64_t n, int error)
{
    pthread_mutex_lock(&disk->mutex);
    disk->fail_in = n;
    disk->fail_call = call;
    disk->fail_error = error;
    pthread_mutex_unlock(&disk->mutex);
}

void disk_fail_nth(struct disk *disk, uint64_t n, int error)
{
    fail_arm(disk, -1, n, error);
}

void disk_fail_nth_of(struct disk *disk, enum disk_call call, uint64_t n, int error)
{
    fail_arm(disk, (int)call, n, error);
}

uint64_t disk_call_count(struct disk *disk, enum disk_call call)
{
    pthread_mutex_lock(&disk->mutex);
    uint64_t count = disk->counts[call];
    pthread_mutex_unlock(&disk->mutex);
    return count;
}

uint64_t disk_calls(struct disk *disk)
{
    uint64_t sum = 0;
    for (int call = 0; call < DISK_CALL_MAX; call++)
        sum += disk_call_count(disk, (enum disk_call)call);
    return sum;
}
