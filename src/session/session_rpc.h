/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_RPC_H
#define SESSION_SESSION_RPC_H

/*
 * What the two files of MessagePack-RPC share: session_rpc.c, which runs one request, and
 * session_pending.c, which keeps those that wait.
 */
#include "session/session_internal.h"

/* A request, taken apart. */
struct rpc_call {
    const struct rpc_request *request;
    const char *args; /* the params, without the options at their head: so many values */
    uint32_t arg_count;
    const char *args_end;
    bool stream_given;
    uint64_t stream_id;
    struct session_stream *stream; /* NULL when the session does not have that one */
    struct session_wait *wait;     /* for what is a transaction of its own */
    const char *value; /* out: MessagePack; NULL: the worker's `result` holds what Lua returned */
    uint64_t reply_ts; /* out */
    const char
        *trace; /* out: where in Lua code an error was raised, for an answer at once; or NULL */
    size_t trace_size;
};

/* Reads the options. ERROR_INVALID. */
int session__rpc_open(struct session *session, const struct rpc_request *request,
                      struct rpc_call *call);

/* Runs it: 0, an error, or ERROR_WAIT. */
int session__rpc_run(struct session *session, struct rpc_call *call);

/* Answers it, unless it is a notification. */
void session__rpc_answer(struct session *session, const struct rpc_call *call, int rc);

/* An argument that is a string, or bin; false, and it stays, when it is none. */
bool session__rpc_take_text(struct rpc_call *call, struct redis_slice *out);

/* session_rpc_listen.c: methods. */
int session__rpc_publish(struct session *session, struct rpc_call *call);
int session__rpc_subscribe(struct session *session, struct rpc_call *call);
int session__rpc_unsubscribe(struct session *session, struct rpc_call *call);
int session__rpc_psubscribe(struct session *session, struct rpc_call *call);
int session__rpc_punsubscribe(struct session *session, struct rpc_call *call);

/* Its stream, made for a `begin`. ERROR_BUSY when there are too many, ERROR_MEMORY. */
int session__rpc_stream_make(struct session *session, struct rpc_call *call);

#endif
