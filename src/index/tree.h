/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INDEX_TREE_H
#define INDEX_TREE_H

/*
 * A concurrent B+tree from key bytes to items, with optimistic lock coupling: readers write nothing
 * shared, they note a node's version before reading it and check it afterwards; writers latch the
 * nodes they change (Leis, Scheibner, Kemper, Neumann 2016, "The ART of practical synchronization";
 * Leis, Haubenschild, Neumann 2019, "Optimistic lock coupling").
 *
 * Keys are compared as by memcmp; a key that begins another is smaller; the empty key is the
 * smallest. Nodes are of 1 KiB: a header line (version latch, fences, count, level, prefix), an
 * array of 8-byte big-endian hints of what follows the node's common prefix, and an array of
 * pointers: children in inner nodes, items in leaves. The full key of a leaf entry lives in the
 * item; the tree has copies only of the short keys that separate its nodes.
 *
 * Rules for callers. Every call happens between epoch_enter and epoch_leave of the thread's slot;
 * items and leaves that were returned are valid until epoch_leave. The tree owns its nodes, never
 * the items: who removed or replaced an item retires it. An item's key does not change while it is
 * in the tree. No function blocks for longer than others hold a latch, and none but tree_new and
 * tree_insert allocates. Nodes that were merged away are retired to the slot of the thread that did
 * it and freed through its heap cache: close the slot first, then the cache.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/epoch.h"
#include "mem/heap.h"
#include "record/version.h"

/* Longest key, in bytes. */
enum { TREE_KEY_SIZE_MAX = 65535 };

/* What a thread brings along: its reclamation slot and its memory. Both are the caller's. */
struct tree_thread {
    struct epoch_slot *epoch;
    struct heap_cache *heap;
};

struct tree;

/* An empty tree. Returns 0 or ERROR_MEMORY; *out is the caller's, who ends it by tree_delete. */
int tree_new(struct tree_thread *thread, struct tree **out);

/* Frees the tree and all nodes at once; `free_item` (may be NULL) is called for each item, in
 * order. Nobody else may use the tree any more. */
void tree_delete(struct tree *tree, struct tree_thread *thread,
                 void (*free_item)(struct item *item, void *arg), void *arg);

/* The item with exactly this key, or NULL. */
struct item *tree_get(struct tree *tree, const void *key, size_t key_size);

/*
 * Puts a hash directory (hash.h) in front of the tree, unless it has one; it has no writers meanwhile.
 * Within the thread's epoch. From then on insertions and removals keep it up, and tree_get asks it
 * first when it has items by their whole keys. `size_of` NULL: it has; else by so many bytes of
 * them. Returns 0 or ERROR_MEMORY. It goes with the tree.
 */
int tree_directory_make(struct tree *tree, struct tree_thread *thread,
                        uint32_t (*size_of)(const struct item *item));
bool tree_has_directory(const struct tree *tree);
size_t tree_directory_bytes(const struct tree *tree);

/* An item that is in the tree, found by these bytes in the directory, to which `accept` agrees. NULL
 * proves nothing. */
struct item *tree_find(const struct tree *tree, const void *key, size_t key_size,
                       bool (*accept)(struct item *item, void *arg), void *arg);

/* Looks up `count` keys at once, overlapping their cache misses; items[i] is NULL where there is
 * none. */
void tree_get_batch(struct tree *tree, const void *const *keys, const size_t *key_sizes,
                    unsigned count, struct item **items);

/*
 * Asked, under the latch of the leaf, what to do about an item that is there already with the key
 * of the one to be inserted. True: replace it by the new one (the caller of tree_insert then owns
 * the old). It must be short, and must not call the tree.
 */
typedef bool (*tree_replace_fn)(struct item *present, struct item *inserted, void *arg);

/*
 * Inserts `item` under its own key. Of threads that race for one key exactly one wins (invariant
 * 14). 0                inserted; *present is NULL, or what was replaced and is now the caller's to
 * retire ERROR_EXISTS     nothing changed; *present is the item that is there ERROR_MEMORY nothing
 * changed; *present is not set ERROR_TOO_LARGE  the key exceeds TREE_KEY_SIZE_MAX; *present is not
 * set `replace` may be NULL: never replace.
 */
int tree_insert(struct tree *tree, struct tree_thread *thread, struct item *item,
                tree_replace_fn replace, void *arg, struct item **present);

/*
 * Unlinks `item` if the tree still holds exactly this pointer under its key and `allowed` (called
 * under the latch of the leaf, may be NULL, must not call the tree) agrees. True: unlinked, the
 * caller retires it.
 */
bool tree_remove(struct tree *tree, struct tree_thread *thread, struct item *item,
                 bool (*allowed)(struct item *item, void *arg), void *arg);

/* The same of the item with this key, whichever that is; NULL: there is none, or `allowed` did not agree. The
 * caller retires what was unlinked. */
struct item *tree_remove_key(struct tree *tree, struct tree_thread *thread, const void *key,
                             size_t key_size, bool (*allowed)(struct item *item, void *arg),
                             void *arg);

/* Entries in the tree: a sum of striped counters, exact when nobody writes. */
size_t tree_count(const struct tree *tree);

/* Bytes of nodes and of their separating keys, live ones only; exact when nobody writes. */
size_t tree_node_bytes(const struct tree *tree);

/* Bytes of the items that are in the tree, as of tree_count. */
size_t tree_item_bytes(const struct tree *tree);

/* An item that the seed picks: each leaf is about as likely as any other, so that items in fuller ones
 * are a little less likely than others. NULL when the leaf that was come to is empty. */
struct item *tree_random(const struct tree *tree, uint64_t seed);

/* All items of a leaf that is picked so, of the keys from `lower` on and below `upper`, in order: for
 * who has to look at some of them to find one. NULL: there is no bound. `items` has room for
 * TREE_LEAF_CAPACITY_MAX. How many; 0 also when that leaf has none of them. */
enum { TREE_LEAF_CAPACITY_MAX = 64 };
unsigned tree_random_leaf(const struct tree *tree, const void *lower, size_t lower_size,
                          const void *upper, size_t upper_size, uint64_t seed, struct item **items);

/*
 * A cursor walks in key order in either direction while others insert, remove and split, and
 * neither loses nor repeats a key that is there all the time; of keys that come or go meanwhile it
 * may see either. It buffers the items of one leaf. The epoch is held without a break from
 * tree_cursor_create to the last call; there is nothing to destroy.
 *
 * `on_leaf`, when set, is called once for each leaf that the cursor reads, before its items are
 * given out: the one in which the range begins, empty ones, and the one that proves its end. The
 * leaves of a range cover it without a gap: as long as tree_leaf_unchanged holds for all of them,
 * the same walk gives the same items (invariant 16). Returning nonzero ends the cursor with that
 * code.
 */
struct tree_leaf;

typedef int (*tree_leaf_fn)(const struct tree_leaf *leaf, uint64_t version, void *arg);

/* Memory of the caller's. Only on_leaf and on_leaf_arg are set from outside; leaf and leaf_version
 * tell from which leaf, and under which version of it, the current item or the end was read. */
struct tree_cursor {
    struct tree *tree;
    struct item *items[TREE_LEAF_CAPACITY_MAX];
    int count, position; /* buffered items, and the next one to give out */
    bool backward;
    bool ended; /* no leaf is left to be read */
    const struct tree_leaf *leaf;
    uint64_t leaf_version;
    /* Where the next leaf is looked for: the start of the range, then a fence. */
    const void *from_key;
    size_t from_key_size;
    bool from_inclusive, from_unbounded;
    /* Where the range ends. */
    const void *until_key;
    size_t until_key_size;
    bool until_inclusive, until_unbounded;
    /* Items of the first leaf that are buffered at once, 0: all; the last of them, behind which the rest
     * is looked for. */
    unsigned few;
    const struct item *behind;
    tree_leaf_fn on_leaf;
    void *on_leaf_arg;
};

/*
 * Starts at the first key >= `key` (or > when not inclusive) going forward, at the last key <= (or
 * <) going backward; key NULL: at the first, or the last. `key` stays valid while the cursor is
 * used. on_leaf may be set on the struct after this call and before the first next.
 */
void tree_cursor_create(struct tree_cursor *cursor, struct tree *tree, const void *key,
                        size_t key_size, bool inclusive, bool backward);

/*
 * Ends the range at `key`: nothing beyond it (or at it, when not inclusive) is given out, and no
 * leaf that lies wholly beyond it is read or reported. Between create and the first next. `key`
 * stays valid while the cursor is used.
 */
void tree_cursor_until(struct tree_cursor *cursor, const void *key, size_t key_size,
                       bool inclusive);

/*
 * For who will hardly want more than so many items (0: all): no more of the first leaf are buffered at
 * first. Who goes on gets the rest as ever, of a leaf that may be reported a second time. Between create
 * and the first next.
 */
void tree_cursor_few(struct tree_cursor *cursor, unsigned few);

/* The next item, or NULL at the end; then `*error` (may be NULL) is 0 or what on_leaf returned. */
struct item *tree_cursor_next(struct tree_cursor *cursor, int *error);

/* True when the leaf is still what it was under `version`: no item has been inserted into it,
 * removed from it, replaced, or moved elsewhere since. Waits while a writer holds the leaf. */
bool tree_leaf_unchanged(const struct tree_leaf *leaf, uint64_t version);

/* Walks the tree and checks order, prefixes, hints, fences, levels and counts. Returns 0 or
 * ERROR_CORRUPT. Only when nobody writes. */
int tree_verify(struct tree *tree);

#endif
