/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One client's socket: bytes to its session, the session's output back.
 *
 * Every read goes to the one buffer of the worker, but for large arguments, which go where the session
 * has them; it has taken what it needs when its call returns. Output is not written at once: the connection is marked dirty, and at the end of
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
#include "mem/account.h"
#include "net/net_internal.h"

static void on_closed(uv_handle_t *handle)
{
    struct net_connection *connection = handle->data;
    struct net_worker *worker = connection->worker;
    if (connection->session)
        session_delete(connection->session);
    net__greeting_end(connection);
    tls_delete(connection->tls);
    mp_buffer_destroy(&connection->encrypted);
    mp_buffer_destroy(&connection->ahead);
    list_remove(&connection->link);
    free(account_gone(ACCOUNT_NETWORK, connection));
    atomic_fetch_sub_explicit(&worker->connection_count, 1, memory_order_relaxed);
    net__worker_busy(worker); /* it may have been the last one that a stop waits for */
}

void net__connection_close(struct net_connection *connection)
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
    size_t size = 0;
    net__load_awake(&connection->worker->load, &connection->worker->loop);
    char *room = connection->session && !connection->tls && !connection->lingering
                     ? session_input_room(connection->session, &size)
                     : NULL;
    *out = room && size >= NET_READ_BYTES
               ? uv_buf_init(room, size < NET_DIRECT_BYTES ? (unsigned)size : NET_DIRECT_BYTES)
               : uv_buf_init(connection->worker->buffer, NET_READ_BYTES);
}

static void reading_set(struct net_connection *connection, bool reading);

/* The client has said its last. */
static void input_end(struct net_connection *connection)
{
    connection->ended = connection->peer_ended = true;
    session_hurry(connection->session); /* who waits is told in this turn */
    reading_set(connection, false);
}

/* What has been decrypted already; more may be meanwhile. */
static void ahead_take(struct net_connection *connection)
{
    struct mp_buffer ahead = connection->ahead;
    mp_buffer_create(&connection->ahead);
    session_on_bytes(connection->session, ahead.data, ahead.size);
    mp_buffer_destroy(&ahead);
}

void net__decrypt_ahead(struct net_connection *connection)
{
    struct mp_buffer *ahead = &connection->ahead;
    char raw[NET_AHEAD_BYTES / 4];
    bool ended;
    uv_os_fd_t fd;
    if (connection->closing || connection->ended || connection->writing ||
        ahead->size > NET_AHEAD_BYTES || tls_keep(connection->tls) ||
        uv_fileno(&connection->handle, &fd))
        return;
    ssize_t size = recv(fd, raw, sizeof raw, MSG_DONTWAIT);
    if (size <= 0)
        return; /* what that means is found in the next turn */
    tls_feed(connection->tls, raw, (size_t)size);
    char *to = mp_buffer_reserve(ahead, sizeof raw);
    int taken = to ? tls_read(connection->tls, to, sizeof raw, &ended) : 0;
    ahead->size += taken > 0 ? (size_t)taken : 0;
    if (tls_keep(connection->tls))
        net__connection_close(connection); /* bytes are missing */
    net__encrypted_send(connection, 0);
}

void net__decrypt(struct net_connection *connection)
{
    struct net_worker *worker = connection->worker;
    bool ended = false;
    int size = 1;
    while (size > 0 && !connection->ended && !connection->writing && !connection->closing &&
           session_wants_read(connection->session)) { /* what ran may have looked ahead */
        if (connection->ahead.size > 0) {
            ahead_take(connection);
            continue;
        }
        size = tls_read(connection->tls, worker->decrypted, NET_READ_BYTES, &ended);
        if (size > 0)
            session_on_bytes(connection->session, worker->decrypted, (size_t)size);
    }
    bool sent = net__encrypted_send(connection, 0); /* an alert, or an answer to new keys */
    if (connection->closing)
        return;
    if (size < 0 || tls_keep(connection->tls))
        net__connection_close(connection);
    else if (ended)
        input_end(connection);
    else if (!sent)
        reading_set(connection, false);
}

static void input_take(struct net_connection *connection, const char *data, size_t size)
{
    if (!connection->session && !net__greet(connection, &data, &size))
        return;
    connection->worker->worked = true;
    if (connection->tls) {
        tls_feed(connection->tls, data, size);
        net__decrypt(connection);
    } else if (size > 0) {
        session_on_bytes(connection->session, data, size);
    }
    if (connection->closing)
        return;
    if (!connection->writing && !session_wants_read(connection->session))
        reading_set(connection, false);
    connection_dirty(connection);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct net_connection *connection = stream->data;
    if (size == 0 || (connection->lingering && size > 0))
        return;
    if (size < 0 && (size != UV_EOF || connection->lingering || !connection->session)) {
        net__connection_close(connection);
    } else if (size == UV_EOF) {
        if (connection->ahead.size > 0)
            ahead_take(connection);
        input_end(connection);
        connection_dirty(connection);
    } else {
        input_take(connection, buffer->base, (size_t)size);
        net__cost_add(&connection->worker->load, &connection->cost);
    }
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

/* Those at the front whose time is over; the timer is set for the one that is next. */
static void deadlines_look(uv_timer_t *timer, struct list *connections, uv_timer_cb again)
{
    struct net_worker *worker = timer->data;
    uint64_t now = uv_now(&worker->loop);
    struct list *first;
    while ((first = list_first(connections)) != NULL) {
        struct net_connection *connection = list_entry(first, struct net_connection, waiting);
        if (connection->deadline_ms > now) {
            uv_timer_start(timer, again, connection->deadline_ms - now, 0);
            return;
        }
        net__connection_close(connection);
    }
}

static void on_linger_time(uv_timer_t *timer)
{
    deadlines_look(timer, &((struct net_worker *)timer->data)->lingering, on_linger_time);
}

static void on_greeting_time(uv_timer_t *timer)
{
    deadlines_look(timer, &((struct net_worker *)timer->data)->greeting, on_greeting_time);
}

static void deadline_set(struct net_connection *connection, struct list *connections,
                         uv_timer_t *timer, uv_timer_cb look, unsigned ms)
{
    connection->deadline_ms = uv_now(&connection->worker->loop) + ms;
    list_remove(&connection->waiting);
    list_add_tail(connections, &connection->waiting);
    if (!uv_is_active((uv_handle_t *)timer))
        uv_timer_start(timer, look, ms, 0);
}

/* The client is told that nothing more comes; if the socket takes it, for it is a courtesy. */
static void tls_end(struct net_connection *connection)
{
    struct mp_buffer *out = &connection->worker->encrypted;
    tls_close(connection->tls);
    uv_buf_t buffer = uv_buf_init(out->data, (unsigned)out->size);
    if (out->size > 0)
        uv_try_write(&connection->stream, &buffer, 1);
    mp_buffer_reset(out, NET_READ_BYTES * 2);
}

void net__connection_finish(struct net_connection *connection)
{
    struct net_worker *worker = connection->worker;
    uv_os_fd_t fd;
    if (connection->session)
        session_end(connection->session);
    if (connection->tls)
        tls_end(connection);
    if (connection->peer_ended || uv_fileno(&connection->handle, &fd) || shutdown(fd, SHUT_WR)) {
        net__connection_close(connection);
        return;
    }
    connection->lingering = true;
    list_remove(&connection->dirty);
    deadline_set(connection, &worker->lingering, &worker->linger_timer, on_linger_time,
                 NET_LINGER_MS);
    reading_set(connection, true);
}

/* ---------------------------------------------------------------------------------- output */

/* What the greeting had to say has been sent. */
static void greeting_go_on(struct net_connection *connection)
{
    if (!connection->greeting) {
        net__connection_finish(connection);
        return;
    }
    reading_set(connection, true);
    input_take(connection, "", 0);
}

static void on_written(uv_write_t *write, int status)
{
    struct net_connection *connection = write->data;
    net__load_awake(&connection->worker->load, &connection->worker->loop);
    connection->writing = false;
    mp_buffer_reset(&connection->encrypted, 0);
    if (connection->closing)
        return;
    if (status < 0) {
        net__connection_close(connection);
        return;
    }
    if (!connection->session) {
        greeting_go_on(connection);
        return;
    }
    session_sent(connection->session, connection->write_bytes);
    session_resume(connection->session);
    connection_dirty(connection);
    net__cost_add(&connection->worker->load, &connection->cost);
}

/* What the socket did not take now is written when it can; `bytes` of the session's are in it. */
static void write_later(struct net_connection *connection, const char *data, size_t size,
                        size_t bytes)
{
    uv_buf_t buffer = uv_buf_init((char *)data, (unsigned)size);
    connection->writing = true;
    connection->write_bytes = bytes;
    connection->write.data = connection;
    reading_set(connection, false);
    if (uv_write(&connection->write, &connection->stream, &buffer, 1, on_written)) {
        connection->writing = false;
        net__connection_close(connection);
    }
}

bool net__encrypted_send(struct net_connection *connection, size_t bytes)
{
    struct mp_buffer *out = &connection->worker->encrypted;
    if (out->size == 0 || connection->closing)
        return !connection->closing;
    uv_buf_t buffer = uv_buf_init(out->data, (unsigned)out->size);
    int sent = uv_try_write(&connection->stream, &buffer, 1);
    if (out->failed || (sent < 0 && sent != UV_EAGAIN)) {
        mp_buffer_reset(out, 0);
        net__connection_close(connection);
        return false;
    }
    size_t done = sent > 0 ? (size_t)sent : 0;
    if (done < out->size) { /* these bytes go with the connection */
        connection->encrypted = *out;
        mp_buffer_create(out);
        write_later(connection, connection->encrypted.data + done,
                    connection->encrypted.size - done, bytes);
        return false;
    }
    mp_buffer_reset(out, NET_READ_BYTES * 2);
    return true;
}

/* How many bytes of the output have been sent, SIZE_MAX: those that have not are on their way, or the
 * connection is closing. */
static size_t write_encrypted(struct net_connection *connection, struct session_output output)
{
    size_t size = output.size < NET_ENCRYPT_BYTES ? output.size : NET_ENCRYPT_BYTES;
    if (tls_write(connection->tls, output.data, size)) {
        mp_buffer_reset(&connection->worker->encrypted, 0);
        net__connection_close(connection);
        return SIZE_MAX;
    }
    return net__encrypted_send(connection, size) ? size : SIZE_MAX;
}

static size_t write_plain(struct net_connection *connection, struct session_output output)
{
    if (output.size > INT32_MAX)
        output.size = INT32_MAX;
    uv_buf_t buffer = uv_buf_init((char *)output.data, (unsigned)output.size);
    int sent = uv_try_write(&connection->stream, &buffer, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        net__connection_close(connection);
        return SIZE_MAX;
    }
    size_t done = sent > 0 ? (size_t)sent : 0;
    if (done == output.size)
        return done;
    if (done > 0)
        session_sent(connection->session, done);
    write_later(connection, output.data + done, output.size - done, output.size - done);
    return SIZE_MAX;
}

void net__connection_send(struct net_connection *connection)
{
    size_t done = 0;
    struct session_output output = {NULL, 0};
    if (connection->writing || connection->closing || connection->lingering || connection->tls ||
        !connection->session)
        return;
    while (done == output.size && (output = session_output_aside(connection->session)).size > 0) {
        if (output.size > INT32_MAX)
            output.size = INT32_MAX;
        uv_buf_t buffer = uv_buf_init((char *)output.data, (unsigned)output.size);
        int sent = uv_try_write(&connection->stream, &buffer, 1);
        done = sent > 0 ? (size_t)sent : 0; /* what is wrong is found in the next turn */
        if (done == 0)
            return;
        session_sent(connection->session, done);
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
        size_t sent =
            connection->tls ? write_encrypted(connection, output) : write_plain(connection, output);
        if (sent == SIZE_MAX)
            return false;
        session_sent(connection->session, sent);
        session_resume(connection->session);
        if (connection->writing || connection->closing) /* what ran has looked ahead */
            return false;
    }
    connection_dirty(connection);
    net__worker_busy(connection->worker);
    return false;
}

/* What was held back of the decrypted input, now that the session wants it. */
static void input_go_on(struct net_connection *connection)
{
    if (!connection->tls || connection->ended || !session_wants_read(connection->session) ||
        (connection->ahead.size == 0 && !tls_has_input(connection->tls)))
        return;
    net__decrypt(connection);
    if (!connection->closing) {
        connection_dirty(connection);
        net__worker_busy(connection->worker);
    }
}

static void connection_flush(struct net_connection *connection)
{
    if (connection->writing || connection->closing || connection->lingering ||
        !connection->session || !output_write(connection))
        return;
    struct session *session = connection->session;
    bool waiting = session_waiting(session);
    if (session_wants_close(session) ||
        (connection->ended && !waiting && !session_suspended(session))) {
        net__connection_finish(connection);
        return;
    }
    if (!waiting)
        list_remove(&connection->waiting);
    else if (list_empty(&connection->waiting))
        list_add_tail(&connection->worker->waiting, &connection->waiting);
    input_go_on(connection);
    if (!connection->closing && !connection->writing)
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
        net__connection_close(connection);
    else
        connection_dirty(connection);
    net__cost_add(&connection->worker->load, &connection->cost);
}

static void list_take_all(struct list *from, struct list *to)
{
    struct list *link;
    while ((link = list_first(from)) != NULL) {
        list_remove(link);
        list_add_tail(to, link);
    }
}

/* Those that wait are looked at when the log has got further than last time, or has failed. While one
 * of them is executed the others may move (move.c), so each is taken when it is its turn. */
static void waiting_flush(struct net_worker *worker)
{
    bool failed = wal_failed(worker->wal);
    uint64_t reached = wal_reply_ts(worker->wal);
    struct list *link;
    if (reached != worker->passed_ts || failed != worker->passed_failed) {
        list_take_all(&worker->waiting, &worker->passing);
        while ((link = list_first(&worker->passing)) != NULL) {
            struct net_connection *connection = list_entry(link, struct net_connection, waiting);
            list_remove(link);
            connection_flush(connection);
            net__cost_add(&worker->load, &connection->cost);
        }
    }
    worker->passed_ts = reached;
    worker->passed_failed = failed;
}

void net__connections_flush(struct net_worker *worker)
{
    waiting_flush(worker);
    struct list *link;
    list_take_all(&worker->dirty, &worker->turn); /* what becomes dirty again has its turn later */
    while ((link = list_first(&worker->turn)) != NULL) {
        struct net_connection *connection = list_entry(link, struct net_connection, dirty);
        list_remove(link);
        connection_flush(connection);
        net__cost_add(&worker->load, &connection->cost);
    }
    if (!list_empty(&worker->waiting) || session_worker_deferred(worker->session_worker))
        wal_write_now(worker->wal); /* once for all that was executed in this turn */
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

static void socket_set_up(int fd, unsigned keepalive_s)
{
    int on = 1, seconds = (int)keepalive_s, interval = seconds > 3 ? seconds / 3 : 1, count = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (seconds == 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

int net__stream_open(struct net_connection *connection, bool path, int fd)
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

static int session_for(struct net_connection *connection, const struct address *peer,
                       const struct address *local, const char *user)
{
    char text[ADDRESS_TEXT_MAX + 1], own[ADDRESS_TEXT_MAX + 1], whole[ADDRESS_TEXT_MAX + 1];
    uv_os_fd_t fd = -1;
    address_format(peer, text);
    snprintf(own, sizeof own, "%s", connection->listener->text);
    if (local->size > 0)
        address_format(local, own);
    const char *shown = text;
    if (address_is_path(peer)) { /* clients of a unix socket have no name of their own */
        snprintf(whole, sizeof whole, "%.*s:0", ADDRESS_TEXT_MAX - 2, own);
        shown = whole;
    }
    uv_fileno(&connection->handle, &fd);
    struct session_peer who = {.address = shown,
                               .local_address = own,
                               .fd = fd,
                               .sealed = connection->tls != NULL,
                               .user = user};
    return session_new(connection->worker->session_worker, &who, &connection->session);
}

bool net__connection_serve(struct net_connection *connection, const struct address *peer,
                           const struct address *local, const char *user)
{
    list_remove(&connection->waiting);
    int rc = session_for(connection, peer, local, user);
    if (rc) {
        net__connection_refuse(connection, session_refusal(rc));
        return false;
    }
    session_user_set(connection->session, connection);
    return true;
}

void net__connection_refuse(struct net_connection *connection, const char *text)
{
    struct mp_buffer *out = &connection->worker->encrypted;
    uv_buf_t buffer = uv_buf_init((char *)text, (unsigned)strlen(text));
    if (connection->tls) {
        if (tls_is_open(connection->tls))
            tls_write(connection->tls, text, strlen(text));
        buffer = uv_buf_init(out->data, (unsigned)out->size);
    }
    if (buffer.len > 0)
        uv_try_write(&connection->stream, &buffer, 1); /* a courtesy: it is there, or it is not */
    mp_buffer_reset(out, NET_READ_BYTES * 2);
    net__connection_finish(connection);
}

/* One that speaks TLS or comes through a proxy is asked about at the end of its greeting. */
static bool greets(const struct net_listener *listener)
{
    return listener->entry.tls || listener->entry.proxy;
}

static void connection_begin(struct net_connection *connection, const struct address *peer)
{
    struct net_worker *worker = connection->worker;
    if (!greets(connection->listener)) {
        if (net__connection_serve(connection, peer, &(struct address){.size = 0}, NULL))
            reading_set(connection, true);
    } else if (net__greeting_begin(connection, peer)) {
        net__connection_refuse(connection, "-ERR too many connections are being made\r\n");
    } else {
        deadline_set(connection, &worker->greeting, &worker->greeting_timer, on_greeting_time,
                     NET_GREETING_MS);
        reading_set(connection, true);
    }
}

void net__connection_open(struct net_worker *worker, struct net_accepted accepted)
{
    const struct net_listener *listener = &worker->net->listeners[accepted.listener];
    struct address peer = {.size = sizeof peer.storage};
    if (getpeername(accepted.fd, &peer.any, &peer.size)) {
        refuse(worker, accepted.fd, "");
        return;
    }
    if (!net__is_served(worker->net, listener, &peer)) {
        refuse(worker, accepted.fd, listener->entry.tls ? "" : net__denied);
        return;
    }
    struct net_connection *connection =
        account_made(ACCOUNT_NETWORK, calloc(1, sizeof *connection));
    if (!connection) {
        refuse(worker, accepted.fd, listener->entry.tls ? "" : session_refusal(ERROR_MEMORY));
        return;
    }
    if (!address_is_path(&peer))
        socket_set_up(accepted.fd, service_keepalive_s(worker->net->service));
    connection->worker = worker;
    connection->listener = listener;
    list_create(&connection->dirty);
    list_create(&connection->waiting);
    list_add_tail(&worker->connections, &connection->link);
    if (net__stream_open(connection, address_is_path(&peer), accepted.fd)) {
        close(accepted.fd);
        net__connection_close(connection);
        return;
    }
    connection_begin(connection, &peer);
}

static void connection_end(struct net_connection *connection, bool at_once)
{
    if (at_once || !connection->session) {
        net__connection_close(connection);
    } else if (!connection->closing && !connection->lingering) {
        connection->ended = true;
        reading_set(connection, false);
        session_hurry(connection->session);
        connection_dirty(connection);
    }
}

void net__connections_end(struct net_worker *worker, bool at_once)
{
    list_for_each_safe (link, &worker->connections)
        connection_end(list_entry(link, struct net_connection, link), at_once);
}
