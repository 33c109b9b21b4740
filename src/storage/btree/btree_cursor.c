/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading the tree in order, in both directions. A cursor has the nodes from the root to a leaf at
 * hand, and in each the slot that it is at.
 *
 *   forward    the first version of a key at or before the timestamp is the one; the others are
 *              passed over by looking for the place behind the key's last version.
 *   backward   versions come oldest first: the last one at or before the timestamp is the one. It is
 *              known when a newer one or another key comes, so its bytes are copied until then.
 *
 * The bytes of a row are the cursor's own, so nodes may go when the cursor moves on.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

struct bytes {
    unsigned char *data;
    size_t size, capacity;
};

struct step {
    struct btree_read node;
    unsigned slot;
};

struct btree_cursor {
    struct body_cursor base;
    const struct btree_generation *generation;
    struct engine_range range;
    uint64_t ts;
    bool begun, ended;
    struct step path[BTREE_DEPTH_MAX]; /* by level; data NULL: not there */
    struct bytes key, data;
    struct btree_ahead ahead;
};

static int bytes_reserve(struct bytes *bytes, size_t size)
{
    if (size < bytes->capacity)
        return 0;
    size_t capacity = 2 * bytes->capacity > size ? 2 * bytes->capacity : size + 1;
    unsigned char *grown = realloc(bytes->data, capacity);
    if (grown == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a row of %zu bytes", size);
    bytes->data = grown;
    bytes->capacity = capacity;
    return 0;
}

static struct step *leaf(struct btree_cursor *cursor)
{
    return &cursor->path[0];
}

static void path_release(struct btree_cursor *cursor, unsigned level)
{
    for (unsigned i = 0; i <= level; i++)
        if (cursor->path[i].node.data != NULL)
            btree__read_release(&cursor->path[i].node);
}

/* ---------------------------------------------------------------------------------------- moving */

static uint64_t child_of(const struct step *step)
{
    const unsigned char *key;
    size_t size;
    uint64_t ts;
    return btree_branch_child(step->node.data, step->slot, &key, &size, &ts);
}

/* Goes down by one level from a node, whose slot is set, to the first or last tuple of the one below. */
static int node_edge(struct btree_cursor *cursor, unsigned level, bool last, enum btree_how how)
{
    struct step *step = &cursor->path[level - 1];
    int rc = btree__read_node(cursor->generation->file, child_of(&cursor->path[level]), level - 1,
                              how, &step->node);
    if (rc == 0)
        step->slot = last ? btree_header(step->node.data)->slots - 1 : 0;
    return rc;
}

/* All the way down to a leaf. */
static int descend_edge(struct btree_cursor *cursor, unsigned level, bool last, enum btree_how how)
{
    int rc = 0;
    for (; rc == 0 && level > 0; level--)
        rc = node_edge(cursor, level, last, how);
    return rc;
}

/* From behind, or before, the leaf's tuples to the next leaf: ERROR_END when there is none. */
static int leaf_next(struct btree_cursor *cursor, bool backward)
{
    int rc;
    for (unsigned level = 1; level < cursor->generation->root.depth; level++) {
        struct step *step = &cursor->path[level];
        bool more =
            backward ? step->slot > 0 : step->slot + 1 < btree_header(step->node.data)->slots;
        if (!more)
            continue;
        step->slot = backward ? step->slot - 1 : step->slot + 1;
        path_release(cursor, level - 1);
        /* Down to the branch above the leaf, and on from there. */
        for (; level > 1; level--)
            if ((rc = node_edge(cursor, level, backward, BTREE_SCAN)) != 0)
                return rc;
        step = &cursor->path[1];
        btree__ahead_read(&cursor->ahead, cursor->generation->file, step->node.data, step->slot,
                          &cursor->range);
        return node_edge(cursor, 1, backward, BTREE_SCAN);
    }
    return ERROR_END;
}

/* To the first tuple that is not before the position; the leaf's slot may be behind its tuples. */
static int seek(struct btree_cursor *cursor, const struct btree_position *position)
{
    const struct btree_file *file = cursor->generation->file;
    unsigned level = cursor->generation->root.depth - 1u;
    struct step *step = &cursor->path[level];
    path_release(cursor, BTREE_DEPTH_MAX - 1);
    int rc = btree__read_node(file, cursor->generation->root.tree, level, BTREE_POINT, &step->node);
    for (; rc == 0 && level > 0; level--, step--) {
        step->slot = btree_branch_slot(step->node.data, position);
        rc = btree__read_child(file, &step->node, step->slot, &step[-1].node);
    }
    bool equal;
    if (rc == 0)
        step->slot = btree_lower_bound(step->node.data, position, &equal);
    return rc;
}

static int seek_edge(struct btree_cursor *cursor, bool last)
{
    unsigned top = cursor->generation->root.depth - 1;
    struct step *step = &cursor->path[top];
    int rc = btree__read_node(cursor->generation->file, cursor->generation->root.tree, top,
                              BTREE_POINT, &step->node);
    if (rc != 0)
        return rc;
    step->slot = last ? btree_header(step->node.data)->slots - 1 : 0;
    return descend_edge(cursor, top, last, BTREE_POINT);
}

/* Makes the leaf's slot one that has a tuple. */
static int settle_forward(struct btree_cursor *cursor)
{
    return leaf(cursor)->slot < btree_header(leaf(cursor)->node.data)->slots
               ? 0
               : leaf_next(cursor, false);
}

static int step_forward(struct btree_cursor *cursor)
{
    leaf(cursor)->slot++;
    return settle_forward(cursor);
}

static int step_backward(struct btree_cursor *cursor)
{
    if (leaf(cursor)->slot == 0)
        return leaf_next(cursor, true);
    leaf(cursor)->slot--;
    return 0;
}

/* ---------------------------------------------------------------------------------------- tuples */

static void tuple_at(struct btree_cursor *cursor, struct btree_tuple *out)
{
    btree_leaf_tuple(leaf(cursor)->node.data, leaf(cursor)->slot, out);
}

/* The tuple's key, whole, is the cursor's. */
static int key_take(struct btree_cursor *cursor, const struct btree_tuple *tuple)
{
    const void *node = leaf(cursor)->node.data;
    size_t prefix = btree_header(node)->prefix_bytes;
    int rc = bytes_reserve(&cursor->key, prefix + tuple->key_size);
    if (rc != 0)
        return rc;
    memcpy(cursor->key.data, btree_prefix(node), prefix);
    memcpy(cursor->key.data + prefix, tuple->key, tuple->key_size);
    cursor->key.size = prefix + tuple->key_size;
    return 0;
}

static bool key_is(struct btree_cursor *cursor, const struct btree_tuple *tuple)
{
    const void *node = leaf(cursor)->node.data;
    size_t prefix = btree_header(node)->prefix_bytes;
    return cursor->key.size == prefix + tuple->key_size &&
           memcmp(cursor->key.data, btree_prefix(node), prefix) == 0 &&
           memcmp(cursor->key.data + prefix, tuple->key, tuple->key_size) == 0;
}

static int data_take(struct btree_cursor *cursor, const struct btree_tuple *tuple)
{
    int rc = bytes_reserve(&cursor->data, tuple->size);
    if (rc != 0)
        return rc;
    cursor->data.size = tuple->size;
    if (tuple->flags & BTREE_ELSEWHERE)
        return btree__overflow_read(cursor->generation->file, tuple, cursor->data.data);
    if (tuple->size > 0)
        memcpy(cursor->data.data, tuple->data, tuple->size);
    return 0;
}

static void row_set(const struct btree_cursor *cursor, uint64_t ts, struct engine_row *out)
{
    *out = (struct engine_row){cursor->key.data, cursor->key.size, ts,
                               (const char *)cursor->data.data, (uint32_t)cursor->data.size};
}

/* The key at hand is beyond the end of the range. */
static bool beyond(const struct btree_cursor *cursor)
{
    const struct engine_range *range = &cursor->range;
    const void *bound = range->backward ? range->lower : range->upper;
    size_t size = range->backward ? range->lower_size : range->upper_size;
    bool inclusive = range->backward ? range->lower_inclusive : range->upper_inclusive;
    if (bound == NULL)
        return false;
    int order = btree_key_compare(cursor->key.data, cursor->key.size, bound, size);
    if (range->backward)
        order = -order;
    return order > 0 || (order == 0 && !inclusive);
}

/* --------------------------------------------------------------------------------------- forward */

/* Passes over the rest of the versions of the key at hand: they are few as a rule. */
static int key_pass(struct btree_cursor *cursor)
{
    struct btree_tuple tuple;
    int rc;
    while ((rc = step_forward(cursor)) == 0) {
        tuple_at(cursor, &tuple);
        if (!key_is(cursor, &tuple))
            return 0;
    }
    return rc;
}

/* Versions newer than any, or older than any, of the bound's key: before or behind all of it. */
static int begin_forward(struct btree_cursor *cursor)
{
    const struct engine_range *range = &cursor->range;
    if (range->lower == NULL)
        return seek_edge(cursor, false);
    struct btree_position position = {range->lower, range->lower_size, UINT64_MAX};
    int rc = seek(cursor, &position);
    if (rc == 0)
        rc = settle_forward(cursor);
    if (rc != 0 || range->lower_inclusive)
        return rc;
    struct btree_tuple tuple;
    tuple_at(cursor, &tuple);
    rc = key_take(cursor, &tuple);
    if (rc == 0 &&
        btree_key_compare(cursor->key.data, cursor->key.size, range->lower, range->lower_size) == 0)
        rc = key_pass(cursor);
    return rc;
}

/* At the newest version of a key: the row that it has at ts, *found, and on to the next key. */
static int key_forward(struct btree_cursor *cursor, bool *found, uint64_t *ts)
{
    struct btree_tuple tuple;
    bool decided = false;
    int rc;
    do {
        tuple_at(cursor, &tuple);
        if (!key_is(cursor, &tuple))
            return 0;
        if (!decided && tuple.ts <= cursor->ts) {
            decided = true;
            *found = !(tuple.flags & BTREE_TOMBSTONE);
            *ts = tuple.ts;
            if (*found && (rc = data_take(cursor, &tuple)) != 0)
                return rc;
        }
    } while ((rc = step_forward(cursor)) == 0);
    return rc;
}

/* -------------------------------------------------------------------------------------- backward */

static int begin_backward(struct btree_cursor *cursor)
{
    const struct engine_range *range = &cursor->range;
    if (range->upper == NULL)
        return seek_edge(cursor, true);
    /* The first tuple behind what may be seen, and one back. With the oldest timestamp there is: a
       version of it is passed over here, and found below. */
    struct btree_position position = {range->upper, range->upper_size,
                                      range->upper_inclusive ? 0 : UINT64_MAX};
    int rc = seek(cursor, &position);
    if (rc != 0)
        return rc;
    struct btree_tuple tuple;
    if (range->upper_inclusive &&
        leaf(cursor)->slot < btree_header(leaf(cursor)->node.data)->slots) {
        tuple_at(cursor, &tuple);
        if ((rc = key_take(cursor, &tuple)) != 0)
            return rc;
        if (btree_key_compare(cursor->key.data, cursor->key.size, range->upper,
                              range->upper_size) == 0)
            return 0;
    }
    return step_backward(cursor);
}

/* At the oldest version of a key. */
static int key_backward(struct btree_cursor *cursor, bool *found, uint64_t *ts)
{
    struct btree_tuple tuple;
    int rc;
    do {
        tuple_at(cursor, &tuple);
        if (!key_is(cursor, &tuple))
            return 0;
        if (tuple.ts <= cursor->ts) {
            *found = !(tuple.flags & BTREE_TOMBSTONE);
            *ts = tuple.ts;
            if (*found && (rc = data_take(cursor, &tuple)) != 0)
                return rc;
        }
    } while ((rc = step_backward(cursor)) == 0);
    return rc;
}

/* -------------------------------------------------------------------------------------- interface */

int btree__cursor_open(struct body_view *base, const struct engine_range *range, uint64_t ts,
                       struct body_cursor **out)
{
    struct btree_cursor *cursor = calloc(1, sizeof *cursor);
    if (cursor == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a cursor");
    cursor->base.vtab = &engine_btree;
    cursor->generation = ((struct btree_view *)base)->generation;
    cursor->range = *range;
    cursor->ts = ts;
    btree__ahead_create(&cursor->ahead);
    cursor->ended = cursor->generation == NULL || cursor->generation->root.tree == 0;
    *out = &cursor->base;
    return 0;
}

static int cursor_begin(struct btree_cursor *cursor)
{
    cursor->begun = true;
    return cursor->range.backward ? begin_backward(cursor) : begin_forward(cursor);
}

int btree__cursor_next(struct body_cursor *base, struct engine_row *out)
{
    struct btree_cursor *cursor = (struct btree_cursor *)base;
    int rc = cursor->ended ? ERROR_END : cursor->begun ? 0 : cursor_begin(cursor);
    while (rc == 0) {
        struct btree_tuple tuple;
        bool found = false;
        uint64_t ts = 0;
        tuple_at(cursor, &tuple);
        rc = key_take(cursor, &tuple);
        if (rc == 0 && beyond(cursor))
            rc = ERROR_END;
        if (rc != 0)
            break;
        rc = cursor->range.backward ? key_backward(cursor, &found, &ts)
                                    : key_forward(cursor, &found, &ts);
        cursor->ended = rc != 0; /* there may still be this row */
        if (found && (rc == 0 || rc == ERROR_END)) {
            row_set(cursor, ts, out);
            return 0;
        }
    }
    cursor->ended = true;
    return rc;
}

struct btree_ahead *btree__cursor_ahead(struct body_cursor *cursor)
{
    return &((struct btree_cursor *)cursor)->ahead;
}

void btree__cursor_close(struct body_cursor *base)
{
    struct btree_cursor *cursor = (struct btree_cursor *)base;
    path_release(cursor, BTREE_DEPTH_MAX - 1);
    free(cursor->key.data);
    free(cursor->data.data);
    free(cursor);
}
