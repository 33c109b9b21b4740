/* SPDX-License-Identifier: Apache-2.0 */

/* The cache: finding, filling, pinning, forgetting, its budget and its figures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "storage/cache/cache.h"

enum { PAGE = 4096, FILE_A = 7, FILE_B = 8 };

/* What a loader is told, and what it counts. */
struct source {
    unsigned loads;
    size_t size;
    int error;
};

static uint64_t content(uint64_t file, uint64_t offset)
{
    return file * 1000003 + offset * 17 + 1;
}

static int load(struct cache_fill *fill, void *arg)
{
    struct source *source = arg;
    source->loads++;
    if (source->error != 0)
        return diag_set(source->error, "page %llu is not to be had",
                        (unsigned long long)fill->offset);
    unsigned char *room = cache_fill_room(fill, source->size);
    if (room == NULL)
        return ERROR_MEMORY;
    uint64_t value = content(fill->file, fill->offset);
    memset(room, 0, source->size);
    memcpy(room, &value, sizeof value);
    return 0;
}

static struct cache *cache_of(unsigned pages, const char *policy)
{
    struct cache *cache;
    struct cache_options options = {
        .budget_bytes = pages * cache_charge(PAGE), .policy = policy, .shards = 1};
    assert_int_equal(cache_new(&options, &cache), 0);
    return cache;
}

static bool guard_is(const struct cache_guard *guard, uint64_t file, uint64_t offset)
{
    uint64_t value;
    memcpy(&value, guard->data, sizeof value);
    return value == content(file, offset);
}

static void get(struct cache *cache, struct source *source, uint64_t file, uint64_t offset)
{
    CACHE_GUARD(guard);
    assert_int_equal(cache_get(cache, file, offset, 0, load, source, &guard), 0);
    assert_true(guard_is(&guard, file, offset));
    assert_int_equal(guard.size, source->size);
}

static struct cache_stats stats_of(struct cache *cache)
{
    struct cache_stats stats;
    cache_stats_get(cache, &stats);
    return stats;
}

static void what_was_loaded_is_found_without_loading_again(void **state)
{
    (void)state;
    struct source source = {.size = PAGE};
    struct cache *cache = cache_of(10, NULL);
    for (int round = 0; round < 3; round++) {
        for (unsigned page = 0; page < 10; page++)
            get(cache, &source, FILE_A, page);
    }
    assert_int_equal(source.loads, 10);
    struct cache_stats stats = stats_of(cache);
    assert_int_equal(stats.hits, 20);
    assert_int_equal(stats.misses, 10);
    assert_int_equal(stats.entries, 10);
    assert_int_equal(stats.evictions, 0);
    assert_int_equal(stats.pinned, 0);
    assert_int_equal(stats.used_bytes, cache_budget_bytes(cache));
    cache_delete(cache);
}

static void the_same_offset_of_two_files_is_two_entries(void **state)
{
    (void)state;
    struct source source = {.size = PAGE};
    struct cache *cache = cache_of(4, NULL);
    get(cache, &source, FILE_A, 3);
    get(cache, &source, FILE_B, 3);
    assert_int_equal(source.loads, 2);
    cache_delete(cache);
}

static void get_linked(struct cache *cache, struct source *source, struct cache_link *link,
                       uint64_t file, uint64_t offset)
{
    CACHE_GUARD(guard);
    assert_int_equal(cache_get_linked(cache, link, file, offset, CACHE_NODE, load, source, &guard),
                     0);
    assert_true(guard_is(&guard, file, offset));
    assert_ptr_equal((void *)atomic_load(&link->frame), guard.frame);
    assert_ptr_equal((void *)atomic_load(&link->data), guard.data);
}

/* The link of one key is asked for another, and for the first again when its descriptor is another's. */
static void a_link_leads_to_its_entry_and_what_is_not_there_any_more_is_looked_up(void **state)
{
    (void)state;
    struct source source = {.size = PAGE};
    struct cache *cache = cache_of(2, "lru");
    struct cache_link link = {0, 0}, other = {0, 0};
    get_linked(cache, &source, &link, FILE_A, 1);
    get_linked(cache, &source, &link, FILE_A, 1);
    get_linked(cache, &source, &other, FILE_A, 1);
    assert_int_equal(source.loads, 1);
    assert_int_equal(stats_of(cache).hits, 2);
    get_linked(cache, &source, &other, FILE_B, 1);
    get_linked(cache, &source, &link, FILE_A, 1);
    assert_int_equal(source.loads, 2);
    for (unsigned page = 2; page < 10; page++)
        get(cache, &source, FILE_A, page);
    assert_int_equal(source.loads, 10);
    get_linked(cache, &source, &link, FILE_A, 1);
    assert_int_equal(source.loads, 11);
    cache_forget(cache, FILE_A, 1);
    get_linked(cache, &source, &link, FILE_A, 1);
    assert_int_equal(source.loads, 12);
    source.error = ERROR_IO;
    cache_forget(cache, FILE_A, 1);
    struct cache_guard guard;
    assert_int_equal(cache_get_linked(cache, &link, FILE_A, 1, 0, load, &source, &guard), ERROR_IO);
    assert_null(guard.frame);
    cache_delete(cache);
}

static void what_is_put_has_room_for_links_behind_it_when_that_is_asked(void **state)
{
    (void)state;
    unsigned char bytes[PAGE];
    struct cache *cache = cache_of(4, NULL);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(cache_put(cache, FILE_A, 1, CACHE_LINKS, bytes, PAGE), 0);
    CACHE_GUARD(guard);
    assert_int_equal(cache_try(cache, FILE_A, 1, 0, &guard), 0);
    assert_int_equal(guard.size, 2 * PAGE);
    assert_memory_equal(guard.data, bytes, PAGE);
    memset(bytes, 0, sizeof bytes);
    assert_memory_equal((const char *)guard.data + PAGE, bytes, PAGE);
    assert_int_equal(stats_of(cache).used_bytes, cache_charge(2 * PAGE));
    cache_guard_release(&guard);
    cache_delete(cache);
}

static void memory_is_aligned_for_direct_reads_where_the_size_allows(void **state)
{
    (void)state;
    struct cache *cache = cache_of(100, NULL);
    struct cache_guard guard;
    const size_t sizes[] = {4096, 65536, 100, 5000};
    for (unsigned i = 0; i < 4; i++) {
        struct source source = {.size = sizes[i]};
        assert_int_equal(cache_get(cache, FILE_A, i, 0, load, &source, &guard), 0);
        assert_int_equal((uintptr_t)guard.data % (sizes[i] % 4096 == 0 ? 4096 : 64), 0);
        cache_guard_release(&guard);
        assert_null(guard.data);
        cache_guard_release(&guard);
    }
    cache_delete(cache);
}

static void the_budget_is_kept_with_entries_of_many_sizes(void **state)
{
    (void)state;
    struct random random;
    struct cache *cache = cache_of(20, *state);
    random_create(&random, test_seed());
    for (int i = 0; i < 5000; i++) {
        uint64_t offset = random_below(&random, 200);
        struct source source = {.size = 100 + offset * 97};
        get(cache, &source, FILE_A, offset);
        struct cache_stats stats = stats_of(cache);
        assert_true(stats.used_bytes <= stats.budget_bytes);
        assert_int_equal(stats.over_bytes, 0);
    }
    struct cache_stats stats = stats_of(cache);
    assert_int_equal(stats.misses, stats.evictions + stats.entries);
    assert_int_equal(stats.hits + stats.misses, 5000);
    assert_true(stats.hits > 0);
    cache_delete(cache);
}

static void what_is_pinned_stays_and_the_cache_says_that_it_is_over_its_budget(void **state)
{
    struct source source = {.size = PAGE};
    struct cache *cache = cache_of(4, *state);
    struct cache_guard guards[8];
    for (unsigned page = 0; page < 8; page++)
        assert_int_equal(cache_get(cache, FILE_A, page, 0, load, &source, &guards[page]), 0);
    struct cache_stats stats = stats_of(cache);
    assert_int_equal(stats.entries, 8);
    assert_int_equal(stats.pinned, 8);
    assert_int_equal(stats.overruns, 4);
    assert_int_equal(stats.over_bytes, 4 * cache_charge(PAGE));
    cache_resize(cache, cache_charge(PAGE));
    for (unsigned page = 0; page < 8; page++) {
        assert_true(guard_is(&guards[page], FILE_A, page));
        if (page != 5)
            cache_guard_release(&guards[page]);
    }
    cache_trim(cache);
    stats = stats_of(cache);
    assert_int_equal(stats.entries, 1);
    assert_int_equal(stats.over_bytes, 0);
    assert_true(guard_is(&guards[5], FILE_A, 5));
    cache_guard_release(&guards[5]);
    get(cache, &source, FILE_A, 5);
    assert_int_equal(source.loads, 8);
    cache_delete(cache);
}

static void a_smaller_budget_evicts_and_a_larger_one_keeps(void **state)
{
    struct source source = {.size = PAGE};
    struct cache *cache = cache_of(16, *state);
    for (unsigned page = 0; page < 16; page++)
        get(cache, &source, FILE_A, page);
    cache_resize(cache, 4 * cache_charge(PAGE));
    struct cache_stats stats = stats_of(cache);
    assert_int_equal(stats.entries, 4);
    assert_int_equal(stats.evictions, 12);
    cache_resize(cache, 64 * cache_charge(PAGE));
    for (unsigned page = 0; page < 64; page++)
        get(cache, &source, FILE_A, page);
    stats = stats_of(cache);
    assert_int_equal(stats.entries, 64);
    assert_int_equal(stats.evictions, 12);
    cache_delete(cache);
}

static void with_no_budget_everything_is_read_and_nothing_kept(void **state)
{
    struct source source = {.size = PAGE};
    struct cache *cache = cache_of(0, *state);
    for (unsigned page = 0; page < 4; page++)
        get(cache, &source, FILE_A, page % 2);
    struct cache_stats stats = stats_of(cache);
    assert_int_equal(source.loads, 4);
    assert_int_equal(stats.refused, 4);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.used_bytes, 0);
    cache_delete(cache);
}

static void an_error_of_the_loader_leaves_nothing(void **state)
{
    (void)state;
    struct source source = {.size = PAGE, .error = ERROR_CORRUPT};
    struct cache *cache = cache_of(4, NULL);
    struct cache_guard guard;
    assert_int_equal(cache_get(cache, FILE_A, 1, 0, load, &source, &guard), ERROR_CORRUPT);
    assert_string_equal(diag_message(), "page 1 is not to be had");
    assert_null(guard.frame);
    struct cache_stats stats = stats_of(cache);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.errors, 1);
    assert_int_equal(stats.pinned, 0);
    source.error = 0;
    get(cache, &source, FILE_A, 1);
    assert_int_equal(source.loads, 2);
    cache_delete(cache);
}

static void what_has_just_been_written_is_found_and_takes_the_place_of_what_was(void **state)
{
    struct source source = {.size = PAGE};
    struct cache *cache = cache_of(4, *state);
    struct cache_guard former, guard;
    assert_int_equal(cache_put(cache, FILE_A, 1, 0, "first", 6), 0);
    assert_int_equal(cache_get(cache, FILE_A, 1, 0, load, &source, &former), 0);
    assert_int_equal(cache_put(cache, FILE_A, 1, 0, "second", 7), 0);
    assert_int_equal(cache_try(cache, FILE_A, 1, 0, &guard), 0);
    assert_string_equal(guard.data, "second");
    assert_int_equal(guard.size, 7);
    assert_string_equal(former.data, "first");
    cache_guard_release(&former);
    cache_guard_release(&guard);
    assert_int_equal(source.loads, 0);
    assert_int_equal(stats_of(cache).entries, 1);
    assert_int_equal(stats_of(cache).misses, 0);
    cache_delete(cache);
}

static void a_forgotten_file_is_gone_but_for_those_who_have_it_pinned(void **state)
{
    struct source source = {.size = PAGE};
    struct cache *cache = cache_of(200, *state);
    struct cache_guard guard;
    for (unsigned page = 0; page < 100; page++) {
        get(cache, &source, FILE_A, page);
        get(cache, &source, FILE_B, page);
    }
    assert_int_equal(cache_try(cache, FILE_A, 50, 0, &guard), 0);
    cache_forget_file(cache, FILE_A);
    struct cache_stats stats = stats_of(cache);
    assert_int_equal(stats.entries, 100);
    assert_int_equal(stats.used_bytes, 100 * cache_charge(PAGE));
    assert_int_equal(stats.pinned, 1);
    assert_true(guard_is(&guard, FILE_A, 50));
    cache_guard_release(&guard);
    assert_int_equal(stats_of(cache).pinned, 0);
    assert_int_equal(cache_try(cache, FILE_A, 50, 0, &guard), ERROR_NOT_FOUND);
    for (unsigned page = 0; page < 100; page++)
        get(cache, &source, FILE_B, page);
    assert_int_equal(source.loads, 200);
    cache_forget(cache, FILE_B, 3);
    cache_forget(cache, FILE_B, 3);
    assert_int_equal(cache_try(cache, FILE_B, 3, 0, &guard), ERROR_NOT_FOUND);
    assert_int_equal(stats_of(cache).entries, 99);
    cache_delete(cache);
}

static void a_fill_that_is_forgotten_meanwhile_is_given_and_not_kept(void **state)
{
    struct source source = {.size = PAGE};
    struct cache *cache = cache_of(4, *state);
    struct cache_fill fill, other;
    struct cache_guard guard;
    assert_int_equal(cache_fill_begin(cache, FILE_A, 1, 0, &fill), 0);
    assert_int_equal(cache_fill_begin(cache, FILE_A, 1, 0, &other), ERROR_EXISTS);
    assert_int_equal(cache_try(cache, FILE_A, 1, 0, &guard), ERROR_NOT_FOUND);
    cache_forget_file(cache, FILE_A);
    assert_int_equal(load(&fill, &source), 0);
    assert_int_equal(cache_fill_end(&fill, 0, &guard), 0);
    assert_true(guard_is(&guard, FILE_A, 1));
    cache_guard_release(&guard);
    assert_int_equal(cache_try(cache, FILE_A, 1, 0, &guard), ERROR_NOT_FOUND);
    assert_int_equal(stats_of(cache).refused, 0);
    assert_int_equal(stats_of(cache).entries, 0);
    cache_delete(cache);
}

static void read_ahead_fills_several_keys_at_once(void **state)
{
    struct source source = {.size = PAGE};
    struct cache *cache = cache_of(8, *state);
    struct cache_fill fills[8];
    struct cache_guard guard;
    for (unsigned page = 0; page < 8; page++)
        assert_int_equal(cache_fill_begin(cache, FILE_A, page, 0, &fills[page]), 0);
    for (unsigned page = 8; page-- > 0;) {
        int rc = page == 3 ? diag_set(ERROR_IO, "no page 3") : load(&fills[page], &source);
        assert_int_equal(cache_fill_end(&fills[page], rc, NULL), rc);
    }
    for (unsigned page = 0; page < 8; page++) {
        int rc = cache_try(cache, FILE_A, page, 0, &guard);
        assert_int_equal(rc, page == 3 ? ERROR_NOT_FOUND : 0);
        cache_guard_release(&guard);
    }
    assert_int_equal(stats_of(cache).misses, 8);
    assert_int_equal(stats_of(cache).errors, 1);
    cache_delete(cache);
}

static void numbers_of_files_are_given_once(void **state)
{
    (void)state;
    struct cache *cache = cache_of(4, NULL);
    uint64_t first = cache_file_new(cache);
    assert_true(first >= CACHE_FILE_FIRST);
    assert_true(cache_file_new(cache) > first);
    cache_delete(cache);
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    struct cache *cache;
    struct cache_options options = {.budget_bytes = 1 << 20, .policy = "fifo"};
    assert_int_equal(cache_new(&options, &cache), ERROR_INVALID);
    assert_string_equal(diag_message(), "there is no cache policy 'fifo'");
    options = (struct cache_options){.budget_bytes = 1 << 20, .shards = 3};
    assert_int_equal(cache_new(&options, &cache), ERROR_INVALID);
    options.shards = CACHE_SHARDS_MAX * 2;
    assert_int_equal(cache_new(&options, &cache), ERROR_INVALID);
    cache_delete(NULL);
}

/* Any operation against what must be: contents are right, pins hold, figures add up. */
static void random_use_gives_what_belongs_to_the_key(void **state)
{
    struct source source = {.size = PAGE};
    struct random random;
    struct cache_guard guards[6] = {{0}};
    uint64_t pages[6] = {0};
    struct cache_options options = {
        .budget_bytes = 40 * cache_charge(PAGE), .policy = *state, .shards = 4};
    struct cache *cache;
    assert_int_equal(cache_new(&options, &cache), 0);
    random_create(&random, test_seed());
    for (int i = 0; i < 20000; i++) {
        unsigned hand = (unsigned)random_below(&random, 6), what;
        uint64_t page = random_below(&random, 1 + random_below(&random, 120));
        cache_guard_release(&guards[hand]);
        pages[hand] = page;
        what = (unsigned)random_below(&random, 1000);
        if (what == 0)
            cache_resize(cache, (1 + random_below(&random, 60)) * cache_charge(PAGE));
        else if (what < 10)
            cache_forget(cache, FILE_A, page);
        else if (what < 12)
            cache_forget_file(cache, FILE_A);
        else if (what < 30) {
            uint64_t value = content(FILE_A, page);
            assert_int_equal(cache_put(cache, FILE_A, page, 0, &value, sizeof value), 0);
        } else if (what < 40) {
            source.error = ERROR_IO;
            struct cache_guard guard;
            int rc = cache_get(cache, FILE_A, page, 0, load, &source, &guard);
            assert_true(rc == 0 || rc == ERROR_IO);
            cache_guard_release(&guard);
            source.error = 0;
        } else {
            unsigned flags = what < 300 ? CACHE_SCAN : 0;
            assert_int_equal(cache_get(cache, FILE_A, page, flags, load, &source, &guards[hand]),
                             0);
        }
        for (unsigned n = 0; n < 6; n++)
            assert_true(guards[n].frame == NULL || guard_is(&guards[n], FILE_A, pages[n]));
    }
    for (unsigned n = 0; n < 6; n++)
        cache_guard_release(&guards[n]);
    cache_trim(cache);
    struct cache_stats stats = stats_of(cache);
    assert_int_equal(stats.pinned, 0);
    assert_int_equal(stats.over_bytes, 0);
    cache_resize(cache, 0);
    assert_int_equal(stats_of(cache).entries, 0);
    assert_int_equal(stats_of(cache).used_bytes, 0);
    cache_delete(cache);
}

static void each_policy_takes_over_what_another_has_kept(void **state)
{
    (void)state;
    struct source source = {.size = PAGE};
    struct cache *cache = cache_of(32, NULL);
    const char *name;
    for (unsigned page = 0; page < 32; page++)
        get(cache, &source, FILE_A, page);
    for (unsigned n = 0; (name = cache_policy_name(n)) != NULL; n++) {
        assert_int_equal(cache_policy_set(cache, name), 0);
        assert_string_equal(cache_policy(cache), name);
        unsigned loads = source.loads;
        for (unsigned page = 0; page < 32; page++)
            get(cache, &source, FILE_A, n * 32 + page);
        assert_int_equal(source.loads, loads);
        for (unsigned page = 0; page < 64; page++) {
            get(cache, &source, FILE_B, page);
            get(cache, &source, FILE_B, page);
        }
        cache_forget_file(cache, FILE_B);
        for (unsigned page = 0; page < 32; page++)
            get(cache, &source, FILE_A, (n + 1) * 32 + page);
        cache_resize(cache, 0);
        cache_resize(cache, 32 * cache_charge(PAGE));
        for (unsigned page = 0; page < 32; page++)
            get(cache, &source, FILE_A, (n + 1) * 32 + page);
        assert_int_equal(stats_of(cache).entries, 32);
    }
    assert_int_equal(cache_policy_set(cache, "none"), ERROR_INVALID);
    cache_delete(cache);
}

/* Those that take a policy run with each. */
#define FOR_ALL_TESTS(X)                                                   \
    X(the_budget_is_kept_with_entries_of_many_sizes)                       \
    X(what_is_pinned_stays_and_the_cache_says_that_it_is_over_its_budget)  \
    X(a_smaller_budget_evicts_and_a_larger_one_keeps)                      \
    X(with_no_budget_everything_is_read_and_nothing_kept)                  \
    X(what_has_just_been_written_is_found_and_takes_the_place_of_what_was) \
    X(a_forgotten_file_is_gone_but_for_those_who_have_it_pinned)           \
    X(a_fill_that_is_forgotten_meanwhile_is_given_and_not_kept)            \
    X(read_ahead_fills_several_keys_at_once)                               \
    X(random_use_gives_what_belongs_to_the_key)

enum { PLAIN_TESTS = 9, POLICY_TESTS = 9, POLICIES_MAX = 16 };

int main(void)
{
    static char names[POLICIES_MAX * POLICY_TESTS][128];
    struct CMUnitTest tests[PLAIN_TESTS + POLICIES_MAX * POLICY_TESTS] = {
        cmocka_unit_test(what_was_loaded_is_found_without_loading_again),
        cmocka_unit_test(the_same_offset_of_two_files_is_two_entries),
        cmocka_unit_test(a_link_leads_to_its_entry_and_what_is_not_there_any_more_is_looked_up),
        cmocka_unit_test(what_is_put_has_room_for_links_behind_it_when_that_is_asked),
        cmocka_unit_test(memory_is_aligned_for_direct_reads_where_the_size_allows),
        cmocka_unit_test(an_error_of_the_loader_leaves_nothing),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(numbers_of_files_are_given_once),
        cmocka_unit_test(each_policy_takes_over_what_another_has_kept),
    };
    const struct CMUnitTest each[] = {
#define TEST(name) {#name, name, NULL, NULL, NULL},
        FOR_ALL_TESTS(TEST)
#undef TEST
    };
    unsigned count = PLAIN_TESTS;
    const char *policy;
    for (unsigned n = 0; n < POLICIES_MAX && (policy = cache_policy_name(n)) != NULL; n++) {
        for (unsigned i = 0; i < POLICY_TESTS; i++, count++) {
            char *name = names[count - PLAIN_TESTS];
            snprintf(name, sizeof names[0], "%s (%s)", each[i].name, policy);
            tests[count] = (struct CMUnitTest){name, each[i].test_func, NULL, NULL, (void *)policy};
        }
    }
    return _cmocka_run_group_tests("cache", tests, count, NULL, NULL);
}
