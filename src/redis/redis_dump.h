/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_DUMP_H
#define REDIS_REDIS_DUMP_H

/*
 * The bytes of DUMP and RESTORE: a value as in Redis's RDB files, and a footer.
 *
 *   type, 1 byte | the value | version of RDB, 2 bytes | CRC-64 of all before it, 8 bytes
 *
 * The last two have their lowest byte first. Lengths are 6 bits (00), 14 bits (01), or behind a byte 80
 * or 81 four or eight bytes, highest first; 11 in the two highest bits begins a string that is an
 * integer (c0, c1, c2: 1, 2, 4 bytes, lowest first) or compressed by LZF (c3, its length, the length of
 * what it was, bytes).
 *
 *   read      0 string, 1 list, 2 set, 4 hash, 5 sorted set (binary scores), 11 set of integers,
 *             16 hash, 17 sorted set, 20 set (a listpack each), 18 list (a node a listpack or an
 *             element), 24 and 25 hashes whose fields expire
 *   written   0, 1, 2, 4, 5 with version 10, as Redis 7.0 does; 24 with version 12, as Redis 7.4 does
 *
 * Nothing here knows keys or transactions.
 */
#include "codec/mp.h"
#include "mem/arena.h"
#include "redis/redis.h"

enum redis_dump_type {
    REDIS_DUMP_STRING = 0,
    REDIS_DUMP_LIST = 1,
    REDIS_DUMP_SET = 2,
    REDIS_DUMP_HASH = 4,
    REDIS_DUMP_ZSET = 5,
    REDIS_DUMP_INTSET = 11,
    REDIS_DUMP_HASH_LISTPACK = 16,
    REDIS_DUMP_ZSET_LISTPACK = 17,
    REDIS_DUMP_QUICKLIST = 18,
    REDIS_DUMP_SET_LISTPACK = 20,
    REDIS_DUMP_HASH_EXPIRING = 24,
    REDIS_DUMP_HASH_LISTPACK_EXPIRING = 25
};
enum { REDIS_DUMP_VERSION = 10, REDIS_DUMP_VERSION_EXPIRING = 12, REDIS_DUMP_VERSION_MAX = 12 };

/* A value that was read. The bytes are in the payload or in the arena. */
struct redis_dump_value {
    int type;     /* of redis_value.h */
    size_t count; /* of items: a string has one; of a hash each field is followed by its value */
    struct redis_slice *items;
    double *scores; /* of a sorted set: one for each item */
    uint64_t
        *expiries; /* of a hash whose fields expire: one for each item, at the fields'; else NULL */
};

/* Whether version and checksum are right: 0 or ERROR_INVALID with Redis's message. */
int redis_dump_check(const void *data, size_t size);

/* Reads a whole payload, whose footer is not looked at. ERROR_INVALID with Redis's message; ERROR_UNSUPPORTED: a
 * type that is not read here; ERROR_MEMORY. Whether elements are different is not looked at. */
int redis_dump_read(struct arena *arena, const void *data, size_t size,
                    struct redis_dump_value *out);

/* Writing: the type's byte, then lengths, strings and numbers as the type wants, then the end. */
void redis_dump_put_type(struct mp_buffer *out, enum redis_dump_type type);
void redis_dump_put_length(struct mp_buffer *out, uint64_t length);
void redis_dump_put_string(struct mp_buffer *out, const void *data, size_t size);
void redis_dump_put_double(struct mp_buffer *out, double value);
void redis_dump_put_time(struct mp_buffer *out, uint64_t ms); /* 8 bytes, lowest first */
void redis_dump_put_end(struct mp_buffer *out, unsigned version);

/* CRC-64 with the polynomial of Jones, reflected, from 0. */
uint64_t redis_crc64(const void *data, size_t size);

#endif
