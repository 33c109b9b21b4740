/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datetimes as text: ISO 8601, and formats of strftime and strptime. The C library's are not used:
 * they know neither nanoseconds nor years beyond a few digits, and speak the language of the
 * process. Formats that stand for others (%T for %H:%M:%S) are written out and read by recursion,
 * which is one deep.
 */
#include "codec/datetime.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "codec/number.h"
#include "codec/zone_names.h"

static const char *const month_names[] = {"January",   "February", "March",    "April",
                                          "May",       "June",     "July",     "August",
                                          "September", "October",  "November", "December"};
static const char *const day_names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};

/* What a format letter stands for; NULL when it is one of its own. */
static const char *written_out(char letter)
{
    switch (letter) {
    case 'c':
        return "%a %b %e %H:%M:%S %Y";
    case 'D':
    case 'x':
        return "%m/%d/%y";
    case 'F':
        return "%Y-%m-%d";
    case 'R':
        return "%H:%M";
    case 'r':
        return "%I:%M:%S %p";
    case 'T':
    case 'X':
        return "%H:%M:%S";
    case 'v':
        return "%e-%b-%Y";
    case '+':
        return "%a %b %e %H:%M:%S %Z %Y";
    default:
        return NULL;
    }
}

/* ------------------------------------------------------------------------------------- writing */

struct writer {
    char *out;
    size_t size, room;
};

static int put(struct writer *writer, const char *text, size_t size)
{
    if (size > writer->room - writer->size)
        return ERROR_TOO_LARGE;
    memcpy(writer->out + writer->size, text, size);
    writer->size += size;
    return 0;
}

/* A number in at least `width` characters, filled with `fill` behind its sign. */
static int put_number(struct writer *writer, int64_t value, unsigned width, char fill)
{
    char digits[NUMBER_TEXT_MAX], text[NUMBER_TEXT_MAX + 12], *at = text;
    size_t size = number_write_uint(digits, (uint64_t)(value < 0 ? -value : value));
    if (value < 0)
        *at++ = '-';
    for (size_t filled = size; filled < width; filled++)
        *at++ = fill;
    memcpy(at, digits, size);
    return put(writer, text, (size_t)(at - text) + size);
}

static int put_offset(struct writer *writer, int offset, bool z)
{
    int minutes = offset < 0 ? -offset : offset;
    if (offset == 0 && z)
        return put(writer, "Z", 1);
    int rc = put(writer, offset < 0 ? "-" : "+", 1);
    return rc != 0 ? rc : put_number(writer, minutes / 60 * 100 + minutes % 60, 4, '0');
}

/* The first `digits` of the nine of a fraction. */
static int put_fraction(struct writer *writer, int32_t nsec, unsigned digits)
{
    char text[16];
    snprintf(text, sizeof(text), "%09" PRId32, nsec);
    return put(writer, text, digits);
}

/* The name of the value's zone, if that leads back to the instant: it may have been made by other
 * rules than those of today, or be the second of two. */
static const char *name_for(const struct datetime *value)
{
    const struct zone *zone = zone_of(value->tzindex);
    if (zone == NULL || zone_at(zone, value->seconds).tzoffset != value->tzoffset ||
        zone_instant(zone, value->seconds + value->tzoffset * 60, INT16_MAX) != value->seconds)
        return NULL;
    return zone_name(value->tzindex);
}

size_t datetime_print(const struct datetime *value, char *out)
{
    struct datetime_fields at;
    struct writer writer = {.out = out, .room = DATETIME_TEXT_MAX};

    datetime_split(value, &at);
    int rc = put_number(&writer, at.year, 4, '0');
    rc |= put(&writer, "-", 1) | put_number(&writer, at.month, 2, '0');
    rc |= put(&writer, "-", 1) | put_number(&writer, at.day, 2, '0');
    rc |= put(&writer, "T", 1) | put_number(&writer, at.hour, 2, '0');
    rc |= put(&writer, ":", 1) | put_number(&writer, at.min, 2, '0');
    rc |= put(&writer, ":", 1) | put_number(&writer, at.sec, 2, '0');
    if (at.nsec != 0) {
        unsigned digits = at.nsec % 1000000 == 0 ? 3 : at.nsec % 1000 == 0 ? 6 : 9;
        rc |= put(&writer, ".", 1) | put_fraction(&writer, at.nsec, digits);
    }
    const char *name = name_for(value);
    if (name == NULL)
        rc |= put_offset(&writer, value->tzoffset, true);
    else
        rc |= put(&writer, " ", 1) | put(&writer, name, strlen(name));
    return rc == 0 ? writer.size : 0;
}

/* The week of ISO 8601 (from Monday; the first has the year's first Thursday) and its year. */
static int iso_week(const struct datetime_fields *at, int64_t *year)
{
    int from_monday = (at->wday + 5) % 7, thursday = at->yday - 1 - from_monday + 3;
    int days = datetime_days_in_month(at->year, 2) + 337;
    int days_before = datetime_days_in_month(at->year - 1, 2) + 337;

    *year = at->year;
    if (thursday < 0) {
        (*year)--;
        return (thursday + days_before) / 7 + 1;
    }
    if (thursday >= days) {
        (*year)++;
        return 1;
    }
    return thursday / 7 + 1;
}

static int64_t century_of(int64_t year)
{
    return year / 100 - (year % 100 < 0);
}

static int put_name(struct writer *writer, const char *name, bool brief)
{
    return put(writer, name, brief ? 3 : strlen(name));
}

static int put_clock(struct writer *writer, const struct datetime_fields *at, char letter)
{
    int hour = at->hour % 12 == 0 ? 12 : at->hour % 12;
    switch (letter) {
    case 'H':
        return put_number(writer, at->hour, 2, '0');
    case 'I':
        return put_number(writer, hour, 2, '0');
    case 'k':
        return put_number(writer, at->hour, 2, ' ');
    case 'l':
        return put_number(writer, hour, 2, ' ');
    case 'M':
        return put_number(writer, at->min, 2, '0');
    case 'p':
        return put(writer, at->hour < 12 ? "AM" : "PM", 2);
    case 'S':
        return put_number(writer, at->sec, 2, '0');
    case 'n':
        return put(writer, "\n", 1);
    case 't':
        return put(writer, "\t", 1);
    case '%':
        return put(writer, "%", 1);
    default:
        return ERROR_UNSUPPORTED;
    }
}

static int put_calendar(struct writer *writer, const struct datetime_fields *at, char letter)
{
    int64_t year;
    int week = iso_week(at, &year);
    switch (letter) {
    case 'a':
    case 'A':
        return put_name(writer, day_names[at->wday - 1], letter == 'a');
    case 'b':
    case 'h':
    case 'B':
        return put_name(writer, month_names[at->month - 1], letter != 'B');
    case 'C':
        return put_number(writer, century_of(at->year), 2, '0');
    case 'd':
        return put_number(writer, at->day, 2, '0');
    case 'e':
        return put_number(writer, at->day, 2, ' ');
    case 'g':
        return put_number(writer, year - century_of(year) * 100, 2, '0');
    case 'G':
        return put_number(writer, year, 4, '0');
    case 'j':
        return put_number(writer, at->yday, 3, '0');
    case 'm':
        return put_number(writer, at->month, 2, '0');
    case 'u':
        return put_number(writer, at->wday == 1 ? 7 : at->wday - 1, 1, '0');
    case 'U':
        return put_number(writer, (at->yday + 6 - (at->wday - 1)) / 7, 2, '0');
    case 'V':
        return put_number(writer, week, 2, '0');
    case 'w':
        return put_number(writer, at->wday - 1, 1, '0');
    case 'W':
        return put_number(writer, (at->yday + 6 - (at->wday + 5) % 7) / 7, 2, '0');
    case 'y':
        return put_number(writer, at->year - century_of(at->year) * 100, 2, '0');
    case 'Y':
        return put_number(writer, at->year, 4, '0');
    default:
        return put_clock(writer, at, letter);
    }
}

static int put_zone(struct writer *writer, const struct datetime *value)
{
    const char *name = zone_name(value->tzindex);
    if (name != NULL)
        return put(writer, name, strlen(name));
    return value->tzoffset == 0 ? put(writer, "UTC", 3)
                                : put_offset(writer, value->tzoffset, false);
}

static int put_format(struct writer *writer, const struct datetime *value,
                      const struct datetime_fields *at, const char *format, size_t size)
{
    int rc = 0;
    for (const char *end = format + size; format < end && rc == 0; format++) {
        if (*format != '%') {
            rc = put(writer, format, 1);
            continue;
        }
        unsigned digits = 9;
        if (++format < end && *format >= '1' && *format <= '9') {
            digits = (unsigned)(*format++ - '0');
            if (format == end || *format != 'f')
                return ERROR_UNSUPPORTED;
        }
        if (format == end || *format == '\0')
            return ERROR_UNSUPPORTED;
        const char *longer = written_out(*format);
        if (longer != NULL)
            rc = put_format(writer, value, at, longer, strlen(longer));
        else if (*format == 'f')
            rc = put_fraction(writer, at->nsec, digits);
        else if (*format == 's')
            rc = put_number(writer, value->seconds, 1, '0');
        else if (*format == 'z')
            rc = put_offset(writer, value->tzoffset, false);
        else if (*format == 'Z')
            rc = put_zone(writer, value);
        else
            rc = put_calendar(writer, at, *format);
    }
    return rc;
}

int datetime_format(const struct datetime *value, const char *format, size_t format_size, char *out,
                    size_t room, size_t *used)
{
    struct datetime_fields at;
    struct writer writer = {.out = out, .room = room};

    datetime_split(value, &at);
    int rc = put_format(&writer, value, &at, format, format_size);
    *used = writer.size;
    return rc;
}

/* ------------------------------------------------------------------------------------- reading */

struct reader {
    const char *at, *end;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* `least` to `most` digits. */
static bool take_digits(struct reader *reader, unsigned least, unsigned most, int64_t *out)
{
    unsigned count = 0;
    int64_t value = 0;
    for (; count < most && reader->at < reader->end && is_digit(*reader->at); count++)
        value = value * 10 + (*reader->at++ - '0');
    *out = value;
    return count >= least;
}

static bool take_field(struct reader *reader, unsigned least, unsigned most, int32_t *out)
{
    int64_t value;
    bool taken = take_digits(reader, least, most, &value);
    *out = (int32_t)value;
    return taken;
}

static bool take(struct reader *reader, char c)
{
    if (reader->at == reader->end || *reader->at != c)
        return false;
    reader->at++;
    return true;
}

/* Digits behind a point: nanoseconds; those beyond the ninth are cut off. */
static bool take_fraction(struct reader *reader, unsigned most, int32_t *nsec)
{
    int32_t unit = 100000000;
    const char *start = reader->at;
    *nsec = 0;
    for (; reader->at < reader->end && is_digit(*reader->at) && reader->at - start < (int)most;
         reader->at++, unit /= 10)
        *nsec += unit * (*reader->at - '0');
    return reader->at > start;
}

static bool same_letter(char a, char b)
{
    return (a | 0x20) == (b | 0x20);
}

static bool take_word(struct reader *reader, const char *word, size_t size)
{
    if ((size_t)(reader->end - reader->at) < size)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (!same_letter(reader->at[i], word[i]))
            return false;
    }
    reader->at += size;
    return true;
}

/* A name in full, or its first three letters; its position from 1. */
static bool take_name(struct reader *reader, const char *const *names, unsigned count, int32_t *out)
{
    for (unsigned i = 0; i < count; i++) {
        if (take_word(reader, names[i], strlen(names[i])) || take_word(reader, names[i], 3)) {
            *out = (int32_t)i + 1;
            return true;
        }
    }
    return false;
}

/* Z, +hh, +hhmm, +hh:mm. */
static bool take_offset(struct reader *reader, int *offset)
{
    int32_t hours, minutes = 0;
    if (take_word(reader, "Z", 1)) {
        *offset = 0;
        return true;
    }
    bool minus = reader->at < reader->end && *reader->at == '-';
    if (!minus && (reader->at == reader->end || *reader->at != '+'))
        return false;
    reader->at++;
    if (!take_field(reader, 2, 2, &hours))
        return false;
    bool colon = take(reader, ':');
    if ((colon || (reader->at < reader->end && is_digit(*reader->at))) &&
        !take_field(reader, 2, 2, &minutes))
        return false;
    *offset = (hours * 60 + minutes) * (minus ? -1 : 1);
    return minutes < 60 && *offset >= DATETIME_OFFSET_MIN && *offset <= DATETIME_OFFSET_MAX;
}

static bool is_of_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '/' ||
           c == '_' || c == '-' || c == '+';
}

/* An offset, UTC or GMT, or a name. */
static bool take_zone(struct reader *reader, int *zone)
{
    const char *start = reader->at;
    while (reader->at < reader->end && is_of_name(*reader->at))
        reader->at++;
    int number = zone_number(start, (size_t)(reader->at - start));
    if (number != 0) {
        *zone = DATETIME_NAMED + number;
        return true;
    }
    reader->at = start;
    *zone = 0;
    return take_word(reader, "UTC", 3) || take_word(reader, "GMT", 3) || take_offset(reader, zone);
}

bool datetime_zone(const char *text, size_t size, int *zone)
{
    struct reader reader = {text, text + size};
    return take_zone(&reader, zone) && reader.at == reader.end;
}

/* A year has four digits; more, or a sign, where a dash follows. */
static bool take_date(struct reader *reader, struct datetime_fields *out, bool strict)
{
    bool minus = !strict && take(reader, '-');
    const char *start = reader->at;
    int64_t year;
    while (reader->at < reader->end && is_digit(*reader->at))
        reader->at++;
    bool dashes = reader->at < reader->end && *reader->at == '-';
    int width = (int)(reader->at - start);
    reader->at = start;
    if (!dashes && (strict || minus || width < 8))
        return false;
    if (!take_digits(reader, 4, dashes && !strict ? 8 : 4, &year) || (dashes && !take(reader, '-')))
        return false;
    out->year = minus ? -year : year;
    return take_field(reader, 2, 2, &out->month) && (!dashes || take(reader, '-')) &&
           take_field(reader, 2, 2, &out->day);
}

static bool take_time(struct reader *reader, struct datetime_fields *out, bool strict)
{
    if (!take_field(reader, 2, 2, &out->hour))
        return false;
    bool colon = take(reader, ':');
    if (!colon && (strict || reader->at == reader->end || !is_digit(*reader->at)))
        return !strict;
    if (!take_field(reader, 2, 2, &out->min))
        return false;
    if (colon ? !take(reader, ':') : reader->at == reader->end || !is_digit(*reader->at))
        return !strict;
    if (!take_field(reader, 2, 2, &out->sec))
        return false;
    if (take(reader, '.') || (!strict && take(reader, ',')))
        return take_fraction(reader, 1000, &out->nsec);
    return true;
}

int datetime_parse(struct datetime *out, const char *text, size_t size, int zone, bool rfc3339)
{
    struct reader reader = {text, text + size};
    struct datetime_fields fields = {.month = 1, .day = 1};

    if (!take_date(&reader, &fields, rfc3339))
        return ERROR_INVALID;
    if (reader.at < reader.end || rfc3339) {
        if (!take_word(&reader, "T", 1) && !take(&reader, ' '))
            return ERROR_INVALID;
        if (!take_time(&reader, &fields, rfc3339))
            return ERROR_INVALID;
        if (!rfc3339)
            take(&reader, ' ');
        if ((reader.at < reader.end || rfc3339) &&
            !(rfc3339 ? take_offset(&reader, &zone) : take_zone(&reader, &zone)))
            return ERROR_INVALID;
    }
    if (reader.at != reader.end || (size > 0 && text[size - 1] == ' '))
        return ERROR_INVALID;
    return datetime_join(out, &fields, zone);
}

/* What a format has found; `yday`, `pm` and `seconds` decide at the end. */
struct scan {
    struct datetime_fields fields;
    int32_t pm, century; /* 1 AM, 2 PM; -1 none */
    int64_t seconds;
    bool has_seconds, has_yday, has_century;
    int zone;
};

static bool take_year(struct reader *reader, int64_t *year)
{
    bool minus = take(reader, '-');
    bool taken = take_digits(reader, 1, 7, year);
    if (minus)
        *year = -*year;
    return taken;
}

static bool take_short_year(struct reader *reader, struct scan *scan)
{
    int32_t year;
    if (!take_field(reader, 1, 2, &year))
        return false;
    /* POSIX: 69 to 99 are of the twentieth century */
    scan->fields.year = scan->has_century ? scan->century * 100 + year
                        : year < 69       ? 2000 + year
                                          : 1900 + year;
    return true;
}

static void skip_space(struct reader *reader)
{
    while (reader->at < reader->end &&
           (*reader->at == ' ' || (*reader->at >= '\t' && *reader->at <= '\r')))
        reader->at++;
}

static bool scan_day(struct reader *reader, struct scan *scan, char letter)
{
    struct datetime_fields *fields = &scan->fields;
    int32_t unused;
    switch (letter) {
    case 'a':
    case 'A':
        return take_name(reader, day_names, 7, &unused);
    case 'b':
    case 'h':
    case 'B':
        return take_name(reader, month_names, 12, &fields->month);
    case 'C':
        return scan->has_century = take_field(reader, 1, 2, &scan->century);
    case 'd':
    case 'e':
        skip_space(reader);
        return take_field(reader, 1, 2, &fields->day);
    case 'j':
        return scan->has_yday = take_field(reader, 1, 3, &fields->yday);
    case 'm':
        return take_field(reader, 1, 2, &fields->month);
    case 'u':
    case 'w':
        return take_field(reader, 1, 1, &unused);
    case 'y':
        return take_short_year(reader, scan);
    default:
        return take_year(reader, &fields->year);
    }
}

static bool scan_time(struct reader *reader, struct scan *scan, char letter)
{
    static const char *const halves[] = {"AM", "PM"};
    struct datetime_fields *fields = &scan->fields;
    bool minus;
    switch (letter) {
    case 'H':
    case 'k':
    case 'I':
    case 'l':
        skip_space(reader);
        return take_field(reader, 1, 2, &fields->hour) &&
               (letter == 'H' || letter == 'k' || (fields->hour >= 1 && fields->hour <= 12));
    case 'M':
        return take_field(reader, 1, 2, &fields->min);
    case 'p':
        scan->pm = take_word(reader, halves[0], 2) ? 1 : take_word(reader, halves[1], 2) ? 2 : 0;
        return scan->pm != 0;
    case 'S':
        return take_field(reader, 1, 2, &fields->sec);
    case 's':
        minus = take(reader, '-');
        scan->has_seconds = take_digits(reader, 1, 18, &scan->seconds);
        scan->seconds = minus ? -scan->seconds : scan->seconds;
        return scan->has_seconds;
    case 'z':
        return take_offset(reader, &scan->zone);
    default: /* Z */
        return take_zone(reader, &scan->zone);
    }
}

static int scan_format(struct reader *reader, struct scan *scan, const char *format, size_t size)
{
    for (const char *end = format + size; format < end; format++) {
        if (*format == ' ' || (*format >= '\t' && *format <= '\r')) {
            skip_space(reader);
            continue;
        }
        if (*format != '%') {
            if (!take(reader, *format))
                return ERROR_INVALID;
            continue;
        }
        unsigned digits = 1000;
        if (++format < end && *format >= '1' && *format <= '9') {
            digits = (unsigned)(*format++ - '0');
            if (format == end || *format != 'f')
                return ERROR_UNSUPPORTED;
        }
        if (format == end || *format == '\0')
            return ERROR_UNSUPPORTED;
        const char *longer = written_out(*format);
        bool taken = true;
        int rc = 0;
        if (longer != NULL)
            rc = scan_format(reader, scan, longer, strlen(longer));
        else if (*format == 'f')
            taken = take_fraction(reader, digits, &scan->fields.nsec);
        else if (*format == '%')
            taken = take(reader, '%');
        else if (*format == 'n' || *format == 't')
            skip_space(reader);
        else if (strchr("aAbBhCdejmuwyY", *format) != NULL)
            taken = scan_day(reader, scan, *format);
        else if (strchr("HkIlMpSszZ", *format) != NULL)
            taken = scan_time(reader, scan, *format);
        else
            rc = ERROR_UNSUPPORTED;
        if (rc != 0 || !taken)
            return rc != 0 ? rc : ERROR_INVALID;
    }
    return 0;
}

int datetime_scan(struct datetime *out, const char *text, size_t size, const char *format,
                  size_t format_size, int zone, size_t *used)
{
    struct reader reader = {text, text + size};
    struct scan scan = {.fields = {.year = 1970, .month = 1, .day = 1}, .zone = zone};

    int rc = scan_format(&reader, &scan, format, format_size);
    if (rc != 0)
        return rc;
    *used = (size_t)(reader.at - text);
    struct datetime_fields *fields = &scan.fields;
    if (scan.pm != 0)
        fields->hour = fields->hour % 12 + (scan.pm == 2 ? 12 : 0);
    if (scan.has_seconds) {
        struct datetime value = {.seconds = scan.seconds, .nsec = fields->nsec};
        if (!datetime_is_valid(&value))
            return ERROR_INVALID;
        rc = datetime_move(&value, scan.zone);
        if (rc == 0)
            *out = value;
        return rc;
    }
    if (scan.has_yday) {
        int days = datetime_days_in_month(fields->year, 2) + 337, yday = fields->yday;
        if (yday < 1 || yday > days)
            return ERROR_INVALID;
        for (fields->month = 1; yday > datetime_days_in_month(fields->year, fields->month);)
            yday -= datetime_days_in_month(fields->year, fields->month++);
        fields->day = yday;
    }
    return datetime_join(out, fields, scan.zone);
}
