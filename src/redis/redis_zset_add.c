/* SPDX-License-Identifier: Apache-2.0 */

/* Commands that add members to sorted sets, and take them away by name. */
#include "redis/redis_zset_add.h"

#include <math.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_number.h"

void redis_zset_add_options(const struct redis_call *call, struct redis_zset_add *options,
                            unsigned *first)
{
    *options = (struct redis_zset_add){.nx = false};
    unsigned n = 2;
    for (; n < call->argc; n++) {
        if (redis_word(call, n, "nx"))
            options->nx = true;
        else if (redis_word(call, n, "xx"))
            options->xx = true;
        else if (redis_word(call, n, "ch"))
            options->ch = true;
        else if (redis_word(call, n, "incr"))
            options->incr = true;
        else if (redis_word(call, n, "gt"))
            options->gt = true;
        else if (redis_word(call, n, "lt"))
            options->lt = true;
        else
            break;
    }
    *first = n;
}

struct counts {
    int64_t added, updated;
    double score; /* of the last one that was looked at */
};

/* One member, as the options will have it. */
static int add_one(struct redis_zset *zset, const struct redis_zset_add *options,
                   const struct redis_zset_entry *entry, struct counts *counts)
{
    bool present;
    double old, score = entry->score;
    int rc = redis_zset_score(zset, &entry->member, &present, &old);
    if (rc || (present && options->nx) || (!present && options->xx))
        return rc;
    if (present && options->incr)
        score += old;
    if (isnan(score))
        return diag_set(ERROR_INVALID, "resulting score is not a number (NaN)");
    if (present && ((options->lt && score >= old) || (options->gt && score <= old)))
        return 0;
    counts->score = score;
    counts->added += !present;
    counts->updated += present && score != old;
    if (present && score == old)
        return 0;
    return redis_zset_put(zset, &entry->member, present ? &old : NULL, score);
}

int redis_zset_add(struct redis_call *call, const struct redis_zset_add *options,
                   const struct redis_zset_entry *entries, size_t count)
{
    struct redis_zset zset;
    struct counts counts = {.score = NAN};
    int rc = redis_zset_open_for_update(&zset, call, &call->argv[1]);
    bool new = !rc && !redis_zset_exists(&zset);
    for (size_t n = 0; n < count && !rc; n++)
        rc = add_one(&zset, options, &entries[n], &counts);
    if (!rc)
        rc = redis_zset_close(&zset, NULL);
    if (!rc && counts.added + counts.updated > 0)
        rc = redis_changed(call, &call->argv[1], new ? REDIS_TYPE_ZSET : REDIS_TYPE_NONE,
                           REDIS_NOTIFY_ZSET, options->incr ? "zincr" : "zadd");
    if (rc)
        return rc;
    if (!options->incr)
        call->sink->vtab->integer(call->sink, counts.added + (options->ch ? counts.updated : 0));
    else if (isnan(counts.score))
        call->sink->vtab->null(call->sink);
    else
        call->sink->vtab->real(call->sink, counts.score);
    return 0;
}

static int conflicts(const struct redis_zset_add *options, unsigned pairs)
{
    if (options->nx && options->xx)
        return diag_set(ERROR_INVALID, "XX and NX options at the same time are not compatible");
    if ((options->gt && options->nx) || (options->lt && options->nx) ||
        (options->gt && options->lt))
        return diag_set(ERROR_INVALID,
                        "GT, LT, and/or NX options at the same time are not compatible");
    if (options->incr && pairs > 1)
        return diag_set(ERROR_INVALID, "INCR option supports a single increment-element pair");
    return 0;
}

/* Scores and members from argv[first] on. */
static int pairs_add(struct redis_call *call, const struct redis_zset_add *options, unsigned first)
{
    size_t count = (call->argc - first) / 2;
    struct redis_zset_entry *entries = arena_alloc(txn_arena(call->txn), count * sizeof *entries);
    if (!entries)
        return diag_set(ERROR_MEMORY, "out of memory");
    for (size_t n = 0; n < count; n++) {
        unsigned at = first + 2 * (unsigned)n;
        int rc = redis_double_arg(call, at, &entries[n].score);
        if (rc)
            return rc;
        entries[n].member = call->argv[at + 1];
    }
    return redis_zset_add(call, options, entries, count);
}

int redis__zadd(struct redis_call *call)
{
    struct redis_zset_add options;
    unsigned first;
    redis_zset_add_options(call, &options, &first);
    if (first == call->argc || (call->argc - first) % 2)
        return redis_syntax_error();
    int rc = conflicts(&options, (call->argc - first) / 2);
    return rc ? rc : pairs_add(call, &options, first);
}

/* It is ZADD to Redis, so options of that are none of its scores. */
int redis__zincrby(struct redis_call *call)
{
    struct redis_zset_add options;
    unsigned first;
    redis_zset_add_options(call, &options, &first);
    if (first > 2)
        return redis_syntax_error();
    options.incr = true;
    return pairs_add(call, &options, first);
}

int redis__zrem(struct redis_call *call)
{
    struct redis_zset zset;
    int64_t count = 0;
    bool ended = false;
    int rc = redis_zset_open_for_update(&zset, call, &call->argv[1]);
    if (!rc && redis_zset_exists(&zset)) {
        for (unsigned n = 2; n < call->argc && !rc; n++) {
            bool present;
            double score;
            rc = redis_zset_score(&zset, &call->argv[n], &present, &score);
            if (!rc && present)
                rc = redis_zset_remove(&zset, &call->argv[n], score);
            count += present;
        }
        if (!rc)
            rc = redis_zset_close(&zset, &ended);
    }
    if (!rc && count)
        rc = redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_ZSET, "zrem");
    if (!rc && ended)
        rc = redis_changed(call, &call->argv[1], REDIS_TYPE_NONE, REDIS_NOTIFY_GENERIC, "del");
    if (!rc)
        call->sink->vtab->integer(call->sink, count);
    return rc;
}
