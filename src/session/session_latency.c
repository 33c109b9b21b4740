/* SPDX-License-Identifier: Apache-2.0 */

/*
 * LATENCY: requests that took longer than latency-monitor-threshold, and how long requests take.
 *
 * Events. Of each class the last 160 samples are kept, one a second at most, the longest of it.
 *
 * Histograms. Each worker counts its requests by command and by how long they took, in buckets of a
 * quarter of a power of two of ticks:
 *
 *   ticks 1 0 1 1 0 ..   the highest bit and the two behind it are the bucket
 *
 * and whoever asks sums them up over the workers and turns the bounds into microseconds. A histogram
 * is made when the first request of its command is counted. CONFIG RESETSTAT remembers the sums that it
 * finds, which are taken off from then on.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "redis/redis_value.h"
#include "session/session_internal.h"

/* ---------------------------------------------------------------------------------------- ticks */

static pthread_once_t ticks_once = PTHREAD_ONCE_INIT;
static double ticks_a_us;

static uint64_t real_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* For half a millisecond, once a process. */
static void ticks_measure(void)
{
    uint64_t start_ns = real_ns(), start = clock_ticks(), ns;
    do {
        ns = real_ns() - start_ns;
    } while (ns < 500000);
    ticks_a_us = (double)(clock_ticks() - start) * 1000.0 / (double)ns;
}

double service__ticks_a_us(void)
{
    pthread_once(&ticks_once, ticks_measure);
    return ticks_a_us;
}

/* ----------------------------------------------------------------------------------- histograms */

struct session_histogram *session__histogram_new(struct session_command_stats *stats)
{
    struct session_histogram *histogram = calloc(1, sizeof *histogram);
    if (histogram)
        store_release(&stats->histogram, histogram);
    return histogram;
}

void session__histograms_destroy(struct session_worker *worker)
{
    for (unsigned n = 0; n < SERVICE_COMMANDS_MAX; n++)
        free(load_relaxed(&worker->stats.by_command[n].histogram));
}

void service__histograms_destroy(struct service *service)
{
    for (unsigned n = 0; n < SERVICE_COMMANDS_MAX; n++)
        free(service->histograms_before[n]);
}

/* Since the start. Under the service's mutex. */
static void sum_all(struct service *service, unsigned number,
                    uint64_t counts[SESSION_HISTOGRAM_BUCKETS])
{
    memset(counts, 0, SESSION_HISTOGRAM_BUCKETS * sizeof *counts);
    for (unsigned n = 0; n < service->worker_count; n++) {
        struct session_worker *worker = service->workers[n];
        struct session_histogram *histogram =
            worker ? load_acquire(&worker->stats.by_command[number].histogram) : NULL;
        for (unsigned bucket = 0; histogram && bucket < SESSION_HISTOGRAM_BUCKETS; bucket++)
            counts[bucket] += load_relaxed(&histogram->counts[bucket]);
    }
}

void service__histogram_sum(struct service *service, unsigned number,
                            uint64_t counts[SESSION_HISTOGRAM_BUCKETS])
{
    pthread_mutex_lock(&service->mutex);
    sum_all(service, number, counts);
    const struct session_histogram *before = service->histograms_before[number];
    for (unsigned n = 0; before && n < SESSION_HISTOGRAM_BUCKETS; n++)
        counts[n] -= load_relaxed(&before->counts[n]);
    pthread_mutex_unlock(&service->mutex);
}

/* Without memory a histogram goes on. */
void service__histograms_reset(struct service *service)
{
    uint64_t counts[SESSION_HISTOGRAM_BUCKETS];
    pthread_mutex_lock(&service->mutex);
    for (unsigned number = 0; number < SERVICE_COMMANDS_MAX; number++) {
        struct session_histogram **before = &service->histograms_before[number];
        uint64_t any = 0;
        sum_all(service, number, counts);
        for (unsigned n = 0; n < SESSION_HISTOGRAM_BUCKETS; n++)
            any |= counts[n];
        if (any && !*before)
            *before = calloc(1, sizeof **before);
        for (unsigned n = 0; any && *before && n < SESSION_HISTOGRAM_BUCKETS; n++)
            store_relaxed(&(*before)->counts[n], counts[n]);
    }
    pthread_mutex_unlock(&service->mutex);
}

/* Above all that is in the bucket. */
static double bucket_end_us(unsigned bucket)
{
    uint64_t ticks = (uint64_t)(5 + bucket % 4) << (bucket / 4 + SESSION_HISTOGRAM_SHIFT - 2);
    return (double)ticks / service__ticks_a_us();
}

double service__histogram_percentile(const uint64_t counts[SESSION_HISTOGRAM_BUCKETS],
                                     double percentile)
{
    uint64_t total = 0, seen = 0;
    for (unsigned n = 0; n < SESSION_HISTOGRAM_BUCKETS; n++)
        total += counts[n];
    for (unsigned n = 0; n < SESSION_HISTOGRAM_BUCKETS; n++) {
        seen += counts[n];
        if (seen > 0 && (double)seen >= (double)total * percentile / 100)
            return bucket_end_us(n);
    }
    return 0;
}

/* Powers of two, as Redis writes them: of 1024 ns. */
static uint64_t bound_us(unsigned n)
{
    return n < 5 ? UINT64_C(1) << n : UINT64_C(33) << (n - 5);
}

enum { BOUND_COUNT = 40 };

/* How many are below each bound; the last bound is above all. */
static void below_bounds(const uint64_t counts[SESSION_HISTOGRAM_BUCKETS],
                         uint64_t below[BOUND_COUNT])
{
    memset(below, 0, BOUND_COUNT * sizeof *below);
    for (unsigned n = 0; n < SESSION_HISTOGRAM_BUCKETS; n++) {
        unsigned bound = 0;
        while (bound < BOUND_COUNT - 1 && (double)bound_us(bound) < bucket_end_us(n))
            bound++;
        below[bound] += counts[n];
    }
    for (unsigned n = 1; n < BOUND_COUNT; n++)
        below[n] += below[n - 1];
}

static void put_text(struct session *session, const char *text)
{
    resp_put_bulk(&session->out, text, strlen(text));
}

static void put_histogram(struct session *session, const char *name,
                          const uint64_t counts[SESSION_HISTOGRAM_BUCKETS])
{
    uint64_t below[BOUND_COUNT], before = 0;
    size_t pairs = 0;
    below_bounds(counts, below);
    for (unsigned n = 0; n < BOUND_COUNT; n++)
        pairs += below[n] > (n ? below[n - 1] : 0);
    put_text(session, name);
    resp_put_map(&session->out, session->protocol, 2);
    put_text(session, "calls");
    resp_put_integer(&session->out, (int64_t)below[BOUND_COUNT - 1]);
    put_text(session, "histogram_usec");
    resp_put_map(&session->out, session->protocol, pairs);
    for (unsigned n = 0; n < BOUND_COUNT; n++) {
        if (below[n] > before) {
            resp_put_integer(&session->out, (int64_t)bound_us(n));
            resp_put_integer(&session->out, (int64_t)below[n]);
        }
        before = below[n];
    }
}

static bool histogram_any(const uint64_t counts[SESSION_HISTOGRAM_BUCKETS])
{
    for (unsigned n = 0; n < SESSION_HISTOGRAM_BUCKETS; n++)
        if (counts[n])
            return true;
    return false;
}

/* `command` or, when it has been named, its subcommands; writes those that have run, if `put`. */
static size_t histograms_of(struct session *session, const struct session_command *command,
                            bool put)
{
    uint64_t counts[SESSION_HISTOGRAM_BUCKETS];
    size_t count = 0;
    service__histogram_sum(session->service, command->number, counts);
    if (histogram_any(counts)) {
        count++;
        if (put)
            put_histogram(session, command->name, counts);
    }
    for (unsigned n = 0; command->subcommands && command->subcommands[n].name; n++)
        count += histograms_of(session, &command->subcommands[n], put);
    return count;
}

static size_t histograms(struct session *session, const struct session_request *request, bool put)
{
    const struct service *service = session->service;
    size_t count = 0;
    if (request->argc == 2)
        for (unsigned n = 0; n < service->command_count; n++)
            count += histograms_of(session, &service->commands[n], put);
    for (unsigned n = 2; n < request->argc; n++) {
        const struct session_command *command = session__command_named(session, &request->argv[n]);
        count += command ? histograms_of(session, command, put) : 0;
    }
    return count;
}

/* LATENCY HISTOGRAM [command ..] */
static int latency_histogram(struct session *session, struct session_request *request)
{
    /* those that come meanwhile are counted, but for one whose first request it is: so twice */
    size_t start = session->out.size;
    for (unsigned turn = 0; turn < 8; turn++) {
        size_t count = histograms(session, request, false);
        session__truncate(session, start);
        resp_put_map(&session->out, session->protocol, count);
        if (histograms(session, request, true) == count)
            return 0;
    }
    session__truncate(session, start);
    return diag_set(ERROR_AGAIN, "commands are run for the first time right now; ask again");
}

/* --------------------------------------------------------------------------------------- events */

static const char *const EVENT_NAMES[SESSION_LATENCY_EVENTS] = {"command", "fast-command"};

void session__latency_add(struct service *service, bool fast, uint64_t ms)
{
    struct session_latency *latency = &service->latency[fast];
    uint64_t now_s = clock_realtime_ms(service->options.clock) / 1000;
    pthread_mutex_lock(&service->slowlog.mutex);
    struct session_latency_sample *last =
        &latency->samples[(latency->next + SESSION_LATENCY_SAMPLES - 1) % SESSION_LATENCY_SAMPLES];
    if (ms > latency->max_ms)
        latency->max_ms = ms;
    if (latency->count && last->time_s == now_s) {
        if (ms > last->ms)
            last->ms = ms;
    } else {
        latency->samples[latency->next] = (struct session_latency_sample){now_s, ms};
        latency->next = (latency->next + 1) % SESSION_LATENCY_SAMPLES;
        latency->count += latency->count < SESSION_LATENCY_SAMPLES;
    }
    pthread_mutex_unlock(&service->slowlog.mutex);
}

/* The n-th, from the oldest on. */
static const struct session_latency_sample *sample_at(const struct session_latency *latency,
                                                      unsigned n)
{
    return &latency->samples[(latency->next + SESSION_LATENCY_SAMPLES - latency->count + n) %
                             SESSION_LATENCY_SAMPLES];
}

static bool arg_is(const struct redis_slice *arg, const char *text)
{
    return arg->size == strlen(text) && strncasecmp(arg->data, text, arg->size) == 0;
}

/* A copy, since it is written while it is read. False: there is no event of the name, or none has
 * happened. */
static bool event_get(struct service *service, const struct redis_slice *name,
                      struct session_latency *out)
{
    for (unsigned n = 0; n < SESSION_LATENCY_EVENTS; n++) {
        if (!arg_is(name, EVENT_NAMES[n]))
            continue;
        pthread_mutex_lock(&service->slowlog.mutex);
        *out = service->latency[n];
        pthread_mutex_unlock(&service->slowlog.mutex);
        return out->count > 0;
    }
    return false;
}

static int latency_latest(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    size_t count = 0;
    (void)request;
    pthread_mutex_lock(&service->slowlog.mutex);
    for (unsigned n = 0; n < SESSION_LATENCY_EVENTS; n++)
        count += service->latency[n].count > 0;
    resp_put_array(&session->out, count);
    for (unsigned n = 0; n < SESSION_LATENCY_EVENTS; n++) {
        const struct session_latency *latency = &service->latency[n];
        if (!latency->count)
            continue;
        const struct session_latency_sample *last = sample_at(latency, latency->count - 1);
        resp_put_array(&session->out, 4);
        put_text(session, EVENT_NAMES[n]);
        resp_put_integer(&session->out, (int64_t)last->time_s);
        resp_put_integer(&session->out, (int64_t)last->ms);
        resp_put_integer(&session->out, (int64_t)latency->max_ms);
    }
    pthread_mutex_unlock(&service->slowlog.mutex);
    return 0;
}

static int latency_history(struct session *session, struct session_request *request)
{
    struct session_latency latency = {0};
    bool any = event_get(session->service, &request->argv[2], &latency);
    resp_put_array(&session->out, any ? latency.count : 0);
    for (unsigned n = 0; any && n < latency.count; n++) {
        resp_put_array(&session->out, 2);
        resp_put_integer(&session->out, (int64_t)sample_at(&latency, n)->time_s);
        resp_put_integer(&session->out, (int64_t)sample_at(&latency, n)->ms);
    }
    return 0;
}

/* LATENCY RESET [event ..] */
static int latency_reset(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    int64_t count = 0;
    pthread_mutex_lock(&service->slowlog.mutex);
    for (unsigned n = 0; n < SESSION_LATENCY_EVENTS; n++) {
        bool named = request->argc == 2;
        for (unsigned arg = 2; arg < request->argc; arg++)
            named |= arg_is(&request->argv[arg], EVENT_NAMES[n]);
        if (!named || !service->latency[n].count)
            continue;
        service->latency[n] = (struct session_latency){0};
        count++;
    }
    pthread_mutex_unlock(&service->slowlog.mutex);
    resp_put_integer(&session->out, count);
    return 0;
}

/* LATENCY GRAPH event: a column for each sample, and its age below. */
static int latency_graph(struct session *session, struct session_request *request)
{
    enum { ROWS = 4, AGE_ROWS = 4 };
    const struct redis_slice *name = &request->argv[2];
    struct session_latency latency;
    struct mp_buffer text;
    char line[256];
    if (!event_get(session->service, name, &latency))
        return diag_set(ERROR_INVALID, "No samples available for event '%.*s'",
                        (int)(name->size < 128 ? name->size : 128), name->data);
    uint64_t now_s = clock_realtime_ms(session->service->options.clock) / 1000;
    uint64_t high = 0, low = UINT64_MAX;
    for (unsigned n = 0; n < latency.count; n++) {
        uint64_t ms = sample_at(&latency, n)->ms;
        high = ms > high ? ms : high;
        low = ms < low ? ms : low;
    }
    mp_buffer_create(&text);
    int size =
        snprintf(line, sizeof line,
                 "%.*s - high %" PRIu64 " ms, low %" PRIu64 " ms (all time high %" PRIu64 " ms)\n",
                 (int)name->size, name->data, high, low, latency.max_ms);
    mp_put_raw(&text, line, (size_t)size);
    for (size = 0; size < 80; size++)
        line[size] = '-';
    line[size++] = '\n';
    mp_put_raw(&text, line, (size_t)size);
    for (unsigned row = ROWS; row-- > 0;) {
        for (unsigned n = 0; n < latency.count; n++) {
            uint64_t span = high - low + 1,
                     height = (sample_at(&latency, n)->ms - low) * ROWS / span;
            line[n] = height > row ? '|' : height == row ? (row == 0 ? '_' : 'o') : ' ';
        }
        line[latency.count] = '\n';
        mp_put_raw(&text, line, latency.count + 1);
    }
    mp_put_raw(&text, "\n", 1);
    for (unsigned row = 0; row < AGE_ROWS; row++) {
        for (unsigned n = 0; n < latency.count; n++) {
            char age[32];
            uint64_t s = now_s - sample_at(&latency, n)->time_s;
            int length = s < 60      ? snprintf(age, sizeof age, "%" PRIu64 "s", s)
                         : s < 3600  ? snprintf(age, sizeof age, "%" PRIu64 "m", s / 60)
                         : s < 86400 ? snprintf(age, sizeof age, "%" PRIu64 "h", s / 3600)
                                     : snprintf(age, sizeof age, "%" PRIu64 "d", s / 86400);
            line[n] = (int)row < length ? age[row] : ' ';
        }
        line[latency.count] = '\n';
        mp_put_raw(&text, line, latency.count + 1);
    }
    int rc = text.failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
    if (!rc)
        resp_put_verbatim(&session->out, session->protocol, "txt", text.data, text.size);
    mp_buffer_destroy(&text);
    return rc;
}

static int latency_doctor(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    char text[1024];
    size_t size = 0;
    (void)request;
    if (!load_relaxed(&service->settings.latency_threshold_ms)) {
        size = (size_t)snprintf(text, sizeof text,
                                "Latency monitoring is disabled in this instance. You may use "
                                "\"CONFIG SET latency-monitor-threshold <milliseconds>.\" in order "
                                "to enable it.\n");
    } else {
        pthread_mutex_lock(&service->slowlog.mutex);
        for (unsigned n = 0; n < SESSION_LATENCY_EVENTS; n++) {
            const struct session_latency *latency = &service->latency[n];
            if (latency->count)
                size += (size_t)snprintf(text + size, sizeof text - size,
                                         "%s: %u latency spikes, the worst of all time %" PRIu64
                                         " ms. SLOWLOG GET names the commands.\n",
                                         EVENT_NAMES[n], latency->count, latency->max_ms);
        }
        pthread_mutex_unlock(&service->slowlog.mutex);
        if (!size)
            size = (size_t)snprintf(text, sizeof text,
                                    "No latency spike was observed since monitoring began or "
                                    "LATENCY RESET was called.\n");
    }
    resp_put_verbatim(&session->out, session->protocol, "txt", text, size);
    return 0;
}

static int latency_help(struct session *session, struct session_request *request)
{
    (void)request;
    static const char *const LINES[] = {
        "DOCTOR",
        "    Return a human readable latency analysis report.",
        "GRAPH <event>",
        "    Return an ASCII latency graph for the <event> class.",
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "    (default: reset all data for all event classes)",
        "HISTOGRAM [COMMAND ...]",
        ("    Return a cumulative distribution of latencies in the format of a histogram for the "
         "specified command names."),
        "    If no commands are specified then all histograms are replied.",
    };
    session__put_help(session, "LATENCY", LINES, sizeof LINES / sizeof *LINES);
    return 0;
}

#define ROW(name, arity, summary, since, run)                                                  \
    {                                                                                          \
        name, arity, SESSION_ADMIN | SESSION_NOSCRIPT, 0, 0, 0, summary, since, "server", run, \
            NULL, NULL, 0                                                                      \
    }
const struct session_command session__latency_commands[] = {
    ROW("latency|doctor", 2, "Returns a human-readable latency analysis report.", "2.8.13",
        latency_doctor),
    ROW("latency|graph", 3, "Returns a latency graph for an event.", "2.8.13", latency_graph),
    {"latency|help", 2, SESSION_NOSCRIPT, 0, 0, 0,
     "Returns helpful text about the different subcommands.", "2.8.13", "server", latency_help,
     NULL, NULL, 0},
    ROW("latency|histogram", -2,
        "Returns the cumulative distribution of latencies of a subset or all commands.", "7.0.0",
        latency_histogram),
    ROW("latency|history", 3, "Returns timestamp-latency samples for an event.", "2.8.13",
        latency_history),
    ROW("latency|latest", 2, "Returns the latest latency samples for all events.", "2.8.13",
        latency_latest),
    ROW("latency|reset", -2, "Resets the latency data for one or more events.", "2.8.13",
        latency_reset),
    {0},
};
