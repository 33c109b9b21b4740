/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_NUMBER_H
#define REDIS_REDIS_NUMBER_H

/* Floating-point numbers as Redis reads and writes them. */
#include <stdbool.h>
#include <stddef.h>

#include "redis/redis.h"

/* The shortest text that reads back as the same double (number_write_double); how many bytes. */
size_t redis_double_format(double value, char out[32]);

/* A double as Redis reads it: what strtod reads whole, no blanks in front, "inf", "+inf", "-inf"
 * regardless of case; nan is none, nor what is
 * too large for one or too close to 0. */
bool redis_double_parse(const char *text, size_t size, double *out);

/* argv[n] as a score or increment; ERROR_INVALID with "value is not a valid float". */
int redis_double_arg(const struct redis_call *call, unsigned n, double *out);

#endif
