/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MEM_HEAP_H
#define MEM_HEAP_H

/*
 * Memory of the head (rows, versions, tree nodes) and its accounting.
 *
 * A heap is shared by a database; each thread allocates through a heap_cache of its own, so that
 * the hot path touches nothing shared: size classes up to HEAP_SMALL_MAX bytes, in free lists of
 * the thread, over slabs of 2 MiB that are advised huge; larger sizes go to the system, from
 * HEAP_HUGE_MIN on as mappings of their own, which are advised huge and end when they are freed. What one
 * thread allocates another may free: it goes to the free list of the one that frees; lists that
 * grow long are handed back to the heap in batches. Sizes are given back by the caller, so objects
 * have no header. Slabs stay with the heap until it is deleted. Under AddressSanitizer every
 * allocation is one of the system's.
 *
 * Accounting: each cache counts the bytes in use (as rounded up to the class) and passes the
 * difference on to the heap's total whenever it exceeds HEAP_ACCOUNT_BYTES, so the total is exact
 * to that much a thread. heap_over_limit reads one shared line that is written rarely. What the
 * bytes are for, by enum heap_kind, is counted in the caches and summed when somebody asks.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HEAP_SMALL_MAX = 2048,
    HEAP_HUGE_MIN = 2 << 20, /* from here on an object is a mapping of its own */
    HEAP_ACCOUNT_BYTES = 65536
};

struct heap;
struct heap_cache;

/* What an object is: who frees it says the same as who made it. */
enum heap_kind {
    HEAP_OTHER,
    HEAP_ROW,        /* rows of heads: key, and where its versions are */
    HEAP_VERSION,    /* tuples, old ones and tombstones included */
    HEAP_ENTRY,      /* of secondary indexes */
    HEAP_NODE,       /* of trees */
    HEAP_DIRECTORY,  /* of hash indexes */
    HEAP_DESCRIPTOR, /* of transactions */
    HEAP_KIND_MAX
};

/* The word for a kind, as box.stat.memory shows it. */
const char *heap_kind_name(enum heap_kind kind);

/* A heap, owned by the caller. `limit_bytes` 0 means no limit. Returns 0 or ERROR_MEMORY. */
int heap_new(size_t limit_bytes, struct heap **out);

/* Frees the heap and all slabs, and with them every small object; large objects must have been
 * freed one by one, and all caches closed. NULL is allowed. */
void heap_delete(struct heap *heap);

/* A cache for one thread at a time. Returns 0 or ERROR_MEMORY. From any thread. */
int heap_cache_open(struct heap *heap, struct heap_cache **out);

/* Hands everything that is free to the heap and ends the cache; its objects in use stay valid. */
void heap_cache_close(struct heap_cache *cache);

/* At least `size` bytes aligned to 8 (16 when size is a multiple of 16; 64 when size is a multiple
 * of 64), undefined content, or NULL when the system has none. size 0 counts as 1. Does not look at
 * the limit: whoever serves a request asks heap_is_full. */
void *heap_alloc_as(struct heap_cache *cache, size_t size, enum heap_kind kind);

/* `size` and `kind` are what was asked for; `object` NULL is allowed. From any thread, through its
 * own cache. */
void heap_free_as(struct heap_cache *cache, void *object, size_t size, enum heap_kind kind);

/* The same for what has no kind of its own. */
static inline void *heap_alloc(struct heap_cache *cache, size_t size)
{
    return heap_alloc_as(cache, size, HEAP_OTHER);
}

static inline void heap_free(struct heap_cache *cache, void *object, size_t size)
{
    heap_free_as(cache, object, size, HEAP_OTHER);
}

/* Memory that somebody else has allocated is used as an object of the heap from now on (`bytes` above 0), or
 * not any more: it is counted as one. */
void heap_count_foreign(struct heap_cache *cache, enum heap_kind kind, int64_t bytes);

/* What an allocation of `size` bytes really takes: a caller may ask for, and use, as much. */
size_t heap_good_size(size_t size);

/* Bytes in use, to within HEAP_ACCOUNT_BYTES a cache; exact when all caches are closed. */
size_t heap_used_bytes(const struct heap *heap);

/* Bytes of slabs taken from the system, in use or free. */
size_t heap_mapped_bytes(const struct heap *heap);

/* Where the bytes are: exact when no cache is in use meanwhile. */
struct heap_stats {
    uint64_t used;                 /* the sum of the kinds */
    uint64_t kinds[HEAP_KIND_MAX]; /* in use */
    uint64_t large;                /* of these, in objects above HEAP_SMALL_MAX */
    uint64_t huge;                 /* of those, in mappings of their own */
    uint64_t mapped;               /* slabs */
    uint64_t free; /* of slabs what is not in use: free lists, spans, what is not cut yet */
};

/* From any thread. */
void heap_stats_get(struct heap *heap, struct heap_stats *out);

/* The limit, 0 for none; may be set at any time from any thread. */
size_t heap_limit_bytes(const struct heap *heap);
void heap_limit_set(struct heap *heap, size_t limit_bytes);

/* True when more is in use than the limit allows. */
bool heap_over_limit(const struct heap *heap);

/* Who can raise the limit, or free something, is called when a write is about to be refused, by its thread.
 * Set before others use the heap. */
void heap_relief_set(struct heap *heap, void (*relieve)(void *arg), void *arg);

/* Whether a write is to be refused: heap_over_limit, and relief has not helped. */
bool heap_is_full(struct heap *heap);

#endif
