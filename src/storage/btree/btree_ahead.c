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
 */
#include <string.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

/* Leaf numbers go both ways from here; a cache that would lose leaves before they are used has less than
 * so many times what is read at once. */
enum { NUMBER_FIRST = 1 << 30, CACHE_TIMES = 8 };

struct batch {
    struct cache_fill fills[PREFETCH_DEPTH_MAX + 1];
    struct io_range ranges[PREFETCH_DEPTH_MAX + 1];
    uint64_t pages[PREFETCH_DEPTH_MAX + 1];
    unsigned count;
};

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

/* Takes a leaf into the batch, unless it is there or somebody reads it. */
static void leaf_want(const struct btree_file *file, struct batch *batch, const void *branch,
                      unsigned slot)
{
    const unsigned char *key;
    size_t size;
    uint64_t ts, child = btree_branch_child(branch, slot, &key, &size, &ts);
    uint64_t page = btree_child_page(child);
    struct cache_fill *fill = &batch->fills[batch->count];
    int rc = cache_fill_begin(file->cache, file->number, page, CACHE_SCAN, fill);
    if (rc != 0) {
        if (rc != ERROR_EXISTS)
            diag_clear();
        return;
    }
    size = (size_t)btree_child_pages(child) * file->page_bytes;
    void *room = cache_fill_room(fill, size);
    if (room == NULL) {
        cache_fill_end(fill, ERROR_MEMORY, NULL);
        return;
    }
    batch->ranges[batch->count] =
        (struct io_range){file->io, room, size, page * file->page_bytes, 0};
    batch->pages[batch->count++] = page;
}

static void batch_read(const struct btree_file *file, struct batch *batch)
{
    io_schedule_read_many(IO_USER, batch->ranges, batch->count);
    for (unsigned i = 0; i < batch->count; i++) {
        const struct io_range *range = &batch->ranges[i];
        uint32_t pages = (uint32_t)(range->size / file->page_bytes);
        bool whole = range->result == (int64_t)range->size &&
                     btree_check(range->data, range->size, file->identity, batch->pages[i], pages,
                                 BTREE_LEAF) == NULL;
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
    leaf_want(file, &batch, branch, slot);
    for (unsigned i = 0; i < count; i++) {
        uint64_t by = range->backward ? ahead->number - numbers[i] : numbers[i] - ahead->number;
        if (range->backward ? by > slot : by >= slots - slot)
            break;
        unsigned there = range->backward ? slot - (unsigned)by : slot + (unsigned)by;
        if (!in_range(branch, there, range))
            break;
        leaf_want(file, &batch, branch, there);
    }
    if (batch.count == 0)
        return;
    uint64_t began = clock_monotonic_ns(clock_system());
    batch_read(file, &batch);
    ahead->waited_ns = clock_monotonic_ns(clock_system()) - began;
    prefetch_arrived(&ahead->prefetch, ahead->waited_ns);
    ahead->leaves += batch.count;
}
