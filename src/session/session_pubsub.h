/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_PUBSUB_H
#define SESSION_SESSION_PUBSUB_H

/*
 * From a message that may go out to those who listen.
 *
 *   PUBLISH, box.notify ─► txn_defer ─► (the commit is durable) ─► txn_deferred_run: one thread, in
 *      order of commits ─► the inbox of each worker that has somebody who listens ─► that worker ─►
 *      its sessions' `push` ─► their output
 *
 * An inbox and a session's push are queues with one writer at a time, so everybody gets what there
 * is in the order of the commits (invariant 10).
 *
 * Bounds. A session that does not take its messages is cut off when what it has not taken exceeds
 * subscriber_bytes_max. When a worker does not look after its inbox for so long that that is full,
 * all of its listeners are cut off: they know then that they have missed something.
 */
#include <pthread.h>

#include "session/session_channels.h"

struct service;
struct session;
struct session_worker;
struct session_request;
struct session_command;

/* A message in an inbox. */
struct session_message {
    struct list link;
    unsigned kind; /* REDIS_DEFER_PUBLISH, _SPUBLISH; or of session_tracking.h */
    size_t size;
    char data[]; /* MessagePack: [channel, payload]; or of session_tracking.c */
};

struct session_pubsub {
    struct list inbox; /* under the worker's wake_mutex */
    size_t inbox_bytes;
    bool overflow;
    struct channels channels; /* changed by the worker's thread under channels_mutex; so that thread
                                 reads it without, and others under it */
    pthread_mutex_t channels_mutex;
};

void session__pubsub_create(struct session_pubsub *pubsub);
void session__pubsub_destroy(struct session_pubsub *pubsub);

/* How many listen to this channel, or shard channel, in all workers. From any thread. */
uint64_t session__receivers(struct service *service, const char *channel, size_t size, bool shard);

/* Hands out what the log has let go, whoever deferred it. */
void session__deferred_run(struct session_worker *worker);

/* Leaves a message to the worker; data NULL: there was no memory for it. From any thread. */
void session__inbox_add(struct session_worker *worker, unsigned kind, const char *data,
                        size_t size);

/* Brings the inbox to the sessions. */
void session__inbox_take(struct session_worker *worker);

/* Moves what has been pushed to the session into its output. True when there was any. */
bool session__push_take(struct session *session);

/* What a session listens to, to be as it was before an EXEC that came to nothing. */
struct session_subscriptions {
    unsigned count;
    struct {
        struct redis_slice name;
        enum channels_kind kind;
    } items[];
};

/* Copies it into the queue's arena. ERROR_MEMORY. */
int session__subscriptions_keep(struct session *session, struct session_subscriptions **out);

/* `kept` may be NULL: nothing was kept. */
void session__subscriptions_return(struct session *session,
                                   const struct session_subscriptions *kept);

/* The session listens to nothing any more. */
void session__unsubscribe_all(struct session *session);

int session__subscribe(struct session *session, struct session_request *request);
int session__unsubscribe(struct session *session, struct session_request *request);
int session__psubscribe(struct session *session, struct session_request *request);
int session__punsubscribe(struct session *session, struct session_request *request);
int session__ssubscribe(struct session *session, struct session_request *request);
int session__sunsubscribe(struct session *session, struct session_request *request);

/* How many different channels, patterns and shard channels are listened to. ERROR_MEMORY. */
int session__pubsub_counts(struct service *service, uint64_t counts[CHANNELS_KINDS]);

/* For MessagePack-RPC. ERROR_MEMORY; ERROR_INVALID when it listens to too many. */
int session__listen(struct session *session, const char *name, size_t size,
                    enum channels_kind kind);
void session__unlisten(struct session *session, const char *name, size_t size,
                       enum channels_kind kind);
void session__unlisten_all(struct session *session, enum channels_kind kind);

#endif
