/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The RESP sink: what data commands and scripts reply, appended to the session's output in its
 * protocol version.
 */
#include "session/session_internal.h"

static struct session *session_of(struct redis_sink *sink)
{
    return ((struct session_sink *)(void *)sink)->session;
}

static void sink_status(struct redis_sink *sink, const char *text)
{
    struct mp_buffer *out = &session_of(sink)->out;
    if (text[0] == 'O' && text[1] == 'K' && !text[2])
        resp_put_ok(out);
    else
        resp_put_status(out, text);
}

static void sink_integer(struct redis_sink *sink, int64_t value)
{
    resp_put_integer(&session_of(sink)->out, value);
}

static void sink_bulk(struct redis_sink *sink, const void *data, size_t size)
{
    resp_put_bulk(&session_of(sink)->out, data, size);
}

static void sink_bulk_of(struct redis_sink *sink, const void *data, size_t size,
                         struct parcel *parcel)
{
    if (!session__insert_add(session_of(sink), data, size, parcel))
        sink_bulk(sink, data, size);
}

static void sink_null(struct redis_sink *sink)
{
    resp_put_null(&session_of(sink)->out, session_of(sink)->protocol);
}

static void sink_real(struct redis_sink *sink, double value)
{
    resp_put_double(&session_of(sink)->out, session_of(sink)->protocol, value);
}

static void sink_boolean(struct redis_sink *sink, bool value)
{
    resp_put_boolean(&session_of(sink)->out, session_of(sink)->protocol, value);
}

static void sink_array(struct redis_sink *sink, size_t count)
{
    resp_put_array(&session_of(sink)->out, count);
}

static void sink_map(struct redis_sink *sink, size_t pairs)
{
    resp_put_map(&session_of(sink)->out, session_of(sink)->protocol, pairs);
}

static void sink_set(struct redis_sink *sink, size_t count)
{
    resp_put_set(&session_of(sink)->out, session_of(sink)->protocol, count);
}

static void sink_null_array(struct redis_sink *sink)
{
    resp_put_null_array(&session_of(sink)->out, session_of(sink)->protocol);
}

static void sink_error(struct redis_sink *sink, const char *prefix, const char *message)
{
    session__error(session_of(sink), prefix, message);
}

static void sink_big_number(struct redis_sink *sink, const char *digits, size_t size)
{
    resp_put_big_number(&session_of(sink)->out, session_of(sink)->protocol, digits, size);
}

static void sink_verbatim(struct redis_sink *sink, const char format[3], const void *data,
                          size_t size)
{
    resp_put_verbatim(&session_of(sink)->out, session_of(sink)->protocol, format, data, size);
}

static void sink_error_text(struct redis_sink *sink, const char *text)
{
    session__error_text(session_of(sink), text);
}

const struct redis_sink_script_vtab session__sink_script_vtab = {
    .big_number = sink_big_number,
    .verbatim = sink_verbatim,
    .error = sink_error_text,
};

const struct redis_sink_vtab session__sink_vtab = {
    .status = sink_status,
    .integer = sink_integer,
    .bulk = sink_bulk,
    .null = sink_null,
    .real = sink_real,
    .boolean = sink_boolean,
    .array = sink_array,
    .map = sink_map,
    .set = sink_set,
    .null_array = sink_null_array,
    .error = sink_error,
    .bulk_of = sink_bulk_of,
};
