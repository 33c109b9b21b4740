/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Threads that ask for the same rows together, get them one by one and walk over them, by a scheduler that reads for all of
 * them, while the cache loses everything again and again and rows are absorbed.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "storage/body_rows.h"
#include "storage/btree/btree.h"
#include "storage/lsm/lsm.h"

enum { ROWS = 600, READERS = 3, TURNS = 60, KEYS = 40 };

struct reader {
    struct body_rows *rows;
    pthread_t thread;
    uint64_t seed;
    unsigned wrong;
};

static bool get_is_right(struct body_view *view, struct arena *arena, unsigned number)
{
    char key[BODY_ROW_KEY_BYTES];
    struct engine_row row;
    arena_reset(arena);
    return body_get(view, key, body_rows_key(number, key), UINT64_MAX, arena, &row) == 0 &&
           body_rows_is(&row, number);
}

static bool walk_is_right(struct body_view *view, unsigned first)
{
    char key[BODY_ROW_KEY_BYTES];
    struct body_cursor *cursor;
    struct engine_row row;
    const struct engine_range range = {
        .lower = key, .lower_size = body_rows_key(first, key), .lower_inclusive = true};
    if (body_cursor_open(view, &range, UINT64_MAX, &cursor) != 0)
        return false;
    bool right = true;
    for (unsigned at = first; right && at < ROWS && at < first + 20; at++)
        right = body_cursor_next(cursor, &row) == 0 && body_rows_is(&row, at);
    body_cursor_close(cursor);
    return right;
}

static void *reader_main(void *arg)
{
    struct reader *reader = arg;
    struct random random;
    struct arena arena;
    random_create(&random, reader->seed);
    arena_create(&arena, 1 << 16);
    for (unsigned turn = 0; turn < TURNS; turn++) {
        char bytes[KEYS][BODY_ROW_KEY_BYTES];
        struct engine_key keys[KEYS];
        unsigned numbers[KEYS], reads;
        struct body_view *view;
        if (body_view_open(reader->rows->body, &view) != 0) {
            reader->wrong++;
            continue;
        }
        for (unsigned i = 0; i < KEYS; i++) {
            numbers[i] = (unsigned)random_below(&random, ROWS);
            keys[i] = (struct engine_key){(const unsigned char *)bytes[i],
                                          body_rows_key(numbers[i], bytes[i])};
        }
        body_prefetch(view, keys, KEYS, UINT64_MAX, &reads);
        for (unsigned i = 0; i < KEYS; i++)
            reader->wrong += !get_is_right(view, &arena, numbers[i]);
        reader->wrong += !walk_is_right(view, numbers[0]);
        body_view_close(view);
    }
    arena_destroy(&arena);
    return NULL;
}

static void run(const struct engine_vtab *engine, bool uring)
{
    struct body_rows rows;
    struct reader readers[READERS];
    struct cache_stats stats;
    body_rows_open_scheduled(&rows, engine, 1 << 20, uring);
    for (unsigned first = 0; first < 3; first++)
        body_rows_add(&rows, first, ROWS, 3);
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.rows = &rows, .seed = test_seed() + i};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]), 0);
    }
    for (unsigned turn = 0; turn < TURNS; turn++) {
        body_rows_cool(&rows);
        if (turn % 20 == 0)
            body_rows_add(&rows, turn % 7, ROWS, 7);
        sched_yield();
    }
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        assert_int_equal(readers[i].wrong, 0);
    }
    cache_stats_get(rows.cache, &stats);
    assert_int_equal(stats.pinned, 0);
    body_rows_close(&rows);
}

static void threads_that_want_the_same_rows_get_them_by_threads(void **state)
{
    (void)state;
    run(&engine_lsm, false);
    run(&engine_btree, false);
}

static void threads_that_want_the_same_rows_get_them_by_a_ring(void **state)
{
    (void)state;
    run(&engine_lsm, true);
    run(&engine_btree, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_that_want_the_same_rows_get_them_by_threads),
        cmocka_unit_test(threads_that_want_the_same_rows_get_them_by_a_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
