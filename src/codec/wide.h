/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_WIDE_H
#define CODEC_WIDE_H

/*
 * Unsigned integers of 768 bits, for what decimals compute on the way to 38 digits: products,
 * quotients, exact comparisons with doubles, and fixed-point numbers of which the lower 320 bits
 * are the fraction. Twelve limbs, least significant first. What does not fit is the caller's
 * mistake: each function says what it asserts. Shared by the files of decimal only.
 */
#include <stdbool.h>
#include <stdint.h>

enum { WIDE_LIMBS = 12 };

struct wide {
    uint64_t limb[WIDE_LIMBS];
};

typedef unsigned __int128 wide_u128;

struct wide wide_of(wide_u128 value);

/* The lower 128 bits. */
wide_u128 wide_low(const struct wide *value);

bool wide_is_zero(const struct wide *value);

/* 0 for 0, else the position of the highest bit, counted from 1. */
unsigned wide_bits(const struct wide *value);

/* Negative, 0, positive. */
int wide_compare(const struct wide *left, const struct wide *right);

/* left += right, left -= right; neither may leave the range. */
void wide_add(struct wide *left, const struct wide *right);
void wide_subtract(struct wide *left, const struct wide *right);

/* The product, which must fit. */
struct wide wide_multiply(const struct wide *left, const struct wide *right);

/* value *= 10^digits, which must fit; digits is any number. */
void wide_scale(struct wide *value, unsigned digits);

/* Bits beyond the ends are dropped. */
void wide_shift_left(struct wide *value, unsigned bits);
void wide_shift_right(struct wide *value, unsigned bits);

/* value /= divisor; returns the remainder. */
uint64_t wide_divide_small(struct wide *value, uint64_t divisor);

/* The quotient; *value becomes the remainder. The divisor is not 0. */
struct wide wide_divide(struct wide *value, const struct wide *divisor);

/* 10^digits for digits up to 38. */
wide_u128 wide_power_of_10(unsigned digits);

/* Decimal digits: 0 for 0. */
unsigned wide_digits(const struct wide *value);
unsigned wide_digits_u128(wide_u128 value);

#endif
