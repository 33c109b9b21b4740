/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Epochs, first step by step on one thread with several slots, then with threads that exchange
 * shared objects while others read them. A freed object is poisoned before its memory goes back, so
 * that a reader would notice; under ThreadSanitizer the poisoning is a race with any reader that
 * may still look.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "base/epoch.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"

static void count_free(void *object, void *arg)
{
    (void)object;
    ++*(int *)arg;
}

/* A domain with three slots on this thread. */
struct trio {
    struct epoch_domain *domain;
    struct epoch_slot *slots[3];
};

static void trio_create(struct trio *trio)
{
    assert_int_equal(epoch_domain_new(3, &trio->domain), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(epoch_slot_open(trio->domain, &trio->slots[i]), 0);
}

static void trio_destroy(struct trio *trio)
{
    for (int i = 0; i < 3; i++)
        epoch_slot_close(trio->slots[i]);
    epoch_domain_delete(trio->domain);
}

static size_t collect_times(struct epoch_slot *slot, int times)
{
    size_t count = 0;
    for (int i = 0; i < times; i++)
        count += epoch_collect(slot);
    return count;
}

static void slots_run_out_and_come_back(void **state)
{
    (void)state;
    struct trio trio;
    trio_create(&trio);
    struct epoch_slot *slot;
    assert_int_equal(epoch_slot_open(trio.domain, &slot), ERROR_INVALID);
    epoch_slot_close(trio.slots[1]);
    assert_int_equal(epoch_slot_open(trio.domain, &trio.slots[1]), 0);
    trio_destroy(&trio);
}

static void nothing_is_freed_at_once_and_all_is_after_three_collects(void **state)
{
    (void)state;
    struct trio trio;
    trio_create(&trio);
    int freed = 0, object;
    epoch_retire(trio.slots[0], &object, count_free, &freed);
    assert_int_equal(freed, 0);
    assert_int_equal(epoch_limbo_count(trio.slots[0]), 1);
    assert_int_equal(collect_times(trio.slots[0], 3), 1);
    assert_int_equal(freed, 1);
    assert_int_equal(epoch_limbo_count(trio.slots[0]), 0);
    trio_destroy(&trio);
}

static void a_reader_inside_holds_back_what_it_may_see(void **state)
{
    (void)state;
    struct trio trio;
    trio_create(&trio);
    int freed = 0, object;
    epoch_enter(trio.slots[1]);
    epoch_retire(trio.slots[0], &object, count_free, &freed);
    assert_int_equal(collect_times(trio.slots[0], 20), 0);
    epoch_leave(trio.slots[1]);
    assert_int_equal(collect_times(trio.slots[0], 3), 1);
    assert_int_equal(freed, 1);
    trio_destroy(&trio);
}

static void a_reader_that_enters_and_leaves_in_turn_does_not_hold_back(void **state)
{
    (void)state;
    struct trio trio;
    trio_create(&trio);
    int freed = 0, object;
    epoch_enter(trio.slots[1]);
    epoch_retire(trio.slots[0], &object, count_free, &freed);
    for (int i = 0; i < 3; i++) {
        epoch_collect(trio.slots[0]);
        epoch_enter(trio.slots[2]);
        epoch_leave(trio.slots[1]);
        epoch_collect(trio.slots[0]);
        epoch_enter(trio.slots[1]);
        epoch_leave(trio.slots[2]);
    }
    assert_int_equal(freed, 1);
    epoch_leave(trio.slots[1]);
    trio_destroy(&trio);
}

static void enter_nests(void **state)
{
    (void)state;
    struct trio trio;
    trio_create(&trio);
    int freed = 0, object;
    assert_int_equal(epoch_inside(trio.slots[1]), 0);
    epoch_enter(trio.slots[1]);
    epoch_enter(trio.slots[1]);
    epoch_leave(trio.slots[1]);
    assert_int_equal(epoch_inside(trio.slots[1]), 1);
    epoch_retire(trio.slots[0], &object, count_free, &freed);
    assert_int_equal(collect_times(trio.slots[0], 10), 0);
    epoch_leave(trio.slots[1]);
    assert_int_equal(epoch_inside(trio.slots[1]), 0);
    assert_int_equal(collect_times(trio.slots[0], 3), 1);
    trio_destroy(&trio);
}

static void one_who_retires_while_inside_sees_the_object_until_leaving(void **state)
{
    (void)state;
    struct trio trio;
    trio_create(&trio);
    int freed = 0;
    static int objects[1000];
    epoch_enter(trio.slots[0]);
    for (int i = 0; i < 1000; i++)
        epoch_retire(trio.slots[0], &objects[i], count_free, &freed);
    assert_int_equal(collect_times(trio.slots[0], 5), 0);
    epoch_leave(trio.slots[0]);
    assert_int_equal(collect_times(trio.slots[0], 3), 1000);
    trio_destroy(&trio);
}

static void retiring_alone_keeps_the_limbo_short(void **state)
{
    (void)state;
    struct trio trio;
    trio_create(&trio);
    int freed = 0, object;
    for (int i = 0; i < 100000; i++) {
        epoch_retire(trio.slots[0], &object, count_free, &freed);
        assert_true(epoch_limbo_count(trio.slots[0]) <= 4 * 64);
    }
    trio_destroy(&trio);
    assert_int_equal(freed, 100000);
}

static void a_long_limbo_shrinks_in_steps(void **state)
{
    (void)state;
    struct trio trio;
    trio_create(&trio);
    int freed = 0, object;
    epoch_enter(trio.slots[1]);
    for (int i = 0; i < 10000; i++)
        epoch_retire(trio.slots[0], &object, count_free, &freed);
    epoch_leave(trio.slots[1]);
    int last = freed;
    while (epoch_limbo_count(trio.slots[0]) > 4 * 64) {
        epoch_retire(trio.slots[0], &object, count_free, &freed);
        assert_true(freed - last <= 256);
        last = freed;
    }
    trio_destroy(&trio);
}

/* Objects are numbered; they must be freed in the order in which they were retired. */
struct order {
    int next;
    int disorder;
};

static void order_free(void *object, void *arg)
{
    struct order *order = arg;
    order->disorder += (int)(intptr_t)object != order->next;
    order->next++;
}

static void objects_are_freed_once_in_order_with_readers_at_random(void **state)
{
    (void)state;
    struct random random;
    random_create(&random, test_seed());
    struct trio trio;
    trio_create(&trio);
    struct order order = {0, 0};
    int retired = 0;
    for (int step = 0; step < 200000; step++) {
        struct epoch_slot *reader = trio.slots[1 + random_below(&random, 2)];
        uint64_t dice = random_below(&random, 100);
        if (dice < 70)
            epoch_retire(trio.slots[0], (void *)(intptr_t)retired++, order_free, &order);
        else if (dice < 75)
            epoch_collect(trio.slots[0]);
        else if (epoch_inside(reader))
            epoch_leave(reader);
        else
            epoch_enter(reader);
    }
    for (int i = 1; i < 3; i++)
        if (epoch_inside(trio.slots[i]))
            epoch_leave(trio.slots[i]);
    trio_destroy(&trio);
    assert_int_equal(order.disorder, 0);
    assert_int_equal(order.next, retired);
}

/* A list whose nodes retire one another as they are freed. */
struct chain {
    struct epoch_slot *slot;
    int left;
};

static void chain_free(void *object, void *arg)
{
    struct chain *chain = arg;
    if (--chain->left > 0)
        epoch_retire(chain->slot, object, chain_free, chain);
}

static void a_free_function_may_retire(void **state)
{
    (void)state;
    struct trio trio;
    trio_create(&trio);
    int object;
    struct chain chain = {trio.slots[0], 500};
    epoch_retire(trio.slots[0], &object, chain_free, &chain);
    epoch_slot_close(trio.slots[0]);
    assert_int_equal(chain.left, 0);
    assert_int_equal(epoch_slot_open(trio.domain, &trio.slots[0]), 0);
    trio_destroy(&trio);
}

static void deleting_the_domain_frees_what_open_slots_left(void **state)
{
    (void)state;
    struct trio trio;
    trio_create(&trio);
    int freed = 0, object;
    for (int i = 0; i < 10; i++)
        epoch_retire(trio.slots[i % 3], &object, count_free, &freed);
    epoch_domain_delete(trio.domain);
    assert_int_equal(freed, 10);
    epoch_domain_delete(NULL);
}

/* ---- threads */

enum { THREADS = 4, CELLS = 8, ROUNDS = 40000 };

static const uint64_t alive = 0x600d600d600d600d, dead = 0xdeaddeaddeaddead;

struct shared_object {
    uint64_t state, twin;
};

struct scene {
    struct epoch_domain *domain;
    _Atomic(struct shared_object *) cells[CELLS];
};

struct actor {
    struct scene *scene;
    uint64_t seed;
    int bad_reads, made, freed;
};

static struct shared_object *object_new(struct actor *actor)
{
    struct shared_object *object = malloc(sizeof(*object));
    object->state = object->twin = alive;
    actor->made++;
    return object;
}

static void object_free(void *object, void *arg)
{
    struct shared_object *shared = object;
    shared->state = shared->twin = dead;
    free(shared);
    ((struct actor *)arg)->freed++;
}

static void actor_read(struct actor *actor, struct random *random)
{
    for (int i = 0; i < 4; i++) {
        struct shared_object *object =
            load_acquire(&actor->scene->cells[random_below(random, CELLS)]);
        if (object == NULL)
            continue;
        if (random_below(random, 64) == 0)
            sched_yield();
        actor->bad_reads += object->state != alive || object->twin != alive;
    }
}

static void *act(void *arg)
{
    struct actor *actor = arg;
    struct random random;
    random_create(&random, actor->seed);
    struct epoch_slot *slot;
    if (epoch_slot_open(actor->scene->domain, &slot) != 0)
        abort();
    for (int i = 0; i < ROUNDS; i++) {
        epoch_enter(slot);
        actor_read(actor, &random);
        if (random_below(&random, 3) == 0) {
            struct shared_object *old =
                atomic_exchange_explicit(&actor->scene->cells[random_below(&random, CELLS)],
                                         object_new(actor), memory_order_acq_rel);
            if (old != NULL)
                epoch_retire(slot, old, object_free, actor);
        }
        epoch_leave(slot);
        if (random_below(&random, 5000) == 0) {
            epoch_slot_close(slot);
            if (epoch_slot_open(actor->scene->domain, &slot) != 0)
                abort();
        }
    }
    epoch_slot_close(slot);
    return NULL;
}

static void readers_never_see_a_freed_object_and_none_is_lost(void **state)
{
    (void)state;
    struct scene scene = {0};
    struct actor actors[THREADS] = {{0}};
    pthread_t threads[THREADS];
    assert_int_equal(epoch_domain_new(THREADS, &scene.domain), 0);
    for (int i = 0; i < THREADS; i++) {
        actors[i].scene = &scene;
        actors[i].seed = test_seed() + (uint64_t)i;
        assert_int_equal(pthread_create(&threads[i], NULL, act, &actors[i]), 0);
    }
    int made = 0, freed = 0;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(actors[i].bad_reads, 0);
        made += actors[i].made;
        freed += actors[i].freed;
    }
    for (int i = 0; i < CELLS; i++) {
        struct shared_object *object = load_acquire(&scene.cells[i]);
        freed += object != NULL;
        free(object);
    }
    assert_int_equal(made, freed);
    epoch_domain_delete(scene.domain);
}

/* One reader that has read and left. The flags order nothing, so that only the epoch does. */
struct visit {
    struct epoch_domain *domain;
    struct shared_object *object;
    uint64_t seen;
    _Atomic int has_left, may_end;
};

static void *visitor(void *arg)
{
    struct visit *visit = arg;
    struct epoch_slot *slot;
    if (epoch_slot_open(visit->domain, &slot) != 0)
        abort();
    epoch_enter(slot);
    visit->seen = visit->object->state;
    epoch_leave(slot);
    store_relaxed(&visit->has_left, 1);
    unsigned turn = 0;
    while (!load_relaxed(&visit->may_end))
        spin_wait(&turn);
    epoch_slot_close(slot);
    return NULL;
}

static void what_a_reader_did_before_it_left_comes_before_the_free(void **state)
{
    (void)state;
    struct visit visit = {0};
    struct actor owner = {0};
    struct epoch_slot *slot;
    pthread_t thread;
    assert_int_equal(epoch_domain_new(2, &visit.domain), 0);
    assert_int_equal(epoch_slot_open(visit.domain, &slot), 0);
    visit.object = object_new(&owner);
    assert_int_equal(pthread_create(&thread, NULL, visitor, &visit), 0);
    unsigned turn = 0;
    while (!load_relaxed(&visit.has_left))
        spin_wait(&turn);
    epoch_retire(slot, visit.object, object_free, &owner);
    collect_times(slot, 3);
    assert_int_equal(owner.freed, 1);
    store_relaxed(&visit.may_end, 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(visit.seen == alive);
    epoch_slot_close(slot);
    epoch_domain_delete(visit.domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_run_out_and_come_back),
        cmocka_unit_test(nothing_is_freed_at_once_and_all_is_after_three_collects),
        cmocka_unit_test(a_reader_inside_holds_back_what_it_may_see),
        cmocka_unit_test(a_reader_that_enters_and_leaves_in_turn_does_not_hold_back),
        cmocka_unit_test(enter_nests),
        cmocka_unit_test(one_who_retires_while_inside_sees_the_object_until_leaving),
        cmocka_unit_test(retiring_alone_keeps_the_limbo_short),
        cmocka_unit_test(a_long_limbo_shrinks_in_steps),
        cmocka_unit_test(objects_are_freed_once_in_order_with_readers_at_random),
        cmocka_unit_test(a_free_function_may_retire),
        cmocka_unit_test(deleting_the_domain_frees_what_open_slots_left),
        cmocka_unit_test(what_a_reader_did_before_it_left_comes_before_the_free),
        cmocka_unit_test(readers_never_see_a_freed_object_and_none_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
