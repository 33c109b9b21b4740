/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_STORAGE_CACHE_TRACE_H
#define TEST_STORAGE_CACHE_TRACE_H

/*
 * Traces of accesses to pages, made from a seed: the same seed gives the same trace on every machine.
 * Each kind is one that is known to tell policies apart.
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

enum { TRACE_PAGES = 1 << 16 }; /* page numbers are below */

struct cache_access {
    uint32_t page;
    bool scan; /* said to be part of a scan; never so in the traces here */
};

const char *cache_trace_name(enum cache_trace_kind kind);

/* Writes `count` accesses. */
void cache_trace_make(enum cache_trace_kind kind, uint64_t seed, struct cache_access *out,
                      size_t count);

#endif
