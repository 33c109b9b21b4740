/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash directory: against a plain array, with several items of one key, growing to many items and
 * back, and under threads that insert and remove while others look. The tree's own tests run with a
 * directory in front of it as well.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/model.h"
#include "base/test_seed.h"
#include "index/hash.h"

enum { KEYS = 300, ITEMS_OF_KEY = 3, IDS = KEYS * ITEMS_OF_KEY, OPS = 600, SEQUENCES = 200 };

struct bench {
    struct epoch_domain *domain;
    struct heap *heap;
    struct tree_thread thread;
    struct hash *hash;
};

/* Of an item's key the first eight bytes count; the others tell it from those of the same key. */
static uint32_t first_eight(const struct item *item)
{
    (void)item;
    return 8;
}

static void bench_open(struct bench *bench, unsigned threads)
{
    assert_int_equal(epoch_domain_new(threads + 1, &bench->domain), 0);
    assert_int_equal(heap_new(0, &bench->heap), 0);
    assert_int_equal(epoch_slot_open(bench->domain, &bench->thread.epoch), 0);
    assert_int_equal(heap_cache_open(bench->heap, &bench->thread.heap), 0);
    assert_int_equal(hash_new(&bench->thread, first_eight, &bench->hash), 0);
}

static void bench_close(struct bench *bench)
{
    hash_delete(bench->hash, &bench->thread);
    epoch_slot_close(bench->thread.epoch);
    heap_cache_close(bench->thread.heap);
    epoch_domain_delete(bench->domain);
    heap_delete(bench->heap);
}

static struct item *item_new(uint64_t key, uint64_t number)
{
    struct item *item = malloc(item_alloc_size(16));
    atomic_init(&item->pointer, NULL);
    atomic_init(&item->state, 0);
    item->key_size = 16;
    memcpy(item->key, &key, 8);
    memcpy(item->key + 8, &number, 8);
    return item;
}

/* ---- against an array ---- */

struct op {
    uint16_t id;
    bool insert;
};

struct count {
    unsigned found;
};

static bool count_all(struct item *item, void *arg)
{
    (void)item;
    ((struct count *)arg)->found++;
    return false;
}

static void op_choose(struct random *random, void *arg, void *unused)
{
    (void)unused;
    struct op *op = arg;
    op->id = (uint16_t)random_below(random, IDS);
    op->insert = random_below(random, 3) != 0;
}

static void op_print(FILE *out, const void *arg, void *unused)
{
    (void)unused;
    const struct op *op = arg;
    fprintf(out, "%s %u of key %u", op->insert ? "insert" : "remove", op->id, op->id % KEYS);
}

static bool check_key(struct bench *bench, const bool *present, uint64_t key,
                      struct model_report *report)
{
    unsigned expected = 0;
    struct count count = {0};
    for (unsigned i = 0; i < ITEMS_OF_KEY; i++)
        expected += present[key + i * KEYS];
    uint64_t code = hash_of(bench->hash, &key, 8);
    hash_find(bench->hash, code, &key, 8, count_all, &count);
    if (count.found != expected)
        return model_differs(report, "key %u: %u items are found, expected %u", (unsigned)key,
                             count.found, expected);
    struct item *any = hash_find(bench->hash, code, &key, 8, NULL, NULL);
    return (any != NULL) == (expected > 0) ||
           model_differs(report, "key %u: an item that is not found", (unsigned)key);
}

static bool run(const void *all, size_t count, struct model_report *report, void *unused)
{
    (void)unused;
    const struct op *ops = all;
    struct bench bench;
    struct item *items[IDS];
    bool present[IDS] = {false}, right = true;
    bench_open(&bench, 1);
    for (unsigned i = 0; i < IDS; i++)
        items[i] = item_new(i % KEYS, i);
    epoch_enter(bench.thread.epoch);
    for (size_t n = 0; right && n < count; n++) {
        if (ops[n].insert && !present[ops[n].id])
            hash_insert(bench.hash, &bench.thread, items[ops[n].id]);
        else if (!ops[n].insert)
            hash_remove(bench.hash, items[ops[n].id]);
        present[ops[n].id] = ops[n].insert;
        right = check_key(&bench, present, ops[n].id % KEYS, report);
    }
    for (uint64_t key = 0; right && key < KEYS; key++)
        right = check_key(&bench, present, key, report);
    epoch_leave(bench.thread.epoch);
    bench_close(&bench);
    for (unsigned i = 0; i < IDS; i++)
        free(items[i]);
    return right;
}

static void the_directory_is_what_an_array_is(void **state)
{
    (void)state;
    struct model_test test = {
        .op_bytes = sizeof(struct op), .op_choose = op_choose, .run = run, .op_print = op_print};
    assert_true(model_check(&test, test_seed(), SEQUENCES, OPS));
}

/* ---- growing ---- */

static void many_items_are_found_and_take_few_bytes(void **state)
{
    (void)state;
    enum { MANY = 200000 };
    struct bench bench;
    struct item **items = malloc(MANY * sizeof *items);
    bench_open(&bench, 1);
    epoch_enter(bench.thread.epoch);
    for (uint64_t i = 0; i < MANY; i++) {
        items[i] = item_new(i, 0);
        hash_insert(bench.hash, &bench.thread, items[i]);
    }
    assert_int_equal(hash_count(bench.hash), MANY);
    assert_in_range(hash_bytes(bench.hash) / MANY, 11, 24);
    for (uint64_t i = 0; i < MANY; i++)
        assert_ptr_equal(hash_find(bench.hash, hash_of(bench.hash, &i, 8), &i, 8, NULL, NULL),
                         items[i]);
    for (uint64_t i = MANY; i < 2 * MANY; i++)
        assert_null(hash_find(bench.hash, hash_of(bench.hash, &i, 8), &i, 8, NULL, NULL));
    for (uint64_t i = 0; i < MANY; i++) {
        hash_remove(bench.hash, items[i]);
        free(items[i]);
    }
    assert_int_equal(hash_count(bench.hash), 0);
    epoch_leave(bench.thread.epoch);
    bench_close(&bench);
    free(items);
}

/* ---- threads ---- */

enum { WRITERS = 3, STAYING = 2000, OWN = 3000, ROUNDS = 6 };

struct shared {
    struct bench bench;
    struct item *staying[STAYING];
    _Atomic unsigned writing;
    _Atomic uint64_t missed, looked;
};

struct thread {
    struct shared *shared;
    unsigned number;
    pthread_t id;
    struct tree_thread tree;
};

static void thread_open(struct thread *thread)
{
    assert_int_equal(epoch_slot_open(thread->shared->bench.domain, &thread->tree.epoch), 0);
    assert_int_equal(heap_cache_open(thread->shared->bench.heap, &thread->tree.heap), 0);
}

static void thread_close(struct thread *thread)
{
    while (epoch_limbo_count(thread->tree.epoch) > 0)
        epoch_collect(thread->tree.epoch);
    epoch_slot_close(thread->tree.epoch);
    heap_cache_close(thread->tree.heap);
}

static void item_retired(void *object, void *arg)
{
    (void)arg;
    memset(object, 0xee, item_alloc_size(16));
    free(object);
}

static void *writer_main(void *arg)
{
    struct thread *thread = arg;
    struct hash *hash = thread->shared->bench.hash;
    struct item *own[OWN];
    thread_open(thread);
    for (unsigned round = 0; round < ROUNDS; round++) {
        epoch_enter(thread->tree.epoch);
        for (uint64_t i = 0; i < OWN; i++) {
            own[i] = item_new((1 + thread->number) * UINT64_C(1000000) + i, 0);
            hash_insert(hash, &thread->tree, own[i]);
        }
        epoch_leave(thread->tree.epoch);
        for (uint64_t i = 0; i < OWN; i++) {
            epoch_enter(thread->tree.epoch);
            hash_remove(hash, own[i]);
            epoch_retire(thread->tree.epoch, own[i], item_retired, NULL);
            epoch_leave(thread->tree.epoch);
        }
        epoch_collect(thread->tree.epoch);
    }
    atomic_fetch_sub(&thread->shared->writing, 1);
    thread_close(thread);
    return NULL;
}

static bool is_whole(struct item *item, void *arg)
{
    (void)arg;
    assert_int_equal(item->key_size, 16); /* not one that has been freed */
    return true;
}

static void *reader_main(void *arg)
{
    struct thread *thread = arg;
    struct shared *shared = thread->shared;
    struct hash *hash = shared->bench.hash;
    struct random random;
    random_create(&random, test_seed());
    thread_open(thread);
    while (load_acquire(&shared->writing) > 0) {
        epoch_enter(thread->tree.epoch);
        for (unsigned i = 0; i < 200; i++) {
            uint64_t key = random_below(&random, STAYING);
            struct item *item = hash_find(hash, hash_of(hash, &key, 8), &key, 8, is_whole, NULL);
            assert_true(item == NULL || item == shared->staying[key]);
            atomic_fetch_add_explicit(&shared->missed, item == NULL, memory_order_relaxed);
            atomic_fetch_add_explicit(&shared->looked, 1, memory_order_relaxed);
            key = (1 + random_below(&random, WRITERS)) * UINT64_C(1000000) +
                  random_below(&random, OWN);
            hash_find(hash, hash_of(hash, &key, 8), &key, 8, is_whole, NULL);
        }
        epoch_leave(thread->tree.epoch);
    }
    thread_close(thread);
    return NULL;
}

static void who_looks_beside_writers_finds_what_stays_and_nothing_that_was_freed(void **state)
{
    (void)state;
    static struct shared shared;
    struct thread threads[WRITERS + 1];
    memset(&shared, 0, sizeof shared);
    bench_open(&shared.bench, WRITERS + 1);
    epoch_enter(shared.bench.thread.epoch);
    for (uint64_t i = 0; i < STAYING; i++) {
        shared.staying[i] = item_new(i, 0);
        hash_insert(shared.bench.hash, &shared.bench.thread, shared.staying[i]);
    }
    epoch_leave(shared.bench.thread.epoch);
    store_release(&shared.writing, WRITERS);
    for (unsigned i = 0; i <= WRITERS; i++) {
        threads[i] = (struct thread){.shared = &shared, .number = i};
        assert_int_equal(pthread_create(&threads[i].id, NULL,
                                        i < WRITERS ? writer_main : reader_main, &threads[i]),
                         0);
    }
    for (unsigned i = 0; i <= WRITERS; i++)
        pthread_join(threads[i].id, NULL);
    /* A miss is allowed while a chain is tidied up; it has to be rare. */
    assert_true(load_relaxed(&shared.missed) * 100 <= load_relaxed(&shared.looked));
    epoch_enter(shared.bench.thread.epoch);
    assert_int_equal(hash_count(shared.bench.hash), STAYING);
    for (uint64_t i = 0; i < STAYING; i++) {
        uint64_t code = hash_of(shared.bench.hash, &i, 8);
        assert_ptr_equal(hash_find(shared.bench.hash, code, &i, 8, NULL, NULL), shared.staying[i]);
    }
    epoch_leave(shared.bench.thread.epoch);
    bench_close(&shared.bench);
    for (unsigned i = 0; i < STAYING; i++)
        free(shared.staying[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_directory_is_what_an_array_is),
        cmocka_unit_test(many_items_are_found_and_take_few_bytes),
        cmocka_unit_test(who_looks_beside_writers_finds_what_stays_and_nothing_that_was_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
