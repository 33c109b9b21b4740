/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pairs outside of a transaction: the rows that there were when it began, in batches.
 *
 * A walk has a read-only transaction of its own, parked between the batches: its snapshot is what
 * all of them are read at, and all that it keeps from being freed. Each batch is read by a new
 * cursor behind the position at which the one before ended, so nothing but that position and one
 * batch of rows takes memory, however large the space is. A walk whose first batch is all there is
 * holds nothing.
 *
 * A loop may be left at any row, and Lua's collector is told of the walk only then: at any moment,
 * also inside of a transaction. So walk_drop only marks it, and what it holds is given back when
 * the next walk begins or goes on, at the latest when the request ends. A request that is over has
 * no walks: an iterator that somebody has kept says so.
 *
 * Between two batches the schema may change. A space that was dropped or truncated meanwhile, or
 * an index that is another one now, ends the walk with an error.
 */
#include <stdlib.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "lua/internal.h"

enum {
    WALKS_MAX = 128, /* of one runtime */
    ROWS_FIRST = 64, /* of the first batch; each has twice as many as the one before */
    ROWS_MAX = 1024,
    BATCH_BYTES_MAX = 1 << 18
};

struct lua__walk {
    struct lua__walk *next;
    struct txn *txn;                   /* parked; NULL: it holds nothing any more */
    const struct lua_request *request; /* of which it is */
    bool dropped;
    uint32_t space_id, index_id, rows;
    struct lua__scan scan;
    struct mp_buffer key, after;
    /* What the index was when it began. */
    uint64_t catalog_version;
    uint32_t incarnation, part_count;
    struct index_part parts[INDEX_PARTS_MAX];
};

static void let_go(struct lua__walk *walk)
{
    if (walk->txn != NULL && txn_resume(walk->txn) == 0)
        txn_rollback(walk->txn);
    walk->txn = NULL;
}

static void destroy(struct lua_runtime *runtime, struct lua__walk *walk)
{
    mp_buffer_destroy(&walk->key);
    mp_buffer_destroy(&walk->after);
    free(walk);
    runtime->walk_count--;
}

/* Gives back what the dropped ones hold. Outside of a transaction. */
static void sweep(struct lua_runtime *runtime)
{
    struct lua__walk **link = &runtime->walks, *walk;
    while ((walk = *link) != NULL) {
        if (!walk->dropped) {
            link = &walk->next;
            continue;
        }
        *link = walk->next;
        let_go(walk);
        destroy(runtime, walk);
    }
}

void lua__walks_end(struct lua_runtime *runtime)
{
    if (txn_current(runtime->txn_worker) != NULL)
        return;
    for (struct lua__walk *walk = runtime->walks; walk != NULL; walk = walk->next)
        if (walk->request == runtime->request)
            let_go(walk);
    sweep(runtime);
}

void lua__walks_free(struct lua_runtime *runtime)
{
    for (struct lua__walk *walk = runtime->walks; walk != NULL; walk = walk->next) {
        let_go(walk);
        walk->dropped = true;
    }
    sweep(runtime);
}

void lua__api_walk_drop(struct lua_runtime *runtime, struct lua__walk_handle *handle)
{
    (void)runtime;
    if (handle->walk != NULL)
        handle->walk->dropped = true;
    handle->walk = NULL;
}

/* ----------------------------------------------------------------------------------- batches */

static bool same_part(const struct index_part *a, const struct index_part *b)
{
    return a->field == b->field && a->type == b->type;
}

static int same_index(struct lua__walk *walk, const struct index *index,
                      const struct catalog *catalog)
{
    if (walk->catalog_version == catalog_version(catalog))
        return 0;
    bool same = walk->incarnation == index->space->head->incarnation &&
                walk->part_count == index->part_count;
    for (uint32_t i = 0; same && i < index->part_count; i++)
        same = same_part(&walk->parts[i], &index->parts[i]);
    if (!same)
        return diag_set(ERROR_INVALID,
                        "this iterator has ended: space \"%s\" was truncated, or its index "
                        "\"%s\" changed, since it began",
                        index->space->name, index->name);
    walk->catalog_version = catalog_version(catalog);
    return 0;
}

/* Reads the next rows in the walk's transaction, which is current. ERROR_END: these are the last. */
static int read_batch(struct lua_runtime *runtime, struct lua__walk *walk, struct index *index,
                      struct space_cursor *cursor, struct lua__row *rows)
{
    struct tuple_ref tuple;
    struct space_position last = {NULL, 0};
    uint32_t count = 0;
    int code = 0;
    mp_buffer_reset(&runtime->rows, 1 << 20);
    space_cursor_brief(cursor);
    space_cursor_expect(cursor, walk->rows);
    while (count < walk->rows && runtime->rows.size < BATCH_BYTES_MAX &&
           (code = space_cursor_next(cursor, &tuple)) == 0) {
        last = space_cursor_position(cursor);
        if ((++count & 255) == 0 && lua__interrupted(runtime))
            return ERROR_TIMEOUT;
        if ((code = lua__row_touched(runtime)) != 0)
            return code;
        if ((code = lua__rows_put(runtime, &tuple)) != 0)
            return code;
    }
    rows->data = runtime->rows.data;
    rows->size = count;
    if (code != 0)
        return code;
    walk->rows = walk->rows * 2 > ROWS_MAX ? ROWS_MAX : walk->rows * 2;
    walk->incarnation = index->space->head->incarnation;
    mp_buffer_reset(&walk->after, 65536);
    mp_put_raw(&walk->after, last.key, last.size);
    return walk->after.failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

/* After a batch: parks the transaction, or ends it. */
static int leave(struct lua_runtime *runtime, struct lua__walk *walk, int code)
{
    if (code == 0) {
        txn_park(walk->txn);
    } else {
        txn_rollback(walk->txn);
        walk->txn = NULL;
        walk->dropped = true;
    }
    lua__seen(runtime);
    return code == ERROR_END ? 0 : code;
}

static int may_walk(struct lua_runtime *runtime)
{
    if (runtime->stop != 0)
        return lua__stopped(runtime);
    if (txn_current(runtime->txn_worker) != NULL)
        return diag_set(ERROR_INVALID, "this iterator was begun outside of the transaction that "
                                       "goes on: begin it inside");
    sweep(runtime);
    return 0;
}

static int walk_new(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                    const struct lua__scan *scan, struct lua__walk **out)
{
    if (runtime->walk_count >= WALKS_MAX)
        return diag_set(ERROR_BUSY, "more than %d iterators are in use at a time", WALKS_MAX);
    struct lua__walk *walk = calloc(1, sizeof *walk);
    if (walk == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    runtime->walk_count++;
    mp_buffer_create(&walk->key);
    mp_buffer_create(&walk->after);
    walk->request = runtime->request;
    walk->space_id = space_id;
    walk->index_id = index_id;
    walk->rows = ROWS_FIRST;
    walk->scan = *scan;
    struct txn_options options = {.level = TXN_SNAPSHOT,
                                  .readonly = true,
                                  .latest = lua__latest(runtime),
                                  .session_id = runtime->request->session_id};
    int code = txn_open(runtime->txn_worker, &options, &walk->txn);
    if (code != 0) {
        walk->txn = NULL;
        destroy(runtime, walk);
        return code;
    }
    walk->next = runtime->walks;
    runtime->walks = walk;
    *out = walk;
    return 0;
}

static int first_batch(struct lua_runtime *runtime, struct lua__walk *walk, struct lua__row *rows)
{
    struct index *index;
    struct space_cursor cursor;
    int code = lua__index(runtime, walk->space_id, walk->index_id, ACCESS_READ, &index);
    if (code == 0)
        code = lua__scan_open(runtime, walk->txn, index, &walk->scan, &cursor);
    if (code == 0)
        code = read_batch(runtime, walk, index, &cursor, rows);
    if (code != 0)
        return code;
    walk->catalog_version = catalog_version(db_catalog(runtime->worker));
    walk->part_count = index->part_count;
    for (uint32_t i = 0; i < index->part_count; i++)
        walk->parts[i] = index->parts[i];
    if (walk->scan.has_key)
        mp_put_raw(&walk->key, runtime->args[0].data, runtime->args[0].size);
    return walk->key.failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

int lua__api_walk_open(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                       const struct lua__scan *scan, struct lua__walk_handle *out,
                       struct lua__row *rows)
{
    struct lua__walk *walk = NULL;
    *rows = (struct lua__row){NULL, 0};
    out->walk = NULL;
    int code = may_walk(runtime);
    if (code == 0)
        code = walk_new(runtime, space_id, index_id, scan, &walk);
    if (code != 0)
        return code;
    code = leave(runtime, walk, first_batch(runtime, walk, rows));
    if (!walk->dropped)
        out->walk = walk;
    return code;
}

static int next_batch(struct lua_runtime *runtime, struct lua__walk *walk, struct lua__row *rows)
{
    struct index *index;
    struct space_cursor cursor;
    struct space_position after = {walk->after.data, walk->after.size};
    int code = lua__index(runtime, walk->space_id, walk->index_id, ACCESS_READ, &index);
    if (code == 0)
        code = same_index(walk, index, db_catalog(runtime->worker));
    if (code == 0)
        code = space_cursor_open_after(&cursor, walk->txn, index,
                                       (enum space_iterator)walk->scan.iterator,
                                       walk->scan.has_key ? walk->key.data : NULL, &after);
    return code != 0 ? code : read_batch(runtime, walk, index, &cursor, rows);
}

/* When these were the last, the handle is empty afterwards. */
int lua__api_walk_next(struct lua_runtime *runtime, struct lua__walk_handle *handle,
                       struct lua__row *rows)
{
    struct lua__walk *walk = handle->walk;
    *rows = (struct lua__row){NULL, 0};
    if (walk == NULL)
        return 0;
    int code = may_walk(runtime);
    if (code != 0)
        return code;
    if (walk->txn == NULL)
        return diag_set(ERROR_INVALID, "the request of this iterator has ended");
    if ((code = txn_resume(walk->txn)) != 0)
        walk->txn = NULL;
    else
        code = leave(runtime, walk, next_batch(runtime, walk, rows));
    if (walk->txn == NULL)
        lua__api_walk_drop(runtime, handle);
    return code;
}
