/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_JSON_EXACT_H
#define CODEC_JSON_EXACT_H

/*
 * MessagePack as JSON text from which json_to_msgpack makes the same value again, of the same type:
 * what a dump needs. Where JSON has no form for a value it is one of these objects:
 *   bin                       {"$bin":"<base64>"}
 *   a decimal                 {"$decimal":"1.50"}
 *   a uuid                    {"$uuid":"64d22e4d-ac92-4a23-899a-e59f34af5479"}
 *   a datetime                {"$datetime":"2024-05-01T12:00:00Z"}
 *   anything else: NaN and the infinities, str that is not UTF-8, unsigned integers above 2^63-1,
 *   other ext, maps with keys that are no strings or that look like one of these objects
 *                             {"$msgpack":"<base64 of its MessagePack>"}
 */
#include "codec/json.h"

/* Appends the value at *value (checked MessagePack) on one line and advances *value. Returns 0 or
 * ERROR_MEMORY. */
int json_exact_from_msgpack(struct json_buffer *buffer, const char **value);

#endif
