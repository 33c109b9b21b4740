/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arbitrary bytes as the payload of RESTORE, their checksum made right: reading never fails a check of
 * the sanitizers, and what is read and written again, plainly, is read the same (but
 * streams, whose nodes are written from rows).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"
#include "redis/redis_dump.h"
#include "redis/redis_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum redis_dump_type plain_type(const struct redis_dump_value *value)
{
    switch (value->type) {
    case REDIS_TYPE_STRING:
        return REDIS_DUMP_STRING;
    case REDIS_TYPE_LIST:
        return REDIS_DUMP_LIST;
    case REDIS_TYPE_SET:
        return REDIS_DUMP_SET;
    case REDIS_TYPE_ZSET:
        return REDIS_DUMP_ZSET;
    default:
        return value->expiries ? REDIS_DUMP_HASH_EXPIRING : REDIS_DUMP_HASH;
    }
}

static void write_again(const struct redis_dump_value *value, struct mp_buffer *out)
{
    enum redis_dump_type type = plain_type(value);
    unsigned width = value->type == REDIS_TYPE_HASH ? 2 : 1;
    redis_dump_put_type(out, type);
    if (type == REDIS_DUMP_HASH_EXPIRING)
        redis_dump_put_number(out, 1, 8);
    if (type != REDIS_DUMP_STRING)
        redis_dump_put_length(out, value->count / width);
    for (size_t n = 0; n < value->count; n++) {
        if (type == REDIS_DUMP_HASH_EXPIRING && n % 2 == 0)
            redis_dump_put_length(out, value->expiries[n]);
        redis_dump_put_string(out, value->items[n].data, value->items[n].size);
        if (type == REDIS_DUMP_ZSET)
            redis_dump_put_double(out, value->scores[n]);
    }
    redis_dump_put_end(out, REDIS_DUMP_VERSION_MAX);
    ASSERT(!out->failed);
}

static void check_same(const struct redis_dump_value *one, const struct redis_dump_value *other)
{
    ASSERT(one->type == other->type && one->count == other->count);
    for (size_t n = 0; n < one->count; n++) {
        ASSERT(one->items[n].size == other->items[n].size);
        ASSERT(memcmp(one->items[n].data, other->items[n].data, one->items[n].size) == 0);
        if (one->type == REDIS_TYPE_ZSET)
            ASSERT(one->scores[n] == other->scores[n]);
        if (one->expiries)
            ASSERT(one->expiries[n] == other->expiries[n]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct redis_dump_value value, again;
    struct mp_buffer payload, out;
    struct arena arena;
    arena_create(&arena, 65536);
    mp_buffer_create(&payload);
    mp_buffer_create(&out);
    redis_dump_check(data, size);
    mp_put_raw(&payload, data, size);
    redis_dump_put_end(&payload, REDIS_DUMP_VERSION);
    /* a copy whose memory ends where the payload does */
    char *copy = malloc(payload.size);
    ASSERT(copy != NULL && !payload.failed);
    memcpy(copy, payload.data, payload.size);
    ASSERT(redis_dump_check(copy, payload.size) == (size > 0 ? 0 : ERROR_INVALID));
    if (redis_dump_read(&arena, copy, payload.size, &value) == 0 && value.stream == NULL) {
        write_again(&value, &out);
        ASSERT(redis_dump_read(&arena, out.data, out.size, &again) == 0);
        check_same(&value, &again);
    }
    free(copy);
    mp_buffer_destroy(&out);
    mp_buffer_destroy(&payload);
    arena_destroy(&arena);
    return 0;
}
