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
#include <stdint.h>

struct net;
struct service;

struct net_options {
    const char *listen;        /* see net/address.h */
    unsigned worker_count;     /* threads, at least 1 */
    bool password;             /* one is asked for; else only this machine is served */
    unsigned stop_time_max_ms; /* how long an orderly stop waits for slow readers; 0: 10 s */
    /* The last worker has ended; from that worker's thread. May be NULL. */
    void (*on_stopped)(void *arg);
    void *arg;
};

/*
 * Binds the address. The caller owns *out; the options' strings are copied. ERROR_INVALID (no such
 * address), ERROR_ACCESS (an address that others can reach, and no password), ERROR_LOCKED (the
 * port or path is taken), ERROR_IO, ERROR_MEMORY, with diagnostics that say what to set.
 */
int net_new(const struct net_options *options, struct net **out);

/* Where it listens, as a client has to write it: with the port that the system picked. Valid as
 * long as the net. */
const char *net_listen_address(const struct net *net);

/* The TCP port, 0 for a unix socket. */
unsigned net_port(const struct net *net);

/*
 * Starts the workers and accepts connections. The service has at least worker_count free workers
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

/* Waits until all workers have ended. After net_stop, or when net_start was not called or failed.
 */
void net_join(struct net *net);

/* After net_join, and after the log has been closed. NULL is allowed. */
void net_delete(struct net *net);

/* Connections that worker `number` has now. From any thread. */
unsigned net_worker_connections(const struct net *net, unsigned number);

#endif
