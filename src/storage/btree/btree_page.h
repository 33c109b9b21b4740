/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_BTREE_BTREE_PAGE_H
#define STORAGE_BTREE_BTREE_PAGE_H

/*
 * The bytes of a B+tree's file. Pure: no files, no threads.
 *
 * The file is an array of pages of one size, 4 to 64 KB. What is written and read is an extent: one
 * page, or several in a row where the contents need that (a node with very long keys, a long tuple).
 * An extent is written once and never changed; integers are little-endian; it begins with
 *
 *       0  u32  checksum: CRC-32C of the identity of the file (below), then of the rest of the extent
 *       4  u16  kind: 1 leaf, 2 branch, 3 overflow, 4 map, 5 directory, 6 root
 *       6  u16  flags: bit 0, of leaves and branches: some key below has several versions, or one
 *               that is a tombstone
 *       8  u64  number of the first page
 *      16  u64  sequence of the root that it was written for
 *      24  u64  timestamp: no row that was absorbed for that root is newer
 *      32  u32  pages in the extent
 *      36  u32  slots
 *      40  u32  where the tuples begin; what lies between the slots and it is free
 *      44  u16  level, 0 for a leaf
 *      46  u16  bytes of the prefix that all keys of a node have in common
 *
 * Nodes (leaves and branches). The slots are in order of key, and of one key newest version first:
 *
 *      48 │ prefix │ slot │ slot │ slot ►   free   ◄ tuple │ tuple │ tuple │ end of the extent
 *
 *      slot:   u32 hint: the first four bytes of the key behind the prefix, as a big-endian number,
 *              zeros behind a shorter one; u32 offset of the tuple
 *      leaf:   u64 ts, u32 bytes of data, u16 bytes of key, u8 flags (bit 0 tombstone, bit 1 the
 *              data is elsewhere), the key without the prefix, the data; or u64 number of the first
 *              page and u64 sequence of the overflow extent that has it
 *      branch: u64 child, u16 bytes of key, u64 ts (if bit 63 of the child is set, else it is the
 *              largest there is), the key without the prefix
 *      prefix: filled up to a multiple of four bytes
 *      child:  bits 0-43 first page, 44-61 pages less one, 62 the flag of that node, 63 ts follows
 *
 * A branch's key, with its ts, is a lower bound of what is below; that of the first slot says
 * nothing, its lower bound is that of the branch.
 *
 * Overflow: the data from offset 48. Map: from offset 64 a bit for each page, set when it is in use.
 * Directory: from offset 48 for each map u64 number of its page, u64 sequence. Root: struct
 * btree_root_page from offset 48.
 *
 * The identity is the checksum of space, incarnation and number of the file, so a page of another
 * file, or of another place, is no valid one.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BTREE_FORMAT_VERSION = 1,
    BTREE_PAGE_MIN = 4096,
    BTREE_PAGE_MAX = 65536,
    BTREE_HEADER_BYTES = 48,
    BTREE_MAP_OFFSET = 64,
    BTREE_SLOT_BYTES = 8,
    BTREE_LEAF_TUPLE_BYTES = 15,
    BTREE_BRANCH_TUPLE_BYTES = 10,
    BTREE_OVERFLOW_BYTES = 16,  /* what a leaf has instead of the data */
    BTREE_DIRECTORY_BYTES = 16, /* an entry */
    BTREE_DEPTH_MAX = 32,
    BTREE_KEY_MAX = 65535,
};

#define BTREE_MAGIC UINT64_C(0x45455254422d4950) /* "PI-BTREE" */

enum btree_kind {
    BTREE_LEAF = 1,
    BTREE_BRANCH = 2,
    BTREE_OVERFLOW = 3,
    BTREE_MAP = 4,
    BTREE_DIRECTORY = 5,
    BTREE_ROOT = 6
};
enum { BTREE_GARBAGE = 1 };                        /* flags of a page */
enum { BTREE_TOMBSTONE = 1, BTREE_ELSEWHERE = 2 }; /* flags of a tuple */

struct btree_header {
    uint32_t checksum;
    uint16_t kind, flags;
    uint64_t number, sequence, timestamp;
    uint32_t pages, slots, tuples;
    uint16_t level, prefix_bytes;
};

struct btree_root_page {
    uint64_t magic;
    uint32_t version, page_bytes;
    uint32_t space_id, incarnation;
    uint64_t file; /* its number */
    uint64_t tree; /* a child as in a branch; 0: there are no rows */
    uint64_t rows, tombstones;
    uint64_t pages; /* no page in use has a number as large */
    uint64_t used_pages;
    uint64_t maps;                            /* how many there are */
    uint64_t directory_page, directory_pages; /* where they are */
    uint32_t depth;                           /* levels of the tree */
    uint32_t zero;
};

/* A place in the order of the tree: by key, and of one key the newest first. */
struct btree_position {
    const unsigned char *key;
    size_t size;
    uint64_t ts;
};

/* A tuple of a leaf. */
struct btree_tuple {
    const unsigned char *key; /* without the prefix */
    size_t key_size;
    uint64_t ts;
    const char *data;
    uint32_t size;
    uint8_t flags;
    uint64_t page, sequence; /* of the overflow extent */
};

/* A child as in a branch. */
#define BTREE_CHILD_TS      (UINT64_C(1) << 63)
#define BTREE_CHILD_GARBAGE (UINT64_C(1) << 62)
enum { BTREE_PAGE_BITS = 44, BTREE_SPAN_BITS = 18 };

static inline uint64_t btree_child(uint64_t page, uint64_t pages)
{
    return page | (pages - 1) << BTREE_PAGE_BITS;
}
static inline uint64_t btree_child_page(uint64_t child)
{
    return child & ((UINT64_C(1) << BTREE_PAGE_BITS) - 1);
}
static inline uint32_t btree_child_pages(uint64_t child)
{
    return 1 + (uint32_t)(child >> BTREE_PAGE_BITS & ((1u << BTREE_SPAN_BITS) - 1));
}

int btree_key_compare(const void *a, size_t a_size, const void *b, size_t b_size);
int btree_position_compare(const struct btree_position *a, const struct btree_position *b);

/* Bytes that two keys have in common. */
size_t btree_key_common(const void *a, size_t a_size, const void *b, size_t b_size);

/* The first four bytes as a big-endian number. */
uint32_t btree_hint(const unsigned char *key, size_t size);

/* What all checksums of a file begin with. */
uint32_t btree_identity(uint32_t space_id, uint32_t incarnation, uint64_t file);

/* Sets the checksum of a whole extent. */
void btree_seal(void *extent, size_t size, uint32_t identity);

/*
 * Checks an extent of `size` bytes, so many pages, as it was read from page `number`: that it is what was written
 * there, of a kind, and, of nodes, that every slot and tuple lies inside. NULL, or which check
 * failed. What has passed may be given to the functions below, which look no more.
 */
const char *btree_check(const void *extent, size_t size, uint32_t identity, uint64_t number,
                        uint32_t pages, enum btree_kind kind);

static inline const struct btree_header *btree_header(const void *extent)
{
    return extent;
}

/* Of a node: the slot's tuple; its key without the prefix. */
void btree_leaf_tuple(const void *node, unsigned slot, struct btree_tuple *out);
uint64_t btree_branch_child(const void *node, unsigned slot, const unsigned char **key,
                            size_t *key_size, uint64_t *ts);
static inline const unsigned char *btree_prefix(const void *node)
{
    return (const unsigned char *)node + BTREE_HEADER_BYTES;
}

/* Where the slots are behind a prefix. */
static inline size_t btree_slots_offset(size_t prefix_bytes)
{
    return BTREE_HEADER_BYTES + ((prefix_bytes + 3) & ~(size_t)3);
}

/* The first slot that is not before the position, or the number of slots; *equal: it is there. */
unsigned btree_lower_bound(const void *node, const struct btree_position *position, bool *equal);

/* The slot of a branch below which the position is. */
unsigned btree_branch_slot(const void *node, const struct btree_position *position);

#endif
