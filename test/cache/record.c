/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The whole program, but what its engines ask their cache for is written down, one access after the other, and
 * at its end into the file that CACHE_TRACE names:
 *
 *      41       block or page 41 was wanted
 *      41 s     by something that reads much and once (CACHE_SCAN)
 *
 * The numbers are those of places in files: where one file ends, the next one's begin. Beyond ACCESSES_MAX
 * nothing is written down. The linker puts these functions in front of the cache's own (--wrap), so that what runs
 * is the product's code as it is. `record.sh` is who calls it.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/cache/cache.h"

enum { ACCESSES_MAX = 60000 };

struct place {
    uint64_t file, offset;
    unsigned flags, rank, order;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct place places[ACCESSES_MAX];
static unsigned count;

/* The linker's names. NOLINTBEGIN(bugprone-reserved-identifier) */
int __real_cache_get(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
                     cache_load_fn *load, void *arg, struct cache_guard *guard);
int __wrap_cache_get(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
                     cache_load_fn *load, void *arg, struct cache_guard *guard);
int __real_cache_get_linked(struct cache *cache, struct cache_link *link, uint64_t file,
                            uint64_t offset, unsigned flags, cache_load_fn *load, void *arg,
                            struct cache_guard *guard);
int __wrap_cache_get_linked(struct cache *cache, struct cache_link *link, uint64_t file,
                            uint64_t offset, unsigned flags, cache_load_fn *load, void *arg,
                            struct cache_guard *guard);
int __real_cache_try(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
                     struct cache_guard *guard);
int __wrap_cache_try(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
                     struct cache_guard *guard);

static void note(uint64_t file, uint64_t offset, unsigned flags)
{
    pthread_mutex_lock(&mutex);
    if (count < ACCESSES_MAX) {
        places[count] =
            (struct place){.file = file, .offset = offset, .flags = flags, .order = count};
        count++;
    }
    pthread_mutex_unlock(&mutex);
}

int __wrap_cache_get(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
                     cache_load_fn *load, void *arg, struct cache_guard *guard)
{
    note(file, offset, flags);
    return __real_cache_get(cache, file, offset, flags, load, arg, guard);
}

/* Those that it hands on to cache_get are not noted twice: within one file of objects nothing is wrapped. */
int __wrap_cache_get_linked(struct cache *cache, struct cache_link *link, uint64_t file,
                            uint64_t offset, unsigned flags, cache_load_fn *load, void *arg,
                            struct cache_guard *guard)
{
    note(file, offset, flags);
    return __real_cache_get_linked(cache, link, file, offset, flags, load, arg, guard);
}

int __wrap_cache_try(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
                     struct cache_guard *guard)
{
    note(file, offset, flags);
    return __real_cache_try(cache, file, offset, flags, guard);
}
/* NOLINTEND(bugprone-reserved-identifier) */

static int by_place(const void *a_pointer, const void *b_pointer)
{
    const struct place *a = a_pointer, *b = b_pointer;
    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

static int by_order(const void *a_pointer, const void *b_pointer)
{
    const struct place *a = a_pointer, *b = b_pointer;
    return (a->order > b->order) - (a->order < b->order);
}

__attribute__((destructor)) static void write_down(void)
{
    const char *path = getenv("CACHE_TRACE");
    FILE *out = path != NULL ? fopen(path, "w") : NULL;
    if (out == NULL)
        return;
    qsort(places, count, sizeof *places, by_place);
    for (unsigned i = 1; i < count; i++)
        places[i].rank = places[i - 1].rank + (by_place(&places[i], &places[i - 1]) != 0);
    qsort(places, count, sizeof *places, by_order);
    for (unsigned i = 0; i < count; i++)
        fprintf(out, "%u%s\n", places[i].rank, places[i].flags & CACHE_SCAN ? " s" : "");
    fclose(out);
}
