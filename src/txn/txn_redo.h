/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TXN_TXN_REDO_H
#define TXN_TXN_REDO_H

/*
 * Redo records: what a transaction wrote, as after-images (invariant 3). A body is a sequence of
 * operations:
 *
 *      varint head id, varint head incarnation, varint key size,
 *      varint data size + 1 or 0 for a tombstone, key, data
 *
 * varint: little-endian groups of seven bits, the high bit says that more follow; at most 10 bytes.
 */
#include "txn/txn_private.h"

/* Bytes that the redo record of the transaction's writes takes. A row written several times counts
 * once, with its last version. */
size_t txn__redo_size(struct txn *txn);

/* Writes it to `out`, which has that much room. */
void txn__redo_write(struct txn *txn, char *out);

#endif
