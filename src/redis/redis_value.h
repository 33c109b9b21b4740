/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_VALUE_H
#define REDIS_REDIS_VALUE_H

/*
 * The rows of the Redis spaces: how a key is encoded, how its value is packed, and how commands read
 * and write one.
 *
 *   row key   the key as one string part (codec/key.h), so that keys are in order of their bytes
 *   value     a MessagePack array, so that every tool can read it:
 *               [0] str   the type, one letter
 *               [1] nil, or uint: when it expires, in milliseconds since 1970
 *               [2] bin   of a string: its bytes
 *                   array of a packed collection: its elements (redis/redis_packed.h)
 *                   uint  of a spread one: its number, under which its elements are
 *                         (redis/redis_spread.h)
 *               [3]       of a spread collection only: what its type keeps here; nil when nothing
 *
 * Expired means absent, by comparison with the call's `now_ms` (invariant 27). A value with a type
 * that is not known here is damage.
 *
 * Who writes. A value in one row is tagged before it is read (invariant 11), so that those who
 * change it queue for nanoseconds. A spread one is read by all who change it and written by few; its
 * elements are rows of their own, and what was read of them is validated: redis_open_for_update sees
 * which it is and chooses (txn_strengthen).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redis/redis.h"

enum {
    REDIS_TYPE_NONE = 0,
    REDIS_TYPE_STRING = 's',
    REDIS_TYPE_LIST = 'l',
    REDIS_TYPE_SET = 't',
    REDIS_TYPE_ZSET = 'z',
    REDIS_TYPE_HASH = 'h',
    REDIS_TYPE_STREAM = 'x'
};

/* The largest string, as Redis's proto-max-bulk-len; and what a value's packing adds at most. */
enum { REDIS_STRING_SIZE_MAX = 512 * 1024 * 1024 - 64, REDIS_VALUE_OVERHEAD_MAX = 32 };

/* An encoded key in the transaction's arena. */
struct redis_key {
    const unsigned char *data;
    size_t size;
};

/* A value read in place: valid until the transaction ends. */
struct redis_value {
    int type; /* REDIS_TYPE_NONE: there is none, or it has expired */
    bool own; /* may lie in what this transaction wrote, which its next write of the key reuses */
    bool spread;
    uint32_t access;       /* redis_access.h: as it was before this look; 0: not known */
    uint32_t size;         /* of data */
    uint64_t expire_ms;    /* 0: never */
    uint64_t id;           /* of a spread one */
    struct parcel *parcel; /* in which its version stands, or NULL; `data` may be elsewhere */
    const char
        *data; /* a string's bytes; a packed collection's array; what a spread one keeps here */
};

/* "string", "list", "set", "zset", "hash", "stream", "none". */
const char *redis_type_name(int type);

/* Returns 0, ERROR_MEMORY or ERROR_TOO_LARGE with diagnostics. */
int redis_key_encode(struct redis_call *call, const struct redis_slice *name,
                     struct redis_key *out);

/* The key `name` and what it holds. 0, ERROR_TYPE with Redis's message when it holds another type
 * than `type` (REDIS_TYPE_NONE: any will do), or what the transaction says. _for_update: a write of
 * that key, or of its elements, may follow. */
int redis_open(struct redis_call *call, const struct redis_slice *name, int type,
               struct redis_key *key, struct redis_value *out);
int redis_open_for_update(struct redis_call *call, const struct redis_slice *name, int type,
                          struct redis_key *key, struct redis_value *out);

/* The same of argv[n], whatever type it has. */
int redis_value_get(struct redis_call *call, unsigned n, struct redis_key *key,
                    struct redis_value *out);
int redis_value_get_for_update(struct redis_call *call, unsigned n, struct redis_key *key,
                               struct redis_value *out);

/* The same of argv[n], a string. */
int redis_string_get(struct redis_call *call, unsigned n, struct redis_key *key,
                     struct redis_value *out);
int redis_string_get_for_update(struct redis_call *call, unsigned n, struct redis_key *key,
                                struct redis_value *out);

/* Unpacks a version, which may be NULL. 0 or ERROR_CORRUPT. */
int redis_value_unpack(const struct version *version, uint64_t now_ms, struct redis_value *out);

/* Whether a version has the shape of a spread value: the look of who then unpacks it, or need not. */
bool redis_value_is_spread(const struct version *version);

/* Before writing something made of value->data under the same key: copies the bytes when they are
 * `own`. 0 or ERROR_MEMORY. */
int redis_value_keep(struct redis_call *call, struct redis_value *value);

/*
 * Writes a value in one row, made of two pieces (the second may be empty; see redis_value_keep): the
 * bytes of a string, or a packed collection's array. What was there before goes, elements included.
 * ERROR_TOO_LARGE, ERROR_MEMORY with Redis's message, or what txn_put says.
 */
int redis_value_put(struct redis_call *call, const struct redis_key *key, int type,
                    uint64_t expire_ms, struct redis_slice first, struct redis_slice second);

/* The same of a string. */
int redis_string_put(struct redis_call *call, const struct redis_key *key, uint64_t expire_ms,
                     struct redis_slice first, struct redis_slice second);

/* Writes the row of a spread value: its number, and `kept` (one MessagePack value; empty: nil). */
int redis_value_put_spread(struct redis_call *call, const struct redis_key *key, int type,
                           uint64_t expire_ms, uint64_t id, struct redis_slice kept);

/* Writes the same value with another expiry; one that is not in the future deletes the key. */
int redis_value_put_expiry(struct redis_call *call, const struct redis_key *key,
                           struct redis_value *value, uint64_t expire_ms);

/* Deletes the key with all that it holds; the value is what was read under it. */
int redis_value_delete(struct redis_call *call, const struct redis_key *key,
                       const struct redis_value *value);

/* The same of who has not read what is there. */
int redis_key_delete(struct redis_call *call, const struct redis_key *key);

/* Deletes the key's row alone: what it held, elements included, lives on under another. */
int redis_row_delete(struct redis_call *call, const struct redis_key *key);

/* The name of the key whose row this is, in the transaction's arena. ERROR_CORRUPT or ERROR_MEMORY. */
int redis_row_name(struct redis_call *call, const struct row *row, struct redis_slice *out);

/* A number drawn at random: for members and keys, not for secrets. */
uint64_t redis_random(const struct redis_call *call);

/* ERROR_TYPE with Redis's message. */
int redis_type_error(void);

/*
 * Says that a key has changed: a keyspace event of a class (enum redis_notify) for those who have
 * asked for it, and the change itself for those who wait for the key or keep a copy of it. All of it
 * goes out after the commit (invariant 10). `type`: what the key holds now if somebody might wait for
 * that, else REDIS_TYPE_NONE: of lists and sorted sets when the key was not there before (while it is
 * there nobody waits who is not being served), of streams at each entry. Every command that writes
 * calls it once for each key that it has changed, with Redis's name of the event. 0 or
 * ERROR_MEMORY.
 */
int redis_changed(struct redis_call *call, const struct redis_slice *name, int type,
                  unsigned notify_class, const char *event);

/* A read has found no such key: the event keymiss, which a read-only transaction cannot tell. And a
 * key is being made: the event new. Both change nothing. */
int redis__missed(struct redis_call *call, const struct redis_slice *name);
int redis__created(struct redis_call *call, const struct redis_slice *name);

/* A database was emptied: those who keep copies of keys forget all. 0 or ERROR_MEMORY. */
int redis_flushed(struct redis_call *call);

/* Two databases have changed places: the same, and who waits for a key of either looks again. */
int redis_swapped(struct redis_call *call, unsigned one, unsigned other);

/* A decimal integer as Redis reads it: no blanks, no plus sign, no leading zeros, within 64 bits.
 */
bool redis_integer_parse(const char *text, size_t size, int64_t *out);

/* argv[n] as an integer; ERROR_INVALID with Redis's message. */
int redis_integer_arg(const struct redis_call *call, unsigned n, int64_t *out);

/* Writes the decimal digits of `value` to `out`, which has room for 21 bytes; how many. */
size_t redis_integer_format(int64_t value, char *out);

/* True when argv[n] is this word (given in lower case), regardless of case. */
bool redis_word(const struct redis_call *call, unsigned n, const char *word);

/* "ERR syntax error". */
int redis_syntax_error(void);

/* The time that `amount` (of units that are 1000 ms or 1 ms long) means, from now on or absolute;
 * ERROR_INVALID with Redis's message about `command`. When `positive`, amounts of at most 0 are
 * invalid. */
int redis_expiry_make(const struct redis_call *call, int64_t amount, int unit_ms, bool absolute,
                      bool positive, const char *command, int64_t *out_ms);

#endif
