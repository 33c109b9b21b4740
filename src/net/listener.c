/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The listening socket, on the first worker's loop: accepts, and hands each connection to the
 * worker that has the fewest.
 *
 * When the process has no descriptor left, a spare one is given up for a moment to accept and close
 * the connection: otherwise it would stay in the queue, and the loop would turn for nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "net/net_internal.h"

enum { BACKLOG = 1024 };

/* A socket that nobody answers on is left over from a process that was killed. */
static void path_clear(const struct address *address)
{
    struct stat status;
    if (lstat(address->path.sun_path, &status) || !S_ISSOCK(status.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, &address->any, address->size) && errno == ECONNREFUSED)
        unlink(address->path.sun_path);
    close(fd);
}

static int taken(const struct net *net, int error)
{
    char text[ADDRESS_TEXT_MAX + 1];
    address_format(&net->address, text);
    if (error != EADDRINUSE)
        return diag_set_errno(error_from_errno(error), error, "cannot listen on %s (--listen)",
                              text);
    if (address_is_path(&net->address))
        return diag_set(ERROR_LOCKED,
                        "%s is taken already; choose another path with --listen unix:PATH", text);
    return diag_set(ERROR_LOCKED,
                    "port %u is taken already (%s); choose another with --listen ADDRESS:PORT, or "
                    "port 0 for one that is free",
                    address_port(&net->address), text);
}

static int socket_bind(struct net *net)
{
    int on = 1;
    struct address *address = &net->address;
    int family = address->any.sa_family;
    net->listener = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (net->listener < 0)
        return diag_set_errno(error_from_errno(errno), errno, "cannot open a socket");
    if (address_is_path(address))
        path_clear(address);
    else
        setsockopt(net->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(net->listener, &address->any, address->size))
        return taken(net, errno);
    address->size = sizeof address->storage;
    if (getsockname(net->listener, &address->any, &address->size))
        return diag_set_errno(ERROR_IO, errno, "cannot tell where the socket listens");
    return 0;
}

int net__listener_open(struct net *net, const char *listen)
{
    int rc = address_parse(listen, &net->address);
    if (rc)
        return diag_add("listen");
    if (!net->password && !address_is_local(&net->address))
        return diag_set(ERROR_ACCESS,
                        "listen: others can reach %s; set a password (--password, "
                        "PERIGEE_PASSWORD) or listen on 127.0.0.1, [::1] or unix:PATH",
                        listen);
    rc = socket_bind(net);
    if (rc) {
        net__listener_close(net);
        return rc;
    }
    address_format(&net->address, net->address_text);
    net->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return 0;
}

static void hand_over(struct net *net, int fd)
{
    unsigned best = net->next_worker;
    for (unsigned n = 0; n < net->worker_count; n++) {
        unsigned other = (net->next_worker + n) % net->worker_count;
        if (load_relaxed(&net->workers[other].connection_count) <
            load_relaxed(&net->workers[best].connection_count))
            best = other;
    }
    net->next_worker = (best + 1) % net->worker_count;
    net__worker_accept(&net->workers[best], fd);
}

static void drop_one(struct net *net)
{
    if (net->spare >= 0)
        close(net->spare);
    int fd = accept4(net->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    net->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    log_warn("a connection was refused: no file descriptors are left");
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct net *net = poll->data;
    (void)events;
    if (status < 0)
        return;
    for (unsigned n = 0; n < NET_ACCEPT_MAX; n++) {
        int fd = accept4(net->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            hand_over(net, fd);
        } else if (errno == EMFILE || errno == ENFILE) {
            drop_one(net);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

int net__listener_start(struct net *net, struct net_worker *worker)
{
    if (listen(net->listener, BACKLOG))
        return taken(net, errno);
    net->accept_poll.data = net;
    int rc = uv_poll_init(&worker->loop, &net->accept_poll, net->listener);
    if (!rc)
        rc = uv_poll_start(&net->accept_poll, UV_READABLE, on_acceptable);
    if (rc)
        return diag_set(ERROR_IO, "cannot watch the listening socket: %s", uv_strerror(rc));
    return 0;
}

void net__listener_stop(struct net *net)
{
    if (net->listener < 0)
        return;
    uv_poll_stop(&net->accept_poll);
    if (!uv_is_closing((uv_handle_t *)&net->accept_poll))
        uv_close((uv_handle_t *)&net->accept_poll, NULL);
    net__listener_close(net);
}

void net__listener_close(struct net *net)
{
    if (net->listener >= 0) {
        close(net->listener);
        if (address_is_path(&net->address) && net->address_text[0])
            unlink(net->address.path.sun_path);
    }
    if (net->spare >= 0)
        close(net->spare);
    net->listener = net->spare = -1;
}
