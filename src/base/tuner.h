/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_TUNER_H
#define BASE_TUNER_H

/*
 * Adjusts knobs by what is measured, between limits.
 *
 * A knob is a number that some part of the program goes by: a batch, an interval, a share. With it
 * comes a reading: a latency or a pressure, the band in which it should be, and which way the knob goes
 * when it is above or below. Once a second each knob is looked at. When the reading was outside of its
 * band TUNER_PATIENCE times in a row, on the same side, the knob goes one step. To go back on the way it
 * came takes twice as many, and each time that it does doubles them, up to TUNER_PATIENCE_MAX, so that it comes
 * to rest instead of swinging; readings within the band bring the patience back. A knob that is outside of its
 * limits is brought to the nearest at the first look. Each adjustment is counted, and logged with its reason.
 *
 * No clock and no thread of its own: whoever has time calls tuner_tick. What is decided depends on the readings
 * and on nothing else.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/list.h"

enum { TUNER_LOOK_MS = 1000, TUNER_PATIENCE = 3, TUNER_PATIENCE_MAX = 48, TUNER_REASON_MAX = 120 };

struct tuner_reading {
    const char *what, *unit; /* "a flush", "ms" */
    double value, low, high; /* the band in which nothing is to be done */
    int above, below;        /* -1, 0 or 1: which way the knob goes */
};

/* The struct is its owner's, and stays where it is until tuner_leave. */
struct tuner_knob {
    const char *name, *unit;
    uint64_t min, max;
    uint64_t step;  /* added or taken away; 0: doubled or halved */
    uint64_t value; /* the present one; the first look brings it within the limits */
    /* What has been measured since the last look; false: nothing, and the knob stays. Both are called by one
     * thread at a time and may not call the tuner. */
    bool (*measure)(void *arg, struct tuner_reading *out);
    void (*set)(void *arg, uint64_t value);
    void *arg;
    /* The tuner's: */
    struct list link;
    int side, way, last_way; /* of the last reading; of the last adjustment */
    unsigned times, patience;
    uint64_t ups, downs;
    char reason[TUNER_REASON_MAX]; /* of the last adjustment, "" */
};

struct tuner {
    pthread_mutex_t mutex; /* of the knobs; measure and set are called inside */
    struct list knobs;
    _Atomic bool on;
    _Atomic uint64_t next_ns;
};

void tuner_create(struct tuner *tuner, bool on);

/* All knobs have left. */
void tuner_destroy(struct tuner *tuner);

/* The knob has its value already: it is not set. From any thread, as all that follows. */
void tuner_join(struct tuner *tuner, struct tuner_knob *knob);
void tuner_leave(struct tuner *tuner, struct tuner_knob *knob);

/* Other limits of the knob with this name. False: there is none. */
bool tuner_limit(struct tuner *tuner, const char *name, uint64_t min, uint64_t max);

/* When it is switched off, knobs stay where they are. */
void tuner_switch(struct tuner *tuner, bool on);
bool tuner_is_on(const struct tuner *tuner);

/* Looks if it is time; else it costs a comparison. */
void tuner_tick(struct tuner *tuner, uint64_t now_ns);

/* One reading of one knob, whatever the time: 1, -1 or 0, which way it has gone. For tuner_tick and for tests.
 * With the mutex, or alone. */
int tuner_decide(struct tuner_knob *knob, const struct tuner_reading *reading);

/* Calls fn for each knob, in the order in which they joined. */
void tuner_each(struct tuner *tuner, void (*fn)(const struct tuner_knob *knob, void *arg),
                void *arg);

#endif
