/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading: which version of a row a snapshot sees, what a serializable transaction has read, and
 * whether that still holds.
 *
 * A reader at timestamp S takes the first version of the chain that was committed at or before S. A
 * tagged version belongs to a transaction whose state word decides: *active* means that its
 * timestamp will be above S, because preparing is stored before the clock is advanced and S was
 * read from the clock before the state; *preparing* with a timestamp up to S is waited for, which
 * takes the few instructions until it has appended its record.
 *
 * Validation (invariant 16) happens with a commit timestamp T in hand: every row that was read must
 * give the same version at T, not counting own writes; every absent key must still be absent; every
 * range whose leaves have changed is scanned again and must hold the same visible rows.
 */
#include "txn/txn_private.h"

#include <string.h>

#include "base/error.h"

uint64_t txn__settled_state(const struct txn_descriptor *descriptor, uint64_t ts)
{
    unsigned turn = 0;
    for (;;) {
        uint64_t state = load_acquire(&descriptor->state);
        uint64_t commit_ts = state >> STATE_TS_SHIFT;
        if ((state & STATE_MASK) != STATE_PREPARING || (commit_ts != 0 && commit_ts > ts))
            return state;
        spin_wait(&turn);
    }
}

const struct version *txn__visible_from(const struct version *version, uint64_t ts,
                                        const struct txn_descriptor *own, bool with_own,
                                        uint64_t *stamp_out)
{
    for (; version != NULL; version = load_acquire(&version->older)) {
        uint64_t stamp = load_acquire(&version->stamp);
        if (stamp & STAMP_TAG) {
            const struct txn_descriptor *owner = txn__tag_owner(stamp);
            if (owner == own) {
                if (!with_own || (version->flags & VERSION_LOCK))
                    continue;
                stamp = 0;
            } else {
                uint64_t state = txn__settled_state(owner, ts);
                if ((state & STATE_MASK) != STATE_COMMITTED || (version->flags & VERSION_LOCK))
                    continue;
                stamp = state >> STATE_TS_SHIFT;
            }
        }
        if (stamp <= ts) {
            if (stamp_out != NULL)
                *stamp_out = stamp;
            return version;
        }
    }
    if (stamp_out != NULL)
        *stamp_out = 0;
    return NULL;
}

const struct version *txn__visible(const struct row *row, uint64_t ts,
                                   const struct txn_descriptor *own, bool with_own,
                                   uint64_t *stamp_out)
{
    return txn__visible_from(load_acquire(&row->newest), ts, own, with_own, stamp_out);
}

static int row_record(struct txn *txn, struct head *head, struct row *row,
                      const struct version *seen)
{
    if (txn->reads.count > 0) {
        struct txn_read *last = &txn->reads.items[txn->reads.count - 1];
        if (last->row == row && last->version == seen)
            return 0;
    }
    return txn__vector_add(txn, &txn->reads, (struct txn_read){head, row, seen}) ? 0 : ERROR_MEMORY;
}

static int absent_record(struct txn *txn, struct head *head, const void *key, size_t key_size)
{
    void *copy = arena_copy(&txn->arena, key, key_size);
    if (copy == NULL ||
        !txn__vector_add(txn, &txn->absents, (struct txn_absent){head, copy, key_size}))
        return ERROR_MEMORY;
    return 0;
}

static bool reads_are_recorded(const struct txn *txn)
{
    return txn->level == TXN_SERIALIZABLE && !txn->readonly;
}

int txn__read_row(struct txn *txn, struct head *head, struct row *row, const struct version *seen)
{
    return reads_are_recorded(txn) ? row_record(txn, head, row, seen) : 0;
}

/* A row as this transaction sees it at `ts`; *committed is what is visible there without own
 * writes, which belongs into the read set. */
static const struct version *row_see(struct txn *txn, const struct row *row, uint64_t ts,
                                     const struct version **committed)
{
    uint64_t stamp;
    const struct version *seen = txn__visible(row, ts, txn->descriptor, true, &stamp);
    *committed = seen;
    if (seen != NULL && stamp == 0 && seen != &txn__version_dead)
        *committed = txn__visible(row, ts, txn->descriptor, false, &stamp);
    if (seen != NULL)
        txn__saw(txn, stamp);
    if (*committed == &txn__version_dead)
        *committed = NULL;
    return txn__exists(seen) ? seen : NULL;
}

/* The row with this key, NULL when there is none. */
static struct row *row_get(struct head *head, const void *key, size_t key_size)
{
    struct row *row = (struct row *)tree_get(head->tree, key, key_size);
    return row != NULL && load_acquire(&row->newest) != &txn__version_dead ? row : NULL;
}

int txn_get(struct txn *txn, struct head *head, const void *key, size_t key_size,
            const struct version **out)
{
    *out = NULL;
    if (txn->doomed)
        return ERROR_CONFLICT;
    struct row *row = row_get(head, key, key_size);
    if (row == NULL)
        return reads_are_recorded(txn) ? absent_record(txn, head, key, key_size) : 0;
    const struct version *committed;
    *out = row_see(txn, row, txn->snapshot, &committed);
    return txn__read_row(txn, head, row, committed);
}

int txn__get_validated(struct txn *txn, struct head *head, const void *key, size_t key_size,
                       const struct version **out)
{
    struct row *row = row_get(head, key, key_size);
    if (row == NULL)
        return absent_record(txn, head, key, key_size);
    const struct version *committed;
    *out = row_see(txn, row, STAMP_TAG - 1, &committed);
    return row_record(txn, head, row, committed);
}

static bool absent_unchanged(struct txn *txn, const struct txn_absent *absent, uint64_t ts)
{
    struct row *row = (struct row *)tree_get(absent->head->tree, absent->key, absent->key_size);
    return row == NULL || !txn__exists(txn__visible(row, ts, txn->descriptor, false, NULL));
}

static bool row_unchanged(struct txn *txn, const struct txn_read *read, uint64_t ts)
{
    const struct version *now = txn__visible(read->row, ts, txn->descriptor, false, NULL);
    if (now == &txn__version_dead) {
        /* The row was read as absent and has ended since: another of the same key may be in its
         * place. */
        struct txn_absent absent = {read->head, read->row->key, read->row->key_size};
        return !txn__exists(read->version) && absent_unchanged(txn, &absent, ts);
    }
    if (now == read->version)
        return true;
    return !txn__exists(now) && !txn__exists(read->version);
}

size_t txn__read_count(const struct txn *txn)
{
    size_t count = txn->reads.count + txn->absents.count + txn->depends.count;
    for (const struct txn_range_read *range = txn->ranges; range != NULL; range = range->next)
        count += 1 + range->visible_count;
    return count;
}

bool txn__validate(struct txn *txn, uint64_t ts)
{
    for (size_t i = 0; i < txn->depends.count; i++)
        if (!row_unchanged(txn, &txn->depends.items[i], ts))
            return false;
    for (size_t i = 0; i < txn->reads.count; i++)
        if (!row_unchanged(txn, &txn->reads.items[i], ts))
            return false;
    for (size_t i = 0; i < txn->absents.count; i++)
        if (!absent_unchanged(txn, &txn->absents.items[i], ts))
            return false;
    for (struct txn_range_read *range = txn->ranges; range != NULL; range = range->next)
        if (!txn__range_unchanged(txn, range, ts))
            return false;
    return true;
}

int txn_depend(struct txn *txn, struct head *head, struct row *row, const struct version *seen)
{
    for (size_t i = 0; i < txn->depends.count; i++)
        if (txn->depends.items[i].row == row)
            return 0;
    return txn__vector_add(txn, &txn->depends, (struct txn_read){head, row, seen}) ? 0
                                                                                   : ERROR_MEMORY;
}

void txn_statement(struct txn *txn)
{
    if (txn->level == TXN_READ_COMMITTED && !txn->readonly)
        txn->snapshot = txn__snapshot_take(txn->worker, false);
}
