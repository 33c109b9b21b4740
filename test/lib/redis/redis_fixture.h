/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_REDIS_FIXTURE_H
#define TEST_LIB_REDIS_FIXTURE_H

/*
 * A database on the test disk with a clock that stands still, and Redis commands run on it as text.
 * Failures to set up fail the test.
 */
#include <stdint.h>

#include "base/clock.h"
#include "db/db.h"
#include "io/disk.h"
#include "redis/redis.h"
#include "redis/redis_scan.h"

enum { REDIS_FIXTURE_NOW_MS = 1000000, REDIS_FIXTURE_OTHERS_MAX = 4 };

struct redis_fixture {
    struct disk *disk;
    struct io *io;
    struct clock_manual clock;
    struct db *db;
    struct db_worker *worker, *own;
    struct db_worker
        *others[REDIS_FIXTURE_OTHERS_MAX]; /* of redis_fixture_open; NULL: a free place */
    struct redis_scans *scans;
    struct redis_config config; /* of the commands; Redis's defaults at first */
    unsigned database;
    char *text; /* of the last reply */
};

struct redis_fixture *redis_fixture_new(void);
/* Rolls back what a test that has failed has left open, on any of the workers: else the database would wait
 * for that when it is closed. */
void redis_fixture_delete(struct redis_fixture *fixture);

/* Another worker, as db_worker_open and db_worker_close. */
int redis_fixture_open(struct redis_fixture *fixture, struct db_worker **out);
void redis_fixture_close(struct redis_fixture *fixture, struct db_worker *worker);

/* Closes the database and opens it again from its log. */
void redis_fixture_restart(struct redis_fixture *fixture);

/*
 * Runs a command, words separated by blanks ('' is an empty one), in a transaction of its own, as a
 * session does, and waits until it is durable. The reply as text: OK   7   "bulk"   nil   [1 "two"]
 * {"k" "v"}   !WRONGTYPE message Valid until the next call.
 */
const char *redis_fixture_run(struct redis_fixture *fixture, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Runs one in a transaction that the caller has begun; *code, if not NULL, is what the command
 * returned. */
const char *redis_fixture_run_in(struct redis_fixture *fixture, struct txn *txn, int *code,
                                 const char *command);

#endif
