/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Statements on spaces that come from outside of Lua, as MessagePack, and whose results go there as
 * such: no value of theirs is made one of Lua's, so nothing of it is lost. They are statements like
 * those of box.space (statement.c): with the user's privileges, with triggers, in the transaction of
 * the request or in one of their own.
 *
 * Changes of the schema are made by Lua (lua/box/schema_command.lua), with values that Lua has.
 */
#include "base/diag.h"
#include "base/error.h"
#include "db/space.h"
#include "lua/internal.h"

struct run {
    const struct lua_space_call *call;
    struct mp_buffer *result;
};

static int not_found(const struct lua_space_call *call)
{
    return diag_set(ERROR_NOT_FOUND, "there is no space '%.*s'",
                    (int)(call->space_size < 64 ? call->space_size : 64), call->space);
}

/* The numbers of the space and the index that are called so. *empty: it has no index at all. */
static int find(struct lua_runtime *runtime, const struct lua_space_call *call, uint32_t *space_id,
                uint32_t *index_id, bool *empty)
{
    const struct space *space =
        catalog_space(db_catalog(runtime->worker), call->space, call->space_size);
    if (space == NULL)
        return not_found(call);
    *space_id = space->id;
    *index_id = 0;
    *empty = space->index_count == 0;
    if (call->index == NULL)
        return 0;
    const struct index *index = space_index(space, call->index, call->index_size);
    if (index == NULL)
        return diag_set(ERROR_NOT_FOUND, "space %s has no index '%.*s'", space->name,
                        (int)(call->index_size < 64 ? call->index_size : 64), call->index);
    *index_id = index->id;
    return 0;
}

static bool argument_put(struct lua_runtime *runtime, int slot, const char *data, size_t size)
{
    mp_buffer_reset(&runtime->args[slot], 65536);
    mp_put_raw(&runtime->args[slot], data, size);
    return !runtime->args[slot].failed;
}

/* One tuple, or nil. */
static void row_put(struct mp_buffer *result, const struct lua__row *row)
{
    mp_put_array(result, 1);
    if (row->data == NULL)
        mp_put_nil(result);
    else
        mp_put_raw(result, row->data, row->size);
}

static int write_run(lua_State *L, struct lua_runtime *runtime, const struct run *run,
                     uint32_t space_id, uint32_t index_id)
{
    const struct lua_space_call *call = run->call;
    struct lua__row row = {.data = NULL};
    struct mp_buffer given[2];
    for (int i = 0; i < 2; i++)
        mp_buffer_create(&given[i]);
    /* read only: the buffers are somebody else's memory */
    given[0].data = (char *)(uintptr_t)call->subject;
    given[0].size = call->subject_size;
    given[1].data = (char *)(uintptr_t)call->operations;
    given[1].size = call->operations_size;
    int code = lua__write(runtime, L, (int)call->operation, space_id, index_id, given, &row);
    if (code == 0)
        row_put(run->result, &row);
    return code;
}

static int get_run(struct lua_runtime *runtime, const struct run *run, uint32_t space_id,
                   uint32_t index_id)
{
    struct lua__row row = {.data = NULL};
    if (!argument_put(runtime, 0, run->call->subject, run->call->subject_size))
        return diag_set(ERROR_MEMORY, "out of memory");
    int code = lua__api_get(runtime, space_id, index_id, &row);
    if (code == 0)
        row_put(run->result, &row);
    return code;
}

/* The rows that a statement has left in runtime->rows: a size and so many bytes, each; size 0: nil. */
static void rows_put(struct mp_buffer *result, const struct lua__row *rows)
{
    const char *at = rows->data;
    uint32_t size;
    mp_put_array(result, 1);
    mp_put_array(result, rows->size);
    for (uint32_t n = 0; n < rows->size; n++) {
        memcpy(&size, at, sizeof size);
        if (size > 0)
            mp_put_raw(result, at + sizeof size, size);
        else
            mp_put_nil(result);
        at += sizeof size + size;
    }
}

static int get_many_run(struct lua_runtime *runtime, const struct run *run, uint32_t space_id,
                        uint32_t index_id)
{
    struct lua__row rows = {.data = NULL};
    if (!argument_put(runtime, 0, run->call->subject, run->call->subject_size))
        return diag_set(ERROR_MEMORY, "out of memory");
    int code = lua__api_get_many(runtime, space_id, index_id, &rows);
    if (code == 0)
        rows_put(run->result, &rows);
    return code;
}

static int scan_run(struct lua_runtime *runtime, const struct run *run, uint32_t space_id,
                    uint32_t index_id)
{
    const struct lua_space_call *call = run->call;
    const char *key = call->subject;
    bool keyed = call->subject_size > 0 && mp_decode_array(&key) > 0;
    struct lua__scan scan = {.limit = (double)call->limit,
                             .offset = (double)call->offset,
                             .has_key = keyed,
                             .after = call->after_size > 0 ? LUA__AFTER_TUPLE : LUA__AFTER_NONE};
    struct lua__row rows = {.data = NULL};
    double count = 0;
    scan.iterator = call->iterator >= 0 ? call->iterator : keyed ? ITERATOR_EQ : ITERATOR_ALL;
    if (!argument_put(runtime, 0, call->subject, call->subject_size) ||
        !argument_put(runtime, 1, call->after, call->after_size))
        return diag_set(ERROR_MEMORY, "out of memory");
    if (call->operation == LUA_SPACE_SELECT) {
        int code = lua__api_select(runtime, space_id, index_id, &scan, &rows);
        if (code == 0)
            rows_put(run->result, &rows);
        return code;
    }
    scan.limit = (double)UINT64_MAX;
    int code = lua__api_count(runtime, space_id, index_id, &scan, &count);
    if (code == 0) {
        mp_put_array(run->result, 1);
        mp_put_uint(run->result, (uint64_t)count);
    }
    return code;
}

/* Of a space without an index: a view, which Lua reads, or else Lua's error. */
static int view_run(lua_State *L, struct lua_runtime *runtime, const struct run *run)
{
    static const char *const methods[] = {[LUA_SPACE_GET] = "get",
                                          [LUA_SPACE_GET_MANY] = "get_many",
                                          [LUA_SPACE_SELECT] = "select",
                                          [LUA_SPACE_COUNT] = "count"};
    const struct lua_space_call *call = run->call;
    const char *key = call->subject;
    if (call->after_size > 0)
        return diag_set(ERROR_UNSUPPORTED, "a view has no positions");
    lua__push_hook(L, runtime, "schema_command");
    lua_pushstring(L, "space_read");
    lua_pushlstring(L, call->space, call->space_size);
    lua_pushstring(L, methods[call->operation]);
    if (call->subject_size > 0)
        lua__push(L, runtime, &key);
    else
        lua_newtable(L);
    lua_newtable(L);
    if (call->iterator >= 0) {
        lua_pushinteger(L, call->iterator);
        lua_setfield(L, -2, "iterator");
    }
    if (call->limit != UINT64_MAX) {
        lua_pushnumber(L, (lua_Number)call->limit);
        lua_setfield(L, -2, "limit");
    }
    lua_pushnumber(L, (lua_Number)call->offset);
    lua_setfield(L, -2, "offset");
    lua_call(L, 5, 1);
    mp_put_array(run->result, 1);
    lua__encode(L, runtime, lua_gettop(L), run->result, LUA__STRICT);
    return 0;
}

static int statement_run(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct run *run = arg;
    uint32_t space_id = 0, index_id = 0;
    bool empty = false;
    int code = find(runtime, run->call, &space_id, &index_id, &empty);
    if (code != 0)
        return code;
    if (empty && run->call->operation >= LUA_SPACE_GET)
        return view_run(L, runtime, run);
    switch (run->call->operation) {
    case LUA_SPACE_GET:
        return get_run(runtime, run, space_id, index_id);
    case LUA_SPACE_GET_MANY:
        return get_many_run(runtime, run, space_id, index_id);
    case LUA_SPACE_SELECT:
    case LUA_SPACE_COUNT:
        return scan_run(runtime, run, space_id, index_id);
    default:
        return write_run(L, runtime, run, space_id, index_id);
    }
}

int lua_runtime_space(struct lua_runtime *runtime, const struct lua_request *request,
                      const struct lua_space_call *call, struct mp_buffer *result,
                      uint64_t *reply_ts)
{
    struct run run = {call, result};
    size_t before = result->size;
    lua__request_begin(runtime, request);
    int code = lua__protect(runtime, statement_run, &run);
    code = lua__request_end(runtime, code, reply_ts);
    if (code != 0)
        result->size = before;
    return code == 0 && result->failed ? diag_set(ERROR_MEMORY, "out of memory") : code;
}
