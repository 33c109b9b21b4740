/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands on keys whatever they hold: presence, type, expiry.
 *
 * An expiry that has passed when it is set deletes the key at once, as Redis does; one that passes
 * later makes the key absent by comparison only (invariant 27).
 */
#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_value.h"

static int reply_integer(struct redis_call *call, int rc, int64_t value)
{
    if (!rc)
        call->sink->vtab->integer(call->sink, value);
    return rc;
}

/* argv[n] has changed in what is not its value. */
static int told(struct redis_call *call, unsigned n, const char *event)
{
    return redis_changed(call, &call->argv[n], REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, event);
}

int redis__del(struct redis_call *call)
{
    int64_t count = 0;
    int rc = 0;
    for (unsigned n = 1; n < call->argc && !rc; n++) {
        struct redis_key key;
        struct redis_value value;
        rc = redis_value_get_for_update(call, n, &key, &value);
        if (rc || value.type == REDIS_TYPE_NONE)
            continue;
        rc = redis_value_delete(call, &key, &value);
        if (!rc)
            rc = told(call, n, "del");
        count++;
    }
    return reply_integer(call, rc, count);
}

int redis__exists(struct redis_call *call)
{
    int64_t count = 0;
    int rc = 0;
    call->no_touch = true;
    for (unsigned n = 1; n < call->argc && !rc; n++) {
        struct redis_key key;
        struct redis_value value;
        rc = redis_value_get(call, n, &key, &value);
        count += !rc && value.type != REDIS_TYPE_NONE;
    }
    return reply_integer(call, rc, count);
}

int redis__type(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    call->no_touch = true;
    int rc = redis_value_get(call, 1, &key, &value);
    if (!rc)
        call->sink->vtab->status(call->sink, redis_type_name(value.type));
    return rc;
}

/* --------------------------------------------------------------------------------------- expiry */

enum { EXPIRE_NX = 1, EXPIRE_XX = 2, EXPIRE_GT = 4, EXPIRE_LT = 8 };

static int expire_flags(const struct redis_call *call, unsigned *flags)
{
    *flags = 0;
    for (unsigned n = 3; n < call->argc; n++) {
        if (redis_word(call, n, "nx"))
            *flags |= EXPIRE_NX;
        else if (redis_word(call, n, "xx"))
            *flags |= EXPIRE_XX;
        else if (redis_word(call, n, "gt"))
            *flags |= EXPIRE_GT;
        else if (redis_word(call, n, "lt"))
            *flags |= EXPIRE_LT;
        else
            return diag_set(ERROR_INVALID, "Unsupported option %.*s",
                            (int)(call->argv[n].size < 128 ? call->argv[n].size : 128),
                            call->argv[n].data);
    }
    if (*flags & EXPIRE_NX && *flags & (EXPIRE_XX | EXPIRE_GT | EXPIRE_LT))
        return diag_set(ERROR_INVALID,
                        "NX and XX, GT or LT options at the same time are not compatible");
    if (*flags & EXPIRE_GT && *flags & EXPIRE_LT)
        return diag_set(ERROR_INVALID, "GT and LT options at the same time are not compatible");
    return 0;
}

/* No expiry counts as one that never comes: larger than all. */
static bool expire_wanted(unsigned flags, uint64_t old_ms, int64_t new_ms)
{
    if (flags & EXPIRE_NX && old_ms)
        return false;
    if (flags & EXPIRE_XX && !old_ms)
        return false;
    if (flags & EXPIRE_GT && (!old_ms || new_ms <= (int64_t)old_ms))
        return false;
    return !(flags & EXPIRE_LT && old_ms && new_ms >= (int64_t)old_ms);
}

static int expire(struct redis_call *call, int unit_ms, bool absolute, const char *command)
{
    unsigned flags;
    int64_t amount, expire_ms;
    struct redis_key key;
    struct redis_value value;
    int rc = expire_flags(call, &flags);
    if (!rc)
        rc = redis_integer_arg(call, 2, &amount);
    if (!rc)
        rc = redis_expiry_make(call, amount, unit_ms, absolute, false, command, &expire_ms);
    if (!rc)
        rc = redis_value_get_for_update(call, 1, &key, &value);
    if (rc)
        return rc;
    bool set = value.type != REDIS_TYPE_NONE && expire_wanted(flags, value.expire_ms, expire_ms);
    bool passed = expire_ms <= (int64_t)call->now_ms;
    if (set && passed)
        rc = redis_value_delete(call, &key, &value);
    else if (set)
        rc = redis_value_put_expiry(call, &key, &value, (uint64_t)expire_ms);
    if (set && !rc)
        rc = told(call, 1, passed ? "del" : "expire");
    return reply_integer(call, rc, set);
}

int redis__expire(struct redis_call *call)
{
    return expire(call, 1000, false, "expire");
}

int redis__pexpire(struct redis_call *call)
{
    return expire(call, 1, false, "pexpire");
}

int redis__expireat(struct redis_call *call)
{
    return expire(call, 1000, true, "expireat");
}

int redis__pexpireat(struct redis_call *call)
{
    return expire(call, 1, true, "pexpireat");
}

/* -2: no such key; -1: it does not expire. */
static int expiry_get(struct redis_call *call, int unit_ms, bool absolute)
{
    struct redis_key key;
    struct redis_value value;
    call->no_touch = true;
    int rc = redis_value_get(call, 1, &key, &value);
    if (rc || value.type == REDIS_TYPE_NONE)
        return reply_integer(call, rc, -2);
    if (!value.expire_ms)
        return reply_integer(call, rc, -1);
    uint64_t ms = absolute ? value.expire_ms : value.expire_ms - call->now_ms;
    return reply_integer(call, rc, (int64_t)(unit_ms == 1 ? ms : (ms + 500) / 1000));
}

int redis__ttl(struct redis_call *call)
{
    return expiry_get(call, 1000, false);
}

int redis__pttl(struct redis_call *call)
{
    return expiry_get(call, 1, false);
}

int redis__expiretime(struct redis_call *call)
{
    return expiry_get(call, 1000, true);
}

int redis__pexpiretime(struct redis_call *call)
{
    return expiry_get(call, 1, true);
}

int redis__persist(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    int rc = redis_value_get_for_update(call, 1, &key, &value);
    bool set = !rc && value.type != REDIS_TYPE_NONE && value.expire_ms;
    if (set)
        rc = redis_value_put_expiry(call, &key, &value, 0);
    if (set && !rc)
        rc = told(call, 1, "persist");
    return reply_integer(call, rc, set);
}
