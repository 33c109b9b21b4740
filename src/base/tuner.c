/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One look: each knob's reading, on which side of its band that is, how many times in a row, and whether that
 * is enough. A reading within the band begins the count anew and, little by little, brings back the patience
 * that swinging has cost.
 */
#include "base/tuner.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"

void tuner_create(struct tuner *tuner, bool on)
{
    pthread_mutex_init(&tuner->mutex, NULL);
    list_create(&tuner->knobs);
    atomic_init(&tuner->on, on);
    atomic_init(&tuner->next_ns, 0);
}

void tuner_destroy(struct tuner *tuner)
{
    ASSERT(list_empty(&tuner->knobs));
    pthread_mutex_destroy(&tuner->mutex);
}

void tuner_join(struct tuner *tuner, struct tuner_knob *knob)
{
    ASSERT(knob->min <= knob->max);
    knob->patience = TUNER_PATIENCE;
    pthread_mutex_lock(&tuner->mutex);
    list_add_tail(&tuner->knobs, &knob->link);
    pthread_mutex_unlock(&tuner->mutex);
}

void tuner_leave(struct tuner *tuner, struct tuner_knob *knob)
{
    pthread_mutex_lock(&tuner->mutex);
    list_remove(&knob->link);
    pthread_mutex_unlock(&tuner->mutex);
}

bool tuner_limit(struct tuner *tuner, const char *name, uint64_t min, uint64_t max)
{
    bool found = false;
    ASSERT(min <= max);
    pthread_mutex_lock(&tuner->mutex);
    list_for_each (link, &tuner->knobs) {
        struct tuner_knob *knob = list_entry(link, struct tuner_knob, link);
        if (strcmp(knob->name, name) != 0)
            continue;
        knob->min = min;
        knob->max = max;
        found = true;
    }
    pthread_mutex_unlock(&tuner->mutex);
    return found;
}

void tuner_switch(struct tuner *tuner, bool on)
{
    store_relaxed(&tuner->on, on);
}

bool tuner_is_on(const struct tuner *tuner)
{
    return load_relaxed(&tuner->on);
}

/* -------------------------------------------------------------------------------- what is decided */

static uint64_t next_value(const struct tuner_knob *knob, int way)
{
    uint64_t value = knob->value, room = way > 0 ? knob->max - value : value - knob->min;
    uint64_t step = knob->step != 0 ? knob->step : way > 0 ? value : value / 2;
    if (step == 0)
        step = 1;
    if (step > room)
        step = room;
    return way > 0 ? value + step : value - step;
}

/* To another value, for the reason that is noted. */
static void adjust(struct tuner_knob *knob, uint64_t value)
{
    log_info("tuner: %s from %" PRIu64 " to %" PRIu64 " %s: %s", knob->name, knob->value, value,
             knob->unit, knob->reason);
    knob->ups += value > knob->value;
    knob->downs += value < knob->value;
    knob->value = value;
    knob->times = 0;
}

/* Whether it was outside of its limits. */
static bool bring_within(struct tuner_knob *knob)
{
    if (knob->min <= knob->value && knob->value <= knob->max)
        return false;
    snprintf(knob->reason, sizeof knob->reason, "its limits are %" PRIu64 " and %" PRIu64,
             knob->min, knob->max);
    adjust(knob, knob->value < knob->min ? knob->min : knob->max);
    return true;
}

int tuner_decide(struct tuner_knob *knob, const struct tuner_reading *reading)
{
    int side = reading->value > reading->high ? 1 : reading->value < reading->low ? -1 : 0;
    int way = side > 0 ? reading->above : side < 0 ? reading->below : 0;
    if (way == 0) {
        knob->times = 0;
        knob->patience -= knob->patience > TUNER_PATIENCE;
        return 0;
    }
    knob->times = side == knob->side && way == knob->way ? knob->times + 1 : 1;
    knob->side = side;
    knob->way = way;
    bool turns = way == -knob->last_way;
    if (knob->times < (turns ? 2 * knob->patience : knob->patience))
        return 0;
    if (turns && knob->patience < TUNER_PATIENCE_MAX)
        knob->patience *= 2;
    uint64_t value = next_value(knob, way);
    if (value == knob->value)
        return 0;
    snprintf(knob->reason, sizeof knob->reason, "%s %.3g %s, %s %.3g", reading->what,
             reading->value, reading->unit, side > 0 ? "above" : "below",
             side > 0 ? reading->high : reading->low);
    adjust(knob, value);
    knob->last_way = way;
    return way;
}

/* ----------------------------------------------------------------------------------------- a look */

void tuner_tick(struct tuner *tuner, uint64_t now_ns)
{
    if (!tuner_is_on(tuner) || now_ns < load_relaxed(&tuner->next_ns) ||
        pthread_mutex_trylock(&tuner->mutex) != 0)
        return;
    store_relaxed(&tuner->next_ns, now_ns + TUNER_LOOK_MS * UINT64_C(1000000));
    list_for_each (link, &tuner->knobs) {
        struct tuner_knob *knob = list_entry(link, struct tuner_knob, link);
        struct tuner_reading reading;
        bool moved = bring_within(knob);
        if (knob->measure(knob->arg, &reading) && tuner_decide(knob, &reading) != 0)
            moved = true;
        if (moved)
            knob->set(knob->arg, knob->value);
    }
    pthread_mutex_unlock(&tuner->mutex);
}

void tuner_each(struct tuner *tuner, void (*fn)(const struct tuner_knob *knob, void *arg),
                void *arg)
{
    pthread_mutex_lock(&tuner->mutex);
    list_for_each (link, &tuner->knobs)
        fn(list_entry(link, struct tuner_knob, link), arg);
    pthread_mutex_unlock(&tuner->mutex);
}
