/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CACHE_CACHE_TABLE_H
#define STORAGE_CACHE_CACHE_TABLE_H

/*
 * The page table of one shard: open addressing with linear probing over words of a tag (16 bits of the
 * hash) and a pointer. One thread at a time changes it; any number look things up meanwhile, without
 * a lock. What such a reader finds may have become another's entry, so it pins and compares; and it
 * may miss an entry that is being moved, so a miss counts only under the lock.
 *
 * Where many entries are, each look waits for memory: for the word, for the frame, for the data. Beside each word
 * stands where the data of its frame are, so that the last two are fetched at once. That is a hint: a reader
 * without the lock may have it of another entry, fetches it for nothing then, and never follows it.
 *
 * Deletion moves the entries behind it back (Knuth, The Art of Computer Programming, volume 3,
 * section 6.4, algorithm R), so there are no tombstones. Tables that were outgrown stay for readers
 * that may be in them, until the end; together they are smaller than the present one.
 */
#include <stdatomic.h>
#include <stdint.h>

#include "storage/cache/cache_frame.h"

struct cache_place {
    _Atomic uint64_t word;  /* 0: empty */
    _Atomic uintptr_t data; /* of its frame; 0: not filled yet */
};

struct cache_slots {
    struct cache_slots *outgrown;
    uint64_t mask;
    CACHE_ALIGNED struct cache_place places[];
};

struct cache_table {
    struct cache_slots *_Atomic slots;
    uint64_t count;
};

/* ERROR_MEMORY. */
int cache_table_create(struct cache_table *table);
void cache_table_destroy(struct cache_table *table);

/* Makes sure that one more fits. ERROR_MEMORY. */
int cache_table_reserve(struct cache_table *table);

/* After cache_table_reserve; by frame->hash. The key is in no entry of the table. */
void cache_table_insert(struct cache_table *table, struct cache_frame *frame);

/* Takes over where the data of a frame are, which is in the table. */
void cache_table_locate(struct cache_table *table, const struct cache_frame *frame);

/* The frame is in the table. */
void cache_table_remove(struct cache_table *table, struct cache_frame *frame);

size_t cache_table_bytes(const struct cache_table *table);

/* The word of a frame, and the pointer of a word that is not 0. The pointer has 48 bits. */
static inline uint64_t cache_table_word(const struct cache_frame *frame, uint64_t hash)
{
    return (hash & 0xffff000000000000u) | (uint64_t)(uintptr_t)frame;
}

static inline struct cache_frame *cache_table_frame(uint64_t word)
{
    return (struct cache_frame *)(uintptr_t)(word & 0x0000ffffffffffffu);
}

/* Fetches so many bytes of data that may be somewhere else by now, or nowhere. */
static inline void cache_data_fetch(uintptr_t data, unsigned bytes)
{
    for (unsigned at = 0; at < bytes; at += CACHE_LINE_SIZE)
        __builtin_prefetch((const void *)(data + at));
}

/* A frame that has the key now, or NULL. Without the lock the frame may change at any moment. So many bytes of its
 * data are wanted next: they are fetched. */
static inline struct cache_frame *cache_table_look(const struct cache_table *table, uint64_t file,
                                                   uint64_t offset, uint64_t hash, unsigned fetch)
{
    const struct cache_slots *slots = load_acquire(&table->slots);
    uint64_t word;
    for (uint64_t i = hash;; i++) {
        const struct cache_place *place = &slots->places[i & slots->mask];
        if ((word = load_acquire(&place->word)) == 0)
            return NULL;
        if ((word ^ hash) >> 48 != 0)
            continue;
        cache_data_fetch(load_relaxed(&place->data), fetch);
        struct cache_frame *frame = cache_table_frame(word);
        if (load_relaxed(&frame->offset) == offset && load_relaxed(&frame->file) == file)
            return frame;
    }
}

static inline struct cache_frame *cache_table_find(const struct cache_table *table, uint64_t file,
                                                   uint64_t offset, uint64_t hash)
{
    return cache_table_look(table, file, offset, hash, 0);
}

#endif
