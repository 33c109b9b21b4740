/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_WAIT_H
#define SESSION_SESSION_WAIT_H

/*
 * A request that waits, while its thread does something else.
 *
 *              session__wait_begin               woken, timed out, or nobody may wait any more
 *     NONE ──────────────────────────► QUEUED ────────────────────────────────────────► READY
 *      ▲                                  ▲                                               │
 *      │ session__wait_end                └──────────────── it has to wait again ─────────┤
 *      └──────────────────────────────────────── it has been run again, to its end ◄──────┘
 *
 * A request is always run again from its start: what it waits for may be something else then. So
 * who wakes it need not say why, and a wake too many does no harm. When its time is over it is run
 * once more, too, and gets the error at the place where it would wait again.
 *
 * What is waited for is known by a lock owner, or is keys (session_block.h). Whoever runs a request
 * sets its owner's wake function to session__wait_wake with the wait as its argument.
 *
 * A request of Lua that sleeps is not run again: its fiber goes on by itself, and the run that
 * follows its end fetches the result.
 *
 * Threads: all of it belongs to the session's worker, but for session__wait_wake, which any thread
 * calls: it puts the wait into the worker's list `woken`, under the mutex of that, and asks the
 * worker's loop to look (service_options.wake). session__wait_end takes it out again.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct session;
struct session_worker;
struct lock_owner;
struct lua_fiber;
struct session_block;

enum session_wait_state {
    SESSION_WAIT_NONE,
    SESSION_WAIT_QUEUED, /* in its worker's list `waits` */
    SESSION_WAIT_READY   /* to be run again */
};

struct session_wait {
    struct list link;  /* in worker->waits */
    struct list woken; /* in worker->woken */
    struct session *session;
    enum session_wait_state state;
    struct lock_owner *owner; /* whose locks are kept while it waits; NULL at first */
    bool owned;               /* the owner goes with the request */
    bool cancelled;           /* the client wants it to end where it waits */
    struct lua_fiber *fiber;  /* in which the request sleeps, or NULL */
    /* Of a request that sleeps, while it does not: session_running.h. `stopped`: it was ended in its last turn. */
    uint64_t rpc_id;
    bool named, watched, stopped;
    struct session_block *block; /* the keys that it waits for, or NULL: session_block.h */
    uint64_t deadline_ns;        /* of all its waiting together; 0 until the first */
    uint64_t
        slowed_since_ns;    /* when it was held up because memory is short (session_room.c), or 0 */
    uint64_t room_since_ns; /* when it began to wait for memory (session_room.c), or 0 */
};

void session__wait_create(struct session_wait *wait, struct session *session);

/*
 * A run of the request has ended with ERROR_WAIT. `owner` is the one that waits, which becomes the
 * wait's if that has none yet.
 *
 * ERROR_WAIT: the request is to be kept until it is READY. 0: to be run again at once.
 * ERROR_LOCK_TIMEOUT, ERROR_CANCELLED (the connection is being closed): its answer; the owner has
 * left the queue.
 */
int session__wait_begin(struct session_wait *wait, struct lock_owner *owner);

/* The same for a request that sleeps, whose fiber becomes the wait's. ERROR_WAIT; ERROR_CANCELLED. */
int session__wait_sleep(struct session_wait *wait, struct lua_fiber *fiber);

/* The request has been answered, or is given up: its own owner is deleted, and its fiber cancelled.
 * An owner that is not the request's own has left its queue before. */
void session__wait_end(struct session_wait *wait);

/* A wake function: `wait` is to be run again. From any thread; short. */
void session__wait_wake(void *wait);

/* If it is QUEUED: READY, and the session is told to its connection. */
void session__wait_ready(struct session_wait *wait);

/* If it is READY and cannot be run soon: a request that is a transaction of its own gives back the
 * locks it has got. (A stream's are bounded by the limits of its transaction.) */
void session__wait_postpone(struct session_wait *wait);

/* The worker's thread: takes what others have woken. */
void session__waits_take(struct session_worker *worker);

/* Makes those READY whose time is over; returns when the next one's will be, UINT64_MAX: none's. */
uint64_t session__waits_expire(struct session_worker *worker, uint64_t now_ns);

#endif
