/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_PASSWORD_H
#define CODEC_PASSWORD_H

/*
 * Passwords as they are kept: scrypt (RFC 7914) of the password and a random salt, with the
 * parameters it was made with, so that later ones may cost more. Computing one takes some 50 ms and
 * 16 MiB on purpose. No function keeps or shows a password.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PASSWORD_SALT_SIZE = 16,
    PASSWORD_HASH_SIZE = 32,
    PASSWORD_SIZE_MAX = 1024,
    PASSWORD_FINGERPRINT_SIZE = 32
};

struct password {
    uint32_t n, r, p; /* scrypt's cost, block size and parallelism */
    unsigned char salt[PASSWORD_SALT_SIZE];
    unsigned char hash[PASSWORD_HASH_SIZE];
};

/* With a new salt and today's parameters. ERROR_INVALID (longer than PASSWORD_SIZE_MAX),
 * ERROR_MEMORY, ERROR_IO (no random bytes). */
int password_make(struct password *out, const char *text, size_t size);

/* 0, ERROR_ACCESS (another password), ERROR_INVALID (parameters that nobody made), ERROR_MEMORY.
 * Takes the same time whatever differs. */
int password_verify(const struct password *password, const char *text, size_t size);

/* Whether the parameters may be computed with: memory and time are bounded. */
bool password_valid(const struct password *password);

/* Compares in a time that depends on `size` only. */
bool password_bytes_equal(const void *left, const void *right, size_t size);

/*
 * HMAC-SHA-256 of a record and a text, for remembering for a while that they belong together:
 * `key` is random bytes of the process's own. False: memory was out.
 */
bool password_fingerprint(unsigned char out[PASSWORD_FINGERPRINT_SIZE],
                          const unsigned char key[PASSWORD_FINGERPRINT_SIZE],
                          const struct password *password, const char *text, size_t size);

/* Random bytes that nobody can guess. ERROR_IO. */
int password_random(void *out, size_t size);

#endif
