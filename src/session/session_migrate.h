/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_MIGRATE_H
#define SESSION_SESSION_MIGRATE_H

/*
 * MIGRATE by a connection: redis/redis_migrate.h with a connection to the target. The request waits as
 * one that waits for a lock does; what it has come to so far belongs to the session.
 */
struct session;
struct session_request;

/* As a command's function; for commands with REDIS_REMOTE. */
int session__migrate(struct session *session, struct session_request *request);

/* The request has been answered, or is given up: its connection is closed. */
void session__migrate_end(struct session *session);

#endif
