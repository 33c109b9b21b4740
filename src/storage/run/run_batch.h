/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RUN_RUN_BATCH_H
#define STORAGE_RUN_RUN_BATCH_H

/*
 * Blocks of runs that will be wanted, of which those that are not in the cache are read at once:
 *
 *      struct run_batch batch;
 *      run_batch_create(&batch, cache);
 *      for each key: run_batch_get(&batch, run, key, key_size, ts);
 *      run_batch_read(&batch);
 *      for each key: run_get(run, ..)         finds its block in the cache
 *
 * Nothing depends on it: what can't be read, or finds no room, is left for when it is wanted, and that
 * says so then. From the first block that is taken until run_batch_read has returned others who want one of these
 * blocks wait for it; so no block may be asked for by the same thread in between. The runs stay open.
 */
#include "storage/cache/cache.h"
#include "storage/engine.h"
#include "storage/run/run_format.h"

struct run;

enum { RUN_BATCH_MAX = ENGINE_PREFETCH_MAX };

/* Private. */
struct run_batch {
    unsigned count;
    size_t bytes, bytes_max; /* as they are in files */
    struct run_batch_block {
        const struct run *run;
        struct run_extent extent;
        struct cache_fill fill;
        unsigned char *stored; /* the frame as it is in the file */
    } blocks[RUN_BATCH_MAX];
};

/* Empty. It takes as much as this cache, that of the runs, keeps until it is wanted: nothing if it is NULL. */
void run_batch_create(struct run_batch *batch, const struct cache *cache);

/* Takes the block in which a get of the key looks (run_may_contain has been asked), unless it is in the cache or
 * read by somebody else. False: there is no room for it. */
bool run_batch_get(struct run_batch *batch, const struct run *run, const void *key, size_t key_size,
                   uint64_t ts);

/* The same for the block where a cursor begins, which has not given a row yet. */
struct run_cursor;
void run_cursor_prefetch(struct run_cursor *cursor, struct run_batch *batch);

/* Reads what was taken into the cache, where it counts as brought in by a scan until somebody wants it; the number of
 * blocks. The batch is empty then. Leaves no diagnostics. */
unsigned run_batch_read(struct run_batch *batch);

#endif
