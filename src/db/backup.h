/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_BACKUP_H
#define DB_BACKUP_H

/*
 * Backing a database up while it runs, and what a backup is told of.
 *
 * A backup is a directory with the runs that one manifest names, the manifest, and the file `backup`
 * (db/backup_file.h). It has everything that was committed before it was asked for, up to one
 * timestamp K, and nothing of what came behind K. An incremental one stores only the runs that the
 * chain of backups before it has not.
 */
#include <stdbool.h>

#include "db/backup_file.h"
#include "db/db.h"

/* How far something that takes long has come. Called by the thread that does it. */
struct db_progress {
    void (*tell)(void *arg, const char *what, uint64_t done, uint64_t total); /* NULL: nobody */
    void *arg;
};

struct backup_options {
    struct io *target;       /* an empty directory */
    struct io *base;         /* a backup that this one is made on top of; NULL: none */
    const char *base_folder; /* where that is, to be noted; absolute */
    struct db_progress progress;
    const _Atomic bool
        *stop; /* when true it ends with ERROR_CANCELLED before the next file; NULL */
};

struct backup_result {
    char id[BACKUP_ID_SIZE + 1];
    uint64_t k, time_ms;
    uint64_t files, bytes;               /* of the whole backup, the chain's included */
    uint64_t stored_files, stored_bytes; /* of those: in the target */
    uint64_t linked_files;               /* of those: the same as the database's own */
};

/*
 * Makes a checkpoint and stores what it has. Each file is read to its end and checked, block by
 * block, in the target. Blocks for as long as it takes; commits and checkpoints go on meanwhile.
 * After an error the target is left without the file `backup` and, if it can be, empty.
 * ERROR_EXISTS: the target is not empty.
 */
int db_backup(struct db *db, const struct backup_options *options, struct backup_result *result);

#endif
