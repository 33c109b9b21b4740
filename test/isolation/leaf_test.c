/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two procedures that touch different keys of one leaf of the tree disturb each other less than
 * once in a thousand transactions, as counted by the engine. Each reads the range of its own keys,
 * updates some, and inserts and deletes, so the leaf changes under the other's range all the time;
 * both yield in the middle, so that they overlap. With the same keys they do disturb each other,
 * which shows that they met.
 *
 * PERIGEE_STRESS_SECONDS makes it longer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "txn/txn_fixture.h"

enum { THREADS = 2, KEYS = 8, TXNS = 20000 };

static struct txn_fixture f;

struct thread {
    pthread_t id;
    struct txn_worker *worker;
    struct random random;
    char prefix; /* of its keys */
    unsigned txns, read, failures;
};

static int range_read(struct thread *thread, struct txn *txn)
{
    char lower[] = {thread->prefix, '0'}, upper[] = {thread->prefix, '9'};
    struct txn_range range = {.lower = lower,
                              .lower_size = 2,
                              .lower_inclusive = true,
                              .upper = upper,
                              .upper_size = 2,
                              .backward = random_below(&thread->random, 2)};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc;
    txn_cursor_open(&cursor, txn, &f.primary, &range);
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0)
        thread->read++;
    return rc == ERROR_END ? 0 : rc;
}

static int procedure(struct txn *txn, void *arg)
{
    struct thread *thread = arg;
    int rc = range_read(thread, txn);
    for (unsigned i = 0; rc == 0 && i < 3; i++) {
        char key[] = {thread->prefix, (char)('0' + random_below(&thread->random, KEYS))};
        const struct version *version;
        rc = txn_get(txn, &f.head, key, 2, &version);
        if (i == 1)
            sched_yield();
        if (rc == 0)
            rc = random_below(&thread->random, 3) == 0
                     ? txn_delete(txn, &f.head, key, 2)
                     : txn_put(txn, &f.head, key, 2, "v", 1, NULL, NULL);
    }
    return rc;
}

static void *thread_run(void *arg)
{
    struct thread *thread = arg;
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    for (unsigned i = 0; i < thread->txns; i++) {
        thread->failures += txn_run(thread->worker, &options, procedure, thread) != 0;
        if (i % 64 == 0)
            wal_kick(f.wal);
    }
    return NULL;
}

/* How many transactions in a thousand lost a conflict, rounded up. */
static uint64_t lost_in_thousand(const char *prefixes)
{
    const char *text = getenv("PERIGEE_STRESS_SECONDS");
    uint64_t times =
        text == NULL || strtoull(text, NULL, 10) < 5 ? 1 : strtoull(text, NULL, 10) / 5;
    struct thread threads[THREADS];
    struct txn_stats stats;
    uint64_t txns = 0;
    fixture_open(&f, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){
            .worker = f.workers[i], .prefix = prefixes[i], .txns = (unsigned)(TXNS * times)};
        random_create(&threads[i].random, test_seed() + i);
        assert_int_equal(pthread_create(&threads[i].id, NULL, thread_run, &threads[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i].id, NULL);
        assert_int_equal(threads[i].failures, 0);
        assert_true(threads[i].read > 0);
        txns += threads[i].txns;
    }
    txn_stats_get(f.system, &stats);
    printf("%llu transactions, %llu conflicts\n", (unsigned long long)txns,
           (unsigned long long)stats.conflicts);
    fixture_settle(&f);
    fixture_close(&f);
    return (stats.conflicts * 1000 + txns - 1) / txns;
}

static void different_keys_of_a_leaf_do_not_disturb_each_other(void **state)
{
    (void)state;
    assert_true(lost_in_thousand("ab") <= 1);
}

/* They must have met for that. */
static void the_same_keys_do(void **state)
{
    (void)state;
    uint64_t lost = 0, end = clock_monotonic_ns(clock_system()) + UINT64_C(60000000000);
    while (lost <= 1 && clock_monotonic_ns(clock_system()) < end)
        lost = lost_in_thousand("aa");
    assert_true(lost > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(different_keys_of_a_leaf_do_not_disturb_each_other),
        cmocka_unit_test(the_same_keys_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
