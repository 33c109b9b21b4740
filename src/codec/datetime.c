/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/datetime.h"

#include <string.h>

#include "codec/mp.h"

enum { SHORT_SIZE = 8, LONG_SIZE = 16 };

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
