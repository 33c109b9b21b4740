/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever json_from_msgpack writes so that it comes back is left to it; the texts of decimals and their
 * kin are parsed again to see that they lead to the same bytes. It recurses over checked data, which is
 * nested at most MP_DEPTH_MAX deep. What is packed is written only once, whole.
 */
#include "codec/json_exact.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "codec/datetime.h"
#include "codec/decimal.h"
#include "codec/ext.h"
#include "codec/mp.h"
#include "codec/uuid.h"

enum { KEYS_MAX = 512 }; /* of a map: whether one is there twice is found by comparing all */

static int append(struct json_buffer *buffer, const char *text)
{
    return json_append(buffer, text, strlen(text));
}

/* {"name":"<base64>"} */
static int append_named(struct json_buffer *buffer, const char *name, const char *data, size_t size)
{
    if (append(buffer, "{\"") != 0 || append(buffer, name) != 0 || append(buffer, "\":") != 0 ||
        json_append_base64(buffer, data, size) != 0)
        return ERROR_MEMORY;
    return append(buffer, "}");
}

static int append_packed(struct json_buffer *buffer, const char **value)
{
    const char *start = *value;
    mp_next(value);
    return append_named(buffer, "$msgpack", start, (size_t)(*value - start));
}

/* ----------------------------------------------------------------------------------------- text */

/* The MessagePack that the text of a value of this kind is parsed to: its size, 0 when it is none. */
static size_t parse(enum ext_kind kind, const char *text, size_t size, char *out)
{
    struct decimal decimal;
    struct uuid uuid;
    struct datetime datetime;

    if (kind == EXT_DECIMAL && decimal_parse(&decimal, text, size) == 0)
        return (size_t)(decimal_pack(out, &decimal) - out);
    if (kind == EXT_UUID && uuid_parse(&uuid, text, size))
        return (size_t)(uuid_pack(out, &uuid) - out);
    if (kind == EXT_DATETIME && datetime_parse(&datetime, text, size, 0, false) == 0)
        return (size_t)(datetime_pack(out, &datetime) - out);
    return 0;
}

static int append_ext(struct json_buffer *buffer, const char **value)
{
    char text[EXT_TEXT_MAX], packed[DECIMAL_MP_MAX];
    enum ext_kind kind = ext_kind(*value);

    if (kind == EXT_UNKNOWN || kind == EXT_INTERVAL)
        return append_packed(buffer, value);
    const char *start = *value, *end = start;
    size_t size = ext_print(&end, text);
    size_t packed_size = parse(kind, text, size, packed);
    if (packed_size != (size_t)(end - start) || memcmp(packed, start, packed_size) != 0)
        return append_packed(buffer, value);
    *value = end;
    if (append(buffer, "{\"$") != 0 || append(buffer, ext_kind_name(kind)) != 0 ||
        append(buffer, "\":") != 0 || json_append_string(buffer, text, size) != 0)
        return ERROR_MEMORY;
    return append(buffer, "}");
}

/* ----------------------------------------------------------------------------------------- maps */

/* Whether an object of JSON can have all keys of the map, and is then taken for a map. */
static bool is_object(const char *map)
{
    struct key {
        const char *data;
        uint32_t size;
    } keys[KEYS_MAX];
    uint32_t count = mp_decode_map(&map);

    if (count > KEYS_MAX)
        return false;
    for (uint32_t n = 0; n < count; n++) {
        struct key *key = &keys[n];
        if (mp_typeof(*map) != MP_STR)
            return false;
        key->data = mp_decode_str(&map, &key->size);
        if (!json_is_utf8(key->data, key->size) || memchr(key->data, 0, key->size) != NULL ||
            (count <= 2 && key->size > 0 && key->data[0] == '$'))
            return false;
        for (uint32_t m = 0; m < n; m++)
            if (keys[m].size == key->size && memcmp(keys[m].data, key->data, key->size) == 0)
                return false;
        mp_next(&map);
    }
    return true;
}

static int append_map(struct json_buffer *buffer, const char **value)
{
    uint32_t size;
    if (!is_object(*value))
        return append_packed(buffer, value);
    uint32_t count = mp_decode_map(value);
    int rc = append(buffer, "{");
    for (uint32_t n = 0; n < count && rc == 0; n++) {
        const char *key = mp_decode_str(value, &size);
        rc = n > 0 ? append(buffer, ",") : 0;
        rc = rc ? rc : json_append_string(buffer, key, size);
        rc = rc ? rc : append(buffer, ":");
        rc = rc ? rc : json_exact_from_msgpack(buffer, value);
    }
    return rc ? rc : append(buffer, "}");
}

static int append_array(struct json_buffer *buffer, const char **value)
{
    uint32_t count = mp_decode_array(value);
    int rc = append(buffer, "[");
    for (uint32_t n = 0; n < count && rc == 0; n++) {
        rc = n > 0 ? append(buffer, ",") : 0;
        rc = rc ? rc : json_exact_from_msgpack(buffer, value);
    }
    return rc ? rc : append(buffer, "]");
}

/* ------------------------------------------------------------------------------------- scalars */

/* Whether json_from_msgpack writes this scalar, no ext and no bin, so that it comes back. */
static bool has_form(const char *value)
{
    uint32_t size;
    switch (mp_typeof(*value)) {
    case MP_UINT:
        return mp_decode_uint(&value) <= INT64_MAX;
    case MP_DOUBLE:
        return isfinite(mp_decode_double(&value));
    case MP_FLOAT: /* would come back as a double */
        return false;
    case MP_STR: {
        const char *data = mp_decode_str(&value, &size);
        return json_is_utf8(data, size);
    }
    default:
        return true;
    }
}

int json_exact_from_msgpack(struct json_buffer *buffer, const char **value)
{
    uint32_t size;
    const char *data;

    switch (mp_typeof(**value)) {
    case MP_ARRAY:
        return append_array(buffer, value);
    case MP_MAP:
        return append_map(buffer, value);
    case MP_EXT:
        return append_ext(buffer, value);
    case MP_BIN:
        data = mp_decode_bin(value, &size);
        return append_named(buffer, "$bin", data, size);
    default:
        return has_form(*value) ? json_from_msgpack(buffer, value) : append_packed(buffer, value);
    }
}
