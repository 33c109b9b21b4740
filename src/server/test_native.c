/* SPDX-License-Identifier: Apache-2.0 */

/*
 * testing.native: processes, folders and the clock for lua/testing.lua. Nothing here waits for
 * longer than it is told to; whoever waits for something asks again.
 */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crash_point.h"
#include "server/test_run.h"

enum { WORDS_MAX = 256, POLLS_MAX = 1024 };

static struct test_run *run_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int failed(lua_State *L, const char *what)
{
    return luaL_error(L, "%s: %s", what, strerror(errno));
}

/* The strings of the array at the index, valid while it is on the stack. */
static void words(lua_State *L, int index, const char **out)
{
    luaL_checktype(L, index, LUA_TTABLE);
    size_t count = lua_objlen(L, index);
    luaL_argcheck(L, count < WORDS_MAX, index, "too many");
    for (size_t n = 0; n < count; n++) {
        lua_rawgeti(L, index, (int)n + 1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, index, "an array of strings");
        out[n] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    out[count] = NULL;
}

/* spawn(argv, variables, path for its errors): pid, and what its standard output can be read from. */
static int native_spawn(lua_State *L)
{
    const char *argv[WORDS_MAX], *variables[WORDS_MAX];
    int out[2];
    words(L, 1, argv);
    words(L, 2, variables);
    int errors = open(luaL_checkstring(L, 3), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (errors < 0)
        return failed(L, "open");
    if (pipe2(out, O_CLOEXEC)) {
        close(errors);
        return failed(L, "pipe");
    }
    int pid = test_spawn((char *const *)argv, (char *const *)variables, out[1], errors);
    close(out[1]);
    close(errors);
    if (pid < 0) {
        close(out[0]);
        return failed(L, "fork");
    }
    lua_pushinteger(L, pid);
    lua_pushinteger(L, out[0]);
    return 2;
}

/* read(fd): what has come, waiting for at least a byte of it; nil at the end. */
static int native_read(lua_State *L)
{
    char buffer[4096];
    ssize_t size;
    do
        size = read((int)luaL_checkinteger(L, 1), buffer, sizeof buffer);
    while (size < 0 && errno == EINTR);
    if (size <= 0)
        return 0;
    lua_pushlstring(L, buffer, (size_t)size);
    return 1;
}

static int native_close(lua_State *L)
{
    close((int)luaL_checkinteger(L, 1));
    return 0;
}

static int native_kill(lua_State *L)
{
    kill((pid_t)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2));
    return 0;
}

/* ended(pid): its exit status, negative the signal that has ended it; nil: it runs. */
static int native_ended(lua_State *L)
{
    int status;
    pid_t pid = waitpid((pid_t)luaL_checkinteger(L, 1), &status, WNOHANG);
    if (pid == 0)
        return 0;
    if (pid < 0)
        return failed(L, "waitpid");
    lua_pushinteger(L, WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
    return 1;
}

/* poll({fd, events, fd, events ..}, milliseconds): what is ready of each. */
static int native_poll(lua_State *L)
{
    struct pollfd polls[POLLS_MAX];
    luaL_checktype(L, 1, LUA_TTABLE);
    int count = (int)lua_objlen(L, 1) / 2;
    luaL_argcheck(L, count <= POLLS_MAX, 1, "too many");
    for (int n = 0; n < count; n++) {
        lua_rawgeti(L, 1, 2 * n + 1);
        lua_rawgeti(L, 1, 2 * n + 2);
        polls[n] =
            (struct pollfd){.fd = (int)lua_tointeger(L, -2), .events = (short)lua_tointeger(L, -1)};
        lua_pop(L, 2);
    }
    int ready = poll(polls, (nfds_t)count, (int)luaL_checkinteger(L, 2));
    lua_createtable(L, count, 0);
    for (int n = 0; n < count; n++) {
        lua_pushinteger(L, ready > 0 ? polls[n].revents : 0);
        lua_rawseti(L, -2, n + 1);
    }
    return 1;
}

/* folder(name): one of that name in the spec's folder; its path. */
static int native_folder(lua_State *L)
{
    const char *path = lua_pushfstring(L, "%s/%s", run_of(L)->folder, luaL_checkstring(L, 1));
    if (mkdir(path, 0700) && errno != EEXIST)
        return failed(L, path);
    return 1;
}

static int native_folder_remove(lua_State *L)
{
    const struct test_run *run = run_of(L);
    const char *path = luaL_checkstring(L, 1);
    size_t size = strlen(run->folder);
    luaL_argcheck(L, strncmp(path, run->folder, size) == 0 && path[size] == '/', 1,
                  "not a folder of the spec's");
    test_folder_remove(path);
    return 0;
}

/* How many have succeeded, failed, ended with an error, are pending: told to the runner. */
static int native_report(lua_State *L)
{
    const struct test_run *run = run_of(L);
    if (run->counts >= 0 && (ftruncate(run->counts, 0) || lseek(run->counts, 0, SEEK_SET) ||
                             dprintf(run->counts, "%d %d %d %d\n", (int)luaL_checkinteger(L, 1),
                                     (int)luaL_checkinteger(L, 2), (int)luaL_checkinteger(L, 3),
                                     (int)luaL_checkinteger(L, 4)) < 0))
        return failed(L, "the report");
    return 0;
}

/* clock('stop' | 'go' | 'advance', seconds) */
static int native_clock(lua_State *L)
{
    static const char *const words_of[] = {"stop", "go", "advance", NULL};
    struct test_clock *clock = &run_of(L)->clock;
    int what = luaL_checkoption(L, 1, NULL, words_of);
    if (what == 0)
        test_clock_stop(clock);
    else if (what == 1)
        test_clock_go(clock);
    else
        test_clock_advance(clock, (uint64_t)(luaL_checknumber(L, 2) * 1e9));
    return 0;
}

/* seconds(): of the system's monotonic clock, whatever the spec's does. */
static int native_seconds(lua_State *L)
{
    lua_pushnumber(L, (double)clock_monotonic_ns(clock_system()) / 1e9);
    return 1;
}

static int native_seed(lua_State *L)
{
    uint32_t seed;
    const char *given = getenv("PERIGEE_SEED");
    if (given && *given)
        seed = (uint32_t)strtoul(given, NULL, 10);
    else if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        return failed(L, "getrandom");
    lua_pushnumber(L, seed);
    return 1;
}

static int native_crash_points(lua_State *L)
{
    lua_newtable(L);
    for (unsigned n = 0; crash_point_name(n); n++) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, crash_point_name(n));
    }
    return 1;
}

static int open_native(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"spawn", native_spawn},
        {"read", native_read},
        {"close", native_close},
        {"kill", native_kill},
        {"ended", native_ended},
        {"poll", native_poll},
        {"folder", native_folder},
        {"folder_remove", native_folder_remove},
        {"report", native_report},
        {"clock", native_clock},
        {"seconds", native_seconds},
        {"seed", native_seed},
        {"crash_points", native_crash_points},
        {NULL, NULL},
    };
    struct test_run *run = run_of(L);
    lua_newtable(L);
    for (const luaL_Reg *function = functions; function->name; function++) {
        lua_pushlightuserdata(L, run);
        lua_pushcclosure(L, function->func, 1);
        lua_setfield(L, -2, function->name);
    }
    lua_pushstring(L, run->executable);
    lua_setfield(L, -2, "executable");
    lua_pushfstring(L, "%s/clock", run->folder);
    lua_setfield(L, -2, "clock_path");
    return 1;
}

void test_native_open(lua_State *L, struct test_run *run)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushlightuserdata(L, run);
    lua_pushcclosure(L, open_native, 1);
    lua_setfield(L, -2, "testing.native");
    lua_pop(L, 2);
}
