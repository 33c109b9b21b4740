/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RocksDB by its C interface: levelled compaction as it comes, lz4, filters of ten bits a key, blocks
 * and cache of the sizes that are given, two memtables that share what else the budget has, though
 * no more than MEMTABLES_BYTES together: about what a head has between two checkpoints.
 */
#include "bench.h"
#include "engines.h"

#include <rocksdb/c.h>

enum { MEMTABLES_BYTES = 256 << 20, OPEN_FILES_ALL = -1 };

struct engines_store {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *writing;
    rocksdb_cache_t *cache;
};

struct engines_reader {
    rocksdb_t *db;
    rocksdb_readoptions_t *reading;
};

static void check(char *error, const char *what)
{
    if (error == NULL)
        return;
    fprintf(stderr, "rocksdb: %s: %s\n", what, error);
    exit(1);
}

static void tables_set(struct engines_store *store, const struct engines_options *given)
{
    rocksdb_block_based_table_options_t *tables = rocksdb_block_based_options_create();
    store->cache = rocksdb_cache_create_lru(given->cache_bytes);
    rocksdb_block_based_options_set_block_cache(tables, store->cache);
    rocksdb_block_based_options_set_block_size(tables, given->block_bytes);
    rocksdb_block_based_options_set_filter_policy(tables, rocksdb_filterpolicy_create_bloom(10));
    rocksdb_options_set_block_based_table_factory(store->options, tables);
    rocksdb_block_based_options_destroy(tables);
}

static struct engines_store *store_open(const struct engines_options *given)
{
    struct engines_store *store = calloc(1, sizeof *store);
    char *error = NULL;
    uint64_t memtables = given->memory_bytes - given->cache_bytes;
    if (memtables > MEMTABLES_BYTES)
        memtables = MEMTABLES_BYTES;
    store->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(store->options, 1);
    rocksdb_options_set_compression(store->options, rocksdb_lz4_compression);
    rocksdb_options_set_max_open_files(store->options, OPEN_FILES_ALL);
    rocksdb_options_set_max_write_buffer_number(store->options, 2);
    rocksdb_options_set_write_buffer_size(store->options, memtables / 2);
    tables_set(store, given);
    store->writing = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(store->writing, given->sync);
    store->db = rocksdb_open(store->options, given->dir, &error);
    check(error, "open");
    return store;
}

static void store_close(struct engines_store *store)
{
    rocksdb_close(store->db);
    rocksdb_writeoptions_destroy(store->writing);
    rocksdb_options_destroy(store->options);
    rocksdb_cache_destroy(store->cache);
    free(store);
}

static void store_put(struct engines_store *store, const struct engines_row *rows, unsigned count)
{
    char *error = NULL;
    if (count == 1) {
        rocksdb_put(store->db, store->writing, rows->key, ENGINES_KEY_BYTES, rows->data,
                    ENGINES_DATA_BYTES, &error);
    } else {
        rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
        for (unsigned i = 0; i < count; i++)
            rocksdb_writebatch_put(batch, rows[i].key, ENGINES_KEY_BYTES, rows[i].data,
                                   ENGINES_DATA_BYTES);
        rocksdb_write(store->db, store->writing, batch, &error);
        rocksdb_writebatch_destroy(batch);
    }
    check(error, "put");
}

static bool is_busy(rocksdb_t *db)
{
    static const char *const names[] = {"rocksdb.compaction-pending",
                                        "rocksdb.num-running-compactions",
                                        "rocksdb.mem-table-flush-pending"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        uint64_t value = 0;
        if (rocksdb_property_int(db, names[i], &value) == 0 && value > 0)
            return true;
    }
    return false;
}

static void store_settle(struct engines_store *store)
{
    char *error = NULL;
    rocksdb_flushoptions_t *flushing = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(flushing, 1);
    rocksdb_flush(store->db, flushing, &error);
    rocksdb_flushoptions_destroy(flushing);
    check(error, "flush");
    while (is_busy(store->db))
        usleep(10000);
    engines_wait_quiet();
}

/* The number behind "`what`" on the line that begins with `line`, in bytes; the text has GB. */
static double stat_of(const char *text, const char *line, const char *what)
{
    const char *at = strstr(text, line);
    at = at == NULL ? NULL : strstr(at, what);
    return at == NULL ? 0 : strtod(at + strlen(what), NULL) * (1 << 30);
}

static void store_written(struct engines_store *store, struct engines_written *out)
{
    char *text = rocksdb_property_value(store->db, "rocksdb.stats");
    *out = (struct engines_written){.log_bytes = stat_of(text, "Cumulative WAL:", "written: "),
                                    .file_bytes =
                                        stat_of(text, "Cumulative compaction:", "compaction: ")};
    rocksdb_free(text);
}

static struct engines_reader *reader_open(struct engines_store *store)
{
    struct engines_reader *reader = calloc(1, sizeof *reader);
    reader->db = store->db;
    reader->reading = rocksdb_readoptions_create();
    return reader;
}

static void reader_close(struct engines_reader *reader)
{
    rocksdb_readoptions_destroy(reader->reading);
    free(reader);
}

static bool reader_get(struct engines_reader *reader, const char *key)
{
    char *error = NULL;
    rocksdb_pinnableslice_t *found =
        rocksdb_get_pinned(reader->db, reader->reading, key, ENGINES_KEY_BYTES, &error);
    check(error, "get");
    if (found == NULL)
        return false;
    size_t size;
    const char *data = rocksdb_pinnableslice_value(found, &size);
    bench_use(data + size - 1);
    rocksdb_pinnableslice_destroy(found);
    return true;
}

static uint64_t reader_range(struct engines_reader *reader, const char *key, uint64_t count)
{
    uint64_t seen = 0;
    rocksdb_iterator_t *iterator = rocksdb_create_iterator(reader->db, reader->reading);
    for (rocksdb_iter_seek(iterator, key, ENGINES_KEY_BYTES);
         seen < count && rocksdb_iter_valid(iterator); rocksdb_iter_next(iterator)) {
        size_t size;
        const char *data = rocksdb_iter_value(iterator, &size);
        bench_use(data + size - 1);
        seen++;
    }
    rocksdb_iter_destroy(iterator);
    return seen;
}

const struct engines_side engines_rocksdb = {.name = "RocksDB",
                                             .open = store_open,
                                             .close = store_close,
                                             .put = store_put,
                                             .settle = store_settle,
                                             .written = store_written,
                                             .reader_open = reader_open,
                                             .reader_close = reader_close,
                                             .get = reader_get,
                                             .range = reader_range};
