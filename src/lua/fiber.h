/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUA_FIBER_H
#define LUA_FIBER_H

/*
 * Fibers: coroutines that the runtime's thread runs one after the other, each until it waits for
 * something. Names with two underscores are for this folder only; what others need is in runtime.h.
 *
 *              lua__fiber_new                       it waits: yields the mark and for how long
 *      NEW ───────────────────► READY ──► RUNNING ───────────────────────────► SUSPENDED
 *                                 ▲          │ it has ended                         │
 *                                 │          ▼                                      │
 *                                 │        DEAD                                     │
 *                                 └───── woken, or its time has come ◄──────────────┘
 *
 * What belongs to a request (its transaction, its lock owner, what it has seen, its time) stands in
 * the runtime while its fiber runs, and in the fiber's `context` while it does not.
 */
#include <pthread.h>

#include "lua/internal.h"

enum { LUA__FIBERS_MAX = 10000, LUA__FIBER_ID_FIRST = 101, LUA__FIBER_BUCKETS = 256 };

/* What of the runtime belongs to whoever runs on it now. */
struct lua__context {
    const struct lua_request *request;
    struct lua_fiber *fiber;
    struct ddl_job *job;
    struct lua__ingest *ingests;
    struct lock_owner *owner;
    struct txn *txn;
    unsigned database;
    uint64_t txn_sequence, txn_deadline_ns;
    struct txn_savepoint start;
    uint64_t seen_ts, now_ms;
    int stop;
    uint32_t user_id, effective_id; /* whose request it is, and for whom it runs: access.c */
    bool txn_fixed, txn_opened, txn_checks, handlers, txn_committed;
    bool waits, committed, undoes, seeded, unplaced;
    struct lua__limits limits;
    uint64_t rows_left, memory_left; /* under a limit of a procedure */
    uint64_t asleep_ns;
    int last_error;
    int limit_code;
    char limit_message[sizeof((struct lua_runtime *)NULL)->limit_message];
};

enum lua__fiber_state {
    LUA__FIBER_NEW,
    LUA__FIBER_READY,
    LUA__FIBER_RUNNING,
    LUA__FIBER_SUSPENDED,
    LUA__FIBER_DEAD /* a request's, whose result has not been taken */
};

struct lua_fiber {
    struct list link;  /* in fibers->all */
    struct list same;  /* in fibers->by_id */
    struct list ready; /* in fibers->ready */
    struct list woken; /* in fibers->woken, under the mutex */
    struct lua_runtime *runtime;
    lua_State *L; /* NULL once it has ended */
    int ref;      /* of L, in the registry */
    uint64_t id;
    enum lua__fiber_state state;
    unsigned arguments; /* on its stack, above the function, while it is NEW */
    bool background;    /* nobody waits for what it returns, but perhaps a fiber that joins it */
    bool slept;         /* it has waited: it can't be run again from its start */
    bool settled;       /* a transaction of it has ended: it is not run again from its start */
    bool known;         /* Lua has an object for it */
    bool cancelled;
    size_t timer;     /* its place in the heap, plus 1; 0: none */
    uint64_t wake_ns; /* by the runtime's clock */
    uint64_t switches;
    uint64_t left_ms;  /* of a request's running time; 0: no limit */
    uint64_t aside_ns; /* since when it does not run, of CLOCK_MONOTONIC */
    struct lua__context context;
    struct lua_request request;

    struct lua__stepper *stepper; /* stepper.h; NULL: it stops nowhere */

    /* A statement that waits for a lock: transaction.c and statement.c. */
    bool waiting;
    uint64_t wait_end_ns;
    struct lock_owner *awaited; /* whose wake function is the fiber's, or NULL */
    void *statement;
    struct mp_buffer kept[2]; /* its arguments */

    /* A request's end. */
    void (*wake)(void *arg);
    void (*turn)(void *arg, bool begins); /* or NULL */
    void *wake_arg;
    bool abandoned;
    int code;
    char message[512];
    char name[64]; /* of the procedure */
    struct mp_buffer result;
    struct mp_buffer details; /* of its error, once it has ended */
    uint64_t reply_ts;
};

struct lua__fibers {
    struct list all, ready, by_id[LUA__FIBER_BUCKETS];
    unsigned count, nested, sockets;
    uint64_t last_id;
    uint64_t seen_ts; /* of all fibers: what one does after another has, it does not see less */
    struct lua_fiber **heap; /* of those with a timer, the earliest first */
    size_t heap_count, heap_capacity;
    bool alone;    /* the thread has nothing else to do: what runs outside of a fiber waits here */
    bool stopping; /* the runtime is being deleted */
    bool main_woken;
    pthread_mutex_t mutex; /* guards woken; innermost */
    struct list woken;     /* by other threads */
    _Atomic bool stirred;

    struct uv_loop_s *loop; /* NULL: none yet */
    bool loop_owned;
    struct lua__loop *handles;
    struct lua__http *http;
    struct list watches; /* watch.c */
    unsigned watch_count;
};

int lua__fibers_create(struct lua_runtime *runtime);
/* Cancels what is left and lets it end; then drops it. While the state and the worker are there. */
void lua__fibers_stop(struct lua_runtime *runtime);
void lua__fibers_destroy(struct lua_runtime *runtime);

/* Runs `prepare`, which leaves a function and its arguments on the stack, and then that function as
 * a fiber of this request; the rest as lua_runtime_eval says. */
int lua__fiber_request(struct lua_runtime *runtime, const struct lua_request *request,
                       int (*prepare)(lua_State *L, struct lua_runtime *runtime, void *arg),
                       void *arg, const char *name, size_t name_size, struct mp_buffer *result,
                       uint64_t *reply_ts);

/* The same for a fiber in the background, which begins in its turn. */
int lua__fiber_background(struct lua_runtime *runtime, const struct lua_request *request,
                          int (*prepare)(lua_State *L, struct lua_runtime *runtime, void *arg),
                          void *arg);

/* It goes on in its turn. By the runtime's thread, and from any thread. NULL: what waits outside of
 * a fiber. */
void lua__fiber_ready(struct lua_runtime *runtime, struct lua_fiber *fiber);
void lua__fiber_wake(void *fiber);
struct lua_fiber *lua__fiber_find(struct lua_runtime *runtime, uint64_t id);

/* The fiber that runs can wait for a lock by yielding: nobody is going to run it again. */
bool lua__fiber_can_wait(const struct lua_runtime *runtime);
/* After a statement of it has met a lock: the code for Lua, which yields and then tries again. */
int lua__fiber_park(struct lua_runtime *runtime, struct lock_owner *owner);
/* After the yield: 0: the statement is to be run again; ERROR_WAIT: it has still to wait; or why it
 * can't. `give_up`: it waits no longer. */
int lua__fiber_waited(struct lua_runtime *runtime, bool give_up);
/* A transaction of the running fiber has committed: from here on it waits where it is. Run again from
 * its start, it would give back the locks that it was given, and could do so for ever. */
void lua__fiber_settle(struct lua_runtime *runtime);
/* A commit of it has met a lock: 0: all of the transaction is to be made again. */
int lua__fiber_try_again(struct lua_runtime *runtime);
/* transaction.c: the runtime's transaction goes on after it was parked with its owner queued: 0, or
 * why the statement can't be made again. */
int lua__resume_parked(struct lua_runtime *runtime, struct lock_owner *owner);

/* statement.c: called from Lua. */
int lua__fiber_statement(lua_State *L);

/* watch.c: those who wait for changes that are there now are ready. */
void lua__watches_wake(struct lua_runtime *runtime);

/* http.c: once the state is closed, and before the loop is. */
void lua__http_destroy(struct lua_runtime *runtime);

/* loop.c: the loop that those use who need one, made when there is none. ERROR_MEMORY, ERROR_IO. */
int lua__loop(struct lua_runtime *runtime, struct uv_loop_s **out);
/* Something is ready: it does not sleep; nothing is any more. */
void lua__loop_stir(struct lua_runtime *runtime);
void lua__loop_quiet(struct lua_runtime *runtime);
/* The same from any thread, under fibers->mutex. */
void lua__loop_async(struct lua_runtime *runtime);
/* One turn of the runtime's own loop, which sleeps for so long at most; UINT64_MAX: without end. */
int lua__loop_wait(struct lua_runtime *runtime, uint64_t timeout_ms);
void lua__loop_destroy(struct lua_runtime *runtime);

#endif
