/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks everything that must hold of a tree at rest:
 *
 *   1. nodes are neither latched nor obsolete, levels go down by one, counts are in range;
 *   2. entries ascend and lie within the fences; on each level the fences meet, from the empty
 *      key to plus infinity;
 *   3. the low fence of an inner node is that of its first child, the high fence that of its last;
 *   4. prefixes and hints are what fences and keys make them;
 *   5. the counters say what there is.
 */
#include "base/error.h"
#include "index/tree_internal.h"

struct sums {
    size_t entries, bytes;
};

static bool fences_equal(const struct tree_fence *a, const struct tree_fence *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return tree__key_compare(tree__fence_key(a), tree__fence_key(b)) == 0;
}

static bool entries_valid(const struct tree_node *node)
{
    const struct tree_fence *high = load_acquire(&node->high);
    unsigned count = tree__node_count(node);
    if (high != NULL && tree__key_compare(tree__fence_key(node->low), tree__fence_key(high)) >= 0)
        return false;
    for (unsigned i = 0; i < count; i++) {
        struct tree_key key = tree__node_key(node, i);
        if (i > 0 && tree__key_compare(tree__node_key(node, i - 1), key) >= 0)
            return false;
        if (tree__key_compare(tree__fence_key(node->low), key) > 0)
            return false;
        if (high != NULL && tree__key_compare(key, tree__fence_key(high)) >= 0)
            return false;
    }
    return true;
}

/* The children's fences meet, and begin and end where the node's do. */
static bool children_fences_valid(const struct tree_node *node)
{
    unsigned count = tree__node_count(node);
    for (unsigned i = 0; i < count; i++) {
        const struct tree_node *child = tree__node_child(node, i);
        const struct tree_fence *next =
            i + 1 < count ? tree__node_child(node, i + 1)->low : load_acquire(&node->high);
        if (child->level + 1 != node->level || !fences_equal(load_acquire(&child->high), next))
            return false;
    }
    return count > 0 && fences_equal(node->low, tree__node_child(node, 0)->low);
}

static bool subtree_valid(const struct tree_node *node, struct sums *sums)
{
    if (load_acquire(&node->version) & (TREE_NODE_LOCKED | TREE_NODE_OBSOLETE))
        return false;
    if (load_acquire(&node->count) > TREE_NODE_CAPACITY || !entries_valid(node))
        return false;
    if (!tree__node_prefix_valid(node))
        return false;
    sums->bytes += sizeof(*node);
    sums->bytes += node->low->size > 0 ? sizeof(*node->low) + node->low->size : 0;
    unsigned count = tree__node_count(node);
    if (node->level == 0) {
        sums->entries += count;
        return true;
    }
    if (!children_fences_valid(node))
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (!subtree_valid(tree__node_child(node, i), sums))
            return false;
    }
    return true;
}

int tree_verify(struct tree *tree)
{
    const struct tree_node *root = load_acquire(&tree->root);
    struct sums sums = {0, 0};
    if (root->low->size != 0 || load_acquire(&root->high) != NULL || !subtree_valid(root, &sums))
        return ERROR_CORRUPT;
    if (sums.entries != tree_count(tree) || sums.bytes != tree_node_bytes(tree))
        return ERROR_CORRUPT;
    return 0;
}
