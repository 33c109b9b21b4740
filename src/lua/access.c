/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who runs code, and what it may do: the effective user of a request, checks of statements, calls
 * and text, and box.schema.user, box.schema.role and box.session for lua/box/user.lua.
 *
 * A request has a user: the connection's; of a trusted runtime the admin. The effective user is the
 * same, but within box.session.su, and within a procedure that was made with {setuid = true}, which
 * runs as its owner. db/access.h knows what users may do. What the effective user may do with a
 * space is kept beside the pointer to the space (statement.c), so a statement compares bits that lie
 * in the line it has just read; the cache goes with the catalog, and when the user changes.
 *
 * The switch of users is a protected call in C, so that whatever happens inside, running out of
 * memory or time included, the user is put back before any other code runs. No coroutine can be
 * left through it, either: nobody gets hold of another's rights by yielding.
 */
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "db/ddl.h"
#include "lua/internal.h"

/* ------------------------------------------------------------------------------ the user's rights */

void lua__user_switch(struct lua_runtime *runtime, uint32_t user_id)
{
    if (access_user_get(runtime->worker) == user_id)
        return;
    access_user_set(runtime->worker, user_id);
    for (size_t i = 0; i < LUA__SPACE_SLOTS; i++)
        runtime->spaces[i].rights = 0;
}

void lua__user_begin(struct lua_runtime *runtime, const struct lua_request *request)
{
    runtime->user_id = runtime->options.trusted ? ACCESS_ADMIN : request->user_id;
    lua__user_switch(runtime, runtime->user_id);
}

static bool is_admin(const struct lua_runtime *runtime)
{
    return access_user_get(runtime->worker) == ACCESS_ADMIN;
}

bool lua__space_permits(struct lua_runtime *runtime, struct lua__space_slot *slot, unsigned wanted)
{
    const struct space *space = slot->space;
    uint32_t user_id = access_user_get(runtime->worker);
    if (is_admin(runtime)) {
        slot->rights = ACCESS_ALL;
        return true;
    }
    const struct access *access = access_of(runtime->worker);
    if (access == NULL)
        return false;
    slot->rights = access_rights(access, user_id, ACCESS_SPACE, space->id,
                                 space->system ? ACCESS_ADMIN : space->owner);
    if ((slot->rights & wanted) == wanted)
        return true;
    access_denied(access, user_id, wanted & ~slot->rights, ACCESS_SPACE, space->name);
    return false;
}

int lua__may_execute(struct lua_runtime *runtime, const struct func *func)
{
    return access_check(runtime->worker, ACCESS_EXECUTE, ACCESS_FUNCTION, func->id, func->owner,
                        func->name);
}

int lua__may_eval(struct lua_runtime *runtime)
{
    return access_check(runtime->worker, ACCESS_EXECUTE, ACCESS_LUA_EVAL, ACCESS_EVERY,
                        ACCESS_ADMIN, NULL);
}

int lua__may_administer(struct lua_runtime *runtime, unsigned privilege)
{
    return access_check(runtime->worker, privilege, ACCESS_UNIVERSE, 0, ACCESS_ADMIN, NULL);
}

bool lua__granted(struct lua_runtime *runtime, const char *what)
{
    uint32_t id = access_binding_find(what, strlen(what));
    if (runtime->options.trusted)
        return true;
    if (id == 0) {
        diag_set(ERROR_ACCESS, "there is no binding '%s' that could be granted", what);
        return false;
    }
    return access_check(runtime->worker, ACCESS_EXECUTE, ACCESS_BINDING, id, ACCESS_ADMIN, what) ==
           0;
}

/* -------------------------------------------------------------------------------- other users */

/* run_as(user id, function, ...): what it returns. Only built-in code can call it. */
static int native_run_as(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    uint32_t before = access_user_get(runtime->worker);
    uint32_t user_id = (uint32_t)luaL_checknumber(L, 1);
    int count = lua_gettop(L) - 2;
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua__user_switch(runtime, user_id);
    int status = lua_pcall(L, count, LUA_MULTRET, 0);
    lua__user_switch(runtime, before);
    if (status != 0)
        return lua_error(L);
    return lua_gettop(L) - 1;
}

/* copies(...): the arguments as data that shares nothing with them; functions are refused. */
static int native_copies(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    struct mp_buffer *out = &runtime->scratch;
    int count = lua_gettop(L);
    mp_buffer_reset(out, 65536);
    mp_put_array(out, (uint32_t)count);
    for (int i = 1; i <= count; i++)
        lua__encode(L, runtime, i, out, LUA__STRICT);
    lua_pushlstring(L, out->data, out->size); /* reading may run what makes another value */
    return lua__push_array(L, runtime, lua_tostring(L, -1));
}

static const struct access *pictured(lua_State *L, struct lua_runtime *runtime)
{
    const struct access *access = access_of(runtime->worker);
    if (access == NULL)
        lua__raise(L, runtime, diag_code());
    return access;
}

/* The user with the name or number at this index; raises when there is none. */
static const struct access_user *user_at(lua_State *L, struct lua_runtime *runtime, int index)
{
    const struct access *access = pictured(L, runtime);
    const struct access_user *user = NULL;
    size_t size;
    if (lua_type(L, index) == LUA_TNUMBER) {
        user = access_user_by_id(access, (uint32_t)lua_tonumber(L, index));
    } else {
        const char *name = luaL_checklstring(L, index, &size);
        user = access_user(access, name, size);
    }
    if (user == NULL || user->role)
        lua__raise(L, runtime,
                   diag_set(ERROR_NOT_FOUND, "User '%s' is not found", lua_tostring(L, index)));
    return user;
}

/* su(name or number): its number, when the effective user may become that one. */
static int native_su(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct access_user *user = user_at(L, runtime, 1);
    uint32_t id = user->id, now = access_user_get(runtime->worker);
    if (id != now && access_rights(access_of(runtime->worker), now, ACCESS_UNIVERSE, 0,
                                   ACCESS_ADMIN) != ACCESS_ALL)
        return lua__raise(L, runtime,
                          diag_set(ERROR_ACCESS,
                                   "box.session.su is denied for user '%s': it needs "
                                   "the role super",
                                   access_user_name(access_of(runtime->worker), now)));
    lua_pushnumber(L, id);
    return 1;
}

/* become(user id): until the request ends. */
static int native_become(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    lua__user_switch(runtime, (uint32_t)luaL_checknumber(L, 1));
    return 0;
}

/* uid(), euid(), session_id() */
static int native_uid(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    lua_pushnumber(L,
                   runtime->options.trusted ? access_user_get(runtime->worker) : runtime->user_id);
    return 1;
}

static int native_euid(lua_State *L)
{
    lua_pushnumber(L, access_user_get(lua__runtime(L)->worker));
    return 1;
}

static int native_session_id(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)lua__runtime(L)->request->session_id);
    return 1;
}

/* session_push(value): tells it to the client whose request this is; false: it does not listen. */
static int native_session_push(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct lua_request *request = runtime->request;
    struct mp_buffer *out = &runtime->scratch;
    if (runtime->txn != NULL)
        return lua__raise(L, runtime,
                          diag_set(ERROR_INVALID,
                                   "a transaction has no progress to tell of: it may "
                                   "be run again, or come to nothing"));
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    if (request->progress == NULL) {
        lua_pushboolean(L, false);
        return 1;
    }
    mp_buffer_reset(out, 65536);
    lua__encode(L, runtime, 1, out, LUA__STRICT);
    lua__encode_check(L, runtime, out);
    int code = request->progress(request->progress_arg, request->progress_id, out->data, out->size,
                                 runtime->seen_ts);
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua_pushboolean(L, true);
    return 1;
}

/* session_about([id]): the address, type and descriptor of a connection, nothing when there is none. Of
 * those of others who administers is told, and everybody that they are there. */
static int native_session_about(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct lua_callbacks *callbacks = &runtime->options.callbacks;
    uint64_t own = runtime->request->session_id;
    uint64_t id = lua_isnoneornil(L, 1) ? own : (uint64_t)luaL_checknumber(L, 1);
    struct lua_peer about;
    if (id == 0 || callbacks->session == NULL || !callbacks->session(callbacks->arg, id, &about))
        return 0;
    if (id == own || runtime->options.trusted || lua__may_administer(runtime, ACCESS_ALTER) == 0)
        lua_pushstring(L, about.address);
    else
        lua_pushboolean(L, false);
    lua_pushstring(L, about.type);
    lua_pushinteger(L, about.fd);
    return 3;
}

/* session_kept(): the hook session_ended is to be called when this session ends. */
static int native_session_kept(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct lua_callbacks *callbacks = &runtime->options.callbacks;
    runtime->keeps_sessions = true;
    if (callbacks->session_kept != NULL)
        callbacks->session_kept(callbacks->arg, runtime->request->session_id);
    return 0;
}

static int tell_ended(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    lua__push_hook(L, runtime, "session_ended");
    lua_pushnumber(L, (lua_Number) * (const uint64_t *)arg);
    lua_call(L, 1, 0);
    return 0;
}

void lua_runtime_session_ended(struct lua_runtime *runtime, uint64_t session_id)
{
    if (runtime->keeps_sessions)
        lua__protect(runtime, tell_ended, &session_id);
}

/* user_name(id) */
static int native_user_name(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    lua_pushstring(L, access_user_name(pictured(L, runtime), (uint32_t)luaL_checknumber(L, 1)));
    return 1;
}

/* -------------------------------------------------------------------------------- descriptions */

/* Pushes the name of a record, "" when there is none with this number. */
static void push_record_name(lua_State *L, const struct catalog *catalog, enum catalog_kind kind,
                             uint32_t wanted)
{
    uint64_t id;
    uint32_t size;
    for (uint32_t i = 0; i < catalog_record_count(catalog, kind); i++) {
        const char *row = catalog_record_at(catalog, kind, i)->tuple;
        const char *field = mp_array_at(row, 0), *name = mp_array_at(row, 2);
        if (!mp_read_uint(&field, &id) || id != wanted || mp_typeof(*name) != MP_STR)
            continue;
        name = mp_decode_str(&name, &size);
        lua_pushlstring(L, name, size);
        return;
    }
    lua_pushliteral(L, "");
}

static const char *func_name(const struct catalog *catalog, uint32_t id)
{
    for (uint32_t i = 0; i < catalog_func_count(catalog); i++)
        if (catalog_func_at(catalog, i)->id == id)
            return catalog_func_at(catalog, i)->name;
    return "";
}

static void push_object_name(lua_State *L, const struct access *access,
                             const struct catalog *catalog, const struct access_grant *grant)
{
    const struct space *space = NULL;
    const char *name = "";
    if (grant->type == ACCESS_SEQUENCE) {
        push_record_name(L, catalog, CATALOG_SEQUENCE, grant->id);
        return;
    }
    if (grant->type == ACCESS_SPACE)
        space = catalog_space_by_id(catalog, grant->id);
    if (space != NULL)
        name = space->name;
    else if (grant->type == ACCESS_FUNCTION)
        name = func_name(catalog, grant->id);
    else if ((grant->type == ACCESS_ROLE || grant->type == ACCESS_USER) &&
             grant->id != ACCESS_EVERY)
        name = access_user_name(access, grant->id);
    else if (grant->type == ACCESS_BINDING)
        name = access_binding_name(grant->id);
    lua_pushstring(L, name == NULL ? "" : name);
}

/* privileges(name, role): {{privileges, object type, object name or ""}, ..}, or nil. */
static int native_privileges(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct access *access = pictured(L, runtime);
    size_t size;
    char words[96];
    const char *name = luaL_checklstring(L, 1, &size);
    const struct access_user *user = access_user(access, name, size);
    if (user == NULL || user->role != (lua_toboolean(L, 2) != 0))
        return 0;
    bool all = user->id == ACCESS_ADMIN || user->id == ACCESS_SUPER;
    const struct access_grant everything = {.type = ACCESS_UNIVERSE, .privileges = ACCESS_ALL};
    lua_newtable(L);
    for (uint32_t i = 0; i < (all ? 1 : user->grant_count); i++) {
        const struct access_grant *grant = all ? &everything : &user->grants[i];
        access_privileges_format(grant->privileges, words);
        lua_createtable(L, 3, 0);
        lua_pushstring(L, words);
        lua_rawseti(L, -2, 1);
        lua_pushstring(L, access_object_name((enum access_object)grant->type));
        lua_rawseti(L, -2, 2);
        push_object_name(L, access, db_catalog(runtime->worker), grant);
        lua_rawseti(L, -2, 3);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* ------------------------------------------------------------------------------------- changes */

/* user_may_create(): raises when the effective user may not. */
static int native_user_may_create(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    int code =
        access_check(runtime->worker, ACCESS_CREATE, ACCESS_USER, ACCESS_EVERY, ACCESS_ADMIN, NULL);
    return code == 0 ? 0 : lua__raise(L, runtime, code);
}

/* user_create(name, role, password or nil, if_not_exists) */
static int native_user_create(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    struct password password;
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    bool role = lua_toboolean(L, 2);
    int code = access_check(runtime->worker, ACCESS_CREATE, role ? ACCESS_ROLE : ACCESS_USER,
                            ACCESS_EVERY, ACCESS_ADMIN, NULL); /* before the work */
    if (code != 0)
        return lua__raise(L, runtime, code);
    bool given = lua__password_at(L, runtime, 3, &password);
    return lua__ddl_result(L, runtime,
                           access_user_create(runtime->worker, name, size, role,
                                              given ? &password : NULL, lua_toboolean(L, 4)));
}

/* user_drop(name, role, if_exists) */
static int native_user_drop(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    return lua__ddl_result(
        L, runtime,
        access_user_drop(runtime->worker, name, size, lua_toboolean(L, 2), lua_toboolean(L, 3)));
}

/* password_set(name, password or nil) */
static int native_password_set(lua_State *L)
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    struct password password;
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    bool given = lua__password_at(L, runtime, 2, &password);
    return lua__ddl_result(
        L, runtime, access_password_set(runtime->worker, name, size, given ? &password : NULL));
}

/* (grantee, role, privileges, object type, object name or nil, tolerant) */
static int change_grants(lua_State *L, int (*how)(struct db_worker *, const struct access_change *))
{
    struct lua_runtime *runtime = lua__check_ddl(L);
    struct access_change change = {.role = lua_toboolean(L, 2), .tolerant = lua_toboolean(L, 6)};
    size_t size;
    change.grantee = luaL_checklstring(L, 1, &change.grantee_size);
    const char *words = luaL_checklstring(L, 3, &size);
    if (!access_privileges_parse(words, size, &change.privileges))
        return lua__raise(L, runtime,
                          diag_set(ERROR_INVALID,
                                   "Unsupported privilege '%s': known are read, write, execute, "
                                   "create, alter, drop, session, usage",
                                   words));
    const char *type = luaL_checklstring(L, 4, &size);
    int parsed = access_object_parse(type, size);
    if (parsed < 0)
        return lua__raise(L, runtime, diag_set(ERROR_INVALID, "unknown object type '%s'", type));
    change.type = (enum access_object)parsed;
    if (!lua_isnoneornil(L, 5))
        change.object = luaL_checklstring(L, 5, &change.object_size);
    return lua__ddl_result(L, runtime, how(runtime->worker, &change));
}

static int native_grant(lua_State *L)
{
    return change_grants(L, access_grant);
}

static int native_revoke(lua_State *L)
{
    return change_grants(L, access_revoke);
}

void lua__open_access(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"run_as", native_run_as},
        {"copies", native_copies},
        {"su", native_su},
        {"become", native_become},
        {"uid", native_uid},
        {"euid", native_euid},
        {"session_id", native_session_id},
        {"session_push", native_session_push},
        {"session_about", native_session_about},
        {"session_kept", native_session_kept},
        {"user_name", native_user_name},
        {"privileges", native_privileges},
        {"user_may_create", native_user_may_create},
        {"user_create", native_user_create},
        {"user_drop", native_user_drop},
        {"password_set", native_password_set},
        {"grant", native_grant},
        {"revoke", native_revoke},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
