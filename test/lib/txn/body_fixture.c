/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same steps in the same order as a checkpoint of a database (src/db/checkpoint_write.c), without
 * files.
 */
#include "txn/body_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "storage/null/null.h"

void body_fixture_open(struct body_fixture *f, struct txn_fixture *txn, unsigned worker)
{
    struct body_view *view;
    struct engine_options options = {.io = txn->io, .space_id = 2};
    memset(f, 0, sizeof *f);
    f->txn = txn;
    f->worker = worker;
    assert_int_equal(body_open(engine_find("null", 4), &options, &f->body), 0);
    assert_int_equal(body_view_open(f->body, &view), 0);
    txn_body_publish(&txn->boot, &f->published, view, 0);
    txn->other.tracked = true;
    txn->other.body = &f->published;
    f->index = (struct txn_index){.tree = txn->other.tree, .head = &txn->other};
}

void body_fixture_close(struct body_fixture *f)
{
    txn_body_publish(&f->txn->boot, &f->published, NULL, f->k);
    epoch_collect(f->txn->boot.epoch);
    epoch_collect(f->txn->boot.epoch);
    epoch_collect(f->txn->boot.epoch);
    body_close(f->body);
}

struct rows {
    struct engine_source base;
    struct engine_row *items;
    size_t count, next;
    struct arena arena; /* keys as the body has them */
};

static int row_next(struct engine_source *base, struct engine_row *out)
{
    struct rows *rows = (struct rows *)base;
    if (rows->next == rows->count)
        return ERROR_END;
    *out = rows->items[rows->next++];
    return 0;
}

/* In order of keys, versions of one key newest first. */
static int row_compare(const void *one, const void *other)
{
    const struct engine_row *a = one, *b = other;
    size_t common = a->key_size < b->key_size ? a->key_size : b->key_size;
    int order = memcmp(a->key, b->key, common);
    if (order == 0)
        order = (a->key_size > b->key_size) - (a->key_size < b->key_size);
    return order != 0 ? order : (a->ts < b->ts) - (a->ts > b->ts);
}

static void row_add(struct rows *rows, const struct row *row, const struct version *version,
                    uint64_t ts)
{
    bool tombstone = (version_flags(version) & VERSION_TOMBSTONE) != 0;
    unsigned char *key = arena_alloc(&rows->arena, (size_t)row->key_size + 1);
    assert_non_null(key);
    key[0] = 0;
    memcpy(key + 1, row->key, row->key_size);
    rows->items[rows->count++] =
        (struct engine_row){key, (size_t)row->key_size + 1, ts, tombstone ? NULL : version->bytes,
                            tombstone ? 0 : version->size};
}

/* The version at k, and those that snapshots see. */
static void versions_add(struct rows *rows, const struct row *row, uint64_t k, uint64_t old_k,
                         const struct engine_snapshots *snapshots)
{
    uint64_t ts, last = 0;
    const struct version *version = txn_row_at(row, k, &ts);
    if (version == NULL || ts <= old_k)
        return;
    row_add(rows, row, version, last = ts);
    for (unsigned i = snapshots->count; i-- > 0;) {
        version = txn_row_at(row, snapshots->ts[i], &ts);
        if (snapshots->ts[i] < last && version != NULL && ts > old_k && ts != last)
            row_add(rows, row, version, last = ts);
    }
}

void body_fixture_absorb(struct body_fixture *f, struct txn_changes *changes)
{
    struct txn_worker *worker = f->txn->workers[f->worker];
    struct wal *wal = f->txn->wal;
    struct engine_snapshots snapshots;
    assert_int_equal(wal_wait_durable(wal, wal_clock(wal)), 0);
    uint64_t k = wal_durable_ts(wal);
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = true, .durable = true};
    struct txn *txn;
    assert_int_equal(txn_open(worker, &options, &txn), 0);
    k = txn_snapshot_ts(txn);
    txn_park(txn);
    assert_int_equal(txn_changes_take(f->txn->system, changes), 0);
    assert_int_equal(txn_body_snapshots(worker, k, &snapshots), 0);
    struct rows rows = {.base.next = row_next};
    arena_create(&rows.arena, 0);
    rows.items = malloc((changes->count + 1) * (snapshots.count + 1) * sizeof *rows.items);
    assert_non_null(rows.items);
    txn_worker_enter(worker);
    for (size_t i = 0; i < changes->count; i++)
        if (changes->items[i].head == &f->txn->other)
            versions_add(&rows, changes->items[i].row, k, f->k, &snapshots);
    qsort(rows.items, rows.count, sizeof *rows.items, row_compare);
    assert_int_equal(body_absorb(f->body, &rows.base, k, &snapshots), 0);
    txn_worker_leave(worker);
    free(rows.items);
    arena_destroy(&rows.arena);
    assert_int_equal(txn_resume(txn), 0);
    txn_rollback(txn);
    f->k = k;
}

void body_fixture_publish(struct body_fixture *f)
{
    struct body_view *view;
    assert_int_equal(body_view_open(f->body, &view), 0);
    txn_body_publish(txn_worker_thread(f->txn->workers[f->worker]), &f->published, view, f->k);
}

void body_fixture_done(struct body_fixture *f, struct txn_changes *changes)
{
    struct txn_worker *worker = f->txn->workers[f->worker];
    size_t kept = 0;
    txn_worker_enter(worker);
    for (size_t i = 0; i < changes->count; i++)
        if (!txn_change_done(worker, &changes->items[i], f->k))
            changes->items[kept++] = changes->items[i];
    txn_worker_leave(worker);
    changes->count = kept;
    txn_changes_return(f->txn->system, changes);
    for (unsigned round = 0; round < 3; round++)
        txn_collect(worker, SIZE_MAX);
}

void body_fixture_checkpoint_beside(struct body_fixture *f)
{
    struct txn_changes changes = {0};
    body_fixture_absorb(f, &changes);
    body_fixture_publish(f);
    body_fixture_done(f, &changes);
}

void body_fixture_checkpoint(struct body_fixture *f)
{
    body_fixture_checkpoint_beside(f);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < f->txn->worker_count; i++)
            txn_collect(f->txn->workers[i], SIZE_MAX);
}

size_t body_fixture_resident(const struct body_fixture *f)
{
    return tree_count(f->txn->other.tree);
}
