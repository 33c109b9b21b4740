/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What memory costs: a small transaction's arena, objects of the heap beside malloc, huge objects.
 *
 * bench_mem
 */
#include "bench.h"

#include "base/random.h"
#include "mem/account.h"
#include "mem/arena.h"
#include "mem/heap.h"

enum { USES = 2000000, PIECES = 6, PIECE_BYTES = 120, OBJECTS = 100000, ROUNDS = 40, HUGES = 200 };

/* Six pieces and a reset, as a transaction of one statement has. */
static void arena_cycles(const char *name, struct arena_profile *profile, size_t pieces)
{
    struct arena arena;
    arena_create_profiled(&arena, 1 << 20, profile);
    double start = bench_cpu_ns();
    for (unsigned use = 0; use < USES / pieces * PIECES; use++) {
        for (size_t i = 0; i < pieces; i++)
            *(volatile char *)arena_alloc(&arena, PIECE_BYTES) = 1;
        arena_reset(&arena);
    }
    bench_print(name, start, USES / pieces * PIECES);
    arena_destroy(&arena);
}

/* Those of interactive transactions are made and destroyed each time. */
static void arena_lives(const char *name, struct arena_profile *profile)
{
    double start = bench_cpu_ns();
    for (unsigned use = 0; use < USES / 10; use++) {
        struct arena arena;
        arena_create_profiled(&arena, 1 << 12, profile);
        for (size_t i = 0; i < 20 * PIECES; i++)
            *(volatile char *)arena_alloc(&arena, PIECE_BYTES) = 1;
        arena_destroy(&arena);
    }
    bench_print(name, start, USES / 10);
}

static void *objects[OBJECTS];
static unsigned char sizes[OBJECTS]; /* by 8, so that kinds of sizes change at random */

static void heap_cycles(struct heap_cache *cache)
{
    double start = bench_cpu_ns();
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < OBJECTS; i++)
            *(volatile char *)(objects[i] = heap_alloc_as(cache, 8u * sizes[i], HEAP_ROW)) = 1;
        for (unsigned i = 0; i < OBJECTS; i++)
            heap_free_as(cache, objects[i], 8u * sizes[i], HEAP_ROW);
    }
    bench_print("heap: an object of 64 to 256 bytes", start, (uint64_t)ROUNDS * OBJECTS);
}

static void malloc_cycles(void)
{
    double start = bench_cpu_ns();
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < OBJECTS; i++)
            *(volatile char *)(objects[i] = malloc(8u * sizes[i])) = 1;
        for (unsigned i = 0; i < OBJECTS; i++)
            free(objects[i]);
    }
    bench_print("malloc: the same", start, (uint64_t)ROUNDS * OBJECTS);
}

static void huge_cycles(struct heap_cache *cache)
{
    enum { BYTES = 16 << 20 };
    double start = bench_cpu_ns();
    for (unsigned i = 0; i < HUGES; i++) {
        char *object = heap_alloc(cache, BYTES);
        for (size_t at = 0; at < BYTES; at += 4096)
            ((volatile char *)object)[at] = 1;
        heap_free(cache, object, BYTES);
    }
    bench_print("heap: 16 MB, each page touched", start, HUGES);
}

static void account_cycles(void)
{
    double start = bench_cpu_ns();
    for (unsigned i = 0; i < USES; i++)
        account_add(ACCOUNT_CACHE, i & 1 ? -64 : 64);
    bench_print("account: an addition", start, USES);
}

int main(void)
{
    struct arena_profile none = {.uses = 0}, learnt = {.uses = 0}, large = {.uses = 0};
    struct heap *heap;
    struct heap_cache *cache;
    struct random random;
    arena_cycles("arena: 6 pieces and a reset", NULL, PIECES);
    arena_cycles("arena: the same, with a profile", &learnt, PIECES);
    arena_cycles("arena: 600 pieces and a reset", NULL, 100 * PIECES);
    arena_cycles("arena: the same, with a profile", &large, 100 * PIECES);
    arena_lives("arena: made, 120 pieces, destroyed", NULL);
    arena_lives("arena: the same, with a profile", &none);
    bench_check(heap_new(0, &heap), "heap");
    bench_check(heap_cache_open(heap, &cache), "cache");
    random_create(&random, 1);
    for (unsigned i = 0; i < OBJECTS; i++)
        sizes[i] = (unsigned char)(8 + random_below(&random, 25));
    heap_cycles(cache);
    malloc_cycles();
    huge_cycles(cache);
    account_cycles();
    heap_cache_close(cache);
    heap_delete(heap);
    return 0;
}
