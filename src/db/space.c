/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Statements on spaces.
 *
 * A write puts the new version on the row, then adds the entries of the secondary indexes, then
 * checks the unique ones: version first, then the entry, then the look for another holder, so that
 * of two that race for a unique key at least one meets the other (invariants 14 and 15). An index
 * whose key the write does not change is left alone. What fails is undone to the savepoint at the
 * statement's start.
 *
 * A writing statement makes the commit depend on the space's catalog row (invariant 21).
 *
 * On a space with triggers trigger.c has the statements, and calls those here with the triggers left
 * out.
 */
#include "db/space.h"
#include "db/db_private.h"
#include "db/format_private.h"
#include "db/space_private.h"
#include "db/trigger_private.h"

#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"
#include "codec/mp.h"
#include "codec/path.h"

/* A view is known by its row: it has no index, so this is asked of few. */
static bool is_view(const struct space *space)
{
    struct path path = {.text = "[6].view", .size = 8};
    return space->row != NULL && path_follow(&path, space->row_version->bytes) != NULL;
}

int db__space_usable(const struct space *space)
{
    if (space->index_count == 0 && is_view(space))
        return diag_set(
            ERROR_READONLY,
            "space \"%s\" is a view: it has no rows, and is written only through a trigger "
            "instead_of",
            space->name);
    if (space->index_count == 0)
        return diag_set(ERROR_SCHEMA,
                        "space \"%s\" has no primary index yet: create one with create_index",
                        space->name);
    return 0;
}

int space_usable(const struct space *space)
{
    return db__space_usable(space);
}

static int space_writable(const struct space *space)
{
    if (space->system)
        return diag_set(ERROR_ACCESS,
                        "system space \"%s\" is changed by box.schema and create_index only",
                        space->name);
    return db__space_usable(space);
}

static void tuple_set(struct tuple_ref *out, const struct version *version)
{
    if (out != NULL)
        *out = version == NULL ? (struct tuple_ref){NULL, 0}
                               : (struct tuple_ref){version->bytes, version->size};
}

static int depend(struct txn *txn, const struct space *space)
{
    if (space->row == NULL)
        return 0;
    struct store *store = space->head->arg;
    return txn_depend(txn, &store->db->space_store->head, space->row, space->row_version);
}

/* What a written row refers to, and what referred to the one that it replaces. */
static int references_check(struct txn *txn, struct space *space, const char *old,
                            const char *tuple)
{
    int rc = 0;
    if (space->foreign_key_count > 0 && !MUTATION(FOREIGN_LOOKED_FIRST))
        rc = db__foreign_parents_check(txn, space, old, tuple);
    if (rc == 0 && space->coming != NULL && space->coming->foreign_key_count > 0 &&
        !MUTATION(ALTER_UNSEEN))
        rc = db__foreign_parents_check(txn, space->coming, NULL, tuple);
    if (rc == 0 && space->referrers != NULL && old != NULL)
        rc = db__foreign_children_settle(txn, space, old, tuple);
    return rc;
}

/* Undoes a statement that has failed. A transaction that is doomed goes as a whole; one that waits
 * keeps its place. */
static int statement_end(struct txn *txn, struct txn_savepoint savepoint, int rc)
{
    if (rc != 0 && !txn_doomed(txn))
        txn_rollback_to(txn, savepoint);
    return rc;
}

/* Writes the tuple under its primary key into all indexes. `old`: the row that it replaces, or NULL;
 * needed when others refer to the space. */
static int tuple_write(struct txn *txn, struct space *space, const struct key_bytes *key,
                       const char *old, const char *tuple, uint32_t size, struct tuple_ref *out)
{
    struct txn_savepoint savepoint = txn_savepoint(txn);
    struct row *row;
    struct version *version;
    int rc = depend(txn, space);
    if (rc == 0 && MUTATION(FOREIGN_LOOKED_FIRST) && space->foreign_key_count > 0)
        rc = db__foreign_parents_check(txn, space, old, tuple);
    if (rc == 0 && MUTATION(ENTRY_FIRST)) {
        rc = db__entries_write_first(txn, space, key, tuple);
        MUTATION_POINT(STATEMENT_WRITES);
    }
    if (rc == 0)
        rc = txn_put(txn, space->head, key->data, key->size, tuple, size, &row, &version);
    if (rc != 0)
        return rc;
    MUTATION_POINT(STATEMENT_WRITES);
    if (!MUTATION(ENTRY_FIRST))
        rc = db__indexes_write(txn, space, version, row);
    if (rc == 0)
        rc = references_check(txn, space, old, version->bytes);
    if (rc == 0)
        tuple_set(out, version);
    return rc == 0 ? 0 : statement_end(txn, savepoint, rc);
}

/* Whether the tuple fits what the space is being altered to, too. */
static int coming_check(const struct space *space, const struct tuple_ref *tuple)
{
    const struct space *coming = space->coming;
    int rc = db__tuple_check(coming, tuple->data, tuple->size);
    if (rc == 0 && coming->constraint_count > 0)
        rc = db__constraints_check(coming, tuple->data);
    return rc == 0 || rc == ERROR_MEMORY ? rc
                                         : diag_add("space \"%s\" is being altered", space->name);
}

/* Makes the tuple what the format says, checks it and computes its primary key. `before`: the row
 * that an update has started from, or NULL. */
static int tuple_prepare(struct txn *txn, struct space *space, const char *before,
                         struct tuple_ref *tuple, struct key_bytes *key)
{
    int rc = 0;
    if (space->sequence != NULL && before == NULL)
        rc = db__sequence_fill(txn, space, tuple);
    if (rc == 0 && space->shaped_count > 0)
        rc = db__tuple_shape(txn_arena(txn), space, before, tuple);
    if (rc == 0)
        rc = db__tuple_check(space, tuple->data, tuple->size);
    if (rc == 0)
        rc = db__key_of_tuple(txn_arena(txn), space->indexes[0], tuple->data, key);
    if (rc == 0 && space->constraint_count > 0)
        rc = db__constraints_check(space, tuple->data);
    if (rc == 0 && space->coming != NULL && !MUTATION(ALTER_UNSEEN))
        rc = coming_check(space, tuple);
    return rc;
}

/* What a caller gives: a size that fits no tuple is refused by the check. */
static struct tuple_ref given(const char *tuple, size_t size)
{
    return (struct tuple_ref){tuple, size > UINT32_MAX ? UINT32_MAX : (uint32_t)size};
}

int db__insert(struct txn *txn, struct space *space, const char *tuple, size_t size,
               struct tuple_ref *out)
{
    struct key_bytes key;
    struct tuple_ref row = given(tuple, size);
    const struct version *present;
    int rc = space_writable(space);
    if (rc == 0)
        rc = tuple_prepare(txn, space, NULL, &row, &key);
    if (rc == 0)
        rc = txn_get_for_update(txn, space->head, key.data, key.size, &present);
    if (rc != 0)
        return rc;
    if (present != NULL)
        return db__duplicate(space->indexes[0]);
    return tuple_write(txn, space, &key, NULL, row.data, row.size, out);
}

static int replace(struct txn *txn, struct space *space, const char *tuple, size_t size,
                   struct tuple_ref *out, struct tuple_ref *old)
{
    struct key_bytes key;
    struct tuple_ref row = given(tuple, size);
    const struct version *present = NULL;
    int rc = tuple_prepare(txn, space, NULL, &row, &key);
    if (rc == 0 && (old != NULL || space->referrers != NULL))
        rc = txn_get_for_update(txn, space->head, key.data, key.size, &present);
    if (rc != 0)
        return rc;
    tuple_set(old, present);
    return tuple_write(txn, space, &key, present == NULL ? NULL : present->bytes, row.data,
                       row.size, out);
}

int db__replace(struct txn *txn, struct space *space, const char *tuple, size_t size,
                struct tuple_ref *out, struct tuple_ref *old)
{
    int rc = space_writable(space);
    return rc != 0 ? rc : replace(txn, space, tuple, size, out, old);
}

int db__space_replace(struct txn *txn, struct space *space, const char *tuple, size_t size)
{
    return replace(txn, space, tuple, size, NULL, NULL);
}

int db__array_check(const char *value, const char *what)
{
    return value != NULL && mp_typeof(*value) == MP_ARRAY
               ? 0
               : diag_set(ERROR_INVALID, "%s must be an array", what);
}

/* The row with this key of a secondary index. */
static int row_find_secondary(struct txn *txn, struct index *index, const struct key_bytes *bytes,
                              bool for_update, const struct version **out)
{
    struct row *row;
    int rc = txn_unique_get(txn, &index->scan, bytes->data, bytes->size, &row, out);
    if (rc != 0 || !for_update)
        return rc == ERROR_END ? 0 : rc;
    /* Under read committed the row may have changed since the index was read: what is going to be
     * written must come from the latest, and that must still have the key. */
    rc = txn_get_for_update(txn, index->space->head, row->key, row->key_size, out);
    struct key_list now;
    if (rc == 0 && *out != NULL)
        rc = db__keys_of_tuple(txn_arena(txn), index, (*out)->bytes, &now);
    if (rc == 0 && *out != NULL && !db__key_listed(&now, bytes->data, bytes->size, true)) {
        txn_doom(txn);
        rc = ERROR_CONFLICT;
    }
    return rc;
}

int db__unique_key(struct txn *txn, struct index *index, const char *key, struct key_bytes *out)
{
    int rc = db__array_check(key, "a key");
    if (rc == 0)
        rc = db__space_usable(index->space);
    if (rc == 0 && !index->unique)
        rc = diag_set(ERROR_INVALID, "index \"%s\" of space \"%s\" is not unique: use select",
                      index->name, index->space->name);
    return rc != 0 ? rc : db__key_of_array(txn_arena(txn), index, key, true, out);
}

/* The row with exactly this key of a unique index. */
static int row_find(struct txn *txn, struct index *index, const char *key, bool for_update,
                    const struct version **out)
{
    struct key_bytes bytes;
    *out = NULL;
    int rc = db__unique_key(txn, index, key, &bytes);
    if (rc != 0)
        return rc;
    if (index->id == 0)
        return for_update ? txn_get_for_update(txn, index->space->head, bytes.data, bytes.size, out)
                          : txn_get(txn, index->space->head, bytes.data, bytes.size, out);
    return row_find_secondary(txn, index, &bytes, for_update, out);
}

int db__get_key(struct txn *txn, struct index *index, const void *key, size_t key_size,
                struct tuple_ref *out)
{
    const struct version *version = NULL;
    struct row *row;
    int rc = index->id == 0 ? txn_get(txn, index->space->head, key, key_size, &version)
                            : txn_unique_get(txn, &index->scan, key, key_size, &row, &version);
    tuple_set(out, rc == 0 ? version : NULL);
    return rc == ERROR_END ? 0 : rc;
}

int space_get(struct txn *txn, struct index *index, const char *key, struct tuple_ref *out)
{
    const struct version *version;
    int rc = row_find(txn, index, key, false, &version);
    tuple_set(out, version);
    return rc;
}

/* Deletes the row of a tuple; its entries go when the version does. */
static int tuple_delete(struct txn *txn, struct space *space, const struct version *version)
{
    struct txn_savepoint savepoint = txn_savepoint(txn);
    struct key_bytes key;
    int rc = db__key_of_tuple(txn_arena(txn), space->indexes[0], version->bytes, &key);
    if (rc == 0)
        rc = depend(txn, space);
    if (rc == 0)
        rc = txn_delete(txn, space->head, key.data, key.size);
    if (rc != 0 || space->referrers == NULL)
        return rc;
    rc = db__foreign_children_settle(txn, space, version->bytes, NULL);
    return rc == 0 ? 0 : statement_end(txn, savepoint, rc);
}

int db__row_find(struct txn *txn, struct index *index, const char *key, const struct version **out)
{
    int rc = space_writable(index->space);
    return rc != 0 ? rc : row_find(txn, index, key, true, out);
}

int db__row_delete(struct txn *txn, struct space *space, const struct version *version)
{
    return tuple_delete(txn, space, version);
}

int db__delete(struct txn *txn, struct index *index, const char *key, struct tuple_ref *old)
{
    const struct version *version;
    tuple_set(old, NULL);
    int rc = space_writable(index->space);
    if (rc == 0)
        rc = row_find(txn, index, key, true, &version);
    if (rc != 0 || version == NULL)
        return rc;
    if ((rc = tuple_delete(txn, index->space, version)) == 0)
        tuple_set(old, version);
    return rc;
}

int db__space_delete(struct txn *txn, struct space *space, const char *key)
{
    const struct version *version;
    int rc = row_find(txn, space->indexes[0], key, true, &version);
    return rc != 0 || version == NULL ? rc : tuple_delete(txn, space, version);
}

int db__row_change(struct txn *txn, struct space *space, const struct version *version,
                   const struct tuple_ref *changed, struct tuple_ref *out)
{
    struct key_bytes before, after;
    struct tuple_ref row = *changed;
    int rc = tuple_prepare(txn, space, version->bytes, &row, &after);
    if (rc == 0)
        rc = db__key_of_tuple(txn_arena(txn), space->indexes[0], version->bytes, &before);
    if (rc != 0)
        return rc;
    if (before.size != after.size || memcmp(before.data, after.data, before.size) != 0)
        return diag_set(
            ERROR_INVALID,
            "an update of space \"%s\" must not change the primary key: delete and insert instead",
            space->name);
    return tuple_write(txn, space, &after, version->bytes, row.data, row.size, out);
}

/* Applies operations to a row and writes the result. */
static int tuple_change(struct txn *txn, struct space *space, const struct version *version,
                        const char *ops, int field_base, struct tuple_ref *out)
{
    struct tuple_ref changed;
    int rc = db__tuple_update(txn_arena(txn), space, version->bytes, ops, field_base, &changed);
    return rc != 0 ? rc : db__row_change(txn, space, version, &changed, out);
}

int db__update(struct txn *txn, struct index *index, const char *key, const char *ops,
               int field_base, struct tuple_ref *out)
{
    const struct version *version;
    tuple_set(out, NULL);
    int rc = space_writable(index->space);
    if (rc == 0)
        rc = db__array_check(ops, "update operations");
    if (rc == 0)
        rc = row_find(txn, index, key, true, &version);
    if (rc != 0 || version == NULL)
        return rc;
    return tuple_change(txn, index->space, version, ops, field_base, out);
}

int db__upsert(struct txn *txn, struct space *space, const char *tuple, size_t size,
               const char *ops, int field_base)
{
    struct key_bytes key;
    struct tuple_ref row = given(tuple, size);
    const struct version *present;
    int rc = space_writable(space);
    if (rc == 0)
        rc = db__array_check(ops, "update operations");
    if (rc == 0)
        rc = tuple_prepare(txn, space, NULL, &row, &key);
    if (rc == 0)
        rc = txn_get_for_update(txn, space->head, key.data, key.size, &present);
    if (rc != 0)
        return rc;
    if (present == NULL)
        return tuple_write(txn, space, &key, NULL, row.data, row.size, NULL);
    return tuple_change(txn, space, present, ops, field_base, NULL);
}

/* ------------------------------------------------------------------------- with or without triggers */

int space_insert(struct txn *txn, struct space *space, const char *tuple, size_t size,
                 struct tuple_ref *out)
{
    if (space->trigger_events == 0)
        return db__insert(txn, space, tuple, size, out);
    return db__triggered_put(txn, space, TRIGGER_INSERT, tuple, size, out, NULL);
}

int space_replace(struct txn *txn, struct space *space, const char *tuple, size_t size,
                  struct tuple_ref *out, struct tuple_ref *old)
{
    if (space->trigger_events == 0)
        return db__replace(txn, space, tuple, size, out, old);
    return db__triggered_put(txn, space, TRIGGER_REPLACE, tuple, size, out, old);
}

int space_delete(struct txn *txn, struct index *index, const char *key, struct tuple_ref *old)
{
    return (index->space->trigger_events == 0 ? db__delete : db__triggered_delete)(txn, index, key,
                                                                                   old);
}

int space_update(struct txn *txn, struct index *index, const char *key, const char *ops,
                 int field_base, struct tuple_ref *out)
{
    if (index->space->trigger_events == 0)
        return db__update(txn, index, key, ops, field_base, out);
    return db__triggered_update(txn, index, key, ops, field_base, out);
}

int space_upsert(struct txn *txn, struct space *space, const char *tuple, size_t size,
                 const char *ops, int field_base)
{
    if (space->trigger_events == 0)
        return db__upsert(txn, space, tuple, size, ops, field_base);
    return db__triggered_upsert(txn, space, tuple, size, ops, field_base);
}

static int space_lockable(const struct space *space)
{
    if (space->system)
        return diag_set(ERROR_ACCESS, "system space \"%s\" can't be locked", space->name);
    return db__space_usable(space);
}

int space_lock_all(struct txn *txn, struct space *space, enum txn_lock mode)
{
    int rc = space_lockable(space);
    return rc != 0 ? rc : txn_lock_space(txn, space->head, mode);
}

int space_lock(struct txn *txn, struct index *index, const char *key, enum txn_lock mode)
{
    struct key_bytes bytes;
    struct space_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc = space_lockable(index->space);
    if (rc == 0)
        rc = db__unique_key(txn, index, key, &bytes);
    if (rc == 0 && index->id == 0)
        return txn_lock_row(txn, index->space->head, bytes.data, bytes.size, mode);
    if (rc == 0)
        rc = space_cursor_open(&cursor, txn, index, ITERATOR_EQ, key);
    if (rc == 0)
        rc = txn_cursor_next(&cursor.cursor, &row, &version);
    if (rc != 0)
        return rc == ERROR_END ? 0 : rc;
    return txn_lock_row(txn, index->space->head, row->key, row->key_size, mode);
}

/* Whether the version belongs under the entry at which the cursor stands: 1, 0 or an error. */
static int still_there(const struct space_cursor *cursor, const struct version *now)
{
    const struct txn_index *scan = &cursor->index->scan;
    if (scan->matches == NULL)
        return 1;
    return scan->matches(scan, (const struct entry *)cursor->cursor.item, now);
}

int space_cursor_next_locked(struct space_cursor *cursor, enum txn_lock mode, struct tuple_ref *out)
{
    struct txn *txn = cursor->cursor.txn;
    struct head *head = cursor->index->space->head;
    int rc = space_lockable(cursor->index->space);
    tuple_set(out, NULL);
    while (rc == 0) {
        struct row *row;
        const struct version *version, *now = NULL;
        rc = txn_cursor_next(&cursor->cursor, &row, &version);
        if (rc == 0)
            rc = txn_lock_row(txn, head, row->key, row->key_size, mode);
        if (rc != 0)
            break;
        /* Under read committed it may have changed before it was locked. */
        txn_statement(txn);
        rc = txn_get(txn, head, row->key, row->key_size, &now);
        int there = rc == 0 && now != NULL ? still_there(cursor, now) : 0;
        if (there > 0) {
            tuple_set(out, now);
            return 0;
        }
        rc = there < 0 ? there : rc;
    }
    return rc;
}

/* Where rows leave the head nobody knows without looking whether a row that is written was there, and
 * the body has an entry of each index besides. */
uint64_t space_len(const struct space *space)
{
    const struct store *store = space->head->arg;
    if (!db__store_leaves(store))
        return txn_head_rows(space->head);
    struct engine_stats body;
    body_stats(store->body, &body);
    return tree_count(space->head->tree) + body.rows / (space->index_count + !space->index_count);
}
