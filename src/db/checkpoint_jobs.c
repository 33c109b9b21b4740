/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Compaction: jobs of bodies (storage/engine.h), worked on by threads of their own.
 *
 *      checkpoint's thread    begin ─► [ waits ]                      [ through ] ─► end, manifest
 *                                          │                               ▲
 *      job threads                         └─► step ─► waits ─► step .. ───┘
 *
 * The checkpoint's thread alone changes bodies and manifests, so it begins jobs and ends them; all the
 * reading and writing in between is done by other threads. So a checkpoint never waits for a compaction:
 * one that is through waits until the checkpoint has ended.
 *
 * A step writes some 64 KB, unless the tuner says otherwise (db/tune.h). Behind each step a thread takes the most urgent job that waits, of equals the
 * one that was begun first: what is urgent comes first although all threads are busy, and what is not
 * goes on where it was. Urgency is looked at again a few times a second, since it grows while a job
 * waits. A critical job (writers are held up, or the disk is nearly full) reads and writes as a
 * checkpoint does, and knows no rate; others do so in the background, and step aside for whoever serves.
 *
 * There are a bounded number of jobs, the last few places kept for those that are behind. Threads are
 * made when there is work for them, so a database without such bodies has none. When there are to be fewer, those
 * beyond finish their steps and rest.
 *
 * A job of a store that has been dropped, or after the log has failed (invariant 7), ends in vain. So
 * does one that is under way when the database is closed: what it has written goes, and it is begun
 * anew at the next start.
 */
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/checkpoint_private.h"

enum { PLACES_KEPT = 4, AGAIN_MS = 60000, NICE = 10 };

static const uint64_t NS_PER_MS = 1000 * 1000;

static enum engine_urgency urgency_of(const struct store *store)
{
    struct engine_stats stats;
    body_stats(store->body, &stats);
    return stats.urgency;
}

/* ------------------------------------------------------------------------------------- the threads */

static unsigned threads_max(const struct checkpoint *checkpoint)
{
    unsigned max = checkpoint->options.threads;
    return max == 0 ? 1 : max < CHECKPOINT_THREADS ? max : CHECKPOINT_THREADS;
}

/* The most urgent job that waits, or NULL, also when as many threads are at work as may be. With the mutex. */
static struct checkpoint_job *job_next(struct checkpoint *checkpoint)
{
    struct checkpoint_job *best = NULL;
    if (checkpoint->jobs_running >= threads_max(checkpoint))
        return NULL;
    for (unsigned i = 0; i < CHECKPOINT_JOBS; i++) {
        struct checkpoint_job *job = &checkpoint->jobs[i];
        if (job->state == CHECKPOINT_JOB_WAITS &&
            (best == NULL || job->urgency > best->urgency ||
             (job->urgency == best->urgency && job->number < best->number)))
            best = job;
    }
    return best;
}

/* Waits as long as the rate demands, unless the job has no time. With the mutex. */
static void job_pace(struct checkpoint *checkpoint, const struct checkpoint_job *job,
                     uint64_t bytes)
{
    uint64_t rate = checkpoint->options.rate;
    checkpoint->jobs_bytes += bytes;
    while (rate > 0 && job->urgency < ENGINE_CRITICAL && !load_relaxed(&checkpoint->stop)) {
        double due_ns = (double)checkpoint->jobs_bytes / (double)rate * 1e9;
        double gone_ns = (double)(clock_monotonic_ns(checkpoint->db->clock) - checkpoint->jobs_ns);
        if (gone_ns >= due_ns)
            break;
        checkpoint__wait_ns(checkpoint, &checkpoint->work, (uint64_t)(due_ns - gone_ns) + 1);
    }
}

static void job_through(struct checkpoint *checkpoint, struct checkpoint_job *job, int rc)
{
    job->rc = rc;
    if (rc != 0)
        snprintf(job->failure, sizeof job->failure, "%s", diag_message_for(rc));
    job->state = CHECKPOINT_JOB_THROUGH;
    checkpoint->jobs_through = true;
    pthread_cond_signal(&checkpoint->wake);
}

/* With the mutex, which it lets go of meanwhile. */
static void job_step(struct checkpoint *checkpoint, struct checkpoint_job *job,
                     uint64_t *breathed_ns)
{
    struct engine_tidied done = {ENGINE_TIDY_WORKING, 0};
    bool urgent = job->urgency == ENGINE_CRITICAL;
    uint64_t bytes_max = checkpoint->step_bytes;
    job->state = CHECKPOINT_JOB_RUNS;
    checkpoint->jobs_running++;
    pthread_mutex_unlock(&checkpoint->mutex);
    void (*before)(uint32_t space_id) = load_acquire(&checkpoint->before_step);
    if (before != NULL)
        before(job->store->head.id);
    uint64_t began_ns = clock_monotonic_ns(checkpoint->db->clock);
    int rc = load_relaxed(&job->store->dropped) ? ERROR_CANCELLED
                                                : body_job_step(job->job, urgent, bytes_max, &done);
    uint64_t took_ns = clock_monotonic_ns(checkpoint->db->clock) - began_ns;
    if (!urgent)
        checkpoint__step_aside(breathed_ns);
    pthread_mutex_lock(&checkpoint->mutex);
    checkpoint->steps++;
    checkpoint->steps_ns += took_ns;
    checkpoint->stats.merged_bytes += done.bytes;
    job->written += done.bytes;
    job_pace(checkpoint, job, done.bytes);
    if (rc != 0 || done.what != ENGINE_TIDY_WORKING)
        job_through(checkpoint, job, rc);
    else
        job->state = CHECKPOINT_JOB_WAITS;
    checkpoint->jobs_running--;
}

static void *thread_main(void *arg)
{
    struct checkpoint *checkpoint = arg;
    uint64_t breathed_ns = 0;
    log_thread_name("compaction");
    sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
    pthread_mutex_lock(&checkpoint->mutex);
    while (!load_relaxed(&checkpoint->stop)) {
        struct checkpoint_job *job = job_next(checkpoint);
        if (job != NULL)
            job_step(checkpoint, job, &breathed_ns);
        else
            pthread_cond_wait(&checkpoint->work, &checkpoint->mutex);
    }
    pthread_mutex_unlock(&checkpoint->mutex);
    return NULL;
}

/* One more thread, if there are fewer than jobs and than there may be. With the mutex. */
static int thread_start(struct checkpoint *checkpoint)
{
    if (checkpoint->thread_count >= threads_max(checkpoint) ||
        checkpoint->thread_count >= checkpoint->jobs_open)
        return 0;
    pthread_t *thread = &checkpoint->threads[checkpoint->thread_count];
    if (pthread_create(thread, NULL, thread_main, checkpoint) == 0)
        checkpoint->thread_count++;
    return checkpoint->thread_count > 0 ? 0 : diag_set(ERROR_MEMORY, "no thread for compaction");
}

void checkpoint__threads_set(struct checkpoint *checkpoint, unsigned threads)
{
    pthread_mutex_lock(&checkpoint->mutex);
    checkpoint->options.threads = threads;
    for (unsigned before = UINT_MAX; before != checkpoint->thread_count;) {
        before = checkpoint->thread_count;
        thread_start(checkpoint); /* a failure leaves it with those there are */
    }
    pthread_cond_broadcast(&checkpoint->work);
    pthread_mutex_unlock(&checkpoint->mutex);
}

void checkpoint__step_set(struct checkpoint *checkpoint, uint64_t bytes)
{
    pthread_mutex_lock(&checkpoint->mutex);
    checkpoint->step_bytes = bytes;
    pthread_mutex_unlock(&checkpoint->mutex);
}

void checkpoint__steps_get(struct checkpoint *checkpoint, uint64_t *steps, uint64_t *ns)
{
    pthread_mutex_lock(&checkpoint->mutex);
    *steps = checkpoint->steps;
    *ns = checkpoint->steps_ns;
    pthread_mutex_unlock(&checkpoint->mutex);
}

/* -------------------------------------------------------------------------- the checkpoint's thread */

/* A free place for a job of the store, which has none; NULL: there is nothing to be begun. */
static struct checkpoint_job *place_find(struct checkpoint *checkpoint, const struct store *store,
                                         enum engine_urgency urgency)
{
    struct checkpoint_job *place = NULL;
    unsigned places = CHECKPOINT_JOBS - (urgency < ENGINE_HIGH ? PLACES_KEPT : 0);
    if (checkpoint->jobs_open >= places)
        return NULL;
    for (unsigned i = 0; i < CHECKPOINT_JOBS; i++) {
        struct checkpoint_job *job = &checkpoint->jobs[i];
        if (job->store == NULL)
            place = place != NULL ? place : job;
        else if (job->store == store)
            return NULL;
    }
    return place;
}

int checkpoint__job_begin(struct checkpoint *checkpoint, struct store *store,
                          const struct engine_snapshots *snapshots, struct engine_tidied *done)
{
    enum engine_urgency urgency = urgency_of(store);
    struct checkpoint_job *place = place_find(checkpoint, store, urgency);
    struct body_job *job;
    *done = (struct engine_tidied){ENGINE_TIDY, 0};
    if (place == NULL || urgency == ENGINE_IDLE)
        return 0;
    int rc = body_job_begin(store->body, snapshots, done, &job);
    if (rc != 0 || job == NULL)
        return rc;
    done->what = ENGINE_TIDY; /* for this thread */
    atomic_fetch_add(&store->references, 1);
    pthread_mutex_lock(&checkpoint->mutex);
    if (checkpoint->jobs_open++ == 0) {
        checkpoint->jobs_bytes = 0;
        checkpoint->jobs_ns = clock_monotonic_ns(checkpoint->db->clock);
    }
    *place = (struct checkpoint_job){.state = CHECKPOINT_JOB_WAITS,
                                     .store = store,
                                     .job = job,
                                     .urgency = urgency,
                                     .number = checkpoint->jobs_begun++};
    if ((rc = thread_start(checkpoint)) != 0)
        job_through(checkpoint, place, rc);
    pthread_cond_broadcast(&checkpoint->work);
    pthread_mutex_unlock(&checkpoint->mutex);
    return 0;
}

void checkpoint__jobs_rank(struct checkpoint *checkpoint)
{
    enum engine_urgency urgencies[CHECKPOINT_JOBS];
    if (checkpoint->jobs_open == 0)
        return;
    /* Jobs come and go by this thread, so their stores stay. */
    for (unsigned i = 0; i < CHECKPOINT_JOBS; i++)
        if (checkpoint->jobs[i].store != NULL)
            urgencies[i] = urgency_of(checkpoint->jobs[i].store);
    pthread_mutex_lock(&checkpoint->mutex);
    bool changed = false;
    for (unsigned i = 0; i < CHECKPOINT_JOBS; i++) {
        struct checkpoint_job *job = &checkpoint->jobs[i];
        if (job->store == NULL || job->urgency == urgencies[i])
            continue;
        job->urgency = urgencies[i];
        changed = true;
    }
    if (changed) /* one that waits for its pace may have no time any more */
        pthread_cond_broadcast(&checkpoint->work);
    pthread_mutex_unlock(&checkpoint->mutex);
}

/* Ends one; *changed: the body has other files. */
static int job_end(struct checkpoint *checkpoint, struct checkpoint_job *job, bool keep,
                   bool *changed)
{
    struct store *store = job->store;
    struct engine_tidied done;
    bool dropped = load_relaxed(&store->dropped);
    keep &= job->rc == 0 && !dropped && !wal_failed(checkpoint->db->wal);
    int rc = body_job_end(store->body, job->job, keep, &done);
    *changed = rc == 0 && done.what == ENGINE_TIDY_CHANGED;
    if (rc == 0 && job->rc != 0 && !dropped)
        rc = diag_set(job->rc, "%s", job->failure);
    return rc;
}

static void job_forget(struct checkpoint *checkpoint, struct checkpoint_job *job)
{
    struct store *store = job->store;
    pthread_mutex_lock(&checkpoint->mutex);
    *job = (struct checkpoint_job){.state = CHECKPOINT_JOB_NONE};
    checkpoint->jobs_open--;
    pthread_mutex_unlock(&checkpoint->mutex);
    db__store_release(store, txn_worker_thread(checkpoint->worker->txn));
}

static void job_failed(struct checkpoint *checkpoint, struct store *store, int rc)
{
    log_error("compaction of space %" PRIu32 " failed: %s", store->head.id, diag_message_for(rc));
    atomic_fetch_add(&store->compactions_failed, 1);
    store->tidy_again_ns = clock_monotonic_ns(checkpoint->db->clock) + AGAIN_MS * NS_PER_MS;
    checkpoint->tidy_again_soonest_ns = store->tidy_again_ns;
}

/* Those that are through; with the mutex. */
static unsigned through_list(struct checkpoint *checkpoint,
                             struct checkpoint_job *through[CHECKPOINT_JOBS])
{
    unsigned count = 0;
    checkpoint->jobs_through = false;
    for (unsigned i = 0; i < CHECKPOINT_JOBS; i++)
        if (checkpoint->jobs[i].state == CHECKPOINT_JOB_THROUGH)
            through[count++] = &checkpoint->jobs[i];
    return count;
}

void checkpoint__jobs_end(struct checkpoint *checkpoint, unsigned *merged, unsigned *failed)
{
    struct checkpoint_job *through[CHECKPOINT_JOBS];
    *merged = *failed = 0;
    pthread_mutex_lock(&checkpoint->mutex);
    unsigned count = through_list(checkpoint, through);
    pthread_mutex_unlock(&checkpoint->mutex);
    for (unsigned i = 0; i < count; i++) {
        bool changed;
        int rc = job_end(checkpoint, through[i], true, &changed);
        if (rc == 0 && changed)
            rc = checkpoint__manifest_store(checkpoint, 0, 0, NULL);
        if (rc != 0)
            job_failed(checkpoint, through[i]->store, rc);
        *failed += rc != 0;
        *merged += rc == 0 && changed;
        job_forget(checkpoint, through[i]);
    }
    checkpoint->untidy = true;
    checkpoint->tidy_at = 0;
}

void checkpoint__jobs_stop(struct checkpoint *checkpoint)
{
    bool changed;
    pthread_mutex_lock(&checkpoint->mutex);
    pthread_cond_broadcast(&checkpoint->work);
    pthread_mutex_unlock(&checkpoint->mutex);
    for (unsigned i = 0; i < checkpoint->thread_count; i++)
        pthread_join(checkpoint->threads[i], NULL);
    for (unsigned i = 0; i < CHECKPOINT_JOBS; i++)
        if (checkpoint->jobs[i].state != CHECKPOINT_JOB_NONE) {
            job_end(checkpoint, &checkpoint->jobs[i], false, &changed);
            job_forget(checkpoint, &checkpoint->jobs[i]);
        }
}

void checkpoint__jobs_of(struct checkpoint *checkpoint, const struct store *store, unsigned *jobs,
                         uint64_t *written)
{
    *jobs = 0;
    *written = 0;
    pthread_mutex_lock(&checkpoint->mutex);
    for (unsigned i = 0; i < CHECKPOINT_JOBS; i++)
        if (checkpoint->jobs[i].store == store) {
            ++*jobs;
            *written += checkpoint->jobs[i].written;
        }
    pthread_mutex_unlock(&checkpoint->mutex);
}
