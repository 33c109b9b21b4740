/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands on strings. Each looks at its arguments first, then at its rows, then writes; so an
 * error never leaves half a write, and the order of errors is Redis's.
 *
 * A command on one row gets it for update: the row is tagged first and read after (invariant 11),
 * so hot counters queue for nanoseconds instead of aborting each other.
 */
#include <math.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "mem/parcel.h"
#include "redis/redis_bit.h"
#include "redis/redis_commands.h"
#include "redis/redis_increment.h"
#include "redis/redis_value.h"

static const struct redis_slice NOTHING = {NULL, 0};

static void reply_ok(struct redis_call *call)
{
    call->sink->vtab->status(call->sink, "OK");
}

static void reply_integer(struct redis_call *call, int64_t value)
{
    call->sink->vtab->integer(call->sink, value);
}

static void reply_value(struct redis_call *call, const struct redis_value *value)
{
    struct redis_sink *sink = call->sink;
    if (value->type == REDIS_TYPE_NONE)
        sink->vtab->null(sink);
    else if (value->parcel && sink->vtab->bulk_of &&
             parcel_has(value->parcel, value->data, value->size))
        sink->vtab->bulk_of(sink, value->data, value->size, value->parcel);
    else
        sink->vtab->bulk(sink, value->data, value->size);
}

/* argv[n] has been written, or only its expiry. */
static int told(struct redis_call *call, unsigned n, const char *event)
{
    return redis_changed(call, &call->argv[n], REDIS_TYPE_NONE, REDIS_NOTIFY_STRING, event);
}

static int told_generic(struct redis_call *call, const char *event)
{
    return redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, event);
}

int redis__get(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    int rc = redis_string_get(call, 1, &key, &value);
    if (!rc)
        reply_value(call, &value);
    return rc;
}

int redis__strlen(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    int rc = redis_string_get(call, 1, &key, &value);
    if (!rc)
        reply_integer(call, value.size);
    return rc;
}

int redis__getrange(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    int64_t from, to;
    int rc = redis_integer_arg(call, 2, &from);
    if (!rc)
        rc = redis_integer_arg(call, 3, &to);
    if (!rc)
        rc = redis_string_get(call, 1, &key, &value);
    if (rc)
        return rc;
    int64_t size = value.size;
    if (from < 0 && to < 0 && from > to)
        size = 0;
    from = from < 0 ? from + size : from;
    to = to < 0 ? to + size : to;
    from = from < 0 ? 0 : from;
    to = to < 0 ? 0 : to >= size ? size - 1 : to;
    bool empty = size == 0 || from > to;
    call->sink->vtab->bulk(call->sink, empty ? "" : value.data + from,
                           empty ? 0 : (size_t)(to - from + 1));
    return 0;
}

/* ------------------------------------------------------------------------------------------ SET */

enum set_option { SET_NX = 1, SET_XX = 2, SET_GET = 4, SET_KEEPTTL = 8, SET_PERSIST = 16 };

struct set_options {
    unsigned flags;
    unsigned expire_arg; /* 0: none */
    int unit_ms;
    bool absolute;
};

/* Reads EX, PX, EXAT or PXAT with its amount at argv[*n]; false when it is none of them. */
static bool expire_option(const struct redis_call *call, unsigned *n, struct set_options *options)
{
    bool ex = redis_word(call, *n, "ex"), exat = redis_word(call, *n, "exat");
    bool px = redis_word(call, *n, "px"), pxat = redis_word(call, *n, "pxat");
    if (!(ex || px || exat || pxat) || *n + 1 >= call->argc || options->expire_arg ||
        (options->flags & (SET_KEEPTTL | SET_PERSIST)))
        return false;
    options->expire_arg = ++*n;
    options->unit_ms = ex || exat ? 1000 : 1;
    options->absolute = exat || pxat;
    return true;
}

static int set_options_parse(const struct redis_call *call, struct set_options *options)
{
    *options = (struct set_options){0};
    for (unsigned n = 3; n < call->argc; n++) {
        if (redis_word(call, n, "nx") && !(options->flags & SET_XX))
            options->flags |= SET_NX;
        else if (redis_word(call, n, "xx") && !(options->flags & SET_NX))
            options->flags |= SET_XX;
        else if (redis_word(call, n, "get"))
            options->flags |= SET_GET;
        else if (redis_word(call, n, "keepttl") && !options->expire_arg)
            options->flags |= SET_KEEPTTL;
        else if (!expire_option(call, &n, options))
            return redis_syntax_error();
    }
    return 0;
}

static int expire_option_make(const struct redis_call *call, const struct set_options *options,
                              const char *command, int64_t *out_ms)
{
    int64_t amount;
    *out_ms = 0;
    if (!options->expire_arg)
        return 0;
    int rc = redis_integer_arg(call, options->expire_arg, &amount);
    return rc ? rc
              : redis_expiry_make(call, amount, options->unit_ms, options->absolute, true, command,
                                  out_ms);
}

/* Writes argv[n], or deletes the key when the expiry (0: none) has passed already. `given`: the
 * expiry is not the one that was there. */
static int store(struct redis_call *call, const struct redis_key *key, uint64_t expire_ms,
                 bool given, unsigned n)
{
    int rc;
    if (expire_ms && expire_ms <= call->now_ms) {
        rc = redis_key_delete(call, key);
        return rc ? rc : told_generic(call, "del");
    }
    rc = redis_string_put(call, key, expire_ms, call->argv[n], NOTHING);
    if (!rc)
        rc = told(call, 1, "set");
    return !rc && expire_ms && given ? told_generic(call, "expire") : rc;
}

/* SET without options: nothing needs to be known of what is there. */
static int set_plain(struct redis_call *call, unsigned value_arg, uint64_t expire_ms)
{
    struct redis_key key;
    int rc = redis_key_encode(call, &call->argv[1], &key);
    if (!rc)
        rc = store(call, &key, expire_ms, true, value_arg);
    if (!rc)
        reply_ok(call);
    return rc;
}

static int set_conditional(struct redis_call *call, const struct set_options *options,
                           uint64_t expire_ms)
{
    struct redis_key key;
    struct redis_value old;
    int rc = options->flags & SET_GET ? redis_string_get_for_update(call, 1, &key, &old)
                                      : redis_value_get_for_update(call, 1, &key, &old);
    if (rc)
        return rc;
    bool present = old.type != REDIS_TYPE_NONE;
    bool skip = (options->flags & SET_NX && present) || (options->flags & SET_XX && !present);
    if (options->flags & SET_KEEPTTL)
        expire_ms = old.expire_ms;
    if (!skip) {
        rc = redis_value_keep(call, &old);
        if (!rc)
            rc = store(call, &key, expire_ms, !(options->flags & SET_KEEPTTL), 2);
        if (rc)
            return rc;
    }
    if (options->flags & SET_GET)
        reply_value(call, &old);
    else if (skip)
        call->sink->vtab->null(call->sink);
    else
        reply_ok(call);
    return 0;
}

int redis__set(struct redis_call *call)
{
    struct set_options options;
    int64_t expire_ms = 0;
    if (call->argc == 3)
        return set_plain(call, 2, 0);
    int rc = set_options_parse(call, &options);
    if (!rc)
        rc = expire_option_make(call, &options, "set", &expire_ms);
    if (rc)
        return rc;
    return options.flags ? set_conditional(call, &options, (uint64_t)expire_ms)
                         : set_plain(call, 2, (uint64_t)expire_ms);
}

int redis__setnx(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value old;
    int rc = redis_value_get_for_update(call, 1, &key, &old);
    bool absent = !rc && old.type == REDIS_TYPE_NONE;
    if (absent)
        rc = redis_string_put(call, &key, 0, call->argv[2], NOTHING);
    if (!rc && absent)
        rc = told(call, 1, "set");
    if (!rc)
        reply_integer(call, absent);
    return rc;
}

static int set_expiring(struct redis_call *call, int unit_ms, const char *command)
{
    int64_t amount, expire_ms;
    int rc = redis_integer_arg(call, 2, &amount);
    if (!rc)
        rc = redis_expiry_make(call, amount, unit_ms, false, true, command, &expire_ms);
    return rc ? rc : set_plain(call, 3, (uint64_t)expire_ms);
}

int redis__setex(struct redis_call *call)
{
    return set_expiring(call, 1000, "setex");
}

int redis__psetex(struct redis_call *call)
{
    return set_expiring(call, 1, "psetex");
}

int redis__getset(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value old;
    int rc = redis_string_get_for_update(call, 1, &key, &old);
    if (!rc)
        rc = redis_value_keep(call, &old);
    if (!rc)
        rc = redis_string_put(call, &key, 0, call->argv[2], NOTHING);
    if (!rc)
        rc = told(call, 1, "set");
    if (!rc)
        reply_value(call, &old);
    return rc;
}

int redis__getdel(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value old;
    int rc = redis_string_get_for_update(call, 1, &key, &old);
    if (!rc)
        rc = redis_value_keep(call, &old);
    if (!rc && old.type != REDIS_TYPE_NONE)
        rc = redis_value_delete(call, &key, &old);
    if (!rc && old.type != REDIS_TYPE_NONE)
        rc = told_generic(call, "del");
    if (!rc)
        reply_value(call, &old);
    return rc;
}

static int getex_options_parse(const struct redis_call *call, struct set_options *options)
{
    *options = (struct set_options){0};
    for (unsigned n = 2; n < call->argc; n++) {
        if (redis_word(call, n, "persist") && !options->expire_arg)
            options->flags |= SET_PERSIST;
        else if (!expire_option(call, &n, options))
            return redis_syntax_error();
    }
    return 0;
}

static int getex_expiry(struct redis_call *call, const struct set_options *options,
                        const struct redis_key *key, struct redis_value *value)
{
    int64_t expire_ms;
    int rc = expire_option_make(call, options, "getex", &expire_ms);
    bool change = options->expire_arg || (options->flags & SET_PERSIST && value->expire_ms);
    if (rc || !change)
        return rc;
    rc = redis_value_put_expiry(call, key, value, (uint64_t)expire_ms);
    bool passed = expire_ms && (uint64_t)expire_ms <= call->now_ms;
    return rc ? rc : told_generic(call, passed ? "del" : expire_ms ? "expire" : "persist");
}

int redis__getex(struct redis_call *call)
{
    struct set_options options;
    struct redis_key key;
    struct redis_value value;
    int rc = getex_options_parse(call, &options);
    if (!rc)
        rc = redis_string_get_for_update(call, 1, &key, &value);
    if (!rc)
        rc = redis_value_keep(call, &value);
    if (!rc && value.type != REDIS_TYPE_NONE)
        rc = getex_expiry(call, &options, &key, &value);
    if (!rc)
        reply_value(call, &value);
    return rc;
}

int redis__append(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value old;
    int rc = redis_string_get_for_update(call, 1, &key, &old);
    if (!rc)
        rc = redis_value_keep(call, &old);
    if (!rc)
        rc = redis_string_put(call, &key, old.expire_ms, (struct redis_slice){old.data, old.size},
                              call->argv[2]);
    if (!rc)
        rc = told(call, 1, "append");
    if (!rc)
        reply_integer(call, (int64_t)old.size + (int64_t)call->argv[2].size);
    return rc;
}

/* Writes argv[3] over what is at `offset`, with zeros in between. */
static int patch(struct redis_call *call, const struct redis_key *key,
                 const struct redis_value *old, uint64_t offset)
{
    const struct redis_slice *piece = &call->argv[3];
    unsigned char *bytes;
    size_t size = offset > REDIS_STRING_SIZE_MAX ? SIZE_MAX : (size_t)offset + piece->size;
    int rc = redis_bit_grown(call, old, size, &bytes, &size);
    if (rc)
        return rc;
    memcpy(bytes + offset, piece->data, piece->size);
    rc = redis_string_put(call, key, old->expire_ms,
                          (struct redis_slice){(const char *)bytes, size}, NOTHING);
    if (!rc)
        rc = told(call, 1, "setrange");
    if (!rc)
        reply_integer(call, (int64_t)size);
    return rc;
}

int redis__setrange(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value old;
    int64_t offset;
    int rc = redis_integer_arg(call, 2, &offset);
    if (!rc && offset < 0)
        return diag_set(ERROR_INVALID, "offset is out of range");
    if (!rc)
        rc = redis_string_get_for_update(call, 1, &key, &old);
    if (!rc && call->argv[3].size == 0)
        reply_integer(call, old.size);
    else if (!rc)
        rc = patch(call, &key, &old, (uint64_t)offset);
    return rc;
}

/* ----------------------------------------------------------------------------------- counters */

static int add(struct redis_call *call, int64_t amount)
{
    struct redis_key key;
    struct redis_value old;
    int64_t number = 0;
    char text[24];
    int rc = redis_string_get_for_update(call, 1, &key, &old);
    if (rc)
        return rc;
    if (old.type != REDIS_TYPE_NONE && !redis_integer_parse(old.data, old.size, &number))
        return diag_set(ERROR_INVALID, "value is not an integer or out of range");
    if (__builtin_add_overflow(number, amount, &number))
        return diag_set(ERROR_INVALID, "increment or decrement would overflow");
    rc = redis_string_put(call, &key, old.expire_ms,
                          (struct redis_slice){text, redis_integer_format(number, text)}, NOTHING);
    if (!rc)
        rc = told(call, 1, amount < 0 ? "decrby" : "incrby");
    if (!rc)
        reply_integer(call, number);
    return rc;
}

int redis__incr(struct redis_call *call)
{
    return add(call, 1);
}

int redis__decr(struct redis_call *call)
{
    return add(call, -1);
}

int redis__incrby(struct redis_call *call)
{
    int64_t amount;
    int rc = redis_integer_arg(call, 2, &amount);
    return rc ? rc : add(call, amount);
}

int redis__decrby(struct redis_call *call)
{
    int64_t amount;
    int rc = redis_integer_arg(call, 2, &amount);
    if (!rc && amount == INT64_MIN)
        return diag_set(ERROR_INVALID, "decrement would overflow");
    return rc ? rc : add(call, -amount);
}

static int no_float(void)
{
    return diag_set(ERROR_INVALID, "value is not a valid float");
}

int redis__incrbyfloat(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value old;
    long double number = 0, amount;
    char text[REDIS_INCREMENT_TEXT_MAX];
    int rc = redis_string_get_for_update(call, 1, &key, &old);
    if (rc)
        return rc;
    if (old.type != REDIS_TYPE_NONE && !redis_increment_parse(old.data, old.size, &number))
        return no_float();
    if (!redis_increment_parse(call->argv[2].data, call->argv[2].size, &amount))
        return no_float();
    number += amount;
    if (isnan(number) || isinf(number))
        return diag_set(ERROR_INVALID, "increment would produce NaN or Infinity");
    const struct redis_slice out = {text, redis_increment_format(number, text)};
    rc = redis_string_put(call, &key, old.expire_ms, out, NOTHING);
    if (!rc)
        rc = told(call, 1, "incrbyfloat");
    if (!rc)
        call->sink->vtab->bulk(call->sink, out.data, out.size);
    return rc;
}

/* -------------------------------------------------------------------------------- several keys */

int redis__mget(struct redis_call *call)
{
    call->sink->vtab->array(call->sink, call->argc - 1);
    for (unsigned n = 1; n < call->argc; n++) {
        struct redis_key key;
        struct redis_value value;
        int rc = redis_value_get(call, n, &key, &value);
        if (rc)
            return rc;
        if (value.type != REDIS_TYPE_STRING) /* of another type: null, not an error */
            value.type = REDIS_TYPE_NONE;
        reply_value(call, &value);
    }
    return 0;
}

static int store_pairs(struct redis_call *call)
{
    int rc = 0;
    for (unsigned n = 1; n < call->argc && !rc; n += 2) {
        struct redis_key key;
        rc = redis_key_encode(call, &call->argv[n], &key);
        if (!rc)
            rc = redis_string_put(call, &key, 0, call->argv[n + 1], NOTHING);
        if (!rc)
            rc = told(call, n, "set");
    }
    return rc;
}

static int pairs_check(const struct redis_call *call, const char *command)
{
    if (call->argc % 2 == 1)
        return 0;
    return diag_set(ERROR_INVALID, "wrong number of arguments for '%s' command", command);
}

int redis__mset(struct redis_call *call)
{
    int rc = pairs_check(call, "mset");
    if (!rc)
        rc = store_pairs(call);
    if (!rc)
        reply_ok(call);
    return rc;
}

int redis__msetnx(struct redis_call *call)
{
    int rc = pairs_check(call, "msetnx");
    bool absent = true;
    for (unsigned n = 1; n < call->argc && !rc && absent; n += 2) {
        struct redis_key key;
        struct redis_value value;
        rc = redis_value_get(call, n, &key, &value);
        absent = !rc && value.type == REDIS_TYPE_NONE;
    }
    if (!rc && absent)
        rc = store_pairs(call);
    if (!rc)
        reply_integer(call, absent);
    return rc;
}
