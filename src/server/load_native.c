/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The module "load.native" of `perigee load` and `perigee dump`: rows are MessagePack in strings of
 * Lua's, and values go from there to text and back without becoming values of Lua's, so nothing of
 * them is lost.
 */
#include "server/load_native.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/crc32c.h"
#include "codec/datetime.h"
#include "codec/decimal.h"
#include "codec/ext.h"
#include "codec/json_exact.h"
#include "codec/mp.h"
#include "codec/uuid.h"
#include "server/admin_key.h"

/* nil and what was wrong */
static int failed(lua_State *L, int code)
{
    lua_pushnil(L);
    lua_pushstring(L, diag_message_for(code));
    return 2;
}

/* The value in the string at `index` that begins at the offset behind it (from 1): where it begins,
 * and in *end what follows. NULL when no whole value begins there. */
static const char *value_at(lua_State *L, int index, const char **end)
{
    size_t size;
    const char *start = luaL_checklstring(L, index, &size);
    lua_Number offset = luaL_optnumber(L, index + 1, 1);
    luaL_argcheck(L, offset >= 1 && offset <= (double)size + 1, index + 1, "outside of the text");
    const char *value = start + (size_t)offset - 1;
    *end = value;
    return mp_check_limited(end, start + size) ? value : NULL;
}

/* check(bytes, offset): the offset behind the value, or nil */
static int native_check(lua_State *L)
{
    const char *end, *value = value_at(L, 1, &end);
    if (value == NULL)
        return 0;
    lua_pushnumber(L, luaL_optnumber(L, 2, 1) + (double)(end - value));
    return 1;
}

/* array(bytes, offset): how many elements the array there has, and the offset of the first; nil when
 * it is no array. The bytes are checked. */
static int native_array(lua_State *L)
{
    size_t size;
    const char *start = luaL_checklstring(L, 1, &size);
    size_t offset = (size_t)luaL_optnumber(L, 2, 1);
    luaL_argcheck(L, offset >= 1 && offset <= size, 2, "outside of the text");
    const char *at = start + offset - 1;
    if (mp_typeof(*at) != MP_ARRAY && mp_typeof(*at) != MP_MAP)
        return 0;
    bool map = mp_typeof(*at) == MP_MAP;
    lua_pushnumber(L, map ? mp_decode_map(&at) : mp_decode_array(&at));
    lua_pushnumber(L, (double)(at - start) + 1);
    lua_pushboolean(L, map);
    return 3;
}

/* json_encode(bytes, offset): the JSON text of a value, and the offset behind it */
static int native_json_encode(lua_State *L)
{
    struct json_buffer json;
    const char *end, *value = value_at(L, 1, &end);
    if (value == NULL)
        return luaL_error(L, "this is not MessagePack");
    json_buffer_create(&json);
    int code = json_exact_from_msgpack(&json, &value);
    if (code == 0)
        lua_pushlstring(L, json.data, json.size);
    json_buffer_destroy(&json);
    if (code != 0)
        return luaL_error(L, "out of memory");
    lua_pushnumber(L, (double)(end - lua_tostring(L, 1)) + 1);
    return 2;
}

/* json_decode(text): MessagePack; or nil and what is wrong with the text */
static int native_json_decode(lua_State *L)
{
    struct json_buffer packed;
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    json_buffer_create(&packed);
    int code = json_to_msgpack(text, size, &packed);
    if (code == 0)
        lua_pushlstring(L, packed.data, packed.size);
    json_buffer_destroy(&packed);
    return code == 0 ? 1 : failed(L, code);
}

/* ext_parse(kind, text): the MessagePack of a decimal, a uuid or a datetime; nil when it is none */
static int native_ext_parse(lua_State *L)
{
    size_t size;
    const char *kind = luaL_checkstring(L, 1), *text = luaL_checklstring(L, 2, &size);
    char packed[DECIMAL_MP_MAX], *end = NULL;
    struct decimal decimal;
    struct uuid uuid;
    struct datetime datetime;
    if (strcmp(kind, "decimal") == 0 && decimal_parse(&decimal, text, size) == 0)
        end = decimal_pack(packed, &decimal);
    else if (strcmp(kind, "uuid") == 0 && uuid_parse(&uuid, text, size))
        end = uuid_pack(packed, &uuid);
    else if (strcmp(kind, "datetime") == 0 && datetime_parse(&datetime, text, size, 0, false) == 0)
        end = datetime_pack(packed, &datetime);
    if (end == NULL)
        return 0;
    lua_pushlstring(L, packed, (size_t)(end - packed));
    return 1;
}

/* ext_print(bytes, offset): "decimal", "uuid" or "datetime", its text and the offset behind it; nil when
 * there is something else. The bytes are checked. */
static int native_ext_print(lua_State *L)
{
    char text[EXT_TEXT_MAX];
    const char *end, *value = value_at(L, 1, &end);
    enum ext_kind kind = value == NULL ? EXT_NONE : ext_kind(value);
    if (kind != EXT_DECIMAL && kind != EXT_UUID && kind != EXT_DATETIME)
        return 0;
    lua_pushstring(L, ext_kind_name(kind));
    lua_pushlstring(L, text, ext_print(&value, text));
    lua_pushnumber(L, (double)(end - lua_tostring(L, 1)) + 1);
    return 3;
}

/* crc32c(crc, text, first, last): the sum extended by a part of the text, which may be empty */
static int native_crc32c(lua_State *L)
{
    size_t size;
    uint32_t crc = (uint32_t)luaL_checknumber(L, 1);
    const char *text = luaL_checklstring(L, 2, &size);
    size_t first = (size_t)luaL_checknumber(L, 3), last = (size_t)luaL_checknumber(L, 4);
    luaL_argcheck(L, first >= 1 && last <= size && first <= last + 1, 3, "outside of the text");
    lua_pushnumber(L, crc32c(crc, text + first - 1, last + 1 - first));
    return 1;
}

/* is_terminal(fd) */
static int native_is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* columns(): of the terminal behind standard error, or nothing */
static int native_columns(lua_State *L)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 0;
    lua_pushinteger(L, size.ws_col);
    return 1;
}

/* sync(path): whether what was written to the file is on the disk */
static int native_sync(lua_State *L)
{
    int fd = open(luaL_checkstring(L, 1), O_RDONLY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    lua_pushboolean(L, done);
    return 1;
}

/* is_regular(path): whether the file is one that can be replaced, no device and no pipe; nil when there is
 * none */
static int native_is_regular(lua_State *L)
{
    struct stat status;
    if (stat(luaL_checkstring(L, 1), &status) != 0)
        return 0;
    lua_pushboolean(L, S_ISREG(status.st_mode));
    return 1;
}

/* real_path(path): without links and dots, or nil when there is no such file */
static int native_real_path(lua_State *L)
{
    char *path = realpath(luaL_checkstring(L, 1), NULL);
    lua_pushstring(L, path);
    free(path);
    return 1;
}

/* admin_key(dir, address): by which one is the admin of the server at that address; nil when it can't be
 * read. Each start of a server makes another. */
static int native_admin_key(lua_State *L)
{
    char key[ADMIN_KEY_SIZE + 1];
    bool found = admin_key_find(luaL_checkstring(L, 1), luaL_checkstring(L, 2), key);
    lua_pushstring(L, found ? key : NULL);
    return 1;
}

void load_native_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"check", native_check},
        {"array", native_array},
        {"json_encode", native_json_encode},
        {"json_decode", native_json_decode},
        {"ext_parse", native_ext_parse},
        {"ext_print", native_ext_print},
        {"crc32c", native_crc32c},
        {"is_terminal", native_is_terminal},
        {"columns", native_columns},
        {"sync", native_sync},
        {"admin_key", native_admin_key},
        {"is_regular", native_is_regular},
        {"real_path", native_real_path},
        {NULL, NULL},
    };
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, "load.native");
    lua_pop(L, 2);
}
