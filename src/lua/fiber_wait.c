/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fibers that wait for locks of others.
 *
 * A statement that is a transaction of its own has been rolled back, and its owner is in the queue.
 * One of a transaction that was begun in the fiber has been undone, and that transaction is parked.
 * Either way the code for Lua is ERROR_WAIT: the fiber yields, with what it has, and when the owner
 * is woken, or now and then, asks lua__fiber_waited; then the statement is made again. A fiber is
 * never run again from its start.
 */
#include "base/diag.h"
#include "base/error.h"
#include "lua/fiber.h"

#define WAIT_MS_MAX UINT64_C(1000000000000) /* some thirty years: for ever */

bool lua__fiber_can_wait(const struct lua_runtime *runtime)
{
    const struct lua_fiber *fiber = runtime->fiber;
    return fiber != NULL && (fiber->background || fiber->slept || fiber->settled);
}

void lua__fiber_settle(struct lua_runtime *runtime)
{
    struct lua_fiber *fiber = runtime->fiber;
    if (fiber == NULL || lua__fiber_can_wait(runtime))
        return;
    if (runtime->owner != NULL && runtime->owner == fiber->request.owner)
        runtime->owner = NULL; /* it is the caller's, and holds nothing any more */
    fiber->settled = true;
}

/* The owner's queue has been entered. One that has been made by a run wakes nobody yet: it leaves,
 * is told whom, and takes its place in the next run, which follows at once. */
int lua__fiber_park(struct lua_runtime *runtime, struct lock_owner *owner)
{
    struct lua_fiber *fiber = runtime->fiber;
    if (runtime->txn == NULL && fiber->awaited != owner) {
        lock_wait_cancel(owner, false);
        lock_owner_wake_set(owner, lua__fiber_wake, fiber);
        fiber->awaited = owner;
        return 0;
    }
    if (fiber->wait_end_ns == 0) {
        uint64_t timeout_ms = runtime->options.lock_timeout_ms;
        if (timeout_ms == 0)
            timeout_ms = LUA_LOCK_TIMEOUT_MS_DEFAULT;
        fiber->wait_end_ns = clock_monotonic_ns(runtime->clock) +
                             (timeout_ms > WAIT_MS_MAX ? WAIT_MS_MAX : timeout_ms) * 1000000;
    }
    fiber->awaited = owner;
    fiber->waiting = true;
    return ERROR_WAIT;
}

int lua__fiber_waited(struct lua_runtime *runtime, bool give_up)
{
    struct lua_fiber *fiber = runtime->fiber;
    struct lock_owner *owner = fiber->awaited;
    bool over = clock_monotonic_ns(runtime->clock) >= fiber->wait_end_ns;
    if (lock_wait_state(owner) == LOCK_WAIT_QUEUED && !over && !give_up && !fiber->cancelled)
        return ERROR_WAIT;
    fiber->waiting = false;
    int code = 0;
    if (runtime->txn != NULL) {
        fiber->awaited = NULL; /* it goes with the transaction */
        code = lua__resume_parked(runtime, owner);
    } else {
        enum lock_wait state = lock_wait_cancel(owner, over);
        if (state == LOCK_WAIT_QUEUED || state == LOCK_WAIT_VICTIM)
            lock_release_all(owner);
        if (state == LOCK_WAIT_QUEUED)
            code = diag_set(ERROR_LOCK_TIMEOUT, "%s", error_text(ERROR_LOCK_TIMEOUT));
    }
    if (fiber->cancelled && code == ERROR_LOCK_TIMEOUT)
        return diag_set(ERROR_CANCELLED, "fiber is cancelled");
    return code;
}

/*
 * What can't be made again by itself, a commit or a transaction that is alone in the gate, has met a
 * lock: it is made again from its start. A lock that it has been given meanwhile it keeps: if each of
 * those that meet here gave it back, they could pass it round for ever.
 */
int lua__fiber_try_again(struct lua_runtime *runtime)
{
    if (runtime->owner == NULL)
        runtime->owner = txn_owner_detach(runtime->txn_worker);
    if (runtime->owner == NULL)
        return 0;
    enum lock_wait state = lock_wait_cancel(runtime->owner, false);
    if (state == LOCK_WAIT_QUEUED || state == LOCK_WAIT_VICTIM)
        lock_release_all(runtime->owner);
    return 0;
}
