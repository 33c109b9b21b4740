/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What others are told of a key that has changed: keyspace events, and the change itself. Both are
 * deferred (invariant 10), so nobody hears of what was not committed, and all hear in the order of
 * commits.
 */
#include <stdio.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"
#include "redis/redis_value.h"

static int defer(struct redis_call *call, unsigned kind, struct mp_buffer *message)
{
    int rc = message->failed ? diag_set(ERROR_MEMORY, "out of memory")
                             : txn_defer(call->txn, kind, message->data, message->size);
    mp_buffer_destroy(message);
    return rc;
}

/* A message to `__keyspace@0__:` and the like, then `tail`. */
static int publish(struct redis_call *call, const char *what, struct redis_slice tail,
                   struct redis_slice payload)
{
    char prefix[32];
    size_t size = (size_t)snprintf(prefix, sizeof prefix, "__%s@%u__:", what, call->database);
    struct mp_buffer message;
    mp_buffer_create(&message);
    char *channel = arena_alloc(txn_arena(call->txn), size + tail.size);
    if (!channel)
        return diag_set(ERROR_MEMORY, "out of memory");
    memcpy(channel, prefix, size);
    if (tail.size)
        memcpy(channel + size, tail.data, tail.size);
    mp_put_array(&message, 2);
    mp_put_str(&message, channel, size + tail.size);
    mp_put_str(&message, payload.data, payload.size);
    return defer(call, REDIS_DEFER_PUBLISH, &message);
}

/* `wanted`: goes out only if that is not 0 when the commit can be seen; NULL: in any case. */
static int key_defer(struct redis_call *call, const struct redis_slice *name, int type,
                     const _Atomic uint32_t *wanted)
{
    enum { MESSAGE_OVERHEAD = 1 + 9 + 5 + 9 + 9 };
    char *message = arena_alloc(txn_arena(call->txn), name->size + MESSAGE_OVERHEAD);
    if (!message)
        return diag_set(ERROR_MEMORY, "out of memory");
    char *end = mp_encode_uint(mp_encode_array(message, 4), call->database);
    end = mp_encode_uint(mp_encode_str(end, name->data, (uint32_t)name->size), (uint64_t)type);
    end = mp_encode_uint(end, call->client_id);
    return txn_defer_if(call->txn, REDIS_DEFER_KEY, message, (size_t)(end - message), wanted);
}

static int notify(struct redis_call *call, const struct redis_slice *name, unsigned notify_class,
                  const char *event)
{
    unsigned flags = load_relaxed(&call->config->notify_flags);
    const struct redis_slice text = {event, strlen(event)};
    int rc = 0;
    if (!(flags & notify_class))
        return 0;
    if (flags & REDIS_NOTIFY_KEYSPACE)
        rc = publish(call, "keyspace", *name, text);
    if (!rc && flags & REDIS_NOTIFY_KEYEVENT)
        rc = publish(call, "keyevent", text, *name);
    return rc;
}

int redis__missed(struct redis_call *call, const struct redis_slice *name)
{
    return txn_readonly(call->txn) ? 0 : notify(call, name, REDIS_NOTIFY_KEY_MISS, "keymiss");
}

int redis__created(struct redis_call *call, const struct redis_slice *name)
{
    return notify(call, name, REDIS_NOTIFY_NEW, "new");
}

int redis_flushed(struct redis_call *call)
{
    const struct redis_interest *interest = call->interest;
    return interest && load_relaxed(&interest->tracking)
               ? txn_defer(call->txn, REDIS_DEFER_FLUSH, NULL, 0)
               : 0;
}

int redis_swapped(struct redis_call *call, unsigned one, unsigned other)
{
    const struct redis_interest *interest = call->interest;
    const unsigned char message[2] = {(unsigned char)one, (unsigned char)other};
    int rc = redis_flushed(call);
    return !rc && interest ? txn_defer_if(call->txn, REDIS_DEFER_SWAP, message, sizeof message,
                                          &interest->waiting)
                           : rc;
}

int redis_changed(struct redis_call *call, const struct redis_slice *name, int type,
                  unsigned notify_class, const char *event)
{
    int rc = notify(call, name, notify_class, event);
    const struct redis_interest *interest = call->interest;
    if (!rc && interest && load_relaxed(&interest->tracking))
        rc = key_defer(call, name, type, NULL);
    else if (!rc && interest && type != REDIS_TYPE_NONE)
        rc = key_defer(call, name, type, &interest->waiting);
    return rc;
}
