/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_LOAD_NATIVE_H
#define SERVER_LOAD_NATIVE_H

#include <lua.h>

/* Puts the module "load.native" among those that are loaded: what lua/load asks of C. */
void load_native_open(lua_State *L);

#endif
