/* SPDX-License-Identifier: Apache-2.0 */
#include "net/balance.h"

enum { SMOOTH_MAX = 10 }; /* periods, after which nothing is left of what was before */

unsigned balance_smooth(unsigned before, unsigned now, uint64_t periods)
{
    if (now > BALANCE_WHOLE)
        now = BALANCE_WHOLE;
    if (periods >= SMOOTH_MAX)
        return now;
    return before > now ? now + ((before - now) >> periods) : now - ((now - before) >> periods);
}

bool balance_is_uneven(unsigned busy, unsigned other)
{
    return busy >= BALANCE_BUSY && other + BALANCE_GAP <= busy;
}

/* What makes up so much of the busy share. */
static uint64_t cost_of(unsigned share, unsigned busy, uint64_t total)
{
    return (uint64_t)((double)total * share / busy);
}

/* Those that cost at least half of what the costliest does. */
static unsigned choose_several(const uint64_t *costs, unsigned count, uint64_t costliest,
                               uint64_t room, unsigned out[BALANCE_GIFTS_MAX])
{
    unsigned chosen = 0;
    for (unsigned n = 0; n < count && chosen < BALANCE_GIFTS_MAX; n++) {
        if (costs[n] < costliest - costliest / 2 || costs[n] > room)
            continue;
        room -= costs[n];
        out[chosen++] = n;
    }
    return chosen;
}

unsigned balance_choose(unsigned busy, unsigned other, const uint64_t *costs, unsigned count,
                        uint64_t total, unsigned out[BALANCE_GIFTS_MAX])
{
    if (!balance_is_uneven(busy, other))
        return 0;
    uint64_t half = cost_of((busy - other) / 2, busy, total), costliest = 0;
    uint64_t most = cost_of(busy - other - BALANCE_GAP, busy, total), cheapest = UINT64_MAX;
    for (unsigned n = 0; n < count; n++) {
        if (costs[n] <= half && costs[n] > costliest)
            costliest = costs[n];
        if (costs[n] > half && costs[n] < cheapest) {
            cheapest = costs[n];
            out[0] = n;
        }
    }
    if (costliest > 0)
        return choose_several(costs, count, costliest, half, out);
    return cheapest <= most ? 1 : 0;
}
