/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Replaying the log by several threads.
 *
 * The calling thread reads the log, takes records apart and finds, or makes, the store of each
 * operation; what that leaves, finding the row and putting a version on it, is most of the work and
 * goes to other threads. Each operation goes to the thread that the hash of its key names, so that
 * one row is only ever touched by one thread; that the newest timestamp of a key wins (invariant 3)
 * then needs no ordering between threads, and rows of one tree are inserted side by side as in
 * normal operation.
 *
 *      wal_open ──▶ replay_record ──hash(key)──▶ batch, batch ... ──▶ applier 0 ──▶ heads
 *                                        └─────▶ batch, batch ... ──▶ applier 1 ──▶
 *
 * Operations are copied into batches, since the log's memory is used again. Each applier has
 * BATCHES of them, which go round between a list of full ones and one of empty ones: the reader
 * waits when none is empty, so memory is bounded. An operation that is larger than a batch gets one
 * of its own, once all before it have been taken.
 *
 * An error of an applier is kept with its message, and ends the reading at its next full batch.
 * The appliers go on taking batches, without applying them, so that nobody waits for ever.
 */
#include "db/db_replay.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "codec/crc32c.h"
#include "mem/heap.h"

enum { BATCHES = 4, BATCH_BYTES = 256 << 10 };

/* In a batch: this, the key, the data, up to a multiple of 8. */
struct operation {
    struct store *store;
    uint64_t ts;
    uint32_t key_size, size;
    bool tombstone;
};

struct batch {
    struct batch *next;
    size_t used, room;
    char data[];
};

struct applier {
    CACHE_ALIGNED struct replay *replay;
    struct tree_thread thread;
    struct txn_changes changes;
    uint64_t rows;
    struct batch *filling; /* the reader's */
    pthread_t id;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    struct batch *full, **full_end, *empty;
    bool finished; /* nothing more comes */
};

struct replay {
    struct db *db;
    struct store *last; /* of the operation before */
    unsigned count;     /* of threads; none when the caller does it alone, as the first applier */
    bool alone;
    _Atomic int failed;
    pthread_mutex_t mutex; /* of the message */
    char failure[DIAG_MESSAGE_MAX];
    struct applier appliers[REPLAY_THREADS_MAX];
};

/* -------------------------------------------------------------------------------------- applying */

static int operation_apply(struct applier *applier, const struct operation *operation,
                           const void *key, const char *data)
{
    struct row *row;
    struct head *head = &operation->store->head;
    int rc = txn_replay_row(&applier->thread, head, operation->ts, key, operation->key_size, data,
                            operation->size, operation->tombstone, &row);
    if (rc == 0 && row != NULL)
        rc = txn_changes_add(&applier->changes, head, row);
    if (rc != 0)
        return diag_set(rc, "no memory to replay the log; memory in use: %zu bytes",
                        heap_used_bytes(applier->replay->db->heap));
    applier->rows++;
    return 0;
}

static size_t operation_bytes(const struct operation *operation)
{
    return (sizeof *operation + operation->key_size + (size_t)operation->size + 7) & ~(size_t)7;
}

static int batch_apply(struct applier *applier, const struct batch *batch)
{
    for (size_t at = 0; at < batch->used;) {
        struct operation operation;
        memcpy(&operation, batch->data + at, sizeof operation);
        const char *key = batch->data + at + sizeof operation;
        int rc = operation_apply(applier, &operation, key, key + operation.key_size);
        if (rc != 0)
            return rc;
        at += operation_bytes(&operation);
    }
    return 0;
}

static void replay_fail(struct replay *replay, int rc)
{
    pthread_mutex_lock(&replay->mutex);
    if (load_relaxed(&replay->failed) == 0) {
        snprintf(replay->failure, sizeof replay->failure, "%s", diag_message_for(rc));
        store_release(&replay->failed, rc);
    }
    pthread_mutex_unlock(&replay->mutex);
}

static int replay_failure(struct replay *replay)
{
    int rc = load_acquire(&replay->failed);
    return rc == 0 ? 0 : diag_set(rc, "%s", replay->failure);
}

/* Under the mutex. */
static void batch_done(struct applier *applier, struct batch *batch)
{
    if (batch->room > BATCH_BYTES) {
        free(batch);
        return;
    }
    batch->used = 0;
    batch->next = applier->empty;
    applier->empty = batch;
}

static void *applier_main(void *arg)
{
    struct applier *applier = arg;
    log_thread_name("replay");
    pthread_mutex_lock(&applier->mutex);
    for (;;) {
        struct batch *batch = applier->full;
        if (batch == NULL && applier->finished)
            break;
        if (batch == NULL) {
            pthread_cond_wait(&applier->changed, &applier->mutex);
            continue;
        }
        applier->full = batch->next;
        if (applier->full == NULL)
            applier->full_end = &applier->full;
        pthread_mutex_unlock(&applier->mutex);
        int rc = load_relaxed(&applier->replay->failed) == 0 ? batch_apply(applier, batch) : 0;
        if (rc != 0)
            replay_fail(applier->replay, rc);
        pthread_mutex_lock(&applier->mutex);
        batch_done(applier, batch);
        pthread_cond_signal(&applier->changed);
    }
    pthread_mutex_unlock(&applier->mutex);
    return NULL;
}

/* --------------------------------------------------------------------------------------- reading */

static struct batch *batch_new(size_t room)
{
    struct batch *batch = malloc(sizeof *batch + room);
    if (batch == NULL) {
        diag_set(ERROR_MEMORY, "no memory to replay the log: %zu bytes", room);
        return NULL;
    }
    *batch = (struct batch){.room = room};
    return batch;
}

static void batch_submit(struct applier *applier, struct batch *batch)
{
    pthread_mutex_lock(&applier->mutex);
    batch->next = NULL;
    *applier->full_end = batch;
    applier->full_end = &batch->next;
    pthread_cond_signal(&applier->changed);
    pthread_mutex_unlock(&applier->mutex);
}

/* An empty one, waiting for it. */
static struct batch *batch_take(struct applier *applier)
{
    pthread_mutex_lock(&applier->mutex);
    while (applier->empty == NULL)
        pthread_cond_wait(&applier->changed, &applier->mutex);
    struct batch *batch = applier->empty;
    applier->empty = batch->next;
    pthread_mutex_unlock(&applier->mutex);
    return batch;
}

static void wait_until_taken(struct applier *applier)
{
    pthread_mutex_lock(&applier->mutex);
    while (applier->full != NULL)
        pthread_cond_wait(&applier->changed, &applier->mutex);
    pthread_mutex_unlock(&applier->mutex);
}

/* Room for an operation of `bytes` at the end of the batch that is being filled. */
static int batch_room(struct applier *applier, size_t bytes)
{
    if (applier->filling != NULL && applier->filling->room - applier->filling->used >= bytes)
        return 0;
    if (applier->filling != NULL)
        batch_submit(applier, applier->filling);
    applier->filling = NULL;
    int rc = replay_failure(applier->replay);
    if (rc != 0)
        return rc;
    if (bytes > BATCH_BYTES) {
        wait_until_taken(applier);
        applier->filling = batch_new(bytes);
        return applier->filling == NULL ? ERROR_MEMORY : 0;
    }
    applier->filling = batch_take(applier);
    return 0;
}

static int operation_hand_over(struct applier *applier, const struct operation *operation,
                               const void *key, const char *data)
{
    size_t bytes = operation_bytes(operation);
    int rc = batch_room(applier, bytes);
    if (rc != 0)
        return rc;
    char *out = applier->filling->data + applier->filling->used;
    memcpy(out, operation, sizeof *operation);
    memcpy(out + sizeof *operation, key, operation->key_size);
    if (operation->size > 0)
        memcpy(out + sizeof *operation + operation->key_size, data, operation->size);
    applier->filling->used += bytes;
    return 0;
}

static int replay_store(struct replay *replay, const struct txn_redo *redo, struct store **out)
{
    struct store *store = replay->last;
    if (store == NULL || store->head.id != redo->head_id ||
        store->head.incarnation != redo->head_incarnation)
        store = db__store_find(replay->db, redo->head_id, redo->head_incarnation);
    if (store == NULL) {
        int rc = db__store_make(replay->db, &replay->db->boot, redo->head_id,
                                redo->head_incarnation, &store);
        if (rc != 0)
            return rc;
    }
    replay->last = *out = store;
    return 0;
}

static int replay_operation(struct replay *replay, uint64_t ts, const struct txn_redo *redo)
{
    struct store *store;
    int rc = replay_store(replay, redo, &store);
    if (rc != 0 || ts <= store->k)
        return rc;
    const struct operation operation = {
        .store = store,
        .ts = ts,
        .key_size = (uint32_t)redo->key_size,
        .size = (uint32_t)redo->size,
        .tombstone = redo->data == NULL,
    };
    if (replay->alone)
        return operation_apply(&replay->appliers[0], &operation, redo->key, redo->data);
    uint32_t hash = crc32c(redo->head_id, redo->key, redo->key_size);
    return operation_hand_over(&replay->appliers[hash % replay->count], &operation, redo->key,
                               redo->data);
}

int db__replay_record(uint64_t ts, const void *body, size_t size, void *arg)
{
    struct replay *replay = arg;
    const char *data = body, *end = data + size;
    struct txn_redo redo;
    int rc;
    while ((rc = txn_redo_next(&data, end, &redo)) == 0)
        if ((rc = replay_operation(replay, ts, &redo)) != 0)
            return rc;
    return rc == ERROR_END ? 0 : rc;
}

/* ------------------------------------------------------------------------------ begin and end */

static void applier_free(struct applier *applier)
{
    while (applier->empty != NULL) {
        struct batch *batch = applier->empty;
        applier->empty = batch->next;
        free(batch);
    }
    free(applier->filling);
    if (applier->thread.epoch != NULL)
        epoch_slot_close(applier->thread.epoch);
    if (applier->thread.heap != NULL)
        heap_cache_close(applier->thread.heap);
    pthread_mutex_destroy(&applier->mutex);
    pthread_cond_destroy(&applier->changed);
}

/* Starts one; false when something it needs is not to be had. */
static bool applier_start(struct replay *replay, struct applier *applier)
{
    *applier = (struct applier){.replay = replay};
    applier->full_end = &applier->full;
    pthread_mutex_init(&applier->mutex, NULL);
    pthread_cond_init(&applier->changed, NULL);
    bool good = heap_cache_open(replay->db->heap, &applier->thread.heap) == 0 &&
                epoch_slot_open(replay->db->epochs, &applier->thread.epoch) == 0;
    for (unsigned i = 0; good && i < BATCHES; i++) {
        struct batch *batch = batch_new(BATCH_BYTES);
        good = batch != NULL;
        if (good)
            batch_done(applier, batch);
    }
    if (good && pthread_create(&applier->id, NULL, applier_main, applier) == 0)
        return true;
    applier_free(applier);
    return false;
}

static unsigned threads_useful(void)
{
    cpu_set_t cores;
    unsigned count =
        sched_getaffinity(0, sizeof cores, &cores) == 0 ? (unsigned)CPU_COUNT(&cores) : 1;
    return count < REPLAY_THREADS_MAX ? count : (unsigned)REPLAY_THREADS_MAX;
}

int db__replay_new(struct db *db, unsigned threads, struct replay **out)
{
    struct replay *replay = aligned_alloc(CACHE_LINE_SIZE, sizeof *replay);
    if (replay == NULL)
        return diag_set(ERROR_MEMORY, "no memory to replay the log");
    memset(replay, 0, sizeof *replay);
    replay->db = db;
    pthread_mutex_init(&replay->mutex, NULL);
    threads = threads == 0 ? threads_useful() : threads;
    threads = threads < REPLAY_THREADS_MAX ? threads : (unsigned)REPLAY_THREADS_MAX;
    while (threads > 1 && replay->count < threads &&
           applier_start(replay, &replay->appliers[replay->count]))
        replay->count++;
    replay->alone = replay->count == 0;
    if (replay->alone)
        replay->appliers[0] = (struct applier){.replay = replay, .thread = db->boot};
    *out = replay;
    return 0;
}

static void applier_join(struct applier *applier)
{
    if (applier->filling != NULL)
        batch_submit(applier, applier->filling);
    applier->filling = NULL;
    pthread_mutex_lock(&applier->mutex);
    applier->finished = true;
    pthread_cond_signal(&applier->changed);
    pthread_mutex_unlock(&applier->mutex);
    pthread_join(applier->id, NULL);
}

/* Adds what one applier has listed to *all. */
static int changes_merge(struct txn_changes *all, struct txn_changes *changes)
{
    if (all->count == 0 && all->items == NULL) {
        *all = *changes;
        *changes = (struct txn_changes){0};
        return 0;
    }
    int rc = txn_changes_append(all, changes);
    return rc != 0 ? diag_set(rc, "no memory to list the rows that have changed") : 0;
}

int db__replay_end(struct replay *replay, struct txn_changes *changes, uint64_t *rows)
{
    if (replay == NULL)
        return 0;
    for (unsigned i = 0; i < replay->count; i++)
        applier_join(&replay->appliers[i]);
    int rc = replay_failure(replay);
    for (unsigned i = 0; i < replay->count + replay->alone; i++) {
        struct applier *applier = &replay->appliers[i];
        *rows += applier->rows;
        if (rc == 0)
            rc = changes_merge(changes, &applier->changes);
        txn_changes_free(&applier->changes);
        if (!replay->alone)
            applier_free(applier);
    }
    pthread_mutex_destroy(&replay->mutex);
    free(replay);
    return rc;
}
