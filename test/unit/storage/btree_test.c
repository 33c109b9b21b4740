/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The body of the engine "btree": against a model in all that it is given, with views, snapshots and
 * reverts; which pages may be written when, each rule also taken out; failures and cuts at every
 * call; damage. What it has in common with other engines is tested in engine_test.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "io/disk.h"
#include "storage/btree/btree_internal.h"
#include "storage/manifest.h"

enum { KEYS_MAX = 4096, KEY_BYTES_MAX = 50000, DATA_BYTES_MAX = 400000, ERROR_NUMBER = 28 };

/* A version of the model; the versions of a key hang together. */
struct version {
    unsigned key, size;
    bool tombstone;
    uint64_t ts;
    unsigned older; /* one more than its place; 0: none */
};

/* A body on a disk of its own, and what was put into it. */
struct world {
    struct disk *disk;
    struct io *io;
    _Atomic uint64_t next_file;
    struct cache *cache;
    struct body *body;
    struct random random;
    uint32_t page_bytes;
    bool long_rows;
    uint64_t clock, settled_clock;
    unsigned keys;
    unsigned order[KEYS_MAX]; /* keys as the tree has them */
    struct version *versions;
    unsigned count, capacity, absorbed, settled;
    unsigned newest[KEYS_MAX]; /* as `older` */
};

static const struct engine_snapshots none = {NULL, 0};

/* ------------------------------------------------------------------------------------- the model */

/* Keys with much in common and little, some of them very long. */
static size_t key_make(const struct world *world, unsigned key, unsigned char *out)
{
    size_t size =
        (size_t)sprintf((char *)out, "%s%05u", key % 3 == 0 ? "" : "a prefix that many have ", key);
    if (world->long_rows && key % 211 == 0) {
        size_t more = key % 422 == 0 ? 40000 : 1500;
        memset(out + size, 'k', more);
        size += more;
    }
    return size;
}

static struct world *sorting;

static int order_compare(const void *a_pointer, const void *b_pointer)
{
    static unsigned char a[KEY_BYTES_MAX], b[KEY_BYTES_MAX];
    size_t a_size = key_make(sorting, *(const unsigned *)a_pointer, a);
    size_t b_size = key_make(sorting, *(const unsigned *)b_pointer, b);
    return btree_key_compare(a, a_size, b, b_size);
}

static void body_start(struct world *world, const struct manifest_tree *tree)
{
    struct engine_options options = {.io = world->io,
                                     .space_id = 512,
                                     .incarnation = 1,
                                     .next_file = &world->next_file,
                                     .cache = world->cache,
                                     .page_bytes = world->page_bytes,
                                     .files = tree == NULL ? NULL : tree->files,
                                     .file_count = tree == NULL ? 0 : tree->file_count};
    assert_int_equal(body_open(&engine_btree, &options, &world->body), 0);
}

static struct world *world_cached(uint64_t seed, unsigned keys, uint32_t page_bytes, bool long_rows,
                                  size_t cache_bytes)
{
    struct world *world = calloc(1, sizeof *world);
    struct cache_options cache = {.budget_bytes = cache_bytes};
    assert_int_equal(cache_bytes == 0 ? 0 : cache_new(&cache, &world->cache), 0);
    world->disk = disk_new(seed);
    world->io = disk_io(world->disk);
    world->keys = keys;
    world->page_bytes = page_bytes;
    world->long_rows = long_rows;
    random_create(&world->random, seed);
    atomic_init(&world->next_file, 1);
    for (unsigned i = 0; i < keys; i++)
        world->order[i] = i;
    sorting = world;
    qsort(world->order, keys, sizeof *world->order, order_compare);
    body_start(world, NULL);
    return world;
}

static struct world *world_new(uint64_t seed, unsigned keys, uint32_t page_bytes, bool long_rows)
{
    return world_cached(seed, keys, page_bytes, long_rows, 0);
}

static void world_delete(struct world *world)
{
    if (world->body != NULL)
        body_close(world->body);
    cache_delete(world->cache);
    io_delete(world->io);
    disk_delete(world->disk);
    free(world->versions);
    free(world);
}

static struct btree_body *inner(struct world *world)
{
    return (struct btree_body *)world->body;
}

static void data_make(const struct version *version, char *out)
{
    struct random random;
    random_create(&random, version->ts * 31 + version->key);
    for (unsigned i = 0; i < version->size; i++)
        out[i] = i % 64 == 0 || i + 1 == version->size ? (char)random_next(&random) : (char)i;
}

static void set(struct world *world, unsigned key, bool tombstone)
{
    if (world->count == world->capacity) {
        world->capacity = 2 * world->capacity + 1024;
        world->versions = realloc(world->versions, world->capacity * sizeof *world->versions);
        assert_non_null(world->versions);
    }
    unsigned size = (unsigned)random_below(&world->random, 200);
    if (world->long_rows && random_below(&world->random, 20) == 0)
        size = (unsigned)random_below(&world->random, 20000);
    if (world->long_rows && random_below(&world->random, 1000) == 0)
        size = (unsigned)random_below(&world->random, DATA_BYTES_MAX);
    world->versions[world->count++] = (struct version){.key = key,
                                                       .size = tombstone ? 0 : size,
                                                       .tombstone = tombstone,
                                                       .ts = ++world->clock,
                                                       .older = world->newest[key]};
    world->newest[key] = world->count;
}

/* Forgets the versions from `count` on. */
static void model_back(struct world *world, unsigned count)
{
    while (world->count > count) {
        const struct version *version = &world->versions[--world->count];
        world->newest[version->key] = version->older;
    }
    world->absorbed = world->absorbed < count ? world->absorbed : count;
}

static const struct version *model_get(const struct world *world, unsigned key, uint64_t ts)
{
    unsigned at = world->newest[key];
    while (at != 0 && (world->versions[at - 1].ts > ts || at > world->absorbed))
        at = world->versions[at - 1].older;
    return at == 0 || world->versions[at - 1].tombstone ? NULL : &world->versions[at - 1];
}

/* -------------------------------------------------------------------------------------- absorbing */

struct source {
    struct engine_source base;
    struct world *world;
    unsigned next, at; /* a place in the order, and of the version that comes next */
    unsigned char key[KEY_BYTES_MAX];
    char data[DATA_BYTES_MAX];
};

static int source_next(struct engine_source *base, struct engine_row *out)
{
    struct source *source = (struct source *)base;
    const struct world *world = source->world;
    while (source->at <= world->absorbed) {
        if (source->next == world->keys)
            return ERROR_END;
        source->at = world->newest[world->order[source->next++]];
    }
    const struct version *version = &world->versions[source->at - 1];
    source->at = version->older;
    data_make(version, source->data);
    *out = (struct engine_row){source->key, key_make(world, version->key, source->key), version->ts,
                               version->tombstone ? NULL : source->data, version->size};
    return 0;
}

static int absorb_for(struct world *world, const struct engine_snapshots *snapshots)
{
    static struct source source;
    source.base.next = source_next;
    source.world = world;
    source.next = source.at = 0;
    int rc = body_absorb(world->body, &source.base, world->clock, snapshots);
    if (rc == 0)
        world->absorbed = world->count;
    return rc;
}

static int absorb(struct world *world)
{
    return absorb_for(world, &none);
}

static void settle(struct world *world)
{
    body_settle(world->body);
    world->settled = world->absorbed;
    world->settled_clock = world->clock;
}

/* ---------------------------------------------------------------------------------------- looking */

static bool row_is(const struct world *world, const struct engine_row *row,
                   const struct version *version)
{
    static unsigned char key[KEY_BYTES_MAX];
    static char data[DATA_BYTES_MAX];
    size_t size = key_make(world, version->key, key);
    data_make(version, data);
    return row->key_size == size && memcmp(row->key, key, size) == 0 && row->ts == version->ts &&
           row->size == version->size && memcmp(row->data, data, row->size) == 0;
}

/* What a cursor gives at ts is what the model has; *rc is what it ended with. */
static bool scan_is(struct world *world, struct body_view *view, uint64_t ts, bool backward,
                    int *rc)
{
    struct engine_range range = {.backward = backward};
    struct body_cursor *cursor;
    struct engine_row row;
    bool same = true;
    *rc = body_cursor_open(view, &range, ts, &cursor);
    if (*rc != 0)
        return false;
    *rc = body_cursor_next(cursor, &row);
    for (unsigned i = 0; same && (*rc == 0 || *rc == ERROR_END) && i < world->keys; i++) {
        unsigned key = world->order[backward ? world->keys - 1 - i : i];
        const struct version *version = model_get(world, key, ts);
        if (version == NULL)
            continue;
        same = *rc == 0 && row_is(world, &row, version);
        if (*rc == 0)
            *rc = body_cursor_next(cursor, &row);
    }
    same = same && *rc == ERROR_END;
    body_cursor_close(cursor);
    return same;
}

static bool gets_are(struct world *world, struct body_view *view, uint64_t ts, unsigned count)
{
    static unsigned char bytes[KEY_BYTES_MAX];
    struct arena arena;
    bool same = true;
    arena_create(&arena, 0);
    while (same && count-- > 0) {
        struct engine_row row;
        unsigned key = (unsigned)random_below(&world->random, world->keys);
        const struct version *version = model_get(world, key, ts);
        int rc = body_get(view, bytes, key_make(world, key, bytes), ts, &arena, &row);
        same = version == NULL ? rc == ERROR_NOT_FOUND : rc == 0 && row_is(world, &row, version);
        arena_reset(&arena);
    }
    arena_destroy(&arena);
    return same;
}

static bool view_is(struct world *world, struct body_view *view, uint64_t ts)
{
    int rc;
    return scan_is(world, view, ts, false, &rc) && scan_is(world, view, ts, true, &rc) &&
           gets_are(world, view, ts, 100);
}

static bool body_is(struct world *world, uint64_t ts)
{
    struct body_view *view;
    assert_int_equal(body_view_open(world->body, &view), 0);
    bool same = view_is(world, view, ts);
    body_view_close(view);
    return same && body_verify(world->body) == 0;
}

static void assert_body(struct world *world, uint64_t ts)
{
    if (!body_is(world, ts))
        fail_msg("the body is not what was absorbed: %s", diag_message());
}

static uint64_t body_bytes(struct world *world)
{
    struct engine_stats stats;
    body_stats(world->body, &stats);
    return stats.bytes;
}

/* -------------------------------------------------------------------------------- against a model */

static void change(struct world *world)
{
    unsigned shape = (unsigned)random_below(&world->random, 6);
    uint64_t count = random_below(&world->random, shape == 0 ? 2 * world->keys : world->keys / 20);
    unsigned first = (unsigned)random_below(&world->random, world->keys);
    for (uint64_t n = 0; n < count; n++) {
        unsigned key = shape < 2 ? (unsigned)random_below(&world->random, world->keys)
                                 : world->order[(first + (unsigned)n) % world->keys];
        set(world, key, shape == 4 || random_below(&world->random, 8) == 0);
    }
    for (unsigned n = 0; shape == 5 && n < 200; n++) /* one key, many versions */
        set(world, world->order[first], n % 5 == 0);
}

static void rounds(uint64_t seed, unsigned keys, uint32_t page_bytes, bool long_rows,
                   unsigned count, size_t cache_bytes)
{
    struct world *world = world_cached(seed, keys, page_bytes, long_rows, cache_bytes);
    struct body_view *views[4] = {NULL};
    uint64_t view_ts[4] = {0}, held[4] = {0};
    for (unsigned round = 0; round < count; round++) {
        struct engine_snapshots snapshots = {held, 4};
        uint64_t before = world->clock;
        change(world);
        if (random_below(&world->random, 2) == 0)
            held[random_below(&world->random, 4)] =
                before + random_below(&world->random, world->clock - before + 1);
        assert_int_equal(absorb_for(world, &snapshots), 0);
        if (random_below(&world->random, 4) == 0)
            assert_int_equal(body_compact(world->body, &snapshots), 0);
        assert_body(world, world->clock);
        for (unsigned i = 0; i < 4; i++) {
            assert_body(world, held[i]);
            if (views[i] != NULL && random_below(&world->random, 3) == 0) {
                assert_true(view_is(world, views[i], view_ts[i]));
                body_view_close(views[i]);
                views[i] = NULL;
            }
        }
        unsigned view = (unsigned)random_below(&world->random, 4);
        if (views[view] == NULL) {
            assert_int_equal(body_view_open(world->body, &views[view]), 0);
            view_ts[view] = world->clock;
        }
        unsigned end = (unsigned)random_below(&world->random, 8);
        if (end < 3) {
            settle(world);
        } else if (end == 3) {
            body_revert(world->body, random_below(&world->random, 2) == 0);
            for (unsigned i = 0; i < 4; i++)
                if (views[i] != NULL && view_ts[i] > world->settled_clock) {
                    body_view_close(views[i]);
                    views[i] = NULL;
                }
            model_back(world, world->settled);
            for (unsigned i = 0; i < 4; i++) /* nobody has them but by what was taken back */
                held[i] = held[i] > world->settled_clock ? world->settled_clock : held[i];
            assert_body(world, world->clock);
        }
    }
    for (unsigned i = 0; i < 4; i++)
        if (views[i] != NULL)
            body_view_close(views[i]);
    world_delete(world);
}

static void what_was_absorbed_is_there_at_every_snapshot_and_in_every_view(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    rounds(seed, 3000, 4096, false, 40, 1 << 20);
    rounds(seed + 1, 50, 4096, false, 60, 0);
    rounds(seed + 2, 800, 4096, true, 25, 64 << 10);
    rounds(seed + 3, 2000, 65536, true, 10, 0);
    rounds(seed + 4, 50, 4096, true, 60, 8 << 20);
}

/* ------------------------------------------------------------------------------- which pages when */

static void fill(struct world *world)
{
    for (unsigned key = 0; key < world->keys; key++)
        set(world, key, false);
    assert_int_equal(absorb(world), 0);
}

static void touch(struct world *world, unsigned count)
{
    while (count-- > 0)
        set(world, (unsigned)random_below(&world->random, world->keys), false);
}

static int file_note(const struct engine_file *file, void *arg)
{
    return manifest_file_add(arg, file);
}

static void manifest_make(struct world *world, struct manifest *out)
{
    struct manifest_tree *tree;
    manifest_create(out);
    out->clock = world->clock;
    out->next_file = atomic_load(&world->next_file);
    assert_int_equal(manifest_tree_add(out, 512, 1, 0, "btree", world->clock, &tree), 0);
    assert_int_equal(body_files(world->body, file_note, tree), 0);
}

/* Puts a manifest in force, as a checkpoint does; *replaced as there. */
static int manifest_put(struct world *world, bool *replaced)
{
    struct manifest manifest;
    manifest_make(world, &manifest);
    int rc = manifest_store(world->io, &manifest, replaced);
    manifest_destroy(&manifest);
    return rc;
}

/* What a checkpoint does. */
static int checkpoint(struct world *world)
{
    bool replaced = false;
    int rc = absorb(world);
    if (rc == 0)
        rc = manifest_put(world, &replaced);
    if (rc == 0)
        settle(world);
    else
        body_revert(world->body, replaced);
    return rc;
}

/* Ends the process, with a power cut if there is a seed, and starts another one: K of the manifest
 * that it finds, 0 if none. */
static uint64_t restart(struct world *world, uint64_t cut_seed)
{
    struct manifest manifest;
    body_close(world->body);
    world->body = NULL;
    io_delete(world->io);
    if (cut_seed != 0)
        disk_cut(world->disk, cut_seed);
    world->io = disk_io(world->disk);
    manifest_create(&manifest);
    int rc = manifest_load(world->io, &manifest);
    assert_true(rc == 0 || rc == ERROR_NOT_FOUND);
    uint64_t k = rc == 0 ? manifest.trees[0].k : 0;
    atomic_store(&world->next_file, manifest.next_file + 1000);
    body_start(world, rc == 0 ? &manifest.trees[0] : NULL);
    manifest_destroy(&manifest);
    while (world->count > 0 && world->versions[world->count - 1].ts > k)
        model_back(world, world->count - 1);
    world->absorbed = world->settled = world->count;
    world->settled_clock = k;
    return k;
}

/* True when a view that stays open shows what it was opened on, whatever is absorbed meanwhile. */
static bool view_stays(unsigned mutations)
{
    struct world *world = world_new(test_seed(), 500, 4096, false);
    struct body_view *view;
    fill(world);
    settle(world);
    uint64_t ts = world->clock;
    assert_int_equal(body_view_open(world->body, &view), 0);
    inner(world)->mutations = mutations;
    bool same = true;
    for (unsigned round = 0; same && round < 5; round++) {
        touch(world, 300);
        assert_int_equal(absorb(world), 0);
        settle(world);
        same = view_is(world, view, ts);
    }
    body_view_close(view);
    world_delete(world);
    return same;
}

static void no_page_is_written_that_a_view_reads(void **state)
{
    (void)state;
    assert_true(view_stays(0));
    assert_false(view_stays(BTREE_MUTATION_REUSE_VIEWED));
}

/* How many children the root, a branch in the cache, has links of; each leads to what the cache has of that child. */
static unsigned links_of_root(struct world *world)
{
    const struct btree_generation *current = inner(world)->current;
    uint64_t file = current->file->number;
    unsigned count = 0;
    CACHE_GUARD(root);
    assert_int_equal(cache_try(world->cache, file, btree_child_page(current->root.tree), 0, &root),
                     0);
    assert_int_equal(root.size, 2 * world->page_bytes);
    struct cache_link *links =
        (struct cache_link *)((uintptr_t)root.data + (size_t)world->page_bytes);
    for (unsigned slot = 0; slot < btree_header(root.data)->slots; slot++) {
        const unsigned char *key;
        size_t size;
        uint64_t ts, child = btree_branch_child(root.data, slot, &key, &size, &ts);
        uintptr_t frame = atomic_load(&links[slot].frame);
        CACHE_GUARD(guard);
        if (frame == 0)
            continue;
        assert_int_equal(cache_try(world->cache, file, btree_child_page(child), 0, &guard), 0);
        assert_ptr_equal((void *)frame, guard.frame);
        assert_ptr_equal((void *)atomic_load(&links[slot].data), guard.data);
        count++;
    }
    return count;
}

static void branches_in_the_cache_have_links_whether_they_were_written_or_read(void **state)
{
    (void)state;
    struct world *world = world_cached(test_seed(), 2000, 4096, false, 16 << 20);
    struct body_view *view;
    fill(world);
    settle(world);
    assert_int_equal(body_view_open(world->body, &view), 0);
    const struct btree_generation *current = inner(world)->current;
    assert_true(current->root.depth > 1);
    assert_int_equal(links_of_root(world), 0);
    assert_true(gets_are(world, view, world->clock, 200));
    assert_true(links_of_root(world) > 0);
    cache_forget(world->cache, current->file->number, btree_child_page(current->root.tree));
    assert_true(gets_are(world, view, world->clock, 200));
    assert_true(links_of_root(world) > 0);
    body_view_close(view);
    world_delete(world);
}

/* True when the body is whole after a cut, although two more changes were absorbed which no manifest
 * names. */
static bool settled_stays(unsigned mutations)
{
    struct world *world = world_new(test_seed(), 500, 4096, false);
    assert_int_equal((fill(world), checkpoint(world)), 0);
    inner(world)->mutations = mutations;
    for (unsigned round = 0; round < 3; round++) {
        touch(world, 300);
        assert_int_equal(absorb(world), 0);
    }
    struct manifest manifest;
    struct body *body = NULL;
    body_close(world->body);
    world->body = NULL;
    disk_cut(world->disk, 1);
    io_delete(world->io);
    world->io = disk_io(world->disk);
    manifest_create(&manifest);
    assert_int_equal(manifest_load(world->io, &manifest), 0);
    struct engine_options options = {.io = world->io,
                                     .space_id = 512,
                                     .incarnation = 1,
                                     .next_file = &world->next_file,
                                     .files = manifest.trees[0].files,
                                     .file_count = 1};
    bool same = body_open(&engine_btree, &options, &body) == 0;
    world->body = body;
    model_back(world, world->settled);
    same = same && body_is(world, manifest.trees[0].k);
    manifest_destroy(&manifest);
    world_delete(world);
    return same;
}

static void no_page_is_written_that_the_manifest_in_force_needs(void **state)
{
    (void)state;
    assert_true(settled_stays(0));
    assert_false(settled_stays(BTREE_MUTATION_REUSE_SETTLED));
}

/* The same for the root by which somebody copies the file, while more is settled. */
static bool held_stays(unsigned mutations)
{
    struct world *world = world_new(test_seed(), 500, 4096, false);
    struct engine_file file;
    struct manifest_tree tree = {.files = &file, .file_count = 0, .file_capacity = 1};
    fill(world);
    settle(world);
    uint64_t ts = world->clock;
    unsigned count = world->count;
    assert_int_equal(body_files(world->body, file_note, &tree), 0);
    inner(world)->mutations = mutations;
    body_hold(world->body, true);
    for (unsigned round = 0; round < 3; round++) {
        touch(world, 300);
        assert_int_equal(absorb(world), 0);
        settle(world);
    }
    struct body *now = world->body;
    struct engine_options options = {.io = world->io,
                                     .space_id = 512,
                                     .incarnation = 1,
                                     .next_file = &world->next_file,
                                     .files = &file,
                                     .file_count = 1};
    bool same = body_open(&engine_btree, &options, &world->body) == 0;
    model_back(world, count);
    if (same) {
        same = body_is(world, ts);
        body_close(world->body);
    }
    world->body = now;
    uint64_t pages = inner(world)->map.used_pages;
    body_hold(world->body, false);
    settle(world);
    uint64_t busy = 0;
    for (uint64_t i = 0; i < inner(world)->map.words; i++)
        busy += (uint64_t)__builtin_popcountll(inner(world)->map.busy[i]);
    assert_int_equal(busy, pages);
    world_delete(world);
    return same;
}

static void no_page_is_written_by_which_somebody_copies_the_file(void **state)
{
    (void)state;
    assert_true(held_stays(0));
    assert_false(held_stays(BTREE_MUTATION_REUSE_HELD));
}

/* The same when the last flush of the directory has failed, so that nobody knows whether the manifest
 * before the last one is found, or the last one. */
static bool doubtful_stay(unsigned mutations, uint64_t seed)
{
    struct world *world = world_new(seed, 500, 4096, false);
    bool replaced;
    assert_int_equal((fill(world), checkpoint(world)), 0);
    inner(world)->mutations = mutations;
    touch(world, 300);
    assert_int_equal(absorb(world), 0);
    unsigned count = world->count;
    disk_fail_nth_of(world->disk, DISK_SYNC_DIR, 2, ERROR_NUMBER);
    assert_int_not_equal(manifest_put(world, &replaced), 0);
    assert_true(replaced);
    body_revert(world->body, true);
    assert_body(world, world->settled_clock);
    struct version *lost = malloc(count * sizeof *lost);
    memcpy(lost, world->versions, count * sizeof *lost);
    model_back(world, world->settled);
    for (unsigned round = 0; round < 3; round++) {
        touch(world, 300);
        assert_int_equal(absorb(world), 0);
        body_revert(world->body, false);
        model_back(world, world->settled);
    }
    for (; world->count < count; world->count++) {
        world->versions[world->count] = lost[world->count];
        world->newest[lost[world->count].key] = world->count + 1;
    }
    free(lost);
    world->absorbed = world->count;
    body_close(world->body);
    world->body = NULL;
    io_delete(world->io);
    disk_cut(world->disk, seed);
    world->io = disk_io(world->disk);
    struct manifest manifest;
    manifest_create(&manifest);
    assert_int_equal(manifest_load(world->io, &manifest), 0);
    struct engine_options options = {.io = world->io,
                                     .space_id = 512,
                                     .incarnation = 1,
                                     .next_file = &world->next_file,
                                     .files = manifest.trees[0].files,
                                     .file_count = 1};
    bool same = body_open(&engine_btree, &options, &world->body) == 0 &&
                body_is(world, manifest.trees[0].k);
    manifest_destroy(&manifest);
    world_delete(world);
    return same;
}

static void no_page_is_written_that_a_manifest_needs_which_may_be_in_force(void **state)
{
    (void)state;
    unsigned without = 0;
    uint64_t seed = test_seed();
    for (unsigned i = 1; i <= 20; i++) {
        assert_true(doubtful_stay(0, seed + i));
        without += !doubtful_stay(BTREE_MUTATION_REUSE_DOUBTFUL, seed + i);
    }
    assert_true(without > 0);
}

/* The same, without what makes its name durable. */
static void manifest_rename(struct world *world)
{
    struct manifest manifest;
    struct io_file *file;
    char *data;
    size_t size;
    manifest_make(world, &manifest);
    assert_int_equal(manifest_encode(&manifest, &data, &size), 0);
    assert_int_equal(io_open(world->io, MANIFEST_NAME_NEW, IO_WRITE | IO_CREATE, &file), 0);
    assert_int_equal(io_write(file, data, size, 0), 0);
    assert_int_equal(io_sync(file), 0);
    assert_int_equal(io_sync_dir(world->io), 0);
    io_close(file);
    assert_int_equal(io_rename(world->io, MANIFEST_NAME_NEW, MANIFEST_NAME), 0);
    free(data);
    manifest_destroy(&manifest);
}

/* The process ends between replacing the manifest and making its name durable; another one goes on,
 * and then the power fails. */
static bool names_stay(unsigned mutations, uint64_t seed)
{
    struct world *world = world_new(seed, 500, 4096, false);
    assert_int_equal((fill(world), checkpoint(world)), 0);
    touch(world, 300);
    assert_int_equal(absorb(world), 0);
    manifest_rename(world);
    unsigned first = world->settled, count = world->count;
    restart(world, 0);
    assert_int_equal(world->count, count);
    inner(world)->mutations = mutations;
    touch(world, 300);
    assert_int_equal(absorb(world), 0);
    body_close(world->body);
    world->body = NULL;
    io_delete(world->io);
    disk_cut(world->disk, seed);
    world->io = disk_io(world->disk);
    struct manifest manifest;
    manifest_create(&manifest);
    assert_int_equal(manifest_load(world->io, &manifest), 0);
    struct engine_options options = {.io = world->io,
                                     .space_id = 512,
                                     .incarnation = 1,
                                     .next_file = &world->next_file,
                                     .files = manifest.trees[0].files,
                                     .file_count = 1};
    model_back(world, manifest.trees[0].k == world->versions[first - 1].ts ? first : count);
    bool same = body_open(&engine_btree, &options, &world->body) == 0 &&
                body_is(world, manifest.trees[0].k);
    manifest_destroy(&manifest);
    world_delete(world);
    return same;
}

static void who_starts_makes_the_name_of_the_manifest_durable_before_pages_are_reused(void **state)
{
    (void)state;
    unsigned without = 0;
    uint64_t seed = test_seed();
    for (unsigned i = 1; i <= 20; i++) {
        assert_true(names_stay(0, seed + i));
        without += !names_stay(BTREE_MUTATION_NAMES_LATE, seed + i);
    }
    assert_true(without > 0);
}

static void what_is_absorbed_is_durable_before_it_counts(void **state)
{
    (void)state;
    unsigned lost = 0;
    uint64_t seed = test_seed();
    for (unsigned i = 1; i <= 10; i++)
        for (unsigned mutation = 0; mutation < 2; mutation++) {
            struct world *world = world_new(seed, 300, 4096, false);
            struct engine_file file;
            inner(world)->mutations = mutation ? BTREE_MUTATION_NO_SYNC : 0;
            assert_int_equal((fill(world), checkpoint(world)), 0);
            struct manifest_tree tree = {.files = &file, .file_count = 0, .file_capacity = 1};
            assert_int_equal(body_files(world->body, file_note, &tree), 0);
            body_close(world->body);
            world->body = NULL;
            io_delete(world->io);
            disk_cut(world->disk, i);
            world->io = disk_io(world->disk);
            struct engine_options options = {.io = world->io,
                                             .space_id = 512,
                                             .incarnation = 1,
                                             .next_file = &world->next_file,
                                             .files = &file,
                                             .file_count = 1};
            bool same = body_open(&engine_btree, &options, &world->body) == 0 &&
                        body_is(world, world->clock);
            assert_true(same || mutation);
            lost += !same;
            world_delete(world);
        }
    assert_true(lost > 0);
}

/* --------------------------------------------------------------------------------------- versions */

enum { LONG_CHAINS = 25, CHAIN = 60, CHAIN_VERSIONS = LONG_CHAINS * CHAIN };

/* Keys with so many versions that they fill several leaves are deleted, and nobody needs the old ones
 * any more; or somebody still does. */
static bool deletion_holds(unsigned mutations, bool needed)
{
    struct world *world = world_new(test_seed(), 400, 4096, false);
    uint64_t ts[CHAIN_VERSIONS];
    struct engine_snapshots snapshots = {ts, 0};
    fill(world);
    for (unsigned n = 0; n < CHAIN_VERSIONS; n++) {
        set(world, 10 + n / CHAIN * 13, false);
        ts[snapshots.count++] = world->clock;
    }
    assert_int_equal(absorb_for(world, &snapshots), 0);
    for (unsigned n = 0; n < CHAIN_VERSIONS; n += 307)
        assert_body(world, ts[n]);
    inner(world)->mutations = mutations;
    for (unsigned n = 0; n < LONG_CHAINS; n++)
        set(world, 10 + n * 13, true);
    snapshots.count = needed ? CHAIN_VERSIONS / 2 : 0;
    assert_int_equal(absorb_for(world, &snapshots), 0);
    bool same =
        body_is(world, world->clock) && (!needed || body_is(world, ts[CHAIN_VERSIONS / 2 - 1]));
    world_delete(world);
    return same;
}

static void a_tombstone_stays_while_something_is_below_it(void **state)
{
    (void)state;
    assert_true(deletion_holds(0, true));
    assert_false(deletion_holds(BTREE_MUTATION_TOMBSTONES, true));
}

static void versions_of_a_key_are_looked_at_together_in_whichever_leaves_they_are(void **state)
{
    (void)state;
    assert_true(deletion_holds(0, false));
    assert_false(deletion_holds(BTREE_MUTATION_CHAIN_CUT, false));
}

static void old_versions_go_when_nobody_needs_them(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), 300, 4096, false);
    struct engine_stats stats;
    fill(world);
    uint64_t ts = world->clock;
    struct engine_snapshots snapshots = {&ts, 1};
    for (unsigned key = 0; key < world->keys; key++)
        set(world, key, key % 2 == 0);
    assert_int_equal(absorb_for(world, &snapshots), 0);
    body_stats(world->body, &stats);
    assert_int_equal(stats.rows, 600);
    assert_body(world, ts);
    assert_int_equal(body_compact(world->body, &snapshots), 0);
    body_stats(world->body, &stats);
    assert_int_equal(stats.rows, 600);
    assert_int_equal(body_compact(world->body, &none), 0);
    body_stats(world->body, &stats);
    assert_int_equal(stats.rows, 150);
    assert_body(world, world->clock);
    world_delete(world);
}

/* ------------------------------------------------------------------------------------------ space */

static void what_is_loaded_in_the_order_of_keys_fills_its_pages(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), 4000, 4096, false);
    uint64_t bytes = 0;
    for (unsigned i = 0; i < world->keys; i++) {
        set(world, world->order[i], false);
        const struct version *version = &world->versions[world->count - 1];
        bytes += version->size + BTREE_LEAF_TUPLE_BYTES + BTREE_SLOT_BYTES + 5;
        if (i % 100 == 99) {
            assert_int_equal(absorb(world), 0);
            settle(world);
        }
    }
    struct engine_stats stats;
    body_stats(world->body, &stats);
    assert_true(stats.live_bytes < bytes + bytes / 5);
    assert_body(world, world->clock);
    world_delete(world);
}

/* What is read again is not read from the file, also what a change has written anew. */
static void nodes_are_read_from_the_cache(void **state)
{
    (void)state;
    struct world *world = world_cached(test_seed(), 2000, 4096, false, 16 << 20);
    struct body_view *view;
    fill(world);
    for (unsigned round = 0; round < 3; round++) {
        assert_int_equal(body_view_open(world->body, &view), 0);
        assert_true(view_is(world, view, world->clock));
        uint64_t reads = disk_call_count(world->disk, DISK_READ);
        assert_true(view_is(world, view, world->clock));
        assert_int_equal(disk_call_count(world->disk, DISK_READ), reads);
        body_view_close(view);
        touch(world, 20);
        assert_int_equal(absorb(world), 0);
        assert_int_equal(disk_call_count(world->disk, DISK_READ), reads);
    }
    world_delete(world);
}

/* Reads rows [first, last] in the order of keys from the file; how many of its nodes were read, and how
 * many of those ahead. */
static uint64_t range_read(struct world *world, unsigned first, unsigned last, bool backward,
                           uint64_t *ahead)
{
    static unsigned char lower[KEY_BYTES_MAX], upper[KEY_BYTES_MAX];
    struct engine_range range = {.lower = lower,
                                 .upper = upper,
                                 .lower_size = key_make(world, world->order[first], lower),
                                 .upper_size = key_make(world, world->order[last], upper),
                                 .lower_inclusive = true,
                                 .upper_inclusive = true,
                                 .backward = backward};
    struct body_view *view;
    struct body_cursor *cursor;
    struct engine_row row;
    unsigned rows = 0, expected = 0;
    int rc;
    for (unsigned i = first; i <= last; i++)
        expected += model_get(world, world->order[i], world->clock) != NULL;
    cache_forget_file(world->cache, inner(world)->file->number);
    assert_int_equal(body_view_open(world->body, &view), 0);
    uint64_t reads = disk_call_count(world->disk, DISK_READ);
    assert_int_equal(body_cursor_open(view, &range, world->clock, &cursor), 0);
    while ((rc = body_cursor_next(cursor, &row)) == 0)
        rows++;
    assert_int_equal(rc, ERROR_END);
    assert_int_equal(rows, expected);
    *ahead = btree__cursor_ahead(cursor)->leaves;
    body_cursor_close(cursor);
    body_view_close(view);
    return disk_call_count(world->disk, DISK_READ) - reads;
}

/* With a cache that is too small for it nothing is read ahead. */
static void what_a_cursor_reads_ahead_is_what_it_would_read(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), many = 0;
    struct world *world = world_cached(seed, 2000, 4096, false, 16 << 20);
    struct world *without = world_cached(seed, 2000, 4096, false, 1000 << 10);
    fill(world);
    fill(without);
    for (unsigned round = 0; round < 40; round++) {
        unsigned first = (unsigned)random_below(&world->random, world->keys);
        unsigned last = first + (unsigned)random_below(&world->random, world->keys - first);
        uint64_t ahead, none_ahead;
        bool backward = round % 2 == 1;
        uint64_t reads = range_read(world, first, last, backward, &ahead);
        assert_int_equal(reads, range_read(without, first, last, backward, &none_ahead));
        assert_int_equal(none_ahead, 0);
        assert_true(ahead <= reads);
        many += ahead;
        if (reads > 20) /* the third leaf is the first that is not alone */
            assert_true(ahead >= reads / 2);
    }
    assert_true(many > 0);
    world_delete(world);
    world_delete(without);
}

/* What fails ahead of a cursor is told when it comes there, and not before. */
static void a_failure_ahead_is_told_when_its_row_is_wanted(void **state)
{
    (void)state;
    struct world *world = world_cached(test_seed(), 2000, 4096, false, 16 << 20);
    const struct engine_range all = {.backward = false};
    struct body_view *view;
    struct body_cursor *cursor;
    struct engine_row row;
    uint64_t ahead;
    fill(world);
    uint64_t reads = range_read(world, 0, world->keys - 1, false, &ahead);
    assert_true(ahead > 10);
    for (unsigned n = 4; n < reads; n += 3) {
        unsigned rows = 0;
        int rc;
        cache_forget_file(world->cache, inner(world)->file->number);
        assert_int_equal(body_view_open(world->body, &view), 0);
        disk_fail_nth_of(world->disk, DISK_READ, n, ERROR_NUMBER);
        assert_int_equal(body_cursor_open(view, &all, world->clock, &cursor), 0);
        while ((rc = body_cursor_next(cursor, &row)) == 0)
            rows++;
        /* It was the one that the cursor waits for, or is read again. */
        assert_true(rc == ERROR_IO || (rc == ERROR_END && rows == world->keys));
        body_cursor_close(cursor);
        disk_fail_nth(world->disk, 0, 0);
        body_view_close(view);
    }
    world_delete(world);
}

static void absorbing_nothing_leaves_no_file(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), 10, 4096, false);
    assert_int_equal(absorb(world), 0);
    assert_int_equal(body_compact(world->body, &none), 0);
    assert_int_equal(disk_used(world->disk), 0);
    assert_int_equal(body_bytes(world), 0);
    world_delete(world);
}

static void pages_are_used_again(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), 3000, 4096, false);
    fill(world);
    settle(world);
    uint64_t bytes = body_bytes(world);
    for (unsigned round = 0; round < 60; round++) {
        touch(world, 200);
        assert_int_equal(absorb(world), 0);
        settle(world);
    }
    assert_body(world, world->clock);
    assert_true(body_bytes(world) < 3 * bytes);
    assert_true(disk_used(world->disk) < 4 * bytes);
    world_delete(world);
}

static void deleting_everything_leaves_next_to_nothing(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), 3000, 4096, false);
    fill(world);
    settle(world);
    for (unsigned part = 0; part < 3; part++) {
        for (unsigned key = part; key < world->keys; key += 3)
            set(world, key, true);
        assert_int_equal(absorb(world), 0);
        settle(world);
        assert_body(world, world->clock);
    }
    for (unsigned round = 0; round < 2; round++) {
        set(world, 1, false);
        assert_int_equal(absorb(world), 0);
        settle(world);
    }
    assert_true(disk_used(world->disk) < 100 * 4096);
    world_delete(world);
}

static void parts_of_a_body_have_all_of_its_rows(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), 4000, 4096, false);
    struct engine_key keys[15];
    struct arena arena;
    struct body_view *view;
    unsigned count = 1, all = 0;
    arena_create(&arena, 0);
    assert_int_equal(body_view_open(world->body, &view), 0);
    assert_int_equal(body_split(view, 16, &arena, keys, &count), 0);
    assert_int_equal(count, 0);
    body_view_close(view);
    fill(world);
    assert_int_equal(body_view_open(world->body, &view), 0);
    assert_int_equal(body_split(view, 16, &arena, keys, &count), 0);
    assert_true(count >= 10 && count <= 15);
    for (unsigned i = 0; i <= count; i++) {
        struct body_cursor *cursor;
        struct engine_row row;
        struct engine_range range = {.upper_inclusive = true};
        unsigned rows = 0;
        if (i > 0) {
            range.lower = keys[i - 1].data;
            range.lower_size = keys[i - 1].size;
        }
        if (i < count) {
            range.upper = keys[i].data;
            range.upper_size = keys[i].size;
        }
        assert_int_equal(body_cursor_open(view, &range, UINT64_MAX, &cursor), 0);
        while (body_cursor_next(cursor, &row) == 0)
            rows++;
        body_cursor_close(cursor);
        assert_true(rows > 0 && rows < world->keys / 4);
        all += rows;
    }
    assert_int_equal(all, world->keys);
    body_view_close(view);
    arena_destroy(&arena);
    world_delete(world);
}

/* --------------------------------------------------------------------------------- what goes wrong */

/* Each call fails once: all is there as before, no more room is taken, and the next attempt
 * succeeds. */
static void after_any_failure_nothing_is_lost_and_nothing_is_left(void **state)
{
    (void)state;
    uint64_t seed = test_seed(), failures = 0;
    for (uint64_t n = 1;; n++) {
        struct world *world = world_new(seed, 150, 4096, true);
        bool first = n % 2 == 0; /* or the file is made */
        if (first) {
            fill(world);
            settle(world);
        }
        uint64_t used = disk_used(world->disk);
        touch(world, 60);
        uint64_t calls = disk_calls(world->disk);
        disk_fail_nth(world->disk, (n + 1) / 2, ERROR_NUMBER);
        int rc = absorb(world);
        disk_fail_nth(world->disk, 0, 0);
        bool behind = disk_calls(world->disk) - calls < (n + 1) / 2;
        if (rc != 0) {
            failures++;
            assert_int_equal(disk_used(world->disk), used);
            assert_body(world, world->clock);
            assert_int_equal(absorb(world), 0);
        }
        assert_body(world, world->clock);
        world_delete(world);
        if (behind && first)
            break;
    }
    assert_true(failures > 10);
}

/* Reading fails at each call: an error, never a wrong answer. */
static void a_read_that_fails_is_told(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), 150, 4096, true);
    struct body_view *view;
    fill(world);
    assert_int_equal(body_view_open(world->body, &view), 0);
    for (unsigned backward = 0; backward < 2; backward++)
        for (uint64_t n = 1;; n++) {
            int rc;
            disk_fail_nth(world->disk, n, 5 /* EIO */);
            bool same = scan_is(world, view, world->clock, backward, &rc);
            disk_fail_nth(world->disk, 0, 0);
            if (same)
                break;
            assert_int_equal(rc, ERROR_IO);
        }
    body_view_close(view);
    world_delete(world);
}

/* The power fails in each call of some checkpoints; what is found is what the manifest says, and the
 * next process goes on from there. */
static void wherever_the_power_is_cut_a_start_finds_a_checkpoint_whole(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t n = 1;; n++) {
        struct world *world = world_new(seed + n, 120, 4096, true);
        uint64_t done = 0;
        disk_cut_after(world->disk, n);
        for (unsigned round = 0; round < 4; round++) {
            touch(world, 40);
            if (checkpoint(world) != 0)
                break;
            done = world->clock;
        }
        bool was_cut = disk_is_cut(world->disk);
        uint64_t k = restart(world, seed + n);
        assert_true(k >= done);
        assert_body(world, k);
        for (unsigned round = 0; round < 2; round++) {
            touch(world, 40);
            assert_int_equal(checkpoint(world), 0);
            assert_body(world, world->clock);
        }
        assert_int_equal(restart(world, seed), world->clock);
        assert_body(world, world->clock);
        world_delete(world);
        if (!was_cut)
            break;
    }
}

/* Each bit of damage is in a page that is free, or is told; nothing falls over. */
static void damage_is_told(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    unsigned told = 0;
    for (unsigned n = 0; n < 150; n++) {
        struct world *world = world_new(seed, 150, 4096, true);
        uint64_t offset;
        fill(world);
        assert_true(disk_flip_random(world->disk, inner(world)->file->name, seed + n, &offset));
        struct btree_map *map = &inner(world)->map;
        bool used = (map->used[offset / 4096 / 64] >> offset / 4096 % 64 & 1) != 0;
        int rc = body_verify(world->body);
        uint64_t k = world->clock;
        assert_int_equal(rc, used && rc != 0 ? ERROR_CORRUPT : 0);
        if (rc != 0) {
            assert_non_null(strstr(diag_message(), inner(world)->file->name));
            told++;
        }
        /* Those pages that opening reads are not read again by a check. */
        struct engine_file file;
        struct manifest_tree tree = {.files = &file, .file_count = 0, .file_capacity = 1};
        assert_int_equal(body_files(world->body, file_note, &tree), 0);
        body_close(world->body);
        struct engine_options options = {.io = world->io,
                                         .space_id = 512,
                                         .incarnation = 1,
                                         .next_file = &world->next_file,
                                         .files = &file,
                                         .file_count = 1};
        int opened = body_open(&engine_btree, &options, &world->body);
        assert_true(opened == 0 || (opened == ERROR_CORRUPT && used) || opened == ERROR_VERSION);
        assert_true(!used || opened != 0 || rc != 0);
        if (opened != 0)
            world->body = NULL;
        else
            assert_int_equal(body_is(world, k), rc == 0);
        world_delete(world);
    }
    assert_true(told > 50);
}

static void a_file_that_is_not_the_one_that_was_named_is_told(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), 150, 4096, false);
    struct engine_file file, other;
    struct manifest_tree tree = {.files = &file, .file_count = 0, .file_capacity = 1};
    fill(world);
    assert_int_equal(body_files(world->body, file_note, &tree), 0);
    struct body *body;
    struct engine_options options = {.io = world->io,
                                     .space_id = 512,
                                     .incarnation = 1,
                                     .next_file = &world->next_file,
                                     .files = &other,
                                     .file_count = 1};
    for (unsigned n = 0; n < 7; n++) {
        other = file;
        options.space_id = n == 5 ? 513 : 512;
        if (n == 0)
            other.rows++;
        else if (n == 1)
            other.group++;
        else if (n == 2)
            other.level = 3;
        else if (n == 3)
            other.bytes += 4096;
        else if (n == 4)
            strcpy(other.name, "512-1-77.btree");
        else if (n == 6)
            other.level = UINT32_MAX;
        assert_int_equal(body_open(&engine_btree, &options, &body), ERROR_CORRUPT);
        assert_non_null(strstr(diag_message(), other.name));
    }
    options.space_id = 512;
    options.file_count = 0;
    options.page_bytes = 5000;
    assert_int_equal(body_open(&engine_btree, &options, &body), ERROR_INVALID);
    world_delete(world);
}

static void pages_keep_the_size_that_their_file_has(void **state)
{
    (void)state;
    struct world *world = world_new(test_seed(), 60, 4096, false);
    struct engine_options options = {.io = world->io, .page_bytes = 32768};
    body_configure(world->body, &options); /* before there is a file */
    fill(world);
    assert_int_equal(inner(world)->page_bytes, 32768);
    options.page_bytes = 8192;
    body_configure(world->body, &options);
    touch(world, 20);
    assert_int_equal(inner(world)->page_bytes, 32768);
    assert_int_equal(checkpoint(world), 0);
    restart(world, 1);
    assert_int_equal(inner(world)->page_bytes, 32768);
    assert_int_equal(body_verify(world->body), 0);
    world_delete(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_absorbed_is_there_at_every_snapshot_and_in_every_view),
        cmocka_unit_test(no_page_is_written_that_a_view_reads),
        cmocka_unit_test(pages_keep_the_size_that_their_file_has),
        cmocka_unit_test(no_page_is_written_that_the_manifest_in_force_needs),
        cmocka_unit_test(no_page_is_written_by_which_somebody_copies_the_file),
        cmocka_unit_test(no_page_is_written_that_a_manifest_needs_which_may_be_in_force),
        cmocka_unit_test(who_starts_makes_the_name_of_the_manifest_durable_before_pages_are_reused),
        cmocka_unit_test(what_is_absorbed_is_durable_before_it_counts),
        cmocka_unit_test(a_tombstone_stays_while_something_is_below_it),
        cmocka_unit_test(versions_of_a_key_are_looked_at_together_in_whichever_leaves_they_are),
        cmocka_unit_test(old_versions_go_when_nobody_needs_them),
        cmocka_unit_test(what_is_loaded_in_the_order_of_keys_fills_its_pages),
        cmocka_unit_test(nodes_are_read_from_the_cache),
        cmocka_unit_test(what_a_cursor_reads_ahead_is_what_it_would_read),
        cmocka_unit_test(a_failure_ahead_is_told_when_its_row_is_wanted),
        cmocka_unit_test(absorbing_nothing_leaves_no_file),
        cmocka_unit_test(pages_are_used_again),
        cmocka_unit_test(deleting_everything_leaves_next_to_nothing),
        cmocka_unit_test(parts_of_a_body_have_all_of_its_rows),
        cmocka_unit_test(after_any_failure_nothing_is_lost_and_nothing_is_left),
        cmocka_unit_test(a_read_that_fails_is_told),
        cmocka_unit_test(wherever_the_power_is_cut_a_start_finds_a_checkpoint_whole),
        cmocka_unit_test(branches_in_the_cache_have_links_whether_they_were_written_or_read),
        cmocka_unit_test(damage_is_told),
        cmocka_unit_test(a_file_that_is_not_the_one_that_was_named_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
