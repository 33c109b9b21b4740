/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_RUNNING_H
#define SESSION_SESSION_RUNNING_H

/*
 * What a worker runs in Lua, for those who look from outside while it does.
 *
 * A worker that runs Lua for a request reads nothing of what its connections send, so a `cancel` of
 * that request lies in the socket until the request has ended. Hence the watchdog, which looks at code that runs
 * every few milliseconds anyhow, looks through what has come behind the request, and into the socket of its
 * connection without taking anything out, and stops the code when it finds such a message. Within TLS the bytes
 * say nothing to it: there it stops the code when the client has closed its side, and the worker's own thread, which
 * is interrupted for others, decrypts what has come and looks through it (session_running_look).
 *
 * Code that ends by itself, or goes to sleep, before the hook is set has not been stopped: then it is as if the
 * message had come a moment later.
 *
 *            enter                leave
 *     IDLE ───────────► RUNNING ───────────► IDLE
 *                        │   ▲
 *                   hold │   │ let go        leave waits meanwhile: the session stays, and its socket
 *                        ▼   │
 *                        HELD
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

struct service;
struct session;
struct session_worker;

enum { SESSION_CANCELLED_MAX = 16 };

struct session_running {
    _Atomic uint32_t state; /* IDLE, RUNNING or HELD */
    /* Written before RUNNING, read by whoever holds it. */
    struct session *session;
    int fd;           /* its connection's; -1: nothing is to be looked for there */
    bool sealed;      /* what comes is TLS's, of which only the end can be seen */
    uint64_t id;      /* of its request of MessagePack-RPC */
    const char *rest; /* what has been read behind that */
    size_t rest_size;
    /* Written by whoever holds it, read after it has been left. */
    bool cancelled;
};

/* Around code that runs for a request; `id` is that of a request of MessagePack-RPC, if it is one that
 * can be named. False: within other code that runs, which stays what is looked at; then without _leave.
 * _leave: whether it has been cancelled. */
bool session__running_enter(struct session *session, bool named, uint64_t id);
bool session__running_leave(struct session *session);

/* Remembers that a request has been ended so, for the answer to the `cancel`, which is executed later: _take tells whether
 * it has been, once. Of so many at a time; the oldest are forgotten first. */
void session__cancelled_add(struct session *session, uint64_t id);
bool session__cancelled_take(struct session *session, uint64_t id);

/* Looks after all workers of the service; from the watchdog's thread. */
void session__running_look(void *service);

#endif
