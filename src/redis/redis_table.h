/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_TABLE_H
#define REDIS_REDIS_TABLE_H

/*
 * The parts of the command table, one file a type (redis_table_*.c), each in order of name with an
 * empty row behind the last; redis_table.c puts them together. Short words keep a row on two lines.
 */
#include "redis/redis.h"
#include "redis/redis_commands.h"

#define W        REDIS_WRITE
#define R        REDIS_READONLY
#define F        REDIS_FAST
#define M        REDIS_DENY_OOM
#define B        REDIS_BLOCKING
#define MOVABLE  REDIS_MOVABLE
#define SHORT    REDIS_SHORT
#define ONE      REDIS_ONE_ROW
#define KEY      1, 1, 1, 0
#define KEYS     1, -1, 1, 0
#define PAIRS    1, -1, 2, 0
#define NO_KEYS  0, 0, 0, 0
#define TWO_KEYS 1, 2, 1, 0
/* The keys follow argument n, which counts them. With STORE_NUMKEYS argument 1 is one as well. */
#define NUMKEYS(n)       0, 0, 0, n
#define STORE_NUMKEYS(n) 1, 1, 1, n

extern const struct redis_command redis__string_commands[];
extern const struct redis_command redis__key_commands[];
extern const struct redis_command redis__bit_commands[];
extern const struct redis_command redis__hash_commands[];
extern const struct redis_command redis__list_commands[];
extern const struct redis_command redis__set_commands[];
extern const struct redis_command redis__stream_commands[];
extern const struct redis_command redis__zset_commands[];
extern const struct redis_command redis__geo_commands[];

#endif
