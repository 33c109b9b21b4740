/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Adding entries for versions that are there already, while others write: an index is being built
 * (invariant 29).
 *
 * Writers maintain the index from before the filling begins, so it is only versions from earlier
 * that lack entries. What may happen to such a version meanwhile is that it is unlinked, by pruning
 * or by an undo; then its entry must not be left over, since it would lead to a row that will be
 * freed. Who unlinks a version sweeps its entry afterwards; who fills adds the entry and then looks
 * whether the version is still there. With a fence on both sides at least one of them sees the other,
 * and the entry goes.
 *
 * Two rows of the same primary key, of which one has ended, share entry keys. Who fills for an ended
 * row leaves the entry of its successor alone: under the latch it replaces another row's entry only
 * while its own row lives, for as long as which there is no successor.
 */
#include "txn/txn_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"

static uint64_t committed_at(const struct version *version)
{
    uint64_t stamp = load_acquire(&version->stamp);
    if (!(stamp & STAMP_TAG))
        return stamp;
    uint64_t state = txn__settled_state(txn__tag_owner(stamp), STAMP_TAG);
    return (state & STATE_MASK) == STATE_COMMITTED ? state >> STATE_TS_SHIFT : 0;
}

int txn_row_each(const struct row *row, txn_version_fn fn, void *arg)
{
    bool newest = true;
    for (const struct version *version = load_acquire(&row->newest);
         version != NULL && version != &txn__version_dead;
         version = load_acquire(&version->older)) {
        if (version_flags(version) & VERSION_LOCK)
            continue;
        bool committed = committed_at(version) != 0;
        if (!(version_flags(version) & VERSION_TOMBSTONE)) {
            int rc = fn(version,
                        !committed ? TXN_VERSION_OPEN
                        : newest   ? TXN_VERSION_NEWEST
                                   : TXN_VERSION_OLD,
                        arg);
            if (rc != 0)
                return rc;
        }
        newest = newest && !committed;
    }
    return 0;
}

static bool row_lives(const struct row *row)
{
    return load_acquire(&row->newest) != &txn__version_dead;
}

static bool fill_replace(struct item *present, struct item *inserted, void *arg)
{
    (void)arg;
    const struct row *row = load_relaxed(&((struct entry *)inserted)->row);
    return load_acquire(&((struct entry *)present)->row) != row && row_lives(row);
}

static bool linked(const struct row *row, const struct version *version)
{
    for (const struct version *at = load_acquire(&row->newest); at != NULL;
         at = load_acquire(&at->older))
        if (at == version)
            return true;
    return false;
}

int txn_entry_fill(struct txn_worker *worker, struct txn_index *index, const void *key,
                   size_t key_size, size_t parts_size, struct row *row,
                   const struct version *version)
{
    struct tree_thread *thread = &worker->thread;
    if (key_size > TREE_KEY_SIZE_MAX)
        return diag_set(ERROR_TOO_LARGE, "an index key of %zu bytes is above the limit of %d",
                        key_size, TREE_KEY_SIZE_MAX);
    struct entry *made =
        heap_alloc_as(thread->heap, item_alloc_size((uint32_t)key_size), HEAP_ENTRY);
    if (made == NULL)
        return diag_set(ERROR_MEMORY, "no memory for an index entry");
    atomic_init(&made->row, row);
    atomic_init(&made->state, (uint32_t)parts_size | (index->counted ? ENTRY_COUNTED : 0));
    made->key_size = (uint32_t)key_size;
    memcpy(made->key, key, key_size);
    struct item *present = NULL;
    MUTATION_POINT(ENTRY_FILLING);
    row_entry_count(made);
    int rc = tree_insert(index->tree, thread, (struct item *)made, fill_replace, NULL, &present);
    if (rc != 0) {
        row_entry_uncount(made);
        heap_free_as(thread->heap, made, item_alloc_size((uint32_t)key_size), HEAP_ENTRY);
        return rc == ERROR_EXISTS ? 0 : rc;
    }
    if (present != NULL) {
        row_entry_uncount((struct entry *)present);
        epoch_retire(thread->epoch, present, txn__entry_free, thread->heap);
    }
    fence_seq_cst(&worker->slot->snapshot);
    if (!linked(row, version) && !MUTATION(FILLED_ONCE))
        txn_entry_sweep(worker, index, key, key_size, row);
    return 0;
}

/* Whether the row has a version under the entry: TXN_HOLDER_NONE, _COMMITTED by its newest committed
 * one, or _OPEN only by one that is not committed. */
struct holder {
    const struct txn_index *index;
    const struct entry *entry;
    enum txn_holder found;
};

static int holder_look(const struct version *version, enum txn_version_state state, void *arg)
{
    struct holder *holder = arg;
    if (state == TXN_VERSION_OLD)
        return ERROR_END;
    if (holder->index->matches(holder->index, holder->entry, version) != 0)
        holder->found = state == TXN_VERSION_NEWEST ? TXN_HOLDER_COMMITTED : TXN_HOLDER_OPEN;
    return state == TXN_VERSION_NEWEST ? ERROR_END : 0;
}

static int newest_take(const struct version *version, enum txn_version_state state, void *arg)
{
    if (state != TXN_VERSION_NEWEST)
        return 0;
    *(const struct version **)arg = version;
    return ERROR_END;
}

static bool still_newest(const struct row *row, const struct version *version)
{
    const struct version *newest = NULL;
    txn_row_each(row, newest_take, &newest);
    return newest == version;
}

enum txn_holder txn_unique_look(struct txn_worker *worker, struct txn_index *index,
                                const void *prefix, size_t prefix_size, const struct row *own,
                                const struct version *version)
{
    enum txn_holder found = TXN_HOLDER_NONE;
    struct tree_cursor cursor;
    struct item *item;
    fence_seq_cst(&worker->slot->snapshot);
    tree_cursor_create(&cursor, index->tree, prefix, prefix_size, true, false);
    while ((item = tree_cursor_next(&cursor, NULL)) != NULL && item->key_size >= prefix_size &&
           memcmp(item->key, prefix, prefix_size) == 0) {
        struct entry *entry = (struct entry *)item;
        const struct row *row = load_acquire(&entry->row);
        struct holder holder = {index, entry, TXN_HOLDER_NONE};
        if (row != own)
            txn_row_each(row, holder_look, &holder);
        if (holder.found == TXN_HOLDER_COMMITTED && still_newest(own, version))
            return TXN_HOLDER_COMMITTED;
        if (holder.found != TXN_HOLDER_NONE)
            found = TXN_HOLDER_OPEN;
    }
    return found;
}
