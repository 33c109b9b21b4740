/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_FORMAT_PRIVATE_H
#define DB_FORMAT_PRIVATE_H

/*
 * Formats among the files of db: read from the catalog, put into tuples, made of what users write.
 */
#include "db/ddl_private.h"

/* catalog_space.c: reads the format of a row of _space, and of a system space. ERROR_CORRUPT,
 * ERROR_MEMORY; without diagnostics. */
int db__format_read(struct arena *arena, const char *format, struct space *space);
int db__format_settle(struct arena *arena, struct space *space);

/* The value of a key in a map (checked MessagePack), or NULL. */
const char *db__map_find(const char *map, const char *name);
bool db__map_bool(const char *map, const char *name, bool otherwise);

/* Sets text and digest; the text outlives the expression. */
void db__expression_set(struct expression *expression, const char *text, const char *name);

/* tuple.c. What the format puts into a tuple before it is checked (db__tuple_check): defaults, unless
 * `before`, the row that an update has started from, is given, and generated fields. *tuple is then
 * the whole one, in the arena. */
int db__tuple_shape(struct arena *arena, const struct space *space, const char *before,
                    struct tuple_ref *tuple);

/* Evaluates an expression for a tuple of the space, or NULL: the results, a MessagePack array, go
 * into `out`, which is empty. */
int db__evaluate(const struct space *space, const struct expression *expression, const char *tuple,
                 struct mp_buffer *out);

/* ddl_format.c: appends a format as _space has it, made of what a user gives; NULL: an empty one. */
int ddl__format_put(struct ddl *ddl, struct mp_buffer *tuple, const char *format);

/* The Lua text that a string (MessagePack) is or, as the name of a function, stands for: in the
 * change's arena or the picture's; NULL without memory. And whether a text compiles; `what` it is,
 * for messages. */
const char *ddl__text(struct ddl *ddl, const char *value);
int ddl__text_compile(struct ddl *ddl, const char *text, const char *what);

#endif
