/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Threads append to lists and read them, by transactions of every level, and what they saw is
 * checked for anomalies (history/append.h). A list is a row; one that has become long is given up
 * for a new one, so readers meet keys that are absent, and scan ranges in which rows appear.
 *
 * A thread has several sessions in hand, as a worker has. One runs procedures: again and again
 * until they succeed, in the gate if need be, and waiting in a queue for locks. The others are
 * interactive: parked between statements, in which time the thread serves the others, and not run
 * again. They undo part of what they did by savepoints, lock rows, now and then a whole space, and
 * are sometimes cancelled. An attempt that was rolled back, and what a savepoint undid, is in the
 * history as well: nobody may have seen it.
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
#include "txn/lock.h"
#include "txn/txn_fixture.h"

enum {
    THREADS = 4,
    SESSIONS = 4,     /* of a thread; the first runs procedures */
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

/* What a transaction is to do: decided before it begins, so that each run of it is the same. */
struct plan {
    enum append_level level;
    bool readonly, latest, roll_back;
    unsigned count;
    struct step {
        enum { READ, SCAN, APPEND, APPEND_AND_UNDO, LOCK_THE_ROW, LOCK_ALL } kind;
        enum txn_lock lock;
        uint32_t list;
    } steps[OPS_MAX];
};

struct session {
    struct thread *thread;
    uint64_t id;
    struct append_history history;
    struct append_history undone; /* by savepoints */
    bool planned;
    struct plan plan;
    struct txn_options options;
    unsigned losses;
    struct txn *txn;          /* interactive: open, and parked between turns */
    unsigned next_step;       /* of it */
    struct lock_owner *owner; /* what waits: the transaction's, or a procedure's own */
};

struct thread {
    unsigned number;
    pthread_t id;
    struct random random;
    const struct mix *mix;
    struct txn_worker *worker;
    struct session sessions[SESSIONS];
    unsigned done, failures, waits, deadlocks, cancelled;
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

static const enum txn_level LEVELS[APPEND_LEVELS] = {TXN_READ_UNCOMMITTED, TXN_READ_COMMITTED,
                                                     TXN_SNAPSHOT, TXN_SERIALIZABLE};

static void note_read(struct session *session, uint32_t list, const struct version *version,
                      bool predicate)
{
    append_read(&session->history, list, version ? (const uint32_t *)version->bytes : NULL,
                version ? version->size / 4 : 0, predicate);
}

static int do_read(struct session *session, struct txn *txn, uint32_t list)
{
    char key[16];
    size_t size = list_key(key, list);
    const struct version *version;
    int rc = txn_get(txn, &f.other, key, size, &version);
    if (rc == 0)
        note_read(session, list, version, false);
    return rc;
}

/* Reads the lists from `first` on by a range; those without a row are in the history as absent. */
static int do_scan(struct session *session, struct txn *txn, uint32_t first)
{
    char lower[16], upper[16];
    size_t size = list_key(lower, first);
    list_key(upper, first + SCAN_MAX);
    struct txn_range range = {.lower = lower,
                              .lower_size = size,
                              .lower_inclusive = true,
                              .upper = upper,
                              .upper_size = size,
                              .backward = session->id % 2};
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
        note_read(session, first + i, seen[i], true);
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
static int do_append_and_undo(struct session *session, struct txn *txn, uint32_t list)
{
    struct txn_savepoint savepoint = txn_savepoint(txn);
    append_begin(&session->undone, (uint32_t)session->id, session->plan.level, now());
    int rc = do_append(&session->undone, txn, list);
    append_end(&session->undone, APPEND_ABORTED, now());
    if (rc == 0)
        txn_rollback_to(txn, savepoint);
    return rc;
}

static int do_step(struct session *session, struct txn *txn, const struct step *step)
{
    char key[16];
    txn_statement(txn);
    switch (step->kind) {
    case READ:
        return do_read(session, txn, step->list);
    case SCAN:
        return do_scan(session, txn, step->list);
    case APPEND:
        return do_append(&session->history, txn, step->list);
    case APPEND_AND_UNDO:
        return do_append_and_undo(session, txn, step->list);
    case LOCK_THE_ROW:
        return txn_lock_row(txn, &f.other, key, list_key(key, step->list), step->lock);
    default:
        return txn_lock_space(txn, &f.other, step->lock);
    }
}

/* ------------------------------------------------------------------------------------- plans */

static void step_make(struct random *random, const struct plan *plan, struct step *step)
{
    uint64_t kind = random_below(random, 100);
    step->list = load_relaxed(&active[random_below(random, ACTIVE)]);
    step->lock = random_below(random, 2) ? TXN_LOCK_SHARED : TXN_LOCK_EXCLUSIVE;
    if (kind < 40 || plan->readonly)
        step->kind = kind < 10 ? SCAN : READ;
    else if (kind < 85)
        step->kind = APPEND;
    else if (kind < 93)
        step->kind = APPEND_AND_UNDO;
    else
        step->kind = kind < 99 ? LOCK_THE_ROW : LOCK_ALL;
}

static void plan_make(struct session *session)
{
    struct random *random = &session->thread->random;
    const struct mix *mix = session->thread->mix;
    struct plan *plan = &session->plan;
    *plan = (struct plan){.level = mix->levels[random_below(random, mix->count)],
                          .readonly = random_below(random, 6) == 0,
                          .latest = random_below(random, 2),
                          .roll_back = random_below(random, 15) == 0,
                          .count = 1 + (unsigned)random_below(random, OPS_MAX)};
    for (unsigned i = 0; i < plan->count; i++)
        step_make(random, plan, &plan->steps[i]);
    if (plan->readonly) /* what a snapshot of it shows is what a serializable one does */
        plan->level = APPEND_SERIALIZABLE;
    session->planned = true;
    session->losses = session->next_step = 0;
    session->options = (struct txn_options){.level = LEVELS[plan->level],
                                            .readonly = plan->readonly,
                                            .latest = plan->latest,
                                            .session_id = session->id};
}

/* The record of a transaction begins before its snapshot is taken. A snapshot at V may be older
 * than what has ended: nothing came before it for certain. */
static void record_begin(struct session *session)
{
    bool old = session->plan.readonly && !session->plan.latest;
    append_begin(&session->history, (uint32_t)session->id, session->plan.level, old ? 0 : now());
}

static void record_end(struct session *session, bool committed)
{
    append_end(&session->history, committed ? APPEND_COMMITTED : APPEND_ABORTED, now());
}

/* The plan has been carried out, or given up. */
static void plan_end(struct session *session, int rc)
{
    struct thread *thread = session->thread;
    session->planned = false;
    thread->done++;
    thread->deadlocks += rc == ERROR_DEADLOCK;
    thread->cancelled += rc == ERROR_CANCELLED;
    if (rc == 0 || (!session->plan.readonly && (rc == ERROR_CONFLICT || rc == ERROR_DEADLOCK)) ||
        rc == ERROR_CANCELLED)
        return;
    thread->failures++;
    fprintf(stderr, "a transaction failed: %s\n", error_name(rc));
}

/* -------------------------------------------------------------------------------- procedures */

/* One attempt from begin to end. */
static int attempt(struct session *session)
{
    const struct plan *plan = &session->plan;
    struct txn *txn;
    record_begin(session);
    int rc = txn_begin(session->thread->worker, &session->options, &txn);
    if (rc != 0) {
        record_end(session, false);
        return rc;
    }
    for (unsigned i = 0; rc == 0 && i < plan->count; i++)
        rc = do_step(session, txn, &plan->steps[i]);
    if (rc != 0 || plan->roll_back)
        txn_rollback(txn);
    else
        rc = txn_commit(txn);
    record_end(session, rc == 0 && !plan->roll_back);
    return rc;
}

static void owner_drop(struct session *session)
{
    if (session->owner != NULL)
        lock_owner_delete(session->owner);
    session->owner = session->options.owner = NULL;
}

static void procedure_turn(struct session *session)
{
    struct txn_worker *worker = session->thread->worker;
    int rc = attempt(session);
    if (rc == ERROR_WAIT) {
        if (session->owner == NULL)
            session->owner = session->options.owner = txn_owner_detach(worker);
        session->thread->waits++;
        return;
    }
    owner_drop(session);
    if (rc == ERROR_CONFLICT || rc == ERROR_DEADLOCK)
        txn_backoff(worker, ++session->losses, &session->options);
    else
        plan_end(session, rc);
}

/* ------------------------------------------------------------------------------- interactive */

static void interactive_end(struct session *session, int rc)
{
    record_end(session, rc == 0 && !session->plan.roll_back);
    session->txn = NULL;
    session->owner = NULL;
    plan_end(session, rc);
}

/* A statement that must wait has not happened; but others may have seen, at read uncommitted, what
 * it took back. */
static void statement_wait(struct session *session, struct txn_savepoint savepoint, size_t recorded)
{
    struct append_history *history = &session->history;
    txn_rollback_to(session->txn, savepoint);
    session->owner = txn_owner(session->txn);
    session->thread->waits++;
    history->txns[history->txn_count - 1].count -= (uint32_t)(history->op_count - recorded);
    for (; history->op_count > recorded; history->op_count--) {
        const struct append_op *op = &history->ops[history->op_count - 1];
        append_begin(&session->undone, (uint32_t)session->id, session->plan.level, now());
        if (!op->read)
            append_value(&session->undone, op->key, op->value);
        append_end(&session->undone, APPEND_ABORTED, now());
    }
}

static int statement(struct session *session)
{
    struct txn_savepoint savepoint = txn_savepoint(session->txn);
    size_t recorded = session->history.op_count;
    int rc = do_step(session, session->txn, &session->plan.steps[session->next_step]);
    if (rc == ERROR_WAIT) {
        statement_wait(session, savepoint, recorded);
        return 0;
    }
    session->next_step++;
    return rc;
}

static void interactive_finish(struct session *session)
{
    int rc = 0;
    if (session->plan.roll_back)
        txn_rollback(session->txn);
    else
        rc = txn_commit(session->txn);
    interactive_end(session, rc);
}

static void interactive_turn(struct session *session)
{
    int rc;
    if (session->txn == NULL) {
        record_begin(session);
        rc = txn_open(session->thread->worker, &session->options, &session->txn);
    } else {
        rc = txn_resume(session->txn);
    }
    session->owner = NULL;
    if (rc != 0) {
        interactive_end(session, rc);
    } else if (session->next_step == session->plan.count) {
        interactive_finish(session);
    } else if ((rc = statement(session)) == 0) {
        txn_park(session->txn);
    } else {
        txn_rollback(session->txn);
        interactive_end(session, rc);
    }
}

/* ----------------------------------------------------------------------------------- threads */

static void turn(struct session *session)
{
    if (session->owner != NULL && lock_wait_state(session->owner) == LOCK_WAIT_QUEUED)
        sched_yield();
    else if (session == &session->thread->sessions[0])
        procedure_turn(session);
    else
        interactive_turn(session);
}

static bool any_planned(const struct thread *thread)
{
    for (unsigned i = 0; i < SESSIONS; i++)
        if (thread->sessions[i].planned)
            return true;
    return false;
}

static void *thread_run(void *arg)
{
    struct thread *thread = arg;
    struct random *random = &thread->random;
    for (bool going = true; going || any_planned(thread);) {
        struct session *session = &thread->sessions[random_below(random, SESSIONS)];
        going = thread->done < TXNS_MAX && (thread->done < 100 || now() < load_relaxed(&stop_ns));
        if (!session->planned && going)
            plan_make(session);
        if (session->planned)
            turn(session);
        if (random_below(random, 64) == 0)
            wal_kick(f.wal);
        if (random_below(random, 2000) == 0)
            txn_cancel_session(thread->worker, 1 + random_below(random, THREADS * SESSIONS));
    }
    return NULL;
}

static void thread_start(struct thread *thread, unsigned number, const struct mix *mix)
{
    *thread = (struct thread){.number = number, .mix = mix, .worker = f.workers[number]};
    random_create(&thread->random, seed + number);
    for (unsigned i = 0; i < SESSIONS; i++) {
        thread->sessions[i].thread = thread;
        thread->sessions[i].id = 1 + number * SESSIONS + i;
        append_history_create(&thread->sessions[i].history);
        append_history_create(&thread->sessions[i].undone);
    }
    assert_int_equal(pthread_create(&thread->id, NULL, thread_run, thread), 0);
}

static void thread_end(struct thread *thread, struct append_history *history)
{
    pthread_join(thread->id, NULL);
    for (unsigned i = 0; i < SESSIONS; i++) {
        append_history_join(history, &thread->sessions[i].history);
        append_history_join(history, &thread->sessions[i].undone);
        append_history_destroy(&thread->sessions[i].history);
        append_history_destroy(&thread->sessions[i].undone);
    }
}

/* ------------------------------------------------------------------------------------ tests */

/* What is there at the end. */
static void read_all(struct append_history *history)
{
    append_begin(history, 0, APPEND_SERIALIZABLE, now());
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
    for (unsigned i = 0; i < THREADS; i++)
        thread_start(&threads[i], i, mix);
    append_history_create(history);
    unsigned failures = 0, waits = 0, deadlocks = 0, cancelled = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        thread_end(&threads[i], history);
        failures += threads[i].failures;
        waits += threads[i].waits;
        deadlocks += threads[i].deadlocks;
        cancelled += threads[i].cancelled;
    }
    printf("%s: %u waits, %u deadlocks, %u cancelled\n", mix->name, waits, deadlocks, cancelled);
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

static void histories_at_read_uncommitted_have_no_dirty_writes(void **state)
{
    (void)state;
    mix_run(&(struct mix){"read uncommitted", {APPEND_READ_UNCOMMITTED}, 1});
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
    mix_run(&(struct mix){
        "mixed",
        {APPEND_READ_UNCOMMITTED, APPEND_READ_COMMITTED, APPEND_SNAPSHOT, APPEND_SERIALIZABLE},
        4});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_at_read_uncommitted_have_no_dirty_writes),
        cmocka_unit_test(histories_at_read_committed_are_clean),
        cmocka_unit_test(histories_at_snapshot_are_clean),
        cmocka_unit_test(histories_at_serializable_are_clean),
        cmocka_unit_test(in_histories_of_mixed_levels_each_has_what_it_is_promised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
