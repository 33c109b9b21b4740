/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_BASE64_H
#define CODEC_BASE64_H

/* Base64 (RFC 4648, section 4), with padding. */
#include <stddef.h>
#include <stdint.h>

static inline size_t base64_size(size_t size)
{
    return (size + 2) / 3 * 4;
}

/* Writes base64_size(size) bytes. */
void base64_encode(char *out, const void *data, size_t size);

/* Writes at most size / 4 * 3 bytes; how many, or -1 when the text is not strict base64. */
int64_t base64_decode(void *out, const char *text, size_t size);

#endif
