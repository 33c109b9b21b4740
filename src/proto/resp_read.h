/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_RESP_READ_H
#define PROTO_RESP_READ_H

/*
 * The client's half of RESP: replies, of either protocol version, read element by element from the
 * bytes at hand.
 *
 * First resp_reply_scan finds whether a whole reply is there, resuming where it stopped; then
 * resp_item_read steps through it in place: an aggregate's item is followed by its elements' items.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RESP_REPLY_DEPTH_MAX = 32 };

enum resp_item_kind {
    RESP_STATUS,
    RESP_ERROR,
    RESP_INTEGER,
    RESP_BULK,
    RESP_NULL, /* also "$-1" and "*-1" */
    RESP_DOUBLE,
    RESP_BOOLEAN,
    RESP_BIG_NUMBER,
    RESP_VERBATIM, /* text begins with three letters and a colon */
    RESP_ARRAY,
    RESP_MAP,
    RESP_SET,
    RESP_PUSH,
    RESP_ATTRIBUTE, /* pairs that precede the reply they belong to */
};

struct resp_item {
    enum resp_item_kind kind;
    const char *text; /* of all kinds but aggregates, in place; numbers as they were written */
    size_t size;
    int64_t integer; /* of integers and booleans */
    double real;     /* of doubles */
    size_t count;    /* items that follow directly below an aggregate: 2 for each pair */
};

/* Where a scan is; zero-initialised before each reply. */
struct resp_reply_scan {
    size_t offset;
    unsigned depth;
    size_t left[RESP_REPLY_DEPTH_MAX + 1];
    bool begun;
};

/* 0 and *size: the reply takes so many bytes. ERROR_AGAIN: call again when more bytes have arrived.
 * ERROR_PROTOCOL: that is no RESP. */
int resp_reply_scan(struct resp_reply_scan *scan, const char *data, size_t available, size_t *size);

/* Reads the item at *at, which ends before `end`, and advances *at to the next. 0, ERROR_AGAIN or
 * ERROR_PROTOCOL as above. */
int resp_item_read(const char **at, const char *end, struct resp_item *item);

#endif
