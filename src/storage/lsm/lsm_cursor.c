/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Walking over a range: a walk goes over one sequence, from file to file, and a cursor merges the
 * walks of all sequences by a heap (Knuth 5.4.1): on top is the walk with the nearest key, of equal
 * keys the newest sequence.
 *
 * Forward, the versions of a key come newest first: within a sequence because of the order of rows,
 * and between them because a newer sequence has newer versions. So the first one at or before the
 * timestamp is the one to be seen, and it is given out where it lies; walks that have the same key
 * are moved on when the next row is asked for.
 *
 * Backward, a sequence gives its oldest version first. All are passed, and the newest at or before
 * the timestamp is copied.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/lsm/lsm_internal.h"
#include "storage/run/run_batch.h"

/* ------------------------------------------------------------------------------------------ walks */

void lsm__walk_create(struct lsm_walk *walk, const struct lsm_sequence *sequence, unsigned from,
                      unsigned to, const struct engine_range *range)
{
    *walk = (struct lsm_walk){
        .base.next = lsm__walk_next, .sequence = sequence, .from = from, .to = to, .range = *range};
    /* Files wholly outside are not opened at all. */
    if (range->lower != NULL) {
        unsigned first = lsm__sequence_find(sequence, range->lower, range->lower_size);
        walk->from = first > from ? first : from;
    }
    if (range->upper != NULL) {
        unsigned last = lsm__sequence_find(sequence, range->upper, range->upper_size);
        walk->to = last < to ? last + 1 : to;
    }
}

/* Opens the next file: ERROR_END behind the last. */
static int file_open(struct lsm_walk *walk)
{
    if (walk->from >= walk->to)
        return ERROR_END;
    unsigned at = walk->range.backward ? --walk->to : walk->from++;
    int rc = run_cursor_open(walk->sequence->files[at]->run, &walk->range, &walk->cursor);
    if (rc == 0 && walk->scan)
        run_cursor_scan(walk->cursor);
    if (rc == 0)
        run_cursor_hurry(walk->cursor, walk->hurry);
    return rc;
}

void lsm__walk_hurry(struct lsm_walk *walk, bool hurry)
{
    walk->hurry = hurry;
    if (walk->cursor != NULL)
        run_cursor_hurry(walk->cursor, hurry);
}

static bool has_expired(const struct lsm_walk *walk, const struct engine_row *row)
{
    return walk->filter->expires_ms(walk->filter, row) <= walk->horizon_ms &&
           !walk->below->has(walk->below, row->key, row->key_size);
}

int lsm__walk_next(struct engine_source *base, struct engine_row *out)
{
    struct lsm_walk *walk = (struct lsm_walk *)(void *)base;
    for (;;) {
        int rc = walk->cursor == NULL ? file_open(walk) : 0;
        if (rc != 0)
            return rc;
        rc = run_cursor_next(walk->cursor, out);
        if (rc == 0 && walk->filter != NULL && out->data != NULL && has_expired(walk, out)) {
            out->data = NULL;
            out->size = 0;
            walk->expired++;
        }
        if (rc != ERROR_END)
            return rc;
        run_cursor_close(walk->cursor);
        walk->cursor = NULL;
    }
}

void lsm__walk_destroy(struct lsm_walk *walk)
{
    if (walk->cursor != NULL)
        run_cursor_close(walk->cursor);
    walk->cursor = NULL;
}

/* ------------------------------------------------------------------------------------------- heap */

struct input {
    struct lsm_walk walk;
    struct engine_row row; /* the present one */
};

struct lsm_cursor {
    struct body_cursor base;
    uint64_t ts;
    bool backward, begun;
    struct run_memory key;  /* the present one */
    struct run_memory data; /* backward: of the row found */
    unsigned count;         /* of inputs, newest first */
    unsigned heap_size;
    unsigned *heap; /* numbers of inputs that have a row, the nearest first */
    struct input inputs[];
};

static bool comes_first(const struct lsm_cursor *cursor, unsigned a, unsigned b)
{
    const struct engine_row *left = &cursor->inputs[a].row, *right = &cursor->inputs[b].row;
    int order = run_key_compare(left->key, left->key_size, right->key, right->key_size);
    if (order == 0)
        return a < b;
    return cursor->backward ? order > 0 : order < 0;
}

static void sift_down(struct lsm_cursor *cursor, unsigned at)
{
    unsigned *heap = cursor->heap;
    for (;;) {
        unsigned child = 2 * at + 1;
        if (child >= cursor->heap_size)
            return;
        if (child + 1 < cursor->heap_size && comes_first(cursor, heap[child + 1], heap[child]))
            child++;
        if (!comes_first(cursor, heap[child], heap[at]))
            return;
        unsigned swapped = heap[at];
        heap[at] = heap[child];
        heap[child] = swapped;
        at = child;
    }
}

static struct input *top(struct lsm_cursor *cursor)
{
    return cursor->heap_size == 0 ? NULL : &cursor->inputs[cursor->heap[0]];
}

/* Moves the input on top to its next row. */
static int top_advance(struct lsm_cursor *cursor)
{
    struct input *input = top(cursor);
    int rc = lsm__walk_next(&input->walk.base, &input->row);
    if (rc != 0 && rc != ERROR_END)
        return rc;
    if (rc == ERROR_END)
        cursor->heap[0] = cursor->heap[--cursor->heap_size];
    sift_down(cursor, 0);
    return 0;
}

static bool top_has_key(struct lsm_cursor *cursor)
{
    const struct input *input = top(cursor);
    return input != NULL && run_key_compare(input->row.key, input->row.key_size, cursor->key.data,
                                            cursor->key.size) == 0;
}

/* ---------------------------------------------------------------------------------------- cursors */

static int bytes_set(struct run_memory *memory, const void *data, size_t size)
{
    if (run_memory_reserve(memory, size + 1) != 0)
        return diag_set(ERROR_MEMORY, "no memory for a row of %zu bytes", size);
    if (size > 0)
        memcpy(memory->data, data, size);
    memory->size = size;
    return 0;
}

void lsm__cursor_close(struct body_cursor *base)
{
    struct lsm_cursor *cursor = (struct lsm_cursor *)base;
    for (unsigned i = 0; i < cursor->count; i++)
        lsm__walk_destroy(&cursor->inputs[i].walk);
    run_memory_destroy(&cursor->key);
    run_memory_destroy(&cursor->data);
    free(cursor);
}

/* Where the walks begin is read at once. */
static int inputs_prefetch(struct lsm_cursor *cursor, const struct cache *cache)
{
    struct run_batch batch;
    for (unsigned i = 0; i < cursor->count; i++) {
        int rc = file_open(&cursor->inputs[i].walk);
        if (rc != 0 && rc != ERROR_END)
            return rc;
    }
    run_batch_create(&batch, cache);
    for (unsigned i = 0; i < cursor->count; i++)
        if (cursor->inputs[i].walk.cursor != NULL)
            run_cursor_prefetch(cursor->inputs[i].walk.cursor, &batch);
    run_batch_read(&batch);
    return 0;
}

/* The first row of each walk. */
static int inputs_begin(struct lsm_cursor *cursor, const struct cache *cache)
{
    int rc = cursor->count > 1 ? inputs_prefetch(cursor, cache) : 0;
    if (rc != 0)
        return rc;
    for (unsigned i = 0; i < cursor->count; i++) {
        struct input *input = &cursor->inputs[i];
        rc = lsm__walk_next(&input->walk.base, &input->row);
        if (rc == 0)
            cursor->heap[cursor->heap_size++] = i;
        else if (rc != ERROR_END)
            return rc;
    }
    for (unsigned i = cursor->heap_size / 2; i > 0; i--)
        sift_down(cursor, i - 1);
    return 0;
}

int lsm__cursor_open(struct body_view *base, const struct engine_range *range, uint64_t ts,
                     struct body_cursor **out)
{
    const struct lsm_version *version = (const struct lsm_version *)base;
    size_t size = sizeof(struct lsm_cursor) + version->count * sizeof(struct input);
    struct lsm_cursor *cursor = malloc(size + version->count * sizeof(unsigned));
    if (cursor == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a cursor");
    *cursor = (struct lsm_cursor){.base.vtab = &engine_lsm,
                                  .ts = ts,
                                  .backward = range->backward,
                                  .count = version->count,
                                  .heap = (unsigned *)(void *)((char *)cursor + size)};
    for (unsigned i = 0; i < version->count; i++)
        lsm__walk_create(&cursor->inputs[i].walk, &version->sequences[i], 0,
                         version->sequences[i].count, range);
    int rc = inputs_begin(cursor, version->body->cache);
    if (rc != 0) {
        lsm__cursor_close(&cursor->base);
        return rc;
    }
    *out = &cursor->base;
    return 0;
}

/* Past what is left of the present key. */
static int key_pass(struct lsm_cursor *cursor)
{
    int rc = 0;
    while (rc == 0 && top_has_key(cursor))
        rc = top_advance(cursor);
    return rc;
}

/* The version of the present key, which the top has; ERROR_NOT_FOUND: none, or a tombstone. */
static int forward_find(struct lsm_cursor *cursor, struct engine_row *out)
{
    int rc = 0;
    while (rc == 0 && top_has_key(cursor)) {
        const struct input *input = top(cursor);
        if (input->row.ts <= cursor->ts) {
            *out = input->row;
            return out->data == NULL ? ERROR_NOT_FOUND : 0;
        }
        rc = top_advance(cursor);
    }
    return rc != 0 ? rc : ERROR_NOT_FOUND;
}

static int backward_find(struct lsm_cursor *cursor, struct engine_row *out)
{
    struct engine_row found = {.key = NULL};
    int rc = 0;
    while (rc == 0 && top_has_key(cursor)) {
        const struct engine_row *row = &top(cursor)->row;
        if (row->ts <= cursor->ts && (found.key == NULL || row->ts > found.ts)) {
            found = *row;
            found.key = cursor->key.data;
            if (row->data != NULL)
                rc = bytes_set(&cursor->data, row->data, row->size);
        }
        if (rc == 0)
            rc = top_advance(cursor);
    }
    if (rc != 0)
        return rc;
    if (found.key == NULL || found.data == NULL)
        return ERROR_NOT_FOUND;
    *out = found;
    out->data = (const char *)cursor->data.data;
    return 0;
}

int lsm__cursor_next(struct body_cursor *base, struct engine_row *out)
{
    struct lsm_cursor *cursor = (struct lsm_cursor *)base;
    for (;;) {
        int rc = cursor->begun ? key_pass(cursor) : 0;
        if (rc != 0)
            return rc;
        const struct input *input = top(cursor);
        if (input == NULL)
            return ERROR_END;
        cursor->begun = true;
        rc = bytes_set(&cursor->key, input->row.key, input->row.key_size);
        if (rc == 0)
            rc = cursor->backward ? backward_find(cursor, out) : forward_find(cursor, out);
        if (rc != ERROR_NOT_FOUND)
            return rc;
    }
}
