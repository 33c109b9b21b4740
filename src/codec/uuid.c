/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/uuid.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"

int uuid_generate(struct uuid *out)
{
    ssize_t size;
    /* So few bytes come at once or not at all, once the system has a seed. */
    do {
        size = getrandom(out->bytes, UUID_SIZE, 0);
    } while (size < 0 && errno == EINTR);
    if (size != UUID_SIZE)
        return ERROR_IO;
    out->bytes[6] = (uint8_t)((out->bytes[6] & 0x0f) | 0x40);
    out->bytes[8] = (uint8_t)((out->bytes[8] & 0x3f) | 0x80);
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Whether a dash comes before byte n. */
static bool dash_before(unsigned n)
{
    return n == 4 || n == 6 || n == 8 || n == 10;
}

bool uuid_parse(struct uuid *out, const char *text, size_t size)
{
    if (size != UUID_TEXT_SIZE)
        return false;
    for (unsigned n = 0; n < UUID_SIZE; n++) {
        if (dash_before(n) && *text++ != '-')
            return false;
        int high = hex_digit(text[0]), low = hex_digit(text[1]);
        if (high < 0 || low < 0)
            return false;
        out->bytes[n] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return true;
}

void uuid_print(const struct uuid *uuid, char *out)
{
    static const char hex[] = "0123456789abcdef";
    for (unsigned n = 0; n < UUID_SIZE; n++) {
        if (dash_before(n))
            *out++ = '-';
        *out++ = hex[uuid->bytes[n] >> 4];
        *out++ = hex[uuid->bytes[n] & 15];
    }
}

char *uuid_pack(char *out, const struct uuid *uuid)
{
    *out++ = (char)0xd8;
    *out++ = UUID_EXT;
    memcpy(out, uuid->bytes, UUID_SIZE);
    return out + UUID_SIZE;
}

bool uuid_unpack(struct uuid *out, const char *data, size_t size)
{
    if (size != UUID_SIZE)
        return false;
    memcpy(out->bytes, data, UUID_SIZE);
    return true;
}
