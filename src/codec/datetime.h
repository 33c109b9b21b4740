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

#include "codec/interval.h"

#define DATETIME_SECONDS_MIN (-INT64_C(185604722870400)) /* -5879610-06-22T00:00:00Z */
#define DATETIME_SECONDS_MAX INT64_C(185480451590399)    /* 5879611-07-11T23:59:59Z */

enum {
    DATETIME_EXT = 4,
    DATETIME_MP_MAX = 18,       /* bytes of a MessagePack value at most */
    DATETIME_OFFSET_MIN = -720, /* minutes */
    DATETIME_OFFSET_MAX = 840,
    DATETIME_TEXT_MAX = 48,
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

/* ------------------------------------------------------------------------------------ calendar */

/* What a clock and a calendar at the offset show. Gregorian, also before it was. */
struct datetime_fields {
    int64_t year;
    int32_t month, day;     /* from 1 */
    int32_t hour, min, sec; /* a leap second, 60, is taken as the next minute's 0 */
    int32_t nsec;
    int32_t wday; /* 1 Sunday to 7; only given */
    int32_t yday; /* from 1; only given */
};

void datetime_split(const struct datetime *value, struct datetime_fields *out);

/* The instant at which a clock at `tzoffset` shows this; ERROR_INVALID: there is no such day or
 * time, or it is out of range. */
int datetime_join(struct datetime *out, const struct datetime_fields *fields, int tzoffset);

int datetime_days_in_month(int64_t year, int month);

/*
 * *out = value + sign * interval, from years down to nanoseconds as a calendar at the offset shows
 * them; the day of the month is adjusted as the interval says. ERROR_TOO_LARGE: out of range.
 */
int datetime_add(struct datetime *out, const struct datetime *value,
                 const struct interval *interval, int sign);

/* left - right, field by field, with days in excess: right + *out is the instant left. */
void datetime_subtract(struct interval *out, const struct datetime *left,
                       const struct datetime *right);

/* ------------------------------------------------------------------------------ datetime_text.c */

/* "1970-01-01T03:00:00.125+0300": 3, 6 or 9 digits of a fraction or none, "Z" at offset 0. At most
 * DATETIME_TEXT_MAX characters; their number. */
size_t datetime_print(const struct datetime *value, char *out);

/*
 * Parses a date and time of ISO 8601: YYYY-MM-DD or YYYYMMDD, then perhaps T or a space and hh,
 * hh:mm, hh:mm:ss or hh:mm:ss.fraction (or hhmm, hhmmss), then perhaps Z, +hh, +hhmm or +hh:mm;
 * without it it is a time at `tzoffset`. `rfc3339` demands the whole: all but the fraction, with -
 * and :. ERROR_INVALID: something else.
 */
int datetime_parse(struct datetime *out, const char *text, size_t size, int tzoffset, bool rfc3339);

/*
 * Reads a text as strptime does, in English, with %f for the fraction of a second (%3f: of 3 digits
 * at most), %z as above and %Z for UTC, GMT and Z. What the format does not say is
 * 1970-01-01T00:00:00 at `tzoffset`. *used is how much of the text the format took. ERROR_INVALID:
 * the text is not like that; ERROR_UNSUPPORTED: the format is not known.
 */
int datetime_scan(struct datetime *out, const char *text, size_t size, const char *format,
                  size_t format_size, int tzoffset, size_t *used);

/* Writes as strftime does, in English, with %f (9 digits; %3f: 3) for the fraction of a second.
 * ERROR_TOO_LARGE: more than `room` characters; ERROR_UNSUPPORTED: the format is not known. */
int datetime_format(const struct datetime *value, const char *format, size_t format_size, char *out,
                    size_t room, size_t *used);

/* The offset of "Z", "UTC", "GMT", "+hh", "+hhmm", "+hh:mm" (in any case), the whole text; false
 * for another name. */
bool datetime_zone(const char *text, size_t size, int *tzoffset);

#endif
