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
 *             element), 24 and 25 hashes whose fields expire, 19 and 21 streams (redis_dump_stream.c)
 *   written   0, 1, 2, 4, 5, 19 with version 10, as Redis 7.0 does; 24 with version 12, as Redis 7.4
 *             does
 *
 * Nothing here knows keys or transactions.
 */
#include "codec/mp.h"
#include "mem/arena.h"
#include "redis/redis_stream.h"

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
    REDIS_DUMP_STREAM = 19,
    REDIS_DUMP_SET_LISTPACK = 20,
    REDIS_DUMP_STREAM_ACTIVE = 21,
    REDIS_DUMP_HASH_EXPIRING = 24,
    REDIS_DUMP_HASH_LISTPACK_EXPIRING = 25
};
enum { REDIS_DUMP_VERSION = 10, REDIS_DUMP_VERSION_EXPIRING = 12, REDIS_DUMP_VERSION_MAX = 12 };

/* A stream that was read: its entries' fields and values are items of the value, in order. */
struct redis_dump_entry {
    struct stream_id id;
    uint32_t count; /* of items */
};
struct redis_dump_pending {
    struct stream_id id;
    uint64_t time_ms, count;
    size_t consumer; /* by its place in `consumers` */
};
struct redis_dump_group {
    struct stream_group group;
    struct stream_consumer *consumers;  /* group.consumers of them */
    struct redis_dump_pending *pending; /* group.pending of them, in order of ids */
};
struct redis_dump_stream {
    struct stream_id last, deleted;
    uint64_t added, length, groups_count;
    struct redis_dump_entry *entries; /* `length` of them, in order */
    struct redis_dump_group *groups;
};

/* A value that was read. The bytes are in the payload or in the arena. */
struct redis_dump_value {
    int type;     /* of redis_value.h */
    size_t count; /* of items: a string has one; of a hash each field is followed by its value */
    struct redis_slice *items;
    double *scores; /* of a sorted set: one for each item */
    /* of a hash whose fields expire: one for each item, at the fields'; else NULL */
    uint64_t *expiries;
    struct redis_dump_stream *stream;
};

/* Whether version and checksum at the end are right. */
bool redis_dump_ends(const void *data, size_t size);

/* The same of a payload with something in it: 0 or ERROR_INVALID with Redis's message. */
int redis_dump_check(const void *data, size_t size);

/* Reads a whole payload, whose footer is not looked at. ERROR_INVALID with Redis's message;
 * ERROR_UNSUPPORTED: a type that is not read here; ERROR_MEMORY. Whether elements are different is
 * not looked at. */
int redis_dump_read(struct arena *arena, const void *data, size_t size,
                    struct redis_dump_value *out);

/* Reading piece by piece what somebody else makes of it. `size` is the payload's, which was
 * checked. Who has failed gets zeros and empty strings from then on; `rc` tells. Strings are in the
 * payload or in the arena. */
struct redis_dump_reader {
    struct arena *arena;
    const unsigned char *at, *end;
    int rc; /* the first error */
    size_t capacity;
    struct redis_dump_value *out;
};
void redis_dump_open(struct redis_dump_reader *reader, struct arena *arena, const void *data,
                     size_t size);
uint64_t redis_dump_take_number(struct redis_dump_reader *reader, size_t bytes); /* lowest first */
uint64_t redis_dump_take_length(struct redis_dump_reader *reader);
struct redis_slice redis_dump_take_string(struct redis_dump_reader *reader);

/* Shared with redis_dump_stream.c. take: so many bytes, or NULL. reserve: from the arena, or NULL. add:
 * one more item of the value. listpack_open: how many elements it says it has; it ends where `pack`
 * does, and its own rc tells. */
void redis__dump_fail(struct redis_dump_reader *reader);
const unsigned char *redis__dump_take(struct redis_dump_reader *reader, uint64_t size);
void *redis__dump_reserve(struct redis_dump_reader *reader, size_t size);
void redis__dump_add(struct redis_dump_reader *reader, struct redis_slice item, double score,
                     uint64_t expire_ms);
uint64_t redis__dump_listpack_open(struct redis_dump_reader *pack, struct redis_dump_reader *reader,
                                   struct redis_slice blob);
struct redis_slice redis__dump_listpack_next(struct redis_dump_reader *pack);
void redis__dump_stream_read(struct redis_dump_reader *reader, bool active);

/* Writing: the type's byte, then lengths, strings and numbers as the type wants, then the end. */
void redis_dump_put_type(struct mp_buffer *out, enum redis_dump_type type);
void redis_dump_put_length(struct mp_buffer *out, uint64_t length);
void redis_dump_put_string(struct mp_buffer *out, const void *data, size_t size);
void redis_dump_put_double(struct mp_buffer *out, double value);
void redis_dump_put_number(struct mp_buffer *out, uint64_t number, size_t bytes); /* lowest first */
void redis_dump_put_end(struct mp_buffer *out, unsigned version);

/* The entries of a stream, in order of ids, as nodes: strings that are appended to `out`, and counted
 * in `nodes`. Who creates it ends it. */
struct redis_dump_nodes {
    struct mp_buffer *out;
    uint64_t nodes;
    struct stream_id first;             /* of the node that is being made, as what follows */
    uint64_t entries, elements, fields; /* elements: of the listpack, fields: of its first entry */
    struct mp_buffer node_names, names, values; /* parts of listpacks */
};
void redis_dump_nodes_create(struct redis_dump_nodes *nodes, struct mp_buffer *out);
/* `value`: a MessagePack array of strings, fields and values in turn. */
void redis_dump_nodes_put(struct redis_dump_nodes *nodes, struct stream_id id,
                          struct redis_slice value);
void redis_dump_nodes_end(struct redis_dump_nodes *nodes);

/* redis_stream_dump.c: the stream argv[1] behind the number of its nodes, which goes to *nodes; and one
 * that was read, under argv[1], where there is nothing. */
int redis__stream_dump(struct redis_call *call, struct mp_buffer *out, uint64_t *nodes);
int redis__stream_restore(struct redis_call *call, const struct redis_dump_value *dump,
                          uint64_t expire_ms);

/* CRC-64 with the polynomial of Jones, reflected, from 0. */
uint64_t redis_crc64(const void *data, size_t size);

#endif
