/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fields that expire: HEXPIRE and its kin, as Redis 7.4 has them. The reply is an array, a number for
 * each field that was asked for. A time that has passed deletes the field at once.
 */
#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_fields.h"

enum { NO_FIELD = -2, NO_TIME = -1, NOT_MET = 0, DONE = 1, DELETED = 2 };
enum condition { ALWAYS, NX, XX, GT, LT };

/* The latest time that Redis allows a field. */
#define TIME_MAX_MS ((INT64_C(1) << 46) - 1)

/* FIELDS at argv[at], how many, and the names behind that: the first of them in *first. */
static int fields_find(const struct redis_call *call, unsigned at, unsigned *first)
{
    int64_t count;
    if (at + 1 >= call->argc || !redis_word(call, at, "fields"))
        return diag_set(ERROR_INVALID,
                        "Mandatory argument FIELDS is missing or not at the right position");
    const struct redis_slice *arg = &call->argv[at + 1];
    if (!redis_integer_parse(arg->data, arg->size, &count) || count < 1)
        return diag_set(ERROR_INVALID, "Parameter `numFields` should be greater than 0");
    if (count != (int64_t)call->argc - at - 2)
        return diag_set(ERROR_INVALID,
                        "The `numfields` parameter must match the number of arguments");
    *first = at + 2;
    return 0;
}

static int time_read(const struct redis_call *call, int unit_ms, bool absolute, const char *command,
                     int64_t *expire_ms)
{
    int64_t amount, now_ms = absolute ? 0 : (int64_t)call->now_ms;
    int rc = redis_integer_arg(call, 2, &amount);
    if (rc)
        return rc;
    if (amount < 0)
        return diag_set(ERROR_INVALID, "invalid expire time, must be >= 0");
    if (amount > TIME_MAX_MS / unit_ms || amount * unit_ms > TIME_MAX_MS - now_ms)
        return diag_set(ERROR_INVALID, "invalid expire time in '%s' command", command);
    *expire_ms = amount * unit_ms + now_ms;
    return 0;
}

static enum condition condition_read(const struct redis_call *call, unsigned n)
{
    return redis_word(call, n, "nx")   ? NX
           : redis_word(call, n, "xx") ? XX
           : redis_word(call, n, "gt") ? GT
           : redis_word(call, n, "lt") ? LT
                                       : ALWAYS;
}

/* A field that never expires counts as one that expires later than all. */
static bool condition_met(enum condition condition, uint64_t old_ms, int64_t new_ms)
{
    switch (condition) {
    case NX:
        return old_ms == 0;
    case XX:
        return old_ms != 0;
    case GT:
        return old_ms && new_ms > (int64_t)old_ms;
    case LT:
        return !old_ms || new_ms < (int64_t)old_ms;
    default:
        return true;
    }
}

static int numbers_reply_none(struct redis_call *call, unsigned first)
{
    call->sink->vtab->array(call->sink, call->argc - first);
    for (unsigned n = first; n < call->argc; n++)
        call->sink->vtab->integer(call->sink, NO_FIELD);
    return 0;
}

/* Gives the value of a field another time; 0: none. */
static int time_put(struct redis_fields *hash, const struct redis_slice *field,
                    const struct redis_field *old, uint64_t expire_ms)
{
    struct redis_slice value = {old->value.data, old->value.size};
    value.data = arena_copy(txn_arena(hash->call->txn), value.data, value.size);
    return value.data ? redis_fields_set(hash, field, &value, expire_ms, NULL)
                      : diag_set(ERROR_MEMORY, "out of memory");
}

/* What becomes of one field. */
static int time_set(struct redis_fields *hash, const struct redis_slice *field,
                    enum condition condition, int64_t expire_ms, int *result)
{
    struct redis_field old;
    int rc = redis_fields_get(hash, field, &old);
    *result = NO_FIELD;
    if (rc || !old.present)
        return rc;
    *result = NOT_MET;
    if (!condition_met(condition, old.expire_ms, expire_ms))
        return 0;
    if (expire_ms <= (int64_t)hash->call->now_ms) {
        *result = DELETED;
        return redis_fields_remove(hash, field, NULL);
    }
    *result = DONE;
    return time_put(hash, field, &old, (uint64_t)expire_ms);
}

/* Closes a hash of which these many fields have changed or gone. */
static int close_and_tell(struct redis_fields *hash, const char *event, unsigned changed,
                          unsigned deleted)
{
    struct redis_call *call = hash->call;
    bool ended;
    int rc = redis_fields_close(hash, &ended);
    if (!rc && deleted)
        rc = redis_changed(call, hash->name, REDIS_TYPE_NONE, REDIS_NOTIFY_HASH, "hdel");
    if (!rc && changed)
        rc = redis_changed(call, hash->name, REDIS_TYPE_NONE, REDIS_NOTIFY_HASH, event);
    if (!rc && ended)
        rc = redis_changed(call, hash->name, REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del");
    return rc;
}

static int hash_expire(struct redis_call *call, int unit_ms, bool absolute, const char *command)
{
    struct redis_fields hash;
    int64_t expire_ms = 0;
    unsigned first, changed = 0, deleted = 0;
    enum condition condition = condition_read(call, 3);
    int rc = redis_fields_open_for_update(&hash, call, &call->argv[1], REDIS_TYPE_HASH);
    if (!rc)
        rc = time_read(call, unit_ms, absolute, command, &expire_ms);
    if (!rc)
        rc = fields_find(call, condition == ALWAYS ? 3 : 4, &first);
    if (rc)
        return rc;
    if (!redis_fields_exist(&hash))
        return numbers_reply_none(call, first);
    call->sink->vtab->array(call->sink, call->argc - first);
    for (unsigned n = first; n < call->argc; n++) {
        int result;
        rc = time_set(&hash, &call->argv[n], condition, expire_ms, &result);
        if (rc)
            return rc;
        changed += result == DONE;
        deleted += result == DELETED;
        call->sink->vtab->integer(call->sink, result);
    }
    return close_and_tell(&hash, "hexpire", changed, deleted);
}

int redis__hexpire(struct redis_call *call)
{
    return hash_expire(call, 1000, false, "hexpire");
}

int redis__hpexpire(struct redis_call *call)
{
    return hash_expire(call, 1, false, "hpexpire");
}

int redis__hexpireat(struct redis_call *call)
{
    return hash_expire(call, 1000, true, "hexpireat");
}

int redis__hpexpireat(struct redis_call *call)
{
    return hash_expire(call, 1, true, "hpexpireat");
}

int redis__hpersist(struct redis_call *call)
{
    struct redis_fields hash;
    unsigned first, changed = 0;
    int rc = redis_fields_open_for_update(&hash, call, &call->argv[1], REDIS_TYPE_HASH);
    if (!rc)
        rc = fields_find(call, 2, &first);
    if (rc)
        return rc;
    if (!redis_fields_exist(&hash))
        return numbers_reply_none(call, first);
    call->sink->vtab->array(call->sink, call->argc - first);
    for (unsigned n = first; n < call->argc && !rc; n++) {
        struct redis_field field;
        rc = redis_fields_get(&hash, &call->argv[n], &field);
        bool set = !rc && field.present && field.expire_ms;
        if (set)
            rc = time_put(&hash, &call->argv[n], &field, 0);
        changed += set;
        if (!rc)
            call->sink->vtab->integer(call->sink, set ? DONE : field.present ? NO_TIME : NO_FIELD);
    }
    return rc ? rc : close_and_tell(&hash, "hpersist", changed, 0);
}

/* Seconds are rounded up. */
static int64_t time_left(const struct redis_call *call, const struct redis_field *field,
                         int unit_ms, bool absolute)
{
    if (!field->present)
        return NO_FIELD;
    if (!field->expire_ms)
        return NO_TIME;
    uint64_t ms = absolute ? field->expire_ms : field->expire_ms - call->now_ms;
    return (int64_t)((ms + (uint64_t)unit_ms - 1) / (uint64_t)unit_ms);
}

static int times_get(struct redis_call *call, int unit_ms, bool absolute)
{
    struct redis_fields hash;
    unsigned first;
    int rc = redis_fields_open(&hash, call, &call->argv[1], REDIS_TYPE_HASH);
    if (!rc)
        rc = fields_find(call, 2, &first);
    if (rc)
        return rc;
    if (!redis_fields_exist(&hash))
        return numbers_reply_none(call, first);
    call->sink->vtab->array(call->sink, call->argc - first);
    for (unsigned n = first; n < call->argc && !rc; n++) {
        struct redis_field field;
        rc = redis_fields_get(&hash, &call->argv[n], &field);
        if (!rc)
            call->sink->vtab->integer(call->sink, time_left(call, &field, unit_ms, absolute));
    }
    return rc;
}

int redis__httl(struct redis_call *call)
{
    return times_get(call, 1000, false);
}

int redis__hpttl(struct redis_call *call)
{
    return times_get(call, 1, false);
}

int redis__hexpiretime(struct redis_call *call)
{
    return times_get(call, 1000, true);
}

int redis__hpexpiretime(struct redis_call *call)
{
    return times_get(call, 1, true);
}
