/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One checkpoint (invariant 19).
 *
 *      read-only transaction at D: its snapshot is K ─► rows that have changed, taken from all
 *      workers' lists ─► sorted by store and key ─► for each store the versions at K, absorbed as
 *      one run ─► manifest ─► rows are told, the log is cut, replaced files go
 *
 * K comes first and the list second: whatever committed up to K has been listed before it became
 * durable. What is listed may be newer than K, or not committed at all: then there is nothing, or
 * an older version, to write, and txn_change_done lists the row again. A version that was there at
 * the last K already is not written again, and of a row that no run has no tombstone is (invariant 33).
 * A row of which a version is written is marked before, under the snapshot: a deletion above K then
 * leaves a tombstone for the next run.
 *
 * Rows on the list are not freed, so their keys can be compared without an epoch; versions are
 * followed, and their bytes copied, inside of one, a few hundred rows at a time. A row may have ended
 * and another one have its key: only that has something to write.
 *
 * A store can be dropped meanwhile. The list is taken and the references to its stores under the
 * mutex under which a store is marked as dropped, so a reference keeps rows and trees until the
 * checkpoint lets go; what is dropped is passed over from then on. The drop is durable in the log
 * above K before the mark is set, so a manifest without the store says the same as one with it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/crash_point.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "db/checkpoint_private.h"

enum { BATCH_ROWS = 256, BATCH_BYTES = 1 << 20, BREATH_COMPARISONS = 4096 };

bool checkpoint__mutated(const struct checkpoint *checkpoint, enum checkpoint_mutation mutation)
{
    return (load_relaxed(&checkpoint->mutations) & mutation) != 0;
}

/* ----------------------------------------------------------------------------- the changed rows */

static int round_store_add(struct round *round, struct store *store)
{
    if (store->taken)
        return 0;
    if (round->store_count == round->store_capacity) {
        size_t capacity = 2 * round->store_capacity + 16;
        struct store **stores = realloc(round->stores, capacity * sizeof(struct store *));
        if (stores == NULL)
            return diag_set(ERROR_MEMORY, "no memory for a checkpoint");
        round->stores = stores;
        round->store_capacity = capacity;
    }
    round->stores[round->store_count++] = store;
    atomic_fetch_add(&store->references, 1);
    store->taken = true;
    return 0;
}

static struct store *change_store(const struct txn_change *change)
{
    return change->head->arg;
}

/* References to the stores of the changes. Under stores_mutex. */
static int stores_hold(struct round *round)
{
    struct store *last = NULL;
    for (size_t i = 0; i < round->changes.count; i++) {
        struct store *store = change_store(&round->changes.items[i]);
        if (store == last)
            continue;
        int rc = round_store_add(round, store);
        if (rc != 0)
            return rc;
        last = store;
    }
    return 0;
}

/* And to those that get entries of an index that is being built. */
static int build_stores_hold(struct round *round)
{
    struct body_build *at = NULL;
    struct store *store;
    int rc = 0;
    while (rc == 0 && (store = checkpoint__builds_store(round, &at)) != NULL)
        if (!load_relaxed(&store->dropped))
            rc = round_store_add(round, store);
    return rc;
}

static int changes_take(struct round *round)
{
    struct db *db = round->checkpoint->db;
    pthread_mutex_lock(&db->stores_mutex);
    int rc = txn_changes_take(db->txn, &round->changes);
    if (rc == 0 && ((rc = stores_hold(round)) != 0 || (rc = build_stores_hold(round)) != 0))
        txn_changes_return(db->txn, &round->changes);
    pthread_mutex_unlock(&db->stores_mutex);
    return rc;
}

/* What was taken in vain, or has changed since, is listed again: rows of stores that are there. */
static void changes_return(struct round *round)
{
    struct db *db = round->checkpoint->db;
    struct txn_changes *changes = &round->changes;
    struct txn_worker *worker = round->checkpoint->worker->txn;
    size_t alive = 0;
    pthread_mutex_lock(&db->stores_mutex);
    for (size_t i = 0; i < changes->count; i++)
        if (!load_relaxed(&change_store(&changes->items[i])->dropped))
            changes->items[alive++] = changes->items[i];
        else
            txn_change_forget(worker, &changes->items[i]);
    changes->count = alive;
    txn_changes_return(db->txn, changes);
    pthread_mutex_unlock(&db->stores_mutex);
}

/* False: it stays on the list, since it has changed, or its readers do not see the body that has it. */
static bool change_done(struct round *round, const struct txn_change *change)
{
    struct txn_worker *worker = round->checkpoint->worker->txn;
    const struct store *store = change_store(change);
    if (load_relaxed(&store->dropped)) {
        txn_change_forget(worker, change);
        return true;
    }
    if (db__store_leaves(store) && load_relaxed(&store->published.k) < round->k)
        return false;
    return txn_change_done(worker, change, round->k);
}

/* The rows' state up to K is durable. */
static void changes_done(struct round *round)
{
    struct txn_worker *worker = round->checkpoint->worker->txn;
    struct txn_changes *changes = &round->changes;
    size_t kept = 0;
    for (size_t first = 0; first < changes->count; first += BATCH_ROWS) {
        size_t behind = first + BATCH_ROWS < changes->count ? first + BATCH_ROWS : changes->count;
        pthread_mutex_lock(&round->checkpoint->db->stores_mutex);
        txn_worker_enter(worker);
        for (size_t i = first; i < behind; i++)
            if (!change_done(round, &changes->items[i]))
                changes->items[kept++] = changes->items[i];
        txn_worker_leave(worker);
        pthread_mutex_unlock(&round->checkpoint->db->stores_mutex);
        db__throttle_free(round->checkpoint->db);
        checkpoint__breathe(round->checkpoint);
    }
    changes->count = kept;
    changes_return(round);
}

/* --------------------------------------------------------------------------------------- sorting */

struct sorting {
    struct checkpoint *checkpoint;
    uint64_t compared;
};

static uint64_t prefix_of(const struct row *row)
{
    uint64_t prefix = 0;
    memcpy(&prefix, row->key, row->key_size < sizeof prefix ? row->key_size : sizeof prefix);
    return __builtin_bswap64(prefix);
}

static int changed_compare(const void *a_pointer, const void *b_pointer, void *arg)
{
    struct sorting *sorting = arg;
    if (++sorting->compared % BREATH_COMPARISONS == 0)
        checkpoint__breathe(sorting->checkpoint);
    const struct changed *a = a_pointer, *b = b_pointer;
    if (a->store != b->store)
        return (uintptr_t)a->store < (uintptr_t)b->store ? -1 : 1;
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
    uint32_t common = a->row->key_size < b->row->key_size ? a->row->key_size : b->row->key_size;
    int order = memcmp(a->row->key, b->row->key, common);
    return order != 0
               ? order
               : (a->row->key_size > b->row->key_size) - (a->row->key_size < b->row->key_size);
}

/* The first so many of the changes. */
static int items_sort(struct round *round, size_t count)
{
    round->items = malloc((count + 1) * sizeof *round->items);
    if (round->items == NULL)
        return diag_set(ERROR_MEMORY, "no memory to sort the %zu rows of a checkpoint", count);
    for (size_t i = 0; i < count; i++) {
        struct txn_change *change = &round->changes.items[i];
        round->items[i] =
            (struct changed){change_store(change), prefix_of(change->row), change->row};
    }
    struct sorting sorting = {round->checkpoint, 0};
    qsort_r(round->items, count, sizeof *round->items, changed_compare, &sorting);
    return 0;
}

static int stores_absorb(struct round *round)
{
    size_t count = round->changes.count;
    int rc = 0;
    for (size_t first = 0, behind; rc == 0 && first < count; first = behind) {
        struct store *store = round->items[first].store;
        for (behind = first + 1; behind < count && round->items[behind].store == store;)
            behind++;
        if (load_relaxed(&round->checkpoint->stop))
            return diag_set(ERROR_CANCELLED, "the database is being closed");
        if (!load_relaxed(&store->dropped))
            rc = checkpoint__store_absorb(round, store, first, behind);
    }
    struct body_build *at = NULL;
    struct store *store;
    while (rc == 0 && (store = checkpoint__builds_store(round, &at)) != NULL)
        if (!load_relaxed(&store->dropped))
            rc = checkpoint__store_absorb(round, store, count, count);
    return rc;
}

/* ---------------------------------------------------------------------------------------- course */

static void snapshot_end(struct txn *txn)
{
    if (txn_resume(txn) == 0)
        txn_rollback(txn);
}

/* Begins the transaction whose snapshot is K, and takes the changes. */
static int snapshot_begin(struct round *round, struct txn **out)
{
    struct checkpoint *checkpoint = round->checkpoint;
    bool latest = checkpoint__mutated(checkpoint, CHECKPOINT_MUTATION_LATEST);
    struct txn_options options = {
        .level = TXN_SNAPSHOT, .readonly = true, .durable = !latest, .latest = latest};
    int rc = 0;
    if (checkpoint__mutated(checkpoint, CHECKPOINT_MUTATION_TAKE_FIRST)) {
        rc = changes_take(round);
        checkpoint->taken();
    }
    if (rc == 0)
        rc = txn_open(checkpoint->worker->txn, &options, out);
    if (rc != 0)
        return rc;
    round->k = txn_snapshot_ts(*out);
    txn_park(*out);
    ASSERT(latest || round->k <= wal_durable_ts(checkpoint->db->wal));
    if (!checkpoint__mutated(checkpoint, CHECKPOINT_MUTATION_TAKE_FIRST))
        rc = changes_take(round);
    if (rc != 0)
        snapshot_end(*out);
    return rc;
}

/* Those who begin from now on read at K or above it. */
static int snapshots_take(struct round *round)
{
    struct engine_snapshots held;
    int rc = txn_body_snapshots(round->checkpoint->worker->txn, round->k, &held);
    if (rc != 0)
        return rc;
    uint64_t *copy = malloc((held.count + 1) * sizeof *copy);
    if (copy == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a checkpoint");
    memcpy(copy, held.ts, held.count * sizeof *copy);
    round->snapshots = (struct engine_snapshots){copy, held.count};
    return 0;
}

/* The rows are in files then, which no manifest names. */
static int runs_write(struct round *round)
{
    struct txn *txn;
    int rc = snapshot_begin(round, &txn);
    if (rc != 0)
        return rc;
    rc = snapshots_take(round);
    if (rc == 0)
        rc = items_sort(round, round->changes.count);
    if (rc == 0)
        rc = stores_absorb(round);
    if (rc != 0) {
        snapshot_end(txn);
        return rc;
    }
    /* Without its snapshot some version may have gone before it was read. */
    if ((rc = txn_resume(txn)) != 0)
        return diag_add("the snapshot of a checkpoint has been ended");
    txn_rollback(txn);
    crash_point("checkpoint.runs.written");
    return 0;
}

/* The stores whose bodies have got files for the first time join those of the manifest. */
static int stores_join(struct round *round)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < round->store_count; i++)
        if (!load_relaxed(&round->stores[i]->dropped))
            rc = checkpoint__store_hold(round->checkpoint, round->stores[i]);
    return rc;
}

static int manifest_write(struct round *round)
{
    struct checkpoint *checkpoint = round->checkpoint;
    struct wal *wal = checkpoint->db->wal;
    bool high = checkpoint__mutated(checkpoint, CHECKPOINT_MUTATION_CUT_HIGH);
    uint64_t floor;
    int rc =
        db__watch_floor(checkpoint->worker, high ? wal_durable_ts(wal) : round->k, true, &floor);
    if (rc != 0)
        return rc;
    uint64_t first_segment = wal_first_needed(wal, floor);
    if (checkpoint__mutated(checkpoint, CHECKPOINT_MUTATION_CUT_EARLY)) {
        wal_release(wal, first_segment);
        wal_release_wait(wal);
    }
    return checkpoint__manifest_store(checkpoint, round->k, first_segment, NULL);
}

/* Where a manifest has failed this has been done, and does nothing. */
static void bodies_revert(struct round *round)
{
    for (size_t i = 0; i < round->store_count; i++)
        body_revert(round->stores[i]->body, false);
}

static void round_end(struct round *round)
{
    struct tree_thread *thread = txn_worker_thread(round->checkpoint->worker->txn);
    txn_changes_free(&round->changes);
    for (size_t i = 0; i < round->store_count; i++) {
        round->stores[i]->taken = false;
        db__store_release(round->stores[i], thread);
    }
    free(round->stores);
    free(round->items);
    free((uint64_t *)round->snapshots.ts);
}

/* Everything that was taken is as it was before; the diagnostics stay. */
static int round_fail(struct round *round, int rc)
{
    char message[DIAG_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", diag_message_for(rc));
    bodies_revert(round);
    if (!checkpoint__mutated(round->checkpoint, CHECKPOINT_MUTATION_NO_RETURN))
        changes_return(round);
    return diag_set(rc, "%s", message);
}

void checkpoint__collect(struct checkpoint *checkpoint)
{
    size_t left = SIZE_MAX, before;
    do {
        before = left;
        left = txn_collect(checkpoint->worker->txn, BATCH_ROWS);
        db__throttle_free(checkpoint->db);
        checkpoint__breathe(checkpoint);
    } while (left < before && !load_relaxed(&checkpoint->stop));
}

int checkpoint__make(struct checkpoint *checkpoint, uint64_t *rows, uint64_t *bytes)
{
    struct round round = {.checkpoint = checkpoint};
    checkpoint__sweep(checkpoint);
    checkpoint__builds_begin(&round);
    int rc = runs_write(&round);
    if (rc == 0)
        rc = stores_join(&round);
    if (rc == 0)
        rc = manifest_write(&round);
    if (rc != 0) {
        rc = round_fail(&round, rc);
    } else {
        changes_done(&round);
        checkpoint__collect(checkpoint);
    }
    checkpoint__builds_end(&round, rc);
    if (rc == 0 && wal_release(checkpoint->db->wal, checkpoint->manifest.first_segment) != 0)
        log_warn("the log is not cut after a checkpoint: %s", diag_message());
    *rows = round.rows;
    *bytes = round.bytes;
    round_end(&round);
    return rc;
}

/* ---------------------------------------------------------------------------------- one store, in the gate */

/* Puts the changes of the store before the others; how many they are. */
static size_t changes_part(struct round *round, const struct store *store)
{
    struct txn_changes *changes = &round->changes;
    size_t count = 0;
    for (size_t i = 0; i < changes->count; i++) {
        struct txn_change change = changes->items[i];
        if (change_store(&change) != store)
            continue;
        changes->items[i] = changes->items[count];
        changes->items[count++] = change;
    }
    return count;
}

void checkpoint__failure_keep(struct checkpoint_failure *failure, int rc)
{
    failure->rc = rc;
    snprintf(failure->message, sizeof failure->message, "%s", rc == 0 ? "" : diag_message_for(rc));
}

int checkpoint__failure_restore(const struct checkpoint_failure *failure)
{
    return failure->rc == 0 ? 0 : diag_set(failure->rc, "%s", failure->message);
}

int checkpoint__gate_absorb(struct checkpoint *checkpoint, struct store *store, uint64_t k,
                            struct round **out)
{
    struct round *round = calloc(1, sizeof *round);
    if (round == NULL)
        return diag_set(ERROR_MEMORY, "no memory for a checkpoint");
    round->checkpoint = checkpoint;
    round->k = k;
    checkpoint->gated = true;
    int rc = changes_take(round);
    size_t count = rc == 0 ? changes_part(round, store) : 0;
    if (rc == 0)
        rc = snapshots_take(round);
    if (rc == 0)
        rc = items_sort(round, count);
    if (rc == 0 && count > 0)
        rc = checkpoint__store_absorb(round, store, 0, count);
    if (rc != 0)
        checkpoint__gate_absorbed(round, store, rc);
    else
        *out = round;
    return rc;
}

void checkpoint__gate_absorbed(struct round *round, struct store *store, int rc)
{
    struct checkpoint *checkpoint = round->checkpoint;
    struct txn_changes *changes = &round->changes;
    struct checkpoint_failure failure;
    size_t kept = 0;
    checkpoint__failure_keep(&failure, rc);
    if (rc != 0)
        body_revert(store->body, false);
    for (size_t i = 0; rc == 0 && i < changes->count; i++)
        if (change_store(&changes->items[i]) != store || !change_done(round, &changes->items[i]))
            changes->items[kept++] = changes->items[i];
    if (rc == 0)
        changes->count = kept;
    changes_return(round);
    checkpoint->gated = false;
    round_end(round);
    free(round);
    checkpoint__failure_restore(&failure);
}
