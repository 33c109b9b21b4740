/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUA_EXPRESSION_H
#define LUA_EXPRESSION_H

/*
 * Functions of a tuple, in Lua, for definitions of spaces and indexes (db/expression.h).
 *
 * A text is an expression of `t` ("t.balance >= 0") or a function ("function(t) return .. end"). `t`
 * gives fields by number and by name, nil for those that are nil or not there, nested maps and
 * arrays as tables; #t, t:totable(), t:tomap() and t:unpack() do what they do with tuples. There is
 * nothing else but the safe part of the library: no box, no time, no random numbers, no globals to
 * keep something in.
 *
 * An evaluation takes LUA_EXPRESSION_STEPS_MAX instructions of Lua at most, and as much memory as
 * LUA_EXPRESSION_MEMORY_MAX; then it fails with ERROR_TIMEOUT or ERROR_MEMORY, on each machine in the
 * same way.
 */
#include "db/expression.h"

enum { LUA_EXPRESSION_STEPS_MAX = 10 * 1000 * 1000, LUA_EXPRESSION_MEMORY_MAX = 64 << 20 };

/* For db_options.expressions: one for the process; a static object. Each thread that evaluates
 * something gets a state of its own, which goes with the thread. */
const struct db_expressions *lua_expressions(void);

#endif
