/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Searching in a node and changing it; tree_node.h describes the layout.
 *
 * A hint is the eight bytes behind the node's prefix, a shorter key being filled up with zeros.
 * Hints are in the order of keys but for ties: keys with equal hints lie side by side, and only
 * among them are whole keys compared, which costs a cache miss each. So the search is one over the
 * hints, by a kernel of src/simd, and then, in the run of ties, a binary one over keys.
 *
 * A change that makes the length of the prefix another one reads all keys again, to compute the
 * hints.
 */
#include "index/tree_node.h"

#include <string.h>

#include "base/assert.h"
#include "simd/search.h"

int tree__key_compare(struct tree_key a, struct tree_key b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = memcmp(a.bytes, b.bytes, size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

size_t tree__key_common(struct tree_key a, struct tree_key b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    size_t i = 0;
    while (i < size && a.bytes[i] == b.bytes[i])
        i++;
    return i;
}

struct tree_key tree__node_key(const struct tree_node *node, unsigned position)
{
    if (node->level > 0)
        return tree__fence_key(tree__node_child(node, position)->low);
    return tree__item_key(tree__node_item(node, position));
}

static uint64_t hint_of(struct tree_key key, size_t offset)
{
    uint64_t hint = 0;
    if (key.size >= offset + 8)
        memcpy(&hint, key.bytes + offset, 8);
    else if (key.size > offset)
        memcpy(&hint, key.bytes + offset, key.size - offset);
    return __builtin_bswap64(hint);
}

/* How `key` stands to the bytes that all present keys share beyond those of the fences; 0: it has
 * them too. */
static int prefix_compare(const struct tree_node *node, struct tree_key key, size_t skip,
                          size_t more)
{
    uint64_t words[TREE_PREFIX_WORDS];
    for (unsigned i = 0; i * 8 < more; i++)
        words[i] = load_acquire(&node->prefix[i]);
    size_t have = key.size > skip ? key.size - skip : 0;
    if (have >= more)
        return memcmp(key.bytes + skip, words, more);
    int order = have > 0 ? memcmp(key.bytes + skip, words, have) : 0;
    return order != 0 ? order : -1;
}

/* The lengths of both parts of the prefix, clamped. */
static size_t prefix_sizes(const struct tree_node *node, size_t *skip)
{
    *skip = load_acquire(&node->skip);
    size_t more = load_acquire(&node->more);
    return more < TREE_PREFIX_MORE_MAX ? more : TREE_PREFIX_MORE_MAX;
}

/*
 * The first position in [low, high) whose hint is not below `hint`, or high.
 *
 * The kernel reads hints that others may be changing, and not as C's atomics. On this architecture
 * loads of aligned words are whole and stay in order, also where a vector has several of them, and
 * the compiler moves nothing across a call that it can not see through. ThreadSanitizer goes by C.
 */
static unsigned hints_lower_bound(const struct tree_node *node, unsigned low, unsigned high,
                                  uint64_t hint)
{
    if (!ATOMIC_UNDER_TSAN)
        return low + search_lower_bound((const uint64_t *)&node->hints[low], high - low, hint);
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (load_acquire(&node->hints[middle]) < hint)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/*
 * Finds by hints. False: the key is outside of all present, and *low is the answer. True: *low is
 * the first position with a hint not below that of the key, *hint is the key's and *high the end of
 * the node.
 */
static bool search_hints(const struct tree_node *node, struct tree_key key, unsigned *low,
                         unsigned *high, uint64_t *hint)
{
    unsigned first = tree__node_first(node);
    *high = tree__node_count(node);
    *low = first;
    if (*high <= first)
        return false;
    size_t skip, more = prefix_sizes(node, &skip);
    if (more > 0) {
        int order = prefix_compare(node, key, skip, more);
        if (order != 0) {
            *low = order < 0 ? first : *high;
            return false;
        }
    }
    *hint = hint_of(key, skip + more);
    *low = hints_lower_bound(node, first, *high, *hint);
    return true;
}

unsigned tree__node_search_hints(const struct tree_node *node, struct tree_key key)
{
    unsigned low, high;
    uint64_t hint;
    search_hints(node, key, &low, &high, &hint);
    return low;
}

unsigned tree__node_search(const struct tree_node *node, struct tree_key key, bool *found)
{
    unsigned low, high;
    uint64_t hint;
    *found = false;
    if (!search_hints(node, key, &low, &high, &hint))
        return low;
    if (low == high || load_acquire(&node->hints[low]) != hint)
        return low;
    /* The first of the ties is nearly always the only one. */
    int order = tree__key_compare(tree__node_key(node, low), key);
    if (order >= 0) {
        *found = order == 0;
        return low;
    }
    low++;
    if (low < high && load_acquire(&node->hints[low]) == hint && hint < UINT64_MAX)
        high = hints_lower_bound(node, low, high, hint + 1);
    else if (low < high && load_acquire(&node->hints[low]) != hint)
        return low;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        order = tree__key_compare(tree__node_key(node, middle), key);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void tree__node_create(struct tree_node *node, unsigned level, const struct tree_fence *low,
                       const struct tree_fence *high)
{
    memset(node, 0, sizeof(*node));
    node->level = (uint8_t)level;
    node->low = low;
    store_release(&node->high, high);
}

/* The lengths that the prefix has by fences and present keys. */
static void prefix_measure(const struct tree_node *node, size_t *skip, size_t *more)
{
    const struct tree_fence *high = load_acquire(&node->high);
    unsigned first = tree__node_first(node), count = tree__node_count(node);
    *skip = high == NULL ? 0 : tree__key_common(tree__fence_key(node->low), tree__fence_key(high));
    *more = 0;
    if (count > first) {
        size_t common =
            tree__key_common(tree__node_key(node, first), tree__node_key(node, count - 1));
        ASSERT(common >= *skip);
        *more = common - *skip < TREE_PREFIX_MORE_MAX ? common - *skip : TREE_PREFIX_MORE_MAX;
    }
}

/*
 * Sets the prefix to what fences and present keys allow. Hints from position `good` on, and all
 * when the length changes, are computed from the keys.
 */
static void prefix_renew(struct tree_node *node, unsigned good)
{
    size_t old_skip, old_size = prefix_sizes(node, &old_skip) + old_skip;
    size_t skip, more;
    prefix_measure(node, &skip, &more);
    unsigned first = tree__node_first(node), count = tree__node_count(node);
    if (more > 0) {
        uint64_t words[TREE_PREFIX_WORDS] = {0};
        memcpy(words, tree__node_key(node, first).bytes + skip, more);
        for (unsigned i = 0; i < TREE_PREFIX_WORDS; i++)
            store_release(&node->prefix[i], words[i]);
    }
    store_release(&node->skip, (uint16_t)skip);
    store_release(&node->more, (uint16_t)more);
    if (skip + more != old_size || good < first)
        good = first;
    for (unsigned i = good; i < count; i++)
        store_release(&node->hints[i], hint_of(tree__node_key(node, i), skip + more));
}

bool tree__node_prefix_valid(const struct tree_node *node)
{
    size_t skip_by_fences, more_at_most, skip, more = prefix_sizes(node, &skip);
    prefix_measure(node, &skip_by_fences, &more_at_most);
    unsigned first = tree__node_first(node), count = tree__node_count(node);
    if (skip != skip_by_fences)
        return false;
    if (count > first && more > more_at_most)
        return false;
    for (unsigned i = first; i < count; i++) {
        struct tree_key key = tree__node_key(node, i);
        if (more > 0 && prefix_compare(node, key, skip, more) != 0)
            return false;
        if (load_acquire(&node->hints[i]) != hint_of(key, skip + more))
            return false;
    }
    return true;
}

static void entry_copy(struct tree_node *to, unsigned to_position, const struct tree_node *from,
                       unsigned from_position)
{
    store_release(&to->hints[to_position], load_acquire(&from->hints[from_position]));
    store_release(&to->pointers[to_position], load_acquire(&from->pointers[from_position]));
}

void tree__node_insert(struct tree_node *node, unsigned position, void *pointer)
{
    unsigned first = tree__node_first(node), count = tree__node_count(node);
    ASSERT(count < TREE_NODE_CAPACITY && position <= count);
    struct tree_key key = node->level > 0
                              ? tree__fence_key(((const struct tree_node *)pointer)->low)
                              : tree__item_key(pointer);
    size_t skip, more = prefix_sizes(node, &skip);
    bool renew = count <= first || (more > 0 && prefix_compare(node, key, skip, more) != 0);
    for (unsigned i = count; i > position; i--)
        entry_copy(node, i, node, i - 1);
    store_release(&node->hints[position], hint_of(key, skip + more));
    store_release(&node->pointers[position], pointer);
    store_release(&node->count, (uint16_t)(count + 1));
    node->inserted_last = (uint8_t)position;
    if (renew)
        prefix_renew(node, first);
}

void tree__node_remove(struct tree_node *node, unsigned position)
{
    unsigned count = tree__node_count(node);
    ASSERT(position < count && position >= tree__node_first(node));
    for (unsigned i = position; i + 1 < count; i++)
        entry_copy(node, i, node, i + 1);
    store_release(&node->count, (uint16_t)(count - 1));
}

/* Appends entries [begin, end) of `from`, hints as they are there. */
static void append_entries(struct tree_node *node, const struct tree_node *from, unsigned begin,
                           unsigned end)
{
    unsigned count = tree__node_count(node);
    for (unsigned i = begin; i < end; i++)
        entry_copy(node, count + i - begin, from, i);
    store_release(&node->count, (uint16_t)(count + end - begin));
}

void tree__node_split(struct tree_node *node, unsigned position, struct tree_node *right)
{
    append_entries(right, node, position, tree__node_count(node));
    store_release(&right->skip, load_acquire(&node->skip));
    store_release(&right->more, load_acquire(&node->more));
    prefix_renew(right, TREE_NODE_CAPACITY);
    store_release(&node->count, (uint16_t)position);
    store_release(&node->high, right->low);
    prefix_renew(node, position);
}

void tree__node_merge(struct tree_node *node, struct tree_node *right)
{
    unsigned count = tree__node_count(node);
    append_entries(node, right, 0, tree__node_count(right));
    ASSERT(tree__node_count(node) <= TREE_NODE_CAPACITY);
    store_release(&node->high, load_acquire(&right->high));
    prefix_renew(node, count);
}

/* How many bytes lie before the hints. */
static size_t prefix_total(const struct tree_node *node)
{
    size_t skip, more = prefix_sizes(node, &skip);
    return skip + more;
}

/* Appends entries [begin, end), counted through both, and computes what is not as it was in `node`,
 * or in the first of them. */
static void append_shared(struct tree_node *node, const struct tree_node *left,
                          const struct tree_node *right, unsigned begin, unsigned end)
{
    unsigned count_left = tree__node_count(left), left_end = end < count_left ? end : count_left;
    if (begin < left_end)
        append_entries(node, left, begin, left_end);
    unsigned good = tree__node_count(node);
    unsigned right_begin = begin > count_left ? begin - count_left : 0;
    if (end > count_left)
        append_entries(node, right, right_begin, end - count_left);
    if (good == 0 || prefix_total(left) == prefix_total(right))
        good = TREE_NODE_CAPACITY;
    prefix_renew(node, good);
}

static void prefix_take(struct tree_node *node, const struct tree_node *from)
{
    store_release(&node->skip, load_acquire(&from->skip));
    store_release(&node->more, load_acquire(&from->more));
}

void tree__node_share(struct tree_node *left, const struct tree_node *right,
                      struct tree_node *const *made, unsigned pieces)
{
    unsigned count_left = tree__node_count(left), count = count_left + tree__node_count(right);
    for (unsigned n = 1; n < pieces; n++) {
        unsigned begin = tree__node_share_position(count, n, pieces);
        prefix_take(made[n - 1], begin < count_left ? left : right);
        append_shared(made[n - 1], left, right, begin,
                      tree__node_share_position(count, n + 1, pieces));
    }
    unsigned end = tree__node_share_position(count, 1, pieces);
    if (end < count_left)
        store_release(&left->count, (uint16_t)end);
    store_release(&left->high, made[0]->low);
    append_shared(left, left, right, count_left, end);
}
