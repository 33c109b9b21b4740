/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_RESP_WRITE_H
#define PROTO_RESP_WRITE_H

/*
 * Replies to RESP bytes, appended to a buffer. `protocol` is 2, or 3 after HELLO 3: types that
 * RESP2 does not have travel there in the form that Redis gives them.
 *
 *              RESP3           RESP2
 *   null       _               $-1, or *-1 where an array is missing
 *   double     ,1.5            a bulk string
 *   boolean    #t              :1
 *   big number (123            a bulk string
 *   verbatim   =8 txt:moon     a bulk string
 *   map        %pairs          an array of twice as many
 *   set, push  ~n, >n          an array
 *
 * Aggregates are announced with their size; their elements follow. When memory is out,
 * buffer->failed is set and nothing is appended any more.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/mp.h"

enum { RESP2 = 2, RESP3 = 3 };

/* A status; `text` without CR and LF. */
void resp_put_status(struct mp_buffer *out, const char *text);

/* "+OK", "+QUEUED", "+PONG". */
void resp_put_ok(struct mp_buffer *out);
void resp_put_queued(struct mp_buffer *out);
void resp_put_pong(struct mp_buffer *out);

/* "-PREFIX message"; no prefix when it is "" or NULL. CR and LF in the message become spaces. */
void resp_put_error(struct mp_buffer *out, const char *prefix, const char *message);
void resp_put_error_sized(struct mp_buffer *out, const char *prefix, const char *message,
                          size_t size);

void resp_put_integer(struct mp_buffer *out, int64_t value);
void resp_put_bulk(struct mp_buffer *out, const void *data, size_t size);
void resp_put_null(struct mp_buffer *out, int protocol);
void resp_put_null_array(struct mp_buffer *out, int protocol);
void resp_put_double(struct mp_buffer *out, int protocol, double value);
void resp_put_boolean(struct mp_buffer *out, int protocol, bool value);

/* `digits` are an optional minus and decimal digits. */
void resp_put_big_number(struct mp_buffer *out, int protocol, const char *digits, size_t size);

/* `format` has three letters: "txt" or "mkd". */
void resp_put_verbatim(struct mp_buffer *out, int protocol, const char format[3], const void *data,
                       size_t size);

void resp_put_array(struct mp_buffer *out, size_t count);
void resp_put_map(struct mp_buffer *out, int protocol, size_t pairs);
void resp_put_set(struct mp_buffer *out, int protocol, size_t count);
void resp_put_push(struct mp_buffer *out, int protocol, size_t count);

#endif
