/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_SPACE_PRIVATE_H
#define DB_SPACE_PRIVATE_H

/* What the files of statements on spaces share. */
#include "db/db_private.h"

/* A complete key of a unique index, in the transaction's arena; and space_get by its bytes. */
int db__unique_key(struct txn *txn, struct index *index, const char *key, struct key_bytes *out);
int db__get_key(struct txn *txn, struct index *index, const void *key, size_t key_size,
                struct tuple_ref *out);

#endif
