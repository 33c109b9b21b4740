/* SPDX-License-Identifier: Apache-2.0 */

/* See session_channels.h. The table doubles when there are as many names as buckets. */
#include "session/session_channels.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "redis/redis_glob.h"

enum { BUCKETS_MIN = 16 };

void channels_create(struct channels *channels)
{
    *channels = (struct channels){.buckets = NULL};
    list_create(&channels->patterns);
}

void channels_destroy(struct channels *channels)
{
    ASSERT(channels->count == 0);
    free(channels->buckets);
}

void channels_listener_create(struct channels_listener *listener)
{
    *listener = (struct channels_listener){.counts = {0}};
    list_create(&listener->subscriptions);
}

/* FNV-1a */
static uint64_t name_hash(const char *name, size_t size, enum channels_kind kind)
{
    uint64_t hash = 14695981039346656037u + kind;
    for (size_t n = 0; n < size; n++)
        hash = (hash ^ (unsigned char)name[n]) * 1099511628211u;
    return hash ^ hash >> 32;
}

static struct channels_channel **bucket_of(const struct channels *channels, uint64_t hash)
{
    return &channels->buckets[hash & (channels->bucket_count - 1)];
}

static struct channels_channel *find(const struct channels *channels, const char *name, size_t size,
                                     enum channels_kind kind)
{
    if (channels->count == 0)
        return NULL;
    struct channels_channel *channel = *bucket_of(channels, name_hash(name, size, kind));
    while (channel && !(channel->kind == kind && channel->size == size &&
                        memcmp(channel->name, name, size) == 0))
        channel = channel->next;
    return channel;
}

const struct channels_channel *channels_find(const struct channels *channels, const char *name,
                                             size_t size, enum channels_kind kind)
{
    return find(channels, name, size, kind);
}

static int grow(struct channels *channels)
{
    size_t old_count = channels->bucket_count, count = old_count ? old_count * 2 : BUCKETS_MIN;
    struct channels_channel **old = channels->buckets,
                            **buckets = calloc(count, sizeof(struct channels_channel *));
    if (!buckets)
        return diag_set(ERROR_MEMORY, "out of memory");
    channels->buckets = buckets;
    channels->bucket_count = count;
    for (size_t n = 0; n < old_count; n++)
        for (struct channels_channel *channel = old[n], *next; channel; channel = next) {
            struct channels_channel **bucket = bucket_of(channels, channel->hash);
            next = channel->next;
            channel->next = *bucket;
            *bucket = channel;
        }
    free(old);
    return 0;
}

static struct channels_channel *channel_add(struct channels *channels, const char *name,
                                            size_t size, enum channels_kind kind)
{
    if (channels->count == channels->bucket_count && grow(channels))
        return NULL;
    struct channels_channel *channel = malloc(sizeof *channel + size);
    if (!channel) {
        diag_set(ERROR_MEMORY, "out of memory");
        return NULL;
    }
    *channel =
        (struct channels_channel){.hash = name_hash(name, size, kind), .kind = kind, .size = size};
    memcpy(channel->name, name, size);
    list_create(&channel->subscriptions);
    list_create(&channel->link);
    if (kind == CHANNELS_PATTERN)
        list_add_tail(&channels->patterns, &channel->link);
    struct channels_channel **bucket = bucket_of(channels, channel->hash);
    channel->next = *bucket;
    *bucket = channel;
    channels->count++;
    return channel;
}

static void channel_drop(struct channels *channels, struct channels_channel *channel)
{
    struct channels_channel **at = bucket_of(channels, channel->hash);
    while (*at != channel)
        at = &(*at)->next;
    *at = channel->next;
    list_remove(&channel->link);
    channels->count--;
    free(channel);
}

/* Of the lists of the channel and of the listener both are looked through, the shorter decides. */
static struct channels_subscription *subscription_find(const struct channels_channel *channel,
                                                       const struct channels_listener *listener)
{
    const struct list *left = channel->subscriptions.next, *right = listener->subscriptions.next;
    for (; left != &channel->subscriptions && right != &listener->subscriptions;
         left = left->next, right = right->next) {
        struct channels_subscription *one =
            list_entry(left, struct channels_subscription, by_channel);
        struct channels_subscription *two =
            list_entry(right, struct channels_subscription, by_listener);
        if (one->listener == listener)
            return one;
        if (two->channel == channel)
            return two;
    }
    return NULL;
}

int channels_subscribe(struct channels *channels, struct channels_listener *listener,
                       const char *name, size_t size, enum channels_kind kind)
{
    struct channels_channel *channel = find(channels, name, size, kind);
    if (channel && subscription_find(channel, listener))
        return 0;
    struct channels_subscription *subscription = malloc(sizeof *subscription);
    if (!subscription)
        return diag_set(ERROR_MEMORY, "out of memory");
    if (!channel)
        channel = channel_add(channels, name, size, kind);
    if (!channel) {
        free(subscription);
        return ERROR_MEMORY;
    }
    subscription->channel = channel;
    subscription->listener = listener;
    list_add_tail(&channel->subscriptions, &subscription->by_channel);
    list_add_tail(&listener->subscriptions, &subscription->by_listener);
    channel->count++;
    listener->counts[kind]++;
    return 0;
}

void channels_subscription_end(struct channels *channels,
                               struct channels_subscription *subscription)
{
    struct channels_channel *channel = subscription->channel;
    subscription->listener->counts[channel->kind]--;
    list_remove(&subscription->by_channel);
    list_remove(&subscription->by_listener);
    free(subscription);
    if (--channel->count == 0)
        channel_drop(channels, channel);
}

void channels_unsubscribe(struct channels *channels, struct channels_listener *listener,
                          const char *name, size_t size, enum channels_kind kind)
{
    struct channels_channel *channel = find(channels, name, size, kind);
    struct channels_subscription *subscription =
        channel ? subscription_find(channel, listener) : NULL;
    if (subscription)
        channels_subscription_end(channels, subscription);
}

bool channels_match(const struct channels_channel *pattern, const char *name, size_t size)
{
    return redis_glob_match(pattern->name, pattern->size, name, size);
}

uint64_t channels_receivers(const struct channels *channels, const char *name, size_t size,
                            enum channels_kind kind)
{
    const struct channels_channel *channel = find(channels, name, size, kind);
    uint64_t count = channel ? channel->count : 0;
    if (kind == CHANNELS_SHARD)
        return count;
    list_for_each (link, &channels->patterns) {
        const struct channels_channel *pattern = list_entry(link, struct channels_channel, link);
        if (channels_match(pattern, name, size))
            count += pattern->count;
    }
    return count;
}
