/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUA_INTERNAL_H
#define LUA_INTERNAL_H

/*
 * What the files of src/lua share: the runtime, the structs that Lua reads through FFI, and the
 * bindings' entry points. Names with two underscores are for this folder only.
 */
#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <semaphore.h>

#include "base/random.h"
#include "codec/json.h"
#include "db/catalog.h"
#include "db/space.h"
#include "db/trigger.h"
#include "lua/runtime.h"
#include "lua/watchdog.h"
#include "txn/lock.h"

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
    uint64_t parks;
    uint64_t space_id; /* for Lua: whose rows it gives */
};

/*
 * How a select, a count or an iterator goes over an index: set by Lua before the call, read at once.
 * The key, if there is one, is in args[0]; a tuple, or the bytes of a position, to go on behind in
 * args[1].
 */
enum { LUA__AFTER_NONE, LUA__AFTER_TUPLE, LUA__AFTER_POSITION };
struct lua__scan {
    double offset, limit;
    int32_t iterator, has_key;
    int32_t lock;  /* LUA__LOCK_NONE .. */
    int32_t after; /* LUA__AFTER_NONE .. */
    int32_t
        fetch; /* 1: the position of the last row goes to runtime->position; 2: that of the tuple
                        in args[1], and no row is looked for */
    int32_t stepped; /* set by C: what runs may be stopped between rows, where no cursor lasts */
};

/* A walk outside of transactions, while it has more rows to give; see walk.c. */
struct lua__walk;
struct lua__walk_handle {
    struct lua__walk *walk; /* NULL: it has given all */
};

/* A point to return to in the transaction `sequence`. */
struct lua__savepoint {
    struct txn_savepoint point;
    uint64_t sequence;
};
_Static_assert(sizeof(struct lua__savepoint) == 56, "the same layout is in lua/box/core.lua");

/* What a statement locks the rows with that it gives. */
enum { LUA__LOCK_NONE, LUA__LOCK_SHARED, LUA__LOCK_EXCLUSIVE };

enum { LUA__SPACE_SLOTS = 64, LUA__TRACE_SIZE = 8192 };

/* A space found before, and what the effective user may do with it as far as that was asked. */
struct lua__space_slot {
    struct space *space;
    unsigned rights;
};

/* The limits in force, each with the procedure that it belongs to; NULL: none. */
struct lua__limits {
    const char *time_name, *memory_name, *rows_name;
    uint64_t time_ms, memory, rows;
    size_t memory_max; /* of the state, without them */
    char names[3][NAME_SIZE_MAX + 1];
};
struct lua__limits_before {
    struct lua__limits limits;
    uint64_t at_ns, asleep_ns, rows_left, rows_given;
    size_t memory_bytes_max;
    const struct lua__ingest *ingests;
    bool limits_time, limits_memory, limits_rows; /* those that this level has put into force */
};

/* Settings of cjson: script_json.c. */
struct lua__script_json {
    int sparse_ratio, sparse_safe, encode_depth_max, decode_depth_max, precision, encode_invalid;
    bool sparse_convert, decode_invalid, keep_buffer;
};

enum { LUA__SCRIPT_NONE, LUA__SCRIPT_EVAL, LUA__SCRIPT_FUNCTION };

/* The Redis script or function that runs: redis_script.c. */
struct lua__script {
    bool runs;
    _Atomic int kind;  /* for other threads: LUA__SCRIPT_NONE .. */
    int line;          /* where it was stopped; 0: not known */
    bool readonly;     /* its flags say that it doesn't write */
    int resp;          /* of redis.setresp */
    unsigned database; /* of SELECT */
    bool reads;        /* a view of Redis's data asks, in `database` (lua/box/redis_view.lua) */
    char name[72];     /* what errors call it */
};

/* The function of a library that runs, for other threads; NULL: none. */
struct lua__running {
    pthread_mutex_t mutex;
    const struct lua_redis_eval *eval;
    uint64_t since_ns;
};

struct lua_runtime {
    struct lua_State *L;
    struct db_worker *worker;
    struct txn_worker *txn_worker;
    struct clock *clock;
    struct wal *wal;
    struct lua_runtime_options options;
    struct lua__deadline deadline;
    size_t memory_bytes, memory_bytes_max;
    size_t memory_told;       /* of memory_bytes, to the account of the process */
    size_t memory_bytes_kept; /* by the last full collection */
    struct random random;

    /* The transaction that statements work in, or NULL: then each is one of its own. */
    struct txn *txn;
    uint64_t txn_sequence;    /* counts the transactions: iterators of an old one are recognised */
    bool txn_fixed;           /* the runner ends it: box.commit and box.rollback are refused */
    bool txn_opened;          /* it can be parked while its thread sleeps */
    bool txn_checks;          /* lua__check is to be asked before each statement */
    bool handlers;            /* functions wait for its end */
    _Atomic bool handling;    /* they run, and are not cancelled: their transaction has ended */
    bool txn_committed;       /* the one that has ended last */
    uint64_t parks;           /* how often one was parked: no cursor outlives that */
    uint64_t txn_deadline_ns; /* by the clock's monotonic time; 0: none */

    /*
     * Why nothing can go on, or 0. With a transaction: why it is lost (ERROR_WAIT, ERROR_DEADLOCK,
     * ERROR_CANCELLED, ERROR_TIMEOUT), whatever pcall has caught; what the transaction itself knows
     * (txn_stopped) need not stand here. Without one: what has ended it under the feet of the code
     * that had begun it, and has to end it; or ERROR_WAIT, with which this request is going to end.
     */
    int stop;
    bool waits;                        /* the latter */
    bool committed;                    /* the request has done what can't be done again */
    const struct lua_request *request; /* never NULL */
    unsigned
        database; /* of Redis's, for redis.call outside of scripts: the request's, or SELECT's */
    struct ddl_job *job;         /* a change of the schema that the request has begun, or NULL */
    struct lua__ingest *ingests; /* that the request has begun and not ended: ingest.c */
    struct lock_owner *owner;    /* whose locks its transactions have; NULL: their own */
    sem_t woken;                 /* posted when a lock that a parked transaction waits for is had */
    struct txn_savepoint start;  /* of a request in somebody else's transaction */
    bool undoes;                 /* it returns there when it fails */
    uint64_t seen_ts;            /* of the request so far */
    uint64_t now_ms;             /* of the run */

    struct mp_buffer args[2]; /* what native.encode made for the statement that follows */
    struct mp_buffer scratch; /* where values are made; never what a statement reads */
    void *ahead;              /* memory for a long string that is about to be made, or NULL */
    size_t ahead_bytes;
    struct mp_buffer pairs;    /* what a callback gave, also while a value is being made */
    struct mp_buffer position; /* where the last select ended, when it was asked for */
    struct mp_buffer copy;     /* the tuple of a statement that was a transaction of its own */
    struct mp_buffer rows;     /* what the last select gave: for each its size as u32, its bytes */
    struct mp_buffer result;   /* what a call returns, until it has committed */
    struct mp_buffer reply;    /* a Redis reply in the form of reply.h */
    struct json_buffer json;   /* what json.encode makes, until it is a string */

    struct lua_fiber *fiber; /* the one that runs, or NULL: fiber.h */
    struct lua__fibers *fibers;
    uint64_t txn_sequence_last; /* of any */
    uint64_t asleep_ns;         /* for how long the fiber that runs has not run */

    struct lua__value value; /* shared with Lua */
    struct lua__row row;

    struct lua__script script;
    struct lua__running running;
    struct lua__script_json script_json;

    struct mp_buffer frames;   /* of the last error (trace.c) */
    struct mp_buffer details;  /* of the last error: what it has as `details` (run.c) */
    struct lua__limits limits; /* of procedures that run (limit.c) */
    uint64_t rows_left;
    int limit_code; /* a limit has been exceeded: the request ends with this, and with the message */
    char limit_message[384];

    /* Of statements that may run triggers (trigger.c). */
    struct db_triggers triggers;
    lua_State *calling;      /* where they are called, while a statement runs that may; else NULL */
    struct mp_buffer *given; /* the arguments of the statement that runs: args, unless it may */
    unsigned trigger_depth;  /* triggers that run within each other */
    bool schema_event;       /* those of on_schema_change run */
    bool hosts;              /* it runs background functions of modules (host.c) */
    uint64_t hosted_version; /* of the schema at the last look, and 1 */
    uint64_t trigger_runs;
    struct lua__row trigger_rows[2]; /* old and new, for lua/box/trigger.lua */
    struct lua__scan scan;
    struct lua__walk_handle walk;
    struct lua__walk *walks; /* that have begun and not been dropped */
    unsigned walk_count;

    const struct catalog *catalog; /* of which `spaces` is a cache */
    uint64_t catalog_version;
    struct lua__space_slot spaces[LUA__SPACE_SLOTS];

    bool keeps_sessions; /* something in Lua ends with a session */
    int last_error;      /* a reference in the registry: box.error.last; 0: none */

    uint32_t user_id; /* whose request it is; the effective user is the worker's (db/access.h) */

    int fio_folder;    /* fio.c: of the option fio_dir, and 1; 0: not opened yet */
    unsigned fio_jobs; /* that go on */
    unsigned password_jobs;

    struct lua_runtime *profile_next; /* profile.c, under its mutex */
    unsigned profile_number;          /* 0: not registered */
    uint64_t profile_job;             /* the last one it has asked for */
    _Atomic bool profile_wanted;

    bool seeded;            /* math.randomseed has been called in this request */
    const char *stack_base; /* of the C stack, where the running call began */
    unsigned procedures_compiled;
    int error_code;
    bool expressions; /* of expression.c: no worker, and not one of the functions of runtime.h */
    uint64_t started_ns, expired_ns; /* of it: when an evaluation was first asked whether its time
                                        is over, and when it was */
    bool unplaced; /* the error does not say where it was raised: from a tail call */
    bool tracing;  /* the error handler records the stack */
    char trace[LUA__TRACE_SIZE];
    char message[512];

    /* References in the registry. */
    int ref_null, ref_classify, ref_make, ref_serializers, ref_hooks, ref_procedures;
};

/* allocate.c: lua_Alloc, of a struct lua_runtime; and how much of what all states have are mappings of their own. */
void *lua__allocate(void *runtime, void *memory, size_t old_bytes, size_t new_bytes);
uint64_t lua__mapped_bytes(void);
/* lua_pushlstring of what may be long: lets others in while the memory for it is made ready. Raises nothing else. What was
 * made ready and has not been used goes with lua__ahead_drop. */
void lua__push_bytes(lua_State *L, struct lua_runtime *runtime, const char *data, size_t size);
void lua__ahead_drop(struct lua_runtime *runtime);
/* runtime.c: what a state is made of, for expression.c as well. take_hooks pops the table of hooks
 * that a built-in module has given. */
void lua__preload_builtins(lua_State *L);
void lua__make_native(lua_State *L, struct lua_runtime *runtime);
void lua__take_hooks(lua_State *L, struct lua_runtime *runtime);
void lua__buffers_create(struct lua_runtime *runtime);
void lua__buffers_bound(struct lua_runtime *runtime);
void lua__buffers_free(struct lua_runtime *runtime);

/* The runtime of a C function that was registered by lua__register. */
struct lua_runtime *lua__runtime(lua_State *L);
void lua__register(struct lua_runtime *runtime,
                   const luaL_Reg *functions); /* into the table on top */

/* Raises the error `code` with the thread's diagnostics as a box error. */
int lua__raise(lua_State *L, struct lua_runtime *runtime, int code);

enum { LUA_TYPE_CDATA = 10 }; /* LuaJIT's own type number */

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
/* The same within a call of Lua, on the state that it runs on. */
int lua__protect_on(struct lua_runtime *runtime, lua_State *L,
                    int (*body)(lua_State *L, struct lua_runtime *runtime, void *arg), void *arg);
/* Begins and ends what one call from outside does. The end returns the code of the whole. */
void lua__request_none(struct lua_runtime *runtime);
void lua__request_begin(struct lua_runtime *runtime, const struct lua_request *request);
int lua__request_end(struct lua_runtime *runtime, int code, uint64_t *reply_ts);
/* The code, and the diagnostics, of the error that has ended a coroutine, which is on its top. */
int lua__fiber_error(struct lua_runtime *runtime, lua_State *co, int status);
/* runtime.c: what a request returns goes from runtime->result to the caller's buffer, after the
 * commit. */
int lua__deliver(struct lua_runtime *runtime, struct mp_buffer *result);
/* Runs body as one transaction, again after each conflict. */
int lua__transaction(struct lua_runtime *runtime, const struct txn_options *options,
                     int (*body)(lua_State *L, struct lua_runtime *runtime, void *arg), void *arg);

/* After a transaction has ended with handlers: calls the functions that wait for that. Outside of
 * Lua only. */
void lua__run_handlers(struct lua_runtime *runtime);

/* transaction.c */
/* Begins the runtime's transaction, with the owner and the session of the request. */
int lua__begin(struct lua_runtime *runtime, struct txn_options *options);
int lua__commit(struct lua_runtime *runtime);
void lua__rollback(struct lua_runtime *runtime);

/*
 * After the rollback of a transaction that has met ERROR_WAIT. 0: it waited, and it is to be run
 * again. ERROR_WAIT: the request is going to end with it. ERROR_LOCK_TIMEOUT, ERROR_TIMEOUT.
 */
int lua__wait(struct lua_runtime *runtime);

/*
 * After a run has been rolled back with this code: 0: it is to be run again, with the options as
 * they are now; else the code that it ends with.
 */
int lua__lost(struct lua_runtime *runtime, int code, unsigned *losses, struct txn_options *options);

/* Gives back the locks of the request's owner: its transaction has ended for good, or is a
 * deadlock's victim. */
static inline void lua__let_go(struct lua_runtime *runtime)
{
    if (runtime->owner != NULL)
        lock_release_all(runtime->owner);
}

/* The level of what declares none. */
enum txn_level lua__level(const struct lua_runtime *runtime);

/* Before a statement in a transaction with txn_checks: 0, or why it can't be done. */
int lua__check(struct lua_runtime *runtime, bool writes);

/* After a statement in the runtime's transaction has failed: returns its code, and makes sure that
 * the transaction does not go on when it can't. */
int lua__failed(struct lua_runtime *runtime, int code);

/* Statements of a transaction that can be parked: `point` before; after ERROR_WAIT, undoes the
 * statement and sleeps: 0: to be done again. */
int lua__wait_in_place(struct lua_runtime *runtime, struct txn_savepoint point);

/* Why nothing can go on, or 0; the same code with a message. */
int lua__stop(struct lua_runtime *runtime);
int lua__stopped(struct lua_runtime *runtime);

void lua__seen(struct lua_runtime *runtime);
bool lua__latest(struct lua_runtime *runtime);
/* True once the time of the running call is over; sets diagnostics. */
bool lua__expired(struct lua_runtime *runtime);
/* For loops in C, at each step or once in so many as take a fraction of a millisecond: others who wait for the thread are served, as
 * between two instructions of Lua; no latch is held. The second is also true once the time is over, as above. */
void lua__pause(struct lua_runtime *runtime);
bool lua__interrupted(struct lua_runtime *runtime);
/* Small ones, from one such look to the next. */
enum { LUA__VALUES_AT_ONCE = 1024 };

int lua__api_begin(struct lua_runtime *runtime, int level, int readonly, uint32_t losses,
                   double timeout);
int lua__api_finish(struct lua_runtime *runtime, int how);
int lua__api_in_transaction(const struct lua_runtime *runtime);
int lua__api_savepoint(struct lua_runtime *runtime, struct lua__savepoint *out);
int lua__api_rollback_to(struct lua_runtime *runtime, const struct lua__savepoint *savepoint);

/* walk.c: pairs outside of a transaction. */
int lua__api_walk_open(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                       const struct lua__scan *scan, struct lua__walk_handle *out,
                       struct lua__row *rows);
int lua__api_walk_next(struct lua_runtime *runtime, struct lua__walk_handle *handle,
                       struct lua__row *rows);
void lua__api_walk_drop(struct lua_runtime *runtime, struct lua__walk_handle *handle);
/* What the walks of the request that ends hold is given back. Outside of a transaction. */
void lua__walks_end(struct lua_runtime *runtime);
/* The state has been closed. */
void lua__walks_free(struct lua_runtime *runtime);

/* statement.c */
/* The space, or the index with these numbers, as this transaction has it, if the effective user has
 * these privileges (db/access.h) on the space; NULL with the code in the diagnostics. */
struct space *lua__find_space(struct lua_runtime *runtime, uint32_t id, unsigned privileges);
int lua__index(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
               unsigned privileges, struct index **out);
/* Opens a cursor as `scan` says. */
int lua__scan_open(struct lua_runtime *runtime, struct txn *txn, struct index *index,
                   const struct lua__scan *scan, struct space_cursor *out);
/* Adds a row to runtime->rows. */
int lua__rows_put(struct lua_runtime *runtime, const struct tuple_ref *tuple);
struct lua__api;
extern const struct lua__api lua__api;

/* access.c: for whom code runs, and what it may do. A request begins as its own user. */
void lua__user_begin(struct lua_runtime *runtime, const struct lua_request *request);
/* Changes the effective user; whoever calls it puts the former one (access_user_get) back. */
void lua__user_switch(struct lua_runtime *runtime, uint32_t user_id);
/* Whether the effective user has these privileges (db/access.h) on the slot's space, which are then
 * among its rights; false with ERROR_ACCESS or ERROR_MEMORY in the diagnostics. */
bool lua__space_permits(struct lua_runtime *runtime, struct lua__space_slot *slot, unsigned wanted);
/* The same for a procedure, for text, and for the universe: 0 or a code. */
int lua__may_execute(struct lua_runtime *runtime, const struct func *func);
int lua__may_eval(struct lua_runtime *runtime);
int lua__may_administer(struct lua_runtime *runtime, unsigned privilege);
/* Whether code may use a binding ("socket", "fio" ..): trusted code may; false with the diagnostics
 * set. */
bool lua__granted(struct lua_runtime *runtime, const char *what);

/* What a write answers that may run triggers and was not made through native.write: nothing has
 * happened yet. No error code. */
enum { LUA__CALLS_OUT = 1 };
int lua__api_write(struct lua_runtime *runtime, int operation, uint32_t space_id, uint32_t index_id,
                   struct lua__row *row);
/* The same with the tuple, or the key and the operations, in `given`; it may run triggers, on L.
 * When it fails in a transaction, the functions are forgotten that they have left for its end. */
int lua__write(struct lua_runtime *runtime, lua_State *L, int operation, uint32_t space_id,
               uint32_t index_id, struct mp_buffer given[2], struct lua__row *row);
/* How many functions wait for the end of the transaction; and those that came later are forgotten. The
 * diagnostics stay. */
struct lua__marks {
    int commits, rollbacks;
};
void lua__marks_save(struct lua_runtime *runtime, lua_State *L, struct lua__marks *out);
void lua__marks_return(struct lua_runtime *runtime, lua_State *L, const struct lua__marks *saved);
/* The key is in args[0]; rows->size is how many rows are in runtime->rows. */
int lua__api_get(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                 struct lua__row *row);
/* The keys are an array in args[0]; a row for each, of size 0 when there is none. */
int lua__api_get_many(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                      struct lua__row *rows);
int lua__api_select(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                    const struct lua__scan *how, struct lua__row *rows);
int lua__api_count(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                   const struct lua__scan *how, double *count);

/* trigger.c. Of a statement that is a transaction of its own: it has begun, and it has ended, before it
 * is run again. */
int lua__statement_begun(struct lua_runtime *runtime);
void lua__statement_ended(struct lua_runtime *runtime);
/* limit.c. Of a procedure that began at a moment of CLOCK_MONOTONIC: what is stricter than what is in
 * force; and back. Of a request: none are in force, before and after it. */
void lua__limits_enter(struct lua_runtime *runtime, const struct func *func, uint64_t began_ns,
                       struct lua__limits_before *before);
int lua__limits_leave(struct lua_runtime *runtime, const struct lua__limits_before *before);
void lua__limits_begin(struct lua_runtime *runtime);
void lua__limits_end(struct lua_runtime *runtime);
/* The transaction has gone that was lost by one that is in force no more. */
void lua__limits_forget(struct lua_runtime *runtime);
/* A row is looked at or written: 0, or ERROR_LIMIT. */
int lua__rows_exceeded(struct lua_runtime *runtime);
static inline int lua__row_touched(struct lua_runtime *runtime)
{
    if (runtime->rows_left == 0)
        return lua__rows_exceeded(runtime);
    runtime->rows_left--;
    return 0;
}
/* limit_code with its message. ERROR_TIMEOUT with whose time it was, and where (may be NULL). */
int lua__limit_code(struct lua_runtime *runtime);
int lua__timed_out(struct lua_runtime *runtime, const char *where);
/* By the allocator. */
void lua__memory_refused(struct lua_runtime *runtime);
void lua__open_limit(struct lua_runtime *runtime);

/* trace.c: forgets box.error.last. */
void lua__forget_error(struct lua_runtime *runtime);
/* Notes where the error at index was raised, whose handler runs. */
void lua__note_frames(lua_State *L, struct lua_runtime *runtime, int index);
/* The same for the error at index, which has ended a coroutine. */
void lua__note_dead(lua_State *L, struct lua_runtime *runtime, int index, lua_State *dead);
void lua__forget_frames(struct lua_runtime *runtime);
void lua__push_traced(lua_State *L, struct lua_runtime *runtime); /* a message handler */
void lua__open_trace(struct lua_runtime *runtime);

/* Whether there are triggers of transactions. */
bool lua__begin_events(struct lua_runtime *runtime);
/* A change of the schema is in force. */
void lua__schema_changed(lua_State *L, struct lua_runtime *runtime);
void lua__open_trigger(struct lua_runtime *runtime);

/* host.c: looks after the background functions of modules, in the host, when the schema has changed;
 * the second: it has just been changed by what runs on L. */
void lua__host_settle(struct lua_runtime *runtime);
void lua__host_settle_on(lua_State *L, struct lua_runtime *runtime);

/* schema.c: raises unless a change of the schema may happen now; its result. */
struct lua_runtime *lua__check_ddl(lua_State *L);
int lua__ddl_result(lua_State *L, struct lua_runtime *runtime, int code);
/* What is left of a change: pushes whether there is anything, for which job_step is then called. */
struct ddl_job;
int lua__job_take(lua_State *L, struct lua_runtime *runtime, int code, struct ddl_job *job);
/* Takes back the change that the request has begun and not ended; keeps the diagnostics. */
void lua__job_drop(struct lua_runtime *runtime);
/* ingest.c: nothing becomes of what the request has begun to ingest behind `kept` (NULL: of all); keeps the diagnostics. */
void lua__ingests_drop(struct lua_runtime *runtime, const struct lua__ingest *kept);

/* loop.c: what lua_runtime_others_set has set beyond the runtime. */
void lua__others_forget(struct lua_runtime *runtime);

/* Each adds its functions to the table `native` on top of the stack. */
void lua__open_convert(struct lua_runtime *runtime);
void lua__open_schema(struct lua_runtime *runtime);
void lua__open_runtime(struct lua_runtime *runtime);
void lua__open_redis(struct lua_runtime *runtime);
void lua__open_pattern(struct lua_runtime *runtime);
void lua__open_long(struct lua_runtime *runtime);
void lua__open_transaction(struct lua_runtime *runtime);
void lua__open_statistics(struct lua_runtime *runtime);
void lua__open_statistics_memory(struct lua_runtime *runtime);
void lua__open_statistics_io(struct lua_runtime *runtime);
void lua__open_compaction(struct lua_runtime *runtime);
void lua__open_ingest(struct lua_runtime *runtime);
void lua__open_fiber(struct lua_runtime *runtime);
void lua__open_socket(struct lua_runtime *runtime);
void lua__open_http(struct lua_runtime *runtime);
void lua__open_module(struct lua_runtime *runtime);
void lua__open_library(struct lua_runtime *runtime);
void lua__open_access(struct lua_runtime *runtime);
void lua__open_sequence(struct lua_runtime *runtime);
void lua__open_watch(struct lua_runtime *runtime);
void lua__open_clock(struct lua_runtime *runtime);
void lua__open_digest(struct lua_runtime *runtime);
void lua__open_crypto(struct lua_runtime *runtime);
void lua__open_yaml(struct lua_runtime *runtime);
/* schema.c. Of rows of a system space whose first field is a number (_trigger, _watch), for functions
 * that Lua calls: all of a kind in an array of tables; the table at 1 put (`fresh`: its first field is
 * box.NULL), giving its number; the one whose number is at 1 deleted. */
int lua__records_push(lua_State *L, enum catalog_kind kind);
int lua__record_put(lua_State *L, uint32_t space_id, bool fresh);
int lua__record_drop(lua_State *L, uint32_t space_id);

/* password.c. The password at this index, a text or a job that has ended, made into what is kept;
 * false: there is none. */
struct password;
bool lua__password_at(lua_State *L, struct lua_runtime *runtime, int index, struct password *out);
void lua__open_password(struct lua_runtime *runtime);

void lua__open_fio(struct lua_runtime *runtime);
void lua__fio_destroy(struct lua_runtime *runtime);
void lua__open_profile(struct lua_runtime *runtime);
void lua__open_stepper(struct lua_runtime *runtime);
void lua__open_script_json(struct lua_runtime *runtime);
void lua__open_script_msgpack(struct lua_runtime *runtime);
void lua__open_script_struct(struct lua_runtime *runtime);
/* script_json.c: the settings that every script begins with. */
void lua__script_json_reset(struct lua__script_json *settings);
void lua__open_redis_function(struct lua_runtime *runtime);
/* redis_script.c: makes runtime->result of the value on the top, by the rules of redis_script.c, and
 * {ordered_map = {key, value ..}}, {ordered_set = {..}}. */
void lua__reply_encode(lua_State *L, struct lua_runtime *runtime);
/* Notes the line of the script that is being stopped; what is said of one that was killed: static, or
 * in the runtime. */
void lua__script_place(lua_State *L, struct lua_runtime *runtime);
const char *lua__killed_text(struct lua_runtime *runtime);
/* A script runs from now on; and no more. */
void lua__script_begin(struct lua_runtime *runtime, const char *name, int kind, bool readonly);
void lua__script_end(struct lua_runtime *runtime);

/* Whether events of keys that are not there are asked for, which a read-only transaction can't tell. */
bool lua__misses_wanted(const struct lua_runtime *runtime);
/* Makes runtime->message what Redis says of the error at the index, which has left a
 * script. */
void lua__script_error(lua_State *L, struct lua_runtime *runtime, int index);
/* profile.c: it can be profiled from now on; no more; and in each turn of its loop. */
void lua__profile_register(struct lua_runtime *runtime);
void lua__profile_forget(struct lua_runtime *runtime);
void lua__profile_turn(struct lua_runtime *runtime);

/* digest.c: base64 of either alphabet, padded or not, without what is no digit; `out` has room for
 * three quarters of the size, and three bytes. */
size_t lua__base64_decode(struct lua_runtime *runtime, char *out, const char *in, size_t size);
/* yaml.c: the values of all documents behind each other, appended to `out`. ERROR_INVALID,
 * ERROR_MEMORY, ERROR_TIMEOUT, with diagnostics. */
int lua__yaml_read(struct lua_runtime *runtime, const char *text, size_t size,
                   struct mp_buffer *out, uint32_t *documents);

/* schema.c: pushes the compiled function of a procedure; raises. */
void lua__push_procedure(lua_State *L, struct lua_runtime *runtime, const struct func *func);

/* Calls hook `name` of lua/box/init.lua: pushes it. */
void lua__push_hook(lua_State *L, struct lua_runtime *runtime, const char *name);

#endif
