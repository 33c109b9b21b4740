/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/body_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "storage/lsm/lsm.h"

static const struct engine_snapshots none = {NULL, 0};

size_t body_rows_key(unsigned number, char out[BODY_ROW_KEY_BYTES])
{
    return (size_t)snprintf(out, BODY_ROW_KEY_BYTES, "key %05u", number);
}

static void data_make(unsigned number, char *out)
{
    struct random random;
    random_create(&random, number);
    for (unsigned i = 0; i < BODY_ROW_LARGE_BYTES; i++)
        out[i] = (char)random_below(&random, 256);
}

static void open_in(struct body_rows *rows, const struct engine_vtab *engine, size_t cache_bytes)
{
    struct lsm_options lsm;
    rows->cache_bytes = cache_bytes;
    atomic_init(&rows->next_file, 1);
    arena_create(&rows->arena, 1 << 16);
    lsm_options_default(&lsm);
    lsm.block_bytes = 1024;
    assert_int_equal(
        cache_new(&(struct cache_options){.budget_bytes = cache_bytes, .shards = 1}, &rows->cache),
        0);
    const struct engine_options options = {.io = rows->io,
                                           .space_id = 512,
                                           .incarnation = 1,
                                           .next_file = &rows->next_file,
                                           .cache = rows->cache,
                                           .lsm = &lsm};
    assert_int_equal(body_open(engine, &options, &rows->body), 0);
    assert_int_equal(body_view_open(rows->body, &rows->view), 0);
}

void body_rows_open(struct body_rows *rows, const struct engine_vtab *engine, size_t cache_bytes)
{
    *rows = (struct body_rows){.disk = disk_new(1)};
    rows->io = disk_io(rows->disk);
    open_in(rows, engine, cache_bytes);
}

void body_rows_open_scheduled(struct body_rows *rows, const struct engine_vtab *engine,
                              size_t cache_bytes, bool uring)
{
    struct io_scheduler_options options = {.allow_uring = uring};
    *rows = (struct body_rows){.dir = "./body_rows.XXXXXX"};
    assert_non_null(mkdtemp(rows->dir));
    assert_int_equal(io_posix_new(rows->dir, true, &rows->io), 0);
    io_limits_default(&options.limits);
    assert_int_equal(io_scheduler_new(rows->io, &options, &rows->scheduler), 0);
    open_in(rows, engine, cache_bytes);
}

static int file_remove(const char *name, uint64_t size, void *arg)
{
    (void)size;
    return io_unlink(arg, name);
}

void body_rows_close(struct body_rows *rows)
{
    body_view_close(rows->view);
    body_close(rows->body);
    if (rows->scheduler != NULL)
        io_scheduler_delete(rows->scheduler);
    cache_delete(rows->cache);
    if (rows->disk == NULL)
        assert_int_equal(io_list(rows->io, file_remove, rows->io), 0);
    io_delete(rows->io);
    if (rows->disk == NULL)
        assert_int_equal(rmdir(rows->dir), 0);
    else
        disk_delete(rows->disk);
    arena_destroy(&rows->arena);
}

struct source {
    struct engine_source base;
    unsigned next, end, step;
    struct random *random; /* NULL: the step is what it is; else at random up to twice that */
    uint64_t ts;
    size_t bytes;
    char key[BODY_ROW_KEY_BYTES], data[BODY_ROW_LARGE_BYTES];
};

static int source_next(struct engine_source *base, struct engine_row *out)
{
    struct source *source = (struct source *)base;
    if (source->next >= source->end)
        return ERROR_END;
    size_t size = body_rows_key(source->next, source->key);
    data_make(source->next, source->data);
    *out = (struct engine_row){(const unsigned char *)source->key, size, source->ts, source->data,
                               source->bytes};
    source->next += source->random == NULL
                        ? source->step
                        : 1 + (unsigned)random_below(source->random, 2 * source->step - 1);
    return 0;
}

static void add(struct body_rows *rows, struct source *source)
{
    source->base.next = source_next;
    source->ts = ++rows->ts;
    source->bytes = rows->large ? BODY_ROW_LARGE_BYTES : BODY_ROW_BYTES;
    body_view_close(rows->view);
    assert_int_equal(body_absorb(rows->body, &source->base, rows->ts, &none), 0);
    body_settle(rows->body);
    assert_int_equal(body_view_open(rows->body, &rows->view), 0);
}

void body_rows_add(struct body_rows *rows, unsigned first, unsigned end, unsigned step)
{
    struct source source = {.next = first, .end = end, .step = step};
    add(rows, &source);
}

void body_rows_add_some(struct body_rows *rows, struct random *random, unsigned end,
                        unsigned one_in)
{
    struct source source = {.end = end, .step = one_in, .random = random};
    source.next = (unsigned)random_below(random, one_in);
    add(rows, &source);
}

void body_rows_cool(struct body_rows *rows)
{
    cache_resize(rows->cache, 0);
    cache_resize(rows->cache, rows->cache_bytes);
}

unsigned body_rows_prefetch(struct body_rows *rows, const unsigned *numbers, unsigned count,
                            unsigned *reads)
{
    char bytes[ENGINE_PREFETCH_MAX][BODY_ROW_KEY_BYTES];
    struct engine_key keys[ENGINE_PREFETCH_MAX];
    for (unsigned i = 0; i < count; i++)
        keys[i] = (struct engine_key){(const unsigned char *)bytes[i],
                                      body_rows_key(numbers[i], bytes[i])};
    return body_prefetch(rows->view, keys, count, UINT64_MAX, reads);
}

bool body_rows_is(const struct engine_row *row, unsigned number)
{
    char key[BODY_ROW_KEY_BYTES], data[BODY_ROW_LARGE_BYTES];
    size_t size = body_rows_key(number, key);
    data_make(number, data);
    return row->key_size == size && memcmp(row->key, key, size) == 0 &&
           (row->size == BODY_ROW_BYTES || row->size == BODY_ROW_LARGE_BYTES) &&
           memcmp(row->data, data, row->size) == 0;
}

int body_rows_get(struct body_rows *rows, unsigned number)
{
    char key[BODY_ROW_KEY_BYTES];
    struct engine_row row;
    int rc = body_get(rows->view, key, body_rows_key(number, key), UINT64_MAX, &rows->arena, &row);
    if (rc == 0 && !body_rows_is(&row, number))
        rc = ERROR_CORRUPT;
    arena_reset(&rows->arena);
    return rc;
}

uint64_t body_rows_reads(const struct body_rows *rows)
{
    return disk_call_count(rows->disk, DISK_READ);
}
