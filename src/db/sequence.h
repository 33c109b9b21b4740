/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_SEQUENCE_H
#define DB_SEQUENCE_H

/*
 * Sequences: numbers that are never given twice. Taking one is no part of the transaction that takes
 * it: it is not rolled back with it, two transactions that take from one sequence do not conflict,
 * and so numbers may be missing. Definitions are rows of _sequence; how far each has got is in
 * _sequence_data.
 *
 * From any thread, inside of a transaction and outside of one. `ts`: what a reply that tells the
 * number must wait for; may be NULL.
 */
#include <stdbool.h>
#include <stdint.h>

#include "db/db.h"

struct sequence_def {
    uint32_t id;
    uint32_t name_size;
    const char *name; /* of the catalog, as everything it has from there */
    int64_t start, min, max, step;
    uint64_t cache;       /* numbers that are reserved at a time */
    uint64_t incarnation; /* tells it from one that had the id before */
    bool cycle;
};

/* Of the sequence with this id: ERROR_NOT_FOUND. */
int sequence_find(const struct catalog *catalog, uint32_t id, struct sequence_def *out);

/* Reads a row of _sequence, and says by ERROR_INVALID what makes no sense. Options: {start, min, max,
 * step, cache, cycle, incarnation}; one that is absent or nil has its default: numbers from 1 up, or
 * from -1 down when step is negative. */
int sequence_read(const char *tuple, struct sequence_def *out);

/* The next number. ERROR_INVALID: it has come to its end, and does not cycle. ERROR_LOG_FAILED,
 * ERROR_MEMORY. */
int sequence_next(struct db *db, const struct sequence_def *def, int64_t *out, uint64_t *ts);

/* The last number that was given, by anybody; ERROR_INVALID before the first one. After a crash: the
 * last one that may have been given. */
int sequence_current(struct db *db, const struct sequence_def *def, int64_t *out);

/* As if `last` had been the last number given; as if none had been. */
int sequence_set(struct db *db, const struct sequence_def *def, int64_t last, uint64_t *ts);
int sequence_reset(struct db *db, const struct sequence_def *def, uint64_t *ts);

/* After the sequence has been dropped: forgets how far it was. */
int sequence_forget(struct db *db, uint32_t id);

#endif
