/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Making nodes of tuples that come in order, level by level, as a load from sorted input does. Each
 * node that is ready gives a tuple to the level above.
 *
 *      level 1   │ ready │ ready │   first .. tail   ◄── whole subtrees, too
 *                     ▲       ▲         ▲
 *      level 0   │ ready │ ready │ first    │ tail   ◄── tuples
 *
 * A level holds up to two nodes' worth of tuples back, in the parts `first` and `tail`. While more
 * comes, first is written when tail is full: to FILL_PERCENT, so that a later change of a few tuples
 * does not cut the node in two. Where the new nodes end, before a subtree that stays as it is, both
 * become one node if it has room, else two of about one size; at the end of the tree, where a load in
 * the order of keys goes on, the first one is left full.
 *
 * The key that a branch has for a node is as short as can be: what tells the node's first tuple from
 * the last one of the node before (Bayer and Unterauer, Prefix B-Trees, 1977). If these are versions
 * of one key, it is the key with the timestamp just below that of the last one, so that versions that
 * are looked for by a timestamp between the two are looked for on the right.
 *
 * A node has one page, unless tuples with very long keys need more: a leaf may have one tuple only, a
 * branch has BRANCH_MIN at least.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

enum { FILL_PERCENT = 94, BRANCH_MIN = 4, CLOSABLE_PART = 4 };

/* A tuple that waits; its key and data are in the level's bytes. */
struct waiting {
    size_t offset;
    size_t key_size;
    uint64_t ts;
    uint32_t size;
    uint8_t flags;
    uint64_t page, sequence; /* of an overflow extent; page is the child of a branch */
};

/* Tuples that would make up a node. */
struct part {
    unsigned count;
    size_t tuple_bytes; /* with slots and whole keys */
    size_t prefix;      /* bytes that the keys have in common */
};

struct fence {
    unsigned char *key;
    size_t size, capacity;
    uint64_t ts;
    bool is_set;
};

struct level {
    struct waiting *items;
    unsigned count, capacity;
    unsigned char *bytes;
    size_t byte_count, byte_capacity;
    struct part first, tail;
    uint64_t added;     /* tuples so far */
    struct fence last;  /* the last tuple of the node before, if nothing else is between */
    struct fence lower; /* else a lower bound of the next node */
};

struct btree_levels {
    struct btree_build *build;
    uint32_t page_bytes;
    struct level levels[BTREE_DEPTH_MAX + 1];
};

int btree__levels_new(struct btree_build *build, struct btree_levels **out)
{
    struct btree_levels *levels = calloc(1, sizeof *levels);
    if (levels == NULL)
        return diag_set(ERROR_MEMORY, "no memory to change a tree");
    levels->build = build;
    levels->page_bytes = btree__build_page_bytes(build);
    *out = levels;
    return 0;
}

void btree__levels_delete(struct btree_levels *levels)
{
    for (unsigned i = 0; i <= BTREE_DEPTH_MAX; i++) {
        struct level *level = &levels->levels[i];
        free(level->items);
        free(level->bytes);
        free(level->last.key);
        free(level->lower.key);
    }
    free(levels);
}

static int fence_set(struct fence *fence, const struct btree_position *position)
{
    if (position->size >= fence->capacity) {
        size_t capacity = 2 * position->size + 64;
        unsigned char *key = realloc(fence->key, capacity);
        if (key == NULL)
            return diag_set(ERROR_MEMORY, "no memory for a key");
        fence->key = key;
        fence->capacity = capacity;
    }
    if (position->size > 0)
        memcpy(fence->key, position->key, position->size);
    fence->size = position->size;
    fence->ts = position->ts;
    fence->is_set = true;
    return 0;
}

/* -------------------------------------------------------------------------------- sizes of a node */

static size_t tuple_bytes(unsigned level, const struct waiting *item)
{
    if (level > 0)
        return BTREE_SLOT_BYTES + BTREE_BRANCH_TUPLE_BYTES + item->key_size +
               (item->ts != UINT64_MAX ? 8 : 0);
    size_t data = item->flags & BTREE_ELSEWHERE ? BTREE_OVERFLOW_BYTES : item->size;
    return BTREE_SLOT_BYTES + BTREE_LEAF_TUPLE_BYTES + item->key_size + data;
}

static const unsigned char *key_of(const struct level *level, unsigned item)
{
    return level->bytes + level->items[item].offset;
}

static size_t part_bytes(const struct part *part)
{
    return btree_slots_offset(part->prefix) + part->tuple_bytes - part->count * part->prefix;
}

/* The part with one more tuple; part->count of them begin at `from`. */
static struct part part_with(const struct level *level, unsigned number, const struct part *part,
                             unsigned from, unsigned item)
{
    struct part with = {.count = part->count + 1,
                        .tuple_bytes = part->tuple_bytes + tuple_bytes(number, &level->items[item]),
                        .prefix = level->items[item].key_size};
    if (part->count > 0) {
        size_t max = part->prefix < with.prefix ? part->prefix : with.prefix;
        with.prefix = btree_key_common(key_of(level, from), max, key_of(level, item), max);
    }
    return with;
}

static struct part part_of(const struct level *level, unsigned number, unsigned from, unsigned to)
{
    struct part part = {0, 0, 0};
    for (unsigned i = from; i < to; i++)
        part = part_with(level, number, &part, from, i);
    return part;
}

/* ------------------------------------------------------------------------------------- one node */

static char *tuple_write(unsigned number, const struct level *level, const struct waiting *item,
                         size_t prefix, char *end)
{
    const unsigned char *key = level->bytes + item->offset;
    uint16_t key_size = (uint16_t)(item->key_size - prefix);
    char *start, *at;
    if (number > 0) {
        bool has_ts = item->ts != UINT64_MAX;
        uint64_t child = item->page | (has_ts ? BTREE_CHILD_TS : 0);
        at = start = end - (BTREE_BRANCH_TUPLE_BYTES + key_size + (has_ts ? 8 : 0));
        memcpy(at, &child, 8);
        memcpy(at + 8, &key_size, 2);
        at += BTREE_BRANCH_TUPLE_BYTES;
        if (has_ts)
            memcpy(at, &item->ts, 8);
        memcpy(at + (has_ts ? 8 : 0), key + prefix, key_size);
        return start;
    }
    bool elsewhere = (item->flags & BTREE_ELSEWHERE) != 0;
    size_t data = elsewhere ? BTREE_OVERFLOW_BYTES : item->size;
    at = start = end - (BTREE_LEAF_TUPLE_BYTES + key_size + data);
    memcpy(at, &item->ts, 8);
    memcpy(at + 8, &item->size, 4);
    memcpy(at + 12, &key_size, 2);
    at[14] = (char)item->flags;
    memcpy(at + BTREE_LEAF_TUPLE_BYTES, key + prefix, key_size);
    at += BTREE_LEAF_TUPLE_BYTES + key_size;
    if (elsewhere) {
        memcpy(at, &item->page, 8);
        memcpy(at + 8, &item->sequence, 8);
    } else if (data > 0) {
        memcpy(at, key + item->key_size, data);
    }
    return start;
}

/* Some key among tuples [0, count) has several versions, or a tombstone. */
static bool garbage_in(unsigned number, const struct level *level, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct waiting *item = &level->items[i];
        if (number > 0 ? (item->page & BTREE_CHILD_GARBAGE) != 0
                       : (item->flags & BTREE_TOMBSTONE) != 0)
            return true;
        const unsigned char *before = i > 0 ? key_of(level, i - 1) : level->last.key;
        size_t before_size = i > 0 ? level->items[i - 1].key_size : level->last.size;
        if (number == 0 && (i > 0 || level->last.is_set) &&
            btree_key_compare(before, before_size, key_of(level, i), item->key_size) == 0)
            return true;
    }
    return false;
}

static void node_fill(unsigned number, const struct level *level, const struct part *part,
                      size_t bytes, struct btree_header *header)
{
    struct {
        uint32_t hint, offset;
    } slot;
    char *node = (char *)header, *end = node + bytes;
    char *slots = node + btree_slots_offset(part->prefix);
    memcpy(node + BTREE_HEADER_BYTES, key_of(level, 0), part->prefix);
    for (unsigned i = 0; i < part->count; i++) {
        const struct waiting *item = &level->items[i];
        end = tuple_write(number, level, item, part->prefix, end);
        slot.hint = btree_hint(key_of(level, i) + part->prefix, item->key_size - part->prefix);
        slot.offset = (uint32_t)(end - node);
        memcpy(slots + i * sizeof slot, &slot, sizeof slot);
    }
    header->level = (uint16_t)number;
    header->slots = part->count;
    header->prefix_bytes = (uint16_t)part->prefix;
    header->tuples = (uint32_t)(end - node);
    ASSERT(slots + part->count * sizeof slot <= end);
}

/* What tells the next node from what is before it. */
static struct btree_position separator(const struct level *level, unsigned number)
{
    const struct waiting *first = &level->items[0];
    struct btree_position position = {key_of(level, 0), first->key_size, UINT64_MAX};
    const struct fence *last = &level->last;
    if (number > 0) {
        position.ts = first->ts;
    } else if (!last->is_set) {
        position = (struct btree_position){level->lower.key, level->lower.size, level->lower.ts};
    } else if (btree_key_compare(last->key, last->size, position.key, position.size) == 0) {
        position.ts = last->ts - 1;
    } else {
        position.size = btree_key_common(last->key, last->size, position.key, position.size) + 1;
    }
    return position;
}

/* Forgets the first `count` tuples. */
static void items_drop(struct level *level, unsigned count)
{
    size_t from = count < level->count ? level->items[count].offset : level->byte_count;
    memmove(level->items, level->items + count, (level->count - count) * sizeof *level->items);
    memmove(level->bytes, level->bytes + from, level->byte_count - from);
    level->count -= count;
    level->byte_count -= from;
    for (unsigned i = 0; i < level->count; i++)
        level->items[i].offset -= from;
}

/* Writes a node of the first tuples, and tells the level above. */
static int node_write(struct btree_levels *levels, unsigned number, const struct part *part)
{
    struct level *level = &levels->levels[number];
    struct btree_header *header;
    if (number == BTREE_DEPTH_MAX)
        return diag_set(ERROR_TOO_LARGE, "a tree of more than %d levels", BTREE_DEPTH_MAX);
    int rc = btree__build_extent(levels->build, number == 0 ? BTREE_LEAF : BTREE_BRANCH,
                                 part_bytes(part), &header);
    if (rc != 0)
        return rc;
    node_fill(number, level, part, (size_t)header->pages * levels->page_bytes, header);
    struct btree_item up = {.position = separator(level, number),
                            .child = btree_child(header->number, header->pages)};
    if (garbage_in(number, level, part->count)) {
        header->flags |= BTREE_GARBAGE;
        up.child |= BTREE_CHILD_GARBAGE;
    }
    rc = btree__levels_add(levels, number + 1, &up);
    unsigned last = part->count - 1;
    struct btree_position position = {key_of(level, last), level->items[last].key_size,
                                      level->items[last].ts};
    if (rc == 0 && number == 0)
        rc = fence_set(&level->last, &position);
    if (rc == 0)
        items_drop(level, part->count);
    return rc;
}

/* ---------------------------------------------------------------------------------------- adding */

static int item_keep(struct level *level, unsigned number, const struct btree_item *item)
{
    bool inline_data = number == 0 && !(item->tuple.flags & BTREE_ELSEWHERE);
    size_t size = item->position.size + (inline_data ? item->tuple.size : 0);
    if (level->count == level->capacity) {
        unsigned capacity = 2 * level->capacity + 64;
        struct waiting *items = realloc(level->items, capacity * sizeof *items);
        if (items == NULL)
            return diag_set(ERROR_MEMORY, "no memory for the tuples of a node");
        level->items = items;
        level->capacity = capacity;
    }
    if (level->byte_count + size >= level->byte_capacity) {
        size_t capacity = 2 * level->byte_capacity + size + 4096;
        unsigned char *bytes = realloc(level->bytes, capacity);
        if (bytes == NULL)
            return diag_set(ERROR_MEMORY, "no memory for the tuples of a node");
        level->bytes = bytes;
        level->byte_capacity = capacity;
    }
    unsigned char *at = level->bytes + level->byte_count;
    level->items[level->count++] =
        (struct waiting){.offset = level->byte_count,
                         .key_size = item->position.size,
                         .ts = item->position.ts,
                         .size = item->tuple.size,
                         .flags = item->tuple.flags,
                         .page = number == 0 ? item->tuple.page : item->child,
                         .sequence = item->tuple.sequence};
    level->byte_count += size;
    level->added++;
    if (item->position.size > 0)
        memcpy(at, item->position.key, item->position.size);
    if (inline_data && item->tuple.size > 0)
        memcpy(at + item->position.size, item->tuple.data, item->tuple.size);
    return 0;
}

int btree__levels_add(struct btree_levels *levels, unsigned number, const struct btree_item *item)
{
    struct level *level = &levels->levels[number];
    size_t fill = (size_t)levels->page_bytes * FILL_PERCENT / 100;
    unsigned min = number == 0 ? 1 : BRANCH_MIN;
    int rc = item_keep(level, number, item);
    if (rc != 0)
        return rc;
    unsigned at = level->count - 1;
    struct part with;
    if (level->tail.count == 0) {
        with = part_with(level, number, &level->first, 0, at);
        if (level->first.count < min || part_bytes(&with) <= fill)
            level->first = with;
        else
            level->tail = part_with(level, number, &level->tail, at, at);
        return 0;
    }
    with = part_with(level, number, &level->tail, level->first.count, at);
    if (level->tail.count < min || part_bytes(&with) <= fill) {
        level->tail = with;
        return 0;
    }
    struct part first = level->first;
    level->first = level->tail;
    level->tail = (struct part){0, 0, 0};
    rc = node_write(levels, number, &first);
    if (rc == 0)
        level->tail = part_with(level, number, &level->tail, level->count - 1, level->count - 1);
    return rc;
}

int btree__levels_begin(struct btree_levels *levels, const struct btree_position *lower)
{
    struct level *level = &levels->levels[0];
    return level->count > 0 || level->last.is_set || level->lower.is_set
               ? 0
               : fence_set(&level->lower, lower);
}

int btree__levels_pass(struct btree_levels *levels, unsigned number,
                       const struct btree_position *lower, uint64_t child)
{
    struct btree_item item = {.position = *lower, .child = child};
    return btree__levels_add(levels, number + 1, &item);
}

/* ---------------------------------------------------------------------------------------- ending */

static bool closable(const struct btree_levels *levels, const struct level *level)
{
    size_t bytes = level->first.tuple_bytes + level->tail.tuple_bytes;
    return level->count == 0 || bytes >= levels->page_bytes / CLOSABLE_PART;
}

bool btree__levels_closable(const struct btree_levels *levels, unsigned number)
{
    for (unsigned i = 0; i <= number; i++) {
        const struct level *level = &levels->levels[i];
        /* What closing the level below adds here is not counted: rather one node too many. */
        if (!closable(levels, level))
            return false;
        if (i > 0 && level->count == 0 && levels->levels[i - 1].count > 0)
            return false;
    }
    return true;
}

/* Moves tuples from the first part to the tail until they are of about one size. */
static void parts_even(const struct btree_levels *levels, struct level *level, unsigned number)
{
    size_t half = (level->first.tuple_bytes + level->tail.tuple_bytes) / 2, bytes = 0;
    unsigned cut = 0, min = number == 0 ? 1 : BRANCH_MIN;
    while (cut < level->first.count && bytes < half)
        bytes += tuple_bytes(number, &level->items[cut++]);
    if (cut >= level->first.count || cut < min || level->count - cut < min)
        return;
    struct part first = part_of(level, number, 0, cut);
    struct part tail = part_of(level, number, cut, level->count);
    if (part_bytes(&tail) > levels->page_bytes)
        return;
    level->first = first;
    level->tail = tail;
}

static int level_close(struct btree_levels *levels, unsigned number, bool at_end)
{
    struct level *level = &levels->levels[number];
    int rc = 0;
    if (level->tail.count > 0) {
        struct part all = part_of(level, number, 0, level->count);
        if (part_bytes(&all) <= levels->page_bytes) {
            level->first = all;
            level->tail = (struct part){0, 0, 0};
        } else if (!at_end) {
            parts_even(levels, level, number);
        }
    }
    for (unsigned i = 0; rc == 0 && i < 2; i++) {
        struct part part = level->first;
        level->first = level->tail;
        level->tail = (struct part){0, 0, 0};
        if (part.count > 0)
            rc = node_write(levels, number, &part);
    }
    level->last.is_set = level->lower.is_set = false;
    return rc;
}

int btree__levels_close(struct btree_levels *levels, unsigned number, bool at_end)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i <= number; i++)
        rc = level_close(levels, i, at_end);
    return rc;
}

static bool nothing_above(const struct btree_levels *levels, unsigned number)
{
    for (unsigned i = number + 1; i <= BTREE_DEPTH_MAX; i++)
        if (levels->levels[i].added > 0)
            return false;
    return true;
}

int btree__levels_finish(struct btree_levels *levels, uint64_t *tree, unsigned *depth)
{
    int rc = 0;
    *tree = 0;
    *depth = 0;
    if (levels->levels[0].added == 0 && nothing_above(levels, 0))
        return 0;
    for (unsigned i = 0; i < BTREE_DEPTH_MAX; i++) {
        rc = level_close(levels, i, true);
        const struct level *above = &levels->levels[i + 1];
        if (rc != 0)
            return rc;
        if (above->added == 1 && nothing_above(levels, i + 1)) {
            *tree = above->items[0].page;
            *depth = i + 1;
            return 0;
        }
    }
    return diag_set(ERROR_TOO_LARGE, "a tree of more than %d levels", BTREE_DEPTH_MAX);
}
