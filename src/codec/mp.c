/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking, writing and stepping through MessagePack.
 *
 * msgpuck walks trusted bytes: a header that promises more than there is makes it run off the end,
 * deep nesting is no matter to it, and its own mp_check counts values in an int that a hostile
 * header can overflow. So whatever comes from outside goes through the scan here first. It keeps,
 * for each open container, how many values are missing; a header adds a level, the last value of a
 * container takes it away. Its place is an offset from the value's start, so the bytes may arrive
 * in pieces and move meanwhile. A string's bytes are skipped by adding to the offset, which may
 * then lie behind what has arrived: that is also the answer to how much more is needed.
 */
#include "codec/mp.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "mem/account.h"

enum { BUFFER_CAPACITY_MIN = 256 };

/* What follows a first byte: kind, and a number that depends on it. */
enum head_kind {
    HEAD_INVALID,
    HEAD_FIXED,   /* `number` bytes of payload */
    HEAD_SIZED,   /* a length of `number` bytes, then as many bytes */
    HEAD_EXT,     /* the same and a type byte */
    HEAD_ARRAY,   /* a count of `number` bytes, then as many values; */
    HEAD_MAP,     /* twice as many */
    HEAD_ARRAY_N, /* `number` values */
    HEAD_MAP_N,
};

struct head {
    uint8_t kind, number;
};

static const struct head heads[32] = {
    /* 0xc0 to 0xdf */
    {HEAD_FIXED, 0}, {HEAD_INVALID, 0}, {HEAD_FIXED, 0},
    {HEAD_FIXED, 0},                                     /* nil, never used, false, true */
    {HEAD_SIZED, 1}, {HEAD_SIZED, 2},   {HEAD_SIZED, 4}, /* bin */
    {HEAD_EXT, 1},   {HEAD_EXT, 2},     {HEAD_EXT, 4},   /* ext */
    {HEAD_FIXED, 4}, {HEAD_FIXED, 8},                    /* float, double */
    {HEAD_FIXED, 1}, {HEAD_FIXED, 2},   {HEAD_FIXED, 4},
    {HEAD_FIXED, 8}, /* uint */
    {HEAD_FIXED, 1}, {HEAD_FIXED, 2},   {HEAD_FIXED, 4},
    {HEAD_FIXED, 8}, /* int */
    {HEAD_FIXED, 2}, {HEAD_FIXED, 3},   {HEAD_FIXED, 5},
    {HEAD_FIXED, 9}, {HEAD_FIXED, 17},                   /* fixext */
    {HEAD_SIZED, 1}, {HEAD_SIZED, 2},   {HEAD_SIZED, 4}, /* str */
    {HEAD_ARRAY, 2}, {HEAD_ARRAY, 4},   {HEAD_MAP, 2},
    {HEAD_MAP, 4},
};

static inline struct head head_of(uint8_t first)
{
    if (first <= 0x7f || first >= 0xe0)
        return (struct head){HEAD_FIXED, 0};
    if (first >= 0xc0)
        return heads[first - 0xc0];
    if (first >= 0xa0)
        return (struct head){HEAD_FIXED, first & 0x1f};
    return (struct head){first >= 0x90 ? HEAD_ARRAY_N : HEAD_MAP_N, first & 0x0f};
}

static inline uint32_t load_big(const char *data, unsigned size)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | (uint8_t)data[i];
    return value;
}

void mp_scan_create(struct mp_scan *scan)
{
    scan->offset = 0;
    scan->depth = 0;
    scan->left[0] = 1;
}

enum mp_scan_result mp_scan_advance(struct mp_scan *scan, const char *data, size_t size,
                                    size_t *need)
{
    size_t at = scan->offset;

    for (;;) {
        while (scan->left[scan->depth] == 0 && scan->depth > 0)
            scan->depth--;
        if (scan->left[scan->depth] == 0) {
            scan->offset = at;
            if (at <= size)
                return MP_SCAN_DONE;
            *need = at;
            return MP_SCAN_MORE;
        }
        if (at >= size) {
            /* Each missing value takes a byte at least. */
            scan->offset = at;
            *need = at + 1;
            return MP_SCAN_MORE;
        }
        struct head head = head_of((uint8_t)data[at]);
        uint64_t count = head.number, values = 0;
        size_t passed = 1;
        if (head.kind >= HEAD_SIZED && head.kind <= HEAD_MAP) {
            passed += head.number;
            if (size - at < passed) {
                scan->offset = at;
                *need = at + passed;
                return MP_SCAN_MORE;
            }
            count = load_big(data + at + 1, head.number);
        }
        switch (head.kind) {
        case HEAD_INVALID:
            return MP_SCAN_INVALID;
        case HEAD_EXT:
            passed++;
            /* fallthrough */
        case HEAD_FIXED:
        case HEAD_SIZED:
            at += passed + count;
            scan->left[scan->depth]--;
            continue;
        case HEAD_MAP:
        case HEAD_MAP_N:
            values = 2 * count;
            break;
        default:
            values = count;
        }
        if (scan->depth == MP_DEPTH_MAX)
            return MP_SCAN_DEEP;
        scan->left[scan->depth]--;
        scan->left[++scan->depth] = values;
        at += passed;
    }
}

bool mp_check_limited(const char **data, const char *end)
{
    struct mp_scan scan;
    size_t need;

    mp_scan_create(&scan);
    if (*data >= end || mp_scan_advance(&scan, *data, (size_t)(end - *data), &need) != MP_SCAN_DONE)
        return false;
    *data += scan.offset;
    return true;
}

void mp_buffer_create(struct mp_buffer *buffer)
{
    *buffer = (struct mp_buffer){.data = NULL};
}

void mp_buffer_destroy(struct mp_buffer *buffer)
{
    free(account_gone(ACCOUNT_BUFFER, buffer->data));
    mp_buffer_create(buffer);
}

void mp_buffer_reset(struct mp_buffer *buffer, size_t keep_bytes_max)
{
    if (buffer->capacity > keep_bytes_max) {
        size_t bytes_max = buffer->bytes_max;
        mp_buffer_destroy(buffer);
        buffer->bytes_max = bytes_max;
        return;
    }
    buffer->size = 0;
    buffer->failed = false;
}

char *mp_buffer_grow(struct mp_buffer *buffer, size_t size)
{
    if (buffer->failed)
        return NULL;
    if (size <= buffer->capacity - buffer->size && buffer->data != NULL)
        return buffer->data + buffer->size;

    size_t capacity =
        buffer->capacity < BUFFER_CAPACITY_MIN ? BUFFER_CAPACITY_MIN : buffer->capacity;
    bool bounded = buffer->bytes_max != 0 && buffer->size + size > buffer->bytes_max;
    if (size < SIZE_MAX / 4 && buffer->size < SIZE_MAX / 4 && !bounded) {
        while (capacity - buffer->size < size)
            capacity *= 2;
        char *data = account_resize(ACCOUNT_BUFFER, buffer->data, capacity);
        if (data != NULL) {
            buffer->data = data;
            buffer->capacity = capacity;
            return data + buffer->size;
        }
    }
    buffer->failed = true;
    return NULL;
}

void mp_put_raw(struct mp_buffer *buffer, const void *data, size_t size)
{
    char *to = mp_buffer_reserve(buffer, size);
    if (to == NULL || size == 0)
        return;
    memcpy(to, data, size);
    buffer->size += size;
}

/* Appends what `encode`, an expression over `to`, writes: at most `size_max` bytes. It gives the
 * end. */
#define PUT(buffer, size_max, encode)                             \
    do {                                                          \
        char *to = mp_buffer_reserve((buffer), (size_max));       \
        if (to != NULL)                                           \
            (buffer)->size = (size_t)((encode) - (buffer)->data); \
    } while (0)

void mp_put_nil(struct mp_buffer *buffer)
{
    PUT(buffer, 1, mp_encode_nil(to));
}

void mp_put_bool(struct mp_buffer *buffer, bool value)
{
    PUT(buffer, 1, mp_encode_bool(to, value));
}

void mp_put_uint(struct mp_buffer *buffer, uint64_t value)
{
    PUT(buffer, 9, mp_encode_uint(to, value));
}

void mp_put_int(struct mp_buffer *buffer, int64_t value)
{
    if (value >= 0)
        PUT(buffer, 9, mp_encode_uint(to, (uint64_t)value));
    else
        PUT(buffer, 9, mp_encode_int(to, value));
}

void mp_put_double(struct mp_buffer *buffer, double value)
{
    PUT(buffer, 9, mp_encode_double(to, value));
}

void mp_put_str(struct mp_buffer *buffer, const void *data, size_t size)
{
    if (size > UINT32_MAX)
        buffer->failed = true;
    PUT(buffer, 5 + size, mp_encode_strl(to, (uint32_t)size));
    mp_put_raw(buffer, data, size);
}

void mp_put_bin(struct mp_buffer *buffer, const void *data, size_t size)
{
    if (size > UINT32_MAX)
        buffer->failed = true;
    PUT(buffer, 5 + size, mp_encode_binl(to, (uint32_t)size));
    mp_put_raw(buffer, data, size);
}

void mp_put_array(struct mp_buffer *buffer, uint32_t count)
{
    PUT(buffer, 5, mp_encode_array(to, count));
}

void mp_put_map(struct mp_buffer *buffer, uint32_t count)
{
    PUT(buffer, 5, mp_encode_map(to, count));
}

void mp_put_ext(struct mp_buffer *buffer, int type, const void *data, uint32_t size)
{
    PUT(buffer, 6 + (size_t)size, mp_write_ext(to, type, data, size));
}

/* msgpuck 1.0 has no way into an ext value. */
const char *mp_read_ext(const char **value, int *type, uint32_t *size)
{
    const char *at = *value + 1;
    uint8_t first = (uint8_t) * *value;

    if (first >= 0xd4 && first <= 0xd8) {
        *size = 1u << (first - 0xd4);
    } else {
        unsigned width = 1u << (first - 0xc7);
        *size = load_big(at, width);
        at += width;
    }
    *type = (int8_t)*at++;
    *value = at + *size;
    return at;
}

char *mp_write_ext(char *out, int type, const void *data, uint32_t size)
{
    if (size > 0 && size <= 16 && (size & (size - 1)) == 0) {
        *out++ = (char)(0xd4 + __builtin_ctz(size));
    } else {
        unsigned width = size <= UINT8_MAX ? 1 : size <= UINT16_MAX ? 2 : 4;
        *out++ = (char)(0xc7 + (width >> 1));
        while (width > 0)
            *out++ = (char)(size >> 8 * --width);
    }
    *out++ = (char)type;
    if (size > 0)
        memcpy(out, data, size);
    return out + size;
}

const char *mp_map_find(const char *map, const char *name)
{
    size_t name_size = strlen(name);
    if (mp_typeof(*map) != MP_MAP)
        return NULL;
    for (uint32_t count = mp_decode_map(&map); count > 0; count--) {
        uint32_t size = 0;
        const char *key =
            mp_typeof(*map) == MP_STR ? mp_decode_str(&map, &size) : (mp_next(&map), "");
        if (size == name_size && memcmp(key, name, size) == 0)
            return map;
        mp_next(&map);
    }
    return NULL;
}

const char *mp_array_at(const char *tuple, uint32_t n)
{
    if (mp_typeof(*tuple) != MP_ARRAY || n >= mp_decode_array(&tuple))
        return NULL;
    while (n-- > 0)
        mp_next(&tuple);
    return tuple;
}

bool mp_read_int(const char **value, int64_t *out)
{
    const char *at = *value;

    if (mp_typeof(*at) == MP_INT) {
        *out = mp_decode_int(&at);
    } else if (mp_typeof(*at) == MP_UINT) {
        uint64_t number = mp_decode_uint(&at);
        if (number > INT64_MAX)
            return false;
        *out = (int64_t)number;
    } else {
        return false;
    }
    *value = at;
    return true;
}

bool mp_read_uint(const char **value, uint64_t *out)
{
    const char *at = *value;

    if (mp_typeof(*at) == MP_UINT) {
        *out = mp_decode_uint(&at);
    } else if (mp_typeof(*at) == MP_INT) {
        int64_t number = mp_decode_int(&at);
        if (number < 0)
            return false;
        *out = (uint64_t)number;
    } else {
        return false;
    }
    *value = at;
    return true;
}
