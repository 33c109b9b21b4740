/* SPDX-License-Identifier: Apache-2.0 */

/*
 * INFO, TIME: what monitoring asks. Sections and lines have Redis's shapes, since they are
 * parsed; what Perigee has besides stands in a section of its own.
 *
 * Counters are sums over the workers' stripes, taken without stopping anybody. The cost of commands
 * is counted in ticks of the time stamp counter, whose length is measured from the service's start.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "db/checkpoint.h"
#include "db/memory.h"
#include "mem/system.h"
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

static void totals_add(struct service_totals *totals, const struct session_worker *worker)
{
    const struct session_worker_stats *stats = &worker->stats;
    totals->commands += load_relaxed(&stats->commands);
    totals->input_bytes += load_relaxed(&stats->input_bytes);
    totals->output_bytes += load_relaxed(&stats->output_bytes);
    totals->reads += load_relaxed(&stats->reads);
    totals->writes += load_relaxed(&stats->writes);
    totals->hits += load_relaxed(&stats->lookups.hits);
    totals->misses += load_relaxed(&stats->lookups.misses);
    for (unsigned error = 0; error < SERVICE_ERRORS; error++)
        totals->errors[error] += load_relaxed(&stats->errors[error]);
}

/* Since the start. Under the service's mutex. */
static void totals_all(const struct service *service, struct service_totals *totals)
{
    *totals = (struct service_totals){.connections = load_relaxed(&service->connections),
                                      .refused = load_relaxed(&service->refused),
                                      .moved = load_relaxed(&service->moved),
                                      .balanced = load_relaxed(&service->balanced)};
    for (unsigned n = 0; n < service->worker_count; n++)
        if (service->workers[n])
            totals_add(totals, service->workers[n]);
}

/* Since CONFIG RESETSTAT. */
static void totals_sum(struct service *service, struct service_totals *totals)
{
    const struct service_totals *before = &service->totals_before;
    pthread_mutex_lock(&service->mutex);
    totals_all(service, totals);
    totals->commands -= before->commands;
    totals->input_bytes -= before->input_bytes;
    totals->output_bytes -= before->output_bytes;
    totals->reads -= before->reads;
    totals->writes -= before->writes;
    totals->connections -= before->connections;
    totals->refused -= before->refused;
    totals->moved -= before->moved;
    totals->balanced -= before->balanced;
    totals->hits -= before->hits;
    totals->misses -= before->misses;
    for (unsigned error = 0; error < SERVICE_ERRORS; error++)
        totals->errors[error] -= before->errors[error];
    pthread_mutex_unlock(&service->mutex);
}

/* Since the start. Under the service's mutex. */
static void command_all(const struct service *service, unsigned number,
                        struct service_command_totals *totals)
{
    *totals = (struct service_command_totals){0};
    for (unsigned n = 0; n < service->worker_count; n++) {
        if (!service->workers[n])
            continue;
        const struct session_command_stats *stats = &service->workers[n]->stats.by_command[number];
        totals->calls += load_relaxed(&stats->calls);
        totals->ticks += load_relaxed(&stats->ticks);
        totals->rejected += load_relaxed(&stats->rejected);
        totals->failed += load_relaxed(&stats->failed);
    }
}

static void command_sum(struct service *service, unsigned number,
                        struct service_command_totals *totals)
{
    const struct service_command_totals *before = &service->commands_before[number];
    pthread_mutex_lock(&service->mutex);
    command_all(service, number, totals);
    totals->calls -= before->calls;
    totals->ticks -= before->ticks;
    totals->rejected -= before->rejected;
    totals->failed -= before->failed;
    pthread_mutex_unlock(&service->mutex);
}

/* Each counter belongs to one worker, so it cannot be set to 0: what it was is remembered. */
void service__stats_reset(struct service *service)
{
    pthread_mutex_lock(&service->mutex);
    totals_all(service, &service->totals_before);
    store_relaxed(&service->client_limits.evicted, 0);
    store_relaxed(&service->client_limits.query_closed, 0);
    store_relaxed(&service->client_limits.output_closed, 0);
    for (unsigned n = 0; n < SERVICE_COMMANDS_MAX; n++)
        command_all(service, n, &service->commands_before[n]);
    pthread_mutex_unlock(&service->mutex);
    service__histograms_reset(service);
}

/* Under a mutex, so that who comes last has seen what the others have changed. */
void service__slow_set(struct service *service)
{
    pthread_mutex_lock(&service->slowlog.mutex);
    int64_t slower_us = load_relaxed(&service->settings.slowlog_slower_us);
    uint64_t threshold_ms = load_relaxed(&service->settings.latency_threshold_ms);
    bool monitored = load_relaxed(&service->attention) & SERVICE_MONITORED;
    double least_us = slower_us < 0 ? 1e15 : (double)slower_us;
    if (threshold_ms && (double)threshold_ms * 1000 < least_us)
        least_us = (double)threshold_ms * 1000;
    store_relaxed(&service->slow_ticks, monitored ? 0
                                        : least_us >= 1e15
                                            ? UINT64_MAX
                                            : (uint64_t)(least_us * service__ticks_a_us()));
    pthread_mutex_unlock(&service->slowlog.mutex);
}

/* Of the last second or more before now. */
static void rate_look(struct service *service, double *commands_s, double *input_s,
                      double *output_s)
{
    struct service_totals totals;
    uint64_t now_ns = clock_monotonic_ns(service->options.clock);
    pthread_mutex_lock(&service->mutex);
    uint64_t since_ns = service->rate.ns ? service->rate.ns : service->start_ns;
    if (now_ns >= since_ns + 1000000000) {
        double seconds = (double)(now_ns - since_ns) / 1e9;
        totals_all(service, &totals);
        service->rate.commands_s = (double)(totals.commands - service->rate.commands) / seconds;
        service->rate.input_s = (double)(totals.input_bytes - service->rate.input_bytes) / seconds;
        service->rate.output_s =
            (double)(totals.output_bytes - service->rate.output_bytes) / seconds;
        service->rate.ns = now_ns;
        service->rate.commands = totals.commands;
        service->rate.input_bytes = totals.input_bytes;
        service->rate.output_bytes = totals.output_bytes;
    }
    *commands_s = service->rate.commands_s;
    *input_s = service->rate.input_s;
    *output_s = service->rate.output_s;
    pthread_mutex_unlock(&service->mutex);
}

static uint64_t uptime_seconds(const struct service *service)
{
    return (clock_monotonic_ns(service->options.clock) - service->start_ns) / 1000000000;
}

uint64_t service__resident_bytes(void)
{
    return system_resident_bytes();
}

uint64_t service__peak_bytes(void)
{
    return system_peak_bytes();
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
    line(out, "atomicvar_api:c11-builtin");
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
    line(out, "lru_clock:%" PRIu64, now_ms / 1000 & 0xffffff);
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
    line(out, "wal_blocks_by_workers:%" PRIu64, wal.stood_in);
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
    line(out, "maxclients:%" PRIu64, load_relaxed(&service->settings.clients_max));
    line(out, "client_recent_max_input_buffer:0");
    line(out, "client_recent_max_output_buffer:0");
    line(out, "blocked_clients:%u", blocked);
    line(out, "tracking_clients:%u", load_relaxed(&service->interest.tracking));
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

static unsigned script_count(struct service *service, size_t *bytes)
{
    pthread_mutex_lock(&service->mutex);
    unsigned count = service->script_count;
    *bytes = service->script_bytes;
    pthread_mutex_unlock(&service->mutex);
    return count;
}

static void info_memory(struct service *service, struct mp_buffer *out)
{
    const struct heap *heap = db_heap(service->options.db);
    uint64_t used = heap_used_bytes(heap), resident = service__resident_bytes();
    memory_line(out, "used_memory", used);
    memory_line(out, "used_memory_rss", resident);
    uint64_t peak = service__peak_bytes();
    memory_line(out, "used_memory_peak", peak);
    line(out, "used_memory_peak_perc:%.2f%%", peak ? (double)resident * 100 / (double)peak : 0.0);
    line(out, "used_memory_overhead:0");
    line(out, "used_memory_startup:0");
    line(out, "used_memory_dataset:%" PRIu64, used);
    line(out, "used_memory_dataset_perc:100.00%%");
    line(out, "allocator_allocated:%" PRIu64, used);
    line(out, "allocator_active:%" PRIu64, used);
    line(out, "allocator_resident:%" PRIu64, resident);
    line(out, "allocator_frag_ratio:1.00");
    line(out, "allocator_frag_bytes:0");
    line(out, "allocator_rss_ratio:%.2f", used ? (double)resident / (double)used : 0.0);
    line(out, "allocator_rss_bytes:%" PRId64, (int64_t)resident - (int64_t)used);
    line(out, "rss_overhead_ratio:1.00");
    line(out, "rss_overhead_bytes:0");
    memory_line(out, "total_system_memory",
                (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    memory_line(out, "maxmemory", budget_bytes_max(db_budget(service->options.db)));
    line(out, "maxmemory_policy:%s",
         redis_policy_name(load_relaxed(&service->config.maxmemory_policy)));
    size_t script_bytes;
    unsigned scripts = script_count(service, &script_bytes);
    memory_line(out, "used_memory_scripts", script_bytes);
    line(out, "number_of_cached_scripts:%u", scripts);
    line(out, "mem_fragmentation_bytes:%" PRId64, (int64_t)resident - (int64_t)used);
    line(out, "mem_not_counted_for_evict:0");
    line(out, "mem_replication_backlog:0");
    line(out, "mem_clients_slaves:0");
    line(out, "mem_clients_normal:0");
    line(out, "mem_aof_buffer:0");
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
    line(out, "rdb_last_cow_size:0");
    line(out, "rdb_saves:%" PRIu64, saved.count);
    line(out, "aof_enabled:1");
    line(out, "aof_rewrite_in_progress:0");
    line(out, "aof_rewrite_scheduled:0");
    line(out, "aof_last_rewrite_time_sec:-1");
    line(out, "aof_current_rewrite_time_sec:-1");
    line(out, "aof_last_bgrewrite_status:ok");
    line(out, "aof_last_write_status:%s", wal_failed(service->wal) ? "err" : "ok");
    line(out, "aof_last_cow_size:0");
    line(out, "module_fork_in_progress:0");
    line(out, "module_fork_last_cow_size:0");
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
    struct service_totals totals;
    double commands_s, input_s, output_s;
    totals_sum(service, &totals);
    rate_look(service, &commands_s, &input_s, &output_s);
    uint64_t errors = 0;
    for (unsigned n = 0; n < SERVICE_ERRORS; n++)
        errors += totals.errors[n];
    line(out, "total_connections_received:%" PRIu64, totals.connections);
    line(out, "total_commands_processed:%" PRIu64, totals.commands);
    line(out, "instantaneous_ops_per_sec:%.0f", commands_s);
    line(out, "total_net_input_bytes:%" PRIu64, totals.input_bytes);
    line(out, "total_net_output_bytes:%" PRIu64, totals.output_bytes);
    line(out, "total_net_repl_input_bytes:0");
    line(out, "total_net_repl_output_bytes:0");
    line(out, "instantaneous_input_kbps:%.2f", input_s / 1024);
    line(out, "instantaneous_output_kbps:%.2f", output_s / 1024);
    line(out, "instantaneous_input_repl_kbps:0.00");
    line(out, "instantaneous_output_repl_kbps:0.00");
    line(out, "rejected_connections:%" PRIu64, totals.refused);
    line(out, "moved_connections:%" PRIu64, totals.moved);
    line(out, "balanced_connections:%" PRIu64, totals.balanced);
    line(out, "sync_full:0");
    line(out, "sync_partial_ok:0");
    line(out, "sync_partial_err:0");
    line(out, "expired_keys:%" PRIu64, load_relaxed(&service->keeping.expired_keys));
    line(out, "expired_stale_perc:0.00");
    line(out, "expired_time_cap_reached_count:0");
    line(out, "evicted_keys:%" PRIu64, load_relaxed(&service->keeping.evicted_keys));
    line(out, "ranks_counted:%" PRIu64, load_relaxed(&service->keeping.ranks_counted));
    line(out, "evicted_clients:%" PRIu64, load_relaxed(&service->client_limits.evicted));
    line(out, "client_query_buffer_limit_disconnections:%" PRIu64,
         load_relaxed(&service->client_limits.query_closed));
    line(out, "client_output_buffer_limit_disconnections:%" PRIu64,
         load_relaxed(&service->client_limits.output_closed));
    line(out, "keyspace_hits:%" PRIu64, totals.hits);
    line(out, "keyspace_misses:%" PRIu64, totals.misses);
    uint64_t counts[CHANNELS_KINDS] = {0};
    session__pubsub_counts(service, counts);
    line(out, "pubsub_channels:%" PRIu64, counts[CHANNELS_CHANNEL]);
    line(out, "pubsub_patterns:%" PRIu64, counts[CHANNELS_PATTERN]);
    line(out, "pubsubshard_channels:%" PRIu64, counts[CHANNELS_SHARD]);
    line(out, "latest_fork_usec:0");
    line(out, "total_forks:0");
    line(out, "migrate_cached_sockets:0");
    line(out, "slave_expires_tracked_keys:0");
    line(out, "active_defrag_hits:0");
    line(out, "active_defrag_misses:0");
    line(out, "active_defrag_key_hits:0");
    line(out, "active_defrag_key_misses:0");
    struct session_tracking_counts tracked;
    session__tracking_counts(service->tracking, &tracked);
    line(out, "tracking_total_keys:%" PRIu64, tracked.keys);
    line(out, "tracking_total_items:%" PRIu64, tracked.items);
    line(out, "tracking_total_prefixes:%" PRIu64, tracked.prefixes);
    line(out, "unexpected_error_replies:0");
    line(out, "total_error_replies:%" PRIu64, errors);
    line(out, "dump_payload_sanitizations:0");
    line(out, "total_reads_processed:%" PRIu64, totals.reads);
    line(out, "total_writes_processed:%" PRIu64, totals.writes);
    line(out, "io_threaded_reads_processed:0");
    line(out, "io_threaded_writes_processed:0");
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
    double us = 1 / service__ticks_a_us();
    for (unsigned n = 0; n < service->command_count + service->subcommand_count; n++) {
        struct service_command_totals totals;
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

/* "p50=1.003,p99=2.007" for the percentiles of the setting. */
static void percentiles_put(const struct service *service,
                            const uint64_t counts[SESSION_HISTOGRAM_BUCKETS], char *out,
                            size_t size)
{
    const char *at = service->percentiles;
    char *end;
    size_t used = 0;
    for (double percentile = strtod(at, &end); end != at; percentile = strtod(at, &end)) {
        used += (size_t)snprintf(out + used, size - used, "%sp%.10g=%.3f", used ? "," : "",
                                 percentile, service__histogram_percentile(counts, percentile));
        at = end;
        if (used + 64 > size)
            break;
    }
}

static void info_latencystats(struct service *service, struct mp_buffer *out)
{
    for (unsigned n = 0; n < service->command_count + service->subcommand_count; n++) {
        uint64_t counts[SESSION_HISTOGRAM_BUCKETS], total = 0;
        char text[768] = "";
        if (!service->commands[n].name)
            continue;
        service__histogram_sum(service, n, counts);
        for (unsigned bucket = 0; bucket < SESSION_HISTOGRAM_BUCKETS; bucket++)
            total += counts[bucket];
        if (!total)
            continue;
        pthread_mutex_lock(&service->mutex);
        percentiles_put(service, counts, text, sizeof text);
        pthread_mutex_unlock(&service->mutex);
        line(out, "latency_percentiles_usec_%s:%s", service->commands[n].name, text);
    }
}

static void info_errorstats(struct service *service, struct mp_buffer *out)
{
    struct service_totals totals;
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

/* For how long the keys that expire will be there, on the average of some of them. */
static uint64_t average_ttl_ms(struct db *db, unsigned database, uint64_t now_ms)
{
    enum { SAMPLES = 64 };
    uint64_t sum = 0, count = 0;
    for (unsigned n = 1; n <= SAMPLES; n++) {
        const struct item *item =
            tree_random(db_redis_expiries(db, database)->tree, n * UINT64_C(0x9e3779b97f4a7c15));
        uint64_t expire_ms = item ? db_redis_expiry_of_entry(item) : 0;
        if (expire_ms > now_ms) {
            sum += expire_ms - now_ms;
            count++;
        }
    }
    return count ? sum / count : 0;
}

/* In a transaction, so that the entries stay while they are looked at. */
static void keyspace_put(struct session *session, struct mp_buffer *out)
{
    struct db *db = session->service->options.db;
    uint64_t now_ms = session__now_ms(session->worker);
    for (unsigned n = 0; n < REDIS_DATABASES; n++) {
        uint64_t keys = txn_head_rows(db_redis_head(db, n));
        uint64_t expires = tree_count(db_redis_expiries(db, n)->tree);
        if (keys)
            line(out, "db%u:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=%" PRIu64, n, keys,
                 expires < keys ? expires : keys, average_ttl_ms(db, n, now_ms));
    }
}

static int info_keyspace(struct session *session, const struct session_request *request,
                         struct mp_buffer *out)
{
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true};
    struct txn *txn = NULL;
    int rc = request->txn ? 0 : txn_begin(session->worker->txn, &options, &txn);
    if (!rc)
        keyspace_put(session, out);
    if (txn)
        txn_rollback(txn);
    return rc;
}

struct section {
    const char *name;
    bool by_default;
    void (*write)(struct service *service, struct mp_buffer *out); /* NULL: info_keyspace */
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
    {"Latencystats", false, info_latencystats},
    {"Cluster", true, info_cluster},
    {"Keyspace", true, NULL},
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
        bool modules =
            arg_is(&(struct redis_slice){section->name, strlen(section->name)}, "modules");
        if (arg_is(arg, section->name) || (arg_is(arg, "all") && !modules) ||
            arg_is(arg, "everything") || (section->by_default && arg_is(arg, "default")))
            return true;
    }
    return false;
}

int session__info(struct session *session, struct session_request *request)
{
    struct mp_buffer text;
    int rc = 0;
    mp_buffer_create(&text);
    for (size_t n = 0; n < sizeof SECTIONS / sizeof *SECTIONS && !rc; n++) {
        if (!section_wanted(&SECTIONS[n], request))
            continue;
        if (text.size)
            mp_put_raw(&text, "\r\n", 2);
        line(&text, "# %s", SECTIONS[n].name);
        if (SECTIONS[n].write)
            SECTIONS[n].write(session->service, &text);
        else
            rc = info_keyspace(session, request, &text);
    }
    if (!rc && text.failed)
        rc = diag_set(ERROR_MEMORY, "out of memory");
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
