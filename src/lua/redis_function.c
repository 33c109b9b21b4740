/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FUNCTION and FCALL: libraries of Redis functions.
 *
 * A library is a row of the system space _redis_library, so it is in the log, in checkpoints and in
 * backups, and a part of the picture that a version of the schema stands for. Each runtime compiles
 * what it finds there when it is first asked after a change of the schema
 * (lua/box/redis_function.lua), which is where FUNCTION is, too. A function runs as a script does:
 * redis_script.c.
 *
 * FUNCTION DUMP is what Redis makes of its libraries: for each the byte f5 and the text, as a string of
 * its dumps, and a footer (redis/redis_dump.h).
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/internal.h"
#include "lua/reply.h"
#include "redis/redis_dump.h"

enum { DUMP_LIBRARY = 0xf5 };

/* ---------------------------------------------------------------------------------------- rows */

/* redis_libraries(): an array of {id, owner, name, text}, as the picture of the schema has them. */
static int native_libraries(lua_State *L)
{
    return lua__records_push(L, CATALOG_REDIS_LIBRARY);
}

/* ---------------------------------------------------------------------------------------- dumps */

/* library_dump{text ..}: the bytes of FUNCTION DUMP. */
static int native_dump(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *out = &runtime->scratch;
    size_t size;
    luaL_checktype(L, 1, LUA_TTABLE);
    mp_buffer_reset(out, 65536);
    for (int n = 1, count = (int)lua_objlen(L, 1); n <= count; n++) {
        lua_rawgeti(L, 1, n);
        const char *text = luaL_checklstring(L, -1, &size);
        redis_dump_put_number(out, DUMP_LIBRARY, 1);
        redis_dump_put_string(out, text, size);
        lua_pop(L, 1);
    }
    redis_dump_put_end(out, REDIS_DUMP_VERSION);
    lua__encode_check(L, runtime, out);
    lua_pushlstring(L, out->data, out->size);
    return 1;
}

/* The texts in a dump, whose footer is right, into `out` as MessagePack strings; how many, or -1. */
static int texts_read(const char *data, size_t size, struct mp_buffer *out)
{
    struct redis_dump_reader reader;
    struct arena arena;
    int count = 0;
    arena_create(&arena, 0);
    redis_dump_open(&reader, &arena, data, size);
    for (; !reader.rc && reader.at < reader.end; count++) {
        uint64_t kind = redis_dump_take_number(&reader, 1);
        struct redis_slice text = redis_dump_take_string(&reader);
        if (kind != DUMP_LIBRARY || text.size > UINT32_MAX)
            reader.rc = ERROR_INVALID;
        else
            mp_put_str(out, text.data, (uint32_t)text.size);
        arena_reset(&arena);
    }
    arena_destroy(&arena);
    return reader.rc || out->failed ? -1 : count;
}

/* library_undump(bytes): an array of texts; nil: the version or the checksum is wrong; false: what is
 * in it. */
static int native_undump(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    uint32_t text_size;
    const char *data = luaL_checklstring(L, 1, &size);
    if (!redis_dump_ends(data, size))
        return 0;
    mp_buffer_reset(&runtime->scratch, 65536);
    int count = texts_read(data, size, &runtime->scratch);
    if (count < 0) {
        lua_pushboolean(L, 0);
        return 1;
    }
    const char *at = runtime->scratch.data;
    lua_createtable(L, count, 0);
    for (int n = 1; n <= count; n++) {
        const char *text = mp_decode_str(&at, &text_size);
        lua_pushlstring(L, text, text_size);
        lua_rawseti(L, -2, n);
    }
    return 1;
}

void lua__open_redis_function(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"redis_libraries", native_libraries},
        {"library_dump", native_dump},
        {"library_undump", native_undump},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}

/* ------------------------------------------------------------------------------------- FUNCTION */

struct find {
    const char *name;
    size_t size;
    bool found;
};

static int find_function(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    struct find *find = arg;
    lua__push_hook(L, runtime, "function_find");
    lua_pushlstring(L, find->name, find->size);
    lua_call(L, 1, 1);
    find->found = lua_toboolean(L, -1);
    return 0;
}

bool lua_runtime_redis_function_find(struct lua_runtime *runtime, const char *name, size_t size)
{
    struct find find = {name, size, false};
    lua__protect(runtime, find_function, &find);
    return find.found;
}

struct command {
    const struct redis_slice *argv;
    unsigned argc;
};

static int run_command(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct command *command = arg;
    lua__push_hook(L, runtime, "function_command");
    luaL_checkstack(L, (int)command->argc + 4, "too many arguments");
    for (unsigned n = 0; n < command->argc; n++)
        lua_pushlstring(L, command->argv[n].data, command->argv[n].size);
    lua_call(L, (int)command->argc, 1);
    lua__reply_encode(L, runtime);
    return 0;
}

int lua_runtime_redis_function(struct lua_runtime *runtime, const struct lua_request *request,
                               const struct redis_slice *argv, unsigned argc,
                               struct redis_sink *sink, uint64_t *reply_ts)
{
    struct command command = {argv, argc};
    lua__request_begin(runtime, request);
    int code = lua__protect(runtime, run_command, &command);
    if (code == 0 && lua__expired(runtime))
        code = ERROR_TIMEOUT;
    code = lua__request_end(runtime, code, reply_ts);
    if (code != 0)
        return code;
    const char *reply = runtime->result.data;
    lua__reply_emit(&reply, sink);
    return 0;
}
