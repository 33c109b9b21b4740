/* SPDX-License-Identifier: Apache-2.0 */

/* The cache while allocations fail, each one in turn and from each one on: what is refused is refused
 * cleanly, what is given is right, and afterwards it goes on as if nothing had been. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <string.h>

#include "alloc/alloc_fault.h"
#include "base/error.h"
#include "storage/cache/cache.h"

enum { SIZE = 256, ROOM = 90, PAGES = 400 };

static int load(struct cache_fill *fill, void *arg)
{
    (void)arg;
    unsigned char *room = cache_fill_room(fill, SIZE);
    if (room == NULL)
        return ERROR_MEMORY;
    memset(room, (int)(fill->offset % 251), SIZE);
    return 0;
}

static bool is_right(const struct cache_guard *guard, uint64_t page)
{
    const unsigned char *bytes = guard->data;
    return guard->size == SIZE && bytes[0] == page % 251 && bytes[SIZE - 1] == page % 251;
}

/* False when anything but lack of memory is wrong. */
static bool get(struct cache *cache, uint64_t page, unsigned flags)
{
    struct cache_guard guard;
    int rc = cache_get(cache, 1, page, flags, load, NULL, &guard);
    if (rc != 0)
        return rc == ERROR_MEMORY && guard.frame == NULL;
    bool right = is_right(&guard, page);
    cache_guard_release(&guard);
    return right;
}

static bool put(struct cache *cache, uint64_t page)
{
    unsigned char bytes[SIZE];
    struct cache_guard guard;
    memset(bytes, (int)(page % 251), SIZE);
    int rc = cache_put(cache, 1, page, 0, bytes, SIZE);
    if (rc != 0)
        return rc == ERROR_MEMORY && cache_try(cache, 1, page, 0, &guard) == ERROR_NOT_FOUND;
    return get(cache, page, 0);
}

/* Enough of everything for tables, slabs, heaps and ghosts to grow. */
static bool use(struct cache *cache, const char *policy)
{
    bool right = true;
    for (uint64_t page = 0; page < PAGES; page++) {
        right = get(cache, page, 0) && right;
        right = get(cache, page / 2, 0) && right;
        right = get(cache, 1000 + page % 7, CACHE_SCAN) && right;
        if (page % 50 == 0)
            right = put(cache, page) && right;
    }
    int rc = cache_policy_set(cache, policy);
    right = right && (rc == 0 || rc == ERROR_MEMORY);
    cache_resize(cache, ROOM / 2 * cache_charge(SIZE));
    cache_resize(cache, ROOM * cache_charge(SIZE));
    cache_forget_file(cache, 2);
    for (uint64_t page = 0; page < PAGES; page += 3)
        right = get(cache, page, 0) && right;
    return right;
}

static bool is_whole(struct cache *cache)
{
    struct cache_stats stats;
    bool right = true;
    for (uint64_t page = 0; page < ROOM; page++)
        right = get(cache, page, 0) && right;
    cache_stats_get(cache, &stats);
    right = right && stats.pinned == 0 && stats.used_bytes == stats.entries * cache_charge(SIZE) &&
            stats.used_bytes <= stats.budget_bytes && stats.entries >= ROOM / 2;
    cache_resize(cache, 0);
    cache_stats_get(cache, &stats);
    return right && stats.entries == 0;
}

/* Returns whether an allocation failed. */
static bool run(const char *policy, void (*arm)(uint64_t n), uint64_t n)
{
    struct cache *cache = NULL;
    struct cache_options options = {
        .budget_bytes = ROOM * cache_charge(SIZE), .policy = policy, .shards = 1};
    arm(n);
    int rc = cache_new(&options, &cache);
    bool right = rc == 0 ? use(cache, policy) : rc == ERROR_MEMORY;
    bool failed = alloc_fail_end();
    assert_true(right);
    if (rc == 0)
        assert_true(is_whole(cache));
    cache_delete(cache);
    return failed;
}

/* Each of the first, which are those of tables; of the many loads behind them one here and there. */
static uint64_t next_of(uint64_t n)
{
    return n < 40 ? n + 1 : n + n / 20;
}

static void one_allocation_that_fails_is_survived(void **state)
{
    (void)state;
    const char *policy;
    for (unsigned i = 0; (policy = cache_policy_name(i)) != NULL; i++) {
        uint64_t n = 1;
        while (run(policy, alloc_fail_nth, n))
            n = next_of(n);
        assert_true(n > 100);
    }
}

static void memory_that_runs_out_is_survived(void **state)
{
    (void)state;
    const char *policy;
    for (unsigned i = 0; (policy = cache_policy_name(i)) != NULL; i++) {
        for (uint64_t n = 1; run(policy, alloc_fail_from, n);)
            n = next_of(n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_allocation_that_fails_is_survived),
        cmocka_unit_test(memory_that_runs_out_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
