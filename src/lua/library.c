/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C libraries of modules: loaded from the bytes that the database has, and called. The interface
 * that their authors see is module_api.h.
 *
 * The bytes go to a file in memory, which the linker loads by its name below /proc/self/fd. It knows
 * what it has loaded by that name, so the descriptor stays open as long as the library is loaded;
 * each Lua state loads a copy. It goes when the last of its functions is collected.
 *
 * A call is to statements what a statement is to the triggers that it runs: a lock that one of them
 * would have to wait for makes the whole call wait and be made again (trigger.c, run_checked).
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/diag.h"
#include "base/error.h"
#include "base/log.h"
#include "lua/internal.h"
#include "lua/module_api.h"

#define SAME(name) ((int)PERIGEE_##name == (int)ERROR_##name)
_Static_assert(SAME(MEMORY) && SAME(INVALID) && SAME(NOT_FOUND) && SAME(EXISTS) &&
                   SAME(DUPLICATE) && SAME(CONFLICT) && SAME(TIMEOUT) && SAME(READONLY) &&
                   SAME(TOO_LARGE) && SAME(TYPE) && SAME(ACCESS) && SAME(BUSY) &&
                   SAME(UNSUPPORTED) && SAME(CONSTRAINT) && SAME(LIMIT),
               "module_api.h has the codes of base/error.h");
_Static_assert((int)PERIGEE_EQ == ITERATOR_EQ && (int)PERIGEE_REQ == ITERATOR_REQ &&
                   (int)PERIGEE_ALL == ITERATOR_ALL && (int)PERIGEE_LT == ITERATOR_LT &&
                   (int)PERIGEE_LE == ITERATOR_LE && (int)PERIGEE_GE == ITERATOR_GE &&
                   (int)PERIGEE_GT == ITERATOR_GT,
               "module_api.h has the iterators of db/space.h");
_Static_assert((int)PERIGEE_LOG_ERROR == LOG_ERROR && (int)PERIGEE_LOG_DEBUG == LOG_DEBUG,
               "module_api.h has the levels of base/log.h");

enum { FUNCTIONS_MAX = 1000, OP_INSERT = 0, OP_REPLACE = 1, OP_DELETE = 2, OP_UPDATE = 3 };

/* Memory of a call, freed with it. */
struct block {
    struct block *next;
    max_align_t data[];
};

struct perigee_call {
    struct lua_runtime *runtime;
    lua_State *L; /* of the caller: triggers run on it */
    struct perigee_bytes args;
    struct mp_buffer result;
    struct block *blocks;
    int code; /* of the last failure, with its message */
    char message[DIAG_MESSAGE_MAX];
};

/* ------------------------------------------------------------------------- what libraries call */

static int fail(struct perigee_call *call, int code)
{
    if (code < 0) {
        call->code = code;
        snprintf(call->message, sizeof call->message, "%s", diag_message_for(code));
    }
    return code;
}

static struct perigee_bytes call_args(struct perigee_call *call)
{
    return call->args;
}

static void *call_memory(struct perigee_call *call, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    struct block *block = malloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->next = call->blocks;
    call->blocks = block;
    return block->data;
}

static int call_result(struct perigee_call *call, const char *data, size_t size)
{
    const char *end = data;
    if (data == NULL || size == 0 || !mp_check_limited(&end, data + size) || end != data + size)
        return fail(call, diag_set(ERROR_INVALID, "the result is not one MessagePack value"));
    mp_buffer_reset(&call->result, 65536);
    mp_put_raw(&call->result, data, size);
    return call->result.failed ? fail(call, diag_set(ERROR_MEMORY, "out of memory")) : 0;
}

static int call_error(struct perigee_call *call, int code, const char *message)
{
    return fail(call, diag_set(code < 0 ? code : ERROR_INVALID, "%s",
                               message != NULL ? message : "no message"));
}

static const char *call_message(struct perigee_call *call)
{
    return call->message;
}

static double call_now(struct perigee_call *call)
{
    return (double)call->runtime->now_ms / 1000;
}

static void call_log(struct perigee_call *call, int level, const char *text)
{
    (void)call;
    if (level >= PERIGEE_LOG_ERROR && level <= PERIGEE_LOG_DEBUG)
        log_write((enum log_level)level, "%s", text);
}

static int check_array(const char *what, const char *data, size_t size)
{
    const char *end = data;
    if (data == NULL || size == 0 || mp_typeof(*data) != MP_ARRAY ||
        !mp_check_limited(&end, data + size) || end != data + size)
        return diag_set(ERROR_INVALID, "%s is not a MessagePack array", what);
    return 0;
}

/* Numbers of the space and the index; who may not see what is there learns it from the statement. */
static int find(struct lua_runtime *runtime, const char *space_name, const char *index_name,
                uint32_t *space_id, uint32_t *index_id)
{
    const struct space *space =
        catalog_space(db_catalog(runtime->worker), space_name, strlen(space_name));
    if (space == NULL)
        return diag_set(ERROR_NOT_FOUND, "there is no space %s", space_name);
    *space_id = space->id;
    *index_id = 0;
    if (index_name == NULL)
        return 0;
    const struct index *index = space_index(space, index_name, strlen(index_name));
    if (index == NULL)
        return diag_set(ERROR_NOT_FOUND, "space %s has no index %s", space_name, index_name);
    *index_id = index->id;
    return 0;
}

static int write_row(struct perigee_call *call, int operation, const char *space, const char *index,
                     const struct perigee_bytes given[2], struct perigee_bytes *out)
{
    struct lua_runtime *runtime = call->runtime;
    struct mp_buffer buffers[2] = {{.data = (char *)given[0].data, .size = given[0].size},
                                   {.data = (char *)given[1].data, .size = given[1].size}};
    struct lua__row row = {NULL, 0};
    uint32_t space_id, index_id;
    int code = find(runtime, space, index, &space_id, &index_id);
    if (code == 0)
        code = lua__write(runtime, call->L, operation, space_id, index_id, buffers, &row);
    if (code == 0 && out != NULL)
        *out = (struct perigee_bytes){row.data, row.size};
    return fail(call, code);
}

static int call_insert(struct perigee_call *call, const char *space, const char *tuple, size_t size,
                       struct perigee_bytes *out)
{
    int code = check_array("the tuple", tuple, size);
    const struct perigee_bytes given[2] = {{tuple, size}};
    return code != 0 ? fail(call, code) : write_row(call, OP_INSERT, space, NULL, given, out);
}

static int call_replace(struct perigee_call *call, const char *space, const char *tuple,
                        size_t size, struct perigee_bytes *out)
{
    int code = check_array("the tuple", tuple, size);
    const struct perigee_bytes given[2] = {{tuple, size}};
    return code != 0 ? fail(call, code) : write_row(call, OP_REPLACE, space, NULL, given, out);
}

static int call_remove(struct perigee_call *call, const char *space, const char *index,
                       const char *key, size_t size, struct perigee_bytes *out)
{
    int code = check_array("the key", key, size);
    const struct perigee_bytes given[2] = {{key, size}};
    return code != 0 ? fail(call, code) : write_row(call, OP_DELETE, space, index, given, out);
}

static int call_update(struct perigee_call *call, const char *space, const char *index,
                       const char *key, size_t key_size, const char *operations,
                       size_t operations_size, struct perigee_bytes *out)
{
    int code = check_array("the key", key, key_size);
    if (code == 0)
        code = check_array("what is to be changed", operations, operations_size);
    const struct perigee_bytes given[2] = {{key, key_size}, {operations, operations_size}};
    return code != 0 ? fail(call, code) : write_row(call, OP_UPDATE, space, index, given, out);
}

/* The key goes where statements that read look for it. */
static int key_give(struct lua_runtime *runtime, const char *key, size_t size)
{
    int code = check_array("the key", key, size);
    if (code != 0)
        return code;
    mp_buffer_reset(&runtime->args[0], 65536);
    mp_put_raw(&runtime->args[0], key, size);
    return runtime->args[0].failed ? diag_set(ERROR_MEMORY, "out of memory") : 0;
}

static int call_get(struct perigee_call *call, const char *space, const char *index,
                    const char *key, size_t size, struct perigee_bytes *out)
{
    struct lua_runtime *runtime = call->runtime;
    struct lua__row row = {NULL, 0};
    uint32_t space_id, index_id;
    int code = find(runtime, space, index, &space_id, &index_id);
    if (code == 0)
        code = key_give(runtime, key, size);
    if (code == 0)
        code = lua__api_get(runtime, space_id, index_id, &row);
    if (code == 0 && out != NULL)
        *out = (struct perigee_bytes){row.data, row.size};
    return fail(call, code);
}

/* An array of the rows of the last select, which are each its size and its bytes. */
static int rows_take(struct perigee_call *call, uint32_t count, struct perigee_bytes *out)
{
    const struct mp_buffer *rows = &call->runtime->rows;
    char *data = call_memory(call, rows->size + 5);
    if (data == NULL)
        return diag_set(ERROR_MEMORY, "out of memory");
    char *to = mp_encode_array(data, count);
    const char *from = rows->data;
    for (uint32_t n = 0; n < count; n++) {
        uint32_t size;
        memcpy(&size, from, sizeof size);
        memcpy(to, from + sizeof size, size);
        from += sizeof size + size;
        to += size;
    }
    *out = (struct perigee_bytes){data, (size_t)(to - data)};
    return 0;
}

static int call_select(struct perigee_call *call, const char *space, const char *index,
                       int iterator, const char *key, size_t size, uint64_t offset, uint64_t limit,
                       struct perigee_bytes *out)
{
    struct lua_runtime *runtime = call->runtime;
    const struct lua__scan scan = {.offset = (double)offset,
                                   .limit = (double)limit,
                                   .iterator = iterator,
                                   .has_key = key != NULL};
    struct lua__row rows = {NULL, 0};
    uint32_t space_id, index_id;
    int code = iterator < PERIGEE_EQ || iterator > PERIGEE_GT
                   ? diag_set(ERROR_INVALID, "there is no iterator %d", iterator)
                   : find(runtime, space, index, &space_id, &index_id);
    if (code == 0 && key != NULL)
        code = key_give(runtime, key, size);
    if (code == 0)
        code = lua__api_select(runtime, space_id, index_id, &scan, &rows);
    if (code == 0 && out != NULL)
        code = rows_take(call, rows.size, out);
    return fail(call, code);
}

static const struct perigee_api api = {
    .version = PERIGEE_API_VERSION,
    .size = sizeof api,
    .args = call_args,
    .result = call_result,
    .error = call_error,
    .message = call_message,
    .get = call_get,
    .insert = call_insert,
    .replace = call_replace,
    .remove = call_remove,
    .update = call_update,
    .select = call_select,
    .now = call_now,
    .log = call_log,
    .memory = call_memory,
};

/* ------------------------------------------------------------------------------ calling libraries */

/* In the transaction; 0 or a code, which the diagnostics hold. */
static int run_once(const struct perigee_function *function, struct perigee_call *call)
{
    struct lua_runtime *runtime = call->runtime;
    call->code = 0;
    call->message[0] = '\0';
    mp_buffer_reset(&call->result, 65536);
    int code = function->call(&api, call);
    if (lua__stop(runtime) != 0) /* whatever the library makes of it (invariants 22 and 23) */
        return lua__stopped(runtime);
    if (code >= 0)
        return 0;
    return diag_set(code, "%s", code == call->code ? call->message : error_text(code));
}

/* As run_checked of statement.c: in a transaction that can be parked the whole call waits. */
static int run(const struct perigee_function *function, struct perigee_call *call)
{
    struct lua_runtime *runtime = call->runtime;
    if (!runtime->txn_opened || runtime->trigger_depth > 0)
        return run_once(function, call);
    for (;;) {
        struct txn_savepoint point = txn_savepoint(runtime->txn);
        struct lua__marks marks;
        lua__marks_save(runtime, call->L, &marks);
        runtime->trigger_depth++;
        int code = run_once(function, call);
        runtime->trigger_depth--;
        if (code != ERROR_WAIT)
            return code;
        runtime->stop = 0;
        lua__marks_return(runtime, call->L, &marks);
        code = lua__wait_in_place(runtime, point);
        if (code != 0)
            return code;
        txn_statement(runtime->txn);
    }
}

static void call_destroy(struct perigee_call *call)
{
    while (call->blocks != NULL) {
        struct block *block = call->blocks;
        call->blocks = block->next;
        free(block);
    }
    mp_buffer_destroy(&call->result);
}

/* The arguments as an array, in memory of the call's. Raises. */
static void args_take(lua_State *L, struct perigee_call *call)
{
    struct lua_runtime *runtime = call->runtime;
    int count = lua_gettop(L);
    mp_buffer_reset(&runtime->scratch, 65536);
    mp_put_array(&runtime->scratch, (uint32_t)count);
    for (int i = 1; i <= count; i++)
        lua__encode(L, runtime, i, &runtime->scratch, LUA__STRICT);
    lua__encode_check(L, runtime, &runtime->scratch);
    char *data = call_memory(call, runtime->scratch.size);
    if (data == NULL)
        lua__raise(L, runtime, diag_set(ERROR_MEMORY, "out of memory"));
    memcpy(data, runtime->scratch.data, runtime->scratch.size);
    call->args = (struct perigee_bytes){data, runtime->scratch.size};
}

/* The result goes to the runtime, so that the call can be given up before it is pushed, which may raise
 * an error. */
static void result_keep(struct perigee_call *call)
{
    struct mp_buffer result = call->result;
    call->result = call->runtime->scratch;
    call->runtime->scratch = result;
}

/* function(...): 0 and the result, or a code with diagnostics; ERROR_WAIT in a fiber that is to wait
 * and call again. There is a transaction. Upvalues: the library, which so stays loaded, the function,
 * the runtime. */
static int native_call(lua_State *L)
{
    const struct perigee_function *function = lua_touserdata(L, lua_upvalueindex(2));
    struct lua_runtime *runtime = lua_touserdata(L, lua_upvalueindex(3));
    struct perigee_call call = {.runtime = runtime, .L = L};
    if (runtime->txn == NULL)
        return lua__raise(L, runtime, diag_set(ERROR_INVALID, "there is no transaction"));
    int code = runtime->txn_checks ? lua__check(runtime, false) : 0;
    if (code != 0)
        return lua__raise(L, runtime, code);
    args_take(L, &call);
    mp_buffer_create(&call.result);
    call.result.bytes_max = runtime->scratch.bytes_max;
    code = run(function, &call);
    result_keep(&call);
    call_destroy(&call);
    lua_pushinteger(L, code);
    if (code != 0 || runtime->scratch.size == 0)
        return 1;
    const char *data = runtime->scratch.data;
    lua__push(L, runtime, &data);
    return 2;
}

/* -------------------------------------------------------------------------------------- loading */

struct library {
    void *handle;
    int fd;
};

static const char LIBRARY[] = "perigee.library";

static int library_close(lua_State *L)
{
    struct library *library = lua_touserdata(L, 1);
    if (library->handle != NULL)
        dlclose(library->handle);
    if (library->fd >= 0)
        close(library->fd);
    *library = (struct library){NULL, -1};
    return 0;
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno != EINTR)
            return diag_set_errno(ERROR_IO, errno, "a file in memory");
        data += done > 0 ? done : 0;
        size -= done > 0 ? (size_t)done : 0;
    }
    return 0;
}

static int library_load(struct library *library, const char *name, const char *bytes, size_t size)
{
    char path[64];
    library->fd = memfd_create(name, MFD_CLOEXEC);
    if (library->fd < 0)
        return diag_set_errno(ERROR_IO, errno, "a file in memory");
    int code = write_all(library->fd, bytes, size);
    if (code != 0)
        return code;
    snprintf(path, sizeof path, "/proc/self/fd/%d", library->fd);
    library->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return library->handle != NULL
               ? 0
               : diag_set(ERROR_INVALID, "the library of module %s: %s", name, dlerror());
}

static int module_check(const char *name, const struct perigee_module *module)
{
    if (module == NULL)
        return diag_set(ERROR_INVALID,
                        "the library of module %s exports no symbol perigee_module: "
                        "PERIGEE_MODULE(\"%s\", functions)",
                        name, name);
    if (module->version == 0 || module->version > PERIGEE_API_VERSION)
        return diag_set(ERROR_VERSION,
                        "the library of module %s is made for version %u of perigee/module.h, this "
                        "server has version %d",
                        name, module->version, PERIGEE_API_VERSION);
    if (module->size < sizeof *module)
        return diag_set(ERROR_INVALID,
                        "the library of module %s says that its struct perigee_module has %u "
                        "bytes; version %u has %zu",
                        name, module->size, module->version, sizeof *module);
    if (module->name == NULL || strcmp(module->name, name) != 0)
        return diag_set(ERROR_INVALID, "the library of module %s calls itself %s", name,
                        module->name != NULL ? module->name : "nothing");
    if (module->function_count > FUNCTIONS_MAX)
        return diag_set(ERROR_INVALID, "the library of module %s has more than %d functions", name,
                        FUNCTIONS_MAX);
    for (uint32_t n = 0; n < module->function_count; n++)
        if (module->functions[n].name == NULL || module->functions[n].call == NULL)
            return diag_set(ERROR_INVALID, "function %u of module %s has no name, or no code", n,
                            name);
    return 0;
}

/* module_library(module's name, bytes): its functions by name. */
static int native_module_library(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    const char *name = luaL_checkstring(L, 1), *bytes = luaL_checklstring(L, 2, &size);
    struct library *library = lua_newuserdata(L, sizeof *library);
    *library = (struct library){NULL, -1};
    luaL_getmetatable(L, LIBRARY);
    lua_setmetatable(L, -2);
    int code = library_load(library, name, bytes, size);
    const struct perigee_module *module = NULL;
    if (code == 0) {
        module = dlsym(library->handle, "perigee_module");
        code = module_check(name, module);
    }
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua_createtable(L, 0, (int)module->function_count);
    for (uint32_t n = 0; n < module->function_count; n++) {
        lua_pushvalue(L, 3);
        lua_pushlightuserdata(L, (void *)&module->functions[n]);
        lua_pushlightuserdata(L, runtime);
        lua_pushcclosure(L, native_call, 3);
        lua_setfield(L, -2, module->functions[n].name);
    }
    return 1;
}

void lua__open_library(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"module_library", native_module_library},
        {NULL, NULL},
    };
    luaL_newmetatable(runtime->L, LIBRARY);
    lua_pushcfunction(runtime->L, library_close);
    lua_setfield(runtime->L, -2, "__gc");
    lua_pop(runtime->L, 1);
    lua__register(runtime, functions);
}
