/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands on hashes: reading, writing, counting, drawing, scanning. How a hash is stored is told in
 * redis_fields.h; fields that expire have redis_hash_expire.c.
 */
#include <math.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_fields.h"
#include "redis/redis_gather.h"
#include "redis/redis_increment.h"

static int hash_open(struct redis_fields *hash, struct redis_call *call)
{
    return redis_fields_open(hash, call, &call->argv[1], REDIS_TYPE_HASH);
}

static int hash_open_for_update(struct redis_fields *hash, struct redis_call *call)
{
    return redis_fields_open_for_update(hash, call, &call->argv[1], REDIS_TYPE_HASH);
}

static int reply_integer(struct redis_call *call, int rc, int64_t value)
{
    if (!rc)
        call->sink->vtab->integer(call->sink, value);
    return rc;
}

static void reply_item(struct redis_call *call, const struct redis_item *item)
{
    call->sink->vtab->bulk(call->sink, item->data, item->size);
}

static void reply_field(struct redis_call *call, const struct redis_field *field)
{
    if (field->present)
        reply_item(call, &field->value);
    else
        call->sink->vtab->null(call->sink);
}

static int hash_changed(struct redis_call *call, const char *event)
{
    return redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_HASH, event);
}

/* Closes a hash in which something was set. */
static int hash_set_close(struct redis_fields *hash, const char *event)
{
    int rc = redis_fields_close(hash, NULL);
    return rc ? rc : hash_changed(hash->call, event);
}

/* ---------------------------------------------------------------------------------------- writing */

/* Sets all pairs; how many are new. */
static int pairs_set(struct redis_call *call, const char *command, int64_t *count)
{
    struct redis_fields hash;
    *count = 0;
    if (call->argc % 2)
        return diag_set(ERROR_INVALID, "wrong number of arguments for '%s' command", command);
    int rc = hash_open_for_update(&hash, call);
    for (unsigned n = 2; n < call->argc && !rc; n += 2) {
        bool created;
        rc = redis_fields_set(&hash, &call->argv[n], &call->argv[n + 1], 0, &created);
        *count += created;
    }
    return rc ? rc : hash_set_close(&hash, "hset");
}

int redis__hset(struct redis_call *call)
{
    int64_t count;
    int rc = pairs_set(call, "hset", &count);
    return reply_integer(call, rc, count);
}

int redis__hmset(struct redis_call *call)
{
    int64_t count;
    int rc = pairs_set(call, "hmset", &count);
    if (!rc)
        call->sink->vtab->status(call->sink, "OK");
    return rc;
}

int redis__hsetnx(struct redis_call *call)
{
    struct redis_fields hash;
    struct redis_field old;
    int rc = hash_open_for_update(&hash, call);
    if (!rc)
        rc = redis_fields_get(&hash, &call->argv[2], &old);
    if (rc)
        return rc;
    if (!old.present) {
        rc = redis_fields_set(&hash, &call->argv[2], &call->argv[3], 0, NULL);
        if (!rc)
            rc = hash_set_close(&hash, "hset");
    }
    return reply_integer(call, rc, !old.present);
}

int redis__hdel(struct redis_call *call)
{
    struct redis_fields hash;
    int64_t count = 0;
    bool ended;
    int rc = hash_open_for_update(&hash, call);
    if (rc || !redis_fields_exist(&hash))
        return reply_integer(call, rc, 0);
    for (unsigned n = 2; n < call->argc && !rc; n++) {
        bool removed;
        rc = redis_fields_remove(&hash, &call->argv[n], &removed);
        count += removed;
    }
    if (!rc)
        rc = redis_fields_close(&hash, &ended);
    if (!rc && count)
        rc = hash_changed(call, "hdel");
    if (!rc && ended)
        rc = redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del");
    return reply_integer(call, rc, count);
}

int redis__hincrby(struct redis_call *call)
{
    struct redis_fields hash;
    struct redis_field old;
    int64_t amount, number = 0;
    char text[24];
    int rc = redis_integer_arg(call, 3, &amount);
    if (!rc)
        rc = hash_open_for_update(&hash, call);
    if (!rc)
        rc = redis_fields_get(&hash, &call->argv[2], &old);
    if (rc)
        return rc;
    if (old.present && !redis_integer_parse(old.value.data, old.value.size, &number))
        return diag_set(ERROR_INVALID, "hash value is not an integer");
    if (__builtin_add_overflow(number, amount, &number))
        return diag_set(ERROR_INVALID, "increment or decrement would overflow");
    const struct redis_slice value = {text, redis_integer_format(number, text)};
    rc = redis_fields_set(&hash, &call->argv[2], &value, old.present ? old.expire_ms : 0, NULL);
    if (!rc)
        rc = hash_set_close(&hash, "hincrby");
    return reply_integer(call, rc, number);
}

int redis__hincrbyfloat(struct redis_call *call)
{
    struct redis_fields hash;
    struct redis_field old;
    long double amount, number = 0;
    char text[REDIS_INCREMENT_TEXT_MAX];
    if (!redis_increment_parse(call->argv[3].data, call->argv[3].size, &amount))
        return diag_set(ERROR_INVALID, "value is not a valid float");
    if (isinf(amount))
        return diag_set(ERROR_INVALID, "value is NaN or Infinity");
    int rc = hash_open_for_update(&hash, call);
    if (!rc)
        rc = redis_fields_get(&hash, &call->argv[2], &old);
    if (rc)
        return rc;
    if (old.present && !redis_increment_parse(old.value.data, old.value.size, &number))
        return diag_set(ERROR_INVALID, "hash value is not a float");
    number += amount;
    if (isinf(number) || isnan(number))
        return diag_set(ERROR_INVALID, "increment would produce NaN or Infinity");
    const struct redis_slice value = {text, redis_increment_format(number, text)};
    rc = redis_fields_set(&hash, &call->argv[2], &value, old.present ? old.expire_ms : 0, NULL);
    if (!rc)
        rc = hash_set_close(&hash, "hincrbyfloat");
    if (!rc)
        call->sink->vtab->bulk(call->sink, value.data, value.size);
    return rc;
}

/* ---------------------------------------------------------------------------------------- reading */

/* argv[2] of argv[1]. */
static int field_get(struct redis_call *call, struct redis_field *out)
{
    struct redis_fields hash;
    int rc = hash_open(&hash, call);
    return rc ? rc : redis_fields_get(&hash, &call->argv[2], out);
}

int redis__hget(struct redis_call *call)
{
    struct redis_field field;
    int rc = field_get(call, &field);
    if (!rc)
        reply_field(call, &field);
    return rc;
}

int redis__hexists(struct redis_call *call)
{
    struct redis_field field;
    int rc = field_get(call, &field);
    return reply_integer(call, rc, !rc && field.present);
}

int redis__hstrlen(struct redis_call *call)
{
    struct redis_field field;
    int rc = field_get(call, &field);
    return reply_integer(call, rc, !rc && field.present ? (int64_t)field.value.size : 0);
}

int redis__hmget(struct redis_call *call)
{
    struct redis_fields hash;
    int rc = hash_open(&hash, call);
    if (rc)
        return rc;
    call->sink->vtab->array(call->sink, call->argc - 2);
    for (unsigned n = 2; n < call->argc && !rc; n++) {
        struct redis_field field;
        rc = redis_fields_get(&hash, &call->argv[n], &field);
        if (!rc)
            reply_field(call, &field);
    }
    return rc;
}

int redis__hlen(struct redis_call *call)
{
    struct redis_fields hash;
    int64_t length = 0;
    int rc = hash_open(&hash, call);
    if (!rc)
        rc = redis_fields_length(&hash, &length);
    return reply_integer(call, rc, length);
}

/* Exactly `length` fields are replied, as was announced, even if what others have not committed (which
 * only those see who asked for it) makes them more or fewer. */
static int fields_reply(struct redis_fields *hash, int64_t length, bool names, bool values)
{
    struct redis_call *call = hash->call;
    struct redis_fields_walk walk;
    int rc = redis_fields_walk_open(&walk, hash, NULL);
    for (int64_t n = 0; n < length && (!rc || rc == ERROR_END); n++) {
        if (!rc)
            rc = redis_fields_walk_next(&walk);
        bool none = rc == ERROR_END;
        if (names && !rc)
            reply_item(call, &walk.field);
        if (values && !rc)
            reply_item(call, &walk.value.value);
        if (names && none)
            call->sink->vtab->null(call->sink);
        if (values && none)
            call->sink->vtab->null(call->sink);
    }
    return rc == ERROR_END ? 0 : rc;
}

static int hash_get_all(struct redis_call *call, bool names, bool values)
{
    struct redis_fields hash;
    int64_t length = 0;
    int rc = hash_open(&hash, call);
    if (!rc)
        rc = redis_fields_length(&hash, &length);
    if (rc)
        return rc;
    if (names && values)
        call->sink->vtab->map(call->sink, (size_t)length);
    else
        call->sink->vtab->array(call->sink, (size_t)length);
    return fields_reply(&hash, length, names, values);
}

int redis__hgetall(struct redis_call *call)
{
    return hash_get_all(call, true, true);
}

int redis__hkeys(struct redis_call *call)
{
    return hash_get_all(call, true, false);
}

int redis__hvals(struct redis_call *call)
{
    return hash_get_all(call, false, true);
}

int redis__hscan(struct redis_call *call)
{
    struct redis_fields hash;
    struct redis_fields_walk walk;
    struct redis_scan_options options = {.count = 0};
    struct redis_gather found;
    struct redis_slice after = {NULL, 0};
    uint64_t cursor;
    redis_gather_create(&found, call);
    int rc = redis_scan_cursor(call, &cursor);
    if (!rc)
        rc = hash_open(&hash, call);
    if (!rc && redis_fields_exist(&hash))
        rc = redis_scan_options(call, true, &options);
    if (!rc && hash.value.spread)
        rc = redis_scan_after(call, cursor, &after);
    if (!rc)
        rc = redis_fields_walk_open(&walk, &hash, after.data ? &after : NULL);
    bool stops = !rc && hash.value.spread && call->scans;
    for (int64_t n = 0; !rc && (n < options.count || !stops); n++) {
        rc = redis_fields_walk_next(&walk);
        if (rc || !redis_scan_matches(&options, &walk.field))
            continue;
        rc = redis_gather_item(&found, &walk.field, false);
        if (!rc && !options.no_values)
            rc = redis_gather_item(&found, &walk.value.value, false);
    }
    cursor = 0;
    if (!rc)
        rc = redis_scan_keep(call, (struct redis_slice){walk.field.data, walk.field.size}, &cursor);
    if (rc && rc != ERROR_END)
        return rc;
    redis_scan_reply(cursor, &found);
    return 0;
}

/* ---------------------------------------------------------------------------------------- drawing */

static bool row_is_live(const struct redis_call *call, const struct redis_element *element)
{
    const char *at = element->value.data;
    uint64_t expire_ms = 0;
    if (mp_typeof(*at) != MP_ARRAY)
        return true;
    mp_decode_array(&at);
    mp_next(&at);
    return !mp_read_uint(&at, &expire_ms) || expire_ms > call->now_ms;
}

/* The value in a field's row. */
static void row_value(const struct redis_element *element, struct redis_item *item)
{
    const char *at = element->value.data;
    if (mp_typeof(*at) == MP_ARRAY)
        mp_decode_array(&at);
    redis_item_read(at, item);
}

/* Names and values in turn. */
static int draw_add(struct redis_gather *drawn, const struct redis_element *element)
{
    struct redis_item value;
    row_value(element, &value);
    int rc = redis_gather_add(drawn, (struct redis_slice){element->key, element->key_size});
    return rc ? rc : redis_gather_item(drawn, &value, false);
}

/* One that has not expired, of those of which there is one. */
static int draw_one(struct redis_fields *hash, struct redis_element *out)
{
    enum { TRIES_MAX = 64 };
    struct redis_call *call = hash->call;
    uint64_t found;
    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        int rc = redis_element_random(call, hash->value.id, REDIS_ELEMENT, redis_random(call), out,
                                      NULL);
        if (rc || row_is_live(call, out))
            return rc;
    }
    int rc =
        redis_spread_sample(call, hash->value.id, REDIS_ELEMENT, 0, 1, row_is_live, out, &found);
    return rc ? rc : found ? 0 : ERROR_END;
}

static int draw_spread(struct redis_fields *hash, int64_t length, int64_t count, bool different,
                       struct redis_gather *drawn)
{
    struct redis_call *call = hash->call;
    struct redis_element one, *some;
    uint64_t found = 0;
    int rc = 0;
    for (int64_t n = 0; n < count && !different && !rc; n++) {
        rc = draw_one(hash, &one);
        if (!rc)
            rc = draw_add(drawn, &one);
    }
    if (!different)
        return rc == ERROR_END ? 0 : rc;
    some = arena_alloc(txn_arena(call->txn), (size_t)(count + 1) * sizeof *some);
    if (!some)
        return diag_set(ERROR_MEMORY, "out of memory");
    rc = redis_spread_sample(call, hash->value.id, REDIS_ELEMENT, (uint64_t)length, (uint64_t)count,
                             row_is_live, some, &found);
    for (uint64_t n = 0; n < found && !rc; n++)
        rc = draw_add(drawn, &some[n]);
    return rc;
}

static int draw_packed(struct redis_fields *hash, int64_t length, int64_t count, bool different,
                       struct redis_gather *drawn)
{
    struct redis_gather all;
    struct redis_fields_walk walk;
    redis_gather_create(&all, hash->call);
    int rc = redis_fields_walk_open(&walk, hash, NULL);
    while (!rc && !(rc = redis_fields_walk_next(&walk))) {
        rc = redis_gather_item(&all, &walk.field, false);
        if (!rc)
            rc = redis_gather_item(&all, &walk.value.value, false);
    }
    if (rc != ERROR_END)
        return rc;
    rc = 0;
    for (int64_t n = 0; (different ? n < length && count > 0 : n < count) && !rc; n++) {
        uint64_t random = redis_random(hash->call);
        uint64_t at = different ? (uint64_t)n : random % (uint64_t)length;
        if (different && (int64_t)(random % (uint64_t)(length - n)) >= count)
            continue;
        count -= different;
        rc = redis_gather_add(drawn, all.items[2 * at]);
        if (!rc)
            rc = redis_gather_add(drawn, all.items[2 * at + 1]);
    }
    return rc;
}

static void draw_reply(const struct redis_gather *drawn, bool values)
{
    struct redis_sink *sink = drawn->call->sink;
    bool pairs = values && drawn->call->protocol == 3;
    sink->vtab->array(sink, values && !pairs ? drawn->count : drawn->count / 2);
    for (size_t n = 0; n < drawn->count; n += 2) {
        if (pairs)
            sink->vtab->array(sink, 2);
        sink->vtab->bulk(sink, drawn->items[n].data, drawn->items[n].size);
        if (values)
            sink->vtab->bulk(sink, drawn->items[n + 1].data, drawn->items[n + 1].size);
    }
}

/* argv[2] and argv[3]: how many, and whether with values. */
static int draw_arguments(const struct redis_call *call, int64_t *count, bool *values)
{
    *count = 1;
    *values = call->argc == 4;
    if (call->argc == 2)
        return 0;
    int rc = redis_draw_count(call, 2, count);
    if (rc)
        return rc;
    if (call->argc > 4 || (call->argc == 4 && !redis_word(call, 3, "withvalues")))
        return redis_syntax_error();
    if (*values && (*count < -INT64_MAX / 2 || *count > INT64_MAX / 2))
        return diag_set(ERROR_INVALID, "value is out of range");
    return 0;
}

int redis__hrandfield(struct redis_call *call)
{
    struct redis_fields hash;
    struct redis_gather drawn;
    int64_t count, length = 0;
    bool values;
    redis_gather_create(&drawn, call);
    int rc = draw_arguments(call, &count, &values);
    if (!rc)
        rc = hash_open(&hash, call);
    if (!rc)
        rc = redis_fields_length(&hash, &length);
    if (rc)
        return rc;
    bool different = count > 0;
    count = count < 0 ? -count : count > length ? length : count;
    if (length && count)
        rc = (hash.value.spread ? draw_spread : draw_packed)(&hash, length, count, different,
                                                             &drawn);
    if (rc)
        return rc;
    if (call->argc > 2)
        draw_reply(&drawn, values);
    else if (drawn.count)
        call->sink->vtab->bulk(call->sink, drawn.items[0].data, drawn.items[0].size);
    else
        call->sink->vtab->null(call->sink);
    return 0;
}
