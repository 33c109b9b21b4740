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

/* catalog_space.c: reads the constraints of the fields and of the space, whose format has been read. */
int db__constraints_read(struct arena *arena, const char *flags, const char *format,
                         struct space *space);

/* catalog_space.c: reads the options of its engine. ERROR_CORRUPT, ERROR_MEMORY; with diagnostics. */
int db__body_options_read(struct arena *arena, const char *flags, struct space *space);

/* constraint.c: whether all constraints hold for a tuple that fits the format: 0, ERROR_CONSTRAINT
 * naming constraint and row, or why it could not be found out. */
int db__constraints_check(const struct space *space, const char *tuple);

/* What a key of a map (checked MessagePack) says; `otherwise` when it says neither. */
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

/*
 * ddl_format.c: appends a format as _space has it, made of what a user gives, or of itself; NULL: an
 * empty one. `draft` is the space as far as it is known: with the fields of the same format; NULL: only
 * names and types are wanted, to make one.
 */
int ddl__format_put(struct ddl *ddl, const struct space *draft, struct mp_buffer *tuple,
                    const char *format);

/* ddl_constraint.c: appends a map of constraints, by name, made of what a user gives, or of itself. Of
 * a field, or with CONSTRAINT_TUPLE of the space. */
int ddl__constraints_put(struct ddl *ddl, const struct space *draft, uint32_t field,
                         const char *given, struct mp_buffer *out);

/* A row of _space that is being made. Definitions (MessagePack) as given or as the row has them; NULL:
 * none. */
struct space_def {
    uint32_t id, owner, incarnation, exact_count;
    const char *name;
    size_t name_size;
    const char *engine;
    const char *format, *constraint, *foreign_key;
    const char *view; /* MessagePack string */
    bool temporary, local;
    bool quiet;                     /* its triggers don't run */
    struct body_option_values body; /* of its engine */
};

/* ddl_space_row.c: what the row of a space says, and a row written. */
void ddl__space_def(const struct space *space, struct space_def *out);
int ddl__space_encode(struct ddl *ddl, const struct space_def *def); /* into ddl->tuple */
int ddl__space_put(struct ddl *ddl, const struct space_def *def);

/*
 * ddl_foreign.c: appends a map of foreign keys, by name, made of what a user gives, or of itself. Of a
 * field, or with CONSTRAINT_TUPLE of the space; `draft` has an id as well.
 */
int ddl__foreign_put(struct ddl *ddl, const struct space *draft, uint32_t field, const char *given,
                     struct mp_buffer *out);

/* foreign.c: the index by which a foreign key is looked up on either side, or NULL; and a sentence that
 * asks for one. */
struct index *db__foreign_parent_index(const struct space *parent, const struct foreign_key *key);
struct index *db__foreign_child_index(const struct space *child, const struct foreign_key *key);
const char *db__foreign_index_wanted(const struct space *space, const struct foreign_key *key,
                                     bool of_parent, char *out, size_t size);

/* ERROR_SCHEMA when another space refers to this one; or when a foreign key needs the index. */
int ddl__referrers_check(const struct space *space, const char *what);
int ddl__index_unused_check(const struct index *index);

/* foreign.c. Foreign keys of a picture: read of rows of _space whose formats and constraints have been
 * read; and, when all spaces and indexes are known, where they lead to. */
int db__foreign_read(struct arena *arena, const char *flags, const char *format,
                     struct space *space);
void db__foreign_resolve(struct catalog *catalog);

/* When triggers are known: a write that may change rows elsewhere may run triggers there. */
void db__foreign_settle(struct catalog *catalog);

/*
 * After the tuple has been written: whether what it refers to, and `old`, the one before, or NULL, did
 * not, is there and stays (invariant 30). And
 * after the row of `old` has been deleted, or replaced by `tuple`: whether nothing refers to it any
 * more; what has to go with it goes.
 */
int db__foreign_parents_check(struct txn *txn, struct space *space, const char *old,
                              const char *tuple);
int db__foreign_children_settle(struct txn *txn, struct space *space, const char *old,
                                const char *tuple);

/* For who looks at rows that are there already: whether what the tuple refers to is there in the
 * transaction's snapshot. Writers see to it that it stays. */
int db__foreign_parents_see(struct txn *txn, const struct space *space, const char *tuple);

/* The Lua text that a string (MessagePack) is or, as the name of a function, stands for: in the
 * change's arena or the picture's; NULL without memory. And whether a text compiles; `what` it is,
 * for messages. */
const char *ddl__text(struct ddl *ddl, const char *value);
int ddl__text_compile(struct ddl *ddl, const char *text, const char *what);

#endif
