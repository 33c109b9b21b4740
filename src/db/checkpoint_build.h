/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_CHECKPOINT_BUILD_H
#define DB_CHECKPOINT_BUILD_H

/*
 * Making the entries of an index for rows that are in a body: the part of building one that
 * ddl_build.c leaves to checkpoints, and to a thread of its own. checkpoint_build.c has the argument.
 */
#include "db/db_private.h"

struct body_build;

/* A key, of its own parts, of which it could not be said whether two rows have it. */
struct build_suspect {
    struct build_suspect *next;
    struct engine_key key;
};

/* Behind the first gate: `index` is the one that is being built, and stays until _end. The caller
 * owns *out. ERROR_MEMORY. */
int db__body_build_begin(struct db_worker *worker, struct index *index, struct body_build **out);

/* Waits for at most so long. 0: every row in the body has its entries there. ERROR_WAIT: it goes on.
 * Else it has failed, with diagnostics. */
int db__body_build_wait(struct body_build *build, uint64_t ns);

/* How many rows it has looked at. Any thread. */
uint64_t db__body_build_rows(const struct body_build *build);

/* After _wait has given 0; they live until _end. */
const struct build_suspect *db__body_build_suspects(const struct body_build *build);

/* Ends it wherever it is, and frees. What it has put into the body stays there, and leads to nothing. */
void db__body_build_end(struct body_build *build, struct db_worker *worker);

#endif
