/* SPDX-License-Identifier: Apache-2.0 */
/* Keys: bytes order as values do, and come back as what they were. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/random.h"
#include "base/test_seed.h"
#include "codec/datetime.h"
#include "codec/decimal.h"
#include "codec/interval.h"
#include "codec/key.h"
#include "codec/mp.h"
#include "codec/uuid.h"

static struct random rng;

/* A number of any of the three kinds. */
struct number {
    enum { UNSIGNED, SIGNED, FLOATING } kind;
    union {
        uint64_t u;
        int64_t i;
        double d;
    };
};

/* 80-bit floats hold every 64-bit integer and every double exactly, so they give the order to
 * compare with. */
static long double exact(struct number n)
{
    return n.kind == UNSIGNED ? (long double)n.u
           : n.kind == SIGNED ? (long double)n.i
                              : (long double)n.d;
}

/* Whether some 64-bit integer is the same number. */
static bool is_integral(long double value)
{
    if (!(value >= -0x1p63L && value < 0x1p64L))
        return false;
    return value < 0 ? (long double)(int64_t)value == value : (long double)(uint64_t)value == value;
}

static size_t encode_number(struct number n, unsigned char *out)
{
    unsigned char *end = n.kind == UNSIGNED ? key_encode_uint(out, n.u)
                         : n.kind == SIGNED ? key_encode_int(out, n.i)
                                            : key_encode_double(out, n.d);
    assert_true(end - out <= 11);
    return (size_t)(end - out);
}

static int compare_keys(const unsigned char *a, size_t a_size, const unsigned char *b,
                        size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? (order > 0) - (order < 0) : (a_size > b_size) - (a_size < b_size);
}

static void assert_ordered(struct number a, struct number b)
{
    unsigned char a_key[16], b_key[16];
    size_t a_size = encode_number(a, a_key), b_size = encode_number(b, b_key);
    int expected = (exact(a) > exact(b)) - (exact(a) < exact(b));

    assert_int_equal(compare_keys(a_key, a_size, b_key, b_size), expected);
}

static struct number of_uint(uint64_t u)
{
    return (struct number){.kind = UNSIGNED, .u = u};
}

static struct number of_int(int64_t i)
{
    return (struct number){.kind = SIGNED, .i = i};
}

static struct number of_double(double d)
{
    return (struct number){.kind = FLOATING, .d = d};
}

static struct number random_number(void)
{
    uint64_t bits = random_next(&rng), shift = random_below(&rng, 64);
    double d;

    switch (random_below(&rng, 5)) {
    case 0:
        return of_uint(bits >> shift);
    case 1:
        return of_int((int64_t)bits >> shift);
    case 2:
        return of_double((double)(int64_t)bits);
    case 3:
        return of_uint((1ull << shift) + random_below(&rng, 5) - 2);
    default:
        memcpy(&d, &bits, 8);
        return of_double(isnan(d) ? 0 : d);
    }
}

static void numbers_at_the_edges_are_in_one_order(void **state)
{
    static const double doubles[] = {
        0.0,      -0.0,      1.0,      -1.0,      0.5,        5e-324,     -5e-324, 0x1p-1022,
        0x1p52,   0x1p53,    -0x1p53,  0x1p62,    0x1p63,     -0x1p63,    0x1p64,  -0x1p64,
        0x1p1023, -0x1p1023, INFINITY, -INFINITY, 0x1p53 + 2, 0x1p53 - 1, 4.5,     -4.5};
    static const uint64_t unsigneds[] = {0,
                                         1,
                                         4,
                                         5,
                                         UINT64_MAX,
                                         UINT64_MAX - 1,
                                         1ull << 63,
                                         (1ull << 63) + 1,
                                         (1ull << 63) - 1,
                                         1ull << 53,
                                         (1ull << 53) + 1,
                                         (1ull << 53) - 1,
                                         UINT64_MAX - 2047,
                                         UINT64_MAX - 2048};
    static const int64_t signeds[] = {-1,
                                      INT64_MIN,
                                      INT64_MIN + 1,
                                      INT64_MAX,
                                      -(1ll << 53),
                                      -(1ll << 53) - 1,
                                      -(1ll << 53) + 1,
                                      -(1ll << 62) - 1,
                                      -4,
                                      -5};
    struct number all[64];
    size_t count = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(doubles) / sizeof(doubles[0]); i++)
        all[count++] = of_double(doubles[i]);
    for (size_t i = 0; i < sizeof(unsigneds) / sizeof(unsigneds[0]); i++)
        all[count++] = of_uint(unsigneds[i]);
    for (size_t i = 0; i < sizeof(signeds) / sizeof(signeds[0]); i++)
        all[count++] = of_int(signeds[i]);
    for (size_t a = 0; a < count; a++) {
        for (size_t b = 0; b < count; b++)
            assert_ordered(all[a], all[b]);
    }
}

static void random_numbers_of_every_kind_are_in_one_order(void **state)
{
    (void)state;
    for (int i = 0; i < 300000; i++) {
        struct number a = random_number(), b = random_number();
        assert_ordered(a, b);
        /* A near neighbour, across kinds. */
        if (fabsl(exact(a)) < 9e18L) {
            int64_t near = (int64_t)exact(a) + (int64_t)random_below(&rng, 7) - 3;
            assert_ordered(a, of_int(near));
            assert_ordered(a, of_double((double)near));
        }
    }
}

static void numbers_come_back_in_their_smallest_exact_form(void **state)
{
    (void)state;
    for (int i = 0; i < 300000; i++) {
        struct number n = random_number();
        unsigned char key[16];
        const unsigned char *at = key, *end = key + encode_number(n, key);
        char value[64], *value_end = value;
        const char *back = value;
        unsigned char again[16], *again_end = again;

        assert_int_equal(key_part_decode(&at, end, &value_end), 0);
        assert_ptr_equal(at, end);
        bool integral = is_integral(exact(n));
        assert_int_equal(mp_typeof(*value) == MP_DOUBLE, !integral);
        assert_int_equal(key_part_encode(&back, KEY_ANY, 0, &again_end), 0);
        assert_ptr_equal(back, value_end);
        assert_int_equal(compare_keys(key, (size_t)(end - key), again, (size_t)(again_end - again)),
                         0);
    }
}

static size_t random_string(char *out, size_t size_max)
{
    static const char bytes[] = {0, 1, 2, 'a', 'b', (char)0xff, (char)0xfe};
    size_t size = random_below(&rng, size_max + 1);

    for (size_t i = 0; i < size; i++)
        out[i] = bytes[random_below(&rng, sizeof(bytes))];
    return size;
}

static void strings_order_by_their_bytes_zeros_included(void **state)
{
    (void)state;
    for (int i = 0; i < 300000; i++) {
        char a[8], b[8], back[40];
        unsigned char a_key[32], b_key[32];
        size_t a_size = random_string(a, 6), b_size = random_string(b, 6);
        unsigned char *a_end = key_encode_string(a_key, a, a_size),
                      *b_end = key_encode_string(b_key, b, b_size);
        int expected = compare_keys((unsigned char *)a, a_size, (unsigned char *)b, b_size);

        assert_true((size_t)(a_end - a_key) <= key_string_size_max(a_size));
        /* What follows in the key must not matter. */
        *a_end++ = (unsigned char)random_below(&rng, 256);
        *b_end++ = (unsigned char)random_below(&rng, 256);
        if (expected != 0) {
            int order =
                compare_keys(a_key, (size_t)(a_end - a_key), b_key, (size_t)(b_end - b_key));
            assert_int_equal(order, expected);
        }
        assert_int_equal(key_decode_string(a_key, a_end - 1, back), a_size);
        assert_memory_equal(back, a, a_size);
        assert_int_equal(key_decode_string(a_key, a_end, back), -1);
        assert_int_equal(key_decode_string(a_key, a_end - 2, back), -1);
    }
}

/* One part of every kind, as MessagePack. */
static void put_parts(struct mp_buffer *buffer, uint32_t count)
{
    char text[8];

    mp_put_array(buffer, count);
    for (uint32_t i = 0; i < count; i++) {
        switch (random_below(&rng, 5)) {
        case 0:
            mp_put_nil(buffer);
            break;
        case 1:
            mp_put_bool(buffer, random_below(&rng, 2));
            break;
        case 2:
            mp_put_int(buffer, (int64_t)random_next(&rng) >> random_below(&rng, 64));
            break;
        case 3:
            mp_put_str(buffer, text, random_string(text, 6));
            break;
        default:
            mp_put_bin(buffer, text, random_string(text, 6));
        }
    }
}

static void keys_of_several_parts_decode_part_by_part(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct mp_buffer value;
        unsigned char key[128], *key_end = key;
        char back[512], *back_end = back;

        mp_buffer_create(&value);
        put_parts(&value, 5);
        const char *at = value.data;
        mp_decode_array(&at);
        for (int part = 0; part < 5; part++) {
            unsigned char *before = key_end;
            size_t bound = key_part_size_max(at);
            assert_int_equal(key_part_encode(&at, KEY_ANY, 1, &key_end), 0);
            assert_true((size_t)(key_end - before) <= bound);
        }
        const unsigned char *key_at = key;
        while (key_at < key_end)
            assert_int_equal(key_part_decode(&key_at, key_end, &back_end), 0);
        assert_int_equal(back_end - back, value.size - 1);
        assert_memory_equal(back, value.data + 1, value.size - 1);
        mp_buffer_destroy(&value);
    }
}

static void types_order_nil_boolean_number_string_binary_uuid_datetime(void **state)
{
    static const char *const values[] = {"\xc0",
                                         "\xc2",
                                         "\xc3",
                                         "\xcb\xff\xf0\0\0\0\0\0\0",
                                         "\xff",
                                         "\x00",
                                         "\xd5\x01\x01\x1c",
                                         "\x01",
                                         "\xa0",
                                         "\xa1\xff",
                                         "\xc4\x00",
                                         "\xc4\x01\x00",
                                         "\xd8\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                                         "\xd7\x04\0\0\0\0\xff\xff\xff\xff",
                                         "\xd7\x04\0\0\0\0\0\0\0\0"};
    unsigned char before[32], *before_end = before;

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        unsigned char key[32], *end = key;
        const char *value = values[i];
        assert_int_equal(key_part_encode(&value, KEY_ANY, 1, &end), 0);
        if (i > 0)
            assert_int_equal(
                compare_keys(before, (size_t)(before_end - before), key, (size_t)(end - key)), -1);
        memcpy(before, key, sizeof(key));
        before_end = before + (end - key);
    }
}

static int encode_as(const char *value, enum key_type type, int nullable)
{
    unsigned char out[64], *end = out;
    const char *at = value;
    int rc = key_part_encode(&at, type, nullable, &end);

    assert_int_equal(rc == 0, at != value);
    assert_int_equal(rc == 0, end != out);
    return rc;
}

static void demanded_types_are_enforced(void **state)
{
    (void)state;
    assert_int_equal(encode_as("\x05", KEY_UNSIGNED, 0), 0);
    assert_int_equal(encode_as("\xd0\x05", KEY_UNSIGNED, 0), 0);
    assert_int_equal(encode_as("\xff", KEY_UNSIGNED, 0), ERROR_TYPE);
    assert_int_equal(encode_as("\xff", KEY_INTEGER, 0), 0);
    assert_int_equal(encode_as("\xcb\x3f\xf0\0\0\0\0\0\0", KEY_INTEGER, 0), ERROR_TYPE);
    assert_int_equal(encode_as("\xcb\x3f\xf0\0\0\0\0\0\0", KEY_NUMBER, 0), 0);
    assert_int_equal(encode_as("\xcb\x3f\xf0\0\0\0\0\0\0", KEY_DOUBLE, 0), 0);
    assert_int_equal(encode_as("\xca\x3f\x80\0\0", KEY_DOUBLE, 0), 0);
    assert_int_equal(encode_as("\x05", KEY_DOUBLE, 0), 0);
    assert_int_equal(encode_as("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", KEY_DOUBLE, 0), ERROR_TYPE);
    assert_int_equal(encode_as("\xcb\x7f\xf8\0\0\0\0\0\0", KEY_ANY, 0), ERROR_TYPE);
    assert_int_equal(encode_as("\xa1"
                               "a",
                               KEY_STRING, 0),
                     0);
    assert_int_equal(encode_as("\xa1"
                               "a",
                               KEY_BINARY, 0),
                     ERROR_TYPE);
    assert_int_equal(encode_as("\xc4\x01"
                               "a",
                               KEY_BINARY, 0),
                     0);
    assert_int_equal(encode_as("\xc3", KEY_BOOLEAN, 0), 0);
    assert_int_equal(encode_as("\xc3", KEY_NUMBER, 0), ERROR_TYPE);
    assert_int_equal(encode_as("\xc0", KEY_STRING, 0), ERROR_TYPE);
    assert_int_equal(encode_as("\xc0", KEY_STRING, 1), 0);
    assert_int_equal(encode_as("\x90", KEY_ANY, 1), ERROR_INVALID);
    assert_int_equal(encode_as("\x80", KEY_ANY, 1), ERROR_INVALID);
    assert_int_equal(encode_as("\xd4\x01\x01", KEY_ANY, 1), ERROR_INVALID);
    assert_int_equal(encode_as("\xd4\x63\x01", KEY_ANY, 1), ERROR_INVALID);
    for (int type = KEY_ANY; type <= KEY_DATETIME; type++) {
        char interval[INTERVAL_MP_MAX];
        interval_pack(interval, &(struct interval){.field = {1}});
        assert_int_equal(encode_as(interval, (enum key_type)type, 1), ERROR_INVALID);
        assert_int_equal(encode_as("\xd5\x01\x00\x1c", (enum key_type)type, 0) == 0,
                         type == KEY_ANY || type == KEY_NUMBER || type == KEY_DECIMAL);
        assert_int_equal(encode_as("\xd7\x04\0\0\0\0\0\0\0\0", (enum key_type)type, 0) == 0,
                         type == KEY_ANY || type == KEY_DATETIME);
        assert_int_equal(encode_as("\xd8\x02 sixteen bytes.. ", (enum key_type)type, 0) == 0,
                         type == KEY_ANY || type == KEY_UUID);
    }
    assert_int_equal(encode_as("\x05", KEY_DECIMAL, 0), ERROR_TYPE);
    /* 9007199254740993.5: between integers that no double tells apart */
    assert_int_equal(encode_as("\xc7\x0a\x01\x01\x90\x07\x19\x92\x54\x74\x09\x93\x5c", KEY_ANY, 0),
                     ERROR_UNSUPPORTED);
    assert_int_equal(
        encode_as("\xc7\x0a\x01\x01\x90\x07\x19\x92\x54\x74\x09\x93\x5c", KEY_DECIMAL, 0), 0);
}

/* ----------------------------------------------------------------------- values with a width */

/* One value in an index of type scalar or number. */
struct mixed {
    enum { INTEGER, DOUBLE, DECIMAL } kind;
    int64_t integer;
    double number;
    struct decimal decimal;
    char packed[DECIMAL_MP_MAX];
};

/* Numbers that are near each other, in all forms. */
static struct mixed random_mixed(void)
{
    static const double anchors[] = {0,      1,      0.1,    1e-30, 123.456, 0x1p52,
                                     0x1p53, 0x1p62, 0x1p63, 1e25,  1e37,    1e38};
    struct mixed result = {.kind = (int)random_below(&rng, 3)};
    double anchor = anchors[random_below(&rng, sizeof(anchors) / sizeof(anchors[0]))];
    int64_t step = (int64_t)random_below(&rng, 5) - 2;
    char text[80];

    if (random_below(&rng, 2))
        anchor = -anchor;
    if (result.kind == INTEGER) {
        if (fabs(anchor) >= 0x1p63)
            anchor = anchor < 0 ? -0x1p62 : 0x1p62;
        result.integer = (int64_t)anchor + step;
        if (result.integer < 0)
            mp_encode_int(result.packed, result.integer);
        else
            mp_encode_uint(result.packed, (uint64_t)result.integer);
    } else if (result.kind == DOUBLE) {
        result.number = anchor + (random_below(&rng, 2) ? (double)step : 0);
        mp_encode_double(result.packed, result.number);
    } else {
        /* digits of the double, or of what is a little beside it */
        int digits = snprintf(text, sizeof(text), "%.*f", (int)random_below(&rng, 30), anchor);
        struct decimal delta;
        assert_int_equal(decimal_parse(&result.decimal, text, (size_t)digits), 0);
        decimal_of_int(&delta, step);
        delta.scale = (uint8_t)random_below(&rng, 20);
        decimal_add(&result.decimal, &result.decimal, &delta);
        decimal_pack(result.packed, &result.decimal);
    }
    return result;
}

/* By rules that know nothing of keys: decimals with integers as decimals, with doubles exactly. */
static int compare_mixed(const struct mixed *a, const struct mixed *b)
{
    if (a->kind > b->kind)
        return -compare_mixed(b, a);
    if (b->kind != DECIMAL) {
        long double left = a->kind == INTEGER ? (long double)a->integer : a->number;
        long double right = b->kind == INTEGER ? (long double)b->integer : b->number;
        return (left > right) - (left < right);
    }
    if (a->kind == DOUBLE)
        return -decimal_compare_double(&b->decimal, a->number);
    struct decimal left = a->decimal;
    if (a->kind == INTEGER)
        decimal_of_int(&left, a->integer);
    return decimal_compare(&left, &b->decimal);
}

static void decimals_are_in_one_order_with_integers_and_doubles(void **state)
{
    unsigned refused = 0;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        struct mixed a = random_mixed(), b = random_mixed();
        unsigned char a_key[64], *a_end = a_key, b_key[64], *b_end = b_key;
        const char *a_at = a.packed, *b_at = b.packed;
        size_t bound = key_part_size_max(a_at);
        int a_code = key_part_encode(&a_at, KEY_NUMBER, 0, &a_end);
        int b_code = key_part_encode(&b_at, KEY_ANY, 0, &b_end);
        if (a_code != 0 || b_code != 0) {
            assert_int_equal(a_code != 0 ? a_code : b_code, ERROR_UNSUPPORTED);
            assert_true(a_code == 0 ? b.kind == DECIMAL : a.kind == DECIMAL);
            refused++;
            continue;
        }
        assert_true((size_t)(a_end - a_key) <= bound);
        int order = compare_keys(a_key, (size_t)(a_end - a_key), b_key, (size_t)(b_end - b_key));
        assert_int_equal(order, compare_mixed(&a, &b));
        /* Neither is the beginning of the other, and each comes back as the same number. */
        size_t shorter = (size_t)(a_end - a_key < b_end - b_key ? a_end - a_key : b_end - b_key);
        assert_true(order == 0 || memcmp(a_key, b_key, shorter) != 0);
        char back[256], *back_end = back;
        const unsigned char *at = a_key;
        assert_int_equal(key_part_decode(&at, a_end, &back_end), 0);
        assert_ptr_equal(at, a_end);
        const char *back_at = back;
        unsigned char again[64], *again_end = again;
        assert_int_equal(key_part_encode(&back_at, KEY_ANY, 0, &again_end), 0);
        assert_int_equal(
            compare_keys(a_key, (size_t)(a_end - a_key), again, (size_t)(again_end - again)), 0);
    }
    assert_true(refused < 40000);
}

static void a_decimal_that_is_an_integer_has_its_key(void **state)
{
    (void)state;
    for (int i = 0; i < 10000; i++) {
        int64_t number = (int64_t)random_next(&rng) >> random_below(&rng, 64);
        struct decimal decimal;
        unsigned char expected[16], key[64], *end = key;
        char packed[DECIMAL_MP_MAX];
        const char *at = packed;

        decimal_of_int(&decimal, number);
        decimal_rescale(&decimal, &decimal, (unsigned)random_below(&rng, 10));
        decimal_pack(packed, &decimal);
        size_t size = (size_t)(key_encode_int(expected, number) - expected);
        assert_int_equal(key_part_encode(&at, KEY_NUMBER, 0, &end), 0);
        assert_int_equal(end - key, size);
        assert_memory_equal(key, expected, size);
    }
}

static struct datetime random_datetime(void)
{
    return (struct datetime){.seconds = (int64_t)random_below(&rng, 3) - 1 +
                                        (int64_t)random_below(&rng, 2) * INT64_C(5000000000) *
                                            ((int64_t)random_below(&rng, 3) - 1),
                             .nsec = (int32_t)random_below(&rng, 3) * 499999999,
                             .tzoffset = (int16_t)((int)random_below(&rng, 3) * 60 - 60)};
}

static void datetimes_order_by_the_instant_and_uuids_by_their_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct datetime a = random_datetime(), b = random_datetime();
        char packed[2][DATETIME_MP_MAX];
        unsigned char a_key[16], *a_end = a_key, b_key[16], *b_end = b_key;
        const char *a_at = packed[0], *b_at = packed[1];

        datetime_pack(packed[0], &a);
        datetime_pack(packed[1], &b);
        assert_int_equal(key_part_encode(&a_at, KEY_DATETIME, 0, &a_end), 0);
        assert_int_equal(key_part_encode(&b_at, KEY_ANY, 0, &b_end), 0);
        assert_int_equal(
            compare_keys(a_key, (size_t)(a_end - a_key), b_key, (size_t)(b_end - b_key)),
            datetime_compare(&a, &b));
        char back[64], *back_end = back;
        const unsigned char *at = a_key;
        a.tzoffset = 0;
        assert_int_equal(key_part_decode(&at, a_end, &back_end), 0);
        assert_int_equal(back_end - back, datetime_pack(packed[0], &a) - packed[0]);
        assert_memory_equal(back, packed[0], (size_t)(back_end - back));
    }
    struct uuid uuid;
    char packed[UUID_MP_SIZE], back[64], *back_end = back;
    unsigned char key[32], *end = key;
    const unsigned char *from = key;
    const char *at = packed;
    assert_int_equal(uuid_generate(&uuid), 0);
    uuid_pack(packed, &uuid);
    assert_int_equal(key_part_encode(&at, KEY_UUID, 0, &end), 0);
    assert_int_equal(end - key, 17);
    assert_memory_equal(key + 1, uuid.bytes, UUID_SIZE);
    assert_int_equal(key_part_decode(&from, end, &back_end), 0);
    assert_memory_equal(back, packed, UUID_MP_SIZE);
}

static void type_names_are_parsed_and_given(void **state)
{
    (void)state;
    for (int type = KEY_ANY; type <= KEY_DATETIME; type++) {
        const char *name = key_type_name((enum key_type)type);
        assert_int_equal(key_type_parse(name, strlen(name)), type);
    }
    assert_int_equal(key_type_parse("any", 3), KEY_ANY);
    assert_int_equal(key_type_parse("strin", 5), -1);
    assert_int_equal(key_type_parse("", 0), -1);
}

static void damaged_keys_are_refused(void **state)
{
    static const struct {
        const char *data;
        size_t size;
    } bad[] = {
        {"", 0},
        {"\x00", 1},
        {"\x40", 1},
        {"\x20"
         "abc",
         4},
        {"\x20\x00\x02", 3},
        {"\x10\x80\0\0\0\0\0\0\0", 9},                        /* no excess */
        {"\x10\x7f\xff\xff\xff\xff\xff\xff\xff\x00", 10},     /* -0.0 */
        {"\x10\xff\xf8\x00\x00\x00\x00\x00\x00\x00", 10},     /* NaN */
        {"\x10\xbf\xf0\x00\x00\x00\x00\x00\x00\x01\x01", 11}, /* 1.0 and an excess */
        {"\x10\xc3\xe0\x00\x00\x00\x00\x00\x00\x09\x00", 11}, /* 2^63 and too much excess */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const unsigned char *key = (const unsigned char *)bad[i].data, *at = key;
        char out[64], *end = out;
        assert_int_equal(key_part_decode(&at, key + bad[i].size, &end), ERROR_CORRUPT);
        assert_ptr_equal(at, key);
        assert_ptr_equal(end, out);
    }
}

static void the_successor_is_above_all_continuations(void **state)
{
    unsigned char key[] = {0x10, 0xff, 0xff}, all[] = {0xff, 0xff};

    (void)state;
    assert_int_equal(key_successor(key, 3), 1);
    assert_int_equal(key[0], 0x11);
    assert_int_equal(key_successor(all, 2), 0);
    assert_int_equal(key_successor(all, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_at_the_edges_are_in_one_order),
        cmocka_unit_test(random_numbers_of_every_kind_are_in_one_order),
        cmocka_unit_test(numbers_come_back_in_their_smallest_exact_form),
        cmocka_unit_test(strings_order_by_their_bytes_zeros_included),
        cmocka_unit_test(keys_of_several_parts_decode_part_by_part),
        cmocka_unit_test(types_order_nil_boolean_number_string_binary_uuid_datetime),
        cmocka_unit_test(demanded_types_are_enforced),
        cmocka_unit_test(type_names_are_parsed_and_given),
        cmocka_unit_test(decimals_are_in_one_order_with_integers_and_doubles),
        cmocka_unit_test(a_decimal_that_is_an_integer_has_its_key),
        cmocka_unit_test(datetimes_order_by_the_instant_and_uuids_by_their_bytes),
        cmocka_unit_test(damaged_keys_are_refused),
        cmocka_unit_test(the_successor_is_above_all_continuations),
    };

    random_create(&rng, test_seed());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
