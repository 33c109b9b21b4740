/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_DB_DB_FIXTURE_H
#define TEST_DB_DB_FIXTURE_H

/*
 * What tests of the database stand on: a database over the test disk with a few workers on one
 * thread. Tuples, keys, operations and options are given as JSON and come back as JSON.
 */
#include <stdbool.h>
#include <stdint.h>

#include "db/checkpoint.h"
#include "db/ddl.h"
#include "db/space.h"
#include "io/disk.h"

enum { DB_FIXTURE_WORKERS = 3 };

struct db_fixture {
    struct disk *disk;
    struct io *io;
    struct db *db;
    struct db_open_stats stats;
    unsigned replay_threads; /* of the next opening; see db.h */
    struct db_worker *workers[DB_FIXTURE_WORKERS];
    struct io *(*wrap)(struct io *io); /* puts something between database and disk at each start */
    struct clock *clock;               /* NULL: the system's */
    struct db_checkpoint_options checkpoint;
    uint64_t log_segment_bytes; /* these two as in db.h */
    struct io *log_archive;
    uint64_t watch_log_bytes;                 /* as in db.h */
    const struct db_expressions *expressions; /* of the next opening; as in db.h */
    bool interval;                            /* durability interval instead of commit */
    unsigned memory_cache;                    /* these two as in db.h */
    const char *tuner_limits;
    const char *engine; /* of spaces that are made without one; NULL: the default */
};

/* An empty database; ended by _close. Both assert. */
void db_fixture_open(struct db_fixture *fixture);
void db_fixture_close(struct db_fixture *fixture);

/* Closes it and opens it on the same disk. */
void db_fixture_reopen(struct db_fixture *fixture);

/* Its parts: opening on the disk as it is, returning what db_open does (then nothing is open); and
 * closing all but the disk. */
int db_fixture_start(struct db_fixture *fixture, bool skip_flush);
void db_fixture_stop(struct db_fixture *fixture);

/* MessagePack of a JSON text, in one of eight buffers that are used in turn; NULL stays NULL. */
const char *mp_of(const char *json, size_t *size);

/* Changes of the schema by worker 0: what the function in db/ddl.h returns. Spaces are named. */
int make_space(struct db_fixture *fixture, const char *name, const char *options);
int make_index(struct db_fixture *fixture, const char *space, const char *name,
               const char *options);
int drop_space(struct db_fixture *fixture, const char *name);
int drop_index(struct db_fixture *fixture, const char *space, const char *name);
int truncate_space(struct db_fixture *fixture, const char *name);
int format_space(struct db_fixture *fixture, const char *name, const char *format);

/* By name, from the catalog of worker 0, or of the one whose transaction it is. */
struct space *space_of(struct db_fixture *fixture, struct txn *txn, const char *name);
struct index *index_of(struct db_fixture *fixture, struct txn *txn, const char *space,
                       const char *index);

struct txn *begin(struct db_fixture *fixture, unsigned worker, enum txn_level level);
struct txn *begin_readonly(struct db_fixture *fixture, unsigned worker);

/* Statements; with txn NULL in a transaction of its own by worker 0, whose commit counts. */
int insert(struct db_fixture *fixture, struct txn *txn, const char *space, const char *tuple);
int replace(struct db_fixture *fixture, struct txn *txn, const char *space, const char *tuple);
int delete_by(struct db_fixture *fixture, struct txn *txn, const char *space, const char *index,
              const char *key);
int update_by(struct db_fixture *fixture, struct txn *txn, const char *space, const char *index,
              const char *key, const char *ops);
int upsert(struct db_fixture *fixture, struct txn *txn, const char *space, const char *tuple,
           const char *ops);

/* The tuple as JSON, NULL when there is none, "error" when it fails. In a text that lives for four
 * such calls. With txn NULL the latest. */
const char *get_by(struct db_fixture *fixture, struct txn *txn, const char *space,
                   const char *index, const char *key);

/* Tuples as JSON, one behind the other. */
const char *select_by(struct db_fixture *fixture, struct txn *txn, const char *space,
                      const char *index, enum space_iterator iterator, const char *key);

/* Fail the test, saying what was returned, unless `rc` is 0; or `code`, with `part` in its message. */
void must(int rc);
void refused(int rc, int code, const char *part);

/* Makes a checkpoint, by which tombstones have done their duty, and lets all workers collect. */
void db_settle(struct db_fixture *fixture);

#endif
