/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

/*
 * Time, replaceable. Whatever needs time is given a struct clock; production uses the system's,
 * tests drive a manual one. (Commit timestamps are not time: see txn.)
 */
#include <stdatomic.h>
#include <stdint.h>

struct clock {
    /* Nanoseconds from an arbitrary start; never goes back. */
    uint64_t (*monotonic_ns)(struct clock *clock);
    /* Milliseconds since 1970; never goes back as seen through one clock (invariant 27). */
    uint64_t (*realtime_ms)(struct clock *clock);
};

/* The system's clock: one static object, usable from every thread. */
struct clock *clock_system(void);

/* A clock that moves only when told to. Usable from every thread. */
struct clock_manual {
    struct clock base;
    _Atomic uint64_t now_ns;
    _Atomic uint64_t now_ms;
};

/* Monotonic time starts at 0, wall time at `start_ms`. Nothing to destroy. */
void clock_manual_create(struct clock_manual *clock, uint64_t start_ms);

/* Moves both times on. */
void clock_manual_advance_ms(struct clock_manual *clock, uint64_t by_ms);

static inline uint64_t clock_monotonic_ns(struct clock *clock)
{
    return clock->monotonic_ns(clock);
}

static inline uint64_t clock_realtime_ms(struct clock *clock)
{
    return clock->realtime_ms(clock);
}

/* The time stamp counter of this core: for what is too short to ask the system for the time. */
static inline uint64_t clock_ticks(void)
{
    return __builtin_ia32_rdtsc();
}

#endif
