/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock manager: how a lock is asked for, waited for, and how rows become a space.
 *
 * The problem: transactions that lock what they read until they end, many at a time, on threads
 * that must never sleep for it. The method is the classic one (Gray and Reuter, "Transaction
 * Processing", 1992, chapter 8): a table of named locks, each with those who hold it and a queue,
 * intention modes so that a lock on a space and locks on its rows know of each other. What is
 * particular: an owner is not a thread, and its wait is a state that others change, not a sleep.
 *
 * Files, in reading order:
 *     lock_private.h    the parts, and which thread may touch what
 *     lock_queue.c      modes, grants, the queue of one lock
 *     lock.c            asking, waiting, escalation
 *     lock_owner.c      an owner's own books; savepoints; the end
 *     lock_deadlock.c   who waits for whom, in a circle
 *     lock_table.c      shards, memory, hashing, views, counters
 *
 * The states of an owner:
 *
 *                    must wait                granted by whoever gives way
 *          NONE  ----------------->  QUEUED  -------------------------->  GRANTED
 *           ^ ^                      |    |                                  |
 *           | +-- cancelled, --------+    +--- youngest of a cycle --> VICTIM|
 *           |     by itself                                              |   |
 *           +------- lock_release_all -----------------------------------+   |
 *           +------- its next call, which takes over what was granted -------+
 *
 * Only the owner leaves NONE, GRANTED and VICTIM; QUEUED is left by whoever holds the mutex of the
 * shard in which it waits. So a timeout, a grant and being chosen as a victim can't cross: the
 * first under the mutex decides. The wake function is called under the same mutex, and the owner's
 * next call takes it, too; hence an owner may be deleted as soon as its wait has ended.
 *
 * What always holds, under the mutexes:
 * - Two owners that hold a lock hold compatible modes.
 * - A request that waits conflicts with a holder, or with a request in front of it.
 * - No owner waits for itself along the edges of lock_deadlock.c.
 * - Who holds a row holds an intention on its space; whoever gives back the space has given back
 *   its rows before. (Rows precede no space in the history of their owner.)
 *
 * Order of mutexes: one shard at a time; for the search all of them, in order of their number. No
 * thread holds one when it calls lock__owner_settle, lock_wait_cancel or lock_release_all.
 */
#include "txn/lock.h"

#include <errno.h>
#include <time.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "txn/lock_private.h"

static int deadlock_error(const struct lock_owner *owner)
{
    return diag_set(ERROR_DEADLOCK, "deadlock: %s", owner->deadlock);
}

/* After the wait that has just begun: looks for a cycle, and for what came of it. If the owner
 * still waits it is woken from now on. */
static int wait_begin(struct lock_owner *owner)
{
    lock__all_enter(owner->table);
    lock__deadlock_resolve(owner);
    owner->acquiring = false;
    bool queued = load_relaxed(&owner->state) == LOCK_WAIT_QUEUED;
    lock__all_leave(owner->table);
    if (queued)
        return ERROR_WAIT;
    if (lock__owner_settle(owner) == LOCK_WAIT_GRANTED)
        return 0;
    store_relaxed(&owner->state, (int)LOCK_WAIT_NONE);
    lock__owner_busy_set(owner);
    return deadlock_error(owner);
}

struct request {
    const struct lock_name *name;
    uint64_t hash;
    struct lock_hold *hold;  /* what the owner has of it already, or NULL */
    struct lock_hold *space; /* of a row */
    enum lock_mode mode;     /* with what it has already */
};

/* Makes the hold of one that has nothing yet; NULL when memory is out. */
static struct lock_hold *request_hold_new(struct lock_owner *owner, struct lock *lock,
                                          const struct request *request)
{
    struct lock_hold *hold = lock__hold_new(owner, lock);
    if (hold != NULL)
        hold->space = request->space;
    return hold;
}

/* Under the mutex: grants or queues. 0, ERROR_WAIT or ERROR_MEMORY. *out is the hold, NULL when
 * there is nothing to hold; *search: others wait as well, so there may be a cycle. */
static int request_enter(struct lock_owner *owner, const struct request *request,
                         struct lock_hold **out, bool *search)
{
    struct lock_table *table = owner->table;
    struct lock_shard *shard = lock__shard(table, request->hash);
    struct lock_hold *hold = request->hold;
    bool others_owner = request->name->kind == LOCK_OWNER && request->mode == LOCK_SHARED;
    *out = NULL;
    if (others_owner && lock__find(shard, request->name, request->hash) == NULL)
        return 0;
    struct lock *lock = hold != NULL ? hold->lock : lock__get(shard, request->name, request->hash);
    if (lock == NULL)
        return ERROR_MEMORY;
    bool grantable = lock__grantable(lock, hold, request->mode);
    ASSERT(!grantable || !others_owner); /* an owner's name is there as long as it holds it */
    if (hold == NULL && (hold = request_hold_new(owner, lock, request)) == NULL) {
        lock__put(table, lock);
        return ERROR_MEMORY;
    }
    *out = hold;
    if (grantable) {
        lock__granted_set(table, hold, request->mode);
        return 0;
    }
    lock__enqueue(table, hold, request->mode);
    *search = lock__blocked_by_waiting(hold);
    owner->acquiring = *search;
    return ERROR_WAIT;
}

static int request_run(struct lock_owner *owner, const struct request *request)
{
    struct lock_shard *shard = lock__shard(owner->table, request->hash);
    struct lock_hold *hold;
    bool search = false;
    if (lock__owner_reserve(owner) != 0)
        return ERROR_MEMORY;
    lock__shard_enter(shard);
    int rc = request_enter(owner, request, &hold, &search);
    lock__shard_leave(shard);
    if (rc == ERROR_MEMORY)
        return rc;
    if (rc == 0 && hold != NULL)
        lock__owner_took(owner, hold);
    if (rc == 0)
        return 0;
    lock__owner_busy_set(owner);
    return search ? wait_begin(owner) : ERROR_WAIT;
}

/* Whether this is what the owner is queued for. */
static bool waits_for(struct lock_owner *owner, const struct request *request)
{
    struct lock_shard *shard = lock__shard(owner->table, owner->wait_hash);
    lock__shard_enter(shard);
    bool same = load_relaxed(&owner->state) == LOCK_WAIT_QUEUED &&
                owner->wait_hash == request->hash &&
                lock__name_is(owner->wait_hold->lock, request->name) &&
                lock_mode_covers(owner->wait_hold->wanted, request->mode);
    lock__shard_leave(shard);
    return same;
}

/* Asks for what is not held, or not as strongly. */
static int request_make(struct lock_owner *owner, const struct request *request,
                        enum lock_mode mode)
{
    if (load_relaxed(&owner->state) == LOCK_WAIT_NONE)
        return request_run(owner, request);
    if (waits_for(owner, request))
        return ERROR_WAIT;
    /* It wants something else now. What was granted in this moment changes what it has. */
    lock_wait_cancel(owner, false);
    return lock_acquire(owner, request->name, mode);
}

static int space_acquire(struct lock_owner *owner, const struct lock_name *name,
                         enum lock_mode mode, struct lock_hold **out)
{
    uint64_t hash = lock__name_hash(owner->table, name);
    struct lock_hold *hold = lock__owner_find(owner, name, hash);
    *out = hold;
    if (hold != NULL && lock_mode_covers(hold->mode, mode))
        return 0;
    struct request request = {.name = name, .hash = hash, .hold = hold, .mode = mode};
    if (hold != NULL)
        request.mode = lock_mode_join(hold->mode, mode);
    int rc = request_make(owner, &request, mode);
    if (rc == 0)
        *out = lock__owner_find(owner, name, hash);
    return rc;
}

/* Tries to have the whole space instead of rows, without waiting. */
static bool escalate(struct lock_owner *owner, struct lock_hold *space, enum lock_mode mode)
{
    struct lock_shard *shard = lock__shard(owner->table, space->hash);
    enum lock_mode before = space->mode, all = LOCK_SHARED;
    if (mode == LOCK_EXCLUSIVE || space->rows_exclusive > 0)
        all = LOCK_EXCLUSIVE;
    all = lock_mode_join(before, all);
    if (lock__owner_reserve(owner) != 0)
        return false;
    lock__shard_enter(shard);
    bool granted = lock__grantable(space->lock, space, all);
    if (granted) {
        lock__granted_set(owner->table, space, all);
        shard->escalations++;
    }
    lock__shard_leave(shard);
    if (!granted) {
        space->escalate_at = space->rows + owner->table->escalation_rows;
        return false;
    }
    space->mode = (unsigned char)all;
    lock__owner_fold(owner, space, before);
    return true;
}

static int row_acquire(struct lock_owner *owner, const struct lock_name *name, enum lock_mode mode)
{
    struct lock_name space_name = {.kind = LOCK_SPACE, .space = name->space};
    enum lock_mode intention = mode == LOCK_SHARED ? LOCK_INTENT_SHARED : LOCK_INTENT_EXCLUSIVE;
    struct lock_hold *space;
    int rc = space_acquire(owner, &space_name, intention, &space);
    if (rc != 0)
        return rc;
    if (lock_mode_covers(space->mode, mode))
        return 0;
    uint64_t hash = lock__name_hash(owner->table, name);
    struct lock_hold *hold = lock__owner_find(owner, name, hash);
    if (hold != NULL && lock_mode_covers(hold->mode, mode))
        return 0;
    if (hold == NULL && space->rows >= space->escalate_at &&
        load_relaxed(&owner->state) == LOCK_WAIT_NONE && escalate(owner, space, mode))
        return 0;
    struct request request = {
        .name = name, .hash = hash, .hold = hold, .space = space, .mode = mode};
    return request_make(owner, &request, mode);
}

static void request_check(const struct lock_owner *owner, const struct lock_name *name,
                          enum lock_mode mode)
{
    ASSERT(mode > LOCK_NONE && mode <= LOCK_EXCLUSIVE);
    if (name->kind == LOCK_ROW)
        ASSERT((mode == LOCK_SHARED || mode == LOCK_EXCLUSIVE) && name->key_size <= UINT32_MAX);
    else if (name->kind == LOCK_OWNER)
        ASSERT(mode == (name->space == owner->id ? LOCK_EXCLUSIVE : LOCK_SHARED));
    else
        ASSERT(name->kind == LOCK_SPACE);
}

int lock_acquire(struct lock_owner *owner, const struct lock_name *name, enum lock_mode mode)
{
    struct lock_hold *hold;
    request_check(owner, name, mode);
    if (lock__owner_settle(owner) == LOCK_WAIT_VICTIM)
        return deadlock_error(owner);
    if (name->kind == LOCK_ROW)
        return row_acquire(owner, name, mode);
    return space_acquire(owner, name, mode, &hold);
}

/* Waiting. */

enum lock_wait lock_wait_state(const struct lock_owner *owner)
{
    return (enum lock_wait)load_acquire(&owner->state);
}

enum lock_wait lock_wait_cancel(struct lock_owner *owner, bool timeout)
{
    if (load_relaxed(&owner->state) == LOCK_WAIT_NONE)
        return LOCK_WAIT_NONE;
    struct lock_shard *shard = lock__shard(owner->table, owner->wait_hash);
    lock__shard_enter(shard);
    bool queued = load_relaxed(&owner->state) == LOCK_WAIT_QUEUED;
    if (queued) {
        lock__wait_end(owner, LOCK_WAIT_NONE);
        shard->timeouts += timeout;
    }
    lock__shard_leave(shard);
    if (!queued)
        return lock__owner_settle(owner);
    lock__owner_busy_set(owner);
    return LOCK_WAIT_QUEUED;
}

/* The time `after_ns` from now, on the clock of the condition. */
static struct timespec deadline_after(uint64_t after_ns)
{
    struct timespec time;
    uint64_t seconds = after_ns / 1000000000u;
    if (seconds > INT32_MAX) /* some 68 years */
        seconds = INT32_MAX;
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += (time_t)seconds;
    time.tv_nsec += (long)(after_ns % 1000000000u);
    if (time.tv_nsec >= 1000000000) {
        time.tv_sec++;
        time.tv_nsec -= 1000000000;
    }
    return time;
}

int lock_wait_block(struct lock_owner *owner, uint64_t timeout_ns)
{
    struct lock_shard *shard = lock__shard(owner->table, owner->wait_hash);
    struct timespec deadline = deadline_after(timeout_ns);
    int rc = 0;
    lock__shard_enter(shard);
    owner->blocked = true;
    while (rc == 0 && load_relaxed(&owner->state) == LOCK_WAIT_QUEUED)
        rc = pthread_cond_timedwait(&owner->ended, &shard->mutex, &deadline);
    owner->blocked = false;
    lock__shard_leave(shard);
    ASSERT(rc == 0 || rc == ETIMEDOUT);
    switch (lock_wait_cancel(owner, true)) {
    case LOCK_WAIT_QUEUED:
        return ERROR_LOCK_TIMEOUT;
    case LOCK_WAIT_VICTIM:
        return deadlock_error(owner);
    default:
        return 0;
    }
}
