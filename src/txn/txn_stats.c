/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Counters, and where conflicts are lost.
 *
 * Counters are striped by worker, written by it alone and read by anyone. Conflicts by place are an
 * estimate with bounded memory: Metwally, Agrawal and El Abbadi's space saving (2005), a table a
 * worker, merged when somebody asks. A place that is new takes that of the rarest one and its
 * count, so a count is never too small, and too large by at most that.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "txn/txn_private.h"

const char *txn_cause_name(enum txn_cause cause)
{
    static const char *const NAMES[TXN_CAUSE_MAX] = {
        [TXN_CAUSE_WRITE] = "write",         [TXN_CAUSE_READ] = "read",
        [TXN_CAUSE_UNIQUE] = "unique",       [TXN_CAUSE_REFERENCE] = "reference",
        [TXN_CAUSE_WAIT] = "wait",           [TXN_CAUSE_DEADLOCK] = "deadlock",
        [TXN_CAUSE_CANCELLED] = "cancelled", [TXN_CAUSE_ROLLBACK] = "rollback",
    };
    return NAMES[cause];
}

static void place_count(struct conflict_table *table, const struct txn_conflict *place)
{
    struct txn_conflict *rarest = &table->places[0];
    for (unsigned i = 0; i < table->count; i++) {
        struct txn_conflict *known = &table->places[i];
        if (known->space_id == place->space_id && known->prefix_size == place->prefix_size &&
            memcmp(known->prefix, place->prefix, place->prefix_size) == 0) {
            known->count += place->count;
            return;
        }
        if (known->count < rarest->count)
            rarest = known;
    }
    uint64_t before = 0;
    if (table->count < CONFLICT_PLACES)
        rarest = &table->places[table->count++];
    else
        before = rarest->count;
    *rarest = *place;
    rarest->count += before;
}

int txn__conflict(struct txn *txn, enum txn_cause cause)
{
    if (!MUTATION(CONFLICT_DOES_NOT_DOOM))
        txn->stop = ERROR_CONFLICT;
    txn->cause = cause;
    txn__count(&txn->worker->counters->conflicts);
    return ERROR_CONFLICT;
}

int txn__conflict_at(struct txn *txn, enum txn_cause cause, const struct head *head,
                     const void *key, size_t key_size)
{
    struct conflict_table *table = &txn->worker->system->conflicts[txn->worker->number];
    struct txn_conflict place = {.space_id = head->id, .count = 1};
    place.prefix_size = (uint32_t)(key_size < TXN_PREFIX_MAX ? key_size : TXN_PREFIX_MAX);
    if (place.prefix_size > 0) /* a range without a lower bound has no key */
        memcpy(place.prefix, key, place.prefix_size);
    pthread_mutex_lock(&table->mutex);
    place_count(table, &place);
    pthread_mutex_unlock(&table->mutex);
    return txn__conflict(txn, cause);
}

int txn__stop(struct txn *txn, int code, enum txn_cause cause)
{
    txn->stop = code;
    txn->cause = cause;
    return code;
}

static int more_frequent(const void *a, const void *b)
{
    uint64_t left = ((const struct txn_conflict *)a)->count,
             right = ((const struct txn_conflict *)b)->count;
    return left < right ? 1 : left > right ? -1 : 0;
}

unsigned txn_conflicts_get(struct txn_system *system, struct txn_conflict *out, unsigned max)
{
    struct conflict_table all = {.count = 0};
    for (unsigned i = 0; i < system->worker_max; i++) {
        struct conflict_table *table = &system->conflicts[i];
        pthread_mutex_lock(&table->mutex);
        for (unsigned n = 0; n < table->count; n++)
            place_count(&all, &table->places[n]);
        pthread_mutex_unlock(&table->mutex);
    }
    qsort(all.places, all.count, sizeof *all.places, more_frequent);
    unsigned count = all.count < max ? all.count : max;
    memcpy(out, all.places, count * sizeof *out);
    return count;
}

void txn_stats_get(const struct txn_system *system, struct txn_stats *out)
{
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < system->worker_max; i++) {
        const struct txn_counters *counters = &system->counters[i];
        out->commits += load_relaxed(&counters->commits);
        out->rollbacks += load_relaxed(&counters->rollbacks);
        out->conflicts += load_relaxed(&counters->conflicts);
        out->retries += load_relaxed(&counters->retries);
        out->gate_entries += load_relaxed(&counters->gate_entries);
        out->rows_queued += load_relaxed(&counters->rows_queued);
        for (unsigned cause = 0; cause < TXN_CAUSE_MAX; cause++)
            out->aborts[cause] += load_relaxed(&counters->aborts[cause]);
    }
    out->deferred = load_relaxed(&system->deferred_done);
    out->open = load_relaxed(&system->open);
    out->changes = txn_changes_pending(system);
}

uint64_t txn_head_bytes(const struct head *head)
{
    int64_t bytes = 0;
    for (unsigned i = 0; i < HEAD_STRIPES; i++)
        bytes += load_relaxed(&head->live[i].bytes);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

uint64_t txn_head_rows(const struct head *head)
{
    int64_t rows = 0;
    for (unsigned i = 0; i < HEAD_STRIPES; i++)
        rows += load_relaxed(&head->live[i].change);
    return rows > 0 ? (uint64_t)rows : 0;
}
