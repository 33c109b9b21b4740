/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_WATCH_H
#define DB_WATCH_H

/*
 * Where the watches stand that are kept in the database (src/stream): positions in the log, which
 * survive a restart and keep what is behind them.
 *
 *      _watch           [id, owner, name, space id, options {from, revision, ..}]
 *      _watch_position  [id, position, revision]      none: it stands at `from`
 *
 * The first is a part of the catalog (db/ddl.h); the second is written whenever a watch has got on.
 * A watch that was dropped and one that got its id later are told apart by the revision, a random
 * number in the definition.
 */
#include <stdint.h>

#include "db/db.h"

/* The position of the watch; ERROR_NOT_FOUND: it is gone, or has been replaced. Outside of a
 * transaction of the worker's. */
int db_watch_position(struct db_worker *worker, uint32_t id, uint64_t revision, uint64_t *position);
int db_watch_position_set(struct db_worker *worker, uint32_t id, uint64_t revision,
                          uint64_t position);

#endif
