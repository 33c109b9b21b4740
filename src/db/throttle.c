/* SPDX-License-Identifier: Apache-2.0 */
#include "db/throttle.h"

#include <string.h>

enum {
    RATE_FRACTION = 32,
    DEBT_PERCENT = 50,
    DUE_PERCENT = 45,
    EVICTS_DUE_FRACTION = 16,
    EVICTS_LEFT_FRACTION = 4,
    REMAINING_MS_MIN = 2,
    LOOK_NS = 10 * 1000 * 1000,
    LOOKS_FRESH = 20,
    EVICTS_LOOKS_FRESH = 1000, /* a checkpoint may have been running meanwhile */
    BENT_NS = 5 * 1000 * 1000,
    FAILED_NS = 1000 * 1000 * 1000,
    MEASURED_ROWS_MIN = 5000
};

/* Before anything has been measured. */
static const double ROW_NS_DEFAULT[THROTTLE_PHASES] = {1000, 2000, 1000};
static const double FLUSH_RATE_DEFAULT = 32 << 20;

void throttle_create(struct throttle *throttle)
{
    memset(throttle, 0, sizeof *throttle);
    pthread_mutex_init(&throttle->mutex, NULL);
    store_relaxed(&throttle->easy_bytes, UINT64_MAX);
}

void throttle_destroy(struct throttle *throttle)
{
    pthread_mutex_destroy(&throttle->mutex);
}

/* --------------------------------------------------------------------- what has been measured; with the mutex */

static double row_ns(const struct throttle *throttle, enum throttle_phase phase)
{
    return throttle->row_ns[phase] > 0 ? throttle->row_ns[phase] : ROW_NS_DEFAULT[phase];
}

static double flush_rate(const struct throttle *throttle)
{
    return throttle->flush_rate > 0 ? throttle->flush_rate : FLUSH_RATE_DEFAULT;
}

static void mean_add(double *mean, double value)
{
    *mean = *mean > 0 ? (*mean + value) / 2 : value;
}

static double since_ns(uint64_t now_ns, uint64_t then_ns)
{
    return now_ns > then_ns ? (double)(now_ns - then_ns) : 0;
}

/* Of the phase under way at least a tenth of what it has taken so far. */
static double phase_left_ns(const struct throttle *throttle, uint64_t now_ns)
{
    double gone = since_ns(now_ns, throttle->phase_ns);
    double whole = row_ns(throttle, throttle->phase) * (double)throttle->rows;
    return whole - gone > gone / 10 ? whole - gone : gone / 10;
}

static double remaining_ns(const struct throttle *throttle, double phase_left)
{
    double ns = phase_left;
    for (int phase = (int)throttle->phase + 1; phase < THROTTLE_PHASES; phase++)
        ns += row_ns(throttle, (enum throttle_phase)phase) * (double)throttle->rows;
    return ns > REMAINING_MS_MIN * 1e6 ? ns : REMAINING_MS_MIN * 1e6;
}

/* ------------------------------------------------------------------------------------- the line; with the mutex */

static double line_at(const struct throttle *throttle, uint64_t now_ns)
{
    return throttle->line + throttle->rate * since_ns(now_ns, throttle->line_ns) / 1e9;
}

/* What is not in use cannot be saved up. */
static void line_move(struct throttle *throttle, uint64_t now_ns, uint64_t used)
{
    double line = line_at(throttle, now_ns);
    throttle->line = throttle->rate == 0 || line > (double)used ? (double)used : line;
    throttle->line_ns = now_ns;
}

/* Bends the line: from where it is now, or from what is in use if that is less. */
static void line_set(struct throttle *throttle, const struct throttle_memory *memory, double rate)
{
    line_move(throttle, memory->now_ns, memory->used);
    throttle->rate = rate;
    store_relaxed(&throttle->on, rate > 0);
}

static double percent_of(const struct throttle_memory *memory, unsigned percent)
{
    return (double)memory->limit / 100 * percent;
}

/* What a checkpoint that begins allows to be in use when it ends. */
static double evicts_goal(const struct throttle_memory *memory, uint64_t leaving)
{
    double used = (double)memory->used;
    double left = percent_of(memory, THROTTLE_EVICTS_GOAL_PERCENT) - used;
    return used + ((double)leaving > left ? (double)leaving : left) / 2;
}

/* By how much more bytes may be in use until then. One that takes longer than was thought gets a part of what is left. */
static double evicts_room(const struct throttle *throttle, const struct throttle_memory *memory)
{
    double used = (double)memory->used, room = throttle->goal - used;
    double most = percent_of(memory, THROTTLE_EVICTS_MOST_PERCENT) - used;
    if (room < most / EVICTS_LEFT_FRACTION)
        room = most / EVICTS_LEFT_FRACTION;
    return room < most ? room : most;
}

static double rate_by_memory(const struct throttle *throttle, const struct throttle_memory *memory,
                             double phase_left)
{
    if (!throttle->flushing || memory->limit == 0)
        return 0;
    double room = memory->evicts ? evicts_room(throttle, memory)
                                 : percent_of(memory, THROTTLE_GOAL_PERCENT) - (double)memory->used;
    double rate = room / remaining_ns(throttle, phase_left) * 1e9;
    double least = flush_rate(throttle) / RATE_FRACTION;
    return rate > least ? rate : least;
}

static double rate_by_debt(const struct throttle *throttle)
{
    double half = DEBT_PERCENT / 100.0, over = throttle->debt - half;
    if (over <= 0)
        return 0;
    double part = 1 - over / (1 - half), least = 1.0 / RATE_FRACTION;
    return flush_rate(throttle) * (part > least ? part : least);
}

static void bend(struct throttle *throttle, const struct throttle_memory *memory, double phase_left)
{
    double by_memory = rate_by_memory(throttle, memory, phase_left),
           by_debt = rate_by_debt(throttle);
    bool debt_counts = by_debt > 0 && (by_memory == 0 || by_debt < by_memory);
    line_set(throttle, memory, debt_counts ? by_debt : by_memory);
    throttle->limit = memory->limit;
    throttle->evicts = memory->evicts;
    throttle->phase_left_ns = phase_left;
    throttle->bent_ns = memory->now_ns;
}

/* The checkpoint's thread has not been seen for a while, for want of a processor or of the disk: nothing has been written,
 * so as much is left as was, of less room. */
static void bend_again(struct throttle *throttle, uint64_t now_ns, uint64_t used)
{
    const struct throttle_memory memory = {now_ns, used, throttle->limit, throttle->evicts};
    if (throttle->flushing && now_ns > throttle->bent_ns + BENT_NS)
        bend(throttle, &memory,
             throttle->phase == THROTTLE_WRITE ? throttle->phase_left_ns
                                               : phase_left_ns(throttle, now_ns));
}

/* ---------------------------------------------------------------------------------------- the course of one */

static void phase_begin(struct throttle *throttle, enum throttle_phase phase, uint64_t now_ns)
{
    throttle->phase = phase;
    throttle->phase_ns = now_ns;
}

/* Of few rows what a checkpoint takes however many there are would be taken for their share. */
static bool is_measured(const struct throttle *throttle)
{
    return throttle->rows >= MEASURED_ROWS_MIN;
}

static void phase_measure(struct throttle *throttle, uint64_t now_ns)
{
    if (is_measured(throttle))
        mean_add(&throttle->row_ns[throttle->phase],
                 since_ns(now_ns, throttle->phase_ns) / (double)throttle->rows);
}

static void begin(struct throttle *throttle, const struct throttle_memory *memory, uint64_t rows,
                  uint64_t leaving)
{
    throttle->flushing = leaving > 0; /* one that frees nothing is nothing to wait for */
    throttle->rows = rows;
    throttle->leaving_bytes = leaving;
    throttle->goal = evicts_goal(memory, leaving);
    throttle->began_ns = memory->now_ns;
    phase_begin(throttle, THROTTLE_PREPARE, memory->now_ns);
    bend(throttle, memory, phase_left_ns(throttle, memory->now_ns));
}

void throttle_begin(struct throttle *throttle, const struct throttle_memory *memory, uint64_t rows,
                    uint64_t leaving)
{
    pthread_mutex_lock(&throttle->mutex);
    begin(throttle, memory, rows, leaving);
    pthread_mutex_unlock(&throttle->mutex);
}

/* What is left of writing, at the pace up to now. */
static double write_left_ns(const struct throttle *throttle, uint64_t now_ns, uint64_t done)
{
    double gone = since_ns(now_ns, throttle->phase_ns), rows = (double)throttle->rows;
    double known = row_ns(throttle, THROTTLE_WRITE) * rows;
    double part = (double)done / rows;
    /* The first rows say little of the others: the more there are, the more they count. */
    return (1 - part) * (part * (gone / part) + (1 - part) * known);
}

void throttle_written(struct throttle *throttle, const struct throttle_memory *memory,
                      uint64_t done, uint64_t rows)
{
    pthread_mutex_lock(&throttle->mutex);
    if (throttle->flushing && rows > 0) {
        throttle->rows = rows;
        if (throttle->phase == THROTTLE_PREPARE) {
            phase_measure(throttle, memory->now_ns);
            phase_begin(throttle, THROTTLE_WRITE, memory->now_ns);
        }
        if (done > 0 && done <= rows)
            bend(throttle, memory, write_left_ns(throttle, memory->now_ns, done));
    }
    pthread_mutex_unlock(&throttle->mutex);
}

void throttle_free(struct throttle *throttle, const struct throttle_memory *memory)
{
    pthread_mutex_lock(&throttle->mutex);
    bool runs = throttle->flushing && throttle->phase != THROTTLE_PREPARE;
    if (runs && throttle->phase != THROTTLE_FREE) {
        phase_measure(throttle, memory->now_ns);
        phase_begin(throttle, THROTTLE_FREE, memory->now_ns);
    }
    if (runs)
        bend(throttle, memory, phase_left_ns(throttle, memory->now_ns));
    pthread_mutex_unlock(&throttle->mutex);
}

void throttle_end(struct throttle *throttle, const struct throttle_memory *memory, bool ok)
{
    pthread_mutex_lock(&throttle->mutex);
    double took_ns = since_ns(memory->now_ns, throttle->began_ns);
    if (!ok) /* or it would be tried, and fail, as often as writers look */
        store_relaxed(&throttle->look_ns, memory->now_ns + FAILED_NS);
    if (ok && throttle->flushing && is_measured(throttle) && took_ns > 0) {
        phase_measure(throttle, memory->now_ns);
        mean_add(&throttle->flush_rate, (double)throttle->leaving_bytes / took_ns * 1e9);
    }
    throttle->flushing = false;
    bend(throttle, memory, 0);
    pthread_mutex_unlock(&throttle->mutex);
}

void throttle_debt_set(struct throttle *throttle, const struct throttle_memory *memory, double debt)
{
    pthread_mutex_lock(&throttle->mutex);
    throttle->debt = debt;
    if (!throttle->flushing) /* else it counts with the next rows that are written */
        bend(throttle, memory, 0);
    pthread_mutex_unlock(&throttle->mutex);
}

bool throttle_looks(struct throttle *throttle, uint64_t now_ns, uint64_t used)
{
    uint64_t look_ns = load_relaxed(&throttle->look_ns);
    return used >= load_relaxed(&throttle->easy_bytes) && now_ns >= look_ns &&
           atomic_compare_exchange_strong(&throttle->look_ns, &look_ns, now_ns + LOOK_NS);
}

/* Bytes a second by which `used` has grown since the last look, or would have without evictions: half of the rows that have
 * changed are those; below 0: that was too long ago. With the mutex. */
static double growth(struct throttle *throttle, const struct throttle_memory *memory, uint64_t rows,
                     uint64_t leaving)
{
    double changed = memory->evicts && rows > throttle->seen_rows
                         ? (double)leaving / (double)rows * (double)(rows - throttle->seen_rows)
                         : 0;
    double gone_ns = since_ns(memory->now_ns, throttle->seen_ns);
    double grown = (double)memory->used - (double)throttle->seen_bytes;
    if (grown < changed / 2)
        grown = changed / 2;
    throttle->seen_bytes = memory->used;
    throttle->seen_rows = rows;
    throttle->seen_ns = memory->now_ns;
    if (gone_ns == 0 ||
        gone_ns > (memory->evicts ? EVICTS_LOOKS_FRESH : LOOKS_FRESH) * (double)LOOK_NS)
        return -1;
    return grown > 0 ? grown / gone_ns * 1e9 : 0;
}

/* Where keys are evicted: there is enough to write, and what comes until that is done takes half of what is left. Above the
 * limit some must go first: one that began now would keep it. */
static bool evicts_due(const struct throttle_memory *memory, uint64_t leaving, double comes)
{
    double least = (double)memory->limit / EVICTS_DUE_FRACTION;
    double left = percent_of(memory, THROTTLE_EVICTS_GOAL_PERCENT) - (double)memory->used;
    return memory->used < memory->limit && (double)leaving >= least &&
           2 * comes >= (left > least ? left : least);
}

static bool is_due(struct throttle *throttle, const struct throttle_memory *memory, uint64_t rows,
                   uint64_t leaving)
{
    double rate = growth(throttle, memory, rows, leaving), takes_ns = 0;
    double goal = percent_of(memory, THROTTLE_GOAL_PERCENT), used = (double)memory->used;
    double stays = used > (double)leaving ? used - (double)leaving : 0;
    for (int phase = 0; phase < THROTTLE_PHASES; phase++)
        takes_ns += row_ns(throttle, (enum throttle_phase)phase) * (double)rows;
    if (memory->evicts)
        return rate >= 0 && memory->limit > 0 && evicts_due(memory, leaving, rate * takes_ns / 1e9);
    return rate >= 0 && memory->limit > 0 &&
           (double)leaving >= (goal - stays) / 100 * DUE_PERCENT &&
           used + rate * takes_ns / 1e9 >= goal;
}

bool throttle_due(struct throttle *throttle, const struct throttle_memory *memory, uint64_t rows,
                  uint64_t leaving)
{
    pthread_mutex_lock(&throttle->mutex);
    bool due = !throttle->flushing && leaving > 0 && is_due(throttle, memory, rows, leaving);
    if (due)
        begin(throttle, memory, rows, leaving);
    pthread_mutex_unlock(&throttle->mutex);
    return due;
}

void throttle_easy_set(struct throttle *throttle, uint64_t bytes)
{
    store_relaxed(&throttle->easy_bytes, bytes);
}

/* ------------------------------------------------------------------------------------------------ writers */

uint64_t throttle_delay_ns(struct throttle *throttle, uint64_t now_ns, uint64_t used)
{
    if (!load_relaxed(&throttle->on))
        return 0;
    double ns = 0;
    pthread_mutex_lock(&throttle->mutex);
    if (throttle->rate > 0) {
        line_move(throttle, now_ns, used);
        bend_again(throttle, now_ns, used);
        ns = ((double)used - throttle->line) / throttle->rate * 1e9;
    }
    ns = ns < THROTTLE_DELAY_MS_MAX * 1e6 ? ns : THROTTLE_DELAY_MS_MAX * 1e6;
    uint64_t delay_ns = ns < THROTTLE_DELAY_US_MIN * 1e3 ? 0 : (uint64_t)ns;
    if (delay_ns > 0) {
        throttle->slowed++;
        throttle->slowed_ns += delay_ns;
        if (delay_ns > throttle->longest_ns)
            throttle->longest_ns = delay_ns;
    }
    pthread_mutex_unlock(&throttle->mutex);
    return delay_ns;
}

void throttle_view(struct throttle *throttle, struct throttle_view *out)
{
    pthread_mutex_lock(&throttle->mutex);
    *out = (struct throttle_view){.debt = throttle->debt,
                                  .rate = (uint64_t)throttle->rate,
                                  .flush_rate = (uint64_t)throttle->flush_rate,
                                  .slowed = throttle->slowed,
                                  .slowed_ns = throttle->slowed_ns,
                                  .longest_ns = throttle->longest_ns};
    pthread_mutex_unlock(&throttle->mutex);
}
