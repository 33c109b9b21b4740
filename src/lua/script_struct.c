/* SPDX-License-Identifier: Apache-2.0 */
/*
 * struct for Redis scripts: values packed into strings as C lays them out in memory, by the formats
 * of the struct library that Redis has:
 *
 *      > < ! !n        big endian, little endian, alignment to 8, to n (a power of 2)
 *      b B h H l L T   signed and unsigned char, short, long, size_t
 *      i I in In       int, or an integer of n bytes (n up to 32)
 *      f d             float, double
 *      s               a string that a zero ends
 *      cn c0           n bytes; as many as the number before says
 *      x               a byte of padding
 *      blank           nothing
 */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lua/internal.h"

enum { INTEGER_SIZE_MAX = 32, ALIGNMENT_DEFAULT = 8 };

struct layout {
    lua_State *L;
    const char *format; /* what is left of it */
    bool little;
    int alignment;
};

static int take_count(struct layout *layout, int without)
{
    if (!isdigit((unsigned char)*layout->format))
        return without;
    int count = 0;
    for (; isdigit((unsigned char)*layout->format); layout->format++) {
        int digit = *layout->format - '0';
        if (count > INT_MAX / 10 || count * 10 > INT_MAX - digit)
            luaL_error(layout->L, "integral size overflow");
        count = count * 10 + digit;
    }
    return count;
}

/* The size of what `option` stands for; counts behind it are taken. */
static size_t take_size(struct layout *layout, int option)
{
    switch (option) {
    case 'B':
    case 'b':
    case 'x':
        return 1;
    case 'H':
    case 'h':
        return sizeof(short);
    case 'L':
    case 'l':
        return sizeof(long);
    case 'T':
        return sizeof(size_t);
    case 'f':
        return sizeof(float);
    case 'd':
        return sizeof(double);
    case 'c':
        return (size_t)take_count(layout, 1);
    case 'i':
    case 'I': {
        int size = take_count(layout, sizeof(int));
        if (size > INTEGER_SIZE_MAX)
            luaL_error(layout->L, "integral size %d is larger than limit of %d", size,
                       INTEGER_SIZE_MAX);
        return (size_t)size;
    }
    default:
        return 0;
    }
}

/* The bytes of padding before something of this size at this place. */
static size_t padding(const struct layout *layout, size_t size, int option, size_t at)
{
    size_t alignment = (size_t)layout->alignment;
    if (size == 0 || option == 'c')
        return 0;
    if (size < alignment)
        alignment = size;
    if (alignment <= 1)
        return 0;
    return (alignment - (at & (alignment - 1))) & (alignment - 1);
}

/* What takes no room: blanks, endianness, alignment. */
static void control(struct layout *layout, int option)
{
    char message[40];
    switch (option) {
    case ' ':
        return;
    case '>':
    case '<':
        layout->little = option == '<';
        return;
    case '!': {
        int alignment = take_count(layout, ALIGNMENT_DEFAULT);
        if (alignment == 0 || (alignment & (alignment - 1)) != 0)
            luaL_error(layout->L, "alignment %d is not a power of 2", alignment);
        layout->alignment = alignment;
        return;
    }
    default:
        snprintf(message, sizeof message, "invalid format option '%c'", option);
        luaL_argerror(layout->L, 1, message);
    }
}

/* -------------------------------------------------------------------------------------- packing */

static void put_padding(struct mp_buffer *out, size_t size)
{
    static const char zeros[INTEGER_SIZE_MAX];
    for (; size > sizeof zeros; size -= sizeof zeros)
        mp_put_raw(out, zeros, sizeof zeros);
    mp_put_raw(out, zeros, size);
}

static void put_bytes(struct mp_buffer *out, const unsigned char *little, size_t size,
                      bool as_little)
{
    unsigned char bytes[INTEGER_SIZE_MAX];
    for (size_t n = 0; n < size; n++)
        bytes[n] = little[as_little ? n : size - 1 - n];
    mp_put_raw(out, bytes, size);
}

static void pack_integer(struct layout *layout, struct mp_buffer *out, int argument, size_t size)
{
    double number = luaL_checknumber(layout->L, argument);
    unsigned char little[INTEGER_SIZE_MAX] = {0};
    uint64_t value = 0;
    if (number < 0)
        value = number >= -9223372036854775808.0 ? (uint64_t)(int64_t)number : (uint64_t)INT64_MIN;
    else if (number < 18446744073709551616.0)
        value = (uint64_t)number;
    for (size_t n = 0; n < size && n < sizeof value; n++)
        little[n] = (unsigned char)(value >> (8 * n));
    put_bytes(out, little, size, layout->little);
}

static void pack_real(struct layout *layout, struct mp_buffer *out, int argument, size_t size)
{
    double number = luaL_checknumber(layout->L, argument);
    float narrow = (float)number;
    unsigned char little[sizeof number];
    memcpy(little, size == sizeof narrow ? (const void *)&narrow : (const void *)&number, size);
    put_bytes(out, little, size, layout->little);
}

static void pack_string(struct layout *layout, struct mp_buffer *out, int option, int argument,
                        size_t size)
{
    size_t length;
    const char *text = luaL_checklstring(layout->L, argument, &length);
    if (option == 's' || size == 0)
        size = length;
    luaL_argcheck(layout->L, length >= size, argument + 1, "string too short"); /* as it is there */
    mp_put_raw(out, text, size);
    if (option == 's')
        mp_put_raw(out, "", 1);
}

static int native_struct_pack(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *out = &runtime->scratch;
    struct layout layout = {L, luaL_checkstring(L, 1), true, 1};
    int argument = 2;
    lua_pushnil(L); /* what is missing is nil */
    mp_buffer_reset(out, 65536);
    while (*layout.format != 0) {
        int option = *layout.format++;
        size_t size = take_size(&layout, option);
        put_padding(out, padding(&layout, size, option, out->size));
        if (strchr("bBhHlLTiI", option) != NULL)
            pack_integer(&layout, out, argument++, size);
        else if (option == 'x')
            put_padding(out, 1);
        else if (option == 'f' || option == 'd')
            pack_real(&layout, out, argument++, size);
        else if (option == 'c' || option == 's')
            pack_string(&layout, out, option, argument++, size);
        else
            control(&layout, option);
        lua__encode_check(L, runtime, out);
    }
    lua__push_bytes(L, runtime, out->size > 0 ? out->data : "", out->size);
    return 1;
}

/* ------------------------------------------------------------------------------------ unpacking */

static double read_integer(const struct layout *layout, const char *data, size_t size, bool sign)
{
    uint64_t value = 0;
    size_t low = size < sizeof value ? size : sizeof value;
    for (size_t n = 0; n < low; n++)
        value |= (uint64_t)(unsigned char)data[layout->little ? n : size - 1 - n] << (8 * n);
    if (!sign)
        return (double)value;
    if (size < sizeof value && size > 0) {
        unsigned shift = 64 - 8 * (unsigned)size;
        return (double)((int64_t)(value << shift) >> shift);
    }
    return (double)(int64_t)value;
}

static double read_real(const struct layout *layout, const char *data, size_t size)
{
    unsigned char little[sizeof(double)];
    double number;
    float narrow;
    for (size_t n = 0; n < size; n++)
        little[n] = (unsigned char)data[layout->little ? n : size - 1 - n];
    memcpy(&narrow, little, sizeof narrow);
    if (size == sizeof narrow)
        return narrow;
    memcpy(&number, little, sizeof number);
    return number;
}

static void check_room(lua_State *L, size_t at, size_t size, size_t length)
{
    luaL_argcheck(L, at <= length && size <= length - at, 2, "data string too short");
}

/* The size of c0 is the number that was read before, which is taken away. */
static size_t take_previous(lua_State *L, int count)
{
    if (count == 0 || !lua_isnumber(L, -1))
        luaL_error(L, "format 'c0' needs a previous size");
    double size = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return size >= 0 && size < (double)SIZE_MAX ? (size_t)size : SIZE_MAX;
}

/* Pushes the string that a zero ends; its size with the zero. */
static size_t unpack_string(lua_State *L, const char *data, size_t left)
{
    const char *end = memchr(data, 0, left);
    if (end == NULL)
        luaL_error(L, "unfinished string in data");
    lua_pushlstring(L, data, (size_t)(end - data));
    return (size_t)(end - data) + 1;
}

static int native_struct_unpack(lua_State *L)
{
    size_t length;
    struct layout layout = {L, luaL_checkstring(L, 1), true, 1};
    const char *data = luaL_checklstring(L, 2, &length);
    double from = luaL_optnumber(L, 3, 1);
    luaL_argcheck(L, !(from >= 0 && from < 1), 3, "offset must be 1 or greater");
    size_t at = from >= 1 && from < 9e15 ? (size_t)from - 1 : SIZE_MAX;
    int count = 0;
    lua_settop(L, 2);
    while (*layout.format != 0) {
        int option = *layout.format++;
        size_t size = take_size(&layout, option);
        check_room(L, at, 0, length);
        at += padding(&layout, size, option, at);
        check_room(L, at, size, length);
        luaL_checkstack(L, 2, "too many results");
        if (strchr("bBhHlLTiI", option) != NULL) {
            lua_pushnumber(L, read_integer(&layout, data + at, size, islower(option)));
            count++;
        } else if (option == 'f' || option == 'd') {
            lua_pushnumber(L, read_real(&layout, data + at, size));
            count++;
        } else if (option == 'c') {
            if (size == 0) {
                size = take_previous(L, count--);
                check_room(L, at, size, length);
            }
            lua_pushlstring(L, data + at, size);
            count++;
        } else if (option == 's') {
            size = unpack_string(L, data + at, length - at);
            count++;
        } else if (option != 'x') {
            control(&layout, option);
        }
        at += size;
    }
    lua_pushnumber(L, (double)(at + 1));
    return count + 1;
}

static int native_struct_size(lua_State *L)
{
    struct layout layout = {L, luaL_checkstring(L, 1), true, 1};
    size_t at = 0;
    while (*layout.format != 0) {
        int option = *layout.format++;
        size_t size = take_size(&layout, option);
        at += padding(&layout, size, option, at);
        if (option == 's')
            luaL_argerror(L, 1, "option 's' has no fixed size");
        else if (option == 'c' && size == 0)
            luaL_argerror(L, 1, "option 'c0' has no fixed size");
        if (strchr("bBhHlLTiIfdcx", option) == NULL)
            control(&layout, option);
        at += size;
    }
    lua_pushnumber(L, (double)at);
    return 1;
}

void lua__open_script_struct(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"struct_pack", native_struct_pack},
        {"struct_unpack", native_struct_unpack},
        {"struct_size", native_struct_size},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
