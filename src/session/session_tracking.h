/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_TRACKING_H
#define SESSION_SESSION_TRACKING_H

/*
 * CLIENT TRACKING: connections that keep copies of keys are told when these change.
 *
 *     GET k ─► remembered: k ─► {connections}, then read        a key that is told is forgotten
 *     a commit that changes k (REDIS_DEFER_KEY, in order of commits) ─► the inbox of each connection's
 *        worker, or of that it redirects to ─► a push "invalidate"
 *
 * A key is remembered before it is read, so a change that the read does not see is told. A transaction
 * reads at its snapshot, which may be older than what has been told already: the last changes are
 * kept with their timestamps, and what one of them concerns is told at once, as is what is older
 * than all of them.
 *
 * Names are without the number of their database, as in Redis. With BCAST nothing is remembered:
 * connections are told of all keys that begin with their prefixes. The table has at most
 * tracking-table-max-keys; who is told of a key that did not change asks for it again.
 *
 * Threads: all under one mutex, inside of which only a worker's wake_mutex is taken. Of a tracker its
 * own connection's thread may read what only that changes.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis/redis.h"

struct service;
struct session;
struct session_command;
struct session_message;
struct session_request;
struct session_tracker;
struct session_tracking;

/* Kinds of messages in an inbox, beside those of redis/redis.h. */
enum { SESSION_MESSAGE_INVALIDATE = 64, SESSION_MESSAGE_BROKEN };

/* NULL: no memory. */
struct session_tracking *session__tracking_new(struct redis_interest *interest);
void session__tracking_delete(struct session_tracking *tracking);

/* Before a run of a command for a connection that tracks: remembers its keys. `snapshot_ts`: that of
 * the transaction it is a part of, UINT64_MAX: it will have one of its own. */
void session__tracking_before(struct session *session, const struct session_command *command,
                              const struct redis_slice *argv, unsigned argc, uint64_t snapshot_ts);

/* The same for a command of redis.call, of this connection's request. */
void session__tracking_script(struct service *service, uint64_t session_id,
                              const struct redis_command *command, const struct redis_slice *argv,
                              unsigned argc, uint64_t snapshot_ts);

/* After a request that is not CLIENT: CLIENT CACHING was for that. */
void session__tracking_after(struct session *session);

/* Messages of REDIS_DEFER_KEY and REDIS_DEFER_FLUSH that have been let go, of the commit at ts. */
void session__tracking_changed(struct session_tracking *tracking, uint64_t ts, const char *message);
void session__tracking_flushed(struct session_tracking *tracking, uint64_t ts);

/* On the thread of the connection it is for: what to push. NULL: the connection has gone. */
struct session *session__tracking_deliver(struct session_tracking *tracking,
                                          const struct session_message *message);

/* The connection tracks nothing any more; with `gone` it ends. */
void session__tracking_end(struct session *session, bool gone);

/* For INFO. */
struct session_tracking_counts {
    uint64_t clients, keys, items, prefixes;
};
void session__tracking_counts(struct session_tracking *tracking,
                              struct session_tracking_counts *out);

int session__client_tracking(struct session *session, struct session_request *request);
int session__client_caching(struct session *session, struct session_request *request);
int session__client_getredir(struct session *session, struct session_request *request);
int session__client_trackinginfo(struct session *session, struct session_request *request);

#endif
