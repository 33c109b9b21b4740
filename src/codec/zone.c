/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TZif file (RFC 8536), all numbers big-endian:
 *
 *   header    "TZif", version, 15 bytes, then the numbers of six tables as uint32: UT flags,
 *             standard flags, leap seconds, changes, types, characters of names
 *   data      the changes' instants, each one's type (a byte), types (int32 offset in seconds, byte:
 *             summer, byte: name), names, leap seconds, flags
 *   from version 2 on: header and data again, with 8 bytes for an instant; and the footer, a line
 *             between two newlines: the rule of POSIX (the variable TZ) after the last change
 *
 * Only changes, types and the footer are kept. Nothing is believed that was not counted: the bytes
 * may be any.
 */
#include "codec/zone.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "codec/datetime.h"

enum { HEADER_SIZE = 44, COUNTS_AT = 20, TYPE_SIZE = 6, TYPES_MAX = 256, DAY_SECONDS = 86400 };
enum { UT_FLAGS, STANDARD_FLAGS, LEAPS, CHANGES, TYPES, CHARACTERS, COUNTS };

/* When in a year clocks change. */
struct change {
    char kind;            /* J: day 1 to 365 without the leap day; D: day 0 to 365; M */
    int month, week, day; /* M: the week'th such day of the month, 5: the last; Sunday is 0 */
    int time;             /* seconds since midnight, -167 to 167 hours */
};

struct rule {
    bool exists, has_summer;
    int offset, summer_offset; /* seconds */
    struct change start, end;  /* of the summer's time */
};

struct zone {
    struct rule rule;
    struct {
        int offset; /* seconds */
        bool is_summer;
    } types[TYPES_MAX];
    uint32_t changes;
    unsigned char *type_of; /* of each change; behind `at` */
    int64_t at[];           /* ascending */
};

/* ------------------------------------------------------------------------------------- the rule */

struct text {
    const char *at, *end;
};

static bool take(struct text *text, char c)
{
    if (text->at == text->end || *text->at != c)
        return false;
    text->at++;
    return true;
}

static bool take_number(struct text *text, int least, int most, int *out)
{
    const char *start = text->at;
    int value = 0;
    for (; text->at < text->end && *text->at >= '0' && *text->at <= '9' && text->at - start < 4;
         text->at++)
        value = value * 10 + (*text->at - '0');
    *out = value;
    return text->at > start && value >= least && value <= most;
}

/* EST, or <+03> */
static bool take_name(struct text *text)
{
    const char *start = text->at;
    if (take(text, '<')) {
        while (text->at < text->end && *text->at != '>')
            text->at++;
        return take(text, '>');
    }
    while (text->at < text->end &&
           ((*text->at >= 'A' && *text->at <= 'Z') || (*text->at >= 'a' && *text->at <= 'z')))
        text->at++;
    return text->at - start >= 3;
}

/* [+-]hh[:mm[:ss]], in seconds */
static bool take_clock(struct text *text, int hours_most, int *out)
{
    int hours, minutes = 0, seconds = 0;
    bool minus = take(text, '-');
    if (!minus)
        take(text, '+');
    if (!take_number(text, 0, hours_most, &hours))
        return false;
    if (take(text, ':')) {
        if (!take_number(text, 0, 59, &minutes))
            return false;
        if (take(text, ':') && !take_number(text, 0, 59, &seconds))
            return false;
    }
    *out = (hours * 3600 + minutes * 60 + seconds) * (minus ? -1 : 1);
    return true;
}

/* POSIX counts offsets westwards. */
static bool take_offset(struct text *text, int *out)
{
    if (!take_clock(text, 24, out))
        return false;
    *out = -*out;
    return true;
}

static bool take_change(struct text *text, struct change *out)
{
    *out = (struct change){.kind = 'D', .time = 2 * 3600};
    if (!take(text, ','))
        return false;
    if (take(text, 'M')) {
        out->kind = 'M';
        if (!take_number(text, 1, 12, &out->month) || !take(text, '.') ||
            !take_number(text, 1, 5, &out->week) || !take(text, '.') ||
            !take_number(text, 0, 6, &out->day))
            return false;
    } else if (take(text, 'J')) {
        out->kind = 'J';
        if (!take_number(text, 1, 365, &out->day))
            return false;
    } else if (!take_number(text, 0, 365, &out->day)) {
        return false;
    }
    return !take(text, '/') || take_clock(text, 167, &out->time);
}

static bool read_rule(struct rule *rule, const char *data, const char *end)
{
    struct text text = {data, end};
    if (data == end)
        return true; /* the last change lasts */
    rule->exists = true;
    if (!take_name(&text) || !take_offset(&text, &rule->offset))
        return false;
    if (text.at == text.end)
        return true;
    rule->has_summer = true;
    rule->summer_offset = rule->offset + 3600;
    if (!take_name(&text))
        return false;
    if (text.at < text.end && *text.at != ',' && !take_offset(&text, &rule->summer_offset))
        return false;
    return take_change(&text, &rule->start) && take_change(&text, &rule->end) &&
           text.at == text.end;
}

/* The seconds since 1970 of a change in a year, as a clock shows them before it. */
static int64_t change_in(const struct change *change, int64_t year)
{
    struct datetime_fields fields = {.year = year, .month = 1, .day = 1};
    struct datetime start = {0};
    int days = change->day;

    if (change->kind == 'M')
        fields.month = change->month;
    if (datetime_join(&start, &fields, 0) != 0) /* the first and the last year of all */
        return year < 0 ? INT64_MIN / 2 : INT64_MAX / 2;
    if (change->kind == 'J') {
        days += change->day >= 60 && datetime_days_in_month(year, 2) == 29 ? 0 : -1;
    } else if (change->kind == 'M') {
        datetime_split(&start, &fields);
        days = (change->day - (fields.wday - 1) + 7) % 7 + (change->week - 1) * 7;
        if (days >= datetime_days_in_month(year, change->month))
            days -= 7;
    }
    return start.seconds + (int64_t)days * DAY_SECONDS + change->time;
}

static struct zone_time by_rule(const struct rule *rule, int64_t seconds, int *offset)
{
    struct datetime now = {.seconds = seconds};
    struct datetime_fields fields;
    bool summer = false;

    if (rule->has_summer) {
        now.seconds += rule->offset;
        datetime_split(&now, &fields);
        int64_t start = change_in(&rule->start, fields.year) - rule->offset;
        int64_t end = change_in(&rule->end, fields.year) - rule->summer_offset;
        summer =
            start < end ? seconds >= start && seconds < end : !(seconds >= end && seconds < start);
    }
    *offset = summer ? rule->summer_offset : rule->offset;
    return (struct zone_time){.is_summer = summer};
}

/* ------------------------------------------------------------------------------------- the file */

static uint64_t read_number(const char *at, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value = value << 8 | (unsigned char)at[i];
    return value;
}

/* The numbers of a header's tables, and in *data_size the bytes of the data behind it. */
static bool read_header(const char *data, size_t size, unsigned time_size, uint32_t *counts,
                        size_t *data_size)
{
    if (size < HEADER_SIZE || memcmp(data, "TZif", 4) != 0)
        return false;
    for (unsigned i = 0; i < COUNTS; i++) {
        counts[i] = (uint32_t)read_number(data + COUNTS_AT + i * 4, 4);
        if (counts[i] > ZONE_FILE_MAX)
            return false;
    }
    *data_size = (size_t)counts[CHANGES] * (time_size + 1) + (size_t)counts[TYPES] * TYPE_SIZE +
                 counts[CHARACTERS] + (size_t)counts[LEAPS] * (time_size + 4) +
                 counts[STANDARD_FLAGS] + counts[UT_FLAGS];
    return counts[TYPES] >= 1 && counts[TYPES] <= TYPES_MAX && *data_size <= size - HEADER_SIZE;
}

static int read_data(struct zone **out, const char *data, const uint32_t *counts,
                     unsigned time_size)
{
    uint32_t changes = counts[CHANGES];
    struct zone *zone = calloc(1, sizeof(*zone) + changes * (sizeof(zone->at[0]) + 1));
    if (zone == NULL)
        return ERROR_MEMORY;
    zone->changes = changes;
    zone->type_of = (unsigned char *)(zone->at + changes);
    const char *type_of = data + (size_t)changes * time_size, *types = type_of + changes;
    for (uint32_t i = 0; i < changes; i++) {
        uint64_t at = read_number(data + (size_t)i * time_size, time_size);
        zone->at[i] = time_size == 4 ? (int32_t)at : (int64_t)at;
        zone->type_of[i] = (unsigned char)type_of[i];
        if (zone->type_of[i] >= counts[TYPES] || (i > 0 && zone->at[i] <= zone->at[i - 1]))
            goto invalid;
    }
    for (uint32_t i = 0; i < counts[TYPES]; i++, types += TYPE_SIZE) {
        zone->types[i].offset = (int32_t)read_number(types, 4);
        zone->types[i].is_summer = types[4] != 0;
    }
    *out = zone;
    return 0;
invalid:
    free(zone);
    return ERROR_INVALID;
}

int zone_new(struct zone **out, const char *data, size_t size)
{
    uint32_t counts[COUNTS];
    size_t data_size;
    unsigned time_size = 4;

    if (size > ZONE_FILE_MAX || !read_header(data, size, time_size, counts, &data_size))
        return ERROR_INVALID;
    bool has_second = data[4] >= '2';
    if (has_second) {
        data += HEADER_SIZE + data_size;
        size -= HEADER_SIZE + data_size;
        time_size = 8;
        if (!read_header(data, size, time_size, counts, &data_size))
            return ERROR_INVALID;
    }
    int rc = read_data(out, data + HEADER_SIZE, counts, time_size);
    if (rc != 0 || !has_second)
        return rc;
    const char *footer = data + HEADER_SIZE + data_size, *end = data + size;
    const char *newline = end - footer < 2 || *footer != '\n'
                              ? NULL
                              : memchr(footer + 1, '\n', (size_t)(end - footer) - 1);
    if (newline == NULL || !read_rule(&(*out)->rule, footer + 1, newline)) {
        zone_delete(*out);
        return ERROR_INVALID;
    }
    return 0;
}

void zone_delete(struct zone *zone)
{
    free(zone);
}

/* -------------------------------------------------------------------------------------- asking */

/* The type that holds at an instant before the last change's. */
static unsigned type_at(const struct zone *zone, int64_t seconds)
{
    uint32_t low = 0, high = zone->changes;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (zone->at[middle] <= seconds)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : zone->type_of[low - 1];
}

struct zone_time zone_at(const struct zone *zone, int64_t seconds)
{
    struct zone_time result;
    int offset;

    if (zone->rule.exists && (zone->changes == 0 || seconds >= zone->at[zone->changes - 1])) {
        result = by_rule(&zone->rule, seconds, &offset);
    } else {
        unsigned type = type_at(zone, seconds);
        offset = zone->types[type].offset;
        result.is_summer = zone->types[type].is_summer;
    }
    result.tzoffset = offset / 60;
    if (result.tzoffset < DATETIME_OFFSET_MIN)
        result.tzoffset = DATETIME_OFFSET_MIN;
    if (result.tzoffset > DATETIME_OFFSET_MAX)
        result.tzoffset = DATETIME_OFFSET_MAX;
    return result;
}

int64_t zone_instant(const struct zone *zone, int64_t local, int hint)
{
    /* What holds a day before and a day after is all that can hold: no clock is further than a day
     * from UTC, and no two changes are as near. */
    int before = zone_at(zone, local - DAY_SECONDS).tzoffset;
    const int candidates[] = {hint, before, zone_at(zone, local + DAY_SECONDS).tzoffset};
    for (unsigned i = 0; i < sizeof(candidates) / sizeof(candidates[0]); i++) {
        int64_t instant = local - candidates[i] * 60;
        if (zone_at(zone, instant).tzoffset == candidates[i])
            return instant;
    }
    return local - before * 60;
}
