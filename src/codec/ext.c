/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/ext.h"

#include "codec/datetime.h"
#include "codec/decimal.h"
#include "codec/interval.h"
#include "codec/mp.h"
#include "codec/uuid.h"

enum ext_kind ext_kind(const char *value)
{
    union {
        struct decimal decimal;
        struct uuid uuid;
        struct datetime datetime;
        struct interval interval;
    } unused;
    uint32_t size;
    int type;

    if (mp_typeof(*value) != MP_EXT)
        return EXT_NONE;
    const char *data = mp_read_ext(&value, &type, &size);
    switch (type) {
    case DECIMAL_EXT:
        return decimal_unpack(&unused.decimal, data, size) ? EXT_DECIMAL : EXT_UNKNOWN;
    case UUID_EXT:
        return uuid_unpack(&unused.uuid, data, size) ? EXT_UUID : EXT_UNKNOWN;
    case DATETIME_EXT:
        return datetime_unpack(&unused.datetime, data, size) ? EXT_DATETIME : EXT_UNKNOWN;
    case INTERVAL_EXT:
        return interval_unpack(&unused.interval, data, size) ? EXT_INTERVAL : EXT_UNKNOWN;
    default:
        return EXT_UNKNOWN;
    }
}

size_t ext_print(const char **value, char *out)
{
    union {
        struct decimal decimal;
        struct uuid uuid;
        struct datetime datetime;
        struct interval interval;
    } at;
    uint32_t size;
    int type;
    const char *data = mp_read_ext(value, &type, &size);

    if (type == DECIMAL_EXT && decimal_unpack(&at.decimal, data, size))
        return decimal_print(&at.decimal, out);
    if (type == UUID_EXT && uuid_unpack(&at.uuid, data, size)) {
        uuid_print(&at.uuid, out);
        return UUID_TEXT_SIZE;
    }
    if (type == DATETIME_EXT && datetime_unpack(&at.datetime, data, size))
        return datetime_print(&at.datetime, out);
    if (type == INTERVAL_EXT && interval_unpack(&at.interval, data, size))
        return interval_print(&at.interval, out);
    return 0;
}

const char *ext_kind_name(enum ext_kind kind)
{
    static const char *const names[] = {
        [EXT_DECIMAL] = "decimal",
        [EXT_UUID] = "uuid",
        [EXT_DATETIME] = "datetime",
        [EXT_INTERVAL] = "interval",
    };
    return kind <= EXT_UNKNOWN ? "an extension" : names[kind];
}
