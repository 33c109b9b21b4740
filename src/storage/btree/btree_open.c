/* SPDX-License-Identifier: Apache-2.0 */

/* Opening the file that a manifest names: its root, and the map of the pages in use. All other pages
 * are free then: what some older root, or one that no manifest came to name, had of its own. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

void btree__file_name(char out[ENGINE_FILE_NAME_MAX + 1], uint32_t space_id, uint32_t incarnation,
                      uint64_t number)
{
    snprintf(out, ENGINE_FILE_NAME_MAX + 1, "%" PRIu32 "-%" PRIu32 "-%" PRIu64 ".btree", space_id,
             incarnation, number);
}

static int damaged_root(const struct engine_file *named, const char *check)
{
    return diag_set(ERROR_CORRUPT, "the file %s is damaged at offset %" PRIu64 ": %s", named->name,
                    (uint64_t)named->level * BTREE_PAGE_MIN, check);
}

static bool page_bytes_valid(uint32_t bytes)
{
    return bytes >= BTREE_PAGE_MIN && bytes <= BTREE_PAGE_MAX && (bytes & (bytes - 1)) == 0;
}

/* What tells how to read the rest, before its checksum can be looked at. */
static int root_look(struct btree_body *body, const struct engine_file *named)
{
    char start[BTREE_HEADER_BYTES + sizeof(struct btree_root_page)];
    struct btree_root_page root;
    int64_t got =
        io_read(body->file->io, start, sizeof start, (uint64_t)named->level * BTREE_PAGE_MIN);
    if (got < 0)
        return (int)got;
    memcpy(&root, start + BTREE_HEADER_BYTES, sizeof root);
    if (got < (int64_t)sizeof start || root.magic != BTREE_MAGIC)
        return damaged_root(named, "there is no root");
    if (root.version > BTREE_FORMAT_VERSION)
        return diag_set(ERROR_VERSION,
                        "the file %s has format version %" PRIu32
                        ", which a newer perigee has written; this one reads up to %d",
                        named->name, root.version, BTREE_FORMAT_VERSION);
    if (!page_bytes_valid(root.page_bytes) ||
        (uint64_t)named->level * BTREE_PAGE_MIN % root.page_bytes != 0)
        return damaged_root(named, "size of pages");
    body->page_bytes = root.page_bytes;
    body->file->page_bytes = root.page_bytes;
    body->file->number = root.file;
    body->file->identity = btree_identity(body->space_id, body->incarnation, root.file);
    return 0;
}

static const char *root_check(const struct btree_body *body, const struct engine_file *named,
                              const struct btree_header *header, const struct btree_root_page *root)
{
    char name[ENGINE_FILE_NAME_MAX + 1];
    uint64_t region_pages = btree__region_pages(root->page_bytes);
    btree__file_name(name, root->space_id, root->incarnation, root->file);
    if (root->space_id != body->space_id || root->incarnation != body->incarnation)
        return "it belongs to another space";
    if (strcmp(name, named->name) != 0)
        return "it is another file than its name says";
    if (header->sequence != named->group)
        return "another root than the manifest says";
    if (root->rows != named->rows || root->tombstones != named->tombstones ||
        root->pages * root->page_bytes != named->bytes)
        return "another number of rows or pages than the manifest says";
    if (root->depth > BTREE_DEPTH_MAX || (root->depth == 0) != (root->tree == 0) ||
        root->maps > root->pages || root->maps > UINT32_MAX ||
        root->pages > root->maps * region_pages || root->directory_pages > root->pages ||
        root->directory_pages * root->page_bytes <
            BTREE_HEADER_BYTES + root->maps * BTREE_DIRECTORY_BYTES)
        return "root";
    return NULL;
}

static int root_read(struct btree_body *body, const struct engine_file *named,
                     struct btree_generation *generation)
{
    struct btree_read read;
    generation->root_page = (uint64_t)named->level * BTREE_PAGE_MIN / body->page_bytes;
    int rc = btree__read(body->file, generation->root_page, 1, BTREE_ROOT, &read);
    if (rc != 0)
        return rc;
    const struct btree_header *header = btree_header(read.data);
    memcpy(&generation->root, (char *)read.data + BTREE_HEADER_BYTES, sizeof generation->root);
    generation->timestamp = header->timestamp;
    generation->sequence = generation->order = header->sequence;
    const char *check = root_check(body, named, header, &generation->root);
    btree__read_release(&read);
    if (check == NULL) {
        int64_t size = io_size(body->file->io);
        if (size < 0)
            return (int)size;
        check = (uint64_t)size < named->bytes ? "end of the file" : NULL;
    }
    return check == NULL ? 0 : damaged_root(named, check);
}

static int directory_read(struct btree_generation *generation)
{
    const struct btree_root_page *root = &generation->root;
    struct btree_read read;
    size_t size = root->maps * sizeof *generation->maps;
    int rc = btree__read(generation->file, root->directory_page, root->directory_pages,
                         BTREE_DIRECTORY, &read);
    if (rc != 0)
        return rc;
    generation->maps = malloc(size + 1);
    if (generation->maps == NULL)
        rc = diag_set(ERROR_MEMORY, "no memory for the map of %s", generation->file->name);
    else
        memcpy(generation->maps, (char *)read.data + BTREE_HEADER_BYTES, size);
    btree__read_release(&read);
    return rc;
}

static int maps_read(struct btree_body *body, const struct btree_generation *generation)
{
    struct btree_map *map = &body->map;
    uint64_t region_pages = btree__region_pages(body->page_bytes);
    int rc = btree__map_reserve(map, generation->root.maps * region_pages);
    for (uint64_t i = 0; rc == 0 && i < generation->root.maps; i++) {
        struct btree_read read;
        if (generation->maps[i].sequence == 0)
            continue;
        rc = btree__read(body->file, generation->maps[i].page, 1, BTREE_MAP, &read);
        if (rc != 0)
            break;
        memcpy(map->used + i * region_pages / 64, (char *)read.data + BTREE_MAP_OFFSET,
               region_pages / 8);
        btree__read_release(&read);
    }
    if (rc != 0)
        return rc;
    for (uint64_t i = 0; i < map->words; i++)
        map->used_pages += (uint64_t)__builtin_popcountll(map->used[i]);
    memcpy(map->busy, map->used, map->words * sizeof *map->busy);
    if (btree__map_end(map, map->used) != generation->root.pages ||
        map->used_pages != generation->root.used_pages)
        return btree__damaged(body->file, generation->root_page, "number of pages in use");
    return 0;
}

static int generation_read(struct btree_body *body, const struct engine_file *named,
                           struct btree_generation *generation)
{
    int rc = root_look(body, named);
    if (rc == 0)
        rc = root_read(body, named, generation);
    if (rc == 0)
        rc = directory_read(generation);
    if (rc == 0)
        rc = maps_read(body, generation);
    return rc;
}

int btree__open_file(struct btree_body *body, const struct engine_file *named)
{
    struct btree_file *file = calloc(1, sizeof *file);
    struct btree_generation *generation = calloc(1, sizeof *generation);
    if (file == NULL || generation == NULL) {
        free(file);
        free(generation);
        return diag_set(ERROR_MEMORY, "no memory to open %s", named->name);
    }
    atomic_init(&file->references, 2);
    file->serial = btree__file_serial();
    file->cache = body->cache;
    strcpy(file->name, named->name);
    atomic_init(&generation->references, 2); /* of the list, and as the settled one */
    generation->file = file;
    body->file = file;
    body->oldest = body->current = body->settled = generation;
    int rc = io_open(body->io, named->name, IO_READ, &file->io);
    if (rc == ERROR_NOT_FOUND)
        return diag_set(ERROR_CORRUPT, "the file %s of space %" PRIu32 " is missing", named->name,
                        body->space_id);
    if (rc == 0)
        rc = generation_read(body, named, generation);
    body->order = generation->order;
    return rc;
}
