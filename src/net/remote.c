/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Connections of sessions to other servers: session/remote.h.
 *
 *      name ──► addresses ──► one after the other is tried ──► connected: reads, and writes in pieces
 *
 * What libuv has to call back about is freed by that call, so each is apart from the remote, which is
 * freed at once: a closed remote's lookup, sockets and timer know none any more.
 *
 * The timer starts anew with all that moves. A loop that was held up (Lua code may take seconds) finds
 * the timer over and the bytes there, so an end is only believed when a look at the sockets has
 * followed it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "net/net_internal.h"

enum { PIECE_BYTES = 64 * 1024, HOST_SIZE_MAX = 255, LOOK_AGAIN_MS = 1 };

struct net_remote;

/* One try to connect, and the connection. */
struct remote_socket {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
    };
    uv_connect_t connect;
    uv_write_t write;
    struct net_remote *remote; /* NULL: it is closed */
};

struct remote_lookup {
    uv_getaddrinfo_t request;
    struct net_remote *remote; /* NULL: nobody waits */
};

struct net_remote {
    struct remote base;
    struct net_worker *worker;
    struct remote_user user;
    uint64_t timeout_ms;
    struct remote_lookup *lookup; /* while it goes on */
    struct remote_socket *socket;
    uv_timer_t *timer;
    struct addrinfo *addresses;
    const struct addrinfo *next; /* to be tried */
    uint16_t port;
    const char *data; /* what is to be sent yet */
    size_t size;
    bool connected, writing, ended;
    bool late; /* the timer was over, and nothing has moved since */
};

/* ------------------------------------------------------------------------------------ the timer */

static void on_time(uv_timer_t *timer);

static void timer_start(struct net_remote *remote)
{
    remote->late = false;
    uv_update_time(&remote->worker->loop);
    uv_timer_start(remote->timer, on_time, remote->timeout_ms, 0);
}

static void timer_stop(struct net_remote *remote)
{
    uv_timer_stop(remote->timer);
}

/* Something has moved. */
static void moved(struct net_remote *remote)
{
    if (uv_is_active((uv_handle_t *)remote->timer))
        timer_start(remote);
}

static void ended(struct net_remote *remote, enum remote_end end)
{
    if (remote->ended)
        return;
    remote->ended = true;
    timer_stop(remote);
    remote->user.ended(remote->user.arg, end);
    net__worker_busy(remote->worker); /* the turn that follows runs who was told */
}

static void on_time(uv_timer_t *timer)
{
    struct net_remote *remote = timer->data;
    if (!remote->late) {
        remote->late = true;
        uv_timer_start(timer, on_time, LOOK_AGAIN_MS, 0);
    } else {
        ended(remote, !remote->connected                ? REMOTE_CONNECT_TIMEOUT
                      : remote->size || remote->writing ? REMOTE_WRITING
                                                        : REMOTE_READING);
    }
}

/* ------------------------------------------------------------------------------ what goes, comes */

static void on_written(uv_write_t *request, int status);

static void write_piece(struct net_remote *remote)
{
    struct remote_socket *socket = remote->socket;
    if (!remote->connected || remote->writing || remote->size == 0 || remote->ended)
        return;
    size_t size = remote->size < PIECE_BYTES ? remote->size : PIECE_BYTES;
    uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)remote->data, (unsigned)size);
    remote->data += size;
    remote->size -= size;
    remote->writing = true;
    if (uv_write(&socket->write, &socket->stream, &buffer, 1, on_written))
        ended(remote, REMOTE_WRITING);
}

static void on_written(uv_write_t *request, int status)
{
    struct net_remote *remote = ((struct remote_socket *)request->data)->remote;
    if (!remote)
        return;
    remote->writing = false;
    moved(remote);
    if (status)
        ended(remote, REMOTE_WRITING);
    else
        write_piece(remote);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    const struct net_remote *remote = ((struct remote_socket *)handle)->remote;
    (void)suggested;
    *out = remote ? uv_buf_init(remote->worker->buffer, sizeof remote->worker->buffer)
                  : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer)
{
    struct net_remote *remote = ((struct remote_socket *)stream)->remote;
    if (!remote || remote->ended || count == 0)
        return;
    if (count < 0) {
        uv_read_stop(stream);
        ended(remote, remote->size || remote->writing ? REMOTE_WRITING : REMOTE_READING);
        return;
    }
    moved(remote);
    if (!remote->user.bytes(remote->user.arg, buffer->base, (size_t)count))
        timer_stop(remote);
    net__worker_busy(remote->worker);
}

/* ----------------------------------------------------------------------------------- connecting */

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void socket_close(struct net_remote *remote)
{
    if (!remote->socket)
        return;
    remote->socket->remote = NULL;
    uv_close(&remote->socket->handle, on_closed);
    remote->socket = NULL;
}

static bool address_try(struct net_remote *remote, const struct sockaddr *address);

/* The next of its addresses; ended when there is none any more. */
static void addresses_try(struct net_remote *remote)
{
    while (remote->next) {
        const struct addrinfo *info = remote->next;
        remote->next = info->ai_next;
        if (address_try(remote, info->ai_addr))
            return;
    }
    ended(remote, REMOTE_WRITING); /* as Redis, which learns it when it writes */
}

static void on_connected(uv_connect_t *request, int status)
{
    struct remote_socket *socket = request->data;
    struct net_remote *remote = socket->remote;
    if (!remote || remote->ended)
        return;
    if (status) {
        socket_close(remote);
        addresses_try(remote);
        return;
    }
    remote->connected = true;
    moved(remote);
    uv_tcp_nodelay(&socket->tcp, 1);
    if (uv_read_start(&socket->stream, on_alloc, on_read))
        ended(remote, REMOTE_READING);
    else
        write_piece(remote);
}

static bool address_try(struct net_remote *remote, const struct sockaddr *address)
{
    struct remote_socket *socket = calloc(1, sizeof *socket);
    struct sockaddr_storage to = {0};
    bool six = address->sa_family == AF_INET6;
    if (!socket || uv_tcp_init(&remote->worker->loop, &socket->tcp)) {
        free(socket);
        return false;
    }
    memcpy(&to, address, six ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    if (six)
        ((struct sockaddr_in6 *)&to)->sin6_port = htons(remote->port);
    else
        ((struct sockaddr_in *)&to)->sin_port = htons(remote->port);
    socket->connect.data = socket->write.data = socket;
    socket->remote = remote;
    remote->socket = socket;
    if (uv_tcp_connect(&socket->connect, &socket->tcp, (struct sockaddr *)&to, on_connected) == 0)
        return true;
    socket_close(remote);
    return false;
}

static void on_found(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct remote_lookup *lookup = (struct remote_lookup *)request;
    struct net_remote *remote = lookup->remote;
    free(lookup);
    if (!remote) {
        uv_freeaddrinfo(found);
        return;
    }
    remote->lookup = NULL;
    remote->addresses = found;
    remote->next = found;
    if (remote->ended)
        return;
    if (status)
        ended(remote, REMOTE_NOT_FOUND);
    else
        addresses_try(remote);
}

/* What is an address needs no other thread to be found, and is tried by send. */
static int lookup_begin(struct net_remote *remote, const char *host)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    const struct addrinfo numeric = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    uv_getaddrinfo_t at_once;
    if (uv_getaddrinfo(&remote->worker->loop, &at_once, NULL, host, NULL, &numeric) == 0) {
        remote->addresses = at_once.addrinfo;
        remote->next = at_once.addrinfo;
        return 0;
    }
    struct remote_lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup)
        return diag_set(ERROR_MEMORY, "out of memory");
    lookup->remote = remote;
    int rc = uv_getaddrinfo(&remote->worker->loop, &lookup->request, on_found, host, NULL, &hints);
    if (rc) {
        free(lookup);
        return diag_set(ERROR_IO, "cannot look for the target instance: %s", uv_strerror(rc));
    }
    remote->lookup = lookup;
    return 0;
}

/* -------------------------------------------------------------------------------- the interface */

static void remote_send_it(struct remote *base, const char *data, size_t size)
{
    struct net_remote *remote = (struct net_remote *)base;
    remote->data = data;
    remote->size = size;
    if (remote->ended)
        return;
    timer_start(remote);
    if (remote->connected)
        write_piece(remote);
    else if (!remote->lookup && !remote->socket)
        addresses_try(remote);
}

static void remote_close_it(struct remote *base)
{
    struct net_remote *remote = (struct net_remote *)base;
    socket_close(remote);
    if (remote->lookup) {
        remote->lookup->remote = NULL;
        uv_cancel((uv_req_t *)&remote->lookup->request); /* or it ends by itself */
    }
    uv_close((uv_handle_t *)remote->timer, on_closed);
    uv_freeaddrinfo(remote->addresses);
    free(remote);
}

int net__remote_open(void *worker, const struct remote_target *target,
                     const struct remote_user *user, struct remote **out)
{
    static const struct remote_vtab VTAB = {.send = remote_send_it, .close = remote_close_it};
    char host[HOST_SIZE_MAX + 1]; /* what is longer is no name, also without the rest */
    struct net_remote *remote = calloc(1, sizeof *remote);
    uv_timer_t *timer = calloc(1, sizeof *timer);
    if (!remote || !timer) {
        free(remote);
        free(timer);
        return diag_set(ERROR_MEMORY, "out of memory");
    }
    *remote = (struct net_remote){.base.vtab = &VTAB,
                                  .worker = worker,
                                  .user = *user,
                                  .timeout_ms = target->timeout_ms,
                                  .port = target->port,
                                  .timer = timer};
    uv_timer_init(&remote->worker->loop, timer);
    timer->data = remote;
    size_t size = target->host_size < HOST_SIZE_MAX ? target->host_size : HOST_SIZE_MAX;
    memcpy(host, target->host, size);
    host[size] = 0;
    int rc = strlen(host) == size ? lookup_begin(remote, host)
                                  : diag_set(ERROR_IO, "there is a zero in the target's name");
    if (rc) {
        remote_close_it(&remote->base);
        return rc;
    }
    timer_start(remote);
    *out = &remote->base;
    return 0;
}
