/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/interval.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "codec/mp.h"

#define YEARS INT64_C(11759221) /* from the first to the last year of a datetime */

static const int64_t limits[INTERVAL_FIELDS] = {
    [INTERVAL_YEAR] = YEARS,
    [INTERVAL_MONTH] = YEARS * 12,
    [INTERVAL_WEEK] = YEARS * 53,
    [INTERVAL_DAY] = YEARS * 366,
    [INTERVAL_HOUR] = YEARS * 366 * 24,
    [INTERVAL_MIN] = YEARS * 366 * 24 * 60,
    [INTERVAL_SEC] = YEARS * 366 * 24 * 60 * 60,
    [INTERVAL_NSEC] = INT32_MAX,
};

bool interval_is_valid(const struct interval *value)
{
    for (unsigned i = 0; i < INTERVAL_FIELDS; i++) {
        if (value->field[i] < -limits[i] || value->field[i] > limits[i])
            return false;
    }
    return value->adjust >= INTERVAL_EXCESS && value->adjust <= INTERVAL_LAST;
}

int interval_add(struct interval *out, const struct interval *left, const struct interval *right,
                 int sign)
{
    struct interval sum = *left;
    for (unsigned i = 0; i < INTERVAL_FIELDS; i++)
        sum.field[i] += sign * right->field[i];
    /* Nanoseconds make seconds before they leave their range. */
    int64_t *nsec = &sum.field[INTERVAL_NSEC];
    if (*nsec > limits[INTERVAL_NSEC] || *nsec < -limits[INTERVAL_NSEC]) {
        sum.field[INTERVAL_SEC] += *nsec / 1000000000;
        *nsec %= 1000000000;
    }
    if (!interval_is_valid(&sum))
        return ERROR_TOO_LARGE;
    *out = sum;
    return 0;
}

bool interval_equal(const struct interval *left, const struct interval *right)
{
    return memcmp(left->field, right->field, sizeof(left->field)) == 0;
}

/* The seconds and nanoseconds as one number with a sign. */
static int print_seconds(const struct interval *value, char *out, size_t room)
{
    int64_t sec = value->field[INTERVAL_SEC] + value->field[INTERVAL_NSEC] / 1000000000;
    int64_t nsec = value->field[INTERVAL_NSEC] % 1000000000;
    if (sec > 0 && nsec < 0) {
        sec--;
        nsec += 1000000000;
    } else if (sec < 0 && nsec > 0) {
        sec++;
        nsec -= 1000000000;
    }
    char sign = sec < 0 || nsec < 0 ? '-' : '+';
    if (nsec == 0)
        return snprintf(out, room, "%c%" PRId64 " seconds", sign, sec < 0 ? -sec : sec);
    return snprintf(out, room, "%c%" PRId64 ".%09" PRId64 " seconds", sign, sec < 0 ? -sec : sec,
                    nsec < 0 ? -nsec : nsec);
}

size_t interval_print(const struct interval *value, char *out)
{
    static const char *const names[] = {"years", "months", "weeks", "days", "hours", "minutes"};
    char text[INTERVAL_TEXT_MAX + 1];
    size_t size = 0;

    for (unsigned i = 0; i < INTERVAL_SEC; i++) {
        if (value->field[i] != 0)
            size += (size_t)snprintf(text + size, sizeof(text) - size, "%s%+" PRId64 " %s",
                                     size > 0 ? ", " : "", value->field[i], names[i]);
    }
    if (value->field[INTERVAL_SEC] != 0 || value->field[INTERVAL_NSEC] != 0) {
        if (size > 0)
            size += (size_t)snprintf(text + size, sizeof(text) - size, ", ");
        size += (size_t)print_seconds(value, text + size, sizeof(text) - size);
    }
    if (size == 0)
        size = (size_t)snprintf(text, sizeof(text), "0 seconds");
    memcpy(out, text, size);
    return size;
}

char *interval_pack(char *out, const struct interval *value)
{
    char payload[INTERVAL_MP_MAX], *at = payload + 1;
    uint8_t count = 0;

    for (unsigned i = 0; i <= INTERVAL_ADJUST; i++) {
        int64_t field = i == INTERVAL_ADJUST ? value->adjust : value->field[i];
        if (field == 0)
            continue;
        at = mp_encode_uint(at, i);
        at = field < 0 ? mp_encode_int(at, field) : mp_encode_uint(at, (uint64_t)field);
        count++;
    }
    payload[0] = (char)count;
    return mp_write_ext(out, INTERVAL_EXT, payload, (uint32_t)(at - payload));
}

/* Reads an integer at *at, of which nothing has been checked. */
static bool read_int(const char **at, const char *end, int64_t *out)
{
    const char *checked = *at;
    return mp_check_limited(&checked, end) && mp_read_int(at, out);
}

bool interval_unpack(struct interval *out, const char *data, size_t size)
{
    struct interval value = {.adjust = 0};
    const char *end = data + size;

    if (size == 0)
        return false;
    for (unsigned count = (uint8_t)*data++; count > 0; count--) {
        int64_t number, field;
        if (!read_int(&data, end, &number) || !read_int(&data, end, &field) || number < 0 ||
            number > INTERVAL_ADJUST)
            return false;
        *(number == INTERVAL_ADJUST ? &value.adjust : &value.field[number]) = field;
    }
    if (data != end || !interval_is_valid(&value))
        return false;
    *out = value;
    return true;
}
