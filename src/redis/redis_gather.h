/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_GATHER_H
#define REDIS_REDIS_GATHER_H

/*
 * Replies whose size is not known before they are complete: slices gathered in the transaction's
 * arena, all of them or those that are different. And what HSCAN, SSCAN and ZSCAN have in common.
 */
#include "redis/redis_packed.h"
#include "redis/redis_spread.h"

struct redis_gather {
    struct redis_call *call;
    struct redis_slice *items;
    size_t count, capacity;
    uint32_t *slots; /* of a gather of different ones: index + 1, 0 is free; twice the capacity */
};

void redis_gather_create(struct redis_gather *gather, struct redis_call *call);

/* Bytes that stay until the transaction ends. 0 or ERROR_MEMORY. */
int redis_gather_add(struct redis_gather *gather, struct redis_slice item);

/* The bytes of an item: copied when they are in the item itself, or `copy`. */
int redis_gather_item(struct redis_gather *gather, const struct redis_item *item, bool copy);

/* Adds it unless it is there already; *added tells. To one to which all are added this way. */
int redis_gather_different(struct redis_gather *gather, struct redis_slice item, bool *added);

/* The same with the bytes of an item, which are copied when they are in the item itself. */
int redis_gather_different_item(struct redis_gather *gather, const struct redis_item *item);

/* The same; *at is where it is among the items. */
int redis_gather_find(struct redis_gather *gather, struct redis_slice item, size_t *at,
                      bool *added);

/* Its items as bulk strings, after their number has been announced. */
void redis_gather_reply(const struct redis_gather *gather);

/*
 * Different elements of a kind of a spread collection, drawn at random: at most `count` of those
 * that are `wanted` (NULL: all), of about `length` in all. They are few next to the length: drawn
 * one by one, else on one walk. Their number in *found.
 */
int redis_spread_sample(struct redis_call *call, uint64_t id, int kind, uint64_t length,
                        uint64_t count,
                        bool (*wanted)(const struct redis_call *call,
                                       const struct redis_element *element),
                        struct redis_element *out, uint64_t *found);

/* argv[n], how many are to be drawn: negative when they may be the same, and then so many at most.
 * ERROR_INVALID with Redis's message. */
enum { REDIS_REPEATED_MAX = 10 * 1000 * 1000 };
int redis_draw_count(const struct redis_call *call, unsigned n, int64_t *count);

/* ---------------------------------------------------------------------------------- HSCAN and kin */

struct redis_scan_options {
    struct redis_slice pattern; /* data NULL: all */
    int64_t count;
    bool no_values;
};

/* argv[2], a cursor: ERROR_INVALID with Redis's message. */
int redis_scan_cursor(const struct redis_call *call, uint64_t *cursor);

/* argv[3] and what follows; `values`: NOVALUES is an option. */
int redis_scan_options(const struct redis_call *call, bool values,
                       struct redis_scan_options *options);

/* Where the cursor of a spread collection goes on: the element behind which, data NULL at the
 * beginning. */
int redis_scan_after(struct redis_call *call, uint64_t cursor, struct redis_slice *after);

/* Keeps that place; the cursor for it. */
int redis_scan_keep(struct redis_call *call, struct redis_slice after, uint64_t *cursor);

bool redis_scan_matches(const struct redis_scan_options *options, const struct redis_item *item);

/* The whole reply. */
void redis_scan_reply(uint64_t cursor, const struct redis_gather *gather);

#endif
