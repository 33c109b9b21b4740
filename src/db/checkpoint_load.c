/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the last checkpoint has left, put into the heads again, of those engines that have all rows
 * there: before the log, whose records above each tree's K then come on top.
 *
 * Files that the manifest does not name are left over from a checkpoint or a merge that was
 * interrupted, or were replaced, and go. Trees are loaded by several threads, large ones in pieces;
 * each reads the runs of its piece as one sorted sequence.
 */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/checkpoint_private.h"

enum {
    THREADS_MAX = 8,
    PARTS_MAX = 64, /* of a tree */
    PIECE_BYTES_MIN = 1 << 20,
    REPORT_ROWS = 4096,
    REPORT_SECONDS = 5
};

/* ------------------------------------------------------------------------------------- left-overs */

struct left_over {
    struct io *io;
    struct checkpoint_names *named; /* sorted */
    uint64_t next_file;             /* above all numbers seen */
};

/* Whether a checkpoint may have named a file so: SPACE-INCARNATION-NUMBER and .run or .btree. Other
 * files are somebody else's. */
static bool is_run(const char *name, uint64_t *number)
{
    unsigned long long space, incarnation, read;
    char again[ENGINE_FILE_NAME_MAX + 1];
    if (sscanf(name, "%llu-%llu-%llu", &space, &incarnation, &read) != 3)
        return false;
    snprintf(again, sizeof again, "%llu-%llu-%llu.", space, incarnation, read);
    size_t size = strlen(again);
    *number = read;
    return strncmp(name, again, size) == 0 &&
           (strcmp(name + size, "run") == 0 || strcmp(name + size, "btree") == 0);
}

static int left_over_remove(const char *name, uint64_t size, void *arg)
{
    (void)size;
    struct left_over *all = arg;
    uint64_t number = 0;
    if (!is_run(name, &number) && strcmp(name, MANIFEST_NAME_NEW) != 0)
        return 0;
    if (number >= all->next_file && number < UINT64_MAX / 2)
        all->next_file = number + 1;
    if (checkpoint__names_have(all->named, name))
        return 0;
    int rc = io_unlink(all->io, name);
    if (rc == 0)
        log_info("removed %s, which was left over", name);
    else if (rc != ERROR_NOT_FOUND && rc != ERROR_READONLY)
        log_warn("%s was left over and cannot be removed: %s", name, diag_message_for(rc));
    return 0;
}

static int left_overs_remove(struct db *db)
{
    struct checkpoint_names named = {0};
    struct left_over all = {db->io, &named, db->loaded.next_file};
    int rc = checkpoint__names_of(&named, &db->loaded);
    if (rc == 0)
        rc = io_list(db->io, left_over_remove, &all);
    checkpoint__names_free(&named);
    atomic_store(&db->next_file, all.next_file);
    return rc;
}

/* -------------------------------------------------------------------------------------- one piece */

/* The rows of a store in (lower, upper]. */
struct piece {
    struct store *store;
    struct engine_key lower, upper; /* data NULL: unbounded */
};

struct load {
    struct db *db;
    struct store **stores; /* of the manifest's trees */
    unsigned store_count;
    unsigned threads;
    struct arena arena; /* bounds of pieces */
    struct piece *pieces;
    unsigned count, capacity;
    _Atomic unsigned next;
    _Atomic uint64_t rows;
    uint64_t rows_all; /* versions in the files */
    _Atomic int failed;
    pthread_mutex_t mutex;
    char failure[DIAG_MESSAGE_MAX];
};

struct loader {
    struct load *load;
    struct tree_thread thread;
    uint64_t report_ns;
    bool reports;
};

static void report(struct loader *loader, uint64_t rows)
{
    struct load *load = loader->load;
    uint64_t done = atomic_fetch_add(&load->rows, rows) + rows;
    uint64_t now_ns = clock_monotonic_ns(load->db->clock);
    if (!loader->reports || now_ns < loader->report_ns)
        return;
    if (loader->report_ns != 0)
        log_info("loading: %" PRIu64 " rows of at most %" PRIu64, done, load->rows_all);
    loader->report_ns = now_ns + REPORT_SECONDS * UINT64_C(1000000000);
}

static int rows_load(struct loader *loader, struct store *store, struct body_cursor *cursor)
{
    struct engine_row row;
    uint64_t rows = 0;
    int rc;
    while ((rc = body_cursor_next(cursor, &row)) == 0) {
        rc = txn_replay_run(&loader->thread, &store->head, row.ts, row.key, row.key_size, row.data,
                            row.size);
        if (rc != 0)
            return diag_set(rc, "no memory to load space %" PRIu32 "; memory in use: %zu bytes",
                            store->head.id, heap_used_bytes(loader->load->db->heap));
        if (++rows % REPORT_ROWS == 0) {
            report(loader, REPORT_ROWS);
            if (atomic_load(&loader->load->failed) != 0)
                return 0;
        }
    }
    report(loader, rows % REPORT_ROWS);
    return rc == ERROR_END ? 0 : rc;
}

static int piece_load(struct loader *loader, const struct piece *piece)
{
    struct body_view *view;
    struct body_cursor *cursor;
    struct engine_range range = {.lower = piece->lower.data,
                                 .lower_size = piece->lower.size,
                                 .upper = piece->upper.data,
                                 .upper_size = piece->upper.size,
                                 .upper_inclusive = true};
    int rc = body_view_open(piece->store->body, &view);
    if (rc != 0)
        return rc;
    rc = body_cursor_open(view, &range, UINT64_MAX, &cursor);
    if (rc == 0) {
        rc = rows_load(loader, piece->store, cursor);
        body_cursor_close(cursor);
    }
    body_view_close(view);
    return rc;
}

/* ---------------------------------------------------------------------------------------- threads */

static void load_fail(struct load *load, int rc)
{
    pthread_mutex_lock(&load->mutex);
    if (atomic_load(&load->failed) == 0) {
        snprintf(load->failure, sizeof load->failure, "%s", diag_message_for(rc));
        atomic_store(&load->failed, rc);
    }
    pthread_mutex_unlock(&load->mutex);
}

static void *loader_main(void *arg)
{
    struct loader *loader = arg;
    struct load *load = loader->load;
    unsigned next;
    while ((next = atomic_fetch_add(&load->next, 1)) < load->count) {
        int rc = atomic_load(&load->failed) != 0 ? 0 : piece_load(loader, &load->pieces[next]);
        if (rc != 0)
            load_fail(load, rc);
    }
    return NULL;
}

static bool loader_start(struct loader *loader, pthread_t *thread)
{
    struct db *db = loader->load->db;
    if (heap_cache_open(db->heap, &loader->thread.heap) != 0)
        return false;
    if (epoch_slot_open(db->epochs, &loader->thread.epoch) != 0) {
        heap_cache_close(loader->thread.heap);
        return false;
    }
    if (pthread_create(thread, NULL, loader_main, loader) == 0)
        return true;
    epoch_slot_close(loader->thread.epoch);
    heap_cache_close(loader->thread.heap);
    return false;
}

/* Loads with the calling thread and as many others as there is room for. */
static int pieces_load(struct load *load)
{
    struct loader loaders[THREADS_MAX] = {
        {.load = load, .thread = load->db->boot, .reports = true}};
    pthread_t threads[THREADS_MAX];
    unsigned count = 1;
    while (count < load->threads && count < load->count) {
        loaders[count].load = load;
        if (!loader_start(&loaders[count], &threads[count]))
            break;
        count++;
    }
    loader_main(&loaders[0]);
    for (unsigned i = 1; i < count; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 1; i < count; i++) {
        epoch_slot_close(loaders[i].thread.epoch);
        heap_cache_close(loaders[i].thread.heap);
    }
    int rc = atomic_load(&load->failed);
    return rc == 0 ? 0 : diag_set(rc, "%s", load->failure);
}

/* ----------------------------------------------------------------------------------------- pieces */

static unsigned threads_useful(void)
{
    cpu_set_t cores;
    int count = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
    return count < 1 ? 1 : count > THREADS_MAX ? THREADS_MAX : (unsigned)count;
}

static int piece_add(struct load *load, const struct piece *piece)
{
    if (load->count == load->capacity) {
        unsigned capacity = 2 * load->capacity + 64;
        struct piece *pieces = realloc(load->pieces, capacity * sizeof *pieces);
        if (pieces == NULL)
            return diag_set(ERROR_MEMORY, "no memory to load %u spaces", load->store_count);
        load->pieces = pieces;
        load->capacity = capacity;
    }
    load->pieces[load->count++] = *piece;
    return 0;
}

/* How many parts of a store are worth it. */
static unsigned parts_useful(const struct load *load, uint64_t bytes)
{
    uint64_t parts = bytes / PIECE_BYTES_MIN;
    return load->threads == 1 || parts <= 1 ? 1 : parts < PARTS_MAX ? (unsigned)parts : PARTS_MAX;
}

static int store_split(struct load *load, struct store *store, unsigned parts)
{
    struct engine_key keys[PARTS_MAX];
    struct piece piece = {.store = store};
    struct body_view *view;
    unsigned count = 0;
    int rc = body_view_open(store->body, &view);
    if (rc != 0)
        return rc;
    rc = body_split(view, parts, &load->arena, keys, &count);
    body_view_close(view);
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        piece.upper = keys[i];
        rc = piece_add(load, &piece);
        piece.lower = keys[i];
    }
    piece.upper.data = NULL;
    return rc != 0 ? rc : piece_add(load, &piece);
}

static int pieces_make(struct load *load, struct db_open_stats *stats)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < load->store_count; i++) {
        struct store *store = load->stores[i];
        struct engine_stats body;
        body_stats(store->body, &body);
        stats->run_bytes += body.bytes;
        if (db__store_leaves(store))
            continue; /* its rows stay where they are */
        load->rows_all += body.rows;
        unsigned parts = parts_useful(load, body.bytes);
        rc = parts > 1 ? store_split(load, store, parts)
                       : piece_add(load, &(struct piece){.store = store});
    }
    return rc;
}

/* ----------------------------------------------------------------------------------- the manifest */

static int body_of_tree(const struct manifest_tree *tree, struct store *store)
{
    const struct engine_vtab *engine = engine_find(tree->engine, strlen(tree->engine));
    if (engine == NULL)
        return diag_set(ERROR_UNSUPPORTED,
                        "space %" PRIu32 " has engine \"%s\", which this version does not know",
                        tree->space_id, tree->engine);
    store->k = tree->k;
    return db__store_body_open(store, engine, tree->files, tree->file_count, NULL);
}

static int stores_make(struct load *load, const struct manifest *manifest)
{
    struct db *db = load->db;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < manifest->tree_count; i++) {
        const struct manifest_tree *tree = &manifest->trees[i];
        struct store *store = db__store_find(db, tree->space_id, tree->incarnation);
        if (tree->index_id != 0 || (store != NULL && store->body != NULL))
            return diag_set(ERROR_CORRUPT, "the manifest has space %" PRIu32 " twice",
                            tree->space_id);
        if (store == NULL)
            rc = db__store_make(db, &db->boot, tree->space_id, tree->incarnation, &store);
        if (rc == 0)
            rc = body_of_tree(tree, store);
        load->stores[i] = store;
    }
    return rc;
}

static int bodies_load(struct db *db, struct db_open_stats *stats)
{
    const struct manifest *manifest = &db->loaded;
    struct load load = {.db = db, .store_count = manifest->tree_count, .threads = threads_useful()};
    load.stores = calloc(load.store_count + 1, sizeof(struct store *));
    if (load.stores == NULL)
        return diag_set(ERROR_MEMORY, "no memory for %u spaces", load.store_count);
    arena_create(&load.arena, 0);
    pthread_mutex_init(&load.mutex, NULL);
    int rc = stores_make(&load, manifest);
    if (rc == 0)
        rc = pieces_make(&load, stats);
    if (rc == 0)
        rc = pieces_load(&load);
    stats->run_rows = atomic_load(&load.rows);
    pthread_mutex_destroy(&load.mutex);
    arena_destroy(&load.arena);
    free(load.pieces);
    free(load.stores);
    return rc;
}

int db__checkpoint_load(struct db *db, struct db_open_stats *stats)
{
    int rc = manifest_load(db->io, &db->loaded);
    if (rc == ERROR_NOT_FOUND)
        rc = 0;
    if (rc == 0)
        rc = left_overs_remove(db);
    if (rc == 0)
        rc = bodies_load(db, stats);
    stats->k = db->loaded.clock;
    return rc;
}
