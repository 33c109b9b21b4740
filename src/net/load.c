/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A worker that is busy all the time gives some of its connections to one that is not (balance.h decides which).
 *
 * A turn of its loop is work but for the wait in poll. That ends with the first thing that the system
 * reports, of which the loop tells nobody but the one it is for, so whatever may be the first says so
 * (net__load_awake). Fibers have handles of their own, which do not: with those, what has passed since poll by
 * the loop's own time, in milliseconds, counts as work. What is spent on a connection is its cost; it halves
 * every BALANCE_COST_PERIODS.
 *
 * About once in a period, in its loop, a worker tells its busy share in a cache line of its own: one word
 * with the moment, for who sleeps tells nothing. One whose word is old is idle, if it polls; else something
 * goes on in it for long.
 * Who is nearly fully busy looks at all others' words, takes no lock, and claims the least busy one by a
 * compare-and-swap of the moment from which on that takes anything: so nobody is given to by two at a time,
 * nor again before it is seen what the first gift does. Nor does who has given give again before that, and
 * who was given stays for some time.
 * Words and claims are hints (relaxed): whatever they say, a connection goes through the mailbox and its
 * mutex (move.c), and only if nothing of it is bound to its worker.
 *
 * Workers that stand by neither give nor are given to: what they have goes back by itself.
 */
#include "net/load.h"

#include "lua/runtime.h"
#include "net/balance.h"
#include "net/net_internal.h"

enum {
    LOOK_MAX = 1024, /* connections */
    TOLD_SHIFT = 16, /* of the moment; below it is the share */
};

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* ---------------------------------------------------------------------------- what a connection costs */

static uint64_t halved(uint64_t ticks, uint32_t times)
{
    return times < 64 ? ticks >> times : 0;
}

void net__cost_age(const struct net_load *load, struct net_cost *cost)
{
    cost->ticks = halved(cost->ticks, load->epoch - cost->epoch);
    cost->epoch = load->epoch;
}

/* ------------------------------------------------------------------------------- how busy it is */

static void tell(struct net_load *load, uint64_t at_ms)
{
    store_relaxed(&load->told, at_ms << TOLD_SHIFT | load->busy);
}

void net__load_begin(struct net_worker *worker)
{
    struct net_load *load = &worker->load;
    load->at_ticks = load->begin_ticks = clock_ticks();
    load->begin_ms = now_ms();
    load->look_ms = load->begin_ms + worker->net->balance_ms;
    tell(load, load->begin_ms);
}

uint64_t net__load_aside(const struct net_load *load, const uv_loop_t *loop)
{
    uint64_t now = now_ms(), polled = uv_now(loop);
    return now > polled ? (now - polled) * load->ms_ticks : 0;
}

/* What is spent on a connection now counts half after some periods. A turn that takes many of them is one. */
static void age(struct net_load *load, uint64_t periods, unsigned share)
{
    if (share >= BALANCE_WHOLE / 2)
        periods = 1;
    load->age += (uint32_t)periods;
    uint32_t epoch = load->age / BALANCE_COST_PERIODS;
    load->cost = halved(load->cost, epoch - load->epoch);
    load->epoch = epoch;
}

/* By how much of the time it has polled since the last look. */
static void busy_count(struct net_load *load, uint64_t at_ms, unsigned period_ms)
{
    uint64_t at_ticks = clock_ticks();
    uint64_t all = net__ticks_between(load->begin_ticks, at_ticks) + 1;
    uint64_t idle = load->idle_ticks < all ? load->idle_ticks : all;
    uint64_t passed_ms = at_ms > load->begin_ms ? at_ms - load->begin_ms : 1;
    uint64_t periods = passed_ms > period_ms ? passed_ms / period_ms : 1;
    unsigned share = BALANCE_WHOLE - (unsigned)((double)idle * BALANCE_WHOLE / (double)all);
    load->busy = balance_smooth(load->busy, share, periods);
    load->ms_ticks = all / passed_ms;
    load->begin_ticks = at_ticks;
    load->begin_ms = at_ms;
    load->idle_ticks = 0;
    age(load, periods, share);
}

/* Of another one. */
static unsigned busy_of(const struct net_worker *worker, uint64_t at_ms)
{
    uint64_t told = load_relaxed(&worker->load.told), told_ms = told >> TOLD_SHIFT;
    if (load_relaxed(&worker->away))
        return BALANCE_WHOLE;
    if (told_ms + (uint64_t)BALANCE_OLD_PERIODS * worker->net->balance_ms < at_ms)
        return load_relaxed(&worker->load.polls) ? 0 : BALANCE_WHOLE;
    return (unsigned)(told & ((1u << TOLD_SHIFT) - 1));
}

/* ---------------------------------------------------------------------------------------- giving */

/* The least busy one that takes anything now, or NULL. Each looks from its own place on, so that those who
 * look at the same time find different ones of several that are idle. */
static struct net_worker *receiver(const struct net_worker *worker, uint64_t at_ms, unsigned *busy)
{
    struct net *net = worker->net;
    struct net_worker *best = NULL;
    for (unsigned n = 1; n < net->worker_count; n++) {
        struct net_worker *other = &net->workers[(worker->number + n) % net->worker_count];
        if (!load_acquire(&other->open) || load_relaxed(&other->load.takes_ms) > at_ms)
            continue;
        unsigned share = busy_of(other, at_ms);
        if (!best || share < *busy) {
            best = other;
            *busy = share;
        }
    }
    return best && balance_is_uneven(worker->load.busy, *busy) ? best : NULL;
}

static bool claim(struct net_worker *to, uint64_t at_ms, uint64_t until_ms)
{
    uint64_t takes_ms = load_relaxed(&to->load.takes_ms);
    return takes_ms <= at_ms &&
           atomic_compare_exchange_strong_explicit(&to->load.takes_ms, &takes_ms, until_ms,
                                                   memory_order_relaxed, memory_order_relaxed);
}

/* Those that have cost anything lately, and may go. Looked at are the first of the list, which then are
 * its last: of very many it is others each time. */
static unsigned candidates_find(struct net_worker *worker, uint64_t at_ms,
                                struct net_connection **out, uint64_t *costs)
{
    unsigned count = 0;
    struct list *link, *last = list_last(&worker->connections);
    for (unsigned n = 0; n < LOOK_MAX && (link = list_first(&worker->connections)) != NULL; n++) {
        struct net_connection *connection = list_entry(link, struct net_connection, link);
        list_remove(link);
        list_add_tail(&worker->connections, link);
        net__cost_age(&worker->load, &connection->cost);
        if (connection->cost.ticks > 0 && connection->cost.rest_ms <= at_ms &&
            net__connection_may_leave(connection)) {
            costs[count] = connection->cost.ticks;
            out[count++] = connection;
        }
        if (link == last)
            break;
    }
    return count;
}

static void give(struct net_worker *worker, uint64_t at_ms)
{
    struct net_load *load = &worker->load;
    struct net_connection *candidates[LOOK_MAX];
    uint64_t costs[LOOK_MAX], period_ms = worker->net->balance_ms;
    unsigned chosen[BALANCE_GIFTS_MAX], busy = 0, given = 0;
    struct net_worker *to = receiver(worker, at_ms, &busy);
    if (!to)
        return;
    unsigned count = candidates_find(worker, at_ms, candidates, costs);
    count = balance_choose(load->busy, busy, costs, count, load->cost, chosen);
    load->gives_ms = at_ms + BALANCE_SETTLE_PERIODS * period_ms;
    if (count == 0 || !claim(to, at_ms, load->gives_ms))
        return;
    for (; given < count; given++) {
        struct net_connection *connection = candidates[chosen[given]];
        uint64_t cost = connection->cost.ticks;
        connection->cost.rest_ms = at_ms + BALANCE_REST_PERIODS * period_ms;
        if (!net__connection_move(connection, to))
            break;
        load->cost -= cost < load->cost ? cost : load->cost;
    }
    service_balanced_add(worker->net->service, given);
}

void net__load_look(struct net_worker *worker)
{
    struct net_load *load = &worker->load;
    unsigned period_ms = worker->net->balance_ms;
    uint64_t at_ms = now_ms();
    busy_count(load, at_ms, period_ms);
    tell(load, at_ms);
    load->look_ms = at_ms + period_ms;
    if (load->busy < BALANCE_BUSY || load->gives_ms > at_ms || worker->standby)
        return;
    if (load_relaxed(&worker->net->balance) && worker->stage == NET_SERVING &&
        !load_relaxed(&worker->net->stopping))
        give(worker, at_ms);
}
