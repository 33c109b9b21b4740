/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order-preserving keys. The layout is in key.h; this is why it sorts.
 *
 * A part's first byte orders the types. No part's encoding is a prefix of another's, so the first
 * byte in which two keys differ lies in the first part in which the values differ.
 *
 * Numbers: the bits of a double, read as an unsigned integer, order like the doubles of one sign;
 * flipping the sign bit of positive ones and all bits of negative ones puts the two halves in
 * order. A 64-bit integer may fall between two doubles, so it is written as the double at or below
 * it and its distance from it, which is below 2048, the gap between doubles just under 2^64.
 * Integers and doubles so compare exactly, also around 2^53 where one converts into the other
 * inexactly.
 *
 * Strings: the end is 00 01 and a 00 within is 00 FF, so an end sorts before every continuation, 00
 * included.
 */
#include "codec/key.h"

#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "codec/datetime.h"
#include "codec/decimal.h"
#include "codec/mp.h"
#include "codec/uuid.h"

enum {
    TAG_NIL = 0x01,
    TAG_FALSE = 0x02,
    TAG_TRUE = 0x03,
    TAG_NUMBER = 0x10,
    TAG_STRING = 0x20,
    TAG_BINARY = 0x30,
    TAG_DECIMAL = 0x18,
    TAG_UUID = 0x40,
    TAG_DATETIME = 0x50,
};

enum { NUMBER_SIZE_MAX = 11, EXCESS_MAX = 2047, MANTISSA_BITS = 53 };
enum { EXCESS_DECIMAL = 0x80 }; /* in the place of an excess: a decimal follows */
enum { EXT_SIZE_MAX = 10 + DECIMAL_ORDERED_MAX, DATETIME_KEY_SIZE = 13 };

static const struct {
    const char *name;
    enum key_type type;
} type_names[] = {
    /* The first of a type is the one it is called by. */
    {"scalar", KEY_ANY},      {"unsigned", KEY_UNSIGNED}, {"integer", KEY_INTEGER},
    {"number", KEY_NUMBER},   {"double", KEY_DOUBLE},     {"string", KEY_STRING},
    {"boolean", KEY_BOOLEAN}, {"varbinary", KEY_BINARY},  {"decimal", KEY_DECIMAL},
    {"uuid", KEY_UUID},       {"datetime", KEY_DATETIME}, {"any", KEY_ANY},
};

enum { TYPE_NAME_COUNT = sizeof(type_names) / sizeof(type_names[0]) };

int key_type_parse(const char *name, size_t size)
{
    for (unsigned i = 0; i < TYPE_NAME_COUNT; i++) {
        if (strlen(type_names[i].name) == size && memcmp(type_names[i].name, name, size) == 0)
            return (int)type_names[i].type;
    }
    return -1;
}

const char *key_type_name(enum key_type type)
{
    for (unsigned i = 0; i < TYPE_NAME_COUNT; i++) {
        if (type_names[i].type == type)
            return type_names[i].name;
    }
    return "?";
}

size_t key_part_size_max(const char *value)
{
    uint32_t size;

    switch (mp_typeof(*value)) {
    case MP_STR:
    case MP_BIN:
        mp_decode_strbin(&value, &size);
        return key_string_size_max(size);
    case MP_EXT:
        return EXT_SIZE_MAX;
    default:
        return NUMBER_SIZE_MAX;
    }
}

/* ------------------------------------------------------------------------------------- encoding */

static unsigned char *put_big64(unsigned char *out, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(out, &value, 8);
    return out + 8;
}

/* `floor` + `excess` is the number; `floor` is not NaN. */
static unsigned char *put_number(unsigned char *out, double floor, unsigned excess)
{
    uint64_t bits;

    floor += 0.0; /* -0.0 becomes 0.0 */
    memcpy(&bits, &floor, sizeof(bits));
    *out++ = TAG_NUMBER;
    out = put_big64(out, bits & 1ull << 63 ? ~bits : bits | 1ull << 63);
    if (excess == 0) {
        *out++ = 0;
        return out;
    }
    *out++ = (unsigned char)((excess >> 8) + 1);
    *out++ = (unsigned char)excess;
    return out;
}

/* The bits of `value` that a double's mantissa has no room for. */
static uint64_t inexact_bits(uint64_t value)
{
    int width = value == 0 ? 0 : 64 - __builtin_clzll(value);
    return width <= MANTISSA_BITS ? 0 : (1ull << (width - MANTISSA_BITS)) - 1;
}

static unsigned char *put_bytes(unsigned char *out, unsigned char tag, const void *data,
                                size_t size)
{
    const unsigned char *from = data, *end = from + size;

    *out++ = tag;
    while (size > 0) {
        const unsigned char *zero = memchr(from, 0, (size_t)(end - from));
        size_t run = (size_t)((zero != NULL ? zero : end) - from);
        memcpy(out, from, run);
        out += run;
        from += run;
        if (zero == NULL)
            break;
        *out++ = 0x00;
        *out++ = 0xff;
        if (++from == end)
            break;
    }
    *out++ = 0x00;
    *out++ = 0x01;
    return out;
}

unsigned char *key_encode_string(unsigned char *out, const void *data, size_t size)
{
    return put_bytes(out, TAG_STRING, data, size);
}

unsigned char *key_encode_uint(unsigned char *out, uint64_t value)
{
    uint64_t rest = value & inexact_bits(value);
    return put_number(out, (double)(value - rest), (unsigned)rest);
}

unsigned char *key_encode_int(unsigned char *out, int64_t value)
{
    if (value >= 0)
        return key_encode_uint(out, (uint64_t)value);

    /* The floor of a negative number is its magnitude rounded up. */
    uint64_t magnitude = -(uint64_t)value, mask = inexact_bits(magnitude);
    uint64_t up = (magnitude + mask) & ~mask;
    return put_number(out, -(double)up, (unsigned)(up - magnitude));
}

unsigned char *key_encode_double(unsigned char *out, double value)
{
    ASSERT(!isnan(value));
    return put_number(out, value, 0);
}

/* True when `type` takes numbers, of which this one is `integral` and `negative` and, as an
 * integer, `exact` as a double. */
static bool number_fits(enum key_type type, bool integral, bool negative, bool exact)
{
    switch (type) {
    case KEY_ANY:
    case KEY_NUMBER:
        return true;
    case KEY_DOUBLE:
        return exact;
    case KEY_INTEGER:
        return integral;
    case KEY_UNSIGNED:
        return integral && !negative;
    default:
        return false;
    }
}

static int encode_integer(const char **value, enum key_type type, unsigned char **out)
{
    uint64_t magnitude;
    int64_t number = 0;
    bool negative = !mp_read_uint(value, &magnitude);

    if (negative) {
        number = mp_decode_int(value);
        magnitude = -(uint64_t)number;
    }
    if (!number_fits(type, true, negative, (magnitude & inexact_bits(magnitude)) == 0))
        return ERROR_TYPE;
    *out = negative ? key_encode_int(*out, number) : key_encode_uint(*out, magnitude);
    return 0;
}

static int encode_float(const char **value, enum key_type type, unsigned char **out)
{
    double number =
        mp_typeof(**value) == MP_FLOAT ? mp_decode_float(value) : mp_decode_double(value);

    if (isnan(number) || !number_fits(type, false, false, true))
        return ERROR_TYPE;
    *out = key_encode_double(*out, number);
    return 0;
}

static int encode_bytes(const char **value, enum key_type type, unsigned char **out)
{
    bool string = mp_typeof(**value) == MP_STR;
    uint32_t size;

    if (type != KEY_ANY && type != (string ? KEY_STRING : KEY_BINARY))
        return ERROR_TYPE;
    const char *data = mp_decode_strbin(value, &size);
    *out = put_bytes(*out, string ? TAG_STRING : TAG_BINARY, data, size);
    return 0;
}

/* A decimal among other numbers. */
static int encode_mixed(const struct decimal *value, unsigned char **out)
{
    uint64_t magnitude;
    int64_t number;

    if (decimal_to_uint(value, &magnitude)) {
        *out = key_encode_uint(*out, magnitude);
        return 0;
    }
    if (decimal_to_int(value, &number)) {
        *out = key_encode_int(*out, number);
        return 0;
    }
    double floor = decimal_floor_double(value);
    if (decimal_compare_double(value, floor) == 0) {
        *out = put_number(*out, floor, 0);
        return 0;
    }
    if ((floor >= 0x1p53 && floor < 0x1p64) || (floor >= -0x1p63 && floor < -0x1p53))
        return ERROR_UNSUPPORTED;
    unsigned char *at = put_number(*out, floor, 0);
    at[-1] = EXCESS_DECIMAL;
    *out = decimal_order_encode(value, at);
    return 0;
}

static int encode_decimal(const char *data, size_t size, enum key_type type, unsigned char **out)
{
    struct decimal decimal;

    if (!decimal_unpack(&decimal, data, size))
        return ERROR_INVALID;
    if (type == KEY_ANY || type == KEY_NUMBER)
        return encode_mixed(&decimal, out);
    if (type != KEY_DECIMAL)
        return ERROR_TYPE;
    *(*out)++ = TAG_DECIMAL;
    *out = decimal_order_encode(&decimal, *out);
    return 0;
}

static int encode_uuid(const char *data, size_t size, enum key_type type, unsigned char **out)
{
    struct uuid uuid;

    if (!uuid_unpack(&uuid, data, size))
        return ERROR_INVALID;
    if (type != KEY_ANY && type != KEY_UUID)
        return ERROR_TYPE;
    *(*out)++ = TAG_UUID;
    memcpy(*out, uuid.bytes, UUID_SIZE);
    *out += UUID_SIZE;
    return 0;
}

static int encode_datetime(const char *data, size_t size, enum key_type type, unsigned char **out)
{
    struct datetime datetime;

    if (!datetime_unpack(&datetime, data, size))
        return ERROR_INVALID;
    if (type != KEY_ANY && type != KEY_DATETIME)
        return ERROR_TYPE;
    *(*out)++ = TAG_DATETIME;
    *out = put_big64(*out, (uint64_t)datetime.seconds ^ 1ull << 63);
    uint32_t nanoseconds = __builtin_bswap32((uint32_t)datetime.nsec);
    memcpy(*out, &nanoseconds, 4);
    *out += 4;
    return 0;
}

static int encode_ext(const char **value, enum key_type type, unsigned char **out)
{
    uint32_t size;
    int ext;
    const char *data = mp_read_ext(value, &ext, &size);

    switch (ext) {
    case DECIMAL_EXT:
        return encode_decimal(data, size, type, out);
    case UUID_EXT:
        return encode_uuid(data, size, type, out);
    case DATETIME_EXT:
        return encode_datetime(data, size, type, out);
    default:
        return ERROR_INVALID;
    }
}

static int encode_part(const char **value, enum key_type type, int nullable, unsigned char **out)
{
    switch (mp_typeof(**value)) {
    case MP_NIL:
        if (!nullable)
            return ERROR_TYPE;
        mp_decode_nil(value);
        *(*out)++ = TAG_NIL;
        return 0;
    case MP_BOOL:
        if (type != KEY_ANY && type != KEY_BOOLEAN)
            return ERROR_TYPE;
        *(*out)++ = mp_decode_bool(value) ? TAG_TRUE : TAG_FALSE;
        return 0;
    case MP_UINT:
    case MP_INT:
        return encode_integer(value, type, out);
    case MP_FLOAT:
    case MP_DOUBLE:
        return encode_float(value, type, out);
    case MP_STR:
    case MP_BIN:
        return encode_bytes(value, type, out);
    case MP_EXT:
        return encode_ext(value, type, out);
    default:
        return ERROR_INVALID;
    }
}

int key_part_encode(const char **value, enum key_type type, int nullable, unsigned char **out)
{
    const char *at = *value;
    int rc = encode_part(&at, type, nullable, out);

    if (rc == 0)
        *value = at;
    return rc;
}

/* ------------------------------------------------------------------------------------- decoding */

static double load_double(const unsigned char *data)
{
    uint64_t bits;
    double value;

    memcpy(&bits, data, 8);
    bits = __builtin_bswap64(bits);
    bits = bits & 1ull << 63 ? bits & ~(1ull << 63) : ~bits;
    memcpy(&value, &bits, 8);
    return value;
}

static bool is_integral(double value)
{
    if (!(value >= -0x1p63 && value < 0x1p64))
        return false;
    return value >= 0x1p53 || (double)(int64_t)value == value;
}

/* Writes the number as MessagePack to *out. False when it is none that was ever encoded. */
static bool number_to_mp(double floor, unsigned excess, char **out)
{
    if (!is_integral(floor)) {
        if (isnan(floor) || excess != 0)
            return false;
        *out = mp_encode_double(*out, floor);
        return true;
    }
    if (floor >= 0) {
        uint64_t value = (uint64_t)floor;
        if (value > UINT64_MAX - excess)
            return false;
        *out = mp_encode_uint(*out, value + excess);
        return true;
    }
    int64_t value = (int64_t)floor + (int64_t)excess;
    *out = value < 0 ? mp_encode_int(*out, value) : mp_encode_uint(*out, (uint64_t)value);
    return true;
}

/* A decimal of a number part. */
static int decode_mixed(const unsigned char **key, const unsigned char *end, char **out)
{
    const unsigned char *at = *key + 10;
    unsigned char again[EXT_SIZE_MAX], *again_end = again;
    struct decimal decimal;

    /* A number has one encoding: this must be the decimal's. */
    if (!decimal_order_decode(&decimal, &at, end) || encode_mixed(&decimal, &again_end) != 0 ||
        again_end - again != at - *key || memcmp(again, *key, (size_t)(at - *key)) != 0)
        return ERROR_CORRUPT;
    *out = decimal_pack(*out, &decimal);
    *key = at;
    return 0;
}

static int decode_decimal(const unsigned char **key, const unsigned char *end, char **out)
{
    const unsigned char *at = *key + 1;
    struct decimal decimal;

    if (!decimal_order_decode(&decimal, &at, end))
        return ERROR_CORRUPT;
    *out = decimal_pack(*out, &decimal);
    *key = at;
    return 0;
}

static int decode_uuid(const unsigned char **key, const unsigned char *end, char **out)
{
    struct uuid uuid;

    if (end - *key < 1 + UUID_SIZE)
        return ERROR_CORRUPT;
    memcpy(uuid.bytes, *key + 1, UUID_SIZE);
    *out = uuid_pack(*out, &uuid);
    *key += 1 + UUID_SIZE;
    return 0;
}

static int decode_datetime(const unsigned char **key, const unsigned char *end, char **out)
{
    uint64_t seconds;
    uint32_t nanoseconds;

    if (end - *key < DATETIME_KEY_SIZE)
        return ERROR_CORRUPT;
    memcpy(&seconds, *key + 1, 8);
    memcpy(&nanoseconds, *key + 9, 4);
    struct datetime datetime = {
        .seconds = (int64_t)(__builtin_bswap64(seconds) ^ 1ull << 63),
        .nsec = (int32_t)__builtin_bswap32(nanoseconds),
    };
    if (!datetime_is_valid(&datetime))
        return ERROR_CORRUPT;
    *out = datetime_pack(*out, &datetime);
    *key += DATETIME_KEY_SIZE;
    return 0;
}

static int decode_number(const unsigned char **key, const unsigned char *end, char **out)
{
    const unsigned char *at = *key;
    unsigned char again[NUMBER_SIZE_MAX], *again_end = again;
    char *to = *out;
    unsigned excess = 0;
    size_t size = 10;

    if (end - at < 10)
        return ERROR_CORRUPT;
    if (at[9] == EXCESS_DECIMAL)
        return decode_mixed(key, end, out);
    if (at[9] != 0) {
        if (end - at < NUMBER_SIZE_MAX)
            return ERROR_CORRUPT;
        excess = (unsigned)(at[9] - 1) << 8 | at[10];
        size = NUMBER_SIZE_MAX;
    }
    if (excess > EXCESS_MAX || !number_to_mp(load_double(at + 1), excess, &to))
        return ERROR_CORRUPT;

    /* A number has one encoding: -0.0 and an excess that reaches the next double are damage. */
    const char *value = *out;
    int rc = encode_part(&value, KEY_ANY, 0, &again_end);
    if (rc != 0 || (size_t)(again_end - again) != size || memcmp(again, at, size) != 0)
        return ERROR_CORRUPT;
    *key = at + size;
    *out = to;
    return 0;
}

/* Writes the bytes of the part at *key, behind its tag, to `out` and advances *key; the size, or
 * -1. */
static int64_t decode_bytes(const unsigned char **key, const unsigned char *end, char *out)
{
    const unsigned char *at = *key;
    char *to = out;

    for (;;) {
        const unsigned char *zero = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
        if (zero == NULL || zero + 1 == end)
            return -1;
        memcpy(to, at, (size_t)(zero - at));
        to += zero - at;
        at = zero + 2;
        if (zero[1] == 0x01)
            break;
        if (zero[1] != 0xff)
            return -1;
        *to++ = 0;
    }
    *key = at;
    return to - out;
}

static int decode_string(const unsigned char **key, const unsigned char *end, char **out)
{
    bool string = **key == TAG_STRING;
    const unsigned char *at = *key + 1;
    /* The bytes go behind the largest header and are moved to the one that they need. */
    int64_t size = decode_bytes(&at, end, *out + 5);

    if (size < 0 || size > UINT32_MAX)
        return ERROR_CORRUPT;
    char head[5], *bytes = *out + 5;
    char *head_end =
        string ? mp_encode_strl(head, (uint32_t)size) : mp_encode_binl(head, (uint32_t)size);
    size_t head_size = (size_t)(head_end - head);
    memmove(*out + head_size, bytes, (size_t)size);
    memcpy(*out, head, head_size);
    *out += head_size + (size_t)size;
    *key = at;
    return 0;
}

int key_part_decode(const unsigned char **key, const unsigned char *end, char **out)
{
    if (*key >= end)
        return ERROR_CORRUPT;
    switch (**key) {
    case TAG_NIL:
        *out = mp_encode_nil(*out);
        break;
    case TAG_FALSE:
    case TAG_TRUE:
        *out = mp_encode_bool(*out, **key == TAG_TRUE);
        break;
    case TAG_NUMBER:
        return decode_number(key, end, out);
    case TAG_STRING:
    case TAG_BINARY:
        return decode_string(key, end, out);
    case TAG_DECIMAL:
        return decode_decimal(key, end, out);
    case TAG_UUID:
        return decode_uuid(key, end, out);
    case TAG_DATETIME:
        return decode_datetime(key, end, out);
    default:
        return ERROR_CORRUPT;
    }
    (*key)++;
    return 0;
}

int64_t key_decode_string(const unsigned char *key, const unsigned char *end, void *out)
{
    if (key >= end || *key != TAG_STRING)
        return -1;
    key++;
    int64_t size = decode_bytes(&key, end, out);
    return key == end ? size : -1;
}

size_t key_successor(unsigned char *key, size_t size)
{
    while (size > 0 && key[size - 1] == 0xff)
        size--;
    if (size > 0)
        key[size - 1]++;
    return size;
}
