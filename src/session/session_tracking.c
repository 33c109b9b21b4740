/* SPDX-License-Identifier: Apache-2.0 */

/*
 * See session_tracking.h.
 *
 *     keys:      buckets ─► key ─► key        each with the numbers of the connections that have it
 *     trackers:  buckets ─► tracker           by number of the connection; redirected to, or tracking
 *     recent:    a ring of (hash of a name, timestamp), in order of timestamps
 *
 * Numbers of connections that have gone stay with the keys until these change or leave.
 */
#include "session/session_tracking.h"

#include <stdlib.h>

#include "redis/redis_value.h"
#include "session/session_internal.h"
#include "session/session_tracker.h"

enum { KEY_BUCKETS_MIN = 1024, TRACKER_BUCKETS = 1024, RECENT = 4096, KEYS_ON_STACK = 64 };

struct tracked_key {
    struct tracked_key *next;
    uint64_t hash;
    uint32_t count, capacity;
    uint64_t *ids;
    size_t size;
    char name[];
};

struct session_tracking {
    pthread_mutex_t mutex;
    struct redis_interest *interest;
    struct tracked_key **buckets;
    size_t bucket_count, key_count, item_count, hand; /* hand: the bucket whose keys leave next */
    struct session_tracker *trackers[TRACKER_BUCKETS];
    struct list active; /* those that are on */
    uint64_t active_count;
    struct {
        uint64_t hash, ts;
    } recent[RECENT];
    uint64_t recent_count; /* ever */
    uint64_t forgotten_ts; /* of what has left the ring, and of flushes: the newest */
};

/* What stands in an inbox. */
struct notice {
    uint64_t to, redirected_to;
    bool redirected, all; /* all: no name follows, forget everything */
};

struct session_tracking *session__tracking_new(struct redis_interest *interest)
{
    struct session_tracking *tracking = calloc(1, sizeof *tracking);
    if (!tracking)
        return NULL;
    pthread_mutex_init(&tracking->mutex, NULL);
    list_create(&tracking->active);
    tracking->interest = interest;
    return tracking;
}

/* ----------------------------------------------------------------------------------------- keys */

static uint64_t name_hash(const char *name, size_t size)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t n = 0; n < size; n++)
        hash = (hash ^ (unsigned char)name[n]) * UINT64_C(1099511628211);
    return hash ^ hash >> 32;
}

static struct tracked_key **key_find(struct session_tracking *tracking, uint64_t hash,
                                     const char *name, size_t size)
{
    struct tracked_key **at = &tracking->buckets[hash & (tracking->bucket_count - 1)];
    while (*at &&
           !((*at)->hash == hash && (*at)->size == size && memcmp((*at)->name, name, size) == 0))
        at = &(*at)->next;
    return at;
}

static void key_drop(struct session_tracking *tracking, struct tracked_key **at)
{
    struct tracked_key *key = *at;
    *at = key->next;
    tracking->key_count--;
    tracking->item_count -= key->count;
    free(key->ids);
    free(key);
}

static void keys_drop(struct session_tracking *tracking)
{
    for (size_t n = 0; n < tracking->bucket_count; n++)
        while (tracking->buckets[n])
            key_drop(tracking, &tracking->buckets[n]);
}

static bool keys_grow(struct session_tracking *tracking)
{
    size_t old_count = tracking->bucket_count;
    size_t count = old_count ? old_count * 2 : KEY_BUCKETS_MIN;
    struct tracked_key **old = tracking->buckets;
    struct tracked_key **buckets = calloc(count, sizeof(struct tracked_key *));
    if (!buckets)
        return old_count > 0; /* longer chains, then */
    for (size_t n = 0; n < old_count; n++)
        for (struct tracked_key *key = old[n], *next; key; key = next) {
            struct tracked_key **bucket = &buckets[key->hash & (count - 1)];
            next = key->next;
            key->next = *bucket;
            *bucket = key;
        }
    free(old);
    tracking->buckets = buckets;
    tracking->bucket_count = count;
    return true;
}

static bool key_add(struct session_tracking *tracking, uint64_t hash,
                    const struct redis_slice *name, uint64_t id)
{
    if (tracking->key_count >= tracking->bucket_count && !keys_grow(tracking))
        return false;
    struct tracked_key **at = key_find(tracking, hash, name->data, name->size), *key = *at;
    if (!key) {
        key = malloc(sizeof *key + name->size);
        if (!key)
            return false;
        *key = (struct tracked_key){.hash = hash, .size = name->size};
        if (name->size)
            memcpy(key->name, name->data, name->size);
        *at = key;
        tracking->key_count++;
    }
    for (uint32_t n = 0; n < key->count; n++)
        if (key->ids[n] == id)
            return true;
    if (key->count == key->capacity) {
        uint32_t capacity = key->capacity ? key->capacity * 2 : 1;
        uint64_t *ids = realloc(key->ids, capacity * sizeof *ids);
        if (!ids)
            return false;
        key->ids = ids;
        key->capacity = capacity;
    }
    key->ids[key->count++] = id;
    tracking->item_count++;
    return true;
}

/* ------------------------------------------------------------------------------------- trackers */

struct session_tracker *session__tracker_find(struct session_tracking *tracking, uint64_t id)
{
    struct session_tracker *tracker = tracking->trackers[id % TRACKER_BUCKETS];
    while (tracker && tracker->id != id)
        tracker = tracker->next;
    return tracker;
}

struct session_tracker *session__tracker_make(struct session_tracking *tracking,
                                              struct session *session)
{
    struct session_tracker *tracker = session__tracker_find(tracking, session->about.id);
    if (tracker || !(tracker = calloc(1, sizeof *tracker)))
        return tracker;
    struct session_tracker **bucket = &tracking->trackers[session->about.id % TRACKER_BUCKETS];
    tracker->id = session->about.id;
    tracker->session = session;
    list_create(&tracker->link);
    tracker->next = *bucket;
    return *bucket = tracker;
}

void session__tracker_prefixes_drop(struct session_tracker *tracker)
{
    for (size_t n = 0; n < tracker->prefix_count; n++)
        free((char *)(uintptr_t)tracker->prefixes[n].data);
    free(tracker->prefixes);
    tracker->prefixes = NULL;
    tracker->prefix_count = 0;
}

void session__tracker_on(struct session_tracking *tracking, struct session_tracker *tracker)
{
    if (tracker->flags & TRACKER_ON)
        return;
    tracker->flags |= TRACKER_ON;
    list_add_tail(&tracking->active, &tracker->link);
    tracking->active_count++;
    atomic_fetch_add(&tracking->interest->tracking, 1);
}

static void tracker_off(struct session_tracking *tracking, struct session_tracker *tracker)
{
    if (!(tracker->flags & TRACKER_ON))
        return;
    list_remove(&tracker->link);
    list_create(&tracker->link);
    session__tracker_prefixes_drop(tracker);
    tracker->flags = 0;
    tracker->caching = false;
    tracker->redirect = 0;
    tracking->active_count--;
    atomic_fetch_sub(&tracking->interest->tracking, 1);
    if (tracking->active_count == 0)
        keys_drop(tracking);
}

static void tracker_delete(struct session_tracking *tracking, struct session_tracker *tracker)
{
    struct session_tracker **at = &tracking->trackers[tracker->id % TRACKER_BUCKETS];
    while (*at != tracker)
        at = &(*at)->next;
    *at = tracker->next;
    free(tracker);
}

pthread_mutex_t *session__tracking_mutex(struct session_tracking *tracking)
{
    return &tracking->mutex;
}

void session__tracking_delete(struct session_tracking *tracking)
{
    if (!tracking)
        return;
    keys_drop(tracking);
    free(tracking->buckets);
    pthread_mutex_destroy(&tracking->mutex);
    free(tracking);
}

void session__tracking_end(struct session *session, bool gone)
{
    struct session_tracking *tracking = session->service->tracking;
    pthread_mutex_lock(&tracking->mutex);
    struct session_tracker *tracker = session__tracker_find(tracking, session->about.id);
    if (tracker)
        tracker_off(tracking, tracker);
    if (tracker && gone)
        tracker_delete(tracking, tracker);
    pthread_mutex_unlock(&tracking->mutex);
    session->tracker = NULL;
    store_relaxed(&session->about.tracking, 0);
    store_relaxed(&session->about.redirect, -1);
}

void session__tracking_counts(struct session_tracking *tracking,
                              struct session_tracking_counts *out)
{
    pthread_mutex_lock(&tracking->mutex);
    *out = (struct session_tracking_counts){.clients = tracking->active_count,
                                            .keys = tracking->key_count,
                                            .items = tracking->item_count};
    list_for_each (link, &tracking->active)
        out->prefixes += list_entry(link, struct session_tracker, link)->prefix_count;
    pthread_mutex_unlock(&tracking->mutex);
}

/* -------------------------------------------------------------------------------------- telling */

static void notice_send(struct session_tracker *to, unsigned kind, const struct notice *notice,
                        const char *name, size_t size)
{
    char few[256],
        *data = sizeof *notice + size <= sizeof few ? few : malloc(sizeof *notice + size);
    if (data) {
        memcpy(data, notice, sizeof *notice);
        if (size)
            memcpy(data + sizeof *notice, name, size);
    }
    /* without memory the inbox counts as full, and who listens there is cut off */
    session__inbox_add(to->session->worker, kind, data, data ? sizeof *notice + size : 0);
    if (data != few)
        free(data);
}

/* name NULL: all. */
static void tell(struct session_tracking *tracking, struct session_tracker *tracker,
                 const char *name, size_t size)
{
    struct notice notice = {.to = tracker->id, .all = !name};
    if (!tracker->redirect) {
        notice_send(tracker, SESSION_MESSAGE_INVALIDATE, &notice, name, size);
        return;
    }
    struct session_tracker *target = session__tracker_find(tracking, tracker->redirect);
    notice.redirected_to = tracker->redirect;
    notice.redirected = true;
    if (target) {
        notice.to = target->id;
        notice_send(target, SESSION_MESSAGE_INVALIDATE, &notice, name, size);
        return;
    }
    atomic_fetch_or_explicit(&tracker->session->about.tracking, TRACKER_BROKEN,
                             memory_order_relaxed);
    notice_send(tracker, SESSION_MESSAGE_BROKEN, &notice, NULL, 0);
}

/* All who have the key are told; it is forgotten. `author`: of the change, 0: nobody. */
static void key_tell(struct session_tracking *tracking, struct tracked_key **at, uint64_t author)
{
    struct tracked_key *key = *at;
    for (uint32_t n = 0; n < key->count; n++) {
        struct session_tracker *tracker = session__tracker_find(tracking, key->ids[n]);
        if (tracker && (tracker->flags & (TRACKER_ON | TRACKER_BCAST)) == TRACKER_ON &&
            !((tracker->flags & TRACKER_NOLOOP) && tracker->id == author))
            tell(tracking, tracker, key->name, key->size);
    }
    key_drop(tracking, at);
}

static bool prefix_fits(const struct session_tracker *tracker, const char *name, size_t size)
{
    for (size_t n = 0; n < tracker->prefix_count; n++)
        if (tracker->prefixes[n].size <= size &&
            memcmp(tracker->prefixes[n].data, name, tracker->prefixes[n].size) == 0)
            return true;
    return false;
}

static void recent_add(struct session_tracking *tracking, uint64_t hash, uint64_t ts)
{
    uint64_t slot = tracking->recent_count++ % RECENT;
    if (tracking->recent_count > RECENT && tracking->recent[slot].ts > tracking->forgotten_ts)
        tracking->forgotten_ts = tracking->recent[slot].ts;
    tracking->recent[slot].hash = hash;
    tracking->recent[slot].ts = ts;
}

/* Whether the key may have changed after the snapshot, and that has been told. */
static bool told_already(const struct session_tracking *tracking, uint64_t hash,
                         uint64_t snapshot_ts)
{
    if (snapshot_ts == UINT64_MAX)
        return false;
    if (snapshot_ts < tracking->forgotten_ts)
        return true;
    for (uint64_t n = tracking->recent_count; n > 0 && n + RECENT > tracking->recent_count; n--) {
        if (tracking->recent[(n - 1) % RECENT].ts <= snapshot_ts)
            return false;
        if (tracking->recent[(n - 1) % RECENT].hash == hash)
            return true;
    }
    return false;
}

void session__tracking_changed(struct session_tracking *tracking, uint64_t ts, const char *message)
{
    uint32_t size;
    mp_decode_array(&message);
    mp_next(&message); /* the database */
    const char *name = mp_decode_str(&message, &size);
    mp_next(&message); /* the type */
    uint64_t author = mp_decode_uint(&message), hash = name_hash(name, size);
    pthread_mutex_lock(&tracking->mutex);
    if (tracking->active_count) {
        recent_add(tracking, hash, ts);
        struct tracked_key **at = tracking->key_count ? key_find(tracking, hash, name, size) : NULL;
        if (at && *at)
            key_tell(tracking, at, author);
        list_for_each (link, &tracking->active) {
            struct session_tracker *tracker = list_entry(link, struct session_tracker, link);
            if ((tracker->flags & TRACKER_BCAST) && prefix_fits(tracker, name, size) &&
                !((tracker->flags & TRACKER_NOLOOP) && tracker->id == author))
                tell(tracking, tracker, name, size);
        }
    }
    pthread_mutex_unlock(&tracking->mutex);
}

void session__tracking_flushed(struct session_tracking *tracking, uint64_t ts)
{
    pthread_mutex_lock(&tracking->mutex);
    list_for_each (link, &tracking->active)
        tell(tracking, list_entry(link, struct session_tracker, link), NULL, 0);
    keys_drop(tracking);
    if (ts > tracking->forgotten_ts)
        tracking->forgotten_ts = ts;
    pthread_mutex_unlock(&tracking->mutex);
}

/* ---------------------------------------------------------------------------------- remembering */

/* What is read under an older snapshot may be what BCAST has told of before: it is told again. */
static void remember(struct session *session, struct session_tracker *tracker,
                     const struct redis_slice *name, uint64_t snapshot_ts)
{
    struct session_tracking *tracking = session->service->tracking;
    uint64_t hash = name_hash(name->data, name->size);
    uint64_t keys_max = load_relaxed(&session->service->settings.tracking_keys_max);
    bool all = tracker->flags & TRACKER_BCAST;
    pthread_mutex_lock(&tracking->mutex);
    bool told = told_already(tracking, hash, snapshot_ts) &&
                (!all || prefix_fits(tracker, name->data, name->size));
    if (told || (!all && !key_add(tracking, hash, name, session->about.id)))
        tell(tracking, tracker, name->data, name->size);
    while (keys_max && tracking->key_count > keys_max) {
        struct tracked_key **at = &tracking->buckets[tracking->hand++ % tracking->bucket_count];
        if (*at)
            key_tell(tracking, at, 0);
    }
    pthread_mutex_unlock(&tracking->mutex);
}

void session__tracking_before(struct session *session, const struct session_command *command,
                              const struct redis_slice *argv, unsigned argc, uint64_t snapshot_ts)
{
    struct session_tracker *tracker = session->tracker;
    struct redis_key_at few[KEYS_ON_STACK], *keys = few;
    bool caching = tracker->caching;
    if (((tracker->flags & TRACKER_BCAST) && snapshot_ts == UINT64_MAX) || !command->redis ||
        !(command->redis->flags & REDIS_READONLY) ||
        ((tracker->flags & TRACKER_OPTIN) && !caching) ||
        ((tracker->flags & TRACKER_OPTOUT) && caching))
        return;
    const struct redis_spec *spec = session__spec(session, command);
    int count = spec ? redis_spec_keys(spec, argv, argc, few, KEYS_ON_STACK) : 0;
    if (count > KEYS_ON_STACK) {
        keys = malloc((size_t)count * sizeof *keys);
        count = keys ? redis_spec_keys(spec, argv, argc, keys, (unsigned)count) : 0;
    }
    for (int n = 0; n < count; n++)
        if (!(keys[n].flags & KEY_NOT_KEY))
            remember(session, tracker, &argv[keys[n].at], snapshot_ts);
    if (keys != few)
        free(keys);
}

void session__tracking_script(struct service *service, uint64_t session_id,
                              const struct redis_command *command, const struct redis_slice *argv,
                              unsigned argc, uint64_t snapshot_ts)
{
    pthread_mutex_lock(&service->tracking->mutex);
    struct session_tracker *tracker = session__tracker_find(service->tracking, session_id);
    struct session *session = tracker && (tracker->flags & TRACKER_ON) ? tracker->session : NULL;
    pthread_mutex_unlock(&service->tracking->mutex);
    const struct session_command *row =
        session ? service__command_named(service, command->name, strlen(command->name)) : NULL;
    if (row)
        session__tracking_before(session, row, argv, argc, snapshot_ts);
}

void session__tracking_after(struct session *session)
{
    session->tracker->caching = false;
}

/* ------------------------------------------------------------------------------------ delivering */

static void put_name(struct mp_buffer *out, int protocol, const struct notice *notice,
                     const char *name, size_t size)
{
    if (notice->all) {
        resp_put_null(out, protocol);
        return;
    }
    resp_put_array(out, 1);
    resp_put_bulk(out, name, size);
}

struct session *session__tracking_deliver(struct session_tracking *tracking,
                                          const struct session_message *message)
{
    static const char CHANNEL[] = "__redis__:invalidate";
    struct notice notice;
    memcpy(&notice, message->data, sizeof notice);
    pthread_mutex_lock(&tracking->mutex);
    struct session_tracker *tracker = session__tracker_find(tracking, notice.to);
    struct session *session = tracker ? tracker->session : NULL;
    pthread_mutex_unlock(&tracking->mutex);
    if (!session || session->closing || session->kind == PROTO_RPC)
        return NULL;
    struct mp_buffer *out = &session->push;
    const char *name = message->data + sizeof notice;
    size_t size = message->size - sizeof notice;
    if (message->kind == SESSION_MESSAGE_BROKEN) {
        if (session->protocol != RESP3)
            return NULL;
        resp_put_push(out, RESP3, 2);
        resp_put_bulk(out, "tracking-redir-broken", 21);
        resp_put_integer(out, (int64_t)notice.redirected_to);
    } else if (session->protocol == RESP3) {
        resp_put_push(out, RESP3, 2);
        resp_put_bulk(out, "invalidate", 10);
        put_name(out, RESP3, &notice, name, size);
    } else if (notice.redirected && channels_listener_count(&session->listener)) {
        resp_put_push(out, RESP2, 3);
        resp_put_bulk(out, "message", 7);
        resp_put_bulk(out, CHANNEL, sizeof CHANNEL - 1);
        put_name(out, RESP2, &notice, name, size);
    } else {
        return NULL;
    }
    return session;
}
