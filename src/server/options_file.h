/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_OPTIONS_FILE_H
#define SERVER_OPTIONS_FILE_H

/*
 * Writes options into a file of options, which is Lua that returns a table, and leaves the rest of it
 * as it is: comments, other options, their order.
 *
 *      return {
 *          dir = '/data', -- stays        a value of a name that is there is replaced in its place,
 *          memory_max = '2gb',            the others come behind the last one
 *      }
 *
 * That can be done to a file that is `return {name = value, ...}` with comments anywhere. Another, which
 * computes its table, is refused with the line that is in the way. The new text is run before it is
 * written: it has to give what the old one gave, but for what is to change.
 */
#include <stddef.h>

struct options_pair {
    const char *name, *value; /* as options_set takes them; the name as options_canonical has it */
};

/*
 * Puts the pairs into the file at `path`, or makes it. The file is replaced as a whole (by a rename, of
 * what a link leads to), and has reached the disk when this returns; its permissions stay, those of a new
 * one are its owner's alone. One thread at a time.
 *
 * 0; ERROR_UNSUPPORTED: this text can't be changed; ERROR_INVALID: it is no file of options; ERROR_IO,
 * ERROR_MEMORY. With diagnostics that name the file; it is as it was then.
 */
int options_file_rewrite(const char *path, const struct options_pair *pairs, size_t count);

#endif
