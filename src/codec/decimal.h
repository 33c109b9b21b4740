/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_DECIMAL_H
#define CODEC_DECIMAL_H

/*
 * Decimal numbers of 38 digits, of which up to 38 may be behind the point, in exact arithmetic.
 *
 * A decimal is coefficient / 10^scale, the coefficient below 10^38, the scale 0 to 38. The scale is
 * kept: 1.50 is equal to 1.5 and prints as 1.50. There are no infinities, no NaN and no negative
 * zero. What has more digits than fit is rounded, halves away from zero; what is 10^38 or larger is
 * ERROR_TOO_LARGE. This is arithmetic as IEEE 754-2008 defines it for decimals with a precision of
 * 38 and exponents from -38 to 37, which decNumber (in Tarantool) and libmpdec (in Python) compute
 * too.
 *
 * In MessagePack ext type 1: the scale as an integer, then the digits in packed BCD, the last
 * half-byte being the sign (12 plus, 13 minus). A negative scale is read, never written.
 *
 * Functions that return int return 0, ERROR_TOO_LARGE, or ERROR_INVALID where the operation has no
 * result (a division by zero, the logarithm of a negative number), and then *out is as it was.
 * `out` may be an operand.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DECIMAL_EXT = 1,
    DECIMAL_DIGITS = 38,   /* digits at most, and the largest scale */
    DECIMAL_TEXT_MAX = 41, /* sign, "0.", digits; no NUL is counted or written */
    DECIMAL_MP_MAX = 24,   /* bytes of a MessagePack value at most */
    DECIMAL_ORDERED_MAX = 21,
};

struct decimal {
    uint64_t low, high; /* the coefficient: high * 2^64 + low */
    uint8_t scale;
    bool negative; /* false for 0 */
};

/* A value that may have come from anywhere: whether it keeps the rules above. */
bool decimal_is_valid(const struct decimal *value);

/* ------------------------------------------------------------------------------------ making */

void decimal_of_uint(struct decimal *out, uint64_t value);
void decimal_of_int(struct decimal *out, int64_t value);

/* The shortest decimal that reads back as this double (0.1 for 0.1), rounded to 38 places.
 * ERROR_INVALID: NaN or an infinity. */
int decimal_of_double(struct decimal *out, double value);

/* [sign] digits [. digits] [e [sign] digits], rounded to what fits. ERROR_INVALID: something
 * else. */
int decimal_parse(struct decimal *out, const char *text, size_t size);

/* Writes at most DECIMAL_TEXT_MAX characters, never with an exponent; their number. */
size_t decimal_print(const struct decimal *value, char *out);

/* Writes at most DECIMAL_MP_MAX bytes; their end. */
char *decimal_pack(char *out, const struct decimal *value);

/* Reads the payload of an ext value of type DECIMAL_EXT; false when it is malformed or not in
 * range. */
bool decimal_unpack(struct decimal *out, const char *data, size_t size);

/* ----------------------------------------------------------------------------------- looking */

/* Negative, 0, positive; exact. The double is no NaN, and is what its bits say: 0.1 is larger than
 * the decimal 0.1. */
int decimal_compare(const struct decimal *left, const struct decimal *right);
int decimal_compare_double(const struct decimal *left, double right);

/* The same, the double standing for the shortest decimal that reads back as it: 0.1 is equal to
 * 0.1. This is what users mean. */
int decimal_compare_shortest(const struct decimal *left, double right);

bool decimal_is_zero(const struct decimal *value);

/* Digits in all, zeros between the point and the first digit included, at least 1. */
unsigned decimal_precision(const struct decimal *value);

/* As a 64-bit integer, when it is one in value; false when not. */
bool decimal_to_uint(const struct decimal *value, uint64_t *out);
bool decimal_to_int(const struct decimal *value, int64_t *out);

/* The nearest double; the largest double that is not above. */
double decimal_to_double(const struct decimal *value);
double decimal_floor_double(const struct decimal *value);

/* Bytes that order (memcmp) as the values do and that no other value's bytes begin with: 1 to
 * DECIMAL_ORDERED_MAX; returns their end. Equal values have the same bytes.
 *
 *   zero      80
 *   positive  81 + 37 + e, value = 0.d1d2d3… * 10^e; then d1d2 + 1, d3d4 + 1, …; then 00
 *   negative  as of the magnitude, each byte inverted
 */
unsigned char *decimal_order_encode(const struct decimal *value, unsigned char *out);

/* Reads such bytes at *data and advances it; false when they are not what was encoded. */
bool decimal_order_decode(struct decimal *out, const unsigned char **data,
                          const unsigned char *end);

/* -------------------------------------------------------------------------------- arithmetic */

int decimal_add(struct decimal *out, const struct decimal *left, const struct decimal *right);
int decimal_subtract(struct decimal *out, const struct decimal *left, const struct decimal *right);
int decimal_multiply(struct decimal *out, const struct decimal *left, const struct decimal *right);
int decimal_divide(struct decimal *out, const struct decimal *left, const struct decimal *right);

/* left - right * (left / right without its fraction): has the sign of left. */
int decimal_remainder(struct decimal *out, const struct decimal *left, const struct decimal *right);

void decimal_negate(struct decimal *out, const struct decimal *value);
void decimal_abs(struct decimal *out, const struct decimal *value);

/* To at most `scale` digits behind the point: the nearest, halves away from zero; towards zero;
 * towards minus and plus infinity. A value with fewer stays as it is. */
enum decimal_rounding { DECIMAL_HALF_UP, DECIMAL_DOWN, DECIMAL_FLOOR, DECIMAL_CEILING };
void decimal_round(struct decimal *out, const struct decimal *value, unsigned scale,
                   enum decimal_rounding rounding);

/* To exactly `scale` digits behind the point, rounded or filled with zeros. ERROR_TOO_LARGE also
 * when there is no room for the zeros. */
int decimal_rescale(struct decimal *out, const struct decimal *value, unsigned scale);

/* Without the zeros at the end of the fraction. */
void decimal_trim(struct decimal *out, const struct decimal *value);

/* ----------------------------------------------------------------------------- decimal_math.c */

/* Rounded correctly (sqrt), or as if from 50 and more digits (the others). */
int decimal_sqrt(struct decimal *out, const struct decimal *value);
int decimal_exp(struct decimal *out, const struct decimal *value);
int decimal_ln(struct decimal *out, const struct decimal *value);
int decimal_log10(struct decimal *out, const struct decimal *value);

/* Exact where the result has at most 38 digits and the exponent is a whole number. ERROR_INVALID:
 * 0^0, 0 to a negative power, a negative number to a broken one. */
int decimal_power(struct decimal *out, const struct decimal *base, const struct decimal *exponent);

#endif
