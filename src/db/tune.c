/* SPDX-License-Identifier: Apache-2.0 */

/* The knobs of the database. Readings are means since the last look. */
#include "db/tune.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/checkpoint_private.h"
#include "db/db_private.h"
#include "db/memory.h"
#include "io/io_schedule.h"
#include "mem/heap.h"

enum {
    INTERVAL_MS_MIN = 100,
    INTERVAL_MS_MAX = 1000,
    GATHER_US_MAX = 2000,
    GATHER_US_STEP = 100,
    WRITE_US_SLOW = 400,
    IN_VAIN_PERCENT = 50,
    CACHE_PERCENT_MAX = 80,
    CACHES_FULL = 95,
    STEP_KB_MIN = 16,
    STEP_KB_MAX = 1024,
    /* Compaction is behind: writers are slowed, and badly so. */
    DEBT_PERCENT = 50,
    DEBT_PERCENT_BAD = 75,
    READ_MS_SLOW = 5
};

enum knob { LOG_FLUSH_INTERVAL, LOG_GATHER, CACHE_SHARE, COMPACTION_THREADS, COMPACTION_STEP };
_Static_assert(COMPACTION_STEP + 1 == DB_KNOBS, "there is a place for each knob");

/* Which limits one may give. */
static const struct {
    const char *name, *unit;
    uint64_t least, most;
} KNOBS[DB_KNOBS] = {
    [LOG_FLUSH_INTERVAL] = {"log_flush_interval", "ms", 1, 1000}, /* `interval` says a second */
    [LOG_GATHER] = {"log_gather", "us", 0, 10000},
    [CACHE_SHARE] = {"cache_share", "%", 1, CACHE_PERCENT_MAX},
    [COMPACTION_THREADS] = {"compaction_threads", "threads", 1, DB_COMPACTION_THREADS_MAX},
    [COMPACTION_STEP] = {"compaction_step", "KB", 4, 16384},
};

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

/* ------------------------------------------------------------------------------------------- log_gather */

/* Since the last look. */
struct log_writes {
    uint64_t blocks, ns, followed, gathered, in_vain;
};

static struct log_writes writes_look(struct db *db)
{
    struct db_tuning *tuning = &db->tuning;
    struct wal_stats stats;
    wal_stats_get(db->wal, &stats);
    struct log_writes writes = {.blocks = stats.blocks - tuning->blocks,
                                .ns = stats.write_ns - tuning->blocks_ns,
                                .followed = stats.followed - tuning->followed,
                                .gathered = stats.gathered - tuning->gathered,
                                .in_vain = stats.gathered_in_vain - tuning->gathered_in_vain};
    tuning->blocks = stats.blocks;
    tuning->blocks_ns = stats.write_ns;
    tuning->followed = stats.followed;
    tuning->gathered = stats.gathered;
    tuning->gathered_in_vain = stats.gathered_in_vain;
    return writes;
}

/* What is waited for is worth it as long as it is little beside a write that would be waited for instead. */
static bool gather_measure(void *arg, struct tuner_reading *out)
{
    struct db *db = arg;
    struct log_writes writes = writes_look(db);
    if (writes.blocks == 0)
        return false;
    double ms = (double)db->tuning.knobs[LOG_GATHER].value / 1e3;
    double in_vain =
        writes.gathered == 0 ? 0 : (double)writes.in_vain * 100 / (double)writes.gathered;
    bool crowded = 2 * (writes.followed + writes.gathered) > writes.blocks;
    if (in_vain > IN_VAIN_PERCENT)
        *out = (struct tuner_reading){.what = "those whom the log waited for did not come in",
                                      .unit = "%",
                                      .value = in_vain,
                                      .high = IN_VAIN_PERCENT,
                                      .above = -1};
    else
        *out = (struct tuner_reading){.what = "a write of the log took",
                                      .unit = "ms",
                                      .value = (double)writes.ns / (double)writes.blocks / 1e6,
                                      .low = 2 * ms,
                                      .high = 4 * ms + WRITE_US_SLOW / 1e3,
                                      .above = crowded,
                                      .below = -1};
    return true;
}

static void gather_set(void *arg, uint64_t us)
{
    wal_gather_set(((struct db *)arg)->wal, (unsigned)us);
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

/* -------------------------------------------------------------------------------------- compaction_threads */

/* Of blocks and pages, for those who are served: how many, and what they took. */
static void reads_get(struct db *db, uint64_t *reads, uint64_t *ns)
{
    struct io_class_stats stats;
    *reads = *ns = 0;
    if (db->io->scheduler == NULL)
        return;
    io_scheduler_stats(db->io->scheduler, IO_USER, &stats);
    *reads = stats.latency.count;
    *ns = stats.latency.total_ns;
}

/* Since the last look; 0: there were none. */
static double read_ms(struct db *db)
{
    struct db_tuning *tuning = &db->tuning;
    uint64_t reads, read_ns;
    reads_get(db, &reads, &read_ns);
    uint64_t count = reads - tuning->reads, ns = read_ns - tuning->read_ns;
    tuning->reads = reads;
    tuning->read_ns = read_ns;
    return count == 0 ? 0 : (double)ns / (double)count / 1e6;
}

/* What is behind gets one more, and slow reads get the disk. When both are so it stays as it is, until compaction is
 * badly behind. */
static bool threads_measure(void *arg, struct tuner_reading *out)
{
    struct db *db = arg;
    struct throttle_view throttle;
    db_throttle_view(db, &throttle);
    double debt = throttle.debt * 100, ms = read_ms(db);
    bool slow = ms > READ_MS_SLOW, behind = debt > DEBT_PERCENT;
    if (behind && (!slow || debt > DEBT_PERCENT_BAD))
        *out = (struct tuner_reading){.what = "compaction is behind by",
                                      .unit = "%",
                                      .value = debt,
                                      .high = DEBT_PERCENT,
                                      .above = 1};
    else
        *out = (struct tuner_reading){.what = "a read of a file took",
                                      .unit = "ms",
                                      .value = ms,
                                      .high = READ_MS_SLOW,
                                      .above = behind ? 0 : -1};
    return behind || ms > 0;
}

static void threads_set(void *arg, uint64_t threads)
{
    checkpoint__threads_set(((struct db *)arg)->checkpoint, (unsigned)threads);
}

/* ----------------------------------------------------------------------------------------- compaction_step */

static bool step_measure(void *arg, struct tuner_reading *out)
{
    struct db *db = arg;
    struct db_tuning *tuning = &db->tuning;
    uint64_t steps, steps_ns;
    checkpoint__steps_get(db->checkpoint, &steps, &steps_ns);
    uint64_t count = steps - tuning->steps, ns = steps_ns - tuning->steps_ns;
    tuning->steps = steps;
    tuning->steps_ns = steps_ns;
    if (count == 0)
        return false;
    *out = (struct tuner_reading){.what = "a step of compaction took",
                                  .unit = "ms",
                                  .value = (double)ns / (double)count / 1e6,
                                  .low = 2,
                                  .high = 20,
                                  .above = -1,
                                  .below = 1};
    return true;
}

static void step_set(void *arg, uint64_t kb)
{
    checkpoint__step_set(((struct db *)arg)->checkpoint, kb << 10);
}

/* ------------------------------------------------------------------------------------------ limits */

/* One `name=least..most`, up to `end`. */
static int limit_set(struct db *db, const char *text, const char *end)
{
    const char *equals = memchr(text, '=', (size_t)(end - text));
    size_t size = equals == NULL ? (size_t)(end - text) : (size_t)(equals - text);
    unsigned n = 0;
    while (n < DB_KNOBS &&
           (strlen(KNOBS[n].name) != size || memcmp(KNOBS[n].name, text, size) != 0))
        n++;
    if (n == DB_KNOBS)
        return diag_set(ERROR_INVALID,
                        "the tuner has no knob '%.*s', but log_flush_interval, log_gather, "
                        "cache_share, compaction_threads and compaction_step",
                        (int)size, text);
    uint64_t least = 0, most = 0;
    int length = 0;
    char value[48] = "";
    if (equals != NULL && (size_t)(end - equals - 1) < sizeof value)
        memcpy(value, equals + 1, (size_t)(end - equals - 1));
    if (sscanf(value, "%5" SCNu64 "..%5" SCNu64 "%n", &least, &most, &length) != 2 ||
        value[length] != '\0' || strpbrk(value, "+- ") != NULL)
        return diag_set(ERROR_INVALID,
                        "limits of the tuner are like %s=%" PRIu64 "..%" PRIu64 ", not '%.*s'",
                        KNOBS[n].name, KNOBS[n].least, KNOBS[n].most, (int)(end - text), text);
    if (least < KNOBS[n].least || most > KNOBS[n].most || least > most)
        return diag_set(ERROR_INVALID,
                        "the limits of the tuner's %s lie between %" PRIu64 " and %" PRIu64
                        " %s, the lower one first: not %" PRIu64 "..%" PRIu64,
                        KNOBS[n].name, KNOBS[n].least, KNOBS[n].most, KNOBS[n].unit, least, most);
    tuner_limit(&db->tuning.tuner, KNOBS[n].name, least,
                most); /* it may not be there: see tune.h */
    return 0;
}

static int limits_set(struct db *db, const char *text)
{
    static const char BETWEEN[] = ", ";
    int rc = 0;
    for (text += strspn(text, BETWEEN); rc == 0 && *text != '\0'; text += strspn(text, BETWEEN)) {
        const char *end = text + strcspn(text, BETWEEN);
        rc = limit_set(db, text, end);
        text = end;
    }
    return rc;
}

/* ------------------------------------------------------------------------------------ start and end */

static void join(struct db *db, enum knob n, const struct tuner_knob *knob)
{
    struct tuner_knob *place = &db->tuning.knobs[n];
    *place = *knob;
    place->name = KNOBS[n].name;
    place->unit = KNOBS[n].unit;
    place->arg = db;
    tuner_join(&db->tuning.tuner, place);
}

static unsigned least_of(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* They wait for the disk as well: two for each core, if not more are configured. */
static unsigned threads_max(unsigned configured)
{
    cpu_set_t cores;
    unsigned count =
        sched_getaffinity(0, sizeof cores, &cores) == 0 ? 2 * (unsigned)CPU_COUNT(&cores) : 2;
    return least_of(count > configured ? count : configured, DB_COMPACTION_THREADS_MAX);
}

static void compaction_join(struct db *db, unsigned threads)
{
    threads = threads == 0 ? 1 : least_of(threads, DB_COMPACTION_THREADS_MAX);
    join(db, COMPACTION_THREADS,
         &(struct tuner_knob){.min = 1,
                              .max = threads_max(threads),
                              .step = 1,
                              .value = threads,
                              .measure = threads_measure,
                              .set = threads_set});
    join(db, COMPACTION_STEP,
         &(struct tuner_knob){.min = STEP_KB_MIN,
                              .max = STEP_KB_MAX,
                              .value = DB_COMPACTION_STEP_BYTES >> 10,
                              .measure = step_measure,
                              .set = step_set});
}

int db__tuning_start(struct db *db, const struct db_options *options)
{
    unsigned cache = options->memory_cache;
    tuner_create(&db->tuning.tuner, options->tuned);
    db->tuning.started = true;
    if (options->durability != WAL_DURABILITY_COMMIT)
        join(db, LOG_FLUSH_INTERVAL,
             &(struct tuner_knob){.min = INTERVAL_MS_MIN,
                                  .max = INTERVAL_MS_MAX,
                                  .step = 100,
                                  .value = INTERVAL_MS_MAX,
                                  .measure = flush_measure,
                                  .set = flush_set});
    else
        join(db, LOG_GATHER,
             &(struct tuner_knob){.min = 0,
                                  .max = GATHER_US_MAX,
                                  .step = GATHER_US_STEP,
                                  .value = 0,
                                  .measure = gather_measure,
                                  .set = gather_set});
    if (cache > 1)
        join(db, CACHE_SHARE,
             &(struct tuner_knob){.min = cache / 2,
                                  .max = least_of(2 * cache, CACHE_PERCENT_MAX),
                                  .step = 5,
                                  .value = cache,
                                  .measure = cache_measure,
                                  .set = cache_set});
    compaction_join(db, options->checkpoint.threads);
    reads_get(db, &db->tuning.reads, &db->tuning.read_ns);
    return options->tuner_limits == NULL ? 0 : limits_set(db, options->tuner_limits);
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
