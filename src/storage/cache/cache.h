/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CACHE_CACHE_H
#define STORAGE_CACHE_CACHE_H

/*
 * A cache of what engines read from their files: pages, decompressed blocks. What is in it never
 * changes, since pages and blocks are written once; there is nothing dirty and nothing to flush.
 *
 * An entry is known by the number of its file and by its offset (or page number) there, both the
 * caller's. Who uses an entry pins it by a guard, and a pinned entry stays as it is, whatever
 * happens to the cache meanwhile:
 *
 *      struct cache_guard guard;
 *      int rc = cache_get(cache, file, page, 0, page_load, &reader, &guard);
 *      if (rc != 0)
 *          return rc;
 *      ... guard.data, guard.size ...
 *      cache_guard_release(&guard);
 *
 * or `CACHE_GUARD(guard);`, which is released where its scope ends.
 *
 * Which entries go when the budget is used up is for a policy to say (policy.h). All functions may be
 * called from every thread at once, but for cache_new and cache_delete.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache;
struct cache_frame;

enum {
    CACHE_SHARDS_MAX = 64,
    /* What an entry counts beyond its bytes: what it is known by, and its place in the tables. */
    CACHE_ENTRY_OVERHEAD = 160,
    CACHE_SIZE_MAX = 1 << 30, /* bytes of one entry */
};

#define CACHE_FILE_FIRST ((uint64_t)1 << 63)

/* How an entry is used: or-ed into `flags`. */
enum {
    /* By something that reads much and once (a scan, a merge): "arc-scan" gives such entries a small
     * place of their own, and learns nothing from this access. */
    CACHE_SCAN = 1,
    /* What it begins with is looked at first, as the slots of a node: some lines of that are fetched while the
     * entry's descriptor is. */
    CACHE_NODE = 2,
    /* Of cache_put: behind the data there is as much room again, zeros, for links. */
    CACHE_LINKS = 4,
};

struct cache_options {
    size_t budget_bytes; /* 0: nothing is kept; all functions work */
    const char *policy;  /* a name of cache_policy_name; NULL: CACHE_POLICY_DEFAULT */
    /* A power of two up to CACHE_SHARDS_MAX; each has its part of the budget and a lock of its own. 0
     * takes one for each MiB of the budget, up to 16. */
    unsigned shards;
};

#define CACHE_POLICY_DEFAULT "arc-scan"

/* A pinned entry. `data` is aligned to 64 bytes (to 4096 where `size` is a multiple of that). */
struct cache_guard {
    struct cache_frame *frame; /* NULL: holds nothing */
    const void *data;
    size_t size;
};

/* A cache, owned by the caller. ERROR_INVALID with diagnostics: no such policy or number of shards;
 * ERROR_MEMORY. */
int cache_new(const struct cache_options *options, struct cache **out);

/* Frees it and everything in it. Nothing may be pinned or being filled. NULL is allowed. */
void cache_delete(struct cache *cache);

/* Sets the budget; what is too much goes at once, as far as it is not pinned. */
void cache_resize(struct cache *cache, size_t budget_bytes);
size_t cache_budget_bytes(const struct cache *cache);

/* Evicts what is over the budget because it was pinned when room was needed. The next miss would do
 * so as well. */
void cache_trim(struct cache *cache);

/* Goes over to another policy; it begins with what is in the cache, and without a memory of its own.
 * ERROR_INVALID with diagnostics, ERROR_MEMORY: all is as it was. Entries for which it gets no memory
 * later on are forgotten. */
int cache_policy_set(struct cache *cache, const char *name);
const char *cache_policy(const struct cache *cache);

/* What an entry of `size` bytes takes of the budget. */
static inline size_t cache_charge(size_t size)
{
    return size + CACHE_ENTRY_OVERHEAD;
}

/* The number of a file that nobody else has in this cache, for those whose own numbers may come twice.
 * It is CACHE_FILE_FIRST or above; who gives numbers of his own gives smaller ones. */
uint64_t cache_file_new(struct cache *cache);

/* ------------------------------------------------------------------------------------- look up */

/* A key that is being filled by one thread while others may wait for it. Fields are for reading. */
struct cache_fill {
    struct cache *cache;
    struct cache_frame *frame;
    uint64_t file, offset;
    void *data; /* of cache_fill_room */
    size_t size;
};

/* Reads one entry from where it is kept: takes room by cache_fill_room, writes into it, returns 0 or
 * an error with diagnostics. It may use the cache for other keys, but must not wait for a key whose
 * loader may wait for this one. */
typedef int cache_load_fn(struct cache_fill *fill, void *arg);

/* Pins the entry (file, offset) and gives it by `guard`; if it is not there, `load` reads it, once for
 * all threads that ask meanwhile. What `load` returns goes to all of them, and an error leaves
 * nothing behind. ERROR_MEMORY. With an error `guard` holds nothing. */
int cache_get(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
              cache_load_fn *load, void *arg, struct cache_guard *guard);

/* The same for what is there already: ERROR_NOT_FOUND, without diagnostics, when it is not, or is
 * still being filled. Such a miss is not counted. */
int cache_try(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
              struct cache_guard *guard);

/*
 * Where an entry was found the last time, for who comes to it from one place again and again, as to a child of a node.
 * It takes the place of looking up the key: what is there is pinned and compared as always, and what is
 * not the entry any more is looked up. Zeros know nothing. Any number of threads may use one, as long as the cache.
 */
struct cache_link {
    _Atomic uintptr_t frame, data;
};

/* As cache_get. `link` is brought up to date. */
int cache_get_linked(struct cache *cache, struct cache_link *link, uint64_t file, uint64_t offset,
                     unsigned flags, cache_load_fn *load, void *arg, struct cache_guard *guard);

/* Unpins and makes it hold nothing; a guard that holds nothing is allowed. */
void cache_guard_release(struct cache_guard *guard);

/* A guard that holds nothing and is released at the end of its scope. */
#define CACHE_GUARD(name) \
    struct cache_guard __attribute__((cleanup(cache_guard_release))) name = {NULL, NULL, 0}

/* ----------------------------------------------------------------------------------------- fill */

/* Begins to fill a key without waiting for what fills it, as read-ahead does with several at once:
 * cache_get of others waits until cache_fill_end. ERROR_EXISTS without diagnostics: it is there, or
 * being filled. ERROR_MEMORY. Counts as a miss. Who has fills open must not wait in cache_get for
 * anything but keys that nobody fills. */
int cache_fill_begin(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags,
                     struct cache_fill *fill);

/* Memory of `size` bytes (1 to CACHE_SIZE_MAX) for the entry, aligned as cache_guard says, its content
 * undefined; also in fill->data and fill->size. Asking again gives other room in its place. NULL when
 * memory is out. */
void *cache_fill_room(struct cache_fill *fill, size_t size);

/* Ends it: `rc` 0 when the room has been written, else the error for those who wait. `guard`, if not
 * NULL, pins the entry; with an error it holds nothing. Returns `rc`. */
int cache_fill_end(struct cache_fill *fill, int rc, struct cache_guard *guard);

/* Keeps a copy of what has just been written; in place of what the key had, if anything (who has that
 * pinned, keeps that). ERROR_MEMORY: the key has nothing then. Neither hit nor miss. */
int cache_put(struct cache *cache, uint64_t file, uint64_t offset, unsigned flags, const void *data,
              size_t size);

/* The key, or all of a file, is of no more use: it goes now, or when the last guard is released. What
 * is being filled meanwhile is given to those who wait and not kept. A file's takes as long as
 * looking at each entry of the cache. */
void cache_forget(struct cache *cache, uint64_t file, uint64_t offset);
void cache_forget_file(struct cache *cache, uint64_t file);

/* ---------------------------------------------------------------------------------------- stats */

struct cache_stats {
    uint64_t hits;               /* given without reading, or by waiting for another's reading */
    uint64_t misses;             /* read, or tried to */
    uint64_t waits;              /* of the hits: those that waited */
    uint64_t errors;             /* of the misses: those that failed */
    uint64_t evictions;          /* that made room */
    uint64_t overruns;           /* times that room was needed and all that there was was pinned */
    uint64_t refused;            /* entries that were not kept, being larger than a shard may be */
    uint64_t ghost_hits_recency; /* misses on what a policy remembers to have been used once, */
    uint64_t ghost_hits_frequency; /* or more often; 0 for policies without such a memory */
    size_t budget_bytes;
    size_t used_bytes; /* by cache_charge, without what was forgotten and is still pinned */
    size_t over_bytes; /* above the budget, summed over shards */
    size_t
        tables_bytes; /* tables, descriptors and memories of policies: what the overhead is for */
    size_t
        recency_bytes; /* of the budget, what the policy gives to recency; 0 if it does not divide */
    uint64_t entries;
    uint64_t pinned; /* entries; takes as long as looking at each of them */
};

/* Sums over shards, each at another moment. */
void cache_stats_get(struct cache *cache, struct cache_stats *out);

/* The nth name of a policy, from 0; NULL behind the last. Static strings. */
const char *cache_policy_name(unsigned number);

#endif
