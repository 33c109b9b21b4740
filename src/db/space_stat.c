/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What indexes take, rows picked at random, quantiles.
 *
 * A random row is where a random way down the tree ends, or the next one that the transaction sees.
 * Rows behind many invisible ones are so a little more likely; nobody should rest a proof on it.
 */
#include "db/db_private.h"
#include "db/space.h"

#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"

uint64_t space_index_bytes(const struct index *index)
{
    return tree_node_bytes(index->scan.tree) + tree_item_bytes(index->scan.tree) +
           tree_directory_bytes(index->scan.tree);
}

struct space_index_stats space_index_stats(const struct index *index)
{
    struct space_index_stats stats = {.entries = tree_count(index->scan.tree),
                                      .bytes = space_index_bytes(index)};
    const struct store *store = index->space->head->arg;
    if (index->building) {
        stats.build_rows = load_relaxed(&store->build_rows);
        stats.build_total = load_relaxed(&store->build_total);
    }
    return stats;
}

bool space_is_changing(const struct space *space)
{
    return space->building != NULL || space->coming != NULL;
}

struct space_change_stats space_change_stats(const struct space *space)
{
    const struct store *store = space->head->arg;
    return (struct space_change_stats){.rows = load_relaxed(&store->build_rows),
                                       .total = load_relaxed(&store->build_total)};
}

uint64_t space_bytes(const struct space *space)
{
    return txn_head_bytes(space->head);
}

/* The first row that is seen within the range. */
static int first_in(struct txn *txn, struct index *index, const struct txn_range *range,
                    struct tuple_ref *out)
{
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    *out = (struct tuple_ref){NULL, 0};
    txn_cursor_open(&cursor, txn, &index->scan, range);
    int rc = txn_cursor_next(&cursor, &row, &version);
    if (rc == 0)
        *out = (struct tuple_ref){version->bytes, version->size};
    return rc == ERROR_END ? 0 : rc;
}

int space_index_random(struct txn *txn, struct index *index, uint64_t seed, struct tuple_ref *out)
{
    *out = (struct tuple_ref){NULL, 0};
    int rc = db__space_usable(index->space);
    if (rc != 0)
        return rc;
    struct txn_range range = {.backward = false};
    const struct item *item = tree_random(index->scan.tree, seed);
    if (item != NULL) {
        range.lower = item->key;
        range.lower_size = item->key_size;
        range.lower_inclusive = true;
        rc = first_in(txn, index, &range, out);
        if (rc != 0 || out->data != NULL)
            return rc;
    }
    return first_in(txn, index, &(struct txn_range){0}, out);
}

/* What is between two partial keys. */
static int range_between(struct txn *txn, struct index *index, const char *from, const char *to,
                         struct txn_range *range)
{
    struct key_bytes bytes;
    int rc = 0;
    *range = (struct txn_range){.lower_inclusive = true};
    if (from != NULL && (rc = db__array_check(from, "a key")) == 0 &&
        (rc = db__key_of_array(txn_arena(txn), index, from, false, &bytes)) == 0 &&
        bytes.size > 0) {
        range->lower = bytes.data;
        range->lower_size = bytes.size;
    }
    if (rc == 0 && to != NULL && (rc = db__array_check(to, "a key")) == 0 &&
        (rc = db__key_of_array(txn_arena(txn), index, to, false, &bytes)) == 0 && bytes.size > 0) {
        range->upper = bytes.data;
        range->upper_size = bytes.size;
    }
    return rc;
}

/* A key of the sample, in order of the index. */
struct sample {
    const struct item *item;
};

static int key_order(const struct item *a, const void *b, size_t b_size)
{
    size_t size = a->key_size < b_size ? a->key_size : b_size;
    int order = memcmp(a->key, b, size);
    return order != 0 ? order : (a->key_size > b_size) - (a->key_size < b_size);
}

static int sample_order(const void *one, const void *other)
{
    const struct sample *a = one, *b = other;
    return key_order(a->item, b->item->key, b->item->key_size);
}

static bool in_range(const struct item *item, const struct txn_range *range)
{
    return (range->lower == NULL || key_order(item, range->lower, range->lower_size) >= 0) &&
           (range->upper == NULL || key_order(item, range->upper, range->upper_size) < 0);
}

/* Walks from the beginning until `skip` rows have passed. ERROR_END when there are fewer. */
static int nth_in(struct txn *txn, struct index *index, const struct txn_range *range,
                  uint64_t skip, struct tuple_ref *out)
{
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc = 0;
    txn_cursor_open(&cursor, txn, &index->scan, range);
    for (uint64_t n = 0; rc == 0 && n <= skip; n++)
        rc = txn_cursor_next(&cursor, &row, &version);
    if (rc == 0)
        *out = (struct tuple_ref){version->bytes, version->size};
    return rc;
}

/* How many rows there are, SPACE_QUANTILE_EXACT + 1 when more. */
static int count_some(struct txn *txn, struct index *index, const struct txn_range *range,
                      uint64_t *count)
{
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc = 0;
    *count = 0;
    txn_cursor_open(&cursor, txn, &index->scan, range);
    while (*count <= SPACE_QUANTILE_EXACT && (rc = txn_cursor_next(&cursor, &row, &version)) == 0)
        ++*count;
    return rc == ERROR_END ? 0 : rc;
}

static uint64_t place_of(double level, uint64_t count)
{
    uint64_t place = (uint64_t)(level * (double)count);
    return place < count ? place : count - 1;
}

static int quantile_estimate(struct txn *txn, struct index *index, double level,
                             const struct txn_range *range, struct tuple_ref *out)
{
    enum { TRIES = 16 * SPACE_QUANTILE_EXACT };
    struct sample *samples = arena_alloc(txn_arena(txn), SPACE_QUANTILE_EXACT * sizeof *samples);
    if (samples == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a quantile");
    unsigned count = 0;
    for (unsigned i = 0; i < TRIES && count < SPACE_QUANTILE_EXACT; i++) {
        const struct item *item =
            tree_random(index->scan.tree, (i + 1) * UINT64_C(0x9e3779b97f4a7c15));
        if (item != NULL && in_range(item, range))
            samples[count++].item = item;
    }
    struct txn_range rest = *range;
    if (count > 0) {
        qsort(samples, count, sizeof *samples, sample_order);
        const struct item *item = samples[place_of(level, count)].item;
        rest.lower = item->key;
        rest.lower_size = item->key_size;
        rest.lower_inclusive = true;
    }
    return first_in(txn, index, &rest, out);
}

int space_quantile(struct txn *txn, struct index *index, double level, const char *from,
                   const char *to, struct tuple_ref *out)
{
    struct txn_range range;
    uint64_t count;
    *out = (struct tuple_ref){NULL, 0};
    int rc = db__space_usable(index->space);
    if (rc == 0 && !(level >= 0 && level <= 1))
        rc = diag_set(ERROR_INVALID, "the level of a quantile is between 0 and 1");
    if (rc == 0)
        rc = range_between(txn, index, from, to, &range);
    if (rc == 0)
        rc = count_some(txn, index, &range, &count);
    if (rc != 0 || count == 0)
        return rc;
    if (count > SPACE_QUANTILE_EXACT)
        return quantile_estimate(txn, index, level, &range, out);
    rc = nth_in(txn, index, &range, place_of(level, count), out);
    return rc == ERROR_END ? 0 : rc;
}
