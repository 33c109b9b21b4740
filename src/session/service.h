/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_SERVICE_H
#define SESSION_SERVICE_H

/*
 * What a process serves to its connections: a database, the limits and the password, what INFO and
 * CONFIG tell, who is connected; and, for each thread, what commands need to run.
 *
 *   service ──► db                     one a process, immutable but for atomics and the clients
 *      ├──► session_worker (thread 1)  db_worker, Lua runtime, scratch memory, statistics
 *      └──► session_worker (thread n)     └──► sessions of that thread
 *
 * Strings and arrays in the options are the caller's and outlive the service.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db/db.h"
#include "session/remote.h"

struct service;
struct session;
struct session_worker;
struct lua_runtime;

/* A name and what it says, which may change: a line of INFO, or an answer of CONFIG GET. A text that no
 * longer holds stays where it is until the service ends. */
struct service_fact {
    const char *name;
    _Atomic(const char *) value;
};

struct service_limits {
    size_t request_bytes_max;  /* of one bulk string or MessagePack-RPC message; 0: 512 MiB */
    size_t output_bytes_max;   /* replies not yet sent at which a connection is closed; 0: 1 GiB */
    size_t output_bytes_pause; /* at which no further command of it is executed; 0: 64 MiB */
    unsigned clients_max;      /* 0: 10000 */
    unsigned lua_time_max_ms;  /* 0: 5000 */
    size_t lua_memory_max_bytes; /* of each worker's Lua; 0: the runtime's default */
    size_t subscriber_bytes_max; /* messages not yet sent at which one who listens to channels is
                                    cut off; 0: 32 MiB */
    unsigned
        group_us_max; /* commands of a pipeline join a transaction that has run for less; 0: 200 */
    /* In milliseconds; of these 0 is no limit. */
    unsigned lock_timeout_ms;         /* how long a request waits for others; sessions may say */
    unsigned transaction_idle_max_ms; /* between two statements of an interactive transaction */
    unsigned transaction_time_max_ms; /* from its BEGIN on */
    unsigned snapshot_age_max_ms;     /* of any transaction's snapshot */
};

enum service_backup_state {
    SERVICE_BACKUP_NONE, /* none was asked for since the start */
    SERVICE_BACKUP_RUNNING,
    SERVICE_BACKUP_DONE,
    SERVICE_BACKUP_FAILED
};

/* How a backup that a client has asked for is getting on, or ended. */
struct service_backup {
    enum service_backup_state state;
    char folder[512];
    char failure[512]; /* why it failed, "" */
    uint64_t done_bytes, total_bytes;
    char id[33]; /* from here on: of one that is done */
    uint64_t ts, time_ms, files, bytes, stored_files, stored_bytes;
};

struct service_options {
    struct db *db;
    struct clock *clock;
    const char *password;  /* NULL or "": none is asked for */
    const char *admin_key; /* the password of whoever can read the database's folder, for the user
                              admin; NULL: there is none */
    struct service_limits limits;
    unsigned worker_max;
    unsigned standby_max;    /* more of them, while all others are busy: see net/move.c */
    const char *version;     /* Perigee's own, for INFO and HELLO */
    const char *executable;  /* path, for INFO; may be NULL */
    const char *config_file; /* for INFO; may be NULL */
    const char *fio_dir;     /* lua_runtime_options.fio_dir; may be NULL */
    const char *durability;  /* the level's name */
    unsigned port;           /* TCP port, 0 when there is none; see service_port_set */
    const struct service_fact *variants; /* INFO's "# Perigee": luajit, io_uring, direct_io .. */
    size_t variant_count;
    const struct service_fact
        *settings; /* CONFIG GET's, besides the names that Redis's clients ask for */
    size_t setting_count;
    /* Asks the process to stop in order (SHUTDOWN). From any worker's thread. NULL: the command is
     * refused. */
    void (*shutdown)(void *arg);
    /* Begins a backup, on top of the one in `base` unless that is NULL, and tells about it (BACKUP).
     * From any worker's thread. NULL: refused. */
    int (*backup_start)(void *arg, const char *target, const char *base);
    void (*backup_status)(void *arg, struct service_backup *out);
    /* There is now a password, or none (CONFIG SET requirepass). From any worker's thread; or NULL. */
    void (*password_changed)(void *arg, bool any);
    /* Writes settings to where the server finds them at its next start (CONFIG REWRITE). From any
     * worker's thread. NULL: refused. */
    int (*settings_write)(void *arg, const struct service_fact *settings, size_t count);
    void *arg;
};

/*
 * The settings that CONFIG SET sets, under Redis's names. _find: the name of the one that is called so, with
 * dashes or underscores, or that was in older versions of Redis; NULL: there is none. _check: whether it can be set so: 0, or ERROR_INVALID with
 * diagnostics that name it. _set: sets it, before the first worker is opened; as _check.
 */
const char *service_setting_find(const char *name);
int service_setting_check(const char *name, const char *value);
int service_setting_set(struct service *service, const char *name, const char *value);

/* Returns 0, ERROR_MEMORY or ERROR_INVALID. */
int service_new(const struct service_options *options, struct service **out);

/* All workers are closed. The database is the caller's to close. */
void service_delete(struct service *service);

struct db *service_db(struct service *service);

/* The port that the system picked; before the first session. */
void service_port_set(struct service *service, unsigned port);

/* While true (start-up), data commands answer -LOADING. Any thread. */
void service_loading_set(struct service *service, bool loading);

/* Seconds after which a peer that is silent is asked for a sign of life, as it is set now; 0: never. Any
 * thread. */
unsigned service_keepalive_s(const struct service *service);

/* So many of those that move do so because their worker was busier than another one: for INFO. Any thread. */
void service_balanced_add(struct service *service, unsigned count);

/* Connected sessions now. Any thread. */
unsigned service_client_count(const struct service *service);

/*
 * What a thread needs to execute commands; used by the thread that opened it. `user` is what `wake`
 * gets, which others may call before this returns (service_wake_set). ERROR_INVALID when worker_max
 * and standby_max are open, ERROR_MEMORY, or what db_worker_open says.
 */
int session_worker_open(struct service *service, void *user, struct session_worker **out);

/* All sessions of the worker are deleted. */
void session_worker_close(struct session_worker *worker);

struct service *session_worker_service(struct session_worker *worker);
struct db_worker *session_worker_db(struct session_worker *worker);
struct lua_runtime *session_worker_lua(struct session_worker *worker);

/*
 * Something has happened that a worker has to look at: `wake` makes its thread call
 * session_worker_run soon. From any thread, until the worker is closed; it only posts to a loop.
 * `user` is the worker's (session_worker_open). Set before the first worker is opened; without it
 * workers are run without being asked.
 */
void service_wake_set(struct service *service, void (*wake)(void *user));

/* Who opens connections to other servers. Before the first worker is opened; without it there are none. */
void service_remotes_set(struct service *service, remote_open_fn *open);

/*
 * Looks after what has happened besides input: requests that waited and have been woken, limits
 * that have passed. Calls `ready` for each session that has something to do: session_resume is to be
 * called for it, and then its output to be sent; or session_postpone during an unfinished write, and
 * the other when that has ended.
 * `ready` deletes no session. After `wake`, when session_worker_due_ms have passed, and after input.
 */
void session_worker_run(struct session_worker *worker,
                        void (*ready)(struct session *session, void *arg), void *arg);

/*
 * While Lua code runs on the worker's thread, between two of its instructions: looks after requests that
 * waited and have been woken, or have waited for too long, and after messages, and calls `ready` for each
 * session that has something to do or to send: it goes to another worker (session_leave), or its output
 * is sent (session_output_aside). Returns
 * nanoseconds until the next will have; UINT64_MAX: nobody knows.
 */
uint64_t session_worker_peek(struct session_worker *worker,
                             void (*ready)(struct session *session, void *arg), void *arg);

/* What commits have left to be done once they are durable waits: session_worker_run is to be called
 * when the log has advanced. */
bool session_worker_deferred(const struct session_worker *worker);

/* Milliseconds until session_worker_run has a limit to look at; UINT64_MAX: none. */
uint64_t session_worker_due_ms(const struct session_worker *worker);

/* For idle moments and after the durable timestamp has advanced: frees a bounded amount of old
 * versions. True: there is more to do. */
bool session_worker_collect(struct session_worker *worker);

/* When there has been nothing to do for a while: gives back memory that is needed under load only. */
void session_worker_rest(struct session_worker *worker);

#endif
