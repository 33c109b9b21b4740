/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An arena is a stack of chunks; each chunk begins with a header that links it to the one before.
 *
 *     chunk -> [ header | used used used | next ... free ... end ]
 *                  |
 *                  v
 *              [ header | used ............................ ]      spare -> [ header | ...... ]
 *
 * Chunks double in size up to ARENA_CHUNK_MAX; one allocation that is larger gets a chunk of its
 * own size. Emptied chunks go to the spare list as long as their sum stays within keep_bytes_max,
 * so an arena that is used again and again soon asks the system for nothing. The oldest chunk stays
 * where it is when all is taken back: the next use begins in it at once.
 *
 * A profile counts uses by the power of two that they fit into. Its conclusions are drawn at a reset: the
 * chunk that stayed goes if it is not of the size of a first one any more, and spare ones beyond what is to
 * be kept go as well.
 *
 * Under AddressSanitizer the free part of every chunk is poisoned, and so are ARENA_GAP bytes
 * behind each allocation: use after reset and writing past the end are found.
 */
#include "mem/arena.h"

#include <stdbool.h>
#include <string.h>

#include "mem/account.h"
#include "mem/system.h"

#if ARENA_POISONS
#include <sanitizer/asan_interface.h>
#define poison(memory, size)   __asan_poison_memory_region((memory), (size))
#define unpoison(memory, size) __asan_unpoison_memory_region((memory), (size))
#else
#define poison(memory, size)   ((void)(memory), (void)(size))
#define unpoison(memory, size) ((void)(memory), (void)(size))
#endif

enum {
    ARENA_CHUNK_MIN = 4096,
    ARENA_CHUNK_MAX = 1 << 20,
    ARENA_ALIGN = 16,
    ARENA_GAP = ARENA_POISONS ? 16 : 0,
};

struct arena_chunk {
    struct arena_chunk *older;
    size_t size; /* of the whole chunk, a multiple of ARENA_ALIGN */
};

_Static_assert(sizeof(struct arena_chunk) % ARENA_ALIGN == 0, "data begins aligned");

static char *chunk_data(struct arena_chunk *chunk)
{
    return (char *)(chunk + 1);
}

static char *chunk_end(struct arena_chunk *chunk)
{
    return (char *)chunk + chunk->size;
}

static size_t chunk_room(struct arena_chunk *chunk)
{
    return chunk->size - sizeof(*chunk);
}

static void chunk_free(struct arena_chunk *chunk)
{
    unpoison(chunk, chunk->size);
    system_free(account_gone(ACCOUNT_ARENA, chunk));
}

void arena_create(struct arena *arena, size_t keep_bytes_max)
{
    memset(arena, 0, sizeof(*arena));
    arena->keep_bytes_max = keep_bytes_max;
}

void arena_create_profiled(struct arena *arena, size_t keep_bytes_max,
                           struct arena_profile *profile)
{
    arena_create(arena, keep_bytes_max);
    arena->profile = profile;
}

/* ---- the profile */

static unsigned class_of(size_t bytes)
{
    unsigned class = 0;
    for (size_t fits = ARENA_CHUNK_MIN; fits < bytes && class < ARENA_CLASSES - 1; fits *= 2)
        class ++;
    return class;
}

/* The smallest class into which all but one of `of` uses fit. */
static unsigned class_for(const struct arena_profile *profile, uint32_t total, uint32_t of)
{
    uint32_t beyond = total;
    unsigned class = 0;
    for (; class < ARENA_CLASSES - 1; class ++) {
        beyond -= profile->counts[class];
        if (beyond <= total / of)
            break;
    }
    return class;
}

static void profile_conclude(struct arena_profile *profile)
{
    uint32_t total = 0;
    for (unsigned i = 0; i < ARENA_CLASSES; i++)
        total += profile->counts[i];
    size_t first = (size_t)ARENA_CHUNK_MIN << class_for(profile, total, 16);
    profile->first_bytes = first < ARENA_CHUNK_MAX ? first : ARENA_CHUNK_MAX;
    /* Chunks that double sum up to less than twice what they hold. */
    profile->keep_bytes = (size_t)2 * ARENA_CHUNK_MIN << class_for(profile, total, 256);
    profile->uses = 0;
    for (unsigned i = 0; i < ARENA_CLASSES; i++)
        profile->counts[i] /= 2;
}

/* One use has ended. The header of a chunk counts, so that a class is what a chunk has to be. */
static void profile_note(struct arena_profile *profile, size_t used_bytes)
{
    if (used_bytes == 0)
        return;
    profile->counts[class_of(used_bytes + sizeof(struct arena_chunk))]++;
    if (++profile->uses == ARENA_PROFILE_EVERY)
        profile_conclude(profile);
}

static size_t keep_max(const struct arena *arena)
{
    const struct arena_profile *profile = arena->profile;
    return profile != NULL && profile->first_bytes != 0 &&
                   profile->keep_bytes < arena->keep_bytes_max
               ? profile->keep_bytes
               : arena->keep_bytes_max;
}

static size_t first_size(const struct arena *arena)
{
    return arena->profile != NULL && arena->profile->first_bytes != 0 ? arena->profile->first_bytes
                                                                      : (size_t)ARENA_CHUNK_MIN;
}

/* ---- chunks */

static void chunks_free(struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *older = chunk->older;
        chunk_free(chunk);
        chunk = older;
    }
}

void arena_destroy(struct arena *arena)
{
    if (arena->profile != NULL)
        profile_note(arena->profile, arena->used_bytes);
    chunks_free(arena->chunk);
    chunks_free(arena->spare);
    arena_create_profiled(arena, arena->keep_bytes_max, arena->profile);
}

/* Takes the first spare chunk with room for `size` bytes, or NULL. */
static struct arena_chunk *arena_spare_take(struct arena *arena, size_t size)
{
    for (struct arena_chunk **at = &arena->spare; *at != NULL; at = &(*at)->older) {
        struct arena_chunk *chunk = *at;
        if (chunk_room(chunk) >= size) {
            *at = chunk->older;
            arena->spare_bytes -= chunk->size;
            return chunk;
        }
    }
    return NULL;
}

/* A new chunk with room for `size` bytes, a multiple of ARENA_ALIGN. */
static struct arena_chunk *arena_chunk_new(const struct arena *arena, size_t size)
{
    size_t chunk_size = arena->chunk != NULL ? arena->chunk->size * 2 : first_size(arena);
    if (chunk_size > ARENA_CHUNK_MAX)
        chunk_size = ARENA_CHUNK_MAX;
    if (chunk_size < size + sizeof(struct arena_chunk))
        chunk_size = size + sizeof(struct arena_chunk);
    struct arena_chunk *chunk = account_made(ACCOUNT_ARENA, system_alloc(chunk_size, ARENA_ALIGN));
    if (chunk == NULL)
        return NULL;
    chunk->size = chunk_size;
    poison(chunk_data(chunk), chunk_room(chunk));
    return chunk;
}

static int arena_grow(struct arena *arena, size_t size)
{
    struct arena_chunk *chunk = arena_spare_take(arena, size);
    if (chunk == NULL)
        chunk = arena_chunk_new(arena, size);
    if (chunk == NULL)
        return 0;
    chunk->older = arena->chunk;
    arena->chunk = chunk;
    arena->next = chunk_data(chunk);
    arena->end = chunk_end(chunk);
    return 1;
}

void *arena__alloc_slow(struct arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size_t rounded = (size + ARENA_GAP + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (arena->chunk == NULL || rounded > (size_t)(arena->end - arena->next))
        if (!arena_grow(arena, rounded))
            return NULL;
    void *memory = arena->next;
    unpoison(memory, size);
    arena->next += rounded;
    arena->used_bytes += rounded;
    return memory;
}

void *arena_copy(struct arena *arena, const void *data, size_t size)
{
    void *memory = arena_alloc(arena, size);
    if (memory != NULL && size > 0)
        memcpy(memory, data, size);
    return memory;
}

/* Takes the newest chunk off the stack and keeps or frees it. */
static void arena_chunk_drop(struct arena *arena)
{
    struct arena_chunk *chunk = arena->chunk;
    arena->chunk = chunk->older;
    size_t keep = keep_max(arena);
    if (arena->spare_bytes > keep || chunk->size > keep - arena->spare_bytes) {
        chunk_free(chunk);
        return;
    }
    poison(chunk_data(chunk), chunk_room(chunk));
    chunk->older = arena->spare;
    arena->spare = chunk;
    arena->spare_bytes += chunk->size;
}

/* Whether the oldest chunk is to be where the next use begins. */
static bool stays(const struct arena *arena, const struct arena_chunk *chunk)
{
    size_t keep = keep_max(arena);
    return chunk->size + arena->spare_bytes <= keep &&
           (arena->profile == NULL || arena->profile->first_bytes == 0 ||
            chunk->size == arena->profile->first_bytes);
}

/* Gives back spare chunks beyond what is to be kept besides `own` bytes. */
static void spare_trim(struct arena *arena, size_t own)
{
    size_t keep = keep_max(arena);
    while (arena->spare != NULL && arena->spare_bytes + own > keep) {
        struct arena_chunk *chunk = arena->spare;
        arena->spare = chunk->older;
        arena->spare_bytes -= chunk->size;
        chunk_free(chunk);
    }
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *chunk;
    if (arena->profile != NULL) {
        profile_note(arena->profile, arena->used_bytes);
        if (arena->profile->uses == 0)
            spare_trim(arena, 0);
    }
    while ((chunk = arena->chunk) != NULL && chunk->older != NULL)
        arena_chunk_drop(arena);
    if (chunk == NULL)
        return;
    if (!stays(arena, chunk))
        spare_trim(arena, chunk->size); /* it is worth more than those that were larger */
    if (!stays(arena, chunk)) {
        arena_chunk_drop(arena);
        arena->next = arena->end = NULL;
    } else {
        arena->next = chunk_data(chunk);
        arena->end = chunk_end(chunk);
        poison(arena->next, chunk_room(chunk));
    }
    arena->used_bytes = 0;
}

size_t arena_held_bytes(const struct arena *arena)
{
    size_t bytes = arena->spare_bytes;
    for (const struct arena_chunk *chunk = arena->chunk; chunk != NULL; chunk = chunk->older)
        bytes += chunk->size;
    return bytes;
}

struct arena_mark arena_mark(const struct arena *arena)
{
    return (struct arena_mark){arena->chunk, arena->next, arena->used_bytes};
}

void arena_rewind(struct arena *arena, struct arena_mark mark)
{
    while (arena->chunk != mark.chunk)
        arena_chunk_drop(arena);
    arena->next = mark.next;
    arena->end = mark.chunk != NULL ? chunk_end(mark.chunk) : NULL;
    arena->used_bytes = mark.used_bytes;
    if (mark.chunk != NULL)
        poison(arena->next, (size_t)(arena->end - arena->next));
}
