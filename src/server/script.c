/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The operator's own Lua in a process of its own.
 *
 * The database is open before the first line runs, so that `box` is at hand. box.cfg{..} therefore
 * cannot move it, nor change what was fixed by opening; it can repeat what holds, change what may change at
 * any time, and set everything that serving uses as long as nothing is served. Giving `listen` begins to serve.
 *
 * os.exit ends the process in order: what the script has done is durable, and clients get their
 * replies. It closes the state from inside, as LuaJIT's own does when asked to, and never returns.
 */
#include "server/script.h"

#include <lauxlib.h>
#include <limits.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/diag.h"
#include "base/error.h"
#include "lua/runtime.h"
#include "server/command.h"
#include "server/server.h"

struct script {
    struct options *options;
    struct server *server;
    struct db_worker *worker;
    struct lua_watchdog *watchdog; /* for procedures with a `timeout`: the file itself has none */
    struct lua_runtime *runtime;
    uint64_t started_ns;
};

/* ------------------------------------------------------------------------------------- box.info */

static void put_text(struct mp_buffer *out, const char *text)
{
    mp_put_str(out, text, strlen(text));
}

static uint32_t on_info(void *arg, struct mp_buffer *out)
{
    struct script *script = arg;
    put_text(out, "version");
    put_text(out, PERIGEE_VERSION);
    put_text(out, "status");
    put_text(out, wal_failed(db_wal(server_db(script->server))) ? "readonly" : "running");
    put_text(out, "uptime");
    mp_put_uint(out, (clock_monotonic_ns(clock_system()) - script->started_ns) / 1000000000);
    put_text(out, "pid");
    mp_put_uint(out, (uint64_t)getpid());
    put_text(out, "listen");
    put_text(out, server_address(script->server));
    return 5;
}

static uint32_t on_options(void *arg, struct mp_buffer *out)
{
    struct script *script = arg;
    char text[OPTIONS_TEXT_MAX + 1];
    for (size_t n = 0; n < OPTIONS_COUNT; n++) {
        put_text(out, options_name(n));
        options_format(script->options, n, text);
        put_text(out, text);
    }
    return OPTIONS_COUNT;
}

/* -------------------------------------------------------------------------------------- box.cfg */

/* An option's value as the parsers of options take it. */
static int value_to_text(const char **value, char *out, size_t size)
{
    int64_t number;
    uint32_t length;
    if (mp_typeof(**value) == MP_BOOL) {
        snprintf(out, size, "%s", mp_decode_bool(value) ? "true" : "false");
        return 0;
    }
    if (mp_typeof(**value) == MP_STR) {
        const char *text = mp_decode_str(value, &length);
        if (length >= size || memchr(text, 0, length))
            return ERROR_INVALID;
        memcpy(out, text, length);
        out[length] = 0;
        return 0;
    }
    if (!mp_read_int(value, &number))
        return ERROR_INVALID;
    snprintf(out, size, "%lld", (long long)number);
    return 0;
}

static bool same_folder(const char *left, const char *right)
{
    char left_path[PATH_MAX], right_path[PATH_MAX];
    return realpath(left, left_path) && realpath(right, right_path) &&
           strcmp(left_path, right_path) == 0;
}

static size_t option_number(const char *name)
{
    size_t number = 0;
    while (number < OPTIONS_COUNT && strcmp(options_name(number), name) != 0)
        number++;
    return number;
}

static bool unchanged(const struct options *now, const struct options *next, size_t number)
{
    return options_equal(now, next, number) ||
           (number == OPTIONS_dir && same_folder(now->dir, next->dir));
}

/* A setting of Redis's. */
static int setting_take(const struct script *script, const char *name, const char *value, bool set)
{
    if (server_listens(script->server))
        return diag_set(ERROR_INVALID,
                        "setting '%s' is changed by CONFIG SET while clients are served", name);
    return set ? options_set(script->options, name, value, OPTIONS_FILE) : 0;
}

/* One that may have the value that `trial` has. */
static int option_take(const struct script *script, size_t number, const char *value,
                       const struct options *trial, bool set)
{
    const char *name = options_name(number);
    enum options_change change = options_change(number);
    if (script->options->source[number] > OPTIONS_FILE)
        return 0;
    if (change != OPTIONS_CHANGE_ANY && unchanged(script->options, trial, number))
        return 0;
    if (change == OPTIONS_CHANGE_START)
        return diag_set(ERROR_INVALID,
                        "option '%s' is fixed since the database was opened: give it on the "
                        "command line in front of the file, or in the environment",
                        name);
    if (change == OPTIONS_CHANGE_LISTEN && server_listens(script->server))
        return diag_set(ERROR_INVALID, "option '%s' cannot change while clients are served", name);
    int rc = set ? options_set(script->options, name, value, OPTIONS_FILE) : 0;
    if (!rc && set && change == OPTIONS_CHANGE_ANY)
        rc = server_option_changed(script->server, number);
    return rc;
}

/* Tries the value on a copy; sets it when `set`. */
static int option_try(const struct script *script, const char *name, const char *value, bool set)
{
    size_t number = option_number(name = options_canonical(name));
    struct options trial;
    int rc = options_create(&trial);
    if (!rc)
        rc = options_set(&trial, name, value, OPTIONS_FILE);
    if (!rc)
        rc = number == OPTIONS_COUNT ? setting_take(script, name, value, set)
                                     : option_take(script, number, value, &trial, set);
    options_destroy(&trial);
    return rc;
}

/* The options of a map of MessagePack; *listen: one of them is `listen`. */
static int options_try(const struct script *script, const char *table, bool set, bool *listen)
{
    for (uint32_t left = mp_decode_map(&table); left > 0; left--) {
        char name[64], value[1024];
        if (mp_typeof(*table) != MP_STR || value_to_text(&table, name, sizeof name))
            return diag_set(ERROR_INVALID, "the keys of box.cfg's table are names of options");
        if (value_to_text(&table, value, sizeof value))
            return diag_set(ERROR_INVALID, "option '%s' is a string, a whole number or a boolean",
                            name);
        int rc = option_try(script, name, value, set);
        if (rc)
            return rc;
        *listen = *listen || strcmp(name, "listen") == 0;
    }
    return 0;
}

/* All are looked at before the first is set, so that what is refused changes nothing. */
static int on_configure(void *arg, const char *table, size_t size)
{
    (void)size;
    struct script *script = arg;
    bool listen = false;
    if (mp_typeof(*table) == MP_ARRAY && mp_decode_array(&table) == 0)
        return 0; /* an empty table of Lua may be either */
    if (mp_typeof(*table) != MP_MAP)
        return diag_set(ERROR_INVALID, "box.cfg takes a table of options");
    int rc = options_try(script, table, false, &listen);
    if (!rc)
        rc = options_try(script, table, true, &listen);
    if (rc || !listen || server_listens(script->server))
        return rc;
    lua_runtime_host(script->runtime, false); /* a worker does it from here on */
    server_signals_block(); /* for the threads that start; the script's own has them open */
    rc = server_listen(script->server);
    server_signals_unblock();
    return rc;
}

/* ----------------------------------------------------------------------------------------- life */

static int script_end(struct script *script, int status)
{
    uint64_t ts = 0;
    if (script->runtime) {
        lua_runtime_settle(script->runtime, &ts);
        lua_runtime_delete(script->runtime);
    }
    if (script->watchdog)
        lua_watchdog_delete(script->watchdog);
    if (server_listens(script->server) && status == 0)
        server_stop(script->server);
    if (script->worker)
        db_worker_close(script->worker);
    int rc = server_close(script->server);
    return rc ? command_failed(rc) : status;
}

/* os.exit([code]) */
static int on_exit_called(lua_State *L)
{
    struct script *script = lua_touserdata(L, lua_upvalueindex(1));
    int status = 0;
    if (lua_isboolean(L, 1))
        status = lua_toboolean(L, 1) ? 0 : 1;
    else if (!lua_isnoneornil(L, 1))
        status = (int)luaL_checkinteger(L, 1);
    server_signals_block();
    status = script_end(script, status);
    free(script);
    exit(status);
}

static void exit_replace(struct script *script)
{
    lua_State *L = lua_runtime_state(script->runtime);
    lua_getglobal(L, "os");
    lua_pushlightuserdata(L, script);
    lua_pushcclosure(L, on_exit_called, 1);
    lua_setfield(L, -2, "exit");
    lua_pop(L, 1);
}

static int runtime_open(struct script *script)
{
    int rc = db_worker_open(server_db(script->server), &script->worker);
    if (!rc)
        rc = lua_watchdog_new(NULL, NULL, &script->watchdog);
    if (rc)
        return rc;
    uint64_t limit = script->options->lock_timeout;
    const struct lua_runtime_options options = {
        .worker = script->worker,
        .watchdog = script->watchdog,
        .trusted = true,
        .lock_timeout_ms = limit == 0 ? UINT64_MAX : limit,
        .callbacks = {.info = on_info,
                      .options = on_options,
                      .configure = on_configure,
                      .arg = script},
    };
    rc = lua_runtime_new(&options, &script->runtime);
    if (!rc) {
        exit_replace(script);
        lua_runtime_host(script->runtime, true);
    }
    return rc;
}

struct lua_State *script_state(struct script *script)
{
    return lua_runtime_state(script->runtime);
}

int script_open(struct options *options, struct clock *clock, struct script **out)
{
    struct script *script = calloc(1, sizeof *script);
    if (!script)
        return diag_set(ERROR_MEMORY, "out of memory");
    script->options = options;
    script->started_ns = clock_monotonic_ns(clock_system());
    int rc = server_open(options, clock, options_is_set(options, OPTIONS_listen), &script->server);
    if (rc) {
        free(script);
        return rc;
    }
    rc = runtime_open(script);
    if (rc) {
        char message[DIAG_MESSAGE_MAX];
        snprintf(message, sizeof message, "%s", diag_message_for(rc));
        script_close(script, 0);
        return diag_set(rc, "%s", message);
    }
    *out = script;
    return 0;
}

int script_close(struct script *script, int status)
{
    status = script_end(script, status);
    free(script);
    return status;
}

/* -------------------------------------------------------------------------------------- running */

/* The file has ended, and what it has begun goes on while clients are served. */
static int fibers_turn(void *arg)
{
    struct script *script = arg;
    lua_runtime_poll(script->runtime);
    uint64_t due_ms = lua_runtime_due_ms(script->runtime);
    return due_ms > INT_MAX ? -1 : (int)due_ms;
}

static int fibers_fd(void *arg)
{
    struct script *script = arg;
    return lua_runtime_poll_fd(script->runtime);
}

int script_run_file(struct script *script, const char *path, int argc, char **argv)
{
    server_signals_unblock();
    int rc = lua_runtime_run_file(script->runtime, path, argc, argv, NULL);
    server_signals_block();
    if (rc) {
        const char *trace = lua_runtime_trace(script->runtime);
        fprintf(stderr, "perigee: %s\n", *trace ? trace : diag_message_for(rc));
        return 1;
    }
    if (server_listens(script->server)) {
        const struct server_meanwhile fibers = {
            .turn = fibers_turn, .fd = fibers_fd, .arg = script};
        server_wait(script->server, &fibers);
    }
    return 0;
}

static void arguments_set(lua_State *L, int argc, char **argv)
{
    lua_createtable(L, argc, 0);
    for (int n = 0; n < argc; n++) {
        lua_pushstring(L, argv[n]);
        lua_rawseti(L, -2, n + 1);
    }
    lua_setglobal(L, "arg");
}

int script_run_text(struct script *script, const char *text, int argc, char **argv)
{
    lua_State *L = lua_runtime_state(script->runtime);
    arguments_set(L, argc, argv);
    server_signals_unblock();
    int failed = luaL_loadstring(L, text) || lua_pcall(L, 0, 0, 0);
    server_signals_block();
    if (failed) {
        const char *message = lua_tostring(L, -1);
        fprintf(stderr, "perigee: %s\n", message ? message : "the text ended with an error");
        lua_pop(L, 1);
    }
    return failed ? 1 : 0;
}
