/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_DATETIME_H
#define CODEC_DATETIME_H

/*
 * Instants with nanoseconds and the offset from UTC in which they are shown, or the time zone
 * (codec/zone_names.h), by which the offset follows from the instant.
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
    DATETIME_TEXT_MAX = 80,
};

/*
 * Where the functions below take a `zone`, it is an offset in minutes, or DATETIME_NAMED and the
 * number of a time zone. An unknown number, or one whose rules can't be read, is ERROR_NOT_FOUND.
 */
enum { DATETIME_NAMED = 10000 };

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

/*
 * The instant at which a clock in `zone` shows this; ERROR_INVALID: there is no such day or time, or
 * it is out of range. Of two instants, when clocks were put back, it is the first; a time that they
 * left out is taken by the offset before, so that they show a later one.
 */
int datetime_join(struct datetime *out, const struct datetime_fields *fields, int zone);

/* Shows the same instant in `zone`. ERROR_INVALID: there is no such offset. */
int datetime_move(struct datetime *value, int zone);

/* The zone that the value is in; its offset when the number of its zone is not known here. */
int datetime_zone_of(const struct datetime *value);

/* Whether summer's time holds in the value's zone. */
bool datetime_is_summer(const struct datetime *value);

int datetime_days_in_month(int64_t year, int month);

/*
 * *out = value + sign * interval: years, months, weeks and days as a calendar in the zone has them,
 * so that its clocks show the same time (or as datetime_join says); the rest in seconds that pass.
 * The day of the month is adjusted as the interval says. ERROR_TOO_LARGE: out of range.
 */
int datetime_add(struct datetime *out, const struct datetime *value,
                 const struct interval *interval, int sign);

/* left - right, field by field, with days in excess: right + *out is the instant left. */
void datetime_subtract(struct interval *out, const struct datetime *left,
                       const struct datetime *right);

/* ------------------------------------------------------------------------------ datetime_text.c */

/*
 * "1970-01-01T03:00:00.125+0300": 3, 6 or 9 digits of a fraction or none, "Z" at offset 0. A name
 * stands for the offset, "1970-01-01T03:00:00 Europe/Moscow", where it leads back to the instant. At
 * most DATETIME_TEXT_MAX characters; their number.
 */
size_t datetime_print(const struct datetime *value, char *out);

/*
 * Parses a date and time of ISO 8601: YYYY-MM-DD or YYYYMMDD, then perhaps T or a space and hh,
 * hh:mm, hh:mm:ss or hh:mm:ss.fraction (or hhmm, hhmmss), then perhaps Z, +hh, +hhmm, +hh:mm
 * or the name of a zone; without it it is a time in `zone`. `rfc3339` demands the whole: all but the
 * fraction, with - and :, and no name. ERROR_INVALID: something else.
 */
int datetime_parse(struct datetime *out, const char *text, size_t size, int zone, bool rfc3339);

/*
 * Reads a text as strptime does, in English, with %f for the fraction of a second (%3f: of 3 digits
 * at most), %z as above and %Z for names and offsets. What the format does not say
 * is 1970-01-01T00:00:00 in `zone`. *used is how much of the text the format took. ERROR_INVALID:
 * the text is not like that; ERROR_UNSUPPORTED: the format is not known.
 */
int datetime_scan(struct datetime *out, const char *text, size_t size, const char *format,
                  size_t format_size, int zone, size_t *used);

/* Writes as strftime does, in English, with %f (9 digits; %3f: 3) for the fraction of a second.
 * ERROR_TOO_LARGE: more than `room` characters; ERROR_UNSUPPORTED: the format is not known. */
int datetime_format(const struct datetime *value, const char *format, size_t format_size, char *out,
                    size_t room, size_t *used);

/* The zone that "Z", "UTC", "GMT", "+hh", "+hhmm", "+hh:mm" (in any case) or a name is, the whole
 * text; false for another one. */
bool datetime_zone(const char *text, size_t size, int *zone);

#endif
