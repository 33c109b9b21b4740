/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One client's socket: bytes to its session, the session's output back.
 *
 * Every read goes to the one buffer of the worker; the session has taken what it needs when its
 * call returns. Output is not written at once: the connection is marked dirty, and at the end of
 * the loop's turn all that a pipeline has produced goes by one uv_try_write. Only what the socket
 * does not take is left to uv_write; until that has finished the session is not touched, so its
 * buffer stays where it is, and nothing is read: that is the back-pressure.
 *
 *   open ─► reading ─► (dirty ─► flushed | writing | waiting for the log)* ─► lingering ─► closing
 *
 * Lingering: a socket that is closed while input lies unread is reset, and a reset takes back
 * replies that the peer has not read yet. So the sending side is ended first, and what still comes
 * is thrown away until the peer has ended its side, for NET_LINGER_MS at most.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "net/net_internal.h"

enum { KEEP_ALIVE_SECONDS = 300 };

struct net_connection {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    struct net_worker *worker;
    struct session *session;
    struct list link, dirty;
    struct list waiting; /* or lingering */
    uv_write_t write;
    size_t write_bytes; /* of the write that is going on */
    bool writing, reading;
    bool ended;      /* nothing more is taken: close when everything has been answered */
    bool peer_ended; /* nothing more comes */
    bool lingering;
    uint64_t linger_until_ms; /* by the loop's time */
    bool closing;
};

static const char DENIED[] =
    "-DENIED Perigee has no password, so it serves only its own machine. Set the option 'password' "
    "(--password, PERIGEE_PASSWORD) to serve others.\r\n";

static void on_closed(uv_handle_t *handle)
{
    struct net_connection *connection = handle->data;
    struct net_worker *worker = connection->worker;
    session_delete(connection->session);
    list_remove(&connection->link);
    free(connection);
    atomic_fetch_sub_explicit(&worker->connection_count, 1, memory_order_relaxed);
    net__worker_busy(worker); /* it may have been the last one that a stop waits for */
}

static void connection_close(struct net_connection *connection)
{
    if (connection->closing)
        return;
    connection->closing = true;
    list_remove(&connection->dirty);
    list_remove(&connection->waiting);
    uv_close(&connection->handle, on_closed);
}

static void connection_dirty(struct net_connection *connection)
{
    if (list_empty(&connection->dirty))
        list_add_tail(&connection->worker->dirty, &connection->dirty);
}

/* ----------------------------------------------------------------------------------- input */

static void on_alloc(uv_handle_t *handle, size_t wish, uv_buf_t *out)
{
    (void)wish;
    struct net_connection *connection = handle->data;
    *out = uv_buf_init(connection->worker->buffer, NET_READ_BYTES);
}

static void reading_set(struct net_connection *connection, bool reading);

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct net_connection *connection = stream->data;
    if (size == 0 || (connection->lingering && size > 0))
        return;
    if (size < 0 && (size != UV_EOF || connection->lingering)) {
        connection_close(connection);
        return;
    }
    if (size == UV_EOF) {
        connection->ended = connection->peer_ended = true;
        session_hurry(connection->session); /* who waits is told in this turn */
        reading_set(connection, false);
    } else {
        connection->worker->worked = true;
        session_on_bytes(connection->session, buffer->base, (size_t)size);
        if (!session_wants_read(connection->session))
            reading_set(connection, false);
    }
    connection_dirty(connection);
}

static void reading_set(struct net_connection *connection, bool reading)
{
    if (reading == connection->reading)
        return;
    connection->reading = reading;
    if (reading)
        uv_read_start(&connection->stream, on_alloc, on_read);
    else
        uv_read_stop(&connection->stream);
}

/* ------------------------------------------------------------------------------- lingering */

static void on_linger_time(uv_timer_t *timer)
{
    struct net_worker *worker = timer->data;
    uint64_t now = uv_now(&worker->loop);
    struct list *first;
    while ((first = list_first(&worker->lingering)) != NULL) {
        struct net_connection *connection = list_entry(first, struct net_connection, waiting);
        if (connection->linger_until_ms > now) {
            uv_timer_start(timer, on_linger_time, connection->linger_until_ms - now, 0);
            return;
        }
        connection_close(connection);
    }
}

/* Everything has been sent. */
static void connection_finish(struct net_connection *connection)
{
    struct net_worker *worker = connection->worker;
    uv_os_fd_t fd;
    session_end(connection->session);
    if (connection->peer_ended || uv_fileno(&connection->handle, &fd) || shutdown(fd, SHUT_WR)) {
        connection_close(connection);
        return;
    }
    connection->lingering = true;
    connection->linger_until_ms = uv_now(&worker->loop) + NET_LINGER_MS;
    list_remove(&connection->dirty);
    list_remove(&connection->waiting);
    list_add_tail(&worker->lingering, &connection->waiting);
    if (!uv_is_active((uv_handle_t *)&worker->linger_timer))
        uv_timer_start(&worker->linger_timer, on_linger_time, NET_LINGER_MS, 0);
    reading_set(connection, true);
}

/* ---------------------------------------------------------------------------------- output */

static void on_written(uv_write_t *write, int status)
{
    struct net_connection *connection = write->data;
    connection->writing = false;
    if (connection->closing)
        return;
    if (status < 0) {
        connection_close(connection);
        return;
    }
    session_sent(connection->session, connection->write_bytes);
    session_resume(connection->session);
    connection_dirty(connection);
}

/* What the socket did not take now is written when it can. */
static void write_later(struct net_connection *connection, struct session_output rest)
{
    uv_buf_t buffer = uv_buf_init((char *)rest.data, (unsigned)rest.size);
    connection->writing = true;
    connection->write_bytes = rest.size;
    connection->write.data = connection;
    reading_set(connection, false);
    if (uv_write(&connection->write, &connection->stream, &buffer, 1, on_written)) {
        connection->writing = false;
        connection_close(connection);
    }
}

/* Writes what may be sent. False when the connection is writing, closing, or has had its share of
 * this turn. */
static bool output_write(struct net_connection *connection)
{
    for (unsigned turn = 0; turn < NET_FLUSH_MAX; turn++) {
        struct session_output output = session_output(connection->session);
        if (output.size == 0)
            return true;
        if (output.size > INT32_MAX)
            output.size = INT32_MAX;
        uv_buf_t buffer = uv_buf_init((char *)output.data, (unsigned)output.size);
        int sent = uv_try_write(&connection->stream, &buffer, 1);
        if (sent < 0 && sent != UV_EAGAIN) {
            connection_close(connection);
            return false;
        }
        if (sent > 0)
            session_sent(connection->session, (size_t)sent);
        size_t done = sent > 0 ? (size_t)sent : 0;
        if (done < output.size) {
            write_later(connection,
                        (struct session_output){output.data + done, output.size - done});
            return false;
        }
        session_resume(connection->session);
    }
    connection_dirty(connection);
    net__worker_busy(connection->worker);
    return false;
}

static void connection_flush(struct net_connection *connection)
{
    if (connection->writing || connection->closing || connection->lingering ||
        !output_write(connection))
        return;
    struct session *session = connection->session;
    bool waiting = session_waiting(session);
    if (session_wants_close(session) ||
        (connection->ended && !waiting && !session_suspended(session))) {
        connection_finish(connection);
        return;
    }
    if (!waiting)
        list_remove(&connection->waiting);
    else if (list_empty(&connection->waiting))
        list_add_tail(&connection->worker->waiting, &connection->waiting);
    reading_set(connection, !connection->ended && session_wants_read(session));
}

/* Has something to do or to send, though nothing has come from its client. */
void net__session_ready(struct session *session, void *worker)
{
    struct net_connection *connection = session_user(session);
    (void)worker;
    if (connection->closing || connection->lingering)
        return;
    if (!connection->writing)
        session_resume(session);
    else /* it is resumed when the write has ended, whenever its client reads */
        session_postpone(session);
    if (connection->writing && session_wants_close(session))
        connection_close(connection);
    else
        connection_dirty(connection);
}

/* Those that wait are looked at when the log has got further than last time, or has failed. */
static void waiting_flush(struct net_worker *worker)
{
    bool failed = wal_failed(worker->wal);
    uint64_t reached = wal_reply_ts(worker->wal);
    if (reached != worker->passed_ts || failed != worker->passed_failed)
        list_for_each_safe (link, &worker->waiting)
            connection_flush(list_entry(link, struct net_connection, waiting));
    worker->passed_ts = reached;
    worker->passed_failed = failed;
}

void net__connections_flush(struct net_worker *worker)
{
    waiting_flush(worker);
    struct list *link; /* what becomes dirty again meanwhile has its turn later */
    while ((link = list_first(&worker->dirty)) != NULL) {
        list_remove(link);
        list_add_tail(&worker->turn, link);
    }
    while ((link = list_first(&worker->turn)) != NULL) {
        list_remove(link);
        connection_flush(list_entry(link, struct net_connection, dirty));
    }
    if (!list_empty(&worker->waiting) || session_worker_deferred(worker->session_worker))
        wal_kick(worker->wal); /* once for all that was executed in this turn */
}

/* ------------------------------------------------------------------------------------ life */

/* A few words to somebody who is not going to be served. */
static void refuse(struct net_worker *worker, int fd, const char *text)
{
    ssize_t written = send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)written; /* it is a courtesy */
    close(fd);
    atomic_fetch_sub_explicit(&worker->connection_count, 1, memory_order_relaxed);
}

static void socket_set_up(int fd)
{
    int on = 1, seconds = KEEP_ALIVE_SECONDS, interval = KEEP_ALIVE_SECONDS / 3, count = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

/* Gives the socket to the loop; the connection owns it then. */
static int stream_open(struct net_connection *connection, bool path, int fd)
{
    uv_loop_t *loop = &connection->worker->loop;
    if (path) {
        uv_pipe_init(loop, &connection->pipe, 0);
        connection->handle.data = connection;
        return uv_pipe_open(&connection->pipe, fd);
    }
    uv_tcp_init(loop, &connection->tcp);
    connection->handle.data = connection;
    return uv_tcp_open(&connection->tcp, fd);
}

static int session_for(struct net_worker *worker, int fd, const struct address *peer,
                       struct session **out)
{
    char text[ADDRESS_TEXT_MAX + 1], whole[ADDRESS_TEXT_MAX + 1];
    address_format(peer, text);
    const char *shown = text;
    if (address_is_path(peer)) { /* clients of a unix socket have no name of their own */
        snprintf(whole, sizeof whole, "%.*s:0", ADDRESS_TEXT_MAX - 2, worker->net->address_text);
        shown = whole;
    }
    struct session_peer who = {
        .address = shown, .local_address = worker->net->address_text, .fd = fd};
    return session_new(worker->session_worker, &who, out);
}

void net__connection_open(struct net_worker *worker, int fd)
{
    struct address peer = {.size = sizeof peer.storage};
    if (getpeername(fd, &peer.any, &peer.size)) {
        refuse(worker, fd, "");
        return;
    }
    if (!worker->net->password && !address_is_local(&peer)) {
        refuse(worker, fd, DENIED);
        return;
    }
    struct net_connection *connection = calloc(1, sizeof *connection);
    int rc = connection ? session_for(worker, fd, &peer, &connection->session) : ERROR_MEMORY;
    if (rc) {
        free(connection);
        refuse(worker, fd, session_refusal(rc));
        return;
    }
    if (!address_is_path(&peer))
        socket_set_up(fd);
    connection->worker = worker;
    session_user_set(connection->session, connection);
    list_create(&connection->dirty);
    list_create(&connection->waiting);
    list_add_tail(&worker->connections, &connection->link);
    if (stream_open(connection, address_is_path(&peer), fd)) {
        close(fd);
        connection_close(connection);
        return;
    }
    reading_set(connection, true);
}

void net__connections_end(struct net_worker *worker, bool at_once)
{
    list_for_each_safe (link, &worker->connections) {
        struct net_connection *connection = list_entry(link, struct net_connection, link);
        if (at_once) {
            connection_close(connection);
        } else if (!connection->closing && !connection->lingering) {
            connection->ended = true;
            reading_set(connection, false);
            session_hurry(connection->session);
            connection_dirty(connection);
        }
    }
}
