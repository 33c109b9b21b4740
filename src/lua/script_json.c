/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cjson for Redis scripts: the functions, settings, texts and errors of lua-cjson 2.1, which is what
 * Redis has.
 *
 * It is not the json of this server (lua/json.lua): numbers are doubles with 14 digits, null is a
 * light userdata, an empty table is an object, and a sparse array is an error unless asked for
 * otherwise. What a script sets holds until it ends. A table may contain another many times, so the
 * output is bounded and time is looked at with every value.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lua/internal.h"

enum { DEPTH_DEFAULT = 1000, PRECISION_MAX = 14, NUMBER_TEXT_MAX = 64 };
enum { INVALID_OFF, INVALID_ON, INVALID_NULL };

void lua__script_json_reset(struct lua__script_json *settings)
{
    *settings = (struct lua__script_json){.sparse_ratio = 2,
                                          .sparse_safe = 10,
                                          .encode_depth_max = DEPTH_DEFAULT,
                                          .decode_depth_max = DEPTH_DEFAULT,
                                          .encode_invalid = INVALID_OFF,
                                          .decode_invalid = INVALID_ON,
                                          .keep_buffer = true,
                                          .precision = PRECISION_MAX};
}

/* ------------------------------------------------------------------------------------- encoding */

struct encoder {
    lua_State *L;
    struct lua_runtime *runtime;
    struct mp_buffer *out;
    const struct lua__script_json *settings;
};

static void encode_value(struct encoder *e, int depth);

static void put(struct encoder *e, const char *text, size_t size)
{
    mp_put_raw(e->out, text, size);
}

static void refuse(struct encoder *e, int index, const char *reason)
{
    luaL_error(e->L, "Cannot serialise %s: %s", luaL_typename(e->L, index), reason);
}

/* The two characters that stand for this one, or NULL. */
static const char *escape_of(unsigned char c)
{
    static const char *const low[] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f",
        ['\r'] = "\\r", ['"'] = "\\\"", ['/'] = "\\/",  ['\\'] = "\\\\"};
    return c <= '\\' ? low[c] : NULL;
}

static void put_string(struct encoder *e, int index)
{
    size_t size, done = 0;
    const char *text = lua_tolstring(e->L, index, &size);
    put(e, "\"", 1);
    for (size_t n = 0; n < size; n++) {
        unsigned char c = (unsigned char)text[n];
        const char *escape = escape_of(c);
        char code[8];
        if (escape == NULL && c >= 32 && c != 127)
            continue;
        put(e, text + done, n - done);
        done = n + 1;
        if (escape != NULL)
            put(e, escape, 2);
        else
            put(e, code, (size_t)snprintf(code, sizeof code, "\\u%04x", c));
    }
    put(e, text + done, size - done);
    put(e, "\"", 1);
}

static void put_number(struct encoder *e, int index)
{
    char text[NUMBER_TEXT_MAX];
    double number = lua_tonumber(e->L, index);
    if (!isfinite(number) && e->settings->encode_invalid == INVALID_OFF)
        refuse(e, index, "must not be NaN or Inf");
    if (!isfinite(number) && e->settings->encode_invalid == INVALID_NULL)
        put(e, "null", 4);
    else if (isnan(number))
        put(e, "nan", 3);
    else
        put(e, text, (size_t)snprintf(text, sizeof text, "%.*g", e->settings->precision, number));
}

/* The largest index of a table that has nothing but positive integers as keys; 0: it is an object.
 */
static int array_length(struct encoder *e)
{
    double largest = 0;
    int count = 0;
    for (lua_pushnil(e->L); lua_next(e->L, -2) != 0; lua_pop(e->L, 1)) {
        double key = lua_type(e->L, -2) == LUA_TNUMBER ? lua_tonumber(e->L, -2) : 0;
        if (key < 1 || key != floor(key) || key > INT32_MAX) {
            lua_pop(e->L, 2);
            return 0;
        }
        largest = key > largest ? key : largest;
        if (++count % LUA__VALUES_AT_ONCE == 0)
            lua__encode_check(e->L, e->runtime, e->out);
    }
    const struct lua__script_json *settings = e->settings;
    if (settings->sparse_ratio > 0 && largest > (double)count * settings->sparse_ratio &&
        largest > settings->sparse_safe) {
        if (!settings->sparse_convert)
            refuse(e, -1, "excessively sparse array");
        return 0;
    }
    return (int)largest;
}

static void encode_array(struct encoder *e, int length, int depth)
{
    put(e, "[", 1);
    for (int n = 1; n <= length; n++) {
        if (n > 1)
            put(e, ",", 1);
        lua_rawgeti(e->L, -1, n);
        encode_value(e, depth);
        lua_pop(e->L, 1);
    }
    put(e, "]", 1);
}

static void put_key(struct encoder *e, int index)
{
    if (lua_type(e->L, index) == LUA_TNUMBER) {
        put(e, "\"", 1);
        put_number(e, index);
        put(e, "\"", 1);
    } else if (lua_type(e->L, index) == LUA_TSTRING) {
        put_string(e, index);
    } else {
        refuse(e, index, "table key must be a number or string");
    }
    put(e, ":", 1);
}

static void encode_object(struct encoder *e, int depth)
{
    bool first = true;
    put(e, "{", 1);
    for (lua_pushnil(e->L); lua_next(e->L, -2) != 0; lua_pop(e->L, 1)) {
        if (!first)
            put(e, ",", 1);
        first = false;
        put_key(e, -2);
        encode_value(e, depth);
    }
    put(e, "}", 1);
}

static void encode_table(struct encoder *e, int depth)
{
    if (depth > e->settings->encode_depth_max || !lua_checkstack(e->L, 4))
        luaL_error(e->L, "Cannot serialise, excessive nesting (%d)", depth);
    int length = array_length(e);
    if (length > 0)
        encode_array(e, length, depth);
    else
        encode_object(e, depth);
}

/* The value on the top. */
static void encode_value(struct encoder *e, int depth)
{
    lua__encode_check(e->L, e->runtime, e->out);
    switch (lua_type(e->L, -1)) {
    case LUA_TSTRING:
        put_string(e, -1);
        return;
    case LUA_TNUMBER:
        put_number(e, -1);
        return;
    case LUA_TBOOLEAN:
        if (lua_toboolean(e->L, -1))
            put(e, "true", 4);
        else
            put(e, "false", 5);
        return;
    case LUA_TTABLE:
        encode_table(e, depth + 1);
        return;
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(e->L, -1) != NULL)
            break;
        put(e, "null", 4);
        return;
    case LUA_TNIL:
        put(e, "null", 4);
        return;
    default:
        break;
    }
    refuse(e, -1, "type not supported");
}

static int native_cjson_encode(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    mp_buffer_reset(&runtime->scratch, 65536);
    struct encoder e = {L, runtime, &runtime->scratch, &runtime->script_json};
    encode_value(&e, 0);
    lua__encode_check(L, runtime, e.out);
    lua__push_bytes(L, runtime, e.out->data, e.out->size);
    return 1;
}

/* ------------------------------------------------------------------------------------- decoding */

enum token {
    T_OBJ_BEGIN,
    T_OBJ_END,
    T_ARR_BEGIN,
    T_ARR_END,
    T_STRING,
    T_NUMBER,
    T_BOOLEAN,
    T_NULL,
    T_COLON,
    T_COMMA,
    T_END,
    T_ERROR
};
static const char *const token_names[] = {"T_OBJ_BEGIN", "T_OBJ_END", "T_ARR_BEGIN", "T_ARR_END",
                                          "T_STRING",    "T_NUMBER",  "T_BOOLEAN",   "T_NULL",
                                          "T_COLON",     "T_COMMA",   "T_END",       "T_ERROR"};

struct decoder {
    lua_State *L;
    struct lua_runtime *runtime;
    const char *start, *at; /* ends with a zero */
    enum token token;
    const char *token_at;
    const char *error; /* of T_ERROR */
    double number;     /* of T_NUMBER */
    bool boolean;      /* of T_BOOLEAN */
    int depth;
};

static void decode_value(struct decoder *d);

static void fail_at(struct decoder *d, const char *reason, const char *at)
{
    d->token = T_ERROR;
    d->error = reason;
    d->token_at = at;
}

static void expected(struct decoder *d, const char *what)
{
    luaL_error(d->L, "Expected %s but found %s at character %d", what,
               d->token == T_ERROR ? d->error : token_names[d->token],
               (int)(d->token_at - d->start) + 1);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits behind "\u"; -1: there are none. */
static int code_unit(const char *at)
{
    int unit = 0;
    if (at[0] != '\\' || at[1] != 'u')
        return -1;
    for (int n = 2; n < 6; n++) {
        int digit = hex_digit(at[n]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static size_t put_utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    for (size_t n = more; n > 0; n--, code >>= 6)
        out[n] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(lead[more] | code);
    return more + 1;
}

/* Takes "\uXXXX", or a pair of surrogates; false when it is none. */
static bool take_unicode(struct decoder *d, struct mp_buffer *out)
{
    char utf8[4];
    int high = code_unit(d->at), low;
    if (high < 0)
        return false;
    size_t taken = 6;
    unsigned code = (unsigned)high;
    if ((high & 0xf800) == 0xd800) {
        low = (high & 0x400) != 0 ? -1 : code_unit(d->at + 6);
        if (low < 0 || (low & 0xfc00) != 0xdc00)
            return false;
        code = 0x10000 + (((unsigned)high & 0x3ff) << 10 | ((unsigned)low & 0x3ff));
        taken = 12;
    }
    mp_put_raw(out, utf8, put_utf8(utf8, code));
    d->at += taken;
    return true;
}

static bool take_escape(struct decoder *d, struct mp_buffer *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (d->at[1] == 'u') {
        if (take_unicode(d, out))
            return true;
        fail_at(d, "invalid unicode escape code", d->at);
        return false;
    }
    const char *found = d->at[1] != 0 ? strchr(from, d->at[1]) : NULL;
    if (found == NULL) {
        fail_at(d, "invalid escape code", d->at);
        return false;
    }
    mp_put_raw(out, &to[found - from], 1);
    d->at += 2;
    return true;
}

/* The string's bytes are in the runtime's scratch. */
static void take_string(struct decoder *d)
{
    struct mp_buffer *out = &d->runtime->scratch;
    mp_buffer_reset(out, 65536);
    d->at++;
    while (*d->at != '"') {
        size_t plain = strcspn(d->at, "\"\\");
        mp_put_raw(out, d->at, plain);
        d->at += plain;
        if (*d->at == 0) {
            fail_at(d, "unexpected end of string", d->at);
            return;
        }
        if (*d->at == '\\' && !take_escape(d, out))
            return;
    }
    d->at++;
    lua__encode_check(d->L, d->runtime, out);
    d->token = T_STRING;
}

/* What JSON has no form for, but strtod has. */
static bool number_invalid(const char *at)
{
    if (*at == '+')
        return true;
    if (*at == '-')
        at++;
    if (*at == '0')
        return (at[1] | 32) == 'x' || (at[1] >= '0' && at[1] <= '9');
    return *at > '9' && (strncasecmp(at, "inf", 3) == 0 || strncasecmp(at, "nan", 3) == 0);
}

static void take_number(struct decoder *d)
{
    char *end;
    d->number = strtod(d->at, &end);
    if (end == d->at) {
        fail_at(d, "invalid number", d->at);
        return;
    }
    d->at = end;
    d->token = T_NUMBER;
}

static void take_word(struct decoder *d)
{
    bool invalid = number_invalid(d->at), strict = !d->runtime->script_json.decode_invalid;
    char c = *d->at;
    if (c == '-' || (c >= '0' && c <= '9')) {
        if (strict && invalid)
            fail_at(d, "invalid number", d->at);
        else
            take_number(d);
    } else if (strncmp(d->at, "true", 4) == 0 || strncmp(d->at, "false", 5) == 0) {
        d->token = T_BOOLEAN;
        d->boolean = c == 't';
        d->at += c == 't' ? 4 : 5;
    } else if (strncmp(d->at, "null", 4) == 0) {
        d->token = T_NULL;
        d->at += 4;
    } else if (invalid && !strict) {
        take_number(d);
    } else {
        fail_at(d, "invalid token", d->at);
    }
}

static void next_token(struct decoder *d)
{
    static const char single[] = "{}[]:,";
    static const enum token tokens[] = {T_OBJ_BEGIN, T_OBJ_END, T_ARR_BEGIN,
                                        T_ARR_END,   T_COLON,   T_COMMA};
    d->at += strspn(d->at, " \t\n\r");
    d->token_at = d->at;
    const char *found;
    if (*d->at == 0) {
        d->token = T_END;
    } else if ((found = strchr(single, *d->at)) != NULL) {
        d->token = tokens[found - single];
        d->at++;
    } else if (*d->at == '"') {
        take_string(d);
    } else {
        take_word(d);
    }
}

static void descend(struct decoder *d)
{
    d->depth++;
    if (d->depth > d->runtime->script_json.decode_depth_max || !lua_checkstack(d->L, 4))
        luaL_error(d->L, "Found too many nested data structures (%d) at character %d", d->depth,
                   (int)(d->at - d->start));
}

static void decode_object(struct decoder *d)
{
    descend(d);
    lua_newtable(d->L);
    next_token(d);
    while (d->token != T_OBJ_END) {
        if (d->token != T_STRING)
            expected(d, "object key string");
        lua__push_bytes(d->L, d->runtime, d->runtime->scratch.data, d->runtime->scratch.size);
        next_token(d);
        if (d->token != T_COLON)
            expected(d, "colon");
        next_token(d);
        decode_value(d);
        lua_rawset(d->L, -3);
        next_token(d);
        if (d->token == T_OBJ_END)
            break;
        if (d->token != T_COMMA)
            expected(d, "comma or object end");
        next_token(d);
        if (d->token == T_OBJ_END)
            expected(d, "object key string");
    }
    d->depth--;
}

static void decode_array(struct decoder *d)
{
    descend(d);
    lua_newtable(d->L);
    next_token(d);
    for (int n = 1; d->token != T_ARR_END; n++) {
        decode_value(d);
        lua_rawseti(d->L, -2, n);
        next_token(d);
        if (d->token == T_ARR_END)
            break;
        if (d->token != T_COMMA)
            expected(d, "comma or array end");
        next_token(d);
        if (d->token == T_ARR_END)
            expected(d, "value");
    }
    d->depth--;
}

/* Pushes the value that the present token begins. */
static void decode_value(struct decoder *d)
{
    if (lua__interrupted(d->runtime))
        lua__raise(d->L, d->runtime, ERROR_TIMEOUT);
    switch (d->token) {
    case T_STRING:
        lua__push_bytes(d->L, d->runtime, d->runtime->scratch.data, d->runtime->scratch.size);
        return;
    case T_NUMBER:
        lua_pushnumber(d->L, d->number);
        return;
    case T_BOOLEAN:
        lua_pushboolean(d->L, d->boolean);
        return;
    case T_OBJ_BEGIN:
        decode_object(d);
        return;
    case T_ARR_BEGIN:
        decode_array(d);
        return;
    case T_NULL:
        lua_pushlightuserdata(d->L, NULL);
        return;
    default:
        expected(d, "value");
    }
}

static int native_cjson_decode(lua_State *L)
{
    size_t size;
    luaL_argcheck(L, lua_gettop(L) == 1, 1, "expected 1 argument");
    const char *text = luaL_checklstring(L, 1, &size);
    if (size >= 2 && (text[0] == 0 || text[1] == 0))
        luaL_error(L, "JSON parser does not support UTF-16 or UTF-32");
    struct decoder d = {.L = L, .runtime = lua__runtime(L), .start = text, .at = text};
    next_token(&d);
    decode_value(&d);
    next_token(&d);
    if (d.token != T_END)
        expected(&d, "the end");
    return 1;
}

/* ------------------------------------------------------------------------------------- settings */

static struct lua__script_json *settings_of(lua_State *L, int arguments_max)
{
    luaL_argcheck(L, lua_gettop(L) <= arguments_max, arguments_max + 1, "found too many arguments");
    lua_settop(L, arguments_max);
    return &lua__runtime(L)->script_json;
}

static void integer_option(lua_State *L, int index, int *value, int min, int max)
{
    if (!lua_isnil(L, index)) {
        char message[64];
        double given = luaL_checknumber(L, index);
        snprintf(message, sizeof message, "expected integer between %d and %d", min, max);
        luaL_argcheck(L, given >= min && given <= max, index, message);
        *value = (int)given;
    }
    lua_pushinteger(L, *value);
}

static void boolean_option(lua_State *L, int index, bool *value)
{
    static const char *const words[] = {"off", "on", NULL};
    if (lua_isboolean(L, index))
        *value = lua_toboolean(L, index);
    else if (!lua_isnil(L, index))
        *value = luaL_checkoption(L, index, NULL, words) == 1;
    lua_pushboolean(L, *value);
}

static int native_cjson_sparse_array(lua_State *L)
{
    struct lua__script_json *settings = settings_of(L, 3);
    boolean_option(L, 1, &settings->sparse_convert);
    integer_option(L, 2, &settings->sparse_ratio, 0, INT32_MAX);
    integer_option(L, 3, &settings->sparse_safe, 0, INT32_MAX);
    return 3;
}

static int native_cjson_encode_depth(lua_State *L)
{
    integer_option(L, 1, &settings_of(L, 1)->encode_depth_max, 1, INT32_MAX);
    return 1;
}

static int native_cjson_decode_depth(lua_State *L)
{
    integer_option(L, 1, &settings_of(L, 1)->decode_depth_max, 1, INT32_MAX);
    return 1;
}

static int native_cjson_precision(lua_State *L)
{
    integer_option(L, 1, &settings_of(L, 1)->precision, 1, PRECISION_MAX);
    return 1;
}

static int native_cjson_keep_buffer(lua_State *L)
{
    boolean_option(L, 1, &settings_of(L, 1)->keep_buffer);
    return 1;
}

static int native_cjson_encode_invalid(lua_State *L)
{
    static const char *const words[] = {"off", "on", "null", NULL};
    struct lua__script_json *settings = settings_of(L, 1);
    if (lua_isboolean(L, 1))
        settings->encode_invalid = lua_toboolean(L, 1) ? INVALID_ON : INVALID_OFF;
    else if (!lua_isnil(L, 1))
        settings->encode_invalid = luaL_checkoption(L, 1, NULL, words);
    if (settings->encode_invalid == INVALID_NULL)
        lua_pushliteral(L, "null");
    else
        lua_pushboolean(L, settings->encode_invalid == INVALID_ON);
    return 1;
}

static int native_cjson_decode_invalid(lua_State *L)
{
    boolean_option(L, 1, &settings_of(L, 1)->decode_invalid);
    return 1;
}

static int native_cjson_reset(lua_State *L)
{
    lua__script_json_reset(&lua__runtime(L)->script_json);
    return 0;
}

/* null: the light userdata that stands for it */
static int native_cjson_null(lua_State *L)
{
    lua_pushlightuserdata(L, NULL);
    return 1;
}

void lua__open_script_json(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"cjson_encode", native_cjson_encode},
        {"cjson_decode", native_cjson_decode},
        {"cjson_sparse_array", native_cjson_sparse_array},
        {"cjson_encode_depth", native_cjson_encode_depth},
        {"cjson_decode_depth", native_cjson_decode_depth},
        {"cjson_precision", native_cjson_precision},
        {"cjson_keep_buffer", native_cjson_keep_buffer},
        {"cjson_encode_invalid", native_cjson_encode_invalid},
        {"cjson_decode_invalid", native_cjson_decode_invalid},
        {"cjson_reset", native_cjson_reset},
        {"cjson_null", native_cjson_null},
        {NULL, NULL},
    };
    lua__script_json_reset(&runtime->script_json);
    lua__register(runtime, functions);
}
