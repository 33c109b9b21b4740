/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The heap: objects are aligned, apart and counted; they may be freed by another thread than the
 * one that allocated; the limit is told; and what caches leave behind is found by others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/error.h"
#include "base/random.h"
#include "base/ring.h"
#include "base/test_seed.h"
#include "mem/heap.h"
#include "mem/system.h"

static struct heap *heap_make(size_t limit_bytes)
{
    struct heap *heap;
    assert_int_equal(heap_new(limit_bytes, &heap), 0);
    return heap;
}

static struct heap_cache *cache_make(struct heap *heap)
{
    struct heap_cache *cache;
    assert_int_equal(heap_cache_open(heap, &cache), 0);
    return cache;
}

static void every_size_is_aligned_as_promised(void **state)
{
    (void)state;
    struct heap *heap = heap_make(0);
    struct heap_cache *cache = cache_make(heap);
    for (size_t size = 0; size < 3 * HEAP_SMALL_MAX; size++) {
        void *objects[3];
        size_t align = size == 0 ? 8 : size % 64 == 0 ? 64 : size % 16 == 0 ? 16 : 8;
        for (int i = 0; i < 3; i++) {
            objects[i] = heap_alloc(cache, size);
            assert_non_null(objects[i]);
            assert_int_equal((uintptr_t)objects[i] % align, 0);
            memset(objects[i], 0x77, size);
        }
        for (int i = 0; i < 3; i++)
            heap_free(cache, objects[i], size);
    }
    heap_cache_close(cache);
    assert_int_equal(heap_used_bytes(heap), 0);
    heap_delete(heap);
}

static void a_good_size_is_not_less_and_wastes_little(void **state)
{
    (void)state;
    for (size_t size = 1; size < 2 * HEAP_SMALL_MAX; size++) {
        size_t good = heap_good_size(size);
        assert_true(good >= size);
        assert_true(good <= 16 || good - size < 8 || (good - size) * 4 < size);
        assert_int_equal(heap_good_size(good), good);
    }
}

enum { OBJECTS = 2000, STEPS = 200000 };

struct object {
    unsigned char *bytes;
    size_t size;
    unsigned char fill;
};

static size_t random_size(struct random *random)
{
    switch (random_below(random, 10)) {
    case 0:
        return random_below(random, 10000);
    case 1:
        return random_below(random, HEAP_SMALL_MAX + 1);
    }
    return random_below(random, 200);
}

static void object_check(const struct object *object)
{
    for (size_t i = 0; i < object->size; i++)
        assert_int_equal(object->bytes[i], object->fill);
}

static void objects_keep_their_bytes_until_freed(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    struct heap *heap = heap_make(0);
    struct heap_cache *caches[2] = {cache_make(heap), cache_make(heap)};
    static struct object objects[OBJECTS];
    size_t in_use = 0;
    for (int step = 0; step < STEPS; step++) {
        struct object *object = &objects[random_below(&random, OBJECTS)];
        struct heap_cache *cache = caches[random_below(&random, 2)];
        if (object->bytes != NULL) {
            object_check(object);
            heap_free(cache, object->bytes, object->size);
            in_use -= heap_good_size(object->size);
            object->bytes = NULL;
        } else {
            object->size = random_size(&random);
            object->fill = (unsigned char)step;
            object->bytes = heap_alloc(cache, object->size);
            assert_non_null(object->bytes);
            memset(object->bytes, object->fill, object->size);
            in_use += heap_good_size(object->size);
        }
        int64_t off = (int64_t)heap_used_bytes(heap) - (int64_t)in_use;
        assert_true(off <= 2 * HEAP_ACCOUNT_BYTES && off >= -2 * HEAP_ACCOUNT_BYTES);
    }
    heap_cache_close(caches[0]);
    for (int i = 0; i < OBJECTS; i++)
        if (objects[i].bytes != NULL)
            heap_free(caches[1], objects[i].bytes, objects[i].size);
    heap_cache_close(caches[1]);
    assert_int_equal(heap_used_bytes(heap), 0);
    heap_delete(heap);
}

static void more_than_the_limit_is_told_and_less_again_as_well(void **state)
{
    (void)state;
    struct heap *heap = heap_make(1 << 20);
    struct heap_cache *cache = cache_make(heap);
    assert_false(heap_over_limit(heap));
    void *big = heap_alloc(cache, 2 << 20);
    assert_non_null(big);
    assert_true(heap_over_limit(heap));
    heap_limit_set(heap, 4 << 20);
    assert_int_equal(heap_limit_bytes(heap), 4 << 20);
    assert_false(heap_over_limit(heap));
    heap_limit_set(heap, 1 << 20);
    heap_free(cache, big, 2 << 20);
    assert_false(heap_over_limit(heap));
    heap_limit_set(heap, 0);
    big = heap_alloc(cache, 8 << 20);
    assert_false(heap_over_limit(heap));
    heap_free(cache, big, 8 << 20);
    heap_cache_close(cache);
    heap_delete(heap);
}

static unsigned asked;

static void raise_limit(void *arg)
{
    if (++asked == 1)
        heap_limit_set(arg, 4 << 20);
}

static void a_write_is_refused_when_relief_does_not_help(void **state)
{
    (void)state;
    struct heap *heap = heap_make(1 << 20);
    struct heap_cache *cache = cache_make(heap);
    void *big = heap_alloc(cache, 2 << 20);
    assert_non_null(big);
    assert_true(heap_is_full(heap));
    heap_relief_set(heap, raise_limit, heap);
    asked = 0;
    assert_true(heap_over_limit(heap)); /* which only tells */
    assert_int_equal(asked, 0);
    assert_false(heap_is_full(heap));
    assert_false(heap_is_full(heap));
    assert_int_equal(asked, 1);
    heap_limit_set(heap, 1 << 20);
    assert_true(heap_is_full(heap));
    assert_int_equal(asked, 2);
    heap_free(cache, big, 2 << 20);
    heap_cache_close(cache);
    heap_delete(heap);
}

static void fill_and_empty(struct heap *heap, size_t size, int count)
{
    struct heap_cache *from = cache_make(heap), *to = cache_make(heap);
    void **objects = malloc((size_t)count * sizeof(*objects));
    for (int i = 0; i < count; i++) {
        objects[i] = heap_alloc(from, size);
        assert_non_null(objects[i]);
        memset(objects[i], 1, size);
    }
    for (int i = 0; i < count; i++)
        heap_free(to, objects[i], size);
    free(objects);
    heap_cache_close(from);
    heap_cache_close(to);
}

static void what_closed_caches_left_is_used_again(void **state)
{
    (void)state;
    struct heap *heap = heap_make(0);
    fill_and_empty(heap, 100, 1500);
    size_t mapped = heap_mapped_bytes(heap);
    for (int round = 0; round < 1000; round++)
        fill_and_empty(heap, 100, 1500);
    assert_int_equal(heap_mapped_bytes(heap), mapped);
    assert_int_equal(heap_used_bytes(heap), 0);
    heap_delete(heap);
}

static void what_a_closed_cache_did_not_cut_is_used_by_others(void **state)
{
    (void)state;
    enum { CACHES = 500 };
    struct heap *heap = heap_make(0);
    void *objects[CACHES];
    for (int i = 0; i < CACHES; i++) {
        struct heap_cache *cache = cache_make(heap);
        objects[i] = heap_alloc(cache, HEAP_SMALL_MAX);
        assert_non_null(objects[i]);
        heap_cache_close(cache);
    }
    assert_true(heap_mapped_bytes(heap) <= 4 * CACHES * HEAP_SMALL_MAX);
    struct heap_cache *cache = cache_make(heap);
    for (int i = 0; i < CACHES; i++)
        heap_free(cache, objects[i], HEAP_SMALL_MAX);
    heap_cache_close(cache);
    heap_delete(heap);
}

static void without_memory_an_allocation_fails_and_nothing_is_counted(void **state)
{
    (void)state;
    struct heap *heap;
    system_fail_nth(1);
    assert_int_equal(heap_new(0, &heap), ERROR_MEMORY);
    heap = heap_make(0);
    struct heap_cache *cache;
    system_fail_nth(1);
    assert_int_equal(heap_cache_open(heap, &cache), ERROR_MEMORY);
    cache = cache_make(heap);
    system_fail_nth(1);
    assert_null(heap_alloc(cache, 64));
    system_fail_nth(1);
    assert_null(heap_alloc(cache, 1 << 20));
    void *object = heap_alloc(cache, 64);
    assert_non_null(object);
    heap_free(cache, object, 64);
    heap_free(cache, NULL, 64);
    heap_cache_close(cache);
    assert_int_equal(heap_used_bytes(heap), 0);
    heap_delete(heap);
}

/* What kinds and sizes were given out, kept beside. */
static void stats_check(struct heap *heap, const size_t expected[HEAP_KIND_MAX], size_t large)
{
    struct heap_stats stats;
    size_t sum = 0;
    heap_stats_get(heap, &stats);
    for (int kind = 0; kind < HEAP_KIND_MAX; kind++) {
        assert_int_equal(stats.kinds[kind], expected[kind]);
        sum += expected[kind];
    }
    assert_int_equal(stats.used, sum);
    assert_int_equal(stats.large, large);
    assert_int_equal(stats.mapped, heap_mapped_bytes(heap));
    assert_true(stats.mapped == 0 || stats.free + stats.used - stats.large == stats.mapped);
}

static bool is_large(size_t size)
{
    return heap_good_size(9) == 9 || size > HEAP_SMALL_MAX;
}

static void each_kind_is_counted_whoever_frees_it(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    struct heap *heap = heap_make(0);
    struct heap_cache *caches[3] = {cache_make(heap), cache_make(heap), cache_make(heap)};
    size_t expected[HEAP_KIND_MAX] = {0}, large = 0;
    struct {
        void *memory;
        size_t size;
        enum heap_kind kind;
    } kept[500] = {{0}};
    for (int step = 0; step < 50000; step++) {
        unsigned n = (unsigned)random_below(&random, 500), c = (unsigned)random_below(&random, 3);
        size_t size = kept[n].size, sign = kept[n].memory != NULL ? (size_t)-1 : 1;
        if (kept[n].memory != NULL) {
            heap_free_as(caches[c], kept[n].memory, size, kept[n].kind);
            kept[n].memory = NULL;
        } else {
            kept[n].size = size = random_size(&random);
            kept[n].kind = (enum heap_kind)random_below(&random, HEAP_KIND_MAX);
            kept[n].memory = heap_alloc_as(caches[c], size, kept[n].kind);
            assert_non_null(kept[n].memory);
        }
        expected[kept[n].kind] += sign * heap_good_size(size);
        large += sign * (is_large(size) ? heap_good_size(size) : 0);
        if (step % 1000 == 0)
            stats_check(heap, expected, large);
        if (step == 25000) { /* what a cache has counted stays when it is closed */
            heap_cache_close(caches[0]);
            caches[0] = cache_make(heap);
            stats_check(heap, expected, large);
        }
    }
    for (unsigned n = 0; n < 500; n++)
        if (kept[n].memory != NULL)
            heap_free_as(caches[0], kept[n].memory, kept[n].size, kept[n].kind);
    memset(expected, 0, sizeof expected);
    stats_check(heap, expected, 0);
    for (int i = 0; i < 3; i++)
        heap_cache_close(caches[i]);
    stats_check(heap, expected, 0);
    assert_int_equal(heap_used_bytes(heap), 0);
    for (int kind = 0; kind < HEAP_KIND_MAX; kind++)
        assert_true(heap_kind_name((enum heap_kind)kind)[0] != '\0');
    heap_delete(heap);
}

static void huge_objects_are_mappings_of_their_own_and_go_back_at_once(void **state)
{
    (void)state;
    bool mapped = heap_good_size(9) != 9; /* else AddressSanitizer has all of them */
    struct heap *heap = heap_make(0);
    struct heap_cache *cache = cache_make(heap);
    struct heap_stats stats;
    uint64_t allocated = system_allocated_bytes();
    for (size_t size = HEAP_HUGE_MIN; size < 40u << 20; size += size / 3 + 1) {
        unsigned char *object = heap_alloc_as(cache, size, HEAP_VERSION);
        assert_non_null(object);
        assert_true(!mapped || (uintptr_t)object % SYSTEM_HUGE_BYTES == 0);
        assert_true(!mapped || object[0] + object[size / 2] + object[size - 1] == 0);
        object[0] = object[size - 1] = 7;
        heap_stats_get(heap, &stats);
        assert_int_equal(stats.huge, mapped ? size : 0);
        assert_int_equal(stats.large, size);
        assert_int_equal(stats.kinds[HEAP_VERSION], size);
        assert_true(!mapped || system_allocated_bytes() < allocated + HEAP_HUGE_MIN);
        heap_free_as(cache, object, size, HEAP_VERSION);
        heap_stats_get(heap, &stats);
        assert_int_equal(stats.huge, 0);
    }
    void *below = heap_alloc(cache, HEAP_HUGE_MIN - 1);
    heap_stats_get(heap, &stats);
    assert_int_equal(stats.huge, 0);
    assert_int_equal(stats.large, HEAP_HUGE_MIN - 1);
    heap_free(cache, below, HEAP_HUGE_MIN - 1);
    heap_cache_close(cache);
    assert_int_equal(heap_used_bytes(heap), 0);
    heap_delete(heap);
}

/* ---- threads: each allocates, marks and sends objects to all; whoever takes one checks and frees
 * it */

enum { THREADS = 4, SENT = 40000 };

struct parcel {
    size_t size;
    uint64_t check;
};

struct office {
    struct heap *heap;
    struct ring ring;
    _Atomic int left;
};

struct clerk {
    struct office *office;
    uint64_t seed;
    int damaged;
};

static void parcel_take(struct clerk *clerk, struct heap_cache *cache)
{
    void *taken;
    if (!ring_take(&clerk->office->ring, &taken))
        return;
    struct parcel *parcel = taken;
    size_t size = parcel->size;
    const unsigned char *bytes = taken;
    clerk->damaged += parcel->check != ~(uint64_t)size;
    for (size_t i = sizeof(*parcel); i < size; i++)
        clerk->damaged += bytes[i] != (unsigned char)size;
    heap_free(cache, taken, size);
    atomic_fetch_sub(&clerk->office->left, 1);
}

static void *work(void *arg)
{
    struct clerk *clerk = arg;
    struct random random;
    random_create(&random, clerk->seed);
    struct heap_cache *cache;
    if (heap_cache_open(clerk->office->heap, &cache) != 0)
        abort();
    for (int i = 0; i < SENT; i++) {
        size_t size = sizeof(struct parcel) + random_below(&random, 300);
        struct parcel *parcel = heap_alloc(cache, size);
        memset(parcel, (int)(size & 0xff), size);
        parcel->size = size;
        parcel->check = ~(uint64_t)size;
        while (!ring_put(&clerk->office->ring, parcel))
            parcel_take(clerk, cache);
        for (uint64_t n = random_below(&random, 3); n > 0; n--)
            parcel_take(clerk, cache);
    }
    unsigned turn = 0;
    while (load_relaxed(&clerk->office->left) > 0) {
        parcel_take(clerk, cache);
        spin_wait(&turn);
    }
    heap_cache_close(cache);
    return NULL;
}

static void threads_free_what_others_allocated(void **state)
{
    (void)state;
    struct office office = {.heap = heap_make(0)};
    assert_int_equal(ring_create(&office.ring, 1024), 0);
    atomic_init(&office.left, THREADS * SENT);
    struct clerk clerks[THREADS] = {{0}};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        clerks[i].office = &office;
        clerks[i].seed = test_seed() + (uint64_t)i;
        assert_int_equal(pthread_create(&threads[i], NULL, work, &clerks[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(clerks[i].damaged, 0);
    }
    assert_int_equal(heap_used_bytes(office.heap), 0);
    stats_check(office.heap, (size_t[HEAP_KIND_MAX]){0}, 0);
    ring_destroy(&office.ring);
    heap_delete(office.heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_is_aligned_as_promised),
        cmocka_unit_test(a_good_size_is_not_less_and_wastes_little),
        cmocka_unit_test(objects_keep_their_bytes_until_freed),
        cmocka_unit_test(more_than_the_limit_is_told_and_less_again_as_well),
        cmocka_unit_test(a_write_is_refused_when_relief_does_not_help),
        cmocka_unit_test(what_closed_caches_left_is_used_again),
        cmocka_unit_test(what_a_closed_cache_did_not_cut_is_used_by_others),
        cmocka_unit_test(without_memory_an_allocation_fails_and_nothing_is_counted),
        cmocka_unit_test(each_kind_is_counted_whoever_frees_it),
        cmocka_unit_test(huge_objects_are_mappings_of_their_own_and_go_back_at_once),
        cmocka_unit_test(threads_free_what_others_allocated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
