/* SPDX-License-Identifier: Apache-2.0 */

/*
 * DEBUG OBJECT and DEBUG POPULATE, in the form that the tests of clients know.
 *
 * What OBJECT says of addresses means nothing here: there is one, since parsers look for it. Its
 * serializedlength is that of the value in DUMP's form, without type, version and checksum.
 */
#include "redis/redis_debug.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_access.h"
#include "redis/redis_commands.h"
#include "redis/redis_value.h"

enum { DUMP_EXTRA_BYTES = 1 + 2 + 8, NAME_EXTRA_BYTES = 24 };

static int object(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    size_t size = 0;
    char text[256];
    call->no_touch = true;
    int rc = redis_value_get(call, 2, &key, &value);
    if (!rc && value.type == REDIS_TYPE_NONE)
        rc = diag_set(ERROR_INVALID, "no such key");
    if (rc)
        return rc;
    const char *encoding = redis__object_encoding(call, &value);
    uint64_t idle_s = redis_access_idle_s(call->config, value.access, call->now_ms);
    rc = encoding ? redis__dump_size(call, 2, &size) : diag_code();
    if (rc)
        return rc;
    snprintf(text, sizeof text,
             "Value at:0x0 refcount:1 encoding:%s serializedlength:%zu lru:%" PRIu64
             " lru_seconds_idle:%" PRIu64,
             encoding, size - DUMP_EXTRA_BYTES, (call->now_ms / 1000 - idle_s) & 0xffffff, idle_s);
    call->sink->vtab->status(call->sink, text);
    return 0;
}

/* One key, if it is not there: "prefix:n" is "value:n", with zeros behind, or its beginning, when it is to
 * have a size. `room` has that, and space for the number. */
static int key_populate(struct redis_call *call, const struct redis_slice *prefix, int64_t number,
                        int64_t size, char *name, char *room)
{
    struct redis_key key;
    struct redis_value value;
    const struct redis_slice nothing = {NULL, 0};
    struct redis_slice slice = {name, prefix->size}, data = {room, 0};
    slice.size += (size_t)snprintf(name + prefix->size, NAME_EXTRA_BYTES, ":%" PRId64, number);
    data.size = (size_t)snprintf(room, NAME_EXTRA_BYTES, "value:%" PRId64, number);
    if (size > 0) {
        memset(room + data.size, 0, NAME_EXTRA_BYTES - data.size);
        data.size = (size_t)size;
    }
    int rc = redis_open_for_update(call, &slice, REDIS_TYPE_NONE, &key, &value);
    if (rc || value.type != REDIS_TYPE_NONE)
        return rc;
    rc = redis_value_put(call, &key, REDIS_TYPE_STRING, 0, data, nothing);
    return rc ? rc : redis_changed(call, &slice, REDIS_TYPE_STRING, 0, "");
}

static int populate(struct redis_call *call)
{
    static const struct redis_slice KEY = {"key", 3};
    const struct redis_slice *prefix = call->argc > 3 ? &call->argv[3] : &KEY;
    int64_t count, size = 0;
    int rc = redis_integer_arg(call, 2, &count);
    if (!rc && call->argc > 4)
        rc = redis_integer_arg(call, 4, &size);
    if (!rc &&
        (count < 0 || size < 0 || (uint64_t)size > load_relaxed(&call->config->proto_max_bulk_len)))
        rc = diag_set(ERROR_INVALID, "value is out of range, must be positive");
    if (rc)
        return rc;
    struct arena *arena = txn_arena(call->txn);
    char *name = arena_alloc(arena, prefix->size + NAME_EXTRA_BYTES);
    char *room = arena_alloc(arena, (size_t)size + NAME_EXTRA_BYTES);
    if (!name || !room)
        return diag_set(ERROR_MEMORY, "out of memory");
    if (prefix->size > 0)
        memcpy(name, prefix->data, prefix->size);
    memset(room, 0, (size_t)size + NAME_EXTRA_BYTES);
    for (int64_t n = 0; n < count && !rc; n++)
        rc = key_populate(call, prefix, n, size, name, room);
    if (!rc)
        call->sink->vtab->status(call->sink, "OK");
    return rc;
}

const struct redis_command redis_debug_object = {.name = "debug",
                                                 .arity = 3,
                                                 .flags = REDIS_READONLY,
                                                 .first_key = 2,
                                                 .last_key = 2,
                                                 .key_step = 1,
                                                 .summary = "Tells of a key what tests ask.",
                                                 .since = "1.0.0",
                                                 .group = "server",
                                                 .run = object};
const struct redis_command redis_debug_populate = {.name = "debug",
                                                   .arity = -3,
                                                   .flags = REDIS_WRITE | REDIS_DENY_OOM,
                                                   .summary = "Makes keys to test with.",
                                                   .since = "1.0.0",
                                                   .group = "server",
                                                   .run = populate};
