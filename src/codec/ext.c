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
