/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decimals: every operation computes its exact result, or one of which more than 38 digits are
 * exact, as an integer of up to 768 bits and a scale; decimal__finish rounds that to what a decimal
 * holds. Since halves go away from zero, the first digit that is dropped decides alone, whatever
 * follows.
 *
 * Numbers that are small enough, which is most, take a short way through 128 bits.
 */
#include "codec/decimal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "codec/decimal_internal.h"
#include "codec/mp.h"
#include "codec/number.h"
#include "codec/wide.h"

enum { PARSED_DIGITS_MAX = 80, EXPONENT_MAX = 1000000, BCD_BYTES_MAX = 20 };
enum { SIGN_PLUS = 0x0c, SIGN_MINUS = 0x0d };
enum { ORDER_ZERO = 0x80, ORDER_EXPONENT_BIAS = 37, ORDER_EXPONENT_MAX = 38 };

struct decimal decimal__make(bool negative, wide_u128 digits, unsigned scale)
{
    return (struct decimal){.low = (uint64_t)digits,
                            .high = (uint64_t)(digits >> 64),
                            .scale = (uint8_t)scale,
                            .negative = negative && digits != 0};
}

bool decimal_is_valid(const struct decimal *value)
{
    unsigned char sign;
    memcpy(&sign, &value->negative, 1);
    return value->scale <= DECIMAL_DIGITS &&
           decimal__coefficient(value) < wide_power_of_10(DECIMAL_DIGITS) &&
           (sign == 0 || (sign == 1 && decimal__coefficient(value) != 0));
}

bool decimal_is_zero(const struct decimal *value)
{
    return (value->low | value->high) == 0;
}

/* What is left of `digits`, which are `count`, when the last `drop` are rounded away. */
static wide_u128 drop_digits(struct wide *digits, unsigned count, unsigned drop)
{
    if (drop > count)
        return 0;
    struct wide power = wide_of(1);
    wide_scale(&power, drop - 1);
    struct wide kept = wide_divide(digits, &power);
    uint64_t first_dropped = wide_divide_small(&kept, 10);
    return wide_low(&kept) + (first_dropped >= 5);
}

static unsigned larger(int left, int right)
{
    int result = left > right ? left : right;
    return result > 0 ? (unsigned)result : 0;
}

int decimal__finish(struct decimal *out, bool negative, struct wide digits, int scale)
{
    int count = (int)wide_digits(&digits);
    if (count == 0) {
        *out = decimal__make(false, 0, scale > DECIMAL_DIGITS ? DECIMAL_DIGITS : larger(scale, 0));
        return 0;
    }
    if (count - scale > DECIMAL_DIGITS)
        return ERROR_TOO_LARGE;
    if (scale < 0) {
        wide_scale(&digits, (unsigned)-scale);
        scale = 0;
    }
    unsigned drop =
        larger(count, scale) > DECIMAL_DIGITS ? larger(count, scale) - DECIMAL_DIGITS : 0;
    wide_u128 kept = drop == 0 ? wide_low(&digits) : drop_digits(&digits, (unsigned)count, drop);
    scale -= (int)drop;
    if (kept == wide_power_of_10(DECIMAL_DIGITS)) {
        if (scale == 0)
            return ERROR_TOO_LARGE;
        kept /= 10;
        scale--;
    }
    *out = decimal__make(negative, kept, (unsigned)scale);
    return 0;
}

/* ------------------------------------------------------------------------------------ making */

void decimal_of_uint(struct decimal *out, uint64_t value)
{
    *out = decimal__make(false, value, 0);
}

void decimal_of_int(struct decimal *out, int64_t value)
{
    *out = decimal__make(value < 0, value < 0 ? -(uint64_t)value : (uint64_t)value, 0);
}

/* A number as it was written: digits / 10^scale. */
struct written {
    struct wide digits;
    int scale;
    bool negative;
};

/* Takes `count` more digits, of this value. */
static void append_digits(struct written *out, uint64_t digits, unsigned count)
{
    struct wide more = wide_of(digits);
    wide_scale(&out->digits, count);
    wide_add(&out->digits, &more);
}

/* Digits at *at, 18 at a time; counts those behind the point, and those that there was no room for.
 * Whether there were any. */
static bool read_digits(const char **at, const char *end, struct written *out, unsigned *kept,
                        bool fraction)
{
    const char *start = *at;
    uint64_t digits = 0;
    unsigned count = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
        bool room = *kept < PARSED_DIGITS_MAX;
        if (room) {
            digits = digits * 10 + (uint64_t)(**at - '0');
            *kept += *kept > 0 || **at != '0';
            if (++count == 18) {
                append_digits(out, digits, count);
                digits = count = 0;
            }
        }
        if (fraction == room && abs(out->scale) < EXPONENT_MAX)
            out->scale += fraction ? 1 : -1;
    }
    append_digits(out, digits, count);
    return *at > start;
}

static bool read_exponent(const char **at, const char *end, struct written *out)
{
    bool minus = *at < end && **at == '-';
    int exponent = 0;
    if (*at < end && (**at == '-' || **at == '+'))
        (*at)++;
    const char *start = *at;
    for (; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
        if (exponent < EXPONENT_MAX)
            exponent = exponent * 10 + (**at - '0');
    }
    out->scale += minus ? exponent : -exponent;
    return *at > start;
}

static bool read_number(const char *text, size_t size, struct written *out)
{
    const char *at = text, *end = text + size;
    unsigned kept = 0;

    *out = (struct written){.digits = {{0}}};
    if (at < end && (*at == '-' || *at == '+'))
        out->negative = *at++ == '-';
    bool found = read_digits(&at, end, out, &kept, false);
    if (at < end && *at == '.') {
        at++;
        found |= read_digits(&at, end, out, &kept, true);
    }
    if (!found)
        return false;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (!read_exponent(&at, end, out))
            return false;
    }
    return at == end;
}

int decimal_parse(struct decimal *out, const char *text, size_t size)
{
    struct written written;
    if (!read_number(text, size, &written))
        return ERROR_INVALID;
    return decimal__finish(out, written.negative, written.digits, written.scale);
}

int decimal_of_double(struct decimal *out, double value)
{
    char text[NUMBER_TEXT_MAX];
    if (!isfinite(value))
        return ERROR_INVALID;
    if (fabs(value) < 0x1p53 && (double)(int64_t)value == value) {
        decimal_of_int(out, (int64_t)value);
        return 0;
    }
    return decimal_parse(out, text, number_write_double(text, value));
}

/* The digits of a coefficient, without zeros before them; "" for 0. */
static unsigned write_digits(wide_u128 digits, char *out)
{
    unsigned count = wide_digits_u128(digits);
    for (unsigned i = count; i > 0;) {
        uint64_t part = (uint64_t)(digits % 10000000000000000000ull);
        digits /= 10000000000000000000ull;
        for (unsigned n = 0; n < 19 && i > 0; n++, part /= 10)
            out[--i] = (char)('0' + part % 10);
    }
    return count;
}

size_t decimal_print(const struct decimal *value, char *out)
{
    char digits[DECIMAL_DIGITS + 1], *at = out;
    unsigned count = write_digits(decimal__coefficient(value), digits), scale = value->scale;
    unsigned whole = count > scale ? count - scale : 0;

    if (value->negative)
        *at++ = '-';
    if (whole == 0)
        *at++ = '0';
    memcpy(at, digits, whole);
    at += whole;
    if (scale > 0) {
        unsigned fraction = count - whole;
        *at++ = '.';
        memset(at, '0', scale - fraction);
        at += scale - fraction;
        memcpy(at, digits + whole, fraction);
        at += fraction;
    }
    return (size_t)(at - out);
}

char *decimal_pack(char *out, const struct decimal *value)
{
    char digits[DECIMAL_DIGITS + 2] = "0", payload[BCD_BYTES_MAX + 2];
    unsigned count = write_digits(decimal__coefficient(value), digits);
    if (count == 0)
        count = 1;
    char *at = mp_encode_uint(payload, value->scale);
    unsigned bytes = count / 2 + 1, digit = 0;
    for (unsigned i = 0; i < bytes; i++) {
        unsigned high = i == 0 && count % 2 == 0 ? 0 : (unsigned)(digits[digit++] - '0');
        unsigned low = i + 1 < bytes     ? (unsigned)(digits[digit++] - '0')
                       : value->negative ? SIGN_MINUS
                                         : SIGN_PLUS;
        *at++ = (char)(high << 4 | low);
    }
    return mp_write_ext(out, DECIMAL_EXT, payload, (uint32_t)(at - payload));
}

/* The digits and the sign of packed BCD. */
static bool read_bcd(const char *data, size_t size, wide_u128 *digits, bool *negative)
{
    *digits = 0;
    if (size == 0 || size > BCD_BYTES_MAX || (size == BCD_BYTES_MAX && (uint8_t)data[0] >> 4 != 0))
        return false;
    for (size_t i = 0; i < size; i++) {
        unsigned high = (uint8_t)data[i] >> 4, low = (uint8_t)data[i] & 15;
        if (high > 9)
            return false;
        *digits = *digits * 10 + high;
        if (i + 1 == size) {
            *negative = low == 0x0b || low == SIGN_MINUS;
            return low > 9;
        }
        if (low > 9)
            return false;
        *digits = *digits * 10 + low;
    }
    return false;
}

bool decimal_unpack(struct decimal *out, const char *data, size_t size)
{
    const char *end = data + size, *at = data;
    int64_t scale;
    wide_u128 digits;
    bool negative;

    if (size == 0 || !mp_check_limited(&at, end) || !mp_read_int(&data, &scale))
        return false;
    if (scale < -DECIMAL_DIGITS || scale > DECIMAL_DIGITS ||
        !read_bcd(data, (size_t)(end - data), &digits, &negative))
        return false;
    return decimal__finish(out, negative, wide_of(digits), (int)scale) == 0;
}

/* ----------------------------------------------------------------------------------- looking */

static int sign_of(const struct decimal *value)
{
    return value->negative ? -1 : !decimal_is_zero(value);
}

static struct wide scaled(const struct decimal *value, unsigned digits)
{
    struct wide result = wide_of(decimal__coefficient(value));
    wide_scale(&result, digits);
    return result;
}

static int compare_magnitudes(const struct decimal *left, const struct decimal *right)
{
    if (left->scale == right->scale)
        return decimal__coefficient(left) < decimal__coefficient(right)   ? -1
               : decimal__coefficient(left) > decimal__coefficient(right) ? 1
                                                                          : 0;
    unsigned scale = left->scale > right->scale ? left->scale : right->scale;
    struct wide a = scaled(left, scale - left->scale), b = scaled(right, scale - right->scale);
    return wide_compare(&a, &b);
}

int decimal_compare(const struct decimal *left, const struct decimal *right)
{
    int sign = sign_of(left), other = sign_of(right);
    if (sign != other)
        return sign < other ? -1 : 1;
    return sign * compare_magnitudes(left, right);
}

/* |left| with mantissa * 2^exponent, which is from 2^-140 to the double 1e38. */
static int compare_binary(const struct decimal *left, uint64_t mantissa, int exponent)
{
    struct wide a = wide_of(decimal__coefficient(left)), b = wide_of(mantissa);
    wide_shift_left(exponent < 0 ? &a : &b, (unsigned)abs(exponent));
    wide_scale(&b, left->scale);
    return wide_compare(&a, &b);
}

/* When the signs do not tell already: -2 when they don't, else the order. */
static int compare_signs(const struct decimal *left, double right)
{
    int sign = sign_of(left), other = right < 0 ? -1 : right > 0;
    if (sign != other)
        return sign < other ? -1 : 1;
    if (sign == 0)
        return 0;
    if (fabs(right) > 1e38) /* this double is just below 10^38 */
        return -sign;
    return fabs(right) < 0x1p-140 ? sign : -2;
}

int decimal_compare_double(const struct decimal *left, double right)
{
    int order = compare_signs(left, right), exponent;
    if (order != -2)
        return order;
    double mantissa = frexp(fabs(right), &exponent);
    order = compare_binary(left, (uint64_t)(mantissa * 0x1p53), exponent - 53);
    return left->negative ? -order : order;
}

int decimal_compare_shortest(const struct decimal *left, double right)
{
    char text[NUMBER_TEXT_MAX];
    struct written written;
    int order = compare_signs(left, right);
    if (order != -2)
        return order;
    bool read = read_number(text, number_write_double(text, right), &written);
    ASSERT(read);
    int scale = written.scale > left->scale ? written.scale : left->scale;
    struct wide a = scaled(left, (unsigned)scale - left->scale);
    wide_scale(&written.digits, (unsigned)(scale - written.scale));
    order = wide_compare(&a, &written.digits);
    return left->negative ? -order : order;
}

unsigned decimal_precision(const struct decimal *value)
{
    unsigned digits = wide_digits_u128(decimal__coefficient(value));
    unsigned result = digits > value->scale ? digits : value->scale;
    return result > 0 ? result : 1;
}

/* The magnitude as an integer; false when it has a fraction. */
static bool integral_magnitude(const struct decimal *value, wide_u128 *out)
{
    wide_u128 power = wide_power_of_10(value->scale);
    *out = decimal__coefficient(value);
    if (value->scale == 0)
        return true;
    bool integral = *out % power == 0;
    *out /= power;
    return integral;
}

bool decimal_to_uint(const struct decimal *value, uint64_t *out)
{
    wide_u128 magnitude;
    if (value->negative || !integral_magnitude(value, &magnitude) || magnitude > UINT64_MAX)
        return false;
    *out = (uint64_t)magnitude;
    return true;
}

bool decimal_to_int(const struct decimal *value, int64_t *out)
{
    wide_u128 magnitude;
    if (!integral_magnitude(value, &magnitude) || magnitude > (uint64_t)INT64_MAX + value->negative)
        return false;
    *out = value->negative ? (int64_t) - (uint64_t)magnitude : (int64_t)magnitude;
    return true;
}

double decimal_to_double(const struct decimal *value)
{
    /* No point is written, so that the locale does not matter. */
    char text[DECIMAL_DIGITS + 8] = "0";
    unsigned size = write_digits(decimal__coefficient(value), text);
    if (size > 0) {
        text[size] = 'e';
        text[size + 1] = '-';
        text[size + 2 + number_write_uint(text + size + 2, value->scale)] = '\0';
    }
    double result = strtod(text, NULL);
    return value->negative ? -result : result;
}

/* The neighbour of a double that is not 0: away from zero, or towards it. */
static double neighbour(double value, bool away)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    bits += away ? 1 : -1ull;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

double decimal_floor_double(const struct decimal *value)
{
    long double estimate = (long double)value->high * 0x1p64L + (long double)value->low;
    long double power = 1;
    if (decimal_is_zero(value))
        return 0;
    for (unsigned i = 0; i < value->scale; i++)
        power *= 10;
    double result = (double)(value->negative ? -estimate / power : estimate / power);
    while (decimal_compare_double(value, result) < 0)
        result = neighbour(result, value->negative);
    for (;;) {
        double above = neighbour(result, !value->negative);
        if (decimal_compare_double(value, above) < 0)
            return result;
        result = above;
    }
}

unsigned char *decimal_order_encode(const struct decimal *value, unsigned char *out)
{
    char digits[DECIMAL_DIGITS + 2];
    unsigned count = write_digits(decimal__coefficient(value), digits);
    unsigned char flip = value->negative ? 0xff : 0;

    if (count == 0) {
        *out++ = ORDER_ZERO;
        return out;
    }
    int exponent = (int)count - value->scale;
    while (digits[count - 1] == '0')
        count--;
    if (count % 2 != 0)
        digits[count++] = '0';
    *out++ = (unsigned char)((ORDER_ZERO + 1 + ORDER_EXPONENT_BIAS + exponent) ^ flip);
    for (unsigned i = 0; i < count; i += 2)
        *out++ = (unsigned char)(((digits[i] - '0') * 10 + digits[i + 1] - '0' + 1) ^ flip);
    *out++ = flip;
    return out;
}

bool decimal_order_decode(struct decimal *out, const unsigned char **data, const unsigned char *end)
{
    const unsigned char *at = *data;
    wide_u128 digits = 0;
    unsigned count = 0;

    if (at == end)
        return false;
    unsigned char first = *at++, flip = first < ORDER_ZERO ? 0xff : 0;
    if (first == ORDER_ZERO) {
        *out = decimal__make(false, 0, 0);
        *data = at;
        return true;
    }
    int exponent = (first ^ flip) - (ORDER_ZERO + 1 + ORDER_EXPONENT_BIAS);
    for (; at < end && *at != flip; at++, count += 2) {
        unsigned pair = (unsigned)(*at ^ flip) - 1;
        if (pair > 99 || count >= DECIMAL_DIGITS || (count == 0 && pair < 10))
            return false;
        digits = digits * 100 + pair;
    }
    if (at++ == end || count == 0 || digits % 100 == 0 || exponent > ORDER_EXPONENT_MAX)
        return false;
    int scale = (int)count - exponent;
    if (digits % 10 == 0) {
        digits /= 10;
        scale--;
    }
    if (scale > DECIMAL_DIGITS || decimal__finish(out, flip != 0, wide_of(digits), scale) != 0)
        return false;
    *data = at;
    return true;
}

/* -------------------------------------------------------------------------------- arithmetic */

/* The sum of two numbers of these signs and of one scale. */
static int add_wide(struct decimal *out, bool negative, struct wide *left, bool other_negative,
                    struct wide *right, int scale)
{
    if (negative == other_negative) {
        wide_add(left, right);
        return decimal__finish(out, negative, *left, scale);
    }
    if (wide_compare(left, right) >= 0) {
        wide_subtract(left, right);
        return decimal__finish(out, negative, *left, scale);
    }
    wide_subtract(right, left);
    return decimal__finish(out, other_negative, *right, scale);
}

/* Both coefficients below 2^64, as most are. */
static bool add_small(struct decimal *out, const struct decimal *left, const struct decimal *right,
                      bool right_negative)
{
    if ((left->high | right->high) != 0 || left->scale != right->scale)
        return false;
    wide_u128 a = left->low, b = right->low;
    if (left->negative == right_negative)
        *out = decimal__make(left->negative, a + b, left->scale);
    else if (a >= b)
        *out = decimal__make(left->negative, a - b, left->scale);
    else
        *out = decimal__make(right_negative, b - a, left->scale);
    return true;
}

static int add(struct decimal *out, const struct decimal *left, const struct decimal *right,
               bool right_negative)
{
    if (add_small(out, left, right, right_negative))
        return 0;
    int scale = left->scale > right->scale ? left->scale : right->scale;
    struct wide a = scaled(left, (unsigned)scale - left->scale);
    struct wide b = scaled(right, (unsigned)scale - right->scale);
    return add_wide(out, left->negative, &a, right_negative, &b, scale);
}

int decimal_add(struct decimal *out, const struct decimal *left, const struct decimal *right)
{
    return add(out, left, right, right->negative);
}

int decimal_subtract(struct decimal *out, const struct decimal *left, const struct decimal *right)
{
    return add(out, left, right, !right->negative);
}

int decimal_multiply(struct decimal *out, const struct decimal *left, const struct decimal *right)
{
    struct wide a = wide_of(decimal__coefficient(left)), b = wide_of(decimal__coefficient(right));
    return decimal__finish(out, left->negative != right->negative, wide_multiply(&a, &b),
                           left->scale + right->scale);
}

int decimal_divide(struct decimal *out, const struct decimal *left, const struct decimal *right)
{
    if (decimal_is_zero(right))
        return ERROR_INVALID;
    struct wide rest = wide_of(decimal__coefficient(left)),
                divisor = wide_of(decimal__coefficient(right));
    int scale = left->scale - right->scale;
    /* So many zeros behind the dividend that the quotient has a digit more than is kept. */
    int zeros = DECIMAL_DIGITS + 1 + (int)wide_digits(&divisor) - (int)wide_digits(&rest);
    wide_scale(&rest, (unsigned)zeros);
    struct wide quotient = wide_divide(&rest, &divisor);
    int ideal = scale > 0 ? scale : 0;
    scale += zeros;
    if (wide_is_zero(&rest)) {
        while (scale > ideal) {
            struct wide shorter = quotient;
            if (wide_divide_small(&shorter, 10) != 0)
                break;
            quotient = shorter;
            scale--;
        }
    }
    return decimal__finish(out, left->negative != right->negative, quotient, scale);
}

int decimal_remainder(struct decimal *out, const struct decimal *left, const struct decimal *right)
{
    if (decimal_is_zero(right))
        return ERROR_INVALID;
    int scale = left->scale > right->scale ? left->scale : right->scale;
    struct wide rest = scaled(left, (unsigned)scale - left->scale);
    struct wide divisor = scaled(right, (unsigned)scale - right->scale);
    wide_divide(&rest, &divisor);
    return decimal__finish(out, left->negative, rest, scale);
}

void decimal_negate(struct decimal *out, const struct decimal *value)
{
    *out = decimal__make(!value->negative, decimal__coefficient(value), value->scale);
}

void decimal_abs(struct decimal *out, const struct decimal *value)
{
    *out = decimal__make(false, decimal__coefficient(value), value->scale);
}

void decimal_round(struct decimal *out, const struct decimal *value, unsigned scale,
                   enum decimal_rounding rounding)
{
    if (scale >= value->scale) {
        *out = *value;
        return;
    }
    wide_u128 power = wide_power_of_10(value->scale - scale);
    wide_u128 kept = decimal__coefficient(value) / power,
              rest = decimal__coefficient(value) % power;
    bool up = (rounding == DECIMAL_HALF_UP && rest >= power - rest) ||
              (rounding == DECIMAL_FLOOR && rest != 0 && value->negative) ||
              (rounding == DECIMAL_CEILING && rest != 0 && !value->negative);
    *out = decimal__make(value->negative, kept + up, scale);
}

int decimal_rescale(struct decimal *out, const struct decimal *value, unsigned scale)
{
    if (scale <= value->scale) {
        decimal_round(out, value, scale, DECIMAL_HALF_UP);
        return 0;
    }
    unsigned zeros = scale - value->scale;
    if (scale > DECIMAL_DIGITS ||
        wide_digits_u128(decimal__coefficient(value)) + zeros > DECIMAL_DIGITS)
        return ERROR_TOO_LARGE;
    *out = decimal__make(value->negative, decimal__coefficient(value) * wide_power_of_10(zeros),
                         scale);
    return 0;
}

void decimal_trim(struct decimal *out, const struct decimal *value)
{
    wide_u128 digits = decimal__coefficient(value);
    unsigned scale = digits == 0 ? 0 : value->scale;
    for (; scale > 0 && digits % 10 == 0; scale--)
        digits /= 10;
    *out = decimal__make(value->negative, digits, scale);
}
