/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MessagePack-RPC: channels. What comes is sent as notifications, [2, "message", [channel,
 * payload]], and [2, "pmessage", [pattern, channel, payload]] for patterns. A payload is any value.
 *
 * And the progress of requests, [2, "progress", [id, value]].
 */
#include "session/session_rpc.h"

/* All arguments are names. None to stop listening to: all of the sort. */
static int each_name(struct session *session, struct rpc_call *call, bool pattern, bool listen)
{
    struct redis_slice name;
    int rc = 0;
    if (!listen && call->arg_count == 0)
        session__unlisten_all(session, pattern);
    while (!rc && call->arg_count > 0) {
        if (!session__rpc_take_text(call, &name))
            rc = diag_set(ERROR_INVALID, "the params are names of channels");
        else if (listen && !(rc = session__permits_channel(session, &name, pattern)))
            rc = session__listen(session, name.data, name.size, pattern);
        else if (!listen)
            session__unlisten(session, name.data, name.size, pattern);
    }
    return rc;
}

int session__rpc_subscribe(struct session *session, struct rpc_call *call)
{
    return each_name(session, call, false, true);
}

int session__rpc_psubscribe(struct session *session, struct rpc_call *call)
{
    return each_name(session, call, true, true);
}

int session__rpc_unsubscribe(struct session *session, struct rpc_call *call)
{
    return each_name(session, call, false, false);
}

int session__rpc_punsubscribe(struct session *session, struct rpc_call *call)
{
    return each_name(session, call, true, false);
}

static int defer(struct txn *txn, const struct mp_buffer *message)
{
    return txn_defer(txn, REDIS_DEFER_PUBLISH, message->data, message->size);
}

static int publish_alone(struct session *session, struct rpc_call *call,
                         const struct mp_buffer *message)
{
    struct txn_worker *worker = session->worker->txn;
    struct txn_options options = {.level = TXN_READ_COMMITTED, .session_id = session->about.id};
    struct txn *txn;
    int rc = txn_begin(worker, &options, &txn);
    if (rc)
        return rc;
    rc = defer(txn, message);
    if (rc) {
        txn_rollback(txn);
        return rc;
    }
    rc = txn_commit(txn);
    call->reply_ts = txn_worker_seen_ts(worker);
    return rc;
}

static int publish_in(struct rpc_call *call, const struct mp_buffer *message)
{
    struct txn_savepoint savepoint;
    int rc = session__stream_enter(call->stream, &savepoint);
    if (rc)
        return rc;
    return session__stream_leave(call->stream, &savepoint, defer(call->stream->txn, message),
                                 &call->reply_ts);
}

/* [channel, payload]: how many listen to the channel. */
int session__rpc_publish(struct session *session, struct rpc_call *call)
{
    struct session_worker *worker = session->worker;
    struct mp_buffer *message = &worker->args, *result = &worker->result;
    struct redis_slice channel;
    if (call->arg_count != 2 || !session__rpc_take_text(call, &channel))
        return diag_set(ERROR_INVALID, "publish takes a channel's name and a payload");
    int rc = session__permits_channel(session, &channel, false);
    if (rc)
        return rc;
    mp_buffer_reset(message, SESSION_BUFFER_KEEP_BYTES);
    mp_put_array(message, 2);
    mp_put_str(message, channel.data, channel.size);
    mp_put_raw(message, call->args, (size_t)(call->args_end - call->args));
    if (message->failed)
        return diag_set(ERROR_MEMORY, "out of memory");
    rc = call->stream_given ? publish_in(call, message) : publish_alone(session, call, message);
    if (rc)
        return rc;
    mp_buffer_reset(result, SESSION_BUFFER_KEEP_BYTES);
    mp_put_array(result, 1);
    mp_put_uint(result, session__receivers(session->service, channel.data, channel.size, false));
    return result->failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

int session__rpc_progress(void *arg, uint64_t id, const char *value, size_t size, uint64_t ts)
{
    struct session *session = arg;
    struct mp_buffer *out = &session->push;
    if (session->closing)
        return 0;
    if (session__push_full(session, size))
        return diag_set(ERROR_LIMIT, "the client has left too much unread to be told of progress");
    rpc_put_notification_begin(out, "progress");
    mp_put_array(out, 2);
    mp_put_uint(out, id);
    mp_put_raw(out, value, size);
    if (ts > session->push_ts)
        session->push_ts = ts;
    session__ready(session);
    return out->failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}
