/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box.stat.io: what the scheduler of reads and writes has counted, class by class.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "io/io_schedule.h"
#include "lua/internal.h"

static void put_text(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

static void put_count(struct mp_buffer *out, const char *name, uint64_t value)
{
    put_text(out, name);
    mp_put_uint(out, value);
}

static void put_seconds(struct mp_buffer *out, const char *name, double ns)
{
    put_text(out, name);
    mp_put_double(out, ns / 1e9);
}

/* The buckets that have something: until when, in seconds, and how many. */
static void put_buckets(struct mp_buffer *out, const struct histogram *histogram)
{
    uint32_t count = 0;
    for (unsigned n = 0; n < HISTOGRAM_BUCKETS; n++)
        count += histogram->counts[n] > 0;
    put_text(out, "buckets");
    mp_put_array(out, count);
    for (unsigned n = 0; n < HISTOGRAM_BUCKETS; n++) {
        if (histogram->counts[n] == 0)
            continue;
        uint64_t end = histogram_bucket_end_ns(n);
        mp_put_array(out, 2);
        mp_put_double(out, (double)(end < histogram->max_ns ? end : histogram->max_ns) / 1e9);
        mp_put_uint(out, histogram->counts[n]);
    }
}

static void put_histogram(struct mp_buffer *out, const char *name,
                          const struct histogram *histogram)
{
    put_text(out, name);
    mp_put_map(out, 7);
    put_count(out, "count", histogram->count);
    put_seconds(out, "mean",
                histogram->count == 0 ? 0 : (double)histogram->total_ns / (double)histogram->count);
    put_seconds(out, "p50", (double)histogram_quantile_ns(histogram, 0.5));
    put_seconds(out, "p99", (double)histogram_quantile_ns(histogram, 0.99));
    put_seconds(out, "p999", (double)histogram_quantile_ns(histogram, 0.999));
    put_seconds(out, "max", (double)histogram->max_ns);
    put_buckets(out, histogram);
}

static void put_class(struct mp_buffer *out, struct io_scheduler *scheduler, enum io_class class,
                      const struct io_class_limits *limits)
{
    struct io_class_stats stats;
    io_scheduler_stats(scheduler, class, &stats);
    put_text(out, io_class_name(class));
    mp_put_map(out, 16);
    put_count(out, "reads", stats.reads);
    put_count(out, "writes", stats.writes);
    put_count(out, "bytes_read", stats.bytes_read);
    put_count(out, "bytes_written", stats.bytes_written);
    put_count(out, "failed", stats.failed);
    put_count(out, "operations", stats.operations);
    put_count(out, "merged", stats.merged);
    put_count(out, "passed", stats.passed);
    put_count(out, "overdue", stats.overdue);
    put_count(out, "throttled", stats.throttled);
    put_count(out, "queued", stats.queued);
    put_count(out, "in_flight", stats.in_flight);
    put_count(out, "depth", limits->depth);
    put_count(out, "rate", limits->bytes_per_second);
    put_histogram(out, "wait", &stats.wait);
    put_histogram(out, "latency", &stats.latency);
}

/* stat_io(): an empty table when the database has no scheduler. */
static int native_stat_io(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct io_scheduler *scheduler = db_io(db_worker_db(runtime->worker))->scheduler;
    struct mp_buffer *out = &runtime->pairs;
    struct io_limits limits;
    int code = lua__may_administer(runtime, ACCESS_READ);
    if (code != 0)
        return lua__raise(L, runtime, code);
    mp_buffer_reset(out, 65536);
    mp_put_map(out, scheduler == NULL ? 0 : 2 + IO_CLASSES);
    if (scheduler != NULL) {
        io_scheduler_limits(scheduler, &limits);
        put_text(out, "variant");
        put_text(out, io_scheduler_variant(scheduler));
        put_count(out, "depth", limits.depth);
        for (enum io_class class = 0; class < IO_CLASSES; class ++)
            put_class(out, scheduler, class, &limits.classes[class]);
    }
    const char *answer = out->data;
    if (out->failed)
        return lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    lua__push(L, runtime, &answer);
    return 1;
}

void lua__open_statistics_io(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"stat_io", native_stat_io},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
