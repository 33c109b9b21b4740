/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schoolbook arithmetic; the numbers have at most twelve limbs and mostly two to five, so loops
 * stop at the highest limb in use. Division is Knuth's algorithm D (The Art of Computer Programming
 * 2, 4.3.1), with the compiler's division of 128 bits by 64.
 */
#include "codec/wide.h"

#include <string.h>

#include "base/assert.h"
#include "codec/number.h"

struct wide wide_of(wide_u128 value)
{
    return (struct wide){{(uint64_t)value, (uint64_t)(value >> 64)}};
}

wide_u128 wide_low(const struct wide *value)
{
    return (wide_u128)value->limb[1] << 64 | value->limb[0];
}

/* Limbs in use. */
static unsigned limbs(const struct wide *value)
{
    unsigned count = WIDE_LIMBS;
    while (count > 0 && value->limb[count - 1] == 0)
        count--;
    return count;
}

bool wide_is_zero(const struct wide *value)
{
    return limbs(value) == 0;
}

unsigned wide_bits(const struct wide *value)
{
    unsigned count = limbs(value);
    return count == 0 ? 0 : 64 * count - (unsigned)__builtin_clzll(value->limb[count - 1]);
}

int wide_compare(const struct wide *left, const struct wide *right)
{
    for (int i = WIDE_LIMBS - 1; i >= 0; i--) {
        if (left->limb[i] != right->limb[i])
            return left->limb[i] < right->limb[i] ? -1 : 1;
    }
    return 0;
}

void wide_add(struct wide *left, const struct wide *right)
{
    wide_u128 carry = 0;
    for (unsigned i = 0; i < WIDE_LIMBS; i++) {
        carry += (wide_u128)left->limb[i] + right->limb[i];
        left->limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    ASSERT(carry == 0);
}

void wide_subtract(struct wide *left, const struct wide *right)
{
    uint64_t borrow = 0;
    for (unsigned i = 0; i < WIDE_LIMBS; i++) {
        wide_u128 difference = (wide_u128)left->limb[i] - right->limb[i] - borrow;
        left->limb[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    ASSERT(borrow == 0);
}

struct wide wide_multiply(const struct wide *left, const struct wide *right)
{
    struct wide result = {{0}};
    unsigned left_count = limbs(left), right_count = limbs(right);
    for (unsigned i = 0; i < left_count; i++) {
        uint64_t carry = 0;
        for (unsigned j = 0; j < right_count && i + j < WIDE_LIMBS; j++) {
            wide_u128 sum = (wide_u128)left->limb[i] * right->limb[j] + result.limb[i + j] + carry;
            result.limb[i + j] = (uint64_t)sum;
            carry = (uint64_t)(sum >> 64);
        }
        ASSERT(i + right_count <= WIDE_LIMBS);
        if (i + right_count < WIDE_LIMBS)
            result.limb[i + right_count] = carry;
        else
            ASSERT(carry == 0);
    }
    return result;
}

static void multiply_small(struct wide *value, uint64_t factor)
{
    uint64_t carry = 0;
    for (unsigned i = 0; i < WIDE_LIMBS; i++) {
        wide_u128 product = (wide_u128)value->limb[i] * factor + carry;
        value->limb[i] = (uint64_t)product;
        carry = (uint64_t)(product >> 64);
    }
    ASSERT(carry == 0);
}

void wide_scale(struct wide *value, unsigned digits)
{
    for (; digits > 19; digits -= 19)
        multiply_small(value, number_powers_of_10[19]);
    multiply_small(value, number_powers_of_10[digits]);
}

void wide_shift_left(struct wide *value, unsigned bits)
{
    unsigned whole = bits / 64, rest = bits % 64;
    for (int i = WIDE_LIMBS - 1; i >= 0; i--) {
        int from = i - (int)whole;
        uint64_t high = from >= 0 ? value->limb[from] : 0;
        uint64_t low = from >= 1 ? value->limb[from - 1] : 0;
        value->limb[i] = rest == 0 ? high : high << rest | low >> (64 - rest);
    }
}

void wide_shift_right(struct wide *value, unsigned bits)
{
    unsigned whole = bits / 64, rest = bits % 64;
    for (unsigned i = 0; i < WIDE_LIMBS; i++) {
        unsigned from = i + whole;
        uint64_t low = from < WIDE_LIMBS ? value->limb[from] : 0;
        uint64_t high = from + 1 < WIDE_LIMBS ? value->limb[from + 1] : 0;
        value->limb[i] = rest == 0 ? low : low >> rest | high << (64 - rest);
    }
}

uint64_t wide_divide_small(struct wide *value, uint64_t divisor)
{
    wide_u128 rest = 0;
    for (unsigned i = limbs(value); i-- > 0;) {
        rest = rest << 64 | value->limb[i];
        value->limb[i] = (uint64_t)(rest / divisor);
        rest %= divisor;
    }
    return (uint64_t)rest;
}

/* One limb of the quotient: upper[0..count] -= digit * divisor, the digit corrected. */
static uint64_t divide_step(uint64_t *upper, const uint64_t *divisor, unsigned count)
{
    wide_u128 top = (wide_u128)upper[count] << 64 | upper[count - 1];
    wide_u128 digit = top / divisor[count - 1], rest = top % divisor[count - 1];
    while (digit >> 64 != 0 || digit * divisor[count - 2] > (rest << 64 | upper[count - 2])) {
        digit--;
        rest += divisor[count - 1];
        if (rest >> 64 != 0)
            break;
    }
    uint64_t carry = 0, borrow = 0;
    for (unsigned i = 0; i <= count; i++) {
        wide_u128 product = (wide_u128)(uint64_t)digit * (i < count ? divisor[i] : 0) + carry;
        carry = (uint64_t)(product >> 64);
        wide_u128 difference = (wide_u128)upper[i] - (uint64_t)product - borrow;
        upper[i] = (uint64_t)difference;
        borrow = (uint64_t)(difference >> 64) & 1;
    }
    if (borrow == 0)
        return (uint64_t)digit;
    wide_u128 sum = 0;
    for (unsigned i = 0; i <= count; i++) {
        sum += (wide_u128)upper[i] + (i < count ? divisor[i] : 0);
        upper[i] = (uint64_t)sum;
        sum >>= 64;
    }
    return (uint64_t)digit - 1;
}

struct wide wide_divide(struct wide *value, const struct wide *divisor)
{
    struct wide quotient = {{0}}, normal = *divisor;
    unsigned count = limbs(divisor), value_count = limbs(value);

    ASSERT(count > 0);
    if (count == 1) {
        quotient = *value;
        *value = wide_of(wide_divide_small(&quotient, divisor->limb[0]));
        return quotient;
    }
    if (value_count < count)
        return quotient;
    unsigned shift = (unsigned)__builtin_clzll(divisor->limb[count - 1]);
    uint64_t rest[WIDE_LIMBS + 1] = {0};
    wide_shift_left(&normal, shift);
    for (unsigned i = 0; i <= value_count; i++) {
        uint64_t high = i < value_count ? value->limb[i] : 0;
        uint64_t low = i > 0 ? value->limb[i - 1] : 0;
        rest[i] = shift == 0 ? high : high << shift | low >> (64 - shift);
    }
    for (unsigned i = value_count - count + 1; i-- > 0;)
        quotient.limb[i] = divide_step(rest + i, normal.limb, count);
    memcpy(value->limb, rest, sizeof(value->limb));
    wide_shift_right(value, shift);
    return quotient;
}

wide_u128 wide_power_of_10(unsigned digits)
{
    ASSERT(digits <= 38);
    return digits <= 19 ? number_powers_of_10[digits]
                        : (wide_u128)number_powers_of_10[19] * number_powers_of_10[digits - 19];
}

unsigned wide_digits_u128(wide_u128 value)
{
    uint64_t high = (uint64_t)(value >> 64), low = (uint64_t)value;
    if (value == 0)
        return 0;
    unsigned bits =
        high != 0 ? 128 - (unsigned)__builtin_clzll(high) : 64 - (unsigned)__builtin_clzll(low);
    /* 1233 / 4096 is a little below log10(2). */
    unsigned guess = bits * 1233 >> 12;
    return guess + (guess > 38 || value >= wide_power_of_10(guess));
}

unsigned wide_digits(const struct wide *value)
{
    if (limbs(value) <= 2)
        return wide_digits_u128(wide_low(value));
    unsigned guess = wide_bits(value) * 1233 >> 12;
    struct wide power = wide_of(1);
    wide_scale(&power, guess);
    return guess + (wide_compare(value, &power) >= 0);
}
