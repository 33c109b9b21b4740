/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lua/clock.lua, lua/json.lua and lua/log.lua need beyond FFI: time of the processor, the log's
 * level, and JSON on several lines.
 */
#include <string.h>
#include <time.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "codec/json.h"
#include "lua/internal.h"

/* cpu_time(of the thread): seconds, else of the process. */
static int native_cpu_time(lua_State *L)
{
    struct timespec time;
    clock_gettime(lua_toboolean(L, 1) ? CLOCK_THREAD_CPUTIME_ID : CLOCK_PROCESS_CPUTIME_ID, &time);
    lua_pushnumber(L, (double)time.tv_sec + (double)time.tv_nsec / 1e9);
    return 1;
}

/* log_level([number]): the level in force; sets it. */
static int native_log_level(lua_State *L)
{
    if (!lua_isnoneornil(L, 1)) {
        int level = (int)luaL_checkinteger(L, 1);
        luaL_argcheck(L, level >= LOG_ERROR && level <= LOG_DEBUG, 1, "no such level");
        log_level_set((enum log_level)level);
    }
    lua_pushinteger(L, (lua_Integer)log_level_get());
    return 1;
}

/* ---------------------------------------------------------------------------------- pretty JSON */

enum { PRETTY_AT_ONCE = 65536 }; /* of the text, from one look whether others wait to the next */

struct pretty {
    lua_State *L;
    struct lua_runtime *runtime;
    struct mp_buffer *out;
    const char *looked; /* where that was in the text */
    unsigned depth, width;
};

static void look(struct pretty *pretty, const char *text)
{
    if (text - pretty->looked < PRETTY_AT_ONCE)
        return;
    lua__encode_check(pretty->L, pretty->runtime, pretty->out);
    pretty->looked = text;
}

static void new_line(struct pretty *pretty)
{
    mp_put_raw(pretty->out, "\n", 1);
    for (unsigned n = 0; n < pretty->depth * pretty->width; n++)
        mp_put_raw(pretty->out, " ", 1);
}

/* The end of the string that begins at `text`. */
static const char *string_end(struct pretty *pretty, const char *text, const char *end)
{
    for (text++; text < end && *text != '"'; text++) {
        look(pretty, text);
        if (*text == '\\')
            text++;
    }
    return text < end ? text + 1 : end;
}

static void put_pretty(struct pretty *pretty, const char *text, const char *end)
{
    while (text < end) {
        look(pretty, text);
        const char *from = text++;
        bool opens = *from == '[' || *from == '{', closes = *from == ']' || *from == '}';
        if (*from == '"')
            text = string_end(pretty, from, end);
        if (opens && text < end && (*text == ']' || *text == '}')) { /* empty */
            mp_put_raw(pretty->out, from, 2);
            text++;
            continue;
        }
        if (closes) {
            pretty->depth--;
            new_line(pretty);
        }
        mp_put_raw(pretty->out, from, (size_t)(text - from));
        pretty->depth += opens;
        if (opens || *from == ',')
            new_line(pretty);
        else if (*from == ':')
            mp_put_raw(pretty->out, " ", 1);
    }
}

/* json_pretty(text, width): JSON of one line, as json_encode makes it, on several. */
static int native_json_pretty(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    int width = (int)luaL_checkinteger(L, 2);
    luaL_argcheck(L, width >= 0 && width <= 16, 2, "between 0 and 16 blanks");
    struct pretty pretty = {.L = L,
                            .runtime = runtime,
                            .out = &runtime->scratch,
                            .looked = text,
                            .width = (unsigned)width};
    mp_buffer_reset(pretty.out, 65536);
    put_pretty(&pretty, text, text + size);
    lua__encode_check(L, runtime, pretty.out);
    lua_pushlstring(L, pretty.out->data, pretty.out->size);
    return 1;
}

void lua__open_clock(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"cpu_time", native_cpu_time},
        {"log_level", native_log_level},
        {"json_pretty", native_json_pretty},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
