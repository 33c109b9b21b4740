/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NET_H
#define NET_NET_H

/*
 * Sockets and threads: a listener, and workers that each run a loop, execute what their connections
 * say, and send replies when the log has reached them.
 *
 * In order: net_new binds the address (so that a taken port is known before anything slow);
 * net_start starts the workers and accepts; net_stop asks all of it to end, net_join waits until it
 * has; net_delete frees, after the log has been closed, because until then the log may call
 * net_wake.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/tls.h"

struct net;
struct service;

struct net_options {
    const char *listen; /* see net/listen.h */
    /* A path for this machine's own programs, where a socket is opened when every listener is for TLS
     * or a proxy; NULL: none. */
    const char *own_path;
    const struct tls_options *tls; /* for the listeners that have it; NULL: none may */
    enum tls_name tls_user;        /* the name in a client's certificate that is its user's */
    unsigned worker_count;         /* threads, at least 1 */
    unsigned
        standby_count; /* more of them, which serve only while all others are within a request */
    bool password;     /* one is asked for; else only this machine is served */
    unsigned stop_time_max_ms; /* how long an orderly stop waits for slow readers; 0: 10 s */
    bool balance; /* a worker that is busy all the time gives connections to one that is not */
    unsigned balance_ms; /* from look to look whether there is one; 0: 100 */
    /* The last worker has ended; from that worker's thread. May be NULL. */
    void (*on_stopped)(void *arg);
    void *arg;
};

/*
 * Binds the addresses. The caller owns *out; the options' strings are copied. ERROR_INVALID (no such
 * address), ERROR_ACCESS (an address that others can reach, and no password), ERROR_LOCKED (the
 * port or path is taken), ERROR_IO, ERROR_MEMORY, with diagnostics that say what to set.
 */
int net_new(const struct net_options *options, struct net **out);

/* Whether a password is asked for; without one only this machine is served, from the next connection on.
 * Any thread. */
void net_password_set(struct net *net, bool any);

/* Where it listens first, as a client has to write it: with the port that the system picked. Valid
 * as long as the net. */
const char *net_listen_address(const struct net *net);

/* All of them, "127.0.0.1:6379 and [::1]:6380 (tls)", into out[size]. */
void net_listen_text(const struct net *net, char *out, size_t size);

/* One where no TLS is spoken and no proxy is in between, for programs of this machine; "" when there
 * is none. */
const char *net_own_address(const struct net *net);

/* The first TCP port of those without TLS, or else the first one; 0 when there is none. */
unsigned net_port(const struct net *net);

/*
 * Reads the files of certificates again: they are those of connections to come. From any thread,
 * at any time. When something is wrong with them, what diagnostics say, the old ones stay; does
 * nothing when no listener has TLS.
 */
int net_tls_reload(struct net *net, const struct tls_options *options);

/*
 * Starts the workers and accepts connections. The service has at least worker_count and standby_count free workers
 * and outlives net_join. After an error, which may be what session_worker_open says, nothing runs.
 */
int net_start(struct net *net, struct service *service);

/*
 * The log has advanced or failed: wakes the workers that sleep while replies wait (invariant 5).
 * From the log writer's thread, from any time after net_new until net_delete.
 */
void net_wake(struct net *net);

/*
 * Asks for an orderly stop: no connection is accepted any more; what has been received is executed,
 * its replies wait for the log and are sent, the connections are closed. With `fast`, or when
 * stop_time_max_ms have passed, connections are closed at once. May be called again, and from any
 * thread.
 */
void net_stop(struct net *net, bool fast);

/*
 * Whether each worker has had a turn of its loop since all were asked for one; if so, asks them again. At
 * the first call all are alive. By one thread, between net_start and net_join.
 */
bool net_is_alive(struct net *net);

/* Waits until all workers have ended. After net_stop, or when net_start was not called or failed.
 */
void net_join(struct net *net);

/* After net_join, and after the log has been closed. NULL is allowed. */
void net_delete(struct net *net);

/* Connections that worker `number` has now. From any thread. */
unsigned net_worker_connections(const struct net *net, unsigned number);

#endif
