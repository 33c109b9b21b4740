/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_MSGPACK_RPC_H
#define PROTO_MSGPACK_RPC_H

/*
 * MessagePack-RPC: messages in, responses out.
 *
 *   request       [0, id, method, params]
 *   notification  [2, method, params]       is not answered
 *   response      [1, id, error, result]
 *
 * The id is an unsigned integer, the method a string, the params an array; the error is nil or a
 * map of code (an integer), name and message.
 *
 * A parser recognises one message at the start of the bytes at hand; what it hands out points into
 * them. One that is incomplete is resumed where it stopped, like a RESP request (resp_parse.h).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec/mp.h"

enum { RPC_MESSAGE_BYTES_MAX = 64 * 1024 * 1024 }; /* unless told otherwise */

/* Read only `error`. */
struct rpc_parser {
    struct mp_scan scan;
    size_t message_bytes_max;
    const char *error; /* after RPC_PARSE_ERROR: static text */
};

struct rpc_request {
    bool notification; /* then it has no id */
    uint64_t id;
    const char *method;
    size_t method_size;
    const char *params; /* a checked MessagePack array */
    size_t params_size;
    size_t size; /* bytes of the message */
};

/* MORE: incomplete. ERROR: no such message, or a larger one than allowed; close the connection. */
enum rpc_parse_result { RPC_PARSE_DONE, RPC_PARSE_MORE, RPC_PARSE_ERROR };

/* `message_bytes_max` 0 means RPC_MESSAGE_BYTES_MAX. The parser owns no memory. */
void rpc_parser_create(struct rpc_parser *parser, size_t message_bytes_max);

/*
 * Takes one message from the start of data[0..size). DONE: fills *request and is ready for the
 * next. MORE: sets *need to a number of bytes, more than `size`, before which calling again, with
 * the same bytes and those that follow, is of no use. Never reads beyond data + size.
 */
enum rpc_parse_result rpc_parse(struct rpc_parser *parser, const char *data, size_t size,
                                struct rpc_request *request, size_t *need);

/* [1, id, nil, ..: exactly one value must follow. */
void rpc_put_result_begin(struct mp_buffer *out, uint64_t id);

/* [1, id, {code, name, message}, nil]. */
void rpc_put_error(struct mp_buffer *out, uint64_t id, int code, const char *name,
                   const char *message);

/* The same, and in the map also `trace` and `details`: each one value of MessagePack, or NULL: none. */
struct rpc_error {
    int code;
    const char *name, *message, *trace, *details;
    size_t trace_size, details_size;
};
void rpc_put_error_more(struct mp_buffer *out, uint64_t id, const struct rpc_error *error);

/* The client's half: [0, id, method, .. and [2, method, ..: an array of parameters must follow. */
void rpc_put_request_begin(struct mp_buffer *out, uint64_t id, const char *method);
void rpc_put_notification_begin(struct mp_buffer *out, const char *method);

#endif
