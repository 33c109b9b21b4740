/* SPDX-License-Identifier: Apache-2.0 */

/*
 * SLOWLOG: the requests that took longest to execute, lately.
 *
 * How long a request took is known in ticks anyway; it is compared with one threshold, the smaller
 * of those of the slow log and of latency monitoring, and what passes it comes here. Entries are in
 * one list, the newest first, under a mutex of its own. An entry is one piece of memory: as much of
 * the arguments as Redis keeps, 32 of 128 bytes, as a MessagePack array, behind it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "redis/redis_value.h"
#include "session/session_internal.h"

enum { ARGUMENTS_MAX = 32, ARGUMENT_BYTES_MAX = 128, NAME_MAX_SIZE = 64 };

struct slow_entry {
    struct list link;
    uint64_t id, time_s, us;
    char address[SESSION_ADDRESS_SIZE_MAX + 1], name[NAME_MAX_SIZE];
    size_t size;
    char args[];
};

void session__slowlog_create(struct session_slowlog *log)
{
    pthread_mutex_init(&log->mutex, NULL);
    list_create(&log->entries);
    log->count = log->next_id = 0;
}

static void entries_drop(struct session_slowlog *log, uint64_t max)
{
    struct list *last;
    while (log->count > max && (last = list_last(&log->entries)) != NULL) {
        list_remove(last);
        free(list_entry(last, struct slow_entry, link));
        log->count--;
    }
}

void session__slowlog_destroy(struct session_slowlog *log)
{
    entries_drop(log, 0);
    pthread_mutex_destroy(&log->mutex);
}

void service__slowlog_trim(struct service *service)
{
    pthread_mutex_lock(&service->slowlog.mutex);
    entries_drop(&service->slowlog, load_relaxed(&service->settings.slowlog_max));
    pthread_mutex_unlock(&service->slowlog.mutex);
}

/* ------------------------------------------------------------------------------------- an entry */

/* The passwords of MIGRATE, and the names beside them. */
static bool migrate_redacted(const struct redis_slice *argv, unsigned argc, unsigned n)
{
    for (unsigned at = 6; at < n && at < argc; at++) {
        const struct redis_slice *word = &argv[at];
        unsigned secrets = word->size == 4 && strncasecmp(word->data, "auth", 4) == 0    ? 1
                           : word->size == 5 && strncasecmp(word->data, "auth2", 5) == 0 ? 2
                                                                                         : 0;
        if (word->size == 4 && strncasecmp(word->data, "keys", 4) == 0)
            return false;
        if (n <= at + secrets)
            return true;
        at += secrets;
    }
    return false;
}

bool session__redacted(const struct session_command *command, const struct redis_slice *argv,
                       unsigned argc, unsigned n)
{
    if (strcmp(command->name, "auth") == 0)
        return n > 0;
    if (strcmp(command->name, "acl|setuser") == 0)
        return n > 2;
    if (strcmp(command->name, "config|set") == 0)
        return n > 2 && n % 2 == 1 && argv[n - 1].size == 11 &&
               strncasecmp(argv[n - 1].data, "requirepass", 11) == 0;
    if (strcmp(command->name, "migrate") == 0)
        return migrate_redacted(argv, argc, n);
    if (strcmp(command->name, "hello") != 0)
        return false;
    for (unsigned at = 2; at < n && at < argc; at++)
        if (argv[at].size == 4 && strncasecmp(argv[at].data, "auth", 4) == 0)
            return n == at + 1 || n == at + 2;
    return false;
}

static void put_argument(struct mp_buffer *out, const struct redis_slice *arg)
{
    char text[ARGUMENT_BYTES_MAX + 64];
    if (arg->size <= ARGUMENT_BYTES_MAX) {
        mp_put_str(out, arg->data, arg->size);
        return;
    }
    memcpy(text, arg->data, ARGUMENT_BYTES_MAX);
    int size = snprintf(text + ARGUMENT_BYTES_MAX, 64, "... (%zu more bytes)",
                        arg->size - ARGUMENT_BYTES_MAX);
    mp_put_str(out, text, ARGUMENT_BYTES_MAX + (size_t)size);
}

static void put_arguments(struct mp_buffer *out, const struct session_request *request)
{
    unsigned count = request->argc < ARGUMENTS_MAX ? request->argc : ARGUMENTS_MAX;
    mp_put_array(out, count);
    for (unsigned n = 0; n < count; n++) {
        char text[64];
        if (n == count - 1 && request->argc > count) {
            int size =
                snprintf(text, sizeof text, "... (%u more arguments)", request->argc - count + 1);
            mp_put_str(out, text, (size_t)size);
        } else if (session__redacted(request->command, request->argv, request->argc, n)) {
            mp_put_str(out, "(redacted)", 10);
        } else {
            put_argument(out, &request->argv[n]);
        }
    }
}

static struct slow_entry *entry_new(const struct session *session,
                                    const struct session_request *request, uint64_t us)
{
    struct mp_buffer args;
    struct slow_entry *entry = NULL;
    mp_buffer_create(&args);
    put_arguments(&args, request);
    if (!args.failed)
        entry = malloc(sizeof *entry + args.size);
    if (entry) {
        entry->time_s = clock_realtime_ms(session->service->options.clock) / 1000;
        entry->us = us;
        entry->size = args.size;
        memcpy(entry->args, args.data, args.size);
        snprintf(entry->address, sizeof entry->address, "%s", session->about.address);
        snprintf(entry->name, sizeof entry->name, "%s",
                 session->about.name ? session->about.name : "");
    }
    mp_buffer_destroy(&args);
    return entry;
}

void session__slowlog_add(struct session *session, const struct session_request *request,
                          uint64_t us)
{
    struct service *service = session->service;
    struct session_slowlog *log = &service->slowlog;
    struct slow_entry *entry = entry_new(session, request, us);
    if (!entry)
        return;
    pthread_mutex_lock(&log->mutex);
    entry->id = log->next_id++;
    list_add_head(&log->entries, &entry->link);
    log->count++;
    entries_drop(log, load_relaxed(&service->settings.slowlog_max));
    pthread_mutex_unlock(&log->mutex);
}

/* -------------------------------------------------------------------------------------- commands */

static void put_entry(struct session *session, const struct slow_entry *entry)
{
    struct mp_buffer *out = &session->out;
    const char *args = entry->args;
    resp_put_array(out, 6);
    resp_put_integer(out, (int64_t)entry->id);
    resp_put_integer(out, (int64_t)entry->time_s);
    resp_put_integer(out, (int64_t)entry->us);
    uint32_t count = mp_decode_array(&args), size;
    resp_put_array(out, count);
    for (uint32_t n = 0; n < count; n++) {
        const char *text = mp_decode_str(&args, &size);
        resp_put_bulk(out, text, size);
    }
    resp_put_bulk(out, entry->address, strlen(entry->address));
    resp_put_bulk(out, entry->name, strlen(entry->name));
}

/* SLOWLOG GET [count] */
static int slowlog_get(struct session *session, struct session_request *request)
{
    struct session_slowlog *log = &session->service->slowlog;
    int64_t count = 10;
    if (request->argc > 3)
        return diag_set(ERROR_INVALID, "wrong number of arguments for 'slowlog|get' command");
    if (request->argc == 3 &&
        (!redis_integer_parse(request->argv[2].data, request->argv[2].size, &count) || count < -1))
        return diag_set(ERROR_INVALID, "count should be greater than or equal to -1");
    pthread_mutex_lock(&log->mutex);
    if (count < 0 || (uint64_t)count > log->count)
        count = (int64_t)log->count;
    resp_put_array(&session->out, (size_t)count);
    list_for_each (link, &log->entries) {
        if (count-- == 0)
            break;
        put_entry(session, list_entry(link, struct slow_entry, link));
    }
    pthread_mutex_unlock(&log->mutex);
    return 0;
}

static int slowlog_len(struct session *session, struct session_request *request)
{
    struct session_slowlog *log = &session->service->slowlog;
    (void)request;
    pthread_mutex_lock(&log->mutex);
    resp_put_integer(&session->out, (int64_t)log->count);
    pthread_mutex_unlock(&log->mutex);
    return 0;
}

static int slowlog_reset(struct session *session, struct session_request *request)
{
    struct session_slowlog *log = &session->service->slowlog;
    (void)request;
    pthread_mutex_lock(&log->mutex);
    entries_drop(log, 0);
    pthread_mutex_unlock(&log->mutex);
    resp_put_ok(&session->out);
    return 0;
}

static int slowlog_help(struct session *session, struct session_request *request)
{
    (void)request;
    static const char *const LINES[] = {
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
    };
    session__put_help(session, "SLOWLOG", LINES, sizeof LINES / sizeof *LINES);
    return 0;
}

#define ROW(name, arity, flags, summary, since, run)                              \
    {                                                                             \
        name, arity, flags, 0, 0, 0, summary, since, "server", run, NULL, NULL, 0 \
    }
const struct session_command session__slowlog_commands[] = {
    ROW("slowlog|get", -2, SESSION_ADMIN, "Returns the slow log's entries.", "2.2.12", slowlog_get),
    ROW("slowlog|help", 2, 0, "Show helpful text about the different subcommands", "6.2.0",
        slowlog_help),
    ROW("slowlog|len", 2, SESSION_ADMIN, "Returns the number of entries in the slow log.", "2.2.12",
        slowlog_len),
    ROW("slowlog|reset", 2, SESSION_ADMIN, "Clears all entries from the slow log.", "2.2.12",
        slowlog_reset),
    {0},
};
