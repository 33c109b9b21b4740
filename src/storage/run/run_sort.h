/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_RUN_RUN_SORT_H
#define STORAGE_RUN_RUN_SORT_H

/*
 * Sorting of more rows than fit into memory: rows go in in any order, and come out as a run has
 * them, each (key, ts) once, as often as they are asked for.
 *
 *      add ──► memory, full ──► sorted ──► a run whose name is gone at once ─┐
 *                                           ... too many: merged into one ───┼─► next
 *      end ──► what is left likewise, or, if it was all, stays in memory ────┘
 *
 * Files are as a run's of the space (engine_file_name) while they are written, so that a start
 * removes what a crash leaves of them; from then on they have no name, and end with the sort.
 *
 * Of one thread at a time. Functions return 0 or a negative code with diagnostics; after an error it
 * can only be deleted.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/engine.h"

struct run_sort;

enum { RUN_SORT_MEMORY_BYTES_MIN = 64 << 10 };

struct run_sort_options {
    struct io *io;
    uint32_t space_id, incarnation;
    _Atomic uint64_t *next_file; /* as a body's; outlives it */
    size_t memory_bytes; /* for rows; at least _MIN. Runs that are merged take about as much */
    _Atomic bool *stop;  /* true: what takes long ends with ERROR_CANCELLED. May be NULL */
};

/* The caller owns *out. ERROR_MEMORY. */
int run_sort_new(const struct run_sort_options *options, struct run_sort **out);

/* Copies a row, the key and data of which are less than half of the memory together. Of two with the
 * same (key, ts) either stays. Not after run_sort_begin. */
int run_sort_add(struct run_sort *sort, const struct engine_row *row);

/* No more come: puts it before the first row, also one that has been read from. */
int run_sort_begin(struct run_sort *sort);

/* 0, or ERROR_END. The row is valid until the next call. */
int run_sort_next(struct run_sort *sort, struct engine_row *out);

/* How many runs it has now. */
unsigned run_sort_runs(const struct run_sort *sort);

/* NULL does nothing. */
void run_sort_delete(struct run_sort *sort);

#endif
