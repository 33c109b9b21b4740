/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_LIMITS_H
#define SESSION_SESSION_LIMITS_H

/*
 * What a connection may leave unread, and what it may send before it can be executed: Redis's
 * client-output-buffer-limit, client-query-buffer-limit and maxmemory-clients.
 *
 * Output is what has been written for a connection and not been sent: replies, whether they wait for
 * the log or not, and messages. Of a class there is a hard limit, beyond which a connection is closed
 * at once, and a soft one, beyond which it may be for so many seconds without a break; 0 is none. What is beyond a
 * limit is logged and counted. A connection is of the class PUBSUB while it listens to channels; what
 * others push to it (messages, lines of MONITOR, keys that have changed) is bounded by that class in any
 * case. There are no replicas: their class is kept for those who set it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/list.h"

struct redis_slice;
struct service;
struct service_limits;
struct session;
struct session_worker;

enum session_class { SESSION_NORMAL, SESSION_REPLICA, SESSION_PUBSUB, SESSION_CLASSES };

/* Relaxed: who changes one is not waited for by those who look. */
struct session_limits {
    struct {
        _Atomic uint64_t hard, soft, soft_s;
    } output[SESSION_CLASSES];
    _Atomic int64_t query; /* bytes of input that wait, of MULTI's as well */
    _Atomic int64_t
        memory; /* of all connections together; below 0: percent of maxmemory; 0: none */
    /* Connections that were closed for that reason. */
    _Atomic uint64_t output_closed, query_closed, evicted;
};

/* Of a session. */
struct session_excess {
    struct list link;  /* in worker->excessive while its output is beyond the soft limit */
    uint64_t since_ns; /* when that began */
};

enum { SESSION_LIMITS_TEXT_MAX = 256 };

/* As they are at the start; the rest is 0. */
void session__limits_create(struct session_limits *limits, const struct service_limits *options);

/*
 * Text as CONFIG SET client-output-buffer-limit takes it: a class, its hard and soft limit and seconds, for
 * one class or several; what is not named stays as it is. NULL, or what is wrong, in Redis's words. _set only
 * after _check had nothing against it.
 */
const char *session__output_limits_check(const struct redis_slice *text);
void session__output_limits_set(struct session_limits *limits, const struct redis_slice *text);
void session__output_limits_format(const struct session_limits *limits,
                                   char out[SESSION_LIMITS_TEXT_MAX]);

/* A number and a unit as Redis has them: k is 1000, kb is 1024. */
bool session__memory_parse(const struct redis_slice *text, int64_t *out);

/* Before the session's buffers grow: what they may grow to, as its class has it now. */
void session__limits_bound(struct session *session);

/* After they have: closes the session when they are beyond a limit. Not under a mutex of a worker. */
void session__limits_look(struct session *session);

/* Whether so many more bytes must not be pushed to it. */
bool session__push_full(const struct session *session, size_t more);

/* The session is closed for its output, though what does not fit is not there to be measured. */
void session__output_exceeded(struct session *session);

/* Those who have been beyond the soft limit for too long; when to look again, UINT64_MAX: not. */
uint64_t session__limits_expire(struct session_worker *worker, uint64_t now_ns);

/* The largest connections are closed when all together have more than `memory`. By a worker after a
 * session of it has grown. */
void session__clients_evict(struct session_worker *worker);

#endif
