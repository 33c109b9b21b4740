/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Rows that have changed since a checkpoint has taken them (invariant 19).
 *
 * Whoever sets ROW_CHANGED in a row's state puts it on his worker's list, so that a row is listed
 * once however often it is written. A commit sets it after its one store that commits; a checkpoint
 * at K clears it after what the row was at K has become durable, and then looks at the row again:
 *
 *      commit:       committed    -> set the bit (was it clear? list the row)
 *      checkpoint:   clear the bit -> is there a version above K, or one not yet committed? set it
 *
 * All are sequentially consistent read-modify-writes of one word, or ordered by it: either the
 * commit finds the bit clear and lists the row, or the checkpoint finds its version. A version that
 * is not yet committed when the checkpoint looks is listed by its own commit, which has its
 * set-the-bit still before it. And the commit does it before wal_end: the cut waits for that, so
 * whatever is at most D is listed when a checkpoint at K = D takes the lists.
 *
 * While the bit is set the row does not end, so tombstones stay until a durable run covers them, and
 * the pointers in a list stay valid; a head that goes away is taken out of all lists first
 * (txn_collect_forget).
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "txn/txn_private.h"

static void latch(struct change_list *list)
{
    unsigned turn = 0;
    while (atomic_exchange_explicit(&list->latch, 1, memory_order_acquire) != 0)
        spin_wait(&turn);
}

static void unlatch(struct change_list *list)
{
    store_release(&list->latch, 0);
}

static bool rows_reserve(struct txn_changes *rows, size_t count)
{
    if (rows->capacity - rows->count >= count)
        return true;
    size_t capacity = rows->capacity == 0 ? 256 : 2 * rows->capacity;
    while (capacity - rows->count < count)
        capacity *= 2;
    struct txn_change *items = realloc(rows->items, capacity * sizeof *items);
    if (items == NULL)
        return false;
    rows->items = items;
    rows->capacity = capacity;
    return true;
}

bool txn__changes_reserve(struct txn_worker *worker, size_t count)
{
    struct change_list *list = &worker->system->changes[worker->number];
    latch(list);
    bool reserved = rows_reserve(&list->rows, count);
    list->reserved = reserved ? count : 0;
    unlatch(list);
    return reserved;
}

void txn__changes_list(struct txn_worker *worker, const struct txn_write *writes, size_t count)
{
    struct change_list *list = &worker->system->changes[worker->number];
    bool latched = false;
    for (size_t i = 0; i < count; i++) {
        struct row *row = writes[i].row;
        if (!writes[i].head->tracked || (writes[i].version->flags & VERSION_LOCK) ||
            (atomic_fetch_or(&row->state, ROW_CHANGED) & ROW_CHANGED))
            continue;
        if (!latched)
            latch(list);
        latched = true;
        list->rows.items[list->rows.count++] = (struct txn_change){writes[i].head, row};
    }
    if (latched)
        unlatch(list);
}

/* Lists a row of which the worker has set the bit. */
static void list_again(struct txn_worker *worker, const struct txn_change *change)
{
    struct change_list *list = &worker->system->changes[worker->number];
    latch(list);
    while (!rows_reserve(&list->rows, 1))
        sched_yield();
    list->rows.items[list->rows.count++] = *change;
    unlatch(list);
}

int txn_changes_add(struct txn_changes *changes, struct head *head, struct row *row)
{
    if (atomic_fetch_or(&row->state, ROW_CHANGED) & ROW_CHANGED)
        return 0;
    if (!rows_reserve(changes, 1)) {
        atomic_fetch_and(&row->state, ~(uint32_t)ROW_CHANGED);
        return ERROR_MEMORY;
    }
    changes->items[changes->count++] = (struct txn_change){head, row};
    return 0;
}

void txn_changes_free(struct txn_changes *changes)
{
    free(changes->items);
    *changes = (struct txn_changes){NULL, 0, 0};
}

static bool rows_append(struct txn_changes *to, const struct txn_changes *from)
{
    if (from->count == 0)
        return true;
    if (!rows_reserve(to, from->count))
        return false;
    memcpy(to->items + to->count, from->items, from->count * sizeof *from->items);
    to->count += from->count;
    return true;
}

/* Takes a worker's list, leaving one with as much room as the worker has reserved. */
static bool list_take(struct change_list *list, struct txn_changes *out)
{
    struct txn_changes empty = {NULL, 0, 0};
    for (;;) {
        latch(list);
        size_t reserved = list->reserved;
        bool enough = list->rows.count == 0 || empty.capacity >= reserved;
        if (enough && list->rows.count > 0) {
            *out = list->rows;
            list->rows = empty;
            empty = (struct txn_changes){NULL, 0, 0};
        }
        unlatch(list);
        if (enough)
            break;
        if (!rows_reserve(&empty, reserved)) {
            txn_changes_free(&empty);
            return false;
        }
    }
    txn_changes_free(&empty);
    return true;
}

int txn_changes_take(struct txn_system *system, struct txn_changes *changes)
{
    size_t before = changes->count;
    for (unsigned i = 0; i < system->worker_max; i++) {
        struct txn_changes rows = {NULL, 0, 0};
        bool taken = list_take(&system->changes[i], &rows) && rows_append(changes, &rows);
        if (!taken) {
            struct txn_changes all = {changes->items + before, changes->count - before, 0};
            while (txn_changes_return(system, &all) != 0)
                sched_yield();
            while (txn_changes_return(system, &rows) != 0)
                sched_yield();
            changes->count = before;
        }
        txn_changes_free(&rows);
        if (!taken)
            return ERROR_MEMORY;
    }
    return 0;
}

int txn_changes_return(struct txn_system *system, const struct txn_changes *changes)
{
    struct change_list *list = &system->changes[0];
    latch(list);
    bool appended = rows_append(&list->rows, changes);
    unlatch(list);
    return appended ? 0 : ERROR_MEMORY;
}

uint64_t txn_changes_pending(const struct txn_system *system)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < system->worker_max; i++) {
        struct change_list *list = &system->changes[i];
        latch(list);
        count += list->rows.count;
        unlatch(list);
    }
    return count;
}

void txn__changes_forget(struct txn_system *system, const struct head *head)
{
    for (unsigned i = 0; i < system->worker_max; i++) {
        struct change_list *list = &system->changes[i];
        latch(list);
        size_t kept = 0;
        for (size_t n = 0; n < list->rows.count; n++)
            if (list->rows.items[n].head != head)
                list->rows.items[kept++] = list->rows.items[n];
        list->rows.count = kept;
        unlatch(list);
    }
}

const struct version *txn_row_at(const struct row *row, uint64_t ts, uint64_t *ts_out)
{
    const struct version *version = txn__visible(row, ts, NULL, false, ts_out);
    return version == &txn__version_dead ? NULL : version;
}

/* Whether the row has something that a checkpoint at k has not written: a version above it, or one
 * that may become such. */
static bool changed_since(const struct row *row, uint64_t k)
{
    for (const struct version *version = load_seq_cst(&row->newest);
         version != NULL && version != &txn__version_dead;
         version = load_acquire(&version->older)) {
        uint64_t stamp = load_acquire(&version->stamp);
        if (stamp & STAMP_TAG) {
            uint64_t state = load_seq_cst(&txn__tag_owner(stamp)->state);
            if ((state & STATE_MASK) != STATE_COMMITTED || (version->flags & VERSION_LOCK))
                continue; /* its commit, if it comes to that, finds the bit clear */
            stamp = state >> STATE_TS_SHIFT;
        }
        return stamp > k;
    }
    return false;
}

void txn_change_done(struct txn_worker *worker, const struct txn_change *change, uint64_t k)
{
    struct row *row = change->row;
    atomic_fetch_and(&row->state, ~(uint32_t)ROW_CHANGED);
    if (changed_since(row, k) && !(atomic_fetch_or(&row->state, ROW_CHANGED) & ROW_CHANGED)) {
        list_again(worker, change);
        return;
    }
    txn__changes_adopt(worker, change->head, row);
}

void txn_worker_enter(struct txn_worker *worker)
{
    epoch_enter(worker->thread.epoch);
}

void txn_worker_leave(struct txn_worker *worker)
{
    epoch_leave(worker->thread.epoch);
}
