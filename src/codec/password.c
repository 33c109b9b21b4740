/* SPDX-License-Identifier: Apache-2.0 */

/*
 * OpenSSL's scrypt, HMAC and constant-time comparison.
 *
 * N = 2^14, r = 8, p = 1 are the parameters that the inventor gave for interactive logins. What a
 * record of the catalog says is not believed blindly: parameters beyond a bound would be a way to
 * make the server compute for minutes.
 */
#include "codec/password.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"

enum { N_NOW = 1 << 14, R_NOW = 8, P_NOW = 1 };
enum { N_MAX = 1 << 20, R_MAX = 32, P_MAX = 16 };
#define MEMORY_MAX (UINT64_C(256) << 20)

int password_random(void *out, size_t size)
{
    unsigned char *at = out;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return ERROR_IO;
        at += got;
        size -= (size_t)got;
    }
    return 0;
}

static uint64_t memory_of(const struct password *password)
{
    return UINT64_C(128) * password->r * ((uint64_t)password->n + password->p + 2);
}

bool password_valid(const struct password *password)
{
    return password->n >= 2 && password->n <= N_MAX && (password->n & (password->n - 1)) == 0 &&
           password->r >= 1 && password->r <= R_MAX && password->p >= 1 && password->p <= P_MAX &&
           memory_of(password) <= MEMORY_MAX;
}

static int compute(const struct password *password, const char *text, size_t size,
                   unsigned char out[PASSWORD_HASH_SIZE])
{
    if (!password_valid(password))
        return ERROR_INVALID;
    return EVP_PBE_scrypt(text, size, password->salt, sizeof password->salt, password->n,
                          password->r, password->p, MEMORY_MAX + (UINT64_C(1) << 20), out,
                          PASSWORD_HASH_SIZE) == 1
               ? 0
               : ERROR_MEMORY;
}

int password_make(struct password *out, const char *text, size_t size)
{
    *out = (struct password){.n = N_NOW, .r = R_NOW, .p = P_NOW};
    if (size > PASSWORD_SIZE_MAX)
        return ERROR_INVALID;
    int rc = password_random(out->salt, sizeof out->salt);
    return rc ? rc : compute(out, text, size, out->hash);
}

int password_verify(const struct password *password, const char *text, size_t size)
{
    unsigned char hash[PASSWORD_HASH_SIZE];
    if (size > PASSWORD_SIZE_MAX)
        return ERROR_ACCESS;
    int rc = compute(password, text, size, hash);
    if (!rc && !password_bytes_equal(hash, password->hash, sizeof hash))
        rc = ERROR_ACCESS;
    OPENSSL_cleanse(hash, sizeof hash);
    return rc;
}

bool password_bytes_equal(const void *left, const void *right, size_t size)
{
    return CRYPTO_memcmp(left, right, size) == 0;
}

bool password_fingerprint(unsigned char out[PASSWORD_FINGERPRINT_SIZE],
                          const unsigned char key[PASSWORD_FINGERPRINT_SIZE],
                          const struct password *password, const char *text, size_t size)
{
    unsigned char message[sizeof *password + PASSWORD_SIZE_MAX];
    unsigned int length = 0;
    if (size > PASSWORD_SIZE_MAX)
        return false;
    memcpy(message, password, sizeof *password); /* no padding: words and bytes in fours */
    memcpy(message + sizeof *password, text, size);
    bool done = HMAC(EVP_sha256(), key, PASSWORD_FINGERPRINT_SIZE, message, sizeof *password + size,
                     out, &length) != NULL &&
                length == PASSWORD_FINGERPRINT_SIZE;
    OPENSSL_cleanse(message, sizeof message);
    return done;
}
