/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_KEY_H
#define CODEC_KEY_H

/*
 * Order-preserving keys: the bytes of an encoded key compare (memcmp, prefix smaller) as the values
 * do.
 *
 * A key is a sequence of parts, each self-delimiting, so that a key of fewer parts is a byte prefix
 * of all keys that begin with them:
 *
 *   nil      01
 *   false    02
 *   true     03
 *   number   10, a double, an excess
 *   decimal  18, what decimal_order_encode writes: where only decimals may be
 *   string   20, the bytes with 00 written as 00 FF, then 00 01
 *   binary   30, likewise (MessagePack bin)
 *   uuid     40, its 16 bytes
 *   datetime 50, the seconds since 1970 in 8 bytes, big-endian, with the sign bit flipped, the
 *            nanoseconds in 4: instants, whatever their time zone
 *
 * The double is the largest not above the number, in 8 bytes, big-endian, with the sign bit flipped
 * (all bits of a negative one). The excess is what an integer exceeds it by, 0 to 2047: 00 when
 * nothing, else two bytes, (excess >> 8) + 1 and excess & 255. So integers of 64 bits, signed and
 * unsigned, and doubles are in one exact order; -0.0 is 0; NaN is refused.
 *
 * A decimal in such an order that is a 64-bit integer or a double in value has that one's bytes.
 * Any other is the double, 80, and what decimal_order_encode writes: decimals above one and the
 * same double are in their own order. Where the 80 would not do is between 64-bit integers that no
 * double tells apart: decimals beyond 2^53 that are no integers but lie in the range of 64-bit
 * integers are refused (a part of type decimal takes all).
 */
#include <stddef.h>
#include <stdint.h>

/* Types that an index part may demand. KEY_ANY takes every scalar, KEY_INTEGER every integer,
 * KEY_UNSIGNED those not below 0, KEY_NUMBER every number, KEY_DOUBLE floating-point numbers and
 * integers that are exact as such. A double or decimal is never an integer. KEY_DECIMAL takes
 * decimals alone. Intervals, arrays, maps and unknown extensions have no order and are no key of
 * any type. */
enum key_type {
    KEY_ANY,
    KEY_UNSIGNED,
    KEY_INTEGER,
    KEY_NUMBER,
    KEY_DOUBLE,
    KEY_STRING,
    KEY_BOOLEAN,
    KEY_BINARY,
    KEY_DECIMAL,
    KEY_UUID,
    KEY_DATETIME
};

/* The type called `name` ("unsigned", "integer", "number", "double", "string", "boolean",
 * "varbinary", "decimal", "uuid", "datetime", "scalar" or "any" for KEY_ANY), or -1. */
int key_type_parse(const char *name, size_t size);

/* The name that key_type_parse takes; a static string. */
const char *key_type_name(enum key_type type);

/* The most bytes that encoding the MessagePack value at `value` can take. */
size_t key_part_size_max(const char *value);

/*
 * Encodes the scalar MessagePack value at *value (checked data), of which `type` is demanded, to
 * `out`, advances *value behind it and *out behind what was written. nil is taken when `nullable`.
 * `out` has room for key_part_size_max(*value) bytes. Returns 0, ERROR_TYPE (another type; NaN),
 * ERROR_UNSUPPORTED (a decimal that has no place among 64-bit integers) or ERROR_INVALID (array,
 * map, interval, an ext value that is unknown or malformed), and then has advanced nothing.
 */
int key_part_encode(const char **value, enum key_type type, int nullable, unsigned char **out);

/* The same for values that are at hand (a double that is not NaN); each returns the end of what was
 * written: key_string_size_max(size) bytes at most, or 11. */
unsigned char *key_encode_string(unsigned char *out, const void *data, size_t size);
unsigned char *key_encode_uint(unsigned char *out, uint64_t value);
unsigned char *key_encode_int(unsigned char *out, int64_t value);
unsigned char *key_encode_double(unsigned char *out, double value);

/* The most bytes that a string part of `size` bytes takes: 2 * size + 3. */
static inline size_t key_string_size_max(size_t size)
{
    return 2 * size + 3;
}

/*
 * Decodes one part at *key (ends at `end`) back into MessagePack at *out and advances both. Numbers
 * come back as the smallest integer form when integral, else as double. `out` has room for 2 * (end
 * - *key) + 16 bytes. Returns 0 or ERROR_CORRUPT, and then has advanced nothing.
 */
int key_part_decode(const unsigned char **key, const unsigned char *end, char **out);

/* Decodes a key that is one string part into `out` (room for end - key bytes); the size, or -1 when
 * it is not one string part. */
int64_t key_decode_string(const unsigned char *key, const unsigned char *end, void *out);

/* The smallest key above all keys that begin with key[0..size): increments the last byte that is
 * not FF, in place; the new size, 0 when there is none. */
size_t key_successor(unsigned char *key, size_t size);

#endif
