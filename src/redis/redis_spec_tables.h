/* SPDX-License-Identifier: Apache-2.0 */
#ifndef REDIS_REDIS_SPEC_TABLES_H
#define REDIS_REDIS_SPEC_TABLES_H

/*
 * The two tables behind redis_spec.h, each in order of name, and short words for their rows. For the
 * files of this folder only.
 */
#include "redis/redis_spec.h"

/* redis_spec_data.c: commands on keys. redis_spec_server.c: those of connections and the server. */
extern const struct redis_spec redis__spec_data[], redis__spec_server[];
extern const unsigned redis__spec_data_count, redis__spec_server_count;

/* Nearly every key: argument 1, alone. */
#define ONE_KEY " 1 0,1,0"

#endif
