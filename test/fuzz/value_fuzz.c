/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values with a width: decimals, uuids, datetimes, intervals. The first byte chooses what the rest
 * is: the payload of an extension, text, a format, or operands. Checked, beside what the sanitizers
 * see (every buffer ends where its memory ends):
 *   - a payload that is accepted is packed to one that is accepted as the same value, prints within
 *     the bounds that the headers name, and what is printed is parsed again as the same;
 *   - whatever is computed keeps the rules of its type, and sums lead back;
 *   - ordered bytes that are accepted are those of their value.
 */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "codec/datetime.h"
#include "codec/decimal.h"
#include "codec/ext.h"
#include "codec/interval.h"
#include "codec/mp.h"
#include "codec/uuid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FORMAT_ROOM = 256 };

static void check_decimal(const struct decimal *value)
{
    char text[DECIMAL_TEXT_MAX];
    unsigned char ordered[DECIMAL_ORDERED_MAX];
    const unsigned char *at = ordered;
    struct decimal again;

    ASSERT(decimal_is_valid(value));
    size_t size = decimal_print(value, text);
    ASSERT(size <= sizeof(text) && decimal_parse(&again, text, size) == 0);
    ASSERT(decimal_compare(&again, value) == 0 && again.scale == value->scale);
    unsigned char *end = decimal_order_encode(value, ordered);
    ASSERT(decimal_order_decode(&again, &at, end) && at == end);
    ASSERT(decimal_compare(&again, value) == 0);
    double floor = decimal_floor_double(value);
    ASSERT(decimal_compare_double(value, floor) >= 0);
    ASSERT(decimal_compare_double(value, nextafter(floor, INFINITY)) < 0);
}

static void check_datetime(const struct datetime *value)
{
    char text[DATETIME_TEXT_MAX];
    struct datetime_fields fields;
    struct datetime again;

    ASSERT(datetime_is_valid(value));
    datetime_split(value, &fields);
    if (datetime_join(&again, &fields, value->tzoffset) == 0)
        ASSERT(datetime_compare(&again, value) == 0);
    size_t size = datetime_print(value, text);
    ASSERT(size > 0 && size <= sizeof(text));
    ASSERT(datetime_parse(&again, text, size, 0, false) == 0);
    ASSERT(datetime_compare(&again, value) == 0 && again.tzoffset == value->tzoffset);
}

static void check_payload(int type, const char *data, size_t size)
{
    char packed[64], *end = packed, printed[EXT_TEXT_MAX];
    struct decimal decimal;
    struct uuid uuid;
    struct datetime datetime;
    struct interval interval;

    if (type == DECIMAL_EXT && decimal_unpack(&decimal, data, size)) {
        check_decimal(&decimal);
        end = decimal_pack(packed, &decimal);
    } else if (type == UUID_EXT && uuid_unpack(&uuid, data, size)) {
        end = uuid_pack(packed, &uuid);
    } else if (type == DATETIME_EXT && datetime_unpack(&datetime, data, size)) {
        check_datetime(&datetime);
        end = datetime_pack(packed, &datetime);
    } else if (type == INTERVAL_EXT && interval_unpack(&interval, data, size)) {
        char long_packed[INTERVAL_MP_MAX];
        const char *at = long_packed;
        struct interval again;
        uint32_t again_size;
        int again_type;
        ASSERT((size_t)(interval_pack(long_packed, &interval) - long_packed) <= INTERVAL_MP_MAX);
        const char *payload = mp_read_ext(&at, &again_type, &again_size);
        ASSERT(interval_unpack(&again, payload, again_size) && interval_equal(&again, &interval));
        ASSERT(again.adjust == interval.adjust);
        ASSERT(interval_print(&interval, printed) <= INTERVAL_TEXT_MAX);
        return;
    } else {
        return;
    }
    const char *at = packed;
    ASSERT(mp_check_limited(&at, end) && at == end);
    at = packed;
    ASSERT(ext_kind(packed) != EXT_UNKNOWN);
    ASSERT(ext_print(&at, printed) > 0 && at == end);
}

static void check_text(const char *data, size_t size)
{
    struct decimal decimal;
    struct datetime datetime;
    struct uuid uuid;

    if (decimal_parse(&decimal, data, size) == 0)
        check_decimal(&decimal);
    if (datetime_parse(&datetime, data, size, 0, true) == 0) {
        struct datetime again;
        ASSERT(datetime_parse(&again, data, size, 60, false) == 0);
        ASSERT(datetime_compare(&again, &datetime) == 0);
    }
    if (datetime_parse(&datetime, data, size, 60, false) == 0)
        check_datetime(&datetime);
    uuid_parse(&uuid, data, size);
}

/* A format, up to a NUL, and the text to read by it. */
static void check_format(const char *data, size_t size)
{
    const char *end = memchr(data, 0, size);
    size_t format_size = end == NULL ? size : (size_t)(end - data), used;
    struct datetime value = {.seconds = 1700000000, .nsec = 123456789, .tzoffset = -90};
    char *out = malloc(FORMAT_ROOM);

    if (datetime_format(&value, data, format_size, out, FORMAT_ROOM, &used) == 0)
        ASSERT(used <= FORMAT_ROOM);
    free(out);
    if (end == NULL)
        return;
    size_t text_size = size - format_size - 1;
    char *text = malloc(text_size + (text_size == 0));
    memcpy(text, end + 1, text_size);
    if (datetime_scan(&value, text, text_size, data, format_size, 60, &used) == 0) {
        ASSERT(used <= text_size);
        check_datetime(&value);
    }
    free(text);
}

/* Two decimals, from two halves of the bytes. */
static void check_operands(const char *data, size_t size)
{
    struct decimal left, right, result, back;

    if (!decimal_unpack(&left, data, size / 2) ||
        !decimal_unpack(&right, data + size / 2, size - size / 2))
        return;
    if (decimal_add(&result, &left, &right) == 0) {
        check_decimal(&result);
        if (decimal_precision(&result) < DECIMAL_DIGITS &&
            decimal_subtract(&back, &result, &right) == 0 &&
            decimal_precision(&back) < DECIMAL_DIGITS)
            ASSERT(decimal_compare(&back, &left) == 0);
    }
    if (decimal_multiply(&result, &left, &right) == 0)
        check_decimal(&result);
    if (decimal_divide(&result, &left, &right) == 0)
        check_decimal(&result);
    if (decimal_remainder(&result, &left, &right) == 0) {
        check_decimal(&result);
        decimal_abs(&back, &right);
        decimal_abs(&result, &result);
        ASSERT(decimal_compare(&result, &back) < 0);
    }
    if (decimal_power(&result, &left, &right) == 0)
        check_decimal(&result);
    if (decimal_sqrt(&result, &left) == 0)
        check_decimal(&result);
    if (decimal_exp(&result, &left) == 0)
        check_decimal(&result);
    if (decimal_ln(&result, &left) == 0)
        check_decimal(&result);
    if (decimal_log10(&result, &left) == 0)
        check_decimal(&result);
}

static void check_ordered(const unsigned char *data, size_t size)
{
    const unsigned char *at = data;
    unsigned char again[DECIMAL_ORDERED_MAX];
    struct decimal value;

    if (!decimal_order_decode(&value, &at, data + size))
        return;
    check_decimal(&value);
    size_t again_size = (size_t)(decimal_order_encode(&value, again) - again);
    ASSERT(again_size == (size_t)(at - data) && memcmp(again, data, again_size) == 0);
}

static void check_shift(const char *data, size_t size)
{
    struct datetime value, result;
    struct interval interval;

    if (size < 17 || !datetime_unpack(&value, data, 16) ||
        !interval_unpack(&interval, data + 16, size - 16))
        return;
    if (datetime_add(&result, &value, &interval, 1) == 0)
        check_datetime(&result);
    if (datetime_add(&result, &value, &interval, -1) != 0)
        return;
    check_datetime(&result);
    datetime_subtract(&interval, &result, &value);
    ASSERT(interval_is_valid(&interval));
    ASSERT(datetime_add(&value, &value, &interval, 1) == 0);
    ASSERT(datetime_compare(&value, &result) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *copy = malloc(size);
    memcpy(copy, data, size);
    const char *rest = copy + 1;
    size--;
    switch (data[0] % 9) {
    case 5:
        check_text(rest, size);
        break;
    case 7:
        check_format(rest, size);
        break;
    case 8:
        check_operands(rest, size);
        break;
    case 0:
        check_ordered((const unsigned char *)rest, size);
        break;
    case 3:
        check_shift(rest, size);
        break;
    default:
        check_payload(data[0] % 9, rest, size);
    }
    free(copy);
    return 0;
}
