/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system's clock and a manual one.
 *
 * Wall time may be set back; expiry must not notice (invariant 27). So the system clock remembers
 * the largest millisecond it has told and tells that one again until the system has caught up. The
 * word is written once a millisecond at most.
 */
#include "base/clock.h"

#include <time.h>

#include "base/atomic.h"

struct clock_of_system {
    struct clock base;
    CACHE_ALIGNED _Atomic uint64_t last_ms;
};

static uint64_t system_monotonic_ns(struct clock *clock)
{
    (void)clock;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t system_realtime_ms(struct clock *clock)
{
    struct clock_of_system *system = (struct clock_of_system *)clock;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
    uint64_t last_ms = load_relaxed(&system->last_ms);
    while (last_ms < now_ms)
        if (atomic_compare_exchange_weak_explicit(&system->last_ms, &last_ms, now_ms,
                                                  memory_order_relaxed, memory_order_relaxed))
            return now_ms;
    return last_ms;
}

struct clock *clock_system(void)
{
    static struct clock_of_system system = {
        .base = {.monotonic_ns = system_monotonic_ns, .realtime_ms = system_realtime_ms}};
    return &system.base;
}

static uint64_t manual_monotonic_ns(struct clock *clock)
{
    return load_relaxed(&((struct clock_manual *)clock)->now_ns);
}

static uint64_t manual_realtime_ms(struct clock *clock)
{
    return load_relaxed(&((struct clock_manual *)clock)->now_ms);
}

void clock_manual_create(struct clock_manual *clock, uint64_t start_ms)
{
    clock->base.monotonic_ns = manual_monotonic_ns;
    clock->base.realtime_ms = manual_realtime_ms;
    atomic_init(&clock->now_ns, 0);
    atomic_init(&clock->now_ms, start_ms);
}

void clock_manual_advance_ms(struct clock_manual *clock, uint64_t by_ms)
{
    atomic_fetch_add_explicit(&clock->now_ns, by_ms * 1000000u, memory_order_relaxed);
    atomic_fetch_add_explicit(&clock->now_ms, by_ms, memory_order_relaxed);
}
