/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows that come to a space as finished runs (invariant 36).
 *
 *      caller        adds rows, which are checked; they and their entries in secondary indexes are sorted (run_sort.h)
 *      thread        writes them into files, as an absorb would: each row of the timestamp T, which is still to
 *                    come. Two of one key are met here                                              _WRITES
 *      checkpoint    where there are unique secondary indexes: at K1, its picture of the body and a snapshot held
 *      thread        goes over these indexes, there and in the files                                _VIEW_TAKEN
 *      checkpoint    at K2: most of what the head has of the space is in the body then
 *      gate          what is left of that, too; rows that were written since K1 are compared; the manifest
 *                    with the files; the picture with them; rows of the head that are replaced leave it;
 *                    the clock goes to T                                                            _DONE
 *
 * In the gate is the thread of the rows, with the checkpoint's worker: the checkpoint's thread waits for it meanwhile, so
 * that no other one is at what is its own. It has the gate's owner's priority, which is that of who asked: everybody
 * who writes waits for it, and the checkpoint's thread would let all others pass. It waits for nobody but
 * those who write.
 *
 * Who cancels does not wait for any of that, since he may own the gate by now: he leaves what is there to the checkpoint's
 * thread, which frees it when the thread of the rows has ended. Until then nothing else is done to the space.
 *
 * That all rows become visible at once. Nobody reads at T or above before the clock has come to it, so publishing the
 * picture shows nothing; raising the clock shows all. Who begins behind the gate has a snapshot above T, and what he commits is newer.
 *
 * That nothing is read which is older. A reader asks the head first, and takes what it finds there. So what the head has
 * of a key that is replaced has to go, although snapshots are held below it: the body was given the versions that they see,
 * in the checkpoints up to this one. Of what the head does not have, and of what is written later, the body has the
 * newest version, as ever.
 *
 * That no transaction rests on what has changed under it. Those that may write have ended in the gate, or are rolled
 * back when they are parked; so "not in the head" still means "unchanged since my snapshot" (invariant 18).
 *
 * T is chosen before the files are written, far enough ahead of the clock. If so much was committed meanwhile that the
 * clock comes near, they are written once more, further ahead.
 *
 * Uniqueness. A row of before and one that comes: by the thread, if the former is as it was at K1; else it is
 * in the head, since the snapshot at K1 is held, and is compared in the gate.
 *
 * A crash before the manifest leaves files that no manifest names, which the next start removes. Behind it the rows are
 * there, although the log may not have come to T: opening puts the clock there. If nobody knows whether the manifest is in
 * force, the clock is raised all the same, so that no later record is taken for one that the body has.
 *
 * Entries of keys that replaced rows had stay in the body and lead to nothing, which readers pass over.
 */
#include "db/ingest_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/format_private.h"
#include "storage/lsm/lsm.h"

enum { WAIT_NS = 1000 * 1000 };

int ingest__no_memory(void)
{
    return diag_set(ERROR_MEMORY, "no memory to ingest rows");
}

int ingest__going_on(const struct ingest *ingest)
{
    return load_relaxed(&ingest->cancelled) || load_relaxed(&ingest->checkpoint->stop)
               ? diag_set(ERROR_CANCELLED, "ingesting rows was ended")
               : 0;
}

bool ingest__has_unique(const struct space *space)
{
    for (uint32_t i = 1; i < space->index_count; i++)
        if (space->indexes[i]->unique)
            return true;
    return false;
}

/* ------------------------------------------------------------------------------------------ which spaces */

static int refused(const struct space *space, const char *why)
{
    return diag_set(ERROR_UNSUPPORTED, "no rows can be ingested into space \"%s\": %s", space->name,
                    why);
}

static int space_check(const struct space *space)
{
    if (space->system || space_id_is_redis(space->id))
        return diag_set(ERROR_ACCESS, "no rows can be ingested into system space \"%s\"",
                        space->name);
    int rc = db__space_usable(space);
    if (rc != 0)
        return rc;
    if (space->building != NULL || space->coming != NULL)
        return diag_set(ERROR_SCHEMA,
                        "no rows can be ingested into space \"%s\" while it is being changed",
                        space->name);
    const struct store *store = space->head->arg;
    if (!db__store_leaves(store) || store->body->vtab != &engine_lsm)
        return refused(space, "its engine is not 'lsm'");
    if (space->head->unlogged)
        return refused(space, "it is temporary");
    if (space->sequence_id != 0)
        return refused(space, "it has a sequence, which would not know of their numbers");
    if (space->foreign_key_count > 0 || space->referrers != NULL)
        return refused(space, "it has foreign keys, or is referred to by them");
    for (uint32_t i = 0; i < space->index_count; i++)
        if (space->indexes[i]->scan.counted)
            return refused(space,
                           "a function computes the keys of an index: drop that, and create it "
                           "again behind");
    return 0;
}

/* While no change of the schema is being made: what is found is the newest, and stays so. */
static int space_take(struct ingest *ingest, uint32_t space_id)
{
    struct db_worker *worker = ingest->worker;
    struct catalog *catalog = (struct catalog *)db_catalog(worker);
    struct space *space = catalog_space_by_id(catalog, space_id);
    if (space == NULL)
        return diag_set(ERROR_NOT_FOUND, "there is no space with id %u", space_id);
    int rc = access_check(worker, ACCESS_WRITE, ACCESS_SPACE, space_id, space->owner, space->name);
    if (rc == 0)
        rc = space_check(space);
    if (rc != 0)
        return rc;
    struct store *store = space->head->arg;
    if (atomic_exchange(&store->ingesting, true))
        return diag_set(ERROR_BUSY, "rows are being ingested into space \"%s\" already",
                        space->name);
    atomic_fetch_add(&store->references, 1);
    atomic_fetch_add(&catalog->references, 1);
    ingest->store = store;
    ingest->catalog = catalog;
    ingest->space = space;
    return 0;
}

int ingest_new(struct db_worker *worker, uint32_t space_id, struct ingest **out)
{
    const struct txn_options options = {.level = TXN_READ_COMMITTED};
    struct db *db = worker->db;
    struct txn *txn;
    if (ddl_active(worker) || txn_current(worker->txn) != NULL)
        return diag_set(ERROR_INVALID, "rows are not ingested inside of a transaction: they become "
                                       "part of the space at once, by themselves");
    struct ingest *ingest = calloc(1, sizeof *ingest);
    if (ingest == NULL)
        return ingest__no_memory();
    ingest->worker = worker;
    ingest->checkpoint = db->checkpoint;
    ingest->margin = db->ingest_margin;
    arena_create(&ingest->arena, 1 << 16);
    int rc = txn_begin(worker->txn, &options, &txn); /* a change of the schema waits for its end */
    if (rc == 0) {
        rc = space_take(ingest, space_id);
        txn_rollback(txn);
    }
    if (rc == 0) {
        const struct run_sort_options sort = {.io = db->io,
                                              .space_id = space_id,
                                              .incarnation = ingest->store->head.incarnation,
                                              .next_file = &db->next_file,
                                              .memory_bytes = db->build_sort_bytes,
                                              .stop = &ingest->cancelled};
        rc = run_sort_new(&sort, &ingest->sort);
    }
    if (rc != 0) {
        ingest_delete(ingest);
        return rc;
    }
    *out = ingest;
    return 0;
}

/* ------------------------------------------------------------------------------------------------- rows */

static int key_check(const struct index *index, const struct key_bytes *key)
{
    return key->size > BODY_KEY_SIZE_MAX
               ? diag_set(ERROR_TOO_LARGE,
                          "a key of %zu bytes of index \"%s\" is above the limit of %d", key->size,
                          index->name, BODY_KEY_SIZE_MAX)
               : 0;
}

/* Sorted by its number as well, two of one key are both there in the end. */
static int sort_add(struct ingest *ingest, const struct index *index, const struct key_bytes *key,
                    const char *data, uint32_t size)
{
    unsigned char *bytes = arena_alloc(&ingest->arena, key->size + 1);
    if (bytes == NULL)
        return ingest__no_memory();
    bytes[0] = index->scan.number;
    memcpy(bytes + 1, key->data, key->size);
    const struct engine_row row = {
        .key = bytes, .key_size = key->size + 1, .ts = ++ingest->added, .data = data, .size = size};
    return run_sort_add(ingest->sort, &row);
}

static int entry_add(struct ingest *ingest, const struct index *index, const struct key_bytes *key,
                     uint64_t expires_ms)
{
    char data[1 + BODY_ENTRY_SIZE_MAX] = {(char)(key->has_nil ? INGEST_NIL : 0)};
    size_t size = 1 + txn_body_entry_put(data + 1, key->parts_size, expires_ms);
    return sort_add(ingest, index, key, data, (uint32_t)size);
}

/* The row's keys first: what is wrong with one leaves nothing of it. */
static int keys_add(struct ingest *ingest, const struct tuple_ref *tuple)
{
    const struct space *space = ingest->space;
    struct key_list lists[INDEX_MAX];
    struct key_bytes primary;
    int rc = db__key_of_tuple(&ingest->arena, space->indexes[0], tuple->data, &primary);
    if (rc == 0)
        rc = key_check(space->indexes[0], &primary);
    for (uint32_t i = 1; rc == 0 && i < space->index_count; i++) {
        rc = db__keys_of_tuple(&ingest->arena, space->indexes[i], tuple->data, &lists[i]);
        for (uint32_t n = 0; rc == 0 && n < lists[i].count; n++)
            rc = key_check(space->indexes[i], &lists[i].keys[n]);
    }
    if (rc != 0)
        return rc;
    rc = sort_add(ingest, space->indexes[0], &primary, tuple->data, tuple->size);
    uint64_t expires_ms = txn_expires_ms(&ingest->store->head, tuple->data);
    for (uint32_t i = 1; rc == 0 && i < space->index_count; i++)
        for (uint32_t n = 0; rc == 0 && n < lists[i].count; n++)
            rc = entry_add(ingest, space->indexes[i], &lists[i].keys[n], expires_ms);
    ingest->broken = rc; /* there may be a row without its entries */
    return rc;
}

static int broken_check(const struct ingest *ingest)
{
    return ingest->broken == 0
               ? 0
               : diag_set(ingest->broken,
                          "no rows are ingested after adding one has failed half way");
}

static int size_check(const struct ingest *ingest, size_t size)
{
    size_t memory = ingest->checkpoint->db->build_sort_bytes;
    if (memory < RUN_SORT_MEMORY_BYTES_MIN)
        memory = RUN_SORT_MEMORY_BYTES_MIN;
    return size > memory / 2 - BODY_KEY_SIZE_MAX - 1
               ? diag_set(ERROR_TOO_LARGE,
                          "a row of %zu bytes is too large to be ingested, where %zu are the most: "
                          "insert it",
                          size, memory / 2 - BODY_KEY_SIZE_MAX - 1)
               : 0;
}

int ingest_add(struct ingest *ingest, const char *data, size_t size)
{
    const struct space *space = ingest->space;
    struct tuple_ref tuple = {data, size > UINT32_MAX ? UINT32_MAX : (uint32_t)size};
    int rc = broken_check(ingest);
    if (rc != 0)
        return rc;
    arena_reset(&ingest->arena);
    if (space->shaped_count > 0)
        rc = db__tuple_shape(&ingest->arena, space, NULL, &tuple);
    if (rc == 0)
        rc = db__tuple_check(space, tuple.data, tuple.size);
    if (rc == 0)
        rc = size_check(ingest, tuple.size);
    if (rc == 0 && space->constraint_count > 0)
        rc = db__constraints_check(space, tuple.data);
    if (rc == 0)
        rc = keys_add(ingest, &tuple);
    ingest->rows += rc == 0;
    return rc;
}

uint64_t ingest_rows(const struct ingest *ingest)
{
    return ingest->rows;
}

/* -------------------------------------------------------------------------------------------- the thread */

/* The state behind those in which the checkpoint's thread is at it. */
static enum ingest_state state_await(struct ingest *ingest)
{
    struct checkpoint *checkpoint = ingest->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    for (;;) {
        enum ingest_state state = ingest->state;
        bool wanted = state == INGEST_VIEW_WANTED || state == INGEST_PUBLISH_WANTED;
        if (wanted && ingest->snapshot == NULL && ingest__going_on(ingest) != 0)
            checkpoint__ingest_state(ingest, ERROR_CANCELLED, state);
        else if (wanted || state == INGEST_SNAPSHOT_COMING || state == INGEST_VIEW_COMING ||
                 state == INGEST_PUBLISH_COMING)
            pthread_cond_wait(&checkpoint->built, &checkpoint->mutex);
        else
            break;
    }
    enum ingest_state state = ingest->state;
    pthread_mutex_unlock(&checkpoint->mutex);
    return state;
}

static void files_undo(struct ingest *ingest)
{
    if (ingest->written != NULL && !ingest->taken)
        lsm_write_undo(ingest->store->body, ingest->written);
    else if (ingest->written != NULL)
        body_view_close(ingest->written);
    ingest->written = NULL;
}

static void view_drop(struct ingest *ingest)
{
    if (ingest->view != NULL)
        body_view_close(ingest->view);
    ingest->view = NULL;
}

/* ERROR_AGAIN: files of a later timestamp are wanted. 0: it is done, or has failed. */
static int attempt(struct ingest *ingest)
{
    struct wal *wal = ingest->checkpoint->db->wal;
    ingest->ts = wal_clock(wal) + ingest->margin;
    int rc = run_sort_begin(ingest->sort);
    if (rc == 0)
        rc = ingest__write(ingest);
    if (rc == 0)
        crash_point("ingest.written");
    if (rc == 0 && ingest__has_unique(ingest->space)) {
        checkpoint__ingest_state_set(ingest, 0, INGEST_VIEW_WANTED);
        if (state_await(ingest) != INGEST_VIEW_TAKEN)
            return 0;
        rc = ingest__compare(ingest);
        view_drop(ingest);
        if (rc != 0) { /* the checkpoint's thread has the snapshot */
            ingest->rc = rc;
            snprintf(ingest->failure, sizeof ingest->failure, "%s", diag_message_for(rc));
            rc = 0;
        }
    }
    checkpoint__ingest_state_set(ingest, rc, INGEST_PUBLISH_WANTED);
    enum ingest_state state = state_await(ingest);
    if (state == INGEST_PUBLISHES)
        state = checkpoint__ingest_publish(ingest);
    return state == INGEST_AGAIN ? ERROR_AGAIN : 0;
}

static void *thread_main(void *arg)
{
    struct ingest *ingest = arg;
    struct checkpoint *checkpoint = ingest->checkpoint;
    log_thread_name("ingest");
    while (attempt(ingest) == ERROR_AGAIN) {
        files_undo(ingest);
        ingest->margin *= 16;
    }
    pthread_mutex_lock(&checkpoint->mutex);
    ingest->ended = true;
    pthread_cond_broadcast(&checkpoint->built);
    pthread_cond_signal(&checkpoint->wake);
    pthread_mutex_unlock(&checkpoint->mutex);
    return NULL;
}

void ingest__free(struct ingest *ingest, struct db_worker *worker)
{
    view_drop(ingest);
    files_undo(ingest);
    run_sort_delete(ingest->sort);
    arena_destroy(&ingest->arena);
    if (ingest->store != NULL) {
        atomic_store(&ingest->store->ingesting, false);
        db__store_release(ingest->store, txn_worker_thread(worker->txn));
    }
    if (ingest->catalog != NULL)
        db__catalog_release(ingest->catalog);
    free(ingest);
}

void ingest_delete(struct ingest *ingest)
{
    ingest__free(ingest, ingest->worker);
}

/* ----------------------------------------------------------------------------------------------- the job */

struct ingest_job {
    struct ddl_job job;
    struct ingest *ingest;
};

static struct ingest *ingest_of(const struct ddl_job *job)
{
    return ((const struct ingest_job *)job)->ingest;
}

static int slice_wait(struct ddl_job *job)
{
    struct ingest *ingest = ingest_of(job);
    struct checkpoint *checkpoint = ingest->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    if (ingest->state < INGEST_DONE)
        checkpoint__wait_ns(checkpoint, &checkpoint->built, WAIT_NS);
    int rc = ingest->state < INGEST_DONE      ? 0
             : ingest->state == INGEST_FAILED ? diag_set(ingest->rc, "%s", ingest->failure)
                                              : ERROR_END;
    pthread_mutex_unlock(&checkpoint->mutex);
    return rc;
}

/* What is acknowledged can be read. */
static int finish(struct ddl_job *job)
{
    const struct ingest *ingest = ingest_of(job);
    return wal_wait(ingest->checkpoint->db->wal, ingest->ts);
}

static int cancel(struct ddl_job *job)
{
    (void)job;
    return 0;
}

/* One that is through, or has failed, has a thread that is about to end. */
static void destroy(struct ddl_job *job)
{
    struct ingest *ingest = ingest_of(job);
    struct checkpoint *checkpoint = ingest->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    store_relaxed(&ingest->cancelled, true);
    ingest->left = ingest->state < INGEST_DONE;
    if (!ingest->left)
        checkpoint__ingest_unlink(ingest);
    bool left = ingest->left;
    pthread_cond_broadcast(&checkpoint->built);
    pthread_cond_signal(&checkpoint->wake);
    pthread_mutex_unlock(&checkpoint->mutex);
    if (left)
        return;
    pthread_join(ingest->thread, NULL);
    ingest__free(ingest, ingest->worker);
}

static const struct ddl_job_vtab ingest_job = {.doing = "takes in rows",
                                               .done = "has taken in rows",
                                               .what = "ingesting rows",
                                               .reads_only = true,
                                               .waits = true,
                                               .slice = slice_wait,
                                               .finish = finish,
                                               .cancel = cancel,
                                               .destroy = destroy};

/* With a thread, which is in the checkpoint's list. */
static int start(struct ingest *ingest)
{
    struct checkpoint *checkpoint = ingest->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex); /* it is in the list before it wants anything */
    int rc = pthread_create(&ingest->thread, NULL, thread_main, ingest);
    if (rc == 0) {
        ingest->next = checkpoint->ingests;
        checkpoint->ingests = ingest;
    }
    pthread_mutex_unlock(&checkpoint->mutex);
    return rc == 0 ? 0 : diag_set(ERROR_MEMORY, "no thread to ingest rows");
}

static int run_check(const struct ingest *ingest)
{
    const struct db_worker *worker = ingest->worker;
    int rc = broken_check(ingest);
    if (rc != 0)
        return rc;
    /* Who has the gate would wait for those who wait for it. */
    return ddl_active(worker) || txn_current(worker->txn) != NULL
               ? diag_set(ERROR_INVALID,
                          "rows are not ingested inside of a transaction: end what was "
                          "begun while they were given")
               : 0;
}

int ingest_run(struct ingest *ingest, struct ddl_job **out)
{
    *out = NULL;
    int rc = run_check(ingest);
    if (rc != 0 || ingest->rows == 0) {
        ingest_delete(ingest);
        return rc;
    }
    struct ingest_job *job = calloc(1, sizeof *job);
    if (job == NULL || (rc = start(ingest)) != 0) {
        free(job);
        ingest_delete(ingest);
        return rc != 0 ? rc : ingest__no_memory();
    }
    job->ingest = ingest;
    ddl__job_begin(&job->job, &ingest_job, ingest->worker, ingest->space, "space \"%s\"",
                   ingest->space->name);
    job->job.rows = job->job.total = ingest->rows;
    *out = &job->job;
    return 0;
}
