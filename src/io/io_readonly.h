/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_IO_READONLY_H
#define IO_IO_READONLY_H

/*
 * A struct io that shows the files of one or several directories as those of one, and changes
 * nothing: for looking at data that must stay as it is, and for reading a log whose segments lie in
 * several places.
 *
 * A name that several directories have is the first one's. Opening for writing, and every other call
 * that would change something, gives ERROR_READONLY.
 */
#include "io/io.h"

enum { IO_READONLY_DIRS_MAX = 4 };

/*
 * Over `dirs`, which stay the caller's and outlive it. `shows` says which names are there at all;
 * NULL: all of them. The caller owns *out and ends it by io_delete. ERROR_MEMORY.
 */
int io_readonly_new(struct io *const *dirs, unsigned count,
                    bool (*shows)(const char *name, void *arg), void *arg, struct io **out);

#endif
