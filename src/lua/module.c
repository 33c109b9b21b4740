/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lua/box/module.lua and migration.lua stand on: rows of system spaces written and read, the
 * modules that are built into the binary, and folders of the operator's.
 *
 * Files of modules are read in the transaction that goes on, or in one of their own: `require` may
 * be called anywhere. Nobody's privileges are asked for that: what a module may do is decided by who
 * runs it.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/diag.h"
#include "base/error.h"
#include "db/access.h"
#include "db/ddl.h"
#include "lua/builtin.h"
#include "lua/internal.h"

enum {
    FOLDER_DEPTH_MAX = 8,
    FOLDER_FILES_MAX = 1000,
    FILE_BYTES_MAX = 16 * 1024 * 1024,
    PATH_BYTES_MAX = 4096,
};

static void check_admin(lua_State *L, struct lua_runtime *runtime)
{
    if (access_check(runtime->worker, ACCESS_CREATE, ACCESS_UNIVERSE, 0, ACCESS_ADMIN, NULL) != 0)
        lua__raise(L, runtime, ERROR_ACCESS);
}

/* Encodes the value at the index into the runtime's scratch. */
static const char *encode(lua_State *L, struct lua_runtime *runtime, int index)
{
    mp_buffer_reset(&runtime->scratch, 65536);
    lua__encode(L, runtime, index, &runtime->scratch, LUA__STRICT);
    lua__encode_check(L, runtime, &runtime->scratch);
    return runtime->scratch.data;
}

static void check_changes(lua_State *L, struct lua_runtime *runtime)
{
    if (!ddl_active(runtime->worker))
        lua__raise(L, runtime,
                   diag_set(ERROR_INVALID, "rows of system spaces change in schema transactions"));
}

/* record_put(space id, tuple, fresh, id_min): the row's number. */
static int native_record_put(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    uint32_t id = 0;
    check_admin(L, runtime);
    check_changes(L, runtime);
    const char *tuple = encode(L, runtime, 2);
    int code = ddl_record_put(runtime->worker, (uint32_t)luaL_checknumber(L, 1), tuple,
                              lua_toboolean(L, 3), (uint32_t)luaL_optnumber(L, 4, 1), &id);
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua_pushnumber(L, id);
    return 1;
}

/* record_delete(space id, key) */
static int native_record_delete(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    check_admin(L, runtime);
    check_changes(L, runtime);
    const char *key = encode(L, runtime, 2);
    int code = ddl_record_delete(runtime->worker, (uint32_t)luaL_checknumber(L, 1), key);
    return code == 0 ? 0 : lua__raise(L, runtime, code);
}

static int native_user_id(lua_State *L)
{
    lua_pushnumber(L, access_user_get(lua__runtime(L)->worker));
    return 1;
}

/* ------------------------------------------------------------------------- what is installed */

/* {id, owner, name, version, manifest} */
static void push_module(lua_State *L, struct lua_runtime *runtime,
                        const struct catalog_record *record)
{
    static const char *const names[] = {"id", "owner", "name", "version", "manifest"};
    const char *data = record->tuple;
    uint32_t count = mp_decode_array(&data);
    lua_createtable(L, 0, 5);
    for (uint32_t i = 0; i < count && i < 5; i++) {
        lua__push(L, runtime, &data);
        lua_setfield(L, -2, names[i]);
    }
}

/* module(name): its row, or nil. modules(): an array of rows. */
static int native_module(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    const struct catalog_record *record =
        catalog_record(db_catalog(runtime->worker), CATALOG_MODULE, name, size);
    if (record == NULL)
        return 0;
    push_module(L, runtime, record);
    return 1;
}

static int native_modules(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct catalog *catalog = db_catalog(runtime->worker);
    uint32_t count = catalog_record_count(catalog, CATALOG_MODULE);
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        push_module(L, runtime, catalog_record_at(catalog, CATALOG_MODULE, i));
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* The transaction that goes on, or one to read in. */
static int reading_begin(struct lua_runtime *runtime, struct txn **txn, bool *own)
{
    struct txn_options options = {
        .level = TXN_SNAPSHOT, .readonly = true, .latest = lua__latest(runtime)};
    *txn = txn_current(runtime->txn_worker);
    *own = *txn == NULL;
    return *own ? txn_begin(runtime->txn_worker, &options, txn) : 0;
}

/*
 * Rows of a system space whose key begins with `key` (a MessagePack array): calls `push` for each,
 * which leaves values in the table on top of the stack. Raises nothing; the code, with diagnostics.
 */
static int rows_push(lua_State *L, struct lua_runtime *runtime, uint32_t space_id, const char *key,
                     void (*push)(lua_State *L, struct lua_runtime *runtime, const char *tuple))
{
    struct space_cursor cursor;
    struct tuple_ref tuple;
    struct txn *txn;
    bool own;
    int code = reading_begin(runtime, &txn, &own);
    if (code != 0)
        return code;
    struct space *space = catalog_space_by_id(db_catalog(runtime->worker), space_id);
    code = space_cursor_open(&cursor, txn, space->indexes[0], ITERATOR_EQ, key);
    while (code == 0 && (code = space_cursor_next(&cursor, &tuple)) == 0)
        push(L, runtime, tuple.data);
    if (own)
        txn_rollback(txn);
    return code == ERROR_END ? 0 : code;
}

static void append(lua_State *L)
{
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
}

static void push_path(lua_State *L, struct lua_runtime *runtime, const char *tuple)
{
    const char *path = mp_array_at(tuple, 1);
    lua__push(L, runtime, &path);
    append(L);
}

/* module_files(module id): an array of paths. */
static int native_module_files(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    const char *key = encode(L, runtime, lua_gettop(L));
    lua_newtable(L);
    int code = rows_push(L, runtime, SPACE_ID_MODULE_FILE, key, push_path);
    return code == 0 ? 1 : lua__raise(L, runtime, code);
}

static void push_content(lua_State *L, struct lua_runtime *runtime, const char *tuple)
{
    const char *content = mp_array_at(tuple, 2);
    lua__push(L, runtime, &content);
    append(L);
}

/* module_file(module id, path): its content, or nil. */
static int native_module_file(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    lua_settop(L, 2);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, 2);
    const char *key = encode(L, runtime, 3);
    lua_newtable(L);
    int code = rows_push(L, runtime, SPACE_ID_MODULE_FILE, key, push_content);
    if (code != 0)
        return lua__raise(L, runtime, code);
    lua_rawgeti(L, -1, 1);
    return 1;
}

static void push_migration(lua_State *L, struct lua_runtime *runtime, const char *tuple)
{
    static const char *const names[] = {NULL, "number", "name", "time", "digest", "text"};
    uint32_t count = mp_decode_array(&tuple);
    lua_createtable(L, 0, 5);
    for (uint32_t i = 0; i < count && i < 6; i++) {
        lua__push(L, runtime, &tuple);
        if (names[i] == NULL)
            lua_pop(L, 1);
        else
            lua_setfield(L, -2, names[i]);
    }
    append(L);
}

/* migrations(owner): what has been applied, in order: {number, name, time, digest, text}. */
static int native_migrations(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    lua_settop(L, 1);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    const char *key = encode(L, runtime, 2);
    lua_newtable(L);
    int code = rows_push(L, runtime, SPACE_ID_MIGRATION, key, push_migration);
    return code == 0 ? 1 : lua__raise(L, runtime, code);
}

/* ------------------------------------------------------------------------ those of the server */

/* Whether the built-in file is one of the module's, "queue/init.lua" of "queue"; what is behind the
 * slash. */
static const char *file_of(const struct lua_builtin *builtin, const char *module, size_t size)
{
    return strncmp(builtin->name, module, size) == 0 && builtin->name[size] == '/'
               ? builtin->name + size + 1
               : NULL;
}

/* module_builtin(name): path -> content, or nil. */
static int native_module_builtin(lua_State *L)
{
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    bool found = false;
    lua_newtable(L);
    for (const struct lua_builtin *builtin = lua_modules; builtin->name != NULL; builtin++) {
        const char *path = file_of(builtin, name, size);
        if (path == NULL)
            continue;
        lua_pushlstring(L, (const char *)builtin->data, builtin->size);
        lua_setfield(L, -2, path);
        found = true;
    }
    return found ? 1 : 0;
}

/* modules_builtin(): their names. */
static int native_modules_builtin(lua_State *L)
{
    lua_newtable(L);
    for (const struct lua_builtin *builtin = lua_modules; builtin->name != NULL; builtin++) {
        const char *slash = strchr(builtin->name, '/');
        if (slash == NULL || strcmp(slash, "/manifest.lua") != 0)
            continue;
        lua_pushlstring(L, builtin->name, (size_t)(slash - builtin->name));
        append(L);
    }
    return 1;
}

/* ------------------------------------------------------------------------------------ folders */

struct folder {
    struct lua_runtime *runtime;
    char path[PATH_BYTES_MAX];
    size_t root_size; /* of the folder's own path, with a slash */
    unsigned files;
};

static int unreadable(const struct folder *folder)
{
    return diag_set(errno == ENOENT ? ERROR_NOT_FOUND : ERROR_IO, "%s can't be read: %s",
                    folder->path, strerror(errno));
}

/* The content of the file is pushed; the table of files is below it. */
static int file_read(lua_State *L, struct folder *folder)
{
    FILE *file = fopen(folder->path, "rb");
    if (file == NULL)
        return unreadable(folder);
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    size_t total = 0, got;
    do {
        got = fread(luaL_prepbuffer(&buffer), 1, LUAL_BUFFERSIZE, file);
        luaL_addsize(&buffer, got);
        total += got;
    } while (got > 0 && total <= FILE_BYTES_MAX);
    bool failed = ferror(file) != 0;
    fclose(file);
    luaL_pushresult(&buffer);
    if (failed)
        return unreadable(folder);
    return total <= FILE_BYTES_MAX ? 0
                                   : diag_set(ERROR_TOO_LARGE, "%s has more than %d MB",
                                              folder->path, FILE_BYTES_MAX >> 20);
}

static int folder_read(lua_State *L, struct folder *folder, unsigned depth);

static int entry_read(lua_State *L, struct folder *folder, const char *name, unsigned depth)
{
    size_t size = strlen(folder->path);
    struct stat status;
    if ((size_t)snprintf(folder->path + size, sizeof folder->path - size, "/%s", name) >=
        sizeof folder->path - size)
        return diag_set(ERROR_TOO_LARGE, "the path of %s is too long", name);
    int code = 0;
    if (stat(folder->path, &status) != 0) {
        code = unreadable(folder);
    } else if (S_ISDIR(status.st_mode)) {
        if (depth > 0 || strcmp(name, "specs") != 0)
            code = folder_read(L, folder, depth + 1);
    } else if (S_ISREG(status.st_mode)) {
        if (++folder->files > FOLDER_FILES_MAX)
            code = diag_set(ERROR_TOO_LARGE, "a module has at most %d files", FOLDER_FILES_MAX);
        else if ((code = file_read(L, folder)) == 0)
            lua_setfield(L, -2, folder->path + folder->root_size);
    }
    folder->path[size] = '\0';
    return code;
}

static int folder_read(lua_State *L, struct folder *folder, unsigned depth)
{
    if (depth > FOLDER_DEPTH_MAX)
        return diag_set(ERROR_TOO_LARGE, "%s lies too deep", folder->path);
    DIR *dir = opendir(folder->path);
    if (dir == NULL)
        return unreadable(folder);
    int code = 0;
    const struct dirent *entry;
    while (code == 0 && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            code = entry_read(L, folder, entry->d_name, depth);
    closedir(dir);
    return code;
}

/* folder_read(path): relative path -> content, without its specs and what begins with a point. */
static int native_folder_read(lua_State *L)
{
    struct folder folder = {.runtime = lua__runtime(L)};
    size_t size;
    const char *path = luaL_checklstring(L, 1, &size);
    check_admin(L, folder.runtime);
    while (size > 1 && path[size - 1] == '/')
        size--;
    int code = 0;
    lua_newtable(L);
    if (size + 2 > sizeof folder.path || memchr(path, '\0', size) != NULL) {
        code = diag_set(ERROR_INVALID, "this is no path");
    } else {
        memcpy(folder.path, path, size);
        folder.root_size = size + 1;
        code = folder_read(L, &folder, 0);
    }
    return code == 0 ? 1 : lua__raise(L, folder.runtime, code);
}

/* Whether a name like "a.b-c" can be a path below a folder. */
static bool is_dotted(const char *name, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (name[i] == '/' || name[i] == '\\' || (unsigned char)name[i] <= ' ' ||
            (name[i] == '.' && (i == 0 || name[i - 1] == '.')))
            return false;
    return size > 0 && size < 200;
}

/* rock_read(name): text and path of a Lua file below .rocks, or nil. */
static int native_rock_read(lua_State *L)
{
    static const char *const places[] = {
        ".rocks/share/lua/5.1/%s.lua",
        ".rocks/share/lua/5.1/%s/init.lua",
        ".rocks/share/tarantool/%s.lua",
        ".rocks/share/tarantool/%s/init.lua",
    };
    size_t size;
    char path[256];
    const char *name = luaL_checklstring(L, 1, &size);
    if (!is_dotted(name, size))
        return 0;
    memcpy(path, name, size + 1);
    for (char *p = path; *p != '\0'; p++)
        if (*p == '.')
            *p = '/';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct folder folder = {.runtime = lua__runtime(L)};
        struct stat status;
        snprintf(folder.path, sizeof folder.path, places[i], path);
        if (stat(folder.path, &status) != 0 || !S_ISREG(status.st_mode))
            continue;
        int code = file_read(L, &folder);
        if (code != 0)
            return lua__raise(L, folder.runtime, code);
        lua_pushstring(L, folder.path);
        return 2;
    }
    return 0;
}

/* command_taken(name): whether the server has a command of this name. */
static int native_command_taken(lua_State *L)
{
    struct lua_runtime *runtime = lua__runtime(L);
    const struct lua_callbacks *callbacks = &runtime->options.callbacks;
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    lua_pushboolean(L, callbacks->command_taken != NULL
                           ? callbacks->command_taken(callbacks->arg, name, size)
                           : redis_command_find(name, size) != NULL);
    return 1;
}

void lua__open_module(struct lua_runtime *runtime)
{
    static const luaL_Reg functions[] = {
        {"record_put", native_record_put},
        {"record_delete", native_record_delete},
        {"user_id", native_user_id},
        {"module", native_module},
        {"modules", native_modules},
        {"module_files", native_module_files},
        {"module_file", native_module_file},
        {"migrations", native_migrations},
        {"module_builtin", native_module_builtin},
        {"modules_builtin", native_modules_builtin},
        {"folder_read", native_folder_read},
        {"rock_read", native_rock_read},
        {"command_taken", native_command_taken},
        {NULL, NULL},
    };
    lua__register(runtime, functions);
}
