/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Positions of watches. See watch.h.
 *
 * Log that a watch has not come to is not given up: checkpoints ask for the smallest position
 * (db__watch_floor), and wait until what they have read is durable, since a position that a crash
 * takes back needs more than the one that comes after it. A watch that would keep more than the log
 * allows a follower is passed over; its follower is cut off by the log itself.
 *
 * Each position is written by a serializable transaction that has read the definition: it does not
 * outlive a watch that is dropped at the same moment.
 */
#include "db/watch.h"

#include "base/diag.h"
#include "base/error.h"
#include "codec/key.h"
#include "db/db_private.h"

struct watch_args {
    struct head *definitions, *positions;
    uint32_t id;
    uint64_t revision, position;
    bool write;
};

/* Of a row of _watch: what its options say. */
static uint64_t option_of(const char *tuple, const char *name)
{
    const char *options = mp_array_at(tuple, 4);
    const char *value = options == NULL ? NULL : mp_map_find(options, name);
    uint64_t number = 0;
    if (value != NULL)
        (void)mp_read_uint(&value, &number);
    return number;
}

/* Of a row of _watch_position. */
static uint64_t field_of(const char *tuple, uint32_t field)
{
    const char *value = mp_array_at(tuple, field);
    uint64_t number = 0;
    if (value != NULL)
        (void)mp_read_uint(&value, &number);
    return number;
}

/* Where the watch with this definition stands. */
static int position_read(struct txn *txn, struct head *positions, uint32_t id,
                         const char *definition, uint64_t *out)
{
    unsigned char key[16];
    const struct version *version;
    int rc = txn_get(txn, positions, key, (size_t)(key_encode_uint(key, id) - key), &version);
    if (rc != 0)
        return rc;
    *out = option_of(definition, "from");
    if (version != NULL && field_of(version->bytes, 2) == option_of(definition, "revision"))
        *out = field_of(version->bytes, 1);
    return 0;
}

static int watch_run(struct txn *txn, void *arg)
{
    struct watch_args *args = arg;
    unsigned char key[16];
    size_t key_size = (size_t)(key_encode_uint(key, args->id) - key);
    const struct version *definition;
    int rc = txn_get(txn, args->definitions, key, key_size, &definition);
    if (rc != 0)
        return rc;
    if (definition == NULL || option_of(definition->bytes, "revision") != args->revision)
        return diag_set(ERROR_NOT_FOUND, "the watch is gone");
    if (!args->write)
        return position_read(txn, args->positions, args->id, definition->bytes, &args->position);
    char tuple[40], *end = mp_encode_array(tuple, 3);
    end = mp_encode_uint(end, args->id);
    end = mp_encode_uint(end, args->position);
    end = mp_encode_uint(end, args->revision);
    return txn_put(txn, args->positions, key, key_size, tuple, (uint32_t)(end - tuple), NULL, NULL);
}

static int watch_do(struct db_worker *worker, struct watch_args *args)
{
    struct db *db = worker->db;
    args->definitions = &db__store_find(db, SPACE_ID_WATCH, 0)->head;
    args->positions = &db__store_find(db, SPACE_ID_WATCH_POSITION, 0)->head;
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    return txn_run(worker->txn, &options, watch_run, args);
}

int db_watch_position(struct db_worker *worker, uint32_t id, uint64_t revision, uint64_t *position)
{
    struct watch_args args = {.id = id, .revision = revision};
    int rc = watch_do(worker, &args);
    *position = args.position;
    return rc;
}

int db_watch_position_set(struct db_worker *worker, uint32_t id, uint64_t revision,
                          uint64_t position)
{
    struct watch_args args = {.id = id, .revision = revision, .position = position, .write = true};
    int rc = watch_do(worker, &args);
    wal_kick(
        worker->db->wal); /* nobody waits for it, and readers at V are to see it all the same */
    return rc;
}

struct floor_args {
    struct db *db;
    uint64_t k, floor;
};

static int floor_run(struct txn *txn, void *arg)
{
    struct floor_args *args = arg;
    struct head *definitions = &db__store_find(args->db, SPACE_ID_WATCH, 0)->head;
    struct head *positions = &db__store_find(args->db, SPACE_ID_WATCH_POSITION, 0)->head;
    struct txn_index scan = {.tree = definitions->tree, .head = definitions};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc;
    args->floor = args->k;
    txn_cursor_open(&cursor, txn, &scan, &(struct txn_range){0});
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0) {
        uint64_t position;
        rc = position_read(txn, positions, (uint32_t)field_of(version->bytes, 0), version->bytes,
                           &position);
        if (rc != 0)
            return rc;
        /* The segment whose last block ends there shows that nothing is missing behind it. */
        position -= position > 0;
        if (position < args->floor &&
            wal_held_bytes(args->db->wal, position, args->k) <= wal_follow_bytes_max(args->db->wal))
            args->floor = position;
    }
    return rc == ERROR_END ? 0 : rc;
}

int db__watch_floor(struct db_worker *worker, uint64_t k, bool durable, uint64_t *floor)
{
    struct floor_args args = {.db = worker->db, .k = k};
    struct txn_options options = {.level = TXN_SNAPSHOT};
    int rc = txn_run(worker->txn, &options, floor_run, &args);
    *floor = args.floor;
    if (rc == 0 && durable && args.floor < k)
        rc = wal_wait_durable(worker->db->wal, txn_worker_seen_ts(worker->txn));
    return rc;
}
