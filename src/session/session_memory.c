/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MEMORY: what the process uses, as far as the words of Redis fit: rows and their indexes lie in
 * memory that the engine takes from the system itself, so there is no allocator to ask.
 */
#include <inttypes.h>
#include <stdio.h>

#include "redis/redis_memory.h"
#include "session/session_internal.h"

static void put_text(struct session *session, const char *text)
{
    resp_put_bulk(&session->out, text, strlen(text));
}

static void put_count(struct session *session, const char *name, uint64_t value)
{
    put_text(session, name);
    resp_put_integer(&session->out, (int64_t)value);
}

static void put_ratio(struct session *session, const char *name, double value)
{
    put_text(session, name);
    resp_put_double(&session->out, session->protocol, value);
}

static uint64_t keys_count(struct service *service)
{
    uint64_t keys = 0;
    for (unsigned n = 0; n < REDIS_DATABASES; n++)
        keys += txn_head_rows(db_redis_head(service->options.db, n));
    return keys;
}

static int memory_stats(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    uint64_t used = heap_used_bytes(db_heap(service->options.db));
    uint64_t resident = service__resident_bytes(), peak = service__peak_bytes();
    uint64_t keys = keys_count(service);
    (void)request;
    resp_put_map(&session->out, session->protocol, 22);
    put_count(session, "peak.allocated", peak);
    put_count(session, "total.allocated", used);
    put_count(session, "startup.allocated", 0);
    put_count(session, "replication.backlog", 0);
    put_count(session, "clients.slaves", 0);
    put_count(session, "clients.normal", 0);
    put_count(session, "cluster.links", 0);
    put_count(session, "aof.buffer", 0);
    put_count(session, "lua.caches", 0);
    put_count(session, "functions.caches", 0);
    put_count(session, "overhead.total", 0);
    put_count(session, "keys.count", keys);
    put_count(session, "keys.bytes-per-key", keys ? used / keys : 0);
    put_count(session, "dataset.bytes", used);
    put_ratio(session, "dataset.percentage", 100);
    put_ratio(session, "peak.percentage", peak ? (double)resident * 100 / (double)peak : 0);
    put_count(session, "allocator.allocated", used);
    put_count(session, "allocator.active", used);
    put_count(session, "allocator.resident", resident);
    put_ratio(session, "rss-overhead.ratio", 1);
    put_ratio(session, "fragmentation", used ? (double)resident / (double)used : 0);
    put_count(session, "fragmentation.bytes", resident > used ? resident - used : 0);
    return 0;
}

static int memory_doctor(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    const struct heap *heap = db_heap(service->options.db);
    uint64_t used = heap_used_bytes(heap), limit = heap_limit_bytes(heap);
    char text[256];
    (void)request;
    if (limit && used > limit / 100 * 90)
        snprintf(text, sizeof text,
                 "%" PRIu64 " of the %" PRIu64
                 " bytes of maxmemory are in use: writes are going to be refused.\n",
                 used, limit);
    else
        snprintf(text, sizeof text, "I can't find any memory issue in this instance.\n");
    resp_put_verbatim(&session->out, session->protocol, "txt", text, strlen(text));
    return 0;
}

static int memory_malloc_stats(struct session *session, struct session_request *request)
{
    char text[256];
    (void)request;
    snprintf(text, sizeof text, "heap: %zu bytes in use, %" PRIu64 " bytes resident\n",
             heap_used_bytes(db_heap(session->service->options.db)), service__resident_bytes());
    resp_put_verbatim(&session->out, session->protocol, "txt", text, strlen(text));
    return 0;
}

/* Memory that is free is given to the next who needs it; nothing is held back. */
static int memory_purge(struct session *session, struct session_request *request)
{
    (void)request;
    resp_put_ok(&session->out);
    return 0;
}

static int memory_help(struct session *session, struct session_request *request)
{
    (void)request;
    static const char *const LINES[] = {
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
    };
    session__put_help(session, "MEMORY", LINES, sizeof LINES / sizeof *LINES);
    return 0;
}

#define ROW(name, summary, run)                                             \
    {                                                                       \
        name, 2, 0, 0, 0, 0, summary, "4.0.0", "server", run, NULL, NULL, 0 \
    }
const struct session_command session__memory_commands[] = {
    ROW("memory|doctor", "Outputs a memory problems report.", memory_doctor),
    ROW("memory|help", "Returns helpful text about the different subcommands.", memory_help),
    ROW("memory|malloc-stats", "Returns the allocator statistics.", memory_malloc_stats),
    ROW("memory|purge", "Asks the allocator to release memory.", memory_purge),
    ROW("memory|stats", "Returns details about memory usage.", memory_stats),
    {"memory|usage", -3, SESSION_DATA, 2, 2, 1, "Estimates the memory usage of a key.", "4.0.0",
     "server", NULL, &redis_memory_usage, NULL, 0},
    {0},
};
