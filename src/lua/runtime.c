/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LuaJIT states: made, filled with the built-in Lua, given calls and text and files to run. See
 * runtime.h.
 *
 * Layers of what code can see:
 *   the built-in modules (lua/) run with everything LuaJIT has and keep ffi and the like as locals
 *   trusted code runs in the same globals
 *   untrusted code runs in environments that lua/box/sandbox.lua makes, one for each procedure and
 *   script, from which neither the globals nor the functions that could lead there (getfenv,
 *   debug, bytecode) can be reached
 *
 * Memory is bounded by the state's allocator (allocate.c). On a LuaJIT whose compiled loops don't look at hooks an untrusted state is
 * interpreted, because a time limit could not stop it otherwise.
 */
#include "lua/runtime.h"

#include <luajit.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "lua/builtin.h"
#include "lua/fiber.h"
#include "lua/internal.h"
#include "mem/account.h"

/* ------------------------------------------------------------------------------------ making */

struct lua_runtime *lua__runtime(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

void lua__register(struct lua_runtime *runtime, const luaL_Reg *functions)
{
    for (; functions->name != NULL; functions++) {
        lua_pushlightuserdata(runtime->L, runtime);
        lua_pushcclosure(runtime->L, functions->func, 1);
        lua_setfield(runtime->L, -2, functions->name);
    }
}

void lua__push_hook(lua_State *L, struct lua_runtime *runtime, const char *name)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->ref_hooks);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

int lua__raise(lua_State *L, struct lua_runtime *runtime, int code)
{
    lua__push_hook(L, runtime, "raise");
    lua_pushinteger(L, code);
    lua_pushstring(L, diag_message_for(code));
    lua_call(L, 2, 0);
    return 0;
}

/* package.preload's functions: compiles the built-in module that the upvalue points to and runs it.
 */
static int load_builtin(lua_State *L)
{
    const struct lua_builtin *builtin = lua_touserdata(L, lua_upvalueindex(1));
    lua_pushfstring(L, "=[%s]", builtin->name);
    if (luaL_loadbufferx(L, (const char *)builtin->data, builtin->size, lua_tostring(L, -1), "t"))
        return lua_error(L);
    lua_pushvalue(L, LUA_ENVIRONINDEX); /* the globals of the beginning, which may be gone */
    lua_setfenv(L, -2);
    lua_pushstring(L, builtin->name);
    lua_call(L, 1, 1);
    return 1;
}

void lua__preload_builtins(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    for (const struct lua_builtin *builtin = lua_builtins; builtin->name != NULL; builtin++) {
        union {
            const void *from;
            void *to;
        } pointer = {.from = builtin};
        lua_pushlightuserdata(L, pointer.to);
        lua_pushcclosure(L, load_builtin, 1);
        lua_setfield(L, -2, builtin->name);
    }
    lua_pop(L, 2);
}

/* The module "box.native": what C gives to the built-in Lua. */
void lua__make_native(lua_State *L, struct lua_runtime *runtime)
{
    union {
        const void *from;
        void *to;
    } api = {.from = &lua__api};
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    lua_newtable(L);
    lua_pushlightuserdata(L, api.to);
    lua_setfield(L, -2, "api");
    lua_pushlightuserdata(L, runtime);
    lua_setfield(L, -2, "runtime");
    lua_pushlightuserdata(L, &runtime->value);
    lua_setfield(L, -2, "value");
    lua_pushlightuserdata(L, &runtime->row);
    lua_setfield(L, -2, "row");
    lua_pushlightuserdata(L, &runtime->scan);
    lua_setfield(L, -2, "scan");
    lua_pushlightuserdata(L, &runtime->walk);
    lua_setfield(L, -2, "walk");
    lua_pushboolean(L, runtime->options.trusted);
    lua_setfield(L, -2, "trusted");
    char secret[40];
    snprintf(secret, sizeof secret, "_%016llx%016llx",
             (unsigned long long)random_next(&runtime->random),
             (unsigned long long)random_next(&runtime->random));
    lua_pushstring(L, secret);
    lua_setfield(L, -2, "secret");
    lua__open_convert(runtime);
    lua__open_schema(runtime);
    lua__open_runtime(runtime);
    lua__open_redis(runtime);
    lua__open_pattern(runtime);
    lua__open_long(runtime);
    lua__open_transaction(runtime);
    lua__open_statistics(runtime);
    lua__open_statistics_memory(runtime);
    lua__open_statistics_io(runtime);
    lua__open_compaction(runtime);
    lua__open_ingest(runtime);
    lua__open_fiber(runtime);
    lua__open_socket(runtime);
    lua__open_http(runtime);
    lua__open_trigger(runtime);
    lua__open_limit(runtime);
    lua__open_trace(runtime);
    lua__open_module(runtime);
    lua__open_library(runtime);
    lua__open_access(runtime);
    lua__open_sequence(runtime);
    lua__open_watch(runtime);
    lua__open_clock(runtime);
    lua__open_digest(runtime);
    lua__open_crypto(runtime);
    lua__open_yaml(runtime);
    lua__open_fio(runtime);
    lua__open_password(runtime);
    lua__open_profile(runtime);
    lua__open_redis_function(runtime);
    lua__open_script_json(runtime);
    lua__open_script_msgpack(runtime);
    lua__open_script_struct(runtime);
    lua__open_stepper(runtime);
    lua_setfield(L, -2, "box.native");
    lua_pop(L, 2);
}

static int take_reference(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

void lua__take_hooks(lua_State *L, struct lua_runtime *runtime)
{
    runtime->ref_null = take_reference(L, "null");
    runtime->ref_classify = take_reference(L, "classify");
    runtime->ref_make = take_reference(L, "make");
    runtime->ref_serializers = take_reference(L, "serializers");
    runtime->ref_hooks = luaL_ref(L, LUA_REGISTRYINDEX);
}

static int set_up(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    (void)arg;
    luaL_openlibs(L); /* turns the compiler on */
#if !PERIGEE_LUAJIT_CHECKHOOK
    if (!runtime->options.trusted)
        luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
#endif
    lua__preload_builtins(L);
    lua__make_native(L, runtime);
    lua_newtable(L);
    runtime->ref_procedures = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "box");
    lua_call(L, 1, 1);
    /* The module gives a table of hooks; box itself it has put where it belongs. */
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "loaded");
    lua_getfield(L, -1, "box.hooks");
    lua__take_hooks(L, runtime);
    if (!runtime->options.trusted) {
        /* A chunk that should ever be loaded without an environment finds nothing. */
        lua_newtable(L);
        lua_replace(L, LUA_GLOBALSINDEX);
    }
    return 0;
}

void lua__buffers_create(struct lua_runtime *runtime)
{
    mp_buffer_create(&runtime->args[0]);
    mp_buffer_create(&runtime->args[1]);
    mp_buffer_create(&runtime->scratch);
    mp_buffer_create(&runtime->pairs);
    mp_buffer_create(&runtime->position);
    mp_buffer_create(&runtime->copy);
    mp_buffer_create(&runtime->rows);
    mp_buffer_create(&runtime->result);
    mp_buffer_create(&runtime->reply);
    mp_buffer_create(&runtime->frames);
    mp_buffer_create(&runtime->details);
    json_buffer_create(&runtime->json);
}

void lua__buffers_free(struct lua_runtime *runtime)
{
    mp_buffer_destroy(&runtime->args[0]);
    mp_buffer_destroy(&runtime->args[1]);
    mp_buffer_destroy(&runtime->scratch);
    mp_buffer_destroy(&runtime->pairs);
    mp_buffer_destroy(&runtime->position);
    mp_buffer_destroy(&runtime->copy);
    mp_buffer_destroy(&runtime->rows);
    mp_buffer_destroy(&runtime->result);
    mp_buffer_destroy(&runtime->reply);
    mp_buffer_destroy(&runtime->frames);
    mp_buffer_destroy(&runtime->details);
    json_buffer_destroy(&runtime->json);
}

/* Values on their way out of the state, or into it, take as much memory as the state may. */
void lua__buffers_bound(struct lua_runtime *runtime)
{
    struct mp_buffer *const buffers[] = {
        &runtime->args[0], &runtime->args[1], &runtime->scratch, &runtime->copy,
        &runtime->rows,    &runtime->result,  &runtime->reply,
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        buffers[i]->bytes_max = runtime->memory_bytes_max;
}

int lua_runtime_new(const struct lua_runtime_options *options, struct lua_runtime **out)
{
    struct lua_runtime *runtime = calloc(1, sizeof *runtime);
    if (runtime == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    struct db *db = db_worker_db(options->worker);
    lua__request_none(runtime);
    sem_init(&runtime->woken, 0, 0);
    pthread_mutex_init(&runtime->running.mutex, NULL);
    runtime->options = *options;
    runtime->worker = options->worker;
    runtime->txn_worker = db_worker_txn(options->worker);
    runtime->wal = db_wal(db);
    runtime->clock = db_clock(db);
    random_create(&runtime->random, random_seed());
    lua__buffers_create(runtime);
    runtime->L = lua_newstate(lua__allocate, runtime);
    if (runtime->L == NULL) {
        free(runtime);
        return diag_set(ERROR_MEMORY, "out of memory for a Lua state");
    }
    lua__deadline_create(&runtime->deadline, options->watchdog, runtime->L);
    runtime->tracing = true;
    int code = lua__fibers_create(runtime);
    if (code == 0)
        code = lua__protect(runtime, set_up, NULL);
    if (code != 0) {
        diag_add("built-in Lua");
        lua_runtime_delete(runtime);
        return code;
    }
    runtime->tracing = options->trusted;
    runtime->memory_bytes_max = options->memory_bytes_max;
    if (runtime->memory_bytes_max == 0 && !options->trusted)
        runtime->memory_bytes_max = LUA_MEMORY_BYTES_DEFAULT;
    lua__buffers_bound(runtime);
    lua__profile_register(runtime);
    *out = runtime;
    return 0;
}

void lua_runtime_delete(struct lua_runtime *runtime)
{
    if (runtime == NULL)
        return;
    lua__profile_forget(runtime);
    if (runtime->fibers != NULL)
        lua__fibers_stop(runtime);
    lua__others_forget(runtime);
    lua__deadline_destroy(&runtime->deadline);
    lua_close(runtime->L);
    lua__ahead_drop(runtime);
    lua__fibers_destroy(runtime);
    lua__walks_free(runtime);
    lua__fio_destroy(runtime);
    sem_destroy(&runtime->woken);
    pthread_mutex_destroy(&runtime->running.mutex);
    lua__buffers_free(runtime);
    account_add(ACCOUNT_LUA, -(int64_t)runtime->memory_told);
    free(runtime);
}

struct lua_State *lua_runtime_state(struct lua_runtime *runtime)
{
    return runtime->L;
}

const char *lua_runtime_trace(const struct lua_runtime *runtime)
{
    return runtime->trace;
}

size_t lua_runtime_memory(const struct lua_runtime *runtime)
{
    return runtime->memory_bytes;
}

const char *lua_runtime_variant(void)
{
#if PERIGEE_LUAJIT_CHECKHOOK
    return "LuaJIT 2.1 with CHECKHOOK";
#else
    return "LuaJIT 2.1 as packaged, untrusted code interpreted";
#endif
}

/* ----------------------------------------------------------------------------------- calling */

struct call {
    const char *name; /* of a procedure; or the text of an eval */
    size_t name_size;
    const char *args;
    uint64_t version_ts; /* of the procedure whose options count */
    uint64_t began_ns;
    bool replaced; /* there is another one now */
};

/* Calls the function on the stack's bottom with the arguments and encodes what it returns. */
static void call_and_encode(lua_State *L, struct lua_runtime *runtime, const char *args,
                            enum lua__encoding encoding)
{
    int count = args == NULL ? 0 : lua__push_array(L, runtime, args);
    lua_call(L, count, LUA_MULTRET);
    int results = lua_gettop(L);
    mp_buffer_reset(&runtime->result, 65536);
    mp_put_array(&runtime->result, (uint32_t)results);
    luaL_checkstack(L, 16, "results");
    for (int i = 1; i <= results; i++)
        lua__encode(L, runtime, i, &runtime->result, encoding);
}

/* Whether its caller may call it; and from here on it runs for whom it is to run. */
static int enter_procedure(struct lua_runtime *runtime, const struct func *func)
{
    lua__user_switch(runtime, runtime->user_id); /* an earlier run may have been the owner's */
    int code = lua__may_execute(runtime, func);
    if (code == 0 && func->setuid)
        lua__user_switch(runtime, func->owner);
    return code;
}

static int call_procedure(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    struct call *call = arg;
    struct lua__limits_before before;
    const struct func *func =
        catalog_func(db_catalog(runtime->worker), call->name, call->name_size);
    if (func == NULL)
        return diag_set(ERROR_NOT_FOUND, "there is no procedure %.*s", (int)call->name_size,
                        call->name);
    int code = enter_procedure(runtime, func);
    if (code != 0)
        return code;
    if (func->version_ts != call->version_ts) {
        call->replaced = true;
        return ERROR_AGAIN;
    }
    if (func_is_limited(func)) {
        lua__limits_end(runtime); /* of a run before this one */
        lua__limits_enter(runtime, func, call->began_ns, &before);
    }
    lua__push_procedure(L, runtime, func);
    lua_insert(L, 1);
    lua_settop(L, 1);
    call_and_encode(L, runtime, call->args, LUA__STRICT);
    return 0;
}

int lua__deliver(struct lua_runtime *runtime, struct mp_buffer *result)
{
    const char *data = runtime->result.data;
    if (!mp_check_limited(&data, data + runtime->result.size))
        return diag_set(ERROR_LUA, "what was returned changed while it was read");
    mp_put_raw(result, runtime->result.data, runtime->result.size);
    return result->failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

static int prepare_procedure(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct call *call = arg;
    const struct func *func =
        catalog_func(db_catalog(runtime->worker), call->name, call->name_size);
    if (func == NULL)
        return diag_set(ERROR_NOT_FOUND, "there is no procedure %.*s", (int)call->name_size,
                        call->name);
    int code = enter_procedure(runtime, func);
    if (code != 0)
        return code;
    struct lua__limits_before before;
    if (func_is_limited(func))
        lua__limits_enter(runtime, func, clock_monotonic_ns(clock_system()), &before);
    lua__push_procedure(L, runtime, func);
    lua_insert(L, 1);
    lua_settop(L, 1);
    if (call->args != NULL)
        lua__push_array(L, runtime, call->args);
    return 0;
}

static bool may_sleep(const struct lua_request *request)
{
    return request->fiber != NULL && request->txn == NULL;
}

int lua_runtime_call(struct lua_runtime *runtime, const struct lua_request *request,
                     const char *name, size_t name_size, const char *args, struct mp_buffer *result,
                     uint64_t *reply_ts)
{
    struct call call = {.name = name, .name_size = name_size, .args = args};
    const struct func *func = catalog_func(db_catalog(runtime->worker), name, name_size);
    runtime->unplaced = false;
    if (may_sleep(request) && func != NULL && !func->transaction)
        return lua__fiber_request(runtime, request, prepare_procedure, &call, name, name_size,
                                  result, reply_ts);
    lua__request_begin(runtime, request);
    int code;
    if (func != NULL) {
        call.version_ts = func->version_ts;
        call.began_ns = func_is_limited(func) ? clock_monotonic_ns(clock_system()) : 0;
    }
    if (func == NULL) {
        code = diag_set(ERROR_NOT_FOUND, "there is no procedure %.*s", (int)name_size, name);
    } else if (!func->transaction || request->txn != NULL) {
        code = lua__protect(runtime, call_procedure, &call);
        if (code == 0 && lua__expired(runtime))
            code = ERROR_TIMEOUT; /* the error was caught on the way out */
    } else {
        struct txn_options options = {.level =
                                          func->level_given ? func->level : lua__level(runtime),
                                      .readonly = func->readonly || request->readonly};
        code = lua__transaction(runtime, &options, call_procedure, &call);
    }
    if (call.replaced) { /* between the look at its options and the transaction's picture */
        lua__request_end(runtime, code, reply_ts);
        return lua_runtime_call(runtime, request, name, name_size, args, result, reply_ts);
    }
    if (code != 0 && runtime->unplaced)
        diag_add("%.*s", (int)name_size, name);
    code = lua__request_end(runtime, code, reply_ts);
    return code == 0 ? lua__deliver(runtime, result) : code;
}

static void push_text(lua_State *L, struct lua_runtime *runtime, const struct call *call)
{
    lua__push_hook(L, runtime, "compile_eval");
    lua_pushlstring(L, call->name, call->name_size);
    lua_call(L, 1, 1);
}

static int prepare_text(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct call *call = arg;
    int code = lua__may_eval(runtime);
    if (code != 0)
        return code;
    push_text(L, runtime, call);
    if (call->args != NULL)
        lua__push_array(L, runtime, call->args);
    return 0;
}

static int prepare_background(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    push_text(L, runtime, arg);
    return 0;
}

int lua_runtime_background(struct lua_runtime *runtime, const char *text, size_t size,
                           uint32_t user_id)
{
    struct call call = {.name = text, .name_size = size};
    const struct lua_request request = {.user_id = user_id};
    return lua__fiber_background(runtime, &request, prepare_background, &call);
}

static int eval_text(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct call *call = arg;
    int code = lua__may_eval(runtime);
    if (code != 0)
        return code;
    push_text(L, runtime, call);
    call_and_encode(L, runtime, call->args, LUA__LENIENT);
    return 0;
}

int lua_runtime_eval(struct lua_runtime *runtime, const struct lua_request *request,
                     const char *text, size_t size, const char *args, struct mp_buffer *result,
                     uint64_t *reply_ts)
{
    struct call call = {.name = text, .name_size = size, .args = args};
    if (may_sleep(request))
        return lua__fiber_request(runtime, request, prepare_text, &call, "", 0, result, reply_ts);
    lua__request_begin(runtime, request);
    int code = lua__protect(runtime, eval_text, &call);
    if (code == 0 && lua__expired(runtime))
        code = ERROR_TIMEOUT; /* the error was caught on the way out */
    code = lua__request_end(runtime, code, reply_ts);
    return code == 0 ? lua__deliver(runtime, result) : code;
}

static int prepare_schema(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct call *call = arg;
    lua__push_hook(L, runtime, "schema_command");
    lua__push_array(L, runtime, call->args);
    return 0;
}

static int call_schema(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    const struct call *call = arg;
    lua__push_hook(L, runtime, "schema_command");
    call_and_encode(L, runtime, call->args, LUA__STRICT);
    return 0;
}

int lua_runtime_schema(struct lua_runtime *runtime, const struct lua_request *request,
                       const char *args, struct mp_buffer *result, uint64_t *reply_ts)
{
    struct call call = {.name = "", .args = args};
    if (may_sleep(request))
        return lua__fiber_request(runtime, request, prepare_schema, &call, "", 0, result, reply_ts);
    lua__request_begin(runtime, request);
    int code = lua__protect(runtime, call_schema, &call);
    if (code == 0 && lua__expired(runtime))
        code = ERROR_TIMEOUT; /* the error was caught on the way out */
    code = lua__request_end(runtime, code, reply_ts);
    return code == 0 ? lua__deliver(runtime, result) : code;
}

struct file {
    const char *path;
    int argc;
    char **argv;
};

static int run_file(lua_State *L, struct lua_runtime *runtime, void *arg)
{
    (void)runtime;
    const struct file *file = arg;
    if (luaL_loadfilex(L, file->path, "t") != 0)
        return lua_error(L);
    lua_createtable(L, file->argc, 1);
    lua_pushstring(L, file->path);
    lua_rawseti(L, -2, 0);
    luaL_checkstack(L, file->argc + 4, "too many arguments");
    for (int i = 0; i < file->argc; i++) {
        lua_pushstring(L, file->argv[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setglobal(L, "arg");
    for (int i = 0; i < file->argc; i++)
        lua_pushstring(L, file->argv[i]);
    lua_call(L, file->argc, 0);
    return 0;
}

int lua_runtime_run_file(struct lua_runtime *runtime, const char *path, int argc, char **argv,
                         uint64_t *reply_ts)
{
    struct file file = {.path = path, .argc = argc, .argv = argv};
    struct lua_request request = {.txn = NULL};
    lua__request_begin(runtime, &request);
    int code = lua__protect(runtime, run_file, &file);
    return lua__request_end(runtime, code, reply_ts);
}

int lua_runtime_settle(struct lua_runtime *runtime, uint64_t *reply_ts)
{
    int code = lua__request_end(runtime, 0, reply_ts);
    runtime->seen_ts = 0;
    runtime->committed = false;
    return code;
}

/* ------------------------------------------------------------------------------- the binding */

/* log(level, text) */
static int native_log(lua_State *L)
{
    log_write((enum log_level)lua_tointeger(L, 1), "%s", luaL_checkstring(L, 2));
    return 0;
}

/* Pushes a table of the pairs that a callback gives. */
static int push_pairs(lua_State *L, struct lua_runtime *runtime,
                      uint32_t (*callback)(void *arg, struct mp_buffer *out))
{
    struct mp_buffer *pairs = &runtime->pairs;
    mp_buffer_reset(pairs, 65536);
    uint32_t count = callback == NULL ? 0 : callback(runtime->options.callbacks.arg, pairs);
    const char *data = pairs->data;
    lua_createtable(L, 0, (int)count);
    for (uint32_t i = 0; i < count && !pairs->failed; i++) {
        lua__push(L, runtime, &data);
        lua__push(L, runtime, &data);
        lua_rawset(L, -3);
    }
    return 1;
}

static int native_info(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    return push_pairs(L, runtime, runtime->options.callbacks.info);
}

static int native_options(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    return push_pairs(L, runtime, runtime->options.callbacks.options);
}

/* configure(table) */
static int native_configure(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct lua_callbacks *callbacks = &runtime->options.callbacks;
    struct mp_buffer *table = &runtime->scratch;
    if (callbacks->configure == NULL || !runtime->options.trusted)
        return lua__raise(L, runtime, diag_set(ERROR_ACCESS, "options can't be set from here"));
    mp_buffer_reset(table, 65536);
    lua_settop(L, 1);
    lua__encode(L, runtime, 1, table, LUA__STRICT);
    int code = callbacks->configure(callbacks->arg, table->data, table->size);
    return code == 0 ? 0 : lua__raise(L, runtime, code);
}

/* memory(): bytes of the state. variant(): which LuaJIT. */
static int native_memory(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)lua__runtime(L)->memory_bytes);
    return 1;
}

static int native_variant(lua_State *L)
{
    lua_pushstring(L, lua_runtime_variant());
    return 1;
}

/* seed(): a fresh random number for math.randomseed. */
static int native_seed(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)(random_next(&lua__runtime(L)->random) >> 11));
    return 1;
}

/* seeded(): the request has made the numbers that are drawn its own. */
static int native_seeded(lua_State *L)
{
    lua__runtime(L)->seeded = true;
    return 0;
}

/* error_name(code), error_text(code) */
static int native_error_name(lua_State *L)
{
    lua_pushstring(L, error_name((int)lua_tointeger(L, 1)));
    return 1;
}

static int native_error_text(lua_State *L)
{
    lua_pushstring(L, error_text((int)lua_tointeger(L, 1)));
    return 1;
}

/* raise(code): the error that a function of the api has returned. */
static int native_raise(lua_State *L)
{
    return lua__raise(L, lua__runtime(L), (int)lua_tointeger(L, 1));
}

/* wait(): blocks until what this request has written so far is as durable as the server's level
 * says. */
static int native_wait(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    int code = wal_wait(runtime->wal, runtime->seen_ts);
    return code == 0 ? 0 : lua__raise(L, runtime, code);
}

enum { STACK_BYTES_MAX = 256 * 1024 };

/*
 * stack_left(): whether a coroutine may be resumed. It has a Lua stack of its own, but runs on the
 * C stack of its resumer; on one Lua stack C calls can be nested to a depth of a few megabytes of C
 * stack, and what is in use before is bounded by this.
 */
static int native_stack_left(lua_State *L)
{
    const char *here = __builtin_frame_address(0);
    lua_pushboolean(L, lua__runtime(L)->stack_base - here < STACK_BYTES_MAX);
    return 1;
}

void lua__open_runtime(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"log", native_log},
        {"info", native_info},
        {"options", native_options},
        {"configure", native_configure},
        {"memory", native_memory},
        {"variant", native_variant},
        {"seed", native_seed},
        {"seeded", native_seeded},
        {"error_name", native_error_name},
        {"error_text", native_error_text},
        {"raise", native_raise},
        {"wait", native_wait},
        {"stack_left", native_stack_left},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
