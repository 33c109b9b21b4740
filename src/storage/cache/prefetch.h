/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORAGE_CACHE_PREFETCH_H
#define STORAGE_CACHE_PREFETCH_H

/*
 * Which pages a cursor will want next, from those that it wanted. Pure logic: it reads nothing and
 * allocates nothing; who owns the cursor asks for the pages (cache_fill_begin) and says how long
 * reading took.
 *
 *      pages   the cursor's page numbers, or whatever is read one at a time: blocks by their number
 *
 *      uint64_t ahead[PREFETCH_DEPTH_MAX];
 *      unsigned count = prefetch_access(&prefetch, page, waited_ns, ahead);
 *      ... begins to read those of ahead[0..count) that are not in the cache ...
 *      prefetch_arrived(&prefetch, ns);    for each of them, from being asked for to being there
 *
 * Recognised are pages one after the other, forward or backward; with a constant stride; and a row of
 * up to PREFETCH_PERIOD_MAX pages that comes again and again. Two equal distances make a stride, four
 * pages that follow each other as before make a repetition. One or two pages off the course (an inner
 * page, another tree) do not end it.
 *
 * The depth is how many pages are asked for beyond the present one. A course begins with the least
 * and doubles with each batch up to what latency demands: reads go out when half of the depth is left,
 * so half of the depth lasts as long as a read takes (Little's law), time between two pages without
 * the time that the cursor waited.
 */
#include <stdint.h>

#include "base/clock.h"

enum { PREFETCH_DEPTH_MIN = 2, PREFETCH_DEPTH_MAX = 32, PREFETCH_PERIOD_MAX = 64 };

enum prefetch_pattern {
    PREFETCH_NONE,
    PREFETCH_FORWARD,
    PREFETCH_BACKWARD,
    PREFETCH_STRIDED,
    PREFETCH_REPEATING,
};

/* One a cursor, for one thread at a time. The counters are for reading, the rest is private. */
struct prefetch {
    struct clock *clock;
    uint64_t pages_end; /* page numbers are below */
    uint64_t stride_first, stride_end;

    uint64_t history[PREFETCH_PERIOD_MAX]; /* a ring; no page twice in a row */
    uint64_t count;                        /* of pages that ever were in it */
    int64_t delta;                         /* between its last two */
    unsigned delta_run;                    /* how often in a row it was that */
    unsigned period, period_run;           /* the last pages are those `period` before */

    enum prefetch_pattern pattern;
    int64_t stride;  /* of the course; 0 when it is a repetition */
    uint64_t at;     /* the last page on course */
    unsigned strays; /* pages off course since */
    unsigned ahead;  /* pages on course behind `at` that were asked for */
    unsigned depth;

    uint64_t latency_ns, interval_ns; /* moving averages; 0: not known yet */
    uint64_t last_ns, waited_ns;      /* when the last page was wanted; waited since */

    uint64_t asked;  /* pages given by prefetch_access */
    uint64_t used;   /* of them: wanted afterwards */
    uint64_t wasted; /* of them: the course ended before they were wanted */
};

/* For pages below `pages_end`. The clock outlives it. Nothing to destroy. */
void prefetch_create(struct prefetch *prefetch, struct clock *clock, uint64_t pages_end);

/* A stride ends at these: pages from `first` to before `end` are given for one. At first all are. */
void prefetch_stride_within(struct prefetch *prefetch, uint64_t first, uint64_t end);

/* There are more pages now, or fewer. */
void prefetch_pages_end_set(struct prefetch *prefetch, uint64_t pages_end);

/* The cursor wants `page`; since the last call it waited for pages for `waited_ns` in all. Writes which
 * pages to ask for, nearest first, at most PREFETCH_DEPTH_MAX; returns their number. Each page of a
 * course is given once. The page that was wanted last may be told again, which means nothing. */
unsigned prefetch_access(struct prefetch *prefetch, uint64_t page, uint64_t waited_ns,
                         uint64_t pages[PREFETCH_DEPTH_MAX]);

/* The last `count` pages of those that prefetch_access gave were not read: they will be asked for again. */
void prefetch_unasked(struct prefetch *prefetch, unsigned count);

/* What was asked for and is still to be wanted has gone: it will be asked for again. */
void prefetch_lost(struct prefetch *prefetch);

/* A read that was asked for took this long. */
void prefetch_arrived(struct prefetch *prefetch, uint64_t latency_ns);

/* How many pages ahead latency demands at present, PREFETCH_DEPTH_MIN to PREFETCH_DEPTH_MAX. */
unsigned prefetch_depth(const struct prefetch *prefetch);

#endif
