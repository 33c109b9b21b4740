/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MessagePack-RPC on the scan of codec/mp.h, which finds where the message ends and that it is
 * valid; then its four elements are read in place. What cannot become a message is refused as soon
 * as its bytes say so: by the first two bytes, or when a length in it promises more than the limit.
 */
#include "proto/msgpack_rpc.h"

#include <string.h>

enum { KIND_REQUEST = 0, KIND_RESPONSE = 1, KIND_NOTIFICATION = 2 };

void rpc_parser_create(struct rpc_parser *parser, size_t message_bytes_max)
{
    mp_scan_create(&parser->scan);
    parser->message_bytes_max = message_bytes_max != 0 ? message_bytes_max : RPC_MESSAGE_BYTES_MAX;
    parser->error = NULL;
}

static enum rpc_parse_result fail(struct rpc_parser *parser, const char *error)
{
    parser->error = error;
    return RPC_PARSE_ERROR;
}

/* Whether data[0..size), at least a byte, begins as a request or a notification does. */
static bool begins_well(const char *data, size_t size)
{
    unsigned char first = (unsigned char)data[0];

    if (first == 0x94)
        return size == 1 || data[1] == KIND_REQUEST;
    return first == 0x93 && (size == 1 || data[1] == KIND_NOTIFICATION);
}

/* The elements of the complete message in data[0..size). */
static enum rpc_parse_result read_elements(struct rpc_parser *parser, const char *data, size_t size,
                                           struct rpc_request *request)
{
    const char *at = data + 2;
    uint32_t method_size;

    memset(request, 0, sizeof(*request));
    request->size = size;
    request->notification = data[1] == KIND_NOTIFICATION;
    if (!request->notification && !mp_read_uint(&at, &request->id))
        return fail(parser, "the message's id is not an unsigned integer");
    if (mp_typeof(*at) != MP_STR)
        return fail(parser, "the method's name is not a string");
    request->method = mp_decode_str(&at, &method_size);
    request->method_size = method_size;
    if (mp_typeof(*at) != MP_ARRAY)
        return fail(parser, "the parameters are not an array");
    request->params = at;
    request->params_size = (size_t)(data + size - at);
    return RPC_PARSE_DONE;
}

enum rpc_parse_result rpc_parse(struct rpc_parser *parser, const char *data, size_t size,
                                struct rpc_request *request, size_t *need)
{
    size_t visible = size < parser->message_bytes_max ? size : parser->message_bytes_max;

    if (size == 0) {
        *need = 1;
        return RPC_PARSE_MORE;
    }
    if (!begins_well(data, size))
        return fail(parser, "not a MessagePack-RPC request or notification");
    switch (mp_scan_advance(&parser->scan, data, visible, need)) {
    case MP_SCAN_DONE:
        size = parser->scan.offset;
        mp_scan_create(&parser->scan);
        return read_elements(parser, data, size, request);
    case MP_SCAN_MORE:
        if (*need > parser->message_bytes_max)
            return fail(parser, "the message is too large");
        return RPC_PARSE_MORE;
    case MP_SCAN_DEEP:
        return fail(parser, "the message is nested too deep");
    default:
        return fail(parser, "the message is not valid MessagePack");
    }
}

void rpc_put_result_begin(struct mp_buffer *out, uint64_t id)
{
    mp_put_array(out, 4);
    mp_put_uint(out, KIND_RESPONSE);
    mp_put_uint(out, id);
    mp_put_nil(out);
}

static void put_text(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

void rpc_put_error(struct mp_buffer *out, uint64_t id, int code, const char *name,
                   const char *message)
{
    rpc_put_error_more(out, id,
                       &(struct rpc_error){.code = code, .name = name, .message = message});
}

static void put_value(struct mp_buffer *out, const char *key, const char *value, size_t size)
{
    if (value == NULL)
        return;
    put_text(out, key);
    mp_put_raw(out, value, size);
}

void rpc_put_error_more(struct mp_buffer *out, uint64_t id, const struct rpc_error *error)
{
    mp_put_array(out, 4);
    mp_put_uint(out, KIND_RESPONSE);
    mp_put_uint(out, id);
    mp_put_map(out, 3 + (error->trace != NULL) + (error->details != NULL));
    put_text(out, "code");
    mp_put_int(out, error->code);
    put_text(out, "name");
    put_text(out, error->name);
    put_text(out, "message");
    put_text(out, error->message);
    put_value(out, "trace", error->trace, error->trace_size);
    put_value(out, "details", error->details, error->details_size);
    mp_put_nil(out);
}

void rpc_put_request_begin(struct mp_buffer *out, uint64_t id, const char *method)
{
    mp_put_array(out, 4);
    mp_put_uint(out, KIND_REQUEST);
    mp_put_uint(out, id);
    put_text(out, method);
}

void rpc_put_notification_begin(struct mp_buffer *out, const char *method)
{
    mp_put_array(out, 3);
    mp_put_uint(out, KIND_NOTIFICATION);
    put_text(out, method);
}
