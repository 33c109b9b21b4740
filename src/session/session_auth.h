/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_AUTH_H
#define SESSION_SESSION_AUTH_H

/*
 * Who a connection speaks for, and what it may do.
 *
 * A connection begins as the guest. AUTH, HELLO and MessagePack-RPC's `auth` make it another user
 * of db/access.h. Computing a password's hash takes some 50 ms on purpose, so it is done by threads
 * of the service's own while the request waits as one that waits for a lock does:
 *
 *      session__login ──job──► queue ──► thread: scrypt ──► done, the wait is woken
 *             ▲                                                       │
 *             └──────────── the request is run again, finds the result ┘
 *
 * What was right is remembered for a minute, as an HMAC with a key of the process's own, so that a
 * pool of connections does not pay for each of them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis/redis.h"

struct db_worker;
struct service;
struct session;
struct session_auth;
struct session_command;
struct session_login;
struct session_wait;

/* Of a service. ERROR_MEMORY, ERROR_IO. */
int session__auth_new(struct session_auth **out);
void session__auth_delete(struct session_auth *auth); /* no session is left */

/*
 * Makes the session's user the one with this name, if the password is right. `user` NULL: the
 * default one. `wait` is the request's; NULL: it is part of a transaction, where nobody logs in.
 *
 * 0; ERROR_WAIT: the request is to be run again when `wait` is READY, with the same arguments;
 * ERROR_ACCESS: wrong, whatever was wrong; ERROR_INVALID, ERROR_BUSY, ERROR_CANCELLED, ERROR_MEMORY.
 */
int session__login(struct session *session, struct session_wait *wait,
                   const struct redis_slice *user, const struct redis_slice *password);

/* The session's user is the one with this name, as a certificate has shown. It stays a guest's when
 * there is no such user, or it may not log in, or a trigger refuses. Nobody becomes admin so. */
void session__login_certified(struct session *session, const char *user);

/* What goes on for this wait (NULL: for any) is given up. */
void session__login_end(struct session *session, const struct session_wait *wait);

/* The session is a guest's, as one that has just been made. */
void session__logout(struct session *session);

/* Whether the session's user may run the command at all; false with the error replied, NOAUTH or
 * NOPERM. What is done inside of procedures and scripts is asked for there. */
bool session__permits(struct session *session, const struct session_command *command,
                      const struct redis_slice *argv, unsigned argc);

/* Whether its rules allow a channel: 0 or ERROR_ACCESS. */
int session__permits_channel(struct session *session, const struct redis_slice *name, bool pattern);

/* Whether it may write every key of the Redis spaces, so that nothing has to be asked for each. */
bool session__writes_freely(struct session *session);

/* The same for what is no command: whether it may be there, and take part in what belongs to nobody:
 * 0, ERROR_AUTH or ERROR_ACCESS with diagnostics. */
int session__check(struct session *session, bool takes_part);

/* The password of who names no user, Redis's requirepass (session_acl_command.c). _get: with a zero behind
 * it, "": none. _fits: in a time that depends on the length given only; true when none is asked for.
 * _set: of the default user's rules, too, if it has some; 0 or a code with diagnostics, and then nothing
 * is changed. */
void service__password_get(struct service *service, char *out, size_t size);
bool service__password_fits(struct service *service, const struct redis_slice *text);
int session__password_set(struct session *session, const struct redis_slice *password);

/* Whether a user's rules let a script run the command: 0: there are none; 1: they do; or ERROR_ACCESS. */
int session__script_permits(struct service *service, struct db_worker *db, uint32_t user_id,
                            const char *name, const struct redis_slice *argv, unsigned argc);

/* Counters for INFO. */
uint64_t session__auth_failures(const struct session_auth *auth);
uint64_t session__auth_refusals(const struct session_auth *auth);

#endif
