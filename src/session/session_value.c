/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MessagePack values as RESP replies, by the table of docs/protocol.md. Values come from Lua, so
 * they are checked and nested at most MP_DEPTH_MAX deep.
 */
#include "session/session_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "codec/ext.h"

enum { VALUES_AT_ONCE = 1024 }; /* from one look whether others wait to the next */

static void put_uint(struct session *session, uint64_t value)
{
    char digits[24];
    if (value <= INT64_MAX) {
        resp_put_integer(&session->out, (int64_t)value);
        return;
    }
    int size = snprintf(digits, sizeof digits, "%" PRIu64, value);
    resp_put_big_number(&session->out, session->protocol, digits, (size_t)size);
}

/* The text of what is known; else the bytes of the extension. */
static void put_extension(struct session *session, const char **value)
{
    char text[EXT_TEXT_MAX];
    uint32_t size;
    int type;

    if (ext_kind(*value) != EXT_UNKNOWN) {
        resp_put_bulk(&session->out, text, ext_print(value, text));
        return;
    }
    const char *data = mp_read_ext(value, &type, &size);
    resp_put_bulk(&session->out, data, size);
}

static void put_string(struct session *session, const char **value)
{
    uint32_t size;
    const char *data =
        mp_typeof(**value) == MP_BIN ? mp_decode_bin(value, &size) : mp_decode_str(value, &size);
    resp_put_bulk(&session->out, data, size);
}

static void put_aggregate(struct session *session, const char **value)
{
    bool map = mp_typeof(**value) == MP_MAP;
    uint32_t count = map ? mp_decode_map(value) : mp_decode_array(value);
    if (map)
        resp_put_map(&session->out, session->protocol, count);
    else
        resp_put_array(&session->out, count);
    for (uint64_t n = 0; n < (uint64_t)count * (map ? 2 : 1); n++) {
        if (n % VALUES_AT_ONCE == VALUES_AT_ONCE - 1)
            session__let_in(session->worker);
        session__put_value(session, value);
    }
}

void session__put_value(struct session *session, const char **value)
{
    switch (mp_typeof(**value)) {
    case MP_NIL:
        mp_decode_nil(value);
        resp_put_null(&session->out, session->protocol);
        break;
    case MP_BOOL:
        resp_put_boolean(&session->out, session->protocol, mp_decode_bool(value));
        break;
    case MP_UINT:
        put_uint(session, mp_decode_uint(value));
        break;
    case MP_INT:
        resp_put_integer(&session->out, mp_decode_int(value));
        break;
    case MP_FLOAT:
        resp_put_double(&session->out, session->protocol, mp_decode_float(value));
        break;
    case MP_DOUBLE:
        resp_put_double(&session->out, session->protocol, mp_decode_double(value));
        break;
    case MP_STR:
    case MP_BIN:
        put_string(session, value);
        break;
    case MP_EXT:
        put_extension(session, value);
        break;
    case MP_ARRAY:
    case MP_MAP:
        put_aggregate(session, value);
        break;
    }
}

/* Between the values of large ones. */
static int text_look(void *worker)
{
    session__let_in(worker);
    return 0;
}

int session__put_result(struct session *session, const char *value)
{
    struct json_buffer *text = &session->worker->text;
    const char *end = value;
    switch (session->format) {
    case WIRE_NATIVE:
        session__put_value(session, &value);
        return 0;
    case WIRE_MSGPACK:
        mp_next(&end);
        resp_put_bulk(&session->out, value, (size_t)(end - value));
        return 0;
    case WIRE_JSON:
        break;
    }
    text->size = 0;
    text->look = text_look;
    text->look_arg = session->worker;
    int rc = json_from_msgpack(text, &value);
    if (!rc)
        resp_put_bulk(&session->out, text->data, text->size);
    if (text->capacity > SESSION_BUFFER_KEEP_BYTES)
        json_buffer_destroy(text);
    return rc ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

const char *session__results_value(const char *results)
{
    static const char NIL[] = "\xc0";
    const char *first = results;
    uint32_t count = mp_decode_array(&first);
    return count == 0 ? NIL : count == 1 ? first : results;
}
