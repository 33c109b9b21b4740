/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_BODY_H
#define BENCH_BODY_H

/*
 * What the benchmarks of single bodies share: a body over a directory and a cache of its own, rows
 * that it absorbs in pieces as checkpoints give them, and reads. Rows have a number each; `number_of`
 * tells that of the nth one, so that rows come in order of their keys or in another.
 */
#include "bench.h"
#include "data.h"

#include "base/error.h"
#include "io/io.h"
#include "storage/cache/cache.h"
#include "storage/engine.h"

enum { BODY_KEY_BYTES = 16, BODY_RANGE_ROWS = 10 };

struct bench_body {
    char dir[64];
    struct io *io;
    struct cache *cache;
    struct body *body;
    uint64_t rows, piece; /* rows in all, and of a piece */
    uint64_t (*number_of)(uint64_t n);
    _Atomic uint64_t next_file;
    uint64_t *numbers; /* of a piece */
    uint64_t ts;
};

static const struct engine_snapshots bench_body_none = {NULL, 0};

/* argv: rows, rows of a piece, MiB of cache; what is missing is a million, a hundred thousand, and
 * `cache_mib`. */
static inline void bench_body_open(struct bench_body *bench, const struct engine_vtab *engine,
                                   const struct engine_options *given, int argc, char **argv,
                                   uint64_t cache_mib)
{
    uint64_t cache_bytes = (argc > 3 ? strtoull(argv[3], NULL, 10) : cache_mib) << 20;
    bench->rows = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    bench->piece = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;
    bench->next_file = 1;
    bench->numbers = malloc(bench->piece * sizeof *bench->numbers);
    data_noise_make();
    snprintf(bench->dir, sizeof bench->dir, "/tmp/perigee-%s-XXXXXX", engine->name);
    bench_dir_create(bench->dir);
    bench_check(io_posix_new(bench->dir, true, &bench->io), "io_posix_new");
    bench_check(cache_new(&(struct cache_options){.budget_bytes = cache_bytes}, &bench->cache),
                "cache_new");
    struct engine_options options = *given;
    options.io = bench->io;
    options.space_id = 512;
    options.incarnation = 1;
    options.next_file = &bench->next_file;
    options.cache = bench->cache;
    bench_check(body_open(engine, &options, &bench->body), "body_open");
}

static inline void bench_body_close(struct bench_body *bench)
{
    body_close(bench->body);
    cache_delete(bench->cache);
    io_delete(bench->io);
    bench_dir_remove(bench->dir);
    free(bench->numbers);
}

static inline void bench_body_key(uint64_t number, unsigned char *out)
{
    memset(out, '0', BODY_KEY_BYTES);
    for (unsigned i = 0; i < 8; i++)
        out[BODY_KEY_BYTES - 1 - i] = (unsigned char)(number >> 8 * i);
}

struct bench_source {
    struct engine_source base;
    const uint64_t *numbers;
    uint64_t count, next, ts;
    unsigned char key[BODY_KEY_BYTES];
    char data[DATA_BYTES];
};

static int bench_source_next(struct engine_source *base, struct engine_row *out)
{
    struct bench_source *source = (struct bench_source *)base;
    if (source->next == source->count)
        return ERROR_END;
    uint64_t number = source->numbers[source->next++];
    bench_body_key(number, source->key);
    data_make(number, source->data);
    *out = (struct engine_row){source->key, BODY_KEY_BYTES, source->ts, source->data, DATA_BYTES};
    return 0;
}

static int bench_number_compare(const void *a_pointer, const void *b_pointer)
{
    uint64_t a = *(const uint64_t *)a_pointer, b = *(const uint64_t *)b_pointer;
    return (a > b) - (a < b);
}

/* Absorbs the first `count` of bench->numbers, in order of their keys; sorting is the head's work, and
 * not measured. Returns ns of CPU. */
static inline double bench_body_absorb(struct bench_body *bench, uint64_t count)
{
    struct bench_source source = {.base.next = bench_source_next,
                                  .numbers = bench->numbers,
                                  .count = count,
                                  .ts = ++bench->ts};
    qsort(bench->numbers, count, sizeof *bench->numbers, bench_number_compare);
    double start = bench_cpu_ns();
    bench_check(body_absorb(bench->body, &source.base, source.ts, &bench_body_none), "body_absorb");
    body_settle(bench->body);
    return bench_cpu_ns() - start;
}

static inline void bench_body_get(struct bench_body *bench, const char *name, bool present)
{
    struct random random;
    struct arena arena;
    struct body_view *view;
    uint64_t count = bench->rows / 4 > 1000000 ? 1000000 : bench->rows / 4;
    random_create(&random, 1);
    arena_create(&arena, 1 << 20);
    bench_check(body_view_open(bench->body, &view), "body_view_open");
    double start = bench_cpu_ns();
    for (uint64_t i = 0; i < count; i++) {
        unsigned char key[BODY_KEY_BYTES];
        struct engine_row row;
        uint64_t n = random_below(&random, bench->rows) + (present ? 0 : bench->rows);
        bench_body_key(bench->number_of(n), key);
        int rc = body_get(view, key, sizeof key, UINT64_MAX, &arena, &row);
        bench_check(rc == ERROR_NOT_FOUND && !present ? 0 : rc, "body_get");
        arena_reset(&arena);
    }
    bench_print(name, start, count);
    body_view_close(view);
    arena_destroy(&arena);
}

static inline void bench_body_ranges(struct bench_body *bench)
{
    struct random random;
    struct body_view *view;
    uint64_t count = bench->rows / 20 > 100000 ? 100000 : bench->rows / 20;
    random_create(&random, 2);
    bench_check(body_view_open(bench->body, &view), "body_view_open");
    double start = bench_cpu_ns();
    for (uint64_t i = 0; i < count; i++) {
        unsigned char key[BODY_KEY_BYTES];
        struct engine_row row;
        struct body_cursor *cursor;
        bench_body_key(bench->number_of(random_below(&random, bench->rows)), key);
        const struct engine_range range = {
            .lower = key, .lower_size = sizeof key, .lower_inclusive = true};
        bench_check(body_cursor_open(view, &range, UINT64_MAX, &cursor), "body_cursor_open");
        for (unsigned n = 0; n < BODY_RANGE_ROWS && body_cursor_next(cursor, &row) == 0; n++)
            ;
        body_cursor_close(cursor);
    }
    bench_print("range of 10 rows", start, count);
    body_view_close(view);
}

static inline void bench_body_walk(struct bench_body *bench)
{
    struct body_view *view;
    struct body_cursor *cursor;
    struct engine_row row;
    const struct engine_range all = {.lower = NULL};
    uint64_t seen = 0;
    bench_check(body_view_open(bench->body, &view), "body_view_open");
    double start = bench_cpu_ns();
    bench_check(body_cursor_open(view, &all, UINT64_MAX, &cursor), "body_cursor_open");
    while (body_cursor_next(cursor, &row) == 0)
        seen++;
    bench_print("a row of a walk over all", start, seen);
    if (seen != bench->rows)
        fprintf(stderr, "%llu rows instead of %llu\n", (unsigned long long)seen,
                (unsigned long long)bench->rows);
    body_cursor_close(cursor);
    body_view_close(view);
}

/* Gets, twice so that the second finds in the cache what fits there; absent ones; ranges; a walk. */
static inline void bench_body_read(struct bench_body *bench)
{
    bench_body_get(bench, "get, present", true);
    bench_body_get(bench, "get, present, again", true);
    bench_body_get(bench, "get, absent", false);
    bench_body_ranges(bench);
    bench_body_walk(bench);
}

#endif
