/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_BALANCE_H
#define NET_BALANCE_H

/*
 * Which connections a worker that is busy all the time gives to another one: figures in, a decision out.
 * Nothing here knows a connection or a thread.
 *
 * Busy shares are in thousandths of a worker's time, smoothed. Who is nearly fully busy (BALANCE_BUSY) gives
 * to the least busy one, if that is less busy by BALANCE_GAP: of those that cost about as much as the
 * costliest one that fits, at most half of the difference. If none fits, because few connections cost much,
 * the cheapest goes, if even with it the other one is less busy than the giver was, by BALANCE_GAP. So a
 * connection that keeps its worker busy alone stays, and those that cost little leave it there.
 *
 * With the giver's share a, the other's b, and x given in all, 0 < x < a - b: a² + b² falls by
 * 2x(a - b - x). So what was given does not come back while the load is the same.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BALANCE_WHOLE = 1000,
    BALANCE_BUSY = 850,
    BALANCE_GAP = 200,
    BALANCE_GIFTS_MAX = 64, /* connections at once */

    /* In periods, each as long as it takes from look to look. */
    BALANCE_OLD_PERIODS = 3,  /* after which nobody knows how busy who has told nothing is */
    BALANCE_COST_PERIODS = 4, /* after which what a connection costs counts half */
    BALANCE_SETTLE_PERIODS =
        5, /* after a gift, before the giver gives or the receiver takes again */
    BALANCE_REST_PERIODS = 20, /* before who was given is given again */
};

/* A busy share, after `periods` of `now`; each period halves what was before. */
unsigned balance_smooth(unsigned before, unsigned now, uint64_t periods);

/* Whether who is so busy gives anything to whom is so busy. */
bool balance_is_uneven(unsigned busy, unsigned other);

/*
 * Of connections of a worker that is so busy, those to be given to one that is as busy as `other`: which of
 * costs[0..count) into out[BALANCE_GIFTS_MAX], and how many. `total` is what the worker has spent on all of
 * its connections, in the unit of `costs`, also on those that are not among these; costs of 0 are never chosen.
 */
unsigned balance_choose(unsigned busy, unsigned other, const uint64_t *costs, unsigned count,
                        uint64_t total, unsigned out[BALANCE_GIFTS_MAX]);

#endif
