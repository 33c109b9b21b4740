/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_GEO_H
#define REDIS_REDIS_GEO_H

/* What commands on places have in common: arguments and replies. */
#include "redis/redis_geohash.h"
#include "redis/redis_zset.h"

/* argv[n] and argv[n + 1], longitude and latitude; ERROR_INVALID with Redis's message. */
int redis_geo_place_arg(const struct redis_call *call, unsigned n, struct redis_place *out);

/* argv[n], a unit, in meters; ERROR_INVALID with Redis's message. */
int redis_geo_unit_arg(const struct redis_call *call, unsigned n, double *meters);

void redis_geo_reply_place(struct redis_call *call, struct redis_place place);
void redis_geo_reply_distance(struct redis_call *call, double distance);

#endif
