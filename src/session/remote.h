/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SESSION_REMOTE_H
#define SESSION_REMOTE_H

/*
 * A connection of our own to another server. Sessions want it, net has it: service_remotes_set.
 *
 *     open ─► send ─► bytes.. ─► send ─► bytes.. ─► close
 *                       └──────────┴──── ended: nothing more comes; close
 *
 * All of it is of one worker's thread. `bytes` and `ended` are called from its loop, `ended` also from
 * within send, and after close neither is; they close nothing themselves. `ended` is called once.
 *
 * From send on until `bytes` says that no more are expected somebody waits, and so does who has opened
 * one: when nothing moves for as long as timeout_ms, neither out nor in, it has ended.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum remote_end {
    REMOTE_NOT_FOUND,       /* the host has no address */
    REMOTE_CONNECT_TIMEOUT, /* nobody has answered in time */
    REMOTE_WRITING, /* while something was still to be sent, or connected: refused, broken, too slow */
    REMOTE_READING /* while nothing was: ended by the other side, broken, too slow */
};

struct remote_user {
    /* True: more are expected before the next send. */
    bool (*bytes)(void *arg, const char *data, size_t size);
    void (*ended)(void *arg, enum remote_end end);
    void *arg;
};

struct remote;
struct remote_vtab {
    void (*send)(struct remote *remote, const char *data, size_t size);
    void (*close)(struct remote *remote);
};
struct remote {
    const struct remote_vtab *vtab;
};

/* Where: a name or an address. Copied. */
struct remote_target {
    const char *host;
    size_t host_size;
    uint16_t port;
    uint64_t timeout_ms;
};

/* Begins to connect, on the loop of the worker with this user (session_worker_user_set). What becomes of
 * that is told by `bytes` or `ended`. 0, ERROR_MEMORY, or ERROR_IO when the host is no name. */
typedef int remote_open_fn(void *worker_user, const struct remote_target *target,
                           const struct remote_user *user, struct remote **out);

/* The bytes stay the caller's, as they are, until the first answer to the last of them has come, or
 * close. Nothing else is being sent. Also before it is connected. */
static inline void remote_send(struct remote *remote, const char *data, size_t size)
{
    remote->vtab->send(remote, data, size);
}

/* NULL: nothing. */
static inline void remote_close(struct remote *remote)
{
    if (remote)
        remote->vtab->close(remote);
}

#endif
