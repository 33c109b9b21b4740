/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_STREAM_H
#define SESSION_SESSION_STREAM_H

/*
 * An interactive transaction: what BEGIN opens and COMMIT or ROLLBACK ends, with statements in
 * between. A RESP connection has one stream, a MessagePack-RPC connection one for each stream id
 * that it uses.
 *
 *                begin                 lost: a conflict, a deadlock, a limit, somebody's cancelling
 *      CLOSED ──────────► OPEN ─────────────────────────────────────────► FAILED
 *        ▲                 │  each statement: resume ─ savepoint ─ run ─ park │
 *        └─────────────────┴──── commit, rollback ◄────────────────────────────┘
 *
 * A statement that fails undoes itself only. One that would have to wait is undone as well, and run
 * again by the stream's wait (session_wait.h). What is lost is rolled back at once, so that its
 * locks go; until the client has said that it knows, everything else is answered by the reason.
 *
 * The lock owner outlives the transaction that was lost: with it the next one is as old as the
 * first, and wins against younger ones in the end (invariant 22).
 */
#include "session/session_wait.h"
#include "txn/txn.h"

enum { SESSION_SAVEPOINT_NAME_MAX = 63, SESSION_SAVEPOINTS_MAX = 1024, SESSION_FAILURE_MAX = 400 };

struct session_savepoint {
    struct session_savepoint *below;
    struct txn_savepoint point;
    char name[SESSION_SAVEPOINT_NAME_MAX + 1];
};

struct session_stream {
    struct list link; /* in worker->streams while OPEN */
    struct session *session;
    struct txn *txn;          /* OPEN: parked, but during a statement */
    struct lock_owner *owner; /* NULL before the first, and after one that has succeeded */
    enum txn_level level;
    bool readonly;
    int failed; /* FAILED: the code of the reason */
    char failure[SESSION_FAILURE_MAX];
    struct session_savepoint *savepoints; /* newest first */
    unsigned savepoint_count;
    struct txn_savepoint statement; /* where the present one began, in its first run */
    uint64_t begun_ns, active_ns;
    bool shown_open, shown_failed; /* as the session's description says */
    struct session_wait wait;

    /* of MessagePack-RPC */
    struct list sibling; /* in session->streams */
    uint64_t id;
    struct list queue; /* requests that wait, or that wait for those */
};

void session__stream_create(struct session_stream *stream, struct session *session, uint64_t id);

/* Rolls back what is open, without an answer, and forgets everything. */
void session__stream_destroy(struct session_stream *stream);

static inline bool session__stream_closed(const struct session_stream *stream)
{
    return !stream->txn && !stream->failed;
}

struct session_stream_options {
    enum txn_level level;
    bool readonly;
};

/* OPEN. The stream is CLOSED. ERROR_BUSY: too many are open; ERROR_LOG_FAILED. */
int session__stream_begin(struct session_stream *stream,
                          const struct session_stream_options *options);

/* Both end it, whatever they return, and set *reply_ts. Commit of a FAILED one: its reason. Without
 * a transaction: ERROR_INVALID. */
int session__stream_commit(struct session_stream *stream, uint64_t *reply_ts);
int session__stream_rollback(struct session_stream *stream, uint64_t *reply_ts);

/* ERROR_INVALID: no transaction, no such savepoint, too many, a name that is too long. */
int session__stream_savepoint(struct session_stream *stream, const char *name, size_t size,
                              uint64_t *reply_ts);
int session__stream_rollback_to(struct session_stream *stream, const char *name, size_t size,
                                uint64_t *reply_ts);
int session__stream_release(struct session_stream *stream, const char *name, size_t size,
                            uint64_t *reply_ts);

/*
 * A statement: enter makes the transaction the worker's current one; 0, or why it is FAILED. leave,
 * which follows when enter has returned 0, parks or ends it: `rc` is what the statement gave, and
 * what leave gives is the statement's result. ERROR_WAIT: the request is to be kept until
 * stream->wait is READY, and to be run again.
 */
int session__stream_enter(struct session_stream *stream, struct txn_savepoint *savepoint);
int session__stream_leave(struct session_stream *stream, const struct txn_savepoint *savepoint,
                          int rc, uint64_t *reply_ts);

/* Sets the diagnostics to why it is FAILED, and returns the code. */
int session__stream_failure(const struct session_stream *stream);

/* Ends those that are beyond a limit; returns when the next one will be, UINT64_MAX: none. */
uint64_t session__streams_expire(struct session_worker *worker, uint64_t now_ns);

#endif
