/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an error was raised: the frames of stored code and of text, the innermost first, as a
 * MessagePack array of maps {file, line, name}. The built-in Lua and C functions are left out.
 *
 * An error object takes its frames along when it is made. Of what error('text') raises, which has no
 * room for them, the message handler notes them while the stack is still there: `traced`, which
 * box.func calls procedures with, and the handler at the edge. The note counts for the same value
 * only.
 */
#include <string.h>

#include "lua/internal.h"

enum { FRAMES_MAX = 16, LEVELS_MAX = 64 };

static const char noted_key;

static void push_noted_key(lua_State *L)
{
    union {
        const void *from;
        void *to;
    } key = {.from = &noted_key};
    lua_pushlightuserdata(L, key.to);
}

static bool is_of_users(lua_State *L, lua_Debug *ar)
{
    return lua_getinfo(L, "Sln", ar) && ar->currentline > 0 && strncmp(ar->source, "=[", 2) != 0;
}

static void put_text(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

static void put_frame(struct mp_buffer *out, const lua_Debug *ar)
{
    bool main = strcmp(ar->what, "main") == 0;
    mp_put_map(out, 3);
    put_text(out, "file");
    put_text(out, ar->short_src);
    put_text(out, "line");
    mp_put_uint(out, (uint64_t)ar->currentline);
    put_text(out, "name");
    put_text(out, ar->name != NULL ? ar->name : main ? "main chunk" : "?");
}

/* From a level of the state's stack on. */
static void put_frames(lua_State *L, int level, struct mp_buffer *out)
{
    lua_Debug ar;
    uint32_t count = 0;
    for (int n = level; n < LEVELS_MAX && count < FRAMES_MAX && lua_getstack(L, n, &ar); n++)
        count += is_of_users(L, &ar);
    mp_buffer_reset(out, 4096);
    mp_put_array(out, count);
    for (int n = level; count > 0 && lua_getstack(L, n, &ar); n++)
        if (is_of_users(L, &ar)) {
            put_frame(out, &ar);
            count--;
        }
}

/* Of an error object: those that it brings. */
static bool take_frames(lua_State *L, struct lua_runtime *runtime, int index)
{
    if (!lua_istable(L, index))
        return false;
    size_t size = 0;
    lua_pushliteral(L, "frames");
    lua_rawget(L, index);
    const char *frames = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &size) : NULL;
    const char *data = frames;
    bool good = frames != NULL && size > 0 && mp_typeof(*frames) == MP_ARRAY &&
                mp_check_limited(&data, frames + size);
    if (good) {
        mp_buffer_reset(&runtime->frames, 4096);
        mp_put_raw(&runtime->frames, frames, size);
    }
    lua_pop(L, 1);
    return good;
}

/* Of the stack that belongs to the error at index, from a level on. */
static void note(lua_State *L, struct lua_runtime *runtime, int index, lua_State *raised, int level)
{
    if (take_frames(L, runtime, index))
        return;
    push_noted_key(L);
    lua_rawget(L, LUA_REGISTRYINDEX);
    bool noted = !lua_isnil(L, -1) && lua_rawequal(L, -1, index);
    lua_pop(L, 1);
    if (noted)
        return;
    put_frames(raised, level, &runtime->frames);
    push_noted_key(L);
    lua_pushvalue(L, index);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

void lua__note_frames(lua_State *L, struct lua_runtime *runtime, int index)
{
    note(L, runtime, index, L, 1);
}

void lua__note_dead(lua_State *L, struct lua_runtime *runtime, int index, lua_State *dead)
{
    note(L, runtime, index, dead, 0);
}

void lua__forget_frames(struct lua_runtime *runtime)
{
    if (runtime->frames.size == 0)
        return;
    mp_buffer_reset(&runtime->frames, 4096);
    push_noted_key(runtime->L);
    lua_pushnil(runtime->L);
    lua_rawset(runtime->L, LUA_REGISTRYINDEX);
}

const char *lua_runtime_frames(const struct lua_runtime *runtime, size_t *size)
{
    const struct mp_buffer *frames = &runtime->frames;
    *size = frames->failed ? 0 : frames->size;
    return *size == 0 ? NULL : frames->data;
}

/* traced(error): a message handler that notes the frames. */
static int native_traced(lua_State *L)
{
    lua_settop(L, 1);
    lua__note_frames(L, lua__runtime(L), 1);
    return 1;
}

void lua__push_traced(lua_State *L, struct lua_runtime *runtime)
{
    lua_pushlightuserdata(L, runtime);
    lua_pushcclosure(L, native_traced, 1);
}

/* frames(): those of the caller's caller, for an error object. */
static int native_frames(lua_State *L)
{
    struct mp_buffer frames;
    mp_buffer_create(&frames);
    put_frames(L, 1, &frames);
    if (frames.failed)
        lua_pushnil(L);
    else
        lua_pushlstring(L, frames.data, frames.size);
    mp_buffer_destroy(&frames);
    return 1;
}

/* ------------------------------------------------------------------------------ the last error */

void lua__forget_error(struct lua_runtime *runtime)
{
    if (runtime->last_error != 0)
        luaL_unref(runtime->L, LUA_REGISTRYINDEX, runtime->last_error);
    runtime->last_error = 0;
}

/* error_set(error or nil): of this request or fiber, until it ends. */
static int native_error_set(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    lua_settop(L, 1);
    if (runtime->last_error == 0 && !lua_isnil(L, 1)) {
        runtime->last_error = luaL_ref(L, LUA_REGISTRYINDEX);
    } else if (!lua_isnil(L, 1)) {
        lua_rawseti(L, LUA_REGISTRYINDEX, runtime->last_error);
    } else {
        lua__forget_error(runtime);
    }
    return 0;
}

/* error_last(): the error, or nil. */
static int native_error_last(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    if (runtime->last_error == 0)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->last_error);
    return 1;
}

void lua__open_trace(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"traced", native_traced},
        {"frames", native_frames},
        {"error_set", native_error_set},
        {"error_last", native_error_last},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
