/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_H
#define NET_TLS_H

/*
 * TLS 1.2 and 1.3 without sockets, by OpenSSL: bytes from the network go in, bytes for the network
 * come out, and neither waits for anything.
 *
 *   network ──tls_feed──► tls_handshake, then tls_read ──► what the client has said
 *   network ◄── out ◄──── tls_handshake, tls_write, tls_close
 *
 * No session is resumed: the certificates of both sides are looked at on each connection, so one
 * that has been exchanged counts from the next connection on.
 *
 * A context, which has the certificates, may be used by several threads; a `tls` by one.
 */
#include <stdbool.h>
#include <stddef.h>

#include "codec/mp.h"

enum tls_clients { TLS_CLIENTS_OFF, TLS_CLIENTS_OPTIONAL, TLS_CLIENTS_REQUIRED };
enum tls_name { TLS_NAME_OFF, TLS_NAME_CN, TLS_NAME_SAN };

enum { TLS_NAME_BYTES_MAX = 255 };

struct tls_options {
    const char *certificate;  /* a file: the server's, and behind it those that lead to its CA's */
    const char *key;          /* a file: the certificate's private key, not encrypted */
    const char *ca;           /* a file: whom to believe that a client is who it says; "" */
    enum tls_clients clients; /* whether clients are asked for a certificate */
};

struct tls_context;
struct tls;

/* Reads the files. ERROR_INVALID with diagnostics that name the file and what is wrong with it,
 * ERROR_MEMORY. One reference is the caller's. */
int tls_context_new(const struct tls_options *options, struct tls_context **out);
struct tls_context *tls_context_share(struct tls_context *context); /* one more reference */
void tls_context_release(struct tls_context *context);              /* NULL is allowed */

/* The server's side of a connection, which keeps a reference to the context. What is to be sent is
 * put at the end of `out`, which is the caller's and outlives it. ERROR_MEMORY. */
int tls_new(struct tls_context *context, struct mp_buffer *out, struct tls **new_tls);
void tls_delete(struct tls *tls); /* NULL is allowed */

/* Another buffer from now on, for another thread. */
void tls_out_set(struct tls *tls, struct mp_buffer *out);

/* These bytes have come. They stay where they are until tls_keep has been called, or tls_has_input
 * says that all have been taken. */
void tls_feed(struct tls *tls, const char *data, size_t size);

/* Copies what of tls_feed's bytes has not been taken yet. ERROR_MEMORY. */
int tls_keep(struct tls *tls);

/* There is something to read that needs no further bytes, as far as can be known. */
bool tls_has_input(const struct tls *tls);

/* 1: it is done, or was; 0: more has to come; ERROR_PROTOCOL: it has failed, diagnostics say why, and
 * `out` may have an alert for the client. */
int tls_handshake(struct tls *tls);

/* The handshake is done, and nothing has failed since. */
bool tls_is_open(const struct tls *tls);

/* After the handshake. Returns how many bytes have been put into out[size]; 0: none for now, or,
 * with *ended, none any more; ERROR_PROTOCOL. */
int tls_read(struct tls *tls, char *out, size_t size, bool *ended);

/* After the handshake: takes all of it. ERROR_PROTOCOL, ERROR_MEMORY. */
int tls_write(struct tls *tls, const char *data, size_t size);

/* Says that nothing more will be said. */
void tls_close(struct tls *tls);

/* The name in the client's certificate, which has been verified: its common name, or the first DNS
 * name, e-mail address or URI of its alternative names. "" when there is none, or no certificate. */
void tls_peer_name(struct tls *tls, enum tls_name which, char out[TLS_NAME_BYTES_MAX + 1]);

#endif
