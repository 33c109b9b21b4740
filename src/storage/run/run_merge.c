/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several runs as one sequence: a binary heap of cursors gives the rows in order, the run that was
 * given first winning where (key, ts) is equal; a sieve then drops what nobody needs.
 *
 * A version is needed when it is the newest of its key, or a snapshot lies in [its ts, the ts of the
 * next newer version). Whether the next newer one was itself dropped makes no difference: then no
 * snapshot lies between that one and its own successor.
 *
 * With drop_tombstones a tombstone is kept back until an older version of its key turns out to be
 * needed, and goes if there is none: then to read it and to read nothing is the same. What is kept
 * back has the same key, so a timestamp each is enough.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/run/run.h"
#include "storage/run/run_block.h"

struct input {
    struct run_cursor *cursor; /* of its own, or */
    struct engine_source *source;
    struct engine_row row; /* the present one */
};

struct run_merge {
    struct engine_source base; /* first: run_merge_source gives its address */
    const struct engine_snapshots *snapshots;
    bool drop_tombstones;
    const struct run_merge_below *below; /* NULL: nothing is */
    unsigned count;                      /* of inputs that were opened */
    struct input *inputs;
    unsigned *heap; /* numbers of inputs that have a row, the smallest row first */
    unsigned heap_size;
    bool taken;             /* the row on top was given out */
    struct run_memory key;  /* of the last row from the heap, */
    uint64_t ts;            /* its timestamp, */
    bool begun;             /* if there was one */
    struct run_memory back; /* timestamps of tombstones kept back, newest first */
    size_t back_next;       /* bytes of them given out */
    bool giving_back;       /* they go out, then `held` does */
    struct engine_row held;
    int failed;
};

/* ------------------------------------------------------------------------------------------ heap */

static bool comes_first(const struct run_merge *merge, unsigned a, unsigned b)
{
    int order = run_row_compare(&merge->inputs[a].row, &merge->inputs[b].row);
    return order != 0 ? order < 0 : a < b;
}

static void sift_down(struct run_merge *merge, unsigned at)
{
    unsigned *heap = merge->heap;
    for (;;) {
        unsigned child = 2 * at + 1;
        if (child >= merge->heap_size)
            return;
        if (child + 1 < merge->heap_size && comes_first(merge, heap[child + 1], heap[child]))
            child++;
        if (!comes_first(merge, heap[child], heap[at]))
            return;
        unsigned swapped = heap[at];
        heap[at] = heap[child];
        heap[child] = swapped;
        at = child;
    }
}

static int input_next(struct input *input)
{
    return input->cursor != NULL ? run_cursor_next(input->cursor, &input->row)
                                 : input->source->next(input->source, &input->row);
}

/* Moves the input on top to its next row. */
static int top_advance(struct run_merge *merge)
{
    int rc = input_next(&merge->inputs[merge->heap[0]]);
    if (rc != 0 && rc != ERROR_END)
        return rc;
    if (rc == ERROR_END)
        merge->heap[0] = merge->heap[--merge->heap_size];
    sift_down(merge, 0);
    return 0;
}

/* The next row of all inputs, each (key, ts) once; the version before it in *newer_ts if that is of
 * the same key, else UINT64_MAX. */
static int sorted_next(struct run_merge *merge, struct engine_row *out, bool *same_key,
                       uint64_t *newer_ts)
{
    for (;;) {
        int rc = merge->taken ? top_advance(merge) : 0;
        merge->taken = false;
        if (rc != 0)
            return rc;
        if (merge->heap_size == 0)
            return ERROR_END;
        merge->taken = true;
        *out = merge->inputs[merge->heap[0]].row;
        *same_key = merge->begun &&
                    run_key_compare(merge->key.data, merge->key.size, out->key, out->key_size) == 0;
        if (!*same_key || merge->ts != out->ts)
            break;
    }
    *newer_ts = *same_key ? merge->ts : UINT64_MAX;
    merge->ts = out->ts;
    merge->begun = true;
    if (*same_key)
        return 0;
    if (run_memory_reserve(&merge->key, out->key_size + 1) != 0)
        return diag_set(ERROR_MEMORY, "no memory to merge runs");
    if (out->key_size > 0)
        memcpy(merge->key.data, out->key, out->key_size);
    merge->key.size = out->key_size;
    return 0;
}

/* ----------------------------------------------------------------------------------------- sieve */

static bool needed(const struct engine_snapshots *snapshots, uint64_t ts, uint64_t newer_ts)
{
    if (snapshots == NULL || newer_ts == UINT64_MAX)
        return true;
    for (unsigned i = 0; i < snapshots->count; i++)
        if (ts <= snapshots->ts[i] && snapshots->ts[i] < newer_ts)
            return true;
    return false;
}

/* Of a tombstone: whether nothing older than what is merged can have its key. */
static bool at_the_bottom(const struct run_merge *merge, const struct engine_row *row)
{
    return merge->drop_tombstones &&
           (merge->below == NULL || !merge->below->has(merge->below, row->key, row->key_size));
}

static int keep_back(struct run_merge *merge, uint64_t ts)
{
    struct run_memory *back = &merge->back;
    if (run_memory_reserve(back, back->size + sizeof ts) != 0)
        return diag_set(ERROR_MEMORY, "no memory to merge runs");
    memcpy(back->data + back->size, &ts, sizeof ts);
    back->size += sizeof ts;
    return 0;
}

static void give_back(struct run_merge *merge, struct engine_row *out)
{
    struct run_memory *back = &merge->back;
    if (merge->back_next == back->size) {
        back->size = merge->back_next = 0;
        merge->giving_back = false;
        *out = merge->held;
        return;
    }
    *out = (struct engine_row){.key = merge->key.data, .key_size = merge->key.size};
    memcpy(&out->ts, back->data + merge->back_next, sizeof out->ts);
    merge->back_next += sizeof out->ts;
}

static int sieved_next(struct run_merge *merge, struct engine_row *out)
{
    while (!merge->giving_back) {
        bool same_key;
        uint64_t newer_ts;
        int rc = sorted_next(merge, out, &same_key, &newer_ts);
        if (rc != 0)
            return rc;
        if (!same_key)
            merge->back.size = 0; /* nothing older was needed */
        if (!needed(merge->snapshots, out->ts, newer_ts))
            continue;
        if (out->data == NULL && at_the_bottom(merge, out)) {
            rc = keep_back(merge, out->ts);
            if (rc != 0)
                return rc;
            continue;
        }
        if (merge->back.size == 0)
            return 0;
        merge->held = *out;
        merge->giving_back = true;
    }
    give_back(merge, out);
    return 0;
}

int run_merge_next(struct run_merge *merge, struct engine_row *out)
{
    if (merge->failed == 0)
        merge->failed = sieved_next(merge, out);
    return merge->failed;
}

/* ------------------------------------------------------------------------------------------ life */

static int source_next(struct engine_source *source, struct engine_row *out)
{
    return run_merge_next((struct run_merge *)(void *)source, out);
}

struct engine_source *run_merge_source(struct run_merge *merge)
{
    return &merge->base;
}

/* Takes the first row of input number `i`, which has been filled in. */
static int input_begin(struct run_merge *merge, unsigned i)
{
    merge->count++;
    int rc = input_next(&merge->inputs[i]);
    if (rc == 0)
        merge->heap[merge->heap_size++] = i;
    return rc == ERROR_END ? 0 : rc;
}

static void heap_make(struct run_merge *merge)
{
    for (unsigned i = merge->heap_size / 2; i > 0; i--)
        sift_down(merge, i - 1);
}

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory to merge runs");
}

static struct run_merge *merge_new(unsigned count, const struct engine_snapshots *snapshots,
                                   bool drop_tombstones)
{
    struct run_merge *merge = calloc(1, sizeof *merge);
    if (merge == NULL)
        return NULL;
    merge->base.next = source_next;
    merge->snapshots = snapshots;
    merge->drop_tombstones = drop_tombstones;
    merge->inputs = calloc(count + 1u, sizeof *merge->inputs);
    merge->heap = calloc(count + 1u, sizeof *merge->heap);
    if (merge->inputs != NULL && merge->heap != NULL)
        return merge;
    run_merge_delete(merge);
    return NULL;
}

int run_merge_new(struct run *const *runs, unsigned count, const struct engine_snapshots *snapshots,
                  bool drop_tombstones, struct run_merge **out)
{
    struct run_merge *merge = merge_new(count, snapshots, drop_tombstones);
    if (merge == NULL)
        return no_memory();
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        rc = run_cursor_open(runs[i], NULL, &merge->inputs[i].cursor);
        if (rc == 0) {
            run_cursor_scan(merge->inputs[i].cursor);
            rc = input_begin(merge, i);
        }
    }
    if (rc != 0) {
        run_merge_delete(merge);
        return rc;
    }
    heap_make(merge);
    *out = merge;
    return 0;
}

int run_merge_sources(struct engine_source *const *sources, unsigned count,
                      const struct engine_snapshots *snapshots, const struct run_merge_below *below,
                      struct run_merge **out)
{
    struct run_merge *merge = merge_new(count, snapshots, true);
    if (merge == NULL)
        return no_memory();
    merge->below = below;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        merge->inputs[i].source = sources[i];
        rc = input_begin(merge, i);
    }
    if (rc != 0) {
        run_merge_delete(merge);
        return rc;
    }
    heap_make(merge);
    *out = merge;
    return 0;
}

void run_merge_delete(struct run_merge *merge)
{
    for (unsigned i = 0; i < merge->count; i++)
        if (merge->inputs[i].cursor != NULL)
            run_cursor_close(merge->inputs[i].cursor);
    free(merge->inputs);
    free(merge->heap);
    run_memory_destroy(&merge->key);
    run_memory_destroy(&merge->back);
    free(merge);
}
