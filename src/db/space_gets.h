/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_SPACE_GETS_H
#define DB_SPACE_GETS_H

/*
 * Gets of many keys of a unique index, one after another, each as space_get gives it. What those by the primary index have
 * to read from files is read at once, for up to SPACE_GETS_BATCH keys. `keys` is an array of keys, valid
 * while they go on; one that is no array is an array's only part. space_gets_next gives the tuple of the next key; it is
 * called at most `count` times. Its error says which of the keys is wrong.
 */
#include "db/space.h"
#include "txn/txn_gets.h"

enum { SPACE_GETS_BATCH = ENGINE_PREFETCH_MAX };
struct space_gets {
    uint32_t count;
    /* Private. */
    struct txn *txn;
    struct index *index;
    const char *rest; /* keys that stand in no batch yet; the number of the first, from 1 */
    uint32_t rest_number;
    struct engine_key keys[SPACE_GETS_BATCH];
    unsigned ready, next, fetched; /* keys of the batch; which is next; those asked for */
    struct txn_gets ahead;
};
int space_gets_open(struct space_gets *gets, struct txn *txn, struct index *index,
                    const char *keys);
int space_gets_next(struct space_gets *gets, struct tuple_ref *out);

#endif
