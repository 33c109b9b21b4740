/* SPDX-License-Identifier: Apache-2.0 */
#include "db/expiry.h"

#include "base/list.h"
#include "codec/datetime.h"
#include "codec/mp.h"

/* One before the last: that never comes. */
static const double MS_MAX = 1.8e19;

static uint64_t ms_of_seconds(double seconds)
{
    double ms = seconds * 1000;
    if (!(ms < MS_MAX)) /* nor is it a number */
        return EXPIRES_NEVER;
    return ms > 0 ? (uint64_t)ms : 0;
}

static uint64_t ms_of_datetime(const char *value)
{
    struct datetime at;
    int type;
    uint32_t size;
    const char *data = mp_read_ext(&value, &type, &size);
    if (type != DATETIME_EXT || !datetime_unpack(&at, data, size))
        return EXPIRES_NEVER;
    return at.seconds < 0 ? 0 : (uint64_t)at.seconds * 1000 + (uint64_t)at.nsec / 1000000;
}

static uint64_t time_of(const char *value)
{
    switch (mp_typeof(*value)) {
    case MP_UINT: {
        uint64_t seconds = mp_decode_uint(&value);
        return seconds < EXPIRES_NEVER / 1000 ? seconds * 1000 : EXPIRES_NEVER;
    }
    case MP_INT:
        return 0; /* before 1970 */
    case MP_FLOAT:
        return ms_of_seconds((double)mp_decode_float(&value));
    case MP_DOUBLE:
        return ms_of_seconds(mp_decode_double(&value));
    case MP_EXT:
        return ms_of_datetime(value);
    default:
        return EXPIRES_NEVER;
    }
}

uint64_t expiry_ms(const char *tuple, uint32_t field, uint64_t after_ms)
{
    const char *value = mp_array_at(tuple, field);
    uint64_t ms = value == NULL ? EXPIRES_NEVER : time_of(value);
    return ms < EXPIRES_NEVER - after_ms ? ms + after_ms : EXPIRES_NEVER;
}

static uint64_t head_expires_ms(const struct head_expiry *head, const char *tuple)
{
    const struct expiry *expiry = list_entry(head, struct expiry, head);
    return expiry_ms(tuple, expiry->field, expiry->after_ms);
}

static uint64_t head_horizon_ms(const struct head_expiry *head)
{
    return txn_horizon_ms(list_entry(head, struct expiry, head)->txn);
}

/* Rows of the primary index are under the number 0; entries say themselves when they expire. */
static uint64_t filter_expires_ms(const struct lsm_filter *filter, const struct engine_row *row)
{
    const struct expiry *expiry = list_entry(filter, struct expiry, filter);
    size_t parts_size;
    uint64_t expires_ms;
    if (row->key_size > 0 && row->key[0] == 0)
        return expiry_ms(row->data, expiry->field, expiry->after_ms);
    return txn_body_entry_get(row->data, row->size, &parts_size, &expires_ms) ? expires_ms
                                                                              : LSM_NEVER;
}

static uint64_t filter_horizon_ms(const struct lsm_filter *filter)
{
    return txn_horizon_ms(list_entry(filter, struct expiry, filter)->txn);
}

void expiry_create(struct expiry *expiry, struct txn_system *txn, uint32_t field, uint64_t after_ms)
{
    *expiry = (struct expiry){.head = {head_expires_ms, head_horizon_ms},
                              .filter = {filter_expires_ms, filter_horizon_ms},
                              .txn = txn,
                              .field = field,
                              .after_ms = after_ms};
}
