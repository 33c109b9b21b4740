/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How a connection moves to another worker, and what makes it while its own one is within a request that takes long: Lua
 * code, or a command that goes over much (lua_runtime_let_in). (The other reason is that a worker is busy all the time: load.c.)
 *
 * While a worker is within Lua code it is not in its loop: nobody reads what its connections send, or
 * sends what they are to get. When that has lasted for a few milliseconds, those who have something
 * to be done are handed to other workers.
 *
 *   watchdog's thread   every few ms while Lua code runs: is the worker still in the same turn of its loop,
 *                       and does anybody wait for it? (is_awaited)
 *   worker's thread     between two instructions of that code: hands over connections whose input lies in
 *                       their sockets, whose output is not sent, or whose requests have been woken; and
 *                       what is to be accepted, or has been (net__serve)
 *   other's thread      takes them out of its mailbox, as it takes accepted sockets
 *
 * Where no worker is in its loop, one that stands by takes them. Its thread sleeps until the first time that it is called;
 * then it is a worker as others are, to whom nobody comes of himself. When another one is in its loop again,
 * its connections go there.
 *
 * Whoever has nothing to be done stays, and so does who cannot leave (session_leave), but what is ready of
 * its output is sent, unless it speaks TLS. The running code
 * costs its thread one look at its sockets each time that it is asked, and it is asked so seldom that the looks
 * take a fifth of the time at most.
 *
 * A handle of the loop cannot change its loop. So the socket is duplicated, the old handle is closed
 * (that of a connection that has nothing left), and a new connection with the same session goes.
 *
 * Where Lua code runs, the loop is in a callback of one connection, or between its phases; closing another
 * one's handle is allowed there. Lists of connections that are gone over there are taken from the front
 * one by one, so that any of the others may leave them (connection.c). At the end of a turn, where load.c is, none
 * of that goes on.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "lua/runtime.h"
#include "lua/watchdog.h"
#include "mem/account.h"
#include "net/net_internal.h"

enum { POLL_MAX = 128, SERVE_SHARE = 4 };

void net__worker_back(struct net_worker *worker)
{
    store_relaxed(&worker->turns, load_relaxed(&worker->turns) + 1);
    if (load_relaxed(&worker->away))
        store_relaxed(&worker->away, 0);
}

/* ------------------------------------------------------------------------- the watchdog's thread */

static bool has_events(struct net_worker *worker)
{
    struct pollfd loop = {.fd = uv_backend_fd(&worker->loop), .events = POLLIN};
    return poll(&loop, 1, 0) > 0;
}

/* What it reads of the worker is approximate: a look that comes to nothing does no harm, and one that
 * is left out is made up for by the next. */
static bool is_awaited(void *arg)
{
    struct net_worker *worker = arg;
    uint32_t turns = load_relaxed(&worker->turns);
    uint64_t now_ns = uv_hrtime();
    if (turns != worker->looked_turns) {
        worker->looked_turns = turns;
        worker->asked_ns = 0;
        return false;
    }
    if (load_relaxed(&worker->net->stopping))
        return false;
    if (worker->asked_ns > 0) {
        if (now_ns - worker->asked_ns < SERVE_SHARE * load_relaxed(&worker->serve_ns))
            return false;
        if (now_ns < load_relaxed(&worker->serve_at_ns) &&
            (worker->net->thread_count == 1 || !has_events(worker)))
            return false;
    } /* else there may be replies that are not sent, of which the loop knows nothing */
    worker->asked_ns = now_ns;
    return true;
}

/* ---------------------------------------------------------------------------- the worker's thread */

/* Of those from .. behind - 1 that are in their loops, the one with the fewest connections; or NULL. */
static struct net_worker *another_of(const struct net_worker *worker, unsigned from,
                                     unsigned behind)
{
    struct net *net = worker->net;
    struct net_worker *best = NULL;
    for (unsigned n = from; n < behind; n++) {
        struct net_worker *other = &net->workers[n];
        if (other != worker && load_acquire(&other->open) && !load_relaxed(&other->away) &&
            (!best ||
             load_relaxed(&other->connection_count) < load_relaxed(&best->connection_count)))
            best = other;
    }
    return best;
}

/* The same without a handle, for another worker. */
static struct net_connection *connection_copy(const struct net_connection *connection)
{
    struct net_connection *copy = account_made(ACCOUNT_NETWORK, calloc(1, sizeof *copy));
    if (!copy)
        return NULL;
    copy->listener = connection->listener;
    copy->session = connection->session;
    copy->tls = connection->tls;
    copy->cost.rest_ms = connection->cost.rest_ms;
    list_create(&copy->link);
    list_create(&copy->dirty);
    list_create(&copy->waiting);
    mp_buffer_create(&copy->encrypted);
    mp_buffer_create(&copy->ahead);
    return copy;
}

/* The one to hand over to: one that stands by only where all others are within a request. */
static struct net_worker *another(const struct net_worker *worker)
{
    const struct net *net = worker->net;
    struct net_worker *to = another_of(worker, 0, net->worker_count);
    return to ? to : another_of(worker, net->worker_count, net->thread_count);
}

static void standby_call(struct net *net)
{
    for (unsigned n = net->worker_count; n < net->thread_count; n++)
        if (!load_acquire(&net->workers[n].open)) {
            net__worker_call(&net->workers[n]);
            return;
        }
}

bool net__connection_may_leave(const struct net_connection *connection)
{
    return connection->session && !connection->greeting && !connection->closing &&
           !connection->lingering && !connection->writing && !connection->ended &&
           session_may_leave(connection->session);
}

/* The mailbox of `to` is locked, so that it is there to take what leaves. */
static bool session_send(struct net_connection *connection, struct net_worker *to)
{
    struct net_accepted accepted = {.moved = connection_copy(connection), .fd = -1};
    uv_os_fd_t fd;
    if (accepted.moved && !uv_fileno(&connection->handle, &fd))
        accepted.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (accepted.fd < 0) {
        free(account_gone(ACCOUNT_NETWORK, accepted.moved));
        return false;
    }
    accepted.moved->ahead = connection->ahead;
    mp_buffer_create(&connection->ahead);
    session_leave(connection->session, to->session_worker);
    session_user_set(connection->session, accepted.moved);
    net__worker_put(to, accepted);
    return true;
}

bool net__connection_move(struct net_connection *connection, struct net_worker *to)
{
    if (!net__connection_may_leave(connection) || !net__worker_offer(to))
        return false;
    if (!session_send(connection, to)) {
        net__worker_refuse(to);
        return false;
    }
    connection->session = NULL;
    connection->tls = NULL;
    net__connection_close(connection);
    return true;
}

static void connection_leave(struct net_connection *connection)
{
    struct net_worker *to = another(connection->worker);
    if (to)
        net__connection_move(connection, to);
}

/* It goes, or what is ready of its output does. */
static void connection_go_on(struct net_connection *connection)
{
    connection_leave(connection);
    net__connection_send(connection);
    if (!connection->closing && connection->session && session_waiting(connection->session))
        connection->worker->serve_again = true;
}

static void session_go_on(struct session *session, void *arg)
{
    (void)arg;
    connection_go_on(session_user(session));
}

static void dirty_go_on(struct list *dirty)
{
    list_for_each_safe (link, dirty)
        connection_go_on(list_entry(link, struct net_connection, dirty));
}

static void waiting_go_on(struct list *waiting)
{
    list_for_each_safe (link, waiting)
        connection_go_on(list_entry(link, struct net_connection, waiting));
}

static void readable_leave(struct pollfd *sockets, struct net_connection **connections,
                           unsigned count)
{
    if (count == 0 || poll(sockets, count, 0) <= 0)
        return;
    for (unsigned n = 0; n < count; n++)
        if (sockets[n].revents)
            connection_leave(connections[n]);
}

/* Those whose input lies in their sockets. */
static void input_leave(struct net_worker *worker)
{
    struct net_connection *connections[POLL_MAX];
    struct pollfd sockets[POLL_MAX];
    unsigned count = 0;
    uv_os_fd_t fd;
    list_for_each (link, &worker->connections) {
        struct net_connection *connection = list_entry(link, struct net_connection, link);
        if (!connection->reading || !net__connection_may_leave(connection) ||
            uv_fileno(&connection->handle, &fd))
            continue;
        sockets[count] = (struct pollfd){.fd = fd, .events = POLLIN};
        connections[count++] = connection;
        if (count == POLL_MAX) {
            readable_leave(sockets, connections, count);
            count = 0;
        }
    }
    readable_leave(sockets, connections, count);
}

/* What others have put into its mailbox goes on to somebody else's. */
static void mailbox_leave(struct net_worker *worker)
{
    struct net_accepted accepted;
    struct net_worker *to;
    while ((to = another(worker)) != NULL && net__worker_pick(worker, &accepted)) {
        if (!net__worker_offer(to)) { /* it is about to end, and so is this one */
            bool kept = net__worker_offer(worker);
            ASSERT(kept);
            to = worker;
        } else if (accepted.moved) {
            session_redirect(accepted.moved->session, to->session_worker);
        }
        net__worker_put(to, accepted);
        atomic_fetch_sub_explicit(&worker->connection_count, 1, memory_order_relaxed);
        if (to == worker)
            return;
    }
}

/* Only this thread can read what comes within TLS: there may be a `cancel` of what runs. */
static void running_look(struct net_worker *worker)
{
    struct session *session = session_running_sealed(worker->session_worker);
    if (!session)
        return;
    struct net_connection *connection = session_user(session);
    net__decrypt_ahead(connection);
    session_running_look(worker->session_worker,
                         (struct session_output){connection->ahead.data, connection->ahead.size});
}

void net__serve(void *arg)
{
    struct net_worker *worker = arg;
    struct net_worker *to = another(worker);
    uint64_t start_ns = uv_hrtime();
    if (worker->stage != NET_SERVING)
        return;
    store_relaxed(&worker->away, 1);
    worker->serve_again = false;
    if (to) {
        if (session_worker_deferred(worker->session_worker))
            uv_async_send(&to->async); /* whoever is in his loop looks after it */
        if (worker->number == 0)
            net__listeners_accept(worker->net);
        mailbox_leave(worker);
        input_leave(worker);
    } else {
        standby_call(worker->net);
    }
    running_look(worker);
    uint64_t due_ns = session_worker_peek(worker->session_worker, session_go_on, NULL);
    dirty_go_on(&worker->dirty);
    dirty_go_on(&worker->turn);
    waiting_go_on(&worker->waiting);
    waiting_go_on(&worker->passing);
    if (worker->serve_again)
        due_ns = 0; /* replies wait for the log, which does not say here how far it is */
    uint64_t now_ns = uv_hrtime();
    store_relaxed(&worker->serve_at_ns, due_ns == UINT64_MAX ? UINT64_MAX : now_ns + due_ns);
    store_relaxed(&worker->serve_ns, now_ns - start_ns);
}

void net__others_set(struct net_worker *worker)
{
    const struct lua_others others = {.wait = is_awaited, .serve = net__serve, .arg = worker};
    lua_runtime_others_set(session_worker_lua(worker->session_worker), &others);
}

void net__connections_home(struct net_worker *worker)
{
    list_for_each_safe (link, &worker->connections) {
        if (worker->stage != NET_SERVING || !another_of(worker, 0, worker->net->worker_count))
            return;
        connection_leave(list_entry(link, struct net_connection, link));
    }
}

/* ----------------------------------------------------------------------------- the other's thread */

void net__connection_join(struct net_worker *worker, struct net_accepted accepted)
{
    struct net_connection *connection = accepted.moved;
    connection->worker = worker;
    list_add_tail(&worker->connections, &connection->link);
    if (connection->tls)
        tls_out_set(connection->tls, &worker->encrypted);
    session_join(connection->session, worker->session_worker, accepted.fd);
    if (net__stream_open(connection, address_is_path(&connection->listener->address),
                         accepted.fd)) {
        close(accepted.fd);
        net__connection_close(connection);
    }
}

void net__accepted_drop(struct net_worker *worker, struct net_accepted accepted)
{
    if (accepted.moved) {
        session_join(accepted.moved->session, worker->session_worker, accepted.fd);
        session_delete(accepted.moved->session);
        tls_delete(accepted.moved->tls);
        mp_buffer_destroy(&accepted.moved->ahead);
        free(account_gone(ACCOUNT_NETWORK, accepted.moved));
    }
    close(accepted.fd);
    atomic_fetch_sub_explicit(&worker->connection_count, 1, memory_order_relaxed);
}
