/* SPDX-License-Identifier: Apache-2.0 */

/* Packed collections: arrays of MessagePack, read in place and written in the arena. */
#include "redis/redis_packed.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_number.h"

void redis_packed_open(struct redis_packed *packed, const struct redis_value *value)
{
    *packed = (struct redis_packed){NULL, 0, 0};
    if (value->type == REDIS_TYPE_NONE)
        return;
    packed->at = value->data;
    packed->count = packed->left = mp_decode_array(&packed->at);
}

void redis_item_read(const char *raw, struct redis_item *item)
{
    const char *at = raw;
    uint32_t size;
    int64_t integer;
    item->raw = raw;
    switch (mp_typeof(*raw)) {
    case MP_STR:
        item->data = mp_decode_str(&at, &size);
        item->size = size;
        break;
    case MP_UINT:
    case MP_INT:
        mp_read_int(&at, &integer);
        item->size = redis_integer_format(integer, item->digits);
        item->data = item->digits;
        break;
    case MP_DOUBLE:
        item->size = redis_double_format(mp_decode_double(&at), item->digits);
        item->data = item->digits;
        break;
    default:
        mp_next(&at);
        item->data = "";
        item->size = 0;
    }
    item->raw_size = (size_t)(at - raw);
}

bool redis_packed_next(struct redis_packed *packed, struct redis_item *item)
{
    if (packed->left == 0)
        return false;
    packed->left--;
    redis_item_read(packed->at, item);
    packed->at += item->raw_size;
    return true;
}

bool redis_packed_skip(struct redis_packed *packed)
{
    if (packed->left == 0)
        return false;
    packed->left--;
    mp_next(&packed->at);
    return true;
}

const char *redis_packed_find(const char *at, const char *end, unsigned step, const char *raw,
                              size_t size)
{
    while (at < end) {
        const char *element = at;
        mp_next(&at);
        if ((size_t)(at - element) == size && memcmp(element, raw, size) == 0)
            return element;
        for (unsigned n = 1; n < step; n++)
            mp_next(&at);
    }
    return NULL;
}

char *redis_item_pack(char *out, const void *data, size_t size)
{
    int64_t integer;
    if (!redis_integer_parse(data, size, &integer))
        return mp_encode_str(out, data, (uint32_t)size);
    return integer < 0 ? mp_encode_int(out, integer) : mp_encode_uint(out, (uint64_t)integer);
}

void redis_packer_create(struct redis_packer *packer, struct redis_call *call, size_t capacity)
{
    capacity += REDIS_PACKER_START + 32;
    *packer = (struct redis_packer){.call = call,
                                    .data = arena_alloc(txn_arena(call->txn), capacity),
                                    .size = REDIS_PACKER_START,
                                    .capacity = capacity};
}

/* Room for `size` more; NULL when memory has run out. */
static char *reserve(struct redis_packer *packer, size_t size)
{
    if (!packer->data)
        return NULL;
    if (packer->capacity - packer->size < size) {
        packer->capacity = 2 * packer->capacity + size;
        char *larger = arena_alloc(txn_arena(packer->call->txn), packer->capacity);
        if (larger)
            memcpy(larger, packer->data, packer->size);
        packer->data = larger;
    }
    return packer->data ? packer->data + packer->size : NULL;
}

static void added(struct redis_packer *packer, const char *end)
{
    packer->size = (size_t)(end - packer->data);
    packer->count++;
}

void redis_packer_add(struct redis_packer *packer, const void *data, size_t size)
{
    char *out = reserve(packer, redis_item_size_max(size) + 5);
    if (out)
        added(packer, redis_item_pack(out, data, size));
}

void redis_packer_add_double(struct redis_packer *packer, double value)
{
    char *out = reserve(packer, 9);
    if (out)
        added(packer, mp_encode_double(out, value));
}

void redis_packer_raw(struct redis_packer *packer, const char *raw, size_t size)
{
    char *out = reserve(packer, size);
    if (!out)
        return;
    memcpy(out, raw, size);
    added(packer, out + size);
}

void redis_packer_open(struct redis_packer *packer, struct redis_call *call,
                       const struct redis_value *value, size_t more)
{
    const char *at = value->data;
    size_t size = 0;
    uint32_t count = 0;
    if (value->type != REDIS_TYPE_NONE) {
        count = mp_decode_array(&at);
        size = (size_t)(value->data + value->size - at);
    }
    redis_packer_create(packer, call, size + more);
    if (!packer->data)
        return;
    if (size)
        memcpy(packer->data + packer->size, at, size);
    packer->size += size;
    packer->count = count;
}

void redis_packer_splice(struct redis_packer *packer, size_t at, size_t old_size, const char *raw,
                         size_t size, int more)
{
    if (size > old_size && !reserve(packer, size - old_size))
        return;
    if (!packer->data)
        return;
    char *place = packer->data + at;
    memmove(place + size, place + old_size, packer->size - at - old_size);
    if (size)
        memcpy(place, raw, size);
    packer->size = packer->size - old_size + size;
    packer->count = (uint32_t)((int64_t)packer->count + more);
}

int redis_packer_put(struct redis_packer *packer, const struct redis_key *key, int type,
                     uint64_t expire_ms)
{
    if (!packer->data)
        return diag_set(ERROR_MEMORY, "out of memory");
    char header[REDIS_PACKER_START];
    size_t size = (size_t)(mp_encode_array(header, packer->count) - header);
    char *start = packer->data + REDIS_PACKER_START - size;
    memcpy(start, header, size);
    return redis_value_put(packer->call, key, type, expire_ms,
                           (struct redis_slice){start, size + packer->size - REDIS_PACKER_START},
                           (struct redis_slice){NULL, 0});
}
