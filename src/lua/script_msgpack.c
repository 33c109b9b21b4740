/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmsgpack for Redis scripts: what lua-cmsgpack 0.4 makes of values, byte for byte.
 *
 * It is not the msgpack of this server (lua/msgpack.lua): integers come back as doubles, a whole
 * number is written as an integer and any other in four bytes where those suffice, what is nested
 * more than 16 deep is nil, and neither binary strings nor extensions are read.
 */
#include <math.h>
#include <string.h>

#include "lua/internal.h"

enum { NESTING_MAX = 16 };

/* -------------------------------------------------------------------------------------- packing */

struct packer {
    lua_State *L;
    struct lua_runtime *runtime;
    struct mp_buffer *out;
};

static void pack_value(struct packer *p, int index, int level);

/* A byte, and the lowest `size` bytes of the value, the highest first. */
static void put_tagged(struct packer *p, unsigned tag, uint64_t value, size_t size)
{
    unsigned char bytes[9] = {(unsigned char)tag};
    for (size_t n = size; n > 0; n--, value >>= 8)
        bytes[n] = (unsigned char)value;
    mp_put_raw(p->out, bytes, size + 1);
}

static void pack_integer(struct packer *p, int64_t value)
{
    uint64_t bits = (uint64_t)value;
    if (value >= 0) {
        if (value <= 127)
            put_tagged(p, (unsigned)value, 0, 0);
        else if (value <= 0xff)
            put_tagged(p, 0xcc, bits, 1);
        else if (value <= 0xffff)
            put_tagged(p, 0xcd, bits, 2);
        else if (value <= 0xffffffffLL)
            put_tagged(p, 0xce, bits, 4);
        else
            put_tagged(p, 0xcf, bits, 8);
    } else if (value >= -32) {
        put_tagged(p, (unsigned)(value & 0xff), 0, 0);
    } else if (value >= INT8_MIN) {
        put_tagged(p, 0xd0, bits, 1);
    } else if (value >= INT16_MIN) {
        put_tagged(p, 0xd1, bits, 2);
    } else if (value >= INT32_MIN) {
        put_tagged(p, 0xd2, bits, 4);
    } else {
        put_tagged(p, 0xd3, bits, 8);
    }
}

static void pack_number(struct packer *p, double number)
{
    if (number >= -9223372036854775808.0 && number < 9223372036854775808.0 &&
        number == floor(number)) {
        pack_integer(p, (int64_t)number);
        return;
    }
    float narrow = (float)number;
    if ((double)narrow == number) {
        uint32_t bits;
        memcpy(&bits, &narrow, sizeof bits);
        put_tagged(p, 0xca, bits, 4);
    } else {
        uint64_t bits;
        memcpy(&bits, &number, sizeof bits);
        put_tagged(p, 0xcb, bits, 8);
    }
}

static void pack_string(struct packer *p, const char *text, size_t size)
{
    if (size < 32)
        put_tagged(p, 0xa0 | (unsigned)size, 0, 0);
    else if (size <= 0xff)
        put_tagged(p, 0xd9, size, 1);
    else if (size <= 0xffff)
        put_tagged(p, 0xda, size, 2);
    else
        put_tagged(p, 0xdb, size, 4);
    mp_put_raw(p->out, text, size);
}

static void put_header(struct packer *p, unsigned fixed, unsigned tag, size_t count)
{
    if (count <= 15)
        put_tagged(p, fixed | (unsigned)count, 0, 0);
    else if (count <= 0xffff)
        put_tagged(p, tag, count, 2);
    else
        put_tagged(p, tag + 1, count, 4);
}

/* Its keys are 1 to *count, or there are none; else *count is how many there are. */
static bool is_array(struct packer *p, int index, size_t *count)
{
    double largest = 0;
    bool array = true;
    *count = 0;
    for (lua_pushnil(p->L); lua_next(p->L, index) != 0; lua_pop(p->L, 1)) {
        double key = lua_type(p->L, -2) == LUA_TNUMBER ? lua_tonumber(p->L, -2) : 0;
        array = array && key > 0 && key == floor(key);
        largest = key > largest ? key : largest;
        if (++*count % LUA__VALUES_AT_ONCE == 0)
            lua__encode_check(p->L, p->runtime, p->out);
    }
    return array && largest == (double)*count;
}

static void pack_table(struct packer *p, int index, int level)
{
    size_t count;
    luaL_checkstack(p->L, 4, "in function table_to_mp");
    if (is_array(p, index, &count)) {
        put_header(p, 0x90, 0xdc, count);
        for (size_t n = 1; n <= count; n++) {
            lua_rawgeti(p->L, index, (int)n);
            pack_value(p, lua_gettop(p->L), level);
            lua_pop(p->L, 1);
        }
        return;
    }
    put_header(p, 0x80, 0xde, count);
    for (lua_pushnil(p->L); lua_next(p->L, index) != 0; lua_pop(p->L, 1)) {
        int top = lua_gettop(p->L);
        pack_value(p, top - 1, level);
        pack_value(p, top, level);
    }
}

static void pack_value(struct packer *p, int index, int level)
{
    size_t size;
    const char *text;
    lua__encode_check(p->L, p->runtime, p->out);
    switch (lua_type(p->L, index)) {
    case LUA_TSTRING:
        text = lua_tolstring(p->L, index, &size);
        pack_string(p, text, size);
        return;
    case LUA_TBOOLEAN:
        put_tagged(p, lua_toboolean(p->L, index) ? 0xc3 : 0xc2, 0, 0);
        return;
    case LUA_TNUMBER:
        pack_number(p, lua_tonumber(p->L, index));
        return;
    case LUA_TTABLE:
        if (level < NESTING_MAX) {
            pack_table(p, index, level + 1);
            return;
        }
        break;
    default:
        break;
    }
    put_tagged(p, 0xc0, 0, 0);
}

static int native_cmsgpack_pack(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct packer p = {L, runtime, &runtime->scratch};
    int count = lua_gettop(L);
    if (count == 0)
        return luaL_argerror(L, 0, "MessagePack pack needs input.");
    mp_buffer_reset(p.out, 65536);
    for (int n = 1; n <= count; n++)
        pack_value(&p, n, 0);
    lua__encode_check(L, runtime, p.out);
    lua__push_bytes(L, runtime, p.out->data, p.out->size);
    return 1;
}

/* ------------------------------------------------------------------------------------ unpacking */

struct unpacker {
    lua_State *L;
    struct lua_runtime *runtime;
    const unsigned char *at;
    size_t left;
};

static void unpack_value(struct unpacker *u);

static const unsigned char *take(struct unpacker *u, size_t size)
{
    const unsigned char *taken = u->at;
    if (size > u->left)
        luaL_error(u->L, "Missing bytes in input.");
    u->at += size;
    u->left -= size;
    return taken;
}

static uint64_t take_number(struct unpacker *u, size_t size)
{
    uint64_t value = 0;
    for (const unsigned char *byte = take(u, size), *end = byte + size; byte < end; byte++)
        value = value << 8 | *byte;
    return value;
}

static void unpack_string(struct unpacker *u, size_t size)
{
    const unsigned char *text = take(u, size);
    lua__push_bytes(u->L, u->runtime, (const char *)text, size);
}

static void unpack_array(struct unpacker *u, size_t count)
{
    luaL_checkstack(u->L, 4, "in function mp_decode_to_lua_array");
    lua_newtable(u->L);
    for (size_t n = 1; n <= count; n++) {
        unpack_value(u);
        lua_rawseti(u->L, -2, (int)n);
    }
}

static void unpack_map(struct unpacker *u, size_t count)
{
    luaL_checkstack(u->L, 4, "in function mp_decode_to_lua_hash");
    lua_newtable(u->L);
    for (size_t n = 0; n < count; n++) {
        unpack_value(u);
        unpack_value(u);
        lua_settable(u->L, -3);
    }
}

static void unpack_float(struct unpacker *u, size_t size)
{
    uint64_t bits = take_number(u, size);
    double number;
    float narrow;
    uint32_t low = (uint32_t)bits;
    memcpy(&narrow, &low, sizeof narrow);
    memcpy(&number, &bits, sizeof number);
    lua_pushnumber(u->L, size == 4 ? (double)narrow : number);
}

static void unpack_signed(struct unpacker *u, size_t size)
{
    unsigned shift = 64 - 8 * (unsigned)size;
    lua_pushnumber(u->L, (double)((int64_t)(take_number(u, size) << shift) >> shift));
}

static void unpack_tagged(struct unpacker *u, unsigned tag)
{
    switch (tag) {
    case 0xc0:
        lua_pushnil(u->L);
        return;
    case 0xc2:
    case 0xc3:
        lua_pushboolean(u->L, tag == 0xc3);
        return;
    case 0xca:
    case 0xcb:
        unpack_float(u, tag == 0xca ? 4 : 8);
        return;
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        lua_pushnumber(u->L, (double)(int64_t)take_number(u, (size_t)1 << (tag - 0xcc)));
        return;
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        unpack_signed(u, (size_t)1 << (tag - 0xd0));
        return;
    case 0xd9:
    case 0xda:
    case 0xdb:
        unpack_string(u, take_number(u, (size_t)1 << (tag - 0xd9)));
        return;
    case 0xdc:
    case 0xdd:
        unpack_array(u, take_number(u, tag == 0xdc ? 2 : 4));
        return;
    case 0xde:
    case 0xdf:
        unpack_map(u, take_number(u, tag == 0xde ? 2 : 4));
        return;
    default:
        luaL_error(u->L, "Bad data format in input.");
    }
}

static void unpack_value(struct unpacker *u)
{
    if (lua__interrupted(u->runtime))
        lua__raise(u->L, u->runtime, ERROR_TIMEOUT);
    unsigned tag = *take(u, 1);
    if (tag < 0x80)
        lua_pushnumber(u->L, tag);
    else if (tag >= 0xe0)
        lua_pushnumber(u->L, (double)(int8_t)tag);
    else if (tag < 0x90)
        unpack_map(u, tag & 15);
    else if (tag < 0xa0)
        unpack_array(u, tag & 15);
    else if (tag < 0xc0)
        unpack_string(u, tag & 31);
    else
        unpack_tagged(u, tag);
}

/* Up to `limit` values (0: all) from `offset` on: with a limit, first where to go on, or -1. */
static int unpack_from(lua_State *L, int limit, int offset, bool places)
{
    size_t size;
    const char *data = luaL_checklstring(L, 1, &size);
    if (offset < 0 || limit < 0)
        return luaL_error(L, "Invalid request to unpack with offset of %d and limit of %d.", offset,
                          (int)size);
    if ((size_t)offset > size)
        return luaL_error(L, "Start offset %d greater than input length %d.", offset, (int)size);
    struct unpacker u = {L, lua__runtime(L), (const unsigned char *)data + offset,
                         size - (size_t)offset};
    bool all = limit == 0 && !places;
    int count = 0;
    lua_settop(L, 1);
    lua_pushnil(L);
    for (; u.left > 0 && (all || limit == 0 || count < limit); count++) {
        luaL_checkstack(L, 4, "in function mp_unpack_full");
        unpack_value(&u);
    }
    if (!places || limit == 0)
        return count;
    lua_pushnumber(L, u.left == 0 ? -1 : (double)(size - u.left));
    lua_replace(L, 2);
    return count + 1;
}

static int native_cmsgpack_unpack(lua_State *L)
{
    return unpack_from(L, 0, 0, false);
}

static int native_cmsgpack_unpack_one(lua_State *L)
{
    return unpack_from(L, 1, (int)luaL_optinteger(L, 2, 0), true);
}

static int native_cmsgpack_unpack_limit(lua_State *L)
{
    int limit = (int)luaL_checkinteger(L, 2);
    return unpack_from(L, limit, (int)luaL_optinteger(L, 3, 0), true);
}

void lua__open_script_msgpack(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"cmsgpack_pack", native_cmsgpack_pack},
        {"cmsgpack_unpack", native_cmsgpack_unpack},
        {"cmsgpack_unpack_one", native_cmsgpack_unpack_one},
        {"cmsgpack_unpack_limit", native_cmsgpack_unpack_limit},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
