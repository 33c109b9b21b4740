/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The budget's hands in the database, and sums of what trees and heads count anyway.
 *
 * A checkpoint frees memory by what it has of deleted rows, which stay until then (invariant 19), and by all
 * rows of engines whose rows leave the head. So it is asked for when these take a noticeable part of the limit,
 * or anything at all once writers are slowed; for rows that only came, and stay, it would free nothing.
 */
#include "db/memory.h"

#include <string.h>

#include "db/checkpoint_private.h"
#include "db/db_private.h"
#include "mem/heap.h"
#include "storage/cache/cache.h"

enum {
    CACHE_BYTES = 64 << 20, /* without a memory_max */
    DEAD_BYTES = 64,        /* about what a deleted row takes beside its key */
    DEAD_FRACTION = 32,     /* of the limit: so much of them is worth a checkpoint */
    EVICTS_LOOK_FRACTION =
        4 /* of the limit, where keys are evicted: from here on one may be due before it is reached */
};

static uint64_t head_used(void *arg)
{
    return heap_used_bytes(((struct db *)arg)->heap);
}

static uint64_t head_limit(void *arg)
{
    return heap_limit_bytes(((struct db *)arg)->heap);
}

static void head_limit_set(void *arg, uint64_t bytes)
{
    heap_limit_set(((struct db *)arg)->heap, bytes);
}

/* All that a head takes. */
static uint64_t head_bytes(const struct head *head)
{
    return tree_count(head->tree) * DEAD_BYTES + tree_item_bytes(head->tree) +
           tree_node_bytes(head->tree) + txn_head_bytes(head);
}

static uint64_t head_items(const struct head *head)
{
    return tree_count(head->tree);
}

/* About what the rows of a head take all together, of which a checkpoint lets all go. */
static uint64_t head_leaving_bytes(const struct head *head)
{
    return head->body == NULL ? 0 : head_bytes(head);
}

/* About what rows take that are in the tree and exist no more. */
static uint64_t head_dead_bytes(const struct head *head)
{
    uint64_t items = tree_count(head->tree), rows = txn_head_rows(head);
    if (head->body != NULL)
        return head_leaving_bytes(head);
    if (!head->tracked || items <= rows)
        return 0;
    return (items - rows) * (DEAD_BYTES + tree_item_bytes(head->tree) / items);
}

static uint64_t heads_bytes(struct db *db, uint64_t (*of)(const struct head *head))
{
    uint64_t bytes = 0;
    pthread_mutex_lock(&db->stores_mutex);
    for (unsigned i = 0; i < STORE_BUCKETS; i++)
        for (const struct store *store = db->stores[i]; store != NULL; store = store->next)
            bytes += of(&store->head);
    pthread_mutex_unlock(&db->stores_mutex);
    return bytes;
}

bool db_memory_frees(struct db *db)
{
    uint64_t limit = heap_limit_bytes(db->heap);
    if (limit == 0 || heap_used_bytes(db->heap) < limit / 100 * BUDGET_SLOW_PERCENT)
        return false;
    db_memory_tick(db);
    return heads_bytes(db, head_leaving_bytes) > limit / DEAD_FRACTION;
}

static bool checkpoint_runs(struct db *db)
{
    int rc;
    return db->memory.ticket != 0 && !db_checkpoint_done(db, db->memory.ticket, &rc);
}

/* Whether one has ever been: before that no row is in a run (invariant 33). */
static bool checkpoint_made(struct db *db)
{
    struct db_checkpoint_stats stats;
    db_checkpoint_stats_get(db, &stats);
    return stats.k > 0;
}

static bool checkpoint_flush(void *arg, enum budget_stage stage)
{
    struct db *db = arg;
    if (checkpoint_runs(db))
        return false;
    if (load_relaxed(&db->memory.evicts) && !checkpoint_made(db))
        return false; /* what goes leaves nothing, unless one keeps it */
    uint64_t dead = heads_bytes(db, head_dead_bytes);
    if (dead == 0 || (stage < BUDGET_SLOW && dead < heap_limit_bytes(db->heap) / DEAD_FRACTION))
        return false;
    db->memory.ticket = db_checkpoint_request(db);
    return true;
}

static bool checkpoint_busy(void *arg)
{
    return checkpoint_runs(arg);
}

static struct throttle_memory memory_now(struct db *db)
{
    return (struct throttle_memory){.now_ns = clock_monotonic_ns(db->clock),
                                    .used = heap_used_bytes(db->heap),
                                    .limit = heap_limit_bytes(db->heap),
                                    .evicts = load_relaxed(&db->memory.evicts)};
}

static uint64_t head_leaving_items(const struct head *head)
{
    return head->body == NULL ? 0 : tree_count(head->tree);
}

/* About what a checkpoint would free of what leaves: rows that one has written already, and that stay for the sake of some
 * snapshot, do not count. Where keys are evicted, what it has of all. */
static uint64_t leaving_bytes(struct db *db, uint64_t rows)
{
    bool evicts = load_relaxed(&db->memory.evicts);
    uint64_t bytes = heads_bytes(db, evicts ? head_bytes : head_leaving_bytes),
             items = heads_bytes(db, evicts ? head_items : head_leaving_items);
    return rows < items ? (uint64_t)((double)bytes * (double)rows / (double)items) : bytes;
}

void db__throttle_begin(struct db *db)
{
    struct throttle_memory memory = memory_now(db);
    uint64_t rows = txn_changes_pending(db->txn);
    throttle_begin(&db->memory.throttle, &memory, rows, leaving_bytes(db, rows));
}

void db__throttle_written(struct db *db, uint64_t done, uint64_t rows)
{
    struct throttle_memory memory = memory_now(db);
    throttle_written(&db->memory.throttle, &memory, done, rows);
}

void db__throttle_free(struct db *db)
{
    struct throttle_memory memory = memory_now(db);
    throttle_free(&db->memory.throttle, &memory);
}

void db__throttle_end(struct db *db, bool ok)
{
    struct throttle_memory memory = memory_now(db);
    throttle_end(&db->memory.throttle, &memory, ok);
}

void db__throttle_debt(struct db *db, double debt)
{
    struct throttle_memory memory = memory_now(db);
    throttle_debt_set(&db->memory.throttle, &memory, debt);
}

void db__throttle_tick(struct db *db)
{
    uint64_t limit = heap_limit_bytes(db->heap);
    bool leave = limit > 0 && heads_bytes(db, head_leaving_items) > 0;
    throttle_easy_set(&db->memory.throttle,
                      leave ? limit / 100 * THROTTLE_LOOK_PERCENT : UINT64_MAX);
    struct throttle_memory memory = memory_now(db);
    if (!memory.evicts || memory.used < limit / EVICTS_LOOK_FRACTION)
        return;
    uint64_t rows = txn_changes_pending(db->txn);
    if (throttle_due(&db->memory.throttle, &memory, rows, leaving_bytes(db, rows)))
        db_checkpoint_request(db);
}

/* Asks for a checkpoint before memory is short, if writers would have to be slower than it otherwise. */
static void throttle_look(struct db *db)
{
    struct throttle_memory memory = memory_now(db);
    if (!throttle_looks(&db->memory.throttle, memory.now_ns, memory.used))
        return;
    uint64_t rows = txn_changes_pending(db->txn);
    if (throttle_due(&db->memory.throttle, &memory, rows, leaving_bytes(db, rows)))
        db_checkpoint_request(db);
}

static void relieve(void *arg)
{
    budget_relieve(&((struct db *)arg)->memory.budget);
}

void db__memory_create(struct db *db, const struct db_options *options)
{
    throttle_create(&db->memory.throttle);
    pthread_mutex_init(&db->memory.cache_mutex, NULL);
    db->memory.cache_policy =
        options->cache_policy != NULL ? options->cache_policy : CACHE_POLICY_DEFAULT;
    budget_create(&db->memory.budget,
                  &(struct budget_options){.bytes_max = options->memory_max,
                                           .cache_percent = options->memory_cache,
                                           .lua_percent = options->memory_lua,
                                           .head_used = head_used,
                                           .head_limit = head_limit,
                                           .head_limit_set = head_limit_set,
                                           .arg = db});
    heap_relief_set(db->heap, relieve, db);
}

void db__memory_start(struct db *db)
{
    db->memory.checkpoint = (struct budget_client){.name = "checkpoint",
                                                   .part = BUDGET_HEAD,
                                                   .flush = checkpoint_flush,
                                                   .busy = checkpoint_busy,
                                                   .arg = db};
    budget_join(&db->memory.budget, &db->memory.checkpoint);
    db->memory.joined = true;
}

void db__memory_stop(struct db *db)
{
    if (db->memory.joined)
        budget_leave(&db->memory.budget, &db->memory.checkpoint);
    db->memory.joined = false;
}

static uint64_t cache_used(void *arg)
{
    struct cache_stats stats;
    cache_stats_get(arg, &stats);
    return stats.used_bytes + stats.tables_bytes;
}

static void cache_set(void *arg, uint64_t bytes)
{
    cache_resize(arg, bytes);
}

static int cache_make(struct db_memory *memory)
{
    const struct cache_options options = {.budget_bytes = CACHE_BYTES,
                                          .policy = memory->cache_policy};
    int rc = cache_new(&options, &memory->cache);
    if (rc != 0)
        return rc;
    memory->blocks = (struct budget_client){.name = "blocks",
                                            .part = BUDGET_CACHES,
                                            .used = cache_used,
                                            .resize = cache_set,
                                            .bytes = CACHE_BYTES,
                                            .arg = memory->cache};
    budget_join(&memory->budget, &memory->blocks);
    return 0;
}

int db__cache(struct db *db, struct cache **out)
{
    struct db_memory *memory = &db->memory;
    pthread_mutex_lock(&memory->cache_mutex);
    int rc = memory->cache == NULL ? cache_make(memory) : 0;
    *out = memory->cache;
    pthread_mutex_unlock(&memory->cache_mutex);
    return rc;
}

int db_cache_policy_set(struct db *db, const char *name)
{
    struct db_memory *memory = &db->memory;
    pthread_mutex_lock(&memory->cache_mutex);
    int rc = memory->cache != NULL ? cache_policy_set(memory->cache, name) : 0;
    if (rc == 0)
        memory->cache_policy = name;
    pthread_mutex_unlock(&memory->cache_mutex);
    return rc;
}

const char *db_cache_stats(struct db *db, struct cache_stats *out)
{
    struct db_memory *memory = &db->memory;
    *out = (struct cache_stats){.hits = 0};
    pthread_mutex_lock(&memory->cache_mutex);
    const char *policy = memory->cache_policy;
    if (memory->cache != NULL)
        cache_stats_get(memory->cache, out);
    pthread_mutex_unlock(&memory->cache_mutex);
    return policy;
}

/* Nobody reads any more. */
void db__memory_destroy(struct db *db)
{
    if (db->memory.cache != NULL)
        budget_leave(&db->memory.budget, &db->memory.blocks);
    cache_delete(db->memory.cache);
    pthread_mutex_destroy(&db->memory.cache_mutex);
    budget_destroy(&db->memory.budget);
    throttle_destroy(&db->memory.throttle);
}

struct budget *db_budget(struct db *db)
{
    return &db->memory.budget;
}

void db_memory_tick(struct db *db)
{
    budget_tick(&db->memory.budget, clock_monotonic_ns(db->clock));
}

void db_memory_max_set(struct db *db, uint64_t bytes)
{
    budget_bytes_max_set(&db->memory.budget, bytes);
}

void db_memory_view(struct db *db, struct budget_view *out)
{
    struct throttle_view throttle;
    budget_view(&db->memory.budget, clock_monotonic_ns(db->clock), out);
    throttle_view(&db->memory.throttle, &throttle);
    out->slowed += throttle.slowed;
    out->slowed_ns += throttle.slowed_ns;
}

void db_throttle_view(struct db *db, struct throttle_view *out)
{
    throttle_view(&db->memory.throttle, out);
}

bool db_memory_is_easy(struct db *db)
{
    uint64_t used = heap_used_bytes(db->heap);
    return budget_is_easy(&db->memory.budget, used) && throttle_is_easy(&db->memory.throttle, used);
}

uint64_t db_memory_slow_ns(struct db *db)
{
    if (db_memory_is_easy(db))
        return 0;
    db_memory_tick(db);
    throttle_look(db);
    uint64_t delay_ns = throttle_delay_ns(&db->memory.throttle, clock_monotonic_ns(db->clock),
                                          heap_used_bytes(db->heap));
    return delay_ns > 0 ? delay_ns : budget_slow(&db->memory.budget);
}

uint64_t db_memory_pace_ns(struct db *db)
{
    if (!load_relaxed(&db->memory.throttle.on))
        return 0;
    return throttle_delay_ns(&db->memory.throttle, clock_monotonic_ns(db->clock),
                             heap_used_bytes(db->heap));
}

void db_memory_evicts_set(struct db *db, bool evicts)
{
    store_relaxed(&db->memory.evicts, evicts);
}

static void tree_add(const struct tree *tree, uint64_t *items, struct db_memory_space *out)
{
    *items += tree_item_bytes(tree);
    out->nodes += tree_node_bytes(tree);
    out->directories += tree_directory_bytes(tree);
}

static void head_add(const struct head *head, struct db_memory_space *out)
{
    out->rows = txn_head_rows(head);
    out->tuples = txn_head_bytes(head);
    tree_add(head->tree, &out->keys, out);
}

void db_memory_space(const struct space *space, struct db_memory_space *out)
{
    *out = (struct db_memory_space){.rows = 0};
    head_add(space->head, out);
    for (uint32_t i = 0; i < space->index_count; i++)
        if (space->indexes[i]->id != 0)
            tree_add(space->indexes[i]->scan.tree, &out->entries, out);
}

void db_memory_redis(struct db *db, unsigned n, struct db_memory_space *out)
{
    *out = (struct db_memory_space){.rows = 0};
    const struct redis_store *redis = &db->redis[n];
    head_add(&redis->store->head, out);
    tree_add(redis->expiries.tree, &out->entries, out);
    if (redis->numbers.tree != NULL)
        tree_add(redis->numbers.tree, &out->entries, out);
}
