/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a tree, the way down, and looking up; tree.h says what a tree is.
 *
 * The way down (optimistic lock coupling): note the version of a node, choose a child, note the
 * child's version, and only then check that the node is still what it was: from that moment on the
 * child's version vouches for the child, and whatever takes keys away from the child changes that
 * version. The root is right when the tree still names it after its version was noted. Any failed
 * check starts again from the root.
 *
 * A batch goes down with many keys at once, a level a turn: each touches what it had asked the
 * memory for in the turn before, so the misses of all keys overlap.
 */
#include "index/tree.h"

#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "index/tree_internal.h"

/* The low fence of the first node on each level: the empty key. */
static const struct tree_fence fence_empty = {.size = 0};

/* ---- counters ---- */

static struct tree_stripe *stripe_of(struct tree *tree, const struct tree_thread *thread)
{
    uintptr_t mixed = (uintptr_t)thread->epoch * UINT64_C(0x9e3779b97f4a7c15);
    return &tree->stripes[mixed >> 60];
}

_Static_assert(TREE_STRIPES == 1 << (64 - 60), "stripe_of takes four bits");

void tree__count_item(struct tree *tree, const struct tree_thread *thread, const struct item *item,
                      int64_t change)
{
    struct tree_stripe *stripe = stripe_of(tree, thread);
    int64_t bytes = (int64_t)item_alloc_size(item->key_size);
    atomic_fetch_add_explicit(&stripe->entries, change, memory_order_relaxed);
    atomic_fetch_add_explicit(&stripe->item_bytes, change * bytes, memory_order_relaxed);
}

static void count_bytes(struct tree *tree, const struct tree_thread *thread, int64_t change)
{
    atomic_fetch_add_explicit(&stripe_of(tree, thread)->node_bytes, change, memory_order_relaxed);
}

static size_t sum_positive(int64_t sum)
{
    return sum > 0 ? (size_t)sum : 0;
}

size_t tree_count(const struct tree *tree)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < TREE_STRIPES; i++)
        sum += load_relaxed(&tree->stripes[i].entries);
    return sum_positive(sum);
}

size_t tree_node_bytes(const struct tree *tree)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < TREE_STRIPES; i++)
        sum += load_relaxed(&tree->stripes[i].node_bytes);
    return sum_positive(sum);
}

size_t tree_item_bytes(const struct tree *tree)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < TREE_STRIPES; i++)
        sum += load_relaxed(&tree->stripes[i].item_bytes);
    return sum_positive(sum);
}

/* ---- nodes ---- */

static size_t fence_alloc_size(const struct tree_fence *fence)
{
    return fence->size > 0 ? sizeof(*fence) + fence->size : 0;
}

static int64_t node_bytes(const struct tree_node *node)
{
    return (int64_t)(sizeof(*node) + fence_alloc_size(node->low));
}

static const struct tree_fence *fence_new(struct tree_thread *thread, struct tree_key key)
{
    if (key.size == 0)
        return &fence_empty;
    struct tree_fence *fence = heap_alloc_as(thread->heap, sizeof(*fence) + key.size, HEAP_NODE);
    if (fence == NULL)
        return NULL;
    fence->size = (uint32_t)key.size;
    memcpy(fence->bytes, key.bytes, key.size);
    return fence;
}

static void node_free(void *object, void *arg)
{
    struct tree_node *node = object;
    struct heap_cache *heap = arg;
    if (node->low->size > 0)
        heap_free_as(heap, (void *)(uintptr_t)node->low, fence_alloc_size(node->low), HEAP_NODE);
    heap_free_as(heap, node, sizeof(*node), HEAP_NODE);
}

struct tree_node *tree__node_new(struct tree *tree, struct tree_thread *thread, unsigned level,
                                 struct tree_key low, const struct tree_fence *high)
{
    struct tree_node *node = heap_alloc_as(thread->heap, sizeof(*node), HEAP_NODE);
    if (node == NULL)
        return NULL;
    const struct tree_fence *fence = fence_new(thread, low);
    if (fence == NULL) {
        heap_free_as(thread->heap, node, sizeof(*node), HEAP_NODE);
        return NULL;
    }
    tree__node_create(node, level, fence, high);
    count_bytes(tree, thread, node_bytes(node));
    return node;
}

void tree__node_delete(struct tree *tree, struct tree_thread *thread, struct tree_node *node)
{
    count_bytes(tree, thread, -node_bytes(node));
    node_free(node, thread->heap);
}

void tree__node_retire(struct tree *tree, struct tree_thread *thread, struct tree_node *node)
{
    count_bytes(tree, thread, -node_bytes(node));
    epoch_retire(thread->epoch, node, node_free, thread->heap);
}

/* ---- the tree ---- */

int tree_new(struct tree_thread *thread, struct tree **out)
{
    struct tree *tree = heap_alloc_as(thread->heap, sizeof(*tree), HEAP_NODE);
    if (tree == NULL)
        return ERROR_MEMORY;
    memset(tree, 0, sizeof(*tree));
    struct tree_node *root = tree__node_new(tree, thread, 0, tree__key(NULL, 0), NULL);
    if (root == NULL) {
        heap_free_as(thread->heap, tree, sizeof(*tree), HEAP_NODE);
        return ERROR_MEMORY;
    }
    store_release(&tree->root, root);
    *out = tree;
    return 0;
}

static void subtree_delete(struct tree *tree, struct tree_thread *thread, struct tree_node *node,
                           void (*free_item)(struct item *item, void *arg), void *arg)
{
    unsigned count = tree__node_count(node);
    for (unsigned i = 0; i < count; i++) {
        if (node->level > 0)
            subtree_delete(tree, thread, tree__node_child(node, i), free_item, arg);
        else if (free_item != NULL)
            free_item(tree__node_item(node, i), arg);
    }
    tree__node_delete(tree, thread, node);
}

void tree_delete(struct tree *tree, struct tree_thread *thread,
                 void (*free_item)(struct item *item, void *arg), void *arg)
{
    struct hash *directory = load_acquire(&tree->directory);
    if (directory != NULL)
        hash_delete(directory, thread);
    subtree_delete(tree, thread, load_acquire(&tree->root), free_item, arg);
    heap_free_as(thread->heap, tree, sizeof(*tree), HEAP_NODE);
}

/* ---- the way down ---- */

bool tree__root_begin(const struct tree *tree, struct tree_node **root, uint64_t *version)
{
    *root = load_acquire(&tree->root);
    return tree__node_begin(*root, version) && load_acquire(&tree->root) == *root;
}

unsigned tree__child_position(const struct tree_node *node, struct tree_key key,
                              enum tree_target target)
{
    bool found = false;
    unsigned position =
        target == TREE_TARGET_LAST ? tree__node_count(node) : tree__node_search(node, key, &found);
    if (found && target == TREE_TARGET_COVER)
        return position;
    return position > 0 ? position - 1 : 0;
}

/* Goes from the path's node to its child. False: begin again. */
static bool descend_step(struct tree_path *path, struct tree_key key, enum tree_target target)
{
    unsigned position = tree__child_position(path->node, key, target);
    struct tree_node *child = tree__node_child(path->node, position);
    if (!tree__node_check(path->node, path->version))
        return false;
    tree__node_prefetch(child);
    uint64_t version;
    if (!tree__node_begin(child, &version) || !tree__node_check(path->node, path->version))
        return false;
    *path = (struct tree_path){child, path->node, version, path->version, position};
    return true;
}

static bool descend_once(const struct tree *tree, struct tree_key key, enum tree_target target,
                         unsigned level, struct tree_path *path)
{
    path->parent = NULL;
    path->parent_version = 0;
    path->position = 0;
    if (!tree__root_begin(tree, &path->node, &path->version))
        return false;
    while (path->node->level > level) {
        if (!descend_step(path, key, target))
            return false;
    }
    return true;
}

bool tree__descend(const struct tree *tree, struct tree_key key, enum tree_target target,
                   unsigned level, struct tree_path *path)
{
    while (!descend_once(tree, key, target, level, path))
        cpu_relax();
    return path->node->level == level;
}

/* ---- looking up ---- */

/* What is asked of an item that the directory has. */
struct linked {
    bool (*accept)(struct item *item, void *arg);
    void *arg;
};

/* The flag is set under the leaf's latch, before the item goes: without it the item is in the tree. */
static bool is_linked(struct item *item, void *arg)
{
    const struct linked *linked = arg;
    return !(load_acquire(&item->state) & ITEM_UNLINKED) &&
           (linked->accept == NULL || linked->accept(item, linked->arg));
}

struct item *tree_find(const struct tree *tree, const void *key, size_t key_size,
                       bool (*accept)(struct item *item, void *arg), void *arg)
{
    const struct hash *directory = load_acquire(&tree->directory);
    struct linked linked = {accept, arg};
    return directory == NULL ? NULL
                             : hash_find(directory, hash_of(directory, key, key_size), key,
                                         key_size, is_linked, &linked);
}

int tree_directory_make(struct tree *tree, struct tree_thread *thread,
                        uint32_t (*size_of)(const struct item *item))
{
    struct hash *directory;
    if (tree_has_directory(tree))
        return 0;
    int rc = hash_new(thread, size_of, &directory);
    if (rc != 0)
        return rc;
    struct tree_cursor cursor;
    struct item *item;
    tree_cursor_create(&cursor, tree, NULL, 0, true, false);
    while ((item = tree_cursor_next(&cursor, NULL)) != NULL)
        hash_insert(directory, thread, item);
    tree->directory_whole = size_of == NULL;
    store_release(&tree->directory, directory);
    return 0;
}

bool tree_has_directory(const struct tree *tree)
{
    return load_acquire(&tree->directory) != NULL;
}

size_t tree_directory_bytes(const struct tree *tree)
{
    const struct hash *directory = load_acquire(&tree->directory);
    return directory == NULL ? 0 : hash_bytes(directory);
}

/* The directory, if it has items by whole keys. */
static const struct hash *directory_whole(const struct tree *tree)
{
    const struct hash *directory = load_acquire(&tree->directory);
    return directory != NULL && tree->directory_whole ? directory : NULL;
}

struct item *tree_get(struct tree *tree, const void *key_bytes, size_t key_size)
{
    struct tree_key key = tree__key(key_bytes, key_size);
    struct item *known =
        directory_whole(tree) == NULL ? NULL : tree_find(tree, key_bytes, key_size, NULL, NULL);
    if (known != NULL)
        return known;
    for (;;) {
        struct tree_path path;
        tree__descend(tree, key, TREE_TARGET_COVER, 0, &path);
        bool found;
        unsigned position = tree__node_search(path.node, key, &found);
        struct item *item = found ? tree__node_item(path.node, position) : NULL;
        if (tree__node_check(path.node, path.version))
            return item;
    }
}

static uint64_t seed_next(uint64_t seed)
{
    return seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
}

/* The keys from `lower` on and below `upper`. A node may be asked only for keys between its fences: so
 * either counts as long as the way down is its own. */
struct random_range {
    struct tree_key lower, upper;
    bool bounded_below, bounded_above;
};

/* The places of a leaf that are in the range: from *first on, below *end. */
static void places_in_leaf(const struct tree_node *leaf, const struct random_range *range,
                           unsigned *first, unsigned *end)
{
    bool found;
    *first = range->bounded_below ? tree__node_search(leaf, range->lower, &found) : 0;
    *end = range->bounded_above ? tree__node_search(leaf, range->upper, &found)
                                : tree__node_count(leaf);
}

/* Children of an inner node that may have keys of the range: from *first on, below *end. */
static void places_in_node(const struct tree_node *node, const struct random_range *range,
                           unsigned *first, unsigned *end)
{
    *first = range->bounded_below ? tree__child_position(node, range->lower, TREE_TARGET_COVER) : 0;
    *end = range->bounded_above ? tree__child_position(node, range->upper, TREE_TARGET_COVER) + 1
                                : tree__node_count(node);
}

/*
 * A way down to a leaf. Where it forks first, each child that may have keys of the range is as likely
 * as its brothers; further down a place among all that a node can have is drawn, and the way begins
 * again if nothing of the range is there: so that the leaves in a node with few of them, as at the
 * range's ends, are no likelier than others. `lenient`: this has happened often.
 */
struct random_way {
    struct random_range range; /* narrowed on the way */
    uint64_t seed;
    bool forked, lenient;
    bool weighed; /* what is below counted for it already */
};
enum way_end { WAY_FOUND, WAY_LOST, WAY_CHANGED }; /* _LOST: nothing was there */

static unsigned way_draw(struct random_way *way, unsigned below)
{
    way->seed = seed_next(way->seed);
    return (unsigned)((way->seed >> 33) % below);
}

/* One of two children, as likely as it has children of its own: a hint, for which versions do not
 * matter. The node's was checked after both were read. */
static unsigned way_weigh(struct random_way *way, const struct tree_node *left,
                          const struct tree_node *right)
{
    struct random_range below = way->range, above = way->range;
    unsigned first, end, weight;
    below.bounded_above = above.bounded_below = false;
    places_in_node(left, &below, &first, &end);
    weight = end > first ? end - first : 0;
    places_in_node(right, &above, &first, &end);
    unsigned all = weight + (end > first ? end - first : 0);
    return all > 0 && way_draw(way, all) >= weight;
}

/* The child to go on with. */
static enum way_end way_choose(struct random_way *way, const struct tree_node *node,
                               uint64_t version, struct tree_node **child)
{
    unsigned first, end, place;
    places_in_node(node, &way->range, &first, &end);
    if (first >= end)
        return WAY_CHANGED; /* the node is just being merged away, or changed */
    if (way->forked && !way->weighed && !way->lenient) {
        place = first + way_draw(way, TREE_NODE_CAPACITY);
        if (place >= end)
            return WAY_LOST;
    } else if (!way->forked && end - first == 2 && node->level > 1) {
        const struct tree_node *left = tree__node_child(node, first),
                               *right = tree__node_child(node, first + 1);
        if (!tree__node_check(node, version))
            return WAY_CHANGED;
        place = first + way_weigh(way, left, right);
        way->forked = way->weighed = true;
    } else {
        place = first + way_draw(way, end - first);
        way->forked |= end - first > 1;
        way->weighed = false;
    }
    way->range.bounded_below &= place == first;
    way->range.bounded_above &= place == end - 1;
    *child = tree__node_child(node, place);
    return WAY_FOUND;
}

/* One try. What is copied counts when the version is checked. */
static enum way_end way_go(const struct tree *tree, struct random_way *way, struct item **items,
                           unsigned *count)
{
    struct tree_node *node, *child = NULL;
    uint64_t version, child_version;
    unsigned first, end;
    if (!tree__root_begin(tree, &node, &version))
        return WAY_CHANGED;
    for (; node->level > 0; node = child, version = child_version) {
        enum way_end chosen = way_choose(way, node, version, &child);
        if (chosen != WAY_FOUND)
            return chosen;
        if (!tree__node_check(node, version) || !tree__node_begin(child, &child_version) ||
            !tree__node_check(node, version))
            return WAY_CHANGED;
    }
    *count = 0;
    for (places_in_leaf(node, &way->range, &first, &end); first < end; first++)
        items[(*count)++] = tree__node_item(node, first);
    bool ends = way->range.bounded_below || way->range.bounded_above;
    if (ends && way->forked && !way->lenient && way_draw(way, TREE_NODE_CAPACITY) >= *count)
        return WAY_LOST;
    return tree__node_check(node, version) ? WAY_FOUND : WAY_CHANGED;
}

static unsigned random_leaf(const struct tree *tree, const struct random_range *range,
                            uint64_t *seed, struct item **items)
{
    enum { LOST_MAX = 16 };
    unsigned count = 0, lost = 0;
    for (enum way_end end = WAY_LOST; end != WAY_FOUND;) {
        struct random_way way = {.range = *range, .seed = *seed, .lenient = lost == LOST_MAX};
        end = way_go(tree, &way, items, &count);
        if (end == WAY_CHANGED) {
            cpu_relax();
            continue;
        }
        lost += end == WAY_LOST;
        *seed = way.seed;
    }
    return count;
}

struct item *tree_random(const struct tree *tree, uint64_t seed)
{
    struct item *items[TREE_LEAF_CAPACITY_MAX];
    unsigned count =
        random_leaf(tree, &(struct random_range){.bounded_below = false}, &seed, items);
    return count == 0 ? NULL : items[(seed_next(seed) >> 33) % count];
}

unsigned tree_random_leaf(const struct tree *tree, const void *lower, size_t lower_size,
                          const void *upper, size_t upper_size, uint64_t seed, struct item **items)
{
    const struct random_range range = {.lower = tree__key(lower, lower_size),
                                       .upper = tree__key(upper, upper_size),
                                       .bounded_below = lower != NULL,
                                       .bounded_above = upper != NULL};
    return random_leaf(tree, &range, &seed, items);
}

enum { BATCH_LANES = 16 };

/* One key on its way down. */
struct lane {
    struct tree_key key;
    struct tree_path path; /* node NULL: to begin at the root */
    bool entered;          /* the node's version has been noted */
    bool asked;            /* the leaf's candidate has been asked for */
};

static void lane_restart(struct lane *lane)
{
    lane->path.node = NULL;
}

/* Notes the version of the node that was chosen in the turn before. */
static bool lane_enter(const struct tree *tree, struct lane *lane)
{
    struct tree_path *path = &lane->path;
    lane->asked = false;
    lane->entered = true;
    if (path->node == NULL) {
        path->parent = NULL;
        return tree__root_begin(tree, &path->node, &path->version);
    }
    return tree__node_begin(path->node, &path->version) &&
           tree__node_check(path->parent, path->parent_version);
}

static bool lane_descend(struct lane *lane)
{
    struct tree_path *path = &lane->path;
    unsigned position = tree__child_position(path->node, lane->key, TREE_TARGET_COVER);
    struct tree_node *child = tree__node_child(path->node, position);
    if (!tree__node_check(path->node, path->version))
        return false;
    tree__node_prefetch(child);
    *path = (struct tree_path){child, path->node, 0, path->version, position};
    lane->entered = false;
    return true;
}

/* Asks for the item that the hints point at; its key is compared in the next turn. */
static bool lane_ask(struct lane *lane)
{
    struct tree_node *leaf = lane->path.node;
    unsigned position = tree__node_search_hints(leaf, lane->key);
    if (position < tree__node_count(leaf))
        __builtin_prefetch(tree__node_item(leaf, position));
    lane->asked = true;
    return tree__node_check(leaf, lane->path.version);
}

/* One turn of a lane; true when *item is the answer. */
static bool lane_step(const struct tree *tree, struct lane *lane, struct item **item)
{
    if ((lane->path.node == NULL || !lane->entered) && !lane_enter(tree, lane)) {
        lane_restart(lane);
        return false;
    }
    struct tree_node *node = lane->path.node;
    if (node->level > 0 || !lane->asked) {
        if (!(node->level > 0 ? lane_descend(lane) : lane_ask(lane)))
            lane_restart(lane);
        return false;
    }
    bool found;
    unsigned position = tree__node_search(node, lane->key, &found);
    *item = found ? tree__node_item(node, position) : NULL;
    if (tree__node_check(node, lane->path.version))
        return true;
    lane_restart(lane);
    return false;
}

static unsigned waiting_all(unsigned count, unsigned *waiting)
{
    for (unsigned i = 0; i < count; i++)
        waiting[i] = i;
    return count;
}

/* Asks the directory for all of them, its buckets fetched at once. Returns how many it does not have:
 * the numbers of these are in `waiting`. */
static unsigned directory_group(const struct hash *directory, const void *const *keys,
                                const size_t *key_sizes, unsigned count, struct item **items,
                                unsigned *waiting)
{
    uint64_t codes[BATCH_LANES];
    struct linked linked = {NULL, NULL};
    unsigned left = 0;
    for (unsigned i = 0; i < count; i++) {
        codes[i] = hash_of(directory, keys[i], key_sizes[i]);
        hash_prefetch(directory, codes[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        items[i] = hash_find(directory, codes[i], keys[i], key_sizes[i], is_linked, &linked);
        if (items[i] == NULL)
            waiting[left++] = i;
    }
    return left;
}

static void get_group(const struct tree *tree, const void *const *keys, const size_t *key_sizes,
                      unsigned count, struct item **items)
{
    struct lane lanes[BATCH_LANES];
    unsigned waiting[BATCH_LANES], left;
    const struct hash *directory = directory_whole(tree);
    left = directory != NULL ? directory_group(directory, keys, key_sizes, count, items, waiting)
                             : waiting_all(count, waiting);
    for (unsigned i = 0; i < left; i++) {
        unsigned lane = waiting[i];
        lanes[lane].key = tree__key(keys[lane], key_sizes[lane]);
        lane_restart(&lanes[lane]);
    }
    while (left > 0) {
        unsigned still = 0;
        for (unsigned i = 0; i < left; i++) {
            unsigned lane = waiting[i];
            if (!lane_step(tree, &lanes[lane], &items[lane]))
                waiting[still++] = lane;
        }
        left = still;
    }
}

void tree_get_batch(struct tree *tree, const void *const *keys, const size_t *key_sizes,
                    unsigned count, struct item **items)
{
    for (unsigned i = 0; i < count; i += BATCH_LANES) {
        unsigned size = count - i < BATCH_LANES ? count - i : BATCH_LANES;
        get_group(tree, keys + i, key_sizes + i, size, items + i);
    }
}

bool tree_leaf_unchanged(const struct tree_leaf *leaf, uint64_t version)
{
    const struct tree_node *node = (const struct tree_node *)leaf;
    uint64_t now;
    tree__node_begin(node, &now);
    return now == version;
}
