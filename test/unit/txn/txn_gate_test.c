/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exclusive gate and the running of losers (invariants 22 and 24), partly from several threads.
 * They wait for what must happen, and give what must not happen many turns in which it could; none
 * depends on time.
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

#include "base/error.h"
#include "txn/txn_fixture.h"

static struct txn_fixture f;

static int open(void **state)
{
    (void)state;
    fixture_open(&f, 4);
    return 0;
}

static int close(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

static struct txn *begin_exclusive(unsigned worker)
{
    struct txn *txn;
    struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = true};
    assert_int_equal(txn_begin(f.workers[worker], &options, &txn), 0);
    return txn;
}

/* A thread that begins, says so, and ends. */
struct runner {
    unsigned worker;
    bool exclusive;
    _Atomic int begun;
    pthread_t thread;
};

static void *runner_main(void *arg)
{
    struct runner *runner = arg;
    struct txn *txn;
    struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = runner->exclusive};
    if (txn_begin(f.workers[runner->worker], &options, &txn) != 0)
        abort();
    store_seq_cst(&runner->begun, 1);
    txn_rollback(txn);
    return NULL;
}

static void runner_start(struct runner *runner)
{
    assert_int_equal(pthread_create(&runner->thread, NULL, runner_main, runner), 0);
}

static void give_turns(void)
{
    for (unsigned i = 0; i < 2000; i++) {
        fixture_latest(&f, 3, "a"); /* readers go on */
        sched_yield();
    }
}

static void writers_wait_outside_while_the_gate_is_owned_and_readers_go_on(void **state)
{
    (void)state;
    struct txn *owner = begin_exclusive(0);
    struct runner runner = {.worker = 1};
    runner_start(&runner);
    give_turns();
    assert_int_equal(load_seq_cst(&runner.begun), 0);
    assert_int_equal(fixture_put(&f, owner, "a", "1"), 0);
    assert_int_equal(txn_commit(owner), 0);
    pthread_join(runner.thread, NULL);
    assert_int_equal(load_seq_cst(&runner.begun), 1);
}

static void whoever_closes_the_gate_waits_for_running_writers(void **state)
{
    (void)state;
    struct txn *running = fixture_begin(&f, 0, TXN_SNAPSHOT);
    struct runner runner = {.worker = 1, .exclusive = true};
    runner_start(&runner);
    give_turns();
    assert_int_equal(load_seq_cst(&runner.begun), 0);
    assert_int_equal(fixture_put(&f, running, "a", "1"), 0);
    assert_int_equal(txn_commit(running), 0);
    pthread_join(runner.thread, NULL);
    assert_int_equal(load_seq_cst(&runner.begun), 1);
}

static void only_one_owns_the_gate(void **state)
{
    (void)state;
    struct txn *owner = begin_exclusive(0);
    struct runner runner = {.worker = 1, .exclusive = true};
    runner_start(&runner);
    give_turns();
    assert_int_equal(load_seq_cst(&runner.begun), 0);
    txn_rollback(owner);
    pthread_join(runner.thread, NULL);
}

static void a_worker_may_be_opened_and_closed_while_others_write(void **state)
{
    (void)state;
    struct txn *running = fixture_begin(&f, 0, TXN_SNAPSHOT);
    struct txn_worker *worker;
    assert_int_equal(txn_worker_open(f.system, &worker), 0);
    txn_worker_close(worker);
    txn_rollback(running);
}

/* Loses as often as it is told, by a write of another worker between its read and its write. */
struct losing {
    unsigned runs, losses;
};

static int lose(struct txn *txn, void *arg)
{
    struct losing *losing = arg;
    fixture_get(&f, txn, "a");
    if (losing->runs++ < losing->losses)
        fixture_set(&f, 1, "a", "other");
    return fixture_put(&f, txn, "a", "mine");
}

static void a_loser_is_run_again_until_it_succeeds(void **state)
{
    (void)state;
    for (unsigned losses = 0; losses < TXN_LOSSES_MAX; losses++) {
        struct losing losing = {.losses = losses};
        struct txn_options options = {.level = TXN_SERIALIZABLE};
        assert_int_equal(txn_run(f.workers[0], &options, lose, &losing), 0);
        assert_int_equal(losing.runs, losses + 1);
        assert_string_equal(fixture_latest(&f, 1, "a"), "mine");
    }
}

static void after_a_few_losses_it_runs_in_the_gate(void **state)
{
    (void)state;
    struct txn_stats before, after;
    struct losing losing = {.losses = TXN_LOSSES_MAX};
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    txn_stats_get(f.system, &before);
    assert_int_equal(txn_run(f.workers[0], &options, lose, &losing), 0);
    txn_stats_get(f.system, &after);
    assert_int_equal(losing.runs, TXN_LOSSES_MAX + 1);
    assert_int_equal(after.gate_entries - before.gate_entries, 1);
    assert_int_equal(after.retries - before.retries, TXN_LOSSES_MAX);
    assert_false(options.exclusive);
}

/* Invariant 22: a body that swallows the conflict has lost all the same. */
static int swallow(struct txn *txn, void *arg)
{
    lose(txn, arg);
    return 0;
}

static void a_body_that_ignores_a_conflict_is_run_again(void **state)
{
    (void)state;
    struct losing losing = {.losses = 2};
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    assert_int_equal(txn_run(f.workers[0], &options, swallow, &losing), 0);
    assert_int_equal(losing.runs, 3);
    assert_string_equal(fixture_latest(&f, 1, "a"), "mine");
}

static int refuse(struct txn *txn, void *arg)
{
    ++*(int *)arg;
    int rc = fixture_put(&f, txn, "a", "never");
    return rc != 0 ? rc : ERROR_CANCELLED;
}

static void a_body_that_fails_is_rolled_back_and_not_run_again(void **state)
{
    (void)state;
    int runs = 0;
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    assert_int_equal(txn_run(f.workers[0], &options, refuse, &runs), ERROR_CANCELLED);
    assert_int_equal(runs, 1);
    assert_null(fixture_latest(&f, 1, "a"));
}

/* Four threads increment one number at serializable, which loses often: everybody finishes. */
enum { INCREMENTS = 300 };

static int increment(struct txn *txn, void *arg)
{
    (void)arg;
    const char *text = fixture_get(&f, txn, "n");
    if (text != NULL && strcmp(text, "CONFLICT") == 0)
        return ERROR_CONFLICT;
    char value[16];
    snprintf(value, sizeof value, "%d", text == NULL ? 1 : atoi(text) + 1);
    return fixture_put(&f, txn, "n", value);
}

static void *incrementer_main(void *arg)
{
    struct txn_options options = {.level = TXN_SERIALIZABLE};
    for (unsigned i = 0; i < INCREMENTS; i++)
        if (txn_run(arg, &options, increment, NULL) != 0)
            abort();
    return NULL;
}

static void everybody_finishes_under_contention(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, incrementer_main, f.workers[i]), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atoi(fixture_latest(&f, 0, "n")), 4 * INCREMENTS);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, open, close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(writers_wait_outside_while_the_gate_is_owned_and_readers_go_on),
        WITH_FIXTURE(whoever_closes_the_gate_waits_for_running_writers),
        WITH_FIXTURE(only_one_owns_the_gate),
        WITH_FIXTURE(a_worker_may_be_opened_and_closed_while_others_write),
        WITH_FIXTURE(a_loser_is_run_again_until_it_succeeds),
        WITH_FIXTURE(after_a_few_losses_it_runs_in_the_gate),
        WITH_FIXTURE(a_body_that_ignores_a_conflict_is_run_again),
        WITH_FIXTURE(a_body_that_fails_is_rolled_back_and_not_run_again),
        WITH_FIXTURE(everybody_finishes_under_contention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
