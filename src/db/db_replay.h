/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_DB_REPLAY_H
#define DB_DB_REPLAY_H

/*
 * Replaying the log into the heads by several threads.
 */
#include "db/db_private.h"
#include "txn/txn.h"

struct replay;

enum { REPLAY_THREADS_MAX = 8 };

/*
 * Begins to replay into db's stores with `threads` threads besides the caller's; 0: as many as the
 * process has cores, at most REPLAY_THREADS_MAX; 1, or when no more can be started: the caller's
 * alone. The caller owns *out and ends it by db__replay_end. ERROR_MEMORY.
 */
int db__replay_new(struct db *db, unsigned threads, struct replay **out);

/* A wal_replay_fn, whose `arg` is the struct replay. Returns the first error of any thread. */
int db__replay_record(uint64_t ts, const void *body, size_t size, void *arg);

/* Waits until everything handed over has been put into the heads, ends the threads and frees. Adds
 * the rows that took something to *changes, and how many operations there were to *rows. Returns
 * the first error of any thread with its message, or 0. NULL is allowed. */
int db__replay_end(struct replay *replay, struct txn_changes *changes, uint64_t *rows);

#endif
