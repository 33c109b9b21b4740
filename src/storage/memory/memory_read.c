/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reading the runs of a body as one ordered map with versions: at start, for backups, and in tests.
 *
 * A get asks the runs from the newest to the oldest; the first that has a version at or before the
 * timestamp has the right one, since no older run has a newer version of the same row.
 *
 * A cursor has one cursor in each run. The next key is the nearest of theirs; all versions of it are
 * passed in all of them, and the newest at or before the timestamp is kept, in memory of the
 * cursor's own, because a run's row is gone when its cursor moves on. The runs are few, so they are
 * compared one by one.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "storage/memory/memory_internal.h"

int memory__get(struct body_view *base, const void *key, size_t key_size, uint64_t ts,
                struct arena *arena, struct engine_row *out)
{
    struct memory_view *view = (struct memory_view *)base;
    for (unsigned i = 0; i < view->count; i++) {
        int rc = run_get(view->runs[i], key, key_size, ts, arena, out);
        if (rc != ERROR_NOT_FOUND)
            return rc == 0 && out->data == NULL ? ERROR_NOT_FOUND : rc;
    }
    return ERROR_NOT_FOUND;
}

struct bytes {
    char *data;
    size_t size, capacity;
};

struct input {
    struct run_cursor *cursor;
    struct engine_row row;
    bool ended;
};

struct memory_cursor {
    struct body_cursor base;
    uint64_t ts;
    bool backward;
    struct bytes key, data; /* of the row found */
    unsigned count;
    struct input inputs[];
};

/* Has an address afterwards, also for no bytes. */
static int bytes_set(struct bytes *bytes, const void *data, size_t size)
{
    if (size >= bytes->capacity) {
        size_t capacity = 2 * bytes->capacity > size ? 2 * bytes->capacity : size + 1;
        char *grown = realloc(bytes->data, capacity);
        if (grown == NULL)
            return diag_set(ERROR_MEMORY, "no memory for a row of %zu bytes", size);
        bytes->data = grown;
        bytes->capacity = capacity;
    }
    if (size > 0)
        memcpy(bytes->data, data, size);
    bytes->size = size;
    return 0;
}

static int input_next(struct input *input)
{
    int rc = run_cursor_next(input->cursor, &input->row);
    input->ended = rc == ERROR_END;
    return input->ended ? 0 : rc;
}

void memory__cursor_close(struct body_cursor *base)
{
    struct memory_cursor *cursor = (struct memory_cursor *)base;
    for (unsigned i = 0; i < cursor->count; i++)
        run_cursor_close(cursor->inputs[i].cursor);
    free(cursor->key.data);
    free(cursor->data.data);
    free(cursor);
}

int memory__cursor_open(struct body_view *base, const struct engine_range *range, uint64_t ts,
                        struct body_cursor **out)
{
    struct memory_view *view = (struct memory_view *)base;
    struct memory_cursor *cursor =
        calloc(1, sizeof *cursor + view->count * sizeof cursor->inputs[0]);
    if (cursor == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a cursor");
    cursor->base.vtab = &engine_memory;
    cursor->ts = ts;
    cursor->backward = range->backward;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < view->count; i++) {
        struct input *input = &cursor->inputs[i];
        rc = run_cursor_open(view->runs[i], range, &input->cursor);
        if (rc == 0) {
            cursor->count++;
            rc = input_next(input);
        }
    }
    if (rc != 0) {
        memory__cursor_close(&cursor->base);
        return rc;
    }
    *out = &cursor->base;
    return 0;
}

static int key_compare(const void *a, size_t a_size, const void *b, size_t b_size)
{
    size_t common = a_size < b_size ? a_size : b_size;
    int order = common == 0 ? 0 : memcmp(a, b, common);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

/* The input that has the next key, NULL at the end. */
static struct input *nearest(struct memory_cursor *cursor)
{
    struct input *best = NULL;
    for (unsigned i = 0; i < cursor->count; i++) {
        struct input *input = &cursor->inputs[i];
        if (input->ended)
            continue;
        int order = best == NULL ? -1
                                 : key_compare(input->row.key, input->row.key_size, best->row.key,
                                               best->row.key_size);
        if (best == NULL || (cursor->backward ? order > 0 : order < 0))
            best = input;
    }
    return best;
}

/* Passes the versions of the present key in one input; the best so far is in *found, its bytes with
 * the cursor. */
static int versions_pass(struct memory_cursor *cursor, struct input *input,
                         struct engine_row *found)
{
    int rc = 0;
    while (rc == 0 && !input->ended &&
           key_compare(input->row.key, input->row.key_size, cursor->key.data, cursor->key.size) ==
               0) {
        const struct engine_row *row = &input->row;
        if (row->ts <= cursor->ts && (found->key == NULL || row->ts > found->ts)) {
            *found = *row;
            found->key = (const unsigned char *)cursor->key.data;
            if (row->data != NULL)
                rc = bytes_set(&cursor->data, row->data, row->size);
        }
        if (rc == 0)
            rc = input_next(input);
    }
    return rc;
}

int memory__cursor_next(struct body_cursor *base, struct engine_row *out)
{
    struct memory_cursor *cursor = (struct memory_cursor *)base;
    struct input *input;
    while ((input = nearest(cursor)) != NULL) {
        struct engine_row found = {.key = NULL};
        int rc = bytes_set(&cursor->key, input->row.key, input->row.key_size);
        for (unsigned i = 0; rc == 0 && i < cursor->count; i++)
            rc = versions_pass(cursor, &cursor->inputs[i], &found);
        if (rc != 0)
            return rc;
        if (found.key == NULL || found.data == NULL)
            continue;
        *out = found;
        out->data = cursor->data.data;
        return 0;
    }
    return ERROR_END;
}

/* By the largest run. */
int memory__split(struct body_view *base, unsigned parts, struct arena *arena,
                  struct engine_key *keys, unsigned *count)
{
    struct memory_view *view = (struct memory_view *)base;
    struct run *largest = NULL;
    for (unsigned i = 0; i < view->count; i++)
        if (largest == NULL || run_info(view->runs[i])->blocks > run_info(largest)->blocks)
            largest = view->runs[i];
    *count = 0;
    return largest == NULL ? 0 : run_split(largest, parts, arena, keys, count);
}
