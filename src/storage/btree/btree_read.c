/* SPDX-License-Identifier: Apache-2.0 */

/* Reading extents, point reads, and cutting a body into parts. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

enum { PAGES_LOOK = 64 };

/* --------------------------------------------------------------------------------------- extents */

int btree__damaged(const struct btree_file *file, uint64_t page, const char *check)
{
    return diag_set(ERROR_CORRUPT, "the file %s is damaged at offset %" PRIu64 ": %s", file->name,
                    page * file->page_bytes, check);
}

void btree__read_release(struct btree_read *read)
{
    cache_guard_release(&read->guard);
    free(read->memory);
    read->data = read->memory = NULL;
}

int btree__extent_check(const struct btree_file *file, int64_t got, uint64_t page, uint64_t pages,
                        enum btree_kind kind, const void *data)
{
    size_t size = pages * file->page_bytes;
    if (got < 0)
        return (int)got;
    const char *check = (size_t)got < size
                            ? "end of the file"
                            : btree_check(data, size, file->identity, page, (uint32_t)pages, kind);
    return check == NULL ? 0 : btree__damaged(file, page, check);
}

/* Reads an extent to `data`, of pages * page_bytes, and checks it. */
static int extent_load(const struct btree_file *file, enum io_class class, uint64_t page,
                       uint64_t pages, enum btree_kind kind, void *data)
{
    int64_t got =
        io_schedule_read(class, file->io, data, pages * file->page_bytes, page * file->page_bytes);
    return btree__extent_check(file, got, page, pages, kind, data);
}

/* Nobody asks for memory because some damaged number says so. */
static int size_look(const struct btree_file *file, uint64_t page, uint64_t pages)
{
    return pages < PAGES_LOOK || (uint64_t)io_size(file->io) / file->page_bytes >= pages
               ? 0
               : btree__damaged(file, page, "end of the file");
}

static int extent_read(const struct btree_file *file, enum io_class class, uint64_t page,
                       uint64_t pages, enum btree_kind kind, struct btree_read *out)
{
    int rc = size_look(file, page, pages);
    if (rc != 0)
        return rc;
    *out = (struct btree_read){.size = pages * file->page_bytes};
    out->memory = malloc(out->size);
    out->data = out->memory;
    if (out->memory == NULL)
        return diag_set(ERROR_MEMORY, "no memory to read %" PRIu64 " pages", pages);
    rc = extent_load(file, class, page, pages, kind, out->memory);
    if (rc != 0)
        btree__read_release(out);
    return rc;
}

int btree__read(const struct btree_file *file, uint64_t page, uint64_t pages, enum btree_kind kind,
                struct btree_read *out)
{
    return extent_read(file, IO_USER, page, pages, kind, out);
}

struct node_wanted {
    const struct btree_file *file;
    uint64_t page, pages;
    enum btree_kind kind;
    bool point;
    struct cache_link *link; /* of the place that it is read for, or NULL */
};

static int node_load(struct cache_fill *fill, void *arg)
{
    const struct node_wanted *wanted = arg;
    const struct btree_file *file = wanted->file;
    int rc = size_look(file, wanted->page, wanted->pages);
    if (rc != 0)
        return rc;
    size_t size = wanted->pages * file->page_bytes;
    size_t links = wanted->kind == BTREE_BRANCH && wanted->pages < PAGES_LOOK ? size : 0;
    char *room = cache_fill_room(fill, size + links);
    if (room == NULL)
        return diag_set(ERROR_MEMORY, "no memory to read %" PRIu64 " pages", wanted->pages);
    memset(room + size, 0, links);
    uint64_t began_ns =
        wanted->point ? btree__course_wait_begin(file, wanted->kind == BTREE_LEAF) : 0;
    rc = extent_load(file, IO_USER, wanted->page, wanted->pages, wanted->kind, room);
    btree__course_wait_end(file, began_ns);
    return rc;
}

static int node_get(struct node_wanted *wanted, enum btree_how how, struct btree_read *out)
{
    const struct btree_file *file = wanted->file;
    int rc = ERROR_NOT_FOUND;
    *out = (struct btree_read){.size = 0};
    if (file->cache != NULL && how == BTREE_ONCE)
        rc = cache_try(file->cache, file->number, wanted->page, CACHE_SCAN, &out->guard);
    else if (file->cache != NULL && how != BTREE_DISK && wanted->link != NULL)
        rc = cache_get_linked(file->cache, wanted->link, file->number, wanted->page, CACHE_NODE,
                              node_load, wanted, &out->guard);
    else if (file->cache != NULL && how != BTREE_DISK)
        rc = cache_get(file->cache, file->number, wanted->page,
                       how == BTREE_SCAN ? CACHE_SCAN | CACHE_NODE : CACHE_NODE, node_load, wanted,
                       &out->guard);
    if (file->cache == NULL || how == BTREE_DISK || (how == BTREE_ONCE && rc == ERROR_NOT_FOUND))
        return extent_read(file,
                           how == BTREE_ONCE   ? IO_CHECKPOINT
                           : how == BTREE_DISK ? IO_BACKGROUND
                                               : IO_USER,
                           wanted->page, wanted->pages, wanted->kind, out);
    out->data = out->guard.data;
    out->size = out->guard.size;
    return rc;
}

static int node_read(struct node_wanted *wanted, unsigned level, enum btree_how how,
                     struct btree_read *out)
{
    int rc = node_get(wanted, how, out);
    if (rc != 0)
        return rc;
    /* What was in the cache was checked for what it is, not for what it should be. */
    const struct btree_header *header = btree_header(out->data);
    if (header->kind == wanted->kind && header->level == level && header->pages == wanted->pages)
        return 0;
    btree__read_release(out);
    return btree__damaged(wanted->file, wanted->page, "level of the node");
}

static struct node_wanted node_want(const struct btree_file *file, uint64_t child, unsigned level,
                                    enum btree_how how)
{
    return (struct node_wanted){.file = file,
                                .page = btree_child_page(child),
                                .pages = btree_child_pages(child),
                                .kind = level == 0 ? BTREE_LEAF : BTREE_BRANCH,
                                .point = how == BTREE_POINT};
}

int btree__read_node(const struct btree_file *file, uint64_t child, unsigned level,
                     enum btree_how how, struct btree_read *out)
{
    struct node_wanted wanted = node_want(file, child, level, how);
    return node_read(&wanted, level, how, out);
}

/* The link of a slot, in the room behind the branch in the cache; NULL where there is none. */
static struct cache_link *slot_link(const struct btree_file *file, const struct btree_read *branch,
                                    unsigned slot)
{
    size_t size = (size_t)btree_header(branch->data)->pages * file->page_bytes;
    if (branch->guard.frame == NULL || branch->size != 2 * size ||
        slot >= size / sizeof(struct cache_link))
        return NULL;
    return (struct cache_link *)((uintptr_t)branch->data + size) + slot;
}

int btree__read_child(const struct btree_file *file, const struct btree_read *branch, unsigned slot,
                      struct btree_read *out)
{
    const unsigned char *key;
    size_t key_size;
    uint64_t ts, child = btree_branch_child(branch->data, slot, &key, &key_size, &ts);
    unsigned level = btree_header(branch->data)->level - 1u;
    struct node_wanted wanted = node_want(file, child, level, BTREE_POINT);
    wanted.link = slot_link(file, branch, slot);
    return node_read(&wanted, level, BTREE_POINT, out);
}

uint64_t btree__overflow_pages(uint32_t page_bytes, uint64_t size)
{
    return (BTREE_HEADER_BYTES + size + page_bytes - 1) / page_bytes;
}

int btree__overflow_read(const struct btree_file *file, const struct btree_tuple *tuple, void *out)
{
    struct btree_read read;
    int rc = btree__read(file, tuple->page, btree__overflow_pages(file->page_bytes, tuple->size),
                         BTREE_OVERFLOW, &read);
    if (rc != 0)
        return rc;
    memcpy(out, (const char *)read.data + BTREE_HEADER_BYTES, tuple->size);
    btree__read_release(&read);
    return 0;
}

/* ----------------------------------------------------------------------------------- point reads */

/* The leaf below which the position is, or nothing: *found false. */
static int leaf_find(const struct btree_generation *generation,
                     const struct btree_position *position, struct btree_read *out)
{
    const struct btree_file *file = generation->file;
    unsigned level = generation->root.depth - 1u;
    int rc = btree__read_node(file, generation->root.tree, level, BTREE_POINT, out);
    for (; rc == 0 && level > 0; level--) {
        struct btree_read branch = *out;
        unsigned slot = btree_branch_slot(branch.data, position);
        if (level == 1 && btree__course_watched(file))
            btree__course_access(generation, btree_header(branch.data)->number, branch.data, slot);
        rc = btree__read_child(file, &branch, slot, out);
        btree__read_release(&branch);
    }
    return rc;
}

/* Copies the row to the arena. */
static int row_copy(const struct btree_generation *generation, const struct btree_tuple *tuple,
                    const void *key, size_t key_size, struct arena *arena, struct engine_row *out)
{
    char *data = arena_alloc(arena, (size_t)tuple->size + 1);
    unsigned char *key_copy = arena_copy(arena, key, key_size);
    if (data == NULL || key_copy == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a row of %" PRIu32 " bytes", tuple->size);
    int rc = 0;
    if (tuple->flags & BTREE_ELSEWHERE)
        rc = btree__overflow_read(generation->file, tuple, data);
    else if (tuple->size > 0)
        memcpy(data, tuple->data, tuple->size);
    *out = (struct engine_row){key_copy, key_size, tuple->ts, data, tuple->size};
    return rc;
}

/* Versions that are newer come before the position, and no leaf but one can have what comes behind
 * it of the same key: that is what the keys of branches are made for. */
int btree__get(struct body_view *base, const void *key, size_t key_size, uint64_t ts,
               struct arena *arena, struct engine_row *out)
{
    const struct btree_generation *generation = ((struct btree_view *)base)->generation;
    struct btree_position position = {key, key_size, ts};
    struct btree_read leaf;
    if (generation == NULL || generation->root.tree == 0)
        return ERROR_NOT_FOUND;
    int rc = leaf_find(generation, &position, &leaf);
    if (rc != 0)
        return rc;
    bool equal;
    unsigned slot = btree_lower_bound(leaf.data, &position, &equal);
    rc = ERROR_NOT_FOUND;
    if (slot < btree_header(leaf.data)->slots) {
        struct btree_tuple tuple;
        size_t prefix = btree_header(leaf.data)->prefix_bytes;
        btree_leaf_tuple(leaf.data, slot, &tuple);
        bool same = prefix + tuple.key_size == key_size &&
                    (prefix == 0 || memcmp(key, btree_prefix(leaf.data), prefix) == 0) &&
                    (tuple.key_size == 0 ||
                     memcmp((const char *)key + prefix, tuple.key, tuple.key_size) == 0);
        if (same && !(tuple.flags & BTREE_TOMBSTONE))
            rc = row_copy(generation, &tuple, key, key_size, arena, out);
    }
    btree__read_release(&leaf);
    return rc;
}

/* ----------------------------------------------------------------------------------------- parts */

/* Keys of a level, whole, in the arena. */
struct fence_list {
    struct engine_key *keys;
    size_t count, capacity;
};

static int fence_add(struct fence_list *list, struct arena *arena, const void *node, unsigned slot)
{
    if (list->count == list->capacity) {
        size_t capacity = 2 * list->capacity + 64;
        struct engine_key *keys = realloc(list->keys, capacity * sizeof *keys);
        if (keys == NULL)
            return diag_set(ERROR_MEMORY, "no memory to cut a body into parts");
        list->keys = keys;
        list->capacity = capacity;
    }
    const unsigned char *key;
    size_t key_size, prefix = btree_header(node)->prefix_bytes;
    uint64_t ts;
    btree_branch_child(node, slot, &key, &key_size, &ts);
    unsigned char *whole = arena_alloc(arena, prefix + key_size + 1);
    if (whole == NULL)
        return diag_set(ERROR_MEMORY, "no memory to cut a body into parts");
    memcpy(whole, btree_prefix(node), prefix);
    memcpy(whole + prefix, key, key_size);
    list->keys[list->count++] = (struct engine_key){whole, prefix + key_size};
    return 0;
}

/* The keys between the nodes of `level`, from a branch above. */
static int fences_collect(const struct btree_generation *generation, uint64_t child, unsigned at,
                          unsigned level, struct arena *arena, struct fence_list *list)
{
    struct btree_read node;
    int rc = btree__read_node(generation->file, child, at, BTREE_SCAN, &node);
    if (rc != 0)
        return rc;
    for (unsigned i = 0; rc == 0 && i < btree_header(node.data)->slots; i++) {
        const unsigned char *key;
        size_t key_size;
        uint64_t ts, below = btree_branch_child(node.data, i, &key, &key_size, &ts);
        if (i > 0)
            rc = fence_add(list, arena, node.data, i);
        if (rc == 0 && at - 1 > level)
            rc = fences_collect(generation, below, at - 1, level, arena, list);
    }
    btree__read_release(&node);
    return rc;
}

/* Goes down from the root until there are several times as many nodes as parts. */
int btree__split(struct body_view *base, unsigned parts, struct arena *arena,
                 struct engine_key *keys, unsigned *count)
{
    const struct btree_generation *generation = ((struct btree_view *)base)->generation;
    struct fence_list list = {NULL, 0, 0};
    int rc = 0;
    *count = 0;
    if (generation == NULL || generation->root.tree == 0 || parts < 2)
        return 0;
    unsigned top = generation->root.depth - 1;
    for (unsigned level = top; rc == 0 && level > 0 && list.count < 4 * (size_t)parts; level--) {
        list.count = 0;
        rc = fences_collect(generation, generation->root.tree, top, level - 1, arena, &list);
    }
    for (unsigned i = 1; rc == 0 && i < parts && list.count > 0; i++) {
        const struct engine_key *key = &list.keys[(size_t)i * list.count / parts];
        const struct engine_key *last = *count > 0 ? &keys[*count - 1] : NULL;
        if (last == NULL || btree_key_compare(last->data, last->size, key->data, key->size) < 0)
            keys[(*count)++] = *key;
    }
    free(list.keys);
    return rc;
}
