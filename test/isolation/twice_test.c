/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Transactions that write a row twice lose nothing at the levels that read the latest: each adds
 * one to a counter, twice, behind a write of a row of its own, so that the counter is read without
 * a tag on it and validated at the commit. Both of its versions have one timestamp; who saw the
 * first and not the second must be told.
 *
 * PERIGEE_STRESS_SECONDS makes it longer.
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

#include "txn/txn_fixture.h"

enum { THREADS = 4, TXNS = 15000 };

static struct txn_fixture f;

struct thread {
    pthread_t id;
    struct txn_worker *worker;
    enum txn_level level;
    char own[2];
    unsigned txns, failures;
};

static int add_one(struct txn *txn)
{
    const struct version *version;
    uint64_t value = 0;
    txn_statement(txn);
    int rc = txn_get_for_update(txn, &f.other, "count", 5, &version);
    if (rc != 0)
        return rc;
    if (version != NULL)
        memcpy(&value, version->bytes, sizeof value);
    value++;
    return txn_put(txn, &f.other, "count", 5, &value, sizeof value, NULL, NULL);
}

static int add_two(struct txn *txn, void *arg)
{
    const struct thread *thread = arg;
    int rc = txn_put(txn, &f.other, thread->own, 2, "", 0, NULL, NULL);
    for (unsigned i = 0; rc == 0 && i < 2; i++)
        rc = add_one(txn);
    return rc;
}

static void *thread_run(void *arg)
{
    struct thread *thread = arg;
    struct txn_options options = {.level = thread->level};
    for (unsigned i = 0; i < thread->txns; i++) {
        thread->failures += txn_run(thread->worker, &options, add_two, thread) != 0;
        if (i % 64 == 0)
            wal_kick(f.wal);
    }
    return NULL;
}

static uint64_t count_read(void)
{
    const struct version *version;
    uint64_t value;
    struct txn *txn = fixture_begin_readonly(&f, 0, true);
    assert_int_equal(txn_get(txn, &f.other, "count", 5, &version), 0);
    assert_non_null(version);
    memcpy(&value, version->bytes, sizeof value);
    txn_rollback(txn);
    return value;
}

static void threads_run(enum txn_level level)
{
    const char *text = getenv("PERIGEE_STRESS_SECONDS");
    unsigned times = text == NULL || atoi(text) < 5 ? 1 : (unsigned)atoi(text) / 5;
    struct thread threads[THREADS];
    uint64_t added = 0;
    fixture_open(&f, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.worker = f.workers[i],
                                     .level = level,
                                     .own = {'o', (char)('0' + i)},
                                     .txns = TXNS * times};
        assert_int_equal(pthread_create(&threads[i].id, NULL, thread_run, &threads[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i].id, NULL);
        assert_int_equal(threads[i].failures, 0);
        added += 2 * threads[i].txns;
    }
    assert_int_equal(count_read(), added);
    fixture_close(&f);
}

static void who_adds_twice_at_read_committed_loses_nothing(void **state)
{
    (void)state;
    threads_run(TXN_READ_COMMITTED);
}

static void nor_at_read_uncommitted(void **state)
{
    (void)state;
    threads_run(TXN_READ_UNCOMMITTED);
}

static void nor_at_the_levels_that_keep_a_snapshot(void **state)
{
    (void)state;
    threads_run(TXN_SNAPSHOT);
    threads_run(TXN_SERIALIZABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_adds_twice_at_read_committed_loses_nothing),
        cmocka_unit_test(nor_at_read_uncommitted),
        cmocka_unit_test(nor_at_the_levels_that_keep_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
