/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Start and end of the workers.
 *
 * The handles of the loops are made and closed by the thread that calls net_new and net_delete,
 * when no worker runs: the log writer may send to a loop until the log is closed, and by then the
 * loop must still be there.
 */
#include "net/net.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/diag.h"
#include "base/error.h"
#include "mem/account.h"
#include "net/net_internal.h"
#include "session/service.h"

enum { STOP_TIME_MAX_MS_DEFAULT = 10000, BALANCE_MS_DEFAULT = 100 };

int net_new(const struct net_options *options, struct net **out)
{
    ASSERT(options->worker_count > 0);
    unsigned threads = options->worker_count + options->standby_count;
    size_t size = sizeof(struct net) + threads * sizeof(struct net_worker);
    size = (size + CACHE_LINE_SIZE - 1) & ~(size_t)(CACHE_LINE_SIZE - 1);
    struct net *net = account_made(ACCOUNT_NETWORK, aligned_alloc(CACHE_LINE_SIZE, size));
    if (!net)
        return diag_set(ERROR_MEMORY, "out of memory");
    memset(net, 0, size);
    net->stop_time_max_ms =
        options->stop_time_max_ms ? options->stop_time_max_ms : STOP_TIME_MAX_MS_DEFAULT;
    store_relaxed(&net->password, options->password);
    store_relaxed(&net->balance, options->balance);
    net->balance_ms = options->balance_ms ? options->balance_ms : BALANCE_MS_DEFAULT;
    net->on_stopped = options->on_stopped;
    net->arg = options->arg;
    net->tls_user = options->tls_user;
    net->spare = -1;
    net->worker_count = options->worker_count;
    pthread_mutex_init(&net->tls_mutex, NULL);
    pthread_mutex_init(&net->mutex, NULL);
    pthread_cond_init(&net->changed, NULL);
    int rc = net__listeners_open(net, options);
    for (unsigned n = 0; !rc && n < threads; n++) {
        rc = net__worker_create(&net->workers[n], net, n);
        net->thread_count = n + 1;
    }
    if (rc) {
        net_delete(net);
        return rc;
    }
    *out = net;
    return 0;
}

void net_password_set(struct net *net, bool any)
{
    store_relaxed(&net->password, any);
}

const char *net_listen_address(const struct net *net)
{
    return net->listeners[0].text;
}

void net_listen_text(const struct net *net, char *out, size_t size)
{
    size_t at = 0;
    out[0] = 0;
    for (unsigned n = 0; n < net->listener_count && at < size; n++) {
        const struct net_listener *listener = &net->listeners[n];
        at += (size_t)snprintf(out + at, size - at, "%s%s%s%s", n ? " and " : "", listener->text,
                               listener->entry.tls ? " (tls)" : "",
                               listener->entry.proxy ? " (proxy)" : "");
    }
}

const char *net_own_address(const struct net *net)
{
    return net->own_listener < net->listener_count ? net->listeners[net->own_listener].text : "";
}

unsigned net_port(const struct net *net)
{
    unsigned port = 0;
    for (unsigned n = 0; n < net->listener_count; n++) {
        const struct net_listener *listener = &net->listeners[n];
        if (!listener->entry.tls && address_port(&listener->address))
            return address_port(&listener->address);
        port = port ? port : address_port(&listener->address);
    }
    return port;
}

int net_tls_reload(struct net *net, const struct tls_options *options)
{
    struct tls_context *read, *before;
    if (!net->tls)
        return 0;
    int rc = tls_context_new(options, &read);
    if (rc)
        return rc;
    pthread_mutex_lock(&net->tls_mutex);
    before = net->tls;
    net->tls = read;
    pthread_mutex_unlock(&net->tls_mutex);
    tls_context_release(before);
    return 0;
}

/* Signals to the process are for other threads: those who wait for them. */
static int thread_start(struct net_worker *worker)
{
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGHUP);
    sigaddset(&blocked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    pthread_attr_t attributes; /* how deep Lua may go does not hang on the shell's limits */
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, NET_STACK_BYTES);
    int error = pthread_create(&worker->thread, &attributes, net__worker_run, worker);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error ? diag_set_errno(ERROR_AGAIN, error, "cannot start a thread") : 0;
}

/* Waits until all threads have said how their start went; the first bad result. From a good one on
 * the end of the last worker is told. */
static int started_wait(struct net *net)
{
    int rc = 0;
    pthread_mutex_lock(&net->mutex);
    while (net->started < net->running)
        pthread_cond_wait(&net->changed, &net->mutex);
    for (unsigned n = 0; !rc && n < net->running; n++)
        if ((rc = net->workers[n].start_result))
            diag_set(rc, "%s", net->workers[n].start_message);
    net->serving = !rc && net->running == net->thread_count;
    pthread_mutex_unlock(&net->mutex);
    return rc;
}

int net_start(struct net *net, struct service *service)
{
    net->service = service;
    service_wake_set(service, net__session_wake);
    service_remotes_set(service, net__remote_open);
    int rc = net__listeners_start(net, &net->workers[0]);
    for (unsigned n = 0; !rc && n < net->thread_count; n++) {
        pthread_mutex_lock(&net->mutex);
        rc = thread_start(&net->workers[n]);
        if (!rc)
            net->running++;
        pthread_mutex_unlock(&net->mutex);
    }
    int result = started_wait(net);
    rc = rc ? rc : result;
    if (rc) {
        net_stop(net, true);
        net_join(net);
    }
    return rc;
}

void net_stop(struct net *net, bool fast)
{
    uint32_t wanted = fast ? 2 : 1, before = load_relaxed(&net->stopping);
    while (before < wanted &&
           !atomic_compare_exchange_weak_explicit(&net->stopping, &before, wanted,
                                                  memory_order_acq_rel, memory_order_relaxed)) {
    }
    for (unsigned n = 0; n < net->thread_count; n++) {
        uv_async_send(&net->workers[n].async);
        sem_post(&net->workers[n].called);
    }
}

void net_join(struct net *net)
{
    for (unsigned n = 0; n < net->running; n++)
        pthread_join(net->workers[n].thread, NULL);
    net->running = 0;
}

void net_delete(struct net *net)
{
    if (!net)
        return;
    ASSERT(net->running == 0);
    for (unsigned n = 0; n < net->thread_count; n++)
        net__worker_destroy(&net->workers[n]);
    net__listeners_close(net);
    tls_context_release(net->tls);
    pthread_mutex_destroy(&net->tls_mutex);
    pthread_cond_destroy(&net->changed);
    pthread_mutex_destroy(&net->mutex);
    free(account_gone(ACCOUNT_NETWORK, net));
}

/* Nobody is asked again before all have answered: who asks and asks would keep those busy that have. */
bool net_is_alive(struct net *net)
{
    if (load_acquire(&net->stopping))
        return true; /* workers end one after the other */
    for (unsigned n = 0; n < net->worker_count; n++) {
        const struct net_worker *worker = &net->workers[n];
        if (load_relaxed(&worker->answered) != load_relaxed(&worker->asked))
            return false;
    }
    for (unsigned n = 0; n < net->worker_count; n++) {
        struct net_worker *worker = &net->workers[n];
        store_relaxed(&worker->asked, load_relaxed(&worker->asked) + 1);
        uv_async_send(&worker->async);
    }
    return true;
}

unsigned net_worker_connections(const struct net *net, unsigned number)
{
    return load_relaxed(&net->workers[number].connection_count);
}
