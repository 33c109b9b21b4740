/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a process serves, and what each of its threads needs for it.
 *
 * Shared and written while running: the list of clients and the store of scripts under the mutex, a
 * few relaxed counters, and each worker's statistics, written by it alone and summed by whoever
 * asks (invariant 28).
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "db/memory.h"
#include "redis/redis_scan.h"
#include "session/session_internal.h"

/* --------------------------------------------------------------------------------- the service */

static struct service_limits limits_or_defaults(struct service_limits limits)
{
    if (!limits.request_bytes_max)
        limits.request_bytes_max = 512ul << 20;
    if (!limits.output_bytes_max)
        limits.output_bytes_max = 1ul << 30;
    if (!limits.output_bytes_pause)
        limits.output_bytes_pause = 64ul << 20;
    if (!limits.subscriber_bytes_max)
        limits.subscriber_bytes_max = 32ul << 20;
    if (!limits.group_us_max)
        limits.group_us_max = 200;
    if (!limits.clients_max)
        limits.clients_max = 10000;
    if (!limits.lua_time_max_ms)
        limits.lua_time_max_ms = 5000;
    return limits;
}

static uint64_t receivers(void *arg, const char *channel, size_t size, bool shard)
{
    return session__receivers(arg, channel, size, shard);
}

static void run_id_make(char run_id[41])
{
    struct random random;
    random_create(&random, random_seed());
    for (unsigned n = 0; n < 40; n++)
        run_id[n] = "0123456789abcdef"[random_below(&random, 16)];
    run_id[40] = 0;
}

int service_new(const struct service_options *options, struct service **out)
{
    struct service *service =
        aligned_alloc(CACHE_LINE_SIZE,
                      (sizeof *service + CACHE_LINE_SIZE - 1) / CACHE_LINE_SIZE * CACHE_LINE_SIZE);
    if (!service)
        return diag_set(ERROR_MEMORY, "out of memory");
    memset(service, 0, sizeof *service);
    service->options = *options;
    service->limits = limits_or_defaults(options->limits);
    service->password = strdup(options->password ? options->password : "");
    if (!service->password) {
        free(service);
        return diag_set(ERROR_MEMORY, "out of memory");
    }
    store_relaxed(&service->password_size, strlen(service->password));
    if (!service->options.version)
        service->options.version = "";
    service->wal = db_wal(options->db);
    service->audience = (struct redis_audience){receivers, service};
    redis_config_create(&service->config);
    session__slowlog_create(&service->slowlog);
#define X(name, field, value) store_relaxed(&service->hints.field, value);
    SERVICE_HINT_SWITCHES(X)
    SERVICE_HINT_NUMBERS(X)
#undef X
    store_relaxed(&service->hints.busy_reply_threshold, service->limits.lua_time_max_ms);
    store_relaxed(&service->settings.slowlog_slower_us, 10000);
    store_relaxed(&service->settings.slowlog_max, 128);
    store_relaxed(&service->settings.tracking_keys_max, 1000000);
    store_relaxed(&service->settings.clients_max, service->limits.clients_max);
    store_relaxed(&service->settings.keepalive_s, 300);
    store_relaxed(&service->latency_tracking, true);
    snprintf(service->percentiles, sizeof service->percentiles, "50 99 99.9");
    service__slow_set(service);
    session__limits_create(&service->client_limits, &service->limits);
    store_relaxed(&service->config.proto_max_bulk_len, service->limits.request_bytes_max);
    store_relaxed(&service->config.maxmemory, budget_bytes_max(db_budget(options->db)));
    redis_housekeeping_create(&service->keeping, &service->config, &service->interest);
    service->start_ms = clock_realtime_ms(options->clock);
    store_relaxed(&service->config.started_ms, service->start_ms);
    service->start_ns = clock_monotonic_ns(options->clock);
    service->start_ticks = clock_ticks();
    store_relaxed(&service->port, options->port);
    run_id_make(service->run_id);
    pthread_mutex_init(&service->mutex, NULL);
    list_create(&service->clients);
    service__commands_fill(service);
    service->worker_count = options->worker_max + options->standby_max;
    service->workers = calloc(service->worker_count, sizeof(struct session_worker *));
    service->scripts = calloc(SERVICE_SCRIPTS_MAX, sizeof *service->scripts);
    int rc = service->workers && service->scripts ? 0 : diag_set(ERROR_MEMORY, "out of memory");
    if (!rc)
        rc = redis_scans_new(&service->scans);
    if (!rc && !(service->acl_log = session__acl_log_new()))
        rc = diag_set(ERROR_MEMORY, "out of memory");
    if (!rc && !(service->tracking = session__tracking_new(&service->interest)))
        rc = diag_set(ERROR_MEMORY, "out of memory");
    if (!rc && !(service->blocks = session__blocks_new()))
        rc = diag_set(ERROR_MEMORY, "out of memory");
    if (!rc)
        rc = session__auth_new(&service->auth);
    if (!rc)
        rc = lua_watchdog_new(session__running_look, service, &service->watchdog);
    if (rc) {
        service_delete(service);
        return rc;
    }
    *out = service;
    return 0;
}

void service_delete(struct service *service)
{
    ASSERT(list_empty(&service->clients));
    for (unsigned n = 0; service->workers && n < service->worker_count; n++)
        ASSERT(!service->workers[n]);
    if (service->watchdog)
        lua_watchdog_delete(service->watchdog);
    session__auth_delete(service->auth);
    redis_scans_delete(service->scans);
    session__acl_log_delete(service->acl_log);
    session__tracking_delete(service->tracking);
    session__blocks_delete(service->blocks);
    for (unsigned n = 0; n < service->script_count; n++)
        free(service->scripts[n].source);
    session__slowlog_destroy(&service->slowlog);
    service__histograms_destroy(service);
    explicit_bzero(service->password, strlen(service->password));
    free(service->password);
    free(service->scripts);
    free(service->workers);
    pthread_mutex_destroy(&service->mutex);
    free(service);
}

struct db *service_db(struct service *service)
{
    return service->options.db;
}

void service_port_set(struct service *service, unsigned port)
{
    store_relaxed(&service->port, port);
}

void service_loading_set(struct service *service, bool loading)
{
    store_relaxed(&service->loading, loading);
}

unsigned service_keepalive_s(const struct service *service)
{
    return (unsigned)load_relaxed(&service->settings.keepalive_s);
}

unsigned service_client_count(const struct service *service)
{
    return load_relaxed(&service->client_count);
}

/* ---------------------------------------------------------------------------------- its workers */

static int worker_register(struct service *service, struct session_worker *worker)
{
    int rc = ERROR_INVALID;
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count && rc; n++) {
        if (service->workers[n])
            continue;
        service->workers[n] = worker;
        rc = 0;
    }
    pthread_mutex_unlock(&service->mutex);
    return rc ? diag_set(ERROR_INVALID, "all %u workers are open", service->worker_count) : 0;
}

static void worker_unregister(struct session_worker *worker)
{
    struct service *service = worker->service;
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count; n++)
        if (service->workers[n] == worker)
            service->workers[n] = NULL;
    if (service->host == worker)
        service->host = NULL;
    pthread_mutex_unlock(&service->mutex);
}

/* On any worker: the host has modules to look at. */
static void on_schema_changed(void *arg)
{
    struct service *service = arg;
    pthread_mutex_lock(&service->mutex);
    if (service->host)
        session__worker_wake(service->host);
    pthread_mutex_unlock(&service->mutex);
}

static int worker_lua_open(struct session_worker *worker)
{
    struct service *service = worker->service;
    const struct lua_runtime_options options = {
        .worker = worker->db,
        .watchdog = service->watchdog,
        .time_max_ms = service->limits.lua_time_max_ms,
        .lock_timeout_ms =
            service->limits.lock_timeout_ms ? service->limits.lock_timeout_ms : UINT64_MAX,
        .memory_bytes_max = service->limits.lua_memory_max_bytes,
        .transaction_idle_max_ms = service->limits.transaction_idle_max_ms,
        .fio_dir = service->options.fio_dir,
        .callbacks = {.info = session__lua_info,
                      .command_taken = session__lua_command_taken,
                      .server_command = session__lua_server_command,
                      .before_command = session__lua_before,
                      .options = session__lua_options,
                      .schema_changed = on_schema_changed,
                      .session = session__lua_session,
                      .session_kept = session__lua_session_kept,
                      .arg = service,
                      .lookups = &worker->stats.lookups,
                      .audience = &service->audience,
                      .interest = &service->interest,
                      .config = &service->config},
    };
    return lua_runtime_new(&options, &worker->lua);
}

int session_worker_open(struct service *service, void *user, struct session_worker **out)
{
    size_t size =
        (sizeof(struct session_worker) + CACHE_LINE_SIZE - 1) / CACHE_LINE_SIZE * CACHE_LINE_SIZE;
    struct session_worker *worker = aligned_alloc(CACHE_LINE_SIZE, size);
    if (!worker)
        return diag_set(ERROR_MEMORY, "out of memory");
    memset(worker, 0, size);
    worker->service = service;
    worker->user = user;
    json_buffer_create(&worker->taken);
    json_buffer_create(&worker->text);
    mp_buffer_create(&worker->args);
    mp_buffer_create(&worker->result);
    mp_buffer_create(&worker->monitored);
    list_create(&worker->ready);
    list_create(&worker->turn);
    list_create(&worker->waits);
    list_create(&worker->streams);
    list_create(&worker->excessive);
    list_create(&worker->woken);
    worker->due_ns = load_relaxed(&service->settings.timeout_s) ? 0 : UINT64_MAX;
    pthread_mutex_init(&worker->wake_mutex, NULL);
    session__pubsub_create(&worker->pubsub);
    int rc = db_worker_open(service->options.db, &worker->db);
    if (!rc) {
        worker->txn = db_worker_txn(worker->db);
        rc = worker_lua_open(worker);
    }
    if (!rc)
        rc = worker_register(service, worker);
    if (rc) {
        session_worker_close(worker);
        return rc;
    }
    *out = worker;
    return 0;
}

void session_worker_close(struct session_worker *worker)
{
    worker_unregister(worker);
    if (worker->lua)
        lua_runtime_delete(worker->lua);
    if (worker->db)
        db_worker_close(worker->db);
    session__modules_destroy(&worker->modules);
    session__histograms_destroy(worker);
    json_buffer_destroy(&worker->taken);
    json_buffer_destroy(&worker->text);
    mp_buffer_destroy(&worker->args);
    mp_buffer_destroy(&worker->result);
    mp_buffer_destroy(&worker->monitored);
    session__acls_destroy(&worker->acls);
    session__pubsub_destroy(&worker->pubsub);
    pthread_mutex_destroy(&worker->wake_mutex);
    free(worker);
}

struct service *session_worker_service(struct session_worker *worker)
{
    return worker->service;
}

struct db_worker *session_worker_db(struct session_worker *worker)
{
    return worker->db;
}

struct lua_runtime *session_worker_lua(struct session_worker *worker)
{
    return worker->lua;
}

/* ---------------------------------------------------------------- what happens besides input */

void service_wake_set(struct service *service, void (*wake)(void *user))
{
    service->wake = wake;
}

void service_remotes_set(struct service *service, remote_open_fn *open)
{
    service->remote_open = open;
}

void session__worker_wake(struct session_worker *worker)
{
    if (worker->service->wake)
        worker->service->wake(worker->user);
}

void session__ready(struct session *session)
{
    if (list_empty(&session->ready))
        list_add_tail(&session->worker->ready, &session->ready);
}

static void limits_look(struct session_worker *worker)
{
    if (worker->due_ns == UINT64_MAX)
        return;
    uint64_t now_ns = clock_monotonic_ns(worker->service->options.clock);
    if (now_ns < worker->due_ns)
        return;
    worker->due_ns = UINT64_MAX;
    session__due_at(worker, session__waits_expire(worker, now_ns));
    session__due_at(worker, session__streams_expire(worker, now_ns));
    session__due_at(worker, session__idle_close(worker, now_ns));
    session__due_at(worker, session__limits_expire(worker, now_ns));
}

void session_worker_run(struct session_worker *worker,
                        void (*ready)(struct session *session, void *arg), void *arg)
{
    session__deferred_run(worker);
    session__start_event(worker);
    lua_runtime_run(worker->lua);
    if (load_relaxed(&worker->stirred)) {
        store_seq_cst(&worker->stirred, false); /* who comes later wakes again */
        session__waits_take(worker);
        session__inbox_take(worker);
        session__orders_take(worker);
        session__monitors_take(worker);
    }
    limits_look(worker);
    redis_housekeeping_run(&worker->service->keeping, worker->db);
    struct list *link; /* what becomes ready again meanwhile has its turn later */
    while ((link = list_first(&worker->ready)) != NULL) {
        list_remove(link);
        list_add_tail(&worker->turn, link);
    }
    while ((link = list_first(&worker->turn)) != NULL) {
        list_remove(link);
        ready(list_entry(link, struct session, ready), arg);
    }
    if (!list_empty(&worker->ready))
        session__worker_wake(worker);
}

bool session_worker_deferred(const struct session_worker *worker)
{
    return txn_deferred_pending(db_txn_system(worker->service->options.db));
}

uint64_t session_worker_due_ms(const struct session_worker *worker)
{
    const struct service *service = worker->service;
    uint64_t fibers_ms = lua_runtime_due_ms(worker->lua);
    uint64_t due_ns = redis_housekeeping_due_ns(&service->keeping, service->options.db);
    due_ns = worker->due_ns < due_ns ? worker->due_ns : due_ns;
    if (due_ns == UINT64_MAX)
        return fibers_ms;
    uint64_t now_ns = clock_monotonic_ns(service->options.clock);
    uint64_t due_ms = now_ns >= due_ns ? 0 : (due_ns - now_ns) / 1000000 + 1;
    return due_ms < fibers_ms ? due_ms : fibers_ms;
}

bool session_worker_collect(struct session_worker *worker)
{
    enum { ROWS_A_TIME = 256 };
    return txn_collect(worker->txn, ROWS_A_TIME) > 0;
}

void session_worker_rest(struct session_worker *worker)
{
    txn_worker_rest(worker->txn);
}

/* ----------------------------------------------------------------------------------- statistics */

static const char *const ERROR_PREFIXES[] = {
    "ERR",       "WRONGTYPE", "NOAUTH",   "WRONGPASS", "NOPROTO",     "NOSCRIPT",
    "EXECABORT", "OOM",       "MISCONF",  "BUSY",      "READONLY",    "NOPERM",
    "LOADING",   "UNKNOWN",   "CONFLICT", "DEADLOCK",  "LOCKTIMEOUT", "OTHER"};
enum { ERROR_PREFIX_COUNT = sizeof ERROR_PREFIXES / sizeof *ERROR_PREFIXES };
STATIC_ASSERT((int)ERROR_PREFIX_COUNT <= (int)SERVICE_ERRORS);

unsigned service__error_slot(const char *prefix, size_t size)
{
    for (unsigned n = 0; n < ERROR_PREFIX_COUNT - 1; n++)
        if (strlen(ERROR_PREFIXES[n]) == size && memcmp(ERROR_PREFIXES[n], prefix, size) == 0)
            return n;
    return ERROR_PREFIX_COUNT - 1;
}

const char *service__error_name(unsigned slot)
{
    return slot < ERROR_PREFIX_COUNT ? ERROR_PREFIXES[slot] : NULL;
}
