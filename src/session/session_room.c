/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests that need memory when it is short.
 *
 * While maxmemory-policy makes room they wait for that.
 * What was evicted is free only when the log has it and nobody reads it any more, and what is left of
 * its rows after a checkpoint. Until then the request waits as one that waits for a lock does, holds
 * nothing, and looks again every few milliseconds: each look evicts and collects as well. It is over
 * after lock_timeout, and then maxmemory decides, as it does at once when nothing can go.
 *
 * So that this is rare, they are slowed a little while a checkpoint runs, which keeps what was evicted (db/throttle.h).
 *
 * Without a policy writers are slowed before memory is used up, as long as somebody is at work to free some
 * (mem/budget.h), to what checkpoints free, and when compaction is far behind (db/throttle.h): each request that may
 * write waits once, for some milliseconds at most, before it begins. When memory is nearly used up and rows are about to
 * leave the head for their bodies, it waits for that, up to lock_timeout.
 */
#include "db/memory.h"
#include "session/session_internal.h"

enum { LOOK_AGAIN_MS = 2 };

static void park(struct session_wait *wait, uint64_t until_ns)
{
    struct session_worker *worker = wait->session->worker;
    wait->deadline_ns = until_ns;
    wait->state = SESSION_WAIT_QUEUED;
    list_remove(&wait->link);
    list_add_tail(&worker->waits, &wait->link);
    session__due_at(worker, until_ns);
}

/* Since when it waits, or 0. */
static bool waited_enough(struct session *session, uint64_t since_ns, uint64_t now_ns)
{
    uint64_t timeout_ns = session__lock_timeout_ms(session) * UINT64_C(1000000);
    return since_ns && timeout_ns && now_ns - since_ns >= timeout_ns;
}

bool session__slow(struct session *session, struct session_wait *wait)
{
    struct service *service = session->service;
    struct db *db = service->options.db;
    uint64_t now_ns = clock_monotonic_ns(service->options.clock), delay_ns = 0;
    bool held = wait->owner || wait->block || wait->fiber || wait->room_since_ns;
    bool evicts = load_relaxed(&service->config.maxmemory_policy) != REDIS_POLICY_NOEVICTION;
    bool asks = !held && !session->stream.txn && !session->hurried && !session->unblock;
    if (asks && !evicts && !waited_enough(session, wait->slowed_since_ns, now_ns) &&
        db_memory_frees(db))
        delay_ns = LOOK_AGAIN_MS * UINT64_C(1000000);
    else if (asks && !wait->slowed_since_ns)
        delay_ns = evicts ? db_memory_pace_ns(db) : db_memory_slow_ns(db);
    if (delay_ns == 0) {
        if (wait->slowed_since_ns && !held)
            wait->deadline_ns = 0; /* what it waits for from now on has its own */
        return false;
    }
    if (!wait->slowed_since_ns)
        wait->slowed_since_ns = now_ns;
    park(wait, now_ns + delay_ns);
    return true;
}

/* False when it has waited long enough, or must not. */
static bool wait_again(struct session *session)
{
    struct session_wait *wait = &session->wait;
    uint64_t now_ns = clock_monotonic_ns(session->service->options.clock);
    if (!wait->room_since_ns)
        wait->room_since_ns = now_ns;
    if (session->hurried || session->unblock || waited_enough(session, wait->room_since_ns, now_ns))
        return false;
    park(wait, now_ns + LOOK_AGAIN_MS * UINT64_C(1000000));
    return true;
}

int session__room(struct session *session, bool *granted)
{
    struct session_wait *wait = &session->wait;
    bool held = wait->owner || wait->block || wait->fiber || session->stream.txn;
    if (session__slow(session, wait))
        return ERROR_WAIT;
    enum redis_room room = redis_housekeeping_room(&session->service->keeping, session->worker->db);
    if (room == REDIS_ROOM_LATER && !held && wait_again(session))
        return ERROR_WAIT;
    if (wait->room_since_ns && !held)
        wait->deadline_ns = 0; /* what it waits for from now on has its own */
    *granted = room == REDIS_ROOM_GRANTED;
    return 0;
}
