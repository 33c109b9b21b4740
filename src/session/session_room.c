/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests that need memory while maxmemory-policy makes room.
 *
 * What was evicted is free only when the log has it and nobody reads it any more, and what is left of
 * its rows after a checkpoint. Until then the request waits as one that waits for a lock does, holds
 * nothing, and looks again every few milliseconds: each look evicts and collects as well. It is over
 * after lock_timeout, and then maxmemory decides, as it does at once when nothing can go.
 */
#include "session/session_internal.h"

enum { LOOK_AGAIN_MS = 2 };

/* False when it has waited long enough, or must not. */
static bool wait_again(struct session *session)
{
    struct session_wait *wait = &session->wait;
    struct session_worker *worker = session->worker;
    uint64_t now_ns = clock_monotonic_ns(session->service->options.clock);
    uint64_t timeout_ns = session__lock_timeout_ms(session) * UINT64_C(1000000);
    if (!wait->room_since_ns)
        wait->room_since_ns = now_ns;
    if (session->hurried || session->unblock ||
        (timeout_ns && now_ns - wait->room_since_ns >= timeout_ns))
        return false;
    wait->deadline_ns = now_ns + LOOK_AGAIN_MS * UINT64_C(1000000);
    wait->state = SESSION_WAIT_QUEUED;
    list_remove(&wait->link);
    list_add_tail(&worker->waits, &wait->link);
    session__due_at(worker, wait->deadline_ns);
    return true;
}

int session__room(struct session *session, bool *granted)
{
    struct session_wait *wait = &session->wait;
    bool held = wait->owner || wait->block || wait->fiber || session->stream.txn;
    enum redis_room room = redis_housekeeping_room(&session->service->keeping, session->worker->db);
    if (room == REDIS_ROOM_LATER && !held && wait_again(session))
        return ERROR_WAIT;
    if (wait->room_since_ns && !held)
        wait->deadline_ns = 0; /* what it waits for from now on has its own */
    *granted = room == REDIS_ROOM_GRANTED;
    return 0;
}
