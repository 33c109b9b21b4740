/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Integers are written two digits at a time from a table (Alexandrescu, "Three optimization tips
 * for C++"), from the back, their width being known from the number of bits.
 *
 * The shortest form of a double is found by trying 15, 16 and 17 significant digits: 17 always
 * suffice, and 15 are enough for whatever was typed with so few. (Denormals have fewer, so there
 * all are tried.) The digits are then laid out as fpconv does, which Redis uses.
 */
#include "codec/number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char digit_pairs[] = "00010203040506070809101112131415161718192021222324"
                                  "25262728293031323334353637383940414243444546474849"
                                  "50515253545556575859606162636465666768697071727374"
                                  "75767778798081828384858687888990919293949596979899";

const uint64_t number_powers_of_10[20] = {
    1ull,
    10ull,
    100ull,
    1000ull,
    10000ull,
    100000ull,
    1000000ull,
    10000000ull,
    100000000ull,
    1000000000ull,
    10000000000ull,
    100000000000ull,
    1000000000000ull,
    10000000000000ull,
    100000000000000ull,
    1000000000000000ull,
    10000000000000000ull,
    100000000000000000ull,
    1000000000000000000ull,
    10000000000000000000ull,
};

static unsigned digit_count(uint64_t value)
{
    /* 1233 / 4096 is log10(2), near enough for 64 bits. */
    unsigned guess = (unsigned)(64 - __builtin_clzll(value | 1)) * 1233 >> 12;
    return guess + ((value | 1) >= number_powers_of_10[guess]); /* 0 has a digit, too */
}

size_t number_write_uint(char *out, uint64_t value)
{
    size_t size = digit_count(value);
    char *at = out + size;

    while (value >= 100) {
        at -= 2;
        memcpy(at, digit_pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10)
        memcpy(at - 2, digit_pairs + 2 * value, 2);
    else
        at[-1] = (char)('0' + value);
    return size;
}

size_t number_write_int(char *out, int64_t value)
{
    if (value >= 0)
        return number_write_uint(out, (uint64_t)value);
    *out = '-';
    return 1 + number_write_uint(out + 1, -(uint64_t)value);
}

/* The shortest digits of a finite value above 0, so that it is 0.DIGITS times 10^*exponent; how
 * many they are. */
static int shortest_digits(double value, char digits[17], int *exponent)
{
    char text[40];

    for (int precision = value < DBL_MIN ? 0 : 14; precision <= 16; precision++) {
        snprintf(text, sizeof(text), "%.*e", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    int count = 0;
    const char *at = text;
    for (; *at != 'e'; at++) {
        if (*at >= '0' && *at <= '9')
            digits[count++] = *at;
    }
    *exponent = atoi(at + 1) + 1;
    while (count > 1 && digits[count - 1] == '0')
        count--;
    return count;
}

static char *put(char *out, const char *data, int size)
{
    memcpy(out, data, (size_t)size);
    return out + size;
}

static char *put_zeros(char *out, int count)
{
    memset(out, '0', (size_t)count);
    return out + count;
}

static char *layout(char *out, const char *digits, int count, int exponent)
{
    bool point = exponent < count && (count - exponent < 7 || abs(exponent - 1) < 4);

    if (exponent >= count && exponent <= count + 7)
        return put_zeros(put(out, digits, count), exponent - count);
    if (point && exponent > 0) {
        out = put(out, digits, exponent);
        *out++ = '.';
        return put(out, digits + exponent, count - exponent);
    }
    if (point) {
        out = put(out, "0.", 2);
        return put(put_zeros(out, -exponent), digits, count);
    }
    *out++ = digits[0];
    if (count > 1) {
        *out++ = '.';
        out = put(out, digits + 1, count - 1);
    }
    *out++ = 'e';
    *out++ = exponent - 1 < 0 ? '-' : '+';
    return out + number_write_uint(out, (uint64_t)abs(exponent - 1));
}

size_t number_write_double(char *out, double value)
{
    char digits[17], *at = out;
    int exponent;

    if (isnan(value))
        return (size_t)(put(out, "nan", 3) - out);
    if (signbit(value)) {
        *at++ = '-';
        value = -value;
    }
    if (isinf(value))
        return (size_t)(put(at, "inf", 3) - out);
    if (value <= 0x1p52 && (double)(uint64_t)value == value)
        return (size_t)(at - out) + number_write_uint(at, (uint64_t)value);
    int count = shortest_digits(value, digits, &exponent);
    return (size_t)(layout(at, digits, count, exponent) - out);
}

bool number_read_int(const char *text, size_t size, int64_t *out)
{
    bool negative = size > 0 && text[0] == '-';
    uint64_t value = 0, limit = (uint64_t)INT64_MAX + negative;
    const char *at = text + negative, *end = text + size;

    if (at == end || (*at == '0' && (negative || end - at > 1)) || end - at > 19)
        return false;
    for (; at < end; at++) {
        unsigned digit = (unsigned char)*at - (unsigned)'0';
        if (digit > 9)
            return false;
        value = value * 10 + digit;
    }
    if (value > limit)
        return false;
    *out = negative ? (int64_t)-value : (int64_t)value;
    return true;
}
