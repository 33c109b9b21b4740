/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fibers: made, run, put aside and ended. See fiber.h.
 *
 * A fiber is a coroutine that C resumes. Where it waits, Lua yields a mark and the seconds; its
 * state is then exchanged for that of whoever resumed it. LuaJIT can't yield through a call from C
 * (__lt by table.sort, a trigger), and a transaction does not yield (invariant 23): lua/fiber.lua asks
 * before, so that neither is left half done. The exception is a lock that others hold: the
 * transaction is parked first, as an interactive one is between its statements, and the fiber yields
 * with it (lua__fiber_park, transaction.c).
 *
 * lua_runtime_run, which the worker's loop calls, gives each fiber that is ready its turn. One that
 * becomes ready meanwhile has it the next time, so that connections are served in between. A new
 * one runs at once, inside of the call that makes it, as Tarantool's do, unless a transaction is
 * going on.
 *
 * Time is the runtime's clock. A heap knows who is to be woken next.
 */
#include "lua/stepper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/access.h"

enum {
    FIBERS_NESTED_MAX = 16,   /* new ones that run inside of each other's making */
    STOP_NS_MAX = 2000000000, /* of the processor's time, for all of them */
    STOP_SLICE_MS_MAX = 1000, /* for one, by the clock: on a busy machine others have most of it */
    NESTED_STACK_BYTES_MAX = 128 * 1024,
    STOP_TURNS_MAX = 64, /* turns that a cancelled fiber has to end when the runtime does */
    TURN_NS_MAX = 10000000,
    MANUAL_LOOK_NS = 10000000
};

/* ---------------------------------------------------------------------------------- the context */

/* What the state may have, when no procedure's limit is in force. */
static size_t memory_max(const struct lua_runtime *runtime)
{
    return runtime->limits.memory_name == NULL ? runtime->memory_bytes_max
                                               : runtime->limits.memory_max;
}

static void context_take(const struct lua_runtime *runtime, struct lua__context *out)
{
    *out = (struct lua__context){
        .request = runtime->request,
        .fiber = runtime->fiber,
        .job = runtime->job,
        .ingests = runtime->ingests,
        .owner = runtime->owner,
        .database = runtime->database,
        .txn = runtime->txn,
        .txn_sequence = runtime->txn_sequence,
        .txn_deadline_ns = runtime->txn_deadline_ns,
        .start = runtime->start,
        .seen_ts = runtime->seen_ts,
        .now_ms = runtime->now_ms,
        .stop = runtime->stop,
        .user_id = runtime->user_id,
        .effective_id = access_user_get(runtime->worker),
        .txn_fixed = runtime->txn_fixed,
        .txn_opened = runtime->txn_opened,
        .txn_checks = runtime->txn_checks,
        .handlers = runtime->handlers,
        .txn_committed = runtime->txn_committed,
        .waits = runtime->waits,
        .committed = runtime->committed,
        .undoes = runtime->undoes,
        .seeded = runtime->seeded,
        .unplaced = runtime->unplaced,
        .limits = runtime->limits,
        .rows_left = runtime->rows_left,
        .asleep_ns = runtime->asleep_ns,
        .limit_code = runtime->limit_code,
        .last_error = runtime->last_error,
    };
    if (runtime->limits.memory_name != NULL && runtime->memory_bytes_max > runtime->memory_bytes)
        out->memory_left = runtime->memory_bytes_max - runtime->memory_bytes;
    if (runtime->limit_code != 0)
        memcpy(out->limit_message, runtime->limit_message, sizeof out->limit_message);
}

static void context_put(struct lua_runtime *runtime, const struct lua__context *context)
{
    runtime->request = context->request;
    runtime->fiber = context->fiber;
    runtime->job = context->job;
    runtime->ingests = context->ingests;
    runtime->owner = context->owner;
    runtime->database = context->database;
    runtime->txn = context->txn;
    runtime->txn_sequence = context->txn_sequence;
    runtime->txn_deadline_ns = context->txn_deadline_ns;
    runtime->start = context->start;
    runtime->seen_ts = context->seen_ts;
    runtime->now_ms = context->now_ms;
    runtime->stop = context->stop;
    runtime->user_id = context->user_id;
    lua__user_switch(runtime, context->effective_id);
    runtime->txn_fixed = context->txn_fixed;
    runtime->txn_opened = context->txn_opened;
    runtime->txn_checks = context->txn_checks;
    runtime->handlers = context->handlers;
    runtime->txn_committed = context->txn_committed;
    runtime->waits = context->waits;
    runtime->committed = context->committed;
    runtime->undoes = context->undoes;
    runtime->seeded = context->seeded;
    runtime->unplaced = context->unplaced;
    size_t max = memory_max(runtime);
    runtime->limits = context->limits;
    runtime->limits.memory_max = max;
    runtime->memory_bytes_max = max;
    if (context->limits.memory_name != NULL &&
        (max == 0 || runtime->memory_bytes + context->memory_left < max))
        runtime->memory_bytes_max = runtime->memory_bytes + context->memory_left;
    runtime->rows_left = context->rows_left;
    runtime->asleep_ns = context->asleep_ns;
    runtime->limit_code = context->limit_code;
    runtime->last_error = context->last_error;
    if (context->limit_code != 0)
        memcpy(runtime->limit_message, context->limit_message, sizeof runtime->limit_message);
}

/* Fibers tell each other what they have done: who hears of it sees it. */
static void seen_give(struct lua_runtime *runtime)
{
    if (runtime->seen_ts > runtime->fibers->seen_ts)
        runtime->fibers->seen_ts = runtime->seen_ts;
}

static void seen_take(struct lua_runtime *runtime)
{
    if (runtime->fibers->seen_ts > runtime->seen_ts)
        runtime->seen_ts = runtime->fibers->seen_ts;
}

static uint64_t now_ns(const struct lua_runtime *runtime)
{
    return clock_monotonic_ns(runtime->clock);
}

/* What is left of the running time, at least 1; 0: no limit. */
static uint64_t deadline_left_ms(const struct lua_runtime *runtime)
{
    uint64_t at = load_relaxed(&runtime->deadline.at_ns);
    if (at == 0)
        return 0;
    uint64_t now = clock_monotonic_ns(clock_system());
    return at > now + 1000000 ? (at - now) / 1000000 : 1;
}

/* ---------------------------------------------------------------------------------- the timers */

static void heap_set(struct lua__fibers *fibers, size_t place, struct lua_fiber *fiber)
{
    fibers->heap[place] = fiber;
    fiber->timer = place + 1;
}

static void heap_up(struct lua__fibers *fibers, size_t place)
{
    struct lua_fiber *fiber = fibers->heap[place];
    while (place > 0 && fibers->heap[(place - 1) / 2]->wake_ns > fiber->wake_ns) {
        heap_set(fibers, place, fibers->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    heap_set(fibers, place, fiber);
}

static void heap_down(struct lua__fibers *fibers, size_t place)
{
    struct lua_fiber *fiber = fibers->heap[place];
    for (size_t child; (child = 2 * place + 1) < fibers->heap_count; place = child) {
        if (child + 1 < fibers->heap_count &&
            fibers->heap[child + 1]->wake_ns < fibers->heap[child]->wake_ns)
            child++;
        if (fibers->heap[child]->wake_ns >= fiber->wake_ns)
            break;
        heap_set(fibers, place, fibers->heap[child]);
    }
    heap_set(fibers, place, fiber);
}

/* There is room: it is made with the fiber. */
static void timer_start(struct lua__fibers *fibers, struct lua_fiber *fiber, uint64_t at_ns)
{
    fiber->wake_ns = at_ns;
    heap_set(fibers, fibers->heap_count++, fiber);
    heap_up(fibers, fibers->heap_count - 1);
}

static void timer_stop(struct lua__fibers *fibers, struct lua_fiber *fiber)
{
    if (fiber->timer == 0)
        return;
    size_t place = fiber->timer - 1;
    struct lua_fiber *last = fibers->heap[--fibers->heap_count];
    fiber->timer = 0;
    if (last == fiber)
        return;
    heap_set(fibers, place, last);
    heap_up(fibers, place);
    heap_down(fibers, last->timer - 1);
}

static bool heap_reserve(struct lua__fibers *fibers, size_t count)
{
    if (count <= fibers->heap_capacity)
        return true;
    size_t capacity = fibers->heap_capacity == 0 ? 64 : fibers->heap_capacity * 2;
    struct lua_fiber **heap = realloc(fibers->heap, capacity * sizeof *heap);
    if (heap == NULL)
        return false;
    fibers->heap = heap;
    fibers->heap_capacity = capacity;
    return true;
}

/* -------------------------------------------------------------------------------------- waking */

void lua__fiber_ready(struct lua_runtime *runtime, struct lua_fiber *fiber)
{
    struct lua__fibers *fibers = runtime->fibers;
    if (fiber == NULL) {
        fibers->main_woken = true;
    } else {
        if (fiber->state != LUA__FIBER_SUSPENDED && fiber->state != LUA__FIBER_NEW)
            return;
        timer_stop(fibers, fiber);
        fiber->state = LUA__FIBER_READY;
        list_add_tail(&fibers->ready, &fiber->ready);
    }
    lua__loop_stir(runtime);
}

void lua__fiber_wake(void *arg)
{
    struct lua_fiber *fiber = arg;
    struct lua_runtime *runtime = fiber->runtime;
    struct lua__fibers *fibers = runtime->fibers;
    pthread_mutex_lock(&fibers->mutex);
    if (list_empty(&fiber->woken))
        list_add_tail(&fibers->woken, &fiber->woken);
    bool first = !atomic_exchange_explicit(&fibers->stirred, true, memory_order_acq_rel);
    if (first)
        lua__loop_async(runtime);
    pthread_mutex_unlock(&fibers->mutex);
}

static void woken_take(struct lua_runtime *runtime)
{
    struct lua__fibers *fibers = runtime->fibers;
    struct list *link;
    if (!load_relaxed(&fibers->stirred))
        return;
    store_seq_cst(&fibers->stirred, false);
    do {
        pthread_mutex_lock(&fibers->mutex);
        link = list_first(&fibers->woken);
        if (link != NULL)
            list_remove(link);
        pthread_mutex_unlock(&fibers->mutex);
        struct lua_fiber *fiber = link == NULL ? NULL : list_entry(link, struct lua_fiber, woken);
        if (fiber != NULL && fiber->waiting)
            lua__fiber_ready(runtime, fiber);
    } while (link != NULL);
    lua__watches_wake(runtime);
}

struct lua_fiber *lua__fiber_find(struct lua_runtime *runtime, uint64_t id)
{
    list_for_each (link, &runtime->fibers->by_id[id % LUA__FIBER_BUCKETS]) {
        struct lua_fiber *fiber = list_entry(link, struct lua_fiber, same);
        if (fiber->id == id)
            return fiber->state == LUA__FIBER_DEAD ? NULL : fiber;
    }
    return NULL;
}

static void cancel(struct lua_runtime *runtime, struct lua_fiber *fiber)
{
    fiber->cancelled = true;
    lua__fiber_ready(runtime, fiber);
}

/* --------------------------------------------------------------------------------------- life */

int lua__fibers_create(struct lua_runtime *runtime)
{
    struct lua__fibers *fibers = calloc(1, sizeof *fibers);
    if (fibers == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    list_create(&fibers->all);
    list_create(&fibers->ready);
    list_create(&fibers->woken);
    list_create(&fibers->watches);
    for (unsigned n = 0; n < LUA__FIBER_BUCKETS; n++)
        list_create(&fibers->by_id[n]);
    fibers->last_id = LUA__FIBER_ID_FIRST - 1;
    fibers->alone = true;
    pthread_mutex_init(&fibers->mutex, NULL);
    runtime->fibers = fibers;
    return 0;
}

static void fiber_delete(struct lua_fiber *fiber)
{
    struct lua__fibers *fibers = fiber->runtime->fibers;
    lua__stepper_delete(fiber);
    timer_stop(fibers, fiber);
    list_remove(&fiber->link);
    list_remove(&fiber->same);
    list_remove(&fiber->ready);
    pthread_mutex_lock(&fibers->mutex);
    list_remove(&fiber->woken);
    pthread_mutex_unlock(&fibers->mutex);
    if (fiber->L != NULL)
        luaL_unref(fiber->runtime->L, LUA_REGISTRYINDEX, fiber->ref);
    fibers->count--;
    free(fiber->statement);
    for (int i = 0; i < 2; i++)
        mp_buffer_destroy(&fiber->kept[i]);
    mp_buffer_destroy(&fiber->result);
    mp_buffer_destroy(&fiber->details);
    free(fiber);
}

static int fiber_new(struct lua_runtime *runtime, struct lua_fiber **out)
{
    struct lua__fibers *fibers = runtime->fibers;
    if (fibers->count >= LUA__FIBERS_MAX)
        return diag_set(ERROR_BUSY, "too many fibers: a worker has at most %d", LUA__FIBERS_MAX);
    if (fibers->stopping)
        return diag_set(ERROR_CANCELLED, "no fiber begins any more: the server is stopping");
    struct lua_fiber *fiber = calloc(1, sizeof *fiber);
    if (fiber == NULL || !heap_reserve(fibers, fibers->count + 1)) {
        free(fiber);
        return diag_set(ERROR_MEMORY, "out of memory");
    }
    fiber->runtime = runtime;
    list_create(&fiber->link);
    list_create(&fiber->same);
    list_create(&fiber->ready);
    list_create(&fiber->woken);
    for (int i = 0; i < 2; i++)
        mp_buffer_create(&fiber->kept[i]);
    mp_buffer_create(&fiber->result);
    mp_buffer_create(&fiber->details);
    fiber->id = ++fibers->last_id;
    fiber->context = (struct lua__context){.request = &fiber->request,
                                           .fiber = fiber,
                                           .rows_left = UINT64_MAX,
                                           .user_id = runtime->user_id,
                                           .effective_id = access_user_get(runtime->worker)};
    list_add_tail(&fibers->all, &fiber->link);
    list_add_tail(&fibers->by_id[fiber->id % LUA__FIBER_BUCKETS], &fiber->same);
    fibers->count++;
    *out = fiber;
    return 0;
}

/* ------------------------------------------------------------------------------------- its end */

struct ending {
    struct lua_fiber *fiber;
    int status;
    bool taken; /* somebody is going to ask for what it has returned */
    enum lua__encoding encoding;
};

/* Lua learns how it has ended. */
static int tell(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    struct ending *ending = arg;
    lua_State *co = ending->fiber->L;
    int results = ending->status == 0 ? lua_gettop(co) : 1;
    luaL_checkstack(L, results + 8, "results");
    lua__push_hook(L, runtime, "fiber_ended");
    lua_pushnumber(L, (lua_Number)ending->fiber->id);
    lua_pushboolean(L, ending->status == 0);
    if (ending->status == LUA_YIELD || lua_gettop(co) < results)
        lua_pushstring(L, runtime->message);
    else
        lua_xmove(co, L, results);
    lua_call(L, results + 2, 1);
    ending->taken = lua_toboolean(L, -1);
    return 0;
}

static int encode_results(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    struct ending *ending = arg;
    lua_State *co = ending->fiber->L;
    int results = lua_gettop(co);
    luaL_checkstack(L, results + 16, "results");
    lua_xmove(co, L, results);
    mp_buffer_reset(&runtime->result, 65536);
    mp_put_array(&runtime->result, (uint32_t)results);
    for (int i = 1; i <= results; i++)
        lua__encode(L, runtime, i, &runtime->result, ending->encoding);
    return 0;
}

static int why_it_ended(struct lua_runtime *runtime, struct lua_fiber *fiber, int status)
{
    if (status == LUA_YIELD && !lua__expired(runtime)) {
        snprintf(runtime->message, sizeof runtime->message,
                 "attempt to yield from outside a coroutine");
        snprintf(runtime->trace, sizeof runtime->trace, "%s", runtime->message);
        return diag_set(ERROR_LUA, "%s", runtime->message);
    }
    if (status != 0 && status != LUA_YIELD)
        return lua__fiber_error(runtime, fiber->L, status);
    if (!lua__expired(runtime)) /* else its error was caught on the way out */
        return 0;
    snprintf(runtime->message, sizeof runtime->message, "time limit exceeded");
    return ERROR_TIMEOUT;
}

static void background_log(struct lua_runtime *runtime, const struct lua_fiber *fiber, int code)
{
    if (fiber->cancelled && strstr(runtime->message, "fiber is cancelled") != NULL)
        return;
    char text[sizeof runtime->trace];
    snprintf(text, sizeof text, "%s",
             code == ERROR_TIMEOUT || runtime->trace[0] == 0 ? runtime->message : runtime->trace);
    for (char *c = text; *c != 0; c++) /* a line of the log is one line */
        *c = *c == '\n' ? ';' : *c == '\t' ? ' ' : *c;
    log_error("fiber %llu has ended with an error: %s", (unsigned long long)fiber->id, text);
}

static void background_ended(struct lua_runtime *runtime, struct lua_fiber *fiber, int status)
{
    struct ending ending = {.fiber = fiber};
    bool tracing = runtime->tracing;
    runtime->tracing = true;
    runtime->trace[0] = 0;
    int code = why_it_ended(runtime, fiber, status);
    runtime->tracing = tracing;
    char message[sizeof runtime->message];
    snprintf(message, sizeof message, "%s", runtime->message);
    ending.status = code == 0 ? 0 : status == 0 ? LUA_YIELD : status;
    lua__deadline_disarm(&runtime->deadline);
    if (fiber->known)
        lua__protect(runtime, tell, &ending);
    snprintf(runtime->message, sizeof runtime->message, "%s", message);
    if (code != 0 && !ending.taken)
        background_log(runtime, fiber, code);
    code = lua__request_end(runtime, code, NULL);
    if (code == ERROR_INVALID && ending.status == 0)
        log_error("fiber %llu: %s", (unsigned long long)fiber->id, diag_message_for(code));
}

/* Its result is in runtime->result; the code has its diagnostics. */
static int request_ended(struct lua_runtime *runtime, struct lua_fiber *fiber, int status,
                         uint64_t *reply_ts)
{
    struct ending ending = {.fiber = fiber,
                            .encoding = fiber->name[0] ? LUA__STRICT : LUA__LENIENT};
    int code = why_it_ended(runtime, fiber, status);
    if (code == 0)
        code = lua__protect(runtime, encode_results, &ending);
    if (code == 0 && lua__expired(runtime))
        code = ERROR_TIMEOUT;
    if (code != 0 && runtime->unplaced && fiber->name[0])
        diag_add("%s", fiber->name);
    if (fiber->known) {
        char message[DIAG_MESSAGE_MAX];
        snprintf(message, sizeof message, "%s", diag_message());
        bool unplaced = runtime->unplaced;
        lua__deadline_disarm(&runtime->deadline);
        ending.status = 0;
        lua_settop(fiber->L, 0);
        lua__protect(runtime, tell, &ending);
        runtime->unplaced = unplaced;
        if (code != 0)
            diag_set(code, "%s", message);
    }
    return lua__request_end(runtime, code, reply_ts);
}

static void request_keep(struct lua_runtime *runtime, struct lua_fiber *fiber, int status)
{
    int code = request_ended(runtime, fiber, status, &fiber->reply_ts);
    if (code == 0)
        code = lua__deliver(runtime, &fiber->result);
    fiber->code = code;
    if (code != 0)
        mp_put_raw(&fiber->details, runtime->details.data, runtime->details.size);
    snprintf(fiber->message, sizeof fiber->message, "%s", code == 0 ? "" : diag_message_for(code));
    luaL_unref(runtime->L, LUA_REGISTRYINDEX, fiber->ref);
    fiber->L = NULL;
    fiber->state = LUA__FIBER_DEAD;
    if (fiber->abandoned)
        fiber_delete(fiber);
    else if (fiber->wake != NULL)
        fiber->wake(fiber->wake_arg);
}

/* ------------------------------------------------------------------------------------- running */

/* What it has yielded says how long it waits, in seconds; nothing: until it is woken. */
static void put_aside(struct lua_runtime *runtime, struct lua_fiber *fiber)
{
    struct lua__fibers *fibers = runtime->fibers;
    bool timed = lua_type(fiber->L, 2) == LUA_TNUMBER;
    double seconds = timed ? lua_tonumber(fiber->L, 2) : 0;
    lua_settop(fiber->L, 0);
    if (runtime->owner != NULL && runtime->owner == fiber->request.owner) {
        lock_release_all(runtime->owner); /* it is the caller's, who may be gone tomorrow */
        runtime->owner = NULL;
    }
    fiber->request.owner = NULL;
    fiber->request.waiting = NULL;
    fiber->slept = true;
    fiber->left_ms = deadline_left_ms(runtime);
    fiber->aside_ns = clock_monotonic_ns(clock_system());
    context_take(runtime, &fiber->context);
    fiber->state = LUA__FIBER_SUSPENDED;
    uint64_t idle_ns = fiber->stepper == NULL ? 0 : lua__stepper_aside(runtime, fiber);
    if (idle_ns != 0)
        timer_start(fibers, fiber, now_ns(runtime) + idle_ns);
    else if (timed && !(seconds > 0))
        lua__fiber_ready(runtime, fiber);
    else if (timed)
        timer_start(fibers, fiber,
                    now_ns(runtime) + (seconds > 1e9 ? UINT64_MAX / 4 : (uint64_t)(seconds * 1e9)));
}

/* Runs it until it yields: true; or has ended, with *status. Its context is the runtime's. */
static bool slice(struct lua_runtime *runtime, struct lua_fiber *fiber, int *status)
{
    int arguments = (int)fiber->arguments;
    fiber->state = LUA__FIBER_RUNNING;
    fiber->switches++;
    fiber->arguments = 0;
    runtime->error_code = ERROR_LUA;
    if (fiber->stepper != NULL)
        lua__stepper_enter(runtime, fiber);
    *status = lua_resume(fiber->L, arguments);
    bool stopped = fiber->stepper != NULL && lua__stepper_leave(runtime, fiber, *status);
    bool marked = stopped || (*status == LUA_YIELD && lua_touserdata(fiber->L, 1) == runtime &&
                              !lua__deadline_passed(&runtime->deadline) &&
                              (runtime->txn == NULL || fiber->waiting));
    if (marked)
        put_aside(runtime, fiber);
    else if (fiber->waiting)
        lua__fiber_waited(runtime, true);
    return marked;
}

/* The same with whoever has asked for it told. */
static bool slice_told(struct lua_runtime *runtime, struct lua_fiber *fiber, int *status)
{
    void (*on_turn)(void *arg, bool begins) = fiber->turn;
    void *arg = fiber->wake_arg;
    if (on_turn != NULL)
        on_turn(arg, true);
    bool marked = slice(runtime, fiber, status);
    if (on_turn != NULL)
        on_turn(arg, false);
    return marked;
}

/* Gives it its turn. On `L`, which is the one that runs, or the state's. */
static void dispatch(struct lua_runtime *runtime, lua_State *L, struct lua_fiber *fiber)
{
    struct lua__context outer;
    const char *stack_base = runtime->stack_base;
    lua_State *outer_L = runtime->L;
    uint64_t outer_at_ns = load_relaxed(&runtime->deadline.at_ns);
    uint64_t left_ms = deadline_left_ms(runtime), slice_ms = fiber->left_ms;
    int status;
    context_take(runtime, &outer);
    if (fiber->slept)
        fiber->context.asleep_ns += clock_monotonic_ns(clock_system()) - fiber->aside_ns;
    seen_give(runtime);
    context_put(runtime, &fiber->context);
    seen_take(runtime);
    runtime->L = L;
    if (fiber->background)
        slice_ms = runtime->options.time_max_ms;
    if (left_ms != 0 && (slice_ms == 0 || left_ms < slice_ms))
        slice_ms = left_ms;
    if (runtime->fibers->stopping && (slice_ms == 0 || slice_ms > STOP_SLICE_MS_MAX))
        slice_ms = STOP_SLICE_MS_MAX;
    if (outer.fiber == NULL && runtime->fibers->nested == 0)
        runtime->stack_base = __builtin_frame_address(0);
    runtime->fibers->nested++;
    lua__deadline_disarm(&runtime->deadline);
    lua__deadline_arm(&runtime->deadline, slice_ms);
    if (fiber->stepper != NULL && !lua__stepper_goes(runtime, fiber)) {
        put_aside(runtime, fiber);
    } else if (!slice_told(runtime, fiber, &status)) {
        if (fiber->background) {
            background_ended(runtime, fiber, status);
            fiber_delete(fiber);
        } else {
            request_keep(runtime, fiber, status);
        }
    }
    lua__deadline_disarm(&runtime->deadline);
    runtime->fibers->nested--;
    runtime->L = outer_L;
    runtime->stack_base = stack_base;
    seen_give(runtime);
    context_put(runtime, &outer);
    seen_take(runtime);
    lua__deadline_arm_at(&runtime->deadline, outer_at_ns);
}

int lua__fiber_within(struct lua_runtime *runtime, lua_State *L, struct lua_fiber *fiber, int count)
{
    struct lua__context outer;
    context_take(runtime, &outer);
    seen_give(runtime);
    context_put(runtime, &fiber->context);
    seen_take(runtime);
    lua__stepper_borrow(runtime, L, fiber);
    int status = lua_pcall(L, count, LUA_MULTRET, 0);
    lua__stepper_return(runtime, L, fiber);
    context_take(runtime, &fiber->context);
    seen_give(runtime);
    context_put(runtime, &outer);
    seen_take(runtime);
    uint64_t idle_ns = fiber->timer == 0 ? lua__stepper_aside(runtime, fiber) : 0;
    if (idle_ns != 0 && fiber->state == LUA__FIBER_SUSPENDED)
        timer_start(runtime->fibers, fiber, now_ns(runtime) + idle_ns);
    return status;
}

static void timers_expire(struct lua_runtime *runtime)
{
    struct lua__fibers *fibers = runtime->fibers;
    if (fibers->heap_count == 0)
        return;
    uint64_t now = now_ns(runtime);
    while (fibers->heap_count > 0 && fibers->heap[0]->wake_ns <= now)
        lua__fiber_ready(runtime, fibers->heap[0]);
}

/* A turn of those that are ready now, as many as there is time for: connections wait meanwhile. */
static void turn(struct lua_runtime *runtime, lua_State *L, uint64_t ns_max)
{
    struct lua__fibers *fibers = runtime->fibers;
    struct list ready, *link;
    woken_take(runtime);
    timers_expire(runtime);
    list_create(&ready);
    while ((link = list_first(&fibers->ready)) != NULL) {
        list_remove(link);
        list_add_tail(&ready, link);
    }
    uint64_t start = list_empty(&ready) ? 0 : clock_monotonic_ns(clock_system()), now = start;
    while ((link = list_first(&ready)) != NULL && now - start < ns_max) {
        list_remove(link);
        dispatch(runtime, L, list_entry(link, struct lua_fiber, ready));
        now = clock_monotonic_ns(clock_system());
    }
    while ((link = list_last(&ready)) != NULL) { /* they are the first of the next turn */
        list_remove(link);
        list_add_head(&fibers->ready, link);
    }
    if (list_empty(&fibers->ready))
        lua__loop_quiet(runtime);
}

void lua_runtime_run(struct lua_runtime *runtime)
{
    struct lua__fibers *fibers = runtime->fibers;
    lua__host_settle(runtime);
    lua__profile_turn(runtime);
    if (fibers->count > 0)
        turn(runtime, runtime->L, TURN_NS_MAX);
}

static uint64_t due_ns(const struct lua_runtime *runtime)
{
    const struct lua__fibers *fibers = runtime->fibers;
    if (!list_empty(&fibers->ready) || load_relaxed(&fibers->stirred))
        return 0;
    if (fibers->heap_count == 0)
        return UINT64_MAX;
    uint64_t at = fibers->heap[0]->wake_ns, now = now_ns(runtime);
    uint64_t left = at > now ? at - now : 0;
    /* A clock that others move tells nobody when. */
    return runtime->clock != clock_system() && left > MANUAL_LOOK_NS ? MANUAL_LOOK_NS : left;
}

uint64_t lua_runtime_due_ms(const struct lua_runtime *runtime)
{
    uint64_t left = due_ns(runtime);
    return left == UINT64_MAX ? UINT64_MAX : (left + 999999) / 1000000;
}

bool lua_runtime_has_fibers(const struct lua_runtime *runtime)
{
    return runtime->fibers->count > 0;
}

/* ------------------------------------------------------------------------------------ requests */

struct preparation {
    struct lua_fiber *fiber;
    int (*prepare)(lua_State *L, struct lua_runtime *runtime, void *arg);
    void *arg;
};

static int make_request(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    struct preparation *preparation = arg;
    struct lua_fiber *fiber = preparation->fiber;
    int code = preparation->prepare(L, runtime, preparation->arg);
    if (code != 0)
        return code;
    int count = lua_gettop(L);
    fiber->L = lua_newthread(L);
    luaL_checkstack(fiber->L, count + 8, "arguments");
    fiber->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_xmove(L, fiber->L, count);
    fiber->arguments = (unsigned)count - 1;
    return 0;
}

int lua__fiber_request(struct lua_runtime *runtime, const struct lua_request *request,
                       int (*prepare)(lua_State *L, struct lua_runtime *runtime, void *arg),
                       void *arg, const char *name, size_t name_size, struct mp_buffer *result,
                       uint64_t *reply_ts)
{
    struct lua_fiber *fiber = NULL;
    struct lua__context outer;
    int status = 0;
    runtime->fibers->alone = false;
    *request->fiber = NULL;
    context_take(runtime, &outer);
    lua__request_begin(runtime, request);
    int code = fiber_new(runtime, &fiber);
    if (code == 0) {
        fiber->request = *request;
        fiber->request.fiber = NULL;
        snprintf(fiber->name, sizeof fiber->name, "%.*s", (int)name_size, name);
        runtime->request = &fiber->request;
        runtime->fiber = fiber;
        struct preparation preparation = {fiber, prepare, arg};
        code = lua__protect(runtime, make_request, &preparation);
    }
    if (code != 0) {
        if (runtime->unplaced && name_size > 0)
            diag_add("%.*s", (int)name_size, name);
        code = lua__request_end(runtime, code, reply_ts);
    } else {
        runtime->stack_base = __builtin_frame_address(0);
        if (slice(runtime, fiber, &status)) {
            lua__deadline_disarm(&runtime->deadline);
            seen_give(runtime);
            context_put(runtime, &outer);
            *request->fiber = fiber;
            return diag_set(ERROR_WAIT, "the request sleeps");
        }
        code = request_ended(runtime, fiber, status, reply_ts);
    }
    if (fiber != NULL)
        fiber_delete(fiber);
    context_put(runtime, &outer);
    return code == 0 ? lua__deliver(runtime, result) : code;
}

int lua__fiber_background(struct lua_runtime *runtime, const struct lua_request *request,
                          int (*prepare)(lua_State *L, struct lua_runtime *runtime, void *arg),
                          void *arg)
{
    struct lua_fiber *fiber = NULL;
    struct lua__context outer;
    context_take(runtime, &outer);
    lua__request_begin(runtime, request);
    int code = fiber_new(runtime, &fiber);
    if (code == 0) {
        struct preparation preparation = {fiber, prepare, arg};
        fiber->background = true;
        fiber->request = *request;
        fiber->context.database = request->database;
        code = lua__protect(runtime, make_request, &preparation);
    }
    code = lua__request_end(runtime, code, NULL);
    context_put(runtime, &outer);
    if (code == 0)
        lua__fiber_ready(runtime, fiber);
    else if (fiber != NULL)
        fiber_delete(fiber);
    return code;
}

void lua_fiber_wake_set(struct lua_fiber *fiber, void (*wake)(void *arg), void *arg)
{
    fiber->wake = wake;
    fiber->wake_arg = arg;
}

void lua_fiber_turn_set(struct lua_fiber *fiber, void (*on_turn)(void *arg, bool begins))
{
    fiber->turn = on_turn;
}

int lua_fiber_take(struct lua_fiber *fiber, struct mp_buffer *result, uint64_t *reply_ts)
{
    if (fiber->state != LUA__FIBER_DEAD)
        return diag_set(ERROR_WAIT, "the request sleeps");
    int code = fiber->code;
    if (code == 0) {
        mp_put_raw(result, fiber->result.data, fiber->result.size);
        code = result->failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
    } else {
        struct mp_buffer *details = &fiber->runtime->details;
        mp_buffer_reset(details, 4096);
        mp_put_raw(details, fiber->details.data, fiber->details.size);
        diag_set(code, "%s", fiber->message);
    }
    *reply_ts = fiber->reply_ts;
    fiber_delete(fiber);
    return code;
}

void lua_fiber_cancel(struct lua_fiber *fiber)
{
    if (fiber->state != LUA__FIBER_DEAD)
        cancel(fiber->runtime, fiber);
}

void lua_fiber_abandon(struct lua_fiber *fiber)
{
    if (fiber->state == LUA__FIBER_DEAD) {
        fiber_delete(fiber);
        return;
    }
    fiber->wake = NULL;
    fiber->turn = NULL;
    fiber->request.progress = NULL;
    fiber->abandoned = true;
    cancel(fiber->runtime, fiber);
}

/* ---------------------------------------------------------------------------------------- stop */

/* One that has had its turns and goes on: it ends where it waits. */
static void drop(struct lua_runtime *runtime, struct lua_fiber *fiber)
{
    struct lua__context outer;
    context_take(runtime, &outer);
    context_put(runtime, &fiber->context);
    if (fiber->waiting)
        lua__fiber_waited(runtime, true);
    lua__request_end(runtime, ERROR_CANCELLED, NULL);
    context_put(runtime, &outer);
    log_warn("fiber %llu did not end when it was cancelled", (unsigned long long)fiber->id);
    fiber_delete(fiber);
}

static bool any_left(const struct lua__fibers *fibers)
{
    list_for_each (link, &fibers->all)
        if (list_entry(link, struct lua_fiber, link)->state != LUA__FIBER_RUNNING)
            return true;
    return false;
}

/* What the thread has had of the processor. */
static uint64_t worked_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void lua__fibers_stop(struct lua_runtime *runtime)
{
    struct lua__fibers *fibers = runtime->fibers;
    uint64_t start = worked_ns(), now = start;
    fibers->stopping = true;
    list_for_each_safe (link, &fibers->all) {
        struct lua_fiber *fiber = list_entry(link, struct lua_fiber, link);
        fiber->wake = NULL;
        fiber->turn = NULL;
        if (fiber->switches == 0)
            fiber_delete(fiber); /* it has not begun */
        else if (fiber->state != LUA__FIBER_RUNNING)
            lua_fiber_abandon(fiber);
    }
    for (unsigned turns = 0; turns < STOP_TURNS_MAX && now - start < STOP_NS_MAX; turns++) {
        if (!any_left(fibers))
            break;
        turn(runtime, runtime->L, STOP_NS_MAX);
        list_for_each (link, &fibers->all)
            lua__fiber_ready(runtime, list_entry(link, struct lua_fiber, link));
        now = worked_ns();
    }
    list_for_each_safe (link, &fibers->all) {
        struct lua_fiber *fiber = list_entry(link, struct lua_fiber, link);
        if (fiber->state == LUA__FIBER_RUNNING)
            fiber_delete(fiber); /* it has called os.exit */
        else
            drop(runtime, fiber);
    }
}

void lua__fibers_destroy(struct lua_runtime *runtime)
{
    struct lua__fibers *fibers = runtime->fibers;
    if (fibers == NULL)
        return;
    lua__http_destroy(runtime);
    lua__loop_destroy(runtime);
    pthread_mutex_destroy(&fibers->mutex);
    free(fibers->heap);
    free(fibers);
    runtime->fibers = NULL;
}

/* ------------------------------------------------------------------------------ called from Lua */

/* fiber_new(fn, ..): its id. It begins by fiber_start. */
static int native_new(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct lua_fiber *fiber;
    int top = lua_gettop(L);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L); /* before anything that an error would leave behind */
    luaL_checkstack(co, top + 8, "arguments");
    lua_pushvalue(L, -1);
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    int code = fiber_new(runtime, &fiber);
    if (code != 0) {
        luaL_unref(L, LUA_REGISTRYINDEX, ref);
        return lua__raise(L, runtime, code);
    }
    fiber->L = co;
    fiber->ref = ref;
    fiber->background = fiber->known = true;
    fiber->arguments = (unsigned)top - 1;
    fiber->request.session_id = runtime->request->session_id;
    fiber->request.user_id = runtime->request->user_id;
    lua_settop(L, top);
    lua_xmove(L, co, top);
    lua_pushnumber(L, (lua_Number)fiber->id);
    return 1;
}

static struct lua_fiber *fiber_arg(lua_State *L, int index)
{
    return lua__fiber_find(lua__runtime(L), (uint64_t)luaL_checknumber(L, index));
}

/* fiber_start(id, at once) */
static int native_start(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct lua_fiber *fiber = fiber_arg(L, 1);
    const char *here = __builtin_frame_address(0);
    uint64_t at = load_relaxed(&runtime->deadline.at_ns);
    bool over = at != 0 && clock_monotonic_ns(clock_system()) >= at;
    bool room = !over && runtime->fibers->nested < FIBERS_NESTED_MAX &&
                runtime->stack_base - here < NESTED_STACK_BYTES_MAX;
    if (fiber == NULL || fiber->state != LUA__FIBER_NEW)
        return 0;
    if (lua_toboolean(L, 2) && room && runtime->txn == NULL && runtime->stop == 0)
        dispatch(runtime, L, fiber);
    else
        lua__fiber_ready(runtime, fiber);
    return 0;
}

static int native_wakeup(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    uint64_t id = (uint64_t)luaL_checknumber(L, 1);
    struct lua_fiber *fiber = id == 0 ? NULL : lua__fiber_find(runtime, id);
    if (id == 0 || (fiber != NULL && fiber->state == LUA__FIBER_SUSPENDED && !fiber->waiting))
        lua__fiber_ready(runtime, fiber);
    return 0;
}

static int native_cancel(lua_State *L)
{
    struct lua_fiber *fiber = fiber_arg(L, 1);
    if (fiber != NULL)
        cancel(lua__runtime(L), fiber);
    return 0;
}

/* fiber_current([known]): the id of the fiber that runs, 0: none, and whether it is cancelled. */
static int native_current(lua_State *L)
{
    struct lua_fiber *fiber = lua__runtime(L)->fiber;
    if (fiber != NULL && lua_toboolean(L, 1))
        fiber->known = true;
    lua_pushnumber(L, fiber == NULL ? 0 : (lua_Number)fiber->id);
    lua_pushboolean(L, fiber != NULL && fiber->cancelled);
    return 2;
}

/* fiber_base(): the caller is the fiber's own coroutine, not one that it has made. */
static int native_base(lua_State *L)
{
    struct lua_fiber *fiber = lua__runtime(L)->fiber;
    lua_pushboolean(L, fiber != NULL && fiber->L == L);
    return 1;
}

/* Whoever may see and cancel it without having been given its object: its user, and the admin. */
static bool is_own(struct lua_runtime *runtime, const struct lua_fiber *fiber)
{
    uint32_t user_id = access_user_get(runtime->worker);
    return runtime->options.trusted || user_id == ACCESS_ADMIN ||
           user_id == fiber->request.user_id || user_id == fiber->context.effective_id;
}

/* fiber_own(id) */
static int native_own(lua_State *L)
{
    const struct lua_fiber *fiber = fiber_arg(L, 1);
    lua_pushboolean(L, fiber == NULL || is_own(lua__runtime(L), fiber));
    return 1;
}

static const char *const states[] = {"new", "ready", "running", "suspended", "dead"};

/* fiber_list(): for each of one's own fibers its id, state, switches, and whether a request waits
 * for it. */
static int native_list(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    int n = 0;
    lua_newtable(L);
    list_for_each (link, &runtime->fibers->all) {
        const struct lua_fiber *fiber = list_entry(link, struct lua_fiber, link);
        if (!is_own(runtime, fiber))
            continue;
        lua_createtable(L, 0, 4);
        lua_pushnumber(L, (lua_Number)fiber->id);
        lua_setfield(L, -2, "id");
        lua_pushstring(L, states[fiber->state]);
        lua_setfield(L, -2, "status");
        lua_pushnumber(L, (lua_Number)fiber->switches);
        lua_setfield(L, -2, "csw");
        lua_pushboolean(L, !fiber->background);
        lua_setfield(L, -2, "request");
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* fiber_check(): raises when the caller can't wait now. True: by fiber_wait, false: by a yield. */
static int native_check(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    int code = 0;
    if (runtime->txn != NULL || runtime->stop != 0)
        code = diag_set(ERROR_INVALID, "a transaction does not yield: commit before fiber.sleep");
    else if (runtime->fiber == NULL && (!runtime->fibers->alone || runtime->request->may_wait))
        code = diag_set(ERROR_INVALID, "nothing can be waited for here: only in a fiber");
    else if (runtime->fiber != NULL && !lua_isyieldable(L))
        code = diag_set(ERROR_INVALID, "a function that C has called (as table.sort calls "
                                       "__lt) can't wait");
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua_pushboolean(L, runtime->fiber == NULL);
    return 1;
}

/* fiber_wait([seconds]): what runs outside of a fiber waits, and the fibers run meanwhile. */
static int native_wait(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct lua__fibers *fibers = runtime->fibers;
    bool timed = lua_type(L, 1) == LUA_TNUMBER;
    double seconds = timed ? lua_tonumber(L, 1) : 0;
    uint64_t left_ms = deadline_left_ms(runtime), end = UINT64_MAX;
    int code = 0;
    if (timed)
        end = now_ns(runtime) + (seconds > 1e9 ? UINT64_MAX / 4
                                 : seconds > 0 ? (uint64_t)(seconds * 1e9)
                                               : 0);
    fibers->main_woken = false;
    lua__deadline_disarm(&runtime->deadline);
    for (bool first = true; first || (!fibers->main_woken && now_ns(runtime) < end);
         first = false) {
        turn(runtime, L, TURN_NS_MAX);
        uint64_t now = now_ns(runtime), due = due_ns(runtime);
        uint64_t left = end > now ? end - now : 0;
        if (runtime->clock != clock_system() && left > MANUAL_LOOK_NS)
            left = MANUAL_LOOK_NS;
        left = left < due ? left : due;
        if (fibers->main_woken)
            break;
        code =
            lua__loop_wait(runtime, left > UINT64_MAX / 8 ? UINT64_MAX : (left + 999999) / 1000000);
        if (code != 0)
            break;
    }
    lua__deadline_arm(&runtime->deadline, left_ms);
    return code == 0 ? 0 : lua__raise(L, runtime, code);
}

/* fiber_lock_wait(): seconds to yield for before fiber_lock_waited; nothing: no lock is waited for. */
static int native_lock_wait(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    enum { LOOK_AGAIN_NS = 100000000 }; /* who rolls a parked transaction back wakes nobody */
    if (runtime->fiber == NULL || !runtime->fiber->waiting)
        return 0;
    uint64_t now = now_ns(runtime), end = runtime->fiber->wait_end_ns;
    uint64_t left = end > now ? end - now : 0;
    if (runtime->txn != NULL && left > LOOK_AGAIN_NS)
        left = LOOK_AGAIN_NS;
    lua_pushnumber(L, (double)left / 1e9);
    return 1;
}

/* fiber_lock_waited(give up): 0: the statement is to be made again; ERROR_WAIT: wait on; or raises. */
static int native_lock_waited(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    int code = lua__fiber_waited(runtime, lua_toboolean(L, 1));
    if (code != 0 && code != ERROR_WAIT)
        return lua__raise(L, runtime, code);
    lua_pushinteger(L, code);
    return 1;
}

void lua__open_fiber(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"fiber_new", native_new},
        {"fiber_start", native_start},
        {"fiber_wakeup", native_wakeup},
        {"fiber_cancel", native_cancel},
        {"fiber_current", native_current},
        {"fiber_base", native_base},
        {"fiber_list", native_list},
        {"fiber_own", native_own},
        {"fiber_check", native_check},
        {"fiber_wait", native_wait},
        {"fiber_lock_wait", native_lock_wait},
        {"fiber_lock_waited", native_lock_waited},
        {"fiber_statement", lua__fiber_statement},
        {NULL, NULL},
    };
    lua_pushlightuserdata(runtime->L, runtime);
    lua_setfield(runtime->L, -2, "fiber_mark");
    lua__register(runtime, functions);
}
