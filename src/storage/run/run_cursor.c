/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking over a run: one place in the index, and one in the block that the index names there.
 *
 * Forward it begins at the first row that is not before the lower bound, taken as (key, newest) or,
 * exclusive, as (key, oldest); backward at the last row before the upper bound, taken as (key,
 * oldest) or, exclusive, as (key, newest). The other bound ends it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/run/run.h"
#include "storage/run/run_batch.h"
#include "storage/run/run_internal.h"

/* Who has read so many blocks is looking at much, once: no place for that in a cache. */
enum { SCAN_BLOCKS = 16 };

struct run_cursor {
    const struct run *run;
    struct engine_range range;
    struct run_buffers buffers;
    struct run_block_iter index, block;
    struct run_extent extent; /* of the block */
    unsigned blocks;          /* read so far */
    bool begun;
    bool sought, at_end;  /* the index is where it begins; that is behind the last row of all */
    int sought_rc;        /* what seeking it gave */
    int ended;            /* what every further call gives */
    unsigned char keys[]; /* of index and block */
};

int run_cursor_open(struct run *run, const struct engine_range *range, struct run_cursor **out)
{
    size_t room = run__key_room(run);
    struct run_cursor *cursor = malloc(sizeof *cursor + 2 * room);
    if (cursor == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a cursor on the run %s", run->name);
    *cursor = (struct run_cursor){.run = run};
    if (range != NULL)
        cursor->range = *range;
    cursor->buffers.backward = cursor->range.backward;
    int rc = run__index_open(run, cursor->keys, &cursor->index);
    if (rc != 0) {
        free(cursor);
        return rc;
    }
    *out = cursor;
    return 0;
}

void run_cursor_scan(struct run_cursor *cursor)
{
    cursor->buffers.scan = cursor->buffers.background = true;
}

void run_cursor_hurry(struct run_cursor *cursor, bool hurry)
{
    cursor->buffers.hurry = hurry;
}

void run_cursor_close(struct run_cursor *cursor)
{
    run__buffers_destroy(&cursor->buffers);
    free(cursor);
}

/* Turns the result of moving in the index into one of moving in the rows: reads the block. */
static int index_moved(struct run_cursor *cursor, int rc)
{
    const struct run *run = cursor->run;
    if (rc == ERROR_CORRUPT)
        return run__corrupt(run, run->index_extent.offset, cursor->index.check);
    if (rc == 0)
        rc = run__index_extent(run, &cursor->index, &cursor->extent);
    if (rc != 0)
        return rc;
    if (++cursor->blocks > SCAN_BLOCKS)
        cursor->buffers.scan = true;
    return run__block_read(run, &cursor->extent, &cursor->buffers,
                           cursor->keys + run__key_room(run), &cursor->block);
}

static int block_moved(const struct run_cursor *cursor, int rc)
{
    return rc == ERROR_CORRUPT
               ? run__corrupt(cursor->run, cursor->extent.offset, cursor->block.check)
               : rc;
}

/* After the block's last row: the first of the next block that has one. */
static int go_on_forward(struct run_cursor *cursor, int rc)
{
    while (rc == ERROR_END) {
        rc = index_moved(cursor, run_block_next(&cursor->index));
        if (rc == ERROR_END)
            return rc;
        if (rc == 0)
            rc = block_moved(cursor, run_block_first(&cursor->block));
    }
    return rc;
}

static int go_on_backward(struct run_cursor *cursor, int rc)
{
    while (rc == ERROR_END) {
        rc = index_moved(cursor, run_block_prev(&cursor->index));
        if (rc == ERROR_END)
            return rc;
        if (rc == 0)
            rc = block_moved(cursor, run_block_last(&cursor->block));
    }
    return rc;
}

/* Moves the index to the block where the cursor begins. */
static int index_seek(struct run_cursor *cursor)
{
    const struct engine_range *range = &cursor->range;
    struct run_block_iter *index = &cursor->index;
    if (!range->backward)
        return range->lower == NULL ? run_block_first(index)
                                    : run_block_seek(index, range->lower, range->lower_size,
                                                     range->lower_inclusive ? UINT64_MAX : 0);
    int rc = range->upper == NULL ? ERROR_END
                                  : run_block_seek(index, range->upper, range->upper_size,
                                                   range->upper_inclusive ? 0 : UINT64_MAX);
    cursor->at_end = rc == ERROR_END;
    return cursor->at_end ? run_block_last(index) : rc;
}

/* The same once. */
static int index_begin(struct run_cursor *cursor)
{
    if (!cursor->sought)
        cursor->sought_rc = index_seek(cursor);
    cursor->sought = true;
    return cursor->sought_rc;
}

void run_cursor_prefetch(struct run_cursor *cursor, struct run_batch *batch)
{
    if (!cursor->begun && index_begin(cursor) == 0)
        run__batch_take(batch, cursor->run, &cursor->index);
}

static int begin_forward(struct run_cursor *cursor)
{
    const struct engine_range *range = &cursor->range;
    int rc = index_moved(cursor, index_begin(cursor));
    if (rc != 0)
        return rc;
    rc = range->lower == NULL ? run_block_first(&cursor->block)
                              : run_block_seek(&cursor->block, range->lower, range->lower_size,
                                               range->lower_inclusive ? UINT64_MAX : 0);
    return go_on_forward(cursor, block_moved(cursor, rc));
}

/* The first row that is not before the bound's place, then back by one; but the place itself, (key,
 * 0), belongs to the range if its key does. */
static int begin_backward(struct run_cursor *cursor)
{
    const struct engine_range *range = &cursor->range;
    int rc = index_moved(cursor, index_begin(cursor));
    if (rc != 0)
        return rc;
    struct run_block_iter *block = &cursor->block;
    if (cursor->at_end) /* the last row of all */
        return go_on_backward(cursor, block_moved(cursor, run_block_last(block)));
    uint64_t ts = range->upper_inclusive ? 0 : UINT64_MAX;
    rc = block_moved(cursor, run_block_seek(block, range->upper, range->upper_size, ts));
    if (rc == 0 && range->upper_inclusive &&
        run_key_compare(block->key, block->row.key_size, range->upper, range->upper_size) == 0)
        return 0;
    if (rc == ERROR_END)
        rc = block_moved(cursor, run_block_last(block));
    else if (rc == 0)
        rc = block_moved(cursor, run_block_prev(block));
    return go_on_backward(cursor, rc);
}

static int move(struct run_cursor *cursor)
{
    if (cursor->range.backward) {
        if (!cursor->begun)
            return begin_backward(cursor);
        return go_on_backward(cursor, block_moved(cursor, run_block_prev(&cursor->block)));
    }
    if (!cursor->begun)
        return begin_forward(cursor);
    return go_on_forward(cursor, block_moved(cursor, run_block_next(&cursor->block)));
}

static bool above_lower(const struct engine_range *range, const struct engine_row *row)
{
    if (range->lower == NULL)
        return true;
    int order = run_key_compare(row->key, row->key_size, range->lower, range->lower_size);
    return order > 0 || (order == 0 && range->lower_inclusive);
}

static bool below_upper(const struct engine_range *range, const struct engine_row *row)
{
    if (range->upper == NULL)
        return true;
    int order = run_key_compare(row->key, row->key_size, range->upper, range->upper_size);
    return order < 0 || (order == 0 && range->upper_inclusive);
}

int run_cursor_next(struct run_cursor *cursor, struct engine_row *out)
{
    const struct engine_range *range = &cursor->range;
    int rc = cursor->ended ? cursor->ended : move(cursor);
    cursor->begun = true;
    /* The row (lower, 0) is where an exclusive lower bound is sought. */
    while (rc == 0 && !range->backward && !above_lower(range, &cursor->block.row))
        rc = move(cursor);
    if (rc == 0 && (range->backward ? !above_lower(range, &cursor->block.row)
                                    : !below_upper(range, &cursor->block.row)))
        rc = ERROR_END;
    cursor->ended = rc;
    if (rc == 0)
        *out = cursor->block.row;
    return rc;
}
