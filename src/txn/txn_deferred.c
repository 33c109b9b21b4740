/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Deferred actions (invariant 10): what a transaction has queued goes out when its commit is
 * durable, in order of timestamps over all workers, at most once, and never otherwise.
 *
 * A commit puts its actions into its worker's queue between wal_begin and wal_end, so that a cut,
 * which waits for those, knows of every action up to C. What replies may rest on (D under commit,
 * what has been written under interval) may go out, the smallest timestamp of all queues first.
 * Under durability none that is the clock, and those who are between the two are waited for. One
 * thread at a time does it, under deferred_mutex; who finds it taken leaves it to the other one, who
 * looks again after giving it up.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "txn/txn_private.h"

enum { DEFERRED_BYTES_MAX = 64 << 20 }; /* of one transaction */

int txn_defer(struct txn *txn, unsigned kind, const void *data, size_t size)
{
    return txn_defer_if(txn, kind, data, size, NULL);
}

int txn_defer_if(struct txn *txn, unsigned kind, const void *data, size_t size,
                 const _Atomic uint32_t *wanted)
{
    int rc = txn__stopped(txn);
    if (rc != 0)
        return rc;
    if (txn->readonly)
        return diag_set(ERROR_READONLY, "a read-only transaction cannot queue an action");
    size_t cost = sizeof(struct deferred) + size;
    if (txn->deferred_bytes + cost > DEFERRED_BYTES_MAX)
        return diag_set(ERROR_TOO_LARGE,
                        "an action of %zu bytes: those of a transaction are above the limit of %d",
                        size, DEFERRED_BYTES_MAX);
    struct deferred *deferred = malloc(cost);
    if (deferred == NULL || !txn__vector_add(txn, &txn->deferred, deferred)) {
        free(deferred);
        return diag_set(ERROR_MEMORY, "no memory for a deferred action");
    }
    *deferred = (struct deferred){.kind = kind, .size = size, .wanted = wanted};
    txn->deferred_bytes += cost;
    if (size > 0)
        memcpy(deferred->data, data, size);
    return 0;
}

void txn__deferred_drop(struct txn *txn, size_t from)
{
    while (txn->deferred.count > from) {
        struct deferred *deferred = txn->deferred.items[--txn->deferred.count];
        txn->deferred_bytes -= sizeof *deferred + deferred->size;
        free(deferred);
    }
}

/* After the store that makes the commit visible, which the exchange orders before the looks. */
static void deferred_unwanted_drop(struct txn *txn)
{
    size_t kept = 0;
    bool ordered = false;
    for (size_t i = 0; i < txn->deferred.count; i++) {
        struct deferred *deferred = txn->deferred.items[i];
        if (deferred->wanted != NULL && !ordered) {
            atomic_fetch_add(&txn->worker->system->deferred_count, 0);
            ordered = true;
        }
        if (deferred->wanted == NULL || load_seq_cst(deferred->wanted) != 0)
            txn->deferred.items[kept++] = deferred;
        else
            free(deferred);
    }
    txn->deferred.count = kept;
}

void txn__deferred_commit(struct txn *txn, uint64_t ts)
{
    struct txn_system *system = txn->worker->system;
    struct deferred_queue *queue = &system->deferred[txn->worker->number];
    deferred_unwanted_drop(txn);
    if (txn->deferred.count == 0)
        return;
    atomic_fetch_add(&system->deferred_count, txn->deferred.count);
    pthread_mutex_lock(&queue->mutex); /* held by others for a few instructions only */
    for (size_t i = 0; i < txn->deferred.count; i++) {
        struct deferred *deferred = txn->deferred.items[i];
        deferred->ts = ts;
        *queue->last = deferred;
        queue->last = &deferred->next;
    }
    pthread_mutex_unlock(&queue->mutex);
    txn->deferred.count = 0;
}

bool txn_deferred_pending(const struct txn_system *system)
{
    return load_acquire(&system->deferred_count) > 0;
}

/* The oldest action of all queues if it may go out; taken out of its queue. */
static struct deferred *deferred_next(struct txn_system *system, uint64_t until)
{
    struct deferred_queue *oldest = NULL;
    uint64_t ts = UINT64_MAX;
    for (unsigned i = 0; i < system->worker_max; i++) {
        struct deferred_queue *queue = &system->deferred[i];
        pthread_mutex_lock(&queue->mutex);
        if (queue->first != NULL && queue->first->ts <= until && queue->first->ts < ts &&
            !(MUTATION(DEFERRED_ANY_ORDER) && oldest != NULL)) {
            oldest = queue;
            ts = queue->first->ts;
        }
        pthread_mutex_unlock(&queue->mutex);
    }
    if (oldest == NULL)
        return NULL;
    /* Nobody else takes, and what is added comes behind. */
    pthread_mutex_lock(&oldest->mutex);
    struct deferred *deferred = oldest->first;
    oldest->first = deferred->next;
    if (oldest->first == NULL)
        oldest->last = &oldest->first;
    pthread_mutex_unlock(&oldest->mutex);
    return deferred;
}

void txn_deferred_run(struct txn_system *system, txn_deferred_fn fn, void *arg)
{
    uint64_t until;
    do {
        if (pthread_mutex_trylock(&system->deferred_mutex) != 0)
            return;
        until = MUTATION(DEFERRED_EARLY) ? wal_clock(system->wal) : wal_reply_ts(system->wal);
        wal_quiesce(system->wal);
        struct deferred *deferred;
        while ((deferred = deferred_next(system, until)) != NULL) {
            fn(deferred->ts, deferred->kind, deferred->data, deferred->size, arg);
            free(deferred);
            atomic_fetch_sub(&system->deferred_count, 1);
            atomic_fetch_add_explicit(&system->deferred_done, 1, memory_order_relaxed);
        }
        pthread_mutex_unlock(&system->deferred_mutex);
        /* Whoever was turned away meanwhile had seen the log advance. */
    } while (wal_reply_ts(system->wal) > until && txn_deferred_pending(system));
}

void txn__deferred_destroy(struct txn_system *system)
{
    for (unsigned i = 0; i < system->worker_max; i++)
        for (struct deferred *deferred = system->deferred[i].first, *next; deferred != NULL;
             deferred = next) {
            next = deferred->next;
            free(deferred);
        }
}
