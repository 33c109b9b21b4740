/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Opening, recovery, workers, stores.
 *
 * Recovery: what the last checkpoint has written is loaded into the heads (checkpoint_load.c); the
 * log is replayed on top (db_replay.c), each record into the store that its space id and
 * incarnation name, which is made when it is met first, but for records that a checkpoint has
 * covered; the rows that come from the log are those that the next checkpoint has to write;
 * tombstones that need not be written are unlinked; the catalog is read; the trees of its indexes
 * are made and filled; stores that no row of the catalog knows (dropped or truncated spaces) are
 * freed.
 */
#include "db/db_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/list.h"
#include "base/mutation.h"
#include "codec/mp.h"
#include "db/access_private.h"
#include "db/checkpoint_private.h"
#include "db/db_replay.h"
#include "db/ddl_private.h"

static struct store **store_bucket(struct db *db, uint32_t id)
{
    return &db->stores[id % STORE_BUCKETS];
}

struct store *db__store_find(struct db *db, uint32_t id, uint32_t incarnation)
{
    for (struct store *store = *store_bucket(db, id); store != NULL; store = store->next)
        if (store->head.id == id &&
            (store->head.incarnation == incarnation || MUTATION(INCARNATION_IGNORED)))
            return store;
    return NULL;
}

int db__store_make(struct db *db, struct tree_thread *thread, uint32_t id, uint32_t incarnation,
                   struct store **out)
{
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return diag_set(ERROR_MEMORY, "no memory for space %u", id);
    store->db = db;
    store->head.id = id;
    store->head.incarnation = incarnation;
    store->head.version_dropped = db__version_dropped;
    store->head.arg = store;
    store->head.tracked = true;
    atomic_init(&store->references, 1);
    int rc = tree_new(thread, &store->head.tree);
    if (rc != 0) {
        free(store);
        return diag_set(rc, "no memory for space %u", id);
    }
    pthread_mutex_lock(&db->stores_mutex);
    store->next = *store_bucket(db, id);
    *store_bucket(db, id) = store;
    pthread_mutex_unlock(&db->stores_mutex);
    *out = store;
    return 0;
}

void db__store_track(struct store *store, bool tracked)
{
    if (store->head.tracked == tracked)
        return;
    pthread_mutex_lock(&store->db->stores_mutex);
    store->head.tracked = tracked;
    pthread_mutex_unlock(&store->db->stores_mutex);
}

void db__store_unlink(struct db *db, struct store *store)
{
    struct store **link = store_bucket(db, store->head.id);
    while (*link != store)
        link = &(*link)->next;
    *link = store->next;
}

void db__store_delete(struct store *store, struct tree_thread *thread)
{
    for (uint32_t i = 0; i < INDEX_MAX; i++)
        if (store->trees[i] != NULL)
            txn_entries_delete(thread, store->trees[i]);
    txn_rows_delete(thread, store->head.tree);
    if (load_relaxed(&store->published.view) != NULL)
        body_view_close(load_relaxed(&store->published.view));
    if (store->body != NULL)
        body_close(store->body);
    free(store);
}

static uint64_t room_left(const struct lsm_space *room)
{
    return io_room(list_entry(room, struct db, room)->io);
}

/* Notes what the body is to work by, and makes of it what it takes. */
static void options_fill(struct store *store, const struct body_options *given,
                         struct lsm_options *lsm, struct engine_options *out)
{
    store->configured = *given;
    if (given->expire_field > 0 && store->head.expiry == NULL) { /* nobody reads yet */
        expiry_create(&store->expiry, store->db->txn, given->expire_field - 1,
                      given->expire_after_ms);
        store->head.expiry = &store->expiry.head;
    }
    *lsm = given->lsm;
    lsm->filter = store->head.expiry == NULL ? NULL : &store->expiry.filter;
    lsm->space = &store->db->room;
    lsm->clock = store->db->clock;
    out->lsm = lsm;
    out->page_bytes = given->page_bytes;
}

bool db__store_configure(struct store *store, const struct body_options *given)
{
    struct lsm_options lsm;
    struct engine_options options = {.io = store->db->io};
    if (body_options_equal(&store->configured, given))
        return false;
    options_fill(store, given, &lsm, &options);
    body_configure(store->body, &options);
    return true;
}

int db__store_body_open(struct store *store, const struct engine_vtab *engine,
                        const struct engine_file *files, unsigned file_count,
                        const struct body_options *given)
{
    struct db *db = store->db;
    struct engine_options options = {.io = db->io,
                                     .space_id = store->head.id,
                                     .incarnation = store->head.incarnation,
                                     .files = files,
                                     .file_count = file_count,
                                     .next_file = &db->next_file};
    struct lsm_options lsm;
    struct body_options otherwise;
    if (given == NULL) {
        body_options_default(&otherwise);
        given = &otherwise;
    }
    options_fill(store, given, &lsm, &options);
    int rc = engine->flags & ENGINE_RESIDENT ? 0 : db__cache(db, &options.cache);
    if (rc == 0)
        rc = body_open(engine, &options, &store->body);
    if (rc != 0 || (engine->flags & ENGINE_RESIDENT))
        return rc;
    rc = db__store_publish(store, &db->boot, store->k);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&db->stores_mutex);
    store->head.body = &store->published;
    pthread_mutex_unlock(&db->stores_mutex);
    return 0;
}

int db__store_publish(struct store *store, struct tree_thread *thread, uint64_t k)
{
    struct body_view *view;
    int rc = body_view_open(store->body, &view);
    if (rc == 0)
        txn_body_publish(thread, &store->published, view, k);
    return rc;
}

void db__store_release(struct store *store, struct tree_thread *thread)
{
    if (atomic_fetch_sub(&store->references, 1) == 1)
        db__store_delete(store, thread);
}

/* Makes a store for each row of _space that has none (a space without rows), and frees those that
 * no row names. */
static int stores_settle(struct db *db, struct txn *txn)
{
    struct txn_index scan = {.tree = db->space_store->head.tree, .head = &db->space_store->head};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc;
    txn_cursor_open(&cursor, txn, &scan, &(struct txn_range){0});
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0) {
        const char *id_field = mp_array_at(version->bytes, 0),
                   *flags = mp_array_at(version->bytes, 5);
        uint64_t id = 0, incarnation = 0;
        if (id_field == NULL || flags == NULL || !mp_read_uint(&id_field, &id) ||
            mp_typeof(*flags) != MP_MAP)
            return diag_set(ERROR_CORRUPT, "a row of _space is damaged");
        for (uint32_t n = mp_decode_map(&flags); n > 0; n--) {
            uint32_t size;
            const char *key = mp_decode_str(&flags, &size);
            if (size == 11 && memcmp(key, "incarnation", 11) == 0) {
                const char *value = flags;
                mp_read_uint(&value, &incarnation);
            }
            mp_next(&flags);
        }
        struct store *store = db__store_find(db, (uint32_t)id, (uint32_t)incarnation);
        if (store == NULL &&
            (rc = db__store_make(db, &db->boot, (uint32_t)id, (uint32_t)incarnation, &store)) != 0)
            return rc;
    }
    return rc == ERROR_END ? 0 : rc;
}

/* Gives the rows that replay has listed to the lists of the next checkpoint. */
static void replayed_list(struct db *db)
{
    struct txn_changes *changes = &db->replayed;
    size_t kept = 0;
    for (size_t i = 0; i < changes->count; i++)
        if (((struct store *)changes->items[i].head->arg)->space != NULL)
            changes->items[kept++] = changes->items[i];
    changes->count = kept;
    txn_changes_return(db->txn, changes);
}

static void stores_free_unknown(struct db *db)
{
    for (unsigned i = 0; i < STORE_BUCKETS; i++)
        for (struct store *store = db->stores[i], *next; store != NULL; store = next) {
            next = store->next;
            if (store->space == NULL) {
                db__store_unlink(db, store);
                db__store_delete(store, &db->boot);
            }
        }
}

static int indexes_make(struct db *db, struct space *space)
{
    int rc = 0;
    for (uint32_t n = 0; rc == 0 && n < space->index_count; n++) {
        struct index *index = space->indexes[n];
        rc = db__directory_make(&db->boot, index, index->scan.tree);
        if (rc == 0 && n > 0)
            rc = db__index_fill(db, &db->boot, index, false);
    }
    return rc;
}

/* After the log: tombstones out, the catalog in force, indexes filled. */
static int recover(struct db *db, struct db_open_stats *stats)
{
    txn_replay_settle(&db->replayed);
    for (unsigned i = 0; i < STORE_BUCKETS; i++)
        for (struct store *store = db->stores[i]; store != NULL; store = store->next)
            txn_replay_end(&db->boot, &store->head);
    struct txn_worker *worker;
    int rc = txn_worker_open(db->txn, &worker);
    if (rc != 0)
        return rc;
    struct txn *txn;
    rc = txn_begin(worker,
                   &(struct txn_options){.level = TXN_SNAPSHOT, .readonly = true, .latest = true},
                   &txn);
    if (rc == 0) {
        struct catalog *catalog = NULL;
        rc = stores_settle(db, txn);
        if (rc == 0)
            rc = db__trees_make(db, txn);
        if (rc == 0)
            rc = db__catalog_build(db, txn, NULL, &catalog);
        if (rc == 0)
            db__catalog_publish(db, catalog);
        for (uint32_t i = 0; rc == 0 && i < catalog->space_count; i++)
            rc = indexes_make(db, catalog->spaces[i]);
        if (rc == 0)
            rc = db__redis_orders_fill(db);
        if (rc == 0)
            stats->spaces = catalog->space_count;
        txn_rollback(txn);
    }
    txn_worker_close(worker);
    if (rc == 0) {
        replayed_list(db);
        stores_free_unknown(db);
    }
    return rc;
}

static void stores_free(struct db *db)
{
    for (unsigned i = 0; i < STORE_BUCKETS; i++)
        for (struct store *store = db->stores[i], *next; store != NULL; store = next) {
            next = store->next;
            db__store_delete(store, &db->boot);
        }
}

/* What is left of a database that was not, or no longer is, open. */
static void db_free(struct db *db)
{
    if (db->txn != NULL)
        txn_system_delete(db->txn);
    if (db->catalog != NULL)
        db__catalog_release(db->catalog);
    if (db->boot.epoch != NULL) {
        db__discarded_free(db, &db->boot);
        stores_free(db);
        epoch_slot_close(db->boot.epoch);
    }
    if (db->epochs != NULL)
        epoch_domain_delete(db->epochs);
    if (db->boot.heap != NULL)
        heap_cache_close(db->boot.heap);
    if (db->heap != NULL) {
        db__memory_destroy(db);
        heap_delete(db->heap);
    }
    txn_changes_free(&db->replayed);
    manifest_destroy(&db->loaded);
    pthread_mutex_destroy(&db->catalog_mutex);
    pthread_mutex_destroy(&db->stores_mutex);
    pthread_mutex_destroy(&db->discard_mutex);
    free(db);
}

/* Opens the log and puts what it says into the heads. */
static int log_replay(struct db *db, const struct wal_options *options,
                      const struct db_source *source, unsigned threads, struct db_open_stats *stats)
{
    struct replay *replay;
    int rc = db__replay_new(db, threads, &replay);
    if (rc != 0)
        return rc;
    if (source != NULL && source->replay != NULL)
        rc = source->replay(db__replay_record, replay, source->arg);
    if (rc == 0)
        rc = wal_open(options, db__replay_record, replay, &stats->log, &db->wal);
    int ended = db__replay_end(replay, &db->replayed, &stats->rows);
    return rc != 0 ? rc : ended;
}

/* Rows that were ingested are of timestamps that the log need not have come to. */
static uint64_t k_max(const struct manifest *manifest)
{
    uint64_t k = 0;
    for (unsigned i = 0; i < manifest->tree_count; i++)
        k = manifest->trees[i].k > k ? manifest->trees[i].k : k;
    return k;
}

static int open_parts(struct db *db, const struct db_options *options, struct db_open_stats *stats)
{
    int rc = heap_new(options->memory_max, &db->heap);
    if (rc == 0) {
        db__memory_create(db, options);
        rc = heap_cache_open(db->heap, &db->boot.heap);
    }
    if (rc == 0)
        rc = epoch_domain_new(options->worker_max + 4, &db->epochs);
    if (rc == 0)
        rc = epoch_slot_open(db->epochs, &db->boot.epoch);
    if (rc != 0)
        return diag_set(rc, "no memory to open the database");
    if ((rc = db__system_stores_make(db)) != 0 || (rc = db__checkpoint_load(db, stats)) != 0)
        return rc;
    const struct db_source *source = options->source;
    bool dry = source != NULL && source->log != NULL;
    struct wal_options wal = {.io = dry ? source->log : options->io,
                              .durability = options->durability,
                              .buffer_max = options->worker_max + 3,
                              .first_segment = dry ? 0 : db->loaded.first_segment,
                              .clock_min = k_max(&db->loaded),
                              .on_advance = options->on_advance,
                              .arg = options->arg,
                              .segment_bytes = options->log_segment_bytes,
                              .archive = options->log_archive,
                              .compression = options->log_compression,
                              .follow_bytes_max = options->watch_log_bytes,
                              .clock = options->clock,
                              .skip_flush = options->skip_flush};
    if ((rc = log_replay(db, &wal, source, options->replay_threads, stats)) != 0)
        return rc;
    if (stats->log.clock < db->loaded.clock)
        return diag_set(
            ERROR_CORRUPT,
            "the log ends at timestamp %llu, but %llu was durable when file " MANIFEST_NAME
            " was written: segments are missing",
            (unsigned long long)stats->log.clock, (unsigned long long)db->loaded.clock);
    struct txn_system_options system = {.wal = db->wal,
                                        .heap = db->heap,
                                        .epochs = db->epochs,
                                        .worker_max = options->worker_max + 3,
                                        .clock = options->clock};
    if ((rc = txn_system_new(&system, &db->txn)) != 0)
        return rc;
    if ((rc = db__tuning_start(db, options)) != 0 || (rc = recover(db, stats)) != 0 ||
        (rc = db__sequences_open(db)) != 0 || (rc = db__checkpoint_start(db, options, stats)) != 0)
        return rc;
    db__memory_start(db);
    return db->builds_stale && source == NULL ? db__builds_forget(db) : 0;
}

int db_open(const struct db_options *options, struct db_open_stats *stats, struct db **out)
{
    struct db_open_stats unused;
    stats = stats == NULL ? &unused : stats;
    memset(stats, 0, sizeof *stats);
    struct db *db = aligned_alloc(CACHE_LINE_SIZE, (sizeof *db + CACHE_LINE_SIZE - 1) /
                                                       CACHE_LINE_SIZE * CACHE_LINE_SIZE);
    if (db == NULL)
        return diag_set(ERROR_MEMORY, "no memory to open the database");
    memset(db, 0, sizeof *db);
    db->io = options->io;
    db->room.left = room_left;
    db->clock = options->clock;
    db->expressions = options->expressions;
    db->online_rows_min = ONLINE_ROWS_MIN;
    db->build_sort_bytes = BUILD_SORT_BYTES;
    db->build_round_bytes = BUILD_ROUND_BYTES;
    db->ingest_margin = INGEST_MARGIN;
    pthread_mutex_init(&db->catalog_mutex, NULL);
    pthread_mutex_init(&db->stores_mutex, NULL);
    pthread_mutex_init(&db->discard_mutex, NULL);
    manifest_create(&db->loaded);
    int rc = open_parts(db, options, stats);
    if (rc != 0) {
        db__memory_stop(db);
        db__checkpoint_stop(db);
        db__tuning_stop(db);
        db__sequences_close(db);
        if (db->wal != NULL)
            wal_close(db->wal);
        db_free(db);
        return rc;
    }
    *out = db;
    return 0;
}

int db_close(struct db *db)
{
    db__sequences_close(db);
    db__memory_stop(db);
    db__checkpoint_stop(db);
    db__tuning_stop(db);
    int rc = wal_close(db->wal);
    db_free(db);
    return rc;
}

int db_worker_open(struct db *db, struct db_worker **out)
{
    struct db_worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a worker");
    worker->db = db;
    worker->user_id = ACCESS_ADMIN;
    int rc = txn_worker_open(db->txn, &worker->txn);
    if (rc != 0) {
        free(worker);
        return rc;
    }
    *out = worker;
    return 0;
}

void db_worker_close(struct db_worker *worker)
{
    while (worker->held_count > 0)
        db__catalog_release(worker->held[--worker->held_count]);
    access__delete(worker->access);
    txn_worker_close(worker->txn);
    free(worker);
}

/* Lets go of all catalogs but the newest held. */
static void catalogs_release_older(struct db_worker *worker)
{
    for (unsigned i = 0; i + 1 < worker->held_count; i++)
        db__catalog_release(worker->held[i]);
    if (worker->held_count > 1) {
        worker->held[0] = worker->held[worker->held_count - 1];
        worker->held_count = 1;
    }
}

static void catalog_take_newest(struct db_worker *worker)
{
    struct db *db = worker->db;
    catalogs_release_older(worker);
    pthread_mutex_lock(&db->catalog_mutex);
    atomic_fetch_add(&db->catalog->references, 1);
    worker->held[worker->held_count++] = db->catalog;
    pthread_mutex_unlock(&db->catalog_mutex);
}

const struct catalog *db_catalog(struct db_worker *worker)
{
    if (worker->ddl != NULL)
        return ddl__catalog(worker->ddl);
    bool inside = txn_current(worker->txn) != NULL;
    uint64_t begun = txn_worker_begun(worker->txn);
    if (inside && worker->held_begun == begun && worker->held_count > 0)
        return worker->held[worker->held_count - 1];
    if (worker->held_count == 0 ||
        worker->held[worker->held_count - 1]->version != load_acquire(&worker->db->schema_version))
        catalog_take_newest(worker);
    if (inside)
        worker->held_begun = begun;
    else
        catalogs_release_older(worker);
    return worker->held[worker->held_count - 1];
}

struct db *db_worker_db(struct db_worker *worker)
{
    return worker->db;
}

struct txn_worker *db_worker_txn(struct db_worker *worker)
{
    return worker->txn;
}

struct wal *db_wal(struct db *db)
{
    return db->wal;
}

struct io *db_io(struct db *db)
{
    return db->io;
}

struct heap *db_heap(struct db *db)
{
    return db->heap;
}

struct clock *db_clock(struct db *db)
{
    return db->clock;
}

struct txn_system *db_txn_system(struct db *db)
{
    return db->txn;
}

uint64_t db_schema_version(const struct db_worker *worker)
{
    return worker->ddl != NULL ? ddl__catalog(worker->ddl)->version
                               : load_acquire(&worker->db->schema_version);
}
