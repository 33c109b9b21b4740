/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MEM_HEAP_H
#define MEM_HEAP_H

/*
 * Memory of the head: rows, versions, tree nodes, and its accounting.
 *
 * A heap is shared by a database; each thread allocates through a heap_cache of its own, so that the hot path touches
 * nothing shared: power-of-two-and-a-half size classes up to HEAP_SMALL_MAX bytes in free lists of the thread over slabs
 * that are mapped in 2 MiB pieces and advised huge; larger sizes go to malloc. What one thread allocates another
 * may free: it goes to the free list of the one that frees; lists that grow long are handed back to the heap in
 * batches. Sizes are given back by the caller, so there is no header. Under AddressSanitizer every
 * allocation is a malloc of its own.
 *
 * Accounting: each cache counts bytes in use; it passes on the difference to the heap's total whenever it exceeds
 * HEAP_ACCOUNT_BYTES, so the total is exact to that much a thread. heap_over_limit reads one shared word that
 * is written rarely.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEAP_SMALL_MAX = 2048, HEAP_ACCOUNT_BYTES = 65536 };

struct heap;
struct heap_cache;

/* `limit_bytes` 0 means no limit. Returns 0 or ERROR_MEMORY. */
int heap_new(size_t limit_bytes, struct heap **out);

/* Frees the heap and all slabs; all caches must be closed. */
void heap_delete(struct heap *heap);

int heap_cache_open(struct heap *heap, struct heap_cache **out);
void heap_cache_close(struct heap_cache *cache);

/* At least `size` bytes aligned to 8 (16 when size is a multiple of 16; 64 when size is a multiple of 64),
 * or NULL when the system has none. Does not look at the limit: whoever serves a request asks heap_over_limit. */
void *heap_alloc(struct heap_cache *cache, size_t size);

/* `size` is what was asked for. From any thread, through its own cache. */
void heap_free(struct heap_cache *cache, void *object, size_t size);

size_t heap_used_bytes(const struct heap *heap);
size_t heap_limit_bytes(const struct heap *heap);
void heap_limit_set(struct heap *heap, size_t limit_bytes);

/* True when more is in use than the limit allows. */
bool heap_over_limit(const struct heap *heap);

#endif
