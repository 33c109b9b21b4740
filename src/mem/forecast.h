/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MEM_FORECAST_H
#define MEM_FORECAST_H

/*
 * How much memory will be in use, by a straight line through the last two minutes.
 *
 * Samples come from whoever looks at memory anyway; one a second is kept. The line is that of least
 * squares; the forecast begins at the newest sample and goes with the line's slope, so that a level that
 * has just changed is not averaged away. No clock of its own: whoever calls says the time. One thread at a
 * time.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FORECAST_WINDOW_S = 120,
    FORECAST_SAMPLES_MAX = FORECAST_WINDOW_S + 1,
    FORECAST_SAMPLES_MIN = 5, /* with fewer there is no trend */
    FORECAST_AHEAD = 3        /* 30, 60 and 120 seconds */
};

extern const unsigned forecast_ahead_s[FORECAST_AHEAD];

struct forecast_sample {
    uint64_t at_ns, bytes;
};

/* An empty one is all zeros. */
struct forecast {
    struct forecast_sample samples[FORECAST_SAMPLES_MAX]; /* a ring */
    unsigned first, count;
};

/* What is in use at a moment (monotonic). Not before the last one's; kept if a second has passed. */
void forecast_add(struct forecast *forecast, uint64_t now_ns, uint64_t bytes);

enum forecast_advice {
    FORECAST_UNKNOWN, /* too few samples */
    FORECAST_CALM,    /* memory does not grow, or not to the limit within two minutes */
    FORECAST_WATCH,   /* the limit is reached within two minutes, */
    FORECAST_SOON,    /* one, */
    FORECAST_NOW,     /* half of one, */
    FORECAST_OVER,    /* is reached */
};

struct forecast_view {
    unsigned samples;
    uint64_t bytes;                 /* of the newest sample, or as given */
    double trend;                   /* bytes a second, also negative; 0 without enough samples */
    double fit;                     /* how much of what happened the line tells, 0 to 1 */
    uint64_t ahead[FORECAST_AHEAD]; /* bytes then; without a trend what is now */
    double limit_s; /* seconds until the limit at this trend; -1: not on this way, or no limit */
    enum forecast_advice advice;
};

/* With `bytes` in use now and a limit of `limit_bytes` (0: none). */
void forecast_view(const struct forecast *forecast, uint64_t bytes, uint64_t limit_bytes,
                   struct forecast_view *out);

/* A sentence for whoever runs the server. Static. */
const char *forecast_advice_text(enum forecast_advice advice);

#endif
