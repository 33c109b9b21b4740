/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_EXPIRY_H
#define DB_EXPIRY_H

/*
 * When rows of a space expire (the option `expire` of db/body_options.h): told to transactions, for which a row
 * that has expired is absent, and to the body, which drops it with its entries when it is compacted (invariant 35).
 */
#include "storage/lsm/lsm.h"
#include "txn/txn.h"

struct expiry {
    struct head_expiry head;
    struct lsm_filter filter;
    struct txn_system *txn;
    uint32_t field; /* from 0 */
    uint64_t after_ms;
};

void expiry_create(struct expiry *expiry, struct txn_system *txn, uint32_t field,
                   uint64_t after_ms);

/* Milliseconds since 1970 at which a tuple expires: the time in its field, a datetime or a number of seconds, and
 * so many later. EXPIRES_NEVER when there is something else, or nothing. */
uint64_t expiry_ms(const char *tuple, uint32_t field, uint64_t after_ms);

#endif
