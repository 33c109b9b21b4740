/* SPDX-License-Identifier: Apache-2.0 */

/*
 * struct io over the operating system: one directory, its files, and their locks.
 *
 * What a file system does not take is found out where it is first asked for, and the weaker form
 * that means the same is used instead. IO_DIRECT asks for O_DIRECT with O_DSYNC, so that a
 * completed write is on stable storage without another call; file systems without it refuse at
 * open, and others say by statx that they want more than 4096 bytes of alignment. Such a file is
 * buffered, file->direct is false, and its writes become durable by fdatasync. Queues prefer
 * io_uring and fall back to threads, since it is often forbidden (a seccomp filter, the sysctl
 * kernel.io_uring_disabled, a small limit on locked memory).
 *
 * Zeros are written, not only allocated: the first write into an allocated but unwritten extent
 * changes metadata, and each durable write would then wait for the file system's journal as well.
 * The extent is allocated first all the same, so that it lies in one piece and a full disk is
 * noticed at once.
 *
 * Locks are flock's: they belong to the open file, end with the process however it ends, and also
 * tell two ios of one process apart.
 *
 * What a killed process has given to io_uring may still be under way when the process is gone: the kernel ends
 * its rings in threads of its own. Such a write lands on what the next process has read, and where that
 * one writes through the page cache both get EIO. So each ring holds, as a registered file, a second open
 * file of the lock, which has a lock of its own (F_OFD_SETLK, which has nothing to do with flock); it ends
 * with the last ring that has it, which is behind the last request. Who has the first lock waits for
 * the second.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/list.h"
#include "base/log.h"
#include "io/io_internal.h"

enum {
    ZEROS_BYTES = 256 << 10,
    SHRINK_BYTES = 1 << 20,
    SHRINK_STEPS_MAX = 256,
    SHRINK_PAUSES = 3, /* times what a step took, */
    SHRINK_PAUSE_NS_MAX = 4 * 1000 * 1000,
    RINGS_NAP_NS = 1000 * 1000,
    RINGS_MS_MAX = 30 * 1000
};

struct posix_lock {
    struct list link;
    int fd;
};

struct posix_io {
    struct io base;
    int dir_fd;
    bool allow_uring;
    atomic_bool refuse_direct;
    pthread_mutex_t mutex; /* guards locks */
    struct list locks;
    char dir[];
};

static struct posix_io *posix_io(struct io *io)
{
    return (struct posix_io *)(void *)io;
}

/* "call dir/path: reason". */
static int fail(struct posix_io *io, int error, const char *call, const char *path)
{
    char full[512];
    snprintf(full, sizeof(full), "%s/%s", io->dir, path);
    return io__fail(error, call, full);
}

/* ---------------------------------------------------------------- files */

#if ATOMIC_UNDER_TSAN
/* ThreadSanitizer follows open and not openat. It has to see the number of a socket, which libuv
 * closes by a raw system call, become that of a file. */
static int open_at(int dir_fd, const char *path, int flags)
{
    char whole[PATH_MAX];
    snprintf(whole, sizeof whole, "/proc/self/fd/%d/%s", dir_fd, path);
    return open(dir_fd == AT_FDCWD ? path : whole, flags, 0600);
}
#else
static int open_at(int dir_fd, const char *path, int flags)
{
    return openat(dir_fd, path, flags, 0600);
}
#endif

static int open_retry(int dir_fd, const char *path, int flags)
{
    int fd;
    do
        fd = open_at(dir_fd, path, flags | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* Whether the file's direct writes need no more alignment than callers keep. True when the system
 * does not say. */
static bool alignment_suffices(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx stat;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stat) == 0 &&
        (stat.stx_mask & STATX_DIOALIGN))
        return stat.stx_dio_offset_align != 0 && stat.stx_dio_offset_align <= IO_ALIGN &&
               stat.stx_dio_mem_align <= IO_ALIGN;
#endif
    (void)fd;
    return true;
}

/* Opens with O_DIRECT; -1 with errno EINVAL when the file system does not take that. */
static int open_direct(struct posix_io *io, const char *path, int flags)
{
    int fd = open_retry(io->dir_fd, path, flags | O_DIRECT);
    if (fd >= 0 && (atomic_load(&io->refuse_direct) || !alignment_suffices(fd))) {
        close(fd);
        errno = EINVAL;
        return -1;
    }
    return fd;
}

/* The same without asking for more than a buffered file. After a refused direct open the file may
 * have been made by that attempt, which must not look like somebody else's. */
static int open_buffered(struct posix_io *io, const char *path, int flags, bool existed)
{
    return open_retry(io->dir_fd, path, existed ? flags : flags & ~O_EXCL);
}

/* `want` is IO_DIRECT, IO_UNCACHED or 0; *got becomes whether that was granted. */
static int open_fd(struct posix_io *io, const char *path, int flags, int want, bool *got)
{
    *got = false;
    if (want == 0)
        return open_buffered(io, path, flags, true);
    bool existed = faccessat(io->dir_fd, path, F_OK, 0) == 0;
    int fd = open_direct(io, path, want == IO_DIRECT ? flags | O_DSYNC : flags);
    *got = fd >= 0;
    if (fd < 0 && (errno == EINVAL || errno == EOPNOTSUPP))
        fd = open_buffered(io, path, flags, existed);
    if (fd >= 0 && want == IO_DIRECT)
        atomic_store(&io->base.direct_variant, *got ? "direct" : "buffered");
    return fd;
}

static const struct io_vtab posix_vtab;

static int posix_open(struct io *base, const char *path, int flags, struct io_file **out)
{
    struct posix_io *io = posix_io(base);
    int system_flags = flags & IO_WRITE ? O_RDWR : O_RDONLY;
    system_flags |= flags & IO_CREATE ? O_CREAT : 0;
    system_flags |= flags & IO_EXCLUSIVE ? O_EXCL : 0;
    system_flags |= flags & IO_TRUNCATE ? O_TRUNC : 0;

    size_t path_size = strlen(io->dir) + strlen(path) + 2;
    struct io__posix_file *file = malloc(sizeof(*file) + path_size);
    if (file == NULL)
        return diag_set(ERROR_MEMORY, "open %s/%s: out of memory", io->dir, path);
    snprintf(file->path, path_size, "%s/%s", io->dir, path);
    file->base.vtab = &posix_vtab;
    int want = flags & (IO_DIRECT | IO_UNCACHED);
    bool got;
    file->base.aligned = want != 0;
    file->fd = open_fd(io, path, system_flags, want, &got);
    file->base.direct = got && want == IO_DIRECT;
    file->base.uncached = got && want == IO_UNCACHED;
    if (file->fd < 0) {
        int code = io__fail(errno, "open", file->path);
        free(file);
        return code;
    }
    *out = &file->base;
    return 0;
}

static void posix_close(struct io_file *base)
{
    struct io__posix_file *file = io__posix_file(base);
    close(file->fd);
    free(file);
}

static int64_t posix_read(struct io_file *base, void *data, size_t size, uint64_t offset)
{
    struct io__posix_file *file = io__posix_file(base);
    int64_t n = io__read_all(file->fd, data, size, offset, base->aligned);
    return n < 0 ? io__fail((int)-n, "read", file->path) : n;
}

static int posix_write(struct io_file *base, const void *data, size_t size, uint64_t offset)
{
    struct io__posix_file *file = io__posix_file(base);
    int error = io__write_all(file->fd, data, size, offset);
    return error ? io__fail(error, "write", file->path) : 0;
}

static int posix_sync(struct io_file *base)
{
    struct io__posix_file *file = io__posix_file(base);
    return fdatasync(file->fd) < 0 ? io__fail(errno, "fdatasync", file->path) : 0;
}

static int64_t posix_size(struct io_file *base)
{
    struct io__posix_file *file = io__posix_file(base);
    struct stat stat;
    return fstat(file->fd, &stat) < 0 ? io__fail(errno, "fstat", file->path) : stat.st_size;
}

/* Asks for the count of names alone: a file system that is asked for the times of a file as well
 * must give the next write a time of its own, and the write then takes the inode with it. */
static int posix_named(struct io_file *base)
{
    struct io__posix_file *file = io__posix_file(base);
    struct statx stat;
    if (statx(file->fd, "", AT_EMPTY_PATH, STATX_NLINK, &stat) < 0)
        return io__fail(errno, "statx", file->path);
    return stat.stx_nlink > 0
               ? 0
               : diag_set(ERROR_NOT_FOUND, "%s has been removed while it was in use", file->path);
}

static int posix_descriptor(const struct io_file *file)
{
    return ((const struct io__posix_file *)(const void *)file)->fd;
}

static const char *posix_path(const struct io_file *file)
{
    return ((const struct io__posix_file *)(const void *)file)->path;
}

static int posix_truncate(struct io_file *base, uint64_t size)
{
    struct io__posix_file *file = io__posix_file(base);
    int result;
    do
        result = ftruncate(file->fd, (off_t)size);
    while (result < 0 && errno == EINTR);
    return result < 0 ? io__fail(errno, "ftruncate", file->path) : 0;
}

/* Takes the room in one piece where the file system can; 0 or a code. */
static int reserve(struct io__posix_file *file, uint64_t size)
{
    int result;
    do
        result = fallocate(file->fd, 0, 0, (off_t)size);
    while (result < 0 && errno == EINTR);
    if (result == 0 || errno == EOPNOTSUPP || errno == ENOSYS)
        return 0;
    return io__fail(errno, "fallocate", file->path);
}

static int posix_reserve(struct io_file *base, uint64_t offset, uint64_t size)
{
    struct io__posix_file *file = io__posix_file(base);
    int result;
    do
        result = fallocate(file->fd, 0, (off_t)offset, (off_t)size);
    while (result < 0 && errno == EINTR);
    if (result == 0)
        return 0;
    return errno == EOPNOTSUPP || errno == ENOSYS ? ERROR_UNSUPPORTED
                                                  : io__fail(errno, "fallocate", file->path);
}

static int posix_write_back(struct io_file *base, uint64_t offset, size_t size)
{
    struct io__posix_file *file = io__posix_file(base);
    const unsigned whole =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    int result;
    do
        result = sync_file_range(file->fd, (off_t)offset, (off_t)size, whole);
    while (result < 0 && errno == EINTR);
    if (result == 0 || errno == ENOSYS || errno == EINVAL || errno == ESPIPE)
        return 0;
    return io__fail(errno, "sync_file_range", file->path);
}

static int posix_allocate_zeros(struct io_file *base, uint64_t size,
                                const struct io_between *between)
{
    static _Alignas(IO_ALIGN) unsigned char zeros[ZEROS_BYTES];
    int result = posix_truncate(base, 0);
    if (result == 0 && size > 0)
        result = reserve(io__posix_file(base), size);
    for (uint64_t at = 0, bytes; result == 0 && at < size; at += bytes) {
        bytes = size - at < ZEROS_BYTES ? size - at : ZEROS_BYTES;
        result = posix_write(base, zeros, bytes, at);
        if (result == 0)
            result = posix_write_back(base, at, bytes);
        if (result == 0 && between != NULL)
            between->call(between->arg, at + bytes);
    }
    return result ? result : posix_sync(base);
}

/* ---------------------------------------------------------------- the directory */

static int posix_rename(struct io *base, const char *from, const char *to)
{
    struct posix_io *io = posix_io(base);
    return renameat(io->dir_fd, from, io->dir_fd, to) < 0 ? fail(io, errno, "rename", from) : 0;
}

static uint64_t posix_room(struct io *base)
{
    struct statvfs about;
    if (fstatvfs(posix_io(base)->dir_fd, &about) != 0)
        return UINT64_MAX;
    return (uint64_t)about.f_bavail * about.f_frsize;
}

/* What the file system does not do for these two is no failure: the caller copies. */
static int posix_link(struct io *from, const char *path, struct io *to, const char *as)
{
    if (linkat(posix_io(from)->dir_fd, path, posix_io(to)->dir_fd, as, 0) == 0)
        return 0;
    if (errno == EXDEV || errno == EPERM || errno == EMLINK || errno == EOPNOTSUPP)
        return ERROR_UNSUPPORTED;
    return fail(posix_io(to), errno, "link", as);
}

static int posix_unlink(struct io *base, const char *path)
{
    struct posix_io *io = posix_io(base);
    return unlinkat(io->dir_fd, path, 0) < 0 ? fail(io, errno, "unlink", path) : 0;
}

/* Whether the file, which has no name any more, is nobody else's: then nobody can come to it. Only a
 * file that nobody else has open can be leased for writing; the lease itself is of no use, and the
 * signal of those who would break it is one that does nothing. */
static bool is_ours_alone(int fd, uint64_t *size)
{
    struct stat stat;
    if (fstat(fd, &stat) < 0 || stat.st_nlink > 0 || fcntl(fd, F_SETSIG, SIGURG) < 0 ||
        fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
        return false;
    (void)fcntl(fd, F_SETLEASE, F_UNLCK);
    *size = (uint64_t)stat.st_size;
    return true;
}

/* What does not work here makes no difference but to the disk's time: closing frees the rest. */
static void shrink_gradually(int fd, uint64_t size)
{
    uint64_t step = size / SHRINK_STEPS_MAX < SHRINK_BYTES ? SHRINK_BYTES : size / SHRINK_STEPS_MAX;
    while (size > step) {
        uint64_t began = clock_monotonic_ns(clock_system());
        size -= step;
        if (ftruncate(fd, (off_t)size) < 0)
            return;
        uint64_t took = clock_monotonic_ns(clock_system()) - began;
        uint64_t pause = SHRINK_PAUSES * took;
        pause = pause < SHRINK_PAUSE_NS_MAX ? pause : SHRINK_PAUSE_NS_MAX;
        nanosleep(&(struct timespec){.tv_nsec = (long)pause}, NULL);
    }
}

static int posix_remove(struct io *base, const char *path)
{
    uint64_t size;
    int fd = open_retry(posix_io(base)->dir_fd, path, O_RDWR | O_NOFOLLOW);
    int rc = posix_unlink(base, path);
    if (fd < 0)
        return rc;
    if (rc == 0 && is_ours_alone(fd, &size))
        shrink_gradually(fd, size);
    close(fd);
    return rc;
}

static int posix_sync_dir(struct io *base)
{
    struct posix_io *io = posix_io(base);
    return fsync(io->dir_fd) < 0 ? io__fail(errno, "fsync", io->dir) : 0;
}

/* Calls `each` if the entry is a regular file; one that has just gone is no error. */
static int list_entry_visit(struct posix_io *io, const char *name,
                            int (*each)(const char *name, uint64_t size, void *arg), void *arg)
{
    struct stat stat;
    if (fstatat(io->dir_fd, name, &stat, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : fail(io, errno, "fstatat", name);
    return S_ISREG(stat.st_mode) ? each(name, (uint64_t)stat.st_size, arg) : 0;
}

static int posix_list(struct io *base, int (*each)(const char *name, uint64_t size, void *arg),
                      void *arg)
{
    struct posix_io *io = posix_io(base);
    int fd = open_retry(io->dir_fd, ".", O_RDONLY | O_DIRECTORY);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return io__fail(error, "opendir", io->dir);
    }
    int result = 0;
    while (result == 0) {
        errno = 0;
        struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            result = errno ? io__fail(errno, "readdir", io->dir) : 0;
            break;
        }
        result = list_entry_visit(io, entry->d_name, each, arg);
    }
    closedir(stream);
    return result;
}

/* Where nothing may be written a lock that is there can be taken all the same: a disk that fails is
 * often mounted so, to see what can be saved of it. */
static int open_lock(struct posix_io *io, const char *path)
{
    int fd = open_retry(io->dir_fd, path, O_RDWR | O_CREAT);
    return fd < 0 && (errno == EROFS || errno == EACCES) ? open_retry(io->dir_fd, path, O_RDONLY)
                                                         : fd;
}

static void keep_lock(struct posix_io *io, struct posix_lock *lock)
{
    pthread_mutex_lock(&io->mutex);
    list_add_tail(&io->locks, &lock->link);
    pthread_mutex_unlock(&io->mutex);
}

/* Whether nobody has the second lock, which fd's open file then has. */
static bool rings_are_gone(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return true;
    lock.l_type = F_RDLCK; /* of a file that may only be read */
    return errno == EBADF ? fcntl(fd, F_OFD_SETLK, &lock) == 0 : false;
}

/* Waits for what a process that had the lock before has in flight. Where there are no such locks, or a
 * disk does not answer, it goes on without. */
static void rings_await(struct posix_io *io, const char *path)
{
    const struct timespec nap = {.tv_nsec = RINGS_NAP_NS};
    struct posix_lock *second = malloc(sizeof(*second));
    if (second == NULL)
        return;
    second->fd = open_lock(io, path);
    bool gone = second->fd >= 0 && rings_are_gone(second->fd);
    for (unsigned ms = 0; second->fd >= 0 && !gone && (errno == EAGAIN || errno == EACCES); ms++) {
        if (ms == RINGS_MS_MAX) {
            log_warn("%s/%s: requests of the process before are still in flight", io->dir, path);
            break;
        }
        nanosleep(&nap, NULL);
        gone = rings_are_gone(second->fd);
    }
    if (gone && io->base.held == 0) {
        io->base.held = second->fd + 1;
        keep_lock(io, second);
        return;
    }
    if (second->fd >= 0)
        close(second->fd);
    free(second);
}

static int posix_lock(struct io *base, const char *path)
{
    struct posix_io *io = posix_io(base);
    struct posix_lock *lock = malloc(sizeof(*lock));
    if (lock == NULL)
        return diag_set(ERROR_MEMORY, "lock %s/%s: out of memory", io->dir, path);
    lock->fd = open_lock(io, path);
    if (lock->fd < 0) {
        int error = errno;
        free(lock);
        return fail(io, error, "open", path);
    }
    if (flock(lock->fd, LOCK_EX | LOCK_NB) < 0) {
        int error = errno;
        close(lock->fd);
        free(lock);
        if (error == EWOULDBLOCK)
            return diag_set(ERROR_LOCKED,
                            "%s/%s is locked: the directory is in use by another process", io->dir,
                            path);
        return fail(io, error, "flock", path);
    }
    keep_lock(io, lock);
    rings_await(io, path);
    return 0;
}

/* ---------------------------------------------------------------- queues, beginning and end */

static int posix_queue_new(struct io *base, unsigned depth, struct io_queue **out)
{
    struct posix_io *io = posix_io(base);
    ASSERT(depth > 0);
    if (io->allow_uring) {
        int result = io__uring_queue_new(depth, base->held - 1, out);
        if (result == 0)
            atomic_store(&base->queue_variant, "io_uring");
        if (result != ERROR_UNSUPPORTED)
            return result;
        log_info("io_uring can't be used (%s): writing through threads", diag_message_for(result));
    }
    int result = io__threads_queue_new(depth, out);
    if (result == 0)
        atomic_store(&base->queue_variant, "threads");
    return result;
}

static void posix_delete(struct io *base)
{
    struct posix_io *io = posix_io(base);
    list_for_each_safe (link, &io->locks) {
        struct posix_lock *lock = list_entry(link, struct posix_lock, link);
        close(lock->fd);
        free(lock);
    }
    pthread_mutex_destroy(&io->mutex);
    close(io->dir_fd);
    free(io);
}

void io__posix_refuse_direct(struct io *io)
{
    atomic_store(&posix_io(io)->refuse_direct, true);
}

/* Opens `dir`, making it if absent; a new one is durable in its parent. Returns the descriptor or a
 * code. */
static int open_dir(const char *dir)
{
    bool made = mkdir(dir, 0700) == 0;
    if (!made && errno != EEXIST)
        return io__fail(errno, "mkdir", dir);
    int fd = open_retry(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return io__fail(errno, "open", dir);
    if (!made)
        return fd;
    int parent = open_retry(fd, "..", O_RDONLY | O_DIRECTORY);
    if (parent < 0 || fsync(parent) < 0) {
        int error = errno;
        if (parent >= 0)
            close(parent);
        close(fd);
        return io__fail(error, "fsync the parent of", dir);
    }
    close(parent);
    return fd;
}

int io_posix_new(const char *dir, bool allow_uring, struct io **out)
{
    int dir_fd = open_dir(dir);
    if (dir_fd < 0)
        return dir_fd;
    struct posix_io *io = calloc(1, sizeof(*io) + strlen(dir) + 1);
    if (io == NULL) {
        close(dir_fd);
        return diag_set(ERROR_MEMORY, "open %s: out of memory", dir);
    }
    io->base.vtab = &posix_vtab;
    atomic_init(&io->base.direct_variant, "unknown");
    atomic_init(&io->base.queue_variant, "unknown");
    atomic_init(&io->refuse_direct, false);
    io->dir_fd = dir_fd;
    io->allow_uring = allow_uring;
    pthread_mutex_init(&io->mutex, NULL);
    list_create(&io->locks);
    memcpy(io->dir, dir, strlen(dir) + 1);
    *out = &io->base;
    return 0;
}

static const struct io_vtab posix_vtab = {
    .open = posix_open,
    .close = posix_close,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .size = posix_size,
    .named = posix_named,
    .descriptor = posix_descriptor,
    .path = posix_path,
    .truncate = posix_truncate,
    .allocate_zeros = posix_allocate_zeros,
    .reserve = posix_reserve,
    .write_back = posix_write_back,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .lock = posix_lock,
    .remove = posix_remove,
    .link = posix_link,
    .room = posix_room,
    .queue_new = posix_queue_new,
    .delete = posix_delete,
};
