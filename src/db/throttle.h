/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_THROTTLE_H
#define DB_THROTTLE_H

/*
 * How fast may be written, so that writers slow down instead of stopping.
 *
 * A checkpoint frees memory in one go, when it ends. What writers fill meanwhile must last until then: so while
 * one runs, the bytes in use may rise at
 *
 *      what is left below GOAL_PERCENT of the limit / the time that it still takes
 *
 * The time is measured: for each row how long preparing, writing and what comes behind that have taken, in this
 * checkpoint as far as it has come, else in those before. A second bound is the debt of compaction
 * (engine_stats.debt): from one half of it on what may come is what checkpoints write in a second, times what is
 * left up to 1.
 *
 *      bytes in use
 *        |        . '  the line, which rises at that rate
 *        |    . '  x      above it: a writer waits for (used - line) / rate
 *        |. '       o     below it: it does not wait, and the line comes down to what is in use, so that nothing
 *        +--------------> time    can be saved up
 *
 * Where keys are evicted (throttle_memory.evicts) a checkpoint that runs keeps what has gone, and when it has ended what it has
 * can go at once. So there the bytes in use may rise, while one of b bytes runs, by half of b, or of what is left below
 * EVICTS_GOAL_PERCENT if that is more: the next one then has half as much to do, and by the time the limit is reached they are
 * short. For the same reason they are due earlier.
 *
 * The rate never falls below a thirty-second of what checkpoints write, and nobody waits for more than DELAY_MS_MAX. It
 * knows neither the database nor a clock: numbers are given. Any thread, except where it says otherwise.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

enum {
    THROTTLE_LOOK_PERCENT = 40, /* of the limit: below nobody looks whether a checkpoint is due */
    THROTTLE_GOAL_PERCENT = 92, /* below where writers are stopped (BUDGET_SLOW_PERCENT) */
    THROTTLE_EVICTS_GOAL_PERCENT = 90,
    THROTTLE_EVICTS_MOST_PERCENT =
        99,                      /* what is evicted beyond the goal must last for one that runs */
    THROTTLE_DELAY_US_MIN = 200, /* shorter waits are put off until they are worth it */
    THROTTLE_DELAY_MS_MAX = 20
};

enum throttle_phase { THROTTLE_PREPARE, THROTTLE_WRITE, THROTTLE_FREE, THROTTLE_PHASES };

struct throttle {
    _Atomic bool on;             /* there is a line */
    _Atomic uint64_t easy_bytes; /* with fewer in use nobody looks */
    _Atomic uint64_t look_ns;    /* when throttle_due is worth asking again */
    pthread_mutex_t mutex;
    /* The line. */
    double line, rate; /* bytes at line_ns, and how many more a second; rate 0: there is none */
    uint64_t line_ns;
    uint64_t bent_ns, limit; /* when the rate was looked at last, and the limit then */
    bool evicts;             /* as it was then */
    double phase_left_ns;    /* of the phase, then */
    /* The checkpoint that runs. */
    bool flushing; /* one runs, or has been asked for */
    enum throttle_phase phase;
    uint64_t began_ns, phase_ns; /* it, and its phase */
    uint64_t rows, leaving_bytes;
    double goal; /* what may be in use at its end, where keys are evicted */
    /* Means over checkpoints; 0: none has been measured. */
    double row_ns[THROTTLE_PHASES];
    double flush_rate; /* bytes of memory that one frees, by the second */
    double debt;
    /* The last look of throttle_due. */
    uint64_t seen_bytes, seen_rows, seen_ns;
    uint64_t slowed, slowed_ns, longest_ns;
};

void throttle_create(struct throttle *throttle);
void throttle_destroy(struct throttle *throttle);

/* Memory as it is at `now_ns`. */
struct throttle_memory {
    uint64_t now_ns;
    uint64_t used, limit; /* bytes; limit 0: none */
    bool evicts;          /* keys go when it is short */
};

/*
 * The course of a checkpoint. `leaving`: bytes of rows that it will free, or that can be evicted behind it. It begins once more when it is no longer only
 * asked for. _written: so many of its rows are; _free: all of them, and what follows frees memory. Ending it with `ok`
 * measures it, if it has some thousands of rows; ending it without, nobody looks whether one is due for a second.
 */
void throttle_begin(struct throttle *throttle, const struct throttle_memory *memory, uint64_t rows,
                    uint64_t leaving);
void throttle_written(struct throttle *throttle, const struct throttle_memory *memory,
                      uint64_t done, uint64_t rows);
void throttle_free(struct throttle *throttle, const struct throttle_memory *memory);
void throttle_end(struct throttle *throttle, const struct throttle_memory *memory, bool ok);

/* The debt of the body that is most behind. */
void throttle_debt_set(struct throttle *throttle, const struct throttle_memory *memory,
                       double debt);

/*
 * Whether a checkpoint has to be asked for now, so that writers need not be slower than checkpoints are: none is, what
 * would leave is nearly half of what is not there to stay, and at the rate at which `used` has grown since the last look
 * the rest would be full before one had ended; where keys are evicted, when it has a sixteenth of the limit to write and half
 * of the rest would be, or half of a sixteenth by what is written while as much is evicted. Then it is taken for asked for.
 */
bool throttle_due(struct throttle *throttle, const struct throttle_memory *memory, uint64_t rows,
                  uint64_t leaving);

/* Whether it is time to ask that: of all who come at once one. A load mostly. */
bool throttle_looks(struct throttle *throttle, uint64_t now_ns, uint64_t used);

/* With fewer bytes in use than this nobody looks whether a checkpoint is due. */
void throttle_easy_set(struct throttle *throttle, uint64_t bytes);

/* Whether there is no line, so that nobody has to wait, and nothing to look at: two loads. */
static inline bool throttle_is_easy(struct throttle *throttle, uint64_t used)
{
    return !load_relaxed(&throttle->on) && used < load_relaxed(&throttle->easy_bytes);
}

/* How long a writer who comes now has to wait, which is counted; mostly 0. */
uint64_t throttle_delay_ns(struct throttle *throttle, uint64_t now_ns, uint64_t used);

struct throttle_view {
    double debt;
    uint64_t rate;       /* bytes a second that may be written; 0: as many as anybody can */
    uint64_t flush_rate; /* that checkpoints free; 0 before the first */
    uint64_t slowed, slowed_ns, longest_ns;
};
void throttle_view(struct throttle *throttle, struct throttle_view *out);

#endif
