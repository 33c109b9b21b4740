/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is done with what is the checkpoint's thread's, of ingesting rows, of which ingest.c tells the whole: pictures for
 * those that compare, and taking files in, in the gate, by the thread of the rows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/mutation.h"
#include "db/ingest_private.h"
#include "storage/lsm/lsm.h"

enum {
    CLOCK_ROOM = 1 << 12, /* what others may take of the clock beside the gate's owner */
    LOOK_ROWS = 256
};

void checkpoint__ingest_state(struct ingest *ingest, int rc, enum ingest_state state)
{
    if (rc == ERROR_UNKNOWN_OUTCOME && !ingest->taken) /* that of what others wrote */
        rc = diag_set(ERROR_LOG_FAILED, "no row was taken in, since the log has failed: %s",
                      wal_failure(ingest->checkpoint->db->wal));
    if (rc != 0) {
        ingest->rc = rc;
        snprintf(ingest->failure, sizeof ingest->failure, "%s", diag_message_for(rc));
        state = INGEST_FAILED;
    }
    ingest->state = state;
    pthread_cond_broadcast(&ingest->checkpoint->built);
    pthread_cond_signal(&ingest->checkpoint->wake);
}

void checkpoint__ingest_state_set(struct ingest *ingest, int rc, enum ingest_state state)
{
    struct checkpoint *checkpoint = ingest->checkpoint;
    pthread_mutex_lock(&checkpoint->mutex);
    checkpoint__ingest_state(ingest, rc, state);
    pthread_mutex_unlock(&checkpoint->mutex);
}

bool checkpoint__ingests_wait(const struct checkpoint *checkpoint)
{
    for (const struct ingest *ingest = checkpoint->ingests; ingest != NULL; ingest = ingest->next)
        if (ingest->state == INGEST_VIEW_WANTED || ingest->state == INGEST_PUBLISH_WANTED)
            return true;
    return false;
}

/* One in that state, in which this thread alone works for it, so that it is not freed; or NULL. */
static struct ingest *ingest_in(struct checkpoint *checkpoint, enum ingest_state state)
{
    pthread_mutex_lock(&checkpoint->mutex);
    struct ingest *ingest = checkpoint->ingests;
    while (ingest != NULL && ingest->state != state)
        ingest = ingest->next;
    pthread_mutex_unlock(&checkpoint->mutex);
    return ingest;
}

/* --------------------------------------------------------------------------------------------- pictures */

static void snapshot_drop(struct ingest *ingest)
{
    if (ingest->snapshot != NULL && txn_resume(ingest->snapshot) == 0)
        txn_rollback(ingest->snapshot);
    ingest->snapshot = NULL;
}

/* Before the checkpoint: what is newer stays in the head as long as it is held. What was committed before rows were
 * ingested is not. */
static int snapshot_take(struct ingest *ingest)
{
    const struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .durable = true};
    struct wal *wal = ingest->checkpoint->db->wal;
    int rc = wal_wait_durable(wal, wal_clock(wal));
    if (rc == 0)
        rc = txn_open(ingest->checkpoint->worker->txn, &options, &ingest->snapshot);
    if (rc != 0)
        return rc;
    ingest->k = txn_snapshot_ts(ingest->snapshot);
    txn_park(ingest->snapshot);
    return 0;
}

/* Behind it: all up to the snapshot is in the body. */
static int view_take(struct ingest *ingest)
{
    return body_view_open(ingest->store->body, &ingest->view);
}

/* ---------------------------------------------------------------------------------------------- the gate */

/* What the head has that is replaced. */
struct gone {
    struct row **rows;
    size_t count, capacity;
};

static int gone_add(struct gone *gone, struct row *row)
{
    if (gone->count == gone->capacity) {
        size_t capacity = 2 * gone->capacity + 256;
        struct row **rows = realloc(gone->rows, capacity * sizeof(struct row *));
        if (rows == NULL)
            return ingest__no_memory();
        gone->rows = rows;
        gone->capacity = capacity;
    }
    gone->rows[gone->count++] = row;
    return 0;
}

/* A row that was written since K1 and stays: whether one that comes has a unique key of it. */
static int row_compare(struct ingest *ingest, struct arena *arena, const struct row *row,
                       const char *tuple)
{
    const struct space *space = ingest->space;
    int rc = 0;
    for (uint32_t i = 1; rc == 0 && i < space->index_count; i++) {
        struct index *index = space->indexes[i];
        struct key_list keys = {.count = 0};
        bool found = false;
        if (index->unique)
            rc = db__keys_quietly(arena, index, tuple, &keys);
        for (uint32_t n = 0; rc == 0 && !found && n < keys.count; n++)
            if (!keys.keys[n].has_nil)
                rc = ingest__other_holder(ingest, index->scan.number, &keys.keys[n], row->key,
                                          row->key_size, arena, &found);
        if (rc == 0 && found)
            rc = db__duplicate_row(index, tuple);
    }
    return rc;
}

static int row_look(struct ingest *ingest, uint64_t k, struct arena *arena, struct row *row,
                    struct gone *gone)
{
    bool there, replaced;
    uint64_t ts = 0;
    if (!txn_row_expellable(row, k, &there))
        return diag_set(ERROR_CONFLICT, "a row of space \"%s\" is being written",
                        ingest->space->name);
    if (!there)
        return 0;
    int rc = ingest__has(ingest, row->key, row->key_size, arena, &replaced);
    if (rc != 0 || replaced)
        return rc != 0 ? rc : gone_add(gone, row);
    const struct version *version = txn_row_at(row, k, &ts);
    if (ingest->snapshot == NULL || ts <= ingest->k || version == NULL ||
        (version_flags(version) & VERSION_TOMBSTONE) ||
        txn_expired_for_all(&ingest->store->head, version->bytes))
        return 0;
    return row_compare(ingest, arena, row, version->bytes);
}

static int head_look(struct ingest *ingest, uint64_t k, struct gone *gone)
{
    struct tree_cursor cursor;
    struct item *item;
    struct arena arena;
    unsigned count = 0;
    int rc = 0;
    MUTATION_POINT(INGEST_LOOKS);
    arena_create(&arena, 1 << 16);
    tree_cursor_create(&cursor, ingest->store->head.tree, NULL, 0, true, false);
    while (rc == 0 && (item = tree_cursor_next(&cursor, NULL)) != NULL) {
        rc = row_look(ingest, k, &arena, (struct row *)item, gone);
        if (rc == 0 && ++count % LOOK_ROWS == 0)
            rc = ingest__going_on(ingest);
        arena_reset(&arena);
    }
    arena_destroy(&arena);
    return rc != 0 || MUTATION(INGEST_END_UNSEEN) ? rc : ingest__going_on(ingest); /* once more */
}

/* The manifest with the files. If nobody knows whether it is in force, they stay for now, and nothing may be committed up
 * to T any more, as if it were, nor to the space at all, as if the rows were there, until another one is. */
static int put_in_force(struct ingest *ingest)
{
    struct checkpoint *checkpoint = ingest->checkpoint;
    struct store *store = ingest->store;
    uint64_t k = store->k;
    int rc = lsm_take(store->body, ingest->written);
    if (rc == 0)
        rc = checkpoint__store_hold(checkpoint, store);
    if (rc != 0)
        return rc;
    crash_point("ingest.taken");
    store->k = ingest->ts;
    bool doubtful = false;
    rc = checkpoint__manifest_store(checkpoint, 0, 0, &doubtful);
    ingest->taken = rc == 0 || doubtful;
    if (rc == 0) {
        crash_point("ingest.in_force");
        return 0;
    }
    store->k = k;
    if (!ingest->taken)
        return rc;
    store_relaxed(&store->head.doubtful, true);
    txn_clock_raise(checkpoint->worker->txn, ingest->ts);
    return diag_set(ERROR_UNKNOWN_OUTCOME, "outcome unknown until the next checkpoint or start: %s",
                    diag_message_for(rc));
}

static int take_in(struct ingest *ingest, struct txn *txn)
{
    struct checkpoint *checkpoint = ingest->checkpoint;
    struct store *store = ingest->store;
    struct wal *wal = checkpoint->db->wal;
    struct gone gone = {.rows = NULL};
    struct round *round;
    uint64_t k = txn_snapshot_ts(txn);
    int rc = wal_wait_durable(wal, k);
    if (rc == 0 && wal_clock(wal) + CLOCK_ROOM >= ingest->ts)
        rc = ERROR_AGAIN;
    if (rc == 0)
        rc = txn_clock_reserve(checkpoint->worker->txn);
    if (rc != 0)
        return rc;
    rc = checkpoint__gate_absorb(checkpoint, MUTATION(INGESTED_UNABSORBED) ? NULL : store, k,
                                 &round);
    if (rc != 0)
        return rc;
    rc = head_look(ingest, k, &gone);
    if (rc == 0)
        rc = put_in_force(ingest);
    checkpoint__gate_absorbed(round, store, rc);
    if (rc == 0) {
        if (!MUTATION(REPLACED_ROW_STAYS))
            txn_rows_expel(txn, &store->head, gone.rows, gone.count);
        txn_clock_raise(checkpoint->worker->txn, ingest->ts);
    }
    free((void *)gone.rows);
    return rc;
}

static int publish(struct ingest *ingest)
{
    struct checkpoint *checkpoint = ingest->checkpoint;
    const struct txn_options options = {.level = TXN_SNAPSHOT, .exclusive = true};
    struct wal *wal = checkpoint->db->wal;
    struct txn *txn;
    MUTATION_POINT(INGEST_PUBLISHES);
    int rc = txn_begin(checkpoint->worker->txn, &options, &txn);
    if (rc != 0)
        return rc;
    txn_abort_parked(txn, "the transaction was rolled back: rows were being ingested");
    rc = load_relaxed(&ingest->cancelled) ? ingest__going_on(ingest) : take_in(ingest, txn);
    txn_rollback(txn);
    if (rc != 0)
        return rc;
    return wal_wait_durable(wal, ingest->ts);
}

/* ------------------------------------------------------------------------- around a checkpoint */

void checkpoint__ingests_begin(struct checkpoint *checkpoint)
{
    struct ingest *ingest;
    pthread_mutex_lock(&checkpoint->mutex);
    for (ingest = checkpoint->ingests; ingest != NULL; ingest = ingest->next)
        if (ingest->state == INGEST_VIEW_WANTED)
            ingest->state = INGEST_SNAPSHOT_COMING;
        else if (ingest->state == INGEST_PUBLISH_WANTED)
            ingest->state = INGEST_PUBLISH_COMING;
    pthread_mutex_unlock(&checkpoint->mutex);
    while ((ingest = ingest_in(checkpoint, INGEST_SNAPSHOT_COMING)) != NULL)
        checkpoint__ingest_state_set(ingest, snapshot_take(ingest), INGEST_VIEW_COMING);
}

/* What has become of it, with the diagnostics. */
static void outcome_set(struct ingest *ingest, int rc)
{
    if (rc == ERROR_AGAIN)
        checkpoint__ingest_state(ingest, 0, INGEST_AGAIN);
    else
        checkpoint__ingest_state(ingest, rc, INGEST_DONE);
}

enum ingest_state checkpoint__ingest_publish(struct ingest *ingest)
{
    struct checkpoint *checkpoint = ingest->checkpoint;
    struct checkpoint_failure failure;
    checkpoint__failure_keep(&failure, publish(ingest));
    snapshot_drop(ingest);
    int rc = checkpoint__failure_restore(&failure);
    pthread_mutex_lock(&checkpoint->mutex);
    outcome_set(ingest, rc);
    enum ingest_state state = ingest->state;
    checkpoint->publishing = false;
    pthread_mutex_unlock(&checkpoint->mutex);
    return state;
}

/* Waits for it: all that is this thread's is the other's meanwhile. Behind that `ingest` may be gone. */
static void publish_let(struct checkpoint *checkpoint, struct ingest *ingest)
{
    pthread_mutex_lock(&checkpoint->mutex);
    checkpoint->publishing = true;
    checkpoint__ingest_state(ingest, 0, INGEST_PUBLISHES);
    while (checkpoint->publishing)
        pthread_cond_wait(&checkpoint->built, &checkpoint->mutex);
    pthread_mutex_unlock(&checkpoint->mutex);
}

/* What its thread has found fails here, where the snapshot can be let go of. */
static void publish_fail(struct ingest *ingest, int rc)
{
    struct checkpoint_failure failure;
    checkpoint__failure_keep(&failure,
                             ingest->rc == 0 ? rc : diag_set(ingest->rc, "%s", ingest->failure));
    snapshot_drop(ingest);
    checkpoint__ingest_state_set(ingest, checkpoint__failure_restore(&failure), INGEST_DONE);
}

bool checkpoint__ingests_end(struct checkpoint *checkpoint, int rc)
{
    struct ingest *ingest;
    bool published = false;
    while ((ingest = ingest_in(checkpoint, INGEST_VIEW_COMING)) != NULL) {
        int own = rc == 0 ? view_take(ingest) : rc;
        if (own != 0)
            snapshot_drop(ingest);
        checkpoint__ingest_state_set(ingest, own, INGEST_VIEW_TAKEN);
    }
    while ((ingest = ingest_in(checkpoint, INGEST_PUBLISH_COMING)) != NULL) {
        int own = rc == 0 ? ingest__going_on(ingest) : rc;
        if (own == 0 && ingest->rc == 0) {
            publish_let(checkpoint, ingest);
            published = true;
        } else {
            publish_fail(ingest, own);
        }
    }
    return published;
}

/* -------------------------------------------------------------------------- those that have been left */

void checkpoint__ingest_unlink(struct ingest *ingest)
{
    struct ingest **at = &ingest->checkpoint->ingests;
    while (*at != ingest)
        at = &(*at)->next;
    *at = ingest->next;
}

bool checkpoint__ingests_left(const struct checkpoint *checkpoint)
{
    for (const struct ingest *ingest = checkpoint->ingests; ingest != NULL; ingest = ingest->next)
        if (ingest->left && ingest->ended)
            return true;
    return false;
}

static void left_free(struct checkpoint *checkpoint, struct ingest *ingest)
{
    checkpoint__ingest_unlink(ingest);
    pthread_mutex_unlock(&checkpoint->mutex);
    pthread_join(ingest->thread, NULL);
    ingest__free(ingest, checkpoint->worker);
    pthread_mutex_lock(&checkpoint->mutex);
}

void checkpoint__ingests_free(struct checkpoint *checkpoint)
{
    struct ingest *ingest = checkpoint->ingests;
    while (ingest != NULL && !(ingest->left && ingest->ended))
        ingest = ingest->next;
    if (ingest != NULL)
        left_free(checkpoint, ingest);
}

/* One that wants a checkpoint, of which there will be none, or NULL. */
static struct ingest *waiting(const struct checkpoint *checkpoint)
{
    struct ingest *ingest = checkpoint->ingests;
    while (ingest != NULL && ingest->state != INGEST_VIEW_WANTED &&
           ingest->state != INGEST_PUBLISH_WANTED)
        ingest = ingest->next;
    return ingest;
}

void checkpoint__ingests_stop(struct checkpoint *checkpoint)
{
    struct ingest *ingest;
    pthread_mutex_lock(&checkpoint->mutex);
    pthread_cond_broadcast(&checkpoint->built);
    while (checkpoint->ingests != NULL) {
        for (ingest = checkpoint->ingests; ingest != NULL; ingest = ingest->next)
            ASSERT(ingest->left); /* jobs end before */
        if (checkpoint__ingests_left(checkpoint)) {
            checkpoint__ingests_free(checkpoint);
        } else if ((ingest = waiting(checkpoint)) != NULL) {
            snapshot_drop(ingest);
            checkpoint__ingest_state(ingest, ingest__going_on(ingest), INGEST_FAILED);
        } else {
            pthread_cond_wait(&checkpoint->built, &checkpoint->mutex);
        }
    }
    pthread_mutex_unlock(&checkpoint->mutex);
}
