/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUA_INTERNAL_H
#define LUA_INTERNAL_H

/*
 * What the files of src/lua share: the runtime, the structs that Lua reads through FFI, and the
 * bindings' entry points. Names with two underscores are for this folder only.
 */
#include <lauxlib.h>
#include <lua.h>

#include "base/random.h"
#include "db/catalog.h"
#include "lua/runtime.h"
#include "lua/watchdog.h"

/* A value taken out of a tuple. The same layout is declared in lua/box/core.lua. */
enum {
    LUA__ABSENT,
    LUA__NIL,
    LUA__BOOLEAN,
    LUA__NUMBER,
    LUA__INT64,
    LUA__UINT64,
    LUA__STRING,
    LUA__OTHER
};
struct lua__value {
    int32_t type;
    uint32_t size;    /* of a string, or of the bytes of LUA__OTHER */
    double number;    /* LUA__NUMBER, LUA__BOOLEAN */
    int64_t integer;  /* LUA__INT64; LUA__UINT64 by its bits */
    const char *data; /* LUA__STRING, LUA__OTHER */
};

/* A tuple that a statement gave; data NULL: none. Valid until the next statement: Lua copies it. */
struct lua__row {
    const char *data;
    uint32_t size;
};

/* A tuple in Lua's memory: a cdata object whose members have names that nobody can guess. */
struct lua__tuple {
    uint32_t size;
    uint32_t space_id; /* whose format names the fields; 0: none */
    char data[];
};

/* A cursor in the memory of the transaction; `sequence` says of which. */
struct lua__cursor {
    struct space_cursor *cursor;
    uint64_t sequence;
};

enum { LUA__SPACE_SLOTS = 64, LUA__TRACE_SIZE = 8192 };

struct lua_runtime {
    struct lua_State *L;
    struct db_worker *worker;
    struct txn_worker *txn_worker;
    struct clock *clock;
    struct wal *wal;
    struct lua_runtime_options options;
    struct lua__deadline deadline;
    size_t memory_bytes, memory_bytes_max;
    size_t memory_bytes_kept; /* by the last full collection */
    struct random random;

    /* The transaction that statements work in, or NULL: then each is one of its own. */
    struct txn *txn;
    uint64_t txn_sequence; /* counts the transactions: iterators of an old one are recognised */
    bool txn_fixed;        /* the runner ends it: box.commit and box.rollback are refused */
    bool latest, readonly; /* of the request */
    uint64_t seen_ts;      /* of the request so far */
    uint64_t now_ms;       /* of the run */

    struct mp_buffer args[2]; /* what native.encode made for the statement that follows */
    struct mp_buffer scratch; /* where values are made; never what a statement reads */
    struct mp_buffer pairs;   /* what a callback gave, also while a value is being made */
    struct mp_buffer copy;    /* the tuple of a statement that was a transaction of its own */
    struct mp_buffer rows;    /* what the last select gave: for each its size as u32, its bytes */
    struct mp_buffer result;  /* what a call returns, until it has committed */
    struct mp_buffer reply;   /* a Redis reply in the form of reply.h */

    struct lua__value value; /* shared with Lua */
    struct lua__row row;

    const struct catalog *catalog; /* of which `spaces` is a cache */
    uint64_t catalog_version;
    struct space *spaces[LUA__SPACE_SLOTS];

    bool seeded;            /* math.randomseed has been called in this request */
    const char *stack_base; /* of the C stack, where the running call began */
    unsigned procedures_compiled;
    int error_code;
    bool unplaced; /* the error does not say where it was raised: from a tail call */
    bool tracing;  /* the error handler records the stack */
    char trace[LUA__TRACE_SIZE];
    char message[512];

    /* References in the registry. */
    int ref_null, ref_classify, ref_make, ref_serializers, ref_hooks, ref_procedures;
};

/* The runtime of a C function that was registered by lua__register. */
struct lua_runtime *lua__runtime(lua_State *L);
void lua__register(struct lua_runtime *runtime,
                   const luaL_Reg *functions); /* into the table on top */

/* Raises the error `code` with the thread's diagnostics as a box error. */
int lua__raise(lua_State *L, struct lua_runtime *runtime, int code);

/* convert.c: between Lua and MessagePack. Both raise Lua errors. */
void lua__push(lua_State *L, struct lua_runtime *runtime, const char **data);
enum lua__encoding {
    LUA__STRICT,
    LUA__LENIENT
}; /* lenient: what has no form is encoded as its text */
void lua__encode(lua_State *L, struct lua_runtime *runtime, int index, struct mp_buffer *out,
                 enum lua__encoding encoding);
/* While a value that may contain a table many times is made: raises when the buffer has failed, or
 * the time is over. */
void lua__encode_check(lua_State *L, struct lua_runtime *runtime, struct mp_buffer *out);
/* Pushes the elements of an array, nil as nil; returns their number. */
int lua__push_array(lua_State *L, struct lua_runtime *runtime, const char *array);
void lua__put_number(struct mp_buffer *out, double number);

/* run.c: running code at the edge. */
typedef int (*lua__body)(struct lua_runtime *runtime, void *arg);
/* Calls body in protected mode with the error handler in place; it may raise errors. Its negative
 * results are errors too. */
int lua__protect(struct lua_runtime *runtime,
                 int (*body)(lua_State *L, struct lua_runtime *runtime, void *arg), void *arg);
void lua__request_begin(struct lua_runtime *runtime, const struct lua_request *request);
int lua__request_end(struct lua_runtime *runtime, int code, uint64_t *reply_ts);
/* Runs body as one transaction, again after each conflict. */
int lua__transaction(struct lua_runtime *runtime, const struct txn_options *options,
                     int (*body)(lua_State *L, struct lua_runtime *runtime, void *arg), void *arg);

/* statement.c */
struct lua__api;
extern const struct lua__api lua__api;
int lua__begin(struct lua_runtime *runtime, const struct txn_options *options);
int lua__commit(struct lua_runtime *runtime);
void lua__rollback(struct lua_runtime *runtime);
void lua__seen(struct lua_runtime *runtime);
bool lua__latest(struct lua_runtime *runtime);
/* True once the time of the running call is over; sets diagnostics. For loops in C. */
bool lua__expired(struct lua_runtime *runtime);

/* Each adds its functions to the table `native` on top of the stack. */
void lua__open_convert(struct lua_runtime *runtime);
void lua__open_schema(struct lua_runtime *runtime);
void lua__open_runtime(struct lua_runtime *runtime);
void lua__open_redis(struct lua_runtime *runtime);
void lua__open_pattern(struct lua_runtime *runtime);

/* schema.c: pushes the compiled function of a procedure; raises. */
void lua__push_procedure(lua_State *L, struct lua_runtime *runtime, const struct func *func);

/* Calls hook `name` of lua/box/init.lua: pushes it. */
void lua__push_hook(lua_State *L, struct lua_runtime *runtime, const char *name);

#endif
