/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The budget: stages by level and by forecast, how writers are slowed, what clients are asked for and in
 * which order, and how the parts are shared. Times and levels are said, not measured.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "mem/budget.h"

static const uint64_t S = 1000000000, MS = 1000000, MB = 1 << 20;

/* --------------------------------------------------------------------------------------- decisions */

static void stages_follow_the_level(void **state)
{
    (void)state;
    static const struct {
        uint64_t used;
        enum budget_stage stage;
    } LEVELS[] = {{0, BUDGET_EASY},    {799, BUDGET_EASY},  {800, BUDGET_FLUSH},
                  {899, BUDGET_FLUSH}, {900, BUDGET_EVICT}, {950, BUDGET_SLOW},
                  {1000, BUDGET_SLOW}, {1001, BUDGET_FULL}, {9999, BUDGET_FULL}};
    for (size_t i = 0; i < sizeof LEVELS / sizeof *LEVELS; i++)
        assert_int_equal(budget_decide(LEVELS[i].used, 1000, -1, BUDGET_EASY), LEVELS[i].stage);
    assert_int_equal(budget_decide(9999, 0, -1, BUDGET_EASY), BUDGET_EASY); /* no limit */
}

static void a_stage_is_left_a_little_below_where_it_began(void **state)
{
    (void)state;
    assert_int_equal(budget_decide(790, 1000, -1, BUDGET_FLUSH), BUDGET_FLUSH);
    assert_int_equal(budget_decide(779, 1000, -1, BUDGET_FLUSH), BUDGET_EASY);
    assert_int_equal(budget_decide(885, 1000, -1, BUDGET_EVICT), BUDGET_EVICT);
    assert_int_equal(budget_decide(879, 1000, -1, BUDGET_EVICT), BUDGET_FLUSH);
    assert_int_equal(budget_decide(885, 1000, -1, BUDGET_FLUSH),
                     BUDGET_FLUSH); /* it did not begin */
    assert_int_equal(budget_decide(1000, 1000, -1, BUDGET_FULL),
                     BUDGET_SLOW); /* writes pass again */
    assert_int_equal(budget_decide(100, 1000, -1, BUDGET_FULL), BUDGET_EASY);
}

static void the_forecast_makes_flushing_and_evicting_early_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(budget_decide(600, 1000, 61, BUDGET_EASY), BUDGET_EASY);
    assert_int_equal(budget_decide(600, 1000, 59, BUDGET_EASY), BUDGET_FLUSH);
    assert_int_equal(budget_decide(600, 1000, 29, BUDGET_EASY), BUDGET_EVICT);
    assert_int_equal(budget_decide(600, 1000, 0.1, BUDGET_EASY), BUDGET_EVICT);
    assert_int_equal(budget_decide(499, 1000, 1, BUDGET_EASY), BUDGET_EASY); /* half is free */
    assert_int_equal(budget_decide(960, 1000, 59, BUDGET_EASY), BUDGET_SLOW);
}

static void the_delay_grows_smoothly_up_to_a_bound(void **state)
{
    (void)state;
    uint64_t last = 0, step_max = 0;
    assert_int_equal(budget_delay_ns(950 * 1000, 1000 * 1000), 0);
    assert_int_equal(budget_delay_ns(5, 0), 0);
    for (uint64_t used = 950 * 1000; used <= 1000 * 1000; used += 100) {
        uint64_t delay = budget_delay_ns(used, 1000 * 1000);
        assert_true(delay >= last);
        if (delay - last > step_max)
            step_max = delay - last;
        last = delay;
    }
    assert_int_equal(last, BUDGET_DELAY_MS_MAX * MS);
    assert_true(step_max < BUDGET_DELAY_MS_MAX * MS / 200);             /* of 500 steps */
    assert_int_equal(budget_delay_ns(1000 * 1000 + 1, 1000 * 1000), 0); /* it is refused */
    assert_int_equal(budget_delay_ns(975 * 1000, 1000 * 1000), BUDGET_DELAY_MS_MAX * MS / 4);
}

static void the_parts_are_the_whole(void **state)
{
    (void)state;
    uint64_t parts[BUDGET_PARTS];
    for (uint64_t bytes = 1; bytes < UINT64_MAX / 3; bytes = 3 * bytes + 7) {
        budget_split(bytes, 30, 15, parts);
        assert_true(parts[0] + parts[1] + parts[2] == bytes);
    }
    budget_split(1000 * MB, 30, 15, parts);
    assert_int_equal(parts[BUDGET_HEAD], 550 * MB);
    assert_int_equal(parts[BUDGET_CACHES], 300 * MB);
    assert_int_equal(parts[BUDGET_LUA], 150 * MB);
    budget_split(0, 30, 15, parts);
    assert_int_equal(parts[0] + parts[1] + parts[2], 0);
}

/* ------------------------------------------------------------------------- a budget and its clients */

struct fixture {
    struct budget budget;
    uint64_t used, limit; /* of the head */
    char calls[256];      /* letters of what was called */
};

struct client {
    struct budget_client base;
    struct fixture *fixture;
    char name;
    uint64_t bytes; /* resized to */
    bool busy, dull;
};

static uint64_t head_used(void *arg)
{
    return ((struct fixture *)arg)->used;
}

static uint64_t head_limit(void *arg)
{
    return ((struct fixture *)arg)->limit;
}

static void head_limit_set(void *arg, uint64_t bytes)
{
    ((struct fixture *)arg)->limit = bytes;
}

static void note(struct client *client, char what)
{
    size_t size = strlen(client->fixture->calls);
    snprintf(client->fixture->calls + size, sizeof client->fixture->calls - size, "%c%c ",
             client->name, what);
}

static bool on_flush(void *arg, enum budget_stage stage)
{
    struct client *client = arg;
    (void)stage;
    note(client, 'f');
    return !client->dull;
}

static bool on_busy(void *arg)
{
    return ((struct client *)arg)->busy;
}

static void on_resize(void *arg, uint64_t bytes)
{
    ((struct client *)arg)->bytes = bytes;
}

static uint64_t on_used(void *arg)
{
    return ((struct client *)arg)->bytes / 2;
}

static void begin(struct fixture *f, uint64_t bytes_max, unsigned cache, unsigned lua)
{
    memset(f, 0, sizeof *f);
    budget_create(&f->budget, &(struct budget_options){.bytes_max = bytes_max,
                                                       .cache_percent = cache,
                                                       .lua_percent = lua,
                                                       .head_used = head_used,
                                                       .head_limit = head_limit,
                                                       .head_limit_set = head_limit_set,
                                                       .arg = f});
}

static void join(struct fixture *f, struct client *client, char name)
{
    client->fixture = f;
    client->name = name;
    client->base.arg = client;
    budget_join(&f->budget, &client->base);
}

/* What a look at a moment calls. */
static const char *tick(struct fixture *f, uint64_t now_ns, uint64_t used)
{
    f->calls[0] = '\0';
    f->used = used;
    budget_tick(&f->budget, now_ns);
    return f->calls;
}

/* A cache that has 1600 bytes, as the head has: it lends 100 at a time, and 800 at most. */
static void begin_with_cache(struct fixture *f, struct client *cache)
{
    begin(f, 3200, 50, 0);
    *cache = (struct client){
        .base = {.name = "cache", .part = BUDGET_CACHES, .resize = on_resize, .used = on_used}};
    join(f, cache, 'c');
    assert_int_equal(cache->bytes, 1600);
    assert_int_equal(f->limit, 1600);
}

static struct budget_view view_of(struct fixture *f)
{
    struct budget_view view;
    f->budget.next_ns = UINT64_MAX; /* as it is */
    budget_view(&f->budget, 0, &view);
    f->budget.next_ns = 0;
    return view;
}

static void pressure_flushes_then_evicts_then_slows_and_the_limit_is_the_heads(void **state)
{
    (void)state;
    struct fixture f;
    struct client a = {.base = {.name = "a", .flush = on_flush, .busy = on_busy}, .busy = true}, c;
    begin_with_cache(&f, &c);
    join(&f, &a, 'a');
    assert_string_equal(tick(&f, 1 * S, 1200), "");
    assert_true(budget_is_easy(&f.budget, 1200) && !budget_is_easy(&f.budget, 1280));
    assert_string_equal(tick(&f, 2 * S, 1300), "af ");
    assert_int_equal(budget_slow(&f.budget), 0);
    assert_int_equal(f.limit, 1600);
    /* 1440 are 90%, and 88% of some 1637: a sixteenth of what the cache has is enough. */
    assert_string_equal(tick(&f, 3 * S, 1440), "af ");
    assert_int_equal(f.limit, 1700);
    assert_int_equal(c.bytes, 1500);
    assert_true(budget_is_easy(&f.budget, 1359) && !budget_is_easy(&f.budget, 1360));
    struct budget_view view = view_of(&f);
    assert_int_equal(view.lent_bytes, 100);
    assert_int_equal(view.evicted_bytes, 50); /* the cache is half full */
    assert_int_equal(view.parts[BUDGET_CACHES].limit, 1500);
    assert_int_equal(view.parts[BUDGET_HEAD].limit, 1700);
    /* Beyond the limit at once: it lends what it takes, so nobody is slowed. */
    assert_string_equal(tick(&f, 4 * S, 1750), "af ");
    assert_int_equal(f.limit, 2000);
    assert_int_equal(budget_slow(&f.budget), 0);
    tick(&f, 4 * S + MS, 1750);
    assert_int_equal(view_of(&f).stage, BUDGET_FLUSH);
    /* Half of it, and no more: then writers are slowed. */
    tick(&f, 5 * S, 2340);
    assert_int_equal(f.limit, 2400);
    assert_int_equal(c.bytes, 800);
    tick(&f, 6 * S, 2340);
    assert_int_equal(f.limit, 2400);
    assert_int_equal(budget_slow(&f.budget), BUDGET_DELAY_MS_MAX * MS / 4);
    view = view_of(&f);
    assert_int_equal(view.stage, BUDGET_SLOW);
    assert_int_equal(view.slowed, 1);
    assert_int_equal(view.slowed_ns, BUDGET_DELAY_MS_MAX * MS / 4);
    assert_int_equal(view.flushes, 5);
    assert_int_equal(view.lent_bytes, 800);
    assert_int_equal(view.evicted_bytes, 400);
    assert_int_equal(view.entered[BUDGET_FLUSH], 1);
    assert_int_equal(view.entered[BUDGET_EVICT], 1);
    budget_leave(&f.budget, &a.base), budget_leave(&f.budget, &c.base);
    assert_int_equal(f.limit, 3200); /* without a cache nothing is lent */
    budget_destroy(&f.budget);
}

static void what_caches_lent_they_get_back_step_by_step_when_it_is_easy(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    begin_with_cache(&f, &c);
    tick(&f, 1 * S, 1750);
    assert_int_equal(c.bytes, 1200);
    for (uint64_t s = 2; s < 10; s++)
        tick(&f, s * S, 1600); /* 80% of what it has now */
    assert_int_equal(c.bytes, 1200);
    /* Easy with 2000; with 1800 it would be more than 78%. */
    for (uint64_t s = 10; s < 20; s++)
        tick(&f, s * S, 1450);
    assert_int_equal(c.bytes, 1300);
    assert_int_equal(f.limit, 1900);
    tick(&f, 20 * S, 100);
    assert_int_equal(c.bytes, 1400);
    tick(&f, 20 * S + 500 * MS, 100); /* a step a second */
    assert_int_equal(c.bytes, 1400);
    for (uint64_t s = 21; s < 30; s++)
        tick(&f, s * S, 100);
    assert_int_equal(c.bytes, 1600);
    assert_int_equal(f.limit, 1600);
    assert_int_equal(view_of(&f).lent_bytes, 0);
    budget_leave(&f.budget, &c.base);
    budget_destroy(&f.budget);
}

static void a_writer_that_meets_the_limit_between_looks_gets_what_caches_can_lend(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    begin_with_cache(&f, &c);
    f.used = 1601;
    budget_relieve(&f.budget);
    assert_int_equal(f.limit, 1900);
    f.used = 9999;
    budget_relieve(&f.budget);
    assert_int_equal(f.limit, 2400);
    budget_relieve(&f.budget);
    assert_int_equal(f.limit, 2400);
    assert_int_equal(c.bytes, 800);
    /* Of another part it is the same in sixteenths. */
    budget_cache_percent_set(&f.budget, 25);
    assert_int_equal(c.bytes, 400);
    assert_int_equal(f.limit, 2800);
    budget_bytes_max_set(&f.budget, 0);
    assert_int_equal(f.limit, 0);
    budget_relieve(&f.budget);
    assert_int_equal(view_of(&f).lent_bytes, 0);
    budget_leave(&f.budget, &c.base);
    budget_destroy(&f.budget);
}

static void a_shortage_is_what_the_limit_is_too_low_by(void **state)
{
    (void)state;
    assert_int_equal(budget_shortage(879, 1000), 0);
    assert_int_equal(budget_shortage(5, 0), 0);
    for (uint64_t limit = 1000; limit < (uint64_t)1 << 48; limit = 3 * limit + 7)
        for (uint64_t used = limit / 2; used < 3 * limit; used += limit / 10) {
            uint64_t more = budget_shortage(used, limit);
            assert_int_equal(budget_decide(used, limit + more, -1, BUDGET_EVICT) >= BUDGET_EVICT,
                             false);
            if (more > limit / 10) /* and by no more than that */
                assert_true(budget_decide(used, limit + more - limit / 100, -1, BUDGET_EVICT) >=
                            BUDGET_EVICT);
        }
}

static void writers_are_slowed_only_while_somebody_frees(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, 1000, 0, 0);
    struct client a = {.base = {.name = "a", .flush = on_flush, .busy = on_busy}};
    join(&f, &a, 'a');
    tick(&f, 1 * S, 1000);
    assert_int_equal(budget_slow(&f.budget), 0);
    a.busy = true;
    tick(&f, 2 * S, 1000);
    assert_int_equal(budget_slow(&f.budget), BUDGET_DELAY_MS_MAX * MS);
    f.used = 100; /* what was freed since the last look counts at once */
    assert_int_equal(budget_slow(&f.budget), 0);
    budget_leave(&f.budget, &a.base);
    budget_destroy(&f.budget);
}

static void looks_are_rare_and_flushes_rarer(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, 1000, 0, 0);
    struct client a = {.base = {.name = "a", .flush = on_flush}};
    join(&f, &a, 'a');
    assert_string_equal(tick(&f, 10 * S, 850), "af ");
    assert_string_equal(tick(&f, 10 * S + 99 * MS, 850), "");
    assert_string_equal(tick(&f, 10 * S + 999 * MS, 850), "");
    assert_string_equal(tick(&f, 11 * S + 200 * MS, 850), "af ");
    a.dull = true; /* nothing was begun: it is asked again */
    assert_string_equal(tick(&f, 13 * S, 850), "af ");
    assert_string_equal(tick(&f, 13 * S + 100 * MS, 850), "af ");
    struct budget_view view;
    budget_view(&f.budget, 13 * S + 100 * MS, &view);
    assert_int_equal(view.flushes, 2);
    budget_leave(&f.budget, &a.base);
    budget_destroy(&f.budget);
}

static void it_begins_before_the_limit_is_near_when_memory_grows_fast(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, 1000 * MB, 0, 0);
    struct client a = {.base = {.name = "a", .flush = on_flush}};
    join(&f, &a, 'a');
    uint64_t first = 0;
    for (uint64_t s = 0; s < 100; s++) {
        const char *calls = tick(&f, (100 + s) * S, 300 * MB + s * 7 * MB);
        if (*calls != '\0' && first == 0)
            first = s;
        if (*calls != '\0')
            assert_true(strchr(calls, 'f') != NULL);
    }
    /* A minute ahead of the limit: at 1000 - 60 * 7 = 580 MB. By the level it would be 800. */
    assert_int_equal(first, 40);
    struct budget_view view;
    budget_view(&f.budget, 200 * S, &view);
    assert_true(view.early >= 1);
    assert_true(view.forecast.trend > 6.9 * (double)MB && view.forecast.trend < 7.1 * (double)MB);
    budget_leave(&f.budget, &a.base);
    budget_destroy(&f.budget);
}

static void caches_lend_before_the_limit_is_near_when_memory_grows_fast(void **state)
{
    (void)state;
    struct fixture f;
    struct client c;
    begin_with_cache(&f, &c);
    budget_bytes_max_set(&f.budget, 3200 * MB);
    uint64_t s = 0, used = 1000 * MB, lent_at = 0;
    for (; view_of(&f).lent_bytes == 0; s++) {
        lent_at = used += 10 * MB;
        tick(&f, (100 + s) * S, used);
    }
    /* Half a minute before 1600 MB, and one step. */
    assert_int_equal(lent_at, 1300 * MB);
    assert_int_equal(view_of(&f).lent_bytes, 100 * MB);
    for (unsigned n = 0; n < 20; n++)
        tick(&f, (100 + s) * S + n * MS, used += MB / 1000);
    assert_int_equal(view_of(&f).lent_bytes, 100 * MB);
    /* It stays at that: the forecast needs a while to believe it, and then the cache gets it back. */
    for (unsigned n = 0; n < 200; n++)
        tick(&f, (101 + s + n) * S, used - 100 * MB);
    assert_int_equal(view_of(&f).lent_bytes, 0);
    assert_int_equal(f.limit, 1600 * MB);
    budget_leave(&f.budget, &c.base);
    budget_destroy(&f.budget);
}

static void caches_share_their_part_and_the_head_has_the_rest(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, 1000 * MB, 20, 10);
    assert_int_equal(f.limit, 900 * MB); /* there is no cache yet */
    struct client a = {.base = {.name = "a",
                                .part = BUDGET_CACHES,
                                .resize = on_resize,
                                .used = on_used,
                                .bytes = 7 * MB}};
    struct client b = a;
    b.base.weight = 3;
    join(&f, &a, 'a');
    assert_int_equal(a.bytes, 200 * MB);
    assert_int_equal(f.limit, 700 * MB);
    join(&f, &b, 'b');
    assert_int_equal(a.bytes, 50 * MB);
    assert_int_equal(b.bytes, 150 * MB);
    budget_cache_percent_set(&f.budget, 40);
    assert_int_equal(b.bytes, 300 * MB);
    assert_int_equal(f.limit, 500 * MB);
    struct budget_view view;
    budget_view(&f.budget, S, &view);
    assert_int_equal(view.parts[BUDGET_CACHES].limit, 400 * MB);
    assert_int_equal(view.parts[BUDGET_CACHES].used, 200 * MB);
    assert_int_equal(view.parts[BUDGET_LUA].limit, 100 * MB);
    assert_int_equal(view.parts[BUDGET_HEAD].limit, 500 * MB);
    budget_bytes_max_set(&f.budget, 0); /* without a limit each is as large as it came */
    assert_int_equal(a.bytes, 7 * MB);
    assert_int_equal(f.limit, 0);
    assert_int_equal(budget_bytes_max(&f.budget), 0);
    assert_true(budget_is_easy(&f.budget, UINT64_MAX - 1));
    budget_bytes_max_set(&f.budget, 100 * MB);
    budget_leave(&f.budget, &a.base);
    budget_leave(&f.budget, &b.base);
    assert_int_equal(f.limit, 90 * MB);
    budget_destroy(&f.budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_follow_the_level),
        cmocka_unit_test(a_stage_is_left_a_little_below_where_it_began),
        cmocka_unit_test(the_forecast_makes_flushing_and_evicting_early_and_nothing_else),
        cmocka_unit_test(the_delay_grows_smoothly_up_to_a_bound),
        cmocka_unit_test(the_parts_are_the_whole),
        cmocka_unit_test(pressure_flushes_then_evicts_then_slows_and_the_limit_is_the_heads),
        cmocka_unit_test(what_caches_lent_they_get_back_step_by_step_when_it_is_easy),
        cmocka_unit_test(a_writer_that_meets_the_limit_between_looks_gets_what_caches_can_lend),
        cmocka_unit_test(a_shortage_is_what_the_limit_is_too_low_by),
        cmocka_unit_test(writers_are_slowed_only_while_somebody_frees),
        cmocka_unit_test(looks_are_rare_and_flushes_rarer),
        cmocka_unit_test(it_begins_before_the_limit_is_near_when_memory_grows_fast),
        cmocka_unit_test(caches_lend_before_the_limit_is_near_when_memory_grows_fast),
        cmocka_unit_test(caches_share_their_part_and_the_head_has_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
