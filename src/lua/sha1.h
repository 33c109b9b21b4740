/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LUA_SHA1_H
#define LUA_SHA1_H

/* SHA-1 (FIPS 180-4), which names Redis scripts. Not for security. */
#include <stddef.h>

/* Writes 40 lower-case hexadecimal digits and a zero. */
void lua__sha1_hex(const void *data, size_t size, char out[41]);

#endif
