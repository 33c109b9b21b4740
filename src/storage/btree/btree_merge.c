/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Merging rows into the tree: one pass from left to right that reads the leaves which rows belong
 * to, and makes new nodes of them (btree_levels.c). All other subtrees stay as they are, and the new
 * nodes above refer to them.
 *
 *      rows       ─┐
 *                  ├─► in order ─► what some snapshot needs ─► new nodes
 *      old leaves ─┘
 *
 * A subtree is opened if a row belongs below it; if the nodes made so far would be too small to end
 * before it, so that small neighbours become one; if it goes on with versions of the key at hand,
 * since what becomes of those is decided together; or if it has something to drop and that is what
 * the pass is for.
 *
 * Of the versions of a key, newest first, one stays if it is the newest or if some snapshot is in
 * [its timestamp, that of the next newer one). A tombstone with nothing older below it says nothing
 * and goes, so it is held back until something older comes.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

enum { INLINE_PART = 4 }; /* of a page; what is longer is elsewhere */

struct bytes {
    unsigned char *data;
    size_t size, capacity;
};

struct merge {
    struct btree_body *body;
    struct btree_build *build;
    struct btree_levels *levels;
    const struct engine_snapshots *snapshots;
    struct engine_source *source; /* NULL: no rows */
    struct engine_row row;        /* the next one, if has_row */
    bool has_row;
    uint64_t up_to_ts;
    bool drops; /* subtrees with something to drop are opened */
    uint64_t rows, tombstones;
    /* The key at hand. */
    struct bytes key, whole;
    bool has_key;
    uint64_t last_ts;  /* of its version that came last */
    uint64_t newer_ts; /* of its version that was kept last; UINT64_MAX: none */
    bool held;         /* a tombstone waits */
    uint64_t held_ts;
};

static int bytes_set(struct bytes *bytes, const void *a, size_t a_size, const void *b,
                     size_t b_size)
{
    size_t size = a_size + b_size;
    if (size >= bytes->capacity) {
        unsigned char *grown = realloc(bytes->data, 2 * size + 64);
        if (grown == NULL)
            return diag_set(ERROR_MEMORY, "no memory for a key");
        bytes->data = grown;
        bytes->capacity = 2 * size + 64;
    }
    if (a_size > 0)
        memcpy(bytes->data, a, a_size);
    if (b_size > 0)
        memcpy(bytes->data + a_size, b, b_size);
    bytes->size = size;
    return 0;
}

/* ------------------------------------------------------------------------------- what comes in */

static int row_next(struct merge *merge)
{
    int rc = merge->source == NULL ? ERROR_END : merge->source->next(merge->source, &merge->row);
    merge->has_row = rc == 0;
    if (rc == ERROR_END)
        return 0;
    if (rc == 0 && merge->row.ts > merge->up_to_ts)
        return diag_set(ERROR_INVALID, "a row of timestamp %" PRIu64 " is beyond %" PRIu64,
                        merge->row.ts, merge->up_to_ts);
    if (rc == 0 && merge->row.key_size > BTREE_KEY_MAX)
        return diag_set(ERROR_TOO_LARGE, "a key of %zu bytes", merge->row.key_size);
    return rc;
}

static struct btree_position row_position(const struct merge *merge)
{
    return (struct btree_position){merge->row.key, merge->row.key_size, merge->row.ts};
}

/* --------------------------------------------------------------------------------- what goes out */

static bool needed(const struct merge *merge, uint64_t ts)
{
    if (merge->newer_ts == UINT64_MAX)
        return true;
    for (unsigned i = 0; i < merge->snapshots->count; i++)
        if (ts <= merge->snapshots->ts[i] && merge->snapshots->ts[i] < merge->newer_ts)
            return true;
    return false;
}

/* Writes data that a leaf has no room for. */
static int data_away(struct merge *merge, struct btree_tuple *tuple)
{
    struct btree_header *header;
    if ((tuple->flags & BTREE_ELSEWHERE) ||
        tuple->size <= btree__build_page_bytes(merge->build) / INLINE_PART)
        return 0;
    int rc = btree__build_extent(merge->build, BTREE_OVERFLOW,
                                 BTREE_HEADER_BYTES + (uint64_t)tuple->size, &header);
    if (rc != 0)
        return rc;
    memcpy((char *)header + BTREE_HEADER_BYTES, tuple->data, tuple->size);
    tuple->flags |= BTREE_ELSEWHERE;
    tuple->page = header->number;
    tuple->sequence = header->sequence;
    return 0;
}

static int version_write(struct merge *merge, const struct btree_tuple *tuple)
{
    struct btree_item item = {
        .position = {merge->key.data, merge->key.size, tuple->ts},
        .tuple = *tuple,
    };
    int rc = data_away(merge, &item.tuple);
    merge->rows++;
    merge->tombstones += (tuple->flags & BTREE_TOMBSTONE) != 0;
    return rc != 0 ? rc : btree__levels_add(merge->levels, 0, &item);
}

static int version_drop(struct merge *merge, const struct btree_tuple *tuple)
{
    if (!(tuple->flags & BTREE_ELSEWHERE))
        return 0;
    return btree__build_free(
        merge->build, tuple->page,
        btree__overflow_pages(btree__build_page_bytes(merge->build), tuple->size), tuple->sequence);
}

static int held_write(struct merge *merge)
{
    struct btree_tuple tombstone = {.ts = merge->held_ts, .flags = BTREE_TOMBSTONE};
    merge->held = false;
    return version_write(merge, &tombstone);
}

/* Takes the next version in order; its key is in `key`. */
static int version_take(struct merge *merge, const void *key, size_t key_size,
                        const struct btree_tuple *tuple)
{
    bool same =
        merge->has_key && btree_key_compare(merge->key.data, merge->key.size, key, key_size) == 0;
    if (!same) {
        int rc = bytes_set(&merge->key, key, key_size, NULL, 0);
        if (rc != 0)
            return rc;
        merge->has_key = true;
        merge->held = false;
        merge->newer_ts = UINT64_MAX;
    } else if (merge->last_ts == tuple->ts) {
        return version_drop(merge, tuple); /* the same version again, of which the new one stays */
    }
    merge->last_ts = tuple->ts;
    if (!needed(merge, tuple->ts))
        return version_drop(merge, tuple);
    merge->newer_ts = tuple->ts;
    if ((tuple->flags & BTREE_TOMBSTONE) &&
        !btree__mutated(merge->body, BTREE_MUTATION_TOMBSTONES)) {
        merge->held = true;
        merge->held_ts = tuple->ts;
        return 0;
    }
    if (tuple->flags & BTREE_TOMBSTONE)
        return 0;
    int rc = merge->held ? held_write(merge) : 0;
    return rc != 0 ? rc : version_write(merge, tuple);
}

static int row_take(struct merge *merge)
{
    const struct engine_row *row = &merge->row;
    struct btree_tuple tuple = {.ts = row->ts,
                                .data = row->data,
                                .size = row->data == NULL ? 0 : row->size,
                                .flags = row->data == NULL ? BTREE_TOMBSTONE : 0};
    int rc = version_take(merge, row->key, row->key_size, &tuple);
    return rc != 0 ? rc : row_next(merge);
}

/* All rows before the position, and with `at` the one there; all that there are when it is NULL. */
static int rows_take(struct merge *merge, const struct btree_position *upper, bool at)
{
    int rc = 0;
    while (rc == 0 && merge->has_row) {
        struct btree_position position = row_position(merge);
        if (upper != NULL && btree_position_compare(&position, upper) >= (at ? 1 : 0))
            break;
        rc = row_take(merge);
    }
    return rc;
}

/* --------------------------------------------------------------------------------------- the tree */

static int leaf_merge(struct merge *merge, const void *leaf, const struct btree_position *lower,
                      const struct btree_position *upper)
{
    size_t prefix = btree_header(leaf)->prefix_bytes;
    int rc = btree__levels_begin(merge->levels, lower);
    for (unsigned i = 0; rc == 0 && i < btree_header(leaf)->slots; i++) {
        struct btree_tuple tuple;
        btree_leaf_tuple(leaf, i, &tuple);
        rc = bytes_set(&merge->whole, btree_prefix(leaf), prefix, tuple.key, tuple.key_size);
        struct btree_position position = {merge->whole.data, merge->whole.size, tuple.ts};
        merge->rows--;
        merge->tombstones -= (tuple.flags & BTREE_TOMBSTONE) != 0;
        if (rc == 0)
            rc = rows_take(merge, &position, true);
        if (rc == 0)
            rc = version_take(merge, position.key, position.size, &tuple);
    }
    return rc != 0 ? rc : rows_take(merge, upper, false);
}

/* Whether the node, of `level`, cannot stay as it is. */
static bool must_open(const struct merge *merge, uint64_t child, unsigned level,
                      const struct btree_position *lower, const struct btree_position *upper)
{
    if (merge->has_row) {
        struct btree_position position = row_position(merge);
        if (upper == NULL || btree_position_compare(&position, upper) < 0)
            return true;
    }
    if (lower->ts != UINT64_MAX && merge->has_key &&
        !btree__mutated(merge->body, BTREE_MUTATION_CHAIN_CUT) &&
        btree_key_compare(merge->key.data, merge->key.size, lower->key, lower->size) == 0)
        return true;
    return (merge->drops && (child & BTREE_CHILD_GARBAGE)) ||
           !btree__levels_closable(merge->levels, level);
}

static int node_merge(struct merge *merge, uint64_t child, unsigned level,
                      const struct btree_position *lower, const struct btree_position *upper);

/* The key of a slot, whole, in *out. */
static int slot_position(const void *node, unsigned slot, struct bytes *out,
                         struct btree_position *position)
{
    const unsigned char *key;
    size_t size;
    btree_branch_child(node, slot, &key, &size, &position->ts);
    int rc = bytes_set(out, btree_prefix(node), btree_header(node)->prefix_bytes, key, size);
    position->key = out->data;
    position->size = out->size;
    return rc;
}

static int child_merge(struct merge *merge, uint64_t child, unsigned level,
                       const struct btree_position *lower, const struct btree_position *upper)
{
    if (must_open(merge, child, level, lower, upper))
        return node_merge(merge, child, level, lower, upper);
    int rc = btree__levels_close(merge->levels, level, false);
    return rc != 0 ? rc : btree__levels_pass(merge->levels, level, lower, child);
}

static int branch_merge(struct merge *merge, const void *branch, unsigned level,
                        const struct btree_position *lower, const struct btree_position *upper)
{
    struct bytes keys[2] = {{NULL, 0, 0}, {NULL, 0, 0}};
    struct btree_position from = *lower, to;
    unsigned slots = btree_header(branch)->slots;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < slots; i++) {
        const unsigned char *key;
        size_t size;
        uint64_t ts, child = btree_branch_child(branch, i, &key, &size, &ts);
        bool last = i + 1 == slots;
        if (!last)
            rc = slot_position(branch, i + 1, &keys[i % 2], &to);
        if (rc == 0)
            rc = child_merge(merge, child, level - 1, &from, last ? upper : &to);
        from = to;
    }
    free(keys[0].data);
    free(keys[1].data);
    return rc;
}

static int node_merge(struct merge *merge, uint64_t child, unsigned level,
                      const struct btree_position *lower, const struct btree_position *upper)
{
    struct btree_read node;
    int rc = btree__read_node(merge->body->file, child, level, BTREE_ONCE, &node);
    if (rc != 0)
        return rc;
    if (level == 0)
        btree__build_warm(merge->build, node.memory == NULL);
    rc = btree__build_free(merge->build, btree_child_page(child), btree_child_pages(child),
                           btree_header(node.data)->sequence);
    if (rc == 0)
        rc = level == 0 ? leaf_merge(merge, node.data, lower, upper)
                        : branch_merge(merge, node.data, level, lower, upper);
    btree__read_release(&node);
    return rc;
}

/* ---------------------------------------------------------------------------------------- course */

static int merge_all(struct merge *merge)
{
    static const struct btree_position start = {(const unsigned char *)"", 0, UINT64_MAX};
    const struct btree_generation *base = merge->body->current;
    uint64_t tree;
    unsigned depth;
    int rc;
    if (base == NULL || base->root.tree == 0) {
        rc = btree__levels_begin(merge->levels, &start);
        if (rc == 0)
            rc = rows_take(merge, NULL, false);
    } else {
        merge->rows = base->root.rows;
        merge->tombstones = base->root.tombstones;
        rc = node_merge(merge, base->root.tree, base->root.depth - 1, &start, NULL);
    }
    if (rc == 0)
        rc = btree__levels_finish(merge->levels, &tree, &depth);
    if (rc == 0)
        rc = btree__build_finish(merge->build, tree, depth, merge->rows, merge->tombstones);
    return rc;
}

static int merge_run(struct merge *merge, uint64_t timestamp)
{
    enum io_class class = merge->drops ? IO_BACKGROUND : IO_CHECKPOINT;
    int rc = btree__build_new(merge->body, timestamp, class, &merge->build);
    if (rc != 0)
        return rc;
    rc = btree__levels_new(merge->build, &merge->levels);
    if (rc == 0) {
        rc = merge_all(merge);
        btree__levels_delete(merge->levels);
    }
    btree__build_delete(merge->build);
    free(merge->key.data);
    free(merge->whole.data);
    return rc;
}

int btree__absorb(struct body *base, struct engine_source *rows, uint64_t up_to_ts,
                  const struct engine_snapshots *snapshots)
{
    struct merge merge = {.body = (struct btree_body *)base,
                          .snapshots = snapshots,
                          .source = rows,
                          .up_to_ts = up_to_ts};
    int rc = row_next(&merge);
    if (rc != 0 || !merge.has_row)
        return rc;
    return merge_run(&merge, up_to_ts);
}

int btree__compact(struct body *base, const struct engine_snapshots *snapshots)
{
    struct merge merge = {.body = (struct btree_body *)base, .snapshots = snapshots, .drops = true};
    const struct btree_generation *current = merge.body->current;
    if (current == NULL || !(current->root.tree & BTREE_CHILD_GARBAGE))
        return 0;
    return merge_run(&merge, current->timestamp);
}

/* What absorb leaves is within its bound: pages that are needed no more are used again. */
int btree__tidy(struct body *base, const struct engine_snapshots *snapshots, uint64_t bytes_max,
                struct engine_tidied *out)
{
    (void)base;
    (void)snapshots;
    (void)bytes_max;
    *out = (struct engine_tidied){ENGINE_TIDY, 0};
    return 0;
}
