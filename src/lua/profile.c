/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the Lua of a worker spends its time: LuaJIT's sampling profiler.
 *
 * LuaJIT has one profiler for a process. It asks for a timer of the process, whose SIGPROF any thread
 * may get, and what the handler then touches belongs to the thread that runs the state. So its timer is
 * stopped at once, and another one, of the processor's time of the runtime's own thread, sends
 * SIGPROF to that thread alone. The watchdog's SIGURG and its hook are apart from that: each sets a
 * bit of its own in LuaJIT's word of hooks, and on the thread itself. SIGPROF is ignored before and
 * after, as one may still be on its way when the profiler ends.
 *
 * A sample is the stack as LuaJIT writes it, the outermost function first ("folded"); samples with
 * the same stack are counted together. What does not fit is counted as one stack.
 *
 *   IDLE ── profile_start ──► WANTED ── its runtime's turn ──► RUNNING ── profile_stop ──► ENDING
 *     ▲                          │ (at once when it is one's own)                             │ its turn
 *     └── profile_take ◄── DONE ◄┴────────────────────────────────────────────────────────────┘
 *
 * The job and the list of runtimes are the process's, under one mutex. While it is RUNNING the samples
 * belong to the thread of its runtime.
 */
#include <errno.h>
#include <luajit.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "lua/fiber.h"

enum { STACKS = 1 << 14, STACKS_MAX = STACKS / 2, DEPTH_MAX = 100, TEXT_MAX = 8 << 20 };
enum { GRACE_S = 30, INTERVAL_US_MIN = 100, INTERVAL_US_MAX = 1000000 };

struct stack {
    size_t at; /* in the texts, behind its size */
    uint32_t size, count;
};

enum state { IDLE, WANTED, RUNNING, ENDING, DONE };

static struct {
    pthread_mutex_t mutex;
    struct lua_runtime *runtimes; /* by profile_number, in order */
    enum state state;
    uint64_t number;            /* counts the jobs */
    struct lua_runtime *target; /* NULL: it has gone */
    uint64_t end_ns;            /* by then it has been taken, or nobody does */
    bool lines;
    unsigned interval_us;
    timer_t timer;
    struct stack *stacks; /* by hash; count 0: none */
    unsigned stack_count, lost;
    struct mp_buffer texts;
    int error;
} job = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* -------------------------------------------------------------------------------------- samples */

static void count_stack(const char *text, size_t size, int samples)
{
    size_t place = XXH64(text, size, 0) % STACKS;
    for (; job.stacks[place].count != 0; place = (place + 1) % STACKS) {
        struct stack *stack = &job.stacks[place];
        if (stack->size == size && memcmp(job.texts.data + stack->at, text, size) == 0) {
            stack->count += (uint32_t)samples;
            return;
        }
    }
    if (job.stack_count == STACKS_MAX || job.texts.size + size > TEXT_MAX) {
        job.lost += (unsigned)samples;
        return;
    }
    struct stack *stack = &job.stacks[place];
    *stack = (struct stack){job.texts.size, (uint32_t)size, (uint32_t)samples};
    mp_put_raw(&job.texts, text, size);
    if (job.texts.failed)
        *stack = (struct stack){0, 0, 0};
    else
        job.stack_count++;
}

/* On the runtime's own thread, in a state in which its stack can be read. */
static void on_sample(void *data, lua_State *L, int samples, int vmstate)
{
    (void)data;
    char text[8192];
    size_t size;
    const char *stack = luaJIT_profile_dumpstack(L, job.lines ? "plZ;" : "pFZ;", -DEPTH_MAX, &size);
    const char *tail = vmstate == 'G'   ? ";(garbage collection)"
                       : vmstate == 'J' ? ";(compiler)"
                       : vmstate == 'C' ? ";(C)"
                                        : "";
    int length = snprintf(text, sizeof text, "%.*s%s", (int)size, stack, tail);
    size = length < (int)sizeof text ? (size_t)length : sizeof text - 1;
    if (size > 0)
        count_stack(text, size, samples);
}

/* ---------------------------------------------------------------------------- begin and end */

static int timer_begin(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGPROF};
    struct itimerspec every = {.it_value.tv_nsec = 0};
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &job.timer) != 0)
        return -1;
    every.it_interval.tv_sec = job.interval_us / 1000000;
    every.it_interval.tv_nsec = (long)(job.interval_us % 1000000) * 1000;
    every.it_value = every.it_interval;
    return timer_settime(job.timer, 0, &every, NULL);
}

/* By the runtime's own thread, with the mutex. */
static void begin(struct lua_runtime *runtime)
{
    struct itimerval none = {.it_value = {0, 0}};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPROF);
    signal(SIGPROF, SIG_IGN); /* what LuaJIT puts back */
    /* the timer that LuaJIT asks for is far away, and stopped */
    luaJIT_profile_start(runtime->L, job.lines ? "li1000000" : "fi1000000", on_sample, NULL);
    setitimer(ITIMER_PROF, &none, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    if (timer_begin() == 0) {
        job.state = RUNNING;
        return;
    }
    job.error = errno;
    luaJIT_profile_stop(runtime->L);
    job.state = DONE;
}

static void end(struct lua_runtime *runtime)
{
    timer_delete(job.timer);
    luaJIT_profile_stop(runtime->L);
    job.state = DONE;
}

void lua__profile_turn(struct lua_runtime *runtime)
{
    if (!load_relaxed(&runtime->profile_wanted))
        return;
    pthread_mutex_lock(&job.mutex);
    store_relaxed(&runtime->profile_wanted, false);
    if (job.target == runtime && job.state == WANTED)
        begin(runtime);
    else if (job.target == runtime && job.state == ENDING)
        end(runtime);
    pthread_mutex_unlock(&job.mutex);
}

/* With the mutex: the runtime looks in its next turn, which comes soon. */
static void wake(struct lua_runtime *runtime)
{
    store_relaxed(&runtime->profile_wanted, true);
    pthread_mutex_lock(&runtime->fibers->mutex);
    lua__loop_async(runtime);
    pthread_mutex_unlock(&runtime->fibers->mutex);
}

/* With the mutex: `runtime` is whose thread this is. */
static void stop(struct lua_runtime *runtime)
{
    if (job.state == WANTED)
        job.state = DONE;
    else if (job.state == RUNNING && job.target == runtime)
        end(runtime);
    else if (job.state == RUNNING) {
        job.state = ENDING;
        wake(job.target);
    }
}

static void clear(void)
{
    free(job.stacks);
    mp_buffer_destroy(&job.texts);
    job.stacks = NULL;
    job.stack_count = job.lost = 0;
    job.error = 0;
    job.target = NULL;
    job.state = IDLE;
}

/* ------------------------------------------------------------------------------------ runtimes */

void lua__profile_register(struct lua_runtime *runtime)
{
    pthread_mutex_lock(&job.mutex);
    struct lua_runtime **link = &job.runtimes;
    unsigned number = 1;
    for (; *link != NULL && (*link)->profile_number == number; link = &(*link)->profile_next)
        number++;
    runtime->profile_number = number;
    runtime->profile_next = *link;
    *link = runtime;
    pthread_mutex_unlock(&job.mutex);
}

void lua__profile_forget(struct lua_runtime *runtime)
{
    if (runtime->profile_number == 0)
        return;
    pthread_mutex_lock(&job.mutex);
    struct lua_runtime **link = &job.runtimes;
    while (*link != runtime)
        link = &(*link)->profile_next;
    *link = runtime->profile_next;
    if (job.target == runtime) {
        if (job.state == RUNNING || job.state == ENDING)
            end(runtime);
        else if (job.state == WANTED)
            job.state = DONE;
        job.target = NULL;
    }
    if (job.state != IDLE && runtime->profile_job == job.number) { /* nobody is going to take it */
        stop(NULL);
        job.end_ns = 0;
    }
    pthread_mutex_unlock(&job.mutex);
}

/* ------------------------------------------------------------------------------------ from Lua */

static struct lua_runtime *check_admin(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    if (!runtime->options.trusted && lua__may_administer(runtime, ACCESS_ALTER) != 0)
        lua__raise(L, runtime, ERROR_ACCESS);
    return runtime;
}

/* profile_workers(): the number of this one's worker, and the numbers of all. */
static int native_workers(lua_State *L)
{
    struct lua_runtime *runtime = check_admin(L);
    unsigned numbers[1024], count = 0;
    pthread_mutex_lock(&job.mutex);
    for (struct lua_runtime *other = job.runtimes; other != NULL && count < 1024;
         other = other->profile_next)
        numbers[count++] = other->profile_number;
    pthread_mutex_unlock(&job.mutex);
    lua_pushinteger(L, (lua_Integer)runtime->profile_number);
    lua_newtable(L);
    for (unsigned n = 0; n < count; n++) {
        lua_pushinteger(L, (lua_Integer)numbers[n]);
        lua_rawseti(L, -2, (int)n + 1);
    }
    return 2;
}

static struct lua_runtime *find(unsigned number)
{
    struct lua_runtime *runtime = job.runtimes;
    while (runtime != NULL && runtime->profile_number != number)
        runtime = runtime->profile_next;
    return runtime;
}

/* With the mutex. */
static int start(struct lua_runtime *runtime, unsigned number, bool lines, unsigned interval_us,
                 double seconds)
{
    struct lua_runtime *target = find(number);
    if (target == NULL)
        return diag_set(ERROR_NOT_FOUND, "there is no worker %u", number);
    if (job.state != IDLE && clock_monotonic_ns(clock_system()) > job.end_ns)
        stop(runtime);
    if (job.state == DONE && clock_monotonic_ns(clock_system()) > job.end_ns)
        clear();
    if (job.state != IDLE)
        return diag_set(ERROR_BUSY, "a profile is being made already: one at a time");
    job.stacks = calloc(STACKS, sizeof *job.stacks);
    if (job.stacks == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    mp_buffer_create(&job.texts);
    job.lines = lines;
    job.interval_us = interval_us;
    job.end_ns = clock_monotonic_ns(clock_system()) + (uint64_t)((seconds + GRACE_S) * 1e9);
    job.target = target;
    runtime->profile_job = ++job.number;
    job.state = WANTED;
    if (target == runtime)
        begin(runtime);
    else
        wake(target);
    return 0;
}

/* profile_start(worker's number, lines, microseconds of the processor's from sample to sample,
 * seconds) */
static int native_start(lua_State *L)
{
    struct lua_runtime *runtime = check_admin(L);
    lua_Number number = luaL_checknumber(L, 1), interval = luaL_checknumber(L, 3),
               seconds = luaL_checknumber(L, 4);
    luaL_argcheck(L, number >= 1 && number <= 1e6, 1, "no worker has this number");
    luaL_argcheck(L, interval >= INTERVAL_US_MIN && interval <= INTERVAL_US_MAX, 3,
                  "between 0.0001 and 1 second");
    pthread_mutex_lock(&job.mutex);
    int code = start(runtime, (unsigned)number, lua_toboolean(L, 2), (unsigned)interval, seconds);
    pthread_mutex_unlock(&job.mutex);
    return code == 0 ? 0 : lua__raise(L, runtime, code);
}

/* profile_stop(nobody takes it): it ends soon. */
static int native_stop(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    pthread_mutex_lock(&job.mutex);
    if (job.state != IDLE && job.number == runtime->profile_job) {
        stop(runtime);
        if (lua_toboolean(L, 1))
            job.end_ns = 0;
    }
    pthread_mutex_unlock(&job.mutex);
    return 0;
}

static void put_all(struct mp_buffer *out)
{
    char count[32];
    for (unsigned n = 0; n < STACKS; n++)
        if (job.stacks[n].count != 0) {
            int size = snprintf(count, sizeof count, " %u\n", job.stacks[n].count);
            mp_put_raw(out, job.texts.data + job.stacks[n].at, job.stacks[n].size);
            mp_put_raw(out, count, (size_t)size);
        }
    if (job.lost > 0) {
        int size = snprintf(count, sizeof count, "(others) %u\n", job.lost);
        mp_put_raw(out, count, (size_t)size);
    }
}

/* profile_take(): the folded stacks, unsorted; nil: not yet. */
static int native_take(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer text;
    int code = 0;
    mp_buffer_create(&text);
    pthread_mutex_lock(&job.mutex);
    bool done = job.state == DONE && job.number == runtime->profile_job;
    if (done) {
        put_all(&text);
        if (job.error != 0)
            code = diag_set(ERROR_IO, "no timer for the profiler: %s", strerror(job.error));
        clear();
    }
    pthread_mutex_unlock(&job.mutex);
    if (done && code == 0 && text.failed)
        code = diag_set(ERROR_MEMORY, "out of memory");
    if (done && code == 0)
        lua_pushlstring(L, text.data == NULL ? "" : text.data, text.size);
    mp_buffer_destroy(&text);
    return code != 0 ? lua__raise(L, runtime, code) : done ? 1 : 0;
}

void lua__open_profile(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"profile_workers", native_workers},
        {"profile_start", native_start},
        {"profile_stop", native_stop},
        {"profile_take", native_take},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
