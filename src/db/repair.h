/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_REPAIR_H
#define DB_REPAIR_H

/*
 * Saving what can be saved of a damaged data directory into a new one, and saying what is lost. The
 * damaged one is only read.
 *
 * Of runs every whole block counts; of the log the blocks up to the first that is lost, or, on
 * request, all whole ones. What is lost is told by file and offset, for runs by the keys between
 * which the rows lay, for the log by timestamps.
 */
#include <stdbool.h>

#include "db/backup.h"

struct repair_loss {
    const char *file; /* all valid during the call */
    uint64_t offset;
    uint64_t bytes; /* of the file that no valid block covers; 0: not known */
    const char *check;
    bool run; /* the next line, else the one behind it, says more */
    /* Rows of the space between two keys, these included; NULL: from its first, to its last. What was
     * deleted there may be back, and older versions of rows may be. `rows` of all gaps of the run
     * together, with the entries of indexes where rows leave the head, 0 but for the last one;
     * UINT64_MAX: not known. */
    uint32_t space_id, incarnation;
    const unsigned char *after, *before;
    size_t after_size, before_size;
    uint64_t rows;
    /* Transactions in (after_ts, through_ts]; 0: not known. */
    uint64_t after_ts, through_ts, blocks;
};

struct repair_options {
    struct io *io;     /* the damaged one; locked by the caller against servers */
    struct io *target; /* an empty directory */
    bool past_gaps;    /* take what lies behind lost blocks of the log, too */
    struct clock *clock;
    const struct db_expressions *expressions; /* as in db_options */
    void (*lost)(const struct repair_loss *loss, void *arg);
    void *arg;
    struct db_progress progress; /* files of runs, and the log as one more */
};

struct repair_report {
    uint64_t losses;
    uint64_t run_rows, records; /* read: versions of rows, transactions of the log */
    uint64_t rows;              /* in the new database, of its spaces together */
    uint32_t spaces;
    uint64_t ts; /* the largest one that was saved */
    /* Whole blocks of the log behind the first lost one, which were not taken. */
    uint64_t blocks_left, records_left, left_after_ts, left_through_ts;
    /* Versions of rows in spaces of which nothing says what they are, or what their primary index is:
     * dropped or truncated ones, or such whose definition is lost. And definitions of indexes that
     * were passed over since their space's, or its primary index's, is lost. */
    uint64_t rows_undefined, indexes_dropped;
    bool manifest_lost; /* every run that was there has been taken */
};

/* 0 when there is a new database, with losses or without. */
int db_repair(const struct repair_options *options, struct repair_report *report);

#endif
