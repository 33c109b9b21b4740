/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MONITOR: every command that is executed, to those who ask for it.
 *
 * While somebody does, no request is quick enough for the slow log's threshold (session_dispatch.c),
 * so others pay nothing for it. The line is made by the worker that has executed the command and put
 * into a buffer of each worker that has a connection which monitors; that one's next turn hands it
 * to them. The lines of one worker are in order. Who does not read fast enough is cut off.
 */
#include <inttypes.h>
#include <stdio.h>

#include "session/session_internal.h"

enum { MONITORED_BYTES_MAX = 64 << 20 };

/* Quoted as Redis quotes. */
static void put_quoted(struct mp_buffer *out, const char *data, size_t size)
{
    char text[8];
    mp_put_raw(out, "\"", 1);
    for (size_t n = 0; n < size; n++) {
        static const char PLAIN[] = "\\\"\n\r\t\a\b", LETTERS[] = "\\\"nrtab";
        const char *at = data[n] ? strchr(PLAIN, data[n]) : NULL;
        int length = at ? snprintf(text, sizeof text, "\\%c", LETTERS[at - PLAIN])
                     : data[n] >= ' ' && data[n] <= '~'
                         ? snprintf(text, sizeof text, "%c", data[n])
                         : snprintf(text, sizeof text, "\\x%02x", (unsigned char)data[n]);
        mp_put_raw(out, text, (size_t)length);
    }
    mp_put_raw(out, "\"", 1);
}

static void line_make(struct mp_buffer *out, const struct session *session,
                      const struct session_request *request)
{
    char head[64 + SESSION_ADDRESS_SIZE_MAX];
    uint64_t ms = clock_realtime_ms(session->service->options.clock);
    int size = snprintf(head, sizeof head, "+%" PRIu64 ".%03u000 [%u %s]", ms / 1000,
                        (unsigned)(ms % 1000), session->database, session->about.address);
    mp_put_raw(out, head, (size_t)size);
    for (unsigned n = 0; n < request->argc; n++) {
        mp_put_raw(out, " ", 1);
        if (session__redacted(request->command, request->argv, request->argc, n))
            put_quoted(out, "(redacted)", 10);
        else
            put_quoted(out, request->argv[n].data, request->argv[n].size);
    }
    mp_put_raw(out, "\r\n", 2);
}

void session__monitor_feed(struct session *session, const struct session_request *request)
{
    struct service *service = session->service;
    const struct redis_spec *spec = session__spec(session, request->command);
    struct mp_buffer line;
    if (spec && (spec->flags & (SPEC_ADMIN | SPEC_SKIP_MONITOR)))
        return;
    mp_buffer_create(&line);
    line_make(&line, session, request);
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count; n++) {
        struct session_worker *worker = service->workers[n];
        if (!worker || !load_relaxed(&worker->monitors))
            continue;
        pthread_mutex_lock(&worker->wake_mutex);
        if (!line.failed && worker->monitored.size + line.size <= MONITORED_BYTES_MAX)
            mp_put_raw(&worker->monitored, line.data, line.size);
        else
            worker->monitored.failed = true;
        pthread_mutex_unlock(&worker->wake_mutex);
        session__worker_stir(worker);
    }
    pthread_mutex_unlock(&service->mutex);
    mp_buffer_destroy(&line);
}

static void lines_push(struct session *session, const struct mp_buffer *lines)
{
    if (session->closing)
        return;
    mp_put_raw(&session->push, lines->data, lines->size);
    if (lines->failed || session__push_full(session, 0))
        session__output_exceeded(session);
    session__ready(session);
}

void session__monitors_take(struct session_worker *worker)
{
    struct service *service = worker->service;
    struct mp_buffer lines;
    pthread_mutex_lock(&worker->wake_mutex);
    lines = worker->monitored;
    mp_buffer_create(&worker->monitored);
    pthread_mutex_unlock(&worker->wake_mutex);
    if (lines.size || lines.failed) {
        pthread_mutex_lock(&service->mutex);
        list_for_each (link, &service->clients) {
            struct session *session = list_entry(link, struct session, link);
            if (session->worker == worker && load_relaxed(&session->about.monitoring))
                lines_push(session, &lines);
        }
        pthread_mutex_unlock(&service->mutex);
    }
    mp_buffer_destroy(&lines);
}

/* How many monitor has changed; the last one to go leaves things as they were. */
static void monitors_add(struct session *session, int by)
{
    struct service *service = session->service;
    pthread_mutex_lock(&service->mutex);
    store_relaxed(&session->worker->monitors,
                  (unsigned)((int)load_relaxed(&session->worker->monitors) + by));
    service->monitors = (unsigned)((int)service->monitors + by);
    if (service->monitors)
        atomic_fetch_or(&service->attention, SERVICE_MONITORED);
    else
        atomic_fetch_and(&service->attention, ~(unsigned)SERVICE_MONITORED);
    pthread_mutex_unlock(&service->mutex);
    service__slow_set(service);
}

int session__monitor(struct session *session, struct session_request *request)
{
    if (request->txn)
        return diag_set(ERROR_INVALID, "MONITOR isn't allowed for DENY BLOCKING client");
    if (!load_relaxed(&session->about.monitoring)) {
        store_relaxed(&session->about.monitoring, true);
        monitors_add(session, 1);
    }
    resp_put_ok(&session->out);
    return 0;
}

void session__monitor_end(struct session *session)
{
    if (!load_relaxed(&session->about.monitoring))
        return;
    store_relaxed(&session->about.monitoring, false);
    monitors_add(session, -1);
}
