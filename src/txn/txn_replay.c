/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Recovery: the newest timestamp of a key wins, tombstones stay until replay ends (invariant 3), so
 * records may come in any order and more than once.
 */
#include "txn/txn_private.h"

#include <string.h>

#include "base/error.h"

static struct version *replay_version(struct tree_thread *thread, uint64_t ts, const void *data,
                                      uint32_t size, bool tombstone)
{
    struct version *version = heap_alloc(thread->heap, version_alloc_size(size));
    if (version == NULL)
        return NULL;
    atomic_init(&version->stamp, ts);
    atomic_init(&version->older, NULL);
    version->size = size;
    atomic_init(&version->flags, tombstone ? VERSION_TOMBSTONE : 0);
    if (size > 0)
        memcpy(version->bytes, data, size);
    return version;
}

static int replay_row(struct tree_thread *thread, struct head *head, const void *key,
                      size_t key_size, struct row **out)
{
    struct row *row = heap_alloc(thread->heap, item_alloc_size((uint32_t)key_size));
    if (row == NULL)
        return ERROR_MEMORY;
    atomic_init(&row->newest, NULL);
    atomic_init(&row->state, 0);
    row->key_size = (uint32_t)key_size;
    memcpy(row->key, key, key_size);
    struct item *present = NULL;
    int rc = tree_insert(head->tree, thread, (struct item *)row, NULL, NULL, &present);
    if (rc != 0)
        heap_free(thread->heap, row, item_alloc_size((uint32_t)key_size));
    *out = row;
    return rc;
}

int txn_replay(struct tree_thread *thread, struct head *head, uint64_t ts, const void *key,
               size_t key_size, const void *data, uint32_t size, bool tombstone)
{
    struct row *row;
    return txn_replay_row(thread, head, ts, key, key_size, data, size, tombstone, &row);
}

int txn_replay_row(struct tree_thread *thread, struct head *head, uint64_t ts, const void *key,
                   size_t key_size, const void *data, uint32_t size, bool tombstone,
                   struct row **out)
{
    epoch_enter(thread->epoch);
    int rc = 0;
    *out = NULL;
    struct row *row = (struct row *)tree_get(head->tree, key, key_size);
    if (tombstone && row == NULL && MUTATION(REPLAY_DROPS_TOMBSTONES))
        goto out;
    if (row == NULL && (rc = replay_row(thread, head, key, key_size, &row)) != 0)
        goto out;
    struct version *present = load_relaxed(&row->newest);
    if (present != NULL && load_relaxed(&present->stamp) > ts && !MUTATION(REPLAY_LAST_WINS))
        goto out;
    struct version *version = replay_version(thread, ts, data, size, tombstone);
    if (version == NULL) {
        rc = ERROR_MEMORY;
        goto out;
    }
    store_release(&row->newest, version);
    *out = row;
    if (present != NULL)
        txn__version_free(present, thread->heap);
out:
    epoch_leave(thread->epoch);
    return rc;
}

void txn_replay_end(struct tree_thread *thread, struct head *head)
{
    epoch_enter(thread->epoch);
    struct tree_cursor cursor;
    tree_cursor_create(&cursor, head->tree, NULL, 0, true, false);
    struct item *item;
    int64_t rows = 0, bytes = 0;
    while ((item = tree_cursor_next(&cursor, NULL)) != NULL) {
        struct row *row = (struct row *)item;
        struct version *version = load_relaxed(&row->newest);
        bool exists = version != NULL && !(version_flags(version) & VERSION_TOMBSTONE);
        rows += exists;
        bytes += exists ? version->size : 0;
        if (exists || (load_relaxed(&row->state) & ROW_CHANGED))
            continue;
        if (tree_remove(head->tree, thread, item, NULL, NULL)) {
            if (version != NULL)
                epoch_retire(thread->epoch, version, txn__version_free, thread->heap);
            epoch_retire(thread->epoch, row, txn__row_free, thread->heap);
        }
    }
    txn__rows_count(head, 0, rows, bytes);
    epoch_leave(thread->epoch);
}

static void row_delete(struct item *item, void *arg)
{
    struct tree_thread *thread = arg;
    struct row *row = (struct row *)item;
    struct version *version = load_relaxed(&row->newest);
    while (version != NULL && version != &txn__version_dead) {
        struct version *older = load_relaxed(&version->older);
        txn__version_free(version, thread->heap);
        version = older;
    }
    txn__row_free(row, thread->heap);
}

static void entry_delete(struct item *item, void *arg)
{
    struct tree_thread *thread = arg;
    row_entry_uncount((struct entry *)item);
    txn__entry_free(item, thread->heap);
}

void txn_rows_delete(struct tree_thread *thread, struct tree *tree)
{
    tree_delete(tree, thread, row_delete, thread);
}

void txn_entries_delete(struct tree_thread *thread, struct tree *tree)
{
    tree_delete(tree, thread, entry_delete, thread);
}
