/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache of src/storage/cache: what a hit costs (the look-up in the page table, the pin, telling
 * the policy, the unpin), what a miss costs beside the reading, and how often each policy hits over
 * traces of several kinds.
 *
 * The pages that are looked up are drawn before. The best of some turns, since what others do on the
 * machine only ever adds.
 */
#include "bench.h"

#include <pthread.h>

#include "base/error.h"
#include "base/random.h"
#include "storage/cache/cache.h"
#include "storage/cache_trace.h"

enum {
    TURNS = 7,
    PAGES = 65536,
    DRAWS = 1 << 20,
    HOT = 1000,
    BYTES = 64, /* pages are small here: nobody looks at them */
    TRACE_COUNT = 100000,
    THREADS_MOST = 2,
};

static uint32_t draws[DRAWS];

static int load(struct cache_fill *fill, void *arg)
{
    (void)arg;
    return cache_fill_room(fill, BYTES) != NULL ? 0 : ERROR_MEMORY;
}

static struct cache *cache_of(const char *policy, unsigned shards, uint64_t pages)
{
    struct cache *cache;
    struct cache_options options = {
        .budget_bytes = pages * cache_charge(BYTES), .policy = policy, .shards = shards};
    bench_check(cache_new(&options, &cache), "cache_new");
    return cache;
}

static void draws_make(uint32_t below)
{
    struct random random;
    random_create(&random, 1);
    for (unsigned i = 0; i < DRAWS; i++)
        draws[i] = (uint32_t)random_below(&random, below);
}

static void look_up_all(struct cache *cache)
{
    struct cache_guard guard;
    for (unsigned i = 0; i < DRAWS; i++) {
        bench_check(cache_get(cache, 1, draws[i], 0, load, NULL, &guard), "cache_get");
        bench_use(guard.data);
        cache_guard_release(&guard);
    }
}

static double best_ns(struct cache *cache)
{
    double best = 0;
    look_up_all(cache);
    for (int turn = 0; turn < TURNS; turn++) {
        double start = bench_cpu_ns();
        look_up_all(cache);
        double took = (bench_cpu_ns() - start) / DRAWS;
        if (turn == 0 || took < best)
            best = took;
    }
    return best;
}

static void hits(void)
{
    static const struct {
        const char *name;
        uint32_t pages;
    } sets[] = {{"one page", 1}, {"1,000 pages", HOT}, {"65,536 pages", PAGES}};
    const char *policy;

    printf("a hit, pin and unpin, ns (million look-ups a second), 16 shards\n%-10s", "");
    for (unsigned i = 0; i < 3; i++)
        printf(" %20s", sets[i].name);
    printf("\n");
    for (unsigned n = 0; (policy = cache_policy_name(n)) != NULL; n++) {
        printf("%-10s", policy);
        for (unsigned i = 0; i < 3; i++) {
            struct cache *cache = cache_of(policy, 16, PAGES * 2);
            draws_make(sets[i].pages);
            double ns = best_ns(cache);
            printf(" %11.1f (%6.1f)", ns, 1e3 / ns);
            fflush(stdout);
            cache_delete(cache);
        }
        printf("\n");
    }
}

/* All but one in sixteen thousand look-ups miss. */
static void misses(void)
{
    const char *policy;

    printf("\na miss with an eviction, without the reading, ns, 4,096 of 65,536 pages fit\n");
    draws_make(PAGES);
    for (unsigned n = 0; (policy = cache_policy_name(n)) != NULL; n++) {
        struct cache *cache = cache_of(policy, 16, PAGES / 16);
        struct cache_stats stats;
        look_up_all(cache);
        double start = bench_cpu_ns();
        look_up_all(cache);
        double took = bench_cpu_ns() - start;
        cache_stats_get(cache, &stats);
        printf("%-10s %9.1f\n", policy, took / ((double)stats.misses / 2));
        cache_delete(cache);
    }
}

static void *look_up_thread(void *cache)
{
    double start = bench_cpu_ns();
    double *took = malloc(sizeof *took);
    if (took == NULL)
        return NULL;
    for (int turn = 0; turn < TURNS; turn++)
        look_up_all(cache);
    *took = (bench_cpu_ns() - start) / DRAWS / TURNS;
    return took;
}

static void threads(void)
{
    static const uint32_t sets[] = {1, HOT, PAGES};
    const char *const policies[] = {"clock", "arc-scan"};

    printf("\na hit while another thread does the same, ns of CPU\n%-10s %11s %11s %11s\n", "",
           "one page", "1,000", "65,536");
    for (unsigned n = 0; n < 2; n++) {
        printf("%-10s", policies[n]);
        for (unsigned i = 0; i < 3; i++) {
            struct cache *cache = cache_of(policies[n], 16, PAGES * 2);
            pthread_t ids[THREADS_MOST];
            double sum = 0;
            draws_make(sets[i]);
            look_up_all(cache);
            for (unsigned t = 0; t < THREADS_MOST; t++)
                pthread_create(&ids[t], NULL, look_up_thread, cache);
            for (unsigned t = 0; t < THREADS_MOST; t++) {
                void *took = NULL;
                pthread_join(ids[t], &took);
                sum += took != NULL ? *(double *)took : 0;
                free(took);
            }
            printf(" %11.1f", sum / THREADS_MOST);
            cache_delete(cache);
        }
        printf("\n");
    }
}

static double hit_rate(const char *policy, unsigned room, const struct cache_access *trace)
{
    struct cache *cache = cache_of(policy, 1, room);
    struct cache_stats stats;
    for (size_t i = 0; i < TRACE_COUNT; i++) {
        struct cache_guard guard;
        bench_check(cache_get(cache, 1, trace[i].page, 0, load, NULL, &guard), "cache_get");
        cache_guard_release(&guard);
    }
    cache_stats_get(cache, &stats);
    cache_delete(cache);
    return (double)stats.hits * 100 / TRACE_COUNT;
}

static void hit_rates(void)
{
    static const unsigned rooms[] = {32, 100, 300};
    struct cache_access *trace = malloc(TRACE_COUNT * sizeof *trace);
    const char *policy;

    if (trace == NULL)
        return;
    printf("\nhits of 100 accesses with room for 32, 100 and 300 pages\n%-10s", "");
    for (unsigned kind = 0; kind < TRACE_KINDS; kind++)
        printf(" %18s", cache_trace_name(kind));
    printf("\n");
    for (unsigned n = 0; (policy = cache_policy_name(n)) != NULL; n++) {
        printf("%-10s", policy);
        for (unsigned kind = 0; kind < TRACE_KINDS; kind++) {
            cache_trace_make(kind, 1, trace, TRACE_COUNT);
            for (unsigned i = 0; i < 3; i++)
                printf("%*.1f", i == 0 ? 7 : 6, hit_rate(policy, rooms[i], trace));
        }
        printf("\n");
        fflush(stdout);
    }
    free(trace);
}

int main(void)
{
    hits();
    misses();
    threads();
    hit_rates();
    return 0;
}
