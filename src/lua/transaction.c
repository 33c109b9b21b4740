/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime's transaction: begun, ended, returned to a savepoint; and what happens where a lock is
 * held by others.
 *
 * No transaction waits while it runs. A statement that meets a lock returns ERROR_WAIT, the lock's
 * owner is queued, and the transaction can only be rolled back (invariant 23), whatever pcall has
 * caught. Then there are four ways on:
 *
 *      a request in an interactive transaction  is undone, and ends with ERROR_WAIT
 *      a request that may wait                  ends with ERROR_WAIT, to be run again from its
 *                                               start with the same owner; if it has committed
 *                                               something already, with ERROR_LOCK_TIMEOUT
 *      a thread with nothing else to do: a procedure or script
 *                                               sleeps here after the rollback, and is run again
 *      the same: box.begin, box.atomic          their transactions can be parked: only the
 *                                               statement is undone, and done again after the sleep,
 *                                               because nobody could run the code before it again
 *
 * Sleeping with a transaction that is not parked would keep the exclusive gate waiting, and whoever
 * holds the lock may need the gate.
 */
#include <time.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/ddl.h"
#include "db/memory.h"
#include "lua/fiber.h"
#include "lua/internal.h"

enum { LOOK_NS = 20000000, ROOM_LOOK_NS = 2000000 };
#define EXPRESSION_MAX_NS UINT64_C(1000000000)
#define SLEEP_MS_MAX      UINT64_C(1000000000000) /* some thirty years: for ever */

void lua__seen(struct lua_runtime *runtime)
{
    uint64_t ts = txn_worker_seen_ts(runtime->txn_worker);
    if (ts > runtime->seen_ts)
        runtime->seen_ts = ts;
}

bool lua__latest(struct lua_runtime *runtime)
{
    return runtime->request->latest || runtime->seen_ts > wal_visible_ts(runtime->wal);
}

enum txn_level lua__level(const struct lua_runtime *runtime)
{
    return runtime->request->level_given ? runtime->request->level : TXN_SERIALIZABLE;
}

/* An expression has no deadline: its Lua code is counted, and this is asked by C only. */
static bool expression_expired(struct lua_runtime *runtime)
{
    uint64_t now = clock_monotonic_ns(clock_system());
    if (runtime->started_ns == 0)
        runtime->started_ns = now;
    if (now - runtime->started_ns < EXPRESSION_MAX_NS)
        return false;
    runtime->expired_ns = now;
    diag_set(ERROR_TIMEOUT, "time limit exceeded");
    return true;
}

bool lua__expired(struct lua_runtime *runtime)
{
    if (runtime->expressions)
        return expression_expired(runtime);
    if (!lua__deadline_passed(&runtime->deadline))
        return false;
    lua__timed_out(runtime, NULL);
    return true;
}

void lua__pause(struct lua_runtime *runtime)
{
    if (!runtime->expressions)
        lua__deadline_pause(&runtime->deadline);
}

bool lua__interrupted(struct lua_runtime *runtime)
{
    lua__pause(runtime);
    return lua__expired(runtime);
}

/* ---------------------------------------------------------------------------- begin and end */

/* How long the thread may sleep now. */
static uint64_t sleep_max_ns(struct lua_runtime *runtime)
{
    uint64_t timeout_ms = runtime->options.lock_timeout_ms;
    if (timeout_ms == 0)
        timeout_ms = LUA_LOCK_TIMEOUT_MS_DEFAULT;
    uint64_t left = timeout_ms > SLEEP_MS_MAX ? SLEEP_MS_MAX * 1000000 : timeout_ms * 1000000;
    uint64_t ends[2] = {load_relaxed(&runtime->deadline.at_ns), runtime->txn_deadline_ns};
    uint64_t nows[2] = {clock_monotonic_ns(clock_system()), clock_monotonic_ns(runtime->clock)};
    for (int i = 0; i < 2; i++)
        if (ends[i] != 0) {
            uint64_t until = ends[i] > nows[i] ? ends[i] - nows[i] : 0;
            left = until < left ? until : left;
        }
    return left;
}

static void sleep_ns(uint64_t ns)
{
    nanosleep(
        &(struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)},
        NULL);
}

/* A script's thread, which has nothing else to do: as long as writers are slowed, and while rows leave memory that it
 * needs. Others have waited before they were run. */
static void room_wait(struct lua_runtime *runtime)
{
    struct db *db = db_worker_db(runtime->worker);
    if (runtime->request->may_wait || !runtime->fibers->alone)
        return;
    if (db_memory_is_easy(db))
        return;
    uint64_t max_ns = sleep_max_ns(runtime), slow_ns = db_memory_slow_ns(db),
             end = clock_monotonic_ns(clock_system()) + max_ns;
    if (slow_ns > 0)
        sleep_ns(slow_ns < max_ns ? slow_ns : max_ns);
    while (db_memory_frees(db) && clock_monotonic_ns(clock_system()) < end)
        sleep_ns(ROOM_LOOK_NS);
}

enum begin_kind { BEGIN_PLAIN, BEGIN_OPEN, BEGIN_SCHEMA };

static int begin(struct lua_runtime *runtime, struct txn_options *options, enum begin_kind kind)
{
    if (runtime->stop != 0)
        return lua__stopped(runtime);
    if (!options->readonly && kind != BEGIN_SCHEMA)
        room_wait(runtime);
    /* One that only reads takes no locks, and must not give back, at its end, those that this request
     * has waited for and is about to use. */
    options->owner = options->readonly ? NULL : runtime->owner;
    options->session_id = runtime->request->session_id;
    int code = kind == BEGIN_PLAIN  ? txn_begin(runtime->txn_worker, options, &runtime->txn)
               : kind == BEGIN_OPEN ? txn_open(runtime->txn_worker, options, &runtime->txn)
                                    : ddl_begin(runtime->worker, options, &runtime->txn);
    if (code != 0) {
        runtime->txn = NULL;
        return code;
    }
    runtime->txn_sequence = ++runtime->txn_sequence_last;
    runtime->now_ms = clock_realtime_ms(runtime->clock);
    return 0;
}

int lua__begin(struct lua_runtime *runtime, struct txn_options *options)
{
    return begin(runtime, options, BEGIN_PLAIN);
}

/* On the thread of whoever gives back the lock that the runtime waits for. */
static void wake(void *arg)
{
    struct lua_runtime *runtime = arg;
    sem_post(&runtime->woken);
}

/* One that can be parked. */
static int begin_open(struct lua_runtime *runtime, struct txn_options *options)
{
    int code = begin(runtime, options, BEGIN_OPEN);
    if (code != 0)
        return code;
    runtime->txn_opened = runtime->txn_checks = true;
    if (lua__fiber_can_wait(runtime))
        lock_owner_wake_set(txn_owner(runtime->txn), lua__fiber_wake, runtime->fiber);
    else
        lock_owner_wake_set(txn_owner(runtime->txn), wake, runtime);
    return 0;
}

/* The transaction is gone. */
static void forget(struct lua_runtime *runtime, bool committed)
{
    runtime->txn_committed = committed;
    runtime->txn = NULL;
    runtime->txn_sequence = ++runtime->txn_sequence_last;
    runtime->txn_opened = runtime->txn_checks = false;
    runtime->txn_deadline_ns = 0;
    lua__seen(runtime);
}

int lua__commit(struct lua_runtime *runtime)
{
    bool readonly = txn_readonly(runtime->txn);
    int code = ddl_active(runtime->worker) ? ddl_commit(runtime->worker) : txn_commit(runtime->txn);
    forget(runtime, code == 0);
    if (code != 0)
        return code;
    if (!readonly)
        lua__let_go(runtime);
    /* Code that goes on for long may have committed what others wait to see: they read at V. */
    if (runtime->seen_ts > wal_visible_ts(runtime->wal))
        wal_kick_early(runtime->wal);
    return 0;
}

void lua__rollback(struct lua_runtime *runtime)
{
    if (runtime->txn != NULL) {
        if (ddl_active(runtime->worker))
            ddl_rollback(runtime->worker);
        else
            txn_rollback(runtime->txn);
        forget(runtime, false);
    }
    if (!runtime->waits)
        runtime->stop = 0;
    lua__limits_forget(runtime);
}

/* ---------------------------------------------------------------------------------- stopping */

int lua__stop(struct lua_runtime *runtime)
{
    if (runtime->stop != 0 || runtime->txn == NULL)
        return runtime->stop;
    return txn_stopped(runtime->txn);
}

int lua__stopped(struct lua_runtime *runtime)
{
    int code = lua__stop(runtime);
    if (code == runtime->limit_code && code != 0)
        return lua__limit_code(runtime);
    if (code == ERROR_TIMEOUT)
        return diag_set(code, "the transaction has taken longer than its timeout");
    if (code == ERROR_CANCELLED)
        return diag_set(code, "the transaction has been cancelled");
    return diag_set(code, "%s", error_text(code));
}

int lua__failed(struct lua_runtime *runtime, int code)
{
    bool lost = code == ERROR_WAIT || code == ERROR_DEADLOCK || code == ERROR_CANCELLED;
    if (lost && runtime->txn != NULL && runtime->stop == 0) {
        runtime->stop = code;
        runtime->txn_checks = true;
    }
    return code;
}

int lua__check(struct lua_runtime *runtime, bool writes)
{
    if (runtime->stop != 0)
        return lua__stopped(runtime);
    if (writes && (runtime->request->readonly || runtime->script.readonly))
        return diag_set(ERROR_READONLY, "this request may not write");
    if (runtime->txn_deadline_ns != 0 &&
        clock_monotonic_ns(runtime->clock) >= runtime->txn_deadline_ns) {
        runtime->stop = ERROR_TIMEOUT;
        return lua__stopped(runtime);
    }
    return 0;
}

/* ----------------------------------------------------------------------------------- waiting */

/* The request is going to end, to be run again by its caller. */
static int wait_outside(struct lua_runtime *runtime)
{
    if (!runtime->committed && runtime->request->may_wait) {
        runtime->waits = true;
        runtime->stop = ERROR_WAIT;
        return ERROR_WAIT;
    }
    lock_wait_cancel(runtime->owner, true);
    lua__let_go(runtime);
    return diag_set(ERROR_LOCK_TIMEOUT,
                    "a lock is held by others, and this request can't wait for it because it has "
                    "committed something already: put all of it into one box.atomic");
}

int lua__wait(struct lua_runtime *runtime)
{
    if (runtime->owner == NULL)
        runtime->owner = txn_owner_detach(runtime->txn_worker);
    if (lua__expired(runtime))
        return ERROR_TIMEOUT;
    if (runtime->owner == NULL)
        return 0;
    if (lua__fiber_can_wait(runtime))
        return lua__fiber_park(runtime, runtime->owner);
    if (runtime->request->may_wait || !runtime->fibers->alone)
        return wait_outside(runtime);
    int code = lock_wait_block(runtime->owner, sleep_max_ns(runtime));
    if (code == 0)
        return 0;
    lua__let_go(runtime);
    return code == ERROR_DEADLOCK ? 0 : lua__expired(runtime) ? ERROR_TIMEOUT : code;
}

/*
 * Sleeps until the owner of a parked transaction waits no longer, or the time is over. Whoever rolls
 * the transaction back meanwhile has it, and its owner, to himself, and wakes nobody: so this looks
 * at nothing but the state of the wait, now and then.
 */
static void sleep_parked(struct lua_runtime *runtime, const struct lock_owner *owner)
{
    uint64_t now = clock_monotonic_ns(clock_system()), end = now + sleep_max_ns(runtime);
    while (lock_wait_state(owner) == LOCK_WAIT_QUEUED && now < end) {
        uint64_t until = end - now < LOOK_NS ? end : now + LOOK_NS;
        struct timespec time = {.tv_sec = (time_t)(until / 1000000000),
                                .tv_nsec = (long)(until % 1000000000)};
        sem_clockwait(&runtime->woken, CLOCK_MONOTONIC, &time);
        now = clock_monotonic_ns(clock_system());
    }
}

int lua__wait_in_place(struct lua_runtime *runtime, struct txn_savepoint point)
{
    struct txn *txn = runtime->txn;
    struct lock_owner *owner = txn_owner(txn);
    txn_rollback_to(txn, point);
    txn_park(txn);
    runtime->parks++;
    if (lua__fiber_can_wait(runtime))
        return lua__fiber_park(runtime, owner);
    sleep_parked(runtime, owner);
    return lua__resume_parked(runtime, owner);
}

int lua__resume_parked(struct lua_runtime *runtime, struct lock_owner *owner)
{
    int code = txn_resume(runtime->txn);
    if (code != 0) { /* it has ended */
        forget(runtime, false);
        runtime->stop = ERROR_CANCELLED;
        return code;
    }
    enum lock_wait state = lock_wait_cancel(owner, true);
    if (state == LOCK_WAIT_VICTIM) { /* gives back at once what others wait for */
        txn_rollback(runtime->txn);
        forget(runtime, false);
        runtime->stop = ERROR_DEADLOCK;
        return lua__stopped(runtime);
    }
    if (state != LOCK_WAIT_QUEUED)
        return 0;
    return lua__expired(runtime)
               ? ERROR_TIMEOUT
               : diag_set(ERROR_LOCK_TIMEOUT, "%s", error_text(ERROR_LOCK_TIMEOUT));
}

int lua__lost(struct lua_runtime *runtime, int code, unsigned *losses, struct txn_options *options)
{
    if (runtime->stop != 0)
        return code;
    if (code == ERROR_WAIT)
        return lua__wait(runtime);
    if (code != ERROR_CONFLICT)
        lua__let_go(runtime);
    if (code != ERROR_CONFLICT && code != ERROR_DEADLOCK)
        return code;
    if (lua__expired(runtime))
        return ERROR_TIMEOUT;
    txn_backoff(runtime->txn_worker, ++*losses, options);
    return 0;
}

/* --------------------------------------------------------------------------- called from Lua */

enum { BEGIN_READONLY = 1, BEGIN_ALTERS = 2 }; /* also in lua/box/transaction.lua */

/* A schema transaction; it may change rows, too. */
static int begin_schema(struct lua_runtime *runtime, struct txn_options *options)
{
    if (options->readonly)
        return diag_set(ERROR_READONLY, "a transaction that may change the schema is not readonly, "
                                        "and its request may write");
    return begin(runtime, options, BEGIN_SCHEMA);
}

/* A level below 0 is that of the request; a timeout is in seconds, 0: none. `flags`: BEGIN_ .. */
int lua__api_begin(struct lua_runtime *runtime, int level, int flags, uint32_t losses,
                   double timeout)
{
    struct txn_options options = {.level = level < 0 ? lua__level(runtime) : (enum txn_level)level,
                                  .readonly =
                                      (flags & BEGIN_READONLY) || runtime->request->readonly,
                                  .latest = lua__latest(runtime)};
    if (runtime->txn != NULL)
        return diag_set(ERROR_INVALID, "a transaction is already going on");
    if (losses != 0)
        txn_backoff(runtime->txn_worker, losses, &options);
    bool stays = !runtime->request->may_wait || lua__fiber_can_wait(runtime);
    bool stops = runtime->fiber != NULL && runtime->fiber->stepper != NULL; /* anywhere */
    bool open = stops || (stays && !options.readonly && !options.exclusive);
    int code = flags & BEGIN_ALTERS ? begin_schema(runtime, &options)
               : open               ? begin_open(runtime, &options)
                                    : lua__begin(runtime, &options);
    if (code == 0 && timeout > 0) {
        uint64_t ns = timeout > 1e9 ? UINT64_MAX / 2 : (uint64_t)(timeout * 1e9);
        runtime->txn_deadline_ns = clock_monotonic_ns(runtime->clock) + ns;
        runtime->txn_checks = true;
    }
    return code;
}

/* Rolls back, and says why the transaction was lost; 0: it was not. ERROR_AGAIN: it has waited for
 * a lock, and may be run again. */
static int give_up(struct lua_runtime *runtime)
{
    int why = lua__stop(runtime);
    if (runtime->waits)
        return ERROR_WAIT;
    lua__rollback(runtime);
    if (why == ERROR_WAIT) {
        int code =
            lua__fiber_can_wait(runtime) ? lua__fiber_try_again(runtime) : lua__wait(runtime);
        return code == 0 ? ERROR_AGAIN : code;
    }
    if (why != ERROR_CONFLICT)
        lua__let_go(runtime);
    return why;
}

static int commit(struct lua_runtime *runtime)
{
    if (runtime->txn_checks && lua__check(runtime, false) != 0)
        return give_up(runtime);
    bool writes = txn_has_writes(runtime->txn);
    int code = lua__commit(runtime);
    runtime->committed = runtime->committed || (code == 0 && writes);
    if (code == 0)
        lua__fiber_settle(runtime);
    if (code != ERROR_WAIT)
        return code;
    code = lua__fiber_can_wait(runtime) ? lua__fiber_try_again(runtime) : lua__wait(runtime);
    return code == 0 ? ERROR_AGAIN : code;
}

/* `how`: 0 rolls back, 1 commits, 2 rolls back and returns why it had to be. */
int lua__api_finish(struct lua_runtime *runtime, int how)
{
    if (runtime->txn == NULL && runtime->stop == 0)
        return how == 1 ? diag_set(ERROR_INVALID, "there is no transaction to commit") : 0;
    if (runtime->txn_fixed)
        return diag_set(ERROR_INVALID,
                        "this transaction does not begin and end here: its procedure, script or "
                        "session does that");
    if (how == 1 && runtime->txn != NULL)
        return commit(runtime);
    int code = give_up(runtime);
    return how == 0 && code != ERROR_WAIT ? 0 : code;
}

int lua__api_in_transaction(const struct lua_runtime *runtime)
{
    if (runtime->stop != 0)
        return 2;
    return runtime->txn == NULL ? 0 : txn_doomed(runtime->txn) ? 2 : 1;
}

int lua__api_savepoint(struct lua_runtime *runtime, struct lua__savepoint *out)
{
    if (runtime->stop != 0)
        return lua__stopped(runtime);
    if (runtime->txn == NULL)
        return diag_set(ERROR_INVALID, "a savepoint needs a transaction");
    out->point = txn_savepoint(runtime->txn);
    out->sequence = runtime->txn_sequence;
    return 0;
}

int lua__api_rollback_to(struct lua_runtime *runtime, const struct lua__savepoint *savepoint)
{
    if (lua__stop(runtime) != 0)
        return lua__stopped(runtime);
    if (runtime->txn == NULL || savepoint->sequence != runtime->txn_sequence)
        return diag_set(ERROR_INVALID, "the savepoint is of a transaction that has ended");
    if (ddl_active(runtime->worker))
        ddl_rollback_to(runtime->worker, savepoint->point);
    else
        txn_rollback_to(runtime->txn, savepoint->point);
    return 0;
}

/* ------------------------------------------------------------------------------- notifications */

static int defer(struct lua_runtime *runtime, const struct mp_buffer *action)
{
    if (runtime->request->readonly || (runtime->txn != NULL && txn_readonly(runtime->txn)))
        return diag_set(ERROR_READONLY, "this transaction may not notify");
    if (runtime->txn != NULL)
        return lua__failed(
            runtime, txn_defer(runtime->txn, REDIS_DEFER_PUBLISH, action->data, action->size));
    struct txn_options options = {.level = TXN_READ_COMMITTED};
    int code = lua__begin(runtime, &options);
    if (code != 0)
        return code;
    code = txn_defer(runtime->txn, REDIS_DEFER_PUBLISH, action->data, action->size);
    if (code == 0)
        code = lua__commit(runtime);
    else
        lua__rollback(runtime);
    runtime->committed = runtime->committed || code == 0;
    return code;
}

/* notify(channel, payload) */
static int native_notify(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *action = &runtime->scratch;
    size_t size;
    const char *channel = luaL_checklstring(L, 1, &size);
    lua_settop(L, 2);
    mp_buffer_reset(action, 65536);
    mp_put_array(action, 2);
    mp_put_str(action, channel, size);
    lua__encode(L, runtime, 2, action, LUA__STRICT);
    lua__encode_check(L, runtime, action);
    int code = defer(runtime, action);
    return code == 0 ? 0 : lua__raise(L, runtime, code);
}

/* handlers(there are): functions wait for the end of the transaction. */
static int native_handlers(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    bool some = lua_toboolean(L, 1);
    if (some && runtime->txn == NULL)
        return lua__raise(L, runtime, diag_set(ERROR_INVALID, "there is no transaction"));
    if (some && runtime->request->txn != NULL)
        return lua__raise(L, runtime,
                          diag_set(ERROR_INVALID,
                                   "this transaction goes on after the request, and what runs at "
                                   "its end would not be there any more: use box.notify"));
    runtime->handlers = some;
    return 0;
}

void lua__open_transaction(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"notify", native_notify},
        {"handlers", native_handlers},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
