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
 * So who adds a member writes rows that no other worker writes, and the rows that make up a rank lie
 * together. A fine bucket that has become too large is cut in two by somebody who adds to it (looking
 * at it now and then, since counting costs more than adding); empty ones are cleared away by those who
 * remove.
 */
#include "redis/redis_zset.h"

/* After a member was added to a place or taken away: counts it. */
int redis_zset_rank_add(struct redis_zset *zset, const struct redis_slice *place, int delta);

/* Counts a set that is spread just now, from its entries in order, of which none is counted. */
int redis_zset_rank_build(struct redis_zset *zset, const struct redis_zset_entry *entries,
                          size_t count);

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
