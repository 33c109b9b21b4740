/* SPDX-License-Identifier: Apache-2.0 */

/* One cache and several threads, with every policy: what is pinned is what was asked for, whatever the
 * others evict, write, forget and resize; who misses the same key waits for one load. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "storage/cache/cache.h"

enum { THREADS = 4, ROUNDS = 20000, PAGES = 300, WORDS = 16, FILES = 3, LINKS = 64 };

struct shared {
    struct cache *cache;
    _Atomic uint64_t loads, failed;
    struct cache_link links[LINKS]; /* of several keys each */
    /* Of the tests in which all ask for one key. */
    _Atomic unsigned waiting;
    int error;
};

struct worker {
    pthread_t thread;
    struct shared *shared;
    uint64_t seed;
    bool wrong;
    uint64_t gets;
    int rc;
};

static uint64_t word_of(uint64_t file, uint64_t offset, unsigned n)
{
    return (file * PAGES + offset) * WORDS + n;
}

static int load(struct cache_fill *fill, void *arg)
{
    struct shared *shared = arg;
    uint64_t *room = cache_fill_room(fill, WORDS * sizeof *room);
    if (room == NULL)
        return ERROR_MEMORY;
    uint64_t loads = atomic_fetch_add(&shared->loads, 1);
    for (unsigned n = 0; n < WORDS; n++)
        room[n] = word_of(fill->file, fill->offset, n);
    if (loads % 50 != 0)
        return 0;
    atomic_fetch_add(&shared->failed, 1);
    return diag_set(ERROR_IO, "load %llu fails", (unsigned long long)loads);
}

static bool is_right(const struct cache_guard *guard, uint64_t file, uint64_t offset)
{
    const uint64_t *words = guard->data;
    for (unsigned n = 0; n < WORDS; n++) {
        if (words[n] != word_of(file, offset, n))
            return false;
    }
    return guard->size == WORDS * sizeof *words;
}

static void change(struct worker *worker, struct random *random, uint64_t file, uint64_t offset)
{
    struct cache *cache = worker->shared->cache;
    uint64_t words[WORDS];
    switch (random_below(random, 40)) {
    case 0:
        cache_resize(cache, (20 + random_below(random, 100)) * cache_charge(sizeof words));
        return;
    case 1:
        cache_forget_file(cache, file);
        return;
    case 2:
        if (cache_policy_set(cache, cache_policy(cache)) != 0)
            worker->wrong = true;
        return;
    case 3: {
        struct cache_stats stats;
        cache_stats_get(cache, &stats);
        return;
    }
    default:
        break;
    }
    if (random_below(random, 2) == 0) {
        cache_forget(cache, file, offset);
        return;
    }
    for (unsigned n = 0; n < WORDS; n++)
        words[n] = word_of(file, offset, n);
    if (cache_put(cache, file, offset, 0, words, sizeof words) != 0)
        worker->wrong = true;
}

static void *use(void *arg)
{
    struct worker *worker = arg;
    struct shared *shared = worker->shared;
    struct random random;
    struct cache_guard kept = {NULL, NULL, 0};
    uint64_t kept_file = 0, kept_offset = 0;
    random_create(&random, worker->seed);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t file = random_below(&random, FILES);
        uint64_t offset = random_below(&random, 1 + random_below(&random, PAGES));
        if (random_below(&random, 20) == 0) {
            change(worker, &random, file, offset);
            continue;
        }
        struct cache_guard guard;
        unsigned flags = random_below(&random, 4) == 0 ? CACHE_SCAN : 0;
        struct cache_link *link = &shared->links[offset % LINKS];
        int rc = random_below(&random, 2) == 0
                     ? cache_get(shared->cache, file, offset, flags, load, shared, &guard)
                     : cache_get_linked(shared->cache, link, file, offset, flags | CACHE_NODE, load,
                                        shared, &guard);
        worker->gets++;
        if (rc != 0) {
            worker->wrong = worker->wrong || rc != ERROR_IO || guard.frame != NULL ||
                            strncmp(diag_message(), "load ", 5) != 0;
            continue;
        }
        worker->wrong = worker->wrong || !is_right(&guard, file, offset);
        if (kept.frame != NULL)
            worker->wrong = worker->wrong || !is_right(&kept, kept_file, kept_offset);
        cache_guard_release(&kept);
        kept = guard, kept_file = file, kept_offset = offset;
    }
    cache_guard_release(&kept);
    return NULL;
}

static void run(struct worker *workers, struct shared *shared, void *(*body)(void *))
{
    uint64_t seed = test_seed();
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.shared = shared, .seed = seed + i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, body, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
}

static struct cache *cache_of(const char *policy)
{
    struct cache *cache;
    struct cache_options options = {.budget_bytes = 100 * cache_charge(WORDS * sizeof(uint64_t)),
                                    .policy = policy,
                                    .shards = 2};
    assert_int_equal(cache_new(&options, &cache), 0);
    return cache;
}

static void what_is_pinned_is_what_was_asked_for_whatever_others_do(void **state)
{
    (void)state;
    const char *policy;
    for (unsigned n = 0; (policy = cache_policy_name(n)) != NULL; n++) {
        struct shared shared = {.cache = cache_of(policy)};
        struct worker workers[THREADS];
        uint64_t gets = 0;
        run(workers, &shared, use);
        for (unsigned i = 0; i < THREADS; i++) {
            assert_false(workers[i].wrong);
            gets += workers[i].gets;
        }
        struct cache_stats stats;
        cache_trim(shared.cache);
        cache_stats_get(shared.cache, &stats);
        assert_int_equal(stats.misses, shared.loads);
        assert_int_equal(stats.errors, shared.failed);
        assert_true(stats.hits + stats.misses <= gets); /* who waited for an error is neither */
        assert_int_equal(stats.pinned, 0);
        assert_int_equal(stats.over_bytes, 0);
        cache_resize(shared.cache, 0);
        cache_stats_get(shared.cache, &stats);
        assert_int_equal(stats.used_bytes, 0);
        assert_int_equal(stats.entries, 0);
        cache_delete(shared.cache);
    }
}

/* Ends only when all others wait for it. */
static int load_when_all_wait(struct cache_fill *fill, void *arg)
{
    struct shared *shared = arg;
    struct cache_stats stats;
    unsigned turn = 0;
    atomic_fetch_add(&shared->loads, 1);
    do {
        cache_stats_get(shared->cache, &stats);
        spin_wait(&turn);
    } while (stats.waits < THREADS - 1);
    if (shared->error != 0)
        return diag_set(shared->error, "the one load failed");
    uint64_t *room = cache_fill_room(fill, WORDS * sizeof *room);
    for (unsigned n = 0; room != NULL && n < WORDS; n++)
        room[n] = word_of(fill->file, fill->offset, n);
    return room != NULL ? 0 : ERROR_MEMORY;
}

static void *ask_for_one(void *arg)
{
    struct worker *worker = arg;
    struct shared *shared = worker->shared;
    struct cache_guard guard;
    worker->rc = cache_get(shared->cache, 1, 2, 0, load_when_all_wait, shared, &guard);
    if (worker->rc != 0)
        worker->wrong = guard.frame != NULL || strcmp(diag_message(), "the one load failed") != 0;
    else
        worker->wrong = !is_right(&guard, 1, 2);
    cache_guard_release(&guard);
    return NULL;
}

static void who_misses_the_same_key_at_once_waits_for_one_load(void **state)
{
    (void)state;
    struct shared shared = {.cache = cache_of(NULL)};
    struct worker workers[THREADS];
    run(workers, &shared, ask_for_one);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(workers[i].rc, 0);
        assert_false(workers[i].wrong);
    }
    struct cache_stats stats;
    cache_stats_get(shared.cache, &stats);
    assert_int_equal(shared.loads, 1);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.hits, THREADS - 1);
    assert_int_equal(stats.pinned, 0);
    cache_delete(shared.cache);
}

static void an_error_goes_to_all_who_wait_and_nothing_stays(void **state)
{
    (void)state;
    struct shared shared = {.cache = cache_of(NULL), .error = ERROR_CORRUPT};
    struct worker workers[THREADS];
    run(workers, &shared, ask_for_one);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(workers[i].rc, ERROR_CORRUPT);
        assert_false(workers[i].wrong);
    }
    struct cache_stats stats;
    struct cache_guard guard;
    cache_stats_get(shared.cache, &stats);
    assert_int_equal(shared.loads, 1);
    assert_int_equal(stats.errors, 1);
    assert_int_equal(stats.entries, 0);
    assert_int_equal(stats.pinned, 0);
    assert_int_equal(cache_try(shared.cache, 1, 2, 0, &guard), ERROR_NOT_FOUND);
    cache_delete(shared.cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_pinned_is_what_was_asked_for_whatever_others_do),
        cmocka_unit_test(who_misses_the_same_key_at_once_waits_for_one_load),
        cmocka_unit_test(an_error_goes_to_all_who_wait_and_nothing_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
