/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ghosts by their keys: a table of chains that doubles when it has as many ghosts as chains. Ghosts
 * are taken from chunks that stay until the end.
 */
#include <string.h>

#include "base/error.h"
#include "mem/system.h"
#include "storage/cache/policy_list.h"

enum { FIRST_BUCKETS = 64, CHUNK_GHOSTS = 64 };

struct ghost_chunk {
    struct ghost_chunk *next;
    struct policy_ghost ghosts[CHUNK_GHOSTS];
};

static struct policy_ghost **buckets_new(uint64_t count)
{
    struct policy_ghost **buckets = system_alloc(count * sizeof(struct policy_ghost *), 16);
    if (buckets != NULL)
        memset((void *)buckets, 0, count * sizeof(struct policy_ghost *));
    return buckets;
}

int policy_ghosts_create(struct policy_ghosts *ghosts)
{
    *ghosts = (struct policy_ghosts){.mask = FIRST_BUCKETS - 1};
    ghosts->buckets = buckets_new(FIRST_BUCKETS);
    return ghosts->buckets != NULL ? 0 : ERROR_MEMORY;
}

void policy_ghosts_destroy(struct policy_ghosts *ghosts)
{
    while (ghosts->chunks != NULL) {
        struct ghost_chunk *next = ghosts->chunks->next;
        system_free(ghosts->chunks);
        ghosts->chunks = next;
    }
    system_free(ghosts->buckets);
}

struct policy_ghost *policy_ghosts_find(const struct policy_ghosts *ghosts,
                                        const struct cache_frame *frame)
{
    uint64_t file = load_relaxed(&frame->file), offset = load_relaxed(&frame->offset);
    struct policy_ghost *ghost = ghosts->buckets[frame->hash & ghosts->mask];
    while (ghost != NULL && (ghost->offset != offset || ghost->file != file))
        ghost = ghost->next;
    return ghost;
}

/* Without memory the chains get longer. */
static void ghosts_grow(struct policy_ghosts *ghosts)
{
    uint64_t count = (ghosts->mask + 1) * 2;
    struct policy_ghost **buckets = buckets_new(count);
    if (buckets == NULL)
        return;
    for (uint64_t i = 0; i <= ghosts->mask; i++) {
        for (struct policy_ghost *ghost = ghosts->buckets[i], *next; ghost != NULL; ghost = next) {
            next = ghost->next;
            ghost->next = buckets[ghost->hash & (count - 1)];
            buckets[ghost->hash & (count - 1)] = ghost;
        }
    }
    system_free(ghosts->buckets);
    ghosts->buckets = buckets;
    ghosts->mask = count - 1;
}

static void chunk_add(struct policy_ghosts *ghosts)
{
    struct ghost_chunk *chunk = system_alloc(sizeof *chunk, 16);
    if (chunk == NULL)
        return;
    chunk->next = ghosts->chunks;
    ghosts->chunks = chunk;
    ghosts->chunks_count++;
    for (int i = 0; i < CHUNK_GHOSTS; i++) {
        chunk->ghosts[i].next = ghosts->free;
        ghosts->free = &chunk->ghosts[i];
    }
}

struct policy_ghost *policy_ghosts_add(struct policy_ghosts *ghosts,
                                       const struct cache_frame *frame)
{
    if (ghosts->free == NULL)
        chunk_add(ghosts);
    struct policy_ghost *ghost = ghosts->free;
    if (ghost == NULL)
        return NULL;
    ghosts->free = ghost->next;
    if (++ghosts->count > ghosts->mask)
        ghosts_grow(ghosts);
    *ghost = (struct policy_ghost){
        .node = {.is_ghost = true, .charge = frame->node.charge},
        .file = load_relaxed(&frame->file),
        .offset = load_relaxed(&frame->offset),
        .hash = frame->hash,
    };
    list_create(&ghost->node.link);
    list_create(&ghost->age);
    struct policy_ghost **bucket = &ghosts->buckets[ghost->hash & ghosts->mask];
    ghost->next = *bucket;
    *bucket = ghost;
    return ghost;
}

void policy_ghosts_remove(struct policy_ghosts *ghosts, struct policy_ghost *ghost)
{
    struct policy_ghost **at = &ghosts->buckets[ghost->hash & ghosts->mask];
    while (*at != ghost)
        at = &(*at)->next;
    *at = ghost->next;
    ghost->next = ghosts->free;
    ghosts->free = ghost;
    ghosts->count--;
}

size_t policy_ghosts_bytes(const struct policy_ghosts *ghosts)
{
    return (ghosts->mask + 1) * sizeof(struct policy_ghost *) +
           ghosts->chunks_count * sizeof(struct ghost_chunk);
}
