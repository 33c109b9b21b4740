/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache: keys are spread over shards by a hash; what happens within one is cache_shard.c's.
 *
 * A hit takes no latch: it looks the key up in the shard's table, pins what it found, and compares
 * the key once more, since only what is pinned stays what it is. Whatever is not a plain hit goes on
 * under the latch and looks again.
 *
 * Of several that miss a key at once the first begins to fill it: a hidden frame stands in the table.
 * The others add a pin of theirs to it and wait until it is filled. So a frame that failed lives
 * until the last of them has read its error.
 */
#include "storage/cache/cache.h"

#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "mem/system.h"
#include "storage/cache/cache_shard.h"

struct cache {
    unsigned shards_count;
    _Atomic size_t budget_bytes;
    _Atomic uint64_t files; /* that cache_file_new gave a number */
    const struct cache_policy_vtab *_Atomic vtab;
    struct cache_shard shards[];
};

/* What is fetched of a node: header and slots of a leaf with thirty rows, as 4 KB have of 116 bytes each. All lines come in the
 * time of one, so more would do no harm but to those that others wait for. */
enum { NODE_FETCH = 5 * CACHE_LINE_SIZE };
enum { SHARD_BYTES_LEAST = 1 << 20, SHARDS_USUAL = 16, PAGE_BYTES = 4096 };

/* The finalizer of MurmurHash3 (A. Appleby) over both halves of the key. */
static uint64_t key_hash(uint64_t file, uint64_t offset)
{
    uint64_t hash = offset ^ file * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 33;
    hash *= 0xff51afd7ed558ccdu;
    hash ^= hash >> 33;
    hash *= 0xc4ceb9fe1a85ec53u;
    return hash ^ hash >> 33;
}

/* By bits that neither the place in the table nor the tag takes. */
static struct cache_shard *key_shard(struct cache *cache, uint64_t hash)
{
    return &cache->shards[(hash >> 40) & (cache->shards_count - 1)];
}

/* -------------------------------------------------------------------------------- create, destroy */

static unsigned shards_for(size_t budget_bytes)
{
    unsigned shards = 1;
    while (shards < SHARDS_USUAL && budget_bytes / (shards * 2) >= SHARD_BYTES_LEAST)
        shards *= 2;
    return shards;
}

static int policy_named(const char *name, const struct cache_policy_vtab **out)
{
    *out = cache_policy_find(name);
    return *out != NULL ? 0 : diag_set(ERROR_INVALID, "there is no cache policy '%s'", name);
}

int cache_new(const struct cache_options *options, struct cache **out)
{
    const struct cache_policy_vtab *vtab;
    unsigned shards = options->shards != 0 ? options->shards : shards_for(options->budget_bytes);
    if (shards > CACHE_SHARDS_MAX || (shards & (shards - 1)) != 0)
        return diag_set(ERROR_INVALID, "a cache has a power of two of shards up to %d, not %u",
                        CACHE_SHARDS_MAX, shards);
    int rc = policy_named(options->policy != NULL ? options->policy : CACHE_POLICY_DEFAULT, &vtab);
    if (rc != 0)
        return rc;
    struct cache *cache =
        system_alloc(sizeof *cache + shards * sizeof cache->shards[0], CACHE_LINE_SIZE);
    if (cache == NULL)
        return diag_set(ERROR_MEMORY, "out of memory for a cache");
    cache->shards_count = 0;
    atomic_init(&cache->budget_bytes, options->budget_bytes);
    atomic_init(&cache->files, 0);
    atomic_init(&cache->vtab, vtab);
    for (; cache->shards_count < shards; cache->shards_count++) {
        rc = cache_shard_create(&cache->shards[cache->shards_count], options->budget_bytes / shards,
                                vtab);
        if (rc != 0) {
            cache_delete(cache);
            return diag_set(rc, "out of memory for a cache");
        }
    }
    *out = cache;
    return 0;
}

void cache_delete(struct cache *cache)
{
    if (cache == NULL)
        return;
    for (unsigned i = 0; i < cache->shards_count; i++)
        cache_shard_destroy(&cache->shards[i]);
    system_free(cache);
}

void cache_resize(struct cache *cache, size_t budget_bytes)
{
    store_relaxed(&cache->budget_bytes, budget_bytes);
    for (unsigned i = 0; i < cache->shards_count; i++) {
        struct cache_shard *shard = &cache->shards[i];
        pthread_mutex_lock(&shard->latch);
        cache_shard_resize_locked(shard, budget_bytes / cache->shards_count);
        pthread_mutex_unlock(&shard->latch);
    }
}

size_t cache_budget_bytes(const struct cache *cache)
{
    return load_relaxed(&cache->budget_bytes);
}

void cache_trim(struct cache *cache)
{
    for (unsigned i = 0; i < cache->shards_count; i++) {
        struct cache_shard *shard = &cache->shards[i];
        pthread_mutex_lock(&shard->latch);
        cache_shard_drain_locked(shard);
        cache_shard_room_locked(shard, 0, NULL);
        pthread_mutex_unlock(&shard->latch);
    }
}

int cache_policy_set(struct cache *cache, const char *name)
{
    const struct cache_policy_vtab *vtab;
    struct cache_policy *policies[CACHE_SHARDS_MAX];
    int rc = policy_named(name, &vtab);
    if (rc != 0)
        return rc;
    size_t budget_bytes = cache_budget_bytes(cache) / cache->shards_count;
    for (unsigned i = 0; i < cache->shards_count; i++) {
        rc = vtab->new (budget_bytes, &policies[i]);
        if (rc != 0) {
            while (i-- > 0)
                vtab->free(policies[i]);
            return diag_set(rc, "out of memory for the policy of a cache");
        }
    }
    for (unsigned i = 0; i < cache->shards_count; i++) {
        struct cache_shard *shard = &cache->shards[i];
        pthread_mutex_lock(&shard->latch);
        cache_shard_policy_locked(shard, policies[i]);
        cache_shard_resize_locked(shard, shard->budget_bytes);
        pthread_mutex_unlock(&shard->latch);
    }
    atomic_store_explicit(&cache->vtab, vtab, memory_order_release);
    return 0;
}

const char *cache_policy(const struct cache *cache)
{
    return atomic_load_explicit(&cache->vtab, memory_order_acquire)->name;
}

uint64_t cache_file_new(struct cache *cache)
{
    return CACHE_FILE_FIRST + atomic_fetch_add_explicit(&cache->files, 1, memory_order_relaxed);
}

/* ------------------------------------------------------------------------------------- look up */

static void guard_set(struct cache_guard *guard, struct cache_frame *frame)
{
    guard->frame = frame;
    guard->data = frame->data;
    guard->size = frame->size;
}

static void guard_clear(struct cache_guard *guard)
{
    *guard = (struct cache_guard){NULL, NULL, 0};
}

void cache_guard_release(struct cache_guard *guard)
{
    if (guard->frame == NULL)
        return;
    cache_frame_unpin(guard->frame);
    guard_clear(guard);
}

static bool frame_is(const struct cache_frame *frame, uint64_t file, uint64_t offset)
{
    return load_relaxed(&frame->offset) == offset && load_relaxed(&frame->file) == file;
}

/* Pins a frame that had the key a moment ago, or NULL. */
static struct cache_frame *pin_if(struct cache_frame *frame, uint64_t file, uint64_t offset)
{
    if (frame == NULL || !cache_frame_pin(frame))
        return NULL;
    if (frame_is(frame, file, offset))
        return frame;
    cache_frame_unpin(frame);
    return NULL;
}

static unsigned fetch_bytes(unsigned flags)
{
    return flags & CACHE_NODE ? NODE_FETCH : 0;
}

/* The entry, pinned, or NULL when it is not there or was not seen. */
static struct cache_frame *pin_unlocked(struct cache_shard *shard, uint64_t file, uint64_t offset,
                                        uint64_t hash, unsigned flags)
{
    return pin_if(cache_table_look(&shard->table, file, offset, hash, fetch_bytes(flags)), file,
                  offset);
}

/* The same by a link. Descriptors stay as long as the cache; acquire: who has stored it had seen it made. */
static struct cache_frame *pin_linked(const struct cache_link *link, uint64_t file, uint64_t offset,
                                      unsigned flags)
{
    struct cache_frame *frame = (struct cache_frame *)load_acquire(&link->frame);
    if (frame == NULL)
        return NULL;
    cache_data_fetch(load_relaxed(&link->data), fetch_bytes(flags));
    return frame_is(frame, file, offset) ? pin_if(frame, file, offset) : NULL;
}

/* Waits for another's fill, if there is one, of a frame that the caller has pinned. Lets go of the
 * latch. */
static int wait_filled(struct cache_shard *shard, struct cache_frame *frame, unsigned flags,
                       struct cache_guard *guard)
{
    shard->stats.waits += frame->filling;
    while (frame->filling)
        pthread_cond_wait(&shard->filled, &shard->latch);
    pthread_mutex_unlock(&shard->latch);
    int rc = frame->error;
    if (rc == 0) {
        cache_shard_hit(shard, frame, flags);
        guard_set(guard, frame);
        return 0;
    }
    if (frame->data != NULL)
        diag_set(rc, "%s", (const char *)frame->data);
    else
        diag_set(rc, "%s", error_text(rc));
    cache_frame_unpin(frame);
    return rc;
}

static void fill_create(struct cache_fill *fill, struct cache *cache, struct cache_frame *frame)
{
    *fill = (struct cache_fill){
        .cache = cache,
        .frame = frame,
        .file = load_relaxed(&frame->file),
        .offset = load_relaxed(&frame->offset),
    };
}

static int get_locked(struct cache *cache, struct cache_shard *shard, uint64_t file,
                      uint64_t offset, uint64_t hash, unsigned flags, cache_load_fn *load,
                      void *arg, struct cache_guard *guard)
{
    struct cache_frame *frame = cache_table_find(&shard->table, file, offset, hash);
    if (frame != NULL) {
        /* Under the latch what is in the table stays there, hidden only while it is filled. */
        atomic_fetch_add_explicit(&frame->state, 1, memory_order_acquire);
        return wait_filled(shard, frame, flags, guard);
    }
    int rc = cache_shard_start_locked(shard, file, offset, hash, flags, &frame);
    shard->stats.misses += rc == 0;
    pthread_mutex_unlock(&shard->latch);
    if (rc != 0)
        return rc;
    struct cache_fill fill;
    fill_create(&fill, cache, frame);
    return cache_fill_end(&fill, load(&fill, arg), guard);
}

int cache_get(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
              cache_load_fn *load, void *arg, struct cache_guard *guard)
{
    uint64_t hash = key_hash(file, offset);
    struct cache_shard *shard = key_shard(cache, hash);
    struct cache_frame *frame = pin_unlocked(shard, file, offset, hash, flags);
    if (frame != NULL) {
        cache_shard_hit(shard, frame, flags);
        guard_set(guard, frame);
        return 0;
    }
    guard_clear(guard);
    pthread_mutex_lock(&shard->latch);
    return get_locked(cache, shard, file, offset, hash, flags, load, arg, guard);
}

int cache_get_linked(struct cache *cache, struct cache_link *link, uint64_t file, uint64_t offset,
                     unsigned flags, cache_load_fn *load, void *arg, struct cache_guard *guard)
{
    struct cache_frame *frame = pin_linked(link, file, offset, flags);
    if (frame != NULL) {
        cache_shard_hit(frame->shard, frame, flags);
        guard_set(guard, frame);
        return 0;
    }
    int rc = cache_get(cache, file, offset, flags, load, arg, guard);
    if (rc == 0) {
        store_relaxed(&link->data, (uintptr_t)guard->data);
        store_release(&link->frame, (uintptr_t)guard->frame);
    }
    return rc;
}

int cache_try(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
              struct cache_guard *guard)
{
    uint64_t hash = key_hash(file, offset);
    struct cache_shard *shard = key_shard(cache, hash);
    struct cache_frame *frame = pin_unlocked(shard, file, offset, hash, flags);
    if (frame == NULL) {
        pthread_mutex_lock(&shard->latch);
        frame = cache_table_find(&shard->table, file, offset, hash);
        if (frame != NULL && !cache_frame_pin(frame))
            frame = NULL;
        pthread_mutex_unlock(&shard->latch);
    }
    if (frame == NULL) {
        guard_clear(guard);
        return ERROR_NOT_FOUND;
    }
    cache_shard_hit(shard, frame, flags);
    guard_set(guard, frame);
    return 0;
}

/* ----------------------------------------------------------------------------------------- fill */

int cache_fill_begin(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
                     struct cache_fill *fill)
{
    uint64_t hash = key_hash(file, offset);
    struct cache_shard *shard = key_shard(cache, hash);
    struct cache_frame *frame = pin_unlocked(shard, file, offset, hash, flags);
    if (frame != NULL) {
        cache_frame_unpin(frame);
        return ERROR_EXISTS;
    }
    pthread_mutex_lock(&shard->latch);
    int rc = ERROR_EXISTS;
    if (cache_table_find(&shard->table, file, offset, hash) == NULL)
        rc = cache_shard_start_locked(shard, file, offset, hash, flags, &frame);
    shard->stats.misses += rc == 0;
    pthread_mutex_unlock(&shard->latch);
    if (rc == 0)
        fill_create(fill, cache, frame);
    return rc;
}

static void *room_new(size_t size)
{
    ASSERT(size > 0 && size <= CACHE_SIZE_MAX);
    return system_alloc(size, size % PAGE_BYTES == 0 ? PAGE_BYTES : CACHE_LINE_SIZE);
}

void *cache_fill_room(struct cache_fill *fill, size_t size)
{
    system_free(fill->data);
    fill->data = room_new(size);
    fill->size = size;
    if (fill->data == NULL)
        diag_set(ERROR_MEMORY, "out of memory for %zu bytes of a cache", size);
    return fill->data;
}

/* The message of the error at hand for those who wait, or NULL. */
static char *message_new(int rc)
{
    const char *message = diag_message_for(rc);
    size_t size = strlen(message) + 1;
    char *copy = system_alloc(size, 16);
    return copy != NULL ? memcpy(copy, message, size) : NULL;
}

int cache_fill_end(struct cache_fill *fill, int rc, struct cache_guard *guard)
{
    struct cache_frame *frame = fill->frame;
    struct cache_shard *shard = frame->shard;
    void *room = fill->data;
    ASSERT(rc != 0 || room != NULL);
    if (rc != 0) {
        system_free(room);
        room = message_new(rc);
    }
    pthread_mutex_lock(&shard->latch);
    shard->stats.errors += rc != 0;
    cache_shard_finish_locked(shard, frame, room, rc == 0 ? fill->size : 0, rc);
    pthread_cond_broadcast(&shard->filled);
    pthread_mutex_unlock(&shard->latch);
    *fill = (struct cache_fill){.cache = NULL};
    if (rc == 0 && guard != NULL) {
        guard_set(guard, frame);
        return 0;
    }
    if (guard != NULL)
        guard_clear(guard);
    cache_frame_unpin(frame);
    return rc;
}

int cache_put(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags, const void *data,
              size_t size)
{
    uint64_t hash = key_hash(file, offset);
    struct cache_shard *shard = key_shard(cache, hash);
    struct cache_frame *frame;
    size_t links = flags & CACHE_LINKS ? size : 0;
    char *room = room_new(size + links);
    if (room != NULL) {
        memcpy(room, data, size);
        memset(room + size, 0, links);
    }
    pthread_mutex_lock(&shard->latch);
    frame = cache_table_find(&shard->table, file, offset, hash);
    if (frame != NULL)
        cache_shard_forget_locked(shard, frame);
    int rc = ERROR_MEMORY;
    if (room == NULL)
        diag_set(rc, "out of memory for %zu bytes of a cache", size);
    else
        rc = cache_shard_start_locked(shard, file, offset, hash, flags, &frame);
    if (rc == 0)
        cache_shard_finish_locked(shard, frame, room, size + links, 0);
    pthread_mutex_unlock(&shard->latch);
    if (rc == 0)
        cache_frame_unpin(frame);
    else
        system_free(room);
    return rc;
}

void cache_forget(struct cache *cache, uint64_t file, uint64_t offset)
{
    uint64_t hash = key_hash(file, offset);
    struct cache_shard *shard = key_shard(cache, hash);
    pthread_mutex_lock(&shard->latch);
    struct cache_frame *frame = cache_table_find(&shard->table, file, offset, hash);
    if (frame != NULL)
        cache_shard_forget_locked(shard, frame);
    pthread_mutex_unlock(&shard->latch);
}

void cache_forget_file(struct cache *cache, uint64_t file)
{
    for (unsigned i = 0; i < cache->shards_count; i++) {
        struct cache_shard *shard = &cache->shards[i];
        pthread_mutex_lock(&shard->latch);
        cache_shard_forget_file_locked(shard, file);
        pthread_mutex_unlock(&shard->latch);
    }
}

/* ---------------------------------------------------------------------------------------- stats */

void cache_stats_get(struct cache *cache, struct cache_stats *out)
{
    *out = (struct cache_stats){.budget_bytes = cache_budget_bytes(cache)};
    for (unsigned i = 0; i < cache->shards_count; i++) {
        struct cache_shard *shard = &cache->shards[i];
        pthread_mutex_lock(&shard->latch);
        cache_shard_stats_locked(shard, out);
        pthread_mutex_unlock(&shard->latch);
    }
    out->tables_bytes += sizeof *cache + cache->shards_count * sizeof cache->shards[0];
}
