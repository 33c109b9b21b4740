/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See session_limits.h.
 *
 * A session's output is measured where it has grown: after its input was executed, and after something
 * was pushed to it. One that is beyond the soft limit stands in a list of its worker until it is below again;
 * the worker looks at that list when the first of it may have had its time.
 *
 * The memory of all connections is the sum of one word a worker, which its sessions keep up to date; it
 * is added up only when there is a limit to it.
 */
#include "session/session_limits.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "redis/redis_value.h"
#include "session/session_internal.h"

static const char *const CLASSES[SESSION_CLASSES] = {"normal", "slave", "pubsub"};

/* --------------------------------------------------------------------------------- as text */

static bool slice_is(const struct redis_slice *slice, const char *text)
{
    return slice->size == strlen(text) && strncasecmp(slice->data, text, slice->size) == 0;
}

bool session__memory_parse(const struct redis_slice *text, int64_t *out)
{
    static const struct {
        const char *name;
        int64_t factor;
    } UNITS[] = {{"", 1},        {"b", 1},        {"k", 1000},       {"kb", 1 << 10},
                 {"m", 1000000}, {"mb", 1 << 20}, {"g", 1000000000}, {"gb", 1 << 30}};
    size_t digits = 0;
    while (digits < text->size && text->data[digits] >= '0' && text->data[digits] <= '9')
        digits++;
    const struct redis_slice unit = {text->data + digits, text->size - digits};
    if (!digits || !redis_integer_parse(text->data, digits, out))
        return false;
    for (size_t n = 0; n < sizeof UNITS / sizeof *UNITS; n++)
        if (slice_is(&unit, UNITS[n].name))
            return !__builtin_mul_overflow(*out, UNITS[n].factor, out);
    return false;
}

static bool word_next(struct redis_slice *rest, struct redis_slice *word)
{
    while (rest->size > 0 && *rest->data == ' ')
        rest->data++, rest->size--;
    *word = (struct redis_slice){rest->data, 0};
    while (word->size < rest->size && word->data[word->size] != ' ')
        word->size++;
    rest->data += word->size;
    rest->size -= word->size;
    return word->size > 0;
}

static int class_parse(const struct redis_slice *word)
{
    for (int class = 0; class < SESSION_CLASSES; class ++)
        if (slice_is(word, CLASSES[class]))
            return class;
    return slice_is(word, "replica") ? SESSION_REPLICA : -1;
}

/* A class and its three numbers; NULL, or what is wrong with them. */
static const char *entry_parse(struct redis_slice *rest, int *class, int64_t numbers[3])
{
    struct redis_slice words[4];
    for (unsigned n = 0; n < 4; n++)
        if (!word_next(rest, &words[n]))
            return "Wrong number of arguments in buffer limit configuration.";
    *class = class_parse(&words[0]);
    if (*class < 0)
        return "Invalid client class specified in buffer limit configuration.";
    if (!session__memory_parse(&words[1], &numbers[0]) ||
        !session__memory_parse(&words[2], &numbers[1]) ||
        !redis_integer_parse(words[3].data, words[3].size, &numbers[2]) || numbers[2] < 0 ||
        numbers[2] > INT32_MAX)
        return "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
    return NULL;
}

const char *session__output_limits_check(const struct redis_slice *text)
{
    struct redis_slice rest = *text, word;
    int64_t numbers[3];
    int class;
    const char *wrong = NULL;
    for (struct redis_slice ahead = rest; !wrong && word_next(&ahead, &word); ahead = rest)
        wrong = entry_parse(&rest, &class, numbers);
    return wrong;
}

void session__output_limits_set(struct session_limits *limits, const struct redis_slice *text)
{
    struct redis_slice rest = *text;
    int64_t numbers[3];
    int class;
    while (rest.size > 0 && !entry_parse(&rest, &class, numbers)) {
        store_relaxed(&limits->output[class].hard, (uint64_t)numbers[0]);
        store_relaxed(&limits->output[class].soft, (uint64_t)numbers[1]);
        store_relaxed(&limits->output[class].soft_s, (uint64_t)numbers[2]);
    }
}

void session__output_limits_format(const struct session_limits *limits,
                                   char out[SESSION_LIMITS_TEXT_MAX])
{
    int size = 0;
    for (int class = 0; class < SESSION_CLASSES; class ++)
        size += snprintf(out + size, (size_t)(SESSION_LIMITS_TEXT_MAX - size),
                         "%s%s %" PRIu64 " %" PRIu64 " %" PRIu64, class ? " " : "", CLASSES[class],
                         load_relaxed(&limits->output[class].hard),
                         load_relaxed(&limits->output[class].soft),
                         load_relaxed(&limits->output[class].soft_s));
}

void session__limits_create(struct session_limits *limits, const struct service_limits *options)
{
    store_relaxed(&limits->output[SESSION_NORMAL].hard, options->output_bytes_max);
    store_relaxed(&limits->output[SESSION_PUBSUB].hard, options->subscriber_bytes_max);
    store_relaxed(&limits->output[SESSION_REPLICA].hard, 256ul << 20);
    store_relaxed(&limits->output[SESSION_REPLICA].soft, 64ul << 20);
    store_relaxed(&limits->output[SESSION_REPLICA].soft_s, 60);
    store_relaxed(&limits->query, INT64_C(1) << 30);
}

/* ---------------------------------------------------------------------------- of one session */

static enum session_class class_of(const struct session *session)
{
    return channels_listener_count(&session->listener) ? SESSION_PUBSUB : SESSION_NORMAL;
}

static size_t output_of(const struct session *session)
{
    return session__output_bytes(session) + session->push.size;
}

static void cut_off(struct session *session)
{
    session->dead = session->closing = true;
    list_remove(&session->excess.link);
    session__ready(session);
}

static void output_closed(struct session *session, const char *limit, uint64_t bytes)
{
    const struct session_about *about = &session->about;
    log_warn(
        "closing client %" PRIu64 " (%s): %zu bytes of output are unread, beyond the %s limit of "
        "%" PRIu64 " bytes for %s clients (client-output-buffer-limit)",
        about->id, about->address, output_of(session), limit, bytes, CLASSES[class_of(session)]);
    atomic_fetch_add_explicit(&session->service->client_limits.output_closed, 1,
                              memory_order_relaxed);
    cut_off(session);
}

static uint64_t hard_of(const struct session *session, enum session_class class)
{
    return load_relaxed(&session->service->client_limits.output[class].hard);
}

void session__limits_bound(struct session *session)
{
    session->out.bytes_max = session->push.bytes_max = hard_of(session, class_of(session));
}

void session__output_exceeded(struct session *session)
{
    uint64_t hard = hard_of(session, class_of(session));
    log_warn("closing client %" PRIu64 " (%s): its output does not fit into %s of %" PRIu64
             " bytes (client-output-buffer-limit)",
             session->about.id, session->about.address,
             hard ? "the hard limit" : "memory, beyond a limit", hard);
    atomic_fetch_add_explicit(&session->service->client_limits.output_closed, 1,
                              memory_order_relaxed);
    cut_off(session);
}

bool session__push_full(const struct session *session, size_t more)
{
    uint64_t hard = hard_of(session, SESSION_PUBSUB);
    return session->push.failed || (hard && output_of(session) + more > hard);
}

static void soft_look(struct session *session, uint64_t soft, uint64_t soft_s)
{
    struct session_excess *excess = &session->excess;
    bool beyond = soft && soft_s && output_of(session) > soft;
    if (beyond == !list_empty(&excess->link))
        return;
    list_remove(&excess->link);
    if (!beyond)
        return;
    excess->since_ns = clock_monotonic_ns(session->service->options.clock);
    list_add_tail(&session->worker->excessive, &excess->link);
    session__due_at(session->worker, excess->since_ns + soft_s * 1000000000);
}

static void query_look(struct session *session)
{
    struct session_limits *limits = &session->service->client_limits;
    const struct session_about *about = &session->about;
    uint64_t max = (uint64_t)load_relaxed(&limits->query);
    uint64_t bytes = session__input_bytes(session) + session__queue_bytes(session);
    if (bytes <= max)
        return;
    log_warn("closing client %" PRIu64 " (%s): %" PRIu64
             " bytes of input wait to be executed, beyond "
             "the limit of %" PRIu64 " (client-query-buffer-limit)",
             about->id, about->address, bytes, max);
    atomic_fetch_add_explicit(&limits->query_closed, 1, memory_order_relaxed);
    cut_off(session);
}

void session__limits_look(struct session *session)
{
    struct session_limits *limits = &session->service->client_limits;
    enum session_class class = class_of(session);
    uint64_t hard = hard_of(session, class);
    if (session->dead)
        return;
    if (hard && output_of(session) > hard) {
        output_closed(session, "hard", hard);
        return;
    }
    soft_look(session, load_relaxed(&limits->output[class].soft),
              load_relaxed(&limits->output[class].soft_s));
    query_look(session);
}

uint64_t session__limits_expire(struct session_worker *worker, uint64_t now_ns)
{
    struct session_limits *limits = &worker->service->client_limits;
    uint64_t next = UINT64_MAX;
    list_for_each_safe (link, &worker->excessive) {
        struct session *session = list_entry(link, struct session, excess.link);
        enum session_class class = class_of(session);
        uint64_t soft = load_relaxed(&limits->output[class].soft);
        uint64_t soft_s = load_relaxed(&limits->output[class].soft_s);
        uint64_t at_ns = session->excess.since_ns + soft_s * 1000000000;
        if (!soft || !soft_s || output_of(session) <= soft)
            list_remove(&session->excess.link);
        else if (at_ns <= now_ns)
            output_closed(session, "soft", soft);
        else if (at_ns < next)
            next = at_ns;
    }
    return next;
}

/* ---------------------------------------------------------------------------- of all together */

static uint64_t memory_max(struct service *service)
{
    int64_t memory = load_relaxed(&service->client_limits.memory);
    if (memory >= 0)
        return (uint64_t)memory;
    return (uint64_t)load_relaxed(&service->config.maxmemory) / 100 * (uint64_t)-memory;
}

/* Of all but those that are being closed. Under the service's mutex. */
static uint64_t memory_of(struct service *service)
{
    uint64_t bytes = 0;
    list_for_each (link, &service->clients) {
        const struct session_about *about = &list_entry(link, struct session, link)->about;
        bytes += about->killed ? 0 : load_relaxed(&about->bytes.all);
    }
    return bytes;
}

/* The one with the most memory of those that may go; NULL. Under the service's mutex. */
static struct session *largest(struct service *service)
{
    struct session *found = NULL;
    list_for_each (link, &service->clients) {
        struct session *session = list_entry(link, struct session, link);
        const struct session_about *about = &session->about;
        if (!about->killed && !load_relaxed(&about->no_evict) &&
            (!found || load_relaxed(&about->bytes.all) > load_relaxed(&found->about.bytes.all)))
            found = session;
    }
    return found;
}

void session__clients_evict(struct session_worker *worker)
{
    struct service *service = worker->service;
    uint64_t max = memory_max(service), bytes = 0;
    if (!max)
        return;
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count; n++)
        if (service->workers[n])
            bytes += load_relaxed(&service->workers[n]->client_bytes);
    bytes = bytes > max ? memory_of(service) : 0;
    struct session *session;
    while (bytes > max && (session = largest(service)) != NULL) {
        uint64_t its = load_relaxed(&session->about.bytes.all);
        log_warn("closing client %" PRIu64 " (%s), which has the most memory (%" PRIu64
                 " bytes): all clients have %" PRIu64
                 ", more than maxmemory-clients allows (%" PRIu64 ")",
                 session->about.id, session->about.address, its, bytes, max);
        session->about.killed = true;
        session__order(session, SESSION_ORDER_KILL);
        atomic_fetch_add_explicit(&service->client_limits.evicted, 1, memory_order_relaxed);
        bytes -= its < bytes ? its : bytes;
    }
    pthread_mutex_unlock(&service->mutex);
}
