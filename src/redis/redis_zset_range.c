/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Ranges of sorted sets: of a packed one the part of its entries, of a spread one a range of places,
 * from the bounds or from a place found by its rank.
 */
#include "redis/redis_zset_range.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_zset_rank.h"

static int out_of_memory(void)
{
    return diag_set(ERROR_MEMORY, "out of memory");
}

void redis_zset_range_create(struct redis_zset_range *range, enum redis_zset_by by)
{
    *range = (struct redis_zset_range){.by = by,
                                       .stop = -1,
                                       .min = -INFINITY,
                                       .max = INFINITY,
                                       .lex_min = {.infinite = -1},
                                       .lex_max = {.infinite = 1},
                                       .limit = -1};
}

/* --------------------------------------------------------------------------------------- arguments */

/* As Redis reads it: what strtod reads, blanks in front and nothing at all included. */
static bool score_parse(const struct redis_call *call, unsigned n, double *score, bool *exclusive)
{
    const struct redis_slice *arg = &call->argv[n];
    char *text = arena_alloc(txn_arena(call->txn), arg->size + 1), *end;
    if (!text)
        return false;
    if (arg->size)
        memcpy(text, arg->data, arg->size);
    text[arg->size] = 0;
    *exclusive = text[0] == '(';
    *score = strtod(text + *exclusive, &end);
    return *end == 0 && !isnan(*score);
}

static bool lex_parse(const struct redis_slice *arg, struct redis_zset_lex *out)
{
    *out = (struct redis_zset_lex){.text = {"", 0}};
    if (arg->size == 0)
        return false;
    switch (arg->data[0]) {
    case '+':
    case '-':
        out->infinite = arg->data[0] == '+' ? 1 : -1;
        return arg->size == 1;
    case '(':
    case '[':
        out->exclusive = arg->data[0] == '(';
        out->text = (struct redis_slice){arg->data + 1, arg->size - 1};
        return true;
    default:
        return false;
    }
}

int redis_zset_range_arguments(const struct redis_call *call, unsigned min, unsigned max,
                               struct redis_zset_range *range)
{
    if (range->by == REDIS_ZSET_BY_RANK) {
        int rc = redis_integer_arg(call, min, &range->start);
        return rc ? rc : redis_integer_arg(call, max, &range->stop);
    }
    if (range->by == REDIS_ZSET_BY_SCORE)
        return score_parse(call, min, &range->min, &range->min_exclusive) &&
                       score_parse(call, max, &range->max, &range->max_exclusive)
                   ? 0
                   : diag_set(ERROR_INVALID, "min or max is not a float");
    return lex_parse(&call->argv[min], &range->lex_min) &&
                   lex_parse(&call->argv[max], &range->lex_max)
               ? 0
               : diag_set(ERROR_INVALID, "min or max not valid string range item");
}

/* ----------------------------------------------------------------------------------------- entries */

int redis_zset_entries_add(struct redis_call *call, struct redis_zset_entries *entries,
                           const struct redis_zset_entry *entry)
{
    if (entries->count == entries->capacity) {
        size_t capacity = entries->capacity ? 2 * entries->capacity : 32;
        struct redis_zset_entry *items =
            arena_alloc(txn_arena(call->txn), capacity * sizeof *items);
        if (!items)
            return out_of_memory();
        if (entries->count)
            memcpy(items, entries->items, entries->count * sizeof *items);
        entries->items = items;
        entries->capacity = capacity;
    }
    entries->items[entries->count++] = *entry;
    return 0;
}

void redis_zset_entries_reply(struct redis_call *call, const struct redis_zset_entries *entries,
                              bool scores, bool pairs)
{
    struct redis_sink *sink = call->sink;
    pairs = scores && (pairs || call->protocol == 3);
    sink->vtab->array(sink, scores && !pairs ? 2 * entries->count : entries->count);
    for (size_t n = 0; n < entries->count; n++) {
        const struct redis_zset_entry *entry = &entries->items[n];
        redis_passed(call);
        if (pairs)
            sink->vtab->array(sink, 2);
        sink->vtab->bulk(sink, entry->member.data, entry->member.size);
        if (scores)
            sink->vtab->real(sink, entry->score);
    }
}

/* --------------------------------------------------------------------------------------- of bounds */

static int text_compare(const struct redis_slice *left, const struct redis_slice *right)
{
    const struct redis_zset_entry one = {*left, 0}, other = {*right, 0};
    return redis_zset_compare(&one, &other);
}

/* Whether nothing can be in it. */
static bool is_empty(const struct redis_zset_range *range)
{
    if (range->by == REDIS_ZSET_BY_SCORE)
        return range->min > range->max ||
               (range->min == range->max && (range->min_exclusive || range->max_exclusive));
    const struct redis_zset_lex *min = &range->lex_min, *max = &range->lex_max;
    if (min->infinite > 0 || max->infinite < 0)
        return true;
    if (min->infinite || max->infinite)
        return false;
    int order = text_compare(&min->text, &max->text);
    return order > 0 || (order == 0 && (min->exclusive || max->exclusive));
}

static bool above_min(const struct redis_zset_range *range, const struct redis_zset_entry *entry)
{
    if (range->by == REDIS_ZSET_BY_SCORE)
        return range->min_exclusive ? entry->score > range->min : entry->score >= range->min;
    if (range->lex_min.infinite)
        return range->lex_min.infinite < 0;
    int order = text_compare(&entry->member, &range->lex_min.text);
    return range->lex_min.exclusive ? order > 0 : order >= 0;
}

static bool below_max(const struct redis_zset_range *range, const struct redis_zset_entry *entry)
{
    if (range->by == REDIS_ZSET_BY_SCORE)
        return range->max_exclusive ? entry->score < range->max : entry->score <= range->max;
    if (range->lex_max.infinite)
        return range->lex_max.infinite > 0;
    int order = text_compare(&entry->member, &range->lex_max.text);
    return range->lex_max.exclusive ? order < 0 : order <= 0;
}

/* The part [*first, *behind) of a packed one's entries. By members it is what Redis finds even where
 * scores differ: from the first that is not below the range, as long as they are not above it. */
static void packed_part(const struct redis_zset *zset, const struct redis_zset_range *range,
                        size_t *first, size_t *behind)
{
    const struct redis_zset_entry *entries = zset->entries;
    size_t count = zset->count;
    *first = *behind = 0;
    if (count == 0 || is_empty(range) || !above_min(range, &entries[count - 1]) ||
        !below_max(range, &entries[0]))
        return;
    if (range->backward) {
        *behind = count;
        while (*behind > 0 && !below_max(range, &entries[*behind - 1]))
            --*behind;
        *first = *behind;
        while (*first > 0 && above_min(range, &entries[*first - 1]))
            --*first;
        return;
    }
    while (*first < count && !above_min(range, &entries[*first]))
        ++*first;
    *behind = *first;
    while (*behind < count && below_max(range, &entries[*behind]))
        ++*behind;
}

static struct redis_slice place_of_score(struct redis_call *call, double score, bool behind)
{
    unsigned char *place = arena_alloc(txn_arena(call->txn), REDIS_ZSET_PLACE_SIZE);
    if (!place) {
        out_of_memory();
        return (struct redis_slice){NULL, 0};
    }
    (behind ? redis_zset_place_behind : redis_zset_place_score)(score, place);
    return (struct redis_slice){(char *)place, REDIS_ZSET_PLACE_SIZE};
}

/* The score of the first member in a direction. ERROR_END: there is none. */
static int score_of_end(struct redis_zset *zset, bool backward, double *score)
{
    struct redis_elements elements;
    struct redis_element element;
    struct redis_zset_entry entry;
    const struct redis_element_range range = {.backward = backward};
    int rc = redis_elements_open(&elements, zset->call, zset->value.id, REDIS_BY_NUMBER, &range);
    if (!rc)
        rc = redis_elements_next(&elements, &element);
    if (rc)
        return rc;
    redis_zset_entry_read(&element, &entry);
    *score = entry.score;
    return 0;
}

/* The range of places of a spread one. ERROR_END: nothing can be in it. */
static int places(struct redis_zset *zset, const struct redis_zset_range *range,
                  struct redis_element_range *out)
{
    struct redis_call *call = zset->call;
    double score;
    *out = (struct redis_element_range){.backward = range->backward};
    if (is_empty(range))
        return ERROR_END;
    if (range->by == REDIS_ZSET_BY_SCORE) {
        out->lower = place_of_score(call, range->min, range->min_exclusive);
        out->upper = place_of_score(call, range->max, !range->max_exclusive);
        out->upper_exclusive = true;
        return out->lower.data && out->upper.data ? 0 : diag_code();
    }
    int rc = score_of_end(zset, false, &score);
    if (rc)
        return rc;
    const struct redis_zset_lex *min = &range->lex_min, *max = &range->lex_max;
    if (!min->infinite)
        out->lower = redis_zset_place(call, score, &min->text);
    if (!max->infinite)
        out->upper = redis_zset_place(call, score, &max->text);
    out->lower_exclusive = min->exclusive;
    out->upper_exclusive = max->exclusive;
    return (min->infinite || out->lower.data) && (max->infinite || out->upper.data) ? 0
                                                                                    : diag_code();
}

/* ----------------------------------------------------------------------------------------- reading */

/* Nothing stands before the floor, nor up to what the transaction has taken: a range begins there, or ends
 * there. */
static void floor_heed(const struct redis_zset *zset, struct redis_element_range *range)
{
    const struct redis_slice taken = redis_zset_rank_taken(zset), *floor = &zset->floor;
    if (floor->size > 0 &&
        (!range->lower.data || redis_zset_place_compare(&range->lower, floor) < 0)) {
        range->lower = *floor;
        range->lower_exclusive = false;
    }
    if (taken.data &&
        (!range->lower.data || redis_zset_place_compare(&range->lower, &taken) <= 0)) {
        range->lower = taken;
        range->lower_exclusive = true;
    }
}

enum { PASSED_MAX = 32 }; /* deleted ones, before it is tried in another way */

/* The first element of a range. When many are passed that have been deleted, the buckets tell where
 * there are some: asking them costs as much as passing that many. */
static int first_read(struct redis_zset *zset, struct redis_elements *elements,
                      const struct redis_element_range *range, bool few,
                      struct redis_element *element)
{
    struct redis_element_range part = *range;
    floor_heed(zset, &part);
    int rc = redis_elements_open(elements, zset->call, zset->value.id, REDIS_BY_NUMBER, &part);
    if (rc)
        return rc;
    elements->cursor.passed_max = PASSED_MAX;
    if (few)
        redis_elements_few(elements);
    rc = redis_elements_next(elements, element);
    zset->passed = elements->cursor.passed;
    if (rc != ERROR_AGAIN)
        return rc;
    rc = redis_zset_rank_skip(zset, &part);
    if (!rc)
        rc = redis_elements_open(elements, zset->call, zset->value.id, REDIS_BY_NUMBER, &part);
    if (!rc)
        rc = redis_elements_next(elements, element);
    if (rc && rc != ERROR_END)
        return rc;
    int asked = redis_zset_rank_passed(zset, elements->cursor.passed);
    return asked ? asked : rc;
}

/* At most `limit` of the range of places, behind the first `offset`; negative limit: all. */
static int places_read(struct redis_zset *zset, const struct redis_element_range *range,
                       int64_t offset, int64_t limit, struct redis_zset_entries *out)
{
    struct redis_elements elements;
    struct redis_element element;
    enum { FEW = 2 }; /* as many as who takes one reads */
    bool few = limit > 0 && limit <= FEW && offset == 0;
    int rc = limit == 0 ? ERROR_END : first_read(zset, &elements, range, few, &element);
    elements.cursor.passed_max = 0;
    for (int64_t n = 0; n < offset && !rc; n++)
        rc = redis_elements_next(&elements, &element);
    for (int64_t n = 0; (limit < 0 || n < limit) && !rc; n++) {
        struct redis_zset_entry entry;
        redis_zset_entry_read(&element, &entry);
        rc = redis_zset_entries_add(zset->call, out, &entry);
        if (!rc && n + 1 != limit)
            rc = redis_elements_next(&elements, &element);
    }
    return rc == ERROR_END ? 0 : rc;
}

static int packed_read(struct redis_zset *zset, bool backward, size_t first, size_t behind,
                       const struct redis_zset_range *range, struct redis_zset_entries *out)
{
    size_t offset = (size_t)range->offset;
    int rc = 0;
    if (offset >= behind - first)
        return 0;
    size_t count = behind - first - offset;
    if (range->limit >= 0 && (size_t)range->limit < count)
        count = (size_t)range->limit;
    for (size_t n = 0; n < count && !rc; n++)
        rc = redis_zset_entries_add(
            zset->call, out,
            &zset->entries[backward ? behind - 1 - offset - n : first + offset + n]);
    return rc;
}

static void entries_reverse(struct redis_zset_entries *entries)
{
    for (size_t n = 0; n < entries->count / 2; n++) {
        struct redis_zset_entry *one = &entries->items[n];
        struct redis_zset_entry *other = &entries->items[entries->count - 1 - n], kept = *one;
        *one = *other;
        *other = kept;
    }
}

/* From the n-th place on, in the direction, at most to the last. The ends need no looking for. */
static int from_rank(struct redis_zset *zset, bool backward, int64_t rank, int64_t length,
                     int64_t count, struct redis_zset_entries *out)
{
    enum { NEAR = 64 };
    struct redis_element_range places = {.backward = backward};
    if (rank < NEAR)
        return places_read(zset, &places, rank, count, out);
    if (length - rank <= NEAR) {
        places.backward = !backward;
        int rc = places_read(zset, &places, length - rank - count, count, out);
        entries_reverse(out);
        return rc;
    }
    struct redis_slice place;
    int rc = redis_zset_rank_find(zset, backward ? length - 1 - rank : rank, &place);
    *(backward ? &places.upper : &places.lower) = place;
    return rc ? rc == ERROR_END ? 0 : rc : places_read(zset, &places, 0, count, out);
}

static int rank_read(struct redis_zset *zset, const struct redis_zset_range *range,
                     struct redis_zset_entries *out)
{
    int64_t length, start = range->start, stop = range->stop;
    int rc = redis_zset_length(zset, &length);
    if (rc)
        return rc;
    start += start < 0 ? length : 0;
    stop += stop < 0 ? length : 0;
    if (start < 0)
        start = 0;
    if (stop >= length)
        stop = length - 1;
    if (start > stop)
        return 0;
    if (zset->value.spread)
        return from_rank(zset, range->backward, start, length, stop - start + 1, out);
    struct redis_zset_range all = *range;
    all.offset = 0;
    all.limit = -1;
    if (range->backward)
        return packed_read(zset, true, (size_t)(length - 1 - stop), (size_t)(length - start), &all,
                           out);
    return packed_read(zset, false, (size_t)start, (size_t)stop + 1, &all, out);
}

/* A range by members of a spread one whose scores differ means nothing, but Redis gives something: so
 * does this, from a copy of all entries. *one is then the copy, else what it was. */
static int lex_of_different(struct redis_zset **one, const struct redis_zset_range *range,
                            struct redis_zset *copy)
{
    struct redis_zset *zset = *one;
    struct redis_zset_entries all = {.count = 0};
    const struct redis_element_range everything = {.backward = false};
    double first, last;
    if (!zset->value.spread || range->by != REDIS_ZSET_BY_LEX)
        return 0;
    int rc = score_of_end(zset, false, &first);
    if (!rc)
        rc = score_of_end(zset, true, &last);
    if (rc || first == last)
        return rc == ERROR_END ? 0 : rc;
    rc = places_read(zset, &everything, 0, -1, &all);
    *copy = (struct redis_zset){.call = zset->call,
                                .value = {.type = REDIS_TYPE_ZSET},
                                .entries = all.items,
                                .count = all.count};
    *one = copy;
    return rc;
}

int redis_zset_range_read(struct redis_zset *zset, const struct redis_zset_range *range,
                          struct redis_zset_entries *out)
{
    struct redis_zset copy;
    *out = (struct redis_zset_entries){.count = 0};
    if (!redis_zset_exists(zset))
        return 0;
    if (range->by == REDIS_ZSET_BY_RANK)
        return rank_read(zset, range, out);
    int rc = lex_of_different(&zset, range, &copy);
    if (rc || range->offset < 0)
        return rc;
    if (!zset->value.spread) {
        size_t first, behind;
        packed_part(zset, range, &first, &behind);
        return packed_read(zset, range->backward, first, behind, range, out);
    }
    struct redis_element_range bounds;
    rc = places(zset, range, &bounds);
    if (rc)
        return rc == ERROR_END ? 0 : rc;
    return places_read(zset, &bounds, range->offset, range->limit, out);
}

/* How many places are before an end of a range of places. */
static int before_end(struct redis_zset *zset, struct redis_slice end, bool with, int64_t *rank)
{
    int rc = redis_zset_rank_before(zset, &end, rank);
    struct redis_elements elements;
    struct redis_element element;
    const struct redis_element_range only = {.lower = end, .upper = end};
    if (rc || !with)
        return rc;
    rc = redis_elements_open(&elements, zset->call, zset->value.id, REDIS_BY_NUMBER, &only);
    if (!rc)
        rc = redis_elements_next(&elements, &element);
    *rank += !rc;
    return rc == ERROR_END ? 0 : rc;
}

/* Counts those of a range that are few, by walking over them. *few: that was all. */
static int few_count(struct redis_zset *zset, const struct redis_element_range *range,
                     int64_t *count, bool *few)
{
    enum { FEW_MAX = 64 };
    struct redis_elements elements;
    struct redis_element element;
    int rc = first_read(zset, &elements, range, false, &element);
    elements.cursor.passed_max = PASSED_MAX;
    for (*count = 0; !rc && *count < FEW_MAX; ++*count)
        rc = redis_elements_next(&elements, &element);
    *few = rc == ERROR_END;
    return rc == ERROR_END || rc == ERROR_AGAIN ? 0 : rc;
}

int redis_zset_range_count(struct redis_zset *zset, const struct redis_zset_range *range,
                           int64_t *count)
{
    struct redis_zset copy;
    struct redis_element_range bounds;
    int64_t lower = 0, upper = 0;
    *count = 0;
    if (!redis_zset_exists(zset))
        return 0;
    int rc = lex_of_different(&zset, range, &copy);
    if (rc)
        return rc;
    if (!zset->value.spread) {
        size_t first, behind;
        packed_part(zset, range, &first, &behind);
        *count = (int64_t)(behind - first);
        return 0;
    }
    bool few;
    rc = places(zset, range, &bounds);
    if (rc)
        return rc == ERROR_END ? 0 : rc;
    rc = few_count(zset, &bounds, count, &few);
    if (rc || few)
        return rc;
    if (bounds.lower.data)
        rc = before_end(zset, bounds.lower, bounds.lower_exclusive, &lower);
    if (!rc && bounds.upper.data)
        rc = before_end(zset, bounds.upper, !bounds.upper_exclusive, &upper);
    else if (!rc)
        rc = redis_zset_length(zset, &upper);
    *count = upper - lower;
    return rc;
}
