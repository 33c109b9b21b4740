/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads lock rows, spaces and each other's transactions at random, all at once, and check what
 * locks are for:
 *
 *   exclusion   each row has counters of who believes to read and to write it, changed after a lock
 *               was granted and before it is given back; a writer that meets anybody else is a
 *               violation. It has plain memory as well, written under exclusive locks and read
 *               under shared ones, over which ThreadSanitizer watches
 *   progress    who is not granted within a limit of its own waits without one: deadlocks must be
 *               found, and every wait must end. Some sleep in lock_wait_block, some are parked and
 *               woken, some leave their queues at any moment
 *   the view    an observer looks at all the time, and never sees two hold what conflicts
 *
 * Short by default; PERIGEE_STRESS_SECONDS makes it longer. The schedule is the machine's; the
 * seed, printed, gives the choices of each thread. If it hangs, it says who waits for whom and
 * fails.
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
#include <time.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "txn/lock_fixture.h"

enum {
    THREADS = 4,
    SPACES = 2,
    SPACE_ROWS = 8,
    ROWS = SPACES * SPACE_ROWS,
    LOCKS_MAX = 64, /* of a transaction, counting each upgrade */
    VIEWS_MAX = 1024,
    HANG_SECONDS = 100, /* no transaction takes as long */
};

static struct {
    struct lock_table *table;
    _Atomic uint64_t stop_ns;
    _Atomic bool stop;
    _Atomic int readers[ROWS], writers[ROWS];
    uint64_t data[ROWS]; /* under the locks */
    _Atomic uint64_t owner_ids[THREADS];
} shared;

/* What a thread holds: rows [first, first + count). */
struct taken {
    unsigned first, count;
    bool writes;
};

struct thread {
    unsigned number;
    pthread_t id;
    struct random random;
    struct lock_owner *owner;
    struct taken taken[LOCKS_MAX];
    unsigned taken_count;
    int reads[ROWS], writes[ROWS]; /* its own part in the counters */
    uint64_t transactions, deadlocks, timeouts, failures;
    pthread_mutex_t mutex; /* the parking place */
    pthread_cond_t condition;
    bool woken;
};

static void check(struct thread *thread, bool right, const char *what)
{
    if (right)
        return;
    if (thread->failures++ < 5)
        fprintf(stderr, "thread %u: %s\n", thread->number, what);
}

static unsigned below(struct thread *thread, unsigned bound)
{
    return (unsigned)random_below(&thread->random, bound);
}

/* Beliefs. */

static void row_enter(struct thread *thread, unsigned row, bool writes)
{
    if (writes) {
        atomic_fetch_add(&shared.writers[row], 1);
        thread->writes[row]++;
        check(thread, atomic_load(&shared.readers[row]) == thread->reads[row],
              "somebody reads what is locked exclusively");
        shared.data[row]++;
    } else {
        atomic_fetch_add(&shared.readers[row], 1);
        thread->reads[row]++;
        check(thread, shared.data[row] < UINT64_MAX, "nobody counts so far");
    }
    check(thread, atomic_load(&shared.writers[row]) == thread->writes[row],
          "somebody writes what is locked");
}

static void row_leave(struct thread *thread, unsigned row, bool writes)
{
    if (writes) {
        shared.data[row]++;
        thread->writes[row]--;
        atomic_fetch_sub(&shared.writers[row], 1);
    } else {
        thread->reads[row]--;
        atomic_fetch_sub(&shared.readers[row], 1);
    }
}

static void taken_add(struct thread *thread, unsigned first, unsigned count, bool writes)
{
    thread->taken[thread->taken_count++] = (struct taken){first, count, writes};
    for (unsigned row = first; row < first + count; row++)
        row_enter(thread, row, writes);
}

static void taken_undo(struct thread *thread, unsigned to)
{
    while (thread->taken_count > to) {
        struct taken *taken = &thread->taken[--thread->taken_count];
        for (unsigned row = taken->first; row < taken->first + taken->count; row++)
            row_leave(thread, row, taken->writes);
    }
}

static void release(struct thread *thread)
{
    taken_undo(thread, 0);
    lock_release_all(thread->owner);
}

/* Waiting, in one of three ways. Each returns 0, ERROR_DEADLOCK or ERROR_LOCK_TIMEOUT. */

static void wake(void *arg)
{
    struct thread *thread = arg;
    pthread_mutex_lock(&thread->mutex);
    thread->woken = true;
    pthread_cond_signal(&thread->condition);
    pthread_mutex_unlock(&thread->mutex);
}

static int state_result(enum lock_wait state)
{
    if (state == LOCK_WAIT_QUEUED)
        return ERROR_LOCK_TIMEOUT;
    return state == LOCK_WAIT_VICTIM ? ERROR_DEADLOCK : 0;
}

static int wait_parked(struct thread *thread)
{
    pthread_mutex_lock(&thread->mutex);
    while (!thread->woken)
        pthread_cond_wait(&thread->condition, &thread->mutex);
    pthread_mutex_unlock(&thread->mutex);
    enum lock_wait state = lock_wait_state(thread->owner);
    check(thread, state == LOCK_WAIT_GRANTED || state == LOCK_WAIT_VICTIM,
          "woken although the wait has not ended");
    return state_result(state);
}

static int wait_a_little(struct thread *thread)
{
    for (unsigned turns = below(thread, 200); turns > 0; turns--)
        if (lock_wait_state(thread->owner) != LOCK_WAIT_QUEUED)
            break;
    return state_result(lock_wait_cancel(thread->owner, true));
}

static int wait_any(struct thread *thread)
{
    switch (below(thread, 4)) {
    case 0:
        return lock_wait_block(thread->owner, UINT64_MAX);
    case 1:
        return lock_wait_block(thread->owner, below(thread, 500000));
    case 2:
        return wait_a_little(thread);
    default:
        return wait_parked(thread);
    }
}

static int acquire(struct thread *thread, const struct lock_name *name, enum lock_mode mode)
{
    for (;;) {
        thread->woken = false; /* nobody waits, so nobody wakes */
        int rc = lock_acquire(thread->owner, name, mode);
        if (rc == ERROR_WAIT)
            rc = wait_any(thread);
        else if (rc == 0)
            return 0;
        thread->deadlocks += rc == ERROR_DEADLOCK;
        thread->timeouts += rc == ERROR_LOCK_TIMEOUT;
        check(thread, rc == 0 || rc == ERROR_DEADLOCK || rc == ERROR_LOCK_TIMEOUT,
              "an unexpected code");
        if (rc != 0)
            return rc;
        if (name->kind == LOCK_OWNER)
            return 0;
    }
}

/* Transactions. */

static int take_row(struct thread *thread)
{
    unsigned row = below(thread, ROWS);
    bool writes = below(thread, 3) == 0;
    enum lock_mode mode = writes ? LOCK_EXCLUSIVE : LOCK_SHARED;
    struct lock_name name = lock_fixture_row(row / SPACE_ROWS, row);
    int rc = acquire(thread, &name, mode);
    if (rc != 0)
        return rc;
    check(thread, lock_held(thread->owner, &name, mode), "granted and not held");
    taken_add(thread, row, 1, writes);
    return 0;
}

static int take_space(struct thread *thread)
{
    unsigned space = below(thread, SPACES);
    enum lock_mode mode = (enum lock_mode)(1 + below(thread, LOCK_EXCLUSIVE));
    struct lock_name name = lock_fixture_space(space);
    int rc = acquire(thread, &name, mode);
    if (rc == 0 && mode >= LOCK_SHARED)
        taken_add(thread, space * SPACE_ROWS, SPACE_ROWS, mode == LOCK_EXCLUSIVE);
    return rc;
}

static int take_owner(struct thread *thread)
{
    unsigned other = below(thread, THREADS);
    struct lock_name name = lock_name_owner(load_relaxed(&shared.owner_ids[other]));
    if (name.space == lock_owner_id(thread->owner))
        return lock_acquire(thread->owner, &name, LOCK_EXCLUSIVE);
    return acquire(thread, &name, LOCK_SHARED);
}

static int take_any(struct thread *thread)
{
    unsigned choice = below(thread, 20);
    if (choice == 0)
        return take_space(thread);
    return choice <= 2 ? take_owner(thread) : take_row(thread);
}

/* Some statements; one that fails is undone to the savepoint before it, or ends the transaction. */
static void transaction(struct thread *thread)
{
    unsigned statements = 1 + below(thread, 12);
    for (unsigned i = 0; i < statements && thread->taken_count < LOCKS_MAX; i++) {
        unsigned taken = thread->taken_count;
        size_t mark = lock_mark(thread->owner);
        int rc = take_any(thread);
        if (rc == ERROR_DEADLOCK || (rc != 0 && below(thread, 2) == 0))
            break;
        if (rc != 0 || below(thread, 8) == 0) {
            taken_undo(thread, taken);
            lock_release_to(thread->owner, mark);
        }
    }
    release(thread);
    check(thread, lock_owner_idle(thread->owner), "not idle after having released everything");
    thread->transactions++;
}

static void owner_renew(struct thread *thread)
{
    lock_owner_delete(thread->owner);
    int rc = lock_owner_new(shared.table, &thread->owner);
    check(thread, rc == 0, "no owner");
    lock_owner_wake_set(thread->owner, wake, thread);
    lock_owner_session_set(thread->owner, thread->number);
    store_relaxed(&shared.owner_ids[thread->number], lock_owner_id(thread->owner));
}

static void *thread_main(void *arg)
{
    struct thread *thread = arg;
    do {
        if (below(thread, 10) == 0)
            owner_renew(thread);
        transaction(thread);
    } while (!load_relaxed(&shared.stop));
    lock_owner_delete(thread->owner);
    return NULL;
}

/* The observer. */

struct picture {
    unsigned count;
    struct {
        uint64_t owner_id, space;
        uint32_t row;
        enum lock_kind kind;
        enum lock_mode mode;
    } held[VIEWS_MAX];
    bool print;
};

static int picture_add(const struct lock_view *view, void *arg)
{
    struct picture *picture = arg;
    if (picture->print)
        fprintf(stderr, "owner %llu %s %s of %s %llu, %zu in its way, first %llu\n",
                (unsigned long long)view->owner_id, view->waiting ? "waits for" : "holds",
                lock_mode_name(view->mode), lock_kind_name(view->name.kind),
                (unsigned long long)view->name.space, view->blocker_count,
                (unsigned long long)view->blockers[0]);
    if (view->waiting || picture->count == VIEWS_MAX)
        return view->waiting && view->blocker_count == 0 ? 1 : 0;
    unsigned i = picture->count++;
    picture->held[i].owner_id = view->owner_id;
    picture->held[i].space = view->name.space;
    picture->held[i].kind = view->name.kind;
    picture->held[i].mode = view->mode;
    picture->held[i].row = 0;
    if (view->name.kind == LOCK_ROW)
        memcpy(&picture->held[i].row, view->name.key, sizeof(uint32_t));
    return 0;
}

static bool picture_is_right(const struct picture *picture)
{
    for (unsigned i = 0; i < picture->count; i++)
        for (unsigned j = 0; j < i; j++)
            if (picture->held[i].kind == picture->held[j].kind &&
                picture->held[i].space == picture->held[j].space &&
                picture->held[i].row == picture->held[j].row &&
                (picture->held[i].owner_id == picture->held[j].owner_id ||
                 !lock_mode_compatible(picture->held[i].mode, picture->held[j].mode)))
                return false;
    return true;
}

static uint64_t observe(uint64_t seconds)
{
    static struct picture picture;
    struct clock *clock = clock_system();
    uint64_t end_ns = clock_monotonic_ns(clock) + seconds * 1000000000u, wrong = 0, looks = 0;
    struct lock_stats stats;
    while (looks == 0 || clock_monotonic_ns(clock) < end_ns) {
        picture.count = 0;
        wrong += lock_table_each(shared.table, picture_add, &picture) != 0;
        wrong += !picture_is_right(&picture);
        lock_stats_get(shared.table, &stats); /* for its races: shards are read one by one */
        looks++;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return wrong;
}

static void thread_begin(struct thread *thread, unsigned number)
{
    memset(thread, 0, sizeof(*thread));
    thread->number = number;
    random_create(&thread->random, test_seed() + number);
    pthread_mutex_init(&thread->mutex, NULL);
    pthread_cond_init(&thread->condition, NULL);
    owner_renew(thread);
}

/* Joins, or says who waits for whom. */
static void thread_end(struct thread *thread)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += HANG_SECONDS;
    if (pthread_timedjoin_np(thread->id, NULL, &limit) != 0) {
        struct picture picture = {.print = true};
        lock_table_each(shared.table, picture_add, &picture);
        fprintf(stderr, "thread %u hangs\n", thread->number);
        abort();
    }
    pthread_mutex_destroy(&thread->mutex);
    pthread_cond_destroy(&thread->condition);
}

static uint64_t stress_seconds(void)
{
    const char *text = getenv("PERIGEE_STRESS_SECONDS");
    return text == NULL ? 4 : strtoull(text, NULL, 10);
}

static void locks_exclude_and_every_wait_ends(void **state)
{
    (void)state;
    static struct thread threads[THREADS];
    struct lock_table_options options = {.escalation_rows = 4};
    assert_int_equal(lock_table_new(&options, &shared.table), 0);
    for (unsigned i = 0; i < THREADS; i++)
        thread_begin(&threads[i], i);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i].id, NULL, thread_main, &threads[i]), 0);
    uint64_t wrong = observe(stress_seconds()), transactions = 0, deadlocks = 0, timeouts = 0;
    store_relaxed(&shared.stop, true);
    for (unsigned i = 0; i < THREADS; i++) {
        thread_end(&threads[i]);
        wrong += threads[i].failures;
        transactions += threads[i].transactions;
        deadlocks += threads[i].deadlocks;
        timeouts += threads[i].timeouts;
    }
    struct lock_stats stats;
    lock_stats_get(shared.table, &stats);
    printf("%llu transactions, %llu waits, %llu deadlocks, %llu timeouts, %llu escalations\n",
           (unsigned long long)transactions, (unsigned long long)stats.waits,
           (unsigned long long)stats.deadlocks, (unsigned long long)stats.timeouts,
           (unsigned long long)stats.escalations);
    assert_int_equal(wrong, 0);
    assert_int_equal(stats.held + stats.waiting + stats.owners, 0);
    assert_int_equal(stats.deadlocks, deadlocks);
    assert_int_equal(stats.timeouts, timeouts);
    lock_table_delete(shared.table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(locks_exclude_and_every_wait_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
