/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Size classes, magazines of a thread, a depot of the heap: the vmem/magazine design of Bonwick and
 * Adams ("Magazines and Vmem", 2001), with magazines that are linked through the free objects
 * themselves.
 *
 *     heap_cache (one a thread)                 heap (shared, a mutex a class)
 *       class 5:  loaded  o-o-o                   class 5: full batches  o-o-o-o   o-o-o-o
 *                 spare   o-o-o-o  (full or none)          loose         o-o
 *                 span    [used|used|....]        slabs: [header|span|span|span|...] 2 MiB each
 *
 * Alloc: from the loaded list; else the spare list becomes the loaded one; else a full batch, or
 * what is loose, comes from the heap; else an object is cut from the cache's span; else the heap
 * gives a new span. Free: to the loaded list; when that is a full batch it becomes the spare one,
 * and the former spare one goes to the heap. So a thread that only frees and one that only
 * allocates meet at the mutex once a batch, and a thread that does both in turn never.
 *
 * Classes: 16, 24, 32, ... 256 in steps of 8, then eight to each doubling (288, 320, ... 512, 576,
 * ...) up to 2048: from 64 bytes on at most an eighth is lost to rounding, and of sizes that are spread
 * evenly half of that. A size that is a multiple of 16 or of 64 falls into a class that is one too, and
 * spans begin at a multiple of 64, which gives the alignment.
 *
 * Latches: a class's mutex, the slab mutex and that of the list of caches are never held together.
 */
#include "mem/heap.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/error.h"
#include "base/list.h"
#include "mem/system.h"

/* 1: every object is an allocation of the system's, which AddressSanitizer watches. */
#if defined(__SANITIZE_ADDRESS__)
#define HEAP_PLAIN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_PLAIN 1
#endif
#endif
#ifndef HEAP_PLAIN
#define HEAP_PLAIN 0
#endif

enum {
    HEAP_FINE_BITS = 8,
    HEAP_FINE_MAX = 1 << HEAP_FINE_BITS,        /* classes up to here in steps of 8, */
    HEAP_CLASS_FINE = HEAP_FINE_MAX / 8 - 1,    /* so many; */
    HEAP_CLASS_COUNT = HEAP_CLASS_FINE + 8 * 3, /* then eight for each doubling up to 2048 */
    HEAP_SLAB_BYTES = 2 << 20,
    HEAP_SPAN_BYTES = 32 << 10,
    HEAP_BATCH_BYTES = 8 << 10, /* a batch is about this much, within the two bounds */
    HEAP_BATCH_MIN = 8,
    HEAP_BATCH_MAX = 128,
};

/* A free object. The next batch is linked from the first object of a batch in the heap only. */
struct heap_object {
    struct heap_object *next;
    struct heap_object *next_batch;
};

/* Begins every slab. */
struct heap_slab {
    CACHE_ALIGNED struct heap_slab *next;
};

/* A shared class: what caches have handed back. */
struct heap_depot {
    CACHE_ALIGNED pthread_mutex_t mutex;
    struct heap_object *batches; /* each of exactly heap_batch_count objects */
    struct heap_object *loose;   /* single objects, left by caches that were closed */
};

/* Bytes in use by kind, as one cache has made and freed them: of one alone it may be negative. Its
 * thread writes, any reads. */
struct heap_counts {
    _Atomic int64_t kinds[HEAP_KIND_MAX];
    _Atomic int64_t large, huge;
};

struct heap {
    CACHE_ALIGNED _Atomic int64_t
        used_bytes; /* may be negative for a moment: caches report apart */
    _Atomic size_t limit_bytes;
    void (*relieve)(void *arg); /* or NULL */
    void *relieve_arg;
    CACHE_ALIGNED pthread_mutex_t slab_mutex;
    struct heap_slab *slabs;
    char *slab_next, *slab_end; /* part of the newest slab that is not yet given out as spans */
    _Atomic size_t mapped_bytes;
    _Atomic unsigned cache_count;
    pthread_mutex_t caches_mutex; /* of what follows; nothing is locked inside */
    struct list caches;
    struct heap_counts closed; /* of caches that are no more */
    struct heap_depot depots[HEAP_CLASS_COUNT];
};

/* A class of one thread. */
struct heap_bin {
    struct heap_object *loaded;
    unsigned loaded_count;
    unsigned batch_count;
    unsigned size;             /* of an object */
    struct heap_object *spare; /* NULL or a full batch */
    char *span_next, *span_end;
};

struct heap_cache {
    CACHE_ALIGNED struct heap *heap;
    int64_t unreported_bytes;
    struct heap_counts counts;
    struct list link;
    struct heap_bin bins[HEAP_CLASS_COUNT];
};

/* ---- classes, by their number (`kind`) */

static inline unsigned class_of(size_t size)
{
    if (size <= HEAP_FINE_MAX)
        return size <= 16 ? 0 : (unsigned)((size + 7) / 8 - 2);
    unsigned top = 63 - (unsigned)__builtin_clzll(size - 1);
    return HEAP_CLASS_FINE + (top - HEAP_FINE_BITS) * 8 + (unsigned)(((size - 1) >> (top - 3)) & 7);
}

static inline size_t class_size(unsigned kind)
{
    if (kind < HEAP_CLASS_FINE)
        return 16 + 8 * (size_t)kind;
    unsigned doubling = (kind - HEAP_CLASS_FINE) / 8;
    unsigned step = (kind - HEAP_CLASS_FINE) % 8 + 1;
    return ((size_t)HEAP_FINE_MAX << doubling) + step * ((size_t)HEAP_FINE_MAX / 8 << doubling);
}

static unsigned class_batch_count(unsigned kind)
{
    size_t count = HEAP_BATCH_BYTES / class_size(kind);
    if (count > HEAP_BATCH_MAX)
        return HEAP_BATCH_MAX;
    return count < HEAP_BATCH_MIN ? HEAP_BATCH_MIN : (unsigned)count;
}

size_t heap_good_size(size_t size)
{
    if (HEAP_PLAIN || size > HEAP_SMALL_MAX)
        return size == 0 ? 1 : size;
    return class_size(class_of(size));
}

/* ---- the heap */

static void heap_mutexes_create(struct heap *heap)
{
    pthread_mutex_init(&heap->slab_mutex, NULL);
    pthread_mutex_init(&heap->caches_mutex, NULL);
    list_create(&heap->caches);
    for (unsigned kind = 0; kind < HEAP_CLASS_COUNT; kind++)
        pthread_mutex_init(&heap->depots[kind].mutex, NULL);
}

int heap_new(size_t limit_bytes, struct heap **out)
{
    struct heap *heap = system_alloc(sizeof(*heap), CACHE_LINE_SIZE);
    if (heap == NULL)
        return ERROR_MEMORY;
    memset(heap, 0, sizeof(*heap));
    atomic_init(&heap->used_bytes, 0);
    atomic_init(&heap->limit_bytes, limit_bytes);
    atomic_init(&heap->mapped_bytes, 0);
    atomic_init(&heap->cache_count, 0);
    heap_mutexes_create(heap);
    *out = heap;
    return 0;
}

void heap_delete(struct heap *heap)
{
    if (heap == NULL)
        return;
    ASSERT(load_acquire(&heap->cache_count) == 0);
    while (heap->slabs != NULL) {
        struct heap_slab *next = heap->slabs->next;
        system_unmap(heap->slabs, HEAP_SLAB_BYTES);
        heap->slabs = next;
    }
    pthread_mutex_destroy(&heap->slab_mutex);
    pthread_mutex_destroy(&heap->caches_mutex);
    for (unsigned kind = 0; kind < HEAP_CLASS_COUNT; kind++)
        pthread_mutex_destroy(&heap->depots[kind].mutex);
    system_free(heap);
}

/* Maps one more slab; the slab mutex is held. */
static bool heap_slab_add(struct heap *heap)
{
    struct heap_slab *slab = system_map(HEAP_SLAB_BYTES);
    if (slab == NULL)
        return false;
    slab->next = heap->slabs;
    heap->slabs = slab;
    heap->slab_next = (char *)(slab + 1);
    heap->slab_end = (char *)slab + HEAP_SLAB_BYTES;
    atomic_fetch_add_explicit(&heap->mapped_bytes, HEAP_SLAB_BYTES, memory_order_relaxed);
    return true;
}

/* Gives the bin a new span; what was left of the old one is less than an object. */
static bool heap_span_take(struct heap *heap, struct heap_bin *bin)
{
    pthread_mutex_lock(&heap->slab_mutex);
    bool found = heap->slab_next < heap->slab_end || heap_slab_add(heap);
    if (found) {
        size_t left = (size_t)(heap->slab_end - heap->slab_next);
        size_t size = left < HEAP_SPAN_BYTES ? left : HEAP_SPAN_BYTES;
        bin->span_next = heap->slab_next;
        bin->span_end = heap->slab_next + size;
        heap->slab_next += size;
    }
    pthread_mutex_unlock(&heap->slab_mutex);
    return found;
}

static void depot_put_batch(struct heap_depot *depot, struct heap_object *batch)
{
    pthread_mutex_lock(&depot->mutex);
    batch->next_batch = depot->batches;
    depot->batches = batch;
    pthread_mutex_unlock(&depot->mutex);
}

static void depot_put_loose(struct heap_depot *depot, struct heap_object *object)
{
    pthread_mutex_lock(&depot->mutex);
    while (object != NULL) {
        struct heap_object *next = object->next;
        object->next = depot->loose;
        depot->loose = object;
        object = next;
    }
    pthread_mutex_unlock(&depot->mutex);
}

/* Loads the empty bin with a batch, or with what is loose, up to a batch; false when there is
 * neither. */
static bool depot_take(struct heap_depot *depot, struct heap_bin *bin)
{
    pthread_mutex_lock(&depot->mutex);
    if (depot->batches != NULL) {
        bin->loaded = depot->batches;
        bin->loaded_count = bin->batch_count;
        depot->batches = bin->loaded->next_batch;
    }
    while (bin->loaded_count < bin->batch_count && depot->loose != NULL) {
        struct heap_object *object = depot->loose;
        depot->loose = object->next;
        object->next = bin->loaded;
        bin->loaded = object;
        bin->loaded_count++;
    }
    pthread_mutex_unlock(&depot->mutex);
    return bin->loaded != NULL;
}

/* ---- accounting */

static void cache_report(struct heap_cache *cache)
{
    atomic_fetch_add_explicit(&cache->heap->used_bytes, cache->unreported_bytes,
                              memory_order_relaxed);
    cache->unreported_bytes = 0;
}

static inline void counter_add(_Atomic int64_t *counter, int64_t bytes)
{
    store_relaxed(counter, load_relaxed(counter) + bytes);
}

static inline void cache_count(struct heap_cache *cache, enum heap_kind kind, int64_t bytes)
{
    counter_add(&cache->counts.kinds[kind], bytes);
    cache->unreported_bytes += bytes;
    if (__builtin_expect(cache->unreported_bytes > HEAP_ACCOUNT_BYTES ||
                             cache->unreported_bytes < -HEAP_ACCOUNT_BYTES,
                         0))
        cache_report(cache);
}

/* ---- a cache */

int heap_cache_open(struct heap *heap, struct heap_cache **out)
{
    struct heap_cache *cache = system_alloc(sizeof(*cache), CACHE_LINE_SIZE);
    if (cache == NULL)
        return ERROR_MEMORY;
    memset(cache, 0, sizeof(*cache));
    cache->heap = heap;
    for (unsigned kind = 0; kind < HEAP_CLASS_COUNT; kind++) {
        cache->bins[kind].size = (unsigned)class_size(kind);
        cache->bins[kind].batch_count = class_batch_count(kind);
    }
    atomic_fetch_add_explicit(&heap->cache_count, 1, memory_order_relaxed);
    pthread_mutex_lock(&heap->caches_mutex);
    list_add_tail(&heap->caches, &cache->link);
    pthread_mutex_unlock(&heap->caches_mutex);
    *out = cache;
    return 0;
}

/* Makes single objects of what is left of the bin's span. */
static void bin_span_empty(struct heap_bin *bin)
{
    size_t size = bin->size;
    while ((size_t)(bin->span_end - bin->span_next) >= size) {
        struct heap_object *object = (void *)bin->span_next;
        bin->span_next += size;
        object->next = bin->loaded;
        bin->loaded = object;
    }
}

static void counts_add(struct heap_counts *sum, const struct heap_counts *counts)
{
    for (unsigned kind = 0; kind < HEAP_KIND_MAX; kind++)
        counter_add(&sum->kinds[kind], load_relaxed(&counts->kinds[kind]));
    counter_add(&sum->large, load_relaxed(&counts->large));
    counter_add(&sum->huge, load_relaxed(&counts->huge));
}

void heap_cache_close(struct heap_cache *cache)
{
    struct heap *heap = cache->heap;
    cache_report(cache);
    pthread_mutex_lock(&heap->caches_mutex);
    list_remove(&cache->link);
    counts_add(&heap->closed, &cache->counts);
    pthread_mutex_unlock(&heap->caches_mutex);
    for (unsigned kind = 0; kind < HEAP_CLASS_COUNT; kind++) {
        struct heap_bin *bin = &cache->bins[kind];
        bin_span_empty(bin);
        if (bin->spare != NULL)
            depot_put_batch(&heap->depots[kind], bin->spare);
        if (bin->loaded != NULL)
            depot_put_loose(&heap->depots[kind], bin->loaded);
    }
    system_free(cache);
    atomic_fetch_sub_explicit(&heap->cache_count, 1, memory_order_release);
}

/* An object for a bin whose loaded list is empty. */
static void *bin_alloc_slow(struct heap_cache *cache, struct heap_bin *bin, unsigned kind)
{
    size_t size = bin->size;
    if (bin->spare != NULL) {
        bin->loaded = bin->spare;
        bin->loaded_count = bin->batch_count;
        bin->spare = NULL;
    } else if ((size_t)(bin->span_end - bin->span_next) >= size ||
               (!depot_take(&cache->heap->depots[kind], bin) && heap_span_take(cache->heap, bin))) {
        void *object = bin->span_next;
        bin->span_next += size;
        return object;
    }
    struct heap_object *object = bin->loaded;
    if (object == NULL)
        return NULL;
    ASSERT(bin->loaded_count > 0 && bin->loaded_count <= bin->batch_count);
    bin->loaded = object->next;
    bin->loaded_count--;
    return object;
}

static inline bool is_huge(size_t size)
{
    return !HEAP_PLAIN && size >= HEAP_HUGE_MIN;
}

static void *large_alloc(struct heap_cache *cache, size_t size, enum heap_kind use)
{
    bool huge = is_huge(size);
    void *object = huge ? system_map_large(size) : system_alloc(size, size % 64 == 0 ? 64 : 16);
    if (object == NULL)
        return NULL;
    counter_add(&cache->counts.large, (int64_t)size);
    if (huge)
        counter_add(&cache->counts.huge, (int64_t)size);
    cache_count(cache, use, (int64_t)size);
    return object;
}

void heap_count_foreign(struct heap_cache *cache, enum heap_kind use, int64_t bytes)
{
    counter_add(&cache->counts.large, bytes);
    if (is_huge((size_t)(bytes < 0 ? -bytes : bytes)))
        counter_add(&cache->counts.huge, bytes);
    cache_count(cache, use, bytes);
}

void *heap_alloc_as(struct heap_cache *cache, size_t size, enum heap_kind use)
{
    if (HEAP_PLAIN || size > HEAP_SMALL_MAX)
        return large_alloc(cache, size == 0 ? 1 : size, use);
    unsigned kind = class_of(size);
    struct heap_bin *bin = &cache->bins[kind];
    void *object = bin->loaded;
    if (__builtin_expect(object != NULL, 1)) {
        bin->loaded = bin->loaded->next;
        bin->loaded_count--;
        __builtin_prefetch(bin->loaded, 1); /* freed some time ago: it is not in the cache */
    } else {
        object = bin_alloc_slow(cache, bin, kind);
        if (object == NULL)
            return NULL;
    }
    cache_count(cache, use, (int64_t)bin->size);
    return object;
}

static void large_free(struct heap_cache *cache, void *object, size_t size, enum heap_kind use)
{
    /* AddressSanitizer knows what was asked for: a wrong size is found where it is given. */
    ASSERT(!HEAP_PLAIN || malloc_usable_size(object) == size);
    if (is_huge(size)) {
        system_unmap_large(object, size);
        counter_add(&cache->counts.huge, -(int64_t)size);
    } else {
        system_free(object);
    }
    counter_add(&cache->counts.large, -(int64_t)size);
    cache_count(cache, use, -(int64_t)size);
}

/* Makes room in a bin whose loaded list is a full batch. */
static void bin_hand_over(struct heap_cache *cache, struct heap_bin *bin, unsigned kind)
{
    if (bin->spare != NULL)
        depot_put_batch(&cache->heap->depots[kind], bin->spare);
    bin->spare = bin->loaded;
    bin->loaded = NULL;
    bin->loaded_count = 0;
}

void heap_free_as(struct heap_cache *cache, void *object, size_t size, enum heap_kind use)
{
    if (object == NULL)
        return;
    if (HEAP_PLAIN || size > HEAP_SMALL_MAX) {
        large_free(cache, object, size == 0 ? 1 : size, use);
        return;
    }
    unsigned kind = class_of(size);
    struct heap_bin *bin = &cache->bins[kind];
    if (bin->loaded_count == bin->batch_count)
        bin_hand_over(cache, bin, kind);
    struct heap_object *freed = object;
    freed->next = bin->loaded;
    bin->loaded = freed;
    bin->loaded_count++;
    cache_count(cache, use, -(int64_t)bin->size);
}

/* ---- what the heap says of itself */

size_t heap_used_bytes(const struct heap *heap)
{
    int64_t used = load_relaxed(&heap->used_bytes);
    return used > 0 ? (size_t)used : 0;
}

size_t heap_mapped_bytes(const struct heap *heap)
{
    return load_relaxed(&heap->mapped_bytes);
}

const char *heap_kind_name(enum heap_kind kind)
{
    static const char *const NAMES[] = {"other", "rows",        "versions",   "entries",
                                        "nodes", "directories", "descriptors"};
    _Static_assert(sizeof NAMES / sizeof *NAMES == HEAP_KIND_MAX, "each kind has a name");
    return NAMES[kind];
}

void heap_stats_get(struct heap *heap, struct heap_stats *out)
{
    struct heap_counts sum;
    memset(&sum, 0, sizeof sum);
    pthread_mutex_lock(&heap->caches_mutex);
    counts_add(&sum, &heap->closed);
    for (struct list *at = heap->caches.next; at != &heap->caches; at = at->next)
        counts_add(&sum, &list_entry(at, struct heap_cache, link)->counts);
    pthread_mutex_unlock(&heap->caches_mutex);
    memset(out, 0, sizeof *out);
    for (unsigned kind = 0; kind < HEAP_KIND_MAX; kind++) {
        int64_t bytes = load_relaxed(&sum.kinds[kind]);
        out->kinds[kind] = bytes > 0 ? (uint64_t)bytes : 0;
        out->used += out->kinds[kind];
    }
    int64_t large = load_relaxed(&sum.large);
    out->large = large > 0 ? (uint64_t)large : 0;
    out->mapped = heap_mapped_bytes(heap);
    int64_t huge = load_relaxed(&sum.huge);
    out->huge = huge > 0 ? (uint64_t)huge : 0;
    uint64_t small = out->used > out->large ? out->used - out->large : 0;
    out->free = out->mapped > small ? out->mapped - small : 0;
}

size_t heap_limit_bytes(const struct heap *heap)
{
    return load_relaxed(&heap->limit_bytes);
}

void heap_limit_set(struct heap *heap, size_t limit_bytes)
{
    store_relaxed(&heap->limit_bytes, limit_bytes);
}

bool heap_over_limit(const struct heap *heap)
{
    size_t limit = heap_limit_bytes(heap);
    return limit > 0 && heap_used_bytes(heap) > limit;
}

void heap_relief_set(struct heap *heap, void (*relieve)(void *arg), void *arg)
{
    heap->relieve = relieve;
    heap->relieve_arg = arg;
}

bool heap_is_full(struct heap *heap)
{
    if (!heap_over_limit(heap))
        return false;
    if (heap->relieve == NULL)
        return true;
    heap->relieve(heap->relieve_arg);
    return heap_over_limit(heap);
}
