/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Readers of a body of the engine "btree" while it is written: by gets, and by cursors in both directions
 * that read ahead, while changes write pages which other changes have given up, put nodes into the cache
 * and take them out. Each round writes all keys anew with the round's number, so a view has to show one and
 * the same number for all keys, and one that was absorbed when it was opened.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "io/disk.h"
#include "storage/btree/btree_internal.h"

enum { KEYS = 500, ROUNDS = 25, READERS = 3, GETS = 20, DATA_BYTES = 200, LONG_BYTES = 6000 };

struct shared {
    struct body *body;
    struct cache *cache;
    _Atomic uint64_t absorbed; /* rounds */
    _Atomic bool ended;
    _Atomic unsigned failed; /* views that showed something else */
    _Atomic uint64_t views;
};

struct reader {
    struct shared *shared;
    pthread_t thread;
    unsigned number;
};

struct source {
    struct engine_source base;
    uint64_t round;
    unsigned next;
    char key[16];
    uint64_t data[LONG_BYTES / sizeof(uint64_t)];
};

/* Some rows are long, and lie in pages of their own. */
static uint32_t data_bytes(unsigned key)
{
    return key % 100 == 7 ? LONG_BYTES : DATA_BYTES;
}

static int source_next(struct engine_source *base, struct engine_row *out)
{
    struct source *source = (struct source *)base;
    if (source->next == KEYS)
        return ERROR_END;
    unsigned key = source->next++;
    int size = snprintf(source->key, sizeof source->key, "key %05u", key);
    for (size_t i = 0; i < sizeof source->data / sizeof *source->data; i++)
        source->data[i] = source->round;
    *out = (struct engine_row){(const unsigned char *)source->key, (size_t)size, source->round,
                               (const char *)source->data, data_bytes(key)};
    return 0;
}

static bool row_is(const struct engine_row *row, unsigned key, uint64_t round)
{
    char expected[16];
    size_t size = (size_t)snprintf(expected, sizeof expected, "key %05u", key);
    bool right = row->ts == round && row->size == data_bytes(key) && row->key_size == size &&
                 memcmp(row->key, expected, size) == 0;
    for (size_t at = 0; right && at < row->size; at += sizeof round)
        right = memcmp(row->data + at, &round, sizeof round) == 0;
    return right;
}

/* All rows of a view by a cursor; the round that they are of, 0 if they are not of one. */
static uint64_t view_scan(struct body_view *view, bool backward, uint64_t *ahead)
{
    const struct engine_range range = {.backward = backward};
    struct body_cursor *cursor;
    struct engine_row row;
    uint64_t round = 0;
    unsigned seen = 0;
    bool right = true;
    int rc = body_cursor_open(view, &range, UINT64_MAX, &cursor);
    if (rc != 0)
        return 0;
    while ((rc = body_cursor_next(cursor, &row)) == 0) {
        round = seen == 0 ? row.ts : round;
        right &= row_is(&row, backward ? KEYS - 1 - seen : seen, round);
        seen++;
    }
    *ahead += btree__cursor_ahead(cursor)->leaves;
    body_cursor_close(cursor);
    return right && rc == ERROR_END && seen == KEYS ? round : 0;
}

static bool view_gets(struct body_view *view, unsigned from, uint64_t round)
{
    struct engine_row row;
    struct arena arena;
    bool right = true;
    arena_create(&arena, 1 << 16);
    for (unsigned n = 0; n < GETS; n++) {
        char key[16];
        unsigned number = (from + n * 37) % KEYS;
        size_t size = (size_t)snprintf(key, sizeof key, "key %05u", number);
        right &=
            body_get(view, key, size, UINT64_MAX, &arena, &row) == 0 && row_is(&row, number, round);
    }
    arena_destroy(&arena);
    return right;
}

static void *reader_main(void *arg)
{
    struct reader *reader = arg;
    struct shared *shared = reader->shared;
    uint64_t file = ((struct btree_body *)shared->body)->file->number, ahead = 0;
    for (unsigned n = reader->number; !atomic_load(&shared->ended); n++) {
        struct body_view *view;
        uint64_t absorbed = atomic_load(&shared->absorbed), round;
        bool opened = body_view_open(shared->body, &view) == 0;
        if (n % 4 == 0)
            cache_forget_file(shared->cache, file);
        round = opened ? view_scan(view, n % 2 == 0, &ahead) : 0;
        if (round == 0 || round < absorbed || !view_gets(view, n, round))
            atomic_fetch_add(&shared->failed, 1);
        if (opened)
            body_view_close(view);
        atomic_fetch_add(&shared->views, 1);
    }
    return NULL;
}

static void absorb(struct shared *shared, uint64_t round)
{
    static const struct engine_snapshots none = {NULL, 0};
    static struct source source;
    source = (struct source){.base.next = source_next, .round = round};
    assert_int_equal(body_absorb(shared->body, &source.base, round, &none), 0);
    body_settle(shared->body);
    atomic_store(&shared->absorbed, round);
}

static void readers_see_whole_rounds_while_pages_are_written_again(void **state)
{
    (void)state;
    struct disk *disk = disk_new(1);
    struct io *io = disk_io(disk);
    _Atomic uint64_t next_file = 1;
    struct shared shared = {.body = NULL};
    struct reader readers[READERS];
    struct engine_stats stats;
    uint64_t ahead = 0;
    assert_int_equal(cache_new(&(struct cache_options){.budget_bytes = 2 << 20}, &shared.cache), 0);
    const struct engine_options options = {.io = io,
                                           .space_id = 512,
                                           .incarnation = 1,
                                           .next_file = &next_file,
                                           .cache = shared.cache};
    assert_int_equal(body_open(&engine_btree, &options, &shared.body), 0);
    absorb(&shared, 1);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.shared = &shared, .number = i};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]), 0);
    }
    for (uint64_t round = 2; round <= ROUNDS; round++) {
        absorb(&shared, round);
        while (atomic_load(&shared.views) < round) /* none is too early for any reader */
            sched_yield();
    }
    atomic_store(&shared.ended, true);
    for (unsigned i = 0; i < READERS; i++)
        pthread_join(readers[i].thread, NULL);
    assert_int_equal(atomic_load(&shared.failed), 0);
    /* Pages have been written again: there are not as many as all rounds have taken. */
    body_stats(shared.body, &stats);
    assert_true(stats.bytes < stats.written / 2);
    assert_int_equal(body_verify(shared.body), 0);
    /* And who scans reads ahead. */
    struct body_view *view;
    cache_forget_file(shared.cache, ((struct btree_body *)shared.body)->file->number);
    assert_int_equal(body_view_open(shared.body, &view), 0);
    assert_int_equal(view_scan(view, false, &ahead), ROUNDS);
    assert_true(ahead > 10);
    body_view_close(view);
    body_close(shared.body);
    cache_delete(shared.cache);
    io_delete(io);
    disk_delete(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_whole_rounds_while_pages_are_written_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
