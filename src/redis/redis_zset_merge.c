/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Unions, intersections and differences of sorted sets and sets, whose members have the score 1.
 *
 * Inputs are taken from the smallest to the largest, as Redis does: sums of floating-point numbers
 * depend on their order.
 */
#include <math.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_fields.h"
#include "redis/redis_gather.h"
#include "redis/redis_number.h"
#include "redis/redis_zset_range.h"

enum operation { UNION, INTER, DIFF };
enum aggregate { SUM, MIN, MAX };

struct input {
    bool is_set;
    struct redis_zset zset;
    struct redis_fields set;
    int64_t length;
    double weight;
};

struct merge {
    struct redis_call *call;
    enum operation operation;
    const char *command;
    unsigned numkeys; /* the argument */
    bool store, cardinality;
    bool scores;
    int64_t limit;
    enum aggregate aggregate;
    struct input *inputs;
    struct input **order; /* as they are taken */
    int64_t count;
    struct redis_gather members;
    struct redis_zset_entries result;
};

/* ------------------------------------------------------------------------------------------ inputs */

static int input_open(struct redis_call *call, const struct redis_slice *name, struct input *input)
{
    struct redis_key key;
    struct redis_value value;
    input->weight = 1;
    input->length = 0;
    int rc = redis_open(call, name, REDIS_TYPE_NONE, &key, &value);
    if (rc)
        return rc;
    input->is_set = value.type == REDIS_TYPE_SET;
    if (input->is_set) {
        rc = redis_fields_open(&input->set, call, name, REDIS_TYPE_SET);
        return rc ? rc : redis_fields_length(&input->set, &input->length);
    }
    if (value.type != REDIS_TYPE_ZSET && value.type != REDIS_TYPE_NONE)
        return redis_type_error();
    rc = redis_zset_of(&input->zset, call, &value);
    return rc || value.type == REDIS_TYPE_NONE ? rc
                                               : redis_zset_length(&input->zset, &input->length);
}

static int inputs_open(struct merge *merge)
{
    struct redis_call *call = merge->call;
    struct arena *arena = txn_arena(call->txn);
    int rc = redis_integer_arg(call, merge->numkeys, &merge->count);
    if (rc)
        return rc;
    if (merge->count < 1)
        return diag_set(ERROR_INVALID, "at least 1 input key is needed for '%s' command",
                        merge->command);
    if (merge->count > (int64_t)call->argc - merge->numkeys - 1)
        return redis_syntax_error();
    merge->inputs = arena_alloc(arena, (size_t)merge->count * sizeof *merge->inputs);
    merge->order = arena_alloc(arena, (size_t)merge->count * sizeof(struct input *));
    if (!merge->inputs || !merge->order)
        return diag_set(ERROR_MEMORY, "out of memory");
    for (int64_t n = 0; n < merge->count && !rc; n++)
        rc = input_open(call, &call->argv[merge->numkeys + 1 + n], &merge->inputs[n]);
    return rc;
}

static int input_find(struct input *input, const struct redis_slice *member, bool *present,
                      double *score)
{
    if (!input->is_set)
        return redis_zset_score(&input->zset, member, present, score);
    struct redis_field field;
    int rc = redis_fields_get(&input->set, member, &field);
    *present = !rc && field.present;
    *score = 1;
    return rc;
}

/* All of an input's entries, of a set too. */
static int input_read(struct merge *merge, struct input *input, struct redis_zset_entries *out)
{
    struct redis_fields_walk walk;
    struct redis_zset_range all;
    redis_zset_range_create(&all, REDIS_ZSET_BY_SCORE);
    if (!input->is_set)
        return redis_zset_range_read(&input->zset, &all, out);
    *out = (struct redis_zset_entries){.count = 0};
    int rc = redis_fields_walk_open(&walk, &input->set, NULL);
    while (!rc && !(rc = redis_fields_walk_next(&walk))) {
        struct redis_zset_entry entry = {{walk.field.data, walk.field.size}, 1};
        if (walk.field.data == walk.field.digits)
            entry.member.data =
                arena_copy(txn_arena(merge->call->txn), walk.field.data, walk.field.size);
        rc = entry.member.data ? redis_zset_entries_add(merge->call, out, &entry)
                               : diag_set(ERROR_MEMORY, "out of memory");
    }
    return rc == ERROR_END ? 0 : rc;
}

/* From the smallest to the largest; of equal ones the first first. A difference keeps their order. */
static void inputs_order(struct merge *merge)
{
    for (int64_t n = 0; n < merge->count; n++) {
        int64_t at = n;
        while (at > 0 && merge->operation != DIFF &&
               merge->order[at - 1]->length > merge->inputs[n].length) {
            merge->order[at] = merge->order[at - 1];
            at--;
        }
        merge->order[at] = &merge->inputs[n];
    }
}

/* --------------------------------------------------------------------------------------- arguments */

static int weights(struct merge *merge, unsigned *at)
{
    const struct redis_call *call = merge->call;
    for (int64_t n = 0; n < merge->count; n++)
        if (!redis_double_parse(call->argv[*at + n].data, call->argv[*at + n].size,
                                &merge->inputs[n].weight))
            return diag_set(ERROR_INVALID, "weight value is not a float");
    *at += (unsigned)merge->count;
    return 0;
}

static int aggregate(struct merge *merge, unsigned n)
{
    if (redis_word(merge->call, n, "sum"))
        merge->aggregate = SUM;
    else if (redis_word(merge->call, n, "min"))
        merge->aggregate = MIN;
    else if (redis_word(merge->call, n, "max"))
        merge->aggregate = MAX;
    else
        return redis_syntax_error();
    return 0;
}

static int limit(struct merge *merge, unsigned n)
{
    const struct redis_slice *arg = &merge->call->argv[n];
    if (!redis_integer_parse(arg->data, arg->size, &merge->limit) || merge->limit < 0)
        return diag_set(ERROR_INVALID, "LIMIT can't be negative");
    return 0;
}

static int options(struct merge *merge)
{
    const struct redis_call *call = merge->call;
    unsigned at = merge->numkeys + 1 + (unsigned)merge->count;
    bool weighs = merge->operation != DIFF && !merge->cardinality;
    int rc = 0;
    while (at < call->argc && !rc) {
        unsigned left = call->argc - at;
        if (weighs && left > merge->count && redis_word(call, at, "weights")) {
            at++;
            rc = weights(merge, &at);
        } else if (weighs && left >= 2 && redis_word(call, at, "aggregate")) {
            rc = aggregate(merge, at + 1);
            at += 2;
        } else if (!merge->store && !merge->cardinality && redis_word(call, at, "withscores")) {
            merge->scores = true;
            at++;
        } else if (merge->cardinality && left >= 2 && redis_word(call, at, "limit")) {
            rc = limit(merge, at + 1);
            at += 2;
        } else {
            return redis_syntax_error();
        }
    }
    return rc;
}

/* -------------------------------------------------------------------------------------- operations */

static double weighted(const struct input *input, double score)
{
    double value = input->weight * score;
    return isnan(value) ? 0 : value;
}

static double aggregated(const struct merge *merge, double left, double right)
{
    double sum = left + right; /* of both infinities: 0 */
    switch (merge->aggregate) {
    case SUM:
        return isnan(sum) ? 0 : sum;
    case MIN:
        return right < left ? right : left;
    default:
        return right > left ? right : left;
    }
}

/* Where a member is among the results, which are in order of their coming; added if it is not. */
static int result_of(struct merge *merge, const struct redis_zset_entry *entry, size_t *at,
                     bool *added)
{
    int rc = redis_gather_find(&merge->members, entry->member, at, added);
    if (rc || !*added)
        return rc;
    return redis_zset_entries_add(merge->call, &merge->result, entry);
}

static int union_run(struct merge *merge)
{
    int rc = 0;
    for (int64_t n = 0; n < merge->count && !rc; n++) {
        struct redis_zset_entries entries = {.count = 0};
        rc = input_read(merge, merge->order[n], &entries);
        for (size_t i = 0; i < entries.count && !rc; i++) {
            struct redis_zset_entry *entry = &entries.items[i];
            size_t at;
            bool added;
            entry->score = weighted(merge->order[n], entry->score);
            rc = result_of(merge, entry, &at, &added);
            if (!rc && !added)
                merge->result.items[at].score =
                    aggregated(merge, merge->result.items[at].score, entry->score);
        }
    }
    return rc;
}

/* *in: it is in the `n`-th input and all behind it, with this score in the end. */
static int in_others(struct merge *merge, int64_t n, struct redis_zset_entry *entry, bool *in)
{
    int rc = 0;
    *in = true;
    for (; n < merge->count && *in && !rc; n++) {
        double score;
        rc = input_find(merge->order[n], &entry->member, in, &score);
        if (!rc && *in)
            entry->score = aggregated(merge, entry->score, merge->order[n]->weight * score);
    }
    return rc;
}

static int inter_run(struct merge *merge)
{
    struct redis_zset_entries entries = {.count = 0};
    if (merge->order[0]->length == 0)
        return 0;
    int rc = input_read(merge, merge->order[0], &entries);
    for (size_t i = 0; i < entries.count && !rc; i++) {
        bool in;
        entries.items[i].score = weighted(merge->order[0], entries.items[i].score);
        rc = in_others(merge, 1, &entries.items[i], &in);
        if (!rc && in)
            rc = redis_zset_entries_add(merge->call, &merge->result, &entries.items[i]);
        if (merge->limit && merge->result.count == (size_t)merge->limit)
            break;
    }
    return rc;
}

static int diff_run(struct merge *merge)
{
    struct redis_zset_entries entries = {.count = 0};
    int rc = input_read(merge, merge->order[0], &entries);
    for (size_t i = 0; i < entries.count && !rc; i++) {
        bool in = false;
        double score;
        for (int64_t n = 1; n < merge->count && !in && !rc; n++)
            if (merge->order[n]->length)
                rc = input_find(merge->order[n], &entries.items[i].member, &in, &score);
        if (!rc && !in)
            rc = redis_zset_entries_add(merge->call, &merge->result, &entries.items[i]);
    }
    return rc;
}

static int merge_run(struct redis_call *call, struct merge *merge, const char *event)
{
    static int (*const RUN[])(struct merge * merge) = {union_run, inter_run, diff_run};
    merge->call = call;
    redis_gather_create(&merge->members, call);
    int rc = inputs_open(merge);
    if (!rc)
        rc = options(merge);
    if (rc)
        return rc;
    inputs_order(merge);
    rc = RUN[merge->operation](merge);
    if (!rc && merge->store)
        rc =
            redis_zset_store(call, &call->argv[1], merge->result.items, merge->result.count, event);
    if (rc)
        return rc;
    if (merge->store || merge->cardinality) {
        call->sink->vtab->integer(call->sink, (int64_t)merge->result.count);
        return 0;
    }
    redis_zset_sort(merge->result.items, merge->result.count);
    redis_zset_entries_reply(call, &merge->result, merge->scores, false);
    return 0;
}

int redis__zunion(struct redis_call *call)
{
    struct merge merge = {.operation = UNION, .command = "zunion", .numkeys = 1};
    return merge_run(call, &merge, NULL);
}

int redis__zinter(struct redis_call *call)
{
    struct merge merge = {.operation = INTER, .command = "zinter", .numkeys = 1};
    return merge_run(call, &merge, NULL);
}

int redis__zdiff(struct redis_call *call)
{
    struct merge merge = {.operation = DIFF, .command = "zdiff", .numkeys = 1};
    return merge_run(call, &merge, NULL);
}

int redis__zintercard(struct redis_call *call)
{
    struct merge merge = {
        .operation = INTER, .command = "zintercard", .numkeys = 1, .cardinality = true};
    return merge_run(call, &merge, NULL);
}

int redis__zunionstore(struct redis_call *call)
{
    struct merge merge = {
        .operation = UNION, .command = "zunionstore", .numkeys = 2, .store = true};
    return merge_run(call, &merge, "zunionstore");
}

int redis__zinterstore(struct redis_call *call)
{
    struct merge merge = {
        .operation = INTER, .command = "zinterstore", .numkeys = 2, .store = true};
    return merge_run(call, &merge, "zinterstore");
}

int redis__zdiffstore(struct redis_call *call)
{
    struct merge merge = {.operation = DIFF, .command = "zdiffstore", .numkeys = 2, .store = true};
    return merge_run(call, &merge, "zdiffstore");
}
