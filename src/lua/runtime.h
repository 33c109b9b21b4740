/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUA_RUNTIME_H
#define LUA_RUNTIME_H

/*
 * A LuaJIT state at work on a database: procedures, scripts and text that somebody typed, each with
 * `box` at hand.
 *
 * Each worker thread owns one runtime, and so does the thread of a script. All functions of a
 * runtime are called by the thread that made it, and not while the worker has a transaction, except the
 * request's own (lua_request) and that of lua_runtime_redis_eval_in.
 *
 * Two kinds. An untrusted runtime serves code that came over the wire or from the catalog: no ffi,
 * io, debug or bytecode, bounded time and memory. A trusted one runs the operator's own files with
 * all that LuaJIT has, and without a time limit unless one is given.
 *
 * Errors: a negative code, with diagnostics whose message begins with the chunk's name and the line
 * ("transfer:3: not enough money").
 *      ERROR_LUA           the code raised something of its own, or does not compile
 *      ERROR_TIMEOUT       time limit exceeded; rolled back
 *      ERROR_MEMORY        memory limit of the state, or of the database, exceeded; rolled back
 *      ERROR_NOT_FOUND     no procedure is called so
 *      ERROR_WAIT, ERROR_LOCK_TIMEOUT     see struct lua_request
 *      any other           what a statement raised and nobody caught (ERROR_DUPLICATE,
 *                          ERROR_SCHEMA, ERROR_READONLY ..)
 * A runtime stays usable after every error.
 *
 * Timestamps for replies (invariant 9): *reply_ts, which is set after errors as well, is the
 * largest timestamp of anything that was looked at or written: the reply waits until wal_reply_ts
 * has reached it. 0: nothing to wait for.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/mp.h"
#include "db/db.h"
#include "db/trigger.h"
#include "redis/redis.h"

struct lua_State;
struct lua_fiber;
struct lua_runtime;
struct uv_loop_s;
struct lua_watchdog;
struct lua_others;

/*
 * One thread that watches the deadlines of all runtimes of a process and stops the Lua code that
 * has passed its own, compiled loops included. It outlives the runtimes that were given it. While any
 * runs it calls `running`, unless that is NULL, every few milliseconds.
 * ERROR_MEMORY, ERROR_AGAIN (no thread to be had).
 */
int lua_watchdog_new(void (*running)(void *arg), void *arg, struct lua_watchdog **out);
void lua_watchdog_delete(struct lua_watchdog *watchdog);

/* What there is to know of a connection. `type`: "binary", "redis", or "unknown" while nothing has
 * come. */
struct lua_peer {
    char address[128];
    const char *type; /* a constant */
    int fd;           /* -1: none */
};

/* What the runtime asks of whoever embeds it. Every function may be NULL. They run on the runtime's
 * thread. */
struct lua_callbacks {
    /* Puts pairs (key, value) of MessagePack, without a map's header, for box.info (version,
     * status, uptime, listen ..) into `out`; returns their number. */
    uint32_t (*info)(void *arg, struct mp_buffer *out);
    /* The same for the options in force, which box.cfg.NAME reads. */
    uint32_t (*options)(void *arg, struct mp_buffer *out);
    /* box.cfg{..} was called by a trusted script: `table` is a checked MessagePack map. 0 or a code
     * with diagnostics. */
    int (*configure)(void *arg, const char *table, size_t size);
    /* Whether the server has a command of this name, in whatever case. NULL: those of redis/. */
    bool (*command_taken)(void *arg, const char *name, size_t size);
    /* A command that is none of redis/, called by a request of this connection, in `txn` or in none
     * (NULL): writes one reply. 0, or a code with diagnostics: it is unknown, or not for scripts, or
     * failed. */
    int (*server_command)(void *arg, struct db_worker *worker, uint64_t session_id, struct txn *txn,
                          uint64_t now_ms, int protocol, const struct redis_slice *argv,
                          unsigned argc, struct redis_sink *sink);
    /* The schema has been changed by this runtime: whoever has made another one the host of modules
     * lets it run soon (lua_runtime_host). NULL: this one looks itself. */
    void (*schema_changed)(void *arg);
    /* Before a command of redis.call, of a request of this connection (0: nobody's), for this user:
     * 0; 1, it may run whatever the user's privileges are; or a code with diagnostics: it must not.
     * `snapshot_ts`: of the transaction that it is a part of; UINT64_MAX: it has one of its own. */
    int (*before_command)(void *arg, struct db_worker *worker, uint64_t session_id,
                          uint32_t user_id, const struct redis_command *command,
                          const struct redis_slice *argv, unsigned argc, uint64_t snapshot_ts);
    /* The connection with this number, of whichever worker; false: there is none. */
    bool (*session)(void *arg, uint64_t session_id, struct lua_peer *out);
    /* The runtime keeps something for this connection until lua_runtime_session_ended. */
    void (*session_kept)(void *arg, uint64_t session_id);
    void *arg;
    const struct redis_audience *audience; /* of PUBLISH */
    struct redis_lookups *lookups;         /* of redis.call; NULL: nobody counts them */
    const struct redis_interest *interest; /* in keys; NULL: nobody has any */
    const struct redis_config *config;     /* of redis.call; NULL: Redis's defaults */
};

struct lua_runtime_options {
    struct db_worker *worker;      /* of the same thread; the caller's, outlives the runtime */
    struct lua_watchdog *watchdog; /* NULL: no time limit */
    uint64_t time_max_ms;          /* for each call; 0: no limit */
    uint64_t lock_timeout_ms;      /* for requests without may_wait; 0:
                                      LUA_LOCK_TIMEOUT_MS_DEFAULT, UINT64_MAX: none */
    uint64_t memory_bytes_max;     /* of the state; 0: LUA_MEMORY_BYTES_DEFAULT when untrusted, none
                                      when trusted */
    uint64_t transaction_idle_max_ms; /* of one whose code has been stopped; 0: none */
    bool trusted;
    const char
        *fio_dir; /* the folder whose files untrusted code may use; NULL or "": none. Outlives
                            the runtime */
    struct lua_callbacks callbacks;
};

enum { LUA_MEMORY_BYTES_DEFAULT = 256 * 1024 * 1024, LUA_LOCK_TIMEOUT_MS_DEFAULT = 10000 };

/* ERROR_MEMORY, or ERROR_LUA when the built-in Lua does not load. */
int lua_runtime_new(const struct lua_runtime_options *options, struct lua_runtime **out);
void lua_runtime_delete(struct lua_runtime *runtime);

/*
 * How a request runs. All zero: at V, may write, serializable unless declared otherwise, in
 * transactions of its own, waiting for locks with its thread.
 *
 * With `txn`, which is the worker's current one, all that the request does is a part of it. The
 * request is undone when it fails, to where it began; ERROR_CONFLICT, ERROR_DEADLOCK and
 * ERROR_CANCELLED mean that the transaction itself is lost, and the caller rolls it back. After
 * ERROR_WAIT the transaction's owner is queued: the caller parks it, and runs the request again.
 *
 * With `may_wait`, where a lock is held by others the request ends with ERROR_WAIT, rolled back,
 * and is to be run again from its start with the owner that *waiting is set to, which keeps the
 * locks it has got so far: the caller's from then on, and deleted by the caller in the end, however
 * the request ends. A request that has already committed something (text whose statements are
 * transactions of their own) can't be run again: it gets ERROR_LOCK_TIMEOUT instead.
 *
 * Without it, for threads that have nothing else to do, the runtime itself waits, for at most its
 * lock timeout, and goes on: ERROR_LOCK_TIMEOUT.
 *
 * A deadlock is lost and run again as a conflict is.
 */
struct lua_request {
    bool latest;   /* read the latest instead of V: earlier replies of this connection still wait */
    bool readonly; /* writes are refused with ERROR_READONLY */
    bool level_given; /* level is the session's default, for what declares none */
    enum txn_level level;
    struct txn *txn; /* an interactive transaction, or EXEC's; NULL: the request's own */
    uint64_t now_ms; /* of `txn`; 0: the clock's */
    bool
        undone_by_caller; /* of `txn`, when it fails; after ERROR_WAIT all of it is to be rolled back and
                              run again */
    bool may_wait;
    struct lock_owner *owner;    /* from an earlier try of this request, or NULL */
    struct lock_owner **waiting; /* set with ERROR_WAIT when txn is NULL; not NULL if may_wait */
    uint64_t session_id;         /* who it is for, for those who look; 0: nobody */
    struct lua_fiber **fiber;    /* not NULL: it may sleep; see below */
    uint32_t user_id; /* for whom it runs (db/access.h); 0 is the guest. A trusted runtime works for
                         the admin. */
    unsigned database; /* of Redis's, for redis.call */
    /* Takes what box.session.push tells of a request on its way, while that goes on, one value; what it
     * rests on is durable when the log has reached `ts`. NULL: nobody listens. On the runtime's thread. */
    int (*progress)(void *arg, uint64_t id, const char *value, size_t size, uint64_t ts);
    void *progress_arg;
    uint64_t progress_id;
    bool granted;  /* its redis.call is not refused for want of memory (redis_call.granted) */
    bool no_touch; /* its redis.call looks at keys without using them (CLIENT NO-TOUCH) */
};

/*
 * Requests that sleep. Text, and a procedure that is no transaction, may wait for time, for other
 * fibers and for sockets when `fiber` is given and `txn` is not. Such a request ends with ERROR_WAIT
 * and *fiber set (without it, ERROR_WAIT means a lock). It goes on in lua_runtime_run; when it has
 * ended `wake` is called, once, in there, and lua_fiber_take gives what the request's own call would
 * have given, and forgets the fiber; before that ERROR_WAIT. Nothing of it is run twice: the caller
 * neither runs it again nor keeps a lock owner for it.
 *
 * lua_fiber_turn_set: `on_turn` is called before and behind each piece of code that it runs meanwhile, with
 * the argument of `wake`.
 *
 * lua_fiber_cancel: what it waits for, or has waited for when it gets its turn, raises an error in it.
 * lua_fiber_abandon: the same, and nobody is interested any more.
 */
void lua_fiber_wake_set(struct lua_fiber *fiber, void (*wake)(void *arg), void *arg);
void lua_fiber_turn_set(struct lua_fiber *fiber, void (*on_turn)(void *arg, bool begins));
int lua_fiber_take(struct lua_fiber *fiber, struct mp_buffer *result, uint64_t *reply_ts);
void lua_fiber_cancel(struct lua_fiber *fiber);
void lua_fiber_abandon(struct lua_fiber *fiber);

/*
 * Gives each fiber that is ready its turn. Not while the worker has a transaction. To be called once
 * in a turn of the thread's loop, and when lua_runtime_due_ms have passed: 0: at once, UINT64_MAX:
 * nobody waits for time.
 */
void lua_runtime_run(struct lua_runtime *runtime);
uint64_t lua_runtime_due_ms(const struct lua_runtime *runtime);
bool lua_runtime_has_fibers(const struct lua_runtime *runtime);

/*
 * Begins `text` (statements) as a fiber in the background for a user, as its requests are for theirs:
 * what is to run on a worker from its start on. Its errors are logged. Errors of compiling, ERROR_BUSY
 * (too many fibers), ERROR_MEMORY.
 */
int lua_runtime_background(struct lua_runtime *runtime, const char *text, size_t size,
                           uint32_t user_id);

/* For a script's thread that waits for something else as well: the descriptor of the runtime's own
 * loop, to be polled for input, -1: it has none; and a turn of the loop and of the fibers, after which
 * lua_runtime_due_ms says how long to poll. */
int lua_runtime_poll_fd(const struct lua_runtime *runtime);
void lua_runtime_poll(struct lua_runtime *runtime);

/*
 * Makes this the runtime that runs the background functions of installed modules (`start` of their
 * manifests), in fibers; there is to be one of a process. False: they are cancelled, and end where
 * they wait. Not inside of a request of its own when `hosts` is true.
 */
void lua_runtime_host(struct lua_runtime *runtime, bool hosts);

/*
 * The loop of the runtime's thread, on which fibers use sockets and which is kept from sleeping when
 * one is ready: once, before any request. It outlives the runtime, and has to be run once more after
 * that. Without one, a thread that has nothing else to do (a script's) waits in a loop of the
 * runtime's own. ERROR_MEMORY, ERROR_IO.
 */
int lua_runtime_loop_set(struct lua_runtime *runtime, struct uv_loop_s *loop);

/*
 * For whom else the runtime's thread works (lua/watchdog.h): while Lua code runs on it, the watchdog asks
 * every few milliseconds whether they `wait`, from its own thread and under its mutex, and if they do has
 * that code interrupted: the runtime's thread calls `serve` between two of its instructions, which must not run Lua, nor touch
 * what code may have left half done. Functions of C that go over rows, values or bytes call it between their
 * steps, where no latch is held (lua__pause); within others code is not interrupted before they return. Once, before any request; `arg` outlives the runtime. Without a watchdog nobody asks.
 */
void lua_runtime_others_set(struct lua_runtime *runtime, const struct lua_others *others);

/*
 * For what the runtime's thread does by itself, outside of a call, and goes over much with: to be called between its
 * steps, every thousand values or so. From the first time on the watchdog asks as above, until the end is told. So what is short
 * costs nothing. Within a call the first one is what functions of C do.
 */
void lua_runtime_let_in(struct lua_runtime *runtime);
void lua_runtime_let_in_end(struct lua_runtime *runtime);

/*
 * CALL: runs the stored procedure `name` with the elements of the MessagePack array `args`
 * (checked; NULL: none) as one transaction, as its options say, again from its start after a
 * conflict (invariant 22), and appends a MessagePack array of what it returned to `result`, which
 * is left as it was after an error.
 */
int lua_runtime_call(struct lua_runtime *runtime, const struct lua_request *request,
                     const char *name, size_t name_size, const char *args, struct mp_buffer *result,
                     uint64_t *reply_ts);

/*
 * LUA: compiles `text`, as an expression if it is one, else as statements, and runs it with args as
 * `...`. Statements of box commit one by one unless the text begins a transaction; one still open
 * at the end is rolled back, and that is an error. Globals live as long as the runtime. Results as
 * for a call.
 */
int lua_runtime_eval(struct lua_runtime *runtime, const struct lua_request *request,
                     const char *text, size_t size, const char *args, struct mp_buffer *result,
                     uint64_t *reply_ts);

/*
 * A statement on a space, as box.space has it, for the request's user: in its transaction, or a
 * transaction of its own. Values are checked MessagePack, keys and tuples arrays. Appends an array of
 * one result: the tuple or nil, an array of tuples (of get_many with nil in it), a number; after an error nothing. What fails is
 * what the statement raises in Lua.
 */
enum lua_space_operation { /* those that write as statement.c numbers them */
                           LUA_SPACE_INSERT,
                           LUA_SPACE_REPLACE,
                           LUA_SPACE_DELETE,
                           LUA_SPACE_UPDATE,
                           LUA_SPACE_UPSERT,
                           LUA_SPACE_GET,
                           LUA_SPACE_GET_MANY,
                           LUA_SPACE_SELECT,
                           LUA_SPACE_COUNT
};
struct lua_space_call {
    enum lua_space_operation operation;
    const char *space, *index; /* names; index NULL: the primary one */
    size_t space_size, index_size;
    const char
        *subject; /* the tuple or the key, or an array of keys; of a select or count size 0: none */
    size_t subject_size;
    const char *operations; /* of an update or upsert; fields are counted from 1 */
    size_t operations_size;
    const char *after; /* of a select: a tuple to go on behind; size 0: none */
    size_t after_size;
    int iterator; /* enum space_iterator; -1: EQ with a key, else ALL */
    uint64_t limit, offset;
};
int lua_runtime_space(struct lua_runtime *runtime, const struct lua_request *request,
                      const struct lua_space_call *call, struct mp_buffer *result,
                      uint64_t *reply_ts);

/* A change of the schema, or what there is in it: `args` is an array of the function's name
 * (lua/box/schema_command.lua) and its arguments. Results as for a call. */
int lua_runtime_schema(struct lua_runtime *runtime, const struct lua_request *request,
                       const char *args, struct mp_buffer *result, uint64_t *reply_ts);

/*
 * Runs the triggers of an event that belongs to no space, in order, with the elements of the
 * MessagePack array `args`: not as one transaction. Where a lock is held by others it does not wait:
 * ERROR_LOCK_TIMEOUT. 0 at once when there are none; the first error ends it.
 */
int lua_runtime_event(struct lua_runtime *runtime, enum trigger_event event, const char *args,
                      uint64_t session_id, uint32_t user_id);

/* The session has ended, and its triggers have run: what Lua keeps for it is dropped. Outside of
 * requests. */
void lua_runtime_session_ended(struct lua_runtime *runtime, uint64_t session_id);

/* EVAL and EVAL_RO, FCALL and FCALL_RO. */
struct lua_redis_eval {
    const char *script; /* or the name of a function of a library */
    size_t script_size;
    bool function;
    const struct redis_slice *keys; /* KEYS and ARGV */
    unsigned key_count;
    const struct redis_slice *args;
    unsigned arg_count;
    const struct redis_slice *argv; /* the whole request, for those who ask what runs */
    unsigned argc;
    struct lua_request request; /* readonly: EVAL_RO */
};

/*
 * Runs a Redis script as one serializable transaction, again after a conflict, and writes the
 * reply, converted by Redis's rules, into `sink` only after the commit has succeeded. Scripts are
 * compiled once and kept by their SHA-1. After an error nothing has been written to the sink.
 */
int lua_runtime_redis_eval(struct lua_runtime *runtime, const struct lua_redis_eval *eval,
                           struct redis_sink *sink, uint64_t *reply_ts);

/*
 * The same inside of a transaction that the caller has begun and will end (MULTI); `now_ms` is that
 * transaction's time. ERROR_CONFLICT, ERROR_WAIT, ERROR_DEADLOCK: the caller rolls its transaction
 * back and runs it again. A script that fails otherwise leaves its writes to the caller, as Redis
 * does. Of eval->request only `readonly` counts.
 */
int lua_runtime_redis_eval_in(struct lua_runtime *runtime, struct txn *txn, uint64_t now_ms,
                              const struct lua_redis_eval *eval, struct redis_sink *sink);

/*
 * FUNCTION: argv[0] is the subcommand in lower case (load, delete, flush, list, stats, dump, restore),
 * its arguments follow. Libraries are rows of _redis_library; what changes them is a transaction on
 * the schema. _find: whether there is a function of this name, in whatever case.
 */
int lua_runtime_redis_function(struct lua_runtime *runtime, const struct lua_request *request,
                               const struct redis_slice *argv, unsigned argc,
                               struct redis_sink *sink, uint64_t *reply_ts);
bool lua_runtime_redis_function_find(struct lua_runtime *runtime, const char *name, size_t size);

/*
 * SCRIPT KILL and FUNCTION KILL: stops the script, or the function, that the runtime runs at this
 * moment; its transaction is rolled back, and the request ends with ERROR_TIMEOUT. False: it runs none.
 * From any thread while the runtime exists.
 */
bool lua_runtime_script_kill(struct lua_runtime *runtime, bool function);

/* The same for whatever runs at this moment. False: nothing does, or it was about to have another limit, or what runs has
 * been put off until the transaction had ended. */
bool lua_runtime_cancel(struct lua_runtime *runtime);

/*
 * FUNCTION STATS: for how long the function of a library that the runtime runs at this moment has been
 * running, and into `out`, as MessagePack strings, its name and up to words_max words of the request;
 * how many strings. 0: it runs none. From any thread while the runtime exists.
 */
unsigned lua_runtime_function_running(struct lua_runtime *runtime, struct mp_buffer *out,
                                      unsigned words_max, uint64_t *ms);

/* SCRIPT LOAD: compiles and keeps it; sha1 gets 40 hexadecimal digits and a zero. SCRIPT EXISTS and
 * EVALSHA: the source kept for a digest of either case, valid until the next call on this runtime,
 * or NULL. Scripts are kept by runtime, LUA_SCRIPTS_MAX of them; the caller offers the source to
 * other workers' runtimes. */
enum { LUA_SCRIPTS_MAX = 1024, LUA_SHA1_SIZE = 41 };
int lua_runtime_script_load(struct lua_runtime *runtime, const char *script, size_t size,
                            char sha1[LUA_SHA1_SIZE]);
const char *lua_runtime_script_find(struct lua_runtime *runtime, const char sha1[LUA_SHA1_SIZE],
                                    size_t *size);
void lua_runtime_script_flush(struct lua_runtime *runtime);

/*
 * Runs a file in a trusted runtime with `arg` and `...` set from argv (argv[0] is the first
 * argument, not the path), not in a transaction. After an error the diagnostics hold the message,
 * and lua_runtime_trace the message with the stack. *reply_ts may be NULL.
 */
int lua_runtime_run_file(struct lua_runtime *runtime, const char *path, int argc, char **argv,
                         uint64_t *reply_ts);

/* Message and stack of the last error, "" when there was none. Valid until the next call on the
 * runtime. */
const char *lua_runtime_trace(const struct lua_runtime *runtime);

/* Where the last request's error was raised: a MessagePack array of maps {file, line, name}, the
 * innermost first; NULL when it was not raised by Lua code. Valid until the next request. */
const char *lua_runtime_frames(const struct lua_runtime *runtime, size_t *size);

/* What the last request's error has as its field `details`, a table: MessagePack, or NULL. Valid until
 * the next request. */
const char *lua_runtime_details(const struct lua_runtime *runtime, size_t *size);

/* The state, for those who start something of their own in a trusted one (console, busted). Whoever
 * runs code on it directly calls lua_runtime_settle afterwards: rolls back what is open
 * (ERROR_INVALID when something was) and says what a reply has to wait for. */
struct lua_State *lua_runtime_state(struct lua_runtime *runtime);
int lua_runtime_settle(struct lua_runtime *runtime, uint64_t *reply_ts);

/* Bytes that the state uses. */
size_t lua_runtime_memory(const struct lua_runtime *runtime);

/* Which LuaJIT this is: "LuaJIT 2.1 with CHECKHOOK", or "LuaJIT 2.1 as packaged, untrusted code
 * interpreted". */
const char *lua_runtime_variant(void);

#endif
