/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DB_TRIGGER_PRIVATE_H
#define DB_TRIGGER_PRIVATE_H

/*
 * Statements of space.c with the triggers of their space left out, and with them around.
 */
#include "db/db_private.h"
#include "db/trigger.h"

int db__insert(struct txn *txn, struct space *space, const char *tuple, size_t size,
               struct tuple_ref *out);
int db__replace(struct txn *txn, struct space *space, const char *tuple, size_t size,
                struct tuple_ref *out, struct tuple_ref *old);
int db__delete(struct txn *txn, struct index *index, const char *key, struct tuple_ref *old);
int db__update(struct txn *txn, struct index *index, const char *key, const char *ops,
               int field_base, struct tuple_ref *out);
int db__upsert(struct txn *txn, struct space *space, const char *tuple, size_t size,
               const char *ops, int field_base);

/* Parts of them: the row with this key, to be written; writes `changed` over `version`, whose
 * primary key it must have; deletes the row of a version. */
int db__row_find(struct txn *txn, struct index *index, const char *key, const struct version **out);
int db__row_change(struct txn *txn, struct space *space, const struct version *version,
                   const struct tuple_ref *changed, struct tuple_ref *out);
int db__row_delete(struct txn *txn, struct space *space, const struct version *version);

/* Of a space with triggers. */
int db__triggered_put(struct txn *txn, struct space *space, enum trigger_operation operation,
                      const char *tuple, size_t size, struct tuple_ref *out, struct tuple_ref *old);
int db__triggered_delete(struct txn *txn, struct index *index, const char *key,
                         struct tuple_ref *old);
int db__triggered_update(struct txn *txn, struct index *index, const char *key, const char *ops,
                         int field_base, struct tuple_ref *out);
int db__triggered_upsert(struct txn *txn, struct space *space, const char *tuple, size_t size,
                         const char *ops, int field_base);

/* Of a picture being made, when all else is in it: what triggers its spaces have, and which
 * statements may run one. ERROR_CORRUPT. */
int db__triggers_read(struct catalog *catalog);

#endif
