/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What one connection does to another: CLIENT KILL and CLIENT UNBLOCK, and to all: CLIENT PAUSE.
 *
 * A session belongs to its worker's thread. Who wants something of it leaves an order in it, under
 * the service's mutex, in which it stands in the list of clients and so is alive, and stirs its
 * worker, which carries out the orders of its sessions in its next turn.
 *
 * A pause is two words of the service that every request looks at when `attention` says so. They change
 * under the service's mutex: who finds that a pause is over must not end the next one. Requests that it
 * concerns wait as others do, with its end as their deadline; when it is lifted, all workers are stirred
 * and run them again.
 */
#include "session/session_internal.h"

#include <string.h>

/* ---------------------------------------------------------------------------------------- orders */

void session__worker_stir(struct session_worker *worker)
{
    store_relaxed(&worker->ordered, true);
    pthread_mutex_lock(&worker->wake_mutex);
    bool first = !atomic_exchange_explicit(&worker->stirred, true, memory_order_acq_rel);
    pthread_mutex_unlock(&worker->wake_mutex);
    if (first)
        session__worker_wake(worker);
}

void session__order(struct session *session, enum session_order order)
{
    atomic_fetch_or_explicit(&session->about.orders, order, memory_order_relaxed);
    if (session->worker) /* else it is on its way to one who looks when it has come */
        session__worker_stir(session->worker);
}

static void order_do(struct session *session, unsigned orders)
{
    if (orders & SESSION_ORDER_KILL) {
        session->dead = session->closing = true;
        session__ready(session);
    }
    if ((orders & (SESSION_ORDER_UNBLOCK_TIMEOUT | SESSION_ORDER_UNBLOCK_ERROR)) &&
        session_suspended(session) && !session->paused) {
        session->unblock =
            orders & SESSION_ORDER_UNBLOCK_ERROR ? SESSION_UNBLOCK_ERROR : SESSION_UNBLOCK_TIMEOUT;
        if (session->suspended)
            session__wait_ready(session->suspended);
        session__pending_hurry(session);
    }
}

void session__orders_take(struct session_worker *worker)
{
    struct service *service = worker->service;
    if (!load_relaxed(&worker->ordered))
        return;
    store_relaxed(&worker->ordered, false);
    pthread_mutex_lock(&service->mutex);
    list_for_each (link, &service->clients) {
        struct session *session = list_entry(link, struct session, link);
        if (session->worker != worker)
            continue;
        unsigned orders = atomic_exchange_explicit(&session->about.orders, 0, memory_order_relaxed);
        if (orders)
            order_do(session, orders);
        /* What it waits for is lifted, whether another pause has begun since or not. */
        if (session->paused && session->wait.deadline_ns != load_relaxed(&service->pause_end_ns))
            session__wait_ready(&session->wait);
    }
    pthread_mutex_unlock(&service->mutex);
    if (load_relaxed(&service->settings.timeout_s))
        session__due_at(worker, 0);
}

uint64_t session__idle_close(struct session_worker *worker, uint64_t now_ns)
{
    struct service *service = worker->service;
    uint64_t timeout_s = load_relaxed(&service->settings.timeout_s);
    uint64_t now_ms = clock_realtime_ms(service->options.clock);
    if (!timeout_s)
        return UINT64_MAX;
    pthread_mutex_lock(&service->mutex);
    list_for_each (link, &service->clients) {
        struct session *session = list_entry(link, struct session, link);
        const struct session_about *about = &session->about;
        if (session->worker != worker ||
            load_relaxed(&about->active_ms) + timeout_s * 1000 > now_ms ||
            load_relaxed(&about->waits) || load_relaxed(&about->monitoring) ||
            load_relaxed(&about->channels) + load_relaxed(&about->patterns) +
                    load_relaxed(&about->shards) >
                0)
            continue;
        session->dead = session->closing = true;
        session__ready(session);
    }
    pthread_mutex_unlock(&service->mutex);
    return now_ns + 1000000000;
}

/* ----------------------------------------------------------------------------------------- pause */

void service__stir_all(struct service *service)
{
    pthread_mutex_lock(&service->mutex);
    for (unsigned n = 0; n < service->worker_count; n++)
        if (service->workers[n])
            session__worker_stir(service->workers[n]);
    pthread_mutex_unlock(&service->mutex);
}

void service__pause(struct service *service, uint64_t ms, bool all)
{
    uint64_t end_ns = clock_monotonic_ns(service->options.clock) + ms * 1000000;
    pthread_mutex_lock(&service->mutex);
    bool paused = load_relaxed(&service->attention) & SERVICE_PAUSED;
    if (!paused || end_ns > load_relaxed(&service->pause_end_ns))
        store_relaxed(&service->pause_end_ns, end_ns);
    store_relaxed(&service->pause_all, all || (paused && load_relaxed(&service->pause_all)));
    atomic_fetch_or_explicit(&service->attention, SERVICE_PAUSED, memory_order_release);
    pthread_mutex_unlock(&service->mutex);
}

void service__unpause(struct service *service)
{
    pthread_mutex_lock(&service->mutex);
    atomic_fetch_and_explicit(&service->attention, ~(unsigned)SERVICE_PAUSED, memory_order_release);
    store_relaxed(&service->pause_end_ns, 0);
    pthread_mutex_unlock(&service->mutex);
    service__stir_all(service);
}

/* The pause that was to end then is over; another may have begun since somebody looked. */
static void pause_over(struct service *service, uint64_t end_ns)
{
    pthread_mutex_lock(&service->mutex);
    if (load_relaxed(&service->pause_end_ns) == end_ns)
        atomic_fetch_and_explicit(&service->attention, ~(unsigned)SERVICE_PAUSED,
                                  memory_order_relaxed);
    pthread_mutex_unlock(&service->mutex);
}

static bool may_write(const struct session_command *command)
{
    if (command->redis)
        return !(command->redis->flags & REDIS_READONLY) || strcmp(command->name, "pfcount") == 0;
    return (command->flags & (SESSION_SCRIPT | SESSION_STATEMENT)) &&
           !(command->flags & SESSION_READS);
}

static bool concerned(const struct session *session, const struct session_command *command)
{
    if (command->run == session__client_unpause)
        return false; /* or nobody could */
    if (load_relaxed(&session->service->pause_all) || may_write(command))
        return true;
    if (command->run != session__exec)
        return false;
    for (const struct session_queued *queued = session->queue_first; queued; queued = queued->next)
        if (may_write(queued->command))
            return true;
    return false;
}

bool session__pause_holds(struct session *session, const struct session_command *command)
{
    struct service *service = session->service;
    struct session_wait *wait = &session->wait;
    uint64_t end_ns = load_relaxed(&service->pause_end_ns);
    if (clock_monotonic_ns(service->options.clock) >= end_ns) {
        pause_over(service, end_ns);
        return false;
    }
    if (session->hurried || !concerned(session, command))
        return false;
    wait->deadline_ns = end_ns;
    wait->state = SESSION_WAIT_QUEUED;
    list_remove(&wait->link);
    list_add_tail(&session->worker->waits, &wait->link);
    session__due_at(session->worker, end_ns);
    session->suspended = wait;
    session->paused = true;
    return true;
}
