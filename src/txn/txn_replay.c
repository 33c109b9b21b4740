/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Recovery: the newest timestamp of a key wins, tombstones stay until replay ends (invariant 3), so
 * records may come in any order and more than once.
 *
 * What the runs have comes first. So a row that only the log knows is in no run, and when its newest
 * record is a tombstone it goes at once (invariant 33).
 */
#include "txn/txn_private.h"

#include <string.h>

#include "base/error.h"

static struct version *replay_version(struct tree_thread *thread, uint64_t ts, const void *data,
                                      uint32_t size, bool tombstone)
{
    uint32_t flags = tombstone ? VERSION_TOMBSTONE : 0;
    struct version *version = txn__version_alloc(thread->heap, size, &flags);
    if (version == NULL)
        return NULL;
    atomic_init(&version->stamp, ts);
    atomic_init(&version->older, NULL);
    version->size = size;
    atomic_init(&version->flags, flags);
    if (size > 0)
        memcpy(version->bytes, data, size);
    return version;
}

static int replay_row(struct tree_thread *thread, struct head *head, const void *key,
                      size_t key_size, struct row **out)
{
    struct row *row = heap_alloc_as(thread->heap, item_alloc_size((uint32_t)key_size), HEAP_ROW);
    if (row == NULL)
        return ERROR_MEMORY;
    atomic_init(&row->newest, NULL);
    atomic_init(&row->state, head->body == NULL ? 0 : ROW_IN_RUN);
    row->key_size = (uint32_t)key_size;
    memcpy(row->key, key, key_size);
    struct item *present = NULL;
    int rc = tree_insert(head->tree, thread, (struct item *)row, NULL, NULL, &present);
    if (rc != 0)
        heap_free_as(thread->heap, row, item_alloc_size((uint32_t)key_size), HEAP_ROW);
    *out = row;
    return rc;
}

int txn_replay_run(struct tree_thread *thread, struct head *head, uint64_t ts, const void *key,
                   size_t key_size, const void *data, uint32_t size)
{
    struct row *row;
    int rc = txn_replay_row(thread, head, ts, key, key_size, data, size, false, &row);
    if (rc == 0 && row != NULL && !MUTATION(LOAD_UNNOTED))
        txn_row_enters_run(row);
    return rc;
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

void txn_replay_settle(struct txn_changes *changes)
{
    size_t kept = 0;
    for (size_t i = 0; i < changes->count; i++) {
        struct row *row = changes->items[i].row;
        if (txn_row_in_run(row) || txn__exists(load_relaxed(&row->newest)))
            changes->items[kept++] = changes->items[i];
        else
            atomic_fetch_and(&row->state, ~(uint32_t)ROW_CHANGED);
    }
    changes->count = kept;
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
