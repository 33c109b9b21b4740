/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_UUID_H
#define CODEC_UUID_H

/*
 * UUIDs (RFC 4122): 16 bytes in the order in which they are written, so that memcmp is their order.
 * In MessagePack ext type 2, 16 bytes.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    UUID_EXT = 2,
    UUID_SIZE = 16,
    UUID_TEXT_SIZE = 36, /* 8-4-4-4-12 hexadecimal digits; no NUL is counted or written */
    UUID_MP_SIZE = 18,   /* as a MessagePack value */
};

struct uuid {
    uint8_t bytes[UUID_SIZE];
};

/* A random one (version 4), from the system's generator. Returns 0 or ERROR_IO. */
int uuid_generate(struct uuid *out);

/* Parses exactly the 36 characters, in either case. False when they are no UUID. */
bool uuid_parse(struct uuid *out, const char *text, size_t size);

/* Writes UUID_TEXT_SIZE characters, in lower case. */
void uuid_print(const struct uuid *uuid, char *out);

/* Writes UUID_MP_SIZE bytes; returns their end. */
char *uuid_pack(char *out, const struct uuid *uuid);

/* Reads the payload of an ext value of type UUID_EXT; false when it is malformed. */
bool uuid_unpack(struct uuid *out, const char *data, size_t size);

#endif
