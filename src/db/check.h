/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_CHECK_H
#define DB_CHECK_H

/*
 * Checking a data directory that no server has open: the manifest, every run that it names, the log
 * from where it begins to its end, and whether a server would start on it. Nothing is written.
 */
#include <stdbool.h>

#include "db/backup.h"

struct check_finding {
    bool damage;      /* else it is worth knowing and does no harm */
    const char *file; /* all three valid during the call */
    uint64_t offset;  /* CHECK_NO_OFFSET: of the whole file */
    const char *check;
    const char *words;
};

#define CHECK_NO_OFFSET UINT64_MAX

struct check_options {
    struct io *io;      /* the directory; locked by the caller against servers */
    struct io *scratch; /* an empty directory elsewhere, for the log of a start on trial; NULL: none
                           is made */
    struct clock *clock;
    const struct db_expressions *expressions; /* as in db_options */
    void (*found)(const struct check_finding *finding, void *arg);
    void *arg;
    struct db_progress progress; /* bytes of the runs, and of the log when it is read */
};

struct check_report {
    uint64_t damages, notes;
    uint64_t runs, rows;                /* whole ones, and the versions in them */
    uint64_t segments, blocks, records; /* of the log */
    uint64_t last_ts, last_time_ns, first_segment, k;
    bool started; /* a start was tried and went well */
    uint32_t spaces;
};

/* 0 when everything could be looked at, whatever was found. ERROR_VERSION: of a newer format, or of
 * a machine with another order of bytes. ERROR_NOT_FOUND: no database is there. ERROR_IO,
 * ERROR_MEMORY. */
int db_check(const struct check_options *options, struct check_report *report);

#endif
