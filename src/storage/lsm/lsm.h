/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_LSM_LSM_H
#define STORAGE_LSM_LSM_H

/*
 * The engine "lsm": a log-structured merge tree (O'Neil, Cheng, Gawlick, O'Neil 1996). Each absorb
 * makes a sequence of sorted files at level 0; compaction merges sequences into larger ones, a step
 * at a time (body_tidy), by one of four strategies:
 *
 *   levelled     each level is one sequence, size_ratio times as large as the one above it, and is
 *                merged into the next one a file at a time: least space, and reads ask one file a
 *                level
 *   tiered       sequences of about one size are merged when there are l0_files of them: least
 *                writing
 *   universal    the newest sequences are merged as long as each is not larger than those before it
 *                together; all of them when what is superseded is more than space_percent
 *   time window  what was absorbed in one window of time is merged, windows are not: for rows that
 *                come in order of time and expire
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "codec/compress.h"
#include "storage/engine.h"
#include "storage/run/run.h"

extern const struct engine_vtab engine_lsm;

enum lsm_strategy { LSM_LEVELLED, LSM_TIERED, LSM_UNIVERSAL, LSM_TIME_WINDOW };

enum { LSM_LEVELS = 7, LSM_LEVEL_LAST = LSM_LEVELS - 1 };

/*
 * Who knows when rows expire: from which millisecond since 1970 on, or LSM_NEVER. What expired up to the horizon
 * every reader, of every live snapshot, takes to be absent, and every later one; it never goes back. Such a row
 * goes when it is compacted and no older sequence has its key: until then it hides what is older. A file of which
 * all rows have expired is compacted for that alone. Any thread.
 */
#define LSM_NEVER UINT64_MAX
struct lsm_filter {
    uint64_t (*expires_ms)(const struct lsm_filter *filter, const struct engine_row *row);
    uint64_t (*horizon_ms)(const struct lsm_filter *filter);
};

/* Tells the bytes that the disk has room for. */
struct lsm_space {
    uint64_t (*left)(const struct lsm_space *space);
};

struct lsm_options {
    enum lsm_strategy strategy;
    unsigned size_ratio;  /* of a level to the one above it; > 1 */
    unsigned l0_files;    /* so many sequences at level 0, or of one size, are merged; > 1 */
    uint64_t level_bytes; /* at which the first level below 0 is full */
    uint64_t file_bytes;  /* at which a file ends; rows of one key are never parted */
    size_t block_bytes;   /* as run_options.block_bytes */
    unsigned filter_bits; /* a key; 0: no filters */
    enum run_filter_kind
        filter_kind;        /* ribbon: those that err as often as Bloom filters of so many */
    uint64_t window_ms;     /* of the time window strategy */
    unsigned space_percent; /* universal: merges all when the newer sequences are that much of the
                               oldest one */
    /* How files of a level are compressed; what nothing is below of is of the last one. */
    enum compress_method compression[LSM_LEVELS];
    /* Of the last level, where that is compressed by zstd: trained from what is compacted and kept in
     * each file, unless that makes files larger; 0: none. */
    size_t dictionary_bytes;
    const struct lsm_filter *filter; /* NULL: nothing expires; outlives the body */
    const struct lsm_space *space;   /* NULL: there is enough; outlives the body */
    struct clock *clock;             /* NULL: the system's */
};

/* Levelled, ratio 10, 4 sequences, 256 MB, files of 32 MB, blocks of 8 KB, ten bits a key, windows
 * of a day, lz4. */
void lsm_options_default(struct lsm_options *out);

struct lsm_stats {
    unsigned sequences; /* a get asks one file of each at most */
    struct {
        unsigned sequences, files;
        uint64_t bytes, rows, tombstones;
    } levels[LSM_LEVELS];
    uint64_t absorbed_bytes;  /* of files that absorb has written, since the body was opened */
    uint64_t ingested_bytes;  /* of those, files that were taken in as they were */
    uint64_t compacted_bytes; /* of files that compaction has written, and */
    uint64_t read_bytes;      /* of those that it has read */
    uint64_t compactions, moves, dropped_rows;
    uint64_t expired_rows;      /* of those that were dropped: since they have expired */
    uint64_t gets, probes;      /* files that a get asked, */
    uint64_t filtered;          /* and of them those that told without looking at a block */
    double write_amplification; /* bytes written for each that absorb wrote; 0 before the first */
    /* Blocks that gets looked at, in the cache or by reading: one of each file that did not tell without; for
     * each get. 0 before the first. */
    double read_amplification;
    double space_amplification; /* bytes for each that is alive, by an estimate; 0 without rows */
    double debt;                /* as engine_stats.debt */
    enum engine_urgency urgency;
};

/* Of a body of this engine. Any thread; the numbers of reads are each of another moment. */
void lsm_stats_get(struct body *body, struct lsm_stats *out);

/* What the options of a body of this engine are now. Any thread. */
void lsm_options_get(struct body *body, struct lsm_options *out);

/* Asks for a compaction of everything there is, which body_tidy then does step by step; false: there are no files, and a
 * manifest says so. Then, whether it is still to be done, or under way, or not yet settled. Any thread. */
bool lsm_compact_request(struct body *body);
bool lsm_compact_wanted(struct body *body);

/*
 * Takes in runs that somebody has written into the body's directory, under names of
 * engine_file_name with numbers from next_file, as one sequence, without writing them again. They
 * are in order of their keys and do not overlap (else ERROR_INVALID). Where they overlap rows of the
 * body all of theirs must be newer than those (else ERROR_INVALID). As with absorb: durable with the
 * next manifest, taken back by body_revert, which removes the files; of the thread that changes the
 * body. What is absorbed later is newer. After an error the files are the caller's.
 */
int lsm_ingest(struct body *body, const char *const *names, unsigned count);

/*
 * The same in two steps. lsm_write, of any thread, writes rows as absorb does, in order and each key once, none newer than
 * up_to_ts, into files that are no part of the body: *out is a view of them alone. lsm_take takes them in as
 * lsm_ingest does, without opening them again. The view is closed as any other; or, where the files were not taken in,
 * by lsm_write_undo, which removes them.
 */
int lsm_write(struct body *body, struct engine_source *rows, uint64_t up_to_ts,
              struct body_view **out);
int lsm_take(struct body *body, struct body_view *written);
void lsm_write_undo(struct body *body, struct body_view *written);

#endif
