/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_NUMBER_H
#define CODEC_NUMBER_H

/*
 * Numbers as decimal text and back, independent of the locale.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most bytes that one of the writers below needs. */
enum { NUMBER_TEXT_MAX = 32 };

/* 10 to the power of the place. */
extern const uint64_t number_powers_of_10[20];

/* Each writes to `out`, without a final NUL, and returns the size. */
size_t number_write_uint(char *out, uint64_t value);
size_t number_write_int(char *out, int64_t value);

/*
 * The shortest digits from which the same double is read again: an integer up to 2^52 plainly,
 * others as 0.1, 12.5 or 1e+21 (the form that Redis replies with); inf, -inf, nan.
 */
size_t number_write_double(char *out, double value);

/* Reads all of text[0..size) as an integer: an optional minus, no leading zeros, no plus, no
 * spaces. False when it is not one or does not fit. */
bool number_read_int(const char *text, size_t size, int64_t *out);

#endif
