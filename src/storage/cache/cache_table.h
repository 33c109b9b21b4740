/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CACHE_CACHE_TABLE_H
#define STORAGE_CACHE_CACHE_TABLE_H

/*
 * The page table of one shard: open addressing with linear probing over words of a tag (16 bits of the
 * hash) and a pointer. One thread at a time changes it; any number look things up meanwhile, without
 * a lock. What such a reader finds may have become another's entry, so it pins and compares; and it
 * may miss an entry that is being moved, so a miss counts only under the lock.
 *
 * Deletion moves the entries behind it back (Knuth, The Art of Computer Programming, volume 3,
 * section 6.4, algorithm R), so there are no tombstones. Tables that were outgrown stay for readers
 * that may be in them, until the end; together they are smaller than the present one.
 */
#include <stdatomic.h>
#include <stdint.h>

#include "storage/cache/cache_frame.h"

struct cache_slots {
    struct cache_slots *outgrown;
    uint64_t mask;
    _Atomic uint64_t words[];
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

/* A frame that has the key now, or NULL. Without the lock the frame may change at any moment. */
static inline struct cache_frame *cache_table_find(const struct cache_table *table, uint64_t file,
                                                   uint64_t offset, uint64_t hash)
{
    const struct cache_slots *slots = load_acquire(&table->slots);
    uint64_t word;
    for (uint64_t i = hash; (word = load_acquire(&slots->words[i & slots->mask])) != 0; i++) {
        struct cache_frame *frame = cache_table_frame(word);
        if ((word ^ hash) >> 48 == 0 && load_relaxed(&frame->offset) == offset &&
            load_relaxed(&frame->file) == file)
            return frame;
    }
    return NULL;
}

#endif
