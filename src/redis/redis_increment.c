/* SPDX-License-Identifier: Apache-2.0 */

/* Numbers of 80 bits as text; see the header. */
#include "redis/redis_increment.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool redis_increment_parse(const char *text, size_t size, long double *out)
{
    char copy[REDIS_INCREMENT_TEXT_MAX], *end;
    if (size == 0 || size >= sizeof copy || isspace((unsigned char)text[0]))
        return false;
    memcpy(copy, text, size);
    copy[size] = 0;
    errno = 0;
    *out = strtold(copy, &end);
    bool range = errno == ERANGE && (isinf(*out) || fpclassify(*out) == FP_ZERO);
    return end == copy + size && !range && !isnan(*out);
}

size_t redis_increment_format(long double value, char out[REDIS_INCREMENT_TEXT_MAX])
{
    int size = snprintf(out, REDIS_INCREMENT_TEXT_MAX, "%.17Lf", value);
    while (out[size - 1] == '0')
        size--;
    if (out[size - 1] == '.')
        size--;
    if (size == 2 && memcmp(out, "-0", 2) == 0) {
        out[0] = '0';
        size = 1;
    }
    return (size_t)size;
}
