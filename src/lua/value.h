/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUA_VALUE_H
#define LUA_VALUE_H

/*
 * Values with a width of their own in Lua: decimal, uuid, datetime, interval, and extensions of
 * MessagePack that are unknown. Each is a cdata struct that is declared, with names that nobody can
 * guess, by lua/box/value.lua; what C knows of them is the struct of the codec.
 */
#include "lua/internal.h"

/* More values of struct lua__value's type, with the object at `data`. The same numbers are in
 * lua/box/value.lua. */
/* In place of an extension's type, which has 8 bits: bytes that are no extension. */
enum { LUA__VARBINARY = 256 };

enum { LUA__DECIMAL = 32, LUA__UUID, LUA__DATETIME, LUA__INTERVAL, LUA__EXTENSION };

/* An extension that is unknown, in Lua's memory. */
struct lua__extension {
    uint32_t size;
    int32_t type;
    char data[];
};

/* Encodes the object at `data`, which is of kind `type`; false when `type` is none of the above. */
bool lua__value_encode(struct mp_buffer *out, int type, const void *data);

/* Pushes the ext value at *data (checked) and advances it. Raises Lua errors. */
void lua__value_push(lua_State *L, struct lua_runtime *runtime, const char **data);

/* Adds the table of functions for FFI to the table `native` on top of the stack. */
void lua__open_value(struct lua_runtime *runtime);

#endif
