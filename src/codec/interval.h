/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_INTERVAL_H
#define CODEC_INTERVAL_H

/*
 * Differences between instants, by unit: a month is not a number of days. Intervals have no order.
 *
 * In MessagePack ext type 6: the number of the fields that are not 0 in one byte, then for each its
 * number (the order of the struct, from 0) and its value as MessagePack integers.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    INTERVAL_EXT = 6,
    INTERVAL_MP_MAX = 96, /* bytes of a MessagePack value at most */
    INTERVAL_TEXT_MAX = 256,
};

/* What becomes of the day when a month is added and the new one has fewer days. */
enum interval_adjust {
    INTERVAL_EXCESS, /* they run over: 31 January and a month is 3 March, or the 2nd */
    INTERVAL_NONE,   /* the last day of the month: 29 February, or the 28th */
    INTERVAL_LAST,   /* the same, and the last day of a month stays the last: 28 February is 31
                        March a month later */
};

enum interval_field {
    INTERVAL_YEAR,
    INTERVAL_MONTH,
    INTERVAL_WEEK,
    INTERVAL_DAY,
    INTERVAL_HOUR,
    INTERVAL_MIN,
    INTERVAL_SEC,
    INTERVAL_NSEC,
    INTERVAL_FIELDS,
    INTERVAL_ADJUST = INTERVAL_FIELDS
};

struct interval {
    int64_t field[INTERVAL_FIELDS]; /* by enum interval_field */
    int64_t adjust;                 /* enum interval_adjust */
};

/* Whether every field is in its range: as many years as there are between the first and the last
 * date, as many months, weeks, .. seconds as are in these; an int32 of nanoseconds. */
bool interval_is_valid(const struct interval *value);

/* *out = left + sign * right, field by field, adjusting as left does. 0 or ERROR_TOO_LARGE. */
int interval_add(struct interval *out, const struct interval *left, const struct interval *right,
                 int sign);

/* Whether the fields are equal, apart from `adjust`. */
bool interval_equal(const struct interval *left, const struct interval *right);

/* "+1 years, -2 months, +3.5 seconds", "0 seconds" for nothing: at most INTERVAL_TEXT_MAX
 * characters; their number. */
size_t interval_print(const struct interval *value, char *out);

/* Writes at most INTERVAL_MP_MAX bytes; their end. */
char *interval_pack(char *out, const struct interval *value);

/* Reads the payload of an ext value of type INTERVAL_EXT; false when it is malformed or not in
 * range. */
bool interval_unpack(struct interval *out, const char *data, size_t size);

#endif
