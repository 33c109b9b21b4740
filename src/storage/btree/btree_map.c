/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which pages are in use. Two bits for each page in memory:
 *
 *      used   the current generation has it. This is what the map in the file says.
 *      busy   some generation that is still needed has it, the current one or an older one.
 *
 * Who writes many pages takes them from runs of such as are not busy, since what lies together is written together
 * (btree__map_run); before the file grows, all that are not busy have been taken.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/btree/btree_internal.h"

enum { WORD_BITS = 64, WORDS_MIN = 64 };

int btree__map_reserve(struct btree_map *map, uint64_t pages)
{
    uint64_t words = pages / WORD_BITS + 1;
    if (words <= map->words)
        return 0;
    words = words > 2 * map->words ? words : 2 * map->words;
    words = words > WORDS_MIN ? words : WORDS_MIN;
    for (unsigned i = 0; i < 2; i++) {
        uint64_t **bits = i == 0 ? &map->used : &map->busy;
        uint64_t *grown = realloc(*bits, words * sizeof *grown);
        if (grown == NULL)
            return diag_set(ERROR_MEMORY, "no memory for the map of %llu pages",
                            (unsigned long long)pages);
        memset(grown + map->words, 0, (words - map->words) * sizeof *grown);
        *bits = grown;
    }
    map->words = words;
    return 0;
}

void btree__map_free(struct btree_map *map)
{
    free(map->used);
    free(map->busy);
    *map = (struct btree_map){NULL, NULL, 0, 0};
}

bool btree__map_busy(const struct btree_map *map, uint64_t page)
{
    return page / WORD_BITS < map->words &&
           (map->busy[page / WORD_BITS] >> page % WORD_BITS & 1) != 0;
}

void btree__map_set(struct btree_map *map, uint64_t *bits, uint64_t page, uint64_t pages, bool on)
{
    for (uint64_t i = page; i < page + pages; i++) {
        uint64_t bit = UINT64_C(1) << i % WORD_BITS;
        bool was = (bits[i / WORD_BITS] & bit) != 0;
        bits[i / WORD_BITS] = on ? bits[i / WORD_BITS] | bit : bits[i / WORD_BITS] & ~bit;
        if (bits == map->used)
            map->used_pages += (uint64_t)on - (uint64_t)was;
    }
}

uint64_t btree__map_end(const struct btree_map *map, const uint64_t *bits)
{
    for (uint64_t i = map->words; i > 0; i--)
        if (bits[i - 1] != 0)
            return i * WORD_BITS - (uint64_t)__builtin_clzll(bits[i - 1]);
    return 0;
}

uint64_t btree__map_busy_pages(const struct btree_map *map)
{
    uint64_t pages = 0;
    for (uint64_t i = 0; i < map->words; i++)
        pages += (uint64_t)__builtin_popcountll(map->busy[i]);
    return pages;
}

/* The first page from `from` on that is not busy. */
static uint64_t next_free(const struct btree_map *map, uint64_t from)
{
    uint64_t word = from / WORD_BITS;
    if (word >= map->words)
        return from;
    uint64_t free_bits = ~map->busy[word] & (UINT64_MAX << from % WORD_BITS);
    while (free_bits == 0 && ++word < map->words)
        free_bits = ~map->busy[word];
    return word < map->words ? word * WORD_BITS + (uint64_t)__builtin_ctzll(free_bits)
                             : map->words * WORD_BITS;
}

/* The first page from `from` on that is busy; the end of the map when none is. */
static uint64_t next_busy(const struct btree_map *map, uint64_t from)
{
    uint64_t word = from / WORD_BITS;
    if (word >= map->words)
        return from;
    uint64_t bits = map->busy[word] & (UINT64_MAX << from % WORD_BITS);
    while (bits == 0 && ++word < map->words)
        bits = map->busy[word];
    return word < map->words ? word * WORD_BITS + (uint64_t)__builtin_ctzll(bits)
                             : map->words * WORD_BITS;
}

bool btree__map_run(const struct btree_map *map, uint64_t from, uint64_t end, uint64_t least,
                    uint64_t *first, uint64_t *behind)
{
    for (*first = next_free(map, from); *first < end; *first = next_free(map, *behind)) {
        *behind = next_busy(map, *first);
        if (*behind > end)
            *behind = end;
        if (*behind - *first >= least)
            return true;
    }
    return false;
}

uint64_t btree__map_find(const struct btree_map *map, uint64_t from, uint64_t pages)
{
    for (uint64_t first = next_free(map, from);; first = next_free(map, first)) {
        uint64_t behind = first + 1;
        while (behind < first + pages && !btree__map_busy(map, behind))
            behind++;
        if (behind == first + pages)
            return first;
        first = behind;
    }
}
