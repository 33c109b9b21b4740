/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A space of an engine on disk, through what requests go through below the protocols: a transaction
 * each, statements on a space, the log. Whoever begins to write waits while rows leave memory, as
 * sessions do. Checkpoints come as a server's do by default: by the log's size, and by memory.
 */
#include "bench.h"
#include "engines.h"

#include "base/error.h"
#include "codec/mp.h"
#include "db/checkpoint.h"
#include "db/db_private.h" /* the body, whose statistics are asked */
#include "db/ddl.h"
#include "db/memory.h"
#include "db/space.h"
#include "storage/lsm/lsm.h"

enum {
    CHECKPOINT_LOG_BYTES = 256 << 20,
    LOOK_AGAIN_US = 200,
    TUPLE_BYTES = ENGINES_KEY_BYTES + ENGINES_DATA_BYTES + 8
};

struct engines_store {
    struct io *io;
    struct db *db;
    struct db_worker *worker;
    bool sync, lsm;
};

struct engines_reader {
    struct db_worker *worker;
};

static const char space_name[] = "rows";

static bool offered(const char *engine)
{
    const struct engine_vtab *vtab = engine_find(engine, strlen(engine));
    return vtab != NULL && !(vtab->flags & ENGINE_NOT_OFFERED);
}

bool engines_offered(const struct engines_side *side)
{
    return (side != &engines_lsm && side != &engines_btree) || offered(side->name);
}

/* {"engine": engine}, and {"parts": [[1, "string"]]}. */
static void schema_make(struct engines_store *store, const char *engine)
{
    struct mp_buffer options;
    uint32_t id, index_id;
    mp_buffer_create(&options);
    mp_put_map(&options, 1);
    mp_put_str(&options, "engine", 6);
    mp_put_str(&options, engine, strlen(engine));
    bench_check(ddl_space_create(store->worker, space_name, strlen(space_name), options.data, &id),
                "create a space");
    options.size = 0;
    mp_put_map(&options, 1);
    mp_put_str(&options, "parts", 5);
    mp_put_array(&options, 1);
    mp_put_array(&options, 2);
    mp_put_uint(&options, 1);
    mp_put_str(&options, "string", 6);
    bench_check(ddl_index_create(store->worker, id, "pk", 2, options.data, &index_id),
                "create an index");
    mp_buffer_destroy(&options);
}

static struct engines_store *store_open(const struct engines_options *given, const char *engine)
{
    struct engines_store *store = calloc(1, sizeof *store);
    bench_check(io_posix_new(given->dir, true, &store->io), "io_posix_new");
    const struct db_options options = {
        .io = store->io,
        .clock = clock_system(),
        .durability = given->sync ? WAL_DURABILITY_COMMIT : WAL_DURABILITY_NONE,
        .worker_max = 8,
        .memory_max = given->memory_bytes,
        .memory_cache = (unsigned)(given->cache_bytes * 100 / given->memory_bytes),
        .checkpoint = {.log_bytes = CHECKPOINT_LOG_BYTES}};
    bench_check(db_open(&options, NULL, &store->db), "db_open");
    bench_check(db_worker_open(store->db, &store->worker), "db_worker_open");
    if (catalog_space(db_catalog(store->worker), space_name, strlen(space_name)) == NULL)
        schema_make(store, engine);
    store->sync = given->sync;
    store->lsm = strcmp(engine, "lsm") == 0;
    return store;
}

static struct engines_store *lsm_open(const struct engines_options *options)
{
    return store_open(options, "lsm");
}

static struct engines_store *btree_open(const struct engines_options *options)
{
    return store_open(options, "btree");
}

static void store_close(struct engines_store *store)
{
    db_worker_close(store->worker);
    bench_check(db_close(store->db), "db_close");
    io_delete(store->io);
    free(store);
}

static struct space *space_in(struct db_worker *worker)
{
    return catalog_space(db_catalog(worker), space_name, strlen(space_name));
}

static char *text_put(char *out, const char *text, unsigned char size)
{
    *out++ = (char)0xd9; /* str 8 */
    *out++ = (char)size;
    memcpy(out, text, size);
    return out + size;
}

static size_t tuple_make(const struct engines_row *row, char *out)
{
    char *end = out;
    *end++ = (char)0x92; /* an array of two */
    end = text_put(end, row->key, ENGINES_KEY_BYTES);
    end = text_put(end, row->data, ENGINES_DATA_BYTES);
    return (size_t)(end - out);
}

static size_t key_make(const char *key, char *out)
{
    *out = (char)0x91; /* an array of one */
    return (size_t)(text_put(out + 1, key, ENGINES_KEY_BYTES) - out);
}

static void room_wait(struct db *db)
{
    while (db_memory_frees(db))
        usleep(LOOK_AGAIN_US);
    uint64_t slow_ns = db_memory_slow_ns(db);
    if (slow_ns > 0)
        nanosleep(&(struct timespec){.tv_nsec = (long)slow_ns}, NULL);
}

static int put_once(struct engines_store *store, const struct engines_row *rows, unsigned count)
{
    struct txn *txn;
    int rc = txn_begin(db_worker_txn(store->worker),
                       &(struct txn_options){.level = TXN_READ_COMMITTED}, &txn);
    if (rc != 0)
        return rc;
    struct space *space = space_in(store->worker);
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        char tuple[TUPLE_BYTES];
        struct tuple_ref out;
        rc = space_replace(txn, space, tuple, tuple_make(&rows[i], tuple), &out, NULL);
    }
    if (rc == 0)
        return txn_commit(txn);
    txn_rollback(txn);
    return rc;
}

static void store_put(struct engines_store *store, const struct engines_row *rows, unsigned count)
{
    int rc;
    do {
        room_wait(store->db);
        rc = put_once(store, rows, count);
    } while (rc == ERROR_MEMORY || rc == ERROR_CONFLICT);
    bench_check(rc, "put");
    if (store->sync)
        bench_check(wal_wait(db_wal(store->db), txn_worker_seen_ts(db_worker_txn(store->worker))),
                    "wal_wait");
}

static void store_settle(struct engines_store *store)
{
    bench_check(db_checkpoint(store->db), "db_checkpoint");
    engines_wait_quiet();
}

static void store_written(struct engines_store *store, struct engines_written *out)
{
    struct wal_stats log;
    struct lsm_stats files = {.absorbed_bytes = 0};
    struct head *head = space_in(store->worker)->head;
    wal_stats_get(db_wal(store->db), &log);
    if (store->lsm)
        lsm_stats_get(((struct store *)head->arg)->body, &files);
    *out = (struct engines_written){.log_bytes = (double)log.bytes,
                                    .file_bytes =
                                        (double)(files.absorbed_bytes + files.compacted_bytes)};
}

static struct engines_reader *reader_open(struct engines_store *store)
{
    struct engines_reader *reader = calloc(1, sizeof *reader);
    bench_check(db_worker_open(store->db, &reader->worker), "db_worker_open");
    return reader;
}

static void reader_close(struct engines_reader *reader)
{
    db_worker_close(reader->worker);
    free(reader);
}

static struct txn *read_begin(struct engines_reader *reader)
{
    struct txn *txn;
    bench_check(txn_begin(db_worker_txn(reader->worker),
                          &(struct txn_options){.level = TXN_READ_COMMITTED, .readonly = true},
                          &txn),
                "begin");
    return txn;
}

static bool reader_get(struct engines_reader *reader, const char *key)
{
    char encoded[TUPLE_BYTES];
    struct tuple_ref out;
    struct txn *txn = read_begin(reader);
    key_make(key, encoded);
    bench_check(space_get(txn, space_in(reader->worker)->indexes[0], encoded, &out), "get");
    if (out.data != NULL)
        bench_use(out.data + out.size - 1);
    bench_check(txn_commit(txn), "commit");
    return out.data != NULL;
}

static uint64_t reader_range(struct engines_reader *reader, const char *key, uint64_t count)
{
    char encoded[TUPLE_BYTES];
    struct space_cursor cursor;
    struct tuple_ref out;
    uint64_t seen = 0;
    struct txn *txn = read_begin(reader);
    key_make(key, encoded);
    bench_check(
        space_cursor_open(&cursor, txn, space_in(reader->worker)->indexes[0], ITERATOR_GE, encoded),
        "open a cursor");
    space_cursor_brief(&cursor);
    while (seen < count && space_cursor_next(&cursor, &out) == 0) {
        bench_use(out.data + out.size - 1);
        seen++;
    }
    bench_check(txn_commit(txn), "commit");
    return seen;
}

#define SIDE(given_name, given_open)                                                    \
    {                                                                                   \
        .name = given_name, .open = given_open, .close = store_close, .put = store_put, \
        .settle = store_settle, .written = store_written, .reader_open = reader_open,   \
        .reader_close = reader_close, .get = reader_get, .range = reader_range          \
    }

const struct engines_side engines_lsm = SIDE("lsm", lsm_open);
const struct engines_side engines_btree = SIDE("btree", btree_open);
