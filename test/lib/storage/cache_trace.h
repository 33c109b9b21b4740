/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_STORAGE_CACHE_TRACE_H
#define TEST_STORAGE_CACHE_TRACE_H

/*
 * Traces of accesses to pages: made from a seed, where the same seed gives the same trace on every machine and
 * each kind is one that is known to tell policies apart; and what engines wanted while the program ran, as
 * test/cache/record.sh records it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cache_trace_kind {
    TRACE_ZIPF,     /* some pages often, most seldom, always the same ones */
    TRACE_LOOP,     /* 250 pages one after the other, again and again */
    TRACE_SCAN_HOT, /* a hot set of 60, and scans of 400 pages that nobody reads again */
    TRACE_SHIFT,    /* a hot set of 80 that moves on by one page each 25 accesses */
    TRACE_TREE,   /* descents of a tree of three levels, 20 pages an inner one, to skewed leaves */
    TRACE_CURSOR, /* walks over pages whose rows are read one by one, beside skewed reads */
    TRACE_MIXED,  /* all of these by turns, on pages of their own */
    TRACE_KINDS,
};

enum { TRACE_PAGES = 1 << 16 };      /* page numbers are below */
enum { TRACE_RECORDED_MAX = 60000 }; /* accesses of a recorded one */

struct cache_access {
    uint32_t page;
    bool scan; /* said to be part of a scan; never so in those that are made */
};

const char *cache_trace_name(enum cache_trace_kind kind);

/* Writes `count` accesses. */
void cache_trace_make(enum cache_trace_kind kind, uint64_t seed, struct cache_access *out,
                      size_t count);

/* The nth of what was recorded, from 0: its name, NULL behind the last. */
const char *cache_trace_recorded(unsigned number);

/* Reads it, from the root of the source tree; the number of accesses, at most `room`, 0 when that fails. */
size_t cache_trace_read(unsigned number, struct cache_access *out, size_t room);

#endif
