/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table: shards, the locks in them by hash, their memory, and what there is to be seen.
 *
 *     table -> shard -> bucket -> lock <-> granted holds
 *              mutex               |
 *              pools               +----- queue of waiting holds
 *
 * A shard's memory comes in chunks that are cut into locks and holds, which go back to the shard's
 * free lists and are used again; chunks stay until the table is deleted. (Under AddressSanitizer
 * every object is one of the system's.) How many holds there may be is a number of the table's, of
 * which shards take and return batches, so that it is no place where threads meet.
 *
 * Names are hashed by multiplications of 64 by 64 bits folded to 64, as in wyhash (Wang Yi 2019),
 * over words of 8 bytes from a seed of the table's own, so that nobody who chooses keys can choose
 * buckets.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "base/random.h"
#include "mem/arena.h"
#include "mem/system.h"
#include "txn/lock_private.h"

enum { BUCKETS_MIN = 64, CHUNK_OBJECTS = 32, QUOTA_BATCH_MAX = 256 };

/* Names. */

static uint64_t hash_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15u) * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t lock__name_hash(const struct lock_table *table, const struct lock_name *name)
{
    uint64_t hash = hash_fold(table->seed ^ name->space, 0xa0761d6478bd642fu + 2 * name->kind);
    if (name->kind != LOCK_ROW)
        return hash_fold(hash, 0xe7037ed1a0b428dbu);
    const unsigned char *key = name->key;
    size_t left = name->key_size;
    uint64_t word;
    for (; left >= sizeof(word); key += sizeof(word), left -= sizeof(word)) {
        memcpy(&word, key, sizeof(word));
        hash = hash_fold(hash ^ word, 0x8ebc6af09c88c6e3u);
    }
    word = 0;
    if (left > 0)
        memcpy(&word, key, left);
    hash = hash_fold(hash ^ word, 0x589965cc75374cc3u);
    return hash_fold(hash ^ name->key_size, 0xe7037ed1a0b428dbu);
}

bool lock__name_is(const struct lock *lock, const struct lock_name *name)
{
    if (lock->space != name->space || lock->kind != name->kind)
        return false;
    return name->kind != LOCK_ROW ||
           (lock->key_size == name->key_size &&
            (name->key_size == 0 || memcmp(lock->key, name->key, name->key_size) == 0));
}

const char *lock_kind_name(enum lock_kind kind)
{
    static const char *const names[] = {"space", "row", "owner"};
    return names[kind];
}

/* Mutexes. */

void lock__shard_enter(struct lock_shard *shard)
{
    int rc = pthread_mutex_lock(&shard->mutex);
    ASSERT(rc == 0);
}

void lock__shard_leave(struct lock_shard *shard)
{
    int rc = pthread_mutex_unlock(&shard->mutex);
    ASSERT(rc == 0);
}

void lock__all_enter(struct lock_table *table)
{
    for (unsigned i = 0; i < LOCK_SHARDS; i++)
        lock__shard_enter(&table->shards[i]);
}

void lock__all_leave(struct lock_table *table)
{
    for (unsigned i = LOCK_SHARDS; i-- > 0;)
        lock__shard_leave(&table->shards[i]);
}

/* Memory of a shard. */

struct lock_pool_chunk {
    struct lock_pool_chunk *next;
};

/* The first link is at the chunk's beginning, objects begin behind it, all aligned to 16. */
static int pool_grow(struct lock_pool *pool)
{
    struct lock_pool_chunk *chunk = system_alloc(16 + CHUNK_OBJECTS * pool->size, 16);
    if (chunk == NULL)
        return ERROR_MEMORY;
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    for (unsigned i = CHUNK_OBJECTS; i-- > 0;) {
        void **object = (void **)(void *)((char *)chunk + 16 + i * pool->size);
        *object = pool->free;
        pool->free = object;
    }
    return 0;
}

static void *pool_alloc(struct lock_pool *pool)
{
    if (ARENA_POISONS)
        return system_alloc(pool->size, 16);
    if (pool->free == NULL && pool_grow(pool) != 0)
        return NULL;
    void **object = pool->free;
    pool->free = *object;
    return object;
}

static void pool_free(struct lock_pool *pool, void *memory)
{
    if (ARENA_POISONS) {
        system_free(memory);
        return;
    }
    void **object = memory;
    *object = pool->free;
    pool->free = object;
}

static void pool_create(struct lock_pool *pool, size_t size)
{
    *pool = (struct lock_pool){.size = (size + 15) & ~(size_t)15};
}

static void pool_destroy(struct lock_pool *pool)
{
    while (pool->chunks != NULL) {
        struct lock_pool_chunk *next = pool->chunks->next;
        system_free(pool->chunks);
        pool->chunks = next;
    }
}

/* Locks of a shard. */

static struct lock **bucket_of(const struct lock_shard *shard, uint64_t hash)
{
    return &shard->buckets[hash & shard->bucket_mask];
}

struct lock *lock__find(struct lock_shard *shard, const struct lock_name *name, uint64_t hash)
{
    struct lock *lock = *bucket_of(shard, hash);
    while (lock != NULL && (lock->hash != hash || !lock__name_is(lock, name)))
        lock = lock->next;
    return lock;
}

/* Twice as many buckets. Without memory the chains grow longer instead. */
static void shard_grow(struct lock_shard *shard)
{
    size_t old_count = shard->bucket_mask + 1, size = 2 * old_count * sizeof(*shard->buckets);
    struct lock **old = shard->buckets, **buckets = system_alloc(size, 16);
    if (buckets == NULL)
        return;
    memset(buckets, 0, size);
    shard->buckets = buckets;
    shard->bucket_mask = 2 * old_count - 1;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct lock *lock = old[i];
            old[i] = lock->next;
            struct lock **bucket = bucket_of(shard, lock->hash);
            lock->next = *bucket;
            *bucket = lock;
        }
    }
    system_free(old);
}

static int lock_name_set(struct lock *lock, const struct lock_name *name)
{
    lock->kind = (unsigned char)name->kind;
    lock->space = name->space;
    lock->key = lock->key_inline;
    if (name->kind != LOCK_ROW || name->key_size == 0)
        return 0;
    unsigned char *key = lock->key_inline;
    if (name->key_size > LOCK_KEY_INLINE)
        key = system_alloc(name->key_size, 16);
    if (key == NULL)
        return ERROR_MEMORY;
    memcpy(key, name->key, name->key_size);
    lock->key = key;
    lock->key_size = (uint32_t)name->key_size;
    return 0;
}

static struct lock *lock_new(struct lock_shard *shard, const struct lock_name *name, uint64_t hash)
{
    struct lock *lock = pool_alloc(&shard->locks);
    if (lock == NULL)
        return NULL;
    memset(lock, 0, offsetof(struct lock, key_inline));
    lock->hash = hash;
    list_create(&lock->granted);
    list_create(&lock->queue);
    if (lock_name_set(lock, name) != 0) {
        pool_free(&shard->locks, lock);
        return NULL;
    }
    return lock;
}

struct lock *lock__get(struct lock_shard *shard, const struct lock_name *name, uint64_t hash)
{
    struct lock *lock = lock__find(shard, name, hash);
    if (lock != NULL)
        return lock;
    lock = lock_new(shard, name, hash);
    if (lock == NULL)
        return NULL;
    if (shard->count > shard->bucket_mask)
        shard_grow(shard);
    struct lock **bucket = bucket_of(shard, hash);
    lock->next = *bucket;
    *bucket = lock;
    shard->count++;
    return lock;
}

static void lock_delete(struct lock_shard *shard, struct lock *lock)
{
    struct lock **at = bucket_of(shard, lock->hash);
    while (*at != lock)
        at = &(*at)->next;
    *at = lock->next;
    shard->count--;
    if (lock->key != lock->key_inline)
        system_free((void *)(uintptr_t)lock->key);
    pool_free(&shard->locks, lock);
}

static void space_tell(const struct lock_table_options *options, struct lock *lock)
{
    enum lock_mode strongest = LOCK_EXCLUSIVE;
    while (strongest >= LOCK_SHARED && lock->granted_count[strongest] == 0)
        strongest--;
    if (strongest < LOCK_SHARED)
        strongest = LOCK_NONE;
    if (strongest == lock->told)
        return;
    lock->told = (unsigned char)strongest;
    options->space_locked(options->arg, lock->space, strongest);
}

static void row_tell(const struct lock_table_options *options, struct lock *lock)
{
    bool any_shared = lock->granted_count[LOCK_SHARED] > 0;
    if (any_shared == (lock->told != LOCK_NONE))
        return;
    lock->told = any_shared ? LOCK_SHARED : LOCK_NONE;
    options->row_shared(options->arg, lock->space, lock->key, lock->key_size, any_shared);
}

void lock__put(struct lock_table *table, struct lock *lock)
{
    const struct lock_table_options *options = &table->options;
    if (lock->kind == LOCK_SPACE && options->space_locked != NULL)
        space_tell(options, lock);
    if (lock->kind == LOCK_ROW && options->row_shared != NULL)
        row_tell(options, lock);
    if (list_empty(&lock->granted) && list_empty(&lock->queue))
        lock_delete(lock__shard(table, lock->hash), lock);
}

/* Holds of a shard, and their number. */

static bool quota_take(struct lock_table *table, struct lock_shard *shard)
{
    if (shard->quota == 0) {
        uint64_t left = load_relaxed(&table->quota), batch;
        do {
            batch = left < table->quota_batch ? left : table->quota_batch;
            if (batch == 0)
                return false;
        } while (!atomic_compare_exchange_weak(&table->quota, &left, left - batch));
        shard->quota = batch;
    }
    shard->quota--;
    return true;
}

static void quota_return(struct lock_table *table, struct lock_shard *shard)
{
    if (++shard->quota < 2 * table->quota_batch)
        return;
    shard->quota -= table->quota_batch;
    atomic_fetch_add(&table->quota, table->quota_batch);
}

struct lock_hold *lock__hold_new(struct lock_owner *owner, struct lock *lock)
{
    struct lock_shard *shard = lock__shard(owner->table, lock->hash);
    if (!quota_take(owner->table, shard))
        return NULL;
    struct lock_hold *hold = pool_alloc(&shard->holds);
    if (hold == NULL) {
        quota_return(owner->table, shard);
        return NULL;
    }
    memset(hold, 0, sizeof(*hold));
    hold->lock = lock;
    hold->owner = owner;
    hold->hash = lock->hash;
    hold->escalate_at = owner->table->escalation_rows;
    list_create(&hold->granted_link);
    list_create(&hold->queue_link);
    return hold;
}

void lock__hold_delete(struct lock_owner *owner, struct lock_hold *hold)
{
    struct lock_shard *shard = lock__shard(owner->table, hold->hash);
    quota_return(owner->table, shard);
    pool_free(&shard->holds, hold);
}

/* The table. */

static int shard_create(struct lock_shard *shard)
{
    size_t size = BUCKETS_MIN * sizeof(*shard->buckets);
    shard->buckets = system_alloc(size, 16);
    if (shard->buckets == NULL)
        return ERROR_MEMORY;
    memset(shard->buckets, 0, size);
    shard->bucket_mask = BUCKETS_MIN - 1;
    pool_create(&shard->locks, sizeof(struct lock));
    pool_create(&shard->holds, sizeof(struct lock_hold));
    int rc = pthread_mutex_init(&shard->mutex, NULL);
    ASSERT(rc == 0);
    return 0;
}

static void shard_destroy(struct lock_shard *shard)
{
    ASSERT(shard->count == 0);
    pthread_mutex_destroy(&shard->mutex);
    pool_destroy(&shard->locks);
    pool_destroy(&shard->holds);
    system_free(shard->buckets);
}

static void shards_destroy(struct lock_table *table, unsigned count)
{
    while (count-- > 0)
        shard_destroy(&table->shards[count]);
    system_free(table);
}

static void table_options_set(struct lock_table *table, const struct lock_table_options *options)
{
    table->options = *options;
    table->clock = options->clock != NULL ? options->clock : clock_system();
    table->escalation_rows = options->escalation_rows == UINT_MAX ? SIZE_MAX
                             : options->escalation_rows != 0      ? options->escalation_rows
                                                             : (size_t)LOCK_ESCALATION_ROWS_DEFAULT;
    if (table->options.locks_max == 0)
        table->options.locks_max = LOCK_LOCKS_MAX_DEFAULT;
    if (table->options.owners_max == 0)
        table->options.owners_max = LOCK_OWNERS_MAX_DEFAULT;
    /* What shards keep to themselves is at most an eighth, or one each. */
    table->quota_batch = table->options.locks_max / (16 * LOCK_SHARDS);
    if (table->quota_batch > QUOTA_BATCH_MAX)
        table->quota_batch = QUOTA_BATCH_MAX;
    if (table->quota_batch == 0)
        table->quota_batch = 1;
    atomic_init(&table->quota, table->options.locks_max);
}

int lock_table_new(const struct lock_table_options *options, struct lock_table **out)
{
    struct lock_table *table = system_alloc(sizeof(*table), CACHE_LINE_SIZE);
    if (table == NULL)
        return ERROR_MEMORY;
    memset(table, 0, sizeof(*table));
    table->seed = random_seed();
    table_options_set(table, options);
    for (unsigned i = 0; i < LOCK_SHARDS; i++) {
        if (shard_create(&table->shards[i]) != 0) {
            shards_destroy(table, i);
            return ERROR_MEMORY;
        }
    }
    *out = table;
    return 0;
}

void lock_table_delete(struct lock_table *table)
{
    if (table == NULL)
        return;
    ASSERT(load_relaxed(&table->owners) == 0);
    shards_destroy(table, LOCK_SHARDS);
}

void lock_stats_get(struct lock_table *table, struct lock_stats *out)
{
    *out = (struct lock_stats){.owners = load_relaxed(&table->owners)};
    for (unsigned i = 0; i < LOCK_SHARDS; i++) {
        struct lock_shard *shard = &table->shards[i];
        lock__shard_enter(shard);
        out->held += shard->held;
        out->waiting += shard->waiting;
        out->waits += shard->waits;
        out->deadlocks += shard->deadlocks;
        out->timeouts += shard->timeouts;
        out->escalations += shard->escalations;
        lock__shard_leave(shard);
    }
}

/* Views: those of a shard are copied under its mutex, keys and all, and shown outside of it. */

struct view_list {
    struct arena arena;
    struct view_node *first, **last;
};

struct view_node {
    struct view_node *next;
    struct lock_view view;
};

static bool view_blocker_add(const struct lock_hold *blocker, void *arg)
{
    struct lock_view *view = arg;
    uint64_t id = blocker->owner->id;
    for (size_t i = 0; i < view->blocker_count && i < LOCK_VIEW_BLOCKERS_MAX; i++)
        if (view->blockers[i] == id) /* holds one mode and waits for another */
            return false;
    if (view->blocker_count < LOCK_VIEW_BLOCKERS_MAX)
        view->blockers[view->blocker_count] = id;
    view->blocker_count++;
    return false;
}

static int view_add(struct view_list *list, const struct lock_hold *hold, bool waiting)
{
    struct lock *lock = hold->lock;
    struct view_node *node = arena_alloc(&list->arena, sizeof(*node));
    void *key = arena_copy(&list->arena, lock->key, lock->key_size);
    if (node == NULL || key == NULL)
        return ERROR_MEMORY;
    node->next = NULL;
    node->view = (struct lock_view){
        .owner_id = hold->owner->id,
        .session_id = load_relaxed(&hold->owner->session_id),
        .name = {lock->kind, lock->space, key, lock->key_size},
        .mode = waiting ? hold->wanted : hold->granted,
        .waiting = waiting,
        .since_ns = waiting ? hold->since_ns : 0,
    };
    if (waiting) {
        lock__each_blocking_holder(hold, view_blocker_add, &node->view);
        lock__each_blocking_waiter(hold, view_blocker_add, &node->view);
    }
    *list->last = node;
    list->last = &node->next;
    return 0;
}

static int views_of_lock(struct view_list *list, const struct lock *lock)
{
    int rc = 0;
    list_for_each (link, &lock->granted) {
        rc = view_add(list, list_entry(link, struct lock_hold, granted_link), false);
        if (rc != 0)
            return rc;
    }
    list_for_each (link, &lock->queue) {
        rc = view_add(list, list_entry(link, struct lock_hold, queue_link), true);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int views_of_shard(struct view_list *list, struct lock_shard *shard)
{
    int rc = 0;
    list->first = NULL;
    list->last = &list->first;
    lock__shard_enter(shard);
    for (size_t i = 0; rc == 0 && i <= shard->bucket_mask; i++)
        for (struct lock *lock = shard->buckets[i]; rc == 0 && lock != NULL; lock = lock->next)
            rc = views_of_lock(list, lock);
    lock__shard_leave(shard);
    return rc;
}

int lock_table_each(struct lock_table *table, int (*each)(const struct lock_view *view, void *arg),
                    void *arg)
{
    struct view_list list;
    int rc = 0;
    arena_create(&list.arena, 1 << 20);
    for (unsigned i = 0; rc == 0 && i < LOCK_SHARDS; i++) {
        rc = views_of_shard(&list, &table->shards[i]);
        for (struct view_node *node = list.first; rc == 0 && node != NULL; node = node->next)
            rc = each(&node->view, arg);
        arena_reset(&list.arena);
    }
    arena_destroy(&list.arena);
    return rc;
}
