/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Making a new root: giving out pages, writing them, and the step that makes them current.
 *
 *      pages of the tree ─► pages of the map that differ, the directory ─► the root ─► flush
 *
 * Nothing that any generation which is still needed has is written, so until the end the body is as
 * it was, and a change that fails, or a process that dies, leaves nothing but pages in no use. After
 * the flush the root counts for views; for a start it counts when a manifest names it.
 *
 * Writes wait in a batch of BATCH_PAGES, are sorted by place, and neighbours go to the file as one;
 * so do those with at most GAP_PAGES between them, if nobody needs what lies there: zeros then. What somebody needs is
 * never written over, be it with the same bytes, since a write that power cuts short would lose it. So that there are
 * neighbours where changes have left many small holes, pages are taken from runs of RUN_PAGES and more first, then of
 * half of that, and so on; the file grows when none is left.
 *
 * The root goes to page 0 or page 1, by turns, since one of them is free when the manifest in force
 * names the other. Where that is not so (nobody knows which of two manifests is in force, a view is
 * long) it goes to some other page: it is the manifest that tells where the root is.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

enum { BATCH_PAGES = 64, GAP_PAGES = 10, RUN_PAGES = 16, ROOT_SLOTS = 2, NAMES_TRIED_MAX = 1000 };

struct pending {
    uint64_t page, pages;
    char *bytes;
    bool warm;
};

struct btree_build {
    struct btree_body *body;
    struct btree_generation *next; /* what is being made */
    enum io_class class;
    bool new_file;
    struct btree_extents allocated, freed;
    uint64_t run, run_end; /* pages that are given out next, one by one */
    uint64_t run_least;    /* of a run; those of so many before it are used up */
    uint64_t file_end; /* when it began: the pages behind it are taken when no others are left */
    uint64_t
        extents_from[BATCH_PAGES + 1]; /* by pages: before, as many are nowhere free together */
    unsigned char *dirty;              /* by region: the map differs from the older generation's */
    size_t dirty_count;
    struct btree_map_page *maps; /* room for more regions than there are */
    size_t map_count;
    char *batch, *together; /* BATCH_PAGES pages each */
    size_t batch_bytes;     /* used */
    struct pending pending[BATCH_PAGES];
    unsigned pending_count;
    bool warm;
    char *large; /* an extent that no batch has room for */
    struct pending large_pending;
};

/* --------------------------------------------------------------------------------------- extents */

int btree__extents_add(struct btree_extents *extents, const struct btree_extent *extent)
{
    if (extents->count == extents->capacity) {
        size_t capacity = 2 * extents->capacity + 16;
        struct btree_extent *items = realloc(extents->items, capacity * sizeof *items);
        if (items == NULL)
            return diag_set(ERROR_MEMORY, "no memory for a list of pages");
        extents->items = items;
        extents->capacity = capacity;
    }
    extents->items[extents->count++] = *extent;
    return 0;
}

void btree__extents_free(struct btree_extents *extents)
{
    free(extents->items);
    *extents = (struct btree_extents){NULL, 0, 0};
}

/* ------------------------------------------------------------------------------------ pages in use */

static int dirty_mark(struct btree_build *build, uint64_t page, uint64_t pages)
{
    uint64_t region_pages = btree__region_pages(build->body->page_bytes);
    size_t last = (size_t)((page + pages - 1) / region_pages);
    if (last >= build->dirty_count) {
        size_t count = 2 * last + 8;
        unsigned char *dirty = realloc(build->dirty, count);
        if (dirty == NULL)
            return diag_set(ERROR_MEMORY, "no memory for the map of a file");
        memset(dirty + build->dirty_count, 0, count - build->dirty_count);
        build->dirty = dirty;
        build->dirty_count = count;
    }
    for (size_t i = (size_t)(page / region_pages); i <= last; i++)
        build->dirty[i] |= 1;
    return 0;
}

static int pages_take(struct btree_build *build, uint64_t page, uint64_t pages)
{
    struct btree_map *map = &build->body->map;
    struct btree_extent extent = {page, pages, build->next->order};
    int rc = btree__map_reserve(map, page + pages);
    if (rc == 0)
        rc = dirty_mark(build, page, pages);
    if (rc == 0)
        rc = btree__extents_add(&build->allocated, &extent);
    if (rc != 0)
        return rc;
    btree__map_set(map, map->used, page, pages, true);
    btree__map_set(map, map->busy, page, pages, true);
    return 0;
}

/* Where pages are looked for: in long runs first, unless most of the file is free, which the lowest pages make shorter. */
static void places_begin(struct btree_build *build)
{
    const struct btree_map *map = &build->body->map;
    uint64_t end = btree__map_end(map, map->busy);
    build->file_end = end > ROOT_SLOTS ? end : ROOT_SLOTS;
    build->run = build->run_end = ROOT_SLOTS;
    for (unsigned pages = 0; pages <= BATCH_PAGES; pages++)
        build->extents_from[pages] = ROOT_SLOTS;
    build->run_least = btree__map_busy_pages(map) >= build->file_end / 2 ? RUN_PAGES : 1;
}

/* The next run, the shorter ones when there are no longer ones; in the end what is behind the file. */
static void run_next(struct btree_build *build)
{
    const struct btree_map *map = &build->body->map;
    while (!btree__map_run(map, build->run_end, build->file_end, build->run_least, &build->run,
                           &build->run_end)) {
        if (build->run_least == 1) {
            build->run = build->file_end;
            build->run_end = UINT64_MAX;
            return;
        }
        build->run_least /= 2;
        build->run_end = ROOT_SLOTS;
    }
}

static uint64_t page_next(struct btree_build *build)
{
    for (;; build->run++) { /* an extent, or the root, may have taken pages of the run */
        if (build->run == build->run_end)
            run_next(build);
        if (!btree__map_busy(&build->body->map, build->run))
            return build->run++;
    }
}

static uint64_t extent_next(struct btree_build *build, uint64_t pages)
{
    uint64_t from = build->extents_from[pages < BATCH_PAGES ? pages : BATCH_PAGES];
    uint64_t page = btree__map_find(&build->body->map, from, pages);
    for (uint64_t larger = pages; larger <= BATCH_PAGES && build->extents_from[larger] < page;
         larger++)
        build->extents_from[larger] = page;
    return page;
}

static int pages_find(struct btree_build *build, uint64_t pages, uint64_t *page)
{
    *page = pages == 1 ? page_next(build) : extent_next(build, pages);
    if (*page + pages > UINT64_C(1) << BTREE_PAGE_BITS)
        return diag_set(ERROR_TOO_LARGE, "the file %s has as many pages as can be",
                        build->body->file->name);
    return pages_take(build, *page, pages);
}

static int root_find(struct btree_build *build, uint64_t *page)
{
    for (*page = 0; *page < ROOT_SLOTS; ++*page)
        if (!btree__map_busy(&build->body->map, *page))
            return pages_take(build, *page, 1);
    return pages_find(build, 1, page);
}

int btree__build_free(struct btree_build *build, uint64_t page, uint64_t pages, uint64_t sequence)
{
    struct btree_map *map = &build->body->map;
    struct btree_extent extent = {page, pages, sequence};
    int rc = page + pages <= map->words * 64
                 ? 0
                 : btree__damaged(build->body->file, page, "a page beyond the end of the file");
    if (rc == 0)
        rc = dirty_mark(build, page, pages);
    if (rc == 0)
        rc = btree__extents_add(&build->freed, &extent);
    if (rc == 0)
        btree__map_set(map, map->used, page, pages, false);
    return rc;
}

uint64_t btree__build_sequence(const struct btree_build *build)
{
    return build->next->order;
}

void btree__build_warm(struct btree_build *build, bool warm)
{
    build->warm = warm;
}

uint32_t btree__build_page_bytes(const struct btree_build *build)
{
    return build->body->page_bytes;
}

/* --------------------------------------------------------------------------------------- writing */

static int pending_compare(const void *a_pointer, const void *b_pointer)
{
    const struct pending *a = a_pointer, *b = b_pointer;
    return (a->page > b->page) - (a->page < b->page);
}

/* What is waiting gets its checksum when it is written: whoever made it has filled it in by then. */
static void pending_seal(struct btree_build *build, const struct pending *pending)
{
    const struct btree_file *file = build->body->file;
    size_t size = pending->pages * file->page_bytes;
    btree_seal(pending->bytes, size, file->identity);
    if (file->cache == NULL)
        return;
    /* What the cache may have of this place is of another time. */
    enum btree_kind kind = btree_header(pending->bytes)->kind;
    bool keep = kind == BTREE_BRANCH || (kind == BTREE_LEAF && pending->warm);
    unsigned flags = kind == BTREE_BRANCH ? CACHE_LINKS : 0;
    if (!keep ||
        cache_put(file->cache, file->number, pending->page, flags, pending->bytes, size) != 0)
        cache_forget(file->cache, file->number, pending->page);
}

static bool gap_free(const struct btree_build *build, uint64_t from, uint64_t to)
{
    if (to - from > GAP_PAGES)
        return false;
    for (uint64_t page = from; page < to; page++)
        if (page < ROOT_SLOTS || btree__map_busy(&build->body->map, page))
            return false;
    return true;
}

static int pages_write(struct btree_build *build, const void *bytes, uint64_t page, uint64_t pages)
{
    size_t size = pages * build->body->page_bytes;
    atomic_fetch_add_explicit(&build->body->written, size, memory_order_relaxed);
    return io_schedule_write(build->class, build->body->writer, bytes, size,
                             page * build->body->page_bytes);
}

/* Writes pending[first..] up to where a gap is too large, or they would be too many; *first is
 * behind them then. */
static int neighbours_write(struct btree_build *build, unsigned *first)
{
    size_t page_bytes = build->body->page_bytes;
    uint64_t start = build->pending[*first].page, end = start;
    while (*first < build->pending_count) {
        const struct pending *next = &build->pending[*first];
        if (next->page + next->pages - start > BATCH_PAGES || !gap_free(build, end, next->page))
            break;
        memset(build->together + (end - start) * page_bytes, 0, (next->page - end) * page_bytes);
        memcpy(build->together + (next->page - start) * page_bytes, next->bytes,
               next->pages * page_bytes);
        end = next->page + next->pages;
        ++*first;
    }
    return pages_write(build, build->together, start, end - start);
}

/* The disk gets the batch now, so that the flush in the end does not keep it from others. */
static int batch_away(struct btree_build *build)
{
    size_t page_bytes = build->body->page_bytes;
    const struct pending *first = &build->pending[0];
    const struct pending *last = &build->pending[build->pending_count - 1];
    return io_write_back(build->body->writer, first->page * page_bytes,
                         (last->page + last->pages - first->page) * page_bytes);
}

static int batch_write(struct btree_build *build)
{
    int rc = 0;
    for (unsigned i = 0; i < build->pending_count; i++)
        pending_seal(build, &build->pending[i]);
    qsort(build->pending, build->pending_count, sizeof *build->pending, pending_compare);
    for (unsigned i = 0; rc == 0 && i < build->pending_count;)
        rc = neighbours_write(build, &i);
    if (rc == 0 && build->pending_count > 0)
        rc = batch_away(build);
    if (rc == 0 && build->large != NULL) {
        const struct pending *large = &build->large_pending;
        pending_seal(build, large);
        rc = pages_write(build, large->bytes, large->page, large->pages);
    }
    free(build->large);
    build->large = NULL;
    build->pending_count = 0;
    build->batch_bytes = 0;
    return rc;
}

/* Memory for an extent that will be written. */
static int pending_add(struct btree_build *build, uint64_t page, uint64_t pages, char **out)
{
    size_t page_bytes = build->body->page_bytes, size = pages * page_bytes;
    bool full = build->large != NULL || build->pending_count == BATCH_PAGES ||
                build->batch_bytes + size > BATCH_PAGES * page_bytes;
    int rc = full ? batch_write(build) : 0;
    if (rc != 0)
        return rc;
    struct pending *pending;
    if (pages > BATCH_PAGES) {
        pending = &build->large_pending;
        build->large = malloc(size);
        if (build->large == NULL)
            return diag_set(ERROR_MEMORY, "no memory to write %" PRIu64 " pages", pages);
        *pending = (struct pending){page, pages, build->large, build->warm};
    } else {
        pending = &build->pending[build->pending_count++];
        *pending = (struct pending){page, pages, build->batch + build->batch_bytes, build->warm};
        build->batch_bytes += size;
    }
    memset(pending->bytes, 0, size);
    *out = pending->bytes;
    return 0;
}

static int extent_at(struct btree_build *build, uint64_t page, uint64_t pages, enum btree_kind kind,
                     struct btree_header **out)
{
    char *bytes = NULL;
    int rc = pending_add(build, page, pages, &bytes);
    if (rc != 0)
        return rc;
    *out = (struct btree_header *)(void *)bytes;
    **out = (struct btree_header){.kind = (uint16_t)kind,
                                  .number = page,
                                  .sequence = build->next->order,
                                  .timestamp = build->next->timestamp,
                                  .pages = (uint32_t)pages};
    return 0;
}

int btree__build_extent(struct btree_build *build, enum btree_kind kind, uint64_t size,
                        struct btree_header **out)
{
    uint64_t page, pages = (size + build->body->page_bytes - 1) / build->body->page_bytes;
    int rc = pages_find(build, pages, &page);
    return rc != 0 ? rc : extent_at(build, page, pages, kind, out);
}

/* ------------------------------------------------------------------------------------------- map */

/* Room for the maps of so many pages. */
static int maps_reserve(struct btree_build *build, uint64_t pages)
{
    uint64_t region_pages = btree__region_pages(build->body->page_bytes);
    size_t count = (size_t)((pages + region_pages - 1) / region_pages);
    if (count <= build->map_count)
        return 0;
    struct btree_map_page *maps = realloc(build->maps, count * sizeof *maps);
    if (maps == NULL)
        return diag_set(ERROR_MEMORY, "no memory for the map of a file");
    memset(maps + build->map_count, 0, (count - build->map_count) * sizeof *maps);
    build->maps = maps;
    build->map_count = count;
    return 0;
}

/* Gives a new page to each part of the map that differs. Doing so makes others differ; there is an
 * end to it since each gets one once. */
static int maps_place(struct btree_build *build)
{
    enum { DIRTY = 1, PLACED = 2 };
    for (bool again = true; again;) {
        again = false;
        int rc = maps_reserve(build, btree__map_end(&build->body->map, build->body->map.used));
        for (size_t i = 0; rc == 0 && i < build->map_count; i++) {
            bool dirty = i < build->dirty_count && (build->dirty[i] & DIRTY);
            if (!dirty || (build->dirty[i] & PLACED))
                continue;
            struct btree_map_page *map = &build->maps[i];
            build->dirty[i] |= PLACED;
            again = true;
            if (map->sequence != 0)
                rc = btree__build_free(build, map->page, 1, map->sequence);
            if (rc == 0)
                rc = pages_find(build, 1, &map->page);
            map->sequence = build->next->order;
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Only now, since by now it is known what is in use. */
static int maps_write(struct btree_build *build)
{
    const struct btree_map *map = &build->body->map;
    uint64_t region_pages = btree__region_pages(build->body->page_bytes);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < build->map_count; i++) {
        struct btree_header *header;
        if (build->maps[i].sequence != build->next->order)
            continue;
        rc = extent_at(build, build->maps[i].page, 1, BTREE_MAP, &header);
        if (rc != 0)
            break;
        /* A region is a multiple of 64 pages. */
        uint64_t first = i * region_pages / 64, words = region_pages / 64;
        words = first + words <= map->words ? words : map->words > first ? map->words - first : 0;
        memcpy((char *)header + BTREE_MAP_OFFSET, map->used + first, words * sizeof(uint64_t));
    }
    return rc;
}

/* The directory has room for what placing it, the maps and the root adds. */
static int directory_place(struct btree_build *build, uint64_t *page, uint64_t *pages)
{
    uint64_t region_pages = btree__region_pages(build->body->page_bytes);
    uint64_t end = btree__map_end(&build->body->map, build->body->map.used);
    uint64_t maps = end / region_pages + 2;
    maps += (maps + 64) / region_pages;
    uint64_t size = BTREE_HEADER_BYTES + maps * BTREE_DIRECTORY_BYTES;
    *pages = (size + build->body->page_bytes - 1) / build->body->page_bytes;
    return pages_find(build, *pages, page);
}

static int directory_write(struct btree_build *build, uint64_t page, uint64_t pages)
{
    struct btree_header *header;
    int rc = extent_at(build, page, pages, BTREE_DIRECTORY, &header);
    size_t size = build->map_count * BTREE_DIRECTORY_BYTES;
    if (rc != 0)
        return rc;
    ASSERT(BTREE_HEADER_BYTES + size <= pages * build->body->page_bytes);
    memcpy((char *)header + BTREE_HEADER_BYTES, build->maps, size);
    return 0;
}

/* ------------------------------------------------------------------------------------------ begin */

static int file_new(struct btree_body *body)
{
    struct btree_file *file = calloc(1, sizeof *file);
    int rc = ERROR_EXISTS;
    if (file == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a file");
    atomic_init(&file->references, 1);
    file->serial = btree__file_serial();
    file->page_bytes = body->page_bytes;
    file->cache = body->cache;
    /* A file that was left over, and could not be removed, keeps its name. */
    for (unsigned tried = 0; rc == ERROR_EXISTS && tried < NAMES_TRIED_MAX; tried++) {
        file->number = atomic_fetch_add(body->next_file, 1);
        btree__file_name(file->name, body->space_id, body->incarnation, file->number);
        rc = io_open(body->io, file->name, IO_WRITE | IO_CREATE | IO_EXCLUSIVE, &body->writer);
    }
    if (rc == 0 && (rc = io_open(body->io, file->name, IO_READ, &file->io)) != 0) {
        io_close(body->writer);
        body->writer = NULL;
        io_unlink(body->io, file->name);
    }
    if (rc != 0) {
        free(file);
        return rc;
    }
    file->identity = btree_identity(body->space_id, body->incarnation, file->number);
    body->file = file;
    return 0;
}

/* A manifest may have been put in force by a process that died before its name was durable. A power
 * cut would bring back the one before it, whose root needs pages that are free by this one. */
static int names_settle(struct btree_body *body)
{
    if (body->names_durable || btree__mutated(body, BTREE_MUTATION_NAMES_LATE))
        return 0;
    int rc = io_sync_dir(body->io);
    body->names_durable = rc == 0;
    return rc;
}

static int writer_open(struct btree_build *build)
{
    struct btree_body *body = build->body;
    if (body->file == NULL) {
        body->names_durable = true; /* nothing names a file that is new */
        build->new_file = true;
        return file_new(body);
    }
    int rc = names_settle(body);
    if (rc == 0 && body->writer == NULL)
        rc = io_open(body->io, body->file->name, IO_WRITE, &body->writer);
    return rc;
}

static int build_begin(struct btree_build *build, uint64_t timestamp)
{
    struct btree_body *body = build->body;
    struct btree_generation *next = build->next = calloc(1, sizeof *next);
    build->batch = malloc(BATCH_PAGES * (size_t)body->page_bytes);
    build->together = malloc(BATCH_PAGES * (size_t)body->page_bytes);
    if (next == NULL || build->batch == NULL || build->together == NULL)
        return diag_set(ERROR_MEMORY, "no memory to change the tree of space %" PRIu32,
                        body->space_id);
    atomic_init(&next->references, 1);
    next->order = ++body->order;
    next->timestamp = timestamp;
    places_begin(build);
    int rc = writer_open(build);
    const struct btree_generation *base = body->current;
    uint64_t region_pages = btree__region_pages(body->page_bytes);
    if (rc == 0 && base != NULL && (rc = maps_reserve(build, base->root.maps * region_pages)) == 0)
        memcpy(build->maps, base->maps, build->map_count * sizeof *build->maps);
    return rc;
}

int btree__build_new(struct btree_body *body, uint64_t timestamp, enum io_class class,
                     struct btree_build **out)
{
    btree__sweep(body);
    struct btree_build *build = calloc(1, sizeof *build);
    if (build == NULL)
        return diag_set(ERROR_MEMORY, "no memory to change the tree of space %" PRIu32,
                        body->space_id);
    build->body = body;
    build->class = class;
    int rc = build_begin(build, timestamp);
    if (rc != 0) {
        btree__build_delete(build);
        return rc;
    }
    *out = build;
    return 0;
}

/* -------------------------------------------------------------------------------------------- end */

static void root_fill(struct btree_build *build, struct btree_root_page *root)
{
    const struct btree_body *body = build->body;
    root->magic = BTREE_MAGIC;
    root->version = BTREE_FORMAT_VERSION;
    root->page_bytes = body->page_bytes;
    root->space_id = body->space_id;
    root->incarnation = body->incarnation;
    root->file = body->file->number;
    root->pages = btree__map_end(&body->map, body->map.used);
    root->used_pages = body->map.used_pages;
    root->maps = build->map_count;
}

static int root_write(struct btree_build *build)
{
    struct btree_header *header;
    int rc = extent_at(build, build->next->root_page, 1, BTREE_ROOT, &header);
    if (rc == 0)
        memcpy((char *)header + BTREE_HEADER_BYTES, &build->next->root, sizeof build->next->root);
    return rc;
}

/* What is not of the tree has been replaced. */
static int base_free(struct btree_build *build)
{
    const struct btree_generation *base = build->body->current;
    if (base == NULL)
        return 0;
    int rc = btree__build_free(build, base->root_page, 1, base->sequence);
    if (rc == 0)
        rc = btree__build_free(build, base->root.directory_page, base->root.directory_pages,
                               base->sequence);
    return rc;
}

/* Room for what build_commit adds to lists, since it must not fail. */
static int lists_reserve(struct btree_build *build)
{
    struct btree_extents *fresh = &build->body->fresh;
    size_t count = fresh->count + build->allocated.count;
    int rc = btree__spare_prepare(build->body, count);
    if (rc != 0 || count <= fresh->capacity)
        return rc;
    size_t capacity = count > 2 * fresh->capacity ? count : 2 * fresh->capacity;
    struct btree_extent *items = realloc(fresh->items, capacity * sizeof *items);
    if (items == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a list of pages");
    fresh->items = items;
    fresh->capacity = capacity;
    return 0;
}

static int all_write(struct btree_build *build)
{
    struct btree_root_page *root = &build->next->root;
    int rc = base_free(build);
    if (rc == 0)
        rc = root_find(build, &build->next->root_page);
    if (rc == 0)
        rc = directory_place(build, &root->directory_page, &root->directory_pages);
    if (rc == 0)
        rc = maps_place(build);
    if (rc == 0)
        rc = maps_write(build);
    if (rc == 0)
        rc = directory_write(build, root->directory_page, root->directory_pages);
    if (rc != 0)
        return rc;
    root_fill(build, root);
    rc = lists_reserve(build);
    if (rc == 0)
        rc = root_write(build);
    if (rc == 0)
        rc = batch_write(build);
    if (rc == 0 && !btree__mutated(build->body, BTREE_MUTATION_NO_SYNC))
        rc = io_sync(build->body->writer);
    return rc;
}

static void build_commit(struct btree_build *build)
{
    struct btree_body *body = build->body;
    struct btree_generation *next = build->next;
    struct btree_extents *fresh = &body->fresh;
    if (build->allocated.count > 0)
        memcpy(fresh->items + fresh->count, build->allocated.items,
               build->allocated.count * sizeof *fresh->items);
    fresh->count += build->allocated.count;
    next->sequence = next->order;
    next->maps = build->maps;
    next->dead = build->freed;
    next->file = body->file;
    atomic_fetch_add(&body->file->references, 1);
    next->older = body->current;
    if (next->older != NULL)
        next->older->newer = next;
    else
        body->oldest = next;
    build->maps = NULL;
    build->freed = (struct btree_extents){NULL, 0, 0};
    build->next = NULL;
    pthread_mutex_lock(&body->mutex);
    body->current = next;
    pthread_mutex_unlock(&body->mutex);
}

int btree__build_finish(struct btree_build *build, uint64_t tree, unsigned depth, uint64_t rows,
                        uint64_t tombstones)
{
    struct btree_root_page *root = &build->next->root;
    root->tree = tree;
    root->depth = depth;
    root->rows = rows;
    root->tombstones = tombstones;
    int rc = all_write(build);
    if (rc == 0)
        build_commit(build);
    return rc;
}

/* Everything is as it was before. */
static void build_undo(struct btree_build *build)
{
    struct btree_body *body = build->body;
    struct btree_map *map = &body->map;
    for (size_t i = 0; i < build->freed.count; i++)
        btree__map_set(map, map->used, build->freed.items[i].page, build->freed.items[i].pages,
                       true);
    for (size_t i = 0; i < build->allocated.count; i++) {
        const struct btree_extent *extent = &build->allocated.items[i];
        btree__map_set(map, map->used, extent->page, extent->pages, false);
        btree__map_set(map, map->busy, extent->page, extent->pages, false);
    }
    if (body->current != NULL) {
        if (build->allocated.count > 0)
            btree__trim(body, true);
    } else if (build->new_file && body->file != NULL) {
        io_close(body->writer);
        body->writer = NULL;
        io_unlink(body->io, body->file->name);
        btree__file_release(body->file);
        body->file = NULL;
    }
}

void btree__build_delete(struct btree_build *build)
{
    if (build->next != NULL)
        build_undo(build);
    free(build->next);
    btree__extents_free(&build->allocated);
    btree__extents_free(&build->freed);
    free(build->dirty);
    free(build->maps);
    free(build->batch);
    free(build->together);
    free(build->large);
    free(build);
}
