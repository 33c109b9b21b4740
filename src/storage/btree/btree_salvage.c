/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading what is whole of a damaged file.
 *
 *   1. The size of pages: what the root says, or else the one by which some extent of the file is valid.
 *   2. The root: the one that the manifest names; without a manifest the newest that is valid. If some
 *      extent was written for a newer one, which has been damaged then, or was never finished, that is told
 *      as a gap from the first row to the last, and the newer leaves are taken as well.
 *   3. The tree, from the root down, in order of key. A node that is damaged is a gap, between the last row
 *      before it and the first one behind it.
 *   4. If a branch was damaged, or there is no root: all leaves of the file that were not reached. With a
 *      map those whose pages are in use, which are of this tree and no other. Without one, and without a
 *      manifest when there is a gap, since the newest root need not have been whole ever, also leaves of
 *      older roots: of a key the newest version counts, but one that was deleted since may come back. Of a
 *      leaf so found only rows are taken that lie in some gap, so that what is whole stays as it is.
 *
 * Nothing is read for which some checksum does not stand (btree_check), so that memory is asked for by what
 * the engine has written only.
 */
#include "storage/btree/btree_salvage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

struct salvage {
    struct btree_file file; /* not counted */
    const struct btree_salvage_calls *calls;
    struct btree_salvage_info info;
    uint64_t file_pages;
    bool has_root, lost, branch_lost;
    uint64_t root_page, sequence;
    bool newer; /* there are extents that were written for a newer root */
    struct btree_root_page root;
    struct btree_map reached; /* `used`: pages of the tree that were read */
    struct btree_map in_use;  /* the same: what the map of the root says */
    bool has_map;
    struct key {
        unsigned char *bytes;
        size_t size, capacity;
    } keys[2]; /* of the row before, of the one at hand */
    bool has_row;
    struct hole {
        uint64_t page, pages;
        const char *check;
    } * holes; /* that wait for the first row behind them */
    size_t hole_count, hole_capacity;
    struct range {
        struct key after, before; /* bytes NULL: the beginning, the end */
    } * ranges;                   /* what has been told as lost */
    size_t range_count, range_capacity;
    char *extent; /* BTREE_PAGE_MAX bytes, or what a larger one takes */
    size_t extent_capacity;
};

/* A damaged extent is no error here. */
static bool is_damage(int rc)
{
    return rc == ERROR_CORRUPT || rc == ERROR_IO;
}

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory to read a damaged tree");
}

/* ------------------------------------------------------------------------------------ the file */

static int name_read(struct salvage *salvage, const char *name)
{
    char again[ENGINE_FILE_NAME_MAX + 1];
    uint64_t number;
    int matched = sscanf(name, "%" SCNu32 "-%" SCNu32 "-%" SCNu64 ".btree", &salvage->info.space_id,
                         &salvage->info.incarnation, &number);
    if (matched == 3) {
        btree__file_name(again, salvage->info.space_id, salvage->info.incarnation, number);
        if (strcmp(again, name) == 0) {
            strcpy(salvage->file.name, name);
            salvage->file.number = number;
            salvage->file.identity =
                btree_identity(salvage->info.space_id, salvage->info.incarnation, number);
            return 0;
        }
    }
    return diag_set(ERROR_INVALID, "%s is no name of a file of the engine btree", name);
}

/* The extent that begins at `page`, if there is a valid one of any kind: NULL otherwise. In memory of the
 * salvage's until the next call. */
static int extent_try(struct salvage *salvage, uint64_t page, const struct btree_header **out)
{
    struct btree_header header;
    uint64_t offset = page * salvage->file.page_bytes;
    int64_t got = io_read(salvage->file.io, &header, sizeof header, offset);
    *out = NULL;
    if (got != (int64_t)sizeof header || header.number != page || header.pages == 0 ||
        header.kind < BTREE_LEAF || header.kind > BTREE_ROOT ||
        header.pages > salvage->file_pages - page)
        return 0;
    size_t size = (size_t)header.pages * salvage->file.page_bytes;
    if (size > salvage->extent_capacity) {
        char *grown = realloc(salvage->extent, size);
        if (grown == NULL)
            return no_memory();
        salvage->extent = grown;
        salvage->extent_capacity = size;
    }
    got = io_read(salvage->file.io, salvage->extent, size, offset);
    if (got == (int64_t)size && btree_check(salvage->extent, size, salvage->file.identity, page,
                                            header.pages, (enum btree_kind)header.kind) == NULL)
        *out = btree_header(salvage->extent);
    return 0;
}

static void page_bytes_set(struct salvage *salvage, uint32_t page_bytes)
{
    salvage->file.page_bytes = page_bytes;
    salvage->file_pages = salvage->info.bytes / page_bytes;
}

/* By which size some extent is valid. */
static int page_bytes_guess(struct salvage *salvage)
{
    for (uint32_t bytes = BTREE_PAGE_MIN; bytes <= BTREE_PAGE_MAX; bytes *= 2) {
        page_bytes_set(salvage, bytes);
        for (uint64_t page = 0; page < salvage->file_pages; page++) {
            const struct btree_header *header;
            int rc = extent_try(salvage, page, &header);
            if (rc != 0 || header != NULL)
                return rc;
        }
    }
    page_bytes_set(salvage, BTREE_PAGE_MIN);
    return 0;
}

/* ------------------------------------------------------------------------------------ the root */

/* Whether the extent that was read last is a root of this file. */
static bool root_take(struct salvage *salvage, const struct btree_header *header)
{
    struct btree_root_page root;
    memcpy(&root, salvage->extent + BTREE_HEADER_BYTES, sizeof root);
    if (root.magic != BTREE_MAGIC || root.version != BTREE_FORMAT_VERSION ||
        root.page_bytes != salvage->file.page_bytes || root.depth > BTREE_DEPTH_MAX ||
        (root.depth == 0) != (root.tree == 0))
        return false;
    salvage->root = root;
    salvage->has_root = true;
    salvage->root_page = header->number;
    salvage->sequence = header->sequence;
    salvage->info.rows = root.rows;
    salvage->info.timestamp = header->timestamp;
    return true;
}

/* The root that the manifest names. */
static int root_named(struct salvage *salvage, const struct engine_file *named)
{
    struct {
        struct btree_header header;
        struct btree_root_page root;
    } start;
    const struct btree_header *header;
    uint64_t offset = (uint64_t)named->level * BTREE_PAGE_MIN;
    int64_t got = io_read(salvage->file.io, &start, sizeof start, offset);
    if (got != (int64_t)sizeof start || start.root.magic != BTREE_MAGIC)
        return 0;
    if (start.root.version > BTREE_FORMAT_VERSION)
        return diag_set(ERROR_VERSION,
                        "the file %s has format version %" PRIu32
                        ", which a newer perigee has written; this one reads up to %d",
                        named->name, start.root.version, BTREE_FORMAT_VERSION);
    uint32_t bytes = start.root.page_bytes;
    if (bytes < BTREE_PAGE_MIN || bytes > BTREE_PAGE_MAX || (bytes & (bytes - 1)) != 0 ||
        offset % bytes != 0)
        return 0;
    page_bytes_set(salvage, bytes);
    int rc = extent_try(salvage, offset / bytes, &header);
    if (rc == 0 && header != NULL && header->kind == BTREE_ROOT && header->sequence == named->group)
        root_take(salvage, header);
    return rc;
}

/* The newest root that is valid, and whether there was a newer one. */
static int root_newest(struct salvage *salvage)
{
    uint64_t newest = 0;
    for (uint64_t page = 0; page < salvage->file_pages; page++) {
        const struct btree_header *header;
        int rc = extent_try(salvage, page, &header);
        if (rc != 0)
            return rc;
        if (header != NULL && header->sequence > newest)
            newest = header->sequence;
        if (header != NULL && header->kind == BTREE_ROOT &&
            (!salvage->has_root || header->sequence > salvage->sequence))
            root_take(salvage, header);
    }
    salvage->newer = salvage->has_root && newest > salvage->sequence;
    return 0;
}

/* ------------------------------------------------------------------------------------- the map */

/* Reads an extent that the root leads to; *out NULL when it is damaged. */
static int extent_of(struct salvage *salvage, uint64_t page, uint64_t pages, enum btree_kind kind,
                     const struct btree_header **out)
{
    *out = NULL;
    if (page >= salvage->file_pages)
        return 0;
    int rc = extent_try(salvage, page, out);
    if (*out != NULL && ((*out)->kind != kind || (*out)->pages != pages))
        *out = NULL;
    return rc;
}

/* The pages in use by the root: `has_map` when all parts of the map could be read. */
static int map_read(struct salvage *salvage)
{
    const struct btree_root_page *root = &salvage->root;
    const struct btree_header *header;
    uint64_t region_pages = btree__region_pages(salvage->file.page_bytes);
    if (!salvage->has_root || root->pages > salvage->file_pages || root->maps > root->pages)
        return 0;
    int rc =
        extent_of(salvage, root->directory_page, root->directory_pages, BTREE_DIRECTORY, &header);
    if (rc != 0 || header == NULL ||
        BTREE_HEADER_BYTES + root->maps * BTREE_DIRECTORY_BYTES >
            root->directory_pages * salvage->file.page_bytes)
        return rc;
    size_t size = root->maps * sizeof(struct btree_map_page);
    struct btree_map_page *maps = malloc(size + 1);
    if (maps == NULL)
        return no_memory();
    memcpy(maps, (const char *)header + BTREE_HEADER_BYTES, size);
    rc = btree__map_reserve(&salvage->in_use, root->maps * region_pages);
    salvage->has_map = true;
    for (uint64_t i = 0; rc == 0 && salvage->has_map && i < root->maps; i++) {
        if (maps[i].sequence == 0)
            continue;
        rc = extent_of(salvage, maps[i].page, 1, BTREE_MAP, &header);
        salvage->has_map = header != NULL;
        if (header != NULL)
            memcpy(salvage->in_use.used + i * region_pages / 64,
                   (const char *)header + BTREE_MAP_OFFSET, region_pages / 8);
    }
    free(maps);
    return rc;
}

static bool bit(const struct btree_map *map, uint64_t page)
{
    return page / 64 < map->words && (map->used[page / 64] >> page % 64 & 1) != 0;
}

/* ------------------------------------------------------------------------------------- the rows */

static void gap_tell(const struct salvage *salvage, uint64_t page, uint64_t pages,
                     const char *check, const struct key *after, const struct key *before)
{
    struct run_gap gap = {.offset = page * salvage->file.page_bytes,
                          .bytes = pages * salvage->file.page_bytes,
                          .check = check};
    if (after != NULL) {
        gap.after = after->bytes;
        gap.after_size = after->size;
    }
    if (before != NULL) {
        gap.before = before->bytes;
        gap.before_size = before->size;
    }
    if (salvage->calls->gap != NULL)
        salvage->calls->gap(&gap, salvage->calls->arg);
}

static int key_copy(struct key *to, const struct key *from)
{
    *to = (struct key){NULL, 0, 0};
    if (from == NULL)
        return 0;
    to->bytes = malloc(from->size + 1);
    if (to->bytes == NULL)
        return no_memory();
    memcpy(to->bytes, from->bytes, from->size);
    to->size = from->size;
    return 0;
}

static int range_add(struct salvage *salvage, const struct key *after, const struct key *before)
{
    if (salvage->range_count == salvage->range_capacity) {
        size_t capacity = 2 * salvage->range_capacity + 16;
        struct range *grown = realloc(salvage->ranges, capacity * sizeof *grown);
        if (grown == NULL)
            return no_memory();
        salvage->ranges = grown;
        salvage->range_capacity = capacity;
    }
    struct range *range = &salvage->ranges[salvage->range_count++];
    int rc = key_copy(&range->after, after), other = key_copy(&range->before, before);
    return rc != 0 ? rc : other;
}

/* Whether a row was told as lost. */
static bool in_range(const struct salvage *salvage, const struct key *key)
{
    for (size_t i = 0; i < salvage->range_count; i++) {
        const struct key *after = &salvage->ranges[i].after, *before = &salvage->ranges[i].before;
        if ((after->bytes == NULL ||
             btree_key_compare(after->bytes, after->size, key->bytes, key->size) <= 0) &&
            (before->bytes == NULL ||
             btree_key_compare(key->bytes, key->size, before->bytes, before->size) <= 0))
            return true;
    }
    return false;
}

/* What the walk has found damaged, between the row before and this one, or the end. */
static int holes_tell(struct salvage *salvage, const struct key *before)
{
    const struct key *after = salvage->has_row ? &salvage->keys[0] : NULL;
    if (salvage->hole_count == 0)
        return 0;
    for (size_t i = 0; i < salvage->hole_count; i++) {
        const struct hole *hole = &salvage->holes[i];
        gap_tell(salvage, hole->page, hole->pages, hole->check, after, before);
    }
    salvage->hole_count = 0;
    return range_add(salvage, after, before);
}

static int hole_add(struct salvage *salvage, uint64_t page, uint64_t pages, const char *check)
{
    if (salvage->hole_count == salvage->hole_capacity) {
        size_t capacity = 2 * salvage->hole_capacity + 16;
        struct hole *grown = realloc(salvage->holes, capacity * sizeof *grown);
        if (grown == NULL)
            return no_memory();
        salvage->holes = grown;
        salvage->hole_capacity = capacity;
    }
    salvage->holes[salvage->hole_count++] = (struct hole){page, pages, check};
    salvage->lost = true;
    return 0;
}

/* The whole key of a tuple, in keys[1]. */
static int key_whole(struct salvage *salvage, const void *node, const struct btree_tuple *tuple)
{
    struct key *key = &salvage->keys[1];
    size_t prefix = btree_header(node)->prefix_bytes, size = prefix + tuple->key_size;
    if (size >= key->capacity) {
        unsigned char *grown = realloc(key->bytes, 2 * size + 64);
        if (grown == NULL)
            return no_memory();
        key->bytes = grown;
        key->capacity = 2 * size + 64;
    }
    memcpy(key->bytes, btree_prefix(node), prefix);
    if (tuple->key_size > 0)
        memcpy(key->bytes + prefix, tuple->key, tuple->key_size);
    key->size = size;
    return 0;
}

/* A row whose data is in an extent of its own. */
static int row_elsewhere(struct salvage *salvage, const struct btree_tuple *tuple,
                         struct engine_row *row)
{
    struct btree_read read;
    uint64_t pages = btree__overflow_pages(salvage->file.page_bytes, tuple->size);
    int rc = ERROR_CORRUPT;
    if (tuple->page < salvage->file_pages && pages <= salvage->file_pages - tuple->page)
        rc = btree__read(&salvage->file, tuple->page, pages, BTREE_OVERFLOW, &read);
    if (rc == 0 && btree_header(read.data)->sequence != tuple->sequence) {
        btree__read_release(&read);
        rc = ERROR_CORRUPT;
    }
    if (is_damage(rc)) {
        diag_clear();
        const struct key *key = &salvage->keys[1];
        gap_tell(salvage, tuple->page, pages, "data of a long row", key, key);
        return 0;
    }
    if (rc != 0)
        return rc;
    row->data = (const char *)read.data + BTREE_HEADER_BYTES;
    rc = salvage->calls->row(row, salvage->calls->arg);
    btree__read_release(&read);
    return rc;
}

/* `without_way`: it may be of an older root, so only what was lost is taken of it. */
static int leaf_rows(struct salvage *salvage, const void *leaf, bool without_way)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < btree_header(leaf)->slots; i++) {
        struct btree_tuple tuple;
        btree_leaf_tuple(leaf, i, &tuple);
        rc = key_whole(salvage, leaf, &tuple);
        if (rc != 0)
            return rc;
        struct key key = salvage->keys[1];
        bool dead = (tuple.flags & BTREE_TOMBSTONE) != 0;
        struct engine_row row = {key.bytes, key.size, tuple.ts, dead ? NULL : tuple.data,
                                 tuple.size};
        rc = holes_tell(salvage, &key);
        if (rc == 0 && (!without_way || in_range(salvage, &key)))
            rc = tuple.flags & BTREE_ELSEWHERE ? row_elsewhere(salvage, &tuple, &row)
                                               : salvage->calls->row(&row, salvage->calls->arg);
        salvage->keys[1] = salvage->keys[0];
        salvage->keys[0] = key;
        salvage->has_row = true;
    }
    return rc;
}

/* ------------------------------------------------------------------------------------- the tree */

/* Reads a node; what it is that cannot be, for a gap. */
static int node_read(struct salvage *salvage, uint64_t child, unsigned level,
                     struct btree_read *out, const char **check)
{
    uint64_t page = btree_child_page(child), pages = btree_child_pages(child);
    *check = NULL;
    if (page >= salvage->file_pages || pages > salvage->file_pages - page) {
        *check = "end of the file";
        return 0;
    }
    int rc = btree__read(&salvage->file, page, pages, level == 0 ? BTREE_LEAF : BTREE_BRANCH, out);
    if (is_damage(rc)) {
        diag_clear();
        *check = rc == ERROR_IO ? "it cannot be read" : level == 0 ? "leaf" : "branch";
        return 0;
    }
    if (rc == 0 && (btree_header(out->data)->level != level ||
                    btree_header(out->data)->sequence > salvage->sequence)) {
        btree__read_release(out);
        *check = "level of the node";
    }
    return rc;
}

static int node_walk(struct salvage *salvage, uint64_t child, unsigned level)
{
    struct btree_read node;
    const char *check;
    uint64_t page = btree_child_page(child), pages = btree_child_pages(child);
    int rc = node_read(salvage, child, level, &node, &check);
    if (rc != 0)
        return rc;
    if (check != NULL) {
        salvage->branch_lost |= level > 0;
        return hole_add(salvage, page, pages, check);
    }
    rc = btree__map_reserve(&salvage->reached, page + pages);
    if (rc == 0)
        btree__map_set(&salvage->reached, salvage->reached.used, page, pages, true);
    if (rc == 0 && level == 0)
        rc = leaf_rows(salvage, node.data, false);
    for (unsigned i = 0; rc == 0 && level > 0 && i < btree_header(node.data)->slots; i++) {
        const unsigned char *key;
        size_t size;
        uint64_t ts;
        rc = node_walk(salvage, btree_branch_child(node.data, i, &key, &size, &ts), level - 1);
    }
    btree__read_release(&node);
    return rc;
}

/* ---------------------------------------------------------------------------- leaves without a way */

/* Older ones are looked at for what was lost, newer ones if there was a newer root. */
static bool leaf_counts(const struct salvage *salvage, uint64_t sequence)
{
    return sequence > salvage->sequence ? salvage->newer : salvage->lost;
}

/* All leaves that the tree did not lead to and that may be its own. */
static int leaves_find(struct salvage *salvage)
{
    for (uint64_t page = 0; page < salvage->file_pages; page++) {
        const struct btree_header *header;
        if (bit(&salvage->reached, page) || (salvage->has_map && !bit(&salvage->in_use, page)))
            continue;
        int rc = extent_try(salvage, page, &header);
        if (rc != 0)
            return rc;
        if (header == NULL || header->kind != BTREE_LEAF ||
            (salvage->has_root && !leaf_counts(salvage, header->sequence)))
            continue;
        uint64_t pages = header->pages;
        rc = leaf_rows(salvage, salvage->extent, salvage->has_root);
        if (rc != 0)
            return rc;
        page += pages - 1;
    }
    return 0;
}

/* -------------------------------------------------------------------------------------- interface */

static int salvage_begin(struct salvage *salvage, struct io *io, const char *name,
                         const struct engine_file *named)
{
    salvage->info.rows = UINT64_MAX;
    int rc = name_read(salvage, name);
    if (rc == 0)
        rc = io_open(io, name, IO_READ, &salvage->file.io);
    if (rc != 0)
        return rc;
    int64_t bytes = io_size(salvage->file.io);
    if (bytes < 0)
        return (int)bytes;
    salvage->info.bytes = (uint64_t)bytes;
    page_bytes_set(salvage, BTREE_PAGE_MIN);
    if (named != NULL)
        rc = root_named(salvage, named);
    if (rc != 0 || salvage->has_root)
        return rc;
    rc = page_bytes_guess(salvage);
    return rc != 0 || named != NULL ? rc : root_newest(salvage);
}

static void salvage_end(struct salvage *salvage)
{
    if (salvage->file.io != NULL)
        io_close(salvage->file.io);
    btree__map_free(&salvage->reached);
    btree__map_free(&salvage->in_use);
    free(salvage->keys[0].bytes);
    free(salvage->keys[1].bytes);
    free(salvage->holes);
    for (size_t i = 0; i < salvage->range_count; i++) {
        free(salvage->ranges[i].after.bytes);
        free(salvage->ranges[i].before.bytes);
    }
    free(salvage->ranges);
    free(salvage->extent);
}

int btree_salvage_look(struct io *io, const char *name, const struct engine_file *named,
                       struct btree_salvage_info *out)
{
    struct salvage salvage = {.calls = NULL};
    int rc = salvage_begin(&salvage, io, name, named);
    *out = salvage.info;
    salvage_end(&salvage);
    return rc;
}

/* It may have said anything of any row. */
static int newer_lost(struct salvage *salvage)
{
    gap_tell(salvage, salvage->root_page, 1, "there was a newer root", NULL, NULL);
    return range_add(salvage, NULL, NULL);
}

/* Nobody knows what there was. */
static int root_lost(const struct salvage *salvage, const struct engine_file *named)
{
    uint64_t offset = named == NULL ? 0 : (uint64_t)named->level * BTREE_PAGE_MIN;
    if (!salvage->has_row)
        return diag_set(ERROR_CORRUPT, "nothing of the file %s can be read", salvage->file.name);
    gap_tell(salvage, offset / salvage->file.page_bytes, 1, "root", NULL, NULL);
    return 0;
}

int btree_salvage(struct io *io, const char *name, const struct engine_file *named,
                  const struct btree_salvage_calls *calls)
{
    struct salvage salvage = {.calls = calls};
    int rc = salvage_begin(&salvage, io, name, named);
    if (rc == 0 && salvage.has_root && salvage.root.tree != 0)
        rc = node_walk(&salvage, salvage.root.tree, salvage.root.depth - 1);
    if (rc == 0)
        rc = holes_tell(&salvage, NULL);
    if (rc == 0 && salvage.newer)
        rc = newer_lost(&salvage);
    bool known = salvage.has_root && named != NULL;
    if (rc == 0 &&
        (!salvage.has_root || salvage.newer || (known ? salvage.branch_lost : salvage.lost))) {
        rc = known ? map_read(&salvage) : 0;
        if (rc == 0)
            rc = leaves_find(&salvage);
    }
    if (rc == 0 && !salvage.has_root)
        rc = root_lost(&salvage, named);
    salvage_end(&salvage);
    return rc;
}
