/* SPDX-License-Identifier: Apache-2.0 */

/* Folders that commands name, and those that appear as a whole. */
#include "server/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/backup_file.h"
#include "wal/wal_tools.h"

static const char LOCK_FILE[] = "lock", UNFINISHED[] = ".unfinished";

int folder_open(const char *path, struct io **out)
{
    struct stat status;
    if (stat(path, &status))
        return diag_set_errno(errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, errno,
                              "the folder %s cannot be opened", path);
    if (!S_ISDIR(status.st_mode))
        return diag_set(ERROR_INVALID, "%s is no folder", path);
    return io_posix_new(path, false, out);
}

static int lock_note(const char *name, uint64_t size, void *arg)
{
    (void)size;
    *(bool *)arg |= strcmp(name, LOCK_FILE) == 0;
    return 0;
}

int folder_open_locked(const char *path, struct io **out)
{
    bool there = false;
    int rc = folder_open(path, out);
    if (rc)
        return rc;
    rc = io_list(*out, lock_note, &there);
    if (!rc && there)
        rc = io_lock(*out, LOCK_FILE);
    if (!rc)
        return 0;
    io_delete(*out);
    *out = NULL;
    return rc == ERROR_LOCKED
               ? diag_set(rc, "%s is in use by a server; stop that first, or look at a backup",
                          path)
               : rc;
}

struct kinds {
    bool backup, log; /* whether there are such files */
};

static int kind_note(const char *name, uint64_t size, void *arg)
{
    struct kinds *kinds = arg;
    uint64_t segment;
    (void)size;
    kinds->backup |= strcmp(name, BACKUP_NAME) == 0;
    kinds->log |= wal_file_number(name, &segment);
    return 0;
}

int folder_refuse_backup(const char *path, struct io *io)
{
    struct kinds kinds = {false, false};
    int rc = io_list(io, kind_note, &kinds);
    if (rc || !kinds.backup || kinds.log)
        return rc;
    return diag_set(ERROR_INVALID,
                    "%s is a backup: `perigee restore` checks it and makes a database of it", path);
}

int folder_check_new(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder)
        return errno == ENOENT ? 0 : diag_set_errno(ERROR_IO, errno, "the folder %s", path);
    struct dirent *entry;
    bool empty = true;
    while ((entry = readdir(folder)))
        empty = empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    closedir(folder);
    return empty
               ? 0
               : diag_set(ERROR_EXISTS, "the folder %s is not empty: nothing is overwritten", path);
}

int folder_absolute(const char *path, char *out, size_t size)
{
    char full[PATH_MAX];
    if (!realpath(path, full))
        return diag_set_errno(errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, errno,
                              "the folder %s cannot be opened", path);
    if (strlen(full) >= size)
        return diag_set(ERROR_INVALID, "the path of %s is too long", path);
    strcpy(out, full);
    return 0;
}

/* Without slashes at its end, and with the word behind it. Of one that is there, and may be a link
 * or `.`, the real path: what is renamed to a link takes its place, and not that of the folder. */
static int unfinished_name(const char *path, char out[PATH_MAX])
{
    char full[PATH_MAX];
    path = realpath(path, full) ? full : path;
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    if (size + sizeof UNFINISHED > PATH_MAX)
        return diag_set(ERROR_INVALID, "the path of %s is too long", path);
    memcpy(out, path, size);
    strcpy(out + size, UNFINISHED);
    return 0;
}

int folder_begin(const char *path, struct io **out)
{
    char name[PATH_MAX];
    int rc = folder_check_new(path);
    if (!rc)
        rc = unfinished_name(path, name);
    if (rc)
        return rc;
    if (mkdir(name, 0700))
        return errno == EEXIST
                   ? diag_set(ERROR_EXISTS,
                              "%s is left of an attempt that was interrupted: remove it first",
                              name)
                   : diag_set_errno(ERROR_IO, errno, "cannot make the folder %s", name);
    rc = io_posix_new(name, false, out);
    if (rc)
        rmdir(name);
    return rc;
}

void folder_remove(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder)
        return;
    struct dirent *entry;
    while ((entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
    rmdir(path);
}

static int parent_sync(const char *path)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int parent = folder < 0 ? -1 : openat(folder, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = parent < 0 || fsync(parent)
                 ? diag_set_errno(ERROR_IO, errno, "fsync the parent of %s", path)
                 : 0;
    if (parent >= 0)
        close(parent);
    if (folder >= 0)
        close(folder);
    return rc;
}

int folder_finish(const char *path, struct io *io, bool keep)
{
    char name[PATH_MAX], target[PATH_MAX];
    int rc = keep ? io_sync_dir(io) : 0;
    io_delete(io);
    if (unfinished_name(path, name))
        return ERROR_INVALID;
    if (!keep || rc) {
        folder_remove(name);
        return rc;
    }
    strcpy(target, name);
    target[strlen(target) - strlen(UNFINISHED)] = 0;
    if (rename(name, target))
        return diag_set_errno(ERROR_IO, errno, "%s is complete, but cannot be renamed to %s", name,
                              target);
    return parent_sync(target);
}

int folder_make_temporary(char *path, size_t size, struct io **out)
{
    const char *parent = getenv("TMPDIR");
    snprintf(path, size, "%s/perigee-XXXXXX", parent && *parent ? parent : "/tmp");
    if (!mkdtemp(path))
        return diag_set_errno(ERROR_IO, errno, "cannot make the folder %s", path);
    int rc = io_posix_new(path, false, out);
    if (rc)
        rmdir(path);
    return rc;
}
