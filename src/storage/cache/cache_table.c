/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page table of a shard; its header says how it works.
 *
 * Invariants:
 * 1. At most three quarters of the words are used, so every walk ends at an empty one. A reader
 *    without the lock may meet words that move, never a table without empty ones.
 * 2. An entry is reached from the place of its hash without meeting an empty word, except for
 *    readers without the lock while a removal moves it.
 */
#include "storage/cache/cache_table.h"

#include <string.h>

#include "base/error.h"
#include "mem/system.h"

enum { FIRST_WORDS = 64 };

static size_t slots_bytes(uint64_t words)
{
    return sizeof(struct cache_slots) + words * sizeof(struct cache_place);
}

static struct cache_slots *slots_new(uint64_t words)
{
    struct cache_slots *slots = system_alloc(slots_bytes(words), CACHE_LINE_SIZE);
    if (slots == NULL)
        return NULL;
    memset((void *)slots, 0, slots_bytes(words));
    slots->mask = words - 1;
    return slots;
}

int cache_table_create(struct cache_table *table)
{
    struct cache_slots *slots = slots_new(FIRST_WORDS);
    if (slots == NULL)
        return ERROR_MEMORY;
    atomic_init(&table->slots, slots);
    table->count = 0;
    return 0;
}

void cache_table_destroy(struct cache_table *table)
{
    struct cache_slots *slots = load_relaxed(&table->slots);
    while (slots != NULL) {
        struct cache_slots *outgrown = slots->outgrown;
        system_free(slots);
        slots = outgrown;
    }
}

static void place_set(struct cache_place *place, uint64_t word, uintptr_t data)
{
    store_relaxed(&place->data, data);
    store_release(&place->word, word);
}

static void slots_insert(struct cache_slots *slots, uint64_t word, uint64_t hash, uintptr_t data)
{
    uint64_t i = hash & slots->mask;
    while (load_relaxed(&slots->places[i].word) != 0)
        i = (i + 1) & slots->mask;
    place_set(&slots->places[i], word, data);
}

int cache_table_reserve(struct cache_table *table)
{
    struct cache_slots *slots = load_relaxed(&table->slots);
    uint64_t words = slots->mask + 1;
    if ((table->count + 1) * 4 <= words * 3)
        return 0;
    struct cache_slots *larger = slots_new(words * 2);
    if (larger == NULL)
        return ERROR_MEMORY;
    for (uint64_t i = 0; i < words; i++) {
        uint64_t word = load_relaxed(&slots->places[i].word);
        if (word != 0)
            slots_insert(larger, word, cache_table_frame(word)->hash,
                         load_relaxed(&slots->places[i].data));
    }
    larger->outgrown = slots;
    store_release(&table->slots, larger);
    return 0;
}

void cache_table_insert(struct cache_table *table, struct cache_frame *frame)
{
    slots_insert(load_relaxed(&table->slots), cache_table_word(frame, frame->hash), frame->hash, 0);
    table->count++;
}

static uint64_t place_of(const struct cache_slots *slots, const struct cache_frame *frame)
{
    uint64_t i = frame->hash & slots->mask;
    while (cache_table_frame(load_relaxed(&slots->places[i].word)) != frame)
        i = (i + 1) & slots->mask;
    return i;
}

void cache_table_locate(struct cache_table *table, const struct cache_frame *frame)
{
    struct cache_slots *slots = load_relaxed(&table->slots);
    store_relaxed(&slots->places[place_of(slots, frame)].data, (uintptr_t)frame->data);
}

void cache_table_remove(struct cache_table *table, struct cache_frame *frame)
{
    struct cache_slots *slots = load_relaxed(&table->slots);
    uint64_t mask = slots->mask, hole = place_of(slots, frame);
    /* What would not be found any more with the hole before it, moves into the hole. */
    for (uint64_t i = (hole + 1) & mask;; i = (i + 1) & mask) {
        uint64_t word = load_relaxed(&slots->places[i].word);
        if (word == 0)
            break;
        uint64_t home = cache_table_frame(word)->hash & mask;
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        place_set(&slots->places[hole], word, load_relaxed(&slots->places[i].data));
        hole = i;
    }
    store_release(&slots->places[hole].word, 0);
    table->count--;
}

size_t cache_table_bytes(const struct cache_table *table)
{
    size_t bytes = 0;
    for (const struct cache_slots *slots = load_relaxed(&table->slots); slots != NULL;
         slots = slots->outgrown)
        bytes += slots_bytes(slots->mask + 1);
    return bytes;
}
