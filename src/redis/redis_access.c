/* SPDX-License-Identifier: Apache-2.0 */

/* See the header for the layout of a note and the counter's algorithm. */
#include "redis/redis_access.h"

enum {
    USED = 1, /* the two highest bits */
    COUNTED = 2,
    KIND_SHIFT = 24,
    COUNT_BITS = 8,
    SECONDS_MASK = (1 << 24) - 1,
    MINUTES_MASK = (1 << 16) - 1,
    BEHIND_S = 1 << 20,  /* a time that much ahead of the clock: that was put back */
    BEHIND_MIN = 1 << 12 /* the same of minutes */
};

static uint32_t note_of_time(uint64_t ms)
{
    return (uint32_t)USED << KIND_SHIFT | (uint32_t)(ms / 1000 & SECONDS_MASK);
}

static uint32_t note_of_count(uint64_t ms, unsigned count)
{
    return (uint32_t)COUNTED << KIND_SHIFT | (uint32_t)(ms / 60000 & MINUTES_MASK) << COUNT_BITS |
           count;
}

static bool by_count(const struct redis_config *config)
{
    return redis_policy_is_lfu(load_relaxed(&config->maxmemory_policy));
}

uint32_t redis_access_new(const struct redis_config *config, uint64_t now_ms)
{
    return by_count(config) ? note_of_count(now_ms, REDIS_ACCESS_COUNT_NEW) : note_of_time(now_ms);
}

/* From one time to another of so many bits, of which the first may be the later by a little. */
static uint32_t elapsed(uint32_t from, uint32_t to, uint32_t mask, uint32_t behind)
{
    uint32_t passed = (to - from) & mask;
    return passed > mask - behind ? 0 : passed;
}

uint64_t redis_access_idle_s(const struct redis_config *config, uint32_t note, uint64_t now_ms)
{
    uint64_t started_ms = load_relaxed(&config->started_ms);
    if (note == 0)
        return now_ms > started_ms ? (now_ms - started_ms) / 1000 : 0;
    if (note >> KIND_SHIFT == USED)
        return elapsed(note & SECONDS_MASK, (uint32_t)(now_ms / 1000), SECONDS_MASK, BEHIND_S);
    return (uint64_t)60 * elapsed(note >> COUNT_BITS & MINUTES_MASK, (uint32_t)(now_ms / 60000),
                                  MINUTES_MASK, BEHIND_MIN);
}

unsigned redis_access_count(const struct redis_config *config, uint32_t note, uint64_t now_ms)
{
    unsigned decay = load_relaxed(&config->lfu_decay_time);
    unsigned count =
        note >> KIND_SHIFT == COUNTED ? note & ((1u << COUNT_BITS) - 1) : REDIS_ACCESS_COUNT_NEW;
    uint64_t steps = decay ? redis_access_idle_s(config, note, now_ms) / 60 / decay : 0;
    return steps < count ? count - (unsigned)steps : 0;
}

/* Whether the next use counts: with a probability of 1 / (above * factor + 1). */
static bool counts(const struct redis_config *config, unsigned count, uint64_t random)
{
    unsigned above = count > REDIS_ACCESS_COUNT_NEW ? count - REDIS_ACCESS_COUNT_NEW : 0;
    uint64_t odds = (uint64_t)above * load_relaxed(&config->lfu_log_factor) + 1;
    return count < REDIS_ACCESS_COUNT_MAX && random % odds == 0;
}

uint32_t redis_access_used(const struct redis_config *config, uint32_t note, uint64_t now_ms,
                           uint64_t random)
{
    if (!by_count(config))
        return note_of_time(now_ms);
    unsigned count = redis_access_count(config, note, now_ms);
    return note_of_count(now_ms, count + counts(config, count, random));
}

uint32_t redis_access_idle_for(const struct redis_config *config, uint64_t seconds, uint64_t now_ms)
{
    uint64_t idle_ms = seconds < now_ms / 1000 ? seconds * 1000 : now_ms;
    return by_count(config) ? 0 : note_of_time(now_ms - idle_ms);
}

uint32_t redis_access_counted(const struct redis_config *config, unsigned count, uint64_t now_ms)
{
    return by_count(config) ? note_of_count(now_ms, count) : 0;
}
