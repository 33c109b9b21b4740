/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_MEMORY_H
#define DB_MEMORY_H

/*
 * What memory the database takes, space by space, and its budget (mem/budget.h): the head is limited by
 * it, and checkpoints are what it asks for first.
 *
 * The checkpoint's thread looks ten times a second at most, and so does any other thread that comes by:
 * db_memory_tick costs a comparison unless it is time.
 */
#include <stdint.h>

#include "db/catalog.h"
#include "db/db.h"
#include "db/throttle.h"
#include "mem/budget.h"
#include "storage/cache/cache.h"

/* Whoever has caches, or can free memory, joins. */
struct budget *db_budget(struct db *db);

void db_memory_tick(struct db *db);

/* Another memory_max, of all; 0: no limit. Any thread. */
void db_memory_max_set(struct db *db, uint64_t bytes);

/* Another policy for the cache that bodies share, a static name of cache_policy_name; what is there stays. An error
 * leaves the one that there was. Any thread. */
int db_cache_policy_set(struct db *db, const char *name);

/* What that cache has and has done, nothing before the first body that reads; returns its policy. Any thread. */
const char *db_cache_stats(struct db *db, struct cache_stats *out);

/* At this moment. Any thread. */
void db_memory_view(struct db *db, struct budget_view *out);

/* Whether there is so much left that no writer has to ask. Three loads. */
bool db_memory_is_easy(struct db *db);

/* How fast may be written (db/throttle.h). Any thread. */
void db_throttle_view(struct db *db, struct throttle_view *out);

/* How long a writer has to wait before it begins, since memory is short, or checkpoints or compaction are behind:
 * mostly 0, by a few loads. It is counted: who has asked waits. Any thread. */
uint64_t db_memory_slow_ns(struct db *db);

/* The same where keys are evicted, as the caller has said: only what lets memory last until the checkpoint that runs has
 * ended. */
uint64_t db_memory_pace_ns(struct db *db);

/* Whether keys are evicted when memory is short: checkpoints are made in time then, since what has gone stays while one runs.
 * Any thread. */
void db_memory_evicts_set(struct db *db, bool evicts);

/* Whether memory is nearly used up and checkpoints are about to free a good part of it, as rows leave the head: then
 * it is worth a writer's while to wait before it begins. Mostly one load. Any thread without a transaction. */
bool db_memory_frees(struct db *db);

/* Of one space, as counters have it; exact when nobody writes. */
struct db_memory_space {
    uint64_t rows;    /* that exist */
    uint64_t tuples;  /* bytes of these */
    uint64_t keys;    /* bytes of rows in the primary tree, deleted ones not yet gone included */
    uint64_t entries; /* bytes of those of secondary indexes */
    uint64_t nodes;   /* bytes of trees */
    uint64_t directories; /* bytes of hash indexes */
};
void db_memory_space(const struct space *space, struct db_memory_space *out);

/* The same of what Redis's numbered database has, n < REDIS_DATABASES; of all elements of large
 * collections for n = DB_REDIS_ELEMENTS. */
void db_memory_redis(struct db *db, unsigned n, struct db_memory_space *out);

#endif
