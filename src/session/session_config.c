/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CONFIG: Redis's names for what can be set here, in one table.
 *
 * A row is a field of the service, which is a relaxed atomic and read wherever it matters, or a text
 * that is fixed for the process's life. Setting one of those to what it is already succeeds, since
 * tools set `save` and `appendonly` to be sure of them. The options of the process that have no
 * name of Redis's follow under their own names. What Redis has names for and this server has no use for,
 * and what in Redis is a matter of time and space alone, is kept as it was set (service_hints).
 *
 * CONFIG SET is atomic: all values are read before the first is stored, and storing cannot fail, but for
 * the password, which is stored first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "db/checkpoint.h"
#include "db/memory.h"
#include "redis/redis_glob.h"
#include "redis/redis_value.h"
#include "session/session_internal.h"

enum setting_kind {
    SETTING_NUMBER,
    SETTING_MEMORY,
    SETTING_SWITCH,
    SETTING_POLICY,
    SETTING_NOTIFY,
    SETTING_PERCENTILES,
    SETTING_OUTPUT_LIMITS,
    SETTING_SHARE, /* bytes, or below 0 percent of maxmemory */
    SETTING_SAVE,
    SETTING_PASSWORD,
    SETTING_LOG_LEVEL,
    SETTING_FIXED
};

enum { TEXT_MAX = 1024, REASON_MAX = 256, SETTINGS_AT_ONCE_MAX = 64 };

struct setting {
    const char *name, *alias; /* alias: Redis's older name, or NULL */
    enum setting_kind kind;
    size_t offset, size; /* of the field */
    int64_t min, max;
    const char *fixed;                                         /* or: */
    void (*text)(struct service *service, char out[TEXT_MAX]); /* what is fixed */
    void (*changed)(struct service *service);                  /* after storing; or NULL */
};

/* ------------------------------------------------------------------------- texts that are made up */

/* An option of the process, NULL when there is none of the name. */
static const char *option(const struct service *service, const char *name)
{
    for (size_t n = 0; n < service->options.setting_count; n++)
        if (strcmp(service->options.settings[n].name, name) == 0)
            return service->options.settings[n].value;
    return NULL;
}

static void text_appendfsync(struct service *service, char out[TEXT_MAX])
{
    const char *level = service->options.durability ? service->options.durability : "";
    snprintf(out, TEXT_MAX, "%s",
             strcmp(level, "interval") == 0 ? "everysec"
             : strcmp(level, "none") == 0   ? "no"
                                            : "always");
}

/* The hosts of the addresses that `listen` lists, with spaces between them as Redis has it. */
static void text_bind(struct service *service, char out[TEXT_MAX])
{
    const char *at = option(service, "listen");
    size_t size = 0;
    out[0] = 0;
    while (at && *at) {
        at += strspn(at, " ,");
        size_t entry = strcspn(at, ","), host = entry;
        while (host > 0 && at[host] != ':')
            host--;
        if (host > 0 && strncmp(at, "unix:", 5) != 0 && strncmp(at, "systemd:", 8) != 0 &&
            size + host + 2 < TEXT_MAX)
            size += (size_t)snprintf(out + size, TEXT_MAX - size, "%s%.*s", size ? " " : "",
                                     (int)host, at);
        at += entry;
    }
}

/* The first path that it lists, without its mode. */
static void text_unixsocket(struct service *service, char out[TEXT_MAX])
{
    const char *at = option(service, "listen");
    out[0] = 0;
    while (at && *at && strncmp(at, "unix:", 5) != 0) {
        at += strcspn(at, ",");
        at += strspn(at, " ,");
    }
    if (!at || !*at)
        return;
    size_t size = strcspn(at += 5, ",");
    snprintf(out, TEXT_MAX, "%.*s", (int)size, at);
    char *mode = strstr(out, " mode=");
    if (mode)
        *mode = 0;
}

static void text_port(struct service *service, char out[TEXT_MAX])
{
    snprintf(out, TEXT_MAX, "%u", load_relaxed(&service->port));
}

static void text_workers(struct service *service, char out[TEXT_MAX])
{
    snprintf(out, TEXT_MAX, "%u", service->options.worker_max);
}

static void text_databases(struct service *service, char out[TEXT_MAX])
{
    (void)service;
    snprintf(out, TEXT_MAX, "%d", REDIS_DATABASES);
}

/* What is the process's, in Redis's words; of two for one level the first is told. */
static const struct {
    const char *name;
    enum log_level level;
} LOG_LEVELS[] = {{"debug", LOG_DEBUG},
                  {"notice", LOG_INFO},
                  {"verbose", LOG_INFO},
                  {"warning", LOG_WARN},
                  {"nothing", LOG_ERROR}};
enum { LOG_LEVEL_COUNT = sizeof LOG_LEVELS / sizeof *LOG_LEVELS };

static const char *log_level_name(unsigned n)
{
    return n < LOG_LEVEL_COUNT ? LOG_LEVELS[n].name : NULL;
}

static void log_level_text(char out[TEXT_MAX])
{
    unsigned n = 0;
    while (LOG_LEVELS[n].level != log_level_get())
        n++;
    snprintf(out, TEXT_MAX, "%s", LOG_LEVELS[n].name);
}

/* --------------------------------------------------------------------------------- what follows */

static void memory_changed(struct service *service)
{
    db_memory_max_set(service->options.db, load_relaxed(&service->config.maxmemory));
}

static void policy_changed(struct service *service)
{
    db_memory_evicts_set(service->options.db, load_relaxed(&service->config.maxmemory_policy) !=
                                                  REDIS_POLICY_NOEVICTION);
}

static void slow_changed(struct service *service)
{
    service__slow_set(service);
}

static void log_changed(struct service *service)
{
    service__slowlog_trim(service);
}

static void timeout_changed(struct service *service)
{
    service__stir_all(service);
}

/* ------------------------------------------------------------------------------------- the table */

#define FIELD(field) offsetof(struct service, field), sizeof((struct service *)0)->field
#define NUMBER(name, alias, field, min, max, changed)                            \
    {                                                                            \
        name, alias, SETTING_NUMBER, FIELD(field), min, max, NULL, NULL, changed \
    }
#define MEMORY(name, alias, field, min, changed)                                       \
    {                                                                                  \
        name, alias, SETTING_MEMORY, FIELD(field), min, INT64_MAX, NULL, NULL, changed \
    }
#define SWITCH(name, field)                                              \
    {                                                                    \
        name, NULL, SETTING_SWITCH, FIELD(field), 0, 1, NULL, NULL, NULL \
    }
#define FIXED(name, value)                                       \
    {                                                            \
        name, NULL, SETTING_FIXED, 0, 0, 0, 0, value, NULL, NULL \
    }
#define MADE(name, text)                                        \
    {                                                           \
        name, NULL, SETTING_FIXED, 0, 0, 0, 0, NULL, text, NULL \
    }

static const struct setting SETTINGS[] = {
    FIXED("aclfile", ""),
    FIXED("appendfilename", "appendonly.aof"),
    MADE("appendfsync", text_appendfsync),
    FIXED("appendonly", "yes"),
    MADE("bind", text_bind),
    NUMBER("busy-reply-threshold", "lua-time-limit", hints.busy_reply_threshold, 0, INT64_MAX,
           NULL),
    {"client-output-buffer-limit", NULL, SETTING_OUTPUT_LIMITS, 0, 0, 0, 0, NULL, NULL, NULL},
    MEMORY("client-query-buffer-limit", NULL, client_limits.query, 1048576, NULL),
    FIXED("cluster-enabled", "no"),
    FIXED("daemonize", "no"),
    MADE("databases", text_databases),
    FIXED("dbfilename", ""),
    NUMBER("hash-max-listpack-entries", "hash-max-ziplist-entries",
           config.hash_max_listpack_entries, 0, INT64_MAX, NULL),
    MEMORY("hash-max-listpack-value", "hash-max-ziplist-value", config.hash_max_listpack_value, 0,
           NULL),
    MEMORY("hll-sparse-max-bytes", NULL, config.hll_sparse_max_bytes, 0, NULL),
    MADE("io-threads", text_workers),
    NUMBER("latency-monitor-threshold", NULL, settings.latency_threshold_ms, 0, INT64_MAX,
           slow_changed),
    SWITCH("latency-tracking", latency_tracking),
    {"latency-tracking-info-percentiles", NULL, SETTING_PERCENTILES, 0, 0, 0, 0, NULL, NULL, NULL},
    NUMBER("lfu-decay-time", NULL, config.lfu_decay_time, 0, INT32_MAX, NULL),
    NUMBER("lfu-log-factor", NULL, config.lfu_log_factor, 0, INT32_MAX, NULL),
    NUMBER("list-compress-depth", NULL, config.list_compress_depth, 0, INT32_MAX, NULL),
    NUMBER("list-max-listpack-size", "list-max-ziplist-size", config.list_max_listpack_size,
           INT32_MIN, INT32_MAX, NULL),
    FIXED("logfile", ""),
    {"loglevel", NULL, SETTING_LOG_LEVEL, 0, 0, 0, 0, NULL, NULL, NULL},
    FIXED("masterauth", ""),
    NUMBER("maxclients", NULL, settings.clients_max, 1, UINT32_MAX, NULL),
    MEMORY("maxmemory", NULL, config.maxmemory, 0, memory_changed),
    {"maxmemory-clients", NULL, SETTING_SHARE, FIELD(client_limits.memory), -100, INT64_MAX, NULL,
     NULL, NULL},
    {"maxmemory-policy", NULL, SETTING_POLICY, FIELD(config.maxmemory_policy), 0, 0, NULL, NULL,
     policy_changed},
    NUMBER("maxmemory-samples", NULL, config.maxmemory_samples, 1, INT32_MAX, NULL),
    FIXED("min-replicas-to-write", "0"),
    {"notify-keyspace-events", NULL, SETTING_NOTIFY, FIELD(config.notify_flags), 0, 0, NULL, NULL,
     NULL},
    FIXED("pidfile", ""),
    MADE("port", text_port),
    FIXED("protected-mode", "yes"),
    MEMORY("proto-max-bulk-len", NULL, config.proto_max_bulk_len, 1048576, NULL),
    FIXED("replicaof", ""),
    {"requirepass", NULL, SETTING_PASSWORD, 0, 0, 0, 0, NULL, NULL, NULL},
    {"save", NULL, SETTING_SAVE, 0, 0, 0, 0, NULL, NULL, NULL},
    NUMBER("set-max-intset-entries", NULL, config.set_max_intset_entries, 0, INT64_MAX, NULL),
    NUMBER("set-max-listpack-entries", NULL, config.set_max_listpack_entries, 0, INT64_MAX, NULL),
    MEMORY("set-max-listpack-value", NULL, config.set_max_listpack_value, 0, NULL),
    NUMBER("slowlog-log-slower-than", NULL, settings.slowlog_slower_us, -1, INT64_MAX,
           slow_changed),
    NUMBER("slowlog-max-len", NULL, settings.slowlog_max, 0, INT64_MAX, log_changed),
    MEMORY("stream-node-max-bytes", NULL, config.stream_node_max_bytes, 0, NULL),
    NUMBER("stream-node-max-entries", NULL, config.stream_node_max_entries, 0, INT64_MAX, NULL),
    FIXED("supervised", "no"),
    FIXED("tcp-backlog", "511"),
    NUMBER("tcp-keepalive", NULL, settings.keepalive_s, 0, INT32_MAX, NULL),
    NUMBER("timeout", NULL, settings.timeout_s, 0, INT32_MAX, timeout_changed),
    NUMBER("tracking-table-max-keys", NULL, settings.tracking_keys_max, 0, INT64_MAX, NULL),
    MADE("unixsocket", text_unixsocket),
    NUMBER("zset-max-listpack-entries", "zset-max-ziplist-entries",
           config.zset_max_listpack_entries, 0, INT64_MAX, NULL),
    MEMORY("zset-max-listpack-value", "zset-max-ziplist-value", config.zset_max_listpack_value, 0,
           NULL),
    NUMBER("zset-ranks-after", NULL, config.zset_ranks_after, 0, INT64_MAX, NULL),
#define X(name, field, value) SWITCH(name, hints.field),
    SERVICE_HINT_SWITCHES(X)
#undef X
#define X(name, field, value) NUMBER(name, NULL, hints.field, 0, INT32_MAX, NULL),
        SERVICE_HINT_NUMBERS(X)
#undef X
};
enum { SETTING_COUNT = sizeof SETTINGS / sizeof *SETTINGS };

static bool arg_is(const struct redis_slice *arg, const char *text)
{
    return text && arg->size == strlen(text) && strncasecmp(arg->data, text, arg->size) == 0;
}

static const struct setting *setting_find(const struct redis_slice *name)
{
    for (size_t n = 0; n < SETTING_COUNT; n++)
        if (arg_is(name, SETTINGS[n].name) || arg_is(name, SETTINGS[n].alias))
            return &SETTINGS[n];
    return NULL;
}

/* Fields of eight bytes are signed or are never so large; those of four are not signed. */
static int64_t field_get(const struct service *service, const struct setting *setting)
{
    const char *at = (const char *)service + setting->offset;
    return setting->size == 8   ? load_relaxed((const _Atomic int64_t *)(const void *)at)
           : setting->size == 4 ? load_relaxed((const _Atomic unsigned *)(const void *)at)
                                : load_relaxed((const _Atomic bool *)(const void *)at);
}

static void field_set(struct service *service, const struct setting *setting, int64_t value)
{
    char *at = (char *)service + setting->offset;
    if (setting->size == 8)
        store_relaxed((_Atomic int64_t *)(void *)at, value);
    else if (setting->size == 4)
        store_relaxed((_Atomic unsigned *)(void *)at, (unsigned)value);
    else
        store_relaxed((_Atomic bool *)(void *)at, value != 0);
}

/* ------------------------------------------------------------------------------------------- GET */

static void save_text(struct service *service, char out[TEXT_MAX])
{
    struct db_save_point points[DB_SAVE_POINTS_MAX];
    unsigned count = db_checkpoint_points_get(service->options.db, points);
    size_t size = 0;
    for (unsigned n = 0; n < count; n++)
        size += (size_t)snprintf(out + size, TEXT_MAX - size, "%s%" PRIu64 " %" PRIu64,
                                 n ? " " : "", points[n].seconds, points[n].changes);
}

static void setting_text(struct service *service, const struct setting *setting, char out[TEXT_MAX])
{
    out[0] = 0;
    switch (setting->kind) {
    case SETTING_NUMBER:
    case SETTING_MEMORY:
        snprintf(out, TEXT_MAX, "%" PRId64, field_get(service, setting));
        return;
    case SETTING_SWITCH:
        snprintf(out, TEXT_MAX, "%s", field_get(service, setting) ? "yes" : "no");
        return;
    case SETTING_POLICY:
        snprintf(out, TEXT_MAX, "%s", redis_policy_name((unsigned)field_get(service, setting)));
        return;
    case SETTING_NOTIFY:
        redis_notify_format((unsigned)field_get(service, setting), out);
        return;
    case SETTING_PERCENTILES:
        pthread_mutex_lock(&service->mutex);
        snprintf(out, TEXT_MAX, "%s", service->percentiles);
        pthread_mutex_unlock(&service->mutex);
        return;
    case SETTING_OUTPUT_LIMITS:
        session__output_limits_format(&service->client_limits, out);
        return;
    case SETTING_SHARE: {
        int64_t value = field_get(service, setting);
        snprintf(out, TEXT_MAX, value < 0 ? "%" PRId64 "%%" : "%" PRId64,
                 value < 0 ? -value : value);
        return;
    }
    case SETTING_SAVE:
        save_text(service, out);
        return;
    case SETTING_PASSWORD:
        service__password_get(service, out, TEXT_MAX);
        return;
    case SETTING_LOG_LEVEL:
        log_level_text(out);
        return;
    case SETTING_FIXED:
        if (setting->text)
            setting->text(service, out);
        else
            snprintf(out, TEXT_MAX, "%s", setting->fixed);
        return;
    }
}

static bool asked(const struct session_request *request, const char *name)
{
    for (unsigned n = 2; name && n < request->argc; n++) {
        char lower[128];
        size_t size = request->argv[n].size;
        if (size >= sizeof lower)
            continue;
        for (size_t at = 0; at < size; at++) {
            char letter = request->argv[n].data[at];
            lower[at] = (char)(letter >= 'A' && letter <= 'Z' ? letter + 32 : letter);
        }
        if (redis_glob_match(lower, size, name, strlen(name)))
            return true;
    }
    return false;
}

static void put_pair(struct session *session, const char *name, const char *value)
{
    resp_put_bulk(&session->out, name, strlen(name));
    resp_put_bulk(&session->out, value, strlen(value));
}

/* CONFIG GET pattern ..: those of the table, then options without a name of Redis's. */
static int config_get(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    const struct service_fact *options = service->options.settings;
    char text[TEXT_MAX];
    size_t count = 0;
    for (size_t n = 0; n < SETTING_COUNT; n++)
        count += (size_t)asked(request, SETTINGS[n].name) + asked(request, SETTINGS[n].alias);
    for (size_t n = 0; n < service->options.setting_count; n++)
        count += asked(request, options[n].name);
    resp_put_map(&session->out, session->protocol, count);
    for (size_t n = 0; n < SETTING_COUNT; n++) {
        setting_text(service, &SETTINGS[n], text);
        if (asked(request, SETTINGS[n].name))
            put_pair(session, SETTINGS[n].name, text);
        if (asked(request, SETTINGS[n].alias))
            put_pair(session, SETTINGS[n].alias, text);
    }
    for (size_t n = 0; n < service->options.setting_count; n++)
        if (asked(request, options[n].name))
            put_pair(session, options[n].name, options[n].value);
    return 0;
}

/* ------------------------------------------------------------------------------------------- SET */

static int reason(char out[REASON_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static int reason(char out[REASON_MAX], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(out, REASON_MAX, format, args);
    va_end(args);
    return -1;
}

static int range_check(const struct setting *setting, int64_t value, char why[REASON_MAX])
{
    if (value >= setting->min && value <= setting->max)
        return 0;
    return reason(why, "argument must be between %" PRId64 " and %" PRId64 " inclusive",
                  setting->min, setting->max);
}

/* One of so many names; *out: which. */
static int name_parse(const struct redis_slice *value, const char *(*name_of)(unsigned n),
                      int64_t *out, char why[REASON_MAX])
{
    const char *name;
    size_t size = (size_t)snprintf(why, REASON_MAX, "argument(s) must be one of the following: ");
    for (unsigned n = 0; (name = name_of(n)) != NULL; n++) {
        if (arg_is(value, name)) {
            *out = n;
            return 0;
        }
        size += (size_t)snprintf(why + size, REASON_MAX - size, "%s%s", n ? ", " : "", name);
    }
    return -1;
}

static int percentiles_check(const struct redis_slice *value, char why[REASON_MAX])
{
    char text[SERVICE_PERCENTILES_SIZE], *at = text, *end;
    if (value->size >= sizeof text)
        return reason(why, "Invalid latency-tracking-info-percentiles parameters");
    memcpy(text, value->data, value->size);
    text[value->size] = 0;
    while (*at) {
        double percentile = strtod(at, &end);
        if (end == at || (*end && *end != ' '))
            return reason(why, "Invalid latency-tracking-info-percentiles parameters");
        if (!(percentile >= 0 && percentile <= 100))
            return reason(why, "latency-tracking-info-percentiles parameters should sit between "
                               "[0.0,100.0]");
        for (at = end; *at == ' ';)
            at++;
    }
    return 0;
}

/* "seconds changes seconds changes ..", with one blank between; *count: of the points. */
static int save_parse(const struct redis_slice *value,
                      struct db_save_point points[DB_SAVE_POINTS_MAX], unsigned *count,
                      char why[REASON_MAX])
{
    const char *at = value->data, *end = at + value->size;
    unsigned numbers = 0;
    for (; value->size && at <= end; at++, numbers++) {
        int64_t number;
        const char *start = at;
        while (at < end && *at != ' ')
            at++;
        if (!redis_integer_parse(start, (size_t)(at - start), &number) || number < 0 ||
            (numbers % 2 == 0 && number == 0))
            return reason(why, "Invalid save parameters");
        if (numbers == 2 * DB_SAVE_POINTS_MAX)
            return reason(why, "there are at most %d save points", DB_SAVE_POINTS_MAX);
        if (numbers % 2 == 0)
            points[numbers / 2].seconds = (uint64_t)number;
        else
            points[numbers / 2].changes = (uint64_t)number;
    }
    *count = numbers / 2;
    return numbers % 2 ? reason(why, "Invalid save parameters") : 0;
}

static int fixed_check(struct service *service, const struct setting *setting,
                       const struct redis_slice *value, char why[REASON_MAX])
{
    char text[TEXT_MAX];
    setting_text(service, setting, text);
    return arg_is(value, text) ? 0 : reason(why, "can't set immutable config");
}

static bool share_parse(const struct redis_slice *value, int64_t *out)
{
    if (!value->size || value->data[value->size - 1] != '%')
        return session__memory_parse(value, out);
    bool right = redis_integer_parse(value->data, value->size - 1, out) && *out >= 0 && *out <= 100;
    *out = -*out;
    return right;
}

/* Reads what a setting is to become, or says why not. */
static int value_parse(struct service *service, const struct setting *setting,
                       const struct redis_slice *value, int64_t *out, char why[REASON_MAX])
{
    const char *wrong;
    struct db_save_point points[DB_SAVE_POINTS_MAX];
    unsigned flags, count;
    *out = 0;
    switch (setting->kind) {
    case SETTING_NUMBER:
        return redis_integer_parse(value->data, value->size, out)
                   ? range_check(setting, *out, why)
                   : reason(why, "argument couldn't be parsed into an integer");
    case SETTING_MEMORY:
        return session__memory_parse(value, out) ? range_check(setting, *out, why)
                                                 : reason(why, "argument must be a memory value");
    case SETTING_SWITCH:
        *out = arg_is(value, "yes");
        return *out || arg_is(value, "no") ? 0 : reason(why, "argument must be 'yes' or 'no'");
    case SETTING_POLICY:
        return name_parse(value, redis_policy_name, out, why);
    case SETTING_LOG_LEVEL:
        return name_parse(value, log_level_name, out, why);
    case SETTING_NOTIFY:
        if (!redis_notify_parse(value->data, value->size, &flags))
            return reason(why, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        *out = flags;
        return 0;
    case SETTING_PERCENTILES:
        return percentiles_check(value, why);
    case SETTING_OUTPUT_LIMITS:
        wrong = session__output_limits_check(value);
        return wrong ? reason(why, "%s", wrong) : 0;
    case SETTING_SHARE:
        return share_parse(value, out) ? range_check(setting, *out, why)
                                       : reason(why, "argument must be a memory or percent value");
    case SETTING_SAVE:
        return save_parse(value, points, &count, why);
    case SETTING_PASSWORD:
        return value->size < TEXT_MAX
                   ? 0
                   : reason(why, "a password has at most %d bytes", TEXT_MAX - 1);
    case SETTING_FIXED:
        return fixed_check(service, setting, value, why);
    }
    return 0;
}

static void value_store(struct service *service, const struct setting *setting,
                        const struct redis_slice *value, int64_t number)
{
    if (setting->kind == SETTING_PERCENTILES) {
        pthread_mutex_lock(&service->mutex);
        memcpy(service->percentiles, value->data, value->size);
        service->percentiles[value->size] = 0;
        pthread_mutex_unlock(&service->mutex);
    } else if (setting->kind == SETTING_OUTPUT_LIMITS) {
        session__output_limits_set(&service->client_limits, value);
    } else if (setting->kind == SETTING_SAVE) {
        struct db_save_point points[DB_SAVE_POINTS_MAX];
        char why[REASON_MAX];
        unsigned count;
        save_parse(value, points, &count, why);
        db_checkpoint_points_set(service->options.db, points, count);
    } else if (setting->kind == SETTING_LOG_LEVEL) {
        log_level_set(LOG_LEVELS[number].level);
    } else if (setting->kind != SETTING_FIXED && setting->kind != SETTING_PASSWORD) {
        field_set(service, setting, number);
    }
    if (setting->changed)
        setting->changed(service);
}

static int clamp(size_t size)
{
    return (int)(size < 128 ? size : 128);
}

static int set_failed(struct session *session, const struct redis_slice *name, const char *why)
{
    return session__errorf(session, "ERR",
                           "CONFIG SET failed (possibly related to argument '%.*s') - %s",
                           clamp(name->size), name->data, why);
}

/* An option of the process that has no name of Redis's. */
static bool is_option(const struct service *service, const struct redis_slice *name)
{
    for (size_t n = 0; n < service->options.setting_count; n++)
        if (arg_is(name, service->options.settings[n].name))
            return true;
    return false;
}

_Static_assert((int)SETTING_COUNT <= (int)SERVICE_SETTINGS_MAX, "a bit for each setting");

static void set_note(struct service *service, const struct setting *setting)
{
    size_t n = (size_t)(setting - SETTINGS);
    if (setting->kind != SETTING_FIXED)
        atomic_fetch_or_explicit(&service->settings_set[n / 64], UINT64_C(1) << n % 64,
                                 memory_order_relaxed);
}

static bool is_set(const struct service *service, size_t n)
{
    return load_relaxed(&service->settings_set[n / 64]) >> n % 64 & 1;
}

/* CONFIG SET name value .. */
static int config_set(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    const struct redis_slice *argv = request->argv;
    unsigned count = (request->argc - 2) / 2;
    const struct setting *settings[SETTINGS_AT_ONCE_MAX];
    int64_t numbers[SETTINGS_AT_ONCE_MAX];
    char why[REASON_MAX];
    if (request->argc % 2 || count > SETTINGS_AT_ONCE_MAX)
        return redis_syntax_error();
    for (unsigned n = 0; n < count; n++) {
        const struct redis_slice *name = &argv[2 + 2 * n];
        settings[n] = setting_find(name);
        if (!settings[n] && is_option(service, name))
            return set_failed(session, name, "can't set immutable config");
        if (!settings[n])
            return session__errorf(session, "ERR",
                                   "Unknown option or number of arguments for CONFIG SET - '%.*s'",
                                   clamp(name->size), name->data);
        for (unsigned before = 0; before < n; before++)
            if (name->size == argv[2 + 2 * before].size &&
                strncasecmp(name->data, argv[2 + 2 * before].data, name->size) == 0)
                return set_failed(session, name, "duplicate parameter");
    }
    for (unsigned n = 0; n < count; n++)
        if (value_parse(service, settings[n], &argv[3 + 2 * n], &numbers[n], why))
            return set_failed(session, &argv[2 + 2 * n], why);
    for (unsigned n = 0; n < count; n++) { /* the one that can fail, and first */
        int rc = settings[n]->kind == SETTING_PASSWORD
                     ? session__password_set(session, &argv[3 + 2 * n])
                     : 0;
        if (rc)
            return rc;
    }
    for (unsigned n = 0; n < count; n++) {
        value_store(service, settings[n], &argv[3 + 2 * n], numbers[n]);
        set_note(service, settings[n]);
    }
    resp_put_ok(&session->out);
    return 0;
}

/* -------------------------------------------------------------------------- from and to the start */

const char *service_setting_find(const char *name)
{
    char dashed[64];
    size_t size = strlen(name);
    if (size >= sizeof dashed)
        return NULL;
    for (size_t n = 0; n <= size; n++)
        dashed[n] = name[n] == '_' ? '-' : name[n];
    const struct setting *setting = setting_find(&(struct redis_slice){dashed, size});
    return setting && setting->kind != SETTING_FIXED ? setting->name : NULL;
}

/* A value that is given at the start, read. */
static int start_value(const char *name, const char *value, const struct setting **out,
                       int64_t *number)
{
    const struct redis_slice slices[] = {{name, strlen(name)}, {value, strlen(value)}};
    char why[REASON_MAX];
    *out = setting_find(&slices[0]);
    if (!*out || (*out)->kind == SETTING_FIXED)
        return diag_set(ERROR_INVALID, "there is no setting '%s'", name);
    if (value_parse(NULL, *out, &slices[1], number, why))
        return diag_set(ERROR_INVALID, "setting '%s' can't be '%s': %s", name, value, why);
    return 0;
}

int service_setting_check(const char *name, const char *value)
{
    const struct setting *setting;
    int64_t number;
    return start_value(name, value, &setting, &number);
}

int service_setting_set(struct service *service, const char *name, const char *value)
{
    const struct redis_slice slice = {value, strlen(value)};
    const struct setting *setting;
    int64_t number;
    int rc = start_value(name, value, &setting, &number);
    if (!rc)
        value_store(service, setting, &slice, number);
    return rc;
}

/* CONFIG REWRITE: what CONFIG SET has set since the start. */
static int config_rewrite(struct session *session, struct session_request *request)
{
    struct service *service = session->service;
    struct service_fact facts[SETTING_COUNT];
    size_t count = 0;
    (void)request;
    if (!service->options.settings_write)
        return diag_set(ERROR_INVALID, "The server is running without a config file");
    char(*texts)[TEXT_MAX] = malloc(SETTING_COUNT * sizeof *texts);
    if (!texts)
        return diag_set(ERROR_MEMORY, "out of memory");
    for (size_t n = 0; n < SETTING_COUNT; n++) {
        if (!is_set(service, n))
            continue;
        setting_text(service, &SETTINGS[n], texts[count]);
        facts[count] = (struct service_fact){SETTINGS[n].name, texts[count]};
        count++;
    }
    int rc = service->options.settings_write(service->options.arg, facts, count);
    free(texts);
    if (rc) {
        char why[DIAG_MESSAGE_MAX];
        snprintf(why, sizeof why, "%s", diag_message_for(rc));
        return session__errorf(session, "ERR", "Rewriting config file: %s", why);
    }
    resp_put_ok(&session->out);
    return 0;
}

/* ------------------------------------------------------------------------------------- the others */

static int config_resetstat(struct session *session, struct session_request *request)
{
    (void)request;
    service__stats_reset(session->service);
    resp_put_ok(&session->out);
    return 0;
}

static int config_help(struct session *session, struct session_request *request)
{
    (void)request;
    static const char *const LINES[] = {
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
    };
    session__put_help(session, "CONFIG", LINES, sizeof LINES / sizeof *LINES);
    return 0;
}

#define ROW(name, arity, summary, run)                                                           \
    {                                                                                            \
        name, arity, SESSION_ADMIN | SESSION_NOSCRIPT, 0, 0, 0, summary, "2.0.0", "server", run, \
            NULL, NULL, 0                                                                        \
    }
const struct session_command session__config_commands[] = {
    ROW("config|get", -3, "Returns the effective values of configuration parameters.", config_get),
    {"config|help", 2, SESSION_NOSCRIPT, 0, 0, 0,
     "Returns helpful text about the different subcommands.", "5.0.0", "server", config_help, NULL,
     NULL, 0},
    ROW("config|resetstat", 2, "Resets the server's statistics.", config_resetstat),
    ROW("config|rewrite", 2, "Persists the effective configuration to file.", config_rewrite),
    ROW("config|set", -4, "Sets configuration parameters in-flight.", config_set),
    {0},
};
