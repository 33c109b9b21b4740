/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bounded ring: order, bounds, and nothing lost or repeated between threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs those above. */
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/ring.h"

static void what_is_put_first_comes_out_first_over_many_rounds(void **state)
{
    (void)state;
    struct ring ring;
    assert_int_equal(ring_create(&ring, 4), 0);
    int items[100];
    void *taken;
    for (int i = 0; i < 100; i += 2) {
        assert_true(ring_put(&ring, &items[i]));
        assert_true(ring_put(&ring, &items[i + 1]));
        assert_true(ring_take(&ring, &taken));
        assert_ptr_equal(taken, &items[i]);
        assert_true(ring_take(&ring, &taken));
        assert_ptr_equal(taken, &items[i + 1]);
    }
    ring_destroy(&ring);
}

static void a_full_ring_refuses_and_an_empty_one_gives_nothing(void **state)
{
    (void)state;
    struct ring ring;
    assert_int_equal(ring_create(&ring, 2), 0);
    int a, b, c;
    void *taken;
    assert_false(ring_take(&ring, &taken));
    assert_true(ring_put(&ring, &a));
    assert_true(ring_put(&ring, &b));
    assert_false(ring_put(&ring, &c));
    assert_true(ring_take(&ring, &taken));
    assert_ptr_equal(taken, &a);
    assert_true(ring_put(&ring, &c));
    assert_true(ring_take(&ring, &taken) && taken == &b);
    assert_true(ring_take(&ring, &taken) && taken == &c);
    assert_false(ring_take(&ring, &taken));
    ring_destroy(&ring);
}

enum { PRODUCERS = 3, CONSUMERS = 2, ITEMS = 20000 };

struct message {
    int producer, number;
};

struct exchange {
    struct ring ring;
    struct message messages[PRODUCERS][ITEMS];
    _Atomic int taken;
};

struct producer {
    struct exchange *exchange;
    int number;
};

struct consumer {
    struct exchange *exchange;
    int count;
    int disorder;
    int next[PRODUCERS]; /* numbers of one producer must rise */
};

static void *produce(void *arg)
{
    struct producer *producer = arg;
    for (int i = 0; i < ITEMS; i++) {
        struct message *message = &producer->exchange->messages[producer->number][i];
        message->producer = producer->number;
        message->number = i;
        unsigned turn = 0;
        while (!ring_put(&producer->exchange->ring, message))
            spin_wait(&turn);
    }
    return NULL;
}

static void *consume(void *arg)
{
    struct consumer *consumer = arg;
    struct exchange *exchange = consumer->exchange;
    unsigned turn = 0;
    while (load_relaxed(&exchange->taken) < PRODUCERS * ITEMS) {
        void *taken;
        if (!ring_take(&exchange->ring, &taken)) {
            spin_wait(&turn);
            continue;
        }
        turn = 0;
        struct message *message = taken;
        consumer->disorder += message->number < consumer->next[message->producer];
        consumer->next[message->producer] = message->number + 1;
        consumer->count++;
        atomic_fetch_add(&exchange->taken, 1);
    }
    return NULL;
}

static void threads_lose_nothing_repeat_nothing_and_keep_the_order(void **state)
{
    (void)state;
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    assert_int_equal(ring_create(&exchange->ring, 64), 0);
    pthread_t threads[PRODUCERS + CONSUMERS];
    struct producer producers[PRODUCERS];
    struct consumer consumers[CONSUMERS] = {{0}};
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){exchange, i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (int i = 0; i < CONSUMERS; i++) {
        consumers[i].exchange = exchange;
        assert_int_equal(pthread_create(&threads[PRODUCERS + i], NULL, consume, &consumers[i]), 0);
    }
    int count = 0;
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < CONSUMERS; i++) {
        assert_int_equal(consumers[i].disorder, 0);
        count += consumers[i].count;
    }
    assert_int_equal(count, PRODUCERS * ITEMS);
    void *taken;
    assert_false(ring_take(&exchange->ring, &taken));
    ring_destroy(&exchange->ring);
    free(exchange);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_first_comes_out_first_over_many_rounds),
        cmocka_unit_test(a_full_ring_refuses_and_an_empty_one_gives_nothing),
        cmocka_unit_test(threads_lose_nothing_repeat_nothing_and_keep_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
