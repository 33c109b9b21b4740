/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_JSON_H
#define CODEC_JSON_H

/*
 * MessagePack to JSON text and back.
 *
 * What JSON has no form for travels so, and comes back as what it was:
 *   bytes (bin, or str) that are not UTF-8   {"$bin":"<base64>"}, back as bin
 *   ext that is unknown                      {"$ext":<type>,"data":"<base64>"}
 * and these do not come back as they were:
 *   bin that is UTF-8                        a string
 *   NaN and the infinities                   null
 *   a decimal                                a number with all its digits, back as a double
 *   a uuid, a datetime, an interval          its text as a string
 *   map keys that are no strings             their JSON text as a string; for one that holds a map
 *                                            the text is {"$msgpack":"<base64>"}
 * The parser also takes {"$msgpack":"<base64>"}, the value of these bytes, and {"$decimal":"1.50"},
 * {"$uuid":".."}, {"$datetime":".."}: json_exact.h writes them.
 * Integers keep 64 bits; unsigned ones above 2^63-1 and decimals without a fraction beyond 64 bits
 * are written in full, but the parser refuses them. Doubles are written with their shortest exact
 * digits and a point or exponent, so that they stay doubles.
 */
#include <stdbool.h>
#include <stddef.h>

/* Text that grows; `data` is malloc'ed and the buffer's, not ended by NUL. */
struct json_buffer {
    char *data;
    size_t size, capacity;
    /* Called now and then by what is made into it, between values and stretches of text, unless NULL; a
     * code other than 0 ends that, and is what it returns. */
    int (*look)(void *arg);
    void *look_arg;
    size_t passed; /* values since it was last called */
};

void json_buffer_create(struct json_buffer *buffer); /* `look` is NULL */
void json_buffer_destroy(struct json_buffer *buffer);

/* Appends the value at *value (checked MessagePack) as JSON on one line and advances *value.
 * Returns 0, ERROR_MEMORY or what `look` did. */
int json_from_msgpack(struct json_buffer *buffer, const char **value);

/* Appends raw bytes; and a JSON string with escapes, whose bytes are UTF-8. Return 0 or
 * ERROR_MEMORY, the second one also what `look` did. */
int json_append(struct json_buffer *buffer, const char *data, size_t size);
int json_append_string(struct json_buffer *buffer, const char *data, size_t size);

/* Appends bytes as a JSON string of base64. Returns 0, ERROR_MEMORY or what `look` did. */
int json_append_base64(struct json_buffer *buffer, const char *data, size_t size);

/* Whether the bytes are UTF-8 (RFC 3629). */
bool json_is_utf8(const char *data, size_t size);

/* Parses JSON text into MessagePack, appended to `out`. Returns 0, ERROR_INVALID (diagnostics say
 * line and column), ERROR_MEMORY or what `look` of `out` did. */
int json_to_msgpack(const char *data, size_t size, struct json_buffer *out);

#endif
