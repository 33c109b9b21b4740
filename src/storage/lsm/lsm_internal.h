/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_LSM_LSM_INTERNAL_H
#define STORAGE_LSM_LSM_INTERNAL_H

/*
 * What the files of this engine share.
 *
 *   body ──► version (counted; a view is one) ──► sequences, newest first ──► files (counted) ──► run
 *
 * A sequence is files in order of their keys that do not overlap: what one absorb has made, or a
 * level. A newer sequence's version of a key is never older than an older sequence's. From the
 * newest to the oldest the levels do not fall, and each but 0 is there once at most.
 */
#include <pthread.h>

#include "storage/lsm/lsm.h"
#include "storage/run/run.h"
#include "storage/run/run_block.h"
#include "storage/run/run_format.h"

/* A file that is open: as long as somebody has a reference it can be read, unlinked or not. */
struct lsm_file {
    _Atomic unsigned references;
    struct engine_file meta; /* but for level and group, which are its sequence's */
    struct run *run;
    struct engine_key first, last; /* the run's */
    uint64_t
        expires_ms; /* when the last of its rows expires; LSM_NEVER: one does not, or nobody knows */
    bool taken;     /* by the job: of the thread that changes the body */
};

struct lsm_sequence {
    unsigned level;
    uint64_t group;
    uint64_t bytes, rows, tombstones;
    uint64_t time_ms; /* of its newest rows */
    unsigned count;
    struct lsm_file **files;
};

/* What the body is made of at one time. Never changed once it is shared. */
struct lsm_version {
    struct body_view base; /* a view is a reference to one */
    struct lsm_body *body; /* which outlives its views */
    _Atomic unsigned references;
    unsigned count, file_count;
    struct lsm_sequence *sequences; /* newest first */
};

/* A file and the sequence that it belongs to: of these versions are made. */
struct lsm_place {
    struct lsm_file *file;
    unsigned level;
    uint64_t group;
};
struct lsm_places {
    struct lsm_place *places;
    unsigned count, capacity;
};

struct lsm_job;

/* Counted by readers, in lines of their own. */
enum { LSM_STRIPES = 8 };
struct lsm_reads {
    CACHE_ALIGNED _Atomic uint64_t gets;
    _Atomic uint64_t probes, filtered;
};

struct lsm_body {
    struct body base;
    struct io *io;
    uint32_t space_id, incarnation;
    struct lsm_options options; /* under the mutex: lsm__options */
    struct clock *clock;
    struct cache *cache; /* NULL: none */
    _Atomic uint64_t *next_file;
    pthread_mutex_t mutex; /* orders taking a reference against replacing the version */
    struct lsm_version *version;
    struct lsm_version *settled; /* what a manifest names; replaced with the mutex */
    struct lsm_job *job;         /* NULL: nothing is being merged */
    /* lsm_compact_request: how many there were, and how many of these a manifest has fulfilled. */
    _Atomic uint64_t asked, answered;
    uint64_t merged_all; /* that many as soon as the present version is settled */
    _Atomic uint64_t absorbed_bytes, compacted_bytes, read_bytes, compactions, moves, dropped_rows;
    _Atomic uint64_t expired_rows, ingested_bytes;
    struct lsm_reads reads[LSM_STRIPES];
};

/* Of the files of bodies whose rows expire: a u64, little-endian, as lsm_file.expires_ms. */
enum { LSM_SECTION_EXPIRES = RUN_SECTION_CALLER };

/* What the options are now. Any thread. */
void lsm__options(struct lsm_body *body, struct lsm_options *out);

/* The wall-clock time of what is taken in now: it does not go back from one sequence to the next. Any thread. */
uint64_t lsm__time_now(struct lsm_body *body);

/* Makes the present version one with these files as the newest sequence. */
int lsm__sequence_put(struct lsm_body *body, struct lsm_file *const *files, unsigned count);

/* ------------------------------------------------------------------------- lsm_version.c: lists */

/* Opens a file and checks that it is the one meant. One reference, the caller's. */
int lsm__file_open(struct lsm_body *body, const struct engine_file *meta, struct lsm_file **out);
struct lsm_file *lsm__file_hold(struct lsm_file *file);
void lsm__file_release(struct lsm_file *file);

int lsm__places_add(struct lsm_places *places, struct lsm_file *file, unsigned level,
                    uint64_t group);
int lsm__places_add_sequence(struct lsm_places *places, const struct lsm_sequence *sequence);

/* The version of these places: newest sequence first, each in order of keys. Takes references of
 * its own. */
int lsm__version_new(struct lsm_body *body, const struct lsm_places *places,
                     struct lsm_version **out);
void lsm__version_release(struct lsm_version *version);

/* 0, or ERROR_CORRUPT when the sequences are not as the top says. */
int lsm__version_check(const struct lsm_body *body, const struct lsm_version *version);
bool lsm__version_has(const struct lsm_version *version, const char *name);

/* The present version, with a reference. Any thread. */
struct lsm_version *lsm__version_hold(struct lsm_body *body);

/* Puts a version in place of the present one; takes over the reference. */
void lsm__version_publish(struct lsm_body *body, struct lsm_version *version);

/* The first file whose last key is not below the key; count if there is none. */
unsigned lsm__sequence_find(const struct lsm_sequence *sequence, const void *key, size_t size);

/* ------------------------------------------------------------------------ lsm_output.c: writing */

/* Rows becoming a sequence of files. */
struct lsm_output {
    struct lsm_body *body;
    struct lsm_options options; /* as they were when it began */
    unsigned level;
    bool bottom;     /* nothing is below it */
    bool background; /* for the disk */
    uint64_t up_to_ts, time_ms;
    struct run_writer *writer; /* NULL: the next row begins a file */
    struct engine_file meta;   /* of the file being written */
    struct run_memory last_key;
    uint64_t rows, bytes;   /* of rows that were added */
    const void *dictionary; /* for the files, or NULL */
    size_t dictionary_size;
    uint64_t file_bytes; /* of files that are whole */
    /* What expired up to here is not waited for: where it is kept, something is below. */
    uint64_t horizon_ms;
    uint64_t expires_ms; /* of the rows of the file being written, the latest; 0: none does */
    struct lsm_file **files;
    unsigned count, capacity;
};

/* Adds a row, in order. After an error only abandon is allowed. */
int lsm__output_add(struct lsm_output *output, const struct engine_row *row);

/* What is written from now on competes for the disk as background work, or as a checkpoint's. */
void lsm__output_background(struct lsm_output *output, bool background);

/* Ends the last file: now output->files are all. */
int lsm__output_end(struct lsm_output *output);

/* Adds all rows of the source, and ends. */
int lsm__rows_write(struct lsm_output *output, struct engine_source *rows);

/* Lets go of the files, which stay. */
void lsm__output_release(struct lsm_output *output);

/* Removes what has been written. */
void lsm__output_abandon(struct lsm_output *output);

/* ------------------------------------------------------------------- lsm_pick.c: what to compact */

enum lsm_reason {
    LSM_NOTHING,
    LSM_MANY,    /* too many sequences */
    LSM_SIZE,    /* a level is too large, or there are several of a size */
    LSM_SPACE,   /* too much is superseded */
    LSM_WINDOW,  /* a window of time has ended */
    LSM_EXPIRED, /* all rows of a file have expired */
    LSM_ASKED_FOR
};

/*
 * Of sequences [first, behind) of a version, those files that have keys in a range: they are to
 * become one sequence of a level, together with what of those sequences is left if one of them is of
 * that level already.
 */
struct lsm_pick {
    enum lsm_reason reason;
    unsigned first, behind;
    struct engine_key lower, upper; /* inclusive; data NULL: all keys */
    unsigned level;
};

/* What is to be compacted next by the strategy. Pure. */
void lsm__pick(const struct lsm_version *version, const struct lsm_options *options,
               uint64_t now_ms, struct lsm_pick *out);

/* Everything. */
void lsm__pick_all(const struct lsm_version *version, const struct lsm_options *options,
                   struct lsm_pick *out);

/* The bytes at which each level is full, and the one that level 0 goes to. */
struct lsm_targets {
    unsigned base;
    uint64_t bytes[LSM_LEVELS];
};
void lsm__targets(const struct lsm_version *version, const struct lsm_options *options,
                  struct lsm_targets *out);

/* How far compaction is behind: from 0, nothing to do, over 1, at which writers should be as slow as
 * compaction, and on. */
double lsm__debt(const struct lsm_version *version, const struct lsm_options *options);

/* Files [*from, *to) of the sequence have keys in the pick's range. */
void lsm__pick_files(const struct lsm_pick *pick, const struct lsm_sequence *sequence,
                     unsigned *from, unsigned *to);

/* -------------------------------------------------------------------- lsm_compact.c: compacting */

int lsm__tidy(struct body *body, const struct engine_snapshots *snapshots, uint64_t bytes_max,
              struct engine_tidied *out);
int lsm__compact(struct body *body, const struct engine_snapshots *snapshots);

int lsm__job_begin(struct body *body, const struct engine_snapshots *snapshots,
                   struct engine_tidied *done, struct body_job **out);
int lsm__job_step(struct body_job *job, bool urgent, uint64_t bytes_max, struct engine_tidied *out);
int lsm__job_end(struct body *body, struct body_job *job, bool keep, struct engine_tidied *out);

/* Gives up what is being compacted, if anything is and nobody else works on it. */
void lsm__job_abandon(struct lsm_body *body);

/* -------------------------------------------------- lsm_dictionary.c: what rows have in common */

/* Trains a dictionary of at most options->dictionary_bytes from rows of these files, which are read in a hurry
 * (run_cursor_hurry) or not; *out is to be freed, NULL when there are too few rows, or files would not get smaller by
 * it. */
int lsm__dictionary_train(struct lsm_file *const *files, unsigned count, bool hurry,
                          const struct lsm_options *options, void **out, size_t *size);

/* Whether the space on the disk is running out. */
bool lsm__space_is_low(const struct lsm_version *version, const struct lsm_options *options);

/* ------------------------------------------------------------- lsm_read.c, lsm_cursor.c: reading */

/* One sequence as one cursor: all versions of a range, as run_cursor_next gives them. */
struct lsm_walk {
    struct engine_source base; /* lsm__walk_next */
    const struct lsm_sequence *sequence;
    unsigned from, to; /* files that are still to come: [from, to) */
    struct engine_range range;
    struct run_cursor *cursor; /* in the present file, or NULL */
    bool scan;                 /* run_cursor_scan */
    bool hurry;                /* run_cursor_hurry, of those that are opened */
    /* What expired up to the horizon is given as a tombstone, where nothing is below it, and counted. */
    const struct lsm_filter *filter; /* NULL: nothing expires */
    uint64_t horizon_ms, expired;
    const struct run_merge_below *below;
};

/* Walks over files [from, to) that the sequence has; zero bytes behind are not touched. */
void lsm__walk_create(struct lsm_walk *walk, const struct lsm_sequence *sequence, unsigned from,
                      unsigned to, const struct engine_range *range);
int lsm__walk_next(struct engine_source *walk, struct engine_row *out);
/* Of what is read from now on. */
void lsm__walk_hurry(struct lsm_walk *walk, bool hurry);
void lsm__walk_destroy(struct lsm_walk *walk);

unsigned lsm__prefetch(struct body_view *view, const struct engine_key *keys, unsigned count,
                       uint64_t ts, unsigned *reads);
int lsm__get(struct body_view *view, const void *key, size_t key_size, uint64_t ts,
             struct arena *arena, struct engine_row *out);
int lsm__split(struct body_view *view, unsigned parts, struct arena *arena, struct engine_key *keys,
               unsigned *count);
int lsm__cursor_open(struct body_view *view, const struct engine_range *range, uint64_t ts,
                     struct body_cursor **out);
int lsm__cursor_next(struct body_cursor *cursor, struct engine_row *out);
void lsm__cursor_close(struct body_cursor *cursor);

#endif
