/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_ZSET_RANK_H
#define REDIS_REDIS_ZSET_RANK_H

/*
 * How many members of a spread sorted set stand before a place, and which stands at a rank, without
 * walking over all of them.
 *
 * The order is cut into buckets, on two levels: fine ones of some hundred members, coarse ones of some
 * dozens of fine ones. A bucket is known by the place where it begins; the first begins with the empty
 * place, each coarse one where a fine one does.
 *
 *   'b'  level | place             a bucket that is not the first begins here; nil
 *   'r'  level | stripe | place    how many of the bucket's members this stripe of workers has added
 *
 *   'u'                           the bound: no member from this place on is counted; nil: all are
 *
 * Counting is most of what adding a member costs, and many a set is never asked for a rank: queues, places of
 * a map. So a set that becomes spread has its bound at the beginning, and who has to walk over many members for a
 * rank (`zset_ranks_after`) asks for it to be moved: which is done from the beginning to the end, some
 * members in a transaction (redis_housekeeping.c). Ranks behind the bound are found by walking from there. Who
 * moves it has read, validated, the members that he counts, and writes the row; who adds a member, or takes one
 * away, has read that row. A set that has none is of a time at which all were counted.
 *
 * So who adds a member writes rows that no other worker writes, and the rows that make up a rank lie
 * together. A fine bucket that has become too large is cut in two by somebody who adds to it (looking
 * at it now and then, since counting costs more than adding); empty ones are cleared away by those who
 * remove.
 */
#include "redis/redis_zset.h"

/* After a member was added to a place or taken away: counts it. */
int redis_zset_rank_add(struct redis_zset *zset, const struct redis_slice *place, int delta);

/* Counts a set that is spread just now, from its entries in order, of which none is counted: now if
 * `zset_ranks_after` is 0, else when somebody has asked. */
int redis_zset_rank_build(struct redis_zset *zset, const struct redis_zset_entry *entries,
                          size_t count);

/* After so many members, or rows of such as have been deleted, were passed one by one: asks for the set to be
 * counted if that would have spared them. */
int redis_zset_rank_passed(struct redis_zset *zset, int64_t passed);

/* Counts at most so many more members of the set with this number. *count: how many they were; *all:
 * there are no others. For a transaction of its own, at serializable. */
int redis_zset_rank_count(struct redis_call *call, uint64_t id, size_t most, uint64_t *count,
                          bool *all);

/* How many stand before the place (which may be of a score alone). */
int redis_zset_rank_before(struct redis_zset *zset, const struct redis_slice *place, int64_t *rank);

/* The place of the member with this rank from the beginning, in the arena; ERROR_END: there is none. */
int redis_zset_rank_find(struct redis_zset *zset, int64_t rank, struct redis_slice *place);

/* Moves the end at which a range of places begins over buckets in which nothing is any more: rows that
 * are deleted stay in the tree for a while, and where a queue is taken from there are many. */
int redis_zset_rank_skip(struct redis_zset *zset, struct redis_element_range *range);

/*
 * Up to which place, with it, no member stands, since the transaction has read and taken all of them; data
 * NULL when it has noted none. _take notes that, the place staying valid until the transaction ends; _come
 * is for who gives a place to a member.
 */
struct redis_slice redis_zset_rank_taken(const struct redis_zset *zset);
void redis_zset_rank_take(struct redis_zset *zset, const struct redis_slice *place);
void redis_zset_rank_come(struct redis_zset *zset, const struct redis_slice *place);

#endif
