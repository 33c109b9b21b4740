/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INDEX_TREE_NODE_H
#define INDEX_TREE_NODE_H

/*
 * One node of the tree: its layout, its version latch, searching in it and changing it. Private to
 * src/index.
 *
 *   line 0        version · low · high · count level · skip, more · bytes of the prefix
 *   lines 1-7.5   hints[60]     8 bytes of each key behind the node's prefix, as big-endian numbers
 *   the rest      pointers[60]  items in a leaf, children in an inner node
 *
 * Fences. A node holds keys in [low, high). low never changes while the node lives and is its own
 * copy; the low of child i is also the separator before child i, so an inner node keeps no
 * separator of its own, only its hint. high is the low of the next node on the same level, and
 * belongs to that one: it can not dangle, because a node goes only by being merged into its left
 * neighbour, whose high becomes that of the merged, or by being shared out, and then it becomes the low of
 * the node that comes next instead. NULL is plus infinity; the empty key is minus infinity.
 *
 * Prefix. All keys in a node begin alike, with `skip` bytes that the fences share (whoever has come
 * down to this node need not compare them) and `more` bytes that the present keys share beyond
 * that; those are kept in the node and are compared. A key that has them not is smaller or larger
 * than all present keys. Inserting such a key makes the prefix shorter, splits and merges compute
 * it anew.
 *
 * Latch. version is LOCKED, OBSOLETE and a counter. Readers note it, read, and check that it is the
 * same (Leis et al. 2016). Every field that changes is read by acquire loads and written by release
 * stores: so a reader that has seen anything of a writer sees its latch as well when it checks,
 * without fences (which ThreadSanitizer would not understand), and on this architecture at no cost.
 * Searching reads hints by vectors, of which the same holds here.
 *
 * A reader may look at a node in the middle of a change. What it then finds is nonsense, but safe:
 * a slot below any count that it can see holds a pointer that was in the node after the reader
 * entered its epoch (slots are written before count grows and are never cleared), and positions are
 * clamped.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "index/tree.h"

enum {
    TREE_NODE_SIZE = 1024,
    TREE_NODE_CAPACITY = 60,
    TREE_PREFIX_WORDS = 4,
    TREE_PREFIX_MORE_MAX = TREE_PREFIX_WORDS * 8,
};

enum { TREE_NODE_LOCKED = 1, TREE_NODE_OBSOLETE = 2, TREE_NODE_CHANGE = 4 };

/* A key that somebody else keeps. */
struct tree_key {
    const unsigned char *bytes;
    size_t size;
};

/* A fence: a key of the tree's own. Immutable. */
struct tree_fence {
    uint32_t size;
    unsigned char bytes[];
};

struct tree_node {
    _Atomic uint64_t version;
    const struct tree_fence *low;          /* immutable; owned unless empty */
    const struct tree_fence *_Atomic high; /* owned by the next node; NULL: none */
    _Atomic uint16_t count;                /* of pointers in use */
    uint8_t level;                         /* immutable; 0: leaf */
    uint8_t inserted_last;                 /* a position; looked at under the latch only */
    _Atomic uint16_t skip, more;
    _Atomic uint64_t prefix[TREE_PREFIX_WORDS]; /* `more` bytes in memory order, the rest zero */
    _Atomic uint64_t hints[TREE_NODE_CAPACITY]; /* of an inner node the first is not used */
    void *_Atomic pointers[TREE_NODE_CAPACITY];
};

_Static_assert(sizeof(struct tree_node) == TREE_NODE_SIZE, "a node fills its size class");
_Static_assert(offsetof(struct tree_node, hints) == CACHE_LINE_SIZE, "the header is one line");
_Static_assert((int)TREE_NODE_CAPACITY <= (int)TREE_LEAF_CAPACITY_MAX, "a cursor holds a leaf");

/* ---- keys ---- */

static inline struct tree_key tree__fence_key(const struct tree_fence *fence)
{
    return (struct tree_key){fence->bytes, fence->size};
}

static inline struct tree_key tree__item_key(const struct item *item)
{
    return (struct tree_key){item->key, item->key_size};
}

/* Below 0, 0 or above 0, as memcmp; of two keys one of which begins the other the shorter is
 * smaller. */
int tree__key_compare(struct tree_key a, struct tree_key b);

/* How many bytes both begin with. */
size_t tree__key_common(struct tree_key a, struct tree_key b);

/* ---- the latch ---- */

/* Waits until the node is not latched and notes its version; false when the node is no longer part
 * of the tree. */
static inline bool tree__node_begin(const struct tree_node *node, uint64_t *version)
{
    unsigned turn = 0;
    while ((*version = load_acquire(&node->version)) & TREE_NODE_LOCKED)
        spin_wait(&turn);
    return !(*version & TREE_NODE_OBSOLETE);
}

/* True when all that was read since tree__node_begin was consistent. */
static inline bool tree__node_check(const struct tree_node *node, uint64_t version)
{
    return load_acquire(&node->version) == version;
}

/* Latches the node if it has not changed since tree__node_begin. */
static inline bool tree__node_lock(struct tree_node *node, uint64_t version)
{
    return atomic_compare_exchange_strong_explicit(&node->version, &version,
                                                   version | TREE_NODE_LOCKED, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* Three ways to let the latch go; `version` is what tree__node_lock was given. */
static inline void tree__node_unlock_changed(struct tree_node *node, uint64_t version)
{
    store_release(&node->version, version + TREE_NODE_CHANGE);
}

static inline void tree__node_unlock_same(struct tree_node *node, uint64_t version)
{
    store_release(&node->version, version);
}

static inline void tree__node_unlock_obsolete(struct tree_node *node, uint64_t version)
{
    store_release(&node->version, (version + TREE_NODE_CHANGE) | TREE_NODE_OBSOLETE);
}

/* ---- reading; by optimistic readers, or under the latch ---- */

static inline unsigned tree__node_count(const struct tree_node *node)
{
    unsigned count = load_acquire(&node->count);
    return count < TREE_NODE_CAPACITY ? count : TREE_NODE_CAPACITY;
}

static inline struct tree_node *tree__node_child(const struct tree_node *node, unsigned position)
{
    return load_acquire(&node->pointers[position]);
}

static inline struct item *tree__node_item(const struct tree_node *node, unsigned position)
{
    return load_acquire(&node->pointers[position]);
}

/* The first position that a search looks at: the first child has no separator. */
static inline unsigned tree__node_first(const struct tree_node *node)
{
    return node->level > 0;
}

/* Asks for the lines that a search will look at. */
static inline void tree__node_prefetch(const struct tree_node *node)
{
    for (size_t offset = 0; offset <= offsetof(struct tree_node, pointers);
         offset += CACHE_LINE_SIZE)
        __builtin_prefetch((const char *)node + offset);
}

/* Key of an entry: the item's, or the child's low fence. */
struct tree_key tree__node_key(const struct tree_node *node, unsigned position);

/* The first position whose key is not smaller than `key`, or count; *found tells whether it is
 * equal. */
unsigned tree__node_search(const struct tree_node *node, struct tree_key key, bool *found);

/* The same by hints alone, touching nothing but the node: at most the position that
 * tree__node_search finds. */
unsigned tree__node_search_hints(const struct tree_node *node, struct tree_key key);

/* ---- changing; under the latch, or before others know the node ---- */

/* A node without entries. `low` is kept and owned from now on. */
void tree__node_create(struct tree_node *node, unsigned level, const struct tree_fence *low,
                       const struct tree_fence *high);

/* Puts an entry at a position that tree__node_search has found. The node is not full. */
void tree__node_insert(struct tree_node *node, unsigned position, void *pointer);

void tree__node_remove(struct tree_node *node, unsigned position);

/* Moves the entries from `position` on to the empty node `right`, whose low fence separates them.
 */
void tree__node_split(struct tree_node *node, unsigned position, struct tree_node *right);

/* Takes over all entries of the next node on the level. They fit. */
void tree__node_merge(struct tree_node *node, struct tree_node *right);

/* Shares the entries of two neighbouring leaves out among the left one and new ones without entries,
 * `pieces` in all: piece n begins at tree__node_share_position, where the low fence of made[n - 1]
 * separates. The right one stays as it is, for those who look at it meanwhile. */
void tree__node_share(struct tree_node *left, const struct tree_node *right,
                      struct tree_node *const *made, unsigned pieces);

static inline unsigned tree__node_share_position(unsigned count, unsigned n, unsigned pieces)
{
    return count * n / pieces;
}

/* What prefix and hints must be as computed from fences and keys; for tree_verify. */
bool tree__node_prefix_valid(const struct tree_node *node);

#endif
