/* SPDX-License-Identifier: Apache-2.0 */

/* A blocking connection, and the last reply on it. */
#include "server/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "net/address.h"
#include "proto/resp_read.h"
#include "server/admin_key.h"
#include "server/ask_tls.h"
#include "server/client_command.h"

enum { REPLY_BYTES_MAX = 64 << 10, MEMBER_BYTES_MAX = 1023 };

struct ask {
    int fd;
    struct ask_tls *tls; /* NULL: none */
    char *reply;
    size_t size; /* of the reply */
    char member[MEMBER_BYTES_MAX + 1];
};

static int lost(int error)
{
    return error ? diag_set_errno(ERROR_IO, error, "the connection to the server")
                 : diag_set(ERROR_IO, "the server has closed the connection");
}

/* The host of "host:port" or "[host]:port". */
static void host_of(const char *address, char host[ADDRESS_TEXT_MAX + 1])
{
    const char *colon = strrchr(address, ':');
    size_t size = colon ? (size_t)(colon - address) : 0;
    if (size > 2 && address[0] == '[') {
        address++;
        size -= 2;
    }
    snprintf(host, ADDRESS_TEXT_MAX + 1, "%.*s", (int)size, address);
}

static int tls_begin(struct ask *ask, const struct address *to, const struct client_arguments *how)
{
    char host[ADDRESS_TEXT_MAX + 1] = "localhost";
    if (to->any.sa_family != AF_UNIX)
        host_of(how->address, host);
    return ask_tls_open(ask->fd, host, how, &ask->tls);
}

int ask_open(const struct client_arguments *how, const char *dir, const char *password,
             struct ask **out)
{
    const char *address = how->address;
    struct address to;
    int rc = address_parse(address, &to);
    if (rc)
        return rc;
    struct ask *ask = calloc(1, sizeof *ask);
    if (!ask)
        return diag_set(ERROR_MEMORY, "out of memory");
    ask->reply = malloc(REPLY_BYTES_MAX);
    ask->fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!ask->reply)
        rc = diag_set(ERROR_MEMORY, "out of memory");
    else if (ask->fd < 0 || connect(ask->fd, &to.any, to.size))
        rc = diag_set_errno(ERROR_IO, errno, "there is no server at %s", address);
    if (!rc && how->tls)
        rc = tls_begin(ask, &to, how);
    /* A key may be left over from a server that was killed, and another be there now. */
    char key[ADMIN_KEY_SIZE + 1];
    bool admin = !rc && dir && admin_key_find(dir, address, key) &&
                 ask_command(ask, 3, (const char *const[]){"AUTH", "admin", key}) == 0;
    if (!rc && !admin && *password)
        rc = ask_command(ask, 2, (const char *const[]){"AUTH", password});
    if (rc)
        ask_close(ask);
    else
        *out = ask;
    return rc;
}

void ask_close(struct ask *ask)
{
    ask_tls_close(ask->tls);
    if (ask->fd >= 0)
        close(ask->fd);
    free(ask->reply);
    free(ask);
}

static int send_all(struct ask *ask, const char *data, size_t size)
{
    if (ask->tls)
        return ask_tls_send(ask->tls, data, size);
    while (size > 0) {
        ssize_t sent = send(ask->fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return lost(errno);
        data += sent;
        size -= (size_t)sent;
    }
    return 0;
}

/* Some bytes. */
static int receive_some(struct ask *ask, char *data, size_t room, size_t *got)
{
    ssize_t size;
    if (ask->tls) {
        int rc = ask_tls_receive(ask->tls, data, room, got);
        return rc || *got > 0 ? rc : lost(0);
    }
    do {
        size = recv(ask->fd, data, room, 0);
    } while (size < 0 && errno == EINTR);
    *got = size > 0 ? (size_t)size : 0;
    return size > 0 ? 0 : lost(size < 0 ? errno : 0);
}

static int receive(struct ask *ask)
{
    struct resp_reply_scan scan = {0};
    size_t have = 0;
    int rc = ERROR_AGAIN;
    while (rc == ERROR_AGAIN) {
        if (have == REPLY_BYTES_MAX)
            return diag_set(ERROR_PROTOCOL, "the server's reply is too long");
        size_t got;
        int failed = receive_some(ask, ask->reply + have, REPLY_BYTES_MAX - have, &got);
        if (failed)
            return failed;
        have += got;
        rc = resp_reply_scan(&scan, ask->reply, have, &ask->size);
    }
    return rc ? diag_set(rc, "what answers there does not speak RESP") : 0;
}

int ask_command(struct ask *ask, unsigned argc, const char *const *argv)
{
    char head[32];
    int rc = send_all(ask, head, (size_t)snprintf(head, sizeof head, "*%u\r\n", argc));
    for (unsigned n = 0; n < argc && !rc; n++) {
        int size = snprintf(head, sizeof head, "$%zu\r\n", strlen(argv[n]));
        rc = send_all(ask, head, (size_t)size);
        if (!rc)
            rc = send_all(ask, argv[n], strlen(argv[n]));
        if (!rc)
            rc = send_all(ask, "\r\n", 2);
    }
    if (!rc)
        rc = receive(ask);
    struct resp_item item;
    const char *at = ask->reply;
    if (!rc)
        rc = resp_item_read(&at, ask->reply + ask->size, &item);
    if (!rc && item.kind == RESP_ERROR)
        rc = diag_set(ERROR_PROTOCOL, "the server says: %.*s", (int)item.size, item.text);
    return rc;
}

const char *ask_member(struct ask *ask, const char *name)
{
    struct resp_item item, value;
    const char *at = ask->reply, *end = ask->reply + ask->size;
    ask->member[0] = 0;
    if (resp_item_read(&at, end, &item))
        return ask->member;
    for (size_t n = 0; n + 1 < item.count; n += 2) {
        struct resp_item key;
        if (resp_item_read(&at, end, &key) || resp_item_read(&at, end, &value))
            break;
        if (key.size == strlen(name) && memcmp(key.text, name, key.size) == 0) {
            size_t size = value.size < MEMBER_BYTES_MAX ? value.size : MEMBER_BYTES_MAX;
            memcpy(ask->member, value.text, size);
            ask->member[size] = 0;
            break;
        }
    }
    return ask->member;
}

uint64_t ask_number(struct ask *ask, const char *name)
{
    return strtoull(ask_member(ask, name), NULL, 10);
}
