/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Merging runs, so that what the body takes stays in proportion to what is alive in it.
 *
 * Runs are merged from some position in the list up to its end as it was when the merge began; what
 * is absorbed meanwhile comes behind. Two cases, looked at after every change:
 *
 *   all      the sum of all runs is above twice what is alive. With the oldest run among them
 *            tombstones have done their duty and go. Everything is rewritten, after about as much
 *            as half of it has been written anew: two to three bytes for each that changed.
 *   a tier   a run behind the oldest is not larger than all newer ones together: it is merged with
 *            them (size-tiered, as in O'Neil's LSM tree with the ratio two). So sizes at least
 *            double from run to run, there are few of them, and each row is rewritten once for each
 *            doubling.
 *
 * What is alive is estimated from counts alone: each row of a newer run may supersede one of average
 * size in the oldest one; of the newer runs only the largest is taken to be alive, since the keys in
 * one run are all different. So with rows of about one size the bound holds, and the estimate errs
 * to the safe side. Below SMALL_BYTES nobody cares, and only the number of runs counts.
 *
 * A merge goes in steps of about so many bytes, because the thread that does it has checkpoints to
 * make in between.
 */
#include <stdlib.h>
#include <string.h>

#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/memory/memory_internal.h"

enum { SMALL_BYTES = 256 << 10, FILES_SMALL_MAX = 8, FILES_MIN = 4 };

static uint64_t total_bytes(const struct memory_list *list, unsigned from)
{
    uint64_t bytes = 0;
    for (unsigned i = from; i < list->count; i++)
        bytes += list->files[i].bytes;
    return bytes;
}

/* What of a file is not tombstones. */
static uint64_t row_bytes(const struct engine_file *file)
{
    if (file->rows == 0)
        return 0;
    double part = (double)(file->rows - file->tombstones) / (double)file->rows;
    return (uint64_t)(part * (double)file->bytes);
}

uint64_t memory__live_bytes(const struct memory_list *list)
{
    uint64_t newer = 0, largest = 0;
    if (list->count == 0)
        return 0;
    for (unsigned i = 1; i < list->count; i++) {
        uint64_t bytes = row_bytes(&list->files[i]);
        newer += list->files[i].rows;
        largest = bytes > largest ? bytes : largest;
    }
    const struct engine_file *base = &list->files[0];
    double left = newer >= base->rows ? 0 : (double)(base->rows - newer) / (double)base->rows;
    return (uint64_t)(left * (double)row_bytes(base)) + largest;
}

/* Where to begin; list->count: nowhere. */
static unsigned merge_choose(const struct memory_list *list)
{
    unsigned count = list->count;
    uint64_t all = total_bytes(list, 0);
    bool useful = count > 1 || (count == 1 && list->files[0].tombstones > 0);
    if (useful &&
        (all > SMALL_BYTES ? all > 2 * memory__live_bytes(list) : count > FILES_SMALL_MAX))
        return 0;
    if (count <= FILES_MIN || all <= SMALL_BYTES)
        return count;
    for (unsigned i = 1; i + 1 < count; i++)
        if (list->files[i].bytes <= total_bytes(list, i + 1))
            return i;
    return count;
}

/* -------------------------------------------------------------------------------------- one merge */

static void merge_free(struct memory_merge *merge)
{
    if (merge->writer != NULL)
        run_writer_delete(merge->writer);
    if (merge->merge != NULL)
        run_merge_delete(merge->merge);
    memory__runs_close(merge->runs, merge->run_count);
    free(merge->runs);
    free((void *)merge->snapshots.ts);
    free(merge);
}

void memory__merge_abandon(struct memory_body *body)
{
    if (body->merge != NULL)
        merge_free(body->merge);
    body->merge = NULL;
}

static int snapshots_copy(struct engine_snapshots *out, const struct engine_snapshots *from)
{
    uint64_t *ts = malloc((from->count + 1) * sizeof *ts);
    if (ts == NULL)
        return diag_set(ERROR_MEMORY, "no memory to merge runs");
    if (from->count > 0)
        memcpy(ts, from->ts, from->count * sizeof *ts);
    *out = (struct engine_snapshots){ts, from->count};
    return 0;
}

static int inputs_open(struct memory_body *body, struct memory_merge *merge,
                       const struct engine_snapshots *snapshots)
{
    unsigned count = merge->to - merge->from;
    int rc = snapshots_copy(&merge->snapshots, snapshots);
    if (rc != 0)
        return rc;
    merge->runs = calloc(count, sizeof(struct run *));
    if (merge->runs == NULL)
        return diag_set(ERROR_MEMORY, "no memory to merge runs");
    rc = memory__runs_open(body, body->list, merge->from, merge->to, merge->runs);
    if (rc != 0)
        return rc;
    merge->run_count = count;
    return run_merge_new(merge->runs, count, &merge->snapshots, merge->from == 0, &merge->merge);
}

static int merge_begin(struct memory_body *body, unsigned from,
                       const struct engine_snapshots *snapshots)
{
    struct memory_merge *merge = calloc(1, sizeof *merge);
    if (merge == NULL)
        return diag_set(ERROR_MEMORY, "no memory to merge runs");
    merge->from = from;
    merge->to = body->list->count;
    int rc = inputs_open(body, merge, snapshots);
    uint64_t up_to_ts = 0;
    for (unsigned i = 0; rc == 0 && i < merge->run_count; i++)
        if (run_info(merge->runs[i])->up_to_ts > up_to_ts)
            up_to_ts = run_info(merge->runs[i])->up_to_ts;
    if (rc == 0)
        rc = memory__writer_new(body, up_to_ts, true, &merge->file, &merge->writer);
    if (rc != 0) {
        merge_free(merge);
        return rc;
    }
    body->merge = merge;
    return 0;
}

/* The present list with the merged file, if it has rows, in place of what it was made from. */
static int merge_end(struct memory_body *body)
{
    struct memory_merge *merge = body->merge;
    struct run_writer *writer = merge->writer;
    merge->writer = NULL;
    int rc = memory__writer_finish(body, writer, &merge->file);
    if (rc != 0)
        return rc;
    crash_point("merge.run.written");
    unsigned behind = body->list->count - merge->to, made = merge->file.rows > 0;
    struct memory_list *list = memory__list_new(merge->from + made + behind);
    if (list == NULL) {
        if (made)
            io_unlink(body->io, merge->file.name);
        return ERROR_MEMORY;
    }
    memcpy(list->files, body->list->files, merge->from * sizeof *list->files);
    if (made)
        list->files[merge->from] = merge->file;
    memcpy(&list->files[merge->from + made], &body->list->files[merge->to],
           behind * sizeof *list->files);
    /* What no manifest has named nobody else would remove. */
    for (unsigned i = merge->from; i < merge->to; i++)
        if (!memory__list_has(body->settled, body->list->files[i].name))
            io_unlink(body->io, body->list->files[i].name);
    memory__list_publish(body, list);
    return 0;
}

/* Rows of about bytes_max bytes. ERROR_END when all are written. */
static int merge_rows(struct memory_merge *merge, uint64_t bytes_max, uint64_t *bytes)
{
    struct engine_row row;
    int rc = 0;
    while (rc == 0 && *bytes < bytes_max) {
        rc = run_merge_next(merge->merge, &row);
        if (rc == 0)
            rc = run_writer_add(merge->writer, &row);
        *bytes += rc == 0 ? row.key_size + row.size + sizeof row.ts : 0;
    }
    return rc;
}

static int merge_step(struct memory_body *body, uint64_t bytes_max, struct engine_tidied *out)
{
    *out = (struct engine_tidied){ENGINE_TIDY_WORKING, 0};
    int rc = merge_rows(body->merge, bytes_max, &out->bytes);
    if (rc == 0)
        return 0;
    if (rc == ERROR_END) {
        rc = merge_end(body);
        out->what = ENGINE_TIDY_CHANGED;
    }
    memory__merge_abandon(body);
    return rc;
}

int memory__tidy(struct body *base, const struct engine_snapshots *snapshots, uint64_t bytes_max,
                 struct engine_tidied *out)
{
    struct memory_body *body = (struct memory_body *)base;
    if (body->merge == NULL) {
        unsigned from = merge_choose(body->list);
        *out = (struct engine_tidied){ENGINE_TIDY, 0};
        if (from == body->list->count)
            return 0;
        int rc = merge_begin(body, from, snapshots);
        if (rc != 0)
            return rc;
    }
    return merge_step(body, bytes_max, out);
}

/* All runs at once. */
int memory__compact(struct body *base, const struct engine_snapshots *snapshots)
{
    struct memory_body *body = (struct memory_body *)base;
    struct engine_tidied done;
    memory__merge_abandon(body);
    if (body->list->count == 0)
        return 0;
    int rc = merge_begin(body, 0, snapshots);
    return rc != 0 ? rc : merge_step(body, UINT64_MAX, &done);
}
