/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Compacting what was picked, a step at a time: on the thread that changes the body (body_tidy), or,
 * but for the beginning and the end, as a job of another one.
 *
 *      version  [ a | b | c c c | d d d d d ]       picked: files of c and d, by a range of keys
 *                           └───────┬─┘
 *                        merged, row by row ──► new files, opened as they end
 *
 * The job holds the version it began with, so its files stay open. Nothing of the body changes until
 * the last row is written; then one version with the new files takes the place of the present one,
 * which differs from the first one by newer sequences at most: places are counted from the oldest.
 *
 * Of a key the newest version is kept and one for each snapshot (invariant 17), those of the job's
 * beginning: a snapshot that is taken later reads at a later timestamp than all that is merged. A
 * tombstone goes when no older sequence can have its key, as ranges and filters tell.
 *
 * A row that has expired for everybody (lsm_filter) is taken for a tombstone, but only where no older
 * sequence can have its key. So nothing older comes to light; and an entry that was put anew, at an older
 * timestamp than what is below it (db/checkpoint_build.c), does not hide that.
 *
 * Files that overlap nothing they would be merged with move to their level as they are.
 *
 * A job that another thread works on (`lent`) touches what it holds alone: its version, which never
 * changes, and its output. Which files are taken, and what the body is made of, are looked at where it
 * begins and ends. If the body has been reverted meanwhile to what the job's version is no part of, the
 * job has been in vain.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/list.h"
#include "storage/lsm/lsm_internal.h"

/* Small files are rather merged than moved, or there would be many. */
enum { MOVE_PART = 4 };

struct lsm_job {
    struct body_job base;
    bool lent; /* to somebody who ends it by lsm__job_end */
    bool whole;
    struct run_merge_below below; /* `has` finds the job by it */
    struct lsm_version *version;  /* at the beginning */
    uint64_t asked; /* then: who asks later may have files that came meanwhile in mind */
    struct lsm_pick pick;
    struct engine_snapshots snapshots; /* a copy of its own */
    struct lsm_walk *walks;            /* one a sequence, newest first */
    struct engine_source **sources;
    unsigned count;
    struct lsm_file **files; /* that are taken, in order of their first keys */
    unsigned file_count;
    struct run_merge *merge; /* NULL: not begun to read */
    struct lsm_output output;
    void *dictionary;                 /* of the output, or NULL */
    uint64_t taken_rows, taken_bytes; /* of what it is made from */
    bool urgent;                      /* of the step */
};

/* -------------------------------------------------------------------------------------- beginning */

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory to compact runs");
}

/* Whether an older sequence may have the key. */
static bool below_has(const struct run_merge_below *below, const void *key, size_t size)
{
    const struct lsm_job *job = list_entry(below, struct lsm_job, below);
    for (unsigned i = job->pick.behind; i < job->version->count; i++) {
        const struct lsm_sequence *sequence = &job->version->sequences[i];
        unsigned at = lsm__sequence_find(sequence, key, size);
        if (at < sequence->count && run_may_contain(sequence->files[at]->run, key, size))
            return true;
    }
    return false;
}

/* Marks the picked files, or no longer. */
static void files_take(const struct lsm_job *job, bool taken)
{
    for (unsigned i = job->pick.first; i < job->pick.behind; i++) {
        const struct lsm_sequence *sequence = &job->version->sequences[i];
        unsigned from, to;
        lsm__pick_files(&job->pick, sequence, &from, &to);
        for (; from < to; from++)
            sequence->files[from]->taken = taken;
    }
}

static void job_free(struct lsm_job *job)
{
    files_take(job, false);
    if (job->merge != NULL)
        run_merge_delete(job->merge);
    for (unsigned i = 0; i < job->count; i++)
        lsm__walk_destroy(&job->walks[i]);
    free(job->walks);
    free((void *)job->sources);
    free((void *)job->files);
    free((void *)job->snapshots.ts);
    free(job->dictionary);
    lsm__output_release(&job->output);
    lsm__version_release(job->version);
    free(job);
}

static void job_abandon(struct lsm_body *body)
{
    lsm__output_abandon(&body->job->output);
    job_free(body->job);
    body->job = NULL;
}

void lsm__job_abandon(struct lsm_body *body)
{
    if (body->job != NULL && !body->job->lent)
        job_abandon(body);
}

static int snapshots_copy(struct engine_snapshots *out, const struct engine_snapshots *from)
{
    uint64_t *ts = malloc((from->count + 1) * sizeof *ts);
    if (ts == NULL)
        return no_memory();
    if (from->count > 0)
        memcpy(ts, from->ts, from->count * sizeof *ts);
    *out = (struct engine_snapshots){ts, from->count};
    return 0;
}

static int job_new(struct lsm_body *body, const struct lsm_pick *pick, struct lsm_job **out)
{
    struct lsm_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return no_memory();
    job->base.vtab = &engine_lsm;
    job->below.has = below_has;
    job->version = lsm__version_hold(body);
    job->asked = atomic_load(&body->asked);
    job->pick = *pick;
    job->output.body = body;
    lsm__options(body, &job->output.options);
    files_take(job, true);
    *out = job;
    return 0;
}

static int dictionary_make(struct lsm_job *job)
{
    struct lsm_output *output = &job->output;
    const struct lsm_options *options = &output->options;
    if (!output->bottom || options->dictionary_bytes == 0 ||
        options->compression[LSM_LEVEL_LAST] != COMPRESS_ZSTD)
        return 0;
    int rc = lsm__dictionary_train(job->files, job->file_count, job->urgent, options,
                                   &job->dictionary, &output->dictionary_size);
    output->dictionary = job->dictionary;
    return rc;
}

static void output_prepare(struct lsm_job *job)
{
    struct lsm_file *const *files = job->files;
    struct lsm_output *output = &job->output;
    output->level = job->pick.level;
    if (output->options.filter != NULL)
        output->horizon_ms = output->options.filter->horizon_ms(output->options.filter);
    output->bottom = job->pick.behind == job->version->count;
    for (unsigned i = 0; i < job->file_count; i++) {
        uint64_t ts = run_info(files[i]->run)->up_to_ts;
        output->up_to_ts = ts > output->up_to_ts ? ts : output->up_to_ts;
        if (files[i]->meta.time_ms > output->time_ms)
            output->time_ms = files[i]->meta.time_ms;
        job->taken_rows += files[i]->meta.rows;
        job->taken_bytes += files[i]->meta.bytes;
    }
}

static int inputs_open(struct lsm_job *job)
{
    static const struct engine_range all = {.lower = NULL};
    unsigned count = job->pick.behind - job->pick.first;
    job->walks = calloc(count, sizeof *job->walks);
    job->sources = calloc(count, sizeof(struct engine_source *));
    if (job->walks == NULL || job->sources == NULL)
        return no_memory();
    for (unsigned i = 0; i < count; i++) {
        const struct lsm_sequence *sequence = &job->version->sequences[job->pick.first + i];
        unsigned from, to;
        lsm__pick_files(&job->pick, sequence, &from, &to);
        lsm__walk_create(&job->walks[i], sequence, from, to, &all);
        job->walks[i].scan = true;
        job->walks[i].hurry = job->urgent;
        job->walks[i].filter = job->output.options.filter;
        job->walks[i].horizon_ms = job->output.horizon_ms;
        job->walks[i].below = &job->below;
        job->sources[i] = &job->walks[i].base;
    }
    job->count = count;
    return run_merge_sources(job->sources, count, &job->snapshots, &job->below, &job->merge);
}

/* ----------------------------------------------------------------------------------------- moving */

/* Whether the taken files overlap nobody among them, and are to be kept as they are. Where nothing
 * is below, tombstones can be dropped. */
static bool can_move(const struct lsm_job *job)
{
    struct lsm_file *const *files = job->files;
    uint64_t least = job->output.options.file_bytes / MOVE_PART;
    bool bottom = job->pick.behind == job->version->count;
    if (job->pick.reason == LSM_ASKED_FOR || job->pick.reason == LSM_EXPIRED)
        return false;
    for (unsigned i = 0; i < job->file_count; i++) {
        if (files[i]->meta.bytes < least || (bottom && files[i]->meta.tombstones > 0))
            return false;
        if (i > 0 && run_key_compare(files[i - 1]->last.data, files[i - 1]->last.size,
                                     files[i]->first.data, files[i]->first.size) >= 0)
            return false;
    }
    return true;
}

static int file_compare(const void *a_pointer, const void *b_pointer)
{
    const struct lsm_file *a = *(struct lsm_file *const *)a_pointer,
                          *b = *(struct lsm_file *const *)b_pointer;
    return run_key_compare(a->first.data, a->first.size, b->first.data, b->first.size);
}

/* All taken files. */
static int files_list(struct lsm_job *job)
{
    job->files = malloc((job->version->file_count + 1) * sizeof(struct lsm_file *));
    if (job->files == NULL)
        return no_memory();
    for (unsigned i = job->pick.first; i < job->pick.behind; i++)
        for (unsigned n = 0; n < job->version->sequences[i].count; n++)
            if (job->version->sequences[i].files[n]->taken)
                job->files[job->file_count++] = job->version->sequences[i].files[n];
    qsort((void *)job->files, job->file_count, sizeof(struct lsm_file *), file_compare);
    return 0;
}

/* As if they had been written. */
static void files_move(struct lsm_job *job)
{
    for (unsigned i = 0; i < job->file_count; i++)
        lsm__file_hold(job->files[i]);
    job->output.files = job->files;
    job->output.count = job->output.capacity = job->file_count;
    job->files = NULL;
}

/* ----------------------------------------------------------------------------------------- ending */

static int add_files(struct lsm_places *places, const struct lsm_output *output, unsigned level,
                     uint64_t group)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < output->count; i++)
        rc = lsm__places_add(places, output->files[i], level, group);
    return rc;
}

/* What is left of a sequence; with `output` its files as well, in order of keys. */
static int add_rest(struct lsm_places *places, const struct lsm_sequence *sequence,
                    const struct lsm_output *output)
{
    unsigned next = 0, count = output != NULL ? output->count : 0;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < sequence->count; i++) {
        struct lsm_file *file = sequence->files[i];
        if (file->taken)
            continue;
        while (rc == 0 && next < count && file_compare(&output->files[next], &file) < 0)
            rc = lsm__places_add(places, output->files[next++], sequence->level, sequence->group);
        if (rc == 0)
            rc = lsm__places_add(places, file, sequence->level, sequence->group);
    }
    while (rc == 0 && next < count)
        rc = lsm__places_add(places, output->files[next++], sequence->level, sequence->group);
    return rc;
}

/* The present version with the output in place of what was taken. */
static int places_make(const struct lsm_body *body, const struct lsm_job *job,
                       struct lsm_places *places)
{
    const struct lsm_version *version = body->version;
    ASSERT(version->count >= job->version->count);
    unsigned newer = version->count - job->version->count;
    unsigned first = newer + job->pick.first, behind = newer + job->pick.behind;
    uint64_t group = atomic_fetch_add(body->next_file, 1);
    bool put = false;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < version->count; i++) {
        const struct lsm_sequence *sequence = &version->sequences[i];
        bool here =
            i >= first && i < behind && sequence->level > 0 && sequence->level == job->pick.level;
        rc = add_rest(places, sequence, here ? &job->output : NULL);
        put |= here;
        if (rc == 0 && i + 1 == behind && !put)
            rc = add_files(places, &job->output, job->pick.level, group);
    }
    return rc;
}

/* What no manifest has named nobody else would remove; moved files stay. */
static void files_unlink(const struct lsm_body *body, const struct lsm_job *job,
                         const struct lsm_version *now)
{
    for (unsigned i = job->pick.first; i < job->pick.behind; i++)
        for (unsigned n = 0; n < job->version->sequences[i].count; n++) {
            const struct lsm_file *file = job->version->sequences[i].files[n];
            if (file->taken && !lsm__version_has(body->settled, file->meta.name) &&
                !lsm__version_has(now, file->meta.name))
                io_unlink(body->io, file->meta.name);
        }
}

static int job_version(struct lsm_body *body, struct lsm_version **out)
{
    struct lsm_places places = {0};
    int rc = places_make(body, body->job, &places);
    if (rc == 0)
        rc = lsm__version_new(body, &places, out);
    free(places.places);
    return rc;
}

/* Who sees the new version sees what was counted before: body->mutex orders them. */
static void job_publish(struct lsm_body *body, struct lsm_version *version)
{
    files_unlink(body, body->job, version);
    lsm__version_publish(body, version);
    job_free(body->job);
    body->job = NULL;
}

/* ------------------------------------------------------------------------------------------ steps */

/* Rows of about bytes_max bytes. ERROR_END when all are written. */
static int rows_write(struct lsm_job *job, uint64_t bytes_max)
{
    uint64_t begun = job->output.bytes;
    struct engine_row row;
    int rc = 0;
    while (rc == 0 && job->output.bytes - begun < bytes_max) {
        rc = run_merge_next(job->merge, &row);
        if (rc == 0)
            rc = lsm__output_add(&job->output, &row);
    }
    return rc;
}

static int merged_publish(struct lsm_body *body)
{
    const struct lsm_job *job = body->job;
    bool all = job->pick.reason == LSM_ASKED_FOR;
    uint64_t asked = job->asked;
    struct lsm_version *version;
    int rc = job_version(body, &version);
    if (rc != 0)
        return rc;
    for (unsigned i = 0; i < job->count; i++)
        atomic_fetch_add(&body->expired_rows, job->walks[i].expired);
    atomic_fetch_add(&body->compacted_bytes, job->output.file_bytes);
    atomic_fetch_add(&body->read_bytes, job->taken_bytes);
    atomic_fetch_add(&body->dropped_rows, job->taken_rows - job->output.rows);
    atomic_fetch_add(&body->compactions, 1);
    job_publish(body, version);
    if (all)
        body->merged_all = asked;
    return 0;
}

/* ERROR_END: all is written. */
static int job_write(struct lsm_job *job, uint64_t bytes_max, struct engine_tidied *out)
{
    uint64_t begun = job->output.bytes;
    int rc = job->merge != NULL ? 0 : dictionary_make(job);
    if (rc == 0 && job->merge == NULL)
        rc = inputs_open(job);
    if (rc == 0)
        rc = rows_write(job, bytes_max);
    *out = (struct engine_tidied){ENGINE_TIDY_WORKING, job->output.bytes - begun};
    if (rc != ERROR_END)
        return rc;
    rc = lsm__output_end(&job->output);
    job->whole = rc == 0;
    return rc != 0 ? rc : ERROR_END;
}

static int job_step(struct lsm_body *body, uint64_t bytes_max, struct engine_tidied *out)
{
    int rc = job_write(body->job, bytes_max, out);
    if (rc == ERROR_END) {
        crash_point("merge.run.written");
        rc = merged_publish(body);
        out->what = ENGINE_TIDY_CHANGED;
    }
    if (rc != 0)
        job_abandon(body);
    return rc;
}

static int move_publish(struct lsm_body *body)
{
    struct lsm_version *version;
    files_move(body->job);
    int rc = job_version(body, &version);
    if (rc != 0) { /* the files are not the job's to remove */
        lsm__output_release(&body->job->output);
        return rc;
    }
    atomic_fetch_add(&body->moves, 1);
    job_publish(body, version);
    return 0;
}

/* *moved: it is done already. Nothing is read yet. */
static int job_begin(struct lsm_body *body, const struct lsm_pick *pick,
                     const struct engine_snapshots *snapshots, bool *moved)
{
    *moved = false;
    int rc = job_new(body, pick, &body->job);
    if (rc != 0)
        return rc;
    rc = files_list(body->job);
    if (rc == 0 && can_move(body->job)) {
        rc = move_publish(body);
        *moved = rc == 0;
    } else if (rc == 0) {
        output_prepare(body->job);
        rc = snapshots_copy(&body->job->snapshots, snapshots);
    }
    if (rc != 0)
        job_abandon(body);
    return rc;
}

/* What is to be done next, if anything is. */
static int job_next(struct lsm_body *body, const struct engine_snapshots *snapshots,
                    struct engine_tidied *done)
{
    struct lsm_pick pick;
    struct lsm_options options;
    bool moved;
    lsm__options(body, &options);
    *done = (struct engine_tidied){ENGINE_TIDY, 0};
    if (atomic_load(&body->asked) > body->merged_all)
        lsm__pick_all(body->version, &options, &pick);
    else
        lsm__pick(body->version, &options, clock_realtime_ms(body->clock), &pick);
    if (pick.reason == LSM_NOTHING)
        return 0;
    int rc = job_begin(body, &pick, snapshots, &moved);
    if (rc == 0)
        done->what = moved ? ENGINE_TIDY_CHANGED : ENGINE_TIDY_WORKING;
    return rc;
}

int lsm__tidy(struct body *base, const struct engine_snapshots *snapshots, uint64_t bytes_max,
              struct engine_tidied *out)
{
    struct lsm_body *body = (struct lsm_body *)base;
    *out = (struct engine_tidied){ENGINE_TIDY, 0};
    if (body->job != NULL && body->job->lent)
        return 0;
    if (body->job == NULL) {
        int rc = job_next(body, snapshots, out);
        if (rc != 0 || out->what != ENGINE_TIDY_WORKING)
            return rc;
    }
    return job_step(body, bytes_max, out);
}

/* All of it at once. */
int lsm__compact(struct body *base, const struct engine_snapshots *snapshots)
{
    struct lsm_body *body = (struct lsm_body *)base;
    struct engine_tidied done;
    struct lsm_pick pick;
    struct lsm_options options;
    bool moved;
    lsm__options(body, &options);
    if (body->job != NULL && body->job->lent)
        return diag_set(ERROR_BUSY, "space %u is being compacted", body->space_id);
    lsm__job_abandon(body);
    lsm__pick_all(body->version, &options, &pick);
    if (pick.reason == LSM_NOTHING)
        return 0;
    int rc = job_begin(body, &pick, snapshots, &moved);
    return rc != 0 ? rc : job_step(body, UINT64_MAX, &done);
}

/* ------------------------------------------------------------------------------- jobs of others */

int lsm__job_begin(struct body *base, const struct engine_snapshots *snapshots,
                   struct engine_tidied *done, struct body_job **out)
{
    struct lsm_body *body = (struct lsm_body *)base;
    *done = (struct engine_tidied){ENGINE_TIDY, 0};
    *out = NULL;
    if (body->job != NULL && body->job->lent)
        return 0;
    lsm__job_abandon(body); /* what body_tidy has begun */
    int rc = job_next(body, snapshots, done);
    if (rc == 0 && done->what == ENGINE_TIDY_WORKING) {
        body->job->lent = true;
        *out = &body->job->base;
    }
    return rc;
}

int lsm__job_step(struct body_job *base, bool urgent, uint64_t bytes_max, struct engine_tidied *out)
{
    struct lsm_job *job = (struct lsm_job *)base;
    job->urgent = urgent;
    for (unsigned i = 0; i < job->count; i++)
        lsm__walk_hurry(&job->walks[i], urgent);
    lsm__output_background(&job->output, !urgent);
    int rc = job_write(job, bytes_max, out);
    if (rc != ERROR_END)
        return rc;
    crash_point("merge.run.written");
    out->what = ENGINE_TIDY;
    return 0;
}

static bool same_files(const struct lsm_sequence *a, const struct lsm_sequence *b)
{
    if (a->level != b->level || a->group != b->group || a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++)
        if (a->files[i] != b->files[i])
            return false;
    return true;
}

/* Whether the present version is that of the job, but for newer sequences. */
static bool job_fits(const struct lsm_body *body, const struct lsm_job *job)
{
    const struct lsm_version *now = body->version, *then = job->version;
    if (now->count < then->count)
        return false;
    for (unsigned i = 0; i < then->count; i++)
        if (!same_files(&now->sequences[now->count - then->count + i], &then->sequences[i]))
            return false;
    return true;
}

int lsm__job_end(struct body *base, struct body_job *lent, bool keep, struct engine_tidied *out)
{
    struct lsm_body *body = (struct lsm_body *)base;
    struct lsm_job *job = (struct lsm_job *)lent;
    ASSERT(body->job == job && job->lent);
    *out = (struct engine_tidied){ENGINE_TIDY, 0};
    if (!keep || !job->whole || !job_fits(body, job)) {
        job_abandon(body);
        return 0;
    }
    int rc = merged_publish(body);
    if (rc != 0)
        job_abandon(body);
    else
        out->what = ENGINE_TIDY_CHANGED;
    return rc;
}
