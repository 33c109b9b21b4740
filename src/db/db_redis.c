/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The heads of Redis's data, the order in which their rows expire, and that of elements by a number.
 *
 * These orders are secondary indexes like any other (invariant 14), only that their keys are not made
 * of a tuple's fields but of what the row's value says:
 *
 *   expiries   8 bytes of time | the row's key
 *   numbers    the collection's number, which begins the row's key | 8 bytes in order of the value | the
 *              row's key behind the number and the kind
 *
 * They are in no log; after a start they are filled from the rows. So who looks for what has expired
 * reads a range and not the database, and rows that never expire cost nothing; and a member of a sorted
 * set is one row, one record in the log and one of a run, with an entry beside it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"
#include "db/db_private.h"

enum { TIME_BYTES = 8, ID_BYTES = 8, ORDER_BYTES = 8, NUMBERED_KEY_MIN = ID_BYTES + 1 };

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

uint64_t db_redis_expiry_of_entry(const struct item *entry)
{
    uint64_t expire_ms = 0;
    for (unsigned n = 0; n < TIME_BYTES; n++)
        expire_ms = expire_ms << 8 | entry->key[n];
    return expire_ms;
}

static void bytes_write(unsigned char out[8], uint64_t bits)
{
    const uint64_t bytes = __builtin_bswap64(bits);
    memcpy(out, &bytes, sizeof bytes);
}

/* Writes the key of the row's entry to `out`, which has room for it; its size. */
static size_t entry_key(unsigned char *out, uint64_t expire_ms, const struct row *row)
{
    bytes_write(out, expire_ms);
    memcpy(out + TIME_BYTES, row->key, row->key_size);
    return TIME_BYTES + row->key_size;
}

static int matches(const struct txn_index *index, const struct entry *entry,
                   const struct version *version)
{
    (void)index;
    return db_redis_expiry(version) == db_redis_expiry_of_entry((const struct item *)entry);
}

uint64_t db_redis_number_order(double number)
{
    uint64_t bits;
    if (number == 0)
        number = 0; /* no sign */
    memcpy(&bits, &number, sizeof bits);
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

struct txn_index *db_redis_numbers(struct db *db)
{
    return &db->redis[DB_REDIS_ELEMENTS].numbers;
}

static bool is_numbered(const struct redis_store *store, const struct row *row)
{
    return store->numbers.tree != NULL && row->key_size >= NUMBERED_KEY_MIN &&
           row->key[ID_BYTES] == DB_REDIS_NUMBERED;
}

/* False: it is none, and has no place in the order. */
static bool number_read(const char *value, double *out)
{
    int64_t integer;
    if (mp_typeof(*value) == MP_DOUBLE) {
        *out = mp_decode_double(&value);
        return true;
    }
    if ((mp_typeof(*value) != MP_UINT && mp_typeof(*value) != MP_INT) ||
        !mp_read_int(&value, &integer))
        return false;
    *out = (double)integer;
    return true;
}

static bool version_number(const struct version *version, double *out)
{
    return !(version_flags(version) & VERSION_TOMBSTONE) && version->size > 0 &&
           number_read(version->bytes, out);
}

static size_t number_key_size(const struct row *row)
{
    return row->key_size - 1 + ORDER_BYTES;
}

/* Writes the key of the row's entry to `out`, which has room for it. */
static void number_key(unsigned char *out, double number, const struct row *row)
{
    memcpy(out, row->key, ID_BYTES);
    bytes_write(out + ID_BYTES, db_redis_number_order(number));
    memcpy(out + ID_BYTES + ORDER_BYTES, row->key + NUMBERED_KEY_MIN,
           row->key_size - NUMBERED_KEY_MIN);
}

static int number_matches(const struct txn_index *index, const struct entry *entry,
                          const struct version *version)
{
    (void)index;
    unsigned char order[ORDER_BYTES];
    double number;
    if (!version_number(version, &number))
        return 0;
    bytes_write(order, db_redis_number_order(number));
    return memcmp(entry->key + ID_BYTES, order, sizeof order) == 0;
}

int db_redis_number_add(struct txn *txn, struct db *db, struct row *row, const char *value)
{
    double number;
    if (!number_read(value, &number))
        return 0;
    unsigned char *key = arena_alloc(txn_arena(txn), number_key_size(row));
    if (key == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    number_key(key, number, row);
    return txn_entry_add(txn, db_redis_numbers(db), key, number_key_size(row),
                         ID_BYTES + ORDER_BYTES, row);
}

static struct redis_store *store_of(const struct head *head)
{
    const struct store *store = head->arg;
    return &store->db->redis[head->id == SPACE_ID_REDIS ? 0 : head->id - SPACE_ID_REDIS_1 + 1];
}

/* Keys are made on the stack: an entry must not outlive its row for want of memory. */
static void expiry_dropped(struct redis_store *store, struct txn_worker *worker, struct row *row,
                           uint64_t expire_ms)
{
    unsigned char key[TREE_KEY_SIZE_MAX];
    if ((size_t)row->key_size + TIME_BYTES <= sizeof key) /* else it has none */
        txn_entry_sweep(worker, &store->expiries, key, entry_key(key, expire_ms, row), row);
}

static void number_dropped(struct redis_store *store, struct txn_worker *worker, struct row *row,
                           double number)
{
    unsigned char key[TREE_KEY_SIZE_MAX];
    if (number_key_size(row) > sizeof key)
        return;
    number_key(key, number, row);
    txn_entry_sweep(worker, &store->numbers, key, number_key_size(row), row);
}

static void version_dropped(struct head *head, struct txn_worker *worker, struct row *row,
                            const struct version *dropped)
{
    struct redis_store *store = store_of(head);
    uint64_t expire_ms = db_redis_expiry(dropped);
    double number;
    if (expire_ms != 0)
        expiry_dropped(store, worker, row, expire_ms);
    else if (is_numbered(store, row) && version_number(dropped, &number))
        number_dropped(store, worker, row, number);
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

void db_redis_ranks_ask(struct db *db, uint64_t id)
{
    unsigned unused = REDIS_RANKS_MAX;
    for (unsigned n = REDIS_RANKS_MAX; n-- > 0;) {
        uint64_t other = load_relaxed(&db->redis_ranks[n]);
        if (other == id)
            return;
        if (other == 0)
            unused = n;
    }
    uint64_t none = 0; /* who loses the place asks again with the next rank */
    if (unused < REDIS_RANKS_MAX)
        atomic_compare_exchange_strong_explicit(&db->redis_ranks[unused], &none, id,
                                                memory_order_relaxed, memory_order_relaxed);
}

uint64_t db_redis_ranks_asked(const struct db *db)
{
    for (unsigned n = 0; n < REDIS_RANKS_MAX; n++) {
        uint64_t id = load_relaxed(&db->redis_ranks[n]);
        if (id != 0)
            return id;
    }
    return 0;
}

void db_redis_ranks_done(struct db *db, uint64_t id)
{
    for (unsigned n = 0; n < REDIS_RANKS_MAX; n++) {
        uint64_t asked = id;
        atomic_compare_exchange_strong_explicit(&db->redis_ranks[n], &asked, 0,
                                                memory_order_relaxed, memory_order_relaxed);
    }
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
    struct redis_store *elements = &db->redis[DB_REDIS_ELEMENTS];
    int rc = tree_new(&db->boot, &elements->store->trees[2]);
    elements->numbers = (struct txn_index){.tree = elements->store->trees[2],
                                           .head = &elements->store->head,
                                           .matches = number_matches};
    return rc == 0 ? 0 : diag_set(rc, "no memory for the order of elements");
}

/* Its key is still to be written. Who wrote the row has added this entry as well, so its key is not too
 * large. */
static int entry_new(struct db *db, struct row *row, size_t size, uint32_t parts_size,
                     struct entry **out)
{
    if (size > TREE_KEY_SIZE_MAX)
        return diag_set(ERROR_CORRUPT, "a row of Redis's data has a key of %u bytes",
                        (unsigned)row->key_size);
    struct entry *entry = heap_alloc_as(db->boot.heap, item_alloc_size((uint32_t)size), HEAP_ENTRY);
    if (entry == NULL)
        return diag_set(ERROR_MEMORY, "no memory for an order of Redis's rows");
    atomic_init(&entry->row, row);
    atomic_init(&entry->state, parts_size);
    entry->key_size = (uint16_t)size;
    *out = entry;
    return 0;
}

/* Versions of one row may have the same key. */
static int entry_insert(struct db *db, struct txn_index *index, struct entry *entry)
{
    struct item *present;
    int rc = tree_insert(index->tree, &db->boot, (struct item *)entry, NULL, NULL, &present);
    if (rc != 0)
        heap_free_as(db->boot.heap, entry, item_alloc_size(entry->key_size), HEAP_ENTRY);
    return rc == 0 || rc == ERROR_EXISTS ? 0
                                         : diag_set(rc, "no memory for an order of Redis's rows");
}

static int version_fill(struct db *db, struct redis_store *redis, struct row *row,
                        const struct version *version)
{
    struct entry *entry = NULL;
    uint64_t expire_ms = db_redis_expiry(version);
    double number;
    if (expire_ms != 0) {
        int rc = entry_new(db, row, TIME_BYTES + row->key_size, TIME_BYTES, &entry);
        if (rc != 0)
            return rc;
        entry_key(entry->key, expire_ms, row);
        db_redis_due_lower(db, expire_ms);
        return entry_insert(db, &redis->expiries, entry);
    }
    if (!is_numbered(redis, row) || !version_number(version, &number))
        return 0;
    int rc = entry_new(db, row, number_key_size(row), ID_BYTES + ORDER_BYTES, &entry);
    if (rc != 0)
        return rc;
    number_key(entry->key, number, row);
    return entry_insert(db, &redis->numbers, entry);
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
        for (; rc == 0 && version != NULL; version = load_acquire(&version->older))
            rc = version_fill(db, redis, row, version);
    }
    epoch_leave(db->boot.epoch);
    return rc;
}

int db__redis_orders_fill(struct db *db)
{
    int rc = 0;
    for (unsigned n = 0; rc == 0 && n <= DB_REDIS_ELEMENTS; n++)
        rc = fill(db, &db->redis[n]);
    return rc;
}
