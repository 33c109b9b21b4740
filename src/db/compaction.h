/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_COMPACTION_H
#define DB_COMPACTION_H

/*
 * Compaction as those see it who administer: what the files of a space are, and merging all of them when somebody asks
 * for it. The work itself is done by threads of the checkpoint's (checkpoint_jobs.c).
 */
#include "db/body_options.h"
#include "db/db.h"
#include "db/space.h"
#include "storage/lsm/lsm.h"

struct db_compaction {
    struct body_options options; /* by which the body works now */
    struct lsm_stats files;
    unsigned running;  /* compactions that have begun and not ended */
    uint64_t written;  /* bytes of rows that these have written so far */
    bool wanted;       /* all files are being merged, or will be: somebody has asked */
    uint64_t failures; /* compactions that have failed since the start */
};

/* False when the space's engine has no compaction that can be asked for. Any thread that may use `space`. */
bool db_compaction_get(const struct space *space, struct db_compaction *out);

/*
 * Asks for a compaction of all files of the space with this number, and returns at once. Memory's rows are not written by it:
 * that is a checkpoint's. *failures is for db_compaction_ended. ERROR_NOT_FOUND, ERROR_UNSUPPORTED (an engine without
 * compaction), ERROR_ACCESS.
 */
int db_compaction_begin(struct db_worker *worker, uint32_t space_id, uint64_t *failures);

/* 0: it has ended; ERROR_WAIT: not yet; ERROR_NOT_FOUND: the space is gone; ERROR_IO: one has failed since it was asked for,
 * which the log tells more of. */
int db_compaction_ended(struct db_worker *worker, uint32_t space_id, uint64_t failures);

#endif
