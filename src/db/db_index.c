/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Making and filling the trees of secondary indexes, at recovery and when an index is created.
 * Nobody writes meanwhile: there are no workers yet, or the gate is closed.
 *
 * Every version of a row gets its entry, not only the newest: a reader whose snapshot is older
 * finds what it has to see.
 */
#include "db/db_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"

int db__trees_make(struct db *db, struct txn *txn)
{
    struct txn_index scan = {.tree = db->index_store->head.tree, .head = &db->index_store->head};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc;
    txn_cursor_open(&cursor, txn, &scan, &(struct txn_range){0});
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0) {
        const char *data = version->bytes;
        uint64_t space_id, id;
        if (mp_decode_array(&data) < 6 || !mp_read_uint(&data, &space_id) ||
            !mp_read_uint(&data, &id) || id >= INDEX_MAX)
            return diag_set(ERROR_CORRUPT, "a row of _index is damaged");
        if (db__index_row_building(version->bytes))
            db->builds_stale = true;
        if (id == 0 || db__index_row_building(version->bytes))
            continue;
        /* Every incarnation that is there gets the tree; those that are not in the catalog are
         * freed with all they have. */
        for (struct store *store = db->stores[space_id % STORE_BUCKETS]; store != NULL;
             store = store->next)
            if (store->head.id == space_id && store->trees[id] == NULL &&
                (rc = tree_new(&db->boot, &store->trees[id])) != 0)
                return diag_set(rc, "no memory for an index of space %llu",
                                (unsigned long long)space_id);
    }
    return rc == ERROR_END ? 0 : rc;
}

static uint32_t parts_size(const struct item *item)
{
    return load_relaxed(&item->state) & ENTRY_PARTS_MASK;
}

int db__directory_make(struct tree_thread *thread, const struct index *index, struct tree *tree)
{
    if (index->type != INDEX_HASH)
        return 0;
    epoch_enter(thread->epoch);
    int rc = tree_directory_make(tree, thread, index->id == 0 ? NULL : parts_size);
    epoch_leave(thread->epoch);
    return rc == 0 ? 0
                   : diag_set(rc, "no memory for the directory of index \"%s\" of space \"%s\"",
                              index->name, index->space->name);
}

static int entry_insert(struct tree_thread *thread, struct index *index,
                        const struct key_bytes *key, struct row *row)
{
    struct entry *entry =
        heap_alloc_as(thread->heap, item_alloc_size((uint32_t)key->size), HEAP_ENTRY);
    if (entry == NULL)
        return diag_set(ERROR_MEMORY, "no memory for an index entry");
    atomic_init(&entry->row, row);
    atomic_init(&entry->state,
                (uint32_t)key->parts_size | (index->scan.counted ? ENTRY_COUNTED : 0));
    entry->key_size = (uint32_t)key->size;
    memcpy(entry->key, key->data, key->size);
    struct item *present;
    row_entry_count(entry);
    int rc = tree_insert(index->scan.tree, thread, (struct item *)entry, NULL, NULL, &present);
    if (rc != 0) {
        row_entry_uncount(entry);
        heap_free_as(thread->heap, entry, item_alloc_size(entry->key_size), HEAP_ENTRY);
    }
    if (rc == ERROR_TOO_LARGE)
        return diag_set(rc, "a key of index \"%s\" of space \"%s\" exceeds %d bytes", index->name,
                        index->space->name, TREE_KEY_SIZE_MAX);
    return rc == ERROR_EXISTS ? 0 : rc;
}

/* Whether another row is under the same key, by the newest versions; everything is committed. */
static bool taken(struct index *index, const struct key_bytes *key, const struct row *own)
{
    struct tree_cursor cursor;
    struct item *item;
    tree_cursor_create(&cursor, index->scan.tree, key->data, key->parts_size, true, false);
    while ((item = tree_cursor_next(&cursor, NULL)) != NULL && item->key_size >= key->parts_size &&
           memcmp(item->key, key->data, key->parts_size) == 0) {
        const struct row *row = load_acquire(&((struct entry *)item)->row);
        const struct version *newest = load_acquire(&row->newest);
        if (row != own && newest != NULL && !(version_flags(newest) & VERSION_TOMBSTONE) &&
            !txn_expired_for_all(index->scan.head, newest->bytes) &&
            index->scan.matches(&index->scan, (struct entry *)item, newest) != 0)
            return true;
    }
    return false;
}

static int key_add(struct tree_thread *thread, struct index *index, const struct key_bytes *key,
                   struct row *row, bool check)
{
    int rc = entry_insert(thread, index, key, row);
    return rc == 0 && check && index->unique && !key->has_nil && taken(index, key, row)
               ? db__duplicate(index)
               : rc;
}

static int row_add(struct tree_thread *thread, struct index *index, struct row *row, bool check,
                   struct arena *arena)
{
    const struct version *newest = load_acquire(&row->newest);
    for (const struct version *version = newest; version != NULL;
         version = load_acquire(&version->older)) {
        if (version_flags(version) & VERSION_TOMBSTONE)
            continue;
        struct key_list keys;
        int rc = db__keys_of_tuple(arena, index, version->bytes, &keys);
        if (rc != 0 && version != newest)
            continue; /* an old version, from before a change of format: only its snapshots miss it
                         in the new index */
        for (uint32_t i = 0; rc == 0 && i < keys.count; i++)
            rc = key_add(thread, index, &keys.keys[i], row,
                         check && version == newest &&
                             !txn_expired_for_all(index->scan.head, version->bytes));
        if (rc != 0)
            return rc;
    }
    return 0;
}

int db__index_fill(struct db *db, struct tree_thread *thread, struct index *index, bool check)
{
    (void)db;
    struct arena arena;
    struct tree_cursor cursor;
    struct item *item;
    int rc = 0;
    arena_create(&arena, 1 << 16);
    epoch_enter(thread->epoch);
    tree_cursor_create(&cursor, index->space->head->tree, NULL, 0, true, false);
    while (rc == 0 && (item = tree_cursor_next(&cursor, NULL)) != NULL) {
        rc = row_add(thread, index, (struct row *)item, check, &arena);
        arena_reset(&arena);
    }
    epoch_leave(thread->epoch);
    arena_destroy(&arena);
    return rc;
}
