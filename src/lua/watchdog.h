/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUA_WATCHDOG_H
#define LUA_WATCHDOG_H

/*
 * Deadlines of running Lua code.
 *
 * A runtime arms its deadline when a call begins and disarms it when the call is over: two stores.
 * The watchdog's thread looks at all of them every few milliseconds as long as any is armed. It
 * stops code by having a hook set that is called before every instruction; LuaJIT allows
 * lua_sethook to be called asynchronously by the thread that runs the state, so the watchdog sends
 * that thread a signal (SIGURG, which is ignored by default) and the handler sets it. The hook
 * raises an error and stays set, so that code that catches the error meets it again at once. Until
 * then no hook is set, and compiled code pays nothing.
 *
 * In the same way code is interrupted for a moment, without noticing it, when others wait for its
 * thread: the hook then calls their function once, and is gone. Functions of C that go over much look
 * whether it is set, and do the same (lua__deadline_pause).
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/list.h"

struct lua_Debug;
struct lua_State;
struct lua_watchdog;

/* For whom else the thread works: see lua_runtime_others_set. */
struct lua_others {
    bool (*wait)(void *arg);
    void (*serve)(void *arg);
    void *arg;
};

struct lua__deadline {
    struct list link;
    struct lua_State *L;
    _Atomic unsigned long thread; /* pthread_t of who armed it */
    _Atomic uint64_t at_ns;       /* CLOCK_MONOTONIC; 0: not armed */
    _Atomic uint64_t fired_ns;    /* the at_ns that has passed */
    _Atomic uint64_t killed_ns;   /* the at_ns that somebody has ended */
    _Atomic uint64_t asked_ns;    /* the at_ns during which the others have been waiting */
    struct lua_watchdog *watchdog;
    struct lua_others others; /* changed under the watchdog's mutex; wait NULL: none */
    /* The hook that is set while no deadline has passed; NULL: none. */
    void (*rest)(struct lua_State *L, struct lua_Debug *ar);
    int rest_mask;
};

/* The watchdog may be NULL: deadlines never pass. */
void lua__deadline_create(struct lua__deadline *deadline, struct lua_watchdog *watchdog,
                          struct lua_State *L);
void lua__deadline_destroy(struct lua__deadline *deadline);

/* By the thread that runs the state, while it is not armed. */
void lua__deadline_others_set(struct lua__deadline *deadline, const struct lua_others *others);

/* By the thread that runs the state: ms from now; 0: no limit. Not while armed. */
void lua__deadline_arm(struct lua__deadline *deadline, uint64_t ms);

/* Unless it is armed: in some decades, so that it can be killed. */
void lua__deadline_arm_late(struct lua__deadline *deadline);

/* The same for a moment of CLOCK_MONOTONIC, which may have passed; 0: no limit. */
void lua__deadline_arm_at(struct lua__deadline *deadline, uint64_t at_ns);

/* Also takes the hook away, or puts `rest` back. */
void lua__deadline_disarm(struct lua__deadline *deadline);

/* Makes the deadline pass, from any thread, as long as its at_ns is still this one; whether it was. */
bool lua__deadline_kill(struct lua__deadline *deadline, uint64_t at_ns);

/* In a loop of C, by the thread that runs the state: what the hook would do between two instructions, if others wait.
 * Nothing is to be half done of what they touch: see lua_runtime_others_set. */
void lua__deadline_pause(struct lua__deadline *deadline);

/* True when it has passed because of that. */
static inline bool lua__deadline_killed(const struct lua__deadline *deadline)
{
    uint64_t at = load_relaxed(&deadline->at_ns);
    return at != 0 && load_relaxed(&deadline->killed_ns) == at;
}

/* True when armed and past. */
static inline bool lua__deadline_passed(const struct lua__deadline *deadline)
{
    uint64_t at = load_relaxed(&deadline->at_ns);
    return at != 0 && load_relaxed(&deadline->fired_ns) == at;
}

#endif
