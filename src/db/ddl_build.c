/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Indexes that are built while others write (invariant 29).
 *
 *      gate   the row of _index says `building`; the picture has the index where writers see it
 *      fill   every version that is there gets its entries, some rows at a time, beside the writers
 *      gate   what was in doubt is looked at once more; the row says nothing of `building` any more
 *
 * All who write after the first gate maintain the index: their versions have entries, and their keys
 * are compared with those that are in it. So what the filling has to add are the versions from
 * before, and of these it finds each that anybody may still want to see: what is pruned meanwhile no
 * snapshot needs.
 *
 * Uniqueness. Of two rows with one key each pair is met by one of the two: two old ones by the
 * filling, when it comes to the later one; two new ones by their writers (invariant 15); an old and a
 * new one by whichever of the filling and the writer looks second, since both add first, fence, and
 * look then. A writer that meets an old row is refused as by any unique index. The filling that meets
 * a version whose transaction goes on can't say yet: such keys are looked at again in the second
 * gate, when nobody writes. Rows that share a key from before are a duplicate, which ends the build.
 *
 * Rows that have left the head get their entries from a thread and checkpoints (checkpoint_build.c), which
 * the job waits for. What is in the head then is in the body as well, or its writer knew the index, so
 * nothing has to be filled in here.
 *
 * When it fails the index is taken away again as if it had been dropped. When the server dies
 * meanwhile the row is found at the next start, where it leads to nothing and is deleted.
 *
 * The log says of an index that it is whole, but has none of the entries that a body has got. Where bodies
 * of a backup meet a log that goes on behind it (restore.c) each index of theirs that is younger
 * than the backup is therefore made again.
 */
#include "db/checkpoint_build.h"
#include "db/ddl_private.h"

#include <stdlib.h>
#include <string.h>

#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"

enum { WAIT_NS = 1000 * 1000 };

/* A key of which the filling could not say whether two rows have it. */
struct suspect {
    struct suspect *next;
    size_t size;
    unsigned char key[];
};

struct build {
    struct ddl_job job;
    struct catalog *catalog; /* under which it began; a reference */
    struct space *space;
    struct index *index;
    uint32_t index_id;
    struct mp_buffer ready; /* the row of _index in the end */
    struct arena arena;     /* of one row's keys */
    struct suspect *suspects;
    struct row *row;         /* the present one */
    struct body_build *body; /* where rows leave the head; or NULL */
};

static struct index *building_of(const struct catalog *catalog, uint32_t space_id,
                                 uint32_t index_id)
{
    struct space *space = catalog_space_by_id(catalog, space_id);
    return space == NULL || space->building == NULL || space->building->id != index_id
               ? NULL
               : space->building;
}

static int suspect_add(struct build *build, const struct key_bytes *key)
{
    struct suspect *suspect = arena_alloc(&build->job.kept, sizeof *suspect + key->parts_size);
    if (suspect == NULL)
        return diag_set(ERROR_MEMORY, "no memory to build index \"%s\"", build->index->name);
    suspect->next = build->suspects;
    suspect->size = key->parts_size;
    memcpy(suspect->key, key->data, key->parts_size);
    build->suspects = suspect;
    return 0;
}

static int key_fill(struct build *build, const struct version *version, const struct key_bytes *key,
                    bool newest)
{
    struct txn_worker *worker = build->job.worker->txn;
    struct txn_index *scan = &build->index->scan;
    int rc =
        txn_entry_fill(worker, scan, key->data, key->size, key->parts_size, build->row, version);
    if (rc != 0 || !newest || !build->index->unique || key->has_nil ||
        txn_expired_for_all(scan->head, version->bytes))
        return rc;
    switch (txn_unique_look(worker, scan, key->data, key->parts_size, build->row, version)) {
    case TXN_HOLDER_NONE:
        return 0;
    case TXN_HOLDER_COMMITTED:
        return db__duplicate_row(build->index, version->bytes);
    default:
        return suspect_add(build, key);
    }
}

/* Only the newest committed version must be one that the index can have: of an older one the reason
 * may be a change of format since, and one that is not committed is its writer's affair. */
static int version_fill(const struct version *version, enum txn_version_state state, void *arg)
{
    struct build *build = arg;
    bool newest = state == TXN_VERSION_NEWEST;
    struct key_list keys;
    int rc = db__keys_of_tuple(&build->arena, build->index, version->bytes, &keys);
    if (rc != 0)
        return newest || rc == ERROR_MEMORY ? rc : 0;
    for (uint32_t i = 0; rc == 0 && i < keys.count; i++)
        rc = key_fill(build, version, &keys.keys[i], newest);
    return rc;
}

/* A few rows, in a reclamation epoch of their own. ERROR_END: these were the last. */
static int slice_fill(struct ddl_job *job)
{
    struct build *build = (struct build *)job;
    struct txn_worker *worker = job->worker->txn;
    struct tree_cursor cursor;
    struct item *item = NULL;
    int rc = 0;
    txn_worker_enter(worker);
    tree_cursor_create(&cursor, build->space->head->tree, job->after, job->after_size, false,
                       false);
    for (unsigned n = 0; rc == 0 && n < DDL_SLICE_ROWS; n++) {
        if ((item = tree_cursor_next(&cursor, NULL)) == NULL) {
            rc = ERROR_END;
            break;
        }
        build->row = (struct row *)item;
        rc = txn_row_each(build->row, version_fill, build);
        arena_reset(&build->arena);
        job->rows++;
    }
    if (rc == 0)
        rc = ddl__job_after(job, (struct row *)item);
    txn_worker_leave(worker);
    return rc;
}

static int count_newest(const struct version *version, enum txn_version_state state, void *arg)
{
    if (state != TXN_VERSION_NEWEST)
        return 0;
    *(const struct version **)arg = version;
    return ERROR_END;
}

static bool same_row(const struct engine_key *key, const struct row *row)
{
    return key->size == row->key_size && memcmp(key->data, row->key, key->size) == 0;
}

/* In the gate: whether two rows have the key; the first one in the head, if there is such a one, in
 * *first. */
static int suspect_check(const struct index *index, const struct engine_key *suspect,
                         struct engine_key *first)
{
    struct tree_cursor cursor;
    struct item *item;
    tree_cursor_create(&cursor, index->scan.tree, suspect->data, suspect->size, true, false);
    while ((item = tree_cursor_next(&cursor, NULL)) != NULL && item->key_size >= suspect->size &&
           memcmp(item->key, suspect->data, suspect->size) == 0) {
        struct entry *entry = (struct entry *)item;
        const struct row *row = load_acquire(&entry->row);
        const struct version *newest = NULL;
        txn_row_each(row, count_newest, &newest);
        if (newest == NULL || txn_expired_for_all(index->scan.head, newest->bytes) ||
            index->scan.matches(&index->scan, entry, newest) == 0)
            continue;
        if (first->data != NULL && !same_row(first, row))
            return db__duplicate_row(index, newest->bytes);
        *first = (struct engine_key){row->key, row->key_size};
    }
    return 0;
}

/* The same where rows leave the head: they are looked for in the body behind that. What is not committed
 * is that of a transaction that is parked, which this change ends. */
static int body_suspect_check(struct ddl *ddl, struct index *index,
                              const struct engine_key *suspect)
{
    struct arena *arena = txn_arena(ddl->txn);
    struct engine_key first = {NULL, 0}, other;
    const struct version *version;
    enum txn_holder found;
    int rc = suspect_check(index, suspect, &first);
    found = TXN_HOLDER_COMMITTED;
    if (rc == 0 && first.data == NULL)
        rc = txn_body_holder(&index->scan, suspect, &first, arena, &found, &first);
    if (rc != 0 || found != TXN_HOLDER_COMMITTED)
        return rc;
    rc = txn_body_holder(&index->scan, suspect, &first, arena, &found, &other);
    if (rc != 0 || found != TXN_HOLDER_COMMITTED)
        return rc;
    rc = txn_get(ddl->txn, index->space->head, other.data, other.size, &version);
    return rc != 0 ? rc : db__duplicate_row(index, version == NULL ? NULL : version->bytes);
}

static int suspects_check(struct ddl *ddl, const struct build *build, struct index *index)
{
    int rc = 0;
    for (struct suspect *suspect = build->suspects; rc == 0 && suspect != NULL;
         suspect = suspect->next)
        rc = suspect_check(index, &(struct engine_key){suspect->key, suspect->size},
                           &(struct engine_key){NULL, 0});
    if (build->body == NULL)
        return rc;
    for (const struct build_suspect *suspect = db__body_build_suspects(build->body);
         rc == 0 && suspect != NULL; suspect = suspect->next)
        rc = body_suspect_check(ddl, index, &suspect->key);
    return rc;
}

/* The last gate: the index is one as any other. */
static int ready_make(struct ddl *ddl, void *arg)
{
    const struct build *build = arg;
    struct space *space = catalog_space_by_id(ddl->before, build->job.space_id);
    struct index *index = building_of(ddl->before, build->job.space_id, build->index_id);
    if (index == NULL)
        return diag_set(ERROR_NOT_FOUND, "the index that was to be built is gone");
    int rc = suspects_check(ddl, build, index);
    if (rc != 0)
        return rc;
    if (index->again)
        return ddl__again_take(ddl, space, index->id);
    mp_buffer_reset(&ddl->tuple, 65536);
    mp_put_raw(&ddl->tuple, build->ready.data, build->ready.size);
    rc = ddl__put(ddl, SPACE_ID_INDEX);
    return rc != 0 ? rc : ddl__space_touch(ddl, space);
}

static int finish(struct ddl_job *job)
{
    crash_point("index.build.filled");
    return ddl__run(job->worker, ready_make, NULL, job);
}

/* The index is taken away. */
static int cancel_make(struct ddl *ddl, void *arg)
{
    const struct build *build = arg;
    struct space *space = catalog_space_by_id(ddl->before, build->job.space_id);
    const struct index *index = building_of(ddl->before, build->job.space_id, build->index_id);
    if (index == NULL)
        return 0;
    if (index->again)
        return ddl__again_end(ddl, space);
    struct mp_buffer *key = ddl__tuple(ddl, 2);
    mp_put_uint(key, build->job.space_id);
    mp_put_uint(key, build->index_id);
    int rc = ddl__delete(ddl, SPACE_ID_INDEX);
    if (rc == 0)
        rc = ddl__tree_drop(ddl, space->head->arg, build->index_id);
    return rc != 0 ? rc : ddl__space_touch(ddl, space);
}

/* What fills the index ends first: it looks up nothing in a tree that goes. */
static int cancel(struct ddl_job *job)
{
    struct build *build = (struct build *)job;
    if (build->body != NULL)
        db__body_build_end(build->body, job->worker);
    build->body = NULL;
    return ddl__run(job->worker, cancel_make, NULL, job);
}

static void destroy(struct ddl_job *job)
{
    struct build *build = (struct build *)job;
    if (build->body != NULL)
        db__body_build_end(build->body, job->worker);
    arena_destroy(&build->arena);
    mp_buffer_destroy(&build->ready);
    db__catalog_release(build->catalog);
}

static const struct ddl_job_vtab build_job = {.doing = "is being built",
                                              .done = "is built",
                                              .slice = slice_fill,
                                              .finish = finish,
                                              .cancel = cancel,
                                              .destroy = destroy};

/* Somebody else works: there is nothing to do for a moment. */
static int slice_wait(struct ddl_job *job)
{
    struct build *build = (struct build *)job;
    int rc =
        build->body != NULL ? 0 : db__body_build_begin(job->worker, build->index, &build->body);
    if (rc != 0)
        return rc;
    rc = db__body_build_wait(build->body, WAIT_NS);
    job->rows = db__body_build_rows(build->body);
    return rc == ERROR_WAIT ? 0 : rc == 0 ? ERROR_END : rc;
}

static const struct ddl_job_vtab body_job = {.doing = "is being built",
                                             .done = "is built",
                                             .waits = true,
                                             .slice = slice_wait,
                                             .finish = finish,
                                             .cancel = cancel,
                                             .destroy = destroy};

static const struct ddl_job_vtab build_again_job = {.doing = "is being rebuilt",
                                                    .done = "is rebuilt",
                                                    .slice = slice_fill,
                                                    .finish = finish,
                                                    .cancel = cancel,
                                                    .destroy = destroy};

static const struct ddl_job_vtab body_again_job = {.doing = "is being rebuilt",
                                                   .done = "is rebuilt",
                                                   .waits = true,
                                                   .slice = slice_wait,
                                                   .finish = finish,
                                                   .cancel = cancel,
                                                   .destroy = destroy};

int ddl__build_new(struct ddl_job **out)
{
    struct build *build = calloc(1, sizeof *build);
    if (build == NULL)
        return diag_set(ERROR_MEMORY, "no memory for an index");
    *out = &build->job;
    return 0;
}

int ddl__build_begin(struct ddl_job *job, struct db_worker *worker, uint32_t space_id,
                     uint32_t index_id, struct mp_buffer *ready)
{
    struct build *build = (struct build *)job;
    crash_point("index.build.begun");
    struct catalog *catalog = (struct catalog *)db_catalog(worker);
    struct index *index = building_of(catalog, space_id, index_id);
    if (index == NULL)
        return diag_set(ERROR_NOT_FOUND, "the index that was to be built is gone");
    atomic_fetch_add(&catalog->references, 1);
    build->catalog = catalog;
    build->index = index;
    build->index_id = index_id;
    build->space = index->space;
    if (ready != NULL) {
        build->ready = *ready;
        mp_buffer_create(ready);
    } else {
        mp_buffer_create(&build->ready);
    }
    arena_create(&build->arena, 1 << 16);
    const struct ddl_job_vtab *vtab = index->again ? &build_again_job : &build_job;
    if (index->space->head->body != NULL)
        vtab = index->again ? &body_again_job : &body_job;
    ddl__job_begin(job, vtab, worker, index->space, "index \"%s\" of space \"%s\"", index->name,
                   index->space->name);
    return 0;
}

/* After a start: rows of indexes that were being built lead to nothing. */
static int forget(struct ddl *ddl, void *arg)
{
    struct txn_index scan = {.tree = ddl->db->index_store->head.tree,
                             .head = &ddl->db->index_store->head};
    struct txn_cursor cursor;
    struct row *row;
    const struct version *version;
    (void)arg;
    int rc;
    txn_cursor_open(&cursor, ddl->txn, &scan, &(struct txn_range){0});
    while ((rc = txn_cursor_next(&cursor, &row, &version)) == 0) {
        if (!db__index_row_building(version->bytes))
            continue;
        const char *id = mp_array_at(version->bytes, 0), *end = mp_array_at(version->bytes, 2);
        struct mp_buffer *key = ddl__tuple(ddl, 2);
        mp_put_raw(key, id, (size_t)(end - id));
        if ((rc = ddl__delete(ddl, SPACE_ID_INDEX)) != 0)
            return rc;
    }
    return rc == ERROR_END ? 0 : rc;
}

int db__builds_forget(struct db *db)
{
    struct db_worker *worker;
    int rc = db_worker_open(db, &worker);
    if (rc != 0)
        return rc;
    rc = ddl__run(worker, forget, NULL, NULL);
    db_worker_close(worker);
    return rc;
}

/* ------------------------------------------------------------------------------- what was restored */

/* An index of which the body may have nothing. */
struct again {
    struct again *next;
    uint32_t space_id, index_id;
    struct mp_buffer ready; /* its row */
};

static bool in_files(const struct space *space)
{
    struct engine_stats stats;
    if (space == NULL || space->system || ddl__resident(space))
        return false;
    body_stats(((const struct store *)space->head->arg)->body, &stats);
    return stats.files > 0;
}

/* Notes the row of _index if it is from behind k and of a space that has rows in files. */
static int again_note(const struct catalog *catalog, struct arena *arena, const char *tuple,
                      struct again **list)
{
    const char *data = tuple;
    uint64_t space_id, id;
    if (mp_decode_array(&data) < 6 || !mp_read_uint(&data, &space_id) || !mp_read_uint(&data, &id))
        return diag_set(ERROR_CORRUPT, "a row of _index is damaged");
    if (id == 0 || db__index_row_building(tuple) ||
        !in_files(catalog_space_by_id(catalog, (uint32_t)space_id)))
        return 0;
    struct again *again = arena_alloc(arena, sizeof *again);
    if (again == NULL)
        return diag_set(ERROR_MEMORY, "no memory to make indexes again");
    *again =
        (struct again){.next = *list, .space_id = (uint32_t)space_id, .index_id = (uint32_t)id};
    *list = again;
    return 0;
}

static int agains_find(struct db_worker *worker, uint64_t k, struct arena *arena,
                       struct again **list)
{
    struct txn_index scan = {.tree = worker->db->index_store->head.tree,
                             .head = &worker->db->index_store->head};
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .latest = true};
    struct txn_cursor cursor;
    struct txn *txn;
    struct row *row;
    const struct version *version;
    int rc = txn_begin(worker->txn, &options, &txn);
    if (rc != 0)
        return rc;
    txn_cursor_open(&cursor, txn, &scan, &(struct txn_range){0});
    while (rc == 0 && (rc = txn_cursor_next(&cursor, &row, &version)) == 0) {
        uint64_t ts = 0;
        txn_row_at(row, UINT64_MAX, &ts);
        if (ts > k)
            rc = again_note(db_catalog(worker), arena, version->bytes, list);
    }
    txn_rollback(txn);
    return rc == ERROR_END ? 0 : rc;
}

/* The first gate: its row says `building`. */
static int again_make(struct ddl *ddl, void *arg)
{
    struct again *again = arg;
    const struct version *row;
    unsigned char key[32];
    size_t key_size =
        (size_t)(key_encode_uint(key_encode_uint(key, again->space_id), again->index_id) - key);
    int rc = txn_get(ddl->txn, &ddl->db->index_store->head, key, key_size, &row);
    if (rc != 0 || row == NULL)
        return rc != 0 ? rc : diag_set(ERROR_CORRUPT, "the row of an index is missing");
    mp_put_raw(&again->ready, row->bytes, row->size);
    const char *options = mp_array_at(row->bytes, 4), *data = row->bytes,
               *end = row->bytes + row->size;
    struct mp_buffer *tuple = ddl__tuple(ddl, mp_decode_array(&data));
    mp_put_raw(tuple, data, (size_t)(options - data));
    mp_put_map(tuple, 1 + mp_decode_map(&options));
    mp_put_str(tuple, "building", 8);
    mp_put_bool(tuple, true);
    mp_put_raw(tuple, options, (size_t)(end - options));
    if (again->ready.failed)
        return diag_set(ERROR_MEMORY, "no memory to make indexes again");
    rc = ddl__put(ddl, SPACE_ID_INDEX);
    return rc != 0 ? rc : ddl__space_touch(ddl, catalog_space_by_id(ddl->before, again->space_id));
}

static int again_run(struct db_worker *worker, struct again *again)
{
    struct ddl_job *job;
    int rc = ddl__build_new(&job);
    if (rc != 0)
        return rc;
    mp_buffer_create(&again->ready);
    rc = ddl__run(worker, again_make, NULL, again);
    if (rc == 0)
        rc = ddl__build_begin(job, worker, again->space_id, again->index_id, &again->ready);
    mp_buffer_destroy(&again->ready);
    if (rc != 0) {
        free(job);
        return rc;
    }
    return ddl__job_run(job);
}

int db__builds_again(struct db *db, uint64_t k)
{
    struct db_worker *worker;
    struct again *list = NULL;
    struct arena arena;
    int rc = db_worker_open(db, &worker);
    if (rc != 0)
        return rc;
    arena_create(&arena, 0);
    rc = agains_find(worker, k, &arena, &list);
    for (; rc == 0 && list != NULL; list = list->next)
        rc = again_run(worker, list);
    arena_destroy(&arena);
    db_worker_close(worker);
    return rc;
}
