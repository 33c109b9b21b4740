/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves of a tree that are picked at random. Seeds are given, so each run is the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "index/tree.h"

struct fixture {
    struct epoch_domain *domain;
    struct heap *heap;
    struct tree_thread thread;
    struct tree *tree;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(epoch_domain_new(4, &f->domain), 0);
    assert_int_equal(heap_new(0, &f->heap), 0);
    assert_int_equal(epoch_slot_open(f->domain, &f->thread.epoch), 0);
    assert_int_equal(heap_cache_open(f->heap, &f->thread.heap), 0);
    assert_int_equal(tree_new(&f->thread, &f->tree), 0);
    epoch_enter(f->thread.epoch);
    *state = f;
    return 0;
}

static void item_free(struct item *item, void *arg)
{
    struct fixture *f = arg;
    heap_free(f->thread.heap, item, item_alloc_size(item->key_size));
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    epoch_leave(f->thread.epoch);
    tree_delete(f->tree, &f->thread, item_free, f);
    epoch_slot_close(f->thread.epoch);
    heap_cache_close(f->thread.heap);
    assert_int_equal(heap_used_bytes(f->heap), 0);
    heap_delete(f->heap);
    epoch_domain_delete(f->domain);
    free(f);
    return 0;
}

static const char *number_key(char text[32], unsigned number)
{
    snprintf(text, 32, "n%08u", number);
    return text;
}

static unsigned number_of(const struct item *item)
{
    char text[32] = "";
    memcpy(text, item->key, item->key_size);
    return (unsigned)atoi(text + 1);
}

/* Keys of all numbers below `count`. */
static void fill(struct fixture *f, unsigned count)
{
    char text[32];
    for (unsigned number = 0; number < count; number++) {
        uint32_t size = (uint32_t)strlen(number_key(text, number));
        struct item *item = heap_alloc(f->thread.heap, item_alloc_size(size)), *present;
        assert_non_null(item);
        item->pointer = NULL;
        item->state = 0;
        item->key_size = size;
        memcpy(item->key, text, size);
        assert_int_equal(tree_insert(f->tree, &f->thread, item, NULL, NULL, &present), 0);
    }
}

/* Of each leaf that is picked what is in the range, and of all leaves all of it. */
static void a_leaf_picked_at_random_gives_what_it_has_of_a_range(void **state)
{
    enum { FROM = 500, TO = 1500 };
    struct fixture *f = *state;
    char lower[32], upper[32];
    bool met[TO - FROM] = {false};
    struct item *items[TREE_LEAF_CAPACITY_MAX];
    fill(f, 2000);
    number_key(lower, FROM);
    number_key(upper, TO);
    for (uint64_t seed = 0; seed < 3000; seed++) {
        unsigned count =
            tree_random_leaf(f->tree, lower, strlen(lower), upper, strlen(upper), seed, items);
        assert_true(count <= TREE_LEAF_CAPACITY_MAX);
        for (unsigned n = 0, before = 0; n < count; n++) {
            unsigned key = number_of(items[n]);
            assert_true(key >= FROM && key < TO && (n == 0 || key == before + 1));
            met[key - FROM] = true;
            before = key;
        }
    }
    for (unsigned key = 0; key < TO - FROM; key++)
        assert_true(met[key]);
    assert_int_equal(tree_random_leaf(f->tree, "z", 1, "zz", 2, 1, items), 0);
}

/* Each leaf, whole, sooner or later. */
static void a_leaf_picked_at_random_has_no_bounds_when_none_are_given(void **state)
{
    enum { COUNT = 2000 };
    struct fixture *f = *state;
    bool met[COUNT] = {false};
    struct item *items[TREE_LEAF_CAPACITY_MAX];
    fill(f, COUNT);
    for (uint64_t seed = 0; seed < 3000; seed++) {
        unsigned count = tree_random_leaf(f->tree, NULL, 0, NULL, 0, seed, items);
        assert_true(count > 0 && count <= TREE_LEAF_CAPACITY_MAX);
        for (unsigned n = 0; n < count; n++)
            met[number_of(items[n])] = true;
    }
    for (unsigned key = 0; key < COUNT; key++)
        assert_true(met[key]);
}

/* Whichever keys the range begins and ends with: of the nodes there it may have few leaves, and of the
 * leaves few items. */
static void no_part_of_a_range_is_much_likelier_than_others(void **state)
{
    enum { COUNT = 20000, SPAN = 8000, PARTS = 20, DRAWS = 4000 };
    struct fixture *f = *state;
    char lower[32], upper[32];
    struct item *items[TREE_LEAF_CAPACITY_MAX];
    struct random random;
    random_create(&random, 1);
    fill(f, COUNT);
    for (unsigned from = 0; from + SPAN < COUNT; from += 331) {
        unsigned met[PARTS] = {0};
        number_key(lower, from);
        number_key(upper, from + SPAN);
        for (unsigned n = 0; n < DRAWS; n++) {
            unsigned count = tree_random_leaf(f->tree, lower, strlen(lower), upper, strlen(upper),
                                              random_next(&random), items);
            if (count > 0)
                met[(number_of(items[random_below(&random, count)]) - from) * PARTS / SPAN]++;
        }
        for (unsigned part = 0; part < PARTS; part++)
            assert_in_range(met[part], DRAWS / PARTS / 2, DRAWS / PARTS * 2);
    }
}

/* Of some leaves, the first or last of which may be alone under its node and have a single key. */
static void no_leaf_of_a_short_range_is_much_likelier_than_others(void **state)
{
    enum { COUNT = 20000, SPAN = 400, DRAWS = 2000 };
    struct fixture *f = *state;
    char lower[32], upper[32];
    struct item *items[TREE_LEAF_CAPACITY_MAX];
    struct random random;
    random_create(&random, 1);
    fill(f, COUNT);
    for (unsigned from = 0; from + SPAN < COUNT; from += 53) {
        unsigned first = 0, last = 0;
        number_key(lower, from);
        number_key(upper, from + SPAN);
        for (unsigned n = 0; n < DRAWS; n++) {
            unsigned count = tree_random_leaf(f->tree, lower, strlen(lower), upper, strlen(upper),
                                              random_next(&random), items);
            if (count == 0)
                continue;
            unsigned number = number_of(items[random_below(&random, count)]);
            first += number < from + 4;
            last += number >= from + SPAN - 4;
        }
        assert_in_range(first, 1, DRAWS / 25); /* a fair share is a hundredth */
        assert_in_range(last, 1, DRAWS / 25);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_leaf_picked_at_random_gives_what_it_has_of_a_range, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_leaf_picked_at_random_has_no_bounds_when_none_are_given,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(no_part_of_a_range_is_much_likelier_than_others, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(no_leaf_of_a_short_range_is_much_likelier_than_others,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
