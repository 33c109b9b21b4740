/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_RESTORE_H
#define DB_RESTORE_H

/*
 * Making a data directory of a backup, and of the log that was archived since, up to a time or a
 * timestamp.
 *
 *      backup + its bases ──verified──┐
 *      archive, log ──read to the end─┴──► target: runs, log ──► opened, replayed, checkpoint
 *
 * Everything is read and checked before the target gets its first byte.
 */
#include <stdbool.h>

#include "db/backup.h"

enum { RESTORE_CHAIN_MAX = 256 };

struct restore_folder {
    struct io *io;
    const char *name; /* for messages */
};

struct restore_options {
    const struct restore_folder *chain; /* the backup, then those it was made on top of, in any
                                           order; more than are needed do no harm */
    unsigned chain_count;
    struct io *target;  /* an empty directory; NULL: all is verified, and nothing made */
    struct io *archive; /* of finished segments; NULL: none */
    struct io *log;     /* of segments that were not archived yet: the lost server's own; NULL */
    /* Commits up to this timestamp, or in blocks of the log that were cut at this time (ns since
     * 1970) or before. 0: all there are. Not both. */
    uint64_t to_ts, to_time_ns;
    struct clock *clock;
    const struct db_expressions *expressions; /* as in db_options */
    struct db_progress progress;
};

struct restore_report {
    char id[BACKUP_ID_SIZE + 1];
    uint64_t k, time_ms; /* of the backup */
    uint64_t files, bytes;
    uint64_t segments, records; /* of the log that came on top */
    uint64_t ts;                /* reached: everything committed up to it is there */
    uint64_t time_ns;           /* when that was cut; 0: not known */
    bool short_of_time;         /* the log ends before the time that was asked for */
};

/*
 * After 0 the target is a whole data directory, whose log begins anew above every timestamp that was
 * seen. After an error it may have files, and is none.
 *
 * ERROR_NOT_FOUND: no backup, an unfinished one, or a base is missing, and which. ERROR_CORRUPT,
 * with file, offset and check. ERROR_INVALID: what was asked for is before the backup, behind the
 * end of the log, or behind segments that are missing, which are named.
 */
int db_restore(const struct restore_options *options, struct restore_report *report);

#endif
