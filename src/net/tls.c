/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OpenSSL between two pieces of memory.
 *
 * Instead of OpenSSL's memory BIOs, which copy what they are given and keep it, one of our own:
 *
 *   read    from tls_feed's bytes where they lie, behind those that tls_keep has copied
 *   write   to the end of the caller's buffer, which all connections of a worker have in common
 *
 * so a connection that has nothing to do has no buffers (SSL_MODE_RELEASE_BUFFERS).
 *
 * The count of a context's references is ours: the last reference is given back after all that was
 * made of it.
 */
#include "net/tls.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/diag.h"
#include "base/error.h"
#include "mem/account.h"

struct tls_context {
    SSL_CTX *ssl;
    BIO_METHOD *memory;
    _Atomic unsigned references;
};

struct tls {
    struct tls_context *context;
    SSL *ssl;
    struct mp_buffer *out;
    struct mp_buffer kept; /* bytes from before, of which kept_taken have been read */
    size_t kept_taken;
    const char *fed; /* those that came last */
    size_t fed_size;
    bool failed; /* the connection is of no more use: nothing is said at its end */
};

/* ------------------------------------------------------------------------------------- errors */

/* Why OpenSSL has refused, in its words; the queue of its errors is empty then. */
static const char *reason(void)
{
    unsigned long first = ERR_get_error();
    const char *text =
        ERR_SYSTEM_ERROR(first) ? strerror(ERR_GET_REASON(first)) : ERR_reason_error_string(first);
    ERR_clear_error();
    return text ? text : "unknown error";
}

/* ------------------------------------------------------------------------------------ the BIO */

static int memory_read(BIO *bio, char *out, int size)
{
    struct tls *tls = BIO_get_data(bio);
    size_t kept = tls->kept.size - tls->kept_taken, wanted = size > 0 ? (size_t)size : 0;
    BIO_clear_retry_flags(bio);
    if (kept > 0) {
        wanted = wanted < kept ? wanted : kept;
        memcpy(out, tls->kept.data + tls->kept_taken, wanted);
        tls->kept_taken += wanted;
        return (int)wanted;
    }
    if (tls->fed_size == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    wanted = wanted < tls->fed_size ? wanted : tls->fed_size;
    memcpy(out, tls->fed, wanted);
    tls->fed += wanted;
    tls->fed_size -= wanted;
    return (int)wanted;
}

static int memory_write(BIO *bio, const char *data, int size)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size > 0)
        mp_put_raw(tls->out, data, (size_t)size);
    return tls->out->failed ? -1 : size;
}

static long memory_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

/* ------------------------------------------------------------------------------- certificates */

/* A key that is encrypted would be asked for at the terminal. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static int files_load(SSL_CTX *ssl, const struct tls_options *options)
{
    if (!*options->certificate || !*options->key)
        return diag_set(ERROR_INVALID, "TLS needs a certificate and its key: set the options "
                                       "tls_certificate and tls_key");
    if (SSL_CTX_use_certificate_chain_file(ssl, options->certificate) != 1)
        return diag_set(ERROR_INVALID, "tls_certificate: %s: %s", options->certificate, reason());
    if (SSL_CTX_use_PrivateKey_file(ssl, options->key, SSL_FILETYPE_PEM) != 1)
        return diag_set(ERROR_INVALID, "tls_key: %s: %s (it must be PEM and not encrypted)",
                        options->key, reason());
    if (SSL_CTX_check_private_key(ssl) != 1)
        return diag_set(ERROR_INVALID, "tls_key: %s is not the key of the certificate %s",
                        options->key, options->certificate);
    return 0;
}

static int clients_set(SSL_CTX *ssl, const struct tls_options *options)
{
    if (options->clients == TLS_CLIENTS_OFF)
        return 0;
    if (!*options->ca)
        return diag_set(ERROR_INVALID, "clients are asked for certificates (tls_clients): set "
                                       "tls_ca, by which they are checked");
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(options->ca);
    if (!names || SSL_CTX_load_verify_file(ssl, options->ca) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return diag_set(ERROR_INVALID, "tls_ca: %s: %s", options->ca, reason());
    }
    SSL_CTX_set_client_CA_list(ssl, names);
    bool required = options->clients == TLS_CLIENTS_REQUIRED;
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       NULL);
    return 0;
}

static int context_set_up(struct tls_context *context, const struct tls_options *options)
{
    SSL_CTX *ssl = context->ssl = SSL_CTX_new(TLS_server_method());
    context->memory = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "memory");
    if (!ssl || !context->memory)
        return diag_set(ERROR_MEMORY, "out of memory");
    BIO_meth_set_read(context->memory, memory_read);
    BIO_meth_set_write(context->memory, memory_write);
    BIO_meth_set_ctrl(context->memory, memory_control);
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    int rc = files_load(ssl, options);
    return rc ? rc : clients_set(ssl, options);
}

int tls_context_new(const struct tls_options *options, struct tls_context **out)
{
    struct tls_context *context =
        account_made(ACCOUNT_NETWORK, calloc(1, sizeof(struct tls_context)));
    if (!context)
        return diag_set(ERROR_MEMORY, "out of memory");
    store_relaxed(&context->references, 1);
    ERR_clear_error();
    int rc = context_set_up(context, options);
    if (rc) {
        tls_context_release(context);
        return rc;
    }
    *out = context;
    return 0;
}

struct tls_context *tls_context_share(struct tls_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void tls_context_release(struct tls_context *context)
{
    if (!context || atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) > 1)
        return;
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->memory);
    free(account_gone(ACCOUNT_NETWORK, context));
}

/* -------------------------------------------------------------------------------- connections */

int tls_new(struct tls_context *context, struct mp_buffer *out, struct tls **new_tls)
{
    struct tls *tls = account_made(ACCOUNT_NETWORK, calloc(1, sizeof *tls));
    if (!tls)
        return diag_set(ERROR_MEMORY, "out of memory");
    tls->context = tls_context_share(context);
    tls->out = out;
    mp_buffer_create(&tls->kept);
    tls->ssl = SSL_new(context->ssl);
    BIO *bio = tls->ssl ? BIO_new(context->memory) : NULL;
    if (!bio) {
        tls_delete(tls);
        return diag_set(ERROR_MEMORY, "out of memory");
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_accept_state(tls->ssl);
    *new_tls = tls;
    return 0;
}

void tls_delete(struct tls *tls)
{
    if (!tls)
        return;
    SSL_free(tls->ssl);
    tls_context_release(tls->context);
    mp_buffer_destroy(&tls->kept);
    free(account_gone(ACCOUNT_NETWORK, tls));
}

void tls_out_set(struct tls *tls, struct mp_buffer *out)
{
    tls->out = out;
}

void tls_feed(struct tls *tls, const char *data, size_t size)
{
    tls->fed = data;
    tls->fed_size = size;
}

int tls_keep(struct tls *tls)
{
    if (tls->kept_taken == tls->kept.size) {
        tls->kept_taken = 0;
        mp_buffer_reset(&tls->kept, 0);
    }
    if (tls->fed_size > 0)
        mp_put_raw(&tls->kept, tls->fed, tls->fed_size);
    tls->fed_size = 0;
    return tls->kept.failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

bool tls_has_input(const struct tls *tls)
{
    return tls->fed_size > 0 || tls->kept_taken < tls->kept.size || SSL_pending(tls->ssl) > 0;
}

static int failed(struct tls *tls)
{
    tls->failed = true;
    long verified = SSL_get_verify_result(tls->ssl);
    if (verified == X509_V_OK)
        return diag_set(ERROR_PROTOCOL, "TLS: %s", reason());
    ERR_clear_error();
    return diag_set(ERROR_PROTOCOL, "TLS: the client's certificate: %s",
                    X509_verify_cert_error_string(verified));
}

int tls_handshake(struct tls *tls)
{
    if (SSL_is_init_finished(tls->ssl))
        return 1;
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    if (result == 1)
        return 1;
    return SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ ? 0 : failed(tls);
}

bool tls_is_open(const struct tls *tls)
{
    return !tls->failed && SSL_is_init_finished(tls->ssl);
}

int tls_read(struct tls *tls, char *out, size_t size, bool *ended)
{
    size_t done = 0;
    *ended = false;
    while (done < size) {
        size_t room = size - done;
        ERR_clear_error();
        int got = SSL_read(tls->ssl, out + done, room < INT_MAX ? (int)room : INT_MAX);
        if (got > 0) {
            done += (size_t)got;
            continue;
        }
        int error = SSL_get_error(tls->ssl, got);
        if (error == SSL_ERROR_ZERO_RETURN)
            *ended = done == 0; /* else it is said once more next time */
        else if (error != SSL_ERROR_WANT_READ)
            return failed(tls);
        break;
    }
    return (int)done;
}

int tls_write(struct tls *tls, const char *data, size_t size)
{
    while (size > 0) {
        ERR_clear_error();
        int taken = SSL_write(tls->ssl, data, size < INT_MAX ? (int)size : INT_MAX);
        if (taken <= 0)
            return failed(tls);
        data += taken;
        size -= (size_t)taken;
    }
    return 0;
}

void tls_close(struct tls *tls)
{
    ERR_clear_error();
    if (tls_is_open(tls))
        SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

/* ----------------------------------------------------------------------------- who is the peer */

/* A name with a zero byte in it reads differently to different people: it is none. */
static bool name_take(const ASN1_STRING *from, char out[TLS_NAME_BYTES_MAX + 1])
{
    unsigned char *text = NULL;
    int size = from ? ASN1_STRING_to_UTF8(&text, from) : -1;
    bool right = size > 0 && size <= TLS_NAME_BYTES_MAX && !memchr(text, 0, (size_t)size);
    if (right) {
        memcpy(out, text, (size_t)size);
        out[size] = 0;
    }
    OPENSSL_free(text);
    return right;
}

static void common_name(X509 *certificate, char out[TLS_NAME_BYTES_MAX + 1])
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at >= 0)
        name_take(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), out);
}

static void alternative_name(X509 *certificate, char out[TLS_NAME_BYTES_MAX + 1])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool found = false;
    for (int n = 0; !found && n < sk_GENERAL_NAME_num(names); n++) {
        int kind;
        const void *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, n), &kind);
        if (kind == GEN_DNS || kind == GEN_EMAIL || kind == GEN_URI)
            found = name_take(value, out);
    }
    GENERAL_NAMES_free(names);
}

void tls_peer_name(struct tls *tls, enum tls_name which, char out[TLS_NAME_BYTES_MAX + 1])
{
    out[0] = 0;
    X509 *certificate = SSL_get1_peer_certificate(tls->ssl);
    if (certificate && SSL_get_verify_result(tls->ssl) == X509_V_OK && which != TLS_NAME_OFF)
        (which == TLS_NAME_CN ? common_name : alternative_name)(certificate, out);
    X509_free(certificate);
}
