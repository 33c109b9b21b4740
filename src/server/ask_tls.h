/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVER_ASK_TLS_H
#define SERVER_ASK_TLS_H

/*
 * The client's side of TLS 1.2 and 1.3 on a socket that blocks, by OpenSSL.
 */
#include <stddef.h>
#include <sys/types.h>

struct ask_tls;
struct client_arguments;

/* Begins TLS on a connected socket, which stays the caller's, and looks at the server's certificate, which must be
 * for `how`'s hostname, or for `host` if that is not given. Writing to a server that has gone would end the process by
 * SIGPIPE, so that is ignored from here on. ERROR_IO, ERROR_INVALID (a file), ERROR_MEMORY. The caller owns *out. */
int ask_tls_open(int fd, const char *host, const struct client_arguments *how,
                 struct ask_tls **out);
void ask_tls_close(struct ask_tls *tls); /* NULL is allowed */

/* Sends all. ERROR_IO. */
int ask_tls_send(struct ask_tls *tls, const char *data, size_t size);

/* What has come, at least a byte: *got; 0 at the end. ERROR_IO. */
int ask_tls_receive(struct ask_tls *tls, char *data, size_t room, size_t *got);

#endif
