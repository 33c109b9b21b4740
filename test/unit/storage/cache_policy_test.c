/* SPDX-License-Identifier: Apache-2.0 */

/* Each replacement policy against a model of its paper, over traces of several kinds and over recorded ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "storage/cache/cache.h"
#include "storage/cache_model.h"
#include "storage/cache_trace.h"

enum { COUNT = 12000, ROOMS = 3, POLICIES_MAX = 16, SIZE = 64, SEED = 20 };
/* Two of them differ by so much at least in what was recorded. */
#define RECORDED_APART 0.002
enum { RECORDED = 2, TRACES = TRACE_KINDS + RECORDED };

static const unsigned rooms[ROOMS] = {32, 100, 300};

static struct cache_access trace[TRACE_RECORDED_MAX];
static size_t trace_count;

static void trace_make(enum cache_trace_kind kind)
{
    cache_trace_make(kind, SEED, trace, COUNT);
    trace_count = COUNT;
}

/* Of all: first those that are made, then what was recorded. Returns its name. */
static const char *trace_take(unsigned number)
{
    if (number < TRACE_KINDS) {
        trace_make((enum cache_trace_kind)number);
        return cache_trace_name((enum cache_trace_kind)number);
    }
    trace_count = cache_trace_read(number - TRACE_KINDS, trace, TRACE_RECORDED_MAX);
    return cache_trace_recorded(number - TRACE_KINDS);
}

static int load(struct cache_fill *fill, void *arg)
{
    (void)arg;
    return cache_fill_room(fill, SIZE) != NULL ? 0 : ERROR_MEMORY;
}

static struct cache *cache_of(const char *policy, unsigned room)
{
    struct cache *cache;
    struct cache_options options = {
        .budget_bytes = room * cache_charge(SIZE), .policy = policy, .shards = 1};
    assert_int_equal(cache_new(&options, &cache), 0);
    return cache;
}

static uint64_t misses_of(struct cache *cache)
{
    struct cache_stats stats;
    cache_stats_get(cache, &stats);
    return stats.misses;
}

/* Accesses a page; whether it was there. */
static bool use(struct cache *cache, uint32_t page, unsigned flags)
{
    struct cache_guard guard;
    bool hit = cache_try(cache, 1, page, flags, &guard) == 0;
    if (!hit)
        assert_int_equal(cache_get(cache, 1, page, flags, load, NULL, &guard), 0);
    cache_guard_release(&guard);
    return hit;
}

static double rate_of(const char *policy, unsigned room)
{
    struct cache *cache = cache_of(policy, room);
    size_t hits = 0;
    for (size_t n = 0; n < trace_count; n++)
        hits += use(cache, trace[n].page, trace[n].scan ? CACHE_SCAN : 0);
    assert_int_equal(misses_of(cache), trace_count - hits);
    cache_delete(cache);
    return (double)hits / (double)trace_count;
}

static double distance(double a, double b)
{
    return a > b ? a - b : b - a;
}

static void check_against_model(const char *policy, const char *name)
{
    for (unsigned i = 0; i < ROOMS; i++) {
        double rate = rate_of(policy, rooms[i]);
        size_t hits = cache_model_hits(policy, rooms[i], trace, trace_count);
        assert_true(hits != SIZE_MAX);
        double model = (double)hits / (double)trace_count;
        if (distance(rate, model) > 0.01)
            fail_msg("%s, %s, room for %u: %.4f, and %.4f in the model", policy, name, rooms[i],
                     rate, model);
    }
}

static void hit_rates_are_those_of_a_model_of_the_paper(void **state)
{
    const char *policy = *state;
    for (unsigned n = 0; n < TRACES; n++)
        check_against_model(policy, trace_take(n));
}

static void hit_rates_with_scans_that_say_so_are_those_of_the_model(void **state)
{
    (void)state;
    const enum cache_trace_kind kinds[] = {TRACE_SCAN_HOT, TRACE_MIXED};
    for (unsigned i = 0; i < 2; i++) {
        trace_make(kinds[i]);
        for (size_t n = 0; n < trace_count; n++)
            trace[n].scan = trace[n].page % 8192 >= 60 && trace[n].page / 8192 < 3;
        check_against_model("arc-scan", cache_trace_name(kinds[i]));
    }
}

/* What engines wanted: each is many accesses to more pages than there is room for, some of them a scan's. */
static void recorded_traces_are_what_they_should_be(void **state)
{
    (void)state;
    for (unsigned n = 0; n < RECORDED; n++) {
        uint32_t pages = 0;
        size_t scans = 0;
        trace_take(TRACE_KINDS + n);
        for (size_t i = 0; i < trace_count; i++) {
            pages = trace[i].page >= pages ? trace[i].page + 1 : pages;
            scans += trace[i].scan;
        }
        assert_in_range(trace_count, 20000, TRACE_RECORDED_MAX - 1);
        assert_in_range(pages, 4 * rooms[ROOMS - 1], TRACE_PAGES);
        assert_in_range(scans, 1000, trace_count / 2);
    }
    assert_null(cache_trace_recorded(RECORDED));
}

/* Hit rates of each policy, over traces and rooms. */
static double rates[POLICIES_MAX][TRACES][ROOMS];

static unsigned rates_measure(void)
{
    unsigned count = 0;
    for (; cache_policy_name(count) != NULL; count++)
        assert_true(count < POLICIES_MAX);
    for (unsigned trace_number = 0; trace_number < TRACES; trace_number++) {
        trace_take(trace_number);
        for (unsigned n = 0; n < count; n++) {
            for (unsigned i = 0; i < ROOMS; i++)
                rates[n][trace_number][i] = rate_of(cache_policy_name(n), rooms[i]);
        }
    }
    return count;
}

/* Somewhere in the traces [first, end). */
static void check_apart(unsigned a, unsigned b, unsigned first, unsigned end, double least)
{
    double most = 0;
    for (unsigned n = first; n < end; n++) {
        for (unsigned i = 0; i < ROOMS; i++) {
            double apart = distance(rates[a][n][i], rates[b][n][i]);
            most = apart > most ? apart : most;
        }
    }
    if (most < least)
        fail_msg("%s and %s are at most %.4f apart in traces %u to %u", cache_policy_name(a),
                 cache_policy_name(b), most, first, end - 1);
}

static void recorded_print(unsigned count)
{
    for (unsigned n = 0; n < count; n++) {
        print_message("%-8s", cache_policy_name(n));
        for (unsigned i = 0; i < RECORDED * ROOMS; i++)
            print_message(" %4.1f", 100 * rates[n][TRACE_KINDS + i / ROOMS][i % ROOMS]);
        print_message("\n");
    }
}

static void no_two_policies_have_the_same_curve(void **state)
{
    (void)state;
    unsigned count = rates_measure();
    recorded_print(count);
    for (unsigned a = 0; a < count; a++) {
        for (unsigned b = 0; b < a; b++) {
            check_apart(a, b, 0, TRACE_KINDS, 0.01);
            check_apart(a, b, TRACE_KINDS, TRACES, RECORDED_APART);
        }
    }
}

/* ------------------------------------------------------------------------------------------ scans */

enum { ROOM = 200, HOT = 120, SCANNED = 10 * ROOM };

/* The part of `count` accesses to the hot set that are hits. */
static double use_hot(struct cache *cache, struct random *random, unsigned count)
{
    unsigned hits = 0;
    for (unsigned n = 0; n < count; n++)
        hits += use(cache, (uint32_t)random_below(random, HOT), 0);
    return (double)hits / count;
}

/* The hot set is warmed up; a scan of ten times the cache reads each page `times` times, with one use
 * of the hot set after every `each` pages, or none. The hit rate of the hot set right after it, each
 * page of it once. */
static double rate_after_scan(const char *policy, unsigned flags, unsigned times, unsigned each)
{
    struct cache *cache = cache_of(policy, ROOM);
    struct random random;
    unsigned hits = 0;
    random_create(&random, SEED);
    use_hot(cache, &random, 20 * HOT);
    assert_true(use_hot(cache, &random, 10 * HOT) == 1.0);
    for (unsigned page = 0; page < SCANNED; page++) {
        for (unsigned n = 0; n < times; n++)
            use(cache, 10000 + page, flags);
        if (each > 0 && page % each == 0)
            use_hot(cache, &random, 1);
    }
    for (unsigned page = 0; page < HOT; page++)
        hits += use(cache, page, 0);
    cache_delete(cache);
    return (double)hits / HOT;
}

static void a_scan_that_says_so_takes_nothing_from_the_hot_set(void **state)
{
    (void)state;
    assert_true(rate_after_scan("arc-scan", CACHE_SCAN, 1, 0) == 1.0);
    assert_true(rate_after_scan("arc-scan", CACHE_SCAN, 5, 0) == 1.0);
    assert_true(rate_after_scan("arc-scan", CACHE_SCAN, 5, 3) == 1.0);
    /* what it is compared with */
    assert_true(rate_after_scan("lru", CACHE_SCAN, 1, 0) == 0.0);
    assert_true(rate_after_scan("clock", CACHE_SCAN, 1, 0) == 0.0);
}

static void a_scan_that_says_nothing_does_not_flush_the_hot_set(void **state)
{
    (void)state;
    assert_true(rate_after_scan("arc-scan", 0, 1, 0) > 0.8);
    assert_true(rate_after_scan("arc-scan", 0, 5, 0) > 0.8);
    assert_true(rate_after_scan("arc-scan", 0, 5, 10) > 0.8);
    /* ARC takes pages whose rows are read one by one for hot ones */
    assert_true(rate_after_scan("arc", 0, 5, 0) == 0.0);
}

static void pages_of_a_scan_that_others_use_stay(void **state)
{
    (void)state;
    struct cache *cache = cache_of("arc-scan", ROOM);
    for (uint32_t page = 0; page < 5; page++)
        use(cache, page, CACHE_SCAN);
    for (uint32_t page = 0; page < 5; page++)
        assert_true(use(cache, page, 0));
    for (uint32_t page = 100; page < 100 + SCANNED; page++)
        use(cache, page, CACHE_SCAN);
    for (uint32_t page = 0; page < 5; page++)
        assert_true(use(cache, page, 0));
    cache_delete(cache);
}

/* ------------------------------------------------------------------------------------ quiet times */

/* A hundred pages fit; all of them are used for long, then half of them, then others come in. */
static void after_a_long_time_without_misses_a_policy_knows_what_was_used_last(void **state)
{
    (void)state;
    const char *const policies[] = {"lru", "arc", "arc-scan"};
    for (unsigned n = 0; n < 3; n++) {
        struct cache *cache = cache_of(policies[n], 100);
        for (uint32_t i = 0; i < 50000; i++)
            use(cache, i % 100, 0);
        for (uint32_t i = 0; i < 50000; i++)
            use(cache, i % 50, 0);
        assert_int_equal(misses_of(cache), 100);
        for (uint32_t page = 1000; page < 1040; page++)
            use(cache, page, 0);
        for (uint32_t page = 0; page < 50; page++)
            assert_true(use(cache, page, 0));
        cache_delete(cache);
    }
}

/* ------------------------------------------------------------------------------------- adaptation */

static size_t recency_after(enum cache_trace_kind kind)
{
    struct cache *cache = cache_of("arc-scan", 100);
    struct cache_stats stats;
    trace_make(kind);
    for (size_t n = 0; n < trace_count; n++)
        use(cache, trace[n].page, 0);
    cache_stats_get(cache, &stats);
    cache_delete(cache);
    assert_true(stats.ghost_hits_recency + stats.ghost_hits_frequency > 0);
    return stats.recency_bytes / cache_charge(SIZE);
}

static void the_controller_gives_recency_what_a_moving_set_needs_and_takes_it_for_a_skewed_one(
    void **state)
{
    (void)state;
    size_t moving = recency_after(TRACE_SHIFT), skewed = recency_after(TRACE_ZIPF);
    print_message("recency has %zu of 100 pages for a moving set, %zu for a skewed one\n", moving,
                  skewed);
    assert_true(moving > skewed);
}

int main(void)
{
    static char names[POLICIES_MAX][128];
    struct CMUnitTest tests[POLICIES_MAX + 8] = {
        cmocka_unit_test(recorded_traces_are_what_they_should_be),
        cmocka_unit_test(hit_rates_with_scans_that_say_so_are_those_of_the_model),
        cmocka_unit_test(no_two_policies_have_the_same_curve),
        cmocka_unit_test(a_scan_that_says_so_takes_nothing_from_the_hot_set),
        cmocka_unit_test(a_scan_that_says_nothing_does_not_flush_the_hot_set),
        cmocka_unit_test(pages_of_a_scan_that_others_use_stay),
        cmocka_unit_test(after_a_long_time_without_misses_a_policy_knows_what_was_used_last),
        cmocka_unit_test(
            the_controller_gives_recency_what_a_moving_set_needs_and_takes_it_for_a_skewed_one),
    };
    unsigned count = 8;
    const char *policy;
    for (unsigned n = 0; n < POLICIES_MAX && (policy = cache_policy_name(n)) != NULL; n++) {
        snprintf(names[n], sizeof names[n], "hit_rates_are_those_of_a_model_of_the_paper (%s)",
                 policy);
        tests[count++] = (struct CMUnitTest){names[n], hit_rates_are_those_of_a_model_of_the_paper,
                                             NULL, NULL, (void *)policy};
    }
    return _cmocka_run_group_tests("cache policies", tests, count, NULL, NULL);
}
