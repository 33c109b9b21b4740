/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

/*
 * MessagePack to JSON text and back. Integers keep 64 bits (jansson reads them as such; unsigned ones above 2^63-1
 * come as text by the writer below without loss). Binary that is not UTF-8 is written as {"$bin":"<base64>"}.
 */
#include <stddef.h>
#include <stdio.h>

struct json_buffer {
    char *data;
    size_t size, capacity;
};

void json_buffer_create(struct json_buffer *buffer);
void json_buffer_destroy(struct json_buffer *buffer);

/* Appends the value at *value (checked MessagePack) as JSON on one line and advances *value. Returns 0 or ERROR_MEMORY. */
int json_from_msgpack(struct json_buffer *buffer, const char **value);

/* Appends raw bytes; and a JSON string with escapes. */
int json_append(struct json_buffer *buffer, const char *data, size_t size);
int json_append_string(struct json_buffer *buffer, const char *data, size_t size);

/* Parses JSON text into MessagePack, appended to `out`. Returns 0, ERROR_INVALID (diagnostics say line and column) or ERROR_MEMORY. */
int json_to_msgpack(const char *text, size_t size, struct json_buffer *out);

#endif
