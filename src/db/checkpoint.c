/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The checkpoint's thread: when there is something to do, and what.
 *
 *      asked for ──────────────┐
 *      an index waits for it ──┤
 *      log has grown ──────────┼──► checkpoint (checkpoint_write.c) ──► ended, tickets up to it
 *      time has passed ────────┤            │
 *      memory is used up ──────┘            │
 *                                           ▼ runs have become more
 *      tidying in steps (checkpoint_manifest.c), as long as nothing of the above is due; bodies whose
 *      tidying is jobs have threads for it (checkpoint_jobs.c), and wait for nothing of the above
 *
 * Requests are numbered: one that runs serves those that came before it began. What is due by
 * itself is looked at a few times a second. After a failure it is tried again later and later, but
 * a request is always tried at once; after the log has failed nothing is (invariant 7).
 *
 * Being in the background by its priority is not enough. When a write of the log is done, the
 * kernel finishes it in a thread of its own on the processor that the disk interrupts, and a
 * scheduler that is fair to all may let that thread, and with it every commit, wait for tens of
 * milliseconds behind one that computes and has waited for the disk before. So this thread steps
 * aside itself: after half a millisecond of computing it sleeps for a moment (checkpoint__breathe),
 * whereupon all who wait for the processor come first.
 *
 * The thread has a worker of its own, since it follows rows, holds a snapshot and ends rows whose
 * tombstones it has made durable.
 */
#include "db/checkpoint.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/checkpoint_private.h"
#include "db/memory.h"
#include "db/tune.h"

enum {
    POLL_MS = 100,
    EXPIRED_LOOK_MS = 1000,
    RETRY_FIRST_MS = 1000,
    RETRY_MAX_MS = 60000,
    MEMORY_WAIT_MS = 1000,
    NICE = 10,
    BREATH_AFTER_NS = 500 * 1000,
    BREATH_NS = 50 * 1000
};

static const uint64_t NS_PER_MS = 1000 * 1000;

static uint64_t now_ns(const struct checkpoint *checkpoint)
{
    return clock_monotonic_ns(checkpoint->db->clock);
}

/* How far the log has grown, replayed and not yet cut when the database was opened included. */
static uint64_t log_bytes(const struct checkpoint *checkpoint)
{
    struct wal_stats stats;
    wal_stats_get(checkpoint->db->wal, &stats);
    return stats.bytes + checkpoint->log_bytes_replayed;
}

/* --------------------------------------------------------------------------------------- waiting */

void checkpoint__wait_ns(struct checkpoint *checkpoint, pthread_cond_t *condition, uint64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t total = (uint64_t)until.tv_nsec + ns % 1000000000;
    until.tv_sec += (time_t)(ns / 1000000000 + total / 1000000000);
    until.tv_nsec = (long)(total % 1000000000);
    pthread_cond_timedwait(condition, &checkpoint->mutex, &until);
}

static uint64_t processor_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

void checkpoint__step_aside(uint64_t *breathed_ns)
{
    if (processor_ns() - *breathed_ns < BREATH_AFTER_NS)
        return;
    nanosleep(&(struct timespec){.tv_nsec = BREATH_NS}, NULL);
    *breathed_ns = processor_ns();
}

void checkpoint__breathe(struct checkpoint *checkpoint)
{
    if (!checkpoint->gated)
        checkpoint__step_aside(&checkpoint->breathed_ns);
}

int checkpoint__pace(struct checkpoint *checkpoint, uint64_t bytes)
{
    checkpoint__breathe(checkpoint);
    db_memory_tick(checkpoint->db);
    tuner_tick(db_tuner(checkpoint->db), now_ns(checkpoint));
    uint64_t rate = checkpoint->options.rate;
    checkpoint->paced_bytes += bytes;
    pthread_mutex_lock(&checkpoint->mutex);
    while (rate > 0 && !checkpoint->gated && !load_relaxed(&checkpoint->stop)) {
        double due_ns = (double)checkpoint->paced_bytes / (double)rate * 1e9;
        double gone_ns = (double)(now_ns(checkpoint) - checkpoint->paced_ns);
        if (gone_ns >= due_ns)
            break;
        checkpoint__wait_ns(checkpoint, &checkpoint->wake, (uint64_t)(due_ns - gone_ns) + 1);
    }
    pthread_mutex_unlock(&checkpoint->mutex);
    return load_relaxed(&checkpoint->stop)
               ? diag_set(ERROR_CANCELLED, "the database is being closed")
               : 0;
}

/* What was written long ago gives no right to hurry now. */
static void pace_begin(struct checkpoint *checkpoint)
{
    checkpoint->paced_bytes = 0;
    checkpoint->paced_ns = now_ns(checkpoint);
}

/* -------------------------------------------------------------------------------- one checkpoint */

/* Nothing has changed since the last one, none of the log could be given up, and all trees are of one moment. Not with the mutex: it
 * waits for who has the gate, and a change of the schema takes the mutex in there. */
static bool needless(const struct checkpoint *checkpoint)
{
    struct db *db = checkpoint->db;
    uint64_t floor;
    return txn_changes_pending(db->txn) == 0 && !checkpoint->stale &&
           !manifest_is_ahead(&checkpoint->manifest) &&
           db__watch_floor(checkpoint->worker, wal_durable_ts(db->wal), false, &floor) == 0 &&
           wal_first_needed(db->wal, floor) <= checkpoint->manifest.first_segment;
}

static int make(struct checkpoint *checkpoint, uint64_t *rows, uint64_t *bytes)
{
    struct wal *wal = checkpoint->db->wal;
    if (wal_failed(wal))
        return diag_set(ERROR_LOG_FAILED, "no checkpoint is made after the log has failed: %s",
                        wal_failure(wal));
    /* What had been committed when it was asked for belongs to it. */
    int rc = checkpoint__mutated(checkpoint, CHECKPOINT_MUTATION_LATEST)
                 ? 0
                 : wal_wait_durable(wal, wal_clock(wal));
    if (rc != 0)
        return rc;
    pace_begin(checkpoint);
    return checkpoint__make(checkpoint, rows, bytes);
}

static void retry_later(struct checkpoint *checkpoint)
{
    uint64_t ms = RETRY_FIRST_MS;
    for (unsigned i = 0; i < checkpoint->failures && ms < RETRY_MAX_MS; i++)
        ms *= 2;
    checkpoint->failures++;
    checkpoint->retry_ns = now_ns(checkpoint) + ms * NS_PER_MS;
}

/* With the mutex: what has become of it. */
static void made(struct checkpoint *checkpoint, int rc, uint64_t rows, uint64_t bytes)
{
    struct db_checkpoint_stats *stats = &checkpoint->stats;
    stats->last_code = rc;
    stats->failed += rc != 0;
    stats->failure[0] = '\0';
    if (rc != 0) {
        snprintf(stats->failure, sizeof stats->failure, "%s", diag_message_for(rc));
        return;
    }
    stats->count++;
    stats->k = checkpoint->manifest.clock;
    stats->time_ms = clock_realtime_ms(checkpoint->db->clock);
    stats->duration_ns = now_ns(checkpoint) - checkpoint->began_ns;
    stats->last_rows = rows;
    stats->last_bytes = bytes;
    stats->rows += rows;
    stats->bytes += bytes;
}

/* With the mutex: how much there is. */
static void bodies_count(struct checkpoint *checkpoint)
{
    struct db_checkpoint_stats *stats = &checkpoint->stats;
    double debt = 0;
    stats->files = stats->file_bytes = stats->live_bytes = 0;
    for (size_t i = 0; i < checkpoint->store_count; i++) {
        struct engine_stats body;
        body_stats(checkpoint->stores[i]->body, &body);
        stats->files += body.files;
        stats->file_bytes += body.bytes;
        stats->live_bytes += body.live_bytes;
        debt = body.debt > debt ? body.debt : debt;
    }
    db__throttle_debt(checkpoint->db, debt);
}

static void next_time_set(struct checkpoint *checkpoint)
{
    checkpoint->counted_ns = now_ns(checkpoint);
    uint64_t ms = checkpoint->options.interval_ms;
    checkpoint->next_ns = ms == 0 ? UINT64_MAX : now_ns(checkpoint) + ms * NS_PER_MS;
}

static void ended_tell(struct checkpoint *checkpoint)
{
    pthread_cond_broadcast(&checkpoint->ended);
    pthread_mutex_unlock(&checkpoint->mutex);
    if (checkpoint->on_end != NULL)
        checkpoint->on_end(checkpoint->on_end_arg);
    pthread_mutex_lock(&checkpoint->mutex);
}

/* With the mutex, which it lets go of meanwhile. */
static void run(struct checkpoint *checkpoint)
{
    uint64_t ticket = checkpoint->requested, rows = 0, bytes = 0;
    bool wanted = wal_failed(checkpoint->db->wal) || checkpoint__builds_wait(checkpoint) ||
                  checkpoint__ingests_wait(checkpoint);
    checkpoint->began_ns = now_ns(checkpoint);
    checkpoint->stats.running = true;
    pthread_mutex_unlock(&checkpoint->mutex);
    bool skip = !wanted && needless(checkpoint);
    if (!skip)
        checkpoint__ingests_begin(checkpoint);
    uint64_t log = log_bytes(checkpoint);
    if (!skip) {
        db__throttle_begin(checkpoint->db);
        atomic_fetch_add(&checkpoint->begun_count, 1);
    }
    int rc = skip ? 0 : make(checkpoint, &rows, &bytes);
    atomic_store(&checkpoint->ended_count, load_relaxed(&checkpoint->begun_count));
    db__throttle_end(checkpoint->db, rc == 0 && !skip);
    if (rc != 0)
        checkpoint__builds_fail(checkpoint, rc);
    bool ingested = checkpoint__ingests_end(checkpoint, rc);
    if (rc != 0 && !load_relaxed(&checkpoint->stop))
        log_error("checkpoint failed: %s", diag_message_for(rc));
    else if (!skip)
        log_debug("checkpoint at %" PRIu64 ": %" PRIu64 " rows, %" PRIu64 " bytes",
                  checkpoint->manifest.clock, rows, bytes);
    pthread_mutex_lock(&checkpoint->mutex);
    if (skip) {
        checkpoint->stats.skipped++;
        checkpoint->stats.last_code = 0;
    } else {
        made(checkpoint, rc, rows, bytes);
    }
    if (rc == 0) {
        checkpoint->log_bytes_seen = log;
        checkpoint->failures = 0;
        checkpoint->retry_ns = 0;
        checkpoint->untidy = true;
        checkpoint->tidy_at = 0; /* those that the pass under way has seen have got files since */
    } else {
        retry_later(checkpoint);
    }
    next_time_set(checkpoint);
    bodies_count(checkpoint);
    checkpoint->ended_ns = now_ns(checkpoint);
    checkpoint->stats.running = false;
    checkpoint->finished = ticket;
    if (ingested) { /* the next one says that the log has come to what was taken in */
        checkpoint->stale = true;
        checkpoint->requested++;
    }
    ended_tell(checkpoint);
}

/* ------------------------------------------------------------------------------------- the thread */

/* Deleted rows take memory until a checkpoint has their tombstones: whoever deletes to have room
 * again must get it. Of what no run has nothing is left, so that where keys are evicted the first one would keep what has gone
 * and free nothing. */
static bool memory_wanted(const struct checkpoint *checkpoint, uint64_t now)
{
    const struct db *db = checkpoint->db;
    if (load_relaxed(&db->memory.evicts) && checkpoint->stats.k == 0)
        return false;
    return heap_over_limit(db->heap) && now - checkpoint->ended_ns >= MEMORY_WAIT_MS * NS_PER_MS &&
           txn_changes_pending(db->txn) > 0;
}

/* With the mutex: whether time demands one. */
static bool time_is_over(const struct checkpoint *checkpoint, uint64_t now)
{
    if (!checkpoint->pointed)
        return now >= checkpoint->next_ns;
    for (unsigned i = 0; i < checkpoint->point_count; i++) {
        const struct db_save_point *point = &checkpoint->points[i];
        if ((now - checkpoint->counted_ns) / (1000 * NS_PER_MS) >= point->seconds &&
            txn_changes_pending(checkpoint->db->txn) >= point->changes)
            return true;
    }
    return false;
}

/* With the mutex. */
static bool due(const struct checkpoint *checkpoint)
{
    if (checkpoint->requested > checkpoint->finished || checkpoint__builds_wait(checkpoint) ||
        checkpoint__ingests_wait(checkpoint))
        return true;
    const struct db_checkpoint_options *options = &checkpoint->options;
    uint64_t now = now_ns(checkpoint);
    if (now < checkpoint->retry_ns || wal_failed(checkpoint->db->wal))
        return false;
    return time_is_over(checkpoint, now) || checkpoint->failures > 0 ||
           memory_wanted(checkpoint, now) ||
           (options->log_bytes > 0 &&
            log_bytes(checkpoint) - checkpoint->log_bytes_seen >= options->log_bytes);
}

/* With the mutex, which it lets go of meanwhile. */
static void tidy(struct checkpoint *checkpoint)
{
    struct engine_tidied done;
    pthread_mutex_unlock(&checkpoint->mutex);
    int rc = checkpoint__tidy(checkpoint, &done);
    /* A full cache cannot wait for the end of what is tidied. */
    if (load_relaxed(&checkpoint->db->memory.evicts))
        db__throttle_tick(checkpoint->db);
    if (rc == 0)
        rc = checkpoint__pace(checkpoint, done.bytes);
    if (rc != 0 && !load_relaxed(&checkpoint->stop)) {
        log_error("merging runs failed: %s", diag_message_for(rc));
        checkpoint->tidy_again_ns = now_ns(checkpoint) + RETRY_MAX_MS * NS_PER_MS;
    }
    pthread_mutex_lock(&checkpoint->mutex);
    checkpoint->stats.merged_bytes += done.bytes;
    checkpoint->stats.merges += rc == 0 && done.what == ENGINE_TIDY_CHANGED;
    checkpoint->stats.merges_failed += rc != 0;
    if (done.what == ENGINE_TIDY_CHANGED)
        bodies_count(checkpoint);
}

/* With the mutex. */
static void untidied(struct checkpoint *checkpoint)
{
    checkpoint->untidied = false;
    checkpoint->untidy = true;
    checkpoint->tidy_at = 0;
}

/* What has failed is tried again after a while. */
static void tidy_again(struct checkpoint *checkpoint)
{
    uint64_t soonest = checkpoint->tidy_again_soonest_ns;
    if (soonest == 0 || now_ns(checkpoint) < soonest)
        return;
    checkpoint->tidy_again_soonest_ns = 0;
    checkpoint->untidy = true;
    checkpoint->tidy_at = 0;
}

/* Time alone makes work of files whose rows have all expired. */
static void expired_look(struct checkpoint *checkpoint)
{
    uint64_t now = now_ns(checkpoint);
    if (now < checkpoint->expired_next_ns)
        return;
    checkpoint->expired_next_ns = now + EXPIRED_LOOK_MS * NS_PER_MS;
    for (size_t i = 0; i < checkpoint->store_count; i++) {
        struct store *store = checkpoint->stores[i];
        struct engine_stats stats;
        if (store->head.expiry == NULL)
            continue;
        body_stats(store->body, &stats);
        if (stats.urgency == ENGINE_IDLE)
            continue;
        checkpoint->untidy = true;
        checkpoint->tidy_at = 0;
        return;
    }
}

static void sweep(struct checkpoint *checkpoint)
{
    checkpoint->dropped = false;
    pthread_mutex_unlock(&checkpoint->mutex);
    checkpoint__sweep(checkpoint);
    pthread_mutex_lock(&checkpoint->mutex);
    bodies_count(checkpoint);
}

/* With the mutex, which it lets go of meanwhile. */
static void discarded_free(struct checkpoint *checkpoint)
{
    pthread_mutex_unlock(&checkpoint->mutex);
    db__discarded_free(checkpoint->db, txn_worker_thread(checkpoint->worker->txn));
    pthread_mutex_lock(&checkpoint->mutex);
}

/* With the mutex, which it lets go of meanwhile. */
static void jobs_end(struct checkpoint *checkpoint)
{
    unsigned merged, failed;
    pthread_mutex_unlock(&checkpoint->mutex);
    checkpoint__jobs_end(checkpoint, &merged, &failed);
    pthread_mutex_lock(&checkpoint->mutex);
    checkpoint->stats.merges += merged;
    checkpoint->stats.merges_failed += failed;
    bodies_count(checkpoint);
}

/* Behind a checkpoint compaction goes on, although the next one may be due at once: else it would begin nothing while
 * writers fill memory as fast as it is freed. With the mutex, which it lets go of meanwhile. */
static void jobs_turn(struct checkpoint *checkpoint)
{
    if (checkpoint->jobs_through)
        jobs_end(checkpoint);
    if (!checkpoint->untidy || wal_failed(checkpoint->db->wal) ||
        now_ns(checkpoint) < checkpoint->tidy_again_ns)
        return;
    pthread_mutex_unlock(&checkpoint->mutex);
    unsigned changed = checkpoint__jobs_begin(checkpoint);
    pthread_mutex_lock(&checkpoint->mutex);
    checkpoint->stats.merges += changed;
    if (changed > 0)
        bodies_count(checkpoint);
}

/* Ends rows whose tombstones are in the bodies, and waits. With the mutex. */
static void idle(struct checkpoint *checkpoint)
{
    if (checkpoint->jobs_open == 0) {
        checkpoint->idles++;
        pthread_cond_broadcast(&checkpoint->ended);
    }
    pthread_mutex_unlock(&checkpoint->mutex);
    db_memory_tick(checkpoint->db);
    db__throttle_tick(checkpoint->db);
    tuner_tick(db_tuner(checkpoint->db), now_ns(checkpoint));
    checkpoint__unlink_again(checkpoint);
    checkpoint__collect(checkpoint);
    checkpoint__jobs_rank(checkpoint);
    tidy_again(checkpoint);
    expired_look(checkpoint);
    pthread_mutex_lock(&checkpoint->mutex);
    if (!load_relaxed(&checkpoint->stop) && !checkpoint->dropped && !checkpoint->untidied &&
        !checkpoint->jobs_through && !checkpoint->idle_awaited && !due(checkpoint) &&
        !checkpoint__ingests_left(checkpoint))
        checkpoint__wait_ns(checkpoint, &checkpoint->wake, POLL_MS * NS_PER_MS);
    checkpoint->idle_awaited = false;
}

static void *thread_main(void *arg)
{
    struct checkpoint *checkpoint = arg;
    log_thread_name("checkpoint");
    /* It has time; those who serve have not. Not SCHED_IDLE: where they need all processors all the
       time the log would grow for ever. */
    sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    pthread_mutex_lock(&checkpoint->mutex);
    while (!load_relaxed(&checkpoint->stop)) {
        if (db__discarded_any(checkpoint->db))
            discarded_free(checkpoint);
        if (checkpoint->untidied)
            untidied(checkpoint);
        while (checkpoint__ingests_left(checkpoint))
            checkpoint__ingests_free(checkpoint);
        if (checkpoint->dropped)
            sweep(checkpoint);
        else if (due(checkpoint)) {
            run(checkpoint);
            jobs_turn(checkpoint);
        } else if (checkpoint->jobs_through)
            jobs_end(checkpoint);
        else if (checkpoint->untidy && !wal_failed(checkpoint->db->wal) &&
                 now_ns(checkpoint) >= checkpoint->tidy_again_ns)
            tidy(checkpoint);
        else
            idle(checkpoint);
    }
    pthread_mutex_unlock(&checkpoint->mutex);
    return NULL;
}

/* ------------------------------------------------------------------------------ start and the end */

static struct checkpoint *checkpoint_new(struct db *db, const struct db_options *options)
{
    struct checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (checkpoint == NULL)
        return NULL;
    checkpoint->db = db;
    checkpoint->options = options->checkpoint;
    checkpoint->step_bytes = DB_COMPACTION_STEP_BYTES;
    checkpoint->on_end = options->on_advance;
    checkpoint->on_end_arg = options->arg;
    pthread_mutex_init(&checkpoint->mutex, NULL);
    pthread_mutex_init(&checkpoint->files_mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&checkpoint->wake, &attributes);
    pthread_cond_init(&checkpoint->work, &attributes);
    pthread_cond_init(&checkpoint->built, &attributes);
    pthread_cond_init(&checkpoint->ended, NULL);
    pthread_condattr_destroy(&attributes);
    manifest_create(&checkpoint->manifest);
    checkpoint->stats.time_ms = clock_realtime_ms(db->clock);
    return checkpoint;
}

/* What recovery has loaded becomes the thread's: the manifest, and the stores that it names and the
 * catalog still knows. */
static int loaded_take(struct checkpoint *checkpoint, struct manifest *manifest)
{
    struct db *db = checkpoint->db;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < manifest->tree_count; i++) {
        const struct manifest_tree *tree = &manifest->trees[i];
        struct store *store = db__store_find(db, tree->space_id, tree->incarnation);
        if (store == NULL)
            checkpoint->stale = true;
        else
            rc = checkpoint__store_hold(checkpoint, store);
    }
    if (rc != 0)
        return rc;
    checkpoint->manifest = *manifest;
    manifest_create(manifest);
    checkpoint->stats.k = checkpoint->manifest.clock;
    checkpoint->untidy = true;
    return 0;
}

int db__checkpoint_start(struct db *db, const struct db_options *options,
                         const struct db_open_stats *opened)
{
    struct checkpoint *checkpoint = db->checkpoint = checkpoint_new(db, options);
    if (checkpoint == NULL)
        return diag_set(ERROR_MEMORY, "no memory for checkpoints");
    checkpoint->log_bytes_replayed = opened->log.bytes;
    int rc = db_worker_open(db, &checkpoint->worker);
    if (rc == 0)
        rc = loaded_take(checkpoint, &db->loaded);
    if (rc != 0)
        return rc;
    if (options->source != NULL && options->source->log != NULL)
        checkpoint->untidy = false; /* nothing is changed */
    next_time_set(checkpoint);
    bodies_count(checkpoint);
    pace_begin(checkpoint);
    if (pthread_create(&checkpoint->thread, NULL, thread_main, checkpoint) != 0)
        return diag_set(ERROR_MEMORY, "no thread for checkpoints");
    checkpoint->started = true;
    return 0;
}

void db__checkpoint_stop(struct db *db)
{
    struct checkpoint *checkpoint = db->checkpoint;
    if (checkpoint == NULL)
        return;
    pthread_mutex_lock(&checkpoint->mutex);
    store_relaxed(&checkpoint->stop, true);
    pthread_cond_signal(&checkpoint->wake);
    pthread_mutex_unlock(&checkpoint->mutex);
    if (checkpoint->started)
        pthread_join(checkpoint->thread, NULL);
    checkpoint__ingests_stop(checkpoint);
    checkpoint__jobs_stop(checkpoint);
    struct db_worker *worker = checkpoint->worker;
    for (size_t i = 0; i < checkpoint->store_count; i++)
        db__store_release(checkpoint->stores[i], txn_worker_thread(worker->txn));
    if (worker != NULL)
        db_worker_close(worker);
    free(checkpoint->stores);
    manifest_destroy(&checkpoint->manifest);
    checkpoint__names_free(&checkpoint->doubtful);
    checkpoint__names_free(&checkpoint->unlinked);
    pthread_cond_destroy(&checkpoint->wake);
    pthread_cond_destroy(&checkpoint->ended);
    pthread_cond_destroy(&checkpoint->work);
    pthread_cond_destroy(&checkpoint->built);
    pthread_mutex_destroy(&checkpoint->mutex);
    pthread_mutex_destroy(&checkpoint->files_mutex);
    free(checkpoint);
    db->checkpoint = NULL;
}

void db__checkpoint_dropped(struct db *db)
{
    struct checkpoint *checkpoint = db->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    checkpoint->dropped = true;
    pthread_cond_signal(&checkpoint->wake);
    pthread_mutex_unlock(&checkpoint->mutex);
}

void db__checkpoint_untidy(struct db *db)
{
    struct checkpoint *checkpoint = db->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    checkpoint->untidied = true;
    pthread_cond_signal(&checkpoint->wake);
    pthread_mutex_unlock(&checkpoint->mutex);
}

void db__checkpoint_wait_idle(struct db *db)
{
    struct checkpoint *checkpoint = db->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    uint64_t before = checkpoint->idles;
    checkpoint->idle_awaited = true; /* it may not have begun to sleep */
    pthread_cond_signal(&checkpoint->wake);
    while (checkpoint->idles == before)
        pthread_cond_wait(&checkpoint->ended, &checkpoint->mutex);
    pthread_mutex_unlock(&checkpoint->mutex);
}

/* ------------------------------------------------------------------------------------- the caller */

uint64_t db_checkpoint_request(struct db *db)
{
    struct checkpoint *checkpoint = db->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    uint64_t ticket = ++checkpoint->requested;
    pthread_cond_signal(&checkpoint->wake);
    pthread_mutex_unlock(&checkpoint->mutex);
    return ticket;
}

/* With the mutex. */
static int result(const struct checkpoint *checkpoint)
{
    const struct db_checkpoint_stats *stats = &checkpoint->stats;
    return stats->last_code == 0 ? 0 : diag_set(stats->last_code, "%s", stats->failure);
}

bool db_checkpoint_done(struct db *db, uint64_t ticket, int *rc)
{
    struct checkpoint *checkpoint = db->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    bool done = checkpoint->finished >= ticket;
    if (done)
        *rc = result(checkpoint);
    pthread_mutex_unlock(&checkpoint->mutex);
    return done;
}

uint64_t db_checkpoint_begun(const struct db *db)
{
    return load_acquire(&db->checkpoint->begun_count);
}

uint64_t db_checkpoint_ended(const struct db *db)
{
    return load_acquire(&db->checkpoint->ended_count);
}

int db_checkpoint(struct db *db)
{
    struct checkpoint *checkpoint = db->checkpoint;
    uint64_t ticket = db_checkpoint_request(db);
    pthread_mutex_lock(&checkpoint->mutex);
    while (checkpoint->finished < ticket)
        pthread_cond_wait(&checkpoint->ended, &checkpoint->mutex);
    int rc = result(checkpoint);
    pthread_mutex_unlock(&checkpoint->mutex);
    return rc;
}

void db_checkpoint_points_set(struct db *db, const struct db_save_point *points, unsigned count)
{
    struct checkpoint *checkpoint = db->checkpoint;
    ASSERT(count <= DB_SAVE_POINTS_MAX);
    pthread_mutex_lock(&checkpoint->mutex);
    for (unsigned i = 0; i < count; i++)
        checkpoint->points[i] = points[i];
    checkpoint->point_count = count;
    checkpoint->pointed = true;
    pthread_mutex_unlock(&checkpoint->mutex);
}

unsigned db_checkpoint_points_get(struct db *db, struct db_save_point points[DB_SAVE_POINTS_MAX])
{
    struct checkpoint *checkpoint = db->checkpoint;
    uint64_t ms = checkpoint->options.interval_ms;
    pthread_mutex_lock(&checkpoint->mutex);
    unsigned count = checkpoint->pointed ? checkpoint->point_count : ms > 0;
    if (checkpoint->pointed)
        memcpy(points, checkpoint->points, count * sizeof *points);
    else if (ms > 0)
        points[0] = (struct db_save_point){(ms + 999) / 1000, 1};
    pthread_mutex_unlock(&checkpoint->mutex);
    return count;
}

void db_checkpoint_stats_get(struct db *db, struct db_checkpoint_stats *out)
{
    struct checkpoint *checkpoint = db->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    *out = checkpoint->stats;
    if (out->running)
        out->running_ns = now_ns(checkpoint) - checkpoint->began_ns;
    pthread_mutex_unlock(&checkpoint->mutex);
    out->changes = txn_changes_pending(db->txn);
}
