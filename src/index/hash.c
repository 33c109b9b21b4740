/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A directory of hashed keys; hash.h says what it is for.
 *
 *      roots[r] ──► 2^r chunk pointers ──► chunk: 256 buckets ──► bucket ──overflow──► bucket
 *
 * There are `count` buckets, 2^level <= count < 2^(level+1). A code belongs to the bucket that its
 * low level + 1 bits number, or where there is none yet, its low level bits. When an insertion finds
 * its bucket full, the directory grows by one bucket: the next in turn is split in two. Chunks are
 * allocated one at a time, so growing never costs more than 32 KiB at once, and nothing is moved but
 * the items of one bucket.
 *
 * A bucket:
 *      latch  4  held by who changes it, never by readers
 *      tags  16  twelve bytes, one a place: 0 free, else the high bits of the code with the lowest
 *                set; read as two words
 *      overflow  the next bucket of a full one
 *      items     twelve pointers
 *
 * Memory ordering. Readers latch nothing and write nothing.
 *      items[i]  stored by release before its tag, loaded by acquire: who has the pointer sees the
 *                item
 *      tags      stored by release, loaded by acquire: who sees the tag sees its item or a later one
 *                of that place; any item found in a place is one of the directory, and its key is
 *                compared
 *      count     stored by release when a split has filled its new bucket and before it takes the
 *                items out of the old one; a reader that misses loads it again (acquire): had it come
 *                to a place from which an item was taken out, it sees the new count, and looks there
 *      overflow  stored by release when the new bucket is filled, loaded by acquire
 *      latch     acquire and release; under it the other words may be read relaxed. Who latches a
 *                bucket looks at `count` again, for a split changes it under that latch.
 * A split latches the old bucket; the new one nobody can reach before `count` says so. Splits are one
 * at a time, by a latch that is only tried: who finds it taken leaves the growing to the other. A
 * bucket of an overflow chain that has become empty in a split is unlinked and retired.
 */
#include "index/hash.h"

#include <string.h>

#include "base/error.h"

enum { PLACES = 12, CHUNK_BUCKETS = 256, ROOTS = 32 };

struct bucket {
    _Atomic uint32_t latch;
    uint32_t unused;
    _Atomic uint64_t tags[2];
    struct bucket *_Atomic overflow;
    struct item *_Atomic items[PLACES];
};

_Static_assert(sizeof(struct bucket) == 2 * CACHE_LINE_SIZE, "a bucket fills two lines");

struct chunk {
    struct bucket buckets[CHUNK_BUCKETS];
};

struct root {
    uint64_t unused;
    struct chunk *_Atomic chunks[];
};

struct hash {
    uint32_t (*size_of)(const struct item *item);
    uint64_t seed;
    struct root *_Atomic roots[ROOTS];
    CACHE_ALIGNED _Atomic uint64_t count; /* of buckets */
    _Atomic uint32_t splitting;
    _Atomic uint64_t bytes;
};

/* ---- codes ---- */

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Folded multiplication of eight bytes at a time, after wyhash (Wang Yi). */
uint64_t hash_of(const struct hash *hash, const void *key, size_t size)
{
    const unsigned char *at = key;
    uint64_t code =
        hash->seed ^ fold(size ^ UINT64_C(0xa0761d6478bd642f), UINT64_C(0xe7037ed1a0b428db));
    uint64_t word;
    for (; size >= 8; at += 8, size -= 8) {
        memcpy(&word, at, 8);
        code = fold(code ^ word, UINT64_C(0x8ebc6af09c88c6e3));
    }
    word = 0;
    memcpy(&word, at, size);
    return fold(code ^ word, UINT64_C(0x589965cc75374cc3));
}

static uint8_t tag_of(uint64_t code)
{
    return (uint8_t)(code >> 56 | 1);
}

static uint32_t item_size(const struct hash *hash, const struct item *item)
{
    return hash->size_of == NULL ? item->key_size : hash->size_of(item);
}

static uint64_t item_code(const struct hash *hash, const struct item *item)
{
    return hash_of(hash, item->key, item_size(hash, item));
}

/* ---- places of buckets ---- */

static uint64_t number_of(uint64_t code, uint64_t count)
{
    unsigned level = 63 - (unsigned)__builtin_clzll(count);
    uint64_t number = code & ((UINT64_C(2) << level) - 1);
    return number < count ? number : code & ((UINT64_C(1) << level) - 1);
}

/* Chunk c stands in root r at c + 1 - 2^r, with 2^r <= c + 1 < 2^(r+1). */
static unsigned root_of(uint64_t chunk)
{
    return 63 - (unsigned)__builtin_clzll(chunk + 1);
}

static struct bucket *bucket_at(const struct hash *hash, uint64_t number)
{
    uint64_t n = number / CHUNK_BUCKETS;
    unsigned r = root_of(n);
    struct root *root = load_acquire(&hash->roots[r]);
    struct chunk *chunk = load_acquire(&root->chunks[n + 1 - (UINT64_C(1) << r)]);
    return &chunk->buckets[number % CHUNK_BUCKETS];
}

static size_t root_size(unsigned r)
{
    return sizeof(struct root) + (sizeof(struct chunk *) << r);
}

static void *zeroed(struct hash *hash, struct tree_thread *thread, size_t size)
{
    void *memory = heap_alloc_as(thread->heap, size, HEAP_DIRECTORY);
    if (memory == NULL)
        return NULL;
    memset(memory, 0, size);
    atomic_fetch_add_explicit(&hash->bytes, size, memory_order_relaxed);
    return memory;
}

/* Makes sure that there is a place for the bucket; by who holds `splitting`. */
static bool place_make(struct hash *hash, struct tree_thread *thread, uint64_t number)
{
    uint64_t n = number / CHUNK_BUCKETS;
    unsigned r = root_of(n);
    if (r >= ROOTS)
        return false;
    struct root *root = load_relaxed(&hash->roots[r]);
    if (root == NULL) {
        root = zeroed(hash, thread, root_size(r));
        if (root == NULL)
            return false;
        store_release(&hash->roots[r], root);
    }
    struct chunk *_Atomic *slot = &root->chunks[n + 1 - (UINT64_C(1) << r)];
    if (load_relaxed(slot) != NULL)
        return true;
    struct chunk *chunk = zeroed(hash, thread, sizeof *chunk);
    store_release(slot, chunk);
    return chunk != NULL;
}

int hash_new(struct tree_thread *thread, uint32_t (*size_of)(const struct item *item),
             struct hash **out)
{
    struct hash *hash = heap_alloc_as(thread->heap, sizeof *hash, HEAP_DIRECTORY);
    if (hash == NULL)
        return ERROR_MEMORY;
    memset(hash, 0, sizeof *hash);
    hash->size_of = size_of;
    hash->seed = (uintptr_t)hash * UINT64_C(0x9e3779b97f4a7c15);
    if (!place_make(hash, thread, 0)) {
        heap_free_as(thread->heap, load_relaxed(&hash->roots[0]), root_size(0), HEAP_DIRECTORY);
        heap_free_as(thread->heap, hash, sizeof *hash, HEAP_DIRECTORY);
        return ERROR_MEMORY;
    }
    store_release(&hash->count, 1);
    *out = hash;
    return 0;
}

static void chunk_delete(struct chunk *chunk, struct tree_thread *thread)
{
    for (unsigned i = 0; i < CHUNK_BUCKETS; i++)
        for (struct bucket *next, *bucket = load_relaxed(&chunk->buckets[i].overflow);
             bucket != NULL; bucket = next) {
            next = load_relaxed(&bucket->overflow);
            heap_free_as(thread->heap, bucket, sizeof *bucket, HEAP_DIRECTORY);
        }
    heap_free_as(thread->heap, chunk, sizeof *chunk, HEAP_DIRECTORY);
}

void hash_delete(struct hash *hash, struct tree_thread *thread)
{
    for (unsigned r = 0; r < ROOTS; r++) {
        struct root *root = load_acquire(&hash->roots[r]);
        for (uint64_t i = 0; root != NULL && i < UINT64_C(1) << r; i++)
            if (load_acquire(&root->chunks[i]) != NULL)
                chunk_delete(load_acquire(&root->chunks[i]), thread);
        heap_free_as(thread->heap, root, root_size(r), HEAP_DIRECTORY);
    }
    heap_free_as(thread->heap, hash, sizeof *hash, HEAP_DIRECTORY);
}

/* ---- one bucket ---- */

static uint8_t tag_get(const struct bucket *bucket, unsigned place)
{
    return (uint8_t)(load_relaxed(&bucket->tags[place / 8]) >> place % 8 * 8);
}

/* Under the latch. */
static void place_set(struct bucket *bucket, unsigned place, struct item *item, uint8_t tag)
{
    _Atomic uint64_t *word = &bucket->tags[place / 8];
    unsigned shift = place % 8 * 8;
    uint64_t tags = (load_relaxed(word) & ~(UINT64_C(0xff) << shift)) | (uint64_t)tag << shift;
    if (item != NULL)
        store_release(&bucket->items[place], item);
    store_release(word, tags);
    if (item == NULL)
        store_release(&bucket->items[place], NULL);
}

/* The bytes of a word that are equal to the tag, as their highest bits; a byte above an equal one may
 * be named by mistake. */
static uint64_t equal_bytes(uint64_t word, uint8_t tag)
{
    uint64_t x = word ^ tag * UINT64_C(0x0101010101010101);
    return (x - UINT64_C(0x0101010101010101)) & ~x & UINT64_C(0x8080808080808080);
}

static bool key_is(const struct hash *hash, const struct item *item, const void *key, size_t size)
{
    return item->key_size >= size && item_size(hash, item) == size &&
           memcmp(item->key, key, size) == 0;
}

/* What is being looked for. */
struct probe {
    const struct hash *hash;
    const void *key;
    size_t size;
    uint8_t tag;
    bool (*accept)(struct item *item, void *arg);
    void *arg;
};

static struct item *bucket_find(const struct bucket *bucket, const struct probe *probe)
{
    for (unsigned word = 0; word < 2; word++) {
        uint64_t equal = equal_bytes(load_acquire(&bucket->tags[word]), probe->tag);
        for (; equal != 0; equal &= equal - 1) {
            unsigned place = word * 8 + (unsigned)__builtin_ctzll(equal) / 8;
            struct item *item = place < PLACES ? load_acquire(&bucket->items[place]) : NULL;
            if (item != NULL && key_is(probe->hash, item, probe->key, probe->size) &&
                (probe->accept == NULL || probe->accept(item, probe->arg)))
                return item;
        }
    }
    return NULL;
}

struct item *hash_find(const struct hash *hash, uint64_t code, const void *key, size_t size,
                       bool (*accept)(struct item *item, void *arg), void *arg)
{
    struct probe probe = {hash, key, size, tag_of(code), accept, arg};
    uint64_t count = load_acquire(&hash->count);
    for (;;) {
        uint64_t number = number_of(code, count);
        for (const struct bucket *bucket = bucket_at(hash, number); bucket != NULL;
             bucket = load_acquire(&bucket->overflow)) {
            struct item *item = bucket_find(bucket, &probe);
            if (item != NULL)
                return item;
        }
        count = load_acquire(&hash->count);
        if (number_of(code, count) == number)
            return NULL;
    }
}

void hash_prefetch(const struct hash *hash, uint64_t code)
{
    const char *bucket = (const char *)bucket_at(hash, number_of(code, load_acquire(&hash->count)));
    __builtin_prefetch(bucket);
    __builtin_prefetch(bucket + CACHE_LINE_SIZE);
}

/* ---- changing ---- */

static void latch(struct bucket *bucket)
{
    unsigned turn = 0;
    uint32_t open = 0;
    while (!atomic_compare_exchange_weak_explicit(&bucket->latch, &open, 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
        open = 0;
        spin_wait(&turn);
    }
}

static void unlatch(struct bucket *bucket)
{
    store_release(&bucket->latch, 0);
}

/* Latches the bucket that the code belongs to. */
static struct bucket *bucket_latch(const struct hash *hash, uint64_t code)
{
    for (;;) {
        uint64_t number = number_of(code, load_acquire(&hash->count));
        struct bucket *bucket = bucket_at(hash, number);
        latch(bucket);
        if (number_of(code, load_acquire(&hash->count)) == number)
            return bucket;
        unlatch(bucket);
    }
}

/* Under the latch of the chain's first bucket: a free place, or false. */
static bool chain_put(struct bucket *first, struct item *item, uint8_t tag)
{
    for (struct bucket *bucket = first; bucket != NULL; bucket = load_relaxed(&bucket->overflow))
        for (unsigned place = 0; place < PLACES; place++)
            if (tag_get(bucket, place) == 0) {
                place_set(bucket, place, item, tag);
                return true;
            }
    return false;
}

/* Appends a bucket with the item to the chain. */
static bool chain_extend(struct hash *hash, struct tree_thread *thread, struct bucket *first,
                         struct item *item, uint8_t tag)
{
    struct bucket *added = zeroed(hash, thread, sizeof *added);
    if (added == NULL)
        return false;
    place_set(added, 0, item, tag);
    while (load_relaxed(&first->overflow) != NULL)
        first = load_relaxed(&first->overflow);
    store_release(&first->overflow, added);
    return true;
}

static bool bucket_empty(const struct bucket *bucket)
{
    return load_relaxed(&bucket->tags[0]) == 0 && load_relaxed(&bucket->tags[1]) == 0;
}

static void bucket_free(void *object, void *arg)
{
    heap_free_as(arg, object, sizeof(struct bucket), HEAP_DIRECTORY);
}

/* Moves what stands in the chain behind `first` into free places of earlier buckets, and retires the
 * buckets that become empty. Readers may miss an item on its way. */
static void chain_tidy(struct hash *hash, struct tree_thread *thread, struct bucket *first)
{
    struct bucket *previous = first;
    for (struct bucket *bucket = load_relaxed(&first->overflow); bucket != NULL;
         bucket = load_relaxed(&previous->overflow)) {
        for (unsigned place = 0; place < PLACES; place++) {
            uint8_t tag = tag_get(bucket, place);
            if (tag == 0)
                continue;
            struct item *item = load_relaxed(&bucket->items[place]);
            place_set(bucket, place, NULL, 0);
            chain_put(first, item, tag);
        }
        if (!bucket_empty(bucket)) {
            previous = bucket;
            continue;
        }
        store_release(&previous->overflow, load_relaxed(&bucket->overflow));
        atomic_fetch_sub_explicit(&hash->bytes, sizeof *bucket, memory_order_relaxed);
        epoch_retire(thread->epoch, bucket, bucket_free, thread->heap);
    }
}

static uint64_t place_code(const struct hash *hash, const struct bucket *bucket, unsigned place)
{
    return item_code(hash, load_relaxed(&bucket->items[place]));
}

/* Puts into the new bucket what belongs there by the new count. False when memory is out. */
static bool split_copy(struct hash *hash, struct tree_thread *thread, struct bucket *old,
                       struct bucket *new, uint64_t number)
{
    for (; old != NULL; old = load_relaxed(&old->overflow))
        for (unsigned place = 0; place < PLACES; place++) {
            uint8_t tag = tag_get(old, place);
            if (tag == 0 || number_of(place_code(hash, old, place), number + 1) != number)
                continue;
            struct item *item = load_relaxed(&old->items[place]);
            if (!chain_put(new, item, tag) && !chain_extend(hash, thread, new, item, tag))
                return false;
        }
    return true;
}

static void split_clear(struct hash *hash, struct bucket *old, uint64_t number)
{
    for (; old != NULL; old = load_relaxed(&old->overflow))
        for (unsigned place = 0; place < PLACES; place++)
            if (tag_get(old, place) != 0 &&
                number_of(place_code(hash, old, place), number + 1) == number)
                place_set(old, place, NULL, 0);
}

/* What a split that ran out of memory has put into the bucket that nobody knows. */
static void bucket_wipe(struct bucket *bucket)
{
    for (; bucket != NULL; bucket = load_relaxed(&bucket->overflow))
        for (unsigned place = 0; place < PLACES; place++)
            if (tag_get(bucket, place) != 0)
                place_set(bucket, place, NULL, 0);
}

/* Adds one bucket: the next in turn is split. */
static void grow(struct hash *hash, struct tree_thread *thread)
{
    uint32_t open = 0;
    if (!atomic_compare_exchange_strong_explicit(&hash->splitting, &open, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        return;
    uint64_t number = load_relaxed(&hash->count);
    if (place_make(hash, thread, number)) {
        unsigned level = 63 - (unsigned)__builtin_clzll(number);
        struct bucket *old = bucket_at(hash, number - (UINT64_C(1) << level));
        struct bucket *new = bucket_at(hash, number);
        latch(old);
        if (split_copy(hash, thread, old, new, number)) {
            store_release(&hash->count, number + 1);
            split_clear(hash, old, number);
            chain_tidy(hash, thread, old);
        } else {
            bucket_wipe(new);
        }
        unlatch(old);
    }
    store_release(&hash->splitting, 0);
}

void hash_insert(struct hash *hash, struct tree_thread *thread, struct item *item)
{
    uint64_t code = item_code(hash, item);
    struct bucket *bucket = bucket_latch(hash, code);
    bool full = !chain_put(bucket, item, tag_of(code));
    if (full)
        chain_extend(hash, thread, bucket, item, tag_of(code));
    unlatch(bucket);
    if (full)
        grow(hash, thread);
}

void hash_remove(struct hash *hash, struct item *item)
{
    uint64_t code = item_code(hash, item);
    struct bucket *first = bucket_latch(hash, code);
    for (struct bucket *bucket = first; bucket != NULL; bucket = load_relaxed(&bucket->overflow))
        for (unsigned place = 0; place < PLACES; place++)
            if (load_relaxed(&bucket->items[place]) == item && tag_get(bucket, place) != 0)
                place_set(bucket, place, NULL, 0);
    unlatch(first);
}

size_t hash_bytes(const struct hash *hash)
{
    return load_relaxed(&hash->bytes);
}

size_t hash_count(const struct hash *hash)
{
    size_t items = 0;
    uint64_t count = load_acquire(&hash->count);
    for (uint64_t number = 0; number < count; number++)
        for (const struct bucket *bucket = bucket_at(hash, number); bucket != NULL;
             bucket = load_acquire(&bucket->overflow))
            for (unsigned place = 0; place < PLACES; place++)
                items += tag_get(bucket, place) != 0;
    return items;
}
