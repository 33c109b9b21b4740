/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_PROGRESS_H
#define SERVER_PROGRESS_H

/*
 * How far something long has come, on a line of standard error that is drawn in place, ten times a second at most:
 *
 *      backup   45% [#########...........]  120.5 MB/s  4 s left
 *
 * Where standard error is no terminal nothing is ever written. The line goes when all is done.
 */
#include <stdbool.h>
#include <stdint.h>

#include "db/backup.h"

enum { PROGRESS_LINE_MAX = 192 };

struct progress {
    const char *unit; /* of what is counted: "B" are bytes; else a noun, such as "files" */
    char what[41];    /* the part that is shown, as far as there is room; others begin anew */
    uint64_t began_ns, drawn_ns; /* of that part; drawn 0: the line is not there */
    bool asked, terminal;        /* whether standard error is one, once that was asked */
};

/* The line without what draws it, in `out`: `done` of `total`, which is above 0, after so many ns. */
void progress_line(char out[PROGRESS_LINE_MAX], const struct progress *progress, uint64_t done,
                   uint64_t total, uint64_t ns);

/* For db_progress.tell; arg is a struct progress. `total` 0: there is nothing to be shown. */
void progress_tell(void *arg, const char *what, uint64_t done, uint64_t total);

/* Takes the line away, so that something else can be written. */
void progress_end(struct progress *progress);

/* Who shows it, to be given to what takes long. `progress` has only its unit set, and lives as long. */
struct db_progress progress_shown(struct progress *progress);

#endif
