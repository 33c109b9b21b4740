/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_ZSET_ADD_H
#define REDIS_REDIS_ZSET_ADD_H

/* What ZADD, ZINCRBY and GEOADD have in common. */
#include "redis/redis_zset.h"

struct redis_zset_add {
    bool nx, xx, gt, lt, ch, incr;
};

/* Reads options from argv[2] on; *first: the argument behind them. Conflicts are not looked at. */
void redis_zset_add_options(const struct redis_call *call, struct redis_zset_add *options,
                            unsigned *first);

/* Adds entries to argv[1] and replies; with `incr` it is one. */
int redis_zset_add(struct redis_call *call, const struct redis_zset_add *options,
                   const struct redis_zset_entry *entries, size_t count);

#endif
