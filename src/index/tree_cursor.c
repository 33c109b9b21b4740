/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking in key order, a leaf at a time.
 *
 * There are no links between leaves. At the end of a leaf the cursor comes down from the root
 * again, by the fence that it noted together with the leaf's items: forward to the leaf that
 * encloses the high fence, backward to the one that holds what comes before the low fence. What was
 * read of one leaf was read under one version, from fence to fence, and the next leaf is entered
 * exactly at the fence: so a key that is there all the time is seen once whatever has been split or
 * merged in between, and the ranges of the leaves reported cover the walk without a gap (invariant
 * 16).
 *
 * Fences are the tree's own copies, retired with their nodes; they outlive the cursor, because it
 * holds the epoch.
 */
#include <stddef.h>

#include "index/tree_internal.h"

enum { CURSOR_PREFETCH = 8, CURSOR_PREFETCH_BELOW = 3 };

void tree_cursor_create(struct tree_cursor *cursor, struct tree *tree, const void *key,
                        size_t key_size, bool inclusive, bool backward)
{
    *cursor = (struct tree_cursor){
        .tree = tree,
        .backward = backward,
        .from_key = key,
        .from_key_size = key_size,
        .from_inclusive = inclusive,
        .from_unbounded = key == NULL,
        .until_unbounded = true,
    };
}

void tree_cursor_until(struct tree_cursor *cursor, const void *key, size_t key_size, bool inclusive)
{
    cursor->until_key = key;
    cursor->until_key_size = key_size;
    cursor->until_inclusive = inclusive;
    cursor->until_unbounded = false;
}

void tree_cursor_few(struct tree_cursor *cursor, unsigned few)
{
    cursor->few = few;
}

static enum tree_target cursor_target(const struct tree_cursor *cursor)
{
    if (!cursor->backward)
        return TREE_TARGET_COVER;
    if (cursor->from_unbounded)
        return TREE_TARGET_LAST;
    return cursor->from_inclusive ? TREE_TARGET_COVER : TREE_TARGET_BEFORE;
}

/* The position of a key that may lie outside of the leaf's fences, where a search may not be asked.
 */
static unsigned bound_search(const struct tree_node *leaf, const struct tree_fence *high,
                             struct tree_key key, bool *found)
{
    *found = false;
    if (tree__key_compare(key, tree__fence_key(leaf->low)) < 0)
        return 0;
    if (high != NULL && tree__key_compare(key, tree__fence_key(high)) >= 0)
        return tree__node_count(leaf);
    return tree__node_search(leaf, key, found);
}

/* Narrows [*begin, *end) by one bound of the range: to what is above it, or to what is below it. */
static void slice_bound(const struct tree_node *leaf, const struct tree_fence *high,
                        struct tree_key key, bool inclusive, bool above, unsigned *begin,
                        unsigned *end)
{
    bool found;
    unsigned position = bound_search(leaf, high, key, &found);
    if (above)
        *begin = position + (found && !inclusive);
    else
        *end = position + (found && inclusive);
}

/* Positions [*begin, *end) of the leaf's items that are in what is left of the range. */
static void cursor_slice(const struct tree_cursor *cursor, const struct tree_node *leaf,
                         const struct tree_fence *high, unsigned *begin, unsigned *end)
{
    *begin = 0;
    *end = tree__node_count(leaf);
    if (!cursor->from_unbounded)
        slice_bound(leaf, high, tree__key(cursor->from_key, cursor->from_key_size),
                    cursor->from_inclusive, !cursor->backward, begin, end);
    if (!cursor->until_unbounded)
        slice_bound(leaf, high, tree__key(cursor->until_key, cursor->until_key_size),
                    cursor->until_inclusive, cursor->backward, begin, end);
}

/* True when the range ends before the fence at which the cursor would go on. */
static bool ends_before(const struct tree_cursor *cursor, const struct tree_fence *fence)
{
    if (fence == NULL || (cursor->backward && fence->size == 0))
        return true;
    if (cursor->until_unbounded)
        return false;
    int order = tree__key_compare(tree__key(cursor->until_key, cursor->until_key_size),
                                  tree__fence_key(fence));
    if (cursor->backward)
        return order >= 0;
    return order < 0 || (order == 0 && !cursor->until_inclusive);
}

/* Sets where to go on after the leaf whose fences are given. */
static void cursor_go_on(struct tree_cursor *cursor, const struct tree_fence *low,
                         const struct tree_fence *high)
{
    const struct tree_fence *fence = cursor->backward ? low : high;
    cursor->ended = ends_before(cursor, fence);
    cursor->from_unbounded = false;
    cursor->from_inclusive = !cursor->backward;
    if (!cursor->ended) {
        cursor->from_key = fence->bytes;
        cursor->from_key_size = fence->size;
    }
}

/* Narrows [*begin, *end) to the few that are wanted at first. False: there are no more than these. */
static bool cursor_portion(const struct tree_cursor *cursor, unsigned *begin, unsigned *end)
{
    if (cursor->few == 0 || *begin > *end || *end - *begin <= cursor->few)
        return false;
    if (cursor->backward)
        *begin = *end - cursor->few;
    else
        *end = *begin + cursor->few;
    return true;
}

/* Sets where to go on behind a portion of a leaf: only now, since the item may have to be waited for. */
static void cursor_go_behind(struct tree_cursor *cursor)
{
    if (cursor->behind == NULL)
        return;
    cursor->from_key = cursor->behind->key;
    cursor->from_key_size = cursor->behind->key_size;
    cursor->from_inclusive = cursor->from_unbounded = false;
    cursor->behind = NULL;
}

/* Reads the next leaf into the buffer. False: it changed meanwhile, and the cursor is as before. */
static bool cursor_read_leaf(struct tree_cursor *cursor)
{
    struct tree_key from = tree__key("", 0);
    cursor_go_behind(cursor);
    if (!cursor->from_unbounded)
        from = tree__key(cursor->from_key, cursor->from_key_size);
    struct tree_path path;
    tree__descend(cursor->tree, from, cursor_target(cursor), 0, &path);
    const struct tree_node *leaf = path.node;
    const struct tree_fence *high = load_acquire(&leaf->high);
    unsigned begin, end;
    cursor_slice(cursor, leaf, high, &begin, &end);
    bool portion = cursor_portion(cursor, &begin, &end);
    int count = 0;
    for (unsigned i = begin; i < end; i++)
        cursor->items[count++] =
            tree__node_item(leaf, cursor->backward ? end - 1 - (i - begin) : i);
    if (!tree__node_check(leaf, path.version))
        return false;
    cursor->count = count;
    cursor->position = 0;
    cursor->leaf = (const struct tree_leaf *)leaf;
    cursor->leaf_version = path.version;
    cursor->few = 0;
    if (portion)
        cursor->behind = cursor->items[count - 1];
    else
        cursor_go_on(cursor, leaf->low, high);
    for (int i = 0; i < count && i < CURSOR_PREFETCH; i++)
        __builtin_prefetch(cursor->items[i]);
    return true;
}

struct item *tree_cursor_next(struct tree_cursor *cursor, int *error)
{
    if (error != NULL)
        *error = 0;
    while (cursor->position == cursor->count) {
        if (cursor->ended)
            return NULL;
        while (!cursor_read_leaf(cursor))
            cpu_relax();
        int result = cursor->on_leaf == NULL
                         ? 0
                         : cursor->on_leaf(cursor->leaf, cursor->leaf_version, cursor->on_leaf_arg);
        if (result != 0) {
            cursor->count = cursor->position = 0;
            cursor->ended = true;
            if (error != NULL)
                *error = result;
            return NULL;
        }
    }
    int ahead = cursor->position + CURSOR_PREFETCH,
        below = cursor->position + CURSOR_PREFETCH_BELOW;
    if (ahead < cursor->count)
        __builtin_prefetch(cursor->items[ahead]);
    if (below < cursor->count) /* what it leads to; it has come by now */
        __builtin_prefetch(load_relaxed(&cursor->items[below]->pointer));
    return cursor->items[cursor->position++];
}
