/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads read and write rows that leave the head all the time (invariants 17 and 18), as the main
 * thread makes one checkpoint after the other.
 *
 *      transfers   the sum over all accounts is the same in each snapshot, read one by one or by a
 *                  cursor in either direction, although accounts are closed and opened anew
 *      counters    txn_get_for_update and txn_put at read committed lose no increment
 *
 * Each thread does a number of transactions, and as many as it takes for some checkpoints; the seed,
 * printed, gives their choices, the schedule is the machine's. PERIGEE_STRESS_ROUNDS makes it longer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "txn/body_fixture.h"

enum { THREADS = 3, ACCOUNTS = 12, START = 100, COUNTERS = 3, ROUNDS = 1000, CHECKPOINTS = 10 };

static struct txn_fixture f;
static struct body_fixture body;
static uint64_t seed;
static unsigned rounds;
static _Atomic unsigned running, checkpoints;

struct thread {
    unsigned number;
    struct random random;
    pthread_t id;
    uint64_t failures, increments[COUNTERS];
    void (*round)(struct thread *thread, struct txn *txn, int *rc);
};

/* Failed checks are counted: cmocka's jumps belong to the main thread. */
static void check(struct thread *thread, bool right, const char *what)
{
    if (!right && thread->failures++ < 5)
        fprintf(stderr, "thread %u: %s\n", thread->number, what);
}

static long number_of(const struct version *version)
{
    char text[24];
    if (version == NULL)
        return 0;
    snprintf(text, sizeof text, "%.*s", (int)version->size, version->bytes);
    return strtol(text, NULL, 10);
}

static int number_put(struct txn *txn, const char *key, long number)
{
    char text[24];
    int size = snprintf(text, sizeof text, "%ld", number);
    return txn_put(txn, &f.other, key, strlen(key), text, (uint32_t)size, NULL, NULL);
}

static void account_name(char *out, size_t size, unsigned account)
{
    snprintf(out, size, "account%02u", account);
}

static int sum_by_cursor(struct txn *txn, bool backward, long *sum)
{
    struct txn_range range = {.lower = "account",
                              .lower_size = 7,
                              .lower_inclusive = true,
                              .upper = "b",
                              .upper_size = 1,
                              .backward = backward};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc;
    *sum = 0;
    txn_cursor_open(&cursor, txn, &body.index, &range);
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0)
        *sum += number_of(version);
    return rc == ERROR_END ? 0 : rc;
}

static int sum_by_keys(struct txn *txn, long *sum)
{
    char key[16];
    int rc = 0;
    *sum = 0;
    for (unsigned i = 0; rc == 0 && i < ACCOUNTS; i++) {
        const struct version *version;
        account_name(key, sizeof key, i);
        if ((rc = txn_get(txn, &f.other, key, strlen(key), &version)) == 0)
            *sum += number_of(version);
    }
    return rc;
}

/* An account without money is closed. */
static int account_set(struct txn *txn, const char *key, long money)
{
    return money == 0 ? txn_delete(txn, &f.other, key, strlen(key)) : number_put(txn, key, money);
}

static void transfer(struct thread *thread, struct txn *txn, int *rc)
{
    const struct version *from_version, *to_version;
    char from[16], to[16];
    unsigned first = (unsigned)random_below(&thread->random, ACCOUNTS);
    account_name(from, sizeof from, first);
    account_name(to, sizeof to,
                 (first + 1 + (unsigned)random_below(&thread->random, ACCOUNTS - 1)) % ACCOUNTS);
    if ((*rc = txn_get(txn, &f.other, from, strlen(from), &from_version)) != 0 ||
        (*rc = txn_get(txn, &f.other, to, strlen(to), &to_version)) != 0)
        return;
    long has = number_of(from_version), other = number_of(to_version);
    long moved = random_below(&thread->random, 3) == 0
                     ? has
                     : (long)random_below(&thread->random, (uint64_t)has + 1);
    if ((*rc = account_set(txn, from, has - moved)) == 0)
        *rc = account_set(txn, to, other + moved);
}

static void transfer_or_look(struct thread *thread, struct txn *txn, int *rc)
{
    long sum = 0;
    switch (random_below(&thread->random, 6)) {
    case 0:
        *rc = sum_by_cursor(txn, false, &sum);
        break;
    case 1:
        *rc = sum_by_cursor(txn, true, &sum);
        break;
    case 2:
        *rc = sum_by_keys(txn, &sum);
        break;
    default:
        if (!txn_readonly(txn)) {
            transfer(thread, txn, rc);
            return;
        }
        *rc = sum_by_cursor(txn, false, &sum);
    }
    if (*rc == 0)
        check(thread, sum == ACCOUNTS * START, "money has come or gone");
}

static void increment(struct thread *thread, struct txn *txn, int *rc)
{
    const struct version *version;
    char key[16];
    unsigned counter = (unsigned)random_below(&thread->random, COUNTERS);
    snprintf(key, sizeof key, "counter%u", counter);
    *rc = txn_get_for_update(txn, &f.other, key, strlen(key), &version);
    if (*rc == 0)
        *rc = number_put(txn, key, number_of(version) + 1);
    if (*rc == 0 && (*rc = txn_commit(txn)) == 0)
        thread->increments[counter]++;
    else if (txn_current(f.workers[thread->number]) != NULL)
        txn_rollback(txn);
}

/* Begins and ends what a round does; loses are played again as another round. */
static void round_play(struct thread *thread)
{
    struct txn_worker *worker = f.workers[thread->number];
    bool counts = thread->round == increment;
    struct txn_options options = {.level = counts ? TXN_READ_COMMITTED : TXN_SERIALIZABLE};
    options.readonly = !counts && random_below(&thread->random, 3) == 0;
    struct txn *txn;
    int rc = txn_begin(worker, &options, &txn);
    check(thread, rc == 0, "no transaction begins");
    if (rc != 0)
        return;
    thread->round(thread, txn, &rc);
    if (txn_current(worker) != NULL && (rc != 0 || txn_commit(txn) != 0) &&
        txn_current(worker) != NULL)
        txn_rollback(txn);
    check(thread, rc == 0 || rc == ERROR_CONFLICT, "an operation fails");
}

static void *thread_main(void *arg)
{
    struct thread *thread = arg;
    for (unsigned i = 0; i < rounds || load_relaxed(&checkpoints) < CHECKPOINTS; i++)
        round_play(thread);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void play(struct thread *threads,
                 void (*round)(struct thread *thread, struct txn *txn, int *rc))
{
    const char *text = getenv("PERIGEE_STRESS_ROUNDS");
    rounds = text == NULL ? ROUNDS : (unsigned)strtoul(text, NULL, 10);
    atomic_store(&running, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.number = i, .round = round};
        random_create(&threads[i].random, seed + i);
        assert_int_equal(pthread_create(&threads[i].id, NULL, thread_main, &threads[i]), 0);
    }
    for (atomic_store(&checkpoints, 0); atomic_load(&running) > 0;) {
        body_fixture_checkpoint_beside(&body);
        atomic_fetch_add(&checkpoints, 1);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i].id, NULL);
        assert_int_equal(threads[i].failures, 0);
    }
    printf("%u checkpoints\n", load_relaxed(&checkpoints));
}

static int open(void **state)
{
    (void)state;
    seed = test_seed();
    fixture_open(&f, THREADS + 1);
    body_fixture_open(&body, &f, THREADS);
    return 0;
}

static int close(void **state)
{
    (void)state;
    body_fixture_checkpoint(&body);
    assert_int_equal(tree_verify(f.other.tree), 0);
    assert_int_equal(body_fixture_resident(&body), 0);
    body_fixture_close(&body);
    fixture_close(&f);
    return 0;
}

static void sums_hold_while_rows_leave(void **state)
{
    (void)state;
    struct thread threads[THREADS];
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    char key[16];
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        account_name(key, sizeof key, i);
        assert_int_equal(number_put(txn, key, START), 0);
    }
    assert_int_equal(txn_commit(txn), 0);
    fixture_settle(&f); /* who only reads, reads what is durable */
    play(threads, transfer_or_look);
    long sum;
    txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    assert_int_equal(sum_by_cursor(txn, false, &sum), 0);
    assert_int_equal(sum, ACCOUNTS * START);
    txn_rollback(txn);
}

static void counters_lose_no_increment_while_rows_leave(void **state)
{
    (void)state;
    struct thread threads[THREADS];
    play(threads, increment);
    struct txn *txn = fixture_begin(&f, 0, TXN_SERIALIZABLE);
    for (unsigned counter = 0; counter < COUNTERS; counter++) {
        const struct version *version;
        char key[16];
        uint64_t expected = 0;
        snprintf(key, sizeof key, "counter%u", counter);
        for (unsigned i = 0; i < THREADS; i++)
            expected += threads[i].increments[counter];
        assert_int_equal(txn_get(txn, &f.other, key, strlen(key), &version), 0);
        assert_int_equal(number_of(version), expected);
    }
    txn_rollback(txn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sums_hold_while_rows_leave, open, close),
        cmocka_unit_test_setup_teardown(counters_lose_no_increment_while_rows_leave, open, close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
