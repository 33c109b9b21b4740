/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory is counted as a buffer's until it is taken, and by the taker from then on.
 */
#include "mem/parcel.h"

#include "base/assert.h"
#include "base/atomic.h"
#include "mem/account.h"
#include "mem/system.h"

struct parcel {
    _Atomic unsigned holds;
    bool taken;
    size_t size;
};

enum { DATA_OFFSET = 8 * ((sizeof(struct parcel) + PARCEL_ROOM_BYTES + 7) / 8) + 1 };

static size_t memory_bytes(size_t size)
{
    return size + DATA_OFFSET;
}

static bool is_mapped(size_t size)
{
    return memory_bytes(size) >= SYSTEM_HUGE_BYTES;
}

struct parcel *parcel_new(size_t size)
{
    struct parcel *parcel = is_mapped(size) ? system_map_large(memory_bytes(size))
                                            : system_alloc(memory_bytes(size), 16);
    if (parcel == NULL)
        return NULL;
    atomic_init(&parcel->holds, 1);
    parcel->taken = false;
    parcel->size = size;
    account_add(ACCOUNT_BUFFER, (int64_t)memory_bytes(size));
    return parcel;
}

char *parcel_data(struct parcel *parcel)
{
    return (char *)parcel + DATA_OFFSET;
}

size_t parcel_size(const struct parcel *parcel)
{
    return parcel->size;
}

bool parcel_has(struct parcel *parcel, const char *data, size_t size)
{
    const char *begin = parcel_data(parcel) - PARCEL_ROOM_BYTES;
    const char *end = parcel_data(parcel) + parcel->size;
    return data >= begin && data <= end && size <= (size_t)(end - data);
}

bool parcel_take(struct parcel *parcel)
{
    if (parcel->taken)
        return false;
    parcel->taken = true;
    atomic_fetch_add_explicit(&parcel->holds, 1, memory_order_relaxed);
    account_add(ACCOUNT_BUFFER, -(int64_t)memory_bytes(parcel->size));
    return true;
}

void parcel_hold(struct parcel *parcel)
{
    atomic_fetch_add_explicit(&parcel->holds, 1, memory_order_relaxed);
}

void parcel_drop(struct parcel *parcel)
{
    if (parcel == NULL)
        return;
    unsigned before = atomic_fetch_sub_explicit(&parcel->holds, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return;
    if (!parcel->taken)
        account_add(ACCOUNT_BUFFER, -(int64_t)memory_bytes(parcel->size));
    if (is_mapped(parcel->size))
        system_unmap_large(parcel, memory_bytes(parcel->size));
    else
        system_free(parcel);
}
