/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MEM_ARENA_H
#define MEM_ARENA_H

/*
 * A region for everything that one request or one transaction allocates: allocation moves a pointer, and all
 * of it goes at once by arena_reset, which keeps up to `keep_bytes_max` of chunks for the next use. One thread at a time.
 */
#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunk;  /* newest first */
    char *next, *end;           /* free part of the newest chunk */
    size_t used_bytes;          /* handed out since the last reset */
    size_t keep_bytes_max;
};

/* A position to which arena_rewind returns: what was allocated later is gone, what was allocated before stays. */
struct arena_mark {
    struct arena_chunk *chunk;
    char *next;
    size_t used_bytes;
};

void arena_create(struct arena *arena, size_t keep_bytes_max);
void arena_destroy(struct arena *arena);

/* Memory aligned to 16 bytes, undefined content, valid until reset (or a rewind behind it). NULL when memory is out.
 * size 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t size);

/* A copy of `size` bytes in the arena, or NULL. */
void *arena_copy(struct arena *arena, const void *data, size_t size);

void arena_reset(struct arena *arena);
struct arena_mark arena_mark(const struct arena *arena);
void arena_rewind(struct arena *arena, struct arena_mark mark);

#endif
