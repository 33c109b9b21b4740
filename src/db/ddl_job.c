/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes that go over the rows of a space while others write.
 *
 *      gate     what is coming is in the picture: who writes from now on heeds it (invariant 29)
 *      slices   a few rows at a time, each in an epoch or a snapshot of its own; between two of them
 *               the worker holds nothing, so that it may do other things, other changes included
 *      gate     it is in force; or it has failed and is taken away
 *
 * The space can't be changed otherwise meanwhile: who tries is told. What fails names the row.
 */
#include "db/ddl_private.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mutation.h"

static const uint64_t TELL_NS = 1000 * 1000 * 1000, SHOW_NS = 250 * 1000 * 1000,
                      STEP_NS = 1000 * 1000;

void ddl__job_begin(struct ddl_job *job, const struct ddl_job_vtab *vtab, struct db_worker *worker,
                    const struct space *space, const char *name, ...)
{
    va_list args;
    job->vtab = vtab;
    job->worker = worker;
    job->space_id = space->id;
    job->store = vtab->reads_only ? NULL : space->head->arg;
    job->total = space_len(space);
    job->began_ns = job->told_ns = job->shown_ns = clock_monotonic_ns(worker->db->clock);
    va_start(args, name);
    vsnprintf(job->name, sizeof job->name, name, args);
    va_end(args);
    arena_create(&job->kept, 0);
    if (job->store == NULL)
        return;
    store_relaxed(&job->store->build_rows, 0);
    store_relaxed(&job->store->build_total, job->total);
}

int ddl__job_after_key(struct ddl_job *job, const void *key, size_t size)
{
    if (size > job->after_capacity) {
        unsigned char *grown = arena_alloc(&job->kept, 2 * size);
        if (grown == NULL)
            return diag_set(ERROR_MEMORY, "no memory for a change of the schema");
        job->after = grown;
        job->after_capacity = 2 * size;
    }
    memcpy(job->after, key, size);
    job->after_size = size;
    return 0;
}

int ddl__job_after(struct ddl_job *job, const struct row *row)
{
    return ddl__job_after_key(job, row->key, row->key_size);
}

static void tell(struct ddl_job *job, uint64_t now)
{
    if (job->store != NULL)
        store_relaxed(&job->store->build_rows, job->rows);
    if (now - job->told_ns < TELL_NS)
        return;
    job->told_ns = now;
    log_info("%s %s: %" PRIu64 " of about %" PRIu64 " rows", job->name, job->vtab->doing, job->rows,
             job->total);
}

/* Who was told that it is going on is told of the end. */
static void tell_end(const struct ddl_job *job)
{
    uint64_t ns = clock_monotonic_ns(job->worker->db->clock) - job->began_ns;
    log_write(ns >= TELL_NS ? LOG_INFO : LOG_DEBUG, "%s %s: %" PRIu64 " rows in %" PRIu64 " ms",
              job->name, job->vtab->done, job->rows, ns / 1000000);
}

static void job_delete(struct ddl_job *job)
{
    job->vtab->destroy(job);
    arena_destroy(&job->kept);
    free(job);
}

/* Keeps the code and message of what has failed. */
static int fail(struct ddl_job *job, int code)
{
    char message[DIAG_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", diag_message_for(code));
    int rc = job->vtab->cancel(job);
    if (rc != 0)
        log_error("%s has failed and could not be taken back either: %s", job->name,
                  diag_message_for(rc));
    return diag_set(code, "%s", message);
}

int ddl_job_step(struct ddl_job *job)
{
    struct clock *clock = job->worker->db->clock;
    uint64_t now = clock_monotonic_ns(clock), end = now + STEP_NS;
    int rc = 0;
    while (rc == 0 && now < end) {
        MUTATION_POINT(BUILD_SLICE);
        rc = job->vtab->slice(job);
        epoch_collect(txn_worker_thread(job->worker->txn)->epoch);
        now = clock_monotonic_ns(clock);
        tell(job, now);
    }
    if (rc == 0)
        return diag_set(ERROR_WAIT, "%s %s", job->name, job->vtab->doing);
    if (rc == ERROR_END)
        rc = job->vtab->finish(job);
    assert(rc != ERROR_WAIT);
    if (rc == 0)
        tell_end(job);
    else
        rc = fail(job, rc);
    job_delete(job);
    return rc;
}

bool ddl_job_tells(struct ddl_job *job, struct ddl_progress *out)
{
    uint64_t now = clock_monotonic_ns(job->worker->db->clock);
    if (now - job->shown_ns < SHOW_NS)
        return false;
    job->shown_ns = now;
    *out = (struct ddl_progress){job->name, job->vtab->doing, job->rows, job->total};
    return true;
}

bool ddl_job_waits(const struct ddl_job *job)
{
    return job->vtab->waits;
}

void ddl_job_cancel(struct ddl_job *job)
{
    fail(job, diag_set(ERROR_CANCELLED, "%s was cancelled",
                       job->vtab->what != NULL ? job->vtab->what : "the change of the schema"));
    log_info("%s: cancelled after %" PRIu64 " rows", job->name, job->rows);
    job_delete(job);
}

int ddl__job_run(struct ddl_job *job)
{
    int rc;
    do
        rc = ddl_job_step(job);
    while (rc == ERROR_WAIT);
    return rc;
}
