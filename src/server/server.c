/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Start and stop, in the order that the parts need.
 *
 *   start   folder, lock ─► address bound ─► log replayed ─► service ─► workers ─► file `address`
 *   stop    workers end (replies sent) ─► service ─► log flushed and closed ─► loops ─► folder
 *
 * The address is bound before the log is read, so that a taken port is told at once. The log writer
 * wakes workers through `net`, which is why the loops go last.
 */
#include "server/server.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/memory.h"
#include "db/tune.h"
#include "io/io_schedule.h"
#include "lua/expression.h"
#include "lua/runtime.h"
#include "mem/budget.h"
#include "net/address.h"
#include "net/net.h"
#include "server/admin_key.h"
#include "server/backup_job.h"
#include "server/folder.h"
#include "server/options_file.h"
#include "server/systemd.h"
#include "session/service.h"

enum {
    WORKERS_MAX = 1024,
    STANDBY_WORKERS = 2, /* serve while as many scripts as there are workers compute */
    OTHER_WORKERS = 2,   /* threads that work with the database and serve nobody: a script's */
    OTHER_FILES = 64,    /* descriptors for all but connections */
    MEMORY_CACHE_PERCENT_MAX = 80,
    MEMORY_LUA_PERCENT_MAX = 15,
    LUA_BYTES_MIN = 8 << 20
};

static const char LOCK_FILE[] = "lock", ADDRESS_FILE[] = "address",
                  ADDRESS_FILE_NEW[] = "address.new", SOCKET_FILE[] = "socket";

struct setting_text {
    struct setting_text *next;
    char text[OPTIONS_TEXT_MAX + 1];
};

struct server {
    const struct options *options;
    struct clock *clock;
    unsigned worker_count;
    struct io *io;
    struct io_scheduler *scheduler;
    struct io *archive; /* NULL: none */
    struct db *db;
    struct backup_job *backups;
    struct db_open_stats opened;
    struct service *service;
    _Atomic(struct net *) net;
    int stopped; /* an eventfd: the last worker has ended */
    struct service_fact variants[4];
    struct service_fact settings[OPTIONS_COUNT];
    char setting_texts[OPTIONS_COUNT][OPTIONS_TEXT_MAX + 1];
    struct setting_text *setting_changes; /* texts of those that have changed since then */
    char address[ADDRESS_TEXT_MAX + 1];
    char admin_key[ADMIN_KEY_SIZE + 1]; /* "": none */
    char executable[256];
    pthread_mutex_t settings_mutex; /* one rewrites the file of options at a time */
};

/* -------------------------------------------------------------------------------------- signals */

static void signals_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

void server_signals_block(void)
{
    sigset_t set;
    signals_set(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

void server_signals_unblock(void)
{
    sigset_t set;
    signals_set(&set);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* -------------------------------------------------------------------------------------- opening */

static unsigned core_count(void)
{
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores))
        return 1;
    int count = CPU_COUNT(&cores);
    return count > 0 ? (unsigned)count : 1;
}

/* The log writer's thread, or that of who stands in for it. */
static void on_advance(void *arg)
{
    struct server *server = arg;
    struct net *net = load_acquire(&server->net);
    if (net)
        net_wake(net);
}

/* A worker's thread. */
static void on_stopped(void *arg)
{
    struct server *server = arg;
    eventfd_write(server->stopped, 1);
}

static void on_shutdown(void *arg)
{
    struct server *server = arg;
    log_info("SHUTDOWN was asked for by a client");
    systemd_notify("STOPPING=1");
    net_stop(load_acquire(&server->net), false);
}

static int data_folder_open(struct server *server)
{
    int rc = io_posix_new(server->options->dir, true, &server->io);
    if (!rc)
        rc = folder_refuse_backup(server->options->dir, server->io);
    if (rc)
        return rc;
    rc = io_lock(server->io, LOCK_FILE);
    if (rc == ERROR_LOCKED)
        return diag_set(rc, "%s is in use by another perigee; choose another folder with --dir",
                        server->options->dir);
    return rc;
}

static struct io_limits io_limits_of(const struct options *options)
{
    struct io_limits limits;
    io_limits_default(&limits);
    limits.depth = options->io_depth;
    limits.classes[IO_BACKGROUND].bytes_per_second = options->background_rate;
    limits.classes[IO_USER].bytes_per_second = options->user_rate;
    return limits;
}

/* For the files of the data folder, which come and go from now on. */
static int scheduler_open(struct server *server)
{
    const struct options *options = server->options;
    struct io_scheduler_options scheduler = {.allow_uring = true};
    scheduler.limits = io_limits_of(options);
    return io_scheduler_new(server->io, &scheduler, &server->scheduler);
}

static struct tls_options tls_options(const struct options *options)
{
    return (struct tls_options){.certificate = options->tls_certificate,
                                .key = options->tls_key,
                                .ca = options->tls_ca,
                                .clients = (enum tls_clients)options->tls_clients};
}

static int address_bind(struct server *server)
{
    char path[512];
    const struct tls_options tls = tls_options(server->options);
    snprintf(path, sizeof path, "%s/%s", server->options->dir, SOCKET_FILE);
    const struct net_options options = {
        .listen = server->options->listen,
        .own_path = path,
        .tls = &tls,
        .tls_user = (enum tls_name)server->options->tls_user,
        .worker_count = server->worker_count,
        .standby_count = STANDBY_WORKERS,
        .password = *server->options->password != 0,
        .stop_time_max_ms = (unsigned)server->options->stop_time_max,
        .balance = server->options->balance != 0,
        .on_stopped = on_stopped,
        .arg = server,
    };
    struct net *net;
    int rc = net_new(&options, &net);
    if (!rc)
        store_release(&server->net, net);
    return rc;
}

/* What goes to the archive is not what is in the folder: one would be lost with the other. */
static int archive_open(struct server *server)
{
    struct stat data, archive;
    const struct options *options = server->options;
    if (!*options->archive)
        return 0;
    int rc = io_posix_new(options->archive, false, &server->archive);
    if (!rc && stat(options->dir, &data) == 0 && stat(options->archive, &archive) == 0 &&
        data.st_dev == archive.st_dev && data.st_ino == archive.st_ino)
        rc = diag_set(ERROR_INVALID, "the options dir and archive name the same folder, %s",
                      options->dir);
    return rc;
}

static int backup_start(void *arg, const char *target, const char *base)
{
    return backup_job_start(((struct server *)arg)->backups, target, base);
}

static void backup_status(void *arg, struct service_backup *out)
{
    backup_job_status(((struct server *)arg)->backups, out);
}

static int database_open(struct server *server)
{
    const struct db_options options = {
        .io = server->io,
        .clock = server->clock,
        .durability = (enum wal_durability)server->options->durability,
        .worker_max = server->worker_count + STANDBY_WORKERS + OTHER_WORKERS,
        .memory_max = server->options->memory_max,
        .memory_cache = server->options->memory_cache,
        .cache_policy = cache_policy_name((unsigned)server->options->cache_policy),
        .memory_lua = server->options->memory_lua,
        .tuned = server->options->tuner,
        .tuner_limits = server->options->tuner_limits,
        .log_segment_bytes = server->options->log_segment_max,
        .log_archive = server->archive,
        .log_compression = server->options->log_compression,
        .watch_log_bytes = server->options->watch_log_max,
        .checkpoint = {.log_bytes = server->options->checkpoint_log_bytes,
                       .interval_ms = server->options->checkpoint_interval,
                       .rate = server->options->checkpoint_rate,
                       .threads = server->options->compaction_threads},
        .on_advance = on_advance,
        .arg = server,
        .expressions = lua_expressions(),
    };
    int rc = db_open(&options, &server->opened, &server->db);
    return rc ? rc : backup_job_new(server->db, server->options->backup_dir, &server->backups);
}

static unsigned worker_count(const struct options *options)
{
    return options->workers ? options->workers : core_count();
}

/* What each worker's Lua may have: its own limit, or its part of the budget, if that is less. */
static uint64_t lua_bytes_max(const struct options *options)
{
    uint64_t parts[BUDGET_PARTS];
    budget_split(options->memory_max, options->memory_cache, options->memory_lua, parts);
    uint64_t part = parts[BUDGET_LUA] / worker_count(options);
    return parts[BUDGET_LUA] > 0 && part < options->lua_memory_max ? part : options->lua_memory_max;
}

static int memory_check(const struct options *options)
{
    if (options->memory_cache > MEMORY_CACHE_PERCENT_MAX)
        return diag_set(ERROR_INVALID, "option 'memory_cache' is at most %d percent, not %u",
                        MEMORY_CACHE_PERCENT_MAX, options->memory_cache);
    if (options->memory_lua > MEMORY_LUA_PERCENT_MAX)
        return diag_set(ERROR_INVALID, "option 'memory_lua' is at most %d percent, not %u",
                        MEMORY_LUA_PERCENT_MAX, options->memory_lua);
    if (options->memory_max > 0 && options->memory_lua > 0 &&
        lua_bytes_max(options) < LUA_BYTES_MIN && options->lua_memory_max >= LUA_BYTES_MIN)
        return diag_set(
            ERROR_INVALID,
            "option 'memory_lua': %u percent of memory_max leave %llu bytes for the Lua "
            "of each of %u workers, which needs %d",
            options->memory_lua, (unsigned long long)lua_bytes_max(options), worker_count(options),
            LUA_BYTES_MIN);
    return 0;
}

int server_open(const struct options *options, struct clock *clock, bool listen,
                struct server **out)
{
    if (options->workers > WORKERS_MAX)
        return diag_set(ERROR_INVALID, "option 'workers' is at most %d, not %u", WORKERS_MAX,
                        options->workers);
    int rc = memory_check(options);
    if (rc)
        return rc;
    struct server *server = calloc(1, sizeof *server);
    if (!server)
        return diag_set(ERROR_MEMORY, "out of memory");
    pthread_mutex_init(&server->settings_mutex, NULL);
    server->options = options;
    server->clock = clock ? clock : clock_system();
    server->worker_count = worker_count(options);
    server->stopped = eventfd(0, EFD_CLOEXEC);
    rc =
        server->stopped < 0 ? diag_set_errno(ERROR_IO, errno, "eventfd") : data_folder_open(server);
    if (!rc)
        rc = scheduler_open(server);
    if (!rc && listen)
        rc = address_bind(server);
    if (!rc)
        rc = archive_open(server);
    if (!rc)
        rc = database_open(server);
    if (!rc && listen)
        rc = server_listen(server);
    if (rc) {
        char message[DIAG_MESSAGE_MAX];
        snprintf(message, sizeof message, "%s", diag_message_for(rc));
        server_close(server);
        return diag_set(rc, "%s", message);
    }
    *out = server;
    return 0;
}

/* -------------------------------------------------------------------------------------- serving */

/* Each connection takes a descriptor. */
static void descriptors_raise(unsigned clients)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)clients + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted)
        log_warn("the system lets this process have %llu files: fewer than %u clients can connect",
                 (unsigned long long)limit.rlim_cur, clients);
}

static void facts_fill(struct server *server)
{
    server->variants[0] = (struct service_fact){"luajit", lua_runtime_variant()};
    server->variants[1] =
        (struct service_fact){"log_writes", load_relaxed(&server->io->queue_variant)};
    server->variants[2] =
        (struct service_fact){"log_files", load_relaxed(&server->io->direct_variant)};
    server->variants[3] =
        (struct service_fact){"file_operations", io_scheduler_variant(server->scheduler)};
    for (size_t n = 0; n < OPTIONS_COUNT; n++) {
        options_format(server->options, n, server->setting_texts[n]);
        server->settings[n] = (struct service_fact){options_name(n), server->setting_texts[n]};
    }
    ssize_t size = readlink("/proc/self/exe", server->executable, sizeof server->executable - 1);
    server->executable[size > 0 ? size : 0] = 0;
}

static void on_password_changed(void *arg, bool any)
{
    struct server *server = arg;
    struct net *net = load_acquire(&server->net);
    if (net)
        net_password_set(net, any);
}

/* What counts more than a file makes what is written into one useless at the next start. */
static void source_warn(const struct server *server, const char *name)
{
    const struct options *options = server->options;
    unsigned source = OPTIONS_DEFAULT;
    for (size_t n = 0; n < OPTIONS_COUNT; n++)
        if (strcmp(options_name(n), name) == 0)
            source = options->source[n];
    for (size_t n = 0; n < options->setting_count; n++)
        if (strcmp(options->settings[n].name, name) == 0)
            source = options->settings[n].source;
    if (source > OPTIONS_FILE)
        log_warn("'%s' was written into the file of options, but %s has it, too, and counts more",
                 name, source == OPTIONS_ARGUMENT ? "the command line" : "the environment");
}

/* Options are written under their own names, the others under Redis's, with underscores. */
static int settings_write(void *arg, const struct service_fact *settings, size_t count)
{
    struct server *server = arg;
    struct options_pair *pairs = calloc(count + 1, sizeof *pairs);
    char path[PATH_MAX];
    int rc = pairs ? 0 : diag_set(ERROR_MEMORY, "out of memory");
    for (size_t n = 0; n < count && !rc; n++)
        pairs[n] = (struct options_pair){options_canonical(settings[n].name), settings[n].value};
    options_file(server->options, path);
    pthread_mutex_lock(&server->settings_mutex);
    if (!rc)
        rc = options_file_rewrite(path, pairs, count);
    pthread_mutex_unlock(&server->settings_mutex);
    for (size_t n = 0; n < count && !rc; n++)
        source_warn(server, options_canonical(settings[n].name));
    free(pairs);
    return rc;
}

static int service_open(struct server *server)
{
    const struct options *options = server->options;
    facts_fill(server);
    const struct service_options service = {
        .db = server->db,
        .clock = server->clock,
        .password = options->password,
        .admin_key = server->admin_key,
        .limits = {.request_bytes_max = options->request_max,
                   .clients_max = options->clients_max,
                   .lua_time_max_ms = (unsigned)options->lua_time_max,
                   .lua_memory_max_bytes = lua_bytes_max(options),
                   .subscriber_bytes_max = options->subscriber_max,
                   .lock_timeout_ms = (unsigned)options->lock_timeout,
                   .transaction_idle_max_ms = (unsigned)options->transaction_idle_max,
                   .transaction_time_max_ms = (unsigned)options->transaction_time_max,
                   .snapshot_age_max_ms = (unsigned)options->snapshot_age_max},
        .worker_max = server->worker_count,
        .standby_max = STANDBY_WORKERS,
        .version = PERIGEE_VERSION,
        .executable = server->executable,
        .config_file = options->config,
        .fio_dir = options->fio_dir,
        .durability = server->setting_texts[OPTIONS_durability],
        .port = net_port(server->net),
        .variants = server->variants,
        .variant_count = sizeof server->variants / sizeof *server->variants,
        .settings = server->settings,
        .setting_count = OPTIONS_COUNT,
        .shutdown = on_shutdown,
        .backup_start = backup_start,
        .backup_status = backup_status,
        .settings_write = settings_write,
        .password_changed = on_password_changed,
        .arg = server,
    };
    int rc = service_new(&service, &server->service);
    for (size_t n = 0; n < options->setting_count && !rc; n++)
        rc = service_setting_set(server->service, options->settings[n].name,
                                 options->settings[n].value);
    return rc;
}

/* For those who look for the server of a folder: where its console connects to. */
static int address_write(struct server *server)
{
    struct address address;
    struct io_file *file;
    if (!*net_own_address(server->net))
        return 0;
    int rc = address_parse(net_own_address(server->net), &address);
    if (rc)
        return rc;
    address_reachable(&address);
    address_format(&address, server->address);
    char line[ADDRESS_TEXT_MAX + 2];
    int size = snprintf(line, sizeof line, "%s\n", server->address);
    rc = io_open(server->io, ADDRESS_FILE_NEW, IO_WRITE | IO_CREATE | IO_TRUNCATE, &file);
    if (rc)
        return rc;
    rc = io_write(file, line, (size_t)size, 0);
    io_close(file);
    return rc ? rc : io_rename(server->io, ADDRESS_FILE_NEW, ADDRESS_FILE);
}

int server_listen(struct server *server)
{
    int rc = server->net ? 0 : address_bind(server);
    if (rc)
        return rc;
    descriptors_raise(server->options->clients_max);
    rc = admin_key_make(server->io, server->admin_key);
    if (!rc)
        rc = service_open(server);
    if (!rc)
        rc = net_start(server->net, server->service);
    if (!rc)
        rc = address_write(server);
    return rc;
}

/* What clients are shown of it. They may be reading what it was. */
static int fact_change(struct server *server, size_t number)
{
    struct setting_text *change = malloc(sizeof *change);
    if (!change)
        return diag_set(ERROR_MEMORY, "out of memory");
    options_format(server->options, number, change->text);
    if (strcmp(change->text, load_relaxed(&server->settings[number].value)) == 0) {
        free(change);
        return 0;
    }
    change->next = server->setting_changes;
    server->setting_changes = change;
    store_release(&server->settings[number].value, change->text);
    return 0;
}

int server_option_changed(struct server *server, size_t number)
{
    const struct options *options = server->options;
    switch (number) {
    case OPTIONS_log_level:
        log_level_set((enum log_level)options->log_level);
        break;
    case OPTIONS_memory_max:
        db_memory_max_set(server->db, options->memory_max);
        break;
    case OPTIONS_cache_policy: {
        int rc =
            db_cache_policy_set(server->db, cache_policy_name((unsigned)options->cache_policy));
        if (rc)
            return rc;
        break;
    }
    case OPTIONS_tuner:
        tuner_switch(db_tuner(server->db), options->tuner);
        break;
    case OPTIONS_io_depth:
    case OPTIONS_background_rate:
    case OPTIONS_user_rate: {
        const struct io_limits limits = io_limits_of(options);
        io_scheduler_limit(server->scheduler, &limits);
        break;
    }
    default:
        ASSERT(options_change(number) != OPTIONS_CHANGE_ANY);
    }
    return server->service ? fact_change(server, number) : 0;
}

bool server_listens(const struct server *server)
{
    return server->service != NULL;
}

const char *server_address(const struct server *server)
{
    return server->address;
}

struct db *server_db(struct server *server)
{
    return server->db;
}

static void bytes_format(uint64_t bytes, char out[32])
{
    static const char *const UNITS[] = {"bytes", "KB", "MB", "GB", "TB"};
    double value = (double)bytes;
    unsigned unit = 0;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    snprintf(out, 32, unit ? "%.1f %s" : "%.0f %s", value, UNITS[unit]);
}

void server_describe(struct server *server, char *out, size_t size)
{
    char log[32], listens[512];
    struct wal_stats stats;
    wal_stats_get(db_wal(server->db), &stats);
    bytes_format(stats.log_bytes, log);
    net_listen_text(server->net, listens, sizeof listens);
    snprintf(out, size, "listening on %s, %u worker%s, dir %s, log %s", listens,
             server->worker_count, server->worker_count == 1 ? "" : "s", server->options->dir, log);
}

/* ------------------------------------------------------------------------------------- stopping */

static void reload(struct server *server)
{
    char text[64];
    const struct tls_options tls = tls_options(server->options);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)clock_monotonic_ns(clock_system()) / 1000);
    systemd_notify(text);
    int rc = net_tls_reload(server->net, &tls);
    if (rc)
        log_error("signal %d: the certificates stay as they were: %s", SIGHUP,
                  diag_message_for(rc));
    else
        log_info("signal %d: certificates have been read again", SIGHUP);
    systemd_notify("READY=1");
}

static void ready_tell(struct server *server)
{
    char listens[512], text[600];
    net_listen_text(server->net, listens, sizeof listens);
    snprintf(text, sizeof text, "READY=1\nSTATUS=listening on %s", listens);
    systemd_notify(text);
}

/* One of those that server_wait waits for has come. */
static void signal_take(struct server *server, int signals, unsigned *count)
{
    struct signalfd_siginfo signal;
    if (read(signals, &signal, sizeof signal) <= 0)
        return;
    if (signal.ssi_signo == SIGHUP) {
        reload(server);
        return;
    }
    ++*count;
    log_info("signal %u: stopping%s", signal.ssi_signo, *count > 1 ? " without waiting" : "");
    systemd_notify("STOPPING=1");
    net_stop(server->net, *count > 1);
}

/* The time of poll: what the caller's turn says, but not beyond the watchdog's. */
static int wait_ms(int turn_ms, uint64_t watchdog_ms)
{
    int quarter = watchdog_ms < 4               ? 1
                  : watchdog_ms / 4 < INT32_MAX ? (int)(watchdog_ms / 4)
                                                : INT32_MAX;
    if (watchdog_ms == 0 || (turn_ms >= 0 && turn_ms < quarter))
        return turn_ms;
    return quarter;
}

void server_wait(struct server *server, const struct server_meanwhile *meanwhile)
{
    sigset_t set;
    signals_set(&set);
    server_signals_block();
    int signals = signalfd(-1, &set, SFD_CLOEXEC);
    struct pollfd polls[] = {{.fd = server->stopped, .events = POLLIN},
                             {.fd = signals, .events = POLLIN},
                             {.fd = -1, .events = POLLIN}};
    uint64_t watchdog_ms = systemd_watchdog_ms(), told_ms = 0;
    unsigned count = 0;
    ready_tell(server);
    for (;;) {
        int timeout_ms = meanwhile ? meanwhile->turn(meanwhile->arg) : -1;
        if (meanwhile)
            polls[2].fd = meanwhile->fd(meanwhile->arg);
        int ready = poll(polls, 3, wait_ms(timeout_ms, watchdog_ms));
        uint64_t now_ms = clock_monotonic_ns(clock_system()) / 1000000;
        if (ready >= 0 && polls[0].revents & POLLIN)
            break;
        if (watchdog_ms && now_ms - told_ms >= watchdog_ms / 4) {
            told_ms = now_ms;
            if (count > 0 || net_is_alive(server->net))
                systemd_notify("WATCHDOG=1");
        }
        if (ready > 0 && polls[1].revents & POLLIN)
            signal_take(server, signals, &count);
    }
    close(signals);
}

void server_stop(struct server *server)
{
    if (!server_listens(server))
        return;
    net_stop(server->net, false);
    net_join(server->net);
}

int server_close(struct server *server)
{
    int rc = 0;
    struct net *net = server->net;
    if (server->address[0])
        io_unlink(server->io, ADDRESS_FILE);
    if (server->admin_key[0])
        admin_key_forget(server->io);
    if (net) {
        net_stop(net, true);
        net_join(net);
    }
    if (server->service)
        service_delete(server->service);
    backup_job_delete(server->backups);
    if (server->db)
        rc = db_close(server->db);
    if (server->archive)
        io_delete(server->archive);
    net_delete(net);
    if (server->scheduler)
        io_scheduler_delete(server->scheduler);
    if (server->io)
        io_delete(server->io);
    if (server->stopped >= 0)
        close(server->stopped);
    pthread_mutex_destroy(&server->settings_mutex);
    while (server->setting_changes) {
        struct setting_text *change = server->setting_changes;
        server->setting_changes = change->next;
        free(change);
    }
    free(server);
    return rc;
}
