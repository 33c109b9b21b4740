/* SPDX-License-Identifier: Apache-2.0 */

/* The knobs of a database: what they measure, which way they go by it, and what they do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "db/db_fixture.h"
#include "db/db_private.h"
#include "db/memory.h"
#include "db/tune.h"
#include "mem/heap.h"

enum { MB = 1 << 20 };

static struct db_fixture f;
static struct clock_manual now;

static int setup(void **state)
{
    (void)state;
    clock_manual_create(&now, 1000);
    db_fixture_open(&f);
    f.clock = &now.base;
    f.interval = true;
    f.memory_cache = 20;
    db_fixture_reopen(&f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    db_fixture_close(&f);
    return 0;
}

struct search {
    const char *name;
    struct tuner_knob found;
};

static void look(const struct tuner_knob *knob, void *arg)
{
    struct search *search = arg;
    if (strcmp(knob->name, search->name) == 0)
        search->found = *knob;
}

static struct tuner_knob knob(const char *name)
{
    struct search search = {.name = name};
    tuner_each(db_tuner(f.db), look, &search);
    assert_non_null(search.found.name);
    return search.found;
}

/* A cache that is full, or empty. */
static _Atomic uint64_t cache_bytes;
static _Atomic bool cache_full;

static void on_resize(void *arg, uint64_t bytes)
{
    (void)arg;
    store_relaxed(&cache_bytes, bytes);
}

static uint64_t on_used(void *arg)
{
    (void)arg;
    return load_relaxed(&cache_full) ? load_relaxed(&cache_bytes) : 0;
}

static struct budget_client cache = {
    .name = "cache", .part = BUDGET_CACHES, .resize = on_resize, .used = on_used};

/* So much that what threads count apart is little beside it. */
static void fill(void)
{
    char tuple[2048];
    must(make_space(&f, "s", NULL));
    must(make_index(&f, "s", "pk", NULL));
    for (unsigned n = 0; n < 3000; n++) {
        snprintf(tuple, sizeof tuple, "[%u, \"%01000d\"]", n + 1, 0);
        must(insert(&f, NULL, "s", tuple));
    }
}

/* Second by second, by this thread or by the checkpoint's. */
static void tune_until(const char *name, uint64_t value)
{
    while (knob(name).value != value) {
        clock_manual_advance_ms(&now, TUNER_LOOK_MS);
        tuner_tick(db_tuner(f.db), clock_monotonic_ns(&now.base));
    }
}

static void caches_get_more_while_rows_need_little_and_less_when_they_need_more(void **state)
{
    (void)state;
    struct heap *heap = db_heap(f.db);
    fill();
    db_memory_max_set(f.db, 1000 * MB);
    budget_join(db_budget(f.db), &cache);
    store_relaxed(&cache_full, true);
    assert_int_equal(load_relaxed(&cache_bytes), 200 * MB);
    tuner_switch(db_tuner(f.db), true);
    tune_until("cache_share", 30);
    struct budget_view view;
    db_memory_view(f.db, &view); /* behind the look that has set it */
    assert_int_equal(load_relaxed(&cache_bytes), 300 * MB);
    assert_int_equal(heap_limit_bytes(heap), 700 * MB);
    tune_until("cache_share", 40); /* the most */
    assert_non_null(strstr(knob("cache_share").reason, "rows and indexes take of their limit"));
    assert_int_equal(knob("cache_share").ups, 4);
    /* Now what rows have is nearly all of their part. */
    tuner_switch(db_tuner(f.db), false);
    uint64_t used = heap_used_bytes(heap);
    assert_true(used > 0);
    db_memory_max_set(f.db, used * 100 / 60 * 100 / 97);
    tuner_switch(db_tuner(f.db), true);
    tune_until("cache_share", 35);
    assert_int_equal(knob("cache_share").downs, 1);
    tuner_switch(db_tuner(f.db), false);
    budget_leave(db_budget(f.db), &cache);
}

static void without_a_cache_its_share_stays(void **state)
{
    (void)state;
    db_memory_max_set(f.db, 1000 * MB);
    tuner_switch(db_tuner(f.db), true);
    for (unsigned n = 0; n < 50; n++) {
        clock_manual_advance_ms(&now, TUNER_LOOK_MS);
        tuner_tick(db_tuner(f.db), clock_monotonic_ns(&now.base));
    }
    assert_int_equal(knob("cache_share").value, 20);
    assert_int_equal(heap_limit_bytes(db_heap(f.db)), 1000 * MB);
}

/* How long a flush took is measured; which way the interval goes by it is given here. */
static void flushes_of_the_log_are_measured_and_come_sooner_when_they_are_cheap(void **state)
{
    (void)state;
    struct tuner_reading reading;
    struct tuner_knob flush = knob("log_flush_interval");
    assert_int_equal(flush.value, 1000);
    must(make_space(&f, "s", NULL));
    assert_int_equal(wal_wait_durable(db_wal(f.db), wal_clock(db_wal(f.db))), 0);
    assert_true(flush.measure(f.db, &reading));
    assert_true(reading.value > 0);
    for (unsigned n = 0; n < TUNER_PATIENCE; n++) {
        reading.value = 1;
        tuner_decide(&flush, &reading);
    }
    assert_int_equal(flush.value, 900);
    for (unsigned n = 0; n < 2 * TUNER_PATIENCE; n++) {
        reading.value = 30;
        tuner_decide(&flush, &reading);
    }
    assert_int_equal(flush.value, 1000);
    flush.set(f.db, 100);
}

int main(void)
{
#define WITH_DATABASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_DATABASE(caches_get_more_while_rows_need_little_and_less_when_they_need_more),
        WITH_DATABASE(without_a_cache_its_share_stays),
        WITH_DATABASE(flushes_of_the_log_are_measured_and_come_sooner_when_they_are_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
