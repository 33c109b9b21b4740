/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_LIB_STORAGE_BODY_ROWS_H
#define TEST_LIB_STORAGE_BODY_ROWS_H

/*
 * A body behind a cache, on a disk in memory or in a folder of its own, with rows that have a number each: "key 00000" and so on, keys in the
 * order of numbers, data of BODY_ROW_BYTES made of the number; or BODY_ROW_LARGE_BYTES of those that are added while
 * `large` is set.
 */
#include "base/random.h"
#include "io/disk.h"
#include "io/io_schedule.h"
#include "mem/arena.h"
#include "storage/cache/cache.h"
#include "storage/engine.h"

enum { BODY_ROW_BYTES = 150, BODY_ROW_LARGE_BYTES = 1000, BODY_ROW_KEY_BYTES = 16 };

struct body_rows {
    struct disk *disk; /* NULL: the folder */
    char dir[40];
    struct io *io;
    struct io_scheduler *scheduler; /* NULL: without one */
    struct cache *cache;
    size_t cache_bytes;
    struct body *body;
    struct body_view *view; /* newest */
    struct arena arena;
    _Atomic uint64_t next_file;
    uint64_t ts;
    bool large;
};

void body_rows_open(struct body_rows *rows, const struct engine_vtab *engine, size_t cache_bytes);

/* The same in a folder, read through a scheduler with io_uring if the system has it, or threads. */
void body_rows_open_scheduled(struct body_rows *rows, const struct engine_vtab *engine,
                              size_t cache_bytes, bool uring);
void body_rows_close(struct body_rows *rows);

/* Absorbs the rows first, first + step, .. below `end`, and opens the view anew. */
void body_rows_add(struct body_rows *rows, unsigned first, unsigned end, unsigned step);

/* The same of rows anywhere below `end`, about one in so many. */
void body_rows_add_some(struct body_rows *rows, struct random *random, unsigned end,
                        unsigned one_in);

/* "key 00000"; the bytes without the end of the string. */
size_t body_rows_key(unsigned number, char out[BODY_ROW_KEY_BYTES]);

/* Empties the cache. */
void body_rows_cool(struct body_rows *rows);

/* body_prefetch of these rows. */
unsigned body_rows_prefetch(struct body_rows *rows, const unsigned *numbers, unsigned count,
                            unsigned *reads);

/* body_get: 0 with the right row, ERROR_CORRUPT with a wrong one, or what it returned. */
int body_rows_get(struct body_rows *rows, unsigned number);

/* Whether a row that a body gave is the one with the number. */
bool body_rows_is(const struct engine_row *row, unsigned number);

/* Reads that the disk in memory has seen so far. */
uint64_t body_rows_reads(const struct body_rows *rows);

#endif
