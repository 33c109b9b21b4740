/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roots, powers, exponentials and logarithms of decimals.
 *
 * The square root is an integer's, by Newton's method, of the coefficient with so many zeros behind
 * it that the root has a digit more than is kept.
 *
 * The others are computed in fixed point: integers of which the lower 320 bits are the fraction, so
 * that their absolute error is around 10^-90. A decimal has no digit beyond the 38th place, so an
 * absolute bound is enough for logarithms, also of numbers near 1. exp(x) is 10^q * exp(r) with r
 * in [0, ln 10); exp(r) is the Taylor series of r / 256, squared eight times. ln(x) is
 * k * ln 2 + 2 * artanh((t - 1) / (t + 1)) with x = 2^k * t and t in [3/4, 3/2).
 *
 * A result that ends in a 5 behind the kept digits (1.5^33) must not be lost to the error: before
 * digits are taken something far larger than the error, and far smaller than any digit, is added.
 */
#include "base/assert.h"
#include "base/error.h"
#include "codec/decimal_internal.h"

enum { FRACTION_BITS = 320, NUDGE_BIT = 260, HALVINGS = 8, LARGEST = 100 };

/* floor(ln 2 * 2^320), floor(ln 10 * 2^320) */
static const struct wide ln_2 = {{0xe7b876206debac98ull, 0x8a0d175b8baafa2bull,
                                  0x40f343267298b62dull, 0xc9e3b39803f2f6afull,
                                  0xb17217f7d1cf79abull, 0x0000000000000000ull}};
static const struct wide ln_10 = {{0x58bc0b5ec6a04173ull, 0x0f187a0807c0b5caull,
                                   0x8a3fb3e76977e43aull, 0xa95b58ae0b4c28a3ull,
                                   0x4d763776aaa2b05bull, 0x0000000000000002ull}};

struct fixed {
    struct wide magnitude;
    bool negative;
};

static struct wide fixed_of(uint64_t value)
{
    struct wide result = wide_of(value);
    wide_shift_left(&result, FRACTION_BITS);
    return result;
}

static struct wide fixed_multiply(const struct wide *left, const struct wide *right)
{
    struct wide result = wide_multiply(left, right);
    wide_shift_right(&result, FRACTION_BITS);
    return result;
}

static struct wide fixed_divide(const struct wide *left, const struct wide *right)
{
    struct wide shifted = *left;
    wide_shift_left(&shifted, FRACTION_BITS);
    return wide_divide(&shifted, right);
}

/* left + right, either of which may be negative. */
static struct fixed fixed_add(struct fixed left, struct fixed right)
{
    if (left.negative == right.negative) {
        wide_add(&left.magnitude, &right.magnitude);
        return left;
    }
    if (wide_compare(&left.magnitude, &right.magnitude) < 0) {
        struct fixed swap = left;
        left = right;
        right = swap;
    }
    wide_subtract(&left.magnitude, &right.magnitude);
    return left;
}

/* *out = value * 10^exponent; digits behind the first `digits` after the point do not count. */
static int fixed_finish(struct decimal *out, const struct fixed *value, unsigned digits,
                        int exponent)
{
    struct wide result = value->magnitude, nudge = wide_of(1);
    wide_shift_left(&nudge, FRACTION_BITS - NUDGE_BIT);
    wide_add(&result, &nudge);
    wide_scale(&result, digits);
    wide_shift_right(&result, FRACTION_BITS);
    return decimal__finish(out, value->negative, result, (int)digits - exponent);
}

/* ------------------------------------------------------------------------------- square root */

static struct wide integer_root(const struct wide *value)
{
    struct wide root = wide_of(1);
    wide_shift_left(&root, (wide_bits(value) + 1) / 2);
    for (;;) {
        struct wide rest = *value, next = wide_divide(&rest, &root);
        wide_add(&next, &root);
        wide_shift_right(&next, 1);
        if (wide_compare(&next, &root) >= 0)
            return root;
        root = next;
    }
}

int decimal_sqrt(struct decimal *out, const struct decimal *value)
{
    struct wide square = wide_of(decimal__coefficient(value));
    unsigned ideal = (value->scale + 1u) / 2;
    if (value->negative)
        return ERROR_INVALID;
    if (decimal_is_zero(value)) {
        *out = decimal__make(false, 0, ideal);
        return 0;
    }
    unsigned zeros = 2 * DECIMAL_DIGITS + 2 - wide_digits(&square);
    zeros += (value->scale + zeros) % 2;
    wide_scale(&square, zeros);
    unsigned scale = (value->scale + zeros) / 2;
    struct wide root = integer_root(&square), again = wide_multiply(&root, &root);
    if (wide_compare(&again, &square) == 0) {
        for (struct wide shorter = root; scale > ideal && wide_divide_small(&shorter, 10) == 0;
             scale--)
            root = shorter;
    }
    return decimal__finish(out, false, root, (int)scale);
}

/* ------------------------------------------------------------------------------- exponential */

/* exp(value) for a value from 0 to ln 10. */
static struct wide exp_small(struct wide value)
{
    struct wide sum = fixed_of(1), term = sum;
    wide_shift_right(&value, HALVINGS);
    for (uint64_t n = 1; !wide_is_zero(&term); n++) {
        term = fixed_multiply(&term, &value);
        wide_divide_small(&term, n);
        wide_add(&sum, &term);
    }
    for (unsigned i = 0; i < HALVINGS; i++)
        sum = fixed_multiply(&sum, &sum);
    return sum;
}

/* exp(power), negated when `negative`. */
static int exp_fixed(struct decimal *out, struct fixed power, bool negative)
{
    struct wide largest = fixed_of(LARGEST);
    if (wide_compare(&power.magnitude, &largest) > 0) {
        if (!power.negative)
            return ERROR_TOO_LARGE;
        *out = decimal__make(false, 0, DECIMAL_DIGITS);
        return 0;
    }
    struct wide rest = power.magnitude, quotient = wide_divide(&rest, &ln_10);
    int exponent = (int)wide_low(&quotient);
    if (power.negative) {
        struct wide other = ln_10;
        wide_subtract(&other, &rest);
        rest = other;
        exponent = -exponent - 1;
    }
    struct fixed result = {exp_small(rest), negative};
    return fixed_finish(out, &result, DECIMAL_DIGITS + 7, exponent);
}

static struct fixed fixed_of_decimal(const struct decimal *value)
{
    struct fixed result = {wide_of(decimal__coefficient(value)), value->negative};
    struct wide power = wide_of(wide_power_of_10(value->scale));
    wide_shift_left(&result.magnitude, FRACTION_BITS);
    result.magnitude = wide_divide(&result.magnitude, &power);
    return result;
}

int decimal_exp(struct decimal *out, const struct decimal *value)
{
    if (decimal_is_zero(value)) {
        *out = decimal__make(false, 1, 0);
        return 0;
    }
    return exp_fixed(out, fixed_of_decimal(value), false);
}

/* -------------------------------------------------------------------------------- logarithms */

/* 2 * artanh(value) for a value up to 1/5. */
static struct wide artanh_twice(const struct wide *value)
{
    struct wide sum = *value, power = *value, square = fixed_multiply(value, value);
    for (uint64_t n = 3;; n += 2) {
        power = fixed_multiply(&power, &square);
        struct wide term = power;
        wide_divide_small(&term, n);
        if (wide_is_zero(&term))
            break;
        wide_add(&sum, &term);
    }
    wide_shift_left(&sum, 1);
    return sum;
}

/* ln(t) for t from 3/4 to 3/2. */
static struct fixed ln_near_1(const struct wide *t)
{
    struct wide one = fixed_of(1), sum = *t, difference = *t;
    bool negative = wide_compare(t, &one) < 0;
    wide_add(&sum, &one);
    if (negative) {
        difference = one;
        wide_subtract(&difference, t);
    } else {
        wide_subtract(&difference, &one);
    }
    struct wide ratio = fixed_divide(&difference, &sum);
    return (struct fixed){artanh_twice(&ratio), negative};
}

/* The logarithm of the magnitude of a value that is not 0. */
static struct fixed ln_fixed(const struct decimal *value)
{
    struct wide t = wide_of(decimal__coefficient(value));
    struct wide power = wide_of(wide_power_of_10(value->scale));
    /* t / power * 2^shift has FRACTION_BITS or one more */
    unsigned shift = FRACTION_BITS + wide_bits(&power) - wide_bits(&t);
    wide_shift_left(&t, shift);
    t = wide_divide(&t, &power);
    int exponent = FRACTION_BITS - (int)shift;
    /* now 1/2 to 2 */
    struct wide low = fixed_of(3), high = fixed_of(3);
    wide_shift_right(&low, 2);
    wide_shift_right(&high, 1);
    if (wide_compare(&t, &low) < 0) {
        wide_shift_left(&t, 1);
        exponent--;
    } else if (wide_compare(&t, &high) >= 0) {
        wide_shift_right(&t, 1);
        exponent++;
    }
    struct wide factor = wide_of((uint64_t)(exponent < 0 ? -exponent : exponent));
    return fixed_add((struct fixed){wide_multiply(&ln_2, &factor), exponent < 0}, ln_near_1(&t));
}

/* Whether the magnitude is 10^*exponent. */
static bool is_power_of_10(const struct decimal *value, int *exponent)
{
    unsigned digits = wide_digits_u128(decimal__coefficient(value));
    *exponent = (int)digits - 1 - value->scale;
    return digits > 0 && decimal__coefficient(value) == wide_power_of_10(digits - 1);
}

int decimal_ln(struct decimal *out, const struct decimal *value)
{
    int exponent;
    if (value->negative || decimal_is_zero(value))
        return ERROR_INVALID;
    if (is_power_of_10(value, &exponent) && exponent == 0) {
        *out = decimal__make(false, 0, 0);
        return 0;
    }
    struct fixed result = ln_fixed(value);
    return fixed_finish(out, &result, DECIMAL_DIGITS + 7, 0);
}

int decimal_log10(struct decimal *out, const struct decimal *value)
{
    int exponent;
    if (value->negative || decimal_is_zero(value))
        return ERROR_INVALID;
    if (is_power_of_10(value, &exponent)) {
        decimal_of_int(out, exponent);
        return 0;
    }
    struct fixed result = ln_fixed(value);
    result.magnitude = fixed_divide(&result.magnitude, &ln_10);
    return fixed_finish(out, &result, DECIMAL_DIGITS + 7, 0);
}

/* ------------------------------------------------------------------------------------ powers */

/* base^times by multiplication; false when that has too many digits to be exact. */
static bool power_exact(struct decimal *out, const struct decimal *base, uint64_t times)
{
    wide_u128 digits = 1;
    unsigned scale = 0;
    for (uint64_t n = 0; n < times; n++) {
        struct wide left = wide_of(digits), right = wide_of(decimal__coefficient(base));
        struct wide product = wide_multiply(&left, &right);
        scale += base->scale;
        if (scale > DECIMAL_DIGITS || wide_digits(&product) > DECIMAL_DIGITS)
            return false;
        digits = wide_low(&product);
    }
    *out = decimal__make(base->negative && times % 2 != 0, digits, scale);
    return true;
}

/* The exponent is a whole number of this magnitude. */
static bool power_whole(struct decimal *out, const struct decimal *base, uint64_t times,
                        bool inverse, int *code)
{
    struct decimal result, one = decimal__make(false, 1, 0);
    if (!power_exact(&result, base, times))
        return false;
    *code = 0;
    if (inverse)
        *code = decimal_divide(out, &one, &result);
    else
        *out = result;
    return true;
}

/* Whether a whole number is odd; false in *whole when it has a fraction. */
static bool is_odd(const struct decimal *value, bool *whole)
{
    struct decimal trimmed;
    decimal_trim(&trimmed, value);
    *whole = trimmed.scale == 0;
    return *whole && (trimmed.low & 1) != 0;
}

int decimal_power(struct decimal *out, const struct decimal *base, const struct decimal *exponent)
{
    struct decimal one = decimal__make(false, 1, 0), times;
    bool whole, odd = is_odd(exponent, &whole);
    uint64_t count;
    int code;

    if (decimal_is_zero(base)) {
        if (exponent->negative || decimal_is_zero(exponent))
            return ERROR_INVALID;
        *out = decimal__make(false, 0, 0);
        return 0;
    }
    if (base->negative && !whole)
        return ERROR_INVALID;
    decimal_abs(&times, base);
    if (decimal_is_zero(exponent) || decimal_compare(&times, &one) == 0) {
        *out = decimal__make(base->negative && odd, 1, 0);
        return 0;
    }
    decimal_abs(&times, exponent);
    if (whole && decimal_to_uint(&times, &count) &&
        power_whole(out, base, count, exponent->negative, &code))
        return code;
    struct fixed power = ln_fixed(base);
    struct wide factor = wide_of(decimal__coefficient(exponent));
    struct wide divisor = wide_of(wide_power_of_10(exponent->scale));
    power.magnitude = wide_multiply(&power.magnitude, &factor);
    power.magnitude = wide_divide(&power.magnitude, &divisor);
    power.negative = power.negative != exponent->negative;
    return exp_fixed(out, power, base->negative && odd);
}
