/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MessagePack-RPC requests that cannot be run now. One that has to wait is kept with a copy of its
 * bytes, and others go on; but those of its stream that come after it wait behind it, since a
 * stream's requests are run in order.
 *
 *     session ──► pending ─► pending          each waits by itself, a transaction of its own
 *        └──► stream ─► stream
 *               └─► pending ─► pending        the first waits, by the stream's wait
 *
 * How many are kept, and how many bytes, is bounded: beyond that the connection's input is held.
 * A stream lives as long as a transaction is open or failed in it, or the age of one that was lost
 * is to be kept; of the last sort the oldest go when there are too many.
 */
#include <stdlib.h>

#include "session/session_rpc.h"

struct session_pending {
    struct list link; /* in session->pendings, or in its stream's queue */
    struct session_stream *stream;
    struct session_wait wait;
    struct rpc_request request; /* points into data */
    char *data;
    size_t size;
};

/* ------------------------------------------------------------------------------------- keeping */

static struct session_pending *pending_new(struct session *session)
{
    struct session_pending *pending = calloc(1, sizeof *pending);
    if (!pending)
        return NULL;
    list_create(&pending->link);
    session__wait_create(&pending->wait, session);
    return pending;
}

static void pending_delete(struct session_pending *pending)
{
    struct session *session = pending->wait.session;
    session__wait_end(&pending->wait);
    if (pending->data) {
        session->pending_count--;
        session->pending_bytes -= pending->size;
        store_relaxed(&session->about.waits, session->pending_count > 0);
    }
    list_remove(&pending->link);
    free(pending->data);
    free(pending);
}

/* Copies the request; the list is the caller's affair. */
static int pending_keep(struct session_pending *pending, const struct rpc_request *request)
{
    struct session *session = pending->wait.session;
    size_t size = request->method_size + request->params_size;
    char *data = malloc(size ? size : 1);
    if (!data)
        return diag_set(ERROR_MEMORY, "out of memory");
    memcpy(data, request->method, request->method_size);
    memcpy(data + request->method_size, request->params, request->params_size);
    pending->request = *request;
    pending->request.method = data;
    pending->request.params = data + request->method_size;
    pending->data = data;
    pending->size = size;
    session->pending_count++;
    session->pending_bytes += size;
    store_relaxed(&session->about.waits, true);
    return 0;
}

bool session__pending_full(const struct session *session)
{
    return session->login || /* what comes after it may be for the user that it makes */
           session->pending_count >= SESSION_PENDING_MAX ||
           session->pending_bytes >= SESSION_PENDING_BYTES_MAX;
}

/* ------------------------------------------------------------------------------------- streams */

static struct session_stream *stream_find(struct session *session, uint64_t id)
{
    list_for_each (link, &session->rpc_streams) {
        struct session_stream *stream = list_entry(link, struct session_stream, sibling);
        if (stream->id == id)
            return stream;
    }
    return NULL;
}

static void stream_delete(struct session *session, struct session_stream *stream)
{
    struct list *link;
    while ((link = list_first(&stream->queue)) != NULL)
        pending_delete(list_entry(link, struct session_pending, link));
    list_remove(&stream->sibling);
    session->rpc_stream_count--;
    session__stream_destroy(stream);
    free(stream);
}

static bool stream_idle(const struct session_stream *stream)
{
    return session__stream_closed(stream) && list_empty(&stream->queue);
}

static void stream_settle(struct session *session, struct session_stream *stream)
{
    if (stream_idle(stream) && !stream->owner)
        stream_delete(session, stream);
}

/* Makes room by giving up the age of one that was lost. */
static bool stream_drop_one(struct session *session)
{
    list_for_each_safe (link, &session->rpc_streams) {
        struct session_stream *stream = list_entry(link, struct session_stream, sibling);
        if (stream_idle(stream)) {
            stream_delete(session, stream);
            return true;
        }
    }
    return false;
}

int session__rpc_stream_make(struct session *session, struct rpc_call *call)
{
    if (call->stream)
        return 0;
    if (session->rpc_stream_count >= SESSION_STREAMS_MAX && !stream_drop_one(session))
        return diag_set(ERROR_BUSY, "a connection has at most %d streams", SESSION_STREAMS_MAX);
    struct session_stream *stream = malloc(sizeof *stream);
    if (!stream)
        return diag_set(ERROR_MEMORY, "out of memory");
    session__stream_create(stream, session, call->stream_id);
    list_add_tail(&session->rpc_streams, &stream->sibling);
    session->rpc_stream_count++;
    call->stream = stream;
    return 0;
}

/* ------------------------------------------------------------------------------------- running */

/* Runs a request that is not kept, or the one that `pending` keeps. True when it has been answered,
 * false when it waits. */
static bool run(struct session *session, const struct rpc_request *request,
                struct session_pending *pending)
{
    struct rpc_call call;
    diag_clear();
    int rc = session__rpc_open(session, request, &call);
    call.wait = &pending->wait;
    if (!rc && call.stream_given) /* one that cannot be read is no affair of the stream's */
        call.stream = stream_find(session, call.stream_id);
    if (!rc)
        rc = session__rpc_run(session, &call);
    if (rc == ERROR_WAIT && !pending->data) {
        pending->stream = call.stream;
        rc = pending_keep(pending, request);
        if (!rc)
            list_add_tail(call.stream ? &call.stream->queue : &session->pendings, &pending->link);
        else if (call.stream)
            session__wait_end(&call.stream->wait);
        if (rc)
            session__login_end(session, &pending->wait);
        rc = rc ? rc : ERROR_WAIT;
    }
    if (rc == ERROR_WAIT)
        return false;
    if (call.stream)
        session__wait_end(&call.stream->wait);
    session__rpc_answer(session, &call, rc);
    if (call.stream && (!pending->data || pending->stream != call.stream))
        stream_settle(session, call.stream);
    return true;
}

/* Behind those of its stream that wait already. */
static bool queue_up(struct session *session, const struct rpc_request *request)
{
    struct rpc_call call;
    if (list_empty(&session->rpc_streams) || session__rpc_open(session, request, &call) ||
        !call.stream_given)
        return false;
    struct session_stream *stream = stream_find(session, call.stream_id);
    if (!stream || list_empty(&stream->queue))
        return false;
    struct session_pending *pending = pending_new(session);
    int rc = pending ? pending_keep(pending, request) : diag_set(ERROR_MEMORY, "out of memory");
    if (!rc) {
        pending->stream = stream;
        list_add_tail(&stream->queue, &pending->link);
        return true;
    }
    if (pending)
        pending_delete(pending);
    session__rpc_answer(session, &call, rc);
    return true;
}

void session__execute_rpc(struct session *session, const struct rpc_request *request)
{
    store_relaxed(&session->about.active_ms, session__now_ms(session->worker));
    if (queue_up(session, request))
        return;
    if (!session->pending_spare)
        session->pending_spare = pending_new(session);
    struct session_pending *pending = session->pending_spare;
    if (!pending) { /* nothing more can be answered to this client */
        session->dead = session->closing = true;
        return;
    }
    if (!run(session, request, pending))
        session->pending_spare = NULL;
    else
        session__wait_end(&pending->wait);
}

/* Goes on with a stream whose first request need not wait any more. */
static void stream_continue(struct session *session, struct session_stream *stream)
{
    struct list *link;
    while ((link = list_first(&stream->queue)) != NULL && !session->closing) {
        struct session_pending *pending = list_entry(link, struct session_pending, link);
        if (!run(session, &pending->request, pending))
            return;
        pending_delete(pending);
    }
    stream_settle(session, stream);
}

bool session__pending_again(struct session *session)
{
    bool done = false;
    list_for_each_safe (link, &session->pendings) {
        struct session_pending *pending = list_entry(link, struct session_pending, link);
        if (pending->wait.state != SESSION_WAIT_READY || session->closing)
            continue;
        done = true;
        if (run(session, &pending->request, pending))
            pending_delete(pending);
    }
    list_for_each_safe (link, &session->rpc_streams) {
        struct session_stream *stream = list_entry(link, struct session_stream, sibling);
        if (stream->wait.state != SESSION_WAIT_READY || session->closing)
            continue;
        done = true;
        stream_continue(session, stream);
    }
    return done;
}

/* One behind the first of its stream's queue has not begun. */
static void pending_drop(struct session *session, struct session_pending *pending)
{
    struct rpc_call call = {.request = &pending->request};
    session__rpc_answer(session, &call,
                        diag_set(ERROR_CANCELLED, "cancelled before it began: by the client"));
    pending_delete(pending);
}

static bool queue_cancel(struct session *session, struct session_stream *stream, uint64_t id)
{
    bool found = false;
    list_for_each_safe (link, &stream->queue) {
        struct session_pending *pending = list_entry(link, struct session_pending, link);
        if (pending->request.notification || pending->request.id != id)
            continue;
        found = true;
        if (link != list_first(&stream->queue)) {
            pending_drop(session, pending);
        } else {
            stream->wait.cancelled = true;
            session__wait_ready(&stream->wait);
        }
    }
    return found;
}

bool session__pending_cancel(struct session *session, uint64_t id)
{
    bool found = session__cancelled_take(session, id);
    list_for_each (link, &session->pendings) {
        struct session_pending *pending = list_entry(link, struct session_pending, link);
        if (pending->request.notification || pending->request.id != id)
            continue;
        found = true;
        pending->wait.cancelled = true;
        session__wait_ready(&pending->wait);
    }
    list_for_each (link, &session->rpc_streams)
        found |= queue_cancel(session, list_entry(link, struct session_stream, sibling), id);
    return found;
}

void session__pending_hurry(struct session *session)
{
    list_for_each (link, &session->pendings)
        session__wait_ready(&list_entry(link, struct session_pending, link)->wait);
    list_for_each (link, &session->rpc_streams)
        session__wait_ready(&list_entry(link, struct session_stream, sibling)->wait);
}

void session__pending_postpone(struct session *session)
{
    list_for_each (link, &session->pendings)
        session__wait_postpone(&list_entry(link, struct session_pending, link)->wait);
}

void session__pending_end(struct session *session)
{
    struct list *link;
    while ((link = list_first(&session->pendings)) != NULL)
        pending_delete(list_entry(link, struct session_pending, link));
    while ((link = list_first(&session->rpc_streams)) != NULL)
        stream_delete(session, list_entry(link, struct session_stream, sibling));
    if (session->pending_spare)
        pending_delete(session->pending_spare);
    session->pending_spare = NULL;
}
