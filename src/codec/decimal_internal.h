/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_DECIMAL_INTERNAL_H
#define CODEC_DECIMAL_INTERNAL_H

/* What the files of decimal share. */
#include "codec/decimal.h"
#include "codec/wide.h"

static inline wide_u128 decimal__coefficient(const struct decimal *value)
{
    return (wide_u128)value->high << 64 | value->low;
}

/* *out = digits / 10^scale, rounded to what fits; 0 or ERROR_TOO_LARGE. */
int decimal__finish(struct decimal *out, bool negative, struct wide digits, int scale);

/* digits / 10^scale, which is a decimal. */
struct decimal decimal__make(bool negative, wide_u128 digits, unsigned scale);

#endif
