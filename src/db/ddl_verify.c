/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Verification of a space while others use it: a job as those that change one are (ddl_job.c), but
 * for the gates. Each slice looks at some rows in a snapshot of its own:
 *
 *      rows      in the order of their keys; each is what the space's format, constraints and foreign
 *                keys demand, lies under the key that it has, and every index leads to it by every key
 *                that it has there
 *      indexes   one after the other: what a reader of the index is given comes in the order of its
 *                keys, and is what lies under its primary key
 *
 * A version that a snapshot sees keeps its entries for as long as the snapshot lives, so what is
 * missing is missing for good. Indexes that come or go meanwhile are looked at or not.
 */
#include "db/ddl_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/mp.h"
#include "db/space.h"
#include "storage/engine.h"

struct verify {
    struct ddl_job job;
    uint32_t index_id;  /* which is walked over: 0 are the rows */
    struct arena arena; /* of one row's keys */
};

static int damaged(const struct space *space, const char *tuple, const char *words)
{
    char row[128];
    db__row_text(space, tuple, row, sizeof row);
    return diag_set(ERROR_CORRUPT, "space \"%s\", row %s: %s", space->name, row, words);
}

static int damaged_index(const struct index *index, const char *tuple, const char *words)
{
    char text[NAME_SIZE_MAX + 100];
    snprintf(text, sizeof text, "index \"%s\" %s", index->name, words);
    return damaged(index->space, tuple, text);
}

/* ------------------------------------------------------------------------------------------- rows
 */

/* Bytes that are no tuple at all can't be shown. */
static int bytes_check(const struct space *space, const struct version *version)
{
    const char *at = version->bytes, *end = at + version->size;
    if (version->size > 0 && mp_typeof(*at) == MP_ARRAY && mp_check_limited(&at, end) && at == end)
        return 0;
    return diag_set(ERROR_CORRUPT, "space \"%s\": a row of %u bytes is no MessagePack array",
                    space->name, (unsigned)version->size);
}

/* What it has to be, whoever wrote it. */
static int contents_check(struct txn *txn, struct space *space, const struct version *version)
{
    char words[DIAG_MESSAGE_MAX];
    int rc = ddl__row_check(txn, space, version->bytes, version->size);
    if (rc == 0 || rc == ERROR_MEMORY || rc == ERROR_TIMEOUT || rc == ERROR_CANCELLED)
        return rc;
    snprintf(words, sizeof words, "%s", diag_message_for(rc));
    return damaged(space, version->bytes, words);
}

static int primary_check(struct arena *arena, const struct space *space, const struct row *row,
                         const struct version *version)
{
    struct key_bytes key;
    int rc = db__key_of_tuple(arena, space->indexes[0], version->bytes, &key);
    if (rc != 0)
        return rc;
    return key.size == row->key_size && memcmp(key.data, row->key, key.size) == 0
               ? 0
               : damaged(space, version->bytes, "it lies under the key of another row");
}

static bool leads_to(const struct item *item, const struct row *row)
{
    const struct row *to = load_relaxed(&((const struct entry *)(const void *)item)->row);
    return to == row ||
           (to->key_size == row->key_size && memcmp(to->key, row->key, row->key_size) == 0);
}

/* An entry that is not in the tree: it may have left for the body, whose picture is newer than that. */
static int entry_in_body(struct arena *arena, struct txn *txn, const struct index *index,
                         const struct key_bytes *key, const struct version *version)
{
    struct engine_row entry;
    struct head_body *body = index->scan.head->body;
    if (body == NULL)
        return damaged_index(index, version->bytes, "has no entry for it");
    unsigned char *there = arena_alloc(arena, key->size + 1);
    if (there == NULL)
        return diag_set(ERROR_MEMORY, "no memory to verify a space");
    there[0] = index->scan.number;
    if (key->size > 0)
        memcpy(there + 1, key->data, key->size);
    int rc = body_get(load_acquire(&body->view), there, key->size + 1, txn_snapshot_ts(txn), arena,
                      &entry);
    return rc == ERROR_NOT_FOUND ? damaged_index(index, version->bytes, "has no entry for it") : rc;
}

static int entries_check(struct arena *arena, struct txn *txn, const struct index *index,
                         const struct row *row, const struct version *version)
{
    struct key_list keys;
    int rc = db__keys_of_tuple(arena, index, version->bytes, &keys);
    for (uint32_t i = 0; rc == 0 && i < keys.count; i++) {
        const struct key_bytes *key = &keys.keys[i];
        struct item *item = tree_get(index->scan.tree, key->data, key->size);
        if (item == NULL)
            rc = entry_in_body(arena, txn, index, key, version);
        else if (!leads_to(item, row))
            rc = damaged_index(index, version->bytes, "leads to another row from its entry");
    }
    return rc;
}

static int row_verify(struct verify *verify, struct txn *txn, struct space *space,
                      const struct row *row, const struct version *version)
{
    int rc = bytes_check(space, version);
    if (rc == 0)
        rc = contents_check(txn, space, version);
    if (rc == 0)
        rc = primary_check(&verify->arena, space, row, version);
    for (uint32_t i = 1; rc == 0 && i < space->index_count; i++)
        rc = entries_check(&verify->arena, txn, space->indexes[i], row, version);
    return rc;
}

/* ----------------------------------------------------------------------------------------- indexes
 */

static int entry_verify(const struct verify *verify, const struct index *index,
                        const struct txn_cursor *cursor, const struct row *row,
                        const struct version *version)
{
    const struct ddl_job *job = &verify->job;
    const struct item *item = cursor->item;
    size_t common = item->key_size < job->after_size ? item->key_size : job->after_size;
    int order = job->after == NULL ? 1 : memcmp(item->key, job->after, common);
    if (order < 0 || (order == 0 && item->key_size <= job->after_size))
        return damaged_index(index, version->bytes, "has it out of order");
    /* Where rows leave, the one of a body is the reader's own. */
    if (index->scan.head->body == NULL &&
        tree_get(index->space->head->tree, row->key, row->key_size) != (const void *)row)
        return damaged_index(index, version->bytes, "leads to a row that is not in the space");
    return 0;
}

/* ------------------------------------------------------------------------------------------ slices
 */

static int slice_of(struct verify *verify, struct txn *txn, struct space *space,
                    struct index *index)
{
    struct ddl_job *job = &verify->job;
    const struct txn_range range = {.lower = job->after, .lower_size = job->after_size};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    int rc = 0;
    txn_cursor_open(&cursor, txn, &index->scan, &range);
    for (unsigned n = 0; rc == 0 && n < DDL_SLICE_ROWS; n++) {
        rc = txn_cursor_next(&cursor, &row, &version);
        if (rc != 0)
            break;
        arena_reset(&verify->arena);
        rc = index->id == 0 ? row_verify(verify, txn, space, row, version)
                            : entry_verify(verify, index, &cursor, row, version);
        if (rc == 0)
            rc = ddl__job_after_key(job, cursor.item->key, cursor.item->key_size);
        job->rows += index->id == 0;
    }
    return rc;
}

/* The index of the least number from this one on; NULL behind the last. */
static struct index *index_from(const struct space *space, uint32_t id)
{
    for (uint32_t i = 0; i < space->index_count; i++)
        if (space->indexes[i]->id >= id)
            return space->indexes[i];
    return NULL;
}

static int next_index(struct verify *verify, const struct space *space)
{
    struct index *next = index_from(space, verify->index_id + 1);
    if (next == NULL)
        return ERROR_END;
    verify->index_id = next->id;
    verify->job.after = NULL;
    verify->job.after_size = verify->job.after_capacity = 0;
    return 0;
}

static int slice(struct ddl_job *job)
{
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    struct verify *verify = (struct verify *)(void *)job;
    struct txn *txn;
    int rc = txn_begin(job->worker->txn, &options, &txn);
    if (rc != 0)
        return rc;
    struct space *space = catalog_space_by_id(db_catalog(job->worker), job->space_id);
    struct index *index = space == NULL ? NULL : index_from(space, verify->index_id);
    if (space == NULL)
        rc = diag_set(ERROR_NOT_FOUND, "the space that was verified has been dropped");
    else if (index == NULL)
        rc = ERROR_END;
    else if (index->id != verify->index_id)
        rc = next_index(verify, space); /* it has been dropped */
    else
        rc = slice_of(verify, txn, space, index);
    if (rc == ERROR_END && index != NULL)
        rc = next_index(verify, space);
    txn_rollback(txn);
    return rc;
}

static int finish(struct ddl_job *job)
{
    (void)job;
    return 0;
}

static void destroy(struct ddl_job *job)
{
    arena_destroy(&((struct verify *)(void *)job)->arena);
}

static const struct ddl_job_vtab verify_job = {.doing = "is being verified",
                                               .done = "is verified",
                                               .what = "the verification",
                                               .reads_only = true,
                                               .slice = slice,
                                               .finish = finish,
                                               .cancel = finish,
                                               .destroy = destroy};

int ddl_verify_begin(struct db_worker *worker, uint32_t id, struct ddl_job **job)
{
    struct space *space = catalog_space_by_id(db_catalog(worker), id);
    if (space == NULL)
        return diag_set(ERROR_NOT_FOUND, "there is no space with the number %u", (unsigned)id);
    if (ddl_active(worker))
        return diag_set(ERROR_INVALID, "a space is not verified inside of a transaction");
    if (space_id_is_redis(id))
        return diag_set(ERROR_UNSUPPORTED,
                        "space \"%s\" has Redis's data, whose rows are no tuples", space->name);
    int rc = space_usable(space);
    if (rc == 0)
        rc = access_check(worker, ACCESS_READ | ACCESS_ALTER, ACCESS_SPACE, id, space->owner,
                          space->name);
    if (rc != 0)
        return rc;
    struct verify *verify = calloc(1, sizeof *verify);
    if (verify == NULL)
        return diag_set(ERROR_MEMORY, "no memory to verify a space");
    arena_create(&verify->arena, 0);
    ddl__job_begin(&verify->job, &verify_job, worker, space, "space \"%s\"", space->name);
    *job = &verify->job;
    return 0;
}
