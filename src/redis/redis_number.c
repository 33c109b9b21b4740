/* SPDX-License-Identifier: Apache-2.0 */

/* Numbers as text, by the rules of Redis. */
#include "redis/redis_number.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/number.h"

enum { DOUBLE_TEXT_MAX = 128 };

size_t redis_double_format(double value, char out[32])
{
    return number_write_double(out, value);
}

/* Digits alone, so few that a double has the integer exactly: what scores are as a rule. */
static bool digits_parse(const char *text, size_t size, double *out)
{
    enum { EXACT_DIGITS = 15 };
    uint64_t value = 0;
    if (size > EXACT_DIGITS)
        return false;
    for (size_t n = 0; n < size; n++) {
        if (text[n] < '0' || text[n] > '9')
            return false;
        value = value * 10 + (uint64_t)(text[n] - '0');
    }
    *out = (double)value;
    return size > 0;
}

bool redis_double_parse(const char *text, size_t size, double *out)
{
    char copy[DOUBLE_TEXT_MAX], *end;
    if (digits_parse(text, size, out))
        return true;
    if (size == 0 || size >= sizeof copy || isspace((unsigned char)text[0]) ||
        memchr(text, 0, size))
        return false;
    memcpy(copy, text, size);
    copy[size] = 0;
    errno = 0;
    *out = strtod(copy, &end);
    bool out_of_range = errno == ERANGE && (isinf(*out) || *out == 0);
    return *end == 0 && !isnan(*out) && !out_of_range;
}

int redis_double_arg(const struct redis_call *call, unsigned n, double *out)
{
    if (redis_double_parse(call->argv[n].data, call->argv[n].size, out))
        return 0;
    return diag_set(ERROR_INVALID, "value is not a valid float");
}
