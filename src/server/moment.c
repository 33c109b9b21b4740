/* SPDX-License-Identifier: Apache-2.0 */

/* Times and timestamps as text. */
#include "server/moment.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/diag.h"
#include "base/error.h"

static const uint64_t NS = 1000000000;

/* ".123" as nanoseconds, if it comes next. */
static uint64_t fraction_parse(const char **text)
{
    uint64_t ns = 0, unit = NS / 10;
    if (**text != '.' || !isdigit((unsigned char)(*text)[1]))
        return 0;
    for (++*text; isdigit((unsigned char)**text); ++*text, unit /= 10)
        ns += (uint64_t)(**text - '0') * unit;
    return ns;
}

/* "Z", "+01:00", "-0530" or nothing. */
static bool offset_parse(const char *text, long *seconds)
{
    int hours, minutes = 0, used = 0;
    *seconds = 0;
    if (*text == 0 || strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
        return true;
    if (*text != '+' && *text != '-')
        return false;
    if (sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 &&
        sscanf(text + 1, "%2d%2d%n", &hours, &minutes, &used) != 2)
        return false;
    *seconds = (hours * 60L + minutes) * 60 * (*text == '-' ? -1 : 1);
    return text[1 + used] == 0 && hours < 24 && minutes < 60;
}

static bool time_parse(const char *text, uint64_t *time_ns)
{
    struct tm parts = {0};
    int used = 0;
    char between;
    long offset;
    if (sscanf(text, "%4d-%2d-%2d%c%2d:%2d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday,
               &between, &parts.tm_hour, &parts.tm_min, &used) != 6 ||
        (between != 'T' && between != 't' && between != ' '))
        return false;
    text += used;
    if (sscanf(text, ":%2d%n", &parts.tm_sec, &used) == 1)
        text += used;
    uint64_t fraction = fraction_parse(&text);
    if (!offset_parse(text, &offset) || parts.tm_year < 1970 || parts.tm_mon < 1 ||
        parts.tm_mon > 12 || parts.tm_mday < 1 || parts.tm_mday > 31 || parts.tm_hour > 23 ||
        parts.tm_min > 59 || parts.tm_sec > 60)
        return false;
    parts.tm_year -= 1900;
    parts.tm_mon--;
    time_t seconds = timegm(&parts) - offset;
    *time_ns = seconds <= 0 ? 0 : (uint64_t)seconds * NS + fraction;
    return *time_ns != 0;
}

static bool number_parse(const char **text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(*text, &end, 10);
    bool right = isdigit((unsigned char)**text) && errno == 0;
    *text = end;
    return right;
}

int moment_parse(const char *text, uint64_t *ts, uint64_t *time_ns)
{
    const char *at = text + (*text == '@');
    uint64_t number;
    *ts = *time_ns = 0;
    bool is_number = number_parse(&at, &number) && number > 0;
    if (is_number && *text == '@' && number < INT64_MAX / NS) {
        *time_ns = number * NS + fraction_parse(&at);
        if (*at == 0)
            return 0;
    } else if (is_number && *text != '@' && *at == 0) {
        *ts = number;
        return 0;
    } else if (time_parse(text, time_ns)) {
        return 0;
    }
    return diag_set(ERROR_INVALID,
                    "'%s' is no moment: write a time like 2026-11-21T09:20:00Z, seconds since "
                    "1970 like @1795252800, or a timestamp of the database like 48213",
                    text);
}

void moment_format(uint64_t time_ns, char out[MOMENT_TEXT_MAX + 1])
{
    time_t seconds = (time_t)(time_ns / NS);
    struct tm parts;
    if (time_ns == 0 || gmtime_r(&seconds, &parts) == NULL) {
        snprintf(out, MOMENT_TEXT_MAX + 1, "an unknown time");
        return;
    }
    size_t size = strftime(out, MOMENT_TEXT_MAX + 1, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out + size, MOMENT_TEXT_MAX + 1 - size, ".%03uZ",
             (unsigned)(time_ns / 1000000 % 1000));
}
