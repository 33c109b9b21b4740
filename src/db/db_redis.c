/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The heads of Redis's data, and the order in which their rows expire.
 *
 * That order is a secondary index like any other (invariant 14), only that its key is not made of a
 * tuple's fields but of what the row's value says: eight bytes of time and the row's key. It is in no
 * log; after a start it is filled from the rows. So who looks for what has expired reads a range and
 * not the database, and rows that never expire cost nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"
#include "db/db_private.h"

enum { TIME_BYTES = 8 };

struct head *db_redis_head(struct db *db, unsigned database)
{
    return &db->redis[database].store->head;
}

struct head *db_redis_elements(struct db *db)
{
    return &db->redis[DB_REDIS_ELEMENTS].store->head;
}

struct txn_index *db_redis_expiries(struct db *db, unsigned database)
{
    return &db->redis[database].expiries;
}

uint64_t db_redis_expiry(const struct version *version)
{
    const char *at = version->bytes;
    uint64_t expire_ms = 0;
    if ((version_flags(version) & VERSION_TOMBSTONE) || version->size < 2 ||
        ((unsigned char)*at & 0xf0) != 0x90)
        return 0;
    uint32_t count = mp_decode_array(&at);
    if (count < 2 || count > 4)
        return 0;
    mp_next(&at);
    if (at >= version->bytes + version->size || mp_typeof(*at) != MP_UINT ||
        !mp_read_uint(&at, &expire_ms))
        return 0;
    return expire_ms;
}

/* Writes the key of the row's entry to `out`, which has room for it; its size. */
static size_t entry_key(unsigned char *out, uint64_t expire_ms, const struct row *row)
{
    for (unsigned n = 0; n < TIME_BYTES; n++)
        out[n] = (unsigned char)(expire_ms >> (56 - 8 * n));
    memcpy(out + TIME_BYTES, row->key, row->key_size);
    return TIME_BYTES + row->key_size;
}

static int matches(const struct txn_index *index, const struct entry *entry,
                   const struct version *version)
{
    (void)index;
    uint64_t expire_ms = 0;
    for (unsigned n = 0; n < TIME_BYTES; n++)
        expire_ms = expire_ms << 8 | entry->key[n];
    return db_redis_expiry(version) == expire_ms;
}

static struct redis_store *store_of(const struct head *head)
{
    const struct store *store = head->arg;
    return &store->db->redis[head->id == SPACE_ID_REDIS ? 0 : head->id - SPACE_ID_REDIS_1 + 1];
}

static void version_dropped(struct head *head, struct txn_worker *worker, struct row *row,
                            const struct version *dropped)
{
    uint64_t expire_ms = db_redis_expiry(dropped);
    if (expire_ms == 0)
        return;
    struct redis_store *store = store_of(head);
    unsigned char small[256];
    unsigned char *key =
        row->key_size + TIME_BYTES <= sizeof small ? small : malloc(row->key_size + TIME_BYTES);
    if (key == NULL)
        return; /* the entry stays until its time, and then leads to a row that it does not match */
    txn_entry_sweep(worker, &store->expiries, key, entry_key(key, expire_ms, row), row);
    if (key != small)
        free(key);
}

uint64_t db_redis_due_ms(const struct db *db)
{
    return load_relaxed(&db->redis_due_ms);
}

uint64_t db_redis_due_take(struct db *db)
{
    return atomic_exchange(&db->redis_due_ms, UINT64_MAX);
}

void db_redis_due_lower(struct db *db, uint64_t ms)
{
    uint64_t due_ms = load_relaxed(&db->redis_due_ms);
    while (ms < due_ms && !atomic_compare_exchange_weak(&db->redis_due_ms, &due_ms, ms))
        ;
}

int db_redis_expiry_add(struct txn *txn, struct db *db, unsigned database, struct row *row,
                        uint64_t expire_ms)
{
    unsigned char *key = arena_alloc(txn_arena(txn), row->key_size + TIME_BYTES);
    if (key == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    size_t size = entry_key(key, expire_ms, row);
    db_redis_due_lower(db, expire_ms);
    return txn_entry_add(txn, &db->redis[database].expiries, key, size, TIME_BYTES, row);
}

int db__redis_stores_make(struct db *db)
{
    store_relaxed(&db->redis_due_ms, UINT64_MAX);
    for (unsigned n = 0; n <= DB_REDIS_ELEMENTS; n++) {
        struct redis_store *redis = &db->redis[n];
        uint32_t id = n == DB_REDIS_ELEMENTS ? SPACE_ID_REDIS_ELEMENT : space_id_redis(n);
        redis->store = db__store_find(db, id, 0);
        int rc = tree_new(&db->boot, &redis->store->trees[1]);
        if (rc != 0)
            return diag_set(rc, "no memory for space %u", id);
        redis->expiries = (struct txn_index){
            .tree = redis->store->trees[1], .head = &redis->store->head, .matches = matches};
        redis->store->head.version_dropped = version_dropped;
    }
    return 0;
}

static int entry_insert(struct db *db, struct redis_store *redis, struct row *row,
                        uint64_t expire_ms)
{
    size_t size = TIME_BYTES + row->key_size;
    struct entry *entry = heap_alloc(db->boot.heap, item_alloc_size((uint32_t)size));
    if (entry == NULL)
        return diag_set(ERROR_MEMORY, "no memory for an index entry");
    atomic_init(&entry->row, row);
    atomic_init(&entry->state, TIME_BYTES);
    entry->key_size = (uint32_t)entry_key(entry->key, expire_ms, row);
    struct item *present;
    int rc =
        tree_insert(redis->expiries.tree, &db->boot, (struct item *)entry, NULL, NULL, &present);
    if (rc != 0)
        heap_free(db->boot.heap, entry, item_alloc_size((uint32_t)size));
    return rc == 0 ? 0 : diag_set(rc, "no memory for the order of expiries");
}

static int fill(struct db *db, struct redis_store *redis)
{
    struct tree_cursor cursor;
    struct item *item;
    int rc = 0;
    epoch_enter(db->boot.epoch);
    tree_cursor_create(&cursor, redis->store->head.tree, NULL, 0, true, false);
    while (rc == 0 && (item = tree_cursor_next(&cursor, &rc)) != NULL) {
        struct row *row = (struct row *)item;
        const struct version *version = load_acquire(&row->newest);
        for (; rc == 0 && version != NULL; version = load_acquire(&version->older)) {
            uint64_t expire_ms = db_redis_expiry(version);
            if (expire_ms != 0)
                rc = entry_insert(db, redis, row, expire_ms);
            if (expire_ms != 0)
                db_redis_due_lower(db, expire_ms);
        }
    }
    epoch_leave(db->boot.epoch);
    return rc;
}

int db__redis_expiries_fill(struct db *db)
{
    int rc = 0;
    for (unsigned n = 0; rc == 0 && n <= DB_REDIS_ELEMENTS; n++)
        rc = fill(db, &db->redis[n]);
    return rc;
}
