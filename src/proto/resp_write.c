/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RESP replies. Everything is a first byte, a number or text, and CR LF; room is reserved once for
 * each reply.
 */
#include "proto/resp_write.h"

#include <string.h>

#include "codec/number.h"

/* A first byte, a number and CR LF. */
enum { HEAD_SIZE_MAX = 1 + NUMBER_TEXT_MAX + 2 };

static inline char *put_line_end(char *to)
{
    to[0] = '\r';
    to[1] = '\n';
    return to + 2;
}

static inline char *put_head(char *to, char kind, uint64_t number)
{
    *to++ = kind;
    if (number < 10)
        *to++ = (char)('0' + number);
    else
        to += number_write_uint(to, number);
    return put_line_end(to);
}

static void append_head(struct mp_buffer *out, char kind, uint64_t number)
{
    char *to = mp_buffer_reserve(out, HEAD_SIZE_MAX);
    if (to != NULL)
        out->size = (size_t)(put_head(to, kind, number) - out->data);
}

#define APPEND_CONSTANT(out, text) mp_put_raw((out), (text), sizeof(text) - 1)

void resp_put_ok(struct mp_buffer *out)
{
    APPEND_CONSTANT(out, "+OK\r\n");
}

void resp_put_queued(struct mp_buffer *out)
{
    APPEND_CONSTANT(out, "+QUEUED\r\n");
}

void resp_put_pong(struct mp_buffer *out)
{
    APPEND_CONSTANT(out, "+PONG\r\n");
}

/* Text that no CR or LF may be in: each becomes a space. */
static char *put_text(char *to, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        *to++ = text[i] == '\r' || text[i] == '\n' ? ' ' : text[i];
    return to;
}

void resp_put_status(struct mp_buffer *out, const char *text)
{
    size_t size = strlen(text);
    char *to = mp_buffer_reserve(out, size + 3);

    if (to == NULL)
        return;
    *to++ = '+';
    out->size = (size_t)(put_line_end(put_text(to, text, size)) - out->data);
}

void resp_put_error_sized(struct mp_buffer *out, const char *prefix, const char *message,
                          size_t size)
{
    size_t prefix_size = prefix != NULL ? strlen(prefix) : 0;
    char *to = mp_buffer_reserve(out, prefix_size + size + 4);

    if (to == NULL)
        return;
    *to++ = '-';
    if (prefix_size > 0) {
        to = put_text(to, prefix, prefix_size);
        *to++ = ' ';
    }
    out->size = (size_t)(put_line_end(put_text(to, message, size)) - out->data);
}

void resp_put_error(struct mp_buffer *out, const char *prefix, const char *message)
{
    resp_put_error_sized(out, prefix, message, strlen(message));
}

void resp_put_integer(struct mp_buffer *out, int64_t value)
{
    char *to = mp_buffer_reserve(out, HEAD_SIZE_MAX);

    if (to == NULL)
        return;
    if (value >= 0) {
        to = put_head(to, ':', (uint64_t)value);
    } else {
        *to++ = ':';
        to = put_line_end(to + number_write_int(to, value));
    }
    out->size = (size_t)(to - out->data);
}

void resp_put_bulk(struct mp_buffer *out, const void *data, size_t size)
{
    char *to = mp_buffer_reserve(out, HEAD_SIZE_MAX + size + 2);

    if (to == NULL)
        return;
    to = put_head(to, '$', size);
    if (size > 0)
        memcpy(to, data, size);
    out->size = (size_t)(put_line_end(to + size) - out->data);
}

void resp_put_null(struct mp_buffer *out, int protocol)
{
    if (protocol == RESP3)
        APPEND_CONSTANT(out, "_\r\n");
    else
        APPEND_CONSTANT(out, "$-1\r\n");
}

void resp_put_null_array(struct mp_buffer *out, int protocol)
{
    if (protocol == RESP3)
        APPEND_CONSTANT(out, "_\r\n");
    else
        APPEND_CONSTANT(out, "*-1\r\n");
}

/* `kind`, the text and CR LF in RESP3; in RESP2 the text as a bulk string. */
static void put_text_as(struct mp_buffer *out, int protocol, char kind, const char *text,
                        size_t size)
{
    if (protocol != RESP3) {
        resp_put_bulk(out, text, size);
        return;
    }
    char *to = mp_buffer_reserve(out, size + 3);
    if (to == NULL)
        return;
    *to++ = kind;
    out->size = (size_t)(put_line_end(put_text(to, text, size)) - out->data);
}

void resp_put_double(struct mp_buffer *out, int protocol, double value)
{
    char text[NUMBER_TEXT_MAX];
    put_text_as(out, protocol, ',', text, number_write_double(text, value));
}

void resp_put_boolean(struct mp_buffer *out, int protocol, bool value)
{
    if (protocol == RESP3)
        mp_put_raw(out, value ? "#t\r\n" : "#f\r\n", 4);
    else
        mp_put_raw(out, value ? ":1\r\n" : ":0\r\n", 4);
}

void resp_put_big_number(struct mp_buffer *out, int protocol, const char *digits, size_t size)
{
    put_text_as(out, protocol, '(', digits, size);
}

void resp_put_verbatim(struct mp_buffer *out, int protocol, const char format[3], const void *data,
                       size_t size)
{
    if (protocol != RESP3) {
        resp_put_bulk(out, data, size);
        return;
    }
    char *to = mp_buffer_reserve(out, HEAD_SIZE_MAX + 4 + size + 2);
    if (to == NULL)
        return;
    to = put_head(to, '=', size + 4);
    memcpy(to, format, 3);
    to[3] = ':';
    if (size > 0)
        memcpy(to + 4, data, size);
    out->size = (size_t)(put_line_end(to + 4 + size) - out->data);
}

void resp_put_array(struct mp_buffer *out, size_t count)
{
    append_head(out, '*', count);
}

void resp_put_map(struct mp_buffer *out, int protocol, size_t pairs)
{
    append_head(out, protocol == RESP3 ? '%' : '*', protocol == RESP3 ? pairs : 2 * pairs);
}

void resp_put_set(struct mp_buffer *out, int protocol, size_t count)
{
    append_head(out, protocol == RESP3 ? '~' : '*', count);
}

void resp_put_push(struct mp_buffer *out, int protocol, size_t count)
{
    append_head(out, protocol == RESP3 ? '>' : '*', count);
}
