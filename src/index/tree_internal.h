/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INDEX_TREE_INTERNAL_H
#define INDEX_TREE_INTERNAL_H

/*
 * What the files of the tree share: the tree itself, its counters, and the way down.
 */
#include "index/hash.h"
#include "index/tree_node.h"

enum { TREE_STRIPES = 16 };

/* One of several counters that are summed when asked for. May be negative by itself. */
struct tree_stripe {
    CACHE_ALIGNED _Atomic int64_t entries;
    _Atomic int64_t node_bytes, item_bytes;
};

struct tree {
    CACHE_ALIGNED struct tree_node *_Atomic root;
    struct hash *_Atomic directory; /* or NULL */
    bool directory_whole;           /* it has items by their whole keys; read after `directory` */
    struct tree_stripe stripes[TREE_STRIPES];
};

/* Where a descent ends: in the node whose fences enclose the key, in the one that holds what comes
 * directly before the key, or in the last one (the key is not looked at). */
enum tree_target { TREE_TARGET_COVER, TREE_TARGET_BEFORE, TREE_TARGET_LAST };

/* The end of a descent: a node, the one above it (NULL for the root), and the versions under which
 * the way was right. */
struct tree_path {
    struct tree_node *node, *parent;
    uint64_t version, parent_version;
    unsigned position; /* of the node in its parent */
};

/* Goes down to `level` (0: a leaf). False when the tree is not that high. Repeats itself until it
 * came through undisturbed. */
bool tree__descend(const struct tree *tree, struct tree_key key, enum tree_target target,
                   unsigned level, struct tree_path *path);

/* One step of it: which child of an inner node to go to. */
unsigned tree__child_position(const struct tree_node *node, struct tree_key key,
                              enum tree_target target);

/* Notes root and version; false: try again. */
bool tree__root_begin(const struct tree *tree, struct tree_node **root, uint64_t *version);

/* `change` 1 or -1: the item has come or gone. */
void tree__count_item(struct tree *tree, const struct tree_thread *thread, const struct item *item,
                      int64_t change);

/* A node and its own copy of `low`, counted; NULL when memory is out. */
struct tree_node *tree__node_new(struct tree *tree, struct tree_thread *thread, unsigned level,
                                 struct tree_key low, const struct tree_fence *high);

/* Frees it at once: nobody else knows it. */
void tree__node_delete(struct tree *tree, struct tree_thread *thread, struct tree_node *node);

/* Frees it when nobody can see it any more. It is obsolete and unlinked. */
void tree__node_retire(struct tree *tree, struct tree_thread *thread, struct tree_node *node);

static inline struct tree_key tree__key(const void *bytes, size_t size)
{
    return (struct tree_key){size > 0 ? bytes : "", size};
}

#endif
