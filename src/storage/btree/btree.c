/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The body as a line of generations, oldest first; each is one root and what hangs below it.
 *
 *      settled ──► .. ──► viewed ──► .. ──► current
 *         the manifest names it               new views show it, the next change begins with it
 *
 * A page belongs to the generations from the one that it was written for up to the one before that
 * which has it no more; each generation lists what its older neighbour has and it has not (`dead`).
 * A generation is needed while it is the current one, the settled one, a doubtful one (a manifest
 * names it of which nobody knows whether it is in force), a held one (a manifest names it by which
 * somebody copies the file), or is being viewed. When one in the middle
 * is needed no more it leaves the line: of what it and its newer neighbour list, pages that were
 * written for generations behind its older neighbour are free, the rest is listed by the newer one.
 * (As snapshots do it in ZFS: Bonwick et al., The Zettabyte File System, 2003.)
 *
 * So no page is written that a needed generation has:
 *
 *      - a view goes on reading what it was opened on;
 *      - whichever root a start finds named, by the manifest in force or one that may be, is whole;
 *      - a change that fails leaves the current generation as it is.
 *
 * Taking back what was not settled (revert) is one more generation, with the settled one's root.
 */
#include "storage/btree/btree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

enum { TRIM_PAGES_MIN = 64, TRIM_PART = 8 };

bool btree__mutated(const struct btree_body *body, enum btree_mutation mutation)
{
    return (body->mutations & mutation) != 0;
}

/* -------------------------------------------------------------------------------- files, counted */

uint64_t btree__file_serial(void)
{
    static _Atomic uint64_t last;
    return 1 + atomic_fetch_add_explicit(&last, 1, memory_order_relaxed);
}

void btree__file_release(struct btree_file *file)
{
    if (atomic_fetch_sub(&file->references, 1) > 1)
        return;
    if (file->io != NULL)
        io_close(file->io);
    if (file->cache != NULL)
        cache_forget_file(file->cache, file->number);
    free(file);
}

void btree__generation_release(struct btree_generation *generation)
{
    if (atomic_fetch_sub(&generation->references, 1) > 1)
        return;
    btree__extents_free(&generation->dead);
    free(generation->maps);
    btree__file_release(generation->file);
    free(generation);
}

/* ------------------------------------------------------------------------ which pages are needed */

static bool needed(const struct btree_body *body, struct btree_generation *generation)
{
    if (generation == body->current)
        return true;
    if (generation == body->settled && !btree__mutated(body, BTREE_MUTATION_REUSE_SETTLED))
        return true;
    if (generation->doubtful && !btree__mutated(body, BTREE_MUTATION_REUSE_DOUBTFUL))
        return true;
    if (generation->held && !btree__mutated(body, BTREE_MUTATION_REUSE_HELD))
        return true;
    return atomic_load(&generation->views) > 0 &&
           !btree__mutated(body, BTREE_MUTATION_REUSE_VIEWED);
}

/* Takes the pages out of a list that nobody before it needs; the others stay. */
static void dead_free(struct btree_body *body, struct btree_extents *dead, uint64_t older_order)
{
    size_t kept = 0;
    for (size_t i = 0; i < dead->count; i++) {
        const struct btree_extent *extent = &dead->items[i];
        if (extent->sequence > older_order) {
            btree__map_set(&body->map, body->map.busy, extent->page, extent->pages, false);
            if (body->cache != NULL)
                cache_forget(body->cache, body->file->number, extent->page);
        } else {
            dead->items[kept++] = *extent;
        }
    }
    dead->count = kept;
}

/* Takes a generation out of the line. False when memory is out: later, then. */
static bool generation_leave(struct btree_body *body, struct btree_generation *generation)
{
    struct btree_generation *older = generation->older, *newer = generation->newer;
    uint64_t order = older == NULL ? 0 : older->order;
    for (size_t i = 0; older != NULL && i < generation->dead.count; i++)
        if (btree__extents_add(&newer->dead, &generation->dead.items[i]) != 0) {
            newer->dead.count -= i;
            return false;
        }
    dead_free(body, &newer->dead, order);
    newer->older = older;
    if (older != NULL)
        older->newer = newer;
    else
        body->oldest = newer;
    btree__generation_release(generation);
    return true;
}

void btree__sweep(struct btree_body *body)
{
    for (struct btree_generation *each = body->oldest, *newer; each != NULL; each = newer) {
        newer = each->newer;
        if (!needed(body, each) && !generation_leave(body, each))
            return;
    }
    btree__trim(body, false);
}

void btree__trim(struct btree_body *body, bool all)
{
    if (body->writer == NULL)
        return;
    uint64_t end = btree__map_end(&body->map, body->map.busy);
    int64_t size = io_size(body->writer);
    uint64_t pages = size < 0 ? 0 : (uint64_t)size / body->page_bytes;
    if (pages <= end || (!all && pages - end < TRIM_PAGES_MIN + end / TRIM_PART))
        return;
    /* A file that stays longer does no harm. */
    if (io_truncate(body->writer, end * body->page_bytes) != 0)
        diag_clear();
}

/* -------------------------------------------------------------------------------- opening, closing */

static void line_release(struct btree_body *body)
{
    for (struct btree_generation *each = body->oldest, *newer; each != NULL; each = newer) {
        newer = each->newer;
        btree__generation_release(each);
    }
    if (body->settled != NULL)
        btree__generation_release(body->settled);
    body->oldest = body->settled = body->current = NULL;
}

static void btree_close(struct body *base)
{
    struct btree_body *body = (struct btree_body *)base;
    line_release(body);
    if (body->writer != NULL)
        io_close(body->writer);
    if (body->file != NULL)
        btree__file_release(body->file);
    btree__map_free(&body->map);
    btree__extents_free(&body->fresh);
    btree__spare_free(body);
    pthread_mutex_destroy(&body->mutex);
    free(body);
}

static int btree_open(const struct engine_options *options, struct body **out)
{
    uint32_t page_bytes = options->page_bytes == 0 ? BTREE_PAGE_MIN : options->page_bytes;
    if (page_bytes < BTREE_PAGE_MIN || page_bytes > BTREE_PAGE_MAX ||
        (page_bytes & (page_bytes - 1)) != 0)
        return diag_set(ERROR_INVALID,
                        "pages have 4096 bytes, or twice or four times .. up to 65536");
    if (options->file_count > 1)
        return diag_set(ERROR_CORRUPT, "the manifest has %u files for space %" PRIu32 ", not one",
                        options->file_count, options->space_id);
    struct btree_body *body = calloc(1, sizeof *body);
    if (body == NULL)
        return diag_set(ERROR_MEMORY, "no memory to open space %" PRIu32, options->space_id);
    ASSERT(options->next_file != NULL);
    body->base.vtab = &engine_btree;
    body->io = options->io;
    body->cache = options->cache;
    body->space_id = options->space_id;
    body->incarnation = options->incarnation;
    body->page_bytes = page_bytes;
    body->next_file = options->next_file;
    pthread_mutex_init(&body->mutex, NULL);
    int rc = options->file_count == 0 ? 0 : btree__open_file(body, &options->files[0]);
    if (rc != 0) {
        btree_close(&body->base);
        return rc;
    }
    *out = &body->base;
    return 0;
}

/* A file that there is says itself how large its pages are. */
static void btree_configure(struct body *base, const struct engine_options *options)
{
    struct btree_body *body = (struct btree_body *)base;
    if (body->page_bytes != options->page_bytes && body->file == NULL)
        body->page_bytes = options->page_bytes;
}

/* ----------------------------------------------------------------------------------------- views */

static int btree_view_open(struct body *base, struct body_view **out)
{
    struct btree_body *body = (struct btree_body *)base;
    struct btree_view *view = malloc(sizeof *view);
    if (view == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a view of space %" PRIu32, body->space_id);
    view->base.vtab = &engine_btree;
    pthread_mutex_lock(&body->mutex);
    view->generation = body->current;
    if (view->generation != NULL) {
        atomic_fetch_add(&view->generation->references, 1);
        atomic_fetch_add(&view->generation->views, 1);
    }
    pthread_mutex_unlock(&body->mutex);
    *out = &view->base;
    return 0;
}

static void btree_view_close(struct body_view *base)
{
    struct btree_view *view = (struct btree_view *)base;
    if (view->generation != NULL) {
        atomic_fetch_sub(&view->generation->views, 1);
        btree__generation_release(view->generation);
    }
    free(view);
}

/* ------------------------------------------------------------------------- files, settle, revert */

static int btree_files(struct body *base, int (*each)(const struct engine_file *file, void *arg),
                       void *arg)
{
    const struct btree_body *body = (struct btree_body *)base;
    const struct btree_generation *current = body->current;
    if (current == NULL)
        return 0;
    struct engine_file file = {
        .bytes = current->root.pages * body->page_bytes,
        .rows = current->root.rows,
        .tombstones = current->root.tombstones,
        .level = (uint32_t)(current->root_page * (body->page_bytes / BTREE_PAGE_MIN)),
        .group = current->sequence};
    strcpy(file.name, body->file->name);
    return each(&file, arg);
}

static void btree_settle(struct body *base)
{
    struct btree_body *body = (struct btree_body *)base;
    struct btree_generation *settled = body->settled;
    body->settled = body->current;
    if (body->settled != NULL)
        atomic_fetch_add(&body->settled->references, 1);
    for (struct btree_generation *each = body->oldest; each != NULL; each = each->newer) {
        each->doubtful = false;
        each->held = body->held && (each->held || each == settled);
    }
    if (settled != NULL)
        btree__generation_release(settled);
    body->fresh.count = 0;
    body->names_durable = true;
    btree__sweep(body);
}

static void btree_hold(struct body *base, bool held)
{
    ((struct btree_body *)base)->held = held;
}

/* Nothing was there before: the file goes, but for those who read it. */
static void revert_all(struct btree_body *body, bool keep_files)
{
    pthread_mutex_lock(&body->mutex);
    struct btree_generation *first = body->oldest;
    body->oldest = body->current = NULL;
    pthread_mutex_unlock(&body->mutex);
    for (struct btree_generation *newer; first != NULL; first = newer) {
        newer = first->newer;
        btree__generation_release(first);
    }
    if (!keep_files)
        io_unlink(body->io, body->file->name);
    io_close(body->writer);
    body->writer = NULL;
    btree__file_release(body->file);
    body->file = NULL;
    btree__map_free(&body->map);
    body->fresh.count = 0;
}

/* The pages that were written since the settled generation and are in use now: newest first, since
 * a page may have been written, freed and written again. */
static void fresh_to_dead(struct btree_body *body, struct btree_generation *next)
{
    struct btree_map *map = &body->map;
    for (size_t i = body->fresh.count; i > 0; i--) {
        const struct btree_extent *extent = &body->fresh.items[i - 1];
        bool used = (map->used[extent->page / 64] >> extent->page % 64 & 1) != 0;
        if (!used)
            continue;
        btree__map_set(map, map->used, extent->page, extent->pages, false);
        next->dead.items[next->dead.count++] = *extent;
    }
    body->fresh.count = 0;
}

/* What the settled generation has and a newer one has not is in use again. */
static void dead_to_used(struct btree_body *body, struct btree_generation *newer)
{
    size_t kept = 0;
    for (size_t i = 0; i < newer->dead.count; i++) {
        const struct btree_extent *extent = &newer->dead.items[i];
        if (extent->sequence <= body->settled->order)
            btree__map_set(&body->map, body->map.used, extent->page, extent->pages, true);
        else
            newer->dead.items[kept++] = *extent;
    }
    newer->dead.count = kept;
}

/* Reverting must not fail: what it needs is there before anything is changed. */
int btree__spare_prepare(struct btree_body *body, size_t fresh_count)
{
    const struct btree_generation *settled = body->settled;
    if (settled == NULL)
        return 0;
    btree__spare_free(body);
    struct btree_generation *spare = calloc(1, sizeof *spare);
    if (spare == NULL)
        return diag_set(ERROR_MEMORY, "no memory to change a tree");
    size_t maps = settled->root.maps * sizeof *spare->maps;
    spare->maps = malloc(maps + 1);
    spare->dead.items = malloc((fresh_count + 1) * sizeof *spare->dead.items);
    body->spare = spare;
    if (spare->maps == NULL || spare->dead.items == NULL) {
        btree__spare_free(body);
        return diag_set(ERROR_MEMORY, "no memory to change a tree");
    }
    spare->dead.capacity = fresh_count + 1;
    memcpy(spare->maps, settled->maps, maps);
    return 0;
}

void btree__spare_free(struct btree_body *body)
{
    if (body->spare == NULL)
        return;
    free(body->spare->maps);
    free(body->spare->dead.items);
    free(body->spare);
    body->spare = NULL;
}

/* A generation with the settled one's root. */
static struct btree_generation *generation_again(struct btree_body *body)
{
    const struct btree_generation *settled = body->settled;
    struct btree_generation *next = body->spare;
    ASSERT(next != NULL && next->dead.capacity > body->fresh.count);
    body->spare = NULL;
    next->file = settled->file;
    next->sequence = settled->sequence;
    next->root_page = settled->root_page;
    next->timestamp = settled->timestamp;
    next->root = settled->root;
    next->order = ++body->order;
    atomic_init(&next->references, 1);
    atomic_init(&next->views, 0);
    atomic_fetch_add(&next->file->references, 1);
    return next;
}

static void btree_revert(struct body *base, bool keep_files)
{
    struct btree_body *body = (struct btree_body *)base;
    struct btree_generation *last = body->current;
    if (last == NULL || (body->settled != NULL && last->sequence == body->settled->sequence))
        return;
    if (body->settled == NULL) {
        revert_all(body, keep_files);
        return;
    }
    struct btree_generation *next = generation_again(body);
    last->doubtful = keep_files;
    fresh_to_dead(body, next);
    for (struct btree_generation *each = body->settled->newer; each != NULL; each = each->newer)
        dead_to_used(body, each);
    next->older = last;
    last->newer = next;
    pthread_mutex_lock(&body->mutex);
    body->current = next;
    pthread_mutex_unlock(&body->mutex);
    btree__sweep(body);
    btree__trim(body, true);
}

/* -------------------------------------------------------------------------------------- statistics */

static void btree_stats(struct body *base, struct engine_stats *out)
{
    struct btree_body *body = (struct btree_body *)base;
    *out = (struct engine_stats){.rows = 0};
    pthread_mutex_lock(&body->mutex);
    if (body->current != NULL) {
        const struct btree_root_page *root = &body->current->root;
        *out = (struct engine_stats){.rows = root->rows,
                                     .bytes = root->pages * root->page_bytes,
                                     .live_bytes = root->used_pages * root->page_bytes,
                                     .files = 1};
    }
    pthread_mutex_unlock(&body->mutex);
    out->written = load_relaxed(&body->written);
}

const struct engine_vtab engine_btree = {
    .name = "btree",
    .flags = ENGINE_ABSORBS | ENGINE_DURABLE | ENGINE_CHANGES_FILES,
    .open = btree_open,
    .close = btree_close,
    .absorb = btree__absorb,
    .view_open = btree_view_open,
    .view_close = btree_view_close,
    .get = btree__get,
    .prefetch = btree__prefetch,
    .cursor_open = btree__cursor_open,
    .cursor_next = btree__cursor_next,
    .cursor_close = btree__cursor_close,
    .split = btree__split,
    .compact = btree__compact,
    .tidy = btree__tidy,
    .job_begin = engine_generic_job_begin,
    .job_step = engine_generic_job_step,
    .job_end = engine_generic_job_end,
    .files = btree_files,
    .settle = btree_settle,
    .hold = btree_hold,
    .configure = btree_configure,
    .revert = btree_revert,
    .verify = btree__verify,
    .stats = btree_stats,
};
