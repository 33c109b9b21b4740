/* SPDX-License-Identifier: Apache-2.0 */

/* Checking what was read, and searching in nodes. The layout is at the top of btree_page.h. */
#include "storage/btree/btree_page.h"

#include <string.h>

#include "base/assert.h"
#include "codec/crc32c.h"

STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
STATIC_ASSERT(sizeof(struct btree_header) == BTREE_HEADER_BYTES);
STATIC_ASSERT(sizeof(struct btree_root_page) % 8 == 0);

struct slot {
    uint32_t hint, offset;
};
STATIC_ASSERT(sizeof(struct slot) == BTREE_SLOT_BYTES);

int btree_key_compare(const void *a, size_t a_size, const void *b, size_t b_size)
{
    size_t common = a_size < b_size ? a_size : b_size;
    int order = common == 0 ? 0 : memcmp(a, b, common);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

int btree_position_compare(const struct btree_position *a, const struct btree_position *b)
{
    int order = btree_key_compare(a->key, a->size, b->key, b->size);
    return order != 0 ? order : (a->ts < b->ts) - (a->ts > b->ts);
}

size_t btree_key_common(const void *a_bytes, size_t a_size, const void *b_bytes, size_t b_size)
{
    const unsigned char *a = a_bytes, *b = b_bytes;
    size_t max = a_size < b_size ? a_size : b_size, common = 0;
    while (common < max && a[common] == b[common])
        common++;
    return common;
}

uint32_t btree_hint(const unsigned char *key, size_t size)
{
    unsigned char bytes[4] = {0};
    uint32_t number;
    if (size > 0)
        memcpy(bytes, key, size < 4 ? size : 4);
    memcpy(&number, bytes, 4);
    return __builtin_bswap32(number);
}

uint32_t btree_identity(uint32_t space_id, uint32_t incarnation, uint64_t file)
{
    uint64_t words[2] = {(uint64_t)space_id << 32 | incarnation, file};
    return crc32c(0, words, sizeof words);
}

static uint32_t checksum(const void *extent, size_t size, uint32_t identity)
{
    size_t skip = sizeof btree_header(extent)->checksum;
    return crc32c(identity, (const char *)extent + skip, size - skip);
}

void btree_seal(void *extent, size_t size, uint32_t identity)
{
    ((struct btree_header *)extent)->checksum = checksum(extent, size, identity);
}

/* -------------------------------------------------------------------------------------- checking */

static bool leaf_tuple_fits(const char *tuple, size_t room)
{
    uint32_t size;
    uint16_t key_size;
    if (room < BTREE_LEAF_TUPLE_BYTES)
        return false;
    memcpy(&size, tuple + 8, 4);
    memcpy(&key_size, tuple + 12, 2);
    uint8_t flags = (uint8_t)tuple[14];
    uint64_t rest = flags & BTREE_ELSEWHERE ? BTREE_OVERFLOW_BYTES : size;
    return flags <= BTREE_ELSEWHERE && (flags != BTREE_TOMBSTONE || size == 0) &&
           room - BTREE_LEAF_TUPLE_BYTES >= key_size + rest;
}

static bool branch_tuple_fits(const char *tuple, size_t room)
{
    uint64_t child;
    uint16_t key_size;
    if (room < BTREE_BRANCH_TUPLE_BYTES)
        return false;
    memcpy(&child, tuple, 8);
    memcpy(&key_size, tuple + 8, 2);
    size_t rest = key_size + (child & BTREE_CHILD_TS ? 8u : 0u);
    return room - BTREE_BRANCH_TUPLE_BYTES >= rest;
}

static const struct slot *slot_at(const void *node, unsigned slot)
{
    const char *slots = (const char *)node + btree_slots_offset(btree_header(node)->prefix_bytes);
    return (const struct slot *)(const void *)slots + slot;
}

static const char *node_check(const void *node, size_t size)
{
    const struct btree_header *header = btree_header(node);
    bool leaf = header->kind == BTREE_LEAF;
    size_t slots = btree_slots_offset(header->prefix_bytes);
    if (leaf != (header->level == 0) || header->level >= BTREE_DEPTH_MAX)
        return "level";
    if (header->slots == 0 || header->tuples > size || header->tuples < slots ||
        header->slots > (header->tuples - slots) / BTREE_SLOT_BYTES)
        return "slots";
    for (unsigned i = 0; i < header->slots; i++) {
        uint32_t offset = slot_at(node, i)->offset;
        if (offset < header->tuples || offset > size)
            return "offset of a tuple";
        const char *tuple = (const char *)node + offset;
        if (!(leaf ? leaf_tuple_fits(tuple, size - offset)
                   : branch_tuple_fits(tuple, size - offset)))
            return "tuple";
    }
    return NULL;
}

const char *btree_check(const void *extent, size_t size, uint32_t identity, uint64_t number,
                        uint32_t pages, enum btree_kind kind)
{
    const struct btree_header *header = btree_header(extent);
    ASSERT(size >= BTREE_PAGE_MIN);
    if (header->checksum != checksum(extent, size, identity))
        return "checksum";
    if (header->number != number || header->pages != pages)
        return "number of the page";
    if (header->kind != kind)
        return "kind of page";
    return kind == BTREE_LEAF || kind == BTREE_BRANCH ? node_check(extent, size) : NULL;
}

/* --------------------------------------------------------------------------------------- reading */

void btree_leaf_tuple(const void *node, unsigned slot, struct btree_tuple *out)
{
    const char *tuple = (const char *)node + slot_at(node, slot)->offset;
    uint16_t key_size;
    memcpy(&out->ts, tuple, 8);
    memcpy(&out->size, tuple + 8, 4);
    memcpy(&key_size, tuple + 12, 2);
    out->flags = (uint8_t)tuple[14];
    out->key = (const unsigned char *)tuple + BTREE_LEAF_TUPLE_BYTES;
    out->key_size = key_size;
    out->data = (const char *)out->key + key_size;
    out->page = out->sequence = 0;
    if (out->flags & BTREE_ELSEWHERE) {
        memcpy(&out->page, out->data, 8);
        memcpy(&out->sequence, out->data + 8, 8);
    }
}

uint64_t btree_branch_child(const void *node, unsigned slot, const unsigned char **key,
                            size_t *key_size, uint64_t *ts)
{
    const char *tuple = (const char *)node + slot_at(node, slot)->offset;
    uint64_t child;
    uint16_t size;
    memcpy(&child, tuple, 8);
    memcpy(&size, tuple + 8, 2);
    tuple += BTREE_BRANCH_TUPLE_BYTES;
    *ts = UINT64_MAX;
    if (child & BTREE_CHILD_TS) {
        memcpy(ts, tuple, 8);
        tuple += 8;
    }
    *key = (const unsigned char *)tuple;
    *key_size = size;
    return child & ~BTREE_CHILD_TS;
}

/* -------------------------------------------------------------------------------------- searching */

/* What is looked for in a node, without the prefix. */
struct target {
    const unsigned char *key;
    size_t size;
    uint64_t ts;
    uint32_t hint;
};

/* How the target is to the node's prefix: 0 when it begins with it, and then *out is the rest. */
static int target_make(const void *node, const struct btree_position *position, struct target *out)
{
    size_t prefix = btree_header(node)->prefix_bytes;
    size_t common = prefix < position->size ? prefix : position->size;
    int order = common == 0 ? 0 : memcmp(position->key, btree_prefix(node), common);
    if (order != 0)
        return order;
    if (position->size < prefix)
        return -1;
    *out = (struct target){position->key + prefix, position->size - prefix, position->ts, 0};
    out->hint = btree_hint(out->key, out->size);
    return 0;
}

static int slot_compare(const void *node, unsigned slot, const struct target *target)
{
    const char *tuple = (const char *)node + slot_at(node, slot)->offset;
    bool leaf = btree_header(node)->level == 0;
    const unsigned char *key;
    size_t size;
    uint64_t ts;
    if (leaf) {
        uint16_t key_size;
        memcpy(&ts, tuple, 8);
        memcpy(&key_size, tuple + 12, 2);
        key = (const unsigned char *)tuple + BTREE_LEAF_TUPLE_BYTES;
        size = key_size;
    } else {
        btree_branch_child(node, slot, &key, &size, &ts);
    }
    int order = btree_key_compare(key, size, target->key, target->size);
    return order != 0 ? order : (ts < target->ts) - (ts > target->ts);
}

unsigned btree_lower_bound(const void *node, const struct btree_position *position, bool *equal)
{
    struct target target;
    unsigned low = 0, high = btree_header(node)->slots;
    int order = target_make(node, position, &target);
    *equal = false;
    if (order != 0)
        return order < 0 ? 0 : high;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        uint32_t hint = slot_at(node, middle)->hint;
        int compared = hint != target.hint ? (hint < target.hint ? -1 : 1)
                                           : slot_compare(node, middle, &target);
        if (compared == 0) {
            *equal = true;
            return middle;
        }
        if (compared < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

unsigned btree_branch_slot(const void *node, const struct btree_position *position)
{
    bool equal;
    unsigned slot = btree_lower_bound(node, position, &equal);
    return equal || slot == 0 ? slot : slot - 1;
}
