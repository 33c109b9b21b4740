/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statements on spaces, as flat functions that Lua calls through FFI: plain arguments, an int as
 * result (0 or a negative code), everything else in structs that are used again and again, so that
 * a compiled trace runs through them.
 *
 * A statement works in the runtime's transaction or, when there is none, is a transaction of its
 * own, which is run again after a conflict. One that only reads then reads at V, unless this
 * request has itself written something above V: then the latest (invariants 8 and 9).
 *
 * Spaces and indexes are named by number; the pointer is looked up for each statement, through a
 * small cache that is dropped with the catalog it was made from, because nothing of the catalog may
 * be kept from one transaction to the next.
 */
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "codec/path.h"
#include "db/access.h"
#include "db/space.h"
#include "db/space_gets.h"
#include "lua/fiber.h"
#include "lua/internal.h"

/* ------------------------------------------------------------------------- spaces and indexes */

struct space *lua__find_space(struct lua_runtime *runtime, uint32_t id, unsigned privileges)
{
    const struct catalog *catalog = db_catalog(runtime->worker);
    if (catalog != runtime->catalog || catalog_version(catalog) != runtime->catalog_version) {
        memset(runtime->spaces, 0, sizeof runtime->spaces);
        runtime->catalog = catalog;
        runtime->catalog_version = catalog_version(catalog);
    }
    struct lua__space_slot *slot = &runtime->spaces[id % LUA__SPACE_SLOTS];
    if (slot->space == NULL || slot->space->id != id) {
        struct space *space = catalog_space_by_id(catalog, id);
        if (space == NULL) {
            diag_set(ERROR_NOT_FOUND, "there is no space with id %u", id);
            return NULL;
        }
        *slot = (struct lua__space_slot){space, 0};
    }
    if ((slot->rights & privileges) != privileges && !lua__space_permits(runtime, slot, privileges))
        return NULL;
    return slot->space;
}

int lua__index(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
               unsigned privileges, struct index **out)
{
    struct space *space = lua__find_space(runtime, space_id, privileges);
    if (space == NULL)
        return diag_code();
    *out = index_id == 0 && space->index_count > 0 ? space->indexes[0]
                                                   : space_index_by_id(space, index_id);
    if (*out != NULL)
        return 0;
    if (index_id == 0)
        return space_usable(space);
    return diag_set(ERROR_NOT_FOUND, "space %s has no index with id %u", space->name, index_id);
}

/* -------------------------------------------------------------------------------- statements */

enum operation {
    OP_INSERT = LUA_SPACE_INSERT,
    OP_REPLACE = LUA_SPACE_REPLACE,
    OP_DELETE = LUA_SPACE_DELETE,
    OP_UPDATE = LUA_SPACE_UPDATE,
    OP_UPSERT = LUA_SPACE_UPSERT,
    OP_GET,
    OP_GET_MANY,
    OP_SELECT,
    OP_COUNT,
    OP_RANDOM,
    OP_QUANTILE,
    OP_LOCK
};

struct statement {
    enum operation operation;
    uint32_t space_id, index_id;
    const char *key;       /* of a get; an array of keys, of many */
    int lock;              /* of a get or select: LUA__LOCK_NONE .. */
    struct lua__scan scan; /* of a select or count */
    double number;         /* the seed of a random row, the level of a quantile */
    double count;          /* of rows that were selected or counted; of keys */
    struct tuple_ref out;
};

static bool reads(const struct statement *statement)
{
    return statement->operation >= OP_GET;
}

/* Who locks exclusively keeps others from writing: that is for those who may write. */
static unsigned privileges_of(const struct statement *statement)
{
    if (!reads(statement))
        return ACCESS_WRITE;
    return statement->lock == LUA__LOCK_EXCLUSIVE ? ACCESS_READ | ACCESS_WRITE : ACCESS_READ;
}

static enum txn_lock lock_mode(int lock)
{
    return lock == LUA__LOCK_EXCLUSIVE ? TXN_LOCK_EXCLUSIVE : TXN_LOCK_SHARED;
}

static int cursor_next(struct space_cursor *cursor, int lock, struct tuple_ref *tuple)
{
    return lock == LUA__LOCK_NONE ? space_cursor_next(cursor, tuple)
                                  : space_cursor_next_locked(cursor, lock_mode(lock), tuple);
}

static const char *key_of(struct lua_runtime *runtime, const struct lua__scan *scan)
{
    return scan->has_key ? runtime->args[0].data : NULL;
}

int lua__scan_open(struct lua_runtime *runtime, struct txn *txn, struct index *index,
                   const struct lua__scan *scan, struct space_cursor *out)
{
    struct space_position after;
    int code = 0;
    if (scan->after == LUA__AFTER_TUPLE)
        code = space_position_of(txn, index, runtime->args[1].data, &after);
    else if (scan->after == LUA__AFTER_POSITION)
        after = (struct space_position){runtime->args[1].data, runtime->args[1].size};
    if (code != 0)
        return code;
    return space_cursor_open_after(out, txn, index, (enum space_iterator)scan->iterator,
                                   key_of(runtime, scan),
                                   scan->after == LUA__AFTER_NONE ? NULL : &after);
}

int lua__rows_put(struct lua_runtime *runtime, const struct tuple_ref *tuple)
{
    mp_put_raw(&runtime->rows, &tuple->size, sizeof tuple->size);
    if (tuple->size > 0)
        mp_put_raw(&runtime->rows, tuple->data, tuple->size);
    if (runtime->rows.failed ||
        (runtime->memory_bytes_max != 0 && runtime->rows.size > runtime->memory_bytes_max))
        return diag_set(ERROR_MEMORY, "the rows take too much memory: ask for fewer at once");
    return 0;
}

static uint64_t whole(double number)
{
    return number <= 0 ? 0 : number >= 1e18 ? UINT64_MAX : (uint64_t)number;
}

/* Keeps the position: the space, the index and the key of its item, as native.position gives them. */
static int keep_position(struct lua_runtime *runtime, const struct index *index,
                         const struct space_position *position)
{
    uint32_t ids[2] = {index->space->id, index->id};
    mp_buffer_reset(&runtime->position, 65536);
    mp_put_raw(&runtime->position, ids, sizeof ids);
    mp_put_raw(&runtime->position, position->key, position->size);
    return runtime->position.failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

/* Where a tuple like the one in args[1] stands, or would stand. */
static int position_of_tuple(struct lua_runtime *runtime, struct txn *txn, struct index *index)
{
    struct space_position position;
    int code = space_position_of(txn, index, runtime->args[1].data, &position);
    mp_buffer_reset(&runtime->rows, 1 << 20);
    return code == 0 ? keep_position(runtime, index, &position) : code;
}

/* The rows of a select, or their number. */
static int scan(struct lua_runtime *runtime, struct txn *txn, struct index *index,
                struct statement *statement)
{
    struct space_cursor cursor;
    struct tuple_ref tuple;
    const struct lua__scan *how = &statement->scan;
    struct space_position last = {NULL, 0};
    uint64_t passed = 0, taken = 0, offset = whole(how->offset), limit = whole(how->limit);
    bool rows = statement->operation == OP_SELECT;
    if (how->fetch == 2)
        return position_of_tuple(runtime, txn, index);
    int code = lua__scan_open(runtime, txn, index, how, &cursor);
    if (code == 0 && statement->lock == LUA__LOCK_NONE)
        space_cursor_brief(&cursor);
    if (code == 0)
        space_cursor_expect(&cursor, limit > UINT64_MAX - offset ? UINT64_MAX : offset + limit);
    if (rows)
        mp_buffer_reset(&runtime->rows, 1 << 20);
    while (code == 0 && taken < limit) {
        code = cursor_next(&cursor, statement->lock, &tuple);
        if (code != 0)
            break;
        if ((++passed & 255) == 0 && lua__interrupted(runtime))
            return ERROR_TIMEOUT;
        if ((code = lua__row_touched(runtime)) != 0)
            return code;
        if (passed <= offset)
            continue;
        taken++;
        if (how->fetch)
            last = space_cursor_position(&cursor);
        if (rows)
            code = lua__rows_put(runtime, &tuple);
    }
    statement->count = (double)taken;
    if (code != 0 && code != ERROR_END)
        return code;
    mp_buffer_reset(&runtime->position, 65536);
    return last.key == NULL ? 0 : keep_position(runtime, index, &last);
}

/* For each key a row in runtime->rows, which is empty when there is none. The time is looked at once for each batch,
 * which may have to wait for the disk. */
static int get_many(struct lua_runtime *runtime, struct txn *txn, struct index *index,
                    struct statement *statement)
{
    struct space_gets gets;
    struct tuple_ref tuple;
    mp_buffer_reset(&runtime->rows, 1 << 20);
    int code = space_gets_open(&gets, txn, index, statement->key);
    for (uint32_t n = 0; code == 0 && n < gets.count; n++) {
        if (n % SPACE_GETS_BATCH == SPACE_GETS_BATCH - 1 && lua__interrupted(runtime))
            return ERROR_TIMEOUT;
        if ((code = lua__row_touched(runtime)) == 0)
            code = space_gets_next(&gets, &tuple);
        if (code == 0)
            code = lua__rows_put(runtime, &tuple);
    }
    statement->count = gets.count;
    return code;
}

/* Of a view, which has no index: what its instead_of triggers do. */
static int execute_view(struct lua_runtime *runtime, struct txn *txn, struct statement *statement)
{
    static const enum trigger_operation operations[] = {
        [OP_INSERT] = TRIGGER_INSERT, [OP_REPLACE] = TRIGGER_REPLACE, [OP_DELETE] = TRIGGER_DELETE,
        [OP_UPDATE] = TRIGGER_UPDATE, [OP_UPSERT] = TRIGGER_UPSERT,
    };
    const struct mp_buffer *args = runtime->given;
    enum operation operation = statement->operation;
    struct tuple_ref tuple = {args[0].data, (uint32_t)args[0].size};
    bool keyed = operation == OP_DELETE || operation == OP_UPDATE;
    bool changes = operation == OP_UPDATE || operation == OP_UPSERT;
    if (runtime->calling == NULL)
        return LUA__CALLS_OUT;
    return space_instead(txn, lua__find_space(runtime, statement->space_id, ACCESS_WRITE),
                         operations[operation], keyed ? NULL : &tuple, keyed ? args[0].data : NULL,
                         changes ? args[1].data : NULL, &statement->out);
}

static bool is_view(struct lua_runtime *runtime, const struct statement *statement)
{
    if (statement->operation > OP_UPSERT)
        return false;
    const struct space *space = lua__find_space(runtime, statement->space_id, ACCESS_WRITE);
    return space != NULL && space->index_count == 0 && space_has_instead(space);
}

static int execute(struct lua_runtime *runtime, struct txn *txn, struct statement *statement)
{
    struct index *index;
    const struct mp_buffer *args = runtime->given;
    int code = lua__index(runtime, statement->space_id, statement->index_id,
                          privileges_of(statement), &index);
    statement->out.data = NULL;
    statement->out.size = 0;
    if (code != 0)
        return code != ERROR_ACCESS && is_view(runtime, statement)
                   ? execute_view(runtime, txn, statement)
                   : code;
    if (index->space->calls_out && statement->operation <= OP_UPSERT && runtime->calling == NULL)
        return LUA__CALLS_OUT;
    if (statement->operation <= OP_GET && (code = lua__row_touched(runtime)) != 0)
        return code;
    switch (statement->operation) {
    case OP_INSERT:
        return space_insert(txn, index->space, args[0].data, args[0].size, &statement->out);
    case OP_REPLACE:
        return space_replace(txn, index->space, args[0].data, args[0].size, &statement->out, NULL);
    case OP_DELETE:
        return space_delete(txn, index, args[0].data, &statement->out);
    case OP_UPDATE:
        return space_update(txn, index, args[0].data, args[1].data, 1, &statement->out);
    case OP_UPSERT:
        return space_upsert(txn, index->space, args[0].data, args[0].size, args[1].data, 1);
    case OP_GET:
        if (statement->lock != LUA__LOCK_NONE) {
            code = space_lock(txn, index, statement->key, lock_mode(statement->lock));
            if (code != 0)
                return code;
            txn_statement(txn); /* what it sees is what has been locked */
        }
        return space_get(txn, index, statement->key, &statement->out);
    case OP_GET_MANY:
        return get_many(runtime, txn, index, statement);
    case OP_SELECT:
    case OP_COUNT:
        return scan(runtime, txn, index, statement);
    case OP_RANDOM:
        return space_index_random(txn, index, (uint64_t)statement->number, &statement->out);
    case OP_QUANTILE:
        return space_quantile(txn, index, statement->number,
                              statement->scan.has_key & 1 ? runtime->args[0].data : NULL,
                              statement->scan.has_key & 2 ? runtime->args[1].data : NULL,
                              &statement->out);
    case OP_LOCK:
        return space_lock_all(txn, index->space, lock_mode(statement->lock));
    }
    return ERROR_INVALID;
}

/* The tuple outlives the transaction. */
static int keep(struct lua_runtime *runtime, struct statement *statement)
{
    if (statement->out.data == NULL)
        return 0;
    mp_buffer_reset(&runtime->copy, 65536);
    mp_put_raw(&runtime->copy, statement->out.data, statement->out.size);
    statement->out.data = runtime->copy.data;
    return runtime->copy.failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

static int run_once(struct lua_runtime *runtime, struct txn_options *options,
                    struct statement *statement)
{
    options->latest = lua__latest(runtime);
    int code = lua__begin(runtime, options);
    if (code != 0)
        return code;
    code = options->readonly ? 0 : lua__statement_begun(runtime);
    if (code == 0)
        code = execute(runtime, runtime->txn, statement);
    if (code == 0)
        code = keep(runtime, statement);
    if (code != 0) {
        lua__rollback(runtime);
        return code;
    }
    code = lua__commit(runtime);
    runtime->committed = runtime->committed || (code == 0 && !options->readonly);
    return code;
}

static int run_alone(struct lua_runtime *runtime, struct statement *statement)
{
    struct txn_options options = {.level = TXN_SNAPSHOT, .readonly = reads(statement)};
    if (!options.readonly && runtime->request->readonly)
        return diag_set(ERROR_READONLY, "this request may not write");
    if (statement->lock != LUA__LOCK_NONE)
        return diag_set(ERROR_INVALID, "a lock needs a transaction, at whose end it is given back");
    for (unsigned losses = 0;;) {
        int code = run_once(runtime, &options, statement);
        lua__statement_ended(runtime);
        if (code == 0 || code == LUA__CALLS_OUT)
            return code;
        if ((code = lua__lost(runtime, code, &losses, &options)) != 0)
            return code;
    }
}

/* In a transaction that is lost, may not write, has a timeout or can be parked. */
static int run_checked(struct lua_runtime *runtime, struct statement *statement)
{
    for (;;) {
        int code = lua__check(runtime, !reads(statement));
        if (code != 0)
            return code;
        if (!runtime->txn_opened || runtime->trigger_depth > 0)
            return lua__failed(runtime, execute(runtime, runtime->txn, statement));
        struct txn_savepoint point = txn_savepoint(runtime->txn);
        code = execute(runtime, runtime->txn, statement);
        if (code == ERROR_WAIT) {
            runtime->stop = 0; /* which a statement of a trigger has set */
            code = lua__wait_in_place(runtime, point);
        } else
            return lua__failed(runtime, code);
        if (code != 0)
            return code;
        txn_statement(runtime->txn);
    }
}

static bool copy_buffer(struct mp_buffer *to, const struct mp_buffer *from)
{
    mp_buffer_reset(to, 65536);
    mp_put_raw(to, from->data, from->size);
    return !to->failed;
}

/* It is going to yield, and others use the arguments' buffers meanwhile. */
static int keep_waiting(struct lua_runtime *runtime, const struct statement *statement)
{
    struct lua_fiber *fiber = runtime->fiber;
    struct statement *kept = fiber->statement;
    if (kept == NULL)
        kept = fiber->statement = malloc(sizeof *kept);
    if (kept == NULL || !copy_buffer(&fiber->kept[0], &runtime->given[0]) ||
        !copy_buffer(&fiber->kept[1], &runtime->given[1])) {
        lua__fiber_waited(runtime, true);
        return diag_set(ERROR_MEMORY, "out of memory");
    }
    *kept = *statement;
    return ERROR_WAIT;
}

/* The tuple; or, where there are several, where they are and how many. */
static struct lua__row result_of(const struct lua_runtime *runtime,
                                 const struct statement *statement)
{
    if (statement->operation == OP_SELECT || statement->operation == OP_GET_MANY)
        return (struct lua__row){runtime->rows.data, (uint32_t)statement->count};
    return (struct lua__row){statement->out.data, statement->out.size};
}

static int run(struct lua_runtime *runtime, struct statement *statement, struct lua__row *row)
{
    int code;
    if (runtime->txn != NULL) {
        txn_statement(runtime->txn);
        if (runtime->txn_checks)
            code = run_checked(runtime, statement);
        else if ((code = execute(runtime, runtime->txn, statement)) != 0)
            lua__failed(runtime, code);
    } else {
        code = run_alone(runtime, statement);
    }
    if (code == 0 && row != NULL)
        *row = result_of(runtime, statement);
    if (runtime->fiber == NULL)
        return code;
    if (code == ERROR_WAIT && runtime->fiber->waiting)
        return keep_waiting(runtime, statement);
    if (code <= 0)
        runtime->fiber->wait_end_ns = 0;
    return code;
}

/* The statement of a fiber that has waited, again. */
static int api_again(struct lua_runtime *runtime, struct lua__row *row)
{
    struct lua_fiber *fiber = runtime->fiber;
    const struct statement *kept = fiber == NULL ? NULL : fiber->statement;
    if (kept == NULL)
        return diag_set(ERROR_INVALID, "no statement waits");
    if (!copy_buffer(&runtime->args[0], &fiber->kept[0]) ||
        !copy_buffer(&runtime->args[1], &fiber->kept[1]))
        return diag_set(ERROR_MEMORY, "out of memory");
    struct statement statement = *kept;
    if (statement.key != NULL)
        statement.key = runtime->args[0].data;
    return run(runtime, &statement, row);
}

/* Operation, space and index of that statement, for native.write when it may run triggers. */
int lua__fiber_statement(lua_State *L)
{
    const struct lua_fiber *fiber = lua__runtime(L)->fiber;
    const struct statement *kept = fiber == NULL ? NULL : fiber->statement;
    if (kept == NULL)
        return 0;
    lua_pushinteger(L, kept->operation);
    lua_pushnumber(L, kept->space_id);
    lua_pushnumber(L, kept->index_id);
    return 3;
}

int lua__api_write(struct lua_runtime *runtime, int operation, uint32_t space_id, uint32_t index_id,
                   struct lua__row *row)
{
    struct statement statement = {
        .operation = (enum operation)operation, .space_id = space_id, .index_id = index_id};
    return run(runtime, &statement, row);
}

static int get(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id, const char *key,
               struct lua__row *row)
{
    struct statement statement = {
        .operation = OP_GET, .space_id = space_id, .index_id = index_id, .key = key};
    return run(runtime, &statement, row);
}

int lua__api_get(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                 struct lua__row *row)
{
    return get(runtime, space_id, index_id, runtime->args[0].data, row);
}

static int api_get_number(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                          double number, struct lua__row *row)
{
    mp_buffer_reset(&runtime->args[0], 65536);
    mp_put_array(&runtime->args[0], 1);
    lua__put_number(&runtime->args[0], number);
    if (runtime->args[0].failed)
        return diag_set(ERROR_MEMORY, "out of memory");
    return get(runtime, space_id, index_id, runtime->args[0].data, row);
}

static int api_get_string(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                          const char *text, size_t size, struct lua__row *row)
{
    mp_buffer_reset(&runtime->args[0], 65536);
    mp_put_array(&runtime->args[0], 1);
    mp_put_str(&runtime->args[0], text, size);
    if (runtime->args[0].failed)
        return diag_set(ERROR_MEMORY, "out of memory");
    return get(runtime, space_id, index_id, runtime->args[0].data, row);
}

/* A get that locks the row, or the absence of one. */
static int api_get_locked(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                          int lock, struct lua__row *row)
{
    struct statement statement = {.operation = OP_GET,
                                  .space_id = space_id,
                                  .index_id = index_id,
                                  .key = runtime->args[0].data,
                                  .lock = lock};
    return run(runtime, &statement, row);
}

/* Of the keys in the array in args[0]: rows as of a select, as many as keys. */
int lua__api_get_many(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                      struct lua__row *rows)
{
    struct statement statement = {.operation = OP_GET_MANY,
                                  .space_id = space_id,
                                  .index_id = index_id,
                                  .key = runtime->args[0].data};
    return run(runtime, &statement, rows);
}

static int api_lock_space(struct lua_runtime *runtime, uint32_t space_id, int lock)
{
    struct statement statement = {.operation = OP_LOCK, .space_id = space_id, .lock = lock};
    return run(runtime, &statement, NULL);
}

/* Rows go to runtime->rows; *rows and *size are where, until the next select. */
int lua__api_select(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                    const struct lua__scan *how, struct lua__row *rows)
{
    struct statement statement = {.operation = OP_SELECT,
                                  .lock = how->lock,
                                  .space_id = space_id,
                                  .index_id = index_id,
                                  .scan = *how};
    return run(runtime, &statement, rows);
}

int lua__api_count(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                   const struct lua__scan *how, double *count)
{
    struct statement statement = {
        .operation = OP_COUNT, .space_id = space_id, .index_id = index_id, .scan = *how};
    int code = run(runtime, &statement, NULL);
    *count = statement.count;
    return code;
}

/* A row picked by a seed; `keys` 4. Or the one at a level of what lies between the key in args[0], if
 * `keys` has 1, and the key in args[1], if it has 2. */
static int api_pick(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id, int keys,
                    double number, struct lua__row *row)
{
    struct statement statement = {.operation = keys == 4 ? OP_RANDOM : OP_QUANTILE,
                                  .space_id = space_id,
                                  .index_id = index_id,
                                  .scan.has_key = keys,
                                  .number = number};
    return run(runtime, &statement, row);
}

static double api_len(struct lua_runtime *runtime, uint32_t space_id)
{
    struct space *space = lua__find_space(runtime, space_id, ACCESS_READ);
    return space == NULL ? -1 : (double)space_len(space);
}

/* How many bytes the rows of the last select are. */
static double api_rows_bytes(const struct lua_runtime *runtime)
{
    return (double)runtime->rows.size;
}

/* ----------------------------------------------------------------------------------- cursors */

static int api_cursor_open(struct lua_runtime *runtime, uint32_t space_id, uint32_t index_id,
                           const struct lua__scan *how, struct lua__cursor *out)
{
    struct index *index;
    if (runtime->txn == NULL)
        return diag_set(ERROR_INVALID, "there is no transaction");
    int code = runtime->txn_checks ? lua__check(runtime, false) : 0;
    if (code != 0)
        return code;
    txn_statement(runtime->txn);
    code = lua__index(runtime, space_id, index_id, ACCESS_READ, &index);
    if (code != 0)
        return code;
    struct space_cursor *cursor = arena_alloc(txn_arena(runtime->txn), sizeof *cursor);
    if (cursor == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    code = lua__scan_open(runtime, runtime->txn, index, how, cursor);
    out->cursor = cursor;
    out->sequence = runtime->txn_sequence;
    out->parks = runtime->parks;
    return code;
}

/* At the end row->data is NULL. */
static int api_cursor_next(struct lua_runtime *runtime, struct lua__cursor *cursor,
                           struct lua__row *row)
{
    struct tuple_ref tuple = {NULL, 0};
    if (runtime->txn == NULL || cursor->sequence != runtime->txn_sequence)
        return diag_set(ERROR_INVALID, "the transaction of this iterator has ended");
    if (cursor->parks != runtime->parks)
        return diag_set(ERROR_INVALID, "this iterator has ended because its transaction has waited "
                                       "for a lock: lock first, or use select");
    int code = runtime->txn_checks ? lua__check(runtime, false) : 0;
    if (code == 0)
        code = space_cursor_next(cursor->cursor, &tuple);
    if (code == 0)
        code = lua__row_touched(runtime);
    row->data = code == 0 ? tuple.data : NULL;
    row->size = tuple.size;
    return code == ERROR_END ? 0 : lua__failed(runtime, code);
}

/* ------------------------------------------------------------------------------------ fields */

static void value_of(const char *data, struct lua__value *out)
{
    const char *p = data;
    switch (mp_typeof(*p)) {
    case MP_NIL:
        out->type = LUA__NIL;
        return;
    case MP_BOOL:
        out->type = LUA__BOOLEAN;
        out->number = mp_decode_bool(&p);
        return;
    case MP_UINT: {
        uint64_t value = mp_decode_uint(&p);
        out->type = value <= UINT64_C(1) << 53 ? LUA__NUMBER
                    : value <= INT64_MAX       ? LUA__INT64
                                               : LUA__UINT64;
        out->number = (double)value;
        out->integer = (int64_t)value;
        return;
    }
    case MP_INT:
        out->integer = mp_decode_int(&p);
        out->type = out->integer < -(INT64_C(1) << 53) ? LUA__INT64 : LUA__NUMBER;
        out->number = (double)out->integer;
        return;
    case MP_FLOAT:
        out->type = LUA__NUMBER;
        out->number = (double)mp_decode_float(&p);
        return;
    case MP_DOUBLE:
        out->type = LUA__NUMBER;
        out->number = mp_decode_double(&p);
        return;
    case MP_STR:
        out->type = LUA__STRING;
        out->data = mp_decode_str(&p, &out->size);
        return;
    case MP_BIN:
        out->type = LUA__STRING;
        out->data = mp_decode_bin(&p, &out->size);
        return;
    default:
        mp_next(&p);
        out->type = LUA__OTHER;
        out->data = data;
        out->size = (uint32_t)(p - data);
    }
}

/* The n-th (from 1) field of the MessagePack array at `tuple`. */
static void api_field(const char *tuple, uint32_t n, struct lua__value *out)
{
    uint32_t count = mp_decode_array(&tuple);
    out->type = LUA__ABSENT;
    if (n == 0 || n > count)
        return;
    while (--n > 0)
        mp_next(&tuple);
    value_of(tuple, out);
}

/* What a path leads to in a tuple whose fields have the names of a space's format (0: none). */
static void api_path(struct lua_runtime *runtime, const char *tuple, uint32_t space_id,
                     const char *text, size_t size, struct lua__value *out)
{
    struct path path = {.text = text, .size = size};
    struct path_step first = path_next(&path);
    int64_t field = -1;
    out->type = LUA__ABSENT;
    if (first.kind == PATH_NUMBER)
        field = first.number - 1;
    const struct space *space = first.kind == PATH_NAME && space_id != 0
                                    ? catalog_space_by_id(db_catalog(runtime->worker), space_id)
                                    : NULL;
    if (space != NULL)
        field = space_field(space, first.name, first.size);
    const char *value = field < 0 ? NULL : mp_array_at(tuple, (uint32_t)field);
    if (value != NULL)
        value = path_follow(&path, value);
    if (value != NULL)
        value_of(value, out);
}

static uint32_t api_field_count(const char *tuple)
{
    return mp_decode_array(&tuple);
}

static double api_schema_version(const struct lua_runtime *runtime)
{
    return (double)db_schema_version(runtime->worker);
}

static double api_now(const struct lua_runtime *runtime)
{
    return (double)(runtime->txn != NULL ? runtime->now_ms : clock_realtime_ms(runtime->clock)) /
           1000;
}

static double api_monotonic(const struct lua_runtime *runtime)
{
    return (double)clock_monotonic_ns(runtime->clock) / 1e9;
}

/* ------------------------------------------------------------------------- flat arrays */

/*
 * A table of scalars becomes a tuple by calls that a trace can run through: put_begin, put_array,
 * then for each element put_number and so on, then put_end. As in native.encode, the argument of the
 * next statement changes only at the end.
 */
static void api_put_begin(struct lua_runtime *runtime)
{
    mp_buffer_reset(&runtime->scratch, 65536);
}

static void api_put_array(struct lua_runtime *runtime, uint32_t count)
{
    mp_put_array(&runtime->scratch, count);
}

static void api_put_nil(struct lua_runtime *runtime)
{
    mp_put_nil(&runtime->scratch);
}

static void api_put_integer(struct lua_runtime *runtime, int64_t number)
{
    mp_put_int(&runtime->scratch, number);
}

static void api_put_unsigned(struct lua_runtime *runtime, uint64_t number)
{
    mp_put_uint(&runtime->scratch, number);
}

static void api_put_number(struct lua_runtime *runtime, double number)
{
    lua__put_number(&runtime->scratch, number);
}

static void api_put_string(struct lua_runtime *runtime, const char *text, size_t size)
{
    mp_put_str(&runtime->scratch, text, size);
}

static void api_put_boolean(struct lua_runtime *runtime, int value)
{
    mp_put_bool(&runtime->scratch, value);
}

static int api_put_end(struct lua_runtime *runtime, int slot)
{
    struct mp_buffer whole = runtime->scratch;
    if (whole.failed)
        return diag_set(ERROR_MEMORY, "out of memory");
    runtime->scratch = runtime->args[slot == 1];
    runtime->args[slot == 1] = whole;
    return 0;
}

/* Declared in the same order in lua/box/core.lua. */
struct lua__api {
    int (*begin)(struct lua_runtime *, int, int, uint32_t, double);
    int (*finish)(struct lua_runtime *, int);
    int (*in_transaction)(const struct lua_runtime *);
    int (*savepoint)(struct lua_runtime *, struct lua__savepoint *);
    int (*rollback_to)(struct lua_runtime *, const struct lua__savepoint *);
    int (*write)(struct lua_runtime *, int, uint32_t, uint32_t, struct lua__row *);
    int (*get)(struct lua_runtime *, uint32_t, uint32_t, struct lua__row *);
    int (*get_number)(struct lua_runtime *, uint32_t, uint32_t, double, struct lua__row *);
    int (*get_string)(struct lua_runtime *, uint32_t, uint32_t, const char *, size_t,
                      struct lua__row *);
    int (*get_locked)(struct lua_runtime *, uint32_t, uint32_t, int, struct lua__row *);
    int (*get_many)(struct lua_runtime *, uint32_t, uint32_t, struct lua__row *);
    int (*lock_space)(struct lua_runtime *, uint32_t, int);
    int (*select)(struct lua_runtime *, uint32_t, uint32_t, const struct lua__scan *,
                  struct lua__row *);
    int (*count)(struct lua_runtime *, uint32_t, uint32_t, const struct lua__scan *, double *);
    int (*pick)(struct lua_runtime *, uint32_t, uint32_t, int, double, struct lua__row *);
    double (*len)(struct lua_runtime *, uint32_t);
    double (*rows_bytes)(const struct lua_runtime *);
    int (*cursor_open)(struct lua_runtime *, uint32_t, uint32_t, const struct lua__scan *,
                       struct lua__cursor *);
    int (*cursor_next)(struct lua_runtime *, struct lua__cursor *, struct lua__row *);
    int (*walk_open)(struct lua_runtime *, uint32_t, uint32_t, const struct lua__scan *,
                     struct lua__walk_handle *, struct lua__row *);
    int (*walk_next)(struct lua_runtime *, struct lua__walk_handle *, struct lua__row *);
    void (*walk_drop)(struct lua_runtime *, struct lua__walk_handle *);
    void (*field)(const char *, uint32_t, struct lua__value *);
    uint32_t (*field_count)(const char *);
    void (*path)(struct lua_runtime *, const char *, uint32_t, const char *, size_t,
                 struct lua__value *);
    double (*schema_version)(const struct lua_runtime *);
    double (*now)(const struct lua_runtime *);
    double (*monotonic)(const struct lua_runtime *);
    void (*put_begin)(struct lua_runtime *);
    void (*put_array)(struct lua_runtime *, uint32_t);
    void (*put_nil)(struct lua_runtime *);
    void (*put_integer)(struct lua_runtime *, int64_t);
    void (*put_unsigned)(struct lua_runtime *, uint64_t);
    void (*put_number)(struct lua_runtime *, double);
    void (*put_string)(struct lua_runtime *, const char *, size_t);
    void (*put_boolean)(struct lua_runtime *, int);
    int (*put_end)(struct lua_runtime *, int);
    int (*again)(struct lua_runtime *, struct lua__row *);
};

const struct lua__api lua__api = {
    .begin = lua__api_begin,
    .finish = lua__api_finish,
    .in_transaction = lua__api_in_transaction,
    .savepoint = lua__api_savepoint,
    .rollback_to = lua__api_rollback_to,
    .write = lua__api_write,
    .get = lua__api_get,
    .get_number = api_get_number,
    .get_string = api_get_string,
    .get_locked = api_get_locked,
    .get_many = lua__api_get_many,
    .lock_space = api_lock_space,
    .select = lua__api_select,
    .count = lua__api_count,
    .pick = api_pick,
    .len = api_len,
    .rows_bytes = api_rows_bytes,
    .cursor_open = api_cursor_open,
    .cursor_next = api_cursor_next,
    .walk_open = lua__api_walk_open,
    .walk_next = lua__api_walk_next,
    .walk_drop = lua__api_walk_drop,
    .field = api_field,
    .field_count = api_field_count,
    .path = api_path,
    .schema_version = api_schema_version,
    .now = api_now,
    .monotonic = api_monotonic,
    .put_begin = api_put_begin,
    .put_array = api_put_array,
    .put_nil = api_put_nil,
    .put_integer = api_put_integer,
    .put_unsigned = api_put_unsigned,
    .put_number = api_put_number,
    .put_string = api_put_string,
    .put_boolean = api_put_boolean,
    .put_end = api_put_end,
    .again = api_again,
};
