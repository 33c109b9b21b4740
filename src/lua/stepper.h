/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUA_STEPPER_H
#define LUA_STEPPER_H

/*
 * A fiber that stops at lines of Lua, for whoever looks at it there: see stepper.c. Names with two
 * underscores are for this folder only. `fiber` is one with a stepper; its context is the runtime's.
 */
#include "lua/fiber.h"

struct lua__stepper;

/* Before it is resumed: its transaction is current again, and lines are looked at. */
void lua__stepper_enter(struct lua_runtime *runtime, struct lua_fiber *fiber);
/* After that: lines are not looked at any more. True when it has stopped, with its transaction
 * parked. */
bool lua__stepper_leave(struct lua_runtime *runtime, struct lua_fiber *fiber, int status);
/* It has its turn: true when it is to go on. Else it stays where it is, and what has been idle for too
 * long is rolled back. */
bool lua__stepper_goes(struct lua_runtime *runtime, struct lua_fiber *fiber);
/* It has been put aside: who waits for that goes on. How long it may stay there with its
 * transaction, in nanoseconds; 0: as long as it likes. */
uint64_t lua__stepper_aside(struct lua_runtime *runtime, struct lua_fiber *fiber);
/* The fiber goes. */
void lua__stepper_delete(struct lua_fiber *fiber);

/* fiber.c: calls the function below `count` arguments on top of L in the context of a fiber that has
 * stopped, and leaves its results, or an error, there: what lua_pcall returns. */
int lua__fiber_within(struct lua_runtime *runtime, lua_State *L, struct lua_fiber *fiber,
                      int count);
/* Its transaction, and what Lua knows of it, come and go around such a call. */
void lua__stepper_borrow(struct lua_runtime *runtime, lua_State *L, struct lua_fiber *fiber);
void lua__stepper_return(struct lua_runtime *runtime, lua_State *L, struct lua_fiber *fiber);

#endif
