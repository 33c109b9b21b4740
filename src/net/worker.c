/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A worker: a thread with a loop. A turn of it:
 *
 *   timers    old versions are freed some time after work was done; limits of transactions
 *   pending   writes that ended at once are reported: their connections become dirty
 *   prepare   output of those; replies wait, or deferred actions? then say `asleep`, and look once
 *             more whether the log has advanced
 *   poll      sleeps; input is executed, connections become dirty
 *   check     no longer asleep; requests that waited and are woken, limits that have passed; the
 *             output of the turn is written; connections are given away, if there is too much (load.c)
 *
 * Sleeping and the log (invariant 5): the worker stores `asleep`, then reads what the log has
 * reached; the log writer stores what it has reached, then reads `asleep`. With a full fence
 * between store and load on both sides one of the two sees the other, so no reply is left behind,
 * and a worker that is awake, or has nothing that waits, costs the log writer one load.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "lua/runtime.h"
#include "net/net_internal.h"

#define CALL_PAUSE_NS 1000000000u /* between two attempts to begin */

/* That it is active keeps the loop from sleeping; on_check stops it. */
static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

void net__worker_busy(struct net_worker *worker)
{
    uv_idle_start(&worker->idle, on_idle);
}

/* ---------------------------------------------------------------------------------- the mailbox */

/* Room for one more behind the last: there always is after one has been picked. Under the mutex. */
static bool mailbox_room(struct net_worker *worker)
{
    struct net_accepted *mailbox = worker->mailbox;
    if (worker->mailbox_closed)
        return false;
    if (worker->mailbox_count == worker->mailbox_capacity && worker->mailbox_first > 0) {
        worker->mailbox_count -= worker->mailbox_first;
        memmove(mailbox, mailbox + worker->mailbox_first, worker->mailbox_count * sizeof *mailbox);
        worker->mailbox_first = 0;
    }
    if (worker->mailbox_count < worker->mailbox_capacity)
        return true;
    unsigned capacity = worker->mailbox_capacity ? worker->mailbox_capacity * 2 : 64;
    mailbox = realloc(mailbox, capacity * sizeof *mailbox);
    if (!mailbox)
        return false;
    worker->mailbox = mailbox;
    worker->mailbox_capacity = capacity;
    return true;
}

bool net__worker_offer(struct net_worker *worker)
{
    pthread_mutex_lock(&worker->mutex);
    if (mailbox_room(worker))
        return true;
    pthread_mutex_unlock(&worker->mutex);
    return false;
}

void net__worker_put(struct net_worker *worker, struct net_accepted accepted)
{
    atomic_fetch_add_explicit(&worker->connection_count, 1, memory_order_relaxed);
    worker->mailbox[worker->mailbox_count++] = accepted;
    pthread_mutex_unlock(&worker->mutex);
    uv_async_send(&worker->async);
}

void net__worker_refuse(struct net_worker *worker)
{
    pthread_mutex_unlock(&worker->mutex);
}

bool net__worker_pick(struct net_worker *worker, struct net_accepted *out)
{
    pthread_mutex_lock(&worker->mutex);
    bool any = worker->mailbox_first < worker->mailbox_count;
    if (any)
        *out = worker->mailbox[worker->mailbox_first++];
    else
        worker->mailbox_first = worker->mailbox_count = 0;
    pthread_mutex_unlock(&worker->mutex);
    return any;
}

/* When it is empty, or anyway, nobody comes any more; true: so it is. */
static bool mailbox_shut(struct net_worker *worker, bool anyway)
{
    pthread_mutex_lock(&worker->mutex);
    if (anyway || worker->mailbox_first == worker->mailbox_count)
        worker->mailbox_closed = true;
    bool closed = worker->mailbox_closed;
    pthread_mutex_unlock(&worker->mutex);
    return closed;
}

/* On the worker's thread, or when there is none. */
static void mailbox_close(struct net_worker *worker)
{
    struct net_accepted accepted;
    mailbox_shut(worker, true);
    while (net__worker_pick(worker, &accepted))
        net__accepted_drop(worker, accepted);
}

/* ----------------------------------------------------------------------------------------- stop */

static void on_stop_time(uv_timer_t *timer)
{
    struct net_worker *worker = timer->data;
    log_warn("some clients have not read their replies: closing their connections");
    net__connections_end(worker, true);
}

/* Of all that are there now. */
static void read_last(struct net_worker *worker)
{
    worker->stage = NET_READING_LAST;
    worker->last_turns = 2; /* the rest of this one, and one that looks at every socket */
    if (!uv_is_active((uv_handle_t *)&worker->stop_timer))
        uv_timer_start(&worker->stop_timer, on_stop_time, worker->net->stop_time_max_ms, 0);
    net__worker_busy(worker);
}

/* One by one: while a session begins, or goes on, the rest may be passed on to others. Another worker may have
 * let connections go before it has heard of a stop that has got further here: what their clients have sent
 * came before it, and is read like that of the others. */
static void mailbox_take(struct net_worker *worker)
{
    struct net_accepted accepted;
    while (net__worker_pick(worker, &accepted)) {
        if (accepted.moved) {
            net__connection_join(worker, accepted);
            if (worker->stage != NET_SERVING)
                read_last(worker);
        } else if (worker->stage != NET_FLUSHING) {
            net__connection_open(worker, accepted);
        } else {
            net__accepted_drop(worker, accepted);
        }
    }
}

/* Goes on with a stop that was asked for. */
static void stop_continue(struct net_worker *worker)
{
    uint32_t stopping = load_acquire(&worker->net->stopping);
    if (stopping == 0)
        return;
    if (worker->stage == NET_SERVING) {
        if (worker->number == 0)
            net__listeners_stop(worker->net);
        read_last(worker);
    }
    if (stopping > 1)
        net__connections_end(worker, true);
}

/* After a turn's input. */
static void stop_check(struct net_worker *worker)
{
    if (worker->stage == NET_READING_LAST && --worker->last_turns > 0) {
        net__worker_busy(worker);
    } else if (worker->stage == NET_READING_LAST) {
        worker->stage = NET_FLUSHING;
        net__connections_end(worker, false);
    }
    if (worker->stage == NET_FLUSHING && list_empty(&worker->connections) &&
        mailbox_shut(worker, false))
        uv_stop(&worker->loop);
}

/* --------------------------------------------------------------------------------- old versions */

static void on_collect(uv_timer_t *timer)
{
    struct net_worker *worker = timer->data;
    bool more = session_worker_collect(worker->session_worker);
    worker->collect_idle = more || worker->worked ? 0 : worker->collect_idle + 1;
    worker->worked = false;
    if (worker->collect_idle < NET_COLLECT_IDLE_MAX)
        return;
    uv_timer_stop(timer);
    session_worker_rest(worker->session_worker);
}

static void collect_schedule(struct net_worker *worker)
{
    if (!worker->worked || uv_is_active((uv_handle_t *)&worker->collect_timer))
        return;
    worker->collect_idle = 0;
    uv_timer_start(&worker->collect_timer, on_collect, NET_COLLECT_MS, NET_COLLECT_MS);
}

/* ---------------------------------------------------------- what sessions wait for, and limits */

void net__session_wake(void *arg)
{
    struct net_worker *worker = arg;
    uv_async_send(&worker->async);
}

/* The turn that follows looks. */
static void on_due(uv_timer_t *timer)
{
    net__worker_busy(timer->data);
}

static void due_schedule(struct net_worker *worker)
{
    uint64_t due_ms = session_worker_due_ms(worker->session_worker);
    if (due_ms == UINT64_MAX)
        return;
    uint64_t at_ms = uv_now(&worker->loop) + due_ms;
    if (uv_is_active((uv_handle_t *)&worker->due_timer) && worker->due_at_ms <= at_ms)
        return;
    worker->due_at_ms = at_ms;
    uv_timer_start(&worker->due_timer, on_due, due_ms, 0);
}

/* ---------------------------------------------------------------------------------- standing by */

static void on_home(uv_timer_t *timer)
{
    struct net_worker *worker = timer->data;
    net__connections_home(worker);
    if (list_empty(&worker->connections))
        uv_timer_stop(timer);
}

static void home_schedule(struct net_worker *worker)
{
    if (worker->standby && !uv_is_active((uv_handle_t *)&worker->home_timer))
        uv_timer_start(&worker->home_timer, on_home, NET_HOME_MS, NET_HOME_MS);
}

void net__worker_call(struct net_worker *worker)
{
    uint64_t now_ns = uv_hrtime(), at_ns = load_relaxed(&worker->call_at_ns);
    if (now_ns >= at_ns &&
        atomic_compare_exchange_strong(&worker->call_at_ns, &at_ns, now_ns + CALL_PAUSE_NS))
        sem_post(&worker->called);
}

/* ------------------------------------------------------------------------------------- the turn */

static void on_async(uv_async_t *async)
{
    struct net_worker *worker = async->data;
    net__load_awake(&worker->load, &worker->loop);
    store_relaxed(&worker->answered, load_relaxed(&worker->asked));
    mailbox_take(worker);
    home_schedule(worker);
    stop_continue(worker);
}

static bool log_advanced(const struct net_worker *worker)
{
    return wal_reply_ts(worker->wal) != worker->passed_ts ||
           wal_failed(worker->wal) != worker->passed_failed;
}

/* Replies, or what commits have deferred. */
static bool log_awaited(const struct net_worker *worker)
{
    return !list_empty(&worker->waiting) || session_worker_deferred(worker->session_worker);
}

static void log_look(struct net_worker *worker)
{
    if (!list_empty(&worker->dirty)) /* by a write that had finished at once */
        net__connections_flush(worker);
    for (unsigned turn = 0; log_awaited(worker); turn++) {
        store_seq_cst(&worker->asleep, 1);
        fence_seq_cst(&worker->asleep);
        if (!log_advanced(worker))
            return;
        store_relaxed(&worker->asleep, 0);
        if (turn == 3) {
            net__worker_busy(worker); /* others want their turn */
            return;
        }
        session_worker_run(worker->session_worker, net__session_ready, worker);
        net__connections_flush(worker);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct net_worker *worker = prepare->data;
    net__worker_back(worker);
    log_look(worker);
    net__load_polls(&worker->load);
}

static void on_check(uv_check_t *check)
{
    struct net_worker *worker = check->data;
    net__load_awake(&worker->load, &worker->loop);
    net__worker_back(worker);
    store_relaxed(&worker->asleep, 0);
    uv_idle_stop(&worker->idle);
    worker->load.fibers = lua_runtime_has_fibers(session_worker_lua(worker->session_worker));
    worker->worked |= worker->load.fibers;
    collect_schedule(worker);
    stop_check(worker);
    session_worker_run(worker->session_worker, net__session_ready, worker);
    net__connections_flush(worker);
    due_schedule(worker);
    if (uv_now(&worker->loop) >= worker->load.look_ms)
        net__load_look(worker);
}

void net_wake(struct net *net)
{
    atomic_thread_fence(memory_order_seq_cst);
    for (unsigned n = 0; n < net->thread_count; n++) {
        struct net_worker *worker = &net->workers[n];
        if (load_seq_cst(&worker->asleep) &&
            atomic_exchange_explicit(&worker->asleep, 0, memory_order_seq_cst))
            uv_async_send(&worker->async);
    }
}

/* ----------------------------------------------------------------------------------------- life */

static void handles_open(struct net_worker *worker)
{
    uv_prepare_init(&worker->loop, &worker->prepare);
    uv_check_init(&worker->loop, &worker->check);
    uv_idle_init(&worker->loop, &worker->idle);
    uv_timer_init(&worker->loop, &worker->collect_timer);
    uv_timer_init(&worker->loop, &worker->stop_timer);
    uv_timer_init(&worker->loop, &worker->linger_timer);
    uv_timer_init(&worker->loop, &worker->greeting_timer);
    uv_timer_init(&worker->loop, &worker->due_timer);
    uv_timer_init(&worker->loop, &worker->home_timer);
    worker->async.data = worker->prepare.data = worker->check.data = worker->idle.data = worker;
    worker->collect_timer.data = worker->stop_timer.data = worker->linger_timer.data =
        worker->greeting_timer.data = worker->due_timer.data = worker->home_timer.data = worker;
    uv_prepare_start(&worker->prepare, on_prepare);
    uv_check_start(&worker->check, on_check);
}

int net__worker_create(struct net_worker *worker, struct net *net, unsigned number)
{
    worker->net = net;
    worker->number = number;
    worker->standby = number >= net->worker_count;
    sem_init(&worker->called, 0, 0);
    list_create(&worker->connections);
    list_create(&worker->dirty);
    list_create(&worker->turn);
    list_create(&worker->waiting);
    list_create(&worker->passing);
    list_create(&worker->lingering);
    list_create(&worker->greeting);
    mp_buffer_create(&worker->encrypted);
    pthread_mutex_init(&worker->mutex, NULL);
    int rc = uv_loop_init(&worker->loop);
    if (!rc) {
        worker->handles_open = true;
        rc = uv_async_init(&worker->loop, &worker->async, on_async);
    }
    if (rc)
        return diag_set(rc == UV_ENOMEM ? ERROR_MEMORY : ERROR_IO, "cannot make a loop: %s",
                        uv_strerror(rc));
    handles_open(worker);
    return 0;
}

static void handle_close(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void net__worker_destroy(struct net_worker *worker)
{
    mailbox_close(worker);
    free(worker->mailbox);
    if (worker->handles_open) {
        uv_walk(&worker->loop, handle_close, NULL);
        uv_run(&worker->loop, UV_RUN_DEFAULT);
        int rc = uv_loop_close(&worker->loop);
        ASSERT(rc == 0);
    }
    mp_buffer_destroy(&worker->encrypted);
    sem_destroy(&worker->called);
    pthread_mutex_destroy(&worker->mutex);
}

/* Tells net_start how it went. */
static void started(struct net_worker *worker, int rc)
{
    struct net *net = worker->net;
    pthread_mutex_lock(&net->mutex);
    worker->start_result = rc;
    if (rc)
        snprintf(worker->start_message, sizeof worker->start_message, "%s", diag_message_for(rc));
    net->started++;
    pthread_cond_broadcast(&net->changed);
    pthread_mutex_unlock(&net->mutex);
}

static void ended(struct net *net)
{
    pthread_mutex_lock(&net->mutex);
    bool last = ++net->ended == net->running, serving = net->serving;
    pthread_cond_broadcast(&net->changed);
    pthread_mutex_unlock(&net->mutex);
    if (last && serving && net->on_stopped)
        net->on_stopped(net->arg);
}

static int worker_open(struct net_worker *worker)
{
    int rc = session_worker_open(worker->net->service, worker, &worker->session_worker);
    if (rc)
        return rc;
    rc = lua_runtime_loop_set(session_worker_lua(worker->session_worker), &worker->loop);
    if (rc) {
        session_worker_close(worker->session_worker);
        return rc;
    }
    net__others_set(worker);
    worker->wal = db_wal(service_db(worker->net->service));
    worker->passed_ts = wal_reply_ts(worker->wal);
    net__load_begin(worker);
    store_release(&worker->open, 1); /* with all of this: others hand over to it from now on */
    return 0;
}

static void worker_serve(struct net_worker *worker)
{
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    store_seq_cst(&worker->asleep, 0);
    mailbox_close(worker);
    session_worker_close(worker->session_worker);
}

/* Until it is called for the first time it is a thread that sleeps, and nothing else. */
static void standby_run(struct net_worker *worker)
{
    int rc = ERROR_AGAIN;
    while (rc) {
        while (sem_wait(&worker->called))
            ;
        if (load_acquire(&worker->net->stopping))
            return;
        if ((rc = worker_open(worker)) != 0)
            log_warn("connections of workers that compute go on waiting: no further worker can "
                     "begin: %s",
                     diag_message_for(rc));
    }
    log_info(
        "all workers are within long requests: a further one serves their connections meanwhile");
    worker_serve(worker);
}

void *net__worker_run(void *arg)
{
    struct net_worker *worker = arg;
    char name[16];
    snprintf(name, sizeof name, "%s %u", worker->standby ? "standby" : "worker",
             worker->number % 10000);
    log_thread_name(name);
    int rc = worker->standby ? 0 : worker_open(worker);
    started(worker, rc);
    if (worker->standby) {
        standby_run(worker);
    } else if (!rc) {
        if (worker->number == 0)
            net__worker_busy(worker); /* there is something to do before anybody comes */
        worker_serve(worker);
    }
    ended(worker->net);
    return NULL;
}
