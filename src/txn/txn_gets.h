/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TXN_TXN_GETS_H
#define TXN_TXN_GETS_H

/* Gets of many keys of a head, made one after another (txn_ahead.c). */
#include "txn/txn.h"

/*
 * Says that calls of txn_get with these keys come next, in this order: where rows leave the head, what the gets would read of the body one
 * after another is read at once. A hint, which decides nothing of what they find: nothing joins the read set, and what
 * fails here fails there. Returns behind how many of the keys it is to be said again of the others, 1 to `count` (at least
 * 1). `gets`, zeros at first, is kept between calls of one caller.
 */
struct txn_gets {
    bool begun;
    unsigned alone,
        useless; /* keys that are not worth it; batches in a row that found all in memory */
};
unsigned txn_gets_ahead(struct txn *txn, struct head *head, const struct engine_key *keys,
                        unsigned count, struct txn_gets *gets);

#endif
