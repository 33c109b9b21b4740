/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_BIT_H
#define REDIS_REDIS_BIT_H

/* What the commands on bits share. */
#include <stddef.h>
#include <stdint.h>

#include "redis/redis_value.h"

/* A bit is in a string, which has at most so many bytes. */
enum { REDIS_BIT_BYTES_MAX = 512 * 1024 * 1024 };

/* The number of a bit. With a `scale`, "#3" is 3 times it. 0, or ERROR_INVALID with Redis's message.
 */
int redis_bit_offset(const struct redis_slice *text, unsigned scale, uint64_t *out);

/* A copy of the string in the transaction's arena, followed by zeros up to `size` bytes; longer ones
 * stay as long as they are. 0, ERROR_MEMORY or ERROR_TOO_LARGE. */
int redis_bit_grown(struct redis_call *call, const struct redis_value *value, size_t size,
                    unsigned char **out, size_t *out_size);

#endif
