/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_ZSET_H
#define REDIS_REDIS_ZSET_H

/*
 * Sorted sets: members that are different from each other, each with a score, in order of the score
 * and, where scores are equal, of the members' bytes.
 *
 *   packed   member, score, member, score, in that order. A score is an integer where that says all of
 *            it, else a double. It is unpacked as a whole into `entries` when it is opened.
 *   spread   kind 'z': key the member, value its score, packed as above; so they are in order of their
 *            places too (redis_zset_place; redis/redis_spread.h)
 *            kinds 'b' and 'r': how many there are before a place (redis_zset_rank.h)
 *            What the key's row keeps is the floor, bytes (nil: the empty place): no member stands
 *            before this place. Where a queue is taken from, deleted rows stay in the tree for a while;
 *            who reads from the beginning begins at the floor instead.
 *
 * The floor is a row's content, so that it holds is a matter of serializable transactions. Who raises it
 * has read, validated, all from the old one to the new one, and writes the key's row. Who adds a member
 * has read the key's row, which is validated, and forgets the floor when the place is before it. Below
 * serializable that read may not be validated: there who adds forgets it in any case, so that two write
 * the key's row when one of them raises it; and none of these raises it.
 *
 * A command opens one, reads and changes what it will, and closes it: that writes a packed one, and
 * ends the key when nothing is left. Members that were read stay until the transaction ends.
 */
#include "redis/redis_packed.h"
#include "redis/redis_spread.h"

struct redis_zset_entry {
    struct redis_slice member;
    double score;
};

struct redis_zset {
    struct redis_call *call;
    const struct redis_slice *name;
    struct redis_key key;
    struct redis_value value;         /* type REDIS_TYPE_NONE: there is none, yet */
    struct redis_zset_entry *entries; /* of a packed one, in order */
    size_t count, capacity;
    size_t longest; /* of the members that were added */
    bool writing, changed;
    int64_t added; /* of a spread one: how many more than there were */
    bool shrunk;
    struct redis_slice last;  /* the member that was removed last, when `shrunk` */
    struct redis_slice floor; /* of a spread one */
    bool floor_moved;
    unsigned passed; /* deleted ones in front of the first of the range that was read last */
};

/* Opens what is under `name` (which stays the caller's), to read it or to change it. Errors as
 * redis_open. */
int redis_zset_open(struct redis_zset *zset, struct redis_call *call,
                    const struct redis_slice *name);
int redis_zset_open_for_update(struct redis_zset *zset, struct redis_call *call,
                               const struct redis_slice *name);

/* Of a value that redis_open has given, to read it. */
int redis_zset_of(struct redis_zset *zset, struct redis_call *call,
                  const struct redis_value *value);

static inline bool redis_zset_exists(const struct redis_zset *zset)
{
    return zset->value.type != REDIS_TYPE_NONE;
}

int redis_zset_length(struct redis_zset *zset, int64_t *out);

/* *present: it is there, with this score. */
int redis_zset_score(struct redis_zset *zset, const struct redis_slice *member, bool *present,
                     double *score);

/* Adds a member, or gives one another score: `old` is the one it has, NULL when it is not there. The
 * member stays as it is until the close. */
int redis_zset_put(struct redis_zset *zset, const struct redis_slice *member, const double *old,
                   double score);

/* Removes a member that is there with this score. It stays as it is until the close. */
int redis_zset_remove(struct redis_zset *zset, const struct redis_slice *member, double score);

/* In the order of places. */
int redis_zset_place_compare(const struct redis_slice *left, const struct redis_slice *right);

/* No member stands before this place, as the transaction has read; it may be raised to there. */
void redis_zset_floor_raise(struct redis_zset *zset, const struct redis_slice *place);

/* After changes. *ended (may be NULL): the key was there and is no more. */
int redis_zset_close(struct redis_zset *zset, bool *ended);

/*
 * Puts these entries, in any order, their members different, in the place of whatever is under the
 * name; none of them: deletes it. Says so, with this event of sorted sets (NULL: the caller does),
 * or "del". Sorts the entries.
 */
int redis_zset_store(struct redis_call *call, const struct redis_slice *name,
                     struct redis_zset_entry *entries, size_t count, const char *event);

/* Entries in order. */
void redis_zset_sort(struct redis_zset_entry *entries, size_t count);
int redis_zset_compare(const struct redis_zset_entry *left, const struct redis_zset_entry *right);

/*
 * Where a member with a score stands: 8 bytes that are in order as scores are, then the member's own.
 * REDIS_ZSET_PLACE_SIZE of the score alone, which is before all members with it.
 */
enum { REDIS_ZSET_PLACE_SIZE = REDIS_NUMBER_BYTES };
void redis_zset_place_score(double score, unsigned char out[REDIS_ZSET_PLACE_SIZE]);

/* Before all members with a larger score than this one. */
void redis_zset_place_behind(double score, unsigned char out[REDIS_ZSET_PLACE_SIZE]);

/* In the arena; data NULL when memory has run out. */
struct redis_slice redis_zset_place(struct redis_call *call, double score,
                                    const struct redis_slice *member);

/* The entry of an element by number. */
void redis_zset_entry_read(const struct redis_element *element, struct redis_zset_entry *out);

#endif
