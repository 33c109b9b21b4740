/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_TUNE_H
#define DB_TUNE_H

/*
 * What of the database is tuned (base/tuner.h), and by what:
 *
 *   log_flush_interval   under interval and none, 100 to 1000 ms: longer when a flush takes above 20 ms, shorter,
 *                        so that less is lost with the power, when it takes below 2
 *   cache_share          of memory_max, in percent, half to twice memory_cache, once there is a cache: less when the
 *                        head uses above 90% of its limit, more when it uses below 70 and the caches are full
 */
#include "base/tuner.h"
#include "db/db.h"

struct tuner *db_tuner(struct db *db);

#endif
