/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does this LuaJIT run hooks in compiled loops? Runs a loop over pairs, which has to end by itself
 * although it is compiled (see luajit_patch in install.sh), then an endless loop, sets a count hook
 * a second later, from a signal, and exits 0 when the hook's error has ended the loop. Without
 * LUAJIT_ENABLE_CHECKHOOK it never ends: run it under a time limit.
 */
#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static lua_State *state;

static void stop(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    luaL_error(L, "stopped");
}

static void on_alarm(int signal)
{
    (void)signal;
    lua_sethook(state, stop, LUA_MASKCOUNT, 1);
}

int main(void)
{
    state = luaL_newstate();
    luaL_openlibs(state);
    if (luaL_dostring(state, "local t, n = {}, 0 for i = 1, 100 do t['k' .. i] = i end "
                             "for _ = 1, 100 do for _, v in pairs(t) do n = n + v end end "
                             "return n == 505000 or error()") != 0)
        return 1;
    signal(SIGALRM, on_alarm);
    alarm(1);
    if (luaL_dostring(state, "local n = 0 while true do n = n + 1 end") == 0)
        return 1;
    return strstr(lua_tostring(state, -1), "stopped") == NULL;
}
