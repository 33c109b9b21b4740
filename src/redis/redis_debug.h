/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_DEBUG_H
#define REDIS_REDIS_DEBUG_H

/* The subcommands of DEBUG that work on keys; the others are the server's. */
#include "redis/redis.h"

/* `debug object key` and `debug populate count [prefix [size]]`: argv[0] is "debug". */
extern const struct redis_command redis_debug_object, redis_debug_populate;

/* `debug digest` and `debug digest-value key ..`: redis_debug_digest.c. */
extern const struct redis_command redis_debug_digest, redis_debug_digest_value;

#endif
