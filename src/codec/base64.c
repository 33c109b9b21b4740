/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three bytes at a time to four characters and back. Strict: padding where it belongs and nowhere
 * else, and the bits that padding leaves unused are 0, so that every value has one text.
 */
#include "codec/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(char *out, const void *data, size_t size)
{
    const unsigned char *from = data;

    for (; size >= 3; size -= 3, from += 3, out += 4) {
        uint32_t bits = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
        for (int i = 0; i < 4; i++)
            out[i] = alphabet[bits >> (18 - 6 * i) & 63];
    }
    if (size > 0) {
        uint32_t bits = (uint32_t)from[0] << 16 | (size > 1 ? (uint32_t)from[1] << 8 : 0);
        out[0] = alphabet[bits >> 18];
        out[1] = alphabet[bits >> 12 & 63];
        out[2] = size > 1 ? alphabet[bits >> 6 & 63] : '=';
        out[3] = '=';
    }
}

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int64_t base64_decode(void *out, const char *text, size_t size)
{
    unsigned char *to = out;
    const char *end = text + size;

    if (size % 4 != 0)
        return -1;
    for (; text < end; text += 4) {
        int pads = end - text > 4 || text[3] != '=' ? 0 : text[2] != '=' ? 1 : 2;
        uint32_t bits = 0;
        for (int i = 0; i < 4; i++) {
            int digit = i < 4 - pads ? digit_of(text[i]) : 0;
            if (digit < 0)
                return -1;
            bits = bits << 6 | (uint32_t)digit;
        }
        if (bits & ((1u << (8 * pads)) - 1))
            return -1;
        for (int i = 0; i < 3 - pads; i++)
            *to++ = (unsigned char)(bits >> (16 - 8 * i));
    }
    return to - (unsigned char *)out;
}
