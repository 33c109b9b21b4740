/* SPDX-License-Identifier: Apache-2.0 */

/* Commands that look into a sorted set: scores, ranks, ranges, draws, scans. */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_commands.h"
#include "redis/redis_gather.h"
#include "redis/redis_number.h"
#include "redis/redis_zset_range.h"
#include "redis/redis_zset_rank.h"

static int zset_open(struct redis_zset *zset, struct redis_call *call)
{
    return redis_zset_open(zset, call, &call->argv[1]);
}

static int reply_integer(struct redis_call *call, int rc, int64_t value)
{
    if (!rc)
        call->sink->vtab->integer(call->sink, value);
    return rc;
}

int redis__zcard(struct redis_call *call)
{
    struct redis_zset zset;
    int64_t length = 0;
    int rc = zset_open(&zset, call);
    if (!rc)
        rc = redis_zset_length(&zset, &length);
    return reply_integer(call, rc, length);
}

static int reply_score(struct redis_zset *zset, const struct redis_slice *member)
{
    bool present;
    double score;
    int rc = redis_zset_score(zset, member, &present, &score);
    if (!rc && present)
        zset->call->sink->vtab->real(zset->call->sink, score);
    else if (!rc)
        zset->call->sink->vtab->null(zset->call->sink);
    return rc;
}

int redis__zscore(struct redis_call *call)
{
    struct redis_zset zset;
    int rc = zset_open(&zset, call);
    return rc ? rc : reply_score(&zset, &call->argv[2]);
}

int redis__zmscore(struct redis_call *call)
{
    struct redis_zset zset;
    int rc = zset_open(&zset, call);
    if (rc)
        return rc;
    call->sink->vtab->array(call->sink, call->argc - 2);
    for (unsigned n = 2; n < call->argc && !rc; n++)
        rc = reply_score(&zset, &call->argv[n]);
    return rc;
}

/* ------------------------------------------------------------------------------------------- ranks */

static int rank_of(struct redis_zset *zset, const struct redis_zset_entry *entry, int64_t *rank)
{
    if (zset->value.spread) {
        struct redis_slice place = redis_zset_place(zset->call, entry->score, &entry->member);
        return place.data ? redis_zset_rank_before(zset, &place, rank) : diag_code();
    }
    *rank = 0;
    while (redis_zset_compare(&zset->entries[*rank], entry) < 0)
        ++*rank;
    return 0;
}

static int reply_rank(struct redis_call *call, bool backward)
{
    struct redis_zset zset;
    struct redis_zset_entry entry = {.member = call->argv[2]};
    const struct redis_sink_vtab *vtab = call->sink->vtab;
    bool present, with_score = call->argc == 4;
    int64_t rank, length;
    if (call->argc > 4)
        return diag_set(ERROR_INVALID, "wrong number of arguments for '%s' command",
                        backward ? "zrevrank" : "zrank");
    if (with_score && !redis_word(call, 3, "withscore"))
        return redis_syntax_error();
    int rc = zset_open(&zset, call);
    if (!rc)
        rc = redis_zset_score(&zset, &entry.member, &present, &entry.score);
    if (rc)
        return rc;
    if (!present) {
        (with_score ? vtab->null_array : vtab->null)(call->sink);
        return 0;
    }
    rc = rank_of(&zset, &entry, &rank);
    if (!rc && backward) {
        rc = redis_zset_length(&zset, &length);
        rank = length - 1 - rank;
    }
    if (rc)
        return rc;
    if (with_score)
        vtab->array(call->sink, 2);
    vtab->integer(call->sink, rank);
    if (with_score)
        vtab->real(call->sink, entry.score);
    return 0;
}

int redis__zrank(struct redis_call *call)
{
    return reply_rank(call, false);
}

int redis__zrevrank(struct redis_call *call)
{
    return reply_rank(call, true);
}

static int reply_count(struct redis_call *call, enum redis_zset_by by)
{
    struct redis_zset zset;
    struct redis_zset_range range;
    int64_t count = 0;
    redis_zset_range_create(&range, by);
    int rc = redis_zset_range_arguments(call, 2, 3, &range);
    if (!rc)
        rc = zset_open(&zset, call);
    if (!rc)
        rc = redis_zset_range_count(&zset, &range, &count);
    return reply_integer(call, rc, count);
}

int redis__zcount(struct redis_call *call)
{
    return reply_count(call, REDIS_ZSET_BY_SCORE);
}

int redis__zlexcount(struct redis_call *call)
{
    return reply_count(call, REDIS_ZSET_BY_LEX);
}

/* ------------------------------------------------------------------------------------------ ranges */

/* What a command may say, and has said. */
struct query {
    struct redis_zset_range range;
    bool by_free, rev_free; /* BYSCORE and BYLEX, REV are options */
    bool store;
    bool scores;
    unsigned first; /* the argument with the key */
};

static int query_option(struct redis_call *call, unsigned *n, struct query *query)
{
    struct redis_zset_range *range = &query->range;
    if (!query->store && redis_word(call, *n, "withscores")) {
        query->scores = true;
    } else if (redis_word(call, *n, "limit") && call->argc - *n > 2) {
        int rc = redis_integer_arg(call, *n + 1, &range->offset);
        *n += 2;
        return rc ? rc : redis_integer_arg(call, *n, &range->limit);
    } else if (query->rev_free && redis_word(call, *n, "rev")) {
        range->backward = true;
        query->rev_free = false;
    } else if (query->by_free && redis_word(call, *n, "bylex")) {
        range->by = REDIS_ZSET_BY_LEX;
        query->by_free = false;
    } else if (query->by_free && redis_word(call, *n, "byscore")) {
        range->by = REDIS_ZSET_BY_SCORE;
        query->by_free = false;
    } else {
        return redis_syntax_error();
    }
    return 0;
}

static int query_arguments(struct redis_call *call, struct query *query)
{
    struct redis_zset_range *range = &query->range;
    for (unsigned n = query->first + 3; n < call->argc; n++) {
        int rc = query_option(call, &n, query);
        if (rc)
            return rc;
    }
    bool by_rank = range->by == REDIS_ZSET_BY_RANK;
    if (range->limit != -1 && by_rank)
        return diag_set(ERROR_INVALID, "syntax error, LIMIT is only supported in combination with "
                                       "either BYSCORE or BYLEX");
    if (query->scores && range->by == REDIS_ZSET_BY_LEX)
        return diag_set(ERROR_INVALID,
                        "syntax error, WITHSCORES not supported in combination with BYLEX");
    bool swapped = range->backward && !by_rank;
    return redis_zset_range_arguments(call, query->first + 1 + swapped, query->first + 2 - swapped,
                                      range);
}

static int query_run(struct redis_call *call, struct query *query)
{
    struct redis_zset zset;
    struct redis_zset_entries found;
    int rc = query_arguments(call, query);
    if (!rc)
        rc = redis_zset_open(&zset, call, &call->argv[query->first]);
    if (!rc)
        rc = redis_zset_range_read(&zset, &query->range, &found);
    if (rc)
        return rc;
    if (!query->store) {
        redis_zset_entries_reply(call, &found, query->scores, false);
        return 0;
    }
    rc = redis_zset_store(call, &call->argv[1], found.items, found.count, "zrangestore");
    return reply_integer(call, rc, (int64_t)found.count);
}

/* One of the old forms. */
static int query_fixed(struct redis_call *call, enum redis_zset_by by, bool backward)
{
    struct query query = {.first = 1};
    redis_zset_range_create(&query.range, by);
    query.range.backward = backward;
    return query_run(call, &query);
}

int redis__zrange(struct redis_call *call)
{
    struct query query = {.first = 1, .by_free = true, .rev_free = true};
    redis_zset_range_create(&query.range, REDIS_ZSET_BY_RANK);
    return query_run(call, &query);
}

int redis__zrangestore(struct redis_call *call)
{
    struct query query = {.first = 2, .by_free = true, .rev_free = true, .store = true};
    redis_zset_range_create(&query.range, REDIS_ZSET_BY_RANK);
    return query_run(call, &query);
}

int redis__zrevrange(struct redis_call *call)
{
    return query_fixed(call, REDIS_ZSET_BY_RANK, true);
}

int redis__zrangebyscore(struct redis_call *call)
{
    return query_fixed(call, REDIS_ZSET_BY_SCORE, false);
}

int redis__zrevrangebyscore(struct redis_call *call)
{
    return query_fixed(call, REDIS_ZSET_BY_SCORE, true);
}

int redis__zrangebylex(struct redis_call *call)
{
    return query_fixed(call, REDIS_ZSET_BY_LEX, false);
}

int redis__zrevrangebylex(struct redis_call *call)
{
    return query_fixed(call, REDIS_ZSET_BY_LEX, true);
}

/* ------------------------------------------------------------------------------------------- draws */

/* The entry of a row of kind 'z'. */
static int draw_add(struct redis_zset *zset, const struct redis_element *element,
                    struct redis_zset_entries *drawn)
{
    struct redis_zset_entry entry = {.member = {element->key, element->key_size}};
    bool present;
    int rc = redis_zset_score(zset, &entry.member, &present, &entry.score);
    return rc ? rc : redis_zset_entries_add(zset->call, drawn, &entry);
}

static int draw_spread(struct redis_zset *zset, int64_t length, int64_t count, bool different,
                       struct redis_zset_entries *drawn)
{
    struct redis_call *call = zset->call;
    struct redis_element one, *some;
    uint64_t found = 0;
    int rc = 0;
    for (int64_t n = 0; n < count && !different && !rc; n++) {
        rc = redis_element_random(call, zset->value.id, REDIS_NUMBERED, redis_random(call), &one,
                                  NULL);
        if (!rc)
            rc = draw_add(zset, &one, drawn);
    }
    if (!different)
        return rc == ERROR_END ? 0 : rc;
    some = arena_alloc(txn_arena(call->txn), (size_t)(count + 1) * sizeof *some);
    if (!some)
        return diag_set(ERROR_MEMORY, "out of memory");
    rc = redis_spread_sample(call, zset->value.id, REDIS_NUMBERED, (uint64_t)length,
                             (uint64_t)count, NULL, some, &found);
    for (uint64_t n = 0; n < found && !rc; n++)
        rc = draw_add(zset, &some[n], drawn);
    return rc;
}

static int draw_packed(struct redis_zset *zset, int64_t length, int64_t count, bool different,
                       struct redis_zset_entries *drawn)
{
    int rc = 0;
    for (int64_t n = 0; (different ? n < length && count > 0 : n < count) && !rc; n++) {
        uint64_t random = redis_random(zset->call);
        uint64_t at = different ? (uint64_t)n : random % (uint64_t)length;
        if (different && (int64_t)(random % (uint64_t)(length - n)) >= count)
            continue;
        count -= different;
        rc = redis_zset_entries_add(zset->call, drawn, &zset->entries[at]);
    }
    return rc;
}

/* argv[2] and argv[3]: how many, and whether with scores. */
static int draw_arguments(const struct redis_call *call, int64_t *count, bool *scores)
{
    *count = 1;
    *scores = call->argc == 4;
    if (call->argc == 2)
        return 0;
    int rc = redis_draw_count(call, 2, count);
    if (rc)
        return rc;
    if (call->argc > 4 || (call->argc == 4 && !redis_word(call, 3, "withscores")))
        return redis_syntax_error();
    if (*scores && (*count < -INT64_MAX / 2 || *count > INT64_MAX / 2))
        return diag_set(ERROR_INVALID, "value is out of range");
    return 0;
}

int redis__zrandmember(struct redis_call *call)
{
    struct redis_zset zset;
    struct redis_zset_entries drawn = {.count = 0};
    int64_t count, length = 0;
    bool scores;
    int rc = draw_arguments(call, &count, &scores);
    if (!rc)
        rc = zset_open(&zset, call);
    if (!rc)
        rc = redis_zset_length(&zset, &length);
    if (rc)
        return rc;
    bool different = count > 0;
    count = count < 0 ? -count : count > length ? length : count;
    if (length && count)
        rc = (zset.value.spread ? draw_spread : draw_packed)(&zset, length, count, different,
                                                             &drawn);
    if (rc)
        return rc;
    if (call->argc > 2)
        redis_zset_entries_reply(call, &drawn, scores, false);
    else if (drawn.count)
        call->sink->vtab->bulk(call->sink, drawn.items[0].member.data, drawn.items[0].member.size);
    else
        call->sink->vtab->null(call->sink);
    return 0;
}

/* ------------------------------------------------------------------------------------------- scans */

static int scan_add(struct redis_gather *found, const struct redis_scan_options *options,
                    const struct redis_zset_entry *entry)
{
    struct redis_item item = {.data = entry->member.data, .size = entry->member.size};
    char text[32];
    if (!redis_scan_matches(options, &item))
        return 0;
    int rc = redis_gather_add(found, entry->member);
    item.data = text;
    item.size = redis_double_format(entry->score, text);
    return rc ? rc : redis_gather_item(found, &item, true);
}

static int scan_spread(struct redis_zset *zset, const struct redis_scan_options *options,
                       uint64_t *cursor, struct redis_gather *found)
{
    struct redis_call *call = zset->call;
    struct redis_slice after;
    struct redis_elements elements;
    struct redis_element element = {.key = NULL};
    int rc = redis_scan_after(call, *cursor, &after);
    *cursor = 0;
    if (rc)
        return rc;
    const struct redis_element_range range = {.lower = after,
                                              .lower_exclusive = after.data != NULL};
    rc = redis_elements_open(&elements, call, zset->value.id, REDIS_NUMBERED, &range);
    for (int64_t n = 0; !rc && (n < options->count || !call->scans); n++) {
        struct redis_zset_entry entry;
        bool present;
        rc = redis_elements_next(&elements, &element);
        if (rc)
            break;
        entry.member = (struct redis_slice){element.key, element.key_size};
        rc = redis_zset_score(zset, &entry.member, &present, &entry.score);
        if (!rc)
            rc = scan_add(found, options, &entry);
    }
    if (rc)
        return rc == ERROR_END ? 0 : rc;
    return redis_scan_keep(call, (struct redis_slice){element.key, element.key_size}, cursor);
}

int redis__zscan(struct redis_call *call)
{
    struct redis_zset zset;
    struct redis_scan_options options = {.count = 0};
    struct redis_gather found;
    uint64_t cursor;
    redis_gather_create(&found, call);
    int rc = redis_scan_cursor(call, &cursor);
    if (!rc)
        rc = zset_open(&zset, call);
    if (!rc && redis_zset_exists(&zset))
        rc = redis_scan_options(call, false, &options);
    if (!rc && zset.value.spread)
        rc = scan_spread(&zset, &options, &cursor, &found);
    else
        cursor = 0;
    for (size_t n = 0; n < zset.count && !zset.value.spread && !rc; n++)
        rc = scan_add(&found, &options, &zset.entries[n]);
    if (!rc)
        redis_scan_reply(cursor, &found);
    return rc;
}
