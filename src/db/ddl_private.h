/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_DDL_PRIVATE_H
#define DB_DDL_PRIVATE_H

/*
 * A change of the catalog while it is being made: runs alone in the gate, writes rows of system
 * spaces, has the new picture built, and hands over at the commit.
 */
#include "codec/mp.h"
#include "db/db_private.h"
#include "db/ddl.h"

struct ddl {
    struct db_worker *worker;
    struct db *db;
    struct txn *txn;
    const struct catalog *before;
    struct catalog *after;
    struct store *made_store;      /* taken back when the change fails */
    struct store *made_tree_store; /* likewise, with the index id */
    uint32_t made_tree_id;
    struct store *dropped_store; /* freed after the commit */
    struct store *dropped_tree_store;
    uint32_t dropped_tree_id;
    struct mp_buffer tuple;
    bool only_functions; /* no space, index or trigger goes: parked transactions may go on */
};

typedef int (*ddl_fn)(struct ddl *ddl, void *arg);

/* Runs `change` in the gate; `finish` (may be NULL) runs when the new picture has been built,
 * before the commit. */
int ddl__run(struct db_worker *worker, ddl_fn change, ddl_fn finish, void *arg);

/* Writes the tuple in ddl->tuple to a system space, or deletes the row with the key in it. */
int ddl__put(struct ddl *ddl, uint32_t system_space_id);
int ddl__delete(struct ddl *ddl, uint32_t system_space_id);
struct mp_buffer *ddl__tuple(struct ddl *ddl, uint32_t field_count);

/* Reading of option maps. */
struct ddl_option {
    const char *name;
    enum mp_type type;
    const char *value; /* NULL when absent */
};

/* Fills in the values of the options that are known; another one is an error that names it. */
int ddl__options_read(const char *what, const char *map, struct ddl_option *options,
                      unsigned count);
bool ddl__option_bool(const struct ddl_option *option, bool otherwise);
bool ddl__name_is(const char *value, const char *name);

/* Whether an index may have a part of one type over a field of the other. A field of any type is
 * checked value by value. */
bool ddl__part_fits(enum key_type part, enum key_type field);

int ddl__name_check(const char *what, const char *name, size_t size);
int ddl__space_find(struct ddl *ddl, uint32_t id, struct space **out);

#endif
