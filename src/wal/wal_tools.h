/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WAL_WAL_TOOLS_H
#define WAL_WAL_TOOLS_H

/*
 * What those need who handle logs as files: names of segments, a new log that begins where another
 * one ended, and what can still be read of a damaged one.
 */
#include "wal/wal.h"

enum { WAL_FILE_NAME_BYTES = 32 };

/* The name of a segment's file, and whether a name is one. */
void wal_file_name(uint64_t segment, char out[WAL_FILE_NAME_BYTES]);
bool wal_file_number(const char *name, uint64_t *segment);

/* Whether a file of that name is left over from making a segment, or waits to be made into one: the
 * next start removes it. */
bool wal_file_temporary(const char *name);

/* The checksum in the header of a segment, which no two segments share: for telling whose it is.
 * ERROR_NOT_FOUND, ERROR_CORRUPT. */
int wal_file_checksum(struct io *io, uint64_t segment, uint32_t *out);

/*
 * Whether nothing of the log was between the two, although there are numbers: a segment that was
 * prepared when the database was killed, and has nothing that counts, goes at the next start, and
 * its number is not given again. False also when one of them is damaged or missing.
 */
int wal_file_follows(struct io *io, uint64_t segment, uint64_t before, bool *out);

/*
 * Makes a log without records in a directory that has none: one segment, of that number, from which
 * the clock starts above `clock`. Durable with its name.
 */
int wal_log_create(struct io *io, uint64_t segment, uint64_t clock);

/* ------------------------------------------------------------------------------- what can be saved
 */

/* A part of the log that is not there, or not as it was written. */
struct wal_loss {
    uint64_t segment; /* where it must have been */
    uint64_t offset;
    const char *check;             /* what is wrong there; valid during the call */
    uint64_t incarnation;          /* 0: not known */
    uint64_t blocks;               /* how many; 0: not known */
    uint64_t after_ts, through_ts; /* its records are in (after, through]; 0: not known */
};

struct wal_salvage_options {
    struct io *io;
    uint64_t first_segment; /* where the log begins; 0 or WAL_FIRST_FOUND: with what is there */
    /* What follows lost blocks is handed over, too. It may rest on what they had: a record is
     * everything that one transaction wrote, but not what others had written before. */
    bool past_gaps;
    wal_replay_fn each;                                   /* NULL: only counted */
    void (*lost)(const struct wal_loss *loss, void *arg); /* NULL: not told */
    void *arg;
};

struct wal_salvage_stats {
    uint64_t segments, blocks, records; /* handed over */
    uint64_t losses;
    uint64_t blocks_left, records_left; /* whole, but behind lost ones and not handed over */
    uint64_t left_after_ts;             /* their timestamps are above it, */
    uint64_t left_through_ts;           /* and at most this */
    uint64_t last_ts;                   /* the largest C handed over */
    uint64_t clock;                     /* the largest timestamp seen anywhere */
};

/*
 * Reads what is whole of a log, whatever else is in its files, and changes nothing. Each block's
 * place in the sequence tells where some are missing. What comes behind the recorded end of an
 * incarnation, or behind the end that a recovery would find in the last one, is dead and stays so.
 * 0 although there was damage; ERROR_IO, ERROR_MEMORY, ERROR_VERSION, or what `each` returned.
 */
int wal_salvage(const struct wal_salvage_options *options, struct wal_salvage_stats *stats);

#endif
