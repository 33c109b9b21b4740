/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_SPREAD_H
#define REDIS_REDIS_SPREAD_H

/*
 * Collections that are spread over rows. The key's row has a number; the elements are rows of one
 * space, whose keys are
 *
 *   the number, 8 bytes, big-endian | a kind, 1 byte | what the type makes of the element
 *
 * so one collection's rows lie together, those of a kind in order of their bytes. Their values are
 * MessagePack: of the type's choice, but that an array of two with an unsigned integer in second place
 * is an element that expires then (db/db.h).
 *
 *   'e'  elements: as long as there is one, the collection exists. Who takes one away ends the key
 *        with the last (redis_spread_shrunk)
 *   'z'  elements too, of a collection that has no 'e': they are also in the order of their values,
 *        which are numbers (db_redis_numbers): walked over as REDIS_BY_NUMBER, which no row has
 *   'c'  counts, below
 *   's' and other letters: the type's own
 *
 * So two clients that work on different elements meet nowhere: they read the key's row and write their
 * own. How many elements there are is a sum of rows too, one for each of a few workers.
 *
 * Deleting a key does not delete its elements: its number goes into the row 0 | 'g' | number, and
 * whoever has time clears up (redis_housekeeping.h).
 *
 * Transactions. After redis_open_for_update of a spread value everything that is read here is
 * validated at commit, whatever the level was. Values that are read may lie in what the transaction
 * itself wrote: copy them before writing the same element.
 */
#include "redis/redis_value.h"

enum {
    REDIS_ELEMENT = 'e',
    REDIS_NUMBERED = DB_REDIS_NUMBERED,
    REDIS_BY_NUMBER = 1,
    REDIS_COUNT = 'c',
    REDIS_GARBAGE = 'g'
};

/* In front of the element's own key among those REDIS_BY_NUMBER: as numbers are in order. */
enum { REDIS_NUMBER_BYTES = 8 };

/* An element's own part of a key may have so many bytes. */
enum { REDIS_ELEMENT_KEY_MAX = TREE_KEY_SIZE_MAX - 64 };

/* Writes the key of an element's row, or REDIS_BY_NUMBER that of its entry, where there is room for nine bytes and
 * `size`. Its size. */
size_t redis_element_key(unsigned char *out, uint64_t id, int kind, const void *key, size_t size);

/* A number that nobody has had; then write the key's row with it (redis_value_put_spread). */
int redis_spread_new(struct redis_call *call, uint64_t *id);

/* Writes all rows of one number once more under another, which has none. */
int redis_spread_copy(struct redis_call *call, uint64_t from, uint64_t to);

/* Looks at all rows of a collection's number, but for those by which the members of a sorted set are counted for ranks, which
 * change by themselves: what the transaction has seen (txn_seen_ts) is what they rest on. */
int redis_spread_look(struct redis_call *call, const struct redis_value *value);

/* Gives the elements of a number that no key has any more to those who clear up. */
int redis_spread_discard(struct redis_call *call, uint64_t id);

/* After an element of this kind with this key was deleted: deletes the collection's key too if it was
 * the last one; *ended (may be NULL) tells. */
int redis_spread_shrunk(struct redis_call *call, const struct redis_key *key,
                        const struct redis_value *value, int kind, const void *element, size_t size,
                        bool *ended);

/* The value of an element; data NULL when there is none. ERROR_TOO_LARGE for a key that none has. */
int redis_element_get(struct redis_call *call, uint64_t id, int kind, const void *key, size_t size,
                      struct redis_slice *out);

/* The same when a write of it may follow: at the lower levels it is validated as well. */
int redis_element_get_for_update(struct redis_call *call, uint64_t id, int kind, const void *key,
                                 size_t size, struct redis_slice *out);

/* The same as of a moment ago: it is not validated (txn_peek). */
int redis_element_peek(struct redis_call *call, uint64_t id, int kind, const void *key, size_t size,
                       struct redis_slice *out);

/* Writes `value`, MessagePack. `expire_ms`: what it says of its expiry, 0 when nothing. */
int redis_element_put(struct redis_call *call, uint64_t id, int kind, const void *key, size_t size,
                      struct redis_slice value, uint64_t expire_ms);

/* Adds to a number that is read, and written, by those who count alone: its bytes may be written over, so
 * nobody keeps them (txn_put_over). Of no kind that has entries in an order. *count: what it is then. */
int redis_element_count_add(struct redis_call *call, uint64_t id, int kind, const void *key,
                            size_t size, int64_t delta, int64_t *count);
int redis_element_delete(struct redis_call *call, uint64_t id, int kind, const void *key,
                         size_t size);

/* Elements of one kind in the order of their keys. A bound whose data is NULL is none. */
struct redis_element_range {
    struct redis_slice lower, upper;
    bool lower_exclusive, upper_exclusive, backward;
};
struct redis_elements {
    struct redis_call *call;
    int kind;
    struct txn_index index;
    struct txn_cursor cursor;
};
struct redis_element {
    const char *key; /* behind number and kind; by number: order and key */
    size_t key_size;
    struct redis_slice value;
};

/* `range` NULL: all, forward. The bounds are copied. */
int redis_elements_open(struct redis_elements *elements, struct redis_call *call, uint64_t id,
                        int kind, const struct redis_element_range *range);

/* The same, but who changes what it passes is no conflict: for hints. */
int redis_elements_open_loose(struct redis_elements *elements, struct redis_call *call, uint64_t id,
                              int kind, const struct redis_element_range *range);

/* Right after they were opened, by who wants the first, or one or two more if these have been deleted. */
void redis_elements_few(struct redis_elements *elements);

/* 0, ERROR_END, or what the transaction says. */
int redis_elements_next(struct redis_elements *elements, struct redis_element *out);

/* An element of the kind, drawn at random: any of a leaf of the tree that is picked as tree_random_leaf
 * does it, so that those in fuller leaves come a little less often. *others (may be NULL): there is
 * another one too; false tells nothing. ERROR_END: there is none. */
int redis_element_random(struct redis_call *call, uint64_t id, int kind, uint64_t random,
                         struct redis_element *out, bool *others);

/* Adds to count `number` of the collection (of its elements: 0); sums one. Each is the sum of rows of
 * different workers. */
int redis_count_add(struct redis_call *call, uint64_t id, uint32_t number, int64_t delta);
int redis_count_get(struct redis_call *call, uint64_t id, uint32_t number, int64_t *out);

/* The same as of a moment ago: who counts meanwhile is no conflict. */
int redis_count_peek(struct redis_call *call, uint64_t id, uint32_t number, int64_t *out);

#endif
