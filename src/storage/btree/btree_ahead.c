/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading leaves before a cursor comes to them. The branch above says where the next ones are, so what
 * there is to find out is how many: prefetch.h says it, by leaf numbers that count up or down with the
 * cursor, 2 at first and up to 32 when reading is slow beside what is done with the rows. The third leaf
 * in a row begins it, so that short ranges read nothing that they don't need.
 *
 *      branch │ .. │ at │ +1 │ +2 │ +3 │ ..        those of them that are not in the cache are
 *                     └────┴────┴────┘             read at once, by one call, into the cache
 *
 * The call waits for all of them: one wait for many leaves, and nothing that is being filled while the
 * cursor rests, which others would wait for. What can't be read is left for when the cursor needs it, and
 * says so then. Behind the end of the range, or of the branch, nothing is read.
 *
 * Leaves of keys that are scattered (body_prefetch) are read in the same way: level by level from the root, the
 * nodes of all keys at once.
 */
#include <string.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

/* Leaf numbers go both ways from here; a cache that would lose leaves before they are used has less than
 * so many times what is read at once. */
enum { NUMBER_FIRST = 1 << 30, CACHE_TIMES = 8 };

/* Leaves that are wanted in no order stay longer until they are, and what scans bring in has a sixteenth of the
 * cache (policy_arc_scan.c). */
enum { SCATTERED_TIMES = 32 };

struct batch {
    struct cache_fill fills[ENGINE_PREFETCH_MAX];
    struct io_range ranges[ENGINE_PREFETCH_MAX];
    uint64_t pages[ENGINE_PREFETCH_MAX];
    unsigned count;
};
_Static_assert((int)PREFETCH_DEPTH_MAX < (int)ENGINE_PREFETCH_MAX, "the leaf at hand as well");

void btree__ahead_create(struct btree_ahead *ahead)
{
    prefetch_create(&ahead->prefetch, clock_system(), UINT64_MAX);
    ahead->number = NUMBER_FIRST;
    ahead->waited_ns = 0;
}

/* How the key of a slot of a branch is to a bound. */
static int slot_compare(const void *branch, unsigned slot, const void *bound, size_t bound_size)
{
    size_t prefix = btree_header(branch)->prefix_bytes, size;
    size_t common = prefix < bound_size ? prefix : bound_size;
    const unsigned char *key;
    uint64_t ts;
    int order = common == 0 ? 0 : memcmp(btree_prefix(branch), bound, common);
    if (order != 0 || bound_size < prefix)
        return order != 0 ? order : 1;
    btree_branch_child(branch, slot, &key, &size, &ts);
    return btree_key_compare(key, size, (const unsigned char *)bound + prefix, bound_size - prefix);
}

/* Whether the leaf of a slot, which is not the first one, has anything of the range. */
static bool in_range(const void *branch, unsigned slot, const struct engine_range *range)
{
    unsigned slots = btree_header(branch)->slots;
    if (!range->backward)
        return range->upper == NULL ||
               slot_compare(branch, slot, range->upper, range->upper_size) <= 0;
    return range->lower == NULL || slot + 1 >= slots ||
           slot_compare(branch, slot + 1, range->lower, range->lower_size) >= 0;
}

/* Takes a node into the batch, unless it is there or somebody reads it. */
static void node_want(const struct btree_file *file, struct batch *batch, uint64_t child)
{
    uint64_t page = btree_child_page(child);
    struct cache_fill *fill = &batch->fills[batch->count];
    int rc = cache_fill_begin(file->cache, file->number, page, CACHE_SCAN, fill);
    if (rc != 0) {
        if (rc != ERROR_EXISTS)
            diag_clear();
        return;
    }
    size_t size = (size_t)btree_child_pages(child) * file->page_bytes;
    void *room = cache_fill_room(fill, size);
    if (room == NULL) {
        cache_fill_end(fill, ERROR_MEMORY, NULL);
        diag_clear();
        return;
    }
    batch->ranges[batch->count] =
        (struct io_range){file->io, room, size, page * file->page_bytes, 0};
    batch->pages[batch->count++] = page;
}

static uint64_t slot_child(const void *branch, unsigned slot)
{
    const unsigned char *key;
    size_t size;
    uint64_t ts;
    return btree_branch_child(branch, slot, &key, &size, &ts);
}

static void batch_read(const struct btree_file *file, struct batch *batch, enum btree_kind kind)
{
    io_schedule_read_many(IO_USER, batch->ranges, batch->count);
    for (unsigned i = 0; i < batch->count; i++) {
        const struct io_range *range = &batch->ranges[i];
        uint32_t pages = (uint32_t)(range->size / file->page_bytes);
        bool whole = range->result == (int64_t)range->size &&
                     btree_check(range->data, range->size, file->identity, batch->pages[i], pages,
                                 kind) == NULL;
        int rc = whole ? 0 : btree__damaged(file, batch->pages[i], "it could not be read ahead");
        cache_fill_end(&batch->fills[i], rc, NULL);
    }
    diag_clear();
}

void btree__ahead_read(struct btree_ahead *ahead, const struct btree_file *file, const void *branch,
                       unsigned slot, const struct engine_range *range)
{
    uint64_t numbers[PREFETCH_DEPTH_MAX];
    struct batch batch = {.count = 0};
    unsigned slots = btree_header(branch)->slots;
    if (file->cache == NULL || cache_budget_bytes(file->cache) <
                                   (size_t)CACHE_TIMES * PREFETCH_DEPTH_MAX * file->page_bytes)
        return;
    ahead->number += range->backward ? -1 : 1;
    unsigned count = prefetch_access(&ahead->prefetch, ahead->number, ahead->waited_ns, numbers);
    ahead->waited_ns = 0;
    if (count == 0)
        return;
    node_want(file, &batch, slot_child(branch, slot));
    for (unsigned i = 0; i < count; i++) {
        uint64_t by = range->backward ? ahead->number - numbers[i] : numbers[i] - ahead->number;
        if (range->backward ? by > slot : by >= slots - slot)
            break;
        unsigned there = range->backward ? slot - (unsigned)by : slot + (unsigned)by;
        if (!in_range(branch, there, range))
            break;
        node_want(file, &batch, slot_child(branch, there));
    }
    if (batch.count == 0)
        return;
    struct clock *clock = ahead->prefetch.clock;
    uint64_t began = clock_monotonic_ns(clock);
    batch_read(file, &batch, BTREE_LEAF);
    ahead->waited_ns = clock_monotonic_ns(clock) - began;
    prefetch_arrived(&ahead->prefetch, ahead->waited_ns);
    ahead->leaves += batch.count;
}

/* From the nodes of a level to those below, of each key; false: that is left to those who want them. */
static bool level_down(const struct btree_file *file, const struct engine_key *keys, unsigned count,
                       uint64_t ts, unsigned level, uint64_t *children)
{
    for (unsigned i = 0; i < count; i++) {
        struct btree_position position = {keys[i].data, keys[i].size, ts};
        struct btree_read node;
        if (btree__read_node(file, children[i], level, BTREE_POINT, &node) != 0)
            return false;
        children[i] = slot_child(node.data, btree_branch_slot(node.data, &position));
        btree__read_release(&node);
    }
    return true;
}

unsigned btree__prefetch(struct body_view *base, const struct engine_key *keys, unsigned count,
                         uint64_t ts, unsigned *reads)
{
    const struct btree_generation *generation = ((struct btree_view *)base)->generation;
    uint64_t children[ENGINE_PREFETCH_MAX];
    *reads = 0;
    if (generation == NULL || generation->root.tree == 0)
        return count;
    const struct btree_file *file = generation->file;
    size_t room = file->cache == NULL
                      ? 0
                      : cache_budget_bytes(file->cache) / SCATTERED_TIMES / file->page_bytes;
    count = count < room ? count : (unsigned)room;
    for (unsigned i = 0; i < count; i++)
        children[i] = generation->root.tree;
    for (unsigned level = generation->root.depth; count > 0 && level-- > 0;) {
        struct batch batch = {.count = 0};
        for (unsigned i = 0; i < count; i++)
            if (i == 0 || children[i] != children[i - 1])
                node_want(file, &batch, children[i]);
        if (batch.count > 0)
            batch_read(file, &batch, level == 0 ? BTREE_LEAF : BTREE_BRANCH);
        *reads += batch.count;
        if (level > 0 && !level_down(file, keys, count, ts, level, children)) {
            diag_clear();
            break;
        }
    }
    return count;
}
