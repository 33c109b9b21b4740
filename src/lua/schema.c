/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalog in Lua: descriptions of spaces, changes of the schema, and procedures compiled.
 *
 * Descriptions are plain tables; lua/box/space.lua makes objects of them and asks again when the
 * schema version has changed.
 *
 * A procedure is compiled on first use by each runtime and kept, with the version it was made from,
 * in a table of the registry: name -> {function, version}.
 */
#include "base/diag.h"
#include "base/error.h"
#include "codec/path.h"
#include "db/access.h"
#include "db/body_options.h"
#include "db/ddl.h"
#include "lua/internal.h"

static void set_string(lua_State *L, const char *key, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

static void set_number(lua_State *L, const char *key, double value)
{
    lua_pushnumber(L, value);
    lua_setfield(L, -2, key);
}

static void set_boolean(lua_State *L, const char *key, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, key);
}

/* As _space has it; lua/box/definition.lua makes of it what people write. */
static void push_format(lua_State *L, struct lua_runtime *runtime, const struct space *space)
{
    if (space->row_version != NULL) {
        const char *format = mp_array_at(space->row_version->bytes, 6);
        lua__push(L, runtime, &format);
        return;
    }
    lua_createtable(L, (int)space->field_count, 0);
    for (uint32_t i = 0; i < space->field_count; i++) {
        lua_createtable(L, 0, 2);
        set_string(L, "name", space->fields[i].name);
        set_string(L, "type", space->fields[i].type_name);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/* What else a row of _space says. */
static void push_flags(lua_State *L, struct lua_runtime *runtime, const struct space *space)
{
    set_number(L, "field_count", space->exact_count);
    if (space->row_version == NULL)
        return;
    const char *flags = mp_array_at(space->row_version->bytes, 5);
    lua__push(L, runtime, &flags);
    lua_setfield(L, -2, "flags");
}

/* "options": of its engine. */
static void push_body_options(lua_State *L, struct lua_runtime *runtime, const struct space *space)
{
    if (space->options == NULL)
        return;
    mp_buffer_reset(&runtime->scratch, 65536);
    body_options_put(engine_find(space->engine, strlen(space->engine)), space->options,
                     &runtime->scratch);
    if (runtime->scratch.failed)
        luaL_error(L, "out of memory");
    const char *options = runtime->scratch.data;
    lua__push(L, runtime, &options);
    lua_setfield(L, -2, "options");
}

static void push_part(lua_State *L, const struct index_part *part)
{
    lua_createtable(L, 0, 6);
    set_number(L, "fieldno", part->field + 1);
    set_string(L, "type", key_type_name(part->type));
    set_boolean(L, "is_nullable", part->nullable);
    if (part->path.count > 0)
        set_string(L, "path", part->path.text);
    if (part->descending)
        set_string(L, "sort_order", "desc");
    if (part->exclude_null)
        set_boolean(L, "exclude_null", true);
}

/* A field by its number, with a path by '[number].path'. */
static void push_place(lua_State *L, const struct condition_term *term)
{
    if (term->path.count == 0)
        lua_pushinteger(L, (lua_Integer)term->field + 1);
    else
        lua_pushfstring(L, "[%d]%s%s", (int)term->field + 1,
                        term->path.text[0] == '[' || term->path.text[0] == '.' ? "" : ".",
                        term->path.text);
}

/* {{field, operator, value} ..}, as definitions have it. */
static void push_terms(lua_State *L, const struct condition *terms)
{
    struct lua_runtime *runtime = lua__runtime(L);
    lua_createtable(L, (int)terms->count, 0);
    for (uint32_t i = 0; i < terms->count; i++) {
        const struct condition_term *term = &terms->terms[i];
        const unsigned char *key = term->key;
        mp_buffer_reset(&runtime->scratch, 65536);
        char *value = mp_buffer_reserve(&runtime->scratch, 2 * term->key_size + 16), *end = value;
        if (value == NULL || key_part_decode(&key, key + term->key_size, &end) != 0)
            luaL_error(L, "a condition can't be read");
        lua_createtable(L, 3, 0);
        push_place(L, term);
        lua_rawseti(L, -2, 1);
        lua_pushstring(L, condition_op_name(term->op));
        lua_rawseti(L, -2, 2);
        const char *at = value;
        lua__push(L, runtime, &at);
        lua_rawseti(L, -2, 3);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "condition");
}

static void push_covers(lua_State *L, const struct index *index)
{
    lua_createtable(L, (int)index->cover_count, 0);
    for (uint32_t i = 0; i < index->cover_count; i++) {
        lua_pushinteger(L, (lua_Integer)index->covers[i] + 1);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "covers");
}

static void push_index(lua_State *L, const struct index *index)
{
    lua_createtable(L, 0, 8);
    set_number(L, "id", index->id);
    set_string(L, "name", index->name);
    set_string(L, "type", index->type == INDEX_HASH ? "HASH" : "TREE");
    set_boolean(L, "unique", index->unique);
    if (index->func.text != NULL)
        set_string(L, "func", index->func_name != NULL ? index->func_name : index->func.text);
    if (index->func_name != NULL)
        set_string(L, "func_text", index->func.text);
    if (index->func_multikey)
        set_boolean(L, "is_multikey", true);
    if (index->condition.text != NULL)
        set_string(L, "condition", index->condition.text);
    else if (index->terms.count > 0)
        push_terms(L, &index->terms);
    if (index->cover_count > 0)
        push_covers(L, index);
    if (index->id == 0 && index->space->sequence_id != 0)
        set_number(L, "sequence_id", index->space->sequence_id);
    lua_createtable(L, (int)index->part_count, 0);
    for (uint32_t i = 0; i < index->part_count; i++) {
        push_part(L, &index->parts[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "parts");
}

/* The definition of a view. */
static void push_view(lua_State *L, struct lua_runtime *runtime, const struct space *space)
{
    struct path path = {.text = "[6].view", .size = 8};
    const char *view = space->row == NULL ? NULL : path_follow(&path, space->row_version->bytes);
    if (view == NULL)
        return;
    lua__push(L, runtime, &view);
    lua_setfield(L, -2, "view");
}

/* space_readable(id): raises unless its rows may be read. */
static int native_space_readable(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct space *space =
        catalog_space_by_id(db_catalog(runtime->worker), (uint32_t)luaL_checknumber(L, 1));
    if (space == NULL)
        return lua__raise(L, runtime, diag_set(ERROR_NOT_FOUND, "the space has been dropped"));
    int code = access_check(runtime->worker, ACCESS_READ, ACCESS_SPACE, space->id,
                            space->system ? ACCESS_ADMIN : space->owner, space->name);
    return code == 0 ? 0 : lua__raise(L, runtime, code);
}

/* space(name or id): its description, or nil. */
static int native_space(lua_State *L)
{
    const struct catalog *catalog = db_catalog(lua__runtime(L)->worker);
    struct space *space = NULL;
    size_t size;
    if (lua_type(L, 1) == LUA_TNUMBER) {
        space = catalog_space_by_id(catalog, (uint32_t)lua_tonumber(L, 1));
    } else if (lua_type(L, 1) == LUA_TSTRING) {
        const char *name = lua_tolstring(L, 1, &size);
        space = catalog_space(catalog, name, size);
    }
    if (space == NULL)
        return 0;
    lua_createtable(L, 0, 8);
    set_number(L, "id", space->id);
    set_string(L, "name", space->name);
    set_string(L, "engine", space->engine);
    set_boolean(L, "system", space->system);
    push_format(L, lua__runtime(L), space);
    lua_setfield(L, -2, "format");
    push_flags(L, lua__runtime(L), space);
    push_body_options(L, lua__runtime(L), space);
    push_view(L, lua__runtime(L), space);
    lua_createtable(L, (int)space->index_count, 0);
    for (uint32_t i = 0; i < space->index_count; i++) {
        push_index(L, space->indexes[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "indexes");
    return 1;
}

/* index_stat(space id, index id): entries, bytes, build_rows, build_total. space_bytes(id). */
static int native_index_stat(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct index *index;
    int code = lua__index(runtime, (uint32_t)luaL_checknumber(L, 1),
                          (uint32_t)luaL_checknumber(L, 2), ACCESS_READ, &index);
    if (code != 0)
        return lua__raise(L, runtime, code);
    struct space_index_stats stats = space_index_stats(index);
    lua_createtable(L, 0, 4);
    set_number(L, "entries", (double)stats.entries);
    set_number(L, "bytes", (double)stats.bytes);
    set_number(L, "build_rows", (double)stats.build_rows);
    set_number(L, "build_total", (double)stats.build_total);
    return 1;
}

static int native_space_bytes(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct index *index;
    int code = lua__index(runtime, (uint32_t)luaL_checknumber(L, 1), 0, ACCESS_READ, &index);
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua_pushnumber(L, (double)space_bytes(index->space));
    return 1;
}

/* spaces(): an array of names, the system's first. functions(): an array of names. */
static int native_spaces(lua_State *L)
{
    const struct catalog *catalog = db_catalog(lua__runtime(L)->worker);
    uint32_t count = catalog_space_count(catalog);
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        lua_pushstring(L, catalog_space_at(catalog, i)->name);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static int native_functions(lua_State *L)
{
    const struct catalog *catalog = db_catalog(lua__runtime(L)->worker);
    uint32_t count = catalog_func_count(catalog);
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        lua_pushstring(L, catalog_func_at(catalog, i)->name);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

static void push_options(lua_State *L, struct lua_runtime *runtime, const struct func *func)
{
    const char *options = func->options;
    lua__push(L, runtime, &options);
}

/* function_info(name): its description, or nil. */
static int native_function(lua_State *L)
{
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    const struct func *func = catalog_func(db_catalog(lua__runtime(L)->worker), name, size);
    if (func == NULL)
        return 0;
    lua_createtable(L, 0, 8);
    set_number(L, "id", func->id);
    set_string(L, "name", func->name);
    if (lua__may_execute(lua__runtime(L), func) == 0) {
        lua_pushlstring(L, func->body, func->body_size);
        lua_setfield(L, -2, "body");
    }
    set_boolean(L, "readonly", func->readonly);
    set_boolean(L, "transaction", func->transaction);
    set_boolean(L, "setuid", func->setuid);
    set_number(L, "owner", func->owner);
    set_number(L, "level", func->level_given ? (double)func->level : -1);
    set_number(L, "version", func->version);
    set_boolean(L, "limited", func_is_limited(func));
    push_options(L, lua__runtime(L), func);
    lua_setfield(L, -2, "options");
    return 1;
}

/* function_former(name): its former versions, an array of {version, owner, body, options}. */
static int native_function_former(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    int code = ddl_func_former(runtime->worker, name, size, &runtime->scratch);
    lua__seen(runtime);
    if (code != 0)
        return lua__raise(L, runtime, code);
    const char *data = runtime->scratch.data;
    lua__push(L, runtime, &data);
    return 1;
}

/* -------------------------------------------------------------------------------- procedures */

enum { PROCEDURES_BETWEEN_LOOKS = 256 };

/* Now and then forgets the compiled functions, in the table on top, of what has been dropped. */
static void forget_dropped(lua_State *L, struct lua_runtime *runtime)
{
    if (++runtime->procedures_compiled % PROCEDURES_BETWEEN_LOOKS != 0)
        return;
    const struct catalog *catalog = db_catalog(runtime->worker);
    for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
        size_t size;
        const char *name = lua_tolstring(L, -2, &size);
        if (catalog_func(catalog, name, size) != NULL)
            continue;
        lua_pushvalue(L, -2);
        lua_pushnil(L);
        lua_rawset(L, -5);
    }
}

void lua__push_procedure(lua_State *L, struct lua_runtime *runtime, const struct func *func)
{
    double version = (double)func->version_ts;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->ref_procedures);
    lua_getfield(L, -1, func->name);
    if (lua_istable(L, -1)) {
        lua_rawgeti(L, -1, 2);
        bool current = lua_tonumber(L, -1) == version;
        lua_pop(L, 1);
        if (current) {
            lua_rawgeti(L, -1, 1);
            lua_replace(L, -3);
            lua_pop(L, 1);
            return;
        }
    }
    lua_pop(L, 1);
    forget_dropped(L, runtime);
    lua_createtable(L, 2, 0);
    lua__push_hook(L, runtime, "compile_procedure");
    lua_pushstring(L, func->name);
    lua_pushlstring(L, func->body, func->body_size);
    push_options(L, runtime, func);
    lua_call(L, 3, 1);
    lua_rawseti(L, -2, 1);
    lua_pushnumber(L, version);
    lua_rawseti(L, -2, 2);
    lua_rawgeti(L, -1, 1);
    lua_insert(L, -2);
    lua_setfield(L, -3, func->name);
    lua_remove(L, -2);
}

/* procedure(name): the compiled function. */
static int native_procedure(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    const struct func *func = catalog_func(db_catalog(runtime->worker), name, size);
    if (func == NULL)
        return lua__raise(L, runtime, diag_set(ERROR_NOT_FOUND, "there is no procedure %s", name));
    int code = lua__may_execute(runtime, func);
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua__push_procedure(L, runtime, func);
    return 1;
}

/* --------------------------------------------------------------------------- schema changes */

struct lua_runtime *lua__check_ddl(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    if (runtime->txn != NULL && !ddl_active(runtime->worker))
        lua__raise(L, runtime,
                   diag_set(ERROR_INVALID, "the schema can't be changed inside of a transaction, "
                                           "but of one that has begun with {schema = true}"));
    if (runtime->stop != 0)
        lua__raise(L, runtime, lua__stopped(runtime));
    if (runtime->request->readonly)
        lua__raise(L, runtime, diag_set(ERROR_READONLY, "this request may not write"));
    return runtime;
}

int lua__ddl_result(lua_State *L, struct lua_runtime *runtime, int code)
{
    lua__seen(runtime);
    runtime->committed = runtime->committed || (code == 0 && runtime->txn == NULL);
    if (code != 0)
        return lua__raise(L, runtime, code);
    if (runtime->txn == NULL)
        lua__schema_changed(L, runtime);
    return 0;
}

static bool is_empty(lua_State *L, int table)
{
    if (!lua_istable(L, table))
        return false;
    lua_pushnil(L);
    if (lua_next(L, table) == 0)
        return true;
    lua_pop(L, 2);
    return false;
}

/* The table at index 2 or 3 as MessagePack; an absent one is an empty map. */
static const char *options_at(lua_State *L, struct lua_runtime *runtime, int index)
{
    struct mp_buffer *out = &runtime->scratch;
    mp_buffer_reset(out, 65536);
    if (lua_isnoneornil(L, index) || is_empty(L, index))
        mp_put_map(out, 0);
    else
        lua__encode(L, runtime, index, out, LUA__STRICT);
    return out->data;
}

static int native_space_create(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    size_t size;
    uint32_t id = 0;
    const char *name = luaL_checklstring(L, 1, &size);
    const char *options = options_at(L, runtime, 2);
    lua__ddl_result(L, runtime, ddl_space_create(runtime->worker, name, size, options, &id));
    lua_pushnumber(L, id);
    return 1;
}

static uint32_t check_id(lua_State *L, int index)
{
    lua_Number id = luaL_checknumber(L, index);
    luaL_argcheck(L, id >= 0 && id <= UINT32_MAX, index, "not an id");
    return (uint32_t)id;
}

static int native_space_drop(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    return lua__ddl_result(L, runtime, ddl_space_drop(runtime->worker, check_id(L, 1)));
}

int lua__job_take(lua_State *L, struct lua_runtime *runtime, int code, struct ddl_job *job)
{
    if (code == 0 && job != NULL) {
        runtime->job = job;
        runtime->committed = true;
        lua__seen(runtime);
    } else {
        lua__ddl_result(L, runtime, code);
    }
    lua_pushboolean(L, job != NULL);
    return 1;
}

void lua__job_drop(struct lua_runtime *runtime)
{
    char message[DIAG_MESSAGE_MAX];
    int code = diag_code();
    snprintf(message, sizeof message, "%s", diag_message());
    struct ddl_job *job = runtime->job;
    runtime->job = NULL;
    ddl_job_cancel(job);
    lua__seen(runtime);
    diag_set(code, "%s", message);
}

/* A change begins: one of which an error has kept Lua from going on is over. */
static struct lua_runtime *check_ddl_job(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    if (runtime->job != NULL)
        lua__job_drop(runtime);
    return runtime;
}

/* Who asked for the change is told how far it is, as by box.session.push. */
static void job_tell(struct lua_runtime *runtime)
{
    const struct lua_request *request = runtime->request;
    struct mp_buffer *out = &runtime->scratch;
    struct ddl_progress progress;
    char what[512];
    if (request->progress == NULL || !ddl_job_tells(runtime->job, &progress))
        return;
    int size = snprintf(what, sizeof what, "%s %s", progress.name, progress.doing);
    mp_buffer_reset(out, 65536);
    mp_put_map(out, 3);
    mp_put_str(out, "what", 4);
    mp_put_str(out, what, (size_t)size < sizeof what ? (size_t)size : sizeof what - 1);
    mp_put_str(out, "done", 4);
    mp_put_uint(out, progress.rows);
    mp_put_str(out, "total", 5);
    mp_put_uint(out, progress.total);
    if (!out->failed) /* a client that reads nothing misses it */
        request->progress(request->progress_arg, request->progress_id, out->data, out->size,
                          runtime->seen_ts);
}

/* job_step(): goes on with the change that this request has begun. True: there is more to do; and how
 * long, in seconds, others may have their turns before. The time is not the request's. */
static int native_job_step(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct clock *clock = clock_system();
    uint64_t began = clock_monotonic_ns(clock), at_ns = load_relaxed(&runtime->deadline.at_ns);
    if (runtime->job == NULL)
        return 0;
    bool armed = at_ns != 0 && !lua__deadline_passed(&runtime->deadline);
    if (armed)
        lua__deadline_disarm(&runtime->deadline);
    int code = ddl_job_step(runtime->job);
    uint64_t elapsed = clock_monotonic_ns(clock) - began;
    runtime->asleep_ns += elapsed;
    if (armed)
        lua__deadline_arm_at(&runtime->deadline, at_ns + elapsed);
    if (code == ERROR_WAIT) {
        job_tell(runtime);
        lua_pushboolean(L, true);
        lua_pushnumber(L, ddl_job_waits(runtime->job) ? 0.005 : 0);
        return 2;
    }
    runtime->job = NULL;
    return lua__ddl_result(L, runtime, code);
}

/* job_cancel() */
static int native_job_cancel(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    if (runtime->job != NULL)
        lua__job_drop(runtime);
    return 0;
}

static int native_space_format(lua_State *L)
{
    struct lua_runtime *runtime = check_ddl_job(L);
    struct mp_buffer *out = &runtime->scratch;
    struct ddl_job *job;
    uint32_t id = check_id(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    mp_buffer_reset(out, 65536);
    lua__encode(L, runtime, 2, out, LUA__STRICT);
    int code = ddl_space_format_begin(runtime->worker, id, out->data, &job);
    return lua__job_take(L, runtime, code, job);
}

static int native_space_alter(lua_State *L)
{
    struct lua_runtime *runtime = check_ddl_job(L);
    struct ddl_job *job;
    uint32_t id = check_id(L, 1);
    const char *options = options_at(L, runtime, 2);
    int code = ddl_space_alter_begin(runtime->worker, id, options, &job);
    return lua__job_take(L, runtime, code, job);
}

/* space_verify(id) */
static int native_space_verify(lua_State *L)
{
    struct lua_runtime *runtime = check_ddl_job(L);
    struct ddl_job *job = NULL;
    int code = ddl_verify_begin(runtime->worker, check_id(L, 1), &job);
    return lua__job_take(L, runtime, code, job);
}

static int native_space_truncate(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    return lua__ddl_result(L, runtime, ddl_space_truncate(runtime->worker, check_id(L, 1)));
}

static int native_index_create(lua_State *L)
{
    struct lua_runtime *runtime = check_ddl_job(L);
    struct ddl_job *job;
    size_t size;
    uint32_t id = 0, space_id = check_id(L, 1);
    const char *name = luaL_checklstring(L, 2, &size);
    const char *options = options_at(L, runtime, 3);
    int code = ddl_index_create_begin(runtime->worker, space_id, name, size, options, &id, &job);
    return lua__job_take(L, runtime, code, job);
}

/* index_rebuild(space_id, index_id) */
static int native_index_rebuild(lua_State *L)
{
    struct lua_runtime *runtime = check_ddl_job(L);
    struct ddl_job *job;
    int code = ddl_index_rebuild_begin(runtime->worker, check_id(L, 1), check_id(L, 2), &job);
    return lua__job_take(L, runtime, code, job);
}

static int native_index_rename(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    size_t size;
    const char *name = luaL_checklstring(L, 3, &size);
    return lua__ddl_result(
        L, runtime, ddl_index_rename(runtime->worker, check_id(L, 1), check_id(L, 2), name, size));
}

static int native_index_drop(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    return lua__ddl_result(L, runtime,
                           ddl_index_drop(runtime->worker, check_id(L, 1), check_id(L, 2)));
}

static int native_func_create(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    const char *options = options_at(L, runtime, 2);
    return lua__ddl_result(L, runtime, ddl_func_create(runtime->worker, name, size, options));
}

static int native_func_rename(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    size_t size, to_size;
    const char *name = luaL_checklstring(L, 1, &size), *to = luaL_checklstring(L, 2, &to_size);
    return lua__ddl_result(L, runtime, ddl_func_rename(runtime->worker, name, size, to, to_size));
}

static int native_func_restore(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    return lua__ddl_result(L, runtime,
                           ddl_func_restore(runtime->worker, name, size, check_id(L, 2)));
}

static int native_func_drop(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    return lua__ddl_result(L, runtime, ddl_func_drop(runtime->worker, name, size));
}

/* ------------------------------------------------------------------------ rows of system spaces */

int lua__records_push(lua_State *L, enum catalog_kind kind)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct catalog *catalog = db_catalog(runtime->worker);
    uint32_t count = catalog_record_count(catalog, kind);
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        const char *tuple = catalog_record_at(catalog, kind, i)->tuple;
        lua__push(L, runtime, &tuple);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

int lua__record_put(lua_State *L, uint32_t space_id, bool fresh)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    uint32_t id = 0;
    struct mp_buffer *out = &runtime->scratch;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    mp_buffer_reset(out, 65536);
    lua__encode(L, runtime, 1, out, LUA__STRICT);
    lua__encode_check(L, runtime, out);
    lua__ddl_result(L, runtime,
                    ddl_record_put(runtime->worker, space_id, out->data, fresh, 1, &id));
    lua_pushnumber(L, id);
    return 1;
}

int lua__record_drop(lua_State *L, uint32_t space_id)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    struct mp_buffer *out = &runtime->scratch;
    mp_buffer_reset(out, 65536);
    mp_put_array(out, 1);
    mp_put_uint(out, (uint64_t)luaL_checknumber(L, 1));
    return lua__ddl_result(L, runtime, ddl_record_delete(runtime->worker, space_id, out->data));
}

void lua__open_schema(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"space", native_space},
        {"index_stat", native_index_stat},
        {"space_bytes", native_space_bytes},
        {"space_readable", native_space_readable},
        {"spaces", native_spaces},
        {"functions", native_functions},
        {"function_info", native_function},
        {"procedure", native_procedure},
        {"space_create", native_space_create},
        {"space_drop", native_space_drop},
        {"space_format", native_space_format},
        {"space_alter", native_space_alter},
        {"space_truncate", native_space_truncate},
        {"space_verify", native_space_verify},
        {"job_step", native_job_step},
        {"job_cancel", native_job_cancel},
        {"index_create", native_index_create},
        {"index_drop", native_index_drop},
        {"index_rename", native_index_rename},
        {"index_rebuild", native_index_rebuild},
        {"func_create", native_func_create},
        {"func_drop", native_func_drop},
        {"func_rename", native_func_rename},
        {"func_restore", native_func_restore},
        {"function_former", native_function_former},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
