/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_NET_INTERNAL_H
#define NET_NET_INTERNAL_H

/*
 * What the files of net share.
 *
 * Who touches what: a worker's loop, lists and connections belong to its thread. From other threads
 * come only the mailbox (under its mutex), `asleep`, `connections`, net->stopping, and
 * uv_async_send; the watchdog's look whether somebody waits for the thread (move.c); and other workers'
 * looks how busy it is (load.c).
 */
#include <pthread.h>
#include <semaphore.h>
#include <uv.h>

#include "base/atomic.h"
#include "base/list.h"
#include "codec/mp.h"
#include "net/address.h"
#include "net/listen.h"
#include "net/load.h"
#include "net/net.h"
#include "net/proxy.h"
#include "net/tls.h"
#include "session/session.h"

enum {
    NET_READ_BYTES = 64 * 1024,
    NET_DIRECT_BYTES = 256 * 1024, /* of a large argument at a time */
    NET_STACK_BYTES = 16 << 20,    /* of a worker's thread */
    NET_ACCEPT_MAX = 64,           /* connections accepted in one turn */
    NET_FLUSH_MAX = 16,            /* writes for one connection in one turn */
    NET_LINGER_MS = 500,           /* for a peer to end its side when all has been sent */
    NET_GREETING_MS = 10000,       /* for the PROXY header and the handshake of TLS */
    NET_GREETINGS_MAX = 4096,      /* connections that have not come so far yet */
    NET_ENCRYPT_BYTES = 64 * 1024, /* of output at a time */
    NET_AHEAD_BYTES = 64 * 1024,   /* decrypted ahead of the session */
    NET_COLLECT_MS = 20,           /* from work done to looking after old versions */
    NET_HOME_MS = 100,        /* from look to look whether those whom a standby serves can go */
    NET_COLLECT_IDLE_MAX = 3, /* looks that found nothing, after which nobody looks any more */
};

/* How far the stop of a worker has come. */
enum net_stage {
    NET_SERVING,
    NET_READING_LAST, /* what the system has received is read */
    NET_FLUSHING      /* nothing is read; connections close when their replies are sent */
};

struct net_connection;

/* A socket on its way to a worker: an accepted one, or that of a connection that moves. */
struct net_accepted {
    int fd;
    unsigned listener;
    struct net_connection *moved; /* or NULL; it has no handle */
};

struct net_worker {
    struct net *net;
    unsigned number;
    bool standby; /* has connections only while all others are within a request */
    sem_t called; /* a standby has to begin, or to end */
    uv_loop_t loop;
    pthread_t thread;
    struct session_worker *session_worker;
    struct wal *wal;
    uv_async_t async;     /* mailbox, log, stop */
    uv_prepare_t prepare; /* last thing before the loop may sleep */
    uv_check_t check;     /* after input: the turn's output */
    uv_idle_t idle;       /* while it is active the loop does not sleep */
    uv_timer_t collect_timer, stop_timer, linger_timer, greeting_timer, due_timer, home_timer;
    uint64_t due_at_ms; /* by the loop's time: when due_timer, if active, ends */
    bool handles_open;

    struct list connections;
    struct list dirty;     /* may have output, or have to be closed */
    struct list turn;      /* those whose output is being written */
    struct list waiting;   /* have replies that the log has not reached */
    struct list passing;   /* those of them that are being looked at */
    struct list lingering; /* have sent everything; by deadline_ms */
    struct list greeting;  /* have no session yet; by deadline_ms */
    uint64_t refusal_logged_ms;
    uint64_t passed_ts; /* what the log had reached when `waiting` was last gone through */
    bool passed_failed;
    bool worked; /* since the last look after old versions */
    unsigned collect_idle;
    enum net_stage stage;
    unsigned last_turns; /* of NET_READING_LAST */

    pthread_mutex_t mutex;
    struct net_accepted *mailbox; /* [first..count) are to be taken */
    unsigned mailbox_first, mailbox_count, mailbox_capacity;
    bool mailbox_closed; /* nobody takes anything any more */
    int start_result;    /* under net->mutex */
    char start_message[256];

    CACHE_ALIGNED _Atomic uint32_t
        asleep;                       /* sleeps while replies wait: wake it when the log advances */
    _Atomic uint32_t asked, answered; /* net_is_alive: numbers of questions */
    _Atomic uint32_t connection_count; /* handed to it and not closed yet */

    /* move.c. `turns`: changes when it is in its loop. `away`: it has been within Lua code for long.
     * `open`: it has its session_worker, so sessions may be sent to it; others may serve before. A standby
     * has it when it has been called. `call_at_ns`: it is not called before. */
    _Atomic uint32_t turns, away, open;
    _Atomic uint64_t serve_ns;    /* what it took to see who waits, last time */
    _Atomic uint64_t serve_at_ns; /* when somebody's time will be over; UINT64_MAX: nobody's */
    bool serve_again;             /* its own: somebody still waits for the log */
    uint32_t looked_turns;        /* the watchdog's, as is what follows */
    _Atomic uint64_t call_at_ns;
    uint64_t asked_ns; /* when it was asked to see last, in this turn; 0: not yet */

    struct net_load load;

    struct mp_buffer encrypted;  /* for the network, of one connection at a time */
    char buffer[NET_READ_BYTES]; /* every read goes here */
    char decrypted[NET_READ_BYTES];
};

/* A socket that connections come to. */
struct net_listener {
    struct net *net;
    struct listen_entry entry;
    int fd; /* -1: closed */
    struct address address;
    char text[ADDRESS_TEXT_MAX + 1];
    bool bound;       /* a path is ours to remove */
    uv_poll_t poll;   /* on the first worker's loop */
    bool poll_opened; /* the loop has it */
};

struct net {
    unsigned worker_count; /* then come those that stand by */
    unsigned thread_count; /* both */
    unsigned stop_time_max_ms, balance_ms;
    _Atomic bool password, balance;
    void (*on_stopped)(void *arg);
    void *arg;
    struct service *service;

    struct net_listener listeners[LISTEN_MAX + 1];
    unsigned listener_count, own_listener; /* the latter: of those who are on this machine */
    int spare;                             /* a descriptor to give up when there are none left */
    unsigned next_worker;
    _Atomic uint32_t greeting_count;

    enum tls_name tls_user;
    bool certified; /* who speaks TLS has a certificate */
    pthread_mutex_t tls_mutex;
    struct tls_context *tls; /* of connections to come, under tls_mutex; NULL: no listener has it */

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned started, ended;   /* workers, under the mutex */
    bool serving;              /* all of them have started, under the mutex */
    unsigned running;          /* threads to be joined */
    _Atomic uint32_t stopping; /* 0, 1, or 2: fast */
    struct net_worker workers[];
};

/* listener.c */
int net__listeners_open(struct net *net, const struct net_options *options);
int net__listeners_start(struct net *net, struct net_worker *worker);
void net__listeners_stop(struct net *net);
void net__listeners_close(struct net *net);

/* worker.c: the thread's body. */
void *net__worker_run(void *worker);
/* A standby begins, unless it has. From any thread, as often as one likes. */
void net__worker_call(struct net_worker *worker);
int net__worker_create(struct net_worker *worker, struct net *net, unsigned number);
void net__worker_destroy(struct net_worker *worker);
/* Its mailbox. _offer: true with the mailbox locked, and room in it; false: it takes no more. _put: a
 * socket, which from now on is its; unlocks. _refuse: nothing; unlocks. _pick: takes one out. */
bool net__worker_offer(struct net_worker *worker);
void net__worker_put(struct net_worker *worker, struct net_accepted accepted);
void net__worker_refuse(struct net_worker *worker);
bool net__worker_pick(struct net_worker *worker, struct net_accepted *out);
void net__worker_busy(struct net_worker *worker);
void net__session_wake(void *worker); /* from any thread: see service_wake_set */

/* remote.c: session/remote.h on a worker's loop. */
remote_open_fn net__remote_open;

/* What there is before there is a session. */
struct net_greeting {
    struct address peer;  /* the socket's; then what the proxy says */
    struct address local; /* what the proxy says; size 0: nothing */
    bool proxy;           /* its header is still to come */
    size_t size;          /* of what has come of it */
    char bytes[PROXY_BYTES_MAX];
};

struct net_connection {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    struct net_worker *worker;
    const struct net_listener *listener;
    struct net_greeting *greeting; /* NULL: it is over */
    struct tls *tls;               /* NULL: none, or its first byte has not come yet */
    struct session *session;       /* NULL during the greeting, and for who is refused */
    struct net_cost cost;
    struct list link, dirty;
    struct list waiting; /* or lingering, or greeting */
    uv_write_t write;
    struct mp_buffer encrypted; /* of the write that is going on */
    size_t write_bytes;         /* of the session's, in the write that is going on */
    struct mp_buffer
        ahead; /* decrypted while its request was running, and not taken by the session yet */
    bool writing, reading;
    bool ended;      /* nothing more is taken: close when everything has been answered */
    bool peer_ended; /* nothing more comes */
    bool lingering;
    uint64_t deadline_ms; /* of lingering, or of the greeting, by the loop's time */
    bool closing;
};

/* move.c: connections of a worker that is within Lua code go to others. _others_set: on its thread, before its first
 * connection. _serve: they go, between two instructions of that code. _back: it is in its loop. _drop: nobody takes
 * this socket. */
void net__others_set(struct net_worker *worker);
void net__serve(void *worker);
void net__worker_back(struct net_worker *worker);
/* A standby's connections, as far as they can leave, to one that is in its loop again. */
void net__connections_home(struct net_worker *worker);
void net__accepted_drop(struct net_worker *worker, struct net_accepted accepted);
void net__connection_join(struct net_worker *worker, struct net_accepted accepted);
/* Whether it can go; and makes it go, if it can: it is closing then. Not within a call of its session's. */
bool net__connection_may_leave(const struct net_connection *connection);
bool net__connection_move(struct net_connection *connection, struct net_worker *to);

/* listener.c: accepts what has come, for other workers. */
void net__listeners_accept(struct net *net);

/* connection.c: all on the worker's thread. */
void net__connection_open(struct net_worker *worker, struct net_accepted accepted);
/* Gives the socket to the worker's loop. */
int net__stream_open(struct net_connection *connection, bool path, int fd);
/* Sends what is ready, and executes nothing: while the worker is within Lua code. Not with TLS. */
void net__connection_send(struct net_connection *connection);
void net__connections_flush(struct net_worker *worker);
void net__session_ready(struct session *session, void *worker);
void net__connections_end(struct net_worker *worker, bool at_once);
void net__connection_close(struct net_connection *connection);
/* Ends the sending side, and lingers. */
void net__connection_finish(struct net_connection *connection);
/* Says why, and finishes; there is no session. */
void net__connection_refuse(struct net_connection *connection, const char *text);
/* Sends what lies in worker->encrypted, `bytes` of the session's. False: not all of it could be
 * sent at once, or the connection is closing. */
bool net__encrypted_send(struct net_connection *connection, size_t bytes);
/* Gives decrypted input to the session for as long as it wants any. _ahead: what has come while its request runs goes
 * to connection->ahead. */
void net__decrypt(struct net_connection *connection);
void net__decrypt_ahead(struct net_connection *connection);
/* A session for whoever this is; false with the connection refused. */
bool net__connection_serve(struct net_connection *connection, const struct address *peer,
                           const struct address *local, const char *user);

/* greeting.c: what comes before the session. */
int net__greeting_begin(struct net_connection *connection, const struct address *peer);
/* Takes what has come. True: there is a session now, and the rest of the bytes, if any, is for it. */
bool net__greet(struct net_connection *connection, const char **data, size_t *size);
void net__greeting_end(struct net_connection *connection);
bool net__is_served(const struct net *net, const struct net_listener *listener,
                    const struct address *peer);
extern const char net__denied[];

#endif
