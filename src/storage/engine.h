/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_ENGINE_H
#define STORAGE_ENGINE_H

/*
 * An engine is a body: where committed rows go when they leave the head, and how they are read
 * back.
 *
 *   head: memory, versions          body: one an engine
 *        └──absorb: sorted, committed, up to ts──►┘──get, cursor──► readers
 *
 * Uncommitted data never reaches a body, so no body needs undo. A body never sees transactions:
 * only timestamps, and the list of snapshots for which it has to keep a version each (invariant
 * 17). Readers name a view, a picture of the body that stays as it is while they hold it, and a
 * timestamp.
 *
 * Threads: absorb, compact, tidy, files, settle, revert, verify, and where jobs begin and end, of one
 * body are called by one thread at a time; views, gets, cursors and the steps of jobs by any, at the
 * same time.
 *
 * Functions return 0 or a negative code with diagnostics. Optional functions have an
 * engine_generic_ version, so that no caller looks for NULL.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "io/io.h"
#include "mem/arena.h"

struct body;
struct body_view;
struct body_cursor;
struct body_job;
struct cache;       /* storage/cache/cache.h */
struct lsm_options; /* storage/lsm/lsm.h */

enum engine_flags {
    /* Every row is in the head all the time: what is not in the head does not exist, and nobody
       asks the body. */
    ENGINE_RESIDENT = 1,
    /* Takes rows: absorb, get, cursor and compact work. Without it the log alone makes the rows
       durable. */
    ENGINE_ABSORBS = 2,
    /* What it has absorbed is there after close and open. */
    ENGINE_DURABLE = 4,
    /* Its files change, where nobody reads: one that is to stay as it is has to be copied. */
    ENGINE_CHANGES_FILES = 8,
    /* No space can have it. */
    ENGINE_NOT_OFFERED = 16,
    /* What keeps its bodies tidy are jobs, which other threads can work on. */
    ENGINE_JOBS = 32
};

/* One version of a row. `data` NULL is a tombstone. */
struct engine_row {
    const unsigned char *key;
    size_t key_size;
    uint64_t ts;
    const char *data;
    uint32_t size;
};

struct engine_key {
    const unsigned char *data;
    size_t size;
};

/* Rows to absorb: in order of key, versions of one key newest first. next returns 0 or ERROR_END; a
 * row is valid until the next call. */
struct engine_source {
    int (*next)(struct engine_source *source, struct engine_row *out);
};

/* Timestamps that somebody may still read at, in any order. What is newer than all of them is kept
 * as well. */
struct engine_snapshots {
    const uint64_t *ts;
    unsigned count;
};

struct engine_range {
    const void *lower, *upper; /* NULL: unbounded */
    size_t lower_size, upper_size;
    bool lower_inclusive, upper_inclusive, backward;
};

enum { ENGINE_NAME_MAX = 15, ENGINE_FILE_NAME_MAX = 63 };

/* A file of a body, as the manifest names it. The last three are of engines that have levels, or
 * write into their file where nobody reads, and zero for others: there `level` is where in the file
 * the root is, in units of 4096 bytes, and `group` its sequence. */
struct engine_file {
    char name[ENGINE_FILE_NAME_MAX + 1];
    uint64_t bytes;
    uint64_t rows, tombstones; /* versions, and those of them that are tombstones */
    uint32_t level;
    uint64_t group; /* files one behind the other with the same level and group are one sequence */
    uint64_t time_ms; /* wall-clock time at which the newest of its rows was absorbed */
};

/* SPACE-INCARNATION-NUMBER.run, the name of a file with that number. */
void engine_file_name(char out[ENGINE_FILE_NAME_MAX + 1], uint32_t space_id, uint32_t incarnation,
                      uint64_t number);

struct engine_options {
    struct io *io; /* the data directory */
    uint32_t space_id, incarnation;
    /* The files of a durable body as body_files gave them when the manifest was written, copied. */
    const struct engine_file *files;
    unsigned file_count;
    /* Where numbers for the names of new files come from; outlives the body. */
    _Atomic uint64_t *next_file;
    /* Of what is read from files; outlives the body. NULL: none. */
    struct cache *cache;
    /* How an engine with levels works; copied. NULL: as lsm_options_default says. */
    const struct lsm_options *lsm;
    uint32_t page_bytes; /* of new files that have pages: 4096 (or 0) to 65536, a power of two */
};

/* How much the work of body_tidy, or of jobs, is wanted. */
enum engine_urgency {
    ENGINE_IDLE,    /* there is nothing to do */
    ENGINE_NORMAL,  /* reads and space profit */
    ENGINE_HIGH,    /* it is behind */
    ENGINE_CRITICAL /* writers should wait for it (debt 1), or the disk is nearly full */
};

struct engine_stats {
    uint64_t rows;       /* versions that the body holds */
    uint64_t bytes;      /* of keys and data; of files, if it has any */
    uint64_t live_bytes; /* an estimate of what of that is not superseded or deleted */
    uint64_t files;
    /* Bytes that were written since the body was opened, where files change (ENGINE_CHANGES_FILES); 0 for
     * others, whose files are what was written. */
    uint64_t written;
    /* How far the work of body_tidy is behind: 0 not at all; at 1 writers should be as slow as it is,
     * and in between the slower the nearer, so that they never have to stop. */
    double debt;
    enum engine_urgency urgency; /* idle, of those that don't say */
};

/* What a step of body_tidy has done. */
enum engine_tidy {
    ENGINE_TIDY,         /* there is nothing to do */
    ENGINE_TIDY_WORKING, /* a part, more to come */
    ENGINE_TIDY_CHANGED  /* body_files gives other files than before */
};
struct engine_tidied {
    enum engine_tidy what;
    uint64_t bytes; /* of rows that were written */
};

struct engine_vtab {
    const char *name;
    unsigned flags;
    int (*open)(const struct engine_options *options, struct body **out);
    void (*close)(struct body *body);
    int (*absorb)(struct body *body, struct engine_source *rows, uint64_t up_to_ts,
                  const struct engine_snapshots *snapshots);
    int (*view_open)(struct body *body, struct body_view **out);
    void (*view_close)(struct body_view *view);
    int (*get)(struct body_view *view, const void *key, size_t key_size, uint64_t ts,
               struct arena *arena, struct engine_row *out);
    unsigned (*prefetch)(struct body_view *view, const struct engine_key *keys, unsigned count,
                         uint64_t ts, unsigned *reads);
    int (*cursor_open)(struct body_view *view, const struct engine_range *range, uint64_t ts,
                       struct body_cursor **out);
    int (*cursor_next)(struct body_cursor *cursor, struct engine_row *out);
    void (*cursor_close)(struct body_cursor *cursor);
    int (*split)(struct body_view *view, unsigned parts, struct arena *arena,
                 struct engine_key *keys, unsigned *count);
    int (*compact)(struct body *body, const struct engine_snapshots *snapshots);
    int (*tidy)(struct body *body, const struct engine_snapshots *snapshots, uint64_t bytes_max,
                struct engine_tidied *out);
    int (*job_begin)(struct body *body, const struct engine_snapshots *snapshots,
                     struct engine_tidied *done, struct body_job **out);
    int (*job_step)(struct body_job *job, bool urgent, uint64_t bytes_max,
                    struct engine_tidied *out);
    int (*job_end)(struct body *body, struct body_job *job, bool keep, struct engine_tidied *out);
    int (*files)(struct body *body, int (*each)(const struct engine_file *file, void *arg),
                 void *arg);
    void (*settle)(struct body *body);
    void (*hold)(struct body *body, bool held);
    void (*configure)(struct body *body, const struct engine_options *options);
    void (*revert)(struct body *body, bool keep_files);
    int (*verify)(struct body *body);
    void (*stats)(struct body *body, struct engine_stats *out);
};

/* The beginning of every body, view, cursor and job. */
struct body {
    const struct engine_vtab *vtab;
};
struct body_view {
    const struct engine_vtab *vtab;
};
struct body_cursor {
    const struct engine_vtab *vtab;
};
struct body_job {
    const struct engine_vtab *vtab;
};

/* The engine called so ("memory", or "memtx" as an alias of it), or NULL; and all of them, NULL
 * behind the last. */
const struct engine_vtab *engine_find(const char *name, size_t size);
const struct engine_vtab *engine_at(unsigned n);

/* Opens a body, checks it as body_verify does, and closes it. */
int engine_verify_files(const struct engine_vtab *engine, const struct engine_options *options);

/* For engines without ENGINE_ABSORBS: ERROR_UNSUPPORTED, nothing found, nothing to do. */
int engine_generic_absorb(struct body *body, struct engine_source *rows, uint64_t up_to_ts,
                          const struct engine_snapshots *snapshots);
int engine_generic_view_open(struct body *body, struct body_view **out);
void engine_generic_view_close(struct body_view *view);
int engine_generic_get(struct body_view *view, const void *key, size_t key_size, uint64_t ts,
                       struct arena *arena, struct engine_row *out);
unsigned engine_generic_prefetch(struct body_view *view, const struct engine_key *keys,
                                 unsigned count, uint64_t ts, unsigned *reads);
int engine_generic_cursor_open(struct body_view *view, const struct engine_range *range,
                               uint64_t ts, struct body_cursor **out);
int engine_generic_cursor_next(struct body_cursor *cursor, struct engine_row *out);
void engine_generic_cursor_close(struct body_cursor *cursor);
int engine_generic_split(struct body_view *view, unsigned parts, struct arena *arena,
                         struct engine_key *keys, unsigned *count);
int engine_generic_compact(struct body *body, const struct engine_snapshots *snapshots);

/* For engines without ENGINE_DURABLE: nothing to do, no files. */
int engine_generic_tidy(struct body *body, const struct engine_snapshots *snapshots,
                        uint64_t bytes_max, struct engine_tidied *out);
int engine_generic_job_begin(struct body *body, const struct engine_snapshots *snapshots,
                             struct engine_tidied *done,
                             struct body_job **out); /* also without ENGINE_JOBS */
int engine_generic_job_step(struct body_job *job, bool urgent, uint64_t bytes_max,
                            struct engine_tidied *out);
int engine_generic_job_end(struct body *body, struct body_job *job, bool keep,
                           struct engine_tidied *out);
int engine_generic_files(struct body *body, int (*each)(const struct engine_file *file, void *arg),
                         void *arg);
void engine_generic_settle(struct body *body);
void engine_generic_hold(struct body *body, bool held); /* also where files never change */

/* For engines that have no options. */
void engine_generic_configure(struct body *body, const struct engine_options *options);
void engine_generic_revert(struct body *body, bool keep_files);

/* Opens the body of a space. The caller closes it. */
static inline int body_open(const struct engine_vtab *engine, const struct engine_options *options,
                            struct body **out)
{
    return engine->open(options, out);
}

static inline void body_close(struct body *body)
{
    body->vtab->close(body);
}

/*
 * Takes over committed rows with timestamps up to up_to_ts. After 0 a new view shows them; after an
 * error none of them is there. Of the versions that a key then has, those that neither a snapshot
 * nor the newest reader can see may be dropped.
 */
static inline int body_absorb(struct body *body, struct engine_source *rows, uint64_t up_to_ts,
                              const struct engine_snapshots *snapshots)
{
    return body->vtab->absorb(body, rows, up_to_ts, snapshots);
}

static inline int body_view_open(struct body *body, struct body_view **out)
{
    return body->vtab->view_open(body, out);
}

static inline void body_view_close(struct body_view *view)
{
    view->vtab->view_close(view);
}

/* The newest version of the key at or before ts: ERROR_NOT_FOUND when there is none or it is a
 * tombstone. What `out` points to is in the arena or the view. */
static inline int body_get(struct body_view *view, const void *key, size_t key_size, uint64_t ts,
                           struct arena *arena, struct engine_row *out)
{
    return view->vtab->get(view, key, key_size, ts, arena, out);
}

enum { ENGINE_PREFETCH_MAX = 64 };

/*
 * Says that gets of these keys, 1 to ENGINE_PREFETCH_MAX, come next: what they would read from files one after
 * another is read at once, into the cache. A hint: gets give the same without it, and what fails says so
 * when it is wanted. Returns how many of the keys, from the first, were seen to, which is fewer where the cache
 * is too small to hold what all of them need, and 0 where it is too small for any or the engine does not do this. *reads
 * tells how many reads that took: 0, everything was there. No diagnostics.
 */
static inline unsigned body_prefetch(struct body_view *view, const struct engine_key *keys,
                                     unsigned count, uint64_t ts, unsigned *reads)
{
    return view->vtab->prefetch(view, keys, count, ts, reads);
}

/* The rows that exist at ts, in order. The range's bounds stay valid while the cursor is open. */
static inline int body_cursor_open(struct body_view *view, const struct engine_range *range,
                                   uint64_t ts, struct body_cursor **out)
{
    return view->vtab->cursor_open(view, range, ts, out);
}

/* 0, or ERROR_END. The row is valid until the next call. */
static inline int body_cursor_next(struct body_cursor *cursor, struct engine_row *out)
{
    return cursor->vtab->cursor_next(cursor, out);
}

static inline void body_cursor_close(struct body_cursor *cursor)
{
    cursor->vtab->cursor_close(cursor);
}

/* Keys, ascending, that cut the rows into at most `parts` parts of roughly one size, for those who
 * read with several threads: (.., keys[0]], (keys[0], keys[1]], .. There is room for parts - 1 in
 * `keys`, *count tells how many there are, none if the body cannot tell. Bytes in the arena. */
static inline int body_split(struct body_view *view, unsigned parts, struct arena *arena,
                             struct engine_key *keys, unsigned *count)
{
    return view->vtab->split(view, parts, arena, keys, count);
}

/* Drops what no snapshot needs, tombstones at the end of a chain included. */
static inline int body_compact(struct body *body, const struct engine_snapshots *snapshots)
{
    return body->vtab->compact(body, snapshots);
}

/*
 * Does a part of the work that keeps what the body takes within a bound, writing about bytes_max
 * bytes: whoever calls decides when, and is not kept long. The snapshots are those of the first
 * call of a piece of work. After an error that piece has been given up, and nothing is lost.
 */
static inline int body_tidy(struct body *body, const struct engine_snapshots *snapshots,
                            uint64_t bytes_max, struct engine_tidied *out)
{
    return body->vtab->tidy(body, snapshots, bytes_max, out);
}

/*
 * The same work as a job, of which a body has one at a time, and does not tidy itself meanwhile:
 *
 *      thread that changes the body     job_begin ──────────────────────────────► job_end
 *      any one thread at a time                     job_step, job_step, .. END
 *
 * job_begin gives NULL in *out when no job is there: `done` says whether there is nothing to do
 * (ENGINE_TIDY) or it has been done at once (ENGINE_TIDY_CHANGED). The snapshots are as for tidying.
 *
 * job_step writes about bytes_max bytes and says ENGINE_TIDY_WORKING as long as more is to come. It
 * changes nothing of the body. `urgent`: what it reads and writes competes for the disk as a
 * checkpoint does, not in the background. After an error the job can only be ended.
 *
 * job_end puts into the body what the steps have made, if they are through, and `keep`; else that
 * goes. What has been reverted meanwhile it may be made of: then it goes, too (ENGINE_TIDY instead of
 * ENGINE_TIDY_CHANGED). Ends the job in any case. Before the body is closed.
 */
static inline int body_job_begin(struct body *body, const struct engine_snapshots *snapshots,
                                 struct engine_tidied *done, struct body_job **out)
{
    return body->vtab->job_begin(body, snapshots, done, out);
}

static inline int body_job_step(struct body_job *job, bool urgent, uint64_t bytes_max,
                                struct engine_tidied *out)
{
    return job->vtab->job_step(job, urgent, bytes_max, out);
}

static inline int body_job_end(struct body *body, struct body_job *job, bool keep,
                               struct engine_tidied *out)
{
    return body->vtab->job_end(body, job, keep, out);
}

/*
 * Durable bodies are made of files that never change, or where nobody reads (body_hold). What absorb, compact and tidy have made is
 * durable (but for its names: io_sync_dir), and counts after a restart when a manifest says so.
 *
 * body_files tells which files the body is made of now, oldest first. After a manifest with them is
 * durable, body_settle says so. body_revert goes back to what body_settle, or opening, has found,
 * and removes the files made since, unless `keep_files`. Files that are no longer part of a body
 * are removed by the caller; views that were opened before go on.
 */
static inline int body_files(struct body *body,
                             int (*each)(const struct engine_file *file, void *arg), void *arg)
{
    return body->vtab->files(body, each, arg);
}

static inline void body_settle(struct body *body)
{
    body->vtab->settle(body);
}

/* While `held`, what has been settled stays in the files when something else is settled: somebody
 * copies them by an older manifest. It goes with the first that is settled when it is not. */
static inline void body_hold(struct body *body, bool held)
{
    body->vtab->hold(body, held);
}

/*
 * Gives an open body other options: `lsm` and `page_bytes` of these, which are as for opening. What has been written stays as
 * it is, and what is being written goes on as it began; so pages keep their size once there is a file of them.
 * Where rows are absorbed or merged at the same time `page_bytes` must be as before. Any thread.
 */
static inline void body_configure(struct body *body, const struct engine_options *options)
{
    body->vtab->configure(body, options);
}

static inline void body_revert(struct body *body, bool keep_files)
{
    body->vtab->revert(body, keep_files);
}

/* Checks order and structure. 0, or ERROR_CORRUPT saying what and where. */
static inline int body_verify(struct body *body)
{
    return body->vtab->verify(body);
}

static inline void body_stats(struct body *body, struct engine_stats *out)
{
    body->vtab->stats(body, out);
}

#endif
