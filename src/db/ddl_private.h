/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_DDL_PRIVATE_H
#define DB_DDL_PRIVATE_H

/*
 * A change of the catalog while it is being made: runs alone in the gate, writes rows of system
 * spaces, has the new picture built, and hands over at the commit. A schema transaction makes
 * several, with statements in between that work under the newest picture of its own.
 *
 * What a change makes or drops outside of the transaction (stores, trees) it touches: noted in a
 * list. At the end those touched that the picture in force has no place for are freed: after a
 * commit what was dropped, after a rollback what was made.
 */
#include "codec/mp.h"
#include "db/access.h"
#include "db/db_private.h"
#include "db/ddl.h"

struct ddl {
    struct db_worker *worker;
    struct db *db;
    struct txn *txn;
    struct catalog *first;         /* in force when the transaction began */
    const struct catalog *before;  /* what this change finds */
    struct catalog *after;         /* what it leaves */
    struct catalog_link *pictures; /* of the changes so far, the newest first */
    struct catalog_link *undone;   /* of those that were taken back */
    struct ddl_store *stores;
    struct ddl_tree *trees;
    struct arena arena; /* of these lists */
    struct txn_savepoint start;
    struct coming coming; /* of this change; the row is in the arena */
    struct mp_buffer tuple;
    bool only_functions; /* no space, index or trigger goes: parked transactions may go on */
};

struct catalog_link {
    struct catalog *catalog;
    size_t writes; /* of the transaction, when it was made */
    struct catalog_link *next;
};

struct ddl_store {
    struct store *store;
    struct ddl_store *next;
};

struct ddl_tree {
    struct store *store;
    uint32_t id;
    struct tree *tree;
    struct ddl_tree *next;
};

typedef int (*ddl_fn)(struct ddl *ddl, void *arg);

/* The picture that statements of the transaction work under. */
const struct catalog *ddl__catalog(const struct ddl *ddl);

/* Runs `change` in the gate; `finish` (may be NULL) runs when the new picture has been built,
 * before the commit. */
int ddl__run(struct db_worker *worker, ddl_fn change, ddl_fn finish, void *arg);

/* A new store, or a new tree in the place of the index's; and what a change is about to drop. All of
 * them are touched. ERROR_MEMORY. */
int ddl__store_make(struct ddl *ddl, uint32_t id, uint32_t incarnation, struct store **out);
int ddl__tree_make(struct ddl *ddl, struct store *store, uint32_t id);
int ddl__store_drop(struct ddl *ddl, struct store *store);
int ddl__tree_drop(struct ddl *ddl, struct store *store, uint32_t id);

/* Writes the tuple in ddl->tuple to a system space, or deletes the row with the key in it. */
int ddl__put(struct ddl *ddl, uint32_t system_space_id);
int ddl__delete(struct ddl *ddl, uint32_t system_space_id);
struct mp_buffer *ddl__tuple(struct ddl *ddl, uint32_t field_count);

/* Reading of option maps. */
struct ddl_option {
    const char *name;
    enum mp_type type; /* MP_NIL: any */
    const char *value; /* NULL when absent */
};

/* Fills in the values of the options that are known; another one is an error that names it. */
int ddl__options_read(const char *what, const char *map, struct ddl_option *options,
                      unsigned count);
bool ddl__option_bool(const struct ddl_option *option, bool otherwise);
bool ddl__name_is(const char *value, const char *name);

/* Makes the commits of transactions that worked under the old picture fail (invariant 21): the row
 * of the space gets a new version. */
int ddl__space_touch(struct ddl *ddl, const struct space *space);

/*
 * A change that goes over rows between two gates: ddl_job.c. It is the beginning of a struct of its
 * kind, which the kind's `destroy` empties before it is freed.
 */
struct ddl_job_vtab {
    const char *doing, *done;           /* "is being built", "is built" */
    const char *what;                   /* "the verification"; NULL: a change of the schema */
    bool reads_only;                    /* there are no gates, and others may change the space */
    bool waits;                         /* a slice waits for what others do */
    int (*slice)(struct ddl_job *job);  /* a few rows; ERROR_END: these were the last */
    int (*finish)(struct ddl_job *job); /* the second gate */
    int (*cancel)(struct ddl_job *job); /* instead of it */
    void (*destroy)(struct ddl_job *job);
};
struct ddl_job {
    const struct ddl_job_vtab *vtab;
    struct db_worker *worker;
    uint32_t space_id;
    struct store *store;               /* NULL for one that reads only */
    uint64_t total;                    /* rows, about */
    char name[2 * NAME_SIZE_MAX + 32]; /* for the log */
    struct arena kept;
    unsigned char *after; /* the last row's key */
    size_t after_size, after_capacity;
    uint64_t rows, began_ns, told_ns, shown_ns;
};

enum { DDL_SLICE_ROWS = 256 };

/* Behind the first gate. `name` is a text for printf. */
void ddl__job_begin(struct ddl_job *job, const struct ddl_job_vtab *vtab, struct db_worker *worker,
                    const struct space *space, const char *name, ...)
    __attribute__((format(printf, 5, 6)));
int ddl__job_after(struct ddl_job *job, const struct row *row);
int ddl__job_after_key(struct ddl_job *job, const void *key, size_t size);

/* To its end. */
int ddl__job_run(struct ddl_job *job);

/* The filling of an index that has been published as one that is being built: ddl_build.c. `ready` is
 * its row of _index then, which the job takes over; NULL for one that is made again. A failure has taken the
 * index away, or left the one that there was. */
int ddl__build_new(struct ddl_job **out);
int ddl__build_begin(struct ddl_job *job, struct db_worker *worker, uint32_t space_id,
                     uint32_t index_id, struct mp_buffer *ready);

/* Of an index that is made again, in the last gate (ddl_rebuild.c): the new tree takes the place of the old one; or it
 * goes, and that stays. */
int ddl__again_take(struct ddl *ddl, const struct space *space, uint32_t index_id);
int ddl__again_end(struct ddl *ddl, const struct space *space);

/* Whether a space whose rows leave the head has any, or had: then an index of it is made beside writers, and
 * `standalone` must hold: ERROR_UNSUPPORTED if not, with diagnostics that say `what` it is (ddl_index.c). */
int ddl__rows_wait(struct ddl *ddl, const struct space *space, bool standalone, const char *what,
                   bool *online);

/* The rows of a space that has been published as one that is being altered: ddl_alter.c. */
void ddl__alter_begin(struct ddl_job *job, struct db_worker *worker, const struct space *space);
int ddl__row_check(struct txn *txn, struct space *space, const char *tuple, size_t size);

/*
 * Of definitions of indexes (ddl_part.c). A field by its name or [number], perhaps with a path below
 * it. Parts, of which *count are read (`data` NULL: the first field) from the forms that ddl.h
 * tells; conditions and included fields from theirs. Written as _index has them. ERROR_INVALID,
 * ERROR_SCHEMA, ERROR_UNSUPPORTED or ERROR_TOO_LARGE, with diagnostics.
 */
int ddl__field_find(struct arena *arena, const struct space *space, const char *text, size_t size,
                    uint32_t *field, struct field_path *path);
int ddl__parts_read(struct ddl *ddl, const struct space *space, const char *data, bool of_func,
                    struct index_part *parts, uint32_t *count);
void ddl__parts_put(struct mp_buffer *out, const struct index_part *parts, uint32_t count);
int ddl__condition_put(struct arena *arena, const struct space *space, const char *data,
                       struct mp_buffer *out);
/* Whether a condition can compare with this value: keys have a place for it. ERROR_INVALID or
 * ERROR_MEMORY, with diagnostics. */
int ddl__term_value_check(struct arena *arena, const char *value);
int ddl__covers_put(struct arena *arena, const struct space *space, const char *data,
                    struct mp_buffer *out);

/* Whether an index may have a part of one type over a field of the other. A field of any type is
 * checked value by value. */
bool ddl__field_orders(const struct field_def *field); /* not arrays, maps and intervals */
bool ddl__part_fits(enum key_type part, enum key_type field);

/* With a space go its triggers. */
int ddl__triggers_drop(struct ddl *ddl, uint32_t space_id);
int ddl__watches_drop(struct ddl *ddl, uint32_t space_id);

int ddl__name_check(const char *what, const char *name, size_t size);

/* Whether all rows of a space stay in the head. */
bool ddl__resident(const struct space *space);

/* A space that is no system space, and that the worker's user may alter; or do something else with. */
int ddl__space_find(struct ddl *ddl, uint32_t id, struct space **out);
int ddl__space_find_for(struct ddl *ddl, uint32_t id, unsigned privileges, struct space **out);

/* access_ddl.c. Whether the worker's user may do this, or make one of these: 0, or ERROR_ACCESS with
 * diagnostics; to whom what it makes belongs; and the end of all privileges on what is dropped. */
int ddl__may(struct ddl *ddl, unsigned privileges, enum access_object type, uint32_t id,
             uint32_t owner, const char *name);
int ddl__may_create(struct ddl *ddl, enum access_object type);
uint32_t ddl__owner(const struct ddl *ddl);
int ddl__privileges_drop(struct ddl *ddl, enum access_object type, uint32_t id);

#endif
