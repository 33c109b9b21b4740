/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files for lua/fio.lua.
 *
 * Trusted code names files as the process does. Untrusted code has the privilege to use the binding
 * "fio" and the folder of the option fio_dir: every path is relative to it and is resolved by
 * openat2 with RESOLVE_BENEATH, so that neither `..` nor a link, whenever it was made, leads out of it.
 * What works on a name (unlink, rename, mkdir ..) opens the folder of the name so, and names the last
 * part in it. Only regular files and folders are opened, without waiting for who writes a pipe.
 *
 * Up to a piece is read or written at once: what the system has in memory takes less than a
 * millisecond. Larger ones, and fsync, are jobs for libuv's threads while the fiber sleeps, where it
 * can sleep; else they go piece by piece, and the time limit is looked at in between.
 * A job has memory and a descriptor of its own, so nothing that Lua closes or forgets matters to it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uv.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/fiber.h"

enum { PIECE = 1 << 20, JOB_MAX = 16 << 20, JOBS_MAX = 8, NAMES_MAX = 1000000 };

static const char file_type[] = "perigee.file", job_type[] = "perigee.file_job";

struct file {
    int fd; /* -1: closed */
};

static int failed(lua_State *L, int error)
{
    lua_pushnil(L);
    lua_pushstring(L,
                   error == EXDEV ? "the path leads out of the granted folder" : strerror(error));
    lua_pushinteger(L, error);
    return 3;
}

static int result(lua_State *L, int rc)
{
    if (rc < 0)
        return failed(L, errno);
    lua_pushboolean(L, true);
    return 1;
}

/* -------------------------------------------------------------------------------------- paths */

static int open_below(int folder, const char *path, int flags, mode_t mode)
{
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
                           .mode = flags & O_CREAT ? mode & 0777 : 0,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
}

/* What paths are relative to: raises when this code may not use files. */
static int root_of(lua_State *L, struct lua_runtime *runtime)
{
    if (!lua__granted(runtime, "fio"))
        lua__raise(L, runtime, ERROR_ACCESS);
    if (runtime->options.trusted)
        return AT_FDCWD;
    const char *folder = runtime->options.fio_dir;
    if (folder == NULL || folder[0] == 0)
        lua__raise(L, runtime,
                   diag_set(ERROR_ACCESS, "this server gives no files to Lua: its option fio_dir "
                                          "is not set"));
    if (runtime->fio_folder == 0) {
        int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            lua__raise(L, runtime,
                       diag_set(ERROR_IO, "the folder of the option fio_dir: %s", strerror(errno)));
        runtime->fio_folder = fd + 1;
    }
    return runtime->fio_folder - 1;
}

static const char *check_path(lua_State *L, int index)
{
    size_t size;
    const char *path = luaL_checklstring(L, index, &size);
    luaL_argcheck(L, strlen(path) == size && size > 0, index, "this is no path");
    return path;
}

/* Opens a path for this code; -1 with errno. */
static int open_path(lua_State *L, int index, int flags, mode_t mode)
{
    struct lua_runtime *runtime = lua__runtime(L);
    int root = root_of(L, runtime);
    const char *path = check_path(L, index);
    if (runtime->options.trusted)
        return open(path, flags | O_CLOEXEC, mode);
    return open_below(root, path, flags, mode);
}

/* The folder of a name, to be closed unless it is the process's own; its last part goes to *name.
 * -1 with errno. */
static int open_parent(lua_State *L, int index, const char **name)
{
    const char *path = check_path(L, index);
    if (lua__runtime(L)->options.trusted) {
        root_of(L, lua__runtime(L));
        *name = path;
        return AT_FDCWD;
    }
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    size_t begin = size;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    lua_pushlstring(L, path + begin, size - begin); /* keeps the name */
    *name = lua_tostring(L, -1);
    if (strcmp(*name, "") == 0 || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0) {
        errno = EINVAL;
        return -1;
    }
    int root = root_of(L, lua__runtime(L));
    lua_pushlstring(L, path, begin);
    const char *folder = begin == 0 ? "." : lua_tostring(L, -1);
    return open_below(root, folder, O_PATH | O_DIRECTORY, 0);
}

static void close_parent(int fd)
{
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
}

/* ----------------------------------------------------------------------------------- open files */

static int native_close(lua_State *L)
{
    struct file *file = luaL_checkudata(L, 1, file_type);
    int rc = file->fd < 0 ? 0 : close(file->fd);
    file->fd = -1;
    return result(L, rc);
}

static struct file *push_file(lua_State *L)
{
    struct file *file = lua_newuserdata(L, sizeof *file);
    file->fd = -1;
    if (luaL_newmetatable(L, file_type)) {
        lua_pushcfunction(L, native_close);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return file;
}

static int check_fd(lua_State *L, int index)
{
    struct file *file = luaL_checkudata(L, index, file_type);
    if (file->fd < 0)
        luaL_error(L, "this file is closed");
    return file->fd;
}

static const struct flag {
    const char *name;
    int bits;
} flags_known[] = {
    {"O_RDONLY", O_RDONLY},     {"O_WRONLY", O_WRONLY},
    {"O_RDWR", O_RDWR},         {"O_CREAT", O_CREAT},
    {"O_EXCL", O_EXCL},         {"O_TRUNC", O_TRUNC},
    {"O_APPEND", O_APPEND},     {"O_SYNC", O_SYNC},
    {"O_NOFOLLOW", O_NOFOLLOW}, {NULL, 0},
};

static int flags_at(lua_State *L, int index)
{
    int flags = 0;
    luaL_checktype(L, index, LUA_TTABLE);
    for (int n = 1; n <= (int)lua_objlen(L, index); n++) {
        lua_rawgeti(L, index, n);
        const char *name = luaL_checkstring(L, -1);
        const struct flag *flag = flags_known;
        while (flag->name != NULL && strcmp(flag->name, name) != 0)
            flag++;
        if (flag->name == NULL)
            luaL_error(L, "there is no flag %s", name);
        flags |= flag->bits;
        lua_pop(L, 1);
    }
    return flags;
}

/* fio_open(path, array of flags, mode) */
static int native_open(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    int flags = flags_at(L, 2);
    mode_t mode = (mode_t)luaL_optnumber(L, 3, 0644);
    struct file *file = push_file(L);
    struct stat stat;
    file->fd =
        open_path(L, 1, flags | (runtime->options.trusted ? 0 : O_NONBLOCK | O_NOCTTY), mode);
    if (file->fd < 0)
        return failed(L, errno);
    if (!runtime->options.trusted &&
        (fstat(file->fd, &stat) != 0 || !(S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode)))) {
        close(file->fd);
        file->fd = -1;
        return failed(L, EACCES);
    }
    return 1;
}

/* Up to `size` bytes at `offset` (-1: where the file is), in pieces. -1 with errno; -2: the time is
 * over. */
static ssize_t transfer(struct lua_runtime *runtime, int fd, char *data, size_t size, off_t offset,
                        bool writes)
{
    size_t done = 0;
    while (done < size) {
        size_t piece = size - done < PIECE ? size - done : PIECE;
        off_t at = offset + (off_t)done;
        ssize_t count;
        if (writes)
            count = offset < 0 ? write(fd, data + done, piece) : pwrite(fd, data + done, piece, at);
        else
            count = offset < 0 ? read(fd, data + done, piece) : pread(fd, data + done, piece, at);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return done > 0 ? (ssize_t)done : -1;
        done += (size_t)count;
        if (count == 0)
            break;
        if (runtime != NULL && size > PIECE && lua__interrupted(runtime))
            return -2;
    }
    return (ssize_t)done;
}

static size_t check_size(lua_State *L, int index)
{
    lua_Number size = luaL_checknumber(L, index);
    luaL_argcheck(L, size >= 0 && size <= 4294967295.0, index, "this is no size");
    return (size_t)size;
}

/* fio_read(file, size, offset): the bytes. */
static int native_read(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    int fd = check_fd(L, 1);
    size_t size = check_size(L, 2);
    off_t offset = (off_t)luaL_optnumber(L, 3, -1);
    char *data = lua_newuserdata(L, size + 1);
    ssize_t count = transfer(runtime, fd, data, size, offset, false);
    if (count == -2)
        return lua__raise(L, runtime, ERROR_TIMEOUT);
    if (count < 0)
        return failed(L, errno);
    lua__push_bytes(L, runtime, data, (size_t)count);
    return 1;
}

/* fio_write(file, text, offset): how many bytes were written. */
static int native_write(lua_State *L)
{
    union {
        const char *from;
        char *to;
    } data;
    struct lua_runtime *runtime = lua__runtime(L);
    int fd = check_fd(L, 1);
    size_t size;
    data.from = luaL_checklstring(L, 2, &size);
    ssize_t count = transfer(runtime, fd, data.to, size, (off_t)luaL_optnumber(L, 3, -1), true);
    if (count == -2)
        return lua__raise(L, runtime, ERROR_TIMEOUT);
    if (count < 0)
        return failed(L, errno);
    lua_pushnumber(L, (lua_Number)count);
    return 1;
}

/* fio_seek(file, offset, 0 | 1 | 2 as SEEK_SET, SEEK_CUR, SEEK_END): the offset from the beginning. */
static int native_seek(lua_State *L)
{
    static const int from[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    int whence = (int)luaL_checkinteger(L, 3);
    luaL_argcheck(L, whence >= 0 && whence < 3, 3, "no such place");
    off_t offset = lseek(check_fd(L, 1), (off_t)luaL_checknumber(L, 2), from[whence]);
    if (offset < 0)
        return failed(L, errno);
    lua_pushnumber(L, (lua_Number)offset);
    return 1;
}

static int native_truncate(lua_State *L)
{
    return result(L, ftruncate(check_fd(L, 1), (off_t)luaL_optnumber(L, 2, 0)));
}

/* fio_sync(file, data only) */
static int native_sync(lua_State *L)
{
    int fd = check_fd(L, 1);
    return result(L, lua_toboolean(L, 2) ? fdatasync(fd) : fsync(fd));
}

/* ---------------------------------------------------------------------------------------- jobs */

enum job_kind { JOB_READ, JOB_WRITE, JOB_SYNC, JOB_DATASYNC };
struct job {
    uv_work_t work;
    struct lua_runtime *runtime; /* NULL: it is forgotten */
    uint64_t waiter;
    enum job_kind kind;
    int fd, error;
    char *data;
    size_t size;
    off_t offset;
    ssize_t count;
    bool done;
};

static void job_free(struct job *job)
{
    close(job->fd);
    free(job->data);
    free(job);
}

static void job_run(uv_work_t *work)
{
    struct job *job = work->data;
    if (job->kind == JOB_READ || job->kind == JOB_WRITE)
        job->count =
            transfer(NULL, job->fd, job->data, job->size, job->offset, job->kind == JOB_WRITE);
    else
        job->count = job->kind == JOB_SYNC ? fsync(job->fd) : fdatasync(job->fd);
    job->error = errno;
}

static void job_ended(uv_work_t *work, int status)
{
    struct job *job = work->data;
    struct lua_runtime *runtime = job->runtime;
    if (status < 0) {
        job->count = -1;
        job->error = ECANCELED;
    }
    job->done = true;
    if (runtime == NULL) {
        job_free(job);
        return;
    }
    struct lua_fiber *fiber = job->waiter == 0 ? NULL : lua__fiber_find(runtime, job->waiter);
    if (job->waiter == 0 || fiber != NULL)
        lua__fiber_ready(runtime, fiber);
}

/* By the collector, and when its result has been taken. */
static int native_job_end(lua_State *L)
{
    struct job **owned = luaL_checkudata(L, 1, job_type), *job = *owned;
    *owned = NULL;
    if (job == NULL)
        return 0;
    job->runtime->fio_jobs--;
    if (job->done)
        job_free(job);
    else
        job->runtime = NULL;
    return 0;
}

static struct job **push_job(lua_State *L)
{
    struct job **owned = lua_newuserdata(L, sizeof *owned);
    *owned = NULL;
    if (luaL_newmetatable(L, job_type)) {
        lua_pushcfunction(L, native_job_end);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    return owned;
}

/* fio_start(file, kind, size or text, offset): nil: there are too many already. */
static int native_start(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct uv_loop_s *loop;
    int fd = check_fd(L, 1);
    enum job_kind kind = (enum job_kind)luaL_checkinteger(L, 2);
    size_t size = 0;
    const char *text = kind == JOB_WRITE ? luaL_checklstring(L, 3, &size) : NULL;
    if (kind == JOB_READ)
        size = check_size(L, 3);
    off_t offset = (off_t)luaL_optnumber(L, 4, -1);
    if (runtime->fio_jobs >= JOBS_MAX)
        return 0;
    luaL_argcheck(L, size <= JOB_MAX, 3, "more than a job may have");
    int code = lua__loop(runtime, &loop);
    if (code != 0)
        return lua__raise(L, runtime, code);
    struct job **owned = push_job(L);
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL || (job->data = malloc(size + 1)) == NULL) {
        free(job);
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    }
    if (text != NULL)
        memcpy(job->data, text, size);
    job->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    job->kind = kind;
    job->size = size;
    job->offset = offset;
    job->runtime = runtime;
    job->waiter = runtime->fiber == NULL ? 0 : runtime->fiber->id;
    job->work.data = job;
    if (job->fd < 0 || uv_queue_work(loop, &job->work, job_run, job_ended) != 0) {
        int error = errno;
        job_free(job);
        return failed(L, error);
    }
    runtime->fio_jobs++;
    *owned = job;
    return 1;
}

/* fio_result(job): false: it goes on. Else as fio_read, fio_write and fio_sync give it. */
static int native_result(lua_State *L)
{
    struct job **owned = luaL_checkudata(L, 1, job_type), *job = *owned;
    if (job == NULL)
        return luaL_error(L, "this job has ended");
    if (!job->done) {
        lua_pushboolean(L, false);
        return 1;
    }
    if (job->count < 0)
        return failed(L, job->error);
    if (job->kind == JOB_READ)
        lua__push_bytes(L, job->runtime, job->data, (size_t)job->count);
    else if (job->kind == JOB_WRITE)
        lua_pushnumber(L, (lua_Number)job->count);
    else
        lua_pushboolean(L, true);
    native_job_end(L);
    return 1;
}

/* --------------------------------------------------------------------------------------- names */

static void put_number(lua_State *L, const char *name, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, name);
}

static double seconds(const struct timespec *time)
{
    return (double)time->tv_sec + (double)time->tv_nsec / 1e9;
}

static int push_stat(lua_State *L, const struct stat *stat)
{
    lua_createtable(L, 0, 14);
    put_number(L, "dev", (double)stat->st_dev);
    put_number(L, "inode", (double)stat->st_ino);
    put_number(L, "mode", (double)stat->st_mode);
    put_number(L, "nlink", (double)stat->st_nlink);
    put_number(L, "uid", (double)stat->st_uid);
    put_number(L, "gid", (double)stat->st_gid);
    put_number(L, "size", (double)stat->st_size);
    put_number(L, "blksize", (double)stat->st_blksize);
    put_number(L, "blocks", (double)stat->st_blocks);
    put_number(L, "atime", seconds(&stat->st_atim));
    put_number(L, "mtime", seconds(&stat->st_mtim));
    put_number(L, "ctime", seconds(&stat->st_ctim));
    lua_pushstring(L, S_ISREG(stat->st_mode)   ? "file"
                      : S_ISDIR(stat->st_mode) ? "directory"
                      : S_ISLNK(stat->st_mode) ? "link"
                                               : "other");
    lua_setfield(L, -2, "type");
    return 1;
}

static int native_fstat(lua_State *L)
{
    struct stat stat;
    return fstat(check_fd(L, 1), &stat) != 0 ? failed(L, errno) : push_stat(L, &stat);
}

/* fio_stat(path, of a link itself) */
static int native_stat(lua_State *L)
{
    struct stat stat;
    int fd = open_path(L, 1, O_PATH | (lua_toboolean(L, 2) ? O_NOFOLLOW : 0), 0);
    if (fd < 0)
        return failed(L, errno);
    int rc = fstat(fd, &stat);
    close_parent(fd);
    return rc != 0 ? failed(L, errno) : push_stat(L, &stat);
}

static int push_names(lua_State *L, DIR *folder)
{
    const struct dirent *entry;
    int count = 0;
    while (count < NAMES_MAX && (entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        lua_pushstring(L, entry->d_name);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/* Called in protected mode: memory may be out, and the folder has to be closed. */
static int list_names(lua_State *L)
{
    lua_newtable(L);
    return push_names(L, lua_touserdata(L, 1));
}

/* fio_listdir(path): the names in it, in no order. */
static int native_listdir(lua_State *L)
{
    int fd = open_path(L, 1, O_RDONLY | O_DIRECTORY, 0);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL) {
        close_parent(fd);
        return failed(L, errno);
    }
    lua_pushcfunction(L, list_names);
    lua_pushlightuserdata(L, folder);
    int status = lua_pcall(L, 1, 1, 0);
    closedir(folder);
    return status != 0 ? lua_error(L) : 1;
}

static int native_mkdir(lua_State *L)
{
    const char *name;
    mode_t mode = (mode_t)luaL_optnumber(L, 2, 0777);
    int parent = open_parent(L, 1, &name);
    if (parent == -1)
        return failed(L, errno);
    int rc = mkdirat(parent, name, mode & 0777);
    close_parent(parent);
    return result(L, rc);
}

/* fio_unlink(path, a folder) */
static int native_unlink(lua_State *L)
{
    const char *name;
    int parent = open_parent(L, 1, &name);
    if (parent == -1)
        return failed(L, errno);
    int rc = unlinkat(parent, name, lua_toboolean(L, 2) ? AT_REMOVEDIR : 0);
    close_parent(parent);
    return result(L, rc);
}

static int native_rename(lua_State *L)
{
    const char *from_name, *to_name;
    check_path(L, 2); /* raises before anything is held */
    int from = open_parent(L, 1, &from_name);
    if (from == -1)
        return failed(L, errno);
    int to = open_parent(L, 2, &to_name);
    int rc = to == -1 ? -1 : renameat(from, from_name, to, to_name);
    close_parent(from);
    close_parent(to);
    return result(L, rc);
}

/* fio_chmod(path, mode) */
static int native_chmod(lua_State *L)
{
    mode_t mode = (mode_t)luaL_checknumber(L, 2) & 07777;
    int fd = open_path(L, 1, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return failed(L, errno);
    int rc = fchmod(fd, lua__runtime(L)->options.trusted ? mode : mode & 0777);
    close_parent(fd);
    return result(L, rc);
}

/* fio_symlink(target, path): lua/fio.lua gives it to trusted code alone. */
static int native_symlink(lua_State *L)
{
    root_of(L, lua__runtime(L));
    return result(L, symlink(check_path(L, 1), check_path(L, 2)));
}

static int native_readlink(lua_State *L)
{
    char target[4096];
    const char *name;
    int parent = open_parent(L, 1, &name);
    if (parent == -1)
        return failed(L, errno);
    ssize_t size = readlinkat(parent, name, target, sizeof target);
    close_parent(parent);
    if (size < 0)
        return failed(L, errno);
    lua_pushlstring(L, target, (size_t)size);
    return 1;
}

static int native_cwd(lua_State *L)
{
    char path[4096];
    if (getcwd(path, sizeof path) == NULL)
        return failed(L, errno);
    lua_pushstring(L, path);
    return 1;
}

void lua__open_fio(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"fio_open", native_open},       {"fio_close", native_close},
        {"fio_read", native_read},       {"fio_write", native_write},
        {"fio_seek", native_seek},       {"fio_truncate", native_truncate},
        {"fio_sync", native_sync},       {"fio_start", native_start},
        {"fio_result", native_result},   {"fio_fstat", native_fstat},
        {"fio_stat", native_stat},       {"fio_listdir", native_listdir},
        {"fio_mkdir", native_mkdir},     {"fio_unlink", native_unlink},
        {"fio_rename", native_rename},   {"fio_chmod", native_chmod},
        {"fio_symlink", native_symlink}, {"fio_readlink", native_readlink},
        {"fio_cwd", native_cwd},         {NULL, NULL},
    };
    lua__register(runtime, functions);
}

void lua__fio_destroy(struct lua_runtime *runtime)
{
    if (runtime->fio_folder != 0)
        close(runtime->fio_folder - 1);
}
