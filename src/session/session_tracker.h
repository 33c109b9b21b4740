/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_TRACKER_H
#define SESSION_SESSION_TRACKER_H

/* What session_tracking.c, the table, and session_caching.c, the commands, share. */
#include <pthread.h>

#include "base/list.h"
#include "redis/redis.h"

enum session_tracker_flags {
    TRACKER_ON = 1,
    TRACKER_BCAST = 2,
    TRACKER_OPTIN = 4,
    TRACKER_OPTOUT = 8,
    TRACKER_NOLOOP = 16,
    TRACKER_BROKEN = 64 /* what it redirects to has gone; in about.tracking only */
};

/* A connection that tracks, or that others redirect to. */
struct session_tracker {
    struct session_tracker *next; /* in its bucket */
    struct list link;             /* in those that are on */
    struct session *session;
    uint64_t id, redirect;        /* 0: none */
    unsigned flags;               /* written under the mutex by its own thread */
    bool caching;                 /* CLIENT CACHING was said; its own thread's */
    struct redis_slice *prefixes; /* of BCAST */
    size_t prefix_count;
};

/* Around all of the following. */
pthread_mutex_t *session__tracking_mutex(struct session_tracking *tracking);

/* NULL: there is none. */
struct session_tracker *session__tracker_find(struct session_tracking *tracking, uint64_t id);

/* The session's, made if there was none; NULL: no memory. */
struct session_tracker *session__tracker_make(struct session_tracking *tracking,
                                              struct session *session);
void session__tracker_on(struct session_tracking *tracking, struct session_tracker *tracker);
void session__tracker_prefixes_drop(struct session_tracker *tracker);

#endif
