/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read-ahead by the course of a cursor. The doubling of the depth with each batch is that of
 * F. Wu, H. Xi, C. Xu, On the design of a new Linux readahead framework, ACM SIGOPS Operating Systems
 * Review 42(5), 2008; the depth that it goes up to follows from Little's law.
 *
 * Invariants:
 * 1. `ahead` is at most PREFETCH_DEPTH_MAX; 0 without a course.
 * 2. On a course the n-th page behind `at` is given by course_page(n), and those of 1 to `ahead` have
 *    been asked for.
 */
#include "storage/cache/prefetch.h"

#include <stdbool.h>

#include "base/assert.h"

enum {
    STRIDE_RUN = 2,     /* equal distances that make a stride */
    PERIOD_RUN = 4,     /* pages as one period before that make a repetition */
    STRAYS_MAX = 2,     /* pages off course that do not end it */
    AVERAGE_WEIGHT = 8, /* one in so many, for a new measurement */
};

void prefetch_create(struct prefetch *prefetch, struct clock *clock, uint64_t pages_end)
{
    *prefetch = (struct prefetch){.clock = clock,
                                  .pages_end = pages_end,
                                  .stride_end = UINT64_MAX,
                                  .depth = PREFETCH_DEPTH_MIN};
}

void prefetch_stride_within(struct prefetch *prefetch, uint64_t first, uint64_t end)
{
    prefetch->stride_first = first;
    prefetch->stride_end = end;
}

void prefetch_pages_end_set(struct prefetch *prefetch, uint64_t pages_end)
{
    prefetch->pages_end = pages_end;
}

/* The page that was wanted `back` distinct pages ago; 1 is the last. */
static uint64_t history_at(const struct prefetch *prefetch, uint64_t back)
{
    return prefetch->history[(prefetch->count - back) % PREFETCH_PERIOD_MAX];
}

/* --------------------------------------------------------------------------------------- latency */

static uint64_t average(uint64_t former, uint64_t measured)
{
    if (measured == 0)
        measured = 1;
    if (former == 0)
        return measured;
    return former - former / AVERAGE_WEIGHT + measured / AVERAGE_WEIGHT + (measured > former);
}

void prefetch_arrived(struct prefetch *prefetch, uint64_t latency_ns)
{
    prefetch->latency_ns = average(prefetch->latency_ns, latency_ns);
}

static void interval_measure(struct prefetch *prefetch)
{
    uint64_t now = clock_monotonic_ns(prefetch->clock), passed = now - prefetch->last_ns;
    if (prefetch->count > 0)
        prefetch->interval_ns = average(
            prefetch->interval_ns, passed > prefetch->waited_ns ? passed - prefetch->waited_ns : 0);
    prefetch->last_ns = now;
    prefetch->waited_ns = 0;
}

unsigned prefetch_depth(const struct prefetch *prefetch)
{
    if (prefetch->latency_ns == 0 || prefetch->interval_ns == 0)
        return PREFETCH_DEPTH_MIN;
    uint64_t pages = prefetch->latency_ns / prefetch->interval_ns;
    if (pages >= PREFETCH_DEPTH_MAX / 2)
        return PREFETCH_DEPTH_MAX;
    unsigned depth = 2 * ((unsigned)pages + 1);
    /* What is read sooner than it is wanted needs the least. */
    return prefetch->latency_ns < prefetch->interval_ns ? PREFETCH_DEPTH_MIN : depth;
}

/* ---------------------------------------------------------------------------------------- course */

/* The n-th page behind `at`, n >= 1; false when there is none. */
static bool course_page(const struct prefetch *prefetch, unsigned n, uint64_t *page)
{
    if (prefetch->pattern == PREFETCH_REPEATING) {
        /* The last page of the history is `at`; one period before it the same row began. */
        if (n >= prefetch->period)
            return false;
        *page = history_at(prefetch, prefetch->period + 1 - n);
        return *page < prefetch->pages_end;
    }
    uint64_t stride =
        prefetch->stride < 0 ? -(uint64_t)prefetch->stride : (uint64_t)prefetch->stride;
    uint64_t first = prefetch->stride_first, end = prefetch->stride_end < prefetch->pages_end
                                                       ? prefetch->stride_end
                                                       : prefetch->pages_end;
    uint64_t room = 0;
    if (prefetch->stride < 0 && prefetch->at > first)
        room = prefetch->at - first;
    else if (prefetch->stride > 0 && prefetch->at < end)
        room = end - 1 - prefetch->at;
    if (room / stride < n)
        return false;
    *page = prefetch->stride < 0 ? prefetch->at - n * stride : prefetch->at + n * stride;
    return true;
}

void prefetch_unasked(struct prefetch *prefetch, unsigned count)
{
    ASSERT(count <= prefetch->ahead);
    prefetch->asked -= count;
    prefetch->ahead -= count;
}

void prefetch_lost(struct prefetch *prefetch)
{
    prefetch->wasted += prefetch->ahead;
    prefetch->ahead = 0;
}

static void course_end(struct prefetch *prefetch)
{
    prefetch_lost(prefetch);
    prefetch->depth = PREFETCH_DEPTH_MIN;
    prefetch->pattern = PREFETCH_NONE;
}

/* How many pages further on the course `page` is, among those that were asked for or the next one; 0
 * when it is none of them. */
static unsigned course_steps(const struct prefetch *prefetch, uint64_t page)
{
    unsigned most = prefetch->ahead > 0 ? prefetch->ahead : 1;
    uint64_t expected;
    if (prefetch->pattern == PREFETCH_NONE)
        return 0;
    if (prefetch->pattern == PREFETCH_REPEATING) /* the history has this page already */
        return prefetch->period_run > 1;
    for (unsigned n = 1; n <= most && course_page(prefetch, n, &expected); n++) {
        if (expected == page)
            return n;
    }
    return 0;
}

static void course_follow(struct prefetch *prefetch, uint64_t page, unsigned steps)
{
    prefetch->used += prefetch->ahead >= steps;
    if (prefetch->ahead >= steps)
        prefetch->wasted += steps - 1;
    prefetch->ahead -= prefetch->ahead < steps ? prefetch->ahead : steps;
    prefetch->at = page;
    prefetch->strays = 0;
}

static void course_begin(struct prefetch *prefetch, uint64_t page, enum prefetch_pattern pattern,
                         int64_t stride)
{
    course_end(prefetch);
    prefetch->pattern = pattern;
    prefetch->stride = stride;
    prefetch->at = page;
    prefetch->strays = 0;
}

/* ----------------------------------------------------------------------------------- recognition */

/* How many pages ago `page` was wanted last, 0 if it is not in the history. */
static unsigned history_find(const struct prefetch *prefetch, uint64_t page)
{
    uint64_t known = prefetch->count < PREFETCH_PERIOD_MAX ? prefetch->count : PREFETCH_PERIOD_MAX;
    for (unsigned back = 2; back <= known; back++) {
        if (history_at(prefetch, back) == page)
            return back;
    }
    return 0;
}

/* Takes a page into the history, and brings up to date what it says. */
static void history_add(struct prefetch *prefetch, uint64_t page)
{
    if (prefetch->period > 0 && history_at(prefetch, prefetch->period) == page) {
        prefetch->period_run++;
    } else {
        prefetch->period = history_find(prefetch, page);
        prefetch->period_run = prefetch->period > 0;
    }
    if (prefetch->count > 0) {
        int64_t delta = (int64_t)(page - history_at(prefetch, 1));
        prefetch->delta_run = delta == prefetch->delta ? prefetch->delta_run + 1 : 1;
        prefetch->delta = delta;
    }
    prefetch->history[prefetch->count++ % PREFETCH_PERIOD_MAX] = page;
}

static enum prefetch_pattern stride_pattern(int64_t stride)
{
    return stride == 1 ? PREFETCH_FORWARD : stride == -1 ? PREFETCH_BACKWARD : PREFETCH_STRIDED;
}

/* A row that came a second time as a whole says more than a stride, since it knows where the stride
 * ends; of a part of it, less. */
static void recognise(struct prefetch *prefetch, uint64_t page)
{
    unsigned run = prefetch->period_run;
    bool strides = prefetch->delta_run >= STRIDE_RUN;
    /* The history holds one period and this page only if the period is shorter than it. */
    bool repeats = run >= PERIOD_RUN && prefetch->period < PREFETCH_PERIOD_MAX;
    if (repeats && (run >= prefetch->period || !strides)) {
        if (prefetch->pattern != PREFETCH_REPEATING)
            course_begin(prefetch, page, PREFETCH_REPEATING, 0);
        return;
    }
    if (prefetch->pattern == PREFETCH_REPEATING && !repeats)
        course_end(prefetch);
    if (strides && prefetch->pattern != PREFETCH_REPEATING &&
        (prefetch->pattern == PREFETCH_NONE || prefetch->stride != prefetch->delta))
        course_begin(prefetch, page, stride_pattern(prefetch->delta), prefetch->delta);
}

static void course_update(struct prefetch *prefetch, uint64_t page)
{
    unsigned steps = course_steps(prefetch, page);
    if (steps > 0)
        course_follow(prefetch, page, steps);
    else if (prefetch->pattern != PREFETCH_NONE && prefetch->pattern != PREFETCH_REPEATING &&
             ++prefetch->strays > STRAYS_MAX)
        course_end(prefetch);
    recognise(prefetch, page);
}

/* ----------------------------------------------------------------------------------------- asking */

static unsigned ask(struct prefetch *prefetch, uint64_t *pages)
{
    unsigned most = prefetch_depth(prefetch), count = 0;
    uint64_t page;
    if (prefetch->depth > most)
        prefetch->depth = most;
    if (prefetch->pattern == PREFETCH_NONE || prefetch->strays > 0 ||
        prefetch->ahead > prefetch->depth / 2)
        return 0;
    for (unsigned n = prefetch->ahead + 1; n <= prefetch->depth && course_page(prefetch, n, &page);
         n++)
        pages[count++] = page;
    prefetch->ahead += count;
    prefetch->asked += count;
    prefetch->depth = prefetch->depth * 2 < most ? prefetch->depth * 2 : most;
    ASSERT(prefetch->ahead <= PREFETCH_DEPTH_MAX);
    return count;
}

unsigned prefetch_access(struct prefetch *prefetch, uint64_t page, uint64_t waited_ns,
                         uint64_t pages[PREFETCH_DEPTH_MAX])
{
    prefetch->waited_ns += waited_ns;
    if (prefetch->count > 0 && history_at(prefetch, 1) == page)
        return 0;
    interval_measure(prefetch);
    history_add(prefetch, page);
    course_update(prefetch, page);
    return ask(prefetch, pages);
}
