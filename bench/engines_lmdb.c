/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMDB, as its documentation shows it: one environment with one database, a write transaction for
 * each put, a read transaction and a cursor a thread, which are renewed. Its cache is the page cache.
 * Without `sync` it leaves the writing to the operating system.
 */
#include "bench.h"
#include "engines.h"

#include <lmdb.h>

enum { ROW_BYTES_MAX = 1024, ROOM_BYTES = 256 << 20, READERS_MAX = 16 };

struct engines_store {
    MDB_env *env;
    MDB_dbi dbi;
};

struct engines_reader {
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_dbi dbi;
};

static void check(int rc, const char *what)
{
    if (rc == 0)
        return;
    fprintf(stderr, "lmdb: %s: %s\n", what, mdb_strerror(rc));
    exit(1);
}

static struct engines_store *store_open(const struct engines_options *given)
{
    struct engines_store *store = calloc(1, sizeof *store);
    MDB_txn *txn;
    check(mdb_env_create(&store->env), "create");
    check(mdb_env_set_mapsize(store->env, given->rows * ROW_BYTES_MAX + ROOM_BYTES), "mapsize");
    check(mdb_env_set_maxreaders(store->env, READERS_MAX), "maxreaders");
    check(mdb_env_open(store->env, given->dir, given->sync ? 0 : MDB_NOSYNC, 0600), "open");
    check(mdb_txn_begin(store->env, NULL, 0, &txn), "begin");
    check(mdb_dbi_open(txn, NULL, 0, &store->dbi), "open the database");
    check(mdb_txn_commit(txn), "commit");
    return store;
}

static void store_close(struct engines_store *store)
{
    check(mdb_env_sync(store->env, 1), "sync");
    mdb_env_close(store->env);
    free(store);
}

static MDB_val key_of(const char *key)
{
    return (MDB_val){.mv_size = ENGINES_KEY_BYTES, .mv_data = (void *)(uintptr_t)key};
}

static void store_put(struct engines_store *store, const struct engines_row *rows, unsigned count)
{
    MDB_txn *txn;
    check(mdb_txn_begin(store->env, NULL, 0, &txn), "begin");
    for (unsigned i = 0; i < count; i++) {
        MDB_val key = key_of(rows[i].key);
        MDB_val data = {.mv_size = ENGINES_DATA_BYTES, .mv_data = (void *)(uintptr_t)rows[i].data};
        check(mdb_put(txn, store->dbi, &key, &data, 0), "put");
    }
    check(mdb_txn_commit(txn), "commit");
}

static void store_settle(struct engines_store *store)
{
    check(mdb_env_sync(store->env, 1), "sync");
}

static void store_written(struct engines_store *store, struct engines_written *out)
{
    (void)store;
    *out = (struct engines_written){.log_bytes = 0};
}

static struct engines_reader *reader_open(struct engines_store *store)
{
    struct engines_reader *reader = calloc(1, sizeof *reader);
    reader->dbi = store->dbi;
    check(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &reader->txn), "begin");
    check(mdb_cursor_open(reader->txn, store->dbi, &reader->cursor), "open a cursor");
    mdb_txn_reset(reader->txn);
    return reader;
}

static void reader_close(struct engines_reader *reader)
{
    mdb_cursor_close(reader->cursor);
    mdb_txn_abort(reader->txn);
    free(reader);
}

static bool reader_get(struct engines_reader *reader, const char *text)
{
    MDB_val key = key_of(text), data;
    check(mdb_txn_renew(reader->txn), "renew");
    int rc = mdb_get(reader->txn, reader->dbi, &key, &data);
    if (rc == 0)
        bench_use((const char *)data.mv_data + data.mv_size - 1);
    mdb_txn_reset(reader->txn);
    check(rc == MDB_NOTFOUND ? 0 : rc, "get");
    return rc == 0;
}

static uint64_t reader_range(struct engines_reader *reader, const char *text, uint64_t count)
{
    MDB_val key = key_of(text), data;
    uint64_t seen = 0;
    check(mdb_txn_renew(reader->txn), "renew");
    check(mdb_cursor_renew(reader->txn, reader->cursor), "renew a cursor");
    int rc = mdb_cursor_get(reader->cursor, &key, &data, MDB_SET_RANGE);
    while (rc == 0 && seen < count) {
        bench_use((const char *)data.mv_data + data.mv_size - 1);
        seen++;
        rc = mdb_cursor_get(reader->cursor, &key, &data, MDB_NEXT);
    }
    mdb_txn_reset(reader->txn);
    check(rc == MDB_NOTFOUND ? 0 : rc, "range");
    return seen;
}

const struct engines_side engines_lmdb = {.name = "LMDB",
                                          .open = store_open,
                                          .close = store_close,
                                          .put = store_put,
                                          .settle = store_settle,
                                          .written = store_written,
                                          .reader_open = reader_open,
                                          .reader_close = reader_close,
                                          .get = reader_get,
                                          .range = reader_range};
