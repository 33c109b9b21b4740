/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows of this engine are always in the head, so while the database runs nobody reads its body. It
 * is there for the next start: a list of runs that together hold, of each row, the version that was
 * newest at the last checkpoint.
 *
 *      checkpoint ──absorb──► one more run ──►  [ base | tier | tier | newest ]  ──tidy──► fewer
 *                                                 oldest first; a newer run's version of a row
 *                                                 is never older than an older run's
 *
 * So a checkpoint writes what has changed and not what there is (invariant 19), and merging
 * (memory_merge.c) keeps the sum within a bound. Runs are open only while somebody reads them.
 *
 * The list is replaced as a whole and counted; the one that the manifest names is kept beside it,
 * so that an attempt that fails can be taken back.
 */
#include "storage/memory/memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/memory/memory_internal.h"

enum { NAMES_TRIED_MAX = 1000 };

/* ---------------------------------------------------------------------------------------- lists */

struct memory_list *memory__list_new(unsigned count)
{
    struct memory_list *list = calloc(1, sizeof *list + count * sizeof list->files[0]);
    if (list == NULL) {
        diag_set(ERROR_MEMORY, "no memory for a list of files");
        return NULL;
    }
    atomic_init(&list->references, 1);
    list->count = count;
    return list;
}

void memory__list_release(struct memory_list *list)
{
    if (atomic_fetch_sub(&list->references, 1) == 1)
        free(list);
}

static struct memory_list *list_hold(struct memory_body *body)
{
    pthread_mutex_lock(&body->mutex);
    struct memory_list *list = body->list;
    atomic_fetch_add(&list->references, 1);
    pthread_mutex_unlock(&body->mutex);
    return list;
}

void memory__list_publish(struct memory_body *body, struct memory_list *list)
{
    pthread_mutex_lock(&body->mutex);
    struct memory_list *old = body->list;
    body->list = list;
    pthread_mutex_unlock(&body->mutex);
    memory__list_release(old);
}

bool memory__list_has(const struct memory_list *list, const char *name)
{
    for (unsigned i = 0; i < list->count; i++)
        if (strcmp(list->files[i].name, name) == 0)
            return true;
    return false;
}

/* ------------------------------------------------------------------------------ opening, closing */

static void body_free(struct memory_body *body)
{
    if (body->list != NULL)
        memory__list_release(body->list);
    if (body->settled != NULL)
        memory__list_release(body->settled);
    pthread_mutex_destroy(&body->mutex);
    free(body);
}

static int memory_open(const struct engine_options *options, struct body **out)
{
    struct memory_body *body = calloc(1, sizeof *body);
    if (body == NULL)
        return diag_set(ERROR_MEMORY, "no memory to open space %u", options->space_id);
    ASSERT(options->next_file != NULL);
    body->base.vtab = &engine_memory;
    body->io = options->io;
    body->space_id = options->space_id;
    body->incarnation = options->incarnation;
    body->next_file = options->next_file;
    pthread_mutex_init(&body->mutex, NULL);
    body->list = memory__list_new(options->file_count);
    if (body->list == NULL) {
        body_free(body);
        return ERROR_MEMORY;
    }
    if (options->file_count > 0)
        memcpy(body->list->files, options->files, options->file_count * sizeof *options->files);
    body->settled = list_hold(body);
    *out = &body->base;
    return 0;
}

static void memory_close(struct body *base)
{
    struct memory_body *body = (struct memory_body *)base;
    memory__merge_abandon(body);
    body_free(body);
}

/* --------------------------------------------------------------------------------------- writing */

bool memory_run_has_name(const struct run_info *info, const char *name)
{
    char own[ENGINE_FILE_NAME_MAX + 1];
    engine_file_name(own, info->space_id, info->incarnation, info->sequence);
    return strcmp(own, name) == 0;
}

int memory__writer_new(struct memory_body *body, uint64_t up_to_ts, bool background,
                       struct engine_file *file, struct run_writer **out)
{
    int rc = ERROR_EXISTS;
    /* A file that was left over, and could not be removed, keeps its name. */
    for (unsigned tried = 0; rc == ERROR_EXISTS && tried < NAMES_TRIED_MAX; tried++) {
        uint64_t number = atomic_fetch_add(body->next_file, 1);
        engine_file_name(file->name, body->space_id, body->incarnation, number);
        struct run_options options = {.io = body->io,
                                      .name = file->name,
                                      .space_id = body->space_id,
                                      .incarnation = body->incarnation,
                                      .sequence = number,
                                      .up_to_ts = up_to_ts,
                                      .compression = COMPRESS_ZSTD,
                                      .background = background};
        rc = run_writer_new(&options, out);
    }
    return rc;
}

int memory__writer_finish(struct memory_body *body, struct run_writer *writer,
                          struct engine_file *file)
{
    struct run_info info;
    int rc = run_writer_finish(writer, &info);
    if (rc != 0)
        return rc;
    file->bytes = info.file_bytes;
    file->rows = info.rows;
    file->tombstones = info.tombstones;
    return info.rows == 0 ? io_unlink(body->io, file->name) : 0;
}

/* The present list and one more file. */
static int list_append(struct memory_body *body, const struct engine_file *file)
{
    unsigned count = body->list->count;
    struct memory_list *list = memory__list_new(count + 1);
    if (list == NULL)
        return ERROR_MEMORY;
    memcpy(list->files, body->list->files, count * sizeof *file);
    list->files[count] = *file;
    memory__list_publish(body, list);
    return 0;
}

static int rows_write(struct run_writer *writer, struct engine_source *rows)
{
    struct engine_row row;
    uint64_t count = 0;
    int rc;
    while ((rc = rows->next(rows, &row)) == 0) {
        if ((rc = run_writer_add(writer, &row)) != 0)
            return rc;
        count++;
        if ((count & (count - 1)) == 0) /* small runs have a half, too */
            crash_point("checkpoint.run.half");
    }
    return rc == ERROR_END ? 0 : rc;
}

static int memory_absorb(struct body *base, struct engine_source *rows, uint64_t up_to_ts,
                         const struct engine_snapshots *snapshots)
{
    (void)snapshots; /* keeps every version it is given */
    struct memory_body *body = (struct memory_body *)base;
    struct engine_file file = {.level = 0};
    struct run_writer *writer;
    int rc = memory__writer_new(body, up_to_ts, false, &file, &writer);
    if (rc != 0)
        return rc;
    rc = rows_write(writer, rows);
    if (rc != 0) {
        run_writer_delete(writer);
        return rc;
    }
    rc = memory__writer_finish(body, writer, &file);
    if (rc != 0 || file.rows == 0)
        return rc;
    rc = list_append(body, &file);
    if (rc != 0)
        io_unlink(body->io, file.name);
    return rc;
}

/* ------------------------------------------------------------------------- files, settle, revert */

static int memory_files(struct body *base, int (*each)(const struct engine_file *file, void *arg),
                        void *arg)
{
    const struct memory_list *list = ((struct memory_body *)base)->list;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < list->count; i++)
        rc = each(&list->files[i], arg);
    return rc;
}

static void memory_settle(struct body *base)
{
    struct memory_body *body = (struct memory_body *)base;
    memory__list_release(body->settled);
    body->settled = list_hold(body);
}

/* A merge that is going on is not touched: its runs are of the list that was settled. */
static void memory_revert(struct body *base, bool keep_files)
{
    struct memory_body *body = (struct memory_body *)base;
    for (unsigned i = 0; !keep_files && i < body->list->count; i++)
        if (!memory__list_has(body->settled, body->list->files[i].name))
            io_unlink(body->io, body->list->files[i].name);
    atomic_fetch_add(&body->settled->references, 1);
    memory__list_publish(body, body->settled);
}

/* ---------------------------------------------------------------------------------------- reading */

static int run_check(const struct memory_body *body, const struct engine_file *file,
                     const struct run *run)
{
    const struct run_info *info = run_info(run);
    const char *what = NULL;
    if (info->space_id != body->space_id || info->incarnation != body->incarnation)
        what = "belongs to another space";
    else if (info->file_bytes != file->bytes)
        what = "has another size";
    else if (info->rows != file->rows || info->tombstones != file->tombstones)
        what = "has another number of rows";
    return what == NULL
               ? 0
               : diag_set(ERROR_CORRUPT, "the run %s %s than the manifest says", file->name, what);
}

int memory__runs_open(struct memory_body *body, const struct memory_list *list, unsigned from,
                      unsigned to, struct run **out)
{
    for (unsigned i = to; i-- > from;) {
        struct run **run = &out[to - 1 - i];
        int rc = run_open(body->io, list->files[i].name, run);
        if (rc == 0 && (rc = run_check(body, &list->files[i], *run)) != 0)
            run_close(*run);
        if (rc != 0) {
            memory__runs_close(out, to - 1 - i);
            return rc;
        }
    }
    return 0;
}

void memory__runs_close(struct run **runs, unsigned count)
{
    while (count > 0)
        run_close(runs[--count]);
}

static int view_of(struct memory_body *body, const struct memory_list *list, struct body_view **out)
{
    struct memory_view *view = malloc(sizeof *view + list->count * sizeof view->runs[0]);
    if (view == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a view of space %u", body->space_id);
    view->base.vtab = &engine_memory;
    view->count = list->count;
    int rc = memory__runs_open(body, list, 0, list->count, view->runs);
    if (rc != 0) {
        free(view);
        return rc;
    }
    *out = &view->base;
    return 0;
}

/* A file may be merged with others, and removed, before it is open: then the list has changed. */
static int memory_view_open(struct body *base, struct body_view **out)
{
    struct memory_body *body = (struct memory_body *)base;
    for (;;) {
        struct memory_list *list = list_hold(body);
        int rc = view_of(body, list, out);
        pthread_mutex_lock(&body->mutex);
        bool again = rc == ERROR_NOT_FOUND && body->list != list;
        pthread_mutex_unlock(&body->mutex);
        memory__list_release(list);
        if (!again)
            return rc != ERROR_NOT_FOUND
                       ? rc
                       : diag_set(ERROR_CORRUPT, "a run of space %u is missing: %s", body->space_id,
                                  diag_message());
    }
}

static void memory_view_close(struct body_view *base)
{
    struct memory_view *view = (struct memory_view *)base;
    memory__runs_close(view->runs, view->count);
    free(view);
}

static int memory_verify(struct body *base)
{
    struct body_view *view;
    int rc = memory_view_open(base, &view);
    if (rc != 0)
        return rc;
    for (unsigned i = 0; rc == 0 && i < ((struct memory_view *)view)->count; i++)
        rc = run_verify(((struct memory_view *)view)->runs[i], NULL, NULL);
    memory_view_close(view);
    return rc;
}

static void memory_stats(struct body *base, struct engine_stats *out)
{
    struct memory_list *list = list_hold((struct memory_body *)base);
    *out = (struct engine_stats){.files = list->count, .live_bytes = memory__live_bytes(list)};
    for (unsigned i = 0; i < list->count; i++) {
        out->rows += list->files[i].rows;
        out->bytes += list->files[i].bytes;
    }
    memory__list_release(list);
}

const struct engine_vtab engine_memory = {
    .name = "memory",
    .flags = ENGINE_RESIDENT | ENGINE_ABSORBS | ENGINE_DURABLE,
    .open = memory_open,
    .close = memory_close,
    .absorb = memory_absorb,
    .view_open = memory_view_open,
    .view_close = memory_view_close,
    .get = memory__get,
    .prefetch = engine_generic_prefetch,
    .cursor_open = memory__cursor_open,
    .cursor_next = memory__cursor_next,
    .cursor_close = memory__cursor_close,
    .split = memory__split,
    .compact = memory__compact,
    .tidy = memory__tidy,
    .job_begin = engine_generic_job_begin,
    .job_step = engine_generic_job_step,
    .job_end = engine_generic_job_end,
    .files = memory_files,
    .settle = memory_settle,
    .hold = engine_generic_hold,
    .configure = engine_generic_configure,
    .revert = memory_revert,
    .verify = memory_verify,
    .stats = memory_stats,
};
