/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INDEX_TREE_H
#define INDEX_TREE_H

/*
 * A concurrent B+tree from key bytes (compared as by memcmp, a prefix is smaller) to items, with optimistic lock
 * coupling (Leis, Scheibner, Kemper, Neumann 2016: "The ART of practical synchronization"; Leis, Haubenschild, Neumann 2019):
 * readers write nothing shared, they check a node's version before and after; writers latch the nodes they change.
 *
 * Nodes are of 1 KiB: one header line (version latch, count, level, length of the common prefix, fences, next leaf, previous leaf),
 * an array of 8-byte big-endian hints of what follows the node's common prefix, and an array of pointers: children in
 * inner nodes, items in leaves. The full key of a leaf entry lives in the item.
 *
 * Rules for callers: every call happens between epoch_enter and epoch_leave of the slot in `thread`; items
 * returned are valid until leave. The tree owns its nodes, never the items: who removed or replaced an item retires it.
 * No function here blocks for longer than others hold a latch; none but tree_insert allocates.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/epoch.h"
#include "mem/heap.h"
#include "record/version.h"

enum { TREE_KEY_SIZE_MAX = 65535 };

/* What a thread brings along: its reclamation slot and its memory. */
struct tree_thread {
    struct epoch_slot *epoch;
    struct heap_cache *heap;
};

struct tree;

/* Returns 0 or ERROR_MEMORY. */
int tree_new(struct tree_thread *thread, struct tree **out);

/* Frees all nodes at once; `free_item` (may be NULL) is called for each item. Nobody may use the tree any more. */
void tree_delete(struct tree *tree, struct tree_thread *thread, void (*free_item)(struct item *item, void *arg), void *arg);

/* The item with exactly this key, or NULL. */
struct item *tree_get(struct tree *tree, const void *key, size_t key_size);

/* Looks up `count` keys at once, prefetching; items[i] is NULL where there is none. */
void tree_get_batch(struct tree *tree, const void *const *keys, const size_t *key_sizes, unsigned count, struct item **items);

/*
 * Asked, under the latch of the leaf, what to do about an item that is there already with the key of the one to be
 * inserted. True: replace it by the new one (the caller of tree_insert then owns the old). It must be short, and must not call the tree.
 */
typedef bool (*tree_replace_fn)(struct item *present, struct item *inserted, void *arg);

/*
 * Inserts `item` under its own key. Of threads that race for one key exactly one wins (invariant 14).
 *   0            inserted; *present is NULL, or the item that was replaced and is now the caller's to retire
 *   ERROR_EXISTS nothing changed; *present is the item that is there
 *   ERROR_MEMORY nothing changed
 *   ERROR_TOO_LARGE  the key exceeds TREE_KEY_SIZE_MAX
 * `replace` may be NULL: never replace.
 */
int tree_insert(struct tree *tree, struct tree_thread *thread, struct item *item, tree_replace_fn replace, void *arg,
                struct item **present);

/*
 * Unlinks `item` if the tree still holds exactly this pointer under its key and `allowed` (called under the latch of the
 * leaf, may be NULL) agrees. True: unlinked, the caller retires it.
 */
bool tree_remove(struct tree *tree, struct tree_thread *thread, struct item *item, bool (*allowed)(struct item *item, void *arg),
                 void *arg);

/* Entries in the tree: a sum of striped counters, exact when nobody writes. */
size_t tree_count(const struct tree *tree);

/* Bytes of nodes, live ones only. */
size_t tree_node_bytes(const struct tree *tree);

/*
 * A cursor walks in key order in either direction while others insert, remove and split, and neither loses nor repeats a
 * key that is there all the time; of keys that come or go meanwhile it may see either. It buffers the items of one leaf.
 *
 * tree_cursor_leaf tells the leaf from which the current item (or the end of the range) was read and the leaf's version at
 * that time; tree_leaf_unchanged says whether it is still the same: so no item has been inserted into, removed from or moved out of it
 * (invariant 16). A leaf pointer is valid while the epoch is held. `on_leaf`, when set, is called once for each leaf that the
 * cursor reads, the empty ones and the last one of a range too, before its items are given out; returning nonzero ends the cursor with that code.
 */
struct tree_leaf;

enum { TREE_LEAF_CAPACITY_MAX = 64 };

typedef int (*tree_leaf_fn)(const struct tree_leaf *leaf, uint64_t version, void *arg);

struct tree_cursor {
    struct tree *tree;
    struct item *items[TREE_LEAF_CAPACITY_MAX];
    int count, position;         /* buffered items, and the next one to give out */
    bool backward, ended, bounded_above;
    const struct tree_leaf *leaf;
    uint64_t leaf_version;
    /* where to go on: the last key given out (points into an item) or the start bound */
    const void *from_key;
    size_t from_key_size;
    bool from_inclusive, from_unbounded;
    tree_leaf_fn on_leaf;
    void *on_leaf_arg;
};

/*
 * Starts at the first key >= `key` (or > when not inclusive) going forward, at the last key <= (or <) going backward. key NULL:
 * at the first, or the last. `key` must stay valid while the cursor is used. on_leaf may be set on the struct after this call and before the first next.
 */
void tree_cursor_create(struct tree_cursor *cursor, struct tree *tree, const void *key, size_t key_size, bool inclusive,
                        bool backward);

/* The next item, or NULL at the end; then `*error` (may be NULL) is 0 or what on_leaf returned. */
struct item *tree_cursor_next(struct tree_cursor *cursor, int *error);

bool tree_leaf_unchanged(const struct tree_leaf *leaf, uint64_t version);

/* Walks the tree and checks order, prefixes, hints, fences, links, counts. Returns 0 or ERROR_CORRUPT. Quiescent tree only. */
int tree_verify(struct tree *tree);

#endif
