/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Checking a body: every extent that the current root reaches is read; keys are in order, within the
 * bounds that the branches give them, and hints are what they should be; rows are as many as the root
 * says; no node is newer than the root; and the pages reached are exactly those that the map has as in use,
 * each reached once.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

struct bytes {
    unsigned char *data;
    size_t size, capacity;
};

struct verify {
    struct btree_body *body;
    const struct btree_generation *generation;
    struct btree_map reached; /* `used` of it */
    struct bytes keys[2];     /* the one before, the one at hand */
    bool has_last;
    uint64_t last_ts;
    uint64_t rows, tombstones;
};

static int bytes_set(struct bytes *bytes, const void *node, const unsigned char *key, size_t size)
{
    size_t prefix = btree_header(node)->prefix_bytes;
    if (prefix + size >= bytes->capacity) {
        unsigned char *grown = realloc(bytes->data, 2 * (prefix + size) + 64);
        if (grown == NULL)
            return diag_set(ERROR_MEMORY, "no memory to check a tree");
        bytes->data = grown;
        bytes->capacity = 2 * (prefix + size) + 64;
    }
    memcpy(bytes->data, btree_prefix(node), prefix);
    if (size > 0)
        memcpy(bytes->data + prefix, key, size);
    bytes->size = prefix + size;
    return 0;
}

static int damaged(const struct verify *verify, uint64_t page, const char *check)
{
    return btree__damaged(verify->generation->file, page, check);
}

/* Notes that pages were reached. */
static int reach(struct verify *verify, uint64_t page, uint64_t pages)
{
    struct btree_map *map = &verify->reached;
    if (pages > verify->generation->root.pages || page > verify->generation->root.pages - pages)
        return damaged(verify, page, "a page beyond the end");
    uint64_t before = map->used_pages;
    btree__map_set(map, map->used, page, pages, true);
    return map->used_pages == before + pages ? 0 : damaged(verify, page, "a page of two parents");
}

static int overflow_verify(struct verify *verify, const struct btree_tuple *tuple)
{
    struct btree_read read;
    const struct btree_file *file = verify->generation->file;
    uint64_t pages = btree__overflow_pages(file->page_bytes, tuple->size);
    int rc = reach(verify, tuple->page, pages);
    if (rc == 0)
        rc = btree__read(file, tuple->page, pages, BTREE_OVERFLOW, &read);
    if (rc != 0)
        return rc;
    if (btree_header(read.data)->sequence != tuple->sequence)
        rc = damaged(verify, tuple->page, "sequence of long data");
    btree__read_release(&read);
    return rc;
}

/* A tuple of a leaf, against the one before and the leaf's bounds. */
static int tuple_verify(struct verify *verify, const void *leaf, unsigned slot,
                        const struct btree_position *lower, const struct btree_position *upper)
{
    uint64_t page = btree_header(leaf)->number;
    struct btree_tuple tuple;
    btree_leaf_tuple(leaf, slot, &tuple);
    int rc = bytes_set(&verify->keys[1], leaf, tuple.key, tuple.key_size);
    if (rc != 0)
        return rc;
    struct btree_position at = {verify->keys[1].data, verify->keys[1].size, tuple.ts};
    struct btree_position last = {verify->keys[0].data, verify->keys[0].size, verify->last_ts};
    if (verify->has_last && btree_position_compare(&last, &at) >= 0)
        return damaged(verify, page, "order of keys");
    if (btree_position_compare(&at, lower) < 0 ||
        (upper != NULL && btree_position_compare(&at, upper) >= 0))
        return damaged(verify, page, "a key outside of the leaf's bounds");
    bool equal;
    if (btree_lower_bound(leaf, &at, &equal) != slot || !equal)
        return damaged(verify, page, "a key that is not found");
    struct bytes before = verify->keys[0];
    verify->keys[0] = verify->keys[1];
    verify->keys[1] = before;
    verify->has_last = true;
    verify->last_ts = tuple.ts;
    verify->rows++;
    verify->tombstones += (tuple.flags & BTREE_TOMBSTONE) != 0;
    return tuple.flags & BTREE_ELSEWHERE ? overflow_verify(verify, &tuple) : 0;
}

static int node_verify(struct verify *verify, uint64_t child, unsigned level,
                       const struct btree_position *lower, const struct btree_position *upper);

static int branch_verify(struct verify *verify, const void *branch, unsigned level,
                         const struct btree_position *lower, const struct btree_position *upper)
{
    struct bytes keys[2] = {{NULL, 0, 0}, {NULL, 0, 0}};
    struct btree_position from = *lower, to = {NULL, 0, 0};
    unsigned slots = btree_header(branch)->slots;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < slots; i++) {
        const unsigned char *key;
        size_t size;
        uint64_t ts, below = btree_branch_child(branch, i, &key, &size, &ts);
        bool last = i + 1 == slots;
        if (!last) {
            const unsigned char *next;
            btree_branch_child(branch, i + 1, &next, &size, &to.ts);
            rc = bytes_set(&keys[i % 2], branch, next, size);
            to.key = keys[i % 2].data;
            to.size = keys[i % 2].size;
            if (rc == 0 && (btree_position_compare(&from, &to) >= 0 ||
                            btree_branch_slot(branch, &to) != i + 1))
                rc = damaged(verify, btree_header(branch)->number, "order of keys");
        }
        if (rc == 0)
            rc = node_verify(verify, below, level - 1, &from, last ? upper : &to);
        from = to;
    }
    free(keys[0].data);
    free(keys[1].data);
    return rc;
}

static int node_verify(struct verify *verify, uint64_t child, unsigned level,
                       const struct btree_position *lower, const struct btree_position *upper)
{
    struct btree_read node;
    int rc = reach(verify, btree_child_page(child), btree_child_pages(child));
    if (rc == 0)
        rc = btree__read_node(verify->generation->file, child, level, BTREE_DISK, &node);
    if (rc != 0)
        return rc;
    if (!(btree_header(node.data)->flags & BTREE_GARBAGE) != !(child & BTREE_CHILD_GARBAGE))
        rc = damaged(verify, btree_header(node.data)->number, "flags");
    if (rc == 0 && btree_header(node.data)->sequence > verify->generation->sequence)
        rc = damaged(verify, btree_header(node.data)->number, "a node newer than its root");
    for (unsigned i = 0; rc == 0 && level == 0 && i < btree_header(node.data)->slots; i++)
        rc = tuple_verify(verify, node.data, i, lower, upper);
    if (rc == 0 && level > 0)
        rc = branch_verify(verify, node.data, level, lower, upper);
    btree__read_release(&node);
    return rc;
}

static int extra_verify(struct verify *verify)
{
    const struct btree_generation *generation = verify->generation;
    const struct btree_root_page *root = &generation->root;
    int rc = reach(verify, generation->root_page, 1);
    if (rc == 0)
        rc = reach(verify, root->directory_page, root->directory_pages);
    for (uint64_t i = 0; rc == 0 && i < root->maps; i++)
        if (generation->maps[i].sequence != 0)
            rc = reach(verify, generation->maps[i].page, 1);
    if (rc != 0)
        return rc;
    const struct btree_map *map = &verify->body->map;
    for (uint64_t i = 0; i < map->words; i++) {
        uint64_t reached = i < verify->reached.words ? verify->reached.used[i] : 0;
        uint64_t differ = reached ^ map->used[i];
        if (differ != 0)
            return damaged(verify, i * 64 + (uint64_t)__builtin_ctzll(differ),
                           "the map of pages in use");
    }
    if (verify->rows != root->rows || verify->tombstones != root->tombstones)
        return damaged(verify, generation->root_page, "number of rows");
    return 0;
}

int btree__verify(struct body *base)
{
    static const struct btree_position start = {(const unsigned char *)"", 0, UINT64_MAX};
    struct btree_body *body = (struct btree_body *)base;
    struct verify verify = {.body = body, .generation = body->current};
    if (body->current == NULL)
        return 0;
    int rc = btree__map_reserve(&verify.reached, body->current->root.pages);
    if (rc == 0 && body->current->root.tree != 0)
        rc = node_verify(&verify, body->current->root.tree, body->current->root.depth - 1, &start,
                         NULL);
    if (rc == 0)
        rc = extra_verify(&verify);
    btree__map_free(&verify.reached);
    free(verify.keys[0].data);
    free(verify.keys[1].data);
    return rc;
}
