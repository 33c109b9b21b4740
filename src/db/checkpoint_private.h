/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_CHECKPOINT_PRIVATE_H
#define DB_CHECKPOINT_PRIVATE_H

/* What the files of the checkpoint share, and what they offer to the rest of db. */
#include <pthread.h>

#include "base/diag.h"
#include "db/checkpoint.h"
#include "db/db_private.h"
#include "storage/manifest.h"

/* Each takes a rule out, so that a test sees what would be lost. */
enum checkpoint_mutation {
    CHECKPOINT_MUTATION_LATEST = 1,        /* K is the latest timestamp, not a durable one */
    CHECKPOINT_MUTATION_TAKE_FIRST = 2,    /* the changed rows are taken before K is known */
    CHECKPOINT_MUTATION_NO_TOMBSTONE = 4,  /* tombstones are not written */
    CHECKPOINT_MUTATION_NO_RETURN = 8,     /* what a failed checkpoint took is not listed again */
    CHECKPOINT_MUTATION_CUT_EARLY = 16,    /* the log is cut before the manifest is durable */
    CHECKPOINT_MUTATION_CUT_HIGH = 32,     /* ... and to where it is now, not to K */
    CHECKPOINT_MUTATION_UNLINK_EARLY = 64, /* replaced runs go before the manifest is durable */
    CHECKPOINT_MUTATION_UNNOTED = 128,     /* of a row that is written it is not noted (33) */
};

struct checkpoint_names {
    char (*names)[ENGINE_FILE_NAME_MAX + 1];
    size_t count, capacity;
};

/* Something of a body that job threads work on (checkpoint_jobs.c). */
enum { CHECKPOINT_JOBS = 16, CHECKPOINT_THREADS = DB_COMPACTION_THREADS_MAX };
enum checkpoint_job_state {
    CHECKPOINT_JOB_NONE, /* the place is free */
    CHECKPOINT_JOB_WAITS,
    CHECKPOINT_JOB_RUNS, /* a thread is at a step of it */
    CHECKPOINT_JOB_THROUGH
};
struct checkpoint_job {
    enum checkpoint_job_state state;
    struct store *store; /* with a reference; NULL: the place is free */
    struct body_job *job;
    enum engine_urgency urgency;
    uint64_t number;  /* in order of their beginning */
    uint64_t written; /* bytes of rows so far */
    int rc;           /* 0, or why it has failed, and the message */
    char failure[DIAG_MESSAGE_MAX];
};

/* Of the build of an index over rows in a body: */
enum checkpoint_build_stage {
    BUILD_WALKS,   /* the thread has the picture */
    BUILD_SORTED,  /* and has sorted the keys */
    BUILD_ABSORBS, /* a checkpoint knows K, and gives the body the first of them; for each part */
    BUILD_LOOKS    /* all are in it; the thread is about to go over the index */
};

struct checkpoint {
    struct db *db;
    _Atomic uint64_t begun_count, ended_count; /* how many have */
    struct db_checkpoint_options options;
    void (*on_end)(void *arg); /* called when one has ended */
    void *on_end_arg;
    _Atomic unsigned mutations;
    void (*taken)(void); /* of a test with MUTATION_TAKE_FIRST: what happens before K is known */
    struct db_worker *worker;
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex; /* requests, stats; innermost */
    pthread_cond_t wake, ended, built;
    struct body_build *builds; /* indexes that are being built where rows leave */
    struct ingest *ingests;    /* rows that are to be taken in */
    bool publishing;           /* the thread of some of them is at what is this thread's */
    _Atomic bool stop;
    uint64_t requested, finished; /* tickets */
    uint64_t idles;               /* how often it has found nothing to do */
    bool idle_awaited;            /* somebody waits for the next such time */
    bool dropped;                 /* some store has been dropped */
    bool untidied; /* somebody wants bodies to be looked at for what there is to tidy */
    struct db_checkpoint_stats stats;
    uint64_t began_ns; /* of the present one */

    /* Jobs; under the mutex. Only the thread itself fills places and frees them. */
    pthread_cond_t work; /* some job waits, or has become more urgent */
    struct checkpoint_job jobs[CHECKPOINT_JOBS];
    unsigned jobs_open;
    uint64_t jobs_begun;
    bool jobs_through;            /* some are */
    uint64_t jobs_bytes, jobs_ns; /* how much they have written since when */
    pthread_t threads[CHECKPOINT_THREADS];
    unsigned thread_count;    /* how many there are; options.threads of them may be at a job */
    unsigned jobs_running;    /* jobs that a thread is at a step of */
    uint64_t step_bytes;      /* about how much a step writes */
    uint64_t steps, steps_ns; /* how many there were, and what they took */
    void (*_Atomic before_step)(uint32_t space_id); /* of a test: what happens before each step */
    void (*_Atomic at_build)(enum checkpoint_build_stage stage); /* likewise, of an index's build */

    /* Orders replacing the manifest and removing files against somebody who wants to read the files
     * of a manifest. Before `mutex`. */
    pthread_mutex_t files_mutex;
    unsigned holds;            /* how many want that no file goes */
    _Atomic bool unlink_again; /* the last one of them wants it no more */

    /* Of the thread alone, but for `manifest`, which others read under files_mutex. */
    struct store **stores; /* those whose bodies have files, each with a reference */
    size_t store_count, store_capacity;
    struct manifest manifest;         /* the one in force */
    struct checkpoint_names doubtful; /* files of a manifest that may or may not be in force */
    struct checkpoint_names unlinked; /* files that could not be removed yet */
    bool stale;                       /* the manifest names files of stores that are gone */
    bool untidy;                      /* body_tidy may have something to do */
    size_t tidy_at;                   /* the store whose turn it is */
    uint64_t tidy_again_ns;           /* not before, after a failure */
    uint64_t expired_next_ns;         /* when it is looked whether files have expired */
    uint64_t tidy_again_soonest_ns;   /* when a body whose job has failed is tried again; 0: none */
    uint64_t log_bytes_replayed;      /* of the log, when the database was opened */
    uint64_t log_bytes_seen;          /* of the log, when the last one began */
    uint64_t next_ns;                 /* when time demands one; UINT64_MAX: never */
    bool pointed; /* these have taken its place; under the mutex, as the next three are: */
    struct db_save_point points[DB_SAVE_POINTS_MAX];
    unsigned point_count;
    uint64_t counted_ns;            /* from when their seconds count */
    uint64_t retry_ns;              /* not by itself before, after a failure */
    uint64_t ended_ns;              /* when the last one ended */
    unsigned failures;              /* in a row */
    bool gated;                     /* it has the gate, and no time */
    uint64_t breathed_ns;           /* processor time at which it stood back last */
    uint64_t paced_bytes, paced_ns; /* how much has been written since when */
};

/* A changed row; the first eight bytes of its key, so that sorting seldom has to fetch the row. */
struct changed {
    struct store *store;
    uint64_t prefix;
    struct row *row;
};

struct body_build;
struct ingest;

struct round {
    struct checkpoint *checkpoint;
    uint64_t k;
    struct txn_changes changes;
    struct changed *items;
    struct body_build *builds;         /* that it works for */
    struct engine_snapshots snapshots; /* that are held, below K; an array of our own */
    struct store **stores;             /* with a reference each */
    size_t store_count, store_capacity;
    uint64_t rows, bytes;
};

/*
 * Recovery, before the log is read: reads the manifest, removes what is left over, and puts the
 * runs that it names into the heads. Stores get their body and K.
 */
int db__checkpoint_load(struct db *db, struct db_open_stats *stats);

/* After recovery: takes over what was loaded, and starts the thread. */
int db__checkpoint_start(struct db *db, const struct db_options *options,
                         const struct db_open_stats *opened);

/* Ends the thread, and what it is doing, and frees. Nothing may be asked for any more. */
void db__checkpoint_stop(struct db *db);

/* Blocks until there is nothing to do: for tests, which want merges to have ended. */
void db__checkpoint_wait_idle(struct db *db);

/* A store has been marked as dropped: lets go of it soon. Any thread. */
void db__checkpoint_dropped(struct db *db);

/* A compaction has been asked for: begins it soon. Any thread. */
void db__checkpoint_untidy(struct db *db);

/*
 * Copies the manifest that is in force into an empty one, and keeps the files that it names until
 * db__files_release: they are read meanwhile. Calls `look` (may be NULL) before anything of the log
 * that this manifest needs can go. Any thread.
 */
int db__files_hold(struct db *db, struct manifest *out,
                   int (*look)(const struct manifest *manifest, void *arg), void *arg);
void db__files_release(struct db *db);

/* One checkpoint; on the checkpoint's thread. *rows and *bytes: what it has written. */
int checkpoint__make(struct checkpoint *checkpoint, uint64_t *rows, uint64_t *bytes);

/* checkpoint_source.c: gives the body of a store the rows items[first..behind) as they were at K, and
 * counts them. */
int checkpoint__store_absorb(struct round *round, struct store *store, size_t first, size_t behind);

/*
 * checkpoint_build.c. Whether a checkpoint is wanted; with the mutex. Those that one works for: to be
 * noted before K is taken, and told of its end, before there is another one; when none can be made all
 * that wait have failed.
 */
bool checkpoint__builds_wait(const struct checkpoint *checkpoint);
void checkpoint__builds_begin(struct round *round);
void checkpoint__builds_end(struct round *round, int rc);
void checkpoint__builds_fail(struct checkpoint *checkpoint, int rc);

/* The store behind *at (NULL: the first) that has yet to get entries in this checkpoint, or NULL. What
 * is to be given to a store, NULL for nothing; and its next entry, NULL when there is none, or no more in
 * this checkpoint, which stays until it is taken. */
struct store *checkpoint__builds_store(const struct round *round, struct body_build **at);
struct body_build *checkpoint__build_serve(const struct round *round, const struct store *store);
int checkpoint__build_peek(struct body_build *build, const struct engine_row **out);
void checkpoint__build_take(struct body_build *build);

/*
 * checkpoint_ingest.c (db/ingest_private.h). Whether a checkpoint is wanted; with the mutex. Before and behind one; true: rows were taken in.
 */
bool checkpoint__ingests_wait(const struct checkpoint *checkpoint);
void checkpoint__ingests_begin(struct checkpoint *checkpoint);
bool checkpoint__ingests_end(struct checkpoint *checkpoint, int rc);

/* Those that their jobs have left: whether there is one whose thread has ended; frees one of them. With the mutex, which
 * it lets go of meanwhile. _stop, when the checkpoint's thread has ended, waits for all that are left. */
bool checkpoint__ingests_left(const struct checkpoint *checkpoint);
void checkpoint__ingests_free(struct checkpoint *checkpoint);
void checkpoint__ingests_stop(struct checkpoint *checkpoint);

/* checkpoint_write.c. What has failed (0: nothing) and its message, while things are done that may set the diagnostics: _restore
 * sets them as they were, and returns it. */
struct checkpoint_failure {
    int rc;
    char message[DIAG_MESSAGE_MAX];
};
void checkpoint__failure_keep(struct checkpoint_failure *failure, int rc);
int checkpoint__failure_restore(const struct checkpoint_failure *failure);

/*
 * checkpoint_write.c: in the gate, gives the body of one store what its head has up to k, where all that is committed
 * is durable. The caller puts a manifest in force that says so, or does not (rc), and then calls _absorbed.
 */
int checkpoint__gate_absorb(struct checkpoint *checkpoint, struct store *store, uint64_t k,
                            struct round **out);
void checkpoint__gate_absorbed(struct round *round, struct store *store, int rc);

/* Ends the rows whose tombstones are in the bodies, as far as it goes now; a few at a time, since
 * nobody else's memory is handed back meanwhile. */
void checkpoint__collect(struct checkpoint *checkpoint);

/*
 * checkpoint_jobs.c: begins a job of the store's body if there is something to do, and a place for it;
 * then threads work on it, and nothing is left to do here. `done` as of body_job_begin. Ending those
 * that are through puts them in force; stopping joins the threads and gives up what they were at.
 */
int checkpoint__job_begin(struct checkpoint *checkpoint, struct store *store,
                          const struct engine_snapshots *snapshots, struct engine_tidied *done);
void checkpoint__jobs_end(struct checkpoint *checkpoint, unsigned *merged, unsigned *failed);
void checkpoint__jobs_rank(struct checkpoint *checkpoint);
void checkpoint__jobs_stop(struct checkpoint *checkpoint);

/* How many jobs of a store there are, and the bytes that they have written. Any thread. */
void checkpoint__jobs_of(struct checkpoint *checkpoint, const struct store *store, unsigned *jobs,
                         uint64_t *written);

/* How many threads may work on jobs from now on (1 to CHECKPOINT_THREADS), and about how much a step of
 * theirs writes; and how many steps there were since the start, and how long they took in all. Any thread. */
void checkpoint__threads_set(struct checkpoint *checkpoint, unsigned threads);
void checkpoint__step_set(struct checkpoint *checkpoint, uint64_t bytes);
void checkpoint__steps_get(struct checkpoint *checkpoint, uint64_t *steps, uint64_t *ns);

/* One step of tidying; clears `untidy` when there is nothing to do. */
int checkpoint__tidy(struct checkpoint *checkpoint, struct engine_tidied *done);

/* Begins what jobs there are to begin; how many bodies have other files since. */
unsigned checkpoint__jobs_begin(struct checkpoint *checkpoint);

/* Lets go of stores that have been dropped. */
void checkpoint__sweep(struct checkpoint *checkpoint);

/* Writes the manifest that says how the bodies are now, with K for each tree; settles or reverts
 * the bodies; removes files that are no longer named. When it fails *doubtful (may be NULL) says whether the next start may
 * find it in force all the same. */
int checkpoint__manifest_store(struct checkpoint *checkpoint, uint64_t k, uint64_t first_segment,
                               bool *doubtful);

/* Removes what could not be removed while somebody held the files. */
void checkpoint__unlink_again(struct checkpoint *checkpoint);

/* Steps aside for a moment, now and then: called in the course of all that computes for long. The other
 * is for any thread, which keeps the processor time at which it did last. */
void checkpoint__breathe(struct checkpoint *checkpoint);
void checkpoint__step_aside(uint64_t *breathed_ns);

/* Waits on a condition for at most ns. With the mutex. */
void checkpoint__wait_ns(struct checkpoint *checkpoint, pthread_cond_t *condition, uint64_t ns);

/* Waits as long as the rate demands after so many bytes. ERROR_CANCELLED when it is to stop. */
int checkpoint__pace(struct checkpoint *checkpoint, uint64_t bytes);

/* Adds a store to those of the manifest, with a reference, if its body has files. */
int checkpoint__store_hold(struct checkpoint *checkpoint, struct store *store);

bool checkpoint__mutated(const struct checkpoint *checkpoint, enum checkpoint_mutation mutation);

/* The files that a manifest names, sorted; into an empty list. */
int checkpoint__names_of(struct checkpoint_names *names, const struct manifest *manifest);
bool checkpoint__names_have(const struct checkpoint_names *sorted, const char *name);
void checkpoint__names_free(struct checkpoint_names *names);

#endif
