/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MEM_ARENA_H
#define MEM_ARENA_H

/*
 * A region for everything that one request or one transaction allocates: allocation moves a
 * pointer, and all of it goes at once by arena_reset, which keeps up to `keep_bytes_max` of chunks
 * for the next use. One thread at a time.
 *
 * An arena may have a profile, which learns from each reset how much is used: then its first chunk is so
 * large that nearly all uses fit into it, and what is kept is what they need, not what the largest ever
 * needed. A use that fits into the first chunk costs two moves of a pointer, and its reset one.
 */
#include <stddef.h>
#include <stdint.h>

struct arena_chunk;

enum { ARENA_CLASSES = 16, ARENA_PROFILE_EVERY = 256 };

/*
 * What arenas of one purpose were used for: how many uses took up to 4 KB, 8 KB, .. 128 MB. Shared by
 * arenas of one thread, outlives them; all zeros has learnt nothing. Each ARENA_PROFILE_EVERY uses it
 * draws its conclusions and halves what it has counted, so that it follows when uses change.
 */
struct arena_profile {
    uint32_t counts[ARENA_CLASSES];
    uint32_t uses;      /* since the last conclusions */
    size_t first_bytes; /* of a first chunk: 15 uses of 16 fit into it; 0: as without a profile */
    size_t keep_bytes;  /* 255 of 256 need no more */
};

/* Fields are the arena's own; they are here so that arena_alloc can be inline. */
struct arena {
    struct arena_chunk *chunk; /* newest first */
    char *next, *end;          /* free part of the newest chunk */
    size_t used_bytes;         /* handed out since the last reset, rounded up */
    size_t keep_bytes_max;
    struct arena_profile *profile; /* or NULL */
    struct arena_chunk *spare;     /* empty chunks kept for later */
    size_t spare_bytes;
};

/* A position to which arena_rewind returns: what was allocated later is gone, what was allocated
 * before stays. */
struct arena_mark {
    struct arena_chunk *chunk;
    char *next;
    size_t used_bytes;
};

/* An empty arena, which allocates nothing until it is used. */
void arena_create(struct arena *arena, size_t keep_bytes_max);

/* The same with a profile, which never makes it keep more than keep_bytes_max. */
void arena_create_profiled(struct arena *arena, size_t keep_bytes_max,
                           struct arena_profile *profile);

/* Frees everything, also what was kept. What was used of it counts for the profile. */
void arena_destroy(struct arena *arena);

/* Memory aligned to 16 bytes, undefined content, valid until reset (or a rewind behind it). NULL
 * when memory is out. size 0 gives a valid pointer. */
static inline void *arena_alloc(struct arena *arena, size_t size);

/* A copy of `size` bytes in the arena, or NULL. */
void *arena_copy(struct arena *arena, const void *data, size_t size);

/* Takes back everything that was allocated. */
void arena_reset(struct arena *arena);

/* Bytes of chunks that it has, in use or kept. */
size_t arena_held_bytes(const struct arena *arena);

/* The present position, valid until a reset or a rewind to an older one. */
struct arena_mark arena_mark(const struct arena *arena);
void arena_rewind(struct arena *arena, struct arena_mark mark);

/* What arena_alloc does when the newest chunk has no room. */
void *arena__alloc_slow(struct arena *arena, size_t size);

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif
#ifndef ARENA_POISONS
#define ARENA_POISONS 0
#endif

static inline void *arena_alloc(struct arena *arena, size_t size)
{
    /* Under AddressSanitizer all goes the slow way, which leaves a gap that nobody may touch. */
    if (ARENA_POISONS || size >= (size_t)(arena->end - arena->next))
        return arena__alloc_slow(arena, size);
    /* Chunks end at multiples of 16, so rounding up stays inside. */
    size_t rounded = (size + 15) & ~(size_t)15;
    void *memory = arena->next;
    arena->next += rounded;
    arena->used_bytes += rounded;
    return memory;
}

#endif
