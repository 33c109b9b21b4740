/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Redis replies in a buffer: see reply.h. An ext value is always written as c9, size as 32 bits
 * big-endian, type, bytes.
 */
#include "lua/reply.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

enum { EXT_HEADER_SIZE = 6 };

void lua__reply_put_ext(struct mp_buffer *out, int type, const char *text, size_t size)
{
    unsigned char header[EXT_HEADER_SIZE] = {0xc9,
                                             (unsigned char)(size >> 24),
                                             (unsigned char)(size >> 16),
                                             (unsigned char)(size >> 8),
                                             (unsigned char)size,
                                             (unsigned char)type};
    mp_put_raw(out, header, sizeof header);
    mp_put_raw(out, text, size);
}

const char *lua__reply_take_ext(const char **reply, int *type, uint32_t *size)
{
    const unsigned char *header = (const unsigned char *)*reply;
    ASSERT(header[0] == 0xc9);
    *size = (uint32_t)header[1] << 24 | (uint32_t)header[2] << 16 | (uint32_t)header[3] << 8 |
            header[4];
    *type = header[5];
    const char *text = *reply + EXT_HEADER_SIZE;
    *reply = text + *size;
    return text;
}

static struct mp_buffer *out_of(struct redis_sink *sink)
{
    return ((struct lua__reply_sink *)(void *)sink)->out;
}

static void put_status(struct redis_sink *sink, const char *text)
{
    lua__reply_put_ext(out_of(sink), LUA__REPLY_STATUS, text, strlen(text));
}

static void put_integer(struct redis_sink *sink, int64_t value)
{
    mp_put_int(out_of(sink), value);
}

static void put_bulk(struct redis_sink *sink, const void *data, size_t size)
{
    mp_put_str(out_of(sink), data, size);
}

static void put_null(struct redis_sink *sink)
{
    mp_put_nil(out_of(sink));
}

static void put_real(struct redis_sink *sink, double value)
{
    mp_put_double(out_of(sink), value);
}

static void put_boolean(struct redis_sink *sink, bool value)
{
    mp_put_bool(out_of(sink), value);
}

static void put_array(struct redis_sink *sink, size_t count)
{
    mp_put_array(out_of(sink), (uint32_t)count);
}

static void put_map(struct redis_sink *sink, size_t pairs)
{
    mp_put_map(out_of(sink), (uint32_t)pairs);
}

static void put_set(struct redis_sink *sink, size_t count)
{
    uint32_t elements = (uint32_t)count;
    lua__reply_put_ext(out_of(sink), LUA__REPLY_SET, (const char *)&elements, sizeof elements);
}

static void put_error(struct redis_sink *sink, const char *prefix, const char *message)
{
    char text[768];
    int size = snprintf(text, sizeof text, "%s %s", prefix, message);
    lua__reply_put_ext(out_of(sink), LUA__REPLY_ERROR, text,
                       (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

static void put_big_number(struct redis_sink *sink, const char *digits, size_t size)
{
    lua__reply_put_ext(out_of(sink), LUA__REPLY_BIG_NUMBER, digits, size);
}

static void put_verbatim(struct redis_sink *sink, const char format[3], const void *data,
                         size_t size)
{
    struct mp_buffer text;
    mp_buffer_create(&text);
    mp_put_raw(&text, format, 3);
    mp_put_raw(&text, data, size);
    lua__reply_put_ext(out_of(sink), LUA__REPLY_VERBATIM, text.data, text.size);
    out_of(sink)->failed |= text.failed;
    mp_buffer_destroy(&text);
}

static void put_error_text(struct redis_sink *sink, const char *text)
{
    lua__reply_put_ext(out_of(sink), LUA__REPLY_ERROR_TEXT, text, strlen(text));
}

void lua__reply_sink_create(struct lua__reply_sink *sink, struct mp_buffer *out)
{
    static const struct redis_sink_vtab vtab = {
        .status = put_status,
        .integer = put_integer,
        .bulk = put_bulk,
        .null = put_null,
        .real = put_real,
        .boolean = put_boolean,
        .array = put_array,
        .map = put_map,
        .set = put_set,
        .null_array = put_null,
        .error = put_error,
    };
    static const struct redis_sink_script_vtab script = {
        .big_number = put_big_number,
        .verbatim = put_verbatim,
        .error = put_error_text,
    };
    sink->base.vtab = &vtab;
    sink->base.script = &script;
    sink->out = out;
}

size_t lua__reply_prefix(const char *text, size_t size)
{
    size_t length = 0;
    while (length < size && (isupper((unsigned char)text[length]) || text[length] == '_' ||
                             (length > 0 && isdigit((unsigned char)text[length]))))
        length++;
    return length > 0 && length < size && text[length] == ' ' ? length : 0;
}

static void emit_error(const char *text, uint32_t size, struct redis_sink *sink)
{
    char copy[768], *message = copy;
    size_t kept = size < sizeof copy ? size : sizeof copy - 1;
    memcpy(copy, text, kept);
    copy[kept] = 0;
    size_t prefix = lua__reply_prefix(copy, kept);
    if (prefix > 0) {
        copy[prefix] = 0;
        message = copy + prefix + 1;
    }
    sink->vtab->error(sink, prefix > 0 ? copy : "ERR", message);
}

static void emit_set(const char *count_bytes, const char **reply, struct redis_sink *sink)
{
    uint32_t count;
    memcpy(&count, count_bytes, sizeof count);
    sink->vtab->set(sink, count);
    for (uint32_t i = 0; i < count; i++)
        lua__reply_emit(reply, sink);
}

static void emit_text(int type, const char *text, uint32_t size, struct redis_sink *sink)
{
    char line[768];
    size_t kept = size < sizeof line ? size : sizeof line - 1;
    memcpy(line, text, kept);
    line[kept] = 0;
    if (type == LUA__REPLY_ERROR_TEXT && sink->script != NULL)
        sink->script->error(sink, line);
    else if (type == LUA__REPLY_ERROR_TEXT)
        emit_error(text, size, sink);
    else
        sink->vtab->status(sink, line);
}

static void emit_ext(const char **reply, struct redis_sink *sink)
{
    uint32_t size;
    int type;
    const char *text = lua__reply_take_ext(reply, &type, &size);
    if (type == LUA__REPLY_ERROR)
        emit_error(text, size, sink);
    else if (type == LUA__REPLY_SET)
        emit_set(text, reply, sink);
    else if (type == LUA__REPLY_BIG_NUMBER && sink->script != NULL)
        sink->script->big_number(sink, text, size);
    else if (type == LUA__REPLY_VERBATIM && sink->script != NULL)
        sink->script->verbatim(sink, text, text + 3, size - 3);
    else if (type == LUA__REPLY_BIG_NUMBER)
        sink->vtab->bulk(sink, text, size);
    else if (type == LUA__REPLY_VERBATIM)
        sink->vtab->bulk(sink, text + 3, size - 3);
    else
        emit_text(type, text, size, sink);
}

void lua__reply_emit(const char **reply, struct redis_sink *sink)
{
    uint32_t size;
    uint64_t unsigned_value;
    const char *text;
    switch (mp_typeof(**reply)) {
    case MP_NIL:
        mp_decode_nil(reply);
        sink->vtab->null(sink);
        return;
    case MP_BOOL:
        sink->vtab->boolean(sink, mp_decode_bool(reply));
        return;
    case MP_UINT:
        unsigned_value = mp_decode_uint(reply);
        sink->vtab->integer(sink, (int64_t)unsigned_value);
        return;
    case MP_INT:
        sink->vtab->integer(sink, mp_decode_int(reply));
        return;
    case MP_DOUBLE:
        sink->vtab->real(sink, mp_decode_double(reply));
        return;
    case MP_STR:
        text = mp_decode_str(reply, &size);
        sink->vtab->bulk(sink, text, size);
        return;
    case MP_ARRAY:
        size = mp_decode_array(reply);
        sink->vtab->array(sink, size);
        for (uint32_t i = 0; i < size; i++)
            lua__reply_emit(reply, sink);
        return;
    case MP_MAP:
        size = mp_decode_map(reply);
        sink->vtab->map(sink, size);
        for (uint32_t i = 0; i < 2 * size; i++)
            lua__reply_emit(reply, sink);
        return;
    default:
        emit_ext(reply, sink);
    }
}
