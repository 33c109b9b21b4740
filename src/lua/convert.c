/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between Lua values and MessagePack.
 *
 * To MessagePack: nil and box.NULL are nil; a number without fraction is an integer, any other a
 * double; 64-bit integers (cdata) keep their width; decimals, uuids, datetimes and intervals are
 * extensions (value.h), and so is what was an unknown one; a string is a str; a tuple goes as it
 * is; a table whose keys are 1..n, holes of a reasonable number included, is an array, any other a
 * map. Objects of the built-in Lua go as the table that its serializer gives; no metamethod of a
 * user's is called, for it could change what is being walked. Tables may be nested as deep as
 * MessagePack may (MP_DEPTH_MAX), which also ends cycles.
 *
 * To Lua: integers up to 2^53 are numbers, larger ones 64-bit cdata; nil inside of tables is
 * box.NULL; bin and str are strings; extensions are objects.
 *
 * C can't see into cdata: two Lua functions of box/core.lua, classify and make, move such values
 * through runtime->value.
 */
#include <math.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/base64.h"
#include "codec/json.h"
#include "lua/internal.h"
#include "lua/value.h"

enum { JSON_MEMORY_FACTOR = 16 }; /* what the parser's tree takes for a byte of text, and more */
static const int64_t exact_max = INT64_C(1) << 53;

void lua__put_number(struct mp_buffer *out, double number)
{
    if (number >= -9223372036854775808.0 && number < 9223372036854775808.0 &&
        number == (double)(int64_t)number)
        mp_put_int(out, (int64_t)number);
    else if (number >= 9223372036854775808.0 && number < 18446744073709551616.0)
        mp_put_uint(out, (uint64_t)number);
    else
        mp_put_double(out, number);
}

/* --------------------------------------------------------------------------- to MessagePack */

static void encode(lua_State *L, struct lua_runtime *runtime, int index, struct mp_buffer *out,
                   enum lua__encoding encoding, unsigned depth);

/* Replaces the value at index by its text and encodes that, or raises an error. */
static void encode_foreign(lua_State *L, int index, struct mp_buffer *out,
                           enum lua__encoding encoding)
{
    if (encoding == LUA__STRICT)
        luaL_error(L, "a %s has no form in MessagePack", luaL_typename(L, index));
    if (!luaL_callmeta(L, index, "__tostring"))
        lua_pushfstring(L, "%s: %p", luaL_typename(L, index), lua_topointer(L, index));
    size_t size;
    const char *text = lua_tolstring(L, -1, &size);
    mp_put_str(out, text == NULL ? "" : text, size);
    lua_pop(L, 1);
}

static void encode_cdata(lua_State *L, struct lua_runtime *runtime, int index,
                         struct mp_buffer *out, enum lua__encoding encoding)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->ref_classify);
    lua_pushvalue(L, index);
    lua_call(L, 1, 1);
    bool is_tuple = lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (is_tuple) {
        const struct lua__tuple *tuple = lua_topointer(L, index);
        mp_put_raw(out, tuple->data, tuple->size);
        return;
    }
    const struct lua__value *value = &runtime->value;
    switch (value->type) {
    case LUA__NIL:
        mp_put_nil(out);
        return;
    case LUA__INT64:
        mp_put_int(out, value->integer);
        return;
    case LUA__UINT64:
        mp_put_uint(out, (uint64_t)value->integer);
        return;
    case LUA__NUMBER:
        lua__put_number(out, value->number);
        return;
    default:
        if (!lua__value_encode(out, value->type, lua_topointer(L, index)))
            encode_foreign(L, index, out, encoding);
    }
}

void lua__encode_check(lua_State *L, struct lua_runtime *runtime, struct mp_buffer *out)
{
    if (out->failed) {
        mp_buffer_reset(out, 0);
        lua__raise(L, runtime, diag_set(ERROR_MEMORY, "a value takes too much memory"));
    }
    if (lua__interrupted(runtime))
        lua__raise(L, runtime, ERROR_TIMEOUT);
}

/* Whether the table is an array, and of what length. Walks the keys. */
static bool table_is_array(lua_State *L, struct lua_runtime *runtime, int index,
                           struct mp_buffer *out, uint32_t *count)
{
    double largest = 0;
    uint32_t entries = 0;
    bool integral = true;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        if (++entries % LUA__VALUES_AT_ONCE == 0)
            lua__encode_check(L, runtime, out);
        double key = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
        if (key < 1 || key != floor(key))
            integral = false;
        else if (key > largest)
            largest = key;
    }
    *count = entries;
    if (!integral || largest > 2.0 * entries + 8)
        return false;
    *count = (uint32_t)largest;
    return true;
}

static void encode_map(lua_State *L, struct lua_runtime *runtime, int index, uint32_t count,
                       struct mp_buffer *out, enum lua__encoding encoding, unsigned depth)
{
    mp_put_map(out, count);
    uint32_t done = 0;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        if (++done % LUA__VALUES_AT_ONCE == 0)
            lua__encode_check(L, runtime, out);
        int top = lua_gettop(L);
        encode(L, runtime, top - 1, out, encoding, depth);
        encode(L, runtime, top, out, encoding, depth);
    }
}

/* For an object of the built-in Lua (a space, an error): pushes the table that stands for it. The
 * serializer's second result says that it is a map whatever its keys are. */
static bool push_serialized(lua_State *L, struct lua_runtime *runtime, int index, bool *is_map)
{
    if (!lua_getmetatable(L, index))
        return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->ref_serializers);
    lua_insert(L, -2);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    lua_pushvalue(L, index);
    lua_call(L, 1, 2);
    *is_map = lua_toboolean(L, -1) && lua_type(L, -2) == LUA_TTABLE;
    lua_pop(L, 1);
    return true;
}

static uint32_t table_count(lua_State *L, int index)
{
    uint32_t count = 0;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1))
        count++;
    return count;
}

static void encode_table(lua_State *L, struct lua_runtime *runtime, int index,
                         struct mp_buffer *out, enum lua__encoding encoding, unsigned depth)
{
    uint32_t count;
    if (depth >= MP_DEPTH_MAX)
        luaL_error(L, "a table is nested more than %d deep, or contains itself", MP_DEPTH_MAX);
    luaL_checkstack(L, 8, "table");
    lua__encode_check(L, runtime, out);
    bool is_map;
    if (push_serialized(L, runtime, index, &is_map)) {
        int top = lua_gettop(L);
        if (is_map)
            encode_map(L, runtime, top, table_count(L, top), out, encoding, depth + 1);
        else
            encode(L, runtime, top, out, encoding, depth + 1);
        lua_pop(L, 1);
        return;
    }
    if (!table_is_array(L, runtime, index, out, &count)) {
        encode_map(L, runtime, index, count, out, encoding, depth + 1);
        return;
    }
    mp_put_array(out, count);
    for (uint32_t i = 1; i <= count; i++) {
        if (i % LUA__VALUES_AT_ONCE == 0)
            lua__encode_check(L, runtime, out);
        lua_rawgeti(L, index, (int)i);
        encode(L, runtime, lua_gettop(L), out, encoding, depth + 1);
        lua_pop(L, 1);
    }
}

/* index is absolute. */
static void encode(lua_State *L, struct lua_runtime *runtime, int index, struct mp_buffer *out,
                   enum lua__encoding encoding, unsigned depth)
{
    size_t size;
    const char *text;
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        mp_put_nil(out);
        return;
    case LUA_TBOOLEAN:
        mp_put_bool(out, lua_toboolean(L, index));
        return;
    case LUA_TNUMBER:
        lua__put_number(out, lua_tonumber(L, index));
        return;
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &size);
        mp_put_str(out, text, size);
        return;
    case LUA_TTABLE:
        encode_table(L, runtime, index, out, encoding, depth);
        return;
    case LUA_TYPE_CDATA:
        encode_cdata(L, runtime, index, out, encoding);
        return;
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, index) == NULL) { /* cjson.null */
            mp_put_nil(out);
            return;
        }
        encode_foreign(L, index, out, encoding);
        return;
    default:
        encode_foreign(L, index, out, encoding);
    }
}

void lua__encode(lua_State *L, struct lua_runtime *runtime, int index, struct mp_buffer *out,
                 enum lua__encoding encoding)
{
    encode(L, runtime, index, out, encoding, 0);
    lua__encode_check(L, runtime, out);
}

/* ------------------------------------------------------------------------------------ to Lua */

static void push_wide(lua_State *L, struct lua_runtime *runtime, int type, int64_t bits)
{
    runtime->value.type = type;
    runtime->value.integer = bits;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->ref_make);
    lua_call(L, 0, 1);
}

static void push_string(lua_State *L, struct lua_runtime *runtime, const char **data)
{
    uint32_t size;
    const char *text =
        mp_typeof(**data) == MP_STR ? mp_decode_str(data, &size) : mp_decode_bin(data, &size);
    lua__push_bytes(L, runtime, text, size);
}

static void push_table(lua_State *L, struct lua_runtime *runtime, const char **data)
{
    luaL_checkstack(L, 8, "nested data");
    if (mp_typeof(**data) == MP_ARRAY) {
        uint32_t count = mp_decode_array(data);
        lua_createtable(L, (int)count, 0);
        for (uint32_t i = 1; i <= count; i++) {
            if (i % LUA__VALUES_AT_ONCE == 0)
                lua__pause(runtime);
            lua__push(L, runtime, data);
            lua_rawseti(L, -2, (int)i);
        }
        return;
    }
    uint32_t count = mp_decode_map(data);
    lua_createtable(L, 0, (int)count);
    for (uint32_t i = 1; i <= count; i++) {
        if (i % LUA__VALUES_AT_ONCE == 0)
            lua__pause(runtime);
        lua__push(L, runtime, data);
        lua__push(L, runtime, data);
        if (lua_type(L, -2) == LUA_TNUMBER && lua_tonumber(L, -2) != lua_tonumber(L, -2))
            lua_pop(L, 2); /* NaN can't be a key */
        else
            lua_rawset(L, -3);
    }
}

void lua__push(lua_State *L, struct lua_runtime *runtime, const char **data)
{
    switch (mp_typeof(**data)) {
    case MP_NIL:
        mp_decode_nil(data);
        lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->ref_null);
        return;
    case MP_BOOL:
        lua_pushboolean(L, mp_decode_bool(data));
        return;
    case MP_UINT: {
        uint64_t value = mp_decode_uint(data);
        if (value > (uint64_t)exact_max)
            push_wide(L, runtime, value > INT64_MAX ? LUA__UINT64 : LUA__INT64, (int64_t)value);
        else
            lua_pushnumber(L, (double)value);
        return;
    }
    case MP_INT: {
        int64_t value = mp_decode_int(data);
        if (value < -exact_max)
            push_wide(L, runtime, LUA__INT64, value);
        else
            lua_pushnumber(L, (double)value);
        return;
    }
    case MP_FLOAT:
        lua_pushnumber(L, (double)mp_decode_float(data));
        return;
    case MP_DOUBLE:
        lua_pushnumber(L, mp_decode_double(data));
        return;
    case MP_STR:
    case MP_BIN:
        push_string(L, runtime, data);
        return;
    case MP_ARRAY:
    case MP_MAP:
        push_table(L, runtime, data);
        return;
    default:
        lua__value_push(L, runtime, data);
    }
}

int lua__push_array(lua_State *L, struct lua_runtime *runtime, const char *array)
{
    uint32_t count = mp_decode_array(&array);
    if (count > LUAI_MAXCSTACK)
        luaL_error(L, "too many arguments");
    luaL_checkstack(L, (int)count + 4, "too many arguments");
    for (uint32_t i = 0; i < count; i++) {
        if (mp_typeof(*array) == MP_NIL) {
            mp_decode_nil(&array);
            lua_pushnil(L);
        } else {
            lua__push(L, runtime, &array);
        }
    }
    return (int)count;
}

/* ------------------------------------------------------------------------------- the binding */

/*
 * encode(slot, value): an array into runtime->args[slot]. A value that is neither table nor tuple
 * becomes an array of one. What is in the slot is replaced when the new value is whole, so that a
 * statement never reads a part of one.
 */
static int native_encode(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *out = &runtime->scratch, *slot = &runtime->args[lua_tointeger(L, 1) == 1];
    int type = lua_type(L, 2);
    mp_buffer_reset(out, 65536);
    lua_settop(L, 2);
    if (type != LUA_TTABLE && type != LUA_TYPE_CDATA)
        mp_put_array(out, 1);
    lua__encode(L, runtime, 2, out, LUA__STRICT);
    enum mp_type kind = mp_typeof(*out->data);
    if (kind == MP_MAP)
        return luaL_error(L, "an array is expected, not a map");
    if (kind != MP_ARRAY) { /* a 64-bit integer, or box.NULL */
        mp_put_raw(out, "", 1);
        memmove(out->data + 1, out->data, out->size - 1);
        *out->data = (char)0x91;
    }
    if (out->failed)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    struct mp_buffer other = *slot;
    *slot = *out;
    *out = other;
    return 0;
}

/* decode(tuple, offset): the value at that byte of a tuple. */
static int native_decode(lua_State *L)
{
    const struct lua__tuple *tuple = lua_topointer(L, 1);
    const char *data = tuple->data + lua_tointeger(L, 2);
    lua__push(L, lua__runtime(L), &data);
    return 1;
}

/* elements(tuple, first, last): the elements as values, nil as nil. */
static int native_elements(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct lua__tuple *tuple = lua_topointer(L, 1);
    const char *data = tuple->data;
    uint32_t count = mp_decode_array(&data);
    lua_Integer first = lua_tointeger(L, 2), last = lua_tointeger(L, 3);
    int pushed = 0;
    if (last > (lua_Integer)count)
        last = (lua_Integer)count;
    for (lua_Integer i = 1; i <= last; i++) {
        if (i < first) {
            mp_next(&data);
            continue;
        }
        luaL_checkstack(L, 8, "too many fields");
        lua__push(L, runtime, &data);
        pushed++;
    }
    return pushed;
}

/* position(): where the last select that was to tell it ended, or nil when it gave no rows. */
static int native_position(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct mp_buffer *position = &runtime->position;
    if (position->size == 0)
        return 0;
    size_t size = base64_size(position->size);
    char *text = lua_newuserdata(L, size);
    base64_encode(text, position->data, position->size);
    lua_pushlstring(L, text, size);
    return 1;
}

/* after(text, space, index): a position of that index becomes the one to go on behind. */
static int native_after(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    uint32_t ids[2];
    char *bytes = lua_newuserdata(L, size + 1);
    int64_t count = base64_decode(bytes, text, size);
    if (count < (int64_t)sizeof ids)
        return lua__raise(L, runtime, diag_set(ERROR_INVALID, "this is no position of an index"));
    memcpy(ids, bytes, sizeof ids);
    if (ids[0] != (uint32_t)lua_tonumber(L, 2) || ids[1] != (uint32_t)lua_tonumber(L, 3))
        return lua__raise(L, runtime,
                          diag_set(ERROR_INVALID, "the position is one of another index"));
    struct mp_buffer *after = &runtime->args[1];
    mp_buffer_reset(after, 65536);
    mp_put_raw(after, bytes + sizeof ids, (size_t)count - sizeof ids);
    return after->failed ? lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory")) : 0;
}

/* tuple_update(tuple): the bytes of the tuple that the operations in args[1] make of it. */
static int native_tuple_update(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct lua__tuple *tuple = lua_topointer(L, 1);
    struct arena arena;
    struct tuple_ref changed;
    const struct space *space =
        runtime->worker == NULL || tuple->space_id == 0
            ? NULL
            : catalog_space_by_id(db_catalog(runtime->worker), tuple->space_id);
    arena_create(&arena, 1 << 12);
    int code = space_tuple_update(&arena, space, tuple->data, runtime->args[1].data, &changed);
    mp_buffer_reset(&runtime->scratch, 65536);
    if (code == 0)
        mp_put_raw(&runtime->scratch, changed.data, changed.size);
    arena_destroy(&arena);
    if (code == 0 && runtime->scratch.failed)
        code = diag_set(ERROR_MEMORY, "out of memory");
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua__push_bytes(L, runtime, runtime->scratch.data, runtime->scratch.size);
    return 1;
}

/* pack(value): MessagePack in a string. unpack(string, offset): value, offset of the next. */
static int native_pack(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *out = &runtime->scratch;
    lua_settop(L, 1);
    mp_buffer_reset(out, 65536);
    lua__encode(L, runtime, 1, out, LUA__STRICT);
    lua__push_bytes(L, runtime, out->data, out->size);
    return 1;
}

/* mp_check_limited, in stretches. */
static bool is_whole(struct lua_runtime *runtime, const char **data, const char *end)
{
    enum { STRETCH_BYTES = 1 << 18 };
    struct mp_scan scan;
    size_t size = (size_t)(end - *data), visible = 0, need = STRETCH_BYTES;
    enum mp_scan_result result = MP_SCAN_MORE;
    mp_scan_create(&scan);
    while (result == MP_SCAN_MORE && visible < size) {
        lua__pause(runtime);
        visible = need < visible + STRETCH_BYTES ? visible + STRETCH_BYTES : need;
        visible = visible < size ? visible : size;
        result = mp_scan_advance(&scan, *data, visible, &need);
    }
    *data += result == MP_SCAN_DONE ? scan.offset : 0;
    return result == MP_SCAN_DONE;
}

static int native_unpack(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    const char *start = luaL_checklstring(L, 1, &size);
    lua_Number offset = luaL_optnumber(L, 2, 1);
    luaL_argcheck(L, offset >= 1 && offset <= (double)size, 2, "outside of the text");
    const char *data = start + (size_t)offset - 1, *end = data;
    if (!is_whole(runtime, &end, start + size))
        return luaL_error(L, "this is not valid MessagePack");
    lua__push(L, runtime, &data);
    lua_pushnumber(L, (double)(end - start) + 1);
    return 2;
}

/* array_end(string, offset): the offset behind the array that begins at `offset`. */
static int native_array_end(lua_State *L)
{
    size_t size;
    const char *start = luaL_checklstring(L, 1, &size);
    lua_Number offset = luaL_optnumber(L, 2, 1);
    luaL_argcheck(L, offset >= 1 && offset <= (double)size, 2, "outside of the text");
    const char *data = start + (size_t)offset - 1, *end = data;
    if (!mp_check_limited(&end, start + size) || mp_typeof(*data) != MP_ARRAY)
        return luaL_error(L, "this is not a MessagePack array");
    lua_pushnumber(L, (double)(end - start) + 1);
    return 1;
}

/* Between the values of large ones. */
static int json_look(void *runtime)
{
    return lua__interrupted(runtime) ? ERROR_TIMEOUT : 0;
}

static void json_begin(struct lua_runtime *runtime, struct json_buffer *json)
{
    json_buffer_create(json);
    json->look = json_look;
    json->look_arg = runtime;
}

static int native_json_encode(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *out = &runtime->scratch;
    struct json_buffer *json = &runtime->json;
    lua_settop(L, 1);
    mp_buffer_reset(out, 65536);
    lua__encode(L, runtime, 1, out, LUA__STRICT);
    json_buffer_destroy(json); /* what memory was out for to make a string of */
    json_begin(runtime, json);
    const char *data = out->data;
    int code = json_from_msgpack(json, &data);
    if (code == 0)
        lua__push_bytes(L, runtime, json->data, json->size);
    json_buffer_destroy(json);
    return code == 0 ? 1 : lua__raise(L, runtime, code);
}

static int native_json_decode(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *keep = &runtime->scratch;
    struct json_buffer packed;
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    if (runtime->memory_bytes_max != 0 && size > runtime->memory_bytes_max / JSON_MEMORY_FACTOR)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "the text takes too much memory"));
    json_begin(runtime, &packed);
    int code = json_to_msgpack(text, size, &packed);
    mp_buffer_reset(keep, 65536);
    if (code == 0)
        mp_put_raw(keep, packed.data, packed.size);
    json_buffer_destroy(&packed);
    if (code == 0 && keep->failed)
        code = ERROR_MEMORY;
    if (code != 0)
        return lua__raise(L, runtime, code);
    const char *data = keep->data;
    lua__push(L, runtime, &data);
    return 1;
}

void lua__open_convert(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"position", native_position},
        {"tuple_update", native_tuple_update},
        {"after", native_after},
        {"encode", native_encode},
        {"decode", native_decode},
        {"elements", native_elements},
        {"pack", native_pack},
        {"unpack", native_unpack},
        {"array_end", native_array_end},
        {"json_encode", native_json_encode},
        {"json_decode", native_json_decode},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
    lua__open_value(runtime);
}
