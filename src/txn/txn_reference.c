/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Looking for the row that a written one refers to (invariant 30): the counterpart of
 * txn_unique_check, by which who takes a row away looks for those that refer to it.
 *
 * A row counts when it has the key whatever happens: it, and every version that its present writer
 * could still return to, has it. When that depends on what another transaction will do, or has
 * done since the snapshot, it is a conflict.
 */
#include "txn/txn_private.h"

#include <string.h>

#include "base/error.h"

static bool has(const struct txn_index *index, const struct entry *entry,
                const struct version *version)
{
    return txn__exists(version) &&
           (index->matches == NULL || index->matches(index, entry, version) > 0);
}

/* Of a row whose newest committed version is this: 1, 0 or ERROR_CONFLICT. */
static int committed_check(struct txn *txn, const struct txn_index *index,
                           const struct entry *entry, const struct version *version, uint64_t stamp)
{
    bool there = has(index, entry, version);
    if (version != NULL)
        txn__saw(txn, stamp);
    if (txn__latest_level(txn) || stamp <= txn->snapshot)
        return there;
    uint64_t seen;
    const struct version *visible =
        txn__visible_from(version, txn->snapshot, txn->descriptor, false, &seen);
    bool was = has(index, entry, visible);
    if (MUTATION(FOREIGN_SNAPSHOT_READ))
        return was;
    return was == there ? there : ERROR_CONFLICT;
}

/* Of a row that another is writing, with `top` as its newest version: 1, 0, ERROR_CONFLICT,
 * ERROR_WAIT, or ERROR_AGAIN while an older transaction waits for a younger one. */
static int uncommitted_check(struct txn *txn, const struct txn_index *index,
                             const struct entry *entry, struct row *row, const struct version *top,
                             const struct txn_descriptor *owner)
{
    uint64_t stamp;
    const struct version *under =
        txn__visible_from(top, STAMP_TAG - 1, txn->descriptor, false, &stamp);
    bool all = has(index, entry, under), any = all;
    for (const struct version *version = top; version != NULL && version != under;
         version = load_acquire(&version->older)) {
        if (version_flags(version) & VERSION_LOCK)
            continue;
        bool there = has(index, entry, version);
        all = all && there;
        any = any || there;
    }
    if (!any || MUTATION(FOREIGN_PARENT_UNSEEN))
        return any;
    if (all)
        return committed_check(txn, index, entry, under, stamp);
    if (owner->slot != NULL)
        return txn__wait_for(txn, index->head, row->key, row->key_size,
                             (struct txn_descriptor *)owner);
    return txn->descriptor->begin_order < owner->begin_order ? ERROR_AGAIN : ERROR_CONFLICT;
}

static int row_check(struct txn *txn, const struct txn_index *index, const struct entry *entry,
                     struct row *row)
{
    struct version *top = load_acquire(&row->newest);
    while (top != NULL && (version_flags(top) & VERSION_LOCK))
        top = load_acquire(&top->older);
    if (top == NULL || top == &txn__version_dead)
        return 0;
    uint64_t stamp = load_acquire(&top->stamp);
    if (stamp & STAMP_TAG) {
        struct txn_descriptor *owner = txn__tag_owner(stamp);
        if (owner == txn->descriptor)
            return has(index, entry, top);
        uint64_t state = txn__settled_state(owner, STAMP_TAG);
        if ((state & STATE_MASK) == STATE_ABORTED)
            return ERROR_AGAIN;
        if ((state & STATE_MASK) == STATE_ACTIVE)
            return uncommitted_check(txn, index, entry, row, top, owner);
        stamp = state >> STATE_TS_SHIFT;
    }
    return committed_check(txn, index, entry, top, stamp);
}

int txn_reference_check(struct txn *txn, struct txn_index *index, const void *prefix,
                        size_t prefix_size)
{
    struct tree_cursor cursor;
    struct item *item;
    unsigned turn = 0;
    bool conflict = false;
    /* What refers has been stored, and now its counterpart is looked for: see txn_unique_check. */
    fence_seq_cst(&txn->worker->slot->snapshot);
    tree_cursor_create(&cursor, index->tree, prefix, prefix_size, true, false);
    while ((item = tree_cursor_next(&cursor, NULL)) != NULL && item->key_size >= prefix_size &&
           memcmp(item->key, prefix, prefix_size) == 0) {
        struct entry *entry = (struct entry *)item;
        struct row *row = index->matches == NULL ? (struct row *)item : load_acquire(&entry->row);
        int rc;
        while ((rc = row_check(txn, index, entry, row)) == ERROR_AGAIN && turn < OWNER_WAIT_TURNS)
            spin_wait(&turn);
        if (rc == 1)
            return 0;
        if (rc == ERROR_CONFLICT || rc == ERROR_AGAIN)
            conflict = true;
        else if (rc != 0)
            return rc;
    }
    return conflict ? txn__conflict_at(txn, TXN_CAUSE_REFERENCE, index->head, prefix, prefix_size)
                    : ERROR_NOT_FOUND;
}
