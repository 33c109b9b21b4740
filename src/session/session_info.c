/* SPDX-License-Identifier: Apache-2.0 */

/*
 * INFO, CONFIG, TIME: what monitoring asks. Sections and lines have Redis's shapes, since they are
 * parsed; what Perigee has besides stands in a section of its own.
 *
 * Counters are sums over the workers' stripes, taken without stopping anybody. The cost of commands
 * is counted in ticks of the time stamp counter, whose length is measured from the service's start.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "db/checkpoint.h"
#include "redis/redis_glob.h"
#include "redis/redis_value.h"
#include "session/session_internal.h"
#include "txn/lock.h"

static const char REDIS_VERSION[] = "7.2.0";

static void line(struct mp_buffer *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void line(struct mp_buffer *out, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    mp_put_raw(out, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
    mp_put_raw(out, "\r\n", 2);
}

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

/* ---------------------------------------------------------------------------------------- sums */

struct totals {
    uint64_t commands, input_bytes, output_bytes, errors[SERVICE_ERRORS], error_count;
};

static void totals_sum(struct service *service, struct totals *totals)
{
    *totals = (struct totals){0};
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->options.worker_max; n++) {
        const struct session_worker *worker = service->workers[n];
        if (!worker)
            continue;
        totals->commands += load_relaxed(&worker->stats.commands);
        totals->input_bytes += load_relaxed(&worker->stats.input_bytes);
        totals->output_bytes += load_relaxed(&worker->stats.output_bytes);
        for (unsigned error = 0; error < SERVICE_ERRORS; error++) {
            totals->errors[error] += load_relaxed(&worker->stats.errors[error]);
            totals->error_count += load_relaxed(&worker->stats.errors[error]);
        }
    }
    pthread_mutex_unlock(&service->mutex);
}

struct command_totals {
    uint64_t calls, ticks, rejected, failed;
};

static void command_sum(struct service *service, unsigned number, struct command_totals *totals)
{
    *totals = (struct command_totals){0};
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->options.worker_max; n++) {
        if (!service->workers[n])
            continue;
        const struct session_command_stats *stats = &service->workers[n]->stats.by_command[number];
        totals->calls += load_relaxed(&stats->calls);
        totals->ticks += load_relaxed(&stats->ticks);
        totals->rejected += load_relaxed(&stats->rejected);
        totals->failed += load_relaxed(&stats->failed);
    }
    pthread_mutex_unlock(&service->mutex);
}

static uint64_t uptime_seconds(const struct service *service)
{
    return (clock_monotonic_ns(service->options.clock) - service->start_ns) / 1000000000;
}

/* Microseconds a tick. */
static double tick_us(const struct service *service)
{
    uint64_t ns = clock_monotonic_ns(service->options.clock) - service->start_ns;
    uint64_t ticks = service__ticks() - service->start_ticks;
    return ticks ? (double)ns / 1000.0 / (double)ticks : 0;
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ------------------------------------------------------------------------------------ sections */

static void info_server(struct service *service, struct mp_buffer *out)
{
    struct utsname system;
    uint64_t now_ms = clock_realtime_ms(service->options.clock), uptime = uptime_seconds(service);
    if (uname(&system))
        system.sysname[0] = system.release[0] = system.machine[0] = 0;
    line(out, "redis_version:%s", REDIS_VERSION);
    line(out, "redis_git_sha1:00000000");
    line(out, "redis_git_dirty:0");
    line(out, "redis_build_id:0");
    line(out, "redis_mode:standalone");
    line(out, "os:%s %s %s", system.sysname, system.release, system.machine);
    line(out, "arch_bits:64");
    line(out, "monotonic_clock:POSIX clock_gettime");
    line(out, "multiplexing_api:epoll");
    line(out, "gcc_version:%s", __VERSION__);
    line(out, "process_id:%ld", (long)getpid());
    line(out, "process_supervised:no");
    line(out, "run_id:%s", service->run_id);
    line(out, "tcp_port:%u", load_relaxed(&service->port));
    line(out, "server_time_usec:%" PRIu64, now_ms * 1000);
    line(out, "uptime_in_seconds:%" PRIu64, uptime);
    line(out, "uptime_in_days:%" PRIu64, uptime / 86400);
    line(out, "hz:10");
    line(out, "configured_hz:10");
    line(out, "executable:%s", text_or_empty(service->options.executable));
    line(out, "config_file:%s", text_or_empty(service->options.config_file));
    line(out, "io_threads_active:%d", service->options.worker_max > 1);
}

static void info_perigee(struct service *service, struct mp_buffer *out)
{
    line(out, "perigee_version:%s", service->options.version);
    line(out, "durability:%s", text_or_empty(service->options.durability));
    line(out, "workers:%u", service->options.worker_max);
    for (size_t n = 0; n < service->options.variant_count; n++)
        line(out, "%s:%s", service->options.variants[n].name, service->options.variants[n].value);
    struct wal_stats wal;
    wal_stats_get(service->wal, &wal);
    line(out, "wal_blocks:%" PRIu64, wal.blocks);
    line(out, "wal_records:%" PRIu64, wal.records);
    line(out, "wal_bytes:%" PRIu64, wal.bytes);
    line(out, "wal_flushes:%" PRIu64, wal.flushes);
    line(out, "wal_log_bytes:%" PRIu64, wal.log_bytes);
    line(out, "wal_failure:%s", wal_failure(service->wal));
}

static void info_transactions(struct service *service, struct mp_buffer *out)
{
    struct txn_system *system = db_txn_system(service->options.db);
    struct txn_stats txn;
    struct lock_stats lock;
    txn_stats_get(system, &txn);
    lock_stats_get(txn_system_locks(system), &lock);
    line(out, "txn_commits:%" PRIu64, txn.commits);
    line(out, "txn_rollbacks:%" PRIu64, txn.rollbacks);
    line(out, "txn_conflicts:%" PRIu64, txn.conflicts);
    line(out, "txn_retries:%" PRIu64, txn.retries);
    line(out, "txn_gate_entries:%" PRIu64, txn.gate_entries);
    for (unsigned cause = 0; cause < TXN_CAUSE_MAX; cause++)
        line(out, "txn_aborts_%s:%" PRIu64, txn_cause_name(cause), txn.aborts[cause]);
    line(out, "txn_open:%" PRIu64, txn.open);
    line(out, "txn_deferred:%" PRIu64, txn.deferred);
    line(out, "locks_held:%" PRIu64, lock.held);
    line(out, "locks_waiting:%" PRIu64, lock.waiting);
    line(out, "locks_waits:%" PRIu64, lock.waits);
    line(out, "locks_deadlocks:%" PRIu64, lock.deadlocks);
    line(out, "locks_timeouts:%" PRIu64, lock.timeouts);
    line(out, "locks_escalations:%" PRIu64, lock.escalations);
}

static void info_clients(struct service *service, struct mp_buffer *out)
{
    unsigned watching = 0, blocked = 0, listening = 0;
    uint64_t watched = 0;
    pthread_mutex_lock(&service->mutex);
    list_for_each (link, &service->clients) {
        const struct session_about *about = &list_entry(link, struct session, link)->about;
        uint64_t keys = load_relaxed(&about->watched);
        watching += keys > 0;
        watched += keys;
        blocked += load_relaxed(&about->waits);
        listening += load_relaxed(&about->channels) + load_relaxed(&about->patterns) > 0;
    }
    pthread_mutex_unlock(&service->mutex);
    line(out, "connected_clients:%u", load_relaxed(&service->client_count));
    line(out, "cluster_connections:0");
    line(out, "maxclients:%u", service->limits.clients_max);
    line(out, "client_recent_max_input_buffer:0");
    line(out, "client_recent_max_output_buffer:0");
    line(out, "blocked_clients:%u", blocked);
    line(out, "tracking_clients:0");
    line(out, "pubsub_clients:%u", listening);
    line(out, "watching_clients:%u", watching);
    line(out, "clients_in_timeout_table:0");
    line(out, "total_watched_keys:%" PRIu64, watched);
    line(out, "total_blocking_keys:0");
    line(out, "total_blocking_keys_on_nokey:0");
}

/* "1.50M" */
static void human(uint64_t bytes, char out[32])
{
    static const char UNITS[] = "BKMGTP";
    double value = (double)bytes;
    unsigned unit = 0;
    for (; value >= 1024 && unit < 5; unit++)
        value /= 1024;
    if (unit == 0)
        snprintf(out, 32, "%" PRIu64 "B", bytes);
    else
        snprintf(out, 32, "%.2f%c", value, UNITS[unit]);
}

static void memory_line(struct mp_buffer *out, const char *name, uint64_t bytes)
{
    char text[32];
    human(bytes, text);
    line(out, "%s:%" PRIu64, name, bytes);
    line(out, "%s_human:%s", name, text);
}

static void info_memory(struct service *service, struct mp_buffer *out)
{
    const struct heap *heap = db_heap(service->options.db);
    uint64_t used = heap_used_bytes(heap), resident = resident_bytes();
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    memory_line(out, "used_memory", used);
    memory_line(out, "used_memory_rss", resident);
    memory_line(out, "used_memory_peak", (uint64_t)usage.ru_maxrss * 1024);
    line(out, "used_memory_overhead:0");
    line(out, "used_memory_startup:0");
    line(out, "used_memory_dataset:%" PRIu64, used);
    memory_line(out, "total_system_memory",
                (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    memory_line(out, "maxmemory", heap_limit_bytes(heap));
    line(out, "maxmemory_policy:noeviction");
    line(out, "mem_fragmentation_ratio:%.2f", used ? (double)resident / (double)used : 0.0);
    line(out, "mem_allocator:perigee");
    line(out, "active_defrag_running:0");
    line(out, "lazyfree_pending_objects:0");
    line(out, "lazyfreed_objects:0");
}

static void info_persistence(struct service *service, struct mp_buffer *out)
{
    struct wal_stats wal;
    struct db_checkpoint_stats saved;
    char archive_failure[256];
    wal_stats_get(service->wal, &wal);
    wal_archive_failure(service->wal, archive_failure, sizeof archive_failure);
    db_checkpoint_stats_get(service->options.db, &saved);
    line(out, "loading:%d", load_relaxed(&service->loading));
    line(out, "async_loading:0");
    line(out, "rdb_changes_since_last_save:%" PRIu64, saved.changes);
    line(out, "rdb_bgsave_in_progress:%d", saved.running);
    line(out, "rdb_last_save_time:%" PRIu64, saved.time_ms / 1000);
    line(out, "rdb_last_bgsave_status:%s", saved.last_code == 0 ? "ok" : "err");
    line(out, "rdb_last_bgsave_time_sec:%" PRId64,
         saved.count == 0 ? -1 : (int64_t)(saved.duration_ns / 1000000000));
    line(out, "rdb_current_bgsave_time_sec:%" PRId64,
         saved.running ? (int64_t)(saved.running_ns / 1000000000) : -1);
    line(out, "rdb_saves:%" PRIu64, saved.count);
    line(out, "aof_enabled:1");
    line(out, "aof_rewrite_in_progress:0");
    line(out, "aof_rewrite_scheduled:0");
    line(out, "aof_last_rewrite_time_sec:-1");
    line(out, "aof_current_rewrite_time_sec:-1");
    line(out, "aof_last_bgrewrite_status:ok");
    line(out, "aof_last_write_status:%s", wal_failed(service->wal) ? "err" : "ok");
    line(out, "aof_current_size:%" PRIu64, wal.log_bytes);
    line(out, "archive_segments:%" PRIu64, wal.archived);
    line(out, "archive_failures:%" PRIu64, wal.archive_failures);
    line(out, "archive_last_failure:%s", archive_failure);
    line(out, "checkpoints_failed:%" PRIu64, saved.failed);
    line(out, "checkpoint_rows:%" PRIu64, saved.rows);
    line(out, "checkpoint_bytes:%" PRIu64, saved.bytes);
    line(out, "checkpoint_files:%" PRIu64, saved.files);
    line(out, "checkpoint_file_bytes:%" PRIu64, saved.file_bytes);
    line(out, "checkpoint_live_bytes:%" PRIu64, saved.live_bytes);
    line(out, "checkpoint_merges:%" PRIu64, saved.merges);
    line(out, "checkpoint_merged_bytes:%" PRIu64, saved.merged_bytes);
}

static void info_stats(struct service *service, struct mp_buffer *out)
{
    struct totals totals;
    totals_sum(service, &totals);
    uint64_t uptime = uptime_seconds(service);
    line(out, "total_connections_received:%" PRIu64, load_relaxed(&service->connections));
    line(out, "total_commands_processed:%" PRIu64, totals.commands);
    line(out, "instantaneous_ops_per_sec:%" PRIu64, totals.commands / (uptime ? uptime : 1));
    line(out, "total_net_input_bytes:%" PRIu64, totals.input_bytes);
    line(out, "total_net_output_bytes:%" PRIu64, totals.output_bytes);
    line(out, "rejected_connections:%" PRIu64, load_relaxed(&service->refused));
    line(out, "sync_full:0");
    line(out, "sync_partial_ok:0");
    line(out, "sync_partial_err:0");
    line(out, "expired_keys:0");
    line(out, "evicted_keys:0");
    line(out, "keyspace_hits:0");
    line(out, "keyspace_misses:0");
    uint64_t channels = 0, patterns = 0;
    session__pubsub_counts(service, &channels, &patterns);
    line(out, "pubsub_channels:%" PRIu64, channels);
    line(out, "pubsub_patterns:%" PRIu64, patterns);
    line(out, "latest_fork_usec:0");
    line(out, "total_forks:0");
    line(out, "total_error_replies:%" PRIu64, totals.error_count);
    line(out, "acl_access_denied_auth:%" PRIu64, session__auth_failures(service->auth));
    line(out, "acl_access_denied_cmd:%" PRIu64, session__auth_refusals(service->auth));
}

static void info_replication(struct service *service, struct mp_buffer *out)
{
    line(out, "role:master");
    line(out, "connected_slaves:0");
    line(out, "master_failover_state:no-failover");
    line(out, "master_replid:%s", service->run_id);
    line(out, "master_replid2:0000000000000000000000000000000000000000");
    line(out, "master_repl_offset:0");
    line(out, "second_repl_offset:-1");
    line(out, "repl_backlog_active:0");
    line(out, "repl_backlog_size:1048576");
    line(out, "repl_backlog_first_byte_offset:0");
    line(out, "repl_backlog_histlen:0");
}

static void info_cpu(struct service *service, struct mp_buffer *out)
{
    (void)service;
    struct rusage self = {0}, children = {0};
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    line(out, "used_cpu_sys:%ld.%06ld", self.ru_stime.tv_sec, self.ru_stime.tv_usec);
    line(out, "used_cpu_user:%ld.%06ld", self.ru_utime.tv_sec, self.ru_utime.tv_usec);
    line(out, "used_cpu_sys_children:%ld.%06ld", children.ru_stime.tv_sec,
         children.ru_stime.tv_usec);
    line(out, "used_cpu_user_children:%ld.%06ld", children.ru_utime.tv_sec,
         children.ru_utime.tv_usec);
}

static void info_modules(struct service *service, struct mp_buffer *out)
{
    (void)service;
    (void)out;
}

static void info_commandstats(struct service *service, struct mp_buffer *out)
{
    double us = tick_us(service);
    for (unsigned n = 0; n < service->command_count + service->subcommand_count; n++) {
        struct command_totals totals;
        if (!service->commands[n].name)
            continue;
        command_sum(service, n, &totals);
        if (!totals.calls && !totals.rejected)
            continue;
        double usec = (double)totals.ticks * us;
        line(out,
             "cmdstat_%s:calls=%" PRIu64 ",usec=%" PRIu64
             ",usec_per_call=%.2f,rejected_calls=%" PRIu64 ",failed_calls=%" PRIu64,
             service->commands[n].name, totals.calls, (uint64_t)usec,
             totals.calls ? usec / (double)totals.calls : 0.0, totals.rejected, totals.failed);
    }
}

static void info_errorstats(struct service *service, struct mp_buffer *out)
{
    struct totals totals;
    totals_sum(service, &totals);
    for (unsigned n = 0; service__error_name(n); n++)
        if (totals.errors[n])
            line(out, "errorstat_%s:count=%" PRIu64, service__error_name(n), totals.errors[n]);
}

static void info_cluster(struct service *service, struct mp_buffer *out)
{
    (void)service;
    line(out, "cluster_enabled:0");
}

static void info_keyspace(struct service *service, struct mp_buffer *out)
{
    uint64_t keys = txn_head_rows(db_redis_head(service->options.db, 0));
    if (keys)
        line(out, "db0:keys=%" PRIu64 ",expires=0,avg_ttl=0", keys);
}

struct section {
    const char *name;
    bool by_default;
    void (*write)(struct service *service, struct mp_buffer *out);
};

static const struct section SECTIONS[] = {
    {"Server", true, info_server},
    {"Perigee", true, info_perigee},
    {"Transactions", true, info_transactions},
    {"Clients", true, info_clients},
    {"Memory", true, info_memory},
    {"Persistence", true, info_persistence},
    {"Stats", true, info_stats},
    {"Replication", true, info_replication},
    {"CPU", true, info_cpu},
    {"Modules", true, info_modules},
    {"Commandstats", false, info_commandstats},
    {"Errorstats", true, info_errorstats},
    {"Cluster", true, info_cluster},
    {"Keyspace", true, info_keyspace},
};

static bool arg_is(const struct redis_slice *arg, const char *text)
{
    return arg->size == strlen(text) && strncasecmp(arg->data, text, arg->size) == 0;
}

static bool section_wanted(const struct section *section, const struct session_request *request)
{
    if (request->argc == 1)
        return section->by_default;
    for (unsigned n = 1; n < request->argc; n++) {
        const struct redis_slice *arg = &request->argv[n];
        if (arg_is(arg, section->name) || arg_is(arg, "all") || arg_is(arg, "everything") ||
            (section->by_default && arg_is(arg, "default")))
            return true;
    }
    return false;
}

int session__info(struct session *session, struct session_request *request)
{
    struct mp_buffer text;
    mp_buffer_create(&text);
    for (size_t n = 0; n < sizeof SECTIONS / sizeof *SECTIONS; n++) {
        if (!section_wanted(&SECTIONS[n], request))
            continue;
        if (text.size)
            mp_put_raw(&text, "\r\n", 2);
        line(&text, "# %s", SECTIONS[n].name);
        SECTIONS[n].write(session->service, &text);
    }
    int rc = text.failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
    if (!rc)
        resp_put_verbatim(&session->out, session->protocol, "txt", text.size ? text.data : "",
                          text.size);
    mp_buffer_destroy(&text);
    return rc;
}

int session__time(struct session *session, struct session_request *request)
{
    char text[24];
    (void)request;
    uint64_t ms = clock_realtime_ms(session->service->options.clock);
    resp_put_array(&session->out, 2);
    resp_put_bulk(&session->out, text, redis_integer_format((int64_t)(ms / 1000), text));
    resp_put_bulk(&session->out, text, redis_integer_format((int64_t)(ms % 1000 * 1000), text));
    return 0;
}

/* --------------------------------------------------------------------------------------- CONFIG */

/* What Redis's clients and tools ask for, in their words. The numbers that follow the options are
 * filled in by setting_value. */
static const struct service_fact REDIS_SETTINGS[] = {
    {"appendfsync", "always"},
    {"appendonly", "yes"},
    {"bind", "127.0.0.1"},
    {"databases", "1"},
    {"dbfilename", ""},
    {"hz", "10"},
    {"lua-time-limit", NULL},
    {"maxclients", NULL},
    {"maxmemory", NULL},
    {"maxmemory-policy", "noeviction"},
    {"notify-keyspace-events", ""},
    {"port", NULL},
    {"proto-max-bulk-len", NULL},
    {"save", ""},
    {"slowlog-log-slower-than", "10000"},
    {"slowlog-max-len", "128"},
    {"timeout", "0"},
};
enum { REDIS_SETTING_COUNT = sizeof REDIS_SETTINGS / sizeof *REDIS_SETTINGS };

static const char *setting_value(struct service *service, const struct service_fact *setting,
                                 char text[24])
{
    uint64_t value;
    if (strcmp(setting->name, "appendfsync") == 0) {
        const char *level = text_or_empty(service->options.durability);
        return strcmp(level, "interval") == 0 ? "everysec"
               : strcmp(level, "none") == 0   ? "no"
                                              : "always";
    }
    if (setting->value)
        return setting->value;
    if (strcmp(setting->name, "lua-time-limit") == 0)
        value = service->limits.lua_time_max_ms;
    else if (strcmp(setting->name, "maxclients") == 0)
        value = service->limits.clients_max;
    else if (strcmp(setting->name, "maxmemory") == 0)
        value = heap_limit_bytes(db_heap(service->options.db));
    else if (strcmp(setting->name, "port") == 0)
        value = load_relaxed(&service->port);
    else
        value = service->limits.request_bytes_max;
    snprintf(text, 24, "%" PRIu64, value);
    return text;
}

/* The n-th setting: Redis's, then those of the options that have no Redis name. NULL behind the
 * last. */
static const struct service_fact *setting_at(const struct service *service, size_t n)
{
    if (n < REDIS_SETTING_COUNT)
        return &REDIS_SETTINGS[n];
    n -= REDIS_SETTING_COUNT;
    return n < service->options.setting_count ? &service->options.settings[n] : NULL;
}

static bool setting_asked(const struct session_request *request, const struct service_fact *setting)
{
    for (unsigned n = 2; n < request->argc; n++) {
        const struct redis_slice *pattern = &request->argv[n];
        if (arg_is(pattern, setting->name) ||
            redis_glob_match(pattern->data, pattern->size, setting->name, strlen(setting->name)))
            return true;
    }
    return false;
}

static int config_get(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    const struct service_fact *setting;
    char number[24];
    size_t count = 0;
    for (size_t n = 0; (setting = setting_at(service, n)) != NULL; n++)
        count += setting_asked(request, setting);
    resp_put_map(&session->out, session->protocol, count);
    for (size_t n = 0; (setting = setting_at(service, n)) != NULL; n++) {
        if (!setting_asked(request, setting))
            continue;
        const char *value = setting_value(service, setting, number);
        resp_put_bulk(&session->out, setting->name, strlen(setting->name));
        resp_put_bulk(&session->out, value, strlen(value));
    }
    return 0;
}

/* Options are set at start; so every one is refused by its name. */
static int config_set(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    const struct redis_slice *name = &request->argv[2];
    const struct service_fact *setting;
    int size = (int)(name->size < 128 ? name->size : 128);
    for (size_t n = 0; (setting = setting_at(service, n)) != NULL; n++)
        if (arg_is(name, setting->name))
            return session__errorf(session, "ERR",
                                   "CONFIG SET failed (possibly related to argument '%.*s') - "
                                   "can't set immutable config",
                                   size, name->data);
    return session__errorf(session, "ERR",
                           "Unknown option or number of arguments for CONFIG SET - '%.*s'", size,
                           name->data);
}

#define ROW(name, arity, summary, run)                                                           \
    {                                                                                            \
        name, arity, SESSION_ADMIN | SESSION_NOSCRIPT, 0, 0, 0, summary, "2.0.0", "server", run, \
            NULL, NULL, 0                                                                        \
    }
const struct session_command session__config_commands[] = {
    ROW("config|get", -3, "Returns the effective values of configuration parameters.", config_get),
    ROW("config|set", -4, "Sets configuration parameters in-flight.", config_set),
    {0},
};
