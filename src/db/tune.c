/* SPDX-License-Identifier: Apache-2.0 */

/* The knobs of the database. Readings are means since the last look. */
#include "db/tune.h"

#include <string.h>

#include "db/db_private.h"
#include "db/memory.h"
#include "mem/heap.h"

enum { INTERVAL_MS_MIN = 100, INTERVAL_MS_MAX = 1000, CACHE_PERCENT_MAX = 80, CACHES_FULL = 95 };

/* ------------------------------------------------------------------------------ log_flush_interval */

static bool flush_measure(void *arg, struct tuner_reading *out)
{
    struct db *db = arg;
    struct db_tuning *tuning = &db->tuning;
    struct wal_stats stats;
    wal_stats_get(db->wal, &stats);
    uint64_t ns = stats.flush_ns - tuning->flush_ns, flushes = stats.flushes - tuning->flushes;
    tuning->flush_ns = stats.flush_ns;
    tuning->flushes = stats.flushes;
    if (ns == 0 || flushes == 0)
        return false;
    *out = (struct tuner_reading){.what = "a flush of the log took",
                                  .unit = "ms",
                                  .value = (double)ns / (double)flushes / 1e6,
                                  .low = 2,
                                  .high = 20,
                                  .above = 1,
                                  .below = -1};
    return true;
}

static void flush_set(void *arg, uint64_t ms)
{
    wal_flush_interval_set(((struct db *)arg)->wal, (unsigned)ms);
}

/* ------------------------------------------------------------------------------------- cache_share */

static bool cache_measure(void *arg, struct tuner_reading *out)
{
    struct budget_view view;
    db_memory_view(arg, &view);
    const struct budget_part_view *head = &view.parts[BUDGET_HEAD],
                                  *caches = &view.parts[BUDGET_CACHES];
    if (head->limit == 0 || caches->limit == 0)
        return false;
    /* What caches have lent (mem/budget.h) they get back: it is the share that has to fit. */
    uint64_t limit = head->limit - view.lent_bytes;
    bool full = caches->used >= caches->limit / 100 * CACHES_FULL;
    *out = (struct tuner_reading){.what = "rows and indexes take of their limit",
                                  .unit = "%",
                                  .value = (double)head->used * 100 / (double)limit,
                                  .low = 70,
                                  .high = 90,
                                  .above = -1,
                                  .below = full};
    return true;
}

static void cache_set(void *arg, uint64_t percent)
{
    budget_cache_percent_set(db_budget(arg), (unsigned)percent);
}

/* ------------------------------------------------------------------------------------ start and end */

static void join(struct db *db, unsigned number, const struct tuner_knob *knob)
{
    db->tuning.knobs[number] = *knob;
    db->tuning.knobs[number].arg = db;
    tuner_join(&db->tuning.tuner, &db->tuning.knobs[number]);
}

void db__tuning_start(struct db *db, const struct db_options *options)
{
    unsigned cache = options->memory_cache;
    tuner_create(&db->tuning.tuner, options->tuned);
    db->tuning.started = true;
    if (options->durability != WAL_DURABILITY_COMMIT)
        join(db, 0,
             &(struct tuner_knob){.name = "log_flush_interval",
                                  .unit = "ms",
                                  .min = INTERVAL_MS_MIN,
                                  .max = INTERVAL_MS_MAX,
                                  .step = 100,
                                  .value = INTERVAL_MS_MAX,
                                  .measure = flush_measure,
                                  .set = flush_set});
    if (cache > 1)
        join(db, 1,
             &(struct tuner_knob){.name = "cache_share",
                                  .unit = "%",
                                  .min = cache / 2,
                                  .max =
                                      2 * cache < CACHE_PERCENT_MAX ? 2 * cache : CACHE_PERCENT_MAX,
                                  .step = 5,
                                  .value = cache,
                                  .measure = cache_measure,
                                  .set = cache_set});
}

void db__tuning_stop(struct db *db)
{
    if (!db->tuning.started)
        return;
    for (unsigned n = 0; n < DB_KNOBS; n++)
        if (db->tuning.knobs[n].name != NULL)
            tuner_leave(&db->tuning.tuner, &db->tuning.knobs[n]);
    tuner_destroy(&db->tuning.tuner);
    db->tuning.started = false;
}

struct tuner *db_tuner(struct db *db)
{
    return &db->tuning.tuner;
}
