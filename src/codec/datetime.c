/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Days to dates and back by arithmetic on years that begin in March (Howard Hinnant, "chrono-
 * compatible low-level date algorithms"): then the leap day is the last of a year.
 */
#include "codec/datetime.h"

#include <string.h>

#include "base/error.h"
#include "codec/mp.h"
#include "codec/zone_names.h"

enum { SHORT_SIZE = 8, LONG_SIZE = 16, DAY_SECONDS = 86400, BILLION = 1000000000 };
enum { ERA_DAYS = 146097, ERA_YEARS = 400, EPOCH_DAYS = 719468 /* from 0000-03-01 to 1970 */ };

bool datetime_is_valid(const struct datetime *value)
{
    return value->seconds >= DATETIME_SECONDS_MIN && value->seconds <= DATETIME_SECONDS_MAX &&
           value->nsec >= 0 && value->nsec <= 999999999 && value->tzoffset >= DATETIME_OFFSET_MIN &&
           value->tzoffset <= DATETIME_OFFSET_MAX && value->tzindex >= 0;
}

int datetime_compare(const struct datetime *left, const struct datetime *right)
{
    if (left->seconds != right->seconds)
        return left->seconds < right->seconds ? -1 : 1;
    return (left->nsec > right->nsec) - (left->nsec < right->nsec);
}

char *datetime_pack(char *out, const struct datetime *value)
{
    char payload[LONG_SIZE];
    bool brief = value->nsec == 0 && value->tzoffset == 0 && value->tzindex == 0;

    /* amd64 is little-endian. */
    memcpy(payload, &value->seconds, 8);
    memcpy(payload + 8, &value->nsec, 4);
    memcpy(payload + 12, &value->tzoffset, 2);
    memcpy(payload + 14, &value->tzindex, 2);
    return mp_write_ext(out, DATETIME_EXT, payload, brief ? SHORT_SIZE : LONG_SIZE);
}

bool datetime_unpack(struct datetime *out, const char *data, size_t size)
{
    struct datetime value = {0};

    if (size != SHORT_SIZE && size != LONG_SIZE)
        return false;
    memcpy(&value.seconds, data, 8);
    if (size == LONG_SIZE) {
        memcpy(&value.nsec, data + 8, 4);
        memcpy(&value.tzoffset, data + 12, 2);
        memcpy(&value.tzindex, data + 14, 2);
    }
    if (!datetime_is_valid(&value))
        return false;
    *out = value;
    return true;
}

/* ------------------------------------------------------------------------------------ calendar */

static int64_t floor_divide(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

static int64_t days_of_date(int64_t year, int64_t month, int64_t day)
{
    int64_t shifted = year - (month <= 2), era = floor_divide(shifted, ERA_YEARS);
    int64_t year_of_era = shifted - era * ERA_YEARS;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * ERA_DAYS + day_of_era - EPOCH_DAYS;
}

static void date_of_days(int64_t days, struct datetime_fields *out)
{
    days += EPOCH_DAYS;
    int64_t era = floor_divide(days, ERA_DAYS), day_of_era = days - era * ERA_DAYS;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    out->day = (int32_t)(day_of_year - (153 * month + 2) / 5 + 1);
    out->month = (int32_t)(month < 10 ? month + 3 : month - 9);
    out->year = year_of_era + era * ERA_YEARS + (out->month <= 2);
}

int datetime_days_in_month(int64_t year, int month)
{
    if (month == 2)
        return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

static int64_t local_seconds(const struct datetime *value)
{
    return value->seconds + value->tzoffset * 60;
}

void datetime_split(const struct datetime *value, struct datetime_fields *out)
{
    int64_t seconds = local_seconds(value), days = floor_divide(seconds, DAY_SECONDS);
    int32_t rest = (int32_t)(seconds - days * DAY_SECONDS);

    date_of_days(days, out);
    out->hour = rest / 3600;
    out->min = rest / 60 % 60;
    out->sec = rest % 60;
    out->nsec = value->nsec;
    out->wday =
        (int32_t)(days + 4 - floor_divide(days + 4, 7) * 7) + 1; /* 1970 began on a Thursday */
    out->yday = (int32_t)(days - days_of_date(out->year, 1, 1)) + 1;
}

/* What the clocks of a zone show when they show `local` and the rules are to decide. */
static void settle(struct datetime *value, const struct zone *zone, int64_t local)
{
    value->seconds = zone_instant(zone, local, value->tzoffset);
    value->tzoffset = (int16_t)zone_at(zone, value->seconds).tzoffset;
}

/* The rules of a zone that is not an offset. */
static int find_rules(int zone, const struct zone **rules)
{
    *rules = zone > DATETIME_NAMED ? zone_of(zone - DATETIME_NAMED) : NULL;
    return zone <= DATETIME_NAMED || *rules != NULL ? 0 : ERROR_NOT_FOUND;
}

int datetime_join(struct datetime *out, const struct datetime_fields *fields, int zone)
{
    const struct zone *rules;
    int rc = find_rules(zone, &rules), tzoffset = rules == NULL ? zone : 0;
    if (rc != 0)
        return rc;
    if (fields->month < 1 || fields->month > 12 || fields->day < 1 || fields->hour < 0 ||
        fields->hour > 23 || fields->min < 0 || fields->min > 59 || fields->sec < 0 ||
        fields->sec > 60 || fields->year < -10000000 || fields->year > 10000000 ||
        fields->day > datetime_days_in_month(fields->year, fields->month) ||
        tzoffset < DATETIME_OFFSET_MIN || tzoffset > DATETIME_OFFSET_MAX)
        return ERROR_INVALID;
    struct datetime value = {
        .seconds = days_of_date(fields->year, fields->month, fields->day) * DAY_SECONDS +
                   fields->hour * 3600 + fields->min * 60 + fields->sec - tzoffset * 60,
        .nsec = fields->nsec,
        .tzoffset = (int16_t)tzoffset,
    };
    if (rules != NULL) {
        value.tzindex = (int16_t)(zone - DATETIME_NAMED);
        value.tzoffset = INT16_MAX; /* no offset is to be preferred */
        settle(&value, rules, value.seconds);
    }
    if (!datetime_is_valid(&value))
        return ERROR_INVALID;
    *out = value;
    return 0;
}

int datetime_move(struct datetime *value, int zone)
{
    const struct zone *rules;
    int rc = find_rules(zone, &rules);
    if (rc != 0)
        return rc;
    if (rules == NULL && (zone < DATETIME_OFFSET_MIN || zone > DATETIME_OFFSET_MAX))
        return ERROR_INVALID;
    value->tzindex = (int16_t)(rules == NULL ? 0 : zone - DATETIME_NAMED);
    value->tzoffset = (int16_t)(rules == NULL ? zone : zone_at(rules, value->seconds).tzoffset);
    return 0;
}

int datetime_zone_of(const struct datetime *value)
{
    return zone_of(value->tzindex) == NULL ? value->tzoffset : DATETIME_NAMED + value->tzindex;
}

bool datetime_is_summer(const struct datetime *value)
{
    const struct zone *rules = zone_of(value->tzindex);
    return rules != NULL && zone_at(rules, value->seconds).is_summer;
}

/* The days since 1970 of a date some months later. */
static int64_t add_months(const struct datetime_fields *date, int64_t months, int64_t adjust)
{
    int64_t total = date->year * 12 + date->month - 1 + months, year = floor_divide(total, 12);
    int month = (int)(total - year * 12) + 1, day = date->day;
    int last = datetime_days_in_month(year, month);
    bool was_last = day == datetime_days_in_month(date->year, date->month);

    if (adjust != INTERVAL_EXCESS && (day > last || (adjust == INTERVAL_LAST && was_last)))
        day = last;
    return days_of_date(year, month, day);
}

/* value + sign * interval, which may be out of range. */
static struct datetime shifted(const struct datetime *value, const struct interval *interval,
                               int sign)
{
    const int64_t *by = interval->field;
    struct datetime_fields date;
    const struct zone *rules = zone_of(value->tzindex);
    struct datetime result = *value;
    int64_t local = local_seconds(value), days = floor_divide(local, DAY_SECONDS), before = days;
    int64_t months = by[INTERVAL_YEAR] * 12 + by[INTERVAL_MONTH];

    if (months != 0) {
        date_of_days(days, &date);
        days = add_months(&date, sign * months, interval->adjust);
    }
    days += sign * (by[INTERVAL_WEEK] * 7 + by[INTERVAL_DAY]);
    if (rules != NULL && days != before)
        settle(&result, rules, local + (days - before) * DAY_SECONDS);
    else
        result.seconds += (days - before) * DAY_SECONDS;
    result.seconds += sign * (by[INTERVAL_HOUR] * 3600 + by[INTERVAL_MIN] * 60 + by[INTERVAL_SEC]);
    int64_t nsec = value->nsec + sign * by[INTERVAL_NSEC];
    result.seconds += floor_divide(nsec, BILLION);
    result.nsec = (int32_t)(nsec - floor_divide(nsec, BILLION) * BILLION);
    if (rules != NULL)
        result.tzoffset = (int16_t)zone_at(rules, result.seconds).tzoffset;
    return result;
}

int datetime_add(struct datetime *out, const struct datetime *value,
                 const struct interval *interval, int sign)
{
    struct datetime result = shifted(value, interval, sign);
    if (!datetime_is_valid(&result))
        return ERROR_TOO_LARGE;
    *out = result;
    return 0;
}

void datetime_subtract(struct interval *out, const struct datetime *left,
                       const struct datetime *right)
{
    struct datetime_fields a, b;
    datetime_split(left, &a);
    datetime_split(right, &b);
    *out = (struct interval){
        .field = {[INTERVAL_YEAR] = a.year - b.year,
                  [INTERVAL_MONTH] = a.month - b.month,
                  [INTERVAL_DAY] = a.day - b.day,
                  [INTERVAL_HOUR] = a.hour - b.hour,
                  [INTERVAL_MIN] = a.min - b.min - (left->tzoffset - right->tzoffset),
                  [INTERVAL_SEC] = a.sec - b.sec,
                  [INTERVAL_NSEC] = a.nsec - b.nsec},
        .adjust = INTERVAL_EXCESS,
    };
    if (zone_of(right->tzindex) == NULL)
        return;
    /* The zone decides where years, months and days lead to; the rest passes from there. */
    struct interval rest = *out;
    rest.field[INTERVAL_NSEC] = 0;
    rest.field[INTERVAL_MIN] = a.min - b.min;
    int64_t lacking = left->seconds - shifted(right, &rest, 1).seconds;
    out->field[INTERVAL_MIN] = rest.field[INTERVAL_MIN] + lacking / 60;
}
