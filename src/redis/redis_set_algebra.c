/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Intersections, unions and differences of sets, replied, counted or stored.
 *
 * All sets are opened first, so that a key of another type is an error wherever it stands.
 * Intersections walk over the smallest set and look the members up in the others, next smallest
 * first; differences walk over the first. What is stored goes into the same rows as what is added
 * one by one: packed until it is too large, then spread, whatever was under the key before.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_fields.h"
#include "redis/redis_gather.h"

enum operation { INTERSECT, UNITE, SUBTRACT };

struct operand {
    struct redis_fields set;
    int64_t length;
    unsigned position; /* in the command */
};

struct operands {
    struct operand *items;
    unsigned count, empty; /* how many of them there are not */
};

/* Opens the sets that argv[from] and the next ones name. */
static int operands_open(struct operands *operands, struct redis_call *call, unsigned from,
                         unsigned count)
{
    int rc = 0;
    operands->items = arena_alloc(txn_arena(call->txn), count * sizeof *operands->items);
    operands->count = count;
    operands->empty = 0;
    if (!operands->items)
        return diag_set(ERROR_MEMORY, "out of memory");
    for (unsigned n = 0; n < count && !rc; n++) {
        struct operand *operand = &operands->items[n];
        operand->position = n;
        rc = redis_fields_open(&operand->set, call, &call->argv[from + n], REDIS_TYPE_SET);
        if (!rc) /* the result may be written over it */
            rc = redis_value_keep(call, &operand->set.value);
        operands->empty += !rc && !redis_fields_exist(&operand->set);
    }
    return rc;
}

static int by_length(const void *left, const void *right)
{
    const struct operand *one = left, *other = right;
    if (one->length != other->length)
        return one->length < other->length ? -1 : 1;
    return one->position < other->position ? -1 : 1;
}

static int operands_sort(struct operands *operands)
{
    int rc = 0;
    for (unsigned n = 0; n < operands->count && !rc; n++)
        rc = redis_fields_length(&operands->items[n].set, &operands->items[n].length);
    if (!rc)
        qsort(operands->items, operands->count, sizeof *operands->items, by_length);
    return rc;
}

/* How many of the operands but the first have the member, before `wanted` differs: *all when none
 * does. */
static int others_have(struct operands *operands, const struct redis_item *item, bool wanted,
                       bool *all)
{
    const struct redis_slice member = {item->data, item->size};
    int rc = 0;
    *all = true;
    for (unsigned n = 1; n < operands->count && *all && !rc; n++) {
        struct redis_field found;
        rc = redis_fields_get(&operands->items[n].set, &member, &found);
        *all = !rc && found.present == wanted;
    }
    return rc;
}

/* The members of the first set that all others have, or that none of them has; at most `limit`. */
static int first_filter(struct operands *operands, bool wanted, uint64_t limit,
                        struct redis_gather *out)
{
    struct redis_fields_walk walk;
    int rc = redis_fields_walk_open(&walk, &operands->items[0].set, NULL);
    while (!rc && out->count < limit && !(rc = redis_fields_walk_next(&walk))) {
        bool all;
        rc = others_have(operands, &walk.field, wanted, &all);
        if (!rc && all)
            rc = redis_gather_item(out, &walk.field, false);
    }
    return rc == ERROR_END ? 0 : rc;
}

static int unite(struct operands *operands, struct redis_gather *out)
{
    int rc = 0;
    for (unsigned n = 0; n < operands->count && !rc; n++) {
        struct redis_fields_walk walk;
        rc = redis_fields_walk_open(&walk, &operands->items[n].set, NULL);
        while (!rc && !(rc = redis_fields_walk_next(&walk)))
            rc = redis_gather_different_item(out, &walk.field);
        rc = rc == ERROR_END ? 0 : rc;
    }
    return rc;
}

static int calculate(struct operands *operands, enum operation operation, uint64_t limit,
                     struct redis_gather *out)
{
    if (operation == UNITE)
        return unite(operands, out);
    if (operation == SUBTRACT)
        return first_filter(operands, false, limit, out);
    if (operands->empty)
        return 0;
    int rc = operands_sort(operands);
    return rc ? rc : first_filter(operands, true, limit, out);
}

static int run(struct redis_call *call, enum operation operation, unsigned from, unsigned count,
               uint64_t limit, struct redis_gather *out)
{
    struct operands operands;
    redis_gather_create(out, call);
    int rc = operands_open(&operands, call, from, count);
    return rc ? rc : calculate(&operands, operation, limit, out);
}

static int show(struct redis_call *call, enum operation operation)
{
    struct redis_gather result;
    int rc = run(call, operation, 1, call->argc - 1, UINT64_MAX, &result);
    if (rc)
        return rc;
    call->sink->vtab->set(call->sink, result.count);
    redis_gather_reply(&result);
    return 0;
}

int redis__sinter(struct redis_call *call)
{
    return show(call, INTERSECT);
}

int redis__sunion(struct redis_call *call)
{
    return show(call, UNITE);
}

int redis__sdiff(struct redis_call *call)
{
    return show(call, SUBTRACT);
}

/* Nothing came out: the destination ends, if it is there. */
static int destination_delete(struct redis_call *call)
{
    struct redis_key key;
    struct redis_value value;
    int rc = redis_value_get_for_update(call, 1, &key, &value);
    if (rc || value.type == REDIS_TYPE_NONE)
        return rc;
    rc = redis_value_delete(call, &key, &value);
    return rc ? rc
              : redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del");
}

static int destination_put(struct redis_call *call, const struct redis_gather *result,
                           const char *event)
{
    struct redis_fields set;
    int rc = redis_fields_create(&set, call, &call->argv[1], REDIS_TYPE_SET);
    for (size_t n = 0; n < result->count && !rc; n++)
        rc = redis_fields_set(&set, &result->items[n], NULL, 0, NULL);
    if (!rc)
        rc = redis_fields_close(&set, NULL);
    return rc ? rc : redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_SET, event);
}

static int store(struct redis_call *call, enum operation operation, const char *event)
{
    struct redis_gather result;
    int rc = run(call, operation, 2, call->argc - 2, UINT64_MAX, &result);
    if (!rc)
        rc = result.count ? destination_put(call, &result, event) : destination_delete(call);
    if (!rc)
        call->sink->vtab->integer(call->sink, (int64_t)result.count);
    return rc;
}

int redis__sinterstore(struct redis_call *call)
{
    return store(call, INTERSECT, "sinterstore");
}

int redis__sunionstore(struct redis_call *call)
{
    return store(call, UNITE, "sunionstore");
}

int redis__sdiffstore(struct redis_call *call)
{
    return store(call, SUBTRACT, "sdiffstore");
}

/* argv[1], how many keys follow, and what is behind them. */
static int count_arguments(const struct redis_call *call, unsigned *keys, uint64_t *limit)
{
    int64_t number;
    const struct redis_slice *arg = &call->argv[1];
    *limit = UINT64_MAX;
    if (!redis_integer_parse(arg->data, arg->size, &number) || number < 1)
        return diag_set(ERROR_INVALID, "numkeys should be greater than 0");
    if (number > (int64_t)call->argc - 2)
        return diag_set(ERROR_INVALID, "Number of keys can't be greater than number of args");
    *keys = (unsigned)number;
    for (unsigned n = 2 + *keys; n < call->argc; n += 2) {
        if (!redis_word(call, n, "limit") || n + 1 >= call->argc)
            return redis_syntax_error();
        arg = &call->argv[n + 1];
        if (!redis_integer_parse(arg->data, arg->size, &number) || number < 0)
            return diag_set(ERROR_INVALID, "LIMIT can't be negative");
        *limit = number ? (uint64_t)number : UINT64_MAX;
    }
    return 0;
}

int redis__sintercard(struct redis_call *call)
{
    struct redis_gather result;
    unsigned keys = 0;
    uint64_t limit = 0;
    int rc = count_arguments(call, &keys, &limit);
    if (!rc)
        rc = run(call, INTERSECT, 2, keys, limit, &result);
    if (!rc)
        call->sink->vtab->integer(call->sink, (int64_t)result.count);
    return rc;
}
