/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a checkpoint gives to the body of one store.
 *
 *      rows of the list, in order of key ──► versions at K ─────────────────────► body
 *                                                │ what was there before            ▲
 *                                                ▼                                  │
 *                                 entries that came or went, sorted ────────────────┘ behind the rows
 *
 * Of an engine that has all rows in the head the body is read at a start only: it gets the newest
 * version up to K of each row, and indexes are made anew. Where rows leave the head, somebody reads the
 * body: it gets the versions before that, too, that a snapshot sees, each key behind the number of its
 * index, and the entries of secondary indexes (invariant 20), one that is being built among them. These follow from versions of a row one
 * after the other, the first of which is what the body has of it: a key that only the later one has is
 * put, one that only the earlier one has gets a tombstone. They are kept in memory until the rows are
 * through.
 *
 * Versions are followed, and their bytes copied, inside of an epoch, a few hundred rows at a time.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"
#include "db/checkpoint_private.h"

enum { BATCH_ROWS = 256, BATCH_BYTES = 1 << 20, BREATH_COMPARISONS = 4096 };

/* Of secondary indexes. */
struct entries {
    struct arena arena; /* keys and data */
    struct engine_row *items;
    size_t count, capacity, next;
    uint64_t given; /* those of an index that is being built among them */
    bool sorted;
};

/* The versions at K of the rows items[next..behind), in order, and then the entries. */
struct source {
    struct engine_source base;
    struct round *round;
    struct store *store;
    const struct space *space; /* its indexes; NULL when there are no entries */
    bool tombstones;           /* what was deleted may be in the body */
    size_t next, behind;
    struct entries entries;
    struct body_build *build; /* of an index over rows that are in the body; or NULL */
    struct arena arena;       /* bytes of the batch */
    uint64_t bytes;           /* of the batch */
    uint64_t written; /* by the body, when it was last waited for the pace, where files change */
    unsigned at, count, capacity;
    struct engine_row rows[];
};

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory for the rows of a checkpoint");
}

/* ------------------------------------------------------------------------------------------ rows */

/* The key as the body has it. */
static int key_set(struct source *source, const struct row *row, struct engine_row *out)
{
    out->key = row->key;
    out->key_size = row->key_size;
    if (!db__store_leaves(source->store))
        return 0;
    unsigned char *key = arena_alloc(&source->arena, (size_t)row->key_size + 1);
    if (key == NULL)
        return no_memory();
    key[0] = 0;
    memcpy(key + 1, row->key, row->key_size);
    out->key = key;
    out->key_size++;
    return 0;
}

/* Where rows leave the head, an older version may be written behind it for a snapshot, and the row need not be
 * noted: replay has made it before the body was there (invariant 33). */
static bool tombstone_needed(const struct source *source, const struct row *row)
{
    return source->tombstones && (db__store_leaves(source->store) || txn_row_in_run(row));
}

static int version_copy(struct source *source, struct row *row, const struct version *version,
                        uint64_t ts)
{
    bool tombstone = (version_flags(version) & VERSION_TOMBSTONE) != 0;
    if (tombstone && !tombstone_needed(source, row))
        return 0;
    struct engine_row *out = &source->rows[source->count];
    *out = (struct engine_row){.ts = ts};
    int rc = key_set(source, row, out);
    if (rc == 0 && !tombstone) {
        if (!checkpoint__mutated(source->round->checkpoint, CHECKPOINT_MUTATION_UNNOTED))
            txn_row_enters_run(row);
        out->data = arena_copy(&source->arena, version->bytes, version->size);
        out->size = version->size;
        rc = out->data == NULL ? no_memory() : 0;
    }
    source->bytes += out->key_size + out->size;
    source->count++;
    return rc;
}

/* Copies what a row has to write, if anything: the version at K, and where somebody may read the body
 * those before it that a snapshot sees. */
static int versions_copy(struct source *source, struct row *row)
{
    const struct round *round = source->round;
    uint64_t ts = 0, last;
    const struct version *version = txn_row_at(row, round->k, &ts);
    if (version == NULL || ts <= source->store->k)
        return 0;
    int rc = version_copy(source, row, version, last = ts);
    for (unsigned i = db__store_leaves(source->store) ? round->snapshots.count : 0;
         rc == 0 && i-- > 0;) {
        if (round->snapshots.ts[i] >= last)
            continue;
        version = txn_row_at(row, round->snapshots.ts[i], &ts);
        if (version == NULL || ts <= source->store->k)
            break;
        if (ts < last)
            rc = version_copy(source, row, version, last = ts);
    }
    return rc;
}

/* --------------------------------------------------------------------------------------- entries */

static int entry_add(struct source *source, const struct index *index, const struct key_bytes *key,
                     uint64_t ts, bool put, uint64_t expires_ms)
{
    struct entries *entries = &source->entries;
    if (entries->count == entries->capacity) {
        size_t capacity = 2 * entries->capacity + 256;
        void *grown = realloc(entries->items, capacity * sizeof *entries->items);
        if (grown == NULL)
            return no_memory();
        entries->items = grown;
        entries->capacity = capacity;
    }
    unsigned char *bytes = arena_alloc(&entries->arena, key->size + 1 + BODY_ENTRY_SIZE_MAX);
    if (bytes == NULL)
        return no_memory();
    bytes[0] = index->scan.number;
    memcpy(bytes + 1, key->data, key->size);
    char *data = (char *)bytes + 1 + key->size;
    struct engine_row *entry = &entries->items[entries->count++];
    *entry = (struct engine_row){.key = bytes, .key_size = key->size + 1, .ts = ts};
    if (put) {
        entry->data = data;
        entry->size = (uint32_t)txn_body_entry_put(data, key->parts_size, expires_ms);
    }
    return 0;
}

/* Keys that one tuple has and the other one has not, each of which may be NULL. One that is put goes when
 * the row expires; so it is put anew where that is another time (invariant 35). */
static int keys_compare(struct source *source, const struct index *index, const char *has,
                        const char *other, uint64_t ts, bool put)
{
    struct key_list keys = {.count = 0}, others = {.count = 0};
    uint64_t expires_ms = put && has != NULL ? txn_expires_ms(&source->store->head, has) : 0;
    bool anew = put && has != NULL && other != NULL && !MUTATION(ENTRY_TIME_KEPT) &&
                txn_expires_ms(&source->store->head, other) != expires_ms;
    int rc = has == NULL ? 0 : db__keys_quietly(&source->arena, index, has, &keys);
    if (rc == 0 && other != NULL && !anew)
        rc = db__keys_quietly(&source->arena, index, other, &others);
    for (uint32_t i = 0; rc == 0 && i < keys.count; i++)
        if (!db__key_listed(&others, keys.keys[i].data, keys.keys[i].size, false))
            rc = entry_add(source, index, &keys.keys[i], ts, put, expires_ms);
    return rc;
}

/* What the body has of the row up to the last K. */
static int base_get(struct source *source, const struct engine_row *row, const char **out)
{
    struct engine_row found;
    struct store *store = source->store;
    *out = NULL;
    int rc = body_get(load_relaxed(&store->published.view), row->key, row->key_size, store->k,
                      &source->arena, &found);
    if (rc == 0)
        *out = found.data;
    return rc == ERROR_NOT_FOUND ? 0 : rc;
}

static int index_derive(struct source *source, const struct index *index,
                        const struct engine_row *row, const char *before)
{
    int rc = keys_compare(source, index, row->data, before, row->ts, true);
    return rc != 0 ? rc : keys_compare(source, index, before, row->data, row->ts, false);
}

/* Of the versions of one row in rows[from..count), the newest first. */
static int entries_derive(struct source *source, unsigned from)
{
    const char *before;
    if (source->space == NULL || from == source->count)
        return 0;
    int rc = base_get(source, &source->rows[from], &before);
    for (unsigned n = source->count; rc == 0 && n-- > from;) {
        const struct engine_row *row = &source->rows[n];
        for (uint32_t i = 1; rc == 0 && i < source->space->index_count; i++)
            rc = index_derive(source, source->space->indexes[i], row, before);
        /* One that is made again has its number from the one that is there. */
        if (rc == 0 && source->space->building != NULL && !source->space->building->again)
            rc = index_derive(source, source->space->building, row, before);
        before = row->data;
    }
    return rc;
}

struct sorting {
    struct checkpoint *checkpoint;
    uint64_t compared;
};

static int rows_compare(const struct engine_row *a, const struct engine_row *b)
{
    size_t common = a->key_size < b->key_size ? a->key_size : b->key_size;
    int order = memcmp(a->key, b->key, common);
    if (order == 0)
        order = (a->key_size > b->key_size) - (a->key_size < b->key_size);
    return order != 0 ? order : (a->ts < b->ts) - (a->ts > b->ts);
}

static int entry_compare(const void *one, const void *other, void *arg)
{
    struct sorting *sorting = arg;
    if (++sorting->compared % BREATH_COMPARISONS == 0)
        checkpoint__breathe(sorting->checkpoint);
    return rows_compare(one, other);
}

/* A body that writes whole pages for some rows writes more than those have: that counts. */
static int pace(struct source *source, uint64_t bytes)
{
    struct body *body = source->store->body;
    if (body->vtab->flags & ENGINE_CHANGES_FILES) {
        struct engine_stats stats;
        body_stats(body, &stats);
        bytes = stats.written - source->written;
        source->written = stats.written;
    }
    return checkpoint__pace(source->round->checkpoint, bytes);
}

/* The next of those that follow from what was written, and those of an index that is being built. */
static int entry_take(struct source *source, struct engine_row *out)
{
    struct entries *entries = &source->entries;
    const struct engine_row *own = NULL, *other = NULL;
    if (entries->next < entries->count)
        own = &entries->items[entries->next];
    int rc = source->build == NULL ? 0 : checkpoint__build_peek(source->build, &other);
    if (rc != 0 || (own == NULL && other == NULL))
        return rc != 0 ? rc : ERROR_END;
    int order = own == NULL ? 1 : other == NULL ? -1 : rows_compare(own, other);
    *out = order <= 0 ? *own : *other;
    if (order <= 0)
        entries->next++;
    if (order >= 0)
        checkpoint__build_take(source->build);
    return 0;
}

static int entries_next(struct source *source, struct engine_row *out)
{
    struct entries *entries = &source->entries;
    if (!entries->sorted && entries->count > 0) {
        struct sorting sorting = {source->round->checkpoint, 0};
        qsort_r(entries->items, entries->count, sizeof *entries->items, entry_compare, &sorting);
    }
    entries->sorted = true;
    int rc = entry_take(source, out);
    return rc != 0 || ++entries->given % BATCH_ROWS != 0 ? rc
                                                         : pace(source, BATCH_ROWS * out->key_size);
}

/* --------------------------------------------------------------------------------------- the source */

static int row_copy(struct source *source, struct row *row)
{
    unsigned from = source->count;
    int rc = versions_copy(source, row);
    return rc == 0 ? entries_derive(source, from) : rc;
}

static int batch_fill(struct source *source)
{
    struct txn_worker *worker = source->round->checkpoint->worker->txn;
    int rc = 0;
    arena_reset(&source->arena);
    source->at = source->count = 0;
    source->bytes = 0;
    txn_worker_enter(worker);
    unsigned a_row = 1 + (db__store_leaves(source->store) ? source->round->snapshots.count : 0);
    while (rc == 0 && source->next < source->behind && source->count + a_row <= source->capacity &&
           source->bytes < BATCH_BYTES)
        rc = row_copy(source, source->round->items[source->next++].row);
    txn_worker_leave(worker);
    source->round->rows += source->count;
    db__throttle_written(source->round->checkpoint->db, source->next, source->round->changes.count);
    return rc;
}

static int source_next(struct engine_source *base, struct engine_row *out)
{
    struct source *source = (struct source *)base;
    while (source->at == source->count) {
        if (source->next == source->behind)
            return entries_next(source, out);
        if (load_relaxed(&source->store->dropped))
            return diag_set(ERROR_CANCELLED, "the space was dropped");
        int rc = pace(source, source->bytes);
        if (rc == 0)
            rc = batch_fill(source);
        if (rc != 0)
            return rc;
    }
    *out = source->rows[source->at++];
    return 0;
}

/* What it has written since `before`: its file may be shorter than before, where files change. */
static uint64_t body_written(struct body *body, const struct engine_stats *before)
{
    struct engine_stats stats;
    body_stats(body, &stats);
    return body->vtab->flags & ENGINE_CHANGES_FILES ? stats.written - before->written
                                                    : stats.bytes - before->bytes;
}

/* What a body has to keep versions for; nobody reads one of which all rows are in the head. */
static const struct engine_snapshots *snapshots_for(const struct round *round,
                                                    const struct store *store)
{
    static const struct engine_snapshots none = {NULL, 0};
    return db__store_leaves(store) ? &round->snapshots : &none;
}

/* The space, if its body has entries of secondary indexes. As it is now: of an index that has been made
 * since K either there were no rows, or rows from before are no affair of this checkpoint. */
static const struct space *indexed_space(const struct round *round, const struct store *store)
{
    if (!db__store_leaves(store))
        return NULL;
    const struct space *space =
        catalog_space_by_id(db_catalog(round->checkpoint->worker), store->head.id);
    return space != NULL && space->head == &store->head &&
                   (space->index_count > 1 || space->building != NULL)
               ? space
               : NULL;
}

/* What the body has of a row is looked up in what is published: where that was refused for want of memory it is older
 * than K, and entries that follow from it would be wrong. */
static bool is_shown(struct checkpoint *checkpoint, struct store *store)
{
    struct tree_thread *thread = txn_worker_thread(checkpoint->worker->txn);
    return !db__store_leaves(store) || load_relaxed(&store->published.k) >= store->k ||
           db__store_publish(store, thread, store->k) == 0;
}

int checkpoint__store_absorb(struct round *round, struct store *store, size_t first, size_t behind)
{
    struct engine_stats before;
    if (!is_shown(round->checkpoint, store))
        return no_memory();
    body_stats(store->body, &before);
    unsigned capacity = BATCH_ROWS + (db__store_leaves(store) ? round->snapshots.count : 0);
    struct source *source = malloc(sizeof *source + capacity * sizeof *source->rows);
    if (source == NULL)
        return no_memory();
    bool mutated = checkpoint__mutated(round->checkpoint, CHECKPOINT_MUTATION_NO_TOMBSTONE);
    *source =
        (struct source){.base.next = source_next,
                        .round = round,
                        .store = store,
                        .space = indexed_space(round, store),
                        .build = checkpoint__build_serve(round, store),
                        .tombstones = (before.files > 0 || db__store_leaves(store)) && !mutated,
                        .next = first,
                        .behind = behind,
                        .written = before.written,
                        .capacity = capacity};
    arena_create(&source->arena, 2 * BATCH_BYTES);
    arena_create(&source->entries.arena, 0);
    int rc = body_absorb(store->body, &source->base, round->k, snapshots_for(round, store));
    if (rc == 0 && (store->body->vtab->flags & ENGINE_CHANGES_FILES))
        rc = pace(source, 0); /* what it wrote behind the last row */
    arena_destroy(&source->entries.arena);
    arena_destroy(&source->arena);
    free(source->entries.items);
    free(source);
    if (rc == ERROR_CANCELLED && load_relaxed(&store->dropped))
        return 0;
    if (rc == 0)
        round->bytes += body_written(store->body, &before);
    return rc;
}
