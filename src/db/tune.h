/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_TUNE_H
#define DB_TUNE_H

/*
 * What of the database is tuned (base/tuner.h), and by what:
 *
 *   log_flush_interval   under interval and none, 100 to 1000 ms: longer when a flush takes above 20 ms, shorter,
 *                        so that less is lost with the power, when it takes below 2
 *   log_gather           under commit, 0 to 2000 us: how long the log waits, when a block is done, for those whom it has
 *                        served (wal_gather_set). Longer when writing a block takes above 400 us and four times as long,
 *                        and most blocks found somebody waiting for them; shorter when it takes below twice as long, or
 *                        those who are waited for mostly do not come
 *   cache_share          of memory_max, in percent, half to twice memory_cache, once there is a cache: less when the
 *                        head uses above 90% of its limit, more when it uses below 70 and the caches are full
 *   compaction_threads   one more when compaction is behind by more than half of its debt, one less when it is not and
 *                        reads for those who are served take above 5 ms. When both are so, one more from three
 *                        quarters of the debt on, and else none. Up to twice the cores
 *   compaction_step      what compaction writes before it looks for something more urgent, 16 to 1024 KB: half as
 *                        much when that takes above 20 ms, twice when it takes below 2
 *
 * db_options.tuner_limits has other limits: "compaction_threads=1..4, cache_share=10..60". Those of a knob that this
 * database does not have are checked, and mean nothing.
 */
#include "base/tuner.h"
#include "db/db.h"

struct tuner *db_tuner(struct db *db);

#endif
