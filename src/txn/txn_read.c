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
 * give the version of the same timestamp at T, not counting own writes; every absent key must still
 * be absent; every range whose leaves have changed is scanned again and must hold the same visible
 * rows.
 *
 * A transaction that is parked holds no epoch, so rows it has read may end and be freed. It takes
 * keys and timestamps with it instead of pointers, and scans its ranges again.
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
            MUTATION_POINT(TAG_LOADED);
            if (owner == own) {
                if (!with_own || (version_flags(version) & VERSION_LOCK))
                    continue;
                stamp = 0;
            } else {
                uint64_t state = txn__settled_state(owner, ts);
                if ((state & STATE_MASK) != STATE_COMMITTED ||
                    (version_flags(version) & VERSION_LOCK)) {
                    MUTATION_POINT(TAG_PASSED);
                    continue;
                }
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

/* The newest version of a row that others may look at, committed or not. `*passed` is the one whose
 * bytes are still being written, if there is such a one above. */
static const struct version *newest_shown(const struct txn *txn, const struct row *row,
                                          uint64_t *stamp_out, const struct version **passed)
{
    const struct version *version = load_acquire(&row->newest);
    for (; version != NULL; version = load_acquire(&version->older)) {
        uint64_t stamp = load_acquire(&version->stamp);
        *stamp_out = stamp;
        if (!(stamp & STAMP_TAG))
            return version;
        const struct txn_descriptor *owner = txn__tag_owner(stamp);
        uint64_t state = load_acquire(&owner->state);
        bool committed = (state & STATE_MASK) == STATE_COMMITTED;
        *stamp_out = committed ? state >> STATE_TS_SHIFT : 0;
        if (version_flags(version) & VERSION_LOCK || (state & STATE_MASK) == STATE_ABORTED)
            continue;
        if (owner == txn->descriptor || committed || !(version_flags(version) & VERSION_OPEN))
            return version;
        *passed = version;
        MUTATION_POINT(TAG_PASSED);
    }
    *stamp_out = 0;
    return NULL;
}

static bool still_active(const struct version *version)
{
    uint64_t stamp = load_acquire(&version->stamp);
    return (stamp & STAMP_TAG) &&
           (load_acquire(&txn__tag_owner(stamp)->state) & STATE_MASK) == STATE_ACTIVE;
}

/* Looks again when there was nothing below a version that may have been committed since: then what
 * was there may have gone (invariant 13). */
static const struct version *newest_written(const struct txn *txn, const struct row *row,
                                            uint64_t *stamp)
{
    const struct version *version, *passed;
    do {
        passed = NULL;
        version = newest_shown(txn, row, stamp, &passed);
    } while (version == NULL && passed != NULL && !still_active(passed) && !MUTATION(LOOKED_ONCE));
    return version;
}

const struct version *txn__see(const struct txn *txn, const struct row *row, uint64_t ts,
                               uint64_t *stamp)
{
    return txn->level == TXN_READ_UNCOMMITTED ? newest_written(txn, row, stamp)
                                              : txn__visible(row, ts, txn->descriptor, true, stamp);
}

static int row_record(struct txn *txn, struct head *head, struct row *row, uint64_t ts)
{
    if (txn->reads.count > 0) {
        struct txn_read *last = &txn->reads.items[txn->reads.count - 1];
        if (last->row == row && last->ts == ts)
            return 0;
    }
    return txn__vector_add(txn, &txn->reads, (struct txn_read){head, row, ts}) ? 0 : ERROR_MEMORY;
}

static int keyed_record(struct txn *txn, struct head *head, const void *key, size_t key_size,
                        uint64_t ts)
{
    void *copy = arena_copy(&txn->arena, key, key_size);
    if (copy == NULL ||
        !txn__vector_add(txn, &txn->keyed, (struct txn_keyed){head, copy, key_size, ts}))
        return ERROR_MEMORY;
    return 0;
}

static bool reads_are_recorded(const struct txn *txn)
{
    return txn->level == TXN_SERIALIZABLE && !txn->readonly;
}

int txn__read_key(struct txn *txn, struct head *head, const void *key, size_t key_size)
{
    return reads_are_recorded(txn) ? keyed_record(txn, head, key, key_size, 0) : 0;
}

static bool vector_park(struct txn *txn, const struct txn_read *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (keyed_record(txn, items[i].head, items[i].row->key, items[i].row->key_size,
                         items[i].ts) != 0)
            return false;
    return true;
}

bool txn__reads_park(struct txn *txn)
{
    if (!vector_park(txn, txn->reads.items, txn->reads.count) ||
        !vector_park(txn, txn->depends.items, txn->depends.count))
        return false;
    txn->reads.count = 0;
    txn->depends.count = 0;
    txn->parks++;
    /* The newest come first: those behind one that was parked before were parked as well. */
    for (struct txn_range_read *range = txn->ranges; range != NULL && !range->parked;
         range = range->next) {
        range->leaves = NULL;
        range->leaves_lost = range->parked = true;
        if (!txn__bound_keep(txn, &range->range.lower, range->range.lower_size) ||
            !txn__bound_keep(txn, &range->range.upper, range->range.upper_size))
            return false;
    }
    return true;
}

int txn__read_row(struct txn *txn, struct head *head, struct row *row, uint64_t ts)
{
    return reads_are_recorded(txn) ? row_record(txn, head, row, ts) : 0;
}

/* Takes note of what was seen of a row at `ts`; *committed_ts is the timestamp of what is visible
 * there without own writes, as txn__noted says: it belongs into the read set. */
static const struct version *row_seen(struct txn *txn, const struct head *head,
                                      const struct row *row, uint64_t ts,
                                      const struct version *seen, uint64_t stamp,
                                      uint64_t *committed_ts)
{
    const struct version *committed = seen;
    if (seen != NULL && stamp == 0 && seen != &txn__version_dead)
        committed = txn__visible(row, ts, txn->descriptor, false, &stamp);
    if (seen != NULL && !(MUTATION(REPLY_FORGETS_ROW) && txn__exists(seen)) &&
        !(MUTATION(REPLY_FORGETS_TOMBSTONE) && !txn__exists(seen)))
        txn__saw(txn, stamp);
    *committed_ts = txn__noted(head, committed, stamp);
    return txn__exists(seen) ? seen : NULL;
}

/* Nobody can change what is under a version of our own, and what was read of it before that was
 * written is recorded: so looking at what we have written records nothing. */
static bool is_own(const struct txn *txn, const struct version *version)
{
    return version != NULL && txn->descriptor != NULL &&
           load_relaxed(&version->stamp) == txn__tag(txn->descriptor);
}

/* Mixes eight bytes at a time (Fibonacci hashing at the end); a short key is read with zeros behind it. */
static struct txn_found *found_place(struct txn *txn, const struct head *head, const void *key,
                                     size_t key_size)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    const unsigned char *at = key;
    uint64_t hash = (uintptr_t)head ^ key_size, word;
    for (; key_size >= sizeof word; at += sizeof word, key_size -= sizeof word) {
        memcpy(&word, at, sizeof word);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, at, key_size);
    return &txn->worker->found[(hash ^ word) * odd >> (64 - TXN_FOUND_BITS)];
}

void txn__row_found(struct txn *txn, struct head *head, struct row *row)
{
    *found_place(txn, head, row->key, row->key_size) =
        (struct txn_found){txn->worker->begun, head, row};
}

static bool key_is(const void *left, size_t left_size, const void *right, size_t right_size)
{
    return left_size == right_size && memcmp(left, right, left_size) == 0;
}

static struct row *found_row(const struct txn *txn, const struct txn_found *found,
                             const struct head *head, const void *key, size_t key_size)
{
    return found->begun == txn->worker->begun && found->head == head &&
                   key_is(found->row->key, found->row->key_size, key, key_size) &&
                   (load_acquire(&found->row->newest) != &txn__version_dead ||
                    MUTATION(DEAD_ROW_FOUND))
               ? found->row
               : NULL;
}

struct row *txn__row_found_before(struct txn *txn, const struct head *head, const void *key,
                                  size_t key_size)
{
    return found_row(txn, found_place(txn, head, key, key_size), head, key, key_size);
}

/* Acquire on `newest`: a row that is not dead by this load was in the tree at this moment, under its
 * key, as if the tree had been asked then; nobody else can have made another of it before. */
struct row *txn__row_find(struct txn *txn, struct head *head, const void *key, size_t key_size)
{
    struct txn_found *found = found_place(txn, head, key, key_size);
    struct row *row = found_row(txn, found, head, key, key_size);
    if (row != NULL)
        return row;
    row = (struct row *)tree_get(head->tree, key, key_size);
    if (row != NULL)
        *found = (struct txn_found){txn->worker->begun, head, row};
    return row;
}

bool txn__was_absent(const struct txn *txn, const struct head *head, const void *key,
                     size_t key_size)
{
    if (txn->keyed.count == 0)
        return false;
    const struct txn_keyed *last = &txn->keyed.items[txn->keyed.count - 1];
    return last->head == head && last->ts == 0 && key_is(last->key, last->key_size, key, key_size);
}

/* The row with this key, NULL when there is none. */
static struct row *row_get(struct txn *txn, struct head *head, const void *key, size_t key_size)
{
    struct row *row = txn__row_find(txn, head, key, key_size);
    return row != NULL && load_acquire(&row->newest) != &txn__version_dead ? row : NULL;
}

/* What is read of a key of which the head has nothing. */
static int silent_get(struct txn *txn, const struct head *head, const void *key, size_t key_size,
                      uint64_t ts, const struct version **out)
{
    return head->body == NULL
               ? 0
               : txn__found(txn, head, out, txn__body_get(txn, head, key, key_size, ts, out));
}

/* What is seen of a row, which was not dead when it was found. */
static int found_get(struct txn *txn, struct head *head, struct row *row,
                     const struct version **out)
{
    uint64_t stamp, committed;
    const struct version *seen = txn__see(txn, row, txn->snapshot, &stamp);
    if (is_own(txn, seen)) {
        *out = txn__exists(seen) ? seen : NULL;
        return txn__found(txn, head, out, 0);
    }
    *out = row_seen(txn, head, row, txn->snapshot, seen, stamp, &committed);
    int rc = txn__read_row(txn, head, row, committed);
    if (rc == 0 && txn__silent(head, seen))
        return silent_get(txn, head, row->key, row->key_size, txn->snapshot, out);
    return txn__found(txn, head, out, rc);
}

int txn_get(struct txn *txn, struct head *head, const void *key, size_t key_size,
            const struct version **out)
{
    *out = NULL;
    int rc = txn__stopped(txn);
    if (rc != 0)
        return rc;
    struct row *row = row_get(txn, head, key, key_size);
    txn->looked = true;
    if (row != NULL)
        return found_get(txn, head, row, out);
    rc = reads_are_recorded(txn) ? keyed_record(txn, head, key, key_size, 0) : 0;
    return rc != 0 ? rc : silent_get(txn, head, key, key_size, txn->snapshot, out);
}

/* One that is not dead is the one in the tree, as in txn__row_find. */
int txn_get_row(struct txn *txn, struct head *head, struct row *row, const struct version **out)
{
    *out = NULL;
    int rc = txn__stopped(txn);
    if (rc != 0)
        return rc;
    if (load_acquire(&row->newest) == &txn__version_dead)
        return txn_get(txn, head, row->key, row->key_size, out);
    txn__row_found(txn, head, row);
    txn->looked = true;
    return found_get(txn, head, row, out);
}

int txn_peek(struct txn *txn, struct head *head, const void *key, size_t key_size,
             const struct version **out)
{
    uint64_t stamp, committed;
    *out = NULL;
    int rc = txn__stopped(txn);
    if (rc != 0)
        return rc;
    struct row *row = row_get(txn, head, key, key_size);
    txn->looked = true;
    if (row == NULL)
        return silent_get(txn, head, key, key_size, txn->snapshot, out);
    const struct version *seen = txn__see(txn, row, txn->snapshot, &stamp);
    *out = row_seen(txn, head, row, txn->snapshot, seen, stamp, &committed);
    return txn__silent(head, seen) ? silent_get(txn, head, key, key_size, txn->snapshot, out)
                                   : txn__found(txn, head, out, 0);
}

void txn_peek_row(struct txn *txn, const struct head *head, const struct row *row,
                  const struct version **out)
{
    uint64_t stamp, committed;
    *out = NULL;
    txn->looked = true;
    if (load_acquire(&row->newest) == &txn__version_dead)
        return;
    const struct version *seen = txn__see(txn, row, txn->snapshot, &stamp);
    *out = row_seen(txn, head, row, txn->snapshot, seen, stamp, &committed);
    txn__found(txn, head, out, 0);
}

int txn__get_validated(struct txn *txn, struct head *head, const void *key, size_t key_size,
                       const struct version **out)
{
    const struct txn_descriptor *own = txn->descriptor;
    struct row *row = row_get(txn, head, key, key_size);
    txn->looked = true;
    if (row == NULL) {
        int rc = keyed_record(txn, head, key, key_size, 0);
        return rc != 0 ? rc : silent_get(txn, head, key, key_size, UINT64_MAX, out);
    }
    /* At read uncommitted as well: what is written on top must not rest on what may be undone. Twice
     * the same: of one that commits in between, the last version is passed over as uncommitted and
     * an earlier one taken, under the same timestamp. */
    uint64_t stamp, committed;
    const struct version *seen, *again = txn__visible(row, STAMP_TAG - 1, own, true, &stamp);
    do {
        seen = again;
        again = txn__visible(row, STAMP_TAG - 1, own, true, &stamp);
    } while (again != seen && !MUTATION(LOOKED_ONCE));
    if (is_own(txn, seen)) {
        *out = txn__exists(seen) ? seen : NULL;
        return txn__found(txn, head, out, 0);
    }
    *out = row_seen(txn, head, row, STAMP_TAG - 1, seen, stamp, &committed);
    int rc = row_record(txn, head, row, committed);
    if (rc == 0 && txn__silent(head, seen))
        return silent_get(txn, head, key, key_size, UINT64_MAX, out);
    return txn__found(txn, head, out, rc);
}

/* Whether what there is of the row at ts without own writes is what was noted. What is not in the head
 * but in its body is as it was at the snapshot, whatever was noted then (invariant 18). */
static bool is_as_noted(const struct txn *txn, const struct head *head, const struct row *row,
                        uint64_t ts, uint64_t noted)
{
    uint64_t stamp = 0;
    const struct version *version =
        row == NULL ? NULL : txn__visible(row, ts, txn->descriptor, false, &stamp);
    return txn__silent(head, version) || txn__noted(head, version, stamp) == noted;
}

static bool keyed_unchanged(struct txn *txn, const struct txn_keyed *keyed, uint64_t ts)
{
    struct row *row = txn__row_find(txn, keyed->head, keyed->key, keyed->key_size);
    return is_as_noted(txn, keyed->head, row, ts, keyed->ts);
}

static bool row_unchanged(struct txn *txn, const struct txn_read *read, uint64_t ts)
{
    if (load_acquire(&read->row->newest) != &txn__version_dead || MUTATION(REBORN_NOT_LOOKED_UP))
        return is_as_noted(txn, read->head, read->row, ts, read->ts);
    /* The row was read as absent, or is in a body by now, and has ended since: another of the same key may be in its place. */
    struct txn_keyed keyed = {read->head, read->row->key, read->row->key_size, read->ts};
    return keyed_unchanged(txn, &keyed, ts);
}

size_t txn__read_count(const struct txn *txn)
{
    size_t count = txn->reads.count + txn->keyed.count + txn->depends.count;
    for (const struct txn_range_read *range = txn->ranges; range != NULL; range = range->next)
        count += 1 + range->visible_count;
    return count;
}

static int lost(struct txn *txn, const struct head *head, const void *key, size_t key_size)
{
    return txn__conflict_at(txn, TXN_CAUSE_READ, head, key, key_size);
}

int txn__validate(struct txn *txn, uint64_t ts)
{
    for (size_t i = 0; i < txn->depends.count && !MUTATION(CATALOG_NOT_CHECKED); i++) {
        const struct txn_read *read = &txn->depends.items[i];
        if (!row_unchanged(txn, read, ts))
            return lost(txn, read->head, read->row->key, read->row->key_size);
    }
    for (size_t i = 0; i < txn->reads.count && !MUTATION(ROW_NOT_VALIDATED); i++) {
        const struct txn_read *read = &txn->reads.items[i];
        txn__passed(txn);
        if (!row_unchanged(txn, read, ts))
            return lost(txn, read->head, read->row->key, read->row->key_size);
    }
    for (size_t i = 0; i < txn->keyed.count && !MUTATION(ABSENT_NOT_VALIDATED); i++) {
        const struct txn_keyed *keyed = &txn->keyed.items[i];
        txn__passed(txn);
        if (!keyed_unchanged(txn, keyed, ts))
            return lost(txn, keyed->head, keyed->key, keyed->key_size);
    }
    for (struct txn_range_read *range = txn->ranges; range != NULL; range = range->next)
        if (!txn__range_unchanged(txn, range, ts))
            return lost(txn, range->index.head, range->range.lower,
                        range->range.lower == NULL ? 0 : range->range.lower_size);
    return 0;
}

int txn_depend(struct txn *txn, struct head *head, struct row *row, const struct version *seen)
{
    if (txn->exclusive) /* nobody else changes the schema until it ends */
        return 0;
    for (size_t i = 0; i < txn->depends.count; i++)
        if (txn->depends.items[i].row == row)
            return 0;
    /* `seen` is looked for, not into: the picture of the catalog that has it may be an old one. */
    const struct version *version = load_acquire(&row->newest);
    while (version != NULL && version != seen)
        version = load_acquire(&version->older);
    if (version == NULL)
        return txn__conflict(txn, TXN_CAUSE_READ);
    uint64_t ts = load_acquire(&version->stamp);
    return txn__vector_add(txn, &txn->depends, (struct txn_read){head, row, ts}) ? 0 : ERROR_MEMORY;
}

void txn_statement(struct txn *txn)
{
    if (txn__latest_level(txn) && !txn->readonly)
        txn__snapshot_take(txn);
}

void txn_strengthen(struct txn *txn)
{
    if (txn->level != TXN_READ_COMMITTED || txn->readonly || txn->opened || txn->lock_used ||
        txn->writes.count > 0)
        return;
    txn->level = TXN_SERIALIZABLE;
    txn__snapshot_take(txn);
}
