/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Cursors over visible rows, and the ranges that serializable transactions have scanned.
 *
 * For validation a range keeps the versions of the leaves it was read from, and a sum over the rows
 * in it that were visible without own writes. As long as no leaf has changed, no row has come into
 * the range (rows that were there and invisible are in the read set one by one). When one has, the
 * range is scanned again at the commit timestamp and the sums are compared: so an insert of another
 * key into the same leaf is no conflict.
 *
 * The far bound of a range is where the cursor stopped: a select with a limit does not depend on
 * what lies behind its last row.
 *
 * Where rows leave the head the cursor merges what is there with what the body has (txn_body.c). Of
 * the range only what has come into the head since the snapshot can have changed: so when a leaf has
 * changed, each row that is in it has to be as old as the snapshot.
 */
#include "txn/txn_private.h"

#include "base/diag.h"
#include "base/error.h"

/* Mixes an address, so that sums of different sets of rows differ (splitmix64's finisher). */
static uint64_t row_hash(const struct row *row)
{
    uint64_t x = (uint64_t)(uintptr_t)row;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static struct row *item_row(const struct txn_index *index, struct item *item)
{
    return index->matches == NULL ? (struct row *)item : load_acquire(&((struct entry *)item)->row);
}

static int leaf_read(const struct tree_leaf *leaf, uint64_t version, void *arg)
{
    struct txn_cursor *cursor = arg;
    struct txn_leaf_read *read = arena_alloc(&cursor->txn->arena, sizeof *read);
    if (read == NULL)
        return ERROR_MEMORY;
    *read = (struct txn_leaf_read){leaf, version, cursor->read->leaves};
    cursor->read->leaves = read;
    return 0;
}

static void tree_start(struct tree_cursor *cursor, struct tree *tree, const struct txn_range *range)
{
    const void *from = range->backward ? range->upper : range->lower;
    const void *until = range->backward ? range->lower : range->upper;
    size_t from_size = range->backward ? range->upper_size : range->lower_size;
    size_t until_size = range->backward ? range->lower_size : range->upper_size;
    bool from_inclusive = range->backward ? range->upper_inclusive : range->lower_inclusive;
    bool until_inclusive = range->backward ? range->lower_inclusive : range->upper_inclusive;
    tree_cursor_create(cursor, tree, from, from_size, from == NULL || from_inclusive,
                       range->backward);
    if (until != NULL)
        tree_cursor_until(cursor, until, until_size, until_inclusive);
}

bool txn__bound_keep(struct txn *txn, const void **key, size_t size)
{
    if (*key == NULL)
        return true;
    if (size == 0)
        *key = "";
    else
        *key = arena_copy(&txn->arena, *key, size);
    return *key != NULL;
}

/* What validation needs of a range, in the transaction's arena; NULL when memory is out. */
static struct txn_range_read *range_read_new(struct txn *txn, const struct txn_index *index,
                                             const struct txn_range *range)
{
    struct txn_range_read *read = arena_alloc(&txn->arena, sizeof *read);
    if (read == NULL)
        return NULL;
    *read = (struct txn_range_read){.next = txn->ranges, .index = *index, .range = *range};
    if (!txn__bound_keep(txn, &read->range.lower, range->lower_size) ||
        !txn__bound_keep(txn, &read->range.upper, range->upper_size))
        return NULL;
    txn->ranges = read;
    return read;
}

/* Rows that have left the head are looked for in its body. */
static void walk_start(struct txn_cursor *cursor)
{
    struct txn *txn = cursor->txn;
    if (cursor->index->head->body != NULL &&
        txn__walk_open(txn, cursor->index, &cursor->range, 0, &cursor->walk) != 0)
        txn->stop = ERROR_CONFLICT; /* as above */
    if (cursor->walk != NULL && cursor->index->matches != NULL)
        txn__walk_ahead(cursor->walk, cursor->index->head);
}

void txn_cursor_open(struct txn_cursor *cursor, struct txn *txn, struct txn_index *index,
                     const struct txn_range *range)
{
    cursor->txn = txn;
    cursor->index = index;
    cursor->range = *range;
    cursor->item = NULL;
    cursor->ahead = NULL;
    cursor->read = NULL;
    cursor->walk = NULL;
    cursor->loose = false;
    cursor->passed = cursor->passed_max = 0;
    txn->looked = true;
    if (txn->level == TXN_SERIALIZABLE && !txn->readonly) {
        cursor->read = range_read_new(txn, index, range);
        if (cursor->read == NULL)
            txn->stop = ERROR_CONFLICT; /* what it reads could not be validated; the next call says
                                           so */
        else
            cursor->range = cursor->read->range;
    }
    walk_start(cursor);
    tree_start(&cursor->tree, index->tree, &cursor->range);
    if (cursor->read != NULL) {
        cursor->tree.on_leaf = leaf_read;
        cursor->tree.on_leaf_arg = cursor;
    }
}

void txn_cursor_open_loose(struct txn_cursor *cursor, struct txn *txn, struct txn_index *index,
                           const struct txn_range *range)
{
    *cursor = (struct txn_cursor){.txn = txn, .index = index, .range = *range, .loose = true};
    txn->looked = true;
    walk_start(cursor);
    tree_start(&cursor->tree, index->tree, &cursor->range);
}

void txn_cursor_few(struct txn_cursor *cursor, unsigned few)
{
    tree_cursor_few(&cursor->tree, few);
}

void txn_cursor_brief(struct txn_cursor *cursor)
{
    if (cursor->walk != NULL && cursor->read == NULL && cursor->index->matches == NULL)
        txn__walk_brief(cursor->walk);
}

void txn_cursor_expect(struct txn_cursor *cursor, uint64_t rows)
{
    struct txn_ahead *ahead = NULL;
    if (cursor->walk != NULL && cursor->index->matches != NULL)
        ahead = txn__walk_ahead(cursor->walk, cursor->index->head);
    if (ahead != NULL)
        txn__ahead_expect(ahead, rows);
}

/* While the cursor stands at `item`, the range that was read ends there. At the end it is the whole
 * one again. */
static void range_ends_at(struct txn_cursor *cursor, const struct item *item)
{
    if (cursor->read == NULL || (item == NULL && MUTATION(FAR_BOUND_LOST)))
        return;
    struct txn_range *range = &cursor->read->range;
    *range = cursor->range;
    if (item == NULL)
        return;
    if (range->backward) {
        range->lower = item->key;
        range->lower_size = item->key_size;
        range->lower_inclusive = true;
    } else {
        range->upper = item->key;
        range->upper_size = item->key_size;
        range->upper_inclusive = true;
    }
}

/* 1, 0, or an error of the index. */
static int shown(const struct txn_index *index, struct item *item, const struct version *version)
{
    if (!txn__exists(version))
        return 0;
    return index->matches == NULL ? 1 : index->matches(index, (struct entry *)item, version);
}

/* Takes one item into account; *version is NULL when the transaction does not see it there. Where rows
 * leave the head: ERROR_AGAIN if this one has; *silent: what the body has is to be taken. */
static int visit(struct txn_cursor *cursor, struct item *item, struct row *row,
                 const struct version **version, bool *silent)
{
    struct txn *txn = cursor->txn;
    uint64_t stamp;
    const struct version *seen = txn__see(txn, row, txn->snapshot, &stamp);
    const struct version *committed = seen;
    uint64_t committed_stamp = stamp;
    *silent = txn__silent(cursor->index->head, seen);
    if (*silent && seen != NULL)
        return ERROR_AGAIN;
    if (seen != NULL && stamp == 0 && seen != &txn__version_dead)
        committed = txn__visible(row, txn->snapshot, txn->descriptor, false, &committed_stamp);
    if (committed != NULL && !MUTATION(REPLY_FORGETS_SCANNED))
        txn__saw(txn, committed_stamp);
    int seen_shown = shown(cursor->index, item, seen);
    int committed_shown = committed == seen || cursor->read == NULL
                              ? seen_shown
                              : shown(cursor->index, item, committed);
    *version = seen_shown > 0 && !txn__expired(txn, cursor->index->head, seen) ? seen : NULL;
    if (seen_shown < 0 || committed_shown < 0)
        return seen_shown < 0 ? seen_shown : committed_shown;
    if (cursor->read != NULL && committed_shown && cursor->walk == NULL) {
        cursor->read->visible_sum += row_hash(row);
        cursor->read->visible_count++;
    }
    if (cursor->loose || (!txn__exists(committed) && MUTATION(INVISIBLE_NOT_READ)))
        return 0;
    return txn__read_row(txn, cursor->index->head, row,
                         txn__noted(cursor->index->head, committed, committed_stamp));
}

/* ---------------------------------------------------------------------- merged with a body's rows */

/* Of the primary index: what the body has of a row is what there is of it. */
static int body_row(struct txn_cursor *cursor, const struct engine_row *there, struct row **row,
                    const struct version **version)
{
    struct arena *arena = txn__walk_arena(cursor->walk);
    int rc = *row != NULL ? 0 : txn__body_row(arena, there->key, there->key_size, row);
    if (rc == 0)
        rc = txn__body_version(arena, there, version);
    cursor->item = (struct item *)*row;
    return txn__found(cursor->txn, cursor->index->head, version, rc);
}

/* Of a secondary index: the row that an entry of the body leads to, in the head or the body. *version
 * NULL: it does not belong under it at the snapshot. */
static int body_entry(struct txn_cursor *cursor, const struct engine_row *there, struct row **row,
                      const struct version **version)
{
    struct txn *txn = cursor->txn;
    struct head *head = cursor->index->head;
    struct entry *entry;
    int rc = txn__body_entry(&txn->arena, there, &entry);
    if (rc != 0)
        return rc;
    cursor->item = (struct item *)entry;
    size_t parts = load_relaxed(&entry->state) & ENTRY_PARTS_MASK;
    const unsigned char *key = entry->key + parts;
    size_t key_size = entry->key_size - parts;
    rc = (cursor->loose ? txn_peek : txn_get)(txn, head, key, key_size, version);
    if (rc == 0 && *version != NULL &&
        (rc = txn__entry_belongs(cursor->index, entry, *version)) == 0)
        *version = NULL;
    if (rc < 0 || *version == NULL)
        return rc;
    *row = txn__row_find(txn, head, key, key_size);
    return *row != NULL ? 0 : txn__body_row(&txn->arena, key, key_size, row);
}

/* One step: the next row of both, NULL for what is not seen. ERROR_END; ERROR_AGAIN: nothing yet. */
static int merged_step(struct txn_cursor *cursor, struct row **row, const struct version **version)
{
    struct txn_body_walk *walk = cursor->walk;
    const struct engine_row *there;
    bool silent = false;
    int rc = 0;
    if (cursor->ahead == NULL && (cursor->ahead = tree_cursor_next(&cursor->tree, &rc)) == NULL &&
        rc != 0)
        return rc;
    struct item *item = cursor->ahead;
    MUTATION_POINT(WALK_MERGES);
    if ((rc = txn__walk_peek(walk, &there)) != 0)
        return rc;
    int order = txn__walk_order(walk, item, there);
    *row = NULL;
    *version = NULL;
    if (item == NULL && there == NULL)
        return ERROR_END;
    if (order <= 0) {
        *row = item_row(cursor->index, item);
        cursor->ahead = NULL;
        if ((rc = visit(cursor, item, *row, version, &silent)) != 0)
            return rc; /* of a row that has left: the body has it by now */
    }
    cursor->item = item;
    if (order > 0 || (order == 0 && silent))
        rc = cursor->index->matches == NULL ? body_row(cursor, there, row, version)
                                            : body_entry(cursor, there, row, version);
    if (rc != 0)
        return rc;
    txn__walk_pass(walk, cursor->item->key, cursor->item->key_size);
    range_ends_at(cursor, cursor->item);
    return 0;
}

static int merged_next(struct txn_cursor *cursor, struct row **row, const struct version **version)
{
    for (;;) {
        int rc = merged_step(cursor, row, version);
        if (rc == ERROR_END)
            range_ends_at(cursor, NULL);
        if (rc == ERROR_AGAIN)
            continue;
        if (rc != 0 || *version != NULL)
            return rc;
        cursor->item = NULL;
        if (++cursor->passed == cursor->passed_max)
            return ERROR_AGAIN;
    }
}

/* --------------------------------------------------------------------------------------- the head's */

int txn_cursor_next(struct txn_cursor *cursor, struct row **row, const struct version **version)
{
    int rc = txn__stopped(cursor->txn);
    if (rc != 0)
        return rc;
    if (cursor->item != NULL)
        cursor->passed = 0;
    if (cursor->walk != NULL)
        return merged_next(cursor, row, version);
    for (;;) {
        struct item *item = tree_cursor_next(&cursor->tree, &rc);
        if (rc != 0)
            return rc;
        if (item == NULL) {
            range_ends_at(cursor, NULL);
            return ERROR_END;
        }
        struct row *found = item_row(cursor->index, item);
        bool silent;
        if ((rc = visit(cursor, item, found, version, &silent)) != 0)
            return rc;
        range_ends_at(cursor, item);
        if (*version != NULL) {
            cursor->item = item;
            *row = found;
            return 0;
        }
        cursor->item = NULL;
        if (++cursor->passed == cursor->passed_max)
            return ERROR_AGAIN;
    }
}

/* What the directory's candidates are asked. */
struct candidate {
    struct txn_cursor cursor; /* notes nothing of ranges */
    struct row *row;
    const struct version *version;
    int rc;
};

static bool candidate_seen(struct item *item, void *arg)
{
    struct candidate *candidate = arg;
    candidate->row = item_row(candidate->cursor.index, item);
    bool silent; /* there are no directories in front of heads that rows leave */
    candidate->rc = visit(&candidate->cursor, item, candidate->row, &candidate->version, &silent);
    return candidate->rc != 0 || candidate->version != NULL;
}

/*
 * A row that the directory has is the one: no other can have the key while this one does, and that it
 * still does is what the validation of the row says. That there is none only the range can tell.
 */
int txn_unique_get(struct txn *txn, struct txn_index *index, const void *parts, size_t parts_size,
                   struct row **row, const struct version **version)
{
    int rc = txn__stopped(txn);
    if (rc != 0)
        return rc;
    struct candidate candidate = {.cursor = {.txn = txn, .index = index}};
    txn->looked = true;
    if (tree_find(index->tree, parts, parts_size, candidate_seen, &candidate) != NULL) {
        *row = candidate.row;
        *version = candidate.version;
        return candidate.rc;
    }
    unsigned char *above = arena_copy(&txn->arena, parts, parts_size);
    if (above == NULL)
        return ERROR_MEMORY;
    struct txn_cursor cursor;
    struct txn_range range = {.lower = parts, .lower_size = parts_size, .lower_inclusive = true};
    size_t i = parts_size;
    while (i > 0 && above[i - 1] == 0xff)
        i--;
    if (i > 0) {
        above[i - 1]++;
        range.upper = above;
        range.upper_size = i;
    }
    txn_cursor_open(&cursor, txn, index, &range);
    return txn_cursor_next(&cursor, row, version);
}

static bool leaves_unchanged(const struct txn_range_read *range)
{
    if (range->leaves_lost)
        return false;
    for (const struct txn_leaf_read *read = range->leaves; read != NULL; read = read->next)
        if (!tree_leaf_unchanged(read->leaf, read->version))
            return false;
    return true;
}

/* The same where rows leave the head: what has left is as it was. */
static bool head_unchanged(struct txn *txn, struct txn_range_read *range, uint64_t ts)
{
    struct tree_cursor cursor;
    struct item *item;
    tree_start(&cursor, range->index.tree, &range->range);
    while ((item = tree_cursor_next(&cursor, NULL)) != NULL) {
        uint64_t stamp;
        txn__passed(txn);
        const struct version *version =
            txn__visible(item_row(&range->index, item), ts, txn->descriptor, false, &stamp);
        if (!txn__silent(range->index.head, version) && stamp > txn->snapshot)
            return false;
    }
    return true;
}

bool txn__range_unchanged(struct txn *txn, struct txn_range_read *range, uint64_t ts)
{
    if (leaves_unchanged(range) || MUTATION(LEAF_NOT_SCANNED_AGAIN) ||
        (range->index.matches != NULL && MUTATION(SECONDARY_NOT_VALIDATED)))
        return true;
    if (range->index.head->body != NULL)
        return head_unchanged(txn, range, ts);
    struct tree_cursor cursor;
    tree_start(&cursor, range->index.tree, &range->range);
    uint64_t sum = 0, count = 0;
    struct item *item;
    while ((item = tree_cursor_next(&cursor, NULL)) != NULL) {
        struct row *row = item_row(&range->index, item);
        txn__passed(txn);
        const struct version *version = txn__visible(row, ts, txn->descriptor, false, NULL);
        if (shown(&range->index, item, version) != 0) { /* an error: then the sums differ */
            sum += row_hash(row);
            count++;
        }
    }
    return sum == range->visible_sum && count == range->visible_count;
}
