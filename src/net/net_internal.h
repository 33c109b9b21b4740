/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NET_INTERNAL_H
#define NET_NET_INTERNAL_H

/*
 * What the files of net share.
 *
 * Who touches what: a worker's loop, lists and connections belong to its thread. From other threads
 * come only the mailbox (under its mutex), `asleep`, `connections`, net->stopping, and
 * uv_async_send.
 */
#include <pthread.h>
#include <uv.h>

#include "base/atomic.h"
#include "base/list.h"
#include "net/address.h"
#include "net/net.h"
#include "session/session.h"

enum {
    NET_READ_BYTES = 64 * 1024,
    NET_STACK_BYTES = 16 << 20, /* of a worker's thread */
    NET_ACCEPT_MAX = 64,        /* connections accepted in one turn */
    NET_FLUSH_MAX = 16,         /* writes for one connection in one turn */
    NET_LINGER_MS = 500,        /* for a peer to end its side when all has been sent */
    NET_COLLECT_MS = 20,        /* from work done to looking after old versions */
    NET_COLLECT_IDLE_MAX = 3,   /* looks that found nothing, after which nobody looks any more */
};

/* How far the stop of a worker has come. */
enum net_stage {
    NET_SERVING,
    NET_READING_LAST, /* what the system has received is read */
    NET_FLUSHING      /* nothing is read; connections close when their replies are sent */
};

struct net_worker {
    struct net *net;
    unsigned number;
    uv_loop_t loop;
    pthread_t thread;
    struct session_worker *session_worker;
    struct wal *wal;
    uv_async_t async;     /* mailbox, log, stop */
    uv_prepare_t prepare; /* last thing before the loop may sleep */
    uv_check_t check;     /* after input: the turn's output */
    uv_idle_t idle;       /* while it is active the loop does not sleep */
    uv_timer_t collect_timer, stop_timer, linger_timer, due_timer;
    uint64_t due_at_ms; /* by the loop's time: when due_timer, if active, ends */
    bool handles_open;

    struct list connections;
    struct list dirty;     /* may have output, or have to be closed */
    struct list turn;      /* those whose output is being written */
    struct list waiting;   /* have replies that the log has not reached */
    struct list lingering; /* have sent everything; by linger_until_ms */
    uint64_t passed_ts;    /* what the log had reached when `waiting` was last gone through */
    bool passed_failed;
    bool worked; /* since the last look after old versions */
    unsigned collect_idle;
    enum net_stage stage;
    unsigned last_turns; /* of NET_READING_LAST */

    pthread_mutex_t mutex;
    int *mailbox; /* accepted sockets */
    unsigned mailbox_count, mailbox_capacity;
    int start_result; /* under net->mutex */
    char start_message[256];

    CACHE_ALIGNED _Atomic uint32_t
        asleep; /* sleeps while replies wait: wake it when the log advances */
    _Atomic uint32_t connection_count; /* handed to it and not closed yet */
    char buffer[NET_READ_BYTES];       /* every read goes here */
};

struct net {
    unsigned worker_count, stop_time_max_ms;
    bool password;
    void (*on_stopped)(void *arg);
    void *arg;
    struct service *service;

    int listener; /* -1 once closed */
    int spare;    /* a descriptor to give up when there are none left */
    struct address address;
    char address_text[ADDRESS_TEXT_MAX + 1];
    uv_poll_t accept_poll; /* on the first worker's loop */
    unsigned next_worker;

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned started, ended;   /* workers, under the mutex */
    bool serving;              /* all of them have started, under the mutex */
    unsigned running;          /* threads to be joined */
    _Atomic uint32_t stopping; /* 0, 1, or 2: fast */
    struct net_worker workers[];
};

/* listener.c */
int net__listener_open(struct net *net, const char *listen);
int net__listener_start(struct net *net, struct net_worker *worker);
void net__listener_stop(struct net *net);
void net__listener_close(struct net *net);

/* worker.c: the thread's body, and a socket for the worker, which from now on is its. */
void *net__worker_run(void *worker);
int net__worker_create(struct net_worker *worker, struct net *net, unsigned number);
void net__worker_destroy(struct net_worker *worker);
void net__worker_accept(struct net_worker *worker, int fd);
void net__worker_busy(struct net_worker *worker);
void net__session_wake(void *worker); /* from any thread: see service_wake_set */

/* connection.c: all on the worker's thread. */
struct net_connection;
void net__connection_open(struct net_worker *worker, int fd);
void net__connections_flush(struct net_worker *worker);
void net__session_ready(struct session *session, void *worker);
void net__connections_end(struct net_worker *worker, bool at_once);

#endif
