/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See session_wait.h.
 *
 * The owner of an interactive transaction may be made to give up everything by whoever rolls that
 * transaction back, and then nobody is woken. So those waits are looked at every LOOK_AGAIN_MS.
 */
#include "session/session_internal.h"

#include <inttypes.h>

#include "txn/lock.h"

enum { LOOK_AGAIN_MS = 100 };

void session__wait_create(struct session_wait *wait, struct session *session)
{
    *wait = (struct session_wait){.session = session};
    list_create(&wait->link);
    list_create(&wait->woken);
}

uint64_t session__lock_timeout_ms(const struct session *session)
{
    return session->lock_timeout_given ? session->lock_timeout_ms
                                       : session->service->limits.lock_timeout_ms;
}

/* The owner of a first run belonged to the run, and nobody is woken for it. It leaves the queue,
 * so that it can be given a wake function, and takes its place again in a second run. */
static void owner_take(struct session_wait *wait, struct lock_owner *owner)
{
    lock_wait_cancel(owner, false);
    lock_owner_wake_set(owner, session__wait_wake, wait);
    lock_owner_session_set(owner, wait->session->about.id);
    wait->owner = owner;
    wait->owned = true;
}

/* When a wait that is QUEUED has to be looked at; now: it is over. */
static uint64_t next_look(const struct session_wait *wait, uint64_t now_ns)
{
    uint64_t again_ns = now_ns + LOOK_AGAIN_MS * 1000000ul;
    if (wait->owned || !wait->owner || wait->deadline_ns <= now_ns)
        return wait
            ->deadline_ns; /* one without an owner waits for a checkpoint or a key, or sleeps */
    if (lock_wait_state(wait->owner) != LOCK_WAIT_QUEUED)
        return now_ns;
    return again_ns < wait->deadline_ns ? again_ns : wait->deadline_ns;
}

int session__wait_begin(struct session_wait *wait, struct lock_owner *owner)
{
    struct session *session = wait->session;
    struct session_worker *worker = session->worker;
    if (!wait->owner) {
        if (!owner)
            return diag_set(ERROR_MEMORY, "out of memory");
        owner_take(wait, owner);
        return 0;
    }
    ASSERT(!owner || owner == wait->owner);
    uint64_t timeout_ms = session__lock_timeout_ms(session);
    uint64_t now_ns = clock_monotonic_ns(session->service->options.clock);
    if (!wait->deadline_ns)
        wait->deadline_ns = timeout_ms ? now_ns + timeout_ms * 1000000 : UINT64_MAX;
    if (session->hurried || wait->cancelled) {
        lock_wait_cancel(wait->owner, false);
        return diag_set(ERROR_CANCELLED, "cancelled while waiting for a lock: %s",
                        wait->cancelled ? "by the client" : "the connection is being closed");
    }
    if (session->unblock == SESSION_UNBLOCK_ERROR) {
        lock_wait_cancel(wait->owner, false);
        return diag_set(ERROR_UNBLOCKED, "client unblocked via CLIENT UNBLOCK");
    }
    if (now_ns >= wait->deadline_ns || session->unblock) {
        lock_wait_cancel(wait->owner, true);
        return diag_set(ERROR_LOCK_TIMEOUT,
                        "lock timeout: waited for others for %" PRIu64 " ms (lock_timeout)",
                        timeout_ms);
    }
    wait->state = SESSION_WAIT_QUEUED;
    list_remove(&wait->link);
    list_add_tail(&worker->waits, &wait->link);
    session__due_at(worker, next_look(wait, now_ns));
    if (lock_wait_state(wait->owner) != LOCK_WAIT_QUEUED)
        session__wait_ready(wait);
    return ERROR_WAIT;
}

static void fiber_ended(void *arg)
{
    session__wait_ready(arg);
}

/* What it does between two sleeps can be ended as what runs without one. */
static void fiber_turn(void *arg, bool begins)
{
    struct session_wait *wait = arg;
    struct session *session = wait->session;
    if (begins)
        wait->watched = wait->named && session__running_enter(session, true, wait->rpc_id);
    else if (wait->watched)
        wait->stopped = session__running_leave(session);
}

int session__wait_sleep(struct session_wait *wait, struct lua_fiber *fiber)
{
    struct session *session = wait->session;
    if (session->hurried || session->unblock || wait->cancelled) {
        wait->fiber = NULL;
        lua_fiber_abandon(fiber);
        if (session->unblock)
            return diag_set(ERROR_UNBLOCKED, "client unblocked via CLIENT UNBLOCK");
        return diag_set(ERROR_CANCELLED, "cancelled while it was sleeping: %s",
                        wait->cancelled ? "by the client" : "the connection is being closed");
    }
    wait->fiber = fiber;
    lua_fiber_wake_set(fiber, fiber_ended, wait);
    lua_fiber_turn_set(fiber, fiber_turn);
    wait->deadline_ns = UINT64_MAX;
    wait->state = SESSION_WAIT_QUEUED;
    list_remove(&wait->link);
    list_add_tail(&session->worker->waits, &wait->link);
    return ERROR_WAIT;
}

void session__wait_end(struct session_wait *wait)
{
    struct session_worker *worker = wait->session->worker;
    if (wait->fiber)
        lua_fiber_abandon(wait->fiber);
    wait->fiber = NULL;
    wait->cancelled = false;
    if (!wait->owner && !wait->block && wait->state == SESSION_WAIT_NONE)
        return;
    session__block_end(wait);
    if (wait->owned) {
        lock_owner_delete(wait->owner); /* from here on nobody wakes it */
        wait->owner = NULL;
        wait->owned = false;
    }
    pthread_mutex_lock(&worker->wake_mutex);
    list_remove(&wait->woken);
    pthread_mutex_unlock(&worker->wake_mutex);
    wait->deadline_ns = wait->room_since_ns = wait->slowed_since_ns = 0;
    wait->state = SESSION_WAIT_NONE;
    list_remove(&wait->link);
}

/* Where it is put is where it stays while the mutex is held: the session may be moving to another. */
static struct session_worker *woken_lock(struct session *session)
{
    for (;;) {
        struct session_worker *worker = load_acquire(&session->woken_at);
        pthread_mutex_lock(&worker->wake_mutex);
        if (worker == load_relaxed(&session->woken_at))
            return worker;
        pthread_mutex_unlock(&worker->wake_mutex);
    }
}

void session__wait_wake(void *arg)
{
    struct session_wait *wait = arg;
    struct session_worker *worker = woken_lock(wait->session);
    if (list_empty(&wait->woken))
        list_add_tail(&worker->woken, &wait->woken);
    bool first = !atomic_exchange_explicit(&worker->stirred, true, memory_order_acq_rel);
    pthread_mutex_unlock(&worker->wake_mutex);
    if (first)
        session__worker_wake(worker);
}

void session__wait_ready(struct session_wait *wait)
{
    const struct session *session = wait->session;
    if (wait->state != SESSION_WAIT_QUEUED)
        return;
    if (wait->fiber && (wait->cancelled || session->hurried || session->unblock))
        lua_fiber_cancel(wait->fiber); /* it may have its turn before the request has */
    wait->state = SESSION_WAIT_READY;
    list_remove(&wait->link);
    session__ready(wait->session);
}

void session__wait_postpone(struct session_wait *wait)
{
    if (wait->state == SESSION_WAIT_READY && wait->owned)
        lock_release_all(wait->owner);
}

void session__waits_take(struct session_worker *worker)
{
    struct list *link;
    do {
        pthread_mutex_lock(&worker->wake_mutex);
        link = list_first(&worker->woken);
        if (link)
            list_remove(link);
        pthread_mutex_unlock(&worker->wake_mutex);
        if (link)
            session__wait_ready(list_entry(link, struct session_wait, woken));
    } while (link);
}

uint64_t session__waits_expire(struct session_worker *worker, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;
    list_for_each_safe (link, &worker->waits) {
        struct session_wait *wait = list_entry(link, struct session_wait, link);
        uint64_t at_ns = next_look(wait, now_ns);
        if (at_ns <= now_ns)
            session__wait_ready(wait);
        else if (at_ns < next)
            next = at_ns;
    }
    return next;
}
