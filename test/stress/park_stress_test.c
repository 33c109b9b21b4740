/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads move money between accounts in every way there is: optimistic, exclusive, interactive
 * (parked between statements), with exclusive and shared locks on rows and locks on the space, with
 * savepoints; they cancel each other's transactions and wait for each other. A checkpoint takes the
 * lists of changed rows meanwhile. What must hold:
 *
 *   - every snapshot has the same sum, and so has the end
 *   - while a thread holds a row exclusively, or shared, or the space, nobody else commits to it
 *   - every row that was changed after a checkpoint's K is listed for the next
 *   - an action goes out once for each commit that queued it, in order of timestamps
 *   - in the end no lock is held, no transaction open, and every chain has one version
 *
 * Short by default; PERIGEE_STRESS_SECONDS makes it longer. The seed is printed.
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

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "txn/lock.h"
#include "txn/txn_fixture.h"

enum { THREADS = 4, CHECKPOINTER = THREADS, ACCOUNTS = 10, START_AMOUNT = 100 };

#define LOCK_TIMEOUT_NS UINT64_C(20000000000)

static struct txn_fixture f;
static uint64_t seed;
static _Atomic uint64_t stop_ns;
static _Atomic uint64_t actions_committed;

struct thread {
    unsigned number;
    struct random random;
    pthread_t id;
    uint64_t done, failures;
    uint64_t interactive, waits, deadlocks, cancelled, conflicts;
};

static bool go_on(const struct thread *thread)
{
    return thread->done < 20 || clock_monotonic_ns(clock_system()) < load_relaxed(&stop_ns);
}

static void check(struct thread *thread, bool right, const char *what)
{
    if (!right && thread->failures++ < 5)
        fprintf(stderr, "thread %u: %s\n", thread->number, what);
}

static struct txn_worker *worker_of(const struct thread *thread)
{
    return f.workers[thread->number];
}

static void account_key(char key[8], unsigned account)
{
    snprintf(key, 8, "acc%02u", account);
}

static int account_read(struct txn *txn, unsigned account, int *amount)
{
    char key[8];
    account_key(key, account);
    const struct version *version;
    int rc = txn_get(txn, &f.head, key, strlen(key), &version);
    *amount = rc == 0 && version != NULL ? atoi(strchr(version->bytes, '|') + 1) : 0;
    return rc;
}

static int account_write(struct txn *txn, unsigned account, int amount)
{
    char key[8], value[32];
    account_key(key, account);
    if (amount == 0)
        return fixture_delete(&f, txn, key);
    snprintf(value, sizeof value, "%u.%d|%d", account, amount, amount);
    struct row *row;
    /* With the terminating zero, so that readers may parse it in place. */
    return txn_put(txn, &f.head, key, strlen(key), value, (uint32_t)strlen(value) + 1, &row, NULL);
}

static int account_lock(struct txn *txn, unsigned account, enum txn_lock mode)
{
    char key[8];
    account_key(key, account);
    return txn_lock_row(txn, &f.head, key, strlen(key), mode);
}

static int move(struct txn *txn, unsigned from, unsigned to, int by)
{
    int amount_from, amount_to;
    int rc = account_read(txn, from, &amount_from);
    if (rc == 0)
        rc = account_read(txn, to, &amount_to);
    if (rc == 0)
        rc = account_write(txn, from, amount_from - by);
    if (rc == 0)
        rc = account_write(txn, to, amount_to + by);
    return rc;
}

static void queue_action(struct txn *txn)
{
    uint64_t nothing = 0;
    txn_defer(txn, 1, &nothing, sizeof nothing);
}

/* ------------------------------------------------------------------------------ short ones */

struct transfer {
    struct thread *thread;
    unsigned from, to;
    int by;
};

static int transfer_run(struct txn *txn, void *arg)
{
    struct transfer *transfer = arg;
    queue_action(txn);
    return move(txn, transfer->from, transfer->to, transfer->by);
}

static void transfer_pick(struct thread *thread, struct transfer *out)
{
    out->thread = thread;
    out->from = (unsigned)random_below(&thread->random, ACCOUNTS);
    out->to = (out->from + 1 + (unsigned)random_below(&thread->random, ACCOUNTS - 1)) % ACCOUNTS;
    out->by = (int)random_below(&thread->random, 20) - 5;
}

static void transfer_short(struct thread *thread)
{
    struct transfer transfer;
    transfer_pick(thread, &transfer);
    struct txn_options options = {.level = TXN_SERIALIZABLE,
                                  .exclusive = random_below(&thread->random, 16) == 0};
    int rc = txn_run(worker_of(thread), &options, transfer_run, &transfer);
    check(thread, rc == 0 || rc == ERROR_LOCK_TIMEOUT, "a transfer ends");
    check(thread, rc == 0, "a transfer does not wait for ever");
    if (rc == 0)
        atomic_fetch_add(&actions_committed, 1);
}

static void sum_check(struct thread *thread)
{
    struct txn *txn;
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    if (txn_begin(worker_of(thread), &options, &txn) != 0)
        return;
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int sum = 0, rc;
    txn_cursor_open(&cursor, txn, &f.primary, &(struct txn_range){0});
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0)
        sum += atoi(strchr(version->bytes, '|') + 1);
    check(thread, rc == ERROR_CANCELLED || sum == ACCOUNTS * START_AMOUNT,
          "every snapshot has the same sum");
    txn_rollback(txn);
}

/* ------------------------------------------------------------------------- interactive ones */

/* A statement of an interactive transaction: it is tried, and when it must wait, the transaction is
 * parked until the lock is granted. 0, or the code with which the transaction has ended. */
struct statement {
    struct txn *txn;
    struct thread *thread;
    int (*run)(struct txn *txn, struct transfer *transfer);
    struct transfer *transfer;
};

static int statement_end(struct statement *statement, int rc)
{
    struct thread *thread = statement->thread;
    if (rc == ERROR_DEADLOCK)
        thread->deadlocks++;
    else if (rc == ERROR_CONFLICT)
        thread->conflicts++;
    else if (rc == ERROR_CANCELLED)
        thread->cancelled++;
    else
        check(thread, false, error_name(rc));
    txn_rollback(statement->txn);
    return rc;
}

static int statement_run(struct statement *statement)
{
    struct thread *thread = statement->thread;
    for (;;) {
        struct lock_owner *owner = txn_owner(statement->txn);
        struct txn_savepoint savepoint = txn_savepoint(statement->txn);
        int rc = statement->run(statement->txn, statement->transfer);
        if (rc == 0)
            return 0;
        if (rc != ERROR_WAIT)
            return statement_end(statement, rc);
        thread->waits++;
        txn_rollback_to(statement->txn, savepoint);
        txn_park(statement->txn);
        /* Others may roll it back and let go of its locks meanwhile: the wait ends by that, too. */
        while (lock_wait_state(owner) == LOCK_WAIT_QUEUED)
            sched_yield();
        if ((rc = txn_resume(statement->txn)) != 0) {
            check(thread, rc == ERROR_CANCELLED, "only a cancelled one can't go on");
            thread->cancelled++;
            return rc;
        }
    }
}

static int lock_from(struct txn *txn, struct transfer *transfer)
{
    return account_lock(txn, transfer->from, TXN_LOCK_EXCLUSIVE);
}

static int lock_to_shared(struct txn *txn, struct transfer *transfer)
{
    return account_lock(txn, transfer->to, TXN_LOCK_SHARED);
}

static int lock_space(struct txn *txn, struct transfer *transfer)
{
    return txn_lock_space(txn, &f.head, transfer->by < 0 ? TXN_LOCK_EXCLUSIVE : TXN_LOCK_SHARED);
}

static int move_all(struct txn *txn, struct transfer *transfer)
{
    return move(txn, transfer->from, transfer->to, transfer->by);
}

static int move_and_undo(struct txn *txn, struct transfer *transfer)
{
    struct txn_savepoint savepoint = txn_savepoint(txn);
    int rc = move(txn, transfer->from, transfer->to, 7);
    if (rc == 0)
        txn_rollback_to(txn, savepoint);
    return rc;
}

static int look(struct txn *txn, struct transfer *transfer)
{
    int amount;
    return account_read(txn, transfer->to, &amount);
}

/* The committed amount as somebody else sees it now. */
static int amount_now(struct thread *thread, unsigned account)
{
    struct txn *txn;
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    int amount = -1;
    if (txn_begin(worker_of(thread), &options, &txn) != 0)
        return -1;
    if (account_read(txn, account, &amount) != 0)
        amount = -1;
    txn_rollback(txn);
    return amount;
}

/* While it is parked and holds a lock, what the lock covers does not change. Returns 0 when it was
 * cancelled meanwhile. */
static int parked_look(struct statement *statement, unsigned account, bool locked)
{
    struct thread *thread = statement->thread;
    txn_park(statement->txn);
    int before = amount_now(thread, account);
    for (unsigned turns = (unsigned)random_below(&thread->random, 20); turns > 0; turns--)
        sched_yield();
    int after = amount_now(thread, account);
    int rc = txn_resume(statement->txn);
    if (rc == 0)
        check(thread, !locked || before == after || before < 0 || after < 0,
              "what is locked does not change");
    else
        thread->cancelled++;
    return rc;
}

static void transfer_interactive(struct thread *thread)
{
    struct transfer transfer;
    transfer_pick(thread, &transfer);
    struct txn *txn;
    struct txn_options options = {.level = random_below(&thread->random, 2) == 0 ? TXN_SERIALIZABLE
                                                                                 : TXN_SNAPSHOT,
                                  .session_id = 1 + thread->number};
    if (txn_open(worker_of(thread), &options, &txn) != 0) {
        check(thread, false, "a transaction can be opened");
        return;
    }
    thread->interactive++;
    struct statement statement = {txn, thread, NULL, &transfer};
    static int (*const COURSES[][3])(struct txn * txn, struct transfer * transfer) = {
        {look, move_all, move_and_undo},       {lock_from, move_all, NULL},
        {lock_from, lock_to_shared, move_all}, {move_and_undo, lock_from, move_all},
        {lock_space, move_all, NULL},          {lock_to_shared, look, move_all},
    };
    unsigned course = (unsigned)random_below(&thread->random, sizeof COURSES / sizeof *COURSES);
    for (unsigned n = 0; n < 3 && COURSES[course][n] != NULL; n++) {
        statement.run = COURSES[course][n];
        if (statement_run(&statement) != 0)
            return;
        bool locked = statement.run == lock_from || statement.run == lock_space;
        if (parked_look(&statement, transfer.from, locked) != 0)
            return;
    }
    queue_action(txn);
    int rc = txn_commit(txn);
    if (rc == 0)
        atomic_fetch_add(&actions_committed, 1);
    else if (rc == ERROR_CONFLICT)
        thread->conflicts++;
    else if (rc == ERROR_CANCELLED)
        thread->cancelled++;
    else
        check(thread, false, "a commit succeeds, loses or was cancelled");
}

static void *thread_main(void *arg)
{
    struct thread *thread = arg;
    for (; go_on(thread); thread->done++) {
        switch (random_below(&thread->random, 8)) {
        case 0:
        case 1:
        case 2:
            transfer_short(thread);
            break;
        case 3:
            sum_check(thread);
            break;
        case 4:
            if (random_below(&thread->random, 40) == 0)
                txn_cancel_session(worker_of(thread), 1 + random_below(&thread->random, THREADS));
            break;
        default:
            transfer_interactive(thread);
        }
        txn_collect(worker_of(thread), 8);
    }
    return NULL;
}

/* ---------------------------------------------------------------- checkpoints and the outbox */

struct checkpointer {
    pthread_t id;
    _Atomic bool stop;
    uint64_t rounds, last_ts, heard, failures;
    int image[ACCOUNTS]; /* as a body would have it */
};

static void hear(uint64_t ts, unsigned kind, const void *data, size_t size, void *arg)
{
    struct checkpointer *checkpointer = arg;
    (void)data;
    if (ts < checkpointer->last_ts || kind != 1 || size != sizeof(uint64_t))
        checkpointer->failures++;
    checkpointer->last_ts = ts;
    checkpointer->heard++;
}

static void image_take(struct checkpointer *checkpointer, const struct txn_change *change,
                       uint64_t k)
{
    const unsigned char *digits = change->row->key + 3;
    unsigned account = (digits[0] - '0') * 10u + (digits[1] - '0');
    uint64_t ts;
    const struct version *version = txn_row_at(change->row, k, &ts);
    bool exists = version != NULL && !(version->flags & VERSION_TOMBSTONE);
    checkpointer->image[account] = exists ? atoi(strchr(version->bytes, '|') + 1) : 0;
}

/* A checkpoint: with the rows listed, the image is what the accounts were at K. */
static void checkpoint(struct checkpointer *checkpointer)
{
    struct txn_worker *worker = f.workers[CHECKPOINTER];
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .durable = true};
    struct txn *txn;
    struct txn_changes changes = {NULL, 0, 0};
    wal_wait_durable(f.wal, wal_clock(f.wal));
    if (txn_open(worker, &options, &txn) != 0 || txn_changes_take(f.system, &changes) != 0) {
        checkpointer->failures++;
        return;
    }
    uint64_t k = txn_snapshot_ts(txn);
    txn_park(txn);
    txn_worker_enter(worker);
    for (size_t n = 0; n < changes.count; n++)
        image_take(checkpointer, &changes.items[n], k);
    txn_worker_leave(worker);
    int sum = 0;
    for (unsigned n = 0; n < ACCOUNTS; n++)
        sum += checkpointer->image[n];
    if (sum != ACCOUNTS * START_AMOUNT && checkpointer->failures++ < 5)
        fprintf(stderr, "the image at %llu has a sum of %d\n", (unsigned long long)k, sum);
    if (txn_resume(txn) == 0)
        txn_commit(txn);
    txn_worker_enter(worker);
    size_t kept = 0;
    for (size_t n = 0; n < changes.count; n++)
        if (!txn_change_done(worker, &changes.items[n], k))
            changes.items[kept++] = changes.items[n];
    txn_worker_leave(worker);
    changes.count = kept;
    txn_changes_return(f.system, &changes);
    txn_collect(worker, 64);
    checkpointer->rounds++;
}

static void *checkpointer_main(void *arg)
{
    struct checkpointer *checkpointer = arg;
    while (!load_acquire(&checkpointer->stop)) {
        checkpoint(checkpointer);
        txn_deferred_run(f.system, hear, checkpointer);
    }
    return NULL;
}

static void money_stays_and_locks_hold_whatever_way_it_moves(void **state)
{
    (void)state;
    seed = test_seed();
    fixture_open(&f, THREADS + 1);
    f.head.tracked = true;
    struct txn *txn = fixture_begin(&f, 0, TXN_SNAPSHOT);
    for (unsigned n = 0; n < ACCOUNTS; n++)
        assert_int_equal(account_write(txn, n, START_AMOUNT), 0);
    assert_int_equal(txn_commit(txn), 0);

    const char *text = getenv("PERIGEE_STRESS_SECONDS");
    uint64_t seconds = text == NULL ? 2 : strtoull(text, NULL, 10);
    store_relaxed(&stop_ns, clock_monotonic_ns(clock_system()) + seconds * UINT64_C(1000000000));
    struct checkpointer checkpointer = {.rounds = 0};
    assert_int_equal(pthread_create(&checkpointer.id, NULL, checkpointer_main, &checkpointer), 0);
    struct thread threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.number = i};
        random_create(&threads[i].random, seed + i);
        assert_int_equal(pthread_create(&threads[i].id, NULL, thread_main, &threads[i]), 0);
    }
    struct thread all = {.number = 0};
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i].id, NULL);
        all.done += threads[i].done;
        all.failures += threads[i].failures;
        all.interactive += threads[i].interactive;
        all.waits += threads[i].waits;
        all.deadlocks += threads[i].deadlocks;
        all.cancelled += threads[i].cancelled;
        all.conflicts += threads[i].conflicts;
    }
    store_release(&checkpointer.stop, true);
    pthread_join(checkpointer.id, NULL);
    checkpoint(&checkpointer);
    txn_deferred_run(f.system, hear, &checkpointer);
    printf("%llu done, %llu interactive: %llu waits, %llu deadlocks, %llu conflicts, %llu "
           "cancelled; %llu checkpoints, %llu actions\n",
           (unsigned long long)all.done, (unsigned long long)all.interactive,
           (unsigned long long)all.waits, (unsigned long long)all.deadlocks,
           (unsigned long long)all.conflicts, (unsigned long long)all.cancelled,
           (unsigned long long)checkpointer.rounds, (unsigned long long)checkpointer.heard);
    assert_int_equal(all.failures, 0);
    assert_int_equal(checkpointer.failures, 0);
    assert_int_equal(checkpointer.heard, load_relaxed(&actions_committed));
    struct lock_stats locks;
    lock_stats_get(txn_system_locks(f.system), &locks);
    assert_int_equal(locks.held, 0);
    assert_int_equal(locks.waiting, 0);
    struct txn_stats stats;
    txn_stats_get(f.system, &stats);
    assert_int_equal(stats.open, 0);
    fixture_settle(&f);
    for (unsigned n = 0; n < ACCOUNTS; n++) {
        char key[8];
        account_key(key, n);
        assert_in_range(fixture_chain(&f, key) + 1, 0, 2);
    }
    assert_int_equal(tree_verify(f.head.tree), 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(money_stays_and_locks_hold_whatever_way_it_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
