/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sequences in Lua: definitions made and dropped, numbers taken. lua/box/sequence.lua makes objects
 * of it.
 */
#include "db/sequence.h"
#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "db/ddl.h"
#include "lua/internal.h"

static void push_integer(lua_State *L, struct lua_runtime *runtime, int64_t number)
{
    char packed[16];
    const char *data = packed;
    if (number >= 0)
        mp_encode_uint(packed, (uint64_t)number);
    else
        mp_encode_int(packed, number);
    lua__push(L, runtime, &data);
}

static void set_integer(lua_State *L, struct lua_runtime *runtime, const char *name, int64_t number)
{
    push_integer(L, runtime, number);
    lua_setfield(L, -2, name);
}

/* The sequence with the name or id at an index; false: there is none. */
static bool find(lua_State *L, struct lua_runtime *runtime, int index, struct sequence_def *out)
{
    const struct catalog *catalog = db_catalog(runtime->worker);
    size_t size;
    if (lua_type(L, index) == LUA_TNUMBER)
        return sequence_find(catalog, (uint32_t)lua_tonumber(L, index), out) == 0;
    if (lua_type(L, index) != LUA_TSTRING)
        return false;
    const char *name = lua_tolstring(L, index, &size);
    const struct catalog_record *record = catalog_record(catalog, CATALOG_SEQUENCE, name, size);
    return record != NULL && sequence_read(record->tuple, out) == 0;
}

static uint32_t owner_of(const struct catalog *catalog, const struct sequence_def *def)
{
    const struct catalog_record *record =
        catalog_record(catalog, CATALOG_SEQUENCE, def->name, def->name_size);
    const char *field = mp_array_at(record->tuple, 1);
    uint64_t owner = ACCESS_ADMIN;
    mp_read_uint(&field, &owner);
    return (uint32_t)owner;
}

/* sequence(name or id): its description, or nil. */
static int native_sequence(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct sequence_def def;
    if (!find(L, runtime, 1, &def))
        return 0;
    lua_createtable(L, 0, 9);
    set_integer(L, runtime, "id", def.id);
    lua_pushlstring(L, def.name, def.name_size);
    lua_setfield(L, -2, "name");
    set_integer(L, runtime, "owner", owner_of(db_catalog(runtime->worker), &def));
    set_integer(L, runtime, "start", def.start);
    set_integer(L, runtime, "min", def.min);
    set_integer(L, runtime, "max", def.max);
    set_integer(L, runtime, "step", def.step);
    set_integer(L, runtime, "cache", (int64_t)def.cache);
    set_integer(L, runtime, "incarnation", (int64_t)def.incarnation);
    lua_pushboolean(L, def.cycle);
    lua_setfield(L, -2, "cycle");
    return 1;
}

/* sequences(): an array of names. */
static int native_sequences(lua_State *L)
{
    const struct catalog *catalog = db_catalog(lua__runtime(L)->worker);
    uint32_t count = catalog_record_count(catalog, CATALOG_SEQUENCE);
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size;
        const char *name = mp_array_at(catalog_record_at(catalog, CATALOG_SEQUENCE, i)->tuple, 2);
        name = mp_decode_str(&name, &size);
        lua_pushlstring(L, name, size);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* sequence_put(tuple, fresh): the row of a sequence, with nil as its id when it is new; its id. */
static int native_sequence_put(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    struct sequence_def def;
    struct mp_buffer *out = &runtime->scratch;
    bool fresh = lua_toboolean(L, 2);
    uint32_t id = 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    mp_buffer_reset(out, 65536);
    mp_put_array(out, 4);
    for (int i = 1; i <= 4; i++) {
        lua_rawgeti(L, 1, i);
        if (i == 1 && fresh)
            mp_put_uint(out, 0);
        else
            lua__encode(L, runtime, lua_gettop(L), out, LUA__STRICT);
        lua_pop(L, 1);
    }
    int code = sequence_read(out->data, &def);
    if (code != 0)
        return lua__raise(L, runtime, code);
    if (fresh)
        out->data[1] = (char)0xc0; /* nil for the id, which was 0 */
    lua__ddl_result(L, runtime,
                    ddl_record_put(runtime->worker, SPACE_ID_SEQUENCE, out->data, fresh, 1, &id));
    lua_pushnumber(L, id);
    return 1;
}

/* The name of a space whose primary key has the sequence, or NULL. */
static const char *user_of(const struct catalog *catalog, uint32_t id)
{
    for (uint32_t i = 0; i < catalog_space_count(catalog); i++)
        if (catalog_space_at(catalog, i)->sequence_id == id)
            return catalog_space_at(catalog, i)->name;
    return NULL;
}

/* sequence_drop(id) */
static int native_sequence_drop(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    uint32_t id = (uint32_t)luaL_checknumber(L, 1);
    const char *space = user_of(db_catalog(runtime->worker), id);
    if (space != NULL)
        return lua__raise(L, runtime,
                          diag_set(ERROR_SCHEMA,
                                   "the sequence is that of the primary key of space \"%s\"",
                                   space));
    struct mp_buffer *out = &runtime->scratch;
    mp_buffer_reset(out, 65536);
    mp_put_array(out, 1);
    mp_put_uint(out, id);
    lua__ddl_result(L, runtime, ddl_record_delete(runtime->worker, SPACE_ID_SEQUENCE, out->data));
    if (!ddl_active(runtime->worker))
        sequence_forget(db_worker_db(runtime->worker), id);
    return 0;
}

static void check_access(lua_State *L, struct lua_runtime *runtime, const struct sequence_def *def,
                         unsigned privileges)
{
    uint32_t owner = owner_of(db_catalog(runtime->worker), def);
    lua_pushlstring(L, def->name, def->name_size);
    int code = access_check(runtime->worker, privileges, ACCESS_SEQUENCE, def->id, owner,
                            lua_tostring(L, -1));
    if (code != 0)
        lua__raise(L, runtime, code);
}

/* What a number rests on is what the reply waits for. */
static void seen(struct lua_runtime *runtime, uint64_t ts)
{
    if (ts > runtime->seen_ts)
        runtime->seen_ts = ts;
}

static struct lua_runtime *take(lua_State *L, struct sequence_def *def, bool writes)
{
    struct lua_runtime *runtime = lua__runtime(L);
    if (!find(L, runtime, 1, def))
        lua__raise(L, runtime, diag_set(ERROR_NOT_FOUND, "the sequence has been dropped"));
    check_access(L, runtime, def, writes ? ACCESS_WRITE : ACCESS_READ);
    if (writes &&
        (runtime->request->readonly || (runtime->txn != NULL && txn_readonly(runtime->txn))))
        lua__raise(L, runtime, diag_set(ERROR_READONLY, "this request may not write"));
    return runtime;
}

/* sequence_next(id), sequence_current(id): a number. */
static int native_sequence_next(lua_State *L)
{
    struct sequence_def def;
    struct lua_runtime *runtime = take(L, &def, true);
    int64_t number;
    uint64_t ts = 0;
    int code = sequence_next(db_worker_db(runtime->worker), &def, &number, &ts);
    if (code != 0)
        return lua__raise(L, runtime, code);
    seen(runtime, ts);
    push_integer(L, runtime, number);
    return 1;
}

static int native_sequence_current(lua_State *L)
{
    struct sequence_def def;
    struct lua_runtime *runtime = take(L, &def, false);
    int64_t number;
    int code = sequence_current(db_worker_db(runtime->worker), &def, &number);
    if (code != 0)
        return lua__raise(L, runtime, code);
    push_integer(L, runtime, number);
    return 1;
}

/* sequence_set(id, number or nil): as if it had been given last; nil: as if none had been. */
static int native_sequence_set(lua_State *L)
{
    struct sequence_def def;
    struct lua_runtime *runtime = take(L, &def, true);
    struct db *db = db_worker_db(runtime->worker);
    uint64_t ts = 0;
    int64_t number;
    int code;
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        code = sequence_reset(db, &def, &ts);
    } else {
        mp_buffer_reset(&runtime->scratch, 65536);
        lua__encode(L, runtime, 2, &runtime->scratch, LUA__STRICT);
        const char *value = runtime->scratch.data;
        if (!mp_read_int(&value, &number))
            return lua__raise(L, runtime, diag_set(ERROR_INVALID, "an integer is expected"));
        code = sequence_set(db, &def, number, &ts);
    }
    if (code != 0)
        return lua__raise(L, runtime, code);
    seen(runtime, ts);
    return 0;
}

void lua__open_sequence(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"sequence", native_sequence},           {"sequences", native_sequences},
        {"sequence_put", native_sequence_put},   {"sequence_drop", native_sequence_drop},
        {"sequence_next", native_sequence_next}, {"sequence_current", native_sequence_current},
        {"sequence_set", native_sequence_set},   {NULL, NULL},
    };
    lua__register(runtime, functions);
}
