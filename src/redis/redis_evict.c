/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What maxmemory-policy does: keys are deleted when memory is short.
 *
 * It begins at fifteen sixteenths of maxmemory, since writes are refused above all of it, and what was
 * deleted is in use until the log has it and nobody reads it any more. So that this delay does not cost
 * more keys than it must, what they had is counted as free for EVICTING_NS after the first of them.
 *
 * A key is picked at random among all, or among those that expire (the next one that is there behind a
 * row picked at random); for volatile-ttl it is the one that
 * expires first, of a database picked at random. When nobody reads a key is not known: the policies lru
 * and lfu pick at random, too.
 */
#include "base/diag.h"
#include "base/error.h"
#include "codec/key.h"
#include "db/catalog.h"
#include "mem/heap.h"
#include "redis/redis_housekeeping.h"
#include "redis/redis_spread.h"

enum {
    EVICTING_NS = 100 * 1000 * 1000,
    COLLECT_ROWS = 256,
    TRIES = 16,
    RESERVE_FRACTION = 16,
    ROW_BYTES = 88,     /* what a row takes beside its bytes */
    ELEMENT_BYTES = 128 /* about what an element of a spread collection takes */
};

struct evicting {
    struct redis_call call;
    unsigned policy;
    uint64_t bytes; /* out: about how much was deleted; 0: nothing */
};

static bool is_volatile(unsigned policy)
{
    return policy == REDIS_POLICY_VOLATILE_LRU || policy == REDIS_POLICY_VOLATILE_LFU ||
           policy == REDIS_POLICY_VOLATILE_RANDOM || policy == REDIS_POLICY_VOLATILE_TTL;
}

/* How many bytes are in use above where it begins. */
static uint64_t short_by(const struct redis_housekeeping *keeping, struct db *db)
{
    uint64_t limit = heap_limit_bytes(db_heap(db));
    if (limit == 0 || load_relaxed(&keeping->config->maxmemory_policy) == REDIS_POLICY_NOEVICTION)
        return 0;
    uint64_t used = heap_used_bytes(db_heap(db)), start = limit - limit / RESERVE_FRACTION;
    return used > start ? used - start : 0;
}

/* How many of them are not on their way out. */
static uint64_t excess(const struct redis_housekeeping *keeping, struct db *db)
{
    uint64_t bytes = short_by(keeping, db), evicting = load_relaxed(&keeping->evicting_bytes);
    return bytes > evicting ? bytes - evicting : 0;
}

/* ------------------------------------------------------------------------------------------ picking */

static struct tree *tree_of(const struct evicting *evicting, unsigned database)
{
    struct db *db = db_worker_db(evicting->call.worker);
    return is_volatile(evicting->policy) ? db_redis_expiries(db, database)->tree
                                         : db_redis_head(db, database)->tree;
}

/* A database, each as likely as it has keys that may go; false when there are none. */
static bool database_pick(struct evicting *evicting)
{
    uint64_t counts[REDIS_DATABASES], sum = 0;
    for (unsigned n = 0; n < REDIS_DATABASES; n++)
        sum += counts[n] = tree_count(tree_of(evicting, n));
    if (sum == 0)
        return false;
    uint64_t at = redis_random(&evicting->call) % sum;
    evicting->call.database = 0;
    while (at >= counts[evicting->call.database])
        at -= counts[evicting->call.database++];
    return true;
}

/* A row of the call's database: behind one picked at random the next that is there, since those that
 * were deleted stay in the tree for a while. *row NULL: this time none. */
static int row_pick(struct evicting *evicting, struct row **row)
{
    struct redis_call *call = &evicting->call;
    struct db *db = db_worker_db(call->worker);
    struct head *head = db_redis_head(db, call->database);
    struct txn_index keys = {.tree = head->tree, .head = head};
    struct txn_range range = {.lower = NULL, .lower_inclusive = true};
    const struct version *version;
    struct txn_cursor cursor;
    *row = NULL;
    if (evicting->policy != REDIS_POLICY_VOLATILE_TTL) {
        const struct item *item =
            tree_random(tree_of(evicting, call->database), redis_random(call));
        if (!item)
            return 0;
        range.lower = item->key;
        range.lower_size = item->key_size;
    }
    txn_cursor_open(&cursor, call->txn,
                    is_volatile(evicting->policy) ? db_redis_expiries(db, call->database) : &keys,
                    &range);
    int rc = txn_cursor_next(&cursor, row, &version);
    if (rc)
        *row = NULL;
    return rc == ERROR_END ? 0 : rc;
}

/* Deletes the key of the row if it is there still and may go. */
static int row_evict(struct evicting *evicting, const struct row *row)
{
    struct redis_call *call = &evicting->call;
    struct redis_key key;
    struct redis_value value;
    int64_t elements = 0;
    char *text = arena_alloc(txn_arena(call->txn), row->key_size + 1);
    if (!text)
        return diag_set(ERROR_MEMORY, "out of memory");
    int64_t size = key_decode_string(row->key, row->key + row->key_size, text);
    if (size < 0)
        return diag_set(ERROR_CORRUPT, "a key in the Redis space is damaged: it is not one string");
    const struct redis_slice name = {text, (size_t)size};
    int rc = redis_open_for_update(call, &name, REDIS_TYPE_NONE, &key, &value);
    if (rc || value.type == REDIS_TYPE_NONE || (is_volatile(evicting->policy) && !value.expire_ms))
        return rc;
    if (value.spread)
        rc = redis_count_peek(call, value.id, 0, &elements);
    uint64_t bytes = ROW_BYTES + key.size + value.size + (uint64_t)elements * ELEMENT_BYTES;
    if (!rc)
        rc = redis_value_delete(call, &key, &value);
    if (!rc)
        rc = redis_changed(call, &name, REDIS_TYPE_NONE, REDIS_NOTIFY_EVICTED, "evicted");
    if (!rc)
        evicting->bytes = bytes;
    return rc;
}

static int key_evict(struct txn *txn, void *arg)
{
    struct evicting *evicting = arg;
    int rc = 0;
    evicting->call.txn = txn;
    evicting->bytes = 0;
    for (unsigned n = 0; n < TRIES && !rc && !evicting->bytes; n++) {
        struct row *row;
        if (!database_pick(evicting))
            break;
        rc = row_pick(evicting, &row);
        if (!rc && row)
            rc = row_evict(evicting, row);
    }
    return rc;
}

/* --------------------------------------------------------------------------------------------- runs */

bool redis_housekeeping_must_evict(const struct redis_housekeeping *keeping, struct db *db)
{
    return short_by(keeping, db) > 0;
}

int redis_housekeeping_evict(struct redis_housekeeping *keeping, struct db_worker *worker,
                             unsigned keys_max)
{
    struct db *db = db_worker_db(worker);
    struct evicting evicting = {
        .call = {.worker = worker, .config = keeping->config, .interest = keeping->interest},
        .policy = load_relaxed(&keeping->config->maxmemory_policy)};
    int rc = 0;
    if (clock_monotonic_ns(db_clock(db)) >= load_relaxed(&keeping->evicting_until_ns))
        store_relaxed(&keeping->evicting_bytes, 0);
    for (unsigned n = 0; n < keys_max && excess(keeping, db) > 0; n++) {
        rc = redis__housekeeping_once(worker, key_evict, &evicting);
        if (rc == ERROR_BUSY)
            continue;
        if (rc || !evicting.bytes)
            break;
        if (load_relaxed(&keeping->evicting_bytes) == 0)
            store_relaxed(&keeping->evicting_until_ns,
                          clock_monotonic_ns(db_clock(db)) + EVICTING_NS);
        atomic_fetch_add_explicit(&keeping->evicting_bytes, evicting.bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&keeping->evicted_keys, 1, memory_order_relaxed);
    }
    txn_collect(db_worker_txn(worker), COLLECT_ROWS);
    return rc == ERROR_BUSY ? 0 : rc;
}
