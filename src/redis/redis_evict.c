/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What maxmemory-policy does: keys are deleted when memory is short.
 *
 * It begins at fifteen sixteenths of maxmemory, since what was deleted is in use for some time yet; at
 * seven eighths for a second after somebody had to wait for memory nevertheless: in a flood of writes more
 * is on its way out when a checkpoint ends. So that this delay does not cost more keys than it must, it
 * counts as free at once:
 *   evicting  values: until the log has what was deleted, and nobody reads it any more. How long that
 *             takes is not known; EVICTING_NS after the first of them it is no longer counted with, but for
 *             as long as a checkpoint runs, whose snapshot sees them. The
 *             log is asked for a flush when they are a sixty-fourth of maxmemory, or somebody waits;
 *   buried    rows and tombstones of what is in a run: those stay until a checkpoint has them (invariants
 *             19 and 33). When they are
 *             a thirty-second of maxmemory, or somebody waits for memory and they are most of what is on its
 *             way, a checkpoint is asked for;
 *   burying   those that the checkpoint that runs has, and when it has ended they are among what is `evicting`.
 * While a checkpoint of much runs, all of it stays. So they are made in time to be short when the limit is reached,
 * and writers are slowed a little that they stay so (db/throttle.h).
 * Whoever wants memory when all of maxmemory is in use waits as long as some of it is on its way
 * out, or some garbage is left to be collected.
 *
 * Which key. For volatile-ttl the one that expires first, of a database picked at random. What has gone
 * stays in the order of time for a while, and a look from the beginning passes over all of it: looks go
 * on where the last one has found a key, and for one from the beginning, which finds what has come in
 * front of it, there is a ninth of the time. At random, a row picked among all, or among those that expire, until one is there. For lru and lfu, as in
 * Redis: maxmemory-samples keys are looked at, the best sixteen of those seen so far are kept, and the
 * best of these goes, if it has not been used since it was looked at. What costs is the memory that a
 * look waits for, so a leaf of the tree that has been come to gives a few, as Redis takes a few from
 * neighbouring buckets; far apart in it, since keys next to each other are often used together.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/catalog.h"
#include "db/checkpoint.h"
#include "mem/heap.h"
#include "redis/redis_access.h"
#include "redis/redis_housekeeping.h"
#include "redis/redis_spread.h"
#include "wal/wal.h"

enum {
    EVICTING_NS = 100 * 1000 * 1000,
    PRESSED_NS = 1000 * 1000 * 1000,
    COLLECT_ROWS = 256,
    TRIES = 16,
    SAMPLES_MAX = 64,
    SAMPLES_A_LEAF = 3,
    RESERVE_FRACTION = 16,
    BURIED_FRACTION = 32,
    UNLOGGED_FRACTION = 64,
    KEYS_A_COMMAND = 8,
    KEYS_A_LOOK = 64,            /* of one that waits: some tenths of a millisecond */
    ROW_BYTES = 88,              /* what a row takes beside its bytes */
    ELEMENT_BYTES = 128,         /* about what an element of a spread collection takes */
    FRONT_NS = 10 * 1000 * 1000, /* between two looks from the beginning, and */
    FRONT_FACTOR = 8,            /* so many times as long as the last one took */
    BURIED_BYTES = 64            /* what is left of a row, or of an element, until a checkpoint */
};

struct evicting {
    struct redis_call call; /* to which nothing has expired */
    uint64_t now_ms;
    unsigned policy;
    struct redis_candidates *candidates; /* NULL: the policy has none */
    struct redis_ttl_places *places;
    uint64_t counts[REDIS_DATABASES], count; /* of rows of which one may go, and all of them */
    uint64_t bytes, buried;                  /* out: about how much was deleted; 0: nothing */
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
    unsigned part = load_relaxed(&keeping->pressed) ? RESERVE_FRACTION / 2 : RESERVE_FRACTION;
    uint64_t used = heap_used_bytes(db_heap(db)), start = limit - limit / part;
    return used > start ? used - start : 0;
}

static uint64_t on_its_way(const struct redis_housekeeping *keeping)
{
    return load_relaxed(&keeping->evicting_bytes) + load_relaxed(&keeping->buried_bytes) +
           load_relaxed(&keeping->burying_bytes);
}

/* How many of them are not on their way out. */
static uint64_t excess(const struct redis_housekeeping *keeping, struct db *db)
{
    uint64_t bytes = short_by(keeping, db), leaving = on_its_way(keeping);
    return bytes > leaving ? bytes - leaving : 0;
}

/* ------------------------------------------------------------------------------- what is on its way */

static void evicting_add(struct redis_housekeeping *keeping, struct db *db, uint64_t bytes)
{
    if (load_relaxed(&keeping->evicting_bytes) == 0)
        store_relaxed(&keeping->evicting_until_ns, clock_monotonic_ns(db_clock(db)) + EVICTING_NS);
    atomic_fetch_add_explicit(&keeping->evicting_bytes, bytes, memory_order_relaxed);
}

/* What has become of what is buried, by the checkpoints that were made for whatever reason. */
static void burials_look(struct redis_housekeeping *keeping, struct db *db)
{
    uint64_t ended = db_checkpoint_ended(db), begun = db_checkpoint_begun(db);
    if (keeping->burying && ended >= keeping->burying) {
        evicting_add(keeping, db, atomic_exchange(&keeping->burying_bytes, 0));
        keeping->burying = 0;
    }
    if (begun == keeping->begun || keeping->burying)
        return;
    keeping->begun = begun;
    uint64_t bytes = atomic_exchange(&keeping->buried_bytes, 0);
    if (ended >= begun) { /* and has ended already */
        evicting_add(keeping, db, bytes);
        return;
    }
    atomic_store(&keeping->burying_bytes, bytes);
    keeping->burying = begun;
}

/* Asks for a checkpoint when there is enough for one to free, or what little there is is wanted; and
 * looks what others have done. */
static void bury(struct redis_housekeeping *keeping, struct db *db, bool wanted)
{
    int rc;
    if (atomic_exchange_explicit(&keeping->burial, true, memory_order_acquire))
        return; /* somebody is at it */
    burials_look(keeping, db);
    if (keeping->ticket && db_checkpoint_done(db, keeping->ticket, &rc))
        keeping->ticket = 0;
    uint64_t buried = load_relaxed(&keeping->buried_bytes);
    wanted = wanted || buried > heap_limit_bytes(db_heap(db)) / BURIED_FRACTION;
    if (buried && wanted && !keeping->ticket)
        keeping->ticket = db_checkpoint_request(db);
    atomic_store_explicit(&keeping->burial, false, memory_order_release);
}

/* A checkpoint that runs keeps what is evicted. */
static bool checkpoint_runs(struct db *db)
{
    return db_checkpoint_begun(db) != db_checkpoint_ended(db);
}

/* What should be free by now is not counted with any more. */
static void evicting_look(struct redis_housekeeping *keeping, struct db *db, uint64_t now_ns)
{
    if (checkpoint_runs(db))
        store_relaxed(&keeping->evicting_until_ns, now_ns + EVICTING_NS);
    else if (now_ns >= load_relaxed(&keeping->evicting_until_ns))
        store_relaxed(&keeping->evicting_bytes, 0);
}

/* Asks for a flush of the log, one after the other: when much was evicted since the last one, or what
 * little there is is wanted. */
static void flush(struct redis_housekeeping *keeping, struct db *db, bool wanted)
{
    struct wal *wal = db_wal(db);
    uint64_t bytes = load_relaxed(&keeping->unlogged_bytes);
    uint64_t much = heap_limit_bytes(db_heap(db)) / UNLOGGED_FRACTION;
    if (bytes == 0 || !(wanted || bytes > much) ||
        load_relaxed(&keeping->flush_ts) > wal_durable_ts(wal))
        return;
    uint64_t ts = wal_clock(wal);
    store_relaxed(&keeping->unlogged_bytes, 0);
    store_relaxed(&keeping->flush_ts, ts);
    wal_want_durable(wal, ts);
}

/* ------------------------------------------------------------------------------------------ picking */

static struct tree *tree_of(const struct evicting *evicting, unsigned database)
{
    struct db *db = db_worker_db(evicting->call.worker);
    return is_volatile(evicting->policy) ? db_redis_expiries(db, database)->tree
                                         : db_redis_head(db, database)->tree;
}

/* Counts what a run picks from: keys that come meanwhile can be of the next one. */
static void databases_count(struct evicting *evicting)
{
    evicting->count = 0;
    for (unsigned n = 0; n < REDIS_DATABASES; n++)
        evicting->count += evicting->counts[n] = tree_count(tree_of(evicting, n));
}

/* A database, each as likely as it has keys that may go; false when there are none. */
static bool database_pick(struct evicting *evicting)
{
    if (evicting->count == 0)
        return false;
    uint64_t at = redis_random(&evicting->call) % evicting->count;
    evicting->call.database = 0;
    while (at >= evicting->counts[evicting->call.database])
        at -= evicting->counts[evicting->call.database++];
    return true;
}

/* A row of the database, the first at or behind a key that may go: what was deleted stays in the tree
 * for a while, in long stretches at times. *row NULL: there is none. */
static int row_behind(struct evicting *evicting, struct txn_index *index, const void *key,
                      size_t key_size, struct row **row, const struct version **version)
{
    struct txn_range range = {
        .lower = key_size ? key : NULL, .lower_size = key_size, .lower_inclusive = true};
    struct txn_cursor cursor;
    txn_cursor_open_loose(&cursor, evicting->call.txn, index, &range);
    int rc = txn_cursor_next(&cursor, row, version);
    if (rc)
        *row = NULL;
    return rc == ERROR_END ? 0 : rc;
}

static void places_lock(struct redis_ttl_places *places)
{
    unsigned turn = 0;
    while (atomic_exchange_explicit(&places->busy, true, memory_order_acquire))
        spin_wait(&turn);
}

static void places_unlock(struct redis_ttl_places *places)
{
    atomic_store_explicit(&places->busy, false, memory_order_release);
}

/* Where to go on in the call's database; size 0: at the beginning, which is then this one's to look
 * from, and nobody else's until it has kept a place. The turn of the place. */
static uint64_t place_take(struct evicting *evicting, uint64_t now_ns,
                           struct redis_due_place *place)
{
    struct redis_ttl_place *kept = &evicting->places->items[evicting->call.database];
    places_lock(evicting->places);
    *place = kept->place;
    if (now_ns >= kept->front_ns) {
        place->size = 0;
        kept->front_ns = UINT64_MAX;
        kept->turn++;
    }
    uint64_t turn = kept->turn;
    places_unlock(evicting->places);
    return turn;
}

/* Others go on at the row, if there is one, unless somebody has begun anew meanwhile; front_ns 0: as
 * it is. */
static void place_keep(struct evicting *evicting, uint64_t turn, uint64_t front_ns,
                       const struct row *row, const struct version *version)
{
    struct redis_ttl_place *kept = &evicting->places->items[evicting->call.database];
    places_lock(evicting->places);
    if (front_ns)
        kept->front_ns = front_ns;
    if (row && turn == kept->turn)
        redis_due_place_keep(&kept->place, db_redis_expiry(version), row);
    places_unlock(evicting->places);
}

/* The row that expires first, about. *row NULL: there is none. */
static int first_pick(struct evicting *evicting, struct txn_index *index, struct row **row,
                      const struct version **version)
{
    struct clock *clock = db_clock(db_worker_db(evicting->call.worker));
    struct redis_due_place place;
    uint64_t began_ns = clock_monotonic_ns(clock), front_ns = 0;
    uint64_t turn = place_take(evicting, began_ns, &place);
    bool front = place.size == 0;
    *version = NULL;
    int rc = row_behind(evicting, index, place.key, place.size, row, version);
    if (!rc && !*row && !front)
        rc = row_behind(evicting, index, NULL, 0, row, version);
    if (front) {
        uint64_t ended_ns = clock_monotonic_ns(clock);
        front_ns = ended_ns + FRONT_NS + FRONT_FACTOR * (ended_ns - began_ns);
    }
    place_keep(evicting, turn, front_ns, rc ? NULL : *row, *version);
    return rc;
}

/* A row of the call's database, whichever is there. *row NULL: this time none. */
static int row_pick(struct evicting *evicting, struct row **row, const struct version **version)
{
    struct redis_call *call = &evicting->call;
    struct db *db = db_worker_db(call->worker);
    struct head *head = db_redis_head(db, call->database);
    struct txn_index keys = {.tree = head->tree, .head = head}, *index = &keys;
    const struct item *item = NULL;
    if (is_volatile(evicting->policy))
        index = db_redis_expiries(db, call->database);
    *row = NULL;
    if (evicting->policy == REDIS_POLICY_VOLATILE_TTL)
        return first_pick(evicting, index, row, version);
    for (unsigned n = 0; n < TRIES; n++) {
        item = tree_random(index->tree, redis_random(call));
        if (!item)
            return 0; /* a leaf from which all has gone */
        struct row *found =
            index == &keys ? (struct row *)item : load_acquire(&((struct entry *)item)->row);
        int rc = txn_peek(call->txn, head, found->key, found->key_size, version);
        if (!rc && *version)
            *row = found;
        if (rc || *version)
            return rc;
    }
    return row_behind(evicting, index, item ? item->key : NULL, item ? item->key_size : 0, row,
                      version);
}

/* Deletes the key of the row if it is there still and may go. */
static int row_evict(struct evicting *evicting, const struct row *row)
{
    struct redis_call *call = &evicting->call;
    struct redis_key key;
    struct redis_value value;
    int64_t elements = 0;
    struct redis_slice name;
    int rc = redis_row_name(call, row, &name);
    if (!rc)
        rc = redis_open_for_update(call, &name, REDIS_TYPE_NONE, &key, &value);
    if (rc || value.type == REDIS_TYPE_NONE || (is_volatile(evicting->policy) && !value.expire_ms))
        return rc;
    if (value.spread)
        rc = redis_count_peek(call, value.id, 0, &elements);
    uint64_t bytes = ROW_BYTES + key.size + value.size + (uint64_t)elements * ELEMENT_BYTES;
    if (!rc)
        rc = redis_value_delete(call, &key, &value);
    if (!rc)
        rc = redis_changed(call, &name, REDIS_TYPE_NONE, REDIS_NOTIFY_EVICTED, "evicted");
    bool stays = value.spread || txn_row_in_run(row) ||
                 checkpoint_runs(db_worker_db(call->worker)); /* which may have it */
    if (!rc) {
        evicting->bytes = bytes;
        evicting->buried = stays ? key.size + BURIED_BYTES * (uint64_t)(elements + 1) : 0;
    }
    return rc;
}

/* --------------------------------------------------------------------------------------- candidates */

/* The more, the sooner it goes. */
static uint64_t score_of(const struct evicting *evicting, const struct version *version)
{
    const struct redis_config *config = evicting->call.config;
    uint32_t note = version_note(version);
    return redis_policy_is_lfu(evicting->policy)
               ? REDIS_ACCESS_COUNT_MAX - redis_access_count(config, note, evicting->now_ms)
               : redis_access_idle_s(config, note, evicting->now_ms);
}

/* Puts a row in its place, if it is among the best. */
static void candidate_add(struct redis_candidates *candidates, unsigned database,
                          const struct row *row, uint64_t score)
{
    struct redis_candidate *items = candidates->items;
    unsigned place = candidates->count;
    while (place > 0 && items[place - 1].score > score)
        place--;
    if (candidates->count == REDIS_CANDIDATES_MAX) {
        if (place == 0)
            return;
        memmove(items, items + 1, --place * sizeof *items); /* the worst one gives way */
    } else {
        memmove(items + place + 1, items + place, (candidates->count++ - place) * sizeof *items);
    }
    items[place].score = score;
    items[place].database = database;
    items[place].key_size =
        row->key_size < sizeof items->key ? row->key_size : (uint32_t)sizeof items->key;
    memcpy(items[place].key, row->key, items[place].key_size);
}

/* Rows of a leaf of the call's database, far apart in it, so many at most; how many. They are asked for
 * before the first is looked at. */
static unsigned rows_pick(struct evicting *evicting, struct row *rows[SAMPLES_A_LEAF], unsigned max)
{
    struct item *items[TREE_LEAF_CAPACITY_MAX];
    struct redis_call *call = &evicting->call;
    unsigned count = tree_random_leaf(tree_of(evicting, call->database), NULL, 0, NULL, 0,
                                      redis_random(call), items);
    unsigned picked = count < max ? count : max;
    unsigned place = count > 0 ? (unsigned)(redis_random(call) % count) : 0;
    for (unsigned n = 0; n < picked; n++) {
        struct item *item = items[(place + n * count / picked) % count];
        rows[n] = is_volatile(evicting->policy) ? load_acquire(&((struct entry *)item)->row)
                                                : (struct row *)item;
        __builtin_prefetch(rows[n]);
    }
    return picked;
}

/* Looks at rows of the call's database, so many at most. *seen: how many, at least one. */
static int database_sample(struct evicting *evicting, unsigned max, unsigned *seen)
{
    struct redis_call *call = &evicting->call;
    const struct head *head = db_redis_head(db_worker_db(call->worker), call->database);
    const struct version *version;
    struct row *rows[SAMPLES_A_LEAF], *row;
    unsigned count = rows_pick(evicting, rows, max), present = 0;
    int rc = 0;
    for (unsigned n = 0; n < count; n++) {
        txn_peek_row(call->txn, head, rows[n], &version);
        present += version != NULL;
        if (version)
            candidate_add(evicting->candidates, call->database, rows[n],
                          score_of(evicting, version));
    }
    *seen = present > 0 ? present : 1;
    if (present == 0)
        rc = row_pick(evicting, &row, &version); /* nothing but what was deleted */
    if (!rc && present == 0 && row)
        candidate_add(evicting->candidates, call->database, row, score_of(evicting, version));
    return rc;
}

static int candidates_sample(struct evicting *evicting)
{
    unsigned samples = load_relaxed(&evicting->call.config->maxmemory_samples), seen;
    int rc = 0;
    if (samples > SAMPLES_MAX)
        samples = SAMPLES_MAX;
    for (unsigned left = samples; left > 0 && !rc && database_pick(evicting); left -= seen)
        rc = database_sample(evicting, left < SAMPLES_A_LEAF ? left : SAMPLES_A_LEAF, &seen);
    return rc;
}

/* Deletes the best one, or the key that is there instead and deserves it as much. */
static int candidate_evict(struct evicting *evicting)
{
    struct redis_candidates *candidates = evicting->candidates;
    if (candidates->count == 0)
        return 0;
    const struct redis_candidate *best = &candidates->items[--candidates->count];
    struct head *head = db_redis_head(db_worker_db(evicting->call.worker), best->database);
    struct txn_index index = {.tree = head->tree, .head = head};
    struct txn_cursor cursor;
    const struct version *version;
    struct row *row;
    evicting->call.database = best->database;
    txn_cursor_open_loose(&cursor, evicting->call.txn, &index,
                          &(struct txn_range){.lower = best->key,
                                              .lower_size = best->key_size,
                                              .lower_inclusive = true});
    int rc = txn_cursor_next(&cursor, &row, &version);
    if (rc)
        return rc == ERROR_END ? 0 : rc;
    return score_of(evicting, version) >= best->score ? row_evict(evicting, row) : 0;
}

static int key_evict(struct txn *txn, void *arg)
{
    struct evicting *evicting = arg;
    int rc = 0;
    evicting->call.txn = txn;
    evicting->bytes = 0;
    for (unsigned n = 0; n < TRIES && !rc && !evicting->bytes; n++) {
        const struct version *version;
        struct row *row;
        if (evicting->candidates) {
            rc = candidates_sample(evicting);
            if (!rc)
                rc = candidate_evict(evicting);
            continue;
        }
        if (!database_pick(evicting))
            break;
        rc = row_pick(evicting, &row, &version);
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

static int keys_evict(struct redis_housekeeping *keeping, struct evicting *evicting,
                      unsigned keys_max)
{
    struct db_worker *worker = evicting->call.worker;
    struct db *db = db_worker_db(worker);
    int rc = 0;
    for (unsigned n = 0; n < keys_max && excess(keeping, db) > 0; n++) {
        rc = redis__housekeeping_once(worker, key_evict, evicting);
        if (rc == ERROR_BUSY)
            continue;
        if (rc || !evicting->bytes)
            break;
        evicting_add(keeping, db, evicting->bytes - evicting->buried);
        atomic_fetch_add_explicit(&keeping->unlogged_bytes, evicting->bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&keeping->buried_bytes, evicting->buried, memory_order_relaxed);
        atomic_fetch_add_explicit(&keeping->evicted_keys, 1, memory_order_relaxed);
    }
    return rc == ERROR_BUSY ? 0 : rc;
}

/* With the candidates of earlier runs, unless somebody is at it. */
static int keys_evict_best(struct redis_housekeeping *keeping, struct evicting *evicting,
                           unsigned keys_max)
{
    struct redis_candidates own, *kept = &keeping->candidates;
    bool taken = atomic_exchange_explicit(&kept->taken, true, memory_order_acquire);
    evicting->candidates = taken ? &own : kept;
    own.policy = REDIS_POLICY_MAX;
    if (evicting->candidates->policy != evicting->policy)
        evicting->candidates->count = 0;
    evicting->candidates->policy = evicting->policy;
    int rc = keys_evict(keeping, evicting, keys_max);
    if (!taken)
        atomic_store_explicit(&kept->taken, false, memory_order_release);
    return rc;
}

int redis_housekeeping_evict(struct redis_housekeeping *keeping, struct db_worker *worker,
                             unsigned keys_max)
{
    struct db *db = db_worker_db(worker);
    struct evicting evicting = {.call = {.worker = worker,
                                         .config = keeping->config,
                                         .interest = keeping->interest,
                                         .no_touch = true},
                                .now_ms = clock_realtime_ms(db_clock(db)),
                                .policy = load_relaxed(&keeping->config->maxmemory_policy),
                                .places = &keeping->ttl_places};
    uint64_t now_ns = clock_monotonic_ns(db_clock(db));
    evicting_look(keeping, db, now_ns);
    if (now_ns >= load_relaxed(&keeping->pressed_until_ns))
        store_relaxed(&keeping->pressed, false);
    databases_count(&evicting);
    bury(keeping, db, false);
    txn_collect(db_worker_txn(worker), COLLECT_ROWS);
    bool noted = redis_policy_is_lfu(evicting.policy) || redis_policy_is_lru(evicting.policy);
    int rc = noted ? keys_evict_best(keeping, &evicting, keys_max)
                   : keys_evict(keeping, &evicting, keys_max);
    flush(keeping, db, false);
    return rc;
}

enum redis_room redis_housekeeping_room(struct redis_housekeeping *keeping,
                                        struct db_worker *worker)
{
    struct db *db = db_worker_db(worker);
    struct heap *heap = db_heap(db);
    if (heap_limit_bytes(heap) == 0 ||
        load_relaxed(&keeping->config->maxmemory_policy) == REDIS_POLICY_NOEVICTION)
        return REDIS_ROOM_LIMITED;
    if (!redis_housekeeping_must_evict(keeping, db))
        return REDIS_ROOM_GRANTED;
    int rc = redis_housekeeping_evict(keeping, worker,
                                      heap_over_limit(heap) ? KEYS_A_LOOK : KEYS_A_COMMAND);
    if (!heap_over_limit(heap))
        return REDIS_ROOM_GRANTED;
    store_relaxed(&keeping->pressed_until_ns, clock_monotonic_ns(db_clock(db)) + PRESSED_NS);
    store_relaxed(&keeping->pressed, true);
    flush(keeping, db, true);
    bury(keeping, db,
         load_relaxed(&keeping->buried_bytes) > load_relaxed(&keeping->evicting_bytes));
    struct txn_stats stats;
    txn_stats_get(db_txn_system(db), &stats);
    bool later = on_its_way(keeping) > 0 || stats.rows_queued > 0;
    return !rc && later ? REDIS_ROOM_LATER : REDIS_ROOM_LIMITED;
}
