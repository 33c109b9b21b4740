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
    if (!txn_expired_for_all(holder->index->head, version->bytes) &&
        holder->index->matches(holder->index, holder->entry, version) != 0)
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

/* ------------------------------------------------------------------------------- where rows leave */

void txn_fill_fence(struct txn_worker *worker)
{
    fence_seq_cst(&worker->slot->snapshot);
}

static bool key_is(const struct engine_key *key, const void *data, size_t size)
{
    return key->data != NULL && key->size == size && memcmp(key->data, data, size) == 0;
}

/* 1, 0, or an error. */
static int has(const struct txn_index *index, const struct entry *entry,
               const struct version *version)
{
    return txn__exists(version) && !txn_expired_for_all(index->head, version->bytes)
               ? index->matches(index, entry, version)
               : 0;
}

/* What the versions in the head say of the row under the entry. *silent: none of them is committed, so
 * that what the body has counts. */
static int head_holds(const struct txn_index *index, const struct entry *entry,
                      const struct row *row, enum txn_holder *found, bool *silent)
{
    *silent = true;
    for (const struct version *version = row == NULL ? NULL : load_acquire(&row->newest);
         *silent && version != NULL && version != &txn__version_dead;
         version = load_acquire(&version->older)) {
        if (version_flags(version) & VERSION_LOCK)
            continue;
        *silent = committed_at(version) == 0;
        int rc = has(index, entry, version);
        if (rc < 0)
            return rc;
        if (rc > 0)
            *found = *silent ? TXN_HOLDER_OPEN : TXN_HOLDER_COMMITTED;
    }
    return 0;
}

/* Of an index that is in a body. The row is looked for in the head before the body's picture is taken:
 * one that has left is in that. */
static int entry_holds(struct txn_index *index, const struct entry *entry,
                       const struct engine_key *key, struct arena *arena, enum txn_holder *found)
{
    const struct head *head = index->head;
    const struct version *version;
    struct engine_row there;
    bool silent;
    *found = TXN_HOLDER_NONE;
    const struct row *row = (struct row *)tree_get(head->tree, key->data, key->size);
    int rc = head_holds(index, entry, row, found, &silent);
    if (rc != 0 || !silent)
        return rc;
    unsigned char *whole = arena_alloc(arena, key->size + 1);
    if (whole == NULL)
        return diag_set(ERROR_MEMORY, "no memory to look for a key");
    whole[0] = 0;
    memcpy(whole + 1, key->data, key->size);
    rc = body_get(load_acquire(&head->body->view), whole, key->size + 1, UINT64_MAX, arena, &there);
    if (rc == ERROR_NOT_FOUND)
        return 0;
    if (rc == 0)
        rc = txn__body_version(arena, &there, &version);
    if (rc == 0 && (rc = has(index, entry, version)) > 0)
        *found = TXN_HOLDER_COMMITTED;
    return rc < 0 ? rc : 0;
}

static int next_holder(struct txn_index *index, struct body_cursor *cursor,
                       const unsigned char *bound, size_t bound_size, const struct engine_key *own,
                       struct arena *arena, enum txn_holder *found, struct engine_key *holder)
{
    struct engine_row there;
    struct entry *entry;
    int rc;
    while ((rc = body_cursor_next(cursor, &there)) == 0 && there.key_size >= bound_size &&
           memcmp(there.key, bound, bound_size) == 0) {
        enum txn_holder one;
        there.key++; /* without the number of the index */
        there.key_size--;
        if ((rc = txn__body_entry(arena, &there, &entry)) != 0)
            return rc;
        size_t parts = load_relaxed(&entry->state) & ENTRY_PARTS_MASK;
        struct engine_key key = {entry->key + parts, entry->key_size - parts};
        if (parts != bound_size - 1 || key_is(own, key.data, key.size))
            continue;
        if ((rc = entry_holds(index, entry, &key, arena, &one)) != 0)
            return rc;
        if (one == TXN_HOLDER_NONE)
            continue;
        *found = one;
        *holder = key;
        if (one == TXN_HOLDER_COMMITTED)
            return 0;
    }
    return rc == ERROR_END ? 0 : rc;
}

int txn_body_holder(struct txn_index *index, const struct engine_key *prefix,
                    const struct engine_key *own, struct arena *arena, enum txn_holder *found,
                    struct engine_key *holder)
{
    struct body_cursor *cursor;
    *found = TXN_HOLDER_NONE;
    *holder = (struct engine_key){NULL, 0};
    unsigned char *bound = arena_alloc(arena, prefix->size + 1);
    if (bound == NULL)
        return diag_set(ERROR_MEMORY, "no memory to look for a key");
    bound[0] = index->number;
    memcpy(bound + 1, prefix->data, prefix->size);
    const struct engine_range range = {
        .lower = bound, .lower_size = prefix->size + 1, .lower_inclusive = true};
    int rc = body_cursor_open(load_acquire(&index->head->body->view), &range, UINT64_MAX, &cursor);
    if (rc != 0)
        return rc;
    rc = next_holder(index, cursor, bound, prefix->size + 1, own, arena, found, holder);
    body_cursor_close(cursor);
    return rc;
}
