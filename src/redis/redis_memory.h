/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_MEMORY_H
#define REDIS_REDIS_MEMORY_H

/* MEMORY USAGE, which is a data command although the other subcommands are the server's. */
#include "redis/redis.h"

/* `memory usage key [samples n]`: argv[0] is "memory". */
extern const struct redis_command redis_memory_usage;

#endif
