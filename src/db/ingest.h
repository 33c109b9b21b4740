/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_INGEST_H
#define DB_INGEST_H

/*
 * Ingest: many rows become part of a space of the engine lsm as finished runs, at once and durably, without having
 * been in the log or in the head. ingest.c has the course and the argument.
 */
#include "db/ddl.h"

struct ingest;

/*
 * Rows for the space with this number, which is not changed otherwise until the end, and takes in one at a time
 * (ERROR_BUSY). Not within a transaction. The caller owns *out, and ends it with _run or _delete, on the same worker. For who may
 * write to the space. ERROR_UNSUPPORTED: the space is of another engine, is temporary, has a sequence or foreign keys, is
 * referred to, or has an index whose keys a function computes.
 */
int ingest_new(struct db_worker *worker, uint32_t space_id, struct ingest **out);

/* Adds a row, a checked MessagePack array, which is copied; in any order. What the format puts into it is put into it, and
 * it is checked as an insert is; triggers do not run. May write to files. After an error it may go on, unless that was of
 * memory or a file: then all that follows fails with it, _run as well. */
int ingest_add(struct ingest *ingest, const char *tuple, size_t size);

/* How many have been added. */
uint64_t ingest_rows(const struct ingest *ingest);

/*
 * Takes in what has been added: in *job, as of ddl_job_step, what is left of it, which has taken over `ingest`, or NULL:
 * there were no rows. Rows of the space with the same primary keys are replaced. Then, or when it has
 * failed, all rows are part of the space or none. ERROR_DUPLICATE: two of them have one key of the primary or a
 * unique index, or one has a unique key of another row. ERROR_UNKNOWN_OUTCOME: the next checkpoint or start tells; until then nobody writes to the space.
 * If that was of the log, only the next start. What is cancelled may have been taken in all the same, when its step had begun.
 * ERROR_INVALID: the worker has a transaction by now. Whatever it returns, `ingest` is its own.
 */
int ingest_run(struct ingest *ingest, struct ddl_job **job);

/* Nothing becomes of it. */
void ingest_delete(struct ingest *ingest);

#endif
