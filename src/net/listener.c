/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The listening sockets, on the first worker's loop: accept, and hand each connection to the
 * worker that has the fewest, of those that are not away.
 *
 * When the process has no descriptor left, a spare one is given up for a moment to accept and close
 * the connection: otherwise it would stay in the queue, and the loop would turn for nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "net/activation.h"
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

static int taken(const struct net_listener *listener, int error)
{
    char text[ADDRESS_TEXT_MAX + 1];
    address_format(&listener->address, text);
    if (error != EADDRINUSE)
        return diag_set_errno(error_from_errno(error), error, "cannot listen on %s (--listen)",
                              text);
    if (address_is_path(&listener->address))
        return diag_set(ERROR_LOCKED,
                        "%s is taken already; choose another path with --listen unix:PATH", text);
    return diag_set(ERROR_LOCKED,
                    "port %u is taken already (%s); choose another with --listen ADDRESS:PORT, or "
                    "port 0 for one that is free",
                    address_port(&listener->address), text);
}

/* What the file system lets others do with a socket: before anybody can connect to it. */
static int mode_set(const struct net_listener *listener)
{
    const char *path = listener->address.path.sun_path;
    if (listener->entry.mode >= 0 && chmod(path, (mode_t)listener->entry.mode))
        return diag_set_errno(ERROR_IO, errno, "cannot set the mode of %s", path);
    return 0;
}

static int socket_bind(struct net_listener *listener)
{
    int on = 1;
    struct address *address = &listener->address;
    int family = address->any.sa_family;
    listener->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0)
        return diag_set_errno(error_from_errno(errno), errno, "cannot open a socket");
    if (address_is_path(address))
        path_clear(address);
    else
        setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6) /* 0.0.0.0 may be listened to beside [::] */
        setsockopt(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(listener->fd, &address->any, address->size))
        return taken(listener, errno);
    listener->bound = true;
    address->size = sizeof address->storage;
    if (getsockname(listener->fd, &address->any, &address->size))
        return diag_set_errno(ERROR_IO, errno, "cannot tell where the socket listens");
    return address_is_path(address) ? mode_set(listener) : 0;
}

bool net__is_served(const struct net *net, const struct net_listener *listener,
                    const struct address *peer)
{
    return load_relaxed(&net->password) || address_is_local(peer) ||
           (listener->entry.tls && net->certified);
}

static int reach_check(const struct net *net, const struct net_listener *listener)
{
    if (net__is_served(net, listener, &listener->address))
        return 0;
    char text[ADDRESS_TEXT_MAX + 1];
    address_format(&listener->address, text);
    return diag_set(ERROR_ACCESS,
                    "listen: others can reach %s; set a password (--password, PERIGEE_PASSWORD), "
                    "demand certificates (tls, --tls_clients required), or listen on 127.0.0.1, "
                    "[::1] or unix:PATH",
                    text);
}

static int listener_open(struct net *net, const struct listen_entry *entry)
{
    struct net_listener *listener = &net->listeners[net->listener_count];
    *listener = (struct net_listener){.net = net, .entry = *entry, .fd = -1};
    int rc = address_parse(entry->address, &listener->address);
    if (rc)
        return diag_add("listen");
    rc = reach_check(net, listener);
    if (rc)
        return rc;
    net->listener_count++;
    rc = socket_bind(listener);
    if (!rc)
        address_format(&listener->address, listener->text);
    return rc;
}

/* One that was passed to the process: its path, if it has one, is not ours to remove. */
static int listener_adopt(struct net *net, const struct listen_entry *entry, int fd)
{
    struct net_listener *listener = &net->listeners[net->listener_count++];
    *listener = (struct net_listener){.net = net,
                                      .entry = *entry,
                                      .fd = fd,
                                      .address = {.size = sizeof listener->address.storage}};
    if (getsockname(fd, &listener->address.any, &listener->address.size))
        return diag_set_errno(ERROR_IO, errno, "cannot tell where descriptor %d listens", fd);
    address_format(&listener->address, listener->text);
    return reach_check(net, listener);
}

static int entry_open(struct net *net, const struct listen_entry *entry)
{
    if (!activation_is_meant(entry->address)) {
        if (net->listener_count == LISTEN_MAX)
            return diag_set(ERROR_INVALID, "there can be %d addresses at most", LISTEN_MAX);
        return listener_open(net, entry);
    }
    int fds[LISTEN_MAX];
    int count = activation_take(entry->address, fds, LISTEN_MAX - net->listener_count);
    int rc = count < 0 ? count : 0;
    for (int n = 0; !rc && n < count; n++)
        rc = listener_adopt(net, entry, fds[n]);
    return rc;
}

static bool is_own(const struct listen_entry *entry)
{
    return !entry->tls && !entry->proxy;
}

/* What the machine's own programs connect to: the first plain listener, or one that is added. */
static int own_open(struct net *net, const char *path)
{
    unsigned n = 0;
    while (n < net->listener_count && !is_own(&net->listeners[n].entry))
        n++;
    net->own_listener = n;
    struct listen_entry entry = {.mode = 0600};
    if (n < net->listener_count || !path)
        return 0;
    if ((size_t)snprintf(entry.address, sizeof entry.address, "unix:%s", path) >=
        sizeof((struct sockaddr_un *)0)->sun_path + 5) {
        log_warn("%s is too long for a socket's path: the console has to be told where to connect",
                 path);
        return 0;
    }
    return listener_open(net, &entry);
}

static int tls_open(struct net *net, const struct net_options *options, bool wanted)
{
    if (!wanted)
        return 0;
    if (!options->tls)
        return diag_set(ERROR_INVALID, "listen: there is no certificate for TLS");
    net->certified = options->tls->clients == TLS_CLIENTS_REQUIRED;
    return tls_context_new(options->tls, &net->tls);
}

int net__listeners_open(struct net *net, const struct net_options *options)
{
    struct listen_entry entries[LISTEN_MAX];
    unsigned count;
    bool tls = false;
    int rc = listen_parse(options->listen, entries, &count);
    if (rc)
        return diag_add("listen");
    for (unsigned n = 0; n < count; n++)
        tls |= entries[n].tls;
    rc = tls_open(net, options, tls);
    for (unsigned n = 0; !rc && n < count; n++)
        rc = entry_open(net, &entries[n]);
    if (!rc)
        rc = own_open(net, options->own_path);
    if (rc)
        net__listeners_close(net);
    else
        net->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return rc;
}

static uint64_t burden(const struct net_worker *worker)
{
    return (uint64_t)load_relaxed(&worker->away) << 32 | load_relaxed(&worker->connection_count);
}

static void hand_over(struct net *net, struct net_accepted accepted)
{
    unsigned best = net->next_worker;
    for (unsigned n = 0; n < net->worker_count; n++) {
        unsigned other = (net->next_worker + n) % net->worker_count;
        if (burden(&net->workers[other]) < burden(&net->workers[best]))
            best = other;
    }
    net->next_worker = (best + 1) % net->worker_count;
    if (net__worker_offer(&net->workers[best]))
        net__worker_put(&net->workers[best], accepted);
    else
        close(accepted.fd);
}

static void drop_one(struct net_listener *listener)
{
    struct net *net = listener->net;
    if (net->spare >= 0)
        close(net->spare);
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    net->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    log_warn("a connection was refused: no file descriptors are left");
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct net_listener *listener = poll->data;
    struct net_worker *worker = &listener->net->workers[0];
    (void)events;
    net__load_awake(&worker->load, &worker->loop);
    if (status < 0)
        return;
    for (unsigned n = 0; n < NET_ACCEPT_MAX; n++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            hand_over(
                listener->net,
                (struct net_accepted){fd, (unsigned)(listener - listener->net->listeners), NULL});
        } else if (errno == EMFILE || errno == ENFILE) {
            drop_one(listener);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

void net__listeners_accept(struct net *net)
{
    for (unsigned n = 0; n < net->listener_count; n++)
        if (net->listeners[n].poll_opened)
            on_acceptable(&net->listeners[n].poll, 0, UV_READABLE);
}

static int listener_start(struct net_listener *listener, struct net_worker *worker)
{
    if (listen(listener->fd, BACKLOG))
        return taken(listener, errno);
    listener->poll.data = listener;
    int rc = uv_poll_init(&worker->loop, &listener->poll, listener->fd);
    listener->poll_opened = rc == 0;
    if (!rc)
        rc = uv_poll_start(&listener->poll, UV_READABLE, on_acceptable);
    if (rc)
        return diag_set(ERROR_IO, "cannot watch the listening socket: %s", uv_strerror(rc));
    return 0;
}

int net__listeners_start(struct net *net, struct net_worker *worker)
{
    int rc = 0;
    for (unsigned n = 0; !rc && n < net->listener_count; n++)
        rc = listener_start(&net->listeners[n], worker);
    return rc;
}

void net__listeners_stop(struct net *net)
{
    for (unsigned n = 0; n < net->listener_count; n++) {
        struct net_listener *listener = &net->listeners[n];
        if (!listener->poll_opened)
            continue;
        listener->poll_opened = false;
        uv_poll_stop(&listener->poll);
        if (!uv_is_closing((uv_handle_t *)&listener->poll))
            uv_close((uv_handle_t *)&listener->poll, NULL);
    }
    net__listeners_close(net);
}

void net__listeners_close(struct net *net)
{
    for (unsigned n = 0; n < net->listener_count; n++) {
        struct net_listener *listener = &net->listeners[n];
        if (listener->fd < 0)
            continue;
        close(listener->fd);
        listener->fd = -1;
        if (address_is_path(&listener->address) && listener->bound)
            unlink(listener->address.path.sun_path);
    }
    if (net->spare >= 0)
        close(net->spare);
    net->spare = -1;
}
