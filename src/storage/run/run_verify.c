/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a whole run and checking all that holds for it:
 *
 *   - header, trailer, footer and index are still what they were when the run was opened;
 *   - every frame has its checksum, and the frames of rows lie one behind the other from the header,
 *     or the dictionary, to the first section, as the index says, so that no byte is unaccounted for;
 *   - the rows are in order, over the ends of blocks too; each block's lie between the index's key
 *     for the block before and its own; restart points and counts are right;
 *   - the filter knows each key, and how many there are;
 *   - what the footer says of rows, tombstones, bytes, timestamps and keys is what was found.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/run/run.h"
#include "storage/run/run_internal.h"

enum { PROGRESS_BYTES = 1 << 20 };

struct verify {
    const struct run *run;
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    uint64_t told; /* bytes done that progress heard of */
    struct run_buffers buffers;
    struct run_block_iter index;
    unsigned char *keys;    /* of the index, of a block */
    struct run_memory last; /* key of the last row */
    uint64_t last_ts;
    struct run_memory bound; /* key of the index for the block before */
    uint64_t bound_ts;
    struct run_footer found;
    uint64_t key_count; /* of different ones */
    struct run_memory first;
};

static void tell(struct verify *verify, uint64_t done)
{
    if (verify->progress == NULL || done - verify->told < PROGRESS_BYTES)
        return;
    verify->told = done;
    verify->progress(verify->arg, done, verify->run->info.file_bytes);
}

static int keep(struct verify *verify, struct run_memory *memory, const struct engine_row *row)
{
    if (run_memory_reserve(memory, row->key_size + 1) != 0)
        return diag_set(ERROR_MEMORY, "no memory to verify the run %s", verify->run->name);
    memcpy(memory->data, row->key, row->key_size);
    memory->size = row->key_size;
    return 0;
}

static int row_count(struct verify *verify, const struct engine_row *row)
{
    struct run_footer *found = &verify->found;
    int rc = found->rows == 0 ? keep(verify, &verify->first, row) : 0;
    if (found->rows == 0 || row->ts < found->min_ts)
        found->min_ts = row->ts;
    if (row->ts > found->max_ts)
        found->max_ts = row->ts;
    if (row->key_size > found->key_bytes_max)
        found->key_bytes_max = row->key_size;
    verify->key_count += found->rows == 0 || run_key_compare(verify->last.data, verify->last.size,
                                                             row->key, row->key_size) != 0;
    found->rows++;
    found->tombstones += row->data == NULL;
    found->data_bytes += row->key_size + row->size;
    verify->last_ts = row->ts;
    return rc != 0 ? rc : keep(verify, &verify->last, row);
}

/* What is wrong with a row's place, or NULL. */
static const char *row_check(const struct verify *verify, const struct engine_row *row)
{
    const struct engine_row last = {
        .key = verify->last.data, .key_size = verify->last.size, .ts = verify->last_ts};
    const struct engine_row bound = {
        .key = verify->bound.data, .key_size = verify->bound.size, .ts = verify->bound_ts};
    if (verify->found.rows > 0 && run_row_compare(&last, row) >= 0)
        return "rows out of order";
    if (verify->found.blocks > 0 && run_row_compare(&bound, row) >= 0)
        return "row that the index expects in the block before";
    if (run_row_compare(row, &verify->index.row) > 0)
        return "row that the index expects in a later block";
    if (!run_filter_may_contain(&verify->run->filter, row->key, row->key_size))
        return "key that the filter does not know";
    return NULL;
}

/* The rows of the block that the index's present row names. */
static int block_verify(struct verify *verify, const struct run_extent *extent)
{
    const struct run *run = verify->run;
    struct run_block_iter block;
    int rc =
        run__block_read(run, extent, &verify->buffers, verify->keys + run__key_room(run), &block);
    if (rc != 0)
        return rc;
    if (run_block_check(&block) != 0)
        return run__corrupt(run, extent->offset, block.check);
    for (rc = run_block_first(&block); rc == 0; rc = run_block_next(&block)) {
        const char *check = row_check(verify, &block.row);
        if (check != NULL)
            return run__corrupt(run, extent->offset, check);
        rc = row_count(verify, &block.row);
        if (rc != 0)
            return rc;
    }
    if (block.rows == 0)
        return run__corrupt(run, extent->offset, "a block without rows");
    return 0;
}

static int rows_verify(struct verify *verify)
{
    const struct run *run = verify->run;
    struct run_block_iter *index = &verify->index;
    struct run_extent extent;
    uint64_t at = run->rows_begin;
    int rc = run__index_open(run, verify->keys, index);
    if (rc != 0)
        return rc;
    if (run_block_check(index) != 0)
        return run__corrupt(run, run->index_extent.offset, index->check);
    for (rc = run_block_first(index); rc == 0; rc = run_block_next(index)) {
        rc = run__index_extent(run, index, &extent);
        if (rc == 0 && extent.offset != at)
            rc = run__corrupt(run, at, "no block of the index is here");
        if (rc == 0)
            rc = block_verify(verify, &extent);
        if (rc == 0)
            rc = keep(verify, &verify->bound, &index->row);
        if (rc != 0)
            return rc;
        verify->bound_ts = index->row.ts;
        verify->found.blocks++;
        at += extent.bytes;
        tell(verify, at);
    }
    if (at != run->footer.rows_end)
        return run__corrupt(run, at, "the rows do not end where the sections begin");
    return 0;
}

static int frame_verify(struct verify *verify, const struct run_extent *extent,
                        enum run_frame_kind kind)
{
    const void *contents;
    size_t size;
    int rc = run__frame_read(verify->run, extent, kind, &verify->buffers, &contents, &size);
    tell(verify, extent->offset + extent->bytes);
    return rc;
}

static int sections_verify(struct verify *verify)
{
    const struct run *run = verify->run;
    const struct run_extent dictionary = {RUN_HEADER_BYTES, run->rows_begin - RUN_HEADER_BYTES};
    int rc = dictionary.bytes > 0 ? frame_verify(verify, &dictionary, RUN_FRAME_DICTIONARY) : 0;
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < run->footer.sections; i++) {
        const struct run_extent extent = {run->sections[i].offset, run->sections[i].bytes};
        rc = frame_verify(verify, &extent, RUN_FRAME_SECTION);
        if (rc != 0)
            return rc;
    }
    const struct run_extent footer = {run->trailer.footer_offset, run->trailer.footer_bytes};
    return frame_verify(verify, &footer, RUN_FRAME_FOOTER);
}

/* Header and trailer, which no frame holds. */
static int ends_verify(const struct verify *verify)
{
    const struct run *run = verify->run;
    unsigned char header[RUN_HEADER_BYTES], trailer[RUN_TRAILER_BYTES];
    uint64_t trailer_offset = run->info.file_bytes - sizeof trailer;
    int64_t n = io_read(run->file, header, sizeof header, 0);
    if (n < 0)
        return (int)n;
    if (n < (int64_t)sizeof header || memcmp(header, &run->header, sizeof header) != 0)
        return run__corrupt(run, 0, "the header has changed since the run was opened");
    n = io_read(run->file, trailer, sizeof trailer, trailer_offset);
    if (n < 0)
        return (int)n;
    if (n < (int64_t)sizeof trailer || memcmp(trailer, &run->trailer, sizeof trailer) != 0)
        return run__corrupt(run, trailer_offset, "the trailer has changed since it was opened");
    int64_t size = io_size(run->file);
    if (size < 0)
        return (int)size;
    if ((uint64_t)size != run->info.file_bytes)
        return run__corrupt(run, run->info.file_bytes, "the file's size has changed");
    return 0;
}

/* What the footer says wrongly, or NULL. */
static const char *footer_check(const struct verify *verify)
{
    const struct run_footer *found = &verify->found, *said = &verify->run->footer;
    const struct run_info *info = &verify->run->info;
    if (found->rows != said->rows)
        return "number of rows in the footer";
    if (found->tombstones != said->tombstones)
        return "number of tombstones in the footer";
    if (found->data_bytes != said->data_bytes)
        return "bytes of keys and data in the footer";
    if (found->min_ts != said->min_ts || found->max_ts != said->max_ts)
        return "timestamps in the footer";
    if (found->key_bytes_max != said->key_bytes_max)
        return "longest key in the footer";
    if (run_key_compare(verify->first.data, verify->first.size, info->first_key,
                        info->first_key_size) != 0)
        return "first key in the footer";
    if (run_key_compare(verify->last.data, verify->last.size, info->last_key,
                        info->last_key_size) != 0)
        return "last key in the footer";
    if (verify->run->filter.blocks != NULL && verify->run->filter.keys != verify->key_count)
        return "number of keys in the filter";
    return NULL;
}

int run_verify(struct run *run, void (*progress)(void *arg, uint64_t done, uint64_t total),
               void *arg)
{
    struct verify verify = {.run = run, .progress = progress, .arg = arg};
    verify.keys = malloc(2 * run__key_room(run));
    if (verify.keys == NULL)
        return diag_set(ERROR_MEMORY, "no memory to verify the run %s", run->name);
    int rc = ends_verify(&verify);
    if (rc == 0)
        rc = rows_verify(&verify);
    if (rc == 0)
        rc = sections_verify(&verify);
    const char *check = rc == 0 ? footer_check(&verify) : NULL;
    if (check != NULL)
        rc = run__corrupt(run, run->trailer.footer_offset, check);
    if (rc == 0 && progress != NULL)
        progress(arg, run->info.file_bytes, run->info.file_bytes);
    run__buffers_destroy(&verify.buffers);
    run_memory_destroy(&verify.last);
    run_memory_destroy(&verify.bound);
    run_memory_destroy(&verify.first);
    free(verify.keys);
    return rc;
}
