/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Entries and uniqueness of secondary indexes for a tuple that has just been written.
 *
 * The version is there already; now each key that the tuple has in an index gets its entry, and then
 * another holder is looked for: version first, then the entry, then the look, so that of two that
 * race for a unique key at least one meets the other (invariants 14 and 15). A key that the version
 * below has as well is left alone: it is committed or of this transaction and stays in the chain for
 * as long as the new one is uncommitted, so there is an entry, the sweep keeps it for the new
 * version's sake, and nobody else can hold a unique key.
 *
 * Where rows expire, one that has for somebody else may be here still: he sees its unique key free, and may
 * have given it to another row. So there the key is asked for although the version below has it (35).
 *
 * Only an index that is being built may lack the entry of the version below (invariant 29). There
 * every key gets its entry; uniqueness is asked of keys that are new all the same.
 */
#include "db/db_private.h"

#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"

int db__duplicate(const struct index *index)
{
    return diag_set(ERROR_DUPLICATE, "Duplicate key exists in unique index \"%s\" in space \"%s\"",
                    index->name, index->space->name);
}

int db__duplicate_row(const struct index *index, const char *tuple)
{
    char row[128];
    if (tuple == NULL)
        return db__duplicate(index);
    db__row_text(index->space, tuple, row, sizeof row);
    db__duplicate(index);
    return diag_set(ERROR_DUPLICATE, "%s: row %s has a key of another one", diag_message(), row);
}

/* The keys of the version that was written over; none when there is none. */
static void keys_before(struct txn *txn, const struct index *index, const struct version *version,
                        struct key_list *out)
{
    const struct version *before = load_acquire(&version->older);
    if (before == NULL || (version_flags(before) & VERSION_TOMBSTONE) ||
        db__keys_of_tuple(txn_arena(txn), index, before->bytes, out) != 0)
        out->count = 0;
}

static int key_write(struct txn *txn, struct index *index, const struct key_bytes *key, bool had,
                     struct row *row)
{
    bool renewed = had && index->space->head->expiry != NULL && !MUTATION(RENEWED_KEY_UNASKED);
    bool asks = index->unique && !key->has_nil && (!had || renewed);
    if (had && !index->building && !asks)
        return 0;
    int rc = txn_entry_add(txn, &index->scan, key->data, key->size, key->parts_size, row);
    if (rc != 0 || !asks)
        return rc;
    struct row *holder;
    rc = txn_unique_check(txn, &index->scan, key->data, key->parts_size, row, &holder);
    return rc == ERROR_DUPLICATE ? db__duplicate(index) : rc;
}

static int index_write(struct txn *txn, struct index *index, const struct version *version,
                       struct row *row)
{
    struct key_list keys, before;
    int rc = db__keys_of_tuple(txn_arena(txn), index, version->bytes, &keys);
    if (rc != 0 || keys.count == 0)
        return rc;
    keys_before(txn, index, version, &before);
    for (uint32_t i = 0; rc == 0 && i < keys.count; i++) {
        const struct key_bytes *key = &keys.keys[i];
        bool had = db__key_listed(&before, key->data, key->size, false);
        rc = key_write(txn, index, key, had, row);
    }
    return rc;
}

int db__indexes_write(struct txn *txn, struct space *space, const struct version *version,
                      struct row *row)
{
    int rc = 0;
    for (uint32_t i = 1; rc == 0 && i < space->index_count; i++)
        rc = index_write(txn, space->indexes[i], version, row);
    if (rc == 0 && space->building != NULL && !MUTATION(BUILD_UNSEEN))
        rc = index_write(txn, space->building, version, row);
    return rc;
}

int db__entries_write_first(struct txn *txn, struct space *space, const struct key_bytes *key,
                            const char *tuple)
{
    struct row *row = (struct row *)tree_get(space->head->tree, key->data, key->size);
    int rc = 0;
    for (uint32_t i = 1; rc == 0 && row != NULL && i < space->index_count; i++) {
        struct key_list keys;
        rc = db__keys_of_tuple(txn_arena(txn), space->indexes[i], tuple, &keys);
        for (uint32_t n = 0; rc == 0 && n < keys.count; n++)
            rc = txn_entry_add(txn, &space->indexes[i]->scan, keys.keys[n].data, keys.keys[n].size,
                               keys.keys[n].parts_size, row);
    }
    return rc;
}
