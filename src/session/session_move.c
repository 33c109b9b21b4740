/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sessions move to another worker: while their own one is within a request for long, or since it is too busy.
 *
 *      leave, by the old worker's thread             join, by the new one's
 *   of `from` ─────────────────────────► of nobody ─────────────────────────► of `to`
 *   in its lists and sums          session->worker is NULL             its requests go on there
 *
 * Who moves is nowhere on the stack of its thread, and in none of its worker's lists that may be being gone over
 * there: Lua code runs within session_on_bytes and session_resume of one session (`entered`), in fibers, and in
 * triggers of sessions that come and go, which are not served yet or not any more; commands let others in
 * (session__let_in) within the first two only.
 *
 * Other threads touch a session in two ways. Under the service's mutex, in which `worker` changes, they
 * leave orders: who finds it on its way leaves it at that, and join looks. And they wake its waits,
 * which are put into the list of `woken_at` under that worker's mutex: leave changes it under the mutex,
 * so whoever waits for that meanwhile looks again (woken_lock).
 */
#include "session/session_internal.h"

/* A request that waits, and may be run again anywhere. */
static bool is_bound_by_wait(const struct session *session)
{
    const struct session_wait *wait = session->suspended;
    return wait && (wait != &session->wait || wait->state != SESSION_WAIT_READY || wait->fiber);
}

/* Commands of modules belong to the worker that has looked them up. */
static bool is_bound_by_queue(const struct session *session)
{
    for (const struct session_queued *queued = session->queue_first; queued; queued = queued->next)
        if (session__module_of(queued->command))
            return true;
    return false;
}

bool session_may_leave(const struct session *session)
{
    return !(session->entered || session->closing || session->dead || session->hurried ||
             session->login || session->migration || session->pending_count > 0 ||
             session->rpc_stream_count > 0 || !session__stream_closed(&session->stream) ||
             session->tracker || channels_listener_count(&session->listener) > 0 ||
             session->push.size > 0 || load_relaxed(&session->about.monitoring) ||
             !list_empty(&session->excess.link) || load_relaxed(&session->kept_in_lua) ||
             is_bound_by_wait(session) || is_bound_by_queue(session));
}

static void bytes_move(struct session *session, bool in)
{
    _Atomic uint64_t *sum = &session->worker->client_bytes;
    uint64_t bytes = load_relaxed(&session->about.bytes.all);
    store_relaxed(sum, load_relaxed(sum) + (in ? bytes : -bytes));
}

void session_redirect(struct session *session, struct session_worker *to)
{
    ASSERT(to);
    struct session_worker *from = load_relaxed(&session->woken_at);
    pthread_mutex_lock(&from->wake_mutex);
    list_remove(&session->wait.woken); /* it is READY, if it waits at all */
    store_release(&session->woken_at, to);
    pthread_mutex_unlock(&from->wake_mutex);
}

void session_leave(struct session *session, struct session_worker *to)
{
    ASSERT(session_may_leave(session));
    bytes_move(session, false);
    list_remove(&session->ready);
    session->acl = NULL; /* the worker's; looked up again with the rights */
    session->rights_version = 0;
    session_redirect(session, to);
    pthread_mutex_lock(&session->service->mutex);
    session->worker = NULL;
    pthread_mutex_unlock(&session->service->mutex);
}

void session_join(struct session *session, struct session_worker *worker, int fd)
{
    struct service *service = session->service;
    pthread_mutex_lock(&service->mutex);
    session->worker = worker;
    session->about.fd = fd;
    bool ordered = load_relaxed(&session->about.orders) != 0;
    pthread_mutex_unlock(&service->mutex);
    bytes_move(session, true);
    session__ready(session);
    atomic_fetch_add_explicit(&service->moved, 1, memory_order_relaxed);
    if (ordered)
        session__worker_stir(worker);
}

void service_balanced_add(struct service *service, unsigned count)
{
    atomic_fetch_add_explicit(&service->balanced, count, memory_order_relaxed);
}

uint64_t session_worker_peek(struct session_worker *worker,
                             void (*ready)(struct session *session, void *arg), void *arg)
{
    uint64_t now_ns = clock_monotonic_ns(worker->service->options.clock);
    /* `stirred` stays set: the worker's next turn looks after the rest. */
    session__waits_take(worker);
    session__inbox_take(worker);
    uint64_t next_ns = session__waits_expire(worker, now_ns);
    list_for_each_safe (link, &worker->ready)
        ready(list_entry(link, struct session, ready), arg);
    list_for_each_safe (link, &worker->turn)
        ready(list_entry(link, struct session, ready), arg);
    return next_ns == UINT64_MAX ? UINT64_MAX : next_ns - now_ns;
}
