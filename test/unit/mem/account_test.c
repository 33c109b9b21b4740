/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of the process: what is made, resized and freed, by any thread, adds up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/random.h"
#include "base/test_seed.h"
#include "mem/account.h"
#include "mem/arena.h"
#include "mem/system.h"

static void what_is_made_resized_and_freed_is_counted_as_the_allocator_does(void **state)
{
    (void)state;
    uint64_t before = account_bytes(ACCOUNT_LOG);
    char *memory = account_made(ACCOUNT_LOG, malloc(1000));
    assert_non_null(memory);
    assert_int_equal(account_bytes(ACCOUNT_LOG) - before, malloc_usable_size(memory));
    memory = account_resize(ACCOUNT_LOG, memory, 100000);
    assert_non_null(memory);
    assert_int_equal(account_bytes(ACCOUNT_LOG) - before, malloc_usable_size(memory));
    free(account_gone(ACCOUNT_LOG, memory));
    assert_int_equal(account_bytes(ACCOUNT_LOG), before);
    assert_null(account_made(ACCOUNT_LOG, NULL));
    assert_null(account_gone(ACCOUNT_LOG, NULL));
    assert_int_equal(account_bytes(ACCOUNT_LOG), before);
}

static void kinds_are_apart_and_have_words(void **state)
{
    (void)state;
    uint64_t before[ACCOUNT_KIND_MAX];
    for (int kind = 0; kind < ACCOUNT_KIND_MAX; kind++)
        before[kind] = account_bytes(kind);
    for (int kind = 0; kind < ACCOUNT_KIND_MAX; kind++)
        account_add(kind, 1 << kind);
    for (int kind = 0; kind < ACCOUNT_KIND_MAX; kind++) {
        assert_int_equal(account_bytes(kind) - before[kind], 1 << kind);
        assert_true(account_name(kind)[0] != '\0');
        account_add(kind, -(1 << kind));
    }
}

enum { THREADS = 20, STEPS = 20000 };

/* Takes and gives back at random; what is left it leaves to the next. */
struct work {
    uint64_t seed;
    int64_t left;
};

static void *worker(void *arg)
{
    struct work *work = arg;
    struct random random;
    random_create(&random, work->seed);
    for (int step = 0; step < STEPS; step++) {
        int64_t bytes = (int64_t)random_below(&random, 1000) - 400;
        account_add(ACCOUNT_CACHE, bytes);
        work->left += bytes;
    }
    return NULL;
}

static void the_sum_of_all_threads_is_exact(void **state)
{
    (void)state;
    uint64_t before = account_bytes(ACCOUNT_CACHE), seed = test_seed();
    pthread_t threads[THREADS];
    struct work work[THREADS];
    int64_t left = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        work[i] = (struct work){.seed = seed + i};
        assert_int_equal(pthread_create(&threads[i], NULL, worker, &work[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        left += work[i].left;
    }
    assert_int_equal((int64_t)(account_bytes(ACCOUNT_CACHE) - before), left);
    account_add(ACCOUNT_CACHE, -left);
}

static void an_arena_is_counted_with_what_it_keeps(void **state)
{
    (void)state;
    uint64_t before = account_bytes(ACCOUNT_ARENA);
    struct arena arena;
    arena_create(&arena, 1 << 20);
    assert_non_null(arena_alloc(&arena, 100000));
    uint64_t used = account_bytes(ACCOUNT_ARENA) - before;
    assert_true(used >= 100000 && used < 300000);
    arena_reset(&arena);
    assert_int_equal(account_bytes(ACCOUNT_ARENA) - before, used);
    arena_destroy(&arena);
    assert_int_equal(account_bytes(ACCOUNT_ARENA), before);
}

static void what_the_allocator_says_grows_and_falls_with_what_is_taken(void **state)
{
    (void)state;
    enum { BYTES = 64 << 20 };
    uint64_t before = system_allocated_bytes();
    char *memory = system_alloc(BYTES, 16);
    assert_non_null(memory);
    *(volatile char *)memory = 1;
    uint64_t with = system_allocated_bytes();
    assert_true(with >= before + BYTES && with < before + 2 * BYTES);
    system_free(memory);
    assert_true(system_allocated_bytes() < before + BYTES / 2);
    assert_true(system_resident_bytes() > 0 && system_peak_bytes() > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_made_resized_and_freed_is_counted_as_the_allocator_does),
        cmocka_unit_test(kinds_are_apart_and_have_words),
        cmocka_unit_test(the_sum_of_all_threads_is_exact),
        cmocka_unit_test(an_arena_is_counted_with_what_it_keeps),
        cmocka_unit_test(what_the_allocator_says_grows_and_falls_with_what_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
