/* SPDX-License-Identifier: Apache-2.0 */

/*
 * LCS: the longest common subsequence of two strings, by the table of Wagner and Fischer (1974).
 *
 * lengths[i][j] is the length for the first i bytes of one and the first j of the other. Walking back
 * from the end gives the sequence and the ranges that match; where both ways are as good the second
 * string is gone back in, as Redis does, so that ranges are its ranges.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_value.h"

struct lcs_options {
    bool length, ranges, with_length;
    int64_t range_min;
};

/* Where the two match: bytes [a, a + size) and [b, b + size). */
struct lcs_range {
    uint32_t a, b, size;
};

struct lcs {
    struct redis_slice a, b;
    uint32_t *lengths;
    struct lcs_range *ranges; /* from the end to the start */
    size_t range_count;
    char *text;
};

static int options_parse(const struct redis_call *call, struct lcs_options *options)
{
    *options = (struct lcs_options){.range_min = 0};
    for (unsigned n = 3; n < call->argc; n++) {
        if (redis_word(call, n, "idx")) {
            options->ranges = true;
        } else if (redis_word(call, n, "len")) {
            options->length = true;
        } else if (redis_word(call, n, "withmatchlen")) {
            options->with_length = true;
        } else if (redis_word(call, n, "minmatchlen") && n + 1 < call->argc) {
            int rc = redis_integer_arg(call, ++n, &options->range_min);
            if (rc)
                return rc;
        } else {
            return redis_syntax_error();
        }
    }
    if (options->ranges && options->length)
        return diag_set(ERROR_INVALID,
                        "If you want both the length and indexes, please just use IDX.");
    return 0;
}

static uint32_t *length_at(const struct lcs *lcs, size_t i, size_t j)
{
    return &lcs->lengths[i * (lcs->b.size + 1) + j];
}

static void table_fill(struct lcs *lcs)
{
    for (size_t i = 0; i <= lcs->a.size; i++)
        for (size_t j = 0; j <= lcs->b.size; j++) {
            uint32_t length = 0;
            if (i && j && lcs->a.data[i - 1] == lcs->b.data[j - 1]) {
                length = *length_at(lcs, i - 1, j - 1) + 1;
            } else if (i && j) {
                uint32_t up = *length_at(lcs, i - 1, j), left = *length_at(lcs, i, j - 1);
                length = up > left ? up : left;
            }
            *length_at(lcs, i, j) = length;
        }
}

static void walk_back(struct lcs *lcs, int64_t range_min)
{
    struct lcs_range range = {0, 0, 0};
    size_t i = lcs->a.size, j = lcs->b.size, left = *length_at(lcs, i, j);
    while (i && j) {
        bool match = lcs->a.data[i - 1] == lcs->b.data[j - 1];
        if (match) {
            i--;
            j--;
            lcs->text[--left] = lcs->a.data[i];
            range = (struct lcs_range){(uint32_t)i, (uint32_t)j, range.size + 1};
        } else if (*length_at(lcs, i - 1, j) > *length_at(lcs, i, j - 1)) {
            i--;
        } else {
            j--;
        }
        if (range.size && (!match || !i || !j)) {
            if ((int64_t)range.size >= range_min)
                lcs->ranges[lcs->range_count++] = range;
            range.size = 0;
        }
    }
}

static void reply_ranges(struct redis_call *call, const struct lcs *lcs, bool with_length)
{
    const struct redis_sink_vtab *to = call->sink->vtab;
    to->map(call->sink, 2);
    to->bulk(call->sink, "matches", 7);
    to->array(call->sink, lcs->range_count);
    for (size_t n = 0; n < lcs->range_count; n++) {
        const struct lcs_range *range = &lcs->ranges[n];
        to->array(call->sink, with_length ? 3 : 2);
        to->array(call->sink, 2);
        to->integer(call->sink, range->a);
        to->integer(call->sink, (int64_t)range->a + range->size - 1);
        to->array(call->sink, 2);
        to->integer(call->sink, range->b);
        to->integer(call->sink, (int64_t)range->b + range->size - 1);
        if (with_length)
            to->integer(call->sink, range->size);
    }
    to->bulk(call->sink, "len", 3);
    to->integer(call->sink, *length_at(lcs, lcs->a.size, lcs->b.size));
}

static int calculate(struct redis_call *call, const struct lcs_options *options, struct lcs *lcs)
{
    size_t shorter = lcs->a.size < lcs->b.size ? lcs->a.size : lcs->b.size, cells;
    if (__builtin_mul_overflow(lcs->a.size + 1, lcs->b.size + 1, &cells) ||
        cells > REDIS_STRING_SIZE_MAX / sizeof *lcs->lengths)
        return diag_set(ERROR_INVALID, "Insufficient memory, transient memory for LCS exceeds "
                                       "proto-max-bulk-len");
    lcs->lengths = malloc(cells * sizeof *lcs->lengths);
    lcs->ranges = malloc((shorter + 1) * sizeof *lcs->ranges);
    lcs->text = malloc(shorter + 1);
    if (!lcs->lengths || !lcs->ranges || !lcs->text)
        return diag_set(ERROR_MEMORY, "Insufficient memory, failed allocating transient memory for "
                                      "LCS");
    table_fill(lcs);
    walk_back(lcs, options->range_min);
    if (options->ranges)
        reply_ranges(call, lcs, options->with_length);
    else if (options->length)
        call->sink->vtab->integer(call->sink, *length_at(lcs, lcs->a.size, lcs->b.size));
    else
        call->sink->vtab->bulk(call->sink, lcs->text, *length_at(lcs, lcs->a.size, lcs->b.size));
    return 0;
}

int redis__lcs(struct redis_call *call)
{
    struct lcs_options options;
    struct lcs lcs = {.range_count = 0};
    struct redis_slice *sides[2] = {&lcs.a, &lcs.b};
    for (unsigned n = 0; n < 2; n++) {
        struct redis_key key;
        struct redis_value value;
        int rc = redis_value_get(call, n + 1, &key, &value);
        if (rc)
            return rc;
        if (value.type != REDIS_TYPE_STRING && value.type != REDIS_TYPE_NONE)
            return diag_set(ERROR_INVALID, "The specified keys must contain string values");
        *sides[n] = (struct redis_slice){value.data, value.size};
    }
    int rc = options_parse(call, &options);
    if (!rc)
        rc = calculate(call, &options, &lcs);
    free(lcs.lengths);
    free(lcs.ranges);
    free(lcs.text);
    return rc;
}
