/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_DATETIME_H
#define CODEC_DATETIME_H

/*
 * Instants with nanoseconds and the offset from UTC in which they are shown.
 *
 * In MessagePack ext type 4: the seconds since 1970 (UTC) as an int64, then, unless all three are
 * 0, the nanoseconds as an int32, the offset in minutes and the number of a time zone as int16;
 * all little-endian.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATETIME_SECONDS_MIN (-INT64_C(185604722870400)) /* -5879610-06-22T00:00:00Z */
#define DATETIME_SECONDS_MAX INT64_C(185480451590399)    /* 5879611-07-11T23:59:59Z */

enum {
    DATETIME_EXT = 4,
    DATETIME_MP_MAX = 18,       /* bytes of a MessagePack value at most */
    DATETIME_OFFSET_MIN = -720, /* minutes */
    DATETIME_OFFSET_MAX = 840,
};

struct datetime {
    int64_t seconds;
    int32_t nsec;     /* 0 to 999999999 */
    int16_t tzoffset; /* minutes east of UTC */
    int16_t tzindex;  /* the number of a named time zone; 0: none */
};

/* Whether all fields are in their ranges. */
bool datetime_is_valid(const struct datetime *value);

/* Negative, 0, positive, by the instant alone. */
int datetime_compare(const struct datetime *left, const struct datetime *right);

/* Writes at most DATETIME_MP_MAX bytes; their end. */
char *datetime_pack(char *out, const struct datetime *value);

/* Reads the payload of an ext value of type DATETIME_EXT; false when it is malformed or not in
 * range. */
bool datetime_unpack(struct datetime *out, const char *data, size_t size);

#endif
