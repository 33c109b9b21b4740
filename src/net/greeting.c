/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What comes on a connection before its session does: the header of a proxy, and the handshake of
 * TLS. A session is made when it is known who is there, so triggers, limits and CLIENT LIST see the
 * client and not the proxy, and one who speaks for a user has shown a certificate.
 *
 *   accepted ─► [PROXY header] ─► [first byte: TLS?] ─► [handshake] ─► session
 *                     └──────────────┴────────────────────┴──► refused
 *
 * It has NET_GREETING_MS; connections that have not come so far are NET_GREETINGS_MAX at most.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "mem/account.h"
#include "net/net_internal.h"
#include "proto/msgpack_rpc.h"
#include "proto/sniff.h"

enum { TLS_HANDSHAKE_RECORD = 0x16 };

const char net__denied[] =
    "-DENIED Perigee has no password, so it serves only its own machine. Set the option 'password' "
    "(--password, PERIGEE_PASSWORD) to serve others.\r\n";

static const char PLAIN_ON_TLS[] =
    "this port speaks TLS, and what came is not TLS: connect with TLS (redis-cli --tls, perigee "
    "console --tls), or to a port without it";

int net__greeting_begin(struct net_connection *connection, const struct address *peer)
{
    struct net *net = connection->worker->net;
    if (atomic_fetch_add_explicit(&net->greeting_count, 1, memory_order_relaxed) <
        NET_GREETINGS_MAX)
        connection->greeting = account_made(ACCOUNT_NETWORK, malloc(sizeof *connection->greeting));
    if (!connection->greeting) {
        atomic_fetch_sub_explicit(&net->greeting_count, 1, memory_order_relaxed);
        return ERROR_BUSY;
    }
    connection->greeting->peer = *peer;
    connection->greeting->local.size = 0;
    connection->greeting->proxy = connection->listener->entry.proxy;
    connection->greeting->size = 0;
    return 0;
}

void net__greeting_end(struct net_connection *connection)
{
    if (!connection->greeting)
        return;
    free(account_gone(ACCOUNT_NETWORK, connection->greeting));
    connection->greeting = NULL;
    atomic_fetch_sub_explicit(&connection->worker->net->greeting_count, 1, memory_order_relaxed);
}

static void refuse(struct net_connection *connection, const char *text)
{
    net__greeting_end(connection);
    net__connection_refuse(connection, text);
}

/* Not more than once a second: strangers do not fill the disk. */
static void refusal_log(const struct net_connection *connection)
{
    struct net_worker *worker = connection->worker;
    uint64_t now = uv_now(&worker->loop);
    char from[ADDRESS_TEXT_MAX + 1];
    if (worker->refusal_logged_ms && now - worker->refusal_logged_ms < 1000)
        return;
    worker->refusal_logged_ms = now;
    address_format(&connection->greeting->peer, from);
    log_warn("a connection from %s was refused: %s", from, diag_message());
}

/* --------------------------------------------------------------------------- the proxy's header */

static void proxy_refuse(struct net_connection *connection)
{
    char text[DIAG_MESSAGE_MAX + 64];
    refusal_log(connection);
    snprintf(text, sizeof text, "-ERR Protocol error: %s\r\n", diag_message());
    refuse(connection, text);
}

/* True when the header is complete; *data and *size are what comes after it. */
static bool proxy_take(struct net_connection *connection, const char **data, size_t *size)
{
    struct net_greeting *greeting = connection->greeting;
    struct proxy_header header;
    size_t before = greeting->size, room = sizeof greeting->bytes - before;
    size_t taken = *size < room ? *size : room;
    memcpy(greeting->bytes + before, *data, taken);
    greeting->size += taken;
    int whole = proxy_parse(greeting->bytes, greeting->size, &header);
    if (whole < 0)
        proxy_refuse(connection);
    if (whole <= 0)
        return false;
    *data += (size_t)whole - before;
    *size -= (size_t)whole - before;
    greeting->proxy = false;
    if (!header.known)
        return true;
    greeting->peer = header.source;
    greeting->local = header.destination;
    if (net__is_served(connection->worker->net, connection->listener, &greeting->peer))
        return true;
    refuse(connection, connection->listener->entry.tls ? "" : net__denied);
    return false;
}

/* ------------------------------------------------------------------------------------------ TLS */

/* In the protocol that the client speaks, as far as it can be told. */
static void plain_refuse(struct net_connection *connection, unsigned char first)
{
    enum proto_kind kind = proto_sniff(first);
    char text[sizeof PLAIN_ON_TLS + 16] = "";
    struct mp_buffer message;
    mp_buffer_create(&message);
    if (kind == PROTO_RPC) {
        rpc_put_error(&message, 0, ERROR_PROTOCOL, error_name(ERROR_PROTOCOL), PLAIN_ON_TLS);
        uv_buf_t buffer = uv_buf_init(message.data, (unsigned)message.size);
        if (!message.failed)
            uv_try_write(&connection->stream, &buffer, 1);
    } else if (kind == PROTO_RESP) {
        snprintf(text, sizeof text, "-ERR %s\r\n", PLAIN_ON_TLS);
    }
    mp_buffer_destroy(&message);
    refuse(connection, text);
}

static int tls_begin(struct net_connection *connection)
{
    struct net *net = connection->worker->net;
    pthread_mutex_lock(&net->tls_mutex);
    struct tls_context *context = tls_context_share(net->tls);
    pthread_mutex_unlock(&net->tls_mutex);
    int rc = tls_new(context, &connection->worker->encrypted, &connection->tls);
    tls_context_release(context);
    return rc;
}

static void handshake_failed(struct net_connection *connection)
{
    refusal_log(connection);
    net__greeting_end(connection);
    if (net__encrypted_send(connection, 0)) /* the alert says why */
        net__connection_finish(connection);
}

/* True when it is done. */
static bool tls_take(struct net_connection *connection, const char **data, size_t *size)
{
    if (!connection->tls) {
        if (*size == 0)
            return false;
        if ((unsigned char)**data != TLS_HANDSHAKE_RECORD) {
            plain_refuse(connection, (unsigned char)**data);
            return false;
        }
        if (tls_begin(connection)) {
            refuse(connection, "");
            return false;
        }
    }
    tls_feed(connection->tls, *data, *size);
    int done = tls_handshake(connection->tls);
    if (done < 0) {
        handshake_failed(connection);
        return false;
    }
    if (tls_keep(connection->tls)) {
        refuse(connection, "");
        return false;
    }
    *size = 0;
    return net__encrypted_send(connection, 0) && done > 0;
}

bool net__greet(struct net_connection *connection, const char **data, size_t *size)
{
    char user[TLS_NAME_BYTES_MAX + 1] = "";
    if (connection->greeting->proxy && !proxy_take(connection, data, size))
        return false;
    if (connection->listener->entry.tls && !tls_take(connection, data, size))
        return false;
    struct address peer = connection->greeting->peer, local = connection->greeting->local;
    net__greeting_end(connection);
    if (connection->tls)
        tls_peer_name(connection->tls, connection->worker->net->tls_user, user);
    return net__connection_serve(connection, &peer, &local, user);
}
