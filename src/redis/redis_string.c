/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands on strings. Each looks at its arguments first, then at its rows, then writes; so an
 * error never leaves half a write, and the order of errors is Redis's.
 *
 * A command on one row gets it for update: the row is tagged first and read after (invariant 11),
 * so hot counters queue for nanoseconds instead of aborting each other.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
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
    if (value->type == REDIS_TYPE_NONE)
        call->sink->vtab->null(call->sink);
    else
        call->sink->vtab->bulk(call->sink, value->data, value->size);
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

/* Writes argv[n], or deletes the key when the expiry (0: none) has passed already. */
static int store(struct redis_call *call, const struct redis_key *key, uint64_t expire_ms,
                 unsigned n)
{
    if (expire_ms && expire_ms <= call->now_ms)
        return redis_key_delete(call, key);
    return redis_string_put(call, key, expire_ms, call->argv[n], NOTHING);
}

/* SET without options: nothing needs to be known of what is there. */
static int set_plain(struct redis_call *call, unsigned value_arg, uint64_t expire_ms)
{
    struct redis_key key;
    int rc = redis_key_encode(call, &call->argv[1], &key);
    if (!rc)
        rc = store(call, &key, expire_ms, value_arg);
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
            rc = store(call, &key, expire_ms, 2);
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

int redis__getex(struct redis_call *call)
{
    struct set_options options;
    struct redis_key key;
    struct redis_value value;
    int64_t expire_ms;
    int rc = getex_options_parse(call, &options);
    if (!rc)
        rc = expire_option_make(call, &options, "getex", &expire_ms);
    if (!rc)
        rc = redis_string_get_for_update(call, 1, &key, &value);
    if (!rc)
        rc = redis_value_keep(call, &value);
    bool change = options.expire_arg || (options.flags & SET_PERSIST && !rc && value.expire_ms);
    if (!rc && value.type != REDIS_TYPE_NONE && change)
        rc = redis_value_put_expiry(call, &key, &value, (uint64_t)expire_ms);
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
        reply_integer(call, (int64_t)old.size + (int64_t)call->argv[2].size);
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
