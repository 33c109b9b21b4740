/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/run/run_sort.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "storage/run/run.h"
#include "storage/run/run_block.h"

enum { RUNS_MAX = 32, NAMES_TRIED_MAX = 1000, STOP_ROWS = 1024 };

struct run_sort {
    struct run_sort_options options;
    /* Rows from the beginning on, their bytes from the end back. */
    union {
        char *bytes;
        struct engine_row *rows;
    } memory;
    size_t count;     /* of rows in memory */
    size_t free_from; /* the bytes begin here */
    struct run *runs[RUNS_MAX];
    unsigned run_count;
    struct run_merge *merge; /* NULL: all rows are in memory */
    size_t next;             /* in memory */
    bool ended;              /* no more come */
};

static int no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory to sort rows");
}

int run_sort_new(const struct run_sort_options *options, struct run_sort **out)
{
    struct run_sort *sort = calloc(1, sizeof *sort);
    if (sort == NULL)
        return no_memory();
    sort->options = *options;
    if (sort->options.memory_bytes < RUN_SORT_MEMORY_BYTES_MIN)
        sort->options.memory_bytes = RUN_SORT_MEMORY_BYTES_MIN;
    sort->free_from = sort->options.memory_bytes;
    sort->memory.bytes = malloc(sort->options.memory_bytes);
    if (sort->memory.bytes == NULL) {
        free(sort);
        return no_memory();
    }
    *out = sort;
    return 0;
}

static int row_compare(const void *one, const void *other)
{
    return run_row_compare(one, other);
}

/* ------------------------------------------------------------------------------------------ runs */

static int writer_new(struct run_sort *sort, char name[ENGINE_FILE_NAME_MAX + 1],
                      struct run_writer **out)
{
    const struct run_sort_options *options = &sort->options;
    int rc = ERROR_EXISTS;
    /* A file that was left over, and could not be removed, keeps its name. */
    for (unsigned tried = 0; rc == ERROR_EXISTS && tried < NAMES_TRIED_MAX; tried++) {
        uint64_t number = atomic_fetch_add(options->next_file, 1);
        engine_file_name(name, options->space_id, options->incarnation, number);
        const struct run_options run = {.io = options->io,
                                        .name = name,
                                        .space_id = options->space_id,
                                        .incarnation = options->incarnation,
                                        .sequence = number,
                                        .up_to_ts = UINT64_MAX,
                                        .compression = COMPRESS_LZ4,
                                        .background = true};
        rc = run_writer_new(&run, out);
    }
    return rc;
}

static int stopped(const struct run_sort *sort)
{
    return sort->options.stop != NULL && load_relaxed(sort->options.stop)
               ? diag_set(ERROR_CANCELLED, "sorting was ended")
               : 0;
}

/* Writes all that `next` gives into a run, and opens that without a name. */
static int run_make(struct run_sort *sort, int (*next)(struct run_sort *, struct engine_row *),
                    struct run **out)
{
    char name[ENGINE_FILE_NAME_MAX + 1];
    struct run_writer *writer;
    struct engine_row row;
    int rc = writer_new(sort, name, &writer);
    if (rc != 0)
        return rc;
    for (uint64_t n = 0; rc == 0 && (rc = next(sort, &row)) == 0; n++) {
        rc = run_writer_add(writer, &row);
        if (rc == 0 && n % STOP_ROWS == 0)
            rc = stopped(sort);
    }
    if (rc != ERROR_END) {
        run_writer_delete(writer);
        return rc;
    }
    rc = run_writer_finish(writer, NULL);
    if (rc != 0)
        return rc;
    rc = run_open(sort->options.io, name, out);
    int unlinked = io_unlink(sort->options.io, name);
    if (rc == 0 && unlinked != 0) {
        run_close(*out);
        rc = unlinked;
    }
    return rc;
}

/* The next row in memory, each (key, ts) once. */
static int memory_next(struct run_sort *sort, struct engine_row *out)
{
    const struct engine_row *rows = sort->memory.rows;
    while (sort->next > 0 && sort->next < sort->count &&
           run_row_compare(&rows[sort->next - 1], &rows[sort->next]) == 0)
        sort->next++;
    if (sort->next == sort->count)
        return ERROR_END;
    *out = rows[sort->next++];
    return 0;
}

static int merged_next(struct run_sort *sort, struct engine_row *out)
{
    return run_merge_next(sort->merge, out);
}

static void merge_end(struct run_sort *sort)
{
    if (sort->merge != NULL)
        run_merge_delete(sort->merge);
    sort->merge = NULL;
}

static int merge_begin(struct run_sort *sort)
{
    merge_end(sort);
    return run_merge_new(sort->runs, sort->run_count, NULL, false, &sort->merge);
}

/* All runs become one. */
static int runs_merge(struct run_sort *sort)
{
    struct run *whole;
    int rc = merge_begin(sort);
    if (rc == 0)
        rc = run_make(sort, merged_next, &whole);
    merge_end(sort);
    if (rc != 0)
        return rc;
    while (sort->run_count > 0)
        run_close(sort->runs[--sort->run_count]);
    sort->runs[sort->run_count++] = whole;
    return 0;
}

static void memory_sort(struct run_sort *sort)
{
    qsort(sort->memory.rows, sort->count, sizeof *sort->memory.rows, row_compare);
    sort->next = 0;
}

static int spill(struct run_sort *sort)
{
    int rc = sort->run_count == RUNS_MAX ? runs_merge(sort) : 0;
    if (rc != 0)
        return rc;
    memory_sort(sort);
    rc = run_make(sort, memory_next, &sort->runs[sort->run_count]);
    if (rc != 0)
        return rc;
    sort->run_count++;
    sort->count = sort->next = 0;
    sort->free_from = sort->options.memory_bytes;
    return 0;
}

/* ------------------------------------------------------------------------------------------ rows */

int run_sort_add(struct run_sort *sort, const struct engine_row *row)
{
    size_t bytes = row->key_size + (row->data == NULL ? 0 : row->size);
    ASSERT(!sort->ended && bytes <= sort->options.memory_bytes / 2);
    if ((sort->count + 1) * sizeof *row + bytes > sort->free_from) {
        int rc = spill(sort);
        if (rc != 0)
            return rc;
    }
    struct engine_row *out = &sort->memory.rows[sort->count++];
    unsigned char *at = (unsigned char *)sort->memory.bytes + (sort->free_from -= bytes);
    *out = *row;
    out->key = at;
    memcpy(at, row->key, row->key_size);
    if (row->data == NULL)
        return 0;
    out->data = (char *)at + row->key_size;
    memcpy(at + row->key_size, row->data, row->size);
    return 0;
}

int run_sort_begin(struct run_sort *sort)
{
    int rc = 0;
    if (!sort->ended && sort->run_count > 0 && sort->count > 0)
        rc = spill(sort);
    else if (!sort->ended)
        memory_sort(sort);
    if (rc == 0 && !sort->ended && sort->run_count > 0) {
        free(sort->memory.bytes);
        sort->memory.bytes = NULL;
    }
    if (rc != 0)
        return rc;
    sort->ended = true;
    sort->next = 0;
    return sort->run_count > 0 ? merge_begin(sort) : 0;
}

int run_sort_next(struct run_sort *sort, struct engine_row *out)
{
    ASSERT(sort->ended);
    return sort->merge != NULL ? merged_next(sort, out) : memory_next(sort, out);
}

unsigned run_sort_runs(const struct run_sort *sort)
{
    return sort->run_count;
}

void run_sort_delete(struct run_sort *sort)
{
    if (sort == NULL)
        return;
    merge_end(sort);
    while (sort->run_count > 0)
        run_close(sort->runs[--sort->run_count]);
    free(sort->memory.bytes);
    free(sort);
}
