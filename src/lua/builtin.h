/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUA_BUILTIN_H
#define LUA_BUILTIN_H

/*
 * The Lua that is built into the binary: every file of lua/, as bytes in a C file that the build
 * makes. A module's name is its path below lua/ without the suffix and with dots for slashes:
 * "box", "box.tuple". The table ends with a NULL name.
 */
#include <stddef.h>

struct lua_builtin {
    const char *name;
    const unsigned char *data; /* source, followed by a zero that is not counted */
    size_t size;
};

extern const struct lua_builtin lua_builtins[];

/* The modules that come with the server: every file of modules/ but their specs, by its path below
 * it, "queue/init.lua". */
extern const struct lua_builtin lua_modules[];

#endif
