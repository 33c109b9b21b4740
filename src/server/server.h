/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

/*
 * A running process: the folder and its lock, the database in it, and, when it listens, what serves
 * it to clients.
 *
 *   server_open      lock the folder, bind the address, replay the log, serve
 *   server_listen    the same for one that did not listen at first
 *   server_wait      until a signal or SHUTDOWN has stopped the serving in order
 *   server_close     everything acknowledged is durable, and the folder free for another
 *
 * All by one thread, the process's first. It blocks the signals that server_wait waits for, so that
 * the threads that are started do not get them.
 */
#include <stdbool.h>
#include <stdint.h>

#include "db/db.h"
#include "server/options.h"

#define PERIGEE_VERSION "0.1.0"

struct server;

/* SIGINT, SIGTERM and SIGHUP wait for server_wait from now on; a closed connection is no signal. */
void server_signals_block(void);

/* For the time in which the thread does not get to server_wait: they end the process again. */
void server_signals_unblock(void);

/*
 * Opens the database that the options describe, and serves it when `listen`. The options are the
 * caller's and outlive the server, as does the clock, NULL for the system's. ERROR_LOCKED (another
 * process has the folder, or the address), and whatever the log, the database and the network say,
 * with diagnostics in one line.
 */
int server_open(const struct options *options, struct clock *clock, bool listen,
                struct server **out);

/* Serves what does not listen yet, as the options say now. */
int server_listen(struct server *server);
bool server_listens(const struct server *server);

/* Where programs of this machine connect, "" when it does not listen, or for others only. */
const char *server_address(const struct server *server);

/*
 * Does what the option says now, one that may change at any time (options_change). ERROR_MEMORY: clients are
 * shown what it was before. By the thread that has opened the server.
 */
int server_option_changed(struct server *server, size_t number);

struct db *server_db(struct server *server);

/* "listening on 127.0.0.1:6379, 2 workers, dir var, log 12.3 MB": into out[size]. */
void server_describe(struct server *server, char *out, size_t size);

/* What the thread does while it waits: `turn` is called at first, when `fd` (-1: none) has input, and
 * after so many milliseconds as it has returned, -1: none. */
struct server_meanwhile {
    int (*turn)(void *arg);
    int (*fd)(void *arg);
    void *arg;
};

/* Waits for SIGINT, SIGTERM or SHUTDOWN, reads certificates again at SIGHUP, and until the orderly stop that it asks for is over. A
 * second signal makes it faster. `meanwhile` may be NULL. */
void server_wait(struct server *server, const struct server_meanwhile *meanwhile);

/* Stops serving in order, and waits for it. Does nothing when it does not listen. */
void server_stop(struct server *server);

/* Stops what still serves, and closes the database: 0 when everything acknowledged is durable.
 * Workers that the caller has opened are closed. */
int server_close(struct server *server);

#endif
