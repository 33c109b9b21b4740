/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Threads append to lists and read them, by transactions of every level, and what they saw is
 * checked for anomalies (history/append.h). A list is a row; one that has become long is given up
 * for a new one, so readers meet keys that are absent, and scan ranges in which rows appear.
 *
 * Half of the transactions are run as procedures are, again and again until they succeed, in the
 * gate if need be; half as interactive ones, which yield between their statements, are not run
 * again, and undo part of what they did by savepoints. An attempt that was rolled back, and what a
 * savepoint undid, is in the history as well: nobody may have seen it.
 *
 * Short by default; PERIGEE_STRESS_SECONDS makes it longer.
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

#include "base/atomic.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "history/append.h"
#include "txn/txn_fixture.h"

enum {
    THREADS = 4,
    ACTIVE = 4,       /* lists in use */
    LIST_MAX = 16,    /* numbers, after which a list is given up */
    LIST_ROOM = 128,  /* who has one in hand may still append to it */
    OPS_MAX = 5,      /* of a transaction */
    TXNS_MAX = 15000, /* of a thread, for the checker's sake */
    SCAN_MAX = 4      /* lists in a range */
};

static struct txn_fixture f;
static uint64_t seed;
static _Atomic uint64_t stop_ns;
static _Atomic uint32_t active[ACTIVE], list_next, value_next;

/* Which levels a run has. */
struct mix {
    const char *name;
    enum append_level levels[APPEND_LEVELS];
    unsigned count;
};

struct thread {
    unsigned number;
    pthread_t id;
    struct random random;
    const struct mix *mix;
    struct append_history history;
    struct append_history undone; /* by savepoints */
    unsigned done, failures;
};

/* What a transaction is to do: decided before it begins, so that each run of it is the same. */
struct plan {
    enum append_level level;
    bool readonly, latest, interactive, roll_back;
    unsigned count;
    struct step {
        enum { READ, SCAN, APPEND, APPEND_AND_UNDO } kind;
        uint32_t list;
    } steps[OPS_MAX];
};

static uint64_t now(void)
{
    return clock_monotonic_ns(clock_system());
}

static size_t list_key(char key[16], uint32_t list)
{
    return (size_t)snprintf(key, 16, "list%08u", list);
}

static uint32_t list_of(const struct row *row)
{
    char digits[9] = "";
    memcpy(digits, row->key + 4, 8);
    return (uint32_t)strtoul(digits, NULL, 10);
}

/* A list that is long enough gives way to a new one; of several that see it one makes it. */
static void list_retire(uint32_t list, uint32_t count)
{
    if (count < LIST_MAX)
        return;
    for (unsigned i = 0; i < ACTIVE; i++) {
        uint32_t old = list;
        if (load_relaxed(&active[i]) == list)
            atomic_compare_exchange_strong(&active[i], &old, atomic_fetch_add(&list_next, 1));
    }
}

/* ----------------------------------------------------------------------------- transactions */

static const enum txn_level LEVELS[APPEND_LEVELS] = {TXN_READ_COMMITTED, TXN_READ_COMMITTED,
                                                     TXN_SNAPSHOT, TXN_SERIALIZABLE};

static int do_read(struct thread *thread, struct txn *txn, uint32_t list)
{
    char key[16];
    size_t size = list_key(key, list);
    const struct version *version;
    int rc = txn_get(txn, &f.other, key, size, &version);
    if (rc == 0)
        append_read(&thread->history, list, version ? (const uint32_t *)version->bytes : NULL,
                    version ? version->size / 4 : 0, false);
    return rc;
}

/* Reads the lists from `first` on by a range; those without a row are in the history as absent. */
static int do_scan(struct thread *thread, struct txn *txn, uint32_t first)
{
    char lower[16], upper[16];
    size_t size = list_key(lower, first);
    list_key(upper, first + SCAN_MAX);
    struct txn_range range = {.lower = lower,
                              .lower_size = size,
                              .lower_inclusive = true,
                              .upper = upper,
                              .upper_size = size,
                              .backward = thread->number % 2};
    const struct version *seen[SCAN_MAX] = {NULL}, *version;
    struct txn_index index = {.tree = f.other.tree, .head = &f.other};
    struct txn_cursor cursor;
    struct row *row;
    int rc;
    txn_cursor_open(&cursor, txn, &index, &range);
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0)
        seen[list_of(row) - first] = version;
    if (rc != ERROR_END)
        return rc;
    for (uint32_t i = 0; i < SCAN_MAX; i++)
        append_read(&thread->history, first + i, seen[i] ? (const uint32_t *)seen[i]->bytes : NULL,
                    seen[i] ? seen[i]->size / 4 : 0, true);
    return 0;
}

static int do_append(struct append_history *history, struct txn *txn, uint32_t list)
{
    char key[16];
    size_t size = list_key(key, list);
    uint32_t values[LIST_ROOM], count = 0, value = atomic_fetch_add(&value_next, 1) + 1;
    const struct version *version;
    append_value(history, list, value);
    int rc = txn_get_for_update(txn, &f.other, key, size, &version);
    if (rc != 0)
        return rc;
    if (version != NULL) {
        count = version->size / 4;
        memcpy(values, version->bytes, version->size);
    }
    values[count++] = value;
    list_retire(list, count);
    return txn_put(txn, &f.other, key, size, values, 4 * count, NULL, NULL);
}

/* The number belongs to a transaction of its own, which is rolled back. */
static int do_append_and_undo(struct thread *thread, struct txn *txn, enum append_level level,
                              uint32_t list)
{
    struct txn_savepoint savepoint = txn_savepoint(txn);
    append_begin(&thread->undone, thread->number, level, now());
    int rc = do_append(&thread->undone, txn, list);
    append_end(&thread->undone, APPEND_ABORTED, now());
    if (rc == 0)
        txn_rollback_to(txn, savepoint);
    return rc;
}

static int do_step(struct thread *thread, struct txn *txn, const struct plan *plan,
                   const struct step *step)
{
    txn_statement(txn);
    switch (step->kind) {
    case READ:
        return do_read(thread, txn, step->list);
    case SCAN:
        return do_scan(thread, txn, step->list);
    case APPEND:
        return do_append(&thread->history, txn, step->list);
    default:
        return do_append_and_undo(thread, txn, plan->level, step->list);
    }
}

/* One attempt. */
static int plan_run(struct thread *thread, const struct plan *plan,
                    const struct txn_options *options)
{
    struct txn *txn;
    /* A snapshot at V may be older than what has ended: nothing came before it for certain. */
    uint64_t begin = plan->readonly && !plan->latest ? 0 : now();
    int rc = txn_begin(f.workers[thread->number], options, &txn);
    if (rc != 0)
        return rc;
    append_begin(&thread->history, thread->number, plan->level, begin);
    for (unsigned i = 0; rc == 0 && i < plan->count; i++) {
        rc = do_step(thread, txn, plan, &plan->steps[i]);
        if (plan->interactive)
            sched_yield();
    }
    if (rc != 0 || plan->roll_back)
        txn_rollback(txn);
    else
        rc = txn_commit(txn);
    append_end(&thread->history, rc != 0 || plan->roll_back ? APPEND_ABORTED : APPEND_COMMITTED,
               now());
    return rc;
}

static void plan_make(struct thread *thread, struct plan *plan)
{
    struct random *random = &thread->random;
    *plan = (struct plan){.level = thread->mix->levels[random_below(random, thread->mix->count)],
                          .readonly = random_below(random, 6) == 0,
                          .latest = random_below(random, 2),
                          .interactive = random_below(random, 2),
                          .roll_back = random_below(random, 15) == 0,
                          .count = 1 + (unsigned)random_below(random, OPS_MAX)};
    for (unsigned i = 0; i < plan->count; i++) {
        struct step *step = &plan->steps[i];
        uint64_t kind = random_below(random, 10);
        step->kind = kind < 4 || plan->readonly ? READ : kind < 9 ? APPEND : APPEND_AND_UNDO;
        if (step->kind == READ && kind == 0)
            step->kind = SCAN;
        if (step->kind == APPEND_AND_UNDO && !plan->interactive)
            step->kind = APPEND;
        step->list = load_relaxed(&active[random_below(random, ACTIVE)]);
    }
    if (plan->readonly) /* what a snapshot of it shows is what a serializable one does */
        plan->level = APPEND_SERIALIZABLE;
}

static void plan_do(struct thread *thread, const struct plan *plan)
{
    struct txn_options options = {
        .level = LEVELS[plan->level], .readonly = plan->readonly, .latest = plan->latest};
    unsigned losses = 0;
    int rc;
    while ((rc = plan_run(thread, plan, &options)) == ERROR_CONFLICT && !plan->interactive)
        txn_backoff(f.workers[thread->number], ++losses, &options);
    if (rc != 0 && (rc != ERROR_CONFLICT || plan->readonly)) {
        thread->failures++;
        fprintf(stderr, "a transaction failed: %s\n", error_name(rc));
    }
    thread->done++;
}

static void *thread_run(void *arg)
{
    struct thread *thread = arg;
    while (thread->done < TXNS_MAX && (thread->done < 100 || now() < load_relaxed(&stop_ns))) {
        struct plan plan;
        plan_make(thread, &plan);
        plan_do(thread, &plan);
        if (random_below(&thread->random, 32) == 0)
            wal_kick(f.wal);
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------ tests */

/* What is there at the end. */
static void read_all(struct append_history *history)
{
    append_begin(history, THREADS, APPEND_SERIALIZABLE, now());
    struct txn *txn = fixture_begin_readonly(&f, 0, true);
    for (uint32_t list = 0; list < list_next; list++) {
        char key[16];
        size_t size = list_key(key, list);
        const struct version *version;
        assert_int_equal(txn_get(txn, &f.other, key, size, &version), 0);
        append_read(history, list, version ? (const uint32_t *)version->bytes : NULL,
                    version ? version->size / 4 : 0, false);
    }
    txn_rollback(txn);
    append_end(history, APPEND_COMMITTED, now());
}

static void threads_run(const struct mix *mix, struct append_history *history)
{
    static struct thread threads[THREADS];
    const char *text = getenv("PERIGEE_STRESS_SECONDS");
    uint64_t seconds = text == NULL ? 5 : strtoull(text, NULL, 10);
    store_relaxed(&stop_ns, now() + seconds * UINT64_C(1000000000) / 5);
    list_next = 0;
    value_next = 0;
    for (unsigned i = 0; i < ACTIVE; i++)
        active[i] = list_next++;
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.number = i, .mix = mix};
        random_create(&threads[i].random, seed + i);
        assert_int_equal(pthread_create(&threads[i].id, NULL, thread_run, &threads[i]), 0);
    }
    append_history_create(history);
    unsigned failures = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i].id, NULL);
        failures += threads[i].failures;
        append_history_join(history, &threads[i].history);
        append_history_join(history, &threads[i].undone);
        append_history_destroy(&threads[i].history);
        append_history_destroy(&threads[i].undone);
    }
    assert_int_equal(failures, 0);
    read_all(history);
}

/* What a stricter level would have forbidden is no failure, but shows that there were races. */
static void strictly_tell(const struct append_history *history)
{
    static struct append_report report;
    struct append_options judge = {.judge = true, .level = APPEND_SERIALIZABLE};
    append_check(history, &judge, &report);
    printf("judged as serializable:");
    for (unsigned anomaly = 0; anomaly < APPEND_ANOMALIES; anomaly++)
        if (report.found[anomaly] > 0)
            printf(" %s", append_anomaly_name(anomaly));
    printf("%s\n", report.total == 0 ? " nothing" : "");
}

static void mix_run(const struct mix *mix)
{
    struct append_history history;
    static struct append_report report;
    seed = test_seed();
    fixture_open(&f, THREADS);
    threads_run(mix, &history);
    bool clean = append_check(&history, &(struct append_options){.real_time = true}, &report);
    struct txn_stats stats;
    txn_stats_get(f.system, &stats);
    printf("%s: %zu transactions, %u committed, %zu edges; %llu times in the gate\n", mix->name,
           history.txn_count, report.committed, report.edges,
           (unsigned long long)stats.gate_entries);
    if (!clean)
        fail_msg("%s", report.text);
    assert_true(report.committed >= THREADS * 30);
    strictly_tell(&history);
    append_history_destroy(&history);
    fixture_settle(&f);
    assert_int_equal(tree_verify(f.other.tree), 0);
    fixture_close(&f);
}

static void histories_at_read_committed_are_clean(void **state)
{
    (void)state;
    mix_run(&(struct mix){"read committed", {APPEND_READ_COMMITTED}, 1});
}

static void histories_at_snapshot_are_clean(void **state)
{
    (void)state;
    mix_run(&(struct mix){"snapshot", {APPEND_SNAPSHOT}, 1});
}

static void histories_at_serializable_are_clean(void **state)
{
    (void)state;
    mix_run(&(struct mix){"serializable", {APPEND_SERIALIZABLE}, 1});
}

static void in_histories_of_mixed_levels_each_has_what_it_is_promised(void **state)
{
    (void)state;
    mix_run(
        &(struct mix){"mixed", {APPEND_READ_COMMITTED, APPEND_SNAPSHOT, APPEND_SERIALIZABLE}, 3});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_at_read_committed_are_clean),
        cmocka_unit_test(histories_at_snapshot_are_clean),
        cmocka_unit_test(histories_at_serializable_are_clean),
        cmocka_unit_test(in_histories_of_mixed_levels_each_has_what_it_is_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
