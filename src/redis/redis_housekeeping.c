/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Expired keys and fields, and discarded collections.
 *
 * Keys expire in the order of time that db_redis.c keeps, so a run reads those that are due and
 * nothing else. They are found in one read-only transaction and deleted in others, each tagged and
 * looked at again first: a key that got another expiry meanwhile stays.
 *
 * The elements of a discarded collection are deleted from the front, so many in a transaction, and the
 * row that names it last: a crash in between loses nothing but the work.
 */
#include "redis/redis_housekeeping.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "codec/key.h"
#include "db/catalog.h"
#include "redis/redis_fields.h"
#include "redis/redis_spread.h"
#include "redis/redis_zset_rank.h"
#include "txn/lock.h"

enum {
    SLICE_NS = 1000 * 1000,
    REST_FACTOR = 3,             /* so much longer than it ran it rests */
    LOOK_NS = 100 * 1000 * 1000, /* how often discarded collections are looked for */
    KEYS_A_TIME = 64,
    ELEMENTS_A_TIME = 256
};

void redis_housekeeping_create(struct redis_housekeeping *keeping,
                               const struct redis_config *config,
                               const struct redis_interest *interest)
{
    memset(keeping, 0, sizeof *keeping);
    keeping->config = config;
    keeping->interest = interest;
}

/* One run. */
struct run {
    struct redis_housekeeping *keeping;
    struct db_worker *worker;
    struct clock *clock;
    uint64_t now_ms, until_ns;
};

static bool time_is_up(const struct run *run)
{
    return clock_monotonic_ns(run->clock) >= run->until_ns;
}

static struct redis_call call_of(const struct run *run, unsigned database)
{
    return (struct redis_call){.worker = run->worker,
                               .now_ms = run->now_ms,
                               .config = run->keeping->config,
                               .database = database,
                               .interest = run->keeping->interest,
                               .no_touch = true};
}

/* ------------------------------------------------------------------------------------ expired keys */

/* Keys that are due, copied: the transaction that found them has ended when they are deleted. Of the
 * elements, the keys of their rows. */
struct due_keys {
    struct arena arena;
    struct redis_slice names[KEYS_A_TIME];
    unsigned count;
};

static int due_add(struct due_keys *due, unsigned database, const struct row *row)
{
    char *name = arena_alloc(&due->arena, row->key_size + 1);
    if (!name)
        return ERROR_MEMORY;
    int64_t size = row->key_size;
    if (database == DB_REDIS_ELEMENTS)
        memcpy(name, row->key, row->key_size);
    else
        size = key_decode_string(row->key, row->key + row->key_size, name);
    if (size >= 0)
        due->names[due->count++] = (struct redis_slice){name, (size_t)size};
    return 0;
}

void redis_due_place_keep(struct redis_due_place *place, uint64_t expire_ms, const struct row *row)
{
    size_t size = row->key_size;
    if (size > sizeof place->key - sizeof expire_ms)
        size = sizeof place->key - sizeof expire_ms;
    for (unsigned n = 0; n < sizeof expire_ms; n++)
        place->key[n] = (unsigned char)(expire_ms >> (56 - 8 * n));
    memcpy(place->key + sizeof expire_ms, row->key, size);
    place->size = (uint32_t)(sizeof expire_ms + size);
}

/*
 * Finds the first keys of a database that are due, from `place` on, which is then where to go on;
 * *next_ms is when the first one is that is not due. Entries of what was deleted stay for a while, so a
 * look from the beginning passes over all of them: there is one only when the places are done with, for
 * what was in somebody's way or came too late.
 */
static int due_find(const struct run *run, unsigned database, struct redis_due_place *place,
                    struct due_keys *due, uint64_t *next_ms)
{
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    struct txn *txn;
    int rc = txn_begin(db_worker_txn(run->worker), &options, &txn);
    if (rc)
        return rc;
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    bool all = place->size == 0, more = false;
    txn_cursor_open(&cursor, txn, db_redis_expiries(db_worker_db(run->worker), database),
                    &(struct txn_range){.lower = all ? NULL : place->key,
                                        .lower_size = place->size,
                                        .lower_inclusive = true});
    *next_ms = UINT64_MAX;
    while (!rc && !more && !(rc = txn_cursor_next(&cursor, &row, &version))) {
        uint64_t expire_ms = db_redis_expiry(version);
        more = expire_ms <= run->now_ms && due->count == KEYS_A_TIME;
        if (more || expire_ms > run->now_ms)
            *next_ms = expire_ms;
        if (more)
            redis_due_place_keep(place, expire_ms, row);
        if (expire_ms > run->now_ms)
            break;
        if (!more)
            rc = due_add(due, database, row);
    }
    if (!more)
        place->size = 0;
    if (!more && !all)
        *next_ms = run->now_ms;
    txn_rollback(txn);
    return rc == ERROR_END ? 0 : rc;
}

int redis__housekeeping_once(struct db_worker *db_worker, int (*fn)(struct txn *txn, void *arg),
                             void *arg)
{
    struct txn_worker *worker = db_worker_txn(db_worker);
    struct txn *txn;
    int rc = txn_begin(worker, &(struct txn_options){.level = TXN_READ_COMMITTED}, &txn);
    if (rc)
        return rc;
    txn_spare(txn, true);
    rc = fn(txn, arg);
    if (rc)
        txn_rollback(txn);
    else
        rc = txn_commit(txn);
    if (rc == ERROR_WAIT) {
        struct lock_owner *owner = txn_owner_detach(worker);
        if (owner)
            lock_owner_delete(owner);
    }
    return rc == ERROR_WAIT || rc == ERROR_CONFLICT || rc == ERROR_DEADLOCK ? ERROR_BUSY : rc;
}

struct expiring {
    const struct run *run;
    const struct redis_slice *name;
    unsigned database;
    uint64_t late_ms; /* out */
    bool deleted;     /* out: it had expired indeed */
};

/* Reads the key as if nothing ever expired, and deletes it when its time has come. */
static int key_expire(struct txn *txn, void *arg)
{
    struct expiring *expiring = arg;
    const struct run *run = expiring->run;
    struct redis_call call = call_of(run, expiring->database);
    struct redis_key key;
    struct redis_value value;
    call.txn = txn;
    call.now_ms = 0;
    int rc = redis_open_for_update(&call, expiring->name, REDIS_TYPE_NONE, &key, &value);
    if (rc || value.type == REDIS_TYPE_NONE || !value.expire_ms || value.expire_ms > run->now_ms)
        return rc;
    rc = redis_value_delete(&call, &key, &value);
    if (!rc)
        rc = redis_changed(&call, expiring->name, REDIS_TYPE_NONE, REDIS_NOTIFY_EXPIRED, "expired");
    expiring->late_ms = run->now_ms - value.expire_ms;
    expiring->deleted = true;
    return rc;
}

/* The name is the key of a row among the elements, a field of a hash. */
static int field_expire(struct txn *txn, void *arg)
{
    struct expiring *expiring = arg;
    struct redis_call call = call_of(expiring->run, 0);
    call.txn = txn;
    return redis_fields_expire(&call, expiring->name->data, expiring->name->size,
                               &expiring->deleted);
}

static int keys_expire(const struct run *run, unsigned database, const struct due_keys *due)
{
    struct redis_housekeeping *keeping = run->keeping;
    bool fields = database == DB_REDIS_ELEMENTS;
    for (unsigned n = 0; n < due->count; n++) {
        struct expiring expiring = {run, &due->names[n], database, 0, false};
        int rc =
            redis__housekeeping_once(run->worker, fields ? field_expire : key_expire, &expiring);
        if (rc == ERROR_BUSY)
            db_redis_due_lower(db_worker_db(run->worker), run->now_ms);
        else if (rc)
            return rc;
        else if (expiring.deleted && fields) {
            atomic_fetch_add_explicit(&keeping->expired_fields, 1, memory_order_relaxed);
        } else if (expiring.deleted) {
            atomic_fetch_add_explicit(&keeping->expired_keys, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&keeping->expired_late_ms, expiring.late_ms,
                                      memory_order_relaxed);
        }
    }
    return 0;
}

/* Of one database. *next_ms as due_find's: not in the future when the time was up before all was
 * done. */
static int database_expire(const struct run *run, unsigned database, uint64_t *next_ms)
{
    struct due_keys due;
    int rc = 0;
    arena_create(&due.arena, 65536);
    do {
        due.count = 0;
        arena_reset(&due.arena);
        rc = due_find(run, database, &run->keeping->places[database], &due, next_ms);
        if (!rc)
            rc = keys_expire(run, database, &due);
    } while (!rc && *next_ms <= run->now_ms && !time_is_up(run));
    arena_destroy(&due.arena);
    return rc;
}

static int expire(const struct run *run)
{
    struct db *db = db_worker_db(run->worker);
    if (!load_relaxed(&run->keeping->config->active_expire) || db_redis_due_ms(db) > run->now_ms)
        return 0;
    db_redis_due_take(db);
    int rc = 0;
    for (unsigned n = 0; n <= DB_REDIS_ELEMENTS; n++) {
        uint64_t next_ms = UINT64_MAX;
        if (tree_count(db_redis_expiries(db, n)->tree) == 0)
            continue;
        if (!rc)
            rc = database_expire(run, n, &next_ms);
        db_redis_due_lower(db, rc ? run->now_ms : next_ms);
    }
    return rc;
}

/* -------------------------------------------------------------------------- discarded collections */

struct clearing {
    const struct run *run;
    unsigned deleted; /* out */
    bool found;       /* out: there was a discarded collection */
};

static int elements_delete(struct redis_call *call, uint64_t id, unsigned *deleted)
{
    struct head *head = db_redis_elements(db_worker_db(call->worker));
    struct txn_index index = {.tree = head->tree, .head = head};
    unsigned char *low = arena_alloc(txn_arena(call->txn), sizeof id);
    unsigned char *high = arena_alloc(txn_arena(call->txn), sizeof id);
    if (!low || !high)
        return diag_set(ERROR_MEMORY, "out of memory");
    for (unsigned n = 0; n < sizeof id; n++)
        low[n] = high[n] = (unsigned char)(id >> (56 - 8 * n));
    struct txn_range range = {.lower = low, .lower_size = sizeof id, .lower_inclusive = true};
    range.upper_size = key_successor(high, sizeof id);
    range.upper = range.upper_size ? high : NULL;
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc = 0;
    txn_cursor_open(&cursor, call->txn, &index, &range);
    while (!rc && *deleted < ELEMENTS_A_TIME && !(rc = txn_cursor_next(&cursor, &row, &version))) {
        rc = txn_delete(call->txn, head, row->key, row->key_size);
        ++*deleted;
    }
    return rc == ERROR_END ? 0 : rc;
}

/* Nobody reads these rows any more but snapshots, and nobody writes them: no conflicts. */
static int collection_clear(struct txn *txn, void *arg)
{
    struct clearing *clearing = arg;
    struct redis_call call = call_of(clearing->run, 0);
    struct redis_elements garbage;
    struct redis_element element;
    call.txn = txn;
    clearing->deleted = 0;
    int rc = redis_elements_open(&garbage, &call, 0, REDIS_GARBAGE, NULL);
    if (!rc)
        rc = redis_elements_next(&garbage, &element);
    clearing->found = !rc;
    if (rc)
        return rc == ERROR_END ? 0 : rc;
    uint64_t id = 0;
    for (unsigned n = 0; n < sizeof id && n < element.key_size; n++)
        id = id << 8 | (unsigned char)element.key[n];
    rc = elements_delete(&call, id, &clearing->deleted);
    if (!rc && clearing->deleted < ELEMENTS_A_TIME)
        rc = redis_element_delete(&call, 0, REDIS_GARBAGE, element.key, element.key_size);
    return rc;
}

/* *more: there is another one, or more of this one. */
static int collections_clear(const struct run *run, bool *more)
{
    struct redis_housekeeping *keeping = run->keeping;
    struct clearing clearing = {run, 0, true};
    int rc = 0;
    *more = false;
    if (tree_count(db_redis_elements(db_worker_db(run->worker))->tree) == 0)
        return 0;
    while (!rc && clearing.found && !time_is_up(run)) {
        rc = redis__housekeeping_once(run->worker, collection_clear, &clearing);
        if (!rc)
            atomic_fetch_add_explicit(&keeping->elements_freed, clearing.deleted,
                                      memory_order_relaxed);
    }
    *more = clearing.found;
    return rc == ERROR_BUSY ? 0 : rc;
}

/* ------------------------------------------------------------------------- ranks of sorted sets */

struct counting {
    const struct run *run;
    uint64_t id;
    size_t most;
    uint64_t count; /* out */
    bool all;       /* out */
};

static int members_count(struct txn *txn, void *arg)
{
    struct counting *counting = arg;
    struct redis_call call = call_of(counting->run, 0);
    call.txn = txn;
    txn_strengthen(txn);
    return redis_zset_rank_count(&call, counting->id, counting->most, &counting->count,
                                 &counting->all);
}

/* Of those that are asked for, one after the other: fewer members at a time while others add to them. One that somebody
 * is in the way of, maybe for long, is done with until the next rank of it is asked for. */
static int sets_count(const struct run *run)
{
    enum { LEAST = 128, MOST = 4096 };
    struct db *db = db_worker_db(run->worker);
    struct redis_housekeeping *keeping = run->keeping;
    uint64_t id;
    int rc = 0;
    while (!rc && (id = db_redis_ranks_asked(db)) != 0 && !time_is_up(run)) {
        struct counting counting = {run, id, keeping->count_most, 0, false};
        if (counting.most < LEAST)
            counting.most = LEAST;
        rc = redis__housekeeping_once(run->worker, members_count, &counting);
        keeping->count_most = rc ? counting.most / 2 : 2 * counting.most;
        if (keeping->count_most > MOST)
            keeping->count_most = MOST;
        if (!rc)
            atomic_fetch_add_explicit(&keeping->ranks_counted, counting.count,
                                      memory_order_relaxed);
        if (rc || counting.all)
            db_redis_ranks_done(db, id);
        if (rc == ERROR_BUSY)
            rc = 0;
    }
    return rc;
}

/* --------------------------------------------------------------------------------------------- runs */

/* When none could go it is not tried again at once. */
static int evict(const struct run *run, uint64_t now_ns)
{
    struct redis_housekeeping *keeping = run->keeping;
    if (now_ns < load_relaxed(&keeping->evict_at_ns) ||
        !redis_housekeeping_must_evict(keeping, db_worker_db(run->worker)))
        return 0;
    uint64_t before = load_relaxed(&keeping->evicted_keys);
    int rc = redis_housekeeping_evict(keeping, run->worker, KEYS_A_TIME);
    bool some = load_relaxed(&keeping->evicted_keys) != before;
    store_relaxed(&keeping->evict_at_ns, now_ns + (some ? SLICE_NS : LOOK_NS));
    return rc;
}

static void work(struct redis_housekeeping *keeping, struct db_worker *worker, uint64_t now_ns)
{
    struct run run = {.keeping = keeping, .worker = worker};
    bool more = load_relaxed(&keeping->more);
    run.clock = db_clock(db_worker_db(worker));
    run.now_ms = clock_realtime_ms(run.clock);
    run.until_ns = now_ns + SLICE_NS;
    int rc = expire(&run);
    if (!rc && (more || now_ns >= load_relaxed(&keeping->look_at_ns))) {
        rc = collections_clear(&run, &more);
        store_relaxed(&keeping->look_at_ns, now_ns + LOOK_NS);
    }
    if (!rc)
        rc = evict(&run, now_ns);
    if (!rc)
        rc = sets_count(&run);
    store_relaxed(&keeping->more, more);
    uint64_t ended_ns = clock_monotonic_ns(run.clock), rest_ns = REST_FACTOR * (ended_ns - now_ns);
    if (rc) {
        rest_ns = 10 * (uint64_t)LOOK_NS; /* not a message a millisecond */
        log_error("deleting what has expired or has no room, or counting for ranks: %s",
                  diag_message_for(rc));
    }
    store_relaxed(&keeping->not_before_ns, ended_ns + rest_ns);
}

uint64_t redis_housekeeping_due_ns(const struct redis_housekeeping *keeping, struct db *db)
{
    struct clock *clock = db_clock(db);
    uint64_t due_ms = db_redis_due_ms(db), due_ns = UINT64_MAX;
    uint64_t not_before_ns = load_relaxed(&keeping->not_before_ns);
    if (load_relaxed(&keeping->more) || db_redis_ranks_asked(db) != 0)
        return not_before_ns;
    if (due_ms != UINT64_MAX && load_relaxed(&keeping->config->active_expire)) {
        uint64_t now_ms = clock_realtime_ms(clock);
        due_ns = clock_monotonic_ns(clock) +
                 (due_ms > now_ms ? (due_ms - now_ms) * UINT64_C(1000000) : 0);
    }
    if (tree_count(db_redis_elements(db)->tree) > 0 && load_relaxed(&keeping->look_at_ns) < due_ns)
        due_ns = load_relaxed(&keeping->look_at_ns);
    if (load_relaxed(&keeping->evict_at_ns) < due_ns && redis_housekeeping_must_evict(keeping, db))
        due_ns = load_relaxed(&keeping->evict_at_ns);
    return due_ns > not_before_ns ? due_ns : not_before_ns;
}

void redis_housekeeping_run(struct redis_housekeeping *keeping, struct db_worker *worker)
{
    /* What is due now is due at the time of that look. */
    uint64_t due_ns = redis_housekeeping_due_ns(keeping, db_worker_db(worker));
    uint64_t now_ns = clock_monotonic_ns(db_clock(db_worker_db(worker)));
    if (now_ns < load_relaxed(&keeping->not_before_ns) || now_ns < due_ns)
        return;
    /* The one who takes it sees what the last one has written, and gives it on. */
    if (atomic_exchange_explicit(&keeping->taken, true, memory_order_acquire))
        return;
    if (txn_gate_is_closed(
            db_txn_system(db_worker_db(worker)))) /* or the thread waited for its owner */
        store_relaxed(&keeping->not_before_ns, now_ns + SLICE_NS);
    else
        work(keeping, worker, now_ns);
    atomic_store_explicit(&keeping->taken, false, memory_order_release);
}
