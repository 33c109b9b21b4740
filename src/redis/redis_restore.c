/* SPDX-License-Identifier: Apache-2.0 */

/*
 * DUMP and RESTORE: a key's value as bytes that Redis reads, and the other way round
 * (redis/redis_dump.h). Streams have a file of their own, redis_stream_dump.c.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_access.h"
#include "redis/redis_commands.h"
#include "redis/redis_dump.h"
#include "redis/redis_fields.h"
#include "redis/redis_gather.h"
#include "redis/redis_list.h"
#include "redis/redis_zset.h"

/* -------------------------------------------------------------------------------------------- DUMP */

struct dumping {
    struct redis_call *call;
    struct redis_key key;
    struct redis_value value;
    struct mp_buffer *out; /* elements */
    uint64_t count;
    enum redis_dump_type type;
};

static int list_write(struct dumping *dumping)
{
    struct redis_list list = {.call = dumping->call,
                              .name = &dumping->call->argv[1],
                              .key = dumping->key,
                              .value = dumping->value};
    struct redis_list_walk walk;
    struct redis_list_chunk chunk;
    int rc = redis__list_walk(&walk, &list, false, NULL);
    dumping->type = REDIS_DUMP_LIST;
    while (!rc && !(rc = redis__list_walk_next(&walk, &chunk))) {
        const char *at = chunk.at;
        dumping->count += chunk.count;
        for (uint32_t n = 0; n < chunk.count; n++) {
            struct redis_item item;
            redis_item_read(at, &item);
            redis_dump_put_string(dumping->out, item.data, item.size);
            at = item.raw + item.raw_size;
        }
    }
    return rc == ERROR_END ? 0 : rc;
}

static struct redis_fields fields_of(const struct dumping *dumping)
{
    return (struct redis_fields){.call = dumping->call,
                                 .name = &dumping->call->argv[1],
                                 .key = dumping->key,
                                 .value = dumping->value,
                                 .type = dumping->value.type,
                                 .width = dumping->value.type == REDIS_TYPE_HASH ? 2 : 1};
}

/* When the first field expires; UINT64_MAX: none does. */
static int first_expiry(const struct dumping *dumping, uint64_t *first_ms)
{
    struct redis_fields fields = fields_of(dumping);
    struct redis_fields_walk walk;
    *first_ms = UINT64_MAX;
    if (dumping->value.type != REDIS_TYPE_HASH || !dumping->value.spread)
        return 0;
    int rc = redis_fields_walk_open(&walk, &fields, NULL);
    while (!rc && !(rc = redis_fields_walk_next(&walk)))
        if (walk.value.expire_ms && walk.value.expire_ms < *first_ms)
            *first_ms = walk.value.expire_ms;
    return rc == ERROR_END ? 0 : rc;
}

static int fields_write(struct dumping *dumping, uint64_t first_ms)
{
    struct redis_fields fields = fields_of(dumping);
    struct redis_fields_walk walk;
    bool hash = dumping->value.type == REDIS_TYPE_HASH, expiring = first_ms != UINT64_MAX;
    int rc = redis_fields_walk_open(&walk, &fields, NULL);
    dumping->type = expiring ? REDIS_DUMP_HASH_EXPIRING : hash ? REDIS_DUMP_HASH : REDIS_DUMP_SET;
    while (!rc && !(rc = redis_fields_walk_next(&walk))) {
        dumping->count++;
        if (expiring)
            redis_dump_put_length(dumping->out,
                                  walk.value.expire_ms ? walk.value.expire_ms - first_ms + 1 : 0);
        redis_dump_put_string(dumping->out, walk.field.data, walk.field.size);
        if (hash)
            redis_dump_put_string(dumping->out, walk.value.value.data, walk.value.value.size);
    }
    return rc == ERROR_END ? 0 : rc;
}

static void entry_write(struct dumping *dumping, const struct redis_zset_entry *entry)
{
    dumping->count++;
    redis_dump_put_string(dumping->out, entry->member.data, entry->member.size);
    redis_dump_put_double(dumping->out, entry->score);
}

/* The highest first, as Redis does. */
static int zset_write(struct dumping *dumping)
{
    const struct redis_element_range range = {.backward = true};
    struct redis_zset zset;
    struct redis_elements elements;
    struct redis_element element;
    int rc = redis_zset_of(&zset, dumping->call, &dumping->value);
    dumping->type = REDIS_DUMP_ZSET;
    if (rc)
        return rc;
    if (!dumping->value.spread) {
        for (size_t n = zset.count; n > 0; n--)
            entry_write(dumping, &zset.entries[n - 1]);
        return 0;
    }
    rc = redis_elements_open(&elements, dumping->call, dumping->value.id, REDIS_BY_NUMBER, &range);
    while (!rc && !(rc = redis_elements_next(&elements, &element))) {
        struct redis_zset_entry entry;
        redis_zset_entry_read(&element, &entry);
        entry_write(dumping, &entry);
    }
    return rc == ERROR_END ? 0 : rc;
}

/* The payload goes to `out`, elements first to another buffer: only then is known how many. */
static int value_write(struct dumping *dumping, struct mp_buffer *out)
{
    unsigned version = REDIS_DUMP_VERSION;
    uint64_t first_ms = UINT64_MAX;
    int rc = 0;
    if (dumping->value.type == REDIS_TYPE_STRING) {
        redis_dump_put_string(dumping->out, dumping->value.data, dumping->value.size);
        dumping->type = REDIS_DUMP_STRING;
    } else if (dumping->value.type == REDIS_TYPE_LIST) {
        rc = list_write(dumping);
    } else if (dumping->value.type == REDIS_TYPE_ZSET) {
        rc = zset_write(dumping);
    } else if (dumping->value.type == REDIS_TYPE_STREAM) {
        rc = redis__stream_dump(dumping->call, dumping->out, &dumping->count);
        dumping->type = REDIS_DUMP_STREAM;
    } else {
        rc = first_expiry(dumping, &first_ms);
        if (!rc)
            rc = fields_write(dumping, first_ms);
    }
    redis_dump_put_type(out, dumping->type);
    if (first_ms != UINT64_MAX) {
        version = REDIS_DUMP_VERSION_EXPIRING;
        redis_dump_put_number(out, first_ms, 8);
    }
    if (dumping->type != REDIS_DUMP_STRING)
        redis_dump_put_length(out, dumping->count);
    if (!dumping->out->failed)
        mp_put_raw(out, dumping->out->data, dumping->out->size);
    redis_dump_put_end(out, version);
    if (!rc && (out->failed || dumping->out->failed))
        rc = diag_set(ERROR_MEMORY, "out of memory");
    return rc;
}

/* As a call of its own, since what writes it takes the name from there. */
int redis__dump_of(struct redis_call *call, const struct redis_slice *name, struct mp_buffer *out,
                   struct redis_value *value)
{
    const struct redis_slice argv[] = {{"dump", 4}, *name};
    struct redis_call inner = *call;
    struct mp_buffer elements;
    struct dumping dumping = {.call = &inner, .out = &elements};
    inner.argv = argv;
    inner.argc = 2;
    inner.parcel_count = 0;
    int rc = redis_value_get(&inner, 1, &dumping.key, &dumping.value);
    *value = dumping.value;
    if (rc || dumping.value.type == REDIS_TYPE_NONE)
        return rc;
    mp_buffer_create(&elements);
    rc = value_write(&dumping, out);
    mp_buffer_destroy(&elements);
    return rc;
}

int redis__dump(struct redis_call *call)
{
    struct mp_buffer out;
    struct redis_value value;
    mp_buffer_create(&out);
    int rc = redis__dump_of(call, &call->argv[1], &out, &value);
    if (!rc && value.type == REDIS_TYPE_NONE)
        call->sink->vtab->null(call->sink);
    else if (!rc)
        call->sink->vtab->bulk(call->sink, out.data, out.size);
    mp_buffer_destroy(&out);
    return rc;
}

int redis__dump_size(struct redis_call *call, unsigned n, size_t *size)
{
    struct mp_buffer out;
    struct redis_value value;
    mp_buffer_create(&out);
    int rc = redis__dump_of(call, &call->argv[n], &out, &value);
    *size = out.size;
    mp_buffer_destroy(&out);
    return rc;
}

/* ----------------------------------------------------------------------------------------- RESTORE */

struct restoring {
    struct redis_call *call;
    struct redis_key key;
    uint64_t expire_ms;
    bool replace, absolute;
};

/* Of IDLETIME and FREQ the one that the policy does not go by must be a number that could be, and means
 * nothing, as in Redis. */
static int options_read(struct restoring *restoring)
{
    struct redis_call *call = restoring->call;
    bool idle = false, frequency = false;
    uint32_t access = 0;
    for (unsigned n = 4; n < call->argc; n++) {
        bool more = n + 1 < call->argc;
        int64_t number = 0;
        int rc = 0;
        if (redis_word(call, n, "replace")) {
            restoring->replace = true;
        } else if (redis_word(call, n, "absttl")) {
            restoring->absolute = true;
        } else if (redis_word(call, n, "idletime") && more && !frequency) {
            rc = redis_integer_arg(call, ++n, &number);
            if (!rc && number < 0)
                rc = diag_set(ERROR_INVALID, "Invalid IDLETIME value, must be >= 0");
            access = redis_access_idle_for(call->config, (uint64_t)number, call->now_ms);
            idle = true;
        } else if (redis_word(call, n, "freq") && more && !idle) {
            rc = redis_integer_arg(call, ++n, &number);
            if (!rc && (number < 0 || number > 255))
                rc = diag_set(ERROR_INVALID, "Invalid FREQ value, must be >= 0 and <= 255");
            access = redis_access_counted(call->config, (unsigned)number, call->now_ms);
            frequency = true;
        } else {
            rc = redis_syntax_error();
        }
        if (rc)
            return rc;
    }
    call->access = access;
    return 0;
}

static int bad_format(void)
{
    return diag_set(ERROR_INVALID, "Bad data format");
}

/* A set or a hash. Fields whose time is over are left out. */
static int fields_store(struct restoring *restoring, const struct redis_dump_value *dump)
{
    struct redis_call *call = restoring->call;
    struct redis_fields fields;
    size_t width = dump->type == REDIS_TYPE_HASH ? 2 : 1;
    int rc = redis_fields_create(&fields, call, &call->argv[1], dump->type);
    fields.value.expire_ms = restoring->expire_ms;
    for (size_t n = 0; n < dump->count && !rc; n += width) {
        uint64_t expire_ms = dump->expiries ? dump->expiries[n] : 0;
        bool created;
        if (expire_ms && expire_ms <= call->now_ms)
            continue;
        rc = redis_fields_set(&fields, &dump->items[n], width == 2 ? &dump->items[n + 1] : NULL,
                              expire_ms, &created);
        if (!rc && !created)
            rc = bad_format();
    }
    return rc ? rc : redis_fields_close(&fields, NULL);
}

static int zset_store(struct restoring *restoring, const struct redis_dump_value *dump)
{
    struct redis_call *call = restoring->call;
    struct redis_zset_entry *entries =
        arena_alloc(txn_arena(call->txn), dump->count * sizeof *entries);
    struct redis_gather members;
    int rc = 0;
    if (!entries)
        return diag_set(ERROR_MEMORY, "out of memory");
    redis_gather_create(&members, call);
    for (size_t n = 0; n < dump->count && !rc; n++) {
        bool added;
        entries[n] = (struct redis_zset_entry){dump->items[n], dump->scores[n]};
        rc = redis_gather_different(&members, dump->items[n], &added);
        if (!rc && !added)
            rc = bad_format();
    }
    if (!rc)
        rc = redis_zset_store(call, &call->argv[1], entries, dump->count, NULL);
    if (rc || !restoring->expire_ms)
        return rc;
    struct redis_value value;
    rc = redis_value_get_for_update(call, 1, &restoring->key, &value);
    return rc ? rc : redis_value_put_expiry(call, &restoring->key, &value, restoring->expire_ms);
}

static int value_store(struct restoring *restoring, const struct redis_dump_value *dump)
{
    struct redis_call *call = restoring->call;
    const struct redis_slice nothing = {NULL, 0};
    if (dump->type == REDIS_TYPE_STRING)
        return redis_string_put(call, &restoring->key, restoring->expire_ms, dump->items[0],
                                nothing);
    if (dump->type == REDIS_TYPE_LIST)
        return redis__list_store(call, &call->argv[1], dump->items, dump->count,
                                 restoring->expire_ms);
    if (dump->type == REDIS_TYPE_STREAM)
        return redis__stream_restore(call, dump, restoring->expire_ms);
    return dump->type == REDIS_TYPE_ZSET ? zset_store(restoring, dump)
                                         : fields_store(restoring, dump);
}

/* argv[2]: *past when the key would have expired by now. */
static int expiry_read(struct restoring *restoring, bool *past)
{
    const struct redis_call *call = restoring->call;
    int64_t ttl;
    int rc = redis_integer_arg(call, 2, &ttl);
    if (!rc && ttl < 0)
        rc = diag_set(ERROR_INVALID, "Invalid TTL value, must be >= 0");
    if (rc)
        return rc;
    restoring->expire_ms = (uint64_t)ttl;
    if (ttl && !restoring->absolute)
        restoring->expire_ms += call->now_ms;
    *past = ttl && restoring->expire_ms <= call->now_ms;
    return 0;
}

int redis__restore(struct redis_call *call)
{
    struct restoring restoring = {.call = call};
    struct redis_dump_value dump;
    struct redis_value present;
    bool past;
    int rc = options_read(&restoring);
    if (!rc)
        rc = redis_value_get_for_update(call, 1, &restoring.key, &present);
    if (!rc && present.type != REDIS_TYPE_NONE && !restoring.replace)
        rc = diag_set(ERROR_KEY_EXISTS, "Target key name already exists.");
    if (!rc)
        rc = expiry_read(&restoring, &past);
    if (!rc)
        rc = redis_dump_check(call->argv[3].data, call->argv[3].size);
    if (!rc)
        rc = redis_dump_read(txn_arena(call->txn), call->argv[3].data, call->argv[3].size, &dump);
    if (!rc && present.type != REDIS_TYPE_NONE)
        rc = redis_value_delete(call, &restoring.key, &present);
    if (!rc && !past)
        rc = value_store(&restoring, &dump);
    if (rc)
        return rc;
    if (!past)
        rc = redis_changed(call, &call->argv[1], dump.type, REDIS_NOTIFY_GENERIC, "restore");
    else if (present.type != REDIS_TYPE_NONE)
        rc = redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del");
    if (!rc)
        call->sink->vtab->status(call->sink, "OK");
    return rc;
}
