/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_CHECKPOINT_H
#define DB_CHECKPOINT_H

/*
 * Checkpoints: a thread of the database's own that writes what has changed into the bodies, so that
 * a start need not read all of the log and the log can be cut; and that keeps the bodies tidy in
 * between. Nothing stops meanwhile, nothing is forked, and the cost is that of the changes.
 *
 * One is made on request, when the log has grown by so much, after so much time (struct
 * db_checkpoint_options), and when memory is used up, since deleted rows take some until they are
 * in a checkpoint; none while nothing has changed, and none after the log has failed
 * (invariant 7). One that fails loses nothing: what it took is taken by the next one, which comes
 * by itself after a while.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db/db.h"

/*
 * Asks for a checkpoint that has everything committed before. Returns a ticket for
 * db_checkpoint_done. If one is running another follows it. Any thread.
 */
uint64_t db_checkpoint_request(struct db *db);

/* True when the checkpoint has been made, or was not needed, or failed: *rc is 0 or its code, and
 * the message of a failure is in the diagnostics. When it has ended, on_advance of the database's
 * options is called. Any thread. */
bool db_checkpoint_done(struct db *db, uint64_t ticket, int *rc);

/* Asks for one and blocks until it has ended: for threads that have nothing else to do. */
int db_checkpoint(struct db *db);

/* The numbers of the checkpoint that was begun last and of the one that has ended last: different while one runs, which keeps
 * what is deleted meanwhile. Any thread. */
uint64_t db_checkpoint_begun(const struct db *db);
uint64_t db_checkpoint_ended(const struct db *db);

struct db_checkpoint_stats {
    uint64_t count, failed; /* since the start */
    uint64_t skipped;       /* asked for, with nothing to do */
    uint64_t k;             /* the last one's: what is at most this is in the bodies */
    uint64_t time_ms;       /* wall-clock time at which the last one ended well; of the start when
                               there was none */
    uint64_t duration_ns;   /* of the last one */
    uint64_t running_ns;    /* how long the present one has been running */
    uint64_t rows, bytes;   /* written by all since the start */
    uint64_t last_rows, last_bytes;
    uint64_t merges, merges_failed;
    uint64_t merged_bytes;      /* of rows, before compression */
    uint64_t files, file_bytes; /* of the bodies now */
    uint64_t live_bytes;        /* what of those is alive, by an estimate that is rather too low */
    uint64_t changes;           /* rows that have changed and wait for the next one */
    bool running;
    int last_code; /* of the last one: 0, or why it failed */
    char failure[256];
};
void db_checkpoint_stats_get(struct db *db, struct db_checkpoint_stats *out);

/*
 * When time demands a checkpoint, in Redis's words (its setting `save`): when so many seconds have passed since
 * the last one and so many rows have changed, for any of the points; none: never. Takes the place of
 * db_checkpoint_options.interval_ms, which is one point with one row. Any thread.
 */
enum { DB_SAVE_POINTS_MAX = 16 };
struct db_save_point {
    uint64_t seconds, changes;
};
void db_checkpoint_points_set(struct db *db, const struct db_save_point *points, unsigned count);
unsigned db_checkpoint_points_get(struct db *db, struct db_save_point points[DB_SAVE_POINTS_MAX]);

#endif
