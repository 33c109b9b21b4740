/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_INCREMENT_H
#define REDIS_REDIS_INCREMENT_H

/*
 * Adding fractions to numbers that are kept as text: what INCRBYFLOAT and HINCRBYFLOAT share. Redis
 * calculates in 80 bits and writes 17 places without zeros at the end, so this does.
 */
#include <stdbool.h>
#include <stddef.h>

/* A number as these commands read it: what strtold reads whole, no blanks in front, not nan, not one
 * that is too great or too small. */
bool redis_increment_parse(const char *text, size_t size, long double *out);

enum { REDIS_INCREMENT_TEXT_MAX = 5 * 1024 };

/* Writes a finite number to `out`; how many bytes. */
size_t redis_increment_format(long double value, char out[REDIS_INCREMENT_TEXT_MAX]);

#endif
