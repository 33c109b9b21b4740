/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer walks MessagePack in place; the parser is jansson's, whose tree is then turned into
 * MessagePack. Both recurse: the writer over checked data, which is nested at most MP_DEPTH_MAX
 * deep, the parser down to the same depth and no further. What is appended stays when memory runs
 * out half-way; the caller throws the buffer away.
 *
 * Large values take a while. So that nothing takes longer than some tenths of a millisecond between two
 * looks (struct json_buffer), jansson gets its text in small blocks, what is long is made in stretches, and
 * the tree goes value by value, as it is turned into MessagePack: to free a million at once takes long, too.
 */
#include "codec/json.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/base64.h"
#include "codec/datetime.h"
#include "codec/decimal.h"
#include "codec/ext.h"
#include "codec/mp.h"
#include "codec/number.h"
#include "codec/uuid.h"

enum {
    CAPACITY_MIN = 128,
    VALUES_AT_ONCE = 1024, /* from one look to the next */
    TEXT_AT_ONCE = 3 << 14,
    TEXT_A_VALUE = 64, /* so many bytes take as long as a value, */
    READ_A_VALUE = 8   /* to read text so many */
};

_Static_assert(TEXT_AT_ONCE % 3 == 0, "padding only where base64 ends");

void json_buffer_create(struct json_buffer *buffer)
{
    *buffer = (struct json_buffer){.data = NULL};
}

void json_buffer_destroy(struct json_buffer *buffer)
{
    free(buffer->data);
    json_buffer_create(buffer);
}

/* Room for `size` more bytes, at least one, at the end; NULL when memory is out. */
static char *reserve(struct json_buffer *buffer, size_t size)
{
    if (size >= buffer->capacity - buffer->size) {
        size_t capacity = buffer->capacity < CAPACITY_MIN ? CAPACITY_MIN : buffer->capacity;
        if (size > SIZE_MAX / 4 || buffer->size > SIZE_MAX / 4)
            return NULL;
        while (capacity - buffer->size <= size)
            capacity *= 2;
        char *data = realloc(buffer->data, capacity);
        if (data == NULL)
            return NULL;
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

int json_append(struct json_buffer *buffer, const char *data, size_t size)
{
    char *to = reserve(buffer, size);
    if (to == NULL)
        return ERROR_MEMORY;
    if (size > 0)
        memcpy(to, data, size);
    buffer->size += size;
    return 0;
}

static int append_text(struct json_buffer *buffer, const char *text)
{
    return json_append(buffer, text, strlen(text));
}

/* What takes as long as so many values has been done. */
static int passed(struct json_buffer *buffer, size_t values)
{
    buffer->passed += values;
    if (buffer->passed < VALUES_AT_ONCE)
        return 0;
    buffer->passed = 0;
    return buffer->look ? buffer->look(buffer->look_arg) : 0;
}

/* --------------------------------------------------------------------------------------- writer */

/* Writes the escape for `c`, at most 6 bytes, to `out`; its size, 0 when `c` needs none. */
static size_t escape(char *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char named[] = "\bb\tt\nn\ff\rr\"\"\\\\";

    if (c >= 0x20 && c != '"' && c != '\\')
        return 0;
    out[0] = '\\';
    for (const char *at = named; *at != '\0'; at += 2) {
        if ((unsigned char)*at == c) {
            out[1] = at[1];
            return 2;
        }
    }
    memcpy(out + 1, "u00", 3);
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

static int append_escaped(struct json_buffer *buffer, const char *data, size_t size)
{
    char escaped[6];
    size_t done = 0, rc = 0;

    for (size_t i = 0; i < size; i++) {
        size_t escaped_size = escape(escaped, (unsigned char)data[i]);
        if (escaped_size == 0)
            continue;
        rc |= (size_t)json_append(buffer, data + done, i - done);
        rc |= (size_t)json_append(buffer, escaped, escaped_size);
        done = i + 1;
    }
    rc |= (size_t)json_append(buffer, data + done, size - done);
    return rc == 0 ? 0 : ERROR_MEMORY;
}

int json_append_string(struct json_buffer *buffer, const char *data, size_t size)
{
    int rc = json_append(buffer, "\"", 1);
    for (size_t stretch; size > 0 && rc == 0; data += stretch, size -= stretch) {
        stretch = size < TEXT_AT_ONCE ? size : TEXT_AT_ONCE;
        rc = append_escaped(buffer, data, stretch);
        if (rc == 0)
            rc = passed(buffer, stretch / TEXT_A_VALUE);
    }
    return rc == 0 ? json_append(buffer, "\"", 1) : rc;
}

/* How many bytes the UTF-8 character at `data` takes (RFC 3629: shortest form, no surrogates), or
 * 0. */
static size_t utf8_size(const unsigned char *data, size_t size)
{
    unsigned char c = data[0], low = 0x80, high = 0xbf;
    size_t length;

    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    length = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    if (size < length || data[1] < low || data[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if ((data[i] & 0xc0) != 0x80)
            return 0;
    }
    return length;
}

bool json_is_utf8(const char *data, size_t size)
{
    while (size > 0) {
        size_t length = utf8_size((const unsigned char *)data, size);
        if (length == 0)
            return false;
        data += length;
        size -= length;
    }
    return true;
}

int json_append_base64(struct json_buffer *buffer, const char *data, size_t size)
{
    char *to = reserve(buffer, base64_size(size) + 2);
    int rc = to == NULL ? ERROR_MEMORY : 0;
    if (rc == 0)
        *to++ = '"';
    for (size_t stretch; size > 0 && rc == 0; data += stretch, size -= stretch) {
        stretch = size < TEXT_AT_ONCE ? size : TEXT_AT_ONCE;
        base64_encode(to, data, stretch);
        to += base64_size(stretch);
        rc = passed(buffer, stretch / TEXT_A_VALUE);
    }
    if (rc != 0)
        return rc;
    *to++ = '"';
    buffer->size = (size_t)(to - buffer->data);
    return 0;
}

/* json_is_utf8, in stretches that end where a character does. */
static int look_at_text(struct json_buffer *buffer, const char *data, size_t size, bool *is_text)
{
    int rc = 0;
    *is_text = true;
    while (size > TEXT_AT_ONCE && *is_text && rc == 0) {
        size_t stretch = TEXT_AT_ONCE;
        while (stretch > TEXT_AT_ONCE - 3 && (data[stretch] & 0xc0) == 0x80)
            stretch--;
        *is_text = json_is_utf8(data, stretch);
        data += stretch;
        size -= stretch;
        rc = passed(buffer, TEXT_AT_ONCE / TEXT_A_VALUE);
    }
    *is_text = *is_text && json_is_utf8(data, size);
    return rc;
}

static int append_bytes(struct json_buffer *buffer, const char *data, size_t size)
{
    bool is_text;
    int rc = look_at_text(buffer, data, size, &is_text);
    if (rc == 0 && is_text)
        return json_append_string(buffer, data, size);
    if (rc == 0)
        rc = append_text(buffer, "{\"$bin\":");
    if (rc == 0)
        rc = json_append_base64(buffer, data, size);
    return rc == 0 ? append_text(buffer, "}") : rc;
}

static int append_double(struct json_buffer *buffer, double value)
{
    char text[NUMBER_TEXT_MAX + 2];

    if (!isfinite(value))
        return append_text(buffer, "null");
    size_t size = number_write_double(text, value);
    if (memchr(text, '.', size) == NULL && memchr(text, 'e', size) == NULL) {
        text[size++] = '.';
        text[size++] = '0';
    }
    return json_append(buffer, text, size);
}

static int append_unknown(struct json_buffer *buffer, const char **value)
{
    char number[NUMBER_TEXT_MAX];
    uint32_t size;
    int type;
    const char *data = mp_read_ext(value, &type, &size);
    size_t number_size = number_write_int(number, type);

    if (append_text(buffer, "{\"$ext\":") != 0 || json_append(buffer, number, number_size) != 0 ||
        append_text(buffer, ",\"data\":") != 0)
        return ERROR_MEMORY;
    int rc = json_append_base64(buffer, data, size);
    return rc == 0 ? append_text(buffer, "}") : rc;
}

static int append_ext(struct json_buffer *buffer, const char **value)
{
    char text[EXT_TEXT_MAX];
    enum ext_kind kind = ext_kind(*value);

    if (kind == EXT_UNKNOWN)
        return append_unknown(buffer, value);
    size_t size = ext_print(value, text);
    return kind == EXT_DECIMAL ? json_append(buffer, text, size)
                               : json_append_string(buffer, text, size);
}

static int append_integer(struct json_buffer *buffer, const char **value)
{
    char text[NUMBER_TEXT_MAX];
    size_t size = mp_typeof(**value) == MP_UINT ? number_write_uint(text, mp_decode_uint(value))
                                                : number_write_int(text, mp_decode_int(value));
    return json_append(buffer, text, size);
}

static int append_array(struct json_buffer *buffer, const char **value)
{
    uint32_t count = mp_decode_array(value);
    int rc = append_text(buffer, "[");

    for (uint32_t i = 0; i < count && rc == 0; i++) {
        if (i > 0)
            rc = append_text(buffer, ",");
        if (rc == 0)
            rc = json_from_msgpack(buffer, value);
    }
    return rc == 0 ? append_text(buffer, "]") : rc;
}

/* Whether the value is, or holds, a map. */
static bool holds_map(const char *value)
{
    if (mp_typeof(*value) != MP_ARRAY)
        return mp_typeof(*value) == MP_MAP;
    for (uint32_t count = mp_decode_array(&value); count > 0; count--, mp_next(&value))
        if (holds_map(value))
            return true;
    return false;
}

/* A key that holds a map is not spelt out: its own keys would be strings in a string, and each
 * further map in a key would double the escapes of all those inside. */
static int append_packed(struct json_buffer *buffer, const char **value)
{
    const char *start = *value;
    mp_next(value);
    int rc = append_text(buffer, "{\"$msgpack\":");
    if (rc == 0)
        rc = json_append_base64(buffer, start, (size_t)(*value - start));
    return rc == 0 ? append_text(buffer, "}") : rc;
}

/* A map's key: a string as such, anything else by its JSON text, which becomes a string. */
static int append_map_key(struct json_buffer *buffer, const char **value)
{
    uint32_t size;

    if (mp_typeof(**value) == MP_STR) {
        const char *at = *value;
        const char *data = mp_decode_str(&at, &size);
        if (json_is_utf8(data, size)) {
            *value = at;
            return json_append_string(buffer, data, size);
        }
    }
    struct json_buffer text;
    json_buffer_create(&text);
    text.look = buffer->look;
    text.look_arg = buffer->look_arg;
    int rc = holds_map(*value) ? append_packed(&text, value) : json_from_msgpack(&text, value);
    if (rc == 0)
        rc = text.data[0] == '"' ? json_append(buffer, text.data, text.size)
                                 : json_append_string(buffer, text.data, text.size);
    json_buffer_destroy(&text);
    return rc;
}

static int append_map(struct json_buffer *buffer, const char **value)
{
    uint32_t count = mp_decode_map(value);
    int rc = append_text(buffer, "{");

    for (uint32_t i = 0; i < count && rc == 0; i++) {
        if (i > 0)
            rc = append_text(buffer, ",");
        if (rc == 0)
            rc = append_map_key(buffer, value);
        if (rc == 0)
            rc = append_text(buffer, ":");
        if (rc == 0)
            rc = json_from_msgpack(buffer, value);
    }
    return rc == 0 ? append_text(buffer, "}") : rc;
}

int json_from_msgpack(struct json_buffer *buffer, const char **value)
{
    const char *data;
    uint32_t size;
    int rc = passed(buffer, 1);

    if (rc != 0)
        return rc;
    switch (mp_typeof(**value)) {
    case MP_NIL:
        mp_decode_nil(value);
        return append_text(buffer, "null");
    case MP_BOOL:
        return append_text(buffer, mp_decode_bool(value) ? "true" : "false");
    case MP_UINT:
    case MP_INT:
        return append_integer(buffer, value);
    case MP_FLOAT:
        return append_double(buffer, (double)mp_decode_float(value));
    case MP_DOUBLE:
        return append_double(buffer, mp_decode_double(value));
    case MP_STR:
    case MP_BIN:
        data = mp_decode_strbin(value, &size);
        return append_bytes(buffer, data, size);
    case MP_ARRAY:
        return append_array(buffer, value);
    case MP_MAP:
        return append_map(buffer, value);
    default:
        return append_ext(buffer, value);
    }
}

/* --------------------------------------------------------------------------------------- parser */

/* Appends base64 text as bytes. `head_size` bytes of header go before them; the caller fills those
 * in. Sets *size to the bytes' count. ERROR_NOT_FOUND when it is not base64. */
static int decode_base64(struct json_buffer *out, const json_t *text, size_t head_size,
                         int64_t *size)
{
    char *to = reserve(out, head_size + json_string_length(text));
    if (to == NULL)
        return ERROR_MEMORY;
    *size = base64_decode(to + head_size, json_string_value(text), json_string_length(text));
    return *size < 0 || *size > UINT32_MAX ? ERROR_NOT_FOUND : 0;
}

/* Puts the header that was made behind a gap of `gap` bytes in front of the bytes that follow the
 * gap. */
static void close_gap(struct json_buffer *out, const char *head, size_t head_size, size_t gap,
                      int64_t size)
{
    char *to = out->data + out->size;

    memmove(to + head_size, to + gap, (size_t)size);
    memcpy(to, head, head_size);
    out->size += head_size + (size_t)size;
}

enum { HEAD_MAX = 6 };

/* How deep arrays and maps are nested in the value at *value, which is passed. */
static unsigned depth_of(const char **value)
{
    enum mp_type type = mp_typeof(**value);
    unsigned most = 0;
    if (type != MP_ARRAY && type != MP_MAP) {
        mp_next(value);
        return 0;
    }
    uint64_t count = type == MP_ARRAY ? mp_decode_array(value) : 2 * (uint64_t)mp_decode_map(value);
    for (; count > 0; count--) {
        unsigned depth = depth_of(value);
        most = depth > most ? depth : most;
    }
    return most + 1;
}

static int too_deep(void)
{
    return diag_set(ERROR_INVALID, "JSON: nested deeper than %d", MP_DEPTH_MAX);
}

/* {"$msgpack": base64}: the value of these bytes. */
static int put_packed(struct json_buffer *out, const json_t *text, unsigned depth)
{
    int64_t size;
    int rc = decode_base64(out, text, 0, &size);
    if (rc != 0)
        return rc;
    const char *start = out->data + out->size, *end = start;
    if (!mp_check_limited(&end, start + size) || end != start + size)
        return ERROR_NOT_FOUND;
    if (depth + depth_of(&start) > MP_DEPTH_MAX)
        return too_deep();
    out->size += (size_t)size;
    return 0;
}

/* {"$decimal": text}, {"$uuid": text}, {"$datetime": text}; ERROR_NOT_FOUND when it is none. */
static int put_text(struct json_buffer *out, const char *kind, const json_t *text)
{
    const char *data = json_string_value(text);
    size_t size = json_string_length(text);
    char packed[DECIMAL_MP_MAX], *end = NULL;
    struct decimal decimal;
    struct uuid uuid;
    struct datetime datetime;

    if (strcmp(kind, "$decimal") == 0 && decimal_parse(&decimal, data, size) == 0)
        end = decimal_pack(packed, &decimal);
    else if (strcmp(kind, "$uuid") == 0 && uuid_parse(&uuid, data, size))
        end = uuid_pack(packed, &uuid);
    else if (strcmp(kind, "$datetime") == 0 && datetime_parse(&datetime, data, size, 0, false) == 0)
        end = datetime_pack(packed, &datetime);
    return end ? json_append(out, packed, (size_t)(end - packed)) : ERROR_NOT_FOUND;
}

/* An object with one member, of which the header says what it may be. */
static int put_named(struct json_buffer *out, const json_t *object, unsigned depth)
{
    /* jansson iterates over what it only reads through a pointer that is not const. */
    void *at = json_object_iter((json_t *)(uintptr_t)object);
    const char *name = json_object_iter_key(at);
    const json_t *value = json_object_iter_value(at);

    if (name[0] != '$' || !json_is_string(value))
        return ERROR_NOT_FOUND;
    if (strcmp(name, "$msgpack") == 0)
        return put_packed(out, value, depth);
    return put_text(out, name, value);
}

/* {"$bin": base64} as bin, {"$ext": type, "data": base64} as ext; ERROR_NOT_FOUND when the object
 * is neither, nor one of put_named's. */
static int put_special(struct json_buffer *out, const json_t *object, unsigned depth)
{
    const json_t *bin = json_object_get(object, "$bin"), *ext = json_object_get(object, "$ext");
    const json_t *data = json_object_get(object, "data");
    char head[HEAD_MAX], *end = head;
    int64_t size;
    int rc;

    if (json_object_size(object) == 1 && json_is_string(bin)) {
        rc = decode_base64(out, bin, HEAD_MAX, &size);
        if (rc != 0)
            return rc;
        end = mp_encode_binl(head, (uint32_t)size);
    } else if (json_object_size(object) == 2 && json_is_integer(ext) && json_is_string(data)) {
        json_int_t type = json_integer_value(ext);
        if (type < INT8_MIN || type > INT8_MAX)
            return ERROR_NOT_FOUND;
        rc = decode_base64(out, data, HEAD_MAX, &size);
        if (rc != 0)
            return rc;
        *end++ = (char)0xc9;
        for (int shift = 24; shift >= 0; shift -= 8)
            *end++ = (char)(size >> shift);
        *end++ = (char)type;
    } else {
        return json_object_size(object) == 1 ? put_named(out, object, depth) : ERROR_NOT_FOUND;
    }
    close_gap(out, head, (size_t)(end - head), HEAD_MAX, size);
    return 0;
}

static int put_string(struct json_buffer *out, const char *data, size_t size)
{
    char head[5];

    if (size > UINT32_MAX)
        return diag_set(ERROR_INVALID, "JSON: a string is longer than 4 GiB");
    char *end = mp_encode_strl(head, (uint32_t)size);
    if (json_append(out, head, (size_t)(end - head)) != 0)
        return ERROR_MEMORY;
    return json_append(out, data, size);
}

static int put_value(struct json_buffer *out, json_t *value, unsigned depth);

static int put_array(struct json_buffer *out, json_t *value, unsigned depth)
{
    size_t count = json_array_size(value);
    char head[5], *end = mp_encode_array(head, (uint32_t)count);
    int rc = json_append(out, head, (size_t)(end - head));

    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = put_value(out, json_array_get(value, i), depth + 1);
        json_array_set_new(value, i, json_null());
    }
    return rc;
}

/* Of a large one the members go one by one: then the next one is always the first. */
static int put_object(struct json_buffer *out, json_t *object, unsigned depth)
{
    size_t count = json_object_size(object);
    char head[5], *end = mp_encode_map(head, (uint32_t)count);
    int rc = json_append(out, head, (size_t)(end - head));

    void *at = json_object_iter(object);
    while (at != NULL && rc == 0) {
        const char *key = json_object_iter_key(at);
        rc = put_string(out, key, strlen(key));
        if (rc == 0)
            rc = put_value(out, json_object_iter_value(at), depth + 1);
        if (count < VALUES_AT_ONCE) {
            at = json_object_iter_next(object, at);
        } else {
            json_object_del(object, key);
            at = json_object_iter(object);
        }
    }
    return rc;
}

static int put_number(struct json_buffer *out, const json_t *value)
{
    char head[9], *end;

    if (json_is_real(value)) {
        end = mp_encode_double(head, json_real_value(value));
    } else {
        json_int_t number = json_integer_value(value);
        end = number < 0 ? mp_encode_int(head, number) : mp_encode_uint(head, (uint64_t)number);
    }
    return json_append(out, head, (size_t)(end - head));
}

/* Its elements or members may be gone afterwards. */
static int put_value(struct json_buffer *out, json_t *value, unsigned depth)
{
    char head[1];
    int rc = passed(out, 1);

    if (rc != 0)
        return rc;
    switch (json_typeof(value)) {
    case JSON_ARRAY:
        return depth < MP_DEPTH_MAX ? put_array(out, value, depth) : too_deep();
    case JSON_OBJECT:
        rc = put_special(out, value, depth);
        if (rc != ERROR_NOT_FOUND)
            return rc;
        return depth < MP_DEPTH_MAX ? put_object(out, value, depth) : too_deep();
    case JSON_STRING:
        return put_string(out, json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
    case JSON_REAL:
        return put_number(out, value);
    case JSON_NULL:
        mp_encode_nil(head);
        return json_append(out, head, 1);
    default:
        mp_encode_bool(head, json_is_true(value));
        return json_append(out, head, 1);
    }
}

/* What jansson reads. */
struct text {
    const char *at;
    size_t left;
    struct json_buffer *out; /* of which `look` is called */
    int code;                /* what it returned */
};

static size_t text_read(void *to, size_t size, void *arg)
{
    struct text *text = arg;
    size_t block = size < text->left ? size : text->left;

    if (text->code == 0)
        text->code = passed(text->out, block / READ_A_VALUE);
    if (text->code != 0)
        return 0;
    memcpy(to, text->at, block);
    text->at += block;
    text->left -= block;
    return block;
}

int json_to_msgpack(const char *data, size_t size, struct json_buffer *out)
{
    struct text text = {.at = data, .left = size, .out = out};
    json_error_t error;
    json_t *value = json_load_callback(text_read, &text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);

    if (text.code != 0) {
        json_decref(value);
        return text.code;
    }
    if (value == NULL) {
        if (json_error_code(&error) == json_error_out_of_memory)
            return ERROR_MEMORY;
        return diag_set(ERROR_INVALID, "JSON: line %d, column %d: %s", error.line, error.column,
                        error.text);
    }
    int rc = put_value(out, value, 0);
    json_decref(value);
    return rc;
}
