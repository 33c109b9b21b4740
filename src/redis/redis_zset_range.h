/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_ZSET_RANGE_H
#define REDIS_REDIS_ZSET_RANGE_H

/*
 * Ranges of sorted sets: by rank, by score, by the members' bytes (where all scores are equal), in
 * either direction.
 */
#include "redis/redis_zset.h"

enum redis_zset_by { REDIS_ZSET_BY_RANK, REDIS_ZSET_BY_SCORE, REDIS_ZSET_BY_LEX };

/* One end of a range by members. */
struct redis_zset_lex {
    struct redis_slice text;
    int infinite; /* -1: before all, 1: behind all, 0: at the text */
    bool exclusive;
};

struct redis_zset_range {
    enum redis_zset_by by;
    bool backward;
    int64_t start, stop; /* by rank, from the end in question; negative: from the other */
    double min, max;
    bool min_exclusive, max_exclusive;
    struct redis_zset_lex lex_min, lex_max;
    int64_t offset,
        limit; /* of those in the range; a negative offset: none, a negative limit: all */
};

/* All of it. */
void redis_zset_range_create(struct redis_zset_range *range, enum redis_zset_by by);

/* Reads argv[min] and argv[max] (ranks: start and stop), as `by` says; ERROR_INVALID with Redis's
 * message. */
int redis_zset_range_arguments(const struct redis_call *call, unsigned min, unsigned max,
                               struct redis_zset_range *range);

/* What is in the range, in its direction, in the arena. */
struct redis_zset_entries {
    struct redis_zset_entry *items;
    size_t count, capacity;
};
int redis_zset_range_read(struct redis_zset *zset, const struct redis_zset_range *range,
                          struct redis_zset_entries *out);

/* How many are in a range by score or by members. */
int redis_zset_range_count(struct redis_zset *zset, const struct redis_zset_range *range,
                           int64_t *count);

int redis_zset_entries_add(struct redis_call *call, struct redis_zset_entries *entries,
                           const struct redis_zset_entry *entry);

/* Replies entries: with scores these follow their members, in RESP3 (or when `pairs`) in an array with
 * each. */
void redis_zset_entries_reply(struct redis_call *call, const struct redis_zset_entries *entries,
                              bool scores, bool pairs);

#endif
