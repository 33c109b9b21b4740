/* SPDX-License-Identifier: Apache-2.0 */
#include "server/ask_tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"
#include "server/client_command.h"

enum { CA, CERTIFICATE, KEY, HOSTNAME }; /* in client_arguments.tls_values */

struct ask_tls {
    SSL_CTX *context;
    SSL *ssl;
};

/* What OpenSSL has to say. */
static const char *reason(void)
{
    unsigned long code = ERR_get_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return text ? text : "it has broken off";
}

static int file_failed(const char *path)
{
    return diag_set(ERROR_INVALID, "%s: %s", path, reason());
}

static int files_load(SSL_CTX *context, const struct client_arguments *how)
{
    const char *ca = how->tls_values[CA], *certificate = how->tls_values[CERTIFICATE];
    const char *key = how->tls_values[KEY] ? how->tls_values[KEY] : certificate;
    if (ca && SSL_CTX_load_verify_file(context, ca) != 1)
        return file_failed(ca);
    if (!ca)
        SSL_CTX_set_default_verify_paths(context);
    if (certificate && SSL_CTX_use_certificate_chain_file(context, certificate) != 1)
        return file_failed(certificate);
    if (certificate && (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 ||
                        SSL_CTX_check_private_key(context) != 1))
        return file_failed(key);
    return 0;
}

/* Whom the certificate must be for: a host's name or its number. */
static int name_set(SSL *ssl, const char *name)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1)
        return 0;
    ERR_clear_error();
    if (SSL_set1_host(ssl, name) != 1 || SSL_set_tlsext_host_name(ssl, name) != 1)
        return diag_set(ERROR_INVALID, "no certificate can be for '%s'", name);
    return 0;
}

static int handshake(SSL *ssl, int fd)
{
    if (SSL_set_fd(ssl, fd) == 1 && SSL_connect(ssl) == 1)
        return 0;
    long verified = SSL_get_verify_result(ssl);
    if (verified == X509_V_OK)
        return diag_set(ERROR_IO, "TLS: %s", reason());
    ERR_clear_error();
    return diag_set(ERROR_IO, "the server's certificate: %s",
                    X509_verify_cert_error_string(verified));
}

int ask_tls_open(int fd, const char *host, const struct client_arguments *how, struct ask_tls **out)
{
    struct ask_tls *tls = calloc(1, sizeof *tls);
    int rc = tls ? 0 : diag_set(ERROR_MEMORY, "out of memory");
    if (rc)
        return rc;
    signal(SIGPIPE, SIG_IGN);
    ERR_clear_error();
    tls->context = SSL_CTX_new(TLS_client_method());
    if (!tls->context || !SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION))
        rc = diag_set(ERROR_MEMORY, "TLS: %s", reason());
    if (!rc)
        rc = files_load(tls->context, how);
    if (!rc)
        SSL_CTX_set_verify(tls->context, how->tls_insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                           NULL);
    if (!rc && !(tls->ssl = SSL_new(tls->context)))
        rc = diag_set(ERROR_MEMORY, "TLS: %s", reason());
    if (!rc)
        rc = name_set(tls->ssl, how->tls_values[HOSTNAME] ? how->tls_values[HOSTNAME] : host);
    if (!rc)
        rc = handshake(tls->ssl, fd);
    if (rc)
        ask_tls_close(tls);
    else
        *out = tls;
    return rc;
}

void ask_tls_close(struct ask_tls *tls)
{
    if (!tls)
        return;
    if (tls->ssl && SSL_is_init_finished(tls->ssl))
        SSL_shutdown(tls->ssl);
    SSL_free(tls->ssl);
    SSL_CTX_free(tls->context);
    ERR_clear_error();
    free(tls);
}

int ask_tls_send(struct ask_tls *tls, const char *data, size_t size)
{
    size_t sent;
    ERR_clear_error();
    if (size > 0 && SSL_write_ex(tls->ssl, data, size, &sent) != 1)
        return diag_set(ERROR_IO, "the connection to the server: TLS: %s", reason());
    return 0;
}

int ask_tls_receive(struct ask_tls *tls, char *data, size_t room, size_t *got)
{
    ERR_clear_error();
    *got = 0;
    if (SSL_read_ex(tls->ssl, data, room, got) == 1)
        return 0;
    if (SSL_get_error(tls->ssl, 0) == SSL_ERROR_ZERO_RETURN)
        return 0;
    return diag_set(ERROR_IO, "the connection to the server: TLS: %s", reason());
}
