/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RUN_RUN_INTERNAL_H
#define STORAGE_RUN_RUN_INTERNAL_H

/* What the files that read runs share: the open run, and reading one frame of it. */
#include "storage/cache/cache.h"
#include "storage/run/run.h"
#include "storage/run/run_block.h"
#include "storage/run/run_filter.h"
#include "storage/run/run_format.h"

struct run {
    struct io_file *file;
    struct cache *cache; /* of blocks of rows, by the next and their offsets; or NULL */
    uint64_t cache_file; /* what the cache knows the run by */
    struct run_header header;
    struct run_footer footer;
    struct run_trailer trailer;
    struct run_section sections[RUN_SECTIONS_MAX];
    struct run_extent index_extent;
    uint64_t rows_begin;                    /* offset of the first frame of rows */
    struct compress_dictionary *dictionary; /* NULL: none */
    unsigned char *footer_contents;         /* the info's keys point into it */
    unsigned char *index;                   /* contents */
    size_t index_size;
    struct run_filter filter;
    struct run_info info;
    char name[];
};

/* Bytes [offset, offset + memory.size) of the file, read at once. */
struct run_ahead {
    struct run_memory memory;
    uint64_t offset;
    size_t bytes_wanted; /* by the next read: grows */
};

/* Memory for one frame at a time: of an arena, or (NULL) its own; or an entry of the cache, pinned.
 * Zero-initialised it is empty. */
struct run_buffers {
    struct arena *arena;
    struct run_memory stored, contents;
    struct cache_guard guard;
    bool
        scan; /* what is not in the cache is not put there, and blocks are read several at a time */
    bool backward;   /* the next ones are those before */
    bool background; /* reading gives way to others, */
    bool hurry;      /* but not now */
    struct run_ahead ahead;
};

void run__buffers_destroy(struct run_buffers *buffers);

/* ERROR_CORRUPT with file, offset and check. */
int run__corrupt(const struct run *run, uint64_t offset, const char *check);

/* Reads a frame that lies within the file and checks it. Its contents stay valid until the buffers
 * are used again. */
int run__frame_read(const struct run *run, const struct run_extent *extent,
                    enum run_frame_kind kind, struct run_buffers *buffers, const void **out,
                    size_t *size);

/* Reads the dictionary, if the header says that there is one, and where the rows begin. */
int run__dictionary_load(struct run *run);

/* An iterator over the index. `key` has room for key_bytes_max bytes. */
int run__index_open(const struct run *run, unsigned char *key, struct run_block_iter *out);

/* Where the block is that the index's present row names; checked to lie among the rows. */
int run__index_extent(const struct run *run, const struct run_block_iter *index,
                      struct run_extent *out);

/* Reads the block, through the cache if there is one, and puts `block` before its first row. */
int run__block_read(const struct run *run, const struct run_extent *extent,
                    struct run_buffers *buffers, unsigned char *key, struct run_block_iter *out);

enum { RUN_BLOCK_CACHED_MAX = 4 << 20 }; /* larger ones, as they are stored, are not for a cache */

/* Checks and unpacks a block, `stored` as it was read, into an entry of the cache. */
int run__block_fill(const struct run *run, const struct run_extent *extent,
                    const unsigned char *stored, struct cache_fill *fill);

/* Takes the block that the index's present row names, as run_batch_get. */
struct run_batch;
bool run__batch_take(struct run_batch *batch, const struct run *run,
                     const struct run_block_iter *index);

/* Bytes to allocate for an iterator's key: those of the longest one, and not 0. */
static inline size_t run__key_room(const struct run *run)
{
    return run->footer.key_bytes_max + 1;
}

#endif
