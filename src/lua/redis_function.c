/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FUNCTION and FCALL: libraries of Redis functions.
 *
 * A library is a row of the system space _redis_library, so it is in the log, in checkpoints and in
 * backups, and a part of the picture that a version of the schema stands for. Each runtime compiles what it finds there when it is first asked after
 * a change of the schema (lua/box/redis_function.lua), which is where FUNCTION is, too. A function
 * runs as a script does: redis_script.c.
 *
 * FUNCTION DUMP is what Redis makes of its libraries: for each the byte f5 and the text, as a string of
 * its dumps; then the version of the format, two bytes, and CRC-64 of all that, eight, the lowest
 * first. A string is its length (6 bits; 01 and 14 bits; 80 and four bytes; 81 and eight, the highest
 * first) and its bytes, or c3, two lengths, and bytes compressed by LZF, which is read, not written.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "lua/internal.h"
#include "lua/reply.h"

enum {
    DUMP_LIBRARY = 0xf5,
    DUMP_VERSION = 10,
    DUMP_VERSION_MAX = 12,
    DUMP_END_SIZE = 10,
    DUMP_LZF = 0xc3
};

/* ---------------------------------------------------------------------------------------- rows */

/* redis_libraries(): an array of {id, owner, name, text}, as the picture of the schema has them. */
static int native_libraries(lua_State *L)
{
    return lua__records_push(L, CATALOG_REDIS_LIBRARY);
}

/* ---------------------------------------------------------------------------------------- dumps */

/* The polynomial of Jones, reflected. */
static uint64_t crc64(const unsigned char *data, size_t size)
{
    uint64_t crc = 0;
    for (; size > 0; size--, data++) {
        crc ^= *data;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0x95ac9329ac4bc9b5u : crc >> 1;
    }
    return crc;
}

static void put_length(struct mp_buffer *out, size_t size)
{
    unsigned char bytes[9] = {0};
    size_t more = size < 64 ? 0 : size < 16384 ? 1 : size <= UINT32_MAX ? 4 : 8;
    bytes[0] = more == 4 ? 0x80 : more == 8 ? 0x81 : 0;
    for (size_t n = more, left = size; n > 0; n--, left >>= 8)
        bytes[n] = (unsigned char)left;
    if (more < 2)
        bytes[0] = (unsigned char)(more == 0 ? size : 0x40 | size >> 8);
    mp_put_raw(out, bytes, more + 1);
}

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
        mp_put_raw(out, "\xf5", 1);
        put_length(out, size);
        mp_put_raw(out, text, size);
        lua_pop(L, 1);
    }
    unsigned char end[DUMP_END_SIZE] = {DUMP_VERSION, 0};
    mp_put_raw(out, end, 2);
    lua__encode_check(L, runtime, out);
    uint64_t crc = crc64((const unsigned char *)out->data, out->size);
    for (int n = 0; n < 8; n++)
        end[n] = (unsigned char)(crc >> (8 * n));
    mp_put_raw(out, end, 8);
    lua__encode_check(L, runtime, out);
    lua_pushlstring(L, out->data, out->size);
    return 1;
}

struct dump {
    const unsigned char *at;
    size_t left;
};

static bool take_byte(struct dump *dump, unsigned *byte)
{
    if (dump->left == 0)
        return false;
    *byte = *dump->at++;
    dump->left--;
    return true;
}

static bool take_number(struct dump *dump, size_t bytes, uint64_t *number)
{
    unsigned byte;
    for (; bytes > 0; bytes--) {
        if (!take_byte(dump, &byte))
            return false;
        *number = *number << 8 | byte;
    }
    return true;
}

/* *special: the two bits that say that it is no length are set, and *length is the rest. */
static bool take_length(struct dump *dump, uint64_t *length, bool *special)
{
    unsigned byte;
    if (!take_byte(dump, &byte))
        return false;
    *special = byte >> 6 == 3;
    *length = byte & 63;
    if (byte >> 6 == 1)
        return take_number(dump, 1, length);
    if (byte >> 6 != 2)
        return true;
    *length = 0;
    return (byte == 0x80 || byte == 0x81) && take_number(dump, byte == 0x80 ? 4 : 8, length);
}

/* Copies within what has been written: from `distance` bytes before its end, overlapping what is being
 * written. */
static bool copy_back(struct mp_buffer *out, size_t distance, size_t size, size_t size_max)
{
    if (distance > out->size || size > size_max - out->size || mp_buffer_reserve(out, size) == NULL)
        return false;
    for (char *to = out->data + out->size, *end = to + size; to < end; to++)
        *to = to[-(ptrdiff_t)distance];
    out->size += size;
    return true;
}

/* LZF: a byte below 32 begins one more than so many plain bytes; any other, a piece that has been
 * before: three bits of length (7: another byte of it follows) and thirteen of distance. */
static bool decompress(const unsigned char *at, size_t size, struct mp_buffer *out, size_t size_max)
{
    const unsigned char *end = at + size;
    while (at < end) {
        unsigned control = *at++;
        if (control < 32) {
            size_t plain = control + 1;
            if (plain > (size_t)(end - at) || plain > size_max - out->size)
                return false;
            mp_put_raw(out, at, plain);
            at += plain;
            continue;
        }
        size_t length = control >> 5, distance = (size_t)(control & 31) << 8;
        if (length == 7 && at < end)
            length += *at++;
        if (at == end || !copy_back(out, distance + *at++ + 1, length + 2, size_max))
            return false;
    }
    return out->size == size_max && !out->failed;
}

/* Pushes the text that follows. */
static bool push_text(lua_State *L, struct lua_runtime *runtime, struct dump *dump)
{
    uint64_t length, full;
    bool special;
    if (!take_length(dump, &length, &special))
        return false;
    if (!special && length <= dump->left) {
        lua_pushlstring(L, (const char *)dump->at, length);
    } else {
        struct mp_buffer *out = &runtime->scratch;
        if (!special || length != (DUMP_LZF & 63) || !take_length(dump, &length, &special) ||
            special || !take_length(dump, &full, &special) || special || length > dump->left ||
            full > length * 256)
            return false;
        mp_buffer_reset(out, 65536);
        if (!decompress(dump->at, length, out, full))
            return false;
        lua_pushlstring(L, out->data, out->size);
    }
    dump->at += length;
    dump->left -= length;
    return true;
}

static bool dump_checks(const unsigned char *data, size_t size)
{
    uint64_t crc = 0;
    if (size < DUMP_END_SIZE)
        return false;
    const unsigned char *end = data + size - DUMP_END_SIZE;
    for (int n = 7; n >= 0; n--)
        crc = crc << 8 | end[2 + n];
    return (end[0] | end[1] << 8) <= DUMP_VERSION_MAX && crc == crc64(data, size - 8);
}

/* library_undump(bytes): an array of texts; nil: the version or the checksum is wrong; false: what is
 * in it. */
static int native_undump(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    unsigned kind;
    const unsigned char *data = (const unsigned char *)luaL_checklstring(L, 1, &size);
    if (!dump_checks(data, size))
        return 0;
    struct dump dump = {data, size - DUMP_END_SIZE};
    lua_newtable(L);
    for (int n = 1; dump.left > 0; n++) {
        if (!take_byte(&dump, &kind) || kind != DUMP_LIBRARY || !push_text(L, runtime, &dump)) {
            lua_pushboolean(L, 0);
            return 1;
        }
        lua_rawseti(L, 2, n);
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
