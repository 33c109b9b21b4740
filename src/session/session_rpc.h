/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_RPC_H
#define SESSION_SESSION_RPC_H

/*
 * What the files of MessagePack-RPC share: session_rpc.c, which runs one request, session_rpc_box.c and
 * session_rpc_listen.c, which have methods, session_rpc_schema.c, which tells of all of them, and
 * session_pending.c, which keeps requests that wait.
 */
#include "session/session_internal.h"

enum rpc_method_flags {
    RPC_BEFORE_AUTH = 1,
    RPC_WANTS_STREAM = 2, /* one that has been begun */
    RPC_MAKES_STREAM = 4,
    RPC_RETURNS = 8,  /* something of its own; others return true */
    RPC_FOR_ALL = 16, /* who may is asked in Lua, or need not be */
    RPC_NO_STREAM = 32
};

struct rpc_call;

struct rpc_method {
    const char *name;
    unsigned flags;
    int (*run)(struct session *session, struct rpc_call *call);
    int number; /* which one it is, of several that share `run` */
    const char
        *params; /* "space:string key:any options:map?": ? may be left out, * any number of */
    const char *returns, *summary;
};

/* A request, taken apart. */
struct rpc_call {
    const struct rpc_request *request;
    const struct rpc_method *method;
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
    const char *details; /* out: what such an error has as `details`, or NULL */
    size_t trace_size, details_size;
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

/* All methods in order of name; NULL behind the last. */
const struct rpc_method *session__rpc_method(unsigned n);

/* Runs Lua, or a statement on a space, in the call's stream or as a transaction of its own; the results
 * are left in the worker's `result`. */
int session__rpc_lua(struct session *session, struct rpc_call *call, struct session_lua_run *run);

/* session_rpc_box.c */
int session__rpc_statement(struct session *session, struct rpc_call *call);
int session__rpc_alter(struct session *session, struct rpc_call *call);
enum rpc_change {
    RPC_SPACE_CREATE,
    RPC_SPACE_ALTER,
    RPC_SPACE_TRUNCATE,
    RPC_SPACE_DROP,
    RPC_SPACE_INFO,
    RPC_SPACE_LIST,
    RPC_INDEX_CREATE,
    RPC_INDEX_ALTER,
    RPC_INDEX_DROP
};

/* session_rpc_schema.c */
int session__rpc_schema(struct session *session, struct rpc_call *call);

/* session_pending.c: the requests with this id that wait end where they wait; false: there is none. */
bool session__pending_cancel(struct session *session, uint64_t id);

/* session_rpc_listen.c: methods. */
int session__rpc_publish(struct session *session, struct rpc_call *call);
int session__rpc_subscribe(struct session *session, struct rpc_call *call);
int session__rpc_unsubscribe(struct session *session, struct rpc_call *call);
int session__rpc_psubscribe(struct session *session, struct rpc_call *call);
int session__rpc_punsubscribe(struct session *session, struct rpc_call *call);

/* Its stream, made for a `begin`. ERROR_BUSY when there are too many, ERROR_MEMORY. */
int session__rpc_stream_make(struct session *session, struct rpc_call *call);

#endif
