/* SPDX-License-Identifier: Apache-2.0 */
/*
 * string.rep, upper, lower and reverse, and table.concat, of what is long, for lua/box/long.lua: LuaJIT's own are
 * one call each, in which nobody is let in and no time is over. Here the bytes are made in stretches; only
 * to become a string they are copied at once.
 *
 * What these cannot do they leave to LuaJIT's, by returning nothing: what does not fit into memory, and errors.
 */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "lua/internal.h"

enum { STRETCH_BYTES = 65536, ELEMENTS_AT_ONCE = 1024 };

static void look(lua_State *L, struct lua_runtime *runtime)
{
    if (lua__interrupted(runtime))
        lua__raise(L, runtime, ERROR_TIMEOUT);
}

/* Where `size` bytes are to be made; NULL: not here. */
static char *room(struct lua_runtime *runtime, double size)
{
    struct mp_buffer *out = &runtime->scratch;
    mp_buffer_reset(out, 65536);
    return size < 1 || size > INT32_MAX ? NULL : mp_buffer_reserve(out, (size_t)size);
}

static int push_made(lua_State *L, struct lua_runtime *runtime, size_t size)
{
    lua__push_bytes(L, runtime, runtime->scratch.data, size);
    mp_buffer_reset(&runtime->scratch, 65536);
    return 1;
}

/* rep(text, count, separator or nil) */
static int native_rep(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t text_size, separator_size = 0;
    const char *text = luaL_checklstring(L, 1, &text_size);
    double count = floor(luaL_checknumber(L, 2));
    const char *separator = luaL_optlstring(L, 3, "", &separator_size);
    size_t period = text_size + separator_size;
    double total = count * (double)period - (double)separator_size;
    char *out = period == 0 ? NULL : room(runtime, total);
    if (out == NULL)
        return 0;
    size_t size = (size_t)total, done = 0;
    while (done < size) {
        /* a whole number of periods before this place, or what they are made of */
        size_t distance = done < STRETCH_BYTES ? done : STRETCH_BYTES;
        distance -= distance % period;
        size_t at = done % period, stretch = distance;
        const char *from = out + done - distance;
        if (distance == 0) {
            from = at < text_size ? text + at : separator + (at - text_size);
            stretch = at < text_size ? text_size - at : period - at;
        }
        stretch = stretch < STRETCH_BYTES ? stretch : STRETCH_BYTES;
        stretch = stretch < size - done ? stretch : size - done;
        memcpy(out + done, from, stretch);
        done += stretch;
        if (stretch == STRETCH_BYTES || distance > STRETCH_BYTES / 2)
            look(L, runtime);
    }
    return push_made(L, runtime, size);
}

/* The bytes [at, behind) of what is made of `size` bytes of text. */
typedef void put_fn(char *out, const char *text, size_t size, size_t at, size_t behind);

static void put_upper(char *out, const char *text, size_t size, size_t at, size_t behind)
{
    (void)size;
    for (; at < behind; at++) {
        unsigned char c = (unsigned char)text[at];
        out[at] = (char)((unsigned)c - 'a' < 26u ? c ^ 0x20u : c);
    }
}

static void put_lower(char *out, const char *text, size_t size, size_t at, size_t behind)
{
    (void)size;
    for (; at < behind; at++) {
        unsigned char c = (unsigned char)text[at];
        out[at] = (char)((unsigned)c - 'A' < 26u ? c ^ 0x20u : c);
    }
}

static void put_reverse(char *out, const char *text, size_t size, size_t at, size_t behind)
{
    for (; at < behind; at++)
        out[at] = text[size - 1 - at];
}

static int make_as_long(lua_State *L, put_fn *put)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    char *out = room(runtime, (double)size);
    if (out == NULL)
        return 0;
    for (size_t done = 0; done < size; done += STRETCH_BYTES) {
        put(out, text, size, done, size - done < STRETCH_BYTES ? size : done + STRETCH_BYTES);
        look(L, runtime);
    }
    return push_made(L, runtime, size);
}

/* upper(text), lower(text): of letters of ASCII, as LuaJIT does; reverse(text) */
static int native_upper(lua_State *L)
{
    return make_as_long(L, put_upper);
}

static int native_lower(lua_State *L)
{
    return make_as_long(L, put_lower);
}

static int native_reverse(lua_State *L)
{
    return make_as_long(L, put_reverse);
}

/* concat(table, separator or nil, count): of the first so many elements, strings and numbers all of them */
static int native_concat(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *out = &runtime->scratch;
    size_t separator_size = 0, size, looked = 0;
    const char *separator = luaL_optlstring(L, 2, "", &separator_size);
    int count = (int)luaL_checkinteger(L, 3);
    luaL_checktype(L, 1, LUA_TTABLE);
    mp_buffer_reset(out, 65536);
    for (int n = 1; n <= count; n++) {
        lua_rawgeti(L, 1, n);
        int type = lua_type(L, -1);
        if (type != LUA_TSTRING && type != LUA_TNUMBER)
            return 0;
        const char *text = lua_tolstring(L, -1, &size);
        mp_put_raw(out, text, size);
        if (n < count)
            mp_put_raw(out, separator, separator_size);
        lua_pop(L, 1);
        if (n % ELEMENTS_AT_ONCE == 0 || out->size - looked > STRETCH_BYTES) {
            look(L, runtime);
            looked = out->size;
        }
    }
    return out->failed ? 0 : push_made(L, runtime, out->size);
}

void lua__open_long(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"rep", native_rep},         {"upper", native_upper},   {"lower", native_lower},
        {"reverse", native_reverse}, {"concat", native_concat}, {NULL, NULL},
    };
    lua__register(runtime, functions);
}
