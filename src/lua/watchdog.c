/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stops Lua code whose time is over, and interrupts it for others: see watchdog.h.
 *
 * The thread sleeps without end while nothing is armed. An armer stores its deadline and then looks
 * whether the thread sleeps; the thread says that it is about to sleep and then looks at the
 * deadlines once more: in a sequentially consistent order one of the two sees the other.
 *
 * A signal may come late, when the call it was meant for is over: the handler acts only when the
 * deadline that has passed is the one that is armed, and both are changed by its own thread only,
 * or name each other by value.
 *
 * ThreadSanitizer holds signals back while a thread makes no calls, as a loop of Lua makes none: there
 * the kernel is told of the handler behind its back, and the handler has nothing that it would see.
 * The hook is always set by the thread that runs the state, for it shares words with what calls it.
 */
#include "lua/watchdog.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "lua/runtime.h"

enum { WATCHDOG_TICK_MS = 2, WATCHDOG_IDLE_TICKS = 500 };

struct lua_watchdog {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    struct list deadlines;
    void (*running)(void *arg);
    void *arg;
    bool stop;
    _Atomic uint64_t asleep;
};

/* The deadline that is armed on this thread: what the signal handler looks at. */
static _Thread_local struct lua__deadline *volatile armed;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void on_hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_sethook(L, on_hook, LUA_MASKCOUNT, 1);
    luaL_where(L, 0);
    lua_pushliteral(L, "time limit exceeded");
    lua_concat(L, 2);
    lua_error(L);
}

/* Between two instructions of code that others are waiting for. It goes on as if nothing had been. */
static void on_others(lua_State *L, lua_Debug *ar)
{
    struct lua__deadline *deadline = armed;
    (void)ar;
    lua_sethook(L, deadline->rest, deadline->rest ? deadline->rest_mask : 0, 1);
    if (lua__deadline_passed(deadline)) /* perhaps between the call and what has just been set */
        lua_sethook(L, on_hook, LUA_MASKCOUNT, 1);
    else
        deadline->others.serve(deadline->others.arg);
}

#if ATOMIC_UNDER_TSAN
#define UNSEEN __attribute__((no_sanitize_thread))
#else
#define UNSEEN
#endif

void lua__deadline_pause(struct lua__deadline *deadline)
{
    if (lua_gethook(deadline->L) == on_others)
        on_others(deadline->L, NULL);
}

/* No hook is set by somebody who needs it, of whom the others would make him lose it; they come again. */
UNSEEN static bool is_at_rest(const struct lua__deadline *deadline)
{
    lua_Hook hook = lua_gethook(deadline->L);
    return hook == NULL || hook == deadline->rest || hook == on_others;
}

/*
 * The hook is taken off first, so that LuaJIT writes the whole of its dispatch table: what it was
 * about to write when the signal came is corrected by the next one.
 */
UNSEEN static void on_signal(int signal)
{
    (void)signal;
    int saved = errno;
    struct lua__deadline *deadline = armed;
    uint64_t at = deadline == NULL ? 0 : load_relaxed(&deadline->at_ns);
    if (at != 0 && load_relaxed(&deadline->fired_ns) == at) {
        lua_sethook(deadline->L, NULL, 0, 0);
        lua_sethook(deadline->L, on_hook, LUA_MASKCOUNT, 1);
    } else if (at != 0 && load_relaxed(&deadline->asked_ns) == at && is_at_rest(deadline)) {
        lua_sethook(deadline->L, NULL, 0, 0);
        lua_sethook(deadline->L, on_others, LUA_MASKCOUNT, 1);
    }
    errno = saved;
}

static void handler_set(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGURG, &action, NULL);
#if ATOMIC_UNDER_TSAN
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } kernel;
    syscall(SYS_rt_sigaction, SIGURG, NULL, &kernel, sizeof kernel.mask);
    kernel.handler = on_signal;
    syscall(SYS_rt_sigaction, SIGURG, &kernel, NULL, sizeof kernel.mask);
#endif
}

/* Under the mutex. */
static void pass(struct lua__deadline *deadline, uint64_t at)
{
    store_seq_cst(&deadline->fired_ns, at);
    pthread_kill((pthread_t)load_relaxed(&deadline->thread), SIGURG);
}

bool lua__deadline_kill(struct lua__deadline *deadline, uint64_t at_ns)
{
    struct lua_watchdog *watchdog = deadline->watchdog;
    pthread_mutex_lock(&watchdog->mutex);
    bool armed_still = load_seq_cst(&deadline->at_ns) == at_ns;
    if (armed_still) {
        store_seq_cst(&deadline->killed_ns, at_ns);
        pass(deadline, at_ns);
    }
    pthread_mutex_unlock(&watchdog->mutex);
    return armed_still;
}

/* Returns whether any deadline is armed. Under the mutex. */
static bool look(struct lua_watchdog *watchdog)
{
    bool any = false;
    uint64_t now = now_ns();
    list_for_each (link, &watchdog->deadlines) {
        struct lua__deadline *deadline = list_entry(link, struct lua__deadline, link);
        uint64_t at = load_seq_cst(&deadline->at_ns);
        const struct lua_others *others = &deadline->others;
        any = any || at != 0;
        if (at != 0 && now >= at) {
            pass(deadline, at);
        } else if (at != 0 && others->wait != NULL && others->wait(others->arg)) {
            store_seq_cst(&deadline->asked_ns, at);
            pthread_kill((pthread_t)load_relaxed(&deadline->thread), SIGURG);
        }
    }
    return any;
}

static void sleep_ms(struct lua_watchdog *watchdog, unsigned ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)ms * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&watchdog->cond, &watchdog->mutex, &until);
}

static void *watch(void *arg)
{
    struct lua_watchdog *watchdog = arg;
    unsigned idle = 0;
    log_thread_name("watchdog");
    pthread_mutex_lock(&watchdog->mutex);
    while (!watchdog->stop) {
        idle = look(watchdog) ? 0 : idle + 1;
        if (idle == 0 && watchdog->running) {
            pthread_mutex_unlock(&watchdog->mutex);
            watchdog->running(watchdog->arg);
            pthread_mutex_lock(&watchdog->mutex);
            if (watchdog->stop)
                break;
        }
        if (idle <= WATCHDOG_IDLE_TICKS) {
            sleep_ms(watchdog, WATCHDOG_TICK_MS);
            continue;
        }
        store_seq_cst(&watchdog->asleep, 1);
        if (!look(watchdog) && !watchdog->stop)
            pthread_cond_wait(&watchdog->cond, &watchdog->mutex);
        store_seq_cst(&watchdog->asleep, 0);
        idle = 0;
    }
    pthread_mutex_unlock(&watchdog->mutex);
    return NULL;
}

int lua_watchdog_new(void (*running)(void *arg), void *arg, struct lua_watchdog **out)
{
    struct lua_watchdog *watchdog = calloc(1, sizeof *watchdog);
    if (watchdog == NULL)
        return ERROR_MEMORY;
    watchdog->running = running;
    watchdog->arg = arg;
    handler_set();
    list_create(&watchdog->deadlines);
    pthread_mutex_init(&watchdog->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&watchdog->cond, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&watchdog->thread, NULL, watch, watchdog) != 0) {
        pthread_cond_destroy(&watchdog->cond);
        pthread_mutex_destroy(&watchdog->mutex);
        free(watchdog);
        return ERROR_AGAIN;
    }
    *out = watchdog;
    return 0;
}

void lua_watchdog_delete(struct lua_watchdog *watchdog)
{
    if (watchdog == NULL)
        return;
    pthread_mutex_lock(&watchdog->mutex);
    watchdog->stop = true;
    pthread_cond_signal(&watchdog->cond);
    pthread_mutex_unlock(&watchdog->mutex);
    pthread_join(watchdog->thread, NULL);
    pthread_cond_destroy(&watchdog->cond);
    pthread_mutex_destroy(&watchdog->mutex);
    free(watchdog);
}

void lua__deadline_create(struct lua__deadline *deadline, struct lua_watchdog *watchdog,
                          struct lua_State *L)
{
    deadline->L = L;
    store_relaxed(&deadline->thread, (unsigned long)pthread_self());
    deadline->watchdog = watchdog;
    list_create(&deadline->link);
    store_relaxed(&deadline->at_ns, 0);
    store_relaxed(&deadline->fired_ns, 0);
    store_relaxed(&deadline->killed_ns, 0);
    store_relaxed(&deadline->asked_ns, 0);
    deadline->others = (struct lua_others){.wait = NULL};
    if (watchdog == NULL)
        return;
    pthread_mutex_lock(&watchdog->mutex);
    list_add_tail(&watchdog->deadlines, &deadline->link);
    pthread_mutex_unlock(&watchdog->mutex);
}

void lua__deadline_others_set(struct lua__deadline *deadline, const struct lua_others *others)
{
    struct lua_watchdog *watchdog = deadline->watchdog;
    if (watchdog == NULL)
        return;
    pthread_mutex_lock(&watchdog->mutex);
    deadline->others = *others;
    pthread_mutex_unlock(&watchdog->mutex);
}

void lua__deadline_destroy(struct lua__deadline *deadline)
{
    struct lua_watchdog *watchdog = deadline->watchdog;
    if (watchdog == NULL)
        return;
    pthread_mutex_lock(&watchdog->mutex);
    list_remove(&deadline->link);
    pthread_mutex_unlock(&watchdog->mutex);
}

void lua__deadline_arm(struct lua__deadline *deadline, uint64_t ms)
{
    if (ms != 0)
        lua__deadline_arm_at(deadline, now_ns() + ms * 1000000u);
}

void lua__deadline_arm_late(struct lua__deadline *deadline)
{
    const uint64_t years_ns = (uint64_t)30 * 365 * 86400 * 1000000000u;
    if (load_relaxed(&deadline->at_ns) == 0)
        lua__deadline_arm_at(deadline, now_ns() + years_ns);
}

void lua__deadline_arm_at(struct lua__deadline *deadline, uint64_t at_ns)
{
    struct lua_watchdog *watchdog = deadline->watchdog;
    if (watchdog == NULL || at_ns == 0)
        return;
    armed = deadline;
    store_relaxed(&deadline->thread, (unsigned long)pthread_self());
    store_seq_cst(&deadline->at_ns, at_ns);
    if (load_seq_cst(&watchdog->asleep) == 0)
        return;
    pthread_mutex_lock(&watchdog->mutex);
    pthread_cond_signal(&watchdog->cond);
    pthread_mutex_unlock(&watchdog->mutex);
}

void lua__deadline_disarm(struct lua__deadline *deadline)
{
    if (load_relaxed(&deadline->at_ns) == 0)
        return;
    store_seq_cst(&deadline->at_ns, 0);
    armed = NULL;
    lua_sethook(deadline->L, deadline->rest, deadline->rest ? deadline->rest_mask : 0, 1);
}
