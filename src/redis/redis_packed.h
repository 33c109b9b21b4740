/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_PACKED_H
#define REDIS_REDIS_PACKED_H

/*
 * A small collection in one value: a MessagePack array of its elements. An element is a str, or, when
 * it is the decimal text of an integer, that integer (like the listpacks of Redis: "12" takes a byte);
 * a type may have others, such as doubles for scores.
 *
 * A packed value is read from its beginning and written anew as a whole: it is small.
 */
#include "codec/mp.h"
#include "redis/redis_value.h"

/* One element. The bytes lie in the value or in `digits`. */
struct redis_item {
    const char *data;
    size_t size;
    const char *raw; /* as it is packed, to be copied by redis_packer_raw */
    size_t raw_size;
    char digits[32];
};

struct redis_packed {
    const char *at;
    uint32_t count, left;
};

/* Of a value that is packed, or of none (which has no elements). */
void redis_packed_open(struct redis_packed *packed, const struct redis_value *value);

/* The next element as bytes, also of a number; false behind the last. */
bool redis_packed_next(struct redis_packed *packed, struct redis_item *item);

/* Passes over one element; false behind the last. */
bool redis_packed_skip(struct redis_packed *packed);

/* The bytes of one packed element (str, integer or double as Redis writes it), also of an element's
 * value in a row of its own. */
void redis_item_read(const char *raw, struct redis_item *item);

/* Of the packed elements in [at, end) every step-th, beginning with the first: the one that consists of
 * these bytes; NULL when there is none. What is packed alike is equal, and the other way round, but for
 * doubles. */
const char *redis_packed_find(const char *at, const char *end, unsigned step, const char *raw,
                              size_t size);

/* How much an element takes at most when it is packed; packs it at `out` and returns the end. */
static inline size_t redis_item_size_max(size_t size)
{
    return size + 5;
}
char *redis_item_pack(char *out, const void *data, size_t size);

/* A value that is being written, in the transaction's arena. After memory has run out everything does
 * nothing, and redis_packer_put says so. */
struct redis_packer {
    struct redis_call *call;
    char *data; /* room for the array's header first */
    size_t size, capacity;
    uint32_t count; /* elements so far */
};
enum { REDIS_PACKER_START = 5 }; /* where in `data` the elements begin */

/* `capacity`: about how many bytes it is going to have. */
void redis_packer_create(struct redis_packer *packer, struct redis_call *call, size_t capacity);
void redis_packer_add(struct redis_packer *packer, const void *data, size_t size);
void redis_packer_add_double(struct redis_packer *packer, double value);
void redis_packer_raw(struct redis_packer *packer, const char *raw, size_t size);

/* Begins with the elements of a packed value, or of none, to be changed; `more`: about how many bytes
 * it will grow by. */
void redis_packer_open(struct redis_packer *packer, struct redis_call *call,
                       const struct redis_value *value, size_t more);

/* Puts packed elements in the place of others: `size` bytes for the `old_size` from `at`, an offset in
 * data. `more`: how many elements more there are then. */
void redis_packer_splice(struct redis_packer *packer, size_t at, size_t old_size, const char *raw,
                         size_t size, int more);

/* Writes it under the key. */
int redis_packer_put(struct redis_packer *packer, const struct redis_key *key, int type,
                     uint64_t expire_ms);

#endif
