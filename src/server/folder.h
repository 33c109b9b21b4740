/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_FOLDER_H
#define SERVER_FOLDER_H

/* Folders that commands name. Functions return 0 or a negative code with diagnostics that name the
 * folder as it was given. */
#include <stdbool.h>

#include "io/io.h"

/* An io on a folder that is there; none is made. ERROR_NOT_FOUND. */
int folder_open(const char *path, struct io **out);

/* The same after it has been locked against servers, without making the file `lock` when there is
 * none. ERROR_LOCKED when a server has it. */
int folder_open_locked(const char *path, struct io **out);

/* ERROR_INVALID if the folder is a backup, which has no log: whoever served it would change it. */
int folder_refuse_backup(const char *path, struct io *io);

/* ERROR_EXISTS unless there is no such folder or nothing in it. */
int folder_check_new(const char *path);

/* The absolute path of one that is there: out[size]. */
int folder_absolute(const char *path, char *out, size_t size);

/*
 * For folders that appear whole or not at all: folder_begin makes "path.unfinished", which must not
 * be there yet, and gives an io on it; folder_finish ends the io, flushes and gives it its name, in
 * place of an empty folder, or, with `keep` false, removes it with what is in it.
 */
int folder_begin(const char *path, struct io **out);
int folder_finish(const char *path, struct io *io, bool keep);

/* A folder in TMPDIR, of a new name, into path[size]; folder_remove unlinks what is in it, and it. */
int folder_make_temporary(char *path, size_t size, struct io **out);
void folder_remove(const char *path);

#endif
