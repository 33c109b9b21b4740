/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See session_pubsub.h. Of the mutexes the service's is taken first, then a worker's for its
 * channels, then the one for its inbox.
 */
#include "session/session_internal.h"

#include <stdlib.h>

#include "codec/json.h"
#include "redis/redis_glob.h"
#include "redis/redis_value.h"

enum {
    INBOX_BYTES_MAX = 64 << 20,
    SUBSCRIPTIONS_MAX = 65536, /* of a session */
    MESSAGE_OVERHEAD = 64
};

void session__pubsub_create(struct session_pubsub *pubsub)
{
    list_create(&pubsub->inbox);
    channels_create(&pubsub->channels);
    pthread_mutex_init(&pubsub->channels_mutex, NULL);
}

static void messages_free(struct list *messages)
{
    struct list *link;
    while ((link = list_first(messages)) != NULL) {
        list_remove(link);
        free(list_entry(link, struct session_message, link));
    }
}

void session__pubsub_destroy(struct session_pubsub *pubsub)
{
    messages_free(&pubsub->inbox);
    channels_destroy(&pubsub->channels);
    pthread_mutex_destroy(&pubsub->channels_mutex);
}

/* ------------------------------------------------------------------------ from a commit to inboxes */

static struct redis_slice channel_of(const char **message)
{
    uint32_t size;
    mp_decode_array(message);
    struct redis_slice name = {mp_decode_str(message, &size), 0};
    name.size = size;
    return name;
}

void session__inbox_add(struct session_worker *worker, unsigned kind, const char *data, size_t size)
{
    struct session_pubsub *pubsub = &worker->pubsub;
    struct session_message *message = data ? malloc(sizeof *message + size) : NULL;
    if (message) {
        message->kind = kind;
        message->size = size;
        memcpy(message->data, data, size);
    }
    pthread_mutex_lock(&worker->wake_mutex);
    if (message && !pubsub->overflow && pubsub->inbox_bytes <= INBOX_BYTES_MAX) {
        list_add_tail(&pubsub->inbox, &message->link);
        pubsub->inbox_bytes += size + MESSAGE_OVERHEAD;
        message = NULL;
    } else {
        pubsub->overflow = true;
    }
    bool first = !atomic_exchange_explicit(&worker->stirred, true, memory_order_acq_rel);
    pthread_mutex_unlock(&worker->wake_mutex);
    free(message);
    if (first)
        session__worker_wake(worker);
}

static uint64_t worker_receivers(struct session_worker *worker, const struct redis_slice *channel,
                                 enum channels_kind kind)
{
    pthread_mutex_lock(&worker->pubsub.channels_mutex);
    uint64_t count =
        channels_receivers(&worker->pubsub.channels, channel->data, channel->size, kind);
    pthread_mutex_unlock(&worker->pubsub.channels_mutex);
    return count;
}

static void message_route(uint64_t ts, unsigned kind, const void *data, size_t size, void *arg)
{
    struct service *service = arg;
    const char *at = data;
    if (kind == REDIS_DEFER_KEY) {
        session__block_stir(service->blocks, data);
        if (load_relaxed(&service->interest.tracking))
            session__tracking_changed(service->tracking, ts, data);
    }
    if (kind == REDIS_DEFER_SWAP)
        session__block_stir_all(service->blocks, (unsigned char)at[0], (unsigned char)at[1]);
    if (kind == REDIS_DEFER_FLUSH)
        session__tracking_flushed(service->tracking, ts);
    if ((kind != REDIS_DEFER_PUBLISH && kind != REDIS_DEFER_SPUBLISH) ||
        load_relaxed(&service->listeners) == 0)
        return;
    enum channels_kind to = kind == REDIS_DEFER_SPUBLISH ? CHANNELS_SHARD : CHANNELS_CHANNEL;
    struct redis_slice channel = channel_of(&at);
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count; n++)
        if (service->workers[n] && worker_receivers(service->workers[n], &channel, to) > 0)
            session__inbox_add(service->workers[n], kind, data, size);
    pthread_mutex_unlock(&service->mutex);
}

void session__deferred_run(struct session_worker *worker)
{
    struct txn_system *system = db_txn_system(worker->service->options.db);
    if (txn_deferred_pending(system))
        txn_deferred_run(system, message_route, worker->service);
}

uint64_t session__receivers(struct service *service, const char *name, size_t size, bool shard)
{
    const struct redis_slice channel = {name, size};
    uint64_t count = 0;
    if (load_relaxed(&service->listeners) == 0)
        return 0;
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count; n++)
        if (service->workers[n])
            count += worker_receivers(service->workers[n], &channel,
                                      shard ? CHANNELS_SHARD : CHANNELS_CHANNEL);
    pthread_mutex_unlock(&service->mutex);
    return count;
}

/* --------------------------------------------------------------------- from an inbox to sessions */

static const char *const MESSAGES[CHANNELS_KINDS] = {"message", "pmessage", "smessage"};

/* Text as it is; anything else, which only box.notify can send, as JSON. */
static void put_payload(struct mp_buffer *out, const char *payload)
{
    struct json_buffer json;
    uint32_t size;
    if (mp_typeof(*payload) == MP_STR || mp_typeof(*payload) == MP_BIN) {
        const char *data = mp_typeof(*payload) == MP_STR ? mp_decode_str(&payload, &size)
                                                         : mp_decode_bin(&payload, &size);
        resp_put_bulk(out, data, size);
        return;
    }
    json_buffer_create(&json);
    if (json_from_msgpack(&json, &payload))
        resp_put_null(out, RESP2);
    else
        resp_put_bulk(out, json.data, json.size);
    json_buffer_destroy(&json);
}

static void put_resp(struct session *session, const struct channels_channel *to,
                     const struct redis_slice *channel, const char *payload)
{
    struct mp_buffer *out = &session->push;
    bool pattern = to->kind == CHANNELS_PATTERN;
    const char *what = MESSAGES[to->kind];
    resp_put_push(out, session->protocol, pattern ? 4 : 3);
    resp_put_bulk(out, what, strlen(what));
    if (pattern)
        resp_put_bulk(out, to->name, to->size);
    resp_put_bulk(out, channel->data, channel->size);
    put_payload(out, payload);
}

static void put_rpc(struct session *session, const struct channels_channel *to,
                    const struct redis_slice *channel, const char *payload)
{
    bool pattern = to->kind == CHANNELS_PATTERN;
    struct mp_buffer *out = &session->push;
    const char *end = payload;
    mp_next(&end);
    rpc_put_notification_begin(out, MESSAGES[to->kind]);
    mp_put_array(out, pattern ? 3 : 2);
    if (pattern)
        mp_put_str(out, to->name, to->size);
    mp_put_str(out, channel->data, channel->size);
    mp_put_raw(out, payload, (size_t)(end - payload));
}

static void cut_off(struct session *session)
{
    session->dead = session->closing = true;
    session__ready(session);
}

/* There is more for the session to take; it is cut off when it takes too little. */
static void pushed(struct session *session)
{
    if (session__push_full(session, 0)) {
        session__output_exceeded(session);
        return;
    }
    session__limits_look(session);
    session__bytes_note(session);
    session__ready(session);
}

static void push(struct channels_listener *listener, const struct channels_channel *to,
                 const struct redis_slice *channel, const char *payload)
{
    struct session *session = list_entry(listener, struct session, listener);
    if (session->closing)
        return;
    (session->kind == PROTO_RPC ? put_rpc : put_resp)(session, to, channel, payload);
    pushed(session);
}

static void push_to_all(const struct channels_channel *to, const struct redis_slice *channel,
                        const char *payload)
{
    list_for_each (link, &to->subscriptions)
        push(list_entry(link, struct channels_subscription, by_channel)->listener, to, channel,
             payload);
}

static void message_deliver(const struct channels *channels, bool shard, const char *message)
{
    struct redis_slice channel = channel_of(&message);
    const struct channels_channel *exact = channels_find(channels, channel.data, channel.size,
                                                         shard ? CHANNELS_SHARD : CHANNELS_CHANNEL);
    if (exact)
        push_to_all(exact, &channel, message);
    if (shard)
        return;
    list_for_each (link, &channels->patterns) {
        const struct channels_channel *pattern = list_entry(link, struct channels_channel, link);
        if (channels_match(pattern, channel.data, channel.size))
            push_to_all(pattern, &channel, message);
    }
}

static void cut_off_all(struct session_worker *worker)
{
    pthread_mutex_lock(&worker->service->mutex);
    list_for_each (link, &worker->service->clients) {
        struct session *session = list_entry(link, struct session, link);
        if (session->worker == worker &&
            (channels_listener_count(&session->listener) || session->tracker))
            cut_off(session);
    }
    pthread_mutex_unlock(&worker->service->mutex);
}

void session__inbox_take(struct session_worker *worker)
{
    struct session_pubsub *pubsub = &worker->pubsub;
    struct list messages, *link;
    list_create(&messages);
    pthread_mutex_lock(&worker->wake_mutex);
    while ((link = list_first(&pubsub->inbox)) != NULL) {
        list_remove(link);
        list_add_tail(&messages, link);
    }
    bool overflow = pubsub->overflow;
    pubsub->overflow = false;
    pubsub->inbox_bytes = 0;
    pthread_mutex_unlock(&worker->wake_mutex);
    list_for_each (each, &messages) {
        const struct session_message *message = list_entry(each, struct session_message, link);
        if (message->kind == REDIS_DEFER_PUBLISH || message->kind == REDIS_DEFER_SPUBLISH) {
            message_deliver(&pubsub->channels, message->kind == REDIS_DEFER_SPUBLISH,
                            message->data);
            continue;
        }
        struct session *session = session__tracking_deliver(worker->service->tracking, message);
        if (session)
            pushed(session);
    }
    messages_free(&messages);
    if (overflow)
        cut_off_all(worker);
}

bool session__push_take(struct session *session)
{
    if (session->push.size == 0)
        return false;
    mp_put_raw(&session->out, session->push.data, session->push.size);
    mp_buffer_reset(&session->push, SESSION_BUFFER_KEEP_BYTES);
    session__reply_end(session, session->push_ts, 0, true);
    session->push_ts = 0;
    return true;
}

/* ---------------------------------------------------------------------------------- subscribing */

static void about_set(struct session *session)
{
    const unsigned *counts = session->listener.counts;
    store_relaxed(&session->about.channels, counts[CHANNELS_CHANNEL]);
    store_relaxed(&session->about.patterns, counts[CHANNELS_PATTERN]);
    store_relaxed(&session->about.shards, counts[CHANNELS_SHARD]);
}

int session__listen(struct session *session, const char *name, size_t size, enum channels_kind kind)
{
    struct session_pubsub *pubsub = &session->worker->pubsub;
    struct channels_listener *listener = &session->listener;
    unsigned before = channels_listener_count(listener);
    if (before >= SUBSCRIPTIONS_MAX)
        return diag_set(ERROR_INVALID, "a connection listens to at most %d channels and patterns",
                        SUBSCRIPTIONS_MAX);
    pthread_mutex_lock(&pubsub->channels_mutex);
    int rc = channels_subscribe(&pubsub->channels, listener, name, size, kind);
    pthread_mutex_unlock(&pubsub->channels_mutex);
    atomic_fetch_add_explicit(&session->service->listeners,
                              channels_listener_count(listener) - before, memory_order_relaxed);
    about_set(session);
    return rc;
}

void session__unlisten(struct session *session, const char *name, size_t size,
                       enum channels_kind kind)
{
    struct session_pubsub *pubsub = &session->worker->pubsub;
    struct channels_listener *listener = &session->listener;
    unsigned before = channels_listener_count(listener);
    pthread_mutex_lock(&pubsub->channels_mutex);
    channels_unsubscribe(&pubsub->channels, listener, name, size, kind);
    pthread_mutex_unlock(&pubsub->channels_mutex);
    atomic_fetch_sub_explicit(&session->service->listeners,
                              before - channels_listener_count(listener), memory_order_relaxed);
    about_set(session);
}

/* The session's first subscription of this sort; NULL when there is none. */
static const struct channels_channel *first_of(const struct session *session,
                                               enum channels_kind kind)
{
    list_for_each (link, &session->listener.subscriptions) {
        const struct channels_subscription *subscription =
            list_entry(link, struct channels_subscription, by_listener);
        if (subscription->channel->kind == kind)
            return subscription->channel;
    }
    return NULL;
}

void session__unlisten_all(struct session *session, enum channels_kind kind)
{
    const struct channels_channel *channel;
    while ((channel = first_of(session, kind)) != NULL)
        session__unlisten(session, channel->name, channel->size, kind);
}

void session__unsubscribe_all(struct session *session)
{
    for (enum channels_kind kind = 0; kind < CHANNELS_KINDS; kind++)
        session__unlisten_all(session, kind);
}

int session__subscriptions_keep(struct session *session, struct session_subscriptions **out)
{
    struct arena *arena = &session->queue_arena;
    unsigned count = channels_listener_count(&session->listener);
    struct session_subscriptions *kept =
        arena_alloc(arena, sizeof *kept + count * sizeof *kept->items);
    if (!kept)
        return diag_set(ERROR_MEMORY, "out of memory");
    kept->count = 0;
    list_for_each (link, &session->listener.subscriptions) {
        const struct channels_channel *channel =
            list_entry(link, struct channels_subscription, by_listener)->channel;
        const char *name = arena_copy(arena, channel->name, channel->size);
        if (!name)
            return diag_set(ERROR_MEMORY, "out of memory");
        kept->items[kept->count].name = (struct redis_slice){name, channel->size};
        kept->items[kept->count++].kind = channel->kind;
    }
    *out = kept;
    return 0;
}

void session__subscriptions_return(struct session *session,
                                   const struct session_subscriptions *kept)
{
    if (!kept)
        return;
    session__unsubscribe_all(session);
    for (unsigned n = 0; n < kept->count; n++)
        if (session__listen(session, kept->items[n].name.data, kept->items[n].name.size,
                            kept->items[n].kind))
            session->closing = true; /* it must not go on without what it listens to */
}

/* One answer of many: what was done, to which (NULL: none); then how many there are now. */
static void confirm_begin(struct session *session, const char *what, const char *name, size_t size)
{
    resp_put_push(&session->out, session->protocol, 3);
    resp_put_bulk(&session->out, what, strlen(what));
    if (name)
        resp_put_bulk(&session->out, name, size);
    else
        resp_put_null(&session->out, session->protocol);
}

/* Shard channels are counted by themselves. */
static void confirm_end(struct session *session, enum channels_kind kind)
{
    const unsigned *counts = session->listener.counts;
    resp_put_integer(&session->out, kind == CHANNELS_SHARD
                                        ? counts[CHANNELS_SHARD]
                                        : counts[CHANNELS_CHANNEL] + counts[CHANNELS_PATTERN]);
}

static int subscribe(struct session *session, struct session_request *request,
                     enum channels_kind kind)
{
    static const char *const WORDS[CHANNELS_KINDS] = {"subscribe", "psubscribe", "ssubscribe"};
    for (unsigned n = 1; n < request->argc; n++) {
        const struct redis_slice *name = &request->argv[n];
        int rc = session__listen(session, name->data, name->size, kind);
        if (rc)
            return rc;
        confirm_begin(session, WORDS[kind], name->data, name->size);
        confirm_end(session, kind);
    }
    return 0;
}

static int unsubscribe(struct session *session, struct session_request *request,
                       enum channels_kind kind)
{
    static const char *const WORDS[CHANNELS_KINDS] = {"unsubscribe", "punsubscribe",
                                                      "sunsubscribe"};
    const char *what = WORDS[kind];
    for (unsigned n = 1; n < request->argc; n++) {
        const struct redis_slice *name = &request->argv[n];
        confirm_begin(session, what, name->data, name->size);
        session__unlisten(session, name->data, name->size, kind);
        confirm_end(session, kind);
    }
    if (request->argc > 1)
        return 0;
    const struct channels_channel *channel = first_of(session, kind);
    if (!channel) {
        confirm_begin(session, what, NULL, 0);
        confirm_end(session, kind);
    }
    for (; channel; channel = first_of(session, kind)) {
        confirm_begin(session, what, channel->name, channel->size);
        session__unlisten(session, channel->name, channel->size, kind);
        confirm_end(session, kind);
    }
    return 0;
}

int session__subscribe(struct session *session, struct session_request *request)
{
    return subscribe(session, request, CHANNELS_CHANNEL);
}

int session__unsubscribe(struct session *session, struct session_request *request)
{
    return unsubscribe(session, request, CHANNELS_CHANNEL);
}

int session__psubscribe(struct session *session, struct session_request *request)
{
    return subscribe(session, request, CHANNELS_PATTERN);
}

int session__punsubscribe(struct session *session, struct session_request *request)
{
    return unsubscribe(session, request, CHANNELS_PATTERN);
}

int session__ssubscribe(struct session *session, struct session_request *request)
{
    /* EXEC's reply has one for each command: Redis lets the other two for the sake of old clients. */
    if (request->txn)
        return diag_set(ERROR_INVALID, "SSUBSCRIBE isn't allowed for a DENY BLOCKING client");
    return subscribe(session, request, CHANNELS_SHARD);
}

int session__sunsubscribe(struct session *session, struct session_request *request)
{
    return unsubscribe(session, request, CHANNELS_SHARD);
}

/* --------------------------------------------------------------------------------------- PUBSUB */

/* Names of all workers, with a copy of each. */
struct names {
    struct redis_slice *items;
    size_t count, capacity;
    bool failed;
};

static void name_add(struct names *names, const struct channels_channel *channel)
{
    if (names->count == names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 64;
        struct redis_slice *items = realloc(names->items, capacity * sizeof *items);
        if (!items) {
            names->failed = true;
            return;
        }
        names->items = items;
        names->capacity = capacity;
    }
    char *copy = malloc(channel->size + 1);
    if (!copy) {
        names->failed = true;
        return;
    }
    memcpy(copy, channel->name, channel->size);
    names->items[names->count++] = (struct redis_slice){copy, channel->size};
}

static int by_name(const void *left, const void *right)
{
    const struct redis_slice *one = left, *two = right;
    size_t size = one->size < two->size ? one->size : two->size;
    int order = memcmp(one->data, two->data, size);
    return order ? order : (one->size > two->size) - (one->size < two->size);
}

static void names_free(struct names *names)
{
    for (size_t n = 0; n < names->count; n++)
        free((char *)(uintptr_t)names->items[n].data);
    free(names->items);
}

static void names_unique(struct names *names)
{
    size_t kept = 0;
    if (names->count)
        qsort(names->items, names->count, sizeof *names->items, by_name);
    for (size_t n = 0; n < names->count; n++) {
        if (kept && by_name(&names->items[kept - 1], &names->items[n]) == 0)
            free((char *)(uintptr_t)names->items[n].data);
        else
            names->items[kept++] = names->items[n];
    }
    names->count = kept;
}

static void worker_names(struct session_worker *worker, enum channels_kind kind,
                         const struct redis_slice *glob, struct names *names)
{
    const struct channels *channels = &worker->pubsub.channels;
    pthread_mutex_lock(&worker->pubsub.channels_mutex);
    for (size_t bucket = 0; bucket < channels->bucket_count; bucket++)
        for (const struct channels_channel *channel = channels->buckets[bucket]; channel;
             channel = channel->next)
            if (channel->kind == kind &&
                (!glob || redis_glob_match(glob->data, glob->size, channel->name, channel->size)))
                name_add(names, channel);
    pthread_mutex_unlock(&worker->pubsub.channels_mutex);
}

/* The names of all channels of a kind that somebody listens to. */
static int names_gather(struct service *service, enum channels_kind kind,
                        const struct redis_slice *glob, struct names *names)
{
    *names = (struct names){.items = NULL};
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count; n++)
        if (service->workers[n])
            worker_names(service->workers[n], kind, glob, names);
    pthread_mutex_unlock(&service->mutex);
    names_unique(names);
    if (!names->failed)
        return 0;
    names_free(names);
    return diag_set(ERROR_MEMORY, "out of memory");
}

int session__pubsub_counts(struct service *service, uint64_t counts[CHANNELS_KINDS])
{
    struct names names;
    int rc = 0;
    for (enum channels_kind kind = 0; kind < CHANNELS_KINDS && !rc; kind++) {
        rc = names_gather(service, kind, NULL, &names);
        counts[kind] = rc ? 0 : names.count;
        if (!rc)
            names_free(&names);
    }
    return rc;
}

static int put_names(struct session *session, struct session_request *request,
                     enum channels_kind kind)
{
    struct names names;
    if (request->argc > 3)
        return session__errorf(session, "ERR",
                               "unknown subcommand or wrong number of arguments for '%.*s'. Try "
                               "PUBSUB HELP.",
                               (int)request->argv[1].size, request->argv[1].data);
    int rc =
        names_gather(session->service, kind, request->argc > 2 ? &request->argv[2] : NULL, &names);
    if (rc)
        return rc;
    resp_put_array(&session->out, names.count);
    for (size_t n = 0; n < names.count; n++)
        resp_put_bulk(&session->out, names.items[n].data, names.items[n].size);
    names_free(&names);
    return 0;
}

static int pubsub_channels(struct session *session, struct session_request *request)
{
    return put_names(session, request, CHANNELS_CHANNEL);
}

static int pubsub_shardchannels(struct session *session, struct session_request *request)
{
    return put_names(session, request, CHANNELS_SHARD);
}

static uint64_t subscribers(struct service *service, const struct redis_slice *name,
                            enum channels_kind kind)
{
    uint64_t count = 0;
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count; n++) {
        struct session_worker *worker = service->workers[n];
        if (!worker)
            continue;
        pthread_mutex_lock(&worker->pubsub.channels_mutex);
        const struct channels_channel *channel =
            channels_find(&worker->pubsub.channels, name->data, name->size, kind);
        count += channel ? channel->count : 0;
        pthread_mutex_unlock(&worker->pubsub.channels_mutex);
    }
    pthread_mutex_unlock(&service->mutex);
    return count;
}

static int put_numbers(struct session *session, struct session_request *request,
                       enum channels_kind kind)
{
    resp_put_array(&session->out, (request->argc - 2) * 2);
    for (unsigned n = 2; n < request->argc; n++) {
        const struct redis_slice *name = &request->argv[n];
        resp_put_bulk(&session->out, name->data, name->size);
        resp_put_integer(&session->out, (int64_t)subscribers(session->service, name, kind));
    }
    return 0;
}

static int pubsub_numsub(struct session *session, struct session_request *request)
{
    return put_numbers(session, request, CHANNELS_CHANNEL);
}

static int pubsub_shardnumsub(struct session *session, struct session_request *request)
{
    return put_numbers(session, request, CHANNELS_SHARD);
}

static int pubsub_numpat(struct session *session, struct session_request *request)
{
    struct names names;
    (void)request;
    int rc = names_gather(session->service, CHANNELS_PATTERN, NULL, &names);
    if (rc)
        return rc;
    resp_put_integer(&session->out, (int64_t)names.count);
    names_free(&names);
    return 0;
}

static int pubsub_help(struct session *session, struct session_request *request)
{
    (void)request;
    static const char *const LINES[] = {
        "CHANNELS [<pattern>]",
        "    Return the currently active channels matching a <pattern> (default: '*').",
        "NUMPAT",
        "    Return number of subscriptions to patterns.",
        "NUMSUB [<channel> ...]",
        "    Return the number of subscribers for the specified channels, excluding",
        "    pattern subscriptions(default: no channels).",
        "SHARDCHANNELS [<pattern>]",
        "    Return the currently active shard level channels matching a <pattern> (default: '*').",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    Return the number of subscribers for the specified shard level channel(s)",
    };
    session__put_help(session, "PUBSUB", LINES, sizeof LINES / sizeof *LINES);
    return 0;
}

#define ROW(name, arity, summary, since, run)                                 \
    {                                                                         \
        name, arity, 0, 0, 0, 0, summary, since, "pubsub", run, NULL, NULL, 0 \
    }
const struct session_command session__pubsub_commands[] = {
    ROW("pubsub|channels", -2, "Returns the active channels.", "2.8.0", pubsub_channels),
    ROW("pubsub|help", 2, "Returns helpful text about the different subcommands.", "6.2.0",
        pubsub_help),
    ROW("pubsub|numpat", 2, "Returns a count of unique pattern subscriptions.", "2.8.0",
        pubsub_numpat),
    ROW("pubsub|numsub", -2, "Returns a count of subscribers to channels.", "2.8.0", pubsub_numsub),
    ROW("pubsub|shardchannels", -2, "Returns the active shard channels.", "7.0.0",
        pubsub_shardchannels),
    ROW("pubsub|shardnumsub", -2, "Returns the count of subscribers of shard channels.", "7.0.0",
        pubsub_shardnumsub),
    {0},
};
