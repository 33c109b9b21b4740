/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_LOAD_H
#define NET_LOAD_H

/*
 * How busy a worker is, and what each of its connections costs: by the time stamp counter, which is read where
 * one thing ends and the next begins. No call of the system, and nothing that others write or wait for. What is
 * made of it is in load.c.
 */
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/atomic.h"
#include "base/clock.h"

struct net_worker;

/* Its thread's own, but for `polls`, which others read when `told` is old, and the last line. */
struct net_load {
    uint64_t at_ticks;   /* since when it does what it does now */
    uint64_t idle_ticks; /* in poll, since begin_ticks */
    uint64_t cost;       /* of its connections, in ticks; it halves with `epoch` */
    uint64_t look_ms;    /* when to look next */
    _Atomic uint32_t polls;
    uint32_t epoch, age; /* the latter in periods */
    bool fibers;         /* there are some */
    unsigned busy;       /* share, smoothed: balance.h */
    uint64_t begin_ticks, begin_ms;
    uint64_t ms_ticks; /* of a millisecond */
    uint64_t gives_ms; /* when it may give again */

    CACHE_ALIGNED _Atomic uint64_t told; /* when, and the busy share */
    _Atomic uint64_t takes_ms;           /* when it may be given to again; others write it */
};

/* A connection's. */
struct net_cost {
    uint64_t ticks; /* as of `epoch` */
    uint32_t epoch;
    uint64_t rest_ms; /* it is not given to anybody before */
};

/* Cores need not agree to the last tick. */
static inline uint64_t net__ticks_between(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0;
}

/* What fibers may have taken since poll. */
uint64_t net__load_aside(const struct net_load *load, const uv_loop_t *loop);

/* The last thing before poll. */
static inline void net__load_polls(struct net_load *load)
{
    load->at_ticks = clock_ticks();
    store_relaxed(&load->polls, 1);
}

/* Behind poll: whatever is reported first, or that nothing was. */
static inline void net__load_awake(struct net_load *load, const uv_loop_t *loop)
{
    if (!load_relaxed(&load->polls))
        return;
    store_relaxed(&load->polls, 0);
    uint64_t now = clock_ticks(), idle = net__ticks_between(load->at_ticks, now);
    uint64_t aside = load->fibers ? net__load_aside(load, loop) : 0;
    load->idle_ticks += idle > aside ? idle - aside : 0;
    load->at_ticks = now;
}

/* The cost as of now. */
void net__cost_age(const struct net_load *load, struct net_cost *cost);

/* All since the last thing was for this connection. */
static inline void net__cost_add(struct net_load *load, struct net_cost *cost)
{
    uint64_t now = clock_ticks(), spent = net__ticks_between(load->at_ticks, now);
    load->at_ticks = now;
    if (cost->epoch != load->epoch)
        net__cost_age(load, cost);
    cost->ticks += spent;
    load->cost += spent;
}

/* On its thread. _begin: before its first turn. _look: at the end of a turn, from look_ms on; connections may
 * have gone then. */
void net__load_begin(struct net_worker *worker);
void net__load_look(struct net_worker *worker);

#endif
