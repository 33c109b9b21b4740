/* SPDX-License-Identifier: Apache-2.0 */

/* Several blocks into the cache, by one call to the scheduler. */
#include "storage/run/run_batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "io/io_schedule.h"
#include "storage/run/run_internal.h"

enum {
    KEY_ROOM = 4 << 10, /* of the keys of an index: with longer ones nothing is read before */
    /* What scans bring in has a sixteenth of the cache (policy_arc_scan.c), and blocks are about twice as large
     * there as in files. */
    CACHE_PART = 32
};

void run_batch_create(struct run_batch *batch, const struct cache *cache)
{
    batch->count = 0;
    batch->bytes = 0;
    batch->bytes_max = cache == NULL ? 0 : cache_budget_bytes(cache) / CACHE_PART;
}

/* What an index or a cache says of a block that is not taken is of no interest. */
static bool left_out(int rc)
{
    if (rc != ERROR_EXISTS)
        diag_clear();
    return true;
}

bool run__batch_take(struct run_batch *batch, const struct run *run,
                     const struct run_block_iter *index)
{
    struct run_batch_block *block = &batch->blocks[batch->count];
    if (batch->count == RUN_BATCH_MAX)
        return false;
    block->run = run;
    int rc = run->cache == NULL ? ERROR_EXISTS : run__index_extent(run, index, &block->extent);
    if (rc != 0 || block->extent.bytes > RUN_BLOCK_CACHED_MAX)
        return left_out(rc);
    if (block->extent.bytes > batch->bytes_max - batch->bytes)
        return false;
    rc = cache_fill_begin(run->cache, run->cache_file, block->extent.offset, CACHE_SCAN,
                          &block->fill);
    if (rc != 0)
        return left_out(rc);
    block->stored = malloc(block->extent.bytes);
    if (block->stored == NULL)
        return left_out(cache_fill_end(&block->fill, ERROR_MEMORY, NULL));
    batch->bytes += block->extent.bytes;
    batch->count++;
    return true;
}

bool run_batch_get(struct run_batch *batch, const struct run *run, const void *key, size_t key_size,
                   uint64_t ts)
{
    unsigned char room[KEY_ROOM];
    struct run_block_iter index;
    if (ts < run->info.min_ts || run->cache == NULL || run__key_room(run) > KEY_ROOM)
        return true;
    int rc = run__index_open(run, room, &index);
    if (rc == 0)
        rc = run_block_seek(&index, key, key_size, ts);
    return rc == 0 ? run__batch_take(batch, run, &index) : left_out(rc);
}

/* From as it is stored to an entry of the cache. */
static int block_finish(struct run_batch_block *block, int64_t read)
{
    if (read < 0)
        return (int)read;
    if ((uint64_t)read < block->extent.bytes)
        return run__corrupt(block->run, block->extent.offset, "the file ends too early");
    return run__block_fill(block->run, &block->extent, block->stored, &block->fill);
}

unsigned run_batch_read(struct run_batch *batch)
{
    struct io_range ranges[RUN_BATCH_MAX];
    unsigned count = batch->count;
    for (unsigned i = 0; i < count; i++) {
        struct run_batch_block *block = &batch->blocks[i];
        ranges[i] = (struct io_range){block->run->file, block->stored, block->extent.bytes,
                                      block->extent.offset, 0};
    }
    if (count > 0)
        io_schedule_read_many(IO_USER, ranges, count);
    for (unsigned i = 0; i < count; i++) {
        struct run_batch_block *block = &batch->blocks[i];
        cache_fill_end(&block->fill, block_finish(block, ranges[i].result), NULL);
        free(block->stored);
    }
    batch->count = 0;
    batch->bytes = 0;
    if (count > 0)
        diag_clear();
    return count;
}
