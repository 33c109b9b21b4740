/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing the tree: inserting and removing, splitting full nodes and merging sparse ones.
 *
 * A writer comes down as a reader does and latches the leaf only if it has not changed since; so
 * nobody ever waits for a latch while holding one, and there is no deadlock. Insertion into a full
 * leaf, or removal that leaves a sparse one, is followed by a change of structure that starts from
 * the root again: it latches the parent, the node and, for a merge, its neighbour, each only if
 * unchanged, or lets all go and tries again.
 *
 *   split   the upper half goes to a new node on the right; the shortest key that separates both
 *           halves (Bayer, Unterauer 1977: "Prefix B-trees") is the new node's low fence. Where
 *           keys are inserted in order, the node that they leave behind stays nearly full.
 *   share   where keys come in no order and a neighbour of a full leaf has room, both are made equally
 *           full instead; where it has none, the two become three (the B*-tree of Knuth 1973, 6.2.4). The
 *           left one keeps its first entries, the right one becomes obsolete and new ones take its place.
 *   merge   the left one of two neighbours under one parent takes over all of the right one, which
 *           becomes obsolete and is retired. So the low fence of a node never changes.
 *   root    a split of the root puts a new root above; a root with a single child gives way to it.
 *
 * A leaf without entries goes, unless it is its parent's only child and the parent has no room
 * beside it; the leaf stays then until the next removal near it. Parents that get sparse are merged
 * likewise.
 *
 * Every version changes when entries or fences of its node do, and only then (invariant 16): a
 * latch that led to nothing is let go under the old version.
 */
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "index/tree_internal.h"

enum {
    SPARSE_COUNT = TREE_NODE_CAPACITY / 5,
    MERGED_COUNT_MAX = TREE_NODE_CAPACITY * 3 / 4,
    IN_ORDER_COUNT_MAX = TREE_NODE_CAPACITY * 9 / 10,
    ROOMY_COUNT_MAX = TREE_NODE_CAPACITY * 3 / 4,
};

/* ---- splitting ---- */

/* The shortest key above a and not above b. */
static struct tree_key separator_between(struct tree_key a, struct tree_key b)
{
    return (struct tree_key){b.bytes, tree__key_common(a, b) + 1};
}

/* Splits a latched node of which the parent, when there is one, is latched too and has room. */
static int split_latched(struct tree *tree, struct tree_thread *thread, struct tree_path *path,
                         unsigned position)
{
    struct tree_node *node = path->node, *root = NULL;
    struct tree_key separator = tree__node_key(node, position);
    if (node->level == 0)
        separator = separator_between(tree__node_key(node, position - 1), separator);
    struct tree_node *right =
        tree__node_new(tree, thread, node->level, separator, load_acquire(&node->high));
    if (right == NULL)
        return ERROR_MEMORY;
    if (path->parent == NULL) {
        root = tree__node_new(tree, thread, node->level + 1u, tree__fence_key(node->low), NULL);
        if (root == NULL) {
            tree__node_delete(tree, thread, right);
            return ERROR_MEMORY;
        }
        tree__node_insert(root, 0, node);
    }
    tree__node_split(node, position, right);
    tree__node_insert(root != NULL ? root : path->parent, path->position + 1, right);
    if (root != NULL)
        store_release(&tree->root, root);
    return 0;
}

/* Latches parent and node as they were seen. */
static bool path_lock(struct tree_path *path)
{
    if (path->parent != NULL && !tree__node_lock(path->parent, path->parent_version))
        return false;
    if (tree__node_lock(path->node, path->version))
        return true;
    if (path->parent != NULL)
        tree__node_unlock_same(path->parent, path->parent_version);
    return false;
}

static void path_unlock(struct tree_path *path, bool changed)
{
    void (*unlock)(struct tree_node *, uint64_t) =
        changed ? tree__node_unlock_changed : tree__node_unlock_same;
    unlock(path->node, path->version);
    if (path->parent != NULL)
        unlock(path->parent, path->parent_version);
}

/* ---- sharing ---- */

/* Two neighbours under one parent: a full leaf, and the emptier one of those beside it. */
struct pair {
    struct tree_node *left, *right, *other;
    unsigned right_position; /* in the parent */
};

/* The parent is latched. False: there is nobody beside it. */
static bool pair_choose(const struct tree_path *path, struct pair *pair)
{
    const struct tree_node *parent = path->parent;
    struct tree_node *before = NULL, *behind = NULL;
    if (path->position > 0)
        before = tree__node_child(parent, path->position - 1);
    if (path->position + 1 < tree__node_count(parent))
        behind = tree__node_child(parent, path->position + 1);
    if (before == NULL && behind == NULL)
        return false;
    bool left =
        behind == NULL || (before != NULL && tree__node_count(before) < tree__node_count(behind));
    pair->other = left ? before : behind;
    pair->left = left ? before : path->node;
    pair->right = left ? path->node : behind;
    pair->right_position = left ? path->position : path->position + 1;
    return true;
}

/* Of the entry at a position counted through both. */
static struct tree_key pair_key(const struct pair *pair, unsigned position)
{
    unsigned count = tree__node_count(pair->left);
    return position < count ? tree__node_key(pair->left, position)
                            : tree__node_key(pair->right, position - count);
}

/* The new nodes, empty, with the fences that they are to have. 0 or ERROR_MEMORY. */
static int share_make(struct tree *tree, struct tree_thread *thread, const struct pair *pair,
                      struct tree_node **made, unsigned pieces)
{
    unsigned count = tree__node_count(pair->left) + tree__node_count(pair->right);
    const struct tree_fence *high = load_acquire(&pair->right->high);
    for (unsigned n = pieces - 1; n > 0; n--) {
        unsigned begin = tree__node_share_position(count, n, pieces);
        struct tree_key low = separator_between(pair_key(pair, begin - 1), pair_key(pair, begin));
        made[n - 1] = tree__node_new(tree, thread, 0, low, high);
        if (made[n - 1] == NULL) {
            if (n + 1 < pieces)
                tree__node_delete(tree, thread, made[n]);
            return ERROR_MEMORY;
        }
        high = made[n - 1]->low;
    }
    return 0;
}

/* All three are latched, and the parent has room. */
static int share_latched(struct tree *tree, struct tree_thread *thread, struct tree_path *path,
                         const struct pair *pair)
{
    struct tree_node *made[2];
    unsigned pieces = tree__node_count(pair->other) <= ROOMY_COUNT_MAX ? 2 : 3;
    int error = share_make(tree, thread, pair, made, pieces);
    if (error != 0)
        return error;
    tree__node_share(pair->left, pair->right, made, pieces);
    tree__node_remove(path->parent, pair->right_position);
    for (unsigned n = 1; n < pieces; n++)
        tree__node_insert(path->parent, pair->right_position + n - 1, made[n - 1]);
    return 0;
}

enum { SHARE_NOT = 1 };

/* Leaf and parent are latched, and are let go unless it returns SHARE_NOT: there is no neighbour, or
 * somebody is at it, for whom nobody waits here. */
static int share(struct tree *tree, struct tree_thread *thread, struct tree_path *path)
{
    struct pair pair;
    if (path->parent == NULL || path->node->level > 0 || !pair_choose(path, &pair))
        return SHARE_NOT;
    uint64_t other_version = load_acquire(&pair.other->version);
    if (other_version & (TREE_NODE_LOCKED | TREE_NODE_OBSOLETE) ||
        !tree__node_lock(pair.other, other_version))
        return SHARE_NOT;
    int error = share_latched(tree, thread, path, &pair);
    if (error != 0) {
        tree__node_unlock_same(pair.other, other_version);
        path_unlock(path, false);
        return error;
    }
    bool other_left = pair.other == pair.left;
    tree__node_unlock_obsolete(pair.right, other_left ? path->version : other_version);
    tree__node_unlock_changed(pair.left, other_left ? other_version : path->version);
    tree__node_unlock_changed(path->parent, path->parent_version);
    tree__node_retire(tree, thread, pair.right);
    return 0;
}

/*
 * Where to split: in the middle; but where the key follows the one inserted last, or precedes it,
 * keys come in order, and the split is made between what they leave behind and what they will fill.
 */
static unsigned split_position(const struct tree_node *node, struct tree_key key)
{
    bool found;
    unsigned position = tree__node_search(node, key, &found);
    if (position != node->inserted_last && position != node->inserted_last + 1u)
        return TREE_NODE_CAPACITY / 2;
    if (position < TREE_NODE_CAPACITY - IN_ORDER_COUNT_MAX)
        return TREE_NODE_CAPACITY - IN_ORDER_COUNT_MAX;
    return position < IN_ORDER_COUNT_MAX ? position : IN_ORDER_COUNT_MAX;
}

/* Makes room in the node on `level` that encloses the key, if there still is none. Returns 0 or
 * ERROR_MEMORY. */
static int make_room(struct tree *tree, struct tree_thread *thread, struct tree_key key,
                     unsigned level)
{
    for (;;) {
        struct tree_path path;
        if (!tree__descend(tree, key, TREE_TARGET_COVER, level, &path))
            return 0;
        if (tree__node_count(path.node) < TREE_NODE_CAPACITY)
            return 0;
        if (path.parent != NULL && tree__node_count(path.parent) == TREE_NODE_CAPACITY) {
            int error = make_room(tree, thread, key, level + 1);
            if (error != 0)
                return error;
            continue;
        }
        if (!path_lock(&path))
            continue;
        unsigned position = split_position(path.node, key);
        int error = SHARE_NOT;
        if (position == TREE_NODE_CAPACITY / 2)
            error = share(tree, thread, &path);
        if (error != SHARE_NOT)
            return error;
        error = split_latched(tree, thread, &path, position);
        path_unlock(&path, error == 0);
        return error;
    }
}

/* ---- merging ---- */

/* A root with a single child gives way to it. */
static bool root_shrink(struct tree *tree, struct tree_thread *thread, struct tree_path *path)
{
    if (path->node->level == 0 || tree__node_count(path->node) > 1)
        return false;
    if (!tree__node_lock(path->node, path->version))
        return true;
    store_release(&tree->root, tree__node_child(path->node, 0));
    tree__node_unlock_obsolete(path->node, path->version);
    tree__node_retire(tree, thread, path->node);
    return true;
}

/* The neighbour with which the node can be merged: -1 the left, 1 the right, 0 none. */
static int merge_partner(const struct tree_path *path)
{
    unsigned count = tree__node_count(path->node);
    unsigned limit = count <= 1 ? TREE_NODE_CAPACITY : MERGED_COUNT_MAX;
    unsigned siblings = tree__node_count(path->parent), position = path->position;
    if (position > 0 &&
        count + tree__node_count(tree__node_child(path->parent, position - 1)) <= limit)
        return -1;
    if (position + 1 < siblings &&
        count + tree__node_count(tree__node_child(path->parent, position + 1)) <= limit)
        return 1;
    return 0;
}

/* Merges the node with a neighbour. False: somebody was in the way. */
static bool merge_with(struct tree *tree, struct tree_thread *thread, struct tree_path *path,
                       int partner)
{
    unsigned right_position = partner < 0 ? path->position : path->position + 1;
    struct tree_node *other = tree__node_child(path->parent, path->position + (unsigned)partner);
    uint64_t other_version;
    if (!tree__node_check(path->parent, path->parent_version) ||
        !tree__node_begin(other, &other_version))
        return false;
    if (!path_lock(path))
        return false;
    if (merge_partner(path) != partner || !tree__node_lock(other, other_version)) {
        path_unlock(path, false);
        return false;
    }
    struct tree_node *left = partner < 0 ? other : path->node;
    struct tree_node *right = partner < 0 ? path->node : other;
    uint64_t left_version = partner < 0 ? other_version : path->version;
    uint64_t right_version = partner < 0 ? path->version : other_version;
    tree__node_merge(left, right);
    tree__node_remove(path->parent, right_position);
    tree__node_unlock_obsolete(right, right_version);
    tree__node_unlock_changed(left, left_version);
    tree__node_unlock_changed(path->parent, path->parent_version);
    tree__node_retire(tree, thread, right);
    return true;
}

/* What became of one try to merge the sparse node on `level` that encloses the key. */
enum outcome {
    OUTCOME_DONE,       /* nothing to do */
    OUTCOME_REPEAT,     /* somebody was in the way */
    OUTCOME_MERGED,     /* the parent has one child less */
    OUTCOME_ONLY_CHILD, /* there is no neighbour under the same parent */
};

static enum outcome consolidate_once(struct tree *tree, struct tree_thread *thread,
                                     struct tree_key key, unsigned level)
{
    struct tree_path path;
    if (!tree__descend(tree, key, TREE_TARGET_COVER, level, &path))
        return OUTCOME_DONE;
    if (path.parent == NULL)
        return root_shrink(tree, thread, &path) ? OUTCOME_REPEAT : OUTCOME_DONE;
    if (tree__node_count(path.node) > SPARSE_COUNT)
        return OUTCOME_DONE;
    unsigned siblings = tree__node_count(path.parent);
    int partner = merge_partner(&path);
    if (!tree__node_check(path.parent, path.parent_version))
        return OUTCOME_REPEAT;
    if (siblings == 1)
        return OUTCOME_ONLY_CHILD;
    if (partner == 0)
        return OUTCOME_DONE;
    return merge_with(tree, thread, &path, partner) ? OUTCOME_MERGED : OUTCOME_REPEAT;
}

/* Merges the node on `level` that encloses the key while it is sparse, and its parents. True when a
 * merge took place. */
static bool consolidate(struct tree *tree, struct tree_thread *thread, struct tree_key key,
                        unsigned level)
{
    bool merged = false;
    for (;;) {
        switch (consolidate_once(tree, thread, key, level)) {
        case OUTCOME_DONE:
            return merged;
        case OUTCOME_REPEAT:
            break;
        case OUTCOME_MERGED:
            merged = true;
            consolidate(tree, thread, key, level + 1);
            break;
        case OUTCOME_ONLY_CHILD:
            if (!consolidate(tree, thread, key, level + 1))
                return merged;
            break;
        }
    }
}

/* ---- inserting and removing ---- */

/* What is to be done about an item that is there with the same key; the leaf is latched. */
static bool replace_latched(struct tree_node *leaf, unsigned position, struct item *item,
                            tree_replace_fn replace, void *arg, struct item **present)
{
    *present = tree__node_item(leaf, position);
    if (!replace(*present, item, arg))
        return false;
    store_release(&leaf->pointers[position], item);
    return true;
}

enum { INSERT_AGAIN = 1, INSERT_FULL = 2 };

static int insert_once(struct tree *tree, struct tree_thread *thread, struct item *item,
                       tree_replace_fn replace, void *arg, struct item **present)
{
    struct tree_key key = tree__item_key(item);
    struct tree_path path;
    tree__descend(tree, key, TREE_TARGET_COVER, 0, &path);
    bool found;
    unsigned position = tree__node_search(path.node, key, &found);
    if (found && replace == NULL) {
        *present = tree__node_item(path.node, position);
        return tree__node_check(path.node, path.version) ? ERROR_EXISTS : INSERT_AGAIN;
    }
    if (!found && tree__node_count(path.node) == TREE_NODE_CAPACITY)
        return tree__node_check(path.node, path.version) ? INSERT_FULL : INSERT_AGAIN;
    if (!tree__node_lock(path.node, path.version))
        return INSERT_AGAIN;
    if (found) {
        bool replaced = replace_latched(path.node, position, item, replace, arg, present);
        if (replaced && tree_has_directory(tree))
            atomic_fetch_or(&(*present)->state, ITEM_UNLINKED);
        if (replaced)
            tree__node_unlock_changed(path.node, path.version);
        else
            tree__node_unlock_same(path.node, path.version);
        return replaced ? 0 : ERROR_EXISTS;
    }
    tree__node_insert(path.node, position, item);
    tree__node_unlock_changed(path.node, path.version);
    tree__count_item(tree, thread, item, 1);
    *present = NULL;
    return 0;
}

/* The item is in the tree, in place of `replaced` (or NULL). If it has gone meanwhile, who let it go
 * may have looked for it in the directory before it was there. */
static void directory_follow(struct tree *tree, struct tree_thread *thread, struct item *item,
                             struct item *replaced)
{
    struct hash *directory = load_acquire(&tree->directory);
    if (replaced != NULL)
        hash_remove(directory, replaced);
    hash_insert(directory, thread, item);
    if (load_acquire(&item->state) & ITEM_UNLINKED)
        hash_remove(directory, item);
}

int tree_insert(struct tree *tree, struct tree_thread *thread, struct item *item,
                tree_replace_fn replace, void *arg, struct item **present)
{
    if (item->key_size > TREE_KEY_SIZE_MAX)
        return ERROR_TOO_LARGE;
    for (;;) {
        int result = insert_once(tree, thread, item, replace, arg, present);
        if (result == INSERT_FULL)
            result =
                make_room(tree, thread, tree__item_key(item), 0) == 0 ? INSERT_AGAIN : ERROR_MEMORY;
        if (result == 0 && tree_has_directory(tree))
            directory_follow(tree, thread, item, *present);
        if (result != INSERT_AGAIN)
            return result;
    }
}

/* True when removal has left so few entries that the leaf should be merged; not at each one, for
 * trying is not free. */
static bool worth_merging(unsigned count)
{
    return count <= SPARSE_COUNT && count % 4 == 0;
}

/* Unlinks the item with this key, if it is `item` (NULL: whichever it is) and `allowed` agrees. */
static struct item *remove_found(struct tree *tree, struct tree_thread *thread, struct tree_key key,
                                 struct item *item, bool (*allowed)(struct item *item, void *arg),
                                 void *arg)
{
    struct tree_path path;
    struct item *there;
    unsigned position;
    bool found;
    do {
        tree__descend(tree, key, TREE_TARGET_COVER, 0, &path);
        position = tree__node_search(path.node, key, &found);
        there = found ? tree__node_item(path.node, position) : NULL;
        found = found && (item == NULL || there == item);
        if (!found && tree__node_check(path.node, path.version))
            return NULL;
    } while (!found || !tree__node_lock(path.node, path.version));
    if (allowed != NULL && !allowed(there, arg)) {
        tree__node_unlock_same(path.node, path.version);
        return NULL;
    }
    struct hash *directory = load_acquire(&tree->directory);
    if (directory != NULL)
        atomic_fetch_or(&there->state, ITEM_UNLINKED);
    tree__node_remove(path.node, position);
    unsigned count = tree__node_count(path.node);
    tree__node_unlock_changed(path.node, path.version);
    tree__count_item(tree, thread, there, -1);
    if (directory != NULL)
        hash_remove(directory, there);
    if (worth_merging(count))
        consolidate(tree, thread, key, 0);
    return there;
}

bool tree_remove(struct tree *tree, struct tree_thread *thread, struct item *item,
                 bool (*allowed)(struct item *item, void *arg), void *arg)
{
    return remove_found(tree, thread, tree__item_key(item), item, allowed, arg) != NULL;
}

struct item *tree_remove_key(struct tree *tree, struct tree_thread *thread, const void *key,
                             size_t key_size, bool (*allowed)(struct item *item, void *arg),
                             void *arg)
{
    return remove_found(tree, thread, tree__key(key, key_size), NULL, allowed, arg);
}
