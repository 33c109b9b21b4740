/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree under several threads. Whatever the schedule, some things hold: of inserts that race for
 * a key one wins; keys that nobody removes are seen by every look-up and exactly once, in order, by
 * every walk; a range whose leaves are all unchanged still has the same items. Freed items are
 * poisoned first, so that a reader that should not see them notices; ThreadSanitizer sees the rest.
 * After each round the tree verifies.
 *
 * Threads draw from generators seeded by PERIGEE_SEED and yield at random places, to mix schedules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "index/tree.h"

enum { THREADS_MAX = 6, KEY_SIZE_MAX = 128 };

/* ---- threads ---- */

struct shared {
    struct epoch_domain *domain;
    struct heap *heap;
    struct tree *tree;
    _Atomic uint64_t started, done;
    uint64_t starters;
    _Atomic uint64_t wins;
};

struct worker {
    struct shared *shared;
    struct tree_thread thread;
    struct random random;
    unsigned number;
    void (*run)(struct worker *worker);
    pthread_t id;
};

static void worker_open(struct worker *worker, struct shared *shared, unsigned number)
{
    worker->shared = shared;
    worker->number = number;
    ASSERT(epoch_slot_open(shared->domain, &worker->thread.epoch) == 0);
    ASSERT(heap_cache_open(shared->heap, &worker->thread.heap) == 0);
    random_create(&worker->random, test_seed() + number);
}

static void worker_close(struct worker *worker)
{
    while (epoch_limbo_count(worker->thread.epoch) > 0)
        epoch_collect(worker->thread.epoch);
    epoch_slot_close(worker->thread.epoch);
    heap_cache_close(worker->thread.heap);
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    unsigned turn = 0;
    atomic_fetch_add(&worker->shared->started, 1);
    while (load_acquire(&worker->shared->started) < worker->shared->starters)
        spin_wait(&turn);
    worker->run(worker);
    worker_close(worker);
    return NULL;
}

static bool chance(struct worker *worker, unsigned one_in)
{
    return random_below(&worker->random, one_in) == 0;
}

static void maybe_yield(struct worker *worker)
{
    if (chance(worker, 50))
        sched_yield();
}

/* Runs `count` workers, number i by runs[i], until all have ended. */
static void run_workers(struct shared *shared, void (*const *runs)(struct worker *worker),
                        unsigned count)
{
    struct worker workers[THREADS_MAX];
    assert_true(count <= THREADS_MAX);
    shared->starters = count;
    store_release(&shared->started, 0);
    store_release(&shared->done, 0);
    for (unsigned i = 0; i < count; i++) {
        worker_open(&workers[i], shared, i + 1);
        workers[i].run = runs[i];
        assert_int_equal(pthread_create(&workers[i].id, NULL, worker_main, &workers[i]), 0);
    }
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_join(workers[i].id, NULL), 0);
    assert_int_equal(tree_verify(shared->tree), 0);
}

/* Whether trees get a hash directory: everything holds with one, too. */
static bool with_directory;

static int give_directory(void **state)
{
    (void)state;
    with_directory = true;
    return 0;
}

static void shared_create(struct shared *shared, struct worker *main_worker)
{
    memset(shared, 0, sizeof(*shared));
    assert_int_equal(epoch_domain_new(THREADS_MAX + 1, &shared->domain), 0);
    assert_int_equal(heap_new(0, &shared->heap), 0);
    worker_open(main_worker, shared, 0);
    assert_int_equal(tree_new(&main_worker->thread, &shared->tree), 0);
    if (with_directory)
        assert_int_equal(tree_directory_make(shared->tree, &main_worker->thread, NULL), 0);
}

static void item_free(struct item *item, void *arg)
{
    struct heap_cache *heap = arg;
    size_t size = item_alloc_size(item->key_size);
    memset(item, 0xee, size);
    heap_free(heap, item, size);
}

static void shared_destroy(struct shared *shared, struct worker *main_worker)
{
    tree_delete(shared->tree, &main_worker->thread, item_free, main_worker->thread.heap);
    worker_close(main_worker);
    assert_int_equal(heap_used_bytes(shared->heap), 0);
    heap_delete(shared->heap);
    epoch_domain_delete(shared->domain);
}

/* ---- items and keys ---- */

static void item_free_retired(void *object, void *arg)
{
    item_free(object, arg);
}

static struct item *item_new(struct worker *worker, const void *key, size_t size)
{
    struct item *item = heap_alloc(worker->thread.heap, item_alloc_size((uint32_t)size));
    ASSERT(item != NULL);
    atomic_init(&item->pointer, NULL);
    atomic_init(&item->state, 0);
    item->key_size = (uint32_t)size;
    memcpy(item->key, key, size);
    return item;
}

/* Keys of several shapes, in the order of `number`: short, or behind 60 common bytes. */
static size_t key_make(unsigned number, bool is_long, unsigned char key[KEY_SIZE_MAX])
{
    memset(key, 'p', 60);
    return (size_t)snprintf((char *)key + (is_long ? 60 : 0), 32, "%07u", number) +
           (is_long ? 60 : 0);
}

/* True when this thread inserted it. */
static bool insert(struct worker *worker, unsigned number, bool is_long)
{
    unsigned char key[KEY_SIZE_MAX];
    size_t size = key_make(number, is_long, key);
    struct item *item = item_new(worker, key, size), *present = NULL;
    int result = tree_insert(worker->shared->tree, &worker->thread, item, NULL, NULL, &present);
    if (result == 0)
        return true;
    ASSERT(result == ERROR_EXISTS);
    ASSERT(present->key_size == size && memcmp(present->key, key, size) == 0);
    item_free(item, worker->thread.heap);
    return false;
}

static struct item *get(struct worker *worker, unsigned number, bool is_long)
{
    unsigned char key[KEY_SIZE_MAX];
    return tree_get(worker->shared->tree, key, key_make(number, is_long, key));
}

/* True when this thread removed it. */
static bool take(struct worker *worker, unsigned number, bool is_long)
{
    struct item *item = get(worker, number, is_long);
    if (item == NULL || !tree_remove(worker->shared->tree, &worker->thread, item, NULL, NULL))
        return false;
    epoch_retire(worker->thread.epoch, item, item_free_retired, worker->thread.heap);
    return true;
}

static unsigned item_number(const struct item *item)
{
    char text[8] = {0};
    ASSERT(item->key_size == 7 || item->key_size == 67);
    memcpy(text, item->key + item->key_size - 7, 7);
    return (unsigned)strtoul(text, NULL, 10);
}

/* ---- racing for keys ---- */

enum { RACE_KEYS = 4000 };

static void race_to_insert(struct worker *worker)
{
    for (unsigned i = 0; i < RACE_KEYS; i++) {
        epoch_enter(worker->thread.epoch);
        if (insert(worker, i, false))
            atomic_fetch_add(&worker->shared->wins, 1);
        maybe_yield(worker);
        epoch_leave(worker->thread.epoch);
    }
}

static void race_to_remove(struct worker *worker)
{
    for (unsigned i = 0; i < RACE_KEYS; i++) {
        epoch_enter(worker->thread.epoch);
        if (take(worker, i, false))
            atomic_fetch_add(&worker->shared->wins, 1);
        maybe_yield(worker);
        epoch_leave(worker->thread.epoch);
    }
}

static void of_inserts_and_removals_that_race_for_a_key_one_wins(void **state)
{
    (void)state;
    struct shared shared;
    struct worker main_worker;
    void (*const inserts[])(struct worker *) = {race_to_insert, race_to_insert, race_to_insert};
    void (*const removals[])(struct worker *) = {race_to_remove, race_to_remove, race_to_remove};
    shared_create(&shared, &main_worker);
    for (int round = 0; round < 3; round++) {
        store_release(&shared.wins, 0);
        run_workers(&shared, inserts, 3);
        assert_int_equal(load_acquire(&shared.wins), RACE_KEYS);
        assert_int_equal(tree_count(shared.tree), RACE_KEYS);
        store_release(&shared.wins, 0);
        run_workers(&shared, removals, 3);
        assert_int_equal(load_acquire(&shared.wins), RACE_KEYS);
        assert_int_equal(tree_count(shared.tree), 0);
        assert_int_equal(tree_node_bytes(shared.tree), 1024);
    }
    shared_destroy(&shared, &main_worker);
}

/* ---- walking while others change ---- */

/* Numbers divisible by this are put in before and stay. */
enum { STAYS_EVERY = 17, NUMBERS = 6000, CHANGES = 12000, CHANGERS = 2 };

static bool stays(unsigned number)
{
    return number % STAYS_EVERY == 0;
}

static void fill_stays(struct worker *worker, bool is_long)
{
    epoch_enter(worker->thread.epoch);
    for (unsigned i = 0; i < NUMBERS; i += STAYS_EVERY)
        assert_true(insert(worker, i, is_long));
    epoch_leave(worker->thread.epoch);
}

/* Grows and shrinks stretches of neighbouring keys, so that leaves are split and merged all the
 * time. */
static void change_stretches(struct worker *worker)
{
    for (unsigned i = 0; i < CHANGES;) {
        unsigned begin = (unsigned)random_below(&worker->random, NUMBERS);
        unsigned length = (unsigned)random_below(&worker->random, 200);
        bool inserting = chance(worker, 2), is_long = chance(worker, 2);
        for (unsigned n = begin; n < begin + length && n < NUMBERS; n++, i++) {
            if (stays(n))
                continue;
            epoch_enter(worker->thread.epoch);
            if (inserting)
                insert(worker, n, is_long);
            else
                take(worker, n, is_long);
            maybe_yield(worker);
            epoch_leave(worker->thread.epoch);
        }
        i++;
    }
    atomic_fetch_add(&worker->shared->done, 1);
}

static bool changers_at_work(struct worker *worker)
{
    return load_acquire(&worker->shared->done) < CHANGERS;
}

/* Walks all keys of one shape, and checks that they ascend (or descend) and those that stay are all
 * there. */
static void walk_once(struct worker *worker, bool backward, bool is_long)
{
    unsigned char low[KEY_SIZE_MAX], high[KEY_SIZE_MAX];
    size_t low_size = key_make(0, is_long, low), high_size = key_make(NUMBERS, is_long, high);
    unsigned expected = backward ? (NUMBERS - 1) / STAYS_EVERY * STAYS_EVERY : 0, seen = 0;
    long last = backward ? NUMBERS : -1;
    struct tree_cursor cursor;
    struct item *item;
    epoch_enter(worker->thread.epoch);
    if (backward) {
        tree_cursor_create(&cursor, worker->shared->tree, high, high_size, false, true);
        tree_cursor_until(&cursor, low, low_size, true);
    } else {
        tree_cursor_create(&cursor, worker->shared->tree, low, low_size, true, false);
        tree_cursor_until(&cursor, high, high_size, false);
    }
    tree_cursor_few(&cursor, (unsigned)random_below(&worker->random, 6));
    while ((item = tree_cursor_next(&cursor, NULL)) != NULL) {
        unsigned number = item_number(item);
        ASSERT((item->key_size > 7) == is_long);
        ASSERT(backward ? (long)number < last : (long)number > last);
        last = number;
        if (stays(number)) {
            ASSERT(number == expected);
            expected += backward ? (unsigned)-STAYS_EVERY : STAYS_EVERY;
            seen++;
        }
        maybe_yield(worker);
    }
    ASSERT(seen == (NUMBERS + STAYS_EVERY - 1) / STAYS_EVERY);
    epoch_leave(worker->thread.epoch);
}

static void walk(struct worker *worker)
{
    do {
        walk_once(worker, chance(worker, 2), chance(worker, 2));
    } while (changers_at_work(worker));
}

/* Looks up keys that stay, one by one and in batches mixed with keys that may be there. */
static void look_up(struct worker *worker)
{
    enum { BATCH = 24 };
    unsigned char keys[BATCH][KEY_SIZE_MAX];
    const void *pointers[BATCH];
    size_t sizes[BATCH];
    unsigned numbers[BATCH];
    struct item *items[BATCH];
    do {
        epoch_enter(worker->thread.epoch);
        for (unsigned i = 0; i < BATCH; i++) {
            numbers[i] = (unsigned)random_below(&worker->random, NUMBERS);
            pointers[i] = keys[i];
            sizes[i] = key_make(numbers[i], chance(worker, 2), keys[i]);
        }
        tree_get_batch(worker->shared->tree, pointers, sizes, BATCH, items);
        for (unsigned i = 0; i < BATCH; i++) {
            ASSERT(items[i] != NULL || !stays(numbers[i]));
            if (items[i] != NULL) {
                ASSERT(items[i]->key_size == sizes[i]);
                ASSERT(memcmp(items[i]->key, keys[i], sizes[i]) == 0);
            }
            unsigned stay = numbers[i] - numbers[i] % STAYS_EVERY;
            struct item *item = get(worker, stay, i % 2);
            ASSERT(item != NULL && item_number(item) == stay);
        }
        epoch_leave(worker->thread.epoch);
    } while (changers_at_work(worker));
}

static void keys_that_stay_are_seen_once_and_in_order_by_every_walk(void **state)
{
    (void)state;
    struct shared shared;
    struct worker main_worker;
    void (*const runs[])(struct worker *) = {change_stretches, change_stretches, walk, walk,
                                             look_up};
    shared_create(&shared, &main_worker);
    fill_stays(&main_worker, false);
    fill_stays(&main_worker, true);
    for (int round = 0; round < 3; round++)
        run_workers(&shared, runs, 5);
    shared_destroy(&shared, &main_worker);
}

/* ---- looking up where leaves are split and merged all the time ---- */

enum { HOT_NUMBERS = 150, HOT_ROUNDS = 1500, HOT_STAYS_EVERY = 29 };

/* Fills the gaps between the few keys that stay, and clears them again. */
static void change_hot(struct worker *worker)
{
    for (unsigned round = 0; round < 2 * HOT_ROUNDS; round++) {
        for (unsigned n = 0; n < HOT_NUMBERS; n++) {
            if (n % HOT_STAYS_EVERY == 0)
                continue;
            epoch_enter(worker->thread.epoch);
            if (round % 2 == 0)
                insert(worker, n, true);
            else
                take(worker, n, true);
            epoch_leave(worker->thread.epoch);
        }
    }
    atomic_fetch_add(&worker->shared->done, CHANGERS);
}

static void look_up_hot(struct worker *worker)
{
    enum { BATCH = HOT_NUMBERS / HOT_STAYS_EVERY + 1 };
    unsigned char keys[BATCH][KEY_SIZE_MAX];
    const void *pointers[BATCH];
    size_t sizes[BATCH];
    struct item *items[BATCH];
    for (unsigned i = 0; i < BATCH; i++) {
        pointers[i] = keys[i];
        sizes[i] = key_make(i * HOT_STAYS_EVERY, true, keys[i]);
    }
    do {
        epoch_enter(worker->thread.epoch);
        for (unsigned i = 0; i < BATCH; i++)
            ASSERT(tree_get(worker->shared->tree, keys[i], sizes[i]) != NULL);
        tree_get_batch(worker->shared->tree, pointers, sizes, BATCH, items);
        for (unsigned i = 0; i < BATCH; i++)
            ASSERT(items[i] != NULL);
        epoch_leave(worker->thread.epoch);
    } while (changers_at_work(worker));
}

/* The same by walks that begin at a key that stays. */
static void walk_hot(struct worker *worker)
{
    unsigned char key[KEY_SIZE_MAX];
    do {
        unsigned number = (unsigned)random_below(&worker->random, HOT_NUMBERS);
        bool backward = chance(worker, 2);
        number -= number % HOT_STAYS_EVERY;
        size_t size = key_make(number, true, key);
        struct tree_cursor cursor;
        struct item *item;
        epoch_enter(worker->thread.epoch);
        tree_cursor_create(&cursor, worker->shared->tree, key, size, true, backward);
        tree_cursor_few(&cursor, (unsigned)random_below(&worker->random, 6));
        while ((item = tree_cursor_next(&cursor, NULL)) != NULL) {
            if (item_number(item) % HOT_STAYS_EVERY != 0)
                continue;
            ASSERT(item_number(item) == number);
            number += backward ? (unsigned)-HOT_STAYS_EVERY : HOT_STAYS_EVERY;
        }
        ASSERT(backward ? number == (unsigned)-HOT_STAYS_EVERY : number >= HOT_NUMBERS);
        epoch_leave(worker->thread.epoch);
    } while (changers_at_work(worker));
}

static void keys_that_stay_are_found_while_their_leaves_are_split_and_merged(void **state)
{
    (void)state;
    struct shared shared;
    struct worker main_worker;
    void (*const runs[])(struct worker *) = {change_hot, look_up_hot, walk_hot};
    shared_create(&shared, &main_worker);
    epoch_enter(main_worker.thread.epoch);
    for (unsigned n = 0; n < HOT_NUMBERS; n += HOT_STAYS_EVERY)
        assert_true(insert(&main_worker, n, true));
    epoch_leave(main_worker.thread.epoch);
    run_workers(&shared, runs, 2);
    run_workers(&shared, runs, 3);
    shared_destroy(&shared, &main_worker);
}

/* ---- unchanged leaves mean unchanged ranges ---- */

enum { LEAVES_MAX = 64, RANGE_ITEMS_MAX = 4096 };

struct range_read {
    const struct tree_leaf *leaves[LEAVES_MAX];
    uint64_t versions[LEAVES_MAX];
    unsigned leaf_count;
    struct item *items[RANGE_ITEMS_MAX];
    unsigned item_count;
};

static int note_leaf(const struct tree_leaf *leaf, uint64_t version, void *arg)
{
    struct range_read *read = arg;
    if (read->leaf_count == LEAVES_MAX)
        return ERROR_END;
    read->leaves[read->leaf_count] = leaf;
    read->versions[read->leaf_count++] = version;
    return 0;
}

/* False: the range has more leaves than can be noted. */
static bool read_range(struct worker *worker, struct range_read *read, unsigned begin, unsigned end,
                       bool backward)
{
    unsigned char low[KEY_SIZE_MAX], high[KEY_SIZE_MAX];
    size_t low_size = key_make(begin, false, low), high_size = key_make(end, false, high);
    struct tree_cursor cursor;
    struct item *item;
    int error;
    read->leaf_count = read->item_count = 0;
    tree_cursor_create(&cursor, worker->shared->tree, backward ? high : low,
                       backward ? high_size : low_size, !backward, backward);
    tree_cursor_until(&cursor, backward ? low : high, backward ? low_size : high_size, backward);
    cursor.on_leaf = note_leaf;
    cursor.on_leaf_arg = read;
    while ((item = tree_cursor_next(&cursor, &error)) != NULL) {
        ASSERT(read->item_count < RANGE_ITEMS_MAX);
        read->items[read->item_count++] = item;
        maybe_yield(worker);
    }
    return error == 0;
}

static bool unchanged(const struct range_read *read)
{
    for (unsigned i = 0; i < read->leaf_count; i++) {
        if (!tree_leaf_unchanged(read->leaves[i], read->versions[i]))
            return false;
    }
    return true;
}

/*
 * Reads a range twice, from either end. When the leaves of the first reading are unchanged after
 * the second has ended, nothing can have happened in the range between, and both have read the
 * same.
 */
static void compare_ranges(struct worker *worker)
{
    struct range_read *first = malloc(sizeof(*first)), *second = malloc(sizeof(*second));
    ASSERT(first != NULL && second != NULL);
    for (bool last = false; !last;) { /* the last time nobody changes anything */
        last = !changers_at_work(worker);
        epoch_enter(worker->thread.epoch);
        unsigned begin = (unsigned)random_below(&worker->random, NUMBERS);
        unsigned end = begin + (unsigned)random_below(&worker->random, 300);
        if (read_range(worker, first, begin, end, false) &&
            read_range(worker, second, begin, end, true) && unchanged(first)) {
            ASSERT(first->item_count == second->item_count);
            for (unsigned i = 0; i < first->item_count; i++)
                ASSERT(first->items[i] == second->items[first->item_count - 1 - i]);
            atomic_fetch_add(&worker->shared->wins, 1);
        }
        epoch_leave(worker->thread.epoch);
    }
    free(first);
    free(second);
}

static void ranges_whose_leaves_are_unchanged_have_the_same_items(void **state)
{
    (void)state;
    struct shared shared;
    struct worker main_worker;
    void (*const runs[])(struct worker *) = {change_stretches, change_stretches, compare_ranges,
                                             compare_ranges};
    shared_create(&shared, &main_worker);
    for (int round = 0; round < 3; round++)
        run_workers(&shared, runs, 4);
    assert_true(load_acquire(&shared.wins) > 0);
    shared_destroy(&shared, &main_worker);
}

/* ---- queues ---- */

enum { QUEUE_ITEMS = 20000, QUEUE_ROOM = 500 };

/* Worker 1 appends, the others take from the front: the tree moves through the key space. */
static void produce(struct worker *worker)
{
    unsigned turn = 0;
    for (unsigned i = 0; i < QUEUE_ITEMS; i++) {
        while (i > QUEUE_ROOM + load_acquire(&worker->shared->wins))
            spin_wait(&turn);
        epoch_enter(worker->thread.epoch);
        ASSERT(insert(worker, i, false));
        epoch_leave(worker->thread.epoch);
    }
}

static void consume(struct worker *worker)
{
    unsigned turn = 0;
    while (load_acquire(&worker->shared->wins) < QUEUE_ITEMS) {
        struct tree_cursor cursor;
        epoch_enter(worker->thread.epoch);
        tree_cursor_create(&cursor, worker->shared->tree, NULL, 0, true, false);
        struct item *item = tree_cursor_next(&cursor, NULL);
        if (item == NULL) {
            spin_wait(&turn);
        } else if (tree_remove(worker->shared->tree, &worker->thread, item, NULL, NULL)) {
            epoch_retire(worker->thread.epoch, item, item_free_retired, worker->thread.heap);
            atomic_fetch_add(&worker->shared->wins, 1);
        }
        epoch_leave(worker->thread.epoch);
    }
}

static void a_queue_hands_every_item_to_one_consumer_and_leaves_an_empty_tree(void **state)
{
    (void)state;
    struct shared shared;
    struct worker main_worker;
    void (*const runs[])(struct worker *) = {produce, consume, consume};
    shared_create(&shared, &main_worker);
    run_workers(&shared, runs, 3);
    assert_int_equal(tree_count(shared.tree), 0);
    assert_int_equal(tree_node_bytes(shared.tree), 1024);
    shared_destroy(&shared, &main_worker);
}

/* ---- replacing ---- */

enum { HOT_KEYS = 40, REPLACEMENTS = 5000 };

static bool replace_always(struct item *present, struct item *inserted, void *arg)
{
    (void)present, (void)inserted, (void)arg;
    return true;
}

/* Puts items of its own under few hot keys; each item that goes in comes out once. */
static void replace_hot(struct worker *worker)
{
    for (unsigned i = 0; i < REPLACEMENTS; i++) {
        unsigned char key[KEY_SIZE_MAX];
        struct item *present;
        epoch_enter(worker->thread.epoch);
        size_t size = key_make((unsigned)random_below(&worker->random, HOT_KEYS), false, key);
        struct item *item = item_new(worker, key, size);
        ASSERT(tree_insert(worker->shared->tree, &worker->thread, item, replace_always, NULL,
                           &present) == 0);
        if (present != NULL) {
            ASSERT((atomic_fetch_add(&present->state, 1) & ~ITEM_UNLINKED) == 0);
            epoch_retire(worker->thread.epoch, present, item_free_retired, worker->thread.heap);
        }
        if (chance(worker, 4))
            take(worker, (unsigned)random_below(&worker->random, HOT_KEYS), false);
        epoch_leave(worker->thread.epoch);
    }
}

static void every_item_that_is_replaced_is_handed_to_one_thread(void **state)
{
    (void)state;
    struct shared shared;
    struct worker main_worker;
    void (*const runs[])(struct worker *) = {replace_hot, replace_hot, replace_hot};
    shared_create(&shared, &main_worker);
    run_workers(&shared, runs, 3);
    shared_destroy(&shared, &main_worker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_inserts_and_removals_that_race_for_a_key_one_wins),
        cmocka_unit_test(keys_that_stay_are_seen_once_and_in_order_by_every_walk),
        cmocka_unit_test(keys_that_stay_are_found_while_their_leaves_are_split_and_merged),
        cmocka_unit_test(ranges_whose_leaves_are_unchanged_have_the_same_items),
        cmocka_unit_test(a_queue_hands_every_item_to_one_consumer_and_leaves_an_empty_tree),
        cmocka_unit_test(every_item_that_is_replaced_is_handed_to_one_thread),
    };
    int failed = cmocka_run_group_tests_name("tree", tests, NULL, NULL);
    return failed +
           cmocka_run_group_tests_name("tree with a directory", tests, give_directory, NULL);
}
