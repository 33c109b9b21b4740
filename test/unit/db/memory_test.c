/* SPDX-License-Identifier: Apache-2.0 */

/* The budget of a database that has rows in memory and others on disk: the cache of the latter lends to the former. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "db/db_fixture.h"
#include "db/db_private.h"
#include "db/memory.h"
#include "mem/heap.h"
#include "storage/cache/cache.h"

enum { MB = 1 << 20, MAX_BYTES = 16 * MB, CACHE_BYTES = MAX_BYTES / 2, COLD = 12000 };

static struct db_fixture f;
static struct clock_manual now;
static unsigned rows;

static void add(const char *space, unsigned number, int *rc)
{
    char tuple[1200];
    snprintf(tuple, sizeof tuple, "[%u, \"%0*u%0500u\"]", number, 500, number * 2654435761U,
             number);
    *rc = insert(&f, NULL, space, tuple);
}

/* More rows on disk than the cache may have, and as many of them in it as there is room for. */
static void cold_make(void)
{
    int rc;
    must(make_space(&f, "cold", "{\"engine\": \"lsm\", \"compression\": \"none\"}"));
    must(make_index(&f, "cold", "pk", NULL));
    for (unsigned n = 1; n <= COLD; n++) {
        add("cold", n, &rc);
        must(rc);
    }
    db_settle(&f);
}

static void cold_read(void)
{
    char key[16];
    for (unsigned n = 1; n <= COLD; n++) {
        snprintf(key, sizeof key, "[%u]", n);
        assert_non_null(get_by(&f, NULL, "cold", "pk", key));
    }
}

static int setup(void **state)
{
    (void)state;
    rows = 0;
    clock_manual_create(&now, 1000);
    db_fixture_open(&f);
    f.clock = &now.base;
    f.memory_cache = 50;
    db_fixture_reopen(&f);
    cold_make();
    db_memory_max_set(f.db, MAX_BYTES);
    cold_read();
    must(make_space(&f, "s", NULL));
    must(make_index(&f, "s", "pk", NULL));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

/* A look, by this thread or by the checkpoint's, and what there is to see behind it. */
static struct budget_view look(unsigned ms)
{
    struct budget_view view;
    clock_manual_advance_ms(&now, ms);
    db_memory_view(f.db, &view);
    return view;
}

static struct cache_stats cached(void)
{
    struct cache_stats stats;
    cache_stats_get(f.db->memory.cache, &stats);
    return stats;
}

/* Rows in memory until so much is in use, or one is refused. */
static int fill(uint64_t bytes)
{
    int rc = 0;
    while (rc == 0 && heap_used_bytes(db_heap(f.db)) < bytes)
        add("s", ++rows, &rc);
    return rc;
}

static void check_whole(const struct budget_view *view)
{
    assert_int_equal(view->parts[BUDGET_HEAD].limit + view->parts[BUDGET_CACHES].limit, MAX_BYTES);
    assert_int_equal(view->parts[BUDGET_HEAD].limit, heap_limit_bytes(db_heap(f.db)));
    assert_int_equal(view->parts[BUDGET_CACHES].limit, cached().budget_bytes);
    assert_true(cached().used_bytes <= cached().budget_bytes);
}

static void rows_get_what_the_cache_can_do_without_until_there_is_room_again(void **state)
{
    (void)state;
    struct heap *heap = db_heap(f.db);
    struct budget_view view = look(1);
    assert_int_equal(view.stage, BUDGET_EASY);
    assert_int_equal(view.evicted_bytes, 0);
    assert_int_equal(heap_limit_bytes(heap), MAX_BYTES - CACHE_BYTES);
    assert_true(cached().used_bytes > CACHE_BYTES / 10 * 9);
    check_whole(&view);

    must(fill((uint64_t)(MAX_BYTES - CACHE_BYTES) / 100 * 93));
    view = look(100);
    view = look(1);
    assert_true(view.entered[BUDGET_EVICT] >= 1);
    assert_true(view.lent_bytes > 0 && view.lent_bytes < CACHE_BYTES / 2);
    assert_true(view.evicted_bytes > 0);
    assert_int_equal(view.stage, BUDGET_FLUSH);
    check_whole(&view);

    /* Above what was the head's: nothing is refused, though nobody looks. */
    must(fill(MAX_BYTES - CACHE_BYTES / 4 * 3));
    view = look(1);
    assert_true(heap_used_bytes(heap) > MAX_BYTES - CACHE_BYTES);
    check_whole(&view);

    /* Half of the cache's is the cache's. */
    assert_int_equal(fill(MAX_BYTES), ERROR_MEMORY);
    view = look(1);
    assert_int_equal(view.stage, BUDGET_FULL);
    assert_int_equal(view.lent_bytes, CACHE_BYTES / 2);
    assert_true(view.evicted_bytes > CACHE_BYTES / 5 * 2);
    check_whole(&view);

    /* The cache can be read into all the same, and gets back what it had when the rows are gone. */
    cold_read();
    check_whole(&view);
    must(truncate_space(&f, "s"));
    do {
        db_settle(&f);
        view = look(1000);
    } while (view.lent_bytes > 0);
    assert_int_equal(view.stage, BUDGET_EASY);
    assert_int_equal(heap_limit_bytes(heap), MAX_BYTES - CACHE_BYTES);
    cold_read();
    assert_true(cached().used_bytes > CACHE_BYTES / 10 * 9);
    check_whole(&view);
}

/* What is in use grows evenly: half a minute before it would be the limit. */
static void the_cache_lends_early_when_rows_come_fast(void **state)
{
    (void)state;
    uint64_t limit = MAX_BYTES - CACHE_BYTES, used = limit / 2;
    struct budget_view view = look(100);
    while (view.lent_bytes == 0 && used < limit / 100 * 85) {
        must(fill(used += limit / 100));
        view = look(1000);
    }
    assert_true(used < limit / 100 * 85);
    assert_true(view.early >= 1);
    assert_true(view.evicted_bytes > 0);
    check_whole(&view);
}

int main(void)
{
#define WITH_DATABASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_DATABASE(rows_get_what_the_cache_can_do_without_until_there_is_room_again),
        WITH_DATABASE(the_cache_lends_early_when_rows_come_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
