/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SESSION_CHANNELS_H
#define SESSION_SESSION_CHANNELS_H

/*
 * Which sessions of one worker listen to which channels and patterns: a hash table from names to
 * lists of subscriptions, and a list of the patterns.
 *
 *     bucket ─► channel ─► channel           pattern: in a bucket as well, and in `patterns`
 *                  └─► subscription ─► subscription
 *                           └─ also in its listener's list
 *
 * Names of channels, of patterns and of shard channels are different worlds: a channel "a*" is not
 * the pattern "a*", and patterns match no shard channels.
 * One thread at a time; who shares it locks it (session_pubsub.c).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

enum channels_kind { CHANNELS_CHANNEL, CHANNELS_PATTERN, CHANNELS_SHARD, CHANNELS_KINDS };

struct channels_channel {
    struct channels_channel *next; /* in its bucket */
    struct list link;              /* in `patterns`, if it is one */
    struct list subscriptions;
    unsigned count; /* of them, above 0 */
    uint64_t hash;
    enum channels_kind kind;
    size_t size;
    char name[];
};

/* What listens: embedded in a session. */
struct channels_listener {
    struct list subscriptions;
    unsigned counts[CHANNELS_KINDS];
};

struct channels_subscription {
    struct list by_channel, by_listener;
    struct channels_channel *channel;
    struct channels_listener *listener;
};

struct channels {
    struct channels_channel **buckets;
    size_t bucket_count, count; /* names, patterns among them, that somebody listens to */
    struct list patterns;
};

void channels_create(struct channels *channels);

/* Nobody listens any more. */
void channels_destroy(struct channels *channels);

void channels_listener_create(struct channels_listener *listener);

/* 0, also when it listens to it already; ERROR_MEMORY. */
int channels_subscribe(struct channels *channels, struct channels_listener *listener,
                       const char *name, size_t size, enum channels_kind kind);

/* Does nothing when it does not listen to it. */
void channels_unsubscribe(struct channels *channels, struct channels_listener *listener,
                          const char *name, size_t size, enum channels_kind kind);

/* The same for a subscription that is known. */
void channels_subscription_end(struct channels *channels,
                               struct channels_subscription *subscription);

/* NULL when nobody listens to it. */
const struct channels_channel *channels_find(const struct channels *channels, const char *name,
                                             size_t size, enum channels_kind kind);

/* Subscriptions that a message on this channel goes to: those of the channel, and of all patterns
 * that match unless it is a shard channel. `kind`: not CHANNELS_PATTERN. */
uint64_t channels_receivers(const struct channels *channels, const char *name, size_t size,
                            enum channels_kind kind);

/* All that it listens to. */
static inline unsigned channels_listener_count(const struct channels_listener *listener)
{
    return listener->counts[CHANNELS_CHANNEL] + listener->counts[CHANNELS_PATTERN] +
           listener->counts[CHANNELS_SHARD];
}

bool channels_match(const struct channels_channel *pattern, const char *name, size_t size);

#endif
