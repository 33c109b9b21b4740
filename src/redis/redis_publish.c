/* SPDX-License-Identifier: Apache-2.0 */

/*
 * PUBLISH and SPUBLISH: a message to those who listen to a channel, or a shard channel. It is
 * deferred (invariant 10): it goes out when the commit is durable, in the order of commits, and
 * never if there is none. So the reply, how many receive it, is how many listen now.
 */
#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"
#include "redis/redis_commands.h"

static int publish(struct redis_call *call, unsigned kind)
{
    const struct redis_slice *channel = &call->argv[1], *payload = &call->argv[2];
    const struct redis_audience *audience = call->audience;
    struct mp_buffer message;
    mp_buffer_create(&message);
    mp_put_array(&message, 2);
    mp_put_str(&message, channel->data, channel->size);
    mp_put_str(&message, payload->data, payload->size);
    int rc = message.failed ? diag_set(ERROR_MEMORY, "out of memory")
                            : txn_defer(call->txn, kind, message.data, message.size);
    mp_buffer_destroy(&message);
    if (rc)
        return rc;
    bool shard = kind == REDIS_DEFER_SPUBLISH;
    uint64_t count =
        audience ? audience->count(audience->arg, channel->data, channel->size, shard) : 0;
    call->sink->vtab->integer(call->sink, (int64_t)count);
    return 0;
}

int redis__publish(struct redis_call *call)
{
    return publish(call, REDIS_DEFER_PUBLISH);
}

int redis__spublish(struct redis_call *call)
{
    return publish(call, REDIS_DEFER_SPUBLISH);
}
