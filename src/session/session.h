/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

/*
 * One connection without its socket: bytes go in, commands run, bytes come out when they may be
 * seen.
 *
 *   bytes ──session_on_bytes──► parse ─► dispatch ─► transaction
 *                                                        │ reply and its timestamp
 *   bytes ◄──session_output───── [ may go │ waits for V ]◄┘
 *
 * The first byte says the protocol: RESP ('*' or a letter) or MessagePack-RPC (0x94, 0x93). A
 * pipeline is executed as a whole; its replies are collected in one buffer, so that one write sends
 * them. Each reply carries the largest timestamp that it rests on and may be sent once the log has
 * reached it (invariant 9); replies go out in order. When the log has failed, those that still wait
 * become -UNKNOWN errors (invariant 7).
 *
 * How a connection drives it, all on the worker's thread:
 *   - bytes arrived:           session_on_bytes
 *   - after it, after a write, and when the log has advanced (wal's on_advance) while
 *     session_waiting:
 *         while (output = session_output(session), output.size > 0)
 *             write as much as the socket takes, session_sent(that)
 *         session_resume(session) when that sent anything: executes what back-pressure held back;
 *             then output once more
 *         stop or start reading as session_wants_read says; close when session_wants_close
 *   - after all connections' turns: wal_write_now, when some session is waiting
 *   - session_worker_run names the session: session_resume, then its output; or, during an
 *     unfinished write, session_postpone
 *   - the peer has ended its side, or the server stops: session_hurry, session_resume, its output;
 *     and when that has been sent and session_suspended is false: session_delete
 *   - an error: session_delete
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "session/service.h"

struct session;

enum { SESSION_ADDRESS_SIZE_MAX = 127 };

/* Who is at the other end; copied. */
struct session_peer {
    const char *address;       /* "127.0.0.1:51234" or "unix:/path:0" */
    const char *local_address; /* the listener's */
    int fd;                    /* its socket, to be looked at, never read; or -1 */
    bool sealed;               /* which speaks TLS */
    const char *user;          /* who it is known to be, by a certificate; NULL or "": nobody */
};

/*
 * A session of this worker. ERROR_BUSY when clients_max are connected already, ERROR_MEMORY; the
 * caller then sends session_refusal(code) and closes.
 */
int session_new(struct session_worker *worker, const struct session_peer *peer,
                struct session **out);
const char *session_refusal(int code);

/* Also rolls back whatever it had open. Replies not yet sent are dropped. */
void session_delete(struct session *session);

/*
 * Takes all of data[0..size) (copying only what is not a whole request yet) and executes the
 * requests that are complete, until the replies pending reach output_bytes_pause. What fails is
 * answered, never returned; a protocol error is answered and the session then wants to be closed.
 */
void session_on_bytes(struct session *session, const char *data, size_t size);

/*
 * Where the next bytes are best put before they are given to session_on_bytes, so that they need not be
 * copied: the rest of a large argument. Their room in *size; NULL: anywhere. Valid until the next call on
 * this session; only what comes from the socket as it is may be put there.
 */
char *session_input_room(struct session *session, size_t *size);

/* Executes what was held back, or waited and need not any more. True when it executed anything. */
bool session_resume(struct session *session);

/* Instead of session_resume, when that has to come later: a request that waited and has got its
 * locks gives them back meanwhile. */
void session_postpone(struct session *session);

/* A request waits for somebody else (session_wait.h): what was sent after it is held back. */
bool session_suspended(const struct session *session);

/* Nobody waits for others any more: a request that would gets an error, and one that waits for a
 * key ends the session. */
void session_hurry(struct session *session);

/* Nothing is executed any more, and what is open is rolled back. Output can still be sent. */
void session_end(struct session *session);

struct session_output {
    const char *data;
    size_t size;
};

/*
 * The bytes that may be sent now. They stay where they are until the next call on this session
 * other than session_sent: a connection with an unfinished asynchronous write of them makes no
 * other call until it has ended. (It does not read meanwhile: that is the back-pressure.)
 */
struct session_output session_output(struct session *session);

/* The same while the worker is within Lua code, for a session that stays there: nothing of what is being
 * executed; session_worker_run names the session in the next turn if there was anything. */
struct session_output session_output_aside(struct session *session);

/* So many bytes from the start of session_output have been written. */
void session_sent(struct session *session, size_t size);

/* Replies wait for the log: ask session_output again when it has advanced. */
bool session_waiting(const struct session *session);

/* False while so much waits to be sent or to be executed that nothing should be read. */
bool session_wants_read(const struct session *session);

/* The session has ended (QUIT, protocol error, output beyond its limit) and all that is to be sent
 * has been. */
bool session_wants_close(const struct session *session);

/*
 * To another worker of the service. _may_leave: nothing of it is bound to its worker or goes on right now: what is open
 * (a transaction, a subscription, a request that sleeps in Lua), what Lua keeps for it, replies beyond a
 * soft limit. _leave, then: both by the thread of its worker, from inside of Lua code of another session,
 * too. After it nothing may be called of it but _join, by
 * the thread of `to`, whose session_worker_run names it then; or _redirect, by the same thread, before
 * _join by that of another `to`. `fd`: its socket's descriptor now.
 */
bool session_may_leave(const struct session *session);
void session_leave(struct session *session, struct session_worker *to);
void session_redirect(struct session *session, struct session_worker *to);
void session_join(struct session *session, struct session_worker *worker, int fd);

/*
 * Who speaks TLS, and whose request of MessagePack-RPC runs in Lua at this moment; NULL: nobody. To be asked, as all of
 * this, by the worker's thread where that code is interrupted (lua_runtime_others_set). _look: ends the request when
 * there is a `cancel` of it in what has been read, or in these bytes, which have been decrypted since and are to be
 * given to session_on_bytes when the code has ended.
 */
struct session *session_running_sealed(struct session_worker *worker);
void session_running_look(struct session_worker *worker, struct session_output ahead);

/* As in CLIENT ID. */
uint64_t session_id(const struct session *session);

/* Something of the caller's. */
void session_user_set(struct session *session, void *user);
void *session_user(const struct session *session);

#endif
